//! What the team knows of each open finding, and what it has to be told after a run.
//!
//! 1. A finding is new (another event is a new one), worsened, resolved or due for a reminder; anything else is silence.
//! 2. It is resolved only by an evaluation of its own key, or by that key being gone.
//! 3. `INSUFFICIENT_DATA` neither resolves nor worsens what it hides; it is a finding of its own while it lasts.
//! 4. A change is recorded as pending before it is told and marked as told after. What is found pending is told, whatever
//!    the run came for.
//! 5. An exempt finding is not told; that it is exempt is told once.
//!
//! ```text
//! open records ─► saw, gone (while keys are judged) ─► exempt ─► compare ─► pending writes ─► alert ─► told: last writes
//! ```

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::tz::Offset;
use serde::{Deserialize, Serialize};

use super::control::{Control, Severity};
use super::evaluation::{Compliance, Evidence, NOT_FOUND, Verdict};
use super::exemption::{Standing, State};
use super::report::{Finding, Tag};

/// Most steps of its story that a record keeps; the oldest go first.
const MOST_STEPS: usize = 100;

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
    /// It is no more.
    Resolved,
}

impl Change {
    /// The word that responses and alerts use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Worsened => "worsened",
            Self::Reminder => "reminder",
            Self::Resolved => "resolved",
        }
    }
}

/// A step in the story of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
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
    /// The exemption that was in effect is no more.
    ExemptionEnded,
    /// It is no more.
    Resolved,
}

/// One step of the story: what was known when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When the run looked.
    pub at: Timestamp,
    /// What happened.
    pub step: Step,
    /// Severity from then on.
    pub severity: Severity,
    /// Reason code from then on.
    pub reason: String,
    /// The case in words.
    pub detail: String,
}

/// What the team was told last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
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
pub struct Note {
    /// Value of the tag.
    pub tag: String,
    /// What it was worth.
    pub state: State,
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
    /// Which event it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<String>,
    /// The last alert about it; none if it was exempt from the start.
    pub told: Option<Told>,
    /// A change that the team may not have been told of.
    pub pending: Option<Change>,
    /// The exemption's tag.
    pub exemption: Option<Note>,
    /// Its changes, oldest first.
    pub story: Vec<Entry>,
}

/// Key ARN, control and compliance: what makes two findings the same.
type Id = (String, String, Compliance);

impl Record {
    fn id(&self) -> Id {
        (self.key_arn.clone(), self.control.clone(), self.compliance)
    }

    fn open(finding: &Finding, now: Timestamp) -> Self {
        let mut record = Self {
            key_arn: finding.key_arn.clone(),
            key_id: finding.key_id.clone(),
            aliases: Vec::new(),
            control: finding.control.to_owned(),
            compliance: finding.compliance,
            first_seen: now,
            severity: finding.severity,
            reason: String::new(),
            occurrence: None,
            told: None,
            pending: None,
            exemption: None,
            story: Vec::new(),
        };
        record.step(Step::New, finding, now);
        record
    }

    /// Takes over how the finding looks now.
    fn step(&mut self, step: Step, finding: &Finding, now: Timestamp) {
        self.severity = finding.severity;
        self.reason = finding.reason.clone().into_owned();
        self.aliases.clone_from(&finding.aliases);
        self.occurrence.clone_from(&finding.occurrence);
        self.tell(step, &finding.detail, now);
    }

    fn tell(&mut self, step: Step, detail: &str, at: Timestamp) {
        self.push(Entry { at, step, severity: self.severity, reason: self.reason.clone(), detail: detail.to_owned() });
    }

    fn push(&mut self, entry: Entry) {
        self.story.push(entry);
        self.story.drain(..self.story.len().saturating_sub(MOST_STEPS));
    }

    fn is_exempt(&self) -> bool {
        self.exemption.as_ref().is_some_and(|note| note.state == State::InEffect)
    }

    /// Is an unchanged finding due to be told again? Days are counted by the calendar, so that a daily run that starts some
    /// seconds earlier than a week ago still reminds.
    fn is_reminder_due(&self, now: Timestamp, interval_days: i32) -> bool {
        let day = |instant: Timestamp| Offset::UTC.to_datetime(instant).date();
        let days_since = |told: &Told| day(told.at).until(day(now)).map_or(0, |span| span.get_days());
        interval_days > 0 && self.told.as_ref().is_some_and(|told| days_since(told) >= interval_days)
    }

