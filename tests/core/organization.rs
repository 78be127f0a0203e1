//! The layer that asks for the caller's organization.
#![allow(clippy::unwrap_used, reason = "a test that can't be set up has failed")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use support::*;
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::authorize::Authorize;
use tower_api_keys::key::{Mode, Owner};
use tower_api_keys::rejection::{Check, ProblemDetails, Reason, Rejection, ErrorKind};
use tower_api_keys::{AuthenticateLayer, OrganizationLayer};

const ORGANIZATION_ID: HeaderName = HeaderName::from_static("organization-id");

/// The layer that knows one key, of this owner.
async fn authenticate(owner: Owner) -> AuthenticateLayer {
    AuthenticateLayer::new(store([record(KEY, |key| key.owner = owner)]).await, header_key())
}

async fn answer(owner: Owner, layer: &OrganizationLayer, lines: &[&[u8]]) -> Response<Bytes> {
    let mut request = request(KEY);
    for line in lines {
        request.headers_mut().append(ORGANIZATION_ID, HeaderValue::from_bytes(line).unwrap());
    }
    let service = ServiceBuilder::new().layer(authenticate(owner).await).layer(layer);
    service.service(service_fn(whoami)).oneshot(request).await.unwrap()
}

fn rejection(response: &Response<Bytes>) -> &Rejection {
    response.extensions().get().expect("a refusal")
}

#[tokio::test]
async fn r9_r10_r12_r48_the_field_only_has_to_agree_with_the_key() {
    let long = "acme".repeat(10_000);
    // Name, lines, status where it is required, status where it is optional.
    let cases: &[(&str, &[&[u8]], u16, u16)] = &[
        ("the caller's", &[b"acme"], 200, 200),
        ("white space around it, as HTTP/2 leaves it", &[b" \tacme "], 200, 200),
        ("absent", &[], 400, 200),
        ("empty", &[b""], 400, 200),
        ("blank", &[b" \t "], 400, 200),
        ("another's", &[b"other"], 403, 403),
        ("another case", &[b"Acme"], 403, 403),
        ("one that starts alike", &[b"acme2"], 403, 403),
        ("the start of it", &[b"acm"], 403, 403),
        ("two in one line", &[b"acme, acme"], 403, 403),
        ("the same twice", &[b"acme", b"acme"], 403, 403),
        ("the caller's and another's", &[b"acme", b"other"], 403, 403),
        ("another's and the caller's", &[b"other", b"acme"], 403, 403),
        ("the caller's and an empty line", &[b"acme", b""], 403, 403),
        ("two empty lines", &[b"", b""], 403, 403),
        ("bytes above 0x7F", &[b"acme\xff"], 403, 403),
        ("in quotes", &[b"\"acme\""], 403, 403),
        ("40 000 bytes", &[long.as_bytes()], 403, 403),
    ];
    for (name, lines, required, optional) in cases {
        for (layer, status) in [
            (OrganizationLayer::required(ORGANIZATION_ID), *required),
            (OrganizationLayer::optional(ORGANIZATION_ID), *optional),
        ] {
            let response = answer(acme(), &layer, lines).await;
            assert_eq!(response.status(), status, "{name}: {layer:?}");
            if status != 200 {
                let kind = match status {
                    400 => ErrorKind::OrganizationMissing,
                    _ => ErrorKind::OrganizationMismatch,
                };
                let rejection = rejection(&response);
                assert_eq!(
                    (rejection.kind(), rejection.check()),
                    (kind, Some(Check::Organization)),
                    "{name}"
                );
                assert!(rejection.key_id().is_some(), "{name}: the host is told whose key it was");
            }
        }
    }
}

