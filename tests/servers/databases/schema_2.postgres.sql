-- standard: wfk_standard.abc123def456ghi789jkl012mno345pq
-- disabled: wfk_disabled.abc123def456ghi789jkl012mno345pq
-- revoked0: wfk_revoked0.abc123def456ghi789jkl012mno345pq
-- expired0: wfk_expired0.abc123def456ghi789jkl012mno345pq
-- future00: wfk_future00.abc123def456ghi789jkl012mno345pq
-- limited0: wfk_limited0.abc123def456ghi789jkl012mno345pq
-- address0: wfk_address0.abc123def456ghi789jkl012mno345pq
-- rotated0: wfk_rotated0.abc123def456ghi789jkl012mno345pq
-- rotated0 next: wfk_rotated0.wQIznYHo1M6ztxlaT7F2gbaXeUMbAzLN
-- replaced: wfk_replaced.abc123def456ghi789jkl012mno345pq
-- replaced next: wfk_replaced.meUKv7ARtxgIpSCbW2FnJ7XrNCvN355Z
-- waiting0: wfk_waiting0.abc123def456ghi789jkl012mno345pq
-- waiting0 next: wfk_waiting0.GurWXe3E2a6AHvTPOd1kPizm1oVN2aps
-- metadata: wfk_metadata.abc123def456ghi789jkl012mno345pq
-- created: wfk_i9Uj8lVM.Jvo2aKQy95JFdPF44Rb00PA7Vs38u7PR
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
    last_used_at bigint,
    created_by text,
    metadata text
);
INSERT INTO public.api_key_digests VALUES ('sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db', 'standard');
INSERT INTO public.api_key_digests VALUES ('sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290', 'disabled');
INSERT INTO public.api_key_digests VALUES ('sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366', 'revoked0');
INSERT INTO public.api_key_digests VALUES ('sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d', 'expired0');
INSERT INTO public.api_key_digests VALUES ('sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee', 'future00');
INSERT INTO public.api_key_digests VALUES ('sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3', 'limited0');
INSERT INTO public.api_key_digests VALUES ('sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d', 'address0');
INSERT INTO public.api_key_digests VALUES ('sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e', 'rotated0');
INSERT INTO public.api_key_digests VALUES ('sha256:385c4d156a1e5d2bc44256d45ab6c688f273c247a10e5e0c9d22ae10da78a993', 'rotated0');
INSERT INTO public.api_key_digests VALUES ('sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c', 'replaced');
INSERT INTO public.api_key_digests VALUES ('sha256:461985504b0e053bbcd1ec5b9b2286438d603d4eeb3ed45d555297d4bfbc2319', 'replaced');
INSERT INTO public.api_key_digests VALUES ('sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407', 'waiting0');
INSERT INTO public.api_key_digests VALUES ('sha256:198f41597b36a1c5188ef07fead233603fd664b4aff2960b5c561847483101c2', 'waiting0');
INSERT INTO public.api_key_digests VALUES ('sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505', 'metadata');
INSERT INTO public.api_key_digests VALUES ('sha256:e814156e67f8e341a0a68b8b6cce2b5871442a5f88ae49798756b1f97847c23a', 'i9Uj8lVM');
INSERT INTO public.api_key_digests VALUES ('sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372', 'system00');
INSERT INTO public.api_key_schema VALUES (2);
INSERT INTO public.api_keys VALUES ('standard', 'acme', 'live', 1702531200000, 'standard', 'wfk_…45pq', 'runs:read', '', '', 'sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, 1702531205000, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('disabled', 'acme', 'live', 1702531200000, 'disabled', 'wfk_…45pq', 'runs:read', '', '', 'sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'disabled', NULL, NULL, NULL, 1, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('revoked0', 'acme', 'live', 1702531200000, 'revoked0', 'wfk_…45pq', 'runs:read', '', '', 'sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'revoked', 1702531200000, NULL, NULL, 1, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('expired0', 'acme', 'live', 1702531200000, 'expired0', 'wfk_…45pq', 'runs:read', '', '', 'sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, 1702534800000, 0, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('future00', 'acme', 'live', 1702531200000, 'future00', 'wfk_…45pq', 'runs:read', '', '', 'sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, 1705123200000, NULL, 0, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('limited0', 'acme', 'live', 1702531200000, 'limited0', 'wfk_…45pq', 'runs:read', '5 read', '', 'sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('address0', 'acme', 'live', 1702531200000, 'address0', 'wfk_…45pq', 'runs:read', '', '192.0.2.0/24', 'sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('rotated0', 'acme', 'live', 1702531200000, 'rotated0', 'wfk_…AzLN', 'runs:read', '', '', 'sha256:385c4d156a1e5d2bc44256d45ab6c688f273c247a10e5e0c9d22ae10da78a993', 1702531200000, 'sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e', 1703136000000, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 1, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('replaced', 'acme', 'live', 1702531200000, 'replaced', 'wfk_…355Z', 'runs:read', '', '', 'sha256:461985504b0e053bbcd1ec5b9b2286438d603d4eeb3ed45d555297d4bfbc2319', 1702531200000, 'sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c', 1702531260000, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 1, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('waiting0', 'acme', 'live', 1702531200000, 'waiting0', 'wfk_…45pq', 'runs:read', '', '', 'sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407', 1702531200000, NULL, NULL, 'sha256:198f41597b36a1c5188ef07fead233603fd664b4aff2960b5c561847483101c2', 'wfk_…2aps', 1702531200000, 604800000, 'active', NULL, NULL, NULL, 1, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('metadata', 'acme', 'live', 1702531200000, 'metadata', 'wfk_…45pq', 'runs:*', '', '', 'sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', '{"plan":"pro"}');
INSERT INTO public.api_keys VALUES ('i9Uj8lVM', 'acme', 'live', 1702531200000, 'Created', 'wfk_…u7PR', 'runs:read', '', '', 'sha256:e814156e67f8e341a0a68b8b6cce2b5871442a5f88ae49798756b1f97847c23a', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', NULL);
INSERT INTO public.api_keys VALUES ('system00', '', 'test', 1702531200000, 'system00', 'wfk_…45pq', 'runs:*', '', '', 'sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator', NULL);
ALTER TABLE ONLY public.api_key_digests
    ADD CONSTRAINT api_key_digests_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (id);
CREATE INDEX api_key_digests_of_a_key ON public.api_key_digests USING btree (key_id);
CREATE INDEX api_keys_by_age ON public.api_keys USING btree (created_at, id);
CREATE INDEX api_keys_by_creator ON public.api_keys USING btree (created_by, created_at, id);
CREATE INDEX api_keys_listing ON public.api_keys USING btree (organization, mode, created_at, id);
ALTER TABLE ONLY public.api_key_digests
    ADD CONSTRAINT api_key_digests_key_id_fkey FOREIGN KEY (key_id) REFERENCES public.api_keys(id) ON DELETE CASCADE;
