//! Where keys are kept: the traits, the in-memory store, and the test suite that every store must pass.
//!
//! A store implements two traits. [`KeyStore`] has the lookup that each request makes. [`KeyAdministration`] has what
//! [`KeyManager`](crate::manage::KeyManager) needs: insert, list, replace, delete. Both are usable as `dyn` and are
//! implemented for `Arc`. A store that only looks keys up is wrapped in [`ReadOnly`].
//!
//! A store decides nothing. It returns every record it holds, revoked and expired ones too, and the layer decides.
//! Put a `CachedStore` (feature `cache`) in front of a store whose lookups have to wait.
//!
//! | store | keys live | for |
//! |---|---|---|
//! | [`MemoryStore`] | as long as the process | tests, keys from the environment |
//! | `SqliteStore` (feature `sqlite`) | in a file | one machine |
//! | `PostgresStore` (feature `postgres`) | in PostgreSQL | many processes |
//!
//! # Upgrading
//!
//! The tables of `SqliteStore` and `PostgresStore` have a version. A release knows the versions up to its own, and upgrades older
//! tables when it opens the store (`SqliteStore::open`, `PostgresStore::connect`, `migrate`), or `api-keys migrate` does it before.
//! The row of `api_key_schema` has the version, and in `needed_version` the one that a program has to know at least.
//!
//! - Upgrade nodes one after the other, on one database. The first one upgrades the tables. The others use them for as long as they
//!   know what the tables need, and what they write is complete. The changelog names each release whose tables need more.
//! - A node that knows less makes no call any more, within a second. Its requests get a 503 response, those of cached keys
//!   5 seconds later at the latest; no key is changed; and the log says each second, with the code `schema_unusable`, to install a
//!   later release. Such a node does not start, either.
//! - To take a release back, start the one before it. It uses the newer tables on the same condition. Tables get no older: if they need
//!   more than the release knows, restore a backup.
//!
//! # Writing a store
//!
//! Implement both traits and run [`conformance::check`] on the store in a test.
//!
//! ```
//! use async_trait::async_trait;
//! use tower_api_keys::store::{KeySelector, KeyStore, Lookup, StoreError};
//! # use tower_api_keys::store::OwnedKeySelector;
//! # use tower_api_keys::key::KeyRecord;
//! # use std::sync::Arc;
//!
//! #[derive(Clone)]
//! struct Database { /* the handle of a connection pool, cheap to clone */ }
//!
//! #[async_trait]
//! impl KeyStore for Database {
//!     fn find(&self, selector: KeySelector<'_>) -> Lookup {
//!         let (database, selector) = (self.clone(), selector.to_owned());
//!         Lookup::pending(async move { database.query(selector).await })
//!     }
//! }
//! # impl Database {
//! #     async fn query(&self, _: OwnedKeySelector) -> Result<Option<Arc<KeyRecord>>, StoreError> { Ok(None) }
//! # }
//! ```
//!
//! A schema that meets the requirements of the traits, from the crate's own SQLite store:
//!
//! ```sql
#![doc = include_str!("sqlite/schema_1.sql")]
#![doc = include_str!("sqlite/schema_2.sql")]
#![doc = include_str!("sqlite/schema_3.sql")]
#![doc = include_str!("sqlite/schema_4.sql")]
#![doc = include_str!("sqlite/schema_5.sql")]
#![doc = include_str!("sqlite/schema_6.sql")]
#![doc = include_str!("sqlite/schema_7.sql")]
#![doc = include_str!("sqlite/schema_8.sql")]
//! ```
//!
//! - Compare and order texts byte for byte: `Ab` and `aB` are two identifiers. This is SQLite's default,
//!   `COLLATE "C"` in PostgreSQL and a `_bin` collation in MySQL.
//! - A system key has no organization. Here this is the empty text, which is not a valid identifier: a `NULL` is never
//!   found with `=`.
//! - A digest is unique among all digests, including previous and next ones; hence the second table. Both tables
//!   change in one transaction. (SQLite enforces `ON DELETE CASCADE` only after `PRAGMA foreign_keys = ON`.)
//! - [`replace`](KeyAdministration::replace) is an `UPDATE` that sets the next version, with identifier, owner and
//!   previous version as its condition; [`Conflict`](StoreErrorKind::Conflict) if it changed no row. A violated
//!   constraint is a `Conflict`, too.
//! - [`list`](KeyAdministration::list) reads one row more than the limit to see whether there is a next page.
//! - [`find`](KeyStore::find) returns revoked and expired keys as well.
//! - A lookup that hangs is given up after a second, and a store that does not answer is spared: see [`GuardedStore`]. What
//!   key management calls needs a time limit of the store's own. Fail with [`Unavailable`](StoreErrorKind::Unavailable)
//!   after it, which leads to a 503 response.
//! - [`refresh`](KeyStore::refresh) calls `replace`. With the trait's default, a secret that
//!   [waits for its first use](crate::manage::KeyManager::rotate_on_first_use) would wait forever, and an old
//!   [pepper](crate::key::Peppers) would be needed forever.
//! - A row that can't be read is a [`BrokenKey`]: the error of its lookup, and named in the page of a listing, which continues.
//!   [`revoke_unread`](KeyAdministration::revoke_unread) sets the columns of the state, as such a row can't be read and
//!   written back. The crate compares each record with what it has asked for.
//! - [Imports](KeyAdministration::remember_import) are in a table of their own, without a reference to the keys: they outlast
//!   them.
//! - The [audit log](KeyAdministration::audit_log) is optional. If there is one, the event of a change is written in the
//!   transaction of the change.
//! - The [usage log](KeyAdministration::usage_log) is optional, too. A batch is added once: in the transaction that adds its sums, the
//!   row of its process changes only if the number is higher. Write rows in one order, so that two processes do not wait for each
//!   other.
//! - [`record_last_use`](KeyStore::record_last_use) sets one column and does not change the version.
//!
//! Every field has a text or a number that round-trips. A record starts with [`KeyRecord::new`]; set the other fields:
//!
//! ```
#![doc = include_str!("sql/row.rs")]
//! # use tower_api_keys::key::{Mode, Peppers};
//! # let digest = |text| Peppers::none().digest(text);
//! # let at = Timestamp::from_unix_seconds(5);
//! # for owner in [Owner::organization("acme".parse()?, Mode::Test), Owner::system(Mode::Live)] {
//! #     let mut record = KeyRecord::new("k7Jc0qWv".parse()?, owner, digest("now"), at);
//! #     assert_eq!(to_record(to_row(&record)?)?, record);
//! #     record.scopes = ScopeSet::parse_list(["a:b", "c:*"])?;
//! #     record.extras_mut().limits.insert("two words".to_owned(), std::num::NonZeroU32::MIN);
//! #     record.extras_mut().limits.insert("read".to_owned(), std::num::NonZeroU32::MAX);
//! #     record.extras_mut().allowed_addresses = vec!["192.0.2.0/24".parse()?, "2001:db8::/32".parse()?];
//! #     record.extras_mut().previous = Some(PreviousSecret { digest: digest("before"), valid_until: at });
//! #     let (hint, grace) = ("wfk_…78rs".to_owned(), Duration::from_secs(60));
//! #     record.extras_mut().next = Some(Box::new(NextSecret { digest: digest("after"), hint, created_at: at, grace }));
//! #     record.state = KeyState::Revoked { at };
//! #     record.extras_mut().imported_hash = Some("$2b$12$x".parse()?);
//! #     (record.expires_at, record.last_used_at, record.version) = (Some(at), Some(at), u64::MAX);
//! #     assert_eq!(to_record(to_row(&record)?)?, record);
//! # }
//! # Ok::<_, Box<dyn Error + Send + Sync>>(())
//! ```

