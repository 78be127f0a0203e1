//! Streams learn that their key has ended, in every store and in every way, and of nothing else. In real time, as a stream
//! waits: the assembly looks each second. Keys end by a clock that is handed in.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderName, Request, StatusCode};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::credential::{Companions, HeaderKey, Parts};
use tower_api_keys::identity::{OrganizationRule, Role, Session, SessionAuthenticator};
use tower_api_keys::key::{Metadata, Mode, Owner, SecretString};
use tower_api_keys::manage::{CreatedKey, KeyChange, KeyManager};
use tower_api_keys::scope::ScopeSet;
#[cfg(feature = "cache")]
use tower_api_keys::store::CachedStore;
use tower_api_keys::store::{KeyAdministration, KeyStore, StoreError};
use tower_api_keys::{ApiKeys, Authority, KeyFormat, MemoryStore, NewKey, Principal};

use crate::support::*;

const X_SECRET: HeaderName = HeaderName::from_static("x-secret");
const HOUR: Duration = Duration::from_secs(3600);

/// By when every store has to have told a stream.
const BOUND: Duration = Duration::from_secs(20);

/// Enough looks to see what is not to be seen.
const A_WHILE: Duration = Duration::from_millis(2500);

/// What happens to a key while a stream waits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Event {
    Revoked,
    RevokedElsewhere,
    Disabled,
    DisabledElsewhere,
    Deleted,
    DeletedElsewhere,
    Expired,
    ExpiryMovedUp,
    RotatedAtOnce,
    RotatedAtOnceElsewhere,
    GraceOver,
    NextSecretUsed,

    Nothing,
    Renamed,
    RenamedElsewhere,
    MetadataChanged,
    ScopesChanged,
    Used,
    RotatedWithGrace,
    NextSecretMade,
    OtherKeyRevoked,
    EnabledElsewhere,
    ExpiryMovedBack,
}

use Event::*;

const ENDS: [Event; 12] = [
    Revoked,
    RevokedElsewhere,
    Disabled,
    DisabledElsewhere,
    Deleted,
    DeletedElsewhere,
    Expired,
    ExpiryMovedUp,
    RotatedAtOnce,
    RotatedAtOnceElsewhere,
    GraceOver,
    NextSecretUsed,
];

const GOES_ON: [Event; 11] = [
    Nothing,
    Renamed,
    RenamedElsewhere,
    MetadataChanged,
    ScopesChanged,
    Used,
    RotatedWithGrace,
    NextSecretMade,
    OtherKeyRevoked,
    EnabledElsewhere,
    ExpiryMovedBack,
];

/// An assembly, and a manager of the same keys on another node.
struct World {
    keys: ApiKeys,
    store: Arc<dyn KeyAdministration>,
    elsewhere: KeyManager,
    clock: ManualClock,
    acme: Authority,
}

impl World {
    fn new(store: Arc<dyn KeyAdministration>, elsewhere: impl KeyAdministration, clock: ManualClock) -> Self {
        let keys = assembly(store.clone()).without_route_table().clock(clock.clone()).build().unwrap();
        let elsewhere = KeyManager::new(elsewhere, format()).with_clock(clock.clone());
        Self { keys, store, elsewhere, clock, acme: Authority::operator(acme()) }
    }

    fn in_an_hour(&self) -> Timestamp {
        START.saturating_add(HOUR)
    }

    async fn create(&self) -> CreatedKey {
        let mut key = NewKey::new("stream").scope("events:read");
        key.expires_at = Some(self.in_an_hour());
        self.keys.manager().create(&self.acme, key).await.unwrap()
    }

    /// The caller of a request with this key.
    async fn caller(&self, key: &SecretString) -> Result<Principal, StatusCode> {
        caller(&self.keys, key.expose_secret()).await
    }

