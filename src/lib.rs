//! API key authentication as tower layers.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

pub mod clock;
pub mod key;
pub mod rate_limit;
pub mod scope;
mod text;
