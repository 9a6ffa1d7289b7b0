//! The plan of one execution of the daily check: what `target-planner` writes, and what the reporter reads of it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// One row: a target. The plan is a JSON array of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// Account of the target.
    pub account_id: String,
    /// Region of the target.
    pub region: String,
    /// Organisational units that a route names and that the account is in, directly or below.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub units: BTreeSet<String>,
}

/// Something about a target that somebody should know of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Account, organisational unit or Region.
    pub about: String,
    /// Stable word for it.
    pub reason: String,
    /// The same in words.
    pub detail: String,
    /// Is somebody to do something about it? The operators are told.
    pub needs_action: bool,
}

/// Key of the plan's object in the bucket.
pub fn object_key(execution: &str) -> String {
    format!("plans/{execution}.json")
}
