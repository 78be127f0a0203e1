//! Reads credentials from requests, and decides about them.
//!
//! The first line says where keys are looked for: `header bearer basic query`, and the settings `anonymous`, `others`,
//! `colon`, `padding` and `password`. The second one is the target of the request. Each further line is a header
//! field; `=` is the last one again. `$1` to `$5` stand for keys, `$_` for 4096 characters, and `<text>` for the text in Base64.
#![no_main]

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use libfuzzer_sys::fuzz_target;
use tower_api_keys::clock::Timestamp;
use tower_api_keys::credential::{BasicKey, QueryKey};
use tower_api_keys::key::{KeyState, Mode};
use tower_api_keys::middleware::ApiKeysLayer;
use tower_api_keys::{ApiKeys, KeyFormat};
use tower_api_keys_fuzz::{call, form, record, rejection, store};

fuzz_target!(|input: &[u8]| check(input));

/// The identifier of a key, its text, and what a request with it is answered: nothing, if it is accepted.
const KEYS: [(&str, &str, Option<&str>); 5] = [
    ("live", "sk_live_abc123def456ghi789jkl012mno345pq", None),
    ("test", "sk_test_ABC123def456ghi789jkl012mno345pq", None),
    ("revoked", "sk_live_revoked3def456ghi789jkl012mno345", Some("key_revoked")),
    ("disabled", "sk_test_disabled3def456ghi789jkl012mno34", Some("key_disabled")),
    ("", "sk_live_unknown123def456ghi789jkl012mno3", Some("key_unknown")),
];

fn check(input: &[u8]) {
    let mut lines = input.split(|byte| *byte == b'\n').take(8);
    let settings = Settings::read(lines.next().unwrap_or_default());
    let target = completed(lines.next().unwrap_or_default());
    let Some(uri) = std::str::from_utf8(&target).ok().and_then(|text| text.parse::<Uri>().ok()) else {
        return;
    };
    let mut request = Request::new(());
    *request.uri_mut() = uri;
    let mut fields: Vec<(HeaderName, Vec<u8>)> = Vec::new();
    let mut last: &[u8] = b"";
    for line in lines {
        let line = if line == b"=" { last } else { line };
        last = line;
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let Ok(name) = HeaderName::from_bytes(&line[..colon]) else { continue };
        let value = completed(&line[colon + 1..]);
        let Ok(field) = HeaderValue::from_bytes(&value) else { continue };
        request.headers_mut().append(name.clone(), field);
        fields.push((name, value));
    }
    let query = request.uri().query().map(str::to_owned);
    let Some(expected) = settings.decide(query.as_deref(), &fields) else { return };
    let response = call(&settings.layer(), request);
    let shown = || String::from_utf8_lossy(input).into_owned();
    let found = match rejection(&response) {
        None => Decision::Accepted(String::from_utf8(response.body().to_vec()).unwrap()),
        Some(rejection) => Decision::Rejected(rejection.reason().code()),
    };
    assert_eq!(found, expected, "{:?} {settings:?}", shown());
    let status = match found {
        Decision::Accepted(_) => StatusCode::OK,
        Decision::Rejected("credential_conflict" | "credential_repeated") => StatusCode::BAD_REQUEST,
        // 400, if a field is there twice.
        Decision::Rejected("credential_malformed") if response.status() == 400 => {
            assert!(settings.is_repeated(query.as_deref(), &fields), "{:?}", shown());
            StatusCode::BAD_REQUEST
        }
        Decision::Rejected(_) => StatusCode::UNAUTHORIZED,
    };
    assert_eq!(response.status(), status, "{:?}", shown());
    assert_eq!(response.headers().contains_key("www-authenticate"), status == 401, "{:?}", shown());
}

#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// The identifier of the key, or `anonymous`.
    Accepted(String),
    Rejected(&'static str),
}

/// What one place has.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Nothing,
    Malformed,
    Key(String),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Settings {
    header: bool,
    bearer: bool,
    basic: bool,
    query: bool,
    anonymous: bool,
    others: bool,
    colon: bool,
    padding: bool,
    password: bool,
}

impl Settings {
    fn read(line: &[u8]) -> Self {
        let mut settings = Self::default();
        for word in line.split(|byte| *byte == b' ') {
            match word {
                b"header" => settings.header = true,
                b"bearer" => settings.bearer = true,
                b"basic" => settings.basic = true,
                b"query" => settings.query = true,
                b"anonymous" => settings.anonymous = true,
                b"others" => settings.others = true,
                b"colon" => settings.colon = true,
                b"padding" => settings.padding = true,
                b"password" => settings.password = true,
                _ => {}
            }
        }
        // An assembly has at least one.
        settings.header |= !(settings.bearer || settings.basic || settings.query);
        settings
    }

