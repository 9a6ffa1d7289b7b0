//! What `audit_key` is answered with. Each part is what was read, or why it could not be.

use std::collections::{BTreeMap, BTreeSet};

use domain::control::Severity;
use domain::evidence::Evidence;
use domain::exemption::Exemption;
use domain::finding::Finding;
use domain::ledger::{HistoryEvent, Record};
use domain::report::EvaluationLine;
use domain::verdict::Compliance;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

/// Most grants that an answer names: KMS lets a key have 50,000, and Lambda an answer 6 MB.
pub const MAX_GRANTS: usize = 1_000;
/// Most users whose events an answer counts one by one.
pub const MAX_USERS: usize = 100;
/// Most findings of the ledger that an answer tells of one function.
pub const MAX_LEDGER_FINDINGS: usize = 50;
/// Most changes of one of them, the latest.
pub const MAX_LEDGER_CHANGES: usize = 20;
/// Most events that an answer tells one by one, the latest.
pub const MAX_EVENTS: usize = 20;

/// What was read, or why it could not be.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Part<T> {
    /// It was read.
    Known(T),
    /// It could not be.
    NotKnown(NotKnown),
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct NotKnown {
    /// The cause.
    pub not_known: String,
}

impl<T> Part<T> {
    /// Something that could not be read.
    pub fn not_known(cause: impl Into<String>) -> Self {
        Self::NotKnown(NotKnown { not_known: cause.into() })
    }

    /// What was read, if it was.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(known) => Some(known),
            Self::NotKnown(_) => None,
        }
    }
}

/// Everything about one key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Audit {
    /// `audit_key`.
    #[cfg_attr(test, schemars(extend("const" = "audit_key")))]
    pub operation: &'static str,
    /// Account of the function.
    pub account_id: String,
    /// Region of the function and the key.
    pub region: String,
    /// Instant that everything is said for.
    #[cfg_attr(test, schemars(with = "String"))]
    pub audited_at: Timestamp,
    /// Days that usage and events are looked back for.
    pub days: i32,
    /// The key as KMS describes it.
    pub key: KeyFacts,
    /// Its tags.
    pub tags: Part<BTreeMap<String, String>>,
    /// Its aliases.
    pub aliases: Part<Vec<String>>,
    /// How it rotates, and when it did.
    pub rotation: Part<Rotation>,
    /// Its grants.
    pub grants: Part<Grants>,
    /// What its policy lets whom do.
    pub policy: Part<PolicySummary>,
    /// Its last use.
    pub last_usage: Part<LastUsage>,
    /// Its use by operation, as CloudWatch counts it.
    pub usage: Part<Usage>,
    /// Who changed it, as CloudTrail remembers.
    pub management_events: Part<ManagementEvents>,
    /// What the monitors say of it, by function.
    pub verdicts: Part<BTreeMap<String, CheckVerdicts>>,
    /// What the ledger has on it, by function.
    pub ledger: Part<BTreeMap<String, Part<LedgerFindings>>>,
    /// What to do, the most urgent first. Deletion is never the first.
    pub recommendations: Vec<String>,
}

/// A key as KMS describes it. What KMS does not say is null.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct KeyFacts {
    /// Key ARN.
    pub key_arn: String,
    /// Key ID.
    pub key_id: String,
    /// Who manages it: `CUSTOMER` or `AWS`.
    pub manager: Option<String>,
    /// State.
    pub state: Option<String>,
    /// Key spec.
    pub spec: Part<String>,
    /// Key usage.
    pub usage: Option<String>,
    /// Origin of its material.
    pub origin: Option<String>,
    /// Algorithms that it can be used with.
    pub algorithms: Vec<String>,
    /// When it was created.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub created_at: Option<Timestamp>,
    /// When it is deleted.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub deletion_at: Option<Timestamp>,
    /// When the first of its imported materials expires.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub material_expires_at: Option<Timestamp>,
    /// `NO`, `PRIMARY` or `REPLICA`.
    pub multi_region: Part<String>,
    /// ARNs of its replicas.
    pub replicas: Part<Vec<String>>,
}

