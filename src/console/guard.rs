//! What runs before every page: who may be there, where a form comes from, and what every response says to browsers.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HOST, ORIGIN, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName};

use super::cookie::FormCookie;
use super::links::Links;
use super::visit::Visit;
use super::{Console, page};
use crate::manage::ManageError;
use crate::outcome::report_misplaced;
use crate::rejection::Reason;
use crate::request::RequestView;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

pub(super) async fn guard(State(console): State<Arc<Console>>, request: Request, next: Next) -> Response {
    let (mut head, body) = request.into_parts();
    let Some(authority) = (console.authority)(&head) else { return page::nothing() };
    if console.is_for_staff && !authority.is_of_system() {
        let wrong = "`Console::for_staff` needs the authority of the system: `Authority::system`, or an operator over the system";
        report_misplaced(Reason::Misconfigured(wrong), RequestView::of_parts(&head));
        return page::nothing();
    }
    let cookie = match FormCookie::of(&head.headers, is_over_https(&head)) {
        Ok(cookie) => cookie,
        Err(error) => return page::plain(ManageError::Randomness(error).kind().status()),
    };
    let visit = Visit {
        now: console.manager.now(),
        links: Links::new(&head),
        person: format!("{} {}", authority.actor(), authority.owner()).into(),
        console,
        authority,
        cookie,
    };
    if !head.method.is_safe() && !is_from_own_page(&head) {
        return page::foreign_form(&visit);
    }
    let set = visit.cookie.to_set();
    head.extensions.insert(visit);
    let mut response = next.run(Request::from_parts(head, body)).await;
    if let Some(set) = set {
        response.headers_mut().append(SET_COOKIE, set);
    }
    page::protect(response.headers_mut());
    response
}

/// Whether a browser says that it speaks HTTPS: it sends Fetch metadata to trustworthy origins only, which are those of HTTPS and this machine
/// (W3C Secure Contexts, section 3.1). Of this machine it may not take secure cookies over plain HTTP.
fn is_over_https(request: &Parts) -> bool {
    let is_loopback = host(request).is_none_or(|host| {
        let name = match host.strip_prefix('[') {
            Some(address) => address.split(']').next(),
            None => host.split(':').next(),
        };
        let name = name.unwrap_or_default().to_ascii_lowercase();
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    });
    request.headers.contains_key(SEC_FETCH_SITE) && !is_loopback
}

/// The host that the request names, with its port.
fn host(request: &Parts) -> Option<&str> {
    match request.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => one(&request.headers, &HOST).ok().flatten(),
    }
}

/// Whether a browser says that a page of this origin has sent the request: by Fetch metadata (W3C, `Sec-Fetch-Site`), or, where it sends none, as
/// over plain HTTP, by `Origin` (RFC 6454). A request that says neither is from no browser.
fn is_from_own_page(request: &Parts) -> bool {
    let headers = &request.headers;
    match one(headers, &SEC_FETCH_SITE) {
        Ok(Some(site)) => site == "same-origin",
        Ok(None) => {
            let host = host(request);
            let origin = one(headers, &ORIGIN).ok().flatten();
            let origin = origin.and_then(|origin| Some(origin.split_once("://")?.1));
            origin.is_some_and(|origin| host.is_some_and(|host| origin.eq_ignore_ascii_case(host)))
        }
        Err(Repeated) => false,
    }
}

struct Repeated;

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Repeated> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(|_| Repeated),
        (Some(_), Some(_)) => Err(Repeated),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn https_is_told_by_fetch_metadata_from_elsewhere_than_this_machine() {
        for (host, has_metadata, is_https) in [
            ("acme.example", true, true),
            ("acme.example:8443", true, true),
            ("192.0.2.1", true, true),
            ("[2001:db8::1]:443", true, true),
            ("acme.example", false, false),
            ("localhost", true, false),
            ("LOCALHOST:3000", true, false),
            ("app.localhost:3000", true, false),
            ("127.0.0.1:3000", true, false),
            ("127.0.0.1", true, false),
            ("[::1]:3000", true, false),
            ("[::1]", true, false),
        ] {
            let mut request = Request::get("/keys").header("host", host);
            if has_metadata {
                request = request.header("sec-fetch-site", "none");
            }
            assert_eq!(is_over_https(&request.body(()).unwrap().into_parts().0), is_https, "{host}");
        }
        let without_host = Request::get("/keys").header("sec-fetch-site", "none").body(()).unwrap();
        assert!(!is_over_https(&without_host.into_parts().0));
    }

    #[test]
    fn a_form_is_from_the_own_page_if_the_browser_says_so() {
        for (fields, is_own) in [
            (vec![("sec-fetch-site", "same-origin")], true),
            (vec![("sec-fetch-site", "same-origin"), ("origin", "https://evil.example")], true),
            (vec![("sec-fetch-site", "same-site")], false),
            (vec![("sec-fetch-site", "cross-site")], false),
            (vec![("sec-fetch-site", "none")], false),
            (vec![("sec-fetch-site", "Same-Origin")], false),
            (vec![("sec-fetch-site", "")], false),
            (vec![("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")], false),
            (vec![("sec-fetch-site", "cross-site"), ("origin", "https://acme.example")], false),
            (vec![("origin", "https://acme.example")], true),
            (vec![("origin", "http://ACME.example")], true),
            (vec![("origin", "https://acme.example:8443")], false),
            (vec![("origin", "https://sub.acme.example")], false),
            (vec![("origin", "https://acme.example.evil.example")], false),
            (vec![("origin", "acme.example")], false),
            (vec![("origin", "null")], false),
            (vec![("origin", "https://acme.example"), ("origin", "https://acme.example")], false),
            (vec![], false),
        ] {
            let mut request = Request::post("/keys/new").header("host", "acme.example");
            for (name, value) in &fields {
                request = request.header(*name, *value);
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(is_from_own_page(&head), is_own, "{fields:?}");
        }
        let of_http2 = Request::post("https://acme.example/new").header("origin", "https://acme.example");
        assert!(is_from_own_page(&of_http2.body(()).unwrap().into_parts().0));
    }
}
