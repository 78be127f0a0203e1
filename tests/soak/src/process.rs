//! A node as a process, and what can be seen of it from outside.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::sleep;

/// A node, on the same port whenever it runs. Killed when dropped.
pub(crate) struct Process {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    variables: Vec<(&'static str, String)>,
    directory: PathBuf,
    child: Mutex<Child>,
    read: Mutex<u64>,
}

/// What a node takes at one moment.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) resident_kib: u64,
    pub(crate) descriptors: usize,
}

/// Lines of a log.
#[derive(Clone, Copy, Default)]
pub(crate) struct Lines {
    pub(crate) all: usize,
    /// Of level `WARN` or `ERROR`.
    pub(crate) loud: usize,
    pub(crate) panics: usize,
}

impl Process {
    pub(crate) fn start(
        name: &'static str,
        directory: &Path,
        port: u16,
        mut variables: Vec<(&'static str, String)>,
    ) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        variables.push(("LISTEN_ADDR", address.to_string()));
        variables.push(("EVENTS", directory.join(format!("{name}.events")).display().to_string()));
        let child = Mutex::new(spawn(name, directory, &variables));
        Self { name, address, variables, directory: directory.to_owned(), child, read: Mutex::new(0) }
    }

    /// Starts it again after its end.
    pub(crate) fn restart(&self) {
        *self.child() = spawn(self.name, &self.directory, &self.variables);
    }

    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child().id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill {signal} {}", self.name);
    }

    /// Waits for its end. Whether it was a clean one. Its connections to the servers are forwarded meanwhile.
    pub(crate) async fn wait(&self) -> bool {
        loop {
            let status = self.child().try_wait();
            match status {
                Ok(None) => sleep(Duration::from_millis(10)).await,
                status => return status.is_ok_and(|status| status.is_some_and(|status| status.success())),
            }
        }
    }

    /// `None` while it does not run.
    pub(crate) fn sample(&self) -> Option<Sample> {
        let process = PathBuf::from(format!("/proc/{}", self.child().id()));
        let status = fs::read_to_string(process.join("status")).ok()?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kib = resident.split_whitespace().next()?.parse().ok()?;
        Some(Sample { resident_kib, descriptors: fs::read_dir(process.join("fd")).ok()?.count() })
    }

    /// The lines that it has logged since the last call.
    pub(crate) fn new_lines(&self) -> Lines {
        let mut read = self.read.lock().expect("nothing panics");
        let mut text = Vec::new();
        let file = File::open(log(self.name, &self.directory));
        let whole = file.and_then(|mut file| {
            file.seek(SeekFrom::Start(*read))?;
            file.read_to_end(&mut text)
        });
        whole.expect("there is a log");
        let end = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        *read += end as u64;
        let mut lines = Lines::default();
        for line in String::from_utf8_lossy(&text[..end]).lines() {
            lines.all += 1;
            lines.loud += usize::from(line.contains(" WARN ") || line.contains(" ERROR "));
            lines.panics += usize::from(line.contains("panicked at"));
        }
        lines
    }

    /// All that it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(log(self.name, &self.directory)).expect("there is a log")
    }

    fn child(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().expect("nothing panics")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn log(name: &str, directory: &Path) -> PathBuf {
    directory.join(format!("{name}.log"))
}

fn spawn(name: &str, directory: &Path, variables: &[(&'static str, String)]) -> Child {
    let log = File::options().create(true).append(true).open(log(name, directory));
    Command::new(std::env::current_exe().expect("a program has a path"))
        .arg("node")
        .env_remove("REDIS_URL")
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.expect("the log can be written"))
        .spawn()
        .expect("the node starts")
}