/// How a key rotates, and when it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Rotation {
    /// Does it rotate by itself?
    pub enabled: bool,
    /// Days between two automatic rotations.
    pub period_days: Option<i32>,
    /// When it rotates by itself next.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub next_at: Option<Timestamp>,
    /// Since when a rotation on demand is in progress.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub on_demand_since: Option<Timestamp>,
    /// Its rotations, the latest first.
    pub history: Vec<PastRotation>,
}

/// A rotation that was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct PastRotation {
    /// When.
    #[cfg_attr(test, schemars(with = "String"))]
    pub at: Timestamp,
    /// `AUTOMATIC` or `ON_DEMAND`.
    pub r#type: Option<String>,
}

/// Grants of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Grants {
    /// Those that are named.
    pub listed: Vec<Grant>,
    /// How many there are besides.
    pub omitted: usize,
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Grant {
    /// Its ID.
    pub grant_id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Who may use the key by it.
    pub grantee: Option<String>,
    /// Who may retire it.
    pub retiring: Option<String>,
    /// What it allows.
    pub operations: Vec<String>,
}

/// What a key policy lets whom do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct PolicySummary {
    /// Who may administer the key.
    pub may_administer: BTreeSet<String>,
    /// Who may use it.
    pub may_use: BTreeSet<String>,
    /// Whom from outside it admits.
    pub foreign: Part<Foreign>,
    /// Is it open to everybody?
    pub public: Part<Public>,
    /// The policy itself.
    pub document: Value,
}

/// Whom from outside a policy admits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Foreign {
    /// Accounts that nobody has called trusted.
    pub accounts: BTreeSet<String>,
    /// Organisations.
    pub organisations: BTreeSet<String>,
    /// Accounts that `TRUSTED_ACCOUNTS` names.
    pub trusted_accounts: BTreeSet<String>,
}

/// Is a policy open to everybody?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Public {
    /// It is.
    pub public: bool,
    /// Statements that make it so.
    pub by: BTreeSet<String>,
    /// Statements that name everybody and whose conditions have wildcards.
    pub bounded_by_wildcard: BTreeSet<String>,
}

/// Last use of a key, as KMS knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct LastUsage {
    /// What was done with it.
    pub operation: Option<String>,
    /// When. Null: never since its usage is tracked.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub at: Option<Timestamp>,
    /// Since when its usage is tracked.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub tracked_since: Option<Timestamp>,
}

/// Use of a key by operation, as CloudWatch counts it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct Usage {
    /// Since when it is counted.
    #[cfg_attr(test, schemars(with = "String"))]
    pub from: Timestamp,
    /// Successful requests by operation; none where there was none. `ReEncryptFrom` counts what this key decrypted,
    /// `ReEncryptTo` what it encrypted, with keys that CloudWatch has seen beside it in the last two weeks.
    pub successful_requests: BTreeMap<String, f64>,
    /// Operations of which it is not known, or not in full, with the cause.
    pub not_known: BTreeMap<String, String>,
}

/// Who changed a key, as CloudTrail remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct ManagementEvents {
    /// All of them.
    pub count: u64,
    /// By name.
    pub by_name: BTreeMap<String, u64>,
    /// By user, those with the most.
    pub by_user: BTreeMap<String, u64>,
    /// How many users there are besides.
    pub users_omitted: usize,
    /// By the AWS service that acted for somebody.
    pub by_service: BTreeMap<String, u64>,
    /// The latest, the newest first.
    pub latest: Vec<ManagementEvent>,
}

/// A management event of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct ManagementEvent {
    /// `DisableKey`, …
    pub name: String,
    /// When it was.
    #[cfg_attr(test, schemars(with = "String"))]
    pub at: Timestamp,
    /// Who did it, as CloudTrail names them.
    pub user: Option<String>,
    /// The AWS service that acted for them. Only the whole record of the event says.
    pub service: Option<String>,
}

