//! Tables of routes: a method and a path pattern, and what holds there.
//!
//! A [`RouteTable`] says for each route of an API which scope it needs, or which rate limit applies. It is asked per
//! request and answers one of three things ([`RouteMatch`]): what was found, that nothing covers the request, or that
//! its path could be read in two ways and is not matched at all.
//!
//! # Patterns
//!
//! | segment | matches |
//! |---|---|
//! | `workflows` | exactly that, byte for byte |
//! | `{id}` or `:id` | one segment that is not empty; the name means nothing |
//! | `{*rest}`, last only | one segment or more |
//!
//! The path is matched before the method, as routers do: a literal wins over a parameter, a parameter over the rest,
//! segment by segment and with backtracking. So with `GET /users/me` and `POST /users/{id}` in the table, nothing
//! covers `POST /users/me`. `HEAD` is what `GET` is ([RFC 9110, section
//! 9.3.2](https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2)). `TRACE` and `CONNECT` can't be in a table.
//!
//! # What is matched
//!
//! [`RouteMatching`] says how the route of a request is found.
//!
//! 1. By its path, unless set otherwise, if the path is canonical: it starts with `/` and has no `%`, `;`, `\\`, no segment
//!    `.` or `..`, and no empty segment but a last one that the pattern has too. Routers and proxies disagree on how to
//!    read the others, so they are rejected.
//! 2. With `MatchedPath`, inside an axum router: by the route that the router chose, not by the path. It has to be written
//!    like the pattern, but for the names of parameters: `/users/{id}` is not for the route `/users/me`, nor `/{*rest}` for
//!    `/users`. Nested routes have their full pattern, `/api/v1/users/{id}`.
//!
//! Which rate limit applies is asked of the path as it is written, canonical or not, as axum's router would: nothing is
//! rejected for a spelling, and none escapes the limit of its route. Behind a router that decodes paths, or under middleware
//! that rewrites them, put the layer inside.
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

pub use access::Access;
pub use matching::RouteMatching;
pub use pattern::InvalidRoute;
pub use route::Route;
pub use table::{RouteMatch, RouteTable};
