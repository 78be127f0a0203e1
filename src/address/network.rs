use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::InvalidValue;

/// A range of addresses: `192.0.2.0/24`, `2001:db8::/32`, or one address such as `10.0.0.7`.
///
/// IPv4 addresses written as IPv6 (`::ffff:192.0.2.0/120`) are treated as IPv4, here and in comparisons.
///
/// ```
/// use tower_api_keys::address::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.1.2.3".parse().unwrap()));
/// assert!(network.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!network.contains("11.0.0.1".parse().unwrap()));
///
/// // One address or a whole network: ambiguous.
/// assert!("10.0.0.7/8".parse::<Network>().is_err());
/// # Ok::<_, tower_api_keys::InvalidValue>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Whether `address` lies in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.prefix) == self.address
    }

    /// Whether every address of `other` lies in this network.
    ///
    /// ```
    /// use tower_api_keys::address::Network;
    ///
    /// let [wide, narrow]: [Network; 2] = ["10.0.0.0/8".parse()?, "10.1.0.0/16".parse()?];
    /// assert!(wide.contains_network(&narrow) && !narrow.contains_network(&wide));
    /// # Ok::<_, tower_api_keys::InvalidValue>(())
    /// ```
    pub fn contains_network(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.address)
    }
}

impl FromStr for Network {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| INVALID)?;
        let written_bits = if written.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().map_err(|_| INVALID)?
            }
            Some(_) => return Err(INVALID),
            None => written_bits,
        };
        let address = written.to_canonical();
        // Nonzero only for an IPv4 address written as IPv6.
        let unwrapped_bits = if written.is_ipv6() && address.is_ipv4() { 96 } else { 0 };
        if prefix > written_bits || prefix < unwrapped_bits {
            return Err(INVALID);
        }
        let prefix = prefix - unwrapped_bits;
        if masked(address, prefix) == address { Ok(Self { address, prefix }) } else { Err(INVALID) }
    }
}

impl From<IpAddr> for Network {
    /// The network of one address.
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self { address, prefix: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Network({self})")
    }
}

/// The first `prefix` bits of `address`, followed by zeros.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let bits = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4((address.to_bits() & bits).into())
        }
        IpAddr::V6(address) => IpAddr::V6(masked_v6(address, prefix)),
    }
}

pub(super) fn masked_v6(address: Ipv6Addr, prefix: u8) -> Ipv6Addr {
    let bits = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
    (address.to_bits() & bits).into()
}

const INVALID: InvalidValue = InvalidValue::new(
    "network",
    "a network is an address, or one followed by / and its prefix length, with no bits set beyond that",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_only_networks() {
        for (text, want) in [
            ("10.0.0.0/8", Some("10.0.0.0/8")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("10.0.0.7", Some("10.0.0.7/32")),
            ("2001:db8::/32", Some("2001:db8::/32")),
            ("::/0", Some("::/0")),
            ("::1", Some("::1/128")),
            ("::ffff:10.0.0.0/104", Some("10.0.0.0/8")),
            ("::ffff:10.0.0.7", Some("10.0.0.7/32")),
            ("::ffff:0.0.0.0/95", None),
            ("10.0.0.7/8", None),
            ("10.0.0.0/33", None),
            ("::/129", None),
            ("10.0.0.0/", None),
            ("10.0.0.0/+8", None),
            ("10.0.0.0/8/8", None),
            ("10.0.0", None),
            ("", None),
            ("proxy.example", None),
        ] {
            assert_eq!(
                text.parse::<Network>().ok().map(|network| network.to_string()).as_deref(),
                want,
                "{text}"
            );
        }
    }

    #[test]
    fn an_empty_prefix_contains_its_family_only() {
        let every_v4: Network = "0.0.0.0/0".parse().unwrap();
        assert!(every_v4.contains("255.255.255.255".parse().unwrap()));
        assert!(every_v4.contains("::ffff:1.2.3.4".parse().unwrap()));
        assert!(!every_v4.contains("::1".parse().unwrap()));
    }
}
