//! Keys and their events, compared in the database itself.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, SqliteConnection};

/// What contradicts a row of keys or of events, each a row. A change in place makes the next version.
const CONTRADICTIONS: [(&str, &str); 5] = [
    (
        "a key without the event of its creation",
        "SELECT id FROM api_keys WHERE (SELECT count(*) FROM api_key_audit WHERE key_id = id AND action = 'create' \
         AND outcome = 'done') <> 1",
    ),
    (
        "a change without its event, or an event without its change",
        "SELECT id FROM api_keys WHERE version <> (SELECT count(*) FROM api_key_audit WHERE key_id = id AND \
         action <> 'create' AND outcome = 'done')",
    ),
    (
        "a revocation without its event, or an event without its revocation",
        "SELECT id FROM api_keys WHERE (state = 'revoked') <> EXISTS \
         (SELECT 1 FROM api_key_audit WHERE key_id = id AND action = 'revoke' AND outcome = 'done')",
    ),
    (
        "a creation without its key, which was not deleted",
        "SELECT key_id FROM api_key_audit AS made WHERE action = 'create' AND outcome = 'done' \
         AND NOT EXISTS (SELECT 1 FROM api_keys WHERE id = key_id) AND NOT EXISTS (SELECT 1 FROM api_key_audit AS gone \
         WHERE gone.key_id = made.key_id AND gone.action = 'delete' AND gone.outcome = 'done')",
    ),
    (
        "a deletion of a key that is there",
        "SELECT key_id FROM api_key_audit WHERE action = 'delete' AND outcome = 'done' AND EXISTS \
         (SELECT 1 FROM api_keys WHERE id = key_id)",
    ),
];

/// The keys that contradict their events, each with what is wrong.
pub async fn contradictions(url: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (contradiction, sql) in CONTRADICTIONS {
        let keys = rows(url, sql).await;
        found.extend(keys.into_iter().map(|key| format!("{contradiction}: {}", key[0])));
    }
    found
}

/// The rows of a query whose columns are texts.
pub async fn rows(url: &str, sql: &str) -> Vec<Vec<String>> {
    let sql = AssertSqlSafe(sql.to_owned());
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await.expect("there is a database");
        let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await.expect("this is SQL");
        rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
    } else {
        let mut connection = PgConnection::connect(url).await.expect("there is a database");
        let rows = sqlx::raw_sql(sql).fetch_all(&mut connection).await.expect("this is SQL");
        rows.iter().map(|row| (0..row.len()).map(|column| row.get(column)).collect()).collect()
    }
}
