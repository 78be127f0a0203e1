//! The operations of the crate's own routes in a document.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::operation::Operation;
use super::operations::routes;
use super::own_operations::{
    Answer, Failure, HEALTH, KEYS, LIMITS, OwnOperation, Parameter, USAGE, USAGE_FOR_STAFF, WHOAMI,
};
use super::responses::{self, example_request};
use super::{OpenApiError, schema};
use crate::ApiKeys;
use crate::key::KeyId;
use crate::manage::{Forbidden, ManageError};
use crate::rejection::{ErrorFormat, FieldError, Success, fail};
use crate::request::RequestView;
use crate::store::{StoreError, StoreErrorKind};

/// The routes that this crate serves, but for its page: that is no API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnRoutes {
    /// [`ApiKeys::key_routes`], nested at the path.
    Keys,
    /// The same [for staff](crate::manage::KeyRoutes::for_staff): without what makes a secret.
    KeysForStaff,
    /// [`ApiKeys::whoami_route`].
    Whoami,
    /// [`ApiKeys::limits_route`].
    Limits,
    /// [`ApiKeys::health_route`].
    Health,
    /// [`ApiKeys::usage_route`].
    Usage,
    /// [`ApiKeys::usage_route_for_staff`].
    UsageForStaff,
}

impl<F: ErrorFormat<Bytes>> ApiKeys<F> {
    /// Adds the operations of routes that this crate serves at `path`, with their schemas, to an OpenAPI document: those that
    /// a rule covers. What is there already is kept. Goes before [`openapi`](Self::openapi). The `operationId`s of routes for staff
    /// end in `ForStaff`.
    ///
    /// ```
    /// use serde_json::json;
    /// use tower_api_keys::openapi::OwnRoutes;
    /// use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .routes([("GET", "/api-keys", "api-keys:read"), ("POST", "/api-keys", "api-keys:write")])
    ///     .build()?;
    /// let mut document = json!({ "openapi": "3.1.1", "info": { "title": "Keys", "version": "1.0.0" }, "paths": {} });
    /// keys.openapi_routes(&mut document, OwnRoutes::Keys, "/api-keys")?;
    /// keys.openapi(&mut document)?;
    /// assert_eq!(document["paths"]["/api-keys"]["post"]["operationId"], "createApiKey");
    /// assert_eq!(keys.openapi_drift(&document)?, []);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenApiError`] if the document is not one of OpenAPI 3.1 or 3.2. It is then unchanged.
    pub fn openapi_routes<D: Serialize + DeserializeOwned>(
        &self,
        document: &mut D,
        own: OwnRoutes,
        path: &str,
    ) -> Result<(), OpenApiError> {
        let (operations, is_for_staff) = match own {
            OwnRoutes::Keys => (KEYS, false),
            OwnRoutes::KeysForStaff => (KEYS, true),
            OwnRoutes::Whoami => (WHOAMI, false),
            OwnRoutes::Limits => (LIMITS, false),
            OwnRoutes::Health => (HEALTH, false),
            OwnRoutes::Usage => (USAGE, false),
            OwnRoutes::UsageForStaff => (USAGE_FOR_STAFF, true),
        };
        let mut completed = Document::read(document)?;
        let servers = completed.get("servers").cloned();
        for own in operations.iter().filter(|own| !is_for_staff || !own.gives_secret()) {
            let path = format!("{path}{}", own.path);
            let Ok(method) = own.method.to_ascii_uppercase().parse() else { continue };
            let routes = routes(&method, &path, servers.as_ref());
            let Some((route, requirements)) =
                routes.into_iter().find_map(|route| Some((route.clone(), self.requirements(&route)?)))
            else {
                continue;
            };
            let mut operation = Operation::new(own.describe(self, is_for_staff));
            let mut by_status = responses::of_rejections(self, &route, &requirements);
            let request = example_request(&route, self.gives_request_ids());
            for failure in own.errors {
                let error = failure.example();
                let error = error.to_api_error(RequestView::of(&request));
                let response: Response<Bytes> = fail(&error, self);
                let responses = by_status.entry(response.status().as_u16()).or_default();
                responses.add(error.kind(), error.code(), &response);
                responses.reports_limits = true;
            }
            operation.respond(by_status, &requirements, &mut completed, self.gives_request_ids());
            completed.add_operation(&path, own.method, operation.value);
        }
        completed.add_referenced(&schemas());
        *document = completed.write()?;
        Ok(())
    }
}

