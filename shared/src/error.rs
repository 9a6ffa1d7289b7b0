//! The ways a whole run can fail. Everything smaller is a verdict.

use std::fmt;

use lambda_runtime::Diagnostic;

use crate::settings::InvalidConfiguration;

/// Why an invocation failed. The type's name is stable: operators and other programs match it.
#[derive(thiserror::Error)]
pub enum RunError {
    /// The event is none that this function takes. Nothing was called.
    #[error("{0}")]
    InvalidEvent(#[from] crate::event::InvalidEvent),
    /// A setting is missing or wrong. Nothing was called.
    #[error("{0}")]
    InvalidConfiguration(#[from] InvalidConfiguration),
    /// It is not known which keys there are.
    #[error("cannot tell which keys there are: {0}")]
    ListKeysFailed(String),
    /// The topic did not take the alert.
    #[error("the alert was not delivered to {topic_arn}: {cause}")]
    AlertNotDelivered {
        /// Topic that should have taken it.
        topic_arn: String,
        /// What SNS or the transport said.
        cause: String,
    },
    /// The findings ledger does not answer, or another run holds it. What was not told yet will be.
    #[error("the findings ledger {table} is out of reach: {cause}")]
    LedgerUnavailable {
        /// Table that holds the ledger.
        table: String,
        /// What DynamoDB or the transport said.
        cause: String,
    },
}

impl RunError {
    /// The error type that Lambda reports.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidEvent(_) => "InvalidEvent",
            Self::InvalidConfiguration(_) => "InvalidConfiguration",
            Self::ListKeysFailed(_) => "ListKeysFailed",
            Self::AlertNotDelivered { .. } => "AlertNotDelivered",
            Self::LedgerUnavailable { .. } => "LedgerUnavailable",
        }
    }
}

/// The form in which the runtime logs a failed invocation.
impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.error_type())
    }
}

impl From<RunError> for Diagnostic {
    fn from(error: RunError) -> Self {
        Self { error_type: error.error_type().to_owned(), error_message: error.to_string() }
    }
}
