//! Finds the addresses of clients, and compares networks.
//!
//! The first line says where the address is: `forwarded-for`, `forwarded`, `peer` or the name of a field, `/48` for the
//! counted part of IPv6, and the networks of proxies. The second one is the peer. Each further line is a header field.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tower_api_keys::address::{ClientAddressSource, Network};

fuzz_target!(|input: &[u8]| check(input));

fn check(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n').take(10);
    let Ok(first) = std::str::from_utf8(lines.next().unwrap_or_default()) else { return };
    let mut words = first.split(' ');
    let kind = words.next().unwrap_or_default();
    let (lengths, proxies): (Vec<&str>, Vec<&str>) = words.partition(|word| word.starts_with('/'));
    let counted = lengths.first().and_then(|length| length[1..].parse::<u8>().ok());
    let networks: Option<Vec<Bits>> = proxies.iter().map(|text| network(text)).collect();
    for text in &proxies {
        assert_eq!(text.parse::<Network>().is_ok(), network(text).is_some(), "{text:?}");
    }
    let mut source = match kind {
        "peer" => ClientAddressSource::peer(),
        "forwarded-for" => ClientAddressSource::forwarded_for(&proxies),
        "forwarded" => ClientAddressSource::forwarded(&proxies),
        name => ClientAddressSource::single_field(name, &proxies),
    };
    if let Some(counted) = counted {
        source = source.ipv6_prefix(counted);
    }
    let name = match kind {
        "forwarded-for" => "x-forwarded-for",
        name => name,
    };
    let is_name_valid = HeaderName::try_from(name).is_ok() && !name.contains('_');
    let is_count_valid = counted.is_none_or(|counted| (32..=128).contains(&counted));
    let is_valid = is_count_valid && (kind == "peer" || is_name_valid && networks.is_some());
    assert_eq!(source.fault().is_none(), is_valid, "{first:?}: {:?}", source.fault());
    let Some(networks) = networks.filter(|_| is_valid) else { return };
    compare(&networks, &proxies);

    let second = lines.next().unwrap_or_default();
    let Some(peer) = std::str::from_utf8(second).ok().and_then(|text| text.parse::<IpAddr>().ok()) else {
        return;
    };
    let mut headers = HeaderMap::new();
    let mut values = Vec::new();
    for line in lines {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let Ok(field) = HeaderName::from_bytes(&line[..colon]) else { continue };
        let Ok(value) = HeaderValue::from_bytes(&line[colon + 1..]) else { continue };
        if field == name {
            values.push(&line[colon + 1..]);
        }
        headers.append(field, value);
    }

    for (text, network) in proxies.iter().zip(&networks) {
        let parsed: Network = text.parse().unwrap();
        assert_eq!(parsed.contains(peer), bits(peer).starts_with(network), "{peer} in {text}");
    }
    let is_proxy = |address: IpAddr| networks.iter().any(|network| bits(address).starts_with(network));
    let found = source.find_exact(peer, &headers);
    let expected = match kind {
        _ if kind == "peer" || !is_proxy(peer) => Client::Is(peer.to_canonical()),
        "forwarded-for" => {
            last_client(&values, is_proxy, |text| node(text).map_or(Client::Unknown, Client::Is))
        }
        "forwarded" => last_client(&values, is_proxy, element),
        _ => match &values[..] {
            [value] => visible(value).and_then(node).map_or(Client::Unknown, Client::Is),
            _ => Client::Unknown,
        },
    };
    let shown = String::from_utf8_lossy(input);
    match expected {
        Client::Is(address) => assert_eq!(found, Some(address.to_canonical()), "{shown:?}"),
        Client::Unknown => assert_eq!(found, None, "{shown:?}"),
        Client::MayBe(address) => {
            assert!(found.is_none_or(|found| found == address.to_canonical()), "{shown:?}")
        }
    }
    let address = match found.unwrap_or(peer.to_canonical()) {
        IpAddr::V6(address) => {
            let bits = counted.map_or(64, u32::from);
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> (128 - bits) << (128 - bits)))
        }
        address => address,
    };
    assert_eq!(source.find(peer, &headers).ip(), address, "{shown:?}");
}

/// Each network with each other one.
fn compare(networks: &[Bits], texts: &[&str]) {
    for (one, wide) in networks.iter().zip(texts) {
        for (other, narrow) in networks.iter().zip(texts) {
            let [wide, narrow]: [Network; 2] = [wide, narrow].map(|text| text.parse().unwrap());
            assert_eq!(wide.contains_network(&narrow), other.starts_with(one), "{narrow} in {wide}");
            assert_eq!(wide == narrow, one == other, "{narrow} and {wide}");
            assert_eq!(wide.to_string().parse(), Ok(wide));
        }
    }
}

/// The bits of an address, or the first ones, after one that tells IPv4 from IPv6.
type Bits = Vec<bool>;

fn bits(address: IpAddr) -> Bits {
    let (family, bytes) = match address.to_canonical() {
        IpAddr::V4(address) => (false, address.octets().to_vec()),
        IpAddr::V6(address) => (true, address.octets().to_vec()),
    };
    let bits = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1));
    std::iter::once(family).chain(bits).collect()
}

