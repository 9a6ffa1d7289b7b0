//! The verdicts about the usage of keys. Pure.

use domain::control::{Control, Severity};
use domain::failure::{Cause, Failure};
use domain::key::{Key, KeyState, Unexpected};
use domain::location::Location;
use domain::verdict::{Verdict, date};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::score::{Range, ScoredHour};
use crate::usage::{FirstUse, KeyActivity, Series, Worst};

/// The key is used as it usually is.
pub static USAGE_ANOMALY: Control = Control {
    id: "usage-anomaly",
    title: "The key is used as it usually is",
    severity: Severity::Medium,
    other_severities: "HIGH from a score of 0.99; a first use is LOW, MEDIUM from 100 calls",
    references: &["AWS Well-Architected SEC08-BP01"],
};

/// The key is in use.
pub static KEY_UNUSED: Control = Control {
    id: "key-unused",
    title: "The key is in use",
    severity: Severity::Low,
    other_severities: "",
    references: &[],
};

/// The key decrypts no more than usual for what it encrypts.
pub static DECRYPT_RATIO: Control = Control {
    id: "decrypt-ratio",
    title: "The key decrypts no more than usual for what it encrypts",
    severity: Severity::Low,
    other_severities: "",
    references: &["AWS Well-Architected SEC08-BP01"],
};

/// The controls, in the order of their verdicts.
pub const CONTROLS: [&Control; 3] = [&USAGE_ANOMALY, &KEY_UNUSED, &DECRYPT_RATIO];

/// From this score on, unusual usage is of high severity.
const HIGH_SCORE: f64 = 0.99;

/// From this score on, another operation of the key counts as having moved too: it lies outside of what is usual.
const MOVED_SCORE: f64 = 0.5;

/// Reason of a key's or operation's first use after a silent baseline.
pub const FIRST_USE: &str = "first_use";

/// From this many requests on, a first use is of medium severity.
const MANY_FIRST_CALLS: f64 = 100.0;

/// With fewer decrypts in a day, their ratio to encryptions says little.
const FEWEST_DECRYPTS: f64 = 100.0;

/// On n days a key must have decrypted for those days alone to say what is usual when it does.
const FEWEST_RATIOS: usize = 3;

/// What is asked of the usage of keys.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Thresholds {
    /// Score from which usage is a finding, from 0 to 1.
    pub anomaly_threshold: f64,
    /// From this many requests on, the first use of an operation or key after a silent baseline is a finding.
    pub first_use_calls: i32,
    /// A key that was not used for n days is a finding.
    pub unused_after_days: i32,
    /// How many times its own usual decrypts per encryption a key may reach.
    pub max_decrypt_ratio: f64,
}

/// The verdict about hours that leave what is usual.
pub fn usage_anomaly(usage: KeyActivity<'_>, key: &Key, thresholds: Thresholds, location: &Location) -> Verdict {
    anomaly(usage, key, thresholds, location).unwrap_or_else(|unexpected| (&unexpected).into())
}

fn anomaly(
    usage: KeyActivity<'_>,
    key: &Key,
    thresholds: Thresholds,
    location: &Location,
) -> Result<Verdict, Unexpected> {
    if usage.operations.is_empty() {
        return Ok(match usage.unlisted {
            Some(failure) => unread(failure),
            None => Verdict::not_applicable("no_usage").detail("CloudWatch has counted no requests of late"),
        });
    }
    let created_at = created_at(key)?;
    let worst = usage.worst(created_at);
    if let Some((first, others)) = worst.split_first()
        && first.hour.score.score >= thresholds.anomaly_threshold
    {
        return Ok(unusual(*first, others, usage, thresholds, location));
    }
    if let Some(first_use) = usage.first_use(created_at)
        && first_use.calls() >= f64::from(thresholds.first_use_calls)
    {
        return Ok(used_first(&first_use, usage, thresholds, location));
    }
    if let Some(failure) = usage.unread() {
        return Ok(unread(failure));
    }
    if usage.learns(created_at) {
        return Ok(Verdict::insufficient_data("learning")
            .passing()
            .detail("the key is too young to know what is usual")
            .evidence("created_at", created_at.to_string())
            .remediation("Nothing: once the key is three days old, its usage is judged."));
    }
    Ok(Verdict::compliant("usual").detail("it is used as usual"))
}

