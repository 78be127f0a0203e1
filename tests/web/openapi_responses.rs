//! Real responses are compared with those of the document.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::credential::SessionTokens;
use tower_api_keys::identity::OrganizationRule;
use tower_api_keys::key::{KeyFormat, Mode, Owner};
use tower_api_keys::manage::KeyManager;
use tower_api_keys::presets::{justpaid, pasby, payment_gateway, paymongo};
use tower_api_keys::{
    Access, ApiKeysBuilder, Authority, ErrorFormat, JsonErrors, MemoryStore, NewKey, Quota, RateLimit,
};

use crate::openapi::{document, document_of};
use crate::support::{Answers, TestStore, acme, assembly, format, whoami};

/// The header fields that carry a key.
type Fields = fn(&str) -> Vec<(&'static str, String)>;

fn header(key: &str) -> Vec<(&'static str, String)> {
    vec![("x-api-key", key.to_owned())]
}

fn bearer(key: &str) -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {key}"))]
}

fn basic(key: &str) -> Vec<(&'static str, String)> {
    let value = format!("Basic {}", STANDARD.encode(format!("{key}:")));
    vec![("authorization", value), ("organization-id", "acme".to_owned())]
}

/// Makes keys that are used from one address, or from another.
async fn key(store: &MemoryStore, format: KeyFormat, owner: Owner, scopes: &[&str], address: &str) -> String {
    let mut key = NewKey::new("key").scopes(scopes);
    key.allowed_addresses = vec![address.parse().unwrap()];
    let manager = KeyManager::new(store.clone(), format);
    let made = manager.create(&Authority::operator(owner), key).await.unwrap();
    made.secret.expose_secret().to_owned()
}

/// Compares the answers to requests to every operation. All statuses that are documented have to be seen.
async fn compare<F: ErrorFormat<Bytes>>(
    name: &str,
    build: impl Fn(TestStore) -> ApiKeysBuilder<F>,
    operations: Option<Value>,
    format: KeyFormat,
    fields: Fields,
) {
    let good = |memory: &MemoryStore| build(TestStore::new(memory.clone(), Answers::AtOnce)).build().unwrap();
    let keys = good(&MemoryStore::new());
    let mut document = operations.unwrap_or_else(|| document_of(&keys));
    keys.openapi(&mut document).unwrap();
    let (mut documented, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let memory = MemoryStore::new();
            let keys = good(&memory);
            let down = build(TestStore::new(memory.clone(), Answers::WithAnError)).build().unwrap();
            documented.extend(operation["responses"].as_object().unwrap().keys().cloned());
            let scopes: Vec<_> = operation["x-required-scopes"].as_array().into_iter().flatten().collect();
            let scopes: Vec<_> = scopes.into_iter().filter_map(Value::as_str).collect();
            let here = "192.0.2.0/24";
            let make =
                async |owner, scopes: &[&str], from| key(&memory, format.clone(), owner, scopes, from).await;
            let able = make(acme(), &scopes, here).await;
            let powerless = make(acme(), &[], here).await;
            let elsewhere = make(acme(), &scopes, "198.51.100.0/24").await;
            let of_system = make(Owner::system(Mode::Live), &scopes, here).await;
            let unknown = format.generate(Mode::Live).unwrap().secret;
            let with = |key: &str, name, value: &str| {
                let mut fields = fields(key);
                fields.retain(|(other, _)| *other != name);
                fields.push((name, value.to_owned()));
                fields
            };
            let concrete = path.replace("{orgId}", "acme");
            let concrete = concrete.replace(['{', '}'], "");
            let other = path.replace("{orgId}", "globex").replace(['{', '}'], "");
            let mut known = BTreeSet::new();
            let mut attempts = vec![
                (&keys, &concrete, vec![]),
                (&keys, &concrete, fields("none")),
                (&keys, &concrete, fields(unknown.expose_secret())),
                (&keys, &concrete, [fields(&able), fields(&able)].concat()),
                (&keys, &concrete, fields(&powerless)),
                (&keys, &concrete, fields(&elsewhere)),
                (&keys, &concrete, fields(&of_system)),
                (&keys, &concrete, with(&able, "x-access-secret", "none")),
                (&keys, &concrete, with(&able, "organization-id", "globex")),
                (&keys, &concrete, with(&able, "organization-id", "")),
                (&keys, &concrete, with(&able, "x-organization-id", "globex")),
                (&keys, &other, fields(&able)),
                (&down, &concrete, fields(&able)),
            ];
            attempts.extend((0..101).map(|_| (&keys, &concrete, fields(&able))));
            attempts.extend((0..9).map(|_| (&keys, &concrete, fields(unknown.expose_secret()))));
            for (keys, path, fields) in attempts {
                let mut request = Request::builder().method(&*method.to_ascii_uppercase()).uri(path);
                for (name, value) in &fields {
                    request = request.header(*name, value);
                }
                let request = request.header("x-request-id", "k7Jc0qWvTz4n8XsB");
                let mut request = request.body(()).unwrap();
                request.extensions_mut().insert(PeerAddress("192.0.2.7".parse().unwrap()));
                let response = keys.layer().layer(service_fn(whoami)).oneshot(request).await.unwrap();
                seen.insert(response.status().as_u16().to_string());
                if let Err(difference) = is_documented(&document, operation, &response, &mut known) {
                    panic!("{name}: {method} {path} with {fields:?}: {difference}: {response:?}");
                }
            }
        }
    }
    assert_eq!(seen, documented, "{name}");
}

