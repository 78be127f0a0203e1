//! pasby v1 and v2: an organization's key, an app's secret, and session tokens for v1.
//!
//! ```text
//! cargo run --example pasby_flows --features full
//! ```
//!
//! It prints the new credentials and `curl` lines to paste. Keys and apps are kept in memory or in the database that
//! `DATABASE_URL` names (`sqlite:keys.db`, `postgres://…`; see `support/mod.rs`); everything else is in memory.
//!
//! Every row of the header matrix is served, with `GET` and with `POST`, below `/api/v2` and `/api/v1`:
//!
//! | path | |
//! |---|---|
//! | `/`, `/health/check` | also `/` and `/api/health/check` without a version; show how many calls were metered |
//! | `/identification/same-device`, `…/different-device`, `…/wildcard` | different-device of v2 also grants a token |
//! | `/signing/same-device`, `…/different-device`, `…/wildcard` | wildcard in v2 only |
//! | `/flow/authorize?sub=…&app=…` | v1 only: grants a token |
//! | `/flow/ping`, `/flow/cancel`, `/flow/polling` | |
//! | `/flow/sse` | v2 only: a stream of events |
//! | `/document/signing`, `/document/review`, `/document/refresh` | |
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one), `ADDRESS_LIMIT` (requests a minute for each client
//! address; 100), `TRUSTED_PROXIES` (networks, separated by spaces, whose `cf-connecting-ip`, `x-real-ip` and
//! `X-Forwarded-For` are trusted; none) and `SIGNING_SECRET` (at least 32 bytes; by default random at each start,
//! which invalidates earlier tokens).

// An example writes to standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::collections::HashMap;
use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use axum::extract::{MatchedPath, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Json, Router};
use serde_json::{Value, json};
use support::{Store, close, listen, log_to_stderr, open_store, stopped};
use tower_api_keys::address::ClientAddressSource;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::credential::SessionTokens;
use tower_api_keys::key::{Mode, OrganizationId, Owner, SecretString};
use tower_api_keys::outcome::Call;
use tower_api_keys::presets::pasby::{self, ERRORS, X_ACCESS_TOKEN, app_manager};
use tower_api_keys::rejection::ErrorTable;
use tower_api_keys::route::RouteMatching;
use tower_api_keys::{ApiKeys, ApiKeysBuilder, Authority, KeyFormat, NewKey, Principal, Quota, RateLimit};

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pasby_flows: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    log_to_stderr()?;
    let store = open_store().await?;
    let application = Application::new(SessionTokens::new(signing_secret()?)?);
    let limit = Quota::per_minute(variable("ADDRESS_LIMIT", "100").parse()?)?;
    let keys = assembly(store.clone(), &application)
        .limits([RateLimit::per_address("address", limit)])
        .client_address(behind_proxies(&variable("TRUSTED_PROXIES", "")))
        .build()?;
    let apps = app_manager(store);
    let mint = async |organization: &str, mode| {
        let operator = Authority::operator(Owner::organization(organization.parse()?, mode));
        let key = keys.manager().create(&operator, NewKey::new("First key")).await?;
        let app = apps.create(&operator, NewKey::new("First app")).await?;
        Ok::<_, Box<dyn Error>>((key, app))
    };
    let (test_key, test_app) = mint("org_demo", Mode::Test).await?;
    let (live_key, live_app) = mint("org_demo", Mode::Live).await?;
    let (other_key, other_app) = mint("org_other", Mode::Test).await?;

    let (listener, stopped) = (listen().await?, stopped()?);
    introduce([
        ("BASE_URL", &format!("http://{}", listener.local_addr()?)),
        ("PASBY_API_KEY", test_key.secret.expose_secret()),
        ("PASBY_APP_SECRET", test_app.secret.expose_secret()),
        ("APP_ID", test_app.key.id.as_str()),
        ("CONSUMER_ID", "bcn_demo"),
        ("PASBY_LIVE_API_KEY", live_key.secret.expose_secret()),
        ("PASBY_LIVE_APP_SECRET", live_app.secret.expose_secret()),
        ("LIVE_APP_ID", live_app.key.id.as_str()),
        ("OTHER_PASBY_API_KEY", other_key.secret.expose_secret()),
        ("OTHER_PASBY_APP_SECRET", other_app.secret.expose_secret()),
        ("OTHER_APP_ID", other_app.key.id.as_str()),
    ]);
    let background = tokio::spawn(keys.background());
    let service = app(&keys, application).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stopped).await?;
    close(&keys, background).await;
    Ok(())
}

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// An application with several processes, or whose tokens must survive a restart, configures the secret.
fn signing_secret() -> Result<SecretString, Box<dyn Error>> {
    match env::var("SIGNING_SECRET") {
        Ok(secret) => Ok(secret.into()),
        Err(_) => Ok(KeyFormat::builder("signing-").secret_length(43).build()?.generate(Mode::Live)?.secret),
    }
}

