//! KMS as this product calls it: each operation paced to its share of the request quota, each failure of one of the
//! kinds that verdicts distinguish, each call counted.
//!
//! Pacing and retries belong together: a retry is a request and takes a slot of the quota like any other. That is why
//! the SDK's own retries are off here.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_kms::config::{ConfigBag, Intercept, Region, RuntimeComponents};
use aws_sdk_kms::error::{BoxError, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::DateTime;
use aws_sdk_kms::types::{
    EncryptionAlgorithmSpec, KeyMetadata, MacAlgorithmSpec, MultiRegionKeyType, SigningAlgorithmSpec,
};
use backon::{ExponentialBuilder, Retryable};
use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use jiff::Timestamp;
use serde_json::Value;

use crate::client::timeouts;
use crate::domain::evaluation::{Cause, Failure};
use crate::domain::key::{Key, MultiRegion, RelatedKey, Unexpected};

/// Tries of a throttled call, the first included: with the waits between them some 6 to 12 seconds, in which a quota
/// refills as many times.
const TRIES_WHEN_THROTTLED: usize = 6;

/// Tries after any other failure that may pass.
const TRIES: usize = 3;

/// How long one try may take: KMS answers within tens of milliseconds.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The KMS operations that functions call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// `Decrypt`.
    Decrypt(Cryptography),
    /// `DescribeCustomKeyStores`.
    DescribeCustomKeyStores,
    /// `DescribeKey`.
    DescribeKey,
    /// `Encrypt`.
    Encrypt(Cryptography),
    /// `GenerateMac`.
    GenerateMac(Cryptography),
    /// `GetKeyLastUsage`.
    GetKeyLastUsage,
    /// `GetKeyPolicy`.
    GetKeyPolicy,
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
    /// `Sign`.
    Sign(Cryptography),
    /// `Verify`.
    Verify(Cryptography),
    /// `VerifyMac`.
    VerifyMac(Cryptography),
}

/// The kinds of keys whose use has a request quota of its own, shared by all operations that use such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cryptography {
    /// Symmetric encryption and HMAC keys.
    Symmetric,
    /// RSA keys.
    Rsa,
    /// All other asymmetric keys.
    EllipticCurve,
    /// Keys in custom key stores. The quota is one store's; all stores are held to it together.
    CustomKeyStore,
}

/// A request quota: its name and its default, in requests per second for an account and Region.
type RequestQuota = (&'static str, f64);

impl Operation {
    /// The operations that have a quota of their own.
    const WITH_OWN_QUOTA: [Self; 9] = [
        Self::DescribeCustomKeyStores,
        Self::DescribeKey,
        Self::GetKeyLastUsage,
        Self::GetKeyPolicy,
        Self::GetKeyRotationStatus,
        Self::ListAliases,
        Self::ListKeyRotations,
        Self::ListKeys,
        Self::ListResourceTags,
    ];

    /// Its name in KMS.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decrypt(_) => "Decrypt",
            Self::DescribeCustomKeyStores => "DescribeCustomKeyStores",
            Self::DescribeKey => "DescribeKey",
            Self::Encrypt(_) => "Encrypt",
            Self::GenerateMac(_) => "GenerateMac",
            Self::GetKeyLastUsage => "GetKeyLastUsage",
            Self::GetKeyPolicy => "GetKeyPolicy",
            Self::GetKeyRotationStatus => "GetKeyRotationStatus",
            Self::ListAliases => "ListAliases",
            Self::ListKeyRotations => "ListKeyRotations",
            Self::ListKeys => "ListKeys",
            Self::ListResourceTags => "ListResourceTags",
            Self::Sign(_) => "Sign",
            Self::Verify(_) => "Verify",
            Self::VerifyMac(_) => "VerifyMac",
        }
    }

    /// The quota that it counts against (AWS KMS Developer Guide, "Request quotas").
    fn quota(self) -> RequestQuota {
        let per_second = match self {
            Self::DescribeKey | Self::ListResourceTags => 2_000.0,
            Self::GetKeyPolicy | Self::GetKeyRotationStatus => 1_000.0,
            Self::ListAliases | Self::ListKeys => 500.0,
            Self::ListKeyRotations => 100.0,
            Self::DescribeCustomKeyStores | Self::GetKeyLastUsage => 5.0,
            Self::Decrypt(key)
            | Self::Encrypt(key)
            | Self::GenerateMac(key)
            | Self::Sign(key)
            | Self::Verify(key)
            | Self::VerifyMac(key) => return key.quota(),
        };
        (self.name(), per_second)
    }
}

