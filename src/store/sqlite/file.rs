//! Whether the file at the path of a database is still the one that is open.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;
use tokio::time::timeout_at;

use crate::log;
use crate::store::{StoreError, StoreErrorKind};

/// The time between two looks at the path, and between two log lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// The file of a database.
#[derive(Debug)]
pub(super) struct DatabaseFile {
    path: PathBuf,
    /// Of the file that is open.
    opened: OnceLock<Identity>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    looked_at: Option<Instant>,
    /// How often it was asked to look again, and which of these the last look has answered.
    asked: u64,
    answered: u64,
    fault: Option<&'static str>,
    /// When the log last had the fault, and that nothing can be written.
    reported_at: [Option<Instant>; 2],
}

/// What tells a file from one that has taken its place.
type Identity = (u64, u64);

#[cfg(unix)]
fn identity(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;

    (metadata.dev(), metadata.ino())
}

/// Elsewhere an open file can hardly be replaced.
#[cfg(not(unix))]
fn identity(_: &Metadata) -> Identity {
    (0, 0)
}

impl DatabaseFile {
    /// `None` for a database in memory.
    pub(super) fn at(path: &Path) -> Option<Self> {
        let is_in_memory = path.as_os_str().is_empty() || path.starts_with(":memory:") || is_uri(path);
        if is_in_memory {
            return None;
        }
        let path = std::path::absolute(path).ok()?;
        Some(Self { path, opened: OnceLock::new(), seen: Mutex::default() })
    }

    /// Notes which file is open, once something was read from it or written to it.
    pub(super) fn is_open(&self) {
        if self.opened.get().is_none() {
            if let Ok(metadata) = fs::metadata(&self.path) {
                let _ = self.opened.set(identity(&metadata));
            }
        }
    }

    /// Fails if the file is not the one that is open. Looks once a second, or when [asked](Self::look_again) to.
    pub(super) async fn check(self: &Arc<Self>, deadline: tokio::time::Instant) -> Result<(), StoreError> {
        let Some(opened) = self.opened.get() else { return Ok(()) };
        let (is_due, mut fault) = self.seen();
        if is_due {
            let (file, opened) = (self.clone(), *opened);
            // A disk that hangs must not keep a thread of the runtime.
            let look = spawn_blocking(move || file.look(opened));
            if let Ok(Ok(found)) = timeout_at(deadline, look).await {
                fault = found;
            }
        }
        match fault {
            Some(fault) => Err(StoreError::new(StoreErrorKind::Unavailable).with_source(fault)),
            None => Ok(()),
        }
    }

    /// Whether it is time to look, and what was found the last time.
    fn seen(&self) -> (bool, Option<&'static str>) {
        let mut seen = self.lock();
        let is_asked = seen.answered < seen.asked;
        (is_due(&mut seen.looked_at) || is_asked, seen.fault)
    }

    /// The next check looks: a connection was opened, perhaps to another file, or something is about to be written.
    pub(super) fn look_again(&self) {
        self.lock().asked += 1;
    }

    fn look(&self, opened: Identity) -> Option<&'static str> {
        let asked = self.lock().asked;
        let found = fs::metadata(&self.path);
        let mut seen = self.lock();
        seen.fault = match found {
            Ok(metadata) if identity(&metadata) == opened => None,
            Ok(_) => Some("the database file was replaced: open the store again"),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Some("the database file was deleted or moved: bring it back, or open the store again")
            }
            // It can't be told, and may still be read.
            Err(_) => seen.fault,
        };
        seen.answered = seen.answered.max(asked);
        let fault = seen.fault;
        if let Some(fault) = fault.filter(|_| is_due(&mut seen.reported_at[0])) {
            drop(seen);
            log::database_file_lost(fault);
        }
        fault
    }

    /// Logs once a second that nothing can be written.
    pub(super) fn was_not_written(&self, error: &StoreError) {
        let is_due = is_due(&mut self.lock().reported_at[1]);
        if is_due {
            log::database_not_written(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Such as `file:name?mode=memory`.
fn is_uri(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with("file:"))
}

fn is_due(last: &mut Option<Instant>) -> bool {
    let now = Instant::now();
    let is_due = last.is_none_or(|last| now.duration_since(last) >= INTERVAL);
    if is_due {
        *last = Some(now);
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_in_memory_have_no_file() {
        for name in ["", ":memory:", "file:sqlx-in-memory-0", "file:keys?mode=memory"] {
            assert!(DatabaseFile::at(Path::new(name)).is_none(), "{name}");
        }
        assert!(DatabaseFile::at(Path::new("keys.db")).is_some_and(|file| file.path.is_absolute()));
    }
}
