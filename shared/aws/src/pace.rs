//! The pace of requests: a share of each request quota.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::DefaultClock;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::operation::{ALL, Cryptography, Operation};

type Pace = RateLimiter<NotKeyed, InMemoryState, DefaultClock>;

/// The paces of one Region.
#[derive(Debug)]
pub(crate) struct Paces(BTreeMap<(&'static str, &'static str), Pace>);

impl Paces {
    /// Paces that use `share` (0 < x ≤ 1) of each quota.
    pub(crate) fn new(share: f64) -> Self {
        let of_rows = ALL.iter().filter_map(|row| Some((row.service(), row.quota()?)));
        let quotas = of_rows.chain(Cryptography::ALL.map(|key| ("kms", key.quota())));
        let pace = |per_second: f64| Pace::direct(steady(per_second * share));
        Self(quotas.map(|(service, (name, per_second))| ((service, name), pace(per_second))).collect())
    }

    /// Waits until the operation may be called.
    pub(crate) async fn wait(&self, operation: Operation) {
        let pace = operation.quota().and_then(|(name, _)| self.0.get(&(operation.service(), name)));
        if let Some(pace) = pace {
            pace.until_ready().await;
        }
    }
}

/// A steady pace with bursts of at most a tenth of a second.
fn steady(per_second: f64) -> Quota {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and a tenth of the quota")]
    let burst = NonZeroU32::new((per_second / 10.0) as u32).unwrap_or(NonZeroU32::MIN);
    let interval = Duration::try_from_secs_f64(1.0 / per_second).unwrap_or(Duration::MAX);
    Quota::with_period(interval).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN)).allow_burst(burst)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_is_the_share_of_the_quota_however_small() {
        for (share, per_second) in [(1.0, 2_000.0), (0.2, 400.0), (0.000_1, 0.2), (1e-9, 0.000_002)] {
            let quota = steady(2_000.0 * share);
            let interval = quota.replenish_interval().as_secs_f64();
            assert!((interval * per_second - 1.0).abs() < 1e-3, "{share}: {interval}");
            assert!(f64::from(quota.burst_size().get()) <= (per_second / 10.0).max(1.0));
        }
    }

    #[test]
    fn every_quota_has_its_pace() {
        let paces = Paces::new(1.0);
        let using = |row: &Operation| Cryptography::ALL.map(|key| row.with(key));
        for operation in ALL.iter().flat_map(|row| std::iter::once(*row).chain(using(row))) {
            if let Some((name, _)) = operation.quota().filter(|_| operation.service() == "kms") {
                assert!(paces.0.contains_key(&("kms", name)), "{operation:?}");
            }
        }
    }
}
