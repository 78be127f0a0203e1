//! How often keys are used, as JSON and as CSV.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware;
use axum::response::Response;
use axum::routing::MethodRouter;
use http::header::{ACCEPT, CONTENT_DISPOSITION};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::query::{parameters, value};
use super::{Routes, guard, only, success};
use crate::clock::Timestamp;
use crate::key::{KeyId, Mode, Owner};
use crate::manage::{KeyAction, KeyManager, ManageError, csv, json};
use crate::rejection::{ErrorFormat, FieldError, response};
use crate::usage::{Usage, UsageBucket, UsageQuery};

pub(crate) fn usage_route<S, F>(manager: KeyManager, errors: F, is_for_staff: bool) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
    F: ErrorFormat<Body>,
{
    let routes = Arc::new(Routes { manager, errors: Arc::new(errors), is_for_staff });
    only("GET,HEAD")
        .get(usage::<F>)
        .layer(middleware::from_fn_with_state(routes.clone(), guard::<F>))
        .with_state(routes)
}

async fn usage<F: ErrorFormat<Body>>(State(routes): State<Arc<Routes<F>>>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let result = async {
        let authority = routes.authority(&head.extensions)?;
        routes.manager.permit(&authority, KeyAction::Read, None).await?;
        let now = routes.manager.settings().clock.now().timestamp();
        let asked = parse(&head.uri, &head.headers, now, routes.is_for_staff);
        let (mut query, is_csv) = routes.noted(&authority, KeyAction::Read, None, asked)?;
        let mode = authority.owner().mode;
        let usage = match routes.is_for_staff {
            true => {
                query.mode = Some(mode);
                query.owner.iter_mut().for_each(|owner| owner.mode = mode);
                routes.manager.usage_of_all(&query).await
            }
            false => routes.manager.usage(&authority, &query).await,
        }?;
        Ok((query, usage, is_csv))
    };
    match result.await {
        Ok((_, usage, true)) => csv(&usage),
        Ok((query, usage, false)) => {
            let data = json::usage(&query, &usage);
            routes.answer(&head, Ok(success(StatusCode::OK, data)))
        }
        Err(error) => routes.answer(&head, Err(error)),
    }
}

/// The query, and whether its answer is in CSV. Parameters with other names are ignored: they may belong to a proxy or a cache.
fn parse(
    uri: &Uri,
    headers: &HeaderMap,
    now: Timestamp,
    is_for_staff: bool,
) -> Result<(UsageQuery, bool), ManageError> {
    let parameters = parameters(uri)?;
    let mut faults = Vec::new();
    let mut one = |name| value(&parameters, name, &mut faults).map(|value| (name, value));
    let [start, end, bucket, group, format] = ["start", "end", "bucket", "groupBy", "format"].map(&mut one);
    let organization = one("organization").filter(|_| is_for_staff);

    let bucket = read(bucket, "must be hour or day", &mut faults).unwrap_or(UsageBucket::Day);
    let end = read(end, INSTANT, &mut faults).unwrap_or(now.saturating_add(Duration::from_millis(1)));
    let before = end.saturating_sub(bucket.usual_span());
    let mut query = UsageQuery::new(read(start, INSTANT, &mut faults).unwrap_or(before), end, bucket);
    query.group_by = read(group, "must be key, organization or category", &mut faults);
    query.owner = read(organization, "must be the identifier of an organization", &mut faults)
        .map(|organization| Owner::organization(organization, Mode::Live));
    for (_, key) in parameters.iter().filter(|(name, _)| name == "key") {
        query.keys.extend(read::<KeyId>(Some(("key", key)), "must be the identifier of a key", &mut faults));
    }
    if query.keys.len() > MAX_KEYS {
        faults.push(FieldError::new("key", "must come at most 100 times"));
    }
    let is_csv = match format {
        None => prefers_csv(headers),
        Some((_, "csv")) => true,
        Some((_, "json")) => false,
        Some((name, _)) => {
            faults.push(FieldError::new(name, "must be json or csv"));
            false
        }
    };
    if faults.is_empty() { Ok((query, is_csv)) } else { Err(ManageError::Invalid(faults)) }
}

const INSTANT: &str = "must be a time, such as 2030-01-31T12:00:00Z";
const MAX_KEYS: usize = 100;

/// The value of a parameter, if it has one and it is valid.
fn read<T: FromStr>(
    parameter: Option<(&'static str, &str)>,
    fault: &'static str,
    faults: &mut Vec<FieldError>,
) -> Option<T> {
    let (name, value) = parameter?;
    value.parse().map_err(|_| faults.push(FieldError::new(name, fault))).ok()
}

/// Whether CSV is named before JSON.
fn prefers_csv(headers: &HeaderMap) -> bool {
    let named = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let types = named.flat_map(|value| value.split(',')).map(|range| {
        let (name, _) = range.split_once(';').unwrap_or((range, ""));
        name.trim().to_ascii_lowercase()
    });
    let mut known = types.filter(|name| matches!(&**name, "text/csv" | "application/json" | "*/*"));
    known.next().is_some_and(|first| first == "text/csv")
}

fn csv(usage: &Usage) -> Response {
    const TYPE: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    let mut response = response(StatusCode::OK, TYPE, csv::usage(usage));
    let name = HeaderValue::from_static("attachment; filename=\"usage.csv\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_known_type_is_preferred() {
        for (accept, is_csv) in [
            ("", false),
            ("text/csv", true),
            ("Text/CSV; header=present", true),
            ("text/csv, application/json;q=0.5", true),
            ("application/json, text/csv", false),
            ("*/*", false),
            ("text/html, text/csv", true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(prefers_csv(&headers), is_csv, "{accept}");
        }
        assert!(!prefers_csv(&HeaderMap::new()));
    }
}
