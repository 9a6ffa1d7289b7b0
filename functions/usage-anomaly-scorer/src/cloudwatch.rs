//! CloudWatch as this function calls it: which series of KMS there are, and what they count.
//!
//! The datapoints of all keys never lie in memory together: a batch of series is read to its end and handed on.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws::call::Calls;
use aws::config::timeouts;
use aws::operation::{GET_METRIC_DATA, LIST_METRICS, Operation};
use aws::pace::QuotaShare;
use aws::pages::Pages;
use aws_config::SdkConfig;
use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::{Dimension, Metric, MetricDataQuery, MetricStat, StatusCode};
use domain::failure::{Cause, Failure};
use futures::StreamExt;
use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::time::{Instant, timeout_at};

use crate::usage::{Points, Series, Span, key_id};

const NAMESPACE: &str = "AWS/KMS";
const METRIC: &str = "SuccessfulRequest";

/// Seconds that one datapoint stands for.
const PERIOD: i32 = 3_600;

/// Most series that one call can ask for.
const SERIES_A_CALL: usize = 500;

/// Most datapoints that one answer holds; what is beyond comes on further pages.
const DATAPOINTS_A_PAGE: NonZeroU32 = NonZeroU32::new(100_800).unwrap();

/// Datapoints that an account and Region may read in a second by calls that go back more than three hours (Amazon
/// CloudWatch User Guide, "CloudWatch service quotas").
const DATAPOINTS_QUOTA: f64 = 396_000.0;

/// How long one try may take: an answer with 100,800 datapoints takes seconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Batches that are read at the same time.
const BATCHES_AT_A_TIME: usize = 4;

/// How often a series is asked for whose values came in part or not at all, while the call itself went well.
const READINGS: u32 = 3;

/// Wait before each further reading.
const WAIT: Duration = Duration::from_secs(1);

/// After n calls in a row that failed past all tries, no further one is made.
const MAX_FAILURES: u32 = 2;

type Pace = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;

/// A CloudWatch client that stays inside its share of the quotas.
#[derive(Debug)]
pub struct CloudWatch {
    client: Client,
    calls: Calls,
    datapoints: Pace,
}

/// Which series there are.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Those that were found.
    pub series: Vec<Series>,
    /// Why there may be more.
    pub failure: Option<Failure>,
}

impl CloudWatch {
    /// A client that uses that share of each quota.
    pub fn new(config: &SdkConfig, quota_share: QuotaShare) -> Self {
        let config = aws_sdk_cloudwatch::config::Builder::from(config).timeout_config(timeouts(TIMEOUT)).build();
        let datapoints = steady(DATAPOINTS_QUOTA * quota_share.part(GET_METRIC_DATA)).allow_burst(DATAPOINTS_A_PAGE);
        Self { client: Client::from_conf(config), calls: Calls::new(quota_share), datapoints: Pace::direct(datapoints) }
    }

    /// Finds the series of the keys that are wanted. CloudWatch lists those with data in the last two weeks.
    pub async fn discover(&self, wanted: impl Fn(&str) -> bool, until: Instant) -> Discovery {
        let mut discovery = Discovery::default();
        discovery.failure = match timeout_at(until, self.list(&wanted, &mut discovery.series)).await {
            Ok(listed) => listed.err(),
            Err(_) => Some(out_of_time(LIST_METRICS)),
        };
        discovery
    }

    async fn list(&self, wanted: &impl Fn(&str) -> bool, found: &mut Vec<Series>) -> Result<(), Failure> {
        let mut operations = BTreeSet::new();
        let mut pages = Pages::of(LIST_METRICS);
        let ask = async |token: Option<String>| {
            let request = self.client.list_metrics().namespace(NAMESPACE).metric_name(METRIC).set_next_token(token);
            self.calls.make(LIST_METRICS, async || request.clone().send().await).await
        };
        while let Some(page) = pages.next(ask, |page| more(page.next_token.as_ref())).await? {
            for metric in page.metrics() {
                let Some(series) = series_of(metric, &mut operations) else {
                    tracing::debug!(?metric, "a series with other dimensions than are known");
                    continue;
                };
                if wanted(key_id(&series.key_arn)) || series.source_key_arn.as_deref().map(key_id).is_some_and(wanted) {
                    found.push(series);
                }
            }
        }
        Ok(())
    }

