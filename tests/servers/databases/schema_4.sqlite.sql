-- standard: wfk_standard.abc123def456ghi789jkl012mno345pq
-- disabled: wfk_disabled.abc123def456ghi789jkl012mno345pq
-- revoked0: wfk_revoked0.abc123def456ghi789jkl012mno345pq
-- expired0: wfk_expired0.abc123def456ghi789jkl012mno345pq
-- future00: wfk_future00.abc123def456ghi789jkl012mno345pq
-- limited0: wfk_limited0.abc123def456ghi789jkl012mno345pq
-- address0: wfk_address0.abc123def456ghi789jkl012mno345pq
-- rotated0: wfk_rotated0.abc123def456ghi789jkl012mno345pq
-- rotated0 next: wfk_rotated0.Rk3Su3UnG6qm6TXasDhXdcG7vNdSXUru
-- replaced: wfk_replaced.abc123def456ghi789jkl012mno345pq
-- replaced next: wfk_replaced.16fd3zLJVBiMDfB5Qlt3lSFnNyq7TVar
-- waiting0: wfk_waiting0.abc123def456ghi789jkl012mno345pq
-- waiting0 next: wfk_waiting0.rH9Mwe2lbYsNVz6rAw3p7kggbjQEfsvf
-- metadata: wfk_metadata.abc123def456ghi789jkl012mno345pq
-- created: wfk_xSZAw7Gk.M1WpT5oJ1UxeDcTbfQedsfLTiY0TGLmT
-- system00: wfk_system00.abc123def456ghi789jkl012mno345pq
PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    organization TEXT NOT NULL,      -- the empty text is the system
    mode TEXT NOT NULL,              -- live, test
    created_at INTEGER NOT NULL,
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    scopes TEXT NOT NULL,            -- with spaces between them
    limits TEXT NOT NULL,            -- one to a line: requests, space, category
    allowed_addresses TEXT NOT NULL, -- with spaces between them; empty: from anywhere
    digest TEXT NOT NULL,            -- sha256:<hex>, hmac-sha256:<pepper>:<hex>
    secret_created_at INTEGER NOT NULL,
    previous_digest TEXT,
    previous_valid_until INTEGER,
    next_digest TEXT,
    next_hint TEXT,
    next_created_at INTEGER,
    next_grace INTEGER,              -- milliseconds
    state TEXT NOT NULL,             -- active, disabled, revoked
    revoked_at INTEGER,
    not_before INTEGER,
    expires_at INTEGER,
    version INTEGER NOT NULL,
    last_used_at INTEGER
