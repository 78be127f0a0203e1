use std::future::Future;

use super::KeyManager;
use crate::identity::Principal;
use crate::stream::Revoked;

impl KeyManager {
    /// Completes once the key of `principal` no longer works: for responses that last, as [`stream`](crate::stream) says.
    ///
    /// It does so if the key was revoked, disabled or deleted, has expired or is not valid yet, and if the secret that the
    /// request used was replaced and its grace period is over; the same for a [companion](crate::credential::Companions).
    /// It does not if the key is changed otherwise, nor while the store is not available, unless the key has ended as far
    /// as is known. Of a session only the [expiry](crate::identity::Session::with_expiry) is known.
    pub fn revoked(&self, principal: &Principal) -> Revoked {
        Revoked::new(self.settings().watch(), principal)
    }

    /// Looks whether the keys of streams have ended. Does not end.
    pub(crate) fn watch_streams(&self) -> impl Future<Output = ()> + Send + use<> {
        self.settings().watch().clone().run()
    }
}
