use std::fmt;

use super::Principal;
use crate::key::Owner;

/// A value that only its owner can access.
///
/// See the [module docs](super#isolation) for an example. `Debug` shows only the owner, and there is no way to
/// serialize it without naming the caller.
#[derive(Clone)]
pub struct Owned<T> {
    owner: Owner,
    value: T,
}

impl<T> Owned<T> {
    /// Wraps a value. A caller's own values are owned by [`principal.owner()`](Principal::owner).
    pub fn new(owner: Owner, value: T) -> Self {
        Self { owner, value }
    }

    /// The organization or system, and the mode, that owns the value.
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// The value, if the caller owns it.
    ///
    /// A system key accesses the values of the system, or, if an [`OrganizationRule`](super::OrganizationRule)
    /// selected an organization, the values of that organization.
    pub fn get(&self, principal: &Principal) -> Option<&T> {
        self.is_owned_by(principal).then_some(&self.value)
    }

    /// The value as mutable, if the caller owns it.
    pub fn get_mut(&mut self, principal: &Principal) -> Option<&mut T> {
        self.is_owned_by(principal).then_some(&mut self.value)
    }

    /// Whether the caller's organization owns the value in the other mode: live if the caller is test, or vice versa.
    ///
    /// For the few routes that report this. All other routes should use only [`get`](Self::get).
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
