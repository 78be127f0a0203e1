//! `docs/leaked-key.md`, run as it is written, against two nodes with a PostgreSQL and a Redis.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::postgres_server as postgres;
use crate::redis_server::RedisServer;
use crate::server::Server;

const PAGE: &str = include_str!("../../docs/leaked-key.md");

/// The commands of the page, in order.
fn script() -> String {
    let mut is_command = false;
    let mut script = String::new();
    for line in PAGE.lines() {
        match line {
            "```sh" => is_command = true,
            "```" => is_command = false,
            line if is_command => script += &format!("{line}\n"),
            _ => {}
        }
    }
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_ends_a_leaked_key_on_every_node() {
    let (redis, postgres) = (RedisServer::start(), postgres::Server::start());
    let pool = postgres.database(1).await;
    let database = pool.connect_options().get_database().unwrap().to_owned();
    let url = format!("postgres://postgres@127.0.0.1:{}/{database}", postgres.port());
    let node = || {
        let redis = redis.url();
        let variables = [
            ("DATABASE_URL", &*url),
            ("REDIS_URL", &*redis),
            ("REDIS_DEADLINE_MS", "5000"),
            ("LIMIT", "1000"),
        ];
        Server::start("distributed", &variables)
    };
    let nodes = [node(), node()];

    let leaked = nodes[0].get("API_KEY");
    let headers = [("x-api-key", leaked), ("content-type", "application/json")];
    let body = r#"{"name": "Made with it", "scopes": ["notes:read"]}"#;
    let made = nodes[0].send("POST", "/api-keys", &headers, Some(body)).json();
    let child = made["key"].as_str().unwrap();
    let status = |node: &Server, key: &str| node.send("GET", "/notes", &[("x-api-key", key)], None).status;
    for node in &nodes {
        assert_eq!((status(node, leaked), status(node, child)), (200, 200));
    }
    let other = nodes[1].get("API_KEY");

    let directory = std::env::temp_dir().join(format!("api-keys-leaked-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("api-keys.toml"), "[format]\nprefix = \"demo_\"\n").unwrap();
    std::fs::write(directory.join("leaked.txt"), format!("{leaked}\n")).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_api-keys")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let script = format!("set -eu\n{}", script());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .current_dir(&directory)
        .env("PATH", path)
        .env("DATABASE_URL", &url)
        .env("USER", "ada");
    let started = Instant::now();
    let output = shell.stdin(std::process::Stdio::null()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));

    // Each node has known the keys, and learns of the revocation.
    for (node, key) in nodes.iter().flat_map(|node| [(node, leaked), (node, child)]) {
        while status(node, key) != 401 {
            assert!(started.elapsed() < Duration::from_secs(30), "it still works");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    assert_eq!(status(&nodes[0], other), 200, "the keys of others work");
    let child_id = made["id"].as_str().unwrap();
    assert!(said.contains(child_id), "what it has made is shown: {said}");
    assert!(said.contains("key_revoked"), "{said}");
    let history: Vec<_> = said.split_whitespace().collect();
    let history = history.join(" ");
    for event in [
        "report_leak done",
        "revoke done",
        "operator ada leaked, ticket 4711",
        "operator ada a public repository",
    ] {
        assert!(history.contains(event), "the history has no {event}: {said}");
    }
    assert!(said.contains("./leaked.txt:1:1: demo_…") && said.contains(", revoked"), "the scan: {said}");
    assert!(!said.contains(leaked) && !said.contains(child));
    std::fs::remove_dir_all(directory).unwrap();
}
