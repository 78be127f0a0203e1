//! Keys that other systems have made: imported as hashes, verified once, and remembered when they are gone.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::ManualClock;
use tower_api_keys::key::{ImportedHash, KeyFormat, KeyId, KeyRecord, KeyState, Peppers};
use tower_api_keys::manage::{Authority, KeyManager, ManageError};
use tower_api_keys::store::{KeyAdministration, KeyQuery, KeySelector, KeyStore, StoreErrorKind};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, MemoryStore, NewKey, Principal, Quota};

use crate::support::*;

const SECRET: &str = "old_someone1.abc123def456ghi789jkl012mno345pq";
const WRONG: &str = "old_someone1.ABC123def456ghi789jkl012mno345pq";
const ID: &str = "someone1";

/// What stands for a slow hash here.
fn hash(key: &str) -> ImportedHash {
    format!("slow${}", key.chars().rev().collect::<String>()).parse().unwrap()
}

fn operator() -> Authority {
    Authority::operator(acme())
}

fn id() -> KeyId {
    ID.parse().unwrap()
}

/// An assembly that counts what its verifier does.
struct World<S = MemoryStore> {
    store: S,
    keys: ApiKeys,
    clock: ManualClock,
    verified: Arc<AtomicUsize>,
}

impl World {
    async fn new() -> Self {
        Self::over(MemoryStore::new()).await
    }
}

impl<S: KeyAdministration + Clone> World<S> {
    /// With one key imported as a hash.
    async fn over(store: S) -> Self {
        let world = Self::empty(store);
        world.import().await.unwrap();
        world
    }

    fn empty(store: S) -> Self {
        let (clock, verified) = (ManualClock::starting_at(START), Arc::new(AtomicUsize::new(0)));
        let counted = verified.clone();
        let keys = builder(store.clone(), &clock)
            .verify_imported(move |key, text| {
                counted.fetch_add(1, Ordering::SeqCst);
                assert!(!key.contains("panic"), "the verifier has a bug");
                hash(key).as_str() == text
            })
            .build()
            .unwrap();
        Self { store, keys, clock, verified }
    }

    async fn import(&self) -> Result<KeyId, ManageError> {
        let key = NewKey::new("Old").scope("a:b");
        self.keys.manager().import_hash(&operator(), key, id(), hash(SECRET), "old_…").await.map(|key| key.id)
    }

    /// The status and the code of a rejection.
    async fn send(&self, key: &str) -> (u16, &'static str) {
        send(&self.keys, key, "192.0.2.1").await
    }

    async fn record(&self) -> Arc<KeyRecord> {
        self.store.find(KeySelector::Id(&id())).await.unwrap().unwrap()
    }

    /// How often the verifier was called since it was last asked.
    fn verified(&self) -> usize {
        self.verified.swap(0, Ordering::SeqCst)
    }
}

fn builder(store: impl KeyAdministration, clock: &ManualClock) -> ApiKeysBuilder {
    assembly(store)
        .also_accept(KeyFormat::builder("old_").public_id(8, '.').build().unwrap())
        .clock(clock.clone())
        .client_address(ClientAddressSource::peer())
        .throttle_bad_credentials(Quota::per_minute(3).unwrap())
        .route("GET", "/", "a:b")
}

async fn send(keys: &ApiKeys, key: &str, from: &str) -> (u16, &'static str) {
    let mut request = Request::get("/").header("x-api-key", key).body(()).unwrap();
    request.extensions_mut().insert(PeerAddress(from.parse().unwrap()));
    let response: Response<Bytes> = keys.layer().layer(service_fn(whoami)).oneshot(request).await.unwrap();
    match response.status().as_u16() {
        200 => (200, ""),
        status => (status, rejection(&response).reason().code()),
    }
}

const GOOD: (u16, &str) = (200, "");

type Change = fn(&mut KeyRecord);

