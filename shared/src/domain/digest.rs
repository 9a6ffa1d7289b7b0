//! The words of an alert: one message for people and one for programs, both about what changed since the last alert.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::control::Severity;
use super::evaluation::{Compliance, date};
use super::exemption::Standing;
use super::ledger::{Change, News};
use super::location::Location;
use super::report::{Finding, Report};

/// Name and version of the form of the message for programs.
const SCHEMA: &str = "kms-compliance-alert/1";

/// Most findings that the message for people tells in full, and most lines of each list after them.
const MOST_IN_FULL: usize = 50;

/// Most keys that one common cause names.
const MOST_NAMED_KEYS: usize = 10;

/// Most bytes of the published message. SNS takes 262,144, attributes and subject included.
const MOST_MESSAGE_BYTES: usize = 240_000;

/// Most bytes of the part for people within that.
const MOST_EMAIL_BYTES: usize = 100_000;

/// SNS takes fewer than 100 characters.
const MOST_SUBJECT_CHARS: usize = 99;

/// An alert as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Worst severity in it.
    pub severity: Severity,
    /// Printable ASCII, under 100 characters.
    pub subject: String,
    /// Plain text for people.
    pub email: String,
    /// JSON for programs.
    pub default: String,
}

impl Digest {
    /// The alert of a run, or nothing if there is nothing to say. Expects the news in the order in which a
    /// [`Comparison`](super::ledger::Comparison) gives them.
    pub fn of(report: &Report, location: &Location, news: &[News<'_>]) -> Option<Self> {
        let severity = news.iter().map(|news| news.finding.severity).max()?;
        let email = email(report, location, news);
        let room = MOST_MESSAGE_BYTES.saturating_sub(escaped_len(&email));
        Some(Self {
            severity,
            subject: subject(severity, report, news),
            default: for_programs(report, news, room),
            email,
        })
    }

    /// The message in SNS's JSON structure: one text for each protocol.
    pub fn message(&self) -> String {
        json!({"default": self.default, "email": self.email}).to_string()
    }
}

fn of_change<'n, 'f>(news: &'n [News<'f>], change: Change) -> impl Iterator<Item = &'n News<'f>> {
    news.iter().filter(move |news| news.change == Some(change))
}

/// How many changes there are of each kind, without those that there are none of; and how many exemptions are told.
fn counts(news: &[News<'_>]) -> (Vec<(usize, &'static str)>, usize) {
    let changes = [
        (Change::New, "new"),
        (Change::Worsened, "worsened"),
        (Change::Reminder, "still open"),
        (Change::Resolved, "resolved"),
    ];
    let counts = changes.map(|(change, word)| (of_change(news, change).count(), word));
    let exemptions = news.iter().filter(|news| news.exemption.is_some()).count();
    (counts.into_iter().filter(|(count, _)| *count > 0).collect(), exemptions)
}

fn listed(counts: &[(usize, &str)]) -> String {
    counts.iter().map(|(count, word)| format!("{count} {word}")).collect::<Vec<_>>().join(", ")
}

