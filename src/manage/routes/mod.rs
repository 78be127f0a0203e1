use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Query, RawPathParams, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER};
use http::{Extensions, HeaderValue, StatusCode, Uri};

mod body;
mod format;
mod json;
mod query;

pub use format::{KeyRoutesFormat, PlainJson};

use self::body::Rotation;
use super::{Authority, KeyAction, KeyManager, ManageError};
use crate::Principal;
use crate::key::KeyId;
use crate::principal::Authentication;
use crate::rejection::{Reason, Rejection};

/// Serves [`KeyManager`] over HTTP, to be nested where the host wants it, inside of
/// [`AuthenticateLayer`](crate::AuthenticateLayer).
///
/// | route | does | needs |
/// |---|---|---|
/// | `GET /?limit=&cursor=&olderThanDays=` | lists keys, oldest first, 100 at a time | the scope to read |
/// | `POST /` with `{"name": …, "scopes": […], "expiresAt": …, "allowedAddresses": […]}` | makes a key; 201, the only answer with `key` in it | the scope to write |
/// | `DELETE /{id}` | revokes a key | the scope to write |
///
/// A key is shown as
///
/// ```json
/// {"id":"k7Jc0qWvTz4n8XsB","name":"Production","hint":"wfk_…45pq","scopes":["workflows:read"],"status":"active",
///  "createdAt":"2023-12-14T05:20:00Z","secretCreatedAt":"2023-12-14T05:20:00Z","ageDays":0,"expiresAt":null,
///  "allowedAddresses":["192.0.2.0/24"]}
/// ```
///
/// 1. A request without a principal is 401, whatever else it is.
/// 2. A caller without the scope for managing keys is 403; the body has not been read yet.
/// 3. An identifier that is malformed, unknown, of another owner or of a revoked key is one and the same 404.
/// 4. A body is one JSON object of at most 16 KiB, sent as `application/json`. `name` and `scopes` must be there,
///    `expiresAt` (RFC 3339) and `allowedAddresses` (networks, such as `192.0.2.0/24`) may. An unknown member, one
///    that comes twice, or one of a wrong type is 400, with every fault listed, and nothing is stored.
/// 5. A caller whose key ends while the body is still on its way gets no new one: 403.
/// 6. `allowedAddresses` is `null` for a key that may be used from anywhere. A new key gets those of the caller's key
///    where it names none.
/// 7. No answer may be cached.
///
/// `format` decides about the shape of answers: [`PlainJson`], or one of the host's own.
///
/// ```
/// use axum::Router;
/// use http::HeaderName;
/// use tower_api_keys::AuthenticateLayer;
/// use tower_api_keys::credential::HeaderKey;
/// use tower_api_keys::key::KeyFormat;
/// use tower_api_keys::manage::{KeyManager, PlainJson, key_routes};
/// use tower_api_keys::store::MemoryStore;
///
/// let (store, format) = (MemoryStore::new(), KeyFormat::new("wfk_").build()?);
/// let manager = KeyManager::new(store.clone(), format.clone());
/// let app: Router = Router::new()
///     .nest("/auth/api-keys", key_routes(manager, PlainJson))
///     .layer(AuthenticateLayer::new(store, HeaderKey::new(HeaderName::from_static("x-api-key"), format)));
/// # Ok::<_, tower_api_keys::key::InvalidKeyFormat>(())
/// ```
pub fn key_routes<F, S>(manager: KeyManager, format: F) -> Router<S>
where
    F: KeyRoutesFormat,
    S: Clone + Send + Sync + 'static,
{
    let routes = Arc::new(Routes { manager, format });
    Router::new()
        .route("/", only("GET,HEAD,POST").get(list::<F>).post(create::<F>))
        .route("/{key_id}", only("DELETE").delete(revoke::<F>))
        .layer(middleware::from_fn_with_state(routes.clone(), guard::<F>))
        .with_state(routes)
}

