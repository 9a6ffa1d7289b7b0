//! The alert as people read it: plain text, worst first. What is the same of many keys is said once.
//!
//! Other people's text (aliases, tags, AWS's messages) comes in through [`printable`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use domain::control::Severity;
use domain::finding::Finding;
use domain::ledger::{Change, FindingUpdate};
use domain::location::Location;
use domain::report::Report;
use domain::text::{printable, unlinked};
use domain::verdict::{Compliance, date};

use crate::evidence::minute;
use crate::updates::{Tally, counted, escaped_len, is_unwatched, of_change};
use crate::words::{MAX_NAMED_KEYS, evidence_lines, joined, short_name, what_changed};

/// Most findings that the message tells in full, and most lines of each list after them.
const MAX_IN_FULL: usize = 50;

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

/// What the message tells in one place.
enum Entry<'a> {
    /// One control that one key does not meet.
    OneKey(&'a FindingUpdate<'a>),
    /// The same of several keys.
    ManyKeys(Vec<&'a FindingUpdate<'a>>),
    /// One cause that kept the run from knowing, wherever it struck.
    Cause(Vec<&'a FindingUpdate<'a>>),
}

impl Entry<'_> {
    fn updates(&self) -> &[&FindingUpdate<'_>] {
        match self {
            Self::OneKey(update) => std::slice::from_ref(update),
            Self::ManyKeys(updates) | Self::Cause(updates) => updates,
        }
    }
}

/// What makes findings of several keys one entry. What is not known is one by its cause, whatever the control.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Sameness<'a> {
    compliance: Compliance,
    change: Option<Change>,
    severity: Severity,
    was: Option<(Severity, &'a str)>,
    /// Day since which it is open, of a reminder.
    since: Option<String>,
    /// Control, or reason of what is not known.
    what: &'a str,
    detail: &'a str,
    remediation: &'a str,
}

fn sameness<'a>(update: &'a FindingUpdate<'_>) -> Sameness<'a> {
    let Finding { compliance, control, detail, remediation, reason, severity, .. } = &*update.finding;
    let is_known = *compliance == Compliance::NonCompliant;
    Sameness {
        compliance: *compliance,
        change: update.change,
        severity: *severity,
        was: update.was.as_ref().map(|(severity, reason)| (*severity, reason.as_str())),
        since: (update.change == Some(Change::Reminder)).then(|| date(update.first_seen)),
        what: if is_known { control } else { reason },
        detail,
        remediation: if is_known { remediation } else { "" },
    }
}

/// What is open: worst first, as the updates are. A common entry stands where its first finding stands.
fn entries<'a>(updates: &'a [FindingUpdate<'a>]) -> Vec<Entry<'a>> {
    let is_open =
        |update: &&FindingUpdate<'_>| matches!(update.change, Some(Change::New | Change::Worsened | Change::Reminder));
    let mut groups: Vec<Vec<&'a FindingUpdate<'a>>> = Vec::new();
    let mut places: BTreeMap<Sameness<'a>, usize> = BTreeMap::new();
    for update in updates.iter().filter(is_open) {
        let place = *places.entry(sameness(update)).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.push(update),
            None => groups.push(vec![update]),
        }
    }
    let entry = |group: Vec<&'a FindingUpdate<'a>>| match group.as_slice() {
        [first, ..] if first.finding.compliance != Compliance::NonCompliant => Entry::Cause(group),
        [only] => Entry::OneKey(only),
        _ => Entry::ManyKeys(group),
    };
    groups.into_iter().map(entry).collect()
}

