use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::response::Response;
use http::request::Parts;

use super::cookie::FormCookie;
use super::links::Links;
use super::{Console, Texts, page};
use crate::clock::Timestamp;
use crate::key::{KeyId, Owner};
use crate::manage::{Authority, KeyAction, KeyManager, KeyView, ManageError, key_id};
use crate::scope::Scope;

/// One request to the page, by a person who may be there.
#[derive(Clone)]
pub(super) struct Visit {
    pub(super) console: Arc<Console>,
    pub(super) authority: Authority,
    /// Whom the tokens of forms are for: who it is, and whose keys the page shows.
    pub(super) person: Arc<str>,
    pub(super) links: Links,
    pub(super) cookie: FormCookie,
    pub(super) now: Timestamp,
}

impl Visit {
    /// On a page for customers an operator's authority, which nothing bounds, grants what the application has named as
    /// grantable, and nothing if it has named nothing.
    pub(super) fn manager(&self) -> &KeyManager {
        match self.is_for_staff() || self.authority.is_bound() {
            true => &self.console.manager,
            false => &self.console.bounded,
        }
    }

    /// Whether a key can be given this scope here.
    pub(super) fn can_grant(&self, scope: &Scope) -> bool {
        self.authority.can_grant(scope)
            && self.manager().grantable_scopes().is_none_or(|grantable| grantable.contains(scope))
    }

    pub(super) fn texts(&self) -> &Texts {
        &self.console.texts
    }

    pub(super) fn is_for_staff(&self) -> bool {
        self.console.is_for_staff
    }

    /// A token for a form.
    pub(super) fn token(&self) -> Result<String, ManageError> {
        self.cookie.token(&self.person).map_err(ManageError::Randomness)
    }

    /// Whether the person may do this, so that the page offers it.
    pub(super) fn may(&self, action: KeyAction) -> bool {
        self.manager().permits(&self.authority, action)
    }

    /// The link to a page of a key.
    pub(super) fn to_key(&self, id: &KeyId, page: &str) -> String {
        self.links.to(&(path_of(id) + page))
    }

    /// The link to a page that then says what was done. Nobody else can make one for this person.
    pub(super) fn to_done(&self, page: &str, what: &str) -> String {
        let proof = self.cookie.proof(&self.person, &format!("{page} {what}"));
        format!("{}?{what}={proof}", self.links.to(page))
    }

    /// Whether the query is that of such a link.
    pub(super) fn is_done(&self, page: &str, what: &str, query: &BTreeMap<String, String>) -> bool {
        let done = format!("{page} {what}");
        query.get(what).is_some_and(|proof| self.cookie.has_proof(&self.person, &done, proof))
    }

    /// The same visit, over the keys of another owner.
    pub(super) fn over(&self, owner: &Owner) -> Self {
        Self { authority: self.authority.for_owner(owner), ..self.clone() }
    }

    /// The key of a page, if the person may read it.
    pub(super) async fn subject(&self, path: KeyPath) -> Result<Subject, ManageError> {
        self.manager().permit(&self.authority, KeyAction::Read, path.0).await?;
        let id = path.0.ok_or(ManageError::NotFound)?;
        let mut visit = self.clone();
        if self.is_for_staff() {
            visit.authority = self.manager().reach(&self.authority, KeyAction::Read, &id).await?;
        }
        let key = match visit.manager().get(&visit.authority, &id).await {
            Err(ManageError::Store(error)) if error.broken_key().is_some() => None,
            key => Some(key?),
        };
        Ok(Subject { visit, id, key })
    }

    /// The response, or the page that says why there is none.
    pub(super) fn answer(&self, result: Result<Response, ManageError>) -> Response {
        result.unwrap_or_else(|error| page::failed(self, &error))
    }
}

impl<S: Sync> FromRequestParts<S> for Visit {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        // The guard has put it there.
        parts.extensions.get().cloned().ok_or_else(page::nothing)
    }
}

/// A key that a page is about.
pub(super) struct Subject {
    /// With the authority over it.
    pub(super) visit: Visit,
    pub(super) id: KeyId,
    /// `None` if its record can't be read.
    pub(super) key: Option<KeyView>,
}

impl Subject {
    /// What it is called, and what has to be typed to end it.
    pub(super) fn name(&self) -> &str {
        self.key.as_ref().map_or(self.id.as_str(), |key| &key.name)
    }

    /// The key, for a page that needs to read it.
    pub(super) fn readable(&self) -> Result<&KeyView, ManageError> {
        self.key.as_ref().ok_or(ManageError::NotFound)
    }

    pub(super) fn link(&self, page: &str) -> String {
        self.visit.to_key(&self.id, page)
    }

    /// To the page of the key, which then says what was done.
    pub(super) fn to_done(&self, what: &str) -> String {
        self.visit.to_done(&path_of(&self.id), what)
    }
}

/// Where the page of a key is.
pub(super) fn path_of(id: &KeyId) -> String {
    format!("/key/{id}")
}

/// The identifier in a path; `None` if it is malformed.
pub(super) struct KeyPath(pub(super) Option<KeyId>);

impl<S: Send + Sync> FromRequestParts<S> for KeyPath {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        Ok(Self(RawPathParams::from_request_parts(parts, state).await.ok().and_then(key_id)))
    }
}
