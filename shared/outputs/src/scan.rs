//! What a scan from a terminal found, and what its forms share.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use domain::finding::{Finding, FindingId};
use domain::report::{Counts, Report};
use domain::verdict::Compliance;
use jiff::Timestamp;
use serde::Serializer as _;

use crate::response::Response;

/// All that a scan found.
#[derive(Debug, Default)]
pub struct Scan {
    /// One report for each Region and function. They hold the findings that are listed, and the counts of all.
    pub reports: Vec<Report>,
    /// Regions that could not be looked at, each with why.
    pub failed: Vec<(String, String)>,
    /// Since when a finding is open, where the ledger of a deployed monitor knows.
    pub since: BTreeMap<FindingId, Timestamp>,
    /// Findings that are not listed: less severe than was asked for.
    pub below_severity: usize,
    /// Was it ended early by somebody?
    pub is_interrupted: bool,
}

impl Scan {
    /// The findings that are listed, each with the report that it stands in.
    pub fn findings(&self) -> impl Iterator<Item = (&Report, &Finding)> {
        self.reports.iter().flat_map(|report| report.findings.iter().map(move |finding| (report, finding)))
    }

    /// The Regions that were looked at.
    pub fn regions(&self) -> BTreeSet<&str> {
        self.reports.iter().map(|report| report.location.region.as_str()).collect()
    }

    /// Keys that were judged, in all Regions. Each check judges all of them, but for some that were deleted meanwhile.
    pub fn keys(&self) -> u64 {
        self.sum_of_regions(|report| report.keys_listed)
    }

    /// Keys that the scan did not come to.
    pub fn keys_not_reached(&self) -> u64 {
        self.sum_of_regions(|report| report.keys_not_reached)
    }

    fn sum_of_regions(&self, count: impl Fn(&Report) -> u64) -> u64 {
        let mut by_region: BTreeMap<&str, u64> = BTreeMap::new();
        for report in &self.reports {
            let most = by_region.entry(&report.location.region).or_default();
            *most = (*most).max(count(report));
        }
        by_region.into_values().sum()
    }

    /// Counts by control, over all Regions.
    pub fn controls(&self) -> BTreeMap<&'static str, Counts> {
        let mut sums: BTreeMap<&'static str, Counts> = BTreeMap::new();
        for (control, counts) in self.reports.iter().flat_map(|report| &report.controls) {
            let sum = sums.entry(control).or_default();
            sum.compliant += counts.compliant;
            sum.non_compliant += counts.non_compliant;
            sum.not_applicable += counts.not_applicable;
            sum.insufficient_data += counts.insufficient_data;
        }
        sums
    }

    /// Evaluations that say nothing, in cases that do not pass by themselves.
    pub fn not_known(&self) -> u64 {
        self.reports.iter().map(Report::not_known).sum()
    }

    /// Evaluations that say nothing by now, in cases that pass by themselves.
    pub fn passing(&self) -> u64 {
        self.reports.iter().map(|report| report.passing).sum()
    }

    /// Is all known that was asked for?
    pub fn is_complete(&self) -> bool {
        let all_seen = self.reports.iter().all(|report| report.complete && report.not_known() == 0);
        all_seen && self.failed.is_empty() && !self.is_interrupted
    }

    /// Since when the finding is open.
    pub fn since(&self, finding: &Finding) -> Option<Timestamp> {
        self.since.get(&finding.id()).copied()
    }

    /// As JSON: the functions' responses in an array, without their limits.
    ///
    /// # Errors
    /// The writer's.
    pub fn write_json(&self, to: impl std::io::Write) -> Result<(), serde_json::Error> {
        // One copy of one report at a time.
        let mut json = serde_json::Serializer::pretty(to);
        json.collect_seq(self.reports.iter().map(|report| Response::whole(report.clone())))
    }
}

/// How people call the key of a finding: by its first alias, or by its ID.
pub fn name(finding: &Finding) -> &str {
    finding.aliases.first().unwrap_or(&finding.key_id)
}

/// Is it a finding that somebody has to act upon, now?
pub fn is_open(finding: &Finding) -> bool {
    finding.compliance == Compliance::NonCompliant && finding.exempt.is_none()
}

/// The text for a terminal that shows nothing but ASCII.
pub(crate) fn ascii(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let spelt = |c: char| match c {
        '…' => "...".to_owned(),
        '–' | '—' => "-".to_owned(),
        '‘' | '’' => "'".to_owned(),
        c if c.is_ascii() => c.to_string(),
        _ => "?".to_owned(),
    };
    Cow::Owned(text.chars().map(spelt).collect())
}

