use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::Method;

use super::config_error::Fault;
use super::location::Location;
use super::lookups::Lookups;
use crate::address::ClientAddressSource;
use crate::clock::{Clock, SystemClock};
use crate::credential::{Companions, CredentialExtractor, ImportedHashes};
use crate::identity::{OrganizationRule, SessionAuthenticator};
use crate::key::{KeyFormat, Peppers};
use crate::limit::{Quota, RateLimit, RateLimiter};
use crate::manage::{AuditSink, KeyManager};
use crate::outcome::{UsageRetention, UsageSink};
use crate::rejection::ProblemDetails;
use crate::route::{Access, RouteMatching};
use crate::scope::Scope;
use crate::store::{GuardedStore, KeyAdministration, KeyStore, MemoryStore};

/// Sets up an [`ApiKeys`](super::ApiKeys).
///
/// Setters do not fail: [`build`](Self::build) reports every fault at once. A setter that is called again replaces what it
/// set before, except for those that add: credentials, formats, limits and routes.
#[must_use = "an assembly is made by `build`"]
pub struct ApiKeysBuilder<F = ProblemDetails> {
    pub(super) store: Arc<dyn KeyAdministration>,
    pub(super) lookups: Lookups,
    /// The first one is that of new keys.
    pub(super) formats: Vec<KeyFormat>,
    pub(super) locations: Vec<Location>,
    pub(super) ignores_other_schemes: bool,
    pub(super) companions: Option<Companions>,
    pub(super) sessions: Option<Arc<dyn SessionAuthenticator>>,
    pub(super) organization: Option<OrganizationRule>,
    pub(super) client_address: Option<ClientAddressSource>,
    pub(super) throttle: Option<Quota>,
    pub(super) limits: Vec<RateLimit>,
    pub(super) limiters: Option<Arc<Limiters>>,
    pub(super) ietf_fields: bool,
    pub(super) routes: Vec<(Method, String, Access)>,
    pub(super) prefix: String,
    pub(super) has_no_table: bool,
    /// What scopes allow, in sentences.
    pub(super) descriptions: BTreeMap<Scope, String>,
    pub(super) matching: RouteMatching,
    pub(super) allows_anonymous: bool,
    pub(super) passes_cors_preflight: bool,
    pub(super) realm: Option<String>,
    pub(super) challenges_clients: bool,
    pub(super) peppers: Peppers,
    pub(super) imported_hashes: Option<Arc<ImportedHashes>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) records_last_use: bool,
    pub(super) counts_usage: bool,
    pub(super) usage_retention: Option<UsageRetention>,
    pub(super) usage: Option<Arc<UsageSink>>,
    pub(super) audit: Option<Arc<AuditSink>>,
    pub(super) manager: Option<Box<dyn FnOnce(KeyManager) -> KeyManager>>,
    pub(super) gives_request_ids: bool,
    pub(super) attaches_rejections: bool,
    pub(super) errors: F,
    /// What was found wrong so far.
    pub(super) faults: Vec<Fault>,
}

/// Makes the limiter of a category.
pub(super) type Limiters = dyn Fn(&str, &[Quota]) -> Arc<dyn RateLimiter> + Send + Sync;

impl ApiKeysBuilder {
    pub(super) fn new(store: impl KeyAdministration, format: KeyFormat) -> Self {
        let memory = (&store as &dyn Any).downcast_ref::<MemoryStore>().cloned();
        let (store, lookups): (Arc<dyn KeyAdministration>, _) = match memory {
            Some(memory) => (Arc::new(store), Lookups::Memory(memory)),
            None => {
                let guarded = Arc::new(GuardedStore::new(store));
                (guarded.clone(), Lookups::Other(guarded as Arc<dyn KeyStore>))
            }
        };
        Self {
            store,
            lookups,
            formats: vec![format],
            locations: Vec::new(),
            ignores_other_schemes: false,
            companions: None,
            sessions: None,
            organization: None,
            client_address: None,
            throttle: None,
            limits: Vec::new(),
            limiters: None,
            ietf_fields: false,
            routes: Vec::new(),
            prefix: String::new(),
            has_no_table: false,
            descriptions: BTreeMap::new(),
            matching: RouteMatching::default(),
            allows_anonymous: false,
            passes_cors_preflight: false,
            realm: None,
            challenges_clients: true,
            peppers: Peppers::none(),
            imported_hashes: None,
            clock: Arc::new(SystemClock),
            records_last_use: false,
            counts_usage: false,
            usage_retention: None,
            usage: None,
            audit: None,
            manager: None,
            gives_request_ids: false,
            attaches_rejections: false,
            errors: ProblemDetails,
            faults: Vec::new(),
        }
    }
}

impl<F> ApiKeysBuilder<F> {
    pub(super) fn fault(&mut self, setting: &'static str, message: impl Into<String>) {
        self.faults.push((setting, message.into()));
    }

