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
/// assert_eq!(error.faults().map(|(setting, _)| setting).collect::<Vec<_>>(), ["header", "route"]);
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct ConfigError {
    faults: Vec<Fault>,
}

/// The setting, and what is wrong with it.
pub(super) type Fault = (&'static str, String);

impl ConfigError {
    /// At least one.
    pub(super) fn new(faults: Vec<Fault>) -> Self {
        Self { faults }
    }

    /// The faults, in the order in which they were found: the method of [`ApiKeysBuilder`](crate::ApiKeysBuilder) to look
    /// at, what is wrong, and what to do.
    pub fn faults(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        self.faults.iter().map(|(setting, message)| (*setting, message.as_str()))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the assembly of API keys is not valid")?;
        for (setting, message) in &self.faults {
            write!(f, "; {setting}: {message}")?;
        }
        Ok(())
    }
}
