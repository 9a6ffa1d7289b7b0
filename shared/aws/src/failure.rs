//! What a call failed with, in the product's own terms.

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use domain::failure::{Cause, Failure};
use domain::text::printable;

use crate::operation::Operation;

/// What kind of failure an operation ended with.
pub(crate) fn failure<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let cause = match error {
        SdkError::TimeoutError(_) => Cause::Timeout,
        SdkError::DispatchFailure(transport) if transport.is_timeout() => Cause::Timeout,
        SdkError::DispatchFailure(_) => Cause::ServiceError,
        SdkError::ServiceError(_) if is_of_key_store(operation, error.code()) => cause_in_key_store(error.message()),
        SdkError::ServiceError(answer) => cause_of_answer(error.code(), answer.raw().status().as_u16()),
        _ => Cause::Unexpected,
    };
    let message = match error.message() {
        Some(message) => printable(message),
        None if error.as_service_error().is_some() => String::new(),
        None => error_chain(error),
    };
    let code = error.code().map(str::to_owned);
    Failure { service: operation.service(), operation: operation.name(), cause, code, message }
}

/// Denial and throttling are not modelled everywhere: only the code tells.
fn cause_of_answer(code: Option<&str>, status: u16) -> Cause {
    match code {
        // Some services give them the status of a denial, and nobody has denied anything.
        _ if is_of_clock(code) || is_of_expiry(code) => Cause::Unexpected,
        // SNS says what happened to the topic's key by codes that begin with `KMS`.
        Some("AccessDeniedException" | "AccessDenied" | "AuthorizationError" | "KMSAccessDenied") => {
            Cause::AccessDenied
        }
        Some("NotFoundException") => Cause::NotFound,
        Some("UnsupportedOperationException") => Cause::Unsupported,
        Some(
            "ThrottlingException"
            | "ThrottledException"
            | "Throttling"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "SlowDown"
            | "ProvisionedThroughputExceededException"
            | "KMSThrottling"
            | "KMSThrottlingException",
        ) => Cause::Throttled,
        _ if status == 429 => Cause::Throttled,
        _ if status >= 500 => Cause::ServiceError,
        _ if status == 403 => Cause::AccessDenied,
        _ => Cause::Unexpected,
    }
}

/// Was the call refused for its time? The SDK has the service's from that answer, and signs the next try by it.
pub(crate) fn is_of_clock(code: Option<&str>) -> bool {
    matches!(code, Some("InvalidSignatureException" | "SignatureDoesNotMatch" | "RequestTimeTooSkewed"))
}

/// Was the call refused since its credentials had expired?
pub fn is_of_expiry(code: Option<&str>) -> bool {
    matches!(code, Some("ExpiredTokenException" | "ExpiredToken"))
}

/// Is it the failure of a key in a custom key store that may have many causes?
pub(crate) fn is_of_key_store(operation: Operation, code: Option<&str>) -> bool {
    operation.is_in_custom_key_store() && code == Some("KMSInvalidStateException")
}

/// What lies behind `KMSInvalidStateException` in a custom key store: only the message tells (AWS KMS Developer Guide,
/// "Troubleshooting external key stores").
fn cause_in_key_store(message: Option<&str>) -> Cause {
    let message = message.unwrap_or_default();
    if message.contains("very high request rate") {
        Cause::Throttled
    } else if message.contains("did not respond in time") {
        Cause::Timeout
    } else {
        Cause::Unexpected
    }
}

/// What AWS or the transport said of a failed call, in one line.
pub fn error_summary(failure: &Failure) -> String {
    match (&failure.code, failure.message.as_str()) {
        (Some(code), "") => code.clone(),
        (Some(code), message) => format!("{code}: {message}"),
        (None, "") => failure.to_string(),
        (None, message) => message.to_owned(),
    }
}

/// An error and its sources, in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_by_code_then_by_status() {
        for (code, status, cause) in [
            (Some("AccessDeniedException"), 400, Cause::AccessDenied),
            (Some("NotFoundException"), 400, Cause::NotFound),
            (Some("UnsupportedOperationException"), 400, Cause::Unsupported),
            (Some("ThrottlingException"), 400, Cause::Throttled),
            (Some("ProvisionedThroughputExceededException"), 400, Cause::Throttled),
            (Some("KMSThrottling"), 400, Cause::Throttled),
            (Some("KMSDisabled"), 400, Cause::Unexpected),
            (Some("KMSAccessDenied"), 400, Cause::AccessDenied),
            (Some("AuthorizationError"), 403, Cause::AccessDenied),
            (Some("SlowDown"), 503, Cause::Throttled),
            (Some("SignatureDoesNotMatch"), 403, Cause::Unexpected),
            (Some("ExpiredToken"), 403, Cause::Unexpected),
            (Some("KMSInternalException"), 500, Cause::ServiceError),
            (Some("DependencyTimeoutException"), 503, Cause::ServiceError),
            (None, 500, Cause::ServiceError),
            (None, 429, Cause::Throttled),
            (None, 403, Cause::AccessDenied),
            (Some("KMSInvalidStateException"), 400, Cause::Unexpected),
            (Some("BrandNewException"), 400, Cause::Unexpected),
            (None, 400, Cause::Unexpected),
        ] {
            assert_eq!(cause_of_answer(code, status), cause, "{code:?} {status}");
        }
    }

    #[test]
    fn what_passes_in_a_custom_key_store_is_told_by_the_message() {
        for (message, cause) in [
            ("KMS rejected the request due to a very high request rate.", Cause::Throttled),
            ("KMS rejected the request because the external key store proxy did not respond in time.", Cause::Timeout),
            ("KMS cannot reach the external key store proxy.", Cause::Unexpected),
            ("", Cause::Unexpected),
        ] {
            assert_eq!(cause_in_key_store(Some(message)), cause, "{message}");
        }
        assert_eq!(cause_in_key_store(None), Cause::Unexpected);
    }
}
