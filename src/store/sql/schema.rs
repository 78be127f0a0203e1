//! The version of the tables, and whether this program may use them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

use crate::log::{self, OncePerSecond};
use crate::store::{StoreError, StoreErrorKind};

/// SQL that makes one version of the schema out of the one before. The first one makes version 1.
pub(crate) type Migrations = &'static [&'static str];

/// What the database says of its tables; version 0 if there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Schema {
    pub(crate) version: i64,
    /// What a program has to know at least to use the tables. 0 before version 8, which all programs know.
    pub(crate) needed: i64,
}

/// Why a program that knows versions up to `known` can't use the tables.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum SchemaFault {
    #[error("the key store has no tables, and this program needs those of version {known}: migrate it")]
    Missing { known: i64 },
    #[error(
        "the tables of the key store have version {version}, and this program needs version {known}: migrate them"
    )]
    Older { version: i64, known: i64 },
    #[error(
        "the tables of the key store have version {version}, which needs a program that knows version {needed} at least, \
         and this one knows versions up to {known}: install a later release"
    )]
    Newer { version: i64, needed: i64, known: i64 },
}

impl Schema {
    /// The migrations that it still needs.
    pub(crate) fn pending(self, migrations: Migrations) -> Migrations {
        usize::try_from(self.version).ok().and_then(|done| migrations.get(done..)).unwrap_or_default()
    }

    /// Whether a program with these migrations may use the tables.
    pub(crate) fn check(self, migrations: Migrations) -> Result<(), SchemaFault> {
        let Self { version, needed } = self;
        let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        if version == 0 {
            Err(SchemaFault::Missing { known })
        } else if version < known {
            Err(SchemaFault::Older { version, known })
        } else if needed > known {
            Err(SchemaFault::Newer { version, needed, known })
        } else {
            Ok(())
        }
    }
}

impl From<SchemaFault> for StoreError {
    fn from(fault: SchemaFault) -> Self {
        Self::new(StoreErrorKind::Other).with_source(fault)
    }
}

/// Whether this program may use the tables, which it looks at once a second: another process may have migrated them.
#[derive(Debug)]
pub(crate) struct SchemaWatch {
    migrations: Migrations,
    seen: Mutex<Option<Seen>>,
    start: Instant,
    line: OncePerSecond,
}

/// What was found, and when the tables were last looked at.
#[derive(Clone, Copy, Debug)]
struct Seen {
    found: Result<(), SchemaFault>,
    at: Instant,
}

/// The time between two looks.
const INTERVAL: Duration = Duration::from_secs(1);

impl SchemaWatch {
    pub(crate) fn new(migrations: Migrations) -> Self {
        Self { migrations, seen: Mutex::default(), start: Instant::now(), line: OncePerSecond::default() }
    }

    /// Fails if this program can't use the tables. Awaits `look` if it is time to look.
    pub(crate) async fn check(
        &self,
        look: impl Future<Output = Result<Schema, StoreError>>,
    ) -> Result<(), StoreError> {
        let found = match self.last_found() {
            Some(found) => found,
            None => match look.await {
                Ok(schema) => self.found(schema),
                Err(error) => {
                    // The next call looks.
                    *self.lock() = None;
                    return Err(error);
                }
            },
        };
        found.map_err(|fault| {
            let elapsed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            log::schema_unusable(&fault, self.line.admit(elapsed));
            fault.into()
        })
    }

    /// Notes what was found.
    pub(crate) fn found(&self, schema: Schema) -> Result<(), SchemaFault> {
        let found = schema.check(self.migrations);
        *self.lock() = Some(Seen { found, at: Instant::now() });
        found
    }

    /// What was found less than a second ago; `None` if it is time to look. While one caller looks, the others go by what was
    /// found before.
    fn last_found(&self) -> Option<Result<(), SchemaFault>> {
        let mut seen = self.lock();
        let last = seen.as_mut()?;
        let now = Instant::now();
        if now.duration_since(last.at) >= INTERVAL {
            last.at = now;
            return None;
        }
        Some(last.found)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;

    const KNOWN: Migrations = &["1", "2", "3"];

    #[test]
    fn tables_are_used_by_programs_that_know_what_they_need() {
        for (version, needed, fault) in [
            (0, 0, Some(SchemaFault::Missing { known: 3 })),
            (2, 0, Some(SchemaFault::Older { version: 2, known: 3 })),
            (3, 3, None),
            (4, 3, None),
            (9, 1, None),
            (4, 4, Some(SchemaFault::Newer { version: 4, needed: 4, known: 3 })),
            (-1, 0, Some(SchemaFault::Older { version: -1, known: 3 })),
        ] {
            assert_eq!(Schema { version, needed }.check(KNOWN).err(), fault, "{version}, {needed}");
        }
        for (version, pending) in [(0, 3), (2, 1), (3, 0), (4, 0), (-1, 0)] {
            assert_eq!(Schema { version, needed: 0 }.pending(KNOWN).len(), pending, "{version}");
        }
    }

    #[tokio::test]
    async fn nothing_is_used_before_the_tables_were_seen() {
        let watch = SchemaWatch::new(KNOWN);
        for _ in 0..2 {
            let unseen =
                watch.check(ready(Err(StoreError::new(StoreErrorKind::Unavailable)))).await.unwrap_err();
            assert_eq!(unseen.kind(), StoreErrorKind::Unavailable);
        }
        watch.check(ready(Ok(Schema { version: 3, needed: 3 }))).await.unwrap();
        let look = async { unreachable!("the tables were seen") };
        watch.check(look).await.unwrap();
    }
}
