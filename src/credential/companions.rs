//! What a request has to bring besides its key.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::{CredentialExtractor, SessionTokens};
use crate::request::RequestView;
use crate::route::{InvalidRoute, RouteMatch, RouteMatching, RouteTable};

/// What has to come with the key: a companion key, such as the secret of an app, a session token, or both.
///
/// The parts of a request are one credential:
///
/// 1. Which parts a route needs is said in one table. A part that it does not need may still be there.
/// 2. **Every part that is there is verified**, needed or not. None makes up for another that is wrong.
/// 3. All of them belong together: the key and the companion have one owner, organization and mode, and a session token
///    is the one that was issued to this key with this companion.
/// 4. The caller may do what both the key and the companion may: the scopes that both have, until the first of them
///    ends, from addresses that both allow.
///
/// A part that is missing is told before one that is wrong, the key first, then the companion, then the token. A field
/// that is there and empty is missing.
///
/// A companion is a key like others: a [`KeyRecord`](crate::key::KeyRecord) in the same store, made by a
/// [`KeyManager`](crate::manage::KeyManager) with a [format](crate::key::KeyFormat) of its own, which works on every key
/// of its owner, so take the right one of the two to rotate a key. The formats should differ in their prefix, so that
/// neither can be sent in the place of the other; a key that is sent as its own companion is refused. The principal tells [which companion](crate::Principal::companion_id) it was.
///
/// ```
/// use http::{HeaderName, Method};
/// use tower_api_keys::credential::{Companions, HeaderKey, Parts, SessionTokens};
/// use tower_api_keys::route::RouteTable;
/// use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
/// # let signing_secret = "signing secret of 32 bytes or more";
///
/// let secret = HeaderKey::new(HeaderName::from_static("x-app-secret"), KeyFormat::new("app_")?);
/// let tokens = SessionTokens::new(signing_secret.into())?;
///
/// let routes = RouteTable::new()
///     .add(Method::GET, "/health", Parts::KEY)?
///     .add(Method::POST, "/login", Parts::SECRET)?
///     .add(Method::GET, "/runs", Parts::TOKEN)?;
/// let companions = Companions::new(secret)
///     .with_session_tokens(HeaderName::from_static("x-session"), tokens)
///     .with_routes(routes);
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
}

/// Which parts a request has to bring besides its key.
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
    /// Nothing but the key.
    pub const KEY: Self = Self { secret: false, token: false, name: "" };
    /// The key and the secret of a companion.
    pub const SECRET: Self = Self { secret: true, ..Self::KEY };
    /// The key and a session token.
    pub const TOKEN: Self = Self { token: true, ..Self::KEY };
    /// All three.
    pub const ALL: Self = Self { secret: true, token: true, ..Self::KEY };

    /// Gives the rule a name, which [`Reason::CompanionMissing`](crate::rejection::Reason::CompanionMissing) repeats: for
    /// formats that tell the same fault in other words on some routes.
    #[must_use]
    pub const fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// Whether the secret of a companion has to be there.
    pub const fn needs_secret(self) -> bool {
        self.secret
    }

    /// Whether a session token has to be there.
    pub const fn needs_token(self) -> bool {
        self.token
    }

    /// The rule's name; empty unless given.
    pub const fn name(self) -> &'static str {
        self.name
    }
}

impl Companions {
    /// Finds the secret of a companion with `secret`. Until routes are named, each needs it.
    pub fn new(secret: impl CredentialExtractor) -> Self {
        Self { secret: Arc::new(secret), tokens: None, routes: RouteTable::new(), otherwise: Parts::SECRET }
    }

    /// Takes session tokens from the field `header`. Without this, routes that need one refuse everything.
    pub fn with_session_tokens(self, header: HeaderName, tokens: SessionTokens) -> Self {
        Self { tokens: Some((header, tokens)), ..self }
    }

    /// Says what each route needs. A path that [could be read in two ways](crate::route#what-is-matched) needs
    /// everything.
    pub fn with_routes(self, routes: RouteTable<Parts>) -> Self {
        Self { routes, ..self }
    }

    /// Says what a request needs that no rule covers: the secret, unless set.
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

    pub(crate) fn credential_headers(&self) -> Vec<HeaderName> {
        let mut headers = self.secret.credential_headers();
        headers.extend(self.tokens.iter().map(|(name, _)| name.clone()));
        headers
    }

    /// Whether a request may need a session token.
    pub(crate) fn ask_for_tokens(&self) -> bool {
        self.routes.values().chain([&self.otherwise]).any(|parts| parts.token)
    }

    /// The same for routes that are served below `prefix` and matched like this.
    pub(crate) fn for_routes(self, prefix: &str, matching: RouteMatching) -> Result<Self, InvalidRoute> {
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
