//! The record of operations in DynamoDB: what was asked, by whom by their own account, how far it got.
//!
//! | `pk` | `sk` | item |
//! |---|---|---|
//! | `<account>#<region>` | `operation#<client token>` | a request that changes something: a [`Record`] |
//! | same | `refused#<request id>` | an attempt that was refused before it could claim a record |
//!
//! A record is claimed by a conditional write: its owner is the invocation's request id, until the function's time-out.
//! Every write raises the version and is made only on the version that was read. The record is written before and after
//! each step, so that whoever comes after a crash knows which call may have been made. Only finished records expire.

use std::collections::HashMap;
use std::fmt::Write as _;

use aws::call::Calls;
use aws::failure::error_summary;
use aws::operation::{GET_ITEM, Operation, PUT_ITEM, QUERY};
use aws::pace::QuotaShare;
use aws_config::SdkConfig;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::failure::Failure;
use domain::location::Location;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use crate::answer::{Answer, State};
use crate::request::{Action, Change};

type Item = HashMap<String, AttributeValue>;

/// What is known of one request that changes something.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Record {
    /// The request's token.
    pub client_token: String,
    /// The operation.
    pub operation: String,
    /// The request, its policy by hash.
    pub request: Value,
    /// What makes it the same request: a digest of the operation and its fields.
    pub request_digest: String,
    /// Who asked, by their own account. Lambda does not say who invoked: CloudTrail does.
    pub claimed_by: String,
    /// Request ids of the invocations that worked on it, the last ones.
    pub invocations: Vec<String>,
    /// Where it stands.
    pub state: State,
    /// Number of the last write.
    pub version: u64,
    /// Request id of the invocation that works on it.
    pub owner: String,
    /// Until when it does, in milliseconds since 1970.
    pub owned_until: i64,
    /// When it was first asked for.
    #[cfg_attr(test, schemars(with = "String"))]
    pub started_at: Timestamp,
    /// When this was written.
    #[cfg_attr(test, schemars(with = "String"))]
    pub updated_at: Timestamp,
    /// When it came to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub finished_at: Option<Timestamp>,
    /// ARN of the key that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_arn: Option<String>,
    /// ARNs of everything that it has made so far.
    #[serde(default)]
    pub made: Vec<String>,
    /// Calls that change something, in their order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// When a search first found nothing of what a lost answer may have created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub searched_at: Option<Timestamp>,
    /// Since when the key is retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub retired_at: Option<Timestamp>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The answer, once it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// When it may be deleted, in seconds since 1970; only a finished one may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// A call that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Step {
    /// The call, with the Region where it is another than the function's.
    pub name: String,
    /// When it was about to be made.
    #[cfg_attr(test, schemars(with = "String"))]
    pub begun_at: Timestamp,
    /// When it was known to be made. Absent: nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub done_at: Option<Timestamp>,
    /// What was counted before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counted_before: Option<u64>,
}

/// Invocations whose request ids a record keeps.
const MAX_INVOCATIONS: usize = 20;

impl Record {
    /// The record of a request that nobody has worked on yet.
    pub fn new(change: &Change, request_id: &str, now: Timestamp) -> Self {
        let (request, request_digest) = told(&change.action);
        Self {
            client_token: change.client_token.as_str().to_owned(),
            operation: change.action.operation().as_str().to_owned(),
            request,
            request_digest,
            claimed_by: change.requested_by.as_str().to_owned(),
            invocations: Vec::new(),
            state: State::InProgress,
            version: 0,
            owner: request_id.to_owned(),
            owned_until: 0,
            started_at: now,
            updated_at: now,
            finished_at: None,
            key_arn: None,
            made: Vec::new(),
            steps: Vec::new(),
            searched_at: None,
            retired_at: None,
            problem: None,
            answer: None,
            expires_at: None,
        }
    }

    /// The step of that name, if it was begun.
    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }

    /// Is the step known to be made?
    pub fn is_done(&self, name: &str) -> bool {
        self.step(name).is_some_and(|step| step.done_at.is_some())
    }

    /// May anything have been changed for it?
    pub fn may_have_changed(&self) -> bool {
        !self.steps.is_empty() || !self.made.is_empty()
    }
}

