ALTER TABLE api_keys ADD COLUMN imported_hash TEXT; -- of another system; NULL: there is none, or the key was used

-- Every digest that was imported, also of keys that were deleted.
CREATE TABLE api_key_imports (
    digest TEXT PRIMARY KEY,
    key_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_imports_of_a_key ON api_key_imports (key_id);

UPDATE api_key_schema SET version = 3;
