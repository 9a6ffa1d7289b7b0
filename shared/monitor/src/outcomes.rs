//! What came of the checks of one execution of the daily check, under `run#<execution>` in the findings table.
//!
//! A check writes its own outcome; where it failed, the state machine writes `error` and `cause` under the same key.
//! The items leave by TTL.

use aws::failure::error_summary;
use aws::operation::{PUT_ITEM, QUERY};
use aws::pages::Pages;
use aws_sdk_dynamodb::types::AttributeValue;
use domain::location::Location;
use domain::outcome::{Done, Outcome};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use crate::error::RunError;
use crate::findings_table::{self, more};
use crate::target::Home;

/// How long an outcome is kept.
const RETENTION: SignedDuration = SignedDuration::from_hours(24 * 30);

/// A check's outcome as an item.
#[derive(Serialize)]
struct Item<'a> {
    pk: String,
    sk: String,
    function: &'a str,
    account_id: &'a str,
    region: &'a str,
    evaluated_at: Timestamp,
    expires_at: i64,
    #[serde(flatten)]
    done: &'a Done,
}

fn unavailable(home: &Home, cause: impl Into<String>) -> RunError {
    let table = home.settings.findings_table.clone().unwrap_or_default();
    RunError::LedgerUnavailable { table, cause: cause.into() }
}

/// Writes what a function did for one target. Done twice, it does no harm.
///
/// # Errors
/// [`RunError::LedgerUnavailable`].
pub async fn write(
    home: &Home,
    execution: &str,
    location: &Location,
    function: &str,
    done: &Done,
    now: Timestamp,
    until: Instant,
) -> Result<(), RunError> {
    let Location { account_id, region, .. } = location;
    let item = Item {
        pk: partition(execution),
        sk: format!("{account_id}#{region}#{function}"),
        function,
        account_id,
        region,
        evaluated_at: now,
        expires_at: now.saturating_add(RETENTION).unwrap_or(Timestamp::MAX).as_second(),
        done,
    };
    let item = serde_dynamo::aws_sdk_dynamodb_1::to_item(item).map_err(|error| unavailable(home, error.to_string()))?;
    let table = home.settings.findings_table.as_deref().unwrap_or_default();
    let request = home.dynamodb.put_item().table_name(table).set_item(Some(item));
    match timeout_at(until, home.calls.make(PUT_ITEM, async || request.clone().send().await)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(failure)) => Err(unavailable(home, error_summary(&failure))),
        Err(_) => Err(unavailable(home, "the time of the invocation ran out")),
    }
}

/// Reads the outcomes of an execution, by account, Region and function.
///
/// # Errors
/// [`RunError::LedgerUnavailable`].
pub async fn read(home: &Home, execution: &str, until: Instant) -> Result<Vec<Outcome>, RunError> {
    let request = home
        .dynamodb
        .query()
        .table_name(home.settings.findings_table.as_deref().unwrap_or_default())
        .consistent_read(true)
        .key_condition_expression("#pk = :pk")
        .expression_attribute_names("#pk", "pk")
        .expression_attribute_values(":pk", AttributeValue::S(partition(execution)));
    let mut outcomes = Vec::new();
    let mut pages = Pages::of(QUERY);
    let ask = async |start: Option<findings_table::Item>| {
        let query = async || request.clone().set_exclusive_start_key(start.clone()).send().await;
        home.calls.make(QUERY, query).await
    };
    loop {
        let page = timeout_at(until, pages.next(ask, |page| more(page.last_evaluated_key.as_ref()))).await;
        let page = page.map_err(|_| unavailable(home, "the time of the invocation ran out"))?;
        let page = page.map_err(|failure| unavailable(home, error_summary(&failure)))?;
        let Some(page) = page else { return Ok(outcomes) };
        for item in page.items.unwrap_or_default() {
            let sort_key = item.get("sk").and_then(|sk| sk.as_s().ok()).cloned().unwrap_or_default();
            let attributes = serde_dynamo::aws_sdk_dynamodb_1::from_item::<Map<String, Value>>(item);
            let outcome = attributes.ok().and_then(|attributes| Outcome::read(&sort_key, &attributes));
            if outcome.is_none() {
                tracing::error!(sort_key, "the outcome of a check makes no sense");
            }
            outcomes.extend(outcome);
        }
    }
}

fn partition(execution: &str) -> String {
    format!("run#{execution}")
}
