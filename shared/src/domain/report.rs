//! The result of one run: how many evaluations of which kind, and the findings.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::control::{Control, Severity};
use super::evaluation::{Compliance, Evidence, Verdict};
use super::exemption::Exemption;
use super::location::Location;

/// Most findings that a response carries; the rest is counted.
pub const MOST_FINDINGS: usize = 1_000;

/// Most bytes of a response, written as JSON. The contract allows 5 MB, Lambda 6 MB.
const MOST_RESPONSE_BYTES: usize = 4_900_000;

/// Reasons that resolve by themselves: they are in the response, never in an alert.
const NEVER_ALERTED: [&str; 3] = ["learning", "key_in_transition", "usage_not_asked"];

/// A key as reports name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyIdentity {
    /// Key ARN; an alias ARN if the alias stands for no key.
    pub arn: String,
    /// Key ID; the name as it was given if it stands for no key.
    pub id: String,
}

/// The value of a key's tag that exempts it from a control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tag {
    /// The key's tags were read: its value, if the key has it.
    Read(Option<String>),
    /// The key's tags were not read.
    NotRead,
}

/// An evaluation that people or programs should know of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Control that was not met or could not be judged.
    pub control: &'static str,
    /// Key ARN.
    pub key_arn: String,
    /// Key ID.
    pub key_id: String,
    /// Aliases of the key, sorted.
    pub aliases: Vec<String>,
    /// `NON_COMPLIANT` or `INSUFFICIENT_DATA`.
    pub compliance: Compliance,
    /// How bad it is.
    pub severity: Severity,
    /// Stable code of the case.
    pub reason: Cow<'static, str>,
    /// The case in words.
    pub detail: String,
    /// What the verdict rests on.
    pub evidence: Evidence,
    /// What to do.
    pub remediation: String,
    /// Controls of public standards that ask for the same.
    pub references: &'static [&'static str],
    /// The exemption that is in effect: the finding is not alerted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exempt: Option<Exemption>,
    /// The tag that exempts from this control.
    #[serde(skip)]
    pub tag: Tag,
    /// Which event it is about, where it is about one.
    #[serde(skip)]
    pub occurrence: Option<String>,
}

impl Finding {
    /// May this finding be in an alert?
    pub fn is_alertable(&self) -> bool {
        !NEVER_ALERTED.contains(&self.reason.as_ref())
    }
}

/// One line of a verbose response.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct EvaluationLine {
    key_arn: String,
    control: &'static str,
    compliance: Compliance,
    reason: &'static str,
}

impl EvaluationLine {
    /// Upper bound of its length as JSON: names, quotes, punctuation and the longest compliance take 90 bytes.
    fn bytes(&self) -> usize {
        90 + self.key_arn.len() + self.control.len() + self.reason.len()
    }
}

/// How many evaluations of one control came out how. In the response: all four, also where zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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

/// What the alerts of a run were about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertCounts {
    /// Findings that were not known before.
    pub new: usize,
    /// Findings that became worse.
    pub worsened: usize,
    /// Findings that are no more.
    pub resolved: usize,
    /// Unchanged findings of which the team is reminded.
    pub reminder: usize,
    /// Messages that the topic took.
    pub messages_published: usize,
}

/// The result of one run. It is also the response, as far as the response does not depend on the input's form.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Name of the function.
    pub function: &'static str,
    /// Account that the run covered.
    pub account_id: String,
    /// Region that the run covered.
    pub region: String,
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
    /// `NON_COMPLIANT` and `INSUFFICIENT_DATA` evaluations; the worst [`MOST_FINDINGS`] once the report is closed.
    pub findings: Vec<Finding>,
    /// Findings beyond those.
    pub findings_omitted: usize,
    /// Every evaluation, if they were asked for, as far as they fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluations: Option<Vec<EvaluationLine>>,
    /// Evaluations that did not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluations_omitted: Option<u64>,
    /// What the team was told.
    pub alerts: AlertCounts,
    #[serde(skip)]
    evaluation_bytes: usize,
}

