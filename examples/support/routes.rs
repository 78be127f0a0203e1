//! The routes of an axum router, for a test that no route was forgotten in the assembly.
//!
//! axum has no list of them, so they are parsed from its `Debug` output. This is not part of axum's promise, nor of
//! this crate's: another version of axum may print its routers differently. Every byte must be as expected, so that a
//! change causes an error instead of a wrong list. An application that copies this file pins its version of axum, or
//! lists its routes by hand for [`ApiKeys::uncovered`](tower_api_keys::ApiKeys::uncovered).

use std::collections::{BTreeMap, HashMap};

use axum::Router;
use axum::http::Method;
use tower_api_keys::route::Route;

/// The `Debug` output of axum's router has an unexpected format.
#[derive(Debug)]
pub(crate) struct UnreadableRouter(String);

impl std::fmt::Display for UnreadableRouter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(what) = self;
        write!(
            f,
            "can't tell the routes of this axum router: {what}; use a version of axum that is known, or list the routes \
             by hand"
        )
    }
}

impl std::error::Error for UnreadableRouter {}

/// axum's name for the rest of the path below a nested service.
const NESTED_SERVICE: &str = "/{*__private__axum_nest_tail_param}";

/// The routes of a router, sorted by pattern; nested and merged ones route by route.
///
/// Fallbacks of routers and of single routes are not listed. A service added by `nest_service` counts as one route,
/// which any rule below its prefix covers.
pub(crate) fn routes<S>(router: &Router<S>) -> Result<Vec<Route>, UnreadableRouter> {
    let shown = format!("{router:?}");
    let mut reader = Reader { rest: &shown };
    reader.router().map_err(|expected| {
        let position = shown.len() - reader.rest.len();
        UnreadableRouter(format!("its Debug output has no {expected} at byte {position}"))
    })
}

/// Parses the `Debug` output of a router. The error is the expected text.
struct Reader<'a> {
    rest: &'a str,
}

/// The endpoint at a path.
enum Endpoint {
    /// These methods, those of a `MethodRouter`.
    Methods(Vec<Method>),
    /// An endpoint for every method.
    AnyMethod,
}

/// The expected text.
type Expected = &'static str;

impl<'a> Reader<'a> {
    fn router(&mut self) -> Result<Vec<Route>, Expected> {
        self.expect("Router { path_router: ")?;
        let endpoints = self.path_router()?;
        self.expect(", fallback_router: ")?;
        self.path_router()?;
        self.expect(", default_fallback: ")?;
        self.one_of(&["true", "false"])?;
        self.expect(", catch_all_fallback: ")?;
        self.fallback()?;
        self.expect(" }")?;
        if !self.rest.is_empty() {
            return Err("end");
        }
        Ok(listed(endpoints))
    }

    /// The endpoints by path.
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
        // `any` is a fallback without the `Allow` field.
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

    /// The first of `texts` that follows.
    fn one_of(&mut self, texts: &[&'static str]) -> Result<&'static str, Expected> {
        for text in texts {
            if self.expect(text).is_ok() {
                return Ok(text);
            }
        }
        Err(texts[0])
    }
}

/// One route per method, and one for a nested service, which has three paths in axum.
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
    use std::convert::Infallible;

    use axum::body::Body;
    use axum::http::{Request, Response};
    use axum::routing::{MethodRouter, any, get, post};
    use tower::util::BoxCloneSyncService;

    use super::*;

    async fn ok() {}

    /// A service whose routes axum does not know.
    fn service() -> BoxCloneSyncService<Request<Body>, Response<Body>, Infallible> {
        BoxCloneSyncService::new(tower::service_fn(async |_: Request<Body>| Ok(Response::new(Body::empty()))))
    }

    fn named(routes: &[Route]) -> Vec<String> {
        routes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_route_of_a_router_is_listed() {
        let app: Router<u8> = Router::new()
            .route("/", get(ok))
            .route("/a/{id}", get(ok).post(ok))
            .route("/head", axum::routing::head(ok))
            .route("/any", any(ok))
            .route("/both", get(ok).merge(any(ok)))
            .route("/fallback", get(ok).fallback(ok))
            .route("/only-fallback", MethodRouter::new().fallback(ok))
            .route(r#"/odd/"quoted"/{{braces}}"#, get(ok))
            .route_service("/service", service())
            .route_service("/rest/{*path}", service())
            .nest(
                "/nested",
                Router::new().route("/", get(ok)).nest("/twice", Router::new().route("/{id}", post(ok))),
            )
            .nest("/inner", Router::new().nest_service("/mount", service()))
            .nest_service("/mount", service())
            .merge(Router::new().route("/merged", get(ok)).layer(tower::layer::util::Identity::new()))
            .fallback(ok);
        let want = [
            "GET /",
            "GET /a/{id}",
            "POST /a/{id}",
            "any method /any",
            "any method /both",
            "GET /fallback",
            "HEAD /head",
            "any method /inner/mount and below",
            "GET /merged",
            "any method /mount and below",
            "GET /nested",
            "POST /nested/twice/{id}",
            r#"GET /odd/"quoted"/{{braces}}"#,
            "any method /only-fallback",
            "any method /rest/{*path}",
            "any method /service",
        ];
        assert_eq!(named(&routes(&app).unwrap()), want);
        let app: Router = app.with_state(7).layer(tower::layer::util::Identity::new());
        assert_eq!(named(&routes(&app).unwrap()), want, "with state and a layer");
        assert_eq!(named(&routes(&Router::<()>::new()).unwrap()), [""; 0]);
    }

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