    fn at(mut self, location: Location) -> Self {
        self.locations.push(location);
        self
    }

    /// Takes keys from a header field of their own, such as `x-api-key`.
    pub fn header(self, name: impl Into<String>) -> Self {
        self.at(Location::Header(name.into()))
    }

    /// Takes keys from `Authorization: Bearer` (RFC 6750). With [`sessions`](Self::sessions), a bearer token that is no key
    /// of the assembly's formats is a session.
    pub fn bearer(self) -> Self {
        self.at(Location::Bearer)
    }

    /// Takes keys from `Authorization: Basic`, as the user name with an empty password (RFC 7617). For clients that do it
    /// otherwise, give a [`BasicKey`](crate::credential::BasicKey) to [`extractor`](Self::extractor).
    pub fn basic(self) -> Self {
        self.at(Location::Basic)
    }

    /// Takes credentials from wherever `extractor` finds them: a type of the application, a closure
    /// ([`from_fn`](crate::credential::from_fn)), or one of this crate with settings of its own.
    ///
    /// A request that carries two credentials is rejected, whether or not either is good.
    pub fn extractor(self, extractor: impl CredentialExtractor) -> Self {
        self.at(Location::Own(Arc::new(extractor)))
    }

    /// Also accepts keys of this format, wherever keys are taken from. New keys are made in the first one.
    pub fn also_accept(mut self, format: KeyFormat) -> Self {
        self.formats.push(format);
        self
    }

    /// Takes a credential field with a scheme of none of the extractors for no credential, as another layer may use it.
    /// Without this, such a request is rejected even where [anonymous](Self::allow_anonymous) ones are accepted.
    pub fn ignore_other_schemes(mut self) -> Self {
        self.ignores_other_schemes = true;
        self
    }

    /// Asks for more than the key: the secret of a companion, a session token, or both, as [`Companions`] says.
    pub fn companions(mut self, companions: Companions) -> Self {
        self.companions = Some(companions);
        self
    }