#[tokio::test]
async fn r18_an_organization_that_exists_is_refused_like_one_that_does_not() {
    let other = Owner::organization("other".parse().unwrap(), Mode::Live);
    let store = store([record(KEY, |_| {}), record(OTHER_KEY, |key| key.owner = other)]).await;
    let store = TestStore::new(store, Answers::AtOnce);
    let service = ServiceBuilder::new()
        .layer(AuthenticateLayer::new(store.clone(), header_key()))
        .layer(OrganizationLayer::required(ORGANIZATION_ID))
        .service(service_fn(whoami));
    let mut answers = Vec::new();
    for named in ["other", "nobody"] {
        let mut request = request(KEY);
        request.headers_mut().insert(ORGANIZATION_ID, named.parse().unwrap());
        let response = service.clone().oneshot(request).await.unwrap();
        answers.push((response.status(), response.headers().clone(), response.into_body()));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(store.look_ups(), 2, "one for the key of each request, none for what it names");
}

#[tokio::test]
async fn r52_a_system_key_has_no_organization_to_name() {
    let required = OrganizationLayer::required(ORGANIZATION_ID);
    let optional = OrganizationLayer::optional(ORGANIZATION_ID);
    for (layer, lines, status) in [
        (&required, [b"acme".as_slice()].as_slice(), 403),
        (&required, &[], 400),
        (&optional, &[b"acme"], 403),
        (&optional, &[b"System"], 403),
        (&optional, &[], 200),
    ] {
        let response = answer(Owner::system(Mode::Live), layer, lines).await;
        assert_eq!(response.status(), status, "{layer:?} {lines:?}");
    }
}

#[tokio::test]
async fn without_a_caller_nobody_passes() {
    let layer = OrganizationLayer::optional(ORGANIZATION_ID);
    let response = layer.layer(service_fn(whoami)).oneshot(request(KEY)).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let reason = rejection(&response).reason().to_string();
    assert_eq!(
        reason,
        "OrganizationLayer needs AuthenticateLayer outside it: add that one later to an axum router, or earlier to a ServiceBuilder"
    );
    assert!(!str::from_utf8(response.body()).unwrap().contains("Layer"), "the client is not told");

    let anonymous = authenticate(acme()).await.allow_anonymous();
    let response = anonymous.layer(layer.layer(service_fn(whoami))).oneshot(request(None)).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(response.headers()["www-authenticate"], r#"ApiKey header="x-api-key""#, "R64");
    assert!(matches!(rejection(&response).reason(), Reason::CredentialMissing));
}

#[tokio::test]
async fn the_host_chooses_how_refusals_look() {
    let format = |rejection: &Rejection| {
        let mut response = Response::new(Bytes::from(format!("{:?}", rejection.kind())));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    let layer = OrganizationLayer::required(ORGANIZATION_ID).with_rejection_format(format);
    let service = authenticate(acme()).await.layer(layer.layer(service_fn(whoami)));
    let response = service.oneshot(request(KEY)).await.unwrap();
    assert_eq!(
        (response.status(), &**response.body()),
        (StatusCode::IM_A_TEAPOT, b"OrganizationMissing".as_slice())
    );
    assert_eq!(response.headers()["cache-control"], "no-store");
}

/// Requests passed and refused in turn, through one service: a refusal must not keep what readiness reserved.
async fn drive<S>(mut service: S)
where
    S: Service<Request<()>, Response = Response<Bytes>, Error: Into<BoxError>>,
{
    for (named, want) in [("acme", 200), ("x", 403), ("x", 403), ("acme", 200), ("x", 403), ("acme", 200)] {
        let answer = async {
            let mut request = request(KEY);
            request.headers_mut().insert(ORGANIZATION_ID, named.parse().unwrap());
            service.ready().await.map_err(Into::into)?.call(request).await.map_err(Into::into)
        };
        let response: Result<_, BoxError> =
            tokio::time::timeout(Duration::from_secs(5), answer).await.expect("no deadlock");
        assert_eq!(response.unwrap().status(), want, "{named}");
    }
}

#[tokio::test]
async fn readiness_passes_through() {
    let outside = ServiceBuilder::new()
        .layer(authenticate(acme()).await)
        .layer(OrganizationLayer::required(ORGANIZATION_ID));
    drive(outside.clone().concurrency_limit(1).service(service_fn(whoami))).await;
    drive(outside.clone().buffer(1).service(service_fn(whoami))).await;
    drive(outside.buffer(1).concurrency_limit(1).service(service_fn(whoami))).await;
}

#[test]
fn types_are_what_servers_need() {
    fn is_shareable<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    is_shareable::<OrganizationLayer>();
    is_shareable::<Authorize<(), ProblemDetails>>();
}
