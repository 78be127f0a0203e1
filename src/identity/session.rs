use std::fmt;
use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::Role;
use crate::clock::Timestamp;
use crate::key::{KeyId, Owner, SecretString, Tenant};
use crate::scope::ScopeSet;
use crate::store::StoreError;

/// Verifies session tokens.
///
/// A function of the token is one, if it needs to wait for nothing, as for signed tokens.
#[async_trait]
pub trait SessionAuthenticator: Send + Sync + 'static {
    /// The session of `token`; `None` if the token is not valid, for any reason.
    ///
    /// Called for each request with such a token. Only its alphabet and length have been checked. There is no time
    /// limit: an authenticator that calls another service has to give up in time.
    ///
    /// # Errors
    ///
    /// [`StoreError`] if the session cannot be verified right now. The request then gets a 503 response, also if this
    /// panics.
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError>;
}

#[async_trait]
impl<A: SessionAuthenticator + ?Sized> SessionAuthenticator for Arc<A> {
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        (**self).authenticate(token).await
    }
}

#[async_trait]
impl<F> SessionAuthenticator for F
where
    F: Fn(&SecretString) -> Option<Session> + Send + Sync + 'static,
{
    async fn authenticate(&self, token: &SecretString) -> Result<Option<Session>, StoreError> {
        Ok(self(token))
    }
}

/// A person whom the application has authenticated, and whom they may act for.
///
/// See [sessions](crate::identity#sessions). `Debug` shows the identifier and the owners.
#[derive(Clone)]
pub struct Session {
    subject: String,
    id: KeyId,
    name: String,
    memberships: Vec<Membership>,
    expires_at: Option<Timestamp>,
}

/// The role and the permissions of a person in one organization or in the system, in one mode.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) owner: Owner,
    pub(crate) role: Role,
    pub(crate) scopes: ScopeSet,
}

impl Session {
    /// A session of `subject`, the application's identifier for a person, for example the subject of a JWT. All
    /// sessions of one subject are one caller, and share its rate limits.
    pub fn new(subject: impl Into<String>) -> Self {
        let subject = subject.into();
        let (id, name) = (id_of(&subject), subject.clone());
        Self { id, name, subject, memberships: Vec::new(), expires_at: None }
    }

    /// Adds an organization, in one mode, that the session may act for, with the role of the person there and what the
    /// session may do there. For an owner that it has already, the last call counts.
    ///
    /// [`Owner::system`] makes it a session of the application's staff, of the [system
    /// tier](super::Principal::is_of_system): it is in no organization, and may act for all. Add it only for people whom
    /// the application knows to be staff. A session that also has an organization is not of the system.
    ///
    /// ```
    /// use tower_api_keys::identity::{Role, Session};
    /// use tower_api_keys::key::{Mode, Owner};
    /// use tower_api_keys::scope::ScopeSet;
    ///
    /// let (member, staff) = (Role::of_rank(1), Role::of_rank(9));
    /// let acme = Owner::organization("acme".parse()?, Mode::Live);
    /// let ada = Session::new("ada").with_owner(acme, member, ScopeSet::parse_list(["invoice:read"])?);
    /// let support = ScopeSet::parse_list(["api-keys:read", "api-keys:write"])?;
    /// let eve = Session::new("eve").with_owner(Owner::system(Mode::Live), staff, support);
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    #[must_use]
    pub fn with_owner(mut self, owner: Owner, role: Role, scopes: ScopeSet) -> Self {
        self.memberships.retain(|known| known.owner != owner);
        self.memberships.push(Membership { owner, role, scopes });
        self
    }

    /// Sets a display name, in place of the subject.
    #[must_use]
    pub fn with_name(self, name: impl Into<String>) -> Self {
        Self { name: name.into(), ..self }
    }

    /// Sets the first instant at which the session has expired. The layer checks it by its own clock, in addition to
    /// the authenticator.
    #[must_use]
    pub fn with_expiry(self, expires_at: Timestamp) -> Self {
        Self { expires_at: Some(expires_at), ..self }
    }

    /// The application's identifier for the person.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The identifier of the subject in logs, audits and rate limits: `session-` and 24 hexadecimal digits, the first
    /// 96 bits of the subject's SHA-256.
    pub fn id(&self) -> &KeyId {
        &self.id
    }

    /// The display name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What was [added](Self::with_owner).
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.memberships.iter().map(|membership| &membership.owner)
    }

    /// The first instant at which the session has expired.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Whether it is of the system tier.
    pub(crate) fn is_of_system(&self) -> bool {
        !self.memberships.is_empty() && self.owners().all(|owner| owner.tenant == Tenant::System)
    }

    /// Those of one tier: of the system only if there is no other.
    pub(crate) fn memberships(&self) -> impl Iterator<Item = &Membership> {
        let is_of_system = self.is_of_system();
        self.memberships.iter().filter(move |known| is_of_system || known.owner.tenant != Tenant::System)
    }
}

fn id_of(subject: &str) -> KeyId {
    let mut id = String::from("session-");
    for byte in &Sha256::digest(subject)[..12] {
        let _ = write!(id, "{byte:02x}");
    }
    id.parse().expect("32 of 0-9 a-z and - are a key id")
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("owners", &self.owners().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