impl ManagementEvents {
    /// Counts events that come the newest first.
    pub fn of(events: &[ManagementEvent]) -> Self {
        let count = |name: &dyn Fn(&ManagementEvent) -> Option<&str>| {
            let mut counts: BTreeMap<String, u64> = BTreeMap::new();
            for name in events.iter().filter_map(name) {
                *counts.entry(name.to_owned()).or_default() += 1;
            }
            counts
        };
        let mut by_user: Vec<(String, u64)> = count(&|it| it.user.as_deref()).into_iter().collect();
        by_user.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let users_omitted = by_user.len().saturating_sub(MAX_USERS);
        Self {
            count: events.len() as u64,
            by_name: count(&|it| Some(&it.name)),
            by_user: by_user.into_iter().take(MAX_USERS).collect(),
            users_omitted,
            by_service: count(&|it| it.service.as_deref()),
            latest: events.iter().take(MAX_EVENTS).cloned().collect(),
        }
    }
}

/// What one check says of a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct CheckVerdicts {
    /// Was everything seen that should have been?
    pub complete: bool,
    /// What each control says.
    pub evaluations: Vec<ControlVerdict>,
    /// What somebody should know of.
    pub findings: Vec<KeyFinding>,
}

/// What one control says of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct ControlVerdict {
    /// The control.
    pub control: &'static str,
    /// Its answer.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = COMPLIANCES)))]
    pub compliance: Compliance,
    /// Stable code of the case.
    pub reason: &'static str,
}

impl From<EvaluationLine> for ControlVerdict {
    fn from(line: EvaluationLine) -> Self {
        Self { control: line.control, compliance: line.compliance, reason: line.reason }
    }
}

/// A finding of a key.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct KeyFinding {
    /// Control that was not met or could not be judged.
    pub control: &'static str,
    /// `NON_COMPLIANT` or `INSUFFICIENT_DATA`.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = COMPLIANCES)))]
    pub compliance: Compliance,
    /// How bad it is.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = SEVERITIES)))]
    pub severity: Severity,
    /// Stable code of the case.
    pub reason: String,
    /// The case in words.
    pub detail: String,
    /// What the verdict rests on.
    #[cfg_attr(test, schemars(with = "serde_json::Map<String, serde_json::Value>"))]
    pub evidence: Evidence,
    /// What to do.
    pub remediation: String,
    /// Controls of public standards that ask for the same.
    pub references: &'static [&'static str],
    /// The exemption that is in effect.
    #[cfg_attr(test, schemars(with = "Option<ExemptionInEffect>"))]
    pub exempt: Option<Exemption>,
}

impl From<Finding> for KeyFinding {
    fn from(finding: Finding) -> Self {
        Self {
            control: finding.control,
            compliance: finding.compliance,
            severity: finding.severity,
            reason: finding.reason.into_owned(),
            detail: finding.detail,
            evidence: finding.evidence,
            remediation: finding.remediation.into_owned(),
            references: finding.references,
            exempt: finding.exempt,
        }
    }
}

/// Findings of a key as the ledger keeps them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct LedgerFindings {
    /// Those that are told: open ones, then past ones, the latest first.
    pub listed: Vec<LedgerFinding>,
    /// How many there are besides.
    pub omitted: usize,
}

impl LedgerFindings {
    /// As many of them as an answer tells.
    pub fn of(mut all: Vec<LedgerFinding>) -> Self {
        all.sort_by_key(|it| (!it.open, std::cmp::Reverse(it.first_seen)));
        let omitted = all.len().saturating_sub(MAX_LEDGER_FINDINGS);
        all.truncate(MAX_LEDGER_FINDINGS);
        Self { listed: all, omitted }
    }
}

/// A finding of a key as the ledger keeps it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct LedgerFinding {
    /// Is it open?
    pub open: bool,
    /// Control.
    pub control: String,
    /// `NON_COMPLIANT` or `INSUFFICIENT_DATA`.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = COMPLIANCES)))]
    pub compliance: Compliance,
    /// Severity, as last seen.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = SEVERITIES)))]
    pub severity: Severity,
    /// Reason code, as last seen.
    pub reason: String,
    /// When it appeared.
    #[cfg_attr(test, schemars(with = "String"))]
    pub first_seen: Timestamp,
    /// When the team was last told of it.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub last_notified_at: Option<Timestamp>,
    /// Value of the tag that exempts it, or tries to.
    pub exemption: Option<String>,
    /// Its latest changes, the oldest of them first.
    pub history: Vec<LedgerEntry>,
}

