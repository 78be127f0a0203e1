//! Security schemes, and the requirements of operations that name them.

use serde_json::{Map, Value, json};

use super::document::Document;
use crate::ApiKeys;
use crate::key::KeyFormat;
use crate::middleware::{CredentialPlace, CredentialPlaces, Requirements};
use crate::scope::ScopeRequirement;

/// The names of the assembly's schemes in a document.
pub(super) struct Schemes {
    keys: Vec<String>,
    secret: Option<String>,
    token: Option<String>,
}

impl Schemes {
    /// Those of the document that are for the same places, by whatever names, and else new ones, which are added.
    pub(super) fn of<F>(keys: &ApiKeys<F>, document: &mut Document) -> Self {
        let CredentialPlaces { keys: places, secret, token } = keys.credential_places();
        let mut add = |scheme: Value| {
            let name =
                scheme.get("name").or(scheme.get("scheme")).and_then(Value::as_str).unwrap_or_default();
            let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            let name: String = name.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect();
            document
                .component("securitySchemes", &name, scheme.clone(), |other| is_same_place(&scheme, other))
        };
        let formats = keys.manager().formats();
        Self {
            keys: places.iter().map(|place| add(scheme_of_keys(place, formats, keys))).collect(),
            secret: secret.map(|place| add(scheme(&place, "The secret that comes with the key."))),
            token: token.map(|name| {
                add(json!({
                    "type": "apiKey",
                    "in": "header",
                    "name": name.as_str(),
                    "description": "A session token, which comes with the key.",
                }))
            }),
        }
    }

    /// The `security` of an operation.
    pub(super) fn requirement(&self, requirements: &Requirements<'_>) -> Value {
        let mut alternatives = Vec::new();
        if requirements.is_open {
            alternatives.push(json!({}));
        }
        for key in &self.keys {
            for scopes in alternative_scopes(requirements) {
                let mut all = Map::new();
                all.insert(key.clone(), json!(scopes));
                let secret = self.secret.as_ref().filter(|_| requirements.parts.needs_secret());
                let token = self.token.as_ref().filter(|_| requirements.parts.needs_token());
                all.extend(secret.into_iter().chain(token).map(|name| (name.clone(), json!([]))));
                alternatives.push(Value::Object(all));
            }
        }
        Value::Array(alternatives)
    }
}

/// The lists of scopes of which one is enough.
fn alternative_scopes<'k>(requirements: &Requirements<'k>) -> Vec<Vec<&'k str>> {
    let needed = requirements.access.and_then(|access| access.requirement());
    let scopes = needed.into_iter().flat_map(ScopeRequirement::scopes).map(|scope| scope.as_str());
    match needed {
        Some(needed) if needed.is_any() => scopes.map(|scope| vec![scope]).collect(),
        _ => vec![scopes.collect()],
    }
}

fn scheme_of_keys<F>(place: &CredentialPlace, formats: &[KeyFormat], keys: &ApiKeys<F>) -> Value {
    let mut prefixes: Vec<_> =
        formats.iter().map(KeyFormat::prefix).filter(|prefix| !prefix.is_empty()).collect();
    prefixes.dedup();
    let mut description = match &*prefixes {
        [] => "An API key.".to_owned(),
        prefixes => format!("An API key, which begins with `{}`.", prefixes.join("` or `")),
    };
    let scheme_name = place.challenge.scheme();
    if scheme_name.eq_ignore_ascii_case("basic") {
        description.push_str(" It is the user name; the password is empty.");
    }
    if place.finds_sessions {
        description.push_str(" Or the token of a session.");
    }
    let sentences: Vec<_> = keys
        .scopes()
        .iter()
        .filter_map(|known| Some(format!("- `{}`: {}", known.scope, known.description.as_ref()?)))
        .collect();
    if !sentences.is_empty() {
        description.push_str(&format!("\n\nWhat scopes of keys allow:\n\n{}", sentences.join("\n")));
    }
    let mut scheme = scheme(place, &description);
    if scheme_name.eq_ignore_ascii_case("bearer") {
        if let [prefix] = *prefixes {
            scheme["bearerFormat"] = format!("{prefix}…").into();
        }
    }
    scheme
}

/// A field or a parameter that the challenge names, a field of its own, or else `Authorization`.
fn scheme(place: &CredentialPlace, description: &str) -> Value {
    let CredentialPlace { challenge, headers, .. } = place;
    let named = ["header", "query", "cookie"]
        .into_iter()
        .find_map(|r#in| challenge.parameter(r#in).map(|name| (r#in, name.to_owned())));
    let own = match &**headers {
        [only] if *only != http::header::AUTHORIZATION => Some(("header", only.as_str().to_owned())),
        _ => None,
    };
    match named.or(own) {
        Some((r#in, name)) => {
            json!({ "type": "apiKey", "in": r#in, "name": name, "description": description })
        }
        None => {
            let scheme = challenge.scheme().to_ascii_lowercase();
            json!({ "type": "http", "scheme": scheme, "description": description })
        }
    }
}

/// Only the names of parameters in a query or a cookie tell cases apart.
fn is_same_place(one: &Value, other: &Value) -> bool {
    let has_cases = one["in"] != "header";
    let is_same = |member: &str| match (one[member].as_str(), other[member].as_str()) {
        (Some(one), Some(other)) if member == "name" && has_cases => one == other,
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        (one, other) => one == other,
    };
    ["type", "in", "name", "scheme"].into_iter().all(is_same)
}