fn with_at_most(report: &Report, updates: &[FindingUpdate<'_>], entries: &[Entry<'_>], max: usize) -> String {
    let mut text = opening(report, updates);
    let all_new = updates.iter().all(|update| update.change == Some(Change::New));
    let mut omitted = Omitted::default();
    tell_deleted(&mut text, updates, max);
    let (in_full, rest) = entries.split_at(max.min(entries.len()));
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for entry in in_full {
        match entry {
            Entry::OneKey(update) => {
                if told.insert(&update.finding.key_arn) {
                    tell_key(&mut text, &report.location, &update.finding, in_full, all_new);
                }
            }
            Entry::ManyKeys(updates) => {
                let (named, others) = by_name(updates, max);
                tell_keys(&mut text, &named, updates.len(), all_new);
                omitted.count_all(others);
            }
            Entry::Cause(updates) => tell_cause(&mut text, &report.location, updates, all_new),
        }
    }
    omitted.count_all(rest.iter().flat_map(Entry::updates).copied());
    omitted.tell(&mut text, "Not told in full");
    tell_exemptions(&mut text, updates, max);
    let (unwatched, resolved): (Vec<_>, Vec<_>) =
        of_change(updates, Change::Resolved).partition(|update| is_unwatched(update));
    tell_ended(&mut text, "No longer watched", &unwatched, max);
    tell_ended(&mut text, "Resolved", &resolved, max);
    text
}