impl Report {
    /// An empty report. With `verbose`, it will carry every evaluation.
    pub fn new(
        function: &'static str,
        location: &Location,
        evaluated_at: Timestamp,
        controls: &[&'static Control],
        verbose: bool,
    ) -> Self {
        Self {
            function,
            account_id: location.account_id.clone(),
            region: location.region.clone(),
            evaluated_at,
            complete: true,
            keys_listed: 0,
            keys_not_reached: 0,
            controls: controls.iter().map(|control| (control.id, Counts::default())).collect(),
            findings: Vec::new(),
            findings_omitted: 0,
            evaluations: verbose.then(Vec::new),
            evaluations_omitted: verbose.then_some(0),
            alerts: AlertCounts::default(),
            evaluation_bytes: 0,
        }
    }

    /// Takes in the evaluations of one key: one verdict for each control, and the values of the key's tags that exempt it,
    /// by control, if they were read.
    pub fn add<const N: usize>(
        &mut self,
        key: &KeyIdentity,
        controls: [&'static Control; N],
        verdicts: [Verdict; N],
        tags: Option<&BTreeMap<String, String>>,
    ) {
        self.keys_listed += 1;
        for (control, verdict) in controls.into_iter().zip(verdicts) {
            self.controls.entry(control.id).or_default().add(verdict.compliance);
            self.add_line(key, control, &verdict);
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
                detail: verdict.detail,
                evidence: verdict.evidence,
                remediation: verdict.remediation,
                references: control.references,
                exempt: None,
                tag: tags.map_or(Tag::NotRead, |tags| Tag::Read(tags.get(control.id).cloned())),
                occurrence: verdict.occurrence,
            });
        }
    }

    fn add_line(&mut self, key: &KeyIdentity, control: &'static Control, verdict: &Verdict) {
        let (Some(lines), Some(omitted)) = (&mut self.evaluations, &mut self.evaluations_omitted) else {
            return;
        };
        let line = EvaluationLine {
            key_arn: key.arn.clone(),
            control: control.id,
            compliance: verdict.compliance,
            reason: verdict.reason,
        };
        if self.evaluation_bytes + line.bytes() > MOST_RESPONSE_BYTES {
            *omitted += 1;
            return;
        }
        self.evaluation_bytes += line.bytes();
        lines.push(line);
    }

    /// Names the findings' keys by their aliases and puts the findings in order: most severe first, then by key ARN and
    /// control.
    pub fn close(&mut self, aliases: &BTreeMap<String, Vec<String>>) {
        for finding in &mut self.findings {
            if let Some(of_key) = aliases.get(&finding.key_id) {
                finding.aliases.clone_from(of_key);
                finding.aliases.sort_unstable();
            }
        }
        self.findings.sort_by(|a, b| {
            (Reverse(a.severity), &a.key_arn, a.control).cmp(&(Reverse(b.severity), &b.key_arn, b.control))
        });
        if let Some(lines) = &mut self.evaluations {
            lines.sort_by(|a, b| (&a.key_arn, a.control).cmp(&(&b.key_arn, b.control)));
        }
    }

    /// The report as a response carries it: with as many findings, and as many evaluations, as fit.
    #[must_use]
    pub fn for_response(mut self) -> Self {
        self.findings_omitted = self.findings.len().saturating_sub(MOST_FINDINGS);
        self.findings.truncate(MOST_FINDINGS);
        let lines = self.evaluations.take();
        let rest = serde_json::to_vec(&self).map_or(0, |json| json.len());
        if let (Some(mut lines), Some(omitted)) = (lines, &mut self.evaluations_omitted) {
            while rest + self.evaluation_bytes > MOST_RESPONSE_BYTES
                && let Some(line) = lines.pop()
            {
                self.evaluation_bytes -= line.bytes();
                *omitted += 1;
            }
            self.evaluations = Some(lines);
        }
        self
    }

