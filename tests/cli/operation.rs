//! `doctor`, `prune`, `audit`, `completions` and `man`.

use serde_json::{Value, json};

use crate::program::{Program, snapshot};

#[test]
fn the_history_of_a_key_is_shown_also_of_one_that_is_gone() {
    for program in Program::each() {
        program.key("Other", &[]);
        let (id, _) = program.key("Ours", &[]);
        program.run(["update", &id, "--name", "Still ours"]).done();
        let shown = program.run(["audit", &id]).done();
        snapshot("audit.txt", &shown.out);
        program.run(["delete", &id, "--confirm", "Still ours"]).done();
        let shown = program.run(["audit", &id, "--json"]).done();
        snapshot("audit.json", &shown.out);
        let events = shown.json()["data"].as_array().unwrap().clone();
        let actions: Vec<_> = events.iter().map(|event| event["action"].clone()).collect();
        assert_eq!(actions, ["delete", "revoke", "update", "create"]);
        assert!(events.iter().all(|event| event["actor"] == "operator ada"));

        let first = program.run(["audit", "--limit", "3", "--json"]).done().json();
        let before = first["nextCursor"].as_str().unwrap().to_owned();
        let rest = program.run(["audit", "--before", &before, "--json"]).done().json();
        assert_eq!((first["data"].as_array().unwrap().len(), rest["data"].as_array().unwrap().len()), (3, 2));
        assert_eq!(program.run(["audit", "--all", "--json"]).done().out.lines().count(), 5);
        program.run(["audit", "k0000000000000000"]).with(5);
    }
}

#[test]
fn keys_that_ended_long_ago_are_deleted() {
    for program in Program::each() {
        let (kept, _) = program.key("Kept", &[]);
        let (revoked, _) = program.key("Revoked", &[]);
        program.run(["create", "Expired", "-o", "org_2", "--expires", "1s"]).done();
        program.run(["revoke", &revoked, "--yes"]).done();
        std::thread::sleep(std::time::Duration::from_millis(1200));
        program.run(["prune"]).with(2);
        let prune = ["prune", "--revoked-for", "1ms", "--expired-for", "1ms", "--json"];
        let tried = program.run(prune.iter().chain(&["--dry-run"])).done().json();
        assert_eq!(tried, json!({ "found": 2, "deleted": 0 }));
        program.run(prune).with(2);
        let long_ago = ["prune", "--revoked-for", "1h", "--expired-for", "1h", "--yes", "--json"];
        assert_eq!(program.run(long_ago).done().json()["found"], 0);
        let done = program.run(prune.iter().chain(&["--yes"])).done().json();
        assert_eq!(done, json!({ "found": 2, "deleted": 2 }));
        let listed = program.run(["list", "--json"]).done().json();
        assert_eq!(listed["data"].as_array().unwrap().len(), 1);
        assert_eq!(listed["data"][0]["id"], *kept);
    }
}

#[test]
fn a_doctor_finds_what_is_wrong() {
    for program in Program::each() {
        program.key("Ours", &[]);
        snapshot("doctor.txt", &program.run(["doctor"]).done().out);
        let findings = |status| {
            let said = program.run(["doctor", "--json"]).with(status).json();
            let bad = |check: &&Value| check["good"] == false;
            let checks =
                said["checks"].as_array().unwrap().iter().filter(bad).map(|check| check["check"].clone());
            checks.collect::<Vec<_>>()
        };
        assert!(findings(0).is_empty());
        program.sql("UPDATE api_key_audit SET at = at + 3600000");
        assert_eq!(findings(3), ["clock"]);
        program.sql("UPDATE api_keys SET digest = replace(digest, 'sha256:', 'hmac-sha256:7:')");
        assert_eq!(findings(3), ["peppers", "clock"]);
        program.sql("UPDATE api_keys SET scopes = 'no*scope'");
        assert!(findings(3).contains(&json!("records")));
    }
}

#[test]
fn completions_and_manual_name_every_verb() {
    let program = Program::empty(None);
    let help = program.run(["help"]).done().out;
    let verbs: Vec<_> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        // Others continue the one before.
        .filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(verbs.len() > 18, "{help}");
    for shell in ["bash", "zsh", "fish"] {
        let text = program.run(["completions", shell]).done().out;
        assert!(verbs.iter().all(|verb| text.contains(verb)), "{shell}");
    }
    program.run(["man", "."]).done();
    for verb in verbs.iter().filter(|verb| **verb != "help") {
        assert!(program.file(&format!("api-keys-{verb}.1")).exists(), "{verb}");
    }
    assert!(program.run(["man"]).done().out.contains(".TH"));
}
