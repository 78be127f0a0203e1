//! An operation of a document, and what the assembly adds to it.

use std::collections::BTreeMap;

use http::{HeaderName, StatusCode};
use serde_json::{Map, Value, json};

use super::document::{Document, object};
use super::drift::Drift;
use super::responses::{Responses, field_name};
use super::security::Schemes;
use crate::ApiKeys;
use crate::middleware::{OrganizationField, Requirements};
use crate::route::{Access, Route};
use crate::scope::{Scope, ScopeRequirement};

pub(super) struct Operation {
    /// Where it is in the document: a path, and a name below it or below `additionalOperations`.
    pub(super) path: String,
    pub(super) place: String,
    pub(super) is_additional: bool,
    /// What it can stand for, the likeliest first; at least one, in a document.
    pub(super) routes: Vec<Route>,
    /// Its own parameters and those of its path.
    pub(super) parameters: Vec<Value>,
    pub(super) value: Map<String, Value>,
}

impl Operation {
    /// One that is in no document yet.
    #[cfg(feature = "axum")]
    pub(super) fn new(value: Map<String, Value>) -> Self {
        let (path, place) = (String::new(), String::new());
        Self { path, place, is_additional: false, routes: Vec::new(), parameters: Vec::new(), value }
    }

    /// The likeliest route.
    pub(super) fn route(&self) -> &Route {
        &self.routes[0]
    }

    /// The route that a rule covers, and what that needs.
    pub(super) fn requirements<'k, F>(&self, keys: &'k ApiKeys<F>) -> Option<(Route, Requirements<'k>)> {
        self.routes.iter().find_map(|route| Some((route.clone(), keys.requirements(route)?)))
    }

    /// The path of a request, with the examples of its parameters, or `1`. A slash is kept: a catch-all may have one.
    pub(super) fn example_path(&self, route: &Route) -> String {
        let (mut path, mut rest) = (String::new(), route.pattern());
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').unwrap_or((after, ""));
            path.push_str(before);
            for byte in self.example_of(name.trim_start_matches('*')).bytes() {
                match byte {
                    b'/' | b'-' | b'.' | b'_' | b'~' => path.push(byte.into()),
                    _ if byte.is_ascii_alphanumeric() => path.push(byte.into()),
                    _ => path.push_str(&format!("%{byte:02X}")),
                }
            }
            rest = after;
        }
        path + rest
    }

    fn example_of(&self, name: &str) -> String {
        let nothing = Value::Null;
        let parameter = self.parameters.iter().find(|one| is_parameter(one, name, "path"));
        let parameter = parameter.unwrap_or(&nothing);
        let schema = &parameter["schema"];
        let examples =
            [&parameter["example"], &schema["example"], &schema["examples"][0], &schema["default"]];
        match examples.into_iter().find(|example| !example.is_null()) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => "1".to_owned(),
        }
    }

    /// Adds what a request needs.
    pub(super) fn require(&mut self, requirements: &Requirements<'_>, schemes: &Schemes) {
        self.value.entry("security").or_insert_with(|| schemes.requirement(requirements));
        for (name, value) in extensions(requirements) {
            self.value.entry(name).or_insert(value);
        }
        if let Some(needed) = requirements.access.and_then(Access::requirement) {
            self.describe(&sentence(needed));
        }
        for field in &requirements.organization {
            let (parameter, name, place) = parameter(field);
            if !self.parameters.iter().any(|other| is_parameter(other, name, place)) {
                let own = self.value.entry("parameters").or_insert_with(|| json!([]));
                own.as_array_mut().into_iter().for_each(|own| own.push(parameter.clone()));
            }
        }
    }

    fn describe(&mut self, sentence: &str) {
        let description = self.value.get("description").and_then(Value::as_str).unwrap_or_default();
        if !description.contains(sentence) {
            let separator = if description.is_empty() { "" } else { "\n\n" };
            let description = format!("{description}{separator}{sentence}");
            self.value.insert("description".to_owned(), description.into());
        }
    }

    /// Adds how a request can be rejected, and the header fields of all responses.
    pub(super) fn respond(
        &mut self,
        rejected: BTreeMap<u16, Responses>,
        requirements: &Requirements<'_>,
        document: &mut Document,
        gives_request_ids: bool,
    ) {
        let every: &[HeaderName] = if gives_request_ids { &[crate::request::X_REQUEST_ID] } else { &[] };
        let of_all = header_fields(every, document);
        let mut of_counted = header_fields(&requirements.limit_fields, document);
        of_counted.extend(of_all.clone());
        let responses = object(self.value.entry("responses").or_insert_with(|| json!({})));
        for response in responses.values_mut().filter(|response| response.get("$ref").is_none()) {
            let Some(response) = response.as_object_mut().filter(|_| !of_counted.is_empty()) else {
                continue;
            };
            let headers = object(response.entry("headers").or_insert_with(|| json!({})));
            for (name, field) in &of_counted {
                if !headers.keys().any(|other| other.eq_ignore_ascii_case(name)) {
                    headers.insert(name.clone(), field.clone());
                }
            }
        }
        for (status, rejected) in rejected {
            if responses.contains_key(&status.to_string()) {
                continue;
            }
            let further = if rejected.reports_limits { of_counted.clone() } else { of_all.clone() };
            let component = rejected.into_component(further);
            let name = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            let name: String = name.unwrap_or("Error").split_whitespace().collect();
            let name = document.component("responses", &name, component.clone(), |other| *other == component);
            let reference = json!({ "$ref": format!("#/components/responses/{name}") });
            responses.insert(status.to_string(), reference);
        }
    }

    /// What it says otherwise than the rule of its route.
    pub(super) fn contradictions(
        &self,
        route: &Route,
        requirements: &Requirements<'_>,
        schemes: &Schemes,
        security_by_default: Option<&Value>,
    ) -> Vec<Drift> {
        let mut drift = Vec::new();
        let mut compare = |member: &'static str, documented: Option<&Value>, ruled: &Value| {
            if documented.is_some_and(|documented| without_order(documented) != without_order(ruled)) {
                drift.push(Drift::Contradiction {
                    route: route.clone(),
                    member,
                    documented: documented.cloned().unwrap_or_default(),
                    ruled: ruled.clone(),
                });
            }
        };
        // What says nothing needs nothing.
        let nothing = json!([]);
        let security = self.value.get("security").or(security_by_default).unwrap_or(&nothing);
        compare("security", Some(security), &schemes.requirement(requirements));
        let ruled = extensions(requirements);
        for name in EXTENSIONS {
            compare(name, self.value.get(name), ruled.get(name).unwrap_or(&Value::Null));
        }
        drift
    }
}

