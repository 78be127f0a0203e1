use std::collections::HashMap;

use axum::response::Response;
use http::{StatusCode, Uri};
use maud::{Markup, html};

use super::query::{Choices, fields};
use super::visit::Visit;
use super::{leak, page, usage, words};
use crate::key::{KeyId, KeyStatus, Owner};
use crate::manage::{KeyAction, KeyView, ManageError};
use crate::scope::ScopeSet;
use crate::store::{BrokenKey, Page};
use crate::usage::UsageCounts;

/// How many scopes of a key the list shows.
const SHOWN_SCOPES: usize = 3;

pub(super) async fn list(visit: Visit, uri: Uri) -> Response {
    visit.answer(listed(&visit, &uri, StatusCode::OK, None).await)
}

pub(super) async fn listed(
    visit: &Visit,
    uri: &Uri,
    status: StatusCode,
    said: Option<&str>,
) -> Result<Response, ManageError> {
    visit.manager().permit(&visit.authority, KeyAction::Read, None).await?;
    let choices = Choices::of(uri);
    let mut query = choices.query(visit);
    let keys = match &choices.organization {
        _ if !visit.is_for_staff() => visit.manager().list(&visit.authority, &query).await?,
        Some(organization) => {
            let owner = Owner::organization(organization.clone(), visit.authority.owner().mode);
            visit.manager().list(&visit.over(&owner).authority, &query).await?
        }
        None => {
            query.mode = Some(visit.authority.owner().mode);
            visit.manager().list_all(&query).await?
        }
    };
    let usage = usage::of_page(visit, &keys.keys).await;
    let (t, fields) = (visit.texts(), fields(uri));
    let done = [
        ("deleted", &t.done_deleted),
        ("disabled", &t.done_selected_disabled),
        ("revoked", &t.done_selected_revoked),
    ];
    let done = done.into_iter().find(|(what, _)| visit.is_done("/", what, &fields)).map(|(_, done)| done);
    let content = html! {
        @if let Some(said) = said { (page::alert(said)) }
        @if let Some(done) = done { p.alert.good role="status" { (done) } }
        div.bar {
            h1 { (t.keys) }
            @if visit.may(KeyAction::Create) { a.button.primary href=(visit.links.to("/new")) { (t.new_key) } }
        }
        (filters(visit, &choices))
        @if keys.keys.is_empty() && keys.broken.is_empty() {
            p.empty { @if choices.are_made() { (t.nothing_matches) } @else { (t.no_keys_yet) } }
        } @else {
            @let table = table(visit, &keys, usage.as_ref());
            @if may_select(visit) { (selection(visit, &table)?) } @else { (table) }
            @if let Some(lag) = visit.console.last_use_lag {
                p.help { (t.last_used_lag.replace("{}", &lag.as_secs().to_string())) }
            }
        }
        @if let Some(next) = keys.next {
            nav.pages aria-label=(t.pages) { a.button href={ (visit.links.to("/")) (choices.at(&next.to_string())) } { (t.next_page) } }
        }
        @if visit.is_for_staff() { (leak::form(visit)?) }
    };
    Ok(page::page(visit, status, &t.title, &content))
}

fn filters(visit: &Visit, choices: &Choices) -> Markup {
    let t = visit.texts();
    let statuses = [
        KeyStatus::Active,
        KeyStatus::NotYetValid,
        KeyStatus::Disabled,
        KeyStatus::Expired,
        KeyStatus::Revoked,
    ];
    let words = [&t.active, &t.not_yet_valid, &t.disabled, &t.expired, &t.revoked];
    let days = |name: &'static str, label: &str, chosen: Option<u32>, choices: [u32; 3]| {
        html! {
            label { (label)
                select name=(name) {
                    option value="" { (t.any) }
                    @for days in choices {
                        option value=(days) selected[chosen == Some(days)] { (t.days.replace("{}", &days.to_string())) }
                    }
                }
            }
        }
    };
    html! {
        form.filters action=(visit.links.to("/")) role="search" {
            label { (t.name_begins_with) input type="search" name="name" value=(choices.name) maxlength="100" autocomplete="off"; }
            @if visit.is_for_staff() {
                label { (t.organization)
                    input name="organization" value=[choices.organization.as_ref()] maxlength="128" autocomplete="off" spellcheck="false";
                }
            }
            label { (t.state)
                select name="state" {
                    option value="" { (t.any) }
                    @for (status, word) in statuses.into_iter().zip(words) {
                        option value=(status) selected[choices.status == Some(status)] { (word) }
                    }
                }
            }
            @if !visit.console.scopes.is_empty() {
                label { (t.scope)
                    select name="scope" {
                        option value="" { (t.any) }
                        @for known in &visit.console.scopes {
                            @let scope = known.scope.to_string();
                            option value=(scope) selected[choices.scope == scope] { (scope) }
                        }
                    }
                }
            }
            (days("ending", &t.ends_within, choices.ending_days, [7, 30, 90]))
            (days("unused", &t.unused_for, choices.unused_days, [30, 90, 365]))
            div.actions {
                button { (t.filter) }
                @if choices.are_made() { a href=(visit.links.to("/")) { (t.show_all) } }
            }
        }
    }
}

