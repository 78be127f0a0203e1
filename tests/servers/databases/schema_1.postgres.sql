-- standard: wfk_standard.abc123def456ghi789jkl012mno345pq
-- disabled: wfk_disabled.abc123def456ghi789jkl012mno345pq
-- revoked0: wfk_revoked0.abc123def456ghi789jkl012mno345pq
-- expired0: wfk_expired0.abc123def456ghi789jkl012mno345pq
-- future00: wfk_future00.abc123def456ghi789jkl012mno345pq
-- limited0: wfk_limited0.abc123def456ghi789jkl012mno345pq
-- address0: wfk_address0.abc123def456ghi789jkl012mno345pq
-- rotated0: wfk_rotated0.abc123def456ghi789jkl012mno345pq
-- rotated0 next: wfk_rotated0.YXf0mrB18NZsn24rsGR7swzzhgqN1X0z
-- replaced: wfk_replaced.abc123def456ghi789jkl012mno345pq
-- replaced next: wfk_replaced.OTYQlFnbEA5fg5FG29JKPFIMo1E2nsaB
-- waiting0: wfk_waiting0.abc123def456ghi789jkl012mno345pq
-- waiting0 next: wfk_waiting0.3khznALOkFgwK0niF0s3GozeqZFT1RCI
-- created: wfk_uzBgdWRw.smtra9UzRycPBLsGqa7RCk3sL89VdEC4
-- system00: wfk_system00.abc123def456ghi789jkl012mno345pq
CREATE TABLE public.api_key_digests (
    digest text NOT NULL COLLATE pg_catalog."C",
    key_id text NOT NULL COLLATE pg_catalog."C"
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
    last_used_at bigint
);
INSERT INTO public.api_key_digests VALUES ('sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db', 'standard');
INSERT INTO public.api_key_digests VALUES ('sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290', 'disabled');
INSERT INTO public.api_key_digests VALUES ('sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366', 'revoked0');
INSERT INTO public.api_key_digests VALUES ('sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d', 'expired0');
INSERT INTO public.api_key_digests VALUES ('sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee', 'future00');
INSERT INTO public.api_key_digests VALUES ('sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3', 'limited0');
INSERT INTO public.api_key_digests VALUES ('sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d', 'address0');
INSERT INTO public.api_key_digests VALUES ('sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e', 'rotated0');
INSERT INTO public.api_key_digests VALUES ('sha256:8eabde624d94ccde1d73d4f5c5875f142f24972f729375c7f7ad4cf8a795720d', 'rotated0');
INSERT INTO public.api_key_digests VALUES ('sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c', 'replaced');
INSERT INTO public.api_key_digests VALUES ('sha256:3db87979e51251153e4f5d3d1dda55a79c0b3d193a7e716e3cdaa9360baee411', 'replaced');
INSERT INTO public.api_key_digests VALUES ('sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407', 'waiting0');
INSERT INTO public.api_key_digests VALUES ('sha256:0fd3a900461cecf7948862c3b7f9818b37488703bd73042c458e3c14aa6d126b', 'waiting0');
INSERT INTO public.api_key_digests VALUES ('sha256:dc5aa41d4a6d8ff081252fee4df90d2e1d73632a10da2be42eb05785a9ee27e6', 'uzBgdWRw');
INSERT INTO public.api_key_digests VALUES ('sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372', 'system00');
INSERT INTO public.api_key_schema VALUES (1);
INSERT INTO public.api_keys VALUES ('standard', 'acme', 'live', 1702531200000, 'standard', 'wfk_…45pq', 'runs:read', '', '', 'sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, 1702531205000);
INSERT INTO public.api_keys VALUES ('disabled', 'acme', 'live', 1702531200000, 'disabled', 'wfk_…45pq', 'runs:read', '', '', 'sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'disabled', NULL, NULL, NULL, 1, NULL);
INSERT INTO public.api_keys VALUES ('revoked0', 'acme', 'live', 1702531200000, 'revoked0', 'wfk_…45pq', 'runs:read', '', '', 'sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'revoked', 1702531200000, NULL, NULL, 1, NULL);
INSERT INTO public.api_keys VALUES ('expired0', 'acme', 'live', 1702531200000, 'expired0', 'wfk_…45pq', 'runs:read', '', '', 'sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, 1702534800000, 0, NULL);
INSERT INTO public.api_keys VALUES ('future00', 'acme', 'live', 1702531200000, 'future00', 'wfk_…45pq', 'runs:read', '', '', 'sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, 1705123200000, NULL, 0, NULL);
INSERT INTO public.api_keys VALUES ('limited0', 'acme', 'live', 1702531200000, 'limited0', 'wfk_…45pq', 'runs:read', '5 read', '', 'sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL);
INSERT INTO public.api_keys VALUES ('address0', 'acme', 'live', 1702531200000, 'address0', 'wfk_…45pq', 'runs:read', '', '192.0.2.0/24', 'sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL);
INSERT INTO public.api_keys VALUES ('rotated0', 'acme', 'live', 1702531200000, 'rotated0', 'wfk_…1X0z', 'runs:read', '', '', 'sha256:8eabde624d94ccde1d73d4f5c5875f142f24972f729375c7f7ad4cf8a795720d', 1702531200000, 'sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e', 1703136000000, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 1, NULL);
INSERT INTO public.api_keys VALUES ('replaced', 'acme', 'live', 1702531200000, 'replaced', 'wfk_…nsaB', 'runs:read', '', '', 'sha256:3db87979e51251153e4f5d3d1dda55a79c0b3d193a7e716e3cdaa9360baee411', 1702531200000, 'sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c', 1702531260000, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 1, NULL);
INSERT INTO public.api_keys VALUES ('waiting0', 'acme', 'live', 1702531200000, 'waiting0', 'wfk_…45pq', 'runs:read', '', '', 'sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407', 1702531200000, NULL, NULL, 'sha256:0fd3a900461cecf7948862c3b7f9818b37488703bd73042c458e3c14aa6d126b', 'wfk_…1RCI', 1702531200000, 604800000, 'active', NULL, NULL, NULL, 1, NULL);
INSERT INTO public.api_keys VALUES ('uzBgdWRw', 'acme', 'live', 1702531200000, 'Created', 'wfk_…dEC4', 'runs:read', '', '', 'sha256:dc5aa41d4a6d8ff081252fee4df90d2e1d73632a10da2be42eb05785a9ee27e6', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL);
INSERT INTO public.api_keys VALUES ('system00', '', 'test', 1702531200000, 'system00', 'wfk_…45pq', 'runs:*', '', '', 'sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL);
ALTER TABLE ONLY public.api_key_digests
    ADD CONSTRAINT api_key_digests_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
CREATE INDEX api_key_digests_of_a_key ON public.api_key_digests USING btree (key_id);
CREATE INDEX api_keys_listing ON public.api_keys USING btree (organization, mode, created_at, id);
ALTER TABLE ONLY public.api_key_digests
    ADD CONSTRAINT api_key_digests_key_id_fkey FOREIGN KEY (key_id) REFERENCES public.api_keys(id) ON DELETE CASCADE;
