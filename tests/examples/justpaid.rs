//! What the JustPaid Workflows guide promises, over a real socket against the example server.

use std::collections::HashSet;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::server::{Answer, Server};
use serde_json::{Value, json};

const UNAUTHORIZED: &str =
    r#"{"success":false,"error":{"code":"UNAUTHORIZED","message":"Invalid or missing API key"}}"#;
const FORBIDDEN: &str = r#"{"success":false,"error":{"code":"FORBIDDEN","message":"Insufficient permissions for this operation"}}"#;

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn start() -> Server {
    Server::start("justpaid_workflows", &[])
}

impl Server {
    fn with_key(&self, key: &str, method: &str, path: &str) -> Answer {
        self.send(method, path, &[("x-api-key", key)], None)
    }

    fn with_json(&self, key: &str, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[("x-api-key", key), JSON], Some(&body.to_string()))
    }

    fn all(&self) -> &str {
        self.get("WORKFLOWS_API_KEY")
    }

    /// A new key with these scopes.
    fn mint(&self, scopes: &[&str]) -> (String, String) {
        let body = json!({ "name": "minted", "scopes": scopes });
        let answer = self.with_json(self.all(), "POST", "/auth/api-keys", &body);
        assert_eq!(answer.status, 201, "{}", answer.body);
        let data = &answer.json()["data"];
        (data["id"].as_str().unwrap().to_owned(), data["key"].as_str().unwrap().to_owned())
    }

    fn new_workflow(&self) -> String {
        let answer = self.with_json(self.all(), "POST", "/workflows", &json!({ "name": "Dunning" }));
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["data"]["id"].as_str().unwrap().to_owned()
    }
}

