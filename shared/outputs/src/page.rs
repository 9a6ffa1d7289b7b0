//! Findings as a page: one HTML file that needs nothing else, for people who read, filter and print.
//!
//! A scan fills a [`Page`] from its reports; whoever has the ledger alone fills it from the records. What that does not hold
//! is left out, and said in [`Page::notes`].
//!
//! Other people's text comes in through [`printable`] alone, and the template escapes all of it. The page's policy allows one
//! script, by its hash, and no request to anywhere.

use std::borrow::{Borrow, Cow};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::control::Severity;
use domain::evidence::Evidence;
use domain::exemption::{Exemption, ExemptionState, ExemptionStatus};
use domain::finding::Finding;
use domain::ledger::Record;
use domain::location::Location;
use domain::report::Counts;
use domain::text::printable;
use domain::verdict::{Compliance, date};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::evidence::{fact_name, minute, value_text};
use crate::numbers::{counted, grouped};

/// Most bytes of a page. Browsers, mail and people cope with that.
pub const MAX_BYTES: usize = 5_000_000;

/// Most findings that are listed.
pub const MAX_FINDINGS: usize = 10_000;

/// How many are listed where there are more, the worst.
pub const WORST: usize = 5_000;

/// Most keys that one cause of ignorance names.
const MAX_NAMED_KEYS: usize = 100;

/// Up to so many keys are shown with all that is said of them.
const FEW_KEYS: usize = 5;

pub(crate) const STYLE: &str = include_str!("../templates/page.css");
const SCRIPT: &str = include_str!("../templates/page.js");

/// All that a page says.
#[derive(Clone, Debug)]
pub struct Page<'a> {
    /// Instant that the verdicts hold for.
    pub evaluated_at: Timestamp,
    /// Accounts and Regions that were looked at, or should have been.
    pub places: Vec<Place<'a>>,
    /// What each control said of all keys.
    pub controls: Vec<ControlCounts<'a>>,
    /// Findings: open ones, exempt ones, and what is not known. In any order.
    pub findings: Vec<PlacedFinding<'a>>,
    /// Evaluations that say nothing by now, in cases that pass by themselves: no gap.
    pub passing: u64,
    /// Findings that `findings` leaves out: less severe than was asked for.
    pub below_severity: usize,
    /// What the page does not hold, or not whole, and why: a sentence each.
    pub notes: Vec<String>,
    /// What the source of the page does not hold by its nature: a sentence each.
    pub left_out: Vec<String>,
    /// Settings that the verdicts rest on: name and value.
    pub settings: Vec<(String, String)>,
    /// Program and version that made it.
    pub made_by: &'a str,
    /// SHA-256 of the same result as JSON, in hexadecimal, if there is one.
    pub json_sha256: Option<String>,
}

/// One account and Region, and how much of it was seen.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Account; `None` where it was not even learnt.
    pub account_id: Option<&'a str>,
    /// Region.
    pub region: &'a str,
    /// Keys that were judged.
    pub keys: u64,
    /// Keys that time did not suffice for.
    pub keys_not_reached: u64,
    /// Was every key seen that should have been?
    pub is_complete: bool,
    /// Why nothing could be seen, where that is so.
    pub failure: Option<&'a str>,
}

/// What one control said of all keys.
#[derive(Clone, Debug)]
pub struct ControlCounts<'a> {
    /// Name of the control.
    pub control: &'a str,
    /// What is asked of a key, in a few words; empty if not known.
    pub title: &'a str,
    /// Controls of public standards that ask for the same.
    pub references: &'a [&'a str],
    /// How many evaluations came out how.
    pub counts: Counts,
}

/// A finding, and where its key is.
#[derive(Clone, Debug)]
pub struct PlacedFinding<'a> {
    /// Where.
    pub location: &'a Location,
    /// Since when it is open, where somebody remembers.
    pub since: Option<Timestamp>,
    key_arn: &'a str,
    key_id: &'a str,
    aliases: &'a [String],
    control: &'a str,
    compliance: Compliance,
    severity: Severity,
    reason: &'a str,
    detail: &'a str,
    evidence: &'a Evidence,
    remediation: &'a str,
    exempt: Option<Cow<'a, Exemption>>,
    is_passing: bool,
}

impl<'a> PlacedFinding<'a> {
    /// What a run found.
    pub fn found(location: &'a Location, finding: &'a Finding, since: Option<Timestamp>) -> Self {
        Self {
            location,
            since,
            key_arn: &finding.key_arn,
            key_id: &finding.key_id,
            aliases: &finding.aliases,
            control: finding.control,
            compliance: finding.compliance,
            severity: finding.severity,
            reason: &finding.reason,
            detail: &finding.detail,
            evidence: &finding.evidence,
            remediation: &finding.remediation,
            exempt: finding.exempt.as_ref().map(Cow::Borrowed),
            is_passing: finding.is_passing,
        }
    }

