use http::{HeaderMap, HeaderName};

use super::formats::Formats;
use super::{Challenge, Credential, CredentialExtractor, Extracted, MalformedCredential, RequestView};
use crate::key::{KeyFormat, ParsedKey};

/// Reads a key from its own header field: `x-api-key: wfk_abc123def456ghi789jkl012mno345pq`.
///
/// The value is the whole key; spaces and tabs around it are ignored (HTTP/1 strips them, HTTP/2 does not). A
/// repeated field, an empty field and one that is not of the format are malformed.
///
/// ```
/// use http::{HeaderName, Request};
/// use tower_api_keys::credential::{CredentialExtractor, Extracted, HeaderKey};
/// use tower_api_keys::request::RequestView;
/// use tower_api_keys::key::KeyFormat;
///
/// let format = KeyFormat::new("wfk_")?;
/// let extractor = HeaderKey::new(HeaderName::from_static("x-api-key"), format);
///
/// let request = Request::builder().header("x-api-key", "wfk_abc123def456ghi789jkl012mno345pq").body(())?;
/// assert!(matches!(extractor.extract(RequestView::of(&request)), Extracted::Found(_)));
///
/// let request = Request::builder().header("x-api-key", "Bearer 123").body(())?;
/// assert!(matches!(extractor.extract(RequestView::of(&request)), Extracted::Malformed(_)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct HeaderKey {
    /// One name, in an array because the trait returns a slice.
    name: HeaderName,
    formats: Formats,
}

impl HeaderKey {
    /// Accepts keys of `format` in the field `name`.
    pub fn new(name: HeaderName, format: KeyFormat) -> Self {
        Self { name, formats: Formats::one(format) }
    }

    /// Also accepts keys of this format, such as a previous one. No text may be a key of both formats.
    #[must_use]
    pub fn or_format(mut self, format: KeyFormat) -> Self {
        self.formats.add(format);
        self
    }

    /// A key is visible ASCII, so only what is none has to be looked at for that.
    #[inline]
    fn parse<'r>(&self, text: &'r str) -> Result<ParsedKey<'r>, MalformedCredential> {
        self.formats.parse(text).map_err(|malformed| match text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => malformed.into(),
            false => MalformedCredential::NotVisibleAscii,
        })
    }

    /// `formats` has at least one.
    pub(crate) fn accepting(name: HeaderName, formats: Vec<KeyFormat>) -> Self {
        Self { name, formats: Formats::several(formats) }
    }
}

impl CredentialExtractor for HeaderKey {
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
        let text = match single_line(request.headers, &self.name) {
            Ok(None) => return Extracted::Absent,
            Ok(Some(line)) => std::str::from_utf8(line).map_err(|_| MalformedCredential::NotVisibleAscii),
            Err(malformed) => Err(malformed),
        };
        match text.and_then(|text| self.parse(text)) {
            Ok(key) => Extracted::Found(Credential::from(key)),
            Err(malformed) => Extracted::Malformed(malformed),
        }
    }

    /// `ApiKey header="x-api-key"`. No scheme is registered for keys in their own field; this one is in wide use, and
    /// RFC 9110 section 11.6.1 requires a challenge on every 401.
    fn challenge(&self) -> Challenge {
        Challenge::api_key("header", self.name.as_str())
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        vec![self.name.clone()]
    }
}

/// The value of a field that may occur once, without surrounding white space.
pub(crate) fn single_value<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'r str>, MalformedCredential> {
    let Some(line) = single_line(headers, name)? else { return Ok(None) };
    // Without an early exit the loop is compiled to vector instructions.
    if !line.iter().fold(true, |ok, byte| ok & byte.is_ascii_graphic()) {
        return Err(MalformedCredential::NotVisibleAscii);
    }
    std::str::from_utf8(line).map(Some).map_err(|_| MalformedCredential::NotVisibleAscii)
}

/// The same, not yet checked to be text.
#[inline]
fn single_line<'r>(
    headers: &'r HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'r [u8]>, MalformedCredential> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    // A second line of this field is possible only if there are more lines than names.
    if headers.len() > headers.keys_len() && headers.get_all(name).iter().nth(1).is_some() {
        return Err(MalformedCredential::Repeated);
    }
    let value = value.as_bytes().trim_ascii();
    match value.len() {
        0 => Err(MalformedCredential::Empty),
        1..=Credential::MAX_LENGTH => Ok(Some(value)),
        _ => Err(MalformedCredential::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Request};

    use super::*;

    const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";

    fn extract(values: &[&[u8]]) -> Result<Option<String>, MalformedCredential> {
        let mut request = Request::new(());
        for value in values {
            request.headers_mut().append("x-api-key", HeaderValue::from_bytes(value).unwrap());
        }
        let format = KeyFormat::new("wfk_").unwrap();
        match HeaderKey::new(HeaderName::from_static("x-api-key"), format).extract(RequestView::of(&request))
        {
            Extracted::Absent => Ok(None),
            Extracted::Malformed(reason) => Err(reason),
            Extracted::Found(credential) => Ok(Some(credential.expose_secret().to_owned())),
        }
    }

    #[test]
    fn the_value_is_the_key_without_surrounding_white_space() {
        let spaced = format!(" \t{KEY} ");
        // An HTTP/1 parser would have removed these, so they must not count over HTTP/2 either.
        let far_apart = format!("{KEY}{}", " ".repeat(Credential::MAX_LENGTH));
        for value in [KEY, spaced.as_str(), far_apart.as_str()] {
            assert_eq!(extract(&[value.as_bytes()]), Ok(Some(KEY.into())), "{value:?}");
        }
        assert_eq!(extract(&[]), Ok(None));
    }

    #[test]
    fn rejects_what_is_not_exactly_one_key() {
        use MalformedCredential as M;
        let twice = format!("{KEY},{KEY}");
        let inner_space = KEY.replace('1', " ");
        let longest = "x".repeat(Credential::MAX_LENGTH);
        let too_long = "x".repeat(Credential::MAX_LENGTH + 1);
        assert_eq!(extract(&[KEY.as_bytes(), KEY.as_bytes()]), Err(M::Repeated), "the same key twice");
        assert_eq!(extract(&[KEY.as_bytes(), b""]), Err(M::Repeated), "an empty second line");
        assert_eq!(extract(&[b""]), Err(M::Empty), "empty");
        assert_eq!(extract(&[b" \t "]), Err(M::Empty), "blank");
        assert_eq!(extract(&[too_long.as_bytes()]), Err(M::TooLong), "4097 bytes");
        assert_eq!(extract(&[b"wfk_\xff"]), Err(M::NotVisibleAscii), "obs-text");
        assert_eq!(extract(&[inner_space.as_bytes()]), Err(M::NotVisibleAscii), "space inside");
        for (name, value) in [
            ("4096 bytes", longest.as_str()),
            ("joined by a comma", twice.as_str()),
            ("upper-case prefix", "WFK_abc123def456ghi789jkl012mno345pq"),
            ("prefix only", "wfk_"),
            ("one short", &KEY[..KEY.len() - 1]),
        ] {
            assert!(matches!(extract(&[value.as_bytes()]), Err(M::Key(_))), "{name}");
        }
    }
}
