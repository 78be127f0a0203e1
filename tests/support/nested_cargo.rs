//! Cargo as a command of a test that Cargo itself runs.

#![allow(unreachable_pub, reason = "it is a module of several tests")]

use std::process::Command;

/// Takes from `command` what Cargo has set for this test: build scripts of dependencies would run again because of it.
pub fn without_variables_of_cargo(command: &mut Command) -> &mut Command {
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    command
}
