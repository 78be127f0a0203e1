use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::fields::{KeyFields, fault, has_picker};
use super::form::Form;
use super::visit::Visit;
use super::{page, secret};
use crate::key::Owner;
use crate::manage::{KeyAction, ManageError, NewKey, name_fault};
use crate::rejection::FieldError;

/// For whom staff make a key, as it was typed.
#[derive(Default)]
struct ForWhom {
    organization: String,
    is_system: bool,
}

impl ForWhom {
    fn read(&self, visit: &Visit) -> Result<Visit, FieldError> {
        let (t, mode) = (visit.texts(), visit.authority.owner().mode);
        match (self.is_system, self.organization.parse()) {
            _ if !visit.is_for_staff() => Ok(visit.clone()),
            (true, Err(_)) if self.organization.is_empty() => Ok(visit.over(&Owner::system(mode))),
            (false, Ok(organization)) => Ok(visit.over(&Owner::organization(organization, mode))),
            (true, _) => Err(FieldError::new("organization", t.fault_system.clone())),
            (false, Err(_)) => Err(FieldError::new("organization", t.fault_organization.clone())),
        }
    }
}

pub(super) async fn form(visit: Visit) -> Response {
    let result = async {
        visit.manager().permit(&visit.authority, KeyAction::Create, None).await?;
        shown(&visit, StatusCode::OK, &KeyFields::new(&visit), &ForWhom::default(), None, &[])
    };
    visit.answer(result.await)
}

pub(super) async fn create(visit: Visit, request: Request) -> Response {
    if let Err(error) = visit.manager().permit(&visit.authority, KeyAction::Create, None).await {
        return page::failed(&visit, &error);
    }
    match Form::read(&visit, request).await {
        Ok(form) => visit.answer(created(&visit, &form).await),
        Err(response) => response,
    }
}

async fn created(visit: &Visit, form: &Form) -> Result<Response, ManageError> {
    let (t, fields) = (visit.texts(), KeyFields::of_form(visit, form));
    let whom = ForWhom { organization: form.text("organization").to_owned(), is_system: form.has("system") };
    let again =
        |status, said: &str, faults: &[FieldError]| shown(visit, status, &fields, &whom, Some(said), faults);
    let Some(seed) = form.seed() else { return again(StatusCode::BAD_REQUEST, &t.form_expired, &[]) };

    let mut faults = Vec::new();
    faults.extend(name_fault(&fields.name));
    let values = fields.read(visit).map_err(|found| faults.extend(found));
    let of_owner = whom.read(visit).map_err(|found| faults.push(found));
    if fields.scopes.is_empty() && has_picker(visit) {
        faults.push(FieldError::new("scopes", t.fault_no_scope.clone()));
    }
    if values.as_ref().is_ok_and(|values| values.expires_at.is_none()) {
        // Only a key that there is can keep its end.
        faults.push(FieldError::new("expiresAt", t.fault_choice.clone()));
    }
    let (Ok(values), Ok(of_owner), true) = (values, of_owner, faults.is_empty()) else {
        return again(StatusCode::BAD_REQUEST, &t.check_the_fields, &faults);
    };
    let mut key = NewKey::new(fields.name.as_str()).scopes(&fields.scopes);
    key.expires_at = values.expires_at.flatten();
    key.allowed_addresses = values.networks;
    key.metadata = values.metadata;
    for (category, limit) in values.limits {
        if let Ok(limit) = limit.try_into() {
            key = key.limit(category, limit);
        }
    }
    match visit.manager().create_once(&of_owner.authority, key, seed).await {
        Ok(created) => Ok(secret::shown(&of_owner, StatusCode::CREATED, &created)),
        Err(ManageError::AlreadyExists) => {
            let id = of_owner.manager().id_of(seed);
            Ok(secret::shown_already(&of_owner, &id))
        }
        Err(ManageError::Invalid(faults)) => again(StatusCode::BAD_REQUEST, &t.check_the_fields, &faults),
        Err(error @ ManageError::Forbidden(_)) => {
            again(StatusCode::FORBIDDEN, &page::said(visit, &error), &[])
        }
        Err(error) => Err(error),
    }
}

fn shown(
    visit: &Visit,
    status: StatusCode,
    fields: &KeyFields,
    whom: &ForWhom,
    said: Option<&str>,
    faults: &[FieldError],
) -> Result<Response, ManageError> {
    let t = visit.texts();
    let content = html! {
        nav { a href=(visit.links.to("/")) { "← " (t.keys) } }
        h1 { (t.new_key) }
        @if let Some(said) = said { (page::alert(said)) }
        form.card method="post" action=(visit.links.to("/new")) {
            input type="hidden" name="token" value=(visit.token()?);
            @if visit.is_for_staff() { (whom_inputs(visit, whom, faults)) }
            (fields.inputs(visit, faults, None))
            div.actions {
                button.primary { (t.create) }
                a href=(visit.links.to("/")) { (t.cancel) }
            }
        }
    };
    Ok(page::page(visit, status, &t.new_key, &content))
}

fn whom_inputs(visit: &Visit, whom: &ForWhom, faults: &[FieldError]) -> Markup {
    let t = visit.texts();
    let is_wrong = faults.iter().any(|fault| fault.field == "organization");
    html! {
        div.field {
            label for="organization" { (t.organization) }
            (fault(t, "organization", "organization", faults))
            input #organization name="organization" value=(whom.organization) maxlength="128" autocomplete="off" spellcheck="false"
                aria-invalid=[is_wrong.then_some("true")] aria-describedby="organization-fault";
            label.check { input type="checkbox" name="system" value="yes" checked[whom.is_system]; span { (t.of_the_system) } }
        }
    }
}
