use std::sync::Arc;
use std::time::Duration;

use super::{AuditEvent, AuditSink, KeyAction};
use crate::clock::Clock;
use crate::key::{KeyFormat, Peppers};
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::KeyAdministration;

/// The settings of a [`KeyManager`](super::KeyManager).
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) store: Arc<dyn KeyAdministration>,
    /// The store of the callers' own keys, if it is not the managed one.
    pub(super) callers: Option<Arc<dyn KeyAdministration>>,
    pub(super) format: KeyFormat,
    pub(super) peppers: Peppers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) grantable: Option<ScopeSet>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) max_keys: u64,
    pub(super) read: ScopeRequirement,
    pub(super) write: ScopeRequirement,
    /// In place of the two above.
    pub(super) scopes: Vec<(KeyAction, ScopeRequirement)>,
    pub(super) audit: Option<Arc<AuditSink>>,
    pub(super) id_prefix: &'static str,
}

impl Settings {
    pub(super) fn audit(&self, event: &AuditEvent) {
        event.log();
        if let Some(sink) = &self.audit {
            sink(event);
        }
    }
}
