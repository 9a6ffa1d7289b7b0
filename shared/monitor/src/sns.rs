//! The topic that alerts go to.

use aws::failure::error_summary;
use aws::operation::{GET_TOPIC_ATTRIBUTES, PUBLISH};
use aws_sdk_sns::types::MessageAttributeValue;
use domain::failure::Failure;
use tokio::time::{Instant, timeout_at};

use crate::error::RunError;
use crate::target::Home;

/// A message for a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Printable ASCII, under 100 characters; empty where the message has none.
    pub subject: String,
    /// The text; where it is structured, the JSON object of one text for each protocol.
    pub text: String,
    /// Is it structured?
    pub is_structured: bool,
    /// Attributes for filter policies: name, value, and whether the value is an array in JSON.
    pub attributes: Vec<(&'static str, String, bool)>,
}

/// Publishes one message.
///
/// # Errors
/// [`RunError::AlertNotDelivered`] if the topic did not take it by `until`.
pub async fn publish(home: &Home, topic_arn: &str, message: &Message, until: Instant) -> Result<(), RunError> {
    let not_delivered = |cause| RunError::AlertNotDelivered { topic_arn: topic_arn.to_owned(), cause };
    let mut request = home.sns.publish().topic_arn(topic_arn).message(&message.text);
    if !message.subject.is_empty() {
        request = request.subject(&message.subject);
    }
    if message.is_structured {
        request = request.message_structure("json");
    }
    for (name, value, is_array) in &message.attributes {
        let data_type = if *is_array { "String.Array" } else { "String" };
        let attribute = MessageAttributeValue::builder().data_type(data_type).string_value(value).build();
        request = request.message_attributes(*name, attribute.map_err(|error| not_delivered(error.to_string()))?);
    }
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
pub async fn nobody_listens(home: &Home, until: Instant) -> bool {
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
