//! `doctor`, `prune`, `audit`, `export`, `import`, `completions` and `man`.

use serde_json::{Value, json};

use crate::program::{Program, snapshot};

#[test]
fn the_history_of_a_key_is_shown_also_of_one_that_is_gone() {
    let program = Program::new();
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

#[test]
fn keys_that_ended_long_ago_are_deleted() {
    let program = Program::new();
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

#[test]
fn a_doctor_finds_what_is_wrong() {
    let program = Program::new();
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
    sql(&program, "UPDATE api_key_audit SET at = at + 3600000");
    assert_eq!(findings(3), ["clock"]);
    sql(&program, "UPDATE api_keys SET digest = replace(digest, 'sha256:', 'hmac-sha256:7:')");
    assert_eq!(findings(3), ["peppers", "clock"]);
    sql(&program, "UPDATE api_keys SET scopes = 'no*scope'");
    assert!(findings(3).contains(&json!("records")));
}

fn sql(program: &Program, statement: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(program.file("api-keys.db"));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(statement).execute(&pool).await.unwrap();
    });
}

#[test]
fn what_is_exported_with_digests_can_be_imported() {
    let (from, to) = (Program::new(), Program::new());
    let (id, secret) =
        from.key("Ours", &["--scope", "invoice:read", "--limit", "requests=5", "--address", "192.0.2.0/24"]);
    let (disabled, _) = from.key("Disabled", &["--mode", "test", "--metadata", r#"{"plan":"pro"}"#]);
    let (revoked, _) = from.key("Revoked", &[]);
    from.run(["disable", &disabled]).done();
    from.run(["revoke", &revoked, "--yes"]).done();
    let plain = from.run(["export"]).done().out;
    assert!(!plain.contains("sha256") && plain.lines().count() == 3, "{plain}");
    let exported = from.run(["export", "--digests"]).done().out;
    assert_eq!(exported.matches("sha256:").count(), 2, "none of a key that is revoked");

    let tried = to.run_with(["import", "--dry-run"], &exported).done();
    assert!(tried.out.contains(&format!("line 1: imported {id}")), "{}", tried.out);
    assert_eq!(to.run(["list", "--json"]).done().json()["data"], json!([]), "a trial changes nothing");
    let done = to.run_with(["import"], &exported).done();
    assert!(done.err.contains("Imported: 2, left as they are: 1, failed: 0."), "{}", done.err);
    let again = to.run_with(["import"], &exported).done();
    assert!(again.err.contains("Imported: 0, left as they are: 3, failed: 0."), "{}", again.err);
    let tried = to.run_with(["import", "--dry-run"], &exported).done();
    assert!(tried.err.contains("Imported: 0"), "{}", tried.err);

    assert_eq!(to.run_with(["verify", "--json"], &secret).done().json()["key"]["id"], *id);
    for id in [id, disabled] {
        let [mut old, mut new] = [from.show(&id), to.show(&id)];
        for own in ["createdAt", "secretCreatedAt"] {
            old[own].take();
            new[own].take();
        }
        assert_eq!(old, new);
    }
}

#[test]
fn secrets_and_csv_are_imported_and_faults_are_reported_by_line() {
    let program = Program::new();
    let (_, secret) = Program::new().key("Elsewhere", &[]);
    let csv = format!(
        "name,organization,scopes,limits,key,expiresAt\n\
         \"Old, quoted\",org_9,a:b c:d,requests=5 writes=6,{secret},2099-01-01T00:00:00Z\n\
         No key,org_9,,,,\n\
         No owner,,,,{secret},\n\
         Bad time,org_9,,,{secret},soon\n\
         Bad key,org_9,,,acme_live_bad,\n\
         too,few\n"
    );
    let done = program.run_with(["import", "--csv", "--json"], &csv).with(1);
    assert!(!done.out.contains(&secret) && !done.err.contains(&secret));
    let report: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let outcomes: Vec<_> =
        report.iter().map(|line| (line["line"].clone(), line["outcome"].clone())).collect();
    let failed = |line: u64| (json!(line), json!("failed"));
    assert_eq!(
        outcomes,
        [(json!(2), json!("imported")), failed(3), failed(4), failed(5), failed(6), failed(7)]
    );
    let key = &program.run(["list", "--json"]).done().json()["data"][0];
    assert_eq!((&key["name"], &key["scopes"]), (&json!("Old, quoted"), &json!(["a:b", "c:d"])));
    assert_eq!(key["limits"], json!({ "requests": 5, "writes": 6 }));
    program.run_with(["verify"], &secret).done();

    let lines = format!(
        "{{\"name\":\"x\",\"key\":\"{secret}\"}}\nnot json {secret}\n\n{{\"name\":5,\"key\":\"{secret}\"}}\n"
    );
    let done = program.run_with(["import", "-o", "org_9"], &lines).with(1);
    assert!(!done.out.contains(&secret) && !done.err.contains(&secret), "{done:?}");
    assert_eq!(done.out.lines().count(), 3);
    assert!(
        done.out.starts_with("line 1: left it is already there\nline 2: failed it is not JSON"),
        "{}",
        done.out
    );
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
