//! `list_operations`: what was done, from the record.

use serde_json::{Value, json};

use crate::record::{Record, RecordTable, RecordUnavailable};
use crate::request::{KeyReference, ListOperations};

/// The operations about a key, or those of a token, the newest first.
///
/// # Errors
/// The record is out of reach.
pub(crate) async fn list(table: &RecordTable, request: &ListOperations) -> Result<Value, RecordUnavailable> {
    let mut records = table.all().await?;
    let key_id = request.key.as_ref().map(KeyReference::id);
    let is_meant = |record: &Record| match (&request.client_token, key_id) {
        (Some(token), _) => record.client_token == token.as_str(),
        (None, Some(id)) => is_about(record, id),
        (None, None) => false,
    };
    records.retain(is_meant);
    records.sort_by_key(|record| std::cmp::Reverse((record.started_at, record.updated_at)));
    let limit = usize::try_from(request.limit.get()).unwrap_or(usize::MAX);
    let omitted = records.len().saturating_sub(limit);
    records.truncate(limit);
    Ok(json!({"operation": "list_operations", "operations": records, "operations_omitted": omitted}))
}

/// Is it about the key, or does it name it? A refused attempt on a key knows no more of it than the request.
fn is_about(record: &Record, id: &str) -> bool {
    let named =
        ["key", "expected_current", "confirm"].into_iter().filter_map(|field| record.request.get(field)?.as_str());
    let known = record.key_arn.iter().chain(&record.made).map(String::as_str);
    named.chain(known).any(|name| name.rsplit('/').next() == Some(id))
}
