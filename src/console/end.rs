//! What ends a key, for a while or for good.

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use maud::html;

use super::form::Form;
use super::key;
use super::page;
use super::visit::{KeyPath, Subject, Visit};
use crate::manage::ManageError;

/// What is confirmed by typing the key's name.
#[derive(Clone, Copy)]
enum End {
    Revoke,
    Delete,
}

pub(super) async fn revoke_form(visit: Visit, path: KeyPath) -> Response {
    form(visit, path, End::Revoke).await
}

pub(super) async fn delete_form(visit: Visit, path: KeyPath) -> Response {
    form(visit, path, End::Delete).await
}

async fn form(visit: Visit, path: KeyPath, end: End) -> Response {
    let result = async {
        let subject = visit.subject(path).await?;
        shown(&subject, end, StatusCode::OK, None).await
    };
    visit.answer(result.await)
}

pub(super) async fn revoke(visit: Visit, path: KeyPath, request: Request) -> Response {
    confirmed(visit, path, request, End::Revoke).await
}

pub(super) async fn delete(visit: Visit, path: KeyPath, request: Request) -> Response {
    confirmed(visit, path, request, End::Delete).await
}

async fn confirmed(visit: Visit, path: KeyPath, request: Request, end: End) -> Response {
    match Form::read(&visit, request).await {
        Ok(form) => visit.answer(ended(&visit, path, &form, end).await),
        Err(response) => response,
    }
}

async fn ended(visit: &Visit, path: KeyPath, form: &Form, end: End) -> Result<Response, ManageError> {
    let (t, subject) = (visit.texts(), visit.subject(path).await?);
    if form.seed().is_none() {
        return shown(&subject, end, StatusCode::BAD_REQUEST, Some(&t.form_expired)).await;
    }
    // A browser shows any white space as one space.
    if !form.text("name").split_whitespace().eq(subject.name().split_whitespace()) {
        return shown(&subject, end, StatusCode::BAD_REQUEST, Some(&t.other_name)).await;
    }
    let (manager, authority, id) = (visit.manager(), &subject.visit.authority, &subject.id);
    let result = match end {
        End::Delete => manager.delete(authority, id).await,
        End::Revoke if form.has("descendants") => {
            manager.revoke_with_descendants(authority, id).await.map(drop)
        }
        End::Revoke => manager.revoke(authority, id).await.map(drop),
    };
    match (result, end) {
        (Ok(()), End::Revoke) => Ok(page::see_other(&subject.to_done("revoked"))),
        (Ok(()), End::Delete) => Ok(page::see_other(&visit.to_done("/", "deleted"))),
        (Err(error @ ManageError::Forbidden(_)), _) => {
            shown(&subject, end, StatusCode::FORBIDDEN, Some(&page::said(visit, &error))).await
        }
        (Err(error), _) => key::ended(&subject, error).await,
    }
}

async fn shown(
    subject: &Subject,
    end: End,
    status: StatusCode,
    said: Option<&str>,
) -> Result<Response, ManageError> {
    let (visit, name) = (&subject.visit, subject.name());
    let t = visit.texts();
    let (title, path, explained) = match end {
        End::Revoke => (&t.revoke, "/revoke", &t.revoke_explained),
        End::Delete => (&t.delete, "/delete", &t.delete_explained),
    };
    let has_descendants = matches!(end, End::Revoke) && !key::made_with(subject, 1).await?.keys.is_empty();
    let content = html! {
        nav { a href=(subject.link("")) { "← " (name) } }
        h1 { (title) " “" (name) "”" }
        @if let Some(said) = said { (page::alert(said)) }
        form.card method="post" action=(subject.link(path)) {
            input type="hidden" name="token" value=(visit.token()?);
            p { (explained) }
            @if has_descendants {
                label.check { input type="checkbox" name="descendants" value="yes"; span { (t.revoke_descendants) } }
            }
            div.field {
                label for="name" { (t.type_the_name) " " strong { (name) } }
                input #name name="name" required autocomplete="off" spellcheck="false";
            }
            div.actions {
                button.danger { (title) " “" (name) "”" }
                a href=(subject.link("")) { (t.cancel) }
            }
        }
    };
    Ok(page::page(visit, status, title, &content))
}

pub(super) async fn disable(visit: Visit, path: KeyPath, request: Request) -> Response {
    switch(visit, path, request, false).await
}

pub(super) async fn enable(visit: Visit, path: KeyPath, request: Request) -> Response {
    switch(visit, path, request, true).await
}

async fn switch(visit: Visit, path: KeyPath, request: Request, on: bool) -> Response {
    let form = match Form::read(&visit, request).await {
        Ok(form) => form,
        Err(response) => return response,
    };
    let result = async {
        let subject = visit.subject(path).await?;
        if form.seed().is_none() {
            let t = visit.texts();
            return key::page_of(
                &subject,
                StatusCode::BAD_REQUEST,
                Some(&t.form_expired),
                &Default::default(),
            )
            .await;
        }
        let (manager, authority) = (visit.manager(), &subject.visit.authority);
        let switched = match on {
            true => manager.enable(authority, &subject.id).await,
            false => manager.disable(authority, &subject.id).await,
        };
        match switched {
            Ok(_) => Ok(page::see_other(&subject.to_done(if on { "enabled" } else { "disabled" }))),
            Err(error @ ManageError::Forbidden(_)) => {
                let said = page::said(&visit, &error);
                key::page_of(&subject, StatusCode::FORBIDDEN, Some(&said), &Default::default()).await
            }
            Err(error) => key::ended(&subject, error).await,
        }
    };
    visit.answer(result.await)
}
