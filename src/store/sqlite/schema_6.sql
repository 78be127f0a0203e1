-- How often keys are used, in UTC: sums by hour and by day, each begun at this many milliseconds since 1970. Old rows are deleted.
CREATE TABLE api_key_usage_hours (
    hour INTEGER NOT NULL,
    organization TEXT NOT NULL, -- of the key; the empty text is the system
    mode TEXT NOT NULL,         -- live, test
    key_id TEXT NOT NULL,
    category TEXT NOT NULL,     -- of a limit; the empty text if none counts the requests
    ok INTEGER NOT NULL,        -- how many requests have ended so
    client_error INTEGER NOT NULL,
    limited INTEGER NOT NULL,
    forbidden INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    server_error INTEGER NOT NULL,
    PRIMARY KEY (organization, mode, hour, key_id, category)
) STRICT;

CREATE INDEX api_key_usage_hours_by_age ON api_key_usage_hours (hour);

CREATE TABLE api_key_usage_days (
    day INTEGER NOT NULL,
    organization TEXT NOT NULL,
    mode TEXT NOT NULL,
    key_id TEXT NOT NULL,
    category TEXT NOT NULL,
    ok INTEGER NOT NULL,
    client_error INTEGER NOT NULL,
    limited INTEGER NOT NULL,
    forbidden INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    server_error INTEGER NOT NULL,
    PRIMARY KEY (organization, mode, day, key_id, category)
) STRICT;

CREATE INDEX api_key_usage_days_by_age ON api_key_usage_days (day);

-- The last batch that each process has added, so that none is added twice.
CREATE TABLE api_key_usage_processes (
    process TEXT NOT NULL PRIMARY KEY, -- a random name
    number INTEGER NOT NULL,
    made_at INTEGER NOT NULL
) STRICT;

CREATE INDEX api_key_usage_processes_by_age ON api_key_usage_processes (made_at);

UPDATE api_key_schema SET version = 6;