#[tokio::test]
async fn a_key_imported_as_a_hash_is_verified_at_its_first_use_and_is_then_like_any_other() {
    for answers in [Answers::AtOnce, Answers::Later] {
        let world = World::over(TestStore::new(MemoryStore::new(), answers)).await;
        for _ in 0..3 {
            assert_eq!(world.send(SECRET).await, GOOD);
        }
        assert_eq!(world.verified(), 1, "{answers:?}");
        let record = world.record().await;
        assert_eq!(record.extras().imported_hash, None);
        assert_eq!((record.digest, record.version), (Peppers::none().digest(SECRET), 1));
        let by_digest = world.store.find(KeySelector::Digests(&[record.digest])).await.unwrap();
        assert_eq!(by_digest.as_deref(), Some(&*record));
        assert_eq!(world.send(WRONG).await, (401, "secret_mismatch"));
        assert_eq!(world.verified(), 0, "{answers:?}");
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_digest_replaces_the_hash_in_the_database() {
    let directory = std::env::temp_dir().join(format!("api-keys-imports-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("keys.db");
    let world = World::over(tower_api_keys::store::SqliteStore::open(&file).await.unwrap()).await;
    assert_eq!(world.send(SECRET).await, GOOD);
    let restarted = World::empty(tower_api_keys::store::SqliteStore::open(&file).await.unwrap());
    assert_eq!(restarted.send(SECRET).await, GOOD);
    assert_eq!((world.verified(), restarted.verified()), (1, 0));
    assert_eq!(restarted.record().await.extras().imported_hash, None);
    std::fs::remove_dir_all(directory).unwrap();
}

#[cfg(feature = "cache")]
#[tokio::test]
async fn a_cache_does_not_bring_the_hash_back() {
    let world = World::over(Arc::new(tower_api_keys::store::CachedStore::new(MemoryStore::new()))).await;
    for _ in 0..3 {
        assert_eq!(world.send(SECRET).await, GOOD);
    }
    assert_eq!(world.verified(), 1);
}

#[tokio::test]
async fn a_wrong_secret_is_a_bad_credential_and_the_throttle_stands_before_the_verifier() {
    let world = World::new().await;
    for _ in 0..3 {
        assert_eq!(world.send(WRONG).await, (401, "secret_mismatch"));
    }
    assert_eq!(world.verified(), 3);
    for key in [WRONG, SECRET] {
        assert_eq!(world.send(key).await, (429, "throttled"));
    }
    assert_eq!(world.verified(), 0);
    assert_eq!(send(&world.keys, SECRET, "192.0.2.2").await, GOOD, "other addresses do not wait with it");
}

#[tokio::test]
async fn state_mode_and_addresses_count_as_they_do_for_any_key() {
    let cases: [(&str, Change, (u16, &str)); 7] = [
        ("disabled", |key| key.state = KeyState::Disabled, (401, "key_disabled")),
        ("revoked", |key| key.state = KeyState::Revoked { at: START }, (401, "key_revoked")),
        ("expired", |key| key.expires_at = Some(START), (401, "key_expired")),
        (
            "not valid yet",
            |key| key.extras_mut().not_before = Some(START.saturating_add(Duration::from_secs(1))),
            (401, "key_not_yet_valid"),
        ),
        (
            "elsewhere",
            |key| key.extras_mut().allowed_addresses = vec!["198.51.100.0/24".parse().unwrap()],
            (403, "address_not_allowed"),
        ),
        ("without the scope", |key| key.scopes = Default::default(), (403, "scope_missing")),
        ("good", |_| {}, GOOD),
    ];
    for (name, change, want) in cases {
        let world = World::new().await;
        let mut record = KeyRecord::clone(&*world.record().await);
        change(&mut record);
        world.store.replace(record, None).await.unwrap();
        for _ in 0..2 {
            assert_eq!(world.send(SECRET).await, want, "{name}");
        }
        assert_eq!(world.verified(), 1, "{name}: once, whatever the answer is");
        assert_eq!(world.send(WRONG).await.1, "secret_mismatch", "{name}: a wrong secret learns nothing");
    }
}

#[tokio::test]
async fn a_revocation_while_the_key_is_verified_holds() {
    let (clock, store) = (ManualClock::starting_at(START), MemoryStore::new());
    let (reached, wait) = mpsc::sync_channel::<()>(0);
    let (release, released) = mpsc::sync_channel::<()>(0);
    let released = Mutex::new(released);
    let keys = builder(store.clone(), &clock)
        .verify_imported(move |_, _| {
            reached.send(()).unwrap();
            released.lock().unwrap().recv().unwrap();
            true
        })
        .build()
        .unwrap();
    let manager = keys.manager();
    let key = NewKey::new("Old").scope("a:b");
    manager.import_hash(&operator(), key, id(), hash(SECRET), "").await.unwrap();
    let request = tokio::spawn({
        let keys = keys.clone();
        async move { send(&keys, SECRET, "192.0.2.1").await }
    });
    tokio::task::spawn_blocking(move || wait.recv()).await.unwrap().unwrap();
    manager.revoke(&operator(), &id()).await.unwrap();
    release.send(()).unwrap();
    assert_eq!(request.await.unwrap(), (401, "key_revoked"));
    let record = store.find(KeySelector::Id(&id())).await.unwrap().unwrap();
    assert!(matches!(record.state, KeyState::Revoked { .. }));
}

#[tokio::test]
async fn a_change_while_the_key_is_verified_is_kept_and_the_hash_still_replaced() {
    let (clock, store) = (ManualClock::starting_at(START), MemoryStore::new());
    let renamed = Mutex::new(Some(store.clone()));
    let keys = builder(store.clone(), &clock)
        .verify_imported(move |_, _| {
            if let Some(store) = renamed.lock().unwrap().take() {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let found = store.find(KeySelector::Id(&id())).await.unwrap().unwrap();
                    let mut renamed = KeyRecord::clone(&found);
                    renamed.name = "Renamed".into();
                    store.replace(renamed, None).await.unwrap();
                });
            }
            true
        })
        .build()
        .unwrap();
    let key = NewKey::new("Old").scope("a:b");
    keys.manager().import_hash(&operator(), key, id(), hash(SECRET), "").await.unwrap();
    assert_eq!(send(&keys, SECRET, "192.0.2.1").await, GOOD);
    let record = store.find(KeySelector::Id(&id())).await.unwrap().unwrap();
    assert_eq!((&*record.name.to_string(), &record.extras().imported_hash), ("Renamed", &None));
}

#[tokio::test]
async fn what_was_imported_in_place_of_a_key_while_it_is_verified_is_not_opened_by_it() {
    let other = World::empty(MemoryStore::new());
    let key = NewKey::new("Another");
    other.keys.manager().import_hash(&operator(), key, id(), hash(WRONG), "").await.unwrap();
    let other = Mutex::new(Some(KeyRecord::clone(&*other.record().await)));
    let (clock, store) = (ManualClock::starting_at(START), MemoryStore::new());
    let replaced = store.clone();
    let keys = builder(store.clone(), &clock).verify_imported(move |key, text| {
        if let Some(mut other) = other.lock().unwrap().take() {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                other.version = replaced.find(KeySelector::Id(&id())).await.unwrap().unwrap().version;
                replaced.replace(other, None).await.unwrap();
            });
        }
        hash(key).as_str() == text
    });
    let keys = keys.build().unwrap();
    let key = NewKey::new("Old").scope("a:b");
    keys.manager().import_hash(&operator(), key, id(), hash(SECRET), "").await.unwrap();
    assert_eq!(send(&keys, SECRET, "192.0.2.1").await, (401, "secret_mismatch"));
    let record = store.find(KeySelector::Id(&id())).await.unwrap().unwrap();
    assert_eq!(record.extras().imported_hash, Some(hash(WRONG)));
}

