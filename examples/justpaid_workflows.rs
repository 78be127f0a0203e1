//! JustPaid Workflows: a whole API behind keys, scopes and rate limits.
//!
//! ```text
//! cargo run --example justpaid_workflows --features full
//! ```
//!
//! It prints the keys it made and `curl` lines to paste. Everything is held in memory.
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 takes a free one), `READ_LIMIT`, `WRITE_LIMIT`, `EXECUTE_LIMIT`,
//! `WEBHOOK_LIMIT` (requests per window: 1000, 100, 500, 10000) and `WINDOW_SECONDS` (60).

// An example talks to its reader on standard output.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tower_api_keys::Principal;
use tower_api_keys::key::{Mode, Owner};
use tower_api_keys::manage::{Authority, NewKey, key_routes};
use tower_api_keys::presets::justpaid::{self, JustPaid, JustPaidFormat};
use tower_api_keys::rate_limit::ClientAddressSource;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::MemoryStore;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut limits = justpaid::Limits::default();
    limits.read = variable("READ_LIMIT", limits.read)?;
    limits.write = variable("WRITE_LIMIT", limits.write)?;
    limits.execute = variable("EXECUTE_LIMIT", limits.execute)?;
    limits.webhooks = variable("WEBHOOK_LIMIT", limits.webhooks)?;
    limits.window = Duration::from_secs(variable("WINDOW_SECONDS", limits.window.as_secs())?);
    let justpaid = JustPaid::new(MemoryStore::new()).with_prefix("/api/v1").with_limits(limits);

    // The first keys come from code; the keys after them can come from `POST /auth/api-keys`.
    let company = Owner::organization("company_demo".parse()?, Mode::Live);
    let mint = async |name: &str, scopes: ScopeSet| {
        let authority = Authority::operator(company.clone());
        justpaid.key_manager().create(&authority, NewKey::new(name, scopes)).await
    };
    let all = mint("All scopes", justpaid::all_scopes()).await?;
    let read_only = mint("Read only", ScopeSet::parse_list(["workflows:read", "runs:read"])?).await?;

    let listener =
        tokio::net::TcpListener::bind(variable("LISTEN_ADDR", "127.0.0.1:3000".to_owned())?).await?;
    let app = app(&justpaid)?;
    introduce(listener.local_addr()?, all.secret.expose_secret(), read_only.secret.expose_secret());
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>())
        .with_graceful_shutdown(stopped()?)
        .await?;
    Ok(())
}

/// The routes, and the layers round them: what is written last stands outermost and is asked first.
fn app(justpaid: &JustPaid<MemoryStore>) -> Result<Router, Box<dyn Error>> {
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
        .with_state(Company::default())
        .nest("/auth/api-keys", key_routes(justpaid.key_manager(), JustPaidFormat))
        .route_layer(justpaid.scopes()?)
        .fallback(async || failure(StatusCode::NOT_FOUND, "NOT_FOUND", "Resource not found"))
        .method_not_allowed_fallback(async || {
            failure(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "Method not allowed")
        })
        .layer(justpaid.rate_limit()?)
        .layer(justpaid.authenticate());
    // Webhooks carry no key and are limited by address. Behind a proxy, name it in the source.
    let webhooks = Router::new()
        .route("/webhooks/{source}", post(receive_webhook))
        .layer(justpaid.webhook_limit(ClientAddressSource::peer())?);
    Ok(Router::new().nest("/api/v1", api.merge(webhooks)))
}

/// What the company has. A real host has a database here.
#[derive(Clone, Default)]
struct Company(Arc<Mutex<Data>>);

#[derive(Default)]
struct Data {
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
    #[serde(skip)]
    organization: String,
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
    #[serde(skip)]
    organization: String,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    id: String,
    #[serde(flatten)]
    definition: ConnectionDefinition,
    created_at: u64,
    #[serde(skip)]
    organization: String,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct ConnectionDefinition {
    name: String,
    provider: String,
}

/// A run takes as long as this, unless it is cancelled before.
const RUN_SECONDS: u64 = 30;

impl Company {
    fn data(&self) -> MutexGuard<'_, Data> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Data {
    fn new_id(&mut self, kind: &str) -> String {
        self.last_number += 1;
        format!("{kind}_{}", self.last_number)
    }

