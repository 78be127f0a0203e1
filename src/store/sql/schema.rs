use thiserror::Error;

use crate::store::{StoreError, StoreErrorKind};

/// The database was made by a later version of this crate.
#[derive(Debug, Error)]
#[error("the schema of the key store has version {found}, and this program knows versions up to {known}")]
struct NewerSchema {
    found: i64,
    known: usize,
}

/// The migrations that a schema of version `found` still needs. The first one makes version 1.
pub(crate) fn pending(
    found: i64,
    migrations: &'static [&'static str],
) -> Result<&'static [&'static str], StoreError> {
    let pending = usize::try_from(found).ok().and_then(|found| migrations.get(found..));
    pending.ok_or_else(|| {
        StoreError::new(StoreErrorKind::Other).with_source(NewerSchema { found, known: migrations.len() })
    })
}
