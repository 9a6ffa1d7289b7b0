//! What is known of a key's usage: series of hourly counts, one for each of its operations. Pure.

use std::sync::Arc;

use domain::failure::Failure;
use jiff::Timestamp;

use crate::score::{LEAD_SECONDS, LEARNING_SECONDS, NotScorable, ScoredHour, UNUSUAL, score_counts};

/// Seconds of an hour.
pub const HOUR: i64 = 3_600;

/// A count that is no smaller cannot be scored.
const MAX: f64 = 1e100;

/// What the health prober may ask of each of its operations in a day: the daily run's request, and that of a run on an
/// event of the key.
const PROBES_A_DAY: f64 = 2.0;

/// Seconds of a day.
pub const DAY: i64 = 24 * HOUR;

/// The time that a run looks at, in whole hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first hour's beginning, in seconds since 1970 (UTC).
    pub from: i64,
    /// The end of its last complete hour, in seconds since 1970 (UTC).
    pub until: i64,
}

impl Span {
    /// Up to the last complete hour: the day that is judged, and a baseline of n days before it.
    pub fn new(now: Timestamp, baseline_days: i32) -> Self {
        let until = now.as_second().div_euclid(HOUR) * HOUR;
        Self { from: until - i64::from(baseline_days) * DAY - LEAD_SECONDS, until }
    }

    /// The part of it in which a key of that age existed.
    fn since(self, created_at: Timestamp) -> Self {
        Self { from: self.from.max(created_at.as_second().div_euclid(HOUR) * HOUR).min(self.until), ..self }
    }

    fn learns(self) -> bool {
        self.until - self.from < LEARNING_SECONDS
    }

    /// The days of the baseline: those before the judged day, without the first, which fills the longest window.
    pub fn baseline_days(self) -> i64 {
        (self.until - self.from - LEAD_SECONDS) / DAY
    }

    fn days(self) -> usize {
        usize::try_from((self.until - self.from) / DAY).unwrap_or_default()
    }
}

/// Whose requests a series counts: one operation's with one key, or re-encryptions from one key to another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// ARN of the key; of re-encryptions, the key that they encrypt to.
    pub key_arn: String,
    /// Name of the KMS operation.
    pub operation: Arc<str>,
    /// Of re-encryptions, ARN of the key that they decrypt with.
    pub source_key_arn: Option<String>,
}

/// The key ID in a key ARN.
pub fn key_id(arn: &str) -> &str {
    arn.rsplit_once('/').map_or(arn, |(_, id)| id)
}

/// The hours of a span that have a datapoint, and their counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Points {
    hours: Vec<u16>,
    counts: Vec<f64>,
}

impl Points {
    /// Takes in the count of the hour that begins at that second. One that lies outside of the span is left out.
    pub fn add(&mut self, span: Span, at: i64, count: f64) {
        if (span.from..span.until).contains(&at)
            && let Ok(hour) = u16::try_from((at - span.from) / HOUR)
        {
            self.hours.push(hour);
            self.counts.push(count);
        }
    }

    fn iter(&self, span: Span) -> impl Iterator<Item = (i64, f64)> {
        self.hours.iter().zip(&self.counts).map(move |(hour, count)| (span.from + i64::from(*hour) * HOUR, *count))
    }
}

/// What is known of one series.
#[derive(Clone, Debug)]
pub struct OperationUsage {
    /// The series.
    pub series: Arc<Series>,
    /// What was read of it.
    pub reading: Reading,
}

/// What was read of a series.
#[derive(Clone, Debug)]
pub enum Reading {
    /// Nothing.
    Unread(Arc<Failure>),
    /// Everything.
    Read {
        /// The scores.
        scores: Scores,
        /// The sum of each day, the last day first; of operations that make up the decrypt ratio.
        daily: Vec<f64>,
        /// The sum of the last day, of every operation.
        last_day: f64,
        /// When the first and the last hour with requests began, in seconds since 1970 (UTC).
        used: Option<(i64, i64)>,
    },
}

