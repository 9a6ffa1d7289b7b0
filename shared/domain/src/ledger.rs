//! What the team knows of each open finding, and what it has to be told after a run.
//!
//! 1. A finding is new (another event is a new one), worsened, resolved or due for a reminder; anything else is silence.
//! 2. It is resolved only by an evaluation of its own key, or by that key being gone.
//! 3. `INSUFFICIENT_DATA` neither resolves nor worsens what it hides; it is a finding of its own while it lasts.
//! 4. A change is recorded as pending before it is told and marked as told after. What is found pending is told, whatever
//!    the run came for.
//! 5. An exempt finding is not told; that it is exempt is told once. So is a key that its tag excludes.
//! 6. A key that was to be deleted and no longer exists is told as deleted, though it was exempt, and nothing else of it is.
//! 7. A run may leave the telling to the reporter: then it records as pending what it would have told, [`deferred`](Record).
//!    A run that tells leaves deferred records of keys that it did not look at to the reporter. The reporter tells all that
//!    is pending, from the [records](Record::notice) alone.
//!
//! ```text
//! open records ─► exempt ─► reconcile with what a run found and saw ─► pending writes ─► alert ─► told: last writes
//!                                                                                     └► later: notice of each record
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::control::{Control, PENDING_DELETION, Severity};
use crate::evidence::Evidence;
use crate::exemption::{ExemptionState, ExemptionStatus};
use crate::finding::{Finding, FindingId, KeyIdentity, Tag};
use crate::key::EXCLUDE_TAG;
use crate::verdict::{Compliance, NOT_FOUND, Verdict};

/// Who tells what a run found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notify {
    /// The run itself, at once.
    #[default]
    Now,
    /// The reporter, later: the run only records.
    Later,
}

/// Most entries of its history that a record keeps; the oldest go first.
const MAX_HISTORY: usize = 100;

/// What the team is told of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was not known before, or it is about another event than before.
    New,
    /// Its severity rose or its reason changed.
    Worsened,
    /// Nothing changed for the length of the reminder interval.
    Reminder,
    /// It no longer exists.
    Resolved,
    /// The key was deleted: what is encrypted under it is lost.
    Deleted,
}

impl Change {
    /// The word that responses and alerts use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Worsened => "worsened",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
            Self::Deleted => "deleted",
        }
    }
}

/// What can happen to a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HistoryEvent {
    /// It appeared.
    New,
    /// Its severity rose or its reason changed.
    Worsened,
    /// Its severity fell.
    Eased,
    /// An exemption took effect or was changed.
    Exempt,
    /// A tag was found that does not exempt.
    NotExempt,
    /// The exemption that was in effect ended.
    ExemptionEnded,
    /// It no longer exists.
    Resolved,
    /// The key was deleted.
    Deleted,
}

/// One entry of a finding's history: what was known when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When the run looked.
    pub at: Timestamp,
    /// What happened.
    #[serde(alias = "step")]
    pub event: HistoryEvent,
    /// Severity from then on.
    pub severity: Severity,
    /// Reason code from then on.
    pub reason: String,
    /// The case in words.
    pub detail: String,
}

/// What the team was told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastNotified {
    /// As what.
    pub change: Change,
    /// When.
    pub at: Timestamp,
    /// Severity that it was told with.
    pub severity: Severity,
    /// Reason that it was told with.
    pub reason: String,
}

/// What is known of an exemption's tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExemptionRecord {
    /// Value of the tag.
    pub tag: String,
    /// What it was worth.
    pub state: ExemptionState,
    /// Is it not known whether the team was told?
    pub pending: bool,
}

/// One open finding, as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Key ARN.
    pub key_arn: String,
    /// Key ID.
    pub key_id: String,
    /// Aliases that the key had when the record was last written.
    pub aliases: Vec<String>,
    /// Control.
    pub control: String,
    /// `NON_COMPLIANT` or `INSUFFICIENT_DATA`.
    pub compliance: Compliance,
    /// When it appeared.
    pub first_seen: Timestamp,
    /// Severity, as last seen.
    pub severity: Severity,
    /// Reason code, as last seen.
    pub reason: String,
    /// The case in words, as it was when something of it was last to be told. Empty in records of earlier versions.
    #[serde(default)]
    pub detail: String,
    /// What the verdict rested on then.
    #[serde(default)]
    pub evidence: Evidence,
    /// What to do, in words.
    #[serde(default)]
    pub remediation: String,
    /// Controls of public standards that ask for the same.
    #[serde(default)]
    pub references: Vec<String>,
    /// Which event it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<String>,
    /// The last alert about it; none if it was exempt from the start.
    #[serde(alias = "told")]
    pub last_notified: Option<LastNotified>,
    /// A change that the team may not have been told of.
    pub pending: Option<Change>,
    /// Is it the reporter's to tell?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deferred: bool,
    /// Why it no longer exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolution: Option<Resolution>,
    /// The exemption's tag.
    pub exemption: Option<ExemptionRecord>,
    /// Its changes, oldest first.
    #[serde(alias = "story")]
    pub history: Vec<HistoryEntry>,
}

