//! Whole systems, assembled from the crate's parts.
//!
//! A preset holds no mechanism of its own. It names a key format, a format for refusals, routes with their scopes, and
//! limits; read one to see how to write your own.

pub mod justpaid;
pub mod paymongo;
