//! Findings: evaluations that people or programs should know of.

use std::borrow::Cow;

use serde::Serialize;

use crate::control::Severity;
use crate::evidence::Evidence;
use crate::exemption::Exemption;
use crate::verdict::Compliance;

/// Key ARN, control and compliance.
pub type FindingId = (String, String, Compliance);

/// A key as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIdentity {
    /// Key ARN; an alias ARN if the alias stands for no key.
    pub arn: String,
    /// Key ID; the name as it was given if it stands for no key.
    pub id: String,
}

/// The value of a key's tag that exempts it from a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The key's tags were read: its value, if the key has it.
    Read(Option<String>),
    /// The key's tags were not read.
    NotRead,
}

/// An evaluation that people or programs should know of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Control that was not met or could not be judged.
    pub control: &'static str,
    /// Key ARN.
    pub key_arn: String,
    /// Key ID.
    pub key_id: String,
    /// Aliases of the key, sorted.
    pub aliases: Vec<String>,
    /// `NON_COMPLIANT` or `INSUFFICIENT_DATA`.
    pub compliance: Compliance,
    /// How bad it is.
    pub severity: Severity,
    /// Stable code of the case.
    pub reason: Cow<'static, str>,
    /// The case in words.
    pub detail: String,
    /// What the verdict rests on.
    pub evidence: Evidence,
    /// Remediation, in words.
    pub remediation: Cow<'static, str>,
    /// Controls of public standards that ask for the same.
    pub references: &'static [&'static str],
    /// The exemption that is in effect: the finding is not alerted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exempt: Option<Exemption>,
    /// The tag that exempts from this control.
    #[serde(skip)]
    pub tag: Tag,
    /// Which event it is about, where it is about one.
    #[serde(skip)]
    pub occurrence: Option<String>,
    /// Is it never alerted?
    #[serde(skip)]
    pub is_silent: bool,
    /// Does the case pass by itself? Then it is no gap in what is covered.
    #[serde(skip)]
    pub is_passing: bool,
}

impl Finding {
    /// Key ARN, control and compliance: what makes two findings the same.
    pub fn id(&self) -> FindingId {
        (self.key_arn.clone(), self.control.to_owned(), self.compliance)
    }
}
