//! Permissions: scopes, the set a key holds, and the scopes a route requires.
//!
//! A [`Scope`] is `resource:action`. A key holds a [`ScopeSet`], in which `resource:*` grants every action of that
//! resource. A route has a [`ScopeRequirement`], which never contains a wildcard. Matching compares whole parts byte
//! for byte: `john:read` never grants `johnathan:read`, and case matters.

mod known;
mod requirement;
#[expect(clippy::module_inception, reason = "the file is named for the type in it")]
mod scope;
mod set;

pub use known::KnownScope;
pub use requirement::ScopeRequirement;
pub use scope::Scope;
pub use set::ScopeSet;
