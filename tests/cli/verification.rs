//! `verify` and `find`.

use serde_json::{Value, json};
use tower_api_keys::KeyFormat;
use tower_api_keys::key::Mode;

use crate::program::{Program, snapshot};

#[test]
fn a_key_is_verified_by_its_text() {
    for program in Program::each() {
        let (id, secret) = program.key("Ours", &[]);
        let verify = |text: &str| program.run_with(["verify", "--json"], text);
        let good = verify(&format!("{secret}\n")).done();
        snapshot("verify_good.json", &good.out);
        snapshot("verify_good.txt", &program.run_with(["verify"], &secret).done().out);
        let next = program.run(["rotate", &id]).done().out;
        assert_eq!(verify(&secret).done().json()["secret"], "retired");
        assert_eq!(verify(&next).done().json()["secret"], "in_use");
        let waiting = program.run(["rotate", &id, "--on-first-use"]).done().out;
        for _ in 0..2 {
            assert_eq!(verify(&waiting).done().json()["secret"], "next", "and it does not come into use");
        }
        let (all_but_one, last) = next.trim().split_at(next.trim().len() - 1);
        let damaged = format!("{all_but_one}{}", if last == "0" { '1' } else { '0' });
        let format = KeyFormat::builder("acme_")
            .modes("test_", "live_")
            .public_id(16, '.')
            .checksum()
            .build()
            .unwrap();
        let unknown = format.generate(tower_api_keys::key::Mode::Live).unwrap().secret;
        for (text, code) in [
            (secret.as_str(), "secret_mismatch"),
            ("acme_live_x", "credential_malformed"),
            (&damaged, "credential_malformed"),
            (unknown.expose_secret(), "key_unknown"),
        ] {
            let bad = verify(text).with(3).json();
            assert_eq!((&bad["code"], &bad["valid"]), (&json!(code), &json!(false)), "{text}");
        }
        program.run(["disable", &id]).done();
        assert_eq!(verify(&next).with(3).json()["code"], "key_disabled");
        program.run(["revoke", &id, "--yes"]).done();
        let bad = program.run_with(["verify"], &next).with(3);
        snapshot("verify_revoked.txt", &bad.out);
    }
}

#[test]
fn a_key_is_found_by_its_text_and_no_more_is_said() {
    for program in Program::each() {
        let (id, secret) = program.key("A secret name", &["--scope", "invoice:read"]);
        let found = program.run_with(["find", "--json"], &format!("  {secret}\n\n")).done();
        assert_eq!(
            found.json(),
            json!({ "id": id, "organization": "org_1", "mode": "live", "status": "active" })
        );
        let text = program.run_with(["find"], &secret).done().out;
        assert!(!text.contains("name") && !text.contains("invoice"), "{text}");
        program.run(["rotate", &id]).done();
        assert_eq!(
            program.run_with(["find", "--json"], &secret).done().json()["id"],
            *id,
            "the secret before, too"
        );
        for (text, why) in [
            (other(&secret), "is none of its secrets now"),
            ("acme_live_other".to_owned(), "nothing in the text that looks like a key"),
        ] {
            let none = program.run_with(["find"], &text).with(5);
            assert!(none.err.contains(why), "{}", none.err);
        }
    }
}

/// Another secret of the same key, with the right checksum.
fn other(secret: &str) -> String {
    let format =
        KeyFormat::builder("acme_").modes("test_", "live_").public_id(16, '.').checksum().build().unwrap();
    let id = format.parse(secret.trim()).unwrap().id.unwrap();
    format.generate_with_id(Mode::Live, &id).unwrap().secret.expose_secret().to_owned()
}

#[test]
fn a_key_is_found_in_the_text_around_it() {
    let program = Program::new();
    let (id, secret) = program.key("Ours", &[]);
    let (second, another) = program.key("Another", &["--mode", "test"]);
    for text in [
        format!("API_KEY={secret}"),
        format!("\u{feff}\"{secret}\",\r\n"),
        format!("Authorization: Bearer {secret}\nHost: api.example"),
    ] {
        assert_eq!(program.run_with(["find", "--json"], &text).done().json()["id"], *id, "{text}");
    }
    let both = program
        .run_with(["find", "--json"], &format!("A={another}\nB={secret}\nC={}", other(&secret)))
        .done();
    let ids: Vec<Value> =
        both.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert!(ids.len() == 2 && ids.contains(&json!(id)) && ids.contains(&json!(second)), "{}", both.out);
    let both = program.run_with(["find"], &format!("{secret} {}", other(&secret))).done();
    assert!(both.err.contains("1 more could not be found"), "{}", both.err);
}

#[test]
fn a_key_as_an_argument_is_refused_with_a_warning() {
    let program = Program::new();
    let (_, secret) = program.key("Ours", &[]);
    for verb in ["verify", "find", "import"] {
        for more in [vec![], vec!["--json"]] {
            let refused = program.run_with([verb, &secret].iter().chain(&more), &secret).with(2);
            assert!(refused.err.contains("history"), "{}", refused.err);
            assert!(!refused.err.contains(&secret) && refused.out.is_empty());
        }
    }
    for verb in ["verify", "find"] {
        program.run([verb]).with(2);
    }
}

/// Those of an application are tested in `subcommand.rs`.
#[test]
fn the_program_has_no_routes() {
    let program = Program::new();
    let (_, secret) = program.key("Ours", &[]);
    let refused = program.run_with(["verify", "--route", "GET /"], &secret).with(2);
    assert!(refused.err.contains("does not know the routes"), "{}", refused.err);
}
