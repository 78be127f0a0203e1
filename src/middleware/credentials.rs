//! Where an assembly looks for credentials.

use std::sync::Arc;

use http::header::{AUTHORIZATION, Entry};
use http::{HeaderMap, HeaderName};

use super::challenges::Challenges;
use super::presented::AccompanyingParts;
use crate::credential::{Companions, CredentialExtractor, Extracted, MalformedCredential};
use crate::rejection::Reason;
use crate::request::RequestView;

/// Where credentials are looked for.
pub(super) struct Credentials {
    pub(super) extractors: Vec<Extractor>,
    /// What else has to come with the key.
    pub(super) companions: Option<Companions>,
    pub(super) challenges: Challenges,
    /// The fields of all extractors and companions.
    fields: Vec<HeaderName>,
    /// Those of them that hold nothing but credentials.
    own_fields: Vec<HeaderName>,
    /// Whether a credential field with a scheme of none of the extractors counts as no credential.
    ignores_other_schemes: bool,
}

/// How `curl` presents a key.
#[cfg(feature = "console")]
#[derive(Clone, Debug)]
pub(crate) enum CurlCredential {
    Bearer,
    Basic,
    Header(HeaderName),
}

pub(super) struct Extractor {
    pub(super) extractor: Arc<dyn CredentialExtractor>,
    pub(super) scheme: &'static str,
    /// Whether shared caches have to be told to keep away from the response. RFC 9111 section 3.5 keeps them from
    /// responses to requests with `Authorization`, and from no others.
    pub(super) is_private: bool,
}

impl Credentials {
    pub(super) fn new(
        extractors: Vec<Arc<dyn CredentialExtractor>>,
        companions: Option<Companions>,
        challenges: Challenges,
        ignores_other_schemes: bool,
    ) -> Self {
        let mut fields: Vec<HeaderName> =
            extractors.iter().flat_map(|one| one.credential_headers()).collect();
        let own = extractors.iter().filter(|one| !one.shares_headers());
        let mut own_fields: Vec<HeaderName> = own.flat_map(|one| one.credential_headers()).collect();
        for fields in [&mut fields, &mut own_fields] {
            fields.extend(companions.iter().flat_map(Companions::credential_headers));
        }
        let has_companions = companions.is_some();
        let extractor = |extractor: Arc<dyn CredentialExtractor>| Extractor {
            scheme: extractor.challenge().scheme(),
            is_private: has_companions || extractor.credential_headers() != [AUTHORIZATION],
            extractor,
        };
        let extractors = extractors.into_iter().map(extractor).collect();
        Self { extractors, companions, challenges, fields, own_fields, ignores_other_schemes }
    }

    /// How `curl` presents a key, in the first place that it can.
    #[cfg(feature = "console")]
    pub(super) fn curl(&self) -> Option<CurlCredential> {
        let of_extractor = |one: &Extractor| match (one.scheme, one.extractor.credential_headers().first()) {
            ("Bearer", Some(&AUTHORIZATION)) => Some(CurlCredential::Bearer),
            ("Basic", Some(&AUTHORIZATION)) => Some(CurlCredential::Basic),
            (_, Some(name)) if !one.extractor.shares_headers() => Some(CurlCredential::Header(name.clone())),
            _ => None,
        };
        self.extractors.iter().find_map(of_extractor)
    }

    /// Keeps the values of credential fields out of `Debug` output and HPACK tables.
    #[inline]
    pub(super) fn mark_sensitive(&self, headers: &mut HeaderMap) {
        for name in &self.fields {
            let Some(value) = headers.get_mut(name) else { continue };
            value.set_sensitive(true);
            // Further lines: preflights pass with what they have, and an extractor of the application may allow two.
            if headers.len() > headers.keys_len() {
                if let Ok(Entry::Occupied(mut lines)) = headers.try_entry(name) {
                    lines.iter_mut().for_each(|line| line.set_sensitive(true));
                }
            }
        }
    }

    /// Whether anything is presented as a credential, good or not.
    pub(super) fn is_presented(&self, request: RequestView<'_>) -> bool {
        let is_there = |Extractor { extractor, .. }: &Extractor| match extractor.extract(request) {
            Extracted::Absent | Extracted::Malformed(MalformedCredential::Empty) => false,
            Extracted::Malformed(_) | Extracted::Found(_) => true,
        };
        self.extractors.iter().any(is_there)
    }

    /// Whether a credential field has something in it that no extractor takes for its own.
    pub(super) fn has_foreign_credential(&self, request: RequestView<'_>) -> bool {
        let is_filled =
            |name| request.headers.get_all(name).iter().any(|line| !line.as_bytes().trim_ascii().is_empty());
        !self.ignores_other_schemes && self.own_fields.iter().any(is_filled)
    }

    /// What comes with a key, of which `key` says whether it is there or what is wrong with it.
    pub(super) fn accompanying<'r>(
        &self,
        request: RequestView<'r>,
        key: Result<bool, &Reason>,
    ) -> Result<Option<Box<AccompanyingParts<'r>>>, Reason> {
        match &self.companions {
            None => Ok(None),
            Some(companions) => companions.extract(request, key),
        }
    }
}
