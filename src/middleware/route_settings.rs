//! The settings of an assembly's routes: how they are found, and what each needs.

use std::fmt;

use http::Method;

use super::ApiKeysBuilder;
use crate::manage::KeyAction;
use crate::route::{Access, RouteMatching};

/// The routes for managing keys, below the path that they are nested at.
const KEY_ROUTES: [(Method, &str, KeyAction); 8] = [
    (Method::GET, "", KeyAction::Read),
    (Method::POST, "", KeyAction::Create),
    (Method::GET, "/{key_id}", KeyAction::Read),
    (Method::PATCH, "/{key_id}", KeyAction::Update),
    (Method::DELETE, "/{key_id}", KeyAction::Delete),
    (Method::GET, "/{key_id}/history", KeyAction::Read),
    (Method::POST, "/{key_id}/rotate", KeyAction::Rotate),
    (Method::POST, "/{key_id}/revoke", KeyAction::Revoke),
];

impl<F> ApiKeysBuilder<F> {
    /// Says who may use a route: a scope, or an [`Access`]. What no rule covers is rejected with 403.
    ///
    /// See [`route`](crate::route) for patterns, and [`match_routes`](Self::match_routes) for how the route of a request is
    /// found. `HEAD` follows `GET`.
    pub fn route<A>(mut self, method: impl TryInto<Method>, pattern: impl Into<String>, access: A) -> Self
    where
        A: TryInto<Access, Error: fmt::Display>,
    {
        let pattern = pattern.into();
        match (method.try_into(), access.try_into()) {
            (Ok(method), Ok(access)) => self.routes.push((method, pattern, access)),
            (Err(_), _) => self.fault("route", format!("the method of {pattern} is not valid")),
            (_, Err(error)) => self.fault("route", format!("{pattern}: {error}")),
        }
        self
    }

    /// Several [routes](Self::route) at once.
    ///
    /// ```
    /// # use tower_api_keys::store::MemoryStore;
    /// # use tower_api_keys::{ApiKeys, KeyFormat};
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .public("GET", "/health")
    ///     .routes([("GET", "/invoices", "invoice:read"), ("POST", "/invoices", "invoice:create")])
    ///     .build()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn routes<M, P, A>(self, routes: impl IntoIterator<Item = (M, P, A)>) -> Self
    where
        M: TryInto<Method>,
        P: Into<String>,
        A: TryInto<Access, Error: fmt::Display>,
    {
        let add = |builder: Self, (method, pattern, access)| builder.route(method, pattern, access);
        routes.into_iter().fold(self, add)
    }

    /// Says who may use the [routes for managing keys](https://docs.rs/tower-api-keys/latest/tower_api_keys/manage/struct.KeyRoutes.html)
    /// that are nested at `path`: for each, what `access` returns for its action. That is [`Read`](KeyAction::Read),
    /// [`Create`](KeyAction::Create), [`Update`](KeyAction::Update), [`Rotate`](KeyAction::Rotate), [`Revoke`](KeyAction::Revoke)
    /// or [`Delete`](KeyAction::Delete).
    ///
    /// ```
    /// # use tower_api_keys::store::MemoryStore;
    /// # use tower_api_keys::{ApiKeys, KeyFormat};
    /// use tower_api_keys::manage::KeyAction;
    ///
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .key_routes("/api-keys", |action| match action {
    ///         KeyAction::Read => "api-keys:read",
    ///         _ => "api-keys:write",
    ///     })
    ///     .build()?;
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn key_routes<A>(self, path: &str, access: impl Fn(KeyAction) -> A) -> Self
    where
        A: TryInto<Access, Error: fmt::Display>,
    {
        self.routes(
            KEY_ROUTES.map(|(method, below, action)| (method, format!("{path}{below}"), access(action))),
        )
    }

    /// Lets requests without a credential use a route, on purpose: a health check, say. A bad credential is still rejected.
    pub fn public(self, method: impl TryInto<Method>, pattern: impl Into<String>) -> Self {
        self.route(method, pattern, Access::Public)
    }

    /// The path that all routes are served below, such as `/api/v1`: those of [`route`](Self::route), of limits, and of
    /// [`Companions`](crate::credential::Companions).
    pub fn routes_below(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Says what scopes allow, each in a sentence, wherever the assembly [shows](super::ApiKeys::scopes) them to people.
    ///
    /// ```
    /// # use tower_api_keys::store::MemoryStore;
    /// # use tower_api_keys::{ApiKeys, KeyFormat};
    /// let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
    ///     .header("x-api-key")
    ///     .routes([("GET", "/invoices", "invoice:read"), ("POST", "/invoices", "invoice:create")])
    ///     .describe_scopes([("invoice:read", "See invoices."), ("invoice:create", "Write and send invoices.")])
    ///     .build()?;
    /// let read = keys.scopes().iter().find(|known| known.scope.as_str() == "invoice:read").unwrap();
    /// assert_eq!(read.description.as_deref(), Some("See invoices."));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn describe_scopes<'a>(mut self, sentences: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        for (scope, sentence) in sentences {
            match scope.parse() {
                Ok(scope) => _ = self.descriptions.insert(scope, sentence.to_owned()),
                Err(error) => self.fault("describe_scopes", format!("{scope}: {error}")),
            }
        }
        self
    }

    /// Leaves it to [`require`](super::ApiKeys::require) on single routes, or to handlers, what a key may do. Without
    /// this, [`build`](Self::build) refuses an assembly without routes.
    pub fn without_route_table(mut self) -> Self {
        self.has_no_table = true;
        self
    }

    /// How the route of a request is found: by its path, unless set.
    pub fn match_routes(mut self, matching: RouteMatching) -> Self {
        self.matching = matching;
        self
    }
}
