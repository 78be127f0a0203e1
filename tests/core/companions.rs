//! Companions of a key, and session tokens. The tests control the store, the clock and the peppers.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, Request, Response, StatusCode};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, Network, PeerAddress};
use tower_api_keys::clock::{Clock, ManualClock};
use tower_api_keys::credential::{Companions, HeaderKey, Parts, SessionTokens};
use tower_api_keys::identity::SecretStatus;
use tower_api_keys::key::{KeyFormat, KeyRecord, KeyState, Mode, NextSecret, Owner, Peppers, PreviousSecret};
use tower_api_keys::manage::{Authority, Forbidden, ManageError, NewKey};
use tower_api_keys::rejection::{ErrorKind, Reason, Rejection};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{KeyAdministration, KeySelector, KeyStore, Lookup, MemoryStore, ReadOnly};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, Principal, Quota};

use crate::support::*;

const APP_SECRET: &str = "app_abc123def456ghi789jkl012mno345pq";
const OTHER_APP_SECRET: &str = "app_ABC123def456ghi789jkl012mno345pq";
const NEW_SECRET: &str = "app_new123def456ghi789jkl012mno345pq";
const SIGNING_SECRET: &str = "0123456789abcdef0123456789abcdef";
const X_SECRET: HeaderName = HeaderName::from_static("x-secret");
const X_TOKEN: HeaderName = HeaderName::from_static("x-token");
const LIFETIME: Duration = SessionTokens::DEFAULT_LIFETIME;

fn tokens() -> SessionTokens {
    SessionTokens::new(SIGNING_SECRET.into()).unwrap()
}

fn app(secret: &str, id: &str, change: impl FnOnce(&mut KeyRecord)) -> KeyRecord {
    record(secret, |app| {
        app.id = id.parse().unwrap();
        change(app);
    })
}

/// A key and an app of acme, and a second key and app of acme.
async fn keys() -> MemoryStore {
    store([
        record(KEY, |_| {}),
        record(OTHER_KEY, |_| {}),
        app(APP_SECRET, "app_1", |_| {}),
        app(OTHER_APP_SECRET, "app_2", |_| {}),
    ])
    .await
}

/// An assembly whose clock and tokens the test controls.
struct World {
    keys: ApiKeys,
    clock: ManualClock,
    tokens: SessionTokens,
}

impl World {
    fn new(store: impl KeyAdministration) -> Self {
        Self::with(store, |keys| keys)
    }

    fn with(store: impl KeyAdministration, set: impl FnOnce(ApiKeysBuilder) -> ApiKeysBuilder) -> Self {
        Self::at(ManualClock::starting_at(START), tokens(), store, set)
    }

    fn signing_with(tokens: SessionTokens, store: impl KeyAdministration) -> Self {
        Self::at(ManualClock::starting_at(START), tokens, store, |keys| keys)
    }

    /// The same setup with another store.
    fn with_store(self, store: impl KeyAdministration) -> Self {
        Self::at(self.clock, self.tokens, store, |keys| keys)
    }

    fn at(
        clock: ManualClock,
        tokens: SessionTokens,
        store: impl KeyAdministration,
        set: impl FnOnce(ApiKeysBuilder) -> ApiKeysBuilder,
    ) -> Self {
        let routes = [
            ("GET", "/key", Parts::KEY),
            ("GET", "/secret", Parts::SECRET.named("secret")),
            ("GET", "/token", Parts::TOKEN),
            ("GET", "/all", Parts::ALL),
        ];
        let secret = HeaderKey::new(X_SECRET, KeyFormat::new("app_").unwrap());
        let companions =
            Companions::new(secret).with_session_tokens(X_TOKEN, tokens.clone()).with_routes(routes);
        let keys = assembly(store)
            .companions(companions)
            .client_address(ClientAddressSource::peer())
            .throttle_bad_credentials(Quota::per_minute(100).unwrap())
            .record_last_use()
            .clock(clock.clone())
            .without_route_table();
        Self { keys: set(keys).build().unwrap(), clock, tokens }
    }

