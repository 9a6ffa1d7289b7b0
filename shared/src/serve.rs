//! The one handler shape of all functions: event, inventory, facts, evaluation, report, alert, response.

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
use crate::domain::evaluation::{NOT_FOUND, Verdict, settled_by_description};
use crate::domain::key::Key;
use crate::domain::location::Location;
use crate::domain::report::{KeyIdentity, Report};
use crate::error::RunError;
use crate::event::Request;
use crate::inventory::{Candidate, Inventory, Source, aliases_of};
use crate::kms::Kms;
use crate::settings::{Environment, InvalidConfiguration, Settings};
use crate::{alert, client, logging, metrics};

/// Keys that a run looks at at the same time. The pace of the calls is set by the quotas; this many keep up with them
/// while an answer takes up to some 80 ms.
const KEYS_AT_A_TIME: usize = 32;

/// Part of the time that is kept for what follows the evaluation, half for the names of keys and half for the alert.
const SHARE_FOR_THE_END: u32 = 5;

/// Most time that is kept for that.
const MOST_FOR_THE_END: Duration = Duration::from_mins(1);

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
    /// When the evaluation has to be done.
    pub until: Instant,
}

/// The answer to an invocation.
#[derive(Serialize)]
struct Response {
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
    let config = client::sdk_config().await;
    // A wrong setting fails each invocation: Lambda shows an error of the start-up only in the log.
    let settings = Settings::read(&environment).and_then(|settings| Ok((settings, C::read(&environment)?)));
    let (config, settings, level) = (&config, &settings, &logging::level_name(&environment));
    lambda_runtime::run(service_fn(async |event: LambdaEvent<Value>| {
        let (settings, check) = settings.as_ref().map_err(Clone::clone)?;
        let run = Run::<C, N> { check, settings, config, level, context: event.context };
        // The runtime logs an error, once.
        Box::pin(run.handle(event.payload)).await
    }))
    .await
}

/// Until when each part of a run has to be done, so that the response is in time.
struct Time {
    evaluated: Instant,
    named: Instant,
    published: Instant,
}

impl Time {
    fn until(start: Instant, left: Duration) -> Self {
        let for_the_end = (left / SHARE_FOR_THE_END).min(MOST_FOR_THE_END);
        let end = start + left;
        Self { evaluated: end - for_the_end, named: end - for_the_end / 2, published: end }
    }
}

/// One invocation.
struct Run<'a, C, const N: usize> {
    check: &'a C,
    settings: &'a Settings,
    config: &'a SdkConfig,
    level: &'a str,
    context: Context,
}

