//! The rule that requires the caller's organization.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::identity::OrganizationRule;
use tower_api_keys::key::{Mode, Owner};
use tower_api_keys::middleware::{ApiKeysLayer, ApiKeysService};
use tower_api_keys::rejection::{ApiError, Check, ErrorKind, ProblemDetails, Reason};
use tower_api_keys::store::KeyAdministration;
use tower_api_keys::{Access, ApiKeys, ApiKeysBuilder};

use crate::support::*;

const ORGANIZATION_ID: &str = "organization-id";

fn required() -> OrganizationRule {
    OrganizationRule::named_in(ORGANIZATION_ID)
}

fn optional() -> OrganizationRule {
    required().optional()
}

/// The keys of `store`, under `rule`. All routes accept any key.
fn under(rule: OrganizationRule, store: impl KeyAdministration) -> ApiKeysBuilder {
    assembly(store).organization(rule).without_route_table()
}

/// An assembly with one key of this owner.
async fn keys(owner: Owner, rule: OrganizationRule) -> ApiKeys {
    under(rule, store([record(KEY, |key| key.owner = owner)]).await).build().unwrap()
}

async fn answer(owner: Owner, rule: OrganizationRule, lines: &[&[u8]]) -> Response<Bytes> {
    let mut request = request(KEY);
    for line in lines {
        request.headers_mut().append(ORGANIZATION_ID, HeaderValue::from_bytes(line).unwrap());
    }
    let keys = keys(owner, rule).await;
    let service = ServiceBuilder::new().layer(keys.authenticate()).layer(keys.authorize());
    service.service(service_fn(whoami)).oneshot(request).await.unwrap()
}

#[tokio::test]
async fn the_field_must_match_the_key() {
    let long = "acme".repeat(10_000);
    // Name, lines, status if it is required, status if it is optional.
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
        for (rule, status) in [(self::required(), *required), (self::optional(), *optional)] {
            let response = answer(acme(), rule.clone(), lines).await;
            assert_eq!(response.status(), status, "{name}: {rule:?}");
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
                assert!(rejection.key_id().is_some(), "{name}: the application learns the key");
            }
        }
    }
}

#[tokio::test]
async fn an_organization_that_exists_is_rejected_like_one_that_does_not() {
    let other = Owner::organization("other".parse().unwrap(), Mode::Live);
    let store = store([record(KEY, |_| {}), record(OTHER_KEY, |key| key.owner = other)]).await;
    let store = TestStore::new(store, Answers::AtOnce);
    let keys = under(required(), store.clone()).build().unwrap();
    let service =
        ServiceBuilder::new().layer(keys.authenticate()).layer(keys.authorize()).service(service_fn(whoami));
    let mut answers = Vec::new();
    for named in ["other", "nowhere"] {
        let mut request = request(KEY);
        request.headers_mut().insert(ORGANIZATION_ID, named.parse().unwrap());
        let response = service.clone().oneshot(request).await.unwrap();
        answers.push((response.status(), response.headers().clone(), response.into_body()));
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(store.lookups(), 2, "one for the key of each request, none for what it names");
}

#[tokio::test]
async fn a_system_key_has_no_organization_to_name() {
    for (rule, lines, status) in [
        (required(), [b"acme".as_slice()].as_slice(), 403),
        (required(), &[], 400),
        (optional(), &[b"acme"], 403),
        (optional(), &[b"System"], 403),
        (optional(), &[], 200),
    ] {
        let response = answer(Owner::system(Mode::Live), rule.clone(), lines).await;
        assert_eq!(response.status(), status, "{rule:?} {lines:?}");
    }
}

#[tokio::test]
async fn requests_without_a_required_caller_are_rejected() {
    let one_key = store([record(KEY, |_| {})]).await;
    let keys = under(optional(), one_key.clone()).build().unwrap();
    let response = keys.authorize().layer(service_fn(whoami)).oneshot(request(KEY)).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let reason = rejection(&response).reason().to_string();
    assert_eq!(
        reason,
        "`authorize` needs `authenticate` outside it: add that layer later to an axum router, or earlier to a ServiceBuilder; \
         or use `layer` in place of both"
    );
    assert!(
        !str::from_utf8(response.body()).unwrap().contains("layer"),
        "the client must not learn the reason"
    );

    // Anonymous requests get a 401, whatever organization they name.
    let any_key = |rule| {
        let keys = assembly(one_key.clone()).organization(rule).allow_anonymous();
        keys.route("GET", "/", Access::AnyKey).build().unwrap()
    };
    let no_table = |rule| under(rule, one_key.clone()).allow_anonymous().build().unwrap();
    let named: [&[&str]; 3] = [&["acme"], &["other"], &["acme", "acme"]];
    let context = OrganizationRule::context;
    let cases = [
        (any_key(optional()), true),
        (any_key(required()), true),
        (no_table(required()), true),
        (any_key(context()), true),
        (no_table(context()), true),
    ];
    for (keys, is_asked_for) in cases.into_iter().chain([(no_table(optional()), false)]) {
        let service = keys.authenticate().layer(keys.authorize().layer(service_fn(whoami)));
        for lines in named.into_iter().chain([[].as_slice(), &[""]].into_iter().filter(|_| is_asked_for)) {
            let mut request = request(None);
            for line in lines {
                request.headers_mut().append(ORGANIZATION_ID, line.parse().unwrap());
            }
            let response = service.clone().oneshot(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{keys:?} {lines:?}");
            assert_eq!(response.headers()["www-authenticate"], r#"ApiKey header="x-api-key""#);
            assert!(matches!(rejection(&response).reason(), Reason::CredentialMissing));
        }
    }
    // If neither the rule nor a route needs a caller, anonymous requests are accepted.
    let keys = no_table(optional());
    let service = keys.authenticate().layer(keys.authorize().layer(service_fn(whoami)));
    assert_eq!(service.oneshot(request(None)).await.unwrap().body(), "anonymous");
}

#[tokio::test]
async fn the_application_sets_the_format_of_rejections() {
    let format = |error: &ApiError<'_>| {
        let mut response = Response::new(Bytes::from(format!("{:?}", error.kind())));
        *response.status_mut() = StatusCode::IM_A_TEAPOT;
        response
    };
    let keys = under(required(), store([record(KEY, |_| {})]).await).errors(format).build().unwrap();
    let service = keys.authenticate().layer(keys.authorize().layer(service_fn(whoami)));
    let response = service.oneshot(request(KEY)).await.unwrap();
    assert_eq!(
        (response.status(), &**response.body()),
        (StatusCode::IM_A_TEAPOT, b"OrganizationMissing".as_slice())
    );
    assert_eq!(response.headers()["cache-control"], "no-store");
}

/// Accepts and rejects requests in turn through one service: a rejection must release what readiness reserved.
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
    let keys = keys(acme(), required()).await;
    let outside = ServiceBuilder::new().layer(keys.authenticate()).layer(keys.authorize());
    drive(outside.clone().concurrency_limit(1).service(service_fn(whoami))).await;
    drive(outside.clone().buffer(1).service(service_fn(whoami))).await;
    drive(outside.buffer(1).concurrency_limit(1).service(service_fn(whoami))).await;
}

#[test]
fn types_meet_the_bounds_of_servers() {
    fn is_shareable<T: Clone + Send + Sync + std::fmt::Debug + 'static>() {}
    is_shareable::<OrganizationRule>();
    is_shareable::<ApiKeysLayer>();
    is_shareable::<ApiKeysService<(), ProblemDetails>>();
}
