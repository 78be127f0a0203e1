//! What a key may do: scopes, the set a key holds, and what a route requires.
//!
//! A [`Scope`] is `resource:action`. A key holds a [`ScopeSet`], in which `resource:*` grants every action of that
//! resource. A route states a [`ScopeRequirement`], which never has a wildcard. Matching is by whole part and byte
//! for byte: `john:read` never grants `johnathan:read`, and nothing is case-folded.

mod requirement;
#[expect(clippy::module_inception, reason = "the file is named for the type in it")]
mod scope;
mod set;

pub use requirement::{InvalidScopeRequirement, ScopeRequirement};
pub use scope::{InvalidScope, Scope};
pub use set::ScopeSet;
