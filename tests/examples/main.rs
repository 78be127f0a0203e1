//! The example servers over real sockets, and what each feature changes. Their printed `curl` lines are pasted, so this needs
//! curl.

#[path = "../support/http2.rs"]
mod http2;
#[path = "../support/nested_cargo.rs"]
mod nested_cargo;
#[path = "../support/server.rs"]
mod server;

mod admin;
mod features;
mod hyper_service;
mod justpaid;
mod pasby;
mod payment_gateway;
mod paymongo;
mod streams;