    /// Verifies people's [sessions](crate::identity::Session) with `sessions`. Needs an
    /// [organization rule](Self::organization) that says for whom a session acts.
    ///
    /// ```
    /// use tower_api_keys::identity::{OrganizationRule, SessionAuthenticator};
    /// # use tower_api_keys::store::MemoryStore;
    /// # use tower_api_keys::{ApiKeys, KeyFormat};
    ///
    /// # fn example(sessions: impl SessionAuthenticator) -> Result<(), Box<dyn std::error::Error>> {
    /// // A bearer token that starts with sk_ is a key, and any other a session.
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("sk_")?)
    ///     .bearer()
    ///     .sessions(sessions)
    ///     .organization(OrganizationRule::context().session_cookie("organization"))
    ///     .route("GET", "/invoices", "invoice:read")
    ///     .build()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn sessions(mut self, sessions: impl SessionAuthenticator) -> Self {
        self.sessions = Some(Arc::new(sessions));
        self
    }

    /// For which organization a request acts, where the key alone does not say.
    pub fn organization(mut self, rule: OrganizationRule) -> Self {
        self.organization = Some(rule);
        self
    }

    /// How the client's address is found: for keys that may be used from
    /// [some addresses](crate::key::Extras::allowed_addresses) only, for limits by address, and for
    /// [`throttle_bad_credentials`](Self::throttle_bad_credentials).
    ///
    /// A key with allowed addresses is rejected with 403 from everywhere else, and also where a proxy does not say who its
    /// client is. Where this is not set, or the peer's address is not known, it is rejected with 500, and the log says what
    /// is missing.
    pub fn client_address(mut self, source: ClientAddressSource) -> Self {
        self.client_address = Some(source);
        self
    }

    /// Slows down guessing: an address that has presented as many bad credentials as `quota` allows is rejected with 429,
    /// and the store is not asked, until some of them no longer count. Needs [`client_address`](Self::client_address).
    ///
    /// 1. A credential is bad if it was looked up and no key is known by it, or the key's secret, mode or state is not
    ///    right. One that is malformed counts nothing, since it costs nothing. Nor does a good one, even from an address
    ///    that its key may not be used from.
    /// 2. Credentials are counted by address alone, and never by the key they name: no stranger can lock a key's owner
    ///    out.
    /// 3. All clients behind a used-up address, behind one NAT or in one IPv6 network, wait with it, good key or not. So the
    ///    limit should leave room for the mistakes of an office: 20 a minute is of no use for guessing
    ///    [a secret](KeyFormat), and enough for a deployment that still uses a key that has ended.
    /// 4. Lookups that are under way when the limit is used up are still answered. To bound those as well, add a
    ///    [limit by address](RateLimit::per_address).
    /// 5. When as many addresses are counted as there is room for (100 000), further ones are not rejected.
    /// 6. Each process counts what it sees itself, also where rate limits are shared: behind n processes a guesser has up
    ///    to n times the limit. This avoids a network round trip for strangers.
    pub fn throttle_bad_credentials(mut self, quota: Quota) -> Self {
        self.throttle = Some(quota);
        self
    }

    /// Accepts requests without a credential, without a [`Principal`](crate::Principal). A bad credential is still
    /// rejected: it is never taken for none.
    ///
    /// A handler then takes an `Option<Principal>`, or asks [`from_extensions`](crate::Principal::from_extensions). Limits
    /// by key do not count such requests, limits by client address do. A route that needs a scope answers 401.
    pub fn allow_anonymous(mut self) -> Self {
        self.allows_anonymous = true;
        self
    }

    /// Accepts true CORS preflights (`OPTIONS` with `Origin` and `Access-Control-Request-Method`) without a credential, for
    /// a CORS layer between this one and the routes. A CORS layer outside needs no such thing and is to be preferred: it
    /// also puts its headers on rejections.
    pub fn pass_cors_preflight(mut self) -> Self {
        self.passes_cors_preflight = true;
        self
    }

    /// Names the protection space in every challenge (RFC 9110 section 11.5): visible ASCII and spaces.
    pub fn realm(mut self, realm: impl Into<String>) -> Self {
        self.realm = Some(realm.into());
        self
    }

    /// Leaves `WWW-Authenticate` out of every 401, against RFC 9110 section 11.6.1, and with it a [realm](Self::realm) that
    /// was set before, such as a preset's.
    ///
    /// For pages in a browser, which otherwise answers a `Basic` challenge with a login window of its own.
    pub fn without_challenge(mut self) -> Self {
        self.challenges_clients = false;
        self.realm = None;
        self
    }

    /// Digests keys under these peppers. The store's digests must have been made with them.
    pub fn peppers(mut self, peppers: Peppers) -> Self {
        self.peppers = peppers;
        self
    }

    /// Reads the time from this clock.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets up the [`KeyManager`]: which scopes can be granted, how long keys may last, what callers need to manage keys.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_api_keys::store::MemoryStore;
    /// # use tower_api_keys::{ApiKeys, KeyFormat};
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/workflows", "workflows:read")
    ///     .manage_with(|manager| manager.with_max_lifetime(Duration::from_secs(365 * 24 * 60 * 60)))
    ///     .build()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn manage_with(mut self, change: impl FnOnce(KeyManager) -> KeyManager + 'static) -> Self {
        self.manager = Some(match self.manager.take() {
            None => Box::new(change),
            Some(before) => Box::new(|manager| change(before(manager))),
        });
        self
    }

    /// Gives each request an identifier: its own `X-Request-ID` if that is one, or a new one. It is in the request's
    /// extensions ([`RequestId`](crate::request::RequestId)) and in its header, available to the format of errors, in the
    /// log, and in the header of every response.
    pub fn request_ids(mut self) -> Self {
        self.gives_request_ids = true;
        self
    }

    /// Puts the [`Rejection`](crate::rejection::Rejection) into the extensions of each response to a rejected request, for
    /// layers outside. Costs an allocation a rejection.
    pub fn attach_rejections(mut self) -> Self {
        self.attaches_rejections = true;
        self
    }

    /// Makes the responses to errors with `format`.
    pub fn errors<G>(self, format: G) -> ApiKeysBuilder<G> {
        ApiKeysBuilder {
            errors: format,
            store: self.store,
            lookups: self.lookups,
            formats: self.formats,
            locations: self.locations,
            ignores_other_schemes: self.ignores_other_schemes,
            companions: self.companions,
            sessions: self.sessions,
            organization: self.organization,
            client_address: self.client_address,
            throttle: self.throttle,
            limits: self.limits,
            limiters: self.limiters,
            ietf_fields: self.ietf_fields,
            routes: self.routes,
            prefix: self.prefix,
            has_no_table: self.has_no_table,
            descriptions: self.descriptions,
            matching: self.matching,
            allows_anonymous: self.allows_anonymous,
            passes_cors_preflight: self.passes_cors_preflight,
            realm: self.realm,
            challenges_clients: self.challenges_clients,
            peppers: self.peppers,
            imported_hashes: self.imported_hashes,
            clock: self.clock,
            records_last_use: self.records_last_use,
            counts_usage: self.counts_usage,
            usage_retention: self.usage_retention,
            usage: self.usage,
            audit: self.audit,
            manager: self.manager,
            gives_request_ids: self.gives_request_ids,
            attaches_rejections: self.attaches_rejections,
            faults: self.faults,
        }
    }
}

impl<F> fmt::Debug for ApiKeysBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiKeysBuilder")
            .field("formats", &self.formats)
            .field("routes", &self.routes)
            .field("limits", &self.limits)
            .field("faults", &self.faults)
            .finish_non_exhaustive()
    }
}
