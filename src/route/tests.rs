//! What a table finds, and that it never chooses another route than a router does.

use http::{Method, Request};
use proptest::prelude::*;

use super::Route;
use super::table::{RouteMatch, RouteTable};
use crate::request::RequestView;

fn request(method: &str, uri: &str) -> Request<()> {
    let mut request = Request::builder().method(method).body(()).unwrap();
    *request.uri_mut() = uri.parse().unwrap();
    request
}

/// A table that maps each pattern to itself.
fn table<'p>(rules: &[(Method, &'p str)]) -> RouteTable<&'p str> {
    rules.iter().fold(RouteTable::new(), |table, &(ref method, pattern)| {
        table.add(method.clone(), pattern, pattern).unwrap()
    })
}

fn outcome<'p>(table: &RouteTable<&'p str>, method: &str, uri: &str) -> &'p str {
    match table.find(RequestView::of(&request(method, uri))) {
        RouteMatch::Found(value) => value,
        RouteMatch::NotCovered => "not covered",
        RouteMatch::NotFound => "not found",
        RouteMatch::PathNotCanonical => "not canonical",
    }
}

#[test]
fn ambiguous_paths_match_nothing() {
    let table = table(&[
        (Method::GET, "/"),
        (Method::GET, "/admin"),
        (Method::GET, "/v1/workflows"),
        (Method::GET, "/v1/workflows/{id}"),
        (Method::GET, "/v1/slash/"),
        (Method::GET, "/files/{*rest}"),
        (Method::GET, "/files/secret"),
    ]);
    for (uri, want) in [
        ("/", "/"),
        ("/?a=/admin", "/"),
        ("/admin", "/admin"),
        ("/admin?x=%2e%2e;y", "/admin"),
        ("http://evil.example/admin", "/admin"),
        ("http://evil.example", "/"),
        ("http://evil.example/admin@x", "not covered"),
        ("//admin", "not canonical"),
        ("//", "not canonical"),
        ("///", "not canonical"),
        ("/admin//", "not canonical"),
        ("/./admin", "not canonical"),
        ("/a/../admin", "not canonical"),
        ("/admin/..", "not canonical"),
        ("/admin/../", "not canonical"),
        ("/admin/.", "not canonical"),
        ("/.", "not canonical"),
        ("/%61dmin", "not canonical"),
        ("/%2e/admin", "not canonical"),
        ("/files/a%2fb", "not canonical"),
        ("/files/a/..%2f../admin", "not canonical"),
        ("/files/a/../../admin", "not canonical"),
        ("/files//a", "not canonical"),
        ("/admin;x", "not canonical"),
        ("/admin;x=1/y", "not canonical"),
        ("/files/..\\admin", "not canonical"),
        ("/admin/", "not canonical"),
        ("/V1/workflows", "not covered"),
        ("/v1/Workflows", "not covered"),
        ("/v1/workflow", "not covered"),
        ("/v1/workflowss", "not covered"),
        ("/v1", "not covered"),
        ("/v1/workflows/7", "/v1/workflows/{id}"),
        ("/v1/workflows/...", "/v1/workflows/{id}"),
        ("/v1/workflows/{id}", "/v1/workflows/{id}"),
        ("/v1/workflows/", "not canonical"),
        ("/v1/workflows/7/", "not canonical"),
        ("/v1/workflows/7/run", "not covered"),
        ("/v1/slash/", "/v1/slash/"),
        ("/v1/slash", "not covered"),
        ("/files/a", "/files/{*rest}"),
        ("/files/a/b/c", "/files/{*rest}"),
        ("/files", "not covered"),
        ("/files/", "not canonical"),
        ("/files/secret", "/files/secret"),
        ("/files/secret/", "not canonical"),
        ("/files/secret/x", "/files/{*rest}"),
        ("*", "not canonical"),
    ] {
        assert_eq!(outcome(&table, "GET", uri), want, "GET {uri}");
    }
    assert_eq!(outcome(&table, "CONNECT", "evil.example:80"), "not canonical");
    assert_eq!(outcome(&table, "OPTIONS", "*"), "not canonical");
}

#[test]
fn head_is_treated_as_get_and_methods_without_a_rule_are_not_covered() {
    let table = table(&[(Method::GET, "/a"), (Method::POST, "/b"), (Method::OPTIONS, "/b")]);
    for (method, uri, want) in [
        ("GET", "/a", "/a"),
        ("HEAD", "/a", "/a"),
        ("HEAD", "/b", "not covered"),
        ("OPTIONS", "/b", "/b"),
        ("OPTIONS", "/a", "not covered"),
        ("POST", "/a", "not covered"),
        ("get", "/a", "not covered"),
        ("Get", "/a", "not covered"),
        ("head", "/a", "not covered"),
        ("PURGE", "/a", "not covered"),
        ("TRACE", "/a", "not covered"),
        ("CONNECT", "/a", "not covered"),
    ] {
        assert_eq!(outcome(&table, method, uri), want, "{method} {uri}");
    }
    let add = |method| RouteTable::new().add(method, "/a", ()).map(drop).unwrap_err().to_string();
    assert_eq!(add(Method::HEAD), "HEAD is treated as GET: write the rule for GET");
    assert_eq!(add(Method::TRACE), "TRACE cannot have a rule: it is always rejected");
    assert_eq!(add(Method::CONNECT), "CONNECT cannot have a rule: it is always rejected");
}

