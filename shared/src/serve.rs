//! The one handler shape of all functions: event, inventory, facts, evaluation, report, ledger, alert, response.

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::pin::pin;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_lambda_events::event::sqs::BatchItemFailure;
use futures::StreamExt;
use jiff::Timestamp;
use lambda_runtime::{Context, LambdaEvent, service_fn};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::domain::control::Control;
use crate::domain::digest::Digest;
use crate::domain::evaluation::{Compliance, Failure, NOT_FOUND, Verdict, settled_by_description};
use crate::domain::exemption::TAG_PREFIX;
use crate::domain::key::Key;
use crate::domain::ledger::{Change, Ledger};
use crate::domain::location::Location;
use crate::domain::report::{AlertCounts, KeyIdentity, Report};
use crate::error::RunError;
use crate::event::{Options, Request};
use crate::findings_table::{FindingsTable, Lease};
use crate::inventory::{Candidate, Inventory, Source, aliases_of};
use crate::kms::Kms;
use crate::settings::{Environment, InvalidConfiguration, Settings};
use crate::{alert, client, logging, metrics};

/// Keys that a run looks at at the same time. The pace of the calls is set by the quotas; this many keep up with them
/// while an answer takes up to some 80 ms.
const KEYS_AT_A_TIME: usize = 32;

/// Part of the time that is kept for what follows the evaluation: a third each for the names of keys, for what the ledger
/// has to know before the alert, and for the alert and what the ledger has to know of it.
const SHARE_FOR_THE_END: u32 = 5;

/// Most time that is kept for that.
const MOST_FOR_THE_END: Duration = Duration::from_mins(2);

/// Part of the time that a run waits at most for another one to end.
const SHARE_FOR_WAITING: u32 = 2;

/// Time that is kept for the way back of the response.
const FOR_THE_RESPONSE: Duration = Duration::from_millis(500);

/// What makes a function: `N` controls and how it judges one key by them.
pub trait Check<const N: usize>: Sized {
    /// Name of the function.
    const FUNCTION: &'static str;

    /// Its controls.
    const CONTROLS: [&'static Control; N];

    /// Can it judge for another instant than the present?
    const TAKES_AS_OF: bool = false;

    /// What one run works with beside KMS in its own Region: clients of other Regions and services, answers that hold for
    /// all keys. Made anew for each invocation.
    type Run;

    /// Reads the function's own settings.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration>;

    /// Begins a run. No error comes out: what cannot be read here is for [`evaluate`](Self::evaluate) to say, of each key
    /// that it matters to. It returns by [`Scene::until`].
    fn begin(&self, scene: &Scene<'_>) -> impl Future<Output = Self::Run>;

    /// Judges one key that the rules for every control leave to the function. The verdicts stand in the order of
    /// [`CONTROLS`](Self::CONTROLS). No error comes out: what cannot be read is a verdict too.
    fn evaluate(&self, run: &Self::Run, kms: &Kms, key: &Key, now: Timestamp) -> impl Future<Output = [Verdict; N]>;

    /// Do these verdicts wait for a call that has to come last, for its quota is too small for all keys?
    fn is_provisional(_verdicts: &[Verdict; N]) -> bool {
        false
    }

    /// Judges a key again whose verdicts are provisional, once all keys are judged. Where time runs out before that, the
    /// provisional verdicts stand.
    fn finish(
        &self,
        _run: &Self::Run,
        _kms: &Kms,
        _key: &KeyIdentity,
        provisional: [Verdict; N],
        _now: Timestamp,
    ) -> impl Future<Output = [Verdict; N]> {
        future::ready(provisional)
    }

    /// What the check measured during the run, beside what is measured of every run.
    fn measured(&self, _run: &Self::Run) -> Vec<metrics::Samples> {
        Vec::new()
    }
}

/// What a run finds when it begins.
#[derive(Debug)]
pub struct Scene<'a> {
    /// Credentials, Region and endpoints for further clients.
    pub config: &'a SdkConfig,
    /// The settings of all functions.
    pub settings: &'a Settings,
    /// Partition, Region and account that the run covers.
    pub location: &'a Location,
    /// The keys of the run.
    pub inventory: &'a Inventory,
    /// Instant that everything is judged for.
    pub now: Timestamp,
    /// When the invocation began.
    pub start: Instant,
    /// When the evaluation has to be done.
    pub until: Instant,
}

/// The answer to an invocation.
#[derive(Debug, Serialize)]
pub struct Response {
    #[serde(flatten)]
    report: Report,
    #[serde(rename = "batchItemFailures", skip_serializing_if = "Option::is_none")]
    batch_item_failures: Option<Vec<BatchItemFailure>>,
}

/// Serves invocations of one function until Lambda ends the process.
///
/// # Errors
/// The Lambda Runtime API is out of reach.
pub async fn serve<C: Check<N>, const N: usize>() -> Result<(), lambda_runtime::Error> {
    let environment = Environment::of_process();
    logging::start(&environment);
    let config = client::sdk_config().load().await;
    // A wrong setting fails each invocation: Lambda shows an error of the start-up only in the log.
    let function = Function::<C, N>::new(&environment, config);
    let function = &function;
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let function = function.as_ref().map_err(Clone::clone)?;
        // The runtime logs an error, once.
        Box::pin(function.answer(event, read_clock())).await
    }))
    .await
}

