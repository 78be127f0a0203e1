use std::sync::Arc;
use std::time::Duration;

use super::{AuditEvent, AuditSink, KeyAction};
use crate::clock::Clock;
use crate::key::{KeyFormat, Peppers};
use crate::scope::{ScopeRequirement, ScopeSet};
use crate::store::KeyAdministration;

/// How a [`KeyManager`](super::KeyManager) manages.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) store: Arc<dyn KeyAdministration>,
    /// Where the callers' own keys are, if not among those that are managed.
    pub(super) callers: Option<Arc<dyn KeyAdministration>>,
    pub(super) format: KeyFormat,
    pub(super) peppers: Peppers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) grantable: Option<ScopeSet>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) read: ScopeRequirement,
    pub(super) write: ScopeRequirement,
    /// Instead of the two above.
    pub(super) scopes: Vec<(KeyAction, ScopeRequirement)>,
    pub(super) audit: Option<Arc<dyn AuditSink>>,
    pub(super) id_prefix: &'static str,
}

impl Settings {
    pub(super) fn audit(&self, event: &AuditEvent) {
        event.log();
        if let Some(sink) = &self.audit {
            sink.record(event);
        }
    }
}
