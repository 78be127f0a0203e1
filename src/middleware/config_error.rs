use std::fmt;

use thiserror::Error;

/// What is wrong with an assembly: every fault at once.
///
/// ```
/// use tower_api_keys::store::MemoryStore;
/// use tower_api_keys::{ApiKeys, KeyFormat};
///
/// let error = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
///     .header("x api key")
///     .route("GET", "workflows", "workflows:read")
///     .build()
///     .unwrap_err();
/// assert_eq!(error.faults().iter().map(|fault| fault.setting()).collect::<Vec<_>>(), ["header", "route"]);
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    faults: Vec<ConfigFault>,
}

/// One fault of an assembly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    setting: &'static str,
    message: String,
}

impl ConfigError {
    /// At least one.
    pub(crate) fn new(faults: Vec<ConfigFault>) -> Self {
        Self { faults }
    }

    /// The faults, in the order in which they were found.
    pub fn faults(&self) -> &[ConfigFault] {
        &self.faults
    }
}

impl ConfigFault {
    pub(crate) fn new(setting: &'static str, message: impl Into<String>) -> Self {
        Self { setting, message: message.into() }
    }

    /// The method of [`ApiKeysBuilder`](crate::ApiKeysBuilder) to look at.
    pub fn setting(&self) -> &'static str {
        self.setting
    }

    /// What is wrong, and what to do.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the assembly of API keys is not valid")?;
        for fault in &self.faults {
            write!(f, "; {fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.message)
    }
}
