//! The responses to rejected requests, as the assembly's error format writes them.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, Response};
use serde_json::{Map, Value, json};

use super::schema;
use crate::ApiKeys;
use crate::middleware::Requirements;
use crate::rejection::{ErrorFormat, ErrorKind, reject};
use crate::request::{RequestId, RequestView};
use crate::route::Route;

/// The responses of one status.
#[derive(Default)]
pub(super) struct Responses {
    /// A sentence for each kind of error.
    descriptions: Vec<&'static str>,
    headers: Map<String, Value>,
    /// The bodies by content type, each with the code of the first reason that has it.
    bodies: BTreeMap<String, Vec<(&'static str, Value)>>,
    /// Whether one of them reports limits.
    pub(super) reports_limits: bool,
}

/// What rejected requests to `route` are answered with, by status.
pub(super) fn of_rejections<F: ErrorFormat<Bytes>>(
    keys: &ApiKeys<F>,
    route: &Route,
    requirements: &Requirements<'_>,
) -> BTreeMap<u16, Responses> {
    let request = example_request(route, keys.gives_request_ids());
    let mut by_status = BTreeMap::<u16, Responses>::new();
    for rejection in &requirements.rejections {
        let response: Response<Bytes> = reject(rejection, keys, RequestView::of(&request), false);
        let responses = by_status.entry(response.status().as_u16()).or_default();
        responses.add(rejection.kind(), rejection.reason().code(), &response);
        responses.reports_limits |= requirements.reports_limits(rejection);
    }
    by_status
}

/// A request to a route, as formats of errors see it.
pub(super) fn example_request(route: &Route, has_id: bool) -> Request<()> {
    let mut request = Request::new(());
    *request.method_mut() = route.method().cloned().unwrap_or(Method::GET);
    // Braces are no characters of a path.
    let path: String = route.pattern().chars().filter(|c| !matches!(c, '{' | '}')).collect();
    *request.uri_mut() = path.parse().unwrap_or_default();
    if has_id {
        request.extensions_mut().insert(RequestId::example());
    }
    request
}

impl Responses {
    /// Adds the response to an error with this code.
    pub(super) fn add(&mut self, kind: ErrorKind, code: &'static str, response: &Response<Bytes>) {
        let sentence = kind.message();
        if !self.descriptions.contains(&sentence) {
            self.descriptions.push(sentence);
        }
        self.add_headers(response.headers());
        let body = response.body();
        if body.is_empty() {
            return;
        }
        let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let body = serde_json::from_slice(body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()));
        let bodies = self.bodies.entry(content_type.unwrap_or("application/octet-stream").to_owned());
        let bodies = bodies.or_default();
        if bodies.iter().all(|(_, other)| *other != body) {
            bodies.push((code, body));
        }
    }

    /// Those that tell a client something that its HTTP library does not see to.
    fn add_headers(&mut self, headers: &HeaderMap) {
        for name in headers.keys() {
            if [ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE].contains(name) {
                continue;
            }
            let lines: Vec<_> = headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
            let text = lines.join(", ");
            self.headers.entry(field_name(name.as_str())).or_insert_with(|| match text.parse::<u64>() {
                Ok(number) => json!({ "schema": { "type": "integer" }, "example": number }),
                Err(_) => json!({ "schema": { "type": "string" }, "example": text }),
            });
        }
    }

    /// As a component, with further header fields.
    pub(super) fn into_component(mut self, further: Map<String, Value>) -> Value {
        self.headers.extend(further);
        let mut response = json!({ "description": self.descriptions.join(" ") });
        if !self.headers.is_empty() {
            response["headers"] = Value::Object(self.headers);
        }
        if !self.bodies.is_empty() {
            let content: Map<_, _> =
                self.bodies.into_iter().map(|(name, bodies)| (name, media_type(bodies))).collect();
            response["content"] = Value::Object(content);
        }
        response
    }
}

fn media_type(bodies: Vec<(&'static str, Value)>) -> Value {
    let schema = schema::of(bodies.iter().map(|(_, body)| body));
    let mut examples = Map::new();
    for (code, body) in bodies {
        // Two bodies of one reason: that of another limit, say.
        let mut name = code.to_owned();
        for number in 2.. {
            if !examples.contains_key(&name) {
                break;
            }
            name = format!("{code}_{number}");
        }
        examples.insert(name, json!({ "value": body }));
    }
    json!({ "schema": schema, "examples": examples })
}

/// `Retry-After` of `retry-after`, as documents write it.
pub(super) fn field_name(name: &str) -> String {
    let words = name.split('-').map(|word| match word {
        "www" => "WWW".to_owned(),
        "id" => "ID".to_owned(),
        "ratelimit" => "RateLimit".to_owned(),
        _ => word[..1].to_ascii_uppercase() + &word[1..],
    });
    words.collect::<Vec<_>>().join("-")
}
