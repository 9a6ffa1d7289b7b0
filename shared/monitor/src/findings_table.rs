//! The findings ledger in DynamoDB.
//!
//! | `pk` | `sk` | item |
//! |---|---|---|
//! | `<account>#<region>#<function>` | `progress` | with which key the next run over all keys begins |
//! | `<account>#<region>#<function>` | `lease` | the run that may tell the team: its owner, and when its time ends |
//! | same | `open#<key ARN>#<control>#<compliance>` | an open finding: a [`Record`] |
//! | same | `past#<key ARN>#<control>#<compliance>#<first seen>` | a resolved one, until `expires_at` |
//! | `run#<execution>` | `<account>#<region>#<function>` | what came of one check, see [`outcomes`](crate::outcomes) |
//! | `reporter` | `lease` | the reporter that is at work |
//!
//! An open finding of which anything is pending has the attribute `waits`, `pending#0` to `pending#15` by a hash of its
//! partition. The sparse index of the same name (partition key `waits`, sort key `pk`, keys only) finds the partitions in
//! which something waits; what waits there is read from the table itself, consistently.
//!
//! A run takes the lease, reads what is open, and gives the lease back at its end. Before it writes anything else it says on
//! the lease that it is about to tell: from then on not even another delivery of the same event may take over, since
//! nobody could know whether the alert went out.

use std::borrow::Borrow;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aws::failure::error_summary;
use aws::operation::{BATCH_WRITE_ITEM, DELETE_ITEM, PUT_ITEM, QUERY, SCAN};
use aws::pages::Pages;
use aws_sdk_dynamodb::operation::put_item::builders::PutItemFluentBuilder;
use aws_sdk_dynamodb::operation::query::QueryOutput;
use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, PutRequest, WriteRequest};
use domain::failure::Failure;
use domain::ledger::Record;
use domain::location::Location;
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use outputs::digest::Part;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout_at};

use crate::error::RunError;
use crate::target::Home;

/// Most items that one `BatchWriteItem` takes.
const ITEMS_A_BATCH: usize = 25;

/// Batches that are on their way at the same time.
const BATCHES_AT_A_TIME: usize = 8;

/// The sort key of the item that says how far the last run over all keys came.
const PROGRESS: &str = "progress";

/// The first wait before a lease is asked for again, or before items that DynamoDB left out are sent again. It doubles.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest such wait.
const MAX_WAIT: Duration = Duration::from_secs(3);

pub(crate) type Item = HashMap<String, AttributeValue>;

/// Name of the sparse index, and of its partition key.
const WAITS: &str = "waits";

/// Partitions of that index.
const WAITING_PARTITIONS: u32 = 16;

/// The part of the findings table that belongs to one account, Region and function.
#[derive(Debug)]
pub struct FindingsTable<'a> {
    home: &'a Home,
    name: &'a str,
    partition: String,
    retention: SignedDuration,
}

/// The right to tell the team. It ends by itself at the deadline of the invocation that took it.
#[derive(Debug)]
pub struct Lease {
    owner: String,
    attempt: String,
    ends_at: Timestamp,
}

/// What writing one item by a condition ended with.
enum Conditional {
    Done,
    Refused,
}

/// A finding with what its partition says of it, and whether it waits to be told.
#[derive(Serialize)]
struct Open<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(flatten)]
    part: Part<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    waits: Option<String>,
}

/// A resolved finding with the time, in seconds since 1970, after which DynamoDB deletes it.
#[derive(Serialize)]
struct Past<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(flatten)]
    part: Part<'a>,
    expires_at: i64,
}

impl Home {
    /// What the home's ledger holds of the open findings of one function and location. Nothing if the home has no table.
    ///
    /// # Errors
    /// [`RunError::LedgerUnavailable`].
    pub async fn open_findings(
        &self,
        location: &Location,
        function: &str,
        until: Instant,
    ) -> Result<Vec<Record>, RunError> {
        match FindingsTable::of(self, location, function) {
            Some(table) => table.read(until).await,
            None => Ok(Vec::new()),
        }
    }
}

impl<'a> FindingsTable<'a> {
    /// The home's table, as far as it belongs to a function and the keys of one location; `None` if the home has none.
    pub fn of(home: &'a Home, location: &Location, function: &str) -> Option<Self> {
        let Location { account_id, region, .. } = location;
        Self::partition(home, format!("{account_id}#{region}#{function}"))
    }