    /// Reads the series, in their order and as far as time allows, and gives each to `take` with what came of it.
    pub async fn read(
        &self,
        series: &[Arc<Series>],
        span: Span,
        until: Instant,
        mut take: impl FnMut(&Arc<Series>, Result<Points, Arc<Failure>>),
    ) {
        let mut left: BTreeMap<usize, Option<Arc<Failure>>> = (0..series.len()).map(|place| (place, None)).collect();
        let read = timeout_at(until, self.read_all(series, span, &mut left, &mut take)).await;
        let end = Arc::new(read.unwrap_or_default().unwrap_or_else(|| out_of_time(GET_METRIC_DATA)));
        for (place, failure) in left {
            if let Some(series) = series.get(place) {
                take(series, Err(failure.unwrap_or_else(|| Arc::clone(&end))));
            }
        }
    }

    /// What it does not take is still among those `left`, with the reason where there is one of its own. Returns why no
    /// further call is made, if that is so.
    async fn read_all(
        &self,
        series: &[Arc<Series>],
        span: Span,
        left: &mut BTreeMap<usize, Option<Arc<Failure>>>,
        take: &mut impl FnMut(&Arc<Series>, Result<Points, Arc<Failure>>),
    ) -> Option<Failure> {
        let mut asked: Vec<(usize, &Arc<Series>)> = series.iter().enumerate().collect();
        let mut failures = 0;
        for _ in 0..READINGS {
            let mut again = Vec::new();
            {
                let batches = futures::stream::iter(asked.chunks(SERIES_A_CALL))
                    .map(async |batch| (batch, self.read_batch(batch, span).await))
                    .buffer_unordered(BATCHES_AT_A_TIME);
                let mut batches = pin!(batches);
                while let Some((asked, Batch { series, failure })) = batches.next().await {
                    for ((place, asked), points) in asked.iter().zip(series) {
                        match points {
                            Ok(points) => {
                                left.remove(place);
                                take(asked, Ok(points));
                                // Scoring takes its time: the calls that are under way may go on.
                                tokio::task::yield_now().await;
                            }
                            Err(of_series) => {
                                left.insert(*place, Some(Arc::new(of_series)));
                                again.extend(failure.is_none().then_some((*place, *asked)));
                            }
                        }
                    }
                    let Some(failure) = failure else {
                        failures = 0;
                        continue;
                    };
                    failures += 1;
                    // What is denied once is denied the next time too.
                    if failure.cause == Cause::AccessDenied || failures == MAX_FAILURES {
                        return Some(failure);
                    }
                }
            }
            if again.is_empty() {
                break;
            }
            asked = again;
            tokio::time::sleep(WAIT).await;
        }
        None
    }

    /// Reads a batch to the end of its pages.
    async fn read_batch(&self, asked: &[(usize, &Arc<Series>)], span: Span) -> Batch {
        let queries: Vec<_> = asked.iter().enumerate().map(|(place, (_, series))| query(place, series)).collect();
        let mut gathered: Vec<Gathered> = vec![Gathered::default(); asked.len()];
        let mut pages = Pages::of(GET_METRIC_DATA);
        let ask = async |token: Option<String>| {
            let request = self
                .client
                .get_metric_data()
                .set_metric_data_queries(Some(queries.clone()))
                .start_time(DateTime::from_secs(span.from))
                .end_time(DateTime::from_secs(span.until))
                .set_next_token(token);
            self.calls.make(GET_METRIC_DATA, async || request.clone().send().await).await
        };
        let failure = loop {
            let page = match pages.next(ask, |page| more(page.next_token.as_ref())).await {
                Ok(Some(page)) => page,
                Ok(None) => break None,
                Err(failure) => break Some(failure),
            };
            for message in page.messages() {
                tracing::warn!(
                    code = message.code(),
                    value = message.value(),
                    "CloudWatch says something on its answer"
                );
            }
            let mut datapoints = 0;
            for result in page.metric_data_results() {
                datapoints += result.values().len();
                let place: Option<usize> = result.id().and_then(|id| id.strip_prefix('q')?.parse().ok());
                if let Some(gathered) = place.and_then(|place| gathered.get_mut(place)) {
                    for (at, count) in result.timestamps().iter().zip(result.values()) {
                        gathered.points.add(span, at.secs(), *count);
                    }
                    gathered.status = result.status_code().cloned();
                }
            }
            if let Ok(Some(datapoints)) = u32::try_from(datapoints).map(NonZeroU32::new) {
                // More than a page may hold is not to be paid for at once; nothing more can be done about it.
                let _ = self.datapoints.until_n_ready(datapoints).await;
            }
        };
        let series = gathered.into_iter().map(|it| it.finish(failure.as_ref())).collect();
        Batch { series, failure }
    }
}

