use crate::request::RequestView;

/// How the route of a request is found.
///
/// | | `Path` | `MatchedPath` |
/// |---|---|---|
/// | matched | the path of the request | the route that axum's router chose, as written in `Router::route` |
/// | place of the layer | anywhere | in `Router::layer` or `route_layer` |
/// | a path with `%`, `//`, `;` or a segment `..` | rejected | matched like the router did |
/// | below `Router::nest` | the path that the service sees: without the prefix for a layer inside the nested router | the whole route, `/api/v1/users/{id}` |
/// | no rule found | 403, `route_not_covered` | 403 for a route of the router, 404 (`route_not_found`) where the router has none |
///
/// With `MatchedPath`, a request that no route matched is looked up by its path, including the prefix of the nested
/// router. The response to an unauthenticated request has an empty `Allow`, so that axum does not add the route's
/// methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RouteMatching {
    /// By the path of the request.
    #[default]
    Path,
    /// By the route that axum's router chose.
    #[cfg(feature = "axum")]
    MatchedPath,
}

#[cfg(feature = "axum")]
impl RouteMatching {
    /// The route that the router chose, if routes are matched by it and there is one.
    #[inline]
    pub(crate) fn matched_route<'r>(self, request: RequestView<'r>) -> Option<&'r str> {
        match self {
            Self::Path => None,
            Self::MatchedPath => {
                request.extensions.get::<axum::extract::MatchedPath>().map(axum::extract::MatchedPath::as_str)
            }
        }
    }

    /// The prefix that a router removed from the path before this service.
    #[inline]
    pub(super) fn stripped_prefix(self, request: RequestView<'_>) -> &str {
        use axum::extract::NestedPath;

        match self {
            Self::Path => "",
            Self::MatchedPath => {
                let nested = request.extensions.get::<NestedPath>().map_or("", NestedPath::as_str);
                nested.strip_suffix('/').unwrap_or(nested)
            }
        }
    }

    /// The path before a router removed a prefix.
    pub(super) fn whole_path(self, request: RequestView<'_>) -> &str {
        let original = match self {
            Self::Path => None,
            Self::MatchedPath => request.extensions.get::<axum::extract::OriginalUri>(),
        };
        original.map_or(request.uri.path(), |uri| uri.path())
    }

    /// Whether a router matches the routes, so that a missing route is known, too.
    pub(crate) fn is_by_router(self) -> bool {
        self == Self::MatchedPath
    }
}

#[cfg(not(feature = "axum"))]
impl RouteMatching {
    #[inline]
    pub(crate) fn matched_route(self, _: RequestView<'_>) -> Option<&str> {
        None
    }

    #[inline]
    pub(super) fn stripped_prefix(self, _: RequestView<'_>) -> &str {
        ""
    }

    pub(super) fn whole_path(self, request: RequestView<'_>) -> &str {
        request.uri.path()
    }

    pub(crate) fn is_by_router(self) -> bool {
        false
    }
}
