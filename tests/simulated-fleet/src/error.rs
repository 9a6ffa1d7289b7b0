//! An error that the service answers with.

use serde_json::Value;

/// Its status, code and message; each protocol renders it its own way.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    /// The item that a condition of DynamoDB did not hold of, where the caller asked for it.
    pub(crate) item: Option<Value>,
}

impl ApiError {
    pub(crate) fn new(status: u16, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { status, code: code.into(), message: message.into(), item: None }
    }

    /// Almost every error of KMS has status 400.
    pub(crate) fn bad_request(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }
}
