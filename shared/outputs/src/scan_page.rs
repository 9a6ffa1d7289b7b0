//! A scan as a page.

use std::collections::BTreeMap;

use domain::control::Control;
use domain::report::Report;
use jiff::Timestamp;

use crate::page::{ControlCounts, Page, Place, PlacedFinding};
use crate::scan::Scan;

/// What a page says beside what a scan found.
#[derive(Clone, Debug)]
pub struct About<'a> {
    /// Instant that the verdicts hold for.
    pub evaluated_at: Timestamp,
    /// The controls, for their titles and references.
    pub controls: &'a [&'static Control],
    /// Settings that the verdicts rest on: name and value.
    pub settings: Vec<(String, String)>,
    /// Program and version.
    pub made_by: &'a str,
    /// SHA-256 of the scan's JSON, in hexadecimal, if there is one.
    pub json_sha256: Option<String>,
}

impl Scan {
    /// As a page.
    pub fn page<'a>(&'a self, about: About<'a>) -> Page<'a> {
        let known: BTreeMap<&str, &Control> = about.controls.iter().map(|it| (it.id, *it)).collect();
        let controls = self.controls().into_iter().map(|(control, counts)| {
            let known = known.get(control);
            ControlCounts {
                control,
                title: known.map_or("", |it| it.title),
                references: known.map_or(&[], |it| it.references),
                counts,
            }
        });
        let notes =
            self.is_interrupted.then(|| "The scan was interrupted: it holds what was seen until then.".to_owned());
        Page {
            evaluated_at: about.evaluated_at,
            places: self.places(),
            controls: controls.collect(),
            findings: self
                .findings()
                .map(|(report, finding)| PlacedFinding::found(&report.location, finding, self.since(finding)))
                .collect(),
            passing: self.passing(),
            below_severity: self.below_severity,
            notes: notes.into_iter().collect(),
            left_out: Vec::new(),
            settings: about.settings,
            made_by: about.made_by,
            json_sha256: about.json_sha256,
        }
    }

    /// The Regions, each once: every check judges all of its keys, but for some that were deleted meanwhile.
    fn places(&self) -> Vec<Place<'_>> {
        let mut places: BTreeMap<(&str, &str), Place<'_>> = BTreeMap::new();
        for Report { location, keys_listed, keys_not_reached, complete, .. } in &self.reports {
            let (account, region) = (location.account_id.as_str(), location.region.as_str());
            let place = places.entry((account, region)).or_insert(Place {
                account_id: Some(account),
                region,
                keys: 0,
                keys_not_reached: 0,
                is_complete: true,
                failure: None,
            });
            place.keys = place.keys.max(*keys_listed);
            place.keys_not_reached = place.keys_not_reached.max(*keys_not_reached);
            place.is_complete &= complete;
        }
        let failed = self.failed.iter().map(|(region, why)| Place {
            account_id: None,
            region,
            keys: 0,
            keys_not_reached: 0,
            is_complete: false,
            failure: Some(why),
        });
        places.into_values().chain(failed).collect()
    }
}
