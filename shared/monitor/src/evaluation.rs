//! Judging the keys of a target: any number of checks over one inventory. It touches nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::future;
use std::pin::pin;
use std::time::Duration;

use aws::kms::Kms;
use domain::control::Control;
use domain::exemption::TAG_PREFIX;
use domain::failure::{Cause, Failure};
use domain::finding::KeyIdentity;
use domain::key::{EXCLUDE_TAG, Key, KeyManager, is_excluded};
use domain::ledger::Sightings;
use domain::location::KeyName;
use domain::report::{EvaluationLines, Report};
use domain::verdict::{Compliance, NOT_FOUND, Verdict, excluded, gone_after_event, settled_by_description};
use futures::future::{Either, LocalBoxFuture, OptionFuture, Shared, join_all, select};
use futures::stream::FuturesUnordered;
use futures::stream::select_all;
use futures::{FutureExt, Stream, StreamExt};
use jiff::Timestamp;
use outputs::metrics::Samples;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::check::{AnyCheck, BegunCheck, KeyTags, Outcome, RunContext};
use crate::deadlines::Deadlines;
use crate::error::RunError;
use crate::inventory::{Begin, Candidate, Inventory, Source};
use crate::observer::{Observer, Unobserved};
use crate::settings::EvaluationSettings;
use crate::target::Target;

/// Keys that a run looks at at the same time. The pace of the calls is set by the quotas; this many keep up with the whole
/// of `DescribeKey`'s 2,000 a second while an answer takes up to some 60 ms.
const KEYS_AT_A_TIME: usize = 128;

/// How long an evaluation that was stopped still asks for the names of the keys with a finding.
const FOR_NAMES_WHEN_STOPPED: Duration = Duration::from_secs(2);

/// Resolves when the evaluation is to end with what it has.
type Stopped<'a> = Shared<LocalBoxFuture<'a, ()>>;

/// The checks of a run, with what is set for all of them.
pub struct Monitor<'a> {
    /// Which keys there are to look at, and at which pace.
    pub settings: &'a EvaluationSettings,
    /// What is asked of them.
    pub checks: &'a [&'a dyn AnyCheck],
}

/// What is asked of an evaluation.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// Check these keys only; `None` = all.
    pub keys: Option<&'a [KeyName]>,
    /// Are the keys those of events about them? Then a key that does not exist is gone, not misnamed.
    pub is_of_key_events: bool,
    /// Where a run over all keys begins.
    pub begin: Begin<'a>,
    /// Instant that everything is judged for.
    pub judged_at: Timestamp,
    /// Does the report carry every evaluation?
    pub verbose: bool,
    /// ARNs of keys with an open finding.
    pub known: BTreeSet<String>,
    /// ARNs of keys that their tag excluded when it was last read.
    pub excluded: BTreeSet<String>,
}

/// What came of an evaluation.
#[derive(Debug)]
pub struct Evaluation {
    /// By check, in their order.
    pub checks: Vec<CheckEvaluation>,
    /// If it was to look at every key and did not come to all: ID of the one that the next evaluation should begin with.
    pub next_key: Option<String>,
    /// KMS requests sent, retries included.
    pub kms_calls: u64,
    /// KMS requests throttled.
    pub kms_throttles: u64,
}

/// What one check found.
#[derive(Debug)]
pub struct CheckEvaluation {
    /// Counts and findings.
    pub report: Report,
    /// What it saw of the keys that have an open finding.
    pub sightings: Sightings,
    /// What it measured.
    pub samples: Vec<Samples>,
}

/// What a run found out about one key.
struct EvaluatedKey {
    key: KeyIdentity,
    source: Source,
    /// By check.
    outcomes: Vec<Outcome<Vec<Verdict>>>,
    tags: ExemptingTags,
    is_excluded_by_tag: bool,
}

/// Provisional verdicts of one check about one key.
struct Provisional {
    check: usize,
    key: KeyIdentity,
    source: Source,
    verdicts: Vec<Verdict>,
    tags: ExemptingTags,
}

/// Values of the tags that exempt a key, by control. They are read for keys with a finding only.
type ExemptingTags = Option<Result<BTreeMap<String, String>, Failure>>;

/// How far a verdict says something about its key.
#[derive(Debug, PartialEq)]
enum Sighting {
    /// The key was looked at.
    Seen,
    /// The key was listed and is gone since.
    Gone,
    /// Something happened to the key, and it is gone since.
    GoneAfterEvent,
    /// The run was not to look at the key.
    NotSeen,
}

