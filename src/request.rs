//! The view of a request that the checks see, and its identifier.

use std::fmt;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, request};
use serde::{Serialize, Serializer};

use crate::key::KeyId;

/// The head of a request, borrowed: everything that an extractor, a limit or an error format may read.
///
/// `Debug` shows the path alone of the URI, as a query may hold a key.
#[derive(Clone, Copy)]
pub struct RequestView<'r> {
    /// The method.
    pub method: &'r Method,
    /// The request target. Match rules on its path only: the client chooses authority and scheme.
    pub uri: &'r Uri,
    /// The header fields. A field may have several lines: use `get_all` for security decisions.
    pub headers: &'r HeaderMap,
    /// What outer layers have attached.
    pub extensions: &'r Extensions,
}

impl<'r> RequestView<'r> {
    /// The head of `request`.
    #[inline]
    pub fn of<B>(request: &'r Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The head of a request that was split into parts.
    pub fn of_parts(parts: &'r request::Parts) -> Self {
        Self {
            method: &parts.method,
            uri: &parts.uri,
            headers: &parts.headers,
            extensions: &parts.extensions,
        }
    }

    /// The identifier of the request, if [request ids](crate::ApiKeysBuilder::request_ids) are enabled.
    pub fn id(&self) -> Option<&'r RequestId> {
        self.extensions.get()
    }
}

impl fmt::Debug for RequestView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestView")
            .field("method", self.method)
            .field("path", &self.uri.path())
            .field("headers", self.headers)
            .field("extensions", self.extensions)
            .finish_non_exhaustive()
    }
}

/// The identifier of a request in logs and responses.
///
/// The client's own `X-Request-ID` if it is 1 to 64 of `A-Z a-z 0-9 _ -`; otherwise 16 random letters and digits. It
/// proves nothing, and two requests can have the same.
///
/// ```
/// use tower_api_keys::request::RequestId;
///
/// fn log_line<B>(request: &http::Request<B>) -> String {
///     let id = RequestId::from_extensions(request.extensions()).map_or("-", RequestId::as_str);
///     format!("{id} {}", request.uri().path())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

/// The field that carries the identifier, in requests and in responses.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl RequestId {
    /// The identifier of the request with these extensions.
    pub fn from_extensions(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// The client's identifier if it is valid, or a new one.
    pub(crate) fn choose(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(X_REQUEST_ID).iter();
        match (sent.next(), sent.next()) {
            (Some(only), None) if is_id(only.as_bytes()) => Self(only.clone()),
            _ => Self::random(),
        }
    }

    pub(crate) fn to_header_value(&self) -> HeaderValue {
        self.0.clone()
    }

    /// One for documents of the API.
    #[cfg(feature = "openapi")]
    pub(crate) fn example() -> Self {
        Self(HeaderValue::from_static("k7Jc0qWvTz4n8XsB"))
    }

    fn random() -> Self {
        // Nothing depends on the identifier, so a request is not rejected when the system has no random bytes.
        let value = KeyId::random("").ok().and_then(|id| HeaderValue::from_str(id.as_str()).ok());
        Self(value.unwrap_or(HeaderValue::from_static("unknown")))
    }
}

impl AsRef<str> for RequestId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

fn is_id(bytes: &[u8]) -> bool {
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&bytes.len()) && bytes.iter().all(belongs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_valid_identifier_of_the_client_is_kept() {
        let longest = "x".repeat(64);
        let too_long = "x".repeat(65);
        let cases: &[(&[&[u8]], bool)] = &[
            (&[b"a"], true),
            (&[b"7f3c-_A"], true),
            (&[longest.as_bytes()], true),
            (&[too_long.as_bytes()], false),
            (&[b""], false),
            (&[b"a b"], false),
            (&[b"a\"b"], false),
            (&[b"a\xff"], false),
            (&[b"a", b"a"], false),
            (&[], false),
        ];
        for (lines, is_kept) in cases {
            let mut headers = HeaderMap::new();
            for line in *lines {
                headers.append(X_REQUEST_ID, HeaderValue::from_bytes(line).unwrap());
            }
            let id = RequestId::choose(&headers);
            assert_eq!(lines.first().is_some_and(|line| id.0.as_bytes() == *line), *is_kept, "{lines:?}");
            assert!(is_id(id.as_str().as_bytes()), "{id:?}");
        }
    }
}
