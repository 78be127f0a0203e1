//! 6, address: whether the key may be used from where the request comes.

use std::net::IpAddr;

use crate::address::{ClientAddressSource, Network, PeerAddress};
use crate::key::KeyRecord;
use crate::middleware::checks::Checks;
use crate::rejection::Reason;
use crate::request::RequestView;

/// Where a request comes from: `None` if a proxy does not say so.
pub(super) type Client = Result<Option<IpAddr>, Reason>;

/// Asks for the client only if the key is held to some addresses.
#[inline]
pub(super) fn check_address(record: &KeyRecord, client: impl FnOnce() -> Client) -> Result<(), Reason> {
    let allowed = &record.extras.allowed_addresses;
    if allowed.is_empty() { Ok(()) } else { check_client(allowed, client()) }
}

fn check_client(allowed: &[Network], client: Client) -> Result<(), Reason> {
    match client? {
        Some(address) if allowed.iter().any(|network| network.contains(address)) => Ok(()),
        _ => Err(Reason::AddressNotAllowed),
    }
}

impl Checks {
    pub(super) fn client(&self, request: RequestView<'_>) -> Client {
        let (source, peer) = self.client_source(request)?;
        Ok(source.find_exact(peer, request.headers))
    }

    /// How the client's address is found, and the other end of the connection.
    pub(super) fn client_source(
        &self,
        request: RequestView<'_>,
    ) -> Result<(&ClientAddressSource, IpAddr), Reason> {
        let source = self.client_address.as_ref().ok_or(Reason::Misconfigured(
            "keys with allowed addresses need `ApiKeysBuilder::client_address`",
        ))?;
        let peer = source.peer_of(request.extensions).ok_or(Reason::Misconfigured(PeerAddress::MISSING))?;
        Ok((source, peer))
    }
}
