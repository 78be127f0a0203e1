//! The rules for what may be created and granted, without a store or a clock.

use super::{Authority, Forbidden, NewKey};
use crate::address::Network;
use crate::clock::Timestamp;
use crate::identity::Principal;
use crate::key::KeyRecord;
use crate::rejection::FieldError;
use crate::scope::ScopeSet;
use std::collections::BTreeMap;
use std::num::NonZeroU32;

/// Each request with the key may have to be compared with all of them.
const MAX_NETWORKS: usize = 100;

/// A caller that gets a key's secret, or reactivates it, must have everything that the key has.
pub(super) fn may_hand_out(authority: &Authority, key: &KeyRecord) -> Result<(), Forbidden> {
    let Some(own) = authority.bound() else { return Ok(()) };
    let missing: ScopeSet = key.scopes.iter().filter(|scope| !own.has_scope(scope)).cloned().collect();
    if !missing.is_empty() {
        return Err(Forbidden::Scopes(missing));
    }
    if latest_expiry(authority).is_some_and(|own_end| key.expires_at.is_none_or(|end| end > own_end)) {
        return Err(Forbidden::Expiry);
    }
    // Without its own limit the caller has the category's, which is unknown here. Any limit cannot be proven lower,
    // so it is rejected.
    let own_limit = |category: &String| own.record()?.extras.limits.get(category);
    if key.extras.limits.iter().any(|(category, limit)| own_limit(category).is_none_or(|own| limit > own)) {
        return Err(Forbidden::Limits);
    }
    let own_addresses = own.record().map_or(&[][..], |own| &own.extras.allowed_addresses);
    if !lie_within(&key.extras.allowed_addresses, own_addresses) {
        return Err(Forbidden::Addresses);
    }
    Ok(())
}

/// The expiry of the caller's key, which also ends the keys it makes. The expiry of a session does not: the keys a
/// person makes stay after logout.
pub(super) fn latest_expiry(authority: &Authority) -> Option<Timestamp> {
    authority.bound()?.record()?.expires_at
}

/// Whether each of `inner` lies in one of `outer`; no networks mean any address. A network that is covered only by
/// several of `outer` together is rejected, which is on the safe side.
fn lie_within(inner: &[Network], outer: &[Network]) -> bool {
    let is_within = |network| outer.iter().any(|own| own.contains_network(network));
    outer.is_empty() || (!inner.is_empty() && inner.iter().all(is_within))
}

/// The earlier of two expiries, where `None` is no expiry.
pub(super) fn earlier(one: Option<Timestamp>, other: Option<Timestamp>) -> Option<Timestamp> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The requested limits, and for other categories the caller's own: a caller with a limit below the category's cannot
/// evade it with a new key.
pub(super) fn inherited_limits(
    authority: &Authority,
    requested: &BTreeMap<String, NonZeroU32>,
) -> BTreeMap<String, NonZeroU32> {
    let mut limits = requested.clone();
    let own = authority.bound().and_then(Principal::record).map(|own| &own.extras.limits);
    for (category, limit) in own.into_iter().flatten() {
        limits.entry(category.clone()).or_insert(*limit);
    }
    limits
}

/// The requested networks, or the caller's own if there are none.
pub(super) fn inherited_addresses(authority: &Authority, requested: Vec<Network>) -> Vec<Network> {
    match authority.bound().and_then(Principal::record) {
        Some(own) if requested.is_empty() => own.extras.allowed_addresses.clone(),
        _ => requested,
    }
}

/// All faults of `key`, independent of the caller.
pub(super) fn faults(
    key: &NewKey,
    grantable: Option<&ScopeSet>,
    latest_expiry: Option<Timestamp>,
    now: Timestamp,
) -> Vec<FieldError> {
    let mut faults = Vec::new();
    let mut fault = |field, message| faults.push(FieldError::new(field, message));
    if key.name.trim().is_empty() || key.name.chars().count() > 100 {
        fault("name", "must be 1 to 100 characters, not all of them blank");
    } else if key.name.chars().any(misleads) {
        fault("name", "must have no control characters");
    }
    if key.has_invalid_scope {
        fault("scopes", "must be scopes of the form resource:action");
    } else if grantable.is_some_and(|grantable| !key.scopes.is_subset_of(grantable)) {
        fault("scopes", "must be scopes that keys can have here");
    }
    if let Some(end) = key.expires_at {
        if end <= now {
            fault("expiresAt", "must be in the future");
        } else if latest_expiry.is_some_and(|latest| end > latest) {
            fault("expiresAt", "must not be later than keys can last here");
        }
        if key.not_before.is_some_and(|start| start >= end) {
            fault("notBefore", "must be before the key expires");
        }
    }
    if key.allowed_addresses.len() > MAX_NETWORKS {
        fault("allowedAddresses", "must be at most 100 networks");
    }
    faults
}

/// Control characters, and those that change the direction of text (Unicode Standard Annex 9): a listing would show
/// something other than the stored text.
fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The fault of an imported key's hint.
pub(super) fn hint_fault(hint: &str) -> Option<FieldError> {
    let fits = hint.chars().count() <= 64 && !hint.chars().any(misleads);
    if fits {
        return None;
    }
    Some(FieldError::new("hint", "must be at most 64 characters, none of them a control character"))
}
