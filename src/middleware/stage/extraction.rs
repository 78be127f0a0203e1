//! 1 and 2, extraction and format: the one credential of a request, well formed as far as can be told without a store.

use std::sync::Arc;

use http::header::{AUTHORIZATION, Entry};
use http::{HeaderMap, HeaderName};

use super::companion::Accompanying;
use crate::credential::{
    Challenge, Companions, Credential, CredentialExtractor, Extracted, MAX_CREDENTIAL_LENGTH,
    MalformedCredential,
};
use crate::middleware::challenges::Challenges;
use crate::middleware::decision::{Checks, Facts, Flow};
use crate::rejection::{Reason, Rejection};
use crate::request::RequestView;

/// Where credentials are looked for.
pub(crate) struct Credentials {
    extractors: Vec<Extractor>,
    /// What else has to come with the key.
    pub(crate) companions: Option<Companions>,
    pub(crate) challenges: Challenges,
    /// The fields of all extractors and companions.
    fields: Vec<HeaderName>,
    /// Whether a credential field with a scheme of none of the extractors counts as no credential.
    ignores_other_schemes: bool,
}

struct Extractor {
    extractor: Arc<dyn CredentialExtractor>,
    scheme: &'static str,
    /// Whether shared caches have to be told to keep away from the response. RFC 9111 section 3.5 keeps them from
    /// responses to requests with `Authorization`, and from no others.
    is_private: bool,
}

impl Credentials {
    pub(crate) fn new(
        extractors: Vec<Arc<dyn CredentialExtractor>>,
        companions: Option<Companions>,
        challenges: Challenges,
        ignores_other_schemes: bool,
    ) -> Self {
        let mut fields: Vec<HeaderName> =
            extractors.iter().flat_map(|one| one.credential_headers()).collect();
        fields.extend(companions.iter().flat_map(Companions::credential_headers));
        let has_companions = companions.is_some();
        let extractor = |extractor: Arc<dyn CredentialExtractor>| Extractor {
            scheme: extractor.challenge().scheme(),
            is_private: has_companions || extractor.credential_headers() != [AUTHORIZATION],
            extractor,
        };
        let extractors = extractors.into_iter().map(extractor).collect();
        Self { extractors, companions, challenges, fields, ignores_other_schemes }
    }

    /// Keeps the values of credential fields out of `Debug` output and HPACK tables.
    #[inline]
    pub(crate) fn mark_sensitive(&self, headers: &mut HeaderMap) {
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
    pub(crate) fn is_presented(&self, request: RequestView<'_>) -> bool {
        let is_there = |Extractor { extractor, .. }: &Extractor| match extractor.extract(request) {
            Extracted::Absent | Extracted::Malformed(MalformedCredential::Empty) => false,
            Extracted::Malformed(_) | Extracted::Found(_) => true,
        };
        self.extractors.iter().any(is_there)
    }

    /// Whether a credential field has something in it that no extractor takes for its own.
    fn has_foreign_credential(&self, request: RequestView<'_>) -> bool {
        let is_filled =
            |name| request.headers.get_all(name).iter().any(|line| !line.as_bytes().trim_ascii().is_empty());
        !self.ignores_other_schemes && self.fields.iter().any(is_filled)
    }

    /// What comes with a key, of which `key` says whether it is there or what is wrong with it.
    fn accompanying<'r>(
        &self,
        request: RequestView<'r>,
        key: Result<bool, &Reason>,
    ) -> Result<Option<Accompanying<'r>>, Reason> {
        match &self.companions {
            None => Ok(None),
            Some(companions) => companions.extract(request, key),
        }
    }
}

impl Checks {
    /// Finds the credential, and goes on with what it is.
    ///
    /// What an extractor finds is read where it lies: to move a struct that was just written field by field makes the
    /// processor wait, some 5 ns each time.
    #[inline]
    pub(crate) fn authenticate(self: &Arc<Self>, facts: &mut Facts, request: RequestView<'_>) -> Flow {
        let extractors = &self.credentials.extractors;
        for (index, Extractor { extractor, scheme, is_private }) in extractors.iter().enumerate() {
            let extracted = extractor.extract(request);
            let found = match &extracted {
                Extracted::Absent => continue,
                Extracted::Malformed(malformed) => Err(*malformed),
                Extracted::Found(credential) => bounded(credential).map(|()| credential),
            };
            facts.is_presented = !matches!(found, Err(MalformedCredential::Empty));
            // By presence, well formed or not: two credentials are ambiguous, so both are rejected.
            let is_absent = |other: &Extractor| matches!(other.extractor.extract(request), Extracted::Absent);
            if extractors.len() > 1 && !extractors[index + 1..].iter().all(is_absent) {
                return self.unfit(Reason::CredentialConflict, None, request);
            }
            return match found {
                Ok(credential) => {
                    facts.is_private = *is_private;
                    match self.credentials.accompanying(request, Ok(true)) {
                        Ok(accompanying) => {
                            self.check_credential(credential, scheme, accompanying, facts, request)
                        }
                        Err(reason) => self.rejected(reason, None),
                    }
                }
                Err(malformed) => self.unfit(Reason::CredentialMalformed(malformed), Some(scheme), request),
            };
        }
        self.without_credential(facts, request)
    }

    /// There is no credential.
    fn without_credential(self: &Arc<Self>, facts: &mut Facts, request: RequestView<'_>) -> Flow {
        if let Err(reason) = self.credentials.accompanying(request, Ok(false)) {
            return self.rejected(reason, None);
        }
        if !self.allows_anonymous && !self.is_public(request) {
            return self.rejected(Reason::CredentialMissing, None);
        }
        if self.credentials.has_foreign_credential(request) {
            let malformed = MalformedCredential::Other("its scheme is none of those that are accepted here");
            return self.rejected(Reason::CredentialMalformed(malformed), None);
        }
        self.accept(facts, request)
    }

    /// There is a credential, of `scheme` if it is one, that is not to be looked up.
    #[cold]
    fn unfit(&self, reason: Reason, scheme: Option<&'static str>, request: RequestView<'_>) -> Flow {
        match self.credentials.accompanying(request, Err(&reason)) {
            Err(first) => self.rejected(first, None),
            Ok(_) => self.rejected(reason, scheme),
        }
    }

    /// Rejects a request whose credential is of `scheme`, if that is known.
    #[cold]
    pub(super) fn rejected(&self, reason: Reason, scheme: Option<&'static str>) -> Flow {
        self.rejection(reason, scheme).into()
    }

    pub(super) fn rejection(&self, reason: Reason, scheme: Option<&'static str>) -> Rejection {
        let challenges = self.credentials.challenges.after(scheme).clone();
        Rejection::new(reason).with_challenges(challenges)
    }
}

/// Extractors of the application need not have looked.
pub(super) fn bounded(credential: &Credential<'_>) -> Result<(), MalformedCredential> {
    match credential.expose_secret().len() {
        0 => Err(MalformedCredential::Empty),
        1..=MAX_CREDENTIAL_LENGTH => Ok(()),
        _ => Err(MalformedCredential::TooLong),
    }
}

/// The challenges of these extractors.
pub(crate) fn challenges(extractors: &[Arc<dyn CredentialExtractor>]) -> Vec<Challenge> {
    extractors.iter().map(|extractor| extractor.challenge()).collect()
}
