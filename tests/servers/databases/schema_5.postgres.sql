-- standard: wfk_standard.abc123def456ghi789jkl012mno345pq
-- disabled: wfk_disabled.abc123def456ghi789jkl012mno345pq
-- revoked0: wfk_revoked0.abc123def456ghi789jkl012mno345pq
-- expired0: wfk_expired0.abc123def456ghi789jkl012mno345pq
-- future00: wfk_future00.abc123def456ghi789jkl012mno345pq
-- limited0: wfk_limited0.abc123def456ghi789jkl012mno345pq
-- address0: wfk_address0.abc123def456ghi789jkl012mno345pq
-- rotated0: wfk_rotated0.abc123def456ghi789jkl012mno345pq
-- rotated0 next: wfk_rotated0.ssNmxxO9jX3y3qzoIKfamE3vtpNckHyP
-- replaced: wfk_replaced.abc123def456ghi789jkl012mno345pq
-- replaced next: wfk_replaced.S5we2TZeyx2oJ8y8yChCxJhUKg31ABKb
-- waiting0: wfk_waiting0.abc123def456ghi789jkl012mno345pq
-- waiting0 next: wfk_waiting0.bUFwGTuSOEh44m4TfAGhr6uRc81o8P8d
-- metadata: wfk_metadata.abc123def456ghi789jkl012mno345pq
-- created: wfk_o2knrmO3.31ANfHv50fKSt0T9cpK1BpknJXqt2mmz
-- system00: wfk_system00.abc123def456ghi789jkl012mno345pq
CREATE FUNCTION public.api_key_changed() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO '$user', 'public'
    AS $$
DECLARE
    changed text := '';
BEGIN
    IF TG_OP = 'DELETE' THEN
        changed := OLD.id;
    ELSIF TG_OP <> 'TRUNCATE' THEN
        changed := NEW.id;
    END IF;
    INSERT INTO api_key_changes (key_id) VALUES (changed);
    DELETE FROM api_key_changes WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM api_key_changes WHERE at < now() - interval '1 hour' LIMIT 100 FOR UPDATE SKIP LOCKED));
    PERFORM pg_notify('tower_api_keys', changed);
    RETURN NULL;
