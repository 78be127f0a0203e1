//! The guide, `docs/guide/`, followed page by page: its files are written, its commands are run in a shell, and what they print
//! is compared with what the page says. `page.rs` says how a page is read.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/nested_cargo.rs"]
mod nested_cargo;
mod page;
#[path = "../support/postgres.rs"]
mod postgres_server;
#[path = "../support/redis.rs"]
mod redis_server;
mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::page::{Step, matches_whole, steps};
use crate::postgres_server::Server;
use crate::redis_server::{RedisServer, free_port};
use crate::terminal::Terminal;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn first_key() {
    follow(&["1-first-key.md"], &[]);
}

/// Each page continues where the one before ends.
#[test]
fn production_incidents_and_operation() {
    let (postgres, redis) = (Server::start(), RedisServer::start());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let database =
        runtime.block_on(postgres.database(1)).connect_options().get_database().unwrap().to_owned();
    let database = format!("postgres://postgres@127.0.0.1:{}/{database}", postgres.port());
    let names =
        [("postgres://postgres@127.0.0.1/acme", &*database), ("redis://127.0.0.1:6379", &redis.url())];
    follow(&["2-production.md", "3-incidents.md", "6-operate.md"], &names);
}

#[test]
fn migration() {
    follow(&["4-migrate.md"], &[]);
}

/// Or has no more than programs for rustdoc.
#[test]
fn every_page_is_followed() {
    let source = include_str!("main.rs");
    for page in fs::read_dir(Path::new(ROOT).join("docs/guide")).unwrap() {
        let name = page.unwrap().file_name().into_string().unwrap();
        let page = fs::read_to_string(Path::new(ROOT).join("docs/guide").join(&name)).unwrap();
        let has_steps = !steps(&page).unwrap_or_else(|fault| panic!("docs/guide/{name}: {fault}")).is_empty();
        assert!(!has_steps || source.contains(&format!("\"{name}\"")), "{name} is not followed");
    }
}

/// Does what the pages say, one after the other, in an empty directory. What the pages call by the first name of a pair is there
/// by the second.
fn follow(pages: &[&str], names: &[(&str, &str)]) {
    // Their programs have the same name, and so the same place in the target directory.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = Directory::new(pages[0]);
    let address = format!("127.0.0.1:{}", free_port());
    let names = [&[("127.0.0.1:3000", &*address)], names].concat();
    let in_place =
        |text: &str| names.iter().fold(text.to_owned(), |text, (name, here)| text.replace(name, here));
    let mut terminal = Terminal::open(&directory.work, &directory.root.join("block"));
    for page in pages {
        let text = fs::read_to_string(Path::new(ROOT).join("docs/guide").join(page)).unwrap();
        let all = steps(&text).unwrap_or_else(|fault| panic!("docs/guide/{page}: {fault}"));
        assert!(!all.is_empty(), "docs/guide/{page} has nothing to do");
        for (line, step) in all {
            let done = follow_step(&step, &mut terminal, &in_place);
            done.unwrap_or_else(|fault| panic!("docs/guide/{page}:{line}: {fault}"));
        }
    }
}

fn follow_step(
    step: &Step,
    terminal: &mut Terminal,
    in_place: &dyn Fn(&str) -> String,
) -> Result<(), String> {
    match step {
        Step::File { path, text } => {
            let path = terminal.directory().join(path);
            fs::write(&path, in_place(text)).map_err(|error| format!("{}: {error}", path.display()))?;
            // With the versions of the crate's own tests.
            let lock = path.with_file_name("Cargo.lock");
            if path.ends_with("Cargo.toml") && !lock.exists() {
                fs::copy(Path::new(ROOT).join("Cargo.lock"), lock).unwrap();
            }
            Ok(())
        }
        Step::Run { commands, output } => {
            let printed = terminal.run(&in_place(commands))?;
            match output {
                Some(output) if !matches_whole(&in_place(output), &printed) => {
                    Err(format!("it should print\n\n{output}\n\nand prints\n\n{printed}"))
                }
                _ => Ok(()),
            }
        }
        Step::Start { commands, output } => terminal.start(&in_place(commands), &in_place(output)),
        Step::Printed { output } => terminal.has_printed(&in_place(output)).map(drop),
        Step::Stop => terminal.stop(),
    }
}

/// Removed when dropped.
struct Directory {
    root: PathBuf,
    /// Where the page is followed.
    work: PathBuf,
}

impl Directory {
    fn new(page: &str) -> Self {
        let name = page.split('.').next().unwrap();
        let root = std::env::temp_dir().join(format!("api-keys-guide-{}-{name}", std::process::id()));
        let work = root.join("work");
        fs::create_dir_all(&work).unwrap();
        fs::create_dir_all(root.join(".cargo")).unwrap();
        // The crate is that of this repository. Profiles are those of its tests, whose dependencies are built already.
        let config = format!(
            "[patch.crates-io]\ntower-api-keys = {{ path = {ROOT:?} }}\n\
             [profile.dev]\ndebug = \"line-tables-only\"\n[profile.dev.package.\"*\"]\ndebug = false\n"
        );
        fs::write(root.join(".cargo/config.toml"), config).unwrap();
        Self { root, work }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}
