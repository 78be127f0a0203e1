//! 4 and 5 for a session: the application's authenticator verifies it.

use std::sync::Arc;

use crate::address::ClientAddress;
use crate::identity::{Caller, Principal, Session};
use crate::key::SecretString;
use crate::middleware::checks::Checks;
use crate::middleware::facts::{Facts, Flow, Pending};
use crate::middleware::presented::PresentedSession;
use crate::rejection::Reason;
use crate::request::RequestView;
use crate::store::StoreError;

impl Checks {
    pub(super) fn check_session(
        &self,
        token: SecretString,
        scheme: &'static str,
        counted: Option<ClientAddress>,
    ) -> Flow {
        if self.sessions.is_none() {
            let missing =
                Reason::Misconfigured("an extractor finds sessions: they need `ApiKeysBuilder::sessions`");
            return self.rejected(missing, None);
        }
        Flow::Waiting(Pending::Session(PresentedSession { token, scheme, counted }))
    }

    /// Goes on with what the authenticator says of a session.
    pub(crate) fn session_found(
        self: &Arc<Self>,
        found: Result<Option<Session>, StoreError>,
        presented: PresentedSession,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Flow {
        let PresentedSession { scheme, counted, .. } = presented;
        let now = facts.now(&*self.clock);
        let reason = match found {
            Ok(Some(session)) if session.expires_at().is_some_and(|end| end <= now.timestamp()) => {
                Reason::SessionExpired
            }
            Ok(Some(session)) => {
                facts.caller = caller(Arc::new(session), scheme);
                return self.accept(facts, request);
            }
            Ok(None) => Reason::SessionUnknown,
            Err(error) => return self.rejected(Reason::StoreFailed(error), Some(scheme)),
        };
        self.count_bad_credential(counted, now);
        self.rejected(reason, Some(scheme))
    }
}

/// With one owner alone, there is nothing to select.
fn caller(session: Arc<Session>, scheme: &'static str) -> Caller {
    let mut memberships = session.memberships();
    match (memberships.next(), memberships.next()) {
        (Some(only), None) => Caller::Principal(Principal::of_session(&session, only, scheme)),
        _ => {
            drop(memberships);
            Caller::Session { session, scheme }
        }
    }
}
