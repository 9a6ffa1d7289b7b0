//! Is every eligible key rotated, often enough, on time?
//!
//! Eligible is a customer managed, symmetric encryption key whose material KMS made. For those, and for those alone,
//! `GetKeyRotationStatus` is called.
//!
//! # Environment
//!
//! Beside the variables of [`shared`]:
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `MAX_ROTATION_PERIOD_DAYS` | `365` | longest rotation period that policy allows (90–2560) |
//! | `ROTATION_GRACE_DAYS` | `2` | how late an automatic rotation may be |

pub mod evaluate;

use jiff::Timestamp;
use shared::domain::control::Control;
use shared::domain::evaluation::{Failure, Verdict};
use shared::domain::key::{Key, Unexpected};
use shared::kms::{BoolIsThere, Kms, Operation, timestamp};
use shared::serve::{Check, Scene};
use shared::settings::{Environment, InvalidConfiguration, MOST_DAYS};

use evaluate::{CONTROLS, Policy, RotationStatus, evaluate, settled};

/// The function's check.
#[derive(Debug)]
pub struct RotationChecker {
    policy: Policy,
}

impl Check<3> for RotationChecker {
    const FUNCTION: &'static str = "rotation-checker";
    const CONTROLS: [&'static Control; 3] = CONTROLS;
    const TAKES_AS_OF: bool = true;

    type Run = ();

    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        let policy = Policy {
            max_rotation_period_days: environment.number("MAX_ROTATION_PERIOD_DAYS", 365, 90..=2_560)?,
            rotation_grace_days: environment.number("ROTATION_GRACE_DAYS", 2, 0..=MOST_DAYS)?,
        };
        Ok(Self { policy })
    }

    async fn begin(&self, _: &Scene<'_>) {}

    async fn evaluate(&self, (): &(), kms: &Kms, key: &Key, now: Timestamp) -> [Verdict; 3] {
        match settled(key) {
            Some(verdict) => verdict.for_all(),
            None => evaluate(key, rotation_status(kms, &key.id).await, self.policy, now),
        }
    }
}

async fn rotation_status(kms: &Kms, key_id: &str) -> Result<RotationStatus, Failure> {
    let enabled_is_there = BoolIsThere::new("KeyRotationEnabled");
    let answer = kms
        .call(Operation::GetKeyRotationStatus, async |kms| {
            let request = kms.get_key_rotation_status().key_id(key_id);
            request.customize().interceptor(enabled_is_there.clone()).send().await
        })
        .await?;
    let next_rotation = match &answer.next_rotation_date {
        None => Ok(None),
        Some(date) => timestamp(date).map(Some).ok_or_else(|| {
            Unexpected::value(Operation::GetKeyRotationStatus.name(), "NextRotationDate", format!("{date:?}"))
        }),
    };
    Ok(RotationStatus {
        enabled: enabled_is_there.get().then_some(answer.key_rotation_enabled),
        period_days: answer.rotation_period_in_days,
        next_rotation,
        on_demand_in_progress: answer.on_demand_rotation_start_date.is_some(),
    })
}