/// A function with its settings.
#[derive(Debug)]
pub struct Function<C, const N: usize> {
    check: C,
    settings: Settings,
    config: SdkConfig,
    level: String,
}

impl<C: Check<N>, const N: usize> Function<C, N> {
    /// Reads the settings.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    pub fn new(environment: &Environment, config: SdkConfig) -> Result<Self, InvalidConfiguration> {
        let (settings, check) = (Settings::read(environment)?, C::read(environment)?);
        Ok(Self { check, settings, config, level: logging::level_name(environment) })
    }

    /// Answers one invocation that begins at the instant `now`.
    ///
    /// # Errors
    /// The run failed as a whole.
    pub async fn answer(&self, event: LambdaEvent<Value>, now: Timestamp) -> Result<Response, RunError> {
        let start = monotonic();
        let request = Request::parse(event.payload, C::TAKES_AS_OF)?;
        for (message_id, error) in request.batch.iter().flat_map(|batch| &batch.malformed) {
            tracing::error!(message_id, %error, "a message of the batch is malformed");
        }
        let location = self.location(&event.context);
        let time = Time::until(start, time_left(&event.context, now));
        let mut report = Report::new(C::FUNCTION, &location, now, &C::CONTROLS, false);
        if let Some(options) = &request.options {
            let by_event = request.batch.is_some();
            let run = Run { function: self, options, by_event, location, now, time };
            let owner = request.id.as_ref().unwrap_or(&event.context.request_id);
            report = run.under_lease(owner, &event.context).await?;
        }
        Ok(Response { report: report.for_response(), batch_item_failures: request.batch.map(|batch| batch.failures) })
    }

    /// Where this function runs. An emulator's function may have no real ARN: then the account is not known.
    fn location(&self, context: &Context) -> Location {
        Location::from_function_arn(&context.invoked_function_arn).unwrap_or_else(|| Location {
            partition: "aws".to_owned(),
            region: self.config.region().map_or("unknown", |region| region.as_ref()).to_owned(),
            account_id: "unknown".to_owned(),
        })
    }
}

/// How long the run may take until its response has to be on its way.
fn time_left(context: &Context, now: Timestamp) -> Duration {
    let deadline = i64::try_from(context.deadline).unwrap_or(i64::MAX);
    let left = deadline.saturating_sub(now.as_millisecond());
    Duration::from_millis(u64::try_from(left).unwrap_or_default()).saturating_sub(FOR_THE_RESPONSE)
}

/// Until when each part of a run has to be done, so that the response is in time.
struct Time {
    start: Instant,
    begun: Instant,
    evaluated: Instant,
    named: Instant,
    recorded: Instant,
    told: Instant,
}

impl Time {
    fn until(start: Instant, left: Duration) -> Self {
        let a_third = (left / SHARE_FOR_THE_END).min(MOST_FOR_THE_END) / 3;
        let told = start + left;
        let (recorded, named, evaluated) = (told - a_third, told - a_third * 2, told - a_third * 3);
        Self { start, begun: start + left / SHARE_FOR_WAITING, evaluated, named, recorded, told }
    }
}

