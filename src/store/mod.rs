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
//! # Writing a store
//!
//! Implement both traits and run [`conformance::check`] on the store in a test. A service that only looks
//! keys up, because they are managed elsewhere, needs [`KeyStore`] alone.
//!
//! A schema that does what the traits ask, here for SQLite:
//!
//! ```sql
//! CREATE TABLE keys (
//!     id TEXT PRIMARY KEY, organization TEXT /* NULL: the system */, mode TEXT NOT NULL,
//!     name TEXT NOT NULL, hint TEXT NOT NULL, scopes TEXT NOT NULL, limits TEXT NOT NULL,
//!     allowed_addresses TEXT NOT NULL,
//!     digest TEXT NOT NULL, previous_digest TEXT, previous_valid_until INTEGER,
//!     next_digest TEXT, next_hint TEXT, next_created_at INTEGER, next_grace INTEGER,
//!     state TEXT NOT NULL, revoked_at INTEGER, created_at INTEGER NOT NULL, secret_created_at INTEGER NOT NULL,
//!     not_before INTEGER, expires_at INTEGER, version INTEGER NOT NULL
//! );
//! CREATE TABLE digests (digest TEXT PRIMARY KEY, key_id TEXT NOT NULL REFERENCES keys ON DELETE CASCADE);
//! CREATE INDEX listing ON keys (organization, mode, created_at, id);
//! ```
//!
//! - Compare and order texts byte for byte: `Ab` and `aB` are two identifiers. That is SQLite's default,
//!   `COLLATE "C"` in PostgreSQL and a `_bin` collation in MySQL.
//! - A key of the system has no organization, so compare `organization IS ?`: with `=` it is never found.
//! - A digest is unique among all of them, previous and next ones too, whence the second table. Both tables
//!   change in one transaction. (SQLite heeds `ON DELETE CASCADE` only after `PRAGMA foreign_keys = ON`.)
//! - [`replace`](KeyAdministration::replace) is an `UPDATE` that sets `version = version + 1` and asks for
//!   identifier, owner and `version = ?`; [`Conflict`](StoreErrorKind::Conflict) if it changed no row. A
//!   violated constraint is a `Conflict`, too.
//! - [`list`](KeyAdministration::list) asks for one row more than the limit to see whether there is a next
//!   page.
//! - [`find`](KeyStore::find) returns revoked and expired keys as well.
//! - A look-up that hangs keeps its request waiting, as the layers have no timer of their own. Give up after a time
//!   of the store's choice with [`Unavailable`](StoreErrorKind::Unavailable), which is answered 503.
//! - [`refresh`](KeyStore::refresh) calls `replace`. With its default a secret that
//!   [waits for its first use](crate::manage::KeyManager::rotate_on_first_use) would wait for ever, and an old
//!   [pepper](crate::key::Peppers) would be needed for ever.
//!
//! Fields have a text or a number that reads back the same. A record starts with [`KeyRecord::new`]; set the
//! rest:
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_api_keys::clock::Timestamp;
//! use tower_api_keys::key::{KeyRecord, KeyState, NextSecret, Owner, PreviousSecret, Tenant};
//! use tower_api_keys::scope::ScopeSet;
//! use tower_api_keys::store::{StoreError, StoreErrorKind};
//!
//! struct Row {
//!     id: String,
//!     organization: Option<String>,
//!     mode: String,
//!     name: String,
//!     hint: String,
//!     scopes: String,
//!     limits: String,
//!     allowed_addresses: String,
//!     digest: String,
//!     previous: Option<(String, u64)>,
//!     next: Option<(String, String, u64, u64)>,
//!     state: String,
//!     revoked_at: Option<u64>,
//!     created_at: u64,
//!     secret_created_at: u64,
//!     not_before: Option<u64>,
//!     expires_at: Option<u64>,
//!     version: u64,
//! }
//!
//! fn to_row(record: &KeyRecord) -> Result<Row, StoreError> {
//!     let (state, revoked_at) = match record.state {
//!         KeyState::Active => ("active", None),
//!         KeyState::Disabled => ("disabled", None),
//!         KeyState::Revoked { at } => ("revoked", Some(at.as_unix_millis())),
//!         // A state that this store is too old for.
//!         _ => return Err(StoreError::new(StoreErrorKind::Other)),
//!     };
//!     let scopes: Vec<_> = record.scopes.iter().map(|scope| scope.as_str()).collect();
//!     let limits: Vec<_> = record.limits.iter().map(|(category, limit)| format!("{limit} {category}")).collect();
//!     let networks: Vec<_> = record.allowed_addresses.iter().map(ToString::to_string).collect();
//!     Ok(Row {
//!         id: record.id.to_string(),
//!         organization: match &record.owner.tenant {
//!             Tenant::Organization(organization) => Some(organization.to_string()),
//!             Tenant::System => None,
//!         },
//!         mode: record.owner.mode.to_string(),
//!         name: record.name.clone(),
//!         hint: record.hint.clone(),
//!         scopes: scopes.join(" "),
//!         limits: limits.join("\n"),
//!         allowed_addresses: networks.join(" "),
//!         digest: record.digest.to_string(),
//!         previous: record.previous.map(|old| (old.digest.to_string(), old.valid_until.as_unix_millis())),
//!         next: record.next.as_deref().map(|next| {
//!             let grace = u64::try_from(next.grace.as_millis()).unwrap_or(u64::MAX);
//!             (next.digest.to_string(), next.hint.clone(), next.created_at.as_unix_millis(), grace)
//!         }),
//!         state: state.to_owned(),
//!         revoked_at,
//!         created_at: record.created_at.as_unix_millis(),
//!         secret_created_at: record.secret_created_at.as_unix_millis(),
//!         not_before: record.not_before.map(Timestamp::as_unix_millis),
//!         expires_at: record.expires_at.map(Timestamp::as_unix_millis),
//!         version: record.version,
//!     })
//! }
//!
//! /// Any error in here: [`StoreErrorKind::Corrupt`], with the error as its source.
//! fn to_record(row: Row) -> Result<KeyRecord, Box<dyn std::error::Error + Send + Sync>> {
//!     let mode = row.mode.parse()?;
//!     let owner = match row.organization {
//!         Some(organization) => Owner::organization(organization.parse()?, mode),
//!         None => Owner::system(mode),
//!     };
//!     let created_at = Timestamp::from_unix_millis(row.created_at);
//!     let mut record = KeyRecord::new(row.id.parse()?, owner, row.digest.parse()?, created_at);
//!     record.name = row.name;
//!     record.hint = row.hint;
//!     record.scopes = ScopeSet::parse_list(row.scopes.split_whitespace())?;
//!     let networks = row.allowed_addresses.split_whitespace().map(str::parse);
//!     record.allowed_addresses = networks.collect::<Result<_, _>>()?;
//!     for line in row.limits.lines() {
//!         let (limit, category) = line.split_once(' ').ok_or("a limit has no category")?;
//!         record.limits.set(category, Some(limit.parse()?));
//!     }
//!     if let Some((digest, valid_until)) = row.previous {
//!         let valid_until = Timestamp::from_unix_millis(valid_until);
//!         record.previous = Some(PreviousSecret { digest: digest.parse()?, valid_until });
//!     }
//!     if let Some((digest, hint, created_at, grace)) = row.next {
//!         let (created_at, grace) = (Timestamp::from_unix_millis(created_at), Duration::from_millis(grace));
//!         record.next = Some(Box::new(NextSecret { digest: digest.parse()?, hint, created_at, grace }));
//!     }
//!     record.state = match (row.state.as_str(), row.revoked_at) {
//!         ("active", None) => KeyState::Active,
//!         ("disabled", None) => KeyState::Disabled,
//!         ("revoked", Some(at)) => KeyState::Revoked { at: Timestamp::from_unix_millis(at) },
//!         _ => return Err("no such state".into()),
//!     };
//!     record.secret_created_at = Timestamp::from_unix_millis(row.secret_created_at);
//!     record.not_before = row.not_before.map(Timestamp::from_unix_millis);
//!     record.expires_at = row.expires_at.map(Timestamp::from_unix_millis);
//!     record.version = row.version;
//!     Ok(record)
//! }
//! # use tower_api_keys::key::{Mode, Peppers};
//! # let digest = Peppers::none().digest("wfk_abc123def456ghi789jkl012mno345pq");
//! # let at = Timestamp::from_unix_seconds(5);
//! # let owner = Owner::organization("acme".parse()?, Mode::Test);
//! # let mut record = KeyRecord::new("k7Jc0qWv".parse()?, owner, digest, at);
//! # record.scopes = ScopeSet::parse_list(["a:b", "c:*"])?;
//! # record.limits.set("two words", std::num::NonZeroU32::new(7));
//! # record.limits.set("read", std::num::NonZeroU32::new(8));
//! # record.allowed_addresses = vec!["192.0.2.0/24".parse()?, "2001:db8::/32".parse()?];
//! # record.previous = Some(PreviousSecret { digest, valid_until: at });
//! # let (hint, grace) = ("wfk_…78rs".to_owned(), Duration::from_secs(60));
//! # record.next = Some(Box::new(NextSecret { digest, hint, created_at: at, grace }));
//! # record.state = KeyState::Revoked { at };
//! # (record.expires_at, record.version) = (Some(at), 3);
//! # assert_eq!(to_record(to_row(&record)?)?, record);
//! # Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
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
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;

use crate::clock::Timestamp;
use crate::key::{Digest, KeyId, KeyRecord};

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
    /// pepper which is no longer the current one, or a [`next`](KeyRecord::next) secret that was used for the first time.
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
