//! What the pasby guide promises, over a real socket against the example server.

use std::collections::BTreeSet;

use crate::http2::Http2;
use crate::server::{Answer, Server};
use http::Method;
use serde_json::{Value, json};

const NO_KEY: &str = "An api key is needed to access our services.";
const NO_SECRET: &str = "App secret missing in headers.";
const NO_SECRET_AT_AUTHORIZE: &str = "App secret missing";

/// The published header matrix: k, s and t are key, secret and token; the first column is v2, the second v1.
const MATRIX: [(&str, &str, &str); 16] = [
    ("", "k", "k"),
    ("/health/check", "k", "k"),
    ("/identification/same-device", "ks", "ks"),
    ("/identification/different-device", "ks", "kt"),
    ("/identification/wildcard", "k", "k"),
    ("/signing/same-device", "ks", "kst"),
    ("/signing/different-device", "ks", "kt"),
    ("/signing/wildcard", "ks", ""),
    ("/flow/authorize", "", "ks"),
    ("/flow/ping", "ks", "kt"),
    ("/flow/cancel", "ks", "kt"),
    ("/flow/sse", "k", ""),
    ("/flow/polling", "kt", "kt"),
    ("/document/signing", "ks", "kt"),
    ("/document/review", "ks", "kt"),
    ("/document/refresh", "ks", "kt"),
];

/// Every route of the server with what it needs.
fn routes() -> Vec<(String, &'static str)> {
    let mut routes = vec![("/".to_owned(), "k"), ("/api/health/check".into(), "k")];
    for (path, v2, v1) in MATRIX {
        routes.extend(
            [("/api/v2", v2), ("/api/v1", v1)].map(|(version, needs)| (format!("{version}{path}"), needs)),
        );
    }
    routes.retain(|(_, needs)| !needs.is_empty());
    routes
}

/// Room for as many requests as the tests make.
fn start() -> Server {
    Server::start("pasby_flows", &[("ADDRESS_LIMIT", "100000")])
}

type Fields<'f> = Vec<(&'static str, &'f str)>;

/// The fields that are there.
fn fields<'f>(key: Option<&'f str>, secret: Option<&'f str>, token: Option<&'f str>) -> Fields<'f> {
    let parts = [("x-api-key", key), ("x-access-secret", secret), ("x-access-token", token)];
    parts.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

impl Server {
    /// The path of authorize, for an app that it printed.
    fn authorize_path(&self, app: &str) -> String {
        format!("/api/v1/flow/authorize?sub={}&app={}", self.get("CONSUMER_ID"), self.get(app))
    }

    fn authorize(&self, key: &str, secret: &str, app: &str) -> String {
        let fields = fields(Some(self.get(key)), Some(self.get(secret)), None);
        let answer = self.send("GET", &self.authorize_path(app), &fields, None);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.header("x-access-token").expect("the token is in a header field").to_owned()
    }

    fn test_token(&self) -> String {
        self.authorize("PASBY_API_KEY", "PASBY_APP_SECRET", "APP_ID")
    }
}

/// What is said of a request, in the words of the guide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Expected {
    Text(u16, &'static str),
    Envelope(u16, &'static str),
    Passes,
}

/// A part of the credential, as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Absent,
    Empty,
    Good,
    Bad,
}

impl Part {
    const ALL: [Self; 4] = [Self::Absent, Self::Empty, Self::Good, Self::Bad];

    fn is_there(self) -> bool {
        matches!(self, Self::Good | Self::Bad)
    }

    fn value<'v>(self, good: &'v str, bad: &'v str) -> Option<&'v str> {
        match self {
            Self::Absent => None,
            Self::Empty => Some(""),
            Self::Good => Some(good),
            Self::Bad => Some(bad),
        }
    }
}