#[tokio::test]
async fn a_store_that_does_not_keep_the_digest_is_asked_once_and_again_at_the_next_use() {
    let store = TestStore::new(MemoryStore::new(), Answers::AtOnce);
    let store = TestStore { refresh_error: Some(StoreErrorKind::Unavailable), ..store };
    let world = World::over(store.clone()).await;
    for uses in 1..=3 {
        assert_eq!((world.send(SECRET).await, world.verified()), (GOOD, 1));
        assert_eq!(store.refreshed.load(Ordering::SeqCst), uses);
    }
}

#[tokio::test]
async fn an_imported_key_can_be_rotated_before_its_first_use() {
    let (grace, hour) = (Duration::from_secs(60), Duration::from_secs(3600));
    let world = World::new().await;
    let manager = world.keys.manager();
    let rotated = manager.rotate(&operator(), &id(), grace).await.unwrap();
    assert_eq!(world.send(SECRET).await, GOOD, "in its grace period");
    assert_eq!((world.verified(), world.send(SECRET).await, world.verified()), (1, GOOD, 0));
    world.clock.advance(grace);
    assert_eq!(world.send(SECRET).await, (401, "secret_mismatch"));
    assert_eq!(world.send(rotated.secret.expose_secret()).await, GOOD);
    assert_eq!(world.verified(), 0);

    let world = World::new().await;
    world.keys.manager().rotate(&operator(), &id(), grace).await.unwrap();
    world.clock.advance(grace);
    assert_eq!(world.send(SECRET).await, (401, "secret_mismatch"));
    assert_eq!(world.verified(), 0, "what can't be right is not verified");
    world.keys.manager().rotate(&operator(), &id(), hour).await.unwrap();
    assert_eq!(world.record().await.extras().imported_hash, None, "no secret has it any more");

    let world = World::new().await;
    let next = world.keys.manager().rotate_on_first_use(&operator(), &id(), Duration::ZERO).await.unwrap();
    assert_eq!((world.send(SECRET).await, world.verified()), (GOOD, 1), "the next one was not used yet");
    assert_eq!(world.send(next.secret.expose_secret()).await, GOOD);
    assert_eq!(world.send(SECRET).await, (401, "secret_mismatch"));
}

