//! 7, limit, for a request that is only explained: what the limits would decide, with nothing counted.

use crate::identity::Caller;
use crate::limit::Undecided;
use crate::middleware::checks::Checks;
use crate::middleware::facts::Facts;
use crate::middleware::limit_rule::{Limiter, Position};
use crate::rejection::{RateLimited, Reason};
use crate::request::RequestView;

impl Checks {
    /// Whether every limit of `position` has room for the request.
    pub(in super::super) async fn look_at_limits(
        &self,
        position: Position,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Result<(), Reason> {
        let now = facts.now(&*self.clock);
        let caller: &Caller = &facts.caller;
        for rule in self.limits(position).iter().filter(|rule| !rule.is_shadow) {
            let Some(limiter) = rule.limiter(request) else { continue };
            let Limiter { category, counts, .. } = &rule.limiters[limiter];
            let cost = rule.cost.as_ref().map_or(1, |cost| cost(request));
            let Some(subject) = self.subject(&rule.subject, caller, request)? else { continue };
            let limit = rule.limit_of(&subject, caller.principal(), &category.name);
            match counts.look(&subject, limit, now).await {
                Ok(decision) if decision.remaining() >= cost => {}
                Ok(decision) => {
                    return Err(Reason::RateLimited(RateLimited {
                        category: category.name.clone(),
                        quota: decision.quota(),
                        retry_after: (cost <= decision.limit()).then(|| decision.reset()),
                    }));
                }
                Err(Undecided) => return Err(Reason::LimiterFailed(category.name.clone())),
            }
        }
        Ok(())
    }
}
