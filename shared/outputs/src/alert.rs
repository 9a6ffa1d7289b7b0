//! An alert: one message for people and one for programs, both about what changed since the last alert.

use domain::control::Severity;
use domain::ledger::{Change, FindingUpdate};
use domain::location::Location;
use domain::report::Report;
use serde_json::json;

use crate::updates::{MAX_MESSAGE_BYTES, Tally, escaped_len};
use crate::{alert_email, alert_json};

/// An alert as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// Worst severity of what is open in it; of resolutions alone, the worst that was resolved.
    pub severity: Severity,
    /// Printable ASCII, under 100 characters.
    pub subject: String,
    /// Plain text for people.
    pub email: String,
    /// JSON for programs.
    pub default: String,
}

impl Alert {
    /// The alert of a run, or nothing if there is nothing to say. Expects the updates in the order in which a
    /// [`Reconciliation`](domain::ledger::Reconciliation) gives them.
    pub fn of(report: &Report, updates: &[FindingUpdate<'_>]) -> Option<Self> {
        let severity = severity(updates)?;
        let Location { account_id, region, .. } = &report.location;
        let email = alert_email::text(report, updates);
        let room = MAX_MESSAGE_BYTES.saturating_sub(escaped_len(&email));
        Some(Self {
            severity,
            subject: Tally::of(updates).subject(severity, &format!("{} {account_id} {region}", report.function)),
            default: alert_json::text(report, updates, room),
            email,
        })
    }

    /// The message in SNS's JSON structure: one text for each protocol.
    pub fn message(&self) -> String {
        json!({"default": self.default, "email": self.email}).to_string()
    }
}

/// The worst of what is open; of a message of resolutions alone, the worst that was resolved.
fn severity(updates: &[FindingUpdate<'_>]) -> Option<Severity> {
    let worst = |is_meant: &dyn Fn(&FindingUpdate<'_>) -> bool| {
        updates.iter().filter(|update| is_meant(update)).map(|update| update.finding.severity).max()
    };
    let is_open = |update: &FindingUpdate<'_>| update.change.is_some_and(|change| change != Change::Resolved);
    worst(&is_open).or_else(|| worst(&|update| update.change.is_none())).or_else(|| worst(&|_| true))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::control::Control;
    use domain::failure::{Cause, Failure};
    use domain::finding::KeyIdentity;
    use domain::ledger::{Ledger, Sightings};
    use domain::verdict::{Verdict, not_found};
    use jiff::Timestamp;
    use serde_json::Value;

    use super::*;

    static OFF: Control = Control {
        id: "rotation-enabled",
        title: "",
        severity: Severity::Medium,
        other_severities: "",
        references: &["Rule 1"],
    };
    static LATE: Control =
        Control { id: "rotation-overdue", title: "", severity: Severity::High, other_severities: "", references: &[] };
    const CONTROLS: [&Control; 2] = [&OFF, &LATE];

    fn location() -> Location {
        Location { partition: "aws".into(), region: "us-east-1".into(), account_id: "123456789012".into() }
    }

    fn report() -> Report {
        Report::new("rotation-checker", &location(), "2026-11-23T06:00:00Z".parse().unwrap(), &CONTROLS, None)
    }

    fn key(n: usize) -> KeyIdentity {
        let id = format!("00000000-0000-0000-0000-{n:012}");
        KeyIdentity { arn: location().key_arn(&id), id }
    }

    /// The alert of a run without memory: all that it found is new.
    fn alert(report: &Report) -> Option<Alert> {
        let ledger = Ledger::default();
        let reconciliation =
            ledger.reconcile(&report.findings, &Sightings::default(), &CONTROLS, report.evaluated_at, 7);
        Alert::of(report, &reconciliation.updates)
    }

    fn off() -> Verdict {
        Verdict::non_compliant("rotation_disabled")
            .detail("automatic rotation is off")
            .evidence("created_at", "2020-01-01T00:00:00Z")
            .remediation("Switch it on.")
    }

    fn denied() -> Verdict {
        let cause = Cause::AccessDenied;
        (&Failure { service: "kms", operation: "GetKeyRotationStatus", cause, code: None, message: String::new() })
            .into()
    }

    #[test]
    fn nothing_to_say_is_no_alert() {
        let mut report = report();
        assert_eq!(alert(&report), None);
        report.add(&key(1), &CONTROLS, [Verdict::compliant("good"), Verdict::not_applicable("other")], None);
        assert_eq!(alert(&report), None);
    }

    #[test]
    fn reasons_that_pass_by_themselves_are_not_alerted() {
        for reason in NEVER {
            let mut report = report();
            let verdict = Verdict { reason, ..not_found("") }.passing();
            report.add(&key(1), &CONTROLS, [verdict.clone(), verdict], None);
            assert_eq!(report.findings.len(), 2);
            assert_eq!(alert(&report), None, "{reason}");
        }
    }
    const NEVER: [&str; 4] = ["learning", "key_in_transition", "usage_not_asked", "grants_not_asked"];

    #[test]
    fn the_alert_as_the_team_reads_it() {
        let mut report = report();
        let late = Verdict::non_compliant("rotation_overdue").detail("12 days late").remediation("Rotate it now.");
        let late = late.evidence("due_at", "2026-11-09T03:04:05.678Z");
        report.add(&key(1), &CONTROLS, [off(), Verdict::not_applicable("rotation_disabled")], None);
        report.add(&key(2), &CONTROLS, [off(), late], None);
        for n in 3..16 {
            report.add(&key(n), &CONTROLS, [denied(), denied()], None);
        }
        report.close(&BTreeMap::from([
            (key(1).id, vec!["alias/payments".into(), "alias/cards".into()]),
            (key(3).id, vec!["alias/backup".into()]),
        ]));
        let alert = alert(&report).unwrap();
        assert_eq!(alert.subject, "HIGH: 29 new KMS findings - rotation-checker 123456789012 us-east-1");
        assert_eq!(alert.severity, Severity::High);
        let expected = "\
29 new findings on 15 KMS keys in account 123456789012, Region us-east-1.
rotation-checker, 2026-11-23 06:00 UTC

arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-000000000002
  HIGH  rotation-overdue: 12 days late
    Evidence: due at 2026-11-09 03:04 UTC
    Remediation: Rotate it now.
  https://us-east-1.console.aws.amazon.com/kms/home?region=us-east-1#/kms/keys/00000000-0000-0000-0000-000000000002

2 keys:
  MEDIUM  rotation-enabled: automatic rotation is off
    alias/cards (00000000-000…)
    00000000-0000-0000-0000-000000000002
    Remediation: Switch it on.

Could not evaluate 13 keys: access to kms:GetKeyRotationStatus was denied
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
    Remediation: Allow the function's role kms:GetKeyRotationStatus on this key: let the key policy delegate to IAM, \
or name the role in it, and look for an explicit deny.
";
        assert_eq!(alert.email, expected);
    }

    /// The reports of two days, and the alert of the second.
    fn second_day(first: &mut Report, second: &mut Report) -> Option<Alert> {
        let mut records = Vec::new();
        for report in [first, second] {
            let ledger = Ledger::new(records);
            let mut sightings = Sightings::of(ledger.keys());
            sightings.saw_every_key();
            report.close(&BTreeMap::from([(key(1).id, vec!["alias/payments".into()])]));
            ledger.exempt(&mut report.findings, report.evaluated_at);
            let reconciliation = ledger.reconcile(&report.findings, &sightings, &CONTROLS, report.evaluated_at, 7);
            if report.evaluated_at > first_day() {
                return Alert::of(report, &reconciliation.updates);
            }
            records = reconciliation.after_the_alert(report.evaluated_at).0.collect();
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
        first.add(&key(1), &CONTROLS, [off(), late(Severity::High)], Some(&BTreeMap::new()));
        for n in 2..6 {
            first.add(&key(n), &CONTROLS, [denied(), denied()], None);
        }
        first.add(&key(6), &CONTROLS, [off(), good()], Some(&BTreeMap::new()));
        let mut second = report();
        second.add(&key(1), &CONTROLS, [off(), late(Severity::Critical)], Some(&BTreeMap::new()));
        for n in 2..6 {
            second.add(&key(n), &CONTROLS, [good(), good()], None);
        }
        second.add(&key(7), &CONTROLS, [off(), good()], Some(&exempt("until=2026-12-31 owner=ana reason=moves away")));
        second.add(&key(8), &CONTROLS, [off(), good()], Some(&exempt("for ever")));
        let alert = second_day(&mut first, &mut second).unwrap();
        let subject =
            "CRITICAL: 1 new, 1 worsened, 1 open, 9 resolved, 2 exempt - rotation-checker 123456789012 us-east-1";
        assert_eq!(alert.subject, subject);
        let arn = |n: usize| key(n).arn;
        let expected = format!("\
1 new, 1 worsened, 1 still open, 9 resolved findings, 2 exemption notices on 8 KMS keys in account 123456789012, Region us-east-1.
rotation-checker, 2026-11-23 06:00 UTC

alias/payments ({})
  CRITICAL  rotation-overdue (worsened, was HIGH rotation_overdue): 12 days late
    Remediation: Rotate it now.
  MEDIUM  rotation-enabled (still open, since 2026-11-16): automatic rotation is off
    Evidence: created at 2020-01-01 00:00 UTC
    Remediation: Switch it on.
  https://us-east-1.console.aws.amazon.com/kms/home?region=us-east-1#/kms/keys/{}

{}
  MEDIUM  rotation-enabled (new): automatic rotation is off
    Evidence: created at 2020-01-01 00:00 UTC
    Remediation: Switch it on.
  https://us-east-1.console.aws.amazon.com/kms/home?region=us-east-1#/kms/keys/{}

Exemptions:
  {}: rotation-enabled: exempt until 2026-12-31 by ana: moves away
  {}: rotation-enabled: the tag does not exempt: `for` stands before `until=`, `owner=` or `reason=`

Resolved:
  no longer, for 4 keys: access to kms:GetKeyRotationStatus was denied: {}
  {}: rotation-enabled, open since 2026-11-16: the key no longer exists
", arn(1), key(1).id, arn(8), key(8).id, arn(7), arn(8), [arn(2), arn(3), arn(4), arn(5)].join(", "), arn(6));
        assert_eq!(alert.email, expected);
        let default: Value = serde_json::from_str(&alert.default).unwrap();
        let lists = ["new", "worsened", "reminder", "resolved", "exemptions"];
        assert_eq!(lists.map(|list| default[list].as_array().unwrap().len()), [1, 1, 1, 9, 2]);
        assert_eq!(default["worsened"][0]["was"], json!({"severity": "HIGH", "reason": "rotation_overdue"}));
        assert_eq!(default["reminder"][0]["first_seen"], "2026-11-16T06:00:00Z");
        let gone = json!({"reason": "key_gone", "detail": "the key no longer exists"});
        assert!(default["resolved"].as_array().unwrap().iter().any(|it| it["resolution"] == gone));
        assert_eq!(default["exemptions"][0]["state"], "in_effect");
        assert_eq!(default["exemptions"][0]["until"], "2026-12-31");
        assert_eq!(default["exemptions"][1]["state"], "malformed");
    }

    #[test]
    fn one_finding_is_said_in_the_singular() {
        let mut report = report();
        report.add(&key(1), &CONTROLS, [off(), Verdict::compliant("on_schedule")], None);
        report.complete = false;
        report.keys_not_reached = 7;
        report.close(&BTreeMap::new());
        let alert = alert(&report).unwrap();
        assert_eq!(alert.subject, "MEDIUM: 1 new KMS finding - rotation-checker 123456789012 us-east-1");
        assert!(alert.email.starts_with("1 new finding on 1 KMS key in account"));
        assert!(alert.email.contains("This run did not see every key: time ran out before 7 of them."));
    }

    #[test]
    fn the_message_for_programs_follows_the_contract() {
        let mut report = report();
        report.add(&key(1), &CONTROLS, [off(), denied()], None);
        report.close(&BTreeMap::new());
        let alert = alert(&report).unwrap();
        let message: Value = serde_json::from_str(&alert.message()).unwrap();
        assert_eq!(message["email"], alert.email);
        let default: Value = serde_json::from_str(message["default"].as_str().unwrap()).unwrap();
        let fields: Vec<_> = default.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            fields,
            [
                "account_id",
                "complete",
                "deleted",
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
                report.add(&key(n), &CONTROLS, [off(), late], None);
            }
            report.close(&BTreeMap::new());
            let alert = alert(&report).unwrap();
            assert!(alert.message().len() < 256 * 1024, "{keys}: {}", alert.message().len());
            assert!(alert.subject.len() < 100);
            let default: Value = serde_json::from_str(&alert.default).unwrap();
            let carried = default["new"].as_array().unwrap();
            let omitted: u64 = default["omitted"].as_object().unwrap().values().map(|it| it.as_u64().unwrap()).sum();
            assert_eq!(carried.len() as u64 + omitted, 2 * keys as u64);
            assert!(carried.iter().all(|finding| finding["severity"] == "HIGH"), "the worst are carried");
            assert!(alert.email.contains("Not told in full, by control: rotation-enabled "));
        }
    }

    #[test]
    fn the_message_for_people_tells_the_fifty_worst() {
        let mut report = report();
        for n in 0..40 {
            let late =
                Verdict::non_compliant("rotation_overdue").detail(format!("{n} days late")).remediation("Rotate.");
            let off = off().detail(format!("off for {n} days"));
            report.add(&key(n), &CONTROLS, [off, late], None);
        }
        report.close(&BTreeMap::new());
        let email = alert(&report).unwrap().email;
        assert_eq!(email.matches("Remediation:").count(), 50);
        assert_eq!(email.matches("HIGH  rotation-overdue").count(), 40);
        assert!(email.ends_with("\nNot told in full, by control: rotation-enabled 30.\n"));
    }

    #[test]
    fn the_subject_is_printable_ascii_whatever_the_region_is_called() {
        let mut odd = report();
        odd.location.region = "région\n".repeat(30);
        odd.add(&key(1), &CONTROLS, [off(), Verdict::compliant("good")], None);
        let text = alert(&odd).unwrap().subject;
        assert!(text.len() < 100 && text.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{text}");
    }

    #[test]
    fn the_same_finding_on_many_keys_is_one_block_in_the_order_of_their_names() {
        let mut report = report();
        for n in 0..60 {
            report.add(&key(n), &CONTROLS, [off(), Verdict::compliant("on_schedule")], None);
        }
        let aliases = [(3, "alias/zebra"), (5, "alias/apple")];
        report.close(&aliases.map(|(n, alias)| (key(n).id, vec![alias.to_owned()])).into());
        let email = alert(&report).unwrap().email;
        let (_, block) = email.split_once("\n60 keys:\n").unwrap();
        let lines: Vec<&str> = block.lines().take(5).collect();
        assert_eq!(
            lines,
            [
                "  MEDIUM  rotation-enabled: automatic rotation is off",
                "    alias/apple (00000000-000…)",
                "    alias/zebra (00000000-000…)",
                "    00000000-0000-0000-0000-000000000000",
                "    00000000-0000-0000-0000-000000000001",
            ]
        );
        assert_eq!(block.matches("\n    00000000-").count() + 2, 50, "{block}");
        assert!(block.contains("\n    and 10 more\n    Remediation: Switch it on.\n"));
        assert!(block.ends_with("\nNot told in full, by control: rotation-enabled 10.\n"));
        assert!(!email.contains("arn:aws:kms"), "ARNs stand in the JSON");
    }

    /// The alert of a second run, in which key 1 and its findings are as `second` says.
    fn after(first: [Verdict; 2], second: Option<[Verdict; 2]>) -> Alert {
        let (mut one, mut two) = (report(), report());
        one.evaluated_at = first_day();
        one.add(&key(1), &CONTROLS, first, Some(&BTreeMap::new()));
        let ledger = Ledger::default();
        let none = Sightings::default();
        let (records, _) =
            ledger.reconcile(&one.findings, &none, &CONTROLS, first_day(), 7).after_the_alert(first_day());
        let ledger = Ledger::new(records);
        let mut sightings = Sightings::of(ledger.keys());
        if let Some(second) = second {
            sightings.saw(&key(1).arn, &CONTROLS, &second);
            two.add(&key(1), &CONTROLS, second, Some(&BTreeMap::new()));
        } else {
            sightings.saw_every_key();
        }
        let reconciliation = ledger.reconcile(&two.findings, &sightings, &CONTROLS, two.evaluated_at, 7);
        Alert::of(&two, &reconciliation.updates).unwrap()
    }

    fn overdue() -> Verdict {
        Verdict::non_compliant("rotation_overdue").detail("12 days late").remediation("Rotate it now.")
    }

    #[test]
    fn what_is_resolved_does_not_count_for_the_severity_of_what_is_open() {
        let alert = after([Verdict::compliant("good"), overdue()], Some([off(), Verdict::compliant("good")]));
        assert_eq!(alert.severity, Severity::Medium);
        assert_eq!(alert.subject, "MEDIUM: 1 new, 1 resolved KMS findings - rotation-checker 123456789012 us-east-1");
        let alert = after([off(), overdue()], Some([Verdict::compliant("good"), Verdict::compliant("good")]));
        assert_eq!(alert.severity, Severity::High);
        assert_eq!(alert.subject, "Resolved: 2 KMS findings, worst HIGH - rotation-checker 123456789012 us-east-1");
    }

    #[test]
    fn a_key_that_nobody_looks_at_any_more_is_not_called_resolved() {
        let excluded = || domain::verdict::excluded("EXCLUDED_KEYS names this key");
        let alert = after([off(), Verdict::compliant("good")], Some([excluded(), excluded()]));
        let (_, section) = alert.email.split_once("\nNo longer watched:\n").unwrap();
        assert!(section.contains(": rotation-enabled, open since 2026-11-16: EXCLUDED_KEYS names this key"));
        assert!(!alert.email.contains("\nResolved:"));
        let subject = "No longer watched: 1 KMS finding, worst MEDIUM - rotation-checker 123456789012 us-east-1";
        assert_eq!(alert.subject, subject);
        assert!(alert.email.starts_with("1 no longer watched finding on 1 KMS key"), "{}", alert.email);
        let default: Value = serde_json::from_str(&alert.default).unwrap();
        assert_eq!(default["resolved"][0]["resolution"]["reason"], "excluded");
    }

    #[test]
    fn a_worse_finding_says_what_it_was_where_its_severity_changed() {
        let good = || Verdict::compliant("good");
        let worse = || overdue().severity(Severity::Critical);
        let email = after([good(), overdue()], Some([good(), worse()])).email;
        assert!(email.contains("CRITICAL  rotation-overdue (worsened, was HIGH rotation_overdue): "), "{email}");
        let other = Verdict { reason: "other", ..overdue() };
        let email = after([good(), overdue()], Some([good(), other])).email;
        assert!(email.contains("HIGH  rotation-overdue (worsened): "), "{email}");
    }

    #[test]
    fn deleted_keys_stand_at_the_top() {
        static DELETION: Control = Control {
            id: domain::control::PENDING_DELETION,
            title: "",
            severity: Severity::Critical,
            other_severities: "",
            references: &[],
        };
        let report = report();
        let mut sightings = Sightings::default();
        sightings.gone_after_event(&key(1));
        let controls = [&DELETION];
        let reconciliation =
            Ledger::default().reconcile(&report.findings, &sightings, &controls, report.evaluated_at, 7);
        let alert = Alert::of(&report, &reconciliation.updates).unwrap();
        assert_eq!(alert.severity, Severity::Critical);
        assert_eq!(alert.subject, "CRITICAL: 1 deleted key - rotation-checker 123456789012 us-east-1");
        let (_, section) = alert.email.split_once("\n\nDeleted keys:\n").unwrap();
        let expected = format!(
            "  {}\n  CRITICAL  KMS has deleted the key: what is encrypted under it alone is lost\n    Remediation: ",
            key(1).arn
        );
        assert!(section.starts_with(&expected), "{section}");
        let default: Value = serde_json::from_str(&alert.default).unwrap();
        assert_eq!(default["deleted"].as_array().unwrap().len(), 1);
        assert_eq!((&default["deleted"][0]["severity"], &default["resolved"]), (&json!("CRITICAL"), &json!([])));
    }

    #[test]
    fn what_other_people_write_is_plain_text_and_no_link() {
        const HOSTILE: &str = "\u{1b}[31m\u{202e}evil\r\nCRITICAL  all is lost";
        let mut report = report();
        let verdict = off().detail(HOSTILE).evidence("error_message", HOSTILE).remediation(HOSTILE);
        let tag = "until=2026-12-31 owner=ana\u{202e} reason=see https://evil.example";
        let tags = BTreeMap::from([("rotation-enabled".to_owned(), tag.to_owned())]);
        report.add(&key(1), &CONTROLS, [verdict, Verdict::compliant("good")], None);
        report.add(&key(2), &CONTROLS, [off(), Verdict::compliant("good")], Some(&tags));
        report.close(&BTreeMap::from([(key(1).id, vec![format!("alias/{HOSTILE}")])]));
        Ledger::default().exempt(&mut report.findings, report.evaluated_at);
        let email = alert(&report).unwrap().email;
        assert!(!email.contains(['\u{1b}', '\u{202e}', '\r']), "{email:?}");
        assert!(!email.lines().any(|line| line.trim_start().starts_with("CRITICAL")), "no line of their own: {email}");
        assert!(email.contains("see https[:]//evil.example"), "{email}");
    }
}