/// One invocation.
struct Run<'a, C, const N: usize> {
    function: &'a Function<C, N>,
    options: &'a Options,
    /// Does the run answer to events about keys?
    by_event: bool,
    location: Location,
    now: Timestamp,
    time: Time,
}

/// What a run found out about one key.
struct Judged<const N: usize> {
    key: KeyIdentity,
    verdicts: [Verdict; N],
    source: Source,
    /// Values of the tags that exempt the key, by control. They are read for keys with a finding only.
    tags: Option<Result<BTreeMap<String, String>, Failure>>,
    scope: Scope,
}

/// How far a verdict says something about the key.
#[derive(PartialEq)]
enum Scope {
    /// The key was looked at.
    Seen,
    /// The key was listed and is gone since.
    Gone,
    /// Something happened to the key, and it is gone since.
    GoneAfterEvent,
    /// The run was not to look at the key.
    NotSeen,
}

impl<const N: usize> Judged<N> {
    /// What follows from the verdicts.
    async fn of(kms: &Kms, key: KeyIdentity, verdicts: [Verdict; N], source: Source, by_event: bool) -> Self {
        let not_found = verdicts.iter().any(|verdict| verdict.reason == NOT_FOUND);
        let scope = match source {
            Source::OutOfScope(_) => Scope::NotSeen,
            Source::Listed if not_found => Scope::Gone,
            Source::Named if not_found && by_event => Scope::GoneAfterEvent,
            _ => Scope::Seen,
        };
        let has_finding = verdicts.iter().any(|verdict| verdict.compliance == Compliance::NonCompliant);
        let tags = if has_finding { Some(exempting_tags(kms, &key.id).await) } else { None };
        Self { key, verdicts, source, tags, scope }
    }
}

