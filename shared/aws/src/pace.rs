//! The pace of requests: a share of each request quota.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::operation::{ALL, Cryptography, Operation};

/// The least wait for a slot. The slots that come free meanwhile go one after the other, without a timer for each; it is a
/// fifth of the burst.
const LEAST_WAIT: Duration = Duration::from_millis(20);

/// The pace of one quota.
#[derive(Debug)]
struct Pace {
    slots: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
    /// Held by the call whose turn it is: the others wait here, asleep, in the order in which they came.
    turn: Mutex<()>,
}

impl Pace {
    fn new(quota: Quota) -> Self {
        Self { slots: RateLimiter::direct(quota), turn: Mutex::default() }
    }

    /// Waits for a slot.
    ///
    /// governor's own waiting wakes every waiting call at each slot, through a thread of its own.
    async fn wait(&self) {
        let _turn = self.turn.lock().await;
        while let Err(not_yet) = self.slots.check() {
            sleep(not_yet.wait_time_from(self.slots.clock().now()).max(LEAST_WAIT)).await;
        }
    }
}

/// The paces of one Region.
#[derive(Debug)]
pub(crate) struct Paces(BTreeMap<(&'static str, &'static str), Pace>);

/// Which part of each request quota a function may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct QuotaShare {
    /// Share of each quota (0 < x ≤ 1) that all functions together may use in an account and Region.
    pub of_all: f64,
    /// How many functions share it. `None`: those that the table of operations names, for each operation.
    pub callers: Option<u32>,
}

impl QuotaShare {
    /// The whole of each quota, for one function alone.
    pub const WHOLE: Self = Self { of_all: 1.0, callers: Some(1) };

    /// The function's own part of the operation's quota.
    pub fn part(self, operation: Operation) -> f64 {
        let by_table = || u32::try_from(operation.quota_callers()).unwrap_or(u32::MAX);
        self.of_all / f64::from(self.callers.unwrap_or_else(by_table).max(1))
    }
}

impl Paces {
    /// Paces that use that share of each quota.
    pub(crate) fn new(share: QuotaShare) -> Self {
        if is_off() {
            return Self(BTreeMap::new());
        }
        // Which quota the use of a key counts against depends on the key.
        let using = |row: &Operation| Cryptography::ALL.map(|key| row.with(key));
        let rows = ALL.iter().flat_map(|row| {
            let is_cryptography = using(row).contains(row);
            std::iter::once(*row).chain(using(row).into_iter().filter(move |_| is_cryptography))
        });
        let pace = |row: Operation| {
            let (name, per_second) = row.quota()?;
            Some(((row.service(), name), Pace::new(steady(per_second * share.part(row)))))
        };
        Self(rows.filter_map(pace).collect())
    }

    /// Waits until the operation may be called.
    pub(crate) async fn wait(&self, operation: Operation) {
        let pace = operation.quota().and_then(|(name, _)| self.0.get(&(operation.service(), name)));
        if let Some(pace) = pace {
            pace.wait().await;
        }
    }
}

/// Is there no pace at all? A build for the benchmark can be told so by `KMS_PACE=off`.
#[cfg(feature = "unpaced")]
#[expect(clippy::disallowed_methods, reason = "no setting: no build that ships reads it")]
fn is_off() -> bool {
    std::env::var_os("KMS_PACE").is_some_and(|pace| pace == "off")
}

/// What ships keeps its pace, whatever the environment says.
#[cfg(not(feature = "unpaced"))]
const fn is_off() -> bool {
    false
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
    use crate::operation::ON_DEMAND;

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
    fn all_functions_together_keep_to_the_share_of_each_quota() {
        let mut by_quota: BTreeMap<(&str, &str), BTreeMap<&str, f64>> = BTreeMap::new();
        let share = QuotaShare { of_all: 0.5, callers: None };
        for row in ALL {
            let Some((name, _)) = row.quota() else { continue };
            for function in row.callers().iter().filter(|it| !ON_DEMAND.contains(it)) {
                by_quota.entry((row.service(), name)).or_default().insert(function, share.part(*row));
            }
        }
        for (quota, parts) in by_quota {
            let sum: f64 = parts.values().sum();
            assert!(sum <= 0.5 + 1e-9 && sum > 0.499, "{quota:?} {parts:?}");
        }
        assert!((share.part(crate::operation::DESCRIBE_KEY) - 0.1).abs() < 1e-9);
        assert!((share.part(crate::operation::LIST_GRANTS) - 0.5).abs() < 1e-9);
        assert!((QuotaShare { callers: Some(1), ..share }.part(crate::operation::DESCRIBE_KEY) - 0.5).abs() < 1e-9);
    }

    #[test]
    fn every_quota_has_its_pace() {
        let paces = Paces::new(QuotaShare::WHOLE);
        let using = |row: &Operation| Cryptography::ALL.map(|key| row.with(key));
        for operation in ALL.iter().flat_map(|row| std::iter::once(*row).chain(using(row))) {
            if let Some((name, _)) = operation.quota().filter(|_| operation.service() == "kms") {
                assert!(paces.0.contains_key(&("kms", name)), "{operation:?}");
            }
        }
    }
}
