//! A page for managing keys, in a browser: for the application's own staff, or for its customers.
//!
//! It lists keys, makes them with a picker of [scopes](crate::ApiKeys::scopes), shows a secret once, edits, rotates, disables,
//! revokes and deletes keys, one or several at once. It shows what was done to each, how often it is used where the assembly
//! [counts it](crate::ApiKeysBuilder::count_usage), and [which check](crate::ApiKeys::explain_key) would reject a request with it. All of it
//! works without JavaScript, and under a policy that allows nothing inline. Each operation is one of the [`KeyManager`], so its
//! rules and its audit hold here too.
//!
//! # For customers
//!
//! [`ApiKeys::console_for`] takes a closure: whose keys a request may manage. It reads what the application's own login has left in
//! the request. Without an authority the page does not exist: 404.
//!
//! ```
//! use axum::Router;
//! use tower_api_keys::key::{Mode, OrganizationId, Owner};
//! use tower_api_keys::scope::ScopeSet;
//! use tower_api_keys::{ApiKeys, Authority, KeyFormat, MemoryStore};
//!
//! /// What the application's own middleware puts into the extensions of a request, once a customer has signed in.
//! #[derive(Clone)]
//! struct SignedIn {
//!     organization: OrganizationId,
//!     person: String,
//! }
//!
//! let for_customers = ScopeSet::parse_list(["invoices:*", "reports:read"])?;
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .bearer()
//!     .without_route_table()
//!     .manage_with(|manager| manager.with_grantable_scopes(for_customers))
//!     .build()?;
//! let page = keys.console_for(|request| {
//!     let customer = request.extensions.get::<SignedIn>()?;
//!     let owner = Owner::organization(customer.organization.clone(), Mode::Live);
//!     Some(Authority::operator(owner).by(customer.person.as_str()))
//! });
//! let app: Router = Router::new().nest("/settings/keys", page); // inside of the middleware that signs customers in
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! An [operator](Authority::operator) of the organization grants every scope that the manager [names as
//! grantable](KeyManager::with_grantable_scopes), and none where it names none: leave out what is not for customers. Name the person
//! with [`by`](Authority::by): forms belong to it, and the history has it. [`Authority::principal`] is bound by what the session of a
//! person holds. A key's own limits and its metadata are for staff to set.
//!
//! # For staff
//!
//! [`ApiKeys::console`] shows the keys of all organizations and of the system, in one mode, to callers of the [system
//! tier](crate::Principal::is_of_system) with the scopes for managing keys. It stands inside of
//! [`ApiKeys::layer`], with rules for its routes:
//!
//! ```
//! use axum::Router;
//! use tower_api_keys::{Access, ApiKeys, KeyFormat, MemoryStore};
//!
//! let page = Access::try_from("api-keys:read")?.of_system();
//! let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?)
//!     .header("x-api-key")
//!     .routes([("GET", "/admin/keys", page.clone()), ("GET", "/admin/keys/{*rest}", page.clone())])
//!     .route("POST", "/admin/keys/{*rest}", page)
//!     .build()?;
//! let app: Router = Router::new().nest("/admin/keys", keys.console()).layer(keys.layer());
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! ```
//!
//! They grant what is grantable to keys of organizations; a key of the system gets no more than they hold. A page shows one mode.
//!
//! They find the key of a text that was seen in public, say where that was, and so [report the leak](KeyManager::report_leak). The page of the
//! key then says so, to its owner too, until its secret is replaced or it ends.
//!
//! Which check would reject a request is that of this assembly: its routes, limits and organization rule, as they are now. The page
//! names the key's own organization where requests have to name one, and takes an address for the client's own. Where the
//! router matches the routes, a path is looked up as it is written.
//!
//! A browser sends a cookie and no key, so the assembly needs [sessions](crate::ApiKeysBuilder::sessions) and an
//! [extractor](crate::credential::CredentialExtractor) that finds the session's token in that cookie; the example `console` has one. Where
//! staff sign in otherwise, or the page is on an internal listener, [`Console::new`] takes the authority from a closure, and
//! [`for_staff`](Console::for_staff) opens the keys of all owners to it, if it is an authority of the system. Staff make and rotate keys here, unlike over
//! [`KeyRoutes::for_staff`](crate::manage::KeyRoutes::for_staff): they hand them to customers.
//!
//! # Safety in a browser
//!
//! - A browser sends a cookie with every request to its site, also with those that another site has caused. An extractor that takes one accepts it on all routes of its
//!   layer, and only this page checks where a form is from. So give the page an assembly of its own, or have the extractor look
//!   at the page's path alone, as the example does.
//! - Every response forbids inline scripts and styles, other origins, frames and caches. A customer's name for a key is
//!   escaped text.
//! - The cookie of the page's forms can be set by this host alone (`__Host-`, `Secure`) where a browser says that it speaks HTTPS: it
//!   sends Fetch metadata, and the host is not this machine. So a proxy in front has to pass `Host` on. Otherwise another host of the same
//!   domain can set a cookie and make tokens. What it can't make is the origin of a form.
//! - A form is taken from the page's own origin only (`Sec-Fetch-Site`, or else `Origin`), and with a token that belongs to a cookie of the browser and
//!   to the person. The referrer policy is `same-origin` and not `no-referrer`, which would make browsers send `Origin: null`.
//! - A form has 30 seconds to arrive.
//! - A secret is in the response to the form that made it, and nowhere else: in no URL, cookie, store or log. The line
//!   for `curl` asks for it, so that a shell keeps none in its history. The token of a form
//!   makes one key at the most, in however many processes; sent again, the form gets no second one.
//!
//! # Colours and texts
//!
//! [`Console::style`] appends to the style sheet. The custom properties to change, each also for `prefers-color-scheme: dark`:
//! `--page`, `--surface`, `--text`, `--muted`, `--line`, `--edge`, `--accent`, `--on-accent`, `--link`, `--focus`, `--good`, `--good-back`,
//! `--warn`, `--warn-back`, `--bad`, `--bad-back`, `--danger`, `--on-danger`, `--radius`, `--font`, `--mono`. All texts are in [`Texts`],
//! but for codes and what staff read about a fault of the service.

mod cookie;
mod create;
mod edit;
mod end;
mod explain;
mod fields;
mod form;
mod guard;
mod key;
mod leak;
mod links;
mod list;
mod messages;
mod page;
mod query;
mod rotate;
mod secret;
mod selected;
mod texts;
mod usage;
mod visit;
mod words;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::middleware;
use axum::routing::{get, post};
use http::request::Parts;

pub use self::texts::Texts;
use crate::identity::{Authentication, SystemPrincipal};
use crate::key::Owner;
use crate::manage::{Authority, KeyManager};
use crate::middleware::{ApiKeys, CurlCredential, Explainer};
use crate::outcome::report_misplaced;
use crate::rejection::{ErrorFormat, Reason};
use crate::request::RequestView;
use crate::scope::KnownScope;

type AuthorityOf = dyn Fn(&Parts) -> Option<Authority> + Send + Sync;

/// The page for managing keys of an assembly; see the [module](self). [`ApiKeys::console`] and [`ApiKeys::console_for`] are the
/// short forms.
///
/// ```
/// use axum::Router;
/// use tower_api_keys::console::{Console, Texts};
/// use tower_api_keys::key::{Mode, Owner};
/// use tower_api_keys::{ApiKeys, Authority, KeyFormat, MemoryStore};
///
/// # let keys = ApiKeys::builder(MemoryStore::new(), KeyFormat::new("acme_")?).bearer().without_route_table().build()?;
/// let mut texts = Texts::default();
/// texts.title = "Schlüssel".into();
/// // On a listener that only the company's own network reaches:
/// let page = Console::new(&keys, |_| Some(Authority::operator(Owner::system(Mode::Live))))
///     .for_staff()
///     .texts(texts)
///     .style(":root { --accent: #7a2e8d }")
///     .sample_request("https://api.acme.example/v1/whoami");
/// let internal: Router = Router::new().nest("/keys", page.into_router());
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub struct Console {
    manager: KeyManager,
    /// With grantable scopes, none if the application has named none.
    bounded: KeyManager,
    scopes: Vec<KnownScope>,
    explainer: Explainer,
    curl: Option<CurlCredential>,
    authority: Box<AuthorityOf>,
    is_for_staff: bool,
    counts_usage: bool,
    /// How late the last use of a key is known; `None` if it is not recorded.
    last_use_lag: Option<Duration>,
    texts: Texts,
    style: Cow<'static, str>,
    sample_request: Option<Cow<'static, str>>,
}

impl Console {
    /// The page for the keys that `authority` says, of each request; without an authority the answer is 404. Never make one from
    /// what a client can choose.
    pub fn new<F>(
        keys: &ApiKeys<F>,
        authority: impl Fn(&Parts) -> Option<Authority> + Send + Sync + 'static,
    ) -> Self {
        let manager = keys.manager().clone();
        let grantable = manager.grantable_scopes().cloned().unwrap_or_default();
        Self {
            bounded: manager.clone().with_grantable_scopes(grantable),
            manager,
            scopes: keys.scopes().to_vec(),
            explainer: Explainer::new(keys),
            curl: keys.curl_credential(),
            authority: Box::new(authority),
            is_for_staff: false,
            counts_usage: keys.counts_usage(),
            last_use_lag: keys.last_use_lag(),
            texts: Texts::default(),
            style: Cow::Borrowed(""),
            sample_request: None,
        }
    }

    /// The page of [`ApiKeys::console`], to be changed.
    pub fn staff<F>(keys: &ApiKeys<F>) -> Self {
        Self::new(keys, staff).for_staff()
    }

    /// Shows the keys of all organizations and of the system, in the mode of the authority.
    pub fn for_staff(self) -> Self {
        Self { is_for_staff: true, ..self }
    }

    /// Replaces the texts.
    pub fn texts(self, texts: Texts) -> Self {
        Self { texts, ..self }
    }

    /// Appends to the style sheet: see the [custom properties](self#colours-and-texts).
    pub fn style(self, css: impl Into<Cow<'static, str>>) -> Self {
        Self { style: css.into(), ..self }
    }

    /// The URL in the `curl` line that a new secret comes with: one that needs a key. Without it there is no such line.
    pub fn sample_request(self, url: impl Into<Cow<'static, str>>) -> Self {
        Self { sample_request: Some(url.into()), ..self }
    }

    /// The routes, to be nested in the application.
    ///
    /// | route | |
    /// |---|---|
    /// | `GET /` | the list |
    /// | `GET`, `POST /new` | makes a key |
    /// | `GET /key/{id}` | one key; with `method`, `path` and `address` in the query also how such a request would be decided |
    /// | `GET`, `POST /key/{id}/edit`, `…/rotate`, `…/revoke`, `…/delete` | changes it |
    /// | `POST /key/{id}/disable`, `…/enable` | changes it |
    /// | `POST /selected` | disables or revokes several keys |
    /// | `POST /find` | for staff: the key that a text is or was a secret of, which is noted as leaked |
    /// | `GET /style.css`, `/script.js` | |
    pub fn into_router<S>(self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let is_for_staff = self.is_for_staff;
        let console = Arc::new(self);
        let mut pages = Router::new()
            .route("/", get(list::list))
            .route("/selected", post(selected::end))
            .route("/new", get(create::form).post(create::create))
            .route("/key/{key_id}", get(key::show))
            .route("/key/{key_id}/edit", get(edit::form).post(edit::edit))
            .route("/key/{key_id}/rotate", get(rotate::form).post(rotate::rotate))
            .route("/key/{key_id}/revoke", get(end::revoke_form).post(end::revoke))
            .route("/key/{key_id}/delete", get(end::delete_form).post(end::delete))
            .route("/key/{key_id}/disable", post(end::disable))
            .route("/key/{key_id}/enable", post(end::enable));
        if is_for_staff {
            pages = pages.route("/find", post(leak::find));
        }
        pages
            .fallback(page::not_found)
            .layer(middleware::from_fn_with_state(console.clone(), guard::guard))
            .route("/style.css", get(page::style))
            .route("/script.js", get(page::script))
            .with_state(console)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("manager", &self.manager)
            .field("is_for_staff", &self.is_for_staff)
            .finish_non_exhaustive()
    }
}

impl<F: ErrorFormat<Body>> ApiKeys<F> {
    /// A [page](crate::console) for the application's staff, inside of [`layer`](Self::layer), with rules for its routes: the keys of
    /// all organizations and of the system, in the mode of the caller. Callers of the system tier alone get it.
    pub fn console<S>(&self) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        Console::staff(self).into_router()
    }

    /// A [page](crate::console#for-customers) for the keys that `authority` says, of each request: those of a customer who
    /// has signed in.
    pub fn console_for<S>(
        &self,
        authority: impl Fn(&Parts) -> Option<Authority> + Send + Sync + 'static,
    ) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        Console::new(self, authority).into_router()
    }
}

/// The caller, if it is of the system.
fn staff(request: &Parts) -> Option<Authority> {
    if Authentication::of(&request.extensions).is_none() {
        let missing = "`ApiKeys::console` needs `ApiKeys::layer` outside it: add the layer to the router after nesting the page";
        report_misplaced(Reason::Misconfigured(missing), RequestView::of_parts(request));
    }
    let staff = SystemPrincipal::from_extensions(&request.extensions)?;
    let owner = Owner::system(staff.principal().mode());
    Some(Authority::system(&staff, owner))
}
