//! A document of the rules alone.

use http::Method;
use serde_json::{Map, Value, json};

use super::OpenApiError;
use super::document::Document;
use super::operations::METHODS;
use crate::ApiKeys;
use crate::route::Route;

impl<F> ApiKeys<F> {
    /// A document with an operation for each rule and what a request to it needs, for the command line. It has no responses: they
    /// depend on the format of errors, of which nothing is known here.
    pub(crate) fn openapi_of_rules(&self) -> Result<Value, OpenApiError> {
        let rules = self.unused::<Route>([]);
        let is_named = |rule: &Route| rule.method().is_some_and(|method| place(method).is_some());
        let info = json!({ "title": "Rules of access", "version": "1" });
        // Version 3.1 has no place for other methods.
        let version = if rules.iter().all(is_named) { "3.1.1" } else { "3.2.0" };
        let mut paths = json!({});
        for rule in &rules {
            let (path, Some(method)) = (&mut paths[rule.pattern()], rule.method()) else { continue };
            match place(method) {
                Some(place) => path[place] = operation(rule),
                None => path["additionalOperations"][method.as_str()] = operation(rule),
            }
        }
        let mut document = Document::read(&json!({ "openapi": version, "info": info, "paths": paths }))?;
        self.annotate(&mut document, |_, _, _, _| {})?;
        document.write()
    }
}

/// The name of a method in a path of OpenAPI 3.1.
fn place(method: &Method) -> Option<&'static str> {
    METHODS.into_iter().find(|name| *name != "query" && method.as_str().eq_ignore_ascii_case(name))
}

/// With the parameters that its path has to have.
fn operation(rule: &Route) -> Value {
    let parameter =
        |name: &str| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } });
    let parameters: Vec<_> = rule.parameters().map(parameter).collect();
    let mut operation = Map::new();
    if !parameters.is_empty() {
        operation.insert("parameters".to_owned(), parameters.into());
    }
    operation.into()
}
