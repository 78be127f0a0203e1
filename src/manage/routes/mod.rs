use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{MethodRouter, any};
use http::header::{ALLOW, CACHE_CONTROL, ETAG};
use http::{Extensions, HeaderValue, StatusCode, request};

mod body;
mod entity_tag;
mod query;
mod usage;
mod whoami;

use self::body::Rotation;
use self::entity_tag::{entity_tag, if_match};
pub(crate) use self::usage::usage_route;
pub(crate) use self::whoami::whoami;
use super::{Authority, Forbidden, KeyAction, KeyManager, KeyView, ManageError, json};
use crate::identity::{Authentication, Caller, Principal, SystemPrincipal};
use crate::key::{KeyId, Owner};
use crate::outcome::report_misplaced;
use crate::rejection::{ErrorFormat, Reason, Success, fail};
use crate::request::RequestView;

/// Serves a [`KeyManager`] over HTTP. [`ApiKeys::key_routes`](crate::ApiKeys::key_routes) makes the routes of an
/// assembly's own manager, [`ApiKeysBuilder::key_routes`](crate::ApiKeysBuilder::key_routes) their rules.
///
/// | route | does | action |
/// |---|---|---|
/// | `GET /?limit=&cursor=&olderThanDays=&expiresWithinDays=&unusedForDays=&createdBy=&status=&scope=&namePrefix=` | lists keys, oldest first, 100 at a time | [`Read`](KeyAction::Read) |
/// | `POST /` with `{"name": …, "scopes": […], "expiresAt": …, "notBefore": …, "limits": {…}, "allowedAddresses": […], "metadata": {…}}` | creates a key; 201, with `key` | [`Create`](KeyAction::Create) |
/// | `GET /{id}` | one key, also a revoked one | [`Read`](KeyAction::Read) |
/// | `PATCH /{id}` with what changes of `name`, `scopes`, `expiresAt`, `notBefore`, `limits`, `allowedAddresses`, `metadata` | [updates](KeyManager::update) a key | [`Update`](KeyAction::Update) |
/// | `POST /{id}/rotate` | gives a key a new secret; 200, with `key` | [`Rotate`](KeyAction::Rotate) |
/// | `POST /{id}/revoke` | revokes a key, which stays in the list; with `?descendants=true` also [what was made with it](KeyManager::revoke_with_descendants), and returns all that it revoked | [`Revoke`](KeyAction::Revoke) |
/// | `GET /{id}/history?limit=&cursor=` | what was done to a key, the newest first, 100 [events](crate::manage::AuditEvent) at a time; if the store keeps an [audit log](crate::store::KeyAdministration::audit_log) | [`Read`](KeyAction::Read) |
/// | `DELETE /{id}` | removes a key for good; returns its identifier and `"deleted":true` | [`Delete`](KeyAction::Delete) |
///
/// With [`for_staff`](Self::for_staff), they serve the keys of all organizations, and make none. With
/// [`delete_revokes`](Self::delete_revokes), `DELETE` revokes the key, also with `?descendants=true`, and the routes below `/{id}` do not
/// exist.
///
/// A key is shown as
///
/// ```json
/// {"id":"k7Jc0qWvTz4n8XsB","organization":"acme","mode":"live","name":"Production","hint":"wfk_…45pq","nextHint":null,
///  "scopes":["workflows:read"],"status":"active","createdAt":"2023-12-14T05:20:00Z","createdBy":"operator ada",
///  "secretCreatedAt":"2023-12-14T05:20:00Z","ageDays":0,"previousValidUntil":null,"lastUsedAt":null,
///  "notBefore":null,"expiresAt":null,"limits":{"read":5000},"allowedAddresses":["192.0.2.0/24"],
///  "metadata":{"plan":"pro"}}
/// ```
///
/// Keys whose [records can't be read](crate::store::BrokenKey) are not among the `data` of a listing. Their identifiers are in
/// the member `broken` beside it, which is left out where there are none:
/// `{"data":[…],"nextCursor":null,"broken":["x9Kd2LmQ"]}`. To read or change one gets a 503 with the code `record_corrupt`.
/// It can be revoked, which is answered with `{"id":"x9Kd2LmQ","revoked":true}`, and deleted.
///
/// 1. A request without a principal is always rejected with 401.
/// 2. A caller without the scope for the action is rejected with 403, before the body is read. The
///    [manager](KeyManager::with_scope_for) sets the scope.
/// 3. An identifier that is malformed, unknown, or of another owner gets the same 404. So does a revoked key, unless
///    it is to be deleted.
/// 4. A body is one JSON object of at most 16 KiB, sent as `application/json`. For a new key `name` and `scopes` are
///    required; `expiresAt` and `notBefore` (RFC 3339), `limits` (requests in a window, by category), `allowedAddresses`
///    (networks, such as `192.0.2.0/24`) and `metadata` (an object of at most 4 KiB) are optional. An unknown or repeated member, or one of a wrong type, gets a 400 that lists every
///    fault, and nothing is stored.
/// 5. A caller whose key expires or is revoked while the body is being sent gets no new key: 403.
/// 6. `allowedAddresses` is `null` for a key that may be used from any address. A new key without it gets those of
///    the caller's key.
/// 7. No response may be cached.
/// 8. `PATCH` takes a merge patch (RFC 7396), also as `application/merge-patch+json`, with the members of a new key. What it
///    does not name stays; `null` removes an instant, a limit, all limits, all restrictions to addresses, or metadata, whole or a member;
///    scopes and networks are replaced as a whole.
/// 9. `GET` and `PATCH` of one key send its version as `ETag`. `PATCH` with `If-Match` (RFC 9110 section 13.1.1), one
///    tag, gets 412 if the key was changed meanwhile.
///
/// A rotation needs no body. Its optional members are
///
/// - `graceSeconds` or `graceHours`: how long the old secret still verifies, 0 to [7 days](KeyManager::MAX_GRACE), by
///   default [24 hours](KeyManager::DEFAULT_GRACE);
/// - `activation`: `immediate`, or `first_use` for a new secret that [comes into use when it is first
///   used](KeyManager::rotate_on_first_use); the grace period starts then.
///
/// The keys are those of the [owner](Principal::owner) that the caller acts for, never of an owner in the path. Below
/// a path that names an organization, the assembly needs an [organization rule](crate::identity::OrganizationRule),
/// which rejects others.
///
/// Responses have the format of the errors: [`ErrorFormat::error`] and [`ErrorFormat::success`].
#[derive(Debug)]
#[must_use]
pub struct KeyRoutes<F> {
    manager: KeyManager,
    errors: Arc<F>,
    delete_revokes: bool,
    is_for_staff: bool,
}

