//! The layers in a tonic server, called by a tonic client over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::transport::server::{TcpConnectInfo, TcpIncoming};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::StatusExt;
use tower::ServiceBuilder;
use tower_api_keys::address::{ClientAddressSource, PeerAddress};
use tower_api_keys::clock::{Clock, SystemClock};
use tower_api_keys::rejection::GrpcStatus;
use tower_api_keys::usage::{UsageBucket, UsageOutcome, UsageQuery};
use tower_api_keys::{ApiKeysBuilder, Principal, Quota, RateLimit};

use crate::server::{self, Server};
use crate::support::{Answers, KEY, OTHER_KEY, TestStore, UNKNOWN_KEY, assembly, record, store};

const CHECK: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Returns the key's identifier in the metadata, and knows no service by name.
struct Whoami;

#[tonic::async_trait]
impl Health for Whoami {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        if !request.get_ref().service.is_empty() {
            return Err(Status::not_found("no such service"));
        }
        let caller = Principal::from_tonic(&request)?.key_id().to_string();
        let mut response = Response::new(HealthCheckResponse { status: ServingStatus::Serving.into() });
        response.metadata_mut().insert("caller", caller.parse().unwrap());
        Ok(response)
    }

    type WatchStream = tokio_stream::Empty<Result<HealthCheckResponse, Status>>;

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}

/// Serves [`Whoami`] behind `layers`, on a free port, until the test ends.
macro_rules! serve {
    ($layers:expr) => {{
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server =
            tonic::transport::Server::builder().layer($layers).add_service(HealthServer::new(Whoami));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        client(address).await
    }};
}

async fn client(address: SocketAddr) -> HealthClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    HealthClient::new(endpoint.connect().await.unwrap())
}

/// The assembly of a store with two keys.
async fn keys(answers: Answers) -> ApiKeysBuilder<GrpcStatus> {
    assembly(records(answers).await).errors(GrpcStatus)
}

async fn records(answers: Answers) -> TestStore {
    TestStore::new(store([record(KEY, |_| {}), record(OTHER_KEY, |_| {})]).await, answers)
}

fn call(keys: &[&str]) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest::default());
    for key in keys {
        request.metadata_mut().append("x-api-key", MetadataValue::try_from(*key).unwrap());
    }
    request
}

/// The status that a call is rejected with.
async fn rejected(client: &mut HealthClient<Channel>, keys: &[&str]) -> Status {
    client.check(call(keys)).await.expect_err("the call is rejected")
}

#[tokio::test]
async fn good_keys_reach_the_service_and_bad_ones_are_unauthenticated() {
    for answers in [Answers::AtOnce, Answers::Later] {
        let mut client = serve!(keys(answers).await.without_route_table().build().unwrap().layer());
        let response = client.check(call(&[KEY])).await.expect("the key is good");
        assert_eq!(response.metadata().get("caller").unwrap(), &record(KEY, |_| {}).id.to_string());
        assert_eq!(response.into_inner().status(), ServingStatus::Serving);
        assert!(client.watch(call(&[KEY])).await.is_ok(), "streams too");
        for (name, keys) in [
            ("none", [].as_slice()),
            ("unknown", &[UNKNOWN_KEY]),
            ("malformed", &["wfk_"]),
            ("the key twice", &[KEY, KEY]),
        ] {
            let status = rejected(&mut client, keys).await;
            assert_eq!(status.code(), Code::Unauthenticated, "{name}");
            assert!(!status.message().is_empty() && status.details().is_empty(), "{name}: {status:?}");
            let streamed = client.watch(call(keys)).await.expect_err("the call is rejected");
            assert_eq!(streamed.code(), Code::Unauthenticated, "{name}");
        }
    }
}

#[tokio::test]
async fn the_status_that_a_handler_fails_with_is_counted() {
    let keys = keys(Answers::AtOnce).await.without_route_table().count_usage().build().unwrap();
    let mut client = serve!(keys.layer());
    let mut unknown = call(&[KEY]);
    unknown.get_mut().service = "unknown".to_owned();
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
    client.check(call(&[KEY])).await.unwrap();
    keys.flush().await.unwrap();
    let now = SystemClock.now().timestamp();
    let hour = UsageQuery::new(now.saturating_sub(Duration::from_secs(3600)), now, UsageBucket::Day);
    let rows = keys.manager().usage_of_all(&hour).await.unwrap().rows;
    let sum = |outcome| rows.iter().map(|row| row.calls.of(outcome)).sum::<u64>();
    assert_eq!((sum(UsageOutcome::Ok), sum(UsageOutcome::ClientError)), (1, 1));
}

#[tokio::test]
async fn a_missing_scope_is_permission_denied() {
    let keys = keys(Answers::AtOnce).await;
    let keys = keys.routes([("POST", CHECK, "workflows:read"), ("POST", WATCH, "workflows:write")]);
    let mut client = serve!(keys.build().unwrap().layer());
    assert!(client.check(call(&[KEY])).await.is_ok());
    let status = client.watch(call(&[KEY])).await.expect_err("the call is rejected");
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, "The key may not do this."));
}

