//! The response of a run, as programs and people at a terminal read it.

use std::collections::BTreeMap;

use domain::finding::Finding;
use domain::report::{Counts, EvaluationLine, Report};
use jiff::Timestamp;
use serde::Serialize;

/// Most findings that a response carries; the rest is counted.
pub const MAX_FINDINGS: usize = 1_000;

/// Most bytes of a response, written as JSON. The contract allows 5 MB, Lambda 6 MB.
pub const MAX_BYTES: usize = 4_900_000;

/// What the alerts of a run were about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertCounts {
    /// Findings that were not known before.
    pub new: usize,
    /// Findings that became worse.
    pub worsened: usize,
    /// Findings that no longer exist.
    pub resolved: usize,
    /// Unchanged findings of which the team is reminded.
    pub reminder: usize,
    /// Keys that were deleted. Left out where there are none.
    #[serde(skip_serializing_if = "is_zero")]
    pub deleted: usize,
    /// What waits because nobody has confirmed a subscription, of any of these kinds, and exemption notices.
    pub held_back: usize,
    /// What waits for the reporter, of any of these kinds, and exemption notices. Left out where nothing does.
    #[serde(skip_serializing_if = "is_zero")]
    pub pending: usize,
    /// Messages that the topic took.
    pub messages_published: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A report in the form of a response.
#[derive(Debug, Serialize)]
pub struct Response {
    function: &'static str,
    account_id: String,
    region: String,
    evaluated_at: Timestamp,
    complete: bool,
    keys_listed: u64,
    keys_not_reached: u64,
    controls: BTreeMap<&'static str, Counts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Vec<Finding>>,
    findings_omitted: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluations: Option<Vec<EvaluationLine>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    evaluations_omitted: Option<u64>,
    alerts: AlertCounts,
}

impl Response {
    /// The response of a run, with as many findings, and as many evaluations, as fit.
    pub fn new(report: Report, alerts: AlertCounts) -> Self {
        Self::with_room(report, alerts, MAX_FINDINGS, MAX_BYTES)
    }

    /// A report as a whole in the same form, for a file that has no limit. Nobody was alerted.
    pub fn whole(report: Report) -> Self {
        Self::with_room(report, AlertCounts::default(), usize::MAX, usize::MAX)
    }

    fn with_room(report: Report, alerts: AlertCounts, max_findings: usize, max_bytes: usize) -> Self {
        let Report { location, mut findings, evaluations, .. } = report;
        let findings_omitted = findings.len().saturating_sub(max_findings);
        findings.truncate(max_findings);
        let mut response = Self {
            function: report.function,
            account_id: location.account_id,
            region: location.region,
            evaluated_at: report.evaluated_at,
            complete: report.complete,
            keys_listed: report.keys_listed,
            keys_not_reached: report.keys_not_reached,
            controls: report.controls,
            findings: Some(findings),
            findings_omitted,
            evaluations: None,
            evaluations_omitted: None,
            alerts,
        };
        if let Some(mut evaluations) = evaluations {
            if max_bytes < usize::MAX {
                let rest = serde_json::to_vec(&response).map_or(0, |json| json.len());
                evaluations.shrink_to(max_bytes.saturating_sub(rest));
            }
            response.evaluations_omitted = Some(evaluations.omitted);
            response.evaluations = Some(evaluations.lines);
        }
        response
    }

    /// The counts alone: what a state machine may hand on.
    pub fn summary(report: Report, alerts: AlertCounts) -> Self {
        let findings_omitted = report.findings.len();
        let report = Report { findings: Vec::new(), evaluations: None, ..report };
        Self { findings: None, findings_omitted, ..Self::new(report, alerts) }
    }
}

#[cfg(test)]
mod tests {
    use domain::control::{Control, Severity};
    use domain::finding::KeyIdentity;
    use domain::location::Location;
    use domain::report::EvaluationLines;
    use domain::verdict::Verdict;

    use super::*;

    static MILD: Control =
        Control { id: "mild", title: "", severity: Severity::Low, other_severities: "", references: &[] };
    static GRAVE: Control =
        Control { id: "grave", title: "", severity: Severity::High, other_severities: "", references: &["Rule 1"] };
    const CONTROLS: [&Control; 2] = [&MILD, &GRAVE];

    fn report() -> Report {
        let location = Location { partition: "aws".into(), region: "r".into(), account_id: "1".into() };
        let room = EvaluationLines::with_room(MAX_BYTES);
        Report::new("f", &location, Timestamp::UNIX_EPOCH, &CONTROLS, Some(room))
    }

    fn key(id: &str) -> KeyIdentity {
        KeyIdentity { arn: format!("arn:{id}"), id: id.into() }
    }

    fn response(report: Report) -> serde_json::Value {
        serde_json::to_value(Response::new(report, AlertCounts::default())).unwrap()
    }

    #[test]
    fn a_response_carries_the_worst_thousand_and_counts_the_rest() {
        let mut report = report();
        for n in 0..1_200 {
            report.add(
                &key(&n.to_string()),
                &CONTROLS,
                [Verdict::compliant("good"), Verdict::non_compliant("bad")],
                None,
            );
        }
        report.close(&BTreeMap::new());
        let response = response(report);
        assert_eq!(response["findings"].as_array().unwrap().len(), 1_000);
        assert_eq!(response["findings_omitted"], 200);
        assert_eq!(response["evaluations"].as_array().unwrap().len(), 2_400);
        assert_eq!(response["evaluations_omitted"], 0);
        assert_eq!(response["controls"]["grave"]["NON_COMPLIANT"], 1_200);
        assert_eq!(response["controls"]["grave"]["COMPLIANT"], 0);
        assert_eq!(response["evaluated_at"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_summary_is_small_and_counts() {
        let mut report = report();
        for n in 0..50_000 {
            let verdicts = [Verdict::compliant("good"), Verdict::non_compliant("bad")];
            report.add(&key(&n.to_string()), &CONTROLS, verdicts, None);
        }
        let summary = Response::summary(report, AlertCounts { pending: 50_000, ..AlertCounts::default() });
        let text = serde_json::to_string(&summary).unwrap();
        assert!(text.len() < 1_000, "{text}");
        let summary = serde_json::to_value(&summary).unwrap();
        assert_eq!(
            (&summary["findings"], &summary["evaluations"]),
            (&serde_json::Value::Null, &serde_json::Value::Null)
        );
        assert_eq!(summary["findings_omitted"], 50_000);
        assert_eq!(summary["controls"]["grave"]["NON_COMPLIANT"], 50_000);
        assert_eq!(summary["alerts"]["pending"], 50_000);
    }

    #[test]
    fn a_verbose_response_stays_under_five_megabytes() {
        let mut report = report();
        for n in 0..30_000 {
            let arn = format!("arn:aws:kms:us-east-1:123456789012:key/00000000-0000-0000-0000-{n:012}");
            let long = || {
                Verdict::non_compliant("some_longish_reason")
                    .detail("d".repeat(300))
                    .evidence("error_message", "e".repeat(300))
                    .remediation("r".repeat(300))
            };
            report.add(&KeyIdentity { arn, id: n.to_string() }, &CONTROLS, [long(), long()], None);
        }
        report.close(&BTreeMap::new());
        let response = response(report);
        let carried = response["evaluations"].as_array().unwrap().len() as u64;
        assert_eq!(carried + response["evaluations_omitted"].as_u64().unwrap(), 60_000);
        assert!(carried > 10_000);
        assert!(serde_json::to_string(&response).unwrap().len() < 5_000_000);
    }
}
