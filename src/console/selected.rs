//! What is done to several keys of the list at once, after a page that names them all.

use std::collections::BTreeSet;

use axum::extract::Request;
use axum::response::Response;
use http::{StatusCode, Uri};
use maud::html;

use super::form::Form;
use super::visit::{KeyPath, Subject, Visit};
use super::{list, page, words};
use crate::key::{KeyId, KeyStatus};
use crate::manage::{KeyAction, ManageError};

/// More than a page of the list has.
const MAX_KEYS: usize = 100;

/// What is done to each.
#[derive(Clone, Copy)]
enum End {
    Disable,
    Revoke,
}

impl End {
    fn of(form: &Form) -> Option<Self> {
        match form.text("verb") {
            "disable" => Some(Self::Disable),
            "revoke" => Some(Self::Revoke),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Revoke => "revoke",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Disable => "disabled",
            Self::Revoke => "revoked",
        }
    }
}

/// First shows what would be done, and does it once that is confirmed.
pub(super) async fn end(visit: Visit, request: Request) -> Response {
    match Form::read(&visit, request).await {
        Ok(form) => visit.answer(ended(&visit, &form).await),
        Err(response) => response,
    }
}

async fn ended(visit: &Visit, form: &Form) -> Result<Response, ManageError> {
    visit.manager().permit(&visit.authority, KeyAction::Read, None).await?;
    let (t, whole_list) = (visit.texts(), Uri::from_static("/"));
    let (Some(_), Some(end)) = (form.seed(), End::of(form)) else {
        return list::listed(visit, &whole_list, StatusCode::BAD_REQUEST, Some(&t.form_expired)).await;
    };
    let selected = selected(visit, form).await?;
    if selected.is_empty() {
        return list::listed(visit, &whole_list, StatusCode::BAD_REQUEST, Some(&t.none_selected)).await;
    }
    if !form.has("confirmed") {
        return confirmation(visit, end, &selected);
    }
    let (mut failed, mut status) = (Vec::new(), StatusCode::OK);
    for subject in &selected {
        if let Err(error) = end_one(subject, end).await {
            status = error.kind().status();
            failed.push(format!("{}: {}", subject.name(), page::said(visit, &error)));
        }
    }
    if failed.is_empty() {
        return Ok(page::see_other(&visit.to_done("/", end.done())));
    }
    let said = format!("{} {}", t.not_all_done, failed.join(" "));
    list::listed(visit, &whole_list, status, Some(&said)).await
}

/// Those that are there still.
async fn selected(visit: &Visit, form: &Form) -> Result<Vec<Subject>, ManageError> {
    let ids: BTreeSet<KeyId> = form.all("key").filter_map(|id| id.parse().ok()).collect();
    let mut selected = Vec::new();
    for id in ids.into_iter().take(MAX_KEYS) {
        match visit.subject(KeyPath(Some(id))).await {
            Ok(subject) => selected.push(subject),
            Err(ManageError::NotFound) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(selected)
}

async fn end_one(subject: &Subject, end: End) -> Result<(), ManageError> {
    let (manager, authority) = (subject.visit.manager(), &subject.visit.authority);
    if subject.key.as_ref().is_some_and(|key| key.status == KeyStatus::Revoked) {
        return Ok(());
    }
    match end {
        End::Disable => manager.disable(authority, &subject.id).await.map(drop),
        End::Revoke => manager.revoke(authority, &subject.id).await.map(drop),
    }
}

fn confirmation(visit: &Visit, end: End, selected: &[Subject]) -> Result<Response, ManageError> {
    let t = visit.texts();
    let (title, explained) = match end {
        End::Disable => (&t.disable_selected, &t.disable_selected_explained),
        End::Revoke => (&t.revoke_selected, &t.revoke_selected_explained),
    };
    let content = html! {
        nav { a href=(visit.links.to("/")) { "← " (t.keys) } }
        h1 { (title) }
        form.card method="post" action=(visit.links.to("/selected")) {
            input type="hidden" name="token" value=(visit.token()?);
            input type="hidden" name="confirmed" value="yes";
            p { (explained) }
            ul.plain.field {
                @for subject in selected {
                    li {
                        input type="hidden" name="key" value=(subject.id);
                        strong { (subject.name()) } " "
                        @if visit.is_for_staff() { (subject.visit.authority.owner().tenant) " " }
                        @if let Some(key) = &subject.key { code { (key.hint) } " " (words::state(t, key.status)) }
                    }
                }
            }
            div.actions {
                button.danger name="verb" value=(end.name()) { (title) " (" (selected.len()) ")" }
                a href=(visit.links.to("/")) { (t.cancel) }
            }
        }
    };
    Ok(page::page(visit, StatusCode::OK, title, &content))
}
