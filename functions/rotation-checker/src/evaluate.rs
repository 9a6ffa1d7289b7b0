//! The verdicts of the three rotation controls. Pure.

use jiff::{SignedDuration, Timestamp};
use shared::domain::control::{Control, Severity};
use shared::domain::evaluation::{Cause, Failure, Verdict};
use shared::domain::key::{Key, KeyKind, KeyState, KeyUsage, Origin, Unexpected};

/// Automatic rotation is on.
pub static ROTATION_ENABLED: Control = Control {
    id: "rotation-enabled",
    severity: Severity::Medium,
    references: &[
        "AWS Security Hub KMS.4",
        "AWS Config cmk-backing-key-rotation-enabled",
        "CIS AWS Foundations 3.6",
        "NIST SP 800-53 SC-12(2)",
        "PCI DSS v4 3.7.4",
    ],
};

/// It comes often enough.
pub static ROTATION_PERIOD: Control =
    Control { id: "rotation-period", severity: Severity::Low, references: &["PCI DSS v4 3.7.4"] };

/// It came when it was due.
pub static ROTATION_OVERDUE: Control =
    Control { id: "rotation-overdue", severity: Severity::High, references: &["NIST SP 800-57"] };

/// The controls, in the order of their verdicts.
pub const CONTROLS: [&Control; 3] = [&ROTATION_ENABLED, &ROTATION_PERIOD, &ROTATION_OVERDUE];

/// What is asked of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Longest rotation period, in days.
    pub max_rotation_period_days: i32,
    /// How many days late an automatic rotation may be.
    pub rotation_grace_days: i32,
}

/// What `GetKeyRotationStatus` said about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationStatus {
    /// Is automatic rotation on? `None` if the answer does not say.
    pub enabled: Option<bool>,
    /// Days between two automatic rotations.
    pub period_days: Option<i32>,
    /// When the next one is due; an error if the date cannot be read.
    pub next_rotation: Result<Option<Timestamp>, Unexpected>,
    /// Does an on-demand rotation run right now?
    pub on_demand_in_progress: bool,
}

/// The verdict of all three controls about a key that is not eligible for automatic rotation, or of which that is not
/// known. `None` if the key is eligible: only then has its rotation status to be asked for.
pub fn settled(key: &Key) -> Option<Verdict> {
    eligibility(key).unwrap_or_else(|unexpected| Some((&unexpected).into()))
}

fn eligibility(key: &Key) -> Result<Option<Verdict>, Unexpected> {
    let not_applicable = |reason, detail: &str| Ok(Some(Verdict::not_applicable(reason).detail(detail)));
    match key.kind()? {
        KeyKind::Symmetric => {}
        KeyKind::Asymmetric => return not_applicable("asymmetric_key", "KMS does not rotate asymmetric keys"),
        KeyKind::Hmac => return not_applicable("hmac_key", "KMS does not rotate HMAC keys"),
    }
    match &key.usage {
        Some(KeyUsage::EncryptDecrypt) => {}
        Some(usage) => return Err(Unexpected::value("DescribeKey", "KeyUsage", usage.as_str())),
        None => return Err(Unexpected::absent("DescribeKey", "KeyUsage")),
    }
    match &key.origin {
        Some(Origin::AwsKms) => {}
        Some(Origin::External) => {
            return not_applicable("imported_key_material", "KMS does not rotate imported key material by itself");
        }
        Some(Origin::AwsCloudHsm | Origin::ExternalKeyStore) => {
            return not_applicable("custom_key_store", "KMS does not rotate keys in custom key stores");
        }
        Some(Origin::Other(origin)) => return Err(Unexpected::value("DescribeKey", "Origin", origin)),
        None => return Err(Unexpected::absent("DescribeKey", "Origin")),
    }
    match &key.state {
        Some(KeyState::Enabled) => Ok(None),
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => {
            not_applicable("pending_deletion", "the key is scheduled for deletion")
        }
        Some(KeyState::Disabled) => not_applicable("key_disabled", "KMS does not rotate a disabled key"),
        // Unknown, or not for a key whose material KMS made: that waits for no import and no key store.
        Some(state) => Err(Unexpected::value("DescribeKey", "KeyState", state.as_str())),
        None => Err(Unexpected::absent("DescribeKey", "KeyState")),
    }
}

