//! From settings to an assembly: everything that can be wrong is found here.

use std::sync::Arc;

use http::Method;

use super::assembly::Assembly;
use super::background::Background;
use super::challenges::Challenges;
use super::checks::Checks;
use super::credentials::Credentials;
use super::known_scopes::known_scopes;
use super::limit_rule::{LimitRule, Limiter, Settlement};
use super::stage::extraction::challenges;
use super::{ApiKeys, ApiKeysBuilder, ConfigError};
use crate::InvalidValue;
use crate::credential::{Challenge, CredentialExtractor};
use crate::identity::{OrganizationRule, Selection};
use crate::key::KeyFormat;
use crate::limit::{MemoryRateLimiter, Quota, RateLimit, StoredLimiter, SubjectKind};
use crate::log::OncePerSecondAndCode;
use crate::manage::KeyManager;
use crate::metrics::{Decisions, LimitCounters};
use crate::outcome::{LastUse, UsageCounter, UsageRetention};
use crate::route::{Access, RouteTable};

impl<F> ApiKeysBuilder<F> {
    /// The assembly.
    ///
    /// # Errors
    ///
    /// [`ConfigError`], which lists every fault: settings that are malformed, that contradict each other, or that could
    /// never act.
    pub fn build(mut self) -> Result<ApiKeys<F>, ConfigError> {
        let extractors = self.extractors();
        self.check_credentials(&extractors);
        let challenges = self.challenges(&extractors);
        let access = self.table();
        self.check_organization(access.as_ref());
        self.check_sessions(&extractors);
        self.check_addresses();
        self.check_companions();
        self.check_imported_hashes();
        self.check_usage();
        let limits = std::mem::take(&mut self.limits);
        self.check_limits(&limits, access.as_ref());
        let companions =
            self.companions.take().map(|companions| companions.for_routes(&self.prefix, self.matching));
        let companions = self.keep(companions.transpose(), "companions").flatten();
        let no_routes = RouteTable::new().with_matching(self.matching);
        let mut rules: Vec<_> = limits.into_iter().filter_map(|limit| self.limit_rule(limit)).collect();
        for (index, limiter) in rules.iter_mut().flat_map(|rule| &mut rule.limiters).enumerate() {
            limiter.counters = LimitCounters::new(index, &limiter.category.name, limiter.counts.engine());
        }
        if !self.faults.is_empty() {
            return Err(ConfigError::new(self.faults));
        }

        let (address_limits, mut limits): (Vec<_>, Vec<_>) =
            rules.into_iter().partition(|rule| matches!(rule.subject, SubjectKind::Address));
        let mut categories = Vec::new();
        for LimitRule { limiters, categories_before, .. } in &mut limits {
            *categories_before = u16::try_from(categories.len()).ok();
            categories.extend(limiters.iter().map(|limiter| limiter.category.name.clone()));
        }
        let usage = self.counts_usage.then(|| Arc::new(UsageCounter::new(categories)));
        let keeps_decisions = self.ietf_fields || limits.iter().any(LimitRule::can_change_cost);
        let throttle = self.throttle.map(|quota| {
            let limiter = MemoryRateLimiter::new("bad credentials", &[quota], self.clock.now());
            Arc::new(limiter.expect("one quota is not too many"))
        });
        let manager = KeyManager::over(self.store, self.formats, self.peppers.clone(), self.clock.clone());
        let manager =
            manager.reporting_in_background(true).with_imported_hashes(self.imported_hashes.clone());
        let manager = match self.audit {
            Some(sink) => manager.with_audit(move |event| sink(event)),
            None => manager,
        };
        let manager = match self.manager {
            Some(change) => change(manager),
            None => manager,
        };
        let manager = manager.reporting_in_background(false);
        let has_public_routes =
            access.as_ref().is_some_and(|table| table.values().any(|access| *access == Access::Public));
        let checks = Checks {
            credentials: Credentials::new(extractors, companions, challenges, self.ignores_other_schemes),
            lookups: self.lookups,
            sessions: self.sessions,
            peppers: self.peppers,
            imported_hashes: self.imported_hashes,
            clock: self.clock,
            client_address: self.client_address,
            throttle,
            address_limits,
            limits,
            keeps_decisions,
            ietf_fields: self.ietf_fields,
            organization: self.organization.map(|rule| rule.selection),
            access,
            has_public_routes,
            no_routes,
            allows_anonymous: self.allows_anonymous,
            passes_cors_preflight: self.passes_cors_preflight,
            last_use: self.records_last_use.then(LastUse::new),
            usage: usage.map(|usage| (usage, self.usage_retention.unwrap_or(UsageRetention::DEFAULT))),
            reporter: manager.reporter().cloned(),
            lines: OncePerSecondAndCode::default(),
            decisions: Decisions::default(),
        };
        checks.decisions.describe();
        let is_cached = manager.store().health().cache.is_some();
        let scopes = known_scopes(self.descriptions, &checks, &manager);
        let background = Background::new(is_cached || checks.needs_background());
        Ok(ApiKeys::new(Assembly {
            checks: Arc::new(checks),
            errors: self.errors,
            manager,
            scopes,
            usage: self.usage,
            gives_request_ids: self.gives_request_ids,
            attaches_rejections: self.attaches_rejections,
            background,
        }))
    }

