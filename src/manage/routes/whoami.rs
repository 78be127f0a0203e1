//! The caller, as it may see itself.

use std::future::ready;

use axum::body::Body;
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::success;
use crate::identity::{Principal, SecretStatus};
use crate::rejection::ErrorFormat;

pub(crate) fn whoami<S>(errors: impl ErrorFormat<Body> + Clone) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    get(move |caller: Principal| {
        let mut response: Response = errors.success(&success(StatusCode::OK, shown(&caller)));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        ready(response)
    })
}

/// Without the metadata: those are the application's notes about the caller, and need the scope for reading keys.
fn shown(caller: &Principal) -> Value {
    let retired_until = match caller.secret_status() {
        SecretStatus::InUse => None,
        SecretStatus::Retired { until } => Some(until),
    };
    json!({
        "id": caller.key_id(),
        "name": caller.name(),
        "organization": caller.organization().map(|organization| organization.as_str()),
        "mode": caller.mode(),
        "scopes": caller.scopes(),
        "createdAt": caller.record().map(|record| record.created_at),
        "expiresAt": caller.expires_at(),
        "secretRetiredUntil": retired_until,
    })
}
