//! PayMongo Workflow API: test and live keys by HTTP Basic, one organization per key, and data isolated by mode and
//! organization.
//!
//! ```text
//! cargo run --example paymongo_workflows --features full
//! ```
//!
//! It prints the new keys and `curl` lines to paste. Keys are kept in memory or in the database that `DATABASE_URL`
//! names (`sqlite:keys.db`, `postgres://…`; see `support/mod.rs`); everything else is in memory.
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one), and `ACCEPT_MISSING_COLON`: with 1, a key is also
//! accepted without a colon, as some of PayMongo's own client libraries send it.

// An example writes to standard output.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::{Value, json};
use support::{close, listen, log_to_stderr, open_store, stopped};
use tower_api_keys::credential::BasicKey;
use tower_api_keys::identity::Owned;
use tower_api_keys::key::{Mode, OrganizationId, Owner};
use tower_api_keys::presets::paymongo::{self, ERRORS, paymongo_with};
use tower_api_keys::rejection::ErrorTable;
use tower_api_keys::route::RouteMatching;
use tower_api_keys::{ApiKeys, Authority, NewKey, Principal};

#[tokio::main]
async fn main() -> ExitCode {
    match serve().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paymongo_workflows: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<(), Box<dyn Error>> {
    log_to_stderr()?;
    let colon_may_be_missing = std::env::var("ACCEPT_MISSING_COLON").is_ok_and(|value| value == "1");
    let basic = BasicKey::new(paymongo::key_format());
    let basic = if colon_may_be_missing { basic.accept_missing_colon() } else { basic };
    let keys = paymongo_with(open_store().await?, basic)
        .match_routes(RouteMatching::MatchedPath)
        .record_last_use()
        .build()?;
    let (ours, other): (OrganizationId, OrganizationId) = ("org_demo".parse()?, "org_other".parse()?);
    let mint = async |organization: &OrganizationId, mode| {
        let authority = Authority::operator(Owner::organization(organization.clone(), mode));
        keys.manager().create(&authority, NewKey::new("First key")).await
    };
    let test = mint(&ours, Mode::Test).await?;
    let live = mint(&ours, Mode::Live).await?;
    let other_test = mint(&other, Mode::Test).await?;

    let workflows = Workflows::default();
    let first = |mode| {
        let owner = Owner::organization(ours.clone(), mode);
        let name = format!("First {mode} workflow");
        let definition = Definition { content: json!({ "name": name }), name };
        workflows.lock().add(&owner, definition).id
    };
    let (test_workflow, live_workflow) = (first(Mode::Test), first(Mode::Live));

    let (listener, stopped) = (listen().await?, stopped()?);
    introduce([
        ("BASE_URL", &format!("http://{}/v1", listener.local_addr()?)),
        ("TEST_SECRET_KEY", test.secret.expose_secret()),
        ("LIVE_SECRET_KEY", live.secret.expose_secret()),
        ("ORGANIZATION_ID", ours.as_str()),
        ("OTHER_TEST_SECRET_KEY", other_test.secret.expose_secret()),
        ("OTHER_ORGANIZATION_ID", other.as_str()),
        ("TEST_WORKFLOW_ID", &test_workflow),
        ("LIVE_WORKFLOW_ID", &live_workflow),
    ]);
    let background = tokio::spawn(keys.background());
    axum::serve(listener, app(&keys, workflows)).with_graceful_shutdown(stopped).await?;
    close(&keys, background).await;
    Ok(())
}

/// The routes and the layer around them, including fallbacks.
fn app(keys: &ApiKeys<ErrorTable>, workflows: Workflows) -> Router {
    let api = Router::new()
        .route("/workflows", get(list_workflows).post(create_workflow))
        .route("/workflows/{id}", get(read_workflow).put(update_workflow).delete(delete_workflow))
        .route("/workflows/{id}/execute", post(execute_workflow))
        .with_state(workflows)
        .fallback(async || Failure::NotFound)
        .method_not_allowed_fallback(async || Failure::MethodNotAllowed)
        .layer(keys.layer());
    Router::new().nest("/v1", api)
}

/// All workflows, each with its owner. A real application uses a database.
#[derive(Clone, Default)]
struct Workflows(Arc<Mutex<Everything>>);

#[derive(Default)]
struct Everything {
    last_number: u64,
    workflows: BTreeMap<String, Owned<Workflow>>,
}

#[derive(Clone, Serialize)]
struct Workflow {
    id: String,
    livemode: bool,
    #[serde(flatten)]
    definition: Definition,
    created_at: u64,
    updated_at: u64,
}

/// The client's input, in JSON or YAML: an object with a name, and optional steps and triggers.
#[derive(Clone, Serialize)]
struct Definition {
    name: String,
    #[serde(rename = "definition")]
    content: Value,
}

impl Workflows {
    fn lock(&self) -> MutexGuard<'_, Everything> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Everything {
    fn new_id(&mut self, kind: &str) -> String {
        self.last_number += 1;
        format!("{kind}_{}", self.last_number)
    }

    fn add(&mut self, owner: &Owner, definition: Definition) -> Workflow {
        let (id, now, livemode) = (self.new_id("workflow"), now(), owner.mode == Mode::Live);
        let workflow = Workflow { id, livemode, definition, created_at: now, updated_at: now };
        self.workflows.insert(workflow.id.clone(), Owned::new(owner.clone(), workflow.clone()));
        workflow
    }

    /// The caller's workflow. Another owner's is not found, like a missing one.
    fn find(&mut self, id: &Id, principal: &Principal) -> Result<&mut Workflow, Failure> {
        let found = self.workflows.get_mut(&id.0).and_then(|workflow| workflow.get_mut(principal));
        found.ok_or(Failure::NotFound)
    }
}

type Answer = Result<Response, Failure>;

async fn list_workflows(principal: Principal, State(workflows): State<Workflows>) -> Answer {
    let everything = workflows.lock();
    success(everything.workflows.values().filter_map(|workflow| workflow.get(&principal)).collect::<Vec<_>>())
}

async fn create_workflow(
    principal: Principal,
    State(workflows): State<Workflows>,
    document: Document,
) -> Answer {
    let definition = document.definition()?;
    success(workflows.lock().add(principal.owner(), definition))
}

async fn read_workflow(principal: Principal, State(workflows): State<Workflows>, id: Id) -> Answer {
    success(workflows.lock().find(&id, &principal)?)
}

async fn update_workflow(
    principal: Principal,
    State(workflows): State<Workflows>,
    id: Id,
    document: Document,
) -> Answer {
    let definition = document.definition()?;
    let mut everything = workflows.lock();
    let workflow = everything.find(&id, &principal)?;
    (workflow.definition, workflow.updated_at) = (definition, now());
    success(workflow)
}

async fn delete_workflow(principal: Principal, State(workflows): State<Workflows>, id: Id) -> Answer {
    let mut everything = workflows.lock();
    everything.find(&id, &principal)?;
    everything.workflows.remove(&id.0);
    success(json!({ "id": id.0, "deleted": true }))
}

/// The only route that distinguishes a workflow of the other mode from a missing one.
async fn execute_workflow(
    principal: Principal,
    State(workflows): State<Workflows>,
    id: Id,
    Document(input): Document,
) -> Answer {
    let mut everything = workflows.lock();
    if everything.workflows.get(&id.0).is_some_and(|workflow| workflow.is_in_other_mode(&principal)) {
        return Err(Failure::LivemodeMismatch);
    }
    let livemode = everything.find(&id, &principal)?.livemode;
    let instance = everything.new_id("instance");
    success(json!({
        "id": instance, "workflow_id": id.0, "livemode": livemode, "status": "running", "input": input
    }))
}

/// The identifier in the path; one that cannot be parsed is treated as unknown.
struct Id(String);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Self(id)),
            Err(_) => Err(Failure::NotFound),
        }
    }
}

