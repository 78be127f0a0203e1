//! An identifier for each request, on every answer.
//!
//! [`RequestIdLayer`] stands outside of everything whose answers should have it, the layers of this crate included. It
//! gives each request a [`RequestId`], attaches it to the request's extensions, and writes it into the field `X-Request-ID`
//! of the answer, and into the body where [`WriteRequestId`] says how. The field of the request has it, too, in the place of
//! whatever the client sent there: what is logged or passed on inside is what the answer says.
//!
//! ```
//! use bytes::Bytes;
//! use http::{Request, Response};
//! use tower::{Layer, Service, service_fn};
//! use tower_api_keys::request_id::{RequestId, RequestIdLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut service = RequestIdLayer::new().layer(service_fn(async |request: Request<()>| {
//!     let id = RequestId::from_extensions(request.extensions()).expect("the layer stands outside");
//!     Ok::<_, std::convert::Infallible>(Response::new(Bytes::from(id.as_str().to_owned())))
//! }));
//!
//! let response = service.call(Request::new(())).await?;
//! assert_eq!(response.headers()["x-request-id"].as_bytes(), response.body());
//! # Ok(())
//! # }
//! ```

mod layer;
mod service;

use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Response};
pub use layer::RequestIdLayer;
pub use service::{ResponseFuture, WithRequestId};

use crate::key::KeyId;

/// The field that has the identifier, in requests and in answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What a request is called in logs and answers.
///
/// The client's own `X-Request-ID`, if it sends one that is 1 to 64 of `A-Z a-z 0-9 _ -`; otherwise 16 random letters and
/// digits. So it proves nothing, and two requests can have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The identifier of the request with these extensions; `None` if no [`RequestIdLayer`] stands outside.
    pub fn from_extensions(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    fn of(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(X_REQUEST_ID).iter();
        match (sent.next(), sent.next()) {
            (Some(only), None) if is_id(only.as_bytes()) => Self(only.clone()),
            _ => Self::random(),
        }
    }

    fn random() -> Self {
        // Nothing hangs on it, so a system without random bytes is no reason to refuse a request.
        let value = KeyId::random("").ok().and_then(|id| HeaderValue::from_str(id.as_str()).ok());
        Self(value.unwrap_or(HeaderValue::from_static("unknown")))
    }
}

fn is_id(bytes: &[u8]) -> bool {
    let belongs = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=64).contains(&bytes.len()) && bytes.iter().all(belongs)
}

/// Writes the identifier into a body that should have it.
pub trait WriteRequestId<B>: Clone {
    /// Changes `response`, which has the header field already.
    fn write(&self, id: &RequestId, response: &mut Response<B>);
}

/// Leaves every body as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeaderOnly;

impl<B> WriteRequestId<B> for HeaderOnly {
    fn write(&self, _: &RequestId, _: &mut Response<B>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn r45_what_a_client_sent_and_is_no_identifier_gets_no_further() {
        use std::convert::Infallible;

        use http::Request;
        use tower::{Layer, ServiceExt, service_fn};

        for sent in [&[][..], &["mine"], &["mine", "mine"], &["a b"], &["\\x1b[31m", "other"]] {
            let mut request = Request::new(());
            for value in sent {
                request.headers_mut().append(X_REQUEST_ID, value.parse().unwrap());
            }
            let service = RequestIdLayer::new().layer(service_fn(async |request: Request<()>| {
                let id = RequestId::from_extensions(request.extensions()).cloned().unwrap();
                let lines: Vec<_> = request.headers().get_all(X_REQUEST_ID).iter().collect();
                assert_eq!(lines, [id.as_str()]);
                Ok::<_, Infallible>(Response::new(()))
            }));
            let response = service.oneshot(request).await.unwrap();
            let answered = &response.headers()[X_REQUEST_ID];
            assert_eq!(answered == "mine", sent == ["mine"], "{sent:?}: {answered:?}");
        }
    }

    #[test]
    fn a_client_s_own_identifier_is_taken_over_if_it_is_one() {
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
            let id = RequestId::of(&headers);
            assert_eq!(lines.first().is_some_and(|line| id.0.as_bytes() == *line), *is_kept, "{lines:?}");
            assert!(is_id(id.as_str().as_bytes()), "{id:?}");
        }
    }
}
