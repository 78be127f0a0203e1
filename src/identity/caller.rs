use std::sync::Arc;

use http::Extensions;

use super::{Principal, Session};
use crate::clock::Now;
use crate::key::KeyId;

/// What the checks leave in a request's extensions. The type is private, so no other code can forge it.
#[derive(Clone, Debug)]
pub(crate) struct Authentication {
    pub(crate) caller: Caller,
    /// The one reading of the clock for this request.
    pub(crate) now: Now,
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Nobody: the request has no credential and is accepted all the same.
    Anonymous,
    /// A caller of whom it is known for whom it acts.
    Principal(Principal),
    /// A person who may act for several organizations, before it is known for which.
    Session { session: Arc<Session>, scheme: &'static str },
}

impl Authentication {
    /// `None` if the request has not been authenticated: no layer stands outside.
    #[inline]
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }
}

impl Caller {
    /// The principal, if it is known by now.
    #[inline]
    pub(crate) fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Principal(principal) => Some(principal),
            Self::Anonymous | Self::Session { .. } => None,
        }
    }

    /// Whom to count and to log; `None` for an anonymous request.
    #[inline]
    pub(crate) fn id(&self) -> Option<&KeyId> {
        match self {
            Self::Anonymous => None,
            Self::Principal(principal) => Some(principal.key_id()),
            Self::Session { session, .. } => Some(session.id()),
        }
    }
}
