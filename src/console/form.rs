use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::response::Response;

use super::page;
use super::visit::Visit;
use crate::key::HmacSha256;

/// Far more than a form of the page has, and still harmless.
const MAX_LENGTH: usize = 256 * 1024;

/// What a form has sent.
pub(super) struct Form {
    fields: Vec<(String, String)>,
    /// What follows from the token; `None` if it is not one of this browser and person.
    seed: Option<HmacSha256>,
}

impl Form {
    /// The body of a request.
    pub(super) async fn read(visit: &Visit, request: Request) -> Result<Self, Response> {
        let (head, body) = request.into_parts();
        let malformed = || page::malformed_form(visit);
        let bytes = to_bytes(body, MAX_LENGTH).await.map_err(|_| malformed())?;
        let request = Request::from_parts(head, Body::from(bytes));
        let form = axum::Form::<Vec<(String, String)>>::from_request(request, &()).await;
        let axum::Form(fields) = form.map_err(|_| malformed())?;
        let mut form = Self { fields, seed: None };
        form.seed = visit.cookie.verify(&visit.person, form.text("token"));
        Ok(form)
    }

    /// The seed of its token; `None` if the form has to be sent again.
    pub(super) fn seed(&self) -> Option<&HmacSha256> {
        self.seed.as_ref()
    }

    /// The first value, without white space around it; empty if there is none.
    pub(super) fn text(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or_default()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.trim())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}
