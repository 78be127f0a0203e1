//! `scan` and `rules`.

use regex::Regex;
use serde_json::{Value, json};

use crate::program::{Program, snapshot};

#[test]
fn keys_are_found_in_files_without_a_store() {
    let program = Program::new();
    let (id, secret) = program.key("Ours", &[]);
    let (gone, other) = program.key("Revoked", &["--mode", "test"]);
    program.run(["revoke", &gone, "--yes"]).done();
    let tree = program.file("tree");
    std::fs::create_dir_all(tree.join("deep/.hidden")).unwrap();
    std::fs::write(tree.join("deep/.hidden/.env"), format!("A=1\nKEY=\"{secret}\"\n")).unwrap();
    std::fs::write(tree.join("binary"), [b"\0\xff\xfe", other.as_bytes(), b"\0"].concat()).unwrap();
    let wrong_checksum =
        format!("{}{}", &secret[..secret.len() - 1], if secret.ends_with('0') { '1' } else { '0' });
    std::fs::write(tree.join("clean"), format!("{wrong_checksum} acme_live_ x{secret}")).unwrap();
    std::os::unix::fs::symlink(&tree, tree.join("again")).unwrap();

    let found = program.run(["scan", "tree"]).with(3);
    snapshot("scan.txt", &found.out);
    assert!(!found.out.contains(&secret[20..]) && !found.out.contains(&other[20..]), "redacted");
    let found = program.run(["scan", "tree", "--json"]).with(3);
    let places: Vec<Value> = found.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        places[0],
        json!({ "path": "tree/binary", "line": 1, "column": 4, "hint": places[0]["hint"], "id": null, "status": null, "works": null })
    );
    assert_eq!((&places[1]["line"], &places[1]["column"]), (&json!(2), &json!(6)));
    snapshot("scan.sarif", &program.run(["scan", "tree", "--sarif"]).with(3).out);

    let known = program.run(["scan", "tree", "--check-store", "--json"]).with(3);
    let known: Vec<Value> = known.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Of a key that is revoked, the digest of the secret in use is kept.
    assert_eq!((&known[0]["id"], &known[0]["status"]), (&json!(gone), &json!("revoked")));
    assert_eq!((&known[1]["id"], &known[1]["status"]), (&json!(id), &json!("active")));
    assert_eq!((&known[0]["works"], &known[1]["works"]), (&json!(false), &json!(true)));
    let next = program.run(["rotate", &id, "--grace", "1h"]).done().out;
    let replaced =
        |text: &str| program.run_with(["scan", "-", "--check-store", "--json"], text).with(3).json();
    assert_eq!((&replaced(&secret)["works"], &replaced(&next)["works"]), (&json!(true), &json!(true)));
    program.run(["rotate", &id, "--grace", "1s"]).done();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let ended = replaced(&next);
    assert_eq!(
        (&ended["status"], &ended["works"]),
        (&json!("active"), &json!(false)),
        "its secret has ended"
    );
    let ended = program.run_with(["scan", "-", "--check-store"], &next).with(3);
    assert!(ended.out.ends_with("active: replaced\n"), "{}", ended.out);
    std::fs::remove_file(program.file("api-keys.db")).unwrap();
    program.run(["scan", "tree"]).with(3);
    program.run(["scan", "tree/clean"]).done();
    program.run(["scan", "tree/missing"]).with(1);
    let piped = program.run_with(["scan", "-"], &format!("token: {secret}")).with(3);
    assert!(piped.out.starts_with("-:1:8: acme_live_…"), "{}", piped.out);
    program.run_with(["scan", "-"], "nothing").done();
}

#[test]
fn a_path_that_is_named_is_searched_whatever_it_is() {
    let program = Program::new();
    let (_, secret) = program.key("Ours", &[]);
    std::fs::write(program.file("key"), &secret).unwrap();
    std::os::unix::fs::symlink("key", program.file("link")).unwrap();
    program.run(["scan", "link"]).with(3);
    program.run_with(["scan", "/dev/stdin"], &secret).with(3);
    std::os::unix::fs::symlink("nowhere", program.file("dangling")).unwrap();
    program.run(["scan", "dangling"]).with(1);

    std::fs::write(program.file("to\u{1b}[2Jclear"), &secret).unwrap();
    let found = program.run(["scan", "to\u{1b}[2Jclear"]).with(3);
    assert!(!found.out.contains('\u{1b}'), "{:?}", found.out);
}

#[test]
fn what_is_no_key_of_the_store_is_left_out_where_that_is_asked() {
    let (program, other) = (Program::new(), Program::new());
    let (_, secret) = other.key("Elsewhere", &[]);
    program.run_with(["scan", "-"], &secret).with(3);
    program.run_with(["scan", "-", "--check-store"], &secret).done();
}

#[test]
fn rules_are_written_for_each_scanner() {
    let program = Program::new();
    for scanner in ["gitleaks", "trufflehog", "detect-secrets", "regex"] {
        snapshot(&format!("rules_{scanner}.txt"), &program.run(["rules", scanner]).done().out);
    }
    let text = "database = \"sqlite:none.db\"\n[format]\nprefix = \"\"\nsecret_length = 36\nother_characters = \"-\"\n";
    std::fs::write(program.file("api-keys.toml"), text).unwrap();
    let refused = program.run(["rules", "regex"]).with(2);
    assert!(refused.err.contains("No format has a prefix"), "{}", refused.err);
}

#[test]
fn rules_of_prefixes_that_differ_in_case_have_names_of_their_own() {
    let program = Program::empty(None);
    let text = "[format]\nprefix = \"acme_\"\n[[also_accept]]\nprefix = \"ACME_\"\n[[also_accept]]\nprefix = \"acme-\"\n";
    std::fs::write(program.file("api-keys.toml"), text).unwrap();
    let name = Regex::new("(?m)^(id = |  - name: )\"?(.*?)\"?$").unwrap();
    for scanner in ["gitleaks", "trufflehog"] {
        let rules = program.run(["rules", scanner]).done().out;
        let names: Vec<_> = name.captures_iter(&rules).map(|found| found[2].to_owned()).collect();
        assert_eq!(names, ["acme-api-key", "acme-api-key-2", "acme-api-key-3"], "{rules}");
    }
}

/// `tests/scanners/run` shows the same samples to a scanner.
#[test]
fn a_rule_finds_every_true_sample_and_no_false_one() {
    for format in FORMATS {
        let program = Program::empty(None);
        std::fs::write(program.file("api-keys.toml"), format).unwrap();
        let rule = program.run(["rules", "regex"]).done().out;
        let rule = Regex::new(rule.trim()).unwrap();
        let samples = program.run(["rules", "regex", "--samples"]).done().out;
        assert!(samples.lines().count() == 20);
        for sample in samples.lines() {
            let (want, text) = sample.split_once(' ').unwrap();
            assert_eq!(rule.is_match(text).to_string(), want, "{rule}: {text}");
        }
    }
}

const FORMATS: [&str; 4] = [
    "[format]\nprefix = \"acme_\"\n",
    "[format]\nprefix = \"acme_\"\ntest_mark = \"test_\"\nlive_mark = \"live_\"\nchecksum = true\npublic_id = { length = 16, separator = \".\" }\n",
    "[format]\nprefix = \"\"\ntest_mark = \"sk_test_\"\nlive_mark = \"sk_live_\"\n",
    "[format]\nprefix = \"Acme-\"\npublic_id = { length = 8 }\nsecret_length = 40\nchecksum = true\n",
];
