//! Does a key's usage leave its own baseline; is a key unused?
//!
//! CloudWatch counts the successful requests of each key and operation. A run finds the series of all keys, reads their
//! hourly sums batch by batch, and keeps of each what the verdicts need. What CloudWatch does not answer is never taken
//! for "no usage". `GetKeyLastUsage` is asked last, for keys that CloudWatch does not show to be used: its quota is 5
//! requests a second for an account and Region.
//!
//! # Environment
//!
//! Beside the variables of [`shared`] (of which `KMS_QUOTA_SHARE` holds for CloudWatch's quotas too):
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `BASELINE_DAYS` | `28` | history that the baseline is learnt from (7–63) |
//! | `ANOMALY_THRESHOLD` | `0.9` | score from which usage is a finding (0–1) |
//! | `FIRST_USE_CALLS` | `2` | calls from which the first use of an operation or key after a silent baseline is a finding (1–1,000,000) |
//! | `UNUSED_AFTER_DAYS` | `90` | a key not used for so long is a finding |
//! | `MAX_DECRYPT_RATIO` | `10` | how many times its own usual decrypts per encryption a key may reach |
//! | `PROBE_KEYS` | empty | ARNs of keys that the health prober uses, beside those tagged `kms-compliance/probe` = `true` |

mod cloudwatch;
pub mod evaluate;
pub mod score;
pub mod usage;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;
use shared::domain::control::Control;
use shared::domain::evaluation::{Cause, Failure, Verdict};
use shared::domain::key::{Key, opts_in};
use shared::domain::location::Location;
use shared::domain::report::KeyIdentity;
use shared::kms::{Kms, Operation, timestamp, unreadable};
use shared::serve::{Check, Scene};
use shared::settings::{Environment, InvalidConfiguration, MOST_DAYS};

use cloudwatch::CloudWatch;
use evaluate::{
    CONTROLS, FIRST_USE, LastUsage, Policy, USAGE_NOT_ASKED, decrypt_ratio, probed, unused_by_description,
    unused_by_last_usage, unused_by_metrics, usage_anomaly,
};
use usage::{KeyUsage, OperationUsage, Points, Reading, Series, Span, key_id};

/// The function's check.
#[derive(Debug)]
pub struct UsageAnomalyScorer {
    baseline_days: i32,
    policy: Policy,
    probe_keys: BTreeSet<String>,
}

/// What one run has learnt from CloudWatch.
#[derive(Debug)]
pub struct Run {
    location: Location,
    span: Span,
    /// Why there may be more series than are known.
    unlisted: Option<Failure>,
    /// By key ID.
    operations: HashMap<String, Vec<OperationUsage>>,
}

