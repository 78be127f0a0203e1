//! JustPaid Workflows: a complete API with keys, scopes and rate limits.
//!
//! ```text
//! cargo run --example justpaid_workflows --features full
//! ```
//!
//! It prints the new keys and `curl` lines to paste. Keys are kept in memory or in the database that `DATABASE_URL`
//! names (`sqlite:keys.db`, `postgres://…`; see `support/mod.rs`); everything else is in memory.
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one), `READ_LIMIT`, `WRITE_LIMIT`, `EXECUTE_LIMIT`,
//! `WEBHOOK_LIMIT` (requests per window: 1000, 100, 500, 10000) and `WINDOW_SECONDS` (60).

// An example writes to standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use support::{Store, close, listen, log_to_stderr, open_store, stopped};
use tower_api_keys::address::ClientAddressSource;
use tower_api_keys::key::Owner;
use tower_api_keys::presets::justpaid::{self, justpaid};
use tower_api_keys::rejection::ErrorTable;
use tower_api_keys::route::RouteMatching;
use tower_api_keys::{ApiKeys, ApiKeysBuilder, NewKey, Principal};

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("justpaid_workflows: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    log_to_stderr()?;
    let limits = justpaid::limits(
        variable("READ_LIMIT", 1000)?,
        variable("WRITE_LIMIT", 100)?,
        variable("EXECUTE_LIMIT", 500)?,
        variable("WEBHOOK_LIMIT", 10_000)?,
        Duration::from_secs(variable("WINDOW_SECONDS", 60)?),
    )?;
    let keys = assembly(open_store().await?).limits(limits).build()?;

    // The first keys are created in code; later ones with `POST /auth/api-keys`.
    let (all, read) = (NewKey::new("All scopes"), NewKey::new("Read only"));
    let all = keys.manager().create_for("company_demo", all.scopes(justpaid::all_scopes())).await?;
    let read = read.scope("workflows:read").scope("runs:read");
    let read_only = keys.manager().create_for("company_demo", read).await?;

    let listener = listen().await?;
    let (app, stopped) = (app(&keys), stopped()?);
    introduce(listener.local_addr()?, all.secret.expose_secret(), read_only.secret.expose_secret());
    let background = tokio::spawn(keys.background());
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stopped)
        .await?;
    close(&keys, background).await;
    Ok(())
}

/// The published system, served by axum below `/api/v1`. Behind a proxy, add the proxy to the source of addresses.
fn assembly(store: Store) -> ApiKeysBuilder<ErrorTable> {
    justpaid(store)
        .routes_below("/api/v1")
        .match_routes(RouteMatching::MatchedPath)
        .client_address(ClientAddressSource::peer().from_connect_info())
        .record_last_use()
}

/// The routes and the layers around them. The last layer added is the outermost and runs first.
///
/// `layer` would combine all three. With three, the application's own fallbacks respond to an authenticated caller
/// whose request has no route.
fn app(keys: &ApiKeys<ErrorTable>) -> Router {
    let key_routes = keys.key_routes_of(keys.manager().clone()).delete_revokes().into_router();
    let api = Router::new()
        .route("/workflows", get(list_workflows).post(create_workflow))
        .route("/workflows/{id}", get(read_workflow).put(update_workflow).delete(delete_workflow))
        .route("/workflows/{id}/run", post(run_workflow))
        .route("/runs", get(list_runs))
        .route("/runs/{id}", get(read_run))
        .route("/runs/{id}/cancel", post(cancel_run))
        .route("/runs/{id}/retry", post(retry_run))
        .route("/connections", get(list_connections).post(create_connection))
        .route("/connections/{id}", axum::routing::delete(delete_connection))
        .with_state(Companies::default())
        .nest("/auth/api-keys", key_routes)
        .route_layer(keys.authorize())
        .fallback(async || Failure::NotFound("Resource"))
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        .layer(keys.rate_limit())
        .layer(keys.authenticate());
    // Webhooks have no key and are limited by address.
    let webhooks =
        Router::new().route("/webhooks/{source}", post(receive_webhook)).layer(keys.limit_addresses());
    Router::new().nest("/api/v1", api.merge(webhooks))
}

/// The data of each company. A real application uses a database.
#[derive(Clone, Default)]
struct Companies(Arc<Mutex<HashMap<Owner, Company>>>);

