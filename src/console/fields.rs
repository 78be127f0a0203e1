//! The fields of a key, in the forms that make and change one.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::Texts;
use super::form::Form;
use super::visit::Visit;
use super::words;
use crate::address::Network;
use crate::clock::Timestamp;
use crate::key::Metadata;
use crate::manage::KeyView;
use crate::rejection::FieldError;
use crate::scope::Scope;

/// The lifetimes to choose from, in days.
const LIFETIMES: [u32; 5] = [7, 30, 60, 90, 365];

/// What a form for a key says, as it was typed.
pub(super) struct KeyFields {
    pub(super) name: String,
    pub(super) scopes: BTreeSet<String>,
    /// A number of days, `date`, `never`, or `keep`.
    end: String,
    date: String,
    addresses: String,
    limits: String,
    metadata: String,
}

/// The same, once it is read.
pub(super) struct KeyValues {
    /// `None` if it stays.
    pub(super) expires_at: Option<Option<Timestamp>>,
    pub(super) networks: Vec<Network>,
    pub(super) limits: Vec<(String, u32)>,
    pub(super) metadata: Option<Metadata>,
}

impl KeyFields {
    /// Those of a new key.
    pub(super) fn new(visit: &Visit) -> Self {
        let latest = visit.manager().latest_expiry(&visit.authority);
        let is_possible = |days: &u32| latest.is_none_or(|latest| after(visit, *days) <= latest);
        let end = [90, 60, 30, 7].into_iter().find(is_possible);
        Self {
            name: String::new(),
            scopes: BTreeSet::new(),
            end: end.map_or("never".to_owned(), |days| days.to_string()),
            date: String::new(),
            addresses: String::new(),
            limits: String::new(),
            metadata: String::new(),
        }
    }

    pub(super) fn of_key(key: &KeyView) -> Self {
        Self {
            name: key.name.clone(),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            end: "keep".to_owned(),
            date: String::new(),
            addresses: lines(key.allowed_addresses.iter()),
            limits: lines(key.limits.iter().map(|(category, limit)| format!("{category} {limit}"))),
            metadata: key.metadata.as_ref().map(|metadata| metadata.as_json().to_owned()).unwrap_or_default(),
        }
    }

    /// Limits and metadata are the application's to set: what a customer sends as such is ignored.
    pub(super) fn of_form(visit: &Visit, form: &Form) -> Self {
        // Several in one field, where there is no picker.
        let scopes = form.all("scope").flat_map(str::split_whitespace);
        let of_staff = |name| if visit.is_for_staff() { form.text(name).to_owned() } else { String::new() };
        Self {
            name: form.text("name").to_owned(),
            scopes: scopes.map(str::to_owned).collect(),
            end: form.text("end").to_owned(),
            date: form.text("date").to_owned(),
            addresses: form.text("addresses").to_owned(),
            limits: of_staff("limits"),
            metadata: of_staff("metadata"),
        }
    }

    /// Reads what is typed; all faults at once.
    pub(super) fn read(&self, visit: &Visit) -> Result<KeyValues, Vec<FieldError>> {
        let (t, mut faults) = (visit.texts(), Vec::new());
        let expires_at = match self.end.as_str() {
            "keep" => None,
            "never" => Some(None),
            // At the end of that day.
            "date" => match format!("{}T00:00:00Z", self.date).parse::<Timestamp>() {
                Ok(day) => Some(Some(day.saturating_add(words::DAY))),
                Err(_) => {
                    faults.push(FieldError::new("expiresAt", t.fault_date.clone()));
                    None
                }
            },
            days => match days.parse() {
                Ok(days @ 1..=36_500) => Some(Some(after(visit, days))),
                _ => {
                    faults.push(FieldError::new("expiresAt", t.fault_choice.clone()));
                    None
                }
            },
        };
        let networks: Result<Vec<Network>, _> = self.addresses.split_whitespace().map(str::parse).collect();
        let networks = networks.unwrap_or_else(|_| {
            faults.push(FieldError::new("allowedAddresses", t.fault_networks.clone()));
            Vec::new()
        });
        let limits: Option<Vec<_>> =
            self.limits.lines().filter(|line| !line.trim().is_empty()).map(limit).collect();
        let is_twice = |limits: &[(String, u32)]| {
            limits.iter().map(|(category, _)| category).collect::<BTreeSet<_>>().len() < limits.len()
        };
        let limits = limits.filter(|limits| !is_twice(limits)).unwrap_or_else(|| {
            faults.push(FieldError::new("limits", t.fault_limits.clone()));
            Vec::new()
        });
        let metadata =
            Some(&self.metadata).filter(|text| !text.is_empty()).map(|text| Metadata::from_json(text));
        let metadata = metadata.transpose().unwrap_or_else(|_| {
            faults.push(FieldError::new("metadata", t.fault_metadata.clone()));
            None
        });
        if faults.is_empty() { Ok(KeyValues { expires_at, networks, limits, metadata }) } else { Err(faults) }
    }