fn unusual(
    worst: Worst<'_>,
    others: &[Worst<'_>],
    usage: KeyActivity<'_>,
    thresholds: Thresholds,
    location: &Location,
) -> Verdict {
    let Worst { series, hour } = worst;
    let also_moved: Vec<String> =
        others.iter().filter(|other| other.hour.score.score >= MOVED_SCORE).map(in_words).collect();
    let mut detail = format!("{}; {}", in_words(&worst), against_baseline(&hour));
    if !also_moved.is_empty() {
        detail = format!("{detail}; besides: {}", also_moved.join(", "));
    }
    let severity = if hour.score.score >= HIGH_SCORE { Severity::High } else { Severity::Medium };
    let verdict = Verdict::non_compliant("unusual_usage")
        .detail(detail)
        .severity(severity)
        .evidence("operation", &*series.operation)
        .evidence("hour", instant(hour.at))
        .evidence("hours", hour.score.window)
        .evidence("observed", whole(hour.score.observed))
        .evidence("usual_low", whole(hour.score.usual.low))
        .evidence("usual_high", whole(hour.score.usual.high))
        .evidence("score", (hour.score.score * 10_000.0).round() / 10_000.0)
        .evidence("anomaly_threshold", thresholds.anomaly_threshold)
        .evidence("baseline_lowest", whole(hour.before.low))
        .evidence("baseline_highest", whole(hour.before.high))
        .evidence("baseline_days", hour.days_before)
        .occurrence(format!("{} {}", series.operation, instant(hour.at)))
        .remediation(format!(
            "Find out who it was: in CloudTrail, the events {} of this key around that hour. If it was meant to be, there \
             is nothing to do, and what stays so is soon usual. If not, take the permission from the caller, then look at \
             what was decrypted or signed.",
            series.operation
        ));
    let verdict = if also_moved.is_empty() { verdict } else { verdict.evidence("also_moved", json!(also_moved)) };
    match graph(series, hour.at, usage.span.until, location) {
        Some(link) => verdict.evidence("graph", link),
        None => verdict,
    }
}

/// "Decrypt 48,210 between 02:00 and 03:00 UTC; usual there: 0–120".
fn in_words(worst: &Worst<'_>) -> String {
    let Worst { series, hour } = worst;
    let Range { low, high } = hour.score.usual;
    let usual = if low.round() < high.round() { format!("{}–{}", count(low), count(high)) } else { count(high) };
    format!("{} {} {}; usual there: {usual}", series.operation, count(hour.score.observed), when(hour))
}

/// The hour, or the hours that are unusual only together, of which it is the last.
fn when(hour: &ScoredHour) -> String {
    const HOURS_A_DAY: usize = 24;
    let clock = |hours_before: usize| {
        let hours = hour.at.div_euclid(3_600) + 1 - i64::try_from(hours_before).unwrap_or_default();
        format!("{:02}:00", hours.rem_euclid(24))
    };
    let window = hour.score.window;
    if window < HOURS_A_DAY {
        format!("between {} and {} UTC", clock(window), clock(0))
    } else {
        format!("in the {window} hours up to {} UTC", clock(0))
    }
}

/// A count as people write it: 48,210.
fn count(number: f64) -> String {
    let digits = format!("{:.0}", number.round().abs());
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count as JSON has it: without a fraction.
fn whole(number: f64) -> Value {
    #[expect(clippy::cast_possible_truncation, reason = "counts; what is larger is cut to the largest")]
    let number = number.round() as i64;
    json!(number)
}

/// "more than any hour of the last 28 days: 1,240".
fn against_baseline(hour: &ScoredHour) -> String {
    let hours = if hour.score.window == 1 { "hour".to_owned() } else { format!("{} hours", hour.score.window) };
    let (observed, Range { low, high }) = (hour.score.observed, hour.before);
    let (comparison, other) = if observed > hour.score.usual.high {
        (if observed > high { "more than any" } else { "the most in any" }, high)
    } else {
        (if observed < low { "less than any" } else { "the least in any" }, low)
    };
    format!("{comparison} {hours} of the last {} days: {}", hour.days_before, count(other))
}

/// The key is used for something that it was not used for in a whole baseline.
fn used_first(first: &FirstUse<'_>, usage: KeyActivity<'_>, thresholds: Thresholds, location: &Location) -> Verdict {
    let calls = first.calls();
    let words: Vec<String> =
        first.operations.iter().map(|(series, calls)| format!("{} {}", series.operation, count(*calls))).collect();
    let names: Vec<&str> = first.operations.iter().map(|(series, _)| &*series.operation).collect();
    let days = usage.span.baseline_days();
    let verdict = Verdict::non_compliant(FIRST_USE)
        .detail(format!(
            "{} since {}; not once in the {days} days before",
            words.join(", "),
            instant(first.since)
        ))
        .severity(if calls >= MANY_FIRST_CALLS { Severity::Medium } else { Severity::Low })
        .evidence("operations", json!(names))
        .evidence("calls", whole(calls))
        .evidence("hour", instant(first.since))
        .evidence("baseline_days", days)
        .evidence("first_use_calls", thresholds.first_use_calls)
        .occurrence(format!("{} {}", names.join(" "), instant(first.since)))
        .remediation(format!(
            "Find out who it was: in CloudTrail, the events {} of this key since that hour. A key for restores or audits is \
             used like that once a month or once a quarter; a caller that nobody knows is not meant to be there. If so, \
             take the permission from the caller, then look at what was decrypted or signed.",
            names.join(", ")
        ));
    let (series, at) = (first.operations.first().map(|(series, _)| *series), first.since);
    match series.and_then(|series| graph(series, at, usage.span.until, location)) {
        Some(link) => verdict.evidence("graph", link),
        None => verdict,
    }
}

/// The console's page with the graph of the series, from a week before that hour.
fn graph(series: &Series, at: i64, until: i64, location: &Location) -> Option<String> {
    const WEEK: i64 = 7 * 24 * 3_600;
    let dimensions = match &series.source_key_arn {
        None => vec!["KeyArn", &series.key_arn],
        Some(source) => vec!["SourceKeyArn", source, "DestinationKeyArn", &series.key_arn],
    };
    let metric = ["AWS/KMS", "SuccessfulRequest"].into_iter().chain(dimensions).chain(["Operation", &series.operation]);
    let metric: Vec<String> = metric.map(encoded).collect();
    let (start, end) = (encoded(&instant(at - WEEK)), encoded(&instant(until)));
    let page = format!(
        "metricsV2:graph=~(metrics~(~(~{}))~view~'timeSeries~stacked~false~region~{}~stat~'Sum~period~3600~start~{start}~end~{end})",
        metric.join("~"),
        encoded(&location.region),
    );
    location.console_page("cloudwatch", &page)
}

/// A string in the console's own notation: a quote before it, and other characters than letters, digits, `-`, `_` and `.`
/// by their code.
fn encoded(text: &str) -> String {
    let mut encoded = "'".to_owned();
    for byte in text.bytes() {
        match byte {
            b'-' | b'_' | b'.' => encoded.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => encoded.push(char::from(byte)),
            _ => encoded.extend(['*'].into_iter().chain(format!("{byte:02x}").chars())),
        }
    }
    encoded
}

fn instant(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |instant| instant.to_string())
}

/// What is not known of the key's usage, and why.
fn unread(failure: &Failure) -> Verdict {
    let remediation = match failure.cause {
        Cause::AccessDenied => "Allow the function's role cloudwatch:ListMetrics and cloudwatch:GetMetricData.",
        Cause::Throttled => {
            "Nothing is wrong with the key: others use up CloudWatch's quotas. If it happens again, lower KMS_QUOTA_SHARE or \
             ask AWS for higher quotas."
        }
        Cause::Timeout | Cause::ServiceError => {
            "The next run asks again. If it stays, look at the AWS Health Dashboard and at the network path to CloudWatch, \
             and give the function more time."
        }
        Cause::NotFound | Cause::Unsupported | Cause::Unexpected => {
            "Ask CloudWatch for the metric by hand. If its answer is in order, update this monitor: CloudWatch may have \
             learnt something new."
        }
    };
    let cause = match failure.cause {
        // It is no key that CloudWatch does not find.
        Cause::NotFound | Cause::Unsupported => Cause::Unexpected,
        cause => cause,
    };
    let failure = Failure { cause, ..failure.clone() };
    let detail = match cause {
        Cause::ServiceError => {
            let (service, operation) = (failure.service, failure.operation);
            format!("{service}:{operation} failed on the side of AWS, gave part of the values or could not be reached")
        }
        _ => failure.to_string(),
    };
    Verdict::from(&failure).detail(detail).remediation(remediation)
}

/// When the key was last used, as `GetKeyLastUsage` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastUsage {
    /// It was used then, with that operation.
    Used(Timestamp, Option<String>),
    /// It was not used since KMS began to track its usage.
    NotSince(Timestamp),
}

