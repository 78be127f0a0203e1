//! The assembly's part of an application's OpenAPI document.
//!
//! An application describes its operations, by hand or with a library. [`ApiKeys::openapi`] adds what the assembly
//! knows: where requests carry their keys, which scopes each operation needs, and how a request can be rejected.
//!
//! ```
//! use serde_json::json;
//! use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
//!
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .header("x-api-key")
//!     .route("GET", "/workflows", "workflows:read")
//!     .describe_scopes([("workflows:read", "See workflows and their runs.")])
//!     .build()?;
//!
//! let mut document = json!({
//!     "openapi": "3.1.1",
//!     "info": { "title": "Workflows", "version": "1.0.0" },
//!     "paths": { "/workflows": { "get": { "responses": { "200": { "description": "The workflows." } } } } },
//! });
//! keys.openapi(&mut document)?;
//!
//! let list = &document["paths"]["/workflows"]["get"];
//! assert_eq!(list["security"], json!([{ "x-api-key": ["workflows:read"] }]));
//! assert_eq!(list["x-required-scopes"], json!(["workflows:read"]));
//! assert_eq!(list["responses"]["401"]["$ref"], "#/components/responses/Unauthorized");
//! assert_eq!(document["components"]["securitySchemes"]["x-api-key"]["in"], "header");
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! The document is a [`serde_json::Value`], or any type that serde writes and reads: utoipa's `OpenApi` and that of
//! aide are. Its version is OpenAPI 3.1 or 3.2. Version 3.0 is refused: its requirements can't name scopes.
//!
//! # What is added
//!
//! | to | what |
//! |---|---|
//! | `components.securitySchemes` | a scheme for each place of keys, and for what [comes with a key](crate::credential::Companions) |
//! | `security` of an operation | one of the places of keys, each with the scopes as role names; `{}` first where a request needs no credential |
//! | `x-required-scopes` | the scopes that are all needed; `[{"anyOf": […]}]` if one of several is |
//! | `x-required-tier`, `x-required-role` | `system`, and the rank of a [role](crate::identity::Role) |
//! | `description` | a sentence that names the scopes, since few tools show those of `security` |
//! | `parameters` | the header fields and the cookie that name the [organization](crate::identity::OrganizationRule) and the mode |
//! | `responses` | one for each status that a rejected request can get, as the assembly's [`ErrorFormat`] writes it: its header fields, each body as an example, and a schema of those |
//! | `headers` of the application's own responses | the fields that report limits, where a limit counts the operation, and `X-Request-ID` |
//! | `x-scopes` of the document | [the scopes](ApiKeys::scopes) with their sentences |
//!
//! Nothing that is there already is changed: a response of the same status, a `security`, a scheme of the same place, which
//! is used by its name. So to add twice is to add once. What contradicts the assembly is found by
//! [`openapi_drift`](ApiKeys::openapi_drift).
//!
//! An operation belongs to the rule whose route is its path below one of the document's `servers`, else its path. OpenAPI has no
//! catch-all, so the last parameter of a path also stands for one: `/files/{path}` for `/files/{*path}`. An operation without a
//! rule is left alone. What [`require`](ApiKeys::require) needs on single routes is not known here.
//!
//! The operations of the routes that this crate serves, such as the [key routes](crate::manage::KeyRoutes), are added by
//! `openapi_routes` (feature `axum`).
//!
//! # With utoipa
//!
//! ```
//! # use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
//! use utoipa::OpenApi;
//!
//! #[derive(OpenApi)]
//! #[openapi(paths(list))]
//! struct ApiDoc;
//!
//! #[utoipa::path(get, path = "/workflows", responses((status = 200, description = "The workflows.")))]
//! async fn list() {}
//!
//! # let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//! #     .header("x-api-key")
//! #     .route("GET", "/workflows", "workflows:read")
//! #     .build()?;
//! let mut document = ApiDoc::openapi();
//! keys.openapi(&mut document)?;
//!
//! let list = document.paths.paths["/workflows"].get.as_ref().unwrap();
//! assert!(list.security.is_some() && list.responses.responses.contains_key("401"));
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! The document passes through serde, so nothing here depends on a version of utoipa: 5 and 6 write documents of OpenAPI 3.1.
//!
//! # A test that the document is true
//!
//! Every application should have this one. It compares the rules with the document, in both directions, and the
//! [router's routes](ApiKeys::uncovered) with the rules:
//!
//! ```
//! # use serde_json::json;
//! # use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
//! # let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//! #     .header("x-api-key")
//! #     .route("GET", "/workflows", "workflows:read")
//! #     .build()?;
//! # let mut document = json!({ "openapi": "3.1.1", "info": { "title": "", "version": "" }, "paths": { "/workflows": { "get": {} } } });
//! use http::Method;
//!
//! keys.openapi(&mut document)?;
//! assert_eq!(keys.openapi_drift(&document)?, []);
//!
//! let routes = [(Method::GET, "/workflows")];
//! assert_eq!(keys.uncovered(routes.clone()), []);
//! assert_eq!(keys.unused(routes), []);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! [`openapi_probe`](ApiKeys::openapi_probe) also asks the running application. On the [command line](crate::cli) (feature `cli`) of an
//! application, `openapi --check FILE` makes the first comparison, and `openapi` prints a document of the rules to start from.

