use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, Change, MAX_ATTEMPTS};
use super::audit::Reporter;
use super::settings::Settings;
use super::{AuditEvent, Authority, CreatedKey, KeyAction, KeyView, ManageError, NewKey, rules};
use crate::InvalidValue;
#[cfg(any(feature = "cli", feature = "console"))]
use crate::clock::Timestamp;
use crate::clock::{Clock, SystemClock};
use crate::credential::ImportedHashes;
use crate::key::{KeyFormat, KeyId, KeyRecord, KeyState, KeyStatus, Mode, Owner, Peppers};
#[cfg(feature = "cli")]
use crate::key::{MalformedKey, ParsedKey};
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::{KeyAdministration, KeyQuery, Page, StoreError, StoreErrorKind};

/// Creates and manages keys.
///
/// A clone is cheap and works on the same store. See the [module docs](crate::manage) for the rules and an example.
///
/// An operation that is dropped before it completes may or may not have changed the store. If that matters, run it in its own
/// task.
#[derive(Clone)]
pub struct KeyManager(Arc<Settings>);

impl KeyManager {
    /// How long the old secret verifies after a rotation by default: 24 hours.
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(24 * 60 * 60);

    /// The longest grace period of an old secret after a rotation: 7 days.
    pub const MAX_GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

    /// How many keys an owner can have by default, in whatever state: 10 000.
    pub const DEFAULT_MAX_KEYS: u64 = 10_000;

    /// Manages keys of `format` in `store`.
    ///
    /// Defaults: digests are plain SHA-256, the clock is the system's, every well-formed scope can be granted, a key
    /// may last forever, and callers need `api-keys:read` to read and `api-keys:write` to change keys.
    pub fn new(store: impl KeyAdministration, format: KeyFormat) -> Self {
        Self::over(Arc::new(store), vec![format], Peppers::none(), Arc::new(SystemClock))
    }

    /// `formats` has at least one.
    pub(crate) fn over(
        store: Arc<dyn KeyAdministration>,
        formats: Vec<KeyFormat>,
        peppers: Peppers,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self(Arc::new(Settings {
            store,
            callers: None,
            formats,
            peppers,
            clock,
            grantable: None,
            max_lifetime: None,
            max_keys: Self::DEFAULT_MAX_KEYS,
            takes_metadata_of_callers: false,
            read: ScopeRequirement::from_static("api-keys:read"),
            write: ScopeRequirement::from_static("api-keys:write"),
            scopes: Vec::new(),
            reporter: None,
            reports_in_background: false,
            attempts: Arc::default(),
            id_prefix: "",
            imported_hashes: None,
            is_trial: false,
            line: Arc::default(),
            watch: Arc::default(),
        }))
    }

    /// The formats of keys; the first one is that of new keys.
    #[cfg(any(feature = "cli", feature = "openapi"))]
    pub(crate) fn formats(&self) -> &[KeyFormat] {
        &self.0.formats
    }

    /// Whether a sink set from now on is left to [`deliver_audit`](Self::deliver_audit).
    pub(crate) fn reporting_in_background(self, in_background: bool) -> Self {
        self.change_settings(|to| to.reports_in_background = in_background)
    }

    pub(crate) fn with_imported_hashes(self, hashes: Option<Arc<ImportedHashes>>) -> Self {
        self.change_settings(|to| to.imported_hashes = hashes)
    }

    pub(crate) fn store(&self) -> &Arc<dyn KeyAdministration> {
        &self.0.store
    }

    /// `None` is all of them.
    pub(crate) fn grantable_scopes(&self) -> Option<&ScopeSet> {
        self.0.grantable.as_ref()
    }

