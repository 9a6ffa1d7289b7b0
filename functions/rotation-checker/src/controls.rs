//! The verdicts of the three rotation controls. Pure.

use domain::control::{Control, Severity};
use domain::failure::{Cause, Failure};
use domain::key::{Key, KeyKind, KeyState, KeyUsage, MultiRegion, Origin, Unexpected};
use domain::verdict::{Verdict, date};
use jiff::{SignedDuration, Timestamp};

/// Automatic rotation is on.
pub static ROTATION_ENABLED: Control = Control {
    id: "rotation-enabled",
    title: "Automatic rotation is on",
    severity: Severity::Medium,
    other_severities: "",
    references: &[
        "AWS Security Hub KMS.4",
        "AWS Config cmk-backing-key-rotation-enabled",
        "CIS AWS Foundations 3.6",
        "NIST SP 800-53 SC-12(2)",
        "PCI DSS v4 3.7.4",
    ],
};

/// It comes often enough.
pub static ROTATION_PERIOD: Control = Control {
    id: "rotation-period",
    title: "The rotation period is not longer than policy allows",
    severity: Severity::Low,
    other_severities: "",
    references: &["PCI DSS v4 3.7.4"],
};

/// It came when it was due.
pub static ROTATION_OVERDUE: Control = Control {
    id: "rotation-overdue",
    title: "The last rotation came when it was due",
    severity: Severity::High,
    other_severities: "",
    references: &["NIST SP 800-57"],
};

/// The controls, in the order of their verdicts.
pub const CONTROLS: [&Control; 3] = [&ROTATION_ENABLED, &ROTATION_PERIOD, &ROTATION_OVERDUE];