/// Does the description alone say that the control asks nothing of this key?
pub fn unused_by_description(key: &Key, thresholds: Thresholds, now: Timestamp) -> Option<Verdict> {
    match &key.state {
        Some(KeyState::Enabled) => {}
        Some(KeyState::Other(state)) => return Some((&Unexpected::value("DescribeKey", "KeyState", state)).into()),
        Some(state) => {
            let detail = format!("the key is in state {}", state.as_str());
            return Some(Verdict::not_applicable("not_enabled").detail(detail));
        }
        None => return Some((&Unexpected::absent("DescribeKey", "KeyState")).into()),
    }
    match created_at(key) {
        Ok(created_at) if created_at > window_opens(thresholds, now) => {
            Some(Verdict::not_applicable("too_young").detail(format!("the key was created on {}", date(created_at))))
        }
        Ok(_) => None,
        Err(unexpected) => Some((&unexpected).into()),
    }
}

/// The verdict about keys that are used by the monitor itself.
pub fn probed() -> Verdict {
    Verdict::not_applicable("probed")
        .detail("the health prober uses the key every day, which says nothing about others")
}

/// Whether a key is in use, as far as that is known before KMS is asked when it was last used.
#[derive(Clone, Debug, PartialEq)]
pub enum Unused {
    /// The verdict.
    Settled(Verdict),
    /// KMS has to be asked: the verdict in case that this run does not come to it, for the quota is too small for all keys.
    DependsOnLastUsage(Verdict),
}

/// The verdict by what CloudWatch has counted.
pub fn unused_by_metrics(usage: KeyActivity<'_>, thresholds: Thresholds, now: Timestamp) -> Unused {
    match usage.last_used() {
        Some(at) if at >= window_opens(thresholds, now) => Unused::Settled(used(at)),
        _ => Unused::DependsOnLastUsage(
            Verdict::insufficient_data("usage_not_asked")
                .passing()
                .detail("this run did not come to ask when the key was last used")
                .remediation(
                    "Nothing: another day's run asks. A higher KMS_QUOTA_SHARE lets a run ask about more keys.",
                ),
        ),
    }
}

/// The verdict by what KMS has tracked.
pub fn unused_by_last_usage(last: &Result<LastUsage, Failure>, thresholds: Thresholds, now: Timestamp) -> Verdict {
    const REMEDIATION: &str = "Ask the key's owner, and look for rare uses such as yearly restores. Then disable the key (kms:DisableKey) and \
         watch CloudTrail for failed calls; only after a quiet period schedule its deletion, with the longest waiting time.";
    let opens = window_opens(thresholds, now);
    let unused = |detail: String| {
        Verdict::non_compliant("unused")
            .detail(detail)
            .evidence("unused_after_days", thresholds.unused_after_days)
            .remediation(REMEDIATION)
    };
    match last {
        Err(failure) => failure.into(),
        Ok(LastUsage::Used(at, _)) if *at >= opens => used(*at),
        Ok(LastUsage::Used(at, operation)) => unused(format!("last used on {}", date(*at)))
            .evidence("last_used", at.to_string())
            .evidence("last_operation", operation.clone()),
        Ok(LastUsage::NotSince(tracked_since)) if *tracked_since <= opens => {
            unused(format!("not used since {} at least, when KMS began to track it", date(*tracked_since)))
                .evidence("tracking_start", tracked_since.to_string())
        }
        Ok(LastUsage::NotSince(tracked_since)) => Verdict::insufficient_data("usage_not_tracked")
            .passing_and_told()
            .detail(format!("not used since {}; KMS does not know of the time before", date(*tracked_since)))
            .evidence("tracking_start", tracked_since.to_string())
            .remediation(
                "Nothing: KMS began to track this key's usage only lately. For the time before, look into CloudTrail's logs.",
            ),
    }
}

fn used(at: Timestamp) -> Verdict {
    Verdict::compliant("used").detail(format!("used on {}", date(at)))
}

/// A use since then counts.
fn window_opens(thresholds: Thresholds, now: Timestamp) -> Timestamp {
    let days = SignedDuration::from_hours(24 * i64::from(thresholds.unused_after_days));
    now.saturating_sub(days).unwrap_or(Timestamp::MIN)
}

fn created_at(key: &Key) -> Result<Timestamp, Unexpected> {
    key.created_at.ok_or_else(|| Unexpected::absent("DescribeKey", "CreationDate"))
}

/// The verdict about decrypts per encryption.
pub fn decrypt_ratio(usage: KeyActivity<'_>, key: &Key, thresholds: Thresholds) -> Verdict {
    ratio(usage, key, thresholds).unwrap_or_else(|unexpected| (&unexpected).into())
}

