//! Where secrets go, and where they do not.

use std::os::unix::fs::PermissionsExt;

use crate::program::Program;

#[test]
fn a_secret_goes_to_a_new_file_that_only_its_user_reads() {
    for program in Program::each() {
        let create = [
            "create",
            "Ours",
            "-o",
            "org_1",
            "--expires",
            "never",
            "--secret-file",
            "key.env",
            "--env",
            "ACME_KEY",
        ];
        let made = program.run(create).done();
        assert_eq!(made.out, "");
        let path = program.file("key.env");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("ACME_KEY=acme_live_") && text.ends_with('\n') && text.lines().count() == 1,
            "{text}"
        );
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        program.run(create).with(1);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "not overwritten");
        let listed = program.run(["list", "--json"]).done().json();
        assert_eq!(
            listed["data"].as_array().unwrap().len(),
            1,
            "and no key is made whose secret goes nowhere"
        );

        let id = listed["data"][0]["id"].as_str().unwrap();
        let rotated = program.run(["rotate", id, "--secret-file", "next", "--json"]).done();
        assert!(rotated.json().get("key").is_none(), "{}", rotated.out);
        program.run(["rotate", "k0000000000000000", "--secret-file", "none"]).with(5);
        assert!(!program.file("none").exists());
    }
}

#[test]
fn a_secret_is_on_standard_output_once_and_nowhere_else() {
    for program in Program::each() {
        let made = program.run(["create", "Ours", "-o", "org_1", "--expires", "never"]).done();
        let secret = made.out.trim();
        assert!(!made.err.contains(secret));
        let id = &secret["acme_live_".len()..][..16];
        for arguments in [vec!["list"], vec!["list", "--json"], vec!["show", id], vec!["show", id, "--json"]]
        {
            let said = program.run(&arguments).done();
            let digest = "sha256";
            assert!(
                !said.out.contains(&secret[28..]) && !said.out.contains(digest),
                "{arguments:?}: {}",
                said.out
            );
        }
    }
}

#[test]
fn a_secret_that_would_go_nowhere_is_not_made() {
    let program = Program::new();
    let (id, secret) = program.key("Ours", &[]);
    for command in [format!("rotate {id}"), "create x -o org_1 --expires 1d".to_owned()] {
        for nowhere in [">&-", ">/dev/null"] {
            let refused = program.shell(&format!("{command} {nowhere}")).with(2);
            assert!(refused.err.contains("--secret-file"), "{}", refused.err);
        }
    }
    program.run_with(["verify"], &secret).done();
    assert_eq!(program.run(["list", "--json"]).done().json()["data"].as_array().unwrap().len(), 1);
}

#[test]
fn a_secret_given_as_an_argument_is_refused_and_not_repeated() {
    let program = Program::new();
    let (_, secret) = program.key("Ours", &[]);
    for arguments in [["show", &secret], ["revoke", &secret], ["rotate", &secret]] {
        let refused = program.run(arguments).with(2);
        assert!(refused.err.contains("history"), "{}", refused.err);
        assert!(!refused.err.contains(&secret) && !refused.out.contains(&secret));
    }
}

#[test]
fn a_terminal_shows_input_again_after_a_hidden_prompt() {
    let program = Program::new();
    let (_, secret) = program.key("Ours", &[]);
    for (typed, status) in [
        (format!("{secret}\n"), 0),
        ("\u{3}".to_owned(), 130),
        ("acme\u{3}".to_owned(), 130),
        ("\u{4}".to_owned(), 2),
    ] {
        let line = format!("{} verify; echo \"status $?\"; stty", env!("CARGO_BIN_EXE_api-keys"));
        let (_, shown) = program.in_terminal(&line, "not shown", &typed);
        assert!(shown.contains(&format!("status {status}")), "{typed:?}: {shown}");
        assert!(
            !shown.contains("-echo") && !shown.contains("-icanon") && !shown.contains("-isig"),
            "{typed:?}: {shown}"
        );
        assert!(!shown.contains(&secret), "{shown}");
    }
}