mod administration;
pub(crate) mod audit;
mod audit_log;
pub(crate) mod background;
mod broken;
#[cfg(feature = "cache")]
mod cached;
mod changes;
pub mod conformance;
mod error;
pub(crate) mod guard;
mod guarded;
mod health;
mod invalidation;
mod lookup;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod quota;
mod read_only;
#[cfg(feature = "redis")]
mod redis_invalidation;
#[cfg(feature = "redis")]
pub(crate) mod redis_server;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod usage_log;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub use administration::{Cursor, KeyAdministration, KeyQuery, Page};
use async_trait::async_trait;
pub use audit_log::{AuditLog, History, HistoryQuery};
pub use broken::BrokenKey;
pub(crate) use broken::{checked_get, checked_page};
#[cfg(feature = "cache")]
pub use cached::{CachedStore, CachedStoreBuilder};
pub use changes::{ChangeMark, Changes};
pub use error::{StoreError, StoreErrorKind};
pub use guarded::GuardedStore;
pub use health::{CacheHealth, GuardHealth, StoreHealth};
pub use invalidation::{Invalidation, InvalidationSink, InvalidationSource};
pub(crate) use lookup::{FindResult, PendingLookup};
pub use lookup::{KeySelector, Lookup, OwnedKeySelector};
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresInvalidations, PostgresStore};
pub use quota::{QuotaChange, QuotaRow};
pub use read_only::ReadOnly;
#[cfg(feature = "redis")]
pub use redis_invalidation::RedisInvalidation;
#[cfg(all(feature = "cli", any(feature = "postgres", feature = "sqlite")))]
pub(crate) use sql::schema::SchemaFault;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use usage_log::UsageLog;