    fn start_run(&mut self, workflow_id: String, retry_of: Option<String>, organization: String) -> Run {
        let id = self.new_id("run");
        let run = Run { id, workflow_id, status: "running", started_at: now(), retry_of, organization };
        self.runs.insert(run.id.clone(), run.clone());
        run
    }
}

impl Run {
    /// The run as it stands now: one that ran long enough is completed.
    fn at(mut self, now: u64) -> Self {
        if self.status == "running" && now >= self.started_at + RUN_SECONDS {
            self.status = "completed";
        }
        self
    }
}

async fn list_workflows(principal: Principal, State(company): State<Company>) -> Response {
    let data = company.data();
    let workflows = data.workflows.values().filter(|workflow| workflow.organization == owner(&principal));
    success(StatusCode::OK, workflows.collect::<Vec<_>>())
}

async fn create_workflow(
    principal: Principal,
    State(company): State<Company>,
    body: Body<WorkflowDefinition>,
) -> Response {
    let definition = match named(body, |workflow| &workflow.name) {
        Ok(definition) => definition,
        Err(response) => return response,
    };
    let mut data = company.data();
    let (id, now) = (data.new_id("workflow"), now());
    let workflow =
        Workflow { id, definition, created_at: now, updated_at: now, organization: owner(&principal) };
    data.workflows.insert(workflow.id.clone(), workflow.clone());
    success(StatusCode::CREATED, workflow)
}

async fn read_workflow(
    principal: Principal,
    State(company): State<Company>,
    Path(id): Path<String>,
) -> Response {
    match company.data().workflows.get(&id).filter(|workflow| workflow.organization == owner(&principal)) {
        Some(workflow) => success(StatusCode::OK, workflow),
        None => not_found("Workflow"),
    }
}

async fn update_workflow(
    principal: Principal,
    State(company): State<Company>,
    Path(id): Path<String>,
    body: Body<WorkflowDefinition>,
) -> Response {
    let definition = match named(body, |workflow| &workflow.name) {
        Ok(definition) => definition,
        Err(response) => return response,
    };
    let mut data = company.data();
    match data.workflows.get_mut(&id).filter(|workflow| workflow.organization == owner(&principal)) {
        Some(workflow) => {
            workflow.definition = definition;
            workflow.updated_at = now();
            success(StatusCode::OK, &*workflow)
        }
        None => not_found("Workflow"),
    }
}

async fn delete_workflow(
    principal: Principal,
    State(company): State<Company>,
    Path(id): Path<String>,
) -> Response {
    let mut data = company.data();
    if !data.workflows.get(&id).is_some_and(|workflow| workflow.organization == owner(&principal)) {
        return not_found("Workflow");
    }
    data.workflows.remove(&id);
    success(StatusCode::OK, json!({ "id": id, "deleted": true }))
}

async fn run_workflow(
    principal: Principal,
    State(company): State<Company>,
    Path(id): Path<String>,
) -> Response {
    let mut data = company.data();
    if !data.workflows.get(&id).is_some_and(|workflow| workflow.organization == owner(&principal)) {
        return not_found("Workflow");
    }
    success(StatusCode::CREATED, data.start_run(id, None, owner(&principal)))
}

async fn list_runs(principal: Principal, State(company): State<Company>) -> Response {
    let data = company.data();
    let runs = data.runs.values().filter(|run| run.organization == owner(&principal));
    success(StatusCode::OK, runs.map(|run| run.clone().at(now())).collect::<Vec<_>>())
}

async fn read_run(principal: Principal, State(company): State<Company>, Path(id): Path<String>) -> Response {
    match company.data().runs.get(&id).filter(|run| run.organization == owner(&principal)) {
        Some(run) => success(StatusCode::OK, run.clone().at(now())),
        None => not_found("Run"),
    }
}

async fn cancel_run(
    principal: Principal,
    State(company): State<Company>,
    Path(id): Path<String>,
) -> Response {
    match company.data().runs.get_mut(&id).filter(|run| run.organization == owner(&principal)) {
        Some(run) if run.clone().at(now()).status == "running" => {
            run.status = "cancelled";
            success(StatusCode::OK, &*run)
        }
        Some(_) => failure(StatusCode::CONFLICT, "CONFLICT", "Only a running run can be cancelled"),
        None => not_found("Run"),
    }
}

async fn retry_run(principal: Principal, State(company): State<Company>, Path(id): Path<String>) -> Response {
    let mut data = company.data();
    let Some(run) = data.runs.get(&id).filter(|run| run.organization == owner(&principal)).cloned() else {
        return not_found("Run");
    };
    if run.clone().at(now()).status == "running" {
        return failure(StatusCode::CONFLICT, "CONFLICT", "A running run cannot be retried");
    }
    success(StatusCode::CREATED, data.start_run(run.workflow_id, Some(run.id), run.organization))
}

async fn list_connections(principal: Principal, State(company): State<Company>) -> Response {
    let data = company.data();
    let connections =
        data.connections.values().filter(|connection| connection.organization == owner(&principal));
    success(StatusCode::OK, connections.collect::<Vec<_>>())
}

async fn create_connection(
    principal: Principal,
    State(company): State<Company>,
    body: Body<ConnectionDefinition>,
) -> Response {
    let definition = match named(body, |connection| &connection.name) {
        Ok(definition) => definition,
        Err(response) => return response,
    };
    let mut data = company.data();
    let id = data.new_id("connection");
    let connection = Connection { id, definition, created_at: now(), organization: owner(&principal) };
    data.connections.insert(connection.id.clone(), connection.clone());
    success(StatusCode::CREATED, connection)
}

async fn delete_connection(
    principal: Principal,
    State(company): State<Company>,
    Path(id): Path<String>,
) -> Response {
    let mut data = company.data();
    if !data.connections.get(&id).is_some_and(|connection| connection.organization == owner(&principal)) {
        return not_found("Connection");
    }
    data.connections.remove(&id);
    success(StatusCode::OK, json!({ "id": id, "deleted": true }))
}

async fn receive_webhook(Path(source): Path<String>) -> Response {
    success(StatusCode::OK, json!({ "source": source, "received": true }))
}

type Body<T> = Result<Json<T>, JsonRejection>;

/// The body, if it could be read and has a name.
fn named<T>(body: Body<T>, name: impl Fn(&T) -> &String) -> Result<T, Response> {
    let Json(body) = body.map_err(|rejection| invalid("body", rejection.body_text()))?;
    if name(&body).trim().is_empty() {
        return Err(invalid("name", "must not be empty".into()));
    }
    Ok(body)
}

fn success(status: StatusCode, data: impl Serialize) -> Response {
    (status, Json(json!({ "success": true, "data": data }))).into_response()
}

fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "success": false, "error": { "code": code, "message": message } }))).into_response()
}

fn not_found(what: &str) -> Response {
    failure(StatusCode::NOT_FOUND, "NOT_FOUND", &format!("{what} not found"))
}

fn invalid(field: &str, message: String) -> Response {
    let details = json!([{ "field": field, "message": message }]);
    let error = json!({ "code": "VALIDATION_ERROR", "message": "Invalid request", "details": details });
    (StatusCode::BAD_REQUEST, Json(json!({ "success": false, "error": error }))).into_response()
}

/// The organization of the caller: every row is read and written under it.
fn owner(principal: &Principal) -> String {
    principal.organization().map(ToString::to_string).unwrap_or_default()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The variable's value, or the default where it is not set.
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

/// Completes on SIGINT or SIGTERM.
fn stopped() -> Result<impl Future<Output = ()>, std::io::Error> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
