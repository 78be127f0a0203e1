//! The operations of a document, by the routes that they can stand for.

use http::Method;
use serde_json::{Map, Value};

use super::OpenApiError;
use super::document::{Document, malformed};
use super::operation::Operation;
use crate::route::Route;

/// Takes the operations out of a document, to be [put back](put_back).
pub(super) fn take(document: &mut Document) -> Result<Vec<Operation>, OpenApiError> {
    let mut operations = Vec::new();
    let servers = document.get("servers").cloned();
    let mut paths = document.get_mut("paths").map(Value::take);
    for (path, item) in paths.iter_mut().filter_map(Value::as_object_mut).flatten() {
        if path.starts_with("x-") {
            continue;
        }
        let Value::Object(item) = item else {
            return Err(malformed(format!("the path {path} is no object")));
        };
        let servers = item.get("servers").or(servers.as_ref()).cloned();
        let parameters = item.get("parameters").cloned().into_iter().flat_map(into_items);
        let parameters: Vec<_> = parameters.map(|one| document.resolve(&one).clone()).collect();
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
            known.extend(own.map(|one| document.resolve(&one).clone()));
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
        document.add("paths", paths);
    }
    Ok(operations)
}

pub(super) fn put_back(document: &mut Document, operations: Vec<Operation>) {
    for Operation { path, place, is_additional, value, .. } in operations {
        let item = document.get_mut("paths").and_then(|paths| paths.get_mut(&path));
        let item =
            if is_additional { item.and_then(|item| item.get_mut("additionalOperations")) } else { item };
        if let Some(operation) = item.and_then(|item| item.get_mut(&place)) {
            *operation = Value::Object(value);
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

pub(super) const METHODS: [&str; 9] =
    ["get", "put", "post", "delete", "options", "head", "patch", "trace", "query"];

/// The routes that an operation can stand for: below each server, and its path alone. OpenAPI has no catch-all, so that the last
/// parameter of a path may be one.
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
    let catch_all = |route: &Route| {
        let (before, name) = route.pattern().strip_suffix('}')?.rsplit_once("/{")?;
        let is_other = !name.starts_with('*');
        is_other.then(|| (method.clone(), format!("{before}/{{*{name}}}")).into())
    };
    let catch_alls: Vec<_> = routes.iter().filter_map(catch_all).collect();
    routes.extend(catch_alls);
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

#[cfg(test)]
mod tests {
    use serde_json::json;

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