/// Serves the whole life of keys, with a route for each thing that is done to them. To be nested where the host wants it,
/// below a path with parameters of its own if need be, inside of [`AuthenticateLayer`](crate::AuthenticateLayer).
///
/// | route | does | action |
/// |---|---|---|
/// | `GET /?limit=&cursor=&olderThanDays=` | lists keys | [`Read`](KeyAction::Read) |
/// | `POST /` | makes a key; 201, with `key` | [`Create`](KeyAction::Create) |
/// | `POST /{id}/rotate` | gives a key a new secret; 200, with `key` | [`Rotate`](KeyAction::Rotate) |
/// | `POST /{id}/revoke` | ends a key, which stays in the list | [`Revoke`](KeyAction::Revoke) |
/// | `DELETE /{id}` | removes a key for good; answers with its identifier and `"deleted":true` | [`Delete`](KeyAction::Delete) |
///
/// What the routes share with [`key_routes`] is as it is said there, but that a revoked key can still be deleted. Which
/// scope each action needs is [the manager's](KeyManager::with_scope_for) to say.
///
/// A rotation needs no body. One can have
///
/// - `graceSeconds` or `graceHours`: how long the old secret goes on, 0 to [7 days](KeyManager::MAX_GRACE), and
///   [24 hours](KeyManager::DEFAULT_GRACE) if nothing is said;
/// - `activation`: `immediate`, or `first_use` for a new secret that
///   [takes over when it is first used](KeyManager::rotate_on_first_use); the grace starts then.
///
/// Whose keys they are is the [owner](Principal::owner) for whom the caller acts, and never what the path says. Below a
/// path that names an organization, put an [`OrganizationContextLayer`](crate::authorize::OrganizationContextLayer) round
/// them, which refuses others.
///
/// ```
/// use axum::Router;
/// use tower_api_keys::AuthenticateLayer;
/// use tower_api_keys::authorize::OrganizationContextLayer;
/// use tower_api_keys::credential::BearerKey;
/// use tower_api_keys::key::KeyFormat;
/// use tower_api_keys::manage::{KeyManager, PlainJson, key_lifecycle_routes};
/// use tower_api_keys::store::MemoryStore;
///
/// let (store, format) = (MemoryStore::new(), KeyFormat::new("sk_").with_public_id(16, '.').build()?);
/// let manager = KeyManager::new(store.clone(), format.clone());
/// let app: Router = Router::new()
///     .nest("/organizations/{orgId}/api-keys", key_lifecycle_routes(manager, PlainJson))
///     .layer(OrganizationContextLayer::new().with_route_parameter("orgId"))
///     .layer(AuthenticateLayer::new(store, BearerKey::new(format)));
/// # Ok::<_, tower_api_keys::key::InvalidKeyFormat>(())
/// ```
pub fn key_lifecycle_routes<F, S>(manager: KeyManager, format: F) -> Router<S>
where
    F: KeyRoutesFormat,
    S: Clone + Send + Sync + 'static,
{
    let routes = Arc::new(Routes { manager, format });
    Router::new()
        .route("/", only("GET,HEAD,POST").get(list::<F>).post(create::<F>))
        .route("/{key_id}", only("DELETE").delete(delete::<F>))
        .route("/{key_id}/rotate", only("POST").post(rotate::<F>))
        .route("/{key_id}/revoke", only("POST").post(revoke::<F>))
        .layer(middleware::from_fn_with_state(routes.clone(), guard::<F>))
        .with_state(routes)
}

/// axum would write `Allow` on the guard's 401, too, and so tell anybody that there is a route.
fn only<S: Clone + Send + Sync + 'static>(allowed: &'static str) -> MethodRouter<S> {
    any(async move || (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, allowed)]))
}

struct Routes<F> {
    manager: KeyManager,
    format: F,
}

impl<F: KeyRoutesFormat> Routes<F> {
    fn answer(&self, result: Result<Success, ManageError>) -> Response {
        match result {
            Ok(Success { status, data, next_cursor }) => self.format.success(status, data, next_cursor),
            Err(error) => self.format.failure(&error),
        }
    }
}

impl<F> Routes<F> {
    /// Who asks for what is done to which key, if that is permitted. Whoever may not do it is not told whether the key
    /// is there.
    fn begin(
        &self,
        extensions: &Extensions,
        action: KeyAction,
        parameters: Result<RawPathParams, RawPathParamsRejection>,
    ) -> Result<(Authority, KeyId), ManageError> {
        let authority = authority(extensions)?;
        let id = parameters.ok().and_then(key_id);
        self.manager.permit(&authority, action, id)?;
        Ok((authority, id.ok_or(ManageError::NotFound)?))
    }
}

