use std::fmt;
use std::net::{IpAddr, SocketAddr};

use http::{Extensions, HeaderMap, HeaderName, HeaderValue};

use super::PeerAddress;
use super::network::{Network, masked_v6};
use crate::InvalidValue;

/// The client address of a request, in the form that requests are counted by.
///
/// An IPv4 address is kept, also when written as IPv6 (`::ffff:192.0.2.1`). Of an IPv6 address only the network part
/// is kept, 64 bits by default, since a client with one address of a network has all of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// Aligned like a `KeyId`, for the same reason: otherwise a permit takes a limiter 6 ns longer, of 50.
#[repr(align(8))]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// The counted address: IPv4, or IPv6 with zeros after the network part.
    pub fn ip(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientAddress({})", self.0)
    }
}

/// How the address of a request's client is found.
///
/// 1. It is the address of the connection's peer, unless the peer is a configured proxy. By default there is none, so
///    no header field is read.
/// 2. Behind a proxy, `X-Forwarded-For` is read from its right end, where the nearest proxy wrote: the first address
///    that is not a proxy's is the client's. Text written by the client is further left. If so configured, `Forwarded`
///    (RFC 7239) is read in the same way instead; or one field with one address, which the proxy must overwrite; or the
///    first existing one of several fields.
/// 3. If the field is missing, has no client, or cannot be parsed up to the client, the client is unknown. For
///    [counting](Self::find), the peer's address then stands for all of its clients: they share a limit, and none
///    escapes it. Checks that need the [exact](Self::find_exact) address get none.
/// 4. IPv4 written as IPv6 becomes IPv4. For counting, IPv6 is then cut to its network part.
///
/// Configure the proxies' addresses, not networks they share with others: requests from a proxy's address are
/// trusted, and never counted as a client.
///
/// Field names are matched exactly: `X_Forwarded_For`, which some servers treat as the same, is not read.
///
/// ```
/// use http::HeaderMap;
/// use tower_api_keys::address::ClientAddressSource;
///
/// let source = ClientAddressSource::forwarded_for(["10.0.0.0/8"]);
/// let mut headers = HeaderMap::new();
/// headers.insert("x-forwarded-for", "1.1.1.1, 203.0.113.9, 10.0.0.2".parse()?);
///
/// // Through our proxies: the part left of the client's address is forged.
/// let client = source.find("10.0.0.1".parse()?, &headers);
/// assert_eq!(client.to_string(), "203.0.113.9");
///
/// // Past our proxies.
/// let client = source.find("198.51.100.7".parse()?, &headers);
/// assert_eq!(client.to_string(), "198.51.100.7");
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct ClientAddressSource {
    proxies: Vec<Network>,
    /// The first existing field is used.
    fields: Vec<Field>,
    ipv6_prefix: u8,
    connect_info: bool,
    fault: Option<InvalidValue>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Field {
    ForwardedFor,
    Forwarded,
    Single(HeaderName),
}

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED: HeaderName = http::header::FORWARDED;

impl ClientAddressSource {
    /// Uses the address of the connection's peer, a [`PeerAddress`](super::PeerAddress). No header field is read.
    pub fn peer() -> Self {
        Self { proxies: Vec::new(), fields: Vec::new(), ipv6_prefix: 64, connect_info: false, fault: None }
    }

    /// Uses `X-Forwarded-For`, if the peer is one of `proxies`: networks such as `10.0.0.0/8`, or single addresses.
    pub fn forwarded_for<P>(proxies: P) -> Self
    where
        P: IntoIterator<Item: AsRef<str>>,
    {
        let mut source = Self { fields: vec![Field::ForwardedFor], ..Self::peer() };
        for proxy in proxies {
            match proxy.as_ref().parse() {
                Ok(network) => source.proxies.push(network),
                Err(_) => {
                    source.find_fault(format!("{:?} is not a network such as 10.0.0.0/8", proxy.as_ref()))
                }
            }
        }
        source
    }

    /// Uses the `for` of `Forwarded` (RFC 7239), from its right end, if the peer is one of `proxies`. A client that a proxy
    /// does not name (`unknown`, `_hidden`) is unknown.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use tower_api_keys::address::ClientAddressSource;
    ///
    /// let source = ClientAddressSource::forwarded(["10.0.0.0/8"]);
    /// let mut headers = HeaderMap::new();
    /// headers.insert("forwarded", r#"for=1.1.1.1, for="[2001:db8::5]:4711";proto=https, for=10.0.0.2"#.parse()?);
    /// assert_eq!(source.find_exact("10.0.0.1".parse()?, &headers), Some("2001:db8::5".parse()?));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn forwarded<P>(proxies: P) -> Self
    where
        P: IntoIterator<Item: AsRef<str>>,
    {
        Self { fields: vec![Field::Forwarded], ..Self::forwarded_for(proxies) }
    }

    /// Uses a field with one address, such as `x-real-ip` or `cf-connecting-ip`, if the peer is one of `proxies`. The
    /// proxy must overwrite the field of a client.
    pub fn single_field<P>(name: impl AsRef<str>, proxies: P) -> Self
    where
        P: IntoIterator<Item: AsRef<str>>,
    {
        let mut source = Self::forwarded_for(proxies);
        source.fields.clear();
        source.or_single_field(name)
    }

    /// Uses this field like [`single_field`](Self::single_field) if none of the previous fields exists.
    ///
    /// **The proxies must overwrite or remove each of the fields.** If they pass one on, a client can forge it, and
    /// it takes precedence over later fields.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use tower_api_keys::address::ClientAddressSource;
    ///
    /// let source = ClientAddressSource::single_field("cf-connecting-ip", ["10.0.0.1"])
    ///     .or_single_field("x-real-ip")
    ///     .or_forwarded_for();
    /// let mut headers = HeaderMap::new();
    /// headers.insert("x-forwarded-for", "203.0.113.9".parse()?);
    /// assert_eq!(source.find("10.0.0.1".parse()?, &headers).to_string(), "203.0.113.9");
    /// headers.insert("x-real-ip", "198.51.100.7".parse()?);
    /// assert_eq!(source.find("10.0.0.1".parse()?, &headers).to_string(), "198.51.100.7");
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn or_single_field(mut self, name: impl AsRef<str>) -> Self {
        match Field::single(name.as_ref()) {
            Ok(field) => self.fields.push(field),
            Err(fault) => self.find_fault(fault),
        }
        self
    }

    /// Uses `X-Forwarded-For`, from its right end, if none of the previous fields exists. See
    /// [`or_single_field`](Self::or_single_field).
    pub fn or_forwarded_for(mut self) -> Self {
        self.fields.push(Field::ForwardedFor);
        self
    }

    /// Sets how many bits of an IPv6 address are counted: 32 to 128, by default 64.
    pub fn ipv6_prefix(mut self, bits: u8) -> Self {
        if (32..=128).contains(&bits) {
            self.ipv6_prefix = bits;
        } else {
            self.find_fault(format!("the network part of an IPv6 address is 32 to 128 bits, not {bits}"));
        }
        self
    }

    /// Uses axum's `ConnectInfo<SocketAddr>` as the peer if the request has no [`PeerAddress`](super::PeerAddress).
    /// Serve with `into_make_service_with_connect_info::<SocketAddr>()`.
    #[cfg(feature = "axum")]
    pub fn from_connect_info(self) -> Self {
        Self { connect_info: true, ..self }
    }

    /// The fault of the configuration, if any.
    pub fn fault(&self) -> Option<&InvalidValue> {
        self.fault.as_ref()
    }

    fn find_fault(&mut self, reason: String) {
        self.fault.get_or_insert_with(|| InvalidValue::naming("client address source", reason));
    }

    /// The peer of the connection of a request.
    pub(crate) fn peer_of(&self, extensions: &Extensions) -> Option<IpAddr> {
        let attached = extensions.get().map(|PeerAddress(peer)| *peer);
        #[cfg(feature = "axum")]
        let attached = attached.or_else(|| {
            let info: &axum::extract::ConnectInfo<SocketAddr> =
                extensions.get().filter(|_| self.connect_info)?;
            Some(info.0.ip())
        });
        attached
    }

    /// The client of a request with `headers` from `peer`, in the form for counting.
    pub fn find(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        ClientAddress(match self.find_exact(peer, headers).unwrap_or(peer.to_canonical()) {
            IpAddr::V6(address) => IpAddr::V6(masked_v6(address, self.ipv6_prefix)),
            address => address,
        })
    }

    /// The client's whole address, to compare with others; `None` if a proxy does not report it.
    ///
    /// The proxy's own address would be unsafe then: a client can make a proxy drop a field (RFC 9110 section 7.6.1,
    /// with `Connection: X-Forwarded-For`), and would be accepted wherever the proxy is.
    ///
    /// ```
    /// use http::HeaderMap;
    /// use tower_api_keys::address::ClientAddressSource;
    ///
    /// let source = ClientAddressSource::forwarded_for(["10.0.0.1"]);
    /// let mut headers = HeaderMap::new();
    /// assert_eq!(source.find_exact("10.0.0.1".parse()?, &headers), None);
    ///
    /// headers.insert("x-forwarded-for", "2001:db8::5".parse()?);
    /// assert_eq!(source.find_exact("10.0.0.1".parse()?, &headers), Some("2001:db8::5".parse()?));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn find_exact(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let client = if self.is_proxy(peer) { self.behind_proxy(headers)? } else { peer };
        Some(client.to_canonical())
    }

    fn behind_proxy(&self, headers: &HeaderMap) -> Option<IpAddr> {
        match self.fields.iter().find(|field| headers.contains_key(field.name()))? {
            Field::ForwardedFor => self.rightmost_client(headers, &FORWARDED_FOR, address),
            Field::Forwarded => self.rightmost_client(headers, &FORWARDED, forwarded_for),
            Field::Single(name) => {
                let mut values = headers.get_all(name).iter();
                let only = values.next().filter(|_| values.next().is_none())?;
                address(text(only)?)
            }
        }
    }

    fn rightmost_client(
        &self,
        headers: &HeaderMap,
        name: &HeaderName,
        address: fn(&str) -> Option<IpAddr>,
    ) -> Option<IpAddr> {
        for line in headers.get_all(name).iter().rev() {
            // A comma in quotes is taken for the end of an element, too: neither part of one parses then.
            for element in text(line)?.rsplit(',') {
                let address = address(element)?;
                if !self.is_proxy(address) {
                    return Some(address);
                }
            }
        }
        None
    }

    fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(address))
    }
}