#[derive(Default)]
struct Company {
    last_number: u64,
    workflows: BTreeMap<String, Workflow>,
    runs: BTreeMap<String, Run>,
    connections: BTreeMap<String, Connection>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Workflow {
    id: String,
    #[serde(flatten)]
    definition: WorkflowDefinition,
    created_at: u64,
    updated_at: u64,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WorkflowDefinition {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    steps: Vec<Value>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    id: String,
    workflow_id: String,
    status: &'static str,
    started_at: u64,
    retry_of: Option<String>,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    id: String,
    #[serde(flatten)]
    definition: ConnectionDefinition,
    created_at: u64,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ConnectionDefinition {
    name: String,
    provider: String,
}

impl Companies {
    /// Gives access to the data of the caller's company, and of no other.
    fn of<T>(&self, principal: &Principal, act: impl FnOnce(&mut Company) -> T) -> T {
        let mut companies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        act(companies.entry(principal.owner().clone()).or_default())
    }
}

impl Company {
    fn new_id(&mut self, kind: &str) -> String {
        self.last_number += 1;
        format!("{kind}_{}", self.last_number)
    }

    fn start_run(&mut self, workflow_id: String, retry_of: Option<String>) -> Run {
        let id = self.new_id("run");
        let run = Run { id, workflow_id, status: "running", started_at: now(), retry_of };
        self.runs.insert(run.id.clone(), run.clone());
        run
    }

    /// The run, completed if it has run long enough.
    fn run(&mut self, id: &str) -> Result<&mut Run, Failure> {
        let run = self.runs.get_mut(id).ok_or(Failure::NotFound("Run"))?;
        run.complete();
        Ok(run)
    }
}

impl Run {
    /// A run takes half a minute, unless it is cancelled.
    fn complete(&mut self) {
        if self.status == "running" && now() >= self.started_at + 30 {
            self.status = "completed";
        }
    }
}

type Answer = Result<Response, Failure>;

async fn list_workflows(principal: Principal, State(companies): State<Companies>) -> Answer {
    companies
        .of(&principal, |company| success(StatusCode::OK, company.workflows.values().collect::<Vec<_>>()))
}

async fn create_workflow(
    principal: Principal,
    State(companies): State<Companies>,
    body: Body<WorkflowDefinition>,
) -> Answer {
    let definition = named(body, |workflow| &workflow.name)?;
    companies.of(&principal, |company| {
        let (id, now) = (company.new_id("workflow"), now());
        let workflow = Workflow { id, definition, created_at: now, updated_at: now };
        company.workflows.insert(workflow.id.clone(), workflow.clone());
        success(StatusCode::CREATED, workflow)
    })
}

async fn read_workflow(
    principal: Principal,
    State(companies): State<Companies>,
    Path(id): Path<String>,
) -> Answer {
    companies.of(&principal, |company| {
        success(StatusCode::OK, company.workflows.get(&id).ok_or(Failure::NotFound("Workflow"))?)
    })
}

async fn update_workflow(
    principal: Principal,
    State(companies): State<Companies>,
    Path(id): Path<String>,
    body: Body<WorkflowDefinition>,
) -> Answer {
    let definition = named(body, |workflow| &workflow.name)?;
    companies.of(&principal, |company| {
        let workflow = company.workflows.get_mut(&id).ok_or(Failure::NotFound("Workflow"))?;
        workflow.definition = definition;
        workflow.updated_at = now();
        success(StatusCode::OK, workflow)
    })
}

async fn delete_workflow(
    principal: Principal,
    State(companies): State<Companies>,
    Path(id): Path<String>,
) -> Answer {
    companies.of(&principal, |company| {
        company.workflows.remove(&id).ok_or(Failure::NotFound("Workflow"))?;
        success(StatusCode::OK, json!({ "id": id, "deleted": true }))
    })
}

async fn run_workflow(
    principal: Principal,
    State(companies): State<Companies>,
    Path(id): Path<String>,
) -> Answer {
    companies.of(&principal, |company| {
        company.workflows.get(&id).ok_or(Failure::NotFound("Workflow"))?;
        success(StatusCode::CREATED, company.start_run(id, None))
    })
}

async fn list_runs(principal: Principal, State(companies): State<Companies>) -> Answer {
    companies.of(&principal, |company| {
        company.runs.values_mut().for_each(Run::complete);
        success(StatusCode::OK, company.runs.values().collect::<Vec<_>>())
    })
}

async fn read_run(
    principal: Principal,
    State(companies): State<Companies>,
    Path(id): Path<String>,
) -> Answer {
    companies.of(&principal, |company| success(StatusCode::OK, company.run(&id)?))
}

async fn cancel_run(
    principal: Principal,
    State(companies): State<Companies>,
    Path(id): Path<String>,
) -> Answer {
    companies.of(&principal, |company| {
        let run = company.run(&id)?;
        if run.status != "running" {
            return Err(Failure::Conflict("Only a running run can be cancelled"));
        }
        run.status = "cancelled";
        success(StatusCode::OK, run)
    })
}

async fn retry_run(
    principal: Principal,
    State(companies): State<Companies>,
    Path(id): Path<String>,
) -> Answer {
    companies.of(&principal, |company| {
        let run = company.run(&id)?.clone();
        if run.status == "running" {
            return Err(Failure::Conflict("A running run cannot be retried"));
        }
        success(StatusCode::CREATED, company.start_run(run.workflow_id, Some(run.id)))
    })
}

async fn list_connections(principal: Principal, State(companies): State<Companies>) -> Answer {
    companies
        .of(&principal, |company| success(StatusCode::OK, company.connections.values().collect::<Vec<_>>()))
}

async fn create_connection(
    principal: Principal,
    State(companies): State<Companies>,
    body: Body<ConnectionDefinition>,
) -> Answer {
    let definition = named(body, |connection| &connection.name)?;
    companies.of(&principal, |company| {
        let id = company.new_id("connection");
        let connection = Connection { id, definition, created_at: now() };
        company.connections.insert(connection.id.clone(), connection.clone());
        success(StatusCode::CREATED, connection)
    })
}

async fn delete_connection(
    principal: Principal,
    State(companies): State<Companies>,
    Path(id): Path<String>,
) -> Answer {
    companies.of(&principal, |company| {
        company.connections.remove(&id).ok_or(Failure::NotFound("Connection"))?;
        success(StatusCode::OK, json!({ "id": id, "deleted": true }))
    })
}

async fn receive_webhook(Path(source): Path<String>) -> Answer {
    success(StatusCode::OK, json!({ "source": source, "received": true }))
}

type Body<T> = Result<Json<T>, JsonRejection>;

/// The body, if it can be read and has a name.
fn named<T>(body: Body<T>, name: impl Fn(&T) -> &String) -> Result<T, Failure> {
    let invalid = |field, message| Failure::Invalid { field, message };
    let Json(body) = body.map_err(|rejection| invalid("body", rejection.body_text()))?;
    if name(&body).trim().is_empty() {
        return Err(invalid("name", "must not be empty".into()));
    }
    Ok(body)
}

fn success(status: StatusCode, data: impl Serialize) -> Answer {
    Ok((status, Json(Success { success: true, data })).into_response())
}

#[derive(Serialize)]
struct Success<T> {
    success: bool,
    data: T,
}

#[derive(Serialize)]
struct Failed<'a> {
    success: bool,
    error: Problem<'a>,
}

#[derive(Serialize)]
struct Problem<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

/// The errors behind the layers.
enum Failure {
    NotFound(&'static str),
    MethodNotAllowed,
    Conflict(&'static str),
    Invalid { field: &'static str, message: String },
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code, message) = match &self {
            Self::NotFound(what) => (StatusCode::NOT_FOUND, "NOT_FOUND", &*format!("{what} not found")),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Method not allowed")
            }
            Self::Conflict(message) => (StatusCode::CONFLICT, "CONFLICT", *message),
            Self::Invalid { .. } => (StatusCode::BAD_REQUEST, "VALIDATION_ERROR", "Invalid request"),
        };
        let details = match &self {
            Self::Invalid { field, message } => Some(json!([{ "field": field, "message": message }])),
            _ => None,
        };
        (status, Json(Failed { success: false, error: Problem { code, message, details } })).into_response()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The variable's value, or the default if it is not set.
fn variable<T: FromStr<Err: std::fmt::Display>>(name: &str, default: T) -> Result<T, String> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|error| format!("{name}={text}: {error}")),
        Err(_) => Ok(default),
    }
}

fn introduce(address: SocketAddr, all: &str, read_only: &str) {
    let base = format!("http://{address}/api/v1");
    println!("BASE_URL={base}");
    println!("WORKFLOWS_API_KEY={all}");
    println!("READ_ONLY_API_KEY={read_only}");
    println!();
    println!("# Create a workflow, list the workflows, and run the first one:");
    println!(
        r#"curl -i -X POST {base}/workflows -H "x-api-key: {all}" -H "Content-Type: application/json" -d '{{"name": "Dunning"}}'"#
    );
    println!(r#"curl -i {base}/workflows -H "x-api-key: {read_only}""#);
    println!(r#"curl -i -X POST {base}/workflows/workflow_1/run -H "x-api-key: {all}""#);
    println!("# 401 without a key, 403 with one that may only read:");
    println!("curl -i {base}/workflows");
    println!(r#"curl -i -X POST {base}/workflows/workflow_1/run -H "x-api-key: {read_only}""#);
    println!("# Make another key, and list the keys:");
    println!(
        r#"curl -i -X POST {base}/auth/api-keys -H "x-api-key: {all}" -H "Content-Type: application/json" -d '{{"name": "Production API Key", "scopes": ["workflows:read", "workflows:write", "workflows:execute"]}}'"#
    );
    println!(r#"curl -i {base}/auth/api-keys -H "x-api-key: {all}""#);
    println!("# A webhook needs no key:");
    println!(r#"curl -i -X POST {base}/webhooks/stripe -d '{{}}'"#);
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

    /// Every application should have this test: it finds a route without a scope before an attacker does.
    #[test]
    fn every_route_has_a_scope_or_is_meant_to_have_none() {
        let keys = assembly(Arc::new(MemoryStore::new())).build().unwrap();
        let routes = routes(&app(&keys)).unwrap();
        let names = |routes: Vec<Route>| routes.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(keys.uncovered(routes.clone())), ["POST /api/v1/webhooks/{source}"]);
        assert_eq!(names(keys.unused(routes)), [""; 0], "rules that cover no route");
    }
}
