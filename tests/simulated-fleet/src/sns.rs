//! SNS as the functions use it: `Publish`, recorded, and refused where AWS refuses; how many subscribers a topic has.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::ApiError;

const MAX_BYTES: usize = 262_144;
const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

/// A message that was published.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// Where to.
    pub topic_arn: String,
    /// For e-mail.
    pub subject: Option<String>,
    /// The message; with structure `json` the object of messages by protocol.
    pub message: String,
    /// `json`, or nothing.
    pub message_structure: Option<String>,
    /// Message attributes by name, without their data types.
    pub attributes: BTreeMap<String, String>,
}

/// The parameters of a request in the query protocol.
pub(crate) type Form = BTreeMap<String, String>;

pub(crate) fn parse_form(body: &[u8]) -> Form {
    form_urlencoded::parse(body).into_owned().collect()
}

/// The topic that a request names.
fn topic_arn(form: &Form) -> Result<&String, ApiError> {
    let topic_arn = form
        .get("TopicArn")
        .or_else(|| form.get("TargetArn"))
        .ok_or_else(|| invalid("TopicArn or TargetArn Reason: no value for required parameter"))?;
    if topic_arn.split(':').count() != 6 || topic_arn.split(':').nth(2) != Some("sns") {
        return Err(invalid("TopicArn"));
    }
    Ok(topic_arn)
}

/// The message of a `Publish` request, if AWS would take it.
pub(crate) fn message(form: &Form) -> Result<Published, ApiError> {
    let topic_arn = topic_arn(form)?;
    let message = form.get("Message").filter(|message| !message.is_empty()).ok_or_else(|| invalid("Empty message"))?;
    let subject = form.get("Subject");
    if subject.is_some_and(|subject| !is_subject(subject)) {
        return Err(invalid("Subject"));
    }
    let mut attributes = BTreeMap::new();
    let mut bytes = message.len();
    for number in 1_u32.. {
        let Some(name) = form.get(&format!("MessageAttributes.entry.{number}.Name")) else { break };
        let part = |part: &str| form.get(&format!("MessageAttributes.entry.{number}.Value.{part}"));
        let data_type = part("DataType").map_or("", String::as_str);
        let value = part("StringValue").or_else(|| part("BinaryValue")).map_or("", String::as_str);
        if data_type.is_empty() || value.is_empty() {
            let message = format!(
                "The message attribute '{name}' must contain non-empty message attribute value for message attribute type '{data_type}'."
            );
            return Err(ApiError::bad_request("ParameterValueInvalid", message));
        }
        bytes = [name.len(), data_type.len(), value.len()].into_iter().fold(bytes, usize::saturating_add);
        attributes.insert(name.clone(), value.to_owned());
    }
    if bytes > MAX_BYTES {
        return Err(invalid("Message too long"));
    }
    let message_structure = form.get("MessageStructure");
    match message_structure.map(String::as_str) {
        None => {}
        Some("json") => check_structure(message)?,
        Some(_) => return Err(invalid("MessageStructure")),
    }
    Ok(Published {
        topic_arn: topic_arn.clone(),
        subject: subject.cloned(),
        message: message.clone(),
        message_structure: message_structure.cloned(),
        attributes,
    })
}

/// ASCII, begins with a letter, digit or punctuation mark, no control characters, under 100 characters.
fn is_subject(subject: &str) -> bool {
    subject.len() < 100
        && subject.starts_with(|first: char| first.is_ascii_graphic())
        && subject.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

fn check_structure(message: &str) -> Result<(), ApiError> {
    match serde_json::from_str(message) {
        Ok(Value::Object(messages)) => match messages.get("default") {
            Some(Value::String(_)) => Ok(()),
            _ => Err(invalid("Message Structure - No default entry in JSON message body")),
        },
        _ => Err(invalid("Message Structure - JSON message body failed to parse")),
    }
}

fn invalid(problem: &str) -> ApiError {
    ApiError::bad_request("InvalidParameter", format!("Invalid parameter: {problem}"))
}

pub(crate) fn render_published(message_id: &str, request_id: &str) -> String {
    format!(
        "<PublishResponse xmlns=\"{NAMESPACE}\"><PublishResult><MessageId>{message_id}</MessageId></PublishResult>\
         <ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></PublishResponse>"
    )
}

/// The answer to `GetTopicAttributes`, as far as functions read it.
pub(crate) fn render_attributes(form: &Form, confirmed: u32, request_id: &str) -> Result<String, ApiError> {
    let attributes = [("TopicArn", topic_arn(form)?.clone()), ("SubscriptionsConfirmed", confirmed.to_string())];
    let entry =
        |(name, value): (&str, String)| format!("<entry><key>{name}</key><value>{}</value></entry>", escape(&value));
    let entries: String = attributes.into_iter().map(entry).collect();
    Ok(format!(
        "<GetTopicAttributesResponse xmlns=\"{NAMESPACE}\"><GetTopicAttributesResult><Attributes>{entries}</Attributes>\
         </GetTopicAttributesResult><ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>\
         </GetTopicAttributesResponse>"
    ))
}

pub(crate) fn render_error(error: &ApiError, request_id: &str) -> String {
    let kind = if error.status < 500 { "Sender" } else { "Receiver" };
    format!(
        "<ErrorResponse xmlns=\"{NAMESPACE}\"><Error><Type>{kind}</Type><Code>{}</Code><Message>{}</Message></Error>\
         <RequestId>{request_id}</RequestId></ErrorResponse>",
        escape(&error.code),
        escape(&error.message)
    )
}

/// An error as S3 words it.
pub(crate) fn render_error_of_ec2(error: &ApiError, request_id: &str) -> String {
    format!("<Response><Errors>{}</Errors><RequestID>{request_id}</RequestID></Response>", render_bare_error(error))
}

pub(crate) fn render_bare_error(error: &ApiError) -> String {
    format!("<Error><Code>{}</Code><Message>{}</Message></Error>", escape(&error.code), escape(&error.message))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
