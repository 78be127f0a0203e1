//! Scopes, sets and requirements, through the public API.
#![allow(clippy::unwrap_used, reason = "clippy knows helpers of tests for no tests")]

use std::panic;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use tower_api_keys::scope::{Scope, ScopeRequirement, ScopeSet};

/// Few names, many of which are prefixes of others.
fn any_scope() -> impl Strategy<Value = Scope> {
    let resource =
        prop::sample::select(vec!["john", "johnathan", "invoice", "invoice_item", "invoice-", "0", "z"]);
    let action = prop::sample::select(vec!["*", "read", "rea", "reads", "-", "0", "_"]);
    (resource, action).prop_map(|(resource, action)| format!("{resource}:{action}").parse().unwrap())
}

fn any_set() -> impl Strategy<Value = ScopeSet> {
    prop::collection::vec(any_scope(), 0..8).prop_map(ScopeSet::from_iter)
}

fn split(scope: &Scope) -> (&str, &str) {
    scope.as_str().split_once(':').unwrap()
}

/// A literal implementation of `contains`.
fn naive_contains(held: &[&Scope], wanted: &Scope) -> bool {
    let (resource, action) = split(wanted);
    held.iter().any(|held| split(held) == (resource, action) || split(held) == (resource, "*"))
}

fn set<const N: usize>(scopes: [&str; N]) -> ScopeSet {
    ScopeSet::parse_list(scopes).unwrap()
}

fn scope(text: &str) -> Scope {
    text.parse().unwrap()
}

proptest! {
    #[test]
    fn a_set_contains_what_the_naive_model_says(held in any_set(), wanted in any_scope()) {
        let list: Vec<_> = held.iter().collect();
        prop_assert_eq!(held.contains(&wanted), naive_contains(&list, &wanted));
    }

    #[test]
    fn a_subset_is_what_the_naive_model_says(wanted in any_set(), held in any_set()) {
        let list: Vec<_> = held.iter().collect();
        let covered = wanted.iter().all(|scope| naive_contains(&list, scope));
        prop_assert_eq!(wanted.is_subset_of(&held), covered);
        if covered {
            // A subset never grants more than the set itself.
            for resource in ["john", "johnathan", "invoice", "invoice_item"] {
                for action in ["read", "new"] {
                    let scope = scope(&format!("{resource}:{action}"));
                    prop_assert!(!wanted.contains(&scope) || held.contains(&scope));
                }
            }
        }
    }

    #[test]
    fn order_and_duplicates_do_not_matter(scopes in prop::collection::vec(any_scope(), 0..8)) {
        let set = ScopeSet::from_iter(scopes.iter().cloned());
        let again = ScopeSet::from_iter(scopes.iter().rev().chain(&scopes).cloned());
        prop_assert_eq!(&set, &again);
        prop_assert!(set.iter().is_sorted_by(|a, b| a < b));
        prop_assert_eq!(set.len(), set.iter().count());
        let json = serde_json::to_string(&set).unwrap();
        prop_assert_eq!(serde_json::from_str::<ScopeSet>(&json).unwrap(), set);
    }

    #[test]
    fn requirements_are_what_the_naive_model_says(
        held in any_set(), wanted in prop::collection::vec(any_scope(), 1..4),
    ) {
        let list: Vec<_> = held.iter().collect();
        let all = ScopeRequirement::all_of(wanted.clone());
        let any = ScopeRequirement::any_of(wanted.clone());
        if wanted.iter().any(Scope::is_wildcard) {
            prop_assert_eq!(all.unwrap_err().to_string(), WILDCARD);
            prop_assert_eq!(any.unwrap_err().to_string(), WILDCARD);
        } else {
            let met = wanted.iter().all(|scope| naive_contains(&list, scope));
            prop_assert_eq!(all.unwrap().is_met_by(&held), met);
            let met = wanted.iter().any(|scope| naive_contains(&list, scope));
            prop_assert_eq!(any.unwrap().is_met_by(&held), met);
            let met = naive_contains(&list, &wanted[0]);
            prop_assert_eq!(ScopeRequirement::scope(wanted[0].clone()).unwrap().is_met_by(&held), met);
        }
    }

    #[test]
    fn text_round_trips_or_does_not_parse(text in "[a-zA-Z0-9_:*é -]{0,12}|[a-z]{1,3}:[a-z*]{1,3}") {
        if let Ok(scope) = text.parse::<Scope>() {
                prop_assert_eq!(scope.as_str(), &text);
                let (resource, action) = text.split_once(':').unwrap();
                prop_assert_eq!((scope.resource(), scope.action()), (resource, action));
                prop_assert!(!resource.contains('*') && (action == "*" || !action.contains('*')));
        }
    }
}

