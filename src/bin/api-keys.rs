//! The program `api-keys`: the command line of [`tower_api_keys::cli`] over a database of its own configuration.

use std::process::ExitCode;

fn main() -> ExitCode {
    tower_api_keys::cli::program()
}