/// The body: JSON, or YAML as `text/plain`. `None` if there is none.
struct Document(Option<Value>);

impl<S: Send + Sync> FromRequest<S> for Document {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
        let media_type = media_type.trim().to_ascii_lowercase();
        let body = Bytes::from_request(request, state).await.map_err(Failure::Unreadable)?;
        if body.is_empty() {
            return Ok(Self(None));
        }
        let document = match &*media_type {
            "application/json" => {
                serde_json::from_slice(&body).map_err(|error| format!("The body is not JSON: {error}"))
            }
            "text/plain" => serde_saphyr::from_slice(&body)
                .map_err(|error| format!("The body is not YAML: {}", error.without_snippet())),
            _ => return Err(Failure::UnsupportedMediaType),
        };
        document.map(|document| Self(Some(document))).map_err(Failure::Invalid)
    }
}

impl Document {
    fn definition(self) -> Result<Definition, Failure> {
        let content = self.0.unwrap_or_default();
        match content.get("name").and_then(Value::as_str) {
            Some(name) if !name.trim().is_empty() => Ok(Definition { name: name.to_owned(), content }),
            _ => Err(Failure::Invalid("A workflow definition is an object with a name.".into())),
        }
    }
}

/// The client libraries treat any status other than 200 as a failure, so writes return 200 as well.
fn success(data: impl Serialize) -> Answer {
    Ok(Json(Success { data }).into_response())
}

