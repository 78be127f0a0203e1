//! A key as text, for the command line: whether it is good, and where a request carries it.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, request};

use super::ApiKeys;
use super::presented::{PresentedKey, Verified};
use super::stage::imported::NO_VERIFIER;
use super::stage::lookup::{Unverified, live_hash, verify};
use crate::credential::{Extracted, MalformedCredential};
use crate::key::KeyRecord;
use crate::manage::ManageError;
use crate::rejection::Reason;
use crate::request::RequestView;
use crate::store::{StoreError, StoreErrorKind};

/// A good key, and which of its secrets it was.
pub(crate) struct GoodKey {
    pub(crate) record: Arc<KeyRecord>,
    /// `in_use`; `next` if the first request with it will put it in use; `retired` in its grace period.
    pub(crate) secret: &'static str,
}

/// Why a key is bad, and the key that it claims to be.
pub(crate) struct BadKey {
    pub(crate) reason: Reason,
    pub(crate) record: Option<Arc<KeyRecord>>,
}

impl<F> ApiKeys<F> {
    /// Whether requests with this key are authenticated, from an address that it may be used from. Has no effect.
    pub(crate) async fn verify_text(&self, text: &str) -> Result<GoodKey, BadKey> {
        let (checks, manager) = (self.checks(), self.manager());
        let bad = |reason| BadKey { reason, record: None };
        let parsed = manager
            .parse(text)
            .map_err(|fault| bad(Reason::CredentialMalformed(MalformedCredential::Key(fault))))?;
        let presented = PresentedKey {
            id: parsed.id,
            mode: parsed.mode,
            digests: checks.peppers.digests(text),
            scheme: "",
            counted: None,
        };
        let found =
            presented.selector().checked(checks.lookups.find(presented.selector()).map_err(bad)?.await);
        let now = checks.clock.now().timestamp();
        let verified = match verify(found.map_err(|error| bad(Reason::StoreFailed(error)))?, &presented, now)
        {
            // Only its first use could show the digest of a secret that was imported as a hash.
            Err(Unverified { reason: Reason::SecretMismatch, record: Some(record) })
                if live_hash(&record, now).is_some() =>
            {
                if !manager.verifies_imported() {
                    return Err(BadKey { reason: Reason::Misconfigured(NO_VERIFIER), record: Some(record) });
                }
                let mut learned = KeyRecord::clone(&record);
                if manager
                    .find_by_text(text)
                    .await
                    .map_err(|error| bad(not_found(error)))?
                    .is_some_and(|found| found.id == record.id)
                {
                    learned.learn_imported(presented.digests[0]);
                }
                verify(Some(Arc::new(learned)), &presented, now)
            }
            verified => verified,
        };
        match verified {
            Ok(Verified { record, is_next, retired_until, .. }) => {
                let retired = if retired_until.is_some() { "retired" } else { "in_use" };
                Ok(GoodKey { record, secret: if is_next { "next" } else { retired } })
            }
            Err(Unverified { reason, record }) => Err(BadKey { reason, record }),
        }
    }

    /// Puts a key where a request would carry it. `false` if no header field does.
    pub(crate) fn put_credential(&self, key: &str, head: &mut request::Parts) -> bool {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        let forms = [key.to_owned(), format!("Bearer {key}"), basic(&format!("{key}:")), basic(key)];
        let extractors = &self.checks().credentials.extractors;
        // A key with a fault goes where one without it would.
        for must_fit in [true, false] {
            for one in extractors {
                for (name, form) in one
                    .extractor
                    .credential_headers()
                    .into_iter()
                    .flat_map(|name| forms.iter().map(move |form| (name.clone(), form)))
                {
                    let Ok(mut value) = HeaderValue::from_str(form) else { return false };
                    value.set_sensitive(true);
                    let before = head.headers.insert(name.clone(), value);
                    match one.extractor.extract(RequestView::of_parts(head)) {
                        Extracted::Found(found) if found.expose_secret() == key => return true,
                        Extracted::Malformed(_) if !must_fit => return true,
                        _ => {}
                    }
                    match before {
                        Some(before) => _ = head.headers.insert(name, before),
                        None => _ = head.headers.remove(name),
                    }
                }
            }
        }
        false
    }