#[cfg(test)]
pub(crate) mod tests {
    use domain::control::{Control, Severity};
    use domain::exemption::Exemption;
    use domain::finding::KeyIdentity;
    use domain::location::Location;
    use domain::report::EvaluationLines;
    use domain::verdict::{Verdict, not_found};

    use super::*;

    static MILD: Control =
        Control { id: "mild-control", title: "", severity: Severity::Low, other_severities: "", references: &[] };
    static GRAVE: Control = Control {
        id: "grave-control",
        title: "",
        severity: Severity::Critical,
        other_severities: "",
        references: &["Rule 1", "Rule 2"],
    };
    const CONTROLS: [&Control; 2] = [&MILD, &GRAVE];

    pub(crate) fn key(n: u32) -> KeyIdentity {
        let id = format!("1234abcd-12ab-34cd-56ef-{n:012}");
        KeyIdentity { arn: format!("arn:aws:kms:us-east-1:123456789012:key/{id}"), id }
    }

    /// Two Regions: six keys in the first, of which one could not be read, one passes by itself, one is exempt; one in the
    /// second, which is in order.
    pub(crate) fn scan() -> Scan {
        let mut reports = Vec::new();
        for region in ["us-east-1", "eu-west-1"] {
            let location =
                Location { partition: "aws".into(), region: region.into(), account_id: "123456789012".into() };
            let room = Some(EvaluationLines::with_room(usize::MAX));
            reports.push(Report::new("a-checker", &location, Timestamp::UNIX_EPOCH, &CONTROLS, room));
        }
        let [first, second] = reports.as_mut_slice() else { panic!("two reports") };
        let good = || Verdict::compliant("good");
        let bad = |detail: &str| Verdict::non_compliant("bad").detail(detail).remediation("Mend it.");
        first.add(
            &key(1),
            &CONTROLS,
            [bad("the first is bad in a way that takes many words to say"), bad("worse")],
            None,
        );
        first.add(&key(2), &CONTROLS, [good(), bad("=cmd|' /C calc'!A0, said \"so\"")], None);
        let failure = domain::failure::Failure {
            service: "kms",
            operation: "DescribeKey",
            cause: domain::failure::Cause::AccessDenied,
            code: None,
            message: String::new(),
        };
        first.add(&key(3), &CONTROLS, [(&failure).into(), (&failure).into()], None);
        first.add(&key(4), &CONTROLS, [good(), not_found("later").passing()], None);
        first.add(&key(5), &CONTROLS, [bad("exempt"), good()], None);
        first.add(&key(6), &CONTROLS, [Verdict::not_applicable("other"), good()], None);
        first.close(&BTreeMap::from([(key(1).id, vec!["alias/pay\u{1b}[31mments".to_owned()])]));
        for finding in first.findings.iter_mut().filter(|it| it.detail == "exempt") {
            finding.exempt = Some(Exemption {
                until: "2026-12-31".parse().unwrap(),
                owner: "ana\u{202e}".into(),
                reason: "moves".into(),
            });
        }
        second.add(&key(7), &CONTROLS, [good(), good()], None);
        second.close(&BTreeMap::new());
        let since = BTreeMap::from([(first.findings[0].id(), "2026-11-02T06:00:00Z".parse().unwrap())]);
        Scan { reports, since, ..Scan::default() }
    }

    #[test]
    fn a_scan_adds_its_regions_up() {
        let mut scan = scan();
        assert_eq!((scan.keys(), scan.keys_not_reached(), scan.not_known(), scan.passing()), (7, 0, 2, 1));
        let counts = scan.controls()["grave-control"];
        assert_eq!((counts.compliant, counts.non_compliant, counts.total()), (3, 2, 7));
        assert!(!scan.is_complete());
        for report in &mut scan.reports {
            report.findings.retain(|it| it.compliance == Compliance::NonCompliant);
            report.retain(|control| control == "none");
        }
        assert!(scan.is_complete(), "nothing is asked that is not known");
        scan.is_interrupted = true;
        assert!(!scan.is_complete());
        scan.is_interrupted = false;
        scan.failed.push(("r".into(), "why".into()));
        assert!(!scan.is_complete());
    }

    #[test]
    fn the_json_is_an_array_of_responses() {
        let mut json = Vec::new();
        scan().write_json(&mut json).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(json.as_array().unwrap().len(), 2);
        assert_eq!(json[0]["region"], "us-east-1");
        assert_eq!(json[0]["evaluations"].as_array().unwrap().len(), 12);
        assert_eq!(json[1]["findings"], serde_json::json!([]));
        assert_eq!(json[0]["findings_omitted"], 0);
    }

    #[test]
    fn ascii_is_ascii() {
        for (text, expected) in [("plain", "plain"), ("a…b – ’c’ 鍵", "a...b - 'c' ?")] {
            assert_eq!(ascii(text), expected);
        }
    }
}
