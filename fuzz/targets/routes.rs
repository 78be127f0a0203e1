//! Finds the rule that covers a request.
//!
//! The lines before the first empty one are rules, `GET /users/{id}`. The lines after it are requests, `GET /users/7?a`.
#![no_main]

use std::cell::LazyCell;
use std::cmp::Ordering;

use http::{HeaderValue, Method, Request, Uri};
use libfuzzer_sys::fuzz_target;
use tower_api_keys::key::Mode;
use tower_api_keys::rejection::Reason;
use tower_api_keys::route::{Access, Route};
use tower_api_keys::scope::{Scope, ScopeRequirement};
use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
use tower_api_keys_fuzz::{call, record, rejection, store};

fuzz_target!(|input: &str| check(input));

const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";

thread_local!(static STORE: LazyCell<MemoryStore> = LazyCell::new(|| store([record("key", KEY, Mode::Live)])));

fn check(input: &str) {
    let (rules, requests) = input.split_once("\n\n").unwrap_or((input, ""));
    let rules: Vec<(Method, &str)> = rules.split('\n').take(12).filter_map(split_line).collect();
    let mut builder = ApiKeys::builder(STORE.with(|store| (*store).clone()), KeyFormat::new("wfk_").unwrap());
    builder = builder.header("x-api-key").attach_rejections();
    for (index, (method, pattern)) in rules.iter().enumerate() {
        // The key has no scopes, so its rejection names the rule.
        let scope: Scope = format!("rule:{index}").parse().unwrap();
        builder =
            builder.route(method.clone(), *pattern, Access::from(ScopeRequirement::scope(scope).unwrap()));
    }
    let parsed: Option<Vec<Vec<Segment<'_>>>> = rules.iter().map(|(_, pattern)| parse(pattern)).collect();
    let table = parsed.filter(|patterns| is_table(&rules, patterns));
    let built = builder.build();
    assert_eq!(built.is_ok(), table.is_some(), "{rules:?}: {:?}", built.err().map(|error| error.to_string()));
    let (Ok(keys), Some(patterns)) = (built, table) else { return };

    // In the patterns of routers, `:id` is a literal.
    let is_of_router = |pattern: &str| !pattern.contains("/:");
    if rules.iter().all(|(_, pattern)| is_of_router(pattern)) {
        assert_eq!(keys.uncovered(rules.iter().cloned()), [], "{rules:?}");
        assert_eq!(keys.unused(rules.iter().cloned()), [], "{rules:?}");
    }
    let layer = keys.layer();
    for (method, target) in requests.split('\n').take(12).filter_map(split_line) {
        // Another path, read as a pattern: covered if a rule has the same shape.
        if let Some(shape) = parse(target).filter(|_| is_of_router(target)) {
            let has_shape =
                |index: usize| patterns[index] == shape && rules[index].0 == *rule_method(&method);
            let route = Route::from((method.clone(), target));
            let is_covered = keys.uncovered([route]).is_empty();
            assert_eq!(is_covered, (0..rules.len()).any(has_shape), "{rules:?} {method} {target}");
        }
        let Ok(uri) = target.parse::<Uri>() else { continue };
        let path = uri.path().to_owned();
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        *request.uri_mut() = uri;
        request.headers_mut().insert("x-api-key", HeaderValue::from_static(KEY));
        let response = call(&layer, request);
        let rejection = rejection(&response).expect("the key has no scope");
        let found = match rejection.reason() {
            Reason::ScopeMissing(scope) => Found::Rule(scope.scopes()[0].action().parse().unwrap()),
            reason => match reason.code() {
                "route_not_covered" => Found::Nothing,
                "path_not_canonical" => Found::Ambiguous,
                code => panic!("{rules:?} {method} {path}: {code}"),
            },
        };
        let expected = find(&rules, &patterns, &method, &path);
        // Where no rule has the path, nothing says which of the two reasons comes first.
        let are_both_right = expected == Found::Ambiguous && found == Found::Nothing;
        assert!(
            found == expected || are_both_right,
            "{rules:?} {method} {path}: {found:?}, and not {expected:?}"
        );
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Found {
    Rule(usize),
    Nothing,
    Ambiguous,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Segment<'p> {
    Literal(&'p str),
    Parameter,
    Rest,
}

fn split_line(line: &str) -> Option<(Method, &str)> {
    let (method, rest) = line.split_once(' ')?;
    Some((method.parse().ok()?, rest))
}

/// A path in segments; `/` has none.
fn split_path(path: &str) -> Vec<&str> {
    match path {
        "/" => Vec::new(),
        _ => path[1..].split('/').collect(),
    }
}

fn parse<'p>(pattern: &'p str) -> Option<Vec<Segment<'p>>> {
    if !pattern.starts_with('/') {
        return None;
    }
    let texts = split_path(pattern);
    let is_name = |name: &str| {
        !name.is_empty() && name.chars().all(|char| char.is_ascii_alphanumeric() || "_-".contains(char))
    };
    let segment = |(index, text): (usize, &&'p str)| {
        let is_last = index + 1 == texts.len();
        let inside = |start, end| text.strip_prefix(start).and_then(|text| text.strip_suffix(end));
        if let Some(name) = inside("{*", "}") {
            return (is_last && is_name(name)).then_some(Segment::Rest);
        }
        if let Some(name) = inside("{", "}").or(inside(":", "")) {
            return is_name(name).then_some(Segment::Parameter);
        }
        let is_plain = |char: char| char.is_ascii_alphanumeric() || "-._~!$&'()+,=:@".contains(char);
        let is_literal = match *text {
            "" => is_last,
            "." | ".." => false,
            text => text.chars().all(is_plain),
        };
        is_literal.then_some(Segment::Literal(text))
    };
    texts.iter().enumerate().map(segment).collect()
}

/// Whether each rule can be one, and none is there twice.
fn is_table(rules: &[(Method, &str)], patterns: &[Vec<Segment<'_>>]) -> bool {
    let is_twice = |index: usize| {
        (0..index).any(|other| rules[other].0 == rules[index].0 && patterns[other] == patterns[index])
    };
    let can_have_rule = |method: &Method| ![Method::HEAD, Method::TRACE, Method::CONNECT].contains(method);
    !rules.is_empty()
        && rules.iter().all(|(method, _)| can_have_rule(method))
        && !(0..rules.len()).any(is_twice)
}

/// `HEAD` is treated as `GET`.
fn rule_method(method: &Method) -> &Method {
    if *method == Method::HEAD { &Method::GET } else { method }
}

fn find(rules: &[(Method, &str)], patterns: &[Vec<Segment<'_>>], method: &Method, path: &str) -> Found {
    if !path.starts_with('/') {
        return Found::Ambiguous;
    }
    let segments = split_path(path);
    let is_dirty = |(index, segment): (usize, &&str)| {
        let is_last = index + 1 == segments.len();
        matches!(*segment, "." | "..")
            || segment.contains(['%', ';', '\\'])
            || (segment.is_empty() && !is_last)
    };
    if segments.iter().enumerate().any(is_dirty) {
        return Found::Ambiguous;
    }
    let matching = patterns.iter().filter(|pattern| matches(pattern, &segments));
    let Some(best) = matching.min_by(|one, other| precedence(one, other)) else {
        return if segments.last() == Some(&"") { Found::Ambiguous } else { Found::Nothing };
    };
    let covers = |index: &usize| rules[*index].0 == *rule_method(method) && patterns[*index] == *best;
    (0..rules.len()).find(covers).map_or(Found::Nothing, Found::Rule)
}

fn matches(pattern: &[Segment<'_>], segments: &[&str]) -> bool {
    match (pattern, segments) {
        ([], []) => true,
        ([Segment::Literal(text), pattern @ ..], [first, segments @ ..]) => {
            text == first && matches(pattern, segments)
        }
        ([Segment::Parameter, pattern @ ..], [first, segments @ ..]) => {
            !first.is_empty() && matches(pattern, segments)
        }
        ([Segment::Rest], [_, ..]) => !segments.contains(&""),
        _ => false,
    }
}

/// Segment by segment, a literal before a parameter, and a parameter before the rest.
fn precedence(one: &[Segment<'_>], other: &[Segment<'_>]) -> Ordering {
    let rank = |segment: &Segment<'_>| match segment {
        Segment::Literal(_) => 0,
        Segment::Parameter => 1,
        Segment::Rest => 2,
    };
    one.iter().map(rank).cmp(other.iter().map(rank))
}
