//! A handler's argument that could not be had, on its way to the error format.

use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, Response, Uri};

#[cfg(feature = "axum")]
use crate::identity::Authentication;
#[cfg(feature = "axum")]
use crate::manage::{FailedCall, ManageError};
use crate::rejection::Rejection;
use crate::request::RequestView;

/// Lies in the extensions of the response that an extractor gives, until the service makes that of the assembly's format
/// from it.
#[derive(Clone)]
pub(crate) struct FailedExtraction {
    pub(crate) rejection: Rejection,
    head: Arc<Head>,
}

struct Head {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
}

impl FailedExtraction {
    #[cfg(feature = "axum")]
    pub(crate) fn new(rejection: Rejection, request: RequestView<'_>) -> Self {
        let RequestView { method, uri, headers, extensions } = request;
        let head = Head {
            method: method.clone(),
            uri: uri.clone(),
            headers: headers.clone(),
            extensions: extensions.clone(),
        };
        Self { rejection, head: Arc::new(head) }
    }

    /// Whether no layer stands outside the handler.
    #[cfg(feature = "axum")]
    pub(crate) fn is_outside(&self) -> bool {
        Authentication::of(&self.head.extensions).is_none()
    }

    #[inline]
    pub(super) fn take<B>(response: &mut Response<B>) -> Option<Self> {
        if response.extensions().is_empty() {
            return None;
        }
        response.extensions_mut().remove()
    }

    /// The failed management call that a handler has returned.
    #[cfg(feature = "axum")]
    #[inline]
    pub(super) fn take_call<B>(response: &mut Response<B>) -> Option<Arc<ManageError>> {
        if response.extensions().is_empty() {
            return None;
        }
        response.extensions_mut().remove().map(|FailedCall(error)| error)
    }

    pub(crate) fn request(&self) -> RequestView<'_> {
        let Head { method, uri, headers, extensions } = &*self.head;
        RequestView { method, uri, headers, extensions }
    }
}

impl std::fmt::Debug for FailedExtraction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FailedExtraction").field("rejection", &self.rejection).finish_non_exhaustive()
    }
}
