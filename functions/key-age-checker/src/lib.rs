//! How old is the key material, and does imported material expire soon?
//!
//! The age is that of the material, not of the key: it counts from the newest completed rotation. `ListKeyRotations` is
//! called only for keys that are older than policy allows and can have been rotated.

pub mod controls;

use aws::kms::Kms;
use aws::operation::LIST_KEY_ROTATIONS;
use aws::pages::Pages;
use aws::timestamp;
use domain::control::Control;
use domain::failure::Failure;
use domain::key::Key;
use domain::verdict::Verdict;
use jiff::Timestamp;
use monitor::check::{Check, Outcome, RunContext};
use monitor::settings::{Environment, InvalidConfiguration, MAX_DAYS, Number, Setting};

use controls::{Age, CONTROLS, Thresholds, age_by_description, age_by_rotations, imported_material_expiry, whole_days};

/// Most rotations that one page of `ListKeyRotations` holds.
const ROTATIONS_A_PAGE: i32 = 1_000;

static MAX_KEY_AGE_DAYS: Number<i32> = Number {
    name: "MAX_KEY_AGE_DAYS",
    default: 365,
    allowed: 1..=MAX_DAYS,
    meaning: "oldest key material that policy allows",
};

static EXPIRY_WARNING_DAYS: Number<i32> = Number {
    name: "EXPIRY_WARNING_DAYS",
    default: 30,
    allowed: 0..=MAX_DAYS,
    meaning: "imported material that expires sooner is a finding",
};

/// The function's check.
#[derive(Debug)]
pub struct KeyAgeChecker {
    thresholds: Thresholds,
}

impl Check for KeyAgeChecker {
    const FUNCTION: &'static str = "key-age-checker";
    const CONTROLS: [&'static Control; 2] = CONTROLS;
    const SETTINGS: &'static [&'static dyn Setting] = &[&MAX_KEY_AGE_DAYS, &EXPIRY_WARNING_DAYS];
    const TAKES_AS_OF: bool = true;

    type Verdicts = [Verdict; 2];
    type Context = ();

    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        let thresholds = Thresholds {
            max_key_age_days: MAX_KEY_AGE_DAYS.read(environment)?,
            expiry_warning_days: EXPIRY_WARNING_DAYS.read(environment)?,
        };
        Ok(Self { thresholds })
    }

    async fn begin(&self, _: &RunContext<'_>) {}

    async fn evaluate(&self, (): &(), kms: &Kms, key: &Key, now: Timestamp) -> Outcome<[Verdict; 2]> {
        let age = match age_by_description(key, self.thresholds, now) {
            Age::Settled(verdict) => verdict,
            Age::DependsOnRotations { created_at } => {
                let max = i64::from(self.thresholds.max_key_age_days);
                let newest = newest_rotation(kms, &key.id, |rotated_at| whole_days(rotated_at, now) <= max).await;
                age_by_rotations(key, created_at, newest, self.thresholds, now)
            }
        };
        Outcome::Final([age, imported_material_expiry(key, self.thresholds, now)])
    }
}

/// The newest completed rotation, or the first that is `new_enough`: any other could only be newer still.
async fn newest_rotation(
    kms: &Kms,
    key_id: &str,
    new_enough: impl Fn(Timestamp) -> bool,
) -> Result<Option<Timestamp>, Failure> {
    let mut newest = None;
    let mut pages = Pages::of(LIST_KEY_ROTATIONS);
    let ask = async |marker: Option<String>| {
        kms.call(LIST_KEY_ROTATIONS, async |kms| {
            let request = kms.list_key_rotations().key_id(key_id).limit(ROTATIONS_A_PAGE);
            request.set_marker(marker.clone()).send().await
        })
        .await
    };
    while let Some(page) = pages.next(ask, |page| (page.truncated, page.next_marker.clone())).await? {
        // The first material and material that waits for its rotation have no date: they are no rotation.
        for date in page.rotations.unwrap_or_default().into_iter().filter_map(|it| it.rotation_date) {
            let rotated_at =
                timestamp(&date).ok_or_else(|| LIST_KEY_ROTATIONS.unreadable("a RotationDate is no date"))?;
            newest = newest.max(Some(rotated_at));
        }
        if newest.is_some_and(&new_enough) {
            break;
        }
    }
    Ok(newest)
}