impl Record {
    fn id(&self) -> FindingId {
        (self.key_arn.clone(), self.control.clone(), self.compliance)
    }

    fn open(finding: &Finding, now: Timestamp) -> Self {
        let key = KeyIdentity { arn: finding.key_arn.clone(), id: finding.key_id.clone() };
        let mut record = Self {
            control: finding.control.to_owned(),
            compliance: finding.compliance,
            severity: finding.severity,
            ..Self::of_key(&key, now)
        };
        record.update(HistoryEvent::New, finding, now);
        record
    }

    /// Takes over how the finding looks now.
    fn update(&mut self, event: HistoryEvent, finding: &Finding, now: Timestamp) {
        self.severity = finding.severity;
        self.reason = finding.reason.clone().into_owned();
        self.occurrence.clone_from(&finding.occurrence);
        self.resolution = None;
        self.describe(finding);
        self.log(event, &finding.detail, now);
    }

    /// Takes over all that is said of the finding when it is told.
    fn describe(&mut self, finding: &Finding) {
        self.aliases.clone_from(&finding.aliases);
        self.detail.clone_from(&finding.detail);
        self.evidence.clone_from(&finding.evidence);
        self.remediation = finding.remediation.clone().into_owned();
        self.references = finding.references.iter().map(|&reference| reference.to_owned()).collect();
    }

    fn log(&mut self, event: HistoryEvent, detail: &str, at: Timestamp) {
        self.push(HistoryEntry {
            at,
            event,
            severity: self.severity,
            reason: self.reason.clone(),
            detail: detail.to_owned(),
        });
    }

    fn push(&mut self, entry: HistoryEntry) {
        self.history.push(entry);
        self.history.drain(..self.history.len().saturating_sub(MAX_HISTORY));
    }

    /// Does it say that the key will be deleted, or that it was?
    fn is_of_deletion(&self) -> bool {
        self.control == PENDING_DELETION && self.compliance == Compliance::NonCompliant
    }

    /// Was the team told that the key was deleted?
    fn is_told_as_deleted(&self) -> bool {
        self.last_notified.as_ref().is_some_and(|last| last.change == Change::Deleted)
    }

    fn is_exempt(&self) -> bool {
        self.exemption.as_ref().is_some_and(|record| record.state == ExemptionState::InEffect)
    }

    /// Is an unchanged finding due to be told again? Days are counted by the calendar, so that a daily run that starts some
    /// seconds earlier than a week ago still reminds.
    fn is_reminder_due(&self, now: Timestamp, interval_days: i32) -> bool {
        let day = |instant: Timestamp| Offset::UTC.to_datetime(instant).date();
        let days_since = |told: &LastNotified| day(told.at).until(day(now)).map_or(0, |span| span.get_days());
        interval_days > 0 && self.last_notified.as_ref().is_some_and(|told| days_since(told) >= interval_days)
    }

    /// The case in words. Records of earlier versions have it in their history.
    pub fn words(&self) -> &str {
        if !self.detail.is_empty() {
            return &self.detail;
        }
        let of_a_case =
            |it: &&HistoryEntry| matches!(it.event, HistoryEvent::New | HistoryEvent::Worsened | HistoryEvent::Eased);
        self.history.iter().rev().find(of_a_case).map_or("", |entry| entry.detail.as_str())
    }

    /// The finding as far as the record knows it.
    fn finding(&self, control: &'static Control) -> Finding {
        Finding {
            control: control.id,
            key_arn: self.key_arn.clone(),
            key_id: self.key_id.clone(),
            aliases: self.aliases.clone(),
            compliance: self.compliance,
            severity: self.severity,
            reason: Cow::Owned(self.reason.clone()),
            detail: self.words().to_owned(),
            evidence: self.evidence.clone(),
            remediation: Cow::Owned(self.remediation.clone()),
            references: control.references,
            exempt: None,
            tag: Tag::NotRead,
            occurrence: self.occurrence.clone(),
            is_silent: false,
            is_passing: false,
        }
    }
}

/// What a run saw of the keys that a ledger has findings of.
///
/// Of other keys nothing is kept, so that it grows with the open findings, not with the keys.
#[derive(Debug, Default)]
pub struct Sightings {
    /// Keys with an open finding.
    known: BTreeSet<String>,
    /// Verdicts about those, by key ARN and control.
    verdicts: BTreeMap<(String, &'static str), SeenVerdict>,
    /// Keys that no longer exist.
    gone: BTreeSet<String>,
    /// Those among them that an event named.
    gone_after_event: BTreeMap<String, KeyIdentity>,
    /// Keys that their tag excludes.
    excluded: BTreeMap<String, KeyIdentity>,
    is_of_every_key: bool,
}

/// What a ledger needs of a verdict.
#[derive(Debug)]
struct SeenVerdict {
    compliance: Compliance,
    reason: &'static str,
    detail: String,
}

impl Sightings {
    /// None yet; those of `known` keys will be kept.
    pub fn of(known: BTreeSet<String>) -> Self {
        Self { known, ..Self::default() }
    }

