use std::fmt;

use http::StatusCode;
use serde_json::Value;

use crate::route::Route;

/// Where a document, the assembly and the application differ.
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
    /// An answer that the rule does not allow.
    Answer {
        /// The route of the operation.
        route: Route,
        /// The request.
        probe: Probe,
        /// The status of the answer.
        status: StatusCode,
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
            Self::Answer { route, probe, status } => write!(f, "{route}: {probe} is answered with {status}"),
        }
    }
}

/// A request of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probe {
    /// Without a credential.
    Anonymous,
    /// With a key that lacks the scope.
    WithoutScope,
    /// With a key that the rule accepts.
    Accepted,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "a request without a credential",
            Self::WithoutScope => "a key without the scope",
            Self::Accepted => "a key with what the rule needs",
        })
    }
}
