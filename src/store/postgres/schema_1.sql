-- Keys. Instants are milliseconds since 1970-01-01T00:00:00Z.
CREATE TABLE api_keys (
    id text COLLATE "C" PRIMARY KEY,
    organization text COLLATE "C" NOT NULL, -- the empty text is the system
    mode text NOT NULL,                     -- live, test
    created_at bigint NOT NULL,
    name text NOT NULL,
    hint text NOT NULL,
    scopes text NOT NULL,                   -- with spaces between them
    limits text NOT NULL,                   -- one to a line: requests, space, category
    allowed_addresses text NOT NULL,        -- with spaces between them; empty: from anywhere
    digest text NOT NULL,                   -- sha256:<hex>, hmac-sha256:<pepper>:<hex>
    secret_created_at bigint NOT NULL,
    previous_digest text,
    previous_valid_until bigint,
    next_digest text,
    next_hint text,
    next_created_at bigint,
    next_grace bigint,                      -- milliseconds
    state text NOT NULL,                    -- active, disabled, revoked
    revoked_at bigint,
    not_before bigint,
    expires_at bigint,
    version bigint NOT NULL,
    last_used_at bigint
);

CREATE INDEX api_keys_listing ON api_keys (organization, mode, created_at, id);

-- Every digest that finds a key: of the secret in use, the one before it, the one after it.
CREATE TABLE api_key_digests (
    digest text COLLATE "C" PRIMARY KEY,
    key_id text COLLATE "C" NOT NULL REFERENCES api_keys ON DELETE CASCADE
);

CREATE INDEX api_key_digests_of_a_key ON api_key_digests (key_id);

-- One row: the version of this schema.
CREATE TABLE api_key_schema (version integer NOT NULL);

INSERT INTO api_key_schema VALUES (1);
