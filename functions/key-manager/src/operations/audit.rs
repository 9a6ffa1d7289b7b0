//! `audit_key`: everything about one key, as it is now. What cannot be read is said as that, with its cause, and the rest is
//! there.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use access_checker::AccessChecker;
use aws::call::Calls;
use aws::failure::error_summary;
use aws::kms::Kms;
use aws::operation::{
    DESCRIBE_KEY, GET_KEY_LAST_USAGE, GET_METRIC_DATA, LIST_GRANTS, LIST_KEY_ROTATIONS, LIST_METRICS, QUERY,
};
use aws::pages::Pages;
use aws::timestamp;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, DimensionFilter, Metric, MetricDataQuery, MetricStat, StatusCode};
use aws_sdk_dynamodb::types::AttributeValue;
use domain::failure::{Cause, Failure};
use domain::key::{Key, KeyState, MultiRegion};
use domain::key_policy::{Admission, ForeignAccess, ForeignAdmission, KeyPolicy, PublicAccess, Trusted};
use domain::ledger::Record;
use domain::location::KeyName;
use domain::verdict::Compliance;
use health_prober::HealthProber;
use jiff::{SignedDuration, Timestamp};
use key_age_checker::KeyAgeChecker;
use lambda::Invocation;
use monitor::check::{AnyCheck, Check};
use monitor::evaluation::{Monitor, Request};
use monitor::inventory::Begin;
use monitor::settings::{Environment, EvaluationSettings, FINDINGS_TABLE, InvalidConfiguration};
use monitor::target::Target;
use rotation_checker::RotationChecker;
use tokio::time::{Instant, timeout_at};
use usage_anomaly_scorer::UsageAnomalyScorer;

use super::rotation::status;
use crate::KeyManager;
use crate::audit::{
    Audit, CheckVerdicts, Foreign, Grant, Grants, KeyFacts, LastUsage, LedgerFinding, LedgerFindings, MAX_GRANTS,
    ManagementEvents, NotKnown, Part, PastRotation, PolicySummary, Public, Rotation, Usage,
};
use crate::error::RequestError;
use crate::request::AuditKey;

/// Operations that CloudWatch counts for a key by its ARN and the operation alone.
///
/// The metric and its dimensions: AWS KMS Developer Guide, "Monitor KMS keys with Amazon CloudWatch", `SuccessfulRequest`.
const COUNTED: [&str; 14] = [
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
    "Sign",
    "Verify",
    "VerifyMac",
];

/// `ReEncrypt` is counted for two keys at once: the name that the answer uses, and the dimension that this key is.
const RE_ENCRYPT: [(&str, &str); 2] = [("ReEncryptFrom", "SourceKeyArn"), ("ReEncryptTo", "DestinationKeyArn")];

const NAMESPACE: &str = "AWS/KMS";
const METRIC: &str = "SuccessfulRequest";

/// Most series that one `GetMetricData` takes.
const SERIES_A_CALL: usize = 500;

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

/// One part of the audit, if it can be read in time.
async fn part<T>(until: Instant, read: impl Future<Output = Result<T, Failure>>) -> Part<T> {
    match timeout_at(until, read).await {
        Ok(Ok(known)) => Part::Known(known),
        Ok(Err(failure)) => Part::not_known(error_summary(&failure)),
        Err(_) => Part::not_known("time ran out"),
    }
}

