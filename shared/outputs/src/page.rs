//! Findings as a page: one HTML file that needs nothing else, for people who read, filter and print.
//!
//! A scan fills a [`Page`] from its reports; whoever has the ledger alone fills it from the records. What that does not hold
//! is left out, and said in [`Page::notes`].

use domain::finding::Finding;
use domain::location::Location;
use domain::report::Counts;
use jiff::Timestamp;

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
    /// Open findings that `findings` leaves out: less severe than was asked for.
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