    /// One partition of the home's table; `None` if the home has none.
    pub fn partition(home: &'a Home, partition: String) -> Option<Self> {
        Some(Self {
            name: home.settings.findings_table.as_deref()?,
            home,
            partition,
            retention: SignedDuration::from_hours(24 * i64::from(home.settings.resolved_retention_days)),
        })
    }

    /// The partition of the reporter itself, for its lease.
    pub fn of_reporter(home: &'a Home) -> Option<Self> {
        Self::partition(home, "reporter".to_owned())
    }

    /// Whose it is.
    pub fn part(&self) -> Part<'_> {
        let mut names = self.partition.splitn(3, '#');
        let mut name = || names.next().unwrap_or_default();
        Part { account_id: name(), region: name(), function: name() }
    }

    fn unavailable(&self, cause: impl Into<String>) -> RunError {
        RunError::LedgerUnavailable { table: self.name.to_owned(), cause: cause.into() }
    }

    fn failed(&self, failure: &Failure) -> RunError {
        self.unavailable(error_summary(failure))
    }

    fn out_of_time(&self) -> RunError {
        self.unavailable("the time of the invocation ran out")
    }

    fn item(&self, sort_key: &str) -> Item {
        let text = |text: &str| AttributeValue::S(text.to_owned());
        HashMap::from([("pk".to_owned(), text(&self.partition)), ("sk".to_owned(), text(sort_key))])
    }

    /// Takes the lease until `ends_at`, at the latest by `patience`: while another run holds it, this one waits. Another
    /// attempt at the same event (`owner`) is taken over, unless it is about to tell. `attempt` is unique.
    ///
    /// # Errors
    /// [`RunError::LedgerUnavailable`] if the table is out of reach, or if the other run goes on for longer.
    pub async fn take_lease(
        &self,
        owner: &str,
        attempt: String,
        now: Timestamp,
        ends_at: Timestamp,
        patience: Instant,
    ) -> Result<Lease, RunError> {
        let lease = Lease { owner: owner.to_owned(), attempt, ends_at };
        let mut wait = FIRST_WAIT;
        let mut waited = Duration::ZERO;
        let take = async {
            loop {
                let by_now = now.saturating_add(waited).unwrap_or(now);
                let request = self
                    .put_lease(&lease, false)
                    .condition_expression(
                        "attribute_not_exists(#owner) OR #ends_at <= :now OR (#owner = :owner AND #telling = :no)",
                    )
                    .expression_attribute_names("#owner", "owner")
                    .expression_attribute_names("#ends_at", "ends_at")
                    .expression_attribute_names("#telling", "telling")
                    .expression_attribute_values(":now", milliseconds(by_now))
                    .expression_attribute_values(":owner", AttributeValue::S(lease.owner.clone()))
                    .expression_attribute_values(":no", AttributeValue::Bool(false));
                if let Conditional::Done = self.put_if(request).await? {
                    return Ok(());
                }
                if waited.is_zero() {
                    tracing::info!("another run is at work: waiting for its end");
                }
                sleep(wait).await;
                waited += wait;
                wait = (wait * 2).min(MAX_WAIT);
            }
        };
        match timeout_at(patience, take).await {
            Ok(taken) => taken.map(|()| lease),
            Err(_) if waited.is_zero() => Err(self.out_of_time()),
            Err(_) => Err(RunError::LedgerBusy { table: self.name.to_owned() }),
        }
    }

    /// Says that the run is about to tell the team. Is the lease still its own?
    ///
    /// # Errors
    /// [`RunError::LedgerUnavailable`].
    pub async fn hold(&self, lease: &Lease, until: Instant) -> Result<bool, RunError> {
        let request = self
            .put_lease(lease, true)
            .condition_expression("#attempt = :attempt")
            .expression_attribute_names("#attempt", "attempt")
            .expression_attribute_values(":attempt", AttributeValue::S(lease.attempt.clone()));
        match timeout_at(until, self.put_if(request)).await {
            Ok(result) => Ok(matches!(result?, Conditional::Done)),
            Err(_) => Err(self.out_of_time()),
        }
    }

    /// Gives the lease back. If that fails, it ends by itself.
    pub async fn release(&self, lease: &Lease, until: Instant) {
        let request = self
            .home
            .dynamodb
            .delete_item()
            .table_name(self.name)
            .set_key(Some(self.item("lease")))
            .condition_expression("#attempt = :attempt")
            .expression_attribute_names("#attempt", "attempt")
            .expression_attribute_values(":attempt", AttributeValue::S(lease.attempt.clone()));
        let delete = self.home.calls.make(DELETE_ITEM, async || request.clone().send().await);
        match timeout_at(until, delete).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) if is_refused(&failure) => {
                tracing::warn!("the lease is no longer this run's");
            }
            Ok(Err(failure)) => tracing::warn!(error = error_summary(&failure), "the lease stays until its end"),
            Err(_) => tracing::warn!("time ran short: the lease stays until its end"),
        }
    }

    fn put_lease(&self, lease: &Lease, telling: bool) -> PutItemFluentBuilder {
        self.home
            .dynamodb
            .put_item()
            .table_name(self.name)
            .set_item(Some(self.item("lease")))
            .item("owner", AttributeValue::S(lease.owner.clone()))
            .item("attempt", AttributeValue::S(lease.attempt.clone()))
            .item("ends_at", milliseconds(lease.ends_at))
            .item("telling", AttributeValue::Bool(telling))
    }

    async fn put_if(&self, request: PutItemFluentBuilder) -> Result<Conditional, RunError> {
        match self.home.calls.make(PUT_ITEM, async || request.clone().send().await).await {
            Ok(_) => Ok(Conditional::Done),
            Err(failure) if is_refused(&failure) => Ok(Conditional::Refused),
            Err(failure) => Err(self.failed(&failure)),
        }
    }

    /// Reads what is open. An item that makes no sense is left out: if the finding is still there, it is told as new.
    ///
    /// # Errors
    /// [`RunError::LedgerUnavailable`].
    pub async fn read(&self, until: Instant) -> Result<Vec<Record>, RunError> {
        let request = self
            .home
            .dynamodb
            .query()
            .table_name(self.name)
            .consistent_read(true)
            .key_condition_expression("#pk = :pk AND begins_with(#sk, :open)")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_names("#sk", "sk")
            .expression_attribute_values(":pk", AttributeValue::S(self.partition.clone()))
            .expression_attribute_values(":open", AttributeValue::S("open#".to_owned()));
        let mut records = Vec::new();
        let mut pages = Pages::of(QUERY);
        let ask = async |start: Option<Item>| {
            let query = async || request.clone().set_exclusive_start_key(start.clone()).send().await;
            self.home.calls.make(QUERY, query).await
        };
        loop {
            let page = timeout_at(until, pages.next(ask, |page| more(page.last_evaluated_key.as_ref()))).await;
            let page = page.map_err(|_| self.out_of_time())?.map_err(|failure| self.failed(&failure))?;
            let Some(page) = page else { return Ok(records) };
            records.extend(page.items.unwrap_or_default().into_iter().filter_map(open_record));
        }
    }

    /// The key that the last run over all keys did not come to, if it did not come to all.
    ///
    /// # Errors
    /// [`RunError::LedgerUnavailable`].
    pub async fn next_key(&self, until: Instant) -> Result<Option<String>, RunError> {
        let request = self
            .home
            .dynamodb
            .query()
            .table_name(self.name)
            .consistent_read(true)
            .key_condition_expression("#pk = :pk AND #sk = :progress")
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_names("#sk", "sk")
            .expression_attribute_values(":pk", AttributeValue::S(self.partition.clone()))
            .expression_attribute_values(":progress", AttributeValue::S(PROGRESS.to_owned()));
        let query = self.home.calls.make(QUERY, async || request.clone().send().await);
        let page = timeout_at(until, query).await.map_err(|_| self.out_of_time())?;
        let items = page.map_err(|failure| self.failed(&failure))?.items.unwrap_or_default();
        Ok(items.first().and_then(|item| item.get("next_key")?.as_s().ok().cloned()))
    }

    /// Says with which key the next run over all keys should begin. If that fails, it begins where this one did.
    pub async fn keep_next_key(&self, key_id: &str, until: Instant) {
        let request = self
            .home
            .dynamodb
            .put_item()
            .table_name(self.name)
            .set_item(Some(self.item(PROGRESS)))
            .item("next_key", AttributeValue::S(key_id.to_owned()));
        let put = self.home.calls.make(PUT_ITEM, async || request.clone().send().await);
        match timeout_at(until, put).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => {
                tracing::warn!(error = error_summary(&failure), "the next run begins where this one did");
            }
            Err(_) => tracing::warn!("time ran short: the next run begins where this one did"),
        }
    }

    /// Writes open findings.
    ///
    /// # Errors
    /// [`RunError::LedgerUnavailable`] if not all are written by `until`.
    pub async fn write<R: Borrow<Record>>(
        &self,
        records: impl Iterator<Item = R>,
        until: Instant,
    ) -> Result<(), RunError> {
        let put = |record: &Record| {
            self.put(&open_key(record), Open { record, part: self.part(), waits: self.waits(record) })
        };
        self.send(records.map(|record| put(record.borrow())), until).await
    }

    /// Where in the index a finding waits; nowhere if nothing of it is pending.
    fn waits(&self, record: &Record) -> Option<String> {
        record.is_pending().then(|| waiting_partition(fnv_1a(&self.partition) % WAITING_PARTITIONS))
    }

    /// Moves findings from the open to the past ones. Done twice, it does no harm.
    ///
    /// # Errors
    /// [`RunError::LedgerUnavailable`] if not all are moved by `until`.
    pub async fn close(&self, records: &[Record], now: Timestamp, until: Instant) -> Result<(), RunError> {
        let expires_at = now.saturating_add(self.retention).unwrap_or(Timestamp::MAX).as_second();
        let puts = records.iter().map(|record| {
            let sort_key = format!("past{}#{}", open_key(record).trim_start_matches("open"), record.first_seen);
            self.put(&sort_key, Past { record, part: self.part(), expires_at })
        });
        self.send(puts, until).await?;
        self.send(records.iter().map(|record| self.delete(&open_key(record))), until).await
    }

    fn put(&self, sort_key: &str, content: impl Serialize) -> Result<WriteRequest, RunError> {
        let mut item: Item =
            serde_dynamo::aws_sdk_dynamodb_1::to_item(content).map_err(|error| self.unavailable(error.to_string()))?;
        item.extend(self.item(sort_key));
        let request = PutRequest::builder().set_item(Some(item)).build();
        let request = request.map_err(|error| self.unavailable(error.to_string()))?;
        Ok(WriteRequest::builder().put_request(request).build())
    }

    fn delete(&self, sort_key: &str) -> Result<WriteRequest, RunError> {
        let request = DeleteRequest::builder().set_key(Some(self.item(sort_key))).build();
        let request = request.map_err(|error| self.unavailable(error.to_string()))?;
        Ok(WriteRequest::builder().delete_request(request).build())
    }

    /// Sends the writes in batches. Each batch is made when its turn comes: a write takes several times the memory of its
    /// record.
    async fn send(
        &self,
        mut writes: impl Iterator<Item = Result<WriteRequest, RunError>>,
        until: Instant,
    ) -> Result<(), RunError> {
        let batches = std::iter::from_fn(|| {
            let batch: Vec<_> = writes.by_ref().take(ITEMS_A_BATCH).collect();
            (!batch.is_empty()).then(|| batch.into_iter().collect::<Result<Vec<_>, _>>())
        });
        let sent = futures::stream::iter(batches)
            .map(async |batch| self.send_batch(batch?).await)
            .buffer_unordered(BATCHES_AT_A_TIME)
            .try_collect();
        timeout_at(until, sent).await.unwrap_or_else(|_| Err(self.out_of_time()))
    }

    /// Sends one batch until DynamoDB has taken all of it. The caller bounds the time.
    async fn send_batch(&self, mut batch: Vec<WriteRequest>) -> Result<(), RunError> {
        let mut wait = FIRST_WAIT;
        loop {
            let request = self.home.dynamodb.batch_write_item().request_items(self.name, batch);
            let answer = self.home.calls.make(BATCH_WRITE_ITEM, async || request.clone().send().await).await;
            let answer = answer.map_err(|failure| self.failed(&failure))?;
            batch = answer.unprocessed_items.unwrap_or_default().into_values().flatten().collect();
            if batch.is_empty() {
                return Ok(());
            }
            sleep(wait).await;
            wait = (wait * 2).min(MAX_WAIT);
        }
    }
}

