//! Parses scopes, and compares sets of them.
//!
//! The first two lines are lists of scopes that callers hold. Each further line is a requirement: `all` or `any` and a
//! list of scopes, or one scope.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use tower_api_keys::scope::{Scope, ScopeRequirement, ScopeSet};

fuzz_target!(|input: &str| check(input));

/// What a caller may do: resources and actions, with all that a wildcard stands for. Every action that the input names
/// is there, and one that no list can name.
type Permissions = BTreeSet<(String, String)>;

const UNNAMED: &str = "every other action";

fn check(input: &str) {
    let lines: Vec<Vec<&str>> = input.split('\n').take(8).map(|line| line.split(' ').collect()).collect();
    let words: Vec<&str> = lines.iter().flatten().copied().collect();
    for word in &words {
        check_word(word);
    }
    let actions: BTreeSet<&str> = words.iter().filter_map(|word| Some(parse(word)?.1)).collect();
    let permissions = |scopes: &[&str]| -> Permissions {
        let mut all = Permissions::new();
        for (resource, action) in scopes.iter().filter_map(|scope| parse(scope)) {
            let of_one = |action: &&str| (resource.to_owned(), (*action).to_owned());
            match action {
                "*" => {
                    all.extend(actions.iter().filter(|action| **action != "*").chain([&UNNAMED]).map(of_one))
                }
                _ => all.extend([of_one(&action)]),
            }
        }
        all
    };

    let held: Vec<Vec<&str>> = (0..2).map(|index| lines.get(index).map_or(Vec::new(), valid)).collect();
    let sets: Vec<ScopeSet> =
        held.iter().map(|held| ScopeSet::parse_list(held.iter().copied()).unwrap()).collect();
    let may: Vec<Permissions> = held.iter().map(|held| permissions(held)).collect();

    for (set, held) in sets.iter().zip(&held) {
        let sorted: BTreeSet<&str> = held.iter().copied().collect();
        assert!(set.iter().map(Scope::as_str).eq(sorted.iter().copied()), "{set:?} of {held:?}");
        assert_eq!((set.len(), set.is_empty()), (sorted.len(), sorted.is_empty()));
    }
    for (a, b) in [(0, 1), (1, 0), (0, 0)] {
        let is_subset = may[a].is_subset(&may[b]);
        assert_eq!(sets[a].is_subset_of(&sets[b]), is_subset, "{:?} of {:?}", sets[a], sets[b]);
        let both = sets[a].intersection(&sets[b]);
        let texts: Vec<&str> = both.iter().map(Scope::as_str).collect();
        let expected: Permissions = may[a].intersection(&may[b]).cloned().collect();
        assert_eq!(permissions(&texts), expected, "{:?} and {:?}: {both:?}", sets[a], sets[b]);
    }
    for (set, may) in sets.iter().zip(&may) {
        for word in valid(&words) {
            let is_held = permissions(&[word]).is_subset(may);
            assert_eq!(set.contains(&word.parse().unwrap()), is_held, "{word} of {set:?}");
        }
        for line in lines.iter().skip(2) {
            check_requirement(line, set, |scope| permissions(&[scope]).is_subset(may));
        }
    }
}

fn check_requirement(line: &[&str], held: &ScopeSet, is_held: impl Fn(&str) -> bool) {
    let scopes = || valid(line).into_iter().map(|scope| scope.parse::<Scope>().unwrap());
    let texts = valid(line);
    let is_valid = !texts.is_empty() && !texts.iter().any(|scope| scope.ends_with(":*"));
    let (requirement, is_met) = match line[0] {
        "all" => (ScopeRequirement::all_of(scopes()), texts.iter().all(|scope| is_held(scope))),
        "any" => (ScopeRequirement::any_of(scopes()), texts.iter().any(|scope| is_held(scope))),
        one => match parse(one) {
            Some((_, "*")) | None => return assert!(one.parse::<ScopeRequirement>().is_err(), "{one}"),
            Some(_) => {
                let requirement: ScopeRequirement = one.parse().unwrap();
                assert_eq!(requirement.to_string(), one);
                assert_eq!(requirement.is_met_by(held), is_held(one), "{one} by {held:?}");
                return;
            }
        },
    };
    assert_eq!(requirement.is_ok(), is_valid, "{line:?}");
    let Ok(requirement) = requirement else { return };
    assert_eq!(requirement.to_string(), texts.join(" "));
    assert_eq!(requirement.is_met_by(held), is_met, "{requirement:?} by {held:?}");
}

fn check_word(word: &str) {
    let parsed = word.parse::<Scope>();
    match (&parsed, parse(word)) {
        (Ok(scope), Some((resource, action))) => {
            assert_eq!((scope.as_str(), scope.resource(), scope.action()), (word, resource, action));
            assert_eq!(scope.is_wildcard(), action == "*", "{word}");
        }
        (Err(_), None) => assert!(ScopeSet::parse_list([word]).is_err(), "{word:?}"),
        (_, expected) => panic!("{word:?}: {parsed:?}, and expected is {expected:?}"),
    }
}

/// The two parts of a scope.
fn parse(word: &str) -> Option<(&str, &str)> {
    let parts: Vec<&str> = word.split(':').collect();
    let is_part = |part: &str| {
        (1..=64).contains(&part.len())
            && part.chars().all(|char| matches!(char, 'a'..='z' | '0'..='9' | '_' | '-'))
    };
    match parts[..] {
        [resource, action] if is_part(resource) && (action == "*" || is_part(action)) => {
            Some((resource, action))
        }
        _ => None,
    }
}

fn valid<'t>(words: impl AsRef<[&'t str]>) -> Vec<&'t str> {
    words.as_ref().iter().copied().filter(|word| parse(word).is_some()).collect()
}