    /// Share of the evaluations that say something, in percent, counting each key that was not reached as one that says
    /// nothing. 100 where there was nothing to evaluate.
    pub fn coverage_percent(&self) -> f64 {
        let total: u64 = self.controls.values().map(Counts::total).sum();
        let unknown: u64 = self.controls.values().map(|counts| counts.insufficient_data).sum();
        let all = total + self.keys_not_reached;
        if all == 0 {
            return 100.0;
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of evaluations are far below 2^52")]
        let percent = (total - unknown) as f64 * 100.0 / all as f64;
        percent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static MILD: Control = Control { id: "mild", severity: Severity::Low, references: &[] };
    static GRAVE: Control = Control { id: "grave", severity: Severity::High, references: &["Rule 1"] };
    const CONTROLS: [&Control; 2] = [&MILD, &GRAVE];

    fn report(verbose: bool) -> Report {
        let location = Location { partition: "aws".into(), region: "r".into(), account_id: "1".into() };
        Report::new("f", &location, Timestamp::UNIX_EPOCH, &CONTROLS, verbose)
    }

    fn key(id: &str) -> KeyIdentity {
        KeyIdentity { arn: format!("arn:{id}"), id: id.into() }
    }

    #[test]
    fn counts_add_up_and_findings_are_ordered() {
        let mut report = report(false);
        let bad = || Verdict::non_compliant("bad");
        report.add(&key("b"), CONTROLS, [bad(), bad()], None);
        report.add(&key("a"), CONTROLS, [Verdict::compliant("good"), not_known()], None);
        report.add(&key("c"), CONTROLS, [Verdict::not_applicable("other"), bad()], None);
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
        crate::domain::evaluation::not_found("no such key")
    }

    #[test]
    fn a_response_carries_the_worst_thousand_and_counts_the_rest() {
        let mut report = report(true);
        for n in 0..1_200 {
            report.add(
                &key(&n.to_string()),
                CONTROLS,
                [Verdict::compliant("good"), Verdict::non_compliant("bad")],
                None,
            );
        }
        report.close(&BTreeMap::new());
        let response = serde_json::to_value(report.for_response()).unwrap();
        assert_eq!(response["findings"].as_array().unwrap().len(), 1_000);
        assert_eq!(response["findings_omitted"], 200);
        assert_eq!(response["evaluations"].as_array().unwrap().len(), 2_400);
        assert_eq!(response["evaluations_omitted"], 0);
        assert_eq!(response["controls"]["grave"]["NON_COMPLIANT"], 1_200);
        assert_eq!(response["controls"]["grave"]["COMPLIANT"], 0);
        assert_eq!(response["evaluated_at"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_verbose_response_stays_under_five_megabytes() {
        let mut report = report(true);
        for n in 0..30_000 {
            let arn = format!("arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-{n:012}");
            let long = || {
                Verdict::non_compliant("some_longish_reason")
                    .detail("d".repeat(300))
                    .evidence("error_message", "e".repeat(300))
                    .remediation("r".repeat(300))
            };
            report.add(&KeyIdentity { arn, id: n.to_string() }, CONTROLS, [long(), long()], None);
        }
        report.close(&BTreeMap::new());
        let response = serde_json::to_value(report.for_response()).unwrap();
        let carried = response["evaluations"].as_array().unwrap().len() as u64;
        assert_eq!(carried + response["evaluations_omitted"].as_u64().unwrap(), 60_000);
        assert!(carried > 10_000);
        assert!(serde_json::to_string(&response).unwrap().len() < 5_000_000);
    }

    #[test]
    fn coverage_counts_keys_that_were_not_reached() {
        let mut report = report(false);
        assert!((report.coverage_percent() - 100.0).abs() < 1e-9);
        report.add(&key("a"), CONTROLS, [Verdict::compliant("good"), Verdict::compliant("good")], None);
        report.keys_not_reached = 2;
        assert!((report.coverage_percent() - 50.0).abs() < 1e-9);
    }
}
