ALTER TABLE api_keys ADD COLUMN imported_hash TEXT; -- of another system; NULL: there is none, or the key was used

-- Every digest that was imported, also of keys that were deleted.
CREATE TABLE api_key_imports (
    digest TEXT PRIMARY KEY,
    key_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_imports_of_a_key ON api_key_imports (key_id);

-- Stored quotas: what is counted for a subject in a category.
CREATE TABLE api_key_quotas (
    category TEXT NOT NULL,
    subject TEXT NOT NULL,       -- key:<id>, address:<address>, other:<name>; an organization is other:<mode>:<name>
    period INTEGER NOT NULL,     -- the beginning of the period; 0 for credits
    used INTEGER NOT NULL,       -- in that period, with what processes have leased
    highest_limit INTEGER NOT NULL, -- that applied in that period
    granted INTEGER NOT NULL,    -- beyond the limit, for any period
    PRIMARY KEY (category, subject)
) STRICT, WITHOUT ROWID;

UPDATE api_key_schema SET version = 3;