impl<F: ErrorFormat<Body>> KeyRoutes<F> {
    /// The routes of `manager`, with responses in this format.
    pub fn new(manager: KeyManager, errors: F) -> Self {
        Self { manager, errors: Arc::new(errors), delete_revokes: false, is_for_staff: false }
    }

    /// Makes `DELETE` revoke keys, and omits the routes below `/{id}`.
    pub fn delete_revokes(self) -> Self {
        Self { delete_revokes: true, ..self }
    }

    /// Serves the keys of all organizations and of the system, in the mode of the caller, to callers of the [system
    /// tier](crate::Principal::is_of_system) alone: a page for the application's staff. Others get 403.
    ///
    /// Callers need the scopes for managing keys. With keys of organizations they are not bound by what they hold otherwise, as
    /// [`Authority::system`] says; a key of the system gains nothing that they lack. They get no secrets: keys are neither made nor rotated here. Nest the routes where the
    /// assembly wants callers [of the system](crate::route::Access::of_system). A key of the other mode is 404 here, also one
    /// that [`find_by_text`](KeyManager::find_by_text) finds.
    ///
    /// ```
    /// use axum::Router;
    /// use tower_api_keys::scope::ScopeRequirement;
    /// use tower_api_keys::{Access, ApiKeys, KeyFormat, MemoryStore};
    ///
    /// const READ: ScopeRequirement = ScopeRequirement::from_static("api-keys:read");
    /// const WRITE: ScopeRequirement = ScopeRequirement::from_static("api-keys:write");
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/admin/keys", Access::from(READ).of_system())
    ///     .route("PATCH", "/admin/keys/{id}", Access::from(WRITE).of_system())
    ///     .route("POST", "/admin/keys/{id}/revoke", Access::from(WRITE).of_system())
    ///     .build()?;
    /// let staff = keys.key_routes_of(keys.manager().clone()).for_staff();
    /// let app: Router = Router::new().nest("/admin/keys", staff.into_router()).layer(keys.layer());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn for_staff(self) -> Self {
        Self { is_for_staff: true, ..self }
    }

    /// The routes, to be nested in the application, inside of [`layer`](crate::ApiKeys::layer) or
    /// [`authenticate`](crate::ApiKeys::authenticate).
    pub fn into_router<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let Self { manager, errors, delete_revokes, is_for_staff } = self;
        let keeps_history = manager.store().audit_log().is_some();
        let routes = Arc::new(Routes { manager, errors, is_for_staff });
        let all = match is_for_staff {
            true => only("GET,HEAD").get(list::<F>),
            false => only("GET,HEAD,POST").get(list::<F>).post(create::<F>),
        };
        let one = only("GET,HEAD,PATCH,DELETE").get(read::<F>).patch(update::<F>);
        let mut router = Router::new().route("/", all);
        if delete_revokes {
            router = router.route("/{key_id}", one.delete(revoke::<F>));
        } else {
            router = router
                .route("/{key_id}", one.delete(delete::<F>))
                .route("/{key_id}/revoke", only("POST").post(revoke::<F>));
            if keeps_history {
                router = router.route("/{key_id}/history", only("GET,HEAD").get(history::<F>));
            }
            if !is_for_staff {
                router = router.route("/{key_id}/rotate", only("POST").post(rotate::<F>));
            }
        }
        router.layer(middleware::from_fn_with_state(routes.clone(), guard::<F>)).with_state(routes)
    }
}

