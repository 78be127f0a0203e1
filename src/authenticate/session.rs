//! The checks of a session: the same ones as of a key, made by whom the host says.

use std::sync::Arc;

use super::checks::{Authenticator, Step, Verdict};
use crate::address::ClientAddress;
use crate::clock::Now;
use crate::key::SecretString;
use crate::log;
use crate::principal::{Authentication, Caller};
use crate::rejection::{Reason, Rejection};
use crate::user_session::{Session, SessionAuthenticator};

impl Authenticator {
    /// Asks the host whose session `token` is.
    pub(super) fn check_session(
        self: &Arc<Self>,
        token: SecretString,
        scheme: &'static str,
        counted: Option<ClientAddress>,
        now: Now,
    ) -> Step {
        if self.companions.is_some() {
            return self.refused(Reason::LayerMissing(
                "nothing comes with a session, so a layer with companions needs an extractor that finds none",
            ));
        }
        let Some(sessions) = self.sessions.clone() else {
            return self.refused(Reason::LayerMissing(
                "AuthenticateLayer needs with_sessions for the sessions that its extractors find",
            ));
        };
        let authenticator = self.clone();
        Step::Waiting(Verdict::new(async move {
            match find(&*sessions, &token, now).await {
                Ok(session) => {
                    log::session_accepted(&session);
                    let caller = Caller::Session { session: Arc::new(session), scheme };
                    Ok(Authentication { caller, now })
                }
                Err(reason) => Err(authenticator.session_refused(reason, scheme, counted, now)),
            }
        }))
    }

    fn session_refused(
        &self,
        reason: Reason,
        scheme: &'static str,
        counted: Option<ClientAddress>,
        now: Now,
    ) -> Box<Rejection> {
        let is_bad = !matches!(reason, Reason::StoreFailed(_));
        if let (true, Some(throttle), Some(address)) = (is_bad, &self.throttle, counted) {
            throttle.count(address, now);
        }
        self.rejection(reason, Some(scheme))
    }
}

async fn find(
    sessions: &dyn SessionAuthenticator,
    token: &SecretString,
    now: Now,
) -> Result<Session, Reason> {
    let found = sessions.authenticate(token).await.map_err(Reason::StoreFailed)?;
    let session = found.ok_or(Reason::SessionUnknown)?;
    match session.expires_at() {
        Some(end) if end <= now.timestamp() => Err(Reason::SessionExpired),
        _ => Ok(session),
    }
}
