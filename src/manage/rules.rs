//! The rules for what may be created and granted, without a store or a clock.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::{Authority, Forbidden, KeyChange, NewKey};
use crate::address::Network;
use crate::clock::Timestamp;
use crate::identity::Principal;
use crate::key::KeyRecord;
use crate::rejection::FieldError;
use crate::scope::{Scope, ScopeSet};

/// Each request with the key may have to be compared with all of them.
const MAX_NETWORKS: usize = 100;

/// A caller that gets a key's secret, or reactivates it, must have everything that the key has.
pub(super) fn may_hand_out(authority: &Authority, key: &KeyRecord) -> Result<(), Forbidden> {
    may_grant(authority, &key.scopes, key)
}

/// A caller that changes a key must have what the key gains. Whatever lets the key do more, or for longer, grants all of its
/// scopes again.
pub(super) fn may_change(
    authority: &Authority,
    before: &KeyRecord,
    after: &KeyRecord,
) -> Result<(), Forbidden> {
    let Some(own) = authority.bound() else { return Ok(()) };
    let (old, new) = (&before.extras, &after.extras);
    // Without a limit of its own a key has the category's, which is unknown here.
    let raised =
        |(category, limit): (&String, &NonZeroU32)| old.limits.get(category).is_none_or(|old| limit > old);
    let removed = |category: &&String| !new.limits.contains_key(*category);
    let mut removed = old.limits.keys().filter(removed).peekable();
    let is_widened = is_later(after.expires_at, before.expires_at)
        || new.not_before < old.not_before
        || new.limits.iter().any(raised)
        || removed.peek().is_some()
        || !lie_within(&new.allowed_addresses, &old.allowed_addresses);
    let own_limits = own.record().map(|own| &own.extras.limits);
    if removed.any(|category| own_limits.is_some_and(|own| own.contains_key(category))) {
        return Err(Forbidden::Limits);
    }
    let gained = after.scopes.iter().filter(|scope| is_widened || !before.scopes.contains(scope));
    let gained: ScopeSet = gained.cloned().collect();
    if is_widened || !gained.is_empty() { may_grant(authority, &gained, after) } else { Ok(()) }
}