    /// The key in this text, of whichever format.
    #[cfg(feature = "cli")]
    pub(crate) fn parse<'k>(&self, text: &'k str) -> Result<ParsedKey<'k>, MalformedKey> {
        self.0.parse(text).map(|(_, parsed)| parsed)
    }

    /// Whether keys that were imported as hashes can be verified.
    #[cfg(feature = "cli")]
    pub(crate) fn verifies_imported(&self) -> bool {
        self.0.imported_hashes.is_some()
    }

    /// Whether digests under this pepper can be verified.
    #[cfg(feature = "cli")]
    pub(crate) fn accepts_pepper(&self, pepper: Option<u32>) -> bool {
        self.0.peppers.accepts(pepper)
    }

    /// Whether new digests are made with a pepper.
    #[cfg(feature = "cli")]
    pub(crate) fn has_pepper(&self) -> bool {
        !self.0.peppers.are_none()
    }

    #[cfg(any(feature = "cli", feature = "console"))]
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now().timestamp()
    }

    /// A manager to try imports with, over a store that keeps none: nothing is reported to the log, to metrics or to the audit.
    #[cfg(feature = "cli")]
    pub(crate) fn on_trial(self, store: Arc<dyn KeyAdministration>) -> Self {
        self.change_settings(|to| (to.store, to.is_trial) = (store, true))
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.0
    }

    fn change_settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Digests new secrets with these peppers: the same that the [assembly](crate::ApiKeysBuilder::peppers) verifies
    /// with.
    #[must_use]
    pub fn with_peppers(self, peppers: Peppers) -> Self {
        self.change_settings(|to| to.peppers = peppers)
    }

    /// Sets the clock.
    #[must_use]
    pub fn with_clock(self, clock: impl Clock) -> Self {
        self.change_settings(|to| {
            to.clock = Arc::new(clock);
            to.watch = Arc::default();
        })
    }

    /// Restricts the scopes of new keys to this catalog, for every caller and the operator.
    #[must_use]
    pub fn with_grantable_scopes(self, scopes: ScopeSet) -> Self {
        self.change_settings(|to| to.grantable = Some(scopes))
    }

    /// Limits the lifetime of new keys, for every caller and the operator. A key without an expiry gets this one; a
    /// later expiry is an error.
    #[must_use]
    pub fn with_max_lifetime(self, lifetime: Duration) -> Self {
        self.change_settings(|to| to.max_lifetime = Some(lifetime))
    }

    /// Limits how many keys an owner can have, revoked and expired ones included, so that no caller fills the store; default
    /// [`DEFAULT_MAX_KEYS`](Self::DEFAULT_MAX_KEYS). For every caller and the operator, but not for imports. Concurrent calls
    /// can exceed it by their number.
    #[must_use]
    pub fn with_max_keys(self, keys: u64) -> Self {
        self.change_settings(|to| to.max_keys = keys)
    }

    /// Lets callers set the [metadata](crate::key::Metadata) of the keys that they make and change. Otherwise only the operator
    /// and staff do, and a new key has the metadata of the key that makes it: a plan kept there is not the customer's choice.
    #[must_use]
    pub fn with_metadata_of_callers(self) -> Self {
        self.change_settings(|to| to.takes_metadata_of_callers = true)
    }

    /// Starts every new identifier with `prefix`, such as `app_`: 0 to 16 of `A-Z a-z 0-9 _ -`; 16 letters and digits
    /// follow. For formats whose keys have [no identifier](crate::key::KeyFormatBuilder::public_id) in their text.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if the prefix is longer or has other characters.
    pub fn with_id_prefix(self, prefix: &'static str) -> Result<Self, InvalidValue> {
        if !KeyId::is_prefix(prefix) {
            return Err(InvalidValue::new("key id", "the prefix of a key id is 0 to 16 of A-Z a-z 0-9 _ -"));
        }
        Ok(self.change_settings(|to| to.id_prefix = prefix))
    }

    /// Sets the scopes that callers need to read keys, and to change them.
    #[must_use]
    pub fn with_management_scopes(self, read: ScopeRequirement, write: ScopeRequirement) -> Self {
        self.change_settings(|to| (to.read, to.write) = (read, write))
    }

    /// Sets the scope that callers need for one action, in place of the read or write scope. To delete a key that is
    /// not revoked, a caller needs the scopes for both actions.
    #[must_use]
    pub fn with_scope_for(self, action: KeyAction, scope: ScopeRequirement) -> Self {
        self.change_settings(|to| {
            to.scopes.retain(|(other, _)| *other != action);
            to.scopes.push((action, scope));
        })
    }

    /// Sets the store of the callers' own keys, if the managed keys are in another one, such as one-time links.
    #[must_use]
    pub fn with_callers_in(self, store: impl KeyAdministration) -> Self {
        self.change_settings(|to| {
            to.callers = Some(Arc::new(store));
            to.watch = Arc::default();
        })
    }

    /// Reports to `sink` every operation that is done, and those that a caller was not allowed to do or that have failed: as
    /// the [module docs](crate::manage#audit) say.
    ///
    /// Nothing runs beside a manager of its own, so `sink` is called in place: after the store has made the change, before the
    /// caller has its answer. Hand the event to a queue. A panic is caught and logged. In an
    /// [assembly](crate::ApiKeysBuilder::audit) it is called beside requests.
    ///
    /// ```
    /// use std::sync::mpsc;
    /// use tower_api_keys::key::KeyFormat;
    /// use tower_api_keys::manage::KeyManager;
    /// use tower_api_keys::store::MemoryStore;
    ///
    /// let (sender, _receiver) = mpsc::channel();
    /// let manager = KeyManager::new(MemoryStore::new(), KeyFormat::new("wfk_")?).with_audit(move |event| {
    ///     // A closed receiver must not prevent key management.
    ///     let _ = sender.send(event.clone());
    /// });
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    #[must_use]
    pub fn with_audit(self, sink: impl Fn(&AuditEvent) + Send + Sync + 'static) -> Self {
        self.change_settings(|to| {
            let is_kept = to.store.audit_log().is_some();
            to.reporter = Some(Arc::new(Reporter::new(Arc::new(sink), to.reports_in_background, is_kept)));
        })
    }

    /// Creates a key.
    ///
    /// A caller can grant only scopes that it holds itself. The new key expires no later than the caller's: a later
    /// expiry is an error, and none means the caller's. Its own limits can be as high as the caller's own, which are
    /// the default. The same holds for its addresses: each network must lie within one of the caller's.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ManageError::Invalid) if a field of `key` is not valid, [`Forbidden`](ManageError::Forbidden) if
    /// the caller may not create such a key; [`Store`](ManageError::Store), [`Randomness`](ManageError::Randomness).
    pub async fn create(&self, authority: &Authority, key: NewKey) -> Result<CreatedKey, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Create, None);
        let result = async {
            attempt.permitted()?;
            attempt.caller_is_still_valid().await?;
            attempt.owner_has_room().await?;
            for _ in 0..MAX_ATTEMPTS {
                let (record, secret) = self.make(&attempt, key.clone())?;
                let view = KeyView::new(&record, attempt.now);
                let event = AuditEvent { key_id: Some(record.id), ..attempt.event() };
                match self.0.store.insert(record, Some(&event)).await {
                    Ok(()) => return self.made(&attempt, &event, view, secret).await,
                    // Short identifiers can collide.
                    Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(StoreError::new(StoreErrorKind::Conflict).into())
        };
        attempt.end(result.await).await
    }

    /// Creates a live key of an organization as the operator: the first key, or one in a test.
    ///
    /// # Errors
    ///
    /// Those of [`create`](Self::create); [`Invalid`](ManageError::Invalid) also if `organization` is not an
    /// [identifier](crate::key::OrganizationId).
    pub async fn create_for(&self, organization: &str, key: NewKey) -> Result<CreatedKey, ManageError> {
        let organization = organization
            .parse()
            .map_err(|_| ManageError::invalid("organization", "must be 1 to 128 visible ASCII characters"))?;
        self.create(&Authority::operator(Owner::organization(organization, Mode::Live)), key).await
    }

    /// One page of the owner's keys, oldest first, including revoked and expired ones. Keys whose records can't be read are
    /// [named](Page::broken) beside them.
    ///
    /// # Errors
    ///
    /// [`Forbidden`](ManageError::Forbidden), [`Store`](ManageError::Store).
    pub async fn list(&self, authority: &Authority, query: &KeyQuery) -> Result<Page<KeyView>, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Read, None);
        let result = async {
            attempt.permitted()?;
            let page = self.0.list(Some(authority.owner()), query).await?;
            let keys = page.keys.iter().map(|record| KeyView::new(record, attempt.now)).collect();
            Ok(Page { keys, broken: page.broken, next: page.next })
        };
        attempt.end(result.await).await
    }

    /// One page of the keys of all owners, oldest first: for the operator. Never expose it to callers.
    ///
    /// # Errors
    ///
    /// [`Store`](ManageError::Store).
    pub async fn list_all(&self, query: &KeyQuery) -> Result<Page<KeyView>, ManageError> {
        let now = self.0.clock.now().timestamp();
        let page = self.0.list(None, query).await.map_err(ManageError::from);
        let page = self.0.ended(KeyAction::Read, None, page)?;
        let keys = page.keys.iter().map(|record| KeyView::new(record, now)).collect();
        Ok(Page { keys, broken: page.broken, next: page.next })
    }

    /// A query for keys whose secret is older than `age` and should be rotated.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_keys::manage::{Authority, KeyManager, KeyView, ManageError};
    /// # use tower_api_keys::store::Page;
    /// # async fn due(manager: KeyManager, authority: Authority) -> Result<Page<KeyView>, ManageError> {
    /// let ninety_days = Duration::from_secs(90 * 24 * 60 * 60);
    /// manager.list(&authority, &manager.older_than(ninety_days)).await
    /// # }
    /// ```
    pub fn older_than(&self, age: Duration) -> KeyQuery {
        let now = self.0.clock.now().timestamp();
        KeyQuery { secret_created_before: Some(now.saturating_sub(age)), ..KeyQuery::default() }
    }

    /// A query for keys that have this status now, for instance those that work.
    pub fn of_status(&self, status: KeyStatus) -> KeyQuery {
        KeyQuery { status_at: Some((status, self.0.clock.now().timestamp())), ..KeyQuery::default() }
    }

    /// A query for keys that end within `time`, or have ended.
    pub fn ending_within(&self, time: Duration) -> KeyQuery {
        let now = self.0.clock.now().timestamp();
        KeyQuery { expires_before: Some(now.saturating_add(time)), ..KeyQuery::default() }
    }

    /// A query for keys that were neither made nor used for `time`.
    pub fn unused_for(&self, time: Duration) -> KeyQuery {
        let now = self.0.clock.now().timestamp();
        KeyQuery { unused_since: Some(now.saturating_sub(time)), ..KeyQuery::default() }
    }

    /// One key, even if it is revoked or expired.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), [`Forbidden`](ManageError::Forbidden), [`Store`](ManageError::Store).
    pub async fn get(&self, authority: &Authority, id: &KeyId) -> Result<KeyView, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Read, Some(*id));
        let result = async {
            attempt.permitted()?;
            let record = self.0.get(authority.owner(), id).await?.ok_or(ManageError::NotFound)?;
            Ok(KeyView::new(&record, attempt.now))
        };
        attempt.end(result.await).await
    }

    /// Disables a key until it is [enabled](Self::enable) again. Does nothing if it is already disabled.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), also for a revoked key; [`Forbidden`](ManageError::Forbidden),
    /// [`Store`](ManageError::Store).
    pub async fn disable(&self, authority: &Authority, id: &KeyId) -> Result<KeyView, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Disable, Some(*id));
        let result = async {
            attempt.permitted()?;
            attempt.change(|record| Ok(set_state(record, KeyState::Disabled))).await
        };
        attempt.end(result.await).await
    }

    /// Enables a disabled key. Does nothing if it is already enabled; a revoked key cannot be enabled.
    ///
    /// # Errors
    ///
    /// [`NotFound`](ManageError::NotFound), also for a revoked key; [`Forbidden`](ManageError::Forbidden) also if the
    /// key may do more than the caller; [`Store`](ManageError::Store).
    pub async fn enable(&self, authority: &Authority, id: &KeyId) -> Result<KeyView, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Enable, Some(*id));
        let result = async {
            attempt.permitted()?;
            attempt.caller_is_still_valid().await?;
            attempt
                .change(|record| {
                    rules::may_hand_out(authority, record)?;
                    Ok(set_state(record, KeyState::Active))
                })
                .await
        };
        attempt.end(result.await).await
    }

    /// Whether the authority has the scope for `action`. Routes call it before they read a body.
    #[cfg(feature = "axum")]
    pub(crate) async fn permit(
        &self,
        authority: &Authority,
        action: KeyAction,
        key_id: Option<KeyId>,
    ) -> Result<(), ManageError> {
        let attempt = self.attempt(authority, action, key_id);
        attempt.end_failed(attempt.permitted()).await
    }

    /// The same without a trace in log and audit, for a page that shows only what its reader may do.
    #[cfg(feature = "console")]
    pub(crate) fn permits(&self, authority: &Authority, action: KeyAction) -> bool {
        self.attempt(authority, action, None).permitted().is_ok()
    }

    /// How late the end of a key that this authority makes can be at the most.
    #[cfg(feature = "console")]
    pub(crate) fn latest_expiry(&self, authority: &Authority) -> Option<Timestamp> {
        let own = self.0.max_lifetime.map(|lifetime| self.now().saturating_add(lifetime));
        rules::earlier(rules::latest_expiry(authority), own)
    }

    /// What every new key begins with.
    #[cfg(feature = "console")]
    pub(crate) fn prefix(&self) -> &str {
        self.0.format().prefix()
    }

    /// Begins an operation: reads the clock, once for the operation.
    pub(super) fn attempt<'a>(
        &'a self,
        authority: &'a Authority,
        action: KeyAction,
        key_id: Option<KeyId>,
    ) -> Attempt<'a> {
        let now = self.0.clock.now().timestamp();
        Attempt { settings: &self.0, authority, action, key_id, now }
    }
}

impl fmt::Debug for KeyManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyManager").field("formats", &self.0.formats).finish_non_exhaustive()
    }
}

fn set_state(record: &mut KeyRecord, state: KeyState) -> Change {
    if record.state == state {
        return Change::Nothing;
    }
    record.state = state;
    Change::Store
}
