//! The rules of key management, through the public API only.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use proptest::prelude::*;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};
use tower_api_keys::address::{ClientAddressSource, Network, PeerAddress};
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::identity::SecretStatus;
use tower_api_keys::key::{
    Actor, Digest, KeyFormat, KeyId, KeyRecord, KeyState, KeyStatus, Metadata, Mode, Owner, Peppers,
};
use tower_api_keys::manage::{
    AuditEvent, Authority, CreatedKey, Forbidden, KeyAction, KeyChange, KeyManager, ManageError, NewKey,
};
use tower_api_keys::scope::{ScopeRequirement, ScopeSet};
use tower_api_keys::store::{
    Cursor, HistoryQuery, KeyAdministration, KeyQuery, KeySelector, KeyStore, Lookup, MemoryStore, Page,
    StoreError, StoreErrorKind,
};
use tower_api_keys::{ApiKeys, Principal};

const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A manager, its store and clock, and its audit events.
#[derive(Clone)]
struct World {
    keys: ApiKeys,
    manager: KeyManager,
    store: MemoryStore,
    clock: ManualClock,
    format: KeyFormat,
    events: Arc<Mutex<Vec<AuditEvent>>>,
}

impl World {
    fn new() -> Self {
        Self::with_format(KeyFormat::new("wfk_").unwrap())
    }

    fn with_format(format: KeyFormat) -> Self {
        let (store, clock) = (MemoryStore::new(), ManualClock::starting_at(START));
        let events = Arc::new(Mutex::new(Vec::new()));
        let sink = events.clone();
        let keys = ApiKeys::builder(store.clone(), format.clone())
            .header("x-api-key")
            .clock(clock.clone())
            .client_address(ClientAddressSource::peer())
            .audit(move |event: &AuditEvent| sink.lock().unwrap().push(event.clone()))
            .without_route_table()
            .build()
            .unwrap();
        Self { manager: keys.manager().clone(), keys, store, clock, format, events }
    }

    /// The caller with this key; `None` if it does not verify.
    async fn principal(&self, secret: &str) -> Option<Principal> {
        let service = self.keys.layer().layer(tower::service_fn(async |request: Request<()>| {
            let mut response = Response::new(Bytes::new());
            let principal = Principal::from_extensions(request.extensions()).cloned();
            response.extensions_mut().insert(principal.expect("the layer stands outside"));
            Ok::<_, Infallible>(response)
        }));
        let mut request = Request::builder().header("x-api-key", secret).body(()).unwrap();
        request.extensions_mut().insert(PeerAddress("10.0.0.1".parse().unwrap()));
        service.oneshot(request).await.unwrap().extensions().get::<Principal>().cloned()
    }

    async fn verifies(&self, secret: &str) -> bool {
        self.principal(secret).await.is_some()
    }

    async fn create(&self, change: impl FnOnce(&mut NewKey)) -> CreatedKey {
        self.create_for(&acme(), change).await
    }

    async fn create_for(&self, owner: &Owner, change: impl FnOnce(&mut NewKey)) -> CreatedKey {
        let mut key = new_key(&["api-keys:read", "api-keys:write"]);
        change(&mut key);
        self.manager.create(&Authority::operator(owner.clone()), key).await.unwrap()
    }

    /// A caller with its own key.
    async fn caller(&self, change: impl FnOnce(&mut NewKey)) -> Authority {
        let key = self.create(change).await;
        Authority::principal(&self.principal(key.secret.expose_secret()).await.unwrap())
    }

    async fn record(&self, id: &KeyId) -> Option<KeyRecord> {
        let found = self.store.find(KeySelector::Id(id)).await.unwrap();
        found.map(Arc::unwrap_or_clone)
    }

    async fn take_events(&self) -> Vec<AuditEvent> {
        self.keys.flush().await.unwrap();
        std::mem::take(&mut self.events.lock().unwrap())
    }

    /// Every operation on one key, in an order in which each has an effect.
    async fn change(&self, authority: &Authority, action: KeyAction, id: &KeyId) -> Result<(), ManageError> {
        match action {
            KeyAction::Read => self.manager.get(authority, id).await.map(drop),
            KeyAction::Update => {
                self.manager.update(authority, id, KeyChange::new().name("renamed")).await.map(drop)
            }
            KeyAction::Rotate => self.manager.rotate(authority, id, HOUR).await.map(drop),
            KeyAction::Disable => self.manager.disable(authority, id).await.map(drop),
            KeyAction::Enable => self.manager.enable(authority, id).await.map(drop),
            KeyAction::Revoke => self.manager.revoke(authority, id).await.map(drop),
            KeyAction::Delete => self.manager.delete(authority, id).await,
            other => unreachable!("{other} is about no existing key"),
        }
    }
}

const CHANGES: [KeyAction; 6] = [
    KeyAction::Update,
    KeyAction::Rotate,
    KeyAction::Disable,
    KeyAction::Enable,
    KeyAction::Revoke,
    KeyAction::Delete,
];

fn acme() -> Owner {
    Owner::organization("acme".parse().unwrap(), Mode::Live)
}

fn operator() -> Authority {
    Authority::operator(acme())
}

fn scopes(list: &[&str]) -> ScopeSet {
    ScopeSet::parse_list(list.iter().copied()).unwrap()
}

fn new_key(list: &[&str]) -> NewKey {
    NewKey::new("key").scopes(scopes(list))
}

fn networks(list: &[&str]) -> Vec<Network> {
    list.iter().map(|network| network.parse().unwrap()).collect()
}

fn limits(list: &[(&str, u32)]) -> BTreeMap<String, NonZeroU32> {
    list.iter().map(|(category, limit)| ((*category).to_owned(), NonZeroU32::new(*limit).unwrap())).collect()
}

/// The outcome in one word.
fn outcome<T>(result: &Result<T, ManageError>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(ManageError::Forbidden(Forbidden::ManagementScope(_))) => "management scope".into(),
        Err(ManageError::Forbidden(Forbidden::Scopes(missing))) => format!("scopes {missing:?}"),
        Err(ManageError::Forbidden(Forbidden::SecretRetired)) => "secret retired".into(),
        Err(ManageError::Forbidden(Forbidden::Ended)) => "ended".into(),
        Err(ManageError::Forbidden(Forbidden::Expiry)) => "expiry".into(),
        Err(ManageError::Forbidden(Forbidden::Limits)) => "limits".into(),
        Err(ManageError::Forbidden(Forbidden::Addresses)) => "addresses".into(),
        Err(ManageError::Forbidden(Forbidden::TooManyKeys)) => "too many keys".into(),
        Err(ManageError::Forbidden(Forbidden::OperatorOnly)) => "operator only".into(),
        Err(ManageError::NotFound) => "not found".into(),
        Err(ManageError::AlreadyExists) => "already exists".into(),
        Err(ManageError::Overtaken) => "overtaken".into(),
        Err(ManageError::Invalid(faults)) => {
            faults.iter().map(|fault| fault.field.as_ref()).collect::<Vec<_>>().join(" ")
        }
        Err(other) => format!("{other:?}"),
    }
}

#[tokio::test]
async fn a_created_key_verifies_and_only_its_digest_is_stored() {
    for format in [
        KeyFormat::new("wfk_").unwrap(),
        KeyFormat::builder("sk_").modes("test_", "live_").public_id(16, '.').build().unwrap(),
    ] {
        let world = World::with_format(format.clone());
        let created = world.create(|_| {}).await;
        let secret = created.secret.expose_secret();
        let principal = world.principal(secret).await.expect("a new key verifies");
        assert_eq!(*principal.key_id(), created.key.id);
        if let Some(id) = format.parse(secret).unwrap().id {
            assert_eq!(id, created.key.id, "the identifier in the key is the key's");
        }
        let record = world.record(&created.key.id).await.unwrap();
        assert!(!format!("{record:?}").contains(secret));
        assert_eq!(record.digest, Peppers::none().digest(secret));
    }
}

