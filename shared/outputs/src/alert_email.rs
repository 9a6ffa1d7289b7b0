//! The alert as people read it: plain text, worst first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use domain::finding::Finding;
use domain::ledger::{Change, FindingUpdate};
use domain::location::Location;
use domain::report::Report;
use domain::verdict::{Compliance, date};
use jiff::Timestamp;
use serde_json::Value;

use crate::alert::{counted, escaped_len, of_change, summary};

/// Most findings that the message tells in full, and most lines of each list after them.
const MAX_IN_FULL: usize = 50;

/// Most keys that one common cause names.
const MAX_NAMED_KEYS: usize = 10;

/// Most bytes of the text, as it stands in the message.
const MAX_EMAIL_BYTES: usize = 100_000;

/// The text, as long as it may be.
pub(crate) fn text(report: &Report, updates: &[FindingUpdate<'_>]) -> String {
    let entries = entries(updates);
    let mut max = MAX_IN_FULL;
    loop {
        let text = with_at_most(report, updates, &entries, max);
        if escaped_len(&text) <= MAX_EMAIL_BYTES || max == 0 {
            return text;
        }
        max /= 2;
    }
}

/// What the message for people tells in one place.
enum Entry<'a> {
    /// One control that one key does not meet.
    NotMet(&'a FindingUpdate<'a>),
    /// One cause that kept the run from knowing, wherever it struck.
    NotKnown(Vec<&'a FindingUpdate<'a>>),
}

impl Entry<'_> {
    fn updates(&self) -> &[&FindingUpdate<'_>] {
        match self {
            Self::NotMet(update) => std::slice::from_ref(update),
            Self::NotKnown(updates) => updates,
        }
    }
}

/// What is open: worst first, as the updates are. A common cause stands where its first finding stands.
fn entries<'a>(updates: &'a [FindingUpdate<'a>]) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut causes: BTreeMap<(Change, &str, &str), usize> = BTreeMap::new();
    for update in updates {
        let Some(change) = update.change.filter(|change| *change != Change::Resolved) else { continue };
        let finding = &update.finding;
        if finding.compliance == Compliance::NonCompliant {
            entries.push(Entry::NotMet(update));
            continue;
        }
        let at = *causes.entry((change, &finding.reason, &finding.detail)).or_insert(entries.len());
        match entries.get_mut(at) {
            Some(Entry::NotKnown(all)) => all.push(update),
            _ => entries.push(Entry::NotKnown(vec![update])),
        }
    }
    entries
}

fn with_at_most(report: &Report, updates: &[FindingUpdate<'_>], entries: &[Entry<'_>], max: usize) -> String {
    let mut text = opening(report, updates);
    let all_new = updates.iter().all(|update| update.change == Some(Change::New));
    let (in_full, rest) = entries.split_at(max.min(entries.len()));
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for entry in in_full {
        match entry {
            Entry::NotMet(update) => {
                if told.insert(&update.finding.key_arn) {
                    tell_key(&mut text, &report.location, &update.finding, in_full, all_new);
                }
            }
            Entry::NotKnown(updates) => tell_cause(&mut text, &report.location, updates, all_new),
        }
    }
    let mut omitted = Omitted::default();
    rest.iter().flat_map(Entry::updates).for_each(|update| omitted.count(update));
    omitted.tell(&mut text, "Not told in full");
    tell_exemptions(&mut text, updates, max);
    tell_resolved(&mut text, updates, max);
    text
}

fn opening(report: &Report, updates: &[FindingUpdate<'_>]) -> String {
    let keys: BTreeSet<&str> = updates.iter().map(|update| update.finding.key_arn.as_str()).collect();
    let mut text = format!(
        "{} on {} in account {}, Region {}.\n{}, {}\n",
        summary(updates, "finding"),
        counted(keys.len(), "KMS key"),
        report.location.account_id,
        report.location.region,
        report.function,
        minute(report.evaluated_at),
    );
    if !report.complete {
        text.push_str("\nThis run did not see every key");
        if report.keys_not_reached > 0 {
            let _ = write!(text, ": time ran out before {} of them", report.keys_not_reached);
        }
        text.push_str(". Keys that were not reached are neither reported nor cleared.\n");
    }
    text
}

/// Findings that there is no room for, by control.
#[derive(Default)]
struct Omitted<'a>(BTreeMap<&'a str, usize>);