    /// Makes the event happen to `key`.
    async fn happens(&self, event: Event, key: &CreatedKey) {
        let Self { elsewhere, clock, acme, .. } = self;
        let (manager, id) = (self.keys.manager(), &key.key.id);
        let change = || KeyChange::new().name("renamed");
        let ends_at = |at| KeyChange::new().expires_at(Some(at));
        match event {
            Revoked => _ = manager.revoke(acme, id).await.unwrap(),
            RevokedElsewhere => _ = elsewhere.revoke(acme, id).await.unwrap(),
            Disabled => _ = manager.disable(acme, id).await.unwrap(),
            DisabledElsewhere => _ = elsewhere.disable(acme, id).await.unwrap(),
            Deleted => manager.delete(acme, id).await.unwrap(),
            DeletedElsewhere => elsewhere.delete(acme, id).await.unwrap(),
            Expired => clock.advance(HOUR),
            ExpiryMovedUp => {
                let soon = START.saturating_add(Duration::from_secs(60));
                manager.update(acme, id, ends_at(soon)).await.unwrap();
                clock.advance(Duration::from_secs(60));
            }
            RotatedAtOnce => _ = manager.rotate(acme, id, Duration::ZERO).await.unwrap(),
            RotatedAtOnceElsewhere => _ = elsewhere.rotate(acme, id, Duration::ZERO).await.unwrap(),
            GraceOver => {
                manager.rotate(acme, id, Duration::from_secs(60)).await.unwrap();
                clock.advance(Duration::from_secs(60));
            }
            NextSecretUsed => {
                let next = manager.rotate_on_first_use(acme, id, Duration::ZERO).await.unwrap();
                self.caller(&next.secret).await.unwrap();
            }
            Nothing => {}
            Renamed => _ = manager.update(acme, id, change()).await.unwrap(),
            RenamedElsewhere => _ = elsewhere.update(acme, id, change()).await.unwrap(),
            MetadataChanged => {
                let metadata = Metadata::from_json(r#"{"plan":"pro"}"#).unwrap();
                manager.update(acme, id, KeyChange::new().metadata(Some(metadata))).await.unwrap();
            }
            ScopesChanged => {
                _ = manager.update(acme, id, KeyChange::new().scopes(["events:write"])).await.unwrap();
            }
            Used => {
                self.caller(&key.secret).await.unwrap();
                self.store.record_last_use(&[(*id, START)]).await.unwrap();
            }
            RotatedWithGrace => _ = manager.rotate(acme, id, HOUR).await.unwrap(),
            NextSecretMade => _ = manager.rotate_on_first_use(acme, id, HOUR).await.unwrap(),
            OtherKeyRevoked => {
                let other = self.create().await;
                manager.revoke(acme, &other.key.id).await.unwrap();
            }
            EnabledElsewhere => _ = elsewhere.enable(acme, id).await.unwrap(),
            ExpiryMovedBack => {
                elsewhere.update(acme, id, ends_at(START.saturating_add(3 * HOUR))).await.unwrap();
                clock.advance(2 * HOUR);
            }
        }
        // A cache knows of what was done elsewhere once its copy is too old.
        clock.advance(Duration::from_secs(6));
    }
}

/// The caller of a request with this key.
async fn caller(keys: &ApiKeys, key: &str) -> Result<Principal, StatusCode> {
    caller_of(keys, Request::builder().header(X_API_KEY, key).body(()).unwrap()).await
}

async fn caller_of(keys: &ApiKeys, request: Request<()>) -> Result<Principal, StatusCode> {
    let caller = Arc::new(Mutex::new(None));
    let seen = caller.clone();
    let service =
        ServiceBuilder::new().layer(keys.layer()).service(service_fn(move |request: Request<()>| {
            *seen.lock().unwrap() = Principal::from_extensions(request.extensions()).cloned();
            whoami(request)
        }));
    let status = service.oneshot(request).await.unwrap().status();
    caller.lock().unwrap().take().ok_or(status)
}

/// One stream for each event, all at once.
async fn check(name: &'static str, runs_background: bool, make: impl AsyncFn() -> World) {
    let mut streams = tokio::task::JoinSet::new();
    for event in ENDS.into_iter().chain(GOES_ON) {
        let world = make().await;
        streams.spawn(async move {
            let background = runs_background.then(|| tokio::spawn(world.keys.background()));
            let key = world.create().await;
            let caller = world.caller(&key.secret).await.unwrap();
            let mut revoked = world.keys.manager().revoked(&caller);
            let early = tokio::time::timeout(Duration::from_millis(10), &mut revoked).await;
            assert!(early.is_err(), "{name}: {event:?} has not happened yet");
            world.happens(event, &key).await;
            let ends = ENDS.contains(&event);
            let wait = if ends { BOUND } else { A_WHILE };
            let ended = tokio::time::timeout(wait, &mut revoked).await.is_ok();
            assert_eq!(ended, ends, "{name}, background: {runs_background}: {event:?}");
            let is_accepted = world.caller(&key.secret).await.is_ok();
            assert_eq!(is_accepted, !ended, "{name}: {event:?}: a request is answered alike");
            if let Some(background) = background {
                background.abort();
            }
        });
    }
    streams.join_all().await;
}

fn clock() -> ManualClock {
    ManualClock::starting_at(START)
}

fn in_memory() -> World {
    let store = MemoryStore::new();
    World::new(Arc::new(store.clone()), store, clock())
}

/// As a database without a cache: every lookup has to wait.
fn uncached() -> World {
    let store = MemoryStore::new();
    World::new(Arc::new(TestStore::new(store.clone(), Answers::Later)), store, clock())
}

#[tokio::test]
async fn streams_end_with_their_key_in_memory_and_in_a_store_that_waits() {
    tokio::join!(
        check("memory", true, async || in_memory()),
        check("memory", false, async || in_memory()),
        check("waiting", true, async || uncached()),
        check("waiting", false, async || uncached()),
    );
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn streams_end_with_their_key_behind_a_cache() {
    let cached = |answers| {
        let (store, clock) = (MemoryStore::new(), clock());
        let cached = CachedStore::builder(TestStore::new(store.clone(), answers)).clock(clock.clone());
        World::new(Arc::new(cached.build()), store, clock)
    };
    tokio::join!(
        check("cache", true, async || cached(Answers::AtOnce)),
        check("cache", false, async || cached(Answers::Later)),
    );
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn streams_end_with_their_key_in_sqlite() {
    use tower_api_keys::store::SqliteStore;

    let open = async || {
        // A next secret whose first use can't be stored in time is put in use by a later one, and here there is none.
        let store = SqliteStore::open("sqlite::memory:").await.unwrap().with_lookup_timeout(BOUND);
        World::new(Arc::new(store.clone()), store, clock())
    };
    tokio::join!(check("sqlite", true, open), check("sqlite", false, open));
}

#[tokio::test]
async fn all_streams_of_a_key_end_at_once_with_one_lookup() {
    let store = TestStore::new(MemoryStore::new(), Answers::AtOnce);
    let world = World::new(Arc::new(store.clone()), store.keys.clone(), clock());
    let background = tokio::spawn(world.keys.background());
    let key = world.create().await;
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let caller = world.caller(&key.secret).await.unwrap();
        let mut revoked = world.keys.manager().revoked(&caller);
        assert!(tokio::time::timeout(Duration::ZERO, &mut revoked).await.is_err());
        streams.spawn(revoked);
    }
    let before = store.lookups();
    world.keys.manager().revoke(&world.acme, &key.key.id).await.unwrap();
    tokio::time::timeout(BOUND, streams.join_all()).await.expect("every stream ends");
    let lookups = store.lookups() - before;
    assert!(lookups <= 3, "{lookups} lookups for a thousand streams");
    background.abort();
}

#[tokio::test]
async fn a_key_that_is_enabled_again_has_streams_again() {
    let world = in_memory();
    let (key, manager) = (world.create().await, world.keys.manager());
    let old = manager.revoked(&world.caller(&key.secret).await.unwrap());
    manager.disable(&world.acme, &key.key.id).await.unwrap();
    let mut old = tokio::spawn(old);
    tokio::time::timeout(BOUND, &mut old).await.expect("it ends").unwrap();
    manager.enable(&world.acme, &key.key.id).await.unwrap();
    let new = manager.revoked(&world.caller(&key.secret).await.unwrap());
    assert!(tokio::time::timeout(A_WHILE, new).await.is_err());
}

#[tokio::test]
async fn the_streams_of_a_replaced_secret_end_before_those_of_the_new_one() {
    let world = in_memory();
    let (key, manager) = (world.create().await, world.keys.manager());
    let new = manager.rotate(&world.acme, &key.key.id, Duration::from_secs(60)).await.unwrap();
    let mut retired = manager.revoked(&world.caller(&key.secret).await.unwrap());
    let mut in_use = manager.revoked(&world.caller(&new.secret).await.unwrap());
    tokio::select! {
        () = &mut retired => panic!("it is in its grace period"),
        () = &mut in_use => panic!("it is in use"),
        () = tokio::time::sleep(A_WHILE) => {}
    }
    world.clock.advance(Duration::from_secs(60));
    let retired = tokio::time::timeout(BOUND, retired);
    let (ended, lasted) = tokio::join!(retired, tokio::time::timeout(A_WHILE, in_use));
    assert!(ended.is_ok() && lasted.is_err());
}

#[tokio::test]
async fn a_stream_that_makes_a_new_future_for_each_event_ends_as_well() {
    for (world, runs_background) in [(in_memory(), false), (uncached(), false), (uncached(), true)] {
        let background = runs_background.then(|| tokio::spawn(world.keys.background()));
        let key = world.create().await;
        let (manager, caller) = (world.keys.manager(), world.caller(&key.secret).await.unwrap());
        world.elsewhere.revoke(&world.acme, &key.key.id).await.unwrap();
        let stream = async {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(1)) => {}
                    () = manager.revoked(&caller) => break,
                }
            }
        };
        tokio::time::timeout(BOUND, stream).await.expect("it ends");
        if let Some(background) = background {
            background.abort();
        }
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_ends_no_stream_before_its_time() {
    let mut streams = tokio::task::JoinSet::new();
    for answers in [Answers::WithAnError, Answers::WithAPanic, Answers::WithAPanicLater] {
        streams.spawn(async move {
            let world = in_memory();
            let key = world.create().await;
            let caller = world.caller(&key.secret).await.unwrap();
            let (store, clock) = (TestStore::new(MemoryStore::new(), answers), world.clock.clone());
            let manager = KeyManager::new(store.clone(), format()).with_clock(clock.clone());
            let mut revoked = manager.revoked(&caller);
            assert!(tokio::time::timeout(A_WHILE, &mut revoked).await.is_err(), "{answers:?}");
            assert!(store.lookups() > 0, "{answers:?}: it was asked");
            clock.advance(HOUR);
            tokio::time::timeout(BOUND, &mut revoked).await.expect("it has expired, as far as is known");
        });
    }
    streams.join_all().await;
}

#[tokio::test]
async fn a_session_ends_at_its_expiry_only() {
    struct Sessions;

    #[async_trait]
    impl SessionAuthenticator for Sessions {
        async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
            let (acme, scopes) = ("acme".parse().unwrap(), ScopeSet::empty());
            let session = Session::new("ada").with_owner(
                Owner::organization(acme, Mode::Live),
                Role::of_rank(1),
                scopes,
            );
            let ends = token.expose_secret() == "ends";
            Ok(Some(if ends { session.with_expiry(START.saturating_add(HOUR)) } else { session }))
        }
    }

