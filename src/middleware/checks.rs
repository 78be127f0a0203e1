//! What the checks of an assembly are configured with. Knows nothing of bodies, services and error formats.

use std::fmt;
use std::sync::Arc;

#[cfg(feature = "console")]
use http::HeaderName;

use super::credentials::Credentials;
use super::limit_rule::{LimitRule, Limiter};
use super::lookups::Lookups;
use crate::address::ClientAddressSource;
use crate::clock::Clock;
use crate::credential::ImportedHashes;
use crate::identity::{Selection, SessionAuthenticator};
use crate::key::Peppers;
use crate::limit::MemoryRateLimiter;
use crate::log::OncePerSecondAndCode;
use crate::manage::Reporter;
use crate::metrics::Decisions;
use crate::outcome::{LastUse, UsageCounter, UsageRetention};
use crate::request::RequestView;
use crate::route::{Access, RouteTable};

/// Everything that the checks are configured with.
pub(super) struct Checks {
    pub(super) credentials: Credentials,
    pub(super) lookups: Lookups,
    pub(super) sessions: Option<Arc<dyn SessionAuthenticator>>,
    pub(super) peppers: Peppers,
    /// Verifies what was imported as a hash.
    pub(super) imported_hashes: Option<Arc<ImportedHashes>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) client_address: Option<ClientAddressSource>,
    /// Counts bad credentials.
    pub(super) throttle: Option<Arc<MemoryRateLimiter>>,
    pub(super) address_limits: Vec<LimitRule>,
    pub(super) limits: Vec<LimitRule>,
    pub(super) ietf_fields: bool,
    /// Whether all decisions about a request are kept, and not only the tightest: fields list them, or a response changes them.
    pub(super) keeps_decisions: bool,
    pub(super) organization: Option<Selection>,
    pub(super) access: Option<RouteTable<Access>>,
    /// Whether a rule of the table is for requests without a credential.
    pub(super) has_public_routes: bool,
    /// Finds parameters of routes where there is no table.
    pub(super) no_routes: RouteTable<Access>,
    pub(super) allows_anonymous: bool,
    pub(super) passes_cors_preflight: bool,
    pub(super) last_use: Option<LastUse>,
    /// Counts requests by key, and how long the store keeps that.
    pub(super) usage: Option<(Arc<UsageCounter>, UsageRetention)>,
    /// Of the application's audit sink.
    pub(super) reporter: Option<Arc<Reporter>>,
    /// What can go wrong with every request is logged once a second.
    pub(super) lines: OncePerSecondAndCode,
    pub(super) decisions: Decisions,
}

impl Checks {
    /// Whether something here waits for the background task.
    pub(super) fn needs_background(&self) -> bool {
        let has_leases = self.limiters().any(|limiter| limiter.stored.is_some());
        has_leases || self.last_use.is_some() || self.usage.is_some() || self.reporter.is_some()
    }

    /// The number of the category that usage of this request is counted in: that of the first limit of callers that counts it; 0
    /// if none does.
    pub(super) fn usage_category(&self, request: RequestView<'_>) -> u16 {
        let category = |rule: &LimitRule| rule.limiter(request).map(|limiter| rule.category(limiter));
        self.limits.iter().find_map(category).unwrap_or(0)
    }

    /// The header field in which requests name their organization.
    #[cfg(feature = "console")]
    pub(super) fn organization_header(&self) -> Option<&HeaderName> {
        match self.organization.as_ref()? {
            Selection::Named { header, .. } => Some(header),
            Selection::Context(context) => context.header.as_ref(),
        }
    }

    /// Those of all limits, in any order.
    pub(super) fn limiters(&self) -> impl Iterator<Item = &Limiter> {
        self.limits.iter().chain(&self.address_limits).flat_map(|rule| &rule.limiters)
    }
}

impl fmt::Debug for Checks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checks")
            .field("challenges", &self.credentials.challenges)
            .field("access", &self.access)
            .field("organization", &self.organization)
            .finish_non_exhaustive()
    }
}