    /// The response names the caller, and has a new token if one is granted.
    async fn get(&self, path: &str, [key, secret, token]: [Option<&str>; 3]) -> Response<Bytes> {
        let mut request = Request::get(path).body(()).unwrap();
        request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
        for (name, value) in [(X_API_KEY, key), (X_SECRET, secret), (X_TOKEN, token)] {
            if let Some(value) = value {
                request.headers_mut().insert(name, value.parse().unwrap());
            }
        }
        let (tokens, now) = (self.tokens.clone(), self.clock.now().timestamp());
        let service = self.keys.layer().layer(service_fn(move |request: Request<()>| {
            let mut response = Response::new(Bytes::from("anonymous"));
            if let Some(principal) = Principal::from_extensions(request.extensions()) {
                let companion = principal.companion_id().map(|id| id.as_str());
                *response.body_mut() = Bytes::from(format!("{companion:?} {:?}", principal.scopes()));
                response.extensions_mut().insert(principal.clone());
                if let Some(token) = tokens.issue(principal, now) {
                    response.headers_mut().insert(X_TOKEN, token.expose_secret().parse().unwrap());
                }
            }
            std::future::ready(Ok::<_, std::convert::Infallible>(response))
        }));
        service.oneshot(request).await.unwrap()
    }

    async fn principal(&self, path: &str, parts: [Option<&str>; 3]) -> Principal {
        let response = self.get(path, parts).await;
        assert_eq!(reason(&response), "ok");
        response.extensions().get().cloned().unwrap()
    }

    async fn grant(&self, key: &str, secret: &str) -> String {
        let response = self.get("/secret", [Some(key), Some(secret), None]).await;
        assert_eq!(response.status(), 200, "{:?}", response.extensions().get::<Rejection>());
        response.headers()[X_TOKEN].to_str().unwrap().to_owned()
    }

    /// `ok`, or the reason for rejecting key and token.
    async fn with_token(&self, key: &str, token: &str) -> String {
        reason(&self.get("/token", [Some(key), None, Some(token)]).await)
    }
}

/// `ok`, or the reason.
fn reason(response: &Response<Bytes>) -> String {
    match response.extensions().get::<Rejection>() {
        Some(rejection) => format!("{:?}", rejection.reason()),
        None => {
            assert_eq!(response.status(), 200);
            "ok".into()
        }
    }
}

#[tokio::test]
async fn a_token_is_valid_to_the_last_millisecond_and_then_expired() {
    let world = World::new(keys().await);
    let token = world.grant(KEY, APP_SECRET).await;
    assert_eq!(world.with_token(KEY, &token).await, "ok");
    world.clock.advance(LIFETIME - Duration::from_millis(1));
    assert_eq!(world.with_token(KEY, &token).await, "ok");
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.with_token(KEY, &token).await, "SessionTokenExpired");
    let answer = world.get("/token", [Some(KEY), None, Some(&token)]).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let forged = token.replace("app_1", "app_2");
    assert_eq!(world.with_token(KEY, &forged).await, "SessionTokenInvalid");
    assert_eq!(world.grant(KEY, APP_SECRET).await.len(), token.len(), "and there is a new one to be had");
}

#[tokio::test]
async fn a_token_lives_as_long_as_the_application_says() {
    let lifetime = Duration::from_secs(60);
    let world = World::signing_with(tokens().with_lifetime(lifetime), keys().await);
    let token = world.grant(KEY, APP_SECRET).await;
    world.clock.advance(lifetime - Duration::from_millis(1));
    assert_eq!(world.with_token(KEY, &token).await, "ok");
    world.clock.advance(Duration::from_millis(1));
    assert_eq!(world.with_token(KEY, &token).await, "SessionTokenExpired");
}

/// An expired token is not a guess. A forged one is.
#[tokio::test]
async fn a_forged_token_counts_as_a_bad_credential_and_an_expired_one_does_not() {
    for forgeries in [1, 2, 5] {
        let quota = Quota::per_hour(forgeries).unwrap();
        let world = World::with(keys().await, |keys| keys.throttle_bad_credentials(quota));
        let token = world.grant(KEY, APP_SECRET).await;
        let forged = token.replace("app_1", "app_2");
        world.clock.advance(LIFETIME);
        for _ in 0..3 * forgeries {
            assert_eq!(world.with_token(KEY, &token).await, "SessionTokenExpired", "not one is counted");
        }
        for _ in 0..forgeries {
            assert_eq!(world.with_token(KEY, &forged).await, "SessionTokenInvalid", "each is counted once");
        }
        let answer = world.get("/token", [Some(KEY), None, Some(&forged)]).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(matches!(rejection(&answer).reason(), Reason::Throttled(_)));
    }
}

