//! The alert as programs read it.

use std::collections::BTreeMap;

use domain::exemption::ExemptionStatus;
use domain::finding::Finding;
use domain::ledger::{Change, FindingUpdate};
use domain::report::Report;
use serde_json::{Value, json};

use crate::updates::escaped_len;

/// Name and version of the form.
const SCHEMA: &str = "kms-compliance-alert/1";

/// A finding as programs read it.
fn change_for_programs(update: &FindingUpdate<'_>, change: Change) -> Value {
    let mut value = json!(*update.finding);
    let Some(fields) = value.as_object_mut().filter(|_| change != Change::New) else { return value };
    fields.insert("first_seen".to_owned(), json!(update.first_seen));
    if let Some((severity, reason)) = &update.was {
        fields.insert("was".to_owned(), json!({"severity": severity, "reason": reason}));
    }
    if let Some(resolution) = &update.resolution {
        fields.insert("resolution".to_owned(), json!(resolution));
    }
    value
}

/// What programs read of an exemption.
fn exemption_for_programs(finding: &Finding, status: &ExemptionStatus) -> Value {
    let Finding { control, key_arn, key_id, aliases, severity, .. } = finding;
    let ExemptionStatus { tag, state, exemption, detail } = status;
    let mut value = json!({
        "control": control,
        "key_arn": key_arn,
        "key_id": key_id,
        "aliases": aliases,
        "severity": severity,
        "state": state,
        "detail": detail,
        "tag": tag,
    });
    if let (Some(fields), Some(exemption)) = (value.as_object_mut(), exemption) {
        fields.insert("until".to_owned(), json!(exemption.until));
        fields.insert("owner".to_owned(), json!(exemption.owner));
        fields.insert("reason".to_owned(), json!(exemption.reason));
    }
    value
}

/// The text, with as many findings as there is room for.
pub(crate) fn text(report: &Report, updates: &[FindingUpdate<'_>], room: usize) -> String {
    let message = |lists: BTreeMap<&str, Vec<Value>>, omitted: &BTreeMap<&str, u64>| {
        let mut message = json!({
            "schema": SCHEMA,
            "function": report.function,
            "account_id": report.location.account_id,
            "region": report.location.region,
            "evaluated_at": report.evaluated_at,
            "complete": report.complete,
            "new": [],
            "worsened": [],
            "resolved": [],
            "deleted": [],
            "reminder": [],
            "exemptions": [],
            "omitted": omitted,
        });
        if let Some(fields) = message.as_object_mut() {
            fields.extend(lists.into_iter().map(|(name, list)| (name.to_owned(), Value::from(list))));
        }
        message.to_string()
    };
    // What the counts of all controls take at most is set aside first.
    let omitted: BTreeMap<&str, u64> = report.controls.keys().map(|control| (*control, u64::MAX)).collect();
    let room = room.saturating_sub(escaped_len(&message(BTreeMap::new(), &omitted)));
    let mut packing = Packing::with_room(room);
    for update in updates {
        let control = update.finding.control;
        if let Some(change) = update.change {
            packing.carry(change.as_str(), control, || change_for_programs(update, change));
        }
        if let Some(status) = &update.exemption {
            packing.carry("exemptions", control, || exemption_for_programs(&update.finding, status));
        }
    }
    message(packing.lists, &packing.omitted)
}

/// Lists of as many findings as there is room for.
#[derive(Debug)]
pub(crate) struct Packing<'a> {
    room: usize,
    is_full: bool,
    pub(crate) lists: BTreeMap<&'static str, Vec<Value>>,
    /// How many are not carried, by control.
    pub(crate) omitted: BTreeMap<&'a str, u64>,
}

impl<'a> Packing<'a> {
    /// Room for n bytes, as they stand in JSON within JSON.
    pub(crate) fn with_room(room: usize) -> Self {
        Self { room, is_full: false, lists: BTreeMap::new(), omitted: BTreeMap::new() }
    }

    /// Carries or counts one more. From the first that does not fit on all are counted: what is carried is the worst.
    pub(crate) fn carry(&mut self, list: &'static str, control: &'a str, value: impl FnOnce() -> Value) {
        let value = (!self.is_full).then(value);
        let bytes = value.as_ref().map_or(usize::MAX, |value| escaped_len(&value.to_string()) + 1);
        self.is_full |= bytes > self.room;
        match value.filter(|_| !self.is_full) {
            Some(value) => {
                self.room -= bytes;
                self.lists.entry(list).or_default().push(value);
            }
            None => *self.omitted.entry(control).or_default() += 1,
        }
    }
}
