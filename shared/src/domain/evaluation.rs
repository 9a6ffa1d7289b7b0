//! Verdicts, in the words of AWS Config, and the rules that hold for every control.
//!
//! An error is never a verdict about a key: what could not be read is [`Compliance::InsufficientData`] with its cause.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::control::Severity;
use super::key::{Key, KeyManager, KeyState, Unexpected};

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

/// Facts that a verdict rests on, by name.
pub type Evidence = Map<String, Value>;

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
    /// What to do. Empty where nothing is to be done.
    pub remediation: String,
    /// Which event it is about, where the case is one and not a state: another event is another finding.
    pub occurrence: Option<String>,
}

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
            remediation: String::new(),
            occurrence: None,
        }
    }

    /// The same verdict for each of `N` controls.
    pub fn for_all<const N: usize>(&self) -> [Self; N] {
        std::array::from_fn(|_| self.clone())
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
    pub fn evidence(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.evidence.insert(name.to_owned(), value.into());
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
    pub fn remediation(mut self, remediation: impl Into<String>) -> Self {
        self.remediation = remediation.into();
        self
    }
}

/// Why a call that a verdict needs gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// KMS operation that was called.
    pub operation: &'static str,
    /// What kind of failure it was, after all tries.
    pub cause: Cause,
    /// AWS's error code, if AWS answered with one.
    pub code: Option<String>,
    /// AWS's own words, or those of the transport.
    pub message: String,
}

/// The kinds of failure that verdicts distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The caller is not allowed to make the call.
    AccessDenied,
    /// Too many requests, past all tries.
    Throttled,
    /// No answer in time, past all tries.
    Timeout,
    /// AWS failed or could not be reached, past all tries.
    ServiceError,
    /// There is no such key.
    NotFound,
    /// The operation does not exist for this kind of key.
    Unsupported,
    /// An answer that this build cannot read, or an error that it does not know.
    Unexpected,
}

impl Cause {
    /// Stable reason code of the verdict.
    pub fn reason(self) -> &'static str {
        match self {
            Self::AccessDenied => "access_denied",
            Self::Throttled => "throttled",
            Self::Timeout => "timeout",
            Self::ServiceError => "service_error",
            Self::NotFound => NOT_FOUND,
            Self::Unsupported | Self::Unexpected => "unexpected_response",
        }
    }
}

/// Reason code of a key that does not exist.
pub const NOT_FOUND: &str = "not_found";

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operation = self.operation;
        match self.cause {
            Cause::AccessDenied => write!(f, "access to kms:{operation} was denied"),
            Cause::Throttled => write!(f, "kms:{operation} was throttled past all retries"),
            Cause::Timeout => write!(f, "kms:{operation} gave no answer in time"),
            Cause::ServiceError => write!(f, "kms:{operation} failed on the side of AWS or could not be reached"),
            Cause::NotFound => write!(f, "kms:{operation} knows no such key"),
            Cause::Unsupported | Cause::Unexpected => match &self.code {
                Some(code) => write!(f, "kms:{operation} answered with the unexpected error {code}"),
                None => write!(f, "the answer of kms:{operation} could not be read"),
            },
        }
    }
}

impl From<&Failure> for Verdict {
    fn from(failure: &Failure) -> Self {
        let operation = failure.operation;
        let remediation = match failure.cause {
            Cause::AccessDenied => format!(
                "Allow the function's role kms:{operation} on this key: let the key policy delegate to IAM, or name the \
                 role in it, and look for an explicit deny."
            ),
            Cause::Throttled => "Nothing is wrong with the key: others use up the request quota. If it happens again, \
                                 lower KMS_QUOTA_SHARE or ask AWS for a higher quota."
                .to_owned(),
            Cause::Timeout | Cause::ServiceError => "The next run asks again. If it stays, look at the AWS Health \
                                                     Dashboard and at the network path to KMS."
                .to_owned(),
            Cause::NotFound => MEND_THE_NAME.to_owned(),
            Cause::Unsupported | Cause::Unexpected => NEWER_THAN_THIS_BUILD.to_owned(),
        };
        let mut verdict = Self::new(Compliance::InsufficientData, failure.cause.reason())
            .detail(failure.to_string())
            .evidence("operation", operation)
            .remediation(remediation);
        if let Some(code) = &failure.code {
            verdict = verdict.evidence("error_code", code.as_str());
        }
        if !failure.message.is_empty() {
            verdict = verdict.evidence("error_message", shortened(&failure.message));
        }
        verdict
    }
}