    /// The value, or a fault of `setting`.
    fn keep<T, E: std::fmt::Display>(&mut self, result: Result<T, E>, setting: &'static str) -> Option<T> {
        result.map_err(|error| self.fault(setting, error.to_string())).ok()
    }

    /// The extractors that keys are taken from, by location.
    fn extractors(&mut self) -> Vec<Arc<dyn CredentialExtractor>> {
        let locations = std::mem::take(&mut self.locations);
        let accepts_sessions = self.sessions.is_some();
        let mut extractors = Vec::with_capacity(locations.len());
        for location in locations {
            match location.extractor(self.formats.clone(), accepts_sessions) {
                Ok(extractor) => extractors.push(extractor),
                Err(fault) => self.faults.push(fault),
            }
        }
        extractors
    }

    fn check_credentials(&mut self, extractors: &[Arc<dyn CredentialExtractor>]) {
        if extractors.is_empty() && self.faults.iter().all(|(setting, _)| *setting != "header") {
            self.fault(
                "header",
                "no credential is looked for: add `header`, `bearer`, `basic` or `extractor`",
            );
        }
        let places: Vec<_> =
            extractors.iter().map(|one| (one.challenge().scheme(), one.credential_headers())).collect();
        for (index, (scheme, headers)) in places.iter().enumerate() {
            if !headers.is_empty() && places[..index].contains(&places[index]) {
                let fields: Vec<_> = headers.iter().map(http::HeaderName::as_str).collect();
                let message = format!(
                    "{scheme} credentials are taken from {} twice, so each would make a request ambiguous: name several \
                     formats with `also_accept`",
                    fields.join(", ")
                );
                self.fault("extractor", message);
            }
        }
        for index in 1..self.formats.len() {
            if self.formats[..index].iter().any(|other| other.overlaps(&self.formats[index])) {
                self.fault(
                    "also_accept",
                    "a text can be a key of two formats: give each a prefix of its own",
                );
            }
        }
    }

    fn challenges(&mut self, extractors: &[Arc<dyn CredentialExtractor>]) -> Challenges {
        let all = if self.challenges_clients { challenges(extractors) } else { Vec::new() };
        if self.realm.is_some() && !self.challenges_clients {
            self.fault("realm", "no response has the realm, since `without_challenge` leaves challenges out");
        }
        let made = match self.realm.as_deref() {
            // No challenge takes such a realm.
            Some(realm) if Challenge::of_scheme("Any").with_parameter("realm", realm).is_err() => {
                self.fault("realm", "a realm has visible ASCII characters and spaces only");
                return Challenges::default();
            }
            realm => Challenges::new(all.iter(), realm),
        };
        self.keep(made, "realm").unwrap_or_default()
    }