#[tokio::test]
async fn who_has_read_the_hash_cannot_present_it() {
    let world = World::new().await;
    let record = world.record().await;
    let hash = record.extras().imported_hash.clone().unwrap();
    for text in [hash.as_str(), &record.digest.to_string(), &format!("old_someone1.{}", hash.as_str())] {
        assert_eq!(world.send(text).await.0, 401, "{text}");
    }
    // A hash that looks like a key of that identifier: what the record has for a digest must not be its digest.
    let like_a_key = "old_someone2.hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh";
    let (other, text) = ("someone2".parse().unwrap(), like_a_key.parse().unwrap());
    world.keys.manager().import_hash(&operator(), NewKey::new("Other"), other, text, "").await.unwrap();
    assert_eq!(send(&world.keys, like_a_key, "192.0.2.2").await, (401, "secret_mismatch"));
    let shown = format!("{record:?} {:?}", world.keys.manager().get(&operator(), &id()).await.unwrap());
    assert!(!shown.contains(hash.as_str()) && !shown.contains("slow"), "{shown}");
}

#[tokio::test]
async fn a_verifier_that_panics_is_503_and_without_one_it_is_500() {
    let world = World::new().await;
    let panics = format!("old_someone1.panic{}", "0".repeat(27));
    assert_eq!(world.send(&panics).await, (503, "verifier_panicked"));
    let keys = builder(world.store.clone(), &world.clock).build().unwrap();
    for key in [SECRET, WRONG] {
        assert_eq!(send(&keys, key, "192.0.2.1").await, (500, "misconfigured"));
    }
    assert_eq!(world.send(SECRET).await, GOOD);
}

