//! The subcommand in a program of an application's own: this test itself, which starts itself again.

use std::io::Write;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use clap::Parser;
use serde_json::{Value, json};
use tower_api_keys::key::SecretString;
use tower_api_keys::store::{KeyAdministration, PostgresStore, SqliteStore};
use tower_api_keys::{ApiKeys, KeyFormat, Quota, RateLimit};

use crate::program::snapshot;

#[derive(Parser)]
enum Program {
    #[command(subcommand)]
    Keys(tower_api_keys::cli::Command),
}

/// Over the database at this URL.
async fn assembly(url: &str) -> ApiKeys {
    let format = KeyFormat::new("acme_").unwrap();
    let store: Arc<dyn KeyAdministration> = match url.starts_with("sqlite:") {
        true => Arc::new(SqliteStore::open(url).await.unwrap()),
        false => Arc::new(PostgresStore::connect(url).await.unwrap()),
    };
    ApiKeys::builder(store, format)
        .bearer()
        .limit(RateLimit::per_key("requests", Quota::per_minute(1).unwrap()))
        .limit(RateLimit::per_key("credits", Quota::per_month(100).unwrap()))
        .route("GET", "/invoices/{id}", "invoice:read")
        .route("POST", "/invoices", "invoice:create")
        .route("MKCOL", "/files/{*path}", "file:create")
        .build()
        .unwrap()
}

/// Set for the process that is the program.
const INSIDE: &str = "SUBCOMMAND_OF";

/// The program itself, where `run` starts it.
#[tokio::test]
async fn program() {
    let Ok(path) = std::env::var(INSIDE) else { return };
    let words = std::env::var("SUBCOMMAND").unwrap();
    let Program::Keys(command) = Program::parse_from(words.split('|'));
    let status = command.run(&assembly(&path).await).await;
    std::process::exit((0..6).find(|code| status == ExitCode::from(*code)).unwrap_or(99).into());
}

#[test]
fn a_doctor_leaves_nothing_behind() {
    for program in crate::program::Program::each() {
        let url = program.url.clone();
        let url = url.unwrap_or_else(|| format!("sqlite:{}", program.file("api-keys.db").display()));
        let (status, said) = run(&url, "app|keys|doctor", &"".into());
        assert!(status == 0 && said.contains("all counts can be read"), "{said}");
        // Fails if there is one.
        program.sql("CREATE TABLE no_rows (one INTEGER CHECK (one = 0)); INSERT INTO no_rows SELECT COUNT(*) FROM api_key_quotas");
    }
}

#[test]
fn a_document_of_the_rules_is_printed_and_compared_with_them() {
    let directory = crate::program::Program::empty(None);
    let path = format!("sqlite:{}", directory.file("keys.db").display());
    let (status, printed) = run(&path, "app|keys|openapi", &"".into());
    assert_eq!(status, 0);
    snapshot("openapi.json", &printed);
    let document: Value = serde_json::from_str(&printed).unwrap();
    let without = |change: &dyn Fn(&mut Value)| {
        let mut document = document.clone();
        change(&mut document);
        document.to_string()
    };
    let file = directory.file("openapi.json");
    for (text, status, want) in [
        (printed.clone(), 0, "The document and the rules agree."),
        (
            without(&|document| document["paths"]["/invoices"] = json!({})),
            3,
            "POST /invoices has a rule, and is not in the document",
        ),
        (
            without(&|document| document["paths"]["/lost"]["get"] = json!({})),
            3,
            "GET /lost is in the document, and no rule covers it",
        ),
        (
            without(&|document| {
                document["paths"]["/invoices"]["post"]["x-required-scopes"] = json!(["invoice:read"])
            }),
            3,
            "POST /invoices: `x-required-scopes` is [\"invoice:read\"] in the document",
        ),
        (without(&|document| document["openapi"] = json!("3.0.3")), 1, ""),
        ("openapi: 3.1.1".to_owned(), 1, ""),
    ] {
        std::fs::write(&file, text).unwrap();
        let check = format!("app|keys|openapi|--check|{}", file.display());
        let (ended, said) = run(&path, &check, &"".into());
        assert!(ended == status && said.starts_with(want), "{want}: {ended} {said}");
        let (ended, said) = run(&path, &format!("{check}|--json"), &"".into());
        assert_eq!(ended, status);
        if status != 1 {
            let said: Value = serde_json::from_str(&said).unwrap();
            assert_eq!(said["drift"].as_array().unwrap().is_empty(), status == 0, "{said}");
        }
    }
    let none = directory.run(["openapi", "--json"]).with(2).error();
    assert_eq!(none["code"], "usage", "`api-keys` has no such verb");
    assert!(!directory.run(["help"]).done().out.contains("openapi"));
}

