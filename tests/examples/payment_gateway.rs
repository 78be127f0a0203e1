//! The promises of the payment-gateway.app guide, over a real socket against the example server.

use std::collections::BTreeMap;

use crate::http2::Http2;
use crate::server::{Answer, Server};
use http::Method;
use serde_json::{Value, json};

const OURS: &str = "org_demo";
const OTHER: &str = "org_other";
const WHOLE: &str = "ORGANIZATION_API_KEY";
const OF_OTHER: &str = "OTHER_ORGANIZATION_API_KEY";
const SYSTEM: &str = "SYSTEM_API_KEY";
/// An administrator of our organization and a viewer of the other one.
const ADMIN: &str = "DASHBOARD_SESSION";
const VIEWER: &str = "VIEWER_SESSION";

fn start() -> Server {
    Server::start("payment_gateway", &[])
}

impl Server {
    /// A request with the credential that the example printed under this name.
    fn by(
        &self,
        who: &str,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        self.with(self.get(who), method, path, fields, body)
    }

    /// A request with this bearer token.
    fn with(
        &self,
        token: &str,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: Option<Value>,
    ) -> Answer {
        let authorization = format!("Bearer {token}");
        let mut all = vec![("Authorization", &*authorization)];
        all.extend_from_slice(fields);
        let body = body.map(|body| body.to_string());
        if body.is_some() {
            all.push(("Content-Type", "application/json"));
        }
        self.send(method, path, &all, body.as_deref())
    }

    fn create_key(&self, who: &str, organization: &str, body: Value) -> Answer {
        self.by(who, "POST", &keys(organization), &[], Some(body))
    }

    /// A new key of our organization: its identifier and its secret.
    fn new_key(&self, scopes: &[&str]) -> (String, String) {
        let answer = self.create_key(SYSTEM, OURS, json!({ "name": "new", "scopes": scopes }));
        assert_eq!(answer.status, 200, "{}", answer.body);
        let json = answer.json();
        (text(&json["id"]), text(&json["key"]))
    }

    fn status_of(&self, token: &str) -> u16 {
        self.with(token, "GET", "/transactions", &[], None).status
    }

    fn listed(&self, who: &str, organization: &str) -> BTreeMap<String, String> {
        let answer = self.by(who, "GET", &keys(organization), &[], None);
        assert_eq!(answer.status, 200, "{}", answer.body);
        let json = answer.json();
        let keys = json["data"].as_array().unwrap();
        keys.iter().map(|key| (text(&key["id"]), text(&key["status"]))).collect()
    }

    fn new_client(&self, who: &str) -> String {
        let answer = self.by(who, "POST", "/clients", &[], Some(json!({ "name": "client" })));
        assert_eq!(answer.status, 200, "{}", answer.body);
        text(&answer.json()["id"])
    }
}

fn keys(organization: &str) -> String {
    format!("/organizations/{organization}/api-keys")
}

fn text(json: &Value) -> String {
    json.as_str().unwrap_or_else(|| panic!("a text: {json}")).to_owned()
}

/// Every error has the three members, and the identifier is that of the field.
#[track_caller]
fn assert_error(answer: &Answer, status: u16, code: &str, name: &str) {
    assert_eq!(answer.status, status, "{name}: {}", answer.body);
    let json = answer.json();
    assert_eq!(json["code"], code, "{name}: {json}");
    assert_eq!(json["requestId"].as_str(), answer.header("x-request-id"), "{name}");
    assert!(!json["error"].as_str().unwrap().is_empty(), "{name}");
    assert_eq!(json.as_object().unwrap().len(), 3, "{name}: {json}");
    assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
}

#[test]
fn what_the_example_prints_and_that_it_stops() {
    for signal in ["-INT", "-TERM"] {
        let server = start();
        assert!(server.get("BASE_URL").ends_with("/api/v1"));
        for name in [WHOLE, OF_OTHER, SYSTEM, "CHECKOUT_API_KEY", "READ_ONLY_API_KEY"] {
            let key = server.get(name).strip_prefix("sk_live_").unwrap();
            let (id, secret) = key.split_once('.').unwrap();
            assert_eq!((id.len(), secret.len()), (16, 32), "{name}");
        }
        assert_eq!(server.get("ORGANIZATION_ID"), OURS);
        assert!(!server.get(ADMIN).starts_with("sk_"));
        assert!(server.lines.iter().any(|line| line.starts_with("curl -i http://")));
        assert!(server.stop(signal), "{signal}");
    }
}

#[test]
fn the_printed_curl_lines_work_as_pasted() {
    let server = start();
    assert_eq!(server.paste_curl_lines(), [200, 200, 403, 200, 200, 200, 200, 200, 200, 403]);
}

