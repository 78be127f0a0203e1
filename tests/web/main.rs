//! Frameworks and presets: axum, tonic, the key routes, the four systems.
#![cfg(all(feature = "axum", feature = "openapi", feature = "presets", feature = "tonic"))]

#[path = "../support/http2.rs"]
mod http2;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

mod axum_extractors;
mod bodies;
mod broken_records;
#[cfg(feature = "console")]
mod console;
mod failed_calls;
mod grpc;
mod health_route;
mod justpaid_preset;
mod limits_route;
mod manage_routes;
mod openapi;
mod openapi_apps;
mod openapi_responses;
mod openapi_routes;
mod pasby_preset;
mod payment_gateway_preset;
mod paymongo_preset;
mod staff_routes;
mod usage_routes;
mod whoami;