/// What is asked of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
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
pub fn evaluate(
    key: &Key,
    answer: Result<RotationStatus, Failure>,
    thresholds: Thresholds,
    now: Timestamp,
) -> [Verdict; 3] {
    let status = match answer {
        Ok(status) => status,
        Err(failure) if failure.cause == Cause::Unsupported => {
            let detail = "KMS says that it does not rotate this key";
            return Verdict::not_applicable("rotation_unsupported").detail(detail).for_all();
        }
        Err(failure) => return Verdict::from(&failure).for_all(),
    };
    match status.enabled {
        None => Verdict::from(&unexpected_status("KeyRotationEnabled")).for_all(),
        Some(false) => {
            let not_asked = || Verdict::not_applicable("rotation_disabled").detail("automatic rotation is off");
            [rotation_disabled(key), not_asked(), not_asked()]
        }
        Some(true) => [
            Verdict::compliant("rotation_enabled").detail("automatic rotation is on"),
            rotation_period(key, status.period_days, thresholds),
            rotation_overdue(&status, thresholds, now),
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

fn rotation_period(key: &Key, period_days: Option<i32>, thresholds: Thresholds) -> Verdict {
    let most = thresholds.max_rotation_period_days;
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

fn rotation_overdue(status: &RotationStatus, thresholds: Thresholds, now: Timestamp) -> Verdict {
    if status.on_demand_in_progress {
        return Verdict::compliant("rotation_in_progress").detail("an on-demand rotation is running");
    }
    let due = match &status.next_rotation {
        Err(unexpected) => return unexpected.into(),
        Ok(None) => return Verdict::not_applicable("no_next_rotation_date").detail("KMS names no next rotation date"),
        Ok(Some(due)) => *due,
    };
    let late = now.duration_since(due);
    let grace = SignedDuration::from_hours(24 * i64::from(thresholds.rotation_grace_days));
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

/// A replica shares its primary's rotation, which can be set there only.
fn at_primary(key: &Key, what: &str) -> String {
    match &key.multi_region {
        Ok(MultiRegion::Replica(Some(primary))) => {
            format!("{what} This key is a replica: do it at its primary, {primary}.")
        }
        Ok(MultiRegion::Replica(None)) => format!("{what} This key is a replica: do it at its primary."),
        Ok(MultiRegion::No | MultiRegion::Primary) | Err(_) => what.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::verdict::Compliance::{self, Compliant, InsufficientData, NonCompliant, NotApplicable};

    const THRESHOLDS: Thresholds = Thresholds { max_rotation_period_days: 365, rotation_grace_days: 2 };

    fn at(instant: &str) -> Timestamp {
        instant.parse().unwrap()
    }

    fn now() -> Timestamp {
        at("2026-11-23T06:00:00Z")
    }

    /// An eligible key.
    fn key() -> Key {
        Key {
            manager: Some("CUSTOMER".into()),
            state: Some("Enabled".into()),
            spec: Some("SYMMETRIC_DEFAULT".into()),
            usage: Some("ENCRYPT_DECRYPT".into()),
            origin: Some("AWS_KMS".into()),
            created_at: Some(at("2020-01-01T00:00:00Z")),
            ..Key::unknown("arn:aws:kms:us-east-1:123456789012:key/k", "k")
        }
    }

    /// The answer for a key that is rotated as it should be.
    fn status() -> RotationStatus {
        RotationStatus {
            enabled: Some(true),
            period_days: Some(365),
            next_rotation: Ok(Some(at("2027-01-01T00:00:00Z"))),
            on_demand_in_progress: false,
        }
    }

    type Row = (Compliance, &'static str);

    fn rows(verdicts: &[Verdict; 3]) -> [Row; 3] {
        verdicts.each_ref().map(|verdict| (verdict.compliance, verdict.reason))
    }

    fn judged(answer: RotationStatus) -> [Verdict; 3] {
        evaluate(&key(), Ok(answer), THRESHOLDS, now())
    }

    #[test]
    fn rows_that_eligibility_settles() {
        // Spec, usage, origin, state; `None` where the rotation status has to be asked for.
        let external = (NotApplicable, "imported_key_material");
        let key_store = (NotApplicable, "custom_key_store");
        let unexpected = (InsufficientData, "unexpected_response");
        let symmetric = "SYMMETRIC_DEFAULT ENCRYPT_DECRYPT";
        let mut table = vec![
            ("HMAC_256 GENERATE_VERIFY_MAC AWS_KMS Enabled".to_owned(), Some((NotApplicable, "hmac_key"))),
            ("HMAC_512 GENERATE_VERIFY_MAC EXTERNAL PendingImport".into(), Some((NotApplicable, "hmac_key"))),
            (format!("{symmetric} AWS_KMS Enabled"), None),
            (format!("{symmetric} EXTERNAL Enabled"), Some(external)),
            (format!("{symmetric} EXTERNAL PendingImport"), Some(external)),
            (format!("{symmetric} EXTERNAL Disabled"), Some(external)),
            (format!("{symmetric} EXTERNAL PendingDeletion"), Some(external)),
            (format!("{symmetric} AWS_CLOUDHSM Enabled"), Some(key_store)),
            (format!("{symmetric} AWS_CLOUDHSM Unavailable"), Some(key_store)),
            (format!("{symmetric} EXTERNAL_KEY_STORE Enabled"), Some(key_store)),
            (format!("{symmetric} EXTERNAL_KEY_STORE Unavailable"), Some(key_store)),
            (format!("{symmetric} AWS_KMS PendingDeletion"), Some((NotApplicable, "pending_deletion"))),
            (format!("{symmetric} AWS_KMS PendingReplicaDeletion"), Some((NotApplicable, "pending_deletion"))),
            (format!("{symmetric} AWS_KMS Disabled"), Some((NotApplicable, "key_disabled"))),
            (format!("{symmetric} AWS_KMS Zombie"), Some(unexpected)),
            (format!("{symmetric} AWS_KMS PendingImport"), Some(unexpected)),
            (format!("{symmetric} AWS_KMS Unavailable"), Some(unexpected)),
            (format!("{symmetric} AWS_KMS -"), Some(unexpected)),
            (format!("{symmetric} THE_MOON Enabled"), Some(unexpected)),
            (format!("{symmetric} - Enabled"), Some(unexpected)),
            ("SYMMETRIC_DEFAULT SIGN_VERIFY AWS_KMS Enabled".into(), Some(unexpected)),
            ("SYMMETRIC_DEFAULT NEW_USAGE AWS_KMS Enabled".into(), Some(unexpected)),
            ("SYMMETRIC_DEFAULT - AWS_KMS Enabled".into(), Some(unexpected)),
            ("NEW_SPEC ENCRYPT_DECRYPT AWS_KMS Enabled".into(), Some(unexpected)),
            ("- ENCRYPT_DECRYPT AWS_KMS Enabled".into(), Some(unexpected)),
            // What the verdict does not need may be unknown.
            ("RSA_2048 - - -".into(), Some((NotApplicable, "asymmetric_key"))),
            (format!("{symmetric} EXTERNAL Zombie"), Some(external)),
        ];
        for asymmetric in [
            "RSA_2048 ENCRYPT_DECRYPT AWS_KMS Enabled",
            "RSA_4096 SIGN_VERIFY AWS_KMS Disabled",
            "RSA_3072 ENCRYPT_DECRYPT EXTERNAL PendingImport",
            "ECC_NIST_P256 SIGN_VERIFY AWS_KMS PendingDeletion",
            "ECC_NIST_P384 KEY_AGREEMENT AWS_KMS Enabled",
            "SM2 SIGN_VERIFY AWS_KMS Enabled",
            "ML_DSA_65 SIGN_VERIFY AWS_KMS Enabled",
            "ML_KEM_768 ENCAPSULATE_DECAPSULATE AWS_KMS Enabled",
            "NEW_SPEC SIGN_VERIFY AWS_KMS Enabled",
        ] {
            table.push((asymmetric.into(), Some((NotApplicable, "asymmetric_key"))));
        }
        for (facts, expected) in table {
            let mut words = facts.split(' ').map(|word| (word != "-").then_some(word));
            let mut next = || words.next().unwrap();
            let key = Key {
                spec: next().map(Into::into),
                usage: next().map(Into::into),
                origin: next().map(Into::into),
                state: next().map(Into::into),
                ..key()
            };
            let verdict = settled(&key);
            assert_eq!(verdict.as_ref().map(|it| (it.compliance, it.reason)), expected, "{facts}");
            assert!(verdict.is_none_or(|it| !it.detail.is_empty()), "{facts}");
        }
    }

    #[test]
    fn rotation_off() {
        let off = RotationStatus { enabled: Some(false), period_days: None, next_rotation: Ok(None), ..status() };
        let verdicts = judged(off.clone());
        let not_asked = (NotApplicable, "rotation_disabled");
        assert_eq!(rows(&verdicts), [(NonCompliant, "rotation_disabled"), not_asked, not_asked]);
        assert_eq!(verdicts[0].evidence["created_at"], "2020-01-01T00:00:00Z");
        // A period, a date or a running rotation beside it change nothing.
        let off = RotationStatus { period_days: Some(2_000), on_demand_in_progress: true, ..off };
        assert_eq!(rows(&judged(off)), [(NonCompliant, "rotation_disabled"), not_asked, not_asked]);
    }

    #[test]
    fn rotation_on() {
        let expected = [(Compliant, "rotation_enabled"), (Compliant, "within_policy"), (Compliant, "on_schedule")];
        assert_eq!(rows(&judged(status())), expected);
    }

    #[test]
    fn rows_by_period() {
        for (period_days, expected) in [
            (Some(90), (Compliant, "within_policy")),
            (Some(365), (Compliant, "within_policy")),
            (Some(366), (NonCompliant, "period_too_long")),
            (Some(2_560), (NonCompliant, "period_too_long")),
            (None, (InsufficientData, "unexpected_response")),
            (Some(0), (InsufficientData, "unexpected_response")),
            (Some(-1), (InsufficientData, "unexpected_response")),
        ] {
            let verdicts = judged(RotationStatus { period_days, ..status() });
            assert_eq!(
                rows(&verdicts),
                [(Compliant, "rotation_enabled"), expected, (Compliant, "on_schedule")],
                "{period_days:?}"
            );
        }
        let long = judged(RotationStatus { period_days: Some(730), ..status() });
        assert_eq!(long[1].evidence["rotation_period_days"], 730);
        assert_eq!(long[1].evidence["max_rotation_period_days"], 365);
    }

    #[test]
    fn rows_by_date() {
        for (next_rotation, on_demand_in_progress, expected) in [
            (Some("2027-01-01T00:00:00Z"), false, (Compliant, "on_schedule")),
            (Some("2026-11-23T06:00:00Z"), false, (Compliant, "on_schedule")),
            (Some("2026-11-21T06:00:00Z"), false, (Compliant, "on_schedule")),
            (Some("2026-11-21T05:59:59Z"), false, (NonCompliant, "rotation_overdue")),
            (Some("2020-01-01T00:00:00Z"), false, (NonCompliant, "rotation_overdue")),
            (Some("-009999-01-02T01:59:59Z"), false, (NonCompliant, "rotation_overdue")),
            (Some("9999-12-30T22:00:00Z"), false, (Compliant, "on_schedule")),
            (Some("2020-01-01T00:00:00Z"), true, (Compliant, "rotation_in_progress")),
            (None, true, (Compliant, "rotation_in_progress")),
            (None, false, (NotApplicable, "no_next_rotation_date")),
        ] {
            let next = next_rotation.map(at);
            let verdicts = judged(RotationStatus { next_rotation: Ok(next), on_demand_in_progress, ..status() });
            assert_eq!(
                rows(&verdicts),
                [(Compliant, "rotation_enabled"), (Compliant, "within_policy"), expected],
                "{next_rotation:?} {on_demand_in_progress}"
            );
        }
        let late = judged(RotationStatus { next_rotation: Ok(Some(at("2026-11-01T07:00:00Z"))), ..status() });
        assert_eq!(late[2].evidence["days_late"], 21);
        assert_eq!(late[2].detail, "the rotation due on 2026-11-01 is 21 days late");
    }

    #[test]
    fn a_date_that_cannot_be_read_touches_its_control_alone() {
        let unreadable = Unexpected::value("GetKeyRotationStatus", "NextRotationDate", "1e300");
        let verdicts = judged(RotationStatus { next_rotation: Err(unreadable), ..status() });
        let expected =
            [(Compliant, "rotation_enabled"), (Compliant, "within_policy"), (InsufficientData, "unexpected_response")];
        assert_eq!(rows(&verdicts), expected);
    }

    #[test]
    fn the_settings_draw_the_lines() {
        let thresholds = Thresholds { max_rotation_period_days: 90, rotation_grace_days: 0 };
        let due = RotationStatus { next_rotation: Ok(Some(at("2026-11-23T05:59:59Z"))), ..status() };
        let verdicts = evaluate(&key(), Ok(due), thresholds, now());
        let expected =
            [(Compliant, "rotation_enabled"), (NonCompliant, "period_too_long"), (NonCompliant, "rotation_overdue")];
        assert_eq!(rows(&verdicts), expected);
    }

    #[test]
    fn an_answer_that_does_not_say_whether_rotation_is_on_is_no_verdict() {
        let verdicts = judged(RotationStatus { enabled: None, ..status() });
        assert_eq!(rows(&verdicts), [(InsufficientData, "unexpected_response"); 3]);
        assert!(verdicts[0].detail.contains("KeyRotationEnabled"));
    }

    #[test]
    fn rows_of_a_failed_call() {
        for (cause, expected) in [
            (Cause::AccessDenied, (InsufficientData, "access_denied")),
            (Cause::Throttled, (InsufficientData, "throttled")),
            (Cause::Timeout, (InsufficientData, "timeout")),
            (Cause::ServiceError, (InsufficientData, "service_error")),
            (Cause::NotFound, (InsufficientData, "not_found")),
            (Cause::Unsupported, (NotApplicable, "rotation_unsupported")),
            (Cause::Unexpected, (InsufficientData, "unexpected_response")),
        ] {
            let failure = Failure {
                service: "kms",
                operation: "GetKeyRotationStatus",
                cause,
                code: None,
                message: String::new(),
            };
            assert_eq!(rows(&evaluate(&key(), Err(failure), THRESHOLDS, now())), [expected; 3], "{cause:?}");
        }
    }

    #[test]
    fn a_replica_is_judged_by_its_own_answer_and_mended_at_its_primary() {
        let primary = "arn:aws:kms:eu-west-1:123456789012:key/k";
        let replica = Key { multi_region: Ok(MultiRegion::Replica(Some(primary.into()))), ..key() };
        let off = RotationStatus { enabled: Some(false), ..status() };
        let verdicts = evaluate(&replica, Ok(off), THRESHOLDS, now());
        assert_eq!(verdicts[0].compliance, NonCompliant);
        assert!(verdicts[0].remediation.ends_with(&format!("do it at its primary, {primary}.")));
        let long = RotationStatus { period_days: Some(2_560), ..status() };
        let verdicts = evaluate(&replica, Ok(long), THRESHOLDS, now());
        assert!(verdicts[1].remediation.contains(primary));
        assert!(!judged(RotationStatus { enabled: Some(false), ..status() })[0].remediation.contains("primary"));
    }
}