    /// Takes note of what was found out about a key.
    pub fn saw(&mut self, key_arn: &str, controls: &[&'static Control], verdicts: &[Verdict]) {
        if !self.known.contains(key_arn) {
            return;
        }
        for (control, Verdict { compliance, reason, detail, .. }) in controls.iter().zip(verdicts) {
            let seen = SeenVerdict { compliance: *compliance, reason, detail: detail.clone() };
            self.verdicts.insert((key_arn.to_owned(), control.id), seen);
        }
    }

    /// Takes note of a key that no longer exists.
    pub fn gone(&mut self, key_arn: &str) {
        self.gone.insert(key_arn.to_owned());
    }

    /// Takes note of a key that something happened to, and that no longer exists.
    pub fn gone_after_event(&mut self, key: &KeyIdentity) {
        self.gone(&key.arn);
        self.gone_after_event.insert(key.arn.clone(), key.clone());
    }

    /// Takes note of a key that its tag excludes.
    pub fn excluded(&mut self, key: &KeyIdentity) {
        self.excluded.insert(key.arn.clone(), key.clone());
    }

    /// Takes note that every key there is was seen: a key that was not no longer exists.
    pub fn saw_every_key(&mut self) {
        self.is_of_every_key = true;
    }

    /// Does the key no longer exist?
    fn is_gone(&self, record: &Record) -> bool {
        let seen = self.verdicts.get(&(record.key_arn.clone(), record.control.as_str()));
        self.gone.contains(&record.key_arn)
            || match seen {
                Some(seen) => seen.compliance == Compliance::InsufficientData && seen.reason == NOT_FOUND,
                None => self.is_of_every_key && self.of_key(&record.key_arn).next().is_none(),
            }
    }

    /// Did the run look at the key, whatever came of it?
    fn looked_at(&self, key_arn: &str) -> bool {
        self.gone.contains(key_arn) || self.excluded.contains_key(key_arn) || self.of_key(key_arn).next().is_some()
    }

    /// Was the key looked at, so that something is known of it?
    fn judged(&self, key_arn: &str) -> bool {
        self.of_key(key_arn).any(|seen| seen.compliance != Compliance::InsufficientData)
    }

    fn of_key(&self, key_arn: &str) -> impl Iterator<Item = &SeenVerdict> {
        let from = self.verdicts.range((key_arn.to_owned(), "")..);
        from.take_while(move |((arn, _), _)| arn == key_arn).map(|(_, seen)| seen)
    }

    /// What follows for an open finding; `None` if nothing does.
    fn resolution(&self, record: &Record) -> Option<Resolution> {
        if self.is_gone(record) {
            return Some(key_gone());
        }
        let seen = self.verdicts.get(&(record.key_arn.clone(), record.control.as_str()))?;
        let SeenVerdict { compliance, reason, detail } = seen;
        (*compliance != Compliance::InsufficientData).then(|| Resolution {
            compliance: Some(*compliance),
            reason: Cow::Borrowed(reason),
            detail: detail.clone(),
        })
    }
}

/// The open findings of one account, Region and function.
#[derive(Debug, Default)]
pub struct Ledger {
    records: BTreeMap<FindingId, Record>,
    notify: Notify,
}

/// Why a finding no longer exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// Compliance now; `None` where the key is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compliance: Option<Compliance>,
    /// Reason code of the verdict, or `key_gone`.
    pub reason: Cow<'static, str>,
    /// The same in words.
    pub detail: String,
}

/// One thing that the team has to be told.
#[derive(Clone, Debug)]
pub struct FindingUpdate<'a> {
    /// What happened to the finding; `None` if only its exemption is told.
    pub change: Option<Change>,
    /// The finding as it is now, or as it last was.
    pub finding: UpdatedFinding<'a>,
    /// When it appeared.
    pub first_seen: Timestamp,
    /// Severity and reason that the team knows, where those changed.
    pub was: Option<(Severity, String)>,
    /// Why it no longer exists.
    pub resolution: Option<Resolution>,
    /// What has to be said of its exemption.
    pub exemption: Option<ExemptionStatus>,
    record: UpdatedRecord,
    /// Does the ledger not hold the record in this form yet?
    changed: bool,
}

/// The finding of an update.
#[derive(Clone, Debug)]
pub enum UpdatedFinding<'a> {
    /// The run found it.
    Found(&'a Finding),
    /// The ledger knows it.
    Recorded(Box<Finding>),
}

impl Deref for UpdatedFinding<'_> {
    type Target = Finding;

    fn deref(&self) -> &Finding {
        match self {
            Self::Found(finding) => finding,
            Self::Recorded(finding) => finding,
        }
    }
}

