//! The digest: one message about all that waits in the ledger, over all functions, accounts and Regions; for people and
//! for programs.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use domain::control::Severity;
use domain::ledger::{Change, Notice, Record};
use domain::location::Location;
use domain::outcome::Outcome;
use domain::route::Route;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use crate::updates::{MAX_MESSAGE_BYTES, Tally, counted, ends_unwatched, escaped_len};
use crate::{digest_email, digest_json};

/// Control of accounts that could not be looked into. Its finding is about an account and a Region, not about a key.
pub const ACCOUNT_REACHABLE: &str = "account-reachable";

/// Most values of one message attribute. Where there are more, the message has no such attribute and says so.
pub const MAX_ATTRIBUTE_VALUES: usize = 100;

/// The part of the ledger that a finding stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Part<'a> {
    /// Account of the key.
    pub account_id: &'a str,
    /// Region of the key.
    pub region: &'a str,
    /// Function that has the finding.
    pub function: &'a str,
}

/// One thing to tell: a record of the ledger, where it stands, and what there is to say of it.
#[derive(Clone, Debug)]
pub struct Update<'a> {
    /// Where it stands.
    pub part: Part<'a>,
    /// The record.
    pub record: &'a Record,
    /// What there is to say.
    pub notice: Notice,
}

impl<'a> Update<'a> {
    /// What there is to tell of a record; `None` if nothing of it is pending.
    pub fn of(part: Part<'a>, record: &'a Record, now: Timestamp) -> Option<Self> {
        Some(Self { part, record, notice: record.notice(now)? })
    }

    /// Account and Region.
    pub(crate) fn place(&self) -> (&'a str, &'a str) {
        (self.part.account_id, self.part.region)
    }

    /// Is there something to do about it?
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.notice.change, Some(Change::New | Change::Worsened | Change::Reminder))
    }

    /// Did it end only because nobody looks at its key any more?
    pub(crate) fn is_unwatched(&self) -> bool {
        ends_unwatched(self.notice.resolution.as_ref())
    }

    /// Is it about a key, and not about an account?
    pub(crate) fn is_of_key(&self) -> bool {
        self.record.control != ACCOUNT_REACHABLE
    }
}

/// All that a digest is made of.
#[derive(Clone, Debug)]
pub struct News<'a> {
    /// Where the monitor lives.
    pub home: &'a Location,
    /// Name of the execution of the daily check.
    pub execution: &'a str,
    /// When the team is told.
    pub at: Timestamp,
    /// What there is to tell, in any order.
    pub updates: Vec<Update<'a>>,
    /// Set where the digest tells only what is so bad, before the checks are through.
    pub min_severity: Option<Severity>,
    /// What came of each check; empty where it is not known (yet).
    pub outcomes: Vec<&'a Outcome>,
    /// Parts of the ledger that another run held: the next reporter tells what waits there.
    pub held: Vec<Part<'a>>,
    /// Where the whole list stands, if somewhere: an S3 URI, a table's name.
    pub whole_list: Option<&'a str>,
    /// Address of the page of all that is open, if there is one.
    pub page: Option<&'a str>,
}

