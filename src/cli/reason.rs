use clap::Args;

use crate::Authority;

/// Why something is changed.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Reason {
    /// Why, for the audit: at most 500 characters. The owner of the key can read it
    #[arg(long = "reason", value_name = "TEXT")]
    text: Option<String>,
}

impl Reason {
    pub(super) fn of(self, authority: Authority) -> Authority {
        match self.text {
            Some(text) => authority.because(text),
            None => authority,
        }
    }
}