fn ratio(usage: KeyActivity<'_>, key: &Key, thresholds: Thresholds) -> Result<Verdict, Unexpected> {
    if let Some(failure) = usage.unread() {
        return Ok(unread(failure));
    }
    let too_few = |detail: &str| Ok(Verdict::not_applicable("too_few").detail(detail));
    if usage.operations.is_empty() {
        return too_few("CloudWatch has counted no requests of late");
    }
    let created_at = created_at(key)?;
    let days = usage.by_day(&key.arn, created_at);
    let Some(((decrypts, encryptions), before)) = days.split_first() else {
        return too_few("the key is younger than a day");
    };
    if *decrypts < FEWEST_DECRYPTS {
        return too_few("under a hundred decrypts in the last day");
    }
    if usage.learns(created_at) {
        return too_few("the key is too young to know what is usual");
    }
    let of_day = |(decrypts, encryptions): &(f64, f64)| decrypts / encryptions.max(1.0);
    let observed = of_day(&(*decrypts, *encryptions));
    let mut ratios: Vec<f64> = before.iter().filter(|(decrypts, _)| *decrypts > 0.0).map(of_day).collect();
    if ratios.len() < FEWEST_RATIOS {
        ratios = before.iter().map(of_day).collect();
    }
    let usual = median(&mut ratios);
    if observed <= thresholds.max_decrypt_ratio * usual {
        return Ok(Verdict::compliant("usual").detail("it decrypts as usual"));
    }
    let rounded = |number: f64| (number * 100.0).round() / 100.0;
    Ok(Verdict::non_compliant("decrypt_heavy")
        .detail(format!(
            "{} decrypts and {} encryptions in the last day: {} to 1; usual: {} to 1",
            count(*decrypts),
            count(*encryptions),
            rounded(observed),
            rounded(usual)
        ))
        .evidence("decrypts", whole(*decrypts))
        .evidence("encryptions", whole(*encryptions))
        .evidence("decrypt_ratio", rounded(observed))
        .evidence("usual_decrypt_ratio", rounded(usual))
        .evidence("max_decrypt_ratio", thresholds.max_decrypt_ratio)
        .remediation(
            "Find out who decrypts: in CloudTrail, the events Decrypt of this key of the last day. A restore, a migration or a \
             new reader explains it; a caller that nobody knows does not.",
        ))
}

