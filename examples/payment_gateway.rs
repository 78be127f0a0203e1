//! payment-gateway.app: keys of organizations and of the system as bearer tokens, dashboard sessions, the whole life
//! cycle of keys, and portal links that open once.
//!
//! ```text
//! cargo run --example payment_gateway --features full
//! ```
//!
//! It prints the new keys and `curl` lines to paste. Keys are kept in memory or in the database that `DATABASE_URL`
//! names (`sqlite:keys.db`, `postgres://…`; see `support/mod.rs`); everything else is in memory, including portal
//! links and organizations.
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one).

// An example writes to standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, REFERRER_POLICY};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use support::{Store, close, listen, log_to_stderr, open_store, stopped};
use tower_api_keys::clock::Timestamp;
use tower_api_keys::identity::{
    OrganizationPrincipal, Owned, Session, SessionAuthenticator, SystemPrincipal,
};
use tower_api_keys::key::{Digest, KeyStatus, Mode, OrganizationId, Owner, Peppers, SecretString, Tenant};
use tower_api_keys::manage::{KeyAction, KeyManager, ManageError};
use tower_api_keys::presets::payment_gateway::{
    ADMIN, VIEWER, error_body, organization_scopes, payment_gateway,
};
use tower_api_keys::rejection::{ErrorKind, ErrorTable};
use tower_api_keys::request::RequestId;
use tower_api_keys::route::RouteMatching;
use tower_api_keys::scope::{Scope, ScopeRequirement, ScopeSet};
use tower_api_keys::store::{KeyQuery, StoreError};
use tower_api_keys::{ApiKeys, ApiKeysBuilder, Authority, KeyFormat, MemoryStore, NewKey};

/// The scopes of an integration as published, and those for managing keys.
const SCOPES: [&str; 6] =
    ["checkout:create", "transaction:*", "client:*", "invoice:*", "portal:create", "api_key:*"];

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("payment_gateway: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    log_to_stderr()?;
    let (ours, other): (OrganizationId, OrganizationId) = ("org_demo".parse()?, "org_other".parse()?);
    let live = |organization: &OrganizationId| Owner::organization(organization.clone(), Mode::Live);
    let mut sessions = Sessions::default();
    let session = |name, role| Session::new(name).with_owner(live(&ours), role, organization_scopes());
    let admin = session("ada", ADMIN).with_owner(live(&other), VIEWER, organization_scopes());
    let admin = sessions.begin(admin)?;
    let viewer = sessions.begin(session("vera", VIEWER))?;
    let store = open_store().await?;
    let keys = assembly(store.clone()).sessions(sessions).build()?;

    let mint = async |owner: Owner, name, scopes: ScopeSet| {
        let key = NewKey::new(name).scopes(scopes);
        system_manager(&keys).create(&Authority::operator(owner), key).await
    };
    let whole = mint(live(&ours), "Integration", ScopeSet::parse_list(SCOPES)?).await?;
    let checkout = mint(live(&ours), "Checkout", ScopeSet::parse_list(["checkout:create"])?).await?;
    let read_only = mint(live(&ours), "Reports", ScopeSet::parse_list(["transaction:read"])?).await?;
    let of_other = mint(live(&other), "Integration", ScopeSet::parse_list(SCOPES)?).await?;
    let system = mint(Owner::system(Mode::Live), "System", system_scopes()).await?;

    let (listener, stopped) = (listen().await?, stopped()?);
    let base = format!("http://{}/api/v1", listener.local_addr()?);
    let application =
        Application { links: portal_links(store), base: base.as_str().into(), data: Arc::default() };
    for (organization, name) in [(&ours, "Demo"), (&other, "Other")] {
        application.lock().organizations.insert(organization.clone(), name.to_owned());
    }
    let client = application.lock().add::<Client>(&live(&ours), json!({ "name": "First client" }));
    let client = client["id"].as_str().unwrap_or_default();
    let app = app(&keys, application);
    introduce(
        &base,
        ours.as_str(),
        [
            ("ORGANIZATION_API_KEY", whole.secret.expose_secret()),
            ("CHECKOUT_API_KEY", checkout.secret.expose_secret()),
            ("READ_ONLY_API_KEY", read_only.secret.expose_secret()),
            ("OTHER_ORGANIZATION_API_KEY", of_other.secret.expose_secret()),
            ("SYSTEM_API_KEY", system.secret.expose_secret()),
            ("DASHBOARD_SESSION", admin.expose_secret()),
            ("VIEWER_SESSION", viewer.expose_secret()),
            ("OTHER_ORGANIZATION_ID", other.as_str()),
            ("CLIENT_ID", client),
        ],
    );
    let background = tokio::spawn(keys.background());
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    close(&keys, background).await;
    Ok(())
}

