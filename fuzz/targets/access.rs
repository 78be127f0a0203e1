//! Decides which callers may use a route.
//!
//! The first line has the scopes of all callers, and the rank of their role: `3 a:b c:*`. Each further line is the rule of a
//! route, from outside to inside: `system role:2 all a:b c:d`, `role:1 any a:b c:d`, `key`, `public`.
#![no_main]

use http::Request;
use libfuzzer_sys::fuzz_target;
use tower_api_keys::identity::{OrganizationRule, Role, Session};
use tower_api_keys::key::{Mode, Owner, SecretString};
use tower_api_keys::route::Access;
use tower_api_keys::scope::{Scope, ScopeRequirement, ScopeSet};
use tower_api_keys::{ApiKeys, KeyFormat};
use tower_api_keys_fuzz::{call, record, rejection, store};

fuzz_target!(|input: &str| check(input));

const OF_ORGANIZATION: &str = "wfk_abc123def456ghi789jkl012mno345pq";
const OF_SYSTEM: &str = "wfk_ABC123def456ghi789jkl012mno345pq";
const UNKNOWN: &str = "wfk_00000000000000000000000000000000";
/// Tokens of sessions.
const MEMBER: &str = "member";
const STAFF: &str = "staff";

/// What a rule asks for, in any order.
#[derive(Clone, Debug)]
struct Rule {
    needs_system: bool,
    roles: Vec<u8>,
    /// The scopes, and whether one is enough.
    scopes: Option<(Vec<String>, bool)>,
    is_public: bool,
}

fn check(input: &str) {
    let mut lines = input.split('\n');
    let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let rank: u8 = first[0].parse().unwrap_or(0);
    let held: Vec<&str> = first[1..].iter().copied().filter(|word| word.parse::<Scope>().is_ok()).collect();
    let rules: Vec<(Access, Rule)> = lines.take(6).filter_map(rule).collect();

    let records = [("organization", OF_ORGANIZATION), ("system", OF_SYSTEM)].map(|(id, text)| {
        let mut record = record(id, text, Mode::Live);
        record.scopes = ScopeSet::parse_list(held.iter().copied()).unwrap();
        if id == "system" {
            record.owner = Owner::system(Mode::Live);
        }
        record
    });
    let roles = OrganizationRule::context().key_roles(move |_| Role::of_rank(rank));
    let scopes = ScopeSet::parse_list(held.iter().copied()).unwrap();
    let sessions = move |token: &SecretString| {
        let owner = match token.expose_secret() {
            MEMBER => Owner::organization("acme".parse().unwrap(), Mode::Live),
            _ => Owner::system(Mode::Live),
        };
        Some(Session::new("ada").with_owner(owner, Role::of_rank(rank), scopes.clone()))
    };
    let mut builder = ApiKeys::builder(store(records), KeyFormat::new("wfk_").unwrap());
    builder = builder.header("x-api-key").bearer().sessions(sessions);
    builder = builder.organization(roles).attach_rejections();
    for (index, (access, _)) in rules.iter().enumerate() {
        builder = builder.route("GET", format!("/{index}"), access.clone());
    }
    let is_misplaced = |rule: &Rule| rule.is_public && (rule.needs_system || !rule.roles.is_empty());
    let is_valid = !rules.is_empty() && !rules.iter().any(|(_, rule)| is_misplaced(rule));
    let built = builder.build();
    assert_eq!(built.is_ok(), is_valid, "{rules:?}: {:?}", built.err().map(|error| error.to_string()));
    let Ok(keys) = built else { return };
    let layer = keys.layer();
    for (index, (_, rule)) in rules.iter().enumerate() {
        for caller in [None, Some(OF_ORGANIZATION), Some(OF_SYSTEM), Some(UNKNOWN), Some(MEMBER), Some(STAFF)]
        {
            let mut request = Request::get(format!("/{index}"));
            match caller {
                Some(token @ (MEMBER | STAFF)) => {
                    request = request.header("authorization", format!("Bearer {token}"));
                }
                Some(key) => request = request.header("x-api-key", key),
                None => {}
            }
            let response = call(&layer, request.body(()).unwrap());
            let code = rejection(&response).map(|rejection| rejection.reason().code());
            let is_system = matches!(caller, Some(OF_SYSTEM | STAFF));
            // On a route of the system a key has none.
            let has_role = !(rule.needs_system && caller == Some(OF_SYSTEM));
            let mut faults = Vec::new();
            match caller {
                None if !rule.is_public => faults.push("credential_missing"),
                None => {}
                Some(UNKNOWN) => faults.push("key_unknown"),
                // It has to name the organization that it acts for.
                Some(OF_SYSTEM | STAFF) if !rule.needs_system => faults.push("organization_missing"),
                Some(_) => {
                    faults.extend((rule.needs_system && !is_system).then_some("tier_mismatch"));
                    let is_too_low = |needed: &u8| *needed > rank || !has_role;
                    faults.extend(rule.roles.iter().any(is_too_low).then_some("role_too_low"));
                    let is_held = |scope: &String| {
                        let all = format!("{}:*", scope.split(':').next().unwrap());
                        held.iter().any(|held| held == scope || *held == all)
                    };
                    let is_met =
                        rule.scopes.as_ref().is_none_or(|(scopes, is_one_enough)| match is_one_enough {
                            true => scopes.iter().any(is_held),
                            false => scopes.iter().all(is_held),
                        });
                    faults.extend((!is_met).then_some("scope_missing"));
                }
            }
            let is_right = code.map_or(faults.is_empty(), |code| faults.contains(&code));
            assert!(is_right, "{rule:?} with {held:?}, {caller:?}: {code:?}, and not {faults:?}");
            let status = match caller {
                _ if faults.is_empty() => 200,
                _ if faults == ["organization_missing"] => 400,
                None | Some(UNKNOWN) => 401,
                Some(_) => 403,
            };
            assert_eq!(response.status(), status, "{rule:?}");
        }
    }
}

/// Each word is around what follows it.
fn rule(line: &str) -> Option<(Access, Rule)> {
    let words: Vec<&str> = line.split(' ').collect();
    let rest = &words[1..];
    let mut plain = Rule { needs_system: false, roles: Vec::new(), scopes: None, is_public: false };
    let inner = || (!rest.is_empty()).then(|| rule(&rest.join(" "))).flatten();
    match words[0] {
        "public" => {
            plain.is_public = true;
            Some((Access::Public, plain))
        }
        "key" => Some((Access::AnyKey, plain)),
        "all" | "any" => {
            let scopes: Option<Vec<Scope>> = rest.iter().map(|word| word.parse().ok()).collect();
            let is_one_enough = words[0] == "any";
            let requirement = match is_one_enough {
                true => ScopeRequirement::any_of(scopes?),
                false => ScopeRequirement::all_of(scopes?),
            };
            plain.scopes = Some((rest.iter().map(|word| (*word).to_owned()).collect(), is_one_enough));
            Some((Access::from(requirement.ok()?), plain))
        }
        "system" => {
            let (access, rule) = inner()?;
            Some((access.of_system(), Rule { needs_system: true, ..rule }))
        }
        word => {
            let needed: u8 = word.strip_prefix("role:")?.parse().ok()?;
            let (access, mut rule) = inner()?;
            rule.roles.push(needed);
            Some((access.with_role(Role::of_rank(needed)), rule))
        }
    }
}
