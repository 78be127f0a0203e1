//! Requests to a running application: whether it does what its document says.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use serde::Serialize;
use tower::Service;

use super::document::Document;
use super::operation::Operation;
use super::operations;
use super::responses::example_request;
use super::{Drift, OpenApiError, Probe};
use crate::ApiKeys;
use crate::address::PeerAddress;
use crate::middleware::Requirements;
use crate::rejection::{ErrorFormat, Reason, Rejection, reject};
use crate::request::RequestView;
use crate::route::{Access, Route};

impl<F: ErrorFormat<Bytes>> ApiKeys<F> {
    /// Sends requests to every operation of a document that a rule covers, and returns those that are not answered as the rule
    /// says: a route outside of the layer, a layer that another one overrules, a method that the router does not have. For
    /// a test.
    ///
    /// 1. Without a credential, the answer is the 401 of the assembly, or anything else where none is needed.
    /// 2. With a key that lacks the scope, it is the 403 of the assembly.
    /// 3. With a key that the rule accepts, it is neither of the two, nor 405, nor 404 where the path has no parameters.
    ///
    /// `credential` makes the header fields of a caller that meets an [`Access`], such as those of a key with its scope. The
    /// requests of the third kind reach the handlers, without a body, and with the examples of path parameters or else `1`. Limits
    /// have to be wide enough for all of them. Where the layer is inside of a nested router, and so rules have no prefix, the
    /// service to probe is that router.
    ///
    #[cfg_attr(feature = "axum", doc = "```")]
    #[cfg_attr(not(feature = "axum"), doc = "```text")]
    /// use axum::body::Body;
    /// use axum::{Router, routing::get};
    /// use http::{HeaderMap, HeaderName};
    /// # use serde_json::json;
    /// use tower_api_keys::scope::Scope;
    /// use tower_api_keys::{Access, ApiKeys, KeyFormat, MemoryStore, NewKey};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/runs", "runs:read")
    ///     .build()?;
    /// let app: Router = Router::new().route("/runs", get(async || "runs")).layer(keys.layer());
    /// # let mut document = json!({ "openapi": "3.1.1", "info": { "title": "", "version": "" }, "paths": { "/runs": { "get": {} } } });
    /// # keys.openapi(&mut document)?;
    ///
    /// let credential = async |access: &Access| {
    ///     let scopes = match access {
    ///         Access::Scope(needed) => needed.scopes(),
    ///         _ => &[],
    ///     };
    ///     let key = NewKey::new("probe").scopes(scopes.iter().map(Scope::as_str));
    ///     let key = keys.manager().create_for("org_1", key).await.expect("the store is in memory");
    ///     let value = key.secret.expose_secret().parse().expect("a key is visible ASCII");
    ///     HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), value)])
    /// };
    /// assert_eq!(keys.openapi_probe::<_, _, Body, _>(&document, app, credential).await?, []);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenApiError`] if the document is not one of OpenAPI 3.1 or 3.2.
    pub async fn openapi_probe<D, S, B, R>(
        &self,
        document: &D,
        service: S,
        credential: impl AsyncFn(&Access) -> HeaderMap,
    ) -> Result<Vec<Drift>, OpenApiError>
    where
        D: Serialize,
        S: Service<Request<B>, Response = Response<R>, Error = Infallible> + Clone,
        B: Default,
    {
        let mut drift = Vec::new();
        for operation in operations::take(&mut Document::read(document)?)? {
            let Some((route, requirements)) = operation.requirements(self) else { continue };
            let expected = Expected::of(self, &route, &requirements);
            let access = requirements.access.cloned().unwrap_or(Access::AnyKey);
            let mut probes = vec![(Probe::Anonymous, HeaderMap::new())];
            if access.requirement().is_some() {
                probes.push((Probe::WithoutScope, credential(&access.without_scope()).await));
            }
            probes.push((Probe::Accepted, credential(&access).await));
            for (probe, fields) in probes {
                let status = send(service.clone(), &operation, &route, fields).await;
                let is_absent = status == StatusCode::NOT_FOUND && !route.has_parameters();
                let is_allowed = expected.allows(probe, status, requirements.is_open);
                if !is_allowed || probe == Probe::Accepted && is_absent {
                    drift.push(Drift::Answer { route: route.clone(), probe, status });
                }
            }
        }
        Ok(drift)
    }
}

/// The statuses of the assembly's rejections.
struct Expected {
    unauthenticated: StatusCode,
    without_scope: Option<StatusCode>,
}

impl Expected {
    fn of<F: ErrorFormat<Bytes>>(keys: &ApiKeys<F>, route: &Route, requirements: &Requirements<'_>) -> Self {
        let request = example_request(route, keys.gives_request_ids());
        let status = |rejection| reject(rejection, keys, RequestView::of(&request), false).status();
        let missing = Rejection::new(Reason::CredentialMissing);
        let mut rejections = requirements.rejections.iter();
        let without_scope = rejections.find(|one| matches!(one.reason(), Reason::ScopeMissing(_)));
        Self { unauthenticated: status(&missing), without_scope: without_scope.map(status) }
    }

    fn allows(&self, probe: Probe, status: StatusCode, is_open: bool) -> bool {
        match probe {
            Probe::Anonymous => (status == self.unauthenticated) != is_open,
            Probe::WithoutScope => Some(status) == self.without_scope,
            Probe::Accepted => {
                status != self.unauthenticated
                    && Some(status) != self.without_scope
                    && status != StatusCode::METHOD_NOT_ALLOWED
            }
        }
    }
}

async fn send<S, B, R>(mut service: S, operation: &Operation, route: &Route, fields: HeaderMap) -> StatusCode
where
    S: Service<Request<B>, Response = Response<R>, Error = Infallible>,
    B: Default,
{
    let mut request = Request::new(B::default());
    *request.method_mut() = example_request(route, false).method().clone();
    *request.uri_mut() = operation.example_path(route).parse().unwrap_or_default();
    *request.headers_mut() = fields;
    request.extensions_mut().insert(PeerAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let Ok(()) = poll_fn(|context| service.poll_ready(context)).await;
    let Ok(response) = service.call(request).await;
    response.status()
}
