//! Questions that can't be answered here, which is not an answer of no.

use serde_json::json;

use crate::program::{Ended, Program};

const HEAD: &str = "database = \"sqlite:keys.db\"\n[format]\nprefix = \"acme_\"\n";
const WITH_IDS: &str = "public_id = { length = 8, separator = \".\" }\n";

/// Each of the verbs that look a key up by its text.
fn look_up(program: &Program, text: &str) -> [(&'static str, Ended); 3] {
    [["verify"].as_slice(), &["find"], &["scan", "-", "--check-store"]]
        .map(|arguments| (arguments[0], program.run_with(arguments, text)))
}

#[test]
fn a_key_is_not_unknown_while_a_pepper_is_missing() {
    for format in ["", WITH_IDS] {
        let program = Program::empty(None);
        let configure = |first: &str| {
            std::fs::write(program.file("peppers"), format!("{first}:{}", first.repeat(32))).unwrap();
            let text = format!("peppers_file = \"peppers\"\n{HEAD}{format}");
            std::fs::write(program.file("api-keys.toml"), text).unwrap();
        };
        configure("1");
        program.run(["migrate"]).done();
        let (_, secret) = program.key("Ours", &[]);
        let (gone, other) = program.key("Deleted", &[]);
        program.run(["delete", &gone, "--confirm", "Deleted"]).done();
        for (verb, ended) in look_up(&program, &other) {
            assert_eq!(
                ended.status,
                [3, 5, 0][["verify", "find", "scan"].iter().position(|one| *one == verb).unwrap()]
            );
        }
        configure("2");
        for (verb, ended) in look_up(&program, &secret) {
            assert_eq!(ended.status, 1, "{verb}{format}: {ended:?}");
            assert!(ended.err.contains("pepper 1"), "{verb}{format}: {}", ended.err);
        }
        if !format.is_empty() {
            // Its identifier says that it is not stored, whatever the pepper.
            program.run_with(["find"], &other).with(5);
            program.run_with(["verify"], &other).with(3);
        }
    }
}

#[test]
fn a_key_that_was_imported_as_a_hash_is_not_unknown() {
    let program = Program::empty(None);
    std::fs::write(program.file("api-keys.toml"), format!("{HEAD}{WITH_IDS}")).unwrap();
    program.run(["migrate"]).done();
    let (id, secret) = program.key("Deleted", &[]);
    program.run(["delete", &id, "--confirm", "Deleted"]).done();
    let row = json!({ "id": id, "name": "x", "organization": "o", "hash": "$2b$12$hash" });
    program.run_with(["import"], &row.to_string()).done();
    for (verb, ended) in look_up(&program, &secret) {
        assert_eq!(ended.status, 1, "{verb}: {ended:?}");
        assert!(ended.err.contains("imported as a hash"), "{verb}: {}", ended.err);
    }
}
