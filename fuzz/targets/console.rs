//! Sends forms to the key page, as a customer and as staff.
//!
//! Each line is a request: the page, what a browser says of where the request is from, the method, the path and the body,
//! `staff own POST /key/one/edit token=TOKEN&version=VERSION&name=a`. `TOKEN` stands for the newest token of the page,
//! `VERSION` for the version of the key in the path, `LAST` for the identifier of the key that was made last, and in the form that
//! finds a key `SECRET` for its secret.
#![no_main]

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use libfuzzer_sys::fuzz_target;
use tower::ServiceExt;
use tower_api_keys::address::Network;
use tower_api_keys::clock::{ManualClock, Timestamp};
use tower_api_keys::console::Console;
use tower_api_keys::key::{KeyRecord, KeyState, Metadata, Mode, Owner, Peppers};
use tower_api_keys::scope::ScopeSet;
use tower_api_keys::store::{KeyAdministration, KeyQuery};
use tower_api_keys::{ApiKeys, Authority, KeyFormat, MemoryStore, NewKey};
use tower_api_keys_fuzz::{form, is_plain_word, ready};

fuzz_target!(|input: &str| {
    let mut world = World::new();
    for line in input.split('\n').take(8) {
        let words: Vec<&str> = line.splitn(5, ' ').collect();
        if let [page, site, method, path, body @ ..] = &*words {
            world.step(page, site, method, path, body.first().unwrap_or(&""));
        }
    }
});

const NOW: &str = "2026-01-01T00:00:00Z";
const DAY: u64 = 24 * 60 * 60;
const GRANTABLE: [&str; 3] = ["api-keys:read", "invoices:read", "invoices:write"];

/// What a browser has of one page.
#[derive(Default)]
struct Browser {
    cookie: String,
    tokens: Vec<String>,
}

struct World {
    app: Router,
    store: MemoryStore,
    browsers: [Browser; 2],
    /// All that were ever made.
    secrets: Vec<String>,
    /// Tokens of which a key was made.
    used: BTreeSet<String>,
    last: String,
}

/// Keys by their identifier.
type Keys = BTreeMap<String, KeyRecord>;

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

struct Fields(Vec<(String, String)>);

impl Fields {
    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(of, _)| of == name).map(|(_, value)| value.trim())
    }

    fn first(&self, name: &str) -> &str {
        self.all(name).next().unwrap_or("")
    }

    fn has(&self, name: &str) -> bool {
        self.all(name).next().is_some()
    }
}

impl World {
    fn new() -> Self {
        let store = MemoryStore::new();
        let grantable = ScopeSet::parse_list(GRANTABLE).unwrap();
        let keys = ApiKeys::builder(store.clone(), KeyFormat::new("acme_").unwrap())
            .header("x-api-key")
            .describe_scopes(GRANTABLE.map(|scope| (scope, "A <sentence> & \"more\"")))
            .clock(ManualClock::at(NOW))
            .manage_with(move |manager| manager.with_grantable_scopes(grantable))
            .without_route_table();
        let keys = keys.build().unwrap();
        let acme = || Owner::organization("acme".parse().unwrap(), Mode::Live);
        let globex = Owner::organization("globex".parse().unwrap(), Mode::Live);
        let mut secrets = Vec::new();
        for (owner, id, name) in
            [(acme(), "one", "One"), (globex, "theirs", "<b>"), (Owner::system(Mode::Live), "system", "a\"b")]
        {
            let secret = KeyFormat::new("acme_").unwrap().generate(Mode::Live).unwrap().secret;
            let new = NewKey::new(name).scope(GRANTABLE[1]);
            let digest = Peppers::none().digest(secret.expose_secret());
            let (manager, operator, id) = (keys.manager(), Authority::operator(owner), id.parse().unwrap());
            ready(manager.import_digest(&operator, new, id, digest, "acme_…")).unwrap();
            secrets.push(secret.expose_secret().to_owned());
        }
        let customers = keys.console_for(move |_| Some(Authority::operator(acme()).by("ada")));
        let staff = Console::new(&keys, |_| Some(Authority::operator(Owner::system(Mode::Live)).by("eve")));
        let app = Router::new()
            .nest("/settings/keys", customers)
            .nest("/admin/keys", staff.for_staff().into_router());
        let mut world = Self {
            app,
            store,
            browsers: Default::default(),
            secrets,
            used: BTreeSet::new(),
            last: "one".into(),
        };
        for is_staff in [false, true] {
            world.send(is_staff, "own", Method::GET, mount(is_staff).parse().unwrap(), "");
        }
        world
    }

