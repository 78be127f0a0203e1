//! The checks in their declared order, one file each. [`Check`](crate::rejection::Check) declares it.
//!
//! Each stage decides at once if it can, and else says what to [wait for](super::facts::Pending); what it learns goes
//! into the [`Facts`](super::facts::Facts) of the request.

pub(super) mod access; // 9
pub(super) mod address; // 6
pub(super) mod extraction; // 1, 2
pub(super) mod limit; // 7, and by address before 1
pub(super) mod lookup; // 4
pub(super) mod organization; // 8
pub(super) mod preflight; // 0
mod selected;
pub(super) mod state; // 5
pub(super) mod throttle; // 3

pub(super) mod companion;
pub(super) mod imported;
mod look;
pub(super) mod session;
