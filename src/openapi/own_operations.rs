//! The operations of the crate's own routes.

use http::StatusCode;

/// An operation of ours.
pub(super) struct OwnOperation {
    pub(super) method: &'static str,
    /// Below the path of the routes.
    pub(super) path: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [Parameter],
    /// The schema of the body, if it has one, and whether it is required.
    pub(super) body: Option<(&'static str, bool)>,
    pub(super) status: StatusCode,
    /// What the answer may hold: one of these.
    pub(super) answers: &'static [Answer],
    pub(super) has_entity_tag: bool,
    /// Whether it can also be answered in CSV.
    pub(super) has_csv: bool,
    pub(super) errors: &'static [Failure],
}

/// A parameter: its name, its place, and its schema in JSON.
pub(super) type Parameter = (&'static str, &'static str, &'static str);

/// What an answer holds, by the name of its schema.
pub(super) enum Answer {
    One(&'static str),
    Several(&'static str),
    /// In JSON that the error format has no part in.
    Plain(&'static str),
}

/// How a call fails that the checks have accepted.
#[derive(Clone, Copy)]
pub(super) enum Failure {
    Invalid,
    Forbidden,
    NotFound,
    Overtaken,
    Unavailable,
}

const ID: Parameter = ("key_id", "path", r#"{"type":"string"}"#);
const LIMIT: Parameter = ("limit", "query", r#"{"type":"integer","minimum":1,"maximum":1000,"default":100}"#);
const CURSOR: Parameter = ("cursor", "query", r#"{"type":"string"}"#);
const DAYS: &str = r#"{"type":"integer","minimum":0,"maximum":4294967295}"#;
const STATUS: &str = r#"{"type":"string","enum":["active","not_yet_valid","disabled","expired","revoked"]}"#;
const LISTING: &[Parameter] = &[
    LIMIT,
    CURSOR,
    ("olderThanDays", "query", DAYS),
    ("expiresWithinDays", "query", DAYS),
    ("unusedForDays", "query", DAYS),
    ("createdBy", "query", r#"{"type":"string"}"#),
    ("status", "query", STATUS),
    ("scope", "query", r##"{"$ref":"#/components/schemas/ApiKeyScope"}"##),
    ("namePrefix", "query", r#"{"type":"string"}"#),
];
const DESCENDANTS: Parameter = ("descendants", "query", r#"{"type":"boolean","default":false}"#);

const READ: OwnOperation = OwnOperation {
    method: "get",
    path: "",
    id: "",
    summary: "",
    parameters: &[],
    body: None,
    status: StatusCode::OK,
    answers: &[],
    has_entity_tag: false,
    has_csv: false,
    errors: &[],
};

const OF_ONE: &[Failure] = &[Failure::Invalid, Failure::Forbidden, Failure::NotFound, Failure::Unavailable];

pub(super) const KEYS: &[OwnOperation] = &[
    OwnOperation {
        id: "listApiKeys",
        summary: "List API keys, oldest first",
        parameters: LISTING,
        answers: &[Answer::Several("ApiKey")],
        errors: &[Failure::Invalid, Failure::Forbidden, Failure::Unavailable],
        ..READ
    },
    OwnOperation {
        method: "post",
        id: "createApiKey",
        summary: "Create an API key",
        body: Some(("NewApiKey", true)),
        status: StatusCode::CREATED,
        answers: &[Answer::One("ApiKeyWithSecret")],
        errors: &[Failure::Invalid, Failure::Forbidden, Failure::Unavailable],
        ..READ
    },
    OwnOperation {
        path: "/{key_id}",
        id: "getApiKey",
        summary: "Show an API key",
        parameters: &[ID],
        answers: &[Answer::One("ApiKey")],
        has_entity_tag: true,
        errors: &[Failure::Forbidden, Failure::NotFound, Failure::Unavailable],
        ..READ
    },
    OwnOperation {
        method: "patch",
        path: "/{key_id}",
        id: "updateApiKey",
        summary: "Change an API key",
        parameters: &[ID, ("If-Match", "header", r#"{"type":"string"}"#)],
        body: Some(("ApiKeyChange", true)),
        answers: &[Answer::One("ApiKey")],
        has_entity_tag: true,
        errors: &[
            Failure::Invalid,
            Failure::Forbidden,
            Failure::NotFound,
            Failure::Overtaken,
            Failure::Unavailable,
        ],
        ..READ
    },
    OwnOperation {
        method: "delete",
        path: "/{key_id}",
        id: "deleteApiKey",
        summary: "Delete or revoke an API key",
        parameters: &[ID, DESCENDANTS],
        answers: &[Answer::One("EndedApiKey"), Answer::One("ApiKey"), Answer::Several("ApiKey")],
        errors: OF_ONE,
        ..READ
    },
    OwnOperation {
        method: "post",
        path: "/{key_id}/revoke",
        id: "revokeApiKey",
        summary: "Revoke an API key",
        parameters: &[ID, DESCENDANTS],
        answers: &[Answer::One("ApiKey"), Answer::One("EndedApiKey"), Answer::Several("ApiKey")],
        errors: OF_ONE,
        ..READ
    },
    OwnOperation {
        method: "post",
        path: "/{key_id}/rotate",
        id: "rotateApiKey",
        summary: "Give an API key a new secret",
        parameters: &[ID],
        body: Some(("ApiKeyRotation", false)),
        answers: &[Answer::One("ApiKeyWithSecret")],
        errors: OF_ONE,
        ..READ
    },
    OwnOperation {
        path: "/{key_id}/history",
        id: "getApiKeyHistory",
        summary: "Show what was done to an API key, the newest first",
        parameters: &[ID, LIMIT, CURSOR],
        answers: &[Answer::Several("ApiKeyEvent")],
        errors: OF_ONE,
        ..READ
    },
];

pub(super) const WHOAMI: &[OwnOperation] = &[OwnOperation {
    id: "whoami",
    summary: "Show the caller",
    answers: &[Answer::One("ApiKeyCaller")],
    ..READ
}];

pub(super) const LIMITS: &[OwnOperation] = &[OwnOperation {
    id: "listLimits",
    summary: "Show what is left of the caller's limits",
    answers: &[Answer::Several("ApiKeyLimitState")],
    errors: &[Failure::Unavailable],
    ..READ
}];

pub(super) const HEALTH: &[OwnOperation] = &[OwnOperation {
    id: "getApiKeysHealth",
    summary: "Show whether keys and limits work",
    answers: &[Answer::Plain("ApiKeysHealth")],
    ..READ
}];

const INSTANT: &str = r#"{"type":"string","format":"date-time"}"#;
/// The last one is for staff alone.
const USAGE_PARAMETERS: &[Parameter] = &[
    ("start", "query", INSTANT),
    ("end", "query", INSTANT),
    ("bucket", "query", r#"{"type":"string","enum":["hour","day"],"default":"day"}"#),
    ("groupBy", "query", r#"{"type":"string","enum":["key","organization","category"]}"#),
    ("key", "query", r#"{"type":"array","maxItems":100,"items":{"type":"string"}}"#),
    ("format", "query", r#"{"type":"string","enum":["json","csv"]}"#),
    ("organization", "query", r#"{"type":"string"}"#),
];

const USAGE_OF_ALL: OwnOperation = OwnOperation {
    id: "getApiKeyUsage",
    summary: "Show how often API keys were used",
    parameters: USAGE_PARAMETERS,
    answers: &[Answer::One("ApiKeyUsage")],
    has_csv: true,
    errors: &[Failure::Invalid, Failure::Forbidden, Failure::Unavailable],
    ..READ
};

pub(super) const USAGE_FOR_STAFF: &[OwnOperation] = &[USAGE_OF_ALL];

pub(super) const USAGE: &[OwnOperation] =
    &[OwnOperation { parameters: USAGE_PARAMETERS.split_at(USAGE_PARAMETERS.len() - 1).0, ..USAGE_OF_ALL }];

impl OwnOperation {
    /// Whether it hands out the secret of a key.
    pub(super) fn gives_secret(&self) -> bool {
        matches!(self.answers, [Answer::One("ApiKeyWithSecret")])
    }
}
