//! Before all checks: CORS preflights, if the application lets them through.

use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};

use crate::request::RequestView;

/// `Origin` and `Access-Control-Request-Method` make an `OPTIONS` request a preflight (Fetch standard, section 3.3.2).
pub(crate) fn is_preflight(request: RequestView<'_>) -> bool {
    request.method == Method::OPTIONS
        && request.headers.contains_key(ORIGIN)
        && request.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}
