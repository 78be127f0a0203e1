//! Parses texts, and writes them again.
//!
//! Each line is a text. As a time it is compared with a second reading of RFC 3339, as a network with a list of its bits.
#![no_main]

use std::fmt::Display;
use std::net::IpAddr;
use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use tower_api_keys::address::Network;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::key::{Actor, Digest, ImportedHash, KeyId, KeyStatus, Metadata, Mode, OrganizationId};
use tower_api_keys::manage::KeyAction;
use tower_api_keys::scope::Scope;
use tower_api_keys::store::Cursor;
use tower_api_keys::usage::{UsageBucket, UsageGroup};

fuzz_target!(|input: &str| {
    for text in input.split('\n').take(8) {
        check(text);
    }
});

fn check(text: &str) {
    let time = round_trip::<Timestamp>(text).map(Timestamp::as_unix_millis);
    assert_eq!(time, milliseconds(text), "{text:?}");
    let network = round_trip::<Network>(text).map(|network| network.to_string());
    assert_eq!(network, network_of(text), "{text:?}");

    let (is_graphic, is_word) = (
        text.bytes().all(|byte| byte.is_ascii_graphic()),
        text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'),
    );
    assert_eq!(canonical::<KeyId>(text), (1..=32).contains(&text.len()) && is_word, "{text:?}");
    assert_eq!(canonical::<OrganizationId>(text), (1..=128).contains(&text.len()) && is_graphic, "{text:?}");
    canonical::<Digest>(text);
    canonical::<Cursor>(text);
    canonical::<Scope>(text);
    canonical::<Actor>(text);
    canonical::<Mode>(text);
    canonical::<KeyStatus>(text);
    canonical::<UsageBucket>(text);
    canonical::<UsageGroup>(text);
    canonical::<KeyAction>(text);
    let is_hash =
        (1..=512).contains(&text.len()) && text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    assert_eq!(text.parse::<ImportedHash>().is_ok(), is_hash, "{text:?}");
    let is_object = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text).is_ok();
    assert_eq!(Metadata::from_json(text).is_ok(), is_object && text.len() <= 4096, "{text:?}");
}

/// What is written is read as the same.
fn round_trip<T: FromStr + Display + PartialEq>(text: &str) -> Option<T> {
    let value = text.parse::<T>().ok()?;
    let is_same = value.to_string().parse::<T>().is_ok_and(|again| again == value);
    assert!(is_same, "{text:?}: {value}");
    Some(value)
}

/// Whether it is read. There is one way to write each.
fn canonical<T: FromStr + Display>(text: &str) -> bool {
    let value = text.parse::<T>();
    let shown = value.as_ref().ok().map(ToString::to_string);
    assert!(shown.is_none_or(|shown| shown == text), "{text:?}");
    value.is_ok()
}

/// RFC 3339 section 5.6, field by field; days are counted one after the other.
fn milliseconds(text: &str) -> Option<u64> {
    let mut left = text;
    let mut number = |digits: usize, ends: &[char]| -> Option<i64> {
        let (field, rest) = left.split_at_checked(digits)?;
        let is_number = field.bytes().all(|digit| digit.is_ascii_digit());
        left = if ends.is_empty() { rest } else { rest.strip_prefix(ends)? };
        field.parse().ok().filter(|_| is_number)
    };
    let (year, month, day) = (number(4, &['-'])?, number(2, &['-'])?, number(2, &['T', 't', ' '])?);
    let (hour, minute, second) = (number(2, &[':'])?, number(2, &[':'])?, number(2, &[])?);
    let mut millis = 0;
    if let Some(rest) = left.strip_prefix('.') {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        millis = format!("{}00", rest.get(..digits).filter(|digits| !digits.is_empty())?)
            .get(..3)?
            .parse()
            .ok()?;
        left = &rest[digits..];
    }
    let offset = match left {
        "Z" | "z" => 0,
        _ => {
            let sign = if left.starts_with('+') { 1 } else { -1 };
            let (hours, minutes) = left.strip_prefix(['+', '-'])?.split_once(':')?;
            let number = |text: &str, most: i64| {
                let is_number = text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_digit());
                text.parse::<i64>().ok().filter(|number| is_number && *number <= most)
            };
            sign * (number(hours, 23)? * 60 + number(minutes, 59)?)
        }
    };
    let days_of = |year: i64| -> [i64; 12] {
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        [31, 28 + i64::from(is_leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    };
    let of_month = *days_of(year).get(usize::try_from(month - 1).ok()?)?;
    if !(1..=of_month).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let whole_years: i64 = (0..year).flat_map(days_of).sum();
    let to_1970: i64 = (0..1970).flat_map(days_of).sum();
    let whole_months: i64 = days_of(year)[..month as usize - 1].iter().sum();
    let days = whole_years - to_1970 + whole_months + day - 1;
    let seconds = ((days * 24 + hour) * 60 + minute - offset) * 60 + second.min(59);
    // What is after the year 9999 could not be written.
    Some((seconds * 1000 + millis).clamp(0, 253_402_300_799_999) as u64)
}

/// A network in its shortest form, of all bits of its address.
fn network_of(text: &str) -> Option<String> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let bytes = match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let bits: Vec<bool> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let length = match length {
        Some(text) if text.bytes().all(|digit| digit.is_ascii_digit()) => text.parse().ok()?,
        Some(_) => return None,
        None => bits.len(),
    };
    if bits.get(length..)?.contains(&true) {
        return None;
    }
    match address {
        // IPv4 as IPv6 (RFC 4291 section 2.5.5.2).
        IpAddr::V6(mapped) if mapped.to_ipv4_mapped().is_some() => {
            Some(format!("{}/{}", mapped.to_ipv4_mapped()?, length.checked_sub(96)?))
        }
        address => Some(format!("{address}/{length}")),
    }
}
