//! What a 401 says about how to authenticate.

use std::sync::Arc;

use http::HeaderValue;

use crate::InvalidValue;
use crate::credential::Challenge;

/// One challenge for each way to authenticate, ready to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Challenges {
    /// Sent when no credential was presented: without an error, as there was none (RFC 6750 section 3.1).
    unasked: Arc<[HeaderValue]>,
    /// Sent when a credential of this scheme is not good.
    refused: Vec<(&'static str, Arc<[HeaderValue]>)>,
}

impl Challenges {
    pub(crate) fn new<'c>(
        challenges: impl Iterator<Item = &'c Challenge> + Clone,
        realm: Option<&str>,
    ) -> Result<Self, InvalidValue> {
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

    /// The challenges after a credential of `scheme`, or after none.
    pub(crate) fn after(&self, scheme: Option<&'static str>) -> &Arc<[HeaderValue]> {
        let refused = self.refused.iter().find(|(other, _)| Some(*other) == scheme);
        refused.map_or(&self.unasked, |(_, challenges)| challenges)
    }
}
