//! Four published systems as data: key format, credential locations, routes with scopes, limits, error messages.
//!
//! Each returns an [`ApiKeysBuilder`](crate::ApiKeysBuilder), so that all settings can still be changed: the store,
//! peppers, the clock, the throttle, and the application's own limits. The examples in the repository serve them.
//!
//! # Writing your own
//!
//! Go through the documentation of your API. Each statement is one setting:
//!
//! | your API documents | the setting |
//! |---|---|
//! | the format of a key, a mark for live or test, a public identifier | [`KeyFormat`](crate::KeyFormat) |
//! | the header field of the key | [`header`](crate::ApiKeysBuilder::header), [`bearer`](crate::ApiKeysBuilder::bearer), [`basic`](crate::ApiKeysBuilder::basic), [`extractor`](crate::ApiKeysBuilder::extractor) |
//! | other credentials besides the key: an app's secret, a session token | [`companions`](crate::ApiKeysBuilder::companions) |
//! | signed tokens of people in place of a key | [`sessions`](crate::ApiKeysBuilder::sessions) |
//! | how a request names its organization: a required header, or a route, header or cookie that selects it | [`organization`](crate::ApiKeysBuilder::organization) |
//! | the permissions of a key | [`routes`](crate::ApiKeysBuilder::routes), [`Access`](crate::Access) |
//! | rate limits | [`limit`](crate::ApiKeysBuilder::limit) |
//! | an identifier in every response | [`request_ids`](crate::ApiKeysBuilder::request_ids) |
//! | metering | [`usage`](crate::ApiKeysBuilder::usage) |
//! | the format of errors | [`errors`](crate::ApiKeysBuilder::errors): a table, JSON from a closure, or a type |
//! | hidden resources of other owners | [`Owned`](crate::identity::Owned), in the handlers |
//! | links that open once | [`KeyManager::redeem`](crate::manage::KeyManager::redeem) |
//!
//! A complete example, for an API whose guide reads: *Send your key in `X-Harbor-Token`. Keys start with `hb_test_`
//! or `hb_live_`. Reading ships takes `ships:read`, changing them `ships:write`. Each key can make 60 requests a
//! minute. Errors are `{"problem":"…"}`.*
//!
//! ```
//! use serde_json::json;
//! use tower_api_keys::rejection::{ApiError, ErrorKind};
//! use tower_api_keys::store::KeyAdministration;
//! use tower_api_keys::{ApiKeys, ApiKeysBuilder, ErrorFormat, JsonErrors, KeyFormat, NewKey, Quota, RateLimit};
//!
//! fn harbor<B: From<bytes::Bytes>>(store: impl KeyAdministration) -> ApiKeysBuilder<impl ErrorFormat<B>> {
//!     let format = KeyFormat::builder("hb_").modes("test_", "live_").build().expect("prefix and marks make a format");
//!     let quota = Quota::per_minute(60).expect("60 a minute is a quota");
//!     ApiKeys::builder(store, format)
//!         .header("x-harbor-token")
//!         .limit(RateLimit::per_key("requests", quota))
//!         .routes([
//!             ("GET", "/ships", "ships:read"),
//!             ("GET", "/ships/{id}", "ships:read"),
//!             ("PUT", "/ships/{id}", "ships:write"),
//!         ])
//!         .errors(JsonErrors::new(|error: &ApiError<'_>| {
//!             json!({ "problem": match error.kind() {
//!                 ErrorKind::Unauthenticated => "Your token is not valid.",
//!                 ErrorKind::RateLimited => "Slow down.",
//!                 ErrorKind::Forbidden => "Your token is not for this.",
//!                 _ => "Something is wrong.",
//!             }})
//!         }))
//! }
//!
//! # use bytes::Bytes;
//! # use http::{Request, Response};
//! # use tower::{ServiceBuilder, ServiceExt};
//! # use tower_api_keys::store::MemoryStore;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = harbor::<Bytes>(MemoryStore::new()).build()?;
//! let key = keys.manager().create_for("rotterdam", NewKey::new("First key").scope("ships:read")).await?;
//! # let handler = async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(Bytes::from_static(b"[]")));
//! # let service = ServiceBuilder::new().layer(keys.layer()).service_fn(handler);
//! # for (method, token, status, text) in [
//! #     ("GET", key.secret.expose_secret(), 200, "[]"),
//! #     ("PUT", key.secret.expose_secret(), 403, r#"{"problem":"Your token is not for this."}"#),
//! #     ("GET", "hb_live_", 401, r#"{"problem":"Your token is not valid."}"#),
//! # ] {
//! #     let request = Request::builder().method(method).uri("/ships/7").header("x-harbor-token", token).body(())?;
//! #     let response = service.clone().oneshot(request).await?;
//! #     assert_eq!((response.status().as_u16(), &response.body()[..]), (status, text.as_bytes()));
//! # }
//! # Ok(())
//! # }
//! ```
//!
//! Then write the promises of your guide as a table of requests and responses, and send them to a real server: the
//! tests of the examples in this crate's repository are such tables.

pub mod justpaid;
pub mod pasby;
pub mod payment_gateway;
pub mod paymongo;

use serde::Serialize;

/// The JSON of a body whose members keep their order.
fn json(body: &impl Serialize) -> String {
    serde_json::to_string(body).expect("a body of texts and numbers is JSON")
}
