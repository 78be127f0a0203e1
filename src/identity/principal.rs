use std::fmt;
use std::sync::Arc;

use http::Extensions;

use super::{Authentication, Membership, Role, Session};
#[cfg(feature = "json")]
use crate::InvalidValue;
use crate::clock::Timestamp;
#[cfg(feature = "json")]
use crate::key::read_metadata;
use crate::key::{Digest, KeyId, KeyRecord, Mode, OrganizationId, Owner, Tenant};
use crate::scope::{Scope, ScopeSet};

/// The authenticated caller: the key of the request, as the store held it when the request arrived, or a
/// [session](Session).
///
/// The layer attaches it to the request. Handlers get it with [`Principal::from_extensions`], or, with the feature
/// `axum`, as an argument. Only this crate can create one or put one into a request's extensions.
///
/// A response that lasts learns of the end of the key from [`KeyManager::revoked`](crate::manage::KeyManager::revoked).
///
/// Cheap to clone. `Debug` shows only identifiers and the owner.
#[derive(Clone)]
pub struct Principal {
    identity: Identity,
    scheme: &'static str,
    rare: Option<Arc<Rare>>,
}

/// What few callers have, elsewhere to keep principals small.
#[derive(Default)]
struct Rare {
    companion: Option<Companion>,
    /// The end of the old secret, if that was used.
    retired_until: Option<Timestamp>,
}

/// Which of a key's secrets a request used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretStatus {
    /// The secret in use.
    InUse,
    /// One that a [rotation](crate::manage::KeyManager::rotate) has replaced, or the companion's, in its grace period: it
    /// authenticates requests, and cannot manage keys.
    Retired {
        /// The first instant at which it no longer verifies.
        until: Timestamp,
    },
}

/// The companion that was sent with the key.
pub(crate) struct Companion {
    pub(crate) record: Arc<KeyRecord>,
    /// The digests of the key and of the companion's secret, if the secret itself was sent. A session token is bound
    /// to them.
    pub(crate) presented: Option<(Digest, Digest)>,
}

#[derive(Clone)]
pub(crate) enum Identity {
    /// Acts for the key's owner, unless an organization rule has selected another organization.
    Key { record: Arc<KeyRecord>, acting: Option<Arc<Acting>> },
    /// Boxed, so that the principals of keys are small: each is moved several times in each request.
    Session(Arc<ActingSession>),
}

#[derive(Clone)]
pub(crate) struct ActingSession {
    pub(crate) session: Arc<Session>,
    owner: Owner,
    role: Role,
    scopes: ScopeSet,
    /// Whether an organization rule has selected the owner.
    is_selected: bool,
}

/// The organization a caller acts for, and its role there.
pub(crate) struct Acting {
    owner: Owner,
    role: Option<Role>,
}

impl Principal {
    pub(crate) fn new(record: Arc<KeyRecord>, scheme: &'static str) -> Self {
        Self { identity: Identity::Key { record, acting: None }, scheme, rare: None }
    }

    /// The caller, with its own scopes and mode, acting for `organization`. A session of an organization keeps its own,
    /// and every session its role.
    pub(crate) fn acting_for(&self, organization: OrganizationId, role: Option<Role>) -> Self {
        let mut principal = self.clone();
        let owner = Owner::organization(organization, self.mode());
        match &mut principal.identity {
            Identity::Key { acting, .. } => *acting = Some(Arc::new(Acting { owner, role })),
            Identity::Session(acting) => {
                let acting = Arc::make_mut(acting);
                acting.is_selected = true;
                if acting.session.is_of_system() {
                    acting.owner = owner;
                }
            }
        }
        principal
    }

    /// The session acting by one of its memberships.
    pub(crate) fn of_session(session: &Arc<Session>, membership: &Membership, scheme: &'static str) -> Self {
        let Membership { owner, role, scopes } = membership.clone();
        let acting = ActingSession { session: session.clone(), owner, role, scopes, is_selected: false };
        Self { identity: Identity::Session(Arc::new(acting)), scheme, rare: None }
    }

    /// The principal of a request; `None` if the request is anonymous, or there is no outer layer.
    ///
    /// ```
    /// use http::{Request, StatusCode};
    /// use tower_api_keys::Principal;
    ///
    /// fn greet<B>(request: &Request<B>) -> Result<String, StatusCode> {
    ///     let principal = Principal::from_extensions(request.extensions()).ok_or(StatusCode::UNAUTHORIZED)?;
    ///     Ok(format!("hello, {}", principal.key_id()))
    /// }
    ///
    /// assert_eq!(greet(&Request::new(())), Err(StatusCode::UNAUTHORIZED));
    /// ```
    pub fn from_extensions(extensions: &Extensions) -> Option<&Self> {
        Authentication::of(extensions)?.caller.principal()
    }

    /// The key's public identifier; for a session, the [one derived from its subject](Session::id).
    #[inline]
    pub fn key_id(&self) -> &KeyId {
        match &self.identity {
            Identity::Key { record, .. } => &record.id,
            Identity::Session(acting) => acting.session.id(),
        }
    }

    /// The name people give the key or the session.
    pub fn name(&self) -> &str {
        match &self.identity {
            Identity::Key { record, .. } => &record.name,
            Identity::Session(acting) => acting.session.name(),
        }
    }

    /// The organization or system, and the mode, in which the caller acts: those of the key, or the organization
    /// selected by an [`OrganizationRule`](super::OrganizationRule).
    pub fn owner(&self) -> &Owner {
        match &self.identity {
            Identity::Key { record, acting: None } => &record.owner,
            Identity::Key { acting: Some(acting), .. } => &acting.owner,
            Identity::Session(acting) => &acting.owner,
        }
    }

