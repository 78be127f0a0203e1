use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::held::Held;
use super::watch::Watch;
use super::watched::{WaiterId, Watched};
use crate::identity::Principal;
use crate::key::KeyId;

/// Completes once the key of a stream no longer works. Made by [`KeyManager::revoked`](crate::manage::KeyManager::revoked).
///
/// Can be polled again afterwards, and is `Unpin`: `&mut revoked` can be awaited again and again. Takes some 100 bytes for
/// each stream.
#[must_use = "futures do nothing unless polled"]
pub struct Revoked {
    /// `None` for a session that does not expire.
    key: Option<Waiter>,
    companion: Option<Box<Waiter>>,
}

struct Waiter {
    watch: Arc<Watch>,
    watched: Arc<Watched>,
    id: WaiterId,
}

impl Revoked {
    pub(crate) fn new(watch: &Arc<Watch>, principal: &Principal) -> Self {
        let waiter = |(id, held): (KeyId, Held)| Waiter {
            watch: watch.clone(),
            watched: watch.join(id, held),
            id: WaiterId::default(),
        };
        let companion = Held::of_companion(principal).map(waiter).map(Box::new);
        Self { key: Held::of(principal).map(waiter), companion }
    }
}

impl Future for Revoked {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { key, companion } = &mut *self;
        let waiters = key.iter_mut().chain(companion.as_deref_mut());
        // Both are polled, so that both wake this task.
        let has_ended = waiters.fold(false, |ended, waiter| ended | waiter.poll_end(context));
        if has_ended { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Waiter {
    fn poll_end(&mut self, context: &mut Context<'_>) -> bool {
        if self.watched.poll_end(&mut self.id, context.waker()).is_ready() {
            return true;
        }
        if !self.watched.needs_help() {
            return false;
        }
        let _ = self.watch.look(&self.watched, context);
        self.watched.poll_end(&mut self.id, context.waker()).is_ready()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.watched.leave(self.id);
    }
}

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map(|waiter| &waiter.watched);
        f.debug_struct("Revoked").field("key", &key).finish_non_exhaustive()
    }
}
