//! The log events of the crate: identifiers, owners, reasons and their codes; never a secret. Empty without the
//! feature `tracing`.
//!
//! The only client text that is logged are the scopes that it requested and lacks; they are well formed.
#![cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "the events are empty"))]

mod rate;

use std::error::Error;
use std::fmt::Display;

pub(crate) use rate::{OncePerSecond, OncePerSecondAndCode};

use crate::metrics;

/// The target that applications filter by.
#[cfg(feature = "tracing")]
pub(crate) const TARGET: &str = "tower_api_keys";

#[cfg(feature = "tracing")]
macro_rules! event {
    ($level:ident, $($rest:tt)*) => {
        tracing::$level!(target: $crate::log::TARGET, $($rest)*)
    };
}

#[cfg(not(feature = "tracing"))]
macro_rules! event {
    ($($rest:tt)*) => {};
}

#[cfg(feature = "tracing")]
pub(crate) use event;

/// The same with a code, for what no metric of its own counts. The page in `docs` lists all codes.
macro_rules! fault {
    ($level:ident, $code:literal, $($rest:tt)*) => {
        metrics::fault($code, 1);
        event!($level, code = $code, $($rest)*);
    };
}

pub(crate) fn store_does_not_answer(store: &str, calls: &str, error: Option<&dyn Error>) {
    event!(
        error,
        code = "store_suspended",
        store,
        calls,
        error = error.map(tracing::field::display),
        source = error.and_then(Error::source),
        "the store does not answer: all but one call a second are refused"
    );
}

pub(crate) fn store_answers_again(store: &str, calls: &str, refused: u64) {
    event!(info, store, calls, refused, "the store answers again");
}

/// Once a second at most, with the number of `suppressed` ones; all are counted.
pub(crate) fn key_not_refreshed(key_id: &dyn Display, error: &dyn Error, suppressed: Option<u64>) {
    metrics::fault("key_not_refreshed", 1);
    if let Some(suppressed) = suppressed {
        event!(warn, code = "key_not_refreshed", key_id = %key_id, error = %error, source = error.source(), suppressed, "the key's new digest or new secret was not stored; a later use tries again");
    }
}

#[cfg(feature = "sqlite")]
pub(crate) fn database_file_lost(fault: &str) {
    fault!(error, "database_file_lost", fault, "no key can be looked up");
}

#[cfg(feature = "sqlite")]
pub(crate) fn database_not_written(error: &dyn Error) {
    fault!(error, "database_not_written", error = %error, source = error.source(), "the database file can't be written: keys are looked up, and not changed");
}

/// Once a second at most, with the number of `suppressed` ones; all are counted.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(crate) fn schema_unusable(fault: &dyn Display, suppressed: Option<u64>) {
    metrics::fault("schema_unusable", 1);
    if let Some(suppressed) = suppressed {
        event!(error, code = "schema_unusable", %fault, suppressed, "no key can be looked up or changed");
    }
}

/// `None` is for keys without a pepper, which are not accepted.
pub(crate) fn pepper_missing(pepper: Option<u32>, keys: u64) {
    fault!(
        error,
        "pepper_missing",
        pepper,
        keys,
        "keys do not authenticate: they were digested with this pepper, which is not configured, or with none"
    );
}

/// `fault` names the key and what is wrong with its record.
pub(crate) fn key_broken(fault: &dyn Display) {
    fault!(error, "record_corrupt", %fault, "the key's record cannot be read: it can be revoked and deleted");
}

/// The same for those of a listed page.
pub(crate) fn keys_broken(first: &dyn Display, keys: usize) {
    fault!(error, "record_corrupt", fault = %first, keys, "records of listed keys cannot be read: they can be revoked and deleted");
}

/// For a limit that only tries.
pub(crate) fn would_reject(category: &str, key_id: Option<&impl Display>) {
    event!(
        info,
        code = "rate_limit_would_reject",
        category,
        key_id = key_id.map(tracing::field::display),
        "a shadow limit would have rejected this request"
    );
}

pub(crate) fn granted(category: &str, subject: &dyn Display, units: i64) {
    event!(info, category, %subject, units, "more of a stored quota was granted");
}

pub(crate) fn forgotten(subject: &dyn Display) {
    event!(info, %subject, "what limits had counted of a subject is forgotten");
}

pub(crate) fn quota_not_counted(category: &str, error: &dyn Error, suppressed: u64) {
    event!(error, code = "quota_not_counted", category, error = %error, source = error.source(), suppressed, "a stored quota was not counted: its store does not answer");
}

pub(crate) fn quota_not_given_back(category: &str, error: &dyn Error) {
    fault!(warn, "quota_not_given_back", category, error = %error, source = error.source(), "unused units of a stored quota were not given back; it is tried again");
}

pub(crate) fn imported_hash_replaced(key_id: &dyn Display) {
    event!(info, key_id = %key_id, "the key was used for the first time since it was imported: its digest has replaced its hash");
}

