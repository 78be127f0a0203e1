//! The program `api-keys`.

mod config;
mod database;
mod init;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::config::Config;
use super::command::{Command, KeyVerb};
use super::failure::{Failure, may_be_cut};
use super::session::Options;

/// Manages API keys in an SQLite file or in PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "api-keys", version, arg_required_else_help = true)]
struct Program {
    /// The configuration; `api-keys.toml`, if it is not given and there is such a file
    #[arg(long, global = true, value_name = "FILE", env = "API_KEYS_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Writes a configuration, if there is none, and creates the tables
    Init(init::Init),
    /// Upgrades the tables to the version of this program
    Migrate,
    #[command(flatten)]
    Keys(Box<KeyVerb>),
    /// Prints completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Prints the manual in the format of man, or writes a page for each verb to a directory
    Man {
        /// The directory
        #[arg(value_name = "DIRECTORY")]
        directory: Option<PathBuf>,
    },
}

/// Runs the program `api-keys` with the arguments and the environment of this process.
pub fn program() -> ExitCode {
    let as_json = std::env::args_os().any(|argument| argument == "--json");
    let Program { config, options, verb } = match Program::try_parse() {
        Ok(program) => program,
        Err(error) if as_json && error.use_stderr() => {
            let text = error.kind().as_str().unwrap_or("it is not understood");
            return end(
                &Failure::usage(format!("The command line: {text}.")).next("See `api-keys help`."),
                true,
            );
        }
        Err(error) => error.exit(),
    };
    start(config, options, verb).unwrap_or_else(|failure| end(&failure, as_json))
}

fn end(failure: &Failure, as_json: bool) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{}", failure.text(as_json));
    failure.exit.into()
}

fn start(path: Option<PathBuf>, options: Options, verb: Verb) -> Result<ExitCode, Failure> {
    // One command at a time needs no further threads.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match verb {
            Verb::Init(init) => init.run(path).await,
            Verb::Migrate => {
                let config = Config::read(path)?;
                database::migrate(&config.database()?).await?;
                writeln!(std::io::stdout(), "The tables have the version of this program.")?;
                Ok(ExitCode::SUCCESS)
            }
            Verb::Keys(verb) => {
                let keys = Config::read(path)?.assembly(!verb.is_offline()).await?;
                Ok(Command::new(options, verb).run(&keys).await)
            }
            Verb::Completions { shell } => may_be_cut(completions(shell), ExitCode::SUCCESS),
            Verb::Man { directory } => may_be_cut(man(directory), ExitCode::SUCCESS),
        }
    })
}

fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Program::command(), "api-keys", &mut text);
    std::io::stdout().write_all(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn man(directory: Option<PathBuf>) -> Result<ExitCode, Failure> {
    match directory {
        Some(directory) => clap_mangen::generate_to(Program::command(), directory)?,
        None => clap_mangen::Man::new(Program::command()).render(&mut std::io::stdout())?,
    }
    Ok(ExitCode::SUCCESS)
}
