//! What an assembly asks of the requests to a route: for documents of the API.

use std::time::Duration;

use http::HeaderName;

use super::ApiKeys;
use super::checks::Checks;
use super::limit_rule::{LimitRule, Limiter};
use crate::credential::{Challenge, Companions, CredentialExtractor, MalformedCredential, Parts};
use crate::identity::{Context, Selection};
use crate::limit::FIELD_NAMES;
use crate::rejection::{Check, RateLimited, Reason, Rejection};
use crate::route::{Access, Route};
use crate::store::{StoreError, StoreErrorKind};

/// Where requests carry their credentials.
pub(crate) struct CredentialPlaces {
    /// One of them is enough.
    pub(crate) keys: Vec<CredentialPlace>,
    /// The secret that comes with a key.
    pub(crate) secret: Option<CredentialPlace>,
    /// The header field of session tokens that come with a key.
    pub(crate) token: Option<HeaderName>,
}

/// Where a request carries a credential, as its extractor says.
pub(crate) struct CredentialPlace {
    pub(crate) challenge: Challenge,
    pub(crate) headers: Vec<HeaderName>,
    pub(crate) finds_sessions: bool,
}

/// What the requests to one route need, and how they can be rejected.
pub(crate) struct Requirements<'k> {
    /// Who may use the route; `None` without a table of routes.
    pub(crate) access: Option<&'k Access>,
    /// What comes with a key.
    pub(crate) parts: Parts,
    /// Whether a request without a credential is accepted.
    pub(crate) is_open: bool,
    /// Where a request names its organization or mode.
    pub(crate) organization: Vec<OrganizationField<'k>>,
    /// The header fields that report limits; none if no limit counts the requests.
    pub(crate) limit_fields: Vec<HeaderName>,
    /// Whether a limit counts requests before they are authenticated.
    limits_addresses: bool,
    /// In the order of checks.
    pub(crate) rejections: Vec<Rejection>,
}

/// Where a request names its organization or mode.
pub(crate) enum OrganizationField<'k> {
    Header { name: &'k HeaderName, is_required: bool },
    Cookie(&'k str),
    Mode(&'k HeaderName),
}

impl CredentialPlace {
    fn of(extractor: &dyn CredentialExtractor) -> Self {
        Self {
            challenge: extractor.challenge(),
            headers: extractor.credential_headers(),
            finds_sessions: extractor.finds_sessions(),
        }
    }
}

impl Requirements<'_> {
    /// Whether the response to this rejection reports the limits that have counted the request.
    pub(crate) fn reports_limits(&self, rejection: &Rejection) -> bool {
        self.limits_addresses || rejection.check() >= Some(Check::RateLimit)
    }
}

impl<F> ApiKeys<F> {
    pub(crate) fn credential_places(&self) -> CredentialPlaces {
        let credentials = &self.checks().credentials;
        let companions = credentials.companions.as_ref();
        CredentialPlaces {
            keys: credentials.extractors.iter().map(|one| CredentialPlace::of(&*one.extractor)).collect(),
            secret: companions.map(|companions| CredentialPlace::of(&*companions.secret)),
            token: companions.and_then(|companions| companions.tokens.as_ref()).map(|(name, _)| name.clone()),
        }
    }

    /// What the requests to a route of one method need; `None` if no rule covers it.
    pub(crate) fn requirements(&self, route: &Route) -> Option<Requirements<'_>> {
        let checks = self.checks();
        let access = match &checks.access {
            Some(table) => Some(table.value_of(route)?),
            None => None,
        };
        let is_public = access == Some(&Access::Public);
        let limits: Vec<&Limiter> = checks.counting(&checks.limits, route).collect();
        let address_limits: Vec<&Limiter> = checks.counting(&checks.address_limits, route).collect();
        let mut requirements = Requirements {
            access,
            parts: checks.parts(route),
            is_open: is_public || access.is_none() && checks.allows_anonymous,
            organization: checks.organization_fields(access),
            limit_fields: checks.limit_fields(limits.iter().chain(&address_limits).copied()),
            limits_addresses: !address_limits.is_empty(),
            rejections: Vec::new(),
        };
        let reasons = [
            checks.reasons_of_limits(&checks.address_limits, route),
            checks.reasons_of_credentials(&requirements),
            checks.reasons_of_limits(&checks.limits, route),
            checks.reasons_of_organization(access, route),
            checks.reasons_of_access(access, route),
        ];
        requirements.rejections =
            reasons.into_iter().flatten().map(|reason| checks.rejection_for(reason)).collect();
        Some(requirements)
    }
}

