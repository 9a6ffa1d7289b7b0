//! `audit_key`: everything about one key, as it is now. What cannot be read is said as that, with its cause.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use access_checker::AccessChecker;
use aws::call::Calls;
use aws::failure::error_summary;
use aws::kms::Kms;
use aws::operation::{
    GET_KEY_LAST_USAGE, GET_KEY_ROTATION_STATUS, GET_METRIC_DATA, LIST_GRANTS, LIST_KEY_ROTATIONS, QUERY,
};
use aws::pages::Pages;
use aws::timestamp;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::failure::Failure;
use domain::key::{Key, KeyState, MultiRegion};
use domain::key_policy::{ForeignAccess, KeyPolicy, PublicAccess, Trusted};
use domain::location::KeyName;
use domain::verdict::Compliance;
use health_prober::HealthProber;
use jiff::{SignedDuration, Timestamp};
use key_age_checker::KeyAgeChecker;
use lambda::Invocation;
use monitor::check::{AnyCheck, Check};
use monitor::deadlines::Deadlines;
use monitor::evaluation::{Monitor, Request};
use monitor::settings::{Environment, EvaluationSettings, FINDINGS_TABLE, InvalidConfiguration};
use monitor::target::Target;
use rotation_checker::RotationChecker;
use serde_json::{Map, Value, json};
use usage_anomaly_scorer::UsageAnomalyScorer;

use crate::KeyManager;
use crate::error::RequestError;
use crate::request::AuditKey;

/// Operations that CloudWatch counts for a key by its ARN and the operation alone.
const COUNTED: [&str; 16] = [
    "Decrypt",
    "DeriveSharedSecret",
    "Encrypt",
    "GenerateDataKey",
    "GenerateDataKeyPair",
    "GenerateDataKeyPairWithoutPlaintext",
    "GenerateDataKeyWithoutPlaintext",
    "GenerateMac",
    "GetPublicKey",
    "Decapsulate",
    "Encapsulate",
    "ReEncryptFrom",
    "ReEncryptTo",
    "Sign",
    "Verify",
    "VerifyMac",
];

/// Seconds that one datapoint stands for.
const PERIOD: i32 = 3_600;

/// The checks of all monitors, with their settings.
#[derive(Debug)]
pub struct Checks {
    settings: EvaluationSettings,
    findings_table: Option<String>,
    rotation: RotationChecker,
    age: KeyAgeChecker,
    usage: UsageAnomalyScorer,
    health: HealthProber,
    access: AccessChecker,
}

impl Checks {
    /// Reads the settings of the checks.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    pub fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self {
            settings: EvaluationSettings::read(environment)?,
            findings_table: FINDINGS_TABLE.read(environment)?,
            rotation: Check::read(environment)?,
            age: Check::read(environment)?,
            usage: Check::read(environment)?,
            // An audit reads: it uses no key, not even one that has opted in.
            health: HealthProber::read_only(environment)?,
            access: Check::read(environment)?,
        })
    }

    fn all(&self) -> [&dyn AnyCheck; 5] {
        [&self.rotation, &self.age, &self.usage, &self.health, &self.access]
    }
}

/// One part of the audit: what was read, or why it could not be.
fn part(read: Result<Value, Failure>) -> Value {
    read.unwrap_or_else(|failure| unknown(&error_summary(&failure)))
}

fn unknown(cause: &str) -> Value {
    json!({ "not_known": cause })
}