    /// The inputs, with what is wrong beside each.
    pub(super) fn inputs(&self, visit: &Visit, faults: &[FieldError], key: Option<&KeyView>) -> Markup {
        let t = visit.texts();
        let area = |name: &str, field: &str, label: &str, help: &str, text: &str| {
            html! {
                div.field {
                    label for=(name) { (label) }
                    p.help #{ (name) "-help" } { (help) }
                    (fault(t, name, field, faults))
                    textarea #(name) name=(name) rows="2" spellcheck="false" aria-invalid=[invalid(field, faults)]
                        aria-describedby={ (name) "-help " (name) "-fault" } { (text) }
                }
            }
        };
        let of_staff = !self.limits.is_empty() || !self.metadata.is_empty();
        let has_more = !self.addresses.is_empty() || visit.is_for_staff() && of_staff;
        let is_wrong =
            ["allowedAddresses", "limits", "metadata"].iter().any(|field| invalid(field, faults).is_some());
        html! {
            div.field {
                label for="name" { (t.name) }
                p.help #name-help { (t.name_help) }
                (fault(t, "name", "name", faults))
                input #name name="name" value=(self.name) required maxlength="100" autocomplete="off"
                    aria-invalid=[invalid("name", faults)] aria-describedby="name-help name-fault";
            }
            (self.scope_picker(visit, faults, key))
            (self.end_picker(visit, faults, key))
            details.more open[has_more || is_wrong] {
                summary { @if visit.is_for_staff() { (t.restrictions) } @else { (t.addresses) } }
                (area("addresses", "allowedAddresses", &t.addresses, &t.addresses_help, &self.addresses))
                @if visit.is_for_staff() {
                    (area("limits", "limits", &t.limits, &t.limits_help, &self.limits))
                    (area("metadata", "metadata", &t.metadata, &t.metadata_help, &self.metadata))
                }
            }
        }
    }

    fn scope_picker(&self, visit: &Visit, faults: &[FieldError], key: Option<&KeyView>) -> Markup {
        let t = visit.texts();
        let offered = offered(visit, key);
        html! {
            fieldset.field aria-describedby="scope-fault" {
                legend { (t.scopes) }
                (fault(t, "scope", "scopes", faults))
                @if offered.is_empty() && visit.manager().grantable_scopes().is_none() {
                    label for="scope" { (t.scopes_typed) }
                    textarea #scope name="scope" rows="3" spellcheck="false" { (lines(self.scopes.iter())) }
                }
                div.scopes {
                    @for (scope, description) in offered {
                        label {
                            input type="checkbox" name="scope" value=(scope) checked[self.scopes.contains(&scope)];
                            span { code { (scope) } @if let Some(description) = description { span.help { (description) } } }
                        }
                    }
                }
            }
        }
    }

    fn end_picker(&self, visit: &Visit, faults: &[FieldError], key: Option<&KeyView>) -> Markup {
        let t = visit.texts();
        let latest = visit.manager().latest_expiry(&visit.authority);
        let choices =
            LIFETIMES.into_iter().filter(|days| latest.is_none_or(|latest| after(visit, *days) <= latest));
        html! {
            fieldset.field.end aria-describedby="end-fault" {
                legend { (t.ends) }
                (fault(t, "end", "expiresAt", faults))
                div.choices {
                    @if let Some(key) = key {
                        (self.end_choice("keep", html! {
                            (t.keep) " (" @match key.expires_at { Some(end) => (words::date(end)), None => (t.never) } ")"
                        }))
                    }
                    @for days in choices {
                        (self.end_choice(&days.to_string(), html! {
                            (t.days.replace("{}", &days.to_string())) " " span.muted { (words::date(after(visit, days))) }
                        }))
                    }
                    @if latest.is_none() { (self.end_choice("never", html! { (t.never) })) }
                    div.choice {
                        (self.end_choice("date", html! { (t.on_a_date) }))
                        input type="date" name="date" value=(self.date) aria-label=(t.on_a_date) min=(words::date(visit.now))
                            aria-invalid=[invalid("expiresAt", faults)];
                    }
                }
            }
        }
    }

    fn end_choice(&self, value: &str, label: Markup) -> Markup {
        html! { label { input type="radio" name="end" value=(value) checked[self.end == value]; span { (label) } } }
    }
}

/// The scopes to choose from, with a sentence each: those that keys can be given and that the authority can grant, and those
/// that the key has.
fn offered(visit: &Visit, key: Option<&KeyView>) -> Vec<(String, Option<String>)> {
    let has = |scope: &Scope| key.is_some_and(|key| key.scopes.iter().any(|own| own == scope));
    let known = &visit.console.scopes;
    let mut offered: Vec<_> = known
        .iter()
        .filter(|known| visit.can_grant(&known.scope) || has(&known.scope))
        .map(|known| (known.scope.to_string(), known.description.clone()))
        .collect();
    if !known.is_empty() {
        let own = key.into_iter().flat_map(|key| key.scopes.iter());
        let others = own.filter(|own| known.iter().all(|known| known.scope != **own));
        offered.extend(others.map(|scope| (scope.to_string(), None)));
    }
    offered
}

/// Whether there is a picker, and something in it to choose.
pub(super) fn has_picker(visit: &Visit) -> bool {
    !offered(visit, None).is_empty()
}

fn after(visit: &Visit, days: u32) -> Timestamp {
    visit.now.saturating_add(words::DAY * days)
}

fn limit(line: &str) -> Option<(String, u32)> {
    let mut words = line.split_whitespace();
    let (category, number, None) = (words.next()?, words.next()?, words.next()) else { return None };
    Some((category.to_owned(), number.parse().ok().filter(|number| *number > 0)?))
}

fn lines(items: impl Iterator<Item = impl ToString>) -> String {
    items.map(|item| item.to_string()).collect::<Vec<_>>().join("\n")
}

pub(super) fn invalid(field: &str, faults: &[FieldError]) -> Option<&'static str> {
    faults.iter().any(|fault| fault.field == field).then_some("true")
}

/// What is wrong with a field, in a place that its input names.
pub(super) fn fault(t: &Texts, name: &str, field: &str, faults: &[FieldError]) -> Markup {
    html! {
        p.fault #{ (name) "-fault" } {
            @for fault in faults.iter().filter(|fault| fault.field == field) { (t.fault(fault)) " " }
        }
    }
}