/// Audits the key.
///
/// # Errors
/// The key itself cannot be read.
pub(crate) async fn audit(
    manager: &KeyManager,
    invocation: &Invocation<'_>,
    request: &AuditKey,
) -> Result<Audit, RequestError> {
    let location = &invocation.location;
    let kms = &Kms::new(&manager.config, manager.settings.quota_share);
    let id = request.key.id();
    let (now, until) = (invocation.now, invocation.deadlines.evaluated);
    let key = &match part(until, kms.describe_key(id, id)).await {
        Part::Known(key) => key,
        Part::NotKnown(NotKnown { not_known }) => {
            return Err(RequestError::OperationFailed(format!("`key` cannot be read: {not_known}")));
        }
    };
    if request.key.account().is_some() && request.key.as_str() != key.arn {
        return Err(RequestError::NotAllowed(format!("`key` is of another account: {}", key.arn)));
    }
    let from = now.saturating_sub(SignedDuration::from_hours(24 * i64::from(request.days.get()))).unwrap_or(now);
    let events = async {
        let events = manager.trail.events(kms, &key.arn, from, now).await?;
        Ok(ManagementEvents::of(&events))
    };
    let aliases = async {
        let mut found = kms.aliases_of(&BTreeSet::from([id])).await?;
        Ok(found.remove(id).unwrap_or_default())
    };
    // At the same time: one that takes long does not keep the others from being read.
    let (facts, tags, aliases, rotation, grants, policy, last_usage, usage, management_events, verdicts, ledger) = tokio::join!(
        metadata(until, kms, key),
        part(until, kms.tags(id)),
        part(until, aliases),
        part(until, rotation(kms, id)),
        part(until, grants(kms, id)),
        policy(until, manager, kms, key),
        part(until, last_usage(kms, id)),
        part(until, usage(manager, kms.calls(), &key.arn, from, now)),
        part(until, events),
        Box::pin(verdicts(manager, invocation, key)),
        ledger(until, manager, invocation, kms, &key.arn),
    );
    Ok(Audit {
        operation: "audit_key",
        account_id: location.account_id.clone(),
        region: location.region.clone(),
        audited_at: now,
        days: request.days.get(),
        recommendations: recommendations(key, &verdicts, &last_usage),
        key: facts,
        tags,
        aliases,
        rotation,
        grants,
        policy,
        last_usage,
        usage,
        management_events,
        verdicts,
        ledger,
    })
}

async fn metadata(until: Instant, kms: &Kms, key: &Key) -> KeyFacts {
    // Verdicts need no more than its kind.
    let spec = async {
        let answer = kms.call(DESCRIBE_KEY, async |kms| kms.describe_key().key_id(&key.id).send().await).await?;
        let spec = answer.key_metadata.and_then(|it| it.key_spec);
        spec.map(|it| it.as_str().to_owned()).ok_or_else(|| DESCRIBE_KEY.unreadable("the answer has no KeySpec"))
    };
    KeyFacts {
        key_arn: key.arn.clone(),
        key_id: key.id.clone(),
        manager: key.manager.as_ref().map(|it| it.as_str().to_owned()),
        state: key.state.as_ref().map(|it| it.as_str().to_owned()),
        spec: part(until, spec).await,
        usage: key.usage.as_ref().map(|it| it.as_str().to_owned()),
        origin: key.origin.as_ref().map(|it| it.as_str().to_owned()),
        algorithms: key.algorithms.clone(),
        created_at: key.created_at,
        deletion_at: key.deletion_date,
        material_expires_at: key.valid_to,
        multi_region: match &key.multi_region {
            Ok(MultiRegion::No) => Part::Known("NO".to_owned()),
            Ok(MultiRegion::Primary) => Part::Known("PRIMARY".to_owned()),
            Ok(MultiRegion::Replica(_)) => Part::Known("REPLICA".to_owned()),
            Err(why) => Part::not_known(why.to_string()),
        },
        replicas: match &key.replicas {
            Ok(replicas) => Part::Known(replicas.iter().map(|it| it.arn.clone()).collect()),
            Err(why) => Part::not_known(why.to_string()),
        },
    }
}

async fn rotation(kms: &Kms, id: &str) -> Result<Rotation, Failure> {
    let (status, period_days) = status(kms, id).await?;
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
            Err(failure) if failure.cause == Cause::Unsupported => break,
            Err(failure) => return Err(failure),
            Ok(Some(page)) => history.extend(page.rotations.unwrap_or_default().into_iter().filter_map(|it| {
                let at = it.rotation_date.as_ref().and_then(timestamp)?;
                Some(PastRotation { at, r#type: it.rotation_type.map(|it| it.as_str().to_owned()) })
            })),
        }
    }
    history.sort();
    history.reverse();
    Ok(Rotation {
        enabled: status.key_rotation_enabled,
        period_days,
        next_at: status.next_rotation_date.as_ref().and_then(timestamp),
        on_demand_since: status.on_demand_rotation_start_date.as_ref().and_then(timestamp),
        history,
    })
}