impl Checks {
    /// What comes with a key on this route.
    fn parts(&self, route: &Route) -> Parts {
        let of = |companions: &Companions| companions.needed_on(route);
        self.credentials.companions.as_ref().map_or(Parts::KEY, of)
    }

    /// Those that may reject requests to this route.
    fn counting<'c>(&self, rules: &'c [LimitRule], route: &Route) -> impl Iterator<Item = &'c Limiter> {
        let rules = rules.iter().filter(|rule| !rule.is_shadow);
        rules.filter_map(|rule| rule.limiter_of(route))
    }

    fn limit_fields<'c>(&self, counting: impl Iterator<Item = &'c Limiter> + Clone) -> Vec<HeaderName> {
        let [limit, remaining, reset, policy, state, _] = FIELD_NAMES;
        let mut fields = Vec::new();
        if counting.clone().next().is_some() {
            fields.extend([limit, remaining]);
            if counting.clone().any(|limiter| !limiter.category.quota().is_credits()) {
                fields.push(reset);
            }
            if self.ietf_fields {
                fields.extend([policy, state]);
            }
        }
        fields
    }

    fn organization_fields(&self, access: Option<&Access>) -> Vec<OrganizationField<'_>> {
        let is_public = access == Some(&Access::Public);
        match &self.organization {
            None => Vec::new(),
            Some(Selection::Named { header, required }) => {
                vec![OrganizationField::Header { name: header, is_required: *required && !is_public }]
            }
            Some(Selection::Context(Context { header, cookie, mode, .. })) => {
                let selects = !access.is_some_and(Access::is_of_system);
                let mut fields = Vec::new();
                if selects {
                    let header = header.as_ref();
                    fields.extend(header.map(|name| OrganizationField::Header { name, is_required: false }));
                    let cookie = cookie.as_deref().filter(|_| self.sessions.is_some());
                    fields.extend(cookie.map(OrganizationField::Cookie));
                }
                fields.extend(mode.as_ref().map(OrganizationField::Mode));
                fields
            }
        }
    }

    fn reasons_of_credentials(&self, requirements: &Requirements<'_>) -> Vec<Reason> {
        let mut reasons = Vec::new();
        if !requirements.is_open {
            reasons.push(Reason::CredentialMissing);
        }
        if let Some(companions) = &self.credentials.companions {
            if requirements.parts.needs_secret() {
                reasons.push(Reason::CompanionMissing { rule: requirements.parts.name() });
            }
            if requirements.parts.needs_token() {
                reasons.push(Reason::SessionTokenMissing);
            }
            if companions.tokens.is_some() {
                reasons.extend([Reason::SessionTokenInvalid, Reason::SessionTokenExpired]);
            }
            reasons.push(Reason::CompanionMismatch);
            reasons.push(Reason::CompanionInvalid(Box::new(Reason::KeyUnknown)));
        }
        if self.credentials.extractors.len() > 1 {
            reasons.push(Reason::CredentialConflict);
        }
        reasons.extend([
            Reason::CredentialMalformed(MalformedCredential::Repeated),
            Reason::CredentialMalformed(MalformedCredential::Empty),
        ]);
        if let Some(throttle) = &self.throttle {
            reasons.push(Reason::Throttled(limited(throttle.category_data())));
        }
        reasons.extend([
            Reason::KeyUnknown,
            Reason::SecretMismatch,
            Reason::KeyRevoked,
            Reason::KeyDisabled,
            Reason::KeyNotYetValid,
            Reason::KeyExpired,
            Reason::StoreFailed(StoreError::new(StoreErrorKind::Unavailable)),
        ]);
        if self.sessions.is_some() {
            reasons.extend([Reason::SessionUnknown, Reason::SessionExpired]);
        }
        if self.client_address.is_some() {
            reasons.push(Reason::AddressNotAllowed);
        }
        reasons
    }

    fn reasons_of_limits(&self, rules: &[LimitRule], route: &Route) -> Vec<Reason> {
        let mut reasons = Vec::new();
        for rule in rules.iter().filter(|rule| !rule.is_shadow) {
            let Some(Limiter { category, counts, .. }) = rule.limiter_of(route) else { continue };
            let limited = limited(category);
            if rule.cost.is_some() && limited.retry_after.is_some() {
                reasons.push(Reason::RateLimited(RateLimited { retry_after: None, ..limited.clone() }));
            }
            reasons.push(Reason::RateLimited(limited));
            // In memory a decision can always be made.
            if counts.engine() != "memory" {
                reasons.push(Reason::LimiterFailed(category.name.clone()));
            }
        }
        reasons
    }

    fn reasons_of_organization(&self, access: Option<&Access>, route: &Route) -> Vec<Reason> {
        let mut reasons = Vec::new();
        match &self.organization {
            None => {}
            Some(Selection::Named { required, .. }) => {
                if *required {
                    reasons.push(Reason::OrganizationMissing);
                }
                reasons.push(Reason::OrganizationMismatch);
            }
            Some(Selection::Context(context)) => {
                if !access.is_some_and(Access::is_of_system) {
                    let parameter = context.parameter.as_deref();
                    if !parameter.is_some_and(|name| route.has_parameter(name)) {
                        reasons.push(Reason::OrganizationMissing);
                    }
                    if context.header.is_some() || context.cookie.is_some() {
                        reasons.push(Reason::OrganizationMismatch);
                    }
                    reasons.push(Reason::OrganizationNotFound);
                }
                if context.mode.is_some() {
                    reasons.extend(self.sessions.as_ref().map(|_| Reason::ActingModeMissing));
                    reasons.push(Reason::ActingModeMismatch);
                }
            }
        }
        reasons
    }

    fn reasons_of_access(&self, access: Option<&Access>, route: &Route) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let mut rule = access;
        while let Some(access) = rule {
            rule = match access {
                Access::Scope(requirement) => {
                    reasons.push(Reason::ScopeMissing(requirement.clone()));
                    None
                }
                Access::AnyKey | Access::Public => None,
                Access::System(inner) => {
                    reasons.push(Reason::TierMismatch);
                    Some(inner)
                }
                Access::Role(_, inner) => {
                    reasons.push(Reason::RoleTooLow);
                    Some(inner)
                }
            };
        }
        // A spelling that routers read differently, at the place of a parameter.
        let is_by_path = !self.is_matched_by_router();
        if is_by_path && access.is_some_and(|access| *access != Access::Public) && route.has_parameters() {
            reasons.push(Reason::PathNotCanonical);
        }
        reasons
    }

    fn rejection_for(&self, reason: Reason) -> Rejection {
        match &reason {
            Reason::ScopeMissing(scopes) => {
                let mut schemes = self.credentials.extractors.iter().map(|one| one.scheme);
                let challenge = schemes.find_map(|scheme| Challenge::insufficient_scope(scheme, scopes));
                match challenge {
                    Some(challenge) => Rejection::new(reason).with_challenges([challenge].into()),
                    None => Rejection::new(reason),
                }
            }
            _ => self.rejection(reason, None),
        }
    }
}

fn limited(category: &crate::limit::Category) -> RateLimited {
    let quota = category.quota();
    let wait = quota.window().max(Duration::from_secs(1));
    RateLimited { category: category.name.clone(), quota, retry_after: (!quota.is_credits()).then_some(wait) }
}
