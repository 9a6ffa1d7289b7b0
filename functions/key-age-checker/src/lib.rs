//! How old is the key material, and does imported material expire soon?
//!
//! The age is that of the material, not of the key: it counts from the newest completed rotation. `ListKeyRotations` is
//! called only for keys that are older than policy allows and can have been rotated.
//!
//! # Environment
//!
//! Beside the variables of [`shared`]:
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `MAX_KEY_AGE_DAYS` | `365` | oldest key material that policy allows |
//! | `EXPIRY_WARNING_DAYS` | `30` | imported material that expires sooner is a finding |

pub mod evaluate;

use jiff::Timestamp;
use shared::domain::control::Control;
use shared::domain::evaluation::{Failure, Verdict};
use shared::domain::key::Key;
use shared::kms::{Kms, Operation, Pages, timestamp, unreadable};
use shared::serve::{Check, Scene};
use shared::settings::{Environment, InvalidConfiguration, MOST_DAYS};

use evaluate::{Age, CONTROLS, Policy, age_by_description, age_by_rotations, imported_material_expiry, whole_days};

/// Most rotations that one page of `ListKeyRotations` holds.
const ROTATIONS_A_PAGE: i32 = 1_000;

/// The function's check.
#[derive(Debug)]
pub struct KeyAgeChecker {
    policy: Policy,
}

impl Check<2> for KeyAgeChecker {
    const FUNCTION: &'static str = "key-age-checker";
    const CONTROLS: [&'static Control; 2] = CONTROLS;
    const TAKES_AS_OF: bool = true;

    type Run = ();

    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        let policy = Policy {
            max_key_age_days: environment.number("MAX_KEY_AGE_DAYS", 365, 1..=MOST_DAYS)?,
            expiry_warning_days: environment.number("EXPIRY_WARNING_DAYS", 30, 0..=MOST_DAYS)?,
        };
        Ok(Self { policy })
    }

    async fn begin(&self, _: &Scene<'_>) {}

    async fn evaluate(&self, (): &(), kms: &Kms, key: &Key, now: Timestamp) -> [Verdict; 2] {
        let age = match age_by_description(key, self.policy, now) {
            Age::Settled(verdict) => verdict,
            Age::DependsOnRotations { created_at } => {
                let max = i64::from(self.policy.max_key_age_days);
                let newest = newest_rotation(kms, &key.id, |rotated_at| whole_days(rotated_at, now) <= max).await;
                age_by_rotations(key, created_at, newest, self.policy, now)
            }
        };
        [age, imported_material_expiry(key, self.policy, now)]
    }
}

/// The newest completed rotation, or the first that is `new_enough`: any other could only be newer still.
async fn newest_rotation(
    kms: &Kms,
    key_id: &str,
    new_enough: impl Fn(Timestamp) -> bool,
) -> Result<Option<Timestamp>, Failure> {
    const OPERATION: Operation = Operation::ListKeyRotations;
    let mut newest = None;
    let mut pages = Pages::default();
    loop {
        let page = kms
            .call(OPERATION, async |kms| {
                let request = kms.list_key_rotations().key_id(key_id).limit(ROTATIONS_A_PAGE);
                request.set_marker(pages.marker()).send().await
            })
            .await?;
        // The first material and material that waits for its rotation have no date: they are no rotation.
        for date in page.rotations.unwrap_or_default().into_iter().filter_map(|it| it.rotation_date) {
            let rotated_at = timestamp(&date).ok_or_else(|| unreadable(OPERATION, "a RotationDate is no date"))?;
            newest = newest.max(Some(rotated_at));
        }
        if newest.is_some_and(&new_enough)
            || !pages.turn(page.truncated, page.next_marker).map_err(|why| unreadable(OPERATION, why))?
        {
            return Ok(newest);
        }
    }
}
