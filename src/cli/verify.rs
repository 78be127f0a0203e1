use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use clap::Args;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::failure::{Exit, Failure};
use super::find::{UNDECIDED_NEXT, undecided};
use super::input::refuse_arguments;
use super::output::{facts, table};
use super::session::Session;
use crate::ApiKeys;
use crate::address::PeerAddress;
use crate::manage::KeyView;
use crate::middleware::{Step, Trace};
use crate::rejection::{ErrorKind, Reason, Rejection};

#[derive(Args, Clone, Debug)]
pub(super) struct Verify {
    /// Says which check would refuse a request with the key: a method and a path, such as "GET /invoices". Nothing is counted
    #[arg(long, value_name = "REQUEST", value_parser = route)]
    route: Option<(Method, Uri)>,
    /// The address that the request comes from
    #[arg(long, value_name = "ADDRESS", requires = "route", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// A further header field of the request, such as "x-organization: org_1", or a file of such lines, as `@FILE`, for what is secret; may be
    /// given several times
    #[arg(long = "header", value_name = "FIELD", requires = "route", value_parser = fields)]
    fields: Vec<Fields>,
    /// Keys are not arguments: they are read from standard input or a hidden prompt
    #[arg(hide = true)]
    refused: Vec<std::ffi::OsString>,
}

impl Verify {
    pub(super) async fn run<F>(self, session: &Session<'_>, keys: &ApiKeys<F>) -> Result<Exit, Failure> {
        refuse_arguments(&self.refused)?;
        let fields = self.fields.into_iter().map(|fields| fields.read(session, keys));
        let fields = fields.collect::<Result<Vec<_>, _>>()?.into_iter().flatten();
        let key = session.read_secret("The key")?;
        let key = key.expose_secret();
        match self.route {
            None => verify(session, keys, key).await,
            Some((method, uri)) => {
                let mut head = Request::new(()).into_parts().0;
                (head.method, head.uri) = (method, uri);
                head.headers.extend(fields.map(|(name, value)| (Some(name), value)));
                head.extensions.insert(PeerAddress(self.from));
                explain(session, keys, key, head).await
            }
        }
    }
}

async fn verify<F>(session: &Session<'_>, keys: &ApiKeys<F>, key: &str) -> Result<Exit, Failure> {
    let now = session.manager.now();
    let view = |record: &_| KeyView::new(record, now);
    let (verdict, secret, reason, found) = match keys.verify_text(key).await {
        Ok(good) => (true, Some(good.secret), None, Some(view(&good.record))),
        Err(bad) if is_undecided(&bad.reason) => return Err(Failure::undecided(&bad.reason)),
        Err(bad) => (false, None, Some(bad.reason), bad.record.map(|record| view(&record))),
    };
    may_be_unknown(session, key, reason.as_ref()).await?;
    let code = reason.as_ref().map(Reason::code);
    let json = json!({ "valid": verdict, "code": code, "secret": secret, "key": found.as_ref().map(owner) });
    session.print_either(&json, || {
        let about = found.as_ref();
        facts(&[
            ("verdict", Some(if verdict { "good" } else { "bad" }.to_owned())),
            ("why", reason.as_ref().map(|reason| format!("{reason} ({})", reason.code()))),
            ("secret", secret.map(|secret| until(secret, about))),
            ("id", about.map(|key| key.id.to_string())),
            ("name", about.map(|key| key.name.clone())),
            ("owner", about.map(|key| key.owner.to_string())),
            ("status", about.map(|key| key.status.to_string())),
        ])
    })?;
    Ok(if verdict { Exit::Done } else { Exit::Negative })
}

/// A secret that a rotation has replaced works for a while.
fn until(secret: &str, key: Option<&KeyView>) -> String {
    match key.and_then(|key| key.previous_valid_until).filter(|_| secret == "retired") {
        Some(end) => format!("{secret}, works until {end}"),
        None => secret.to_owned(),
    }
}

/// Whether the reason is no fault of the key, which may be good.
fn is_undecided(reason: &Reason) -> bool {
    matches!(reason.kind(), ErrorKind::Unavailable | ErrorKind::Misconfigured)
}

/// An error if a key may be unknown only because it can't be looked up here.
async fn may_be_unknown(session: &Session<'_>, key: &str, reason: Option<&Reason>) -> Result<(), Failure> {
    if !matches!(reason, Some(Reason::KeyUnknown)) {
        return Ok(());
    }
    match undecided(session, key).await? {
        Some(reason) => Err(Failure::failed(reason).next(UNDECIDED_NEXT)),
        None => Ok(()),
    }
}

