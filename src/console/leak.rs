//! For a key that was found where others can read it: whose it is, and the banner on its page.

use axum::extract::Request;
use axum::response::Response;
use http::{StatusCode, Uri};
use maud::{Markup, html};

use super::form::Form;
use super::visit::{Subject, Visit, path_of};
use super::{key, list, page, words};
use crate::key::KeyStatus;
use crate::manage::{AuditEvent, KeyAction, KeyView, ManageError};
use crate::store::HistoryQuery;

/// How many pages of a history are searched for a leak, of a hundred events each.
const SEARCHED_PAGES: usize = 10;

/// The form that finds a key by its text. By `POST`, since a URL would get into history and logs.
pub(super) fn form(visit: &Visit) -> Result<Markup, ManageError> {
    let t = visit.texts();
    Ok(html! {
        section.card {
            h2 { (t.find_leaked) }
            p.help { (t.find_leaked_help) }
            form.find method="post" action=(visit.links.to("/find")) {
                input type="hidden" name="token" value=(visit.token()?);
                div.field {
                    label for="text" { (t.leaked_text) }
                    // Not a password: browsers offer to store those, and managers to fill in their own, whatever `autocomplete` says.
                    input.masked #text name="text" required autocomplete="off" autocapitalize="off" spellcheck="false" maxlength="4096";
                }
                div.field {
                    label for="where" { (t.found_where) }
                    input #where name="where" maxlength="500" autocomplete="off";
                }
                div.actions { button { (t.find) } }
            }
        }
    })
}

/// Finds the key that a text is or was a secret of, and notes where that was.
pub(super) async fn find(visit: Visit, request: Request) -> Response {
    let form = match Form::read(&visit, request).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    visit.answer(found(&visit, &form).await)
}

async fn found(visit: &Visit, form: &Form) -> Result<Response, ManageError> {
    visit.manager().permit(&visit.authority, KeyAction::Read, None).await?;
    let (t, all) = (visit.texts(), Uri::from_static("/"));
    if form.seed().is_none() {
        return list::listed(visit, &all, StatusCode::BAD_REQUEST, Some(&t.form_expired)).await;
    }
    let mode = visit.authority.owner().mode;
    let found = visit.manager().find_by_text(form.text("text")).await?;
    let Some(key) = found.filter(|key| key.owner.mode == mode) else {
        return list::listed(visit, &all, StatusCode::NOT_FOUND, Some(&t.not_found_by_text)).await;
    };
    // Who may only read finds it all the same.
    if visit.may(KeyAction::ReportLeak) {
        match report(visit, &key, form.text("where")).await {
            Ok(()) => {}
            Err(ManageError::Invalid(faults)) => {
                let faults: Vec<_> = faults.iter().map(|fault| t.fault(fault)).collect();
                let said = format!("{}: {}", t.found_where, faults.join(" "));
                return list::listed(visit, &all, StatusCode::BAD_REQUEST, Some(&said)).await;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(page::see_other(&visit.to_done(&path_of(&key.id), "leaked")))
}

async fn report(visit: &Visit, key: &KeyView, place: &str) -> Result<(), ManageError> {
    let mut authority = visit.over(&key.owner).authority;
    if !place.is_empty() {
        authority = authority.because(place);
    }
    visit.manager().report_leak(&authority, &key.id).await
}

/// What the page of a key says first, as long as a secret is in use that was reported as leaked.
pub(super) async fn banner(subject: &Subject) -> Result<Markup, ManageError> {
    let Some(event) = reported(subject).await? else { return Ok(Markup::default()) };
    let visit = &subject.visit;
    let t = visit.texts();
    Ok(html! {
        div.alert.bad role="alert" {
            p { strong { (t.leak_reported) } " " (words::in_full(visit, event.at)) " " (t.by) " " (key::actor(visit, &event.actor)) }
            @if let Some(place) = &event.reason { p { (t.found_where) ": " (place) } }
            p { (t.leak_help) }
            div.actions {
                @if visit.may(KeyAction::Rotate) { a.button href=(subject.link("/rotate")) { (t.rotate) } }
                @if visit.may(KeyAction::Revoke) { a.button.danger href=(subject.link("/revoke")) { (t.revoke) } }
            }
        }
    })
}

/// The newest report of a leak since the secret in use was made; `None` for a key that has ended.
async fn reported(subject: &Subject) -> Result<Option<AuditEvent>, ManageError> {
    let visit = &subject.visit;
    let Some(key) = &subject.key else { return Ok(None) };
    if matches!(key.status, KeyStatus::Revoked | KeyStatus::Expired)
        || visit.manager().store().audit_log().is_none()
    {
        return Ok(None);
    }
    let mut query = HistoryQuery::default();
    for _ in 0..SEARCHED_PAGES {
        let history = visit.manager().history(&visit.authority, &subject.id, &query).await?;
        for event in history.events {
            if event.at < key.secret_created_at {
                return Ok(None);
            }
            if event.action == KeyAction::ReportLeak && event.outcome.is_ok() {
                return Ok(Some(event));
            }
        }
        query.before = history.next;
        if query.before.is_none() {
            break;
        }
    }
    Ok(None)
}
