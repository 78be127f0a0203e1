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
//! # Operator and staff
//!
//! The application's own code and command line act as the [operator](Authority::operator), and can say for whom. Members of
//! its staff, in a [session](crate::identity#sessions) of the system tier, act through
//! [`Authority::system`]. Both reach the keys of every organization.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_api_keys::key::{KeyStatus, Mode, Owner};
//! use tower_api_keys::manage::{Authority, KeyChange};
//! # use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, NewKey};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?).bearer().without_route_table().build()?;
//! # let made = keys.manager().create_for("org_1", NewKey::new("Production").scope("invoice:read")).await?;
//! # let (id, pasted) = (made.key.id, made.secret.expose_secret().to_owned());
//! let ada = Authority::operator(Owner::organization("org_1".parse()?, Mode::Live)).by("ada");
//! keys.manager().update(&ada, &id, KeyChange::new().scopes(["invoice:read"]).limit("reads", 5_000)).await?;
//! keys.manager().rotate_on_first_use(&ada, &id, Duration::from_secs(3600)).await?;
//! if let Some(leaked) = keys.manager().find_by_text(&pasted).await? {
//!     // Of whatever organization it is.
//!     let ada = Authority::operator(leaked.owner).by("ada");
//!     keys.manager().revoke_with_descendants(&ada, &leaked.id).await?;
//! }
//!
//! let mut query = keys.manager().of_status(KeyStatus::Revoked);
//! query.name_prefix = Some("Prod".to_owned());
//! let revoked = keys.manager().list_all(&query).await?.keys;
//! assert_eq!((revoked.len(), revoked[0].limits["reads"].get()), (1, 5_000));
//! # Ok(())
//! # }
//! ```
//!
//! A page for staff needs no handler for most of that: `KeyRoutes::for_staff`.
//!
//! A one-time key, for instance in a link, is [redeemed](KeyManager::redeem).
//!
//! # Audit
//!
//! Every change of a key has an [`AuditEvent`], without secrets and without text of clients. The stores of this crate keep it:
//! `SqliteStore` and `PostgresStore` write it in the transaction of the change, so that a process that is killed leaves
//! neither without the other; `MemoryStore` keeps the last 10 000. [`history`](KeyManager::history) reads those of a key, and
//! [`history_of_all`](KeyManager::history_of_all) all. A [sink](crate::ApiKeysBuilder::audit) passes them on to a system of the
//! application's own.
//!
//! | | |
//! |---|---|
//! | done | always an event; also the first use of a new secret ([`KeyAction::Activate`]), but no other change that requests make: a digest under a new pepper, or in place of a hash of another system, is of the same secret |
//! | forbidden | an event with the [code](Forbidden::code), 60 at once and then one a second in a process; beyond that only their number is logged |
//! | failed: 503 | the same, with the code `unavailable`. A store that does not answer can't keep it: only the log and the sink have it. The change may have been made for all that, and then has its event |
//! | not possible: 400, 404, 409, 412 | none |
//! | reading keys | none, unless it was forbidden or has failed |
//!
//! A key that the application stores [in its own transaction](KeyManager::prepare) has the event that it passes to `insert_in`.
//! Changes by other programs, in SQL, have none.
//!
//! # Over HTTP
//!
//! With the feature `axum`, [`ApiKeys::key_routes`](crate::ApiKeys) serves the same over HTTP, and
//! [`ApiKeysBuilder::key_routes`](crate::ApiKeysBuilder::key_routes) says who may use it.
//!
//! # Keys of another system
//!
//! Clients keep their keys if the new system reads them as they are. First comes the [format](crate::KeyFormat): without a
//! prefix, with other characters, with an identifier of its own; the assembly [accepts](crate::ApiKeysBuilder::also_accept) it
//! beside the format of new keys. How a key is imported depends on what the other system has kept of it:
//!
//! | it has kept | import |
//! |---|---|
//! | the key, as in an environment variable | [`import`](KeyManager::import) |
//! | the SHA-256 of the whole key, in hexadecimal or base64 | [`import_digest`](KeyManager::import_digest) of [`Digest::from_sha256`](crate::key::Digest::from_sha256) |
//! | its HMAC-SHA-256 | `import_digest` of `hmac-sha256:<pepper id>:<hexadecimal digits>`, with that secret among the [`Peppers`](crate::key::Peppers) |
//! | bcrypt, argon2, SHA-256 with a salt or of a part of the key; and an identifier or the first characters of the key | [`import_hash`](KeyManager::import_hash), with [`verify_imported`](crate::ApiKeysBuilder::verify_imported) |
//! | the same, and nothing that is in the key's text | none: such a key can't be found without trying every hash |
//!
//! An import can be repeated at each start: the store remembers it. A key that was rotated since keeps its new secret
//! ([`AlreadyExists`](ManageError::AlreadyExists)), and one that was deleted stays so ([`Deleted`](ManageError::Deleted))
//! until the operator [forgets](KeyManager::forget_import) the import.

mod attempt;
mod audit;
mod authority;
#[cfg(any(feature = "axum", feature = "cli"))]
pub(crate) mod csv;
mod delete;
mod ended;
mod error;
mod find;
mod history;
mod import;
#[cfg(any(feature = "axum", feature = "cli"))]
pub(crate) mod json;
mod key_change;
mod leak;
mod manager;
mod new_key;
#[cfg(feature = "console")]
mod once;
mod prepare;
mod redeem;
mod revoke;
mod revoked;
mod rotate;
#[cfg(feature = "axum")]
mod routes;
mod rules;
mod settings;
mod update;
mod usage;
mod view;

pub(crate) use audit::{AuditSink, Reporter};
pub use authority::Authority;
#[cfg(feature = "axum")]
pub(crate) use error::FailedCall;
pub use error::{Forbidden, ManageError};
pub use key_change::KeyChange;
pub use manager::KeyManager;
pub use new_key::NewKey;
pub use prepare::PreparedKey;
#[cfg(feature = "axum")]
pub use routes::KeyRoutes;
#[cfg(feature = "console")]
pub(crate) use routes::key_id;
#[cfg(feature = "axum")]
pub(crate) use routes::{usage_route, whoami};
#[cfg(feature = "console")]
pub(crate) use rules::{field_faults, name_fault};
pub use view::{CreatedKey, KeyView};

pub use crate::store::audit::{AuditEvent, KeyAction};