/// The client's address is in `cf-connecting-ip`, `x-real-ip` or `X-Forwarded-For`, the first that exists, of
/// requests from one of these proxies. They must overwrite or remove the first two.
fn behind_proxies(networks: &str) -> ClientAddressSource {
    ClientAddressSource::single_field("cf-connecting-ip", networks.split_whitespace())
        .or_single_field("x-real-ip")
        .or_forwarded_for()
        .from_connect_info()
}

/// The published system, served by axum, with metering.
fn assembly(store: Store, application: &Application) -> ApiKeysBuilder<ErrorTable> {
    let meter = application.meter.clone();
    pasby::pasby(store, application.tokens.clone())
        .match_routes(RouteMatching::MatchedPath)
        .usage(move |call: &Call<'_>| meter.count(call))
        .record_last_use()
}

/// The routes and the layer around them, including fallbacks.
fn app(keys: &ApiKeys<ErrorTable>, application: Application) -> Router {
    let identification = |different_device: MethodRouter<Application>| {
        Router::new()
            .route("/same-device", both(flow))
            .route("/different-device", different_device)
            .route("/wildcard", both(flow))
    };
    let signing = Router::new().route("/same-device", both(flow)).route("/different-device", both(flow));
    let flows =
        Router::new().route("/ping", both(flow)).route("/cancel", both(flow)).route("/polling", both(flow));
    let common = Router::new()
        .route("/", both(health))
        .route("/health/check", both(health))
        .route("/document/signing", both(flow))
        .route("/document/review", both(flow))
        .route("/document/refresh", both(flow));
    let v2 = common
        .clone()
        .nest("/identification", identification(both(flow_with_token)))
        .nest("/signing", signing.clone().route("/wildcard", both(flow)))
        .nest("/flow", flows.clone().route("/sse", both(events)));
    let v1 = common
        .nest("/identification", identification(both(flow)))
        .nest("/signing", signing)
        .nest("/flow", flows.route("/authorize", both(authorize)));
    Router::new()
        .route("/", both(health))
        .route("/api/health/check", both(health))
        .nest("/api/v2", v2)
        .nest("/api/v1", v1)
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(application)
        .layer(keys.layer())
}

fn both<H, T>(handler: H) -> MethodRouter<Application>
where
    H: axum::handler::Handler<T, Application>,
    T: 'static,
{
    on(MethodFilter::GET.or(MethodFilter::POST), handler)
}

/// The state of the handlers.
#[derive(Clone)]
struct Application {
    tokens: SessionTokens,
    meter: Meter,
}

/// `x-access-token` with a token, and `Cache-Control` against caching.
type TokenFields = [(HeaderName, HeaderValue); 2];

impl Application {
    fn new(tokens: SessionTokens) -> Self {
        Self { tokens, meter: Meter::default() }
    }

    /// A token for a caller that has sent an app's secret; `None` otherwise.
    fn session_token(&self, principal: &Principal) -> Option<TokenFields> {
        let token = self.tokens.issue(principal, Timestamp::from(SystemTime::now()))?;
        let mut value = HeaderValue::from_str(token.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some([(X_ACCESS_TOKEN, value), (CACHE_CONTROL, HeaderValue::from_static("no-store"))])
    }
}

/// Calls by organization and mode, as needed for a bill.
#[derive(Clone, Default)]
struct Meter(Arc<Mutex<HashMap<Owner, u64>>>);

impl Meter {
    fn count(&self, call: &Call<'_>) {
        if let Some(principal) = call.principal() {
            let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            *calls.entry(principal.owner().clone()).or_default() += 1;
        }
    }

    fn calls(&self, owner: &Owner) -> u64 {
        let calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(owner).copied().unwrap_or_default()
    }
}

async fn health(principal: Principal, State(application): State<Application>) -> Json<Value> {
    success(json!({ "metered": application.meter.calls(principal.owner()) }))
}

/// Stands for the work of every route: returns what the layers found.
async fn flow(principal: Principal, route: MatchedPath) -> Json<Value> {
    success(json!({
        "route": route.as_str(),
        "organization": principal.organization().map(OrganizationId::as_str),
        "livemode": principal.mode() == Mode::Live,
        "app": principal.companion_id(),
    }))
}

/// The device that continues the flow polls for its end with a token.
async fn flow_with_token(
    principal: Principal,
    State(application): State<Application>,
    route: MatchedPath,
) -> Response {
    let token = application.session_token(&principal);
    let answer = flow(principal, route).await;
    match token {
        Some(token) => (token, answer).into_response(),
        None => answer.into_response(),
    }
}

async fn events() -> impl IntoResponse {
    let events = ["pending", "completed"].map(|status| Ok::<_, Infallible>(Event::default().event(status)));
    Sse::new(tokio_stream::iter(events))
}

/// Grants a token for `sub`, the consumer, to the `app` whose secret was sent. A real application checks that the
/// consumer exists.
async fn authorize(
    principal: Principal,
    State(application): State<Application>,
    uri: Uri,
) -> Result<Response, Response> {
    let token = application.session_token(&principal).ok_or_else(|| ERRORS.response("secret_missing"))?;
    let query = uri.query().unwrap_or_default();
    let consumer = single_parameter(query, "sub").map_err(|Several| invalid())?;
    consumer.ok_or_else(|| ERRORS.response("consumer_missing"))?;
    let app = single_parameter(query, "app").map_err(|Several| invalid())?;
    let app = app.ok_or_else(|| ERRORS.response("app_missing"))?;
    match principal.companion_id() {
        Some(own) if own.as_str() == app => {
            Ok((token, success(json!({ "app": principal.companion_id() }))).into_response())
        }
        _ => Err(invalid()),
    }
}

/// A repeated parameter.
struct Several;

/// The value of a query parameter, unless it is empty.
fn single_parameter<'q>(query: &'q str, name: &str) -> Result<Option<&'q str>, Several> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs.filter(|(other, _)| *other == name).map(|(_, value)| value);
    match (values.next(), values.next()) {
        (Some(_), Some(_)) => Err(Several),
        (value, _) => Ok(value.filter(|value| !value.is_empty())),
    }
}

