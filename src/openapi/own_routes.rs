//! The operations of the crate's own routes.

use bytes::Bytes;
use http::{Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::document::Document;
use super::operation::Operation;
use super::operations::routes;
use super::responses::{self, example_request};
use super::{OpenApiError, schema};
use crate::ApiKeys;
use crate::key::KeyId;
use crate::manage::{Forbidden, ManageError};
use crate::rejection::{ErrorFormat, FieldError, Success, fail};
use crate::request::RequestView;
use crate::store::{StoreError, StoreErrorKind};

/// The routes that this crate serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OwnRoutes {
    /// [`ApiKeys::key_routes`], nested at the path.
    Keys,
    /// [`ApiKeys::whoami_route`].
    Whoami,
    /// [`ApiKeys::limits_route`].
    Limits,
    /// [`ApiKeys::health_route`].
    Health,
}

/// An operation of ours.
struct OwnOperation {
    method: &'static str,
    /// Below the path of the routes.
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: &'static [Parameter],
    /// The schema of the body, if it has one, and whether it is required.
    body: Option<(&'static str, bool)>,
    status: StatusCode,
    /// What the answer may hold: one of these.
    answers: &'static [Answer],
    has_entity_tag: bool,
    errors: &'static [Failure],
}

/// A parameter: its name, its place, and its schema in JSON.
type Parameter = (&'static str, &'static str, &'static str);

/// What an answer holds, by the name of its schema.
enum Answer {
    One(&'static str),
    Several(&'static str),
    /// In JSON that the error format has no part in.
    Plain(&'static str),
}

/// How a call fails that the checks have accepted.
#[derive(Clone, Copy)]
enum Failure {
    Invalid,
    Forbidden,
    NotFound,
    Overtaken,
    Unavailable,
}

const ID: Parameter = ("key_id", "path", r#"{"type":"string"}"#);
const LIMIT: Parameter = ("limit", "query", r#"{"type":"integer","minimum":1,"maximum":1000,"default":100}"#);
const CURSOR: Parameter = ("cursor", "query", r#"{"type":"string"}"#);
const DAYS: &str = r#"{"type":"integer","minimum":0,"maximum":4294967295}"#;
const STATUS: &str = r#"{"type":"string","enum":["active","not_yet_valid","disabled","expired","revoked"]}"#;
const LISTING: &[Parameter] = &[
    LIMIT,
    CURSOR,
    ("olderThanDays", "query", DAYS),
    ("expiresWithinDays", "query", DAYS),
    ("unusedForDays", "query", DAYS),
    ("createdBy", "query", r#"{"type":"string"}"#),
    ("status", "query", STATUS),
    ("scope", "query", r##"{"$ref":"#/components/schemas/ApiKeyScope"}"##),
    ("namePrefix", "query", r#"{"type":"string"}"#),
];
const DESCENDANTS: Parameter = ("descendants", "query", r#"{"type":"boolean","default":false}"#);

const READ: OwnOperation = OwnOperation {
    method: "get",
    path: "",
    id: "",
    summary: "",
    parameters: &[],
    body: None,
    status: StatusCode::OK,
    answers: &[],
    has_entity_tag: false,
    errors: &[],
};

const OF_ONE: &[Failure] = &[Failure::Invalid, Failure::Forbidden, Failure::NotFound, Failure::Unavailable];

const KEYS: &[OwnOperation] = &[
    OwnOperation {
        id: "listApiKeys",
        summary: "List API keys, oldest first",
        parameters: LISTING,
        answers: &[Answer::Several("ApiKey")],
        errors: &[Failure::Invalid, Failure::Forbidden, Failure::Unavailable],
        ..READ
    },
    OwnOperation {
        method: "post",
        id: "createApiKey",
        summary: "Create an API key",
        body: Some(("NewApiKey", true)),
        status: StatusCode::CREATED,
        answers: &[Answer::One("ApiKeyWithSecret")],
        errors: &[Failure::Invalid, Failure::Forbidden, Failure::Unavailable],
        ..READ
    },
    OwnOperation {
        path: "/{key_id}",
        id: "getApiKey",
        summary: "Show an API key",
        parameters: &[ID],
        answers: &[Answer::One("ApiKey")],
        has_entity_tag: true,
        errors: &[Failure::Forbidden, Failure::NotFound, Failure::Unavailable],
        ..READ
    },
    OwnOperation {
        method: "patch",
        path: "/{key_id}",
        id: "updateApiKey",
        summary: "Change an API key",
        parameters: &[ID, ("If-Match", "header", r#"{"type":"string"}"#)],
        body: Some(("ApiKeyChange", true)),
        answers: &[Answer::One("ApiKey")],
        has_entity_tag: true,
        errors: &[
            Failure::Invalid,
            Failure::Forbidden,
            Failure::NotFound,
            Failure::Overtaken,
            Failure::Unavailable,
        ],
        ..READ
    },
    OwnOperation {
        method: "delete",
        path: "/{key_id}",
        id: "deleteApiKey",
        summary: "Delete or revoke an API key",
        parameters: &[ID, DESCENDANTS],
        answers: &[Answer::One("EndedApiKey"), Answer::One("ApiKey"), Answer::Several("ApiKey")],
        errors: OF_ONE,
        ..READ
    },
    OwnOperation {
        method: "post",
        path: "/{key_id}/revoke",
        id: "revokeApiKey",
        summary: "Revoke an API key",
        parameters: &[ID, DESCENDANTS],
        answers: &[Answer::One("ApiKey"), Answer::One("EndedApiKey"), Answer::Several("ApiKey")],
        errors: OF_ONE,
        ..READ
    },
    OwnOperation {
        method: "post",
        path: "/{key_id}/rotate",
        id: "rotateApiKey",
        summary: "Give an API key a new secret",
        parameters: &[ID],
        body: Some(("ApiKeyRotation", false)),
        answers: &[Answer::One("ApiKeyWithSecret")],
        errors: OF_ONE,
        ..READ
    },
    OwnOperation {
        path: "/{key_id}/history",
        id: "getApiKeyHistory",
        summary: "Show what was done to an API key, the newest first",
        parameters: &[ID, LIMIT, CURSOR],
        answers: &[Answer::Several("ApiKeyEvent")],
        errors: OF_ONE,
        ..READ
    },
];

const WHOAMI: &[OwnOperation] = &[OwnOperation {
    id: "whoami",
    summary: "Show the caller",
    answers: &[Answer::One("ApiKeyCaller")],
    ..READ
}];

const LIMITS: &[OwnOperation] = &[OwnOperation {
    id: "listLimits",
    summary: "Show what is left of the caller's limits",
    answers: &[Answer::Several("ApiKeyLimitState")],
    errors: &[Failure::Unavailable],
    ..READ
}];

const HEALTH: &[OwnOperation] = &[OwnOperation {
    id: "getApiKeysHealth",
    summary: "Show whether keys and limits work",
    answers: &[Answer::Plain("ApiKeysHealth")],
    ..READ
}];

impl<F: ErrorFormat<Bytes>> ApiKeys<F> {
    /// Adds the operations of routes that this crate serves at `path`, with their schemas, to an OpenAPI document: those that
    /// a rule covers. What is there already is kept. Goes before [`openapi`](Self::openapi).
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
    #[cfg_attr(docsrs, doc(cfg(feature = "axum")))]
    pub fn openapi_routes<D: Serialize + DeserializeOwned>(
        &self,
        document: &mut D,
        own: OwnRoutes,
        path: &str,
    ) -> Result<(), OpenApiError> {
        let operations = match own {
            OwnRoutes::Keys => KEYS,
            OwnRoutes::Whoami => WHOAMI,
            OwnRoutes::Limits => LIMITS,
            OwnRoutes::Health => HEALTH,
        };
        let mut completed = Document::read(document)?;
        let servers = completed.get("servers").cloned();
        for own in operations {
            let path = format!("{path}{}", own.path);
            let Ok(method) = own.method.to_ascii_uppercase().parse() else { continue };
            let routes = routes(&method, &path, servers.as_ref());
            let Some((route, requirements)) =
                routes.into_iter().find_map(|route| Some((route.clone(), self.requirements(&route)?)))
            else {
                continue;
            };
            let mut operation = Operation::new(own.describe(self));
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
    fn describe<F: ErrorFormat<Bytes>>(&self, keys: &ApiKeys<F>) -> Map<String, Value> {
        let (status, mut response) = self.response(keys);
        if self.has_entity_tag {
            let field = json!({ "schema": { "type": "string" }, "description": "The version of the key." });
            response["headers"] = json!({ "ETag": field });
        }
        let mut operation = Map::new();
        operation.insert("operationId".to_owned(), self.id.into());
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
        operation.insert("responses".to_owned(), json!({ status.as_str(): response }));
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
