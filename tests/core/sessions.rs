//! For whom a session acts: tiers, modes and memberships. And what sessions of staff may do with keys.

use std::convert::Infallible;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::clock::ManualClock;
use tower_api_keys::identity::{
    OrganizationPrincipal, OrganizationRule, Role, Session, SessionAuthenticator, SystemPrincipal,
};
use tower_api_keys::key::{Actor, KeyFormat, KeyStatus, Mode, Owner, SecretString, Tenant};
use tower_api_keys::manage::{Authority, Forbidden, KeyChange, KeyManager, ManageError};
use tower_api_keys::rejection::Rejection;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{KeyQuery, StoreError};
use tower_api_keys::{Access, ApiKeys, ApiKeysBuilder, MemoryStore, NewKey, Principal};

use crate::support::START;

const HOUR: Duration = Duration::from_secs(3600);

/// A token is the subject and what the session may act for: `ada.acme-live.acme-test`, `eve.system-live`. The role is the
/// place in this list, and the scope is named after the owner, if the token does not give scopes to all: `eve.a/b~c/d.system-live`.
struct Tokens;

#[async_trait]
impl SessionAuthenticator for Tokens {
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        let mut parts = token.expose_secret().split('.');
        let mut session = Session::new(parts.next().unwrap()).with_expiry(START.saturating_add(HOUR));
        let mut scopes = None;
        for (rank, part) in (1..).zip(parts) {
            let Some(owner) = owner(part) else {
                scopes = ScopeSet::parse_list(part.replace('/', ":").split('~')).ok();
                continue;
            };
            let own = ScopeSet::parse_list([&*format!("{}:use", part.replace('-', "_"))]).unwrap();
            session = session.with_owner(owner, Role::of_rank(rank), scopes.clone().unwrap_or(own));
        }
        Ok(Some(session))
    }
}

/// `acme-live`, `system-test`.
fn owner(text: &str) -> Option<Owner> {
    let (tenant, mode) = text.split_once('-')?;
    let mode = mode.parse().ok()?;
    Some(match tenant {
        "system" => Owner::system(mode),
        organization => Owner::organization(organization.parse().ok()?, mode),
    })
}

fn assembly() -> ApiKeysBuilder {
    ApiKeys::builder(MemoryStore::new(), KeyFormat::new("wfk_").unwrap())
        .bearer()
        .clock(ManualClock::starting_at(START))
        .sessions(Tokens)
        .route("GET", "/plain", Access::AnyKey)
        .route("GET", "/{organization}/invoices", Access::AnyKey)
        .route("GET", "/system", Access::AnyKey.of_system())
        .attach_rejections()
}

fn every_source() -> OrganizationRule {
    OrganizationRule::context()
        .route_parameter("organization")
        .header("x-organization")
        .session_cookie("selected")
        .mode_header("x-mode")
}