    /// What the ledger has open. Whether its exemption is still in effect is for the instant to say.
    pub fn recorded(location: &'a Location, record: &'a Record, now: Timestamp) -> Self {
        let exemption = record.exemption.as_ref().map(|it| ExemptionStatus::of(&it.tag, record.severity, now));
        let in_effect = exemption.filter(|it| it.state == ExemptionState::InEffect).and_then(|it| it.exemption);
        Self {
            location,
            since: Some(record.first_seen),
            key_arn: &record.key_arn,
            key_id: &record.key_id,
            aliases: &record.aliases,
            control: &record.control,
            compliance: record.compliance,
            severity: record.severity,
            reason: &record.reason,
            detail: record.words(),
            evidence: &record.evidence,
            remediation: &record.remediation,
            exempt: in_effect.map(Cow::Owned),
            is_passing: false,
        }
    }

    /// Is it for somebody to act upon?
    fn is_open(&self) -> bool {
        self.compliance == Compliance::NonCompliant && self.exempt.is_none()
    }

    /// Is something not known that will not be known by itself?
    fn is_gap(&self) -> bool {
        self.compliance == Compliance::InsufficientData && !self.is_passing
    }
}

impl Page<'_> {
    /// The page as HTML, at most [`MAX_BYTES`] long: with all findings and links into the console, or without the links, or
    /// with the worst findings and the others counted.
    ///
    /// # Errors
    /// None that is known: the template writes into memory.
    pub fn render(&self) -> Result<String, askama::Error> {
        let mut findings = self.findings.clone();
        findings.sort_by_key(|it| (Reverse(it.severity), it.exempt.is_some(), it.key_arn, it.control));
        let mut listed = if findings.len() > MAX_FINDINGS { WORST } else { findings.len() };
        loop {
            for has_links in [true, false] {
                let (findings, omitted) = findings.split_at(listed.min(findings.len()));
                let html = View::new(self, findings, omitted, has_links).render()?;
                if html.len() <= MAX_BYTES || listed == 0 {
                    return Ok(html);
                }
            }
            listed /= 2;
        }
    }

    fn sum(&self, count: impl Fn(&Counts) -> u64) -> u64 {
        self.controls.iter().map(|it| count(&it.counts)).sum()
    }

    fn keys(&self) -> u64 {
        self.places.iter().map(|it| it.keys).sum()
    }

    fn keys_not_reached(&self) -> u64 {
        self.places.iter().map(|it| it.keys_not_reached).sum()
    }

    /// Evaluations that say nothing, in cases that do not pass by themselves.
    fn not_known(&self) -> u64 {
        self.sum(|counts| counts.insufficient_data).saturating_sub(self.passing)
    }

    fn is_complete(&self) -> bool {
        self.not_known() == 0 && self.places.iter().all(|it| it.is_complete) && self.notes.is_empty()
    }

    fn open(&self) -> impl Iterator<Item = &PlacedFinding<'_>> {
        self.findings.iter().filter(|it| it.is_open())
    }

    fn accounts(&self) -> BTreeSet<&str> {
        self.places.iter().filter_map(|it| it.account_id).collect()
    }

    fn regions(&self) -> BTreeSet<&str> {
        self.places.iter().map(|it| it.region).collect()
    }

    /// What is to be said first.
    fn verdict(&self) -> Verdict {
        let open = self.open().count();
        let keys = self.keys();
        if open > 0 {
            let of_keys = self.open().map(|it| it.key_arn).collect::<BTreeSet<_>>().len() as u64;
            let parts: Vec<String> = SEVERITIES
                .iter()
                .filter_map(|severity| {
                    let count = self.open().filter(|it| it.severity == *severity).count();
                    (count > 0).then(|| format!("{}\u{a0}{}", grouped(count as u64), severity.as_str().to_lowercase()))
                })
                .collect();
            let of = if keys >= of_keys {
                format!("{} of {}", grouped(of_keys), counted(keys, "key"))
            } else {
                counted(of_keys, "key")
            };
            let sentence = format!("{} on {of}: {}.", counted(open as u64, "open finding"), listed(&parts));
            return Verdict { class: "bad", word: "Action needed", sentence };
        }
        let nothing = self.places.iter().all(|it| it.failure.is_some());
        let (class, word, sentence) = match (self.is_complete(), nothing, self.below_severity, keys) {
            (_, true, ..) => ("unsure", "Unknown", "No key could be looked at.".to_owned()),
            (_, _, 1.., _) => {
                let less = counted(self.below_severity as u64, "less severe finding");
                (
                    "unsure",
                    "Not all is listed",
                    format!("No open finding is as severe as was asked for; {less} not listed."),
                )
            }
            (false, ..) => {
                let keys = counted(keys, "key");
                ("unsure", "Incomplete", format!("No open finding on {keys}, but not everything could be seen."))
            }
            (true, .., 0) => ("good", "Nothing to judge", "There is no key to judge.".to_owned()),
            (true, ..) => {
                let controls = counted(self.controls.len() as u64, "control");
                ("good", "In order", format!("No open finding on {} by {controls}.", counted(keys, "key")))
            }
        };
        Verdict { class, word, sentence }
    }

    /// How much was seen, in a sentence.
    fn coverage(&self) -> String {
        let (keys, missed) = (self.keys(), self.keys_not_reached());
        let mut said = format!(
            "{} of {} judged by {}",
            grouped(keys),
            counted(keys + missed, "key"),
            counted(self.controls.len() as u64, "control")
        );
        let not_readable = self.unreadable_keys();
        if not_readable > 0 {
            let _ = write!(said, ", {} not readable in full", grouped(not_readable));
        }
        if missed > 0 {
            let _ = write!(said, ", {} not reached", grouped(missed));
        }
        let failed = self.places.iter().filter(|it| it.failure.is_some()).count() as u64;
        if failed > 0 {
            let _ = write!(said, ", {} not seen at all", counted(failed, "Region"));
        }
        said.push('.');
        said
    }

    fn unreadable_keys(&self) -> u64 {
        let unknown = self.findings.iter().filter(|it| it.is_gap());
        unknown.map(|it| it.key_arn).collect::<BTreeSet<_>>().len() as u64
    }
}