impl OwnOperation {
    fn describe<F: ErrorFormat<Bytes>>(&self, keys: &ApiKeys<F>, is_for_staff: bool) -> Map<String, Value> {
        let (status, mut response) = self.response(keys);
        if self.has_entity_tag {
            let field = json!({ "schema": { "type": "string" }, "description": "The version of the key." });
            response["headers"] = json!({ "ETag": field });
        }
        let mut responses = json!({ status.as_str(): response });
        if self.has_csv {
            // The error format has no part in it.
            let csv = &mut responses[StatusCode::OK.as_str()];
            csv["description"] = "Done.".into();
            csv["content"]["text/csv"] = json!({ "schema": { "type": "string" } });
        }
        let mut operation = Map::new();
        let of_whom = if is_for_staff { "ForStaff" } else { "" };
        operation.insert("operationId".to_owned(), format!("{}{of_whom}", self.id).into());
        operation.insert("summary".to_owned(), self.summary.into());
        operation.insert("tags".to_owned(), json!(["API keys"]));
        if !self.parameters.is_empty() {
            operation.insert("parameters".to_owned(), self.parameters.iter().map(parameter).collect());
        }
        if let Some((schema, is_required)) = self.body {
            let content = json!({ "application/json": { "schema": reference(schema) } });
            operation
                .insert("requestBody".to_owned(), json!({ "required": is_required, "content": content }));
        }
        operation.insert("responses".to_owned(), responses);
        operation
    }

    /// The response to a good request: the error format may change its status, and wrap what it holds.
    fn response<F: ErrorFormat<Bytes>>(&self, keys: &ApiKeys<F>) -> (StatusCode, Value) {
        let mut status = self.status;
        let mut write = |data: Value, next: Option<&str>, broken: Vec<KeyId>| {
            let next_cursor = next.map(str::to_owned);
            let response: Response<Bytes> =
                keys.success(&Success { status: self.status, data, next_cursor, broken });
            status = response.status();
            serde_json::from_slice(response.body()).unwrap_or_default()
        };
        let mut schemas = Vec::new();
        for answer in self.answers {
            let (name, bodies): (_, Vec<Value>) = match *answer {
                Answer::Plain(name) => (name, vec![stand_in(name)]),
                Answer::One(name) => (name, vec![write(stand_in(name), None, Vec::new())]),
                Answer::Several(name) => {
                    let last = write(json!([stand_in(name)]), None, Vec::new());
                    let broken = "x9Kd2LmQ".parse().into_iter().collect();
                    (name, vec![last, write(json!([stand_in(name)]), Some("x9Kd2LmQ"), broken)])
                }
            };
            let mut schema = schema::of(&bodies);
            replace(&mut schema, &schema::of([&stand_in(name)]), &reference(name));
            schemas.push(schema);
        }
        let schema = match <[Value; 1]>::try_from(schemas) {
            Ok([only]) => only,
            Err(several) => json!({ "anyOf": several }),
        };
        (status, json!({ "description": "Done.", "content": { "application/json": { "schema": schema } } }))
    }
}

impl Failure {
    fn example(self) -> ManageError {
        match self {
            Self::Invalid => ManageError::Invalid(vec![FieldError::new("name", "must not be empty")]),
            Self::Forbidden => Forbidden::SecretRetired.into(),
            Self::NotFound => ManageError::NotFound,
            Self::Overtaken => ManageError::Overtaken,
            Self::Unavailable => StoreError::new(StoreErrorKind::Unavailable).into(),
        }
    }
}

fn parameter(&(name, place, schema): &Parameter) -> Value {
    let schema: Value = serde_json::from_str(schema).unwrap_or_default();
    json!({ "name": name, "in": place, "required": place == "path", "schema": schema })
}

/// In place of what has the schema `name`, so that it is found in what the error format makes of it.
fn stand_in(name: &str) -> Value {
    json!({ name: "" })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn replace(value: &mut Value, from: &Value, to: &Value) {
    if value == from {
        *value = to.clone();
        return;
    }
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace(item, from, to)),
        Value::Object(members) => members.values_mut().for_each(|member| replace(member, from, to)),
        _ => {}
    }
}

/// The schemas of what our routes take and give, by name.
fn schemas() -> Map<String, Value> {
    serde_json::from_str(include_str!("schemas.json")).unwrap_or_default()
}
