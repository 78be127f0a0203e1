use std::collections::HashSet;

use crate::scope::ScopeSet;

/// Stores each set of scopes once: most keys of a service have one of a few sets.
#[derive(Default)]
pub(super) struct SharedScopes {
    sets: HashSet<ScopeSet>,
    /// The number of sets at which unused ones are removed.
    sweep_at: usize,
}

impl SharedScopes {
    /// The stored set that equals `scopes`, if there is one; otherwise stores `scopes`.
    pub(super) fn share(&mut self, scopes: &ScopeSet) -> ScopeSet {
        if let Some(shared) = self.sets.get(scopes) {
            return shared.clone();
        }
        if self.sets.len() >= self.sweep_at {
            self.sets.retain(|set| !set.is_unshared());
            self.sweep_at = 2 * self.sets.len().max(16);
        }
        self.sets.insert(scopes.clone());
        scopes.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes(number: usize) -> ScopeSet {
        ScopeSet::parse_list([format!("r{number}:read").as_str()]).unwrap()
    }

    #[test]
    fn equal_sets_are_stored_once_and_unused_sets_are_dropped() {
        let mut shared = SharedScopes::default();
        let held: Vec<ScopeSet> = (0..100).map(|number| shared.share(&scopes(number))).collect();
        for number in 0..10_000 {
            shared.share(&scopes(number));
            assert!(shared.sets.len() <= 2 * held.len());
        }
        for (number, set) in held.iter().enumerate() {
            let copies = [shared.share(set), shared.share(&scopes(number))];
            assert_eq!(copies, [set.clone(), set.clone()]);
        }
        let before = shared.sets.len();
        held.iter().for_each(|set| drop(shared.share(set)));
        assert_eq!(shared.sets.len(), before);
    }
}
