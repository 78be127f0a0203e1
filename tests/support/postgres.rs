//! A PostgreSQL server for the tests, in a temporary directory and on a free port.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};

/// The user that no server accepts to run as, and the one used instead.
const ROOT: u32 = 0;
const UNPRIVILEGED: u32 = 65_534;

/// Stops the server and removes its directory when the tests have ended, however they ended: their end closes its
/// input.
const GUARDIAN: &str = r#"
    trap '' INT TERM HUP
    cat > /dev/null
    server=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null)
    if [ -n "$server" ]; then
        kill -CONT "$server" $(pgrep -P "$server") 2> /dev/null
        kill -QUIT "$server" 2> /dev/null
        for _ in $(seq 50); do
            [ -e "$1/data/postmaster.pid" ] && kill -0 "$server" 2> /dev/null || break
            sleep 0.1
        done
    fi
    rm -rf "$1"
"#;

/// A running server. Stopped and removed when dropped.
pub struct Server {
    directory: PathBuf,
    port: u16,
    process: Mutex<Child>,
    guardian: Child,
}

impl Server {
    /// A server that all tests of a file share; they must not disturb it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server that a test may kill or freeze.
    pub fn start() -> Self {
        Self::start_in(|directory| {
            // English sorts `aB` before `Ba`, which bytes do not. Before version 15 there is no such choice everywhere.
            let english: &[&str] = &["--locale-provider=icu", "--icu-locale=en-US"];
            let mut made = initdb(directory, english);
            if !made.status.success() {
                made = initdb(directory, &[]);
            }
            assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        })
    }

    /// A standby that follows the server at `primary`.
    pub fn start_standby(primary: SocketAddr) -> Self {
        Self::start_in(|directory| {
            let copied = program("pg_basebackup", directory)
                .args([
                    "--write-recovery-conf",
                    "--checkpoint=fast",
                    "--no-sync",
                    "--username=postgres",
                    "--host",
                ])
                .arg(primary.ip().to_string())
                .args(["--port", &primary.port().to_string(), "--pgdata"])
                .arg(directory.join("data"))
                .output()
                .expect("pg_basebackup runs");
            assert!(copied.status.success(), "pg_basebackup: {}", String::from_utf8_lossy(&copied.stderr));
        })
    }

    /// Ends following: from now on the standby takes changes.
    pub fn promote(&self) {
        let data = self.directory.join("data");
        let promoted = program("pg_ctl", &self.directory).args(["promote", "-w", "-D"]).arg(data).output();
        assert!(promoted.expect("pg_ctl runs").status.success(), "{}", self.log());
    }