    /// Whether requests carry a credential in this field: a key, or what comes with it.
    pub(crate) fn is_credential_field(&self, name: &HeaderName) -> bool {
        let mut headers = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("x"))]);
        self.checks().credentials.mark_sensitive(&mut headers);
        headers[name].is_sensitive()
    }

    /// Whether routes are those that a router outside has matched.
    pub(crate) fn is_matched_by_router(&self) -> bool {
        self.checks().is_matched_by_router()
    }

    /// Whether there are rules for routes.
    pub(crate) fn has_routes(&self) -> bool {
        self.checks().access.is_some()
    }

    /// The limits whose counts can't be read now, by their category, also where requests are decided without them.
    pub(crate) async fn silent_limits(&self) -> Vec<String> {
        let checks = self.checks();
        let mut silent = Vec::new();
        for limiter in checks.limiters() {
            let subject = crate::limit::Subject::other("api-keys-doctor");
            let left = limiter.counts.look(&subject, None, checks.clock.now()).await;
            if left.map_or(true, |left| left.is_degraded()) {
                silent.push(limiter.category.name.to_string());
            }
        }
        silent
    }
}

/// Why a key could not be looked for.
fn not_found(error: ManageError) -> Reason {
    Reason::StoreFailed(match error {
        ManageError::Store(error) => error,
        error => StoreError::new(StoreErrorKind::Other).with_source(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::ClientAddressSource;
    use crate::key::{Mode, Owner};
    use crate::manage::Authority;
    use crate::rejection::ErrorKind;
    use crate::{KeyFormat, MemoryStore, NewKey, Quota};

    #[tokio::test]
    async fn a_hash_that_can_not_be_verified_makes_no_key_bad() {
        let format = KeyFormat::builder("acme_").public_id(8, '.').build().unwrap();
        let secret = format.generate(Mode::Live).unwrap().secret;
        for fails in [true, false] {
            let keys = ApiKeys::builder(MemoryStore::new(), format.clone()).bearer().without_route_table();
            let verify =
                move |_: &str, _: &str| if fails { panic!("a fault of the verifier") } else { false };
            let keys = keys
                .verify_imported(verify)
                .throttle_bad_credentials(Quota::per_minute(10).unwrap())
                .client_address(ClientAddressSource::peer())
                .build()
                .unwrap();
            let manager = keys.manager();
            let id = manager.parse(secret.expose_secret()).unwrap().id.unwrap();
            let operator = Authority::operator(Owner::organization("org_1".parse().unwrap(), Mode::Live));
            let hash = "$2b$12$hash".parse().unwrap();
            manager.import_hash(&operator, NewKey::new("Old"), id, hash, "acme_").await.unwrap();
            let Err(bad) = keys.verify_text(secret.expose_secret()).await else { panic!("a good key") };
            let want = if fails { ErrorKind::Unavailable } else { ErrorKind::Unauthenticated };
            assert_eq!(bad.reason.kind(), want, "{}", bad.reason);
        }
    }

    #[cfg(feature = "redis")]
    #[tokio::test]
    async fn a_limit_whose_server_does_not_answer_is_silent_whatever_its_policy() {
        use crate::RateLimit;
        use crate::limit::{OnFailure, RedisConnection};

        for policy in [OnFailure::Local, OnFailure::Open, OnFailure::Closed] {
            let nowhere = RedisConnection::open("redis://127.0.0.1:1").unwrap().with_on_failure(policy);
            let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_").unwrap())
                .bearer()
                .without_route_table()
                .shared_limits(nowhere, "acme")
                .limit(RateLimit::per_key("requests", Quota::per_minute(1).unwrap()))
                .limit(RateLimit::per_key("at a time", Quota::concurrent(1).unwrap()))
                .build()
                .unwrap();
            assert_eq!(keys.silent_limits().await, ["requests", "at a time"], "{policy:?}");
        }
    }
}
