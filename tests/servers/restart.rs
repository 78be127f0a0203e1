//! The examples with `DATABASE_URL`: what outlives `kill -9`, and what is said of a database that can't be used.

use std::path::PathBuf;
use std::process::Command;
use std::{env, fs, process};

use tower_api_keys::KeyFormat;
use tower_api_keys::key::{Mode, Owner};
use tower_api_keys::manage::{Authority, KeyManager, KeyView};
use tower_api_keys::store::{KeyQuery, SqliteStore};

use crate::server::{self, Server};

/// An example, the variable with one of its keys, and whose that is under which name.
struct Case {
    example: &'static str,
    key: &'static str,
    organization: &'static str,
    mode: Mode,
    name: &'static str,
}

const CASES: [Case; 6] = [
    case("hyper_service", "API_KEY", "company_demo", Mode::Live, "Reader"),
    case("justpaid_workflows", "READ_ONLY_API_KEY", "company_demo", Mode::Live, "Read only"),
    case("pasby_flows", "PASBY_API_KEY", "org_demo", Mode::Test, "First key"),
    case("payment_gateway", "CHECKOUT_API_KEY", "org_demo", Mode::Live, "Checkout"),
    case("paymongo_workflows", "TEST_SECRET_KEY", "org_demo", Mode::Test, "First key"),
    case("tonic_service", "API_KEY", "company_demo", Mode::Live, "Checker"),
];

const fn case(
    example: &'static str,
    key: &'static str,
    organization: &'static str,
    mode: Mode,
    name: &'static str,
) -> Case {
    Case { example, key, organization, mode, name }
}

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("api-keys-restart-{}-{name}", process::id()));
        fs::create_dir_all(&path).expect("the temporary directory can be written");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Case {
    /// The `curl` lines that a server printed. Sessions of a dashboard are in memory, so those with one are left out.
    fn lines(server: &Server) -> Vec<&str> {
        let sessions = server.printed.iter().filter(|(name, _)| name.ends_with("SESSION"));
        let sessions: Vec<_> = sessions.map(|(_, session)| session.as_str()).collect();
        let commands = server.lines.iter().filter(|line| !line.starts_with('#') && line.contains("curl -i"));
        let kept = commands.filter(|line| !sessions.iter().any(|session| line.contains(session)));
        kept.map(String::as_str).collect()
    }

    /// The first of them with the key of this case.
    fn line<'s>(&self, server: &'s Server) -> &'s str {
        let key = server.get(self.key);
        Self::lines(server)
            .into_iter()
            .find(|line| line.contains(key))
            .expect("a line shows how to use the key")
    }

    /// The administrator's access to the file, beside that of the running server.
    async fn manager(&self, url: &str) -> (KeyManager, Authority) {
        let store = SqliteStore::open(url).await.expect("the file can be opened");
        let format = KeyFormat::new("any_").expect("this is a format");
        let organization = self.organization.parse().expect("this is an identifier");
        (KeyManager::new(store, format), Authority::operator(Owner::organization(organization, self.mode)))
    }

    /// The keys of this name, one of each start.
    async fn keys(&self, url: &str) -> Vec<KeyView> {
        let (manager, authority) = self.manager(url).await;
        let keys = manager.list(&authority, &KeyQuery::default()).await.expect("keys can be listed").keys;
        keys.into_iter().filter(|key| key.name == self.name).collect()
    }
}

/// Pastes a line that one server printed, but asks another. Status, and the status of gRPC if there is one.
fn paste(line: &str, printed_by: &str, asked: &Server) -> String {
    let line = line.replace(printed_by, asked.address());
    let answer = server::paste(&line);
    let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("an answer to {line}"));
    let grpc = answer.lines().find_map(|line| line.strip_prefix("grpc-status: "));
    grpc.map_or(status.to_owned(), |code| format!("{status}, gRPC {code}"))
}

fn is_rejected(answer: &str) -> bool {
    ["401", "200, gRPC 16"].contains(&answer)
}

#[tokio::test]
async fn keys_in_a_file_live_through_kill_9_and_revoked_ones_stay_revoked() {
    for case in CASES {
        let example = case.example;
        let directory = Directory::new(example);
        let url = format!("sqlite://{}/keys.db", directory.0.display());
        let start = || Server::start(example, &[("DATABASE_URL", &url)]);

        let first = start();
        let (address, lines, line) = (first.address(), Case::lines(&first), case.line(&first));
        let all = |server: &Server| lines.iter().map(|line| paste(line, address, server)).collect::<Vec<_>>();
        let answers = all(&first);
        assert!(!is_rejected(&paste(line, address, &first)), "{example}: {line}");
        first.kill();

        let second = start();
        assert_eq!(all(&second), answers, "{example}: what was printed before goes on working");
        let (manager, authority) = case.manager(&url).await;
        let keys = case.keys(&url).await;
        assert_eq!(keys.len(), 2, "{example}: one of each start");
        manager.revoke(&authority, &keys[0].id).await.expect("the key can be revoked");
        assert!(
            is_rejected(&paste(line, address, &second)),
            "{example}: revoked in the file by another process"
        );
        second.kill();

        let third = start();
        assert!(is_rejected(&paste(line, address, &third)), "{example}: still revoked");
        let line = case.line(&second);
        assert!(!is_rejected(&paste(line, second.address(), &third)), "{example}: the other is not: {line}");
        assert!(third.stop("-TERM"), "{example}");
        let used: Vec<_> = case.keys(&url).await.iter().map(|key| key.last_used_at.is_some()).collect();
        assert!(used[1], "{example}: its last use was written");
        assert!(!used[2], "{example}: the last one was not used");
    }
}

#[test]
fn a_database_that_cannot_be_used_is_an_error_at_the_start_without_the_password() {
    for (url, said) in [
        ("", "it begins with sqlite: or postgres:"),
        ("mysql://app:hunter2@localhost/app", "it begins with sqlite: or postgres:"),
        ("keys.db", "it begins with sqlite: or postgres:"),
        ("sqlite:///no/such/directory/keys.db", "unable to open database file"),
        ("postgres://app:hunter2@127.0.0.1:1/app", "refused"),
        ("postgres://app:hunter2@127.0.0.1:port/app", "port"),
    ] {
        // Were the database taken, this would end at the address.
        let output = Command::new(server::binary("hyper_service"))
            .envs([("DATABASE_URL", url), ("LISTEN_ADDR", "nowhere")])
            .output()
            .expect("the example runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{url}");
        assert!(error.starts_with("hyper_service: DATABASE_URL: ") && error.contains(said), "{url}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