/// Audits the key.
///
/// # Errors
/// The key itself cannot be read.
pub(crate) async fn audit(
    manager: &KeyManager,
    invocation: &Invocation<'_>,
    request: &AuditKey,
) -> Result<Value, RequestError> {
    let location = &invocation.location;
    let kms = Kms::new(&manager.config, manager.settings.quota_share);
    let id = request.key.id();
    let key = kms.describe_key(id, id).await.map_err(|failure| {
        RequestError::OperationFailed(format!("`key` cannot be read: {}", error_summary(&failure)))
    })?;
    if request.key.account().is_some() && request.key.as_str() != key.arn {
        return Err(RequestError::NotAllowed(format!("`key` is of another account: {}", key.arn)));
    }
    let now = invocation.now;
    let from = now.saturating_sub(SignedDuration::from_hours(24 * i64::from(request.days.get()))).unwrap_or(now);
    let verdicts = verdicts(manager, invocation, &key).await;
    let last_usage = last_usage(&kms, &key.id).await;
    let aliases = kms.aliases_of(&BTreeSet::from([key.id.as_str()])).await;
    let aliases = aliases.map(|mut found| json!(found.remove(&key.id).unwrap_or_default()));
    let recommendations = recommendations(&key, &verdicts, last_usage.as_ref().ok());
    let events = manager.trail.events(&kms, &key.arn, from, now).await.map(|events| summary(&events));
    Ok(json!({
        "operation": "audit_key",
        "account_id": location.account_id,
        "region": location.region,
        "audited_at": now,
        "days": request.days.get(),
        "key": metadata(&key),
        "tags": part(kms.tags(&key.id).await.map(|tags| json!(tags))),
        "aliases": part(aliases),
        "rotation": part(rotation(&kms, &key.id).await),
        "grants": part(grants(&kms, &key.id).await),
        "policy": part(policy(manager, &kms, &key).await),
        "last_usage": part(last_usage),
        "usage": part(usage(manager, kms.calls(), &key.arn, from, now).await),
        "management_events": part(events),
        "verdicts": verdicts,
        "ledger": ledger(manager, invocation, &kms, &key.arn).await,
        "recommendations": recommendations,
    }))
}

fn metadata(key: &Key) -> Value {
    let multi_region = match &key.multi_region {
        Ok(MultiRegion::No) => json!("NO"),
        Ok(MultiRegion::Primary) => json!("PRIMARY"),
        Ok(MultiRegion::Replica(_)) => json!("REPLICA"),
        Err(why) => unknown(&why.to_string()),
    };
    let replicas = match &key.replicas {
        Ok(replicas) => json!(replicas.iter().map(|it| it.arn.as_str()).collect::<Vec<_>>()),
        Err(why) => unknown(&why.to_string()),
    };
    json!({
        "key_arn": key.arn,
        "key_id": key.id,
        "manager": key.manager.as_ref().map(domain::key::KeyManager::as_str),
        "state": key.state.as_ref().map(KeyState::as_str),
        "usage": key.usage.as_ref().map(domain::key::KeyUsage::as_str),
        "origin": key.origin.as_ref().map(domain::key::Origin::as_str),
        "algorithms": key.algorithms,
        "created_at": key.created_at,
        "deletion_at": key.deletion_date,
        "material_expires_at": key.valid_to,
        "multi_region": multi_region,
        "replicas": replicas,
    })
}

async fn rotation(kms: &Kms, id: &str) -> Result<Value, Failure> {
    let send = async |kms: &aws_sdk_kms::Client| kms.get_key_rotation_status().key_id(id).send().await;
    let status = kms.call(GET_KEY_ROTATION_STATUS, send).await?;
    let mut history = Vec::new();
    let mut pages = Pages::of(LIST_KEY_ROTATIONS);
    let ask = async |marker: Option<String>| {
        kms.call(LIST_KEY_ROTATIONS, async |kms| {
            kms.list_key_rotations().key_id(id).set_marker(marker.clone()).send().await
        })
        .await
    };
    // Keys that cannot rotate have no history.
    loop {
        match pages.next(ask, |page| (page.truncated, page.next_marker.clone())).await {
            Ok(None) => break,
            Err(failure) if failure.cause == domain::failure::Cause::Unsupported => break,
            Err(failure) => return Err(failure),
            Ok(Some(page)) => history.extend(page.rotations.unwrap_or_default().into_iter().filter_map(|it| {
                let at = it.rotation_date.as_ref().and_then(timestamp)?;
                Some((at, it.rotation_type.map(|it| it.as_str().to_owned())))
            })),
        }
    }
    history.sort();
    let history: Vec<Value> = history.into_iter().rev().map(|(at, kind)| json!({"at": at, "type": kind})).collect();
    Ok(json!({
        "enabled": status.key_rotation_enabled,
        "period_days": status.rotation_period_in_days,
        "next_at": status.next_rotation_date.as_ref().and_then(timestamp),
        "on_demand_since": status.on_demand_rotation_start_date.as_ref().and_then(timestamp),
        "history": history,
    }))
}

