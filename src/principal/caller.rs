//! What the authentication layer leaves in a request's extensions.

use std::sync::Arc;

use http::Extensions;

use super::Principal;
use crate::clock::Now;
use crate::key::KeyId;
use crate::rejection::Reason;
use crate::session::Session;

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
    /// Whom to count and to log; `None` if nobody is calling.
    pub(crate) fn id(&self) -> Option<&KeyId> {
        match self {
            Self::Nobody => None,
            Self::Principal(principal) => Some(principal.key_id()),
            Self::Session { session, .. } => Some(session.id()),
        }
    }
}