END $$;
CREATE FUNCTION public.api_key_timeline() RETURNS bigint
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF pg_is_in_recovery() THEN
        RETURN 0;
    END IF;
    RETURN ('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::bigint;
EXCEPTION WHEN OTHERS THEN
    RETURN 0;
END $$;
CREATE FUNCTION public.api_key_update() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    IF NEW.version = OLD.version THEN
        NEW.version := OLD.version + 1;
    END IF;
    IF NEW.state = 'revoked' AND NEW.revoked_at IS NULL THEN
        NEW.revoked_at := extract(epoch FROM clock_timestamp()) * 1000;
    END IF;
    RETURN NEW;
END $$;
CREATE TABLE public.api_key_audit (
    number bigint NOT NULL,
    at bigint NOT NULL,
    action text NOT NULL,
    outcome text NOT NULL,
    changed text NOT NULL,
    key_id text COLLATE pg_catalog."C",
    organization text NOT NULL COLLATE pg_catalog."C",
    tier text NOT NULL,
    mode text NOT NULL,
    actor text NOT NULL,
    delivered boolean DEFAULT false NOT NULL
);
CREATE TABLE public.api_key_audit_delivery (
    process text NOT NULL COLLATE pg_catalog."C",
    until bigint NOT NULL
);
ALTER TABLE public.api_key_audit ALTER COLUMN number ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.api_key_audit_number_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.api_key_changes (
    key_id text NOT NULL COLLATE pg_catalog."C",
    transaction xid8 DEFAULT pg_current_xact_id() NOT NULL,
    at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);
CREATE TABLE public.api_key_digests (
    digest text NOT NULL COLLATE pg_catalog."C",
    key_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.api_key_imports (
    digest text NOT NULL COLLATE pg_catalog."C",
    key_id text NOT NULL COLLATE pg_catalog."C"
);
CREATE TABLE public.api_key_quotas (
    category text NOT NULL COLLATE pg_catalog."C",
    subject text NOT NULL COLLATE pg_catalog."C",
    period bigint NOT NULL,
    used bigint NOT NULL,
    highest_limit bigint NOT NULL,
    granted bigint NOT NULL
);
CREATE TABLE public.api_key_schema (
    version integer NOT NULL
);
CREATE TABLE public.api_keys (
    id text NOT NULL COLLATE pg_catalog."C",
    organization text NOT NULL COLLATE pg_catalog."C",
    mode text NOT NULL,
    created_at bigint NOT NULL,
    name text NOT NULL,
    hint text NOT NULL,
    scopes text NOT NULL,
    limits text NOT NULL,
    allowed_addresses text NOT NULL,
    digest text NOT NULL,
    secret_created_at bigint NOT NULL,
    previous_digest text,
    previous_valid_until bigint,
    next_digest text,
    next_hint text,
    next_created_at bigint,
    next_grace bigint,
    state text NOT NULL,
    revoked_at bigint,
    not_before bigint,
    expires_at bigint,
    version bigint NOT NULL,
    last_used_at bigint,
    created_by text,
    metadata text,
    imported_hash text,
    tier text DEFAULT 'organization'::text NOT NULL,
    CONSTRAINT api_keys_tier CHECK (((tier = ANY (ARRAY['organization'::text, 'system'::text])) AND ((tier = 'system'::text) = (organization = ''::text))))
);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (1, 1702531200000, 'import', 'done', '', 'standard', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (2, 1702531200000, 'import', 'done', '', 'disabled', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (3, 1702531200000, 'disable', 'done', '', 'disabled', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (4, 1702531200000, 'import', 'done', '', 'revoked0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (5, 1702531200000, 'revoke', 'done', '', 'revoked0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (6, 1702531200000, 'import', 'done', '', 'expired0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (7, 1702531200000, 'import', 'done', '', 'future00', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (8, 1702531200000, 'import', 'done', '', 'limited0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (9, 1702531200000, 'import', 'done', '', 'address0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (10, 1702531200000, 'import', 'done', '', 'rotated0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (11, 1702531200000, 'rotate', 'done', '', 'rotated0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (12, 1702531200000, 'import', 'done', '', 'replaced', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (13, 1702531200000, 'rotate', 'done', '', 'replaced', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (14, 1702531200000, 'import', 'done', '', 'waiting0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (15, 1702531200000, 'rotate', 'done', '', 'waiting0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (16, 1702531200000, 'import', 'done', '', 'metadata', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (17, 1702531200000, 'create', 'done', '', 'o2knrmO3', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (18, 1702531200000, 'import', 'done', '', 'system00', '', 'system', 'test', 'operator', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (19, 1702531200000, 'import', 'done', '', 'deleted0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (20, 1702531200000, 'revoke', 'done', '', 'deleted0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (21, 1702531200000, 'delete', 'done', '', 'deleted0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit OVERRIDING SYSTEM VALUE VALUES (22, 1702531200000, 'import', 'done', '', 'foreign0', 'acme', 'organization', 'live', 'operator ada', false);
INSERT INTO public.api_key_audit_delivery VALUES ('', 0);
INSERT INTO public.api_key_changes VALUES ('standard', '877', '2026-11-28 17:11:38.302782+00');
INSERT INTO public.api_key_changes VALUES ('disabled', '880', '2026-11-28 17:11:38.335614+00');
INSERT INTO public.api_key_changes VALUES ('disabled', '882', '2026-11-28 17:11:38.341771+00');
INSERT INTO public.api_key_changes VALUES ('revoked0', '883', '2026-11-28 17:11:38.36049+00');
INSERT INTO public.api_key_changes VALUES ('revoked0', '885', '2026-11-28 17:11:38.367035+00');
INSERT INTO public.api_key_changes VALUES ('expired0', '886', '2026-11-28 17:11:38.37233+00');
INSERT INTO public.api_key_changes VALUES ('future00', '888', '2026-11-28 17:11:38.385534+00');
INSERT INTO public.api_key_changes VALUES ('limited0', '890', '2026-11-28 17:11:38.395168+00');
INSERT INTO public.api_key_changes VALUES ('address0', '892', '2026-11-28 17:11:38.401431+00');
INSERT INTO public.api_key_changes VALUES ('rotated0', '894', '2026-11-28 17:11:38.415396+00');
INSERT INTO public.api_key_changes VALUES ('rotated0', '896', '2026-11-28 17:11:38.439484+00');
INSERT INTO public.api_key_changes VALUES ('replaced', '897', '2026-11-28 17:11:38.446338+00');
INSERT INTO public.api_key_changes VALUES ('replaced', '899', '2026-11-28 17:11:38.460715+00');
INSERT INTO public.api_key_changes VALUES ('waiting0', '900', '2026-11-28 17:11:38.470334+00');
INSERT INTO public.api_key_changes VALUES ('waiting0', '902', '2026-11-28 17:11:38.487694+00');
INSERT INTO public.api_key_changes VALUES ('metadata', '903', '2026-11-28 17:11:38.49817+00');
INSERT INTO public.api_key_changes VALUES ('o2knrmO3', '905', '2026-11-28 17:11:38.512139+00');
INSERT INTO public.api_key_changes VALUES ('system00', '906', '2026-11-28 17:11:38.523528+00');
INSERT INTO public.api_key_changes VALUES ('deleted0', '908', '2026-11-28 17:11:38.53269+00');
INSERT INTO public.api_key_changes VALUES ('deleted0', '910', '2026-11-28 17:11:38.537161+00');
INSERT INTO public.api_key_changes VALUES ('deleted0', '911', '2026-11-28 17:11:38.547487+00');
INSERT INTO public.api_key_changes VALUES ('foreign0', '912', '2026-11-28 17:11:38.553968+00');
INSERT INTO public.api_key_digests VALUES ('sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db', 'standard');
INSERT INTO public.api_key_digests VALUES ('sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290', 'disabled');
INSERT INTO public.api_key_digests VALUES ('sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366', 'revoked0');
INSERT INTO public.api_key_digests VALUES ('sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d', 'expired0');
INSERT INTO public.api_key_digests VALUES ('sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee', 'future00');
INSERT INTO public.api_key_digests VALUES ('sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3', 'limited0');
INSERT INTO public.api_key_digests VALUES ('sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d', 'address0');
INSERT INTO public.api_key_digests VALUES ('sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e', 'rotated0');
INSERT INTO public.api_key_digests VALUES ('sha256:b1fcb290185ce5ea4b36b3dec878e2b07cbe55772a69fbaa007f3592897e6360', 'rotated0');
INSERT INTO public.api_key_digests VALUES ('sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c', 'replaced');
INSERT INTO public.api_key_digests VALUES ('sha256:3549a7991738bf83a734afcbb8b2e42012854440f7efca9951892245b15bdb1a', 'replaced');
INSERT INTO public.api_key_digests VALUES ('sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407', 'waiting0');
INSERT INTO public.api_key_digests VALUES ('sha256:eefa2748b5db6c3b683376c08b60a327d8a753080f0ae7ac20ec662c764f222b', 'waiting0');
INSERT INTO public.api_key_digests VALUES ('sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505', 'metadata');
INSERT INTO public.api_key_digests VALUES ('sha256:bc6d6891d0fdedac40e8828b0874a31312c07553e09191e9c9aab4534dfbf06a', 'o2knrmO3');
INSERT INTO public.api_key_digests VALUES ('sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372', 'system00');
INSERT INTO public.api_key_digests VALUES ('sha256:d18404edd3d7467525d16e0c6aa9e770268cc69553170d8f9e59e7ba7309694a', 'foreign0');
INSERT INTO public.api_key_imports VALUES ('sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db', 'standard');
INSERT INTO public.api_key_imports VALUES ('sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290', 'disabled');
INSERT INTO public.api_key_imports VALUES ('sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366', 'revoked0');
INSERT INTO public.api_key_imports VALUES ('sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d', 'expired0');
INSERT INTO public.api_key_imports VALUES ('sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee', 'future00');
INSERT INTO public.api_key_imports VALUES ('sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3', 'limited0');
INSERT INTO public.api_key_imports VALUES ('sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d', 'address0');
INSERT INTO public.api_key_imports VALUES ('sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e', 'rotated0');
INSERT INTO public.api_key_imports VALUES ('sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c', 'replaced');
INSERT INTO public.api_key_imports VALUES ('sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407', 'waiting0');
INSERT INTO public.api_key_imports VALUES ('sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505', 'metadata');
INSERT INTO public.api_key_imports VALUES ('sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372', 'system00');
INSERT INTO public.api_key_imports VALUES ('sha256:74ed6cbc9aeb6bdd0aac3af86a6e946983543eac4dae2f04ddb776722fceb9af', 'deleted0');
INSERT INTO public.api_key_imports VALUES ('sha256:d18404edd3d7467525d16e0c6aa9e770268cc69553170d8f9e59e7ba7309694a', 'foreign0');
INSERT INTO public.api_key_quotas VALUES ('month', 'key:limited0', 1701388800000, 0, 0, 50);
INSERT INTO public.api_key_schema VALUES (5);
INSERT INTO public.api_keys VALUES ('standard', 'acme', 'live', 1702531200000, 'standard', 'wfk_…45pq', 'runs:read', '', '', 'sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, 1702531205000, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('disabled', 'acme', 'live', 1702531200000, 'disabled', 'wfk_…45pq', 'runs:read', '', '', 'sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'disabled', NULL, NULL, NULL, 1, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('revoked0', 'acme', 'live', 1702531200000, 'revoked0', 'wfk_…45pq', 'runs:read', '', '', 'sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'revoked', 1702531200000, NULL, NULL, 1, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('expired0', 'acme', 'live', 1702531200000, 'expired0', 'wfk_…45pq', 'runs:read', '', '', 'sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, 1702534800000, 0, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('future00', 'acme', 'live', 1702531200000, 'future00', 'wfk_…45pq', 'runs:read', '', '', 'sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, 1705123200000, NULL, 0, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('limited0', 'acme', 'live', 1702531200000, 'limited0', 'wfk_…45pq', 'runs:read', '5 read', '', 'sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('address0', 'acme', 'live', 1702531200000, 'address0', 'wfk_…45pq', 'runs:read', '', '192.0.2.0/24', 'sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('rotated0', 'acme', 'live', 1702531200000, 'rotated0', 'wfk_…kHyP', 'runs:read', '', '', 'sha256:b1fcb290185ce5ea4b36b3dec878e2b07cbe55772a69fbaa007f3592897e6360', 1702531200000, 'sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e', 1703136000000, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 1, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('replaced', 'acme', 'live', 1702531200000, 'replaced', 'wfk_…ABKb', 'runs:read', '', '', 'sha256:3549a7991738bf83a734afcbb8b2e42012854440f7efca9951892245b15bdb1a', 1702531200000, 'sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c', 1702531260000, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 1, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('waiting0', 'acme', 'live', 1702531200000, 'waiting0', 'wfk_…45pq', 'runs:read', '', '', 'sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407', 1702531200000, NULL, NULL, 'sha256:eefa2748b5db6c3b683376c08b60a327d8a753080f0ae7ac20ec662c764f222b', 'wfk_…8P8d', 1702531200000, 604800000, 'active', NULL, NULL, NULL, 1, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('metadata', 'acme', 'live', 1702531200000, 'metadata', 'wfk_…45pq', 'runs:*', '', '', 'sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', '{"plan":"pro"}', NULL, 'organization');
INSERT INTO public.api_keys VALUES ('o2knrmO3', 'acme', 'live', 1702531200000, 'Created', 'wfk_…2mmz', 'runs:read', '', '', 'sha256:bc6d6891d0fdedac40e8828b0874a31312c07553e09191e9c9aab4534dfbf06a', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', NULL, NULL, 'organization');
INSERT INTO public.api_keys VALUES ('system00', '', 'test', 1702531200000, 'system00', 'wfk_…45pq', 'runs:*', '', '', 'sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator', NULL, NULL, 'system');
INSERT INTO public.api_keys VALUES ('foreign0', 'acme', 'live', 1702531200000, 'foreign0', 'old_…', '', '', '', 'sha256:d18404edd3d7467525d16e0c6aa9e770268cc69553170d8f9e59e7ba7309694a', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', NULL, 'plain:secret', 'organization');
SELECT pg_catalog.setval('public.api_key_audit_number_seq', 22, true);
ALTER TABLE ONLY public.api_key_audit
    ADD CONSTRAINT api_key_audit_pkey PRIMARY KEY (number);
ALTER TABLE ONLY public.api_key_digests
    ADD CONSTRAINT api_key_digests_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.api_key_imports
    ADD CONSTRAINT api_key_imports_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.api_key_quotas
    ADD CONSTRAINT api_key_quotas_pkey PRIMARY KEY (category, subject);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
ALTER TABLE public.api_keys
    ADD CONSTRAINT api_keys_state CHECK (((state = ANY (ARRAY['active'::text, 'disabled'::text, 'revoked'::text])) AND ((state = 'revoked'::text) = (revoked_at IS NOT NULL)))) NOT VALID;
CREATE INDEX api_key_audit_of_a_key ON public.api_key_audit USING btree (key_id, number);
CREATE INDEX api_key_audit_undelivered ON public.api_key_audit USING btree (number) WHERE (NOT delivered);
CREATE INDEX api_key_changes_by_age ON public.api_key_changes USING btree (at);
CREATE INDEX api_key_changes_by_transaction ON public.api_key_changes USING btree (transaction);
CREATE INDEX api_key_digests_of_a_key ON public.api_key_digests USING btree (key_id);
CREATE INDEX api_key_imports_of_a_key ON public.api_key_imports USING btree (key_id);
CREATE INDEX api_keys_by_age ON public.api_keys USING btree (created_at, id);
CREATE INDEX api_keys_by_creator ON public.api_keys USING btree (created_by, created_at, id);
CREATE INDEX api_keys_listing ON public.api_keys USING btree (organization, mode, created_at, id);
CREATE TRIGGER api_keys_changed AFTER INSERT OR DELETE OR UPDATE OF id, organization, mode, created_at, name, hint, scopes, limits, allowed_addresses, digest, secret_created_at, previous_digest, previous_valid_until, next_digest, next_hint, next_created_at, next_grace, state, revoked_at, not_before, expires_at, version, created_by, metadata, imported_hash, tier ON public.api_keys FOR EACH ROW EXECUTE FUNCTION public.api_key_changed();
CREATE TRIGGER api_keys_truncated AFTER TRUNCATE ON public.api_keys FOR EACH STATEMENT EXECUTE FUNCTION public.api_key_changed();
CREATE TRIGGER api_keys_update BEFORE UPDATE OF id, organization, mode, created_at, name, hint, scopes, limits, allowed_addresses, digest, secret_created_at, previous_digest, previous_valid_until, next_digest, next_hint, next_created_at, next_grace, state, revoked_at, not_before, expires_at, version, created_by, metadata, imported_hash, tier ON public.api_keys FOR EACH ROW EXECUTE FUNCTION public.api_key_update();
ALTER TABLE ONLY public.api_key_digests
    ADD CONSTRAINT api_key_digests_key_id_fkey FOREIGN KEY (key_id) REFERENCES public.api_keys(id) ON DELETE CASCADE;
