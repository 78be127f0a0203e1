//! Why a request with the key would be rejected: the checks in their order, and how far it comes.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderValue, Method, Request, Uri, request};
use maud::{Markup, html};

use super::fields::{fault, invalid};
use super::page;
use super::visit::Subject;
use crate::address::PeerAddress;
use crate::key::Tenant;
use crate::manage::KeyView;
use crate::middleware::{Step, Trace};
use crate::rejection::{ErrorKind, FieldError, Reason, Rejection};

/// The methods to choose from. Others can be typed.
const METHODS: [Method; 7] =
    [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::HEAD, Method::OPTIONS];

/// The form that describes a request, and the answer once it is sent. Nothing, if the key's record can't be read.
pub(super) async fn section(subject: &Subject, fields: &BTreeMap<String, String>) -> Markup {
    let Some(key) = &subject.key else { return Markup::default() };
    let t = subject.visit.texts();
    let typed = |name: &str| fields.get(name).map(|text| text.trim()).unwrap_or_default();
    let (method, path, address) = (typed("method"), typed("path"), typed("address"));
    let read = match fields.contains_key("path") {
        true => request(subject, key, method, path, address).map(Some),
        false => Ok(None),
    };
    let (request, faults) = match read {
        Ok(request) => (request, Vec::new()),
        Err(faults) => (None, faults),
    };
    let input = |name: &str, label: &str, value: &str| {
        html! {
            div.field {
                label for=(name) { (label) }
                (fault(t, name, name, &faults))
                input #(name) name=(name) value=(value) required[name != "address"] maxlength="2048" autocomplete="off" spellcheck="false"
                    autocapitalize="off" list=[(name == "method").then_some("methods")] aria-invalid=[invalid(name, &faults)]
                    aria-describedby={ (name) "-fault" };
            }
        }
    };
    html! {
        section.card {
            h2 #explain { (t.why_rejected) }
            p.help { (t.why_rejected_help) }
            // By GET, so that the answer has a URL.
            form.request method="get" action={ (subject.link("")) "#explain" } {
                (input("method", &t.method, if method.is_empty() { "GET" } else { method }))
                (input("path", &t.path, path))
                (input("address", &t.client_address, address))
                datalist #methods { @for method in &METHODS { option value=(method) {} } }
                div.actions { button { (t.check_request) } }
            }
            @if let Some(request) = request { (answer(subject, &request).await) }
        }
    }
}

/// The request that is described, or what is wrong with the fields.
fn request(
    subject: &Subject,
    key: &KeyView,
    method: &str,
    path: &str,
    address: &str,
) -> Result<request::Parts, Vec<FieldError>> {
    let t = subject.visit.texts();
    let mut faults = Vec::new();
    let mut head = Request::new(()).into_parts().0;
    match Method::from_bytes(method.to_ascii_uppercase().as_bytes()) {
        Ok(method) => head.method = method,
        Err(_) => faults.push(FieldError::new("method", t.fault_method.clone())),
    }
    match Uri::builder().path_and_query(path).build() {
        Ok(uri) if path.starts_with('/') => head.uri = uri,
        _ => faults.push(FieldError::new("path", t.fault_path.clone())),
    }
    match address.parse::<IpAddr>() {
        Ok(address) => _ = head.extensions.insert(PeerAddress(address)),
        // For limits by address, one that nothing was counted for.
        Err(_) if address.is_empty() && key.allowed_addresses.is_empty() => {
            head.extensions.insert(PeerAddress(Ipv4Addr::UNSPECIFIED.into()));
        }
        Err(_) if address.is_empty() => {
            faults.push(FieldError::new("address", t.fault_no_address.clone()));
        }
        Err(_) => faults.push(FieldError::new("address", t.fault_address.clone())),
    }
    // As a client of the key does, where requests have to name their organization.
    if let (Some(name), Tenant::Organization(own)) =
        (subject.visit.console.explainer.organization_header(), &key.owner.tenant)
    {
        head.headers.extend(HeaderValue::from_str(own.as_str()).ok().map(|own| (name.clone(), own)));
    }
    if faults.is_empty() { Ok(head) } else { Err(faults) }
}

async fn answer(subject: &Subject, request: &request::Parts) -> Markup {
    let visit = &subject.visit;
    let t = visit.texts();
    let trace = match visit.console.explainer.explain_key(&subject.id, request).await {
        Ok(trace) => trace,
        Err(error) => return page::alert(&page::said(visit, &error)),
    };
    let line = html! { code { (request.method) " " (request.uri) } };
    html! {
        @match trace.rejection() {
            None => p.alert.good role="status" { (line) " " (t.would_be_accepted) },
            Some(rejection) => {
                div.alert.bad role="status" {
                    p { (line) " " (t.would_be_rejected.replace("{}", rejection.kind().status().as_str())) }
                    p { strong { (why(subject, rejection)) } " " code { (rejection.reason().code()) } }
                }
            }
        }
        (steps(subject, &trace))
    }
}

fn steps(subject: &Subject, trace: &Trace) -> Markup {
    let t = subject.visit.texts();
    html! {
        table.steps {
            caption.hidden { (t.checks) }
            thead { tr { th scope="col" { (t.check) } th scope="col" { (t.result) } } }
            tbody {
                @for (check, step) in trace.steps() {
                    tr {
                        th scope="row" { (t.check(check)) }
                        td {
                            @match step {
                                Step::Passed => span.state.good { (t.passed) },
                                Step::Rejected => span.state.bad { (t.rejected) },
                                Step::NotReached => span.muted { (t.not_reached) },
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What is wrong with the assembly or its servers is for staff, and not for customers.
fn why(subject: &Subject, rejection: &Rejection) -> String {
    let (visit, reason) = (&subject.visit, rejection.reason());
    let t = visit.texts();
    match reason.kind() {
        ErrorKind::Unavailable | ErrorKind::Misconfigured if visit.is_for_staff() => {
            format!("{} {reason}.", t.reason_fault)
        }
        ErrorKind::Unavailable | ErrorKind::Misconfigured => t.reason_fault.to_string(),
        _ => match reason {
            Reason::ScopeMissing(scopes) => t.reason_scope_missing.replace("{}", &scopes.to_string()),
            Reason::RateLimited(limited) => t.reason_rate_limited.replace("{}", &limited.category),
            reason => t.reason(reason).to_owned(),
        },
    }
}
