use zeroize::Zeroizing;

use super::formats::Formats;
use super::{Challenge, Credential, CredentialExtractor, Extracted, MalformedCredential, RequestView};
use crate::key::{KeyFormat, SecretString};

/// Reads a key from a parameter of the query: `/events?api_key=acme_4f9a…`.
///
/// # Warning
///
/// **A URL is no place for a secret.** It lands in the access logs of servers and proxies, in traces, in the history of
/// browsers, in the `Referer` field of links and in every copy of a link. Use it where a client can do nothing else, such
/// as `EventSource` in a browser or a webhook of another system, with keys that have few scopes and end soon. Take the query
/// out of what outer layers log.
///
/// This crate logs no query, and responses are marked `Cache-Control: private`. The request's URI reaches the handler as it
/// is.
///
/// ```
/// use http::Request;
/// use tower_api_keys::KeyFormat;
/// use tower_api_keys::credential::{CredentialExtractor, Extracted, QueryKey};
/// use tower_api_keys::request::RequestView;
///
/// let extractor = QueryKey::new("api_key", KeyFormat::new("acme_")?);
/// let request = Request::get("/events?api_key=acme_abc123def456ghi789jkl012mno345pq&from=7").body(())?;
/// assert!(matches!(extractor.extract(RequestView::of(&request)), Extracted::Found(_)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// Names and values are decoded once, as those of HTML forms (`application/x-www-form-urlencoded`, URL standard section
/// 5.1): `%5F` is `_`, and `+` is a space. A parameter that is sent twice, in whatever spelling, is ambiguous.
#[derive(Clone, Debug)]
pub struct QueryKey {
    name: String,
    formats: Formats,
}

impl QueryKey {
    /// Accepts keys of `format` in the parameter `name`, which is compared byte by byte.
    pub fn new(name: impl Into<String>, format: KeyFormat) -> Self {
        Self { name: name.into(), formats: Formats::one(format) }
    }

    /// Also accepts keys of this format, such as a previous one. No text may be a key of both formats.
    #[must_use]
    pub fn or_format(mut self, format: KeyFormat) -> Self {
        self.formats.add(format);
        self
    }

    fn read<'r>(&self, value: &'r str) -> Result<Credential<'r>, MalformedCredential> {
        match value.len() {
            0 => return Err(MalformedCredential::Empty),
            1..=Credential::MAX_LENGTH => {}
            _ => return Err(MalformedCredential::TooLong),
        }
        if !value.contains(['%', '+']) {
            return Ok(self.formats.parse(visible(value)?)?.into());
        }
        let decoded = decode(value).collect::<Option<Vec<u8>>>().map(Zeroizing::new).ok_or(PERCENT)?;
        let text = std::str::from_utf8(&decoded).map_err(|_| MalformedCredential::NotVisibleAscii)?;
        let key = self.formats.parse(visible(text)?)?;
        let mut credential = Credential::owned(SecretString::from(key.secret));
        (credential.id, credential.mode) = (key.id, key.mode);
        Ok(credential)
    }
}

impl CredentialExtractor for QueryKey {
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
        let parameters = request.uri.query().unwrap_or_default().split('&');
        let parameters = parameters.map(|parameter| parameter.split_once('=').unwrap_or((parameter, "")));
        let is_it = |name| decode(name).eq(self.name.bytes().map(Some));
        let mut values = parameters.filter_map(|(name, value)| is_it(name).then_some(value));
        let read = match (values.next(), values.next()) {
            (None, _) => return Extracted::Absent,
            (Some(value), None) => self.read(value),
            (Some(_), Some(_)) => Err(MalformedCredential::Repeated),
        };
        match read {
            Ok(credential) => Extracted::Found(credential),
            Err(malformed) => Extracted::Malformed(malformed),
        }
    }

    /// `ApiKey query="api_key"`.
    fn challenge(&self) -> Challenge {
        let name: String = self.name.chars().filter(|character| matches!(character, ' '..='~')).collect();
        Challenge::api_key("query", &name)
    }
}

fn visible(text: &str) -> Result<&str, MalformedCredential> {
    let is_visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_visible { Ok(text) } else { Err(MalformedCredential::NotVisibleAscii) }
}

/// The bytes of a name or a value; `None` for a percent sign without two hexadecimal digits.
fn decode(text: &str) -> impl Iterator<Item = Option<u8>> {
    let mut bytes = text.bytes();
    std::iter::from_fn(move || {
        Some(match bytes.next()? {
            b'+' => Some(b' '),
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                digit().zip(digit()).map(|(high, low)| (high << 4 | low) as u8)
            }
            byte => Some(byte),
        })
    })
}

const PERCENT: MalformedCredential =
    MalformedCredential::Other("a percent sign is not followed by two hexadecimal digits");

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const KEY: &str = "wfk_abc123def456ghi789jkl012mno345pq";

    fn extract(query: &str) -> Result<Option<String>, MalformedCredential> {
        let request = Request::get(format!("/events{query}")).body(()).unwrap();
        match QueryKey::new("api_key", KeyFormat::new("wfk_").unwrap()).extract(RequestView::of(&request)) {
            Extracted::Absent => Ok(None),
            Extracted::Malformed(reason) => Err(reason),
            Extracted::Found(credential) => Ok(Some(credential.expose_secret().to_owned())),
        }
    }

    #[test]
    fn one_parameter_is_the_key_in_every_spelling() {
        let spelled: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
        for query in [
            format!("?api_key={KEY}"),
            format!("?from=7&api_key={KEY}&to=9"),
            format!("?&&api_key={KEY}&"),
            format!("?api%5fkey={KEY}"),
            format!("?%61pi%5Fkey={spelled}"),
            format!("?api_key={}", KEY.replace('_', "%5F")),
            format!("?broken=%&api_key={KEY}"),
        ] {
            assert_eq!(extract(&query), Ok(Some(KEY.to_owned())), "{query}");
        }
        for query in ["", "?", "?api-key=x", "?API_KEY=x", "?api_key2=x", "?x=api_key=y", "?api%255fkey=x"] {
            assert_eq!(extract(query), Ok(None), "{query}");
        }
    }

    #[test]
    fn rejects_what_is_not_exactly_one_key() {
        use MalformedCredential as M;
        let long = "x".repeat(Credential::MAX_LENGTH + 1);
        for (query, expected) in [
            (format!("?api_key={KEY}&api_key={KEY}"), M::Repeated),
            (format!("?api_key={KEY}&api%5Fkey="), M::Repeated),
            (format!("?api_key&api_key={KEY}"), M::Repeated),
            ("?api_key=".to_owned(), M::Empty),
            ("?api_key".to_owned(), M::Empty),
            (format!("?api_key={long}"), M::TooLong),
            (format!("?api_key={KEY}%"), PERCENT),
            (format!("?api_key={KEY}%4"), PERCENT),
            (format!("?api_key={KEY}%zz"), PERCENT),
            (format!("?api_key={KEY}%+1"), PERCENT),
            (format!("?api_key={KEY}+"), M::NotVisibleAscii),
            (format!("?api_key={KEY}%00"), M::NotVisibleAscii),
            (format!("?api_key={KEY}%FF"), M::NotVisibleAscii),
            (format!("?api_key={KEY}%C3%A9"), M::NotVisibleAscii),
        ] {
            assert_eq!(extract(&query), Err(expected), "{query}");
        }
        let twice = KEY.replace('_', "%255F");
        for query in [format!("?api_key={twice}"), format!("?api_key={KEY}=")] {
            assert!(matches!(extract(&query), Err(M::Key(_))), "{query}: decoded once");
        }
    }
}
