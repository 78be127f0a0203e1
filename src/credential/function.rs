use std::fmt;

use http::HeaderName;

use super::{Challenge, CredentialExtractor, Extracted, RequestView};

/// Makes an extractor from a closure and its challenge.
///
/// ```
/// use http::{HeaderName, Request};
/// use tower_api_keys::credential::{self, Challenge, Credential, CredentialExtractor, Extracted, MalformedCredential};
/// use tower_api_keys::request::RequestView;
///
/// const X_TOKEN: HeaderName = HeaderName::from_static("x-token");
///
/// let extractor = credential::from_fn(Challenge::new("Token")?, |request| {
///     let mut values = request.headers.get_all(X_TOKEN).iter();
///     match (values.next(), values.next()) {
///         (None, _) => Extracted::Absent,
///         (Some(_), Some(_)) => Extracted::Malformed(MalformedCredential::Repeated),
///         (Some(value), None) => match value.to_str() {
///             Ok(text) if text.len() == 40 => Extracted::Found(Credential::borrowed(text)),
///             _ => Extracted::Malformed(MalformedCredential::Other("a token has 40 characters")),
///         },
///     }
/// })
/// .with_credential_header(X_TOKEN);
///
/// // In a test of the application:
/// let request = Request::builder().header("x-token", "too short").body(())?;
/// assert!(matches!(extractor.extract(RequestView::of(&request)), Extracted::Malformed(_)));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// Write the closure directly as the argument, or use a function: for a closure in a variable, the compiler does not
/// infer that it accepts requests of any lifetime.
pub fn from_fn<F>(challenge: Challenge, extract: F) -> FromFn<F>
where
    F: for<'r> Fn(RequestView<'r>) -> Extracted<'r> + Send + Sync + 'static,
{
    FromFn { extract, challenge, headers: Vec::new(), finds_sessions: false }
}

/// An extractor made by [`from_fn`].
#[derive(Clone)]
pub struct FromFn<F> {
    extract: F,
    challenge: Challenge,
    headers: Vec<HeaderName>,
    finds_sessions: bool,
}

impl<F> FromFn<F> {
    /// Names a header field that the closure reads a secret from, so that it is marked sensitive.
    #[must_use]
    pub fn with_credential_header(mut self, name: HeaderName) -> Self {
        self.headers.push(name);
        self
    }

    /// Declares that the closure may find [sessions](super::Credential::session).
    #[must_use]
    pub fn with_sessions(self) -> Self {
        Self { finds_sessions: true, ..self }
    }
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

    fn finds_sessions(&self) -> bool {
        self.finds_sessions
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