const SEVERITIES: [Severity; 4] = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low];

/// Things in a row, the last with an "and".
fn listed(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What is to be said first.
struct Verdict {
    class: &'static str,
    word: &'static str,
    sentence: String,
}

/// A number that people look for first.
struct Tile {
    class: &'static str,
    label: &'static str,
    count: String,
}

/// A key with open findings.
struct KeyView<'a> {
    severity: Severity,
    name: Cow<'a, str>,
    /// Its other aliases.
    aliases: Vec<String>,
    location: &'a Location,
    arn: String,
    /// Its page in the console.
    link: Option<String>,
    findings: Vec<FindingView<'a>>,
}

struct FindingView<'a> {
    severity: Severity,
    control: &'a str,
    detail: String,
    since: Option<String>,
    facts: Vec<Fact>,
    /// Number of its remediation.
    remediation: Option<usize>,
}

struct Fact {
    name: String,
    value: String,
    /// Does it lead into the console?
    is_link: bool,
}

struct ExemptView<'a> {
    name: String,
    severity: Severity,
    control: &'a str,
    detail: String,
    until: String,
    owner: String,
    reason: String,
}

/// Why something is not known: one cause for many keys and controls.
struct Cause {
    reason: String,
    detail: String,
    remediation: String,
    controls: BTreeSet<String>,
    keys: BTreeSet<String>,
    evaluations: u64,
}

impl Cause {
    fn named(&self) -> String {
        let named = self.keys.iter().take(MAX_NAMED_KEYS).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = self.keys.len().saturating_sub(MAX_NAMED_KEYS) as u64;
        if more > 0 { format!("{named} and {} more", grouped(more)) } else { named }
    }

    fn controls(&self) -> String {
        self.controls.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

struct ControlView<'a> {
    of: &'a ControlCounts<'a>,
    /// Shares of the four counts, in percent, for a bar.
    shares: [f64; 4],
}

#[derive(Template)]
#[template(path = "page.html", whitespace = "minimize")]
struct View<'a> {
    page: &'a Page<'a>,
    policy: String,
    evaluated_at: String,
    verdict: Verdict,
    tiles: Vec<Tile>,
    controls: Vec<ControlView<'a>>,
    keys: Vec<KeyView<'a>>,
    remediations: Vec<String>,
    exempt: Vec<ExemptView<'a>>,
    causes: Vec<Cause>,
    passing: Vec<Cause>,
    /// Findings that are not listed, by control.
    omitted: BTreeMap<&'a str, u64>,
    has_accounts: bool,
}

