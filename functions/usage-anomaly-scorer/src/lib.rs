//! Does a key's usage leave its own baseline; is a key unused?
//!
//! CloudWatch counts the successful requests of each key and operation. A run finds the series of all keys, reads their
//! hourly sums batch by batch, and keeps of each what the verdicts need. What CloudWatch does not answer is never taken
//! for "no usage". `GetKeyLastUsage` is asked last, for keys that CloudWatch does not show to be used: its quota is 5
//! requests a second for an account and Region.

mod cloudwatch;
pub mod controls;
pub mod score;
pub mod usage;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use aws::kms::Kms;
use aws::operation::{GET_KEY_LAST_USAGE, GET_METRIC_DATA};
use aws::timestamp;
use domain::control::Control;
use domain::failure::Failure;
use domain::finding::KeyIdentity;
use domain::key::{Key, opts_in};
use domain::location::Location;
use domain::verdict::Verdict;
use jiff::Timestamp;
use monitor::check::{Check, KeyTags, Outcome, RunContext};
use monitor::settings::{Environment, InvalidConfiguration, MAX_DAYS, Number, PROBE_KEYS, Setting};

use cloudwatch::CloudWatch;
use controls::{
    CONTROLS, FIRST_USE, LastUsage, Thresholds, Unused, decrypt_ratio, probed, unused_by_description,
    unused_by_last_usage, unused_by_metrics, usage_anomaly,
};
use usage::{KeyActivity, OperationUsage, Points, Reading, Series, Span, key_id};

static BASELINE_DAYS: Number<i32> =
    Number { name: "BASELINE_DAYS", default: 28, allowed: 7..=63, meaning: "history that the baseline is learnt from" };

static ANOMALY_THRESHOLD: Number<f64> = Number {
    name: "ANOMALY_THRESHOLD",
    default: 0.9,
    allowed: 0.0..=1.0,
    meaning: "score from which usage is a finding",
};

static FIRST_USE_CALLS: Number<i32> = Number {
    name: "FIRST_USE_CALLS",
    default: 2,
    allowed: 1..=1_000_000,
    meaning: "calls from which the first use of an operation or key after a silent baseline is a finding",
};

static UNUSED_AFTER_DAYS: Number<i32> = Number {
    name: "UNUSED_AFTER_DAYS",
    default: 90,
    allowed: 1..=MAX_DAYS,
    meaning: "a key not used for so long is a finding",
};

static MAX_DECRYPT_RATIO: Number<f64> = Number {
    name: "MAX_DECRYPT_RATIO",
    default: 10.0,
    allowed: 1.0..=1_000_000.0,
    meaning: "how many times its own usual decrypts per encryption a key may reach",
};

/// The function's check.
#[derive(Debug)]
pub struct UsageAnomalyScorer {
    baseline_days: i32,
    thresholds: Thresholds,
    probe_keys: BTreeSet<String>,
}

/// What one run has learnt from CloudWatch.
#[derive(Debug)]
pub struct Context {
    location: Location,
    /// Are the keys those of the monitor's own account? The prober uses no others.
    may_be_probed: bool,
    span: Span,
    /// Why there may be more series than are known.
    unlisted: Option<Failure>,
    /// By key ID.
    operations: HashMap<String, Vec<OperationUsage>>,
}

impl Context {
    fn of_key(&self, key_id: &str) -> KeyActivity<'_> {
        let operations = self.operations.get(key_id).map(Vec::as_slice).unwrap_or_default();
        KeyActivity { unlisted: self.unlisted.as_ref(), operations, span: self.span, is_probed: false }
    }

    /// Takes in a series for each key that it is about.
    fn add(&mut self, series: &Arc<Series>, points: Result<Points, Arc<Failure>>) {
        let reading = match points.map(|points| Reading::of(series, points, self.span)) {
            Ok(Ok(reading)) => reading,
            Ok(Err(not_scorable)) => Reading::Unread(Arc::new(GET_METRIC_DATA.unreadable(&not_scorable.to_string()))),
            Err(failure) => Reading::Unread(failure),
        };
        let keys: BTreeSet<&str> = [Some(&series.key_arn), series.source_key_arn.as_ref()]
            .into_iter()
            .flatten()
            .map(|arn| key_id(arn))
            .collect();
        for key in keys {
            let usage = OperationUsage { series: Arc::clone(series), reading: reading.clone() };
            self.operations.entry(key.to_owned()).or_default().push(usage);
        }
    }
}

