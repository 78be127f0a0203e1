use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};

use axum::Router;
use axum::body::Body;
use http::{Method, Request, Uri};
use thiserror::Error;
use tower::Service;

use crate::address::PeerAddress;
use crate::rejection::{Rejection, RejectionKind};
use crate::route::Route;

/// The routes of a router, to compare a [`RouteTable`](crate::route::RouteTable) with in a test: nothing has to be
/// listed by hand, so nothing is forgotten.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
/// use http::Method;
/// use tower_api_keys::route::RouteTable;
///
/// let app: Router = Router::new().route("/runs", get(async || "runs")).route("/users", get(async || "users"));
/// let table = RouteTable::new().add(Method::GET, "/runs", ())?;
///
/// let uncovered = table.uncovered(tower_api_keys::axum::routes(&app)?);
/// assert_eq!(uncovered.iter().map(ToString::to_string).collect::<Vec<_>>(), ["GET /users"]);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
///
/// Nested and merged routers are listed route by route, sorted by pattern. Not listed are
///
/// - fallbacks, of routers and of single routes: no rule should be for what has no name. A table refuses them.
/// - what a service added by `nest_service` has below its prefix. It counts as one route, covered by any rule below
///   the prefix; compare its own routes with [`RouteTable::uncovered`](crate::route::RouteTable::uncovered).
///
/// # Errors
///
/// [`UnreadableRouter`] if axum shows its routers in another way than this crate knows.
pub fn routes<S>(router: &Router<S>) -> Result<Vec<Route>, UnreadableRouter> {
    Ok(read(router)?.routes)
}

/// The routes that answer a request without a credential: those that the layers do not cover.
///
/// A route added or merged after `layer` stays outside of it, and no table knows. So every route, and every
/// fallback of the host's own, gets a request without a credential, each from a [`PeerAddress`] of its own,
/// and is named if the answer is not a refusal by a layer of this crate. Being over a rate limit does not
/// count as one: the next request may pass. **The handlers of such routes run.** For a test of the host's,
/// which compares with the routes meant to be public.
///
/// ```
/// use axum::Router;
/// use axum::routing::get;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let app: Router = Router::new().route("/health", get(async || "fine"));
///
/// let unguarded = tower_api_keys::axum::unguarded(&app).await?;
/// assert_eq!(unguarded.iter().map(ToString::to_string).collect::<Vec<_>>(), ["GET /health"]);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`UnreadableRouter`] if axum shows its routers in another way than this crate knows, or a pattern can't be made into
/// a path.
pub async fn unguarded(router: &Router) -> Result<Vec<Route>, UnreadableRouter> {
    let Routes { routes, fallbacks } = read(router)?;
    let mut unguarded = Vec::new();
    for (number, route) in routes.into_iter().chain(fallbacks).enumerate() {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(sample_peer(number));
        *request.uri_mut() = sample(&route)?;
        *request.method_mut() = route.method().cloned().unwrap_or(Method::GET);
        let Ok(response) = router.clone().call(request).await;
        // Being over a limit says nothing about the next request.
        let rejection = response.extensions().get::<Rejection>();
        if rejection.is_none_or(|rejection| rejection.kind() == RejectionKind::RateLimited) {
            unguarded.push(route);
        }
    }
    Ok(unguarded)
}

/// The routes of an axum router can't be told.
///
/// axum has no list of them, so they are read from its `Debug` output, and every byte of it must be as known. Pin the
/// version of axum that worked, list the routes by hand for
/// [`RouteTable::uncovered`](crate::route::RouteTable::uncovered), and report it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "can't tell the routes of this axum router: {0}; use a version of axum that this crate knows, \
     or list the routes by hand"
)]
#[non_exhaustive]
pub struct UnreadableRouter(String);

/// A client of its own for each request, so that a limit by client address neither misses one nor is used up
/// by them.
fn sample_peer(number: usize) -> PeerAddress {
    let network = 0x2001_0db8 << 96; // RFC 3849
    PeerAddress(IpAddr::V6(Ipv6Addr::from_bits(network | (number as u128) << 64)))
}

