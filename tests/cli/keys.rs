//! The life of a key, by each verb.

use serde_json::json;
use tower_api_keys::store::HistoryQuery;

use crate::program::{Program, runtime, snapshot};

#[test]
fn a_key_lives() {
    for program in Program::each() {
        let create =
            ["create", "Nightly export", "-o", "org_1", "--scope", "invoice:read", "--expires", "2099-01-31"];
        let limits =
            ["--limit", "requests=500", "--address", "192.0.2.0/24", "--metadata", r#"{"plan":"pro"}"#];
        let made = program.run(create.iter().chain(&limits)).done();
        snapshot("create.txt", &format!("{}--\n{}", made.out, made.err));
        assert_eq!(made.out.lines().count(), 1, "the secret, and nothing else");

        let listed = program.run(["list"]).done();
        snapshot("list.txt", &listed.out);
        let listed = program.run(["list", "--json"]).done();
        snapshot("list.json", &listed.out);
        let id = listed.json()["data"][0]["id"].as_str().unwrap().to_owned();
        snapshot("show.txt", &program.run(["show", &id]).done().out);
        snapshot("show.json", &program.run(["show", &id, "--json"]).done().out);

        let change = ["update", &id, "--add-scope", "runs:read", "--name", "Export", "--expires", "never"];
        let more = ["--limit", "requests=none", "--limit", "writes=5", "--any-address", "--metadata", "{}"];
        snapshot("update.txt", &program.run(change.iter().chain(&more)).done().out);
        assert_eq!(program.show(&id)["scopes"], json!(["invoice:read", "runs:read"]));
        program.run(["update", &id, "--remove-scope", "invoice:read"]).done();
        assert_eq!(program.show(&id)["scopes"], json!(["runs:read"]));

        let rotated = program.run(["rotate", &id, "--grace", "1h"]).done();
        snapshot("rotate.txt", &format!("{}--\n{}", rotated.out, rotated.err));
        assert_ne!(rotated.out, made.out);
        let rotated = program.run(["rotate", &id, "--grace", "0s", "--on-first-use"]).done();
        snapshot("rotate_on_first_use.txt", &format!("{}--\n{}", rotated.out, rotated.err));

        assert_eq!(program.run(["disable", &id, "--json"]).done().json()["status"], "disabled");
        assert_eq!(program.run(["enable", &id, "--json"]).done().json()["status"], "active");
        assert_eq!(program.run(["revoke", &id, "--yes", "--json"]).done().json()["status"], "revoked");
        let again = program.run(["revoke", &id, "--yes", "--json"]).done();
        assert_eq!(again.json()["status"], "revoked", "a second time is no fault");
        for verb in [vec!["rotate", &id], vec!["enable", &id], vec!["update", &id, "--name", "x"]] {
            let refused = program.run(&verb).with(5);
            assert!(refused.err.contains("is revoked"), "{}", refused.err);
        }
        snapshot("not_found.json", &program.run(["rotate", "k0000000000000000", "--json"]).with(5).err);
        program.run(["delete", &id, "--confirm", "Export", "--json"]).done();
        program.run(["show", &id]).with(5);
        let written = std::fs::read_to_string(program.file("api-keys.toml")).unwrap();
        assert!(!written.contains("postgres:"), "the URL is in the environment, and may have a password");
    }
}

#[test]
fn what_was_made_with_a_key_is_revoked_with_it() {
    for program in Program::each() {
        let (id, _) = program.key("Parent", &[]);
        let (child, _) = program.key("Child", &[]);
        let (other, _) = program.key("Other", &[]);
        // As if it had been made over HTTP with the other.
        program.sql(&format!("UPDATE api_keys SET created_by = 'key {id}' WHERE id = '{child}'"));
        let revoked = program.run(["revoke", &id, "--descendants", "--yes", "--json"]).done().json();
        let ids: Vec<_> = revoked["data"].as_array().unwrap().iter().map(|key| key["id"].clone()).collect();
        assert_eq!(ids, [json!(id), json!(child)]);
        assert_eq!(program.show(&other)["status"], "active");
    }
}

#[test]
fn each_change_is_audited_under_the_name_of_the_person() {
    for program in Program::each() {
        let (id, _) = program.key("Ours", &[]);
        program.run(["disable", &id, "--as", "grace hopper"]).done();
        program.run(["revoke", &id, "--yes"]).done();
        let events = runtime().block_on(async {
            let store = program.store().await;
            store.audit_log().unwrap().history(None, &HistoryQuery::default()).await.unwrap().events
        });
        let said: Vec<_> = events.iter().map(|event| format!("{} {}", event.action, event.actor)).collect();
        assert_eq!(said, ["revoke operator ada", "disable operator grace hopper", "create operator ada"]);
    }
}

#[test]
fn each_change_says_why() {
    for program in Program::each() {
        let (id, secret) = program.key("Ours", &["--reason", "create"]);
        let hash = json!({ "id": "k0000000000000000", "name": "x", "organization": "o", "hash": "$2b$" })
            .to_string();
        for (arguments, input) in [
            (vec!["update", &*id, "--name", "Still ours"], ""),
            (vec!["rotate", &id], ""),
            (vec!["disable", &id], ""),
            (vec!["enable", &id], ""),
            (vec!["revoke", &id, "--yes"], ""),
            (vec!["delete", &id, "--confirm", "Still ours"], ""),
            (vec!["import"], &*hash),
            (vec!["revoke", "k0000000000000000", "--descendants", "--yes"], ""),
            (vec!["prune", "--revoked-for", "0s", "--yes"], ""),
        ] {
            program.run_with(arguments.iter().chain(&["--reason", arguments[0]]), input).done();
            // An instant that is past.
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let (found, secret) = (program.key("Found", &[]).0, secret);
        let events = program.run(["audit", "--json"]).done().json()["data"].as_array().unwrap().clone();
        let said: Vec<_> =
            events.iter().map(|event| format!("{} {}", event["action"], event["reason"])).collect();
        assert_eq!(
            said,
            [
                r#""create" null"#,
                r#""delete" "prune""#,
                r#""revoke" "revoke""#,
                r#""import" "import""#,
                r#""delete" "delete""#,
                r#""revoke" "revoke""#,
                r#""enable" "enable""#,
                r#""disable" "disable""#,
                r#""rotate" "rotate""#,
                r#""update" "update""#,
                r#""create" "create""#,
            ]
        );
        assert!(program.run(["audit"]).done().out.lines().nth(2).unwrap().ends_with("prune"));
        let refused =
            program.run(["disable", &found, "--reason", &format!("https://x.org/?key={secret}")]).with(2);
        assert!(
            refused.err.contains("must not contain a key") && !refused.err.contains(&secret),
            "{}",
            refused.err
        );
    }
}

#[test]
fn where_a_key_was_found_is_noted() {
    for program in Program::each() {
        let (id, secret) = program.key("Ours", &[]);
        program.run_with(["find"], &secret).done();
        program.run_with(["find", "--report", "a public repository"], &secret).done();
        program.run_with(["find", "--report", "a log"], "acme_live_other").with(5);
        let refused = program.run_with(["find", "--report", &secret], &secret).with(2);
        assert!(!refused.err.contains(&secret), "{}", refused.err);
        let events = program.run(["audit", &id, "--json"]).done().json()["data"].as_array().unwrap().clone();
        let said: Vec<_> = events.iter().map(|event| (&event["action"], &event["reason"])).collect();
        assert_eq!(
            said,
            [(&json!("report_leak"), &json!("a public repository")), (&json!("create"), &json!(null))]
        );
    }
}

#[test]
fn nothing_is_asked_without_a_terminal() {
    for program in Program::each() {
        let (id, _) = program.key("Ours", &[]);
        for (arguments, option) in [
            (vec!["create", "X", "-o", "org_1"], "--expires"),
            (vec!["revoke", &id], "--yes"),
            (vec!["delete", &id], "--confirm"),
            (vec!["delete", &id, "--yes"], "--confirm"),
        ] {
            let refused = program.run(&arguments).with(2);
            assert!(refused.err.contains(option), "{arguments:?}: {}", refused.err);
            let refused = program.run(arguments.iter().chain(&["--json"])).with(2).error();
            assert_eq!(refused["code"], "confirmation_needed");
        }
        assert_eq!(program.show(&id)["status"], "active");
        program.run(["delete", &id, "--confirm", "Theirs"]).with(2);
        assert_eq!(program.show(&id)["status"], "active");
    }
}

#[test]
fn a_terminal_is_asked() {
    let program = Program::new();
    let (id, _) = program.key("Ours", &[]);
    let in_terminal = |arguments: &str, prompt: &str, answer: &str| {
        program.in_terminal(&format!("{} {arguments}", env!("CARGO_BIN_EXE_api-keys")), prompt, answer)
    };
    let (status, said) = in_terminal(&format!("revoke {id}"), "[y/N]", "n\n");
    assert_eq!(status, 2, "{said}");
    assert!(said.contains("[y/N]"), "{said}");
    assert_eq!(in_terminal(&format!("delete {id}"), "to go on", "Theirs\n").0, 2);
    assert_eq!(program.show(&id)["status"], "active");
    assert_eq!(in_terminal(&format!("revoke {id} --no-input"), "", "y\n").0, 2);
    assert_eq!(in_terminal(&format!("revoke {id}"), "[y/N]", "y\n").0, 0);
    assert_eq!(program.show(&id)["status"], "revoked");
    assert_eq!(in_terminal(&format!("delete {id}"), "to go on", "Ours\n").0, 0);
    program.run(["show", &id]).with(5);
}

#[test]
fn a_fault_has_its_status_and_its_code() {
    for program in Program::each() {
        let (id, _) = program.key("Ours", &[]);
        let nowhere = "k0000000000000000";
        for (arguments, status, code) in [
            (vec!["show", nowhere], 5, "not_found"),
            (vec!["update", nowhere, "--name", "X"], 5, "not_found"),
            (vec!["update", &id], 2, "usage"),
            (vec!["update", &id, "--name", " "], 2, "invalid"),
            (vec!["update", &id, "--limit", "requests"], 2, "usage"),
            (vec!["create", "X", "--expires", "never"], 2, "usage"),
            (vec!["create", "X", "-o", "org_1", "--expires", "2001-01-01"], 2, "invalid"),
            (vec!["create", "X", "-o", "org_1", "--expires", "never", "--scope", "no scope"], 2, "invalid"),
            (vec!["rotate", &id, "--grace", "8d"], 2, "invalid"),
            (vec!["list", "--status", "lost"], 2, "usage"),
            (vec!["dance"], 2, "usage"),
        ] {
            let failed = program.run(arguments.iter().chain(&["--json"])).with(status);
            assert_eq!(failed.error()["code"], code, "{arguments:?}");
            assert_eq!(failed.out, "");
            program.run(&arguments).with(status);
        }
    }
}