/// What came of one batch.
struct Batch {
    /// In the order of the batch.
    series: Vec<Result<Points, Failure>>,
    /// What the last call failed with.
    failure: Option<Failure>,
}

/// What the pages so far said of a series.
#[derive(Clone, Debug, Default)]
struct Gathered {
    points: Points,
    status: Option<StatusCode>,
}

impl Gathered {
    fn finish(self, failure: Option<&Failure>) -> Result<Points, Failure> {
        let cause = match (&self.status, failure) {
            (Some(StatusCode::Complete), _) => return Ok(self.points),
            (_, Some(failure)) => return Err(failure.clone()),
            (Some(StatusCode::InternalError | StatusCode::PartialData), None) => Cause::ServiceError,
            (Some(StatusCode::Forbidden), None) => Cause::AccessDenied,
            (Some(_) | None, None) => Cause::Unexpected,
        };
        Err(Failure {
            cause,
            code: self.status.map(|status| status.as_str().to_owned()),
            ..GET_METRIC_DATA.unreadable("the answer does not hold the whole series")
        })
    }
}

/// A series by its dimensions; `None` if they are not those of a key's or two keys' requests.
fn series_of(metric: &Metric, operations: &mut BTreeSet<Arc<str>>) -> Option<Series> {
    let value = |name: &str| {
        let mut dimensions = metric.dimensions().iter();
        dimensions.find(|dimension| dimension.name() == Some(name))?.value()
    };
    let (key, source) = match metric.dimensions().len() {
        2 => (value("KeyArn")?, None),
        3 => (value("DestinationKeyArn")?, Some(value("SourceKeyArn")?)),
        _ => return None,
    };
    let operation = value("Operation")?;
    // There are few operations and many series: each name is kept once.
    let operation = operations.get(operation).cloned().unwrap_or_else(|| {
        let operation: Arc<str> = operation.into();
        operations.insert(Arc::clone(&operation));
        operation
    });
    Some(Series { key_arn: key.to_owned(), operation, source_key_arn: source.map(str::to_owned) })
}

fn query(place: usize, series: &Series) -> MetricDataQuery {
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    let metric = Metric::builder().namespace(NAMESPACE).metric_name(METRIC);
    let metric = match &series.source_key_arn {
        None => metric.dimensions(dimension("KeyArn", &series.key_arn)),
        Some(source) => metric
            .dimensions(dimension("SourceKeyArn", source))
            .dimensions(dimension("DestinationKeyArn", &series.key_arn)),
    };
    let metric = metric.dimensions(dimension("Operation", &series.operation)).build();
    let stat = MetricStat::builder().metric(metric).period(PERIOD).stat("Sum").build();
    MetricDataQuery::builder().id(format!("q{place}")).metric_stat(stat).build()
}

fn out_of_time(operation: Operation) -> Failure {
    Failure { cause: Cause::Timeout, ..operation.unreadable("the time of the run was over") }
}

/// Are there more pages, and by which token?
fn more(next_token: Option<&String>) -> (bool, Option<String>) {
    let token = next_token.filter(|token| !token.is_empty()).cloned();
    (token.is_some(), token)
}

/// A pace of n a second, one by one.
fn steady(per_second: f64) -> Quota {
    let interval = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
    Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
}
