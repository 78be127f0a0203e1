//! The SQL of the store.

use crate::store::sql::{columns, insert_key, update_key};

/// `$1` is a JSON array of digests.
pub(super) const FIND_BY_DIGEST: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM api_keys WHERE id = (SELECT key_id FROM json_each($1) AS given \
     CROSS JOIN api_key_digests ON digest = given.value ORDER BY given.key LIMIT 1)"
);

pub(super) const INSERT: &str = insert_key!();

pub(super) const REPLACE: &str = update_key!();

/// `$2` is a JSON array of digests.
pub(super) const DROP_DIGESTS: &str =
    "DELETE FROM api_key_digests WHERE key_id = $1 AND digest NOT IN (SELECT value FROM json_each($2))";

pub(super) const ADD_DIGESTS: &str = "INSERT INTO api_key_digests (digest, key_id) SELECT value, $1 FROM json_each($2) WHERE \
     NOT EXISTS (SELECT 1 FROM api_key_digests WHERE digest = value AND key_id = $1)";

pub(super) const READ_QUOTA: &str =
    "SELECT period, used, highest_limit, granted FROM api_key_quotas WHERE category = $1 AND subject = $2";

pub(super) const DELETE: &str = "DELETE FROM api_keys WHERE id = $1 AND organization = $2 AND mode = $3";

/// The number of the last change.
pub(super) const LAST_CHANGE: &str = "SELECT coalesce(max(number), 0) FROM api_key_changes";

/// The changes after `$1`; one more than are told.
pub(super) const CHANGES: &str =
    "SELECT number, key_id FROM api_key_changes WHERE number > $1 ORDER BY number LIMIT 1001";

pub(super) const REMEMBER_IMPORT: &str =
    "INSERT INTO api_key_imports (digest, key_id) VALUES ($1, $2) ON CONFLICT (digest) DO NOTHING";

pub(super) const FORGET_IMPORT: &str = "DELETE FROM api_key_imports WHERE key_id = $1";

/// `$1` is a JSON array of digests.
pub(super) const IMPORTED_AS: &str = "SELECT key_id FROM json_each($1) AS given \
     CROSS JOIN api_key_imports ON digest = given.value ORDER BY given.key LIMIT 1";

/// `$1` is a JSON array of pairs.
pub(super) const RECORD_LAST_USE: &str = "UPDATE api_keys SET last_used_at = at FROM (\
     SELECT value ->> 0 AS used, max(value ->> 1) AS at FROM json_each($1) GROUP BY used) \
     WHERE id = used AND (last_used_at IS NULL OR last_used_at < at)";
