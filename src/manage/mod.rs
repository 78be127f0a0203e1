//! Managing keys: create, list, rotate, switch off, revoke, delete.
//!
//! [`KeyManager`] does it, and knows nothing of HTTP. Each operation says on whose [`Authority`] it is done, and sees
//! and changes only what belongs to that authority's owner: an organization or the system, in one mode.
//!
//! What holds for every operation on a [`Principal`](crate::Principal)'s authority, in the order it is checked:
//!
//! 1. Managing keys needs a scope of its own, `api-keys:read` or `api-keys:write` unless the host says otherwise.
//!    Holding a key is not enough.
//! 2. A key of another organization or mode is not there, exactly as if it did not exist.
//! 3. Nobody hands out more than they have. Whoever gets a secret (create, rotate) or brings a key back (enable) must
//!    hold each of its scopes, must not expire before it does, must not have smaller limits, and must not be held to
//!    fewer addresses.
//! 4. Whoever gets a secret or brings a key back must hold a good key when that is done, not only when the request came:
//!    a revocation also ends requests for keys that are still on their way.
//!
//! Revoking is final. Changes are made by compare-and-swap: one that was overtaken looks again at what is stored, so
//! that nothing that happens at the same time as a revocation undoes it.
//!
//! ```
//! use tower_api_keys::key::{KeyFormat, Mode, Owner};
//! use tower_api_keys::manage::{Authority, KeyManager, ManageError, NewKey};
//! use tower_api_keys::store::{KeyQuery, MemoryStore};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let manager = KeyManager::new(MemoryStore::new(), KeyFormat::new("wfk_")?);
//!
//! // The first key of an organization comes from the host's own code.
//! let operator = Authority::operator(Owner::organization("acme".parse()?, Mode::Live));
//! let created = manager.create(&operator, NewKey::new("Production").scopes(["workflows:read", "api-keys:write"])).await?;
//! assert!(created.secret.expose_secret().starts_with("wfk_"));
//!
//! // From now on nobody can see the secret again.
//! let page = manager.list(&operator, &KeyQuery::default()).await?;
//! assert_eq!(page.keys[0].name, "Production");
//!
//! // A new secret; the old one goes on for a day.
//! let rotated = manager.rotate(&operator, &created.key.id, KeyManager::DEFAULT_GRACE).await?;
//! assert_eq!(rotated.key.id, created.key.id);
//!
//! manager.revoke(&operator, &created.key.id).await?;
//! assert!(matches!(manager.revoke(&operator, &created.key.id).await, Err(ManageError::NotFound)));
//! # Ok(())
//! # }
//! ```
//!
//! A key that is there already, in an environment variable for instance, is [imported](KeyManager::import).
//!
//! A key that is good for one use, in a link say, is [redeemed](KeyManager::redeem).
//!
//! With the feature `axum`, [`ApiKeys::key_routes`](crate::ApiKeys) serves the same over HTTP.

mod attempt;
mod audit;
mod authority;
mod error;
mod manager;
mod new_key;
mod redeem;
mod rotate;
#[cfg(feature = "axum")]
mod routes;
mod rules;
mod settings;
mod view;

pub use audit::{AuditEvent, AuditOutcome, AuditSink, KeyAction};
pub use authority::{Actor, Authority};
pub use error::{Forbidden, ManageError};
pub use manager::KeyManager;
pub use new_key::{ExistingKey, NewKey};
pub use redeem::RedeemedKey;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use routes::KeyRoutes;
pub use view::{CreatedKey, KeyStatus, KeyView, KeyViewPage};