    fn start_in(make: impl FnOnce(&Path)) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory = env::temp_dir().join(format!("api-keys-postgres-{}-{number}", process::id()));
        fs::create_dir_all(&directory).expect("the temporary directory can be written");
        let guardian = Command::new("sh")
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&directory)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a shell");
        if fs::metadata(&directory).expect("it was just made").uid() == ROOT {
            chown(&directory, Some(UNPRIVILEGED), Some(UNPRIVILEGED))
                .expect("root can give a directory away");
        }
        make(&directory);
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = port.expect("there is a free port").port();
        let process = Mutex::new(spawn(&directory, port));
        Self { directory, port, process, guardian }
    }

    /// What this server's clients connect with.
    pub fn options(&self, database: &str) -> PgConnectOptions {
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}", self.port);
        PgConnectOptions::from_str(&url).expect("this is a URL")
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// A program that is not to run as root, in a directory of its own that goes with the server.
    pub fn program_beside(&self, name: &str) -> (Command, &Path) {
        (program(name, &self.directory), &self.directory)
    }

    /// An empty database, and a pool of connections to it.
    pub async fn database(&self, connections: u32) -> PgPool {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut admin = self.connect("postgres").await;
        let create = format!("CREATE DATABASE {name} TEMPLATE template0");
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await.expect("a database can be made");
        PgPoolOptions::new().max_connections(connections).connect_lazy_with(self.options(&name))
    }

    /// Waits until the server is up.
    async fn connect(&self, database: &str) -> PgConnection {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match PgConnection::connect_with(&self.options(database)).await {
                Ok(connection) => return connection,
                Err(error) if Instant::now() > deadline => panic!("{error}\n{}", self.log()),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    /// From now on takes only encrypted connections, from a new user with a password.
    pub async fn require_tls(&self, certificate: &Path, key: &Path, user: &str, password: &str) {
        let data = self.directory.join("data");
        let owner = fs::metadata(&data).expect("there is a server");
        for (from, to) in [(certificate, "server.crt"), (key, "server.key")] {
            let to = data.join(to);
            fs::copy(from, &to).expect("the server's directory can be written");
            fs::set_permissions(&to, Permissions::from_mode(0o600)).expect("it is ours");
            chown(&to, Some(owner.uid()), Some(owner.gid())).expect("root can give a file away");
        }
        let mut admin = self.connect("postgres").await;
        for command in [
            format!("CREATE ROLE {user} SUPERUSER LOGIN PASSWORD '{password}'"),
            "ALTER SYSTEM SET ssl = on".to_owned(),
            "SELECT pg_reload_conf()".to_owned(),
        ] {
            sqlx::raw_sql(AssertSqlSafe(command)).execute(&mut admin).await.expect("a superuser may");
        }
        fs::write(data.join("pg_hba.conf"), "hostssl all all all scram-sha-256\n").expect("it is there");
        sqlx::raw_sql("SELECT pg_reload_conf()").execute(&mut admin).await.expect("a superuser may");
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Simulates a power failure, except for the loss of the operating system's buffers.
    pub fn kill(&self) {
        self.signal("KILL");
        self.process.lock().unwrap().wait().expect("it was started");
    }

    /// Freezes the server, while its connections stay open.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// Starts it again after [`kill`](Self::kill).
    pub fn restart(&self) {
        // The shared memory of a killed server is released when the last of its processes has noticed.
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let mut server = spawn(&self.directory, self.port);
            thread::sleep(Duration::from_millis(300));
            if server.try_wait().expect("it was started").is_none() {
                *self.process.lock().unwrap() = server;
                return;
            }
            assert!(Instant::now() < deadline, "the server starts again: {}", self.log());
        }
    }

    /// Sends a signal to every process of the server.
    fn signal(&self, name: &str) {
        let server = self.process.lock().unwrap().id().to_string();
        let children = Command::new("pgrep").args(["-P", &server]).output().expect("there is pgrep").stdout;
        let children = String::from_utf8(children).expect("process numbers are ASCII");
        // Some may have ended meanwhile.
        let _ = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(&server)
            .args(children.lines())
            .stderr(Stdio::null())
            .status()
            .expect("there is kill");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.process.lock().map(|mut process| process.wait());
        let _ = self.guardian.wait();
    }
}

fn initdb(directory: &Path, locale: &[&str]) -> Output {
    program("initdb", directory)
        .arg("-D")
        .arg(directory.join("data"))
        .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"])
        .args(locale)
        .output()
        .expect("initdb runs")
}

fn spawn(directory: &Path, port: u16) -> Child {
    let log = fs::File::options().create(true).append(true).open(directory.join("log"));
    let log = log.expect("the log can be written");
    program("postgres", directory)
        .arg("-D")
        .arg(directory.join("data"))
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=200"])
        .arg("-c")
        .arg(format!("unix_socket_directories={}", directory.display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file can be opened twice"))
        .stderr(log)
        .process_group(0)
        .spawn()
        .expect("postgres runs")
}

/// One of PostgreSQL's programs, run as the owner of `directory`.
fn program(name: &str, directory: &Path) -> Command {
    let owner = fs::metadata(directory).expect("the directory is there");
    let mut command = Command::new(find(name));
    command.current_dir(directory);
    if owner.uid() == UNPRIVILEGED {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command
}

fn find(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    let configured = Command::new("pg_config").arg("--bindir").output().ok();
    let configured = configured.and_then(|output| String::from_utf8(output.stdout).ok());
    let mut packaged: Vec<_> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    packaged.sort();
    env::var_os("PG_BIN")
        .map(PathBuf::from)
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(configured.map(|directory| PathBuf::from(directory.trim())))
        .chain(packaged.into_iter().rev())
        .map(|directory| directory.join(name))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "these tests start a PostgreSQL server of their own, and found no `{name}`. Install it \
                 (`apt-get install postgresql`, `dnf install postgresql-server`, `brew install postgresql`), or say \
                 where its programs are: PG_BIN=/path/to/bin"
            )
        })
}
