use std::fmt;
use std::sync::Arc;

use http::Extensions;

use super::{Permit, RateLimiter};

/// Keeps a request counted as one [at a time](crate::Quota::concurrent) for as long as it lives: a handler's argument, to be
/// moved into a streamed body.
///
/// Without it a request is counted until its response is ready. It is given back on every path: an answer, an error, a panic, a
/// client that hangs up. Where no limit counts the request like this, there is none, and a handler takes an `Option<InFlight>`.
///
#[cfg_attr(feature = "axum", doc = "```")]
#[cfg_attr(not(feature = "axum"), doc = "```text")]
/// use axum::body::{Body, Bytes};
/// use tokio_stream::StreamExt;
/// use tower_api_keys::limit::InFlight;
///
/// async fn events(in_flight: InFlight) -> Body {
///     let events = tokio_stream::iter(["one", "two"]);
///     Body::from_stream(events.map(move |event| {
///         let _ = &in_flight;
///         Ok::<_, std::io::Error>(Bytes::from(event))
///     }))
/// }
/// ```
#[derive(Clone)]
pub struct InFlight(#[expect(dead_code, reason = "held to be dropped")] Arc<Held>);

struct Held {
    counts: Arc<dyn RateLimiter>,
    permit: Option<Box<Permit>>,
    /// Under another limit.
    _also: Option<InFlight>,
}

impl InFlight {
    pub(crate) fn new(counts: Arc<dyn RateLimiter>, permit: Box<Permit>, also: Option<Self>) -> Self {
        Self(Arc::new(Held { counts, permit: Some(permit), _also: also }))
    }

    /// The one of a request; `None` if no limit counts requests at a time.
    pub fn from_extensions(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(permit) = self.permit.take() {
            self.counts.take_back(permit);
        }
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").finish_non_exhaustive()
    }
}
