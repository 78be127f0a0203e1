use std::fmt;
use std::sync::Arc;

use http::HeaderName;
use tower_layer::Layer;

use super::{Usage, UsageSink};

/// Tells a sink about every call that presents a key and is not answered with a server error.
///
/// See the [module docs](crate::usage) for an example.
#[derive(Clone)]
#[must_use]
pub struct UsageLayer {
    header: HeaderName,
    sink: Arc<dyn UsageSink>,
}

impl UsageLayer {
    /// A call presents a key if it has something in the field `header`, good or not.
    pub fn new(header: HeaderName, sink: impl UsageSink) -> Self {
        Self { header, sink: Arc::new(sink) }
    }
}

impl<S> Layer<S> for UsageLayer {
    type Service = Usage<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Usage::new(inner, self.header.clone(), self.sink.clone())
    }
}

impl fmt::Debug for UsageLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageLayer").field("header", &self.header).finish_non_exhaustive()
    }
}
