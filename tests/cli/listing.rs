//! Listings: filters, pages, and a hundred thousand keys.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::program::Program;

#[test]
fn a_listing_is_filtered() {
    for program in Program::each() {
        program.key("Export", &["--scope", "invoice:read"]);
        let (disabled, _) = program.key("Disabled", &["--mode", "test"]);
        program.run(["disable", &disabled]).done();
        program.run(["create", "Soon", "-o", "org_2", "--expires", "3d"]).done();
        program.run(["create", "Ours", "--system", "--expires", "never"]).done();
        for (filter, want) in [
            (vec![], vec!["Export", "Disabled", "Soon", "Ours"]),
            (vec!["-o", "org_1"], vec!["Export"]),
            (vec!["-o", "org_1", "--mode", "test"], vec!["Disabled"]),
            (vec!["--mode", "test"], vec!["Disabled"]),
            (vec!["--system"], vec!["Ours"]),
            (vec!["--status", "disabled"], vec!["Disabled"]),
            (vec!["--expiring-within", "4d"], vec!["Soon"]),
            (vec!["--expiring-within", "2d"], vec![]),
            (vec!["--unused-for", "1h"], vec![]),
            (vec!["--older-than", "1h"], vec![]),
            (vec!["--scope", "invoice:read"], vec!["Export"]),
            (vec!["--name-prefix", "Ex"], vec!["Export"]),
            (vec!["--created-by", "operator ada"], vec!["Export", "Disabled", "Soon", "Ours"]),
            (vec!["--created-by", "operator grace"], vec![]),
        ] {
            let listed = program.run(["list", "--json"].iter().chain(&filter)).done().json();
            let names: Vec<_> =
                listed["data"].as_array().unwrap().iter().map(|key| key["name"].clone()).collect();
            assert_eq!(names, want, "{filter:?}");
        }
    }
}

#[test]
fn a_listing_goes_on_where_a_page_has_ended() {
    for program in Program::each() {
        for name in ["1", "2", "3"] {
            program.key(name, &[]);
        }
        let first = program.run(["list", "--limit", "2", "--json"]).done().json();
        assert_eq!(first["data"].as_array().unwrap().len(), 2);
        let next = first["nextCursor"].as_str().unwrap();
        let last = program.run(["list", "--after", next, "--json"]).done().json();
        assert_eq!((last["data"][0]["name"].as_str(), last["nextCursor"].is_null()), (Some("3"), true));
        let said = program.run(["list", "--limit", "2"]).done().err;
        assert!(said.contains(&format!("--after {next}")), "{said}");
    }
}

#[test]
fn a_hundred_thousand_keys_are_listed_in_constant_memory() {
    const KEYS: usize = 100_000;
    let program = Program::new();
    program.key("One of many", &[]);
    tokio::runtime::Runtime::new().unwrap().block_on(multiply(&program, KEYS));
    for format in ["--json", "--no-input"] {
        let mut child = program.command(["list", "--all", format]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let peak_at = |seen: usize, child: &std::process::Child| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
            let kilobytes: usize = peak.trim().trim_end_matches(" kB").parse().unwrap();
            (seen, kilobytes)
        };
        // By then the page cache of SQLite, 2 MiB, is full.
        assert_eq!(lines.by_ref().take(KEYS / 5).count(), KEYS / 5);
        let early = peak_at(KEYS / 5, &child);
        assert_eq!(lines.by_ref().take(KEYS * 3 / 4).count(), KEYS * 3 / 4);
        let late = peak_at(KEYS * 19 / 20, &child);
        let rest = lines.count();
        assert!(child.wait().unwrap().success());
        // The table has a header.
        let header = usize::from(format != "--json");
        assert_eq!(rest, KEYS / 20 + header);
        assert!(late.1 < early.1 + 1024, "kB after so many keys: {early:?}, {late:?}");
    }
    let mut child = program.command(["list", "--all"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "the reader has gone, as with `list | head`");
}

/// Makes the one key that there is into `keys` of them.
async fn multiply(program: &Program, keys: usize) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(program.file("api-keys.db"));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    let columns: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pragma_table_info('api_keys')").fetch_all(&pool).await.unwrap();
    let values = columns.iter().map(|name| if name == "id" { "printf('k%015d', i)" } else { name });
    let insert = format!(
        "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < {keys})
         INSERT INTO api_keys ({}) SELECT {} FROM api_keys, n",
        columns.join(", "),
        values.collect::<Vec<_>>().join(", ")
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(&pool).await.unwrap();
    pool.close().await;
}

#[test]
fn a_key_that_can_not_be_read_is_no_silent_gap() {
    for program in Program::each() {
        let (id, _) = program.key("Broken", &[]);
        program.key("Ours", &[]);
        program.sql(&format!("UPDATE api_keys SET scopes = 'no*scope' WHERE id = '{id}'"));
        for arguments in [vec!["list"], vec!["list", "--all"], vec!["export"]] {
            let said = program.run(&arguments).with(1);
            assert!(said.out.contains("Ours") && said.err.contains(&id), "{arguments:?}: {said:?}");
            let said = program.run(arguments.iter().chain(&["--json"])).with(1);
            let error = said.error();
            assert_eq!(error["code"], "record_corrupt", "one JSON object, for one key");
            assert!(error["message"].as_str().unwrap().contains(&id), "{arguments:?}: {error}");
        }
    }
}