/// The partitions of the home's table in which something waits to be told, as far as the index knows by now.
///
/// # Errors
/// [`RunError::LedgerUnavailable`].
pub async fn waiting(home: &Home, until: Instant) -> Result<BTreeSet<String>, RunError> {
    let queries = (0..WAITING_PARTITIONS).map(|n| waiting_in(home, waiting_partition(n), until));
    let found: Vec<BTreeSet<String>> = try_join_all(queries).await?;
    Ok(found.into_iter().flatten().collect())
}

/// Those of one partition of the index. Each page is asked for what comes after the last partition that is known: however
/// many findings of it wait, they are read once.
async fn waiting_in(home: &Home, waits: String, until: Instant) -> Result<BTreeSet<String>, RunError> {
    let name = home.settings.findings_table.as_deref().unwrap_or_default();
    let unavailable = |cause: String| RunError::LedgerUnavailable { table: name.to_owned(), cause };
    let mut found = BTreeSet::new();
    let mut pages = Pages::of(QUERY);
    let ask = async |after: Option<String>| {
        // No partition's name begins with anything less.
        let after = after.unwrap_or_else(|| "#".to_owned());
        let request = home
            .dynamodb
            .query()
            .table_name(name)
            .index_name(WAITS)
            .key_condition_expression("#waits = :waits AND #pk > :after")
            .expression_attribute_names("#waits", WAITS)
            .expression_attribute_names("#pk", "pk")
            .expression_attribute_values(":waits", AttributeValue::S(waits.clone()))
            .expression_attribute_values(":after", AttributeValue::S(after));
        home.calls.make(QUERY, async || request.clone().send().await).await
    };
    let partition = |item: &Item| item.get("pk")?.as_s().ok().cloned();
    loop {
        let turn = |page: &QueryOutput| {
            let (truncated, last) = more(page.last_evaluated_key.as_ref());
            (truncated, last.as_ref().and_then(partition))
        };
        let page = timeout_at(until, pages.next(ask, turn)).await;
        let page = page.map_err(|_| unavailable("the time of the invocation ran out".to_owned()))?;
        let Some(page) = page.map_err(|failure| unavailable(error_summary(&failure)))? else { return Ok(found) };
        found.extend(page.items.iter().flatten().filter_map(partition));
    }
}