impl Check for UsageAnomalyScorer {
    const FUNCTION: &'static str = "usage-anomaly-scorer";
    const CONTROLS: [&'static Control; 3] = CONTROLS;
    const SETTINGS: &'static [&'static dyn Setting] =
        &[&BASELINE_DAYS, &ANOMALY_THRESHOLD, &FIRST_USE_CALLS, &UNUSED_AFTER_DAYS, &MAX_DECRYPT_RATIO, &PROBE_KEYS];

    type Verdicts = [Verdict; 3];
    type Context = Context;

    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        let thresholds = Thresholds {
            anomaly_threshold: ANOMALY_THRESHOLD.read(environment)?,
            first_use_calls: FIRST_USE_CALLS.read(environment)?,
            unused_after_days: UNUSED_AFTER_DAYS.read(environment)?,
            max_decrypt_ratio: MAX_DECRYPT_RATIO.read(environment)?,
        };
        Ok(Self {
            baseline_days: BASELINE_DAYS.read(environment)?,
            thresholds,
            probe_keys: PROBE_KEYS.read(environment)?,
        })
    }

    async fn begin(&self, run: &RunContext<'_>) -> Context {
        let cloudwatch = CloudWatch::new(&run.target.config, run.settings.quota_share);
        // A quarter of the time is for the keys themselves.
        let until = run.deadlines.start + (run.deadlines.evaluated - run.deadlines.start) * 3 / 4;
        let discovery = cloudwatch.discover(|key| run.inventory.looks_at(key), until).await;
        let mut context = Context {
            location: run.target.location.clone(),
            may_be_probed: run.target.is_in_home_account,
            span: Span::new(run.now, self.baseline_days),
            unlisted: discovery.failure,
            operations: HashMap::new(),
        };
        let series = in_order(discovery.series, run.inventory.first_listed().as_deref());
        cloudwatch.read(&series, context.span, until, |series, points| context.add(series, points)).await;
        context
    }

    async fn evaluate(
        &self,
        context: &Context,
        _: &Kms,
        key: &Key,
        tags: &KeyTags<'_>,
        now: Timestamp,
    ) -> Outcome<[Verdict; 3]> {
        let is_probed = context.may_be_probed && self.probe_keys.contains(&key.arn);
        let usage = KeyActivity { is_probed, ..context.of_key(&key.id) };
        let anomaly = self.usage_anomaly(usage, key, tags, context).await;
        let ratio = decrypt_ratio(usage, key, self.thresholds);
        match self.key_unused(usage, key, tags, context, now).await {
            Unused::Settled(unused) => Outcome::Final([anomaly, unused, ratio]),
            Unused::DependsOnLastUsage(not_asked) => Outcome::Provisional([anomaly, not_asked, ratio]),
        }
    }

    async fn finish(
        &self,
        _: &Context,
        kms: &Kms,
        key: &KeyIdentity,
        [usage_anomaly, _, decrypt_ratio]: [Verdict; 3],
        now: Timestamp,
    ) -> [Verdict; 3] {
        let last = last_usage(kms, &key.id).await;
        [usage_anomaly, unused_by_last_usage(&last, self.thresholds, now), decrypt_ratio]
    }
}

impl UsageAnomalyScorer {
    /// Where the prober's own requests would make the difference, the key's tags tell whether it is probed.
    async fn usage_anomaly(
        &self,
        usage: KeyActivity<'_>,
        key: &Key,
        tags: &KeyTags<'_>,
        Context { location, may_be_probed, .. }: &Context,
    ) -> Verdict {
        let verdict = usage_anomaly(usage, key, self.thresholds, location);
        if verdict.reason != FIRST_USE || usage.is_probed || !may_be_probed {
            return verdict;
        }
        let if_probed = usage_anomaly(KeyActivity { is_probed: true, ..usage }, key, self.thresholds, location);
        if if_probed.reason == FIRST_USE {
            return verdict;
        }
        match tags.get().await {
            Err(failure) => failure.into(),
            Ok(tags) if opts_in(tags) => if_probed,
            Ok(_) => verdict,
        }
    }