async fn grants(kms: &Kms, id: &str) -> Result<Grants, Failure> {
    let mut grants = Grants::default();
    let mut pages = Pages::of(LIST_GRANTS);
    let ask = async |marker: Option<String>| {
        kms.call(LIST_GRANTS, async |kms| {
            kms.list_grants().key_id(id).limit(100).set_marker(marker.clone()).send().await
        })
        .await
    };
    while let Some(page) = pages.next(ask, |page| (page.truncated, page.next_marker.clone())).await? {
        for grant in page.grants.unwrap_or_default() {
            if grants.listed.len() == MAX_GRANTS {
                grants.omitted += 1;
                continue;
            }
            grants.listed.push(Grant {
                operations: grant.operations().iter().map(|it| it.as_str().to_owned()).collect(),
                grant_id: grant.grant_id,
                name: grant.name,
                grantee: grant.grantee_principal.or(grant.grantee_service_principal),
                retiring: grant.retiring_principal,
            });
        }
    }
    Ok(grants)
}

/// Who may administer, who may use, which foreign accounts may anything, and what is open to everybody.
async fn policy(until: Instant, manager: &KeyManager, kms: &Kms, key: &Key) -> Part<PolicySummary> {
    let text = match part(until, kms.policy(&key.id)).await {
        Part::Known(text) => text,
        Part::NotKnown(why) => return Part::NotKnown(why),
    };
    let policy = match KeyPolicy::parse(&text, &key.arn) {
        Ok(policy) => policy,
        Err(why) => return Part::not_known(format!("the key policy cannot be judged: {why}")),
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
            let of = |list: &dyn Fn(&ForeignAdmission<'_>) -> Vec<String>| all.iter().flat_map(list).collect();
            Part::Known(Foreign {
                accounts: of(&|it| it.accounts.clone()),
                organisations: of(&|it| it.organisations.clone()),
                ..Foreign::default()
            })
        }
        ForeignAccess::Undecided(_) => Part::not_known("a Deny cannot be decided"),
        ForeignAccess::No(trusted_accounts) => Part::Known(Foreign { trusted_accounts, ..Foreign::default() }),
    };
    let statements = |all: Vec<&Admission<'_>>| all.into_iter().map(|it| it.label().to_string()).collect();
    let public = match access.public() {
        PublicAccess::Public(all) => Part::Known(Public { public: true, by: statements(all), ..Public::default() }),
        PublicAccess::ByWildcard(all) => {
            Part::Known(Public { bounded_by_wildcard: statements(all), ..Public::default() })
        }
        PublicAccess::No(_) => Part::Known(Public::default()),
        PublicAccess::Undecided(_) => Part::not_known("a Deny cannot be decided"),
    };
    let document = serde_json::from_str(&text).unwrap_or_default();
    Part::Known(PolicySummary { may_administer, may_use, foreign, public, document })
}

async fn last_usage(kms: &Kms, id: &str) -> Result<LastUsage, Failure> {
    let answer = kms.call(GET_KEY_LAST_USAGE, async |kms| kms.get_key_last_usage().key_id(id).send().await).await?;
    let usage = answer.key_last_usage.ok_or_else(|| GET_KEY_LAST_USAGE.unreadable("the answer has no KeyLastUsage"))?;
    Ok(LastUsage {
        operation: usage.operation.map(|it| it.as_str().to_owned()),
        at: usage.timestamp.as_ref().and_then(timestamp),
        tracked_since: answer.tracking_start_date.as_ref().and_then(timestamp),
    })
}

