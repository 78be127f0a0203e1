//! The PostgreSQL store, with servers that are killed, frozen and cut off.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, PgPool, Row};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::key::{KeyRecord, KeyState, Mode};
use tower_api_keys::manage::{Authority, KeyManager, NewKey};
use tower_api_keys::store::{
    CachedStore, HistoryQuery, Invalidation, InvalidationSource, KeyAdministration, KeySelector, KeyStore,
    PostgresInvalidations, PostgresStore, StoreErrorKind, conformance,
};
use tower_api_keys::{ApiKeys, KeyFormat};

use crate::damage::{self, Log};
use crate::postgres_server::Server;
use crate::proxy::Proxy;
use crate::stores::{self, find, owner, record, revoked};
use crate::support::{self, KEY, UNKNOWN_KEY, X_API_KEY, assembly, in_own_process, request, whoami};

const SOON: Duration = Duration::from_secs(5);

/// A store in an empty database of the shared server, and its pool.
async fn new_store() -> (PostgresStore, PgPool) {
    let pool = Server::shared().database(10).await;
    (migrated(&pool).await, pool)
}

async fn migrated(pool: &PgPool) -> PostgresStore {
    let store = PostgresStore::new(pool.clone());
    store.migrate().await.unwrap();
    store
}

async fn execute(pool: &PgPool, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.expect(sql);
}

/// Another pool for the same database.
fn second_pool(pool: &PgPool) -> PgPool {
    PgPoolOptions::new().max_connections(10).connect_lazy_with((*pool.connect_options()).clone())
}

/// Whether the cache has the key.
async fn is_held(cache: &CachedStore<PostgresStore>, key: &KeyRecord) -> bool {
    let find = cache.find(KeySelector::Id(&key.id));
    format!("{find:?}") == "Lookup::Ready" && matches!(find.await, Ok(Some(_)))
}

