use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::response::Response;

use super::page;
use super::visit::Visit;
use crate::key::HmacSha256;
use crate::timer::sleep;

/// Far more than a form of the page has, and still harmless.
const MAX_LENGTH: usize = 256 * 1024;

/// How long a form may take to arrive: no more connections are held open by clients that never send theirs whole.
const MAX_TIME: Duration = Duration::from_secs(30);

/// The output of `work`; `None` if it is not done in time.
async fn within<W: Future>(time: Duration, work: W) -> Option<W::Output> {
    let (mut work, mut end) = (pin!(work), pin!(sleep(time)));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => end.as_mut().poll(context).map(|()| None),
    })
    .await
}

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
        let Some(read) = within(MAX_TIME, to_bytes(body, MAX_LENGTH)).await else {
            return Err(page::late_form(visit));
        };
        let bytes = read.map_err(|_| malformed())?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_does_not_end_is_given_up() {
        let read = |body| within(Duration::from_millis(20), to_bytes(body, MAX_LENGTH));
        let endless = Body::from_stream(futures_util::stream::pending::<Result<&str, std::io::Error>>());
        assert!(read(endless).await.is_none());
        assert_eq!(read(Body::from("whole")).await.unwrap().unwrap(), "whole");
    }
}
