//! The topic that alerts go to.

use aws::failure::error_summary;
use aws::operation::{GET_TOPIC_ATTRIBUTES, PUBLISH};
use aws_sdk_sns::types::MessageAttributeValue;
use domain::failure::Failure;
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
        Ok(Err(failure)) => Err(not_delivered(cause_of(&failure))),
        Err(_) => Err(not_delivered("the time of the invocation ran out".to_owned())),
    }
}

/// What SNS said. Its codes about the topic's own key all begin alike: the words say which key they mean.
fn cause_of(failure: &Failure) -> String {
    let summary = error_summary(failure);
    match failure.code.as_deref() {
        Some(code) if code.starts_with("KMS") => format!("{summary} (it is the topic's own key that this is about)"),
        _ => summary,
    }
}

/// Is it sure that an alert would reach nobody? Where the topic does not say, somebody may listen.
pub(crate) async fn nobody_listens(home: &Home, until: Instant) -> bool {
    let request = home.sns.get_topic_attributes().topic_arn(&home.settings.topic_arn);
    let asked = home.calls.make(GET_TOPIC_ATTRIBUTES, async || request.clone().send().await);
    match timeout_at(until, asked).await {
        Ok(Ok(answer)) => {
            let confirmed = answer.attributes.as_ref().and_then(|attributes| attributes.get("SubscriptionsConfirmed"));
            confirmed.is_some_and(|count| count == "0")
        }
        Ok(Err(failure)) => {
            tracing::warn!(error = error_summary(&failure), "the topic does not say whether anybody listens");
            false
        }
        Err(_) => {
            tracing::warn!("the topic did not say in time whether anybody listens");
            false
        }
    }
}
