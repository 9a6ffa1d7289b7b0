//! What more than one function of the KMS Key Compliance Monitor needs, on two storeys.
//!
//! [`domain`] is pure: facts about keys, verdicts about them, the report of a run and the words of an alert. It knows no
//! AWS crate, no clock and no environment, and builds without the feature `aws`.
//!
//! Above it stands the AWS side. [`serve`](serve::serve) is the one handler shape of all functions; data goes one way
//! through it: event, inventory, facts, evaluation, report, ledger, alert, response.
//!
//! # Environment
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `SNS_TOPIC_ARN` | required | topic that alerts go to |
//! | `MONITORED_KEYS` | empty | comma-separated key IDs, key ARNs or aliases; empty = every key |
//! | `EXCLUDED_KEYS` | empty | key IDs, key ARNs or aliases that are left out |
//! | `KMS_QUOTA_SHARE` | `0.2` | share (0 < x ≤ 1) of each default KMS request quota that one run may use |
//! | `FINDINGS_TABLE` | empty | DynamoDB table of the findings ledger; empty = each run alerts on all it finds |
//! | `RESOLVED_RETENTION_DAYS` | `365` | days for which the ledger keeps a resolved finding |
//! | `REMINDER_INTERVAL_DAYS` | `7` | days after which an unchanged finding is alerted again; `0` = never |
//! | `AWS_LAMBDA_LOG_LEVEL` | `INFO` | least severe level that is logged |
//! | `AWS_LAMBDA_LOG_FORMAT` | `JSON` | `JSON` or `Text` |

pub mod domain;

#[cfg(feature = "aws")]
pub mod alert;
#[cfg(feature = "aws")]
pub mod client;
#[cfg(feature = "aws")]
pub mod error;
#[cfg(feature = "aws")]
pub mod event;
#[cfg(feature = "aws")]
mod findings_table;
#[cfg(feature = "aws")]
pub mod inventory;
#[cfg(feature = "aws")]
pub mod kms;
#[cfg(feature = "aws")]
mod logging;
#[cfg(feature = "aws")]
pub mod metrics;
#[cfg(feature = "aws")]
pub mod serve;
#[cfg(feature = "aws")]
pub mod settings;
