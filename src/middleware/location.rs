//! Where a request carries a credential.

use std::sync::Arc;

use http::HeaderName;

use super::config_error::Fault;
use crate::credential::{BasicKey, BearerKey, CredentialExtractor, HeaderKey};
use crate::key::KeyFormat;

/// Where a request carries a credential.
pub(super) enum Location {
    Header(String),
    Bearer,
    Basic,
    Own(Arc<dyn CredentialExtractor>),
}

impl Location {
    /// What finds keys of `formats` there. With `accepts_sessions`, bearer tokens without a key's
    /// prefix are sessions.
    pub(super) fn extractor(
        self,
        formats: Vec<KeyFormat>,
        accepts_sessions: bool,
    ) -> Result<Arc<dyn CredentialExtractor>, Fault> {
        Ok(match self {
            Self::Header(name) => match HeaderName::try_from(name.as_str()) {
                Ok(name) => Arc::new(HeaderKey::accepting(name, formats)),
                Err(_) => {
                    let message = format!("{name:?} is not the name of a header field");
                    return Err(("header", message));
                }
            },
            Self::Bearer if accepts_sessions => Arc::new(BearerKey::accepting(formats).or_session()),
            Self::Bearer => Arc::new(BearerKey::accepting(formats)),
            Self::Basic => Arc::new(BasicKey::accepting(formats)),
            Self::Own(extractor) => extractor,
        })
    }
}
