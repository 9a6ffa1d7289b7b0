//! A scan as people read it in a terminal: the worst first, what was not known, and the counts at the end.
//!
//! From `WIDE` columns on findings stand in a table, below that one under the other. Other people's text comes in through
//! [`printable`] alone.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anstyle::{AnsiColor, Effects, Style};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, Width};
use domain::control::Severity;
use domain::finding::Finding;
use domain::report::{Counts, Report};
use domain::text::printable;
use domain::verdict::{Compliance, date};
use serde_json::Value;

use crate::numbers::grouped;
use crate::scan::{Scan, ascii, is_open, name};

pub use crate::numbers::counted;

/// Least width for a table of findings.
const WIDE: u16 = 72;

/// Least width for the IDs of keys beside their aliases.
const WIDE_ENOUGH_FOR_IDS: u16 = 100;

/// Most keys that one cause of ignorance names.
const MAX_NAMED_KEYS: usize = 5;

/// Most Regions that are named at the end.
const MAX_NAMED_REGIONS: usize = 3;

/// What the terminal shows, and what its owner asked for.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// Columns.
    pub width: u16,
    /// Does it show more than ASCII?
    pub is_unicode: bool,
    /// Remediation and evidence too?
    pub is_verbose: bool,
    /// Every evaluation, and not the findings alone?
    pub lists_all: bool,
}

/// The text, with colours as ANSI escape sequences.
pub fn render(scan: &Scan, terminal: Terminal) -> String {
    let mut page = Page { text: String::new(), terminal, has_regions: scan.regions().len() > 1 };
    for severity in [Severity::Critical, Severity::High, Severity::Medium, Severity::Low] {
        let of_severity = |(_, it): &(&Report, &Finding)| is_open(it) && it.severity == severity;
        page.findings(scan, severity.as_str(), style_of(severity), scan.findings().filter(of_severity).collect());
    }
    let exempt = scan.findings().filter(|(_, it)| it.exempt.is_some()).collect();
    page.findings(scan, "EXEMPT", Style::new().dimmed(), exempt);
    page.not_known(scan);
    if terminal.lists_all {
        page.evaluations(scan);
    }
    page.counts(scan);
    page.conclusion(scan);
    if terminal.is_unicode { page.text } else { ascii(&page.text).into_owned() }
}

fn style_of(severity: Severity) -> Style {
    let colour = match severity {
        Severity::Critical | Severity::High => AnsiColor::Red,
        Severity::Medium => AnsiColor::Yellow,
        Severity::Low => AnsiColor::Cyan,
    };
    let weight = if severity == Severity::High { Effects::new() } else { Effects::BOLD };
    Style::new().fg_color(Some(colour.into())).effects(weight)
}

/// The text as far as it is written.
struct Page {
    text: String,
    terminal: Terminal,
    /// Is it of several Regions, so that each key needs its own?
    has_regions: bool,
}

impl Page {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn heading(&mut self, title: &str, style: Style, count: &str) {
        let _ = writeln!(self.text, "{style}{title}{style:#}  {count}");
    }

    fn is_wide(&self) -> bool {
        self.terminal.width >= WIDE
    }

    /// A paragraph, as wide as the terminal, indented by n columns.
    fn paragraph(&mut self, indent: u16, text: &str) {
        let mut table = self.table();
        table.add_row([text]);
        if let Some(column) = table.column_mut(0) {
            column.set_padding((indent, 0));
        }
        self.line(&table.trim_fmt());
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(self.terminal.width);
        table
    }

    fn findings(&mut self, scan: &Scan, title: &str, style: Style, mut findings: Vec<(&Report, &Finding)>) {
        if findings.is_empty() {
            return;
        }
        findings.sort_by(|(_, a), (_, b)| {
            (a.aliases.is_empty(), name(a), &a.key_arn, a.control).cmp(&(
                b.aliases.is_empty(),
                name(b),
                &b.key_arn,
                b.control,
            ))
        });
        self.heading(title, style, &counted(findings.len() as u64, "finding"));
        if self.is_wide() {
            self.findings_in_columns(scan, &findings);
        } else {
            self.findings_in_lines(scan, &findings);
        }
        self.line("");
    }

