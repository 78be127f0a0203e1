//! Databases that the code of each version of the schema has made: a program with the last code of the version has imported, created
//! and changed the keys below, and `sqlite3 .dump` and `pg_dump --inserts` have written what there was then. Today's code opens them,
//! and they are as good as before.

use std::env::temp_dir;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, PgPool};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::ManualClock;
use tower_api_keys::key::{KeyFormat, KeyId, KeyStatus, Mode, Owner, SecretString};
use tower_api_keys::limit::Subject;
use tower_api_keys::manage::{Authority, KeyAction, KeyChange, ManageError, NewKey};
use tower_api_keys::rejection::Rejection;
use tower_api_keys::store::{HistoryQuery, KeyAdministration, KeyQuery, PostgresStore, SqliteStore};
use tower_api_keys::usage::{UsageBucket, UsageQuery};
use tower_api_keys::{ApiKeys, Quota, RateLimit};

use crate::postgres_server::Server;
use crate::stores::{START, owner};
use crate::support::whoami;

/// The version, what SQLite has dumped, and what PostgreSQL has. Each begins with the texts of its keys. Never to be changed.
macro_rules! databases {
    ($($version:literal)*) => {
        [$((
            $version,
            include_str!(concat!("databases/schema_", $version, ".sqlite.sql")),
            include_str!(concat!("databases/schema_", $version, ".postgres.sql")),
        )),*]
    };
}

const DATABASES: [(u32, &str, &str); 7] = databases!(1 2 3 4 5 6 7);

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_every_version_are_as_good_as_before_in_sqlite() {
    for (version, dump, _) in DATABASES {
        let file = temp_dir().join(format!("api-keys-version-{version}-{}.db", std::process::id()));
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let mut restored = SqliteConnection::connect_with(&options).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(dump)).execute(&mut restored).await.unwrap();
        restored.close().await.unwrap();
        let store = SqliteStore::open(&file).await.unwrap();
        is_as_good_as_before(version, Arc::new(store), dump).await;
        for end in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{end}", file.display()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_every_version_are_as_good_as_before_in_postgresql() {
    for (version, _, dump) in DATABASES {
        let pool: PgPool = Server::shared().database(10).await;
        sqlx::raw_sql(AssertSqlSafe(dump)).execute(&pool).await.unwrap();
        let store = PostgresStore::new(pool);
        store.migrate().await.unwrap();
        is_as_good_as_before(version, Arc::new(store), dump).await;
    }
}

/// Each key, the version that it can be had from, and what its requests get a day after it was made: `ok`, or the code of the
/// reason.
const KEYS: [(&str, u32, &str); 17] = [
    ("standard", 1, "ok"),
    ("disabled", 1, "key_disabled"),
    ("revoked0", 1, "key_revoked"),
    ("expired0", 1, "key_expired"),
    ("future00", 1, "key_not_yet_valid"),
    ("limited0", 1, "ok"),
    ("address0", 1, "ok"),
    ("rotated0", 1, "ok"),
    ("rotated0 next", 1, "ok"),
    ("replaced", 1, "secret_mismatch"),
    ("replaced next", 1, "ok"),
    ("waiting0", 1, "ok"),
    ("waiting0 next", 1, "ok"),
    ("created", 1, "ok"),
    ("system00", 1, "ok"),
    ("metadata", 2, "ok"),
    ("foreign0", 3, "ok"),
];

fn id(name: &str) -> KeyId {
    name.parse().unwrap()
}

/// `ok`, or the code of the reason.
async fn outcome(keys: &ApiKeys, text: &str, peer: &str) -> &'static str {
    let mut request = Request::new(());
    request.headers_mut().insert("x-api-key", text.parse().unwrap());
    request.extensions_mut().insert(PeerAddress(peer.parse().unwrap()));
    let response = keys.layer().layer(service_fn(whoami)).oneshot(request).await.unwrap();
    response.extensions().get::<Rejection>().map_or("ok", |rejection| rejection.reason().code())
}

