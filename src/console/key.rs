//! The page of one key: its facts, what can be done with it, what was made with it, and what was done to it.

use std::collections::BTreeMap;

use axum::response::Response;
use http::{StatusCode, Uri};
use maud::{Markup, html};

use super::visit::{KeyPath, Subject, Visit, path_of};
use super::{explain, leak, page, query, usage, words};
use crate::key::{Actor, KeyStatus};
use crate::manage::{AuditEvent, KeyAction, KeyView, ManageError};
use crate::store::{History, HistoryQuery, KeyQuery, Page};

/// How many events, and keys that were made with the key, the page shows.
const SHOWN: usize = 20;

pub(super) async fn show(visit: Visit, path: KeyPath, uri: Uri) -> Response {
    let fields = query::fields(&uri);
    let result = async {
        let subject = visit.subject(path).await?;
        page_of(&subject, StatusCode::OK, None, &fields).await
    };
    visit.answer(result.await)
}

/// The page, after what `said` tells, or what the query does.
pub(super) async fn page_of(
    subject: &Subject,
    status: StatusCode,
    said: Option<&str>,
    fields: &BTreeMap<String, String>,
) -> Result<Response, ManageError> {
    let visit = &subject.visit;
    let t = visit.texts();
    let made = made_with(subject, SHOWN).await?;
    let done = [
        ("updated", &t.done_updated),
        ("disabled", &t.done_disabled),
        ("enabled", &t.done_enabled),
        ("revoked", &t.done_revoked),
    ];
    // The link may be followed again later.
    let is_still_true = |what: &str| match (what, subject.key.as_ref().map(|key| key.status)) {
        ("revoked", status) => status.is_none_or(|status| status == KeyStatus::Revoked),
        ("disabled", status) => status == Some(KeyStatus::Disabled),
        ("enabled", status) => status != Some(KeyStatus::Disabled),
        _ => true,
    };
    let is_done = |what| visit.is_done(&path_of(&subject.id), what, fields);
    let done = done.into_iter().find(|(what, _)| is_done(what) && is_still_true(what));
    let content = html! {
        nav { a href=(visit.links.to("/")) { "← " (t.keys) } }
        @if let Some(said) = said { (page::alert(said)) }
        (leak::banner(subject).await?)
        @if let Some((_, done)) = done { p.alert.good role="status" { (done) } }
        @if is_done("leaked") { (leaked(subject)) }
        div.bar {
            h1 { (subject.name()) @if let Some(key) = &subject.key { " " (words::state(t, key.status)) } }
            (actions(subject)?)
        }
        @match &subject.key {
            Some(key) => (facts(visit, key)),
            None => p.alert.bad { (t.record_unreadable) " " (t.record_unreadable_help) },
        }
        (usage::section(subject).await)
        (explain::section(subject, fields).await)
        @if !made.keys.is_empty() { (descendants(visit, &made)) }
        (audit(subject, fields.get("before").and_then(|before| before.parse().ok())).await?)
    };
    Ok(page::page(visit, status, subject.name(), &content))
}

/// The page of a key that was revoked, or has expired, after the form for it was shown.
pub(super) async fn ended(subject: &Subject, error: ManageError) -> Result<Response, ManageError> {
    match error {
        ManageError::NotFound => {
            let said = &subject.visit.texts().has_ended;
            page_of(subject, StatusCode::CONFLICT, Some(said), &BTreeMap::new()).await
        }
        error => Err(error),
    }
}

/// Keys that were made with the key.
pub(super) async fn made_with(subject: &Subject, limit: usize) -> Result<Page<KeyView>, ManageError> {
    let visit = &subject.visit;
    let created_by = Some(Actor::Key(subject.id));
    let query = KeyQuery {
        created_by,
        limit,
        mode: Some(visit.authority.owner().mode),
        newest_first: true,
        ..KeyQuery::default()
    };
    match visit.is_for_staff() {
        true => visit.manager().list_all(&query).await,
        false => visit.manager().list(&visit.authority, &query).await,
    }
}

/// For staff who have looked a text up.
fn leaked(subject: &Subject) -> Markup {
    let t = subject.visit.texts();
    html! {
        p.alert.warn role="status" { (t.leak_found) }
    }
}

fn actions(subject: &Subject) -> Result<Markup, ManageError> {
    let visit = &subject.visit;
    let t = visit.texts();
    let status = subject.key.as_ref().map(|key| key.status);
    let is_revoked = status == Some(KeyStatus::Revoked);
    let may = |action| visit.may(action);
    let switch = |path: &str, label: &str| -> Result<Markup, ManageError> {
        Ok(html! {
            form method="post" action=(subject.link(path)) {
                input type="hidden" name="token" value=(visit.token()?);
                button { (label) }
            }
        })
    };
    Ok(html! {
        div.actions {
            @if subject.key.is_some() && !is_revoked {
                @if may(KeyAction::Update) { a.button href=(subject.link("/edit")) { (t.edit) } }
                @if may(KeyAction::Rotate) && status != Some(KeyStatus::Expired) {
                    a.button href=(subject.link("/rotate")) { (t.rotate) }
                }
                @if status == Some(KeyStatus::Disabled) {
                    @if may(KeyAction::Enable) { (switch("/enable", &t.enable)?) }
                } @else if may(KeyAction::Disable) && status != Some(KeyStatus::Expired) {
                    (switch("/disable", &t.disable)?)
                }
            }
            @if !is_revoked && may(KeyAction::Revoke) { a.button.danger href=(subject.link("/revoke")) { (t.revoke) } }
            @if (is_revoked || subject.key.is_none()) && may(KeyAction::Delete) {
                a.button.danger href=(subject.link("/delete")) { (t.delete) }
            }
        }
    })
}