#[test]
fn near_misses_open_nothing() {
    let held = set(["john:read", "john:*", "files:write"]);
    for wanted in [
        "johnathan:read",
        "joh:read",
        "john-:read",
        "file:write",
        "filess:write",
        "files:writ",
        "files:writes",
    ] {
        assert!(!held.contains(&scope(wanted)), "{wanted}");
        assert!(!ScopeRequirement::scope(scope(wanted)).unwrap().is_met_by(&held), "{wanted}");
    }
    for wanted in ["John:read", "john:READ", "jo\u{68}\u{301}n:read", "\u{ff4a}ohn:read", "john:read\0"] {
        assert!(ScopeSet::parse_list([wanted]).is_err(), "{wanted:?}");
    }
}

#[test]
fn a_wildcard_covers_its_own_resource_and_is_covered_by_no_list_of_actions() {
    let all = set(["invoice:*"]);
    let five = set(["invoice:create", "invoice:read", "invoice:update", "invoice:delete", "invoice:execute"]);
    assert!(five.is_subset_of(&all));
    assert!(all.is_subset_of(&all));
    assert!(!all.is_subset_of(&five));
    assert!(!set(["invoice_item:read"]).is_subset_of(&all));
    assert!(!set(["invoice:read", "checkout:create"]).is_subset_of(&all));
}

#[test]
fn an_empty_set_grants_nothing_and_is_a_subset_of_all() {
    let empty = ScopeSet::empty();
    assert!(empty.is_empty());
    assert_eq!(empty, set([]));
    assert!(!empty.contains(&scope("runs:read")));
    assert!(empty.is_subset_of(&empty));
    assert!(!set(["runs:read"]).is_subset_of(&empty));
}

#[test]
fn a_list_with_one_malformed_scope_is_an_error() {
    assert!(ScopeSet::parse_list(["runs:read", "runs"]).is_err());
    for json in [r#"["runs:read","*:*"]"#, r#""runs:read""#, "{}", "[7]", "null"] {
        assert!(serde_json::from_str::<ScopeSet>(json).is_err(), "{json}");
    }
}

#[test]
fn sets_print_and_serialize_as_a_sorted_list() {
    let set = set(["runs:read", "invoice:read", "invoice:*", "runs:read"]);
    assert_eq!(format!("{set:?}"), r#"["invoice:*", "invoice:read", "runs:read"]"#);
    assert_eq!(serde_json::to_string(&set).unwrap(), r#"["invoice:*","invoice:read","runs:read"]"#);
}

#[test]
fn a_requirement_has_a_scope_and_no_wildcard() {
    assert_eq!(ScopeRequirement::all_of([]).unwrap_err().to_string(), "a requirement has at least one scope");
    assert_eq!(ScopeRequirement::any_of([]).unwrap_err().to_string(), "a requirement has at least one scope");
    assert_eq!(ScopeRequirement::scope(scope("runs:*")).unwrap_err().to_string(), WILDCARD);
}

#[test]
fn a_requirement_prints_its_scopes_in_order() {
    let requirement = ScopeRequirement::any_of(["runs:read", "invoice:read"].map(scope)).unwrap();
    assert_eq!(requirement.to_string(), "runs:read invoice:read");
    assert_eq!(requirement.scopes(), ["runs:read", "invoice:read"].map(scope));
    assert_eq!(ScopeRequirement::from_static("runs:read").scopes(), [scope("runs:read")]);
}

#[test]
fn a_malformed_literal_blames_the_caller() {
    let files = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&files);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        seen.lock().unwrap().extend(info.location().map(|location| location.file().to_owned()));
    }));
    let panics = [
        panic::catch_unwind(|| drop(Scope::from_static("*:read"))).is_err(),
        panic::catch_unwind(|| drop(ScopeRequirement::from_static("runs"))).is_err(),
        panic::catch_unwind(|| drop(ScopeRequirement::from_static("runs:*"))).is_err(),
    ];
    panic::set_hook(before);
    assert_eq!(panics, [true; 3]);
    assert_eq!(*files.lock().unwrap(), [file!(); 3]);
}

const WILDCARD: &str = "a required scope names its action, not *";