    let clock = clock();
    let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("sk_").unwrap())
        .bearer()
        .sessions(Sessions)
        .organization(OrganizationRule::context().session_cookie("organization"))
        .without_route_table()
        .clock(clock.clone())
        .build()
        .unwrap();
    let caller = async |token: &str| {
        let request = Request::builder()
            .header("authorization", format!("Bearer {token}"))
            .header("cookie", "organization=acme");
        caller_of(&keys, request.body(()).unwrap()).await.unwrap()
    };
    let mut ends = keys.manager().revoked(&caller("ends").await);
    let mut lasts = keys.manager().revoked(&caller("lasts").await);
    tokio::select! {
        () = &mut ends => panic!("it has not expired"),
        () = &mut lasts => panic!("it does not expire"),
        () = tokio::time::sleep(A_WHILE) => {}
    }
    clock.advance(HOUR);
    let (ended, lasted) =
        tokio::join!(tokio::time::timeout(BOUND, ends), tokio::time::timeout(A_WHILE, lasts));
    assert!(ended.is_ok() && lasted.is_err());
}

#[tokio::test]
async fn a_stream_ends_with_its_companion() {
    const APP_SECRET: &str = "app_abc123def456ghi789jkl012mno345pq";
    let app = record(APP_SECRET, |app| app.id = "app_1".parse().unwrap());
    let store = store([record(KEY, |_| {}), app]).await;
    let companions = Companions::new(HeaderKey::new(X_SECRET, KeyFormat::new("app_").unwrap()));
    let keys = assembly(store).companions(companions.with_otherwise(Parts::KEY)).without_route_table();
    let keys = keys.clock(clock()).build().unwrap();
    let caller = async |with_app: bool| {
        let mut request = request(KEY);
        if with_app {
            request.headers_mut().insert(X_SECRET, APP_SECRET.parse().unwrap());
        }
        caller_of(&keys, request).await.unwrap()
    };
    let with_app = keys.manager().revoked(&caller(true).await);
    let mut alone = keys.manager().revoked(&caller(false).await);
    let mut with_app = tokio::spawn(with_app);
    assert!(tokio::time::timeout(A_WHILE, &mut with_app).await.is_err(), "both are good");
    keys.manager().revoke(&Authority::operator(acme()), &"app_1".parse().unwrap()).await.unwrap();
    tokio::time::timeout(BOUND, with_app).await.expect("the app has ended").unwrap();
    assert!(tokio::time::timeout(A_WHILE, &mut alone).await.is_err(), "the key has not");
}

#[tokio::test]
async fn a_future_outlives_its_assembly() {
    let world = in_memory();
    let key = world.create().await;
    let revoked = world.keys.manager().revoked(&world.caller(&key.secret).await.unwrap());
    let World { keys, elsewhere, acme, .. } = world;
    drop(keys);
    elsewhere.revoke(&acme, &key.key.id).await.unwrap();
    tokio::time::timeout(BOUND, revoked).await.expect("it ends");
}