fn expected(route: &str, needs: &str, [key, secret, token]: [Part; 3]) -> Expected {
    if !key.is_there() {
        return Expected::Text(401, NO_KEY);
    }
    if needs.contains('s') && !secret.is_there() {
        let is_authorize = route.ends_with("/authorize");
        return if is_authorize {
            Expected::Text(401, NO_SECRET_AT_AUTHORIZE)
        } else {
            Expected::Text(400, NO_SECRET)
        };
    }
    if needs.contains('t') && !token.is_there() {
        return Expected::Envelope(401, "authorization_error");
    }
    // Nothing rescues a part that is wrong, whether or not the route needs it.
    if [key, secret, token].contains(&Part::Bad) {
        return Expected::Envelope(401, "authorization_error");
    }
    Expected::Passes
}

fn said(status: u16, content_type: Option<&str>, body: &str) -> (u16, String) {
    match content_type {
        Some("text/plain") => (status, body.to_owned()),
        _ if status == 200 => (200, String::new()),
        Some("application/json") => {
            let json: Value = serde_json::from_str(body).unwrap();
            let mut members: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
            members.sort_unstable();
            assert_eq!(members, ["body", "code", "helper_url", "reason", "status", "type"], "{body}");
            assert_eq!((&json["status"], &json["code"]), (&json!("handled"), &json!(status)), "{body}");
            (status, format!("envelope {}", json["type"].as_str().unwrap()))
        }
        other => panic!("{other:?}: {body}"),
    }
}

