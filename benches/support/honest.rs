//! The work written by hand as in [`ideal`](super::ideal), with what this crate promises to clients and operators kept: the
//! key stays out of logs, two lines of its field are rejected, every response that is not for shared caches says so, and
//! every rejection has a body and the fields that belong to it. Still one case and nothing else: no choice of store, format,
//! clock or algorithm, one scope for every route, a limit in two buckets.

use std::convert::Infallible;
use std::future::Future;
use std::hash::BuildHasherDefault;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use sha2::{Digest, Sha256};
use tower::{Layer, Service};

use super::ideal::{FirstBytes, LIMIT, READ, REMAINING, RESET, Record, WINDOW, same};
use super::{
    HONEST, IN_TURN, Inner, KEYS, Stack, X_API_KEY, good_keys, key, keys_without_scope, malformed_keys,
    request, unknown_keys,
};

/// The good key, then each way to be rejected.
pub(crate) fn stacks(limit: u32) -> Vec<Stack> {
    const UNAUTHORIZED: StatusCode = StatusCode::UNAUTHORIZED;
    let generous = HonestLayer::new(limit);
    let strict = HonestLayer::new(1);
    let stack = |name, status, requests| Stack::new(name, status, generous.layer(Inner), requests);
    vec![
        stack(HONEST, StatusCode::OK, good_keys()),
        stack("honest: no credential, 401", UNAUTHORIZED, vec![request(None)]),
        stack("honest: malformed key, 401", UNAUTHORIZED, malformed_keys()),
        stack("honest: unknown key, 401", UNAUTHORIZED, unknown_keys()),
        Stack::new(
            "honest: over the limit, 429",
            StatusCode::TOO_MANY_REQUESTS,
            strict.layer(Inner),
            good_keys(),
        ),
        stack("honest: scope missing, 403", StatusCode::FORBIDDEN, keys_without_scope()),
    ]
}

#[derive(Clone)]
pub(crate) struct HonestLayer {
    state: Arc<State>,
}

#[derive(Clone)]
pub(crate) struct Honest<S> {
    state: Arc<State>,
    inner: S,
}

impl HonestLayer {
    pub(crate) fn new(limit: u32) -> Self {
        Self { state: Arc::new(State::new(limit)) }
    }
}

impl<S> Layer<S> for HonestLayer {
    type Service = Honest<S>;

    fn layer(&self, inner: S) -> Honest<S> {
        Honest { state: self.state.clone(), inner }
    }
}

struct State {
    keys: papaya::HashMap<[u8; 32], Arc<Record>, BuildHasherDefault<FirstBytes>>,
    /// Numbers as they are written, ready to be cloned.
    numbers: Vec<HeaderValue>,
    /// Written anew once a second, say.
    reset: HeaderValue,
    start: Instant,
}

/// The values of the limit's three fields.
type Fields = [HeaderValue; 3];

enum Rejected {
    Unauthenticated,
    /// More than one credential.
    Ambiguous,
    /// With the seconds until there is room again.
    RateLimited(Fields, u64),
    Forbidden(Fields),
}

impl State {
    fn new(limit: u32) -> Self {
        let keys = papaya::HashMap::with_capacity_and_hasher(KEYS, BuildHasherDefault::default());
        for index in 0..KEYS {
            let digest: [u8; 32] = Sha256::digest(key(index)).into();
            let record = Record {
                digest,
                organization: 7,
                scopes: if index / IN_TURN == 2 { 0 } else { READ },
                expires_at: u64::MAX,
                limit,
                limit_field: limit.into(),
                window: AtomicU64::new(0),
            };
            keys.pin().insert(digest, Arc::new(record));
        }
        let numbers = (0..100_000_u32).map(HeaderValue::from).collect();
        Self { keys, numbers, reset: HeaderValue::from_static("1702617600"), start: Instant::now() }
    }

