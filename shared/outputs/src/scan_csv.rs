//! A scan as comma-separated values, for spreadsheets and for comparing two scans: one row a finding, or one an evaluation.

use std::collections::BTreeMap;
use std::io;

use domain::finding::Finding;
use domain::report::Report;
use domain::text::printable;
use serde_json::Value;

use crate::scan::Scan;

/// The columns, in their order. They only ever grow at the end.
pub const COLUMNS: [&str; 21] = [
    "account_id",
    "region",
    "function",
    "control",
    "key_arn",
    "key_id",
    "aliases",
    "compliance",
    "severity",
    "reason",
    "detail",
    "remediation",
    "evidence",
    "references",
    "exempt_until",
    "exempt_owner",
    "exempt_reason",
    "open_since",
    "evaluated_at",
    "complete",
    "passes_by_itself",
];

/// Writes the findings, or where the reports hold them and `all` asks for them, every evaluation.
///
/// # Errors
/// The writer's.
pub fn write(scan: &Scan, all: bool, to: impl io::Write) -> Result<(), csv::Error> {
    let mut csv = csv::Writer::from_writer(to);
    csv.write_record(COLUMNS)?;
    for report in &scan.reports {
        let mut findings: BTreeMap<(&str, &str), &Finding> = BTreeMap::new();
        match &report.evaluations {
            Some(evaluations) if all => {
                findings.extend(report.findings.iter().map(|it| ((it.key_arn.as_str(), it.control), it)));
                for line in &evaluations.lines {
                    let row = match findings.get(&(line.key_arn.as_str(), line.control)) {
                        Some(finding) => of_finding(scan, report, finding),
                        None => of_evaluation(report, line),
                    };
                    csv.write_record(row.iter().map(|cell| safe(cell)))?;
                }
            }
            _ => {
                for finding in &report.findings {
                    csv.write_record(of_finding(scan, report, finding).iter().map(|cell| safe(cell)))?;
                }
            }
        }
    }
    Ok(csv.flush()?)
}

fn of_finding(scan: &Scan, report: &Report, finding: &Finding) -> [String; 21] {
    let exempt = finding.exempt.as_ref();
    [
        report.location.account_id.clone(),
        report.location.region.clone(),
        report.function.to_owned(),
        finding.control.to_owned(),
        finding.key_arn.clone(),
        finding.key_id.clone(),
        finding.aliases.join(" "),
        finding.compliance.as_str().to_owned(),
        finding.severity.as_str().to_owned(),
        finding.reason.to_string(),
        finding.detail.clone(),
        finding.remediation.to_string(),
        Value::from(finding.evidence.clone()).to_string(),
        finding.references.join("; "),
        exempt.map(|it| it.until.to_string()).unwrap_or_default(),
        exempt.map(|it| it.owner.clone()).unwrap_or_default(),
        exempt.map(|it| it.reason.clone()).unwrap_or_default(),
        scan.since(finding).map(|since| since.to_string()).unwrap_or_default(),
        report.evaluated_at.to_string(),
        report.complete.to_string(),
        finding.is_passing.to_string(),
    ]
}

fn of_evaluation(report: &Report, line: &domain::report::EvaluationLine) -> [String; 21] {
    let mut row: [String; 21] = Default::default();
    let known = [
        report.location.account_id.clone(),
        report.location.region.clone(),
        report.function.to_owned(),
        line.control.to_owned(),
        line.key_arn.clone(),
        line.key_arn.rsplit_once('/').map(|(_, id)| id.to_owned()).unwrap_or_default(),
        String::new(),
        line.compliance.as_str().to_owned(),
        String::new(),
        line.reason.to_owned(),
    ];
    for (cell, value) in row.iter_mut().zip(known) {
        *cell = value;
    }
    let [.., at, complete, _] = &mut row;
    *at = report.evaluated_at.to_string();
    *complete = report.complete.to_string();
    row
}

/// A cell that no spreadsheet takes for a formula, and no terminal for a command. Tags and aliases are other people's text.
fn safe(cell: &str) -> String {
    let cell = printable(cell);
    if cell.starts_with(['=', '+', '-', '@']) { format!("'{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tests::scan;

    fn rows(all: bool) -> Vec<csv::StringRecord> {
        let mut text = Vec::new();
        write(&scan(), all, &mut text).unwrap();
        csv::Reader::from_reader(text.as_slice()).records().map(Result::unwrap).collect()
    }

    fn column(name: &str) -> usize {
        COLUMNS.iter().position(|it| *it == name).unwrap()
    }

    #[test]
    fn a_row_a_finding() {
        let rows = rows(false);
        assert_eq!(rows.len(), scan().findings().count());
        let first = &rows[0];
        assert_eq!((&first[column("control")], &first[column("severity")]), ("grave-control", "CRITICAL"));
        assert_eq!(&first[column("aliases")], "alias/pay [31mments");
        assert_eq!(&first[column("open_since")], "2026-11-02T06:00:00Z");
        assert_eq!(&first[column("references")], "Rule 1; Rule 2");
        let exempt = rows.iter().find(|row| !row[column("exempt_until")].is_empty()).unwrap();
        assert_eq!((&exempt[column("exempt_until")], &exempt[column("exempt_owner")]), ("2026-12-31", "ana "));
        assert_eq!(rows.iter().filter(|row| &row[column("passes_by_itself")] == "true").count(), 1);
    }

    #[test]
    fn a_row_an_evaluation() {
        let rows = rows(true);
        assert_eq!(rows.len(), 14);
        assert!(rows.iter().all(|row| !row[column("compliance")].is_empty() && !row[column("key_id")].is_empty()));
        let with_detail = rows.iter().filter(|row| !row[column("detail")].is_empty());
        assert_eq!(with_detail.count(), scan().findings().count(), "findings keep what they say");
    }

    #[test]
    fn no_cell_is_a_formula() {
        let rows = rows(false);
        let cells = || rows.iter().flat_map(|row| row.iter());
        assert!(cells().any(|cell| cell.starts_with("'=cmd|")), "the fleet has one");
        assert!(!cells().any(|cell| cell.starts_with(['=', '+', '-', '@']) || cell.contains('\u{1b}')));
    }
}
