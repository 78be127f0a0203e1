//! How often keys are used, as JSON and as CSV.

use std::fmt::Write;
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
use serde_json::json;

use super::query::{parameters, value};
use super::{Routes, guard, only, success};
use crate::clock::Timestamp;
use crate::key::{KeyId, Mode, Owner, Tenant};
use crate::manage::{KeyAction, KeyManager, ManageError};
use crate::rejection::{ErrorFormat, FieldError, response};
use crate::usage::{Usage, UsageBucket, UsageOutcome, UsageQuery, UsageRow};

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
            let data = json!({
                "bucket": query.bucket.as_str(),
                "groupBy": query.group_by.map(|group| group.as_str()),
                "asOf": usage.as_of,
                "rows": usage.rows,
            });
            routes.answer(&head, Ok(success(StatusCode::OK, data)))
        }
        Err(error) => routes.answer(&head, Err(error)),
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

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
    let before = end.saturating_sub(match bucket {
        UsageBucket::Hour => DAY,
        UsageBucket::Day => 30 * DAY,
    });
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

/// As in RFC 4180, with a header line.
fn csv(usage: &Usage) -> Response {
    const TYPE: HeaderValue = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    let mut text = String::from("start,keyId,organization,mode,category,total");
    for outcome in UsageOutcome::ALL {
        let _ = write!(text, ",{outcome}");
    }
    text.push_str("\r\n");
    usage.rows.iter().for_each(|row| write_row(&mut text, row));
    let mut response = response(StatusCode::OK, TYPE, text);
    let name = HeaderValue::from_static("attachment; filename=\"usage.csv\"");
    response.headers_mut().insert(CONTENT_DISPOSITION, name);
    response
}

fn write_row(text: &mut String, row: &UsageRow) {
    let organization = row.owner.as_ref().map(|owner| match &owner.tenant {
        Tenant::Organization(organization) => organization.as_str(),
        Tenant::System => "",
    });
    let mode = row.owner.as_ref().map(|owner| owner.mode.as_str());
    let cells = [row.key_id.as_ref().map(|id| id.as_str()), organization, mode, row.category.as_deref()];
    let _ = write!(text, "{}", row.start);
    for cell in cells {
        text.push(',');
        write_cell(text, cell.unwrap_or_default());
    }
    let _ = write!(text, ",{}", row.calls.total());
    for outcome in UsageOutcome::ALL {
        let _ = write!(text, ",{}", row.calls.of(outcome));
    }
    text.push_str("\r\n");
}

/// A spreadsheet takes a text that begins with one of some characters for a formula, and may run it: such a text gets an
/// apostrophe before it (OWASP, CSV injection).
fn write_cell(text: &mut String, cell: &str) {
    // Where a semicolon or a tab separates cells, quotes within a line do not keep a text together.
    let is_formula = cell
        .split([';', '\t'])
        .any(|part| part.trim_start().starts_with(['=', '+', '-', '@', '\r', '\n', '＝', '＋', '－', '＠']));
    if !is_formula && !cell.contains(['"', ',', ';', '\'', '\r', '\n']) {
        text.push_str(cell);
        return;
    }
    text.push('"');
    if is_formula {
        text.push('\'');
    }
    text.push_str(&cell.replace('"', "\"\""));
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        for (cell, written) in [
            ("", ""),
            ("acme", "acme"),
            ("acme, inc", "\"acme, inc\""),
            ("say \"hi\"", "\"say \"\"hi\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("-k7Jc0qWv", "\"'-k7Jc0qWv\""),
            ("+1", "\"'+1\""),
            ("@SUM(1)", "\"'@SUM(1)\""),
            ("\t=1", "\"'\t=1\""),
            ("a\nb", "\"a\nb\""),
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\""),
        ] {
            let mut text = String::new();
            write_cell(&mut text, cell);
            assert_eq!(text, written);
        }
    }

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
