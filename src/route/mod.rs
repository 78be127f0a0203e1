//! Routes, and what each of them needs.
//!
//! An assembly has a table of them: a method and a path pattern lead to the required scope
//! ([`route`](crate::ApiKeysBuilder::route)), to the rate limit ([`RateLimit::route`](crate::RateLimit::route)), or to the
//! credentials beside the key ([`Companions::with_routes`](crate::credential::Companions::with_routes)). A request is covered
//! by a rule, or by none, or its path is ambiguous and matches none.
//!
//! # Patterns
//!
//! | segment | matches |
//! |---|---|
//! | `workflows` | exactly this text, byte for byte |
//! | `{id}` or `:id` | one non-empty segment; the name is ignored |
//! | `{*rest}`, last only | one or more segments |
//!
//! The path is matched before the method, as in routers: a literal wins over a parameter, a parameter over the rest,
//! segment by segment and with backtracking. So with `GET /users/me` and `POST /users/{id}` in the table, nothing
//! covers `POST /users/me`. `HEAD` is treated as `GET` ([RFC 9110, section
//! 9.3.2](https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2)). `TRACE` and `CONNECT` cannot be in a table.
//!
//! # What is matched
//!
//! [`RouteMatching`] says how the route of a request is found.
//!
//! 1. By its path (the default), if the path is canonical: it starts with `/` and has no `%`, `;`, `\\`, no segment
//!    `.` or `..`, and no empty segment except a last one that the pattern has too. Routers and proxies disagree on
//!    how to read other paths, so these are rejected.
//! 2. With `MatchedPath`, inside an axum router: by the route that the router chose, not by the path. It must be
//!    written like the pattern, except for the names of parameters: `/users/{id}` does not match the route
//!    `/users/me`, nor `/{*rest}` the route `/users`. Nested routes have their full pattern, `/api/v1/users/{id}`.
//!
//! Rate limits are matched by the path as written, canonical or not, as in axum's router: no request is rejected for
//! a spelling, and none escapes the limit of its route. Behind a router that decodes paths, or middleware that
//! rewrites them, put the layer inside.
//!
//! Authority, scheme, query and header fields have no influence.

mod access;
mod matching;
mod parameter;
mod pattern;
#[expect(clippy::module_inception, reason = "the file is named for the type in it")]
mod route;
mod table;
mod target;
mod tree;

#[cfg(test)]
mod tests;

pub use access::Access;
pub use matching::RouteMatching;
pub use route::Route;
pub(crate) use table::{RouteMatch, RouteTable};
