//! The page for managing keys, in a browser: for staff, and for a customer.
//!
//! ```text
//! cargo run --example console --features console,sqlite
//! ```
//!
//! It prints the address to open, where one click signs you in as either. The keys are in an SQLite file that ends with the program, with
//! some made-up history.
//!
//! Reads `LISTEN_ADDR` (127.0.0.1:3000; port 0 uses a free one) and `KEYS`, how many keys there are besides (0).

#![allow(clippy::print_stdout, reason = "an example writes to standard output")]
#[allow(dead_code, reason = "this example opens a file of its own")]
mod support;

use std::time::Duration;
use std::{env, fs, process};

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName};
use support::{close, listen, log_to_stderr, stopped};
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::console::Console;
use tower_api_keys::credential::{Challenge, Credential, CredentialExtractor, Extracted};
use tower_api_keys::identity::{OrganizationRule, Role, Session};
use tower_api_keys::key::{Mode, Owner, SecretString};
use tower_api_keys::manage::{KeyManager, ManageError};
use tower_api_keys::request::RequestView;
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::SqliteStore;
use tower_api_keys::usage::{UsageBatch, UsageBucket, UsageCounts, UsageEntry, UsageOutcome};
use tower_api_keys::{Access, ApiKeys, Authority, KeyFormat, NewKey, Principal};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    log_to_stderr()?;
    let file = env::temp_dir().join(format!("tower-api-keys-console-{}.db", process::id()));
    let store = SqliteStore::open(&file).await?;
    let format = KeyFormat::builder("acme_").checksum().build()?;
    make_history(&store, &format).await?;

    let staff = Access::try_from("api-keys:read")?.of_system();
    let keys = ApiKeys::builder(store, format)
        .header("x-api-key")
        .extractor(StaffCookie)
        .sessions(staff_session)
        .organization(OrganizationRule::context())
        .routes([("GET", "/invoices", "invoices:read"), ("POST", "/invoices", "invoices:create")])
        .routes([("GET", "/reports", "reports:read"), ("GET", "/customers", "customers:read")])
        .routes([("GET", "/admin/keys", staff.clone()), ("GET", "/admin/keys/{*rest}", staff.clone())])
        .route("POST", "/admin/keys/{*rest}", staff)
        .describe_scopes([
            ("invoices:read", "Read invoices and their payments."),
            ("invoices:create", "Draft invoices, and send them."),
            ("reports:read", "Read the reports of a month or a year."),
            ("customers:read", "Read names and addresses of customers."),
            ("customers:*", "Read, change and delete customers."),
        ])
        // What keys can have; a customer's page gives nothing else.
        .manage_with(|manager| manager.with_grantable_scopes(grantable()))
        .record_last_use()
        .count_usage()
        .build()?;

    let listener = listen().await?;
    let sample = format!("http://{}/invoices", listener.local_addr()?);
    let invoices =
        async |caller: Principal| Json(["paid", "due"].map(|state| format!("{}: {state}", caller.name())));
    let api = Router::new()
        .route("/invoices", get(invoices))
        .nest("/admin/keys", Console::staff(&keys).sample_request(sample.clone()).into_router())
        .layer(keys.layer());
    // Outside of the keys' own layer: a customer signs in to the application, which says whose keys these are.
    let customer = Console::new(&keys, |request| {
        let SignedIn(person) = request.extensions.get()?;
        Some(Authority::operator(Owner::organization("globex".parse().ok()?, Mode::Live)).by(*person))
    });
    let customer = customer.style(":root { --radius: 10px }").sample_request(sample).into_router();
    let app = Router::new()
        .nest("/settings/keys", customer)
        .layer(middleware::from_fn(sign_in))
        .route("/", get(welcome))
        .route("/sign-in/{who}", post(signed_in))
        .merge(api);

    let (stopped, background) = (stopped()?, tokio::spawn(keys.background()));
    println!("BASE_URL=http://{}\n\nready", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(stopped).await?;
    close(&keys, background).await;
    for ending in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{ending}", file.display()));
    }
    Ok(())
}

fn grantable() -> ScopeSet {
    let scopes = ["invoices:*", "reports:read", "customers:*"];
    ScopeSet::parse_list(scopes).expect("the scopes are well formed")
}

/// The application's own login, of which this is only the shape: a real one sets a secret that it has issued.
async fn welcome() -> Html<&'static str> {
    Html(
        "<!DOCTYPE html><html lang=en><meta name=viewport content='width=device-width'><title>Sign in</title><h1>Sign in</h1>\
         <form method=post action=/sign-in/staff><button>As staff: the keys of all customers</button></form>\
         <form method=post action=/sign-in/customer><button>As a customer: the keys of Globex</button></form></html>",
    )
}

async fn signed_in(axum::extract::Path(who): axum::extract::Path<String>) -> impl IntoResponse {
    let (cookie, page) = match who.as_str() {
        "staff" => ("staff=ada", "/admin/keys"),
        _ => ("customer=grace", "/settings/keys"),
    };
    ([(SET_COOKIE, format!("{cookie}; Path=/; HttpOnly; SameSite=Lax"))], Redirect::to(page))
}