    /// The assembly, made once.
    fn layer(self) -> Rc<ApiKeysLayer> {
        thread_local!(static LAYERS: RefCell<HashMap<Settings, Rc<ApiKeysLayer>>> = RefCell::default());
        LAYERS.with_borrow_mut(|layers| {
            Rc::clone(layers.entry(self).or_insert_with(|| Rc::new(self.new_layer())))
        })
    }

    fn new_layer(self) -> ApiKeysLayer {
        let known = KEYS.iter().filter(|(id, ..)| !id.is_empty()).map(|(id, text, _)| {
            let mut record =
                record(id, text, if text.starts_with("sk_live_") { Mode::Live } else { Mode::Test });
            match *id {
                "revoked" => record.state = KeyState::Revoked { at: Timestamp::from_unix_seconds(0) },
                "disabled" => record.state = KeyState::Disabled,
                _ => {}
            }
            record
        });
        let format = KeyFormat::builder("sk_").modes("test_", "live_").build().unwrap();
        let mut basic = BasicKey::new(format.clone());
        for (is_set, change) in [
            (self.colon, BasicKey::accept_missing_colon as fn(BasicKey) -> BasicKey),
            (self.padding, BasicKey::accept_missing_padding),
            (self.password, BasicKey::ignore_password),
        ] {
            basic = if is_set { change(basic) } else { basic };
        }
        let mut builder =
            ApiKeys::builder(store(known), format.clone()).attach_rejections().without_route_table();
        builder = if self.header { builder.header("x-api-key") } else { builder };
        builder = if self.bearer { builder.bearer() } else { builder };
        builder = if self.basic { builder.extractor(basic) } else { builder };
        builder = if self.query { builder.extractor(QueryKey::new("api_key", format)) } else { builder };
        builder = if self.anonymous { builder.allow_anonymous() } else { builder };
        builder = if self.others { builder.ignore_other_schemes() } else { builder };
        builder.build().unwrap().layer()
    }

    /// `None` where the documents leave a choice.
    fn decide(self, query: Option<&str>, fields: &[(HeaderName, Vec<u8>)]) -> Option<Decision> {
        let values = |name: &str| -> Vec<&[u8]> {
            fields.iter().filter(|(field, _)| field == name).map(|(_, value)| trimmed(value)).collect()
        };
        let authorization = values("authorization");
        let mut places = Vec::new();
        if self.header {
            places.push(match values("x-api-key")[..] {
                [] => Place::Nothing,
                [value] => key(value),
                _ => Place::Malformed,
            });
        }
        if self.bearer {
            places.push(of_scheme(&authorization, "bearer", key));
        }
        if self.basic {
            let mut is_open = false;
            places.push(of_scheme(&authorization, "basic", |value| {
                self.basic_key(value).unwrap_or_else(|| {
                    is_open = true;
                    Place::Malformed
                })
            }));
            if is_open {
                return None;
            }
        }
        if self.query {
            places.push(match &parameters(query.unwrap_or_default())[..] {
                [] => Place::Nothing,
                [value] => key(value),
                _ => Place::Malformed,
            });
        }
        places.retain(|place| *place != Place::Nothing);
        Some(match &places[..] {
            [] if !self.anonymous => Decision::Rejected("credential_missing"),
            [] => {
                // A credential of another scheme is none for nobody.
                let has_other =
                    (self.bearer || self.basic) && authorization.iter().any(|value| !value.is_empty());
                match has_other && !self.others {
                    true => Decision::Rejected("credential_malformed"),
                    false => Decision::Accepted("anonymous".to_owned()),
                }
            }
            [Place::Key(text)] => match KEYS.iter().find(|(_, key, _)| key == text) {
                Some((id, _, None)) => Decision::Accepted((*id).to_owned()),
                Some((_, _, Some(code))) => Decision::Rejected(code),
                None => Decision::Rejected("key_unknown"),
            },
            [_] => Decision::Rejected("credential_malformed"),
            _ => Decision::Rejected("credential_conflict"),
        })
    }

    fn is_repeated(self, query: Option<&str>, fields: &[(HeaderName, Vec<u8>)]) -> bool {
        let count = |name: &str| fields.iter().filter(|(field, _)| field == name).count();
        self.header && count("x-api-key") > 1
            || (self.bearer || self.basic) && count("authorization") > 1
            || self.query && parameters(query.unwrap_or_default()).len() > 1
    }

