//! 8, organization: for which organization a request acts.

use std::sync::Arc;

use super::selected::{in_cookie, in_header};
use crate::identity::{Caller, Context, Identity, Principal, Selection, Session};
use crate::key::{KeyRecord, OrganizationId, Tenant};
use crate::middleware::checks::Checks;
use crate::middleware::facts::Facts;
use crate::rejection::Reason;
use crate::request::RequestView;
use crate::route::RouteMatch;

impl Checks {
    /// Finds the organization, and has the caller act for it.
    #[inline]
    pub(in super::super) fn check_organization(
        &self,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Result<(), Reason> {
        let Some(selection) = &self.organization else { return Ok(()) };
        if let Caller::Anonymous = facts.caller {
            return self.check_anonymous(selection, request);
        }
        match selection {
            Selection::Named { header, required } => match in_header(request.headers, header)? {
                Some(named) => names_own(&facts.caller, named),
                None if *required => Err(Reason::OrganizationMissing),
                None => Ok(()),
            },
            Selection::Context(context) => {
                if let Some(principal) = self.in_context(context, &facts.caller, request)? {
                    facts.caller = Caller::Principal(principal);
                    facts.is_changed = true;
                }
                Ok(())
            }
        }
    }

    /// A request without a caller is accepted where it acts for no organization and names none. Otherwise it lacks a
    /// credential, whatever else is wrong with it.
    fn check_anonymous(&self, selection: &Selection, request: RequestView<'_>) -> Result<(), Reason> {
        let acts_for_none = match selection {
            Selection::Named { header, required } => {
                !required && matches!(in_header(request.headers, header), Ok(None))
            }
            Selection::Context(_) => !self.acts_for_an_organization(request),
        };
        if acts_for_none || self.is_public(request) { Ok(()) } else { Err(Reason::CredentialMissing) }
    }

    /// The caller, acting for one organization; `None` on a route where it acts for none.
    fn in_context(
        &self,
        context: &Context,
        caller: &Caller,
        request: RequestView<'_>,
    ) -> Result<Option<Principal>, Reason> {
        if !self.acts_for_an_organization(request) {
            return Ok(None);
        }
        let route = match &context.parameter {
            Some(name) => self.route_parameter(request, name)?,
            None => None,
        };
        match caller {
            Caller::Anonymous => Err(Reason::CredentialMissing),
            Caller::Session { session, scheme } => of_session(context, session, scheme, route, request),
            // A layer outside may have found another one; what this one finds counts from here on.
            Caller::Principal(principal) => match principal.identity() {
                Identity::Key { record, .. } => of_key(context, principal, record, route, request),
                Identity::Session(acting) => {
                    of_session(context, &acting.session, principal.scheme(), route, request)
                }
            },
        }
        .map(Some)
    }

    /// Routes of the system are not for any organization; neither are routes without a rule, which are rejected.
    fn acts_for_an_organization(&self, request: RequestView<'_>) -> bool {
        match self.access.as_ref().map(|routes| routes.find(request)) {
            None => true,
            Some(RouteMatch::Found(access)) => !access.is_of_system(),
            Some(_) => false,
        }
    }

    fn route_parameter<'r>(&self, request: RequestView<'r>, name: &str) -> Result<Option<&'r str>, Reason> {
        let found = self.access.as_ref().unwrap_or(&self.no_routes).parameter(request, name);
        // What can't be read is not found.
        found.map_err(|_| Reason::OrganizationNotFound)
    }
}

/// Compares with the caller's own organization only, so that no client learns which others there are.
fn names_own(caller: &Caller, named: &[u8]) -> Result<(), Reason> {
    match caller {
        Caller::Anonymous => Err(Reason::CredentialMissing),
        Caller::Principal(principal) => match principal.organization() {
            Some(own) if own.as_str().as_bytes() == named => Ok(()),
            _ => Err(Reason::OrganizationMismatch),
        },
        Caller::Session { .. } => Err(Reason::OrganizationMismatch),
    }
}

fn of_key(
    context: &Context,
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
            if !context.header_is_ignored {
                header_agrees(context, own.as_str(), request)?;
            }
            own.clone()
        }
        Tenant::System => selected(context, route, request)?,
    };
    let principal = principal.acting_for(organization.clone(), None);
    Ok(match &context.roles {
        Some(roles) => principal.acting_for(organization, Some(roles(&principal))),
        None => principal,
    })
}

/// What a system key selects: by route, by header, or by both if they agree.
fn selected(
    context: &Context,
    route: Option<&str>,
    request: RequestView<'_>,
) -> Result<OrganizationId, Reason> {
    let selected = match route {
        Some(route) => {
            header_agrees(context, route, request)?;
            route
        }
        None => {
            let named = context_header(context, request)?.ok_or(Reason::OrganizationMissing)?;
            std::str::from_utf8(named).map_err(|_| Reason::OrganizationNotFound)?
        }
    };
    selected.parse().map_err(|_| Reason::OrganizationNotFound)
}

fn of_session(
    context: &Context,
    session: &Arc<Session>,
    scheme: &'static str,
    route: Option<&str>,
    request: RequestView<'_>,
) -> Result<Principal, Reason> {
    let selected = match (route, &context.cookie) {
        (Some(route), _) => Some(route.as_bytes()),
        (None, Some(cookie)) => in_cookie(request.headers, cookie)?,
        (None, None) => None,
    };
    let selected = std::str::from_utf8(selected.ok_or(Reason::OrganizationMissing)?)
        .map_err(|_| Reason::OrganizationNotFound)?;
    let principal = Principal::of_session(session, scheme, selected).ok_or(Reason::OrganizationNotFound)?;
    header_agrees(context, selected, request)?;
    Ok(principal)
}

/// The header never overrules anything: where it is sent, it has to say the same.
fn header_agrees(context: &Context, organization: &str, request: RequestView<'_>) -> Result<(), Reason> {
    match context_header(context, request)? {
        Some(named) if named != organization.as_bytes() => Err(Reason::OrganizationMismatch),
        _ => Ok(()),
    }
}

fn context_header<'r>(context: &Context, request: RequestView<'r>) -> Result<Option<&'r [u8]>, Reason> {
    match &context.header {
        Some(name) => in_header(request.headers, name),
        None => Ok(None),
    }
}
