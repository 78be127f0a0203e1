//! Standard output that nothing reads, as after `| head`.

use serde_json::json;

use crate::program::Program;

#[test]
fn a_listing_that_is_cut_off_is_done() {
    for program in Program::each() {
        let (id, _) = program.key("Ours", &[]);
        for arguments in [
            vec!["list"],
            vec!["list", "--all"],
            vec!["audit"],
            vec!["export"],
            vec!["show", &id],
            vec!["rules", "gitleaks"],
            vec!["completions", "bash"],
            vec!["man"],
        ] {
            let ended = program.run_unread(&arguments, "").done();
            assert_eq!(ended.err, "", "{arguments:?}");
        }
    }
}

#[test]
fn an_answer_that_was_not_printed_is_a_failure() {
    for program in Program::each() {
        let (id, secret) = program.key("Ours", &[]);
        for (arguments, input) in [
            (vec!["verify"], "acme_live_bad"),
            (vec!["verify"], &secret),
            (vec!["find"], &secret),
            (vec!["doctor"], ""),
            (vec!["init"], ""),
        ] {
            let ended = program.run_unread(&arguments, input).with(1);
            assert!(ended.err.contains("error: "), "{arguments:?}: {}", ended.err);
        }
        let lost = program.run_unread(["rotate", &id], "").with(1);
        assert!(lost.err.contains(&format!("`rotate {id}` makes another")), "{}", lost.err);
    }
}

#[test]
fn what_a_scan_has_found_stays_a_finding() {
    let program = Program::new();
    let (_, secret) = program.key("Ours", &[]);
    for more in [vec![], vec!["--json"], vec!["--sarif"]] {
        program.run_unread(["scan", "-"].iter().chain(&more), &secret).with(3);
    }
    program.run_unread(["scan", "-"], "nothing").done();
    program.run_unread(["scan", "-", "--sarif"], "nothing").with(1);
}

#[test]
fn an_import_goes_on() {
    let program = Program::new();
    let row = |id: &str| {
        json!({ "id": id, "name": "x", "organization": "o", "hash": format!("$2b${id}") }).to_string()
    };
    let rows = [row("k0000000000000000"), row("k0000000000000001")].join("\n");
    let ended = program.run_unread(["import"], &rows).with(1);
    assert!(ended.err.contains("Imported: 2"), "{}", ended.err);
    assert_eq!(program.run(["export"]).done().out.lines().count(), 2);
}
