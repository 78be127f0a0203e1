ALTER TABLE api_keys ADD COLUMN created_by TEXT; -- key <id>, session <id>, operator, operator <name>; NULL: not known
ALTER TABLE api_keys ADD COLUMN metadata TEXT;   -- a JSON object of at most 4096 bytes

CREATE INDEX api_keys_by_age ON api_keys (created_at, id);
CREATE INDEX api_keys_by_creator ON api_keys (created_by, created_at, id);

UPDATE api_key_schema SET version = 2;
