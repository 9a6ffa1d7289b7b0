//! CloudWatch's record of the keys' usage: `AWS/KMS` `SuccessfulRequest`, hourly sums, in Smithy's RPC v2 protocol with
//! CBOR bodies.
//!
//! What the fleet does not simulate is refused by its name, not ignored.

use std::collections::{BTreeSet, HashMap};

use ciborium::tag::Required;
use jiff::{SignedDuration, Timestamp};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};

use crate::description::{SeriesStatus, Usage};
use crate::error::ApiError;
use crate::faults::FaultKind;
use crate::model::{Key, Model};
use crate::operation::Operation;

/// What stands before an operation's name in the path.
pub(crate) const PATH: &str = "/service/GraniteServiceVersion20100801/operation/";

const NAMESPACE: &str = "AWS/KMS";
const METRIC: &str = "SuccessfulRequest";
const METRICS_A_PAGE: usize = 500;
const MAX_QUERIES: usize = 500;
const MAX_DATAPOINTS: usize = 100_800;
const HOUR: i64 = 3600;

/// `ListMetrics` gives series with a datapoint in n hours.
const LISTED_HOURS: i64 = 14 * 24;

/// How often a series was read whose status is not the true one, by key index and operation.
pub(crate) type Reads = HashMap<(u32, String), u64>;