impl Sighting {
    fn of(source: &Source, verdicts: &[Verdict], is_of_key_events: bool) -> Self {
        let not_found = verdicts.iter().any(|verdict| verdict.reason == NOT_FOUND);
        match source {
            Source::OutOfScope(_) => Self::NotSeen,
            Source::Listed if not_found => Self::Gone,
            Source::Named if not_found && is_of_key_events => Self::GoneAfterEvent,
            _ => Self::Seen,
        }
    }
}

impl Monitor<'_> {
    /// Judges the keys of the target by all checks, until all are judged or time runs short.
    ///
    /// # Errors
    /// [`RunError::ListKeysFailed`]. Everything smaller is a verdict.
    pub async fn evaluate(
        &self,
        target: &Target,
        request: &Request<'_>,
        deadlines: &Deadlines,
    ) -> Result<Evaluation, RunError> {
        self.evaluate_observed(target, request, deadlines, &Unobserved).await
    }

    /// The same, followed by somebody who may end it early. Keys that it did not come to are not reached.
    ///
    /// # Errors
    /// [`RunError::ListKeysFailed`], also where it was stopped before it knew which keys there are.
    pub async fn evaluate_observed(
        &self,
        target: &Target,
        request: &Request<'_>,
        deadlines: &Deadlines,
        observer: &dyn Observer,
    ) -> Result<Evaluation, RunError> {
        let EvaluationSettings { quota_share, monitored_keys, excluded_keys, .. } = self.settings;
        let kms = Kms::new(&target.config, *quota_share);
        let location = &target.location;
        let inventory = Inventory::take(&kms, location, request.keys, monitored_keys, excluded_keys, request.begin);
        let inventory = async {
            let late = || Err(RunError::ListKeysFailed("the time of the invocation ran out".to_owned()));
            timeout_at(deadlines.evaluated, inventory).await.unwrap_or_else(|_| late())
        };
        let stopped = observer.stopped().shared();
        let Some(inventory) = unless(&stopped, inventory).await else {
            return Err(RunError::ListKeysFailed("the run was stopped".to_owned()));
        };
        let inventory = inventory?;
        observer.listed(inventory.count());
        let run =
            RunContext { target, settings: self.settings, inventory: &inventory, now: request.judged_at, deadlines };
        let lines = || request.verbose.then(|| EvaluationLines::with_room(observer.room_for_evaluations()));
        let new = |check: &&dyn AnyCheck| Evaluated::new(*check, target, request, lines());
        let mut evaluated = self.checks.iter().map(new).collect::<Vec<_>>();
        let begun = unless(&stopped, join_all(self.checks.iter().map(|check| check.begin(&run)))).await;
        // Without what the checks begin with, no key can be judged.
        let begun = begun.unwrap_or_default();
        let mut next_key = None;
        if begun.is_empty() {
            for it in &mut evaluated {
                it.end(&inventory, 0);
            }
        } else {
            let checks =
                Checks { begun: &begun, kms: &kms, request, settings: self.settings, observer, stopped: &stopped };
            next_key = checks.evaluate(&run, &mut evaluated).await;
            let naming = name_by_aliases(&kms, deadlines.named, &mut evaluated);
            if stopped.peek().is_none() {
                naming.await;
            } else if timeout(FOR_NAMES_WHEN_STOPPED, naming).await.is_err() {
                tracing::warn!("the findings go without aliases");
            }
        }
        let mut begun = begun.iter();
        let checks = evaluated.into_iter().map(|Evaluated { report, sightings, .. }| CheckEvaluation {
            report,
            sightings,
            samples: begun.next().map(|begun| begun.measured()).unwrap_or_default(),
        });
        let checks = checks.collect();
        Ok(Evaluation { checks, next_key, kms_calls: kms.calls().sent(), kms_throttles: kms.calls().throttled() })
    }
}

/// What one check has found so far.
struct Evaluated {
    controls: Vec<&'static Control>,
    report: Report,
    sightings: Sightings,
}