#[tokio::test]
async fn a_hash_that_can_never_be_found_or_shown_is_not_imported() {
    let world = World::new().await;
    let manager = world.keys.manager();
    let import = async |manager: &KeyManager, authority: &Authority, id: &str, hint: &str| {
        let hash = hash("another key");
        match manager.import_hash(authority, NewKey::new("Other"), id.parse().unwrap(), hash, hint).await {
            Ok(_) => "imported".to_owned(),
            Err(ManageError::Invalid(faults)) => faults[0].field.to_string(),
            Err(error) => error.to_string(),
        }
    };
    let without_ids = KeyManager::new(MemoryStore::new(), format());
    assert_eq!(import(&without_ids, &operator(), "other", "").await, "id");
    assert_eq!(import(manager, &operator(), "other", "a\u{1b}b").await, "hint");
    assert_eq!(import(manager, &operator(), ID, "").await, "key", "the identifier of another key");
    assert_eq!(import(manager, &operator(), "other", "").await, "imported");
    for text in ["", &"x".repeat(ImportedHash::MAX_LENGTH + 1), "a\nb", "é", "a\0"] {
        assert!(text.parse::<ImportedHash>().is_err(), "{text:?}");
    }
    assert!("x".repeat(ImportedHash::MAX_LENGTH).parse::<ImportedHash>().is_ok());
}

#[tokio::test]
async fn a_leaked_text_is_found_before_and_after_its_first_use() {
    let world = World::new().await;
    let find = async |text: &str| world.keys.manager().find_by_text(text).await.unwrap().map(|key| key.id);
    for used in [false, true] {
        assert_eq!(find(&format!(" {SECRET}\n")).await, Some(id()), "{used}");
        assert_eq!(find(WRONG).await, None, "{used}");
        assert_eq!(find(&SECRET.replace(ID, "someone2")).await, None, "{used}");
        assert_eq!(world.send(SECRET).await, GOOD, "to look for it is no use");
    }
    let elsewhere = KeyManager::new(world.store.clone(), format());
    assert_eq!(elsewhere.find_by_text("not a key").await.unwrap(), None);
}

#[tokio::test]
async fn an_import_is_remembered_after_first_use_rotation_and_deletion() {
    let world = World::new().await;
    let again = async || world.import().await.unwrap_err();
    assert!(matches!(again().await, ManageError::AlreadyExists), "as it was");
    assert_eq!(world.send(SECRET).await, GOOD);
    assert!(matches!(again().await, ManageError::AlreadyExists), "with the digest of its first use");
    let manager = world.keys.manager();
    manager.rotate(&operator(), &id(), Duration::ZERO).await.unwrap();
    assert!(matches!(again().await, ManageError::AlreadyExists), "with another secret");
    manager.delete(&operator(), &id()).await.unwrap();
    assert!(matches!(again().await, ManageError::Deleted(deleted) if deleted == id()));
    assert_eq!((world.store.len(), world.send(SECRET).await.0), (0, 401));
    manager.forget_import(&operator(), &id()).await.unwrap();
    assert!(matches!(manager.forget_import(&operator(), &id()).await, Err(ManageError::NotFound)));
    assert_eq!(world.import().await.unwrap(), id());
    assert_eq!(world.send(SECRET).await, GOOD);
}

