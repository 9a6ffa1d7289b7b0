//! The pure part: facts in, verdicts out. No I/O, no SDK type, no clock, no environment.
//!
//! ```text
//! key (facts) ─► verdict, by a control ─► finding, in the report ─► ledger: what changed since the team was told
//! ```

pub mod control;
pub mod creation;
pub mod evidence;
pub mod exemption;
pub mod failure;
pub mod finding;
pub mod key;
pub mod key_policy;
pub mod ledger;
pub mod location;
pub mod outcome;
pub mod plan;
pub mod report;
pub mod route;
pub mod text;
pub mod verdict;
