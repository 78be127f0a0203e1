use std::fmt;

use super::Principal;
use crate::key::Owner;

/// A value that only its owner reaches.
///
/// See the [module docs](super#isolation) for an example. `Debug` shows the owner only, and there is no way to serialize it: whoever
/// writes the value out has to say for whom.
#[derive(Clone)]
pub struct Owned<T> {
    owner: Owner,
    value: T,
}

impl<T> Owned<T> {
    /// What a caller makes is owned by [`principal.owner()`](Principal::owner).
    pub fn new(owner: Owner, value: T) -> Self {
        Self { owner, value }
    }

    /// The organization or system, and the mode, that the value belongs to.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The value, if it is the caller's. A system key reaches what the system owns, or, where an
    /// [`OrganizationRule`](super::OrganizationRule) has found for which organization it acts, that
    /// organization's.
    pub fn get(&self, principal: &Principal) -> Option<&T> {
        self.is_owned_by(principal).then_some(&self.value)
    }

    /// The value to be changed, if it is the caller's.
    pub fn get_mut(&mut self, principal: &Principal) -> Option<&mut T> {
        self.is_owned_by(principal).then_some(&mut self.value)
    }

    /// Whether the value is of the caller's organization, in the other mode: live where the caller is test, or the other
    /// way round.
    ///
    /// For the few routes that say so. Everywhere else what [`get`](Self::get) gives is all there is to know.
    pub fn is_in_other_mode(&self, principal: &Principal) -> bool {
        self.owner.tenant == principal.owner().tenant && self.owner.mode != principal.mode()
    }

    fn is_owned_by(&self, principal: &Principal) -> bool {
        self.owner == *principal.owner()
    }
}

impl<T> fmt::Debug for Owned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owned").field("owner", &self.owner).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Timestamp;
    use crate::key::{KeyRecord, Mode, Peppers};

    fn organization(name: &str, mode: Mode) -> Owner {
        Owner::organization(name.parse().unwrap(), mode)
    }

    fn principal(owner: &Owner) -> Principal {
        let digest = Peppers::none().digest("key");
        let created = Timestamp::from_unix_seconds(0);
        let record = KeyRecord::new("k1".parse().unwrap(), owner.clone(), digest, created);
        Principal::new(Arc::new(record), "Basic")
    }

    #[test]
    fn only_the_very_owner_reaches_a_value() {
        let owners = [
            organization("acme", Mode::Live),
            organization("acme", Mode::Test),
            organization("Acme", Mode::Live),
            organization("other", Mode::Test),
            Owner::system(Mode::Live),
            Owner::system(Mode::Test),
        ];
        for owner in &owners {
            for caller in &owners {
                let (mut owned, principal) = (Owned::new(owner.clone(), 7), principal(caller));
                let reached = (owner == caller).then_some(7);
                assert_eq!(owned.get(&principal).copied(), reached, "{caller:?} reads of {owner:?}");
                assert_eq!(owned.get_mut(&principal).copied(), reached, "{caller:?} changes of {owner:?}");
                let other_mode = owner.tenant == caller.tenant && owner != caller;
                assert_eq!(owned.is_in_other_mode(&principal), other_mode, "{caller:?} and {owner:?}");
            }
        }
    }

    #[test]
    fn debug_shows_no_value() {
        let owned = Owned::new(organization("acme", Mode::Live), "private");
        assert!(!format!("{owned:?}").contains("private"), "{owned:?}");
    }
}
