//! `export` and `import`.

use std::fs::File;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::program::Program;

#[test]
fn what_is_exported_with_digests_can_be_imported() {
    for (from, to) in Program::each().into_iter().zip(Program::each().into_iter().rev()) {
        let (id, secret) = from
            .key("Ours", &["--scope", "invoice:read", "--limit", "requests=5", "--address", "192.0.2.0/24"]);
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
}

#[test]
fn secrets_and_csv_are_imported_and_faults_are_reported_by_line() {
    for program in Program::each() {
        let (_, secret) = Program::new().key("Elsewhere", &[]);
        let (_, other) = Program::new().key("Elsewhere, too", &[]);
        let csv = format!(
            "name,organization,scopes,limits,key,expiresAt\n\
         \"Old, quoted\",org_9,a:b c:d,requests=5 writes=6,{secret},2099-01-01T00:00:00Z\n\
         No key,org_9,,,,\n\
         No owner,,,,{secret},\n\
         Bad time,org_9,,,{secret},soon\n\
         Bad key,org_9,,,acme_live_bad,\n\
         too,few\n\
         Empty fields,org_9,,,{other},\n"
        );
        let done = program.run_with(["import", "--csv", "--json"], &csv).with(1);
        assert!(!done.out.contains(&secret) && !done.err.contains(&secret));
        let report: Vec<Value> = done.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let outcomes: Vec<_> =
            report.iter().map(|line| (line["line"].clone(), line["outcome"].clone())).collect();
        let failed = |line: u64| (json!(line), json!("failed"));
        assert_eq!(
            outcomes,
            [
                (json!(2), json!("imported")),
                failed(3),
                failed(4),
                failed(5),
                failed(6),
                failed(7),
                (json!(8), json!("imported"))
            ]
        );
        let keys = program.run(["list", "--json"]).done().json();
        let (key, other) = (&keys["data"][0], &keys["data"][1]);
        assert_eq!((&other["scopes"], &other["expiresAt"]), (&json!([]), &json!(null)));
        assert_eq!((&key["name"], &key["scopes"]), (&json!("Old, quoted"), &json!(["a:b", "c:d"])));
        assert_eq!(key["limits"], json!({ "requests": 5, "writes": 6 }));
        program.run_with(["verify"], &secret).done();

        let lines = format!(
            "{{\"name\":\"x\",\"key\":\"{secret}\"}}\nnot json {secret}\n\n{{\"name\":5,\"key\":\"{secret}\"}}\n"
        );
        let done = program.run_with(["import", "-o", "org_9"], &lines).with(1);
        assert!(!done.out.contains(&secret) && !done.err.contains(&secret), "{done:?}");
        assert_eq!(done.out.lines().count(), 3);
        assert!(done.out.ends_with("line 4: failed name: not valid\n"), "{}", done.out);
        assert!(
            done.out.starts_with("line 1: left it is already there\nline 2: failed it is not JSON"),
            "{}",
            done.out
        );
    }
}

/// A reader may keep either of two.
#[test]
fn a_field_that_comes_twice_is_a_fault() {
    let program = Program::new();
    let (_, secret) = Program::new().key("Elsewhere", &[]);
    let (key, line) = (format!(r#""key":"{secret}","name":"a""#), "\n");
    let lines = [
        format!(r#"{{{key},"organization":"org_1","organization":"org_2"}}"#),
        format!(r#"{{{key},"organization":"org_1","limits":{{"a":1,"a":2}}}}"#),
        format!(r#"{{{key},"organization":"org_1","metadata":{{"a":[{{"b":1,"b":2}}]}}}}"#),
    ];
    let csv = [
        "key,name,limits,metadata,organization".to_owned(),
        format!("{secret},a,a=1 a=2,,org_1"),
        format!(r#"{secret},a,,"{{""a"":1,""a"":2}}",org_1"#),
    ];
    for (arguments, lines) in [(&["import"][..], &lines[..]), (&["import", "--csv"], &csv)] {
        let done = program.run_with(arguments.iter().copied(), &lines.join(line)).with(1);
        assert!(done.out.lines().all(|line| line.ends_with("a field is there twice")), "{}", done.out);
        assert!(done.err.contains("Imported: 0,"), "{}", done.err);
    }
}

#[test]
fn after_a_rotation_the_digest_is_exported_in_place_of_the_old_hash() {
    for (from, to) in Program::each().into_iter().zip(Program::each().into_iter().rev()) {
        let hash = json!({ "id": "tN8qJz0bXy12Ab34", "name": "Old", "organization": "org_1", "hash": "$2b$12$hash" });
        from.run_with(["import"], &hash.to_string()).done();
        let export = ["export", "--digests"];
        assert_eq!(from.run(export).done().json()["hash"], "$2b$12$hash");
        let secret = from.run(["rotate", "tN8qJz0bXy12Ab34"]).done().out;
        let exported = from.run(export).done();
        assert_eq!(exported.json().get("hash"), None, "{}", exported.out);
        to.run_with(["import"], &exported.out).done();
        to.run_with(["verify"], &secret).done();
    }
}

#[test]
fn a_line_does_not_get_another_owner_than_the_one_it_names() {
    let program = Program::new();
    let (of, secret) = Program::new().key("Elsewhere", &[]);
    let line = |organization: &str, mode: &str| {
        json!({ "name": "Ours", "key": secret, "organization": organization, "mode": mode }).to_string()
    };
    for (options, organization, mode, fault) in [
        (["-o", "org_1", "--mode", "live"], "org_2", "live", "organization: another"),
        (["-o", "org_1", "--mode", "test"], "org_1", "live", "mode: another"),
        (["--system", "--json", "--mode", "live"], "org_1", "live", "organization: another"),
    ] {
        let refused = program.run_with(["import"].iter().chain(&options), &line(organization, mode)).with(1);
        assert!(refused.out.contains(fault), "{}", refused.out);
    }
    program.run_with(["import", "-o", "org_1"], &line("org_1", "live")).done();
    assert_eq!(program.show(&of)["organization"], "org_1");
}

#[test]
fn a_field_that_is_unknown_is_an_error() {
    let program = Program::new();
    let digest = format!("sha256:{}", "a".repeat(64));
    let line = |field: &str| {
        format!(
            "{{\"id\":\"k0000000000000000\",\"name\":\"x\",\"organization\":\"o\",\"digest\":\"{digest}\",\"{field}\":null}}"
        )
    };
    let refused = program.run_with(["import"], &line("expires_at")).with(1);
    assert!(refused.out.starts_with("line 1: failed there is an unknown field"), "{}", refused.out);
    for (header, want) in [
        ("name,expires_at", "Column 2 of the header is no field of a key."),
        ("name,key,name", "Column 3 of the header is there twice."),
        ("acme_live_secret,o", "Column 1 of the header is no field of a key."),
    ] {
        let refused =
            program.run_with(["import", "--csv"], &format!("{header}\nx,2030-01-31T00:00:00Z\n")).with(1);
        assert!(refused.err.contains(want) && !refused.err.contains("secret"), "{}", refused.err);
    }
    assert_eq!(program.run(["list", "--json"]).done().json()["data"], json!([]));
    program.run_with(["import"], &line("expiresAt")).done();
}

#[test]
fn a_disabled_key_is_never_active() {
    for (from, to) in Program::each().into_iter().zip(Program::each().into_iter().rev()) {
        let (id, _) = from.key("Ours", &[]);
        from.run(["disable", &id]).done();
        to.run_with(["import"], &from.run(["export", "--digests"]).done().out).done();
        assert_eq!(to.show(&id)["status"], "disabled");
        let history = to.run(["audit", &id, "--json"]).done().json();
        let actions: Vec<_> =
            history["data"].as_array().unwrap().iter().map(|event| &event["action"]).collect();
        assert_eq!(actions, ["import"], "stored disabled, in one change");
    }
}

#[test]
fn input_that_can_not_be_read_ends_the_import() {
    let program = Program::new();
    for more in [vec![], vec!["--csv"]] {
        let mut command = program.command(["import"].iter().chain(&more));
        // A directory can be opened, and not read.
        let output = command.stdin(Stdio::from(File::open("/").unwrap())).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("Standard input can't be read") && output.stdout.is_empty(), "{said}");
    }
    let bytes = program.file("bytes");
    let key =
        json!({ "name": "x", "organization": "o", "id": "k0000000000000000", "hash": "$2b$" }).to_string();
    std::fs::write(&bytes, [b"\xff\n", key.as_bytes()].concat()).unwrap();
    let output = program.command(["import"]).stdin(File::open(bytes).unwrap()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said, "line 1: failed it is not UTF-8\nline 2: imported k0000000000000000\n");
}

#[test]
fn a_trial_says_what_the_run_does_and_changes_nothing() {
    for program in Program::each() {
        let digest = |number: u32| format!("sha256:{number:064}");
        let line = |id: u32, organization: &str, more: &str| {
            format!("{{\"id\":\"k{id:015}\",\"name\":\"x\",\"organization\":\"{organization}\",{more}}}\n")
        };
        let with = |id, organization, number| {
            let digest = digest(number);
            line(id, organization, &format!("\"digest\":\"{digest}\""))
        };
        let (_, secret) = Program::new().key("Elsewhere", &[]);
        let before = with(1, "org_1", 1) + &with(2, "org_1", 2) + &with(3, "org_1", 3);
        program.run_with(["import"], &before).done();
        program.run(["delete", "k000000000000002", "--confirm", "x"]).done();
        program.run(["rotate", "k000000000000003"]).done();
        let lines = [
            with(4, "org_1", 4),
            // Of this input, and of the store.
            with(4, "org_1", 4) + &with(5, "org_1", 4) + &with(4, "org_1", 5) + &with(5, "org_2", 4),
            with(1, "org_1", 1) + &with(1, "org_2", 1) + &with(6, "org_1", 1) + &with(1, "org_1", 6),
            with(2, "org_1", 2) + &with(3, "org_1", 3),
            line(7, "org_1", "\"hash\":\"$2b$12$hash\"") + &line(7, "org_1", "\"hash\":\"$2b$12$other\""),
            line(8, "org_1", &format!("\"digest\":\"hmac-sha256:7:{:064}\"", 8)),
            line(9, "org_1", &format!("\"digest\":\"{}\",\"expiresAt\":\"2001-01-01T00:00:00Z\"", digest(9))),
            format!("{{\"name\":\"x\",\"organization\":\"org_1\",\"key\":\"{secret}\"}}\n").repeat(2),
            format!("{{\"name\":\"x\",\"organization\":\"org_1\",\"mode\":\"test\",\"key\":\"{secret}\"}}\n"),
        ]
        .concat();
        let state = || {
            let [keys, events] = ["export", "audit"].map(|verb| match verb {
                "audit" => program.run([verb, "--all", "--json"]).done().out,
                _ => program.run([verb, "--digests"]).done().out,
            });
            (keys, events)
        };
        let old = state();
        let tried = program.run_with(["import", "--dry-run", "--json"], &lines).with(1);
        assert_eq!(state(), old);
        let done = program.run_with(["import", "--json"], &lines).with(1);
        assert_eq!(tried.out, done.out);
        let count = |outcome: &str| done.out.matches(&format!("\"outcome\":\"{outcome}\"")).count();
        assert_eq!((count("imported"), count("left"), count("failed")), (3, 7, 8), "{}", done.out);
        assert_ne!(state(), old);
    }
}

#[test]
fn a_line_that_is_too_long_is_a_fault_of_that_line() {
    let program = Program::new();
    let good = |id: &str| {
        json!({ "id": id, "name": "x", "organization": "o", "hash": format!("$2b${id}") }).to_string()
    };
    // Cut in the middle of a character.
    let long = format!("{{\"name\":\"{}\"}}", "ä".repeat(40_000));
    let lines = [long.clone(), good("k0000000000000000"), long, good("k0000000000000001")].join("\n");
    let done = program.run_with(["import"], &lines).with(1);
    let want = "line 1: failed it is longer than 64 KiB\nline 2: imported k0000000000000000\n\
                line 3: failed it is longer than 64 KiB\nline 4: imported k0000000000000001\n";
    assert_eq!(done.out, want);
    let csv = format!("name,organization\n{},o\nx,o\n", "x".repeat(70_000));
    let done = program.run_with(["import", "--csv"], &csv).with(1);
    assert!(
        done.out.starts_with("line 2: failed it is longer than 64 KiB\nline 3: failed key "),
        "{}",
        done.out
    );
    for verb in ["verify", "find"] {
        let refused = program.run_with([verb], &"x".repeat(70_000)).with(2);
        assert!(refused.err.contains("longer than 64 KiB"), "{}", refused.err);
    }
}