/// How many there are of each kind, in words.
fn summary(news: &[News<'_>], finding: &str) -> String {
    let (counts, exemptions) = counts(news);
    let plural = if matches!(counts.as_slice(), [(1, _)]) { "" } else { "s" };
    let changes = (!counts.is_empty()).then(|| format!("{} {finding}{plural}", listed(&counts)));
    let exemptions = (exemptions > 0).then(|| counted(exemptions, "exemption notice"));
    changes.into_iter().chain(exemptions).collect::<Vec<_>>().join(", ")
}

/// As many words as fit.
fn subject(severity: Severity, report: &Report, news: &[News<'_>]) -> String {
    let Report { function, account_id, region, .. } = report;
    let short = || {
        let (mut counts, exemptions) = counts(news);
        counts.extend((exemptions > 0).then_some((exemptions, "exempt")));
        listed(&counts).replace("still ", "")
    };
    let forms: [&dyn Fn() -> String; 3] =
        [&|| summary(news, "KMS finding"), &short, &|| counted(news.len(), "KMS finding")];
    let with = |what: String| format!("{}: {what} - {function} {account_id} {region}", severity.as_str());
    let mut texts = forms.into_iter().map(|form| with(form()));
    let last = texts.next_back().unwrap_or_default();
    let text = texts.find(|text| text.chars().count() <= MOST_SUBJECT_CHARS).unwrap_or(last);
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MOST_SUBJECT_CHARS).collect()
}

/// A finding as programs read it.
fn change_for_programs(news: &News<'_>, change: Change) -> Value {
    let mut value = json!(news.finding);
    let Some(fields) = value.as_object_mut().filter(|_| change != Change::New) else { return value };
    fields.insert("first_seen".to_owned(), json!(news.first_seen));
    if let Some((severity, reason)) = &news.was {
        fields.insert("was".to_owned(), json!({"severity": severity, "reason": reason}));
    }
    if let Some(resolution) = &news.resolution {
        fields.insert("resolution".to_owned(), json!(resolution));
    }
    value
}

/// What programs read of an exemption.
fn exemption_for_programs(finding: &Finding, standing: &Standing) -> Value {
    let Finding { control, key_arn, key_id, aliases, severity, .. } = finding;
    let Standing { tag, state, exemption, detail } = standing;
    let mut value = json!({
        "control": control,
        "key_arn": key_arn,
        "key_id": key_id,
        "aliases": aliases,
        "severity": severity,
        "state": state,
        "detail": detail,
        "tag": tag,
    });
    if let (Some(fields), Some(exemption)) = (value.as_object_mut(), exemption) {
        fields.insert("until".to_owned(), json!(exemption.until));
        fields.insert("owner".to_owned(), json!(exemption.owner));
        fields.insert("reason".to_owned(), json!(exemption.reason));
    }
    value
}

fn for_programs(report: &Report, news: &[News<'_>], room: usize) -> String {
    let message = |lists: BTreeMap<&str, Vec<Value>>, omitted: &BTreeMap<&str, u64>| {
        let mut message = json!({
            "schema": SCHEMA,
            "function": report.function,
            "account_id": report.account_id,
            "region": report.region,
            "evaluated_at": report.evaluated_at,
            "complete": report.complete,
            "new": [],
            "worsened": [],
            "resolved": [],
            "reminder": [],
            "exemptions": [],
            "omitted": omitted,
        });
        if let Some(fields) = message.as_object_mut() {
            fields.extend(lists.into_iter().map(|(name, list)| (name.to_owned(), Value::from(list))));
        }
        message.to_string()
    };
    // What the counts of all controls take at most is set aside first.
    let mut omitted: BTreeMap<&str, u64> = report.controls.keys().map(|control| (*control, u64::MAX)).collect();
    let mut room = room.saturating_sub(escaped_len(&message(BTreeMap::new(), &omitted)));
    omitted.clear();
    let mut lists: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    let mut is_full = false;
    for news in news {
        let mut carry = |list, value: &dyn Fn() -> Value| {
            let value = (!is_full).then(value);
            let bytes = value.as_ref().map_or(usize::MAX, |value| escaped_len(&value.to_string()) + 1);
            // From the first that does not fit on all is omitted: what is carried is the worst.
            is_full |= bytes > room;
            match value.filter(|_| !is_full) {
                Some(value) => {
                    room -= bytes;
                    lists.entry(list).or_default().push(value);
                }
                None => *omitted.entry(news.finding.control).or_default() += 1,
            }
        };
        if let Some(change) = news.change {
            carry(change.as_str(), &|| change_for_programs(news, change));
        }
        if let Some(standing) = &news.exemption {
            carry("exemptions", &|| exemption_for_programs(&news.finding, standing));
        }
    }
    message(lists, &omitted)
}

/// Length of a text once it stands as a string within JSON.
fn escaped_len(text: &str) -> usize {
    Value::from(text).to_string().len()
}

fn email(report: &Report, location: &Location, news: &[News<'_>]) -> String {
    let entries = entries(news);
    let mut most = MOST_IN_FULL;
    loop {
        let text = email_with(report, location, news, &entries, most);
        if escaped_len(&text) <= MOST_EMAIL_BYTES || most == 0 {
            return text;
        }
        most /= 2;
    }
}

/// What the message for people tells in one place.
enum Entry<'a> {
    /// One control that one key does not meet.
    NotMet(&'a News<'a>),
    /// One cause that kept the run from knowing, wherever it struck.
    NotKnown(Vec<&'a News<'a>>),
}

impl Entry<'_> {
    fn news(&self) -> &[&News<'_>] {
        match self {
            Self::NotMet(news) => std::slice::from_ref(news),
            Self::NotKnown(news) => news,
        }
    }
}

/// What is open: worst first, as the news are. A common cause stands where its first finding stands.
fn entries<'a>(news: &'a [News<'a>]) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut causes: BTreeMap<(Change, &str, &str), usize> = BTreeMap::new();
    for news in news {
        let Some(change) = news.change.filter(|change| *change != Change::Resolved) else { continue };
        let finding = &news.finding;
        if finding.compliance == Compliance::NonCompliant {
            entries.push(Entry::NotMet(news));
            continue;
        }
        let at = *causes.entry((change, &finding.reason, &finding.detail)).or_insert(entries.len());
        match entries.get_mut(at) {
            Some(Entry::NotKnown(all)) => all.push(news),
            _ => entries.push(Entry::NotKnown(vec![news])),
        }
    }
    entries
}

fn email_with(report: &Report, location: &Location, news: &[News<'_>], entries: &[Entry<'_>], most: usize) -> String {
    let mut text = opening(report, news);
    let all_new = news.iter().all(|news| news.change == Some(Change::New));
    let (in_full, rest) = entries.split_at(most.min(entries.len()));
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for entry in in_full {
        match entry {
            Entry::NotMet(news) => {
                if told.insert(&news.finding.key_arn) {
                    tell_key(&mut text, location, &news.finding, in_full, all_new);
                }
            }
            Entry::NotKnown(news) => tell_cause(&mut text, location, news, all_new),
        }
    }
    let mut omitted = Omitted::default();
    rest.iter().flat_map(Entry::news).for_each(|news| omitted.count(news));
    omitted.tell(&mut text, "Not told in full");
    tell_exemptions(&mut text, news, most);
    tell_resolved(&mut text, news, most);
    text
}

fn opening(report: &Report, news: &[News<'_>]) -> String {
    let keys: BTreeSet<&str> = news.iter().map(|news| news.finding.key_arn.as_str()).collect();
    let mut text = format!(
        "{} on {} in account {}, Region {}.\n{}, {}\n",
        summary(news, "finding"),
        counted(keys.len(), "KMS key"),
        report.account_id,
        report.region,
        report.function,
        report.evaluated_at.strftime("%Y-%m-%d %H:%M UTC"),
    );
    if !report.complete {
        text.push_str("\nThis run did not see every key");
        if report.keys_not_reached > 0 {
            let _ = write!(text, ": time ran out before {} of them", report.keys_not_reached);
        }
        text.push_str(". What it did not see is neither good nor bad news.\n");
    }
    text
}

/// Findings that there is no room for, by control.
#[derive(Default)]
struct Omitted<'a>(BTreeMap<&'a str, usize>);

impl<'a> Omitted<'a> {
    fn count(&mut self, news: &'a News<'_>) {
        *self.0.entry(news.finding.control).or_default() += 1;
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
        let Entry::NotMet(news) = entry else { continue };
        let finding = &news.finding;
        if finding.key_arn != first.key_arn {
            continue;
        }
        let (severity, change) = (finding.severity.as_str(), what_changed(news, all_new));
        let _ = writeln!(text, "  {severity}  {}{change}: {}", finding.control, finding.detail);
        tell_evidence(text, finding);
        tell_remediation(text, finding);
    }
    if let Some(link) = location.console_link(&first.key_id) {
        let _ = writeln!(text, "  {link}");
    }
}

fn tell_cause(text: &mut String, location: &Location, news: &[&News<'_>], all_new: bool) {
    let Some(first) = news.first() else { return };
    let controls: BTreeSet<&str> = news.iter().map(|news| news.finding.control).collect();
    let controls: Vec<&str> = controls.into_iter().collect();
    let names = Names::of(news);
    let finding = &first.finding;
    let _ = write!(text, "\nNot known for {}: {}\n", counted(names.0.len(), "key"), finding.detail);
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
fn what_changed(news: &News<'_>, all_new: bool) -> String {
    match (news.change, &news.was) {
        (Some(Change::Worsened), Some((severity, reason))) => {
            format!(" (worsened, was {} {reason})", severity.as_str())
        }
        (Some(Change::Worsened), None) => " (worsened)".to_owned(),
        (Some(Change::Reminder), _) => format!(" (still open, since {})", date(news.first_seen)),
        _ if all_new => String::new(),
        _ => " (new)".to_owned(),
    }
}

fn tell_remediation(text: &mut String, finding: &Finding) {
    if !finding.remediation.is_empty() {
        let _ = writeln!(text, "    What to do: {}", finding.remediation);
    }
}

fn tell_exemptions(text: &mut String, news: &[News<'_>], most: usize) {
    let mut omitted = Omitted::default();
    let announced = news.iter().filter_map(|news| Some((news, news.exemption.as_ref()?)));
    for (n, (news, standing)) in announced.enumerate() {
        if n == 0 {
            text.push_str("\nExemptions:\n");
        }
        if n < most {
            let _ = writeln!(text, "  {}: {}: {}", name(&news.finding), news.finding.control, standing.detail);
        } else {
            omitted.count(news);
        }
    }
    omitted.tell(text, "More exemptions");
}

/// What is no more, in short. A common cause that passed is said once.
fn tell_resolved(text: &mut String, news: &[News<'_>], most: usize) {
    let mut lines: Vec<(String, Vec<&News<'_>>)> = Vec::new();
    let mut causes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for news in of_change(news, Change::Resolved) {
        let finding = &news.finding;
        if finding.compliance == Compliance::InsufficientData {
            let at = *causes.entry((&finding.reason, &finding.detail)).or_insert(lines.len());
            match lines.get_mut(at) {
                Some((_, all)) => all.push(news),
                None => lines.push((String::new(), vec![news])),
            }
            continue;
        }
        let now = news.resolution.as_ref().map(|it| it.detail.as_str()).filter(|detail| !detail.is_empty());
        let now = now.map(|now| format!(": {now}")).unwrap_or_default();
        let since = date(news.first_seen);
        lines.push((format!("{}: {}, open since {since}{now}", name(finding), finding.control), vec![news]));
    }
    let (in_full, rest) = lines.split_at(most.min(lines.len()));
    for (n, (line, news)) in in_full.iter().enumerate() {
        if n == 0 {
            text.push_str("\nResolved:\n");
        }
        if let (true, Some(first)) = (line.is_empty(), news.first()) {
            let names = Names::of(news);
            let keys = counted(names.0.len(), "key");
            let _ = writeln!(text, "  no longer, for {keys}: {}: {names}", first.finding.detail);
        } else {
            let _ = writeln!(text, "  {line}");
        }
    }
    let mut omitted = Omitted::default();
    rest.iter().flat_map(|(_, news)| news).for_each(|news| omitted.count(news));
    omitted.tell(text, "More resolved");
}

/// The names of keys that something is said of together: the first few, and how many more.
struct Names<'a>(Vec<&'a str>);

impl<'a> Names<'a> {
    fn of(news: &[&'a News<'_>]) -> Self {
        let mut names: Vec<&str> = news.iter().map(|news| name(&news.finding)).collect();
        names.sort_unstable();
        names.dedup();
        Self(names)
    }
}

impl std::fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (told, more) = self.0.split_at(self.0.len().min(MOST_NAMED_KEYS));
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
    let facts = finding
        .evidence
        .iter()
        .map(|(name, value)| (name.replace('_', " "), value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
    let (links, words): (Vec<_>, Vec<_>) = facts.partition(|(_, value)| value.starts_with("https://"));
    if !words.is_empty() {
        let words: Vec<_> = words.into_iter().map(|(name, value)| format!("{name} {value}")).collect();
        let _ = writeln!(text, "    Evidence: {}", words.join("; "));
    }
    for (name, link) in links {
        let _ = writeln!(text, "    Evidence, {name}: {link}");
    }
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    use crate::domain::control::Control;
    use crate::domain::evaluation::{Cause, Failure, Verdict, not_found};
    use crate::domain::ledger::Ledger;
    use crate::domain::report::KeyIdentity;

    static OFF: Control = Control { id: "rotation-enabled", severity: Severity::Medium, references: &["Rule 1"] };
    static LATE: Control = Control { id: "rotation-overdue", severity: Severity::High, references: &[] };
    const CONTROLS: [&Control; 2] = [&OFF, &LATE];

    fn location() -> Location {
        Location { partition: "aws".into(), region: "us-east-1".into(), account_id: "123456789012".into() }
    }

    fn report() -> Report {
        Report::new("rotation-checker", &location(), "2026-11-23T06:00:00Z".parse().unwrap(), &CONTROLS, false)
    }

    fn key(n: usize) -> KeyIdentity {
        let id = format!("00000000-0000-0000-0000-{n:012}");
        KeyIdentity { arn: location().key_arn(&id), id }
    }

    /// The alert of a run without memory: all that it found is new.
    fn digest(report: &Report) -> Option<Digest> {
        let comparison = Ledger::default().compare(&report.findings, &CONTROLS, report.evaluated_at, 7);
        Digest::of(report, &location(), &comparison.news)
    }

    fn off() -> Verdict {
        Verdict::non_compliant("rotation_disabled")
            .detail("automatic rotation is off")
            .evidence("created_at", "2020-01-01T00:00:00Z")
            .remediation("Switch it on.")
    }

    fn denied() -> Verdict {
        let cause = Cause::AccessDenied;
        (&Failure { operation: "GetKeyRotationStatus", cause, code: None, message: String::new() }).into()
    }

    #[test]
    fn nothing_to_say_is_no_alert() {
        let mut report = report();
        assert_eq!(digest(&report), None);
        report.add(&key(1), CONTROLS, [Verdict::compliant("good"), Verdict::not_applicable("other")], None);
        assert_eq!(digest(&report), None);
    }

    #[test]
    fn reasons_that_pass_by_themselves_are_not_alerted() {
        for reason in NEVER {
            let mut report = report();
            let mut verdict = not_found("");
            verdict.reason = reason;
            report.add(&key(1), CONTROLS, [verdict.clone(), verdict], None);
            assert_eq!(report.findings.len(), 2);
            assert_eq!(digest(&report), None, "{reason}");
        }
    }
    const NEVER: [&str; 3] = ["learning", "key_in_transition", "usage_not_asked"];

    #[test]
    fn the_alert_as_the_team_reads_it() {
        let mut report = report();
        let late = Verdict::non_compliant("rotation_overdue").detail("12 days late").remediation("Rotate it now.");
        report.add(&key(1), CONTROLS, [off(), Verdict::not_applicable("rotation_disabled")], None);
        report.add(&key(2), CONTROLS, [off(), late], None);
        for n in 3..16 {
            report.add(&key(n), CONTROLS, [denied(), denied()], None);
        }
        report.close(&BTreeMap::from([
            (key(1).id, vec!["alias/payments".into(), "alias/cards".into()]),
            (key(3).id, vec!["alias/backup".into()]),
        ]));
        let digest = digest(&report).unwrap();
        assert_eq!(digest.subject, "HIGH: 29 new KMS findings - rotation-checker 123456789012 us-east-1");
        assert_eq!(digest.severity, Severity::High);
        let expected = "\
29 new findings on 15 KMS keys in account 123456789012, Region us-east-1.
rotation-checker, 2026-11-23 06:00 UTC

arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000002
  HIGH  rotation-overdue: 12 days late
    What to do: Rotate it now.
  MEDIUM  rotation-enabled: automatic rotation is off
    Evidence: created at 2020-01-01T00:00:00Z
    What to do: Switch it on.
  https://us-east-1.console.aws.amazon.com/kms/home?region=us-east-1#/kms/keys/00000000-0000-0000-0000-000000000002

alias/cards, alias/payments (arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000001)
  MEDIUM  rotation-enabled: automatic rotation is off
    Evidence: created at 2020-01-01T00:00:00Z
    What to do: Switch it on.
  https://us-east-1.console.aws.amazon.com/kms/home?region=us-east-1#/kms/keys/00000000-0000-0000-0000-000000000001

Not known for 13 keys: access to kms:GetKeyRotationStatus was denied
  MEDIUM  rotation-enabled, rotation-overdue
    Where: alias/backup, arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000004, \
arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000005, \
arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000006, \
arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000007, \
arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000008, \
arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000009, \
arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000010, \
arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000011, \
arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000012 and 3 more
    What to do: Allow the function's role kms:GetKeyRotationStatus on this key: let the key policy delegate to IAM, \
or name the role in it, and look for an explicit deny.
";
        assert_eq!(digest.email, expected);
    }

    /// The reports of two days, and the alert of the second.
    fn second_day(first: &mut Report, second: &mut Report) -> Option<Digest> {
        let mut records = Vec::new();
        for report in [first, second] {
            let mut ledger = Ledger::new(records);
            ledger.saw_every_key();
            report.close(&BTreeMap::from([(key(1).id, vec!["alias/payments".into()])]));
            ledger.exempt(&mut report.findings, report.evaluated_at);
            let comparison = ledger.compare(&report.findings, &CONTROLS, report.evaluated_at, 7);
            if report.evaluated_at > first_day() {
                return Digest::of(report, &location(), &comparison.news);
            }
            records = comparison.after_the_alert(report.evaluated_at).0;
        }
        None
    }

    fn first_day() -> Timestamp {
        "2026-11-16T06:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_day_on_which_much_changed() {
        let exempt = |tag: &str| BTreeMap::from([("rotation-enabled".to_owned(), tag.to_owned())]);
        let good = || Verdict::compliant("on_schedule");
        let late = |severity| {
            let late = Verdict::non_compliant("rotation_overdue").detail("12 days late").remediation("Rotate it now.");
            late.severity(severity)
        };
        let mut first = report();
        first.evaluated_at = first_day();
        first.add(&key(1), CONTROLS, [off(), late(Severity::High)], Some(&BTreeMap::new()));
        for n in 2..6 {
            first.add(&key(n), CONTROLS, [denied(), denied()], None);
        }
        first.add(&key(6), CONTROLS, [off(), good()], Some(&BTreeMap::new()));
        let mut second = report();
        second.add(&key(1), CONTROLS, [off(), late(Severity::Critical)], Some(&BTreeMap::new()));
        for n in 2..6 {
            second.add(&key(n), CONTROLS, [good(), good()], None);
        }
        second.add(&key(7), CONTROLS, [off(), good()], Some(&exempt("until=2026-12-31 owner=ana reason=moves away")));
        second.add(&key(8), CONTROLS, [off(), good()], Some(&exempt("for ever")));
        let digest = second_day(&mut first, &mut second).unwrap();
        let subject =
            "CRITICAL: 1 new, 1 worsened, 1 open, 9 resolved, 2 exempt - rotation-checker 123456789012 us-east-1";
        assert_eq!(digest.subject, subject);
        let arn = |n: usize| key(n).arn;
        let expected = format!("\
1 new, 1 worsened, 1 still open, 9 resolved findings, 2 exemption notices on 8 KMS keys in account 123456789012, Region us-east-1.
rotation-checker, 2026-11-23 06:00 UTC

alias/payments ({})
  CRITICAL  rotation-overdue (worsened, was HIGH rotation_overdue): 12 days late
    What to do: Rotate it now.
  MEDIUM  rotation-enabled (still open, since 2026-11-16): automatic rotation is off
    Evidence: created at 2020-01-01T00:00:00Z
    What to do: Switch it on.
  https://us-east-1.console.aws.amazon.com/kms/home?region=us-east-1#/kms/keys/{}

{}
  MEDIUM  rotation-enabled (new): automatic rotation is off
    Evidence: created at 2020-01-01T00:00:00Z
    What to do: Switch it on.
  https://us-east-1.console.aws.amazon.com/kms/home?region=us-east-1#/kms/keys/{}

Exemptions:
  {}: rotation-enabled: exempt until 2026-12-31 by ana: moves away
  {}: rotation-enabled: the tag does not exempt: `for` stands before `until=`, `owner=` or `reason=`

Resolved:
  no longer, for 4 keys: access to kms:GetKeyRotationStatus was denied: {}
  {}: rotation-enabled, open since 2026-11-16: the key is no more
", arn(1), key(1).id, arn(8), key(8).id, arn(7), arn(8), [arn(2), arn(3), arn(4), arn(5)].join(", "), arn(6));
        assert_eq!(digest.email, expected);
        let default: Value = serde_json::from_str(&digest.default).unwrap();
        let lists = ["new", "worsened", "reminder", "resolved", "exemptions"];
        assert_eq!(lists.map(|list| default[list].as_array().unwrap().len()), [1, 1, 1, 9, 2]);
        assert_eq!(default["worsened"][0]["was"], json!({"severity": "HIGH", "reason": "rotation_overdue"}));
        assert_eq!(default["reminder"][0]["first_seen"], "2026-11-16T06:00:00Z");
        let gone = json!({"reason": "key_gone", "detail": "the key is no more"});
        assert!(default["resolved"].as_array().unwrap().iter().any(|it| it["resolution"] == gone));
        assert_eq!(default["exemptions"][0]["state"], "in_effect");
        assert_eq!(default["exemptions"][0]["until"], "2026-12-31");
        assert_eq!(default["exemptions"][1]["state"], "malformed");
    }

    #[test]
    fn one_finding_is_said_in_the_singular() {
        let mut report = report();
        report.add(&key(1), CONTROLS, [off(), Verdict::compliant("on_schedule")], None);
        report.complete = false;
        report.keys_not_reached = 7;
        report.close(&BTreeMap::new());
        let digest = digest(&report).unwrap();
        assert_eq!(digest.subject, "MEDIUM: 1 new KMS finding - rotation-checker 123456789012 us-east-1");
        assert!(digest.email.starts_with("1 new finding on 1 KMS key in account"));
        assert!(digest.email.contains("This run did not see every key: time ran out before 7 of them."));
    }

    #[test]
    fn the_message_for_programs_follows_the_contract() {
        let mut report = report();
        report.add(&key(1), CONTROLS, [off(), denied()], None);
        report.close(&BTreeMap::new());
        let digest = digest(&report).unwrap();
        let message: Value = serde_json::from_str(&digest.message()).unwrap();
        assert_eq!(message["email"], digest.email);
        let default: Value = serde_json::from_str(message["default"].as_str().unwrap()).unwrap();
        let fields: Vec<_> = default.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            [
                "account_id",
                "complete",
                "evaluated_at",
                "exemptions",
                "function",
                "new",
                "omitted",
                "region",
                "reminder",
                "resolved",
                "schema",
                "worsened"
            ]
        );
        assert_eq!(default["schema"], "kms-compliance-alert/1");
        assert_eq!(default["new"].as_array().unwrap().len(), 2);
        assert_eq!(default["new"][0]["reason"], "rotation_disabled");
        assert_eq!(default["omitted"], json!({}));
    }

    #[test]
    fn any_number_of_findings_fits_into_one_message_and_each_is_told_or_counted() {
        for keys in [60, 3_000, 20_000] {
            let mut report = report();
            for n in 0..keys {
                // Quotes and backslashes take most room once they stand in JSON in JSON.
                let late = Verdict::non_compliant("rotation_overdue")
                    .detail("\\\"".repeat(500))
                    .evidence("quote", "\"".repeat(300))
                    .remediation("Rotate it now.");
                report.add(&key(n), CONTROLS, [off(), late], None);
            }
            report.close(&BTreeMap::new());
            let digest = digest(&report).unwrap();
            assert!(digest.message().len() < 256 * 1024, "{keys}: {}", digest.message().len());
            assert!(digest.subject.len() < 100);
            let default: Value = serde_json::from_str(&digest.default).unwrap();
            let carried = default["new"].as_array().unwrap();
            let omitted: u64 = default["omitted"].as_object().unwrap().values().map(|it| it.as_u64().unwrap()).sum();
            assert_eq!(carried.len() as u64 + omitted, 2 * keys as u64);
            assert!(carried.iter().all(|finding| finding["severity"] == "HIGH"), "the worst are carried");
            assert!(digest.email.contains("Not told in full, by control: rotation-enabled "));
        }
    }

    #[test]
    fn the_message_for_people_tells_the_fifty_worst() {
        let mut report = report();
        for n in 0..40 {
            let late = Verdict::non_compliant("rotation_overdue").detail("late").remediation("Rotate it now.");
            report.add(&key(n), CONTROLS, [off(), late], None);
        }
        report.close(&BTreeMap::new());
        let email = digest(&report).unwrap().email;
        assert_eq!(email.matches("What to do:").count(), 50);
        assert_eq!(email.matches("HIGH  rotation-overdue").count(), 40);
        assert!(email.ends_with("\nNot told in full, by control: rotation-enabled 30.\n"));
    }

    #[test]
    fn the_subject_is_printable_ascii_whatever_the_region_is_called() {
        let mut odd = report();
        odd.region = "région\n".repeat(30);
        odd.add(&key(1), CONTROLS, [off(), Verdict::compliant("good")], None);
        let text = digest(&odd).unwrap().subject;
        assert!(text.len() < 100 && text.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{text}");
    }
}
