//! Keys where a browser can put them: in a WebSocket's subprotocols and in the query.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_api_keys::ApiKeysBuilder;
use tower_api_keys::credential::{QueryKey, WebSocketKey};
use tower_api_keys::request::RequestView;

use crate::support::*;

async fn everywhere() -> ApiKeysBuilder {
    assembly(store([record(KEY, |_| {})]).await)
        .extractor(WebSocketKey::new(format()))
        .extractor(QueryKey::new("api_key", format()))
        .without_route_table()
}

async fn send(keys: ApiKeysBuilder, uri: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
    let service = ServiceBuilder::new().layer(keys.build().unwrap().layer()).service(service_fn(whoami));
    let mut request = Request::get(uri);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    service.oneshot(request.body(()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_key_is_accepted_in_each_place_and_in_one_at_a_time() {
    let offered = format!("acme, key.{KEY}");
    let (socket, header) = (("sec-websocket-protocol", offered.as_str()), ("x-api-key", KEY));
    let protocol_alone = ("sec-websocket-protocol", "acme");
    let with_key = format!("/events?api_key={KEY}");
    for (uri, fields, status) in [
        ("/socket", &[socket][..], 200),
        ("/socket", &[header, protocol_alone], 200),
        (&with_key, &[], 200),
        (&with_key, &[protocol_alone], 200),
        ("/events", &[protocol_alone], 401),
        ("/events?api_key=junk", &[], 401),
        ("/socket", &[("sec-websocket-protocol", "acme, key.junk")], 401),
        ("/socket", &[socket, header], 400),
        (&with_key, &[socket], 400),
        (&with_key, &[header], 400),
        ("/events?api_key=junk", &[header], 400),
        ("/socket", &[header, ("sec-websocket-protocol", "acme, key.junk")], 400),
        (&format!("{with_key}&api%5Fkey={KEY}"), &[], 400),
        ("/socket", &[socket, socket], 400),
    ] {
        let response = send(everywhere().await, uri, fields).await;
        assert_eq!(response.status().as_u16(), status, "{uri} {fields:?}");
    }
}

#[tokio::test]
async fn a_protocol_without_a_key_is_no_foreign_credential() {
    let offered = [("sec-websocket-protocol", "acme, v2")];
    let response = send(everywhere().await.allow_anonymous(), "/socket", &offered).await;
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &b"anonymous"[..]));
}

#[tokio::test]
async fn responses_are_private_and_challenges_name_the_places() {
    let offered = format!("acme, key.{KEY}");
    let with_key = format!("/events?api_key={KEY}");
    for (uri, fields) in
        [("/socket", &[("sec-websocket-protocol", offered.as_str())][..]), (with_key.as_str(), &[])]
    {
        let response = send(everywhere().await, uri, fields).await;
        assert_eq!(response.headers()["cache-control"], "private", "{uri}");
    }
    let response = send(everywhere().await, "/", &[]).await;
    let challenges: Vec<_> = response.headers().get_all("www-authenticate").iter().collect();
    let expected = [
        r#"ApiKey header="x-api-key""#,
        r#"ApiKey header="sec-websocket-protocol""#,
        r#"ApiKey query="api_key""#,
    ];
    assert_eq!(challenges, expected);
}

#[tokio::test]
async fn debug_output_and_metering_show_no_key() {
    let seen = Arc::new(Mutex::new(String::new()));
    let (inside, metered) = (seen.clone(), seen.clone());
    let keys = everywhere().await.usage(move |call| {
        *metered.lock().unwrap() += &format!("{call:?} {}", call.path());
    });
    let service =
        ServiceBuilder::new().layer(keys.build().unwrap().layer()).service_fn(move |request: Request<()>| {
            *inside.lock().unwrap() += &format!("{:?}", RequestView::of(&request));
            whoami(request)
        });
    let offered = format!("acme, key.{KEY}");
    for request in [
        Request::get(format!("/events?api_key={KEY}")),
        Request::get("/socket").header("sec-websocket-protocol", &offered),
        Request::get("/socket")
            .header("sec-websocket-protocol", "acme")
            .header("sec-websocket-protocol", &offered),
    ] {
        let response = service.clone().oneshot(request.body(()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
    }
    let seen = seen.lock().unwrap();
    assert!(seen.contains("/events") && seen.contains("Sensitive"), "{seen}");
    assert!(!seen.contains(KEY), "{seen}");
}
