use http::HeaderName;
use http::header::SEC_WEBSOCKET_PROTOCOL;

use super::formats::Formats;
use super::{Challenge, Credential, CredentialExtractor, Extracted, MalformedCredential, RequestView};
use crate::key::KeyFormat;

/// Reads a key from the subprotocols that a WebSocket client offers: `Sec-WebSocket-Protocol: acme, key.acme_4f9a…`.
///
/// For pages in a browser, which can set no other field of the handshake:
///
/// ```js
/// new WebSocket("wss://api.example.com/socket", ["acme", "key." + key])
/// ```
///
/// One item of the list is `key.` and the key; two of them are ambiguous, also on different lines of the field (RFC 6455
/// section 11.3.4). At least one other item names the application's own protocol: browsers close the connection unless the
/// response selects what was offered, and a response must never repeat the key. So the server selects its protocol by
/// name. With axum:
///
/// ```
/// use axum::extract::ws::WebSocketUpgrade;
/// use axum::response::Response;
///
/// # async fn talk(_: axum::extract::ws::WebSocket) {}
/// async fn socket(upgrade: WebSocketUpgrade) -> Response {
///     upgrade.protocols(["acme"]).on_upgrade(talk)
/// }
/// ```
///
/// ```
/// use http::Request;
/// use tower_api_keys::KeyFormat;
/// use tower_api_keys::credential::{CredentialExtractor, Extracted, WebSocketKey};
/// use tower_api_keys::request::RequestView;
///
/// let extractor = WebSocketKey::new(KeyFormat::new("acme_")?);
/// let offered = "acme, key.acme_abc123def456ghi789jkl012mno345pq";
/// let request = Request::builder().header("sec-websocket-protocol", offered).body(())?;
/// assert!(matches!(extractor.extract(RequestView::of(&request)), Extracted::Found(_)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// A field without such an item is absent: other clients can send their key elsewhere and offer protocols as well. An item is
/// a token (RFC 9110 section 5.6.2), so browsers refuse keys with the separator `/`. Proxies may log the field.
#[derive(Clone, Debug)]
pub struct WebSocketKey {
    formats: Formats,
}

impl WebSocketKey {
    /// Accepts keys of `format`.
    pub fn new(format: KeyFormat) -> Self {
        Self { formats: Formats::one(format) }
    }

    /// Also accepts keys of this format, such as a previous one. No text may be a key of both formats.
    #[must_use]
    pub fn or_format(mut self, format: KeyFormat) -> Self {
        self.formats.add(format);
        self
    }
}

impl CredentialExtractor for WebSocketKey {
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
        let lines = request.headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter();
        let items =
            lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
        let (mut key, mut has_protocol) = (None, false);
        for item in items {
            match item.strip_prefix(PREFIX) {
                Some(_) if key.is_some() => return Extracted::Malformed(MalformedCredential::Repeated),
                Some(text) => key = Some(text),
                None => has_protocol |= !item.is_empty(),
            }
        }
        let Some(key) = key else { return Extracted::Absent };
        let parsed = match std::str::from_utf8(key) {
            _ if !has_protocol => Err(NO_PROTOCOL),
            Ok("") => Err(MalformedCredential::Empty),
            Ok(key) if key.len() > Credential::MAX_LENGTH => Err(MalformedCredential::TooLong),
            Ok(key) if !key.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(MalformedCredential::NotVisibleAscii)
            }
            Ok(key) => self.formats.parse(key).map_err(Into::into),
            Err(_) => Err(MalformedCredential::NotVisibleAscii),
        };
        match parsed {
            Ok(key) => Extracted::Found(key.into()),
            Err(malformed) => Extracted::Malformed(malformed),
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::api_key("header", SEC_WEBSOCKET_PROTOCOL.as_str())
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        vec![SEC_WEBSOCKET_PROTOCOL]
    }

    fn shares_headers(&self) -> bool {
        true
    }
}

/// What the item with the key begins with.
const PREFIX: &[u8] = b"key.";

const NO_PROTOCOL: MalformedCredential =
    MalformedCredential::Other("a protocol of the application must be offered beside the key");

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";

    fn extract(lines: &[&str]) -> Result<Option<String>, MalformedCredential> {
        let mut request = Request::new(());
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            request.headers_mut().append(SEC_WEBSOCKET_PROTOCOL, line);
        }
        match WebSocketKey::new(KeyFormat::new("wfk_").unwrap()).extract(RequestView::of(&request)) {
            Extracted::Absent => Ok(None),
            Extracted::Malformed(reason) => Err(reason),
            Extracted::Found(credential) => Ok(Some(credential.expose_secret().to_owned())),
        }
    }

    #[test]
    fn one_item_carries_the_key_beside_a_protocol() {
        let item = &format!("key.{KEY}");
        for lines in [
            vec![format!("acme, {item}")],
            vec![format!("{item},acme")],
            vec![format!("acme\t, v2 ,, {item} ")],
            vec!["acme".to_owned(), item.clone()],
            vec![item.clone(), "acme".to_owned()],
        ] {
            let lines: Vec<_> = lines.iter().map(String::as_str).collect();
            assert_eq!(extract(&lines), Ok(Some(KEY.to_owned())), "{lines:?}");
        }
        for lines in [&[][..], &[""], &["acme"], &["acme, v2"], &["keys.v1"], &["KEY.x"], &[KEY]] {
            assert_eq!(extract(lines), Ok(None), "{lines:?}");
        }
    }

    #[test]
    fn rejects_what_is_not_one_key_beside_a_protocol() {
        use MalformedCredential as M;
        let item = format!("key.{KEY}");
        let long = "x".repeat(Credential::MAX_LENGTH + 1);
        for (line, expected) in [
            (format!("acme, {item}, {item}"), M::Repeated),
            (format!("acme, {item}, key."), M::Repeated),
            (item.clone(), NO_PROTOCOL),
            (format!("{item}, "), NO_PROTOCOL),
            ("acme, key.".to_owned(), M::Empty),
            (format!("acme, key.{long}"), M::TooLong),
            (format!("acme, {} {}", &item[..9], &item[9..]), M::NotVisibleAscii),
            (format!("acme, {item}é"), M::NotVisibleAscii),
        ] {
            assert_eq!(extract(&[&line]), Err(expected), "{line}");
        }
        assert_eq!(extract(&[&format!("acme, {item}"), &item]), Err(M::Repeated), "on two lines");
        let longest = "x".repeat(Credential::MAX_LENGTH);
        for line in [
            format!("acme, {item}x"),
            format!("acme, key.{longest}"),
            format!("acme, key.{item}"),
            "acme, key.Bearer".to_owned(),
        ] {
            assert!(matches!(extract(&[&line]), Err(M::Key(_))), "{line}");
        }
    }
}
