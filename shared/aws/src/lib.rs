//! AWS as this product calls it.
//!
//! Every call goes through [`Calls::make`](call::Calls::make), with a row of the table of [`operation`]s: what it is
//! called, which request quota it counts against, whether it is safe to repeat, and which functions make it. A call is
//! paced to its share of the quota, tried again where that helps, and what it fails with is a
//! [`Failure`](domain::failure::Failure) of one of the kinds that verdicts distinguish.

pub mod call;
pub mod config;
pub mod failure;
pub mod kms;
pub mod operation;
pub mod pace;
pub mod pages;
pub mod presence;
pub mod sts;

use aws_sdk_kms::primitives::DateTime;
use jiff::Timestamp;

/// An SDK instant as ours; `None` if it lies outside the years that ours can name.
pub fn timestamp(instant: &DateTime) -> Option<Timestamp> {
    Timestamp::new(instant.secs(), i32::try_from(instant.subsec_nanos()).ok()?).ok()
}