impl From<&Unexpected> for Verdict {
    fn from(unexpected: &Unexpected) -> Self {
        let Unexpected { operation, field, value } = unexpected;
        let detail = match value {
            None => format!("the answer of kms:{operation} has no {field}"),
            Some(value) => {
                format!("{field} `{}` in the answer of kms:{operation} means nothing to this build", shortened(value))
            }
        };
        Self::new(Compliance::InsufficientData, "unexpected_response")
            .detail(detail)
            .evidence("operation", *operation)
            .evidence("field", *field)
            .evidence("value", value.as_deref().map_or(Value::Null, |value| json!(shortened(value))))
            .remediation(NEWER_THAN_THIS_BUILD)
    }
}

const NEWER_THAN_THIS_BUILD: &str =
    "Ask KMS for the key by hand. If its answer is in order, update this monitor: KMS may have learnt something new.";

const MEND_THE_NAME: &str = "Correct the name where it is given, or remove it.";

/// Longest text of AWS's that evidence repeats, in characters.
const LONGEST_QUOTE: usize = 300;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(LONGEST_QUOTE) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.split_at(end).0),
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

/// The verdict for a name that stands for no key here.
pub fn not_found(why: &str) -> Verdict {
    Verdict::new(Compliance::InsufficientData, NOT_FOUND).detail(why).remediation(MEND_THE_NAME)
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
    Verdict::new(Compliance::InsufficientData, "key_in_transition")
        .detail(format!("the key is in state {}", state.as_str()))
        .evidence("key_state", state.as_str())
        .remediation("Nothing: the next run judges the key.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::key::tests::unknown_key;

    fn key(manager: Option<&str>, state: Option<&str>) -> Key {
        Key { manager: manager.map(KeyManager::from), state: state.map(KeyState::from), ..unknown_key() }
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

    #[test]
    fn every_cause_of_failure_is_insufficient_data_with_its_reason() {
        for (cause, reason) in [
            (Cause::AccessDenied, "access_denied"),
            (Cause::Throttled, "throttled"),
            (Cause::Timeout, "timeout"),
            (Cause::ServiceError, "service_error"),
            (Cause::NotFound, "not_found"),
            (Cause::Unsupported, "unexpected_response"),
            (Cause::Unexpected, "unexpected_response"),
        ] {
            let failure = Failure { operation: "DescribeKey", cause, code: Some("C".into()), message: "m".into() };
            let verdict = Verdict::from(&failure);
            assert_eq!((verdict.compliance, verdict.reason), (Compliance::InsufficientData, reason));
            assert_eq!(verdict.evidence["operation"], "DescribeKey");
            assert_eq!(verdict.evidence["error_code"], "C");
            assert!(!verdict.detail.is_empty() && !verdict.remediation.is_empty());
        }
    }

    #[test]
    fn an_unexpected_field_is_named_with_what_stood_there() {
        let absent = Verdict::from(&Unexpected::absent("DescribeKey", "KeySpec"));
        assert_eq!(absent.detail, "the answer of kms:DescribeKey has no KeySpec");
        let unknown = Verdict::from(&Unexpected::value("DescribeKey", "KeyState", "Zombie"));
        assert_eq!(unknown.detail, "KeyState `Zombie` in the answer of kms:DescribeKey means nothing to this build");
        let endless = Verdict::from(&Unexpected::value("DescribeKey", "KeyState", "ä".repeat(100_000)));
        assert!(endless.detail.len() < 1_000);
    }
}