    fn keys(&self) -> Keys {
        let page = ready(self.store.list(None, &KeyQuery::default())).unwrap();
        page.keys.iter().map(|key| (key.id.to_string(), (**key).clone())).collect()
    }

    fn step(&mut self, page: &str, site: &str, method: &str, path: &str, body: &str) {
        let Ok(method) = method.parse::<Method>() else { return };
        if !path.is_empty() && !path.starts_with(['/', '?']) {
            return;
        }
        let is_staff = page == "staff";
        let before = self.keys();
        let path = path.replace("LAST", &self.last);
        let plain_path = path.split('?').next().unwrap().to_owned();
        let parts: Vec<String> = plain_path.split('/').skip(1).map(percent_decoded).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let key = parts.get(1).and_then(|id| before.get(*id));
        let token = self.browsers[usize::from(is_staff)].tokens.last().cloned().unwrap_or_default();
        let version = key.map(|key| key.version.to_string()).unwrap_or_default();
        let mut body = body.replace("TOKEN", &token).replace("VERSION", &version).replace("LAST", &self.last);
        if parts == ["find"] {
            body = body.replace("SECRET", &self.secrets[0]);
        }
        let Ok(uri) = format!("{}{path}", mount(is_staff)).parse::<Uri>() else { return };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let fields = Fields(form(&body).into_iter().map(|(name, value)| (text(name), text(value))).collect());
        let has_token =
            self.browsers[usize::from(is_staff)].tokens.iter().any(|token| token == fields.first("token"));

        let answer = self.send(is_staff, site, method.clone(), uri, &body);
        let after = self.keys();
        let shown = || format!("{page} {site} {method} {path} {body:?}: {}", answer.status);
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let changed: Vec<(&str, Option<&KeyRecord>, Option<&KeyRecord>)> = names
            .into_iter()
            .map(|id| (id.as_str(), before.get(id), after.get(id)))
            .filter(|(_, before, after)| before != after)
            .collect();
        let is_own = matches!(site, "own" | "origin");
        if method != Method::POST || !is_own || !has_token {
            assert!(changed.is_empty(), "{}: {changed:?}", shown());
            assert!(method != Method::POST || answer.status.is_client_error(), "{}", shown());
            let is_refused = [StatusCode::FORBIDDEN, StatusCode::NOT_FOUND].contains(&answer.status);
            assert!(is_own || method.is_safe() || is_refused, "{}", shown());
            return;
        }
        let is_reached = |key: &KeyRecord| is_staff || key.owner == acme();
        for (_, before, after) in &changed {
            assert!(before.or(*after).is_some_and(is_reached), "{}: {changed:?}", shown());
        }
        let done = answer.status == StatusCode::SEE_OTHER;
        match (&*parts, &*changed) {
            (["new"], _) => self.check_new(is_staff, &fields, &answer, &changed, &shown()),
            // Nothing can be different where what was asked for is so already, as with a change to the same.
            (["key", _, "edit"], []) if done => {
                assert!(edited(is_staff, key.unwrap(), &fields).as_ref() == key, "{}", shown());
            }
            (["key", id, "edit"], [(changed, Some(before), Some(after))]) if done && changed == id => {
                let expected = edited(is_staff, before, &fields).unwrap_or_else(|| panic!("{}", shown()));
                assert_eq!(**after, of_version(expected, after.version), "{}", shown());
                assert_eq!(fields.first("version").parse(), Ok(before.version), "{}", shown());
            }
            (["key", id, "rotate"], [(changed, Some(before), Some(after))]) if changed == id => {
                assert_eq!(answer.status, StatusCode::OK, "{}", shown());
                self.check_rotated(before, after, &fields, &answer, &shown());
            }
            (["key", id, "revoke"], [(changed, Some(before), Some(after))]) if done && changed == id => {
                assert!(is_confirmed(before, &fields), "{}", shown());
                assert!(matches!(after.state, KeyState::Revoked { .. }), "{}", shown());
                assert_eq!(after.name, before.name, "{}", shown());
            }
            (["key", id, "delete"], [(changed, Some(before), None)]) if done && changed == id => {
                assert!(is_confirmed(before, &fields), "{}", shown());
            }
            (["key", id, "disable"], [(changed, Some(before), Some(after))]) if done && changed == id => {
                assert_eq!(
                    (before.state, after.state),
                    (KeyState::Active, KeyState::Disabled),
                    "{}",
                    shown()
                );
            }
            (["key", id, "enable"], [(changed, Some(before), Some(after))]) if done && changed == id => {
                assert_eq!(
                    (before.state, after.state),
                    (KeyState::Disabled, KeyState::Active),
                    "{}",
                    shown()
                );
            }
            (["selected"], changed) => {
                for (id, before, after) in changed {
                    let verb = fields.first("verb");
                    let is_asked = fields.has("confirmed") && fields.all("key").any(|key| key == *id);
                    let (before, after) = (before.unwrap(), after.unwrap());
                    let is_right = match after.state {
                        KeyState::Disabled => verb == "disable" && before.state == KeyState::Active,
                        KeyState::Revoked { .. } => verb == "revoke",
                        _ => false,
                    };
                    assert!(is_asked && is_right, "{}: {changed:?}", shown());
                }
                if done {
                    for key in fields.all("key").filter_map(|id| before.get(id)).filter(|key| is_reached(key))
                    {
                        let state = after[key.id.as_str()].state;
                        assert!(state != KeyState::Active, "{}: {}", shown(), key.id);
                    }
                }
            }
            (["find"], []) => {
                // It may be in the middle of other text.
                let has_secret = self.secrets.iter().any(|secret| fields.first("text").contains(secret));
                assert!(is_staff && has_secret || !done, "{}", shown());
            }
            (_, []) => assert!(
                !done || matches!(&*parts, ["key", _, "disable" | "enable" | "revoke"]),
                "{}",
                shown()
            ),
            _ => panic!("{}: {changed:?}", shown()),
        }
    }

