//! A document as JSON, and the operations in it.

use http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::OpenApiError;
use super::operation::Operation;
use crate::route::Route;

pub(super) struct Document(Map<String, Value>);

impl Document {
    pub(super) fn read(document: &impl Serialize) -> Result<Self, OpenApiError> {
        let Value::Object(root) = serde_json::to_value(document)? else {
            return Err(malformed("the root is no object"));
        };
        match root.get("openapi").and_then(Value::as_str) {
            Some(version) if version.starts_with("3.1.") || version.starts_with("3.2.") => Ok(Self(root)),
            Some(other) => Err(OpenApiError::Version(other.to_owned())),
            None => match root.get("swagger").and_then(Value::as_str) {
                Some(version) => Err(OpenApiError::Version(version.to_owned())),
                None => Err(malformed("`openapi` is not there")),
            },
        }
    }

    pub(super) fn write<D: DeserializeOwned>(self) -> Result<D, OpenApiError> {
        Ok(serde_json::from_value(Value::Object(self.0))?)
    }

    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Adds a member to the root, or replaces it.
    pub(super) fn add(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    /// The components of a kind, such as `responses`. What is no object is taken for nothing.
    pub(super) fn components(&mut self, kind: &str) -> &mut Map<String, Value> {
        let components = object(self.0.entry("components").or_insert_with(|| json!({})));
        object(components.entry(kind).or_insert_with(|| json!({})))
    }

    /// The name of a component that is like `component`: that of one that is there, or of one that is added, `name` if it is
    /// free, else `name2` and so on.
    pub(super) fn component(
        &mut self,
        kind: &str,
        name: &str,
        component: Value,
        is_like: impl Fn(&Value) -> bool,
    ) -> String {
        let components = self.components(kind);
        if let Some((name, _)) = components.iter().find(|(_, other)| is_like(other)) {
            return name.clone();
        }
        let mut free = name.to_owned();
        for number in 2.. {
            if !components.contains_key(&free) {
                break;
            }
            free = format!("{name}{number}");
        }
        components.insert(free.clone(), component);
        free
    }

    /// Adds an operation, unless it is there.
    #[cfg(feature = "axum")]
    pub(super) fn add_operation(&mut self, path: &str, place: &str, operation: Map<String, Value>) {
        let paths = object(self.0.entry("paths").or_insert_with(|| json!({})));
        let item = object(paths.entry(path).or_insert_with(|| json!({})));
        item.entry(place).or_insert(Value::Object(operation));
    }

    /// Adds those of `schemas` that something in the document refers to.
    #[cfg(feature = "axum")]
    pub(super) fn add_referenced(&mut self, schemas: &Map<String, Value>) {
        loop {
            let text = serde_json::to_string(&self.0).unwrap_or_default();
            let components = self.components("schemas");
            let is_missing = |name: &String| {
                text.contains(&format!("\"#/components/schemas/{name}\"")) && !components.contains_key(name)
            };
            let missing: Vec<_> = schemas.iter().filter(|(name, _)| is_missing(name)).collect();
            if missing.is_empty() {
                return;
            }
            for (name, schema) in missing {
                self.components("schemas").insert(name.clone(), schema.clone());
            }
        }
    }

    /// What a local reference refers to, or the value itself.
    pub(super) fn resolve<'v>(&'v self, value: &'v Value) -> &'v Value {
        let path = value.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/"));
        let Some(path) = path else { return value };
        let mut steps = path.split('/').map(|step| step.replace("~1", "/").replace("~0", "~"));
        let found = steps.next().and_then(|first| self.0.get(&first));
        steps.try_fold(found, |found, step| found.map(|found| found.get(&step))).flatten().unwrap_or(value)
    }

    /// Takes the operations out, to be [put back](Self::put_back).
    pub(super) fn take_operations(&mut self) -> Result<Vec<Operation>, OpenApiError> {
        let mut operations = Vec::new();
        let servers = self.0.get("servers").cloned();
        let mut paths = self.0.get_mut("paths").map(Value::take);
        for (path, item) in paths.iter_mut().filter_map(Value::as_object_mut).flatten() {
            if path.starts_with("x-") {
                continue;
            }
            let Value::Object(item) = item else {
                return Err(malformed(format!("the path {path} is no object")));
            };
            let servers = item.get("servers").or(servers.as_ref()).cloned();
            let parameters = item.get("parameters").cloned().into_iter().flat_map(into_items);
            let parameters: Vec<_> = parameters.map(|one| self.resolve(&one).clone()).collect();
            let additional = item.get_mut("additionalOperations").map(Value::take);
            let (mut fixed, mut further) = (std::mem::take(item), additional);
            for (place, value, is_additional) in places(&mut fixed, further.as_mut()) {
                let name = if is_additional { place.clone() } else { place.to_ascii_uppercase() };
                let Ok(method) = Method::from_bytes(name.as_bytes()) else { continue };
                let Value::Object(value) = value.take() else {
                    return Err(malformed(format!("{name} {path} is no object")));
                };
                let servers = value.get("servers").or(servers.as_ref());
                let routes = routes(&method, path, servers);
                let mut known = parameters.clone();
                let own = value.get("parameters").cloned().into_iter().flat_map(into_items);
                known.extend(own.map(|one| self.resolve(&one).clone()));
                operations.push(Operation {
                    path: path.clone(),
                    place: place.clone(),
                    is_additional,
                    routes,
                    parameters: known,
                    value,
                });
            }
            *item = fixed;
            if let Some(further) = further {
                item.insert("additionalOperations".to_owned(), further);
            }
        }
        if let Some(paths) = paths {
            self.0.insert("paths".to_owned(), paths);
        }
        Ok(operations)
    }

    pub(super) fn put_back(&mut self, operations: Vec<Operation>) {
        for Operation { path, place, is_additional, value, .. } in operations {
            let item = self.0.get_mut("paths").and_then(|paths| paths.get_mut(&path));
            let item =
                if is_additional { item.and_then(|item| item.get_mut("additionalOperations")) } else { item };
            if let Some(operation) = item.and_then(|item| item.get_mut(&place)) {
                *operation = Value::Object(value);
            }
        }
    }
}

/// The operations of a path: by fixed names, and by method since OpenAPI 3.2.
fn places<'i>(
    fixed: &'i mut Map<String, Value>,
    additional: Option<&'i mut Value>,
) -> impl Iterator<Item = (&'i String, &'i mut Value, bool)> {
    let fixed = fixed.iter_mut().filter(|(name, _)| METHODS.contains(&name.as_str()));
    let additional = additional.and_then(Value::as_object_mut).into_iter().flatten();
    fixed.map(|(name, value)| (name, value, false)).chain(additional.map(|(name, value)| (name, value, true)))
}

