//! Reads whole responses, for presets whose bodies are published byte for byte.

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{HeaderMap, Request};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_api_keys::middleware::ApiKeysLayer;
use tower_api_keys::{ApiKeys, ApiKeysBuilder, ErrorFormat};

use crate::support::whoami;

/// A response.
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Whole {
    #[track_caller]
    pub(crate) fn is_json(&self, status: u16, body: &str) {
        assert_eq!((self.status, &*self.body), (status, body));
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.headers["cache-control"], "no-store");
    }

    #[track_caller]
    pub(crate) fn is_text(&self, status: u16, body: &str) {
        assert_eq!((self.status, &*self.body), (status, body));
        assert_eq!(self.headers["content-type"], "text/plain");
        assert_eq!(self.headers["cache-control"], "no-store");
    }

    pub(crate) fn challenges(&self) -> Vec<&str> {
        self.headers.get_all("www-authenticate").iter().map(|value| value.to_str().unwrap()).collect()
    }
}

/// A request for a path, with these fields.
pub(crate) fn get(path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let request =
        fields.iter().fold(Request::get(path), |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap()
}

/// The response of a layer around a service that accepts everything.
pub(crate) async fn through<F: ErrorFormat<Bytes>>(layer: ApiKeysLayer<F>, request: Request<()>) -> Whole {
    let response = layer.layer(service_fn(whoami)).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    Whole {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// The response of all checks of an assembly.
pub(crate) async fn all<F: ErrorFormat<Bytes>>(keys: ApiKeysBuilder<F>, request: Request<()>) -> Whole {
    through(keys.build().unwrap().layer(), request).await
}

/// The response to the second of two equal requests.
pub(crate) async fn second<F: ErrorFormat<Bytes>>(
    keys: ApiKeysBuilder<F>,
    request: impl Fn() -> Request<()>,
) -> Whole {
    let keys = keys.build().unwrap();
    through(keys.layer(), request()).await;
    through(keys.layer(), request()).await
}

/// The response of a router, such as that of the key routes.
pub(crate) async fn routed(mut router: axum::Router, request: Request<Body>) -> Whole {
    let (head, body) = router.call(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Whole {
        status: head.status.as_u16(),
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// The key routes of an assembly below `path`, inside its authentication.
pub(crate) fn key_routes<F: ErrorFormat<Body>>(
    keys: &ApiKeys<F>,
    path: &str,
    delete_revokes: bool,
) -> axum::Router {
    let routes = keys.key_routes_of(keys.manager().clone());
    let routes = if delete_revokes { routes.delete_revokes() } else { routes };
    axum::Router::new().nest(path, routes.into_router()).layer(keys.authenticate())
}