/// A change of a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(deny_unknown_fields))]
pub struct LedgerEntry {
    /// When the monitor looked.
    #[cfg_attr(test, schemars(with = "String"))]
    pub at: Timestamp,
    /// What happened: `new`, `worsened`, `eased`, `exempt`, `not_exempt`, `exemption_ended`, `resolved`, `deleted`.
    #[cfg_attr(test, schemars(with = "String"))]
    pub event: HistoryEvent,
    /// Severity from then on.
    #[cfg_attr(test, schemars(with = "String", extend("enum" = SEVERITIES)))]
    pub severity: Severity,
    /// The case in words.
    pub detail: String,
}

impl LedgerFinding {
    /// The finding that a record is about.
    pub fn of(record: Record, open: bool) -> Self {
        let surplus = record.history.len().saturating_sub(MAX_LEDGER_CHANGES);
        let entries = record.history.into_iter().skip(surplus);
        Self {
            open,
            control: record.control,
            compliance: record.compliance,
            severity: record.severity,
            reason: record.reason,
            first_seen: record.first_seen,
            last_notified_at: record.last_notified.map(|it| it.at),
            exemption: record.exemption.map(|it| it.tag),
            history: entries
                .map(|it| LedgerEntry { at: it.at, event: it.event, severity: it.severity, detail: it.detail })
                .collect(),
        }
    }
}

#[cfg(test)]
const COMPLIANCES: [&str; 4] = ["COMPLIANT", "NON_COMPLIANT", "NOT_APPLICABLE", "INSUFFICIENT_DATA"];
#[cfg(test)]
const SEVERITIES: [&str; 4] = ["LOW", "MEDIUM", "HIGH", "CRITICAL"];

/// The form of an [`Exemption`].
#[cfg(test)]
#[derive(schemars::JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is there for its schema")]
struct ExemptionInEffect {
    /// Last day on which it exempts, UTC.
    until: String,
    /// Who answers for it.
    owner: String,
    /// Why.
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_ledger_open_findings_come_first_and_then_the_latest() {
        let finding = |open: bool, day: usize| {
            let at = format!("2026-01-{:02}T00:00:00Z", day % 28 + 1);
            let record = serde_json::from_value::<Record>(serde_json::json!({
                "key_arn": "k", "key_id": "k", "aliases": [], "control": "c", "compliance": "NON_COMPLIANT",
                "first_seen": at, "severity": "HIGH", "reason": "r", "last_notified": null, "pending": null,
                "exemption": null,
                "history": vec![serde_json::json!({
                    "at": at, "event": "new", "severity": "HIGH", "reason": "r", "detail": "d"
                }); 30]
            }));
            LedgerFinding::of(record.unwrap(), open)
        };
        let past = (0..60).map(|day| finding(false, day));
        let LedgerFindings { listed, omitted } = LedgerFindings::of(past.chain([finding(true, 3)]).collect());
        assert_eq!((listed.len(), omitted, listed[0].open), (MAX_LEDGER_FINDINGS, 11, true));
        assert!(listed[1..].is_sorted_by(|a, b| a.first_seen >= b.first_seen) && !listed[1].open);
        assert_eq!(listed[0].history.len(), MAX_LEDGER_CHANGES);
    }

    #[test]
    fn the_users_with_the_most_events_are_counted_one_by_one() {
        let event = |user: usize| ManagementEvent {
            name: "CreateGrant".to_owned(),
            at: Timestamp::UNIX_EPOCH,
            user: Some(format!("user-{user:03}")),
            service: None,
        };
        let mut events: Vec<_> = (0..150).map(event).collect();
        events.extend((0..5).map(|_| event(149)));
        let ManagementEvents { count, by_name, by_user, users_omitted, by_service, latest } =
            ManagementEvents::of(&events);
        assert_eq!((count, by_name["CreateGrant"], by_user.len(), users_omitted), (155, 155, MAX_USERS, 50));
        assert_eq!((by_user["user-149"], by_service.len(), latest.len()), (6, 0, MAX_EVENTS));
        assert!(!by_user.contains_key("user-148"), "of those with as many, the first by name");
    }
}
