//! The digest as programs read it.

use std::collections::{BTreeMap, BTreeSet};

use domain::control::Severity;
use domain::exemption::{ExemptionState, ExemptionStatus};
use domain::ledger::{Change, Notice, Record};
use domain::location::Location;
use domain::text::printable;
use domain::verdict::Compliance;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::alert_json::Packing;
use crate::digest::{Gaps, News, Part, Update};
use crate::updates::escaped_len;

/// Name and version of the form.
const SCHEMA: &str = "kms-compliance-digest/1";

/// Most entries of the lists of what failed and of what is left to the next reporter.
const MAX_LISTED: usize = 20;

/// Most characters of a failure's words.
const MAX_CAUSE_CHARS: usize = 300;

/// Most findings that the answer about all open ones carries.
pub(crate) const MAX_OPEN: usize = 50;

/// A finding, as the alert has it, with where it stands.
fn finding(part: Part<'_>, record: &Record, notice: &Notice) -> Value {
    let Notice { reason, detail, evidence, remediation, .. } = notice;
    json!({
        "function": part.function,
        "account_id": part.account_id,
        "region": part.region,
        "control": record.control,
        "key_arn": record.key_arn,
        "key_id": record.key_id,
        "aliases": record.aliases,
        "compliance": record.compliance,
        "severity": record.severity,
        "reason": reason,
        "detail": detail,
        "evidence": evidence,
        "remediation": remediation,
        "references": record.references,
    })
}

fn change_for_programs(update: &Update<'_>, change: Change) -> Value {
    let mut value = finding(update.part, update.record, &update.notice);
    let Some(fields) = value.as_object_mut().filter(|_| change != Change::New) else { return value };
    fields.insert("first_seen".to_owned(), json!(update.record.first_seen));
    if let Some((severity, reason)) = &update.notice.was {
        fields.insert("was".to_owned(), json!({"severity": severity, "reason": reason}));
    }
    if let Some(resolution) = &update.notice.resolution {
        fields.insert("resolution".to_owned(), json!(resolution));
    }
    value
}

fn exemption_for_programs(update: &Update<'_>, status: &ExemptionStatus) -> Value {
    let Part { account_id, region, function } = update.part;
    let Record { control, key_arn, key_id, aliases, severity, .. } = update.record;
    let ExemptionStatus { tag, state, exemption, detail } = status;
    let mut value = json!({
        "function": function,
        "account_id": account_id,
        "region": region,
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

/// Words of other people's, cut.
fn shortened(text: &str) -> String {
    printable(text).chars().take(MAX_CAUSE_CHARS).collect()
}

/// The text, with as many findings as there is room for.
pub(crate) fn text(news: &News<'_>, updates: &[&Update<'_>], left_out: &[&str], room: usize) -> String {
    let gaps = Gaps::of(&news.outcomes);
    let failed = news.outcomes.iter().filter_map(|outcome| Some((outcome, outcome.result.as_ref().err()?)));
    let failures: Vec<Value> = failed
        .clone()
        .take(MAX_LISTED)
        .map(|(outcome, failed)| {
            json!({
                "function": outcome.function,
                "account_id": outcome.account_id,
                "region": outcome.region,
                "error": shortened(&failed.error),
                "cause": shortened(&failed.cause),
            })
        })
        .collect();
    let message = |lists: BTreeMap<&str, Vec<Value>>, omitted: &BTreeMap<&str, u64>| {
        let mut message = json!({
            "schema": SCHEMA,
            "account_id": news.home.account_id,
            "region": news.home.region,
            "execution": news.execution,
            "reported_at": news.at,
            "min_severity": news.min_severity,
            "complete": news.min_severity.is_none() && gaps.is_empty() && news.held.is_empty(),
            "targets_planned": gaps.targets_planned,
            "targets_reached": gaps.targets_reached,
            "checks_failed": failed.clone().count(),
            "failures": failures,
            "parts_left": news.held.len(),
            "left_to_next": news.held.iter().take(MAX_LISTED).collect::<Vec<_>>(),
            "attributes_left_out": left_out,
            "whole_list": news.whole_list,
            "page": news.page,
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
    let omitted = updates.iter().map(|update| (update.record.control.as_str(), u64::MAX)).collect();
    let room = room.saturating_sub(escaped_len(&message(BTreeMap::new(), &omitted)));
    let mut packing = Packing::with_room(room);
    for update in updates {
        let control = update.record.control.as_str();
        if let Some(change) = update.notice.change {
            packing.carry(change.as_str(), control, || change_for_programs(update, change));
        }
        if let Some(status) = &update.notice.exemption {
            packing.carry("exemptions", control, || exemption_for_programs(update, status));
        }
    }
    message(packing.lists, &packing.omitted)
}

/// Does the record say that something is amiss now?
fn is_open(record: &Record) -> bool {
    record.compliance != Compliance::NotApplicable && record.pending != Some(Change::Resolved)
}

fn is_exempt(record: &Record) -> bool {
    record.exemption.as_ref().is_some_and(|it| it.state == ExemptionState::InEffect)
}

/// The counts of what is open, and the worst of it.
pub(crate) fn open_findings(
    home: &Location,
    at: Timestamp,
    records: &[(Part<'_>, &Record)],
    whole_list: Option<&str>,
    most: usize,
) -> Value {
    let mut severities: BTreeMap<&str, u64> = BTreeMap::new();
    let mut controls: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut accounts, mut regions) = (BTreeSet::new(), BTreeSet::new());
    for severity in [Severity::Critical, Severity::High, Severity::Medium, Severity::Low] {
        severities.insert(severity.as_str(), 0);
    }
    let open = records.iter().filter(|(_, record)| is_open(record));
    let mut worst: Vec<_> = open.collect();
    let count = worst.len();
    for (part, record) in &worst {
        *severities.entry(record.severity.as_str()).or_default() += 1;
        *controls.entry(&record.control).or_default() += 1;
        accounts.insert(part.account_id);
        regions.insert(part.region);
    }
    worst.sort_by(|(a, x), (b, y)| {
        let order = (std::cmp::Reverse(x.severity), a, &x.key_arn, &x.control);
        order.cmp(&(std::cmp::Reverse(y.severity), b, &y.key_arn, &y.control))
    });
    worst.truncate(most);
    let findings: Vec<Value> = worst
        .into_iter()
        .map(|(part, record)| {
            let mut value = finding(*part, record, &record.description());
            if let Some(fields) = value.as_object_mut() {
                fields.insert("first_seen".to_owned(), json!(record.first_seen));
                fields.insert("exempt".to_owned(), json!(is_exempt(record)));
            }
            value
        })
        .collect();
    json!({
        "account_id": home.account_id,
        "region": home.region,
        "reported_at": at,
        "open": count,
        "severities": severities,
        "controls": controls,
        "accounts": accounts.len(),
        "regions": regions.len(),
        "findings_omitted": count - findings.len(),
        "findings": findings,
        "whole_list": whole_list,
    })
}
