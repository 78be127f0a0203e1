-- A program may use these tables if it knows this version of the schema, or a later one.
ALTER TABLE api_key_schema ADD COLUMN needed_version integer NOT NULL DEFAULT 8;

UPDATE api_key_schema SET version = 8;
