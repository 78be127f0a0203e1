//! The page for an application's own staff.

use serde_json::{Value, json};

use crate::server::{Answer, Server};

fn by_staff(server: &Server, method: &str, path: &str, body: Option<&str>) -> Answer {
    let token = format!("Bearer {}", server.get("STAFF_SESSION"));
    let fields = [("authorization", &*token), ("content-type", "application/json")];
    server.send(method, path, &fields[..if body.is_some() { 2 } else { 1 }], body)
}

fn whoami(server: &Server, key: &str) -> Answer {
    server.send("GET", "/whoami", &[("authorization", &format!("Bearer {key}"))], None)
}

#[test]
fn staff_find_a_leaked_key_revoke_it_and_change_a_limit() {
    let server = Server::start("admin", &[]);
    let (key, id) = (server.get("API_KEY"), server.get("KEY_ID"));
    let me = whoami(&server, key);
    assert_eq!((me.status, &me.json()["organization"]), (200, &json!("org_1")), "{}", me.body);

    let listed = |query: &str| by_staff(&server, "GET", &format!("/admin/keys{query}"), None).json();
    assert_eq!(listed("")["data"][0]["id"], id);
    assert_eq!(listed("?scope=invoices:read&namePrefix=Prod")["data"][0]["organization"], "org_1");
    assert_eq!(listed("?scope=runs:read")["data"], json!([]));

    let patch = r#"{"limits":{"requests":5000}}"#;
    let changed = by_staff(&server, "PATCH", &format!("/admin/keys/{id}"), Some(patch));
    assert_eq!(
        (changed.status, &changed.json()["limits"]["requests"]),
        (200, &json!(5000)),
        "{}",
        changed.body
    );
    let read = by_staff(&server, "GET", &format!("/admin/keys/{id}"), None).json();
    assert_eq!((&read["limits"], &read["status"]), (&json!({ "requests": 5000 }), &json!("active")));

    assert_eq!(by_staff(&server, "POST", "/admin/leaks", Some("acme_none")).status, 404);
    let revoked = by_staff(&server, "POST", "/admin/leaks", Some(&format!(" {key}\n")));
    let revoked: Value = revoked.json();
    assert_eq!((&revoked[0]["id"], &revoked[0]["status"]), (&json!(id), &json!("revoked")));
    assert_eq!(whoami(&server, key).status, 401);
}

#[test]
fn no_customer_is_staff() {
    let server = Server::start("admin", &[]);
    let key = format!("Bearer {}", server.get("API_KEY"));
    let one = format!("/admin/keys/{}", server.get("KEY_ID"));
    for (method, path) in [("GET", "/admin/keys"), ("GET", &*one), ("PATCH", &*one), ("POST", "/admin/leaks")]
    {
        for (token, status) in [("", 401), (&*key, 403), ("Bearer staff_guess", 401)] {
            let fields = [("authorization", token)];
            let fields = if token.is_empty() { &fields[..0] } else { &fields[..] };
            assert_eq!(
                server.send(method, path, fields, Some("{}")).status,
                status,
                "{method} {path} {token}"
            );
        }
    }
    let token = format!("Bearer {}", server.get("STAFF_SESSION"));
    assert_eq!(server.send("DELETE", &one, &[("authorization", &token)], None).status, 403, "no rule for it");
}

#[test]
fn the_printed_curl_lines_work_as_pasted_and_it_stops_cleanly() {
    let server = Server::start("admin", &[]);
    assert_eq!(server.paste_curl_lines(), [200; 4]);
    assert!(server.stop("-TERM"));
}
