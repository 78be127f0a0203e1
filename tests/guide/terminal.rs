//! A shell that a page is typed into, and a second terminal for a program that runs on.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use regex::Regex;

use crate::nested_cargo::without_variables_of_cargo;
use crate::page::matches_beginning;

/// A build takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// How long a program may print nothing more before what it has printed is all.
const SILENCE: Duration = Duration::from_secs(30);

/// After what a block has printed comes this and its status.
const END: char = '\u{1e}';

/// Ends what runs in it when dropped.
pub(crate) struct Terminal {
    shell: Child,
    input: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// Where the commands of a block are written to.
    block: PathBuf,
    program: Option<Program>,
}

/// The program in the second terminal.
struct Program {
    /// Its process group.
    id: String,
    log: PathBuf,
    /// How much of its output the page has shown.
    shown: usize,
}

impl Terminal {
    pub(crate) fn open(directory: &Path, block: &Path) -> Self {
        let api_keys = Path::new(env!("CARGO_BIN_EXE_api-keys")).parent().unwrap();
        let path = format!("{}:{}", api_keys.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc"]).current_dir(directory);
        for variable in ["DATABASE_URL", "REDIS_URL", "API_KEYS_CONFIG", "API_KEYS_PEPPERS_FILE", "RUST_LOG"]
        {
            command.env_remove(variable);
        }
        without_variables_of_cargo(&mut command)
            .env("PATH", path)
            .env("USER", "ada")
            .env("NO_COLOR", "1")
            // Where nothing looks on, `curl` shows its progress, which a terminal does not get beside a response.
            .env("CURL_HOME", block.parent().unwrap())
            .env("CARGO_TERM_QUIET", "true")
            .env("CARGO_TARGET_DIR", api_keys.parent().unwrap());
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("there is bash");
        fs::write(block.with_file_name(".curlrc"), "silent\nshow-error\n").unwrap();
        let (mut input, mut printed) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let (send, output) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = printed.read(&mut bytes) {
                if send.send(bytes[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        // As a reader who looks at what each command does.
        input.write_all(b"exec 2>&1\nset -euo pipefail\n").unwrap();
        Self { shell, input, output, block: block.to_owned(), program: None }
    }

    /// What the commands print, or how they fail.
    pub(crate) fn run(&mut self, commands: &str) -> Result<String, String> {
        fs::write(&self.block, commands).unwrap();
        self.send(&format!(". '{}' </dev/null", self.block.display()))
    }

    /// The directory that the shell is in.
    pub(crate) fn directory(&mut self) -> PathBuf {
        self.send("pwd").expect("the shell runs").trim_end().into()
    }

    /// Runs the commands in the second terminal until they have printed `output`, whose lines `NAME=value` are then typed here.
    pub(crate) fn start(&mut self, commands: &str, output: &str) -> Result<(), String> {
        self.stop()?;
        let (script, log) = (self.block.with_extension("start"), self.block.with_extension("log"));
        fs::write(&script, commands).unwrap();
        // Of the program before.
        let _ = fs::remove_file(&log);
        // With job control it has a process group of its own, and a Ctrl-C reaches it.
        let (script, file) = (script.display(), log.display());
        let start = format!("set -m; bash -eu '{script}' </dev/null >'{file}' 2>&1 & set +m; echo $!");
        let id = self.send(&start)?.trim().to_owned();
        self.program = Some(Program { id, log, shown: 0 });
        let printed = self.has_printed(output)?;
        let assignment = Regex::new(r"(?m)^[A-Z_]+=\S+$").unwrap();
        for found in assignment.find_iter(&printed) {
            self.run(found.as_str())?;
        }
        Ok(())
    }

    /// Waits until the program in the second terminal has printed `output`, and returns it.
    pub(crate) fn has_printed(&mut self, output: &str) -> Result<String, String> {
        let (mut deadline, mut length) = (Instant::now() + PATIENCE, 0);
        let alive = format!("kill -0 {}", self.program.as_ref().ok_or("no program runs")?.id);
        loop {
            let has_ended = self.send(&format!("{alive} 2>/dev/null && echo yes || echo no"))?.trim() == "no";
            let program = self.program.as_mut().unwrap();
            // The shell may not have made it yet.
            let printed = fs::read_to_string(&program.log).unwrap_or_default();
            let printed = &printed[program.shown..];
            if let Some(end) = matches_beginning(output, printed) {
                program.shown += end;
                return Ok(printed[..end].to_owned());
            }
            if printed.len() > length {
                (deadline, length) = (Instant::now() + SILENCE, printed.len());
            }
            if has_ended || Instant::now() > deadline {
                return Err(format!("it should print\n\n{output}\n\nand prints\n\n{printed}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Types Ctrl-C in the second terminal, and waits until the program has ended.
    pub(crate) fn stop(&mut self) -> Result<(), String> {
        let Some(Program { id, log, .. }) = self.program.take() else { return Ok(()) };
        // Where this test itself runs in the background, a program that does not ask for SIGINT never gets it.
        let end = format!(
            "kill -INT -- -{id}; for _ in $(seq 100); do kill -0 {id} 2>/dev/null || break; sleep 0.1; done
             kill -TERM -- -{id} 2>/dev/null || true; s=0; wait {id} || s=$?; echo $s"
        );
        match self.send(&end)?.trim() {
            "0" | "130" | "143" => Ok(()),
            status => Err(format!("it ends with status {status}: {}", fs::read_to_string(log).unwrap())),
        }
    }

    fn send(&mut self, line: &str) -> Result<String, String> {
        // The shell has ended if it can't be written to, which its output says.
        let _ = writeln!(self.input, "{line}\nprintf '{END}'");
        let (mut printed, deadline) = (Vec::new(), Instant::now() + PATIENCE);
        loop {
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => printed.extend(bytes),
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("it fails, and prints\n\n{}", text(&printed)));
                }
                Err(RecvTimeoutError::Timeout) => return Err(format!("it does not end: {}", text(&printed))),
            }
            if let Some(printed) = text(&printed).strip_suffix(END) {
                return Ok(printed.to_owned());
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(Program { id, .. }) = &self.program {
            let _ = Command::new("kill").args(["-KILL", "--", &format!("-{id}")]).status();
        }
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
