//! What is open: a question that tells nobody anything and marks nothing.

use domain::ledger::Record;
use lambda::Invocation;
use monitor::error::RunError;
use monitor::findings_table::all_open;
use monitor::target::Home;
use outputs::digest::{Part, all_open_findings, open_findings};
use serde_json::{Value, json};

use crate::bucket::{Bucket, object_key};

/// Reads the whole table, writes the whole list to the bucket, and answers the counts and the worst. A bucket that does not
/// take the list takes nothing away from the answer, which says so.
///
/// # Errors
/// The table could not be read.
pub(crate) async fn answer(
    home: &Home,
    bucket: Option<&Bucket>,
    invocation: &Invocation<'_>,
    execution: &str,
) -> Result<Value, RunError> {
    let read = all_open(home, invocation.deadlines.evaluated).await?;
    let records: Vec<(Part<'_>, &Record)> = read.iter().map(|(table, record)| (table.part(), record)).collect();
    let (at, location) = (invocation.now, &invocation.location);
    let written = match bucket {
        None => Err("the list is written nowhere: there is no bucket, or the run is a dry one".to_owned()),
        Some(bucket) => {
            let list = all_open_findings(location, at, &records).to_string().into_bytes();
            bucket
                .put(&object_key("open", execution, "json"), "application/json", list, invocation.deadlines.recorded)
                .await
        }
    };
    let mut answer = open_findings(location, at, &records, written.as_deref().ok());
    if let (Some(fields), Err(problem)) = (answer.as_object_mut(), written) {
        tracing::warn!(problem, "the whole list of what is open is not in a bucket");
        fields.insert("whole_list_missing".to_owned(), json!(problem));
    }
    Ok(answer)
}