/// Is there more behind a page, and from where on?
pub(crate) fn more(last_evaluated_key: Option<&Item>) -> (bool, Option<Item>) {
    let last = last_evaluated_key.filter(|key| !key.is_empty()).cloned();
    (last.is_some(), last)
}

fn waiting_partition(n: u32) -> String {
    format!("pending#{n}")
}

/// The hash FNV-1a: the same in every version, which is all that matters here.
fn fnv_1a(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Every open finding of the table, with the part that it stands in. An item that makes no sense is left out.
///
/// # Errors
/// [`RunError::LedgerUnavailable`].
pub async fn all_open(home: &Home, until: Instant) -> Result<Vec<(FindingsTable<'_>, Record)>, RunError> {
    let name = home.settings.findings_table.as_deref().unwrap_or_default();
    let unavailable = |cause: String| RunError::LedgerUnavailable { table: name.to_owned(), cause };
    let request = home
        .dynamodb
        .scan()
        .table_name(name)
        .consistent_read(true)
        .filter_expression("begins_with(#sk, :open)")
        .expression_attribute_names("#sk", "sk")
        .expression_attribute_values(":open", AttributeValue::S("open#".to_owned()));
    let mut open = Vec::new();
    let mut pages = Pages::of(SCAN);
    let ask = async |start: Option<Item>| {
        let scan = async || request.clone().set_exclusive_start_key(start.clone()).send().await;
        home.calls.make(SCAN, scan).await
    };
    loop {
        let page = timeout_at(until, pages.next(ask, |page| more(page.last_evaluated_key.as_ref()))).await;
        let page = page.map_err(|_| unavailable("the time of the invocation ran out".to_owned()))?;
        let Some(page) = page.map_err(|failure| unavailable(error_summary(&failure)))? else { return Ok(open) };
        open.extend(page.items.unwrap_or_default().into_iter().filter_map(|item| {
            let partition = item.get("pk")?.as_s().ok()?.clone();
            Some((FindingsTable::partition(home, partition)?, open_record(item)?))
        }));
    }
}

/// The open finding that an item holds; `None`, and a line in the log, if it makes no sense.
fn open_record(item: Item) -> Option<Record> {
    let sort_key = item.get("sk").and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
    match serde_dynamo::aws_sdk_dynamodb_1::from_item::<Record>(item) {
        Ok(record) if open_key(&record) == sort_key => return Some(record),
        Ok(_) => tracing::error!(sort_key, "the item's key in the ledger is not that of its finding"),
        Err(error) => tracing::error!(sort_key, %error, "the item in the ledger makes no sense"),
    }
    None
}

fn open_key(record: &Record) -> String {
    format!("open#{}#{}#{}", record.key_arn, record.control, record.compliance.as_str())
}

fn milliseconds(instant: Timestamp) -> AttributeValue {
    AttributeValue::N(instant.as_millisecond().to_string())
}

fn is_refused(failure: &Failure) -> bool {
    failure.code.as_deref() == Some("ConditionalCheckFailedException")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_which_others_compute() {
        for (text, hash) in [("", 0x811c_9dc5), ("a", 0xe40c_292c), ("foobar", 0xbf9c_f968)] {
            assert_eq!(fnv_1a(text), hash, "{text}");
        }
    }
}
