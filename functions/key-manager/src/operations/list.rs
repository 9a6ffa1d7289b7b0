//! `list_operations`: what was done, from the record.

use crate::answer::Operations;
use crate::record::{Record, RecordTable, RecordUnavailable};
use crate::request::{KeyReference, ListOperations};

/// Most bytes of the records of an answer, written as JSON. Lambda takes 6 MB.
const MAX_BYTES: usize = 5_000_000;

/// The operations about a key, or those of a token, the newest first.
///
/// # Errors
/// The record is out of reach.
pub(crate) async fn list(table: &RecordTable, request: &ListOperations) -> Result<Operations, RecordUnavailable> {
    let mut records = table.all().await?;
    let key_id = request.key.as_ref().map(KeyReference::id);
    let is_meant = |record: &Record| match (&request.client_token, key_id) {
        (Some(token), _) => record.client_token == token.as_str(),
        (None, Some(id)) => is_about(record, id),
        (None, None) => false,
    };
    records.retain(is_meant);
    records.sort_by_key(|record| std::cmp::Reverse((record.started_at, record.updated_at)));
    Ok(first(records, usize::try_from(request.limit.get()).unwrap_or(usize::MAX), MAX_BYTES))
}

/// As many of them as there is room for.
fn first(mut records: Vec<Record>, max_records: usize, max_bytes: usize) -> Operations {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        bytes += serde_json::to_vec(record).map_or(usize::MAX, |json| json.len() + 1);
        bytes <= max_bytes
    };
    let listed = records.iter().take(max_records).take_while(fits).count();
    let operations_omitted = records.len() - listed;
    records.truncate(listed);
    Operations { operation: "list_operations", operations: records, operations_omitted }
}

/// Is it about the key, or does it name it? A refused attempt on a key knows no more of it than the request.
fn is_about(record: &Record, id: &str) -> bool {
    let named =
        ["key", "expected_current", "confirm"].into_iter().filter_map(|field| record.request.get(field)?.as_str());
    let known = record.key_arn.iter().chain(&record.made).map(String::as_str);
    named.chain(known).any(|name| name.rsplit('/').next() == Some(id))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_has_room_for_so_many_records() {
        let record: Record = serde_json::from_value(json!({
            "client_token": "t", "operation": "retire_key", "request": {"key": "k"}, "request_digest": "0",
            "claimed_by": "ana", "invocations": [], "state": "succeeded", "version": 1, "owner": "o", "owned_until": 0,
            "started_at": Timestamp::UNIX_EPOCH, "updated_at": Timestamp::UNIX_EPOCH
        }))
        .unwrap();
        let bytes = serde_json::to_vec(&record).unwrap().len() + 1;
        for (max_records, max_bytes, listed) in
            [(5, usize::MAX, 5), (9, usize::MAX, 9), (20, usize::MAX, 10), (20, bytes * 3, 3), (20, bytes * 3 - 1, 2)]
        {
            let Operations { operations, operations_omitted, .. } =
                first(vec![record.clone(); 10], max_records, max_bytes);
            assert_eq!((operations.len(), operations_omitted), (listed, 10 - listed), "{max_records} {max_bytes}");
        }
    }
}
