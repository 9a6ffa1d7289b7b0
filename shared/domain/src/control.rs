//! What a control is: its identity, its severity and the rules of others that it stands for.

use serde::{Deserialize, Serialize};

/// One rule that every key is judged by.
#[derive(Debug, PartialEq, Eq)]
pub struct Control {
    /// Stable name.
    pub id: &'static str,
    /// What is asked of a key, in a few words.
    pub title: &'static str,
    /// Severity of a `NON_COMPLIANT` verdict that does not say its own.
    pub severity: Severity,
    /// Severities that some cases have instead, in words; empty where there are none.
    pub other_severities: &'static str,
    /// Controls of public standards that ask for the same.
    pub references: &'static [&'static str],
}

/// Name of the control of keys that will be deleted. What comes of it cannot be undone, so the ledger knows it by name.
pub const PENDING_DELETION: &str = "pending-deletion";

/// How bad a finding is. Ordered: the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Severity {
    /// Tidy up when there is time.
    Low,
    /// Plan the work.
    Medium,
    /// Act this week.
    High,
    /// Act now: data may be lost.
    Critical,
}

impl Severity {
    /// The word that responses and alerts use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "LOW",
            Self::Medium => "MEDIUM",
            Self::High => "HIGH",
            Self::Critical => "CRITICAL",
        }
    }
}