impl Evaluated {
    fn new(check: &dyn AnyCheck, target: &Target, request: &Request<'_>, lines: Option<EvaluationLines>) -> Self {
        let controls = check.controls();
        // Reports read better without fractions of seconds.
        let at = Timestamp::from_second(request.judged_at.as_second()).unwrap_or(request.judged_at);
        let report = Report::new(check.function(), &target.location, at, &controls, lines);
        Self { controls, report, sightings: Sightings::of(request.known.clone()) }
    }

    fn take(&mut self, key: &KeyIdentity, sighting: &Sighting, verdicts: Vec<Verdict>, tags: &ExemptingTags) {
        match sighting {
            Sighting::Gone => return self.sightings.gone(&key.arn),
            Sighting::GoneAfterEvent => self.sightings.gone_after_event(key),
            Sighting::Seen => self.sightings.saw(&key.arn, &self.controls, &verdicts),
            Sighting::NotSeen => {}
        }
        let tags = tags.as_ref().and_then(|tags| tags.as_ref().ok());
        self.report.add(key, &self.controls, verdicts, tags);
    }

    /// All keys are judged that the run came to.
    fn end(&mut self, inventory: &Inventory, reached: usize) {
        let not_reached = inventory.count().saturating_sub(reached) as u64;
        self.report.keys_not_reached = not_reached;
        self.report.complete = inventory.complete && not_reached == 0;
        if self.report.complete && inventory.of_every_key {
            self.sightings.saw_every_key();
        }
    }
}

/// The checks at work.
struct Checks<'a, 's> {
    begun: &'a [Box<dyn BegunCheck + 'a>],
    kms: &'a Kms,
    request: &'a Request<'a>,
    settings: &'a EvaluationSettings,
    observer: &'a dyn Observer,
    stopped: &'a Stopped<'s>,
}