impl Cryptography {
    const ALL: [Self; 4] = [Self::Symmetric, Self::Rsa, Self::EllipticCurve, Self::CustomKeyStore];

    fn quota(self) -> RequestQuota {
        match self {
            Self::Symmetric => ("symmetric cryptography", 10_000.0),
            Self::Rsa => ("RSA cryptography", 1_000.0),
            Self::EllipticCurve => ("elliptic curve cryptography", 1_000.0),
            Self::CustomKeyStore => ("custom key store cryptography", 1_800.0),
        }
    }
}

type Pace = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;

/// A KMS client that stays inside its share of the request quotas. One for each run and Region: it counts the run's calls.
#[derive(Debug)]
pub struct Kms {
    client: Client,
    quota_share: f64,
    paces: BTreeMap<&'static str, Pace>,
    counts: Arc<Counts>,
}

/// What the clients of one run count together.
#[derive(Debug, Default)]
struct Counts {
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
        Self::of(Client::from_conf(config), quota_share, Arc::default())
    }

    /// A client of another Region, with the quotas of that Region. Its calls count among those of this one.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.client.config().to_builder().region(Region::new(region.to_owned())).build();
        Self::of(Client::from_conf(config), self.quota_share, Arc::clone(&self.counts))
    }

    fn of(client: Client, quota_share: f64, counts: Arc<Counts>) -> Self {
        let quotas = Operation::WITH_OWN_QUOTA.map(Operation::quota).into_iter();
        let quotas = quotas.chain(Cryptography::ALL.map(Cryptography::quota));
        let paces = quotas.map(|(name, per_second)| (name, Pace::direct(pace(per_second * quota_share)))).collect();
        Self { client, quota_share, paces, counts }
    }

    /// Requests sent so far, retries included.
    pub fn calls(&self) -> u64 {
        self.counts.calls.load(Ordering::Relaxed)
    }

    /// Requests that KMS throttled so far.
    pub fn throttles(&self) -> u64 {
        self.counts.throttles.load(Ordering::Relaxed)
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
            if let Some(pace) = self.paces.get(operation.quota().0) {
                pace.until_ready().await;
            }
            self.counts.calls.fetch_add(1, Ordering::Relaxed);
            let failure = match request(&self.client).await {
                Ok(answer) => return Ok(answer),
                Err(error) => failure(operation.name(), &error),
            };
            if failure.cause == Cause::Throttled {
                self.counts.throttles.fetch_add(1, Ordering::Relaxed);
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
            deletion_date: facts.deletion_date.as_ref().and_then(timestamp),
            waiting_period_days: facts.pending_deletion_window_in_days,
            algorithms: algorithms(&facts),
            replicas: replicas(&facts),
            custom_key_store_id: facts.custom_key_store_id,
            arn: facts.arn.filter(|arn| arn.ends_with(&format!(":key/{id}"))).unwrap_or_else(|| arn.to_owned()),
            id: id.to_owned(),
        })
    }

    /// Asks for the tags of a key.
    ///
    /// # Errors
    /// The call failed.
    pub async fn tags(&self, id: &str) -> Result<BTreeMap<String, String>, Failure> {
        const OPERATION: Operation = Operation::ListResourceTags;
        let mut tags = BTreeMap::new();
        let mut pages = Pages::default();
        loop {
            let page = self
                .call(OPERATION, async |kms| {
                    kms.list_resource_tags().key_id(id).set_marker(pages.marker()).send().await
                })
                .await?;
            tags.extend(page.tags.unwrap_or_default().into_iter().map(|tag| (tag.tag_key, tag.tag_value)));
            if !pages.turn(page.truncated, page.next_marker).map_err(|why| unreadable(OPERATION, why))? {
                return Ok(tags);
            }
        }
    }
}

fn algorithms(facts: &KeyMetadata) -> Vec<String> {
    let encryption = facts.encryption_algorithms().iter().map(EncryptionAlgorithmSpec::as_str);
    let signing = facts.signing_algorithms().iter().map(SigningAlgorithmSpec::as_str);
    let mac = facts.mac_algorithms().iter().map(MacAlgorithmSpec::as_str);
    encryption.chain(signing).chain(mac).map(str::to_owned).collect()
}