/// The request as the record tells it, its policy by hash, and the digest of the whole.
fn told(action: &Action) -> (Value, String) {
    let mut request = serde_json::to_value(action).unwrap_or_default();
    let request_digest = digest(&request.to_string());
    if let Some(policy) = request.get_mut("policy") {
        *policy = format!("sha256:{}", digest(&policy.to_string())).into();
    }
    (request, request_digest)
}

fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes()).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a text cannot fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// What a claim ended with.
#[derive(Debug)]
pub enum Claim {
    /// The record is this invocation's.
    Mine(Box<Record>),
    /// Another invocation works on it.
    Busy(Box<Record>),
    /// It came to its end before.
    Finished(Box<Record>),
    /// The token belongs to another request.
    OtherRequest(Box<Record>),
}

/// The table cannot be worked with.
#[derive(Debug, thiserror::Error)]
#[error("the record of operations {table} is out of reach: {cause}")]
pub struct RecordUnavailable {
    table: String,
    cause: String,
}

/// The part of the table that belongs to one account and Region.
#[derive(Debug)]
pub struct RecordTable {
    client: aws_sdk_dynamodb::Client,
    calls: Calls,
    name: String,
    partition: String,
    until: Instant,
}

impl RecordTable {
    /// The table of that name, as far as it belongs to the location. It counts as out of reach from `until` on.
    pub fn new(config: &SdkConfig, name: &str, location: &Location, until: Instant) -> Self {
        Self {
            until,
            client: aws_sdk_dynamodb::Client::new(config),
            calls: Calls::new(QuotaShare::WHOLE),
            name: name.to_owned(),
            partition: format!("{}#{}", location.account_id, location.region),
        }
    }

    /// Makes a call that a function which has to answer does not wait for.
    async fn make<T, E>(
        &self,
        operation: Operation,
        request: impl AsyncFn() -> Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let made = timeout_at(self.until, self.calls.make(operation, request)).await;
        made.unwrap_or_else(|_| Err(operation.unreadable("time ran out")))
    }

    fn unavailable(&self, cause: impl Into<String>) -> RecordUnavailable {
        RecordUnavailable { table: self.name.clone(), cause: cause.into() }
    }

    fn failed(&self, failure: &Failure) -> RecordUnavailable {
        self.unavailable(error_summary(failure))
    }

    fn key(&self, sort_key: &str) -> Item {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        HashMap::from([("pk".to_owned(), text(&self.partition)), ("sk".to_owned(), text(sort_key))])
    }