    async fn key_unused(
        &self,
        usage: KeyActivity<'_>,
        key: &Key,
        tags: &KeyTags<'_>,
        context: &Context,
        now: Timestamp,
    ) -> Unused {
        if let Some(verdict) = unused_by_description(key, self.thresholds, now) {
            return Unused::Settled(verdict);
        }
        if usage.is_probed {
            return Unused::Settled(probed());
        }
        if !context.may_be_probed {
            return unused_by_metrics(usage, self.thresholds, now);
        }
        match tags.get().await {
            Err(failure) => Unused::Settled(failure.into()),
            Ok(tags) if opts_in(tags) => Unused::Settled(probed()),
            Ok(_) => unused_by_metrics(usage, self.thresholds, now),
        }
    }
}

/// In the order in which the run will take the keys, so that what time does not reach is the same here and there.
fn in_order(mut series: Vec<Series>, first_key: Option<&str>) -> Vec<Arc<Series>> {
    series.sort_by(|a, b| (key_id(&a.key_arn), a).cmp(&(key_id(&b.key_arn), b)));
    series.dedup();
    let start = first_key.map_or(0, |first| series.partition_point(|it| key_id(&it.key_arn) < first));
    series.rotate_left(start);
    series.into_iter().map(Arc::new).collect()
}

/// Asks when a key was last used.
async fn last_usage(kms: &Kms, key_id: &str) -> Result<LastUsage, Failure> {
    let answer = kms.call(GET_KEY_LAST_USAGE, async |kms| kms.get_key_last_usage().key_id(key_id).send().await).await?;
    let Some(usage) = answer.key_last_usage else {
        return Err(GET_KEY_LAST_USAGE.unreadable("the answer has no KeyLastUsage"));
    };
    match (usage.timestamp, usage.operation) {
        (Some(at), operation) => {
            let at = timestamp(&at).ok_or_else(|| GET_KEY_LAST_USAGE.unreadable("the Timestamp is no date"))?;
            Ok(LastUsage::Used(at, operation.map(|operation| operation.as_str().to_owned())))
        }
        (None, Some(_)) => Err(GET_KEY_LAST_USAGE.unreadable("the answer names an operation and no Timestamp")),
        (None, None) => {
            let since = answer.tracking_start_date.as_ref().and_then(timestamp);
            since
                .map(LastUsage::NotSince)
                .ok_or_else(|| GET_KEY_LAST_USAGE.unreadable("the answer has no TrackingStartDate"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(key: &str, operation: &str, source: Option<&str>) -> Series {
        let arn = |id: &str| format!("arn:aws:kms:us-east-1:123456789012:key/{id}");
        Series { key_arn: arn(key), operation: operation.into(), source_key_arn: source.map(arn) }
    }

    #[test]
    fn series_are_read_in_the_order_of_the_keys() {
        let mixed =
            || vec![series("c", "Sign", None), series("a", "Encrypt", None), series("b", "ReEncrypt", Some("a"))];
        for (first, expected) in [
            (None, ["a", "b", "c"]),
            (Some("a"), ["a", "b", "c"]),
            (Some("b"), ["b", "c", "a"]),
            // A key without a series, and one behind all that have one.
            (Some("bb"), ["c", "a", "b"]),
            (Some("d"), ["a", "b", "c"]),
        ] {
            let order = in_order(mixed(), first);
            assert_eq!(order.iter().map(|it| key_id(&it.key_arn)).collect::<Vec<_>>(), expected, "{first:?}");
        }
        assert_eq!(in_order([mixed(), mixed()].concat(), Some("b")).len(), 3);
        assert!(in_order(Vec::new(), Some("a")).is_empty());
    }

    #[test]
    fn a_series_is_known_of_each_key_that_it_is_about() {
        let mut context = Context {
            location: Location {
                partition: "aws".into(),
                region: "us-east-1".into(),
                account_id: "123456789012".into(),
            },
            may_be_probed: true,
            span: Span { from: 0, until: 28 * usage::DAY },
            unlisted: None,
            operations: HashMap::new(),
        };
        for it in
            [series("a", "Encrypt", None), series("b", "ReEncrypt", Some("a")), series("c", "ReEncrypt", Some("c"))]
        {
            context.add(&Arc::new(it), Ok(Points::default()));
        }
        let mut negative = Points::default();
        negative.add(context.span, 0, -1.0);
        context.add(&Arc::new(series("d", "Sign", None)), Ok(negative));
        for (key, operations, is_read) in
            [("a", 2, true), ("b", 1, true), ("c", 1, true), ("d", 1, false), ("e", 0, true)]
        {
            let usage = context.of_key(key);
            assert_eq!((usage.operations.len(), usage.unread().is_none()), (operations, is_read), "{key}");
        }
    }
}
