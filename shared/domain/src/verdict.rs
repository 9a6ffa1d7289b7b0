//! Verdicts, in the words of AWS Config, and the rules that hold for every control.
//!
//! An error is never a verdict about a key: what could not be read is [`Compliance::InsufficientData`] with its cause.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::{Control, Severity};
use crate::evidence::Evidence;
use crate::key::{Key, KeyManager, KeyState, Unexpected};

/// Does the key do what the control asks?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Compliance {
    /// Yes.
    Compliant,
    /// No.
    NonCompliant,
    /// The control does not ask anything of this key.
    NotApplicable,
    /// Not known.
    InsufficientData,
}

impl Compliance {
    /// The word that AWS Config uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Compliant => "COMPLIANT",
            Self::NonCompliant => "NON_COMPLIANT",
            Self::NotApplicable => "NOT_APPLICABLE",
            Self::InsufficientData => "INSUFFICIENT_DATA",
        }
    }
}

/// The verdict of one control about one key.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The answer.
    pub compliance: Compliance,
    /// Stable code of the case.
    pub reason: &'static str,
    /// The case in words.
    pub detail: String,
    /// How bad it is, where that depends on the case; otherwise the control says.
    pub severity: Option<Severity>,
    /// What it rests on.
    pub evidence: Evidence,
    /// Remediation, in words. Empty where nothing is to be done.
    pub remediation: Cow<'static, str>,
    /// Which event it is about, where the case is one and not a state: another event is another finding.
    pub occurrence: Option<String>,
    /// Does the case pass by itself? Then it does not count as a gap in what the monitor covers.
    pub is_passing: bool,
    /// Is it in the response and never in an alert?
    pub is_silent: bool,
}

