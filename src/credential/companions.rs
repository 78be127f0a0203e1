//! Credentials that a request needs besides its key.

use std::fmt;
use std::sync::Arc;

use http::{HeaderName, Method};

use super::{CredentialExtractor, SessionTokens};
use crate::InvalidValue;
use crate::request::RequestView;
#[cfg(feature = "openapi")]
use crate::route::Route;
use crate::route::{RouteMatch, RouteMatching, RouteTable};

/// Requires a second credential besides the key: a companion key, such as an app's secret, a session token, or both.
///
/// The parts of a request are one credential:
///
/// 1. One table says which parts a route needs. A part that is not needed may still be sent.
/// 2. **Every part that is sent is verified**, needed or not. No part makes up for a wrong one.
/// 3. All parts belong together: the key and the companion have the same owner (organization and mode), and a session
///    token must have been issued to this key with this companion.
/// 4. The caller may do what both the key and the companion may: the scopes that both have, until the first of them
///    expires, from addresses that both allow.
///
/// A missing part is reported before a wrong one: first the key, then the companion, then the token. An empty field
/// counts as missing.
///
/// A companion is a key like others: a [`KeyRecord`](crate::key::KeyRecord) in the same store, made by a
/// [`KeyManager`](crate::manage::KeyManager) with its own [format](crate::key::KeyFormat). Each manager works on
/// every key of its owner, so use the matching one to rotate a key. The formats should have different prefixes, so
/// that one cannot be sent in place of the other; a key that is sent as its own companion is rejected. The principal
/// reports [which companion](crate::Principal::companion_id) was sent.
///
/// ```
/// use http::HeaderName;
/// use tower_api_keys::credential::{Companions, HeaderKey, Parts, SessionTokens};
/// use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
/// # let signing_secret = "signing secret of 32 bytes or more";
///
/// let secret = HeaderKey::new(HeaderName::from_static("x-app-secret"), KeyFormat::new("app_")?);
/// let tokens = SessionTokens::new(signing_secret.into())?;
///
/// let companions = Companions::new(secret)
///     .with_session_tokens(HeaderName::from_static("x-session"), tokens)
///     .with_routes([("GET", "/health", Parts::KEY), ("POST", "/login", Parts::SECRET), ("GET", "/runs", Parts::TOKEN)]);
/// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("org_")?)
///     .header("x-api-key")
///     .companions(companions)
///     .routes([("GET", "/runs", "runs:read"), ("POST", "/login", "sessions:create")])
///     .public("GET", "/health")
///     .build()?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[must_use]
pub struct Companions {
    pub(crate) secret: Arc<dyn CredentialExtractor>,
    pub(crate) tokens: Option<(HeaderName, SessionTokens)>,
    routes: RouteTable<Parts>,
    otherwise: Parts,
    /// The first fault of the routes.
    fault: Option<InvalidValue>,
}

/// The credentials that a request needs besides its key.
///
/// ```
/// use tower_api_keys::credential::Parts;
///
/// const LOGIN: Parts = Parts::SECRET.named("login");
/// assert!(LOGIN.needs_secret() && !LOGIN.needs_token());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    secret: bool,
    token: bool,
    name: &'static str,
}

impl Parts {
    /// Only the key.
    pub const KEY: Self = Self { secret: false, token: false, name: "" };
    /// The key and the companion's secret.
    pub const SECRET: Self = Self { secret: true, ..Self::KEY };
    /// The key and a session token.
    pub const TOKEN: Self = Self { token: true, ..Self::KEY };
    /// All three.
    pub const ALL: Self = Self { secret: true, token: true, ..Self::KEY };

    /// Names the rule. [`Reason::CompanionMissing`](crate::rejection::Reason::CompanionMissing) contains the name,
    /// for formats whose text differs by route.
    #[must_use]
    pub const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Whether the companion's secret is required.
    pub const fn needs_secret(self) -> bool {
        self.secret
    }

    /// Whether a session token is required.
    pub const fn needs_token(self) -> bool {
        self.token
    }

    /// The rule's name; empty by default.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl Companions {
    /// Reads the companion's secret with `secret`. Until routes are added, every route needs it.
    pub fn new(secret: impl CredentialExtractor) -> Self {
        Self {
            secret: Arc::new(secret),
            tokens: None,
            routes: RouteTable::new(),
            otherwise: Parts::SECRET,
            fault: None,
        }
    }

    /// Reads session tokens from the field `header`. Without this, routes that need a token reject every request.
    pub fn with_session_tokens(self, header: HeaderName, tokens: SessionTokens) -> Self {
        Self { tokens: Some((header, tokens)), ..self }
    }

    /// Says what each of these routes needs: method, [pattern](crate::route#patterns) and parts. A path that is [not
    /// canonical](crate::route#what-is-matched) needs everything.
    ///
    /// What is malformed, or there twice, is reported by [`build`](crate::ApiKeysBuilder::build).
    pub fn with_routes<M, P>(self, routes: impl IntoIterator<Item = (M, P, Parts)>) -> Self
    where
        M: TryInto<Method>,
        P: AsRef<str>,
    {
        routes.into_iter().fold(self, |companions, (method, pattern, parts)| {
            companions.with_route(method.try_into().ok(), pattern.as_ref(), parts)
        })
    }

    fn with_route(mut self, method: Option<Method>, pattern: &str, parts: Parts) -> Self {
        let added = match method {
            Some(method) => self.routes.clone().add(method, pattern, parts),
            None => Err(InvalidValue::naming("route", format!("the method of {pattern} is not valid"))),
        };
        match added {
            Ok(routes) => self.routes = routes,
            Err(fault) => _ = self.fault.get_or_insert(fault),
        }
        self
    }

    /// Sets what other requests need; by default the companion's secret.
    pub fn with_otherwise(self, parts: Parts) -> Self {
        Self { otherwise: parts, ..self }
    }

    pub(crate) fn needed(&self, request: RequestView<'_>) -> Parts {
        match self.routes.find(request) {
            RouteMatch::Found(parts) => *parts,
            RouteMatch::NotCovered | RouteMatch::NotFound => self.otherwise,
            RouteMatch::PathNotCanonical => Parts::ALL,
        }
    }

    #[cfg(feature = "openapi")]
    pub(crate) fn needed_on(&self, route: &Route) -> Parts {
        self.routes.value_of(route).copied().unwrap_or(self.otherwise)
    }

    /// What the routes need.
    pub(crate) fn routes(&self) -> &RouteTable<Parts> {
        &self.routes
    }

    pub(crate) fn credential_headers(&self) -> Vec<HeaderName> {
        let mut headers = self.secret.credential_headers();
        headers.extend(self.tokens.iter().map(|(name, _)| name.clone()));
        headers
    }

    /// Whether a request may need a session token.
    pub(crate) fn ask_for_tokens(&self) -> bool {
        self.routes.values().chain([&self.otherwise]).any(|parts| parts.token)
    }

    /// Moves the routes below `prefix`, and matches them like the assembly's.
    pub(crate) fn for_routes(self, prefix: &str, matching: RouteMatching) -> Result<Self, InvalidValue> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let routes = self.routes.with_matching(matching);
        let routes = if prefix.is_empty() { routes } else { routes.nest(prefix)? };
        Ok(Self { routes, ..self })
    }
}

impl fmt::Debug for Companions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Companions")
            .field("routes", &self.routes)
            .field("otherwise", &self.otherwise)
            .finish_non_exhaustive()
    }
}