/// The record of an update.
#[derive(Clone, Debug)]
enum UpdatedRecord {
    /// What the ledger holds, with what the run changed of it.
    Known(Box<Record>),
    /// The ledger holds none. It follows from the finding, and is made when it is written: the first run over a large account
    /// has thousands.
    New {
        /// Is it the reporter's to tell?
        is_deferred: bool,
    },
}

impl FindingUpdate<'_> {
    fn record(&self) -> Cow<'_, Record> {
        match &self.record {
            UpdatedRecord::Known(record) => Cow::Borrowed(record),
            UpdatedRecord::New { is_deferred } => {
                let mut record = Record::open(&self.finding, self.first_seen);
                record.pending = self.change;
                record.update_exemption(self.exemption.clone(), self.first_seen);
                record.deferred = *is_deferred;
                Cow::Owned(record)
            }
        }
    }

    /// The record once the team was told.
    fn told(self, at: Timestamp) -> Record {
        let record = self.record().into_owned();
        record.marked_as_told(self.change, self.finding.severity, &self.finding.reason, at)
    }
}

/// What follows from a run: what to tell, and what to write.
#[derive(Debug, Default)]
pub struct Reconciliation<'a> {
    /// What to tell: the most severe first, then by key ARN and control.
    pub updates: Vec<FindingUpdate<'a>>,
    /// Records that changed and are not told.
    quiet: Vec<Record>,
    /// Records of findings that ended before the team was told of them, since they were exempt.
    ended: Vec<Record>,
    notify: Notify,
}

impl Ledger {
    /// A ledger of these open findings.
    pub fn new(records: impl IntoIterator<Item = Record>) -> Self {
        Self { records: records.into_iter().map(|record| (record.id(), record)).collect(), notify: Notify::Now }
    }

    /// The same, for a run that is told by whom `notify` says.
    #[must_use]
    pub fn told(self, notify: Notify) -> Self {
        Self { notify, ..self }
    }

    /// How many findings are open.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Is nothing open?
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// ARNs of the keys that their tag excluded when it was last read.
    pub fn excluded_keys(&self) -> BTreeSet<String> {
        let exclusions = self.records.values().filter(|record| record.control == EXCLUSION.id);
        exclusions.map(|record| record.key_arn.clone()).collect()
    }

    /// ARNs of the keys with an open finding.
    pub fn keys(&self) -> BTreeSet<String> {
        self.records.values().map(|record| record.key_arn.clone()).collect()
    }

    /// Judges the exemptions of the findings. A tag that could not be read is taken as it was when it was last read.
    pub fn exempt(&self, findings: &mut [Finding], now: Timestamp) {
        for finding in findings.iter_mut().filter(|finding| finding.compliance == Compliance::NonCompliant) {
            if finding.tag == Tag::NotRead {
                let note = self.records.get(&finding.id()).and_then(|record| record.exemption.as_ref());
                finding.tag = Tag::Read(note.map(|record| record.tag.clone()));
            }
            let status = exemption_status(finding, now);
            let in_effect = status.filter(|status| status.state == ExemptionState::InEffect);
            finding.exempt = in_effect.and_then(|status| status.exemption);
        }
    }

    /// Compares what was found with what is open. The findings are those of [`exempt`](Self::exempt).
    pub fn reconcile<'a>(
        mut self,
        findings: &'a [Finding],
        sightings: &Sightings,
        controls: &[&'static Control],
        now: Timestamp,
        reminder_interval_days: i32,
    ) -> Reconciliation<'a> {
        let mut reconciliation = Reconciliation { notify: self.notify, ..Reconciliation::default() };
        // That a key which no longer exists is not found is no news.
        let was_to_be_deleted: BTreeSet<&str> = self
            .records
            .values()
            .filter(|record| record.is_of_deletion())
            .map(|record| record.key_arn.as_str())
            .collect();
        let is_gone = |finding: &Finding| {
            let key = finding.key_arn.as_str();
            finding.reason == NOT_FOUND && (sightings.gone.contains(key) || was_to_be_deleted.contains(key))
        };
        let told: Vec<&Finding> = findings.iter().filter(|finding| !finding.is_silent && !is_gone(finding)).collect();
        for finding in told {
            let record = self.records.remove(&finding.id());
            reconciliation.found(finding, record, now, reminder_interval_days);
        }
        self.take_deletions(sightings, controls, now, &mut reconciliation);
        self.take_exclusions(sightings, controls, now, &mut reconciliation);
        for record in self.records.into_values() {
            // A control that this version does not have may come back with the next one.
            if let Some(control) = controls.iter().find(|control| control.id == record.control) {
                let resolution = sightings.resolution(&record);
                if resolution.is_some() || !self.notify.leaves(&record, sightings) {
                    reconciliation.not_found(record, resolution.as_ref(), control, now);
                }
            }
        }
        reconciliation.updates.sort_by(|a, b| {
            // What was deleted comes first: nothing is worse, and there is always room for it.
            let order =
                |it: &FindingUpdate<'_>| (it.change != Some(Change::Deleted), std::cmp::Reverse(it.finding.severity));
            (order(a), &a.finding.key_arn, a.finding.control).cmp(&(order(b), &b.finding.key_arn, b.finding.control))
        });
        reconciliation
    }
}

