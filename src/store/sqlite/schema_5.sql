-- What was done to keys, and what was forbidden or has failed. Old rows can be deleted.
CREATE TABLE api_key_audit (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,              -- create, update, rotate, revoke, delete, …
    outcome TEXT NOT NULL,             -- done, or the code of why it was not
    changed TEXT NOT NULL,             -- the fields that an update has changed, with spaces between them
    key_id TEXT,                       -- NULL: there was none yet
    organization TEXT NOT NULL,        -- of the key; the empty text is the system
    tier TEXT NOT NULL,                -- organization, system
    mode TEXT NOT NULL,                -- live, test
    actor TEXT NOT NULL,               -- key <id>, session <id>, operator, operator <name>
    delivered INTEGER NOT NULL DEFAULT 0 -- to the application
) STRICT;

CREATE INDEX api_key_audit_of_a_key ON api_key_audit (key_id, number);
CREATE INDEX api_key_audit_undelivered ON api_key_audit (number) WHERE NOT delivered;

-- One row: the process that delivers events to the application, and until when no other does.
CREATE TABLE api_key_audit_delivery (process TEXT NOT NULL, until INTEGER NOT NULL) STRICT;

INSERT INTO api_key_audit_delivery VALUES ('', 0);

UPDATE api_key_schema SET version = 5;
