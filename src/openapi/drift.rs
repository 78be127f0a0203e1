use std::fmt;

use serde_json::Value;

use crate::route::Route;

/// Where a document and the assembly differ.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Drift {
    /// An operation of the document that no rule covers: a forgotten rule, or an operation that is gone.
    NoRule(Route),
    /// A rule that covers no operation of the document.
    NoOperation(Route),
    /// An operation that says otherwise than its rule what a request needs.
    Contradiction {
        /// The route of the operation.
        route: Route,
        /// The member of the operation: `security`, `x-required-scopes`, `x-required-tier` or `x-required-role`.
        member: &'static str,
        /// What the document says.
        documented: Value,
        /// What the rule says; `null` if the member must not be there.
        ruled: Value,
    },
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRule(route) => write!(f, "{route} is in the document, and no rule covers it"),
            Self::NoOperation(route) => write!(f, "{route} has a rule, and is not in the document"),
            Self::Contradiction { route, member, documented, ruled } => {
                write!(f, "{route}: `{member}` is {documented} in the document, and {ruled} by the rule")
            }
        }
    }
}
