use std::net::IpAddr;

/// The address at the other end of the connection, for the application to attach to each request.
///
/// With axum, [`ClientAddressSource`](super::ClientAddressSource) can take it from `ConnectInfo` instead.
///
/// ```
/// use http::Request;
/// use tower_api_keys::address::PeerAddress;
///
/// let peer: std::net::SocketAddr = "203.0.113.9:40112".parse()?;
/// let mut request = Request::new(());
/// request.extensions_mut().insert(PeerAddress(peer.ip()));
/// # Ok::<_, std::net::AddrParseError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub IpAddr);

impl PeerAddress {
    /// How to fix a request without one.
    pub(crate) const MISSING: &'static str = "the client's address is unknown without the peer's: insert a PeerAddress into \
         the request's extensions, or, with axum, use `ClientAddressSource::from_connect_info` and serve with \
         into_make_service_with_connect_info::<SocketAddr>()";
}