#[tokio::test]
async fn a_token_is_bound_to_one_key_and_companion_and_cannot_mint_another() {
    let world = World::new(keys().await);
    let token = world.grant(KEY, APP_SECRET).await;
    let invalid = "SessionTokenInvalid";
    assert_eq!(world.with_token(OTHER_KEY, &token).await, invalid, "another key of the owner");
    let other_app = world.get("/all", [Some(KEY), Some(OTHER_APP_SECRET), Some(&token)]).await;
    assert_eq!(reason(&other_app), invalid, "another app of the owner");
    assert_eq!(reason(&world.get("/token", [None, None, Some(&token)]).await), "CredentialMissing");

    let by_token = world.get("/token", [Some(KEY), None, Some(&token)]).await;
    assert!(!by_token.headers().contains_key(X_TOKEN), "a token cannot mint another token");
    assert_eq!(by_token.body(), r#"Some("app_1") ["workflows:read"]"#);
    let by_both = world.get("/all", [Some(KEY), Some(APP_SECRET), Some(&token)]).await;
    assert!(by_both.headers().contains_key(X_TOKEN), "the secret does");
    let by_key = world.get("/key", [Some(KEY), None, None]).await;
    assert!(!by_key.headers().contains_key(X_TOKEN) && by_key.body().starts_with(b"None"));
}

/// A token stops working together with its key or app, immediately.
#[tokio::test]
async fn a_token_is_rejected_once_its_key_or_companion_is_revoked() {
    let later = START.saturating_add(Duration::from_secs(60));
    type Change = Box<dyn Fn(&mut KeyRecord)>;
    let ends: [(&str, Change, &str); 5] = [
        ("revoked", Box::new(|key| key.state = KeyState::Revoked { at: START }), "KeyRevoked"),
        ("disabled", Box::new(|key| key.state = KeyState::Disabled), "KeyDisabled"),
        ("expired", Box::new(|key| key.expires_at = Some(START)), "KeyExpired"),
        ("not yet valid", Box::new(move |key| key.extras_mut().not_before = Some(later)), "KeyNotYetValid"),
        ("moved to another mode", Box::new(|key| key.owner.mode = Mode::Test), "CompanionMismatch"),
    ];
    for (name, end, expected) in ends {
        for is_app in [false, true] {
            let world = World::new(keys().await);
            let token = world.grant(KEY, APP_SECRET).await;
            let mut records = [record(KEY, |_| {}), app(APP_SECRET, "app_1", |_| {})];
            end(&mut records[usize::from(is_app)]);
            let world = world.with_store(store(records).await);
            let expected = match is_app && expected != "CompanionMismatch" {
                true => format!("CompanionInvalid({expected})"),
                false => expected.into(),
            };
            assert_eq!(world.with_token(KEY, &token).await, expected, "{name}, app: {is_app}");
            let both = world.get("/all", [Some(KEY), Some(APP_SECRET), Some(&token)]).await;
            assert_eq!(reason(&both), expected, "{name}, app: {is_app}, with the secret");
            assert_eq!(both.status(), 401);
        }
    }
    let world = World::new(keys().await);
    let token = world.grant(KEY, APP_SECRET).await;
    let world = world.with_store(store([record(KEY, |_| {})]).await);
    assert_eq!(world.with_token(KEY, &token).await, "CompanionInvalid(KeyUnknown)", "deleted");
}

#[tokio::test]
async fn a_token_outlives_a_rotation_by_the_grace_of_the_old_secret() {
    let minute = Duration::from_secs(60);
    let digest = |text| Peppers::none().digest(text);
    let world = World::new(keys().await);
    let token = world.grant(KEY, APP_SECRET).await;
    let rotated = |previous: Option<PreviousSecret>| {
        app(NEW_SECRET, "app_1", |app| {
            (app.extras_mut().previous, app.digest) = (previous, digest(NEW_SECRET))
        })
    };
    let in_grace = PreviousSecret { digest: digest(APP_SECRET), valid_until: START.saturating_add(minute) };
    let world = world.with_store(store([record(KEY, |_| {}), rotated(Some(in_grace))]).await);
    assert_eq!(world.with_token(KEY, &token).await, "ok");
    world.clock.advance(minute);
    assert_eq!(world.with_token(KEY, &token).await, "SessionTokenInvalid", "the grace is over");
    let world = world.with_store(store([record(KEY, |_| {}), rotated(None)]).await);
    assert_eq!(world.with_token(KEY, &token).await, "SessionTokenInvalid", "no grace");

    // The key's secret, likewise: the client may continue with either.
    let world = World::new(keys().await);
    let token = world.grant(KEY, APP_SECRET).await;
    let new_key = record(KEY, |key| {
        key.extras_mut().previous =
            Some(PreviousSecret { digest: digest(KEY), valid_until: START.saturating_add(minute) });
        key.digest = digest(UNKNOWN_KEY);
    });
    let world = world.with_store(store([new_key, app(APP_SECRET, "app_1", |_| {})]).await);
    for key in [KEY, UNKNOWN_KEY] {
        assert_eq!(world.with_token(key, &token).await, "ok", "{key}");
    }
    world.clock.advance(minute);
    assert_eq!(
        world.with_token(UNKNOWN_KEY, &token).await,
        "SessionTokenInvalid",
        "issued under the old one"
    );
    let renewed = world.grant(UNKNOWN_KEY, APP_SECRET).await;
    assert_eq!(world.with_token(UNKNOWN_KEY, &renewed).await, "ok");
}

#[tokio::test]
async fn a_token_is_valid_in_every_process_with_the_signing_secret() {
    let here = World::new(keys().await);
    let token = here.grant(KEY, APP_SECRET).await;
    // Another process, or the same after a restart: only the configuration and the store are shared.
    let there = World::new(keys().await);
    assert_eq!(there.with_token(KEY, &token).await, "ok");
    let other = SessionTokens::new("another secret of thirty-two bytes".into()).unwrap();
    let stranger = World::signing_with(other.clone(), keys().await);
    assert_eq!(stranger.with_token(KEY, &token).await, "SessionTokenInvalid");
    let rotating = other.with_previous(SIGNING_SECRET.into()).unwrap();
    let rotating = World::signing_with(rotating, keys().await);
    assert_eq!(rotating.with_token(KEY, &token).await, "ok");
    let new = rotating.grant(KEY, APP_SECRET).await;
    assert_eq!(here.with_token(KEY, &new).await, "SessionTokenInvalid", "signed with the new one");
}

#[tokio::test]
async fn both_move_to_the_current_pepper_and_the_token_issued_meanwhile_stays_valid() {
    let new = Peppers::new(1, "0123456789abcdef0123456789abcdef".into()).unwrap();
    for answers in [Answers::AtOnce, Answers::Later] {
        let keys = keys().await;
        let peppers = new.clone().accept_unpeppered();
        let store = TestStore::new(keys.clone(), answers);
        let world = World::with(store.clone(), |keys| keys.peppers(peppers));
        let token = world.grant(KEY, APP_SECRET).await;
        assert_eq!(store.refreshed.load(Ordering::SeqCst), 2, "each of them once");
        for text in [KEY, APP_SECRET] {
            let digest = new.digest(text);
            let found = keys.find(KeySelector::Digests(&[digest])).await.unwrap();
            assert_eq!(found.unwrap().digest, digest, "{text} {answers:?}");
        }
        assert_eq!(world.with_token(KEY, &token).await, "ok", "{answers:?}");
        world.grant(KEY, APP_SECRET).await;
        assert_eq!(store.refreshed.load(Ordering::SeqCst), 2, "and then there is nothing to be stored");
    }
}

#[tokio::test]
async fn a_replaced_secret_that_moves_to_the_current_pepper_still_ends_with_its_grace() {
    let new = Peppers::new(1, "0123456789abcdef0123456789abcdef".into()).unwrap();
    let until = START.saturating_add(Duration::from_secs(60));
    let previous =
        |secret| Some(PreviousSecret { digest: Peppers::none().digest(secret), valid_until: until });
    let replaced_key = record(OTHER_KEY, |key| key.extras_mut().previous = previous(KEY));
    let replaced_app = app(NEW_SECRET, "app_1", |app| app.extras_mut().previous = previous(APP_SECRET));
    let keys = store([replaced_key, replaced_app]).await;
    let world = World::with(keys, |keys| keys.peppers(new.accept_unpeppered()));
    for (key, secret, expected) in [
        (KEY, NEW_SECRET, SecretStatus::Retired { until }),
        (OTHER_KEY, APP_SECRET, SecretStatus::Retired { until }),
        (OTHER_KEY, NEW_SECRET, SecretStatus::InUse),
    ] {
        for moved in ["as it moves", "moved"] {
            let principal = world.principal("/secret", [Some(key), Some(secret), None]).await;
            assert_eq!(principal.secret_status(), expected, "{key} {secret} {moved}");
        }
    }
    // A token is granted by the replaced secret of the app, and ends with it.
    let token = world.grant(OTHER_KEY, APP_SECRET).await;
    assert_eq!(world.with_token(OTHER_KEY, &token).await, "ok");
    world.clock.advance(Duration::from_secs(60));
    assert_ne!(world.with_token(OTHER_KEY, &token).await, "ok");
}

#[tokio::test]
async fn a_companion_s_next_secret_is_put_in_use_when_it_is_first_used() {
    let next = NextSecret {
        digest: Peppers::none().digest(NEW_SECRET),
        hint: "app_…45pq".into(),
        created_at: START,
        grace: Duration::from_secs(60),
    };
    let waiting = app(APP_SECRET, "app_1", |app| app.extras_mut().next = Some(Box::new(next)));
    let keys = store([record(KEY, |_| {}), waiting]).await;
    let world = World::new(keys.clone());
    let old = world.grant(KEY, APP_SECRET).await;
    let token = world.grant(KEY, NEW_SECRET).await;
    let id = "app_1".parse().unwrap();
    let stored = keys.find(KeySelector::Id(&id)).await.unwrap().unwrap();
    assert!(stored.extras().next.is_none() && stored.digest == Peppers::none().digest(NEW_SECRET));
    assert_eq!(world.with_token(KEY, &token).await, "ok");
    assert_eq!(world.with_token(KEY, &old).await, "ok", "in its grace");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(world.with_token(KEY, &old).await, "SessionTokenInvalid");
}

#[tokio::test]
async fn the_caller_may_do_what_both_may() {
    let scopes = |list: &[&str]| ScopeSet::parse_list(list.iter().copied()).unwrap();
    let soon = START.saturating_add(Duration::from_secs(1));
    let keys = store([
        record(KEY, |key| key.scopes = scopes(&["runs:*", "workflows:read"])),
        app(APP_SECRET, "app_1", |app| {
            app.scopes = scopes(&["runs:read", "workflows:*", "api-keys:write"]);
            app.expires_at = Some(soon);
        }),
        app(OTHER_APP_SECRET, "app_2", |app| {
            app.extras_mut().allowed_addresses = vec!["198.51.100.0/24".parse().unwrap()]
        }),
    ]);
    let world = World::new(keys.await);
    let both = world.get("/secret", [Some(KEY), Some(APP_SECRET), None]).await;
    assert_eq!(both.body(), r#"Some("app_1") ["runs:read", "workflows:read"]"#);
    let token = both.headers()[X_TOKEN].to_str().unwrap();
    let by_token = world.get("/token", [Some(KEY), None, Some(token)]).await;
    assert_eq!(by_token.body(), both.body(), "a token allows no more");
    let alone = world.get("/key", [Some(KEY), None, None]).await;
    assert_eq!(alone.body(), r#"None ["runs:*", "workflows:read"]"#);
    let elsewhere = world.get("/secret", [Some(KEY), Some(OTHER_APP_SECRET), None]).await;
    assert_eq!((elsewhere.status(), &*reason(&elsewhere)), (StatusCode::FORBIDDEN, "AddressNotAllowed"));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.with_token(KEY, token).await, "CompanionInvalid(KeyExpired)");
}

#[tokio::test]
async fn the_caller_is_held_to_each_thing_that_the_companion_may_do_less() {
    type Less = fn(&mut KeyRecord);
    let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<Network>>();
    let all = |record: &mut KeyRecord| {
        record.scopes = ScopeSet::parse_list(["api-keys:write", "runs:*"]).unwrap();
        record.expires_at = Some(START.saturating_add(Duration::from_secs(60)));
        record.extras_mut().allowed_addresses = networks(&["192.0.2.0/24"]);
    };
    let of_both = app(APP_SECRET, "app_1", all);
    let less: [(&str, Less); 4] = [
        ("nothing", |_| {}),
        ("scopes", |app| app.scopes = ScopeSet::parse_list(["api-keys:write"]).unwrap()),
        ("time", |app| app.expires_at = Some(START.saturating_add(Duration::from_secs(1)))),
        ("addresses", |app| app.extras_mut().allowed_addresses = vec!["192.0.2.1".parse().unwrap()]),
    ];
    for (name, less) in less {
        let mut companion = of_both.clone();
        less(&mut companion);
        let world = World::new(store([record(KEY, all), companion.clone()]).await);
        let caller = world.principal("/secret", [Some(KEY), Some(APP_SECRET), None]).await;
        assert_eq!(caller.scopes(), &companion.scopes, "{name}");
        assert_eq!(caller.expires_at(), companion.expires_at, "{name}");
        let mut new = NewKey::new("derived");
        new.expires_at = companion.expires_at;
        let made = world.keys.manager().create(&Authority::principal(&caller), new).await.unwrap();
        assert_eq!(made.key.allowed_addresses, companion.extras().allowed_addresses, "{name}");
    }
}

#[tokio::test]
async fn created_keys_may_do_what_both_may() {
    let network = |text: &str| text.parse::<Network>().unwrap();
    let write = ScopeSet::parse_list(["api-keys:write"]).unwrap();
    for (of_key, of_app, expected) in [
        (&[][..], &["192.0.2.0/24"][..], &["192.0.2.0/24"][..]),
        (&["192.0.2.0/24"], &[], &["192.0.2.0/24"]),
        (&["192.0.2.0/24", "2001:db8::/32"], &["192.0.2.1", "192.0.0.0/16"], &["192.0.2.0/24", "192.0.2.1"]),
        (&["192.0.2.1"], &["192.0.0.0/16"], &["192.0.2.1"]),
        (&[], &[], &[]),
    ] {
        let networks = |texts: &[&str]| texts.iter().copied().map(network).collect::<Vec<_>>();
        let keys = store([
            record(KEY, |key| {
                (key.scopes, key.extras_mut().allowed_addresses) = (write.clone(), networks(of_key))
            }),
            app(APP_SECRET, "app_1", |app| {
                (app.scopes, app.extras_mut().allowed_addresses) = (write.clone(), networks(of_app));
            }),
        ]);
        let world = World::new(keys.await);
        let principal = world.principal("/secret", [Some(KEY), Some(APP_SECRET), None]).await;
        let manager = world.keys.manager();
        let new = NewKey::new("derived");
        let made = manager.create(&Authority::principal(&principal), new).await.unwrap();
        assert_eq!(made.key.allowed_addresses, networks(expected), "{of_key:?} and {of_app:?}");
    }
}

/// A caller that expects the revocation of its app cannot create a key after it, however long the request takes.
#[tokio::test]
async fn a_caller_with_a_revoked_companion_cannot_create_a_key() {
    let write = ScopeSet::parse_list(["api-keys:write"]).unwrap();
    let may_write = |record: &mut KeyRecord| record.scopes = write.clone();
    let stored = app(APP_SECRET, "app_1", may_write);
    let keys = store([record(KEY, may_write), stored.clone()]).await;
    let world = World::new(keys.clone());
    let token = world.grant(KEY, APP_SECRET).await;
    let manager = world.keys.manager();
    let by_secret = world.principal("/secret", [Some(KEY), Some(APP_SECRET), None]).await;
    let by_token = world.principal("/token", [Some(KEY), None, Some(&token)]).await;
    let make = async |principal: &Principal| {
        manager.create(&Authority::principal(principal), NewKey::new("derived")).await
    };
    for principal in [&by_secret, &by_token] {
        make(principal).await.unwrap();
    }
    manager.revoke(&Authority::operator(stored.owner.clone()), &stored.id).await.unwrap();
    for principal in [&by_secret, &by_token] {
        assert!(matches!(make(principal).await, Err(ManageError::Forbidden(Forbidden::Ended))));
    }
}

#[tokio::test]
async fn a_use_is_noted_of_both() {
    for answers in [Answers::AtOnce, Answers::Later] {
        let keys = keys().await;
        let world = World::new(TestStore::new(keys.clone(), answers));
        let used = async |id| {
            world.keys.flush().await.unwrap();
            keys.find(KeySelector::Id(&id)).await.unwrap().unwrap().last_used_at
        };
        let (key, app_1, app_2) =
            (record(KEY, |_| {}).id, "app_1".parse().unwrap(), "app_2".parse().unwrap());
        let bad = UNKNOWN_KEY;
        world.get("/secret", [Some(bad), Some(APP_SECRET), None]).await;
        assert_eq!((used(key).await, used(app_1).await), (None, None), "rejected");
        let token = world.grant(KEY, APP_SECRET).await;
        assert_eq!((used(key).await, used(app_1).await), (Some(START), Some(START)), "{answers:?}");
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.with_token(KEY, &token).await, "ok");
        let now = Some(world.clock.now().timestamp());
        assert_eq!((used(key).await, used(app_1).await, used(app_2).await), (now, now, None), "{answers:?}");
    }
}

/// A fault of each part and each kind: missing before wrong, the key before the secret before the token.
#[tokio::test]
async fn the_first_fault_decides_the_response() {
    for answers in [Answers::AtOnce, Answers::Later] {
        let test = Owner::organization("acme".parse().unwrap(), Mode::Test);
        let other = Owner::organization("other".parse().unwrap(), Mode::Live);
        let keys = keys().await;
        for (owner, secret, id) in [
            (test, "app_test23def456ghi789jkl012mno345pq", "app_3"),
            (other, "app_othr23def456ghi789jkl012mno345pq", "app_4"),
        ] {
            keys.insert(app(secret, id, |app| app.owner = owner), None).await.unwrap();
        }
        let world = World::new(TestStore::new(keys, answers));
        let token = world.grant(KEY, APP_SECRET).await;
        let (good_key, good, token) = (Some(KEY), Some(APP_SECRET), Some(&*token));
        let (unknown, junk) = (Some("app_000000000000000000000000000000xx"), Some("junk"));
        let malformed = "CredentialMalformed(Key(Prefix))";
        let no_token = r#"CredentialMalformed(Other("it is no session token of this application"))"#;
        for (path, parts, expected) in [
            ("/all", [good_key, good, token], "ok"),
            ("/key", [None, None, None], "CredentialMissing"),
            ("/all", [None, junk, junk], "CredentialMissing"),
            ("/all", [Some(""), junk, junk], "CredentialMissing"),
            ("/all", [junk, None, None], r#"CompanionMissing { rule: "" }"#),
            ("/secret", [junk, Some(" "), junk], r#"CompanionMissing { rule: "secret" }"#),
            ("/all", [junk, junk, None], "SessionTokenMissing"),
            ("/token", [junk, junk, Some("")], "SessionTokenMissing"),
            ("/all", [junk, junk, junk], malformed),
            ("/all", [good_key, junk, junk], &format!("CompanionInvalid({malformed})")),
            ("/all", [good_key, good, junk], no_token),
            ("/key", [good_key, None, junk], no_token),
            ("/key", [good_key, None, Some("two words")], "CredentialMalformed(NotVisibleAscii)"),
            ("/key", [good_key, junk, None], &format!("CompanionInvalid({malformed})")),
            ("/secret", [Some(UNKNOWN_KEY), unknown, None], "KeyUnknown"),
            ("/secret", [good_key, unknown, None], "CompanionInvalid(KeyUnknown)"),
            ("/all", [good_key, unknown, token], "CompanionInvalid(KeyUnknown)"),
            ("/all", [Some(UNKNOWN_KEY), good, token], "KeyUnknown"),
            ("/secret", [good_key, Some("app_test23def456ghi789jkl012mno345pq"), None], "CompanionMismatch"),
            ("/secret", [good_key, Some("app_othr23def456ghi789jkl012mno345pq"), None], "CompanionMismatch"),
            ("/nowhere", [good_key, None, None], r#"CompanionMissing { rule: "" }"#),
            ("/nowhere", [good_key, good, None], "ok"),
            ("//key", [good_key, good, None], "SessionTokenMissing"),
            ("//key", [good_key, good, token], "ok"),
        ] {
            let response = world.get(path, parts).await;
            assert_eq!(reason(&response), expected, "{path} {parts:?} {answers:?}");
        }
    }
}

#[tokio::test]
async fn a_repeated_part_is_ambiguous() {
    let world = World::new(keys().await);
    for name in [X_API_KEY, X_SECRET, X_TOKEN] {
        let token = world.grant(KEY, APP_SECRET).await;
        let mut request = Request::get("/all").body(()).unwrap();
        request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
        for (field, value) in [(X_API_KEY, KEY), (X_SECRET, APP_SECRET), (X_TOKEN, &token)] {
            request.headers_mut().append(field, value.parse().unwrap());
        }
        let twice = request.headers()[&name].clone();
        request.headers_mut().append(&name, twice);
        let response = world.keys.layer().layer(service_fn(whoami)).oneshot(request).await.unwrap();
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert_eq!(rejection.kind(), ErrorKind::AmbiguousCredentials, "{name}");
    }
}

#[tokio::test]
async fn a_failing_store_is_503_and_reveals_nothing_about_the_parts() {
    for answers in [Answers::WithAnError, Answers::WithAPanic, Answers::WithAPanicLater] {
        let world = World::new(TestStore::new(keys().await, answers));
        let response = world.get("/secret", [Some(KEY), Some(APP_SECRET), None]).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{answers:?}");
    }
}

#[tokio::test]
async fn a_store_that_answers_with_another_key_is_at_fault_and_not_the_companion() {
    struct Always(Arc<KeyRecord>);

    impl KeyStore for Always {
        fn find(&self, _: KeySelector<'_>) -> Lookup {
            Lookup::ready(Ok(Some(self.0.clone())))
        }
    }

    let token = World::new(keys().await).grant(KEY, APP_SECRET).await;
    let world = World::new(ReadOnly::new(Always(Arc::new(record(KEY, |_| {})))));
    let response = world.get("/token", [Some(KEY), None, Some(&token)]).await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(reason(&response).starts_with("StoreFailed"), "{}", reason(&response));
}

#[tokio::test]
async fn each_request_makes_two_lookups_whichever_part_is_bad() {
    for answers in [Answers::AtOnce, Answers::Later] {
        let store = TestStore::new(keys().await, answers);
        let world = World::new(store.clone());
        let token = world.grant(KEY, APP_SECRET).await;
        let unknown = Some("app_000000000000000000000000000000xx");
        for (path, parts, lookups) in [
            ("/key", [Some(KEY), None, None], 1),
            ("/all", [Some(KEY), Some(APP_SECRET), Some(&*token)], 2),
            ("/token", [Some(KEY), None, Some(&token)], 2),
            ("/secret", [Some(UNKNOWN_KEY), unknown, None], 2),
            ("/token", [Some(UNKNOWN_KEY), None, Some(&token)], 2),
            ("/all", [Some("junk"), unknown, Some(&token)], 0),
        ] {
            let before = store.lookups();
            world.get(path, parts).await;
            assert_eq!(store.lookups() - before, lookups, "{path} {parts:?} {answers:?}");
        }
    }
}

#[tokio::test]
async fn a_single_part_is_not_accepted_as_anonymous() {
    let world = World::with(keys().await, ApiKeysBuilder::allow_anonymous);
    let service = ServiceBuilder::new().layer(world.keys.layer()).service(service_fn(whoami));
    let with = |name: Option<HeaderName>| {
        let mut request = Request::get("/secret").body(()).unwrap();
        request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
        if let Some(name) = name {
            request.headers_mut().insert(name, APP_SECRET.parse().unwrap());
        }
        request
    };
    let response = service.clone().oneshot(with(None)).await.unwrap();
    assert_eq!(response.body(), "anonymous");
    for name in [X_SECRET, X_TOKEN] {
        let response = service.clone().oneshot(with(Some(name.clone()))).await.unwrap();
        let rejection = response.extensions().get::<Rejection>().unwrap();
        assert!(matches!(rejection.reason(), Reason::CredentialMissing), "{name}");
    }
}

#[tokio::test]
async fn a_key_cannot_be_its_own_companion() {
    let secret = HeaderKey::new(X_SECRET, format());
    let keys = assembly(keys().await).companions(Companions::new(secret)).without_route_table();
    let layer = keys.build().unwrap().layer();
    let mut request = request(KEY);
    request.headers_mut().insert(X_SECRET, KEY.parse().unwrap());
    let response = layer.layer(service_fn(whoami)).oneshot(request).await.unwrap();
    assert_eq!(reason(&response), "CompanionMismatch");
}

#[tokio::test]
async fn no_part_is_in_debug_output() {
    let world = World::new(keys().await);
    let token = world.grant(KEY, APP_SECRET).await;
    let mut request = request(KEY);
    request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
    *request.uri_mut() = "/all".parse().unwrap();
    request.headers_mut().insert(X_SECRET, APP_SECRET.parse().unwrap());
    request.headers_mut().insert(X_TOKEN, token.parse().unwrap());
    let service = world.keys.layer().layer(service_fn(async |request: Request<()>| {
        let seen = format!("{request:?} {:?}", Principal::from_extensions(request.extensions()));
        Ok::<_, std::convert::Infallible>(Response::new(Bytes::from(seen)))
    }));
    let seen = service.oneshot(request).await.unwrap();
    assert_eq!(seen.status(), 200);
    let seen = std::str::from_utf8(seen.body()).unwrap().to_owned()
        + &format!("{:?} {:?}", world.keys, world.keys.layer());
    let signature = token.rsplit('.').next().unwrap();
    for secret in [KEY, APP_SECRET, signature, SIGNING_SECRET] {
        assert!(!seen.contains(secret), "{seen}");
    }
}