struct Success {
    status: StatusCode,
    data: serde_json::Value,
    next_cursor: Option<String>,
}

/// Stands before all routes and all other methods: nobody without a principal gets any further, and no answer is kept
/// by a cache.
async fn guard<F: KeyRoutesFormat>(
    State(routes): State<Arc<Routes<F>>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match authority(request.extensions()) {
        Ok(_) => next.run(request).await,
        Err(error) => {
            if Authentication::of(request.extensions()).is_none() {
                let missing = Reason::LayerMissing(
                    "routes for keys need AuthenticateLayer outside them: add that one to the router after nesting them",
                );
                crate::log::refused(&Rejection::new(missing));
            }
            routes.format.failure(&error)
        }
    };
    let unavailable = response.status() == StatusCode::SERVICE_UNAVAILABLE;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if unavailable {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn authority(extensions: &Extensions) -> Result<Authority, ManageError> {
    let principal = Principal::from_extensions(extensions).ok_or(ManageError::Unauthenticated)?;
    Ok(Authority::principal(principal))
}

async fn list<F: KeyRoutesFormat>(
    State(routes): State<Arc<Routes<F>>>,
    extensions: Extensions,
    uri: Uri,
) -> Response {
    let result = async {
        let authority = authority(&extensions)?;
        routes.manager.permit(&authority, KeyAction::Read, None)?;
        let Query(parameters) = Query::try_from_uri(&uri)
            .map_err(|_| ManageError::invalid("query", "must be form-urlencoded"))?;
        let query = query::parse(parameters, &routes.manager)?;
        let page = routes.manager.list(&authority, &query).await?;
        Ok(Success {
            status: StatusCode::OK,
            data: page.keys.iter().map(json::key).collect(),
            next_cursor: page.next.map(|cursor| cursor.to_string()),
        })
    };
    routes.answer(result.await)
}

async fn create<F: KeyRoutesFormat>(
    State(routes): State<Arc<Routes<F>>>,
    extensions: Extensions,
    request: Request,
) -> Response {
    let result = async {
        let authority = authority(&extensions)?;
        routes.manager.permit(&authority, KeyAction::Create, None)?;
        let key = body::new_key(request).await?;
        let created = routes.manager.create(&authority, key).await?;
        Ok(Success { status: StatusCode::CREATED, data: json::created(&created), next_cursor: None })
    };
    routes.answer(result.await)
}

async fn rotate<F: KeyRoutesFormat>(
    State(routes): State<Arc<Routes<F>>>,
    extensions: Extensions,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let result = async {
        let (authority, id) = routes.begin(&extensions, KeyAction::Rotate, parameters)?;
        let rotated = match body::rotation(request).await? {
            Rotation { on_first_use: true, grace } => {
                routes.manager.rotate_on_first_use(&authority, &id, grace).await?
            }
            Rotation { grace, .. } => routes.manager.rotate(&authority, &id, grace).await?,
        };
        Ok(Success { status: StatusCode::OK, data: json::created(&rotated), next_cursor: None })
    };
    routes.answer(result.await)
}

async fn delete<F: KeyRoutesFormat>(
    State(routes): State<Arc<Routes<F>>>,
    extensions: Extensions,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
) -> Response {
    let result = async {
        let (authority, id) = routes.begin(&extensions, KeyAction::Delete, parameters)?;
        routes.manager.delete(&authority, &id).await?;
        Ok(Success { status: StatusCode::OK, data: json::deleted(&id), next_cursor: None })
    };
    routes.answer(result.await)
}

async fn revoke<F: KeyRoutesFormat>(
    State(routes): State<Arc<Routes<F>>>,
    extensions: Extensions,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
) -> Response {
    let result = async {
        let (authority, id) = routes.begin(&extensions, KeyAction::Revoke, parameters)?;
        let key = routes.manager.revoke(&authority, &id).await?;
        Ok(Success { status: StatusCode::OK, data: json::key(&key), next_cursor: None })
    };
    routes.answer(result.await)
}

/// By name, since the router may be nested below paths with parameters of their own; the last, since the innermost is
/// ours.
fn key_id(parameters: RawPathParams) -> Option<KeyId> {
    let (_, id) = parameters.iter().filter(|(name, _)| *name == "key_id").last()?;
    id.parse().ok()
}
