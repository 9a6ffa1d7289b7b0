//! The topic that alerts go to.

use aws::failure::error_summary;
use aws::operation::PUBLISH;
use aws_sdk_sns::types::MessageAttributeValue;
use domain::report::Report;
use outputs::alert::Alert;
use tokio::time::{Instant, timeout_at};

use crate::error::RunError;
use crate::target::Home;

/// Publishes one alert.
///
/// # Errors
/// [`RunError::AlertNotDelivered`] if the topic did not take it by `until`.
pub(crate) async fn publish(home: &Home, alert: &Alert, report: &Report, until: Instant) -> Result<(), RunError> {
    let topic_arn = &home.settings.topic_arn;
    let not_delivered = |cause| RunError::AlertNotDelivered { topic_arn: topic_arn.clone(), cause };
    let attribute = |value: &str| {
        MessageAttributeValue::builder()
            .data_type("String")
            .string_value(value)
            .build()
            .map_err(|error| not_delivered(error.to_string()))
    };
    let request = home
        .sns
        .publish()
        .topic_arn(topic_arn)
        .subject(&alert.subject)
        .message_structure("json")
        .message(alert.message())
        .message_attributes("severity", attribute(alert.severity.as_str())?)
        .message_attributes("function", attribute(report.function)?)
        .message_attributes("account_id", attribute(&report.location.account_id)?)
        .message_attributes("region", attribute(&report.location.region)?);
    match timeout_at(until, home.calls.make(PUBLISH, async || request.clone().send().await)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(failure)) => Err(not_delivered(error_summary(&failure))),
        Err(_) => Err(not_delivered("the time of the invocation ran out".to_owned())),
    }
}
