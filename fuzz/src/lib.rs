//! What several fuzz targets share.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use serde_json::{Map, Value};
use tower::{Layer, ServiceExt, service_fn};
use tower_api_keys::Principal;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{KeyRecord, Mode, Owner, Peppers};
use tower_api_keys::middleware::ApiKeysLayer;
use tower_api_keys::rejection::Rejection;
use tower_api_keys::store::{KeyAdministration, MemoryStore};

/// The result of a future that does not wait: the memory store answers at once.
pub fn ready<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the memory store made a caller wait"),
    }
}

/// The record of a key of the organization `acme`.
pub fn record(id: &str, text: &str, mode: Mode) -> KeyRecord {
    let owner = Owner::organization("acme".parse().unwrap(), mode);
    KeyRecord::new(id.parse().unwrap(), owner, Peppers::none().digest(text), Timestamp::from_unix_seconds(0))
}

/// A store of these keys.
pub fn store(records: impl IntoIterator<Item = KeyRecord>) -> MemoryStore {
    let store = MemoryStore::new();
    for record in records {
        ready(store.insert(record, None)).unwrap();
    }
    store
}

/// The response of an application behind `layer`: the identifier of the caller's key, or `anonymous`. The caller itself is in
/// its extensions.
pub fn call(layer: &ApiKeysLayer, request: Request<()>) -> Response<Bytes> {
    let whoami = service_fn(async |request: Request<()>| {
        let principal = Principal::from_extensions(request.extensions());
        let name = principal.map_or_else(|| "anonymous".to_owned(), |caller| caller.key_id().to_string());
        let mut response = Response::new(Bytes::from(name));
        if let Some(caller) = principal {
            response.extensions_mut().insert(caller.clone());
        }
        Ok::<_, Infallible>(response)
    });
    match ready(layer.layer(whoami).oneshot(request)) {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The rejection of a response, which the assembly attaches.
pub fn rejection(response: &Response<Bytes>) -> Option<&Rejection> {
    response.extensions().get()
}

/// The names and values of a query (URL standard section 5.1).
pub fn form(query: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (decoded(name), decoded(value))).collect()
}

fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut left = text.as_bytes();
    while let [first, rest @ ..] = left {
        let hex = |range| std::str::from_utf8(rest.get(range)?).ok();
        let code = hex(0..2).filter(|text| text.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let (byte, length) = match (first, code) {
            (b'%', Some(code)) => (u8::from_str_radix(code, 16).unwrap(), 3),
            (b'+', _) => (b' ', 1),
            _ => (*first, 1),
        };
        bytes.push(byte);
        left = &left[length..];
    }
    bytes
}

/// A short word to which there is nothing to object.
pub fn is_plain_word(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// The members of an object, if in no object one is there twice.
pub fn members(body: &str) -> Option<Map<String, Value>> {
    let Value::Object(members) = serde_json::from_str(body).ok()? else { return None };
    // Of valid JSON, a text is a name if a colon follows. Those of an object that has begun are in one set.
    let mut begun: Vec<BTreeSet<String>> = Vec::new();
    let mut left = body;
    while let Some(at) = left.find(['"', '{', '}']) {
        match left.as_bytes()[at] {
            b'"' => {
                let mut texts = serde_json::Deserializer::from_str(&left[at..]).into_iter::<String>();
                let text = texts.next()?.ok()?;
                left = &left[at + texts.byte_offset()..];
                if left.trim_start().starts_with(':') && !begun.last_mut()?.insert(text) {
                    return None;
                }
                continue;
            }
            b'{' => begun.push(BTreeSet::new()),
            _ => drop(begun.pop()),
        }
        left = &left[at + 1..];
    }
    Some(members)
}