/// A customer who has signed in.
#[derive(Clone)]
struct SignedIn(&'static str);

async fn sign_in(mut request: Request, next: Next) -> impl IntoResponse {
    if cookie(request.headers(), "customer") == Some("grace") {
        request.extensions_mut().insert(SignedIn("grace"));
    }
    next.run(request).await
}

/// Finds the session of a member of staff in a cookie, for `keys.console()` alone: a browser sends it with every request, also
/// with those that another site has caused, and the page checks where its forms are from.
struct StaffCookie;

impl CredentialExtractor for StaffCookie {
    fn extract<'r>(&self, request: RequestView<'r>) -> Extracted<'r> {
        let is_for_page = request.uri.path().starts_with("/admin/keys");
        match cookie(request.headers, "staff").filter(|_| is_for_page) {
            Some(token) => Extracted::Found(Credential::session(token)),
            None => Extracted::Absent,
        }
    }

    fn challenge(&self) -> Challenge {
        Challenge::new("Cookie").expect("it is a token")
    }

    fn finds_sessions(&self) -> bool {
        true
    }

    fn shares_headers(&self) -> bool {
        true
    }

    fn credential_headers(&self) -> Vec<HeaderName> {
        vec![COOKIE]
    }
}

fn staff_session(token: &SecretString) -> Option<Session> {
    let scopes = ScopeSet::parse_list(["api-keys:read", "api-keys:write"]).ok()?;
    let ada = Session::new("ada").with_owner(Owner::system(Mode::Live), Role::of_rank(1), scopes);
    (token.expose_secret() == "ada").then_some(ada)
}

fn cookie<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// What some months have left: keys of several customers, in every state.
async fn make_history(store: &SqliteStore, format: &KeyFormat) -> Result<(), Box<dyn std::error::Error>> {
    let now = Timestamp::from(std::time::SystemTime::now());
    let clock = ManualClock::starting_at(now.saturating_sub(201 * DAY));
    let manager =
        KeyManager::new(store.clone(), format.clone()).with_clock(clock.clone()).with_max_keys(u64::MAX);
    let owner =
        |name: &str| Ok::<_, Box<dyn std::error::Error>>(Owner::organization(name.parse()?, Mode::Live));
    let grace = Authority::operator(owner("globex")?).by("grace");
    let by_ada = |owner| Authority::operator(owner).by("ada");
    let all = ["invoices:read", "invoices:create", "reports:read", "customers:*"];

    let create = async |authority: &Authority, name: &str, scopes: &[&str], ends: Option<u32>| {
        let mut key = NewKey::new(name).scopes(scopes);
        key.expires_at = ends.map(|days| now.saturating_add(days * DAY));
        Ok::<_, ManageError>(manager.create(authority, key).await?.key.id)
    };
    let more = env::var("KEYS").ok().and_then(|keys| keys.parse().ok()).unwrap_or(0);
    for number in 0..more {
        create(&grace, &format!("Machine {number}"), &["invoices:read"], Some(90)).await?;
    }
    clock.advance(DAY);
    let production = create(&grace, "Production", &all, None).await?;
    create(&grace, "Nightly export to the warehouse", &["invoices:read", "reports:read"], Some(6)).await?;
    let disabled = create(&grace, "Ticket system", &["customers:read"], Some(80)).await?;
    let leaked = create(&grace, "Laptop of Heinz", &["invoices:read"], None).await?;
    for name in ["initech", "umbrella", "hooli"] {
        create(&by_ada(owner(name)?), "Production", &["invoices:read", "invoices:create"], Some(300)).await?;
    }
    clock.advance(100 * DAY);
    let mut trial = NewKey::new("Trial").scope("reports:read");
    trial.expires_at = Some(now.saturating_sub(40 * DAY));
    manager.create(&grace, trial).await?;
    manager.rotate(&by_ada(owner("globex")?), &production, KeyManager::DEFAULT_GRACE).await?;
    clock.advance(60 * DAY);
    manager.disable(&grace, &disabled).await?;
    clock.advance(39 * DAY);
    manager.rotate_on_first_use(&grace, &production, KeyManager::DEFAULT_GRACE).await?;
    manager.revoke(&grace, &leaked).await?;
    create(
        &by_ada(Owner::system(Mode::Live)),
        "Provisioning",
        &["api-keys:read", "api-keys:write"],
        Some(365),
    )
    .await?;
    use tower_api_keys::store::{KeyAdministration, KeyStore};
    store
        .record_last_use(&[
            (production, now.saturating_sub(Duration::from_secs(180))),
            (disabled, now.saturating_sub(70 * DAY)),
        ])
        .await?;

    let mut entries = Vec::new();
    for day in 0..30_u64 {
        let hour = UsageBucket::Hour.start_of(now.saturating_sub(DAY * (29 - day as u32)));
        let mut counts = UsageCounts::default();
        counts.add(UsageOutcome::Ok, 900 + 40 * day + 300 * (day % 7));
        counts.add(UsageOutcome::Limited, if day % 11 == 3 { 160 } else { 0 });
        counts.add(UsageOutcome::ServerError, u64::from(day == 20) * 420 + u64::from(day == 25));
        entries.push(UsageEntry::new(owner("globex")?, production, String::new(), hour, counts));
    }
    let usage = store.usage_log().ok_or("the store keeps usage")?;
    usage.add(&UsageBatch::new("made-up".parse()?, 1, now, entries)).await?;
    Ok(())
}