    fn check_new(
        &mut self,
        is_staff: bool,
        fields: &Fields,
        answer: &Answer,
        changed: &[(&str, Option<&KeyRecord>, Option<&KeyRecord>)],
        shown: &str,
    ) {
        let is_used = self.used.contains(fields.first("token"));
        if answer.status != StatusCode::CREATED {
            assert!(changed.is_empty(), "{shown}: {changed:?}");
            assert!(answer.status != StatusCode::CONFLICT || is_used, "{shown}");
            assert!(is_used || !is_plain(is_staff, fields), "{shown}");
            return;
        }
        let [(id, None, Some(made))] = changed else { panic!("{shown}: {changed:?}") };
        assert!(!is_used, "{shown}");
        self.used.insert(fields.first("token").to_owned());
        self.last = (*id).to_owned();
        let owner = match (is_staff, fields.has("system")) {
            (true, true) => Owner::system(Mode::Live),
            (true, false) => Owner::organization(fields.first("organization").parse().unwrap(), Mode::Live),
            (false, _) => acme(),
        };
        assert_eq!(made.owner, owner, "{shown}");
        let expected = edited(is_staff, &blank(made), fields).unwrap_or_else(|| panic!("{shown}"));
        assert_eq!(**made, of_version(expected, made.version), "{shown}");
        assert!(matches!(fields.first("end"), "never" | "date") || made.expires_at.is_some(), "{shown}");
        let secret = self.secrets.last().unwrap();
        assert_eq!(made.digest, Peppers::none().digest(secret), "{shown}");
    }

    fn check_rotated(
        &self,
        before: &KeyRecord,
        after: &KeyRecord,
        fields: &Fields,
        answer: &Answer,
        shown: &str,
    ) {
        assert!(answer.body.contains("id=\"secret\""), "{shown}");
        assert_eq!(fields.first("version").parse(), Ok(before.version), "{shown}");
        let secret = Peppers::none().digest(self.secrets.last().unwrap());
        let grace: u64 = fields.first("grace").parse().unwrap();
        if fields.has("on_first_use") {
            let next = after.extras().next.as_ref().unwrap();
            assert_eq!(
                (after.digest, next.digest, next.grace.as_secs()),
                (before.digest, secret, grace),
                "{shown}"
            );
        } else {
            assert_eq!(after.digest, secret, "{shown}");
            let end = after_seconds(grace);
            let end = before.expires_at.map_or(end, |expiry| expiry.min(end));
            let previous =
                after.extras().previous.as_ref().map(|previous| (previous.digest, previous.valid_until));
            assert_eq!(previous, (grace > 0).then_some((before.digest, end)), "{shown}");
        }
        let same = |key: &KeyRecord| {
            (
                key.name.clone(),
                key.scopes.clone(),
                key.owner.clone(),
                key.expires_at,
                key.state,
                key.extras().limits.clone(),
            )
        };
        assert_eq!(same(before), same(after), "{shown}");
    }

