-- Why an operation was done, or where a key was found.
ALTER TABLE api_key_audit ADD COLUMN reason text;

UPDATE api_key_schema SET version = 7;
