//! The page of a daily check: what is open, from the ledger, and what the checks covered, from their outcomes.

use std::collections::{BTreeMap, BTreeSet};

use domain::ledger::Record;
use domain::location::{Location, partition_of};
use domain::outcome::{Failed, Outcome};
use domain::report::Counts;
use jiff::Timestamp;
use outputs::digest::Part;
use outputs::page::{ControlCounts, Page, Place, PlacedFinding};

/// Most checks that the page names as failed.
const MAX_FAILURES: usize = 50;

/// What neither the ledger nor the outcomes hold.
const LEFT_OUT: &str = "The ledger and the checks' outcomes hold neither the settings of the functions, nor which keys are \
                        compliant or not applicable beside their counts, nor cases that pass by themselves.";

/// The page as HTML.
///
/// # Errors
/// It could not be rendered: why, in words.
pub(crate) fn render(now: Timestamp, records: &[(Part<'_>, &Record)], outcomes: &[Outcome]) -> Result<String, String> {
    let place = |account_id: &str, region: &str| Location {
        partition: partition_of(region).to_owned(),
        region: region.to_owned(),
        account_id: account_id.to_owned(),
    };
    let locations: BTreeMap<(&str, &str), Location> =
        records.iter().map(|(part, _)| ((part.account_id, part.region), place(part.account_id, part.region))).collect();
    let findings = records.iter().filter_map(|(part, record)| {
        Some(PlacedFinding::recorded(locations.get(&(part.account_id, part.region))?, record, now))
    });
    let done = || outcomes.iter().filter_map(|outcome| outcome.result.as_ref().ok());
    let page = Page {
        evaluated_at: now,
        places: places(outcomes),
        controls: controls(outcomes),
        findings: findings.collect(),
        passing: done().map(|done| done.passing).sum(),
        below_severity: 0,
        notes: failures(outcomes),
        left_out: vec![LEFT_OUT.to_owned()],
        settings: Vec::new(),
        made_by: concat!("reporter ", env!("CARGO_PKG_VERSION")),
        json_sha256: None,
    };
    page.render().map_err(|error| error.to_string())
}

/// Accounts and Regions, each with as much as the check that saw most of it saw.
fn places(outcomes: &[Outcome]) -> Vec<Place<'_>> {
    let mut places: BTreeMap<(&str, &str), Place<'_>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for Outcome { account_id, region, result, .. } in outcomes {
        let place = places.entry((account_id, region)).or_insert(Place {
            account_id: Some(account_id),
            region,
            keys: 0,
            keys_not_reached: 0,
            is_complete: true,
            failure: None,
        });
        match result {
            Ok(done) => {
                seen.insert((account_id.as_str(), region.as_str()));
                place.keys = place.keys.max(done.keys_listed);
                place.keys_not_reached = place.keys_not_reached.max(done.keys_not_reached);
                place.is_complete &= done.complete;
            }
            Err(failed) => {
                place.is_complete = false;
                place.failure = Some(&failed.cause);
            }
        }
    }
    for (name, place) in &mut places {
        if seen.contains(name) {
            place.failure = None;
        }
    }
    places.into_values().collect()
}

/// What each control said of all keys of all places.
fn controls(outcomes: &[Outcome]) -> Vec<ControlCounts<'_>> {
    let mut controls: BTreeMap<&str, Counts> = BTreeMap::new();
    for (control, counts) in outcomes.iter().filter_map(|it| it.result.as_ref().ok()).flat_map(|done| &done.controls) {
        let sum = controls.entry(control).or_default();
        sum.compliant += counts.compliant;
        sum.non_compliant += counts.non_compliant;
        sum.not_applicable += counts.not_applicable;
        sum.insufficient_data += counts.insufficient_data;
    }
    let controls = controls.into_iter();
    controls.map(|(control, counts)| ControlCounts { control, title: "", references: &[], counts }).collect()
}

/// Checks that failed where the place itself could be reached.
fn failures(outcomes: &[Outcome]) -> Vec<String> {
    let failed = outcomes.iter().filter_map(|it| Some((it, it.result.as_ref().err()?)));
    let failed: Vec<_> = failed.filter(|(_, failed)| !failed.is_of_target()).collect();
    let named = failed.iter().take(MAX_FAILURES).map(|(outcome, Failed { error, cause })| {
        let Outcome { account_id, region, function, .. } = outcome;
        format!("{function} failed in account {account_id}, Region {region}: {error}: {cause}")
    });
    let more = failed.len().saturating_sub(MAX_FAILURES);
    named.chain((more > 0).then(|| format!("{more} more checks failed."))).collect()
}
