//! Addresses: the client address of a request, and networks.
//!
//! * [`PeerAddress`]: the other end of the connection, as the application attaches it to each request.
//! * [`ClientAddressSource`]: how to find the client's address, also behind proxies.
//! * [`ClientAddress`]: the form of it that requests are counted by.
//! * [`Network`]: a range of addresses, such as those that a key may be used from.
//!
//! ```
//! use http::HeaderMap;
//! use tower_api_keys::address::{ClientAddressSource, Network};
//!
//! let office: Network = "2001:db8:7::/48".parse()?;
//! let client = ClientAddressSource::peer().find_exact("2001:db8:7:1::5".parse()?, &HeaderMap::new());
//! assert!(client.is_some_and(|client| office.contains(client)));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```

mod client_address;
mod network;
mod peer;

pub use client_address::{ClientAddress, ClientAddressSource};
pub use network::Network;
pub use peer::PeerAddress;
