-- How often keys are used, in UTC: sums by hour and by day, each begun at this many milliseconds since 1970. Old rows are deleted.
CREATE TABLE api_key_usage_hours (
    hour bigint NOT NULL,
    organization text COLLATE "C" NOT NULL, -- of the key; the empty text is the system
    mode text COLLATE "C" NOT NULL,         -- live, test
    key_id text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,     -- of a limit; the empty text if none counts the requests
    ok bigint NOT NULL,                     -- how many requests have ended so
    client_error bigint NOT NULL,
    limited bigint NOT NULL,
    forbidden bigint NOT NULL,
    refused bigint NOT NULL,
    server_error bigint NOT NULL,
    PRIMARY KEY (organization, mode, hour, key_id, category)
);

CREATE INDEX api_key_usage_hours_by_age ON api_key_usage_hours (hour);

CREATE TABLE api_key_usage_days (
    day bigint NOT NULL,
    organization text COLLATE "C" NOT NULL,
    mode text COLLATE "C" NOT NULL,
    key_id text COLLATE "C" NOT NULL,
    category text COLLATE "C" NOT NULL,
    ok bigint NOT NULL,
    client_error bigint NOT NULL,
    limited bigint NOT NULL,
    forbidden bigint NOT NULL,
    refused bigint NOT NULL,
    server_error bigint NOT NULL,
    PRIMARY KEY (organization, mode, day, key_id, category)
);

CREATE INDEX api_key_usage_days_by_age ON api_key_usage_days (day);

-- The last batch that each process has added, so that none is added twice.
CREATE TABLE api_key_usage_processes (
    process text COLLATE "C" PRIMARY KEY, -- a random name
    number bigint NOT NULL,
    made_at bigint NOT NULL
);

CREATE INDEX api_key_usage_processes_by_age ON api_key_usage_processes (made_at);

UPDATE api_key_schema SET version = 6;
