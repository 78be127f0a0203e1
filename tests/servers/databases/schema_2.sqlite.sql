-- standard: wfk_standard.abc123def456ghi789jkl012mno345pq
-- disabled: wfk_disabled.abc123def456ghi789jkl012mno345pq
-- revoked0: wfk_revoked0.abc123def456ghi789jkl012mno345pq
-- expired0: wfk_expired0.abc123def456ghi789jkl012mno345pq
-- future00: wfk_future00.abc123def456ghi789jkl012mno345pq
-- limited0: wfk_limited0.abc123def456ghi789jkl012mno345pq
-- address0: wfk_address0.abc123def456ghi789jkl012mno345pq
-- rotated0: wfk_rotated0.abc123def456ghi789jkl012mno345pq
-- rotated0 next: wfk_rotated0.T0ClH5Wzui8QWdjXUpDbXldWYfDZAiwV
-- replaced: wfk_replaced.abc123def456ghi789jkl012mno345pq
-- replaced next: wfk_replaced.p9c3YWSbaplCzj8NEn0w2to57EHpvhk0
-- waiting0: wfk_waiting0.abc123def456ghi789jkl012mno345pq
-- waiting0 next: wfk_waiting0.QM9uSx6lUI9sWHqhbIbymj4GcZfYEuLw
-- metadata: wfk_metadata.abc123def456ghi789jkl012mno345pq
-- created: wfk_aBV7DkaN.LgfO0ELLu9QNIuWf415WuCIka5JxFgDE
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
, created_by TEXT, metadata TEXT) STRICT, WITHOUT ROWID;
INSERT INTO api_keys VALUES('aBV7DkaN','acme','live',1702531200000,'Created','wfk_…FgDE','runs:read','','','sha256:cf7521bbd4c53b3ee5391e236d6a1766e1b8c2ecde73e569274241eee87dbf22',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator ada',NULL);
INSERT INTO api_keys VALUES('address0','acme','live',1702531200000,'address0','wfk_…45pq','runs:read','','192.0.2.0/24','sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator ada',NULL);
INSERT INTO api_keys VALUES('disabled','acme','live',1702531200000,'disabled','wfk_…45pq','runs:read','','','sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'disabled',NULL,NULL,NULL,1,NULL,'operator ada',NULL);
INSERT INTO api_keys VALUES('expired0','acme','live',1702531200000,'expired0','wfk_…45pq','runs:read','','','sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,1702534800000,0,NULL,'operator ada',NULL);
INSERT INTO api_keys VALUES('future00','acme','live',1702531200000,'future00','wfk_…45pq','runs:read','','','sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,1705123200000,NULL,0,NULL,'operator ada',NULL);
INSERT INTO api_keys VALUES('limited0','acme','live',1702531200000,'limited0','wfk_…45pq','runs:read','5 read','','sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator ada',NULL);
INSERT INTO api_keys VALUES('metadata','acme','live',1702531200000,'metadata','wfk_…45pq','runs:*','','','sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator ada','{"plan":"pro"}');
INSERT INTO api_keys VALUES('replaced','acme','live',1702531200000,'replaced','wfk_…vhk0','runs:read','','','sha256:61d193d89d816a9033b36505fb1500a31b0ebe56c6134a61002645f74308e88b',1702531200000,'sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c',1702531260000,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,1,NULL,'operator ada',NULL);
INSERT INTO api_keys VALUES('revoked0','acme','live',1702531200000,'revoked0','wfk_…45pq','runs:read','','','sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'revoked',1702531200000,NULL,NULL,1,NULL,'operator ada',NULL);
INSERT INTO api_keys VALUES('rotated0','acme','live',1702531200000,'rotated0','wfk_…AiwV','runs:read','','','sha256:76954063df129fe340d9d9e8907568aaf74375728e14e50642f2347bef81036d',1702531200000,'sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e',1703136000000,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,1,NULL,'operator ada',NULL);
INSERT INTO api_keys VALUES('standard','acme','live',1702531200000,'standard','wfk_…45pq','runs:read','','','sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,1702531205000,'operator ada',NULL);
INSERT INTO api_keys VALUES('system00','','test',1702531200000,'system00','wfk_…45pq','runs:*','','','sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372',1702531200000,NULL,NULL,NULL,NULL,NULL,NULL,'active',NULL,NULL,NULL,0,NULL,'operator',NULL);
INSERT INTO api_keys VALUES('waiting0','acme','live',1702531200000,'waiting0','wfk_…45pq','runs:read','','','sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407',1702531200000,NULL,NULL,'sha256:7346e5a657b062bdf1126ab8b9a439c66ad3642192de8b338467eaae0ab3021b','wfk_…EuLw',1702531200000,604800000,'active',NULL,NULL,NULL,1,NULL,'operator ada',NULL);
CREATE TABLE api_key_digests (
    digest TEXT PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES api_keys ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
INSERT INTO api_key_digests VALUES('sha256:cf7521bbd4c53b3ee5391e236d6a1766e1b8c2ecde73e569274241eee87dbf22','aBV7DkaN');
INSERT INTO api_key_digests VALUES('sha256:f5c92a7e2bda4b6b2befdbe4a30ab6a9df1ea7bbbc827633fa24d4822ce4ab5d','address0');
INSERT INTO api_key_digests VALUES('sha256:a0461ab2721eb4eac024eacffa7bbf490caf7002fbe1822c76a91a3ae4187290','disabled');
INSERT INTO api_key_digests VALUES('sha256:5c27a7fa194a523f529c9ec63a25fc234aabb7131a33016417f8745d03baeb7d','expired0');
INSERT INTO api_key_digests VALUES('sha256:3b6c5c648e1b79ecf48e9fa1c145aadb6ee1bc6615bdb0ccf7a0f654e9ad50ee','future00');
INSERT INTO api_key_digests VALUES('sha256:556cf843f4399bea6a7791e0ec877616ec56c8023d97f892876044a8e67e0de3','limited0');
INSERT INTO api_key_digests VALUES('sha256:6b9039f3eda42c61865ddc7db4b942beeec206a56edd43ec90ce496acb090505','metadata');
INSERT INTO api_key_digests VALUES('sha256:61d193d89d816a9033b36505fb1500a31b0ebe56c6134a61002645f74308e88b','replaced');
INSERT INTO api_key_digests VALUES('sha256:905b38580d5743416562793501685e74d993fc2797fd08df226d6e10b5adfd6c','replaced');
INSERT INTO api_key_digests VALUES('sha256:34cefd8a0ebdac1747970ba34c67294c2b0a86234c779793c085562bb58f5366','revoked0');
INSERT INTO api_key_digests VALUES('sha256:62813a08f343115c7ce01a195fec8aa8eea0579210aee70d702d5275dbae764e','rotated0');
INSERT INTO api_key_digests VALUES('sha256:76954063df129fe340d9d9e8907568aaf74375728e14e50642f2347bef81036d','rotated0');
INSERT INTO api_key_digests VALUES('sha256:5e0e0053e597310b93fe071f741baffd255ab22461ad96f32ae5dcb96fd2a3db','standard');
INSERT INTO api_key_digests VALUES('sha256:59615e115801b94dc9795e990576634b30fa8bb47a836d8b3d2cccfc99447372','system00');
INSERT INTO api_key_digests VALUES('sha256:68867eff8d2e56e13fd19a13b13aaa5461cede6e83e6870df6e2048413adc407','waiting0');
INSERT INTO api_key_digests VALUES('sha256:7346e5a657b062bdf1126ab8b9a439c66ad3642192de8b338467eaae0ab3021b','waiting0');
CREATE TABLE api_key_schema (version INTEGER NOT NULL) STRICT;
INSERT INTO api_key_schema VALUES(2);
CREATE INDEX api_keys_listing ON api_keys (organization, mode, created_at, id);
CREATE INDEX api_key_digests_of_a_key ON api_key_digests (key_id);
CREATE INDEX api_keys_by_age ON api_keys (created_at, id);
CREATE INDEX api_keys_by_creator ON api_keys (created_by, created_at, id);
COMMIT;