/// The middle one; 0 of none.
fn median(numbers: &mut [f64]) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    let at = |place: usize| numbers.get(place).copied().unwrap_or_default();
    if numbers.len().is_multiple_of(2) { f64::midpoint(at(middle.saturating_sub(1)), at(middle)) } else { at(middle) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::verdict::Compliance::{self, Compliant, InsufficientData, NonCompliant, NotApplicable};

    use super::*;
    use crate::score::Score;
    use crate::usage::{OperationUsage, Points, Reading, Scores, Span};

    const THRESHOLDS: Thresholds =
        Thresholds { anomaly_threshold: 0.9, first_use_calls: 5, unused_after_days: 90, max_decrypt_ratio: 10.0 };
    const ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/k";
    const OTHER_ARN: &str = "arn:aws:kms:us-east-1:123456789012:key/other";

    fn at(instant: &str) -> Timestamp {
        instant.parse().unwrap()
    }

    fn now() -> Timestamp {
        at("2026-11-23T06:10:00Z")
    }

    fn span() -> Span {
        Span::new(now(), 28)
    }

    fn location() -> Location {
        Location { partition: "aws".into(), region: "us-east-1".into(), account_id: "123456789012".into() }
    }

    fn key() -> Key {
        Key {
            manager: Some("CUSTOMER".into()),
            state: Some("Enabled".into()),
            spec: Some("SYMMETRIC_DEFAULT".into()),
            usage: Some("ENCRYPT_DECRYPT".into()),
            origin: Some("AWS_KMS".into()),
            created_at: Some(at("2020-01-01T00:00:00Z")),
            ..Key::unknown(ARN, "k")
        }
    }

    fn created(instant: &str) -> Key {
        Key { created_at: Some(at(instant)), ..key() }
    }

    type Row = (Compliance, &'static str);
    const UNEXPECTED: Row = (InsufficientData, "unexpected_response");

    const NOT_ASKED: Row = (InsufficientData, "usage_not_asked");

    fn row(verdict: &Verdict) -> Row {
        (verdict.compliance, verdict.reason)
    }

    /// A verdict that depends on a further call passes by itself: nobody is told of it.
    fn unused_row(unused: &Unused) -> Row {
        match unused {
            Unused::Settled(verdict) => row(verdict),
            Unused::DependsOnLastUsage(verdict) => {
                assert!(verdict.is_passing);
                row(verdict)
            }
        }
    }

    fn series(operation: &str) -> Arc<Series> {
        Arc::new(Series { key_arn: ARN.into(), operation: operation.into(), source_key_arn: None })
    }

    /// An operation whose worst hour, from 02:00 to 03:00 of that day, has that score.
    fn scored(operation: &str, score: f64) -> OperationUsage {
        let usual = Range { low: 0.2, high: 119.9 };
        let score = Score { score, window: 1, observed: 48_210.0, usual, learning: false };
        let before = Range { low: 0.0, high: 1_240.0 };
        let worst = ScoredHour {
            at: at("2026-11-23T02:00:00Z").as_second(),
            observed: 48_210.0,
            score,
            before,
            days_before: 28,
        };
        let reading =
            Reading::Read { scores: Scores::Worst(Some(worst)), daily: Vec::new(), last_day: 0.0, used: None };
        OperationUsage { series: series(operation), reading }
    }

    /// An operation with n requests a day, the last day first, all in the day's first hour.
    fn daily(operation: &str, counts: &[f64]) -> OperationUsage {
        let series = series(operation);
        let mut points = Points::default();
        for (day, count) in (1..).zip(counts) {
            points.add(span(), span().until - day * 86_400, *count);
        }
        let reading = Reading::of(&series, points, span()).unwrap();
        OperationUsage { series, reading }
    }

    fn failure(cause: Cause) -> Failure {
        Failure { service: "cloudwatch", operation: "GetMetricData", cause, code: None, message: String::new() }
    }

    fn unread_operation(operation: &str, cause: Cause) -> OperationUsage {
        OperationUsage { series: series(operation), reading: Reading::Unread(Arc::new(failure(cause))) }
    }

    fn of(operations: &[OperationUsage]) -> KeyActivity<'_> {
        KeyActivity { unlisted: None, operations, span: span(), is_probed: false }
    }

    fn worst_of(operation: &OperationUsage) -> ScoredHour {
        let Reading::Read { scores: Scores::Worst(Some(hour)), .. } = operation.reading else { panic!("it was read") };
        hour
    }

    fn anomaly_of(operations: &[OperationUsage], key: &Key) -> Verdict {
        usage_anomaly(of(operations), key, THRESHOLDS, &location())
    }

    const CAUSES: [(Cause, &str); 6] = [
        (Cause::AccessDenied, "access_denied"),
        (Cause::Throttled, "throttled"),
        (Cause::Timeout, "timeout"),
        (Cause::ServiceError, "service_error"),
        (Cause::Unexpected, "unexpected_response"),
        (Cause::NotFound, "unexpected_response"),
    ];

    #[test]
    fn usage_anomaly_row_by_row() {
        for (what, operations, expected) in [
            ("no series", vec![], (NotApplicable, "no_usage")),
            ("below", vec![scored("Decrypt", 0.8999)], (Compliant, "usual")),
            ("at the threshold", vec![scored("Decrypt", 0.9)], (NonCompliant, "unusual_usage")),
            (
                "the worst decides",
                vec![scored("Encrypt", 0.1), scored("Decrypt", 0.95)],
                (NonCompliant, "unusual_usage"),
            ),
            ("all below", vec![scored("Encrypt", 0.1), scored("Decrypt", 0.0)], (Compliant, "usual")),
            (
                "part is not known, the rest is unusual",
                vec![unread_operation("Encrypt", Cause::Throttled), scored("Decrypt", 1.0)],
                (NonCompliant, "unusual_usage"),
            ),
        ] {
            assert_eq!(row(&anomaly_of(&operations, &key())), expected, "{what}");
        }
        for (score, severity) in [(0.9, Severity::Medium), (0.9899, Severity::Medium), (0.99, Severity::High)] {
            assert_eq!(anomaly_of(&[scored("Decrypt", score)], &key()).severity, Some(severity), "{score}");
        }
        let thresholds = Thresholds { anomaly_threshold: 0.5, ..THRESHOLDS };
        let verdict = usage_anomaly(of(&[scored("Decrypt", 0.5)]), &key(), thresholds, &location());
        assert_eq!(row(&verdict), (NonCompliant, "unusual_usage"));
    }

    #[test]
    fn first_use_row_by_row() {
        // Hours ago that it was used in, requests in each of them.
        let used = |operation: &str, hours: std::ops::Range<i64>, calls: f64| {
            let mut points = Points::default();
            for ago in hours {
                points.add(span(), span().until - (ago + 1) * 3_600, calls);
            }
            let series = Series { key_arn: ARN.into(), operation: operation.into(), source_key_arn: None };
            let reading = Reading::of(&series, points, span()).unwrap();
            OperationUsage { series: Arc::new(series), reading }
        };
        let first_use = |severity| ((NonCompliant, "first_use"), Some(severity));
        let usual = ((Compliant, "usual"), None);
        let of_calls = |calls: i32| Thresholds { first_use_calls: calls, anomaly_threshold: 1.0, ..THRESHOLDS };
        for (what, operations, thresholds, expected) in [
            ("one call, and one is enough", vec![used("Sign", 2..3, 1.0)], of_calls(1), first_use(Severity::Low)),
            ("one call fewer", vec![used("Sign", 2..3, 4.0)], of_calls(5), usual),
            ("as many", vec![used("Sign", 2..3, 5.0)], of_calls(5), first_use(Severity::Low)),
            (
                "the sum over operations",
                vec![used("Sign", 2..3, 3.0), used("Decrypt", 4..5, 2.0)],
                of_calls(5),
                first_use(Severity::Low),
            ),
            ("99", vec![used("Sign", 0..24, 4.125)], of_calls(5), first_use(Severity::Low)),
            ("100", vec![used("Sign", 0..20, 5.0)], of_calls(5), first_use(Severity::Medium)),
            ("used before the judged day", vec![used("Sign", 2..25, 9.0)], of_calls(1), usual),
        ] {
            let verdict = usage_anomaly(of(&operations), &key(), thresholds, &location());
            assert_eq!((row(&verdict), verdict.severity), expected, "{what}");
        }
        let operations = [used("Sign", 2..3, 9.0), used("Decrypt", 4..5, 20.0)];
        let verdict = usage_anomaly(of(&operations), &key(), of_calls(5), &location());
        assert_eq!(verdict.detail, "Decrypt 20, Sign 9 since 2026-11-23T01:00:00Z; not once in the 28 days before");
        let evidence = |name: &str| verdict.evidence[name].clone();
        assert_eq!((evidence("calls"), evidence("operations")), (json!(29), json!(["Decrypt", "Sign"])));
        assert_eq!((evidence("first_use_calls"), evidence("baseline_days")), (json!(5), json!(28)));
        assert_eq!(verdict.occurrence.as_deref(), Some("Decrypt Sign 2026-11-23T01:00:00Z"));
        assert!(verdict.remediation.contains("CloudTrail"));
        // What is unusual by its score is told as that, and a young key is learnt from.
        let verdict = usage_anomaly(of(&[used("Sign", 2..3, 5_000.0)]), &key(), THRESHOLDS, &location());
        assert_eq!(row(&verdict), (NonCompliant, "unusual_usage"));
        let verdict = usage_anomaly(of(&operations), &created("2026-11-22T06:00:00Z"), of_calls(1), &location());
        assert_eq!(row(&verdict), (InsufficientData, "learning"));
        let verdict = usage_anomaly(of(&operations), &created("2026-11-10T06:00:00Z"), of_calls(1), &location());
        assert_eq!(row(&verdict), (Compliant, "usual"));
    }

    #[test]
    fn what_cloudwatch_does_not_answer_is_never_no_usage() {
        for (cause, reason) in CAUSES {
            let expected = (InsufficientData, reason);
            let part = [scored("Encrypt", 0.1), unread_operation("Decrypt", cause)];
            assert_eq!(row(&anomaly_of(&part, &key())), expected);
            assert_eq!(row(&decrypt_ratio(of(&part), &key(), THRESHOLDS)), expected);
            let unlisted = failure(cause);
            for operations in [&[][..], &[scored("Encrypt", 0.1)]] {
                let usage = KeyActivity { unlisted: Some(&unlisted), operations, span: span(), is_probed: false };
                let verdict = usage_anomaly(usage, &key(), THRESHOLDS, &location());
                assert_eq!(row(&verdict), expected);
                assert!(verdict.detail.contains("cloudwatch:GetMetricData") || reason == "unexpected_response");
                assert!(!verdict.detail.contains("kms:") && !verdict.remediation.contains("kms:"), "{verdict:?}");
                assert_eq!(row(&decrypt_ratio(usage, &key(), THRESHOLDS)), expected);
                assert_eq!(unused_row(&unused_by_metrics(usage, THRESHOLDS, now())), NOT_ASKED);
            }
        }
    }

    #[test]
    fn a_young_key_is_learnt_from() {
        let steady: Vec<f64> = vec![40.0; 2];
        for (created_at, expected) in [
            ("2026-11-23T06:05:00Z", (InsufficientData, "learning")),
            ("2026-11-21T12:00:00Z", (InsufficientData, "learning")),
            ("2026-11-20T07:00:00Z", (InsufficientData, "learning")),
            ("2026-11-20T06:59:00Z", (Compliant, "usual")),
            ("2020-01-01T00:00:00Z", (Compliant, "usual")),
        ] {
            let operations = [daily("Encrypt", &steady), daily("Sign", &[])];
            let usage = KeyActivity { unlisted: None, operations: &operations, span: span(), is_probed: false };
            let verdict = usage_anomaly(
                usage,
                &created(created_at),
                Thresholds { anomaly_threshold: 1.0, ..THRESHOLDS },
                &location(),
            );
            assert_eq!(row(&verdict), expected, "{created_at}");
        }
        let unknown = Key { created_at: None, ..key() };
        assert_eq!(row(&anomaly_of(&[daily("Encrypt", &steady)], &unknown)), UNEXPECTED);
    }

    #[test]
    fn a_finding_explains_itself() {
        let operations = [scored("GenerateDataKey", 0.7), scored("Decrypt", 0.953_21), scored("Sign", 0.49)];
        let verdict = anomaly_of(&operations, &key());
        let moved = "GenerateDataKey 48,210 between 02:00 and 03:00 UTC; usual there: 0–120";
        assert_eq!(
            verdict.detail,
            format!(
                "Decrypt 48,210 between 02:00 and 03:00 UTC; usual there: 0–120; more than any hour of the last 28 days: \
                 1,240; besides: {moved}"
            )
        );
        let evidence = |name: &str| verdict.evidence[name].clone();
        assert_eq!(evidence("operation"), "Decrypt");
        assert_eq!(evidence("hour"), "2026-11-23T02:00:00Z");
        assert_eq!(evidence("observed"), 48_210);
        assert_eq!(verdict.occurrence.as_deref(), Some("Decrypt 2026-11-23T02:00:00Z"));
        assert_eq!((evidence("usual_low"), evidence("usual_high")), (json!(0), json!(120)));
        assert_eq!((evidence("score"), evidence("anomaly_threshold")), (json!(0.9532), json!(0.9)));
        assert_eq!((evidence("baseline_lowest"), evidence("baseline_highest")), (json!(0), json!(1_240)));
        assert_eq!(evidence("baseline_days"), 28);
        assert_eq!(evidence("also_moved"), json!([moved]));
        assert!(verdict.remediation.contains("CloudTrail"));
    }

    #[test]
    fn the_link_opens_exactly_that_graph() {
        let link = anomaly_of(&[scored("Decrypt", 1.0)], &key()).evidence["graph"].clone();
        assert_eq!(
            link,
            "https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#metricsV2:graph=~(metrics~(~(~\
             'AWS*2fKMS~'SuccessfulRequest~'KeyArn~'arn*3aaws*3akms*3aus-east-1*3a123456789012*3akey*2fk~'Operation~'Decrypt))\
             ~view~'timeSeries~stacked~false~region~'us-east-1~stat~'Sum~period~3600\
             ~start~'2026-11-16T02*3a00*3a00Z~end~'2026-11-23T06*3a00*3a00Z)"
        );
        let mut re_encrypt = scored("ReEncrypt", 1.0);
        re_encrypt.series =
            Arc::new(Series { source_key_arn: Some(OTHER_ARN.into()), ..Series::clone(&re_encrypt.series) });
        let link = anomaly_of(&[re_encrypt.clone()], &key()).evidence["graph"].to_string();
        let source =
            "'SourceKeyArn~'arn*3aaws*3akms*3aus-east-1*3a123456789012*3akey*2fother~'DestinationKeyArn~'arn*3aaws";
        assert!(link.contains(source), "{link}");
        let elsewhere = Location { partition: "aws-iso".into(), ..location() };
        let verdict = usage_anomaly(of(&[re_encrypt]), &key(), THRESHOLDS, &elsewhere);
        assert_eq!((row(&verdict), verdict.evidence.get("graph")), ((NonCompliant, "unusual_usage"), None));
    }

    #[test]
    fn numbers_in_words() {
        for (number, expected) in [
            (0.0, "0"),
            (-0.4, "0"),
            (999.4, "999"),
            (999.5, "1,000"),
            (48_210.0, "48,210"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(count(number), expected);
        }
        let mut hour = ScoredHour { days_before: 28, ..worst_of(&scored("Decrypt", 1.0)) };
        for (window, observed, expected) in [
            (1, 1_241.0, "more than any hour of the last 28 days: 1,240"),
            (1, 1_240.0, "the most in any hour of the last 28 days: 1,240"),
            (27, 5_000.0, "more than any 27 hours of the last 28 days: 1,240"),
            (27, -1.0, "less than any 27 hours of the last 28 days: 0"),
            (7, 0.0, "the least in any 7 hours of the last 28 days: 0"),
        ] {
            (hour.score.window, hour.score.observed) = (window, observed);
            hour.score.usual.low = 0.0;
            assert_eq!(against_baseline(&hour), expected);
        }
        let mut fell_silent = scored("Decrypt", 1.0);
        if let Reading::Read { scores: Scores::Worst(Some(hour)), .. } = &mut fell_silent.reading {
            hour.score.observed = 0.0;
            hour.score.usual = Range { low: 900.0, high: 900.2 };
            hour.at = at("2026-11-22T23:00:00Z").as_second();
        }
        let detail = anomaly_of(&[fell_silent], &key()).detail;
        assert!(detail.starts_with("Decrypt 0 between 23:00 and 00:00 UTC; usual there: 900;"), "{detail}");
    }

    #[test]
    fn hours_that_are_unusual_together() {
        for (window, words) in [
            (1, "Decrypt 48,210 between 02:00 and 03:00 UTC; usual there: 0–120;"),
            (7, "Decrypt 48,210 between 20:00 and 03:00 UTC; usual there: 0–120;"),
            (27, "Decrypt 48,210 in the 27 hours up to 03:00 UTC; usual there: 0–120;"),
        ] {
            let mut operation = scored("Decrypt", 1.0);
            if let Reading::Read { scores: Scores::Worst(Some(hour)), .. } = &mut operation.reading {
                hour.score.window = window;
                hour.observed = 7.0;
            }
            let verdict = anomaly_of(&[operation], &key());
            assert!(verdict.detail.starts_with(words), "{}", verdict.detail);
            assert_eq!((&verdict.evidence["hours"], &verdict.evidence["observed"]), (&json!(window), &json!(48_210)));
        }
    }

    #[test]
    fn key_unused_by_description() {
        for (state, expected) in [
            (Some("Enabled"), None),
            (Some("Disabled"), Some((NotApplicable, "not_enabled"))),
            (Some("PendingDeletion"), Some((NotApplicable, "not_enabled"))),
            (Some("PendingReplicaDeletion"), Some((NotApplicable, "not_enabled"))),
            (Some("PendingImport"), Some((NotApplicable, "not_enabled"))),
            (Some("Unavailable"), Some((NotApplicable, "not_enabled"))),
            (Some("Zombie"), Some(UNEXPECTED)),
            (None, Some(UNEXPECTED)),
        ] {
            let key = Key { state: state.map(KeyState::from), ..key() };
            let verdict = unused_by_description(&key, THRESHOLDS, now());
            assert_eq!(verdict.as_ref().map(row), expected, "{state:?}");
        }
        for (created_at, expected) in [
            ("2026-11-23T06:00:00Z", Some((NotApplicable, "too_young"))),
            ("2026-08-25T06:10:01Z", Some((NotApplicable, "too_young"))),
            ("2026-08-25T06:10:00Z", None),
            // A clock that is ahead.
            ("2027-01-01T00:00:00Z", Some((NotApplicable, "too_young"))),
        ] {
            let verdict = unused_by_description(&created(created_at), THRESHOLDS, now());
            assert_eq!(verdict.as_ref().map(row), expected, "{created_at}");
        }
        let verdict = unused_by_description(&Key { created_at: None, ..key() }, THRESHOLDS, now());
        assert_eq!(verdict.as_ref().map(row), Some(UNEXPECTED));
        assert_eq!(row(&probed()), (NotApplicable, "probed"));
    }

    #[test]
    fn key_unused_by_metrics() {
        let provisional = NOT_ASKED;
        let silent = vec![0.0; 28];
        let used_on = |day: usize| {
            let mut counts = silent.clone();
            counts[day] = 1.0;
            [daily("Encrypt", &silent), daily("Decrypt", &counts)]
        };
        for (operations, unused_after_days, expected) in [
            (&used_on(0)[..], 90, (Compliant, "used")),
            (&used_on(27), 90, (Compliant, "used")),
            (&used_on(27), 20, provisional),
            (&used_on(0)[..1], 90, provisional),
            (&[], 90, provisional),
            (&[unread_operation("Decrypt", Cause::Throttled)], 90, provisional),
        ] {
            let unused = unused_by_metrics(of(operations), Thresholds { unused_after_days, ..THRESHOLDS }, now());
            assert_eq!(unused_row(&unused), expected);
        }
    }

    #[test]
    fn key_unused_by_last_usage() {
        let used = |instant: &str| Ok(LastUsage::Used(at(instant), Some("Decrypt".into())));
        let never = |tracked_since: &str| Ok(LastUsage::NotSince(at(tracked_since)));
        for (last, expected) in [
            (used("2026-11-23T06:00:00Z"), (Compliant, "used")),
            (used("2026-08-25T06:10:00Z"), (Compliant, "used")),
            (used("2026-08-25T06:09:59Z"), (NonCompliant, "unused")),
            (never("2026-08-25T06:10:00Z"), (NonCompliant, "unused")),
            (never("2020-01-01T00:00:00Z"), (NonCompliant, "unused")),
            (never("2026-08-25T06:10:01Z"), (InsufficientData, "usage_not_tracked")),
            (Err(failure(Cause::AccessDenied)), (InsufficientData, "access_denied")),
            (Err(failure(Cause::Throttled)), (InsufficientData, "throttled")),
            (Err(failure(Cause::Unexpected)), UNEXPECTED),
        ] {
            assert_eq!(row(&unused_by_last_usage(&last, THRESHOLDS, now())), expected, "{last:?}");
        }
        let verdict = unused_by_last_usage(&used("2026-01-02T03:04:05Z"), THRESHOLDS, now());
        assert_eq!(verdict.evidence["last_used"], "2026-01-02T03:04:05Z");
        assert_eq!(verdict.evidence["last_operation"], "Decrypt");
        let verdict = unused_by_last_usage(&never("2025-01-01T00:00:00Z"), THRESHOLDS, now());
        assert_eq!(verdict.evidence["tracking_start"], "2025-01-01T00:00:00Z");
        // Disable first, then watch, and only then schedule the deletion.
        let order = ["disable", "watch", "schedule its deletion"].map(|word| verdict.remediation.find(word).unwrap());
        assert!(order.is_sorted(), "{}", verdict.remediation);
    }

    #[test]
    fn decrypt_ratio_row_by_row() {
        let days = |last: f64, before: f64| -> Vec<f64> { [last].into_iter().chain([before; 27]).collect() };
        let too_few = (NotApplicable, "too_few");
        let heavy = (NonCompliant, "decrypt_heavy");
        let usual = (Compliant, "usual");
        for (what, decrypts, encryptions, expected) in [
            ("no decrypts", days(0.0, 0.0), days(10.0, 10.0), too_few),
            ("99", days(99.0, 0.0), days(0.0, 0.0), too_few),
            ("ten times the usual ratio", days(1_000.0, 100.0), days(100.0, 100.0), usual),
            ("more than that", days(1_001.0, 100.0), days(100.0, 100.0), heavy),
            ("envelope encryption: nothing encrypted, ever", days(500.0, 400.0), days(0.0, 0.0), usual),
            ("more work of both kinds", days(5_000.0, 100.0), days(5_000.0, 100.0), usual),
            ("the encryptions stop", days(200.0, 200.0), days(0.0, 100.0), heavy),
            ("never decrypted before", days(100.0, 0.0), days(10.0, 10.0), heavy),
        ] {
            let operations = [daily("Decrypt", &decrypts), daily("GenerateDataKey", &encryptions)];
            assert_eq!(row(&decrypt_ratio(of(&operations), &key(), THRESHOLDS)), expected, "{what}");
        }
        assert_eq!(row(&decrypt_ratio(of(&[]), &key(), THRESHOLDS)), too_few);
        let busy = [daily("Decrypt", &[5_000.0])];
        assert_eq!(row(&decrypt_ratio(of(&busy), &created("2026-11-20T07:00:00Z"), THRESHOLDS)), too_few);
        assert_eq!(row(&decrypt_ratio(of(&busy), &created("2026-11-20T05:00:00Z"), THRESHOLDS)), heavy);
        assert_eq!(row(&decrypt_ratio(of(&busy), &created("2026-11-23T05:00:00Z"), THRESHOLDS)), too_few);
        let busy = [daily("Decrypt", &days(5_000.0, 1.0))];
        assert_eq!(row(&decrypt_ratio(of(&busy), &Key { created_at: None, ..key() }, THRESHOLDS)), UNEXPECTED);
        let verdict = decrypt_ratio(of(&busy), &key(), Thresholds { max_decrypt_ratio: 5_000.0, ..THRESHOLDS });
        assert_eq!(row(&verdict), usual);
        // A restore test once a week: on such days the ratio is what it always is then.
        let weekly: Vec<f64> = (0..28).map(|day| if day % 7 == 0 { 300.0 } else { 0.0 }).collect();
        let operations = [daily("Decrypt", &weekly), daily("Encrypt", &days(10.0, 10.0))];
        assert_eq!(row(&decrypt_ratio(of(&operations), &key(), THRESHOLDS)), usual);
    }

    #[test]
    fn what_counts_as_encryption() {
        let days = |last: f64, before: f64| -> Vec<f64> { [last].into_iter().chain([before; 27]).collect() };
        let of_operation = |operation: &str| {
            let operations = [daily("Decrypt", &days(2_000.0, 100.0)), daily(operation, &days(2_000.0, 100.0))];
            decrypt_ratio(of(&operations), &key(), THRESHOLDS).reason
        };
        for operation in [
            "Encrypt",
            "GenerateDataKey",
            "GenerateDataKeyWithoutPlaintext",
            "GenerateDataKeyPair",
            "GenerateDataKeyPairWithoutPlaintext",
            "ReEncrypt",
        ] {
            assert_eq!(of_operation(operation), "usual", "{operation}");
        }
        assert_eq!(of_operation("Sign"), "decrypt_heavy");
        let mut away = daily("ReEncrypt", &days(2_000.0, 100.0));
        away.series = Arc::new(Series {
            key_arn: OTHER_ARN.into(),
            operation: "ReEncrypt".into(),
            source_key_arn: Some(ARN.into()),
        });
        let operations = [daily("Decrypt", &days(2_000.0, 100.0)), away];
        let verdict = decrypt_ratio(of(&operations), &key(), THRESHOLDS);
        assert_eq!(row(&verdict), (NonCompliant, "decrypt_heavy"));
        assert_eq!((&verdict.evidence["decrypts"], &verdict.evidence["encryptions"]), (&json!(2_000), &json!(0)));
        assert_eq!(verdict.evidence["decrypt_ratio"], 2_000.0);
        assert_eq!(verdict.evidence["usual_decrypt_ratio"], 100.0);
        assert!(verdict.detail.starts_with("2,000 decrypts and 0 encryptions in the last day"), "{}", verdict.detail);
    }
}
