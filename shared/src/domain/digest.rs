//! The words of an alert: one message for people and one for programs, both about what is new since the last alert.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::control::Severity;
use super::evaluation::Compliance;
use super::location::Location;
use super::report::{Finding, Report};

/// Name and version of the form of the message for programs.
const SCHEMA: &str = "kms-compliance-alert/1";

/// Most findings that the message for people tells in full.
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
    /// How many findings it is about.
    pub new: usize,
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
    /// The alert of a run, or nothing if there is nothing to say. Expects a closed report.
    pub fn of(report: &Report, location: &Location) -> Option<Self> {
        let new: Vec<&Finding> = report.findings.iter().filter(|finding| finding.is_alertable()).collect();
        let severity = new.iter().map(|finding| finding.severity).max()?;
        let email = email(report, location, &new);
        let room = MOST_MESSAGE_BYTES.saturating_sub(escaped_len(&email));
        Some(Self {
            new: new.len(),
            severity,
            subject: subject(severity, report, new.len()),
            default: for_programs(report, &new, room),
            email,
        })
    }

    /// The message in SNS's JSON structure: one text for each protocol.
    pub fn message(&self) -> String {
        json!({"default": self.default, "email": self.email}).to_string()
    }
}

fn subject(severity: Severity, report: &Report, new: usize) -> String {
    let text = format!(
        "{}: {} - {} {} {}",
        severity.as_str(),
        counted(new, "new KMS finding"),
        report.function,
        report.account_id,
        report.region
    );
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MOST_SUBJECT_CHARS).collect()
}

fn for_programs(report: &Report, new: &[&Finding], room: usize) -> String {
    let message = |new: Vec<Value>, omitted: &BTreeMap<&str, u64>| {
        json!({
            "schema": SCHEMA,
            "function": report.function,
            "account_id": report.account_id,
            "region": report.region,
            "evaluated_at": report.evaluated_at,
            "complete": report.complete,
            "new": new,
            "worsened": [],
            "resolved": [],
            "reminder": [],
            "exemptions": [],
            "omitted": omitted,
        })
        .to_string()
    };
    // What the counts of all controls take at most is set aside first.
    let mut omitted: BTreeMap<&str, u64> = report.controls.keys().map(|control| (*control, u64::MAX)).collect();
    let mut room = room.saturating_sub(escaped_len(&message(Vec::new(), &omitted)));
    omitted.clear();
    let mut carried = Vec::new();
    let mut findings = new.iter();
    for finding in &mut findings {
        let value = json!(finding);
        let bytes = escaped_len(&value.to_string()) + 1;
        if bytes > room {
            *omitted.entry(finding.control).or_default() += 1;
            break;
        }
        room -= bytes;
        carried.push(value);
    }
    for finding in findings {
        *omitted.entry(finding.control).or_default() += 1;
    }
    message(carried, &omitted)
}

/// Length of a text once it stands as a string within JSON.
fn escaped_len(text: &str) -> usize {
    Value::from(text).to_string().len()
}

fn email(report: &Report, location: &Location, new: &[&Finding]) -> String {
    let entries = entries(new);
    let mut most = MOST_IN_FULL;
    loop {
        let text = email_with(report, location, new, &entries, most);
        if escaped_len(&text) <= MOST_EMAIL_BYTES || most == 0 {
            return text;
        }
        most /= 2;
    }
}

/// What the message for people tells in one place.
enum Entry<'a> {
    /// One control that one key does not meet.
    NotMet(&'a Finding),
    /// One cause that kept the run from knowing, wherever it struck.
    NotKnown { findings: Vec<&'a Finding> },
}

impl Entry<'_> {
    fn findings(&self) -> &[&Finding] {
        match self {
            Self::NotMet(finding) => std::slice::from_ref(finding),
            Self::NotKnown { findings } => findings,
        }
    }
}

/// Worst first, as the findings are. A common cause stands where its first finding stands.
fn entries<'a>(new: &[&'a Finding]) -> Vec<Entry<'a>> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut causes: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for &finding in new {
        if finding.compliance == Compliance::NonCompliant {
            entries.push(Entry::NotMet(finding));
            continue;
        }
        let at = *causes.entry((finding.reason, &finding.detail)).or_insert(entries.len());
        match entries.get_mut(at) {
            Some(Entry::NotKnown { findings }) => findings.push(finding),
            _ => entries.push(Entry::NotKnown { findings: vec![finding] }),
        }
    }
    entries
}