use self::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::key::{KeyId, KeyRecord};

/// The lookup that each request with a well-formed credential makes once.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// The record that `selector` names, in any state, or `None`.
    ///
    /// Return [`Lookup::ready`] if the answer is available, and [`Lookup::pending`] otherwise. An error leads to a
    /// 503 response: it is never treated as "no such key". A record that can't be read is a [`BrokenKey`], which names
    /// the key in the log. So is one that `selector` does not name: the crate compares.
    fn find(&self, selector: KeySelector<'_>) -> Lookup;

    /// Stores a change that a request made to a found record: the new digest of a key that was verified with a pepper
    /// which is no longer current, or the first use of a [`next`](crate::key::Extras::next) secret.
    ///
    /// Does the same as [`KeyAdministration::replace`]. Of the two, only the first use of a secret has an event. A store that cannot write keeps the default, which stores
    /// nothing; the next use of the key tries again.
    ///
    /// # Errors
    ///
    /// Those of `replace`. They are logged and do not affect the request.
    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        let _ = (record, event);
        Ok(())
    }

    /// Stores when keys were last used.
    ///
    /// [`last_used_at`](KeyRecord::last_used_at) becomes the later of the stored and the given instant. Nothing else
    /// changes, not even the version. Deleted keys are skipped.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; some of the instants may have been stored.
    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let _ = uses;
        Ok(())
    }

    /// What has changed since `mark`, by whomever: a cache asks once a second, and trusts what it holds for as long as it gets
    /// answers. `None`, the default, if the store does not know: a cache then reads each key again after its
    /// `max_age`.
    ///
    /// A change is in the answer of the first call that begins after the change was made. A lookup that begins after the
    /// answer sees it.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store cannot answer.
    async fn changes(&self, since: Option<ChangeMark>) -> Result<Option<Changes>, StoreError> {
        let _ = since;
        Ok(None)
    }

    /// Work of the store outside of requests, such as following the changes of other nodes. Run by
    /// [`ApiKeys::background`](crate::ApiKeys::background); the future does not end while it is needed.
    fn background(&self) -> Option<Pin<Box<dyn Future<Output = ()> + Send>>> {
        None
    }

    /// What the parts of the store are doing. By default it has none to speak of.
    fn health(&self) -> StoreHealth {
        StoreHealth::default()
    }

    /// Whether an assembly or a cache guards its calls as [`GuardedStore`] says. By default it does; `false` for a store that
    /// never waits, or that guards what it waits for.
    fn needs_guard(&self) -> bool {
        true
    }
}

/// A future that runs beside requests and does not end while it is needed.
pub(crate) type BackgroundTask = Pin<Box<dyn Future<Output = ()> + Send>>;

#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    fn find(&self, selector: KeySelector<'_>) -> Lookup {
        (**self).find(selector)
    }

    async fn refresh(&self, record: KeyRecord, event: Option<&AuditEvent>) -> Result<(), StoreError> {
        (**self).refresh(record, event).await
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        (**self).record_last_use(uses).await
    }

    async fn changes(&self, since: Option<ChangeMark>) -> Result<Option<Changes>, StoreError> {
        (**self).changes(since).await
    }

    fn background(&self) -> Option<BackgroundTask> {
        (**self).background()
    }

    fn health(&self) -> StoreHealth {
        (**self).health()
    }

    fn needs_guard(&self) -> bool {
        (**self).needs_guard()
    }
}