impl<'a> News<'a> {
    /// The part of it that goes to a route, by the organisational units that each account is in.
    #[must_use]
    pub fn of_route<'u>(&self, route: &Route, units_of: impl Fn(&str) -> &'u BTreeSet<String>) -> Self {
        let takes = |account_id: &str| route.takes(account_id, units_of(account_id));
        Self {
            updates: self.updates.iter().filter(|update| takes(update.part.account_id)).cloned().collect(),
            outcomes: self.outcomes.iter().filter(|outcome| takes(&outcome.account_id)).copied().collect(),
            held: self.held.iter().filter(|part| takes(part.account_id)).copied().collect(),
            // Both tell of accounts that are not the route's.
            whole_list: None,
            page: None,
            ..*self
        }
    }

    /// What is told, worst first: deleted keys, then by severity; of one severity by account, Region, key and control.
    pub(crate) fn sorted(&self) -> Vec<&Update<'a>> {
        let mut updates: Vec<&Update<'a>> = self.updates.iter().collect();
        updates.sort_by(|a, b| order(a).cmp(&order(b)));
        updates
    }

    /// How many there are of each kind.
    pub(crate) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for Update { notice, .. } in &self.updates {
            tally.add(notice.change, notice.resolution.as_ref(), notice.exemption.is_some());
        }
        tally
    }

    /// Worst severity of what is open in it; of resolutions alone, the worst that was resolved.
    pub(crate) fn severity(&self) -> Option<Severity> {
        let worst = |is_meant: &dyn Fn(Option<Change>) -> bool| {
            let meant = self.updates.iter().filter(|update| is_meant(update.notice.change));
            meant.map(|update| update.record.severity).max()
        };
        let is_open = |change: Option<Change>| change.is_some_and(|change| change != Change::Resolved);
        worst(&is_open).or_else(|| worst(&|change| change.is_none())).or_else(|| worst(&|_| true))
    }

    /// Account and Region where there is one of each, their numbers otherwise.
    pub(crate) fn extent(&self) -> String {
        let accounts: BTreeSet<&str> = self.updates.iter().map(|update| update.part.account_id).collect();
        let regions: BTreeSet<&str> = self.updates.iter().map(|update| update.part.region).collect();
        let one = |all: &BTreeSet<&str>, thing: &str| match (all.len(), all.first()) {
            (1, Some(only)) => (*only).to_owned(),
            (count, _) => counted(count, thing),
        };
        format!("{}, {}", one(&accounts, "account"), one(&regions, "Region"))
    }

    /// The subject of the message.
    pub(crate) fn subject(&self, severity: Severity) -> String {
        self.tally().subject(severity, &self.extent())
    }

    /// Attributes for filter policies, and the names of those that would have too many values.
    fn attributes(&self, severity: Severity) -> (Vec<(&'static str, String, bool)>, Vec<&'static str>) {
        let values = |of: &dyn Fn(&Part<'a>) -> &'a str| -> BTreeSet<&str> {
            self.updates.iter().map(|update| of(&update.part)).collect()
        };
        let lists = [
            ("function", values(&|part| part.function)),
            ("account_id", values(&|part| part.account_id)),
            ("region", values(&|part| part.region)),
        ];
        let (mut attributes, mut left_out) = (vec![("severity", severity.as_str().to_owned(), false)], Vec::new());
        for (name, values) in lists {
            if values.len() > MAX_ATTRIBUTE_VALUES {
                left_out.push(name);
            } else {
                attributes.push((name, json!(values).to_string(), true));
            }
        }
        (attributes, left_out)
    }
}

/// What comes first in a digest.
fn order<'u>(update: &'u Update<'_>) -> impl Ord + use<'u> {
    let Record { key_arn, control, severity, .. } = update.record;
    let is_deleted = update.notice.change == Some(Change::Deleted);
    (!is_deleted, Reverse(*severity), update.place(), key_arn, control, update.record.compliance)
}

/// A digest as it is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Worst severity of what is open in it; of resolutions alone, the worst that was resolved.
    pub severity: Severity,
    /// Printable ASCII, under 100 characters.
    pub subject: String,
    /// Plain text for people.
    pub email: String,
    /// JSON for programs.
    pub default: String,
    /// Attributes for filter policies: name, value, and whether the value is a JSON array (`String.Array`).
    pub attributes: Vec<(&'static str, String, bool)>,
}

impl Digest {
    /// The digest of what there is to tell, or nothing if that is nothing.
    pub fn of(news: &News<'_>) -> Option<Self> {
        let severity = news.severity()?;
        let (attributes, left_out) = news.attributes(severity);
        let updates = news.sorted();
        let email = digest_email::text(news, &updates, &left_out);
        let room = MAX_MESSAGE_BYTES.saturating_sub(escaped_len(&email));
        let default = digest_json::text(news, &updates, &left_out, room);
        Some(Self { severity, subject: news.subject(severity), email, default, attributes })
    }

    /// The message in SNS's JSON structure: one text for each protocol.
    pub fn message(&self) -> String {
        json!({"default": self.default, "email": self.email}).to_string()
    }
}

/// What the checks did not see.
#[derive(Debug, Default)]
pub(crate) struct Gaps<'a> {
    /// Accounts and Regions that the daily check was to look at.
    pub(crate) targets_planned: usize,
    /// Those that at least one check looked at.
    pub(crate) targets_reached: usize,
    /// Why accounts could not be reached: cause, accounts, their Regions.
    pub(crate) not_reached: BTreeMap<&'a str, BTreeMap<&'a str, BTreeSet<&'a str>>>,
    /// Checks that failed, by function and type of error: accounts and Regions.
    pub(crate) failed: BTreeMap<(&'a str, &'a str), BTreeSet<(&'a str, &'a str)>>,
    /// Keys that time ran out for.
    pub(crate) keys_not_reached: u64,
    /// Checks that did not see all their keys, by function.
    pub(crate) incomplete: BTreeMap<&'a str, BTreeSet<(&'a str, &'a str)>>,
}

impl<'a> Gaps<'a> {
    pub(crate) fn of(outcomes: &[&'a Outcome]) -> Self {
        let mut gaps = Self::default();
        let mut targets: BTreeMap<(&str, &str), bool> = BTreeMap::new();
        for Outcome { account_id, region, function, result } in outcomes {
            let place = (account_id.as_str(), region.as_str());
            *targets.entry(place).or_default() |= result.is_ok();
            match result {
                Ok(done) => {
                    gaps.keys_not_reached += done.keys_not_reached;
                    if !done.complete {
                        gaps.incomplete.entry(function).or_default().insert(place);
                    }
                }
                Err(failed) if failed.is_of_target() => {
                    gaps.not_reached.entry(failed.reason()).or_default().entry(account_id).or_default().insert(region);
                }
                Err(failed) => {
                    gaps.failed.entry((function, &failed.error)).or_default().insert(place);
                }
            }
        }
        gaps.targets_planned = targets.len();
        gaps.targets_reached = targets.values().filter(|reached| **reached).count();
        gaps
    }

    /// Did the checks see everything that they should?
    pub(crate) fn is_empty(&self) -> bool {
        self.not_reached.is_empty()
            && self.failed.is_empty()
            && self.incomplete.is_empty()
            && self.keys_not_reached == 0
    }
}

/// The answer to the question what is open: the counts and the worst. Expects records with nothing or something pending
/// alike, in any order.
pub fn open_findings(
    home: &Location,
    at: Timestamp,
    records: &[(Part<'_>, &Record)],
    whole_list: Option<&str>,
) -> Value {
    digest_json::open_findings(home, at, records, whole_list, digest_json::MAX_OPEN)
}

/// The same with every open finding, and not the worst alone: for a file.
pub fn all_open_findings(home: &Location, at: Timestamp, records: &[(Part<'_>, &Record)]) -> Value {
    digest_json::open_findings(home, at, records, None, usize::MAX)
}

#[cfg(test)]
mod tests;