impl Notify {
    /// Is the record the reporter's to tell, whatever the run does?
    fn leaves(self, record: &Record, sightings: &Sightings) -> bool {
        self == Self::Now && record.deferred && !sightings.looked_at(&record.key_arn)
    }
}

impl Ledger {
    /// Takes out what is known of keys that were deleted, and tells of those that were to be.
    ///
    /// What was told stays open until the next day's listing of every key lacks the key too: until then an event about the
    /// deletion may come, or come again.
    fn take_deletions(
        &mut self,
        sightings: &Sightings,
        controls: &[&'static Control],
        now: Timestamp,
        reconciliation: &mut Reconciliation<'_>,
    ) {
        let Some(control) = controls.iter().find(|control| control.id == PENDING_DELETION) else { return };
        let was_to_be =
            |record: &Record| record.control == PENDING_DELETION && record.compliance == Compliance::NonCompliant;
        let notify = self.notify;
        let is_pending = |record: &Record| record.pending == Some(Change::Deleted) && !notify.leaves(record, sightings);
        let records = self.records.values();
        let records = records.filter(|it| was_to_be(it) && (is_pending(it) || sightings.is_gone(it)));
        let mut deleted: BTreeMap<String, Record> =
            records.map(|record| (record.key_arn.clone(), record.clone())).collect();
        for (arn, key) in &sightings.gone_after_event {
            deleted.entry(arn.clone()).or_insert_with(|| Record::deleted(key, control, now));
        }
        let of_them = |record: &Record| deleted.contains_key(&record.key_arn);
        let others = self.records.extract_if(.., |_, record| of_them(record)).map(|(_, record)| record);
        reconciliation.ended.extend(others.filter(|record| !was_to_be(record)));
        for record in deleted.into_values() {
            reconciliation.deleted(record, sightings, control, now);
        }
    }

    /// Takes out what is known of keys that their tag excludes, and tells of those that it is new of. One function is enough
    /// to tell: the one whose control of deletion still watches them.
    fn take_exclusions(
        &mut self,
        sightings: &Sightings,
        controls: &[&'static Control],
        now: Timestamp,
        reconciliation: &mut Reconciliation<'_>,
    ) {
        if !controls.iter().any(|control| control.id == PENDING_DELETION) {
            return;
        }
        for key in sightings.excluded.values() {
            let id = (key.arn.clone(), EXCLUSION.id.to_owned(), Compliance::NotApplicable);
            let known = self.records.remove(&id);
            reconciliation.excluded(known, key, now);
        }
        let is_over = |record: &Record| {
            record.control == EXCLUSION.id && (sightings.is_gone(record) || sightings.judged(&record.key_arn))
        };
        let over = self.records.extract_if(.., |_, record| is_over(record));
        reconciliation.ended.extend(over.map(|(_, record)| record));
    }
}

/// How late an event about a deletion may come after the deletion was told.
const LATE_EVENTS: SignedDuration = SignedDuration::from_hours(12);

/// What the ledger keeps of a key that its tag excludes.
static EXCLUSION: Control = Control {
    id: "exclusion",
    title: "The key is watched",
    severity: Severity::Low,
    other_severities: "",
    references: &[],
};

fn exemption_status(finding: &Finding, now: Timestamp) -> Option<ExemptionStatus> {
    match &finding.tag {
        Tag::Read(Some(text)) => Some(ExemptionStatus::of(text, finding.severity, now)),
        Tag::Read(None) | Tag::NotRead => None,
    }
}

impl<'a> Reconciliation<'a> {
    /// A finding that this run saw.
    fn found(&mut self, finding: &'a Finding, record: Option<Record>, now: Timestamp, reminder_interval_days: i32) {
        let status = exemption_status(finding, now);
        let exempt = finding.exempt.is_some();
        let Some(mut record) = record else { return self.appeared(finding, status, now) };
        let before = record.clone();
        let was_exempt = record.is_exempt();
        let (same_severity, same_reason) = (finding.severity == record.severity, finding.reason == record.reason);
        let worse = finding.severity > record.severity || !same_reason;
        let another_event = record.occurrence != finding.occurrence;
        let was_over =
            matches!(record.pending, Some(Change::Resolved | Change::Deleted)) || record.is_told_as_deleted();
        let starts_anew = was_over || another_event;
        if starts_anew {
            record.first_seen = now;
            record.update(HistoryEvent::New, finding, now);
        } else if !same_severity || !same_reason {
            record.update(if worse { HistoryEvent::Worsened } else { HistoryEvent::Eased }, finding, now);
        }
        let change = if exempt {
            None
        } else if starts_anew || was_exempt || record.last_notified.is_none() || record.pending == Some(Change::New) {
            Some(Change::New)
        } else if worse || record.pending == Some(Change::Worsened) {
            Some(Change::Worsened)
        } else if record.is_reminder_due(now, reminder_interval_days) || record.pending == Some(Change::Reminder) {
            Some(Change::Reminder)
        } else {
            None
        };
        record.pending = change;
        let exemption = record.update_exemption(status, now);
        let is_of_earlier_version = record.remediation.is_empty() && !finding.remediation.is_empty();
        if change.is_some() || exemption.is_some() || is_of_earlier_version {
            record.describe(finding);
        }
        let changed = self.is_changed(&mut record, &before);
        if change.is_none() && exemption.is_none() {
            if changed {
                self.quiet.push(record);
            }
            return;
        }
        self.updates.push(FindingUpdate {
            change,
            finding: UpdatedFinding::Found(finding),
            first_seen: record.first_seen,
            was: record.was_told_as(),
            resolution: None,
            exemption,
            record: UpdatedRecord::Known(Box::new(record)),
            changed,
        });
    }

    /// A finding that the ledger does not hold.
    fn appeared(&mut self, finding: &'a Finding, exemption: Option<ExemptionStatus>, now: Timestamp) {
        self.updates.push(FindingUpdate {
            change: finding.exempt.is_none().then_some(Change::New),
            finding: UpdatedFinding::Found(finding),
            first_seen: now,
            was: None,
            resolution: None,
            exemption,
            record: UpdatedRecord::New { is_deferred: self.notify == Notify::Later },
            changed: true,
        });
    }

    /// Does the run change what the ledger holds? Then the record is told by whom this run's changes are.
    fn is_changed(&self, record: &mut Record, before: &Record) -> bool {
        let changed = record != before;
        if changed {
            record.deferred = self.notify == Notify::Later && record.is_pending();
        }
        changed
    }

    /// An open finding that this run did not find.
    fn not_found(
        &mut self,
        mut record: Record,
        resolution: Option<&Resolution>,
        control: &'static Control,
        now: Timestamp,
    ) {
        let before = record.clone();
        if let Some(resolution) = resolution
            && record.pending != Some(Change::Resolved)
        {
            record.resolve(resolution, now);
            if record.last_notified.is_none() && record.pending.is_none() {
                self.ended.push(record);
                return;
            }
            record.pending = Some(Change::Resolved);
        }
        let changed = self.is_changed(&mut record, &before);
        let Some(Notice { change, was, resolution, exemption, .. }) = record.notice(now) else { return };
        self.updates.push(FindingUpdate {
            change,
            finding: UpdatedFinding::Recorded(Box::new(record.finding(control))),
            first_seen: record.first_seen,
            was,
            resolution,
            exemption,
            record: UpdatedRecord::Known(Box::new(record)),
            changed,
        });
    }

    /// A key that was deleted.
    fn deleted(&mut self, mut record: Record, sightings: &Sightings, control: &'static Control, now: Timestamp) {
        if record.is_told_as_deleted() && record.pending.is_none() {
            let told_at = record.last_notified.as_ref().map_or(now, |last| last.at);
            let is_event = sightings.gone_after_event.contains_key(&record.key_arn);
            if !is_event && now.duration_since(told_at) >= LATE_EVENTS {
                self.ended.push(record);
            }
            return;
        }
        let before = record.clone();
        if record.pending != Some(Change::Deleted) {
            record.pending = Some(Change::Deleted);
            record.severity = Severity::Critical;
            record.log(HistoryEvent::Deleted, DELETED, now);
        }
        let changed = self.is_changed(&mut record, &before);
        let finding = Finding {
            reason: Cow::Borrowed(KEY_DELETED),
            detail: DELETED.to_owned(),
            evidence: Evidence::new(),
            remediation: Cow::Owned(record.how_to_restore()),
            ..record.finding(control)
        };
        self.updates.push(FindingUpdate {
            change: Some(Change::Deleted),
            finding: UpdatedFinding::Recorded(Box::new(finding)),
            first_seen: record.first_seen,
            was: None,
            resolution: None,
            exemption: None,
            record: UpdatedRecord::Known(Box::new(record)),
            changed,
        });
    }

    /// A key that its tag excludes.
    fn excluded(&mut self, known: Option<Record>, key: &KeyIdentity, now: Timestamp) {
        let is_new = known.is_none();
        let mut record = known.unwrap_or_else(|| Record::excluded(key, now));
        record.deferred = self.notify == Notify::Later && record.is_pending();
        let Some(Notice { exemption, .. }) = record.notice(now) else { return };
        self.updates.push(FindingUpdate {
            change: None,
            finding: UpdatedFinding::Recorded(Box::new(record.finding(&EXCLUSION))),
            first_seen: record.first_seen,
            was: None,
            resolution: None,
            exemption,
            record: UpdatedRecord::Known(Box::new(record)),
            changed: is_new,
        });
    }

    /// Is there nothing to tell and nothing to write?
    pub fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.quiet.is_empty() && self.ended.is_empty()
    }

    /// Does the ledger hold everything already as it is?
    pub fn is_recorded(&self) -> bool {
        !self.updates.iter().any(|update| update.changed) && self.quiet.is_empty() && self.ended.is_empty()
    }

    /// How many things of one kind there are to tell.
    pub fn count(&self, change: Change) -> usize {
        self.updates.iter().filter(|update| update.change == Some(change)).count()
    }

    /// The records to write before the team is told.
    pub fn before_the_alert(&self) -> impl Iterator<Item = Cow<'_, Record>> {
        let told = self.updates.iter().filter(|update| update.changed).map(FindingUpdate::record);
        told.chain(self.quiet.iter().map(Cow::Borrowed))
    }

