use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::audit::{Attempts, Reporter};
use super::{AuditEvent, KeyAction, ManageError};
use crate::clock::Clock;
use crate::credential::ImportedHashes;
use crate::key::{KeyFormat, KeyId, KeyRecord, MalformedKey, Owner, ParsedKey, Peppers};
use crate::log::{self, OncePerSecond};
use crate::rejection::ErrorKind;
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::{
    FindResult, KeyAdministration, KeyQuery, KeySelector, Page, StoreError, StoreErrorKind, checked_get,
    checked_page,
};
use crate::stream::Watch;

/// The settings of a [`KeyManager`](super::KeyManager).
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) store: Arc<dyn KeyAdministration>,
    /// The store of the callers' own keys, if it is not the managed one.
    pub(super) callers: Option<Arc<dyn KeyAdministration>>,
    /// At least one, the first that of new keys.
    pub(super) formats: Vec<KeyFormat>,
    pub(super) peppers: Peppers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) grantable: Option<ScopeSet>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) max_keys: u64,
    pub(super) takes_metadata_of_callers: bool,
    pub(super) read: ScopeRequirement,
    pub(super) write: ScopeRequirement,
    /// In place of the two above.
    pub(super) scopes: Vec<(KeyAction, ScopeRequirement)>,
    /// The application's sink.
    pub(super) reporter: Option<Arc<Reporter>>,
    /// Whether the background task of an assembly calls it.
    pub(super) reports_in_background: bool,
    /// Bounds the record of those that came to nothing.
    pub(super) attempts: Arc<Attempts>,
    pub(super) id_prefix: &'static str,
    /// Verifies what was imported as a hash.
    pub(super) imported_hashes: Option<Arc<ImportedHashes>>,
    /// Whether what is done is not reported.
    pub(super) is_trial: bool,
    /// For operations that the store did not do.
    pub(super) line: Arc<OncePerSecond>,
    /// Made when it is first needed, of the settings above.
    pub(super) watch: Arc<OnceLock<Arc<Watch>>>,
}

impl Settings {
    /// The format of new keys.
    pub(super) fn format(&self) -> &KeyFormat {
        &self.formats[0]
    }

    /// The key in this text, and its format. If it is none, the error is that of the format whose prefix it has.
    pub(super) fn parse<'k>(&self, text: &'k str) -> Result<(&KeyFormat, ParsedKey<'k>), MalformedKey> {
        let mut fault = MalformedKey::Prefix;
        for format in &self.formats {
            match format.parse(text) {
                Ok(parsed) => return Ok((format, parsed)),
                Err(malformed) if fault == MalformedKey::Prefix => fault = malformed,
                Err(_) => {}
            }
        }
        Err(fault)
    }

    /// The keys in a text, whatever is around them, each once.
    pub(super) fn keys_in<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut keys: Vec<_> = self.formats.iter().flat_map(|format| format.find_in(text)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// The key `id` of `owner` in the managed store.
    pub(super) async fn get(&self, owner: &Owner, id: &KeyId) -> FindResult {
        alarmed(checked_get(owner, id, self.store.get(owner, id).await))
    }

    /// A caller's own key, as it is stored now.
    pub(super) async fn get_own(&self, own: &KeyRecord) -> FindResult {
        let callers = self.callers.as_ref().unwrap_or(&self.store);
        alarmed(checked_get(&own.owner, &own.id, callers.get(&own.owner, &own.id).await))
    }

    pub(super) async fn find(&self, selector: KeySelector<'_>) -> FindResult {
        alarmed(selector.checked(self.store.find(selector).await))
    }

    pub(super) async fn list(&self, owner: Option<&Owner>, query: &KeyQuery) -> Result<Page, StoreError> {
        let mut page = self.store.list(owner, query).await?;
        let alien = checked_page(owner, &mut page);
        if let Some(first) = alien.as_ref().or(page.broken.first()) {
            log::keys_broken(first, page.broken.len());
        }
        Ok(page)
    }

    /// The streams that wait for the end of callers' keys.
    pub(super) fn watch(&self) -> &Arc<Watch> {
        self.watch.get_or_init(|| {
            let callers = self.callers.as_ref().unwrap_or(&self.store);
            Arc::new(Watch::new(callers.clone(), self.clock.clone()))
        })
    }

    /// Streams learn of a change at once that this process makes.
    pub(super) fn changed(&self, id: &KeyId) {
        if let Some(watch) = self.watch.get() {
            watch.changed(id);
        }
    }

    /// Passes on the event of a change that was made.
    pub(super) fn done(&self, event: &AuditEvent) {
        if self.is_trial {
            return;
        }
        event.log();
        if let Some(reporter) = &self.reporter {
            reporter.report(event);
        }
    }

    /// Records an attempt that came to nothing, as far as there is room for it.
    pub(super) async fn refused(&self, event: &AuditEvent, error: &ManageError) {
        let Some(left_out) = self.attempts.admit(event.at) else { return };
        if error.kind() == ErrorKind::Forbidden {
            event.log_refused(error, left_out);
        }
        // A store that gave no answer would keep the caller waiting a second time.
        let answers =
            !matches!(error, ManageError::Store(error) if error.kind() == StoreErrorKind::Unavailable);
        let recorded = match self.store.audit_log().filter(|_| answers) {
            Some(to) => to.record(event).await.map_err(|error| log::audit_not_recorded(&error)).is_ok(),
            None => false,
        };
        match &self.reporter {
            Some(reporter) if recorded => reporter.report(event),
            Some(reporter) => reporter.report_unkept(event),
            None => {}
        }
    }
}

/// Logs that a record can't be read.
fn alarmed(found: FindResult) -> FindResult {
    found.inspect_err(|error| {
        if let Some(broken) = error.broken_key() {
            log::key_broken(broken);
        }
    })
}
