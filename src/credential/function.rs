use std::fmt;

use http::HeaderName;

use super::{Challenge, CredentialExtractor, Extracted, RequestView};

/// Makes an extractor from a closure, its challenge, and the header fields that it reads a secret from, which are then kept
/// out of logs ([`credential_headers`](CredentialExtractor::credential_headers)).
///
/// An extractor that finds [sessions](super::Credential::session) is a type of its own.
///
/// ```
/// use http::{HeaderName, Request};
/// use tower_api_keys::credential::{self, Challenge, Credential, CredentialExtractor, Extracted, MalformedCredential};
/// use tower_api_keys::request::RequestView;
///
/// const X_TOKEN: HeaderName = HeaderName::from_static("x-token");
///
/// let extractor = credential::from_fn(Challenge::new("Token")?, [X_TOKEN], |request| {
///     let mut values = request.headers.get_all(X_TOKEN).iter();
///     match (values.next(), values.next()) {
///         (None, _) => Extracted::Absent,
///         (Some(_), Some(_)) => Extracted::Malformed(MalformedCredential::Repeated),
///         (Some(value), None) => match value.to_str() {
///             Ok(text) if text.len() == 40 => Extracted::Found(Credential::borrowed(text)),
///             _ => Extracted::Malformed(MalformedCredential::Other("a token has 40 characters")),
///         },
///     }
/// });
///
/// // In a test of the application:
/// let request = Request::builder().header("x-token", "too short").body(())?;
/// assert!(matches!(extractor.extract(RequestView::of(&request)), Extracted::Malformed(_)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// Write the closure directly as the argument, or use a function: for a closure in a variable, the compiler does not
/// infer that it accepts requests of any lifetime.
pub fn from_fn<F>(
    challenge: Challenge,
    headers: impl IntoIterator<Item = HeaderName>,
    extract: F,
) -> impl CredentialExtractor + fmt::Debug
where
    F: for<'r> Fn(RequestView<'r>) -> Extracted<'r> + Send + Sync + 'static,
{
    FromFn { extract, challenge, headers: headers.into_iter().collect() }
}

struct FromFn<F> {
    extract: F,
    challenge: Challenge,
    headers: Vec<HeaderName>,
}

impl<F> CredentialExtractor for FromFn<F>
where
    F: for<'r> Fn(RequestView<'r>) -> Extracted<'r> + Send + Sync + 'static,
{
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
        (self.extract)(request)
    }

    fn challenge(&self) -> Challenge {
        self.challenge.clone()
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        self.headers.clone()
    }
}

impl<F> fmt::Debug for FromFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromFn").field("challenge", &self.challenge).finish_non_exhaustive()
    }
}