async fn grants(kms: &Kms, id: &str) -> Result<Value, Failure> {
    let mut grants = Vec::new();
    let mut pages = Pages::of(LIST_GRANTS);
    let ask = async |marker: Option<String>| {
        kms.call(LIST_GRANTS, async |kms| {
            kms.list_grants().key_id(id).limit(100).set_marker(marker.clone()).send().await
        })
        .await
    };
    while let Some(page) = pages.next(ask, |page| (page.truncated, page.next_marker.clone())).await? {
        grants.extend(page.grants.unwrap_or_default().into_iter().map(|grant| {
            let operations: Vec<&str> =
                grant.operations().iter().map(aws_sdk_kms::types::GrantOperation::as_str).collect();
            json!({
                "grant_id": grant.grant_id,
                "name": grant.name,
                "grantee": grant.grantee_principal.as_ref().or(grant.grantee_service_principal.as_ref()),
                "retiring": grant.retiring_principal,
                "operations": operations,
            })
        }));
    }
    Ok(json!(grants))
}

/// Who may administer, who may use, which foreign accounts may anything, and what is open to everybody.
async fn policy(manager: &KeyManager, kms: &Kms, key: &Key) -> Result<Value, Failure> {
    let text = kms.policy(&key.id).await?;
    let policy = match KeyPolicy::parse(&text, &key.arn) {
        Ok(policy) => policy,
        Err(why) => return Ok(unknown(&format!("the key policy cannot be judged: {why}"))),
    };
    let access = policy.access();
    let mut may_administer = BTreeSet::new();
    let mut may_use = BTreeSet::new();
    for admission in access.admissions() {
        let (administers, uses) = admission.purposes();
        let who = || {
            let condition = if admission.has_conditions() { " under conditions" } else { "" };
            format!("{}{condition}", admission.principal.text())
        };
        if administers {
            may_administer.insert(who());
        }
        if uses {
            may_use.insert(who());
        }
    }
    let trusted = Trusted {
        own_account: key.arn.split(':').nth(4).unwrap_or_default(),
        accounts: &manager.settings.trusted_accounts,
        organisation: None,
    };
    let foreign = match access.foreign(trusted) {
        ForeignAccess::Foreign(all) => {
            let of = |list: &dyn Fn(&domain::key_policy::ForeignAdmission<'_>) -> Vec<String>| -> BTreeSet<String> {
                all.iter().flat_map(list).collect()
            };
            json!({"accounts": of(&|it| it.accounts.clone()), "organisations": of(&|it| it.organisations.clone())})
        }
        ForeignAccess::Undecided(_) => unknown("a Deny cannot be decided"),
        ForeignAccess::No(trusted) => json!({"accounts": [], "organisations": [], "trusted_accounts": trusted}),
    };
    let statements = |all: Vec<&domain::key_policy::Admission<'_>>| -> BTreeSet<String> {
        all.into_iter().map(|it| it.label().to_string()).collect()
    };
    let public = match access.public() {
        PublicAccess::Public(all) => json!({"public": true, "by": statements(all)}),
        PublicAccess::ByWildcard(all) => json!({"public": false, "bounded_by_wildcard": statements(all)}),
        PublicAccess::No(_) => json!({"public": false}),
        PublicAccess::Undecided(_) => unknown("a Deny cannot be decided"),
    };
    Ok(json!({
        "may_administer": may_administer,
        "may_use": may_use,
        "foreign": foreign,
        "public": public,
        "document": serde_json::from_str::<Value>(&text).unwrap_or_default(),
    }))
}

async fn last_usage(kms: &Kms, id: &str) -> Result<Value, Failure> {
    let answer = kms.call(GET_KEY_LAST_USAGE, async |kms| kms.get_key_last_usage().key_id(id).send().await).await?;
    let usage = answer.key_last_usage.ok_or_else(|| GET_KEY_LAST_USAGE.unreadable("the answer has no KeyLastUsage"))?;
    Ok(json!({
        "operation": usage.operation.map(|it| it.as_str().to_owned()),
        "at": usage.timestamp.as_ref().and_then(timestamp),
        "tracked_since": answer.tracking_start_date.as_ref().and_then(timestamp),
    }))
}