const METHODS: [&str; 9] = ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];

/// The routes that an operation can stand for: below each server, and its path alone.
pub(super) fn routes(method: &Method, path: &str, servers: Option<&Value>) -> Vec<Route> {
    let mut routes = Vec::new();
    for server in servers.and_then(Value::as_array).into_iter().flatten() {
        let base = base_path(server);
        if !base.is_empty() && path == "/" {
            routes.push((method.clone(), base.clone()).into());
        }
        routes.push((method.clone(), format!("{base}{path}")).into());
    }
    routes.push((method.clone(), path).into());
    routes
}

/// `/api/v1` of `https://api.example.com/api/v1/`, with the variables as they are by default.
fn base_path(server: &Value) -> String {
    let mut url = server.get("url").and_then(Value::as_str).unwrap_or_default().to_owned();
    for (name, variable) in server.get("variables").and_then(Value::as_object).into_iter().flatten() {
        let default = variable.get("default").and_then(Value::as_str).unwrap_or_default();
        url = url.replace(&format!("{{{name}}}"), default);
    }
    let after_scheme = url.split_once("://").map(|(_, rest)| rest).or(url.strip_prefix("//"));
    let path = match after_scheme {
        Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
        None if url.starts_with('/') => &url,
        None => "",
    };
    let end = path.find(['?', '#']).unwrap_or(path.len());
    path[..end].trim_end_matches('/').to_owned()
}

fn into_items(value: Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items,
        _ => Vec::new(),
    }
}

/// The value as an object, which it becomes if it is none.
pub(super) fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it is an object")
}

fn malformed(what: impl Into<String>) -> OpenApiError {
    OpenApiError::Malformed(what.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_a_base_path() {
        for (url, base) in [
            ("https://api.example.com/api/v1", "/api/v1"),
            ("https://api.example.com/api/v1/", "/api/v1"),
            ("https://api.example.com", ""),
            ("/", ""),
            ("/v2", "/v2"),
            ("//api.example.com/v2", "/v2"),
            ("v2", ""),
            ("https://{region}.example.com/{version}?x=/y", "/v7"),
        ] {
            let variables = json!({ "version": { "default": "v7" }, "region": { "default": "eu" } });
            assert_eq!(base_path(&json!({ "url": url, "variables": variables })), base, "{url}");
        }
    }
}