/// axum would add `Allow` to the guard's 401, too, which would reveal the route to unauthenticated clients.
fn only<S: Clone + Send + Sync + 'static>(allowed: &'static str) -> MethodRouter<S> {
    any(async move || (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, allowed)]))
}

struct Routes<F> {
    manager: KeyManager,
    errors: Arc<F>,
    is_for_staff: bool,
}

type Head = request::Parts;

impl<F: ErrorFormat<Body>> Routes<F> {
    fn answer(&self, head: &Head, result: Result<Success, ManageError>) -> Response {
        match result {
            Ok(success) => self.errors.success(&success),
            Err(error) => self.fail(head, &error),
        }
    }

    /// With the version as entity tag.
    fn answer_key(&self, head: &Head, result: Result<KeyView, ManageError>) -> Response {
        let tag = result.as_ref().ok().map(|key| entity_tag(key.version));
        let mut response = self.answer(head, result.map(|key| success(StatusCode::OK, json::key(&key))));
        if let Some(tag) = tag {
            response.headers_mut().insert(ETAG, tag);
        }
        response
    }

    fn fail(&self, head: &Head, error: &ManageError) -> Response {
        fail(&error.to_api_error(RequestView::of_parts(head)), &*self.errors)
    }

    /// The caller's authority: over the keys of the owner that it acts for, or, for staff, over those of the system.
    fn authority(&self, extensions: &Extensions) -> Result<Authority, ManageError> {
        let principal = Principal::from_extensions(extensions).ok_or(ManageError::Unauthenticated)?;
        if !self.is_for_staff {
            return Ok(Authority::principal(principal));
        }
        let staff = SystemPrincipal::from_extensions(extensions).ok_or(Forbidden::OperatorOnly)?;
        Ok(Authority::system(&staff, Owner::system(principal.mode())))
    }

    /// The authority and the key of a request, if the action is permitted. Otherwise the caller does not learn
    /// whether the key exists.
    async fn begin(
        &self,
        extensions: &Extensions,
        action: KeyAction,
        parameters: Result<RawPathParams, RawPathParamsRejection>,
    ) -> Result<(Authority, KeyId), ManageError> {
        let authority = self.authority(extensions)?;
        let id = parameters.ok().and_then(key_id);
        self.manager.permit(&authority, action, id).await?;
        let id = self.noted(&authority, action, None, id.ok_or(ManageError::NotFound))?;
        if !self.is_for_staff {
            return Ok((authority, id));
        }
        Ok((self.manager.reach(&authority, action, &id).await?, id))
    }

    /// Reports what is wrong with a request before the manager sees it.
    fn noted<T>(
        &self,
        authority: &Authority,
        action: KeyAction,
        id: Option<&KeyId>,
        read: Result<T, ManageError>,
    ) -> Result<T, ManageError> {
        read.inspect_err(|error| self.manager.settings().failed(authority, action, id, error))
    }
}

fn success(status: StatusCode, data: serde_json::Value) -> Success {
    Success { status, data, next_cursor: None, broken: Vec::new() }
}

