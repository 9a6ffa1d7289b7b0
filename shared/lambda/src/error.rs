//! The ways an invocation can fail.

use std::fmt;

use lambda_runtime::Diagnostic;
use monitor::error::RunError;
use monitor::settings::InvalidConfiguration;

use crate::event::InvalidEvent;

/// Why an invocation failed. The type's name is stable: operators and other programs match it.
#[derive(thiserror::Error)]
pub enum HandlerError {
    /// The event is none that this function takes. Nothing was called.
    #[error("{0}")]
    InvalidEvent(#[from] InvalidEvent),
    /// A setting is missing or wrong. Nothing was called.
    #[error("{0}")]
    InvalidConfiguration(#[from] InvalidConfiguration),
    /// The run failed as a whole.
    #[error("{0}")]
    Run(#[from] RunError),
    /// A function that is no check failed in a way of its own.
    #[error("{message}")]
    Failed {
        /// Stable name of the kind of error.
        error_type: &'static str,
        /// What was tried, and what came of it.
        message: String,
    },
}

impl HandlerError {
    /// The error type that Lambda reports.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidEvent(_) => "InvalidEvent",
            Self::InvalidConfiguration(_) => "InvalidConfiguration",
            Self::Run(error) => error.error_type(),
            Self::Failed { error_type, .. } => error_type,
        }
    }
}

/// The form in which the runtime logs a failed invocation.
impl fmt::Debug for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.error_type())
    }
}

impl From<HandlerError> for Diagnostic {
    fn from(error: HandlerError) -> Self {
        Self { error_type: error.error_type().to_owned(), error_message: error.to_string() }
    }
}
