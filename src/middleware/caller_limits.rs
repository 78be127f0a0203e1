//! The limits of a caller beside its requests: what is left, and a new beginning.

use super::ApiKeys;
use super::limit_rule::{LimitRule, Limiter};
use super::stage::limit::of_organization;
use crate::identity::Principal;
use crate::key::{KeyId, Owner};
use crate::limit::{LimitState, Subject, SubjectKind, Undecided};
use crate::log;
use crate::manage::ManageError;
use crate::store::{StoreError, StoreErrorKind, checked_get};

impl<F> ApiKeys<F> {
    /// What is left of each limit of a caller, with nothing counted: those per key and per organization, in the order they
    /// were added. Those per address, or per [subject of the application](crate::RateLimit::per), need a request.
    ///
    /// ```
    /// # use tower_api_keys::{ApiKeys, Principal};
    /// # async fn example(keys: ApiKeys, principal: Principal) -> Result<(), tower_api_keys::limit::Undecided> {
    /// for limit in keys.limits_of(&principal).await? {
    ///     println!("{}: {} of {} left", limit.category(), limit.remaining(), limit.quota());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Undecided`] if a shared store does not answer, and the limit's policy is to reject requests then.
    pub async fn limits_of(&self, principal: &Principal) -> Result<Vec<LimitState>, Undecided> {
        let checks = self.checks();
        let now = checks.clock.now();
        let mut states = Vec::new();
        for rule in checks.limits.iter().filter(|rule| !rule.is_shadow) {
            let Some(subject) = subject_of(rule, principal) else { continue };
            for Limiter { category, counts, .. } in &rule.limiters {
                let limit = rule.limit_of(&subject, Some(principal), &category.name);
                let decision = counts.look(&subject, limit, now).await?;
                states.push(LimitState::new(category.name.clone(), decision));
            }
        }
        Ok(states)
    }

    /// [`limits_of`](Self::limits_of) a key, for the operator and staff: `None` if `owner` has no such key.
    ///
    /// # Errors
    ///
    /// [`Store`](ManageError::Store) if the store, or a shared store of limits, does not answer.
    pub async fn limits_of_key(
        &self,
        owner: &Owner,
        id: &KeyId,
    ) -> Result<Option<Vec<LimitState>>, ManageError> {
        let found = checked_get(owner, id, self.manager().store().get(owner, id).await)?;
        let Some(record) = found else { return Ok(None) };
        let states = self.limits_of(&Principal::new(record, "")).await;
        let unavailable = |error: Undecided| StoreError::new(StoreErrorKind::Unavailable).with_source(error);
        Ok(Some(states.map_err(unavailable)?))
    }

    /// Gives `subject` more of a [stored quota](crate::limit#stored-quotas) than its limit: a top-up. It is spent once the limit
    /// of the period is, and stays until it is spent. A negative number takes from it. Returns what is left.
    ///
    /// ```
    /// # use tower_api_keys::{ApiKeys, Principal};
    /// # async fn example(keys: ApiKeys, principal: Principal) -> Result<(), Box<dyn std::error::Error>> {
    /// use tower_api_keys::limit::Subject;
    ///
    /// let organization = principal.organization().expect("a key of an organization");
    /// let subject = Subject::organization(organization, principal.mode());
    /// let balance = keys.grant("month", &subject, 50_000).await?;
    /// println!("{} left", balance.remaining());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The balance counts with the limit of the subject's last request in this process, or else with the highest that applied in
    /// the period, or else with that of the quota. Units
    /// that other processes have leased and not used are not in it; they see a grant within a second.
    ///
    /// # Errors
    ///
    /// [`Invalid`](ManageError::Invalid) if no stored quota has this category; [`Store`](ManageError::Store).
    pub async fn grant(
        &self,
        category: &str,
        subject: &Subject,
        units: i64,
    ) -> Result<LimitState, ManageError> {
        let checks = self.checks();
        let found = checks.limiters().find(|limiter| &*limiter.category.name == category);
        let Some(Limiter { category, stored: Some(stored), .. }) = found else {
            return Err(ManageError::invalid("category", "must be that of a stored quota"));
        };
        let decision = stored.grant(subject, units, checks.clock.now()).await?;
        log::granted(&category.name, subject, units);
        Ok(LimitState::new(category.name.clone(), decision))
    }

