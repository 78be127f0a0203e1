//! What is read from people and from standard input.

use std::io::{self, BufRead, IsTerminal, Read, Write};
#[cfg(unix)]
use std::sync::Arc;
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};

use zeroize::Zeroizing;

use super::failure::Failure;
use super::session::Session;
use crate::key::SecretString;

/// More is not read as one key.
pub(super) const MAX_TEXT: u64 = 64 * 1024;

impl Session<'_> {
    /// Asks whether to go on; the default is no.
    pub(super) fn confirm(&self, question: &str) -> Result<(), Failure> {
        if self.yes {
            return Ok(());
        }
        if !self.interactive {
            return Err(Failure::unasked(format!("This has to be confirmed: {question}"), "Give `--yes`."));
        }
        match self.ask(&format!("{question} [y/N] "))?.to_lowercase().as_str() {
            "y" | "yes" => Ok(()),
            _ => Err(Failure::declined()),
        }
    }

    /// Asks for the name of what is about to be gone for good. `--yes` is not enough.
    pub(super) fn confirm_by_name(
        &self,
        question: &str,
        name: &str,
        given: Option<&str>,
    ) -> Result<(), Failure> {
        let typed = match given {
            Some(given) => given.to_owned(),
            None if self.interactive => self.ask(&format!("{question} Type its name to go on: "))?,
            None => {
                return Err(Failure::unasked(
                    format!("This has to be confirmed: {question}"),
                    "Give `--confirm` and the name of the key.",
                ));
            }
        };
        match typed == name {
            true => Ok(()),
            false => Err(Failure::declined().next("The name is another one: `show` has it.")),
        }
    }

    /// A line from the terminal.
    pub(super) fn ask(&self, question: &str) -> Result<String, Failure> {
        let mut error = io::stderr();
        write!(error, "{question}").and_then(|()| error.flush())?;
        let mut line = String::new();
        match io::stdin().lock().read_line(&mut line)? {
            // The terminal was closed, or Ctrl-D pressed.
            0 => Err(Failure::declined()),
            _ => Ok(line.trim().to_owned()),
        }
    }

    /// A secret, from standard input or, at a terminal, from a hidden prompt. White space around it is left out.
    pub(super) fn read_secret(&self, prompt: &str) -> Result<SecretString, Failure> {
        let text = if io::stdin().is_terminal() {
            if !self.interactive {
                return Err(Failure::unasked(
                    format!("{prompt} is read from standard input."),
                    "Pipe it in.",
                ));
            }
            prompt_hidden(&format!("{prompt} (not shown): "))?
        } else {
            let mut text = Zeroizing::new(String::with_capacity(1024));
            let length = io::stdin().lock().take(MAX_TEXT + 1).read_to_string(&mut text)?;
            if length as u64 > MAX_TEXT {
                return Err(Failure::usage(format!("{prompt} is longer than 64 KiB.")));
            }
            text
        };
        match text.trim() {
            "" => Err(Failure::usage(format!("{prompt} is empty."))),
            text => Ok(text.into()),
        }
    }
}

/// At Ctrl-C, rpassword raises the signal before it has the terminal show input again, so the signal must not end the process then.
fn prompt_hidden(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    #[cfg(unix)]
    let prompted = {
        let ends = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register_conditional_default(signal_hook::consts::SIGINT, ends.clone())?;
        let prompted = rpassword::prompt_password(prompt);
        ends.store(true, Ordering::Relaxed);
        prompted
    };
    #[cfg(not(unix))]
    let prompted = rpassword::prompt_password(prompt);
    match prompted {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(Failure::interrupted()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Failure::declined()),
        Err(error) => Err(error.into()),
    }
}

/// Refuses what may be a key on the command line, without repeating it.
pub(super) fn refuse_arguments(arguments: &[std::ffi::OsString]) -> Result<(), Failure> {
    if arguments.is_empty() {
        return Ok(());
    }
    Err(Failure::usage(
        "A key is not an argument: it is in the history of your shell and in the list of processes now.",
    )
    .next("Rotate it. Then give the key on standard input, or at the prompt."))
}
