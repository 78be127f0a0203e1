//! The SQL of the store.

use super::audit::audit;
use crate::store::sql::{columns, insert_key, update_key};

pub(super) const FIND_BY_DIGEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys WHERE id = (SELECT key_id FROM api_key_digests WHERE digest = ANY($1) \
     ORDER BY array_position($1, digest) LIMIT 1)"
);

/// `$28` is all digests, `$29` the event.
pub(super) const INSERT: &str = concat!(
    "WITH changed AS (",
    insert_key!(),
    " RETURNING id), added AS (\
     INSERT INTO api_key_digests (digest, key_id) SELECT given.digest, changed.id \
     FROM changed, unnest($28) AS given (digest)), ",
    audit!("$29"),
    " SELECT FROM changed"
);

/// `$29` is all digests, `$30` the event.
pub(super) const REPLACE: &str = concat!(
    "WITH changed AS (",
    update_key!(),
    " RETURNING id), dropped AS (\
     DELETE FROM api_key_digests USING changed WHERE key_id = changed.id AND digest <> ALL ($29)), added AS (\
     INSERT INTO api_key_digests (digest, key_id) SELECT given.digest, changed.id \
     FROM changed, unnest($29) AS given (digest) WHERE NOT EXISTS (\
     SELECT FROM api_key_digests AS own WHERE own.digest = given.digest AND own.key_id = changed.id)), ",
    audit!("$30"),
    " SELECT FROM changed"
);

/// Also of tables that are older than the second column.
pub(super) const STORED_SCHEMA: &str = "SELECT version::bigint, coalesce((to_jsonb(api_key_schema) ->> 'needed_version')::bigint, 0) \
     FROM api_key_schema";

pub(super) const LOCK_QUOTA: &str = "SELECT period, used, highest_limit, granted FROM api_key_quotas WHERE category = $1 AND subject = $2 FOR UPDATE";

pub(super) const ADD_QUOTA: &str = "INSERT INTO api_key_quotas (category, subject, period, used, highest_limit, granted) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";

pub(super) const LOCK_KEY: &str = concat!("SELECT ", columns!(), " FROM api_keys WHERE id = $1 FOR UPDATE");

/// `$4` is the event.
pub(super) const DELETE: &str = concat!(
    "WITH changed AS (\
     DELETE FROM api_keys WHERE id = $1 AND organization = $2 AND mode = $3 RETURNING id), ",
    audit!("$4"),
    " SELECT FROM changed"
);

/// `$2` is the event.
pub(super) const FORGET_IMPORT: &str = concat!(
    "WITH forgotten AS (DELETE FROM api_key_imports WHERE key_id = $1 RETURNING key_id), \
     changed AS (SELECT DISTINCT key_id FROM forgotten), ",
    audit!("$2"),
    " SELECT key_id FROM changed"
);

/// What transactions have changed since the oldest of those that ran at `$1`; one more than are told.
pub(super) const CHANGES: &str = "SELECT api_key_timeline(), pg_snapshot_xmin(pg_current_snapshot())::text::bigint, ARRAY(\
     SELECT DISTINCT key_id FROM api_key_changes WHERE transaction >= $1::text::xid8 LIMIT 1001)";

pub(super) const REMEMBER_IMPORT: &str =
    "INSERT INTO api_key_imports (digest, key_id) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";

pub(super) const IMPORTED_AS: &str =
    "SELECT key_id FROM api_key_imports WHERE digest = ANY($1) ORDER BY array_position($1, digest) LIMIT 1";

/// Locks rows in the same order in every process, so that two writers of the same keys cannot deadlock.
pub(super) const RECORD_LAST_USE: &str = "WITH uses AS (\
     SELECT id, max(at) AS at FROM unnest($1, $2) AS noted (id, at) GROUP BY id), later AS (\
     SELECT id, at FROM api_keys JOIN uses USING (id) WHERE last_used_at IS NULL OR last_used_at < at \
     ORDER BY id FOR NO KEY UPDATE OF api_keys) \
     UPDATE api_keys SET last_used_at = at FROM later WHERE api_keys.id = later.id";