/// The verdicts about an eligible key, from the answer for it.
pub fn evaluate(key: &Key, answer: Result<RotationStatus, Failure>, policy: Policy, now: Timestamp) -> [Verdict; 3] {
    let for_all = |verdict: Verdict| std::array::from_fn(|_| verdict.clone());
    let status = match answer {
        Ok(status) => status,
        Err(failure) if failure.cause == Cause::Unsupported => {
            return for_all(
                Verdict::not_applicable("rotation_unsupported").detail("KMS says that it does not rotate this key"),
            );
        }
        Err(failure) => return for_all((&failure).into()),
    };
    match status.enabled {
        None => for_all((&unexpected_status("KeyRotationEnabled")).into()),
        Some(false) => {
            let not_asked = || Verdict::not_applicable("rotation_disabled").detail("automatic rotation is off");
            [rotation_disabled(key), not_asked(), not_asked()]
        }
        Some(true) => [
            Verdict::compliant("rotation_enabled").detail("automatic rotation is on"),
            rotation_period(key, status.period_days, policy),
            rotation_overdue(&status, policy, now),
        ],
    }
}

fn unexpected_status(field: &'static str) -> Unexpected {
    Unexpected::absent("GetKeyRotationStatus", field)
}

fn rotation_disabled(key: &Key) -> Verdict {
    let verdict = Verdict::non_compliant("rotation_disabled")
        .detail("automatic rotation is off")
        .remediation(at_primary(key, "Switch on automatic rotation (kms:EnableKeyRotation)."));
    match key.created_at {
        Some(created_at) => verdict.evidence("created_at", created_at.to_string()),
        None => verdict,
    }
}

fn rotation_period(key: &Key, period_days: Option<i32>, policy: Policy) -> Verdict {
    let most = policy.max_rotation_period_days;
    match period_days {
        None => (&unexpected_status("RotationPeriodInDays")).into(),
        Some(days) if days <= 0 => {
            (&Unexpected::value("GetKeyRotationStatus", "RotationPeriodInDays", days.to_string())).into()
        }
        Some(days) if days <= most => Verdict::compliant("within_policy").detail(format!("rotated every {days} days")),
        Some(days) => Verdict::non_compliant("period_too_long")
            .detail(format!("rotated every {days} days; policy allows {most}"))
            .evidence("rotation_period_days", days)
            .evidence("max_rotation_period_days", most)
            .remediation(at_primary(
                key,
                &format!(
                    "Shorten the rotation period to at most {most} days (kms:EnableKeyRotation with the new period)."
                ),
            )),
    }
}

fn rotation_overdue(status: &RotationStatus, policy: Policy, now: Timestamp) -> Verdict {
    if status.on_demand_in_progress {
        return Verdict::compliant("rotation_in_progress").detail("an on-demand rotation is running");
    }
    let due = match &status.next_rotation {
        Err(unexpected) => return unexpected.into(),
        Ok(None) => return Verdict::not_applicable("no_next_rotation_date").detail("KMS names no next rotation date"),
        Ok(Some(due)) => *due,
    };
    let late = now.duration_since(due);
    let grace = SignedDuration::from_hours(24 * i64::from(policy.rotation_grace_days));
    if late <= grace {
        return Verdict::compliant("on_schedule").detail(format!("the next rotation is due on {}", date(due)));
    }
    let days_late = late.as_hours() / 24;
    Verdict::non_compliant("rotation_overdue")
        .detail(format!("the rotation due on {} is {days_late} days late", date(due)))
        .evidence("next_rotation_date", due.to_string())
        .evidence("days_late", days_late)
        .remediation(
            "KMS rotates by itself and should have done so: open a support case with AWS, and rotate the key on demand \
             (kms:RotateKeyOnDemand) meanwhile.",
        )
}

fn date(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d").to_string()
}

/// A replica shares its primary's rotation, which can be set there only.
fn at_primary(key: &Key, what: &str) -> String {
    match &key.primary_arn {
        None => what.to_owned(),
        Some(primary) => format!("{what} This key is a replica: do it at its primary, {primary}."),
    }
}