impl Expected {
    fn said(self) -> (u16, String) {
        match self {
            Self::Text(status, text) => (status, text.to_owned()),
            Self::Envelope(status, kind) => (status, format!("envelope {kind}")),
            Self::Passes => (200, String::new()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_matrix_for_every_subset_of_parts_good_bad_and_absent() {
    let server = start();
    let (key, secret) = (server.get("PASBY_API_KEY"), server.get("PASBY_APP_SECRET"));
    let token = server.test_token();
    let bad_key = format!("bk-test_{}", "0".repeat(32));
    let bad_secret = format!("snb_{}", "0".repeat(32));
    let bad_token = server.authorize("OTHER_PASBY_API_KEY", "OTHER_PASBY_APP_SECRET", "OTHER_APP_ID");
    let mut http2 = Http2::connect(server.address()).await;
    let mut answers = BTreeSet::new();
    let mut requests = 0;
    for (route, needs) in routes() {
        let is_authorize = route.ends_with("/authorize");
        let path = if is_authorize { server.authorize_path("APP_ID") } else { route.clone() };
        for parts in Part::ALL
            .iter()
            .flat_map(|key| Part::ALL.iter().map(move |secret| (key, secret)))
            .flat_map(|(key, secret)| Part::ALL.iter().map(move |token| [*key, *secret, *token]))
        {
            let fields = fields(
                parts[0].value(key, &bad_key),
                parts[1].value(secret, &bad_secret),
                parts[2].value(&token, &bad_token),
            );
            let expected = expected(&route, needs, parts);
            let name = format!("{path}: key, secret, token {parts:?}");
            answers.insert(expected);
            for method in ["GET", "POST"] {
                let answer = server.send(method, &path, &fields, None);
                let answer = said(answer.status, answer.header("content-type"), &answer.body);
                assert_eq!(answer, expected.said(), "{method} {name}");
            }
            let bytes: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            let answer = http2.send(Method::POST, &path, &bytes).await.unwrap();
            let answer = said(answer.status(), answer.header("content-type"), &answer.body);
            assert_eq!(answer, expected.said(), "HTTP/2 {name}");
            requests += 1;
        }
    }
    assert_eq!(requests, 31 * 64, "routes and combinations");
    assert_eq!(answers.len(), 5, "every answer was seen: {answers:?}");
}

/// Any break between good parts, or in one of them.
#[test]
fn every_break_is_one_and_the_same_answer() {
    let server = start();
    let get = |name| server.get(name);
    let (key, secret, token) = (get("PASBY_API_KEY"), get("PASBY_APP_SECRET"), server.test_token());
    let (live_key, live_secret) = (get("PASBY_LIVE_API_KEY"), get("PASBY_LIVE_APP_SECRET"));
    let (other_key, other_secret) = (get("OTHER_PASBY_API_KEY"), get("OTHER_PASBY_APP_SECRET"));
    let live_token = server.authorize("PASBY_LIVE_API_KEY", "PASBY_LIVE_APP_SECRET", "LIVE_APP_ID");
    let other_token = server.authorize("OTHER_PASBY_API_KEY", "OTHER_PASBY_APP_SECRET", "OTHER_APP_ID");
    let edited_key = key.replace("test", "live");
    let edited_secret = secret.replace("snb", "prd");
    let longer = format!("{secret}x");
    let doubled = format!("{key}, {key}");
    let flipped = format!("{}{}", &token[..token.len() - 1], if token.ends_with('A') { "E" } else { "A" });
    let to_other_app = token.replace(get("APP_ID"), get("OTHER_APP_ID"));
    let (head, signature) = token.rsplit_once('.').unwrap();
    let later = format!("{}.9999999999999.{signature}", head.split('.').next().unwrap());
    let cases: Vec<(&str, [Option<&str>; 3])> = vec![
        ("a test key, a live secret", [Some(key), Some(live_secret), None]),
        ("a live key, a test secret", [Some(live_key), Some(secret), None]),
        ("another organization's secret", [Some(key), Some(other_secret), None]),
        ("another organization's key", [Some(other_key), Some(secret), None]),
        ("the key's mark edited", [Some(&edited_key), Some(secret), None]),
        ("the secret's mark edited", [Some(key), Some(&edited_secret), None]),
        ("a longer secret", [Some(key), Some(&longer), None]),
        ("two keys in one value", [Some(&doubled), Some(secret), None]),
        ("the key as the secret", [Some(key), Some(key), None]),
        ("the secret as the key", [Some(secret), Some(secret), None]),
        (
            "the guide's samples",
            [Some("bk-test_YOUR_KEY"), Some("YOUR_APP_SECRET"), Some("YOUR_BEARER_TOKEN")],
        ),
        ("a live token", [Some(key), Some(secret), Some(&live_token)]),
        ("another organization's token", [Some(key), Some(secret), Some(&other_token)]),
        ("a live key, a test token", [Some(live_key), Some(live_secret), Some(&token)]),
        ("a token of another's, with the own secret", [Some(other_key), Some(other_secret), Some(&token)]),
        ("the own token, another's secret", [Some(key), Some(other_secret), Some(&token)]),
        ("the token's signature changed", [Some(key), Some(secret), Some(&flipped)]),
        ("the token's app changed", [Some(key), Some(secret), Some(&to_other_app)]),
        ("the token's end put off", [Some(key), Some(secret), Some(&later)]),
        ("the secret as the token", [Some(key), Some(secret), Some(secret)]),
        ("a good token, a bad secret", [Some(key), Some(&edited_secret), Some(&token)]),
        ("a bad key, the rest good", [Some(&edited_key), Some(secret), Some(&token)]),
    ];
    let first = server.send("POST", "/api/v2/flow/ping", &fields(cases[0].1[0], cases[0].1[1], None), None);
    let wanted = json!({
        "status": "handled", "reason": "The credentials are not valid.", "type": "authorization_error", "code": 401,
        "helper_url": "https://docs.pasby.africa/docs/reference/errors", "body": null
    });
    assert_eq!((first.status, first.json()), (401, wanted));
    let comparable = |answer: Answer| {
        let varies = |name: &str| name == "date" || name.starts_with("x-ratelimit");
        (
            answer.status,
            answer.headers.into_iter().filter(|(name, _)| !varies(name)).collect::<Vec<_>>(),
            answer.body,
        )
    };
    let first = comparable(first);
    assert!(first.1.contains(&("www-authenticate".into(), r#"ApiKey header="x-api-key""#.into())));
    assert!(first.1.contains(&("cache-control".into(), "no-store".into())));
    for (name, [key, secret, token]) in cases {
        for path in ["/api/v2/flow/ping", "/api/v2/document/review", "/api/v2/no/such/path"] {
            let answer = server.send("POST", path, &fields(key, secret, token), None);
            assert_eq!(comparable(answer), first, "{name}: {path}");
        }
    }
    for (name, key, token) in [
        ("another mode's token", key, &live_token),
        ("another mode's key", live_key, &token),
        ("another organization's token", key, &other_token),
        ("another organization's key", other_key, &token),
        ("the signature changed", key, &flipped),
        ("the app changed", key, &to_other_app),
        ("the end put off", key, &later),
    ] {
        let answer = server.send("POST", "/api/v1/flow/ping", &fields(Some(key), None, Some(token)), None);
        assert_eq!(comparable(answer), first, "{name}");
    }
    assert_eq!(
        server.send("POST", "/api/v2/flow/ping", &fields(Some(key), Some(secret), None), None).status,
        200
    );
}

#[test]
fn authorize_grants_a_token_in_the_header_and_names_what_is_missing() {
    let server = start();
    let (key, secret) = (server.get("PASBY_API_KEY"), server.get("PASBY_APP_SECRET"));
    let (consumer, app) = (server.get("CONSUMER_ID"), server.get("APP_ID"));
    assert!(consumer.starts_with("bcn_") && app.starts_with("app_"));
    let path = |query: &str| format!("/api/v1/flow/authorize{query}");
    let good = path(&format!("?sub={consumer}&app={app}"));
    let credentials = fields(Some(key), Some(secret), None);

    let granted = server.send("GET", &good, &credentials, None);
    assert_eq!(granted.status, 200, "{}", granted.body);
    let token = granted.header("x-access-token").unwrap();
    assert!(!granted.body.contains(token), "in the header and not in the body");
    assert_eq!(granted.header("cache-control"), Some("no-store"));
    let ping = server.send("POST", "/api/v1/flow/ping", &fields(Some(key), None, Some(token)), None);
    assert_eq!((ping.status, &ping.json()["data"]["app"]), (200, &json!(app)));

    const NO_CONSUMER: &str = "Forbidden request. No consumer provided.";
    const NO_APP: &str = "Authorization grants are only given to apps not organizations.";
    let (only_key, nothing) = (fields(Some(key), None, None), fields(None, Some(secret), None));
    let (other_app, live_app) = (server.get("OTHER_APP_ID"), server.get("LIVE_APP_ID"));
    // Each with everything that comes later missing as well: key, secret, sub, app.
    for (name, fields, query, status, body) in [
        ("no key", &nothing, String::new(), 401, NO_KEY),
        ("no secret", &only_key, String::new(), 401, NO_SECRET_AT_AUTHORIZE),
        (
            "no secret, the rest good",
            &only_key,
            format!("?sub={consumer}&app={app}"),
            401,
            NO_SECRET_AT_AUTHORIZE,
        ),
        ("neither", &credentials, String::new(), 403, NO_CONSUMER),
        ("an app, no consumer", &credentials, format!("?app={app}"), 403, NO_CONSUMER),
        ("an empty consumer", &credentials, format!("?sub=&app={app}"), 403, NO_CONSUMER),
        ("a consumer without a value", &credentials, format!("?sub&app={app}"), 403, NO_CONSUMER),
        ("another's name", &credentials, format!("?Sub={consumer}&app={app}"), 403, NO_CONSUMER),
        ("no app", &credentials, format!("?sub={consumer}"), 400, NO_APP),
        ("an empty app", &credentials, format!("?sub={consumer}&app="), 400, NO_APP),
        ("another app", &credentials, format!("?sub={consumer}&app={other_app}"), 401, ""),
        ("the live app", &credentials, format!("?sub={consumer}&app={live_app}"), 401, ""),
        ("the app twice", &credentials, format!("?sub={consumer}&app={app}&app={app}"), 401, ""),
        ("two consumers", &credentials, format!("?sub={consumer}&sub=bcn_2&app={app}"), 401, ""),
    ] {
        let answer = server.send("GET", &path(&query), fields, None);
        assert_eq!(answer.header("x-access-token"), None, "{name}");
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        match body {
            "" => assert_eq!(answer.json()["reason"], "The credentials are not valid.", "{name}"),
            text => {
                assert_eq!(answer.body, text, "{name}");
                assert_eq!(answer.header("content-type"), Some("text/plain"), "{name}");
            }
        }
    }
    // There is none in v2, and the token of v2 comes with another answer.
    let answer = server.send("GET", &good.replace("v1", "v2"), &credentials, None);
    assert_eq!(answer.status, 404);
    let different = server.send("POST", "/api/v2/identification/different-device", &credentials, None);
    let polling = fields(Some(key), None, Some(different.header("x-access-token").unwrap()));
    assert_eq!(server.send("POST", "/api/v2/flow/polling", &polling, None).status, 200);
}

#[test]
fn fields_on_the_wire() {
    let server = start();
    let (key, secret, token) =
        (server.get("PASBY_API_KEY"), server.get("PASBY_APP_SECRET"), server.test_token());
    let ping = |version: &str, lines: &[&[u8]]| {
        let head = format!(
            "POST /api/{version}/flow/ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0"
        );
        let mut request = head.into_bytes();
        for line in lines {
            request.extend_from_slice(b"\r\n");
            request.extend_from_slice(line);
        }
        request.extend_from_slice(b"\r\n\r\n");
        server.raw(&request)
    };
    let line = |name: &str, value: &str| format!("{name}: {value}");
    let good = [line("x-api-key", key), line("x-access-secret", secret), line("x-access-token", &token)];
    let [k, s, t] = good.each_ref().map(|line| line.as_bytes());
    assert_eq!(ping("v2", &[k, s]).status, 200);
    assert_eq!(ping("v1", &[k, t]).status, 200);
    let upper = [line("X-API-KEY", key), line("X-Access-Secret", &format!(" \t{secret} "))];
    assert_eq!(
        ping("v2", &[upper[0].as_bytes(), upper[1].as_bytes()]).status,
        200,
        "names in any case, space around"
    );

    // Each field twice, equal or not, is no credential.
    for (name, version, lines) in [
        ("the key twice", "v2", vec![k, k, s]),
        ("a good and an empty key", "v2", vec![k, b"x-api-key:", s]),
        ("an empty and a good key", "v2", vec![b"x-api-key:", k, s]),
        ("the secret twice", "v2", vec![k, s, s]),
        ("a good and an empty secret", "v2", vec![k, s, b"x-access-secret:"]),
        (
            "a good and a bad secret",
            "v2",
            vec![k, s, b"x-access-secret: snb_00000000000000000000000000000000"],
        ),
        ("the token twice", "v1", vec![k, t, t]),
        ("the token twice where none is needed", "v2", vec![k, s, t, t]),
        ("a good and an empty token", "v1", vec![k, t, b"x-access-token:"]),
        ("a key beyond ASCII", "v2", vec![b"x-api-key: bk-test_\xff", s]),
        ("a secret beyond ASCII", "v2", vec![k, b"x-access-secret: snb_\xff\xfe"]),
        ("a token beyond ASCII", "v1", vec![k, b"x-access-token: ses_\xff"]),
        ("a tab in the secret", "v2", vec![k, b"x-access-secret: snb_\t0000"]),
    ] {
        let answer = ping(version, &lines);
        assert_eq!(answer.status, 401, "{name}");
        assert_eq!(answer.json()["type"], "authorization_error", "{name}");
    }
    // An empty field is none.
    for (lines, status, body) in [
        (vec![b"x-api-key:".as_slice(), s], 401, NO_KEY),
        (vec![b"x-api-key: \t ", s], 401, NO_KEY),
        (vec![s], 401, NO_KEY),
        (vec![k, b"x-access-secret:"], 400, NO_SECRET),
        (vec![k, b"x-access-secret:   "], 400, NO_SECRET),
        (vec![k], 400, NO_SECRET),
        // Underscores make another field.
        (vec![k, b"x_access_secret: x"], 400, NO_SECRET),
    ] {
        let answer = ping("v2", &lines);
        assert_eq!((answer.status, &*answer.body), (status, body));
        assert_eq!(answer.header("content-type"), Some("text/plain"));
    }
    // Long values, the query, and what HTTP itself rejects.
    let long = format!("x-access-secret: {}", "x".repeat(100_000));
    assert_eq!(ping("v2", &[k, long.as_bytes()]).status, 401, "a long value");
    for junk in [b"x-access-secret: a\0b".as_slice(), b"x-access-secret : x", b"\x00\x01\x02", b" folded: x"]
    {
        let answer = ping("v2", &[k, s, junk]);
        assert_eq!(answer.status, 400, "{junk:?}");
    }
    let query = format!("/api/v2/flow/ping?x-api-key={key}&x-access-secret={secret}");
    assert_eq!(server.send("POST", &query, &[], None).body, NO_KEY, "not from the query");
    let bearer = format!("Bearer {key}");
    assert_eq!(server.send("POST", "/api/v2/flow/ping", &[("authorization", &*bearer)], None).body, NO_KEY);
    assert_eq!(ping("v2", &[k, s]).status, 200, "still there");
}

#[test]
fn unknown_routes_and_methods_are_covered_too() {
    let server = start();
    let (key, secret) = (server.get("PASBY_API_KEY"), server.get("PASBY_APP_SECRET"));
    let (whole, only_key) = (fields(Some(key), Some(secret), None), fields(Some(key), None, None));
    for (method, path, status) in [
        ("GET", "/nope", 404),
        ("GET", "/api/v3/flow/ping", 404),
        ("POST", "/api/v1/signing/wildcard", 404),
        ("GET", "/api/v1/flow/sse", 404),
        ("DELETE", "/api/v2/flow/ping", 405),
        ("PURGE", "/api/v2/flow/ping", 405),
        ("OPTIONS", "/api/v2/flow/ping", 405),
    ] {
        let stranger = server.send(method, path, &[], None);
        assert_eq!((stranger.status, &*stranger.body), (401, NO_KEY), "{method} {path}");
        let answer = server.send(method, path, &only_key, None);
        assert_eq!((answer.status, &*answer.body), (400, NO_SECRET), "{method} {path}");
        let answer = server.send(method, path, &whole, None);
        assert_eq!(
            (answer.status, &answer.json()["type"]),
            (status, &json!("param_error")),
            "{method} {path}"
        );
    }
    // A path that could be read in two ways gets at nothing with less than everything.
    for path in
        ["//api/v2/flow/ping", "/api/v2/flow/../flow/ping", "/api/v2/flow/%70ing", "/api/v2/flow/ping;x"]
    {
        let answer = server.send("POST", path, &whole, None);
        assert_eq!((answer.status, &answer.json()["type"]), (401, &json!("authorization_error")), "{path}");
    }
    // HEAD needs what GET needs.
    assert_eq!(server.send("HEAD", "/api/health/check", &only_key, None).status, 200);
    assert_eq!(server.send("HEAD", "/api/v2/flow/ping", &only_key, None).status, 400);
}

#[test]
fn the_address_limit_comes_before_everything_and_believes_no_stranger() {
    let server = Server::start("pasby_flows", &[]);
    let (key, secret) = (server.get("PASBY_API_KEY"), server.get("PASBY_APP_SECRET"));
    let whole = fields(Some(key), Some(secret), None);
    for number in 0..100_u32 {
        let spoofed = format!("203.0.113.{number}");
        let name = ["cf-connecting-ip", "x-real-ip", "x-forwarded-for"][number as usize % 3];
        // The limit is on the address: without a key, on no route, with everything.
        let mut sent = if number % 2 == 0 { whole.clone() } else { Vec::new() };
        sent.push((name, &spoofed));
        let path = if number % 5 == 0 { "/nope" } else { "/api/v2/flow/ping" };
        let answer = server.send("POST", path, &sent, None);
        assert_ne!(answer.status, 429, "request {number}");
        assert_eq!(answer.number("x-ratelimit-remaining"), 99 - u64::from(number));
    }
    for sent in [whole.clone(), Vec::new(), [whole, vec![("x-forwarded-for", "198.51.100.1")]].concat()] {
        let answer = server.send("POST", "/api/v2/flow/ping", &sent, None);
        assert_eq!((answer.status, answer.header("content-type")), (429, Some("text/plain")));
        assert!(!answer.body.is_empty());
        assert!((1..=61).contains(&answer.number("retry-after")), "{:?}", answer.headers);
    }
}

#[test]
fn behind_named_proxies_the_address_is_in_one_of_three_fields() {
    let server =
        Server::start("pasby_flows", &[("ADDRESS_LIMIT", "2"), ("TRUSTED_PROXIES", "127.0.0.1 10.0.0.0/8")]);
    let remaining = |fields: &[(&str, &str)]| {
        let answer = server.send("GET", "/", fields, None);
        (answer.status, answer.number("x-ratelimit-remaining"))
    };
    let (cf, real, forwarded) = ("cf-connecting-ip", "x-real-ip", "x-forwarded-for");
    assert_eq!(remaining(&[(cf, "203.0.113.1")]), (401, 1));
    assert_eq!(remaining(&[(real, "203.0.113.1")]), (401, 0), "the same client");
    assert_eq!(remaining(&[(forwarded, "9.9.9.9, 203.0.113.1, 10.0.0.7")]), (429, 0), "and again");
    assert_eq!(remaining(&[(forwarded, "203.0.113.1, 203.0.113.2")]), (401, 1), "from the right");
    assert_eq!(
        remaining(&[(cf, "203.0.113.3"), (real, "203.0.113.1"), (forwarded, "203.0.113.1")]),
        (401, 1)
    );
    assert_eq!(remaining(&[(real, "203.0.113.4"), (forwarded, "203.0.113.1")]), (401, 1));
    assert_eq!(remaining(&[(cf, "2001:db8:1:2::1")]), (401, 1));
    assert_eq!(remaining(&[(cf, "2001:db8:1:2::2")]), (401, 0), "one network");
    // A field that can't be read makes no client of its own.
    assert_eq!(remaining(&[]), (401, 1), "the proxy's own");
    assert_eq!(remaining(&[(cf, "nonsense"), (real, "203.0.113.9")]), (401, 0));
    assert_eq!(remaining(&[(cf, "203.0.113.8"), (cf, "203.0.113.9")]), (429, 0));
}

#[test]
fn calls_are_metered_by_organization_and_mode() {
    let server = start();
    let metered = |key: &str| {
        let answer =
            server.send("GET", "/api/health/check", &fields(Some(server.get(key)), None, None), None);
        answer.json()["data"]["metered"].as_u64().unwrap()
    };
    let (key, secret) = (server.get("PASBY_API_KEY"), server.get("PASBY_APP_SECRET"));
    assert_eq!(metered("PASBY_API_KEY"), 0);
    assert_eq!(metered("PASBY_API_KEY"), 1, "the call before");
    for _ in 0..3 {
        server.send("POST", "/api/v2/flow/ping", &fields(Some(key), Some(secret), None), None);
    }
    server.send("POST", "/api/v2/nope", &fields(Some(key), Some(secret), None), None);
    server.send("POST", "/api/v2/flow/ping", &fields(None, Some(secret), None), None);
    assert_eq!(metered("PASBY_API_KEY"), 6);
    assert_eq!(metered("PASBY_LIVE_API_KEY"), 0, "live and test apart");
    assert_eq!(metered("OTHER_PASBY_API_KEY"), 0);
}

#[test]
fn the_printed_variables_and_curl_lines() {
    let server = start();
    for (name, prefix) in [
        ("PASBY_API_KEY", "bk-test_"),
        ("PASBY_APP_SECRET", "snb_"),
        ("PASBY_LIVE_API_KEY", "bk-live_"),
        ("PASBY_LIVE_APP_SECRET", "prd_"),
    ] {
        let random = server.get(name).strip_prefix(prefix).unwrap();
        assert!(random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
    }
    assert_eq!(server.paste_curl_lines(), [200, 200, 200, 401, 400, 401]);
}

#[test]
fn what_makes_no_sense_starts_nothing() {
    for (name, value) in [
        ("SIGNING_SECRET", ""),
        ("SIGNING_SECRET", "short"),
        ("ADDRESS_LIMIT", "0"),
        ("TRUSTED_PROXIES", "everyone"),
    ] {
        let server = Server::start("pasby_flows", &[(name, value)]);
        assert!(!server.printed.contains_key("BASE_URL"), "{name}={value}: {:?}", server.lines);
    }
}

#[test]
fn it_stops_cleanly_when_asked_to() {
    for signal in ["-INT", "-TERM"] {
        assert!(start().stop(signal), "{signal}");
    }
}