fn opening(report: &Report, updates: &[FindingUpdate<'_>]) -> String {
    let keys: BTreeSet<&str> = updates.iter().map(|update| update.finding.key_arn.as_str()).collect();
    let mut text = format!(
        "{} on {} in account {}, Region {}.\n{}, {}\n",
        Tally::of(updates).summary("finding"),
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

    fn count_all<'f: 'a>(&mut self, updates: impl IntoIterator<Item = &'a FindingUpdate<'f>>) {
        for update in updates {
            self.count(update);
        }
    }

    fn tell(&self, text: &mut String, what: &str) {
        if !self.0.is_empty() {
            let counts: Vec<_> = self.0.iter().map(|(control, count)| format!("{control} {count}")).collect();
            let _ = write!(text, "\n{what}, by control: {}.\n", counts.join(", "));
        }
    }
}

/// Keys that were deleted: nothing can be worse, and nothing can be done about the key.
fn tell_deleted(text: &mut String, updates: &[FindingUpdate<'_>], max: usize) {
    let deleted: Vec<_> = of_change(updates, Change::Deleted).collect();
    let Some(first) = deleted.first() else { return };
    text.push_str("\nDeleted keys:\n");
    let mut omitted = Omitted::default();
    let (named, others) = by_name(&deleted, max);
    for update in named {
        let _ = writeln!(text, "  {}", title(&update.finding));
    }
    let _ = writeln!(text, "  {}  {}", first.finding.severity.as_str(), printable(&first.finding.detail));
    tell_remediation(text, &first.finding);
    omitted.count_all(others);
    omitted.tell(text, "More deleted");
}

/// All that is said in full about the key of `first`.
fn tell_key(text: &mut String, location: &Location, first: &Finding, entries: &[Entry<'_>], all_new: bool) {
    let _ = write!(text, "\n{}\n", title(first));
    for entry in entries {
        let Entry::OneKey(update) = entry else { continue };
        let finding = &update.finding;
        if finding.key_arn != first.key_arn {
            continue;
        }
        tell_finding(text, update, all_new);
        text.push_str(&evidence_lines(&finding.evidence));
        tell_remediation(text, finding);
    }
    if let Some(link) = location.console_link(&first.key_id) {
        let _ = writeln!(text, "  {link}");
    }
}

/// The same of several keys, those that there is room for by name.
fn tell_keys(text: &mut String, named: &[&FindingUpdate<'_>], count: usize, all_new: bool) {
    let Some(first) = named.first() else { return };
    let _ = write!(text, "\n{}:\n", counted(count, "key"));
    tell_finding(text, first, all_new);
    for update in named {
        let _ = writeln!(text, "    {}", short_name(&update.finding.aliases, &update.finding.key_id));
    }
    if count > named.len() {
        let _ = writeln!(text, "    and {} more", count - named.len());
    }
    tell_remediation(text, &first.finding);
}

fn tell_finding(text: &mut String, update: &FindingUpdate<'_>, all_new: bool) {
    let finding = &update.finding;
    let (severity, change) = (finding.severity.as_str(), changed(update, all_new));
    let _ = writeln!(text, "  {severity}  {}{change}: {}", finding.control, printable(&finding.detail));
}

fn tell_cause(text: &mut String, location: &Location, updates: &[&FindingUpdate<'_>], all_new: bool) {
    let Some(first) = updates.first() else { return };
    let controls: BTreeSet<&str> = updates.iter().map(|update| update.finding.control).collect();
    let controls: Vec<&str> = controls.into_iter().collect();
    let names = Names::of(updates);
    let finding = &first.finding;
    let detail = printable(&finding.detail);
    let _ = write!(text, "\nCould not evaluate {}: {detail}\n", counted(names.0.len(), "key"));
    let (severity, change) = (finding.severity.as_str(), changed(first, all_new));
    let _ = writeln!(text, "  {severity}  {}{change}", controls.join(", "));
    let _ = writeln!(text, "    Where: {names}");
    tell_remediation(text, finding);
    if names.0.len() == 1
        && let Some(link) = location.console_link(&finding.key_id)
    {
        let _ = writeln!(text, "  {link}");
    }
}

fn changed(update: &FindingUpdate<'_>, all_new: bool) -> String {
    let FindingUpdate { change, finding, first_seen, was, .. } = update;
    what_changed(*change, finding.severity, was.as_ref(), *first_seen, all_new)
}

fn tell_remediation(text: &mut String, finding: &Finding) {
    if !finding.remediation.is_empty() {
        let _ = writeln!(text, "    Remediation: {}", printable(&finding.remediation));
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
            // Whoever may tag a key may write anything here.
            let (name, control, detail) = (name(&update.finding), update.finding.control, unlinked(&status.detail));
            let _ = writeln!(text, "  {name}: {control}: {detail}");
        } else {
            omitted.count(update);
        }
    }
    omitted.tell(text, "More exemptions");
}

/// What no longer exists, in short. A common cause that passed is said once.
fn tell_ended(text: &mut String, heading: &str, ended: &[&FindingUpdate<'_>], max: usize) {
    let mut lines: Vec<(String, Vec<&FindingUpdate<'_>>)> = Vec::new();
    let mut causes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for update in ended {
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
        let now = now.map(|now| format!(": {}", printable(now))).unwrap_or_default();
        let since = date(update.first_seen);
        lines.push((format!("{}: {}, open since {since}{now}", name(finding), finding.control), vec![update]));
    }
    let (in_full, rest) = lines.split_at(max.min(lines.len()));
    for (n, (line, updates)) in in_full.iter().enumerate() {
        if n == 0 {
            let _ = write!(text, "\n{heading}:\n");
        }
        if let (true, Some(first)) = (line.is_empty(), updates.first()) {
            let names = Names::of(updates);
            let keys = counted(names.0.len(), "key");
            let _ = writeln!(text, "  no longer, for {keys}: {}: {names}", printable(&first.finding.detail));
        } else {
            let _ = writeln!(text, "  {line}");
        }
    }
    let mut omitted = Omitted::default();
    omitted.count_all(rest.iter().flat_map(|(_, updates)| updates).copied());
    omitted.tell(text, &format!("More {}", heading.to_lowercase()));
}

/// The findings in the order of their keys' names, and those that there is no room for.
fn by_name<'a, 'f>(
    updates: &[&'a FindingUpdate<'f>],
    max: usize,
) -> (Vec<&'a FindingUpdate<'f>>, Vec<&'a FindingUpdate<'f>>) {
    let mut updates = updates.to_vec();
    // Those with an alias first: people know them by it.
    updates.sort_by_key(|update| (update.finding.aliases.is_empty(), name(&update.finding)));
    let others = updates.split_off(max.min(updates.len()));
    (updates, others)
}

/// The names of keys that something is said of together: the first few, and how many more.
struct Names(Vec<String>);

impl Names {
    fn of(updates: &[&FindingUpdate<'_>]) -> Self {
        let mut names: Vec<String> = updates.iter().map(|update| name(&update.finding)).collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }
}

impl std::fmt::Display for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&joined(&self.0, MAX_NAMED_KEYS))
    }
}

/// The key's first alias, or its ARN.
fn name(finding: &Finding) -> String {
    printable(finding.aliases.first().unwrap_or(&finding.key_arn))
}

fn title(finding: &Finding) -> String {
    let arn = printable(&finding.key_arn);
    if finding.aliases.is_empty() {
        return arn;
    }
    format!("{} ({arn})", printable(&finding.aliases.join(", ")))
}