impl<'a> Checks<'a, '_> {
    /// Judges the keys. ID of the listed key that the next evaluation should begin with, if not all were reached.
    async fn evaluate(&self, run: &RunContext<'_>, evaluated: &mut [Evaluated]) -> Option<String> {
        let inventory = run.inventory;
        let keys = inventory.candidates(&run.target.location).enumerate();
        let keys = keys.map(async |(place, candidate)| (place, self.evaluate_key(candidate).await));
        let keys = more_and_more_at_a_time(keys).take_until(self.stopped.clone());
        let mut keys = pin!(keys);
        let mut reached = 0;
        let mut progress = Progress::default();
        let mut tags_failed = FailedTags::default();
        let mut provisional = Vec::new();
        while let Ok(Some((place, key))) = timeout_at(run.deadlines.evaluated, keys.next()).await {
            reached += 1;
            progress.reached(place);
            let EvaluatedKey { key, source, outcomes, tags, is_excluded_by_tag } = key;
            tags_failed.note(&tags);
            self.observer.evaluated(&mut outcomes.iter().flat_map(Outcome::verdicts));
            if is_excluded_by_tag {
                for it in evaluated.iter_mut() {
                    it.sightings.excluded(&key);
                }
            }
            for (check, (outcome, evaluated)) in outcomes.into_iter().zip(evaluated.iter_mut()).enumerate() {
                match outcome {
                    Outcome::Final(verdicts) => {
                        let sighting = Sighting::of(&source, &verdicts, self.request.is_of_key_events);
                        evaluated.take(&key, &sighting, verdicts, &tags);
                    }
                    Outcome::Provisional(verdicts) => {
                        let (key, source, tags) = (key.clone(), source.clone(), tags.clone());
                        provisional.push(Provisional { check, key, source, verdicts, tags });
                    }
                }
            }
        }
        let mut finished = self.finish(&provisional, run.deadlines.evaluated).await;
        for (place, Provisional { check, key, source, verdicts, tags }) in provisional.into_iter().enumerate() {
            let (verdicts, tags) = finished.remove(&place).unwrap_or((verdicts, tags));
            let sighting = Sighting::of(&source, &verdicts, self.request.is_of_key_events);
            if let Some(evaluated) = evaluated.get_mut(check) {
                evaluated.take(&key, &sighting, verdicts, &tags);
            }
        }
        for it in evaluated.iter_mut() {
            it.end(inventory, reached);
        }
        let not_reached = inventory.count().saturating_sub(reached);
        if not_reached > 0 {
            tracing::warn!(keys_not_reached = not_reached, "time ran short");
        }
        tags_failed.warn();
        inventory.listed_at(progress.next_begin())
    }

    async fn evaluate_key(&self, candidate: Candidate) -> EvaluatedKey {
        let Candidate { mut key, source } = candidate;
        let key_id = key.id.clone();
        let tags = KeyTags::of(self.kms, &key_id);
        let mut is_excluded_by_tag = false;
        let outcomes = match &source {
            Source::Settled(verdict) | Source::OutOfScope(verdict) => self.all_say(verdict),
            Source::Listed | Source::Named => match self.kms.describe_key(&key.id, &key.arn).await {
                Err(failure) if self.is_gone_after_event(&source, &failure) => self.all_say(&gone_after_event()),
                Err(failure) => self.all_say(&Verdict::from(&failure)),
                Ok(facts) => {
                    key.arn.clone_from(&facts.arn);
                    is_excluded_by_tag = self.is_excluded(&facts, &tags).await;
                    if is_excluded_by_tag {
                        self.all_exclude(&facts)
                    } else if let Some(verdict) = settled_by_description(&facts) {
                        self.all_say(&verdict)
                    } else {
                        let now = self.request.judged_at;
                        join_all(self.begun.iter().map(|check| check.evaluate(self.kms, &facts, &tags, now))).await
                    }
                }
            },
        };
        let tags = exempting_tags(&tags, outcomes.iter().flat_map(Outcome::verdicts)).await;
        EvaluatedKey { key, source, outcomes, tags, is_excluded_by_tag }
    }

    /// Does its tag exclude the key? A tag that cannot be read stands as it was last read.
    async fn is_excluded(&self, key: &Key, tags: &KeyTags<'_>) -> bool {
        if !self.settings.allow_exclusion_by_tag || key.manager != Some(KeyManager::Customer) {
            return false;
        }
        tags.get().await.map_or_else(|_| self.request.excluded.contains(&key.arn), is_excluded)
    }

    fn is_gone_after_event(&self, source: &Source, failure: &Failure) -> bool {
        *source == Source::Named && self.request.is_of_key_events && failure.cause == Cause::NotFound
    }

    /// What is said of a key that its tag excludes.
    fn all_exclude(&self, key: &Key) -> Vec<Outcome<Vec<Verdict>>> {
        let excluded = excluded(&format!("its tag {EXCLUDE_TAG} is true"));
        self.begun.iter().map(|check| Outcome::Final(check.evaluate_excluded(key, &excluded))).collect()
    }

    /// The same verdict by every control of every check.
    fn all_say(&self, verdict: &Verdict) -> Vec<Outcome<Vec<Verdict>>> {
        self.begun.iter().map(|check| Outcome::Final(vec![verdict.clone(); check.control_count()])).collect()
    }

    /// Judges the keys again whose verdicts are provisional, as far as time allows; by their place among them. Each check
    /// asks at its own pace: the quota of one is a small part of another's.
    async fn finish(
        &self,
        provisional: &[Provisional],
        until: Instant,
    ) -> BTreeMap<usize, (Vec<Verdict>, ExemptingTags)> {
        self.observer.asks_last(provisional.len());
        let of_check = |number, check: &'a dyn BegunCheck| {
            let of_check = provisional.iter().enumerate().filter(move |(_, it)| it.check == number);
            futures::stream::iter(of_check)
                .map(async move |(place, Provisional { key, verdicts, tags, .. })| {
                    let verdicts = check.finish(self.kms, key, verdicts.clone(), self.request.judged_at).await;
                    let tags = match tags {
                        Some(tags) => Some(tags.clone()),
                        None => exempting_tags(&KeyTags::of(self.kms, &key.id), &verdicts).await,
                    };
                    (place, (verdicts, tags))
                })
                .buffer_unordered(KEYS_AT_A_TIME)
                .boxed_local()
        };
        let time_is_up = OptionFuture::from(self.observer.time_for_last_calls().map(sleep));
        let time_is_up = time_is_up.then(async |ended| {
            if ended.is_none() {
                future::pending::<()>().await;
            }
        });
        let keys = select_all(self.begun.iter().enumerate().map(|(number, check)| of_check(number, check.as_ref())));
        let keys = keys.take_until(self.stopped.clone()).take_until(time_is_up);
        let mut keys = pin!(keys);
        let mut finished = BTreeMap::new();
        while let Ok(Some((place, key))) = timeout_at(until, keys.next()).await {
            self.observer.asked_last();
            finished.insert(place, key);
        }
        finished
    }
}