    /// The records to close where nobody is told now: nobody ever was.
    pub fn ended(self) -> Vec<Record> {
        self.ended
    }

    /// What to write once the team has been told: the records that stay open, and those that are closed.
    pub fn after_the_alert(mut self, now: Timestamp) -> (impl Iterator<Item = Record>, Vec<Record>) {
        let mut closed = self.ended;
        let resolved = self.updates.extract_if(.., |update| update.change == Some(Change::Resolved));
        closed.extend(resolved.map(|update| update.told(now)));
        (self.updates.into_iter().map(move |update| update.told(now)), closed)
    }
}

/// What there is to tell of a record, by whoever tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What happened to the finding; `None` if only its exemption is told.
    pub change: Option<Change>,
    /// Reason code to tell it with.
    pub reason: String,
    /// The case in words.
    pub detail: String,
    /// What the verdict rests on.
    pub evidence: Evidence,
    /// What to do, in words.
    pub remediation: String,
    /// Severity and reason that the team knows, where those changed.
    pub was: Option<(Severity, String)>,
    /// Why it no longer exists.
    pub resolution: Option<Resolution>,
    /// What has to be said of its exemption.
    pub exemption: Option<ExemptionStatus>,
}

impl Record {
    /// Is there anything that the team may not have been told of?
    pub fn is_pending(&self) -> bool {
        self.pending.is_some() || self.exemption.as_ref().is_some_and(|it| it.pending)
    }

