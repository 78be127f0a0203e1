ALTER TABLE api_keys ADD COLUMN imported_hash text; -- of another system; NULL: there is none, or the key was used

-- Every digest that was imported, also of keys that were deleted.
CREATE TABLE api_key_imports (
    digest text COLLATE "C" PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL
);

CREATE INDEX api_key_imports_of_a_key ON api_key_imports (key_id);

UPDATE api_key_schema SET version = 3;
