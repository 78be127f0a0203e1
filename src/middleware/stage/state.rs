//! 5, state: whether a key may be used at this time.

use crate::clock::Timestamp;
use crate::key::{KeyRecord, KeyState};
use crate::rejection::Reason;

#[inline]
pub(super) fn check_state(record: &KeyRecord, now: Timestamp) -> Result<(), Reason> {
    match record.state {
        KeyState::Active => {}
        KeyState::Disabled => return Err(Reason::KeyDisabled),
        KeyState::Revoked { .. } => return Err(Reason::KeyRevoked),
    }
    if record.extras.not_before.is_some_and(|start| now < start) {
        return Err(Reason::KeyNotYetValid);
    }
    if record.expires_at.is_some_and(|end| end <= now) {
        return Err(Reason::KeyExpired);
    }
    Ok(())
}
