use std::net::IpAddr;

use http::Extensions;

/// The address at the other end of the connection, for hosts to attach to each request.
///
/// With axum and its `into_make_service_with_connect_info` that is done already.
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
    /// What to do about a request without one.
    pub(crate) const MISSING: &'static str = "the client's address can't be told without the peer's: insert a PeerAddress into the request's \
         extensions, or serve with axum's into_make_service_with_connect_info::<SocketAddr>()";

    /// The peer of the request with these extensions: what the host attached, or what axum did.
    pub(crate) fn from_extensions(extensions: &Extensions) -> Option<Self> {
        let attached = extensions.get().copied();
        #[cfg(feature = "axum")]
        let attached = attached.or_else(|| {
            let axum::extract::ConnectInfo(peer) =
                extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>()?;
            Some(Self(peer.ip()))
        });
        attached
    }
}