    fn send(&mut self, is_staff: bool, site: &str, method: Method, uri: Uri, body: &str) -> Answer {
        let browser = &mut self.browsers[usize::from(is_staff)];
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header("host", "localhost:3000")
            .header("content-type", "application/x-www-form-urlencoded");
        if !browser.cookie.is_empty() {
            request = request.header("cookie", &browser.cookie);
        }
        request = match site {
            "own" => request.header("sec-fetch-site", "same-origin"),
            "origin" => request.header("origin", "http://localhost:3000"),
            "site" => request.header("sec-fetch-site", "same-site").header("origin", "http://localhost:3000"),
            "none" => request.header("sec-fetch-site", "none"),
            "evil" => request.header("origin", "http://evil.example"),
            "null" => request.header("origin", "null"),
            _ => request,
        };
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = ready(async {
            let response = self.app.clone().oneshot(request).await.unwrap();
            let (head, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            Answer {
                status: head.status,
                headers: head.headers,
                body: String::from_utf8(body.to_vec()).unwrap(),
            }
        });
        assert!(!answer.status.is_server_error(), "{}: {}", answer.status, answer.body);
        let headers = format!("{:?}", answer.headers);
        for secret in &self.secrets {
            let is_said = answer.body.contains(secret) || headers.contains(secret);
            assert!(!is_said, "an earlier secret is in {}", answer.body);
        }
        if let Some(set) = answer.headers.get("set-cookie") {
            browser.cookie = set.to_str().unwrap().split(';').next().unwrap().to_owned();
        }
        let is_page =
            answer.headers.get("content-type").is_some_and(|kind| kind == "text/html; charset=utf-8");
        // The answer to HEAD has no content.
        if is_page && !answer.body.is_empty() {
            check_page(&answer.body);
            let values = |start: &str| -> Vec<String> {
                let rest = answer.body.split(start).skip(1);
                rest.map(|rest| rest.split('"').next().unwrap().to_owned()).collect()
            };
            browser.tokens.extend(values("name=\"token\" value=\""));
            self.secrets.extend(values("<input id=\"secret\" readonly value=\""));
        }
        answer
    }
}

fn mount(is_staff: bool) -> &'static str {
    if is_staff { "/admin/keys" } else { "/settings/keys" }
}

fn acme() -> Owner {
    Owner::organization("acme".parse().unwrap(), Mode::Live)
}

fn percent_decoded(text: &str) -> String {
    let pairs = form(&text.replace('+', "%2B").replace(['&', '='], "%26"));
    pairs.into_iter().map(|(name, _)| String::from_utf8_lossy(&name).into_owned()).collect()
}

fn after_seconds(seconds: u64) -> Timestamp {
    NOW.parse::<Timestamp>().unwrap().saturating_add(std::time::Duration::from_secs(seconds))
}

/// Any white space is shown as one space.
fn is_confirmed(key: &KeyRecord, fields: &Fields) -> bool {
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    words(fields.first("name")) == words(&key.name)
}

/// What a form makes of a key without anything.
fn blank(made: &KeyRecord) -> KeyRecord {
    let mut blank = KeyRecord::new(made.id, made.owner.clone(), made.digest, made.created_at);
    blank.hint = made.hint.clone();
    blank.set_created_by(made.created_by().cloned());
    blank
}

fn of_version(mut key: KeyRecord, version: u64) -> KeyRecord {
    key.version = version;
    key
}

