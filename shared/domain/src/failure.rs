//! Calls that gave no usable answer, and the verdict that follows: not known, with the cause.

use std::fmt;

use serde_json::{Value, json};

use crate::key::Unexpected;
use crate::verdict::{CORRECT_THE_NAME, NOT_FOUND, Verdict};

/// Why a call that a verdict needs gave no usable answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Service that was called, as IAM's actions name it: `kms`, `cloudwatch`, …
    pub service: &'static str,
    /// Operation that was called.
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
    /// An answer that this version cannot read, or an error that it does not know.
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, operation, .. } = self;
        match self.cause {
            Cause::AccessDenied => write!(f, "access to {service}:{operation} was denied"),
            Cause::Throttled => write!(f, "{service}:{operation} was throttled past all retries"),
            Cause::Timeout => write!(f, "{service}:{operation} gave no answer in time"),
            Cause::ServiceError => write!(f, "{service}:{operation} failed on the side of AWS or could not be reached"),
            Cause::NotFound => write!(f, "{service}:{operation} knows no such key"),
            Cause::Unsupported | Cause::Unexpected => match &self.code {
                Some(code) => write!(f, "{service}:{operation} answered with the unexpected error {code}"),
                None => write!(f, "the answer of {service}:{operation} could not be read"),
            },
        }
    }
}

impl From<&Failure> for Verdict {
    fn from(failure: &Failure) -> Self {
        let Failure { service, operation, .. } = failure;
        let in_key_store = failure.code.as_deref() == Some("KMSInvalidStateException");
        let remediation = match failure.cause {
            Cause::Throttled | Cause::Timeout if in_key_store => {
                "Look at the proxy of the external key store, or at the CloudHSM cluster: the message says what AWS KMS met."
                    .to_owned()
            }
            Cause::AccessDenied => format!(
                "Allow the function's role {service}:{operation} on this key: let the key policy delegate to IAM, or name the \
                 role in it, and look for an explicit deny."
            ),
            Cause::Throttled => "Nothing is wrong with the key: others use up the request quota. If it happens again, \
                                 lower KMS_QUOTA_SHARE or ask AWS for a higher quota."
                .to_owned(),
            Cause::Timeout | Cause::ServiceError => "The next run asks again. If it stays, look at the AWS Health \
                                                     Dashboard and at the network path to KMS."
                .to_owned(),
            Cause::NotFound => CORRECT_THE_NAME.to_owned(),
            Cause::Unsupported | Cause::Unexpected => NEWER_THAN_THIS_VERSION.to_owned(),
        };
        let mut verdict = Self::insufficient_data(failure.cause.reason())
            .detail(failure.to_string())
            .evidence("operation", *operation)
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
                format!(
                    "{field} `{}` in the answer of kms:{operation} is not recognised by this version",
                    shortened(value)
                )
            }
        };
        Self::insufficient_data("unexpected_response")
            .detail(detail)
            .evidence("operation", *operation)
            .evidence("field", *field)
            .evidence("value", value.as_deref().map_or(Value::Null, |value| json!(shortened(value))))
            .remediation(NEWER_THAN_THIS_VERSION)
    }
}

const NEWER_THAN_THIS_VERSION: &str =
    "Ask KMS for the key by hand. If its answer is in order, update this monitor: KMS may have learnt something new.";

/// Longest text of AWS's that evidence repeats, in characters.
const MAX_QUOTE_CHARS: usize = 300;

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE_CHARS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.split_at(end).0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Compliance;

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
            let (code, message) = (Some("C".into()), "m".into());
            let failure = Failure { service: "kms", operation: "DescribeKey", cause, code, message };
            let verdict = Verdict::from(&failure);
            assert_eq!((verdict.compliance, verdict.reason), (Compliance::InsufficientData, reason));
            assert_eq!(verdict.evidence["operation"], "DescribeKey");
            assert_eq!(verdict.evidence["error_code"], "C");
            assert!(!verdict.detail.is_empty() && !verdict.remediation.is_empty());
        }
    }

    #[test]
    fn a_failure_names_its_service() {
        for (service, operation, expected) in [
            ("kms", "DescribeKey", "access to kms:DescribeKey was denied"),
            ("cloudwatch", "ListMetrics", "access to cloudwatch:ListMetrics was denied"),
        ] {
            let cause = Cause::AccessDenied;
            let failure = Failure { service, operation, cause, code: None, message: String::new() };
            assert_eq!(Verdict::from(&failure).detail, expected);
        }
    }

    #[test]
    fn an_unexpected_field_is_named_with_what_stood_there() {
        let absent = Verdict::from(&Unexpected::absent("DescribeKey", "KeySpec"));
        assert_eq!(absent.detail, "the answer of kms:DescribeKey has no KeySpec");
        let unknown = Verdict::from(&Unexpected::value("DescribeKey", "KeyState", "Zombie"));
        assert_eq!(
            unknown.detail,
            "KeyState `Zombie` in the answer of kms:DescribeKey is not recognised by this version"
        );
        let endless = Verdict::from(&Unexpected::value("DescribeKey", "KeyState", "ä".repeat(100_000)));
        assert!(endless.detail.len() < 1_000);
    }
}
