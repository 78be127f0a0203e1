//! What is read from people and from standard input.

use std::io::{self, BufRead, IsTerminal, Read, Write};

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
            Zeroizing::new(rpassword::prompt_password(format!("{prompt} (not shown): "))?)
        } else {
            let mut text = Zeroizing::new(String::with_capacity(1024));
            io::stdin().lock().take(MAX_TEXT).read_to_string(&mut text)?;
            text
        };
        match text.trim() {
            "" => Err(Failure::usage(format!("{prompt} is empty."))),
            text => Ok(text.into()),
        }
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