    fn findings_in_columns(&mut self, scan: &Scan, findings: &[(&Report, &Finding)]) {
        let mut table = self.table();
        let mut last = None;
        let mut widest = 0;
        for (report, finding) in findings {
            let is_new = last != Some(&finding.key_arn);
            last = Some(&finding.key_arn);
            let key = match (is_new, finding.aliases.is_empty()) {
                (false, _) => String::new(),
                (true, false) if self.terminal.width >= WIDE_ENOUGH_FOR_IDS => {
                    format!("{}\n{}", name(finding), finding.key_id)
                }
                (true, _) => name(finding).to_owned(),
            };
            widest = key.lines().map(|line| line.chars().count()).max().unwrap_or_default().max(widest);
            let mut row = vec![key];
            if self.has_regions {
                row.push(if is_new { report.location.region.clone() } else { String::new() });
            }
            row.extend([finding.control.to_owned(), self.said(scan, finding)]);
            table.add_row(row);
        }
        let key = u16::try_from(widest).unwrap_or(u16::MAX).saturating_add(2).min(self.terminal.width / 2);
        let last = if self.has_regions { 3 } else { 2 };
        let fixed = [(0, key), (last - 1, 26)].into_iter().chain(self.has_regions.then_some((1, 16)));
        for (column, width) in fixed {
            if let Some(column) = table.column_mut(column) {
                column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(width)));
            }
        }
        if let Some(column) = table.column_mut(0) {
            column.set_padding((0, 1));
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(key)));
        }
        self.line(&table.trim_fmt());
    }

    fn findings_in_lines(&mut self, scan: &Scan, findings: &[(&Report, &Finding)]) {
        let mut last = None;
        for (report, finding) in findings {
            if last != Some(&finding.key_arn) {
                self.paragraph(0, name(finding));
                if self.has_regions {
                    self.paragraph(0, &report.location.region);
                }
            }
            last = Some(&finding.key_arn);
            self.paragraph(2, finding.control);
            let said = self.said(scan, finding);
            self.paragraph(4, &said);
        }
    }

    /// What there is to say of a finding beside its key and control.
    fn said(&self, scan: &Scan, finding: &Finding) -> String {
        let mut said = finding.detail.clone();
        if let Some(since) = scan.since(finding) {
            let _ = write!(said, " (since {})", date(since));
        }
        if let Some(exempt) = &finding.exempt {
            let (owner, reason) = (printable(&exempt.owner), printable(&exempt.reason));
            let _ = write!(said, " (exempt until {} by {owner}: {reason})", exempt.until);
        }
        if self.terminal.is_verbose {
            for (fact, value) in finding.evidence.iter() {
                let value = match value {
                    Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let _ = write!(said, "\n{fact}: {value}");
            }
            if !finding.remediation.is_empty() {
                let _ = write!(said, "\nRemediation: {}", finding.remediation);
            }
        }
        said
    }

    /// What could not be evaluated, by cause: it is one cause for many keys and controls.
    fn not_known(&mut self, scan: &Scan) {
        let mut causes: BTreeMap<(&str, &str, bool), Vec<&Finding>> = BTreeMap::new();
        for (_, finding) in scan.findings().filter(|(_, it)| it.compliance == Compliance::InsufficientData) {
            causes.entry((&finding.reason, &finding.detail, finding.is_passing)).or_default().push(finding);
        }
        let unknown = causes.iter().filter(|((_, _, is_passing), _)| !is_passing);
        let unknown: Vec<_> = unknown.map(|((reason, detail, _), findings)| (*reason, *detail, findings)).collect();
        if !unknown.is_empty() || !scan.failed.is_empty() || scan.keys_not_reached() > 0 {
            let style = Style::new().fg_color(Some(AnsiColor::Magenta.into())).bold();
            self.heading("NOT KNOWN", style, "neither good nor bad");
            for (region, why) in &scan.failed {
                self.paragraph(0, &format!("{region}: {}", printable(why)));
            }
            if scan.keys_not_reached() > 0 {
                let keys = counted(scan.keys_not_reached(), "key");
                self.paragraph(
                    0,
                    &format!("{keys} not reached: a longer --max-time or a larger --quota-share reaches more"),
                );
            }
            for (reason, detail, findings) in unknown {
                self.paragraph(0, &format!("{reason}: {detail}"));
                let mut names: Vec<&str> = findings.iter().map(|it| name(it)).collect();
                names.sort_unstable();
                names.dedup();
                let more = names.len().saturating_sub(MAX_NAMED_KEYS);
                names.truncate(MAX_NAMED_KEYS);
                let more = if more > 0 { format!(" and {more} more") } else { String::new() };
                self.paragraph(2, &format!("{}{more}", names.join(", ")));
            }
            self.line("");
        }
        let mut passing: BTreeMap<&str, u64> = BTreeMap::new();
        for ((reason, _, _), findings) in causes.iter().filter(|((_, _, is_passing), _)| *is_passing) {
            *passing.entry(reason).or_default() += findings.len() as u64;
        }
        if !passing.is_empty() {
            self.heading("NOT YET", Style::new().bold(), "passes by itself, no gap");
            for (reason, count) in passing {
                let how = if reason.ends_with("_not_asked") { ": --ask-all asks" } else { "" };
                self.paragraph(0, &format!("{reason}: {}{how}", counted(count, "evaluation")));
            }
            self.line("");
        }
    }

    fn evaluations(&mut self, scan: &Scan) {
        let lines = || scan.reports.iter().filter_map(|report| report.evaluations.as_ref()).flat_map(|it| &it.lines);
        self.heading("EVERY EVALUATION", Style::new().bold(), &counted(lines().count() as u64, "evaluation"));
        let mut last = "";
        for line in lines() {
            if self.is_wide() {
                let id = line.key_arn.rsplit_once('/').map_or(line.key_arn.as_str(), |(_, id)| id);
                let _ = writeln!(self.text, "{id} {} {} {}", line.control, line.compliance.as_str(), line.reason);
            } else {
                if last != line.key_arn {
                    self.paragraph(0, &line.key_arn);
                }
                last = &line.key_arn;
                self.paragraph(2, &format!("{} {} {}", line.control, line.compliance.as_str(), line.reason));
            }
        }
        self.line("");
    }

    fn counts(&mut self, scan: &Scan) {
        let mut table = self.table();
        let headings = if self.is_wide() {
            ["control", "compliant", "non-compliant", "not applicable", "not known"]
        } else {
            ["control", "ok", "bad", "n/a", "?"]
        };
        table.set_header(headings);
        for (control, counts) in scan.controls() {
            let Counts { compliant, non_compliant, not_applicable, insufficient_data } = counts;
            let numbers = [compliant, non_compliant, not_applicable, insufficient_data].map(grouped);
            table.add_row(std::iter::once(control.to_owned()).chain(numbers));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 1));
        }
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        self.line(&table.trim_fmt());
        self.line("");
    }

    fn conclusion(&mut self, scan: &Scan) {
        let open: Vec<&Finding> = scan.findings().map(|(_, it)| it).filter(|it| is_open(it)).collect();
        let regions = match scan.regions() {
            many if many.len() > MAX_NAMED_REGIONS => counted(many.len() as u64, "Region"),
            few => few.into_iter().collect::<Vec<_>>().join(", "),
        };
        let keys = counted(scan.keys(), "key");
        let controls = counted(scan.controls().len() as u64, "control");
        let what = if open.is_empty() && scan.below_severity == 0 {
            "nothing is wrong that could be seen".to_owned()
        } else {
            let of = |severity: Severity| {
                let count = open.iter().filter(|it| it.severity == severity).count();
                (count > 0).then(|| format!("{count} {}", severity.as_str()))
            };
            let parts =
                [Severity::Critical, Severity::High, Severity::Medium, Severity::Low].into_iter().filter_map(of);
            let parts = parts.collect::<Vec<_>>().join(", ");
            let parts = if parts.is_empty() { String::new() } else { format!(" ({parts})") };
            format!("{}{parts}", counted(open.len() as u64, "finding"))
        };
        let places = if regions.is_empty() { String::new() } else { format!(" in {regions}") };
        self.paragraph(0, &format!("{keys}{places}, {controls}: {what}."));
        if scan.below_severity > 0 {
            self.paragraph(
                0,
                &format!("Less severe than asked for, and not listed: {}.", grouped(scan.below_severity as u64)),
            );
        }
        let unknown = scan.not_known();
        if unknown > 0 {
            self.paragraph(0, &format!("Not known: {}.", counted(unknown, "evaluation")));
        }
        if scan.is_interrupted {
            self.paragraph(0, "Incomplete: the scan was interrupted.");
        }
        if !self.terminal.lists_all {
            self.paragraph(0, "Every evaluation: run again with --only all.");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::tests::scan;

    fn terminal(width: u16) -> Terminal {
        Terminal { width, is_unicode: true, is_verbose: false, lists_all: false }
    }

    /// What is left when colours are not shown.
    fn plain(scan: &Scan, terminal: Terminal) -> String {
        let mut text = String::new();
        let mut rest = render(scan, terminal);
        while let Some((before, after)) = rest.split_once("\u{1b}[") {
            text.push_str(before);
            rest = after.split_once('m').unwrap().1.to_owned();
        }
        text + &rest
    }

    fn widest(text: &str) -> usize {
        text.lines().map(|line| line.chars().count()).max().unwrap()
    }

    #[test]
    fn the_worst_comes_first_and_the_counts_last() {
        let text = plain(&scan(), terminal(100));
        let places =
            ["CRITICAL  2 findings", "LOW  1 finding", "EXEMPT  1 finding", "NOT KNOWN", "NOT YET", "\ncontrol  "];
        let places = places.map(|part| text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}")));
        assert!(places.is_sorted(), "{places:?}\n{text}");
        assert!(text.contains("alias/pay [31mments"), "{text}");
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("exempt until 2026-12-31 by ana : moves"), "{text}");
        assert!(text.contains("worse (since 2026-11-02)"), "{text}");
        assert!(text.contains("7 keys in eu-west-1, us-east-1, 2 controls: 3 findings (2 CRITICAL, 1 LOW)."), "{text}");
        assert!(text.contains("access_denied: access to kms:DescribeKey was denied"), "{text}");
        assert!(!text.contains('\u{202e}') && !text.contains('\u{1b}'));
        assert!(!text.contains("Remediation"));
        let verbose = plain(&scan(), Terminal { is_verbose: true, ..terminal(100) });
        assert!(verbose.contains("Remediation: Mend it."), "{verbose}");
    }

    #[test]
    fn it_is_as_wide_as_the_terminal() {
        for width in [40, 60, 71, 72, 80, 100, 132] {
            let text = plain(&scan(), terminal(width));
            assert!(widest(&text) <= usize::from(width), "{width}: {}\n{text}", widest(&text));
            let all = plain(&scan(), Terminal { lists_all: true, ..terminal(width) });
            assert!(all.contains("COMPLIANT good") && all.len() > text.len(), "{all}");
        }
    }

    #[test]
    fn a_terminal_of_ascii_gets_ascii() {
        let mut scan = scan();
        scan.reports[0].findings[0].detail = "a … – 鍵".to_owned();
        let text = plain(&scan, Terminal { is_unicode: false, ..terminal(80) });
        assert!(text.is_ascii() && text.contains("a ... - ?"), "{text}");
    }

    #[test]
    fn a_clean_account_says_what_was_asked() {
        let mut scan = scan();
        scan.reports.remove(0);
        let text = plain(&scan, terminal(80));
        assert!(text.contains("1 key in eu-west-1, 2 controls: nothing is wrong that could be seen."), "{text}");
        assert!(!text.contains("NOT KNOWN") && !text.contains("Not known"), "{text}");
    }

    #[test]
    fn what_was_not_seen_is_said() {
        let mut scan = Scan::default();
        scan.failed.push(("eu-nowhere-1".into(), "could not be \u{1b}[2Jreached".into()));
        scan.is_interrupted = true;
        scan.below_severity = 1_234;
        let text = plain(&scan, terminal(80));
        for part in ["eu-nowhere-1: could not be [2Jreached", "the scan was interrupted", "not listed: 1,234"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
}
