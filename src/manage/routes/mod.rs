use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{Query, RawPathParams, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER};
use http::{Extensions, HeaderValue, StatusCode, request};

mod body;
mod json;
mod query;

use self::body::Rotation;
use super::{Authority, KeyAction, KeyManager, ManageError};
use crate::identity::{Authentication, Principal};
use crate::key::KeyId;
use crate::rejection::{ApiError, ErrorFormat, FieldError, Reason, Rejection, Success, log};
use crate::request::RequestView;

/// Serves a [`KeyManager`] over HTTP. [`ApiKeys::key_routes`](crate::ApiKeys::key_routes) makes the routes of an assembly's
/// own manager.
///
/// | route | does | action |
/// |---|---|---|
/// | `GET /?limit=&cursor=&olderThanDays=` | lists keys, oldest first, 100 at a time | [`Read`](KeyAction::Read) |
/// | `POST /` with `{"name": …, "scopes": […], "expiresAt": …, "allowedAddresses": […]}` | makes a key; 201, with `key` | [`Create`](KeyAction::Create) |
/// | `POST /{id}/rotate` | gives a key a new secret; 200, with `key` | [`Rotate`](KeyAction::Rotate) |
/// | `POST /{id}/revoke` | ends a key, which stays in the list | [`Revoke`](KeyAction::Revoke) |
/// | `DELETE /{id}` | removes a key for good; answers with its identifier and `"deleted":true` | [`Delete`](KeyAction::Delete) |
///
/// With [`delete_revokes`](Self::delete_revokes), `DELETE` ends the key and the two routes below `/{id}` are left out.
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
/// 2. A caller without the scope for the action is 403; the body has not been read yet. Which scope that is, the
///    [manager](KeyManager::with_scope_for) says.
/// 3. An identifier that is malformed, unknown, or of another owner is one and the same 404; of a revoked key, too, unless
///    it is to be deleted.
/// 4. A body is one JSON object of at most 16 KiB, sent as `application/json`. `name` and `scopes` must be there,
///    `expiresAt` (RFC 3339) and `allowedAddresses` (networks, such as `192.0.2.0/24`) may. An unknown member, one
///    that comes twice, or one of a wrong type is 400, with every fault listed, and nothing is stored.
/// 5. A caller whose key ends while the body is still on its way gets no new one: 403.
/// 6. `allowedAddresses` is `null` for a key that may be used from anywhere. A new key gets those of the caller's key
///    where it names none.
/// 7. No response may be cached.
///
/// A rotation needs no body. One can have
///
/// - `graceSeconds` or `graceHours`: how long the old secret goes on, 0 to [7 days](KeyManager::MAX_GRACE), and
///   [24 hours](KeyManager::DEFAULT_GRACE) if nothing is said;
/// - `activation`: `immediate`, or `first_use` for a new secret that
///   [takes over when it is first used](KeyManager::rotate_on_first_use); the grace starts then.
///
/// The keys are those of the [owner](Principal::owner) for whom the caller acts, and never of what the path says. Below a
/// path that names an organization, the assembly needs an [organization rule](crate::identity::OrganizationRule), which
/// rejects others.
///
/// Responses are those of the format of errors: [`ErrorFormat::error`] and [`ErrorFormat::success`].
#[derive(Debug)]
#[must_use]
pub struct KeyRoutes<F> {
    manager: KeyManager,
    errors: Arc<F>,
    delete_revokes: bool,
}

impl<F: ErrorFormat<Body>> KeyRoutes<F> {
    /// The routes of `manager`, with responses in this format.
    pub fn new(manager: KeyManager, errors: F) -> Self {
        Self { manager, errors: Arc::new(errors), delete_revokes: false }
    }

    /// Has `DELETE` revoke keys, and no further routes for keys.
    pub fn delete_revokes(self) -> Self {
        Self { delete_revokes: true, ..self }
    }

    /// The routes, to be nested where the application wants them, inside of [`layer`](crate::ApiKeys::layer) or
    /// [`authenticate`](crate::ApiKeys::authenticate).
    pub fn into_router<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let delete_revokes = self.delete_revokes;
        let routes = Arc::new(Routes { manager: self.manager, errors: self.errors });
        let router = Router::new().route("/", only("GET,HEAD,POST").get(list::<F>).post(create::<F>));
        let router = if delete_revokes {
            router.route("/{key_id}", only("DELETE").delete(revoke::<F>))
        } else {
            router
                .route("/{key_id}", only("DELETE").delete(delete::<F>))
                .route("/{key_id}/rotate", only("POST").post(rotate::<F>))
                .route("/{key_id}/revoke", only("POST").post(revoke::<F>))
        };
        router.layer(middleware::from_fn_with_state(routes.clone(), guard::<F>)).with_state(routes)
    }
}

/// axum would write `Allow` on the guard's 401, too, and so tell anybody that there is a route.
fn only<S: Clone + Send + Sync + 'static>(allowed: &'static str) -> MethodRouter<S> {
    any(async move || (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, allowed)]))
}

