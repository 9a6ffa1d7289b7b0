//! What all forms of an alert say of its updates: how many of which kind, in words.

use domain::ledger::{Change, FindingUpdate};
use serde_json::Value;

/// The reason of a resolution that is none: nobody looks at the key any more.
const EXCLUDED: &str = "excluded";

/// Did the finding end only because nobody looks at its key any more?
pub(crate) fn is_unwatched(update: &FindingUpdate<'_>) -> bool {
    update.resolution.as_ref().is_some_and(|resolution| resolution.reason == EXCLUDED)
}

/// How many keys were deleted, if any were.
pub(crate) fn deleted(updates: &[FindingUpdate<'_>]) -> Option<String> {
    let deleted = of_change(updates, Change::Deleted).count();
    (deleted > 0).then(|| counted(deleted, "deleted key"))
}

pub(crate) fn of_change<'n, 'f>(
    updates: &'n [FindingUpdate<'f>],
    change: Change,
) -> impl Iterator<Item = &'n FindingUpdate<'f>> {
    updates.iter().filter(move |update| update.change == Some(change))
}

/// How many changes there are of each kind, without those that there are none of; and how many exemptions are told.
pub(crate) fn counts(updates: &[FindingUpdate<'_>]) -> (Vec<(usize, &'static str)>, usize) {
    let changes = [(Change::New, "new"), (Change::Worsened, "worsened"), (Change::Reminder, "still open")];
    let counts = changes.map(|(change, word)| (of_change(updates, change).count(), word));
    let unwatched = updates.iter().filter(|update| is_unwatched(update)).count();
    let resolved = of_change(updates, Change::Resolved).count() - unwatched;
    let ended = [(resolved, "resolved"), (unwatched, "no longer watched")];
    let exemptions = updates.iter().filter(|update| update.exemption.is_some()).count();
    (counts.into_iter().chain(ended).filter(|(count, _)| *count > 0).collect(), exemptions)
}

pub(crate) fn listed(counts: &[(usize, &str)]) -> String {
    counts.iter().map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// How many there are of each kind, in words.
pub(crate) fn summary(updates: &[FindingUpdate<'_>], finding: &str) -> String {
    let (counts, exemptions) = counts(updates);
    let plural = if matches!(counts.as_slice(), [(1, _)]) { "" } else { "s" };
    let changes = (!counts.is_empty()).then(|| format!("{} {finding}{plural}", listed(&counts)));
    let exemptions = (exemptions > 0).then(|| counted(exemptions, "exemption notice"));
    let deleted = deleted(updates);
    deleted.into_iter().chain(changes).chain(exemptions).collect::<Vec<_>>().join(", ")
}

/// Length of a text once it stands as a string within JSON.
pub(crate) fn escaped_len(text: &str) -> usize {
    Value::from(text).to_string().len()
}

/// A number of things, in the singular where it is one.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
