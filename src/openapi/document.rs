//! A document as JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::OpenApiError;

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

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.0.get_mut(name)
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
}

/// The value as an object, which it becomes if it is none.
pub(super) fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it is an object")
}

pub(super) fn malformed(what: impl Into<String>) -> OpenApiError {
    OpenApiError::Malformed(what.into())
}