/// A program that imports a key from a variable at each start, with the peppers that it has then.
#[tokio::test]
async fn what_was_deleted_or_rotated_does_not_come_back_at_the_next_start() {
    let pepper = |fill: &str| fill.repeat(32).into();
    let starts = [
        Peppers::none(),
        Peppers::none(),
        Peppers::new(1, pepper("a")).unwrap().accept_unpeppered(),
        Peppers::new(2, pepper("b")).unwrap().with_previous(1, pepper("a")).unwrap(),
        Peppers::new(2, pepper("b")).unwrap(),
    ];
    for rotates in [true, false] {
        let store = MemoryStore::new();
        let mut first = None;
        for (number, peppers) in starts.iter().enumerate() {
            let manager = KeyManager::new(store.clone(), format()).with_peppers(peppers.clone());
            let imported = manager.import(&operator(), NewKey::new("From a variable"), KEY.into()).await;
            match (number, &first, imported) {
                (0, None, Ok(key)) => first = Some(key.id),
                (1, Some(id), Err(ManageError::AlreadyExists)) if rotates => {
                    manager.rotate(&operator(), id, Duration::ZERO).await.unwrap();
                }
                (1, Some(id), Err(ManageError::AlreadyExists)) => {
                    manager.delete(&operator(), id).await.unwrap();
                }
                (2.., Some(_), Err(ManageError::AlreadyExists)) if rotates => {}
                (2.., Some(id), Err(ManageError::Deleted(deleted))) if deleted == *id => {}
                (_, _, outcome) => panic!("start {number}: {outcome:?}"),
            }
            let listed = manager.list(&operator(), &KeyQuery::default()).await.unwrap().keys;
            assert_eq!(listed.len(), usize::from(rotates || number == 0), "start {number}");
        }
    }
}

#[tokio::test]
async fn a_key_that_an_older_version_imported_is_remembered_from_the_next_import_on() {
    let store = store([record(KEY, |_| {})]).await;
    let manager = KeyManager::new(store, format());
    let import = async || manager.import(&operator(), NewKey::new("Old"), KEY.into()).await.unwrap_err();
    assert!(matches!(import().await, ManageError::AlreadyExists));
    let id = record(KEY, |_| {}).id;
    manager.delete(&operator(), &id).await.unwrap();
    assert!(matches!(import().await, ManageError::Deleted(deleted) if deleted == id));
}

#[tokio::test]
async fn only_the_operator_forgets_imports() {
    let world = World::new().await;
    let key = NewKey::new("Caller").scope("api-keys:write").scope("a:b");
    let key = world.keys.manager().create(&operator(), key).await.unwrap();
    let ask = async |request: Request<()>| {
        let mut response = Response::new(Bytes::new());
        response.extensions_mut().insert(Principal::from_extensions(request.extensions()).unwrap().clone());
        Ok::<_, Infallible>(response)
    };
    let mut request = Request::get("/").header("x-api-key", key.secret.expose_secret()).body(()).unwrap();
    request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
    let layer = world.keys.authenticate();
    let response = layer.layer(service_fn(ask)).oneshot(request).await.unwrap();
    let caller = Authority::principal(response.extensions().get().unwrap());
    let forbidden = world.keys.manager().forget_import(&caller, &id()).await.unwrap_err();
    assert!(matches!(forbidden, ManageError::Forbidden(_)), "{forbidden:?}");
    assert!(world.store.imported_as(&[world.record().await.digest]).await.unwrap().is_some());
}

#[test]
fn an_assembly_that_could_never_verify_a_hash_does_not_build() {
    let clock = ManualClock::starting_at(START);
    let verifies = |builder: ApiKeysBuilder| {
        let built = builder.verify_imported(|_, _| true).build();
        built.err().map_or(Vec::new(), |error| error.faults().map(|(setting, _)| setting).collect())
    };
    assert_eq!(verifies(builder(MemoryStore::new(), &clock)), [""; 0]);
    let without_throttle = assembly(MemoryStore::new())
        .also_accept(KeyFormat::builder("old_").public_id(8, '.').build().unwrap())
        .route("GET", "/", "a:b");
    assert_eq!(verifies(without_throttle), ["verify_imported"]);
    let without_ids = assembly(MemoryStore::new())
        .client_address(ClientAddressSource::peer())
        .throttle_bad_credentials(Quota::per_minute(3).unwrap())
        .route("GET", "/", "a:b");
    assert_eq!(verifies(without_ids), ["verify_imported"]);
}