    #[expect(clippy::result_large_err, reason = "what is accepted is as large")]
    fn check(&self, headers: &mut HeaderMap) -> Result<(Arc<Record>, Fields), Rejected> {
        let key = headers.get_mut(X_API_KEY).ok_or(Rejected::Unauthenticated)?;
        key.set_sensitive(true);
        if headers.len() > headers.keys_len() && headers.get_all(X_API_KEY).iter().nth(1).is_some() {
            headers
                .iter_mut()
                .filter(|(name, _)| *name == X_API_KEY)
                .for_each(|(_, line)| line.set_sensitive(true));
            return Err(Rejected::Ambiguous);
        }
        let key = headers[X_API_KEY].as_bytes();
        // Without an early exit the loop is compiled to vector instructions.
        let is_well_formed = key.len() == 36
            && key.starts_with(b"wfk_")
            && key[4..].iter().fold(true, |ok, byte| ok & byte.is_ascii_alphanumeric());
        if !is_well_formed {
            return Err(Rejected::Unauthenticated);
        }
        let digest: [u8; 32] = Sha256::digest(key).into();
        let record = self.keys.pin().get(&digest).cloned().ok_or(Rejected::Unauthenticated)?;
        if !same(&digest, &record.digest) {
            return Err(Rejected::Unauthenticated);
        }
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        if record.expires_at <= now {
            return Err(Rejected::Unauthenticated);
        }
        let Some(remaining) = record.admit(now) else {
            let fields = self.fields(&record, 0);
            // Not before the next window.
            return Err(Rejected::RateLimited(fields, (WINDOW - now % WINDOW).div_ceil(1_000_000_000)));
        };
        let fields = self.fields(&record, remaining);
        if record.organization != 7 || record.scopes & READ == 0 {
            return Err(Rejected::Forbidden(fields));
        }
        Ok((record, fields))
    }

    fn fields(&self, record: &Record, remaining: u32) -> Fields {
        [record.limit_field.clone(), self.number(remaining), self.reset.clone()]
    }

    fn number(&self, number: u32) -> HeaderValue {
        self.numbers.get(number as usize).cloned().unwrap_or_else(|| number.into())
    }
}

impl<S, B> Service<Request<B>> for Honest<S>
where
    S: Service<Request<B>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Answer<S::Future> {
        match self.state.check(request.headers_mut()) {
            Ok((record, fields)) => {
                request.extensions_mut().insert(record);
                Answer::Called { inner: self.inner.call(request), fields: Some(fields) }
            }
            Err(rejected) => Answer::Rejected { response: Some(reject(rejected)) },
        }
    }
}

pin_project! {
    #[project = AnswerProjection]
    pub(crate) enum Answer<F> {
        Called { #[pin] inner: F, fields: Option<Fields> },
        Rejected { response: Option<Response<Body>> },
    }
}

impl<F: Future<Output = Result<Response<Body>, Infallible>>> Future for Answer<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnswerProjection::Called { inner, fields } => {
                let mut response = ready!(inner.poll(context))?;
                let headers = response.headers_mut();
                write(fields.take().unwrap(), headers);
                headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("private"));
                Poll::Ready(Ok(response))
            }
            AnswerProjection::Rejected { response } => Poll::Ready(Ok(response.take().unwrap())),
        }
    }
}

fn write([limit, remaining, reset]: Fields, headers: &mut HeaderMap) {
    headers.insert(LIMIT, limit);
    headers.insert(REMAINING, remaining);
    headers.insert(RESET, reset);
}

#[cold]
fn reject(rejected: Rejected) -> Response<Body> {
    const UNAUTHENTICATED: &str = r#"{"type":"about:blank","title":"Unauthorized","status":401,"code":"unauthenticated","detail":"The credential is missing or not valid."}"#;
    const AMBIGUOUS: &str = r#"{"type":"about:blank","title":"Bad Request","status":400,"code":"ambiguous_credentials","detail":"More than one credential was sent. Send exactly one."}"#;
    const RATE_LIMITED: &str = r#"{"type":"about:blank","title":"Too Many Requests","status":429,"code":"rate_limited","detail":"The rate limit is used up. Try again after the time in Retry-After."}"#;
    const FORBIDDEN: &str = r#"{"type":"about:blank","title":"Forbidden","status":403,"code":"scope_missing","detail":"The key may not do this."}"#;

    let (status, body) = match &rejected {
        Rejected::Unauthenticated => (StatusCode::UNAUTHORIZED, UNAUTHENTICATED),
        Rejected::Ambiguous => (StatusCode::BAD_REQUEST, AMBIGUOUS),
        Rejected::RateLimited(..) => (StatusCode::TOO_MANY_REQUESTS, RATE_LIMITED),
        Rejected::Forbidden(_) => (StatusCode::FORBIDDEN, FORBIDDEN),
    };
    let mut response = Response::new(Body::from(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    match rejected {
        Rejected::Unauthenticated => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(r#"ApiKey header="x-api-key""#));
        }
        Rejected::Ambiguous => {}
        Rejected::RateLimited(fields, seconds) => {
            headers.insert(RETRY_AFTER, seconds.into());
            write(fields, headers);
        }
        // The request was counted.
        Rejected::Forbidden(fields) => write(fields, headers),
    }
    response
}
