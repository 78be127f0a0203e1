//! pasby v1 and v2: an organization's key, an app's secret, and session tokens for v1.
//!
//! ```text
//! cargo run --example pasby_flows --features full
//! ```
//!
//! It prints the credentials it made and `curl` lines to paste. Keys and apps are held in memory or in the database that
//! `DATABASE_URL` names (`sqlite:keys.db`, `postgres://…`; see `support/mod.rs`); everything else is in memory.
//!
//! Every row of the header matrix is served, with `GET` and with `POST`, below `/api/v2` and `/api/v1`:
//!
//! | path | |
//! |---|---|
//! | `/`, `/health/check` | also `/` and `/api/health/check` without a version; tell how many calls were metered |
//! | `/identification/same-device`, `…/different-device`, `…/wildcard` | different-device of v2 also grants a token |
//! | `/signing/same-device`, `…/different-device`, `…/wildcard` | wildcard in v2 only |
//! | `/flow/authorize?sub=…&app=…` | v1 only: grants a token |
//! | `/flow/ping`, `/flow/cancel`, `/flow/polling` | |
//! | `/flow/sse` | v2 only: a stream of events |
//! | `/document/signing`, `/document/review`, `/document/refresh` | |
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 takes a free one), `ADDRESS_LIMIT` (requests a minute for each client
//! address; 100), `TRUSTED_PROXIES` (networks, separated by spaces, whose `cf-connecting-ip`, `x-real-ip` and
//! `X-Forwarded-For` are believed; none) and `SIGNING_SECRET` (at least 32 bytes; made anew at each start, which ends the tokens of the
//! one before).

// An example talks to its reader on standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::collections::HashMap;
use std::convert::Infallible;
use std::env;
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{MatchedPath, State};
use axum::http::{StatusCode, Uri};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Json, Router};
use serde_json::{Value, json};
use support::{Keys, Store, stopped};
use tower_api_keys::Principal;
use tower_api_keys::address::Network;
use tower_api_keys::credential::SessionTokens;
use tower_api_keys::key::{KeyFormat, Mode, OrganizationId, Owner, SecretString};
use tower_api_keys::limit::Quota;
use tower_api_keys::manage::{Authority, NewKey};
use tower_api_keys::outcome::Call;
use tower_api_keys::outcome::LastUse;
use tower_api_keys::presets::pasby::{ErrorType, Pasby};
use tower_api_keys::scope::ScopeSet;

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
    let keys = Keys::open().await?;
    let pasby = Pasby::new(keys.store.clone(), SessionTokens::new(signing_secret()?)?)
        .with_address_limit(Quota::per_minute(variable("ADDRESS_LIMIT", "100").parse()?)?)
        .behind_proxies(networks(&variable("TRUSTED_PROXIES", ""))?);
    let mint = async |organization: &str, mode| {
        let operator = Authority::operator(Owner::organization(organization.parse()?, mode));
        let new = |name| NewKey::new(name);
        let key = pasby.key_manager().create(&operator, new("First key")).await?;
        let app = pasby.app_manager().create(&operator, new("First app")).await?;
        Ok::<_, Box<dyn Error>>((key, app))
    };
    let (test_key, test_app) = mint("org_demo", Mode::Test).await?;
    let (live_key, live_app) = mint("org_demo", Mode::Live).await?;
    let (other_key, other_app) = mint("org_other", Mode::Test).await?;

    let listener = tokio::net::TcpListener::bind(variable("LISTEN_ADDR", "127.0.0.1:3000")).await?;
    let stopped = stopped()?;
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
    let service = app(pasby, keys.last_use.clone()).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(stopped).await?;
    keys.close().await;
    Ok(())
}

fn variable(name: &str, default: &str) -> String {
    env::var(name).unwrap_or_else(|_| default.to_owned())
}

/// A host that runs more than one process, or wants its tokens to live through a restart, has the secret configured.
fn signing_secret() -> Result<SecretString, Box<dyn Error>> {
    match env::var("SIGNING_SECRET") {
        Ok(secret) => Ok(secret.into()),
        Err(_) => Ok(KeyFormat::builder("signing-").secret_length(43).build()?.generate(Mode::Live)?.secret),
    }
}

fn networks(text: &str) -> Result<Vec<Network>, Box<dyn Error>> {
    text.split_whitespace().map(|network| Ok(network.parse()?)).collect()
}

/// The routes, and the layers round them: what is written last stands outermost and is asked first.
fn app(pasby: Pasby<Store>, last_use: LastUse) -> Router {
    let meter = Meter::default();
    let host = Arc::new(Host { pasby: pasby.clone(), meter: meter.clone() });
    let identification = |different_device: MethodRouter<Arc<Host>>| {
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
        .with_state(host)
        .layer(pasby.authenticate().with_last_use(last_use))
        .layer(pasby.address_limit())
        .layer(pasby.usage(move |call: &Call<'_>| meter.count(call)))
}

fn both<H, T>(handler: H) -> MethodRouter<Arc<Host>>
where
    H: axum::handler::Handler<T, Arc<Host>>,
    T: 'static,
{
    on(MethodFilter::GET.or(MethodFilter::POST), handler)
}

struct Host {
    pasby: Pasby<Store>,
    meter: Meter,
}

/// Calls by organization and mode: what a bill would be made of.
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

async fn health(principal: Principal, State(host): State<Arc<Host>>) -> Json<Value> {
    success(json!({ "metered": host.meter.calls(principal.owner()) }))
}

/// Stands for the work of every route: tells what the layers found out.
async fn flow(principal: Principal, route: MatchedPath) -> Json<Value> {
    success(json!({
        "route": route.as_str(),
        "organization": principal.organization().map(OrganizationId::as_str),
        "livemode": principal.mode() == Mode::Live,
        "app": principal.companion_id(),
    }))
}

/// The device that goes on with the flow polls for its end with a token.
async fn flow_with_token(
    principal: Principal,
    State(host): State<Arc<Host>>,
    route: MatchedPath,
) -> Response {
    let token = host.pasby.session_token(&principal);
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

async fn authorize(principal: Principal, State(host): State<Arc<Host>>, uri: Uri) -> Response {
    match host.pasby.authorize(&principal, &uri) {
        Ok(token) => (token, success(json!({ "app": principal.companion_id() }))).into_response(),
        Err(error) => error.response(host.pasby.rejection_format()),
    }
}

async fn not_found(State(host): State<Arc<Host>>) -> Response {
    host.pasby.rejection_format().error(StatusCode::NOT_FOUND, ErrorType::Param, "There is no such route.")
}

async fn method_not_allowed(State(host): State<Arc<Host>>) -> Response {
    let format = host.pasby.rejection_format();
    format.error(StatusCode::METHOD_NOT_ALLOWED, ErrorType::Param, "The method is not allowed here.")
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
mod tests {
    use tower_api_keys::presets::pasby::header_matrix;
    use tower_api_keys::route::Route;
    use tower_api_keys::store::MemoryStore;

    use super::*;

    /// What every host should have: a route that is forgotten in the matrix is found here.
    #[test]
    fn every_route_is_in_the_matrix_and_every_row_is_served() {
        let tokens = SessionTokens::new("a secret of thirty-two characters".into()).unwrap();
        let pasby = Pasby::new(Arc::new(MemoryStore::new()) as Store, tokens);
        let routes = tower_api_keys::axum::routes(&app(pasby, LastUse::new())).unwrap();
        let names = |routes: Vec<Route>| routes.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(header_matrix().uncovered(routes.clone())), [""; 0]);
        assert_eq!(names(header_matrix().unused(routes)), [""; 0]);
    }
}