/// What is said of a key whose text was given.
pub(super) fn owner(key: &KeyView) -> Value {
    let all = json!(key);
    json!({ "id": all["id"], "organization": all["organization"], "mode": all["mode"], "status": all["status"] })
}

async fn explain<F>(
    session: &Session<'_>,
    keys: &ApiKeys<F>,
    key: &str,
    mut head: http::request::Parts,
) -> Result<Exit, Failure> {
    if keys.is_matched_by_router() || !keys.has_routes() {
        return Err(Failure::usage("The command line does not know the routes of this application.")
            .next("Without `--route`, the key alone is verified. Routes are known that are in the assembly and matched by path."));
    }
    if !keys.put_credential(key, &mut head) {
        return Err(Failure::usage("This application takes keys where the command line can't put one."));
    }
    let trace = keys.explain(&head).await;
    let rejection = trace.rejection();
    may_be_unknown(session, key, rejection.map(Rejection::reason)).await?;
    let json = json!({
        "accepted": rejection.is_none(),
        "status": rejection.map(|rejection| rejection.kind().status().as_u16()),
        "code": rejection.map(|rejection| rejection.reason().code()),
        "checks": trace.steps().map(|(check, step)| json!({ "check": check.as_str(), "step": word(step) })).collect::<Vec<_>>(),
        "key": trace.principal().map(|principal| principal.key_id()),
    });
    session.print_either(&json, || text(&trace))?;
    Ok(match rejection {
        None => Exit::Done,
        Some(rejection) if is_undecided(rejection.reason()) => Exit::Failed,
        Some(_) => Exit::Negative,
    })
}

fn text(trace: &Trace) -> String {
    let why = |step| match (step, trace.rejection()) {
        (Step::Rejected, Some(rejection)) => {
            format!("{} ({})", rejection.reason(), rejection.reason().code())
        }
        _ => String::new(),
    };
    let rows: Vec<_> = trace
        .steps()
        .map(|(check, step)| vec![check.as_str().to_owned(), word(step).replace('_', " "), why(step)])
        .collect();
    let verdict = match trace.rejection() {
        None => "The request would be accepted.".to_owned(),
        Some(rejection) => {
            let (reason, status) = (rejection.reason(), rejection.kind().status());
            format!("The request would be rejected with {status}: {reason} ({}).", reason.code())
        }
    };
    table(&["CHECK", "STEP", "WHY"], &rows) + &verdict
}

fn word(step: Step) -> &'static str {
    match step {
        Step::Passed => "passed",
        Step::Rejected => "rejected",
        Step::NotReached => "not_reached",
    }
}

fn route(text: &str) -> Result<(Method, Uri), &'static str> {
    let fault = "a request is a method and a path, such as \"GET /invoices\"";
    let (method, path) = text.split_once(' ').filter(|(_, path)| path.starts_with('/')).ok_or(fault)?;
    Ok((method.parse().map_err(|_| fault)?, path.parse().map_err(|_| fault)?))
}

/// Header fields of a request.
#[derive(Clone, Debug)]
enum Fields {
    Given(HeaderName, HeaderValue),
    In(PathBuf),
}

fn fields(text: &str) -> Result<Fields, &'static str> {
    match text.strip_prefix('@') {
        Some(path) => Ok(Fields::In(path.into())),
        None => field(text).map(|(name, value)| Fields::Given(name, value)),
    }
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), &'static str> {
    let fault = "a header field is a name and a value, such as \"x-organization: org_1\"";
    let (name, value) = text.split_once(':').ok_or(fault)?;
    Ok((name.trim().parse().map_err(|_| fault)?, value.trim().parse().map_err(|_| fault)?))
}

impl Fields {
    fn read<F>(
        self,
        session: &Session<'_>,
        keys: &ApiKeys<F>,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, Failure> {
        match self {
            Self::Given(name, value) => {
                let text = value.to_str().unwrap_or_default();
                let is_key = text.split_whitespace().any(|word| session.manager.parse(word).is_ok());
                if is_key || keys.is_credential_field(&name) {
                    return Err(Failure::usage(format!(
                        "The field {name} holds a credential, which is no argument: it is in the history of your shell and in the list \
                         of processes now."
                    ))
                    .next("Replace the credential. The key is read from standard input; further ones go into a file: `--header @FILE`."));
                }
                Ok(vec![(name, value)])
            }
            Self::In(path) => {
                let fault = |fault: &dyn Display| Failure::usage(format!("{}: {fault}", path.display()));
                let text = Zeroizing::new(std::fs::read_to_string(&path).map_err(|error| fault(&error))?);
                let lines = text.lines().filter(|line| !line.trim().is_empty());
                lines.map(|line| field(line).map_err(|error| fault(&error))).collect()
            }
        }
    }
}