/// `known` are the bodies that have been validated.
fn is_documented(
    document: &Value,
    operation: &Value,
    response: &Response<Bytes>,
    known: &mut BTreeSet<Bytes>,
) -> Result<(), String> {
    let resolve = |value: &Value| match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap().clone(),
        None => value.clone(),
    };
    let documented = operation["responses"].get(response.status().as_str());
    let documented = resolve(documented.ok_or("the status is not documented")?);
    let fields = documented["headers"].as_object();
    for name in response.headers().keys() {
        let is_it = |other: &String| other.eq_ignore_ascii_case(name.as_str());
        let is_plain = ["content-type", "cache-control"].contains(&name.as_str());
        if !is_plain && !fields.is_some_and(|fields| fields.keys().any(is_it)) {
            return Err(format!("{name} is not documented"));
        }
    }
    if response.status().is_success() {
        return Ok(());
    }
    let content_type = response.headers()["content-type"].to_str().unwrap();
    let media = documented["content"].get(content_type).ok_or("the content type is not documented")?;
    let text = std::str::from_utf8(response.body()).unwrap();
    let body = serde_json::from_str(text).unwrap_or_else(|_| json!(text));
    let examples = media["examples"].as_object().unwrap();
    if !examples.values().any(|example| example["value"] == body) {
        return Err(format!("the body is no example of {examples:?}"));
    }
    if known.insert(response.body().clone()) { is_valid(&media["schema"], "", &body) } else { Ok(()) }
}

/// Whether a value meets the schema at this place of a document.
pub(crate) fn is_valid(document: &Value, at: &str, value: &Value) -> Result<(), String> {
    let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
    compiler.add_resource("document.json", document.clone()).map_err(|error| error.to_string())?;
    let at = format!("document.json#{at}");
    let index = compiler.compile(&at, &mut schemas).map_err(|error| format!("{error:#}"))?;
    schemas.validate(value, index).map_err(|error| error.to_string())
}

#[tokio::test]
async fn rejected_requests_get_what_the_documents_of_presets_say() {
    let minute = std::time::Duration::from_secs(60);
    compare(
        "justpaid",
        |store| justpaid::justpaid(store).limits(justpaid::limits(9, 9, 9, 9, minute).unwrap()),
        None,
        justpaid::key_format(),
        header,
    )
    .await;
    let operations = document([("GET", "/workflows"), ("POST", "/workflows/{id}/execute")]);
    let with_addresses = |store| paymongo::paymongo(store).client_address(ClientAddressSource::peer());
    compare("paymongo", with_addresses, Some(operations), paymongo::key_format(), basic).await;
    let tokens = SessionTokens::new("signing secret of 32 bytes or more".into()).unwrap();
    compare("pasby", |store| pasby::pasby(store, tokens.clone()), None, pasby::key_format(), header).await;
    compare(
        "payment gateway",
        |store| payment_gateway::payment_gateway(store).client_address(ClientAddressSource::peer()),
        None,
        payment_gateway::key_format(),
        bearer,
    )
    .await;
}

#[tokio::test]
async fn rejected_requests_get_what_the_documents_of_small_assemblies_say() {
    let rule = || {
        move |store| {
            let keys: ApiKeysBuilder = assembly(store);
            keys.client_address(ClientAddressSource::peer())
                .route("GET", "/runs/{id}", "runs:read")
                .route("POST", "/runs", Access::AnyKey)
                .public("GET", "/health")
        }
    };
    let quota = || Quota::per_minute(20).unwrap();
    compare("plain", rule(), None, format(), header).await;
    compare(
        "limits of addresses and keys",
        |store| {
            let keys = rule()(store).ietf_rate_limit_fields().request_ids();
            keys.limit(RateLimit::per_address("address", Quota::per_minute(60).unwrap()))
                .limit(RateLimit::per_key("key", quota()).without_route("POST", "/runs"))
        },
        None,
        format(),
        header,
    )
    .await;
    compare(
        "a throttle, an organization and errors of one's own",
        |store| {
            rule()(store)
                .throttle_bad_credentials(Quota::per_minute(5).unwrap())
                .organization(OrganizationRule::named_in("organization-id").optional())
                .errors(JsonErrors::new(|error| {
                    let limit = error.rate_limit().map(|limited| limited.quota.limit());
                    json!({ "error": { "code": error.code(), "limit": limit, "path": error.request().uri.path() } })
                }))
        },
        None,
        format(),
        header,
    )
    .await;
}