impl<C: Check<N>, const N: usize> Run<'_, C, N> {
    /// The whole run, while no other run of the function tells the team. A dry run tells nobody and needs no lease.
    async fn under_lease(&self, owner: &str, context: &Context) -> Result<Report, RunError> {
        let Settings { findings_table, resolved_retention_days, .. } = &self.function.settings;
        let table = findings_table.as_deref().map(|name| {
            FindingsTable::new(&self.function.config, name, &self.location, C::FUNCTION, *resolved_retention_days)
        });
        let Some(table) = &table else { return self.report(None, None).await };
        if self.options.dry_run {
            return self.report(Some(table), None).await;
        }
        // The same request comes again after a failure: the instant makes its attempts different.
        let attempt = format!("{} {}", context.request_id, self.now);
        let deadline = i64::try_from(context.deadline).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let ends_at = deadline.unwrap_or(self.now);
        let lease = table.take_lease(owner, attempt, self.now, ends_at, self.time.begun).await?;
        let report = self.report(Some(table), Some(&lease)).await;
        table.release(&lease, self.time.told).await;
        report
    }

    async fn report(&self, table: Option<&FindingsTable<'_>>, lease: Option<&Lease>) -> Result<Report, RunError> {
        let Self { function: Function { settings, config, .. }, options, location, now, time, .. } = self;
        let judged_at = options.as_of.unwrap_or(*now);
        // Reports read better without fractions of seconds.
        let evaluated_at = Timestamp::from_second(judged_at.as_second()).unwrap_or(judged_at);
        let mut report = Report::new(C::FUNCTION, location, evaluated_at, &C::CONTROLS, options.verbose);
        let mut ledger = match table {
            Some(table) => Ledger::new(table.read(time.evaluated).await?),
            None => Ledger::default(),
        };
        let kms = Kms::new(config, settings.kms_quota_share);
        let (monitored, excluded) = (&settings.monitored_keys, &settings.excluded_keys);
        let inventory = Inventory::take(&kms, location, options.keys.as_deref(), monitored, excluded, *now);
        let inventory = timeout_at(time.evaluated, inventory)
            .await
            .unwrap_or_else(|_| Err(RunError::ListKeysFailed("the time of the invocation ran out".to_owned())))?;
        let scene = Scene {
            config,
            settings,
            location,
            inventory: &inventory,
            now: judged_at,
            start: time.start,
            until: time.evaluated,
        };
        let samples = self.evaluate(&kms, &scene, &mut report, &mut ledger).await;
        name_by_aliases(&kms, time.named, &mut report).await;
        ledger.exempt(&mut report.findings, judged_at);
        report.alerts = self.tell_the_team(&report, ledger, evaluated_at, table.zip(lease)).await?;
        self.tell_operations(&report, &kms, &samples);
        Ok(report)
    }

    /// Judges the keys, many at a time, until all are judged or time runs short.
    async fn evaluate(
        &self,
        kms: &Kms,
        scene: &Scene<'_>,
        report: &mut Report,
        ledger: &mut Ledger,
    ) -> Vec<metrics::Samples> {
        let inventory = scene.inventory;
        let run = self.function.check.begin(scene).await;
        let judged = futures::stream::iter(inventory.candidates(scene.location))
            .map(|candidate| self.judge(&run, kms, candidate, scene.now))
            .buffer_unordered(KEYS_AT_A_TIME);
        let mut judged = pin!(judged);
        let mut reached = 0;
        let mut tags_failed: Option<(u64, Failure)> = None;
        let mut take = |Judged { key, verdicts, tags, scope, .. }: Judged<N>| {
            match scope {
                Scope::Gone => return ledger.gone(&key.arn),
                Scope::GoneAfterEvent => ledger.gone(&key.arn),
                Scope::Seen => ledger.saw(&key.arn, C::CONTROLS, &verdicts),
                Scope::NotSeen => {}
            }
            let tags = tags.transpose().unwrap_or_else(|failure| {
                tags_failed = Some((tags_failed.as_ref().map_or(1, |(count, _)| count + 1), failure));
                None
            });
            report.add(&key, C::CONTROLS, verdicts, tags.as_ref());
        };
        let mut provisional = Vec::new();
        while let Ok(Some(judged)) = timeout_at(scene.until, judged.next()).await {
            reached += 1;
            if C::is_provisional(&judged.verdicts) {
                provisional.push(judged);
            } else {
                take(judged);
            }
        }
        let mut finished = self.finish(&run, kms, scene, &provisional).await;
        for (place, judged) in provisional.into_iter().enumerate() {
            take(finished.remove(&place).unwrap_or(judged));
        }
        report.keys_not_reached = inventory.count().saturating_sub(reached) as u64;
        report.complete = inventory.complete && report.keys_not_reached == 0;
        if report.complete && inventory.of_every_key {
            ledger.saw_every_key();
        }
        if report.keys_not_reached > 0 {
            tracing::warn!(keys_not_reached = report.keys_not_reached, "time ran short");
        }
        if let Some((keys, failure)) = tags_failed {
            tracing::warn!(keys, %failure, "exemptions could not be read: they stand as they were last read");
        }
        self.function.check.measured(&run)
    }

    /// Judges the keys again whose verdicts are provisional, as far as time allows; by their place among them.
    async fn finish(
        &self,
        run: &C::Run,
        kms: &Kms,
        scene: &Scene<'_>,
        provisional: &[Judged<N>],
    ) -> BTreeMap<usize, Judged<N>> {
        let keys = futures::stream::iter(provisional.iter().enumerate())
            .map(async |(place, Judged { key, verdicts, source, .. })| {
                let verdicts = self.function.check.finish(run, kms, key, verdicts.clone(), scene.now).await;
                (place, Judged::of(kms, key.clone(), verdicts, source.clone(), self.by_event).await)
            })
            .buffer_unordered(KEYS_AT_A_TIME);
        let mut keys = pin!(keys);
        let mut finished = BTreeMap::new();
        while let Ok(Some((place, judged))) = timeout_at(scene.until, keys.next()).await {
            finished.insert(place, judged);
        }
        finished
    }

    async fn judge(&self, run: &C::Run, kms: &Kms, candidate: Candidate, now: Timestamp) -> Judged<N> {
        let Candidate { mut key, source } = candidate;
        let verdicts = match &source {
            Source::Settled(verdict) | Source::OutOfScope(verdict) => verdict.for_all(),
            Source::Listed | Source::Named => match kms.describe_key(&key.id, &key.arn).await {
                Err(failure) => Verdict::from(&failure).for_all(),
                Ok(facts) => {
                    key.arn.clone_from(&facts.arn);
                    match settled_by_description(&facts) {
                        Some(verdict) => verdict.for_all(),
                        None => self.function.check.evaluate(run, kms, &facts, now).await,
                    }
                }
            },
        };
        Judged::of(kms, key, verdicts, source, self.by_event).await
    }

    /// Tells the team what changed, and the ledger what the team was told.
    async fn tell_the_team(
        &self,
        report: &Report,
        ledger: Ledger,
        judged_at: Timestamp,
        ledger_at: Option<(&FindingsTable<'_>, &Lease)>,
    ) -> Result<AlertCounts, RunError> {
        let Self { function: Function { settings, config, .. }, location, now, time, .. } = self;
        let comparison = ledger.compare(&report.findings, &C::CONTROLS, judged_at, settings.reminder_interval_days);
        let digest = Digest::of(report, location, &comparison.news);
        let mut alerts = AlertCounts {
            new: comparison.count(Change::New),
            worsened: comparison.count(Change::Worsened),
            resolved: comparison.count(Change::Resolved),
            reminder: comparison.count(Change::Reminder),
            messages_published: 0,
        };
        if self.options.dry_run || comparison.is_empty() {
            return Ok(alerts);
        }
        if let Some((table, lease)) = ledger_at {
            if !table.hold(lease, time.recorded).await? {
                tracing::warn!("another attempt at the event took over: it tells the team");
                return Ok(AlertCounts::default());
            }
            table.write(comparison.before_the_alert(), time.recorded).await?;
        }
        if let Some(digest) = &digest {
            alert::publish(config, &settings.topic_arn, digest, report, time.told).await?;
            alerts.messages_published = 1;
        }
        if let Some((table, _)) = ledger_at {
            let (open, closed) = comparison.after_the_alert(judged_at);
            table.write(open.iter(), time.told).await?;
            table.close(&closed, *now, time.told).await?;
        }
        Ok(alerts)
    }

    fn tell_operations(&self, report: &Report, kms: &Kms, samples: &[metrics::Samples]) {
        let took = monotonic() - self.time.start;
        let run_duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            function = C::FUNCTION,
            complete = report.complete,
            keys_listed = report.keys_listed,
            keys_not_reached = report.keys_not_reached,
            findings = report.findings.len(),
            messages_published = report.alerts.messages_published,
            kms_calls = kms.calls(),
            run_duration_ms,
            "the run is done"
        );
        let measured =
            metrics::Measured { at: self.now, kms_calls: kms.calls(), kms_throttles: kms.throttles(), run_duration_ms };
        let samples = metrics::lines_of(samples, C::FUNCTION, self.now, &self.function.level);
        for line in metrics::lines(report, measured, &self.function.level).into_iter().chain(samples) {
            #[expect(clippy::print_stdout, reason = "Lambda takes metrics from standard output, as bare JSON lines")]
            {
                println!("{line}");
            }
        }
    }
}

