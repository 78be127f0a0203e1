use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use maud::html;

use super::fields::KeyFields;
use super::form::Form;
use super::visit::{KeyPath, Subject, Visit};
use super::{key, page};
use crate::manage::{KeyChange, ManageError};
use crate::rejection::FieldError;

pub(super) async fn form(visit: Visit, path: KeyPath) -> Response {
    let result = async {
        let subject = visit.subject(path).await?;
        let fields = KeyFields::of_key(subject.readable()?);
        shown(&subject, StatusCode::OK, &fields, None, &[])
    };
    visit.answer(result.await)
}

pub(super) async fn edit(visit: Visit, path: KeyPath, request: Request) -> Response {
    match Form::read(&visit, request).await {
        Ok(form) => visit.answer(edited(&visit, path, &form).await),
        Err(response) => response,
    }
}

async fn edited(visit: &Visit, path: KeyPath, form: &Form) -> Result<Response, ManageError> {
    let (t, fields) = (visit.texts(), KeyFields::of_form(visit, form));
    let subject = visit.subject(path).await?;
    let again =
        |status, said: &str, faults: &[FieldError]| shown(&subject, status, &fields, Some(said), faults);
    if form.seed().is_none() {
        return again(StatusCode::BAD_REQUEST, &t.form_expired, &[]);
    }
    let values = match fields.read(visit) {
        Ok(values) => values,
        Err(faults) => return again(StatusCode::BAD_REQUEST, &t.check_the_fields, &faults),
    };
    let mut change = KeyChange::new()
        .name(fields.name.as_str())
        .scopes(&fields.scopes)
        .allowed_addresses(values.networks)
        .if_version(form.text("version").parse().unwrap_or(u64::MAX));
    if visit.is_for_staff() {
        change = change.without_limits().metadata(values.metadata);
    }
    if let Some(end) = values.expires_at {
        change = change.expires_at(end);
    }
    for (category, limit) in values.limits {
        change = change.limit(category, limit);
    }
    match visit.manager().update(&subject.visit.authority, &subject.id, change).await {
        Ok(_) => Ok(page::see_other(&subject.to_done("updated"))),
        Err(ManageError::Invalid(faults)) => again(StatusCode::BAD_REQUEST, &t.check_the_fields, &faults),
        Err(error @ (ManageError::Forbidden(_) | ManageError::Overtaken)) => {
            again(error.kind().status(), &page::said(visit, &error), &[])
        }
        Err(error) => key::ended(&subject, error).await,
    }
}

fn shown(
    subject: &Subject,
    status: StatusCode,
    fields: &KeyFields,
    said: Option<&str>,
    faults: &[FieldError],
) -> Result<Response, ManageError> {
    let (visit, key) = (&subject.visit, subject.readable()?);
    let t = visit.texts();
    let content = html! {
        nav { a href=(subject.link("")) { "← " (key.name) } }
        h1 { (t.edit) " “" (key.name) "”" }
        @if let Some(said) = said { (page::alert(said)) }
        form.card method="post" action=(subject.link("/edit")) {
            input type="hidden" name="token" value=(visit.token()?);
            input type="hidden" name="version" value=(key.version);
            (fields.inputs(visit, faults, Some(key)))
            div.actions {
                button.primary { (t.save) }
                a href=(subject.link("")) { (t.cancel) }
            }
        }
    };
    Ok(page::page(visit, status, &t.edit, &content))
}
