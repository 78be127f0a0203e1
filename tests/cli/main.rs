//! The command line: the program `api-keys` itself, run as a process over an SQLite file and over PostgreSQL.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/postgres.rs"]
mod postgres_server;
mod program;

mod closed_output;
mod configuration;
mod importing;
mod keys;
mod leaks;
mod listing;
mod operation;
mod secrets;
mod subcommand;
mod undecided;
mod usage;
mod verification;
