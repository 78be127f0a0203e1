//! Who is calling.

use std::fmt;
use std::sync::{Arc, OnceLock};

use http::Extensions;

use crate::clock::{Now, Timestamp};
use crate::key::{Digest, KeyId, KeyRecord, Mode, OrganizationId, Owner, Tenant};
use crate::scope::{Scope, ScopeSet};

/// Who is calling: the key that the request presented, as the store held it when the request came.
///
/// [`AuthenticateLayer`](crate::authenticate::AuthenticateLayer) attaches it to the request. Handlers get it with
/// [`Principal::from_extensions`], or, with the feature `axum`, as an argument. Nothing outside this crate can make
/// one or put one into a request's extensions.
///
/// Cheap to clone. `Debug` shows identifiers and the owner only.
#[derive(Clone)]
pub struct Principal {
    record: Arc<KeyRecord>,
    scheme: &'static str,
    companion: Option<Arc<Companion>>,
}

/// What came with the key.
pub(crate) struct Companion {
    pub(crate) record: Arc<KeyRecord>,
    /// The digests of the key and of the companion's secret, if that was presented itself: what a session token hangs on.
    pub(crate) presented: Option<(Digest, Digest)>,
}

impl Principal {
    pub(crate) fn new(record: Arc<KeyRecord>, scheme: &'static str) -> Self {
        Self { record, scheme, companion: None }
    }

    /// `record` is to allow no more than the companion does.
    pub(crate) fn with_companion(self, companion: Companion) -> Self {
        Self { companion: Some(Arc::new(companion)), ..self }
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

    /// The identifier of the key that came with the caller's, as its secret or by a session token: which app of the
    /// organization is calling, for instance. `None` if there was none. See [`Companions`](crate::authenticate::Companions).
    pub fn companion_id(&self) -> Option<&KeyId> {
        Some(&self.companion()?.record.id)
    }

    /// How the caller authenticated: the scheme of the credential's challenge, for example `ApiKey`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    pub(crate) fn companion(&self) -> Option<&Companion> {
        self.companion.as_deref()
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
            .field("companion_id", &self.companion_id())
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

/// Where an outer layer finds out who is calling: put into the request's extensions by it, filled by the authentication
/// layer.
#[derive(Clone, Default)]
pub(crate) struct PrincipalSlot(Arc<OnceLock<Principal>>);

impl PrincipalSlot {
    /// Tells who is calling, if anybody asked.
    pub(crate) fn fill(extensions: &Extensions, principal: Option<&Principal>) {
        if let (Some(Self(slot)), Some(principal)) = (extensions.get(), principal) {
            // Of several authentication layers the outermost has had the word.
            let _ = slot.set(principal.clone());
        }
    }

    pub(crate) fn get(&self) -> Option<&Principal> {
        self.0.get()
    }
}