/// The same response as for a bad secret.
fn invalid() -> Response {
    pasby::error(StatusCode::UNAUTHORIZED, "authorization_error", pasby::INVALID)
}

async fn not_found() -> Response {
    pasby::error(StatusCode::NOT_FOUND, "param_error", "There is no such route.")
}

async fn method_not_allowed() -> Response {
    pasby::error(StatusCode::METHOD_NOT_ALLOWED, "param_error", "The method is not allowed here.")
}

fn success(data: Value) -> Json<Value> {
    Json(json!({ "status": "success", "data": data }))
}

fn introduce(variables: [(&str, &str); 11]) {
    for (name, value) in variables {
        println!("{name}={value}");
    }
    let [(_, base), (_, key), (_, secret), (_, app), (_, consumer), _, (_, live_secret), ..] = variables;
    let (key, secret) = (format!(r#"-H "x-api-key: {key}""#), format!(r#"-H "x-access-secret: {secret}""#));
    let authorize = format!("{base}/api/v1/flow/authorize?sub={consumer}&app={app}");
    println!();
    println!("# v2: key and secret on each call:");
    println!(
        r#"curl -i -X POST {base}/api/v2/flow/ping {key} {secret} -H "Content-Type: application/json" -d '{{"request": "req_1"}}'"#
    );
    println!("# v1: a token for the secret, then the token:");
    println!(r#"curl -i "{authorize}" {key} {secret}"#);
    println!(
        r#"curl -i -X POST {base}/api/v1/flow/ping {key} -H "x-access-token: $(curl -sS -i "{authorize}" {key} {secret} | tr -d '\r' | sed -n 's/^x-access-token: //p')""#
    );
    println!("# 401 without a key, 400 without a secret, 401 with the secret of a live app:");
    println!("curl -i -X POST {base}/api/v2/flow/ping {secret}");
    println!("curl -i -X POST {base}/api/v2/flow/ping {key}");
    println!(r#"curl -i -X POST {base}/api/v2/flow/ping {key} -H "x-access-secret: {live_secret}""#);
    println!();
    println!("ready");
}

#[cfg(test)]
#[path = "support/routes.rs"]
mod routes;

#[cfg(test)]
mod tests {
    use tower_api_keys::MemoryStore;
    use tower_api_keys::route::Route;

    use super::routes::routes;
    use super::*;

    /// Every application should have this test: it finds a route that is missing in the matrix.
    #[test]
    fn every_route_is_in_the_matrix_and_every_row_is_served() {
        let tokens = SessionTokens::new("a secret of thirty-two characters".into()).unwrap();
        let application = Application::new(tokens);
        let keys = assembly(Arc::new(MemoryStore::new()), &application).build().unwrap();
        let routes = routes(&app(&keys, application)).unwrap();
        let names = |routes: Vec<Route>| routes.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(keys.uncovered(routes.clone())), [""; 0]);
        assert_eq!(names(keys.unused(routes)), [""; 0]);
    }
}