#[test]
fn the_most_specific_pattern_wins() {
    let table = table(&[
        (Method::GET, "/users/me"),
        (Method::GET, "/users/:id"),
        (Method::POST, "/users/{id}"),
        (Method::GET, "/users/me/keys/{key}"),
        (Method::GET, "/users/{id}/files/list"),
        (Method::GET, "/{*rest}"),
    ]);
    for (method, uri, want) in [
        ("GET", "/users/me", "/users/me"),
        ("GET", "/users/you", "/users/:id"),
        ("POST", "/users/you", "/users/{id}"),
        ("POST", "/users/me", "not covered"),
        ("GET", "/users/me/keys/1", "/users/me/keys/{key}"),
        ("GET", "/users/me/files/list", "/users/{id}/files/list"),
        ("GET", "/users/me/files/other", "/{*rest}"),
        ("GET", "/users", "/{*rest}"),
        ("GET", "/", "not covered"),
        ("DELETE", "/users", "not covered"),
    ] {
        assert_eq!(outcome(&table, method, uri), want, "{method} {uri}");
    }
}

/// A table with few siblings searches them differently from one with many.
#[test]
fn every_sibling_is_found_however_many_there_are() {
    for count in [1, 16, 17, 200] {
        let paths: Vec<String> = (0..count).map(|number| format!("/things/t{number}")).collect();
        let routes: Vec<_> = paths.iter().map(|path| (Method::GET, path.as_str())).collect();
        let table = table(&routes);
        for path in &paths {
            assert_eq!(outcome(&table, "GET", path), *path);
        }
        for other in [format!("/things/t{count}"), "/things/t".into(), "/things/u0".into(), "/things".into()]
        {
            assert_eq!(outcome(&table, "GET", &other), "not covered", "{other} of {count}");
        }
    }
}

#[test]
fn malformed_patterns_and_duplicates_are_errors() {
    for pattern in [
        "", "a", "*", "//", "/a//b", "//a", "/a//", "/.", "/a/../b", "/a/./b", "/%61", "/a;b", "/a?b",
        "/a#b", "/a b", "/ä", "/a\\b", "/{}", "/{*}", "/:", "/{a", "/a}", "/{a}b", "/a{b}", "/{{a}}",
        "/{a}{b}", "/{*a}/b", "/{*a}/", "/*", "/*a", "/a*", "/{a/b}", "/{a b}", "/{a*}", "/:a:b", "/{:a}",
    ] {
        let added = RouteTable::new().add(Method::GET, pattern, ()).map(drop);
        let error = added.clone().unwrap_err().to_string();
        assert!(error.starts_with(&format!("the path pattern {pattern:?} is malformed")), "{error}");
        assert_eq!(RouteTable::<()>::new().nest(pattern).map(drop), added, "{pattern}");
    }
    for (first, second, is_duplicate) in [
        ("/a/{id}", "/a/:key", true),
        ("/a/{*x}", "/a/{*y}", true),
        ("/", "/", true),
        ("/a", "/a/", false),
        ("/a/{id}", "/a/{*x}", false),
        ("/a/{id}", "/a/b", false),
    ] {
        let table = RouteTable::new().add(Method::GET, first, ()).unwrap();
        assert!(table.clone().add(Method::PUT, second, ()).is_ok(), "another method");
        let want = format!("there is a rule for GET {second} already");
        assert_eq!(
            table.add(Method::GET, second, ()).err().map(|error| error.to_string()),
            is_duplicate.then_some(want),
            "{first} {second}"
        );
    }
}