/// Runs the futures, one more at a time for each that has ended: two at first, [`KEYS_AT_A_TIME`] at last. Each that has no
/// connection to use opens one, and a TLS handshake costs more CPU time than a call; few keys are done with few of them.
fn more_and_more_at_a_time<F: Future>(futures: impl Iterator<Item = F>) -> impl Stream<Item = F::Output> {
    let begin = (futures.fuse(), FuturesUnordered::new(), 2_usize);
    futures::stream::unfold(begin, async |(mut futures, mut under_way, at_a_time)| {
        under_way.extend(futures.by_ref().take(at_a_time.saturating_sub(under_way.len())));
        let output = under_way.next().await?;
        Some((output, (futures, under_way, KEYS_AT_A_TIME.min(at_a_time + 1))))
    })
}

/// What the future gives, unless the evaluation is stopped before.
async fn unless<T>(stopped: &Stopped<'_>, future: impl Future<Output = T>) -> Option<T> {
    match select(pin!(future), stopped.clone()).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// The values of the tags that exempt a key, if it has a finding.
async fn exempting_tags(tags: &KeyTags<'_>, verdicts: impl IntoIterator<Item = &Verdict>) -> ExemptingTags {
    let has_finding = verdicts.into_iter().any(|verdict| verdict.compliance == Compliance::NonCompliant);
    // What was read once is kept: a finding may come at the end.
    if !has_finding && !tags.is_read() {
        return None;
    }
    let exempting =
        |(name, value): (&String, &String)| Some((name.strip_prefix(TAG_PREFIX)?.to_owned(), value.clone()));
    Some(tags.get().await.map(|tags| tags.iter().filter_map(exempting).collect()).map_err(Clone::clone))
}

/// How far an evaluation has come in its order. Keys under way end in any order.
#[derive(Debug, Default)]
struct Progress {
    /// All places before this one are reached.
    first_open: usize,
    /// Places behind it that are reached.
    ahead: BTreeSet<usize>,
}

impl Progress {
    fn reached(&mut self, place: usize) {
        self.ahead.insert(place);
        while self.ahead.remove(&self.first_open) {
            self.first_open += 1;
        }
    }

    /// Where the next evaluation should begin: with the first key that this one did not reach. A key that is never reached
    /// in time must not keep the others from their turn: if this evaluation began with it, the next one goes on behind
    /// those that were reached.
    fn next_begin(&self) -> usize {
        if self.first_open == 0 { self.ahead.len() } else { self.first_open }
    }
}

/// Keys whose tags could not be read: how many, and why the last of them.
#[derive(Default)]
struct FailedTags {
    keys: u64,
    last: Option<Failure>,
}

impl FailedTags {
    fn note(&mut self, tags: &ExemptingTags) {
        if let Some(Err(failure)) = tags {
            self.keys += 1;
            self.last = Some(failure.clone());
        }
    }

    fn warn(&self) {
        if let Some(failure) = &self.last {
            let keys = self.keys;
            tracing::warn!(keys, %failure, "exemptions could not be read: they stand as they were last read");
        }
    }
}

/// Names the findings' keys by their aliases. Without an answer they go by their ARN.
async fn name_by_aliases(kms: &Kms, until: Instant, evaluated: &mut [Evaluated]) {
    let findings = evaluated.iter().flat_map(|it| &it.report.findings);
    let keys: BTreeSet<&str> = findings.map(|finding| finding.key_id.as_str()).collect();
    let mut aliases = BTreeMap::new();
    if !keys.is_empty() {
        match timeout_at(until, kms.aliases_of(&keys)).await {
            Ok(Ok(found)) => aliases = found,
            Ok(Err(failure)) => tracing::warn!(%failure, "the findings go without aliases"),
            Err(_) => tracing::warn!("time ran short: the findings go without aliases"),
        }
    }
    for Evaluated { report, .. } in evaluated {
        report.close(&aliases);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_evaluation_begins_with_the_first_key_that_was_not_reached() {
        for (reached, next) in [(&[][..], 0), (&[0, 1, 2], 3), (&[2, 0, 1], 3), (&[0, 2, 3], 1), (&[1, 2, 3], 3)] {
            let mut progress = Progress::default();
            for place in reached {
                progress.reached(*place);
            }
            assert_eq!(progress.next_begin(), next, "{reached:?}");
        }
    }
}
