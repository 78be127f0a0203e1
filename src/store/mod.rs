//! Where keys are kept: the traits, the store in memory, and the suite that every store must pass.
//!
//! A store has two faces. [`KeyStore`] is the one that each request meets: a single look-up. [`KeyAdministration`]
//! is the one that [`KeyManager`](crate::manage::KeyManager) works with: insert, list, replace, delete. Both are
//! usable as `dyn`, are implemented for `Arc`s of what implements them, and are written with `async fn` under
//! [`async_trait`](macro@async_trait).
//!
//! A store decides nothing. It returns what it holds, revoked and expired keys too, and the layer judges. One that
//! takes its time to answer goes behind a `CachedStore` (feature `cache`).
//!
//! | store | keys live | for |
//! |---|---|---|
//! | [`MemoryStore`] | as long as the process | tests, keys from the environment |
//! | `SqliteStore` (feature `sqlite`) | in a file | one machine |
//! | `PostgresStore` (feature `postgres`) | in PostgreSQL | many processes |
//!
//! # Writing a store
//!
//! Implement both traits and run [`conformance::check`] on the store in a test. A service that only looks
//! keys up, because they are managed elsewhere, needs [`KeyStore`] alone.
//!
//! A schema that does what the traits ask, that of the crate's own store in SQLite:
//!
//! ```sql
#![doc = include_str!("sqlite/schema_1.sql")]
//! ```
//!
//! - Compare and order texts byte for byte: `Ab` and `aB` are two identifiers. That is SQLite's default,
//!   `COLLATE "C"` in PostgreSQL and a `_bin` collation in MySQL.
//! - A key of the system has no organization. Here that is the empty text, which is no organization's identifier: a `NULL`
//!   is never found with `=`.
//! - A digest is unique among all of them, previous and next ones too, whence the second table. Both tables
//!   change in one transaction. (SQLite heeds `ON DELETE CASCADE` only after `PRAGMA foreign_keys = ON`.)
//! - [`replace`](KeyAdministration::replace) is an `UPDATE` that sets the next version and asks for identifier, owner and
//!   the version before; [`Conflict`](StoreErrorKind::Conflict) if it changed no row. A violated constraint is a
//!   `Conflict`, too.
//! - [`list`](KeyAdministration::list) asks for one row more than the limit to see whether there is a next
//!   page.
//! - [`find`](KeyStore::find) returns revoked and expired keys as well.
//! - A look-up that hangs keeps its request waiting, as the layers have no timer of their own. Give up after a time
//!   of the store's choice with [`Unavailable`](StoreErrorKind::Unavailable), which is answered 503.
//! - [`refresh`](KeyStore::refresh) calls `replace`. With its default a secret that
//!   [waits for its first use](crate::manage::KeyManager::rotate_on_first_use) would wait for ever, and an old
//!   [pepper](crate::key::Peppers) would be needed for ever.
//! - [`record_last_use`](KeyStore::record_last_use) sets one column and leaves the version as it is.
//!
//! Fields have a text or a number that reads back the same. A record starts with [`KeyRecord::new`]; set the
//! rest:
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
//! #     record.extras.limits.set("two words", std::num::NonZeroU32::new(7));
//! #     record.extras.limits.set("read", std::num::NonZeroU32::new(8));
//! #     record.extras.allowed_addresses = vec!["192.0.2.0/24".parse()?, "2001:db8::/32".parse()?];
//! #     record.extras.previous = Some(PreviousSecret { digest: digest("before"), valid_until: at });
//! #     let (hint, grace) = ("wfk_…78rs".to_owned(), Duration::from_secs(60));
//! #     record.extras.next = Some(Box::new(NextSecret { digest: digest("after"), hint, created_at: at, grace }));
//! #     record.state = KeyState::Revoked { at };
//! #     (record.expires_at, record.last_used_at, record.version) = (Some(at), Some(at), u64::MAX);
//! #     assert_eq!(to_record(to_row(&record)?)?, record);
//! # }
//! # Ok::<_, Box<dyn Error + Send + Sync>>(())
//! ```