/// The verdicts about one key, one by each control of a check, in the order of the controls.
pub trait ByControl:
    AsRef<[Verdict]> + IntoIterator<Item = Verdict> + TryFrom<Vec<Verdict>, Error = Vec<Verdict>>
{
    /// The controls, as many as there are verdicts.
    type Controls: AsRef<[&'static Control]>;

    /// A verdict by each control, made one by one.
    fn from_fn(verdict: impl FnMut() -> Verdict) -> Self;
}

impl<const N: usize> ByControl for [Verdict; N] {
    type Controls = [&'static Control; N];

    fn from_fn(mut verdict: impl FnMut() -> Verdict) -> Self {
        std::array::from_fn(|_| verdict())
    }
}

/// Reason code of a key that does not exist.
pub const NOT_FOUND: &str = "not_found";

pub(crate) const CORRECT_THE_NAME: &str = "Correct the name where it is given, or remove it.";

impl Verdict {
    /// The key does what the control asks.
    pub fn compliant(reason: &'static str) -> Self {
        Self::new(Compliance::Compliant, reason)
    }

    /// The key does not do what the control asks.
    pub fn non_compliant(reason: &'static str) -> Self {
        Self::new(Compliance::NonCompliant, reason)
    }

    /// The control does not ask anything of this key.
    pub fn not_applicable(reason: &'static str) -> Self {
        Self::new(Compliance::NotApplicable, reason)
    }

    /// It is not known whether the key does.
    pub fn insufficient_data(reason: &'static str) -> Self {
        Self::new(Compliance::InsufficientData, reason)
    }

    fn new(compliance: Compliance, reason: &'static str) -> Self {
        Self {
            compliance,
            reason,
            detail: String::new(),
            severity: None,
            evidence: Evidence::new(),
            remediation: Cow::Borrowed(""),
            occurrence: None,
            is_passing: false,
            is_silent: false,
        }
    }

    /// The same verdict by each control.
    pub fn for_all<V: ByControl>(&self) -> V {
        V::from_fn(|| self.clone())
    }

    /// Says the case in words.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Says how bad this case is.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = Some(severity);
        self
    }

    /// Adds a fact that the verdict rests on.
    #[must_use]
    pub fn evidence(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.evidence.insert(name, value);
        self
    }

    /// Says that the case passes by itself, and that nobody is told of it.
    #[must_use]
    pub fn passing(mut self) -> Self {
        self.is_silent = true;
        self.passing_and_told()
    }

    /// Says that the case passes by itself. People are told of it once all the same.
    #[must_use]
    pub fn passing_and_told(mut self) -> Self {
        self.is_passing = true;
        self
    }

    /// Says which event it is about.
    #[must_use]
    pub fn occurrence(mut self, occurrence: impl Into<String>) -> Self {
        self.occurrence = Some(occurrence.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn remediation(mut self, remediation: impl Into<Cow<'static, str>>) -> Self {
        self.remediation = remediation.into();
        self
    }
}

/// A day as details tell it.
pub fn date(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d").to_string()
}

/// The verdict for a key that this deployment leaves out.
pub fn excluded(why: &str) -> Verdict {
    Verdict::not_applicable("excluded").detail(why)
}

/// The verdict for a key that something happened to, and that no longer exists.
pub fn gone_after_event() -> Verdict {
    Verdict::insufficient_data(NOT_FOUND)
        .detail("the key no longer exists")
        .remediation("Nothing: KMS has deleted the key, and what was encrypted under it alone cannot be read again.")
}

/// The verdict for a name that stands for no key here.
pub fn not_found(why: &str) -> Verdict {
    Verdict::insufficient_data(NOT_FOUND).detail(why).remediation(CORRECT_THE_NAME)
}

/// The verdict that `DescribeKey` alone gives, whatever the control asks; `None` if the control has to judge.
pub fn settled_by_description(key: &Key) -> Option<Verdict> {
    match &key.manager {
        Some(KeyManager::Customer) => {}
        Some(KeyManager::Aws) => {
            return Some(Verdict::not_applicable("aws_managed_key").detail("AWS manages and rotates this key"));
        }
        Some(KeyManager::Other(value)) => {
            return Some((&Unexpected::value("DescribeKey", "KeyManager", value)).into());
        }
        None => return Some((&Unexpected::absent("DescribeKey", "KeyManager")).into()),
    }
    let state = key.state.as_ref().filter(|state| matches!(state, KeyState::Creating | KeyState::Updating))?;
    Some(in_transition(state))
}

/// The verdict about a key in a state that passes by itself.
pub fn in_transition(state: &KeyState) -> Verdict {
    Verdict::insufficient_data("key_in_transition")
        .passing()
        .detail(format!("the key is in state {}", state.as_str()))
        .evidence("key_state", state.as_str())
        .remediation("Nothing: the next run judges the key.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(manager: Option<&str>, state: Option<&str>) -> Key {
        Key { manager: manager.map(KeyManager::from), state: state.map(KeyState::from), ..Key::unknown("", "") }
    }

    #[test]
    fn rows_that_the_description_settles() {
        use Compliance::{InsufficientData, NotApplicable};
        for (manager, state, expected) in [
            (Some("AWS"), Some("Enabled"), Some((NotApplicable, "aws_managed_key"))),
            (Some("AWS"), Some("Creating"), Some((NotApplicable, "aws_managed_key"))),
            (Some("AWS"), None, Some((NotApplicable, "aws_managed_key"))),
            (Some("CUSTOMER"), Some("Creating"), Some((InsufficientData, "key_in_transition"))),
            (Some("CUSTOMER"), Some("Updating"), Some((InsufficientData, "key_in_transition"))),
            (Some("PARTNER"), Some("Enabled"), Some((InsufficientData, "unexpected_response"))),
            (None, Some("Enabled"), Some((InsufficientData, "unexpected_response"))),
            (Some("CUSTOMER"), Some("Enabled"), None),
            (Some("CUSTOMER"), Some("Disabled"), None),
            (Some("CUSTOMER"), Some("PendingDeletion"), None),
            (Some("CUSTOMER"), Some("Zombie"), None),
            (Some("CUSTOMER"), None, None),
        ] {
            let verdict = settled_by_description(&key(manager, state));
            assert_eq!(verdict.map(|it| (it.compliance, it.reason)), expected, "{manager:?} {state:?}");
        }
    }
}
