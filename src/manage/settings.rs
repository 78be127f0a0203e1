use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{AuditEvent, AuditSink, KeyAction};
use crate::clock::Clock;
use crate::credential::ImportedHashes;
use crate::key::{KeyFormat, KeyId, MalformedKey, ParsedKey, Peppers};
use crate::log::OncePerSecond;
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::KeyAdministration;
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
    pub(super) audit: Option<Arc<AuditSink>>,
    pub(super) id_prefix: &'static str,
    /// Verifies what was imported as a hash.
    pub(super) imported_hashes: Option<Arc<ImportedHashes>>,
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

    pub(super) fn audit(&self, event: &AuditEvent) {
        event.log();
        if let Some(sink) = &self.audit {
            sink(event);
        }
    }
}