/// A path that the route answers.
fn sample(route: &Route) -> Result<Uri, UnreadableRouter> {
    let mut path = String::new();
    let mut characters = route.pattern().chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '{' | '}' if characters.next_if_eq(&character).is_some() => path.push(character),
            '{' => {
                let _name = characters.by_ref().take_while(|character| *character != '}').count();
                path.push_str("tower-api-keys");
            }
            character => path.push(character),
        }
    }
    if route.is_mount {
        path.push_str("/tower-api-keys");
    }
    path.parse().map_err(|error| {
        UnreadableRouter(format!("the pattern {:?} makes no path: {error}", route.pattern()))
    })
}

struct Routes {
    routes: Vec<Route>,
    fallbacks: Vec<Route>,
}

/// What axum names the rest of the path below a nested service.
const NESTED_SERVICE: &str = "/{*__private__axum_nest_tail_param}";
/// What axum names the path of a fallback.
const FALLBACK: &str = "/{*__private__axum_fallback}";

fn read<S>(router: &Router<S>) -> Result<Routes, UnreadableRouter> {
    let shown = format!("{router:?}");
    let mut reader = Reader { rest: &shown };
    reader.router().map_err(|expected| {
        let position = shown.len() - reader.rest.len();
        UnreadableRouter(format!("its Debug output has no {expected} at byte {position}"))
    })
}

/// Reads the `Debug` output of a router. The error is what was expected.
struct Reader<'a> {
    rest: &'a str,
}

/// What stands at a path.
enum Endpoint {
    /// These methods, those of a `MethodRouter`.
    Methods(Vec<Method>),
    /// Something that sees every method.
    AnyMethod,
}

/// What was expected instead.
type Expected = &'static str;

impl<'a> Reader<'a> {
    fn router(&mut self) -> Result<Routes, Expected> {
        self.expect("Router { path_router: ")?;
        let endpoints = self.path_router()?;
        self.expect(", fallback_router: ")?;
        let mut fallbacks = self.path_router()?;
        self.expect(", default_fallback: ")?;
        if self.one_of(&["true", "false"])? == "true" {
            fallbacks.remove(FALLBACK);
        }
        self.expect(", catch_all_fallback: ")?;
        self.fallback()?;
        self.expect(" }")?;
        if !self.rest.is_empty() {
            return Err("end");
        }
        Ok(Routes {
            routes: listed(endpoints),
            fallbacks: fallbacks
                .into_keys()
                .filter(|path| path.ends_with(FALLBACK))
                .map(Route::any_method)
                .collect(),
        })
    }

    /// What stands at which path.
    fn path_router(&mut self) -> Result<BTreeMap<String, Endpoint>, Expected> {
        self.expect("PathRouter { routes: ")?;
        let mut endpoints = self.map(Self::endpoint)?;
        self.expect(", node: Node { paths: ")?;
        let paths = self.map(Self::string)?;
        self.expect(" } }")?;
        if paths.len() != endpoints.len() {
            return Err("path for every route");
        }
        let endpoint_of = |(id, path)| Ok((path, endpoints.remove(id).ok_or("route for every path")?));
        paths.into_iter().map(endpoint_of).collect()
    }