    /// What there is to tell of it, as far as the record says; `None` if nothing is pending.
    pub fn notice(&self, now: Timestamp) -> Option<Notice> {
        if !self.is_pending() {
            return None;
        }
        let change = self.pending;
        let is_over = matches!(change, Some(Change::Resolved | Change::Deleted));
        let exemption = self.exemption.as_ref().filter(|it| it.pending && !is_over);
        let notice = Notice {
            change,
            was: self.was_told_as(),
            resolution: self
                .resolution
                .clone()
                .or_else(|| self.last_resolution())
                .filter(|_| change == Some(Change::Resolved)),
            exemption: exemption.map(|it| self.exemption_notice(it, now)),
            ..self.description()
        };
        if change == Some(Change::Deleted) {
            let (reason, detail) = (KEY_DELETED.to_owned(), DELETED.to_owned());
            return Some(Notice {
                reason,
                detail,
                evidence: Evidence::new(),
                remediation: self.how_to_restore(),
                ..notice
            });
        }
        Some(notice)
    }

    /// What is known of it, whether or not anything of it is to be told.
    pub fn description(&self) -> Notice {
        Notice {
            change: None,
            reason: self.reason.clone(),
            detail: self.words().to_owned(),
            evidence: self.evidence.clone(),
            remediation: self.remediation.clone(),
            was: None,
            resolution: None,
            exemption: None,
        }
    }

    /// The record once the team was told of what was pending, as [`notice`](Self::notice) says it.
    #[must_use]
    pub fn told(self, at: Timestamp) -> Self {
        let (change, severity) = (self.pending, self.severity);
        let reason = if change == Some(Change::Deleted) { KEY_DELETED.to_owned() } else { self.reason.clone() };
        self.marked_as_told(change, severity, &reason, at)
    }

    fn marked_as_told(mut self, change: Option<Change>, severity: Severity, reason: &str, at: Timestamp) -> Self {
        self.pending = None;
        self.deferred = false;
        if let Some(exemption) = &mut self.exemption {
            exemption.pending = false;
        }
        if let Some(change) = change {
            self.last_notified = Some(LastNotified { change, at, severity, reason: reason.to_owned() });
        }
        self
    }

    /// Severity and reason that the team knows, of a finding that became worse since.
    fn was_told_as(&self) -> Option<(Severity, String)> {
        let told = self.last_notified.as_ref().filter(|_| self.pending == Some(Change::Worsened));
        told.map(|told| (told.severity, told.reason.clone()))
    }

