use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::failure::{Exit, Failure, may_be_cut};
use super::session::Session;
use crate::ApiKeys;

#[derive(Args, Clone, Debug)]
pub(super) struct OpenApi {
    /// Compares a document in JSON with the rules, and prints where they differ
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

impl OpenApi {
    pub(super) fn run<F>(self, session: &Session<'_>, keys: &ApiKeys<F>) -> Result<Exit, Failure> {
        if keys.unused::<crate::route::Route>([]).is_empty() {
            return Err(Failure::usage("This application has no rules of access."));
        }
        let Some(path) = self.check else {
            let document = keys.openapi_of_rules().map_err(|error| Failure::failed(error.to_string()))?;
            let printed = session.print(&format!("{document:#}")).map_err(Failure::from);
            return may_be_cut(printed.map(|()| Exit::Done), Exit::Done);
        };
        let fault = |error: String| Failure::failed(format!("{}: {error}", path.display()));
        let text = std::fs::read(&path).map_err(|error| fault(error.to_string()))?;
        let document: Value = serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
        let drift = keys.openapi_drift(&document).map_err(|error| fault(error.to_string()))?;
        let drift: Vec<_> = drift.iter().map(ToString::to_string).collect();
        session.print_either(&json!({ "drift": drift }), || match drift.is_empty() {
            true => "The document and the rules agree.".to_owned(),
            false => drift.join("\n"),
        })?;
        Ok(if drift.is_empty() { Exit::Done } else { Exit::Negative })
    }
}