fn email_with(report: &Report, location: &Location, new: &[&Finding], entries: &[Entry<'_>], most: usize) -> String {
    let keys: BTreeSet<&str> = new.iter().map(|finding| finding.key_arn.as_str()).collect();
    let mut text = format!(
        "{} on {} in account {}, Region {}.\n{}, {}\n",
        counted(new.len(), "new finding"),
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
    let (in_full, rest) = entries.split_at(most.min(entries.len()));
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for entry in in_full {
        match entry {
            Entry::NotMet(finding) => {
                if told.insert(&finding.key_arn) {
                    tell_key(&mut text, location, finding, in_full);
                }
            }
            Entry::NotKnown { findings } => tell_cause(&mut text, location, findings),
        }
    }
    let mut by_control: BTreeMap<&str, usize> = BTreeMap::new();
    for finding in rest.iter().flat_map(Entry::findings) {
        *by_control.entry(finding.control).or_default() += 1;
    }
    if !by_control.is_empty() {
        let counts: Vec<_> = by_control.iter().map(|(control, count)| format!("{control} {count}")).collect();
        let _ = write!(text, "\nNot told in full, by control: {}.\n", counts.join(", "));
    }
    text
}

/// All that is said in full about the key of `first`.
fn tell_key(text: &mut String, location: &Location, first: &Finding, entries: &[Entry<'_>]) {
    let _ = write!(text, "\n{}\n", title(first));
    for entry in entries {
        let Entry::NotMet(finding) = entry else { continue };
        if finding.key_arn != first.key_arn {
            continue;
        }
        let _ = writeln!(text, "  {}  {}: {}", finding.severity.as_str(), finding.control, finding.detail);
        if let Some(evidence) = evidence_in_words(finding) {
            let _ = writeln!(text, "    Evidence: {evidence}");
        }
        let _ = writeln!(text, "    What to do: {}", finding.remediation);
    }
    if let Some(link) = location.console_link(&first.key_id) {
        let _ = writeln!(text, "  {link}");
    }
}

fn tell_cause(text: &mut String, location: &Location, findings: &[&Finding]) {
    let Some(first) = findings.first() else { return };
    let mut names: Vec<&str> = findings.iter().map(|finding| name(finding)).collect();
    names.sort_unstable();
    names.dedup();
    let controls: BTreeSet<&str> = findings.iter().map(|finding| finding.control).collect();
    let controls: Vec<&str> = controls.into_iter().collect();
    let (told, more) = names.split_at(names.len().min(MOST_NAMED_KEYS));
    let _ = write!(text, "\nNot known for {}: {}\n", counted(names.len(), "key"), first.detail);
    let _ = writeln!(text, "  {}  {}", first.severity.as_str(), controls.join(", "));
    let _ = write!(text, "    Where: {}", told.join(", "));
    if !more.is_empty() {
        let _ = write!(text, " and {} more", more.len());
    }
    let _ = writeln!(text, "\n    What to do: {}", first.remediation);
    if names.len() == 1
        && let Some(link) = location.console_link(&first.key_id)
    {
        let _ = writeln!(text, "  {link}");
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

fn evidence_in_words(finding: &Finding) -> Option<String> {
    let words: Vec<_> = finding
        .evidence
        .iter()
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            format!("{} {value}", name.replace('_', " "))
        })
        .collect();
    (!words.is_empty()).then(|| words.join("; "))
}

fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::control::Control;
    use crate::domain::evaluation::{Cause, Failure, Verdict, not_found};
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
        assert_eq!(Digest::of(&report, &location()), None);
        report.add(&key(1), CONTROLS, [Verdict::compliant("good"), Verdict::not_applicable("other")]);
        assert_eq!(Digest::of(&report, &location()), None);
    }

    #[test]
    fn reasons_that_pass_by_themselves_are_not_alerted() {
        for reason in NEVER {
            let mut report = report();
            let mut verdict = not_found("");
            verdict.reason = reason;
            report.add(&key(1), CONTROLS, [verdict.clone(), verdict]);
            assert_eq!(report.findings.len(), 2);
            assert_eq!(Digest::of(&report, &location()), None, "{reason}");
        }
    }
    const NEVER: [&str; 3] = ["learning", "key_in_transition", "usage_not_asked"];

    #[test]
    fn the_alert_as_the_team_reads_it() {
        let mut report = report();
        let late = Verdict::non_compliant("rotation_overdue").detail("12 days late").remediation("Rotate it now.");
        report.add(&key(1), CONTROLS, [off(), Verdict::not_applicable("rotation_disabled")]);
        report.add(&key(2), CONTROLS, [off(), late]);
        for n in 3..16 {
            report.add(&key(n), CONTROLS, [denied(), denied()]);
        }
        report.close(&BTreeMap::from([
            (key(1).id, vec!["alias/payments".into(), "alias/cards".into()]),
            (key(3).id, vec!["alias/backup".into()]),
        ]));
        let digest = Digest::of(&report, &location()).unwrap();
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

    #[test]
    fn one_finding_is_said_in_the_singular() {
        let mut report = report();
        report.add(&key(1), CONTROLS, [off(), Verdict::compliant("on_schedule")]);
        report.complete = false;
        report.keys_not_reached = 7;
        report.close(&BTreeMap::new());
        let digest = Digest::of(&report, &location()).unwrap();
        assert_eq!(digest.subject, "MEDIUM: 1 new KMS finding - rotation-checker 123456789012 us-east-1");
        assert!(digest.email.starts_with("1 new finding on 1 KMS key in account"));
        assert!(digest.email.contains("This run did not see every key: time ran out before 7 of them."));
    }

    #[test]
    fn the_message_for_programs_follows_the_contract() {
        let mut report = report();
        report.add(&key(1), CONTROLS, [off(), denied()]);
        report.close(&BTreeMap::new());
        let digest = Digest::of(&report, &location()).unwrap();
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
                report.add(&key(n), CONTROLS, [off(), late]);
            }
            report.close(&BTreeMap::new());
            let digest = Digest::of(&report, &location()).unwrap();
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
            report.add(&key(n), CONTROLS, [off(), late]);
        }
        report.close(&BTreeMap::new());
        let email = Digest::of(&report, &location()).unwrap().email;
        assert_eq!(email.matches("What to do:").count(), 50);
        assert_eq!(email.matches("HIGH  rotation-overdue").count(), 40);
        assert!(email.ends_with("\nNot told in full, by control: rotation-enabled 30.\n"));
    }

    #[test]
    fn the_subject_is_printable_ascii_whatever_the_region_is_called() {
        let mut odd = report();
        odd.region = "région\n".repeat(30);
        let text = subject(Severity::Critical, &odd, 100_000);
        assert!(text.len() < 100 && text.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{text}");
    }
}
