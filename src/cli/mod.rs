//! The command line: keys are made, listed, changed, revoked and found in a terminal or by a script.
//!
//! It comes in two shapes, with the same verbs:
//!
//! - [`Command`], a subcommand of [clap](https://docs.rs/clap) for the application's own program. It works on the assembly, and
//!   so has its formats, peppers, scopes and routes.
//! - The program `api-keys`, for keys in an SQLite file or in PostgreSQL:
//!   `cargo install tower-api-keys --features cli,sqlite,postgres,tls`. It reads [a file and the environment](#configuration).
//!
//! ```no_run
//! use clap::Parser;
//! use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
//!
//! #[derive(Parser)]
//! enum Program {
//!     /// Serves the API
//!     Serve,
//!     /// Manages its keys
//!     #[command(subcommand)]
//!     Keys(tower_api_keys::cli::Command),
//! }
//!
//! # async fn serve(_: ApiKeys) -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
//! #[tokio::main]
//! async fn main() -> Result<std::process::ExitCode, Box<dyn std::error::Error>> {
//!     let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!         .header("x-api-key")
//!         .without_route_table()
//!         .build()?;
//!     Ok(match Program::parse() {
//!         Program::Serve => serve(keys).await,
//!         Program::Keys(command) => command.run(&keys).await,
//!     })
//! }
//! ```
//!
//! `api-keys` knows no routes: it has no `openapi`, and no `verify --route`. With the feature `openapi`, `myapp keys openapi` prints the
//! rules of access as an OpenAPI document, and `myapp keys openapi --check openapi.json` ends with status 3 and says where that document
//! and the rules differ.
//!
//! # Rules for every verb
//!
//! - A secret is printed once, alone on standard output, or written to a new file that only its user can read
//!   (`--secret-file`). A secret is never an argument: `verify` and `find` read it from standard input or from a hidden
//!   prompt, `import` from standard input; further credentials of a request are in a file (`verify --header @FILE`).
//! - People read tables. `--json` writes the [JSON of the key routes](crate::manage) in their place; `list --all`, `audit --all` and
//!   `scan` write one object a line. `usage --csv` writes the CSV of [`usage_route`](crate::usage). An error, and what is passed over, is then one object
//!   on standard error: `{"code":…,"message":…,"next":…}`.
//! - Changes are made as the [operator](crate::Authority::operator), for the person that `--as` names, or else the user who is
//!   logged in. The audit has that name, and what `--reason` says. `find --report PLACE` notes in it where a key was found.
//! - Without a terminal, or with `--no-input`, nothing is asked: what would have been asked is an error that names the option
//!   to give. There is no colour.
//!
//! | status | |
//! |---|---|
//! | 0 | done; also a listing that its reader cut off, as `head` does |
//! | 1 | failed, as when the store does not answer, what a verdict needs is missing, or a record can't be read |
//! | 2 | wrong usage, or a confirmation was refused or not possible |
//! | 3 | a negative verdict: the key is bad, a leak was found, a check of `doctor` failed, a document differs from the rules |
//! | 4 | not allowed |
//! | 5 | no such key, or it is revoked |
//! | 6 | the key was changed meanwhile |
//! | 130 | interrupted |
//!
#![doc = include_str!("program/configuration.md")]

mod command;
mod failure;
mod input;
mod output;
mod owner;
mod program;
mod reason;
mod secret_output;
mod session;
mod times;
mod trial;

mod audit;
mod create;
mod delete;
mod doctor;
mod export;
mod find;
mod import;
mod list;
#[cfg(feature = "openapi")]
mod openapi;
mod prune;
mod revoke;
mod rotate;
mod rules;
mod scan;
mod show;
mod switch;
mod update;
mod usage;
mod verify;

pub use command::Command;
pub use program::program;