/// An address and, after a slash, how many of its bits are fixed. The others are zero.
fn network(text: &str) -> Option<Bits> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let bits = bits(address);
    // Of IPv4 written as IPv6, the first 96 bits are not among them.
    let hidden = if address.is_ipv6() && bits.len() == 33 { 96 } else { 0 };
    let fixed = match length {
        None => bits.len() - 1,
        Some(length) if length.chars().all(|digit| digit.is_ascii_digit()) => {
            length.parse::<usize>().ok()?.checked_sub(hidden)?
        }
        Some(_) => return None,
    };
    let (network, host) = bits.split_at_checked(fixed + 1)?;
    (!host.contains(&true)).then(|| network.to_vec())
}

#[derive(Clone, Copy, Debug)]
enum Client {
    Is(IpAddr),
    /// An element that RFC 7239 allows, and that may be taken for unknown.
    MayBe(IpAddr),
    Unknown,
}

/// From the right end, the first address that is not a proxy's.
fn last_client(values: &[&[u8]], is_proxy: impl Fn(IpAddr) -> bool, read: impl Fn(&str) -> Client) -> Client {
    let mut is_certain = true;
    for value in values.iter().rev() {
        let Some(mut line) = visible(value) else { return Client::Unknown };
        loop {
            let (rest, element) = last_element(line, &read);
            match element {
                Client::Unknown => return Client::Unknown,
                Client::Is(address) if !is_proxy(address) && is_certain => return element,
                Client::Is(address) | Client::MayBe(address) if !is_proxy(address) => {
                    return Client::MayBe(address);
                }
                Client::Is(_) => {}
                Client::MayBe(_) => is_certain = false,
            }
            match rest {
                Some(rest) => line = rest,
                None => break,
            }
        }
    }
    Client::Unknown
}

/// The shortest end of the line that can be read: what is before its comma, and the address. A comma may be in quotes.
fn last_element<'l>(line: &'l str, read: impl Fn(&str) -> Client) -> (Option<&'l str>, Client) {
    let commas = line.rmatch_indices(',').map(|(at, _)| Some(at)).chain([None]);
    for comma in commas {
        let element = read(comma.map_or(line, |at| &line[at + 1..]));
        if !matches!(element, Client::Unknown) {
            return (comma.map(|at| &line[..at]), element);
        }
    }
    (None, Client::Unknown)
}

fn visible(value: &[u8]) -> Option<&str> {
    let is_visible = value.iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\t');
    std::str::from_utf8(value).ok().filter(|_| is_visible)
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let is_port = |text: &str| {
        !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit()) && text.parse::<u16>().is_ok()
    };
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let is_whole = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return is_whole.then_some(IpAddr::V6(address.parse().ok()?));
    }
    match text.split(':').collect::<Vec<_>>()[..] {
        [address] => Some(IpAddr::V4(quad(address)?)),
        [address, port] => is_port(port).then_some(IpAddr::V4(quad(address)?)),
        _ => Some(IpAddr::V6(text.parse().ok()?)),
    }
}

fn quad(text: &str) -> Option<Ipv4Addr> {
    let parts: Option<Vec<u8>> = text.split('.').map(octet).collect();
    let octets: [u8; 4] = parts?.try_into().ok()?;
    Some(octets.into())
}

/// `dec-octet` of RFC 3986 section 3.2.2, without leading zeros.
fn octet(text: &str) -> Option<u8> {
    let octet: u8 = text.parse().ok()?;
    (octet.to_string() == text).then_some(octet)
}

/// `forwarded-element` of RFC 7239 section 4, with white space around its pairs.
fn element(text: &str) -> Client {
    let mut left = text.trim_matches([' ', '\t']);
    let mut is_plain = true;
    let mut nodes = Vec::new();
    loop {
        left = left.trim_start_matches([' ', '\t']);
        if left.is_empty() || left.starts_with(';') {
            is_plain = false;
        } else {
            let Some((name, rest)) = token(left) else { return Client::Unknown };
            let Some(rest) = rest.strip_prefix('=') else { return Client::Unknown };
            let Some((value, rest)) =
                quoted(rest).or_else(|| token(rest).map(|(text, rest)| (text.to_owned(), rest)))
            else {
                return Client::Unknown;
            };
            // Whoever writes these may be misread by others.
            is_plain &=
                !value.contains([',', ';', '"', '\\']) && !left[..left.len() - rest.len()].contains('\\');
            if name.eq_ignore_ascii_case("for") {
                nodes.push(value);
            }
            left = rest.trim_start_matches([' ', '\t']);
        }
        match left.strip_prefix(';') {
            Some(rest) => left = rest,
            None if left.is_empty() => break,
            None => return Client::Unknown,
        }
    }
    // An IPv6 address is in brackets (section 6).
    let client = match &nodes[..] {
        [text] if text.starts_with('[') || text.matches(':').count() < 2 => node(text),
        _ => None,
    };
    match client {
        Some(address) if is_plain => Client::Is(address),
        Some(address) => Client::MayBe(address),
        None => Client::Unknown,
    }
}

/// RFC 9110 section 5.6.2.
fn token(text: &str) -> Option<(&str, &str)> {
    let is_token = |char: char| char.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(char);
    let end = text.find(|char| !is_token(char)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// RFC 9110 section 5.6.4.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix('"')?.char_indices();
    let mut value = String::new();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Some((value, &text[at + 2..])),
            '\\' => value.push(chars.next()?.1),
            char => value.push(char),
        }
    }
    None
}
