//! For hosts that use tonic: the [`Principal`] of a call.
//!
//! The layers go round all services of a server, and refuse as gRPC does with
//! [`GrpcStatus`](crate::rejection::GrpcStatus). A call's path is `/package.Service/Method` and its method is `POST`, so
//! a [`RouteTable`](crate::route::RouteTable) says what each call needs.
//!
//! ```
//! use http::{HeaderName, Method};
//! use tonic::transport::Server;
//! use tower::ServiceBuilder;
//! use tower_api_keys::authorize::Access;
//! use tower_api_keys::credential::HeaderKey;
//! use tower_api_keys::key::KeyFormat;
//! use tower_api_keys::rejection::GrpcStatus;
//! use tower_api_keys::route::RouteTable;
//! use tower_api_keys::scope::ScopeRequirement;
//! use tower_api_keys::store::MemoryStore;
//! use tower_api_keys::{AuthenticateLayer, RequireScopeLayer};
//!
//! const CHECK: ScopeRequirement = ScopeRequirement::from_static("health:check");
//!
//! let header = HeaderKey::new(HeaderName::from_static("x-api-key"), KeyFormat::new("acme_").build()?);
//! let access = RouteTable::new().add(Method::POST, "/grpc.health.v1.Health/Check", Access::Scope(CHECK))?;
//! let layers = ServiceBuilder::new()
//!     .layer(AuthenticateLayer::new(MemoryStore::new(), header).with_rejection_format(GrpcStatus))
//!     .layer(RequireScopeLayer::by_route(access)?.with_rejection_format(GrpcStatus));
//!
//! let (_, health) = tonic_health::server::health_reporter();
//! let router = Server::builder().layer(layers).add_service(health);
//! # let _ = router;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! With tonic's `Server::layer` rather than round a single service, which would lose its name.
//!
//! A limit by client address needs the peer's address. tonic attaches it in a type of its own; outside the limit goes
//!
//! ```
//! use http::Request;
//! use tonic::transport::server::TcpConnectInfo;
//! use tower_api_keys::address::PeerAddress;
//!
//! fn with_peer_address<B>(mut request: Request<B>) -> Request<B> {
//!     let peer = request.extensions().get().and_then(TcpConnectInfo::remote_addr);
//!     if let Some(peer) = peer {
//!         request.extensions_mut().insert(PeerAddress(peer.ip()));
//!     }
//!     request
//! }
//!
//! let layers = tower::ServiceBuilder::new().map_request(with_peer_address::<tonic::body::Body>);
//! ```

use tonic::{Request, Status};

use crate::principal::{Authentication, Principal};

/// Who is calling.
///
/// ```
/// use tonic::{Request, Response, Status};
///
/// async fn whoami(request: Request<()>) -> Result<Response<String>, Status> {
///     let principal = tower_api_keys::tonic::principal(&request)?;
///     Ok(Response::new(principal.key_id().to_string()))
/// }
/// ```
///
/// A method that also serves callers without a key asks [`Principal::from_extensions`].
///
/// # Errors
///
/// `UNAUTHENTICATED` if the authentication layer lets requests without a credential through, and this is one;
/// `INTERNAL` if there is no authentication layer.
pub fn principal<T>(request: &Request<T>) -> Result<&Principal, Status> {
    let authentication = Authentication::of(request.extensions())
        .ok_or_else(|| Status::internal("principal() needs AuthenticateLayer outside this service"))?;
    let principal = authentication.principal().map_err(|reason| Status::internal(reason.to_string()))?;
    principal.ok_or_else(|| Status::unauthenticated("no credential was presented"))
}