/// Successful requests by operation, as CloudWatch counts them.
async fn usage(
    manager: &KeyManager,
    calls: &Calls,
    arn: &str,
    from: Timestamp,
    until: Timestamp,
) -> Result<Value, Failure> {
    let query = |(place, operation): (usize, &&str)| {
        let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
        let metric = Metric::builder()
            .namespace("AWS/KMS")
            .metric_name("SuccessfulRequest")
            .dimensions(dimension("KeyArn", arn))
            .dimensions(dimension("Operation", operation))
            .build();
        let statistic = MetricStat::builder().metric(metric).period(PERIOD).stat("Sum").build();
        MetricDataQuery::builder().id(format!("q{place}")).metric_stat(statistic).build()
    };
    let queries: Vec<_> = COUNTED.iter().enumerate().map(query).collect();
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    let mut failed = BTreeSet::new();
    let mut pages = Pages::of(GET_METRIC_DATA);
    let hour = |at: Timestamp| at.as_second().div_euclid(i64::from(PERIOD)) * i64::from(PERIOD);
    let ask = async |token: Option<String>| {
        let request = manager
            .cloudwatch
            .get_metric_data()
            .set_metric_data_queries(Some(queries.clone()))
            .start_time(DateTime::from_secs(hour(from)))
            .end_time(DateTime::from_secs(hour(until) + i64::from(PERIOD)))
            .set_next_token(token);
        calls.make(GET_METRIC_DATA, async || request.clone().send().await).await
    };
    let turn = |page: &aws_sdk_cloudwatch::operation::get_metric_data::GetMetricDataOutput| {
        (page.next_token.is_some(), page.next_token.clone())
    };
    while let Some(page) = pages.next(ask, turn).await? {
        for result in page.metric_data_results() {
            let place: Option<usize> = result.id().and_then(|id| id.strip_prefix('q')?.parse().ok());
            let Some(operation) = place.and_then(|place| COUNTED.get(place)) else { continue };
            let sum: f64 = result.values().iter().sum();
            if sum > 0.0 {
                *counts.entry(operation).or_default() += sum;
            }
            match result.status_code().map(aws_sdk_cloudwatch::types::StatusCode::as_str) {
                Some("Complete" | "PartialData") => {}
                _ => {
                    failed.insert(*operation);
                }
            }
        }
    }
    Ok(json!({"from": from, "successful_requests": counts, "not_known": failed}))
}

/// Management events by name, by user and by service.
fn summary(events: &[crate::trail::Event]) -> Value {
    let count = |names: &mut dyn Iterator<Item = Option<String>>| {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for name in names.flatten() {
            *counts.entry(name).or_default() += 1;
        }
        counts
    };
    let latest = |event: &crate::trail::Event| json!({"name": event.name, "at": event.at, "user": event.user, "service": event.service});
    json!({
        "count": events.len(),
        "by_name": count(&mut events.iter().map(|it| Some(it.name.clone()))),
        "by_user": count(&mut events.iter().map(|it| it.user.clone())),
        "by_service": count(&mut events.iter().map(|it| it.service.clone())),
        "latest": events.iter().take(20).map(latest).collect::<Vec<_>>(),
    })
}

/// What the monitors' controls say of the key, by the same engine and checks.
async fn verdicts(manager: &KeyManager, invocation: &Invocation<'_>, key: &Key) -> Value {
    let Some(name) = KeyName::parse(&key.arn) else { return unknown("the key has no ARN") };
    let target =
        Target { location: invocation.location.clone(), config: manager.config.clone(), is_in_home_account: true };
    let checks = manager.checks.all();
    let monitor = Monitor { settings: &manager.checks.settings, checks: &checks };
    let request = Request {
        keys: Some(&[name]),
        is_of_key_events: false,
        now: invocation.now,
        judged_at: invocation.now,
        verbose: true,
        known: BTreeSet::new(),
        excluded: BTreeSet::new(),
    };
    let left = invocation.deadlines.notified.saturating_duration_since(invocation.deadlines.start);
    let deadlines = Deadlines::new(invocation.deadlines.start, left / 2);
    match monitor.evaluate(&target, &request, &deadlines).await {
        Err(error) => unknown(&error.to_string()),
        Ok(evaluation) => {
            let mut by_function = Map::new();
            for check in evaluation.checks {
                let report = check.report;
                by_function.insert(
                    report.function.to_owned(),
                    json!({
                        "complete": report.complete,
                        "evaluations": report.evaluations.map(|it| it.lines),
                        "findings": report.findings,
                    }),
                );
            }
            by_function.into()
        }
    }
}

