//! The page with a new secret: the response to the form that made it, and the only place that shows it.

use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};

use super::page;
use super::visit::Visit;
use crate::key::KeyId;
use crate::manage::CreatedKey;
use crate::middleware::CurlCredential;

pub(super) fn shown(visit: &Visit, status: StatusCode, created: &CreatedKey) -> Response {
    let (t, key, secret) = (visit.texts(), &created.key, created.secret.expose_secret());
    let variable = format!("{}={secret}", variable(visit.manager().prefix()));
    let content = html! {
        h1 tabindex="-1" { (t.secret_of) " “" (key.name) "”" }
        p.alert.warn role="status" { (t.shown_once) }
        div.card.secret data-leaving=(t.leaving) {
            (line(visit, "secret", &t.secret, secret))
            (line(visit, "variable", &t.as_variable, &variable))
            @if let Some(curl) = curl(visit) { (line(visit, "curl", &t.as_curl, &curl)) }
            p.copied #copied role="status" data-done=(t.copied) data-failed=(t.not_copied) {}
            @if let Some(until) = key.previous_valid_until { p { (t.old_secret_until) " " (super::words::in_full(visit, until)) } }
            @if key.next_hint.is_some() { p { (t.old_secret_until_use) } }
            div.actions { a.button.primary #stored href=(visit.to_key(&key.id, "")) { (t.stored) } }
        }
    };
    page::page(visit, status, &t.secret, &content)
}

/// One line to copy. The field keeps nothing: browsers neither complete nor restore it.
fn line(visit: &Visit, id: &str, label: &str, text: &str) -> Markup {
    let t = visit.texts();
    html! {
        div.field {
            label for=(id) { (label) }
            div.copy {
                input #(id) readonly value=(text) autocomplete="off" spellcheck="false" autofocus[id == "secret"];
                button type="button" hidden data-copy=(id) aria-label={ (t.copy) ": " (label) } { (t.copy) }
            }
        }
    }
}

/// `ACME_API_KEY` for keys that begin with `acme_`.
fn variable(prefix: &str) -> String {
    let name: String = prefix.chars().filter(char::is_ascii_alphanumeric).collect();
    match name.starts_with(|first: char| first.is_ascii_alphabetic()) {
        true => format!("{}_API_KEY", name.to_ascii_uppercase()),
        false => "API_KEY".to_owned(),
    }
}

/// A line for bash and zsh that asks for the secret. It has none in it, so that none gets into the history of a shell, and
/// hands it to `curl` by standard input, so that none gets into the list of processes.
fn curl(visit: &Visit) -> Option<String> {
    let url = visit.console.sample_request.as_ref()?;
    let (option, input) = match visit.console.curl.as_ref()? {
        CurlCredential::Bearer => ("-H @-", "authorization: Bearer $KEY".to_owned()),
        CurlCredential::Basic => ("-K -", "user=$KEY:".to_owned()),
        CurlCredential::Header(name) => ("-H @-", format!("{name}: $KEY")),
    };
    Some(format!("(read -rs KEY && curl {option} {} <<<\"{input}\")", quoted(url)))
}

/// One word for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The form was sent again: there is a key, and no second one.
pub(super) fn shown_already(visit: &Visit, id: &KeyId) -> Response {
    let t = visit.texts();
    let content = html! {
        h1 { (t.sent_already) }
        p { (t.shown_already) }
        div.actions {
            a.button href=(visit.to_key(id, "")) { (t.to_the_key) }
            a href=(visit.links.to("/new")) { (t.new_key) }
        }
    };
    page::page(visit, StatusCode::CONFLICT, &t.sent_already, &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_is_named_after_the_prefix() {
        for (prefix, name) in
            [("acme_", "ACME_API_KEY"), ("sk-live_", "SKLIVE_API_KEY"), ("", "API_KEY"), ("7x_", "API_KEY")]
        {
            assert_eq!(variable(prefix), name);
        }
        assert_eq!(quoted("a'b"), r"'a'\''b'");
    }
}