fn unix_now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[test]
fn keys_are_wfk_and_32_random_alphanumerics() {
    let server = start();
    let mut seen = HashSet::new();
    for key in [server.all().to_owned(), server.get("READ_ONLY_API_KEY").to_owned(), server.mint(&[]).1] {
        let random = key.strip_prefix("wfk_").unwrap();
        assert_eq!(random.len(), 32);
        assert!(random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{key}");
        assert!(seen.insert(key));
    }
}

#[test]
fn every_request_must_carry_a_good_key() {
    let server = start();
    let key = server.all().to_owned();
    let lower = key.to_ascii_lowercase();
    let upper = key.to_ascii_uppercase();
    let short = &key[..key.len() - 1];
    let long = format!("{key}x");
    let twice = format!("{key}, {key}");
    let huge = "x".repeat(100_000);
    let bad = [
        ("none", None),
        ("empty", Some("")),
        ("prefix only", Some("wfk_")),
        ("the guide's placeholder", Some("wfk_your_api_key_here")),
        ("the guide's example", Some("wfk_abc123def456ghi789jkl012mno345pq")),
        ("another case", Some(if lower == key { &upper } else { &lower })),
        ("one short", Some(short)),
        ("one too many", Some(&long)),
        ("two in one value", Some(&twice)),
        ("100 000 bytes", Some(&huge)),
        ("SQL", Some("wfk_' OR '1'='1' --AAAAAAAAAAAAAAAAA")),
    ];
    for (name, key) in bad {
        for (method, path) in [
            ("GET", "/workflows"),
            ("PATCH", "/workflows"),
            ("PURGE", "/workflows/x/run"),
            ("DELETE", "/auth/api-keys/x"),
            ("GET", "/no/such/path"),
        ] {
            let headers: Vec<_> = key.map(|key| ("x-api-key", key)).into_iter().collect();
            let answer = server.send(method, path, &headers, None);
            assert_eq!((answer.status, answer.body.as_str()), (401, UNAUTHORIZED), "{name}: {method} {path}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
            assert_eq!(answer.header("www-authenticate"), Some(r#"ApiKey header="x-api-key""#), "{name}");
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
            assert_eq!(answer.header("x-ratelimit-limit"), None, "{name}: not authenticated, so no limit");
            assert_eq!(answer.header("allow"), Some(""), "{name}: strangers learn no routes");
        }
    }
    assert_eq!(server.with_key(&key, "GET", "/workflows").status, 200);
}

#[test]
fn hostile_headers_are_rejected_and_the_server_lives() {
    let server = start();
    let key = server.all().to_owned();
    let request = |lines: &str| {
        format!("GET /api/v1/workflows HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{lines}\r\n")
    };
    let good = format!("x-api-key: {key}\r\n");
    let cases = [
        ("the key twice", format!("{good}{good}"), 401),
        ("a good key and an empty line", format!("{good}x-api-key:\r\n"), 401),
        ("an underscore alias", format!("x_api_key: {key}\r\n"), 401),
        ("in Authorization", format!("Authorization: Bearer {key}\r\n"), 401),
        ("a NUL", "x-api-key: wfk_\0\r\n".into(), 400),
        ("a folded line", format!("x-api-key:\r\n {key}\r\n"), 400),
        ("a space before the colon", format!("x-api-key : {key}\r\n"), 400),
        ("upper-case field name", format!("X-API-KEY: {key}\r\n"), 200),
        ("space around the value", format!("x-api-key: \t {key} \t\r\n"), 200),
    ];
    for (name, lines, status) in cases {
        assert_eq!(server.raw(request(&lines).as_bytes()).status, status, "{name}");
    }
    let obs_text = [request("").trim_end().as_bytes(), b"\r\nx-api-key: wfk_\xff\xfe\r\n\r\n"].concat();
    assert_eq!(server.raw(&obs_text).status, 401, "bytes above 0x7F");
    let query = server.send("GET", &format!("/workflows?x-api-key={key}&api_key={key}"), &[], None);
    assert_eq!(query.status, 401, "not from the query");
    assert_eq!(server.with_key(&key, "GET", "/workflows").status, 200);
}

#[test]
fn each_scope_opens_its_routes_and_no_others() {
    let server = start();
    let workflow = server.new_workflow();
    let create = json!({ "name": "x" });
    let connection = json!({ "name": "x", "provider": "slack" });
    let run = |path: &str| path.replace(":id", &workflow);
    // Scope, method, path, body, status with the scope.
    let table = [
        ("workflows:read", "GET", "/workflows", None, 200),
        ("workflows:read", "GET", "/workflows/:id", None, 200),
        ("workflows:write", "POST", "/workflows", Some(&create), 201),
        ("workflows:write", "PUT", "/workflows/:id", Some(&create), 200),
        ("workflows:write", "DELETE", "/workflows/none", None, 404),
        ("workflows:execute", "POST", "/workflows/:id/run", None, 201),
        ("workflows:execute", "POST", "/runs/none/cancel", None, 404),
        ("workflows:execute", "POST", "/runs/none/retry", None, 404),
        ("runs:read", "GET", "/runs", None, 200),
        ("runs:read", "GET", "/runs/none", None, 404),
        ("connections:read", "GET", "/connections", None, 200),
        ("connections:write", "POST", "/connections", Some(&connection), 201),
        ("connections:write", "DELETE", "/connections/none", None, 404),
        ("api-keys:read", "GET", "/auth/api-keys", None, 200),
        ("api-keys:write", "DELETE", "/auth/api-keys/none", None, 404),
    ];
    let scopes: HashSet<&str> = table.iter().map(|row| row.0).collect();
    let keys: Vec<_> = scopes.iter().map(|scope| (*scope, server.mint(&[scope]).1)).collect();
    for (held, key) in &keys {
        for (needed, method, path, body, status) in &table {
            let answer = match body {
                Some(body) => server.with_json(key, method, &run(path), body),
                None => server.with_key(key, method, &run(path)),
            };
            if held == needed {
                assert_eq!(answer.status, *status, "{held}: {method} {path}: {}", answer.body);
            } else {
                assert_eq!(
                    (answer.status, answer.body.as_str()),
                    (403, FORBIDDEN),
                    "{held}: {method} {path}"
                );
            }
            assert!(
                answer.header("x-ratelimit-limit").is_some(),
                "{held}: {method} {path}: {}",
                answer.status
            );
        }
    }
    // `POST /auth/api-keys` on its own: a key can't give what it does not hold.
    let minter = &keys.iter().find(|(scope, _)| *scope == "api-keys:write").unwrap().1;
    let none = server.with_json(
        minter,
        "POST",
        "/auth/api-keys",
        &json!({ "name": "x", "scopes": ["api-keys:write"] }),
    );
    assert_eq!(none.status, 201);
}

#[test]
fn head_needs_what_get_needs() {
    let server = start();
    let writer = server.mint(&["workflows:write"]).1;
    assert_eq!(server.with_key(server.get("READ_ONLY_API_KEY"), "HEAD", "/workflows").status, 200);
    assert_eq!(server.with_key(&writer, "HEAD", "/workflows").status, 403);
}

#[test]
fn other_paths_and_methods_are_rejected_in_the_published_envelope() {
    let server = start();
    for (method, path, status) in [
        ("GET", "/nope", 404),
        ("GET", "/workflows/none", 404),
        ("GET", "//workflows", 404),
        ("GET", "/workflows/", 404),
        ("GET", "/Workflows", 404),
        ("GET", "/%77orkflows", 404),
        ("GET", "/workflows/..%2f..%2fauth%2fapi-keys", 404),
        ("PATCH", "/workflows", 405),
        ("PURGE", "/workflows", 405),
        ("get", "/workflows", 405),
        ("TRACE", "/workflows", 405),
        ("OPTIONS", "/workflows", 405),
    ] {
        let answer = server.with_key(server.all(), method, path);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert_eq!(answer.json()["success"], false, "{method} {path}");
        if method != "OPTIONS" {
            assert!(answer.header("x-ratelimit-remaining").is_some(), "{method} {path}");
        }
        let stranger = server.send(method, path, &[], None);
        assert_eq!((stranger.status, stranger.body.as_str()), (401, UNAUTHORIZED), "{method} {path}");
    }
}

#[test]
fn workflows_runs_and_connections_do_something() {
    let server = start();
    let key = server.all();
    let id = server.new_workflow();
    let path = format!("/workflows/{id}");
    let updated =
        server.with_json(key, "PUT", &path, &json!({ "name": "Renamed", "steps": [{ "action": "email" }] }));
    assert_eq!(updated.json()["data"]["name"], "Renamed");
    assert_eq!(server.with_key(key, "GET", &path).json()["data"]["name"], "Renamed");

    let run = server.with_key(key, "POST", &format!("{path}/run")).json()["data"].clone();
    assert_eq!((&run["status"], &run["workflowId"]), (&json!("running"), &json!(id)));
    let run = format!("/runs/{}", run["id"].as_str().unwrap());
    assert_eq!(server.with_key(key, "POST", &format!("{run}/retry")).status, 409, "it is still running");
    assert_eq!(server.with_key(key, "POST", &format!("{run}/cancel")).json()["data"]["status"], "cancelled");
    assert_eq!(server.with_key(key, "POST", &format!("{run}/cancel")).status, 409, "it is cancelled already");
    let retried = server.with_key(key, "POST", &format!("{run}/retry"));
    assert_eq!(retried.status, 201);
    assert_eq!(server.with_key(key, "GET", "/runs").json()["data"].as_array().unwrap().len(), 2);
    assert_eq!(server.with_key(key, "GET", &run).json()["data"]["status"], "cancelled");

    let body = json!({ "name": "Team chat", "provider": "slack" });
    let connection = server.with_json(key, "POST", "/connections", &body).json()["data"].clone();
    let connection = format!("/connections/{}", connection["id"].as_str().unwrap());
    assert_eq!(server.with_key(key, "GET", "/connections").json()["data"].as_array().unwrap().len(), 1);
    assert_eq!(server.with_key(key, "DELETE", &connection).status, 200);
    assert_eq!(server.with_key(key, "DELETE", &connection).status, 404);

    for (body, field) in
        [("{", "body"), ("[]", "body"), (r#"{"name":""}"#, "name"), (r#"{"name":"x","id":"y"}"#, "body")]
    {
        let answer = server.send("POST", "/workflows", &[("x-api-key", key), JSON], Some(body));
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["code"], "VALIDATION_ERROR", "{body}");
        assert_eq!(answer.json()["error"]["details"][0]["field"], field, "{body}");
    }
    assert_eq!(server.with_key(key, "DELETE", &path).status, 200);
    assert_eq!(server.with_key(key, "GET", &path).status, 404);
}

#[test]
fn categories_are_limited_as_published_each_on_its_own() {
    let server = start();
    let key = server.all();
    for (method, path, limit) in [
        ("GET", "/workflows", 1000),
        ("HEAD", "/runs", 1000),
        ("POST", "/workflows", 100),
        ("PUT", "/workflows/x", 100),
        ("DELETE", "/connections/x", 100),
        ("POST", "/workflows/x/run", 500),
        ("POST", "/runs/x/cancel", 500),
        ("POST", "/runs/x/retry", 500),
    ] {
        assert_eq!(server.with_key(key, method, path).number("x-ratelimit-limit"), limit, "{method} {path}");
    }
    let reads = server.with_key(key, "GET", "/workflows");
    assert_eq!(
        reads.number("x-ratelimit-remaining"),
        997,
        "the third read; writes and executions count elsewhere"
    );
    let before = unix_now();
    let reset = server.with_key(key, "GET", "/workflows").number("x-ratelimit-reset") as f64;
    assert!(
        reset > before && reset <= before + 62.0,
        "Unix time in seconds, within the window: {reset} at {before}"
    );
    assert_eq!(reads.header("ratelimit-policy"), Some(r#""read";q=1000;w=60"#));
    let other = server.mint(&["workflows:read"]).1;
    assert_eq!(server.with_key(&other, "GET", "/workflows").number("x-ratelimit-remaining"), 999, "per key");
}

#[test]
fn over_the_limit_is_429_as_published_and_the_limit_is_exact() {
    let server = Server::start("justpaid_workflows", &[]);
    let key = server.mint(&["workflows:write"]).1;
    let mut admitted = 0;
    let denied = loop {
        let answer = server.with_key(&key, "DELETE", "/workflows/none");
        match answer.status {
            404 => admitted += 1,
            429 => break answer,
            status => panic!("unexpected {status}: {}", answer.body),
        }
        assert!(admitted <= 100, "never more than the limit");
    };
    assert_eq!(admitted, 100);
    let body = r#"{"success":false,"error":{"code":"RATE_LIMITED","message":"Rate limit exceeded. Limit: 100 requests per minute."}}"#;
    assert_eq!(denied.body, body);
    assert_eq!(denied.number("x-ratelimit-limit"), 100);
    assert_eq!(denied.number("x-ratelimit-remaining"), 0);
    let (now, reset) = (unix_now(), denied.number("x-ratelimit-reset") as f64);
    let retry_after = denied.number("retry-after") as f64;
    assert!(reset > now && reset <= now + 62.0, "{reset} at {now}");
    assert!(
        (now + retry_after - reset).abs() <= 2.0,
        "Retry-After {retry_after} and Reset {reset} are one instant"
    );
    assert_eq!(denied.header("cache-control"), Some("no-store"));
    let scope_and_limit = server.with_key(&key, "POST", "/connections");
    assert_eq!(scope_and_limit.status, 429, "429 comes before 403");
}

/// The loop of the guide: on 429 it sleeps until `X-RateLimit-Reset` and tries again, three times at most.
#[test]
fn the_published_retry_loop_gets_through_by_itself() {
    let server = Server::start("justpaid_workflows", &[("READ_LIMIT", "3"), ("WINDOW_SECONDS", "2")]);
    let fetch_with_retry = || {
        for _ in 0..3 {
            let answer = server.with_key(server.all(), "GET", "/workflows");
            if answer.status != 429 {
                return Some(answer);
            }
            let wait = answer.number("x-ratelimit-reset") as f64 - unix_now();
            assert!(wait < 4.0, "told to wait {wait} s for a window of 2 s");
            thread::sleep(Duration::from_secs_f64(wait.max(0.0)));
        }
        None
    };
    for request in 0..10 {
        let answer = fetch_with_retry().unwrap_or_else(|| panic!("request {request} ran out of tries"));
        assert_eq!(answer.status, 200);
    }
    for _ in 0..3 {
        server.with_key(server.all(), "GET", "/workflows");
    }
    let denied = server.with_key(server.all(), "GET", "/workflows");
    assert!(denied.body.contains("Limit: 3 requests per 2 seconds."), "{}", denied.body);
}

#[test]
fn webhooks_need_no_key_and_are_limited_by_address() {
    let server = Server::start("justpaid_workflows", &[("WEBHOOK_LIMIT", "3")]);
    for spoofed in ["203.0.113.1", "203.0.113.2", "203.0.113.3", "203.0.113.4"] {
        let answer = server.send("POST", "/webhooks/stripe", &[("X-Forwarded-For", spoofed)], Some("{}"));
        assert_eq!(
            answer.status,
            if spoofed.ends_with('4') { 429 } else { 200 },
            "one bucket, whatever is forwarded"
        );
    }
    let other_source = server.send("POST", "/webhooks/github", &[], Some("{}"));
    assert_eq!(other_source.status, 429, "one bucket for all sources");
    let body = r#"{"success":false,"error":{"code":"RATE_LIMITED","message":"Rate limit exceeded. Limit: 3 requests per minute."}}"#;
    assert_eq!(other_source.body, body);
    assert_eq!(server.with_key(server.all(), "GET", "/workflows").status, 200, "keys are not concerned");
}

#[test]
fn keys_are_created_listed_and_revoked() {
    let server = start();
    let body = json!({ "name": "Production API Key", "scopes": ["workflows:read", "workflows:write", "workflows:execute"] });
    let created = server.with_json(server.all(), "POST", "/auth/api-keys", &body);
    assert_eq!((created.status, &created.json()["success"]), (201, &json!(true)));
    assert_eq!(created.header("cache-control"), Some("no-store"));
    let data = created.json()["data"].clone();
    let (id, key) = (data["id"].as_str().unwrap(), data["key"].as_str().unwrap());
    assert_eq!(data["name"], "Production API Key");
    assert_eq!(server.with_key(key, "GET", "/workflows").status, 200);
    assert_eq!(server.with_key(key, "GET", "/runs").status, 403);

    let listed = server.with_key(server.all(), "GET", "/auth/api-keys");
    let entry =
        listed.json()["data"].as_array().unwrap().iter().find(|entry| entry["id"] == id).cloned().unwrap();
    assert_eq!(entry["name"], "Production API Key");
    assert!(!listed.body.contains(key), "a secret is shown once");
    assert_eq!(entry.get("key"), None);
    assert_eq!(entry["hint"], format!("wfk_…{}", &key[key.len() - 4..]));

    let path = format!("/auth/api-keys/{id}");
    assert_eq!(server.with_key(server.all(), "DELETE", &path).status, 200);
    let revoked = server.with_key(key, "GET", "/workflows");
    assert_eq!((revoked.status, revoked.body.as_str()), (401, UNAUTHORIZED), "at once");
    let again = server.with_key(server.all(), "DELETE", &path);
    let unknown = server.with_key(server.all(), "DELETE", "/auth/api-keys/unknown");
    assert_eq!((again.status, &again.body), (404, &unknown.body), "twice is like never");
}

#[test]
fn rotation_as_the_guide_has_it_keeps_both_keys_until_the_old_one_is_revoked() {
    let server = start();
    let (old_id, old) = server.mint(&["workflows:read"]);
    let (_, new) = server.mint(&["workflows:read"]);
    for key in [&old, &new] {
        assert_eq!(server.with_key(key, "GET", "/workflows").status, 200);
    }
    server.with_key(server.all(), "DELETE", &format!("/auth/api-keys/{old_id}"));
    assert_eq!(server.with_key(&old, "GET", "/workflows").status, 401);
    assert_eq!(server.with_key(&new, "GET", "/workflows").status, 200);
}

#[test]
fn a_key_gives_no_more_than_it_has() {
    let server = start();
    let create = |key: &str, body: &str| {
        server.send("POST", "/auth/api-keys", &[("x-api-key", key), JSON], Some(body))
    };
    let manager = server.mint(&["api-keys:read", "api-keys:write", "workflows:read"]).1;
    let more = create(&manager, r#"{"name":"x","scopes":["workflows:read","workflows:write"]}"#);
    assert_eq!((more.status, more.body.as_str()), (403, FORBIDDEN));
    for (name, body) in [
        ("an unknown member", r#"{"name":"x","scopes":[],"admin":true}"#),
        ("the organization", r#"{"name":"x","scopes":[],"organization":"other"}"#),
        ("the mode", r#"{"name":"x","scopes":[],"mode":"test"}"#),
        ("a key of its own", r#"{"name":"x","scopes":[],"key":"wfk_00000000000000000000000000000000"}"#),
        ("scopes twice", r#"{"name":"x","scopes":[],"scopes":["workflows:read"]}"#),
        ("no scopes", r#"{"name":"x"}"#),
        ("null scopes", r#"{"name":"x","scopes":null}"#),
        ("a wildcard over one it has", r#"{"name":"x","scopes":["workflows:*"]}"#),
        ("a bare star", r#"{"name":"x","scopes":["*"]}"#),
        ("no name", r#"{"scopes":[]}"#),
        ("no JSON", "scopes"),
    ] {
        let answer = create(&manager, body);
        assert_eq!(answer.status, 400, "{name}: {}", answer.body);
        assert_eq!(answer.json()["error"]["code"], "VALIDATION_ERROR", "{name}");
        assert!(answer.json()["error"]["details"][0]["field"].is_string(), "{name}");
    }
    let listed = server.with_key(&manager, "GET", "/auth/api-keys");
    assert_eq!(listed.json()["data"].as_array().unwrap().len(), 3, "nothing was stored");
    assert_eq!(create(server.get("READ_ONLY_API_KEY"), r#"{"name":"x","scopes":[]}"#).status, 403);
    let powerless = server.mint(&[]).1;
    assert_eq!(server.with_key(&powerless, "GET", "/workflows").status, 403, "no scopes are none, not all");
}

#[test]
fn a_key_may_revoke_itself_and_gets_its_answer() {
    let server = start();
    let (id, key) = server.mint(&["api-keys:write"]);
    assert_eq!(server.with_key(&key, "DELETE", &format!("/auth/api-keys/{id}")).status, 200);
    assert_eq!(server.with_key(&key, "DELETE", &format!("/auth/api-keys/{id}")).status, 401);
}

#[test]
fn the_printed_curl_lines_work_as_pasted() {
    let server = start();
    assert_eq!(server.paste_curl_lines(), [201, 200, 201, 401, 403, 201, 200, 200]);
}

#[test]
fn settings_that_make_no_sense_are_named_and_nothing_starts() {
    for (name, value) in
        [("READ_LIMIT", "many"), ("READ_LIMIT", "0"), ("WINDOW_SECONDS", "0"), ("LISTEN_ADDR", "nowhere")]
    {
        let server = Server::start("justpaid_workflows", &[(name, value)]);
        assert!(!server.printed.contains_key("BASE_URL"), "{name}={value}: {:?}", server.lines);
    }
}

#[test]
fn it_stops_cleanly_when_asked_to() {
    for signal in ["-INT", "-TERM"] {
        assert!(start().stop(signal), "{signal}");
    }
}