    /// The rules of routes; `None` if access is not decided by route.
    fn table(&mut self) -> Option<RouteTable<Access>> {
        let routes = std::mem::take(&mut self.routes);
        let has_faults = self.faults.iter().any(|(setting, _)| *setting == "route");
        match (routes.is_empty(), self.has_no_table) {
            (true, false) if !has_faults => self.fault(
                "route",
                "there is no rule, so every request would be rejected: add `route`, or `without_route_table` if `require` or \
                 handlers decide",
            ),
            (false, true) => self.fault("without_route_table", "there are rules for routes"),
            _ => {}
        }
        if self.has_no_table {
            return None;
        }
        let mut table = RouteTable::new();
        for (method, pattern, access) in routes {
            if access.has_public_inside() {
                self.fault("route", format!("{pattern}: `Access::Public` can't stand inside another rule"));
            }
            table = match table.clone().add(method, &pattern, access) {
                Ok(table) => table,
                Err(error) => {
                    self.fault("route", error.to_string());
                    table
                }
            };
        }
        let table = below(table, &self.prefix);
        self.keep(table, "routes_below").map(|table| table.with_matching(self.matching))
    }

    fn check_organization(&mut self, access: Option<&RouteTable<Access>>) {
        let needs_role = access.is_some_and(|table| table.values().any(|access| access.role().is_some()));
        let rule = self.organization.clone();
        if let Some(OrganizationRule { fault: Some(fault), .. }) = &rule {
            self.fault("organization", fault.clone());
        }
        let context = rule.as_ref().and_then(|rule| match &rule.selection {
            Selection::Context(context) => Some(context),
            Selection::Named { .. } => None,
        });
        if needs_role && context.is_none() {
            self.fault("organization", "a route needs a role, which only `OrganizationRule::context` finds");
        }
        let has_parameter = context.is_some_and(|context| context.parameter.is_some());
        if has_parameter && access.is_none() && !self.matching.is_by_router() {
            self.fault(
                "organization",
                "the parameter of a route is known from `route` or `match_routes` only",
            );
        }
    }

    fn check_sessions(&mut self, extractors: &[Arc<dyn CredentialExtractor>]) {
        if self.sessions.is_none() {
            if extractors.iter().any(|extractor| extractor.finds_sessions()) {
                self.fault("sessions", "an extractor finds sessions: say who verifies them");
            }
            return;
        }
        if !extractors.iter().any(|extractor| extractor.finds_sessions()) {
            self.fault("sessions", "no extractor finds sessions: add `bearer`, or an extractor that does");
        }
        if self.companions.is_some() {
            self.fault(
                "companions",
                "nothing comes with a session, so companions and sessions exclude each other",
            );
        }
        let rule = self.organization.as_ref().map(|rule| &rule.selection);
        if !matches!(rule, Some(Selection::Context(_))) {
            self.fault(
                "sessions",
                "a rule has to say for whom a session acts: add `organization` with `OrganizationRule::context`",
            );
        }
    }

    fn check_addresses(&mut self) {
        if self.throttle.is_some() && self.client_address.is_none() {
            self.fault(
                "throttle_bad_credentials",
                "bad credentials are counted by address: add `client_address`",
            );
        }
        let fault = self.client_address.as_ref().and_then(|source| source.fault()).map(ToString::to_string);
        if let Some(fault) = fault {
            self.fault("client_address", fault);
        }
    }

    fn check_companions(&mut self) {
        let lacks_tokens = self
            .companions
            .as_ref()
            .is_some_and(|companions| companions.ask_for_tokens() && companions.tokens.is_none());
        if lacks_tokens {
            self.fault("companions", "a route needs a session token: add `Companions::with_session_tokens`");
        }
    }

    fn check_imported_hashes(&mut self) {
        if self.imported_hashes.is_none() {
            return;
        }
        if self.throttle.is_none() {
            self.fault(
                "verify_imported",
                "a guess at a key that was imported as a hash takes long: add `throttle_bad_credentials`",
            );
        }
        if self.companions.is_some() {
            self.fault("verify_imported", "a key that was imported as a hash can't have a companion");
        }
        if !self.formats.iter().any(KeyFormat::has_ids) {
            self.fault(
                "verify_imported",
                "a key that was imported as a hash is found by its identifier, and no format has one",
            );
        }
    }

    fn check_usage(&mut self) {
        if self.counts_usage && self.store.usage_log().is_none() {
            self.fault("count_usage", "the store keeps no usage");
        }
        let Some(UsageRetention { hours, days }) = self.usage_retention else { return };
        let least = UsageRetention::LEAST;
        if !self.counts_usage {
            self.fault("keep_usage_for", "no usage is counted: add `count_usage`");
        }
        if hours < least.hours || days < least.days {
            self.fault("keep_usage_for", "hours are kept for a day at least, and days for two");
        }
    }

