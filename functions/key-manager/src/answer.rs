//! What requests are answered with. The record keeps the answer of a finished one.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::Record;
use crate::request::AuditFormat;

/// Where an operation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum State {
    /// Only what would be done is said.
    DryRun,
    /// It is at work, or waits for AWS: the same request again goes on with it.
    InProgress,
    /// An answer was lost, and it is not known yet whether something was created.
    OutcomeUnknown,
    /// Something failed half-way: the same request again completes it.
    Failed,
    /// A rule refused it.
    NotAllowed,
    /// All is done.
    Succeeded,
}

/// The answer to a request that changes something.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Answer {
    /// The operation.
    #[cfg_attr(test, schemars(extend("enum" = changing())))]
    pub operation: String,
    /// The request's token.
    pub client_token: String,
    /// `succeeded`, `in_progress` or `dry_run`.
    pub state: State,
    /// ARN of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_arn: Option<String>,
    /// The key's alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// ARN of the key that the alias stood for before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_key_arn: Option<String>,
    /// Replicas in other Regions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replicas: Vec<Replica>,
    /// Days between two automatic rotations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_period_days: Option<i32>,
    /// When the key was rotated, as `ListKeyRotations` shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub rotated_at: Option<Timestamp>,
    /// Since when the key is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub retired_at: Option<Timestamp>,
    /// When KMS deletes the key, unless that is cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub deletion_at: Option<Timestamp>,
    /// State of the key afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_state: Option<String>,
    /// What is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Of a `dry_run`: what would be done, in its order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would_do: Vec<String>,
    /// Of a `dry_run`: the policy that a new key would get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Value>,
    /// The request was carried out before: this is its answer of then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeated: bool,
}

/// A replica.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Replica {
    /// Its Region.
    pub region: String,
    /// Its ARN.
    pub key_arn: String,
    /// Its state.
    pub key_state: String,
}

/// The answer to `list_operations`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Operations {
    /// `list_operations`.
    #[cfg_attr(test, schemars(extend("const" = "list_operations")))]
    pub operation: &'static str,
    /// What was done, the newest first.
    pub operations: Vec<Record>,
    /// How many there are besides.
    pub operations_omitted: usize,
}

/// An audit for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct AuditForPeople {
    /// `audit_key`.
    #[cfg_attr(test, schemars(extend("const" = "audit_key")))]
    pub operation: &'static str,
    /// `table` or `page`.
    #[cfg_attr(test, schemars(extend("enum" = ["table", "page"])))]
    pub format: AuditFormat,
    /// Text in columns, or HTML.
    pub content: String,
}

/// Operations that change something.
#[cfg(test)]
fn changing() -> Vec<&'static str> {
    use crate::request::OperationName;
    OperationName::ALL.into_iter().filter(|it| it.changes()).map(OperationName::as_str).collect()
}

impl Answer {
    /// An answer that says nothing yet.
    pub fn new(operation: &str, client_token: &str, state: State) -> Self {
        Self {
            operation: operation.to_owned(),
            client_token: client_token.to_owned(),
            state,
            key_arn: None,
            alias: None,
            previous_key_arn: None,
            replicas: Vec::new(),
            rotation_period_days: None,
            rotated_at: None,
            retired_at: None,
            deletion_at: None,
            key_state: None,
            waiting_for: None,
            would_do: Vec::new(),
            policy: None,
            repeated: false,
        }
    }
}