    /// The finding as far as the record knows it.
    fn finding(&self, control: &'static Control) -> Finding {
        let last = self.story.iter().rev().find(|entry| matches!(entry.step, Step::New | Step::Worsened | Step::Eased));
        Finding {
            control: control.id,
            key_arn: self.key_arn.clone(),
            key_id: self.key_id.clone(),
            aliases: self.aliases.clone(),
            compliance: self.compliance,
            severity: self.severity,
            reason: Cow::Owned(self.reason.clone()),
            detail: last.map(|entry| entry.detail.clone()).unwrap_or_default(),
            evidence: Evidence::new(),
            remediation: String::new(),
            references: control.references,
            exempt: None,
            tag: Tag::NotRead,
            occurrence: self.occurrence.clone(),
        }
    }
}

/// What a run saw of a key's control that the ledger has a record of.
#[derive(Clone, Debug)]
enum Seen {
    /// Nothing: the key was not evaluated.
    Nothing,
    /// A verdict.
    Verdict { compliance: Compliance, reason: &'static str, detail: String },
    /// The key is no more.
    Gone,
}

/// The open findings of one account, Region and function.
#[derive(Debug, Default)]
pub struct Ledger {
    records: BTreeMap<Id, (Record, Seen)>,
    /// Keys that are no more: that they are not found is no news.
    gone: BTreeSet<String>,
}

/// Why a finding is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Resolution {
    /// Compliance now; `None` where the key is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compliance: Option<Compliance>,
    /// Reason code of the verdict, or `key_gone`.
    pub reason: Cow<'static, str>,
    /// The same in words.
    pub detail: String,
}

/// One thing that the team has to be told.
#[derive(Clone, Debug)]
pub struct News<'a> {
    /// What happened to the finding; `None` if only its exemption is told.
    pub change: Option<Change>,
    /// The finding as it is now, or as it last was.
    pub finding: Cow<'a, Finding>,
    /// When it appeared.
    pub first_seen: Timestamp,
    /// Severity and reason that the team knows, where those changed.
    pub was: Option<(Severity, String)>,
    /// Why it is no more.
    pub resolution: Option<Resolution>,
    /// What has to be said of its exemption.
    pub exemption: Option<Standing>,
    record: Record,
    /// Does the ledger not hold the record in this form yet?
    changed: bool,
}

/// What follows from a run: what to tell, and what to write.
#[derive(Debug, Default)]
pub struct Comparison<'a> {
    /// What to tell: the most severe first, then by key ARN and control.
    pub news: Vec<News<'a>>,
    /// Records that changed without news.
    quiet: Vec<Record>,
    /// Records of findings that ended before the team was told of them, since they were exempt.
    ended: Vec<Record>,
}

impl Ledger {
    /// A ledger of these open findings.
    pub fn new(records: impl IntoIterator<Item = Record>) -> Self {
        let records = records.into_iter().map(|record| (record.id(), (record, Seen::Nothing)));
        Self { records: records.collect(), gone: BTreeSet::new() }
    }

    /// How many findings are open.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Is nothing open?
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    fn of_key(&mut self, key_arn: &str) -> impl Iterator<Item = (&Id, &mut Seen)> {
        let first = (key_arn.to_owned(), String::new(), Compliance::Compliant);
        let all = self.records.range_mut(first..).map(|(id, (_, seen))| (id, seen));
        all.take_while(move |((arn, _, _), _)| arn == key_arn)
    }

