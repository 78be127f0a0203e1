//! `usage`.

use serde_json::{Value, json};
use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{Mode, Owner};
use tower_api_keys::usage::{UsageBatch, UsageCounts, UsageEntry, UsageOutcome};

use crate::program::{Program, runtime, snapshot};

const GONE: &str = "k0000000000000000";

/// Usage of two keys of org_1, one of which is gone, and of one of org_2 in test mode; all of 2026-01-31.
fn with_usage(program: &Program) -> String {
    let (id, _) = program.key("Ours", &[]);
    let at = |hour: u64| Timestamp::from_unix_seconds(1_769_817_600 + hour * 3600);
    let entry = |key: &str, organization: &str, mode, category: &str, hour, ok, limited| {
        let mut counts = UsageCounts::default();
        counts.add(UsageOutcome::Ok, ok);
        counts.add(UsageOutcome::Limited, limited);
        let owner = Owner::organization(organization.parse().unwrap(), mode);
        UsageEntry::new(owner, key.parse().unwrap(), category.to_owned(), at(hour), counts)
    };
    let entries = vec![
        entry(&id, "org_1", Mode::Live, "reads", 5, 40, 2),
        entry(&id, "org_1", Mode::Live, "", 6, 1, 0),
        entry(GONE, "org_1", Mode::Live, "reads", 6, 7, 0),
        entry("k0000000000000001", "org_2", Mode::Test, "=1+1", 5, 3, 0),
    ];
    let batch = UsageBatch::new("p0000000000000000".parse().unwrap(), 1, at(9), entries);
    runtime().block_on(async { program.store().await.usage_log().unwrap().add(&batch).await.unwrap() });
    id
}

/// The day of the usage.
const DAY: [&str; 5] = ["usage", "--start", "2026-01-31", "--end", "2026-02-01"];

#[test]
fn usage_is_read_by_key_owner_and_category() {
    for program in Program::each() {
        let id = with_usage(&program);
        for (end, options, want) in [
            ("2026-02-01", vec![], vec![53]),
            ("2026-02-01", vec![&*id], vec![43]),
            ("2026-02-01", vec![&*id, GONE], vec![50]),
            ("2026-02-01", vec![GONE], vec![7]),
            ("2026-02-01", vec!["-o", "org_1"], vec![50]),
            ("2026-02-01", vec!["-o", "org_2"], vec![]),
            ("2026-02-01", vec!["--mode", "test"], vec![3]),
            ("2026-02-01", vec!["--system"], vec![]),
            ("2026-02-01", vec!["--bucket", "hour"], vec![8, 45]),
            ("2026-01-31T06:00:00Z", vec!["--bucket", "hour"], vec![45]),
            ("2026-02-01", vec!["--by", "key"], vec![3, 7, 43]),
            ("2026-02-01", vec!["--by", "organization"], vec![3, 50]),
            ("2026-02-01", vec!["--by", "category"], vec![1, 3, 49]),
        ] {
            let arguments = ["usage", "--start", "2026-01-31", "--end", end, "--json"];
            let said = program.run(arguments.iter().chain(&options)).done().json();
            let totals = said["rows"].as_array().unwrap().iter().map(|row| row["total"].as_u64().unwrap());
            let mut totals: Vec<_> = totals.filter(|total| *total > 0).collect();
            totals.sort_unstable();
            assert_eq!(totals, want, "{end} {options:?}");
        }
        program.run(["usage", "k0000000000000009"]).with(5);
        program.run(["usage", "--start", "2026-02-01", "--end", "2026-02-01"]).with(2);
        program.run(["usage", "--start", "2020-01-01", "--bucket", "hour"]).with(2);
    }
}

#[test]
fn usage_is_written_for_people_programs_and_spreadsheets() {
    let program = Program::new();
    with_usage(&program);
    let by = |more: &[&str]| program.run(DAY.iter().chain(&["--by", "organization"]).chain(more)).done();
    let text = by(&[]);
    snapshot("usage.txt", &format!("{}--\n{}", text.out, text.err));
    snapshot("usage.json", &by(&["--json"]).out);
    assert_eq!(by(&["--json"]).err, "");
    let csv = program.run(DAY.iter().chain(&["--by", "category", "--csv"])).done().out;
    snapshot("usage.csv", &csv);
    assert!(csv.contains(",\"'=1+1\","), "no cell is a formula: {csv}");
    let hours = program.run(DAY.iter().chain(&["--by", "key", "--bucket", "hour"])).done().out;
    // Its header, its rows with requests, and the sum.
    assert_eq!(hours.lines().count(), 1 + 4 + 1, "{hours}");
}

#[test]
fn usage_is_that_of_the_last_time_if_none_is_given() {
    let program = Program::new();
    let said = program.run(["usage"]).done();
    assert!(said.err.contains("Nothing was ever counted"), "{}", said.err);
    let rows = |options: &[&str]| -> Vec<Value> {
        let said = program.run(["usage", "--json"].iter().chain(options)).done().json();
        assert_eq!(said["asOf"], json!(null));
        said["rows"].as_array().unwrap().clone()
    };
    // The time begins and ends within a bucket.
    assert_eq!(rows(&[]).len(), 31);
    assert_eq!(rows(&["--bucket", "hour"]).len(), 25);
    assert_eq!(rows(&["--since", "7d"]).len(), 8);
    assert_eq!(rows(&["--since", "2d", "--end", "2026-02-01"]).len(), 2);
    program.run(["usage", "--since", "7d", "--start", "2026-01-31"]).with(2);
}
