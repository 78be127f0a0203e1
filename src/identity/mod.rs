//! The caller: its identity, the organization it acts for, and the values it owns.
//!
//! - [`Principal`]: the authenticated caller of a request, by its key or its session.
//! - [`SessionAuthenticator`]: verifies people's [sessions](Session), for applications with a dashboard beside keys.
//! - [`OrganizationRule`]: selects the organization a request acts for, where the key alone does not.
//! - [`Role`], [`OrganizationPrincipal`], [`SystemPrincipal`]: roles of people, and the two tiers.
//! - [`Owned`]: a value that only its owner can access.
//!
//! # Sessions
//!
//! An application gives a function or a [`SessionAuthenticator`] to
//! [`ApiKeysBuilder::sessions`](crate::ApiKeysBuilder::sessions). A session is then a [`Principal`] like any other:
//! with scopes, isolation and rate limits.
//!
//! A session acts for one owner in each request: an organization, in one mode. If it has only one, it acts for that.
//! Otherwise the [`OrganizationRule`] of the assembly selects it by what the request says; what the request leaves open is
//! never guessed, but rejected.
//!
//! A session of the application's staff has the [system](crate::key::Owner::system) as its owner, and is of the
//! [system tier](Principal::is_of_system): like a key of the system it may use [system
//! routes](crate::route::Access::System), and acts for the organization that a request names. See
//! [`Authority::system`](crate::Authority::system) for managing keys of all organizations.
//!
//! ```
//! use tower_api_keys::identity::{OrganizationRule, Role, Session};
//! use tower_api_keys::key::{Mode, Owner, SecretString};
//! use tower_api_keys::scope::ScopeSet;
//! # use tower_api_keys::{ApiKeys, KeyFormat, MemoryStore};
//!
//! struct Claims {
//!     subject: String,
//!     organization: String,
//! }
//!
//! /// Checks the signature, the issuer, the audience and the time.
//! fn verify(token: &str) -> Option<Claims> {
//!     # let _ = token;
//!     # None
//! }
//!
//! fn session(token: &SecretString) -> Option<Session> {
//!     let claims = verify(token.expose_secret())?;
//!     // Only now, from a verified token.
//!     let owner = Owner::organization(claims.organization.parse().ok()?, Mode::Live);
//!     let scopes = ScopeSet::parse_list(["invoice:read"]).ok()?;
//!     Some(Session::new(claims.subject).with_owner(owner, Role::of_rank(1), scopes))
//! }
//!
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .bearer()
//!     .sessions(session)
//!     .organization(OrganizationRule::context())
//!     .route("GET", "/invoices", "invoice:read")
//!     .build()?;
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! # Isolation
//!
//! A handler that finds a resource by its identifier must not show it to another organization, or to a key of the
//! other mode, and must not reveal that it exists. So a resource is stored together with its
//! [`Owner`](crate::key::Owner), and is accessed through the caller: a resource of another owner is `None`, exactly
//! as if it did not exist. All 404 responses come from the same code, so they are equal byte for byte.
//!
//! ```
//! use std::collections::HashMap;
//!
//! use tower_api_keys::Principal;
//! use tower_api_keys::identity::Owned;
//!
//! struct NotFound;
//! struct OtherMode;
//!
//! struct Workflow {
//!     name: String,
//!     runs: u32,
//! }
//!
//! type Workflows = HashMap<String, Owned<Workflow>>;
//!
//! fn create(workflows: &mut Workflows, principal: &Principal, id: String, workflow: Workflow) {
//!     workflows.insert(id, Owned::new(principal.owner().clone(), workflow));
//! }
//!
//! fn read<'w>(workflows: &'w Workflows, principal: &Principal, id: &str) -> Result<&'w Workflow, NotFound> {
//!     workflows.get(id).and_then(|workflow| workflow.get(principal)).ok_or(NotFound)
//! }
//!
//! fn delete(workflows: &mut Workflows, principal: &Principal, id: &str) -> Result<(), NotFound> {
//!     read(workflows, principal, id)?;
//!     workflows.remove(id);
//!     Ok(())
//! }
//!
//! // A list contains only the caller's own.
//! fn names(workflows: &Workflows, principal: &Principal) -> Vec<String> {
//!     workflows.values().filter_map(|workflow| workflow.get(principal)).map(|own| own.name.clone()).collect()
//! }
//!
//! // A route may report, within the caller's own organization, that a resource has the other mode.
//! fn may_run(workflows: &Workflows, principal: &Principal, id: &str) -> Result<(), OtherMode> {
//!     match workflows.get(id) {
//!         Some(workflow) if workflow.is_in_other_mode(principal) => Err(OtherMode),
//!         _ => Ok(()),
//!     }
//! }
//! ```
//!
//! With a database, put the owner's tenant and mode into every query's condition. Put a row found by its identifier
//! alone into an `Owned` before using it.

mod caller;
mod organization_rule;
mod owned;
mod principal;
mod role;
mod session;
mod tier;

pub(crate) use caller::{Authentication, Caller};
pub use organization_rule::OrganizationRule;
pub(crate) use organization_rule::{Context, Selection};
pub use owned::Owned;
pub(crate) use principal::{Companion, Identity};
pub use principal::{Principal, SecretStatus};
pub use role::Role;
pub(crate) use session::Membership;
pub use session::{Session, SessionAuthenticator};
pub use tier::{OrganizationPrincipal, SystemPrincipal};