/// A series of CloudWatch's: the name that the answer counts it under, and its dimensions.
type Series = (&'static str, Vec<Dimension>);

fn dimension(name: &str, value: &str) -> Dimension {
    Dimension::builder().name(name).value(value).build()
}

/// Successful requests by operation, as CloudWatch counts them.
async fn usage(
    manager: &KeyManager,
    calls: &Calls,
    arn: &str,
    from: Timestamp,
    until: Timestamp,
) -> Result<Usage, Failure> {
    let mut usage = Usage { from, successful_requests: BTreeMap::new(), not_known: BTreeMap::new() };
    let own = |name: &&'static str| (*name, vec![dimension("KeyArn", arn), dimension("Operation", name)]);
    let mut series: Vec<Series> = COUNTED.iter().map(own).collect();
    for (name, this_key) in RE_ENCRYPT {
        match re_encryptions(manager, calls, arn, this_key).await {
            Ok(found) => series.extend(found.into_iter().map(|dimensions| (name, dimensions))),
            Err(failure) => {
                usage.not_known.insert(name.to_owned(), error_summary(&failure));
            }
        }
    }
    for series in series.chunks(SERIES_A_CALL) {
        count(manager, calls, series, from, until, &mut usage).await?;
    }
    Ok(usage)
}

/// The series of `ReEncrypt` that this key is part of. Which key was beside it, only CloudWatch knows.
async fn re_encryptions(
    manager: &KeyManager,
    calls: &Calls,
    arn: &str,
    this_key: &str,
) -> Result<Vec<Vec<Dimension>>, Failure> {
    let filters = [(this_key, arn), ("Operation", "ReEncrypt")];
    let filters = filters.map(|(name, value)| DimensionFilter::builder().name(name).value(value).build());
    let mut found = Vec::new();
    let mut pages = Pages::of(LIST_METRICS);
    let ask = async |token: Option<String>| {
        let request = manager.cloudwatch.list_metrics().namespace(NAMESPACE).metric_name(METRIC);
        let request = request.set_dimensions(Some(filters.to_vec())).set_next_token(token);
        calls.make(LIST_METRICS, async || request.clone().send().await).await
    };
    let turn = |page: &aws_sdk_cloudwatch::operation::list_metrics::ListMetricsOutput| {
        (page.next_token.is_some(), page.next_token.clone())
    };
    while let Some(page) = pages.next(ask, turn).await? {
        found.extend(page.metrics.unwrap_or_default().into_iter().filter_map(|metric| metric.dimensions));
    }
    Ok(found)
}

/// Adds up what the series count.
async fn count(
    manager: &KeyManager,
    calls: &Calls,
    series: &[Series],
    from: Timestamp,
    until: Timestamp,
    usage: &mut Usage,
) -> Result<(), Failure> {
    let query = |(place, (_, dimensions)): (usize, &Series)| {
        let metric = Metric::builder().namespace(NAMESPACE).metric_name(METRIC);
        let metric = metric.set_dimensions(Some(dimensions.clone())).build();
        let statistic = MetricStat::builder().metric(metric).period(PERIOD).stat("Sum").build();
        MetricDataQuery::builder().id(format!("q{place}")).metric_stat(statistic).build()
    };
    let queries: Vec<_> = series.iter().enumerate().map(query).collect();
    let mut is_complete = vec![false; series.len()];
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
            let Some((place, (name, _))) = place.and_then(|place| Some((place, series.get(place)?))) else { continue };
            let sum: f64 = result.values().iter().sum();
            if sum > 0.0 {
                *usage.successful_requests.entry((*name).to_owned()).or_default() += sum;
            }
            // The last page that has it says whether that was all.
            if let Some(is_complete) = is_complete.get_mut(place) {
                *is_complete = result.status_code() == Some(&StatusCode::Complete);
            }
        }
    }
    let incomplete = series.iter().zip(is_complete).filter(|(_, is_complete)| !is_complete);
    for ((name, _), _) in incomplete {
        usage.not_known.insert((*name).to_owned(), "CloudWatch gave it in part or not at all".to_owned());
    }
    Ok(())
}