#[derive(Serialize)]
struct Success<T> {
    data: T,
}

/// The errors behind the layers.
enum Failure {
    NotFound,
    LivemodeMismatch,
    MethodNotAllowed,
    UnsupportedMediaType,
    Unreadable(BytesRejection),
    Invalid(String),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let (status, code, detail) = match &self {
            Self::NotFound => return ERRORS.response("not_found"),
            Self::LivemodeMismatch => return ERRORS.response("livemode_mismatch"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed here.")
            }
            Self::UnsupportedMediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The Content-Type is application/json, or text/plain for YAML.",
            ),
            Self::Unreadable(rejection) => (rejection.status(), "unreadable_body", &*rejection.body_text()),
            Self::Invalid(detail) => (StatusCode::BAD_REQUEST, "validation_error", &**detail),
        };
        paymongo::error(status, code, detail)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn introduce(variables: [(&str, &str); 8]) {
    for (name, value) in variables {
        println!("{name}={value}");
    }
    let [(_, base), (_, test), (_, live), (_, organization), _, (_, other), (_, test_workflow), _] =
        variables;
    let organization = format!(r#"-H "Organization-Id: {organization}""#);
    println!();
    println!("# List the test workflows, and create two: one in JSON, one in YAML:");
    println!(r#"curl -i {base}/workflows -u "{test}:" {organization}"#);
    println!(
        r#"curl -i {base}/workflows -u "{test}:" {organization} -H "Content-Type: application/json" -d '{{"name": "Payout"}}'"#
    );
    println!(
        r#"curl -i {base}/workflows -u "{test}:" {organization} -H "Content-Type: text/plain" -d 'name: Refund'"#
    );
    println!("# Execute a test workflow. With the live key it is 403, and reading it is 404:");
    println!(r#"curl -i -X POST {base}/workflows/{test_workflow}/execute -u "{test}:" {organization}"#);
    println!(r#"curl -i -X POST {base}/workflows/{test_workflow}/execute -u "{live}:" {organization}"#);
    println!(r#"curl -i {base}/workflows/{test_workflow} -u "{live}:" {organization}"#);
    println!("# 401 without a key, 400 without an organization, 403 with another one:");
    println!(r#"curl -i {base}/workflows {organization}"#);
    println!(r#"curl -i {base}/workflows -u "{test}:""#);
    println!(r#"curl -i {base}/workflows -u "{test}:" -H "Organization-Id: {other}""#);
    println!();
    println!("ready");
}
