use std::sync::Arc;

use http::Extensions;

use super::{Principal, Session};
use crate::clock::Now;
use crate::key::KeyId;

/// The result of the checks in a request's extensions. The type is private, so no other code can forge it.
#[derive(Clone, Debug)]
pub(crate) struct Authentication {
    pub(crate) caller: Caller,
    /// The time of this request; the clock is read once.
    pub(crate) now: Now,
}

/// The sender of a request.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// The request has no credential and is accepted without one.
    Anonymous,
    /// A caller that acts for a known tenant.
    Principal(Principal),
    /// A person who may act for several owners, before one is selected.
    Session { session: Arc<Session>, scheme: &'static str },
}

impl Authentication {
    /// `None` if the request was not authenticated: there is no outer layer.
    #[inline]
    pub(crate) fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }
}

impl Caller {
    /// The principal, if it is known yet.
    #[inline]
    pub(crate) fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Principal(principal) => Some(principal),
            Self::Anonymous | Self::Session { .. } => None,
        }
    }

    /// The identifier for counting and logging; `None` for an anonymous request.
    #[inline]
    pub(crate) fn id(&self) -> Option<&KeyId> {
        match self {
            Self::Anonymous => None,
            Self::Principal(principal) => Some(principal.key_id()),
            Self::Session { session, .. } => Some(session.id()),
        }
    }
}
