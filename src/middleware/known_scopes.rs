use std::collections::BTreeMap;

use super::checks::Checks;
use crate::manage::KeyManager;
use crate::scope::{KnownScope, Scope};

/// Those that routes need, that keys can be given, and that are described, in the order of their text.
pub(super) fn known_scopes(
    descriptions: BTreeMap<Scope, String>,
    checks: &Checks,
    manager: &KeyManager,
) -> Vec<KnownScope> {
    let mut known: BTreeMap<Scope, Option<String>> = BTreeMap::new();
    let of_routes = checks.access.iter().flat_map(|table| table.values());
    let of_routes = of_routes.filter_map(|access| access.requirement()).flat_map(|needed| needed.scopes());
    for scope in of_routes.chain(manager.grantable_scopes().into_iter().flat_map(|scopes| scopes.iter())) {
        known.insert(scope.clone(), None);
    }
    known.extend(descriptions.into_iter().map(|(scope, sentence)| (scope, Some(sentence))));
    let is_grantable = |scope: &Scope| manager.grantable_scopes().is_none_or(|all| all.contains(scope));
    known
        .into_iter()
        .map(|(scope, description)| KnownScope { is_grantable: is_grantable(&scope), scope, description })
        .collect()
}