impl<'a> View<'a> {
    fn new(
        page: &'a Page<'a>,
        findings: &'a [PlacedFinding<'a>],
        omitted: &'a [PlacedFinding<'a>],
        has_links: bool,
    ) -> Self {
        let has_accounts = page.accounts().len() > 1;
        let (keys, remediations) = keys(findings, has_links);
        let mut omitted_by_control = BTreeMap::new();
        for it in omitted {
            *omitted_by_control.entry(it.control).or_default() += 1;
        }
        let named = |it: &PlacedFinding<'_>| place_and_name(it, page.places.len() > 1, has_accounts);
        let exempt = findings.iter().filter_map(|it| {
            let exemption = it.exempt.as_deref()?;
            Some(ExemptView {
                name: named(it),
                severity: it.severity,
                control: it.control,
                detail: printable(it.detail),
                until: exemption.until.to_string(),
                owner: printable(&exemption.owner),
                reason: printable(&exemption.reason),
            })
        });
        let unknown = |is_passing| {
            causes(
                findings.iter().filter(|it| {
                    let is_unknown = it.compliance == Compliance::InsufficientData && it.exempt.is_none();
                    is_unknown && it.is_passing == is_passing
                }),
                &named,
            )
        };
        Self {
            policy: policy(),
            evaluated_at: minute(page.evaluated_at),
            verdict: page.verdict(),
            tiles: tiles(page),
            controls: page.controls.iter().map(ControlView::new).collect(),
            keys,
            remediations,
            exempt: exempt.collect(),
            causes: unknown(false),
            passing: unknown(true),
            omitted: omitted_by_control,
            has_accounts,
            page,
        }
    }

    /// Where the keys are, in a few words.
    fn places(&self) -> String {
        let (accounts, regions) = (self.page.accounts(), self.page.regions());
        let few = |names: &BTreeSet<&str>, noun: &str| match names.len() {
            1..=2 => names.iter().map(|it| printable(it)).collect::<Vec<_>>().join(" and "),
            many => counted(many as u64, noun),
        };
        let account = if accounts.len() == 1 { "account " } else { "" };
        format!("{account}{}, {}", few(&accounts, "account"), few(&regions, "Region"))
    }

    fn listed_findings(&self) -> u64 {
        self.keys.iter().map(|it| it.findings.len() as u64).sum()
    }

    fn omitted_count(&self) -> u64 {
        self.omitted.values().sum()
    }

    fn are_few(&self) -> bool {
        self.keys.len() <= FEW_KEYS
    }

    /// Controls with a finding that is listed, to choose from.
    fn controls_with_findings(&self) -> BTreeSet<&'a str> {
        self.keys.iter().flat_map(|key| &key.findings).map(|it| it.control).collect()
    }

    /// Regions of the keys that are listed, to choose from.
    fn regions_with_findings(&self) -> BTreeSet<&'a str> {
        self.keys.iter().map(|it| it.location.region.as_str()).collect()
    }

    fn accounts_with_findings(&self) -> BTreeSet<&'a str> {
        self.keys.iter().map(|it| it.location.account_id.as_str()).collect()
    }

    fn has_gaps(&self) -> bool {
        let page = self.page;
        !self.causes.is_empty()
            || !self.passing.is_empty()
            || page.below_severity > 0
            || !page.notes.is_empty()
            || page.keys_not_reached() > 0
            || page.places.iter().any(|it| it.failure.is_some() || !it.is_complete)
    }
}

impl<'a> ControlView<'a> {
    fn new(of: &'a ControlCounts<'a>) -> Self {
        let Counts { compliant, non_compliant, not_applicable, insufficient_data } = of.counts;
        #[expect(clippy::cast_precision_loss, reason = "counts of evaluations are far below 2^52")]
        let share = |count: u64| (count as f64 * 1_000.0 / of.counts.total().max(1) as f64).round() / 10.0;
        Self { of, shares: [non_compliant, insufficient_data, compliant, not_applicable].map(share) }
    }
}