fn replicas(facts: &KeyMetadata) -> Result<Vec<RelatedKey>, Unexpected> {
    let absent = || Unexpected::absent(Operation::DescribeKey.name(), "ReplicaKeys");
    match facts.multi_region_configuration.as_ref() {
        Some(it) if it.multi_region_key_type == Some(MultiRegionKeyType::Primary) => it
            .replica_keys()
            .iter()
            .map(|it| {
                let (arn, region) = (it.arn.clone().ok_or_else(absent)?, it.region.clone().ok_or_else(absent)?);
                Ok(RelatedKey { arn, region })
            })
            .collect(),
        _ => Ok(Vec::new()),
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

/// Looks whether an answer has a member at all that is true or false: the SDK reads an answer without it as `false`.
///
/// It is given to one call as its interceptor, and tells of that call's last answer.
#[derive(Clone, Debug)]
pub struct BoolIsThere {
    member: &'static str,
    there: Arc<AtomicBool>,
}

impl BoolIsThere {
    /// Looks for the member of that name.
    pub fn new(member: &'static str) -> Self {
        Self { member, there: Arc::default() }
    }

    /// Was it there?
    pub fn get(&self) -> bool {
        self.there.load(Ordering::Relaxed)
    }
}

impl Intercept for BoolIsThere {
    fn name(&self) -> &'static str {
        "BoolIsThere"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let body = context.response().body().bytes().unwrap_or_default();
        let there = serde_json::from_slice::<Value>(body)
            .is_ok_and(|body| body.get(self.member).is_some_and(Value::is_boolean));
        self.there.store(there, Ordering::Relaxed);
        Ok(())
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
fn pace(per_second: f64) -> Quota {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a tenth of the quota")]
    let burst = NonZeroU32::new((per_second / 10.0) as u32).unwrap_or(NonZeroU32::MIN);
    let interval = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
    Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

/// What kind of failure an operation ended with, of KMS or of another service.
pub fn failure<E>(operation: &'static str, error: &SdkError<E, HttpResponse>) -> Failure
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
    Failure { operation, cause, code: error.code().map(str::to_owned), message }
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

    /// Every operation, with each kind of key that it uses.
    fn operations() -> Vec<Operation> {
        use Operation::{Decrypt, Encrypt, GenerateMac, Sign, Verify, VerifyMac};
        let using = |key| [Decrypt(key), Encrypt(key), GenerateMac(key), Sign(key), Verify(key), VerifyMac(key)];
        Operation::WITH_OWN_QUOTA.into_iter().chain(Cryptography::ALL.into_iter().flat_map(using)).collect()
    }

    #[tokio::test]
    async fn every_operation_has_its_pace() {
        let kms = kms();
        let names: Vec<_> = operations().into_iter().map(Operation::name).collect();
        for expected in [
            "Decrypt",
            "DescribeCustomKeyStores",
            "DescribeKey",
            "Encrypt",
            "GenerateMac",
            "GetKeyLastUsage",
            "GetKeyPolicy",
            "GetKeyRotationStatus",
            "ListAliases",
            "ListKeyRotations",
            "ListKeys",
            "ListResourceTags",
            "Sign",
            "Verify",
            "VerifyMac",
        ] {
            assert!(names.contains(&expected), "{expected}");
        }
        for operation in operations() {
            assert!(kms.paces.contains_key(operation.quota().0), "{operation:?}");
        }
    }

    #[tokio::test]
    async fn a_client_of_another_region_has_quotas_of_its_own_and_counts_with_the_first() {
        let here = kms();
        let there = here.in_region("eu-west-1");
        assert_eq!(there.client.config().region().map(AsRef::as_ref), Some("eu-west-1"));
        assert_eq!(there.client.config().retry_config().map(RetryConfig::max_attempts), Some(1));
        for kms in [&here, &there] {
            let answer = kms.call(Operation::DescribeKey, async |kms| kms.describe_key().key_id("k").send().await);
            assert!(answer.await.is_err());
        }
        let tries = TRIES as u64;
        assert_eq!((here.calls(), there.calls()), (2 * tries, 2 * tries));
    }

    /// A client that reaches nobody.
    fn kms() -> Kms {
        let config = SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url("http://127.0.0.1:1")
            .build();
        Kms::new(&config, 1.0)
    }

    #[test]
    fn the_pace_is_the_share_of_the_quota_however_small() {
        for (share, per_second) in [(1.0, 2_000.0), (0.2, 400.0), (0.000_1, 0.2), (1e-9, 0.000_002)] {
            let quota = pace(Operation::DescribeKey.quota().1 * share);
            let interval = quota.replenish_interval().as_secs_f64();
            assert!((interval * per_second - 1.0).abs() < 1e-3, "{share}: {interval}");
            assert!(f64::from(quota.burst_size().get()) <= (per_second / 10.0).max(1.0));
        }
    }
}
