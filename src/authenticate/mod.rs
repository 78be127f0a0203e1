//! The layer that finds out who is calling.
//!
//! [`AuthenticateLayer`] reads the one credential of a request, looks its key up in a
//! [`KeyStore`](crate::store::KeyStore), and either attaches a [`Principal`](crate::Principal) to the request or turns it
//! away. It goes outside the layers that need the principal, and covers everything under it: routes, the fallback,
//! unknown paths.
//!
//! Where a key alone is not enough, [`Companions`] say what has to come with it: the secret of an app, a session token.
//!
//! Which checks it makes, and in which order, is said in one place: [`Check`](crate::rejection::Check).
//!
//! ```
//! use bytes::Bytes;
//! use http::{HeaderName, Request, Response, StatusCode};
//! use tower::{Layer, Service};
//! use tower_api_keys::clock::Timestamp;
//! use tower_api_keys::credential::HeaderKey;
//! use tower_api_keys::key::{KeyFormat, KeyRecord, Mode, Owner, Peppers};
//! use tower_api_keys::store::{KeyAdministration, MemoryStore};
//! use tower_api_keys::{AuthenticateLayer, Principal};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A store with one key in it.
//! let store = MemoryStore::new();
//! let key = "wfk_abc123def456ghi789jkl012mno345pq";
//! let owner = Owner::organization("acme".parse()?, Mode::Live);
//! let digest = Peppers::none().digest(key);
//! store.insert(KeyRecord::new("k1".parse()?, owner, digest, Timestamp::from_unix_seconds(0))).await?;
//!
//! // Keys come in `x-api-key`.
//! let format = KeyFormat::new("wfk_").build()?;
//! let layer = AuthenticateLayer::new(store, HeaderKey::new(HeaderName::from_static("x-api-key"), format));
//!
//! // Any tower service can stand behind the layer.
//! let mut service = layer.layer(tower::service_fn(async |request: Request<()>| {
//!     let principal = Principal::from_extensions(request.extensions()).expect("the layer stands outside");
//!     Ok::<_, std::convert::Infallible>(Response::new(Bytes::from(principal.key_id().to_string())))
//! }));
//!
//! let response = service.call(Request::builder().header("x-api-key", key).body(())?).await?;
//! assert_eq!(response.status(), StatusCode::OK);
//! assert_eq!(response.body(), "k1");
//!
//! let response = service.call(Request::new(())).await?;
//! assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
//! assert_eq!(response.headers()["www-authenticate"], r#"ApiKey header="x-api-key""#);
//! # Ok(())
//! # }
//! ```

mod challenges;
mod checks;
mod future;
mod layer;
mod parts;
mod service;
mod session;
mod throttle;

pub use future::ResponseFuture;
pub use layer::AuthenticateLayer;
pub use parts::{Companions, Parts};
pub use service::Authenticate;