/// Repeats a lookup until it works, which must be soon.
async fn recovers(store: &PostgresStore, key: &KeyRecord) {
    let began = Instant::now();
    loop {
        match store.find(KeySelector::Id(&key.id)).await {
            Ok(found) => break assert!(found.is_some()),
            Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}"),
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn conforms() {
    conformance::check(async || new_store().await.0).await;
}

/// Like several processes: each store has its own connections.
async fn three_stores() -> Vec<Arc<dyn KeyAdministration>> {
    let (store, pool) = new_store().await;
    let others = (0..2).map(|_| PostgresStore::new(second_pool(&pool)));
    let stores = std::iter::once(store).chain(others);
    stores.map(|store| Arc::new(store) as Arc<dyn KeyAdministration>).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_once_leave_one_consistent_state() {
    stores::changes_at_once_leave_one_consistent_state(&three_stores().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_are_recorded_from_everywhere_at_once() {
    stores::uses_are_recorded_from_everywhere_at_once(&three_stores().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_debug_text_holds_the_password() {
    let options = Server::shared().options("postgres").password("correct horse");
    let pool = PgPoolOptions::new().connect_lazy_with(options);
    let texts =
        [format!("{:?}", PostgresInvalidations::new(&pool)), format!("{:?}", PostgresStore::new(pool))];
    assert!(texts.iter().all(|text| !text.contains("horse")), "{texts:?}");
}

/// The database's messages contain the digest that already exists.
#[tokio::test(flavor = "multi_thread")]
async fn no_error_contains_a_digest() {
    let (store, _) = new_store().await;
    let key = record("k1");
    store.insert(key.clone(), None).await.unwrap();
    let mut thief = record("k2");
    thief.digest = key.digest;
    let error = store.insert(thief, None).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict);
    assert!(!format!("{error:?}").contains(&key.digest.to_string()[8..]), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_may_migrate_concurrently_and_a_newer_schema_is_an_error() {
    let pool = Server::shared().database(10).await;
    let migrations: Vec<_> = (0..8)
        .map(|_| {
            let store = PostgresStore::new(second_pool(&pool));
            tokio::spawn(async move { store.migrate().await })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap().unwrap();
    }
    let store = migrated(&pool).await;
    let versions = sqlx::query("SELECT version FROM api_key_schema").fetch_all(&pool).await.unwrap();
    assert_eq!(versions.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [8]);

    execute(&pool, "UPDATE api_key_schema SET version = 99, needed_version = 98").await;
    let newer = store.migrate().await.unwrap_err();
    assert_eq!(newer.kind(), StoreErrorKind::Other);
    let reason = std::error::Error::source(&newer).unwrap().to_string();
    assert!(
        reason.contains("version 99") && reason.contains("version 98 at least") && reason.contains("up to 8"),
        "{reason}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn events_outlast_the_processes_that_did_not_deliver_them() {
    let stores = three_stores().await.try_into().ok().unwrap();
    stores::events_outlast_the_processes_that_did_not_deliver_them(&stores).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_a_key_are_delivered_in_the_order_of_its_changes() {
    stores::the_events_of_a_key_are_delivered_in_the_order_of_its_changes(&three_stores().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_stored_with_what_the_application_stores_or_not_at_all() {
    let (store, pool) = new_store().await;
    execute(&pool, "CREATE TABLE organizations (name text)").await;
    let manager = KeyManager::new(store.clone(), KeyFormat::new("wfk_").unwrap());
    let operator = Authority::operator(owner());
    for commits in [false, true] {
        let prepared = manager.prepare(&operator, NewKey::new("First key")).await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("INSERT INTO organizations VALUES ('acme')").execute(&mut *transaction).await.unwrap();
        PostgresStore::insert_in(&mut transaction, prepared.record(), Some(prepared.event())).await.unwrap();
        assert!(store.get(&owner(), &prepared.record().id).await.unwrap().is_none());
        match commits {
            true => transaction.commit().await.unwrap(),
            false => transaction.rollback().await.unwrap(),
        }
        let digests = [prepared.record().digest];
        assert_eq!(store.find(KeySelector::Digests(&digests)).await.unwrap().is_some(), commits);
        assert_eq!(prepared.committed().await.is_ok(), commits);
        let history = manager.history_of_all(&HistoryQuery::default()).await.unwrap();
        assert_eq!(history.events.len(), usize::from(commits), "the event of a key that is stored");
        let organizations = sqlx::query("SELECT name FROM organizations").fetch_all(&pool).await.unwrap();
        assert_eq!(organizations.len(), usize::from(commits));
    }
    let prepared = manager.prepare(&operator, NewKey::new("Twice")).await.unwrap();
    let mut transaction = pool.begin().await.unwrap();
    PostgresStore::insert_in(&mut transaction, prepared.record(), Some(prepared.event())).await.unwrap();
    let again = PostgresStore::insert_in(&mut transaction, prepared.record(), Some(prepared.event()))
        .await
        .unwrap_err();
    assert_eq!(again.kind(), StoreErrorKind::Conflict);
}

/// sqlx forgets a transaction that is given up before `BEGIN` is answered. What is then done on the connection would be answered, and
/// never committed.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_is_given_up_as_it_begins_takes_no_later_change_with_it() {
    let server = Server::start();
    let direct = server.database(2).await;
    let others = migrated(&direct).await;
    let proxy = Proxy::start(server.address()).await;
    let options = (*direct.connect_options()).clone().port(proxy.address().port());
    // `BEGIN` is to be the first thing that waits: no connection is tested before it is used.
    let pool = PgPoolOptions::new().max_connections(1).test_before_acquire(false).connect_lazy_with(options);
    let store = PostgresStore::new(pool.clone());
    store.insert(record("before"), None).await.unwrap();
    while pool.num_idle() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    proxy.delay_answers(Duration::from_millis(600));
    let impatient = store.clone().with_administration_timeout(Duration::from_millis(300));
    impatient.revoke_unread(&owner(), &record("before").id, stores::START, None).await.unwrap_err();
    proxy.heal();
    // A connection is free again, whether it is the same or another one.
    drop(pool.acquire().await.unwrap());
    let after = record("after");
    store.insert(after.clone(), None).await.unwrap();
    assert!(find(&others, &after.id).await.is_some(), "an answered change is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_stay_texts() {
    stores::texts_stay_texts(&new_store().await.0).await;
}

/// What damages rows is more than a statement: the schema does not let it.
async fn drop_checks(pool: &PgPool) {
    execute(
        pool,
        "ALTER TABLE api_keys DROP CONSTRAINT api_keys_state, DROP CONSTRAINT api_keys_tier, \
         DISABLE TRIGGER api_keys_update",
    )
    .await;
}

async fn affected(pool: &PgPool, sql: String) -> u64 {
    sqlx::query(AssertSqlSafe(sql.clone())).execute(pool).await.expect(&sql).rows_affected()
}

#[test]
fn one_corrupt_record_denies_itself_alone() {
    in_own_process(|| {
        let log = Log::start();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let (store, pool) = new_store().await;
            drop_checks(&pool).await;
            let execute = async |sql| affected(&pool, sql).await;
            damage::one_corrupt_record_denies_itself_alone(Arc::new(store), &log, &[], execute).await;
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_passes_records_without_a_place() {
    let (store, pool) = new_store().await;
    drop_checks(&pool).await;
    let execute = async |sql| affected(&pool, sql).await;
    damage::a_listing_passes_records_without_a_place(Arc::new(store), execute).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_are_constant_and_each_uses_an_index() {
    let pool = Server::shared().database(1).await;
    let store = migrated(&pool).await;
    execute(
        &pool,
        "INSERT INTO api_keys (id, organization, mode, created_at, name, hint, scopes, limits, allowed_addresses, \
         digest, secret_created_at, state, version) SELECT 'id' || n, 'acme' || n % 50, 'live', n, '', '', '', '', '', \
         'd' || n, n, 'active', 0 FROM generate_series(1, 20000) AS n; \
         INSERT INTO api_key_digests SELECT 'd' || n, 'id' || n FROM generate_series(1, 20000) AS n; \
         INSERT INTO api_key_audit (at, action, outcome, changed, key_id, organization, tier, mode, actor, delivered) \
         SELECT n, 'create', 'done', '', 'id' || n, 'acme', 'organization', 'live', 'operator', true \
         FROM generate_series(1, 20000) AS n; \
         ANALYZE api_keys; ANALYZE api_key_digests; ANALYZE api_key_audit",
    )
    .await;
    let prepared = async || {
        let all = "SELECT name, statement, cardinality(parameter_types) AS parameters FROM pg_prepared_statements \
                   WHERE statement ~ 'api_keys|api_key_audit ' ORDER BY statement";
        sqlx::raw_sql(all).fetch_all(&pool).await.unwrap()
    };
    let texts =
        |rows: &[sqlx::postgres::PgRow]| rows.iter().map(|row| row.get("statement")).collect::<Vec<String>>();
    stores::use_everything(&store, 1).await;
    let statements = prepared().await;
    assert_eq!(statements.len(), 17, "{:#?}", texts(&statements));
    for number in 2..5 {
        stores::use_everything(&store, number).await;
    }
    assert_eq!(texts(&prepared().await), texts(&statements), "other values make no other statement");

    execute(&pool, "SET plan_cache_mode = force_generic_plan").await;
    for statement in statements {
        let (name, text): (String, String) = (statement.get("name"), statement.get("statement"));
        let nulls = vec!["NULL"; usize::try_from(statement.get::<i32, _>("parameters")).unwrap()].join(", ");
        let explain = format!("EXPLAIN EXECUTE {name} ({nulls})");
        let plan = sqlx::raw_sql(AssertSqlSafe(explain)).fetch_all(&pool).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        assert!(!plan.iter().any(|step| step.contains("Seq Scan")), "{text}\n{}", plan.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_notified_with_its_transaction_and_nothing_else_is() {
    let (store, pool) = new_store().await;
    let other = second_pool(&pool);
    let mut listener = PgListener::connect_with(&other).await.unwrap();
    listener.listen("tower_api_keys").await.unwrap();
    let mut key = record("k1");

    store.insert(key.clone(), None).await.unwrap();
    store.insert(key.clone(), None).await.unwrap_err();
    store.replace(key.clone(), None).await.unwrap();
    store.replace(key.clone(), None).await.unwrap_err();
    key.version += 1;
    store.refresh(key.clone(), None).await.unwrap();
    store.record_last_use(&[(key.id, stores::START)]).await.unwrap();
    let mut taken = record("k2");
    taken.digest = key.digest;
    store.insert(taken, None).await.unwrap_err();
    assert!(store.delete(&key.owner, &key.id, None).await.unwrap());
    assert!(!store.delete(&key.owner, &key.id, None).await.unwrap());
    store.insert(record("last"), None).await.unwrap();

    let mut heard = Vec::new();
    while heard.last().is_none_or(|payload| payload != "last") {
        heard.push(timeout(SOON, listener.recv()).await.unwrap().unwrap().payload().to_owned());
    }
    assert_eq!(heard, ["k1", "k1", "k1", "k1", "last"], "insert, replace, refresh, delete");
}

#[tokio::test(flavor = "multi_thread")]
async fn reported_changes_are_visible() {
    let (store, pool) = new_store().await;
    let other = PostgresStore::new(second_pool(&pool));
    let mut source = PostgresInvalidations::new(&pool);
    assert_eq!(source.next().await, Invalidation::Connected);
    for number in 0..20 {
        let key = record(&format!("k{number}"));
        store.insert(key.clone(), None).await.unwrap();
        assert_eq!(timeout(SOON, source.next()).await.unwrap(), Invalidation::Key(key.id));
        assert!(find(&other, &key.id).await.is_some());
        store.replace(revoked(key.clone()), None).await.unwrap();
        assert_eq!(timeout(SOON, source.next()).await.unwrap(), Invalidation::Key(key.id));
        assert_ne!(find(&other, &key.id).await.unwrap().state, KeyState::Active);
    }
    execute(&pool, "SELECT pg_notify('tower_api_keys', 'no identifier')").await;
    let unclear = timeout(SOON, source.next()).await.unwrap();
    assert_eq!(unclear, Invalidation::Connected, "something has changed, and it is not known what");
}

/// Two nodes, each with a cache in front of the one database.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_reaches_the_cache_of_another_node() {
    let server = Server::start();
    let pool = server.database(10).await;
    let time = Duration::from_millis(500);
    let node = |pool: PgPool| {
        let database = PostgresStore::new(pool.clone()).with_lookup_timeout(time);
        let store = CachedStore::new(database);
        (store.clone(), tokio::spawn(store.follow(PostgresInvalidations::new(&pool))))
    };
    migrated(&pool).await;
    let ((here, follower), (there, other_follower)) = (node(pool.clone()), node(second_pool(&pool)));
    let warm = async |key: &KeyRecord| {
        // Until the channel is up, and the earlier entries are dropped.
        while !is_held(&there, key).await {
            let _ = there.find(KeySelector::Id(&key.id)).await;
            sleep(Duration::from_millis(200)).await;
        }
    };
    let revoked_there = async |key: &KeyRecord| {
        let began = Instant::now();
        loop {
            match there.find(KeySelector::Id(&key.id)).await {
                Ok(Some(found)) if found.state == KeyState::Active => sleep(Duration::from_millis(1)).await,
                Ok(Some(_)) => return began.elapsed(),
                Ok(None) => panic!("it was not deleted"),
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable),
            }
        }
    };
    for number in 0..10 {
        let key = record(&format!("k{number}"));
        here.insert(key.clone(), None).await.unwrap();
        warm(&key).await;
        here.replace(revoked(key.clone()), None).await.unwrap();
        let lag = revoked_there(&key).await;
        assert!(lag < SOON, "{lag:?}");
    }

    let key = record("frozen");
    here.insert(key.clone(), None).await.unwrap();
    warm(&key).await;
    server.freeze();
    sleep(Duration::from_secs(3)).await;
    server.thaw();
    recovers(&PostgresStore::new(pool.clone()), &key).await;
    here.replace(revoked(key.clone()), None).await.unwrap();
    let lag = revoked_there(&key).await;
    assert!(lag < SOON, "{lag:?}");
    follower.abort();
    other_follower.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_by_hand_is_heard_like_one_of_ours() {
    let (store, pool) = new_store().await;
    let keys: Vec<_> = (0..20).map(|number| record(&format!("k{number}"))).collect();
    for key in &keys {
        store.insert(key.clone(), None).await.unwrap();
    }
    let nodes = [(); 2].map(|()| PostgresStore::new(second_pool(&pool)).cached());
    let background = nodes.each_ref().map(|node| tokio::spawn(node.background().unwrap()));
    for node in &nodes {
        while !node.is_connected() {
            sleep(Duration::from_millis(5)).await;
        }
    }
    for (number, key) in keys.iter().enumerate() {
        for node in &nodes {
            assert_eq!(node.find(KeySelector::Id(&key.id)).await.unwrap().unwrap().state, KeyState::Active);
        }
        let change = match number % 3 {
            0 => format!("UPDATE api_keys SET state = 'revoked' WHERE id = '{}'", key.id),
            1 => format!("DELETE FROM api_keys WHERE id = '{}'", key.id),
            _ => format!(
                "UPDATE api_keys SET state = 'disabled', version = version + 1 WHERE id = '{}'",
                key.id
            ),
        };
        execute(&pool, &change).await;
        let began = Instant::now();
        for node in &nodes {
            while node
                .find(KeySelector::Id(&key.id))
                .await
                .unwrap()
                .is_some_and(|key| key.state == KeyState::Active)
            {
                assert!(began.elapsed() < Duration::from_millis(100), "{change}");
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
    let count = "SELECT count(*) FROM api_key_changes";
    let noted: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
    store.record_last_use(&[(keys[0].id, support::START)]).await.unwrap();
    assert_eq!(
        sqlx::query_scalar::<_, i64>(count).fetch_one(&pool).await.unwrap(),
        noted,
        "a use is no change"
    );
    let changed = find(&store, &keys[0].id).await.unwrap();
    assert_eq!(changed.version, keys[0].version + 1, "each change has a version");
    let KeyState::Revoked { at } = changed.state else { panic!("it is revoked") };
    let now = SystemClock.now().timestamp().as_unix_millis();
    assert!(now.abs_diff(at.as_unix_millis()) < 60_000, "a revocation has its time: {at}");
    execute(&pool, "TRUNCATE api_keys CASCADE").await;
    sleep(Duration::from_millis(100)).await;
    assert!(nodes[0].find(KeySelector::Id(&keys[2].id)).await.unwrap().is_none());
    background.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_or_an_owner_that_is_none_is_not_stored() {
    let (store, pool) = new_store().await;
    store.insert(record("k"), None).await.unwrap();
    for change in
        ["state = 'bogus'", "state = 'Revoked'", "organization = ''", "tier = 'system'", "tier = ''"]
    {
        let refused =
            sqlx::raw_sql(AssertSqlSafe(format!("UPDATE api_keys SET {change}"))).execute(&pool).await;
        assert!(refused.is_err(), "{change}");
    }
}

/// Counted in the server's own log, which has the statements of only this test's connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_key_costs_one_query_and_a_warm_one_none() {
    let server = Server::start();
    let pool = server.database(1).await;
    migrated(&pool).await;
    let logged = (*pool.connect_options()).clone().options([("log_statement", "all")]);
    let store = PostgresStore::new(PgPoolOptions::new().max_connections(1).connect_lazy_with(logged));
    let queries = || {
        // But for the look at the version of the tables, once a second.
        let is_statement = |line: &&str| {
            let is_look = line.contains("needed_version");
            (line.contains("LOG:  execute ") || line.contains("LOG:  statement: ")) && !is_look
        };
        server.log().lines().filter(is_statement).count()
    };
    let named = KeyFormat::builder("sk_").public_id(8, '.').build().unwrap();
    let by_id = named.generate(Mode::Live).unwrap();
    let unknown_id = named.generate(Mode::Live).unwrap();
    let mut key = support::record(by_id.secret.expose_secret(), |_| {});
    key.id = by_id.id.unwrap();
    store.insert(key, None).await.unwrap();
    store.insert(support::record(KEY, |_| {}), None).await.unwrap();
    let mut seen = queries();
    assert_eq!(seen, 2, "the log shows what is done: {}", server.log());

    let cached = CachedStore::builder(store).absent_max_age(SOON).build();
    let by_digest = assembly(cached.clone()).without_route_table().build().unwrap();
    let by_digest = by_digest.authenticate().layer(service_fn(whoami));
    let by_id_layer =
        ApiKeys::builder(cached, named).header("x-api-key").without_route_table().build().unwrap();
    let by_id_layer = by_id_layer.authenticate().layer(service_fn(whoami));
    for (name, secret, service, status) in [
        ("by digest", KEY, &by_digest, StatusCode::OK),
        ("unknown digest", UNKNOWN_KEY, &by_digest, StatusCode::UNAUTHORIZED),
        ("by identifier", by_id.secret.expose_secret(), &by_id_layer, StatusCode::OK),
        ("unknown identifier", unknown_id.secret.expose_secret(), &by_id_layer, StatusCode::UNAUTHORIZED),
    ] {
        for (expected, times) in [(1, 1), (0, 100)] {
            for _ in 0..times {
                let request = Request::builder().header(X_API_KEY, secret).body(()).unwrap();
                assert_eq!(service.clone().oneshot(request).await.unwrap().status(), status, "{name}");
            }
            let now = queries();
            assert_eq!(now - seen, expected, "{name}, asked for {times} times");
            seen = now;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_loses_nothing() {
    let (store, pool) = new_store().await;
    let mut source = PostgresInvalidations::new(&pool);
    assert_eq!(source.next().await, Invalidation::Connected);
    let mut heard = 0;
    let writer = tokio::spawn(async move {
        for number in 0..200 {
            store.insert(record(&format!("k{number}")), None).await.unwrap();
        }
    });
    let began = Instant::now();
    while heard < 200 && began.elapsed() < Duration::from_secs(20) {
        if let Ok(Invalidation::Key(_)) = timeout(Duration::from_micros(500), source.next()).await {
            heard += 1;
        }
    }
    writer.await.unwrap();
    assert_eq!(heard, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_listener_notices_a_frozen_and_a_killed_server() {
    let server = Server::start();
    let pool = server.database(10).await;
    let store = migrated(&pool).await;
    let mut source = PostgresInvalidations::new(&pool);
    assert_eq!(timeout(SOON, source.next()).await.unwrap(), Invalidation::Connected);

    server.freeze();
    let began = Instant::now();
    assert_eq!(timeout(SOON, source.next()).await.unwrap(), Invalidation::Disconnected);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    server.thaw();
    assert_eq!(timeout(SOON, source.next()).await.unwrap(), Invalidation::Connected);

    server.kill();
    let began = Instant::now();
    assert_eq!(timeout(SOON, source.next()).await.unwrap(), Invalidation::Disconnected);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    server.restart();
    // The server itself needs time to recover.
    let connected = timeout(Duration::from_secs(20), source.next()).await;
    assert_eq!(connected.unwrap(), Invalidation::Connected);
    let key = record("k1");
    store.insert(key.clone(), None).await.unwrap();
    assert_eq!(timeout(SOON, source.next()).await.unwrap(), Invalidation::Key(key.id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_an_error_in_time() {
    let server = Server::start();
    let pool = server.database(5).await;
    let time = Duration::from_millis(500);
    let store = migrated(&pool).await.with_lookup_timeout(time).with_administration_timeout(time);
    let key = record("k1");
    store.insert(key.clone(), None).await.unwrap();
    let keys = assembly(store.clone()).without_route_table().build().unwrap();
    let service = keys.authenticate().layer(service_fn(whoami));
    let status = async || service.clone().oneshot(request(UNKNOWN_KEY)).await.unwrap().status();

    server.freeze();
    for _ in 0..3 {
        let began = Instant::now();
        // More than there are connections.
        let asked: Vec<_> = (0..8)
            .map(|_| {
                let (store, id) = (store.clone(), key.id);
                tokio::spawn(async move { store.find(KeySelector::Id(&id)).await })
            })
            .collect();
        for answer in asked {
            assert_eq!(answer.await.unwrap().unwrap_err().kind(), StoreErrorKind::Unavailable);
        }
        let error = store.delete(&owner(), &record("k2").id, None).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
        assert_eq!(status().await, StatusCode::SERVICE_UNAVAILABLE, "neither 401 nor 500, whatever the key");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    }
    server.thaw();
    recovers(&store, &key).await;
    assert_eq!(status().await, StatusCode::UNAUTHORIZED, "a key that is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_no_completed_change() {
    let server = Server::start();
    let pool = server.database(10).await;
    let store = migrated(&pool).await.with_administration_timeout(Duration::from_secs(2));
    for round in 0..2 {
        let (stop, stopped) = watch::channel(false);
        let writers: Vec<_> = (0..6)
            .map(|writer| {
                let (store, stopped) = (store.clone(), stopped.clone());
                tokio::spawn(async move {
                    let mut answered = Vec::new();
                    for number in 0.. {
                        let key = record(&format!("k{round}-{writer}-{number}"));
                        let failed = match store.insert(key.clone(), None).await {
                            Ok(()) => store.replace(revoked(key.clone()), None).await.err(),
                            Err(error) => Some(error),
                        };
                        match failed {
                            None => answered.push(key),
                            Some(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}"),
                        }
                        if *stopped.borrow() {
                            break;
                        }
                    }
                    answered
                })
            })
            .collect();
        sleep(Duration::from_millis(700)).await;
        server.kill();
        stop.send(true).unwrap();
        let mut answered = Vec::new();
        for writer in writers {
            answered.extend(writer.await.unwrap());
        }
        let first = answered.first().expect("something was answered before the end").clone();
        server.restart();
        let began = Instant::now();
        while store.find(KeySelector::Id(&first.id)).await.is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "the server recovers");
        }
        for key in &answered {
            let stored = find(&store, &key.id).await.expect("what was answered is there");
            assert_ne!(stored.state, KeyState::Active, "{} was revoked", key.id);
            let by_digest = store.find(KeySelector::Digests(&[key.digest])).await.unwrap();
            assert_eq!(by_digest.as_deref(), Some(&stored));
        }
        let halves = "SELECT count(*) FROM api_keys WHERE id NOT IN (SELECT key_id FROM api_key_digests)";
        assert_eq!(sqlx::query_scalar::<_, i64>(halves).fetch_one(&pool).await.unwrap(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_and_a_locked_row_are_errors_in_time() {
    let pool = Server::shared().database(2).await;
    let time = Duration::from_millis(300);
    let store = migrated(&pool).await.with_lookup_timeout(time).with_administration_timeout(time);
    let key = record("k1");
    store.insert(key.clone(), None).await.unwrap();

    let other = second_pool(&pool);
    let mut transaction = other.begin().await.unwrap();
    sqlx::raw_sql("SELECT FROM api_keys FOR UPDATE").execute(&mut *transaction).await.unwrap();
    let began = Instant::now();
    for _ in 0..3 {
        let error = store.replace(revoked(key.clone()), None).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable);
    }
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    transaction.rollback().await.unwrap();
    recovers(&store, &key).await;

    let taken = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let began = Instant::now();
    let found = store.find(KeySelector::Id(&key.id)).await;
    assert_eq!(found.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    drop(taken);
    recovers(&store, &key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_connections_are_detected_together() {
    let pool = Server::shared().database(1).await;
    let key = record("k1");
    migrated(&pool).await.insert(key.clone(), None).await.unwrap();

    // A network that drops its existing connections, and accepts new ones.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, server) = (listener.local_addr().unwrap().port(), Server::shared().port());
    let (forget, forgotten) = watch::channel(());
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut forgotten = forgotten.clone();
            forgotten.mark_unchanged();
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = forgotten.changed() => std::future::pending().await,
                }
            });
        }
    });
    let options = (*pool.connect_options()).clone().port(port);
    let far = PgPoolOptions::new().max_connections(8).connect_lazy_with(options);
    let store = PostgresStore::new(far.clone()).with_lookup_timeout(Duration::from_secs(1));
    let mut warm = Vec::new();
    for _ in 0..8 {
        warm.push(far.acquire().await.unwrap());
    }
    drop(warm);
    recovers(&store, &key).await;
    while far.num_idle() < 8 {
        sleep(Duration::from_millis(10)).await;
    }
    forget.send(()).unwrap();
    recovers(&store, &key).await;
    let began = Instant::now();
    for _ in 0..20 {
        assert!(find(&store, &key.id).await.is_some());
    }
    assert!(began.elapsed() < Duration::from_secs(1), "all of them: {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_callers_leak_no_connection() {
    let (store, pool) = new_store().await;
    let key = record("k1");
    store.insert(key.clone(), None).await.unwrap();
    for _ in 0..200 {
        let _ = timeout(Duration::from_micros(300), store.find(KeySelector::Id(&key.id))).await;
    }
    recovers(&store, &key).await;
    let backends = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
    let backends: i64 = sqlx::query_scalar(backends).fetch_one(&pool).await.unwrap();
    assert!(backends <= 10, "{backends}");
}