/// The keys with open findings, the worst first, and the remediations that they point to. Many findings share one.
fn keys<'a>(findings: &[PlacedFinding<'a>], has_links: bool) -> (Vec<KeyView<'a>>, Vec<String>) {
    let mut by_key: BTreeMap<&str, KeyView<'a>> = BTreeMap::new();
    let mut remediations: Vec<String> = Vec::new();
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for it in findings.iter().filter(|it| it.is_open()) {
        let PlacedFinding { location, since, .. } = it;
        let remediation = (!it.remediation.is_empty()).then(|| {
            *numbers.entry(it.remediation).or_insert_with(|| {
                remediations.push(printable(it.remediation));
                remediations.len()
            })
        });
        let facts = it.evidence.iter().map(|(name, value)| {
            let value = value_text(value);
            Fact { name: fact_name(name), is_link: is_of_console(location, &value), value }
        });
        let key = by_key.entry(it.key_arn).or_insert_with(|| KeyView {
            // The first finding of a key is its worst.
            severity: it.severity,
            name: Cow::Owned(printable(it.aliases.first().map_or(it.key_id, String::as_str))),
            aliases: it.aliases.iter().skip(1).map(|alias| printable(alias)).collect(),
            location,
            arn: printable(it.key_arn),
            link: has_links.then(|| location.console_link(it.key_id)).flatten(),
            findings: Vec::new(),
        });
        key.findings.push(FindingView {
            severity: it.severity,
            control: it.control,
            detail: printable(it.detail),
            since: since.map(date),
            facts: facts.filter(|it| has_links || !it.is_link).filter(|it| !is_nothing(&it.value)).collect(),
            remediation,
        });
    }
    let mut keys: Vec<KeyView<'_>> = by_key.into_values().collect();
    keys.sort_by(|a, b| {
        let order = |it: &KeyView<'_>| (Reverse(it.severity), !it.name.starts_with("alias/"));
        order(a).cmp(&order(b)).then_with(|| a.name.cmp(&b.name)).then_with(|| a.arn.cmp(&b.arn))
    });
    (keys, remediations)
}

/// Does an address lead into the AWS console of that place, and nowhere else?
fn is_of_console(location: &Location, address: &str) -> bool {
    let home = location
        .console_page("cloudwatch", "")
        .and_then(|it| it.split_once("/cloudwatch").map(|(home, _)| format!("{home}/")));
    home.is_some_and(|home| address.starts_with(&home)) && !address.contains(char::is_whitespace)
}

fn is_nothing(value: &str) -> bool {
    matches!(value, "null" | "[]" | "()" | "")
}

/// What is not known, by cause: what most keys have first.
fn causes<'f>(
    findings: impl Iterator<Item = &'f PlacedFinding<'f>>,
    named: &impl Fn(&PlacedFinding<'f>) -> String,
) -> Vec<Cause> {
    let mut causes: BTreeMap<(&str, &str), Cause> = BTreeMap::new();
    for it in findings {
        let PlacedFinding { reason, detail, remediation, control, .. } = it;
        let cause = causes.entry((reason, detail)).or_insert_with(|| Cause {
            reason: printable(reason),
            detail: printable(detail),
            remediation: printable(remediation),
            controls: BTreeSet::new(),
            keys: BTreeSet::new(),
            evaluations: 0,
        });
        cause.controls.insert(printable(control));
        cause.keys.insert(named(it));
        cause.evaluations += 1;
    }
    let mut causes: Vec<Cause> = causes.into_values().collect();
    causes.sort_by_key(|cause| Reverse(cause.evaluations));
    causes
}

/// The key's first alias or its ID, and where it is unless that is plain.
fn place_and_name(it: &PlacedFinding<'_>, has_places: bool, has_accounts: bool) -> String {
    let Location { region, account_id, .. } = it.location;
    let name = printable(it.aliases.first().map_or(it.key_id, String::as_str));
    match (has_places, has_accounts) {
        (_, true) => format!("{name} ({account_id} {region})"),
        (true, _) => format!("{name} ({region})"),
        _ => name,
    }
}

fn tiles(page: &Page<'_>) -> Vec<Tile> {
    let tile = |class, label, count: u64| Tile { class, label, count: grouped(count) };
    let of = |severity: Severity| page.open().filter(|it| it.severity == severity).count() as u64;
    let exempt = page.findings.iter().filter(|it| it.exempt.is_some()).count() as u64;
    vec![
        tile("s4", "Critical", of(Severity::Critical)),
        tile("s3", "High", of(Severity::High)),
        tile("s2", "Medium", of(Severity::Medium)),
        tile("s1", "Low", of(Severity::Low)),
        tile("unknown", "Not known", page.not_known()),
        tile("exempt", "Exempt", exempt),
    ]
}

/// What the browser may do: show the page's style, and run the page's script. Nothing is loaded.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    format!(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'"
    )
}

/// Class of a severity in the style. The template hands over values and references alike.
fn class(severity: impl Borrow<Severity>) -> &'static str {
    match severity.borrow() {
        Severity::Critical => "s4",
        Severity::High => "s3",
        Severity::Medium => "s2",
        Severity::Low => "s1",
    }
}

fn word(severity: impl Borrow<Severity>) -> &'static str {
    match severity.borrow() {
        Severity::Critical => "Critical",
        Severity::High => "High",
        Severity::Medium => "Medium",
        Severity::Low => "Low",
    }
}

