use tonic::{Request, Status};

use crate::identity::{Authentication, Caller, Principal};

impl Principal {
    /// The caller of a gRPC method.
    ///
    /// The layers wrap all services of a server, and reject in gRPC's format with
    /// [`GrpcStatus`](crate::rejection::GrpcStatus). A call's path is `/package.Service/Method` and its method is `POST`.
    ///
    /// ```
    /// use tonic::transport::Server;
    /// use tonic::{Request, Response, Status};
    /// use tower_api_keys::rejection::GrpcStatus;
    /// use tower_api_keys::store::MemoryStore;
    /// use tower_api_keys::{ApiKeys, KeyFormat, Principal};
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .route("POST", "/grpc.health.v1.Health/Check", "health:check")
    ///     .errors(GrpcStatus)
    ///     .build()?;
    ///
    /// async fn whoami(request: Request<()>) -> Result<Response<String>, Status> {
    ///     let principal = Principal::from_tonic(&request)?;
    ///     Ok(Response::new(principal.key_id().to_string()))
    /// }
    ///
    /// let (_, health) = tonic_health::server::health_reporter();
    /// let router = Server::builder().layer(keys.layer()).add_service(health);
    /// # let _ = router;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// Use tonic's `Server::layer` rather than a layer around a single service, which would lose its name. A method that
    /// also accepts anonymous callers uses [`from_extensions`](Self::from_extensions).
    ///
    /// A limit by client address needs the peer's address. tonic attaches it in its own type; add outside the limit
    ///
    /// ```
    /// use http::Request;
    /// use tonic::transport::server::TcpConnectInfo;
    /// use tower_api_keys::address::PeerAddress;
    ///
    /// fn with_peer_address<B>(mut request: Request<B>) -> Request<B> {
    ///     let peer = request.extensions().get().and_then(TcpConnectInfo::remote_addr);
    ///     if let Some(peer) = peer {
    ///         request.extensions_mut().insert(PeerAddress(peer.ip()));
    ///     }
    ///     request
    /// }
    ///
    /// let layers = tower::ServiceBuilder::new().map_request(with_peer_address::<tonic::body::Body>);
    /// ```
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` for an anonymous request, if such requests are accepted; `INTERNAL` if there is no outer layer,
    /// or a session has several owners and none is selected.
    pub fn from_tonic<T>(request: &Request<T>) -> Result<&Self, Status> {
        match Authentication::of(request.extensions()).map(|authentication| &authentication.caller) {
            Some(Caller::Principal(principal)) => Ok(principal),
            Some(Caller::Anonymous) => Err(Status::unauthenticated("no credential was presented")),
            Some(Caller::Session { .. }) => {
                Err(Status::internal("a session of several owners needs `ApiKeysBuilder::organization`"))
            }
            None => {
                Err(Status::internal("`Principal::from_tonic` needs `ApiKeys::layer` outside this service"))
            }
        }
    }
}
