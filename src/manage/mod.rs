//! Managing keys: create, list, update, rotate, disable, revoke, delete.
//!
//! [`KeyManager`] manages keys independently of HTTP. Each operation takes an [`Authority`], and sees and changes
//! only the keys of that authority's owner: an organization or the system, in one mode.
//!
//! Every operation of a [`Principal`](crate::Principal) follows these rules, in the order they are checked:
//!
//! 1. Managing keys needs its own scope, by default `api-keys:read` or `api-keys:write`. Having a key is not enough.
//!    A secret that a rotation has replaced authenticates requests in its grace period, and manages nothing but lists keys.
//! 2. A key of another organization or mode is treated exactly as if it did not exist.
//! 3. A caller cannot grant more than it has. A caller that gets a secret (create, rotate) or reactivates a key
//!    (enable) must hold each of the key's scopes, must not expire before it, must not have lower limits, and must
//!    not be restricted to fewer addresses. An [update](KeyManager::update) that lets a key do more is such a grant; one
//!    that takes from it is always allowed.
//! 4. The caller's own key must still be valid when the operation is done, not only when the request arrived: a
//!    revocation also stops pending requests for new keys.
//!
//! Revoking is final. Changes are made by compare-and-swap: a change that loses a race reads the stored record again,
//! so that no concurrent change undoes a revocation.
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
//! // The application's own code makes the first key of an organization.
//! let operator = Authority::operator(Owner::organization("acme".parse()?, Mode::Live));
//! let created = manager.create(&operator, NewKey::new("Production").scopes(["workflows:read", "api-keys:write"])).await?;
//! assert!(created.secret.expose_secret().starts_with("wfk_"));
//!
//! // The secret cannot be shown again.
//! let page = manager.list(&operator, &KeyQuery::default()).await?;
//! assert_eq!(page.keys[0].name, "Production");
//!
//! // A new secret; the old one is valid for another day.
//! let rotated = manager.rotate(&operator, &created.key.id, KeyManager::DEFAULT_GRACE).await?;
//! assert_eq!(rotated.key.id, created.key.id);
//!
//! manager.revoke(&operator, &created.key.id).await?;
//! assert!(matches!(manager.revoke(&operator, &created.key.id).await, Err(ManageError::NotFound)));
//! # Ok(())
//! # }
//! ```
//!
//! An existing key, for instance from an environment variable, is [imported](KeyManager::import).
//!
//! A one-time key, for instance in a link, is [redeemed](KeyManager::redeem).
//!
//! With the feature `axum`, [`ApiKeys::key_routes`](crate::ApiKeys) serves the same over HTTP.

mod attempt;
mod audit;
mod authority;
mod error;
mod import;
mod key_change;
mod manager;
mod new_key;
mod redeem;
mod revoke;
mod revoked;
mod rotate;
#[cfg(feature = "axum")]
mod routes;
mod rules;
mod settings;
mod update;
mod view;

pub(crate) use audit::AuditSink;
pub use audit::{AuditEvent, KeyAction};
pub use authority::Authority;
pub use error::{Forbidden, ManageError};
pub use key_change::KeyChange;
pub use manager::KeyManager;
pub use new_key::NewKey;
#[cfg(feature = "axum")]
#[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
pub use routes::KeyRoutes;
pub use view::{CreatedKey, KeyStatus, KeyView};
