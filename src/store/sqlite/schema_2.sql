ALTER TABLE api_keys ADD COLUMN created_by TEXT; -- key <id>, session <id>, operator, operator <name>; NULL: not known
ALTER TABLE api_keys ADD COLUMN metadata TEXT;   -- a JSON object of at most 4096 bytes

UPDATE api_key_schema SET version = 2;