/// A point in time as CBOR has it.
type Time = Required<f64, 1>;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct ListMetrics {
    namespace: Option<String>,
    metric_name: Option<String>,
    #[serde(default)]
    dimensions: Vec<DimensionFilter>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct DimensionFilter {
    name: String,
    value: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Metrics {
    metrics: Vec<Metric>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Metric {
    namespace: String,
    #[serde(rename = "MetricName")]
    name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Dimension {
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct GetMetricData {
    metric_data_queries: Vec<MetricDataQuery>,
    /// Seconds; the tag around them is passed over.
    start_time: f64,
    end_time: f64,
    next_token: Option<String>,
    scan_by: Option<String>,
    max_datapoints: Option<i64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MetricDataQuery {
    id: String,
    metric_stat: MetricStat,
    #[serde(rename = "ReturnData")]
    _return_data: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct MetricStat {
    metric: Metric,
    period: i64,
    stat: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricData {
    #[serde(rename = "MetricDataResults")]
    results: Vec<MetricDataResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
    messages: Vec<Message>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDataResult {
    id: String,
    label: String,
    timestamps: Vec<Time>,
    values: Vec<f64>,
    status_code: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Message {
    code: String,
    value: String,
}

/// The answer to a healthy call, but for what a fault does to its pages.
pub(crate) fn answer(
    model: &Model,
    operation: Operation,
    body: &[u8],
    reads: &mut Reads,
    page_fault: Option<FaultKind>,
    now: Timestamp,
) -> Result<Vec<u8>, ApiError> {
    match operation {
        Operation::ListMetrics => list_metrics(model, &parse(body)?, page_fault, now).and_then(|page| render(&page)),
        Operation::GetMetricData => {
            get_metric_data(model, &parse(body)?, reads, page_fault).and_then(|page| render(&page))
        }
        _ => Err(crate::kms::unknown_operation()),
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    ciborium::from_reader(body).map_err(|error| ApiError::bad_request("SerializationException", error.to_string()))
}

fn render(answer: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    ciborium::into_writer(answer, &mut body)
        .map_err(|error| ApiError::new(500, "InternalServiceError", error.to_string()))?;
    Ok(body)
}

/// Callers that read the code from the header, as CloudWatch's do, find it there.
pub(crate) fn render_error(error: &ApiError) -> Vec<u8> {
    #[derive(Serialize)]
    struct Body<'a> {
        #[serde(rename = "__type")]
        code: String,
        message: &'a str,
    }
    let code = format!("com.amazonaws.cloudwatch#{}", error.code);
    render(&Body { code, message: &error.message }).unwrap_or_default()
}

fn validation(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("ValidationError", message)
}

fn invalid_token() -> ApiError {
    ApiError::bad_request("InvalidNextToken", "The next token is invalid.")
}

/// What follows from a fault of pages: whether the page is empty, and the token that it ends with.
fn spoilt(fault: Option<FaultKind>, token: Option<&String>, next: Option<String>) -> (bool, Option<String>) {
    let start = || Some(token.cloned().unwrap_or_else(|| "0:0".to_owned()));
    match fault {
        Some(FaultKind::SameMarker) => (false, token.cloned().or(next).or_else(start)),
        Some(FaultKind::EmptyPage) => (true, start()),
        _ => (false, next),
    }
}

/// Tokens are opaque to callers; the fleet's say which key or query to go on with, and where in it.
fn position(token: Option<&String>) -> Result<(usize, usize), ApiError> {
    let Some(token) = token else { return Ok((0, 0)) };
    let (first, second) = token.split_once(':').ok_or_else(invalid_token)?;
    first.parse().ok().zip(second.parse().ok()).ok_or_else(invalid_token)
}

fn list_metrics(
    model: &Model,
    request: &ListMetrics,
    page_fault: Option<FaultKind>,
    now: Timestamp,
) -> Result<Metrics, ApiError> {
    let (first, skipped) = position(request.next_token.as_ref())?;
    let matches = request.namespace.as_ref().is_none_or(|namespace| namespace == NAMESPACE)
        && request.metric_name.as_ref().is_none_or(|name| name == METRIC);
    let mut metrics = Vec::new();
    let mut next = None;
    let first = u32::try_from(first).map_err(|_| invalid_token())?;
    let page = model.description.page_size.unwrap_or(METRICS_A_PAGE).min(METRICS_A_PAGE);
    let keys = if matches { first..model.key_count() } else { 0..0 };
    'keys: for index in keys {
        let Some(key) = model.key(index) else { break };
        let skipped = if index == first { skipped } else { 0 };
        for (place, (operation, usage)) in key.entry.usage.iter().enumerate().skip(skipped) {
            if !is_listed(usage, now) {
                continue;
            }
            let dimensions = dimensions(model, &key, operation, usage);
            if !request.dimensions.iter().all(|filter| filter.holds(&dimensions)) {
                continue;
            }
            if metrics.len() == page {
                next = Some(format!("{index}:{place}"));
                break 'keys;
            }
            metrics.push(Metric { namespace: NAMESPACE.to_owned(), name: METRIC.to_owned(), dimensions });
        }
    }
    let (is_empty, next_token) = spoilt(page_fault, request.next_token.as_ref(), next);
    if is_empty {
        metrics.clear();
    }
    Ok(Metrics { metrics, next_token })
}

impl DimensionFilter {
    fn holds(&self, dimensions: &[Dimension]) -> bool {
        dimensions.iter().any(|dimension| {
            dimension.name == self.name && self.value.as_ref().is_none_or(|value| *value == dimension.value)
        })
    }
}

fn dimensions(model: &Model, key: &Key<'_>, operation: &str, usage: &Usage) -> Vec<Dimension> {
    let dimension = |name: &str, value: String| Dimension { name: name.to_owned(), value };
    let operation_dimension = dimension("Operation", operation.to_owned());
    if operation == "ReEncrypt" {
        let source = usage.source_key_id.as_ref();
        let source = source.map_or_else(|| key.arn(), |id| model.arn("kms", &format!("key/{id}")));
        vec![dimension("SourceKeyArn", source), dimension("DestinationKeyArn", key.arn()), operation_dimension]
    } else {
        vec![dimension("KeyArn", key.arn()), operation_dimension]
    }
}

fn get_metric_data(
    model: &Model,
    request: &GetMetricData,
    reads: &mut Reads,
    page_fault: Option<FaultKind>,
) -> Result<MetricData, ApiError> {
    check(request)?;
    let (first, skipped) = position(request.next_token.as_ref())?;
    let budget = request.max_datapoints.map_or(MAX_DATAPOINTS, |max| usize::try_from(max).unwrap_or(MAX_DATAPOINTS));
    let mut budget = model.description.metric_page_size.map_or(budget, |size| size.min(budget));
    let mut results = Vec::new();
    let mut next = None;
    for (place, query) in request.metric_data_queries.iter().enumerate().skip(first) {
        if budget == 0 {
            next = Some(format!("{place}:0"));
            break;
        }
        let skipped = if place == first { skipped } else { 0 };
        let series = series(model, &query.metric_stat.metric.dimensions);
        let mut points =
            series.map_or_else(Vec::new, |(key, operation, usage)| datapoints(usage, key.index, operation, request));
        let status = series.and_then(|(key, operation, usage)| untrue_status(usage, key.index, operation, reads));
        if request.scan_by.as_deref() != Some("TimestampAscending") {
            points.reverse();
        }
        match status {
            Some("PartialData") => points.truncate(points.len().div_euclid(2)),
            Some(_) => points.clear(),
            None => {}
        }
        let left = points.split_off(skipped.min(points.len()));
        let taken = left.len().min(budget);
        budget = budget.saturating_sub(taken);
        let is_whole = taken == left.len();
        let (timestamps, values) = left.into_iter().take(taken).map(|(time, value)| (Required(time), value)).unzip();
        results.push(MetricDataResult {
            id: query.id.clone(),
            label: METRIC.to_owned(),
            timestamps,
            values,
            status_code: status.unwrap_or(if is_whole { "Complete" } else { "PartialData" }).to_owned(),
        });
        if !is_whole {
            next = Some(format!("{place}:{}", skipped.saturating_add(taken)));
            break;
        }
    }
    let (is_empty, next_token) = spoilt(page_fault, request.next_token.as_ref(), next);
    if is_empty {
        results.clear();
    }
    let messages = model.description.metric_messages.iter();
    let messages = messages.map(|message| Message { code: message.code.clone(), value: message.value.clone() });
    Ok(MetricData { results, next_token, messages: messages.collect() })
}

fn check(request: &GetMetricData) -> Result<(), ApiError> {
    let queries = &request.metric_data_queries;
    if !(1..=MAX_QUERIES).contains(&queries.len()) {
        return Err(validation(format!(
            "The collection MetricDataQueries must not have a size less than 1 or greater than {MAX_QUERIES}."
        )));
    }
    if request.start_time >= request.end_time {
        return Err(validation("The parameter StartTime must be less than the parameter EndTime."));
    }
    if request.max_datapoints.is_some_and(|max| max < 1 || usize::try_from(max).is_ok_and(|max| max > MAX_DATAPOINTS)) {
        return Err(validation(format!("The parameter MaxDatapoints must be from 1 to {MAX_DATAPOINTS}.")));
    }
    let mut ids = BTreeSet::new();
    for MetricDataQuery { id, metric_stat, .. } in queries {
        let is_id = id.starts_with(|first: char| first.is_ascii_lowercase())
            && id.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
        if !is_id {
            return Err(validation(format!("The value {id} for parameter Id is not matching the expected pattern")));
        }
        if !ids.insert(id) {
            return Err(validation(format!("The values for parameter id in MetricDataQueries are not unique: {id}")));
        }
        if metric_stat.period != HOUR || metric_stat.stat != "Sum" {
            return Err(validation("The simulated fleet has hourly sums only."));
        }
    }
    Ok(())
}

/// The series of those dimensions, given in any order.
fn series<'a>(model: &'a Model, dimensions: &[Dimension]) -> Option<(Key<'a>, &'a str, &'a Usage)> {
    let value = |name: &str| {
        dimensions.iter().find(|dimension| dimension.name == name).map(|dimension| dimension.value.as_str())
    };
    let operation = value("Operation")?;
    let arn = value(if operation == "ReEncrypt" { "DestinationKeyArn" } else { "KeyArn" })?;
    let key = model.by_id(arn.strip_prefix(&model.arn("kms", "key/"))?)?;
    let (operation, usage) = key.entry.usage.get_key_value(operation)?;
    let own = self::dimensions(model, &key, operation, usage);
    let is_same = own.len() == dimensions.len()
        && own.iter().all(|dimension| value(&dimension.name) == Some(dimension.value.as_str()));
    is_same.then_some((key, operation, usage))
}

/// The datapoints of the time that is asked for, in its order: the hour's beginning in seconds, and the sum.
fn datapoints(usage: &Usage, key: u32, operation: &str, request: &GetMetricData) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for hour in 0..hours(usage) {
        let time = beginning(usage, hour).as_duration().as_secs_f64();
        if time >= request.start_time
            && time < request.end_time
            && let Some(value) = value(usage, hour)
        {
            let is_exact = usage.jitter <= 0.0 || usage.at.contains_key(&hour);
            let moved = || (value * (1.0 + usage.jitter * noise(key, operation, hour))).round();
            points.push((time, if is_exact { value } else { moved() }));
        }
    }
    points
}

fn hours(usage: &Usage) -> u32 {
    if usage.repeat.is_empty() { u32::try_from(usage.hourly.len()).unwrap_or(u32::MAX) } else { usage.hours }
}

fn beginning(usage: &Usage, hour: u32) -> Timestamp {
    usage.start.saturating_add(SignedDuration::from_hours(hour.into())).unwrap_or(Timestamp::MAX)
}

/// The value of that hour, if it has a datapoint.
fn value(usage: &Usage, hour: u32) -> Option<f64> {
    let place = usize::try_from(hour).ok()?;
    let value = match usage.at.get(&hour) {
        Some(value) => *value,
        None if usage.repeat.is_empty() => *usage.hourly.get(place)?,
        None => *usage.repeat.get(place.checked_rem(usage.repeat.len())?)?,
    };
    value.filter(|value| *value > 0.0)
}

fn is_listed(usage: &Usage, now: Timestamp) -> bool {
    let since = now.saturating_sub(SignedDuration::from_hours(LISTED_HOURS)).unwrap_or(Timestamp::MIN);
    let recent = (0..hours(usage)).rev().map(|hour| (hour, beginning(usage, hour)));
    recent
        .skip_while(|(_, time)| *time > now)
        .take_while(|(_, time)| *time >= since)
        .any(|(hour, _)| value(usage, hour).is_some())
}

/// A number from -1 to 1 that is as good as random.
fn noise(key: u32, operation: &str, hour: u32) -> f64 {
    let seed = operation.bytes().fold(u64::from(key), |hash, byte| hash.wrapping_mul(31).wrapping_add(byte.into()));
    // SplitMix64.
    let mut z =
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(hour).wrapping_mul(0xBF58_476D_1CE4_E5B9));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let bits = u32::try_from((z ^ (z >> 31)) >> 32).unwrap_or_default();
    f64::from(bits) / f64::from(u32::MAX) * 2.0 - 1.0
}

/// The status that the description asks for instead of the true one.
fn untrue_status<'a>(usage: &'a Usage, key: u32, operation: &str, reads: &mut Reads) -> Option<&'a str> {
    let SeriesStatus { code, times } = usage.status.as_ref()?;
    let read = reads.entry((key, operation.to_owned())).or_default();
    let before = *read;
    *read = before.saturating_add(1);
    times.is_none_or(|times| before < times).then_some(code)
}