    /// Takes note of what was found out about a key.
    pub fn saw<const N: usize>(&mut self, key_arn: &str, controls: [&'static Control; N], verdicts: &[Verdict; N]) {
        for ((_, control, _), seen) in self.of_key(key_arn) {
            let verdict = controls.iter().zip(verdicts).find(|(it, _)| it.id == control).map(|(_, verdict)| verdict);
            if let Some(Verdict { compliance, reason, detail, .. }) = verdict {
                *seen = Seen::Verdict { compliance: *compliance, reason, detail: detail.clone() };
            }
        }
    }

    /// Takes note of a key that is no more.
    pub fn gone(&mut self, key_arn: &str) {
        for (_, seen) in self.of_key(key_arn) {
            *seen = Seen::Gone;
        }
        self.gone.insert(key_arn.to_owned());
    }

    /// Takes note that every key there is was seen: a key that was not is no more.
    pub fn saw_every_key(&mut self) {
        for (_, seen) in self.records.values_mut() {
            if matches!(seen, Seen::Nothing) {
                *seen = Seen::Gone;
            }
        }
    }

    /// Judges the exemptions of the findings. A tag that could not be read is taken as it was when it was last read.
    pub fn exempt(&self, findings: &mut [Finding], now: Timestamp) {
        for finding in findings.iter_mut().filter(|finding| finding.compliance == Compliance::NonCompliant) {
            if finding.tag == Tag::NotRead {
                let id = (finding.key_arn.clone(), finding.control.to_owned(), finding.compliance);
                let note = self.records.get(&id).and_then(|(record, _)| record.exemption.as_ref());
                finding.tag = Tag::Read(note.map(|note| note.tag.clone()));
            }
            let standing = standing(finding, now);
            let in_effect = standing.filter(|standing| standing.state == State::InEffect);
            finding.exempt = in_effect.and_then(|standing| standing.exemption);
        }
    }

    /// Compares what was found with what is open. The findings are those of [`exempt`](Self::exempt).
    pub fn compare<'a>(
        mut self,
        findings: &'a [Finding],
        controls: &[&'static Control],
        now: Timestamp,
        reminder_interval_days: i32,
    ) -> Comparison<'a> {
        let mut comparison = Comparison::default();
        let is_news = |finding: &&Finding| {
            finding.is_alertable() && !(finding.reason == NOT_FOUND && self.gone.contains(&finding.key_arn))
        };
        for finding in findings.iter().filter(is_news) {
            let id = (finding.key_arn.clone(), finding.control.to_owned(), finding.compliance);
            let record = self.records.remove(&id).map(|(record, _)| record);
            comparison.found(finding, record, now, reminder_interval_days);
        }
        for (record, seen) in self.records.into_values() {
            // A control that this build does not have may come back with the next one.
            if let Some(control) = controls.iter().find(|control| control.id == record.control) {
                comparison.not_found(record, seen, control, now);
            }
        }
        comparison.news.sort_by(|a, b| {
            let order = |it: &News<'_>| std::cmp::Reverse(it.finding.severity);
            (order(a), &a.finding.key_arn, a.finding.control).cmp(&(order(b), &b.finding.key_arn, b.finding.control))
        });
        comparison
    }
}

fn standing(finding: &Finding, now: Timestamp) -> Option<Standing> {
    match &finding.tag {
        Tag::Read(Some(text)) => Some(Standing::of(text, finding.severity, now)),
        Tag::Read(None) | Tag::NotRead => None,
    }
}

impl<'a> Comparison<'a> {
    /// A finding that this run saw.
    fn found(&mut self, finding: &'a Finding, record: Option<Record>, now: Timestamp, reminder_interval_days: i32) {
        let standing = standing(finding, now);
        let exempt = finding.exempt.is_some();
        let known = record.is_some();
        let mut record = record.unwrap_or_else(|| Record::open(finding, now));
        let before = record.clone();
        let was_exempt = record.is_exempt();
        let (same_severity, same_reason) = (finding.severity == record.severity, finding.reason == record.reason);
        let worse = finding.severity > record.severity || !same_reason;
        let another_event = record.occurrence != finding.occurrence;
        let starts_anew = record.pending == Some(Change::Resolved) || another_event;
        if starts_anew {
            record.first_seen = now;
            record.step(Step::New, finding, now);
        } else if !same_severity || !same_reason {
            record.step(if worse { Step::Worsened } else { Step::Eased }, finding, now);
        }
        let change = if exempt {
            None
        } else if !known || starts_anew || was_exempt || record.told.is_none() || record.pending == Some(Change::New) {
            Some(Change::New)
        } else if worse || record.pending == Some(Change::Worsened) {
            Some(Change::Worsened)
        } else {
            record.is_reminder_due(now, reminder_interval_days).then_some(Change::Reminder)
        };
        record.pending = change.filter(|change| *change != Change::Reminder);
        let exemption = record.note(standing, now);
        let changed = !known || record != before;
        if change.is_none() && exemption.is_none() {
            if changed {
                self.quiet.push(record);
            }
            return;
        }
        let told = record.told.as_ref().filter(|_| change == Some(Change::Worsened));
        self.news.push(News {
            change,
            finding: Cow::Borrowed(finding),
            first_seen: record.first_seen,
            was: told.map(|told| (told.severity, told.reason.clone())),
            resolution: None,
            exemption,
            record,
            changed,
        });
    }

