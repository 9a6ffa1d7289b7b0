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
use domain::finding::Finding;
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

const STYLE: &str = include_str!("../templates/page.css");
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
#[derive(Clone, Copy, Debug)]
pub struct PlacedFinding<'a> {
    /// Where.
    pub location: &'a Location,
    /// What.
    pub finding: &'a Finding,
    /// Since when it is open, where somebody remembers.
    pub since: Option<Timestamp>,
}

impl Page<'_> {
    /// The page as HTML, at most [`MAX_BYTES`] long: with all findings and links into the console, or without the links, or
    /// with the worst findings and the others counted.
    ///
    /// # Errors
    /// None that is known: the template writes into memory.
    pub fn render(&self) -> Result<String, askama::Error> {
        let mut findings = self.findings.clone();
        findings.sort_by_key(|it| {
            let Finding { severity, exempt, key_arn, control, .. } = it.finding;
            (Reverse(*severity), exempt.is_some(), key_arn, *control)
        });
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

    fn open(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().map(|it| it.finding).filter(|it| is_open(it))
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
            let of_keys = self.open().map(|it| it.key_arn.as_str()).collect::<BTreeSet<_>>().len() as u64;
            let parts: Vec<String> = SEVERITIES
                .iter()
                .filter_map(|severity| {
                    let count = self.open().filter(|it| it.severity == *severity).count();
                    (count > 0).then(|| format!("{} {}", grouped(count as u64), severity.as_str().to_lowercase()))
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
        let unknown = self.findings.iter().map(|it| it.finding).filter(|it| is_gap(it));
        unknown.map(|it| it.key_arn.as_str()).collect::<BTreeSet<_>>().len() as u64
    }
}

const SEVERITIES: [Severity; 4] = [Severity::Critical, Severity::High, Severity::Medium, Severity::Low];

/// Is it for somebody to act upon?
fn is_open(finding: &Finding) -> bool {
    finding.compliance == Compliance::NonCompliant && finding.exempt.is_none()
}

/// Is something not known that will not be known by itself?
fn is_gap(finding: &Finding) -> bool {
    finding.compliance == Compliance::InsufficientData && !finding.is_passing
}

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
    controls: BTreeSet<&'static str>,
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
        self.controls.iter().copied().collect::<Vec<_>>().join(", ")
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
    fn new(page: &'a Page<'a>, findings: &[PlacedFinding<'a>], omitted: &[PlacedFinding<'a>], has_links: bool) -> Self {
        let has_accounts = page.accounts().len() > 1;
        let (keys, remediations) = keys(findings, has_links);
        let mut omitted_by_control = BTreeMap::new();
        for it in omitted {
            *omitted_by_control.entry(it.finding.control).or_default() += 1;
        }
        let named = |it: &PlacedFinding<'_>| place_and_name(it, page.places.len() > 1, has_accounts);
        let exempt = findings.iter().filter_map(|it| {
            let exemption = it.finding.exempt.as_ref()?;
            Some(ExemptView {
                name: named(it),
                severity: it.finding.severity,
                control: it.finding.control,
                detail: printable(&it.finding.detail),
                until: exemption.until.to_string(),
                owner: printable(&exemption.owner),
                reason: printable(&exemption.reason),
            })
        });
        let unknown = |is_passing| {
            causes(
                findings.iter().filter(|it| {
                    let Finding { compliance, exempt, is_passing: passes, .. } = it.finding;
                    *compliance == Compliance::InsufficientData && exempt.is_none() && *passes == is_passing
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
    for PlacedFinding { location, finding, since } in findings.iter().filter(|it| is_open(it.finding)) {
        let remediation = (!finding.remediation.is_empty()).then(|| {
            *numbers.entry(&finding.remediation).or_insert_with(|| {
                remediations.push(printable(&finding.remediation));
                remediations.len()
            })
        });
        let facts = finding.evidence.iter().map(|(name, value)| {
            let value = value_text(value);
            Fact { name: fact_name(name), is_link: is_of_console(location, &value), value }
        });
        let key = by_key.entry(&finding.key_arn).or_insert_with(|| KeyView {
            // The first finding of a key is its worst.
            severity: finding.severity,
            name: Cow::Owned(printable(finding.aliases.first().unwrap_or(&finding.key_id))),
            aliases: finding.aliases.iter().skip(1).map(|alias| printable(alias)).collect(),
            location,
            arn: printable(&finding.key_arn),
            link: has_links.then(|| location.console_link(&finding.key_id)).flatten(),
            findings: Vec::new(),
        });
        key.findings.push(FindingView {
            severity: finding.severity,
            control: finding.control,
            detail: printable(&finding.detail),
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
        let Finding { reason, detail, remediation, control, .. } = it.finding;
        let cause = causes.entry((reason, detail)).or_insert_with(|| Cause {
            reason: printable(reason),
            detail: printable(detail),
            remediation: printable(remediation),
            controls: BTreeSet::new(),
            keys: BTreeSet::new(),
            evaluations: 0,
        });
        cause.controls.insert(control);
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
    let name = printable(it.finding.aliases.first().unwrap_or(&it.finding.key_id));
    match (has_places, has_accounts) {
        (_, true) => format!("{name} ({account_id} {region})"),
        (true, _) => format!("{name} ({region})"),
        _ => name,
    }
}

fn tiles(page: &Page<'_>) -> Vec<Tile> {
    let tile = |class, label, count: u64| Tile { class, label, count: grouped(count) };
    let of = |severity: Severity| page.open().filter(|it| it.severity == severity).count() as u64;
    let exempt = page.findings.iter().filter(|it| it.finding.exempt.is_some()).count() as u64;
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