    /// How the exemption stood when it was recorded: whoever tells it may be later.
    fn exemption_notice(&self, exemption: &ExemptionRecord, now: Timestamp) -> ExemptionStatus {
        if self.control == EXCLUSION.id {
            let detail = format!("its tag {EXCLUDE_TAG} takes it out of all controls, but for {PENDING_DELETION}");
            let (tag, state) = (exemption.tag.clone(), exemption.state);
            return ExemptionStatus { tag, state, exemption: None, detail };
        }
        let is_of_tag = |it: &&HistoryEntry| {
            matches!(it.event, HistoryEvent::Exempt | HistoryEvent::NotExempt | HistoryEvent::ExemptionEnded)
        };
        let entry = self.history.iter().rev().find(is_of_tag);
        let (at, severity) = entry.map_or((now, self.severity), |entry| (entry.at, entry.severity));
        ExemptionStatus::of(&exemption.tag, severity, at)
    }

    /// What to do about a key that was deleted.
    fn how_to_restore(&self) -> String {
        if self.key_id.starts_with("mrk-") { format!("{RESTORE} {REPLICATE}") } else { RESTORE.to_owned() }
    }
}

impl Record {
    /// Takes note of how the exemption stands. Gives it back if the team has to hear of it.
    fn update_exemption(&mut self, status: Option<ExemptionStatus>, now: Timestamp) -> Option<ExemptionStatus> {
        let before = self.exemption.take();
        let state = status.as_ref().map(|status| status.state);
        let ended = before.as_ref().is_some_and(|record| record.state == ExemptionState::InEffect)
            && state != Some(ExemptionState::InEffect);
        if ended {
            let why = status.as_ref().map_or("the tag is gone", |status| status.detail.as_str());
            self.log(HistoryEvent::ExemptionEnded, why, now);
        }
        let status = status?;
        let same = before.as_ref().is_some_and(|record| record.tag == status.tag && record.state == status.state);
        if !same && !ended {
            let event =
                if status.state == ExemptionState::InEffect { HistoryEvent::Exempt } else { HistoryEvent::NotExempt };
            self.log(event, &status.detail, now);
        }
        let pending = !same || before.is_some_and(|record| record.pending);
        self.exemption = Some(ExemptionRecord { tag: status.tag.clone(), state: status.state, pending });
        pending.then_some(status)
    }

    /// Takes note that the finding no longer exists.
    fn resolve(&mut self, resolution: &Resolution, now: Timestamp) {
        let (reason, detail) = (resolution.reason.clone().into_owned(), resolution.detail.clone());
        self.push(HistoryEntry { at: now, event: HistoryEvent::Resolved, severity: self.severity, reason, detail });
        self.resolution = Some(resolution.clone());
    }

    /// Why the finding no longer exists, as far as its history knows: of records of earlier versions.
    fn last_resolution(&self) -> Option<Resolution> {
        let last = self.history.iter().rev().find(|entry| entry.event == HistoryEvent::Resolved)?;
        Some(Resolution { compliance: None, reason: last.reason.clone().into(), detail: last.detail.clone() })
    }
}

/// Reason code of a key that was deleted.
const KEY_DELETED: &str = "key_deleted";

/// What is said of a key that was deleted.
const DELETED: &str = "KMS has deleted the key: what is encrypted under it alone is lost";
const RESTORE: &str = "Restore what was encrypted under it from copies under another key, and point to a new key whatever still \
                       names this one.";

const REPLICATE: &str =
    "If a key of the same material stands in another Region, it still decrypts: replicate it from there.";

impl Record {
    /// The record of a key that was deleted and that nothing was known of.
    fn deleted(key: &KeyIdentity, control: &Control, now: Timestamp) -> Self {
        Self {
            control: control.id.to_owned(),
            compliance: Compliance::NonCompliant,
            severity: Severity::Critical,
            reason: KEY_DELETED.to_owned(),
            ..Self::of_key(key, now)
        }
    }

    /// The record of a key that its tag excludes.
    fn excluded(key: &KeyIdentity, now: Timestamp) -> Self {
        let exemption = ExemptionRecord { tag: "true".to_owned(), state: ExemptionState::InEffect, pending: true };
        Self {
            control: EXCLUSION.id.to_owned(),
            compliance: Compliance::NotApplicable,
            severity: Severity::Low,
            reason: "excluded".to_owned(),
            exemption: Some(exemption),
            ..Self::of_key(key, now)
        }
    }

    fn of_key(key: &KeyIdentity, now: Timestamp) -> Self {
        Self {
            key_arn: key.arn.clone(),
            key_id: key.id.clone(),
            aliases: Vec::new(),
            control: String::new(),
            compliance: Compliance::NotApplicable,
            first_seen: now,
            severity: Severity::Low,
            reason: String::new(),
            detail: String::new(),
            evidence: Evidence::new(),
            remediation: String::new(),
            references: Vec::new(),
            occurrence: None,
            last_notified: None,
            pending: None,
            deferred: false,
            resolution: None,
            exemption: None,
            history: Vec::new(),
        }
    }
}

fn key_gone() -> Resolution {
    Resolution { compliance: None, reason: Cow::Borrowed("key_gone"), detail: "the key no longer exists".to_owned() }
}

#[cfg(test)]
mod tests;