impl Run {
    fn of_key(&self, key_id: &str) -> KeyUsage<'_> {
        let operations = self.operations.get(key_id).map(Vec::as_slice).unwrap_or_default();
        KeyUsage { unlisted: self.unlisted.as_ref(), operations, span: self.span, is_probed: false }
    }

    /// Takes in a series for each key that it is about.
    fn add(&mut self, series: &Arc<Series>, points: Result<Points, Arc<Failure>>) {
        let reading = match points.map(|points| Reading::of(series, points, self.span)) {
            Ok(Ok(reading)) => reading,
            Ok(Err(not_scorable)) => Reading::Unread(Arc::new(Failure {
                operation: "GetMetricData",
                cause: Cause::Unexpected,
                code: None,
                message: not_scorable.to_string(),
            })),
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

impl Check<3> for UsageAnomalyScorer {
    const FUNCTION: &'static str = "usage-anomaly-scorer";
    const CONTROLS: [&'static Control; 3] = CONTROLS;

    type Run = Run;

    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        let policy = Policy {
            anomaly_threshold: environment.decimal("ANOMALY_THRESHOLD", 0.9, 0.0..=1.0)?,
            first_use_calls: environment.number("FIRST_USE_CALLS", 2, 1..=1_000_000)?,
            unused_after_days: environment.number("UNUSED_AFTER_DAYS", 90, 1..=MOST_DAYS)?,
            max_decrypt_ratio: environment.decimal("MAX_DECRYPT_RATIO", 10.0, 1.0..=1_000_000.0)?,
        };
        Ok(Self {
            baseline_days: environment.number("BASELINE_DAYS", 28, 7..=63)?,
            policy,
            probe_keys: environment.key_arns("PROBE_KEYS")?,
        })
    }

    async fn begin(&self, scene: &Scene<'_>) -> Run {
        let cloudwatch = CloudWatch::new(scene.config, scene.settings.kms_quota_share);
        // A quarter of the time is for the keys themselves.
        let until = scene.start + (scene.until - scene.start) * 3 / 4;
        let discovery = cloudwatch.discover(|key| scene.inventory.looks_at(key), until).await;
        let mut run = Run {
            location: scene.location.clone(),
            span: Span::new(scene.now, self.baseline_days),
            unlisted: discovery.failure,
            operations: HashMap::new(),
        };
        let series = in_order(discovery.series, scene.inventory.first_listed());
        cloudwatch.read(&series, run.span, until, |series, points| run.add(series, points)).await;
        run
    }

    async fn evaluate(&self, run: &Run, kms: &Kms, key: &Key, now: Timestamp) -> [Verdict; 3] {
        let usage = KeyUsage { is_probed: self.probe_keys.contains(&key.arn), ..run.of_key(&key.id) };
        [
            self.usage_anomaly(usage, kms, key, &run.location).await,
            self.key_unused(usage, kms, key, now).await,
            decrypt_ratio(usage, key, self.policy),
        ]
    }

    fn is_provisional([_, key_unused, _]: &[Verdict; 3]) -> bool {
        key_unused.reason == USAGE_NOT_ASKED
    }

    async fn finish(
        &self,
        _: &Run,
        kms: &Kms,
        key: &KeyIdentity,
        [usage_anomaly, _, decrypt_ratio]: [Verdict; 3],
        now: Timestamp,
    ) -> [Verdict; 3] {
        let last = last_usage(kms, &key.id).await;
        [usage_anomaly, unused_by_last_usage(&last, self.policy, now), decrypt_ratio]
    }
}

impl UsageAnomalyScorer {
    /// Where the prober's own requests would make the difference, the key's tags tell whether it is probed.
    async fn usage_anomaly(&self, usage: KeyUsage<'_>, kms: &Kms, key: &Key, location: &Location) -> Verdict {
        let verdict = usage_anomaly(usage, key, self.policy, location);
        if verdict.reason != FIRST_USE || usage.is_probed {
            return verdict;
        }
        let if_probed = usage_anomaly(KeyUsage { is_probed: true, ..usage }, key, self.policy, location);
        if if_probed.reason == FIRST_USE {
            return verdict;
        }
        match kms.tags(&key.id).await {
            Err(failure) => (&failure).into(),
            Ok(tags) if opts_in(&tags) => if_probed,
            Ok(_) => verdict,
        }
    }

    async fn key_unused(&self, usage: KeyUsage<'_>, kms: &Kms, key: &Key, now: Timestamp) -> Verdict {
        if let Some(verdict) = unused_by_description(key, self.policy, now) {
            return verdict;
        }
        if self.probe_keys.contains(&key.arn) {
            return probed();
        }
        match kms.tags(&key.id).await {
            Err(failure) => (&failure).into(),
            Ok(tags) if opts_in(&tags) => probed(),
            Ok(_) => unused_by_metrics(usage, self.policy, now),
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
    const OPERATION: Operation = Operation::GetKeyLastUsage;
    let answer = kms.call(OPERATION, async |kms| kms.get_key_last_usage().key_id(key_id).send().await).await?;
    let Some(usage) = answer.key_last_usage else {
        return Err(unreadable(OPERATION, "the answer has no KeyLastUsage"));
    };
    match (usage.timestamp, usage.operation) {
        (Some(at), operation) => {
            let at = timestamp(&at).ok_or_else(|| unreadable(OPERATION, "the Timestamp is no date"))?;
            Ok(LastUsage::Used(at, operation.map(|operation| operation.as_str().to_owned())))
        }
        (None, Some(_)) => Err(unreadable(OPERATION, "the answer names an operation and no Timestamp")),
        (None, None) => {
            let since = answer.tracking_start_date.as_ref().and_then(timestamp);
            since.map(LastUsage::NotSince).ok_or_else(|| unreadable(OPERATION, "the answer has no TrackingStartDate"))
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
        let mut run = Run {
            location: Location {
                partition: "aws".into(),
                region: "us-east-1".into(),
                account_id: "123456789012".into(),
            },
            span: Span { from: 0, until: 28 * usage::DAY },
            unlisted: None,
            operations: HashMap::new(),
        };
        for it in
            [series("a", "Encrypt", None), series("b", "ReEncrypt", Some("a")), series("c", "ReEncrypt", Some("c"))]
        {
            run.add(&Arc::new(it), Ok(Points::default()));
        }
        let mut negative = Points::default();
        negative.add(run.span, 0, -1.0);
        run.add(&Arc::new(series("d", "Sign", None)), Ok(negative));
        for (key, operations, is_read) in
            [("a", 2, true), ("b", 1, true), ("c", 1, true), ("d", 1, false), ("e", 0, true)]
        {
            let usage = run.of_key(key);
            assert_eq!((usage.operations.len(), usage.unread().is_none()), (operations, is_read), "{key}");
        }
    }
}