impl Field {
    fn single(name: &str) -> Result<Self, String> {
        // Proxies that overwrite `X-Real-IP` may pass on a client's `X_Real_IP`.
        if name.contains('_') {
            return Err(format!(
                "the field {name} has an underscore in its name, so a proxy may not protect it"
            ));
        }
        let parsed = HeaderName::try_from(name).map(Self::Single);
        parsed.map_err(|_| format!("{name:?} is not the name of a header field"))
    }

    fn name(&self) -> &HeaderName {
        match self {
            Self::ForwardedFor => &FORWARDED_FOR,
            Self::Forwarded => &FORWARDED,
            Self::Single(name) => name,
        }
    }
}

impl Default for ClientAddressSource {
    /// [`ClientAddressSource::peer`].
    fn default() -> Self {
        Self::peer()
    }
}

fn text(value: &HeaderValue) -> Option<&str> {
    value.to_str().ok()
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(element: &str) -> Option<IpAddr> {
    let element = element.trim_matches([' ', '\t']);
    let unbracketed = || element.strip_prefix('[')?.strip_suffix(']')?.parse().map(IpAddr::V6).ok();
    element
        .parse()
        .ok()
        .or_else(|| element.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .or_else(unbracketed)
}

/// The node of the only `for` in an element such as `for="[2001:db8::1]:80";proto=https` (RFC 7239 section 4).
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut node = None;
    for pair in element.split(';') {
        let (name, value) = pair.trim_matches([' ', '\t']).split_once('=')?;
        let value = match value.strip_prefix('"') {
            Some(quoted) => quoted.strip_suffix('"').filter(|text| !text.contains(['"', '\\']))?,
            None => Some(value).filter(|token| !token.is_empty() && token.bytes().all(is_token))?,
        };
        if name.is_empty() || !name.bytes().all(is_token) {
            return None;
        }
        if name.eq_ignore_ascii_case("for") && node.replace(value).is_some() {
            return None;
        }
    }
    // An IPv6 address without brackets is not one here.
    node.filter(|node| node.starts_with('[') || node.matches(':').count() < 2).and_then(address)
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_client_of_an_element_of_forwarded_is_its_only_node() {
        for (element, want) in [
            ("for=192.0.2.43", Some("192.0.2.43")),
            (" For=192.0.2.43;proto=https; by=203.0.113.43 ", Some("192.0.2.43")),
            (r#"for="192.0.2.43:47011""#, Some("192.0.2.43")),
            (r#"proto=http;for="[2001:db8:cafe::17]""#, Some("2001:db8:cafe::17")),
            (r#"for="[2001:db8:cafe::17]:4711""#, Some("2001:db8:cafe::17")),
            ("for=unknown", None),
            (r#"for="_gazonk""#, None),
            ("for=192.0.2.43;for=192.0.2.44", None),
            ("proto=https", None),
            ("192.0.2.43", None),
            ("for=", None),
            (r#"for="192.0.2.43"#, None),
            (r#"for=192.0.2.43""#, None),
            (r#"for="192.0.2.43\"""#, None),
            (r#"for=192.0.2.43;b=\"""#, None),
            ("for=192.0.2.43;", None),
            ("for=2001:db8::1", None),
            (r#"for="2001:db8::1""#, None),
            (r#"for="[192.0.2.43]""#, None),
            (r#"for="::1""#, None),
            ("for =192.0.2.43", None),
            ("=a;for=192.0.2.43", None),
            ("a b=c;for=192.0.2.43", None),
            ("", None),
        ] {
            assert_eq!(forwarded_for(element), want.map(|address| address.parse().unwrap()), "{element}");
        }
    }

    #[test]
    fn fields_are_read_in_their_order_and_only_the_first_that_exists() {
        let source = ClientAddressSource::single_field("x-real-ip", ["10.0.0.0/8"])
            .or_single_field("x-client")
            .or_forwarded_for();
        for (fields, want) in [
            (&["x-real-ip", "x-client", "x-forwarded-for"][..], Some("192.0.2.1")),
            (&["x-client", "x-forwarded-for"], Some("192.0.2.2")),
            (&["x-forwarded-for"], Some("192.0.2.3")),
            (&["forwarded"], None),
        ] {
            let values = HashMap::from([
                ("x-real-ip", "192.0.2.1"),
                ("x-client", "192.0.2.2"),
                ("x-forwarded-for", "192.0.2.3"),
                ("forwarded", "for=192.0.2.4"),
            ]);
            let headers =
                fields.iter().map(|name| (HeaderName::from_static(name), values[name].parse().unwrap()));
            let client = source.find_exact("10.0.0.1".parse().unwrap(), &headers.collect());
            assert_eq!(client, want.map(|address| address.parse().unwrap()), "{fields:?}");
        }
    }

    #[test]
    fn no_text_of_a_client_in_forwarded_becomes_its_address() {
        let source = ClientAddressSource::forwarded(["10.0.0.0/8"]);
        for (line, want) in [
            ("for=6.6.6.6, for=203.0.113.9", Some("203.0.113.9")),
            (r#"for="6.6.6.6, for=203.0.113.9"#, Some("203.0.113.9")),
            (r#"for=203.0.113.9;host="a, for=6.6.6.6""#, None),
            (r#"for=203.0.113.9;host="a, for=6.6.6.6;b=c""#, None),
            (r#"for=203.0.113.9;host="a, for=6.6.6.6;b=\"""#, None),
            ("for=203.0.113.9, for=10.0.0.3", Some("203.0.113.9")),
            ("for=203.0.113.9, for=unknown", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("forwarded", line.parse().unwrap());
            // Not read: it is another field's turn.
            headers.insert("x-forwarded-for", "7.7.7.7".parse().unwrap());
            let client = source.find_exact("10.0.0.1".parse().unwrap(), &headers);
            assert_eq!(client, want.map(|address| address.parse().unwrap()), "{line}");
        }
    }
}