impl<'a> Omitted<'a> {
    fn count(&mut self, update: &'a FindingUpdate<'_>) {
        *self.0.entry(update.finding.control).or_default() += 1;
    }

    fn tell(&self, text: &mut String, what: &str) {
        if !self.0.is_empty() {
            let counts: Vec<_> = self.0.iter().map(|(control, count)| format!("{control} {count}")).collect();
            let _ = write!(text, "\n{what}, by control: {}.\n", counts.join(", "));
        }
    }
}

/// All that is said in full about the key of `first`.
fn tell_key(text: &mut String, location: &Location, first: &Finding, entries: &[Entry<'_>], all_new: bool) {
    let _ = write!(text, "\n{}\n", title(first));
    for entry in entries {
        let Entry::NotMet(update) = entry else { continue };
        let finding = &update.finding;
        if finding.key_arn != first.key_arn {
            continue;
        }
        let (severity, change) = (finding.severity.as_str(), what_changed(update, all_new));
        let _ = writeln!(text, "  {severity}  {}{change}: {}", finding.control, finding.detail);
        tell_evidence(text, finding);
        tell_remediation(text, finding);
    }
    if let Some(link) = location.console_link(&first.key_id) {
        let _ = writeln!(text, "  {link}");
    }
}

fn tell_cause(text: &mut String, location: &Location, updates: &[&FindingUpdate<'_>], all_new: bool) {
    let Some(first) = updates.first() else { return };
    let controls: BTreeSet<&str> = updates.iter().map(|update| update.finding.control).collect();
    let controls: Vec<&str> = controls.into_iter().collect();
    let names = Names::of(updates);
    let finding = &first.finding;
    let _ = write!(text, "\nCould not evaluate {}: {}\n", counted(names.0.len(), "key"), finding.detail);
    let (severity, change) = (finding.severity.as_str(), what_changed(first, all_new));
    let _ = writeln!(text, "  {severity}  {}{change}", controls.join(", "));
    let _ = writeln!(text, "    Where: {names}");
    tell_remediation(text, finding);
    if names.0.len() == 1
        && let Some(link) = location.console_link(&finding.key_id)
    {
        let _ = writeln!(text, "  {link}");
    }
}

/// What happened to an open finding. Where all are new, the first line says so.
fn what_changed(update: &FindingUpdate<'_>, all_new: bool) -> String {
    match (update.change, &update.was) {
        (Some(Change::Worsened), Some((severity, reason))) => {
            format!(" (worsened, was {} {reason})", severity.as_str())
        }
        (Some(Change::Worsened), None) => " (worsened)".to_owned(),
        (Some(Change::Reminder), _) => format!(" (still open, since {})", date(update.first_seen)),
        _ if all_new => String::new(),
        _ => " (new)".to_owned(),
    }
}

fn tell_remediation(text: &mut String, finding: &Finding) {
    if !finding.remediation.is_empty() {
        let _ = writeln!(text, "    Remediation: {}", finding.remediation);
    }
}

fn tell_exemptions(text: &mut String, updates: &[FindingUpdate<'_>], max: usize) {
    let mut omitted = Omitted::default();
    let announced = updates.iter().filter_map(|update| Some((update, update.exemption.as_ref()?)));
    for (n, (update, status)) in announced.enumerate() {
        if n == 0 {
            text.push_str("\nExemptions:\n");
        }
        if n < max {
            let _ = writeln!(text, "  {}: {}: {}", name(&update.finding), update.finding.control, status.detail);
        } else {
            omitted.count(update);
        }
    }
    omitted.tell(text, "More exemptions");
}

/// What no longer exists, in short. A common cause that passed is said once.
fn tell_resolved(text: &mut String, updates: &[FindingUpdate<'_>], max: usize) {
    let mut lines: Vec<(String, Vec<&FindingUpdate<'_>>)> = Vec::new();
    let mut causes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for update in of_change(updates, Change::Resolved) {
        let finding = &update.finding;
        if finding.compliance == Compliance::InsufficientData {
            let at = *causes.entry((&finding.reason, &finding.detail)).or_insert(lines.len());
            match lines.get_mut(at) {
                Some((_, all)) => all.push(update),
                None => lines.push((String::new(), vec![update])),
            }
            continue;
        }
        let now = update.resolution.as_ref().map(|it| it.detail.as_str()).filter(|detail| !detail.is_empty());
        let now = now.map(|now| format!(": {now}")).unwrap_or_default();
        let since = date(update.first_seen);
        lines.push((format!("{}: {}, open since {since}{now}", name(finding), finding.control), vec![update]));
    }
    let (in_full, rest) = lines.split_at(max.min(lines.len()));
    for (n, (line, updates)) in in_full.iter().enumerate() {
        if n == 0 {
            text.push_str("\nResolved:\n");
        }
        if let (true, Some(first)) = (line.is_empty(), updates.first()) {
            let names = Names::of(updates);
            let keys = counted(names.0.len(), "key");
            let _ = writeln!(text, "  no longer, for {keys}: {}: {names}", first.finding.detail);
        } else {
            let _ = writeln!(text, "  {line}");
        }
    }
    let mut omitted = Omitted::default();
    rest.iter().flat_map(|(_, updates)| updates).for_each(|update| omitted.count(update));
    omitted.tell(text, "More resolved");
}

/// The names of keys that something is said of together: the first few, and how many more.
struct Names<'a>(Vec<&'a str>);

impl<'a> Names<'a> {
    fn of(updates: &[&'a FindingUpdate<'_>]) -> Self {
        let mut names: Vec<&str> = updates.iter().map(|update| name(&update.finding)).collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }
}

impl std::fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (told, more) = self.0.split_at(self.0.len().min(MAX_NAMED_KEYS));
        f.write_str(&told.join(", "))?;
        if more.is_empty() { Ok(()) } else { write!(f, " and {} more", more.len()) }
    }
}

fn name(finding: &Finding) -> &str {
    finding.aliases.first().unwrap_or(&finding.key_arn)
}

fn title(finding: &Finding) -> String {
    if finding.aliases.is_empty() {
        return finding.key_arn.clone();
    }
    format!("{} ({})", finding.aliases.join(", "), finding.key_arn)
}

/// The evidence in one line, and each link in it in one of its own.
fn tell_evidence(text: &mut String, finding: &Finding) {
    let facts = finding.evidence.iter().map(|(name, value)| (name.replace('_', " "), in_words(value)));
    let (links, words): (Vec<_>, Vec<_>) = facts.partition(|(_, value)| value.starts_with("https://"));
    if !words.is_empty() {
        let words: Vec<_> = words.into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        let _ = writeln!(text, "    Evidence: {}", words.join("; "));
    }
    for (name, link) in links {
        let _ = writeln!(text, "    Evidence, {name}: {link}");
    }
}

/// A value of the evidence. Of objects in a list, what they hold; anything else as JSON writes it.
fn in_words(value: &Value) -> String {
    let words = |name: &str, value: &Value| match value {
        Value::Null => None,
        Value::Array(values) if values.is_empty() => None,
        Value::Array(values) => Some(format!("{name} {}", values.iter().map(in_words).collect::<Vec<_>>().join(", "))),
        value => Some(format!("{name} {}", in_words(value))),
    };
    match value {
        Value::String(text) => readable(text),
        Value::Object(members) => {
            let words = members.iter().filter_map(|(name, value)| words(&name.replace('_', " "), value));
            format!("({})", words.collect::<Vec<_>>().join(", "))
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            values.iter().map(in_words).collect::<Vec<_>>().join(" ")
        }
        value => value.to_string(),
    }
}

/// A text of the evidence; an instant to the minute.
fn readable(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), minute)
}

/// An instant as people read it.
fn minute(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