impl<C: Check<N>, const N: usize> Run<'_, C, N> {
    async fn handle(&self, event: Value) -> Result<Response, RunError> {
        let request = Request::parse(event, C::TAKES_AS_OF)?;
        let (now, clock) = read_clocks();
        for (message_id, error) in request.batch.iter().flat_map(|batch| &batch.malformed) {
            tracing::error!(message_id, %error, "a message of the batch is malformed");
        }
        let location = self.location();
        let options = request.options.as_ref();
        let judged_at = options.and_then(|options| options.as_of).unwrap_or(now);
        let verbose = options.is_some_and(|options| options.verbose);
        // Reports read better without fractions of seconds.
        let evaluated_at = Timestamp::from_second(judged_at.as_second()).unwrap_or(judged_at);
        let mut report = Report::new(C::FUNCTION, &location, evaluated_at, &C::CONTROLS, verbose);
        if let Some(options) = options {
            let time = Time::until(clock, self.time_left(now));
            let kms = Kms::new(self.config, self.settings.kms_quota_share);
            let (monitored, excluded) = (&self.settings.monitored_keys, &self.settings.excluded_keys);
            let inventory = Inventory::take(&kms, &location, options.keys.as_deref(), monitored, excluded, now);
            let inventory = timeout_at(time.evaluated, inventory)
                .await
                .unwrap_or_else(|_| Err(RunError::ListKeysFailed("the time of the invocation ran out".to_owned())))?;
            let scene = Scene {
                config: self.config,
                settings: self.settings,
                location: &location,
                inventory: &inventory,
                now: judged_at,
                until: time.evaluated,
            };
            let samples = self.evaluate(&kms, &scene, &mut report).await;
            name_by_aliases(&kms, time.named, &mut report).await;
            if let Some(digest) = Digest::of(&report, &location) {
                report.alerts.new = digest.new;
                if !options.dry_run {
                    alert::publish(self.config, &self.settings.topic_arn, &digest, &report, time.published).await?;
                    report.alerts.messages_published = 1;
                }
            }
            self.tell(&report, &kms, &samples, now, clock_now() - clock);
        }
        Ok(Response { report: report.for_response(), batch_item_failures: request.batch.map(|batch| batch.failures) })
    }

    /// Where this function runs. An emulator's function may have no real ARN: then the account is not known.
    fn location(&self) -> Location {
        Location::from_function_arn(&self.context.invoked_function_arn).unwrap_or_else(|| Location {
            partition: "aws".to_owned(),
            region: self.config.region().map_or("unknown", |region| region.as_ref()).to_owned(),
            account_id: "unknown".to_owned(),
        })
    }

    /// How long the run may take until its response has to be on its way.
    fn time_left(&self, now: Timestamp) -> Duration {
        let deadline = i64::try_from(self.context.deadline).unwrap_or(i64::MAX);
        let left = deadline.saturating_sub(now.as_millisecond());
        Duration::from_millis(u64::try_from(left).unwrap_or_default()).saturating_sub(FOR_THE_RESPONSE)
    }

    /// Judges the keys, many at a time, until all are judged or time runs short.
    async fn evaluate(&self, kms: &Kms, scene: &Scene<'_>, report: &mut Report) -> Vec<metrics::Samples> {
        let inventory = scene.inventory;
        let run = self.check.begin(scene).await;
        let judged = futures::stream::iter(inventory.candidates(scene.location))
            .map(|candidate| self.judge(&run, kms, candidate, scene.now))
            .buffer_unordered(KEYS_AT_A_TIME);
        let mut judged = pin!(judged);
        let mut reached = 0;
        let mut provisional = Vec::new();
        while let Ok(Some(result)) = timeout_at(scene.until, judged.next()).await {
            reached += 1;
            match result {
                Some((key, verdicts)) if C::is_provisional(&verdicts) => provisional.push((key, verdicts)),
                Some((key, verdicts)) => report.add(&key, C::CONTROLS, verdicts),
                None => {}
            }
        }
        self.finish(&run, kms, scene, provisional, report).await;
        report.keys_not_reached = inventory.count().saturating_sub(reached) as u64;
        report.complete = inventory.complete && report.keys_not_reached == 0;
        if report.keys_not_reached > 0 {
            tracing::warn!(keys_not_reached = report.keys_not_reached, "time ran short");
        }
        self.check.measured(&run)
    }

    /// Judges the keys again whose verdicts are provisional, as far as time allows.
    async fn finish(
        &self,
        run: &C::Run,
        kms: &Kms,
        scene: &Scene<'_>,
        provisional: Vec<(KeyIdentity, [Verdict; N])>,
        report: &mut Report,
    ) {
        let mut finished: BTreeMap<usize, [Verdict; N]> = BTreeMap::new();
        {
            let keys = futures::stream::iter(provisional.iter().enumerate())
                .map(async |(place, (key, verdicts))| {
                    (place, self.check.finish(run, kms, key, verdicts.clone(), scene.now).await)
                })
                .buffer_unordered(KEYS_AT_A_TIME);
            let mut keys = pin!(keys);
            while let Ok(Some((place, verdicts))) = timeout_at(scene.until, keys.next()).await {
                finished.insert(place, verdicts);
            }
        }
        for (place, (key, provisional)) in provisional.into_iter().enumerate() {
            let verdicts = finished.remove(&place).unwrap_or(provisional);
            if !(scene.inventory.lists(&key.id) && is_gone(&verdicts)) {
                report.add(&key, C::CONTROLS, verdicts);
            }
        }
    }

    /// The verdicts about one key; `None` if it was listed and is gone since.
    async fn judge(
        &self,
        run: &C::Run,
        kms: &Kms,
        candidate: Candidate,
        now: Timestamp,
    ) -> Option<(KeyIdentity, [Verdict; N])> {
        let Candidate { mut key, source } = candidate;
        let verdicts = match &source {
            Source::Settled(verdict) => verdict.for_all(),
            Source::Listed | Source::Named => match kms.describe_key(&key.id, &key.arn).await {
                Err(failure) => Verdict::from(&failure).for_all(),
                Ok(facts) => {
                    key.arn.clone_from(&facts.arn);
                    match settled_by_description(&facts) {
                        Some(verdict) => verdict.for_all(),
                        None => self.check.evaluate(run, kms, &facts, now).await,
                    }
                }
            },
        };
        let gone = source == Source::Listed && is_gone(&verdicts);
        (!gone).then_some((key, verdicts))
    }

    fn tell(&self, report: &Report, kms: &Kms, samples: &[metrics::Samples], now: Timestamp, took: Duration) {
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
            metrics::Measured { at: now, kms_calls: kms.calls(), kms_throttles: kms.throttles(), run_duration_ms };
        let samples = metrics::lines_of(samples, C::FUNCTION, now, self.level);
        for line in metrics::lines(report, measured, self.level).into_iter().chain(samples) {
            #[expect(clippy::print_stdout, reason = "Lambda takes metrics from standard output, as bare JSON lines")]
            {
                println!("{line}");
            }
        }
    }
}

fn is_gone(verdicts: &[Verdict]) -> bool {
    verdicts.iter().any(|verdict| verdict.reason == NOT_FOUND)
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

/// The one reading of the clocks: the instant that everything is judged for, and where the monotonic clock stands.
#[expect(clippy::disallowed_methods, reason = "the one edge where the clock is read")]
fn read_clocks() -> (Timestamp, Instant) {
    (Timestamp::now(), Instant::now())
}

/// Where the monotonic clock stands: for time left and time taken, never for a verdict.
#[expect(clippy::disallowed_methods, reason = "the monotonic half of the one edge")]
fn clock_now() -> Instant {
    Instant::now()
}
