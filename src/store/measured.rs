use std::time::Instant;

use super::{StoreError, StoreErrorKind};
use crate::metrics;

/// Waits for a call of a store, and measures it. A conflict is an answer and no failure.
pub(crate) async fn measured<T>(
    operation: &'static str,
    call: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let result = timed(operation, call).await;
    if let Err(error) = &result {
        count_failure(operation, error);
    }
    result
}

/// Measures how long a call takes. Whether it fails is counted elsewhere.
pub(crate) async fn timed<T>(operation: &'static str, call: impl Future<Output = T>) -> T {
    let started = metrics::is_recording().then(Instant::now);
    let result = call.await;
    if let Some(started) = started {
        metrics::store_call(operation, started.elapsed());
    }
    result
}

#[cold]
pub(crate) fn count_failure(operation: &'static str, error: &StoreError) {
    if error.kind() != StoreErrorKind::Conflict {
        metrics::store_error(operation, error.kind().as_str());
    }
}
