//! Who is calling.

use std::fmt;
use std::sync::Arc;

use http::Extensions;

use crate::clock::{Now, Timestamp};
use crate::key::{KeyId, KeyRecord, Mode, OrganizationId, Owner, Tenant};
use crate::scope::{Scope, ScopeSet};

/// Who is calling: the key that the request presented, as the store held it when the request came.
///
/// [`AuthenticateLayer`](crate::authenticate::AuthenticateLayer) attaches it to the request. Handlers get it with
/// [`Principal::from_extensions`], or, with the feature `axum`, as an argument. Nothing outside this crate can make
/// one or put one into a request's extensions.
///
/// Cheap to clone. `Debug` shows the key's identifier and owner only.
#[derive(Clone)]
pub struct Principal {
    record: Arc<KeyRecord>,
    scheme: &'static str,
}

impl Principal {
    pub(crate) fn new(record: Arc<KeyRecord>, scheme: &'static str) -> Self {
        Self { record, scheme }
    }

    /// The principal of the request with these extensions; `None` if nobody is known to be calling.
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
        Authentication::of(extensions)?.principal.as_ref()
    }

    /// The key's public identifier.
    pub fn key_id(&self) -> &KeyId {
        &self.record.id
    }

    /// What people call the key.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// The organization or system, and the mode, in which the caller acts.
    pub fn owner(&self) -> &Owner {
        &self.record.owner
    }

    /// The organization, unless the caller is the system.
    pub fn organization(&self) -> Option<&OrganizationId> {
        match &self.record.owner.tenant {
            Tenant::Organization(organization) => Some(organization),
            Tenant::System => None,
        }
    }

    /// Live or test.
    pub fn mode(&self) -> Mode {
        self.record.owner.mode
    }

    /// What the caller may do.
    pub fn scopes(&self) -> &ScopeSet {
        &self.record.scopes
    }

    /// Whether the caller may do this.
    pub fn has_scope(&self, scope: &Scope) -> bool {
        self.record.scopes.contains(scope)
    }

    /// When the key stops working, if it does.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.record.expires_at
    }

    /// How the caller authenticated: the scheme of the credential's challenge, for example `ApiKey`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    pub(crate) fn record(&self) -> &KeyRecord {
        &self.record
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("key_id", &self.record.id)
            .field("owner", &self.record.owner)
            .finish_non_exhaustive()
    }
}

/// What the authentication layer leaves in a request's extensions. The type is private, so nobody can forge it.
#[derive(Clone, Debug)]
pub(crate) struct Authentication {
    /// Nobody, if the host lets requests without a credential pass.
    pub(crate) principal: Option<Principal>,
    /// The one reading of the clock for this request.
    pub(crate) now: Now,
}

impl Authentication {
    /// `None` means that no authentication layer stands outside.
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }
}