mod document;
mod drift;
mod error;
#[cfg(feature = "cli")]
mod of_rules;
mod operation;
mod operations;
#[cfg(feature = "axum")]
mod own_operations;
#[cfg(feature = "axum")]
mod own_routes;
mod probe;
mod responses;
mod schema;
mod security;

use bytes::Bytes;
pub use drift::{Drift, Probe};
pub use error::OpenApiError;
#[cfg(feature = "axum")]
pub use own_routes::OwnRoutes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use self::document::Document;
use self::operation::Operation;
use self::security::Schemes;
use crate::ApiKeys;
use crate::middleware::Requirements;
use crate::rejection::ErrorFormat;
use crate::route::Route;

impl<F: ErrorFormat<Bytes>> ApiKeys<F> {
    /// Adds to an OpenAPI document what clients have to know of keys, scopes and limits, as the [module](crate::openapi)
    /// says. The document is a [`serde_json::Value`], or a type that serde writes and reads, such as utoipa's.
    ///
    /// The format of errors has to write [`Bytes`]: those of this crate do, and closures that make the body of a
    /// framework do not.
    ///
    /// # Errors
    ///
    /// [`OpenApiError`] if the document is not one of OpenAPI 3.1 or 3.2. It is then unchanged.
    pub fn openapi<D: Serialize + DeserializeOwned>(&self, document: &mut D) -> Result<(), OpenApiError> {
        let mut annotated = Document::read(document)?;
        self.annotate(&mut annotated, |operation, route, requirements, document| {
            let responses = responses::of_rejections(self, route, requirements);
            operation.respond(responses, requirements, document, self.gives_request_ids());
        })?;
        *document = annotated.write()?;
        Ok(())
    }
}

impl<F> ApiKeys<F> {
    /// Adds what each operation needs, and what `respond` says of its responses.
    fn annotate(
        &self,
        document: &mut Document,
        respond: impl Fn(&mut Operation, &Route, &Requirements<'_>, &mut Document),
    ) -> Result<(), OpenApiError> {
        let schemes = Schemes::of(self, document);
        let mut taken = operations::take(document)?;
        for operation in &mut taken {
            if let Some((route, requirements)) = operation.requirements(self) {
                operation.require(&requirements, &schemes);
                respond(operation, &route, &requirements, document);
            }
        }
        operations::put_back(document, taken);
        let scopes = self.scopes().iter().map(|known| (known.scope.to_string(), known.description.clone()));
        let scopes: Map<_, _> = scopes.map(|(scope, sentence)| (scope, sentence.into())).collect();
        document.add("x-scopes", Value::Object(scopes));
        Ok(())
    }

    /// Where the rules of the assembly and an OpenAPI document differ: operations without a rule, rules without an operation,
    /// and operations that say otherwise what a request needs. For a test, as the [module](crate::openapi) shows.
    ///
    /// The document is one that [`openapi`](Self::openapi) has completed, or one that was written by hand. An operation
    /// that is served outside of the layer, and a rule whose operation is not published, is a difference, too: a test
    /// lists those that are meant.
    ///
    /// # Errors
    ///
    /// [`OpenApiError`] if the document is not one of OpenAPI 3.1 or 3.2.
    pub fn openapi_drift<D: Serialize>(&self, document: &D) -> Result<Vec<Drift>, OpenApiError> {
        let mut document = Document::read(document)?;
        let schemes = Schemes::of(self, &mut document);
        let by_default = document.get("security").cloned();
        let (mut drift, mut covered) = (Vec::new(), Vec::new());
        for operation in operations::take(&mut document)? {
            match operation.requirements(self) {
                Some((route, requirements)) => {
                    drift.extend(operation.contradictions(
                        &route,
                        &requirements,
                        &schemes,
                        by_default.as_ref(),
                    ));
                    covered.push(route);
                }
                None => drift.push(Drift::NoRule(operation.route().clone())),
            }
        }
        drift.extend(self.unused(covered).into_iter().map(Drift::NoOperation));
        Ok(drift)
    }
}