/// How far the last 24 hours leave what was usual before.
#[derive(Clone, Debug)]
pub enum Scores {
    /// The worst hour. The key existed when the span began.
    Worst(Option<ScoredHour>),
    /// The first datapoint is more than a day into the span. If the key is younger than the span, that is no sleep: the
    /// score depends on when the key was created.
    DependOnCreation(Points),
}

impl Reading {
    /// Reduces a series to what verdicts need of it.
    ///
    /// # Errors
    /// A count is no count.
    pub fn of(series: &Series, points: Points, span: Span) -> Result<Self, NotScorable> {
        if let Some(count) = points.counts.iter().find(|count| !(0.0..MAX).contains(*count)) {
            return Err(NotScorable(*count));
        }
        let mut daily = Vec::new();
        if series.role() != Role::Other {
            daily = vec![0.0; span.days()];
            for (at, count) in points.iter(span) {
                let day = usize::try_from((span.until - 1 - at) / DAY).ok();
                if let Some(sum) = day.and_then(|day| daily.get_mut(day)) {
                    *sum += count;
                }
            }
        }
        let last_day = points.iter(span).filter(|(at, _)| *at >= span.until - DAY).map(|(_, count)| count).sum();
        let used = points.iter(span).filter(|(_, count)| *count > 0.0).map(|(at, _)| at);
        let used = used.fold(None, |used: Option<(i64, i64)>, at| {
            Some(used.map_or((at, at), |(first, last)| (first.min(at), last.max(at))))
        });
        let existed = used.is_some_and(|(first, _)| first - span.from <= DAY);
        let scores =
            if existed { Scores::Worst(worst(&points, span, span)?) } else { Scores::DependOnCreation(points) };
        Ok(Self::Read { scores, daily, last_day, used })
    }
}

/// The worst of the last 24 hours; none while there is too little history to judge them by.
fn worst(points: &Points, span: Span, existed: Span) -> Result<Option<ScoredHour>, NotScorable> {
    let points: Vec<(i64, f64)> = points.iter(span).collect();
    let hours = score_counts(&points, existed.from, existed.until)?;
    let believable = hours.into_iter().filter(|hour| !hour.score.learning);
    // An hour that is unusual by itself says more than hours that are so together.
    let rank = |hour: &ScoredHour| (hour.score.window == 1 && hour.score.score >= UNUSUAL, hour.score.score);
    Ok(believable.reduce(|worst, hour| if rank(&hour) > rank(&worst) { hour } else { worst }))
}

/// What a series means to the decrypt ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Decrypts,
    Encrypts,
    Other,
}

impl Series {
    /// Whether the health prober uses this operation.
    fn is_probed_with(&self) -> bool {
        matches!(&*self.operation, "Encrypt" | "Decrypt" | "Sign" | "Verify" | "GenerateMac" | "VerifyMac")
    }

    fn role(&self) -> Role {
        match &*self.operation {
            "Decrypt" => Role::Decrypts,
            "Encrypt" | "ReEncrypt" => Role::Encrypts,
            operation if operation.starts_with("GenerateDataKey") => Role::Encrypts,
            _ => Role::Other,
        }
    }
}

/// What is known of the usage of one key.
#[derive(Clone, Copy, Debug)]
pub struct KeyActivity<'a> {
    /// Why it is not known which series there are, if so.
    pub unlisted: Option<&'a Failure>,
    /// The series that are known.
    pub operations: &'a [OperationUsage],
    /// What the run looks at.
    pub span: Span,
    /// The health prober uses the key, too.
    pub is_probed: bool,
}

/// Requests of operations that were silent through the whole baseline.
#[derive(Clone, Debug)]
pub struct FirstUse<'a> {
    /// The operations and their requests in the judged day, most requests first.
    pub operations: Vec<(&'a Series, f64)>,
    /// When the first hour with such requests began, in seconds since 1970 (UTC).
    pub since: i64,
}

impl FirstUse<'_> {
    /// The requests of all these operations.
    pub fn calls(&self) -> f64 {
        self.operations.iter().map(|(_, calls)| calls).sum()
    }
}

