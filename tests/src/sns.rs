//! SNS as the functions use it: `Publish`, recorded.

use std::collections::BTreeMap;

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
