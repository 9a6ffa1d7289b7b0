//! What all forms of an alert say of its updates: how many of which kind, in words.

use std::collections::BTreeMap;

use domain::control::Severity;
use domain::ledger::{Change, FindingUpdate, Resolution};
use serde_json::Value;

/// Most bytes of a published message. SNS takes 262,144, attributes and subject included.
pub(crate) const MAX_MESSAGE_BYTES: usize = 240_000;

/// SNS takes fewer than 100 characters.
const MAX_SUBJECT_CHARS: usize = 99;

/// The reason of a resolution that is none: nobody looks at the key any more.
const EXCLUDED: &str = "excluded";

/// Did the finding end only because nobody looks at its key any more?
pub(crate) fn is_unwatched(update: &FindingUpdate<'_>) -> bool {
    ends_unwatched(update.resolution.as_ref())
}

/// The same of why it ended.
pub(crate) fn ends_unwatched(resolution: Option<&Resolution>) -> bool {
    resolution.is_some_and(|resolution| resolution.reason == EXCLUDED)
}

pub(crate) fn of_change<'n, 'f>(
    updates: &'n [FindingUpdate<'f>],
    change: Change,
) -> impl Iterator<Item = &'n FindingUpdate<'f>> {
    updates.iter().filter(move |update| update.change == Some(change))
}

/// How many updates there are of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    changes: BTreeMap<Change, usize>,
    unwatched: usize,
    exemptions: usize,
    total: usize,
}

impl Tally {
    pub(crate) fn of(updates: &[FindingUpdate<'_>]) -> Self {
        let mut tally = Self::default();
        for update in updates {
            tally.add(update.change, update.resolution.as_ref(), update.exemption.is_some());
        }
        tally
    }

    /// Counts one more.
    pub(crate) fn add(&mut self, change: Option<Change>, resolution: Option<&Resolution>, tells_exemption: bool) {
        self.total += 1;
        if let Some(change) = change {
            *self.changes.entry(change).or_default() += 1;
        }
        self.unwatched += usize::from(ends_unwatched(resolution));
        self.exemptions += usize::from(tells_exemption);
    }

    pub(crate) fn count(&self, change: Change) -> usize {
        self.changes.get(&change).copied().unwrap_or_default()
    }

    /// Are all of them the one change and nothing else?
    pub(crate) fn all_are(&self, change: Change) -> bool {
        self.count(change) == self.total
    }

    /// How many changes there are of each kind, without those that there are none of.
    fn counts(&self) -> Vec<(usize, &'static str)> {
        let changes = [(Change::New, "new"), (Change::Worsened, "worsened"), (Change::Reminder, "still open")];
        let changes = changes.map(|(change, word)| (self.count(change), word));
        let resolved = self.count(Change::Resolved).saturating_sub(self.unwatched);
        let ended = [(resolved, "resolved"), (self.unwatched, "no longer watched")];
        changes.into_iter().chain(ended).filter(|(count, _)| *count > 0).collect()
    }

    /// How many keys were deleted, if any were.
    fn deleted(&self) -> Option<String> {
        let deleted = self.count(Change::Deleted);
        (deleted > 0).then(|| counted(deleted, "deleted key"))
    }

    /// How many there are of each kind, in words.
    pub(crate) fn summary(&self, finding: &str) -> String {
        let counts = self.counts();
        let plural = if matches!(counts.as_slice(), [(1, _)]) { "" } else { "s" };
        let changes = (!counts.is_empty()).then(|| format!("{} {finding}{plural}", listed(&counts)));
        let exemptions = (self.exemptions > 0).then(|| counted(self.exemptions, "exemption notice"));
        self.deleted().into_iter().chain(changes).chain(exemptions).collect::<Vec<_>>().join(", ")
    }

    /// The same in as few words as there are.
    fn short(&self) -> String {
        let mut counts = self.counts();
        counts.extend((self.exemptions > 0).then_some((self.exemptions, "exempt")));
        let counts = listed(&counts).replace("still ", "").replace("no longer watched", "unwatched");
        self.deleted().into_iter().chain(Some(counts).filter(|it| !it.is_empty())).collect::<Vec<_>>().join(", ")
    }

    /// The subject of the message: as many words as fit, printable ASCII.
    pub(crate) fn subject(&self, severity: Severity, place: &str) -> String {
        let forms: [&dyn Fn() -> String; 3] =
            [&|| self.summary("KMS finding"), &|| self.short(), &|| counted(self.total, "KMS finding")];
        let with = |what: String| {
            let severity = severity.as_str();
            if self.all_are(Change::Resolved) {
                let findings = counted(self.total, "KMS finding");
                let heading = if self.unwatched == self.total { "No longer watched" } else { "Resolved" };
                return format!("{heading}: {findings}, worst {severity} - {place}");
            }
            format!("{severity}: {what} - {place}")
        };
        let mut texts = forms.into_iter().map(|form| with(form()));
        let last = texts.next_back().unwrap_or_default();
        let text = texts.find(|text| text.chars().count() <= MAX_SUBJECT_CHARS).unwrap_or(last);
        text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MAX_SUBJECT_CHARS).collect()
    }
}

fn listed(counts: &[(usize, &str)]) -> String {
    counts.iter().map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// Length of a text once it stands as a string within JSON.
pub(crate) fn escaped_len(text: &str) -> usize {
    Value::from(text).to_string().len()
}

/// A number of things, in the singular where it is one.
pub(crate) fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}