struct Routes<F> {
    manager: KeyManager,
    errors: Arc<F>,
}

type Head = request::Parts;

impl<F: ErrorFormat<Body>> Routes<F> {
    fn answer(&self, head: &Head, result: Result<Success, ManageError>) -> Response {
        match result {
            Ok(success) => self.errors.success(&success),
            Err(error) => self.fail(head, &error),
        }
    }

    fn fail(&self, head: &Head, error: &ManageError) -> Response {
        let request = RequestView::of_parts(head);
        let kind = error.kind();
        let fields: &[FieldError] = match error {
            ManageError::Invalid(fields) => fields,
            _ => &[],
        };
        let (code, message) = match error {
            ManageError::Forbidden(forbidden) => {
                (forbidden.code(), format!("Not allowed: {forbidden}.").into())
            }
            ManageError::NotFound => (kind.code(), "There is no such key.".into()),
            ManageError::Store(_) | ManageError::Randomness(_) => {
                (kind.code(), "Keys can't be managed right now. Try again.".into())
            }
            _ => (kind.code(), std::borrow::Cow::Borrowed(kind.message())),
        };
        self.errors.error(&ApiError::new(kind, code, message, fields, request))
    }

    /// On whose authority what is done to which key, if that is permitted. A caller that may not do it does not learn
    /// whether the key is there.
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

fn success(status: StatusCode, data: serde_json::Value) -> Success {
    Success { status, data, next_cursor: None }
}

/// Stands before all routes and all other methods: a request without a principal gets no further, and no response is kept
/// by a cache.
async fn guard<F: ErrorFormat<Body>>(
    State(routes): State<Arc<Routes<F>>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match authority(request.extensions()) {
        Ok(_) => next.run(request).await,
        Err(error) => {
            let (head, _) = request.into_parts();
            if Authentication::of(&head.extensions).is_none() {
                let missing = Reason::Misconfigured(
                    "routes for keys need `ApiKeys::layer` or `authenticate` outside them: add it to the router after \
                     nesting them",
                );
                log(&Rejection::new(missing), RequestView::of_parts(&head));
            }
            routes.fail(&head, &error)
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

async fn list<F: ErrorFormat<Body>>(State(routes): State<Arc<Routes<F>>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let result = async {
        let authority = authority(&head.extensions)?;
        routes.manager.permit(&authority, KeyAction::Read, None)?;
        let Query(parameters) = Query::try_from_uri(&head.uri)
            .map_err(|_| ManageError::invalid("query", "must be form-urlencoded"))?;
        let query = query::parse(parameters, &routes.manager)?;
        let page = routes.manager.list(&authority, &query).await?;
        Ok(Success {
            status: StatusCode::OK,
            data: page.keys.iter().map(json::key).collect(),
            next_cursor: page.next.map(|cursor| cursor.to_string()),
        })
    };
    routes.answer(&head, result.await)
}

async fn create<F: ErrorFormat<Body>>(State(routes): State<Arc<Routes<F>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let result = async {
        let authority = authority(&head.extensions)?;
        routes.manager.permit(&authority, KeyAction::Create, None)?;
        let key = body::new_key(&head.headers, body).await?;
        let created = routes.manager.create(&authority, key).await?;
        Ok(success(StatusCode::CREATED, json::created(&created)))
    };
    routes.answer(&head, result.await)
}

async fn rotate<F: ErrorFormat<Body>>(
    State(routes): State<Arc<Routes<F>>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let result = async {
        let (authority, id) = routes.begin(&head.extensions, KeyAction::Rotate, parameters)?;
        let rotated = match body::rotation(&head.headers, body).await? {
            Rotation { on_first_use: true, grace } => {
                routes.manager.rotate_on_first_use(&authority, &id, grace).await?
            }
            Rotation { grace, .. } => routes.manager.rotate(&authority, &id, grace).await?,
        };
        Ok(success(StatusCode::OK, json::created(&rotated)))
    };
    routes.answer(&head, result.await)
}

async fn delete<F: ErrorFormat<Body>>(
    State(routes): State<Arc<Routes<F>>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    let result = async {
        let (authority, id) = routes.begin(&head.extensions, KeyAction::Delete, parameters)?;
        routes.manager.delete(&authority, &id).await?;
        Ok(success(StatusCode::OK, json::deleted(&id)))
    };
    routes.answer(&head, result.await)
}

async fn revoke<F: ErrorFormat<Body>>(
    State(routes): State<Arc<Routes<F>>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    let result = async {
        let (authority, id) = routes.begin(&head.extensions, KeyAction::Revoke, parameters)?;
        let key = routes.manager.revoke(&authority, &id).await?;
        Ok(success(StatusCode::OK, json::key(&key)))
    };
    routes.answer(&head, result.await)
}

/// By name, since the router may be nested below paths with parameters of their own; the last, since the innermost is
/// ours.
fn key_id(parameters: RawPathParams) -> Option<KeyId> {
    let (_, id) = parameters.iter().filter(|(name, _)| *name == "key_id").last()?;
    id.parse().ok()
}
