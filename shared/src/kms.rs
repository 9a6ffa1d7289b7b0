//! KMS as this product calls it: each operation paced to its share of the request quota, each failure of one of the
//! kinds that verdicts distinguish, each call counted.
//!
//! Pacing and retries belong together: a retry is a request and takes a slot of the quota like any other. That is why
//! the SDK's own retries are off here.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::DateTime;
use aws_sdk_kms::types::{KeyMetadata, MultiRegionKeyType};
use backon::{ExponentialBuilder, Retryable};
use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;

use crate::client::timeouts;
use crate::domain::evaluation::{Cause, Failure};
use crate::domain::key::{Key, MultiRegion, Unexpected};

/// Tries of a throttled call, the first included: with the waits between them some 6 to 12 seconds, in which a quota
/// refills as many times.
const TRIES_WHEN_THROTTLED: usize = 6;

/// Tries after any other failure that may pass.
const TRIES: usize = 3;

/// How long one try may take: KMS answers within tens of milliseconds.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The KMS operations that functions call, each with a request quota of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `DescribeKey`.
    DescribeKey,
    /// `GetKeyRotationStatus`.
    GetKeyRotationStatus,
    /// `ListAliases`.
    ListAliases,
    /// `ListKeyRotations`.
    ListKeyRotations,
    /// `ListKeys`.
    ListKeys,
    /// `ListResourceTags`.
    ListResourceTags,
}

impl Operation {
    const ALL: [Self; 6] = [
        Self::DescribeKey,
        Self::GetKeyRotationStatus,
        Self::ListAliases,
        Self::ListKeyRotations,
        Self::ListKeys,
        Self::ListResourceTags,
    ];

    /// Its name in KMS, and its default quota in requests per second for an account and Region (AWS KMS Developer
    /// Guide, "Request quotas").
    fn facts(self) -> (&'static str, f64) {
        match self {
            Self::DescribeKey => ("DescribeKey", 2_000.0),
            Self::GetKeyRotationStatus => ("GetKeyRotationStatus", 1_000.0),
            Self::ListAliases => ("ListAliases", 500.0),
            Self::ListKeyRotations => ("ListKeyRotations", 100.0),
            Self::ListKeys => ("ListKeys", 500.0),
            Self::ListResourceTags => ("ListResourceTags", 2_000.0),
        }
    }

    /// Its name in KMS.
    pub fn name(self) -> &'static str {
        self.facts().0
    }
}

type Pace = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;

/// A KMS client that stays inside its share of the request quotas. One for each run: it counts the run's calls.
#[derive(Debug)]
pub struct Kms {
    client: Client,
    paces: BTreeMap<Operation, Pace>,
    calls: AtomicU64,
    throttles: AtomicU64,
}

