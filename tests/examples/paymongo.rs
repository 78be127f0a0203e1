//! What the PayMongo Workflow API guide promises, over a real socket against the example server.

use crate::server::{Answer, Server};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use serde_json::{Value, json};

const JSON: &str = "application/json";
const YAML: &str = "text/plain";

fn start() -> Server {
    Server::start("paymongo_workflows", &[])
}

/// `Basic` and the key as user name of an empty password.
fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{key}:")))
}

/// A caller of the example server.
#[derive(Clone, Copy)]
struct Caller<'s> {
    server: &'s Server,
    key: &'s str,
    organization: &'s str,
}

impl Server {
    fn caller(&self, key: &str, organization: &str) -> Caller<'_> {
        Caller { server: self, key: self.get(key), organization: self.get(organization) }
    }

    fn test(&self) -> Caller<'_> {
        self.caller("TEST_SECRET_KEY", "ORGANIZATION_ID")
    }

    fn live(&self) -> Caller<'_> {
        self.caller("LIVE_SECRET_KEY", "ORGANIZATION_ID")
    }

    fn other(&self) -> Caller<'_> {
        self.caller("OTHER_TEST_SECRET_KEY", "OTHER_ORGANIZATION_ID")
    }

    /// `GET /workflows` with these fields.
    fn list(&self, fields: &[(&str, &str)]) -> Answer {
        self.send("GET", "/workflows", fields, None)
    }
}

impl Caller<'_> {
    fn send(&self, method: &str, path: &str) -> Answer {
        let fields = [("Authorization", &*basic(self.key)), ("Organization-Id", self.organization)];
        self.server.send(method, path, &fields, None)
    }

    fn send_body(&self, method: &str, path: &str, content_type: &str, body: &str) -> Answer {
        let fields = [
            ("Authorization", &*basic(self.key)),
            ("Organization-Id", self.organization),
            ("Content-Type", content_type),
        ];
        self.server.send(method, path, &fields, Some(body))
    }

    fn create(&self, name: &str) -> String {
        let answer = self.send_body("POST", "/workflows", JSON, &json!({ "name": name }).to_string());
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["data"]["id"].as_str().unwrap().to_owned()
    }

    /// The identifiers of the list.
    fn ids(&self) -> Vec<String> {
        let answer = self.send("GET", "/workflows");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let list = answer.json()["data"].as_array().unwrap().clone();
        list.iter().map(|workflow| workflow["id"].as_str().unwrap().to_owned()).collect()
    }
}

/// Every error is JSON, and each of its errors has both members.
#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: &str, name: &str) {
    assert_eq!((answer.status, answer.json()["errors"][0]["code"].as_str()), (status, Some(code)), "{name}");
    assert_eq!(answer.header("content-type"), Some(JSON), "{name}");
    let json = answer.json();
    assert_eq!(json.as_object().unwrap().len(), 1, "{name}: nothing but errors");
    let error = json["errors"][0].as_object().unwrap();
    assert_eq!(error.keys().collect::<Vec<_>>(), ["code", "detail"], "{name}");
    assert!(!error["detail"].as_str().unwrap().is_empty(), "{name}");
}

#[test]
fn the_published_vector() {
    assert_eq!(basic("sk_test_abc123"), "Basic c2tfdGVzdF9hYmMxMjM6");
}

