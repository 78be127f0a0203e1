//! What a 401 says of how to authenticate.

use std::sync::Arc;

use http::HeaderValue;

use crate::credential::{Challenge, InvalidChallenge};

/// One challenge for each way to authenticate, ready to be sent.
#[derive(Clone, Debug, Default)]
pub(super) struct Challenges {
    /// To who has presented nothing: no error, for there was none (RFC 6750 section 3.1).
    unasked: Arc<[HeaderValue]>,
    /// To who has presented a credential of this scheme that is not good.
    refused: Vec<(&'static str, Arc<[HeaderValue]>)>,
}

impl Challenges {
    pub(super) fn new<'c>(
        challenges: impl Iterator<Item = &'c Challenge> + Clone,
        realm: Option<&str>,
    ) -> Result<Self, InvalidChallenge> {
        let in_realm = |challenge: &Challenge| match realm {
            Some(realm) => challenge.clone().with_parameter("realm", realm),
            None => Ok(challenge.clone()),
        };
        let all = challenges.map(in_realm).collect::<Result<Vec<_>, _>>()?;
        let after = |scheme: Option<&'static str>| {
            all.iter()
                .map(|challenge| match scheme {
                    Some(scheme) if challenge.scheme() == scheme => challenge.clone().after_refusal(),
                    _ => challenge.clone(),
                })
                .map(|challenge| challenge.to_header_value())
                .collect::<Arc<[HeaderValue]>>()
        };
        let schemes = all.iter().map(Challenge::scheme);
        Ok(Self {
            unasked: after(None),
            refused: schemes.map(|scheme| (scheme, after(Some(scheme)))).collect(),
        })
    }

    /// For an answer to who presented a credential of `scheme`, or nothing.
    pub(super) fn after(&self, scheme: Option<&'static str>) -> &Arc<[HeaderValue]> {
        let refused = self.refused.iter().find(|(other, _)| Some(*other) == scheme);
        refused.map_or(&self.unasked, |(_, challenges)| challenges)
    }
}