#[test]
fn challenges_of_rfc_6750() {
    let server = start();
    let challenge = |answer: &Answer| answer.header("www-authenticate").map(str::to_owned);
    let plain = r#"Bearer realm="payment-gateway.app""#;

    let answer = server.send("GET", "/transactions", &[], None);
    assert_error(&answer, 401, "unauthorized", "nothing was sent");
    assert_eq!(challenge(&answer).as_deref(), Some(plain), "and no error is named");
    let answer = server.send("GET", "/no/such/path", &[], None);
    assert_error(&answer, 401, "unauthorized", "an unknown path tells strangers nothing");

    for token in ["sk_live_0123456789abcdef.0123456789abcdef0123456789abcdef", "sk_", "dash_0", "a|b"] {
        let answer = server.with(token, "GET", "/transactions", &[], None);
        assert_error(&answer, 401, "unauthorized", token);
        let invalid = format!(r#"{plain}, error="invalid_token""#);
        assert_eq!(challenge(&answer), Some(invalid), "{token}");
    }

    let answer = server.by("CHECKOUT_API_KEY", "GET", "/transactions", &[], None);
    assert_error(&answer, 403, "insufficient_scope", "no scope");
    let wanted = r#"Bearer error="insufficient_scope", scope="transaction:read""#;
    assert_eq!(challenge(&answer).as_deref(), Some(wanted));
    for (who, path) in [(WHOLE, "/system/health"), (ADMIN, "/system/health")] {
        let answer = server.by(who, "GET", path, &[], None);
        assert_error(&answer, 403, "forbidden", who);
        assert_eq!(challenge(&answer), None, "{who}: a scope would not help");
    }
    let fields = [("Authorization", "Bearer x"), ("Authorization", "Bearer x")];
    assert_error(
        &server.send("GET", "/transactions", &fields, None),
        400,
        "invalid_request",
        "two credentials",
    );
}

#[test]
fn every_response_has_a_request_id() {
    let server = start();
    let good = server.by(WHOLE, "GET", "/transactions", &[], None);
    assert_eq!((good.status, good.header("x-request-id").unwrap().len()), (200, 16));
    for (who, path, status) in [
        (WHOLE, "/transactions", 200),
        ("CHECKOUT_API_KEY", "/transactions", 403),
        (WHOLE, "/organizations/org_demo/api-keys/none", 404),
        (WHOLE, "/organizations/org_demo/api-keys/none/rotate", 403),
        (WHOLE, "/nowhere", 404),
        (WHOLE, "/portal/links/pl_0", 404),
    ] {
        let answer = server.by(who, "GET", path, &[("X-Request-ID", "from-the-client_1")], None);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert_eq!(answer.header("x-request-id"), Some("from-the-client_1"), "{path}");
        if status != 200 {
            assert_eq!(answer.json()["requestId"], "from-the-client_1", "{path}");
        }
    }
    let answer = server.by(WHOLE, "GET", "/nowhere", &[("X-Request-ID", r#"a"b"#)], None);
    assert_ne!(answer.header("x-request-id"), Some(r#"a"b"#));
}

#[test]
fn a_key_is_its_prefix_its_identifier_and_its_secret() {
    let server = start();
    let key = server.get(WHOLE);
    let (head, secret) = key.split_once('.').unwrap();
    let (id, reads) = (head.strip_prefix("sk_live_").unwrap(), |token: &str| server.status_of(token));
    assert_eq!(reads(key), 200);
    let other = server.get(OF_OTHER).split_once('.').unwrap().1;
    for (name, token) in [
        ("the identifier alone", format!("sk_live_{id}")),
        ("no secret", format!("sk_live_{id}.")),
        ("no identifier", format!("sk_live_.{secret}")),
        ("another's secret", format!("sk_live_{id}.{other}")),
        ("the other mode", format!("sk_test_{id}.{secret}")),
        // The whole text was digested, so a key keeps the mark it was made with.
        ("no mark", format!("sk_{id}.{secret}")),
        ("a shorter secret", key[..key.len() - 1].to_owned()),
        ("a longer secret", format!("{key}a")),
        ("two dots", format!("sk_live_{id}..{secret}")),
        ("another case", key.to_ascii_uppercase()),
        ("another prefix", format!("pl_{id}.{secret}")),
    ] {
        assert_eq!(reads(&token), 401, "{name}");
    }
    for field in [format!("bearer {key}"), format!("BEARER   {key}")] {
        assert_eq!(server.send("GET", "/transactions", &[("Authorization", &field)], None).status, 200);
    }
    for field in [key.to_owned(), format!("Basic {key}"), format!("Bearer\t{key}"), format!("Bearer {key},")]
    {
        assert_eq!(server.send("GET", "/transactions", &[("Authorization", &field)], None).status, 401);
    }
}

#[test]
fn each_route_needs_its_scope() {
    let server = start();
    let client = server.new_client(WHOLE);
    let invoice = json!({ "clientId": client, "amount": 5 });
    let answer = server.by(WHOLE, "POST", "/invoices", &[], Some(invoice.clone()));
    let id = text(&answer.json()["id"]);
    let (key_id, _) = server.new_key(&["client:read"]);
    let checkout = json!({ "amount": 12, "currency": "EUR" });
    let routes = [
        ("POST", "/checkouts/shop/create".into(), Some(checkout), "checkout:create"),
        ("GET", "/transactions".into(), None, "transaction:read"),
        ("GET", "/clients".into(), None, "client:read"),
        ("POST", "/clients".into(), Some(json!({ "name": "n" })), "client:create"),
        ("GET", "/invoices".into(), None, "invoice:read"),
        ("POST", "/invoices".into(), Some(invoice), "invoice:create"),
        ("PUT", format!("/invoices/{id}"), Some(json!({ "amount": 6 })), "invoice:update"),
        ("POST", format!("/invoices/{id}/schedule"), Some(json!({ "everyDays": 7 })), "invoice:execute"),
        ("POST", "/portal/links".into(), Some(json!({ "clientId": client })), "portal:create"),
        ("POST", "/data-io".into(), None, "data_io:execute"),
        ("GET", "/dashboard/overview".into(), None, "organization:read"),
        ("GET", keys(OURS), None, "api_key:read"),
        ("GET", format!("{}/{key_id}", keys(OURS)), None, "api_key:read"),
        ("GET", format!("{}/{key_id}/history", keys(OURS)), None, "api_key:read"),
    ];
    for (method, path, body, scope) in &routes {
        let resource = scope.split_once(':').unwrap().0;
        let all = format!("{resource}:*");
        // Exactly this scope, all actions of it; then every other scope.
        for held in [&**scope, &all] {
            let (_, key) = server.new_key(&[held]);
            let answer = server.with(&key, method, path, &[], body.clone());
            assert_eq!(answer.status, 200, "{method} {path} with {held}: {}", answer.body);
        }
        let others = routes.iter().map(|(_, _, _, other)| *other).filter(|other| other != scope);
        let others: Vec<_> = others.chain(["organization:execute", "portal:execute"]).collect();
        let (_, key) = server.new_key(&others);
        let answer = server.with(&key, method, path, &[], body.clone());
        assert_error(&answer, 403, "insufficient_scope", &format!("{method} {path} without {scope}"));
    }
    // A request without a route is 404, even for a caller with all scopes.
    for (method, path) in [("DELETE", "/clients"), ("POST", "/transactions"), ("PATCH", "/system/settings")] {
        assert_error(&server.by(SYSTEM, method, path, &[], None), 405, "method_not_allowed", path);
    }
    assert_error(
        &server.by(WHOLE, "GET", "/nowhere", &[], None),
        404,
        "not_found",
        "a path that no route has",
    );
}

#[test]
fn an_organization_key_is_never_accepted_as_a_system_key() {
    let server = start();
    // Every scope that a key of an organization can have.
    let scopes = ["api_key:*", "organization:*", "checkout:*", "client:*", "data_io:*", "invoice:*"];
    let (id, key) = server.new_key(&scopes);
    let body = Some(json!({ "name": "Mine", "portalLinkTtlMinutes": 1440 }));
    for (method, path) in [
        ("GET", "/organizations"),
        ("POST", "/organizations"),
        ("GET", "/system/settings"),
        ("PUT", "/system/settings"),
        ("GET", "/system/health"),
        ("GET", "/system/api-keys"),
        ("POST", "/system/api-keys"),
        ("GET", &format!("/system/api-keys/{id}/history")),
        ("POST", &format!("/system/api-keys/{id}/rotate")),
        ("POST", &format!("/system/api-keys/{id}/revoke")),
        ("DELETE", &format!("/system/api-keys/{id}")),
    ] {
        for fields in [&[][..], &[("X-Organization-ID", OURS)], &[("X-Organization-ID", "system")]] {
            let answer = server.with(&key, method, path, fields, body.clone());
            assert_error(&answer, 403, "forbidden", &format!("{method} {path} {fields:?}"));
        }
        for who in [ADMIN, VIEWER] {
            let cookie = [("Cookie", "selectedOrganization=org_demo")];
            assert_error(&server.by(who, method, path, &cookie, body.clone()), 403, "forbidden", who);
        }
    }
    let catalog = server.create_key(SYSTEM, OURS, json!({ "name": "n", "scopes": ["system:read"] }));
    assert_error(&catalog, 400, "validation_error", "no organization's key can have a scope of the system");
}

#[test]
fn the_system_provisions_and_has_settings() {
    let server = start();
    let made = server.by(SYSTEM, "POST", "/organizations", &[], Some(json!({ "name": "New" }))).json();
    let id = text(&made["id"]);
    let list = server.by(SYSTEM, "GET", "/organizations", &[], None).json();
    assert!(list["data"].as_array().unwrap().iter().any(|organization| organization["id"] == *id));
    assert_eq!(server.by(SYSTEM, "GET", "/system/health", &[], None).json()["organizations"], 3);

    // Its first key, which reads its own organization.
    let body = json!({ "name": "First", "scopes": ["client:*"] });
    let key = text(&server.create_key(SYSTEM, &id, body).json()["key"]);
    assert_eq!(server.with(&key, "GET", "/clients", &[], None).json()["data"], json!([]));

    // System keys, managed by system keys.
    let body = json!({ "name": "Monitor", "scopes": ["system:read"] });
    let made = server.by(SYSTEM, "POST", "/system/api-keys", &[], Some(body)).json();
    let history = format!("/system/api-keys/{}/history", text(&made["id"]));
    assert_eq!(server.by(SYSTEM, "GET", &history, &[], None).json()["data"][0]["action"], "create");
    let monitor = text(&made["key"]);
    assert_eq!(server.with(&monitor, "GET", "/system/health", &[], None).status, 200);
    for (method, path) in
        [("PUT", "/system/settings"), ("GET", "/organizations"), ("GET", "/system/api-keys")]
    {
        let answer = server.with(&monitor, method, path, &[], Some(json!({ "portalLinkTtlMinutes": 5 })));
        assert_error(&answer, 403, "insufficient_scope", path);
    }
    let names = server.by(SYSTEM, "GET", "/system/api-keys", &[], None).json();
    let names = names["data"].as_array().unwrap().iter().map(|key| text(&key["name"])).collect::<Vec<_>>();
    assert_eq!(names, ["System", "Monitor"], "and none of an organization");

    for (minutes, status) in [(0, 400), (1, 200), (1440, 200), (1441, 400)] {
        let body = json!({ "portalLinkTtlMinutes": minutes });
        assert_eq!(server.by(SYSTEM, "PUT", "/system/settings", &[], Some(body)).status, status, "{minutes}");
    }
}

#[test]
fn a_key_acts_for_the_selected_organization() {
    let server = start();
    let field = "X-Organization-ID";
    let ours: &[(&str, &str)] = &[(field, OURS)];
    let other: &[(&str, &str)] = &[(field, OTHER)];
    let of_none: &[(&str, &str)] = &[(field, "org_none")];
    let both: &[(&str, &str)] = &[(field, OURS), (field, OTHER)];
    let twice: &[(&str, &str)] = &[(field, OURS), (field, OURS)];
    let blank: &[(&str, &str)] = &[(field, " ")];
    let cookie: &[(&str, &str)] = &[("Cookie", "selectedOrganization=org_other")];
    let (none, other_keys, ours_keys, no_keys): (&[(&str, &str)], _, _, _) =
        (&[], keys(OTHER), keys(OURS), keys("org_none"));
    for (who, path, fields, status) in [
        // A key of an organization: the header has to match, the cookie is ignored.
        (WHOLE, "/clients", none, 200),
        (WHOLE, "/clients", ours, 200),
        (WHOLE, "/clients", blank, 200),
        (WHOLE, "/clients", cookie, 200),
        (WHOLE, "/clients", other, 403),
        (WHOLE, "/clients", of_none, 403),
        (WHOLE, "/clients", both, 403),
        (WHOLE, "/clients", twice, 403),
        (WHOLE, &ours_keys, none, 200),
        (WHOLE, &ours_keys, ours, 200),
        (WHOLE, &ours_keys, other, 403),
        (WHOLE, &other_keys, none, 404),
        (WHOLE, &other_keys, other, 404),
        (WHOLE, &no_keys, none, 404),
        // A system key: one of them has to name the organization.
        (SYSTEM, "/clients", none, 400),
        (SYSTEM, "/clients", blank, 400),
        (SYSTEM, "/clients", cookie, 400),
        (SYSTEM, "/clients", ours, 200),
        (SYSTEM, "/clients", other, 200),
        (SYSTEM, "/clients", of_none, 404),
        (SYSTEM, "/clients", both, 403),
        (SYSTEM, "/clients", twice, 403),
        (SYSTEM, &ours_keys, none, 200),
        (SYSTEM, &ours_keys, ours, 200),
        (SYSTEM, &ours_keys, other, 403),
        (SYSTEM, &no_keys, none, 404),
    ] {
        let answer = server.by(who, "GET", path, fields, None);
        assert_eq!(answer.status, status, "{who} {path} {fields:?}: {}", answer.body);
    }
    // The selected organization's resources are listed.
    let client = server.new_client(OF_OTHER);
    let seen = |fields| server.by(SYSTEM, "GET", "/clients", fields, None).body;
    assert!(seen(other).contains(&client) && !seen(ours).contains(&client));
    // Another's and those of no organization are one and the same answer.
    let id = [("X-Request-ID", "same")];
    let [another, of_no_organization] =
        [&other_keys, &no_keys].map(|path| server.by(WHOLE, "GET", path, &id, None));
    let without_date = |answer: &Answer| {
        let fields =
            answer.headers.iter().filter(|(name, _)| !name.starts_with("x-ratelimit") && name != "date");
        (answer.status, fields.cloned().collect::<Vec<_>>(), answer.body.clone())
    };
    assert_eq!(without_date(&another), without_date(&of_no_organization));
    // An escape is no spelling of the same organization.
    for path in ["/organizations/org%5Fdemo/api-keys", "/organizations/ORG_DEMO/api-keys"] {
        assert_eq!(server.by(WHOLE, "GET", path, &[], None).status, 404, "{path}");
        assert_eq!(server.by(SYSTEM, "GET", path, &[], None).status, 404, "{path}");
    }
}

#[test]
fn a_session_acts_for_the_selected_organization() {
    let server = start();
    let selected = |value: &str| format!("a=1; selectedOrganization={value}; b=2");
    let (ours, other, none, blank) = (selected(OURS), selected(OTHER), selected("org_none"), selected(""));
    let two = format!("{ours}; selectedOrganization={OURS}");
    let by_route = |organization| format!("/dashboard/{organization}/overview");
    let plain = "/dashboard/overview";
    for (who, path, cookie, status) in [
        (ADMIN, plain, Some(&ours), 200),
        (ADMIN, plain, Some(&other), 200),
        (ADMIN, plain, Some(&none), 404),
        (ADMIN, plain, Some(&blank), 400),
        (ADMIN, plain, Some(&two), 403),
        (ADMIN, plain, None, 400),
        // The route wins: the cookie may come from another page.
        (ADMIN, &by_route(OURS), None, 200),
        (ADMIN, &by_route(OURS), Some(&other), 200),
        (ADMIN, &by_route(OURS), Some(&none), 200),
        (ADMIN, &by_route("org_none"), Some(&ours), 404),
        // A person who is a member of one alone, and not of another.
        (VIEWER, plain, None, 200),
        (VIEWER, plain, Some(&blank), 200),
        (VIEWER, plain, Some(&ours), 200),
        (VIEWER, plain, Some(&other), 404),
        (VIEWER, &by_route(OTHER), None, 404),
        (VIEWER, &by_route(OTHER), Some(&ours), 404),
    ] {
        let fields: Vec<_> = cookie.map(|cookie| ("Cookie", cookie.as_str())).into_iter().collect();
        let answer = server.by(who, "GET", path, &fields, None);
        assert_eq!(answer.status, status, "{who} {path} {cookie:?}: {}", answer.body);
        if status == 200 {
            let route = [OURS, OTHER].into_iter().find(|organization| path.contains(organization));
            let expected = route.unwrap_or(if cookie == Some(&other) { OTHER } else { OURS });
            assert_eq!(answer.json()["organizationId"], expected, "{path} {cookie:?}");
        }
    }
    let fields = [("Cookie", &*ours), ("X-Organization-ID", OTHER)];
    assert_error(
        &server.by(ADMIN, "GET", plain, &fields, None),
        403,
        "organization_mismatch",
        "a header against it",
    );

    // The same data by session and by key.
    let client = server.new_client(WHOLE);
    let clients = server.by(VIEWER, "GET", "/clients", &[("Cookie", &ours)], None);
    assert!(clients.body.contains(&client), "{}", clients.body);
    assert!(!server.by(ADMIN, "GET", "/clients", &[("Cookie", &other)], None).body.contains(&client));
    // No session is a key, and none is accepted in another field.
    let basic = [("Authorization", "Basic dXNlcjpwYXNz"), ("Cookie", &*ours)];
    assert_eq!(server.send("GET", plain, &basic, None).status, 401);
    assert_eq!(server.with("dash_unknown", "GET", plain, &[("Cookie", &ours)], None).status, 401);
}

#[test]
fn role_and_scope_are_both_checked() {
    let server = start();
    let in_ours: &[(&str, &str)] = &[("Cookie", "selectedOrganization=org_demo")];
    let in_other: &[(&str, &str)] = &[("Cookie", "selectedOrganization=org_other")];
    let body = json!({ "name": "n" });
    // Both sessions hold every scope; only the role differs.
    for (who, fields, statuses) in [
        (VIEWER, in_ours, [200, 403, 403]),
        (ADMIN, in_ours, [200, 200, 200]),
        (ADMIN, in_other, [200, 403, 403]),
    ] {
        let requests = [("GET", "/clients"), ("POST", "/clients"), ("POST", "/data-io")];
        for ((method, path), status) in requests.into_iter().zip(statuses) {
            let answer = server.by(who, method, path, fields, Some(body.clone()));
            assert_eq!(answer.status, status, "{who} {fields:?} {method} {path}: {}", answer.body);
            if status == 403 {
                assert_error(&answer, 403, "forbidden", path);
            }
        }
    }
    // Managing keys is for administrators.
    assert_eq!(server.by(ADMIN, "GET", &keys(OURS), &[], None).status, 200);
    assert_error(&server.by(ADMIN, "GET", &keys(OTHER), &[], None), 403, "forbidden", "a viewer there");
    assert_error(&server.by(VIEWER, "GET", &keys(OURS), &[], None), 403, "forbidden", "a viewer");
    // What somebody makes in a session outlives it.
    let made = server.create_key(ADMIN, OURS, json!({ "name": "n", "scopes": ["client:read"] }));
    assert_eq!((made.status, &made.json()["expiresAt"]), (200, &Value::Null), "{}", made.body);
}

#[test]
fn the_life_of_a_key() {
    let server = start();
    let (id, first) = server.new_key(&["transaction:read"]);
    assert_eq!(server.status_of(&first), 200);
    let act =
        |action: &str, body| server.by(WHOLE, "POST", &format!("{}/{id}/{action}", keys(OURS)), &[], body);
    let rotate = |body| {
        let answer = act("rotate", body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(answer.header("cache-control"), Some("no-store"), "r63");
        assert_eq!(text(&answer.json()["id"]), id, "the identifier stays");
        text(&answer.json()["key"])
    };
    let statuses = |tokens: &[&str]| tokens.iter().map(|token| server.status_of(token)).collect::<Vec<_>>();

    // Zero downtime: old and new; a second rotation drops the oldest.
    let second = rotate(None);
    assert_eq!(statuses(&[&first, &second]), [200, 200]);
    let third = rotate(Some(json!({ "graceHours": 168 })));
    assert_eq!(statuses(&[&first, &second, &third]), [401, 200, 200]);
    let fourth = rotate(Some(json!({ "graceSeconds": 0 })));
    assert_eq!(statuses(&[&second, &third, &fourth]), [401, 401, 200]);

    // On first use.
    let fifth = rotate(Some(json!({ "activation": "first_use", "graceSeconds": 0 })));
    assert_eq!(statuses(&[&fourth, &fourth]), [200, 200], "nothing ends while it is unused");
    assert_eq!(statuses(&[&fifth, &fourth, &fifth]), [200, 401, 200]);

    for (name, body) in [
        ("too long", json!({ "graceHours": 169 })),
        ("too long in seconds", json!({ "graceSeconds": 604_801 })),
        ("far too long", json!({ "graceHours": u64::MAX })),
        ("negative", json!({ "graceSeconds": -1 })),
        ("a text", json!({ "graceSeconds": "60" })),
        ("both", json!({ "graceSeconds": 1, "graceHours": 1 })),
        ("another activation", json!({ "activation": "later" })),
        ("a secret", json!({ "key": "sk_live_mine" })),
        ("scopes", json!({ "scopes": ["transaction:*"] })),
    ] {
        assert_error(&act("rotate", Some(body)), 400, "validation_error", name);
    }
    assert_eq!(server.status_of(&fifth), 200, "and nothing has changed");

    // No list has a secret.
    let list = server.by(WHOLE, "GET", &keys(OURS), &[], None);
    for token in [&first, &fifth, server.get(WHOLE)] {
        assert!(!list.body.contains(token.split_once('.').unwrap().1), "{}", list.body);
    }

    // Revoked for good and still listed; deleted and gone.
    let during = rotate(None);
    assert_eq!(act("revoke", None).status, 200);
    assert_eq!(statuses(&[&fifth, &during]), [401, 401], "all secrets at once");
    assert_eq!(server.listed(WHOLE, OURS)[&id], "revoked");
    assert_error(&act("revoke", None), 404, "not_found", "again");
    assert_error(&act("rotate", None), 404, "not_found", "no way back");
    let path = format!("{}/{id}", keys(OURS));
    let deleted = server.by(WHOLE, "DELETE", &path, &[], None);
    assert_eq!((deleted.status, deleted.json()), (200, json!({ "id": id, "deleted": true })));
    assert!(!server.listed(WHOLE, OURS).contains_key(&id));
    assert_error(&server.by(WHOLE, "DELETE", &path, &[], None), 404, "not_found", "again");

    // Deleting an active key revokes it.
    let (id, key) = server.new_key(&["transaction:read"]);
    assert_eq!(server.by(WHOLE, "DELETE", &format!("{}/{id}", keys(OURS)), &[], None).status, 200);
    assert_eq!(server.status_of(&key), 401);
}

#[test]
fn managing_keys_gains_nothing() {
    let server = start();
    let with = |extra: Value| {
        let mut body = json!({ "name": "n", "scopes": ["client:read"] });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    for (name, body, status) in [
        ("nothing more", with(json!({})), 200),
        ("a scope it has not", with(json!({ "scopes": ["data_io:execute"] })), 403),
        ("more of a resource than it has", with(json!({ "scopes": ["checkout:*"] })), 403),
        ("the system's scope", with(json!({ "scopes": ["system:update"] })), 400),
        ("every scope", with(json!({ "scopes": ["*"] })), 400),
        ("every scope of all", with(json!({ "scopes": ["*:*"] })), 400),
        ("another organization", with(json!({ "organization": OTHER })), 400),
        ("another organization by its identifier", with(json!({ "organizationId": OTHER })), 400),
        ("the system", with(json!({ "tier": "system" })), 400),
        ("another mode", with(json!({ "mode": "test" })), 400),
        ("a secret of its own", with(json!({ "key": "sk_live_x" })), 400),
        ("limits", with(json!({ "limits": { "api": 100_000 } })), 403),
        ("an owner", with(json!({ "owner": { "tenant": "system" } })), 400),
        ("no name", json!({ "scopes": [] }), 400),
        ("no body", json!(null), 400),
    ] {
        let answer = server.create_key(WHOLE, OURS, body);
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
    }
    // Each action has its scope, and having a key is not enough.
    let (victim, secret) = server.new_key(&["transaction:read"]);
    let actions = [
        ("GET", keys(OURS), "api_key:read"),
        ("POST", keys(OURS), "api_key:create"),
        ("GET", format!("{}/{victim}", keys(OURS)), "api_key:read"),
        ("PATCH", format!("{}/{victim}", keys(OURS)), "api_key:update"),
        ("POST", format!("{}/{victim}/rotate", keys(OURS)), "api_key:update"),
        ("POST", format!("{}/{victim}/revoke", keys(OURS)), "api_key:delete"),
        ("DELETE", format!("{}/{victim}", keys(OURS)), "api_key:delete"),
    ];
    for (method, path, scope) in &actions {
        let all = ["api_key:read", "api_key:create", "api_key:update", "api_key:delete", "transaction:read"];
        let others: Vec<_> = all.into_iter().filter(|other| other != scope).collect();
        let (_, key) = server.new_key(&others);
        let answer = server.with(&key, method, path, &[], Some(json!({})));
        assert_error(&answer, 403, "insufficient_scope", path);
        assert_eq!(server.send(method, path, &[], None).status, 401, "r56");
        // Another organization's key, by its identifier.
        let elsewhere = path.replace(OURS, OTHER);
        if elsewhere.contains(&victim) {
            let by = |who, path: &str| server.by(who, method, path, &[], Some(json!({})));
            assert_error(&by(OF_OTHER, &elsewhere), 404, "not_found", &elsewhere);
            assert_error(&by(OF_OTHER, path), 404, "not_found", path);
            // And a key of an organization among those of the system.
            let system = path.replace(&keys(OURS), "/system/api-keys");
            assert_error(&by(SYSTEM, &system), 404, "not_found", &system);
        }
    }
    // A caller that gets a key's secret must have everything that the key has.
    let (_, weak) = server.new_key(&["api_key:update"]);
    let path = format!("{}/{victim}/rotate", keys(OURS));
    assert_error(&server.with(&weak, "POST", &path, &[], None), 403, "forbidden", "a stronger key");
    assert_eq!(server.status_of(&secret), 200, "the key is what it was");

    // No later expiry than its creator's.
    let maker =
        json!({ "name": "m", "scopes": ["api_key:*", "client:read"], "expiresAt": "2099-01-01T00:00:00Z" });
    let maker = text(&server.create_key(SYSTEM, OURS, maker).json()["key"]);
    let create = |body| server.with(&maker, "POST", &keys(OURS), &[], Some(body));
    assert_eq!(create(with(json!({}))).json()["expiresAt"], "2099-01-01T00:00:00Z");
    assert_eq!(create(with(json!({ "expiresAt": "2098-01-01T00:00:00Z" }))).status, 200);
    assert_error(
        &create(with(json!({ "expiresAt": "2099-01-01T00:00:01Z" }))),
        403,
        "forbidden",
        "a longer one",
    );
}

#[test]
fn revoking_wins_whatever_happens_at_once() {
    let server = start();
    for round in 0..4 {
        let (id, first) = server.new_key(&["transaction:read"]);
        let path = format!("{}/{id}", keys(OURS));
        let actions = ["rotate", "revoke", "rotate", "rotate", "revoke", "rotate"];
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let send = |action| {
                let (server, path) = (&server, format!("{path}/{action}"));
                scope.spawn(move || server.by(SYSTEM, "POST", &path, &[], None))
            };
            let threads: Vec<_> = actions.into_iter().map(send).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let of = |wanted: &str| {
            let both = actions.iter().zip(&answers);
            both.filter(|(action, _)| **action == wanted).map(|(_, answer)| answer).collect::<Vec<_>>()
        };
        let revoked = of("revoke").iter().filter(|answer| answer.status == 200).count();
        assert_eq!(revoked, 1, "round {round}: one of them did it");
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 404)));
        let rotated = of("rotate").into_iter().filter(|answer| answer.status == 200);
        for secret in rotated.map(|answer| text(&answer.json()["key"])).chain([first]) {
            assert_eq!(server.status_of(&secret), 401, "round {round}: no secret is left");
        }
        assert_eq!(server.listed(SYSTEM, OURS)[&id], "revoked", "round {round}");
    }
    // Rotated by many at once, exactly two of all the secrets verify.
    let (id, first) = server.new_key(&["transaction:read"]);
    let path = format!("{}/{id}/rotate", keys(OURS));
    let mut secrets: Vec<String> = std::thread::scope(|scope| {
        let rotate = || scope.spawn(|| server.by(SYSTEM, "POST", &path, &[], None).json()["key"].clone());
        let threads: Vec<_> = (0..6).map(|_| rotate()).collect();
        threads.into_iter().map(|thread| text(&thread.join().unwrap())).collect()
    });
    secrets.push(first);
    let good = secrets.iter().filter(|secret| server.status_of(secret) == 200).count();
    assert_eq!(good, 2);
    // Deleted concurrently, by exactly one request.
    let path = format!("{}/{id}", keys(OURS));
    let deleted: usize = std::thread::scope(|scope| {
        let delete =
            || scope.spawn(|| usize::from(server.by(SYSTEM, "DELETE", &path, &[], None).status == 200));
        let threads: Vec<_> = (0..6).map(|_| delete()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(deleted, 1);
    assert!(secrets.iter().all(|secret| server.status_of(secret) == 401));
}

#[test]
fn a_portal_link_opens_once_and_is_not_a_key() {
    let server = start();
    let client = server.new_client(WHOLE);
    let create = |who, body| server.by(who, "POST", "/portal/links", &[], Some(body));
    // No longer than the system's time, for every caller.
    let policy = json!({ "portalLinkTtlMinutes": 10 });
    assert_eq!(server.by(SYSTEM, "PUT", "/system/settings", &[], Some(policy)).status, 200);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for (asked, minutes) in
        [(Value::Null, 10), (json!(3), 3), (json!(10), 10), (json!(11), 10), (json!(u32::MAX), 10)]
    {
        let answer = create(WHOLE, json!({ "clientId": client, "ttlMinutes": asked }));
        assert_eq!((answer.status, &answer.json()["ttlMinutes"]), (200, &json!(minutes)), "{asked}");
        let lifetime = answer.json()["expiresAt"].as_u64().unwrap() - now;
        assert!((minutes * 60..minutes * 60 + 60).contains(&lifetime), "{asked}: {lifetime} seconds");
    }
    for asked in [json!(0), json!(-1), json!("5"), json!(1.5), json!(u64::MAX)] {
        let answer = create(WHOLE, json!({ "clientId": client, "ttlMinutes": asked }));
        assert_error(&answer, 400, "validation_error", &asked.to_string());
    }
    assert_error(&create(OF_OTHER, json!({ "clientId": client })), 404, "not_found", "another's client");

    let token = text(&create(WHOLE, json!({ "clientId": client })).json()["token"]);
    let path = format!("/portal/links/{token}");
    // A link is not a key, in no list of keys, and cannot manage keys.
    for (method, path) in [("GET", "/transactions"), ("GET", &keys(OURS)), ("POST", "/portal/links")] {
        assert_eq!(server.with(&token, method, path, &[], None).status, 401, "{path}");
    }
    assert_eq!(server.listed(SYSTEM, OURS).len(), 3, "the three that the example made");
    // Nor is a key a link.
    assert_error(
        &server.send("GET", &format!("/portal/links/{}", server.get(WHOLE)), &[], None),
        404,
        "not_found",
        "key",
    );
    // `HEAD` does not open it.
    assert_eq!(server.send("HEAD", &path, &[], None).status, 405);

    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let open = || scope.spawn(|| server.send("GET", &path, &[], None).status);
        let threads: Vec<_> = (0..8).map(|_| open()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 404).count(), 7, "{statuses:?}");

    let token = text(&create(WHOLE, json!({ "clientId": client })).json()["token"]);
    let opened = server.send("GET", &format!("/portal/links/{token}"), &[], None);
    assert_eq!(opened.json(), json!({ "organizationId": OURS, "clientId": client }));
    assert_eq!(opened.header("cache-control"), Some("no-store"));
    let again = server.send("GET", &format!("/portal/links/{token}"), &[], None);
    assert_error(&again, 404, "not_found", "again");
}

#[test]
fn a_hundred_a_minute_for_each_caller() {
    let server = start();
    let read = |who| server.by(who, "GET", "/transactions", &[("X-Organization-ID", OURS)], None);
    for number in 1..=100 {
        assert_eq!(read("CHECKOUT_API_KEY").status, 403, "{number}: what is forbidden counts");
    }
    let over = read("CHECKOUT_API_KEY");
    assert_error(&over, 429, "rate_limited", "the hundred and first");
    // A minute, and up to a second more: it is rounded up.
    assert!((1..=61).contains(&over.number("retry-after")), "{}", over.number("retry-after"));
    assert_eq!(read(WHOLE).status, 200, "others are not held up by that");
    for number in 1..=100 {
        assert_eq!(server.status_of(server.get(VIEWER)), 200, "{number}: and so it is with sessions");
    }
    assert_eq!(server.status_of(server.get(VIEWER)), 429);
}

#[tokio::test]
async fn it_is_the_same_over_http_2() {
    let server = start();
    let mut client = Http2::connect(server.address()).await;
    let bearer = |who: &str| format!("Bearer {}", server.get(who)).into_bytes();
    let (whole, system, session) = (bearer(WHOLE), bearer(SYSTEM), bearer(ADMIN));
    let overview = "/api/v1/dashboard/overview";
    // Cookies in separate lines, as HTTP/2 may send them (RFC 9113 section 8.2.3).
    let cookies: &[(&str, &[u8])] =
        &[("authorization", &session), ("cookie", b"a=1"), ("cookie", b"selectedOrganization=org_other")];
    let twice: &[(&str, &[u8])] = &[
        ("authorization", &session),
        ("cookie", b"selectedOrganization=org_other"),
        ("cookie", b"selectedOrganization=org_demo"),
    ];
    type Fields<'f> = &'f [(&'f str, &'f [u8])];
    let cases: &[(&str, Fields<'_>, u16)] = &[
        ("/api/v1/clients", &[], 401),
        ("/api/v1/clients", &[("authorization", &whole)], 200),
        ("/api/v1/clients", &[("authorization", &whole), ("x-organization-id", b"org_other")], 403),
        ("/api/v1/clients", &[("authorization", &system), ("x-organization-id", b" org_demo ")], 200),
        ("/api/v1/clients", &[("authorization", &system)], 400),
        ("/api/v1/system/health", &[("authorization", &system)], 200),
        ("/api/v1/system/health", &[("authorization", &whole)], 403),
        ("/api/v1/organizations/org_other/api-keys", &[("authorization", &whole)], 404),
        (overview, cookies, 200),
        (overview, twice, 403),
    ];
    for (path, fields, status) in cases {
        let answer = client.send(Method::GET, path, fields).await.unwrap();
        assert_eq!(answer.status(), *status, "{path}: {}", answer.body);
        assert!(answer.header("x-request-id").is_some(), "{path}");
    }
}
