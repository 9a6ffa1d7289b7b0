//! The fleet of the benchmark: of twenty keys thirteen can rotate, and three of those do not.

use serde_json::{Value, json};
use simulated_fleet::harness::{days_from_now, describe};
use simulated_fleet::{Fleet, FleetDescription};

/// Calls per second that KMS grants by default to the operation that bounds a run (AWS KMS Developer Guide, "Request
/// quotas"): `GetKeyRotationStatus`.
pub const ROTATION_STATUS_A_SECOND: f64 = 1_000.0;

/// Keys in twenty that `GetKeyRotationStatus` is asked of.
const ROTATABLE_IN_TWENTY: u32 = 13;

/// How a fleet of the benchmark is served.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Keys, a multiple of twenty.
    pub keys: u32,
    /// How long KMS takes for an answer, in milliseconds.
    pub latency_ms: u64,
    /// Does KMS keep to its default request quotas?
    pub quotas: bool,
    /// Keys whose rotation is off; `None` = three of twenty.
    pub findings: Option<u32>,
}

impl Conditions {
    /// The description of such a fleet.
    pub fn description(&self) -> FleetDescription {
        let Self { keys, latency_ms, quotas, .. } = *self;
        describe(
            json!({"latency_ms": latency_ms, "quotas": quotas, "tables": ["findings"], "keys": self.entries(keys)}),
        )
    }

    /// Serves such a fleet.
    ///
    /// # Errors
    /// No port is free.
    pub fn serve(&self) -> std::io::Result<Fleet> {
        Fleet::serve(self.description())
    }

    /// The least time in seconds that the run's calls take at the default quotas, bursts left out.
    pub fn quota_floor(&self) -> f64 {
        f64::from(self.keys / 20 * ROTATABLE_IN_TWENTY) / ROTATION_STATUS_A_SECOND
    }

    fn entries(&self, keys: u32) -> Value {
        let of_twenty = |n: u32| keys / 20 * n;
        let broken = self.findings.unwrap_or(of_twenty(3));
        let rotated = json!({
            "creation_date": days_from_now(-800),
            "rotation": {"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)},
            "rotations": [{"date": days_from_now(-30), "type": "AUTOMATIC"}],
        });
        let entries = [
            (of_twenty(ROTATABLE_IN_TWENTY).saturating_sub(broken), rotated),
            (broken, json!({"creation_date": days_from_now(-800)})),
            (of_twenty(3), json!({"key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY"})),
            (of_twenty(2), json!({"key_spec": "ECC_NIST_P256"})),
            (of_twenty(1), json!({"origin": "EXTERNAL"})),
            (of_twenty(1), json!({"key_spec": "HMAC_256"})),
        ];
        let entries = entries.into_iter().filter(|(count, _)| *count > 0).map(|(count, mut entry)| {
            if let Some(entry) = entry.as_object_mut() {
                entry.insert("count".to_owned(), count.into());
            }
            entry
        });
        entries.collect::<Vec<_>>().into()
    }
}