#[tokio::test]
async fn a_route_is_explained_without_an_effect() {
    let directory = std::env::temp_dir().join(format!("api-keys-subcommand-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = format!("sqlite:{}", directory.join("keys.db").display());
    let keys = assembly(&path).await;
    let new = tower_api_keys::NewKey::new("Ours").scope("invoice:read");
    let secret = keys.manager().create_for("org_1", new).await.unwrap().secret;

    let explain =
        |route: &str, more: &str| run(&path, &format!("app|keys|verify|--route|{route}{more}"), &secret);
    snapshot("verify_route_accepted.txt", &explain("GET /invoices/1", "").1);
    let (status, said) = explain("POST /invoices", "");
    snapshot("verify_route_rejected.txt", &said);
    assert_eq!(status, 3);
    for _ in 0..3 {
        let (status, said) = explain("GET /invoices/1", "|--json");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((status, &said["accepted"]), (0, &json!(true)), "the limit of one request is not spent");
    }
    let said: Value = serde_json::from_str(&explain("DELETE /nowhere", "|--json").1).unwrap();
    assert_eq!((&said["code"], &said["status"]), (&json!("route_not_covered"), &json!(403)));
    let text = secret.expose_secret();
    for field in
        ["authorization: Bearer other", &format!("x-other: {text}"), &format!("x-other: Bearer {text}")]
    {
        let (status, said) = explain("GET /invoices/1", &format!("|--header|{field}"));
        assert_eq!((status, &*said), (2, ""), "a credential is no argument: {field}");
    }
    assert_eq!(explain("GET /invoices/1", "|--header|x-other: some").0, 0);
    let file = directory.join("fields");
    std::fs::write(&file, "x-other: some\n\nAuthorization: Bearer other\n").unwrap();
    let (_, said) = explain("GET /invoices/1", &format!("|--header|@{}|--json", file.display()));
    assert_eq!(
        serde_json::from_str::<Value>(&said).unwrap()["accepted"],
        true,
        "the key itself is put there"
    );
    std::fs::write(&file, format!("{text}\n")).unwrap();
    assert_eq!(explain("GET /invoices/1", &format!("|--header|@{}", file.display())).0, 2);
    let pool = sqlx::SqlitePool::connect(&path).await.unwrap();
    sqlx::query("UPDATE api_keys SET scopes = 'no*scope'").execute(&pool).await.unwrap();
    let (status, said) = explain("GET /invoices/1", "|--json");
    assert_eq!((status, said.contains("record_corrupt")), (1, true), "no fault of the key: {said}");
    std::fs::remove_dir_all(directory).unwrap();
}

/// The status, and what is on standard output between the lines of the test harness.
fn run(path: &str, words: &str, input: &SecretString) -> (i32, String) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["subcommand::program", "--exact", "--nocapture", "--quiet"])
        .env(INSIDE, path)
        .env("SUBCOMMAND", words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.expose_secret().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // Shown if the test fails.
    eprint!("{}", String::from_utf8(output.stderr).unwrap());
    let text = String::from_utf8(output.stdout).unwrap();
    let said = text.trim_start().strip_prefix("running 1 test\n").unwrap_or(&text).to_owned();
    (output.status.code().unwrap(), said)
}
