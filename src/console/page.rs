//! What all pages have: the frame, the fields of the response, and how failures are shown.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use maud::{DOCTYPE, Markup, html};

use super::Console;
use super::visit::Visit;
use crate::manage::ManageError;
use crate::rejection::ErrorKind;

const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; \
     frame-ancestors 'none'",
);

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The fields that every response has.
pub(super) fn protect(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// A page in its frame.
pub(super) fn page(visit: &Visit, status: StatusCode, title: &str, content: &Markup) -> Response {
    let t = visit.texts();
    let owner = visit.authority.owner();
    let document = html! {
        (DOCTYPE)
        html lang=(t.language) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) @if title != t.title { " · " (t.title) } }
                link rel="icon" href="data:,";
                link rel="stylesheet" href=(visit.links.to("/style.css"));
                script src=(visit.links.to("/script.js")) defer {}
            }
            body {
                a.skip href="#main" { (t.skip_to_content) }
                header {
                    a.home href=(visit.links.to("/")) { (t.title) }
                    span.owner {
                        @if visit.is_for_staff() { (t.all_organizations) } @else { (owner.tenant) }
                        " " span.mode { (owner.mode) }
                    }
                }
                main #main { (content) }
            }
        }
    };
    response(status, "text/html; charset=utf-8", document.into_string())
}

fn response(status: StatusCode, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    protect(response.headers_mut());
    response
}

/// After a change: the page to look at next, with what is said there.
pub(super) fn see_other(link: &str) -> Response {
    let mut response = response(StatusCode::SEE_OTHER, "text/plain; charset=utf-8", String::new());
    if let Ok(link) = HeaderValue::try_from(link) {
        response.headers_mut().insert(LOCATION, link);
    }
    response
}

/// A response that tells nothing.
pub(super) fn plain(status: StatusCode) -> Response {
    response(status, "text/plain; charset=utf-8", format!("{status}\n"))
}

/// For who may not be here.
pub(super) fn nothing() -> Response {
    plain(StatusCode::NOT_FOUND)
}

pub(super) async fn not_found(visit: Visit) -> Response {
    failed(&visit, &ManageError::NotFound)
}

pub(super) fn foreign_form(visit: &Visit) -> Response {
    message(visit, StatusCode::FORBIDDEN, &visit.texts().foreign_form)
}

pub(super) fn late_form(visit: &Visit) -> Response {
    message(visit, StatusCode::REQUEST_TIMEOUT, &visit.texts().late_form)
}

pub(super) fn malformed_form(visit: &Visit) -> Response {
    message(visit, StatusCode::BAD_REQUEST, &visit.texts().malformed_form)
}

/// Instead of a page that there can't be.
pub(super) fn failed(visit: &Visit, error: &ManageError) -> Response {
    message(visit, error.kind().status(), &said(visit, error))
}

fn message(visit: &Visit, status: StatusCode, text: &str) -> Response {
    let t = visit.texts();
    let content = html! {
        h1 { (text) }
        p { a href=(visit.links.to("/")) { (t.back_to_list) } }
    };
    page(visit, status, text, &content)
}

/// An error in words. Those about fields are said beside them.
pub(super) fn said(visit: &Visit, error: &ManageError) -> String {
    let t = visit.texts();
    if let ManageError::Forbidden(forbidden) = error {
        return format!("{} {}.", t.not_allowed, t.forbidden(forbidden));
    }
    match error.kind() {
        ErrorKind::NotFound => t.no_such_key.to_string(),
        ErrorKind::Invalid => t.check_the_fields.to_string(),
        ErrorKind::AlreadyExists => t.sent_already.to_string(),
        ErrorKind::Overtaken => t.changed_meanwhile.to_string(),
        _ => t.unavailable.to_string(),
    }
}

/// What went wrong with a form, above it.
pub(super) fn alert(text: &str) -> Markup {
    html! { p.alert.bad role="alert" { (text) } }
}

pub(super) async fn style(State(console): State<Arc<Console>>) -> Response {
    let style =
        if console.style.is_empty() { STYLE.to_owned() } else { format!("{STYLE}\n{}", console.style) };
    asset("text/css; charset=utf-8", style)
}

pub(super) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT.to_owned())
}

/// The same for everyone, and kept for a while.
fn asset(content_type: &'static str, body: String) -> Response {
    let mut response = response(StatusCode::OK, content_type, body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=300"));
    response
}