    fn check_limits(&mut self, limits: &[RateLimit], access: Option<&RouteTable<Access>>) {
        let mut names: Vec<&str> = Vec::new();
        for limit in limits {
            let RateLimit { subject, categories, methods, routes, faults, .. } = limit;
            for fault in faults {
                self.fault("limit", fault.clone());
            }
            match subject {
                _ if limit.is_charged && limit.is_concurrent() => {
                    self.fault("limit", "requests at a time can't be charged: charge another limit");
                }
                SubjectKind::Address if limit.is_charged => self.fault(
                    "limit",
                    "an address can't be charged, since it is counted before the caller is known: count by key",
                ),
                SubjectKind::Address if self.client_address.is_none() => {
                    self.fault("limit", "a limit by address needs `client_address`");
                }
                SubjectKind::Organization | SubjectKind::Named(_) if self.sessions.is_some() => self
                    .fault("limit", "the organization of a session is found after the limits: count by key"),
                _ => {}
            }
            for (name, quotas) in categories {
                if quotas.iter().any(|quota| quota.calendar().is_some()) && !self.store.keeps_quotas() {
                    self.fault("limit", format!("the store keeps no quotas such as that of {name:?}"));
                }
                if names.contains(&&**name) {
                    self.fault("limit", format!("two limits have a category {name:?}"));
                }
                names.push(name);
            }
            let is_checked = !matches!(subject, SubjectKind::Address);
            if let Some(table) = access.filter(|_| is_checked) {
                let counted =
                    methods.iter().filter(|(_, category)| category.is_some()).map(|(method, _)| method);
                let counted: Vec<&Method> = counted
                    .chain(
                        routes.iter().filter(|(.., category)| category.is_some()).map(|(method, ..)| method),
                    )
                    .collect();
                for method in counted.into_iter().filter(|method| !table.has_method(method)) {
                    self.fault(
                        "limit",
                        format!("a category for {method} never counts: no route has that method"),
                    );
                }
            }
        }
    }

    fn limit_rule(&mut self, limit: RateLimit) -> Option<LimitRule> {
        let is_in_flight = limit.is_concurrent();
        let RateLimit {
            subject,
            categories,
            counts_otherwise,
            methods,
            routes,
            cost,
            refund,
            limit_for,
            is_charged,
            charge,
            is_shadow,
            faults,
        } = limit;
        if !faults.is_empty() {
            return None;
        }
        let is_settled = refund.is_some() || is_charged || is_in_flight;
        let settlement = Settlement { refund, is_charged, charge, is_in_flight };
        let table = routes.into_iter().try_fold(RouteTable::new(), |table, (method, pattern, category)| {
            table.add(method, &pattern, category)
        });
        let table = self.keep(table.and_then(|table| below(table, &self.prefix)), "limit")?;
        let limiters = categories.iter().map(|(name, quotas)| self.limiter(name, quotas));
        Some(LimitRule {
            subject,
            limiters: limiters.collect(),
            categories_before: None,
            routes: table.with_matching(self.matching),
            methods,
            otherwise: counts_otherwise.then_some(0),
            cost,
            limit_for,
            is_shadow,
            settlement: is_settled.then(|| Arc::new(settlement)),
        })
    }

    fn limiter(&self, category: &str, quotas: &[Quota]) -> Limiter {
        if let Some(stored) = StoredLimiter::new(category, quotas[0], self.store.clone()) {
            return Limiter { stored: Some(stored.clone()), ..Limiter::new(Arc::new(stored)) };
        }
        if let Some(make) = &self.limiters {
            return Limiter::new(make(category, quotas));
        }
        let limiter = MemoryRateLimiter::new(category, quotas, self.clock.now());
        Limiter::new(Arc::new(limiter.expect("what a category can't have is a fault")))
    }
}

fn below<T>(table: RouteTable<T>, prefix: &str) -> Result<RouteTable<T>, InvalidValue> {
    if prefix.is_empty() { Ok(table) } else { table.nest(prefix) }
}