    /// The organization in which the caller acts. A caller of the system has none unless a rule selects one.
    pub fn organization(&self) -> Option<&OrganizationId> {
        match &self.owner().tenant {
            Tenant::Organization(organization) => Some(organization),
            Tenant::System => None,
        }
    }

    /// Whether the caller is of the system tier: its key belongs to the [system](Tenant::System), or its session is one of
    /// the application's [staff](Session::with_owner). It is above all organizations and in none of them, whichever
    /// organization it acts in. Keys of organizations and their members' sessions never are.
    ///
    /// Decided by the record stored with the key, or by the authenticator of sessions, never by the key's text or by scopes.
    pub fn is_of_system(&self) -> bool {
        match &self.identity {
            Identity::Key { record, .. } => record.owner.tenant == Tenant::System,
            Identity::Session(acting) => acting.session.is_of_system(),
        }
    }

    /// The caller's role in the organization in which it acts. A session always has one; a key has one if the [rule
    /// assigns roles to keys](super::OrganizationRule::key_roles).
    pub fn role(&self) -> Option<Role> {
        match &self.identity {
            Identity::Key { acting, .. } => acting.as_ref()?.role,
            Identity::Session(acting) => Some(acting.role),
        }
    }

    /// Live or test.
    pub fn mode(&self) -> Mode {
        self.owner().mode
    }

    /// What the caller may do.
    pub fn scopes(&self) -> &ScopeSet {
        match &self.identity {
            Identity::Key { record, .. } => &record.scopes,
            Identity::Session(acting) => &acting.scopes,
        }
    }

    /// Whether the caller may do this.
    pub fn has_scope(&self, scope: &Scope) -> bool {
        self.scopes().contains(scope)
    }

    /// When the key or the session expires, if it does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        match &self.identity {
            Identity::Key { record, .. } => record.expires_at,
            Identity::Session(acting) => acting.session.expires_at(),
        }
    }

    /// The scheme of the credential's challenge, for example `ApiKey`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// The session; `None` if the caller has a key.
    pub fn session(&self) -> Option<&Session> {
        match &self.identity {
            Identity::Key { .. } => None,
            Identity::Session(acting) => Some(&acting.session),
        }
    }

    /// The identifier of the companion, sent as its secret or by a session token: for instance the app of the
    /// organization that calls. `None` if there was none. See [`Companions`](crate::credential::Companions).
    pub fn companion_id(&self) -> Option<&KeyId> {
        Some(&self.companion()?.record.id)
    }

    pub(crate) fn companion(&self) -> Option<&Companion> {
        self.rare.as_ref()?.companion.as_ref()
    }

    /// Adds a companion. The record must already be restricted to what the companion allows.
    pub(crate) fn with_companion(self, companion: Companion) -> Self {
        let retired_until = self.rare.and_then(|rare| rare.retired_until);
        Self { rare: Some(Arc::new(Rare { companion: Some(companion), retired_until })), ..self }
    }

    /// Notes that an old secret was used, which verifies until `end`.
    pub(crate) fn with_retired_secret(self, end: Timestamp) -> Self {
        debug_assert!(self.rare.is_none(), "the companion is added later");
        Self { rare: Some(Arc::new(Rare { companion: None, retired_until: Some(end) })), ..self }
    }

    /// The key's [metadata](crate::key::Metadata) as a type of the application; a key without any, and a session, have that
    /// of `{}`. Parsed once for each key and type, and then cloned.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use tower_api_keys::{InvalidValue, Principal};
    ///
    /// #[derive(Clone, Deserialize)]
    /// #[serde(default)]
    /// struct Plan {
    ///     tokens: u32,
    /// }
    ///
    /// impl Default for Plan {
    ///     fn default() -> Self {
    ///         Self { tokens: 1_000 }
    ///     }
    /// }
    ///
    /// fn tokens(principal: &Principal) -> Result<u32, InvalidValue> {
    ///     Ok(principal.metadata::<Plan>()?.tokens)
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] if it is no such object. The error does not repeat it.
    #[cfg(feature = "json")]
    pub fn metadata<T>(&self) -> Result<T, InvalidValue>
    where
        T: serde::de::DeserializeOwned + Clone + Send + Sync + 'static,
    {
        match self.record().and_then(|record| record.extras.metadata.as_ref()) {
            Some(metadata) => metadata.read(),
            None => read_metadata("{}"),
        }
    }

    /// Which of the key's secrets the request used. For instance to tell a client that its secret ends soon; a session has
    /// none to replace.
    ///
    /// ```
    /// use tower_api_keys::Principal;
    /// use tower_api_keys::identity::SecretStatus;
    ///
    /// fn sunset(principal: &Principal) -> Option<String> {
    ///     match principal.secret_status() {
    ///         SecretStatus::Retired { until } => Some(until.to_string()),
    ///         _ => None,
    ///     }
    /// }
    /// ```
    pub fn secret_status(&self) -> SecretStatus {
        let retired_until = self.rare.as_ref().and_then(|rare| rare.retired_until);
        retired_until.map_or(SecretStatus::InUse, |until| SecretStatus::Retired { until })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The key's record; a session has none.
    #[inline]
    pub(crate) fn record(&self) -> Option<&Arc<KeyRecord>> {
        match &self.identity {
            Identity::Key { record, .. } => Some(record),
            Identity::Session(_) => None,
        }
    }

    /// Whether an organization was selected for the caller.
    pub(crate) fn is_in_context(&self) -> bool {
        match &self.identity {
            Identity::Key { acting, .. } => acting.is_some(),
            Identity::Session(acting) => acting.is_selected,
        }
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("key_id", self.key_id())
            .field("owner", self.owner())
            .field("companion_id", &self.companion_id())
            .finish_non_exhaustive()
    }
}
