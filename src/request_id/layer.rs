use tower_layer::Layer;

use super::{HeaderOnly, WithRequestId};

/// Gives each request an identifier, and writes it on every answer.
///
/// See the [module docs](super).
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct RequestIdLayer<W = HeaderOnly> {
    body: W,
}

impl RequestIdLayer {
    /// Writes it into the header fields only.
    pub fn new() -> Self {
        Self { body: HeaderOnly }
    }
}

impl<W> RequestIdLayer<W> {
    /// Writes it into bodies, too, as `body` says.
    pub fn with_body<V>(self, body: V) -> RequestIdLayer<V> {
        RequestIdLayer { body }
    }
}

impl<S, W: Clone> Layer<S> for RequestIdLayer<W> {
    type Service = WithRequestId<S, W>;

    fn layer(&self, inner: S) -> Self::Service {
        WithRequestId { inner, body: self.body.clone() }
    }
}
