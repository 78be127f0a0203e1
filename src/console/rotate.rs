use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use maud::html;

use super::form::Form;
use super::visit::{KeyPath, Subject, Visit};
use super::{key, page, secret, words};
use crate::manage::{KeyManager, ManageError};

const HOUR: u64 = 60 * 60;

/// How long the old secret verifies, to choose from, in seconds.
const GRACES: [u64; 4] = [0, HOUR, KeyManager::DEFAULT_GRACE.as_secs(), KeyManager::MAX_GRACE.as_secs()];

pub(super) async fn form(visit: Visit, path: KeyPath) -> Response {
    let result = async { shown(&visit.subject(path).await?, StatusCode::OK, None) };
    visit.answer(result.await)
}

pub(super) async fn rotate(visit: Visit, path: KeyPath, request: Request) -> Response {
    match Form::read(&visit, request).await {
        Ok(form) => visit.answer(rotated(&visit, path, &form).await),
        Err(response) => response,
    }
}

async fn rotated(visit: &Visit, path: KeyPath, form: &Form) -> Result<Response, ManageError> {
    let (t, subject) = (visit.texts(), visit.subject(path).await?);
    let (grace, version) = (form.text("grace").parse::<u64>(), form.text("version").parse());
    let (Some(_), Ok(grace), Ok(version)) = (form.seed(), grace, version) else {
        return shown(&subject, StatusCode::BAD_REQUEST, Some(&t.form_expired));
    };
    let (authority, grace) = (&subject.visit.authority, Duration::from_secs(grace));
    let waits = form.has("on_first_use");
    match visit.manager().rotate_version(authority, &subject.id, version, grace, waits).await {
        Ok(rotated) => Ok(secret::shown(&subject.visit, StatusCode::OK, &rotated)),
        Err(ManageError::Overtaken) => shown(&subject, StatusCode::CONFLICT, Some(&t.rotated_already)),
        Err(error @ ManageError::Forbidden(_)) => {
            shown(&subject, StatusCode::FORBIDDEN, Some(&page::said(visit, &error)))
        }
        Err(error) => key::ended(&subject, error).await,
    }
}

fn shown(subject: &Subject, status: StatusCode, said: Option<&str>) -> Result<Response, ManageError> {
    let (visit, key) = (&subject.visit, subject.readable()?);
    let t = visit.texts();
    let content = html! {
        nav { a href=(subject.link("")) { "← " (key.name) } }
        h1 { (t.rotate) " “" (key.name) "”" }
        @if let Some(said) = said { (page::alert(said)) }
        @if key.next_hint.is_some() || key.previous_valid_until.is_some_and(|end| end > visit.now) {
            p.alert.warn { (t.rotation_ends) }
        }
        form.card method="post" action=(subject.link("/rotate")) {
            input type="hidden" name="token" value=(visit.token()?);
            input type="hidden" name="version" value=(key.version);
            p { (t.rotate_explained) }
            div.field {
                label for="grace" { (t.grace) }
                select #grace name="grace" {
                    @for seconds in GRACES {
                        option value=(seconds) selected[seconds == KeyManager::DEFAULT_GRACE.as_secs()] {
                            @if seconds == 0 { (t.no_grace) } @else { (words::duration(t, Duration::from_secs(seconds))) }
                        }
                    }
                }
            }
            label.check { input type="checkbox" name="on_first_use" value="yes"; span { (t.on_first_use) } }
            div.actions {
                button.primary { (t.rotate) }
                a href=(subject.link("")) { (t.cancel) }
            }
        }
    };
    Ok(page::page(visit, status, &t.rotate, &content))
}