/// Alternatives and scopes mean the same in any order.
fn without_order(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<_> = items.iter().map(without_order).collect();
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        }
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), without_order(value))).collect()
        }
        other => other.clone(),
    }
}

const EXTENSIONS: [&str; 3] = ["x-required-scopes", "x-required-tier", "x-required-role"];

fn extensions(requirements: &Requirements<'_>) -> BTreeMap<&'static str, Value> {
    let [scopes, tier, role] = EXTENSIONS;
    let mut extensions = BTreeMap::new();
    let Some(access) = requirements.access else { return extensions };
    if let Some(needed) = access.requirement() {
        let list: Vec<_> = needed.scopes().iter().map(Scope::as_str).collect();
        extensions.insert(scopes, if needed.is_any() { json!([{ "anyOf": list }]) } else { json!(list) });
    }
    if access.is_of_system() {
        extensions.insert(tier, json!("system"));
    }
    if let Some(rank) = access.role().map(|role| role.rank()) {
        extensions.insert(role, json!(rank));
    }
    extensions
}

fn sentence(needed: &ScopeRequirement) -> String {
    let list: Vec<_> = needed.scopes().iter().map(|scope| format!("`{scope}`")).collect();
    let list = list.join(", ");
    match needed.scopes().len() {
        1 => format!("Needs the scope {list}."),
        _ if needed.is_any() => format!("Needs one of the scopes {list}."),
        _ => format!("Needs the scopes {list}."),
    }
}

/// A parameter, its name and its place.
fn parameter<'f>(field: &'f OrganizationField<'_>) -> (Value, &'f str, &'static str) {
    let (name, place, is_required, schema, description) = match field {
        OrganizationField::Header { name, is_required } => {
            let description = "The organization that the request is for.";
            (name.as_str(), "header", *is_required, json!({ "type": "string" }), description)
        }
        OrganizationField::Cookie(name) => {
            let description = "The organization that a session acts for.";
            (*name, "cookie", false, json!({ "type": "string" }), description)
        }
        OrganizationField::Mode(name) => {
            let schema = json!({ "type": "string", "enum": ["live", "test"] });
            (name.as_str(), "header", false, schema, "The mode that the request is for.")
        }
    };
    let parameter = json!({
        "name": name,
        "in": place,
        "required": is_required,
        "schema": schema,
        "description": description,
    });
    (parameter, name, place)
}

fn is_parameter(parameter: &Value, name: &str, place: &str) -> bool {
    let other = parameter["name"].as_str().unwrap_or_default();
    let is_named = if place == "header" { other.eq_ignore_ascii_case(name) } else { other == name };
    is_named && parameter["in"] == place
}

/// References to the components that describe these fields, which are added.
fn header_fields(names: &[HeaderName], document: &mut Document) -> Map<String, Value> {
    let reference = |name: &HeaderName| {
        let name = field_name(name.as_str());
        document.components("headers").entry(&*name).or_insert_with(|| header_field(&name));
        (name.clone(), json!({ "$ref": format!("#/components/headers/{name}") }))
    };
    names.iter().map(reference).collect()
}

fn header_field(name: &str) -> Value {
    let (schema, description) = match name {
        "X-RateLimit-Limit" => ("integer", "How many requests the limit allows."),
        "X-RateLimit-Remaining" => ("integer", "How many of them are left."),
        "X-RateLimit-Reset" => ("integer", "When more are left, in seconds since the Unix epoch."),
        "RateLimit-Policy" => {
            ("string", "The limits that have counted the request, as the IETF's draft writes them.")
        }
        "RateLimit" => ("string", "What is left of them, as the IETF's draft writes it."),
        _ => ("string", "The identifier of the request."),
    };
    json!({ "schema": { "type": schema }, "description": description })
}
