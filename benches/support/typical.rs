//! All of the work as it is often written for axum: one middleware function, maps behind locks, names and numbers of header
//! fields made from texts each time. The limit is a fixed window.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sha2::{Digest, Sha256};
use tower::ServiceBuilder;

use super::{Inner, KEYS, Stack, TYPICAL, good_keys, key};

pub(crate) fn stack(limit: u32) -> Stack {
    // axum's middleware takes its own body only.
    let with_body = |request: super::Request| request.map(|()| Body::empty());
    let state = Keys::new(limit);
    let service =
        ServiceBuilder::new().map_request(with_body).layer(from_fn_with_state(state, check)).service(Inner);
    Stack::new(TYPICAL, StatusCode::OK, service, good_keys())
}

/// A day.
const WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Clone)]
pub(crate) struct Keys {
    records: Arc<RwLock<HashMap<[u8; 32], Arc<Record>>>>,
    windows: Arc<Mutex<HashMap<String, Window>>>,
    limit: u32,
}

/// Also what the handler is given.
struct Record {
    id: String,
    organization: String,
    scopes: Vec<String>,
    expires_at: SystemTime,
}

struct Window {
    start: SystemTime,
    count: u32,
}

impl Keys {
    pub(crate) fn new(limit: u32) -> Self {
        let expires_at = SystemTime::now() + 365 * WINDOW;
        let record = |index| {
            Arc::new(Record {
                id: format!("{index:016}"),
                organization: "acme".into(),
                scopes: ["runs:read", "workflows:read", "workflows:write"].map(String::from).into(),
                expires_at,
            })
        };
        let records = (0..KEYS).map(|index| (Sha256::digest(key(index)).into(), record(index))).collect();
        Self { records: Arc::new(RwLock::new(records)), windows: Arc::default(), limit }
    }

    /// What remains and when the window ends, if there was any left.
    fn count(&self, id: &str, now: SystemTime) -> Option<(u32, SystemTime)> {
        let mut windows = self.windows.lock().unwrap();
        let window = windows.entry(id.to_owned()).or_insert(Window { start: now, count: 0 });
        if now >= window.start + WINDOW {
            *window = Window { start: now, count: 0 };
        }
        let remaining = self.limit.checked_sub(window.count + 1)?;
        window.count += 1;
        Some((remaining, window.start + WINDOW))
    }
}

pub(crate) async fn check(State(keys): State<Keys>, mut request: Request, next: Next) -> Response {
    let Some(key) = request.headers().get("x-api-key").and_then(|value| value.to_str().ok()) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let digest: [u8; 32] = Sha256::digest(key).into();
    let Some(record) = keys.records.read().unwrap().get(&digest).cloned() else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    let now = SystemTime::now();
    if record.expires_at <= now {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let Some((remaining, end)) = keys.count(&record.id, now) else {
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    };
    if record.organization != "acme" || !record.scopes.iter().any(|scope| scope == "workflows:read") {
        return StatusCode::FORBIDDEN.into_response();
    }
    request.extensions_mut().insert(record);
    let mut response = next.run(request).await;
    let reset = end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let headers = response.headers_mut();
    headers.insert("x-ratelimit-limit", keys.limit.to_string().parse().unwrap());
    headers.insert("x-ratelimit-remaining", remaining.to_string().parse().unwrap());
    headers.insert("x-ratelimit-reset", reset.to_string().parse().unwrap());
    response
}