    /// Claims the request's record until `until`.
    ///
    /// # Errors
    /// The table is out of reach.
    pub async fn claim(
        &self,
        change: &Change,
        request_id: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Claim, RecordUnavailable> {
        let mut record = match self.get(change.client_token.as_str()).await? {
            None => Record::new(change, request_id, now),
            Some(record) if record.request_digest != told(&change.action).1 => {
                return Ok(Claim::OtherRequest(Box::new(record)));
            }
            Some(record) if record.state == State::Succeeded => return Ok(Claim::Finished(Box::new(record))),
            Some(record) if record.owned_until > now.as_millisecond() && record.owner != request_id => {
                return Ok(Claim::Busy(Box::new(record)));
            }
            Some(record) => record,
        };
        request_id.clone_into(&mut record.owner);
        record.owned_until = until.as_millisecond();
        record.state = State::InProgress;
        (record.finished_at, record.expires_at) = (None, None);
        record.invocations.push(request_id.to_owned());
        let surplus = record.invocations.len().saturating_sub(MAX_INVOCATIONS);
        record.invocations.drain(..surplus);
        if self.save(&mut record, now).await? {
            return Ok(Claim::Mine(Box::new(record)));
        }
        // Somebody else was faster, with the same request or another.
        match self.get(change.client_token.as_str()).await? {
            Some(other) if other.request_digest != record.request_digest => Ok(Claim::OtherRequest(Box::new(other))),
            Some(other) => Ok(Claim::Busy(Box::new(other))),
            None => Err(self.unavailable("a record was there and is gone")),
        }
    }

    /// Writes the record, if nobody else has since it was read. Is it still this invocation's?
    ///
    /// # Errors
    /// The table is out of reach.
    pub async fn save(&self, record: &mut Record, now: Timestamp) -> Result<bool, RecordUnavailable> {
        let mut before = record.version;
        record.updated_at = now;
        loop {
            record.version = before + 1;
            match self.put(record, before).await {
                Ok(()) => return Ok(true),
                Err(failure) if failure.code.as_deref() == Some("ConditionalCheckFailedException") => {}
                Err(failure) => {
                    record.version = before;
                    return Err(self.failed(&failure));
                }
            }
            match self.get(&record.client_token).await? {
                // The answer to a first try was lost.
                Some(stored) if stored == *record => return Ok(true),
                // An earlier write was applied after all.
                Some(stored) if stored.owner == record.owner && stored.version > before => before = stored.version,
                _ => return Ok(false),
            }
        }
    }

    async fn put(&self, record: &Record, before: u64) -> Result<(), Failure> {
        let sort_key = format!("operation#{}", record.client_token);
        let item = self.item(&sort_key, record).map_err(|error| PUT_ITEM.unreadable(&error.to_string()))?;
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        let request = if before == 0 {
            request.condition_expression("attribute_not_exists(#version)")
        } else {
            request
                .condition_expression("#version = :before")
                .expression_attribute_values(":before", AttributeValue::N(before.to_string()))
        };
        let request = request.expression_attribute_names("#version", "version");
        self.make(PUT_ITEM, async || request.clone().send().await).await.map(|_| ())
    }

    /// Notes an attempt that was refused before it could claim a record.
    ///
    /// # Errors
    /// The table is out of reach.
    pub async fn refuse(
        &self,
        change: &Change,
        request_id: &str,
        problem: &str,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), RecordUnavailable> {
        let mut record = Record::new(change, request_id, now);
        record.state = State::NotAllowed;
        record.problem = Some(problem.to_owned());
        record.finished_at = Some(now);
        record.expires_at = Some(expires_at.as_second());
        record.invocations.push(request_id.to_owned());
        let item = self.item(&format!("refused#{request_id}"), &record)?;
        let request = self.client.put_item().table_name(&self.name).set_item(Some(item));
        let put = self.make(PUT_ITEM, async || request.clone().send().await).await;
        put.map(|_| ()).map_err(|failure| self.failed(&failure))
    }

    fn item(&self, sort_key: &str, record: &Record) -> Result<Item, RecordUnavailable> {
        let mut item: Item =
            serde_dynamo::aws_sdk_dynamodb_1::to_item(record).map_err(|error| self.unavailable(error.to_string()))?;
        item.extend(self.key(sort_key));
        Ok(item)
    }

    fn record(&self, item: Item) -> Result<Record, RecordUnavailable> {
        serde_dynamo::aws_sdk_dynamodb_1::from_item(item)
            .map_err(|error| self.unavailable(format!("an item makes no sense: {error}")))
    }

    /// The record of the token.
    ///
    /// # Errors
    /// The table is out of reach, or the record makes no sense.
    pub async fn get(&self, client_token: &str) -> Result<Option<Record>, RecordUnavailable> {
        let request = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(self.key(&format!("operation#{client_token}"))))
            .consistent_read(true);
        let answer = self.make(GET_ITEM, async || request.clone().send().await).await;
        let item = answer.map_err(|failure| self.failed(&failure))?.item;
        item.map(|item| self.record(item)).transpose()
    }

    /// All records that are kept.
    ///
    /// # Errors
    /// The table is out of reach, or a record makes no sense: what cannot be read may be the one that matters.
    pub async fn all(&self) -> Result<Vec<Record>, RecordUnavailable> {
        let request = self
            .client
            .query()
            .table_name(&self.name)
            .consistent_read(true)
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_values(":pk", AttributeValue::S(self.partition.clone()));
        let mut records = Vec::new();
        let mut start = None;
        loop {
            let query = async || request.clone().set_exclusive_start_key(start.clone()).send().await;
            let page = self.make(QUERY, query).await.map_err(|failure| self.failed(&failure))?;
            for item in page.items.unwrap_or_default() {
                records.push(self.record(item)?);
            }
            start = page.last_evaluated_key.filter(|key| !key.is_empty());
            if start.is_none() {
                return Ok(records);
            }
        }
    }
}