#[test]
fn keys_say_their_mode_and_are_random() {
    let server = start();
    for (name, prefix) in [
        ("TEST_SECRET_KEY", "sk_test_"),
        ("LIVE_SECRET_KEY", "sk_live_"),
        ("OTHER_TEST_SECRET_KEY", "sk_test_"),
    ] {
        let random = server.get(name).strip_prefix(prefix).unwrap();
        assert!(random.len() == 32 && random.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{name}");
    }
    assert_ne!(server.get("TEST_SECRET_KEY"), server.get("OTHER_TEST_SECRET_KEY"));
    assert_ne!(server.get("ORGANIZATION_ID"), server.get("OTHER_ORGANIZATION_ID"));
}

#[test]
fn a_good_key_and_its_organization_pass() {
    let server = start();
    let (test, live) = (server.test().ids(), server.live().ids());
    assert_eq!(test, [server.get("TEST_WORKFLOW_ID")]);
    assert_eq!(live, [server.get("LIVE_WORKFLOW_ID")]);
    assert_eq!(server.other().ids(), [""; 0]);
}

#[test]
fn every_other_credential_is_authentication_failed() {
    let server = start();
    let (key, organization) = (server.get("TEST_SECRET_KEY"), server.get("ORGANIZATION_ID"));
    let encoded = STANDARD.encode(format!("{key}:"));
    let secret = key.strip_prefix("sk_test_").unwrap();
    let of = |text: &str| Some(format!("Basic {}", STANDARD.encode(text)));
    let flipped: String = secret.chars().rev().collect();
    // `>>>?` needs characters in which the two alphabets differ.
    let url_safe = URL_SAFE.encode(format!("{key}>>>?:"));
    assert!(url_safe.contains(['-', '_']), "{url_safe}");
    let cases: Vec<(&str, Option<String>)> = vec![
        ("none", None),
        ("empty", Some(String::new())),
        ("scheme only", Some("Basic".into())),
        ("scheme and spaces", Some("Basic   ".into())),
        ("another scheme", Some(format!("Bearer {key}"))),
        ("the key without a scheme", Some(key.into())),
        ("the key without Base64", Some(format!("Basic {key}:"))),
        ("a tab", Some(format!("Basic\t{encoded}"))),
        ("a space, then a tab", Some(format!("Basic \t{encoded}"))),
        ("a scheme that folds to it elsewhere", Some(format!("Ba\u{17f}ic {encoded}"))),
        ("no colon", of(key)),
        ("CR LF", of(&format!("{key}\r\n:"))),
        ("NUL", of(&format!("{key}\0:"))),
        ("no UTF-8", Some(format!("Basic {}", STANDARD.encode([key.as_bytes(), b"\xff:"].concat())))),
        ("no padding", Some(format!("Basic {}", STANDARD_NO_PAD.encode(format!("{key}:"))))),
        ("the other alphabet", Some(format!("Basic {url_safe}"))),
        ("a line break in it", Some(format!("Basic {} {}", &encoded[..20], &encoded[20..]))),
        ("a password", of(&format!("{key}:password"))),
        ("a second colon", of(&format!("{key}::"))),
        ("the key as password", of(&format!(":{key}"))),
        ("empty user name", of(":")),
        ("two in one value", Some(format!("Basic {encoded}, Basic {encoded}"))),
        ("100 000 bytes", Some(format!("Basic {}", "A".repeat(100_000)))),
        ("one character short", of(&format!("{}:", &key[..key.len() - 1]))),
        ("one too many", of(&format!("{key}x:"))),
        ("another case", of(&format!("sk_test_{}:", swap_case(secret)))),
        ("space before it", of(&format!(" {key}:"))),
        ("a publishable key", of(&format!("pk_test_{secret}:"))),
        ("no such mode", of(&format!("sk_foo_{secret}:"))),
        ("no mode", of(&format!("sk_{secret}:"))),
        ("the prefix edited", of(&format!("sk_live_{secret}:"))),
        ("unknown", of(&format!("sk_test_{flipped}:"))),
        ("the guide's sample", of("sk_test_abc123:")),
    ];
    let base = server.list(&[("Organization-Id", organization)]);
    for (name, authorization) in cases {
        for organization in [Some(organization), Some("org_wrong"), None] {
            let mut fields = Vec::new();
            fields.extend(authorization.as_deref().map(|value| ("Authorization", value)));
            fields.extend(organization.map(|value| ("Organization-Id", value)));
            for (method, path) in
                [("GET", "/workflows"), ("DELETE", "/workflows/x"), ("GET", "/no/such/path")]
            {
                let answer = server.send(method, path, &fields, None);
                let name = format!("{name}, {organization:?}: {method} {path}");
                assert_error(&answer, 401, "authentication_failed", &name);
                assert_eq!(answer.body, base.body, "{name}");
                let challenge = answer.header("www-authenticate");
                assert_eq!(challenge, Some(r#"Basic realm="PayMongo Workflow API""#), "{name}");
                assert_eq!(answer.header("cache-control"), Some("no-store"), "{name}");
                assert_eq!(answer.header("allow"), Some(""), "{name}");
            }
        }
    }
    assert_eq!(server.test().send("GET", "/workflows").status, 200);
}

fn swap_case(text: &str) -> String {
    let swap = |c: char| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    text.chars().map(swap).collect()
}

#[test]
fn fields_on_the_wire() {
    let server = start();
    let (key, organization) = (server.get("TEST_SECRET_KEY"), server.get("ORGANIZATION_ID"));
    let encoded = STANDARD.encode(format!("{key}:"));
    let request = |lines: &str| {
        let organization = format!("Organization-Id: {organization}");
        format!("GET /v1/workflows HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{organization}\r\n{lines}\r\n")
    };
    let good = format!("Authorization: Basic {encoded}\r\n");
    for (name, lines, status) in [
        ("as published", good.clone(), 200),
        ("lower case", format!("authorization: basic {encoded}\r\n"), 200),
        ("upper case", format!("AUTHORIZATION: BASIC {encoded}\r\n"), 200),
        ("two spaces", format!("Authorization: Basic  {encoded}\r\n"), 200),
        ("white space around the value", format!("Authorization: \t Basic {encoded} \t\r\n"), 200),
        ("the line twice", format!("{good}{good}"), 401),
        ("a good and a bad line", format!("{good}Authorization: Basic eDo=\r\n"), 401),
        ("a bad and a good line", format!("Authorization: Basic eDo=\r\n{good}"), 401),
        ("a good line and another scheme's", format!("{good}Authorization: Bearer x\r\n"), 401),
        ("a good and an empty line", format!("{good}Authorization:\r\n"), 401),
        ("in another field", format!("Proxy-Authorization: Basic {encoded}\r\n"), 401),
        ("a folded line", format!("Authorization:\r\n Basic {encoded}\r\n"), 400),
    ] {
        assert_eq!(server.raw(request(&lines).as_bytes()).status, status, "{name}");
    }
    let obs_text = [request("").trim_end().as_bytes(), b"\r\nAuthorization: Basic \xff\xfe\r\n\r\n"].concat();
    assert_eq!(server.raw(&obs_text).status, 401, "bytes above 0x7F");
    let in_query = format!("/workflows?Authorization=Basic%20{encoded}&key={key}");
    assert_eq!(
        server.send("GET", &in_query, &[("Organization-Id", organization)], None).status,
        401,
        "not from the query"
    );
    let user_info =
        format!("GET http://{key}:@x/v1/workflows HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_ne!(server.raw(user_info.as_bytes()).status, 200, "nor from the authority");
}

#[test]
fn the_organization_is_asked_for_after_the_key_and_selects_nothing() {
    let server = start();
    let (own, other) = (server.get("ORGANIZATION_ID"), server.get("OTHER_ORGANIZATION_ID"));
    let good = basic(server.get("TEST_SECRET_KEY"));
    let upper = own.to_ascii_uppercase();
    let both = format!("{own}, {own}");
    let cases: &[(&str, &[&str], u16, &str)] = &[
        ("absent", &[], 400, "missing_organization_header"),
        ("empty", &[""], 400, "missing_organization_header"),
        ("blank", &[" \t "], 400, "missing_organization_header"),
        ("another that exists", &[other], 403, "organization_mismatch"),
        ("one that does not", &["org_nobody"], 403, "organization_mismatch"),
        ("another case", &[&upper], 403, "organization_mismatch"),
        ("the same twice", &[own, own], 403, "organization_mismatch"),
        ("its own and another", &[own, other], 403, "organization_mismatch"),
        ("another and its own", &[other, own], 403, "organization_mismatch"),
        ("two in one line", &[&both], 403, "organization_mismatch"),
    ];
    for (name, organizations, status, code) in cases {
        let mut fields = vec![("Authorization", good.as_str())];
        fields.extend(organizations.iter().map(|organization| ("Organization-Id", *organization)));
        for path in ["/workflows", "/workflows/none", "/no/such/path"] {
            let answer = server.send("GET", path, &fields, None);
            assert_error(&answer, *status, code, &format!("{name}: {path}"));
            assert_eq!(answer.header("www-authenticate"), None, "{name}");
        }
    }
    let answers = [other, "org_nobody"].map(|organization| {
        server.list(&[("Authorization", &*good), ("Organization-Id", organization)]).body
    });
    assert_eq!(answers[0], answers[1], "the answer does not tell which organizations there are");
    for alias in ["organization_id", "x-organization-id", "X-Org-Id"] {
        let answer = server.list(&[("Authorization", &*good), (alias, own)]);
        assert_error(&answer, 400, "missing_organization_header", alias);
    }
}

#[test]
fn what_is_another_s_is_answered_like_what_is_not_there() {
    let server = start();
    let (test, live, other) = (server.test(), server.live(), server.other());
    let (test_id, live_id, other_id) = (test.create("mine"), live.create("live"), other.create("theirs"));
    let change = json!({ "name": "changed" }).to_string();
    for (name, caller, id) in [
        ("test reads live", test, &live_id),
        ("live reads test", live, &test_id),
        ("another organization, same mode", other, &test_id),
        ("another organization, other mode", other, &live_id),
        ("and the other way round", test, &other_id),
        ("live, and another's test", live, &other_id),
    ] {
        assert!(!caller.ids().contains(id), "{name}: lists");
        let calls = |id: &str| {
            let path = format!("/workflows/{id}");
            [
                caller.send("GET", &path),
                caller.send("HEAD", &path),
                caller.send_body("PUT", &path, JSON, &change),
                caller.send_body("PUT", &path, YAML, "name: changed"),
                caller.send_body("PUT", &path, JSON, "{"),
                caller.send_body("PUT", &path, "application/xml", "<a/>"),
                caller.send("DELETE", &path),
                caller.send("PATCH", &path),
            ]
            .map(|answer| {
                // The date is the only thing that may differ.
                let fields = answer.headers.into_iter().filter(|(field, _)| field != "date");
                (answer.status, fields.collect::<Vec<_>>(), answer.body)
            })
        };
        let (theirs, of_none) = (calls(id), calls("workflow_404"));
        assert_eq!(theirs, of_none, "{name}");
        assert_eq!(
            theirs.each_ref().map(|answer| answer.0),
            [404, 404, 404, 404, 400, 415, 404, 405],
            "{name}"
        );
        assert_error(&caller.send("GET", &format!("/workflows/{id}")), 404, "not_found", name);
    }
    for (caller, id, name) in
        [(test, &test_id, "mine"), (live, &live_id, "live"), (other, &other_id, "theirs")]
    {
        let answer = caller.send("GET", &format!("/workflows/{id}"));
        assert_eq!(
            (answer.status, &answer.json()["data"]["name"]),
            (200, &json!(name)),
            "nothing was changed"
        );
    }
}

#[test]
fn livemode_mismatch_is_told_on_the_one_route_and_within_the_organization() {
    let server = start();
    let (test, live, other) = (server.test(), server.live(), server.other());
    let execute = |id: &str| format!("/workflows/{id}/execute");
    let (test_id, live_id) = (server.get("TEST_WORKFLOW_ID"), server.get("LIVE_WORKFLOW_ID"));
    for (caller, id, livemode) in [(test, test_id, false), (live, live_id, true)] {
        let answer = caller.send("POST", &execute(id));
        assert_eq!((answer.status, &answer.json()["data"]["livemode"]), (200, &json!(livemode)));
        assert_eq!(answer.json()["data"]["workflow_id"], id);
    }
    assert_error(&test.send("POST", &execute(live_id)), 403, "livemode_mismatch", "test executes live");
    assert_error(&live.send("POST", &execute(test_id)), 403, "livemode_mismatch", "live executes test");
    for id in [test_id, live_id, "workflow_404"] {
        let answer = other.send("POST", &execute(id));
        assert_error(&answer, 404, "not_found", "another organization learns nothing");
        assert_eq!(answer.body, test.send("POST", &execute("workflow_404")).body);
    }
    let with_input = test.send_body("POST", &execute(test_id), JSON, r#"{"amount":100}"#);
    assert_eq!((with_input.status, &with_input.json()["data"]["input"]["amount"]), (200, &json!(100)));
}

#[test]
fn workflows_are_written_in_json_and_in_yaml() {
    let server = start();
    let test = server.test();
    let yaml = "name: Refund\ntriggers:\n  - type: webhook\nsteps:\n  - id: pay\n    amount: 100\n";
    let json = r#"{"name":"Refund","triggers":[{"type":"webhook"}],"steps":[{"id":"pay","amount":100}]}"#;
    for (content_type, body) in [
        (JSON, json),
        ("application/json; charset=utf-8", json),
        ("Application/JSON", json),
        (YAML, yaml),
        ("text/plain;charset=UTF-8", yaml),
        (YAML, json),
    ] {
        let created = test.send_body("POST", "/workflows", content_type, body);
        assert_eq!(created.status, 200, "{content_type}: {}", created.body);
        let workflow = created.json()["data"].clone();
        assert_eq!((&workflow["name"], &workflow["livemode"]), (&json!("Refund"), &json!(false)));
        let expected: Value = serde_json::from_str(json).unwrap();
        assert_eq!(workflow["definition"], expected, "{content_type}");
        let path = format!("/workflows/{}", workflow["id"].as_str().unwrap());
        assert_eq!(test.send("GET", &path).json()["data"], workflow);
        let renamed = test.send_body("PUT", &path, YAML, "name: Renamed");
        assert_eq!((renamed.status, &renamed.json()["data"]["name"]), (200, &json!("Renamed")));
        assert_eq!(test.send("DELETE", &path).status, 200);
        assert_error(&test.send("GET", &path), 404, "not_found", "deleted");
        assert_error(&test.send("DELETE", &path), 404, "not_found", "deleted already");
    }
    let deep = "[".repeat(100_000);
    let bomb = format!(
        "a: &a [x,x,x,x,x,x,x,x,x,x]\n{}name: bomb\n",
        ('b'..='j')
            .map(|to| {
                let from = char::from(to as u8 - 1);
                format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 10].join(","))
            })
            .collect::<String>()
    );
    for (name, content_type, body, status, code) in [
        ("JSON that is none", JSON, "{", 400, "validation_error"),
        ("YAML that is none", YAML, "name: [", 400, "validation_error"),
        ("YAML as JSON", JSON, yaml, 400, "validation_error"),
        ("no object", JSON, "[]", 400, "validation_error"),
        ("a text", YAML, "name", 400, "validation_error"),
        ("no name", JSON, "{}", 400, "validation_error"),
        ("a blank name", YAML, "name: ' '", 400, "validation_error"),
        ("a name that is no text", JSON, r#"{"name":1}"#, 400, "validation_error"),
        ("no body", JSON, "", 400, "validation_error"),
        ("no text", YAML, "\u{0}", 400, "validation_error"),
        ("deep JSON", JSON, &deep, 400, "validation_error"),
        ("deep YAML", YAML, &deep, 400, "validation_error"),
        ("aliases of aliases", YAML, &bomb, 400, "validation_error"),
        ("another type", "application/xml", "<a/>", 415, "unsupported_media_type"),
        ("a form", "application/x-www-form-urlencoded", "name=x", 415, "unsupported_media_type"),
        ("a YAML type", "application/yaml", yaml, 415, "unsupported_media_type"),
        ("an empty type", "", json, 415, "unsupported_media_type"),
        ("one that starts alike", "application/json5", json, 415, "unsupported_media_type"),
    ] {
        assert_error(&test.send_body("POST", "/workflows", content_type, body), status, code, name);
    }
    let large = format!(r#"{{"name":"{}"}}"#, "x".repeat(3_000_000));
    let answer = test.send_body("POST", "/workflows", JSON, &large);
    assert!(answer.status == 413 || answer.status == 0, "too large, or cut off: {}", answer.status);
    assert_eq!(test.ids(), [server.get("TEST_WORKFLOW_ID")], "nothing was stored");
    let live = server.live().create("live");
    let answer = server.live().send("GET", &format!("/workflows/{live}"));
    assert_eq!(answer.json()["data"]["livemode"], true, "the mode is the key's");
}

#[test]
fn other_paths_and_methods_are_rejected_in_the_envelope() {
    let server = start();
    let id = server.get("TEST_WORKFLOW_ID");
    for (method, path, status, code) in [
        ("GET", "/nope".to_owned(), 404, "not_found"),
        ("GET", "/workflows/".into(), 404, "not_found"),
        ("GET", "//workflows".into(), 404, "not_found"),
        ("GET", "/Workflows".into(), 404, "not_found"),
        ("GET", "/%77orkflows".into(), 404, "not_found"),
        ("GET", "/workflows/%ff".into(), 404, "not_found"),
        ("GET", "/workflows/%00".into(), 404, "not_found"),
        ("GET", format!("/workflows/..%2f{id}"), 404, "not_found"),
        ("GET", format!("/workflows/{id}%20"), 404, "not_found"),
        ("PATCH", "/workflows".into(), 405, "method_not_allowed"),
        ("GET", format!("/workflows/{id}/execute"), 405, "method_not_allowed"),
        ("PURGE", format!("/workflows/{id}"), 405, "method_not_allowed"),
        ("OPTIONS", "/workflows".into(), 405, "method_not_allowed"),
    ] {
        assert_error(&server.test().send(method, &path), status, code, &format!("{method} {path}"));
        let stranger = server.send(method, &path, &[], None);
        assert_error(&stranger, 401, "authentication_failed", &format!("{method} {path}, a stranger"));
    }
}

#[test]
fn the_printed_curl_lines_work_as_pasted() {
    let server = start();
    assert_eq!(server.paste_curl_lines(), [200, 200, 200, 200, 403, 404, 401, 400, 403]);
}

#[test]
fn an_address_that_makes_no_sense_starts_nothing() {
    let server = Server::start("paymongo_workflows", &[("LISTEN_ADDR", "nowhere")]);
    assert!(!server.printed.contains_key("BASE_URL"), "{:?}", server.lines);
}

#[test]
fn it_stops_cleanly_when_asked_to() {
    for signal in ["-INT", "-TERM"] {
        assert!(start().stop(signal), "{signal}");
    }
}