, created_by TEXT, metadata TEXT, imported_hash TEXT, tier TEXT NOT NULL DEFAULT 'organization') STRICT, WITHOUT ROWID;
INSERT INTO api_keys VALUES('address0','acme','live',1702531200000,'address0','wfk_…45pq','runs:read','','192.0.2.0/24','sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('disabled','acme','live',1702531200000,'disabled','wfk_…45pq','runs:read','','','sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'disabled',NULL,NULL,NULL,1,NULL,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('expired0','acme','live',1702531200000,'expired0','wfk_…45pq','runs:read','','','sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,1702534800000,0,NULL,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('foreign0','acme','live',1702531200000,'foreign0','old_…','','','','sha256:d18404edd3d7467525d16e0c6aa9e770268cc69553170d8f9e59e7ba7309694a',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator ada',NULL,'plain:secret','organization');
INSERT INTO api_keys VALUES('future00','acme','live',1702531200000,'future00','wfk_…45pq','runs:read','','','sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,1705123200000,NULL,0,NULL,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('limited0','acme','live',1702531200000,'limited0','wfk_…45pq','runs:read','5 read','','sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('metadata','acme','live',1702531200000,'metadata','wfk_…45pq','runs:*','','','sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator ada','{"plan":"pro"}',NULL,'organization');
INSERT INTO api_keys VALUES('replaced','acme','live',1702531200000,'replaced','wfk_…TVar','runs:read','','','sha256:b349b00045a06035c47ae41b1df260a10d29d9205ebac456b32c8883e84b447c',1702531200000,'sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c',1702531260000,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,1,NULL,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('revoked0','acme','live',1702531200000,'revoked0','wfk_…45pq','runs:read','','','sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'revoked',1702531200000,NULL,NULL,1,NULL,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('rotated0','acme','live',1702531200000,'rotated0','wfk_…XUru','runs:read','','','sha256:0c4c52f35c5a353f8f9b0555b1d74d25593f4a24a81a13b08024be6d0c7b8f11',1702531200000,'sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e',1703136000000,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,1,NULL,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('standard','acme','live',1702531200000,'standard','wfk_…45pq','runs:read','','','sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,1702531205000,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('system00','','test',1702531200000,'system00','wfk_…45pq','runs:*','','','sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator',NULL,NULL,'system');
INSERT INTO api_keys VALUES('waiting0','acme','live',1702531200000,'waiting0','wfk_…45pq','runs:read','','','sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407',1702531200000,NULL,NULL,'sha256:4e91165fc23fe3b87b2dcc1c2e28b0de6722c58680f5b5dcbfe689e2ca1b3302','wfk_…fsvf',1702531200000,604800000,'active',NULL,NULL,NULL,1,NULL,'operator ada',NULL,NULL,'organization');
INSERT INTO api_keys VALUES('xSZAw7Gk','acme','live',1702531200000,'Created','wfk_…GLmT','runs:read','','','sha256:218b130dfe0636273bc82f173e16af63a587e2c3d6b89ef59e1d49758a61a9d9',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator ada',NULL,NULL,'organization');
CREATE TABLE api_key_digests (
    digest TEXT PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES api_keys ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
INSERT INTO api_key_digests VALUES('sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d','address0');
INSERT INTO api_key_digests VALUES('sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290','disabled');
INSERT INTO api_key_digests VALUES('sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d','expired0');
INSERT INTO api_key_digests VALUES('sha256:d18404edd3d7467525d16e0c6aa9e770268cc69553170d8f9e59e7ba7309694a','foreign0');
INSERT INTO api_key_digests VALUES('sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee','future00');
INSERT INTO api_key_digests VALUES('sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3','limited0');
INSERT INTO api_key_digests VALUES('sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505','metadata');
INSERT INTO api_key_digests VALUES('sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c','replaced');
INSERT INTO api_key_digests VALUES('sha256:b349b00045a06035c47ae41b1df260a10d29d9205ebac456b32c8883e84b447c','replaced');
INSERT INTO api_key_digests VALUES('sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366','revoked0');
INSERT INTO api_key_digests VALUES('sha256:0c4c52f35c5a353f8f9b0555b1d74d25593f4a24a81a13b08024be6d0c7b8f11','rotated0');
INSERT INTO api_key_digests VALUES('sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e','rotated0');
INSERT INTO api_key_digests VALUES('sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db','standard');
INSERT INTO api_key_digests VALUES('sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372','system00');
INSERT INTO api_key_digests VALUES('sha256:4e91165fc23fe3b87b2dcc1c2e28b0de6722c58680f5b5dcbfe689e2ca1b3302','waiting0');
INSERT INTO api_key_digests VALUES('sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407','waiting0');
INSERT INTO api_key_digests VALUES('sha256:218b130dfe0636273bc82f173e16af63a587e2c3d6b89ef59e1d49758a61a9d9','xSZAw7Gk');
CREATE TABLE api_key_schema (version INTEGER NOT NULL) STRICT;
INSERT INTO api_key_schema VALUES(4);
CREATE TABLE api_key_imports (
    digest TEXT PRIMARY KEY,
    key_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO api_key_imports VALUES('sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d','address0');
INSERT INTO api_key_imports VALUES('sha256:74ed6cbc9aeb6bdd0aac3af86a6e946983543eac4dae2f04ddb776722fceb9af','deleted0');
INSERT INTO api_key_imports VALUES('sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290','disabled');
INSERT INTO api_key_imports VALUES('sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d','expired0');
INSERT INTO api_key_imports VALUES('sha256:d18404edd3d7467525d16e0c6aa9e770268cc69553170d8f9e59e7ba7309694a','foreign0');
INSERT INTO api_key_imports VALUES('sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee','future00');
INSERT INTO api_key_imports VALUES('sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3','limited0');
INSERT INTO api_key_imports VALUES('sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505','metadata');
INSERT INTO api_key_imports VALUES('sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c','replaced');
INSERT INTO api_key_imports VALUES('sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366','revoked0');
INSERT INTO api_key_imports VALUES('sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e','rotated0');
INSERT INTO api_key_imports VALUES('sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db','standard');
INSERT INTO api_key_imports VALUES('sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372','system00');
INSERT INTO api_key_imports VALUES('sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407','waiting0');
CREATE TABLE api_key_quotas (
    category TEXT NOT NULL,
    subject TEXT NOT NULL,       -- key:<id>, address:<address>, other:<name>; an organization is other:<mode>:<name>
    period INTEGER NOT NULL,     -- the beginning of the period; 0 for credits
    used INTEGER NOT NULL,       -- in that period, with what processes have leased
    highest_limit INTEGER NOT NULL, -- that applied in that period
    granted INTEGER NOT NULL,    -- beyond the limit, for any period
    PRIMARY KEY (category, subject)
) STRICT, WITHOUT ROWID;
INSERT INTO api_key_quotas VALUES('month','key:limited0',1701388800000,0,0,50);
CREATE TABLE api_key_changes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key_id TEXT NOT NULL
) STRICT;
INSERT INTO api_key_changes VALUES(1,'standard');
INSERT INTO api_key_changes VALUES(2,'disabled');
INSERT INTO api_key_changes VALUES(3,'disabled');
INSERT INTO api_key_changes VALUES(4,'revoked0');
INSERT INTO api_key_changes VALUES(5,'revoked0');
INSERT INTO api_key_changes VALUES(6,'expired0');
INSERT INTO api_key_changes VALUES(7,'future00');
INSERT INTO api_key_changes VALUES(8,'limited0');
INSERT INTO api_key_changes VALUES(9,'address0');
INSERT INTO api_key_changes VALUES(10,'rotated0');
INSERT INTO api_key_changes VALUES(11,'rotated0');
INSERT INTO api_key_changes VALUES(12,'replaced');
INSERT INTO api_key_changes VALUES(13,'replaced');
INSERT INTO api_key_changes VALUES(14,'waiting0');
INSERT INTO api_key_changes VALUES(15,'waiting0');
INSERT INTO api_key_changes VALUES(16,'metadata');
INSERT INTO api_key_changes VALUES(17,'xSZAw7Gk');
INSERT INTO api_key_changes VALUES(18,'system00');
INSERT INTO api_key_changes VALUES(19,'deleted0');
INSERT INTO api_key_changes VALUES(20,'deleted0');
INSERT INTO api_key_changes VALUES(21,'deleted0');
INSERT INTO api_key_changes VALUES(22,'foreign0');
DELETE FROM sqlite_sequence;
INSERT INTO sqlite_sequence VALUES('api_key_changes',22);
CREATE INDEX api_keys_listing ON api_keys (organization, mode, created_at, id);
CREATE INDEX api_key_digests_of_a_key ON api_key_digests (key_id);
CREATE INDEX api_keys_by_age ON api_keys (created_at, id);
CREATE INDEX api_keys_by_creator ON api_keys (created_by, created_at, id);
CREATE INDEX api_key_imports_of_a_key ON api_key_imports (key_id);
CREATE TRIGGER api_keys_check_new BEFORE INSERT ON api_keys
WHEN NEW.state NOT IN ('active', 'disabled', 'revoked') OR NEW.tier NOT IN ('organization', 'system')
    OR (NEW.tier = 'system') <> (NEW.organization = '')
BEGIN
    SELECT RAISE(ABORT, 'api_keys: not a state, or not an owner');
END;
CREATE TRIGGER api_keys_check BEFORE UPDATE OF state, tier, organization ON api_keys
WHEN NEW.state NOT IN ('active', 'disabled', 'revoked') OR NEW.tier NOT IN ('organization', 'system')
    OR (NEW.tier = 'system') <> (NEW.organization = '')
BEGIN
    SELECT RAISE(ABORT, 'api_keys: not a state, or not an owner');
END;
CREATE TRIGGER api_keys_inserted AFTER INSERT ON api_keys
BEGIN
    INSERT INTO api_key_changes (key_id) VALUES (NEW.id);
    DELETE FROM api_key_changes WHERE number <= (SELECT max(number) FROM api_key_changes) - 10000;
END;
CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys
BEGIN
    INSERT INTO api_key_changes (key_id) VALUES (OLD.id);
    DELETE FROM api_key_changes WHERE number <= (SELECT max(number) FROM api_key_changes) - 10000;
END;
CREATE TRIGGER api_keys_updated AFTER UPDATE OF id, organization, mode, created_at, name, hint, scopes, limits,
    allowed_addresses, digest, secret_created_at, previous_digest, previous_valid_until, next_digest, next_hint,
    next_created_at, next_grace, state, revoked_at, not_before, expires_at, version, created_by, metadata,
    imported_hash, tier ON api_keys
BEGIN
    UPDATE api_keys SET version = version + 1 WHERE id = NEW.id AND NEW.version = OLD.version;
    UPDATE api_keys SET revoked_at = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)
        WHERE id = NEW.id AND NEW.state = 'revoked' AND NEW.revoked_at IS NULL;
    INSERT INTO api_key_changes (key_id) VALUES (NEW.id);
    DELETE FROM api_key_changes WHERE number <= (SELECT max(number) FROM api_key_changes) - 10000;
END;
COMMIT;