/// The values of the tags that exempt a key, by control.
async fn exempting_tags(kms: &Kms, key_id: &str) -> Result<BTreeMap<String, String>, Failure> {
    let tags = kms.tags(key_id).await?.into_iter();
    Ok(tags.filter_map(|(name, value)| Some((name.strip_prefix(TAG_PREFIX)?.to_owned(), value))).collect())
}

/// Names the findings' keys by their aliases. Without an answer they go by their ARN.
async fn name_by_aliases(kms: &Kms, until: Instant, report: &mut Report) {
    let keys: BTreeSet<&str> = report.findings.iter().map(|finding| finding.key_id.as_str()).collect();
    let mut aliases = BTreeMap::new();
    if !keys.is_empty() {
        match timeout_at(until, aliases_of(kms, &keys)).await {
            Ok(Ok(found)) => aliases = found,
            Ok(Err(failure)) => tracing::warn!(%failure, "the findings go without aliases"),
            Err(_) => tracing::warn!("time ran short: the findings go without aliases"),
        }
    }
    report.close(&aliases);
}

/// The one reading of the clock: the instant that everything is judged for.
#[expect(clippy::disallowed_methods, reason = "the one edge where the clock is read")]
fn read_clock() -> Timestamp {
    Timestamp::now()
}

/// Where the monotonic clock stands: for time left and time taken, never for a verdict.
#[expect(clippy::disallowed_methods, reason = "the monotonic half of the one edge")]
fn monotonic() -> Instant {
    Instant::now()
}
