-- What was done to keys, and what was forbidden or has failed. Old rows can be deleted.
CREATE TABLE api_key_audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at bigint NOT NULL,
    action text NOT NULL,                   -- create, update, rotate, revoke, delete, …
    outcome text NOT NULL,                  -- done, or the code of why it was not
    changed text NOT NULL,                  -- the fields that an update has changed, with spaces between them
    key_id text COLLATE "C",                -- NULL: there was none yet
    organization text COLLATE "C" NOT NULL, -- of the key; the empty text is the system
    tier text NOT NULL,                     -- organization, system
    mode text NOT NULL,                     -- live, test
    actor text NOT NULL,                    -- key <id>, session <id>, operator, operator <name>
    delivered boolean NOT NULL DEFAULT false -- to the application
);

CREATE INDEX api_key_audit_of_a_key ON api_key_audit (key_id, number);
CREATE INDEX api_key_audit_undelivered ON api_key_audit (number) WHERE NOT delivered;

-- One row: the process that delivers events to the application, and until when no other does.
CREATE TABLE api_key_audit_delivery (process text COLLATE "C" NOT NULL, until bigint NOT NULL);

INSERT INTO api_key_audit_delivery VALUES ('', 0);

UPDATE api_key_schema SET version = 5;