/// What the monitors' controls say of the key, by the same engine and checks.
async fn verdicts(
    manager: &KeyManager,
    invocation: &Invocation<'_>,
    key: &Key,
) -> Part<BTreeMap<String, CheckVerdicts>> {
    let Some(name) = KeyName::parse(&key.arn) else { return Part::not_known("the key has no ARN") };
    let target =
        Target { location: invocation.location.clone(), config: manager.config.clone(), is_in_home_account: true };
    let checks = manager.checks.all();
    let monitor = Monitor { settings: &manager.checks.settings, checks: &checks };
    let request = Request {
        keys: Some(&[name]),
        is_of_key_events: false,
        begin: Begin::ByDay(invocation.now),
        judged_at: invocation.now,
        verbose: true,
        known: BTreeSet::new(),
        excluded: BTreeSet::new(),
    };
    let evaluation = match monitor.evaluate(&target, &request, &invocation.deadlines).await {
        Ok(evaluation) => evaluation,
        Err(error) => return Part::not_known(error.to_string()),
    };
    let of_check = evaluation.checks.into_iter().map(|check| {
        let report = check.report;
        let verdicts = CheckVerdicts {
            complete: report.complete,
            evaluations: report.evaluations.into_iter().flat_map(|it| it.lines).map(Into::into).collect(),
            findings: report.findings.into_iter().map(Into::into).collect(),
        };
        (report.function.to_owned(), verdicts)
    });
    Part::Known(of_check.collect())
}

/// What the ledger has on the key: open findings and past ones, with their history.
async fn ledger(
    until: Instant,
    manager: &KeyManager,
    invocation: &Invocation<'_>,
    kms: &Kms,
    arn: &str,
) -> Part<BTreeMap<String, Part<LedgerFindings>>> {
    let Some(table) = &manager.checks.findings_table else { return Part::not_known("FINDINGS_TABLE is not set") };
    let (account, region) = (&invocation.location.account_id, &invocation.location.region);
    let mut by_function = BTreeMap::new();
    for check in manager.checks.all() {
        let partition = format!("{account}#{region}#{}", check.function());
        let both = async {
            let mut findings = Vec::new();
            for (kind, open) in [("open", true), ("past", false)] {
                let records = records(manager, kms.calls(), table, &partition, &format!("{kind}#{arn}#")).await?;
                findings.extend(records.into_iter().map(|it| LedgerFinding::of(it, open)));
            }
            Ok(LedgerFindings::of(findings))
        };
        by_function.insert(check.function().to_owned(), part(until, both).await);
    }
    Part::Known(by_function)
}

async fn records(
    manager: &KeyManager,
    calls: &Calls,
    table: &str,
    partition: &str,
    prefix: &str,
) -> Result<Vec<Record>, Failure> {
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
            let item = serde_dynamo::aws_sdk_dynamodb_1::from_item::<Record>(item);
            found.push(item.map_err(|error| QUERY.unreadable(&error.to_string()))?);
        }
        start = page.last_evaluated_key.filter(|key| !key.is_empty());
        if start.is_none() {
            return Ok(found);
        }
    }
}

/// What to do about the key, the most urgent first. Deletion is never the first advice: disabling a key can be undone.
fn recommendations(
    key: &Key,
    verdicts: &Part<BTreeMap<String, CheckVerdicts>>,
    last_usage: &Part<LastUsage>,
) -> Vec<String> {
    let mut all = Vec::new();
    if key.deletion_date.is_some() || key.state == Some(KeyState::PendingDeletion) {
        all.push(
            "the key is about to be deleted: cancel_deletion keeps what is encrypted under it readable".to_owned(),
        );
    }
    let mut findings: Vec<_> =
        verdicts.known().into_iter().flat_map(BTreeMap::values).flat_map(|it| &it.findings).collect();
    findings.sort_by_key(|it| std::cmp::Reverse(it.severity));
    for finding in findings.into_iter().filter(|it| it.compliance == Compliance::NonCompliant && it.exempt.is_none()) {
        all.push(format!("{}: {}", finding.control, finding.remediation));
    }
    let is_unused = last_usage.known().is_some_and(|it| it.at.is_none());
    if key.state == Some(KeyState::Enabled) && is_unused {
        all.push(
            "no use of the key is known since its usage is tracked: ask its owner; if nobody needs it, retire_key disables it, \
             which can be undone"
                .to_owned(),
        );
    }
    all
}
