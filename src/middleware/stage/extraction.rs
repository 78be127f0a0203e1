//! 1 and 2, extraction and format: the one credential of a request, well formed as far as can be told without a store.

use std::sync::Arc;

use crate::credential::{Challenge, Credential, CredentialExtractor, Extracted, MalformedCredential};
use crate::key::KeyRecord;
use crate::middleware::checks::Checks;
use crate::middleware::credentials::Extractor;
use crate::middleware::facts::{Facts, Flow};
use crate::middleware::presented::Proof;
use crate::rejection::{Reason, Rejection};
use crate::request::RequestView;

impl Checks {
    /// Finds the credential, and continues with the stages for its kind.
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
                    self.extracted(Proof::Credential(credential), scheme, facts, request)
                }
                Err(malformed) => self.unfit(Reason::CredentialMalformed(malformed), Some(scheme), request),
            };
        }
        self.without_credential(facts, request)
    }

    /// Goes on with the one credential of a request, well formed.
    #[inline(always)]
    fn extracted(
        self: &Arc<Self>,
        proof: Proof<'_>,
        scheme: &'static str,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        match self.credentials.accompanying(request, Ok(true)) {
            Ok(accompanying) => self.check_credential(proof, scheme, accompanying, facts, request),
            Err(reason) => self.rejected(reason, None),
        }
    }

    /// Goes on as if the request had the secret of this key, in the first place where only keys can be; if there is none, in the
    /// first one.
    #[cold]
    pub(in crate::middleware) fn authenticate_as(
        self: &Arc<Self>,
        record: &KeyRecord,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        let all = &self.credentials.extractors;
        let first = all.iter().find(|one| !one.extractor.finds_sessions()).or(all.first());
        self.extracted(Proof::Record(record), first.map_or("", |one| one.scheme), facts, request)
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

    pub(in crate::middleware) fn rejection(&self, reason: Reason, scheme: Option<&'static str>) -> Rejection {
        let challenges = self.credentials.challenges.after(scheme).clone();
        Rejection::new(reason).with_challenges(challenges)
    }
}

/// Extractors of the application need not have looked.
pub(super) fn bounded(credential: &Credential<'_>) -> Result<(), MalformedCredential> {
    match credential.expose_secret().len() {
        0 => Err(MalformedCredential::Empty),
        1..=Credential::MAX_LENGTH => Ok(()),
        _ => Err(MalformedCredential::TooLong),
    }
}

/// The challenges of these extractors.
pub(crate) fn challenges(extractors: &[Arc<dyn CredentialExtractor>]) -> Vec<Challenge> {
    extractors.iter().map(|extractor| extractor.challenge()).collect()
}
