//! Publishing an alert to the topic.

use aws_config::SdkConfig;
use aws_sdk_sns::types::MessageAttributeValue;
use tokio::time::{Instant, timeout_at};

use crate::client::in_words;
use crate::domain::digest::Digest;
use crate::domain::report::Report;
use crate::error::RunError;

/// Publishes one alert. The SDK retries what may pass.
///
/// # Errors
/// [`RunError::AlertNotDelivered`] if the topic did not take it by `until`.
pub async fn publish(
    config: &SdkConfig,
    topic_arn: &str,
    digest: &Digest,
    report: &Report,
    until: Instant,
) -> Result<(), RunError> {
    let not_delivered = |cause| RunError::AlertNotDelivered { topic_arn: topic_arn.to_owned(), cause };
    let attribute = |value: &str| {
        MessageAttributeValue::builder()
            .data_type("String")
            .string_value(value)
            .build()
            .map_err(|error| not_delivered(error.to_string()))
    };
    let request = aws_sdk_sns::Client::new(config)
        .publish()
        .topic_arn(topic_arn)
        .subject(&digest.subject)
        .message_structure("json")
        .message(digest.message())
        .message_attributes("severity", attribute(digest.severity.as_str())?)
        .message_attributes("function", attribute(report.function)?)
        .message_attributes("account_id", attribute(&report.account_id)?)
        .message_attributes("region", attribute(&report.region)?);
    match timeout_at(until, request.send()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(not_delivered(in_words(&error))),
        Err(_) => Err(not_delivered("the time of the invocation ran out".to_owned())),
    }
}
