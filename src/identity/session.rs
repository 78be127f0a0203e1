use std::fmt;
use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use super::Role;
use crate::clock::Timestamp;
use crate::key::{KeyId, Mode, OrganizationId, SecretString};
use crate::scope::ScopeSet;
use crate::store::StoreError;

/// Verifies session tokens.
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

/// A person whom the application has authenticated, and the organizations they may act for.
///
/// See [sessions](crate::identity#sessions). `Debug` shows the identifier and the organizations.
#[derive(Clone)]
pub struct Session {
    subject: String,
    id: KeyId,
    name: String,
    mode: Mode,
    memberships: Vec<Membership>,
    expires_at: Option<Timestamp>,
}

/// The role and the permissions of a person in one organization.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) organization: OrganizationId,
    pub(crate) role: Role,
    pub(crate) scopes: ScopeSet,
}

impl Session {
    /// A session of `subject`, the application's identifier for a person, for example the subject of a JWT. All
    /// sessions of one subject are one caller, and share its rate limits.
    pub fn new(subject: impl Into<String>, mode: Mode) -> Self {
        let subject = subject.into();
        let (id, name) = (id_of(&subject), subject.clone());
        Self { id, name, subject, mode, memberships: Vec::new(), expires_at: None }
    }

    /// Adds an organization that the session may act for, with the role of the person there and what the session may do
    /// there.
    #[must_use]
    pub fn with_organization(mut self, organization: OrganizationId, role: Role, scopes: ScopeSet) -> Self {
        self.memberships.push(Membership { organization, role, scopes });
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

    /// Live data or test data.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The organizations it may act for.
    pub fn organizations(&self) -> impl Iterator<Item = &OrganizationId> {
        self.memberships.iter().map(|membership| &membership.organization)
    }

    /// The first instant at which the session has expired.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    pub(crate) fn membership(&self, organization: &str) -> Option<&Membership> {
        self.memberships.iter().find(|membership| membership.organization.as_str() == organization)
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
            .field("organizations", &self.organizations().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
