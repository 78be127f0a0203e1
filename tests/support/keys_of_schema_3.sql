-- Keys, imports and quotas as version 3 of the schema held them. Never to be changed.
INSERT INTO api_keys (id, organization, mode, created_at, name, hint, scopes, limits, allowed_addresses, digest, secret_created_at, previous_digest, previous_valid_until, next_digest, next_hint, next_created_at, next_grace, state, revoked_at, not_before, expires_at, version, last_used_at, created_by, metadata, imported_hash)
VALUES ('k_imported', 'acme', 'live', 1702531200000, 'Imported', 'old.…', '', '', '', 'sha256:3b829807609d131aed96501baaf864469e9f665b8d554b50f553c3a7e9576baa', 1702531200000, NULL, NULL, NULL, NULL, NULL, NULL, 'active', NULL, NULL, NULL, 0, NULL, 'operator ada', NULL, '$2b$12$x');
INSERT INTO api_key_digests (digest, key_id) VALUES ('sha256:3b829807609d131aed96501baaf864469e9f665b8d554b50f553c3a7e9576baa', 'k_imported');
INSERT INTO api_key_imports (digest, key_id) VALUES ('sha256:3b829807609d131aed96501baaf864469e9f665b8d554b50f553c3a7e9576baa', 'k_imported');
INSERT INTO api_key_imports (digest, key_id) VALUES ('sha256:1185f37d33b0f89e331f101a51bb8e51165c7efda15950b86a3ebcbb363f898e', 'k_deleted');
INSERT INTO api_key_quotas (category, subject, period, used, highest_limit, granted) VALUES ('month', 'key:k_imported', 1701388800000, 400, 1000, 50);