fn facts(visit: &Visit, key: &KeyView) -> Markup {
    let t = visit.texts();
    let fact = |label: &str, value: Markup| html! { div { dt { (label) } dd { (value) } } };
    html! {
        dl.facts.card {
            (fact(&t.key, html! { code { (key.hint) } }))
            (fact(&t.identifier, html! { code { (key.id) } }))
            (fact(&t.organization, html! { (key.owner.tenant) " " span.mode { (key.owner.mode) } }))
            (fact(&t.created, html! {
                (words::in_full(visit, key.created_at))
                @if let Some(by) = &key.created_by { " " (t.by) " " (actor(visit, by)) }
            }))
            (fact(&t.secret_since, words::in_full(visit, key.secret_created_at)))
            (fact(&t.last_used, match key.last_used_at {
                Some(at) => words::in_full(visit, at),
                None => html! { span.muted { (t.not_known) } },
            }))
            @if let Some(start) = key.not_before { (fact(&t.valid_from, words::in_full(visit, start))) }
            (fact(&t.ends, match key.expires_at {
                Some(end) => words::in_full(visit, end),
                None => html! { (t.never) },
            }))
            @if let Some(until) = key.previous_valid_until { (fact(&t.old_secret_until, words::in_full(visit, until))) }
            @if let Some(next) = &key.next_hint { (fact(&t.next_secret, html! { code { (next) } " " span.muted { (t.waits_for_use) } })) }
            div.wide { dt { (t.scopes) } dd { (scopes(visit, key)) } }
            @if !key.allowed_addresses.is_empty() {
                (fact(&t.addresses, html! { @for network in &key.allowed_addresses { code.scope { (network) } " " } }))
            }
            @if !key.limits.is_empty() {
                (fact(&t.limits, html! { @for (category, limit) in &key.limits { code.scope { (category) " " (limit) } " " } }))
            }
            @if let Some(metadata) = &key.metadata { (fact(&t.metadata, html! { code { (metadata.as_json()) } })) }
        }
    }
}

/// Each with its sentence.
fn scopes(visit: &Visit, key: &KeyView) -> Markup {
    let sentence = |scope| {
        let known = visit.console.scopes.iter().find(|known| &known.scope == scope);
        known.and_then(|known| known.description.as_deref())
    };
    html! {
        @if key.scopes.is_empty() { span.muted { (visit.texts().no_scopes) } }
        ul.scope-list {
            @for scope in key.scopes.iter() {
                li { code.scope { (scope) } @if let Some(sentence) = sentence(scope) { " " span.muted { (sentence) } } }
            }
        }
    }
}

/// A key is a link to it.
pub(super) fn actor(visit: &Visit, actor: &Actor) -> Markup {
    html! {
        @match actor {
            Actor::Key(id) => { (visit.texts().actor_key) " " a href=(visit.to_key(id, "")) { (id) } },
            Actor::Session(_) if *actor == visit.authority.actor() => (visit.texts().actor_you),
            Actor::Session(id) => { (visit.texts().actor_session) " " code { (id) } },
            Actor::Operator(Some(name)) => (name),
            Actor::Operator(None) => (visit.texts().actor_operator),
        }
    }
}

fn descendants(visit: &Visit, made: &Page<KeyView>) -> Markup {
    let t = visit.texts();
    html! {
        section {
            h2 { (t.made_with_it) }
            ul.card.plain {
                @for key in &made.keys {
                    li { a href=(visit.to_key(&key.id, "")) { (key.name) } " " code { (key.hint) } " " (words::state(t, key.status)) }
                }
                @if made.next.is_some() { li.muted { (t.and_more) } }
            }
        }
    }
}

/// What was done to the key; nothing, if the store keeps no audit log.
async fn audit(subject: &Subject, before: Option<u64>) -> Result<Markup, ManageError> {
    let visit = &subject.visit;
    let t = visit.texts();
    if visit.manager().store().audit_log().is_none() {
        return Ok(Markup::default());
    }
    let query = HistoryQuery { before, limit: SHOWN };
    let history = visit.manager().history(&visit.authority, &subject.id, &query).await?;
    Ok(html! {
        section {
            h2 #history { (t.history) }
            @if history.events.is_empty() { p.empty { (t.no_history) } } @else { (events(visit, &history)) }
            @if let Some(next) = history.next {
                nav.pages aria-label=(t.history) { a.button href={ (subject.link("")) "?before=" (next) "#history" } { (t.older) } }
            }
        }
    })
}

fn events(visit: &Visit, history: &History) -> Markup {
    let t = visit.texts();
    html! {
        table.history role="table" {
            caption.hidden { (t.history) }
            thead role="rowgroup" {
                tr role="row" {
                    th scope="col" role="columnheader" { (t.when) }
                    th scope="col" role="columnheader" { (t.what) }
                    th scope="col" role="columnheader" { (t.who) }
                }
            }
            tbody role="rowgroup" {
                @for event in &history.events {
                    tr role="row" {
                        td role="cell" data-label=(t.when) { (words::in_full(visit, event.at)) }
                        td role="cell" data-label=(t.what) { (what(visit, event)) }
                        td role="cell" data-label=(t.who) { (actor(visit, &event.actor)) }
                    }
                }
            }
        }
    }
}

fn what(visit: &Visit, event: &AuditEvent) -> Markup {
    let t = visit.texts();
    html! {
        (t.action(event.action))
        @if let Some(reason) = &event.reason { " – " (reason) }
        @if !event.changed.is_empty() { " " span.muted { (event.changed.join(", ")) } }
        @if let Err(code) = &event.outcome { " " span.state.bad { (t.not_done) } " " code { (code) } }
    }
}