impl Kms {
    /// A client that uses `quota_share` (0 < x ≤ 1) of each quota.
    pub fn new(config: &SdkConfig, quota_share: f64) -> Self {
        let config = aws_sdk_kms::config::Builder::from(config)
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(TIMEOUT, TIMEOUT))
            .build();
        let pace = |operation| (operation, Pace::direct(quota(operation, quota_share)));
        Self {
            client: Client::from_conf(config),
            paces: Operation::ALL.into_iter().map(pace).collect(),
            calls: AtomicU64::new(0),
            throttles: AtomicU64::new(0),
        }
    }

    /// Requests sent so far, retries included.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Requests that KMS throttled so far.
    pub fn throttles(&self) -> u64 {
        self.throttles.load(Ordering::Relaxed)
    }

    /// Makes one call: waits for its slot, sends it, and tries again after failures that may pass.
    ///
    /// # Errors
    /// What the last try ended with.
    pub async fn call<T, E>(
        &self,
        operation: Operation,
        request: impl AsyncFn(&Client) -> Result<T, SdkError<E, HttpResponse>>,
    ) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let attempt = || async {
            if let Some(pace) = self.paces.get(&operation) {
                pace.until_ready().await;
            }
            self.calls.fetch_add(1, Ordering::Relaxed);
            let failure = match request(&self.client).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failure(operation, &error),
            };
            if failure.cause == Cause::Throttled {
                self.throttles.fetch_add(1, Ordering::Relaxed);
            }
            tracing::debug!(operation = operation.name(), cause = ?failure.cause, message = %failure.message, "a try failed");
            Err(failure)
        };
        let waits = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_jitter()
            .with_max_times(TRIES_WHEN_THROTTLED - 1);
        let mut tries = 0;
        attempt
            .retry(waits)
            .when(|failure: &Failure| {
                tries += 1;
                match failure.cause {
                    Cause::Throttled => true,
                    Cause::Timeout | Cause::ServiceError => tries < TRIES,
                    // An answer that cannot be read may have been cut off on the way.
                    Cause::Unexpected => failure.code.is_none() && tries < TRIES,
                    Cause::AccessDenied | Cause::NotFound | Cause::Unsupported => false,
                }
            })
            .await
    }

    /// Asks for the facts about a key. `arn` is what it goes by if the answer does not say.
    ///
    /// # Errors
    /// The call failed.
    pub async fn describe_key(&self, id: &str, arn: &str) -> Result<Key, Failure> {
        let answer = self.call(Operation::DescribeKey, async |kms| kms.describe_key().key_id(id).send().await).await?;
        let Some(facts) = answer.key_metadata else {
            return Err(unreadable(Operation::DescribeKey, "the answer has no KeyMetadata"));
        };
        Ok(Key {
            multi_region: multi_region(&facts),
            manager: facts.key_manager.as_ref().map(|it| it.as_str().into()),
            state: facts.key_state.as_ref().map(|it| it.as_str().into()),
            spec: facts.key_spec.as_ref().map(|it| it.as_str().into()),
            usage: facts.key_usage.as_ref().map(|it| it.as_str().into()),
            origin: facts.origin.as_ref().map(|it| it.as_str().into()),
            expiration_model: facts.expiration_model.as_ref().map(|it| it.as_str().into()),
            created_at: facts.creation_date.as_ref().and_then(timestamp),
            valid_to: facts.valid_to.as_ref().and_then(timestamp),
            arn: facts.arn.filter(|arn| arn.ends_with(&format!(":key/{id}"))).unwrap_or_else(|| arn.to_owned()),
            id: id.to_owned(),
        })
    }

    /// Reads a key's tags.
    ///
    /// # Errors
    /// A call failed, or the list breaks off.
    pub async fn tags(&self, key_id: &str) -> Result<BTreeMap<String, String>, Failure> {
        const OPERATION: Operation = Operation::ListResourceTags;
        let mut tags = BTreeMap::new();
        let mut pages = Pages::default();
        loop {
            let page = self
                .call(OPERATION, async |kms| {
                    kms.list_resource_tags().key_id(key_id).set_marker(pages.marker()).send().await
                })
                .await?;
            tags.extend(page.tags.unwrap_or_default().into_iter().map(|tag| (tag.tag_key, tag.tag_value)));
            if !pages.turn(page.truncated, page.next_marker).map_err(|why| unreadable(OPERATION, why))? {
                return Ok(tags);
            }
        }
    }
}

fn multi_region(facts: &KeyMetadata) -> Result<MultiRegion, Unexpected> {
    const TYPE: &str = "MultiRegionKeyType";
    let configuration = facts.multi_region_configuration.as_ref();
    let kind = configuration.and_then(|it| it.multi_region_key_type.as_ref()).map(MultiRegionKeyType::as_str);
    match (kind, configuration) {
        (Some("PRIMARY"), _) => Ok(MultiRegion::Primary),
        (Some("REPLICA"), Some(it)) => {
            Ok(MultiRegion::Replica(it.primary_key.as_ref().and_then(|primary| primary.arn.clone())))
        }
        (Some(other), _) => Err(Unexpected::value(Operation::DescribeKey.name(), TYPE, other)),
        (None, None) if facts.multi_region != Some(true) => Ok(MultiRegion::No),
        (None, _) => Err(Unexpected::absent(Operation::DescribeKey.name(), TYPE)),
    }
}

/// The failure of a call whose answer makes no sense.
pub fn unreadable(operation: Operation, message: &str) -> Failure {
    Failure { operation: operation.name(), cause: Cause::Unexpected, code: None, message: message.to_owned() }
}

/// How often in a row a listing may give the marker that it was asked with, as an empty page in between does.
const MOST_STANDSTILLS: u32 = 3;

/// Where a listing stands. The SDK's paginator looks at the marker alone and takes a list that breaks off for whole.
#[derive(Debug, Default)]
pub struct Pages {
    marker: Option<String>,
    standstills: u32,
}

impl Pages {
    /// The marker to ask the next page with; `None` for the first.
    pub fn marker(&self) -> Option<String> {
        self.marker.clone()
    }

    /// Takes what a page says of the next one. Is there one?
    ///
    /// # Errors
    /// In words, why the listing cannot go on although it is not at its end.
    pub fn turn(&mut self, truncated: bool, next_marker: Option<String>) -> Result<bool, &'static str> {
        if !truncated {
            return Ok(false);
        }
        if next_marker.is_none() {
            return Err("the answer says Truncated and gives no marker");
        }
        self.standstills = if next_marker == self.marker { self.standstills + 1 } else { 0 };
        if self.standstills > MOST_STANDSTILLS {
            return Err("the answers give the same marker again and again");
        }
        self.marker = next_marker;
        Ok(true)
    }
}

