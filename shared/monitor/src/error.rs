//! The ways a whole run can fail. Everything smaller is a verdict.

use domain::failure::Failure;
use domain::outcome::TARGET_NOT_REACHABLE;

use crate::inventory::why;
use crate::member_accounts::NotReachable;

/// Why a run failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It is not known which keys there are.
    #[error("cannot tell which keys there are: {0}")]
    ListKeysFailed(String),
    /// The same, because `ListKeys` gave not even a first page.
    #[error("cannot tell which keys there are: {}", why(.0))]
    KeysNotListed(Failure),
    /// The keys are in another account or Region, and that is out of reach. No key was looked at.
    #[error("{0}")]
    TargetNotReachable(#[from] NotReachable),
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
    /// Another run holds the findings ledger for longer than this one can wait. Nothing is wrong with it.
    #[error("the findings ledger {table} is out of reach: another run is at work and did not end in time")]
    LedgerBusy {
        /// Table that holds the ledger.
        table: String,
    },
    /// The run was to leave the telling to the reporter, and there is no ledger to leave it in.
    #[error("`FINDINGS_TABLE` is not set; an event with `notify` = `later` needs the findings ledger")]
    NoLedger,
}

impl RunError {
    /// The same of a run whose alert went out all the same.
    #[must_use]
    pub fn after_the_alert(self) -> Self {
        match self {
            Self::LedgerUnavailable { table, cause } => Self::LedgerUnavailable {
                table,
                cause: format!("{cause}; the alert went out before that, and comes once more"),
            },
            other => other,
        }
    }

    /// Stable name of the kind of error: operators and other programs match it.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::ListKeysFailed(_) | Self::KeysNotListed(_) => "ListKeysFailed",
            Self::TargetNotReachable(_) => TARGET_NOT_REACHABLE,
            Self::AlertNotDelivered { .. } => "AlertNotDelivered",
            Self::LedgerUnavailable { .. } | Self::LedgerBusy { .. } => "LedgerUnavailable",
            Self::NoLedger => "InvalidConfiguration",
        }
    }
}