/// A caller that grants `scopes` with a key must hold them, and the key must not be restricted less than its own.
fn may_grant(authority: &Authority, scopes: &ScopeSet, key: &KeyRecord) -> Result<(), Forbidden> {
    let Some(own) = authority.bound() else { return Ok(()) };
    let missing: ScopeSet = scopes.iter().filter(|scope| !own.has_scope(scope)).cloned().collect();
    if !missing.is_empty() {
        return Err(Forbidden::Scopes(missing));
    }
    if latest_expiry(authority).is_some_and(|own_end| is_later(key.expires_at, Some(own_end))) {
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

/// Whether one expiry is later than the other, where `None` is no expiry.
fn is_later(one: Option<Timestamp>, other: Option<Timestamp>) -> bool {
    other.is_some_and(|other| one.is_none_or(|one| one > other))
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
    let mut faults: Vec<FieldError> = name_fault(&key.name).into_iter().collect();
    let mut fault = |field, message| faults.push(FieldError::new(field, message));
    if key.has_invalid_scope {
        fault("scopes", field_faults::INVALID_SCOPE);
    } else if key.scopes.len() > MAX_SCOPES {
        fault("scopes", field_faults::MANY_SCOPES);
    } else if grantable.is_some_and(|grantable| !key.scopes.is_subset_of(grantable)) {
        fault("scopes", field_faults::UNGRANTABLE_SCOPE);
    }
    if let Some(end) = key.expires_at {
        if end <= now {
            fault("expiresAt", field_faults::PAST_EXPIRY);
        } else if latest_expiry.is_some_and(|latest| end > latest) {
            fault("expiresAt", field_faults::LATE_EXPIRY);
        }
        if key.not_before.is_some_and(|start| start >= end) {
            fault("notBefore", field_faults::LATE_START);
        }
    }
    if key.allowed_addresses.len() > MAX_NETWORKS {
        fault("allowedAddresses", field_faults::MANY_NETWORKS);
    }
    if !are_categories(key.limits.keys()) {
        fault("limits", field_faults::BAD_CATEGORIES);
    }
    faults
}

/// All faults of a change, independent of the caller. What a key had before stays valid.
pub(super) fn change_faults(
    change: &KeyChange,
    before: &KeyRecord,
    after: &KeyRecord,
    grantable: Option<&ScopeSet>,
    latest_expiry: Option<Timestamp>,
    now: Timestamp,
) -> Vec<FieldError> {
    let mut faults: Vec<FieldError> = change.name.as_deref().and_then(name_fault).into_iter().collect();
    let mut fault = |field, message| faults.push(FieldError::new(field, message));
    let can_be_granted =
        |scope: &Scope| before.scopes.contains(scope) || grantable.is_none_or(|all| all.contains(scope));
    if change.has_invalid_scope {
        fault("scopes", field_faults::INVALID_SCOPE);
    } else if change.scopes.as_ref().is_some_and(|scopes| scopes.len() > MAX_SCOPES) {
        fault("scopes", field_faults::MANY_SCOPES);
    } else if !after.scopes.iter().all(can_be_granted) {
        fault("scopes", field_faults::UNGRANTABLE_SCOPE);
    }
    if after.expires_at != before.expires_at {
        if after.expires_at.is_some_and(|end| end <= now) {
            fault("expiresAt", field_faults::PAST_EXPIRY);
        } else if is_later(after.expires_at, before.expires_at) && is_later(after.expires_at, latest_expiry) {
            fault("expiresAt", field_faults::LATE_EXPIRY);
        }
    }
    let is_moved =
        after.expires_at != before.expires_at || after.extras.not_before != before.extras.not_before;
    let is_never_valid =
        after.extras.not_before.is_some_and(|start| after.expires_at.is_some_and(|end| start >= end));
    if is_moved && is_never_valid {
        fault("notBefore", field_faults::LATE_START);
    }
    if change.limits.values().any(|limit| *limit == Some(0)) {
        fault("limits", "must be at least 1 request in a window");
    } else if !change.limits.is_empty() && !are_categories(after.extras.limits.keys()) {
        fault("limits", field_faults::BAD_CATEGORIES);
    }
    if change.allowed_addresses.as_ref().is_some_and(|networks| networks.len() > MAX_NETWORKS) {
        fault("allowedAddresses", field_faults::MANY_NETWORKS);
    }
    faults
}

/// The record of a key is read at each lookup that no cache answers.
fn are_categories<'a>(categories: impl ExactSizeIterator<Item = &'a String>) -> bool {
    let is_category = |name: &String| is_name(name);
    categories.len() <= MAX_LIMITS && { categories }.all(is_category)
}

const MAX_LIMITS: usize = 100;

/// A key with more could make listings and lookups slow. None needs so many: `resource:*` stands for all of a resource.
const MAX_SCOPES: usize = 1000;

/// What is wrong with a field: the key page has these in other languages.
pub(crate) mod field_faults {
    pub(crate) const NAME_LENGTH: &str = "must be 1 to 100 characters, not all of them blank";
    pub(crate) const NAME_CHARACTERS: &str = "must have no control characters";
    pub(crate) const INVALID_SCOPE: &str = "must be scopes of the form resource:action";
    pub(crate) const MANY_SCOPES: &str = "must be at most 1000 scopes";
    pub(crate) const UNGRANTABLE_SCOPE: &str = "must be scopes that keys can have here";
    pub(crate) const PAST_EXPIRY: &str = "must be in the future";
    pub(crate) const LATE_EXPIRY: &str = "must not be later than keys can last here";
    pub(crate) const LATE_START: &str = "must be before the key expires";
    pub(crate) const BAD_CATEGORIES: &str = "must be at most 100 categories, of 1 to 100 characters each";
    pub(crate) const REASON_LENGTH: &str =
        "must be 1 to 500 characters, not all of them blank, and no control characters";
    pub(crate) const REASON_KEY: &str = "must not contain a key";
    pub(crate) const MANY_NETWORKS: &str = "must be at most 100 networks";
}

/// Whether a person may be named like this.
pub(super) fn is_name(name: &str) -> bool {
    name_fault(name).is_none()
}

/// Whether an operation may be explained like this.
pub(super) fn is_reason(reason: &str) -> bool {
    !reason.trim().is_empty() && reason.chars().count() <= 500 && !reason.chars().any(misleads)
}

pub(crate) fn name_fault(name: &str) -> Option<FieldError> {
    if name.trim().is_empty() || name.chars().count() > 100 {
        Some(FieldError::new("name", field_faults::NAME_LENGTH))
    } else if name.chars().any(misleads) {
        Some(FieldError::new("name", field_faults::NAME_CHARACTERS))
    } else {
        None
    }
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
