//! How this product talks to AWS: the HTTPS client, and time-outs, once for all services.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, ConfigLoader};
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

/// The SDK sets a connect time-out only. The others are many times what AWS needs on a bad day.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);

/// Time-outs of a client whose calls may take so long, one try of [`Calls`](crate::call::Calls) each.
pub fn timeouts(attempt: Duration) -> TimeoutConfig {
    TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).operation_attempt_timeout(attempt).build()
}

/// What the configuration of all service clients is loaded by. Retries are [`Calls`](crate::call::Calls)' own.
pub fn sdk_config() -> ConfigLoader {
    // ring needs no jitter entropy at the first handshake, which costs aws-lc some 40 ms of CPU.
    let https = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(https)
        .timeout_config(timeouts(TIMEOUT))
        .retry_config(RetryConfig::disabled())
}
