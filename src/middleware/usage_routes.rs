use axum::body::Body;
use axum::routing::MethodRouter;

use super::ApiKeys;
use crate::rejection::ErrorFormat;

impl<F: ErrorFormat<Body>> ApiKeys<F> {
    /// Shows callers how often the keys of the organization for which they act were [used](crate::usage). Goes where the application
    /// wants it, inside of [`layer`](Self::layer), with a rule for it. Who may read keys may read it.
    ///
    /// ```
    /// use axum::Router;
    /// use tower_api_keys::store::MemoryStore;
    /// use tower_api_keys::{ApiKeys, KeyFormat};
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/usage", "api-keys:read")
    ///     .count_usage()
    ///     .build()?;
    /// let app: Router = Router::new().route("/usage", keys.usage_route()).layer(keys.layer());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// | parameter | is | unless given |
    /// |---|---|---|
    /// | `start` | an instant (RFC 3339): the bucket that it lies in is the first one | 30 days before the end, or 24 hours if buckets are hours |
    /// | `end` | an instant: the bucket that it lies in is the last one; one that begins just then is left out | now |
    /// | `bucket` | `hour` or `day`, in UTC | `day` |
    /// | `groupBy` | `key`, `organization` or `category`: each has rows of its own | one row a bucket |
    /// | `key` | the identifier of a key, up to 100 times | all keys |
    /// | `format` | `json` or `csv` | what the field `Accept` names first of both, else `json` |
    ///
    /// `GET /usage?groupBy=key` is answered with
    ///
    /// ```json
    /// {"bucket":"day","groupBy":"key","asOf":"2023-12-14T05:20:00Z","rows":[
    ///  {"start":"2023-12-14T00:00:00Z","keyId":"k7Jc0qWvTz4n8XsB","organization":"acme","mode":"live","category":null,
    ///   "total":42,"calls":{"ok":40,"client_error":0,"limited":2,"forbidden":0,"refused":0,"server_error":0}}]}
    /// ```
    ///
    /// There are no gaps: a bucket without requests has zeros. What happened after `asOf` may be missing still. An answer has at
    /// most [20 000 rows](crate::manage::KeyManager::MAX_USAGE_ROWS); a query for more gets 400. In CSV it has a column for each of
    /// these, and texts that a spreadsheet would take for a formula begin with an apostrophe. Errors have the format of the
    /// assembly.
    pub fn usage_route<S>(&self) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        crate::manage::usage_route(self.manager().clone(), self.clone(), false)
    }

    /// The same for the application's staff: the usage of all keys in the mode of the caller, or of the organization that the
    /// parameter `organization` names. Callers that are not of the [system tier](crate::Principal::is_of_system) get 403.
    ///
    /// ```
    /// use axum::Router;
    /// use tower_api_keys::scope::ScopeRequirement;
    /// use tower_api_keys::{Access, ApiKeys, KeyFormat, MemoryStore};
    ///
    /// const READ: ScopeRequirement = ScopeRequirement::from_static("api-keys:read");
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("GET", "/admin/usage", Access::from(READ).of_system())
    ///     .count_usage()
    ///     .build()?;
    /// let app: Router = Router::new().route("/admin/usage", keys.usage_route_for_staff()).layer(keys.layer());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn usage_route_for_staff<S>(&self) -> MethodRouter<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        crate::manage::usage_route(self.manager().clone(), self.clone(), true)
    }
}
