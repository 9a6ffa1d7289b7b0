//! What a call failed with, in the product's own terms.

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use domain::failure::{Cause, Failure};

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
        SdkError::ServiceError(answer) => cause_of_answer(error.code(), answer.raw().status().as_u16()),
        _ => Cause::Unexpected,
    };
    let message = match error.message() {
        Some(message) => message.to_owned(),
        None if error.as_service_error().is_some() => String::new(),
        None => error_chain(error),
    };
    let code = error.code().map(str::to_owned);
    Failure { service: operation.service(), operation: operation.name(), cause, code, message }
}

/// Denial and throttling are not modelled everywhere: only the code tells.
fn cause_of_answer(code: Option<&str>, status: u16) -> Cause {
    match code {
        Some("AccessDeniedException" | "AccessDenied") => Cause::AccessDenied,
        Some("NotFoundException") => Cause::NotFound,
        Some("UnsupportedOperationException") => Cause::Unsupported,
        Some(
            "ThrottlingException"
            | "ThrottledException"
            | "Throttling"
            | "TooManyRequestsException"
            | "RequestLimitExceeded"
            | "ProvisionedThroughputExceededException",
        ) => Cause::Throttled,
        _ if status == 429 => Cause::Throttled,
        _ if status >= 500 => Cause::ServiceError,
        _ if status == 403 => Cause::AccessDenied,
        _ => Cause::Unexpected,
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
}