    /// An open finding that this run did not find.
    fn not_found(&mut self, mut record: Record, seen: Seen, control: &'static Control, now: Timestamp) {
        let resolution = match seen {
            Seen::Gone | Seen::Verdict { compliance: Compliance::InsufficientData, reason: NOT_FOUND, .. } => {
                Some(key_gone())
            }
            Seen::Nothing | Seen::Verdict { compliance: Compliance::InsufficientData, .. } => None,
            Seen::Verdict { compliance, reason, detail } => {
                Some(Resolution { compliance: Some(compliance), reason: Cow::Borrowed(reason), detail })
            }
        };
        let mut changed = false;
        if let Some(resolution) = &resolution
            && record.pending != Some(Change::Resolved)
        {
            record.resolve(resolution, now);
            if record.told.is_none() && record.pending.is_none() {
                self.ended.push(record);
                return;
            }
            record.pending = Some(Change::Resolved);
            changed = true;
        }
        let pending_note = record.exemption.as_ref().filter(|note| note.pending && record.pending.is_none());
        let exemption = pending_note.map(|note| Standing::of(&note.tag, record.severity, now));
        let change = record.pending;
        if change.is_none() && exemption.is_none() {
            return;
        }
        let told = record.told.as_ref().filter(|_| change == Some(Change::Worsened));
        let resolution = resolution.or_else(|| record.resolution()).filter(|_| change == Some(Change::Resolved));
        self.news.push(News {
            change,
            finding: Cow::Owned(record.finding(control)),
            first_seen: record.first_seen,
            was: told.map(|told| (told.severity, told.reason.clone())),
            resolution,
            exemption,
            record,
            changed,
        });
    }

    /// Is there nothing to tell and nothing to write?
    pub fn is_empty(&self) -> bool {
        self.news.is_empty() && self.quiet.is_empty() && self.ended.is_empty()
    }

    /// How many things of one kind there are to tell.
    pub fn count(&self, change: Change) -> usize {
        self.news.iter().filter(|news| news.change == Some(change)).count()
    }

    /// The records to write before the team is told.
    pub fn before_the_alert(&self) -> impl Iterator<Item = &Record> {
        self.news.iter().filter(|news| news.changed).map(|news| &news.record).chain(&self.quiet)
    }

    /// What to write once the team has been told: the records that stay open, and those that are closed.
    pub fn after_the_alert(self, now: Timestamp) -> (Vec<Record>, Vec<Record>) {
        let (mut open, mut closed) = (Vec::new(), self.ended);
        for News { change, finding, mut record, .. } in self.news {
            record.pending = None;
            if let Some(note) = &mut record.exemption {
                note.pending = false;
            }
            if let Some(change) = change {
                let (severity, reason) = (finding.severity, finding.reason.clone().into_owned());
                record.told = Some(Told { change, at: now, severity, reason });
            }
            if change == Some(Change::Resolved) { closed.push(record) } else { open.push(record) }
        }
        (open, closed)
    }
}

impl Record {
    /// Takes note of how the exemption stands. Gives it back if the team has to hear of it.
    fn note(&mut self, standing: Option<Standing>, now: Timestamp) -> Option<Standing> {
        let before = self.exemption.take();
        let state = standing.as_ref().map(|standing| standing.state);
        let ended = before.as_ref().is_some_and(|note| note.state == State::InEffect) && state != Some(State::InEffect);
        if ended {
            let why = standing.as_ref().map_or("the tag is gone", |standing| standing.detail.as_str());
            self.tell(Step::ExemptionEnded, why, now);
        }
        let standing = standing?;
        let same = before.as_ref().is_some_and(|note| note.tag == standing.tag && note.state == standing.state);
        if !same && !ended {
            let step = if standing.state == State::InEffect { Step::Exempt } else { Step::NotExempt };
            self.tell(step, &standing.detail, now);
        }
        let pending = !same || before.is_some_and(|note| note.pending);
        self.exemption = Some(Note { tag: standing.tag.clone(), state: standing.state, pending });
        pending.then_some(standing)
    }

    /// Takes note that the finding is no more.
    fn resolve(&mut self, resolution: &Resolution, now: Timestamp) {
        let (reason, detail) = (resolution.reason.clone().into_owned(), resolution.detail.clone());
        self.push(Entry { at: now, step: Step::Resolved, severity: self.severity, reason, detail });
    }

    /// Why the finding is no more, as far as the story knows.
    fn resolution(&self) -> Option<Resolution> {
        let last = self.story.iter().rev().find(|entry| entry.step == Step::Resolved)?;
        Some(Resolution { compliance: None, reason: last.reason.clone().into(), detail: last.detail.clone() })
    }
}

fn key_gone() -> Resolution {
    Resolution { compliance: None, reason: Cow::Borrowed("key_gone"), detail: "the key is no more".to_owned() }
}

#[cfg(test)]
mod tests;