#[tokio::test]
async fn over_the_limit_is_resource_exhausted_with_the_time_to_retry() {
    let limit = RateLimit::per_key("calls", Quota::per_minute(2).unwrap());
    let keys = keys(Answers::AtOnce).await.limit(limit).without_route_table();
    let mut client = serve!(keys.build().unwrap().layer());
    for remaining in ["1", "0"] {
        let response = client.check(call(&[KEY])).await.expect("within the limit");
        assert_eq!(response.metadata().get("x-ratelimit-remaining").unwrap(), remaining);
    }
    let status = rejected(&mut client, &[KEY]).await;
    assert_eq!(status.code(), Code::ResourceExhausted);

    let number = |name| status.metadata().get(name).unwrap().to_str().unwrap().parse::<u64>().unwrap();
    let (push_back, retry_after) = (number("grpc-retry-pushback-ms"), number("retry-after"));
    // The window, and the granularity of its end.
    assert!((1..=62_000).contains(&push_back), "{push_back} ms");
    assert_eq!(retry_after, push_back.div_ceil(1000));
    let details = status.get_details_retry_info().expect("there is a RetryInfo");
    let delay = details.retry_delay.expect("with a delay");
    assert_eq!(delay.as_nanos().div_ceil(1_000_000), u128::from(push_back));

    assert!(client.check(call(&[OTHER_KEY])).await.is_ok(), "another key has a limit of its own");
}

#[tokio::test]
async fn a_store_that_fails_is_unavailable() {
    for answers in [Answers::WithAnError, Answers::WithAPanic, Answers::WithAPanicLater] {
        let mut client = serve!(keys(answers).await.without_route_table().build().unwrap().layer());
        let status = rejected(&mut client, &[KEY]).await;
        assert_eq!(status.code(), Code::Unavailable, "{answers:?}");
        assert_eq!(status.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000", "{answers:?}");
    }
}

#[tokio::test]
async fn a_service_rejects_a_request_without_a_principal() {
    let keys = keys(Answers::AtOnce).await.allow_anonymous().without_route_table();
    let mut client = serve!(keys.build().unwrap().layer());
    assert_eq!(rejected(&mut client, &[]).await.code(), Code::Unauthenticated);
    assert_eq!(rejected(&mut client, &[UNKNOWN_KEY]).await.code(), Code::Unauthenticated);
    let mut client = serve!(tower::layer::util::Identity::new());
    assert_eq!(rejected(&mut client, &[KEY]).await.code(), Code::Internal);
}

#[tokio::test]
async fn layers_in_the_wrong_order_are_internal() {
    let limit = RateLimit::per_key("calls", Quota::per_minute(2).unwrap());
    let keys = keys(Answers::AtOnce).await.limit(limit).without_route_table().build().unwrap();
    for layer in [keys.rate_limit(), keys.authorize(), keys.require("workflows:read")] {
        let mut client = serve!(layer);
        assert_eq!(rejected(&mut client, &[KEY]).await.code(), Code::Internal);
    }
}

#[tokio::test]
async fn calls_can_be_limited_by_address() {
    let keys = keys(Answers::AtOnce)
        .await
        .limit(RateLimit::per_address("calls", Quota::per_minute(1).unwrap()))
        .client_address(ClientAddressSource::peer())
        .without_route_table();
    let keys = keys.build().unwrap();
    let layers = ServiceBuilder::new()
        .map_request(|mut request: http::Request<Body>| {
            let peer = request.extensions().get().and_then(TcpConnectInfo::remote_addr);
            request.extensions_mut().insert(PeerAddress(peer.expect("tonic knows its peers").ip()));
            request
        })
        .layer(keys.layer());
    let mut client = serve!(layers);
    assert_eq!(rejected(&mut client, &[]).await.code(), Code::Unauthenticated);
    assert_eq!(rejected(&mut client, &[KEY]).await.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn the_example_rejects_as_it_says() {
    let server = Server::start("tonic_service", &[("LIMIT", "2")]);
    let key = &server.get("API_KEY").to_owned();
    let mut client = client(server.address().parse().unwrap()).await;
    assert_eq!(rejected(&mut client, &[]).await.code(), Code::Unauthenticated);
    assert!(client.check(call(&[key])).await.unwrap().metadata().contains_key("caller"));
    assert_eq!(client.watch(call(&[key])).await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(rejected(&mut client, &[key]).await.code(), Code::ResourceExhausted);
    // The client runs on this thread, and must notice that the server stops.
    let stopped = tokio::task::spawn_blocking(move || server.stop("-TERM"));
    assert!(stopped.await.expect("stop does not panic"));
}

#[test]
fn the_examples_curl_lines_work_as_pasted() {
    let server = Server::start("tonic_service", &[]);
    let lines = server.lines.iter().filter(|line| line.starts_with("printf "));
    let statuses: Vec<String> = lines
        .map(|line| {
            let text = server::paste(line);
            // Trailers follow the message, which is not text.
            let status = text.split_once("grpc-status: ").and_then(|(_, rest)| rest.lines().next());
            status.unwrap_or_else(|| panic!("{line}: {text}")).trim().to_owned()
        })
        .collect();
    assert_eq!(statuses, ["0", "16", "7"]);
}
