use std::fmt;
use std::sync::Arc;

use super::background::Background;
use super::checks::Checks;
use crate::manage::KeyManager;
use crate::outcome::UsageSink;
use crate::scope::KnownScope;

/// What an [`ApiKeys`](crate::ApiKeys) was built with, shared by its layers and views.
pub(crate) struct Assembly<F> {
    pub(super) checks: Arc<Checks>,
    pub(crate) errors: F,
    pub(crate) manager: KeyManager,
    pub(super) scopes: Vec<KnownScope>,
    pub(crate) usage: Option<Arc<UsageSink>>,
    pub(crate) gives_request_ids: bool,
    pub(crate) attaches_rejections: bool,
    pub(super) background: Background,
}

impl<F> fmt::Debug for Assembly<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.fmt(f)
    }
}
