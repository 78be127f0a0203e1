//! 8, organization: for which organization a request acts.

use std::sync::Arc;

use super::selected::{in_cookie, in_header};
use crate::identity::{Caller, Context, Identity, Membership, Principal, Selection, Session};
use crate::key::{KeyRecord, Mode, OrganizationId, Tenant};
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
        match &self.organization {
            Some(selection) => self.check_selection(selection, facts, request),
            None => Ok(()),
        }
    }

    fn check_selection(
        &self,
        selection: &Selection,
        facts: &mut Facts,
        request: RequestView<'_>,
    ) -> Result<(), Reason> {
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
        // A layer outside may have found another one; what this one finds counts from here on.
        let (session, scheme) = match caller {
            Caller::Anonymous => return Err(Reason::CredentialMissing),
            Caller::Session { session, scheme } => (session, *scheme),
            Caller::Principal(principal) => match principal.identity() {
                Identity::Session(acting) => (&acting.session, principal.scheme()),
                Identity::Key { record, .. } => {
                    if named_mode(context, request)?.is_some_and(|mode| mode != record.owner.mode) {
                        return Err(Reason::ActingModeMismatch);
                    }
                    if !self.acts_for_an_organization(request) {
                        return Ok(None);
                    }
                    let route = self.organization_of_route(context, request)?;
                    return of_key(context, principal, record, route, request).map(Some);
                }
            },
        };
        if !self.acts_for_an_organization(request) {
            return match session.is_of_system() {
                true => of_staff(context, session, scheme, request).map(Some),
                false => Ok(None),
            };
        }
        let route = self.organization_of_route(context, request)?;
        if session.is_of_system() {
            let staff = of_staff(context, session, scheme, request)?;
            return Ok(Some(staff.acting_for(selected(context, route, request)?, None)));
        }
        of_session(context, session, scheme, route, request).map(Some)
    }

    fn organization_of_route<'r>(
        &self,
        context: &Context,
        request: RequestView<'r>,
    ) -> Result<Option<&'r str>, Reason> {
        context.parameter.as_ref().map_or(Ok(None), |name| self.route_parameter(request, name))
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

/// What a caller of the system selects: by route, by header, or by both if they agree.
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
    let is_selected = |membership: &Membership| match &membership.owner.tenant {
        Tenant::Organization(own) => selected.is_none_or(|selected| selected == own.as_str().as_bytes()),
        Tenant::System => false,
    };
    let mode = named_mode(context, request)?;
    let of_mode = |membership: &&Membership| mode.is_none_or(|mode| mode == membership.owner.mode);
    let own: Vec<_> = session.memberships().filter(|own| is_selected(own)).filter(of_mode).collect();
    let principal = match (&*own, selected, mode) {
        ([one], ..) => Principal::of_session(session, one, scheme),
        ([], None, Some(_)) => return Err(Reason::ActingModeMismatch),
        ([], None, None) => return Err(Reason::OrganizationMissing),
        ([], Some(_), _) => return Err(Reason::OrganizationNotFound),
        ([one, others @ ..], ..) => {
            let is_one_organization = others.iter().all(|other| other.owner.tenant == one.owner.tenant);
            return Err(if is_one_organization {
                mode_missing(context)
            } else {
                organization_missing(context)
            });
        }
    };
    let organization = principal.organization().ok_or(Reason::OrganizationNotFound)?.clone();
    header_agrees(context, organization.as_str(), request)?;
    Ok(principal.acting_for(organization, None))
}

/// A session of staff, acting for no organization.
fn of_staff(
    context: &Context,
    session: &Arc<Session>,
    scheme: &'static str,
    request: RequestView<'_>,
) -> Result<Principal, Reason> {
    let mode = named_mode(context, request)?;
    let mut own = session.memberships().filter(|own| mode.is_none_or(|mode| mode == own.owner.mode));
    match (own.next(), own.next()) {
        (Some(one), None) => Ok(Principal::of_session(session, one, scheme)),
        (None, _) => Err(Reason::ActingModeMismatch),
        (Some(_), Some(_)) => Err(mode_missing(context)),
    }
}

/// Without a field for it, no client can name one.
fn mode_missing(context: &Context) -> Reason {
    match context.mode {
        Some(_) => Reason::ActingModeMissing,
        None => Reason::Misconfigured(
            "a session of several modes needs `OrganizationRule::mode_header` to select one",
        ),
    }
}

fn organization_missing(context: &Context) -> Reason {
    match (&context.parameter, &context.cookie) {
        (None, None) => Reason::Misconfigured(
            "a session of several organizations needs `OrganizationRule::route_parameter` or `session_cookie` to select \
             one",
        ),
        _ => Reason::OrganizationMissing,
    }
}

/// The mode that the request names.
fn named_mode(context: &Context, request: RequestView<'_>) -> Result<Option<Mode>, Reason> {
    let Some(name) = &context.mode else { return Ok(None) };
    let named = in_header(request.headers, name).map_err(|_| Reason::ActingModeMismatch)?;
    let read = |named| std::str::from_utf8(named).ok()?.parse().ok();
    named.map(|named| read(named).ok_or(Reason::ActingModeMismatch)).transpose()
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
