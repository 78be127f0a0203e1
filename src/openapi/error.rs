use thiserror::Error;

/// A document that can't be completed or compared.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenApiError {
    /// It is of another version than OpenAPI 3.1 and 3.2.
    #[error("the document is of OpenAPI {0}; 3.1 and 3.2 are known")]
    Version(String),
    /// A part of it is not what OpenAPI says.
    #[error("in the document, {0}")]
    Malformed(String),
    /// It can't be written as JSON, or, once completed, not be read as its type.
    #[error("the document is no JSON: {0}")]
    Json(#[from] serde_json::Error),
}
