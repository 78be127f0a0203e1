//! For which organization a request acts.

use std::fmt;
use std::sync::Arc;

use http::HeaderName;

use super::selected::{in_cookie, in_header};
use super::{Access, Role};
use crate::credential::RequestView;
use crate::key::{KeyRecord, OrganizationId, Tenant};
use crate::principal::{Caller, Identity, Principal};
use crate::rejection::Reason;
use crate::route::{RouteMatch, RouteTable, parameter};
use crate::user_session::Session;

/// Everything that is configured.
#[derive(Clone, Default)]
pub(super) struct Context {
    pub(super) header: Option<HeaderName>,
    pub(super) header_is_ignored: bool,
    pub(super) parameter: Option<String>,
    pub(super) cookie: Option<String>,
    pub(super) roles: Option<Arc<RoleFn>>,
    pub(super) routes: Option<RouteTable<Access>>,
}

type RoleFn = dyn Fn(&Principal) -> Role + Send + Sync;

impl Context {
    /// The caller, acting for one organization; `None` on a route where it acts for none.
    pub(super) fn find(
        &self,
        caller: &Caller,
        request: RequestView<'_>,
    ) -> Result<Option<Box<Principal>>, Reason> {
        if !self.applies_to(request) {
            return Ok(None);
        }
        // What can't be read is for nobody.
        let route = match &self.parameter {
            Some(name) => parameter(request, name).map_err(|_| Reason::OrganizationNotFound)?,
            None => None,
        };
        match caller {
            Caller::Nobody => Err(Reason::CredentialMissing),
            Caller::Session { session, scheme } => self.of_session(session, scheme, route, request),
            // A layer outside may have found another one; what this one finds counts from here on.
            Caller::Principal(principal) => match principal.identity() {
                Identity::Key { record, .. } => self.of_key(principal, record, route, request),
                Identity::Session(acting) => {
                    self.of_session(&acting.session, principal.scheme(), route, request)
                }
            },
        }
        .map(|principal| Some(Box::new(principal)))
    }

    /// Routes of the system are not for any organization; of routes that are not in the table nothing is known.
    fn applies_to(&self, request: RequestView<'_>) -> bool {
        match self.routes.as_ref().map(|routes| routes.find(request)) {
            None => true,
            Some(RouteMatch::Found(access)) => !access.is_of_system(),
            Some(RouteMatch::NotCovered | RouteMatch::PathNotCanonical) => false,
        }
    }

    fn of_key(
        &self,
        principal: &Principal,
        record: &KeyRecord,
        route: Option<&str>,
        request: RequestView<'_>,
    ) -> Result<Principal, Reason> {
        let organization = match &record.owner.tenant {
            Tenant::Organization(own) => {
                if route.is_some_and(|route| route != own.as_str()) {
                    return Err(Reason::OrganizationNotFound);
                }
                if !self.header_is_ignored {
                    self.header_agrees(own.as_str(), request)?;
                }
                own.clone()
            }
            Tenant::System => self.selected(route, request)?,
        };
        let principal = principal.acting_for(organization.clone(), None);
        Ok(match &self.roles {
            Some(roles) => principal.acting_for(organization, Some(roles(&principal))),
            None => principal,
        })
    }

    /// What a system key selects: by route, by header, or by both if they agree.
    fn selected(&self, route: Option<&str>, request: RequestView<'_>) -> Result<OrganizationId, Reason> {
        let selected = match route {
            Some(route) => {
                self.header_agrees(route, request)?;
                route
            }
            None => {
                let named = self.in_header(request)?.ok_or(Reason::OrganizationMissing)?;
                std::str::from_utf8(named).map_err(|_| Reason::OrganizationNotFound)?
            }
        };
        selected.parse().map_err(|_| Reason::OrganizationNotFound)
    }

    fn of_session(
        &self,
        session: &Arc<Session>,
        scheme: &'static str,
        route: Option<&str>,
        request: RequestView<'_>,
    ) -> Result<Principal, Reason> {
        let selected = match (route, &self.cookie) {
            (Some(route), _) => Some(route.as_bytes()),
            (None, Some(cookie)) => in_cookie(request.headers, cookie)?,
            (None, None) => None,
        };
        let selected = std::str::from_utf8(selected.ok_or(Reason::OrganizationMissing)?)
            .map_err(|_| Reason::OrganizationNotFound)?;
        let principal = Principal::of_session(session, scheme, selected);
        let principal = principal.ok_or(Reason::OrganizationNotFound)?;
        self.header_agrees(selected, request)?;
        Ok(principal)
    }

    /// The header never overrules anything: where it is sent, it has to say the same.
    fn header_agrees(&self, organization: &str, request: RequestView<'_>) -> Result<(), Reason> {
        match self.in_header(request)? {
            Some(named) if named != organization.as_bytes() => Err(Reason::OrganizationMismatch),
            _ => Ok(()),
        }
    }

    fn in_header<'r>(&self, request: RequestView<'r>) -> Result<Option<&'r [u8]>, Reason> {
        match &self.header {
            Some(name) => in_header(request.headers, name),
            None => Ok(None),
        }
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("header", &self.header)
            .field("parameter", &self.parameter)
            .field("cookie", &self.cookie)
            .finish_non_exhaustive()
    }
}