/// An SDK instant as ours; `None` if it lies outside the years that ours can name.
pub fn timestamp(instant: &DateTime) -> Option<Timestamp> {
    Timestamp::new(instant.secs(), i32::try_from(instant.subsec_nanos()).ok()?).ok()
}

/// A steady pace with bursts of at most a tenth of a second.
fn quota(operation: Operation, share: f64) -> Quota {
    let per_second = operation.facts().1 * share;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a tenth of the quota")]
    let burst = NonZeroU32::new((per_second / 10.0) as u32).unwrap_or(NonZeroU32::MIN);
    let interval = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
    Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

fn failure<E>(operation: Operation, error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let cause = match error {
        SdkError::TimeoutError(_) => Cause::Timeout,
        SdkError::DispatchFailure(transport) if transport.is_timeout() => Cause::Timeout,
        SdkError::DispatchFailure(_) => Cause::ServiceError,
        SdkError::ServiceError(answer) => cause_of_answer(error.code(), answer.raw().status().as_u16()),
        _ => Cause::Unexpected,
    };
    let message = match error.message() {
        Some(message) => message.to_owned(),
        None if error.as_service_error().is_some() => String::new(),
        None => chain(error),
    };
    Failure { operation: operation.name(), cause, code: error.code().map(str::to_owned), message }
}

/// KMS does not model denial and throttling: only the code tells.
fn cause_of_answer(code: Option<&str>, status: u16) -> Cause {
    match code {
        Some("AccessDeniedException" | "AccessDenied") => Cause::AccessDenied,
        Some("NotFoundException") => Cause::NotFound,
        Some("UnsupportedOperationException") => Cause::Unsupported,
        Some("ThrottlingException" | "Throttling" | "TooManyRequestsException" | "RequestLimitExceeded") => {
            Cause::Throttled
        }
        _ if status == 429 => Cause::Throttled,
        _ if status >= 500 => Cause::ServiceError,
        _ if status == 403 => Cause::AccessDenied,
        _ => Cause::Unexpected,
    }
}

/// An error and its sources, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_by_code_then_by_status() {
        for (code, status, cause) in [
            (Some("AccessDeniedException"), 400, Cause::AccessDenied),
            (Some("NotFoundException"), 400, Cause::NotFound),
            (Some("UnsupportedOperationException"), 400, Cause::Unsupported),
            (Some("ThrottlingException"), 400, Cause::Throttled),
            (Some("KMSInternalException"), 500, Cause::ServiceError),
            (Some("DependencyTimeoutException"), 503, Cause::ServiceError),
            (None, 500, Cause::ServiceError),
            (None, 429, Cause::Throttled),
            (None, 403, Cause::AccessDenied),
            (Some("KMSInvalidStateException"), 400, Cause::Unexpected),
            (Some("BrandNewException"), 400, Cause::Unexpected),
            (None, 400, Cause::Unexpected),
        ] {
            assert_eq!(cause_of_answer(code, status), cause, "{code:?} {status}");
        }
    }

    #[test]
    fn a_listing_goes_on_until_it_says_that_it_ends() {
        let marker = |text: &str| Some(text.to_owned());
        let mut pages = Pages::default();
        assert_eq!((pages.marker(), pages.turn(true, marker("a"))), (None, Ok(true)));
        // An empty page in between.
        assert_eq!((pages.marker(), pages.turn(true, marker("a"))), (marker("a"), Ok(true)));
        assert_eq!((pages.turn(true, marker("b")), pages.marker()), (Ok(true), marker("b")));
        assert_eq!(pages.turn(false, marker("c")), Ok(false));
        assert!(Pages::default().turn(true, None).is_err());
        let mut turns = (0..10).map(|_| pages.turn(true, marker("b")));
        assert!(turns.any(|turn| turn.is_err()), "no listing without end");
    }

    #[test]
    fn every_operation_has_its_pace() {
        // One that `ALL` forgets would run without.
        let names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        let expected =
            ["DescribeKey", "GetKeyRotationStatus", "ListAliases", "ListKeyRotations", "ListKeys", "ListResourceTags"];
        assert_eq!(names, expected);
    }

    #[test]
    fn the_pace_is_the_share_of_the_quota_however_small() {
        for (share, per_second) in [(1.0, 2_000.0), (0.2, 400.0), (0.000_1, 0.2), (1e-9, 0.000_002)] {
            let quota = quota(Operation::DescribeKey, share);
            let interval = quota.replenish_interval().as_secs_f64();
            assert!((interval * per_second - 1.0).abs() < 1e-3, "{share}: {interval}");
            assert!(f64::from(quota.burst_size().get()) <= (per_second / 10.0).max(1.0));
        }
    }
}
