//! Runs the program, each test in a directory of its own.
#![allow(unreachable_pub, reason = "as in tests/support")]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use regex::Regex;
use serde_json::Value;
use sqlx::ConnectOptions;
use tower_api_keys::store::{KeyAdministration, PostgresStore, SqliteStore};

use crate::postgres_server::Server;

/// A directory with a configuration and a database, removed when dropped.
pub struct Program {
    pub directory: PathBuf,
    pub url: Option<String>,
}

/// How a run has ended.
#[derive(Debug)]
pub struct Ended {
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Program {
    /// With keys of the prefix `acme_` in an SQLite file.
    pub fn new() -> Self {
        let program = Self::empty(None);
        program.run(["init", "--prefix", "acme_"]).done();
        program
    }

    /// The same in the database at `url`.
    pub fn over(url: String) -> Self {
        let program = Self::empty(Some(url));
        program.run(["init", "--prefix", "acme_"]).done();
        program
    }

    /// One over each kind of database.
    pub fn each() -> [Self; 2] {
        let url = runtime().block_on(async {
            let database = Server::shared().database(1).await;
            let url = database.connect_options().to_url_lossy().to_string();
            database.close().await;
            url
        });
        [Self::new(), Self::over(url)]
    }

    /// The store of its keys, opened beside it.
    pub async fn store(&self) -> Arc<dyn KeyAdministration> {
        match &self.url {
            Some(url) => Arc::new(PostgresStore::connect(url).await.unwrap()),
            None => Arc::new(SqliteStore::open(self.file("api-keys.db")).await.unwrap()),
        }
    }

    /// Does with the database what the program would not.
    pub fn sql(&self, statement: &str) {
        let statement = sqlx::AssertSqlSafe(statement.to_owned());
        runtime().block_on(async {
            match &self.url {
                Some(url) => {
                    let pool = sqlx::PgPool::connect(url).await.unwrap();
                    sqlx::raw_sql(statement).execute(&pool).await.unwrap();
                }
                None => {
                    let options =
                        sqlx::sqlite::SqliteConnectOptions::new().filename(self.file("api-keys.db"));
                    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
                    sqlx::raw_sql(statement).execute(&pool).await.unwrap();
                }
            }
        });
    }

    /// Without a configuration.
    pub fn empty(url: Option<String>) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("api-keys-cli-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        Self { directory, url }
    }

    /// In its directory, as the user ada, without anything of the environment that it would read.
    pub fn command<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_api-keys"));
        let arguments: Vec<_> = arguments.into_iter().map(|argument| argument.as_ref().to_owned()).collect();
        command.args(arguments).current_dir(&self.directory).env("USER", "ada");
        for variable in ["DATABASE_URL", "API_KEYS_CONFIG", "API_KEYS_PEPPERS_FILE"] {
            command.env_remove(variable);
        }
        command.envs(self.url.iter().map(|url| ("DATABASE_URL", url)));
        command
    }

    /// Without anything on standard input.
    pub fn run<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>) -> Ended {
        self.run_with(arguments, "")
    }

    /// With what a shell does with the line.
    pub fn shell(&self, line: &str) -> Ended {
        let program = self.command([""; 0]).get_program().to_owned();
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!("exec \"$0\" {line}")).arg(program).current_dir(&self.directory);
        command.env_remove("DATABASE_URL").env_remove("API_KEYS_PEPPERS_FILE");
        self.end(command.stdout(Stdio::piped()), "")
    }

    /// With `input` on standard input.
    pub fn run_with<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>, input: &str) -> Ended {
        self.end(self.command(arguments).stdout(Stdio::piped()), input)
    }

    fn end(&self, command: &mut Command, input: &str) -> Ended {
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that reads nothing may have ended before.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let status = output.status.code().expect("not killed by a signal");
        Ended { status, out: text(output.stdout), err: text(output.stderr) }
    }

    /// Runs a line of the shell in a terminal, in which `typed` is typed once it shows `prompt`. The status, and what is shown.
    pub fn in_terminal(&self, line: &str, prompt: &str, typed: &str) -> (i32, String) {
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", line, "/dev/null"]).current_dir(&self.directory);
        command.env_remove("DATABASE_URL").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("`script` of util-linux");
        let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut shown, mut byte) = (Vec::new(), [0]);
        while !String::from_utf8_lossy(&shown).contains(prompt) && output.read(&mut byte).unwrap() > 0 {
            shown.extend(byte);
        }
        // The prompt is shown before the terminal hides what is typed.
        std::thread::sleep(std::time::Duration::from_millis(100));
        // A program that asks nothing has ended.
        let _ = input.write_all(typed.as_bytes());
        drop(input);
        output.read_to_end(&mut shown).unwrap();
        (child.wait().unwrap().code().unwrap(), String::from_utf8(shown).unwrap())
    }

    /// Nothing reads what is printed on standard output.
    pub fn run_unread<A: AsRef<str>>(&self, arguments: impl IntoIterator<Item = A>, input: &str) -> Ended {
        let (read, written) = UnixStream::pair().unwrap();
        drop(read);
        self.end(self.command(arguments).stdout(OwnedFd::from(written)), input)
    }

    /// Makes a key of org_1; its identifier and its secret.
    pub fn key(&self, name: &str, options: &[&str]) -> (String, String) {
        let made = ["create", name, "-o", "org_1", "--expires", "never", "--json"];
        let made = self.run(made.iter().chain(options)).done().json();
        (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
    }

    pub fn show(&self, id: &str) -> Value {
        self.run(["show", id, "--json"]).done().json()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Ended {
    #[track_caller]
    pub fn done(self) -> Self {
        self.with(0)
    }

    #[track_caller]
    pub fn with(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{}{}", self.out, self.err);
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The error, which is one JSON object on standard error.
    #[track_caller]
    pub fn error(&self) -> Value {
        serde_json::from_str(&self.err).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// As long as an identifier, and none.
const WORDS: [&str; 4] = ["allowedAddresses", "artifactLocation", "physicalLocation", "shortDescription"];

/// Compares a text with `snapshots/NAME`, after what differs from run to run is replaced. With `UPDATE_SNAPSHOTS` set, the
/// file is written.
#[track_caller]
pub fn snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots").join(name);
    let mut text = text.to_owned();
    for (pattern, replacement) in [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "YYYY-MM-DDThh:mm:ss.mmmZ"),
        (r"acme_(live|test)_\w{16}\.\w{38}", "<the secret>"),
        (r"\b[A-Za-z0-9]{16}\b", "KeyIdentifier123"),
        (r"…\w{4}\b", "…last"),
    ] {
        let replace = |found: &regex::Captures<'_>| match &found[0] {
            kept if kept.starts_with("2099-") || WORDS.contains(&kept) => kept.to_owned(),
            _ => replacement.to_owned(),
        };
        text = Regex::new(pattern).unwrap().replace_all(&text, replace).into_owned();
    }
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    // One instant in ten is shorter, as it is written without zeros at its end, and its column narrower.
    let columns = Regex::new(" {3,}").unwrap();
    let [text, kept] = [&text, &kept].map(|text| match text.contains("YYYY-") {
        true => columns.replace_all(text, "  ").into_owned(),
        false => text.clone(),
    });
    assert_eq!(text, kept, "{}: run again with UPDATE_SNAPSHOTS=1 if this is meant", path.display());
}
