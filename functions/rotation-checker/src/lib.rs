//! Is every eligible key rotated, often enough, on time?
//!
//! Eligible is a customer managed, symmetric encryption key whose material KMS made. For those, and for those alone,
//! `GetKeyRotationStatus` is called.

pub mod controls;

use aws::kms::Kms;
use aws::operation::GET_KEY_ROTATION_STATUS;
use aws::presence::MemberPresence;
use aws::timestamp;
use domain::control::Control;
use domain::failure::Failure;
use domain::key::{Key, Unexpected};
use domain::verdict::Verdict;
use jiff::Timestamp;
use monitor::check::{Check, Outcome, RunContext};
use monitor::settings::{Environment, InvalidConfiguration, MAX_DAYS, Number, Setting};

use controls::{CONTROLS, RotationStatus, Thresholds, evaluate, settled};

static MAX_ROTATION_PERIOD_DAYS: Number<i32> = Number {
    name: "MAX_ROTATION_PERIOD_DAYS",
    default: 365,
    allowed: 90..=2_560,
    meaning: "longest rotation period that policy allows",
};

static ROTATION_GRACE_DAYS: Number<i32> = Number {
    name: "ROTATION_GRACE_DAYS",
    default: 2,
    allowed: 0..=MAX_DAYS,
    meaning: "how late an automatic rotation may be",
};

/// The function's check.
#[derive(Debug)]
pub struct RotationChecker {
    thresholds: Thresholds,
}

impl Check for RotationChecker {
    const FUNCTION: &'static str = "rotation-checker";
    const CONTROLS: [&'static Control; 3] = CONTROLS;
    const SETTINGS: &'static [&'static dyn Setting] = &[&MAX_ROTATION_PERIOD_DAYS, &ROTATION_GRACE_DAYS];
    const TAKES_AS_OF: bool = true;

    type Verdicts = [Verdict; 3];
    type Context = ();

    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        let thresholds = Thresholds {
            max_rotation_period_days: MAX_ROTATION_PERIOD_DAYS.read(environment)?,
            rotation_grace_days: ROTATION_GRACE_DAYS.read(environment)?,
        };
        Ok(Self { thresholds })
    }

    async fn begin(&self, _: &RunContext<'_>) {}

    async fn evaluate(&self, (): &(), kms: &Kms, key: &Key, now: Timestamp) -> Outcome<[Verdict; 3]> {
        Outcome::Final(match settled(key) {
            Some(verdict) => verdict.for_all(),
            None => evaluate(key, rotation_status(kms, &key.id).await, self.thresholds, now),
        })
    }
}

async fn rotation_status(kms: &Kms, key_id: &str) -> Result<RotationStatus, Failure> {
    let enabled = MemberPresence::of("KeyRotationEnabled");
    let answer = kms
        .call(GET_KEY_ROTATION_STATUS, async |kms| {
            let request = kms.get_key_rotation_status().key_id(key_id);
            request.customize().interceptor(enabled.clone()).send().await
        })
        .await?;
    let next_rotation = match &answer.next_rotation_date {
        None => Ok(None),
        Some(date) => timestamp(date)
            .map(Some)
            .ok_or_else(|| Unexpected::value(GET_KEY_ROTATION_STATUS.name(), "NextRotationDate", format!("{date:?}"))),
    };
    Ok(RotationStatus {
        enabled: enabled.get().then_some(answer.key_rotation_enabled),
        period_days: answer.rotation_period_in_days,
        next_rotation,
        on_demand_in_progress: answer.on_demand_rotation_start_date.is_some(),
    })
}