/// The published system, served by axum below `/api/v1`.
fn assembly(store: Store) -> ApiKeysBuilder<ErrorTable> {
    payment_gateway(store).routes_below("/api/v1").match_routes(RouteMatching::MatchedPath).record_last_use()
}

/// All scopes that a system key can have: those of organizations, and more.
fn system_scopes() -> ScopeSet {
    let system: Scope = "system:*".parse().expect("the scope is well formed");
    organization_scopes().into_iter().chain([system]).collect()
}

/// Manages the keys of the system; [`ApiKeys::manager`] manages those of organizations.
fn system_manager(keys: &ApiKeys<ErrorTable>) -> KeyManager {
    keys.manager().clone().with_grantable_scopes(system_scopes())
}

/// Makes one-time portal links and redeems them. They have their own store; the keys of their creators are in
/// `callers`.
fn portal_links(callers: Store) -> KeyManager {
    let format = KeyFormat::new("pl_").expect("a prefix makes a key format");
    KeyManager::new(MemoryStore::new(), format)
        .with_callers_in(callers)
        .with_scope_for(KeyAction::Create, ScopeRequirement::from_static("portal:create"))
}

/// The routes and the layers around them. The last layer added is the outermost and runs first.
///
/// `layer` would combine the three that authenticate. With three, the application's own fallbacks respond to an
/// authenticated caller whose request has no route.
fn app(keys: &ApiKeys<ErrorTable>, application: Application) -> Router {
    let system_keys = keys.key_routes_of(system_manager(keys)).into_router();
    let api = Router::new()
        .route("/checkouts/{site}/create", post(create_checkout))
        .route("/transactions", get(list::<Transaction>))
        .route("/clients", get(list::<Client>).post(create_client))
        .route("/invoices", get(list::<Invoice>).post(create_invoice))
        .route("/invoices/{id}", put(update_invoice))
        .route("/invoices/{id}/schedule", post(schedule_invoice))
        .route("/portal/links", post(create_portal_link))
        .route("/data-io", post(export))
        .route("/dashboard/overview", get(overview))
        .route("/dashboard/{orgId}/overview", get(overview))
        .nest("/organizations/{orgId}/api-keys", keys.key_routes())
        .route("/organizations", get(list_organizations).post(create_organization))
        .route("/system/settings", get(read_settings).put(update_settings))
        .route("/system/health", get(health))
        .nest("/system/api-keys", system_keys)
        .route_layer(middleware::from_fn_with_state(application.clone(), organization_exists))
        .route_layer(keys.authorize())
        .fallback(async || not_found())
        .method_not_allowed_fallback(async || failure(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"))
        .layer(keys.rate_limit())
        .layer(keys.authenticate())
        // A link needs no key. `HEAD`, which mail scanners send, opens nothing.
        .route("/portal/links/{token}", get(open_portal_link).head(async || StatusCode::METHOD_NOT_ALLOWED))
        .with_state(application);
    // There are no limits by address: the outermost layer gives each request its identifier, even without a key.
    Router::new()
        .nest("/api/v1", api)
        .layer(middleware::from_fn(write_request_id))
        .layer(keys.limit_addresses())
}

/// Dashboard sessions by the digest of their tokens. A real application verifies a signed token here, or asks a
/// service that does.
#[derive(Default)]
struct Sessions(HashMap<Digest, Session>);

impl Sessions {
    /// A session of one hour for a person who has just logged in.
    fn begin(&mut self, session: Session) -> Result<SecretString, Box<dyn Error>> {
        let token = KeyFormat::new("dash_")?.generate(Mode::Live)?.secret;
        let session = session.with_expiry(in_minutes(60));
        self.0.insert(Peppers::none().digest(token.expose_secret()), session);
        Ok(token)
    }
}

#[async_trait]
impl SessionAuthenticator for Sessions {
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        Ok(self.0.get(&Peppers::none().digest(token.expose_secret())).cloned())
    }
}

/// The state of the handlers. A real application uses a database.
#[derive(Clone)]
struct Application {
    links: KeyManager,
    base: Arc<str>,
    data: Arc<Mutex<Data>>,
}

struct Data {
    organizations: BTreeMap<OrganizationId, String>,
    /// All resources, each with its owner.
    things: BTreeMap<String, Owned<Thing>>,
    last_number: u64,
    portal_link_ttl_minutes: u32,
}

impl Default for Data {
    fn default() -> Self {
        let (organizations, things) = Default::default();
        Self { organizations, things, last_number: 0, portal_link_ttl_minutes: 60 }
    }
}

struct Thing {
    kind: &'static str,
    content: Value,
}

/// The kinds of resources that can be listed.
trait Kind {
    const NAME: &str;
}

struct Transaction;
struct Client;
struct Invoice;

impl Kind for Transaction {
    const NAME: &str = "transaction";
}

impl Kind for Client {
    const NAME: &str = "client";
}

impl Kind for Invoice {
    const NAME: &str = "invoice";
}

impl Application {
    fn lock(&self) -> MutexGuard<'_, Data> {
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Data {
    fn new_id(&mut self, kind: &str) -> String {
        self.last_number += 1;
        format!("{kind}_{}", self.last_number)
    }

    fn add<K: Kind>(&mut self, owner: &Owner, mut content: Value) -> Value {
        let id = self.new_id(K::NAME);
        content["id"] = id.clone().into();
        let thing = Thing { kind: K::NAME, content: content.clone() };
        self.things.insert(id, Owned::new(owner.clone(), thing));
        content
    }

    /// Another owner's resource is not found, like a missing one.
    fn find<K: Kind>(&mut self, caller: &OrganizationPrincipal, id: &str) -> Option<&mut Value> {
        let found = self.things.get_mut(id).and_then(|thing| thing.get_mut(caller.principal()));
        found.filter(|thing| thing.kind == K::NAME).map(|thing| &mut thing.content)
    }

    fn all<K: Kind>(&self, caller: &OrganizationPrincipal) -> Vec<&Value> {
        let own = self.things.values().filter_map(|thing| thing.get(caller.principal()));
        own.filter(|thing| thing.kind == K::NAME).map(|thing| &thing.content).collect()
    }
}

/// The vendor's plugins treat any status other than 200 as a failure, so creations return 200 as well.
type Answer = Result<Json<Value>, Response>;

/// Only the application knows the existing organizations, and a system key can select any.
async fn organization_exists(
    State(application): State<Application>,
    request: Request,
    next: Next,
) -> Response {
    let selected = OrganizationPrincipal::from_extensions(request.extensions());
    let exists =
        |caller: OrganizationPrincipal| application.lock().organizations.contains_key(caller.organization());
    if selected.is_none_or(exists) { next.run(request).await } else { not_found() }
}

async fn list<K: Kind>(caller: OrganizationPrincipal, State(application): State<Application>) -> Answer {
    Ok(Json(json!({ "data": application.lock().all::<K>(&caller) })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCheckout {
    amount: u64,
    currency: String,
}

async fn create_checkout(
    caller: OrganizationPrincipal,
    State(application): State<Application>,
    Id(site): Id,
    Input(NewCheckout { amount, currency }): Input<NewCheckout>,
) -> Answer {
    let content = json!({ "site": site, "amount": amount, "currency": currency, "status": "pending" });
    let mut data = application.lock();
    let transaction = data.add::<Transaction>(caller.principal().owner(), content);
    Ok(Json(json!({ "id": data.new_id("checkout"), "transaction": transaction })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewClient {
    name: String,
}

async fn create_client(
    caller: OrganizationPrincipal,
    State(application): State<Application>,
    Input(NewClient { name }): Input<NewClient>,
) -> Answer {
    Ok(Json(application.lock().add::<Client>(caller.principal().owner(), json!({ "name": name }))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewInvoice {
    client_id: String,
    amount: u64,
}

async fn create_invoice(
    caller: OrganizationPrincipal,
    State(application): State<Application>,
    Input(NewInvoice { client_id, amount }): Input<NewInvoice>,
) -> Answer {
    let mut data = application.lock();
    data.find::<Client>(&caller, &client_id).ok_or_else(not_found)?;
    let content = json!({ "clientId": client_id, "amount": amount, "schedule": null });
    Ok(Json(data.add::<Invoice>(caller.principal().owner(), content)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InvoiceChange {
    amount: u64,
}

async fn update_invoice(
    caller: OrganizationPrincipal,
    State(application): State<Application>,
    Id(id): Id,
    Input(InvoiceChange { amount }): Input<InvoiceChange>,
) -> Answer {
    let mut data = application.lock();
    let invoice = data.find::<Invoice>(&caller, &id).ok_or_else(not_found)?;
    invoice["amount"] = amount.into();
    Ok(Json(invoice.clone()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Schedule {
    every_days: u16,
}

/// Recurring schedules are part of invoices, so this needs `invoice:execute`.
async fn schedule_invoice(
    caller: OrganizationPrincipal,
    State(application): State<Application>,
    Id(id): Id,
    Input(Schedule { every_days }): Input<Schedule>,
) -> Answer {
    let mut data = application.lock();
    let invoice = data.find::<Invoice>(&caller, &id).ok_or_else(not_found)?;
    invoice["schedule"] = json!({ "everyDays": every_days });
    Ok(Json(invoice.clone()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct NewPortalLink {
    client_id: String,
    ttl_minutes: Option<std::num::NonZeroU32>,
}

/// A shorter lifetime than the system's can be requested; a longer one is clamped.
async fn create_portal_link(
    caller: OrganizationPrincipal,
    State(application): State<Application>,
    Input(NewPortalLink { client_id, ttl_minutes }): Input<NewPortalLink>,
) -> Answer {
    let policy = {
        let mut data = application.lock();
        data.find::<Client>(&caller, &client_id).ok_or_else(not_found)?;
        data.portal_link_ttl_minutes
    };
    let minutes = ttl_minutes.map_or(policy, |asked| asked.get().min(policy));
    let end = in_minutes(minutes);
    let mut link = NewKey::new(client_id);
    link.expires_at = Some(caller.principal().expires_at().map_or(end, |own| own.min(end)));

    let authority = Authority::principal(caller.principal());
    let created = application.links.create(&authority, link).await.map_err(unmanaged)?;
    forget_unopened(&application.links, caller.principal().owner()).await.map_err(unmanaged)?;
    let token = created.secret.expose_secret();
    let lifetime = created.key.expires_at.map(|end| end.saturating_since(created.key.created_at));
    Ok(Json(json!({
        "url": format!("{}/portal/links/{token}", application.base),
        "token": token,
        "ttlMinutes": lifetime.map(|lifetime| lifetime.as_secs().div_ceil(60)),
        "expiresAt": created.key.expires_at.map(|end| end.as_unix_millis() / 1000),
    })))
}

/// Removes expired links. The oldest come first, so one page for each new link is enough.
async fn forget_unopened(links: &KeyManager, owner: &Owner) -> Result<(), ManageError> {
    let operator = Authority::operator(owner.clone());
    for link in links.list(&operator, &KeyQuery::default()).await?.keys {
        if link.status == KeyStatus::Expired {
            match links.delete(&operator, &link.id).await {
                // Another request was faster.
                Ok(()) | Err(ManageError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn open_portal_link(State(application): State<Application>, Id(token): Id) -> Response {
    let mut response = match application.links.redeem(&token).await {
        Ok(opened) => {
            let organization = match &opened.owner.tenant {
                Tenant::Organization(organization) => organization.as_str(),
                Tenant::System => return not_found(),
            };
            Json(json!({ "organizationId": organization, "clientId": opened.name })).into_response()
        }
        Err(error) => unmanaged(error),
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

async fn export(caller: OrganizationPrincipal, State(application): State<Application>) -> Answer {
    let data = application.lock();
    Ok(Json(json!({ "clients": data.all::<Client>(&caller), "invoices": data.all::<Invoice>(&caller) })))
}

async fn overview(caller: OrganizationPrincipal, State(application): State<Application>) -> Answer {
    let data = application.lock();
    Ok(Json(json!({
        "organizationId": caller.organization().as_str(),
        "caller": caller.principal().name(),
        "transactions": data.all::<Transaction>(&caller).len(),
        "clients": data.all::<Client>(&caller).len(),
        "invoices": data.all::<Invoice>(&caller).len(),
    })))
}

async fn list_organizations(_: SystemPrincipal, State(application): State<Application>) -> Answer {
    let data = application.lock();
    let organization = |(id, name): (&OrganizationId, &String)| json!({ "id": id.as_str(), "name": name });
    Ok(Json(json!({ "data": data.organizations.iter().map(organization).collect::<Vec<_>>() })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrganization {
    name: String,
}

async fn create_organization(
    _: SystemPrincipal,
    State(application): State<Application>,
    Input(NewOrganization { name }): Input<NewOrganization>,
) -> Answer {
    // Not a number: after a restart the next organization would get the same one, and with it the keys of the
    // previous one.
    let internal = || failure(StatusCode::INTERNAL_SERVER_ERROR, "internal_error");
    let id = format!("org_{:016x}", getrandom::u64().map_err(|_| internal())?);
    let organization = json!({ "id": id, "name": name });
    application.lock().organizations.insert(id.parse().map_err(|_| internal())?, name);
    Ok(Json(organization))
}

async fn read_settings(_: SystemPrincipal, State(application): State<Application>) -> Answer {
    Ok(Json(json!({ "portalLinkTtlMinutes": application.lock().portal_link_ttl_minutes })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Settings {
    portal_link_ttl_minutes: u32,
}

async fn update_settings(
    _: SystemPrincipal,
    State(application): State<Application>,
    Input(Settings { portal_link_ttl_minutes }): Input<Settings>,
) -> Answer {
    if !(1..=24 * 60).contains(&portal_link_ttl_minutes) {
        return Err(invalid("portalLinkTtlMinutes must be 1 to 1440"));
    }
    application.lock().portal_link_ttl_minutes = portal_link_ttl_minutes;
    Ok(Json(json!({ "portalLinkTtlMinutes": portal_link_ttl_minutes })))
}

async fn health(_: SystemPrincipal, State(application): State<Application>) -> Answer {
    Ok(Json(json!({ "status": "ok", "organizations": application.lock().organizations.len() })))
}

/// The last parameter of the path; one that cannot be parsed is treated as unknown.
struct Id(String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, state: &S) -> Result<Self, Response> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(not_found()),
        }
    }
}

/// A JSON body with the required members and no others.
struct Input<T>(T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Input<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        if !media_type.trim().eq_ignore_ascii_case("application/json") {
            return Err(invalid("The body must be sent as application/json"));
        }
        let body = Bytes::from_request(request, state).await;
        let body = body.map_err(|rejection| failure(rejection.status(), "unreadable_body"))?;
        serde_json::from_slice(&body).map(Self).map_err(|error| invalid(error.to_string()))
    }
}

/// An error of a handler. Attached to the response, so that [`write_request_id`] can rewrite the body.
#[derive(Clone)]
struct Failure {
    code: &'static str,
    text: String,
}

/// An error of a handler, in the published format.
fn error(status: StatusCode, code: &'static str, text: impl Into<String>) -> Response {
    let failure = Failure { code, text: text.into() };
    let body = error_body(code, &failure.text, None);
    (status, [(CONTENT_TYPE, "application/json")], Extension(failure), body).into_response()
}

/// Adds the request's identifier to the errors of handlers, as in those of the layers.
async fn write_request_id(request: Request, next: Next) -> Response {
    let id = RequestId::from_extensions(request.extensions()).cloned();
    let mut response = next.run(request).await;
    if let Some(Failure { code, text }) = response.extensions_mut().remove() {
        *response.body_mut() = error_body(code, &text, id.as_ref()).into();
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    response
}

fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "not_found", "Not found")
}

fn invalid(text: impl Into<String>) -> Response {
    error(StatusCode::BAD_REQUEST, "validation_error", text)
}

fn failure(status: StatusCode, code: &'static str) -> Response {
    error(status, code, status.canonical_reason().unwrap_or("Error"))
}

/// A portal link could not be created or opened.
fn unmanaged(problem: ManageError) -> Response {
    let kind = problem.kind();
    let (code, text) = match kind {
        ErrorKind::NotFound => return not_found(),
        ErrorKind::Invalid => return invalid(problem.to_string()),
        ErrorKind::Unauthenticated => ("unauthorized", "Invalid or missing API key".into()),
        ErrorKind::Forbidden => ("forbidden", format!("Not allowed: {problem}")),
        _ => ("unavailable", "Service temporarily unavailable".into()),
    };
    error(kind.status(), code, text)
}

fn in_minutes(minutes: u32) -> Timestamp {
    Timestamp::from(SystemTime::now()).saturating_add(Duration::from_secs(u64::from(minutes) * 60))
}

fn introduce(base: &str, organization: &str, others: [(&str, &str); 9]) {
    println!("BASE_URL={base}");
    println!("ORGANIZATION_ID={organization}");
    for (name, value) in others {
        println!("{name}={value}");
    }
    let [(_, whole), (_, checkout), _, _, (_, system), (_, session), _, _, (_, client)] = others;
    let json = r#"-H "Content-Type: application/json" -d"#;
    println!();
    println!("# A checkout, and what it made. With the checkout's key alone the list is 403:");
    println!(
        r#"curl -i {base}/checkouts/shop/create -H "Authorization: Bearer {checkout}" {json} '{{"amount": 1200, "currency": "EUR"}}'"#
    );
    println!(r#"curl -i {base}/transactions -H "Authorization: Bearer {whole}""#);
    println!(r#"curl -i {base}/transactions -H "Authorization: Bearer {checkout}""#);
    println!("# Another client, and a link for the first one. Open the link's url twice: it is there once.");
    println!(
        r#"curl -i {base}/clients -H "Authorization: Bearer {whole}" {json} '{{"name": "Second client"}}'"#
    );
    println!(
        r#"curl -i {base}/portal/links -H "Authorization: Bearer {whole}" {json} '{{"clientId": "{client}", "ttlMinutes": 5}}'"#
    );
    println!("# The keys of the organization, by its own key, by the system's, and in a dashboard session:");
    println!(r#"curl -i {base}/organizations/{organization}/api-keys -H "Authorization: Bearer {whole}""#);
    println!(r#"curl -i {base}/organizations/{organization}/api-keys -H "Authorization: Bearer {system}""#);
    println!(
        r#"curl -i {base}/dashboard/overview -H "Authorization: Bearer {session}" -H "Cookie: selectedOrganization={organization}""#
    );
    println!("# Only a system key gets to the system's routes:");
    println!(r#"curl -i {base}/system/health -H "Authorization: Bearer {system}""#);
    println!(r#"curl -i {base}/system/health -H "Authorization: Bearer {whole}""#);
    println!();
    println!("ready");
}

#[cfg(test)]
#[path = "support/routes.rs"]
mod routes;

#[cfg(test)]
mod tests {
    use tower_api_keys::route::Route;

    use super::routes::routes;
    use super::*;

    /// Every application should have this test: it finds a route without a rule before an attacker does.
    #[test]
    fn every_route_has_a_rule_or_is_meant_to_have_none() {
        let store: Store = Arc::new(MemoryStore::new());
        let keys = assembly(store.clone()).build().unwrap();
        let application = Application { links: portal_links(store), base: "".into(), data: Arc::default() };
        let routes = routes(&app(&keys, application)).unwrap();
        let names = |routes: Vec<Route>| routes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let open = ["GET /api/v1/portal/links/{token}", "HEAD /api/v1/portal/links/{token}"];
        assert_eq!(names(keys.uncovered(routes.clone())), open);
        assert_eq!(names(keys.unused(routes)), [""; 0], "rules that cover no route");
    }
}
