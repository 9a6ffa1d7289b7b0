//! The ways a request can fail.

use std::fmt;

use lambda_runtime::Diagnostic;
use monitor::settings::InvalidConfiguration;

use crate::request::InvalidRequest;

/// Why a request failed. The type's name is stable: people and other programs match it.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The request is none that the function takes. Nothing was called, nothing is recorded.
    #[error("{0}")]
    InvalidRequest(#[from] InvalidRequest),
    /// A setting is missing or wrong. Nothing was called.
    #[error("{0}")]
    InvalidConfiguration(#[from] InvalidConfiguration),
    /// A rule refuses it. The attempt is recorded.
    #[error("{0}")]
    NotAllowed(String),
    /// Something failed on the way. It says what exists and how to go on.
    #[error("{0}")]
    OperationFailed(String),
}

impl RequestError {
    /// The error type that Lambda reports.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "InvalidRequest",
            Self::InvalidConfiguration(_) => "InvalidConfiguration",
            Self::NotAllowed(_) => "NotAllowed",
            Self::OperationFailed(_) => "OperationFailed",
        }
    }
}

/// The form in which the runtime logs a failed invocation.
impl fmt::Debug for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.error_type())
    }
}

impl From<RequestError> for Diagnostic {
    fn from(error: RequestError) -> Self {
        Self { error_type: error.error_type().to_owned(), error_message: error.to_string() }
    }
}
