//! The result of one run: how many evaluations of which kind, and the findings.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::control::{Control, Severity};
use crate::finding::{Finding, KeyIdentity, Tag};
use crate::location::Location;
use crate::text::printable;
use crate::verdict::{Compliance, Verdict};

/// What one control said about one key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvaluationLine {
    /// Key ARN.
    pub key_arn: String,
    /// Control.
    pub control: &'static str,
    /// The answer.
    pub compliance: Compliance,
    /// Stable code of the case.
    pub reason: &'static str,
}

impl EvaluationLine {
    /// Upper bound of its length as JSON: names, quotes, punctuation and the longest compliance take 90 bytes.
    fn bytes(&self) -> usize {
        90 + self.key_arn.len() + self.control.len() + self.reason.len()
    }
}

/// Every evaluation of a run, as far as there is room.
#[derive(Clone, Debug, Default)]
pub struct EvaluationLines {
    /// Those that fit.
    pub lines: Vec<EvaluationLine>,
    /// How many did not.
    pub omitted: u64,
    bytes: usize,
    max_bytes: usize,
}

impl EvaluationLines {
    /// Room for n bytes, as JSON.
    pub fn with_room(max_bytes: usize) -> Self {
        Self { max_bytes, ..Self::default() }
    }

    fn add(&mut self, line: EvaluationLine) {
        if self.bytes + line.bytes() > self.max_bytes {
            self.omitted += 1;
            return;
        }
        self.bytes += line.bytes();
        self.lines.push(line);
    }

    /// Leaves out lines, the last ones first, until the others fit into n bytes as JSON.
    pub fn shrink_to(&mut self, max_bytes: usize) {
        while self.bytes > max_bytes
            && let Some(line) = self.lines.pop()
        {
            self.bytes -= line.bytes();
            self.omitted += 1;
        }
    }
}

/// How many evaluations of one control came out how. In the response: all four, also where zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub struct Counts {
    /// Keys that do what the control asks.
    pub compliant: u64,
    /// Keys that do not.
    pub non_compliant: u64,
    /// Keys that the control asks nothing of.
    pub not_applicable: u64,
    /// Keys of which it is not known.
    pub insufficient_data: u64,
}

impl Counts {
    fn add(&mut self, compliance: Compliance) {
        match compliance {
            Compliance::Compliant => self.compliant += 1,
            Compliance::NonCompliant => self.non_compliant += 1,
            Compliance::NotApplicable => self.not_applicable += 1,
            Compliance::InsufficientData => self.insufficient_data += 1,
        }
    }

    /// All evaluations of the control.
    pub fn total(&self) -> u64 {
        self.compliant + self.non_compliant + self.not_applicable + self.insufficient_data
    }
}

/// The result of one run of one function.
#[derive(Clone, Debug)]
pub struct Report {
    /// Name of the function.
    pub function: &'static str,
    /// Where the keys are.
    pub location: Location,
    /// Instant that the verdicts hold for.
    pub evaluated_at: Timestamp,
    /// Did the run see every key that it should?
    pub complete: bool,
    /// Keys that were evaluated.
    pub keys_listed: u64,
    /// Keys that the deadline kept the run from.
    pub keys_not_reached: u64,
    /// Counts by control.
    pub controls: BTreeMap<&'static str, Counts>,
    /// Evaluations among those that say nothing by now, in cases that pass by themselves.
    pub passing: u64,
    /// `NON_COMPLIANT` and `INSUFFICIENT_DATA` evaluations.
    pub findings: Vec<Finding>,
    /// Every evaluation, if they were asked for.
    pub evaluations: Option<EvaluationLines>,
}

