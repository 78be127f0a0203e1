-- Keys. Instants are milliseconds since 1970-01-01T00:00:00Z.
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
) STRICT, WITHOUT ROWID;

CREATE INDEX api_keys_listing ON api_keys (organization, mode, created_at, id);

-- Every digest that finds a key: of the secret in use, the one before it, the one after it.
CREATE TABLE api_key_digests (
    digest TEXT PRIMARY KEY,
    key_id TEXT NOT NULL REFERENCES api_keys ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX api_key_digests_of_a_key ON api_key_digests (key_id);

-- One row: the version of this schema.
CREATE TABLE api_key_schema (version INTEGER NOT NULL) STRICT;

INSERT INTO api_key_schema VALUES (1);