/// A series' worst hour.
#[derive(Clone, Copy, Debug)]
pub struct Worst<'a> {
    /// The series.
    pub series: &'a Series,
    /// The hour.
    pub hour: ScoredHour,
}

impl<'a> KeyActivity<'a> {
    /// Why something is not known.
    pub fn unread(&self) -> Option<&'a Failure> {
        let unread = |it: &'a OperationUsage| match &it.reading {
            Reading::Unread(failure) => Some(&**failure),
            Reading::Read { .. } => None,
        };
        self.unlisted.or_else(|| self.operations.iter().find_map(unread))
    }

    /// Has the key existed for too short a time to know what is usual?
    pub fn learns(&self, created_at: Timestamp) -> bool {
        self.existence(created_at).learns()
    }

    /// The part of the span in which the key existed: since its creation, or since its first use, should that be earlier.
    fn existence(&self, created_at: Timestamp) -> Span {
        let first = self.used().map(|(first, _)| first).min();
        let first = first.and_then(|first| Timestamp::from_second(first).ok());
        self.span.since(first.map_or(created_at, |first| first.min(created_at)))
    }

    /// When the first and the last hour with requests began, of each series that was read.
    fn used(&self) -> impl Iterator<Item = (i64, i64)> {
        self.operations.iter().filter_map(|it| match &it.reading {
            Reading::Read { used, .. } => *used,
            Reading::Unread(_) => None,
        })
    }

    /// The worst hour of each series that was read, the worst series first.
    pub fn worst(&self, created_at: Timestamp) -> Vec<Worst<'a>> {
        let existence = self.existence(created_at);
        let of = |it: &'a OperationUsage| {
            let Reading::Read { scores, .. } = &it.reading else { return None };
            let hour = match scores {
                Scores::Worst(hour) => *hour,
                // What is no count has been refused.
                Scores::DependOnCreation(points) => worst(points, self.span, existence).unwrap_or_default(),
            };
            Some(Worst { series: &it.series, hour: hour? })
        };
        let mut worst: Vec<_> = self.operations.iter().filter_map(of).collect();
        worst.sort_by(|a, b| b.hour.score.score.total_cmp(&a.hour.score.score));
        worst
    }

    /// What the key was used for in the judged day, and never before in a whole baseline. None where there is nothing of
    /// that kind, or where the key is too young to know.
    pub fn first_use(&self, created_at: Timestamp) -> Option<FirstUse<'a>> {
        let judged = self.span.until - DAY;
        // The first day of the span only fills the longest window.
        if self.existence(created_at).from > self.span.from + DAY {
            return None;
        }
        let mut since = i64::MAX;
        let mut of = |it: &'a OperationUsage| match &it.reading {
            Reading::Read { last_day, used: Some((first, _)), .. } if *first >= judged => {
                let probes = if self.is_probed && it.series.is_probed_with() { PROBES_A_DAY } else { 0.0 };
                let calls = last_day - probes;
                (calls > 0.0).then(|| {
                    since = since.min(*first);
                    (&*it.series, calls)
                })
            }
            _ => None,
        };
        let mut operations: Vec<_> = self.operations.iter().filter_map(&mut of).collect();
        operations.sort_by(|a, b| b.1.total_cmp(&a.1));
        (!operations.is_empty()).then_some(FirstUse { operations, since })
    }

    /// When the last hour with requests began.
    pub fn last_used(&self) -> Option<Timestamp> {
        let last = self.used().map(|(_, last)| last).max();
        last.and_then(|last| Timestamp::from_second(last).ok())
    }

    /// Decrypts and encryptions of each whole day since the key was created, the last day first. `arn` is the key's.
    pub fn by_day(&self, arn: &str, created_at: Timestamp) -> Vec<(f64, f64)> {
        let mut days = vec![(0.0, 0.0); self.existence(created_at).days()];
        for OperationUsage { series, reading } in self.operations {
            let Reading::Read { daily, .. } = reading else { continue };
            for ((decrypts, encryptions), count) in days.iter_mut().zip(daily) {
                match series.role() {
                    Role::Decrypts => *decrypts += count,
                    // Re-encrypting from the key encrypts nothing with it.
                    Role::Encrypts if series.key_arn == arn => *encryptions += count,
                    Role::Encrypts | Role::Other => {}
                }
            }
        }
        days
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/k";

    fn at(instant: &str) -> Timestamp {
        instant.parse().unwrap()
    }

    fn span() -> Span {
        Span::new(at("2026-11-23T06:59:59Z"), 28)
    }

    fn operation(operation: &str, points: Points) -> OperationUsage {
        let series = Series { key_arn: ARN.into(), operation: operation.into(), source_key_arn: None };
        let reading = Reading::of(&series, points, span()).unwrap();
        OperationUsage { series: Arc::new(series), reading }
    }

    /// The count of each hour, by how many hours ago it ended.
    fn points(count: impl Fn(i64) -> Option<f64>) -> Points {
        let mut points = Points::default();
        for ago in (0..30 * 24).rev() {
            if let Some(count) = count(ago) {
                points.add(span(), span().until - (ago + 1) * HOUR, count);
            }
        }
        points
    }

    fn of(operations: &[OperationUsage]) -> KeyActivity<'_> {
        KeyActivity { unlisted: None, operations, span: span(), is_probed: false }
    }

    #[test]
    fn a_span_is_made_of_whole_hours() {
        let Span { from, until } = span();
        assert_eq!(until, at("2026-11-23T06:00:00Z").as_second());
        assert_eq!(from, at("2026-10-24T06:00:00Z").as_second());
        assert_eq!(span().since(at("2026-11-20T08:30:00Z")).from, at("2026-11-20T08:00:00Z").as_second());
        assert_eq!(span().since(at("2020-01-01T00:00:00Z")), span());
        assert_eq!(span().since(at("2027-01-01T00:00:00Z")).days(), 0);
    }

    #[test]
    fn points_outside_of_the_span_are_left_out() {
        let mut points = Points::default();
        let Span { from, until } = span();
        for at in [from - 1, from, from + 90, until - 1, until] {
            points.add(span(), at, 1.0);
        }
        assert_eq!(points.iter(span()).map(|(at, _)| at).collect::<Vec<_>>(), [from, from, until - HOUR]);
    }

    #[test]
    fn days_count_back_from_the_last_complete_hour() {
        let decrypts = operation("Decrypt", points(|ago| Some(if ago < 24 { 2.0 } else { 1.0 })));
        let encrypts = operation("Encrypt", points(|ago| (ago == 23 || ago == 24).then_some(5.0)));
        let operations = [decrypts, encrypts];
        let usage = of(&operations);
        let days = usage.by_day(ARN, at("2020-01-01T00:00:00Z"));
        assert_eq!(days.len(), 30);
        assert_eq!(days[..3], [(48.0, 5.0), (24.0, 5.0), (24.0, 0.0)]);
        assert_eq!(usage.last_used(), Some(at("2026-11-23T05:00:00Z")));
    }

    #[test]
    fn a_key_exists_since_its_creation_or_its_first_use() {
        let used_since = |hours: i64| [operation("Decrypt", points(|ago| (ago < hours).then_some(1.0)))];
        for (hours, created_at, days, learns) in [
            (48, "2026-11-20T05:00:00Z", 3, false),
            (48, "2026-11-21T05:00:00Z", 2, true),
            (48, "2026-11-23T05:00:00Z", 2, true),
            (73, "2026-11-23T05:00:00Z", 3, false),
            (0, "2026-11-23T05:00:00Z", 0, true),
            (0, "2020-01-01T00:00:00Z", 30, false),
        ] {
            let operations = used_since(hours);
            let (usage, created_at) = (of(&operations), at(created_at));
            assert_eq!((usage.by_day(ARN, created_at).len(), usage.learns(created_at)), (days, learns), "{created_at}");
        }
    }

    #[test]
    fn an_hour_with_no_request_is_no_use() {
        let operations = [operation("Decrypt", points(|ago| Some(if ago == 100 { 1.0 } else { 0.0 })))];
        assert_eq!(
            of(&operations).last_used(),
            Some(at("2026-11-23T06:00:00Z") - jiff::SignedDuration::from_hours(101))
        );
        assert_eq!(of(&[operation("Decrypt", Points::default())]).last_used(), None);
    }

    #[test]
    fn a_key_that_sleeps_is_told_from_a_key_that_is_young() {
        let steady = |ago: i64| Some(100.0 + f64::from(i32::try_from(ago * 7 % 11).unwrap()));
        let since_five_days = operation("Decrypt", points(|ago| steady(ago).filter(|_| ago < 5 * 24)));
        let operations = [since_five_days];
        let young = of(&operations).worst(at("2026-11-18T06:00:00Z"));
        assert!(young[0].hour.score.score < 0.9, "{:?}", young[0].hour);

        let awake = operation("Decrypt", points(|ago| (ago == 3).then_some(500.0)));
        let operations = [awake];
        let asleep = of(&operations).worst(at("2020-01-01T00:00:00Z"));
        let hour = asleep[0].hour;
        assert_eq!(hour.at, at("2026-11-23T02:00:00Z").as_second());
        assert!(hour.score.score >= 0.9, "{hour:?}");
    }

    #[test]
    fn first_use_is_that_of_operations_silent_through_a_whole_baseline() {
        let since = |operation_name: &str, hours: i64, count: f64| {
            operation(operation_name, points(|ago| (ago < hours).then_some(count)))
        };
        let operations =
            [since("Decrypt", 3, 4.0), since("Sign", 2, 9.0), since("Encrypt", 25, 1.0), since("Verify", 0, 1.0)];
        let old = at("2020-01-01T00:00:00Z");
        let first = of(&operations).first_use(old).unwrap();
        let names: Vec<_> = first.operations.iter().map(|(series, calls)| (&*series.operation, *calls)).collect();
        assert_eq!(names, [("Sign", 18.0), ("Decrypt", 12.0)]);
        assert_eq!((first.calls(), first.since), (30.0, span().until - 3 * HOUR));
        // The prober's own requests do not count: two a day of each of its operations.
        let probed = KeyActivity { is_probed: true, ..of(&operations) };
        assert!((probed.first_use(old).unwrap().calls() - 26.0).abs() < 1e-9);
        let once = [since("Encrypt", 1, 1.0), since("Decrypt", 1, 2.0)];
        assert!(KeyActivity { is_probed: true, ..of(&once) }.first_use(old).is_none());
        // A baseline begins a day into the span.
        assert!(of(&operations).first_use(at("2026-10-25T06:00:00Z")).is_some());
        assert!(of(&operations).first_use(at("2026-10-25T07:00:00Z")).is_none());
        assert!(of(&operations[3..]).first_use(old).is_none());
    }

    #[test]
    fn the_worst_series_comes_first() {
        let calm = operation("Encrypt", points(|_| Some(100.0)));
        let burst = operation("Decrypt", points(|ago| Some(if ago == 3 { 50_000.0 } else { 100.0 })));
        let operations = [calm, burst];
        let worst = of(&operations).worst(at("2020-01-01T00:00:00Z"));
        assert_eq!(worst.iter().map(|it| &*it.series.operation).collect::<Vec<_>>(), ["Decrypt", "Encrypt"]);
        assert_eq!(worst[0].hour.at, at("2026-11-23T02:00:00Z").as_second());
    }

    #[test]
    fn what_is_no_count_is_refused() {
        let series = Series { key_arn: ARN.into(), operation: "Decrypt".into(), source_key_arn: None };
        for count in [-1.0, f64::NAN, f64::INFINITY, 1e100] {
            for others in [1.0, 0.0] {
                let points = points(|ago| Some(if ago == 3 { count } else { others }));
                assert!(Reading::of(&series, points, span()).is_err(), "{count} among {others}");
            }
        }
    }
}
