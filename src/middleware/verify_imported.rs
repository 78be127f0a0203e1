use std::sync::Arc;

use super::ApiKeysBuilder;
use crate::credential::ImportedHashes;

impl<F> ApiKeysBuilder<F> {
    /// Verifies keys that were [imported as hashes](crate::manage::KeyManager::import_hash): says whether the key, the first
    /// text, has the hash, the second, whatever made it. May take long and may block; must not panic.
    ///
    /// ```
    /// # use tower_api_keys::address::ClientAddressSource;
    /// # use tower_api_keys::store::MemoryStore;
    /// # use tower_api_keys::{ApiKeys, KeyFormat, Quota};
    /// # mod bcrypt { pub fn verify(_: &str, _: &str) -> Result<bool, ()> { Ok(false) } }
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .also_accept(KeyFormat::unprefixed().public_id(8, '.').build()?)
    ///     .header("x-api-key")
    ///     .client_address(ClientAddressSource::peer())
    ///     .throttle_bad_credentials(Quota::per_minute(20)?)
    ///     .verify_imported(|key, hash| bcrypt::verify(key, hash).unwrap_or(false))
    ///     .route("GET", "/invoices", "invoice:read")
    ///     .build()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// 1. A key is verified like this until it is first used with the right secret. Its digest then replaces the hash in the
    ///    store, and it is a key like any other. In a store that does not keep [changes of
    ///    requests](crate::store::KeyStore::refresh) every use is slow.
    /// 2. `verify` runs on threads of its own, up to half the number of processors and at most four, with 32 keys waiting.
    ///    When more would have to wait, requests are rejected with 503. Requests with the same key wait together.
    /// 3. A wrong secret for such a key costs as much as a right one, so [`build`](Self::build) asks for
    ///    [`throttle_bad_credentials`](Self::throttle_bad_credentials).
    /// 4. A [companion](Self::companions) can't be asked for as well.
    pub fn verify_imported(mut self, verify: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        self.imported_hashes = Some(Arc::new(ImportedHashes::new(verify)));
        self
    }
}