/// How much was seen of a place, in words.
fn seen(place: &Place<'_>) -> &'static str {
    match (place.failure, place.is_complete) {
        (Some(_), _) => "nothing",
        (None, false) => "not every key",
        (None, true) => "every key",
    }
}

fn number(number: impl Borrow<u64>) -> String {
    grouped(*number.borrow())
}

fn number_of(number: impl Borrow<u64>, noun: &str) -> String {
    counted(*number.borrow(), noun)
}

#[cfg(test)]
mod tests {
    use domain::control::Control;
    use domain::exemption::Exemption;
    use domain::failure::{Cause as FailureCause, Failure};
    use domain::finding::KeyIdentity;
    use domain::report::Report;
    use domain::verdict::Verdict as Judged;
    use proptest::prelude::*;

    use super::*;

    const fn control(id: &'static str, severity: Severity) -> Control {
        Control { id, title: "what is asked", severity, other_severities: "", references: &["Rule 1"] }
    }
    static MILD: Control = control("mild-control", Severity::Low);
    static GRAVE: Control = control("grave-control", Severity::Critical);
    static CONTROLS: [&Control; 2] = [&MILD, &GRAVE];

    fn location() -> Location {
        Location { partition: "aws".into(), region: "us-east-1".into(), account_id: "123456789012".into() }
    }

    fn key(n: usize) -> KeyIdentity {
        let id = format!("1234abcd-12ab-34cd-56ef-{n:012}");
        KeyIdentity { arn: location().key_arn(&id), id }
    }

    fn at() -> Timestamp {
        "2026-11-25T06:00:00Z".parse().unwrap()
    }

    /// A report whose n-th key gets what `verdicts` says.
    fn report(keys: usize, verdicts: impl Fn(usize) -> [Judged; 2]) -> Report {
        let mut report = Report::new("a-checker", &location(), at(), &CONTROLS, None);
        for n in 0..keys {
            report.add(&key(n), &CONTROLS, verdicts(n), None);
        }
        report.close(&BTreeMap::new());
        report
    }

    fn page(report: &Report) -> Page<'_> {
        let Report { location, keys_listed, keys_not_reached, complete, .. } = report;
        Page {
            evaluated_at: at(),
            places: vec![Place {
                account_id: Some(&location.account_id),
                region: &location.region,
                keys: *keys_listed,
                keys_not_reached: *keys_not_reached,
                is_complete: *complete,
                failure: None,
            }],
            controls: CONTROLS
                .iter()
                .map(|it| ControlCounts {
                    control: it.id,
                    title: it.title,
                    references: it.references,
                    counts: report.controls[it.id],
                })
                .collect(),
            findings: report.findings.iter().map(|finding| PlacedFinding::found(location, finding, None)).collect(),
            passing: report.passing,
            below_severity: 0,
            notes: Vec::new(),
            left_out: Vec::new(),
            settings: vec![("MAX_KEY_AGE_DAYS".into(), "365".into())],
            made_by: "kms-compliance 9.9.9",
            json_sha256: Some("feedc0de".into()),
        }
    }

    fn good() -> Judged {
        Judged::compliant("good")
    }

    fn bad() -> Judged {
        Judged::non_compliant("bad").detail("it is bad").evidence("days_late", 3).remediation("Mend it.")
    }

    fn denied() -> Judged {
        let cause = FailureCause::AccessDenied;
        (&Failure { service: "kms", operation: "DescribeKey", cause, code: None, message: String::new() }).into()
    }

    fn sentence(report: &Report) -> (String, &'static str) {
        let verdict = page(report).verdict();
        (verdict.sentence.replace('\u{a0}', " "), verdict.class)
    }

    #[test]
    fn the_verdict_is_one_sentence() {
        let clean = report(3, |_| [good(), good()]);
        let some = report(3, |n| if n == 0 { [bad(), bad()] } else { [bad(), good()] });
        let unknown = report(3, |n| if n == 0 { [denied(), good()] } else { [good(), good()] });
        let later = report(1, |_| [good(), Judged::insufficient_data("learning").passing()]);
        let mut cut = report(2, |_| [good(), good()]);
        (cut.complete, cut.keys_not_reached) = (false, 5);
        for (report, expected, class) in [
            (&clean, "No open finding on 3 keys by 2 controls.", "good"),
            (&some, "4 open findings on 3 of 3 keys: 1 critical and 3 low.", "bad"),
            (&unknown, "No open finding on 3 keys, but not everything could be seen.", "unsure"),
            (&later, "No open finding on 1 key by 2 controls.", "good"),
            (&cut, "No open finding on 2 keys, but not everything could be seen.", "unsure"),
            (&report(0, |_| [good(), good()]), "There is no key to judge.", "good"),
        ] {
            assert_eq!(sentence(report), (expected.to_owned(), class));
        }
        let mut narrow = page(&clean);
        narrow.below_severity = 1;
        let verdict = narrow.verdict();
        assert_eq!(
            verdict.sentence,
            "No open finding is as severe as was asked for; 1 less severe finding not listed."
        );
        assert_eq!(verdict.class, "unsure");
        let mut none = page(&clean);
        none.places[0].failure = Some("why");
        assert_eq!((none.verdict().class, none.verdict().sentence.as_str()), ("unsure", "No key could be looked at."));
    }

    #[test]
    fn an_exempt_finding_is_not_open_and_an_error_is_no_finding() {
        let mut report = report(2, |n| if n == 0 { [bad(), good()] } else { [denied(), good()] });
        let exempt = report.findings.iter_mut().find(|it| it.compliance == Compliance::NonCompliant).unwrap();
        exempt.exempt = Some(Exemption {
            until: "2026-12-31".parse().unwrap(),
            owner: "ana\u{202e}".into(),
            reason: "<b>moves</b>".into(),
        });
        let page = page(&report);
        assert_eq!(page.verdict().class, "unsure");
        assert_eq!(page.coverage(), "2 of 2 keys judged by 2 controls, 1 not readable in full.");
        let html = page.render().unwrap();
        for part in
            ["<td class=\"date\">2026-12-31</td><td>ana </td><td>&#60;b&#62;moves", "No open finding.", "access_denied"]
        {
            assert!(html.contains(part), "{part}\n{html}");
        }
        let tiles: Vec<_> = tiles(&page).into_iter().map(|it| (it.label, it.count)).collect();
        let expected = [("Critical", 0), ("High", 0), ("Medium", 0), ("Low", 0), ("Not known", 1), ("Exempt", 1)];
        assert_eq!(tiles, expected.map(|(label, count)| (label, count.to_string())));
    }

    #[test]
    fn it_is_read_in_the_order_of_the_contract() {
        let report = report(2, |n| if n == 0 { [bad(), bad()] } else { [denied(), good()] });
        let mut page = page(&report);
        page.notes.push("The ledger keeps no evidence.".into());
        let html = page.render().unwrap();
        let parts = [
            "Content-Security-Policy",
            "<h1>2 open findings on 1 of 2 keys: 1\u{a0}critical and 1\u{a0}low.</h1>",
            "2 of 2 keys judged",
            "<code>grave-control</code>",
            "id=\"findings\"",
            "<b class=s4>CRITICAL</b> <span>1234abcd-12ab-34cd-56ef-000000000000</span>",
            "<b class=s4>CRITICAL</b> <code>grave-control</code>",
            "<b class=s1>LOW</b> <code>mild-control</code>",
            "<dt>days late<dd>3",
            "<li id=\"r1\">Mend it.</li>",
            "id=\"exemptions\"",
            "id=\"not-known\"",
            "The ledger keeps no evidence.",
            "access to kms:DescribeKey was denied",
            "MAX_KEY_AGE_DAYS",
            "kms-compliance 9.9.9",
            "feedc0de",
        ];
        let mut rest = html.as_str();
        for part in parts {
            rest = rest.split_once(part).unwrap_or_else(|| panic!("{part} is missing or too early in\n{html}")).1;
        }
        assert_eq!(html.matches("Mend it.").count(), 1, "a remediation stands once");
    }

    #[test]
    fn the_policy_allows_this_script_and_no_request() {
        let html = page(&report(1, |_| [bad(), good()])).render().unwrap();
        let script = html.split_once("<script>").unwrap().1.split_once("</script>").unwrap().0;
        let hash = STANDARD.encode(Sha256::digest(script));
        let policy = format!(
            "content=\"default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; script-src &#39;sha256-{hash}&#39;;"
        );
        assert!(html.replace("&#x27;", "&#39;").contains(&policy), "{policy}");
        assert_eq!(html.matches("<script").count(), 1);
        for loads in ["src=", "@import", "url(", "<link", "<img", "<iframe"] {
            assert!(!html.contains(loads), "{loads}");
        }
    }

    #[test]
    fn a_link_leads_into_the_console_or_nowhere() {
        let console = "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#metricsV2";
        for (address, expected) in [
            (console, true),
            ("https://us-east-1.console.aws.amazon.com.evil.example/", false),
            ("https://evil.example/us-east-1.console.aws.amazon.com/", false),
            ("javascript:alert(1)", false),
            ("", false),
        ] {
            assert_eq!(is_of_console(&location(), address), expected, "{address}");
            let report = report(1, |_| [good(), bad().evidence("graph", address)]);
            let html = page(&report).render().unwrap();
            assert_eq!(html.contains("in the console"), expected, "{address}");
        }
    }

    #[test]
    fn ten_thousand_findings_are_listed_and_more_are_counted() {
        let verdicts = |n: usize| {
            let detail = format!("automatic rotation is off, and has been for {n} days");
            let late = bad().detail(detail).evidence("created_at", "2020-01-01T00:00:00Z");
            if n < 100 { [good(), late] } else { [late, good()] }
        };
        for (keys, expected) in [(10_000, 10_000), (10_001, 5_000)] {
            let report = report(keys, verdicts);
            let html = page(&report).render().unwrap();
            assert!(html.len() < MAX_BYTES, "{}", html.len());
            assert_eq!(html.matches("<li><b class=").count(), expected);
            assert_eq!(html.matches("<li><b class=s4>").count(), 100, "the worst are there");
            assert_eq!(html.contains("5,000 of 10,001 findings"), expected == 5_000);
            assert_eq!(html.contains("mild-control 5,001"), expected == 5_000);
        }
    }

    #[test]
    fn long_words_cost_the_links_first_and_then_findings() {
        let long = |bytes: usize| move |n: usize| [good(), bad().detail(format!("{n}{}", "x".repeat(bytes)))];
        for (keys, bytes, has_links, all) in
            [(9_000, 20, true, true), (9_000, 150, false, true), (9_000, 2_000, true, false)]
        {
            let report = report(keys, long(bytes));
            let html = page(&report).render().unwrap();
            assert!(html.len() <= MAX_BYTES, "{}", html.len());
            assert_eq!(html.contains("console.aws.amazon.com"), has_links, "{bytes}");
            assert_eq!(!html.contains("The worst are listed"), all, "{bytes}");
            assert!(html.contains("9,000 open findings on 9,000 of 9,000 keys"));
        }
    }

    #[test]
    fn what_many_keys_have_in_common_is_said_once() {
        let report = report(250, |_| [denied(), denied()]);
        let html = page(&report).render().unwrap();
        assert!(html.contains("500 evaluations on 250 keys, grave-control, mild-control."), "{html}");
        assert!(html.contains("and 150 more"));
        assert_eq!(html.matches("access to kms:DescribeKey was denied").count(), 1);
    }

    #[test]
    fn several_accounts_are_told_apart() {
        let here = report(1, |_| [bad(), good()]);
        let mut there = report(1, |_| [denied(), good()]);
        there.location.account_id = "210987654321".into();
        let (mut page, other) = (page(&here), page(&there));
        page.places.extend(other.places);
        page.findings.extend(other.findings);
        let html = page.render().unwrap();
        for part in ["name=\"account\"", "<i>123456789012</i>", "(210987654321 us-east-1)", "2 accounts"] {
            let html = html.replace("123456789012 and 210987654321", "2 accounts");
            assert!(html.contains(part), "{part}\n{html}");
        }
    }

    /// What a browser would make of the page: the tags that open, in their order.
    fn tags(html: &str) -> Vec<String> {
        let name = |rest: &str| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
        html.split('<').skip(1).map(name).filter(|it| !it.is_empty()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn other_peoples_text_stays_text(text in r#"[<>"'&/=a-z \u{202e}\u{1b}\u{7}\u{feff}\n-]{1,60}"#) {
            let made = |text: &str| {
                let mut report = report(2, |n| {
                    let bad = bad().detail(text).evidence("who", text).remediation(text.to_owned());
                    let unknown = Judged::insufficient_data("odd").detail(text).remediation(text.to_owned());
                    if n == 0 { [bad.clone(), bad] } else { [bad, unknown] }
                });
                for finding in &mut report.findings {
                    finding.aliases = vec![text.to_owned(), text.to_owned()];
                }
                let until = "2026-12-31".parse().unwrap();
                report.findings.last_mut().unwrap().exempt =
                    Some(Exemption { until, owner: text.to_owned(), reason: text.to_owned() });
                let mut page = page(&report);
                page.places[0].failure = Some(text);
                page.notes.push(text.to_owned());
                page.settings.push((text.to_owned(), text.to_owned()));
                page.render().unwrap()
            };
            let html = made(&text);
            prop_assert_eq!(tags(&html), tags(&made("plain")));
            let hidden = html.chars().find(|c| c.is_control() && *c != '\n' || matches!(c, '\u{202e}' | '\u{feff}'));
            prop_assert_eq!(hidden, None);
        }
    }
}
