//! What the benches drive: this crate's layers and what they are compared with, each around the same inner service. The
//! allocation test counts the same stacks, so the peers, which it has no use for, are in a module that benches add.
//!
//! Two stacks are written by hand: [`ideal`] does this one case and nothing else, [`honest`] also keeps what this crate
//! promises to clients. The latter is the yardstick.
//!
//! Every stack is driven as tower services are: clone a request with five header fields, `poll_ready`, `call`, poll the
//! future, read the status, drop the response. That frame is what the row `inner service alone` costs; take it off to
//! get what a stack adds. 256 keys take turns, out of 10 000 stored, so records and windows come from the nearer caches.
#![allow(dead_code, reason = "each bench uses its own part")]
#![allow(clippy::unwrap_used, reason = "a failing setup is a failing bench")]

pub(crate) mod honest;
pub(crate) mod ideal;
#[cfg(feature = "presets")]
pub(crate) mod limits;
#[cfg(feature = "presets")]
pub(crate) mod own;
pub(crate) mod typical;

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use http::header::{ACCEPT, ACCEPT_ENCODING, HOST, USER_AGENT};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use tower::Service;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{KeyRecord, KeyState, Mode, Owner, Peppers};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{KeyAdministration, MemoryStore};

pub(crate) type Request = http::Request<()>;

pub(crate) const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

pub(crate) const KEYS: usize = 10_000;
pub(crate) const IN_TURN: usize = 256;

/// A service with the requests that are sent to it in turn.
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    send: Box<dyn FnMut() -> StatusCode>,
}

impl Stack {
    /// Sends every request twice, so that what follows is the steady state: a limit of one is used up, every caller has
    /// a window, and every answer has the status that is looked for.
    pub(crate) fn new<S>(
        name: &'static str,
        status: StatusCode,
        mut service: S,
        requests: Vec<Request>,
    ) -> Self
    where
        S: Service<Request, Response = Response<Body>, Error = Infallible> + 'static,
    {
        let count = requests.len();
        let mut turns = (0..count).cycle();
        let mut send = move || {
            let mut context = Context::from_waker(Waker::noop());
            let request = requests[turns.next().unwrap()].clone();
            assert!(service.poll_ready(&mut context).is_ready());
            match pin!(service.call(request)).poll(&mut context) {
                Poll::Ready(Ok(response)) => response.status(),
                Poll::Pending => panic!("nothing here waits"),
            }
        };
        for _ in 0..count {
            send();
        }
        assert!((0..count).all(|_| send() == status), "{name} does not answer {status}");
        Self { name, send: Box::new(send) }
    }

    pub(crate) fn send(&mut self) -> StatusCode {
        (self.send)()
    }
}

pub(crate) const BASELINE: &str = "inner service alone";
pub(crate) const WHOLE: &str = "whole stack, accepted";
pub(crate) const WHOLE_WITHOUT_IETF_FIELDS: &str = "whole stack without IETF fields, accepted";
pub(crate) const IDEAL: &str = "written by hand";
pub(crate) const HONEST: &str = "written by hand, honest";
pub(crate) const TYPICAL: &str = "peer: axum from_fn, all the work";
pub(crate) const ASSEMBLED: &str = "peers: async auth, sha256 + tower_governor";

/// This crate's stacks and those written by hand, the baseline first.
#[cfg(feature = "presets")]
pub(crate) fn stacks(limit: u32) -> Vec<Stack> {
    let mut stacks = own::stacks(limit);
    stacks.push(ideal::stack(limit));
    stacks.extend(honest::stacks(limit));
    stacks.push(typical::stack(limit));
    stacks
}

/// Answers at once with an empty 200.
#[derive(Clone, Copy)]
pub(crate) struct Inner;

impl<B> Service<http::Request<B>> for Inner {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<B>) -> Self::Future {
        ready(Ok(Response::new(Body::empty())))
    }
}

pub(crate) fn key(index: usize) -> String {
    format!("wfk_{index:032}")
}

/// The first `IN_TURN` keys are good, the next are revoked, those after them lack the scope.
pub(crate) fn store() -> MemoryStore {
    let store = MemoryStore::new();
    for index in 0..KEYS {
        let owner = Owner::organization("acme".parse().unwrap(), Mode::Live);
        let id = format!("{index:016}").parse().unwrap();
        let mut record = KeyRecord::new(id, owner, Peppers::none().digest(&key(index)), START);
        record.scopes = ScopeSet::parse_list(["runs:read", "workflows:read", "workflows:write"]).unwrap();
        match index / IN_TURN {
            1 => record.state = KeyState::Revoked { at: START },
            2 => record.scopes = ScopeSet::parse_list(["runs:read"]).unwrap(),
            _ => {}
        }
        at_once(store.insert(record, None)).unwrap();
    }
    store
}

pub(crate) const START: Timestamp = Timestamp::from_unix_seconds(1_702_531_200);

pub(crate) fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

pub(crate) fn request(key: Option<String>) -> Request {
    let mut request = http::Request::get("/workflows/wf_8Qm2").body(()).unwrap();
    let headers = request.headers_mut();
    headers.insert(HOST, HeaderValue::from_static("api.justpaid.io"));
    headers.insert(USER_AGENT, HeaderValue::from_static("justpaid-node/3.2.1"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"));
    if let Some(key) = key {
        headers.insert(X_API_KEY, key.parse().unwrap());
    }
    request
}

fn requests(keys: impl Iterator<Item = String>) -> Vec<Request> {
    keys.map(|key| request(Some(key))).collect()
}

pub(crate) fn good_keys() -> Vec<Request> {
    requests((0..IN_TURN).map(key))
}

fn revoked_keys() -> Vec<Request> {
    requests((IN_TURN..2 * IN_TURN).map(key))
}

pub(crate) fn keys_without_scope() -> Vec<Request> {
    requests((2 * IN_TURN..3 * IN_TURN).map(key))
}

pub(crate) fn unknown_keys() -> Vec<Request> {
    requests((KEYS..KEYS + IN_TURN).map(key))
}

/// Good but for the last character.
pub(crate) fn malformed_keys() -> Vec<Request> {
    requests((0..IN_TURN).map(|index| key(index).split_at(35).0.to_owned() + "-"))
}