/// The table in a form that ends several keys at once.
fn selection(visit: &Visit, table: &Markup) -> Result<Markup, ManageError> {
    let t = visit.texts();
    Ok(html! {
        form method="post" action=(visit.links.to("/selected")) {
            input type="hidden" name="token" value=(visit.token()?);
            (table)
            div.actions.selected {
                @if visit.may(KeyAction::Disable) { button name="verb" value="disable" { (t.disable_selected) } }
                @if visit.may(KeyAction::Revoke) { button name="verb" value="revoke" { (t.revoke_selected) } }
            }
        }
    })
}

fn may_select(visit: &Visit) -> bool {
    visit.may(KeyAction::Disable) || visit.may(KeyAction::Revoke)
}

type UsageOfKeys = HashMap<KeyId, Vec<UsageCounts>>;

fn table(visit: &Visit, page: &Page<KeyView>, usage: Option<&UsageOfKeys>) -> Markup {
    let t = visit.texts();
    html! {
        // The roles keep it a table for assistive technology where a narrow window shows it as cards.
        table.keys role="table" {
            caption.hidden { (t.keys) }
            thead role="rowgroup" {
                tr role="row" {
                    th scope="col" role="columnheader" { (t.name) }
                    @if visit.is_for_staff() { th scope="col" role="columnheader" { (t.organization) } }
                    th scope="col" role="columnheader" { (t.state) }
                    th scope="col" role="columnheader" { (t.scopes) }
                    th scope="col" role="columnheader" { (t.created) }
                    th scope="col" role="columnheader" { (t.last_used) }
                    @if usage.is_some() { th scope="col" role="columnheader" { (t.usage) } }
                    th scope="col" role="columnheader" { (t.ends) }
                }
            }
            tbody role="rowgroup" {
                @let selects = may_select(visit);
                @for key in &page.keys { (row(visit, key, usage, selects)) }
                @for broken in &page.broken { (broken_row(visit, broken, usage.is_some())) }
            }
        }
    }
}

fn row(visit: &Visit, key: &KeyView, usage: Option<&UsageOfKeys>, selects: bool) -> Markup {
    let t = visit.texts();
    html! {
        tr role="row" {
            th scope="row" role="rowheader" {
                @if selects && key.status != KeyStatus::Revoked {
                    input type="checkbox" name="key" value=(key.id) aria-label=(t.select.replace("{}", &key.name));
                }
                a href=(visit.to_key(&key.id, "")) { (key.name) }
                code { (key.hint) }
            }
            @if visit.is_for_staff() { td role="cell" data-label=(t.organization) { (key.owner.tenant) } }
            td role="cell" data-label=(t.state) { (words::state(t, key.status)) }
            td role="cell" data-label=(t.scopes) { (few(&key.scopes)) }
            td role="cell" data-label=(t.created) { (words::relative(visit, key.created_at)) }
            td role="cell" data-label=(t.last_used) {
                @match key.last_used_at {
                    Some(at) => (words::relative(visit, at)),
                    None => span.muted { (t.not_known) },
                }
            }
            @if let Some(usage) = usage {
                td role="cell" data-label=(t.usage) { (usage::sparkline(visit, usage.get(&key.id).map_or(&[][..], Vec::as_slice))) }
            }
            td role="cell" data-label=(t.ends) { (words::end(visit, key)) }
        }
    }
}

/// The first scopes, and how many more there are.
fn few(scopes: &ScopeSet) -> Markup {
    html! {
        @if scopes.is_empty() { span.muted { "–" } }
        @for scope in scopes.iter().take(SHOWN_SCOPES) { code.scope { (scope) } " " }
        @if scopes.len() > SHOWN_SCOPES { span.muted { "+" (scopes.len() - SHOWN_SCOPES) } }
    }
}

fn broken_row(visit: &Visit, broken: &BrokenKey, counts_usage: bool) -> Markup {
    let t = visit.texts();
    let columns = 5 + usize::from(visit.is_for_staff()) + usize::from(counts_usage);
    html! {
        tr role="row" {
            th scope="row" role="rowheader" {
                @match &broken.id {
                    Some(id) => a href=(visit.to_key(id, "")) { (id) },
                    None => (t.no_name),
                }
            }
            td role="cell" colspan=(columns) { span.state.bad { (t.record_unreadable) } }
        }
    }
}