impl Report {
    /// An empty report. It will carry every evaluation for which `evaluations` has room.
    pub fn new(
        function: &'static str,
        location: &Location,
        evaluated_at: Timestamp,
        controls: &[&'static Control],
        evaluations: Option<EvaluationLines>,
    ) -> Self {
        Self {
            function,
            location: location.clone(),
            evaluated_at,
            complete: true,
            keys_listed: 0,
            keys_not_reached: 0,
            controls: controls.iter().map(|control| (control.id, Counts::default())).collect(),
            passing: 0,
            findings: Vec::new(),
            evaluations,
        }
    }

    /// Takes in the evaluations of one key: one verdict for each control, and the values of the key's tags that exempt it,
    /// by control, if they were read.
    pub fn add(
        &mut self,
        key: &KeyIdentity,
        controls: &[&'static Control],
        verdicts: impl IntoIterator<Item = Verdict>,
        tags: Option<&BTreeMap<String, String>>,
    ) {
        self.keys_listed += 1;
        for (control, verdict) in controls.iter().zip(verdicts) {
            self.controls.entry(control.id).or_default().add(verdict.compliance);
            self.passing += u64::from(verdict.is_passing);
            if let Some(evaluations) = &mut self.evaluations {
                evaluations.add(EvaluationLine {
                    key_arn: key.arn.clone(),
                    control: control.id,
                    compliance: verdict.compliance,
                    reason: verdict.reason,
                });
            }
            let severity = match verdict.compliance {
                Compliance::Compliant | Compliance::NotApplicable => continue,
                Compliance::NonCompliant => verdict.severity.unwrap_or(control.severity),
                Compliance::InsufficientData => Severity::Medium,
            };
            self.findings.push(Finding {
                control: control.id,
                key_arn: key.arn.clone(),
                key_id: key.id.clone(),
                aliases: Vec::new(),
                compliance: verdict.compliance,
                severity,
                reason: Cow::Borrowed(verdict.reason),
                detail: printable(&verdict.detail),
                evidence: verdict.evidence.map(printable_value),
                remediation: verdict.remediation,
                references: control.references,
                exempt: None,
                tag: tags.map_or(Tag::NotRead, |tags| Tag::Read(tags.get(control.id).cloned())),
                occurrence: verdict.occurrence,
                is_silent: verdict.is_silent,
                is_passing: verdict.is_passing,
            });
        }
    }

    /// Names the findings' keys by their aliases and puts the findings in order: most severe first, then by key ARN and
    /// control.
    pub fn close(&mut self, aliases: &BTreeMap<String, Vec<String>>) {
        for finding in &mut self.findings {
            if let Some(of_key) = aliases.get(&finding.key_id) {
                finding.aliases = of_key.iter().map(|alias| printable(alias)).collect();
                finding.aliases.sort_unstable();
            }
        }
        self.findings.sort_by(|a, b| {
            (Reverse(a.severity), &a.key_arn, a.control).cmp(&(Reverse(b.severity), &b.key_arn, b.control))
        });
        if let Some(evaluations) = &mut self.evaluations {
            evaluations.lines.sort_by(|a, b| (&a.key_arn, a.control).cmp(&(&b.key_arn, b.control)));
        }
    }

    /// Keeps what these controls said, and forgets the others.
    pub fn retain(&mut self, keeps: impl Fn(&str) -> bool) {
        self.controls.retain(|control, _| keeps(control));
        self.findings.retain(|finding| keeps(finding.control));
        // A case that passes by itself is not known by now, so it is among the findings.
        self.passing = self.findings.iter().filter(|finding| finding.is_passing).count() as u64;
        if let Some(evaluations) = &mut self.evaluations {
            evaluations.lines.retain(|line| keeps(line.control));
        }
    }

    /// How many evaluations say nothing, in cases that do not pass by themselves.
    pub fn not_known(&self) -> u64 {
        let not_known: u64 = self.controls.values().map(|counts| counts.insufficient_data).sum();
        not_known.saturating_sub(self.passing)
    }

    /// Share of the evaluations that say something, in percent, counting each key that was not reached as one that says
    /// nothing, and a case that passes by itself as one that does. 100 where there was nothing to evaluate.
    pub fn coverage_percent(&self) -> f64 {
        let total: u64 = self.controls.values().map(Counts::total).sum();
        let unknown = self.not_known();
        let all = total + self.keys_not_reached;
        if all == 0 {
            return 100.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of evaluations are far below 2^52")]
        let percent = (total - unknown) as f64 * 100.0 / all as f64;
        percent
    }
}

/// A fact of the evidence without what a terminal obeys.
fn printable_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(printable(&text)),
        Value::Array(values) => values.into_iter().map(printable_value).collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static MILD: Control =
        Control { id: "mild", title: "", severity: Severity::Low, other_severities: "", references: &[] };
    static GRAVE: Control =
        Control { id: "grave", title: "", severity: Severity::High, other_severities: "", references: &["Rule 1"] };
    const CONTROLS: [&Control; 2] = [&MILD, &GRAVE];

    fn report() -> Report {
        let location = Location { partition: "aws".into(), region: "r".into(), account_id: "1".into() };
        Report::new("f", &location, Timestamp::UNIX_EPOCH, &CONTROLS, None)
    }

    fn key(id: &str) -> KeyIdentity {
        KeyIdentity { arn: format!("arn:{id}"), id: id.into() }
    }

    #[test]
    fn counts_add_up_and_findings_are_ordered() {
        let mut report = report();
        let bad = || Verdict::non_compliant("bad");
        report.add(&key("b"), &CONTROLS, [bad(), bad()], None);
        report.add(&key("a"), &CONTROLS, [Verdict::compliant("good"), not_known()], None);
        report.add(&key("c"), &CONTROLS, [Verdict::not_applicable("other"), bad()], None);
        report.close(&BTreeMap::from([("c".to_owned(), vec!["alias/z".to_owned(), "alias/a".to_owned()])]));
        assert_eq!(report.keys_listed, 3);
        for counts in report.controls.values() {
            assert_eq!(counts.total(), 3);
        }
        let order: Vec<_> = report.findings.iter().map(|it| (it.severity, it.key_id.as_str(), it.control)).collect();
        assert_eq!(
            order,
            [
                (Severity::High, "b", "grave"),
                (Severity::High, "c", "grave"),
                (Severity::Medium, "a", "grave"),
                (Severity::Low, "b", "mild"),
            ]
        );
        assert_eq!(report.findings[1].aliases, ["alias/a", "alias/z"]);
        assert!((report.coverage_percent() - 500.0 / 6.0).abs() < 1e-9);
    }

    fn not_known() -> Verdict {
        crate::verdict::not_found("no such key")
    }

    #[test]
    fn what_some_controls_said_is_kept_alone() {
        let mut report = report();
        let lines = EvaluationLines::with_room(10_000);
        report.evaluations = Some(lines);
        report.add(&key("a"), &CONTROLS, [not_known(), not_known().passing()], None);
        report.add(&key("b"), &CONTROLS, [Verdict::non_compliant("bad"), not_known()], None);
        assert_eq!((report.not_known(), report.passing), (2, 1));
        report.retain(|control| control == "grave");
        assert_eq!(report.controls.keys().copied().collect::<Vec<_>>(), ["grave"]);
        assert_eq!(report.findings.len(), 2);
        assert!(report.evaluations.as_ref().unwrap().lines.iter().all(|line| line.control == "grave"));
        assert_eq!((report.not_known(), report.passing, report.keys_listed), (1, 1, 2));
        report.retain(|control| control == "mild");
        assert_eq!((report.not_known(), report.passing, report.findings.len()), (0, 0, 0));
    }

    #[test]
    fn coverage_counts_keys_that_were_not_reached() {
        let mut report = report();
        assert!((report.coverage_percent() - 100.0).abs() < 1e-9);
        report.add(&key("a"), &CONTROLS, [Verdict::compliant("good"), Verdict::compliant("good")], None);
        report.keys_not_reached = 2;
        assert!((report.coverage_percent() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn what_passes_by_itself_is_no_gap() {
        for (verdict, expected) in [
            (not_known(), 50.0),
            (not_known().passing(), 100.0),
            (not_known().passing_and_told(), 100.0),
            (Verdict::compliant("good"), 100.0),
        ] {
            let mut report = report();
            report.add(&key("a"), &CONTROLS, [Verdict::compliant("good"), verdict], None);
            assert!((report.coverage_percent() - expected).abs() < 1e-9, "{expected}");
        }
    }
}