async fn is_as_good_as_before(version: u32, store: Arc<dyn KeyAdministration>, dump: &str) {
    let texts: Vec<_> = dump.lines().map_while(|line| line.strip_prefix("-- ")?.split_once(": ")).collect();
    let text = |name: &str| match texts.iter().find(|(named, _)| *named == name) {
        Some((_, text)) => (*text).to_owned(),
        None => format!("wfk_{name}.abc123def456ghi789jkl012mno345pq"),
    };
    let now = START.saturating_add(DAY);
    let format = KeyFormat::builder("wfk_").public_id(8, '.').build().unwrap();
    let keys = ApiKeys::builder(store.clone(), format)
        .header("x-api-key")
        .without_route_table()
        .attach_rejections()
        .client_address(ClientAddressSource::peer())
        .throttle_bad_credentials(Quota::per_minute(1000).unwrap())
        .verify_imported(|_, hash| hash == "plain:secret")
        .limit(RateLimit::per_key("month", Quota::per_month(1000).unwrap()))
        .count_usage()
        .record_last_use()
        .clock(ManualClock::starting_at(now))
        .build()
        .unwrap();
    let (manager, operator) = (keys.manager(), Authority::operator(owner()));

    // What the manager shows.
    let standard = manager.get(&operator, &id("standard")).await.unwrap();
    assert_eq!((&*standard.name, standard.created_at), ("standard", START), "{version}");
    assert_eq!(standard.last_used_at, Some(START.saturating_add(Duration::from_secs(5))), "{version}");
    assert_eq!(
        standard.scopes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["runs:read"],
        "{version}"
    );
    let maker = standard.created_by.map(|maker| maker.to_string());
    assert_eq!(maker.as_deref(), (version >= 2).then_some("operator ada"), "{version}");
    let limited = manager.get(&operator, &id("limited0")).await.unwrap();
    assert_eq!(limited.limits.get("read").map(|limit| limit.get()), Some(5), "{version}");
    let known = KEYS.iter().filter(|(name, since, _)| *since <= version && !name.ends_with(" next"));
    let page = manager.list(&operator, &KeyQuery::default()).await.unwrap();
    assert_eq!(page.keys.len(), known.count() - 1, "all but the system's, of version {version}");
    let revoked = manager.list(&operator, &manager.of_status(KeyStatus::Revoked)).await.unwrap().keys;
    assert_eq!(revoked.iter().map(|key| key.id).collect::<Vec<_>>(), [id("revoked0")], "{version}");
    if version >= 2 {
        let metadata = manager.get(&operator, &id("metadata")).await.unwrap().metadata;
        assert_eq!(metadata.unwrap().as_json(), r#"{"plan":"pro"}"#, "{version}");
    }

    // What was counted, and what was noted.
    let subject = Subject::Key(id("limited0"));
    let left = keys.grant("month", &subject, 0).await.unwrap().remaining();
    assert_eq!(left, if version >= 3 { 1050 } else { 1000 }, "{version}");
    let usage = UsageQuery::new(UsageBucket::Day.start_of(START), now.saturating_add(DAY), UsageBucket::Day);
    let used = async || {
        let rows = manager.usage(&operator, &usage).await.unwrap().rows;
        rows.iter().map(|row| row.calls.total()).sum::<u64>()
    };
    assert_eq!(used().await, if version >= 6 { 7 } else { 0 }, "{version}");
    let history = async |name: &str| {
        manager.history(&operator, &id(name), &HistoryQuery::default()).await.unwrap().events
    };
    let actions: Vec<_> = history("rotated0").await.into_iter().map(|event| event.action).collect();
    let want: &[_] = if version >= 5 { &[KeyAction::Rotate, KeyAction::Import] } else { &[] };
    assert_eq!(actions, want, "{version}");
    if version >= 7 {
        let reasons = history("standard").await.into_iter().map(|event| event.reason.unwrap().to_string());
        assert_eq!(reasons.collect::<Vec<_>>(), ["A change of the schema"]);
    }
    let again = manager.import(&operator, NewKey::new("Again"), SecretString::from(text("deleted0"))).await;
    match (version, again) {
        (1 | 2, Ok(_)) => {}
        (3.., Err(ManageError::Deleted(deleted))) => assert_eq!(deleted, id("deleted0")),
        (version, again) => panic!("{version}: {again:?}"),
    }

    // What requests get.
    let mut answered = 0;
    for (name, _, want) in KEYS.iter().filter(|(_, since, _)| *since <= version) {
        assert_eq!(outcome(&keys, &text(name), "192.0.2.7").await, *want, "{name} of version {version}");
        answered += u64::from(*want != "secret_mismatch" && *name != "system00");
    }
    assert_eq!(outcome(&keys, &text("address0"), "198.51.100.7").await, "address_not_allowed", "{version}");
    keys.flush().await.unwrap();
    assert_eq!(used().await, answered + 1 + if version >= 6 { 7 } else { 0 }, "{version}");

    // What is done to keys.
    let new = manager.create(&operator, NewKey::new("New")).await.unwrap();
    assert_eq!(outcome(&keys, new.secret.expose_secret(), "192.0.2.7").await, "ok", "{version}");
    let rotated = manager.rotate(&operator, &id("standard"), Duration::ZERO).await.unwrap();
    assert_eq!(outcome(&keys, rotated.secret.expose_secret(), "192.0.2.7").await, "ok", "{version}");
    assert_ne!(outcome(&keys, &text("standard"), "192.0.2.7").await, "ok", "{version}");
    let found = manager.find_by_text(&text("created")).await.unwrap().unwrap();
    manager.update(&operator, &found.id, KeyChange::new().name("Found")).await.unwrap();
    manager.enable(&operator, &id("disabled")).await.unwrap();
    assert_eq!(outcome(&keys, &text("disabled"), "192.0.2.7").await, "ok", "{version}");
    manager.revoke(&operator, &id("rotated0")).await.unwrap();
    for name in ["rotated0", "rotated0 next"] {
        assert_ne!(outcome(&keys, &text(name), "192.0.2.7").await, "ok", "{version}");
    }
    assert_eq!(history("rotated0").await[0].action, KeyAction::Revoke, "{version}");
    let system = Authority::operator(Owner::system(Mode::Test));
    manager.revoke(&system, &id("system00")).await.unwrap();
    assert_eq!(outcome(&keys, &text("system00"), "192.0.2.7").await, "key_revoked", "{version}");
    manager.delete(&operator, &id("revoked0")).await.unwrap();
    assert_eq!(outcome(&keys, &text("revoked0"), "192.0.2.7").await, "key_unknown", "{version}");
}