/// The key after it was made or changed by a form; `None` if the form has a fault for sure.
fn edited(is_staff: bool, key: &KeyRecord, fields: &Fields) -> Option<KeyRecord> {
    let mut key = key.clone();
    let name = fields.first("name");
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return None;
    }
    key.name = name.into();
    let scopes: Vec<&str> = fields.all("scope").flat_map(str::split_whitespace).collect();
    let had: Vec<String> = key.scopes.iter().map(ToString::to_string).collect();
    if scopes.iter().any(|scope| !GRANTABLE.contains(scope) && !had.iter().any(|had| had == scope)) {
        return None;
    }
    key.scopes = ScopeSet::parse_list(scopes).ok()?;
    match fields.first("end") {
        "keep" => {}
        "never" => key.expires_at = None,
        "date" => {
            let day: Timestamp = format!("{}T00:00:00Z", fields.first("date")).parse().ok()?;
            key.expires_at = Some(day.saturating_add(std::time::Duration::from_secs(DAY)));
        }
        days => {
            let days: u64 = days.parse().ok().filter(|days| (1..=36_500).contains(days))?;
            key.expires_at = Some(after_seconds(days * DAY));
        }
    }
    let networks = fields.first("addresses").split_whitespace().map(|text| text.parse::<Network>().ok());
    key.extras_mut().allowed_addresses = networks.collect::<Option<Vec<_>>>()?;
    if is_staff {
        let mut limits = BTreeMap::new();
        for line in fields.first("limits").lines().filter(|line| !line.trim().is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [category, number] = &*words else { return None };
            // Twice the same category is a fault.
            if limits.insert((*category).to_owned(), number.parse().ok()?).is_some() {
                return None;
            }
        }
        key.extras_mut().limits = limits;
        let metadata = fields.first("metadata");
        key.extras_mut().metadata = match metadata {
            "" => None,
            text => Some(Metadata::from_json(text).ok()?),
        };
    }
    Some(key)
}

/// Whether there is nothing to object to.
fn is_plain(is_staff: bool, fields: &Fields) -> bool {
    let names = ["token", "name", "scope", "end", "organization"];
    let is_known = fields.0.iter().all(|(name, _)| names.contains(&name.as_str()));
    let is_end = |end: &str| end == "never" || matches!(end, "1" | "7" | "30" | "36500");
    is_known
        && names.iter().all(|name| *name == "scope" || fields.all(name).count() <= 1)
        && is_plain_word(fields.first("name"))
        && fields.has("scope")
        && fields.all("scope").all(|scope| GRANTABLE.contains(&scope))
        && is_end(fields.first("end"))
        && (!is_staff || is_plain_word(fields.first("organization")))
}

const TAGS: &str = " html head meta title link script body a header span main p h1 h2 div form input label select option button \
    table caption thead tbody tr th td nav section dl dt dd code ul li strong details summary fieldset legend textarea time datalist ";
const ATTRIBUTES: &str = " lang charset name content rel href src defer class id role method action type value required autocomplete \
    spellcheck for selected checked maxlength min scope colspan data-label aria-label aria-invalid aria-describedby datetime title rows \
    readonly autofocus hidden data-copy data-leaving data-done data-failed list autocapitalize open tabindex ";

/// A page has no other tags and attributes than these, each written out in full, and what is between them is escaped.
fn check_page(page: &str) {
    let mut left = page.strip_prefix("<!DOCTYPE html>").unwrap();
    while let Some(at) = left.find('<') {
        check_text(&left[..at]);
        let tag = &left[at + 1..];
        let end = tag.find(|char: char| !char.is_ascii_alphanumeric() && char != '/').unwrap();
        let name = tag[..end].trim_start_matches('/');
        assert!(is_among(name, TAGS), "<{name}> in {page}");
        left = &tag[end..];
        while let Some(attribute) = left.strip_prefix(' ') {
            let end = attribute.find(['=', ' ', '>']).unwrap();
            let name = &attribute[..end];
            assert!(is_among(name, ATTRIBUTES), "attribute {name} in {page}");
            left = &attribute[end..];
            if let Some(quoted) = left.strip_prefix("=\"") {
                let (value, rest) = quoted.split_once('"').unwrap();
                check_text(value);
                assert!(!value.contains('<'), "{value} in {page}");
                let is_link = matches!(name, "href" | "src" | "action");
                assert!(
                    !is_link || value.starts_with(['.', '#']) || value == "data:,",
                    "{name}={value} in {page}"
                );
                left = rest;
            }
        }
        left = left.strip_prefix('>').unwrap_or_else(|| panic!("{left:.40} in {page}"));
    }
    check_text(left);
}

fn is_among(name: &str, names: &'static str) -> bool {
    thread_local!(static SETS: RefCell<HashMap<&'static str, HashSet<&'static str>>> = RefCell::default());
    SETS.with_borrow_mut(|sets| {
        sets.entry(names).or_insert_with(|| names.split_whitespace().collect()).contains(name)
    })
}

fn check_text(text: &str) {
    assert!(!text.contains('>'), "{text}");
    for rest in text.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|entity| rest.starts_with(entity)), "&{rest:.10}");
    }
}