/// Of every failure once a second at most, with the number of `suppressed` ones.
pub(crate) fn management_unavailable(
    action: &str,
    key_id: Option<&impl Display>,
    error: &(dyn Error + 'static),
    suppressed: Option<u64>,
) {
    #[cfg(feature = "tracing")]
    {
        let key_id = key_id.map(tracing::field::display);
        // The error repeats the store's; the useful information is its cause.
        let source = error.source().map(tracing::field::display);
        match suppressed {
            Some(suppressed) => {
                event!(error, code = "unavailable", action, key_id, %error, source, suppressed, "key not managed: no answer")
            }
            None => {
                event!(debug, code = "unavailable", action, key_id, %error, source, "key not managed: no answer")
            }
        }
    }
}

pub(crate) fn management_failed(
    action: &str,
    code: &str,
    key_id: Option<&impl Display>,
    owner: Option<&impl Display>,
    actor: Option<impl Display>,
) {
    #[cfg(feature = "tracing")]
    {
        let (key_id, owner) = (key_id.map(tracing::field::display), owner.map(tracing::field::display));
        let actor = actor.map(tracing::field::display);
        event!(info, action, code, key_id, owner, actor, "key not managed");
    }
}

/// Once a second at most, with the number of `suppressed` ones; all are counted.
pub(crate) fn usage_sink_panicked(suppressed: Option<u64>) {
    metrics::fault("usage_sink_panicked", 1);
    if let Some(suppressed) = suppressed {
        event!(
            error,
            code = "usage_sink_panicked",
            suppressed,
            "the usage sink panicked: a call was not metered"
        );
    }
}

pub(crate) fn audit_sink_panicked(number: Option<u64>) {
    fault!(error, "audit_sink_panicked", number, "the audit sink panicked: it does not get the event again");
}

pub(crate) fn audit_queue_full() {
    fault!(
        error,
        "audit_queue_full",
        "as many audit events wait for the sink as can, and new ones are lost: the sink is slow, or `ApiKeys::background` does not run"
    );
}

pub(crate) fn audit_events_lost(lost: u64) {
    metrics::fault("audit_events_lost", lost);
    event!(
        error,
        code = "audit_events_lost",
        lost,
        "audit events were lost: more had to wait for the sink than can"
    );
}

pub(crate) fn audit_not_recorded(error: &dyn Error) {
    fault!(warn, "audit_not_recorded", error = %error, source = error.source(), "the store did not record an attempt that came to nothing");
}

pub(crate) fn audit_not_delivered(error: &dyn Error) {
    fault!(warn, "audit_not_delivered", error = %error, source = error.source(), "audit events were not delivered; it is tried again");
}

pub(crate) fn watch_not_started(error: &dyn Error) {
    fault!(error, "watch_not_started", error = %error, "no thread can be started: streams do not learn that their key has ended until there is one");
}

pub(crate) fn background_not_running() {
    fault!(
        warn,
        "background_not_running",
        "`ApiKeys::background` does not run: changes on other nodes are learned late, and what it writes and delivers waits; spawn it"
    );
}

pub(crate) fn background_task_panicked() {
    fault!(error, "background_task_panicked", "a background task panicked and has ended");
}

pub(crate) fn last_use_not_written(error: &dyn Error) {
    fault!(warn, "last_use_not_written", error = %error, source = error.source(), "the last use of keys was not written; it is tried again");
}

pub(crate) fn usage_not_written(error: &dyn Error, rows: usize) {
    fault!(warn, "usage_not_written", error = %error, source = error.source(), rows, "usage was not added to the store; it is tried again");
}

pub(crate) fn usage_lost(requests: u64) {
    event!(
        error,
        code = "usage_lost",
        requests,
        "requests were not counted: too many keys are used at a time, or the store does not take usage"
    );
}

pub(crate) fn usage_not_pruned(error: &dyn Error) {
    fault!(warn, "usage_not_pruned", error = %error, source = error.source(), "old usage was not deleted; it is tried again in an hour");
}

#[cfg(feature = "redis")]
pub(crate) fn redis_failed(
    category: &str,
    error: &(dyn Error + 'static),
    policy: &str,
    decided_alone: u64,
    suppressed: u64,
) {
    event!(
        error,
        code = "redis_unavailable",
        category,
        error,
        policy,
        decided_alone,
        suppressed,
        "rate limiter works without Redis"
    );
}

#[cfg(feature = "redis")]
pub(crate) fn redis_recovered() {
    event!(info, "Redis is reachable again");
}

/// Once a second at most, with the number of `suppressed` ones; all are counted.
#[cfg(feature = "cache")]
pub(crate) fn invalidation_not_published(key_id: &dyn Display, error: &dyn Error, suppressed: Option<u64>) {
    metrics::fault("invalidation_not_published", 1);
    #[cfg(feature = "tracing")]
    {
        let source = error.source();
        match suppressed {
            Some(suppressed) => {
                event!(error, code = "invalidation_not_published", %key_id, %error, source, suppressed, "a change was not reported to other nodes; they see it when their copy expires")
            }
            None => {
                event!(debug, code = "invalidation_not_published", %key_id, %error, source, "a change was not reported to other nodes")
            }
        }
    }
}

#[cfg(feature = "cache")]
pub(crate) fn revocation_forgotten(key_id: &dyn Display) {
    fault!(error, "revocation_forgotten", key_id = %key_id, "the store has forgotten that this key is revoked; it stays revoked here");
}

#[cfg(feature = "cache")]
pub(crate) fn store_went_back() {
    event!(
        error,
        code = "store_went_back",
        "the store is not where it was: it has failed over, or was restored; changes may be lost, revocations among them"
    );
}

#[cfg(feature = "cache")]
pub(crate) fn changes_not_read(error: &dyn Error) {
    event!(warn, code = "changes_not_read", error = %error, source = error.source(), "the store does not say what has changed; cached keys are read again more often");
}

#[cfg(feature = "cache")]
pub(crate) fn invalidations_connected() {
    event!(info, "changes on other nodes are reported; cached keys are read again");
}

#[cfg(feature = "cache")]
pub(crate) fn invalidations_lost() {
    event!(
        warn,
        code = "invalidations_lost",
        "changes on other nodes are no longer reported; keys are read again more often"
    );
}
