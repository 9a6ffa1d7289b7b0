//! The pure part: facts in, verdicts out. No I/O, no SDK type, no clock, no environment.

pub mod control;
pub mod digest;
pub mod evaluation;
pub mod exemption;
pub mod key;
pub mod ledger;
pub mod location;
pub mod report;