#[test]
fn a_prefix_is_added_to_every_pattern() {
    let inner = || table(&[(Method::GET, "/"), (Method::GET, "/runs/{id}"), (Method::GET, "/x/{*rest}")]);
    let nested = inner().nest("/api").unwrap().nest("/{tenant}/v1").unwrap();
    for (uri, want) in [
        ("/t/v1/api", "/"),
        ("/t/v1/api/runs/7", "/runs/{id}"),
        ("/t/v1/api/x/y/z", "/x/{*rest}"),
        ("/api/runs/7", "not covered"),
        ("/runs/7", "not covered"),
        ("/t/v1/runs/7", "not covered"),
    ] {
        assert_eq!(outcome(&nested, "GET", uri), want, "{uri}");
    }
    let shown = format!("{nested:?}");
    assert!(shown.contains(r#""GET /{tenant}/v1/api": "/""#), "{shown}");
    assert!(shown.contains("GET /{tenant}/v1/api/runs/{id}"), "{shown}");
    assert_eq!(
        outcome(&inner().nest("/").unwrap(), "GET", "/runs/7"),
        "/runs/{id}",
        "the root changes nothing"
    );
    for prefix in ["/api/", "/{*rest}", "/a/{*rest}"] {
        let error = inner().nest(prefix).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{prefix:?} is not a prefix of path patterns")), "{error}");
    }
}

#[test]
fn uncovered_routes_and_unused_rules_are_reported() {
    let table = table(&[
        (Method::GET, "/workflows/{id}"),
        (Method::POST, "/workflows"),
        (Method::GET, "/files/{*rest}"),
        (Method::PUT, "/wrokflows"),
    ]);
    let routes = || {
        [
            (Method::GET, "/workflows/{workflow}"),
            (Method::HEAD, "/workflows/{workflow}"),
            (Method::GET, "/workflows/latest"),
            (Method::POST, "/workflows"),
            (Method::DELETE, "/workflows"),
            (Method::GET, "/files/{*path}"),
            (Method::GET, "/files/{year}/{month}"),
            (Method::GET, "/files"),
            (Method::GET, "/{kind}/{id}"),
        ]
    };
    let named = |routes: Vec<Route>| routes.iter().map(ToString::to_string).collect::<Vec<_>>();
    let uncovered = [
        "GET /workflows/latest",
        "DELETE /workflows",
        "GET /files/{year}/{month}",
        "GET /files",
        "GET /{kind}/{id}",
    ];
    assert_eq!(named(table.uncovered(routes())), uncovered);
    assert_eq!(named(table.unused(routes())), ["PUT /wrokflows"]);

    let any = [Route::any_method("/workflows"), Route::any_method("/runs")];
    assert_eq!(named(table.uncovered(any)), ["any method /runs"]);
}

#[test]
fn a_trailing_slash_never_selects_a_less_specific_rule() {
    let table = table(&[(Method::GET, "/admin/{*rest}"), (Method::GET, "/{x}/{y}/")]);
    assert_eq!(outcome(&table, "GET", "/admin/users"), "/admin/{*rest}");
    assert_eq!(outcome(&table, "GET", "/admin/users/"), "not canonical", "routers take it for the first");
    assert_eq!(outcome(&table, "GET", "/home/users/"), "/{x}/{y}/");
}

/// Patterns and paths of few letters, so that they often match.
fn segments(of: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(prop::sample::select(of), 0..5)
}

fn joined(segments: &[&str]) -> String {
    if segments.is_empty() { "/".to_owned() } else { format!("/{}", segments.join("/")) }
}

/// How specifically a pattern matches, by segment: literal, parameter, rest; `None` if it does not.
fn naive_match(pattern: &[&str], path: &[&str]) -> Option<Vec<u8>> {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => Some(Vec::new()),
        (Some((&"{*r}", [])), Some(_)) => Some(vec![2]),
        (Some((first, others)), Some((text, further))) => {
            let rank = match *first {
                "{p}" => 1,
                literal if literal == *text => 0,
                _ => return None,
            };
            Some(std::iter::once(rank).chain(naive_match(others, further)?).collect())
        }
        _ => None,
    }
}

proptest! {
    #[test]
    fn a_table_finds_what_a_naive_matcher_finds(
        patterns in prop::collection::vec((segments(&["a", "b", "ab", "{p}"]), any::<bool>(), any::<bool>()), 0..12),
        path in segments(&["a", "b", "ab", "c"]),
        post in any::<bool>(),
    ) {
        let method = |post| if post { Method::POST } else { Method::GET };
        let mut table = RouteTable::new();
        let mut rules: Vec<(Method, Vec<&str>)> = Vec::new();
        for (mut pattern, has_rest, post) in patterns {
            if has_rest {
                pattern.push("{*r}");
            }
            let rule = (method(post), pattern);
            let added = table.clone().add(rule.0.clone(), &joined(&rule.1), rules.len());
            prop_assert_eq!(added.is_err(), rules.contains(&rule));
            if let Ok(added) = added {
                table = added;
                rules.push(rule);
            }
        }
        let best = rules.iter().filter_map(|(_, pattern)| naive_match(pattern, &path)).min();
        let want = rules.iter().position(|rule| {
            best.is_some() && rule.0 == method(post) && naive_match(&rule.1, &path) == best
        });
        let request = request(method(post).as_str(), &joined(&path));
        let found = match table.find(RequestView::of(&request)) {
            RouteMatch::Found(rule) => Some(*rule),
            _ => None,
        };
        prop_assert_eq!(found, want);
    }

    #[test]
    fn no_pattern_and_no_path_panics(pattern in "/?[/a{}*:.%;]{0,12}", path in "/[/a{}.;%]{0,12}") {
        if let Ok(table) = RouteTable::new().add(Method::GET, &pattern, "x") {
            let _ = outcome(&table.nest("/a").unwrap(), "GET", &path);
        }
    }
}

#[cfg(feature = "axum")]
mod router {
    use std::num::NonZeroUsize;
    use std::sync::Arc;

    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use http_body_util::BodyExt;
    use tower::{Layer, ServiceExt};

    use super::*;
    use crate::address::{ClientAddressSource, PeerAddress};
    use crate::clock::{Clock, SystemClock};
    use crate::limit::MemoryRateLimiter;
    use crate::route::RouteMatching;
    use crate::{ApiKeys, KeyFormat, MemoryStore, Quota, RateLimit};

    const PATTERNS: [&str; 12] = [
        "/",
        "/a",
        "/a/",
        "/b",
        "/{x}",
        "/a/b",
        "/a/{x}",
        "/{x}/b",
        "/{x}/{y}/",
        "/a/b/{*rest}",
        "/b/{*rest}",
        "/{x}/{y}/{*rest}",
    ];

    proptest! {
        /// For the handler that a router chooses, the table uses the rule of that handler's route, or none; inside the
        /// router by the matched route, outside by the path. Its rate limit is the one of that route.
        #[test]
        fn router_and_table_never_choose_different_routes(
            chosen in prop::collection::vec(prop::bool::ANY, PATTERNS.len()),
            paths in prop::collection::vec("(/(a|b|c|%61|a;b|\\.|\\.\\.|)){1,4}/?", 20),
        ) {
            let patterns = PATTERNS.into_iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(pattern, _)| pattern);
            let (mut app, mut table) = (Router::<()>::new(), RouteTable::new().with_matching(RouteMatching::MatchedPath));
            // Each route has its own category, recognized by its limit.
            let quota = |limit: usize| Quota::per_minute(u32::try_from(limit).unwrap()).unwrap();
            let mut limits = RateLimit::per_address("rest", quota(999));
            for pattern in patterns {
                let says = move || async move { pattern };
                app = app.route(pattern, get(says));
                table = table.add(Method::GET, pattern, pattern).unwrap();
                let index = PATTERNS.iter().position(|other| *other == pattern).unwrap();
                limits = limits.route("GET", pattern, pattern, quota(100 + index));
            }
            let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("wfk_").unwrap())
                .header("x-api-key")
                .client_address(ClientAddressSource::peer())
                .limit(limits)
                .limiters(|category, quotas| {
                    let limiter = MemoryRateLimiter::new(category, quotas, SystemClock.now()).unwrap();
                    Arc::new(limiter.with_capacity(NonZeroUsize::MIN))
                })
                .match_routes(RouteMatching::MatchedPath)
                .without_route_table();
            let keys = keys.build().unwrap();
            let inner = table.clone();
            let judge = axum::middleware::from_fn(move |request: axum::extract::Request, next: axum::middleware::Next| {
                let rule = match inner.find(RequestView::of(&request)) {
                    RouteMatch::Found(rule) => *rule,
                    _ => "none",
                };
                async move {
                    let mut response = next.run(request).await;
                    response.extensions_mut().insert(rule);
                    response
                }
            });
            let app = keys.limit_addresses().layer(app.layer(judge));
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            for path in paths {
                let mut request = Request::get(path.as_str()).body(Body::empty()).unwrap();
                request.extensions_mut().insert(PeerAddress([203, 0, 113, 9].into()));
                let outside = table.find(RequestView::of(&request));
                let response = runtime.block_on(app.clone().oneshot(request)).unwrap();
                let inside = response.extensions().get::<&'static str>().copied();
                let limit: usize = response.headers()["x-ratelimit-limit"].to_str().unwrap().parse().unwrap();
                let is_served = response.status() == StatusCode::OK;
                let served = runtime.block_on(response.into_body().collect()).unwrap().to_bytes();
                let served = str::from_utf8(&served).unwrap();
                if is_served {
                    prop_assert_eq!(inside, Some(served), "{}", &path);
                    let category = limit.checked_sub(100).and_then(|index| PATTERNS.get(index).copied());
                    prop_assert_eq!(category, Some(served), "{}: the limit", &path);
                }
                if let RouteMatch::Found(rule) = outside {
                    prop_assert!(!is_served || *rule == served, "{}: {} is judged by {}", path, served, rule);
                }
            }
        }
    }
}
