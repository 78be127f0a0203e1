//! Usage metering: the calls that a sink receives, and their data.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::header::{AUTHORIZATION, COOKIE};
use http::{Request, Response, StatusCode};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::identity::{OrganizationRule, Role, Session, SessionAuthenticator};
use tower_api_keys::key::{Mode, Owner, SecretString};
use tower_api_keys::outcome::Call;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::StoreError;
use tower_api_keys::{ApiKeys, MemoryStore, Quota, RateLimit};

use crate::support::*;

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, call: &Call<'_>) {
        let key = call.principal().map_or("unknown", |principal| principal.name());
        let note = format!("{key} {} {} {}", call.method(), call.path(), call.status().as_u16());
        self.0.lock().unwrap().push(note);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

async fn acme_s_key() -> MemoryStore {
    store([record(KEY, |key| key.name = "acme".into())]).await
}

fn at(path: &str, key: Option<&str>) -> Request<()> {
    let mut request = Request::post(path).body(()).unwrap();
    request.extensions_mut().insert(PeerAddress("192.0.2.1".parse().unwrap()));
    if let Some(key) = key {
        request.headers_mut().insert(X_API_KEY, key.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn calls_with_a_key_and_a_status_below_500_are_reported_with_their_caller() {
    for answers in [Answers::AtOnce, Answers::Later] {
        let notes = Notes::default();
        let sink = notes.clone();
        let keys = assembly(TestStore::new(acme_s_key().await, answers))
            .client_address(ClientAddressSource::peer())
            .limit(RateLimit::per_address("address", Quota::per_minute(8).unwrap()))
            .usage(move |call: &Call<'_>| sink.add(call))
            .without_route_table()
            .build()
            .unwrap();
        let service =
            ServiceBuilder::new().layer(keys.layer()).service(service_fn(async |request: Request<()>| {
                let mut response = Response::new(Bytes::new());
                let status = request.uri().path().trim_start_matches('/').parse();
                *response.status_mut() = status.unwrap_or(StatusCode::OK);
                Ok::<_, std::convert::Infallible>(response)
            }));
        for (path, key, note) in [
            ("/ships?a=b", Some(KEY), Some("acme POST /ships 200")),
            ("/404", Some(KEY), Some("acme POST /404 404")),
            ("/499", Some(KEY), Some("acme POST /499 499")),
            ("/500", Some(KEY), None),
            ("/", Some(UNKNOWN_KEY), Some("unknown POST / 401")),
            ("/", Some("junk"), Some("unknown POST / 401")),
            ("/", Some(""), None),
            ("/", None, None),
            // Over the limit of the address, before the key is looked up.
            ("/", Some(KEY), Some("unknown POST / 429")),
            ("/", None, None),
        ] {
            service.clone().oneshot(at(path, key)).await.unwrap();
            assert_eq!(notes.take(), Vec::from_iter(note), "{path} {key:?} {answers:?}");
        }
    }
}

#[tokio::test]
async fn the_caller_of_a_call_rejected_by_an_inner_service_is_known() {
    let notes = Notes::default();
    let sink = notes.clone();
    let keys = assembly(acme_s_key().await).usage(move |call: &Call<'_>| sink.add(call));
    let keys = keys.route("POST", "/ships", "ships:write").build().unwrap();
    let handler = service_fn(whoami);
    let in_one = keys.layer().layer(handler);
    in_one.oneshot(at("/ships", Some(KEY))).await.unwrap();
    assert_eq!(notes.take(), ["acme POST /ships 403"]);
    for inside in [keys.authorize(), keys.require("ships:write")] {
        let service = ServiceBuilder::new().layer(keys.authenticate()).layer(inside).service(handler);
        service.oneshot(at("/ships", Some(KEY))).await.unwrap();
        assert_eq!(notes.take(), ["acme POST /ships 403"]);
    }
}

#[tokio::test]
async fn a_call_says_why_it_was_rejected() {
    let codes = Arc::new(Mutex::new(Vec::new()));
    let sink = codes.clone();
    let keys = assembly(acme_s_key().await)
        .usage(move |call: &Call<'_>| {
            sink.lock().unwrap().push(call.rejection().map(|rejection| rejection.reason().code()));
        })
        .route("POST", "/ships", "workflows:read")
        .build()
        .unwrap();
    let service = keys.layer().layer(service_fn(whoami));
    for (path, key) in [("/ships", KEY), ("/other", KEY), ("/ships", UNKNOWN_KEY)] {
        service.clone().oneshot(at(path, Some(key))).await.unwrap();
    }
    assert_eq!(*codes.lock().unwrap(), [None, Some("route_not_covered"), Some("key_unknown")]);
}

/// Two sinks in one assembly, and one in each of two nested assemblies.
#[tokio::test]
async fn each_of_two_sinks_gets_the_caller() {
    let (bill, statistics) = (Notes::default(), Notes::default());
    let keys = acme_s_key().await;
    let assembly = || assembly(keys.clone()).without_route_table();
    let (first, second) = (bill.clone(), statistics.clone());
    let both = assembly().usage(move |call: &Call<'_>| {
        first.add(call);
        second.add(call);
    });
    let service = both.build().unwrap().layer().layer(service_fn(whoami));
    service.oneshot(at("/ships", Some(KEY))).await.unwrap();
    assert_eq!([bill.take(), statistics.take()], [["acme POST /ships 200"]; 2]);

    let (first, second) = (bill.clone(), statistics.clone());
    let service = ServiceBuilder::new()
        .layer(assembly().usage(move |call: &Call<'_>| first.add(call)).build().unwrap().layer())
        .layer(assembly().usage(move |call: &Call<'_>| second.add(call)).build().unwrap().layer())
        .service(service_fn(whoami));
    service.oneshot(at("/ships", Some(KEY))).await.unwrap();
    assert_eq!([bill.take(), statistics.take()], [["acme POST /ships 200"]; 2]);
}

/// The caller of a session is known once its organization is, in one layer and in several.
#[tokio::test]
async fn the_caller_of_a_session_is_known() {
    struct Ada;

    #[async_trait::async_trait]
    impl SessionAuthenticator for Ada {
        async fn authenticate(&self, _: &SecretString) -> Result<Option<Session>, StoreError> {
            let globex = Owner::organization("globex".parse().unwrap(), Mode::Live);
            let role = Role::of_rank(1);
            let ada = Session::new("ada").with_owner(acme(), role, ScopeSet::empty());
            Ok(Some(ada.with_owner(globex, role, ScopeSet::empty())))
        }
    }

    let calls = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let calls = calls.clone();
        move |call: &Call<'_>| {
            let owner =
                call.principal().map(|principal| (principal.name().to_owned(), principal.owner().clone()));
            calls.lock().unwrap().push(owner);
        }
    };
    let keys = ApiKeys::builder(MemoryStore::new(), format())
        .bearer()
        .sessions(Ada)
        .organization(OrganizationRule::context().session_cookie("organization"))
        .usage(sink)
        .without_route_table()
        .build()
        .unwrap();
    let request = |cookie: &str| {
        let mut request = at("/ships", None);
        request.headers_mut().insert(AUTHORIZATION, "Bearer token".parse().unwrap());
        request.headers_mut().insert(COOKIE, cookie.parse().unwrap());
        request
    };
    let one = keys.layer().layer(service_fn(whoami));
    let several = keys.authenticate().layer(keys.authorize().layer(service_fn(whoami)));
    for cookie in ["organization=acme", "organization=other"] {
        one.clone().oneshot(request(cookie)).await.unwrap();
        several.clone().oneshot(request(cookie)).await.unwrap();
    }
    let ada = Some(("ada".to_owned(), acme()));
    assert_eq!(*calls.lock().unwrap(), [ada.clone(), ada, None, None]);
}

#[tokio::test]
async fn a_panicking_sink_breaks_nothing_and_a_service_error_is_not_reported() {
    let keys = acme_s_key().await;
    let assembly = || assembly(keys.clone()).without_route_table();
    let panicking = assembly().usage(|_: &Call<'_>| panic!("the sink has a bug")).build().unwrap();
    let service = panicking.layer().layer(service_fn(whoami));
    let response = service.clone().oneshot(at("/", Some(KEY))).await.unwrap();
    assert_eq!(
        (response.status(), &**response.body()),
        (StatusCode::OK, record(KEY, |_| {}).id.as_str().as_bytes())
    );
    let response = service.oneshot(at("/", Some(UNKNOWN_KEY))).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "a rejection, too");

    let notes = Notes::default();
    let sink = notes.clone();
    let keys = assembly().usage(move |call: &Call<'_>| sink.add(call)).build().unwrap();
    let failing = service_fn(async |_: Request<()>| Err::<Response<Bytes>, BoxError>("gone".into()));
    assert!(keys.layer().layer(failing).oneshot(at("/", Some(KEY))).await.is_err());
    assert_eq!(notes.take(), [""; 0]);
}

#[cfg(feature = "axum")]
#[tokio::test]
async fn the_route_is_axum_s() {
    use axum::Router;
    use axum::routing::post;
    use tower_api_keys::route::RouteMatching;

    let routes = Arc::new(Mutex::new(Vec::new()));
    let sink = {
        let routes = routes.clone();
        move |call: &Call<'_>| {
            routes.lock().unwrap().push((call.method().clone(), call.route().map(str::to_owned)))
        }
    };
    let keys = assembly(acme_s_key().await)
        .match_routes(RouteMatching::MatchedPath)
        .usage(sink)
        .without_route_table()
        .build()
        .unwrap();
    let app = Router::new().route("/ships/{id}", post(async || "")).layer(keys.layer());
    for path in ["/ships/7", "/nowhere"] {
        let request = at(path, Some(KEY)).map(|()| axum::body::Body::empty());
        app.clone().oneshot(request).await.unwrap();
    }
    let expected = [(http::Method::POST, Some("/ships/{id}".to_owned())), (http::Method::POST, None)];
    assert_eq!(*routes.lock().unwrap(), expected);
}
