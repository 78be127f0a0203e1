//! The log events of the crate: identifiers, owners, reasons and their codes; never a secret. Empty without the
//! feature `tracing`.
//!
//! The only client text that is logged are the scopes that it requested and lacks; they are well formed.
#![cfg_attr(not(feature = "tracing"), allow(unused_variables, reason = "the events are empty"))]

mod rate;

use std::error::Error;
use std::fmt::Display;

pub(crate) use rate::{OncePerSecond, OncePerSecondAndCode};

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

pub(crate) fn key_not_refreshed(key_id: &dyn Display, error: &dyn Error, suppressed: u64) {
    event!(warn, key_id = %key_id, error = %error, source = error.source(), suppressed, "the key's new digest or new secret was not stored; a later use tries again");
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
    event!(error, category, error = %error, source = error.source(), suppressed, "a stored quota was not counted: its store does not answer");
}

pub(crate) fn quota_not_given_back(category: &str, error: &dyn Error) {
    event!(warn, category, error = %error, source = error.source(), "unused units of a stored quota were not given back; it is tried again");
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
        let (code, key_id) = ("unavailable", key_id.map(tracing::field::display));
        // The error repeats the store's; the useful information is its cause.
        let source = error.source().map(tracing::field::display);
        match suppressed {
            Some(suppressed) => {
                event!(error, action, code, key_id, %error, source, suppressed, "key not managed: no answer")
            }
            None => event!(debug, action, code, key_id, %error, source, "key not managed: no answer"),
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

pub(crate) fn usage_sink_panicked(suppressed: u64) {
    event!(error, suppressed, "the usage sink panicked: a call was not metered");
}

pub(crate) fn watch_not_started(error: &dyn Error) {
    event!(error, error = %error, "no thread can be started: streams do not learn that their key has ended until there is one");
}

pub(crate) fn background_task_panicked() {
    event!(error, "a background task panicked and has ended");
}

pub(crate) fn last_use_not_written(error: &dyn Error) {
    event!(warn, error = %error, source = error.source(), "the last use of keys was not written; it is tried again");
}

#[cfg(feature = "redis")]
pub(crate) fn redis_failed(
    category: &str,
    error: &(dyn Error + 'static),
    policy: &str,
    decided_alone: u64,
    suppressed: u64,
) {
    event!(error, category, error, policy, decided_alone, suppressed, "rate limiter works without Redis");
}

#[cfg(feature = "redis")]
pub(crate) fn redis_recovered() {
    event!(info, "Redis is reachable again");
}

#[cfg(feature = "cache")]
pub(crate) fn invalidation_not_published(key_id: &dyn Display, error: &dyn Error) {
    event!(error, key_id = %key_id, error = %error, source = error.source(), "a change was not reported to other nodes; they see it when their copy expires");
}

#[cfg(feature = "cache")]
pub(crate) fn invalidations_connected() {
    event!(info, "changes on other nodes are reported; cached keys are read again");
}

#[cfg(feature = "cache")]
pub(crate) fn invalidations_lost() {
    event!(warn, "changes on other nodes are no longer reported; keys are read again more often");
}
