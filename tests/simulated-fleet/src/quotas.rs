//! KMS's default request quotas (AWS KMS Developer Guide, "Request quotas"), each a bucket that holds a second's requests and
//! refills at that rate.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::calls::now;
use crate::operation::{Operation, Service};

/// The buckets of one Region.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<HashMap<&'static str, Bucket>>);

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

impl Quotas {
    /// Takes a request out of its bucket; `spec` is that of the key that it uses. False if the bucket is empty.
    pub(crate) fn take(&self, operation: Operation, spec: Option<&str>) -> bool {
        self.take_at(operation, spec, now())
    }

    fn take_at(&self, operation: Operation, spec: Option<&str>, now: Instant) -> bool {
        let Some((name, per_second)) = quota(operation, spec) else { return true };
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry(name).or_insert(Bucket { tokens: per_second, filled: now });
        let refill = now.saturating_duration_since(bucket.filled).as_secs_f64() * per_second;
        *bucket = Bucket { tokens: (bucket.tokens + refill).min(per_second), filled: now };
        let fits = bucket.tokens >= 1.0;
        if fits {
            bucket.tokens -= 1.0;
        }
        fits
    }
}

/// The quota that a call counts against, in requests per second.
fn quota(operation: Operation, spec: Option<&str>) -> Option<(&'static str, f64)> {
    if operation == Operation::LookupEvents {
        return Some(("LookupEvents", 2.0));
    }
    if operation.service() != Service::Kms {
        return None;
    }
    if operation.is_cryptography() {
        return Some(match spec {
            Some(spec) if spec.starts_with("RSA_") => ("RSA", 1_000.0),
            Some(spec) if spec != "SYMMETRIC_DEFAULT" && !spec.starts_with("HMAC_") => ("elliptic curve", 1_000.0),
            _ => ("symmetric", 10_000.0),
        });
    }
    let per_second = match operation {
        Operation::DescribeKey | Operation::ListResourceTags => 2_000.0,
        Operation::GetKeyPolicy | Operation::GetKeyRotationStatus => 1_000.0,
        Operation::ListAliases | Operation::ListKeys => 500.0,
        Operation::ListGrants | Operation::ListKeyRotations => 100.0,
        Operation::DescribeCustomKeyStores
        | Operation::GetKeyLastUsage
        | Operation::CreateAlias
        | Operation::CreateKey
        | Operation::CancelKeyDeletion
        | Operation::DisableKey
        | Operation::EnableKey
        | Operation::ReplicateKey
        | Operation::RotateKeyOnDemand
        | Operation::UpdateAlias => 5.0,
        Operation::EnableKeyRotation | Operation::ScheduleKeyDeletion => 15.0,
        Operation::TagResource => 10.0,
        _ => return None,
    };
    Some((operation.name(), per_second))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_bucket_holds_a_second_of_requests_and_refills() {
        let quotas = Quotas::default();
        let start = now();
        let taken = |after: u64| {
            (0..1_000)
                .filter(|_| quotas.take_at(Operation::ListGrants, None, start + Duration::from_millis(after)))
                .count()
        };
        assert_eq!((taken(0), taken(0), taken(500), taken(10_000)), (100, 0, 50, 100));
        assert!(quotas.take_at(Operation::GetKeyPolicy, None, start));
        assert!((0..10_000).all(|_| quotas.take_at(Operation::Publish, None, start)));
    }

    #[test]
    fn the_key_decides_the_quota_of_its_use() {
        for (spec, name) in [("RSA_2048", "RSA"), ("ECC_NIST_P256", "elliptic curve"), ("HMAC_256", "symmetric")] {
            assert_eq!(quota(Operation::Sign, Some(spec)).map(|(name, _)| name), Some(name));
        }
    }
}