/// The caller of an accepted request; the code of a rejected one.
async fn ask(
    keys: &ApiKeys,
    token: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> Result<Request<()>, &'static str> {
    let service = keys.layer().layer(service_fn(async |request: Request<()>| {
        let mut response = Response::new(Bytes::new());
        response.extensions_mut().insert(request);
        Ok::<_, Infallible>(response)
    }));
    let mut request = Request::get(path).header("authorization", format!("Bearer {token}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let mut response = service.oneshot(request.body(()).unwrap()).await.unwrap();
    match response.extensions_mut().remove::<Request<()>>() {
        Some(request) => Ok(request),
        None => Err(response.extensions().get::<Rejection>().unwrap().reason().code()),
    }
}

fn principal(request: &Request<()>) -> &Principal {
    Principal::from_extensions(request.extensions()).unwrap()
}

async fn acts_for(keys: &ApiKeys, token: &str, path: &str, fields: &[(&str, &str)]) -> String {
    match ask(keys, token, path, fields).await {
        Ok(request) => principal(&request).owner().to_string(),
        Err(code) => code.to_owned(),
    }
}

#[tokio::test]
async fn a_session_acts_for_what_it_has_and_the_request_selects() {
    const COOKIE: &str = "cookie";
    const HEADER: &str = "x-organization";
    const MODE: &str = "x-mode";
    let keys = assembly().organization(every_source()).build().unwrap();
    let one = "ada.acme-live";
    let modes = "ada.acme-live.acme-test";
    let two = "ada.acme-live.globex-test";
    let staff = "eve.system-live";
    let both = "eve.system-live.system-test";
    let mixed = "ada.acme-live.system-live";
    type Fields<'f> = &'f [(&'f str, &'f str)];
    let cases: &[(&str, &str, Fields<'_>, &str)] = &[
        // The only organization that a session has needs no selection, and none overrules it.
        (one, "/plain", &[], "acme (live)"),
        (one, "/acme/invoices", &[], "acme (live)"),
        (one, "/globex/invoices", &[], "organization_not_found"),
        (one, "/plain", &[(COOKIE, "selected=acme")], "acme (live)"),
        (one, "/plain", &[(COOKIE, "selected=globex")], "organization_not_found"),
        (one, "/plain", &[(COOKIE, "selected=")], "acme (live)"),
        (one, "/plain", &[(COOKIE, "selected=acme; selected=acme")], "organization_mismatch"),
        (one, "/acme/invoices", &[(COOKIE, "selected=globex")], "acme (live)"),
        (one, "/plain", &[(HEADER, "acme")], "acme (live)"),
        (one, "/plain", &[(HEADER, "globex")], "organization_mismatch"),
        (one, "/plain", &[(MODE, "live")], "acme (live)"),
        (one, "/plain", &[(MODE, "test")], "acting_mode_mismatch"),
        (one, "/acme/invoices", &[(MODE, "test")], "organization_not_found"),
        (one, "/plain", &[(MODE, "Live")], "acting_mode_mismatch"),
        (one, "/plain", &[(MODE, "live"), (MODE, "live")], "acting_mode_mismatch"),
        (one, "/plain", &[(MODE, "")], "acme (live)"),
        (one, "/system", &[], "tier_mismatch"),
        // Of two modes one is named.
        (modes, "/plain", &[], "acting_mode_missing"),
        (modes, "/acme/invoices", &[], "acting_mode_missing"),
        (modes, "/plain", &[(MODE, "test")], "acme (test)"),
        (modes, "/acme/invoices", &[(MODE, "live")], "acme (live)"),
        (modes, "/plain", &[(MODE, "live"), (COOKIE, "selected=acme")], "acme (live)"),
        (modes, "/globex/invoices", &[(MODE, "live")], "organization_not_found"),
        // And of two organizations.
        (two, "/plain", &[], "organization_missing"),
        (two, "/plain", &[(HEADER, "acme")], "organization_missing"),
        (two, "/plain", &[(COOKIE, "selected=globex")], "globex (test)"),
        (two, "/acme/invoices", &[], "acme (live)"),
        (two, "/acme/invoices", &[(MODE, "test")], "organization_not_found"),
        (two, "/plain", &[(MODE, "test")], "globex (test)"),
        (two, "/system", &[], "tier_mismatch"),
        // Staff are in no organization, and act for the one that is named.
        (staff, "/system", &[], "system (live)"),
        (staff, "/system", &[(MODE, "live")], "system (live)"),
        (staff, "/system", &[(MODE, "test")], "acting_mode_mismatch"),
        (staff, "/plain", &[], "organization_missing"),
        (staff, "/plain", &[(HEADER, "acme")], "acme (live)"),
        (staff, "/plain", &[(COOKIE, "selected=acme")], "organization_missing"),
        (staff, "/globex/invoices", &[], "globex (live)"),
        (staff, "/globex/invoices", &[(HEADER, "acme")], "organization_mismatch"),
        (staff, "/acme/invoices", &[(MODE, "test")], "acting_mode_mismatch"),
        (both, "/system", &[], "acting_mode_missing"),
        (both, "/system", &[(MODE, "test")], "system (test)"),
        (both, "/acme/invoices", &[], "acting_mode_missing"),
        (both, "/acme/invoices", &[(MODE, "test")], "acme (test)"),
        // A member of an organization is not staff, whatever else it has.
        (mixed, "/plain", &[], "acme (live)"),
        (mixed, "/globex/invoices", &[], "organization_not_found"),
        (mixed, "/system", &[], "tier_mismatch"),
        // A session that has nothing acts for nothing.
        ("ada", "/plain", &[], "organization_missing"),
        ("ada", "/acme/invoices", &[], "organization_not_found"),
        ("ada", "/system", &[], "tier_mismatch"),
        ("ada", "/none", &[], "route_not_covered"),
        (staff, "/none", &[], "route_not_covered"),
    ];
    for (token, path, fields, want) in cases {
        assert_eq!(acts_for(&keys, token, path, fields).await, *want, "{token} {path} {fields:?}");
    }
}

/// Whatever a request says, a session acts with a membership of its own, and with its scopes and role alone.
#[tokio::test]
async fn no_combination_gives_more_than_a_membership() {
    let keys = assembly().organization(every_source()).build().unwrap();
    let all = ["acme-live", "acme-test", "globex-live", "system-live", "system-test"];
    let named = ["", "acme", "globex", "nowhere"];
    for chosen in 0..1 << all.len() {
        let own: Vec<&str> =
            (0..all.len()).filter(|bit| chosen >> bit & 1 == 1).map(|bit| all[bit]).collect();
        let token = ["ada"].iter().chain(&own).copied().collect::<Vec<_>>().join(".");
        let owners: Vec<Owner> = own.iter().map(|text| owner(text).unwrap()).collect();
        let is_staff = !owners.is_empty() && owners.iter().all(|owner| owner.tenant == Tenant::System);
        for path in ["/plain", "/acme/invoices", "/nowhere/invoices", "/system"] {
            for (header, cookie, mode) in named.iter().flat_map(|header| {
                named.iter().flat_map(move |cookie| ["", "live", "test"].map(|mode| (header, cookie, mode)))
            }) {
                let cookie = format!("selected={cookie}");
                let fields = [("x-organization", *header), ("cookie", &*cookie), ("x-mode", mode)];
                let case = format!("{token} {path} {fields:?}");
                let Ok(request) = ask(&keys, &token, path, &fields).await else { continue };
                let caller = principal(&request);
                let is_of_system = SystemPrincipal::from_extensions(request.extensions()).is_some();
                let organization = OrganizationPrincipal::from_extensions(request.extensions());
                assert_eq!((caller.is_of_system(), is_of_system), (is_staff, is_staff), "{case}");
                assert_eq!(organization.is_some(), path != "/system", "{case}");
                assert!(mode.is_empty() || caller.mode().as_str() == mode, "{case}");
                let by = match is_staff {
                    true => Owner::system(caller.mode()),
                    false => caller.owner().clone(),
                };
                let place = owners.iter().position(|owner| *owner == by).expect("a membership of its own");
                assert_eq!(caller.role(), Some(Role::of_rank(place as u8 + 1)), "{case}");
                let scope = format!("{}:use", own[place].replace('-', "_"));
                assert_eq!(caller.scopes(), &ScopeSet::parse_list([&*scope]).unwrap(), "{case}");
                if is_staff && path != "/system" {
                    let named = path.strip_suffix("/invoices").map_or(*header, |path| &path[1..]);
                    assert_eq!(caller.organization().unwrap().as_str(), named, "{case}");
                }
                let selections = [*header, path.strip_suffix("/invoices").map_or("", |path| &path[1..])];
                for named in selections.into_iter().filter(|named| !named.is_empty() && path != "/system") {
                    assert_eq!(caller.organization().unwrap().as_str(), named, "{case}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_no_request_can_select_is_the_applications_mistake() {
    let without_mode = OrganizationRule::context().route_parameter("organization");
    let keys = assembly().organization(without_mode).build().unwrap();
    assert_eq!(acts_for(&keys, "ada.acme-live.acme-test", "/acme/invoices", &[]).await, "misconfigured");
    assert_eq!(acts_for(&keys, "eve.system-live.system-test", "/system", &[]).await, "misconfigured");
    assert_eq!(acts_for(&keys, "ada.acme-live.acme-test", "/plain", &[]).await, "misconfigured");
    assert_eq!(acts_for(&keys, "ada.acme-live.globex-live", "/plain", &[]).await, "organization_missing");
    let keys = assembly().organization(OrganizationRule::context()).build().unwrap();
    assert_eq!(acts_for(&keys, "ada.acme-live.globex-live", "/plain", &[]).await, "misconfigured");
    assert_eq!(acts_for(&keys, "ada.acme-live", "/plain", &[]).await, "acme (live)");
}

#[tokio::test]
async fn the_mode_field_never_overrules_a_key() {
    let keys = assembly().organization(every_source()).build().unwrap();
    for (tenant, path, fields) in [
        ("acme-live", "/plain", &[][..]),
        ("acme-test", "/acme/invoices", &[]),
        ("system-test", "/system", &[]),
        ("system-live", "/plain", &[("x-organization", "acme")]),
    ] {
        let owner = owner(tenant).unwrap();
        let authority = Authority::operator(owner.clone());
        let key = keys.manager().create(&authority, NewKey::new("key")).await.unwrap();
        let secret = key.secret.expose_secret();
        for mode in ["", "live", "test", "Test"] {
            let fields = [fields, &[("x-mode", mode)]].concat();
            let answer = ask(&keys, secret, path, &fields).await;
            let answer = answer.map(|request| principal(&request).mode());
            let want = match mode.is_empty() || mode == owner.mode.as_str() {
                true => Ok(owner.mode),
                false => Err("acting_mode_mismatch"),
            };
            assert_eq!(answer, want, "{tenant} {path} {mode:?}");
        }
    }
}

struct Support {
    keys: ApiKeys,
    clock: ManualClock,
}

impl Support {
    fn new() -> Self {
        let clock = ManualClock::starting_at(START);
        let keys = assembly().clock(clock.clone()).organization(every_source()).build().unwrap();
        Self { keys, clock }
    }

    fn manager(&self) -> &KeyManager {
        self.keys.manager()
    }

    async fn staff(&self, token: &str) -> SystemPrincipal {
        let request = ask(&self.keys, token, "/system", &[]).await.unwrap();
        SystemPrincipal::from_extensions(request.extensions()).unwrap()
    }
}

/// With layers of their own, an organization is selected by `authorize`.
#[tokio::test]
async fn until_it_is_selected_a_session_acts_for_its_only_owner_or_for_none() {
    let keys = assembly().organization(every_source()).build().unwrap();
    for (token, want) in [
        ("ada.acme-live", "acme (live)"),
        ("eve.system-live", "system (live)"),
        ("ada.acme-live.globex-live", ""),
        ("eve.system-live.system-test", ""),
    ] {
        let inner = service_fn(async |request: Request<()>| {
            let caller = Principal::from_extensions(request.extensions());
            let owner = caller.map(|caller| caller.owner().to_string()).unwrap_or_default();
            Ok::<_, Infallible>(Response::new(Bytes::from(owner)))
        });
        let request = Request::get("/plain").header("authorization", format!("Bearer {token}"));
        let response = keys.authenticate().layer(inner).oneshot(request.body(()).unwrap()).await.unwrap();
        assert_eq!(response.body(), want, "{token}");
    }
    let keys = assembly().organization(OrganizationRule::context()).build().unwrap();
    assert_eq!(acts_for(&keys, "eve.system-live.system-test", "/system", &[]).await, "misconfigured");
}

#[tokio::test]
async fn staff_manage_the_keys_of_every_organization_and_are_recorded() {
    let support = Support::new();
    let eve = support.staff("eve.api-keys/read~api-keys/write.system-live").await;
    let eve_id = *eve.principal().key_id();
    let session = Session::new("eve");
    assert_eq!((session.subject(), session.id()), ("eve", &eve_id), "for the application to find the person");
    let acme = owner("acme-live").unwrap();
    let of_acme = Authority::system(&eve, acme.clone());

    // More than eve holds: what a customer's key may do is not what staff may do.
    let new = NewKey::new("Production").scopes(["invoice:read", "api-keys:write"]);
    let key = support.manager().create(&of_acme, new).await.unwrap();
    assert_eq!((&key.key.owner, &key.key.created_by), (&acme, &Some(Actor::Session(eve_id))));
    let raised = KeyChange::new().limit("requests", 5_000);
    let raised = support.manager().update(&of_acme, &key.key.id, raised).await.unwrap();
    assert_eq!(raised.limits["requests"].get(), 5_000);

    // By itself a session is bound to what it holds, in whatever organization it acts.
    let request = ask(&support.keys, "eve.api-keys/write.system-live", "/acme/invoices", &[]).await.unwrap();
    let bound = Authority::principal(principal(&request));
    let more = KeyChange::new().limit("requests", 9_000);
    let refused = support.manager().update(&bound, &key.key.id, more).await;
    assert!(matches!(refused, Err(ManageError::Forbidden(Forbidden::Scopes(_)))), "{refused:?}");
    assert_eq!(support.manager().disable(&bound, &key.key.id).await.unwrap().status, KeyStatus::Disabled);

    let leaked = support.manager().find_by_text(key.secret.expose_secret()).await.unwrap().unwrap();
    let of_leaked = Authority::system(&eve, leaked.owner);
    let revoked = support.manager().revoke_with_descendants(&of_leaked, &leaked.id).await.unwrap();
    assert_eq!(revoked[0].status, KeyStatus::Revoked);
}

#[tokio::test]
async fn staff_need_the_scope_the_mode_and_a_session_that_has_not_ended() {
    let support = Support::new();
    let (live, test) = (owner("acme-live").unwrap(), owner("acme-test").unwrap());
    let operator = Authority::operator(live.clone());
    let key = support.manager().create(&operator, NewKey::new("key")).await.unwrap().key;
    let of_test = Authority::operator(test.clone());
    let test_key = support.manager().create(&of_test, NewKey::new("key")).await.unwrap().key;

    let reader = support.staff("eve.api-keys/read.system-live").await;
    let authority = Authority::system(&reader, live.clone());
    assert_eq!(support.manager().list(&authority, &KeyQuery::default()).await.unwrap().keys.len(), 1);
    let refused = support.manager().revoke(&authority, &key.id).await;
    assert!(matches!(refused, Err(ManageError::Forbidden(Forbidden::ManagementScope(_)))), "{refused:?}");

    let writer = support.staff("eve.api-keys/read~api-keys/write.system-live").await;
    let other_mode = Authority::system(&writer, test);
    assert!(matches!(support.manager().get(&other_mode, &test_key.id).await, Err(ManageError::NotFound)));
    let refused = support.manager().create(&other_mode, NewKey::new("key")).await;
    assert!(matches!(refused, Err(ManageError::NotFound)), "{refused:?}");

    let authority = Authority::system(&writer, live);
    let imported = SecretString::from("wfk_abc123def456ghi789jkl012mno345pq".to_owned());
    let refused = support.manager().import(&authority, NewKey::new("old"), imported).await;
    assert!(matches!(refused, Err(ManageError::Forbidden(Forbidden::OperatorOnly))), "{refused:?}");

    support.clock.advance(HOUR);
    let refused = support.manager().create(&authority, NewKey::new("late")).await;
    assert!(matches!(refused, Err(ManageError::Forbidden(Forbidden::Ended))), "{refused:?}");
}

/// A key of the system has made keys in two organizations.
#[tokio::test]
async fn staff_revoke_a_system_key_with_what_it_made_in_every_organization() {
    for as_operator in [true, false] {
        let support = Support::new();
        let system = Owner::system(Mode::Live);
        let new = NewKey::new("Provisioning").scopes(["api-keys:write", "invoice:read"]);
        let root = support.manager().create(&Authority::operator(system.clone()), new).await.unwrap();
        for path in ["/acme/invoices", "/globex/invoices"] {
            let request = ask(&support.keys, root.secret.expose_secret(), path, &[]).await.unwrap();
            let authority = Authority::principal(principal(&request));
            support.manager().create(&authority, NewKey::new("made").scope("invoice:read")).await.unwrap();
        }
        let eve = support.staff("eve.api-keys/write.system-live").await;
        let authority = match as_operator {
            true => Authority::system(&eve, system),
            false => Authority::principal(eve.principal()),
        };
        let revoked = support.manager().revoke_with_descendants(&authority, &root.key.id).await.unwrap();
        let mut owners: Vec<_> = revoked.iter().map(|key| key.owner.to_string()).collect();
        owners.sort();
        assert_eq!(owners, ["acme (live)", "globex (live)", "system (live)"]);
        assert!(revoked.iter().all(|key| key.status == KeyStatus::Revoked), "{revoked:?}");
    }
}
