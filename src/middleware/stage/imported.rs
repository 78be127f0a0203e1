//! 4, lookup, for a key that was imported as a hash of another system: its first use.

use std::sync::Arc;

use http::request;

use crate::clock::Now;
use crate::credential::{Extracted, Unverifiable};
use crate::key::{Digest, ImportedHash, KeyRecord, SecretString};
use crate::log;
use crate::middleware::checks::Checks;
use crate::middleware::facts::{Facts, Flow};
use crate::middleware::presented::PresentedKey;
use crate::rejection::Reason;
use crate::request::RequestView;
use crate::store::{KeySelector, StoreErrorKind};

/// How often the digest is written again after other changes of the key.
const MAX_ATTEMPTS: usize = 3;

impl Checks {
    /// Verifies a key that has no digest yet, gives it one, and judges it like any other.
    pub(crate) async fn check_imported(
        self: &Arc<Self>,
        presented: PresentedKey,
        record: Arc<KeyRecord>,
        facts: &mut Facts,
        head: &request::Parts,
    ) -> Flow {
        let request = RequestView::of_parts(head);
        let refused = |reason| {
            let mut rejection = self.rejection(reason, Some(presented.scheme));
            rejection.set_key_id(Some(record.id));
            Flow::from(rejection)
        };
        let Some(hashes) = &self.imported_hashes else { return refused(Reason::Misconfigured(NO_VERIFIER)) };
        let (Some(hash), Some(secret)) = (&record.extras.imported_hash, self.secret(request)) else {
            return refused(Reason::SecretMismatch);
        };
        let digest = presented.digests[0];
        let verified = hashes.verify(hash, secret.expose_secret(), digest).await;
        drop(secret);
        match verified {
            Ok(true) => {}
            Ok(false) => {
                self.count_bad_credential(presented.counted, facts.now(&*self.clock));
                return refused(Reason::SecretMismatch);
            }
            Err(Unverifiable::Busy) => return refused(Reason::VerifierBusy),
            Err(Unverifiable::Panicked) => return refused(Reason::VerifierPanicked),
        }
        let learned = match facts.is_explained() {
            true => Ok(Some(as_learned(&record, digest))),
            false => self.learned(&record, hash, digest, facts.now(&*self.clock)).await,
        };
        match learned {
            Ok(found) => self.found(Ok(found), presented, || self.client(request), facts, request),
            Err(reason) => refused(reason),
        }
    }

    /// The secret that was presented. It did not wait with the request.
    fn secret(&self, request: RequestView<'_>) -> Option<SecretString> {
        self.credentials.extractors.iter().find_map(|one| match one.extractor.extract(request) {
            Extracted::Found(credential) => Some(credential.expose_secret().into()),
            _ => None,
        })
    }

    /// The record with the digest of the secret that has `hash`. If that can't be stored now, a later use will. To verify
    /// took its time: a record that was changed meanwhile counts as it is now.
    async fn learned(
        &self,
        record: &Arc<KeyRecord>,
        hash: &ImportedHash,
        digest: Digest,
        now: Now,
    ) -> Result<Option<Arc<KeyRecord>>, Reason> {
        let mut record = record.clone();
        for _ in 0..MAX_ATTEMPTS {
            let mut learned = KeyRecord::clone(&record);
            learned.learn_imported(digest);
            match self.lookups.store().refresh(learned.clone(), None).await {
                Ok(()) => {
                    log::imported_hash_replaced(&learned.id);
                    return Ok(Some(Arc::new(learned)));
                }
                Err(error) if error.kind() == StoreErrorKind::Conflict => {}
                Err(error) => {
                    self.not_refreshed(&learned.id, &error, now);
                    return Ok(Some(Arc::new(learned)));
                }
            }
            let id = KeySelector::Id(&record.id);
            let found = id.checked(self.lookups.find(id)?.await).map_err(Reason::StoreFailed)?;
            match found {
                Some(current) if current.extras.imported_hash.as_ref() == Some(hash) => record = current,
                changed => return Ok(changed),
            }
        }
        Ok(Some(as_learned(&record, digest)))
    }
}

fn as_learned(record: &KeyRecord, digest: Digest) -> Arc<KeyRecord> {
    let mut learned = record.clone();
    learned.learn_imported(digest);
    Arc::new(learned)
}

pub(in crate::middleware) const NO_VERIFIER: &str =
    "a key was imported as a hash of another system, which nothing here verifies: add `verify_imported`";
