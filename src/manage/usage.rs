use super::{Authority, KeyAction, KeyManager, ManageError};
use crate::store::{StoreError, StoreErrorKind, UsageLog};
use crate::usage::{Usage, UsageQuery};

impl KeyManager {
    /// The most rows that an answer about usage has.
    pub const MAX_USAGE_ROWS: u64 = 20_000;

    /// How often the owner's keys were [used](crate::usage), also those that were deleted. Who may read the keys may read it. The
    /// query's own owner and mode are ignored.
    ///
    /// ```
    /// # use tower_api_keys::clock::Timestamp;
    /// # use tower_api_keys::manage::{Authority, KeyManager, ManageError};
    /// use tower_api_keys::usage::{UsageBucket, UsageGroup, UsageQuery};
    ///
    /// # async fn print(manager: KeyManager, authority: Authority, start: Timestamp, end: Timestamp) -> Result<(), ManageError> {
    /// let mut query = UsageQuery::new(start, end, UsageBucket::Day);
    /// query.group_by = Some(UsageGroup::Key);
    /// for row in manager.usage(&authority, &query).await?.rows {
    ///     println!("{} {:?} {}", row.start, row.key_id, row.calls.total());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Invalid`](ManageError::Invalid) if the end is not after the start, or the answer would have more than
    /// [`MAX_USAGE_ROWS`](Self::MAX_USAGE_ROWS); [`Forbidden`](ManageError::Forbidden);
    /// [`Store`](ManageError::Store), also if the store keeps [no usage](crate::store::KeyAdministration::usage_log).
    pub async fn usage(&self, authority: &Authority, query: &UsageQuery) -> Result<Usage, ManageError> {
        let attempt = self.attempt(authority, KeyAction::Read, None);
        let result = async {
            attempt.permitted()?;
            let query = UsageQuery { owner: Some(authority.owner().clone()), mode: None, ..query.clone() };
            self.read_usage(&query).await
        };
        attempt.end(result.await).await
    }

    /// How often the keys of all owners were used, or of the one that the query names: for the operator. Never expose it to
    /// callers.
    ///
    /// # Errors
    ///
    /// Those of [`usage`](Self::usage), but for `Forbidden`.
    pub async fn usage_of_all(&self, query: &UsageQuery) -> Result<Usage, ManageError> {
        let usage = self.read_usage(query).await;
        self.settings().ended(KeyAction::Read, None, usage)
    }

    async fn read_usage(&self, query: &UsageQuery) -> Result<Usage, ManageError> {
        if query.end <= query.start {
            return Err(ManageError::invalid("end", "must be after the start"));
        }
        let too_many = || ManageError::invalid("bucket", TOO_MANY_ROWS);
        if query.bucket_count() > Self::MAX_USAGE_ROWS {
            return Err(too_many());
        }
        let most = Self::MAX_USAGE_ROWS as usize;
        let usage = self.usage_log()?.read(query, most + 1).await?;
        if usage.rows.len() > most {
            return Err(too_many());
        }
        usage.filled(query, Self::MAX_USAGE_ROWS).map_err(|_| too_many())
    }

    fn usage_log(&self) -> Result<&dyn UsageLog, StoreError> {
        let missing = || StoreError::new(StoreErrorKind::Other).with_source("this store keeps no usage");
        self.store().usage_log().ok_or_else(missing)
    }
}

const TOO_MANY_ROWS: &str =
    "must be longer, or the time shorter or the keys fewer: the answer would have more than 20000 rows";