/// What the ledger has on the key: open findings and past ones, with their history.
async fn ledger(manager: &KeyManager, invocation: &Invocation<'_>, kms: &Kms, arn: &str) -> Value {
    let Some(table) = &manager.checks.findings_table else { return unknown("FINDINGS_TABLE is not set") };
    let (account, region) = (&invocation.location.account_id, &invocation.location.region);
    let mut by_function = Map::new();
    for check in manager.checks.all() {
        let partition = format!("{account}#{region}#{}", check.function());
        let mut findings = Vec::new();
        let mut problem = None;
        for kind in ["open", "past"] {
            match items(manager, kms.calls(), table, &partition, &format!("{kind}#{arn}#")).await {
                Ok(items) => findings.extend(items),
                Err(failure) => problem = Some(unknown(&error_summary(&failure))),
            }
        }
        by_function.insert(check.function().to_owned(), problem.unwrap_or_else(|| json!(findings)));
    }
    by_function.into()
}

async fn items(
    manager: &KeyManager,
    calls: &Calls,
    table: &str,
    partition: &str,
    prefix: &str,
) -> Result<Vec<Value>, Failure> {
    let request = manager
        .dynamodb
        .query()
        .table_name(table)
        .key_condition_expression("#pk = :pk AND begins_with(#sk, :sk)")
        .expression_attribute_names("#pk", "pk")
        .expression_attribute_names("#sk", "sk")
        .expression_attribute_values(":pk", AttributeValue::S(partition.to_owned()))
        .expression_attribute_values(":sk", AttributeValue::S(prefix.to_owned()));
    let mut found = Vec::new();
    let mut start: Option<HashMap<String, AttributeValue>> = None;
    loop {
        let query = async || request.clone().set_exclusive_start_key(start.clone()).send().await;
        let page = calls.make(QUERY, query).await?;
        for item in page.items.unwrap_or_default() {
            let item = serde_dynamo::aws_sdk_dynamodb_1::from_item::<Value>(item);
            found.push(item.map_err(|error| QUERY.unreadable(&error.to_string()))?);
        }
        start = page.last_evaluated_key.filter(|key| !key.is_empty());
        if start.is_none() {
            return Ok(found);
        }
    }
}

/// What to do about the key, the most urgent first. Deletion is never the first advice: disabling a key can be undone.
fn recommendations(key: &Key, verdicts: &Value, last_usage: Option<&Value>) -> Vec<String> {
    let mut all = Vec::new();
    if key.deletion_date.is_some() || key.state == Some(KeyState::PendingDeletion) {
        all.push(
            "the key is about to be deleted: cancel_deletion keeps what is encrypted under it readable".to_owned(),
        );
    }
    let findings =
        verdicts.as_object().into_iter().flat_map(Map::values).filter_map(|it| it.get("findings")?.as_array());
    for finding in findings.flatten() {
        if finding.get("compliance") == Some(&json!(Compliance::NonCompliant)) {
            let text = |name: &str| finding.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            all.push(format!("{}: {}", text("control"), text("remediation")));
        }
    }
    let is_used = last_usage.and_then(|it| it.get("at")).is_some_and(|at| !at.is_null());
    if key.state == Some(KeyState::Enabled) && last_usage.is_some() && !is_used {
        all.push(
            "no use of the key is known since its usage is tracked: ask its owner; if nobody needs it, retire_key disables it, \
             which can be undone"
                .to_owned(),
        );
    }
    all
}
