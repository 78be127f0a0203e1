//! What the authentication layer leaves in a request's extensions.

use std::sync::{Arc, OnceLock};

use http::Extensions;

use super::Principal;
use crate::clock::Now;
use crate::key::KeyId;
use crate::rejection::Reason;
use crate::user_session::Session;

/// The type is private, so nobody can forge it.
#[derive(Clone, Debug)]
pub(crate) struct Authentication {
    pub(crate) caller: Caller,
    /// The one reading of the clock for this request.
    pub(crate) now: Now,
}

/// Who presented a credential.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Nobody, if the host lets requests without a credential pass.
    Nobody,
    /// Somebody of whom it is known for whom they act.
    Principal(Principal),
    /// Somebody who may act for several organizations, before a layer has found for which.
    Session { session: Arc<Session>, scheme: &'static str },
}

impl Authentication {
    /// `None` means that no authentication layer stands outside.
    #[inline]
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The principal, or `None` if nobody is calling.
    pub(crate) fn principal(&self) -> Result<Option<&Principal>, Reason> {
        match &self.caller {
            Caller::Nobody => Ok(None),
            Caller::Principal(principal) => Ok(Some(principal)),
            Caller::Session { .. } => Err(Reason::LayerMissing(
                "a session needs OrganizationContextLayer inside AuthenticateLayer and outside of what asks for its \
                 principal",
            )),
        }
    }
}

impl Caller {
    /// The principal, if it is known by now.
    #[inline]
    pub(crate) fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Principal(principal) => Some(principal),
            Self::Nobody | Self::Session { .. } => None,
        }
    }

    /// Whom to count and to log; `None` if nobody is calling.
    #[inline]
    pub(crate) fn id(&self) -> Option<&KeyId> {
        match self {
            Self::Nobody => None,
            Self::Principal(principal) => Some(principal.key_id()),
            Self::Session { session, .. } => Some(session.id()),
        }
    }
}

/// Where an outer layer finds out who is calling: put into the request's extensions by it, filled by the authentication
/// layer.
#[derive(Clone, Default)]
pub(crate) struct PrincipalSlot(Arc<OnceLock<Principal>>);

impl PrincipalSlot {
    /// The one that a layer further out has put there, as it waits for the same, or a new one.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Tells who is calling, if anybody asked.
    pub(crate) fn fill(extensions: &Extensions, principal: Option<&Principal>) {
        if let (Some(Self(slot)), Some(principal)) = (extensions.get(), principal) {
            // Of several layers the outermost has had the word.
            let _ = slot.set(principal.clone());
        }
    }

    pub(crate) fn get(&self) -> Option<&Principal> {
        self.0.get()
    }
}
