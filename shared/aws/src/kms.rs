//! KMS: what more than one function asks of it.

mod aliases;
mod keys;
mod policy;
mod tags;

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::Region;
use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use domain::failure::Failure;

pub use keys::KeyPages;

use crate::call::Calls;
use crate::config::timeouts;
use crate::operation::Operation;
use crate::pace::QuotaShare;

/// How long one try may take: KMS answers within tens of milliseconds.
const TIMEOUT: Duration = Duration::from_secs(3);

/// A KMS client that stays inside its share of the request quotas. One for each run and Region: it counts the run's calls.
#[derive(Debug)]
pub struct Kms {
    client: Client,
    calls: Calls,
}

impl Kms {
    /// A client that uses that share of each quota.
    pub fn new(config: &SdkConfig, quota_share: QuotaShare) -> Self {
        let config = aws_sdk_kms::config::Builder::from(config).timeout_config(timeouts(TIMEOUT)).build();
        Self { client: Client::from_conf(config), calls: Calls::new(quota_share) }
    }

    /// A client of another Region, with the quotas of that Region. Its calls count among those of this one.
    #[must_use]
    pub fn in_region(&self, region: &str) -> Self {
        let config = self.client.config().to_builder().region(Region::new(region.to_owned())).build();
        Self { client: Client::from_conf(config), calls: self.calls.to_another_region() }
    }

    /// The calls so far.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Makes one call.
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
        self.calls.make(operation, async || request(&self.client).await).await
    }
}

#[cfg(test)]
mod tests {
    use aws_config::retry::RetryConfig;

    use super::*;
    use crate::call::TRIES;
    use crate::config::sdk_config;
    use crate::operation::DESCRIBE_KEY;

    /// A client that reaches nobody.
    async fn kms() -> Kms {
        let config = sdk_config().region(Region::new("us-east-1")).endpoint_url("http://127.0.0.1:1");
        Kms::new(&config.test_credentials().load().await, QuotaShare::WHOLE)
    }

    #[tokio::test]
    async fn a_client_of_another_region_has_quotas_of_its_own_and_counts_with_the_first() {
        let here = kms().await;
        let there = here.in_region("eu-west-1");
        assert_eq!(there.client.config().region().map(AsRef::as_ref), Some("eu-west-1"));
        assert_eq!(there.client.config().retry_config().map(RetryConfig::max_attempts), Some(1));
        for kms in [&here, &there] {
            let answer = kms.call(DESCRIBE_KEY, async |kms| kms.describe_key().key_id("k").send().await);
            assert!(answer.await.is_err());
        }
        let tries = TRIES as u64;
        assert_eq!((here.calls().sent(), there.calls().sent()), (2 * tries, 2 * tries));
    }
}