    /// RFC 7617 section 2. `None` for Base64 that RFC 4648 section 3.5 leaves to the decoder.
    fn basic_key(self, value: &[u8]) -> Option<Place> {
        let Some((text, is_canonical)) = decode(value, self.padding) else { return Some(Place::Malformed) };
        if !is_canonical {
            return None;
        }
        let Ok(text) = String::from_utf8(text) else { return Some(Place::Malformed) };
        if text.chars().any(char::is_control) {
            return Some(Place::Malformed);
        }
        let (user, password) = match text.find(':') {
            Some(colon) => (&text[..colon], &text[colon + 1..]),
            None if self.colon => (&text[..], ""),
            None => return Some(Place::Malformed),
        };
        let is_accepted = password.is_empty() || self.password;
        Some(if is_accepted { key(user.as_bytes()) } else { Place::Malformed })
    }
}

/// RFC 9110 section 11.4: a scheme, and after spaces its credential.
fn of_scheme(values: &[&[u8]], scheme: &str, read: impl FnOnce(&[u8]) -> Place) -> Place {
    let value = match values {
        [] => return Place::Nothing,
        [value] => *value,
        _ => return Place::Malformed,
    };
    let end = value.iter().position(|byte| b" \t".contains(byte)).unwrap_or(value.len());
    if !value[..end].eq_ignore_ascii_case(scheme.as_bytes()) {
        return Place::Nothing;
    }
    let spaces = value[end..].iter().take_while(|byte| **byte == b' ').count();
    let credential = &value[end + spaces..];
    match spaces == 0 || credential.starts_with(b"\t") || value.len() > 4096 {
        true => Place::Malformed,
        false => read(credential),
    }
}

/// The prefix, a mark, and 32 letters and digits.
fn key(text: &[u8]) -> Place {
    let secret = text.strip_prefix(b"sk_live_").or(text.strip_prefix(b"sk_test_"));
    match secret {
        Some(secret) if secret.len() == 32 && secret.iter().all(u8::is_ascii_alphanumeric) => {
            Place::Key(String::from_utf8(text.to_vec()).unwrap())
        }
        _ => Place::Malformed,
    }
}

/// The values of `api_key`.
fn parameters(query: &str) -> Vec<Vec<u8>> {
    form(query).into_iter().filter(|(name, _)| name == b"api_key").map(|(_, value)| value).collect()
}

/// Base64 a bit at a time, and whether the bits that are left over are zero.
fn decode(text: &[u8], may_lack_padding: bool) -> Option<(Vec<u8>, bool)> {
    let digits = text.iter().take_while(|byte| **byte != b'=').count();
    let padding = &text[digits..];
    let needed = [0, usize::MAX, 2, 1][digits % 4];
    let is_padded = padding.len() == needed || (may_lack_padding && padding.is_empty() && needed <= 2);
    if !is_padded || padding.iter().any(|byte| *byte != b'=') {
        return None;
    }
    let mut bits = Vec::new();
    for byte in &text[..digits] {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits.extend((0..6).rev().map(|bit| value >> bit & 1));
    }
    let whole = bits.len() / 8 * 8;
    let bytes = bits[..whole].chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit));
    Some((bytes.collect(), bits[whole..].iter().all(|bit| *bit == 0)))
}

fn trimmed(value: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| b" \t".contains(byte);
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &value[start..end]
}

/// The line with its keys and its Base64 written out.
fn completed(line: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    let mut left = line;
    while let [first, rest @ ..] = left {
        left = rest;
        match (first, rest.first()) {
            (b'$', Some(digit @ b'1'..=b'5')) => {
                text.extend(KEYS[usize::from(digit - b'1')].1.bytes());
                left = &rest[1..];
            }
            (b'$', Some(b'_')) => {
                text.extend([b'x'; 4096]);
                left = &rest[1..];
            }
            // Without Base64 in Base64, which grows by a third each time.
            (b'<', _) if rest.iter().find(|byte| b"<>".contains(byte)) != Some(&b'<') => {
                let end = rest.iter().position(|byte| *byte == b'>').unwrap_or(rest.len());
                text.extend(STANDARD.encode(completed(&rest[..end])).bytes());
                left = rest.get(end + 1..).unwrap_or_default();
            }
            _ => text.push(*first),
        }
    }
    text
}