    /// Counts nothing of what was counted for `subject` in any window: its requests are admitted at once. Requests [at a
    /// time](crate::Quota::concurrent) stay counted while they last, and [stored quotas](crate::limit#stored-quotas) stay spent:
    /// [grant](Self::grant) more.
    ///
    /// In Redis, other processes see it within a second. A request that was counted before, and is refunded after, may take
    /// back as much of a later one.
    ///
    /// ```
    /// # use tower_api_keys::ApiKeys;
    /// # use tower_api_keys::key::{KeyId, Mode, OrganizationId};
    /// use tower_api_keys::limit::Subject;
    ///
    /// # async fn example(keys: ApiKeys, id: KeyId, organization: OrganizationId)
    /// #     -> Result<(), tower_api_keys::limit::Undecided> {
    /// keys.forget(&Subject::Key(id)).await?;
    /// keys.forget(&Subject::organization(&organization, Mode::Live)).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Undecided`] if a shared store does not answer. Some limits may have forgotten already: try again.
    pub async fn forget(&self, subject: &Subject) -> Result<(), Undecided> {
        for limiter in self.checks().limiters() {
            limiter.counts.forget(subject).await?;
        }
        log::forgotten(subject);
        Ok(())
    }
}

/// Whose requests are counted with those of `principal`, if that does not depend on the request.
fn subject_of(rule: &LimitRule, principal: &Principal) -> Option<Subject> {
    match rule.subject {
        SubjectKind::Key => Some(Subject::Key(*principal.key_id())),
        SubjectKind::Organization => Some(of_organization(principal)),
        SubjectKind::Address | SubjectKind::Named(_) => None,
    }
}

#[cfg(feature = "axum")]
mod route {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::response::{IntoResponse, Response};
    use axum::routing::{MethodRouter, get};
    use http::header::CACHE_CONTROL;
    use http::{HeaderValue, StatusCode};

    use super::ApiKeys;
    use crate::identity::Principal;
    use crate::rejection::{ApiError, ErrorFormat, ErrorKind, Success, fail};
    use crate::request::RequestView;

    impl<F: ErrorFormat<Body>> ApiKeys<F> {
        /// A route at which a caller sees [what is left of its limits](Self::limits_of). Goes inside of
        /// [`layer`](Self::layer), with a rule for it in the assembly.
        ///
        /// ```
        /// use axum::Router;
        /// # use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore, Quota, RateLimit};
        /// use tower_api_keys::Access;
        ///
        /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
        ///     .header("x-api-key")
        ///     .limit(RateLimit::per_key("requests", Quota::per_minute(1000)?))
        ///     .route("GET", "/limits", Access::AnyKey)
        ///     .build()?;
        /// let app: Router = Router::new().route("/limits", keys.limits_route()).layer(keys.layer());
        /// # Ok::<_, Box<dyn std::error::Error>>(())
        /// ```
        ///
        /// The answer is a listing of [`LimitState`](crate::limit::LimitState)s, unless the format of errors [writes it
        /// otherwise](ErrorFormat::success):
        ///
        /// ```json
        /// {"data":[{"category":"requests","limit":1000,"remaining":950,"resetAfter":12,"window":60}],"nextCursor":null}
        /// ```
        ///
        /// It is counted like every request, and rejected once a limit is used up, unless the limit is
        /// [without it](crate::RateLimit::without_route):
        ///
        /// ```
        /// # use tower_api_keys::{Quota, RateLimit};
        /// let limit = RateLimit::per_key("requests", Quota::per_minute(1000)?)
        ///     .without_route("GET", "/limits");
        /// # Ok::<_, tower_api_keys::InvalidValue>(())
        /// ```
        pub fn limits_route<S>(&self) -> MethodRouter<S>
        where
            S: Clone + Send + Sync + 'static,
        {
            let keys = self.clone();
            get(async move |principal: Principal, request: Request| {
                let mut response = keys.limits_response(&principal, RequestView::of(&request)).await;
                response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response.into_response()
            })
        }

        async fn limits_response(&self, principal: &Principal, request: RequestView<'_>) -> Response {
            let states = self.limits_of(principal).await.map(serde_json::to_value);
            match states {
                Ok(Ok(data)) => self.success(&Success {
                    status: StatusCode::OK,
                    data,
                    next_cursor: None,
                    broken: Vec::new(),
                }),
                Ok(Err(_)) | Err(_) => {
                    let message = ErrorKind::Unavailable.message();
                    let kind = ErrorKind::Unavailable;
                    fail(&ApiError::new(kind, kind.code(), message, &[], request), self)
                }
            }
        }
    }
}