/// Runs before all routes and methods: rejects requests without a principal, and marks every response as not
/// cacheable.
async fn guard<F: ErrorFormat<Body>>(
    State(routes): State<Arc<Routes<F>>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match routes.authority(request.extensions()) {
        Ok(_) => next.run(request).await,
        Err(error) => {
            let (head, _) = request.into_parts();
            let missing = match Authentication::of(&head.extensions) {
                None => Some(
                    "routes for keys need `ApiKeys::layer` or `authenticate` outside them: add it to the router after \
                     nesting them",
                ),
                Some(Authentication { caller: Caller::Session { .. }, .. }) => Some(
                    "routes for keys need `ApiKeys::layer` or `authorize` outside them, with \
                     `ApiKeysBuilder::organization`: for whom a session of several owners acts is not known before",
                ),
                Some(_) => None,
            };
            if let Some(missing) = missing {
                report_misplaced(Reason::Misconfigured(missing), RequestView::of_parts(&head));
            }
            routes.fail(&head, &error)
        }
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn list<F: ErrorFormat<Body>>(State(routes): State<Arc<Routes<F>>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let result = async {
        let authority = routes.authority(&head.extensions)?;
        routes.manager.permit(&authority, KeyAction::Read, None).await?;
        let query = query::parse(&head.uri, &routes.manager);
        let mut query = routes.noted(&authority, KeyAction::Read, None, query)?;
        let page = match routes.is_for_staff {
            true => {
                query.mode = Some(authority.owner().mode);
                routes.manager.list_all(&query).await?
            }
            false => routes.manager.list(&authority, &query).await?,
        };
        Ok(Success {
            status: StatusCode::OK,
            data: page.keys.iter().map(json::key).collect(),
            next_cursor: page.next.map(|cursor| cursor.to_string()),
            broken: page.broken.iter().filter_map(|key| key.id).collect(),
        })
    };
    routes.answer(&head, result.await)
}

async fn create<F: ErrorFormat<Body>>(State(routes): State<Arc<Routes<F>>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let result = async {
        let authority = routes.authority(&head.extensions)?;
        routes.manager.permit(&authority, KeyAction::Create, None).await?;
        let key = body::new_key(&head.headers, body).await;
        let key = routes.noted(&authority, KeyAction::Create, None, key)?;
        let created = routes.manager.create(&authority, key).await?;
        Ok(success(StatusCode::CREATED, json::created(&created)))
    };
    routes.answer(&head, result.await)
}

async fn read<F: ErrorFormat<Body>>(
    State(routes): State<Arc<Routes<F>>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    let result = async {
        let (authority, id) = routes.begin(&head.extensions, KeyAction::Read, parameters).await?;
        routes.manager.get(&authority, &id).await
    };
    routes.answer_key(&head, result.await)
}

async fn history<F: ErrorFormat<Body>>(
    State(routes): State<Arc<Routes<F>>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let (head, _) = request.into_parts();
    let result = async {
        let (authority, id) = routes.begin(&head.extensions, KeyAction::Read, parameters).await?;
        let query = routes.noted(&authority, KeyAction::Read, Some(&id), query::history(&head.uri))?;
        let page = routes.manager.history(&authority, &id, &query).await?;
        Ok(Success {
            status: StatusCode::OK,
            data: json::history(&page),
            next_cursor: page.next.map(|next| next.to_string()),
            broken: Vec::new(),
        })
    };
    routes.answer(&head, result.await)
}

async fn update<F: ErrorFormat<Body>>(
    State(routes): State<Arc<Routes<F>>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let result = async {
        let (authority, id) = routes.begin(&head.extensions, KeyAction::Update, parameters).await?;
        let change = body::change(&head.headers, body).await;
        let mut change = routes.noted(&authority, KeyAction::Update, Some(&id), change)?;
        let version = routes.noted(&authority, KeyAction::Update, Some(&id), if_match(&head.headers))?;
        if let Some(version) = version {
            change = change.if_version(version);
        }
        routes.manager.update(&authority, &id, change).await
    };
    routes.answer_key(&head, result.await)
}

async fn rotate<F: ErrorFormat<Body>>(
    State(routes): State<Arc<Routes<F>>>,
    parameters: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let result = async {
        let (authority, id) = routes.begin(&head.extensions, KeyAction::Rotate, parameters).await?;
        let rotation = body::rotation(&head.headers, body).await;
        let rotated = match routes.noted(&authority, KeyAction::Rotate, Some(&id), rotation)? {
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
        let (authority, id) = routes.begin(&head.extensions, KeyAction::Delete, parameters).await?;
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
        let (authority, id) = routes.begin(&head.extensions, KeyAction::Revoke, parameters).await?;
        let with_descendants = query::with_descendants(&head.uri);
        if routes.noted(&authority, KeyAction::Revoke, Some(&id), with_descendants)? {
            let keys = routes.manager.revoke_with_descendants(&authority, &id).await?;
            return Ok(success(StatusCode::OK, keys.iter().map(json::key).collect()));
        }
        let key = routes.manager.revoke(&authority, &id).await?;
        Ok(success(StatusCode::OK, key.map_or_else(|| json::revoked(&id), |key| json::key(&key))))
    };
    routes.answer(&head, result.await)
}

/// By name, since the router may be nested below paths with their own parameters; the last one, since the innermost
/// is ours.
pub(crate) fn key_id(parameters: RawPathParams) -> Option<KeyId> {
    let (_, id) = parameters.iter().filter(|(name, _)| *name == "key_id").last()?;
    id.parse().ok()
}