#[tokio::test]
async fn identifiers_can_have_a_prefix() {
    let world = World::new();
    let manager = world.manager.clone().with_id_prefix("app_").unwrap();
    let key = manager.create(&operator(), new_key(&[])).await.unwrap();
    let random = key.key.id.as_str().strip_prefix("app_").unwrap();
    assert!(random.len() == 16 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{random}");
    for (prefix, ok) in [("", true), ("sixteen_letters_", true), ("seventeen_letters", false), ("a/", false)]
    {
        let manager = world.manager.clone().with_id_prefix(prefix);
        assert_eq!(manager.is_ok(), ok, "{prefix}");
        if let Ok(manager) = manager {
            assert!(
                manager.create(&operator(), new_key(&[])).await.unwrap().key.id.as_str().starts_with(prefix)
            );
        }
    }
}

#[tokio::test]
async fn new_scopes_are_a_subset_of_the_callers() {
    let world = World::new();
    let caller = world.caller(|key| key.scopes = scopes(&["api-keys:write", "runs:read", "invoice:*"])).await;
    for (asked, want) in [
        (&[][..], "ok"),
        (&["runs:read"], "ok"),
        (&["runs:read", "invoice:read", "invoice:*"], "ok"),
        (&["api-keys:write"], "ok"),
        (&["runs:write"], r#"scopes ["runs:write"]"#),
        (&["runs:read", "runs:*"], r#"scopes ["runs:*"]"#),
        (&["invoice_item:read"], r#"scopes ["invoice_item:read"]"#),
        (&["api-keys:read", "runs:read", "a:b"], r#"scopes ["a:b", "api-keys:read"]"#),
    ] {
        let before = world.store.len();
        let result = world.manager.create(&caller, new_key(asked)).await;
        assert_eq!(outcome(&result), want, "{asked:?}");
        assert_eq!(world.store.len() - before, usize::from(result.is_ok()), "{asked:?}");
        if let Ok(created) = result {
            assert_eq!(created.key.scopes, scopes(asked), "exactly what was asked for, and none if none");
        }
    }
}

#[tokio::test]
async fn a_scope_outside_of_the_catalog_is_forbidden_to_every_caller() {
    let world = World::new();
    let caller = world.caller(|key| key.scopes = scopes(&["api-keys:write", "runs:*"])).await;
    let manager = world.manager.clone().with_grantable_scopes(scopes(&["runs:read", "invoice:*"]));
    for (asked, want) in [
        ("runs:read", "ok"),
        ("invoice:create", "ok"),
        ("runs:*", "scopes"),
        ("runs:write", "scopes"),
        ("api-keys:write", "scopes"),
    ] {
        let made = manager.create(&operator(), new_key(&[asked])).await;
        assert_eq!(outcome(&made), want, "operator asks for {asked}");
        let forbidden = manager.create(&caller, new_key(&[asked])).await.is_err();
        assert!(forbidden || asked == "runs:read", "caller asks for {asked}");
    }
}

#[tokio::test]
async fn a_key_does_not_outlive_its_creator() {
    let at = |hours: u32| START.saturating_add(HOUR * hours);
    for (own, asked, want) in [
        (None, None, Ok(None)),
        (None, Some(at(9)), Ok(Some(at(9)))),
        (Some(at(2)), None, Ok(Some(at(2)))),
        (Some(at(2)), Some(at(1)), Ok(Some(at(1)))),
        (Some(at(2)), Some(at(2)), Ok(Some(at(2)))),
        (Some(at(2)), Some(at(2).saturating_add(MILLISECOND)), Err("expiry")),
        (None, Some(START), Err("expiresAt")),
        (None, Some(Timestamp::from_unix_seconds(0)), Err("expiresAt")),
    ] {
        let world = World::new();
        let caller = world.caller(|key| key.expires_at = own).await;
        let mut key = new_key(&[]);
        key.expires_at = asked;
        let result = world.manager.create(&caller, key).await;
        match want {
            Ok(want) => assert_eq!(result.unwrap().key.expires_at, want, "own {own:?}, asked {asked:?}"),
            Err(want) => assert_eq!(outcome(&result), want, "own {own:?}, asked {asked:?}"),
        }
    }
}

#[tokio::test]
async fn no_key_outlives_the_maximum_lifetime() {
    let world = World::new();
    let manager = world.manager.clone().with_max_lifetime(DAY);
    let caller = world.caller(|key| key.expires_at = Some(START.saturating_add(HOUR))).await;
    let created = manager.create(&operator(), new_key(&[])).await.unwrap();
    assert_eq!(created.key.expires_at, Some(START.saturating_add(DAY)), "none asked for");
    let created = manager.create(&caller, new_key(&[])).await.unwrap();
    assert_eq!(created.key.expires_at, Some(START.saturating_add(HOUR)), "the caller's end comes first");
    let mut key = new_key(&[]);
    key.expires_at = Some(START.saturating_add(DAY + MILLISECOND));
    assert_eq!(outcome(&manager.create(&operator(), key).await), "expiresAt");
}

#[tokio::test]
async fn an_owner_has_a_bounded_number_of_keys() {
    let world = World::new();
    let caller = world.caller(|_| {}).await;
    let manager = world.manager.clone().with_max_keys(3);
    let create = async |authority: &Authority| manager.create(authority, new_key(&[])).await;
    let first = create(&caller).await.unwrap().key.id;
    assert_eq!(outcome(&create(&operator()).await), "ok");
    world.take_events().await;
    for authority in [&caller, &operator()] {
        assert_eq!(outcome(&create(authority).await), "too many keys");
    }
    assert_eq!(world.take_events().await.len(), 2, "each is audited");
    let globex = Authority::operator(Owner::organization("globex".parse().unwrap(), Mode::Live));
    assert_eq!(outcome(&create(&globex).await), "ok", "another owner");
    manager.revoke(&caller, &first).await.unwrap();
    assert_eq!(outcome(&create(&caller).await), "too many keys", "a revoked key is still stored");
    manager.delete(&caller, &first).await.unwrap();
    assert_eq!(outcome(&create(&caller).await), "ok");
}

#[tokio::test]
async fn limits_are_never_above_the_callers() {
    for (own, asked, want) in [
        (&[][..], &[][..], Ok(&[][..])),
        (&[], &[("read", 1)], Err("limits")),
        (&[("read", 10)], &[], Ok(&[("read", 10)])),
        (&[("read", 10)], &[("read", 10)], Ok(&[("read", 10)])),
        (&[("read", 10), ("write", 5)], &[("read", 9)], Ok(&[("read", 9), ("write", 5)])),
        (&[("read", 10)], &[("read", 11)], Err("limits")),
        (&[("read", 10)], &[("write", 1)], Err("limits")),
    ] {
        let world = World::new();
        let caller = world.caller(|key| key.limits = limits(own)).await;
        let mut key = new_key(&[]);
        key.limits = limits(asked);
        let result = world.manager.create(&caller, key).await;
        match want {
            Ok(want) => assert_eq!(result.unwrap().key.limits, limits(want), "own {own:?}, asked {asked:?}"),
            Err(want) => assert_eq!(outcome(&result), want, "own {own:?}, asked {asked:?}"),
        }
    }
}

#[tokio::test]
async fn a_key_is_restricted_to_the_addresses_of_its_creator() {
    let home = &["10.0.0.0/8", "2001:db8::/32"][..];
    for (own, asked, want) in [
        (&[][..], &[][..], Ok(&[][..])),
        (&[], &["10.1.0.0/16"], Ok(&["10.1.0.0/16"])),
        (home, &[], Ok(home)),
        (home, home, Ok(home)),
        (home, &["10.0.0.0/8"], Ok(&["10.0.0.0/8"])),
        (home, &["10.1.0.0/16", "2001:db8::1", "10.0.0.1"], Ok(&["10.1.0.0/16", "2001:db8::1", "10.0.0.1"])),
        (home, &["::ffff:10.1.0.0/112"], Ok(&["10.1.0.0/16"])),
        (home, &["10.0.0.0/7"], Err("addresses")),
        (home, &["11.0.0.0/8"], Err("addresses")),
        (home, &["10.1.0.0/16", "11.0.0.1"], Err("addresses")),
        (home, &["0.0.0.0/0"], Err("addresses")),
        (home, &["::/0"], Err("addresses")),
        // Together they are all of 10.0.0.0/8, which is not detected, so they are rejected.
        (&["10.0.0.0/9", "10.128.0.0/9"], &["10.0.0.0/8"], Err("addresses")),
    ] {
        let name = format!("own {own:?}, asked {asked:?}");
        let world = World::new();
        let caller = world.caller(|key| key.allowed_addresses = networks(own)).await;
        let key = || {
            let mut key = new_key(&[]);
            key.allowed_addresses = networks(asked);
            key
        };
        let before = world.store.len();
        let result = world.manager.create(&caller, key()).await;
        match want {
            Ok(want) => {
                let made = result.unwrap().key;
                assert_eq!(made.allowed_addresses, networks(want), "{name}");
                let stored = world.record(&made.id).await.unwrap();
                assert_eq!(stored.extras().allowed_addresses, networks(want), "{name}");
            }
            Err(want) => {
                assert_eq!(outcome(&result), want, "{name}");
                assert_eq!(world.store.len(), before, "{name}");
            }
        }
        let made = world.manager.create(&operator(), key()).await.unwrap().key;
        assert_eq!(made.allowed_addresses, networks(asked), "the operator: {name}");
    }
}

/// A caller that gets a key's secret, or enables it, could use it from all of its addresses.
#[tokio::test]
async fn a_key_for_more_addresses_is_neither_rotated_nor_enabled() {
    let world = World::new();
    let caller = world.caller(|key| key.allowed_addresses = networks(&["10.0.0.0/8"])).await;
    for (target, want) in
        [(&[][..], "addresses"), (&["10.0.0.0/8", "192.0.2.1"], "addresses"), (&["10.1.0.0/16"], "ok")]
    {
        let target = world.create(|key| key.allowed_addresses = networks(target)).await.key.id;
        for action in CHANGES {
            let result = world.change(&caller, action, &target).await;
            let hands_out = matches!(action, KeyAction::Rotate | KeyAction::Enable);
            assert_eq!(outcome(&result), if hands_out { want } else { "ok" }, "{action}");
            if action == KeyAction::Revoke {
                break;
            }
        }
    }
}

#[tokio::test]
async fn faults_of_a_new_key_are_reported_by_field() {
    let hundred = "é".repeat(100);
    let over = "é".repeat(101);
    for (name, want) in [
        ("Production", "ok"),
        ("ключ ✓", "ok"),
        (hundred.as_str(), "ok"),
        (over.as_str(), "name"),
        ("", "name"),
        (" \u{2003} ", "name"),
        ("a\nb", "name"),
        ("a\u{1b}[31m", "name"),
        ("a\u{9b}b", "name"),
        ("invoice\u{202e}gpj", "name"),
        ("a\0", "name"),
    ] {
        let world = World::new();
        let result = world.manager.create(&operator(), NewKey::new(name)).await;
        assert_eq!(outcome(&result), want, "{name:?}");
        assert_eq!(world.store.is_empty(), want != "ok", "{name:?}");
    }
    let world = World::new();
    let manager = world.manager.clone().with_max_lifetime(DAY);
    for (lifetime, want) in [(DAY, "ok"), (DAY + MILLISECOND, "expiresAt")] {
        let mut key = new_key(&[]);
        key.expires_at = Some(START.saturating_add(lifetime));
        assert_eq!(outcome(&manager.create(&operator(), key).await), want, "{lifetime:?}");
    }
    let mut key = NewKey::new("").scopes(scopes(&["a:b"]));
    key.expires_at = Some(START.saturating_add(HOUR));
    key.not_before = key.expires_at;
    let manager = world.manager.clone().with_grantable_scopes(ScopeSet::empty());
    assert_eq!(outcome(&manager.create(&operator(), key).await), "name scopes notBefore");

    for (count, want) in [(100, "ok"), (101, "allowedAddresses")] {
        let mut key = new_key(&[]);
        key.allowed_addresses = vec!["192.0.2.1".parse().unwrap(); count];
        assert_eq!(outcome(&world.manager.create(&operator(), key).await), want, "{count} networks");
    }
    for (count, want) in [(1000, "ok"), (1001, "scopes")] {
        let scopes: Vec<_> = (0..count).map(|number| format!("resource:action{number}")).collect();
        let created = world.manager.create(&operator(), NewKey::new("key").scopes(&scopes)).await;
        assert_eq!(outcome(&created), want, "{count} scopes");
        let id = world.create(|_| {}).await.key.id;
        let changed = world.manager.update(&operator(), &id, KeyChange::new().scopes(&scopes)).await;
        assert_eq!(outcome(&changed), want, "{count} scopes");
    }
}

#[tokio::test]
async fn managing_keys_needs_its_own_scope() {
    let world = World::new();
    let target = world.create(|_| {}).await.key.id;
    let before = world.record(&target).await;
    for (held, may_read, may_write) in [
        (&["workflows:*", "runs:read"][..], false, false),
        (&["api-keys:read"], true, false),
        (&["api-keys:write"], false, true),
        (&["api-keys:*"], true, true),
        (&["api-keys-2:*", "api:*"], false, false),
    ] {
        let caller = world.caller(|key| key.scopes = scopes(held)).await;
        let manager = &world.manager;
        let list = manager.list(&caller, &KeyQuery::default()).await;
        assert_eq!(list.is_ok(), may_read, "list with {held:?}");
        let get = manager.get(&caller, &target).await;
        assert_eq!(get.is_ok(), may_read, "get with {held:?}");
        let create = manager.create(&caller, new_key(&[])).await;
        assert_eq!(create.is_ok(), may_write, "create with {held:?}");
        for action in CHANGES {
            if may_write {
                continue;
            }
            let result = world.change(&caller, action, &target).await;
            assert_eq!(outcome(&result), "management scope", "{action} with {held:?}");
        }
        assert_eq!(world.record(&target).await, before, "{held:?}");
    }
}

#[tokio::test]
async fn each_action_can_have_a_scope_of_its_own_and_the_last_one_set_holds() {
    let world = World::new();
    let scope = ScopeRequirement::from_static;
    let manager = world
        .manager
        .clone()
        .with_scope_for(KeyAction::Create, scope("keys:begin"))
        .with_scope_for(KeyAction::Read, scope("keys:read"))
        .with_scope_for(KeyAction::Create, scope("keys:create"));
    for (held, may_create, may_read) in [
        ("keys:create", true, false),
        ("keys:read", false, true),
        ("keys:begin", false, false),
        ("api-keys:*", false, false),
    ] {
        let caller = world.caller(|key| key.scopes = scopes(&[held])).await;
        let expected = |may| if may { "ok" } else { "management scope" };
        assert_eq!(outcome(&manager.create(&caller, new_key(&[])).await), expected(may_create), "{held}");
        let list = manager.list(&caller, &KeyQuery::default()).await;
        assert_eq!(outcome(&list), expected(may_read), "{held}");
    }
}

#[tokio::test]
async fn the_management_scopes_are_configurable() {
    let world = World::new();
    let manager = world.manager.clone().with_management_scopes(
        ScopeRequirement::from_static("keys:look"),
        ScopeRequirement::from_static("keys:change"),
    );
    let usual = world.caller(|key| key.scopes = scopes(&["api-keys:*"])).await;
    let named = world.caller(|key| key.scopes = scopes(&["keys:look", "keys:change"])).await;
    for (caller, want) in [(usual, "management scope"), (named, "ok")] {
        assert_eq!(outcome(&manager.list(&caller, &KeyQuery::default()).await), want);
        assert_eq!(outcome(&manager.create(&caller, new_key(&[])).await), want);
    }
}

#[tokio::test]
async fn keys_of_other_owners_do_not_exist() {
    let world = World::new();
    let mine = world.create(|_| {}).await.key.id;
    let before = world.record(&mine).await;
    for other_owner in [
        Owner::organization("globex".parse().unwrap(), Mode::Live),
        Owner { mode: Mode::Test, ..acme() },
        Owner::system(Mode::Live),
    ] {
        let own = world.create_for(&other_owner, |_| {}).await;
        let principal = world.principal(own.secret.expose_secret()).await.unwrap();
        for authority in [Authority::operator(other_owner.clone()), Authority::principal(&principal)] {
            assert_eq!(*authority.owner(), other_owner);
            for action in CHANGES.into_iter().chain([KeyAction::Read]) {
                let result = world.change(&authority, action, &mine).await;
                assert_eq!(outcome(&result), "not found", "{action} by {authority:?}");
            }
            let page = world.manager.list(&authority, &KeyQuery::default()).await.unwrap();
            assert_eq!(page.keys.iter().map(|key| key.id).collect::<Vec<_>>(), [own.key.id]);
            let made = world.manager.create(&authority, new_key(&[])).await.unwrap();
            assert_eq!(world.record(&made.key.id).await.unwrap().owner, other_owner);
            world.manager.delete(&authority, &made.key.id).await.unwrap();
        }
    }
    assert_eq!(world.record(&mine).await, before, "other owners change nothing");
}

#[tokio::test]
async fn no_caller_gets_a_secret_to_more_than_it_holds() {
    let later = Some(START.saturating_add(DAY));
    type Describe = fn(&mut NewKey);
    let targets: [(&str, Describe, &str); 5] = [
        ("the same", |key| key.expires_at = Some(START.saturating_add(DAY)), "ok"),
        (
            "fewer scopes, sooner over",
            |key| (key.scopes, key.expires_at) = (ScopeSet::empty(), Some(START.saturating_add(HOUR))),
            "ok",
        ),
        (
            "another scope",
            |key| (key.scopes, key.expires_at) = (scopes(&["money:send"]), Some(START.saturating_add(HOUR))),
            r#"scopes ["money:send"]"#,
        ),
        ("no end", |_| {}, "expiry"),
        (
            "a limit of its own",
            |key| (key.limits, key.expires_at) = (limits(&[("read", 9)]), Some(START.saturating_add(HOUR))),
            "limits",
        ),
    ];
    for (name, describe, want) in targets {
        let world = World::new();
        let caller = world.caller(|key| key.expires_at = later).await;
        let target = world.create(describe).await;
        for action in [KeyAction::Rotate, KeyAction::Enable] {
            let result = world.change(&caller, action, &target.key.id).await;
            assert_eq!(outcome(&result), want, "{action}: {name}");
        }
        assert!(world.verifies(target.secret.expose_secret()).await, "{name}");
        // Revoking is allowed.
        for action in [KeyAction::Disable, KeyAction::Revoke, KeyAction::Delete] {
            world.change(&caller, action, &target.key.id).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_rotation_keeps_the_id_and_the_old_secret_for_a_grace_period() {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").public_id(16, '.').build().unwrap();
    for format in [KeyFormat::new("wfk_").unwrap(), format] {
        let world = World::with_format(format);
        let first = world.create(|_| {}).await;
        let id = first.key.id;
        world.clock.advance(DAY);
        let second = world.manager.rotate(&operator(), &id, HOUR).await.unwrap();
        assert_eq!((second.key.id, second.key.name.as_str()), (id, "key"));
        assert_eq!(second.key.created_at, START);
        assert_eq!(second.key.secret_created_at, START.saturating_add(DAY));
        assert_ne!(second.key.hint, first.key.hint, "the hint shows the new secret's last characters");
        let grace_end = START.saturating_add(DAY + HOUR);
        assert_eq!(second.key.previous_valid_until, Some(grace_end), "a listing tells how long both work");
        let (first, second) = (first.secret.expose_secret(), second.secret.expose_secret());
        world.clock.advance(HOUR - MILLISECOND);
        assert!(world.verifies(first).await && world.verifies(second).await, "within the grace");
        world.clock.advance(MILLISECOND);
        assert!(!world.verifies(first).await && world.verifies(second).await, "after it");
        let after = world.manager.get(&operator(), &id).await.unwrap();
        assert_eq!(after.previous_valid_until, None, "a grace that is over is none");

        let third = world.manager.rotate(&operator(), &id, HOUR).await.unwrap();
        let fourth = world.manager.rotate(&operator(), &id, HOUR).await.unwrap();
        let (third, fourth) = (third.secret.expose_secret(), fourth.secret.expose_secret());
        assert!(!world.verifies(second).await, "at most two verify: the oldest goes");
        assert!(world.verifies(third).await && world.verifies(fourth).await);

        let fifth = world.manager.rotate(&operator(), &id, Duration::ZERO).await.unwrap();
        assert!(!world.verifies(third).await && !world.verifies(fourth).await, "no grace");
        assert!(world.verifies(fifth.secret.expose_secret()).await);
    }
}

/// Whoever finds an old secret must neither make keys that last nor shut the owner out.
#[tokio::test]
async fn a_secret_in_its_grace_period_authenticates_requests_and_manages_nothing() {
    for on_first_use in [false, true] {
        let world = World::new();
        let own = world.create(|_| {}).await;
        let rotated = match on_first_use {
            false => world.manager.rotate(&operator(), &own.key.id, HOUR).await,
            true => world.manager.rotate_on_first_use(&operator(), &own.key.id, HOUR).await,
        };
        let rotated = rotated.unwrap();
        // The first use of the next secret retires the old one.
        let new = world.principal(rotated.secret.expose_secret()).await.unwrap();
        let old = world.principal(own.secret.expose_secret()).await.unwrap();
        assert_eq!(new.secret_status(), SecretStatus::InUse);
        let until = START.saturating_add(HOUR);
        assert_eq!(old.secret_status(), SecretStatus::Retired { until }, "on first use: {on_first_use}");
        assert_eq!((old.key_id(), old.scopes()), (new.key_id(), new.scopes()), "it is the same caller");

        let target = world.create(|key| key.scopes = scopes(&[])).await.key.id;
        let (old, new) = (Authority::principal(&old), Authority::principal(&new));
        world.take_events().await;
        for target in [target, own.key.id] {
            assert_eq!(outcome(&world.change(&old, KeyAction::Read, &target).await), "ok");
            for action in CHANGES {
                assert_eq!(outcome(&world.change(&old, action, &target).await), "secret retired", "{action}");
            }
        }
        assert_eq!(outcome(&world.manager.create(&old, new_key(&[])).await), "secret retired");
        assert_eq!(world.take_events().await.len(), 2 * CHANGES.len() + 1, "each is audited");
        assert_eq!(outcome(&world.manager.create(&new, new_key(&[])).await), "ok");
    }
}

/// A use that moves the key to another pepper is one of the old secret all the same.
#[tokio::test]
async fn an_old_secret_stays_retired_when_its_use_is_stored() {
    let world = World::new();
    let own = world.create(|_| {}).await;
    let rotated = world.manager.rotate(&operator(), &own.key.id, HOUR).await.unwrap();
    let peppers = Peppers::new(1, "0123456789abcdef0123456789abcdef".into()).unwrap().accept_unpeppered();
    let keys = ApiKeys::builder(world.store.clone(), world.format.clone())
        .header("x-api-key")
        .clock(world.clock.clone())
        .peppers(peppers)
        .without_route_table()
        .build()
        .unwrap();
    let world = World { keys, ..world };
    for (secret, is_retired) in [(&own.secret, true), (&rotated.secret, false), (&own.secret, true)] {
        let principal = world.principal(secret.expose_secret()).await.unwrap();
        assert_eq!(principal.secret_status() != SecretStatus::InUse, is_retired);
    }
    let record = world.record(&own.key.id).await.unwrap();
    let previous = record.extras().previous.unwrap();
    assert_eq!([record.digest.pepper_id(), previous.digest.pepper_id()], [Some(1); 2], "both have moved");
}

#[tokio::test]
async fn the_old_secret_ends_after_the_first_use_of_the_next_one() {
    for format in [KeyFormat::new("wfk_"), KeyFormat::builder("sk_").public_id(16, '.').build()] {
        let world = World::with_format(format.unwrap());
        let first = world.create(|_| {}).await;
        let id = first.key.id;
        let before = world.manager.rotate(&operator(), &id, HOUR).await.unwrap();
        let second = world.manager.rotate_on_first_use(&operator(), &id, HOUR).await.unwrap();
        let third = world.manager.rotate_on_first_use(&operator(), &id, HOUR).await.unwrap();
        let [first, before, second, third] =
            [&first, &before, &second, &third].map(|key| key.secret.expose_secret());

        world.clock.advance(30 * DAY);
        assert!(world.verifies(before).await, "the old one stays valid until the new one is used");
        assert!(!world.verifies(first).await && !world.verifies(second).await, "and these two have ended");
        let view = world.manager.get(&operator(), &id).await.unwrap();
        assert_eq!(view.secret_created_at, START);
        assert!(view.next_hint.as_deref().is_some_and(|hint| hint != view.hint), "{view:?}");

        let caller = Authority::principal(&world.principal(third).await.unwrap());
        let view = world.manager.get(&operator(), &id).await.unwrap();
        assert_eq!((view.age, view.next_hint), (30 * DAY, None), "now it is in use");
        assert!(
            world.manager.create(&caller, new_key(&["api-keys:read"])).await.is_ok(),
            "and may do what it may"
        );
        assert!(world.verifies(before).await && world.verifies(third).await, "in its grace");
        world.clock.advance(HOUR);
        assert!(!world.verifies(before).await && world.verifies(third).await, "after it");

        let unused = world.manager.rotate_on_first_use(&operator(), &id, HOUR).await.unwrap();
        world.manager.revoke(&operator(), &id).await.unwrap();
        assert!(!world.verifies(third).await && !world.verifies(unused.secret.expose_secret()).await);
        assert!(world.record(&id).await.unwrap().extras().next.is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_first_use_does_not_undo_a_concurrent_revocation() {
    for _ in 0..50 {
        let world = World::new();
        let id = world.create(|_| {}).await.key.id;
        let next = world.manager.rotate_on_first_use(&operator(), &id, HOUR).await.unwrap();
        let next = next.secret.expose_secret().to_owned();
        let mut tasks = JoinSet::new();
        for _ in 0..4 {
            let (world, next) = (world.clone(), next.clone());
            tasks.spawn(async move { drop(world.principal(&next).await) });
        }
        let revoking = world.clone();
        tasks.spawn(async move { drop(revoking.manager.revoke(&operator(), &id).await.unwrap()) });
        tasks.join_all().await;
        assert!(!world.verifies(&next).await);
        assert!(matches!(world.record(&id).await.unwrap().state, KeyState::Revoked { .. }));
    }
}

#[tokio::test]
async fn a_grace_is_bounded_by_seven_days_and_by_the_keys_expiry() {
    let world = World::new();
    let key = world.create(|key| key.expires_at = Some(START.saturating_add(HOUR))).await;
    let id = key.key.id;
    let too_long = world.manager.rotate(&operator(), &id, KeyManager::MAX_GRACE + MILLISECOND).await;
    assert_eq!(outcome(&too_long), "grace");
    assert!(world.record(&id).await.unwrap().extras().previous.is_none(), "nothing was changed");

    world.manager.rotate(&operator(), &id, KeyManager::MAX_GRACE).await.unwrap();
    let previous = world.record(&id).await.unwrap().extras().previous.unwrap();
    assert_eq!(previous.valid_until, START.saturating_add(HOUR), "the end of the key");
    assert_eq!(KeyManager::DEFAULT_GRACE, DAY);
    assert_eq!(KeyManager::MAX_GRACE, 7 * DAY);

    world.clock.advance(HOUR);
    let expired = world.manager.rotate(&operator(), &id, HOUR).await;
    assert_eq!(outcome(&expired), "not found", "an expired key gets no new secret");
}

#[tokio::test]
async fn revoking_is_final_and_ends_every_secret() {
    let world = World::new();
    let first = world.create(|_| {}).await;
    let id = first.key.id;
    let second = world.manager.rotate(&operator(), &id, HOUR).await.unwrap();
    let revoked = world.manager.revoke(&operator(), &id).await.unwrap().unwrap();
    assert_eq!(revoked.status, KeyStatus::Revoked);
    for secret in [&first.secret, &second.secret] {
        assert!(!world.verifies(secret.expose_secret()).await);
    }
    let record = world.record(&id).await;
    for action in [KeyAction::Revoke, KeyAction::Enable, KeyAction::Disable, KeyAction::Rotate] {
        assert_eq!(outcome(&world.change(&operator(), action, &id).await), "not found", "{action}");
        assert_eq!(world.record(&id).await, record, "{action} changes nothing");
    }
    let page = world.manager.list(&operator(), &KeyQuery::default()).await.unwrap();
    assert_eq!(page.keys, [revoked], "a revoked key stays listed");
    world.manager.delete(&operator(), &id).await.unwrap();
    assert_eq!(outcome(&world.manager.get(&operator(), &id).await), "not found", "a deleted one does not");
}

#[tokio::test]
async fn a_one_time_key_is_used_up_by_its_own_secret_alone() {
    let format = KeyFormat::builder("pl_").modes("test_", "live_").public_id(16, '.').build().unwrap();
    let world = World::with_format(format.clone());
    let link = world.create(|_| {}).await;
    let id = link.key.id;
    let of_other_mode = format.generate_with_id(Mode::Test, &id).unwrap();
    let of_other_secret = format.generate_with_id(Mode::Live, &id).unwrap();
    for wrong in [of_other_secret, of_other_mode] {
        let redeemed = world.manager.redeem(wrong.secret.expose_secret()).await;
        assert!(matches!(redeemed, Err(ManageError::NotFound)), "{redeemed:?}");
    }
    // A record of live mode with the digest of a key whose mark says test.
    let marked = format.generate(Mode::Test).unwrap();
    let digest = Peppers::none().digest(marked.secret.expose_secret());
    world.store.insert(KeyRecord::new(marked.id.unwrap(), acme(), digest, START), None).await.unwrap();
    let redeemed = world.manager.redeem(marked.secret.expose_secret()).await;
    assert!(matches!(redeemed, Err(ManageError::NotFound)), "{redeemed:?}");

    // Others may change it meanwhile, a bounded number of times.
    for (conflicts, want) in [(16, false), (15, true)] {
        let store =
            Overtaken::new(&world.store, conflicts, |other| other.name = format!("{}!", other.name).into());
        let manager = KeyManager::new(store, world.format.clone()).with_clock(world.clock.clone());
        match manager.redeem(link.secret.expose_secret()).await {
            Ok(redeemed) => assert!(want && redeemed.id == id),
            Err(ManageError::Store(error)) => assert!(!want && error.kind() == StoreErrorKind::Conflict),
            Err(error) => panic!("{error:?}"),
        }
    }
    let events = world.manager.history(&operator(), &id, &HistoryQuery::default()).await.unwrap().events;
    let last = events.iter().map(|event| (event.action, event.key_id, &event.actor)).next();
    assert_eq!(last, Some((KeyAction::Redeem, Some(id), &Actor::Key(id))));
    let again = world.manager.redeem(link.secret.expose_secret()).await;
    assert!(matches!(again, Err(ManageError::NotFound)), "{again:?}");
}

#[tokio::test]
async fn a_caller_may_revoke_its_own_key() {
    let world = World::new();
    let key = world.create(|_| {}).await;
    let caller = Authority::principal(&world.principal(key.secret.expose_secret()).await.unwrap());
    world.manager.revoke(&caller, &key.key.id).await.unwrap();
    assert!(!world.verifies(key.secret.expose_secret()).await);
}

#[tokio::test]
async fn a_caller_whose_key_was_revoked_cannot_create_or_enable_keys() {
    for ending in [KeyAction::Revoke, KeyAction::Disable, KeyAction::Delete, KeyAction::Rotate] {
        let world = World::new();
        let sleeping = world.create(|_| {}).await.key.id;
        world.manager.disable(&operator(), &sleeping).await.unwrap();
        let caller = world.caller(|_| {}).await;
        let own = match caller.actor() {
            Actor::Key(id) => id,
            Actor::Session(_) | Actor::Operator(_) => panic!("a caller has a key"),
        };
        world.clock.advance(Duration::from_secs(1));
        world.change(&operator(), ending, &own).await.unwrap();

        assert_eq!(outcome(&world.manager.create(&caller, new_key(&[])).await), "ended", "{ending}");
        assert_eq!(outcome(&world.manager.rotate(&caller, &sleeping, HOUR).await), "ended", "{ending}");
        assert_eq!(outcome(&world.manager.enable(&caller, &sleeping).await), "ended", "{ending}");
    }
    let world = World::new();
    let end = START.saturating_add(HOUR);
    let caller = world.caller(|key| key.expires_at = Some(end)).await;
    world.clock.advance(HOUR);
    assert_eq!(outcome(&world.manager.create(&caller, new_key(&[])).await), "ended", "expired");
}

#[tokio::test]
async fn a_disabled_key_can_be_enabled_again() {
    let world = World::new();
    let key = world.create(|_| {}).await;
    let (id, secret) = (key.key.id, key.secret.expose_secret());
    for (action, works) in [
        (KeyAction::Disable, false),
        (KeyAction::Disable, false),
        (KeyAction::Enable, true),
        (KeyAction::Enable, true),
    ] {
        world.change(&operator(), action, &id).await.unwrap();
        assert_eq!(world.verifies(secret).await, works, "{action}");
    }
    world.manager.disable(&operator(), &id).await.unwrap();
    let rotated = world.manager.rotate(&operator(), &id, HOUR).await.unwrap();
    assert_eq!(rotated.key.status, KeyStatus::Disabled, "a rotation switches nothing on");
    assert!(!world.verifies(rotated.secret.expose_secret()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_wins_against_concurrent_changes() {
    for round in 0..100 {
        let world = World::new();
        let key = world.create(|_| {}).await;
        let id = key.key.id;
        let secrets = Arc::new(Mutex::new(vec![key.secret]));
        let with_delete = round % 2 == 0;
        let mut tasks = JoinSet::new();
        let barrier = Arc::new(tokio::sync::Barrier::new(6));
        for action in [
            KeyAction::Rotate,
            KeyAction::Enable,
            KeyAction::Disable,
            if with_delete { KeyAction::Delete } else { KeyAction::Revoke },
            KeyAction::Rotate,
            KeyAction::Disable,
        ] {
            let (world, secrets, barrier) = (world.clone(), secrets.clone(), barrier.clone());
            tasks.spawn(async move {
                barrier.wait().await;
                let result = if action == KeyAction::Rotate {
                    let rotated = world.manager.rotate(&operator(), &id, HOUR).await;
                    rotated.map(|rotated| secrets.lock().unwrap().push(rotated.secret))
                } else {
                    world.change(&operator(), action, &id).await
                };
                (action, outcome(&result))
            });
        }
        for (action, outcome) in tasks.join_all().await {
            let ending = matches!(action, KeyAction::Revoke | KeyAction::Delete);
            let want = if ending { &["ok"][..] } else { &["ok", "not found"] };
            assert!(want.contains(&outcome.as_str()), "{action}: {outcome}");
        }
        match world.record(&id).await {
            Some(record) => assert!(matches!(record.state, KeyState::Revoked { .. }) && !with_delete),
            None => assert!(with_delete),
        }
        let secrets = std::mem::take(&mut *secrets.lock().unwrap());
        for secret in secrets {
            assert!(!world.verifies(secret.expose_secret()).await, "no secret of a revoked key verifies");
        }
    }
}

#[tokio::test]
async fn a_change_that_loses_a_race_retries_a_bounded_number_of_times() {
    for (conflicts, want) in [(0, true), (15, true), (16, false)] {
        let world = World::new();
        let id = world.create(|_| {}).await.key.id;
        let store =
            Overtaken::new(&world.store, conflicts, |other| other.name = format!("{}!", other.name).into());
        let manager = KeyManager::new(store, world.format.clone()).with_clock(world.clock.clone());
        let result = manager.revoke(&operator(), &id).await;
        assert_eq!(result.is_ok(), want, "{conflicts} conflicts");
        let revoked = matches!(world.record(&id).await.unwrap().state, KeyState::Revoked { .. });
        assert_eq!(revoked, want, "{conflicts} conflicts");
        if let Err(error) = result {
            assert!(matches!(error, ManageError::Store(error) if error.kind() == StoreErrorKind::Conflict));
        }
    }
}

#[tokio::test]
async fn a_store_that_fails_is_reported_as_it_is_and_not_asked_again() {
    let failed = |error: ManageError| match error {
        ManageError::Store(error) => error.kind(),
        other => panic!("{other:?}"),
    };
    let world = World::new();
    let key = world.create(|_| {}).await;
    let manager =
        |answers| KeyManager::new(Overtaken::failing_after(&world.store, answers), world.format.clone());
    for answers in [0, 1] {
        let revoked = manager(answers).revoke(&operator(), &key.key.id).await;
        assert_eq!(failed(revoked.unwrap_err()), StoreErrorKind::Unavailable, "after {answers} answers");
    }
    let redeemed = manager(0).redeem(key.secret.expose_secret()).await;
    assert_eq!(failed(redeemed.unwrap_err()), StoreErrorKind::Unavailable);

    // Revoked before: whether it is the owner's is still to be seen.
    world.manager.revoke(&operator(), &key.key.id).await.unwrap();
    let revoked = manager(1).revoke_with_descendants(&operator(), &key.key.id).await;
    assert_eq!(failed(revoked.unwrap_err()), StoreErrorKind::Unavailable);
}

/// When an owner rotates a leaked key, the holder of the old secret, who started a rotation as well, must not win.
#[tokio::test]
async fn a_caller_whose_key_was_changed_meanwhile_gets_no_new_secret() {
    type Change = fn(&mut KeyRecord);
    let changes: [(Change, &str); 4] = [
        (|other| other.name = format!("{}!", other.name).into(), "ok"),
        (|other| other.secret_created_at = other.secret_created_at.saturating_add(HOUR), "ended"),
        (|other| other.state = KeyState::Disabled, "ended"),
        (|other| other.scopes = scopes(&["api-keys:write"]), "ended"),
    ];
    for (number, (change, want)) in changes.into_iter().enumerate() {
        for on_first_use in [false, true] {
            let world = World::new();
            let own = world.create(|_| {}).await;
            let caller = Authority::principal(&world.principal(own.secret.expose_secret()).await.unwrap());
            let store = Overtaken::new(&world.store, 1, change);
            let manager = KeyManager::new(store, world.format.clone()).with_clock(world.clock.clone());
            let result = match on_first_use {
                false => manager.rotate(&caller, &own.key.id, HOUR).await,
                true => manager.rotate_on_first_use(&caller, &own.key.id, HOUR).await,
            };
            assert_eq!(outcome(&result), want, "change {number}, on first use: {on_first_use}");
        }
    }
}

/// A listing shows who made a key, and so does the audit.
#[tokio::test]
async fn a_key_knows_who_made_it() {
    let world = World::new();
    let caller_key = world.create(|_| {}).await;
    let caller = Authority::principal(&world.principal(caller_key.secret.expose_secret()).await.unwrap());
    for (authority, want) in [
        (operator(), "operator".to_owned()),
        (operator().by("ada"), "operator ada".to_owned()),
        (caller.clone(), format!("key {}", caller_key.key.id)),
        (caller.by("ada"), format!("key {}", caller_key.key.id)),
    ] {
        world.take_events().await;
        let made = world.manager.create(&authority, new_key(&[])).await.unwrap().key;
        let changed = KeyChange::new().name("renamed");
        let changed = world.manager.update(&operator().by("eve"), &made.id, changed).await.unwrap();
        for key in [&made, &changed, &world.manager.get(&operator(), &made.id).await.unwrap()] {
            assert_eq!(key.created_by.as_ref().unwrap().to_string(), want);
        }
        let events = world.take_events().await;
        let actors: Vec<_> = events.iter().map(|event| event.actor.to_string()).collect();
        assert_eq!(actors, [&*want, "operator eve"]);
    }
    for name in ["", " ", "a\nb", &*"x".repeat(101)] {
        let result = world.manager.create(&operator().by(name), new_key(&[])).await;
        assert_eq!(outcome(&result), "operator", "{name:?}");
    }
}

/// A program that was started without its peppers must not replace good secrets by those that the others refuse.
#[tokio::test]
async fn without_peppers_no_key_that_has_one_gets_a_new_secret() {
    let world = World::new();
    let pepper = |id| Peppers::new(id, "0123456789abcdef0123456789abcdef".into()).unwrap();
    let peppered = world.manager.clone().with_peppers(pepper(1));
    let plain = world.manager.create(&operator(), NewKey::new("plain")).await.unwrap();
    let key = peppered.create(&operator(), NewKey::new("peppered")).await.unwrap();
    let before = world.manager.get(&operator(), &key.key.id).await.unwrap();
    for rotated in [
        world.manager.rotate(&operator(), &key.key.id, HOUR).await,
        world.manager.rotate_on_first_use(&operator(), &key.key.id, HOUR).await,
    ] {
        let ManageError::Store(error) = rotated.unwrap_err() else { panic!("the operator's to mend") };
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("pepper 1"), "{error:?}");
    }
    assert_eq!(world.manager.get(&operator(), &key.key.id).await.unwrap(), before);
    world.manager.rotate(&operator(), &plain.key.id, HOUR).await.unwrap();
    // A pepper that is lost is replaced.
    let other = world.manager.clone().with_peppers(pepper(2));
    other.rotate(&operator(), &key.key.id, HOUR).await.unwrap();
    other.rotate(&operator(), &plain.key.id, HOUR).await.unwrap();
}

/// An operator who is shown a leaked text finds the key, whatever its owner and state.
#[tokio::test]
async fn a_key_is_found_by_any_of_its_secrets() {
    for format in
        [KeyFormat::new("wfk_").unwrap(), KeyFormat::builder("sk_").public_id(16, '.').build().unwrap()]
    {
        let world = World::with_format(format);
        let owner = Owner::organization("globex".parse().unwrap(), Mode::Test);
        let operator = Authority::operator(owner.clone());
        let key = world.create_for(&owner, |_| {}).await;
        let id = key.key.id;
        let rotated = world.manager.rotate(&operator, &id, HOUR).await.unwrap();
        for text in [
            key.secret.expose_secret().to_owned(),
            rotated.secret.expose_secret().to_owned(),
            format!("\n {}\t", rotated.secret.expose_secret()),
            format!("\u{feff}API_KEY=\"{}\"\n", rotated.secret.expose_secret()),
            format!("wfk_{0} sk_{0} {1}.", "0".repeat(32), key.secret.expose_secret()),
        ] {
            let found = world.manager.find_by_text(&text).await.unwrap().unwrap();
            assert_eq!((found.id, found.owner), (id, owner.clone()));
        }
        world.manager.revoke(&operator, &id).await.unwrap();
        let found = world.manager.find_by_text(rotated.secret.expose_secret()).await.unwrap().unwrap();
        assert_eq!(found.status, KeyStatus::Revoked);
        for text in ["", "wfk_", "no key at all", id.as_str()] {
            assert_eq!(world.manager.find_by_text(text).await.unwrap(), None, "{text:?}");
        }
    }
}

/// When a key has leaked, whatever was made with it is as bad.
#[tokio::test]
async fn a_key_is_revoked_with_all_that_was_made_with_it() {
    let world = World::new();
    let make = async |authority: &Authority| {
        let key =
            world.manager.create(authority, new_key(&["api-keys:read", "api-keys:write"])).await.unwrap();
        let principal = world.principal(key.secret.expose_secret()).await.unwrap();
        (key.key.id, Authority::principal(&principal))
    };
    let (root, by_root) = make(&operator()).await;
    let (child, by_child) = make(&by_root).await;
    let (grandchild, _) = make(&by_child).await;
    let (revoked_child, by_revoked_child) = make(&by_root).await;
    let (its_child, _) = make(&by_revoked_child).await;
    world.manager.revoke(&operator(), &revoked_child).await.unwrap();
    let (other, _) = make(&operator()).await;

    world.take_events().await;
    let revoked = world.manager.revoke_with_descendants(&operator().by("ada"), &root).await.unwrap();
    let ids: BTreeSet<_> = revoked.iter().map(|key| key.id).collect();
    assert_eq!(revoked[0].id, root);
    assert_eq!(ids, BTreeSet::from([root, child, grandchild, its_child]));
    assert!(revoked.iter().all(|key| key.status == KeyStatus::Revoked));
    let events = world.take_events().await;
    assert_eq!(events.len(), 4, "each is audited");
    assert!(events.iter().all(|event| event.actor.to_string() == "operator ada"));
    assert_eq!(world.manager.get(&operator(), &other).await.unwrap().status, KeyStatus::Active);

    let again = world.manager.revoke_with_descendants(&operator(), &root).await.unwrap();
    assert!(again.is_empty(), "what is revoked stays revoked");
    let globex = Authority::operator(Owner::organization("globex".parse().unwrap(), Mode::Live));
    for (authority, id) in [(&operator(), "unknown".parse().unwrap()), (&globex, root)] {
        let result = world.manager.revoke_with_descendants(authority, &id).await;
        assert_eq!(outcome(&result), "not found");
    }
    let reader = world.caller(|key| key.scopes = scopes(&["api-keys:read"])).await;
    assert_eq!(outcome(&world.manager.revoke_with_descendants(&reader, &other).await), "management scope");
}

/// The keys that a key of the system has made are those of organizations.
#[tokio::test]
async fn descendants_are_found_in_every_organization() {
    let world = World::new();
    let system = Authority::operator(Owner::system(Mode::Live));
    let root = world.manager.create(&system, new_key(&["api-keys:write"])).await.unwrap().key;
    let mut made = Vec::new();
    for organization in ["acme", "globex"] {
        let owner = Owner::organization(organization.parse().unwrap(), Mode::Live);
        let key = world.create_for(&owner, |_| {}).await.key;
        let mut record = world.record(&key.id).await.unwrap();
        world.store.delete(&owner, &key.id, None).await.unwrap();
        record.set_created_by(Some(Actor::Key(root.id)));
        world.store.insert(record, None).await.unwrap();
        made.push(key.id);
    }
    let revoked = world.manager.revoke_with_descendants(&system, &root.id).await.unwrap();
    let ids: Vec<_> = revoked.iter().map(|key| key.id).collect();
    assert_eq!(ids.len(), 3);
    assert!(made.iter().all(|id| ids.contains(id)));
    let all = world.manager.list_all(&KeyQuery::default()).await.unwrap().keys;
    assert!(all.iter().all(|key| key.status == KeyStatus::Revoked), "{all:?}");
}

/// The check of the caller comes first, the store is slow, and the revocation is done in between.
#[tokio::test]
async fn a_creation_that_overlaps_the_revocation_of_its_maker_leaves_no_key() {
    let world = World::new();
    let own = world.create(|_| {}).await;
    let caller = Authority::principal(&world.principal(own.secret.expose_secret()).await.unwrap());
    let store = RevokesBeforeInserts { world: world.clone(), maker: own.key.id };
    let manager = KeyManager::new(store, world.format.clone()).with_clock(world.clock.clone());
    let before = world.store.len();
    assert_eq!(outcome(&manager.create(&caller, new_key(&[])).await), "ended");
    assert_eq!(world.store.len(), before);
}

struct RevokesBeforeInserts {
    world: World,
    maker: KeyId,
}

#[async_trait]
impl KeyStore for RevokesBeforeInserts {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        self.world.store.find(selector)
    }
}

#[async_trait]
impl KeyAdministration for RevokesBeforeInserts {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.world.manager.revoke_with_descendants(&operator(), &self.maker).await.unwrap();
        self.world.store.insert(record, event).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.world.store.get(owner, id).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.world.store.list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.world.store.replace(record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.world.store.delete(owner, id, event).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.world.store.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.world.store.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.world.store.forget_import(id, event).await
    }
}

#[tokio::test]
async fn metadata_are_the_operators_unless_callers_set_them() {
    for callers_set_them in [false, true] {
        let world = World::new();
        let manager = match callers_set_them {
            true => world.manager.clone().with_metadata_of_callers(),
            false => world.manager.clone(),
        };
        let pro = Metadata::from_json(r#"{"plan":"pro"}"#).unwrap();
        let vip = Metadata::from_json(r#"{"plan":"vip"}"#).unwrap();
        let caller = world.caller(|key| key.metadata = Some(pro.clone())).await;

        let new = || NewKey::new("child").scope("api-keys:read");
        let child = manager.create(&caller, new()).await.unwrap().key;
        assert_eq!(child.metadata, Some(pro), "a key has the metadata of its maker");
        let made = manager.create(&caller, new().metadata(vip.clone())).await;
        let changed = manager.update(&caller, &child.id, KeyChange::new().metadata(vip.clone())).await;
        let removed = manager.update(&caller, &child.id, KeyChange::new().metadata(None)).await;
        for (outcome, name) in
            [(made.map(drop), "made"), (changed.map(drop), "changed"), (removed.map(drop), "removed")]
        {
            let is_forbidden = matches!(outcome, Err(ManageError::Forbidden(Forbidden::Metadata)));
            assert_eq!(is_forbidden, !callers_set_them, "{name}: {outcome:?}");
        }
        let renamed = manager.update(&caller, &child.id, KeyChange::new().name("other")).await;
        assert_eq!(renamed.unwrap().name, "other");
    }
}

#[cfg(feature = "json")]
#[tokio::test]
async fn a_handler_reads_the_metadata_of_the_key_as_a_type_of_its_own() {
    #[derive(Clone, Debug, PartialEq, serde::Deserialize)]
    struct Plan {
        #[serde(default)]
        tokens: u32,
    }

    let world = World::new();
    let metadata = |text: &str| Some(Metadata::from_json(text).unwrap());
    let key = world.create(|key| key.metadata = metadata(r#"{"tokens":5,"crm":"c_1"}"#)).await;
    let read = async || {
        let principal = world.principal(key.secret.expose_secret()).await.unwrap();
        principal.metadata::<Plan>().map(|plan| plan.tokens).map_err(|error| error.kind())
    };
    assert_eq!(read().await, Ok(5));
    for (text, want) in
        [(Some(r#"{"tokens":7}"#), Ok(7)), (Some(r#"{"tokens":"7"}"#), Err("metadata")), (None, Ok(0))]
    {
        let change = KeyChange::new().metadata(text.and_then(metadata));
        let changed = world.manager.update(&operator(), &key.key.id, change).await.unwrap();
        assert_eq!(changed.metadata.as_ref().map(Metadata::as_json), text);
        assert_eq!(read().await, want, "{text:?}");
    }
    let created = world.create(|_| {}).await;
    let principal = world.principal(created.secret.expose_secret()).await.unwrap();
    assert_eq!(principal.metadata(), Ok(Plan { tokens: 0 }), "that of an empty object");
    assert!(world.take_events().await.iter().all(|event| !format!("{event:?}").contains("tokens")));
}

#[tokio::test]
async fn an_update_changes_what_it_names_and_the_secret_stays() {
    let world = World::new();
    let start = START.saturating_add(HOUR);
    let key = world
        .create(|key| {
            key.scopes = scopes(&["runs:read"]);
            key.limits = limits(&[("read", 10), ("write", 5)]);
        })
        .await;
    let secret = key.secret.expose_secret();
    world.take_events().await;

    let change = KeyChange::new()
        .name("Renamed")
        .scopes(["runs:read", "invoice:*"])
        .limit("read", 5_000)
        .limit("write", None)
        .allowed_addresses(networks(&["10.0.0.0/8"]))
        .expires_at(START.saturating_add(DAY));
    let changed = world.manager.update(&operator(), &key.key.id, change).await.unwrap();
    assert_eq!((&*changed.name, changed.scopes.len(), changed.version), ("Renamed", 2, key.key.version + 1));
    let shown = world.manager.get(&operator(), &key.key.id).await.unwrap();
    assert_eq!(changed, shown, "what is returned is what is stored");
    assert_eq!(shown.limits, limits(&[("read", 5_000)]));
    assert_eq!((shown.expires_at, shown.not_before), (Some(START.saturating_add(DAY)), None));
    let principal = world.principal(secret).await.expect("the secret stays");
    assert!(principal.scopes().contains(&"invoice:read".parse().unwrap()), "in force with the next request");
    let events = world.take_events().await;
    assert_eq!((events.len(), events[0].action), (1, KeyAction::Update));
    assert_eq!(events[0].changed, ["name", "scopes", "expiresAt", "limits", "allowedAddresses"]);

    let same = KeyChange::new().name("Renamed").limit("write", None);
    let same = world.manager.update(&operator(), &key.key.id, same).await.unwrap();
    assert_eq!((same, world.take_events().await.len()), (shown, 0), "what changes nothing is no change");

    let later = KeyChange::new().not_before(start).expires_at(None).without_limits().allowed_addresses([]);
    let later = world.manager.update(&operator(), &key.key.id, later).await.unwrap();
    assert_eq!((later.status, later.expires_at), (KeyStatus::NotYetValid, None));
    assert!(later.limits.is_empty() && later.allowed_addresses.is_empty());
    assert!(!world.verifies(secret).await);
    assert_eq!(
        world.take_events().await[0].changed,
        ["notBefore", "expiresAt", "limits", "allowedAddresses"]
    );
}

/// Taking is always allowed. What a key gains, the caller must have; and where the key is to last longer, be valid sooner, or
/// have a higher limit or more addresses, that is everything the key may do.
#[tokio::test]
async fn an_update_gives_no_more_than_the_caller_has() {
    type Own = fn(&mut NewKey);
    let change = KeyChange::new;
    let (hour, day) = (START.saturating_add(HOUR), START.saturating_add(DAY));
    let manager: Own = |key| key.scopes = scopes(&["api-keys:write", "runs:read"]);
    let short_lived: Own = |key| {
        key.scopes = scopes(&["api-keys:write", "runs:read"]);
        key.expires_at = Some(START.saturating_add(HOUR));
    };
    let at_home: Own = |key| {
        key.scopes = scopes(&["api-keys:write", "runs:read"]);
        key.allowed_addresses = networks(&["10.0.0.0/8"]);
    };
    let limited: Own = |key| {
        key.scopes = scopes(&["api-keys:write", "runs:read"]);
        key.limits = limits(&[("read", 10)]);
    };
    let reader: Own = |key| {
        key.scopes = scopes(&["runs:read"]);
        (key.expires_at, key.not_before) = (Some(START.saturating_add(HOUR)), Some(START));
        key.limits = limits(&[("read", 5)]);
        key.allowed_addresses = networks(&["10.1.0.0/16"]);
    };
    let biller: Own = |key| {
        key.scopes = scopes(&["invoice:read"]);
        key.expires_at = Some(START.saturating_add(HOUR));
        key.limits = limits(&[("read", 5)]);
    };
    let unbounded: Own = |key| key.scopes = scopes(&["invoice:read"]);
    let cases: [(&str, Own, Own, KeyChange, &str); 28] = [
        ("a name", manager, biller, change().name("other"), "ok"),
        ("fewer scopes", manager, biller, change().scopes::<&str>([]), "ok"),
        (
            "a held scope beside one that is not",
            manager,
            unbounded,
            change().scopes(["invoice:read", "runs:read"]),
            "ok",
        ),
        (
            "another scope",
            manager,
            reader,
            change().scopes(["runs:read", "invoice:read"]),
            "scopes [\"invoice:read\"]",
        ),
        ("a wildcard", manager, reader, change().scopes(["runs:*"]), "scopes [\"runs:*\"]"),
        (
            "its own wildcard narrowed",
            manager,
            |key| key.scopes = scopes(&["invoice:*"]),
            change().scopes(["invoice:read"]),
            "ok",
        ),
        ("sooner", manager, biller, change().expires_at(START.saturating_add(MILLISECOND)), "ok"),
        ("an end where there was none", manager, unbounded, change().expires_at(hour), "ok"),
        ("later", manager, reader, change().expires_at(day), "limits"),
        (
            "later, with scopes not held",
            manager,
            biller,
            change().expires_at(day),
            "scopes [\"invoice:read\"]",
        ),
        (
            "no end, with scopes not held",
            manager,
            biller,
            change().expires_at(None),
            "scopes [\"invoice:read\"]",
        ),
        (
            "later than the caller",
            short_lived,
            |key| key.scopes = scopes(&["runs:read"]),
            change().expires_at(day),
            "ok",
        ),
        ("no end, by a caller that ends", short_lived, reader, change().expires_at(None), "expiry"),
        (
            "a scope for longer than the caller lasts",
            short_lived,
            unbounded,
            change().scopes(["runs:read"]),
            "expiry",
        ),
        ("valid later", manager, biller, change().not_before(START.saturating_add(MILLISECOND)), "ok"),
        (
            "valid sooner, with scopes not held",
            manager,
            |key| {
                key.scopes = scopes(&["invoice:read"]);
                key.not_before = Some(START.saturating_add(HOUR));
            },
            change().not_before(None),
            "scopes [\"invoice:read\"]",
        ),
        ("a lower limit", manager, biller, change().limit("read", 4), "ok"),
        ("a higher limit than an unknown one", manager, reader, change().limit("read", 6), "limits"),
        (
            "a limit where there was none",
            manager,
            |key| key.scopes = scopes(&["runs:read"]),
            change().limit("read", 1),
            "limits",
        ),
        ("as high as the caller's", limited, reader, change().limit("read", 10), "ok"),
        ("higher than the caller's", limited, reader, change().limit("read", 11), "limits"),
        ("no limit, by a caller with one", limited, reader, change().limit("read", None), "limits"),
        ("no limits, by a caller with one", limited, reader, change().without_limits(), "limits"),
        ("fewer addresses", manager, unbounded, change().allowed_addresses(networks(&["192.0.2.1"])), "ok"),
        (
            "a part of its addresses",
            at_home,
            reader,
            change().allowed_addresses(networks(&["10.1.2.0/24"])),
            "ok",
        ),
        (
            "more addresses",
            at_home,
            |key| {
                key.scopes = scopes(&["runs:read"]);
                key.allowed_addresses = networks(&["10.1.0.0/16"]);
            },
            change().allowed_addresses(networks(&["10.0.0.0/8"])),
            "ok",
        ),
        (
            "more addresses than the caller has",
            at_home,
            |key| {
                key.scopes = scopes(&["runs:read"]);
                key.allowed_addresses = networks(&["10.1.0.0/16"]);
            },
            change().allowed_addresses(networks(&["11.0.0.0/8"])),
            "addresses",
        ),
        (
            "any address",
            at_home,
            |key| {
                key.scopes = scopes(&["runs:read"]);
                key.allowed_addresses = networks(&["10.1.0.0/16"]);
            },
            change().allowed_addresses([]),
            "addresses",
        ),
    ];
    for (name, own, target, change, want) in cases {
        let world = World::new();
        let caller = world.caller(own).await;
        let target = world.create(target).await.key;
        let result = world.manager.update(&caller, &target.id, change.clone()).await;
        assert_eq!(outcome(&result), want, "{name}");
        if want != "ok" {
            assert_eq!(
                world.manager.get(&operator(), &target.id).await.unwrap(),
                target,
                "{name}: unchanged"
            );
        }
        let result = world.manager.update(&operator(), &target.id, change).await;
        assert_eq!(outcome(&result), "ok", "the operator: {name}");
    }
}

#[tokio::test]
async fn an_update_is_as_valid_as_a_new_key_and_of_the_version_it_names() {
    let world = World::new();
    let manager =
        world.manager.clone().with_grantable_scopes(scopes(&["runs:read"])).with_max_lifetime(2 * DAY);
    let id = manager.create(&operator(), new_key(&["runs:read"])).await.unwrap().key.id;
    // The maximum counts from the creation of the key.
    world.clock.advance(HOUR);
    let change = KeyChange::new;
    let after = |duration| START.saturating_add(duration);
    let many = |count| vec!["::1".parse().unwrap(); count];
    for (name, change, want) in [
        ("blank", change().name(" "), "name"),
        ("control characters", change().name("a\nb"), "name"),
        ("no scope", change().scopes(["runs"]), "scopes"),
        ("outside of the catalog", change().scopes(["runs:write"]), "scopes"),
        ("past", change().expires_at(after(HOUR)), "expiresAt"),
        ("beyond the maximum", change().expires_at(after(2 * DAY + MILLISECOND)), "expiresAt"),
        ("without end", change().expires_at(None), "expiresAt"),
        ("never valid", change().not_before(after(2 * DAY)).expires_at(after(DAY)), "notBefore"),
        ("no requests", change().limit("read", 0), "limits"),
        ("a start after the end", change().not_before(after(2 * DAY)), "notBefore"),
        ("many networks", change().allowed_addresses(many(101)), "allowedAddresses"),
        ("all at once", change().name("").scopes(["x"]).limit("read", 0), "name scopes limits"),
        ("another version", change().name("other").if_version(7), "overtaken"),
        ("this version", change().name("other").if_version(0), "ok"),
        ("the version before", change().name("third").if_version(0), "overtaken"),
        ("the next version", change().name("third").if_version(1), "ok"),
        ("as many networks as there may be", change().allowed_addresses(many(100)), "ok"),
        ("a start", change().not_before(after(DAY)), "ok"),
        ("an end before the start", change().expires_at(after(DAY)), "notBefore"),
    ] {
        let before = world.record(&id).await;
        assert_eq!(outcome(&manager.update(&operator(), &id, change).await), want, "{name}");
        assert_eq!(world.record(&id).await == before, want != "ok", "{name}: nothing is half done");
    }
    let mut never_valid = world.record(&id).await.unwrap();
    never_valid.expires_at = never_valid.extras().not_before;
    world.store.replace(never_valid, None).await.unwrap();
    let renamed = manager.update(&operator(), &id, change().name("renamed")).await;
    assert_eq!(outcome(&renamed), "ok", "what it had before stays valid");
}

/// A store in which other writers are faster a number of times, or that fails once, after a number of answers.
struct Overtaken {
    store: MemoryStore,
    conflicts: AtomicUsize,
    change: fn(&mut KeyRecord),
    answers: AtomicUsize,
}

impl Overtaken {
    fn new(store: &MemoryStore, conflicts: usize, change: fn(&mut KeyRecord)) -> Self {
        Self { store: store.clone(), conflicts: conflicts.into(), change, answers: usize::MAX.into() }
    }

    fn failing_after(store: &MemoryStore, answers: usize) -> Self {
        Self { answers: answers.into(), ..Self::new(store, 0, |_| {}) }
    }

    fn answer(&self) -> Result<(), StoreError> {
        match self.answers.fetch_sub(1, Ordering::SeqCst) {
            0 => Err(StoreError::new(StoreErrorKind::Unavailable)),
            _ => Ok(()),
        }
    }
}

#[async_trait]
impl KeyStore for Overtaken {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        self.store.find(selector)
    }
}

#[async_trait]
impl KeyAdministration for Overtaken {
    async fn insert(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.store.insert(record, event).await
    }

    async fn get(&self, owner: &Owner, id: &KeyId) -> Result<Option<Arc<KeyRecord>>, StoreError> {
        self.answer()?;
        self.store.get(owner, id).await
    }

    async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        self.store.list(owner, query).await
    }

    async fn replace(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        self.answer()?;
        let left =
            self.conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            let mut other = KeyRecord::clone(&*self.store.get(&record.owner, &record.id).await?.unwrap());
            (self.change)(&mut other);
            self.store.replace(other, None).await?;
        }
        self.store.replace(record, event).await
    }

    async fn delete(
        &self,
        owner: &Owner,
        id: &KeyId,
        event: Option<&AuditEvent>,
    ) -> Result<bool, StoreError> {
        self.store.delete(owner, id, event).await
    }

    async fn remember_import(&self, id: &KeyId, digest: &Digest) -> Result<(), StoreError> {
        self.store.remember_import(id, digest).await
    }

    async fn imported_as(&self, digests: &[Digest]) -> Result<Option<KeyId>, StoreError> {
        self.store.imported_as(digests).await
    }

    async fn forget_import(&self, id: &KeyId, event: Option<&AuditEvent>) -> Result<bool, StoreError> {
        self.store.forget_import(id, event).await
    }
}

#[tokio::test]
async fn views_contain_neither_secret_nor_digest() {
    let world = World::new();
    let key = world.create(|_| {}).await;
    let secret = key.secret.expose_secret();
    let digest = world.record(&key.key.id).await.unwrap().digest.to_string();
    let page = world.manager.list(&operator(), &KeyQuery::default()).await.unwrap();
    for shown in [format!("{key:?}"), format!("{page:?}"), format!("{:?}", world.manager)] {
        assert!(!shown.contains(secret) && !shown.contains(&secret[4..]), "{shown}");
        assert!(!shown.contains(&digest) && !shown.contains(&digest[7..]), "{shown}");
    }
    assert_eq!(page.keys[0].hint, format!("wfk_…{}", &secret[secret.len() - 4..]));
}

#[tokio::test]
async fn exactly_the_operations_done_are_audited() {
    let world = World::new();
    let caller_key = world.create(|_| {}).await;
    let caller = Authority::principal(&world.principal(caller_key.secret.expose_secret()).await.unwrap());
    world.take_events().await;
    world.clock.advance(HOUR);

    let created = world.manager.create(&caller, new_key(&[])).await.unwrap();
    let id = created.key.id;
    for action in [
        KeyAction::Rotate,
        KeyAction::Disable,
        KeyAction::Disable,
        KeyAction::Read,
        KeyAction::Enable,
        KeyAction::Delete,
        KeyAction::Delete,
    ] {
        let _ = world.change(&caller, action, &id).await;
    }
    let _ = world.manager.create(&caller, NewKey::new("")).await;
    let events = world.take_events().await;
    let actions: Vec<_> = events.iter().map(|event| event.action).collect();
    use KeyAction as A;
    assert_eq!(
        actions,
        [A::Create, A::Rotate, A::Disable, A::Enable, A::Revoke, A::Delete],
        "a live key is revoked before it is deleted; what changes nothing is no event"
    );
    for event in &events {
        assert_eq!(event.key_id, Some(id), "which");
        assert_eq!(event.owner, acme(), "whose");
        assert_eq!(event.actor, Actor::Key(caller_key.key.id), "who");
        assert_eq!(event.at, START.saturating_add(HOUR), "when");
        assert_eq!(event.outcome, Ok(()));
    }
    let revoked = world.create(|_| {}).await.key.id;
    world.manager.revoke(&operator(), &revoked).await.unwrap();
    world.take_events().await;
    world.manager.delete(&operator(), &revoked).await.unwrap();
    let events = world.take_events().await;
    assert_eq!(events.len(), 1, "a revoked key is not revoked again");
    assert_eq!((events[0].action, &events[0].actor), (A::Delete, &Actor::Operator(None)));
}

#[tokio::test]
async fn forbidden_operations_are_audited_once() {
    let world = World::new();
    let other_owner = world.caller(|key| key.scopes = scopes(&["runs:read"])).await;
    let caller = world.caller(|key| key.scopes = scopes(&["api-keys:write"])).await;
    let id = world.create(|key| key.scopes = scopes(&["runs:read"])).await.key.id;
    let write = ScopeRequirement::from_static("api-keys:write");
    let cases = [
        (&other_owner, KeyAction::Rotate, Forbidden::ManagementScope(write.clone())),
        (&other_owner, KeyAction::Delete, Forbidden::ManagementScope(write)),
        (
            &caller,
            KeyAction::Read,
            Forbidden::ManagementScope(ScopeRequirement::from_static("api-keys:read")),
        ),
        (&caller, KeyAction::Rotate, Forbidden::Scopes(scopes(&["runs:read"]))),
        (&caller, KeyAction::Enable, Forbidden::Scopes(scopes(&["runs:read"]))),
    ];
    for (authority, action, want) in cases {
        world.take_events().await;
        world.change(authority, action, &id).await.unwrap_err();
        let events = world.take_events().await;
        assert_eq!(events.len(), 1, "{action}");
        assert_eq!((events[0].action, events[0].key_id), (action, Some(id)));
        assert_eq!(events[0].actor, authority.actor());
        assert_eq!(events[0].outcome, Err(want.code().into()));
    }
    world.take_events().await;
    world.manager.create(&caller, new_key(&["runs:read"])).await.unwrap_err();
    let events = world.take_events().await;
    assert_eq!((events.len(), events[0].action, events[0].key_id), (1, KeyAction::Create, None));
}

#[tokio::test]
async fn age_and_expiry_are_shown_and_old_secrets_can_be_listed() {
    let world = World::new();
    let old = world.create(|_| {}).await.key.id;
    let rotated = world.create(|_| {}).await.key.id;
    world.clock.advance(90 * DAY);
    world.manager.rotate(&operator(), &rotated, Duration::ZERO).await.unwrap();
    world.create(|key| key.expires_at = Some(START.saturating_add(91 * DAY))).await;
    for (age, want) in [(90 * DAY, &[][..]), (90 * DAY - MILLISECOND, &[old]), (89 * DAY, &[old])] {
        let page = world.manager.list(&operator(), &world.manager.older_than(age)).await.unwrap();
        assert_eq!(page.keys.iter().map(|key| key.id).collect::<Vec<_>>(), want, "{age:?}");
    }
    assert_eq!(world.manager.get(&operator(), &old).await.unwrap().age, 90 * DAY);
    assert_eq!(world.manager.get(&operator(), &rotated).await.unwrap().age, Duration::ZERO);
    assert!(world.manager.older_than(Duration::MAX).secret_created_before.is_some());
}

#[tokio::test]
async fn the_status_is_that_of_the_reason_that_lasts_longest() {
    let world = World::new();
    let at = |hours: u32| Some(START.saturating_add(HOUR * hours));
    let id = world.create(|key| (key.not_before, key.expires_at) = (at(1), at(2))).await.key.id;
    let status = async || world.manager.get(&operator(), &id).await.unwrap().status;
    assert_eq!(status().await, KeyStatus::NotYetValid);
    world.clock.advance(HOUR);
    assert_eq!(status().await, KeyStatus::Active);
    world.manager.disable(&operator(), &id).await.unwrap();
    assert_eq!(status().await, KeyStatus::Disabled);
    world.clock.advance(HOUR);
    assert_eq!(status().await, KeyStatus::Expired);
    world.manager.revoke(&operator(), &id).await.unwrap();
    assert_eq!(status().await, KeyStatus::Revoked);
}

#[tokio::test]
async fn a_prepared_key_is_a_key_once_the_application_has_stored_it() {
    let world = World::new();
    let dropped = world.manager.prepare(&operator(), new_key(&["a:b"])).await.unwrap();
    assert!(format!("{dropped:?}").contains("secret: [redacted]"), "{dropped:?}");
    drop(dropped);
    let rolled_back = world.manager.prepare(&operator(), new_key(&["a:b"])).await.unwrap();
    assert!(matches!(rolled_back.committed().await, Err(ManageError::NotFound)));
    assert_eq!((world.store.len(), world.take_events().await.len()), (0, 0));

    let prepared = world.manager.prepare(&operator(), new_key(&["a:b"])).await.unwrap();
    assert!(world.take_events().await.is_empty(), "not before it is stored");
    world.store.insert(prepared.record().clone(), Some(prepared.event())).await.unwrap();
    let key = prepared.committed().await.unwrap();
    assert!(world.verifies(key.secret.expose_secret()).await);
    let event = world.take_events().await.pop().unwrap();
    assert_eq!((event.action, event.key_id), (KeyAction::Create, Some(key.key.id)));

    let caller = world.caller(|_| {}).await;
    let prepared = world.manager.prepare(&caller, new_key(&[])).await.unwrap();
    world.store.insert(prepared.record().clone(), None).await.unwrap();
    let id = prepared.record().id;
    let Actor::Key(own) = caller.actor() else { panic!("the caller is a key") };
    world.manager.revoke(&operator(), &own).await.unwrap();
    assert!(matches!(prepared.committed().await, Err(ManageError::Forbidden(Forbidden::Ended))));
    assert_eq!(world.record(&id).await, None, "its maker had ended");
    let beyond = world.manager.prepare(&caller, new_key(&["other:scope"])).await;
    assert!(matches!(beyond, Err(ManageError::Forbidden(_))));
}

const FOREIGN: &str = "sk_live_oldsystem1.abc123def456ghi789jkl012mno345pq";

#[tokio::test]
async fn an_imported_key_verifies_and_importing_it_again_is_reported() {
    let format = KeyFormat::builder("sk_").modes("test_", "live_").public_id(16, '.').build().unwrap();
    let world = World::with_format(format);
    let import = async |authority: &Authority, text: &str| {
        world.manager.import(authority, new_key(&[]), text.into()).await
    };

    let imported = import(&operator(), FOREIGN).await.unwrap();
    assert_eq!((imported.id.as_str(), imported.hint.as_str()), ("oldsystem1", "sk_live_…45pq"));
    assert!(world.verifies(FOREIGN).await);
    let globex = Authority::operator(Owner::organization("globex".parse().unwrap(), Mode::Live));
    let test_mode = Authority::operator(Owner { mode: Mode::Test, ..acme() });
    let caller = world.caller(|_| {}).await;
    let same_id = FOREIGN.replace("abc", "xyz");
    for (name, authority, text, want) in [
        ("again", &operator(), FOREIGN, "already exists"),
        ("for another owner", &globex, FOREIGN, "key"),
        ("another secret of the same id", &operator(), same_id.as_str(), "key"),
        ("the other mode", &test_mode, &FOREIGN.replace("system1", "system4"), "key"),
        ("not of the format", &operator(), "hunter2", "key"),
        ("too weak", &operator(), "sk_live_oldsystem2.short", "key"),
        ("by a caller", &caller, &FOREIGN.replace("system1", "system3"), "operator only"),
    ] {
        let before = world.store.len();
        assert_eq!(outcome(&import(authority, text).await), want, "{name}");
        assert_eq!(world.store.len(), before, "{name}");
    }
    let forbidden = world.take_events().await.pop().unwrap();
    assert_eq!(forbidden.outcome, Err("operator_only".into()));
    assert_eq!((forbidden.action, forbidden.actor), (KeyAction::Import, caller.actor()));
    world.manager.revoke(&operator(), &imported.id).await.unwrap();
    let again = import(&operator(), FOREIGN).await;
    assert_eq!(outcome(&again), "already exists", "importing does not bring a revoked key back");
    assert!(!world.verifies(FOREIGN).await);
}

#[tokio::test]
async fn a_digest_can_be_imported_if_it_can_ever_verify() {
    let world = World::new();
    let text = "wfk_abc123def456ghi789jkl012mno345pq";
    let pepper = || "a pepper of thirty-two bytes, or more".into();
    let peppered = Peppers::new(7, pepper()).unwrap();
    let import = async |peppers: &Peppers, hint: &str| {
        let (id, digest) = ("legacy-1".parse().unwrap(), peppers.digest(text));
        world.manager.import_digest(&operator(), new_key(&[]), id, digest, hint).await
    };

    assert_eq!(outcome(&import(&peppered, "").await), "digest", "an unknown pepper");
    assert_eq!(outcome(&import(&Peppers::none(), "a\u{1b}b").await), "hint");
    let imported = import(&Peppers::none(), "wfk_…45pq").await.unwrap();
    assert_eq!((imported.id.as_str(), imported.hint.as_str()), ("legacy-1", "wfk_…45pq"));
    assert!(world.verifies(text).await);

    // Meanwhile a pepper was added. The key is still the same.
    let manager = world.manager.clone().with_peppers(peppered.accept_unpeppered());
    let again = manager.import(&operator(), new_key(&[]), text.into()).await;
    assert_eq!(outcome(&again), "already exists");
    assert_eq!(world.store.len(), 1);
}

#[test]
fn every_operation_can_run_in_a_task_of_its_own() {
    fn is_send<T: Send>(_: T) {}
    let (world, authority, query) = (World::new(), operator(), KeyQuery::default());
    let (manager, id) = (&world.manager, "k1".parse().unwrap());
    is_send(manager.create(&authority, new_key(&[])));
    is_send(manager.import(&authority, new_key(&[]), FOREIGN.into()));
    is_send(manager.list(&authority, &query));
    is_send(manager.get(&authority, &id));
    is_send(manager.rotate(&authority, &id, HOUR));
    is_send(manager.disable(&authority, &id));
    is_send(manager.enable(&authority, &id));
    is_send(manager.revoke(&authority, &id));
    is_send(manager.delete(&authority, &id));
}

fn any_scopes() -> impl Strategy<Value = ScopeSet> {
    let scope = (prop::sample::select(&["a", "b", "aa"][..]), prop::sample::select(&["x", "y", "*"][..]));
    prop::collection::vec(scope, 0..5)
        .prop_map(|list| list.iter().map(|(what, how)| format!("{what}:{how}").parse().unwrap()).collect())
}

fn any_instant() -> impl Strategy<Value = Option<Timestamp>> {
    prop::option::of((0..6_u32).prop_map(|hours| START.saturating_add(HOUR * hours)))
}

fn any_limits() -> impl Strategy<Value = BTreeMap<String, NonZeroU32>> {
    let limit = (prop::sample::select(&["read", "write"][..]), 1..4_u32);
    prop::collection::vec(limit, 0..3).prop_map(|list| limits(&list))
}

fn any_key() -> impl Strategy<Value = NewKey> {
    (any_scopes(), any_instant(), any_instant(), any_limits()).prop_map(
        |(scopes, not_before, expires_at, limits)| {
            let mut key = NewKey::new("key").scopes(scopes);
            (key.not_before, key.expires_at, key.limits) = (not_before, expires_at, limits);
            key
        },
    )
}

proptest! {
    #[test]
    fn a_key_never_exceeds_its_creator(own in any_key(), asked in any_key()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let caller_scopes: ScopeSet =
                own.scopes.iter().cloned().chain(scopes(&["api-keys:write"]).iter().cloned()).collect();
            let mut own = own;
            (own.scopes, own.not_before) = (caller_scopes, None);
            own.expires_at = own.expires_at.filter(|end| *end > START);
            let own = world.manager.create(&operator(), own).await.unwrap();
            let caller = Authority::principal(&world.principal(own.secret.expose_secret()).await.unwrap());
            let allowed = asked.scopes.is_subset_of(&own.key.scopes);
            match world.manager.create(&caller, asked.clone()).await {
                Ok(made) => {
                    let made = world.record(&made.key.id).await.unwrap();
                    assert!(allowed && made.scopes == asked.scopes);
                    assert!(made.scopes.is_subset_of(&own.key.scopes));
                    if let Some(end) = own.key.expires_at {
                        assert!(made.expires_at.is_some_and(|made| made <= end));
                    }
                    for (category, limit) in made.extras().limits.iter() {
                        assert!(own.key.limits.get(category).is_some_and(|own| limit <= own));
                    }
                    for (category, limit) in own.key.limits.iter() {
                        assert!(made.extras().limits.get(category).is_some_and(|made| made <= limit));
                    }
                    assert_eq!(made.owner, acme());
                    assert_eq!(made.state, KeyState::Active);
                }
                Err(error) => {
                    assert!(matches!(error, ManageError::Forbidden(_) | ManageError::Invalid(_)), "{error:?}");
                    assert_eq!(world.store.len(), 1, "nothing is stored");
                }
            }
        });
    }
}

#[test]
fn a_cursor_is_its_text_in_a_query_and_in_json() {
    let text = "1702531200000.k7Jc0qWvTz4n8XsB";
    let cursor: Cursor = text.parse().unwrap();
    assert_eq!(cursor.to_string(), text);
    assert_eq!(serde_json::to_value(cursor).unwrap(), text);
    assert_eq!(serde_json::from_value::<Cursor>(text.into()).unwrap(), cursor);
    for broken in [
        "",
        "k7Jc0qWvTz4n8XsB",
        "now.k7Jc0qWvTz4n8XsB",
        "1702531200000.",
        "-1.a",
        "+1.a",
        "01.a",
        "281474976710656.a",
    ] {
        assert!(serde_json::from_value::<Cursor>(broken.into()).is_err(), "{broken}");
    }
}