    /// A map by `RouteId`.
    fn map<T>(
        &mut self,
        value: impl Fn(&mut Self) -> Result<T, Expected>,
    ) -> Result<HashMap<&'a str, T>, Expected> {
        let mut map = HashMap::new();
        self.expect("{")?;
        if self.one_of(&["}", ""])? == "}" {
            return Ok(map);
        }
        loop {
            self.expect("RouteId(")?;
            let (id, rest) = self.rest.split_once("): ").ok_or("RouteId")?;
            self.rest = rest;
            map.insert(id, value(self)?);
            if self.one_of(&[", ", "}"])? == "}" {
                return Ok(map);
            }
        }
    }

    fn endpoint(&mut self) -> Result<Endpoint, Expected> {
        if self.one_of(&["Route(Route)", "MethodRouter(MethodRouter { "])? == "Route(Route)" {
            return Ok(Endpoint::AnyMethod);
        }
        let mut methods = Vec::new();
        for (name, method) in [
            ("get: ", Method::GET),
            ("head: ", Method::HEAD),
            ("delete: ", Method::DELETE),
            ("options: ", Method::OPTIONS),
            ("patch: ", Method::PATCH),
            ("post: ", Method::POST),
            ("put: ", Method::PUT),
            ("trace: ", Method::TRACE),
            ("connect: ", Method::CONNECT),
        ] {
            self.expect(name)?;
            if self.one_of(&["None", "Route", "BoxedHandler"])? != "None" {
                methods.push(method);
            }
            self.expect(", ")?;
        }
        self.expect("fallback: ")?;
        let is_default = self.fallback()?;
        self.expect(", allow_header: ")?;
        // `any` is a fallback that leaves the `Allow` field out.
        let is_any = match self.one_of(&["None", "Skip", "Bytes(b\""])? {
            "Skip" => true,
            "None" => methods.is_empty() && !is_default,
            _ => {
                let (_, rest) = self.rest.split_once("\")").ok_or("end of the Allow field")?;
                self.rest = rest;
                false
            }
        };
        self.expect(" })")?;
        Ok(if is_any { Endpoint::AnyMethod } else { Endpoint::Methods(methods) })
    }

    /// Whether a fallback is the default one.
    fn fallback(&mut self) -> Result<bool, Expected> {
        Ok(self.one_of(&["Default(Route)", "Service(Route)", "BoxedHandler"])? == "Default(Route)")
    }

    fn string(&mut self) -> Result<String, Expected> {
        self.expect("\"")?;
        let mut string = String::new();
        let mut characters = self.rest.chars();
        loop {
            match characters.next().ok_or("end of a string")? {
                '"' => break,
                '\\' => match characters.next() {
                    Some(escaped @ ('"' | '\\' | '\'')) => string.push(escaped),
                    _ => return Err("known escape"),
                },
                character => string.push(character),
            }
        }
        self.rest = characters.as_str();
        Ok(string)
    }

    fn expect(&mut self, text: &'static str) -> Result<(), Expected> {
        self.rest = self.rest.strip_prefix(text).ok_or(text)?;
        Ok(())
    }

    /// The first of `texts` that comes next.
    fn one_of(&mut self, texts: &[&'static str]) -> Result<&'static str, Expected> {
        for text in texts {
            if self.expect(text).is_ok() {
                return Ok(text);
            }
        }
        Err(texts[0])
    }
}

/// One route a method, and one for a nested service, which axum has three paths for.
fn listed(endpoints: BTreeMap<String, Endpoint>) -> Vec<Route> {
    let is_mount =
        |path: &str| endpoints.contains_key(&format!("{}{NESTED_SERVICE}", path.trim_end_matches('/')));
    let mut routes = Vec::new();
    for (path, endpoint) in &endpoints {
        match endpoint {
            _ if is_mount(path) => {}
            Endpoint::AnyMethod => match path.strip_suffix(NESTED_SERVICE) {
                Some(prefix) => routes.push(Route::mount(prefix)),
                None => routes.push(Route::any_method(path)),
            },
            Endpoint::Methods(methods) => {
                routes.extend(methods.iter().map(|method| Route::from((method.clone(), path))));
            }
        }
    }
    routes
}

#[cfg(test)]
mod tests {
    use axum::routing::get;

    use super::*;

    #[test]
    fn debug_output_that_is_not_known_is_an_error() {
        let shown = format!("{:?}", Router::<()>::new().route("/a", get(async || ())));
        assert!(Reader { rest: &shown }.router().is_ok());
        for at in 0..shown.len() {
            let cut = &shown[..at];
            assert!(Reader { rest: cut }.router().is_err(), "{cut}");
            let is_in_quotes = cut.matches('"').count() % 2 == 1;
            let changed = format!("{cut}~{}", &shown[at..]);
            assert!(is_in_quotes || Reader { rest: &changed }.router().is_err(), "{changed}");
        }
        let error = UnreadableRouter("its Debug output has no RouteId at byte 9".into());
        assert!(error.to_string().contains("or list the routes by hand"), "{error}");
    }
}
