//! What the crate logs, in one place: key identifiers, owners and reasons; never a secret. Of the client's own words only
//! the well-formed scopes that it asked for in vain.
//!
//! Without the feature `tracing` all of this is nothing.

use crate::key::KeyRecord;
use crate::manage::AuditEvent;
#[cfg(feature = "tracing")]
use crate::manage::AuditOutcome;
#[cfg(feature = "tracing")]
use crate::rejection::Reason;
use crate::rejection::{Rejection, RejectionKind};
use crate::user_session::Session;

/// What hosts filter by; the module is nobody's business.
#[cfg(feature = "tracing")]
const TARGET: &str = "tower_api_keys";

#[cfg(feature = "tracing")]
pub(crate) fn refused(rejection: &Rejection) {
    let (reason, key_id) = (rejection.reason(), rejection.key_id().map(tracing::field::display));
    let status = rejection.kind().status().as_u16();
    match rejection.kind() {
        RejectionKind::Misconfigured => {
            tracing::error!(target: TARGET, status, %reason, key_id, "request refused: the layers are set up wrongly");
        }
        // The limiter itself has said so, once a second at most.
        RejectionKind::Unavailable if matches!(reason, Reason::LimiterFailed(_)) => {
            tracing::info!(target: TARGET, status, %reason, key_id, "request refused");
        }
        RejectionKind::Unavailable => {
            // The reason says what the store's error says; the causes behind that are what somebody has to look at.
            let source = std::error::Error::source(reason).and_then(std::error::Error::source);
            let source = source.map(tracing::field::display);
            tracing::error!(target: TARGET, status, %reason, source, "request refused: what has to be asked does not answer");
        }
        _ => tracing::info!(target: TARGET, status, %reason, key_id, "request refused"),
    }
}

#[cfg(feature = "tracing")]
pub(crate) fn accepted(record: &KeyRecord) {
    tracing::debug!(target: TARGET, key_id = %record.id, owner = ?record.owner, "request authenticated");
}

#[cfg(feature = "tracing")]
pub(crate) fn session_accepted(session: &Session) {
    tracing::debug!(target: TARGET, session = %session.id(), "request authenticated");
}

#[cfg(feature = "tracing")]
pub(crate) fn not_refreshed(record: &KeyRecord, error: &crate::store::StoreError) {
    tracing::warn!(target: TARGET, key_id = %record.id, %error, "the key's new digest or new secret could not be stored; a later use tries again");
}

#[cfg(all(feature = "tracing", feature = "redis"))]
pub(crate) fn redis_failed(
    category: &str,
    error: &(dyn std::error::Error + 'static),
    on_failure: crate::rate_limit::OnFailure,
    decided_alone: u64,
) {
    tracing::error!(
        target: TARGET, category, error, ?on_failure, decided_alone, "rate limiter does without Redis"
    );
}

#[cfg(all(feature = "tracing", feature = "redis"))]
pub(crate) fn redis_recovered() {
    tracing::info!(target: TARGET, "Redis answers again");
}

#[cfg(feature = "tracing")]
pub(crate) fn audited(event: &AuditEvent) {
    let AuditEvent { action, outcome, key_id, owner, actor, at } = event;
    let (key_id, at) = (key_id.map(tracing::field::display), at.as_unix_millis());
    match outcome {
        AuditOutcome::Done => {
            tracing::info!(target: TARGET, %action, key_id, ?owner, %actor, at, "key managed")
        }
        AuditOutcome::Forbidden(reason) => {
            tracing::warn!(target: TARGET, %action, key_id, ?owner, %actor, at, %reason, "key not managed: forbidden");
        }
    }
}

#[cfg(all(feature = "cache", feature = "tracing"))]
pub(crate) fn invalidation_not_published(id: &crate::key::KeyId, error: &crate::store::StoreError) {
    let source = std::error::Error::source(error).map(tracing::field::display);
    tracing::error!(target: TARGET, key_id = %id, %error, source, "other nodes were not told of a change; they see it when what they hold is too old");
}

#[cfg(all(feature = "cache", feature = "tracing"))]
pub(crate) fn invalidations_connected() {
    tracing::info!(target: TARGET, "changes on other nodes are reported; what was held of keys is read again");
}

#[cfg(all(feature = "cache", feature = "tracing"))]
pub(crate) fn invalidations_lost() {
    tracing::warn!(target: TARGET, "changes on other nodes are no longer reported; keys are read again more often");
}

#[cfg(feature = "tracing")]
pub(crate) fn usage_sink_panicked() {
    tracing::error!(target: TARGET, "the usage sink panicked: a call is not metered");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn usage_sink_panicked() {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn refused(rejection: &Rejection) {
    let _ = (rejection, RejectionKind::Misconfigured);
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn accepted(_: &KeyRecord) {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn session_accepted(_: &Session) {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn not_refreshed(_: &KeyRecord, _: &crate::store::StoreError) {}

#[cfg(not(feature = "tracing"))]
pub(crate) fn audited(_: &AuditEvent) {}

#[cfg(all(feature = "cache", not(feature = "tracing")))]
pub(crate) fn invalidation_not_published(_: &crate::key::KeyId, _: &crate::store::StoreError) {}

#[cfg(all(feature = "cache", not(feature = "tracing")))]
pub(crate) fn invalidations_connected() {}

#[cfg(all(feature = "cache", not(feature = "tracing")))]
pub(crate) fn invalidations_lost() {}

#[cfg(all(not(feature = "tracing"), feature = "redis"))]
pub(crate) fn redis_failed(_: &str, _: &dyn std::error::Error, _: crate::rate_limit::OnFailure, _: u64) {}

#[cfg(all(not(feature = "tracing"), feature = "redis"))]
pub(crate) fn redis_recovered() {}
