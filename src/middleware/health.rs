use super::ApiKeys;
use super::limit_rule::Limiter;
use crate::store::StoreHealth;
use crate::usage::UsageHealth;

/// What the parts of an assembly are doing, for operators. Has no secret and no name of a key.
///
/// With the feature `json` it serializes, as the
/// [route for operators](https://docs.rs/tower-api-keys/latest/tower_api_keys/struct.ApiKeys.html#method.health_route) shows it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[non_exhaustive]
pub struct Health {
    /// Whether everything works as it should. If not, requests may be rejected, limits counted by this process alone,
    /// changes of keys take effect later, or usage wait to be written; each part says which.
    pub is_good: bool,
    /// The store.
    pub store: StoreHealth,
    /// Each category of the limits.
    pub limits: Vec<LimitHealth>,
    /// What is counted of [usage](crate::usage); `None` if nothing is.
    pub usage: Option<UsageHealth>,
    /// Whether [`background`](ApiKeys::background) runs.
    pub background_runs: bool,
    /// Whether something needs it to run.
    pub needs_background: bool,
}

/// A category of a limit.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "json", derive(serde::Serialize), serde(rename_all = "camelCase"))]
#[non_exhaustive]
pub struct LimitHealth {
    /// Its name.
    pub category: String,
    /// What counts: `memory`, `redis` or `store`.
    pub engine: &'static str,
    /// Whether a shared server does not answer, so that this process decides alone, as configured.
    pub is_degraded: bool,
    /// How many subjects have a count of their own in this process.
    pub subjects: usize,
}

impl<F> ApiKeys<F> {
    /// What each part is doing: whether the store answers, the cache learns of changes, Redis counts, usage is written, and the
    /// background task runs. Makes no call, so it is cheap.
    ///
    /// ```
    /// # use tower_api_keys::store::MemoryStore;
    /// # use tower_api_keys::{ApiKeys, KeyFormat};
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/workflows", "workflows:read")
    ///     .build()?;
    /// assert!(keys.health().is_good);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn health(&self) -> Health {
        let checks = self.checks();
        let store = self.manager().store().health();
        let limit = |Limiter { counts, .. }: &Limiter| LimitHealth {
            category: counts.describe().name.to_string(),
            engine: counts.engine(),
            is_degraded: counts.is_degraded(),
            subjects: counts.tracked(),
        };
        let limits: Vec<_> = checks.limiters().map(limit).collect();
        let usage = checks.usage.as_ref().map(|(usage, _)| usage.health(checks.clock.now().timestamp()));
        let (needs_background, background_runs) = self.background_state();
        Health {
            is_good: store.is_good()
                && limits.iter().all(|limit| !limit.is_degraded)
                && usage.as_ref().is_none_or(|usage| !usage.is_failing)
                && (background_runs || !needs_background),
            store,
            limits,
            usage,
            background_runs,
            needs_background,
        }
    }
}