mod administration;
#[cfg(feature = "cache")]
mod cached;
pub mod conformance;
mod error;
mod invalidation;
mod last_use;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis_invalidation;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;

use std::sync::Arc;
use std::task::Poll;

pub use administration::{Cursor, InvalidCursor, KeyAdministration, KeyPage, KeyQuery};
use async_trait::async_trait;
#[cfg(feature = "cache")]
pub use cached::{CachedStore, CachedStoreBuilder};
pub use error::{StoreError, StoreErrorKind};
pub use invalidation::{Invalidation, InvalidationSink, InvalidationSource};
pub use last_use::LastUse;
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresInvalidations, PostgresStore};
#[cfg(feature = "redis")]
pub use redis_invalidation::{RedisInvalidation, RedisInvalidationSource};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord};
#[cfg(feature = "redis")]
pub use crate::redis_url::InvalidRedisUrl;

/// How a request names the key it presents.
#[derive(Clone, Copy, Debug)]
pub enum KeySelector<'a> {
    /// By the public identifier in the key's text.
    Id(&'a KeyId),
    /// By the digest of the key: the record whose secret, previous secret or next secret has any one of these digests.
    ///
    /// One for each pepper in use, the current first; so at most one look-up finds a key whichever pepper it was
    /// stored under.
    Digests(&'a [Digest]),
}

/// What a look-up answers: the record, or that there is none, or that the store can't say.
pub type FindResult = Result<Option<Arc<KeyRecord>>, StoreError>;

/// The look-up that each request with a well-formed credential makes, once.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Answers at once if that takes no waiting: from memory, from a cache.
    ///
    /// [`Poll::Pending`] means "ask [`find`](Self::find)"; no waker is involved. An answer given here costs the
    /// request no allocation, which is why the layer always asks here first.
    fn find_now(&self, selector: KeySelector<'_>) -> Poll<FindResult> {
        let _ = selector;
        Poll::Pending
    }

    /// The record that `selector` names, whatever its state, or `None`.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the store can't tell. The request is then answered 503: an error is never taken for
    /// "no such key".
    async fn find(&self, selector: KeySelector<'_>) -> FindResult;

    /// Stores what the layer has changed in a record that it found here: the digest of a key that was verified under a
    /// pepper which is no longer the current one, or a [`next`](crate::key::ExtraFields::next) secret that was used for the first time.
    ///
    /// Does what [`KeyAdministration::replace`] does, for whoever has that. A store that can't write keeps the default,
    /// which does nothing.
    ///
    /// # Errors
    ///
    /// [`Conflict`](StoreErrorKind::Conflict) if what is stored is no longer what was found. Whatever the error, the
    /// request goes on, and the next one tries again.
    async fn refresh(&self, record: KeyRecord) -> Result<(), StoreError> {
        let _ = record;
        Ok(())
    }

    /// Sets [`last_used_at`](KeyRecord::last_used_at) of each of these keys, unless it is later already. Nothing else of a
    /// record changes, its version neither. Keys that are not there are passed over.
    ///
    /// Called now and then by [`LastUse`], and by no request. A store that keeps no last use keeps the default, which does
    /// nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if it could not be written; it is tried again later.
    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        let _ = uses;
        Ok(())
    }
}

#[async_trait]
impl<S: KeyStore + ?Sized> KeyStore for Arc<S> {
    fn find_now(&self, selector: KeySelector<'_>) -> Poll<FindResult> {
        (**self).find_now(selector)
    }

    async fn find(&self, selector: KeySelector<'_>) -> FindResult {
        (**self).find(selector).await
    }

    async fn refresh(&self, record: KeyRecord) -> Result<(), StoreError> {
        (**self).refresh(record).await
    }

    async fn record_last_use(&self, uses: &[(KeyId, Timestamp)]) -> Result<(), StoreError> {
        (**self).record_last_use(uses).await
    }
}
