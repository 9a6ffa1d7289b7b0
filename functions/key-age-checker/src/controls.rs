//! The verdicts about the age and the expiry of key material. Pure.

use domain::control::{Control, Severity};
use domain::failure::{Cause, Failure};
use domain::key::{ExpirationModel, Key, KeyKind, KeyState, MultiRegion, Origin, Unexpected};
use domain::verdict::{Verdict, date};
use jiff::{SignedDuration, Timestamp};

/// The key material is not older than policy allows.
pub static KEY_MATERIAL_AGE: Control = Control {
    id: "key-material-age",
    title: "The key material is not older than policy allows",
    severity: Severity::Medium,
    other_severities: "",
    references: &["NIST SP 800-57 cryptoperiod", "PCI DSS v4 3.7.4"],
};

/// Imported key material does not expire soon.
pub static IMPORTED_MATERIAL_EXPIRY: Control = Control {
    id: "imported-material-expiry",
    title: "Imported key material does not expire soon",
    severity: Severity::High,
    other_severities: "CRITICAL from 7 days before the expiry",
    references: &["AWS Well-Architected SEC08-BP01"],
};

/// The controls, in the order of their verdicts.
pub const CONTROLS: [&Control; 2] = [&KEY_MATERIAL_AGE, &IMPORTED_MATERIAL_EXPIRY];

/// From this many days before its expiry, imported material is a critical finding: without it, nothing can be decrypted.
const CRITICAL_DAYS_LEFT: i64 = 7;

/// What is asked of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Oldest key material, in days.
    pub max_key_age_days: i32,
    /// Imported material that expires within n days is a finding.
    pub expiry_warning_days: i32,
}

/// What `DescribeKey` alone says about the age of the key material.
#[derive(Clone, Debug, PartialEq)]
pub enum Age {
    /// The verdict.
    Settled(Verdict),
    /// The key is older than policy allows, and may have been rotated since.
    DependsOnRotations {
        /// When the key was created.
        created_at: Timestamp,
    },
}

/// What `DescribeKey` alone says about the age of the key material.
pub fn age_by_description(key: &Key, thresholds: Thresholds, now: Timestamp) -> Age {
    age(key, thresholds, now).unwrap_or_else(|unexpected| Age::Settled((&unexpected).into()))
}

fn age(key: &Key, thresholds: Thresholds, now: Timestamp) -> Result<Age, Unexpected> {
    let settled = |verdict| Ok(Age::Settled(verdict));
    match &key.state {
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => return settled(pending_deletion()),
        Some(KeyState::Disabled) => {
            return settled(Verdict::not_applicable("key_disabled").detail("the key is disabled"));
        }
        Some(KeyState::PendingImport) => return settled(no_key_material()),
        Some(KeyState::Other(state)) => return Err(Unexpected::value("DescribeKey", "KeyState", state)),
        Some(_) => {}
        None => return Err(Unexpected::absent("DescribeKey", "KeyState")),
    }
    if let MultiRegion::Replica(_) = key.multi_region.as_ref().map_err(Clone::clone)? {
        let why = "the material of a replica is its primary's and is judged there";
        return settled(Verdict::not_applicable("judged_at_primary").detail(why));
    }
    let created_at = key.created_at.ok_or_else(|| Unexpected::absent("DescribeKey", "CreationDate"))?;
    if whole_days(created_at, now) <= i64::from(thresholds.max_key_age_days) {
        return settled(within_policy(created_at, "created", now));
    }
    let origin = match &key.origin {
        Some(Origin::Other(origin)) => return Err(Unexpected::value("DescribeKey", "Origin", origin)),
        Some(origin) => origin,
        None => return Err(Unexpected::absent("DescribeKey", "Origin")),
    };
    if key.kind()? == KeyKind::Symmetric && matches!(origin, Origin::AwsKms | Origin::External) {
        return Ok(Age::DependsOnRotations { created_at });
    }
    settled(too_old(key, created_at, None, thresholds, now))
}

/// The verdict about a key whose age depends on its rotations, from the newest of them.
pub fn age_by_rotations(
    key: &Key,
    created_at: Timestamp,
    newest: Result<Option<Timestamp>, Failure>,
    thresholds: Thresholds,
    now: Timestamp,
) -> Verdict {
    match newest {
        Err(failure) if failure.cause == Cause::Unsupported => {
            Verdict::not_applicable("rotation_unsupported").detail("KMS says that this key has no rotations")
        }
        Err(failure) => (&failure).into(),
        Ok(Some(rotated_at)) if whole_days(rotated_at, now) <= i64::from(thresholds.max_key_age_days) => {
            within_policy(rotated_at, "rotated", now)
        }
        Ok(last_rotation) => too_old(key, created_at, last_rotation, thresholds, now),
    }
}

/// Whole days since an instant. An instant to come, by a clock that is ahead, is now.
pub fn whole_days(since: Timestamp, now: Timestamp) -> i64 {
    (now.duration_since(since).as_hours() / 24).max(0)
}

fn within_policy(since: Timestamp, how: &str, now: Timestamp) -> Verdict {
    Verdict::compliant("within_policy").detail(format!("{how} {} days ago", whole_days(since, now)))
}

fn too_old(
    key: &Key,
    created_at: Timestamp,
    last_rotation: Option<Timestamp>,
    thresholds: Thresholds,
    now: Timestamp,
) -> Verdict {
    let age_days = whole_days(last_rotation.unwrap_or(created_at), now);
    let most = thresholds.max_key_age_days;
    let imported = key.origin == Some(Origin::External);
    let (age_basis, since) = match last_rotation {
        Some(_) => ("last_rotation", "it was last rotated"),
        None if imported => ("creation", "its key was created; it was imported after that"),
        None => ("creation", "its key was created; it was never rotated"),
    };
    let verdict = Verdict::non_compliant("material_too_old")
        .detail(format!("{age_days} days since {since}; policy allows {most}"))
        .evidence("age_days", age_days)
        .evidence("age_basis", age_basis)
        .evidence("last_rotation", last_rotation.map(|it| it.to_string()))
        .evidence("created_at", created_at.to_string())
        .evidence("max_key_age_days", most)
        .remediation(renewal(key));
    if imported && last_rotation.is_none() {
        // The import may have been years after the creation, and KMS does not tell when it was.
        return verdict.evidence("age_is_upper_bound", true);
    }
    verdict
}

fn renewal(key: &Key) -> &'static str {
    match (key.kind(), &key.origin) {
        (Ok(KeyKind::Symmetric), Some(Origin::AwsKms)) => {
            "Switch on automatic rotation (kms:EnableKeyRotation), or rotate the key now (kms:RotateKeyOnDemand)."
        }
        (Ok(KeyKind::Symmetric), Some(Origin::External)) => {
            "Import new key material (kms:ImportKeyMaterial with NEW_KEY_MATERIAL) and rotate to it \
             (kms:RotateKeyOnDemand)."
        }
        _ => {
            "KMS cannot rotate this key. Create a successor and point the alias to it; keep this key for what it \
             encrypted or signed."
        }
    }
}

/// The verdict about the expiry of imported key material.
pub fn imported_material_expiry(key: &Key, thresholds: Thresholds, now: Timestamp) -> Verdict {
    expiry(key, thresholds, now).unwrap_or_else(|unexpected| (&unexpected).into())
}

fn expiry(key: &Key, thresholds: Thresholds, now: Timestamp) -> Result<Verdict, Unexpected> {
    match &key.origin {
        Some(Origin::External) => {}
        Some(Origin::Other(origin)) => return Err(Unexpected::value("DescribeKey", "Origin", origin)),
        Some(_) => return Ok(Verdict::not_applicable("not_imported").detail("its key material was not imported")),
        None => return Err(Unexpected::absent("DescribeKey", "Origin")),
    }
    match &key.state {
        Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => return Ok(pending_deletion()),
        Some(KeyState::PendingImport) => return Ok(no_key_material()),
        Some(KeyState::Other(state)) => return Err(Unexpected::value("DescribeKey", "KeyState", state)),
        Some(_) => {}
        None => return Err(Unexpected::absent("DescribeKey", "KeyState")),
    }
    match &key.expiration_model {
        Some(ExpirationModel::DoesNotExpire) => {
            return Ok(Verdict::compliant("does_not_expire").detail("its key material does not expire"));
        }
        Some(ExpirationModel::Expires) => {}
        Some(ExpirationModel::Other(model)) => {
            return Err(Unexpected::value("DescribeKey", "ExpirationModel", model));
        }
        None => return Err(Unexpected::absent("DescribeKey", "ExpirationModel")),
    }
    let valid_to = key.valid_to.ok_or_else(|| Unexpected::absent("DescribeKey", "ValidTo"))?;
    let left = valid_to.duration_since(now);
    if left > SignedDuration::from_hours(24 * i64::from(thresholds.expiry_warning_days)) {
        return Ok(Verdict::compliant("not_due").detail(format!("its key material expires on {}", date(valid_to))));
    }
    let days_left = left.as_secs().div_euclid(86_400);
    let detail = if days_left < 0 {
        format!("imported key material expired on {}", date(valid_to))
    } else {
        format!("imported key material expires on {}, in {days_left} days", date(valid_to))
    };
    let severity = if days_left <= CRITICAL_DAYS_LEFT { Severity::Critical } else { Severity::High };
    Ok(Verdict::non_compliant("material_expiring")
        .detail(detail)
        .severity(severity)
        .evidence("valid_to", valid_to.to_string())
        .evidence("days_left", days_left)
        .remediation(
            "Import the same key material again with a later date, or without one (kms:ImportKeyMaterial). Once it has \
             expired, nothing under this key can be decrypted until that is done.",
        ))
}

fn pending_deletion() -> Verdict {
    Verdict::not_applicable("pending_deletion").detail("the key is scheduled for deletion")
}

fn no_key_material() -> Verdict {
    Verdict::not_applicable("no_key_material").detail("the key waits for its key material to be imported")
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::verdict::Compliance::{self, Compliant, InsufficientData, NonCompliant, NotApplicable};

    const THRESHOLDS: Thresholds = Thresholds { max_key_age_days: 365, expiry_warning_days: 30 };

    fn at(instant: &str) -> Timestamp {
        instant.parse().unwrap()
    }

    fn now() -> Timestamp {
        at("2026-11-23T06:00:00Z")
    }

    /// A symmetric key of KMS's own material, seven years old.
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

    fn created(instant: &str) -> Key {
        Key { created_at: Some(at(instant)), ..key() }
    }

    type Row = (Compliance, &'static str);
    const UNEXPECTED: Row = (InsufficientData, "unexpected_response");

    fn row(verdict: &Verdict) -> Row {
        (verdict.compliance, verdict.reason)
    }

    /// `None` where the rotations have to be asked for.
    fn described(key: &Key) -> Option<Verdict> {
        match age_by_description(key, THRESHOLDS, now()) {
            Age::Settled(verdict) => Some(verdict),
            Age::DependsOnRotations { created_at } => {
                assert_eq!(Some(created_at), key.created_at);
                None
            }
        }
    }

    fn rotated(newest: Option<&str>) -> Verdict {
        age_by_rotations(&key(), at("2020-01-01T00:00:00Z"), Ok(newest.map(at)), THRESHOLDS, now())
    }

    #[test]
    fn age_by_state() {
        for (state, expected) in [
            ("PendingDeletion", Some((NotApplicable, "pending_deletion"))),
            ("PendingReplicaDeletion", Some((NotApplicable, "pending_deletion"))),
            ("Disabled", Some((NotApplicable, "key_disabled"))),
            ("PendingImport", Some((NotApplicable, "no_key_material"))),
            ("Enabled", None),
            ("Unavailable", None),
            ("Zombie", Some(UNEXPECTED)),
        ] {
            let verdict = described(&Key { state: Some(state.into()), ..key() });
            assert_eq!(verdict.as_ref().map(row), expected, "{state}");
        }
        assert_eq!(described(&Key { state: None, ..key() }).as_ref().map(row), Some(UNEXPECTED));
    }

    #[test]
    fn age_by_creation() {
        for (created_at, expected) in [
            ("2026-11-23T06:00:00Z", Some((Compliant, "within_policy"))),
            ("2025-11-23T06:00:00Z", Some((Compliant, "within_policy"))),
            ("2025-11-22T06:00:01Z", Some((Compliant, "within_policy"))),
            ("2025-11-22T06:00:00Z", None),
            ("2014-11-12T00:00:00Z", None),
            // A clock that is ahead.
            ("2026-11-23T06:05:00Z", Some((Compliant, "within_policy"))),
            ("2099-01-01T00:00:00Z", Some((Compliant, "within_policy"))),
        ] {
            assert_eq!(described(&created(created_at)).as_ref().map(row), expected, "{created_at}");
        }
        assert_eq!(described(&Key { created_at: None, ..key() }).as_ref().map(row), Some(UNEXPECTED));
    }

    #[test]
    fn only_symmetric_keys_of_kms_or_imported_have_rotations_to_ask_for() {
        let too_old = Some((NonCompliant, "material_too_old"));
        for (spec, usage, origin, expected) in [
            ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_KMS", None),
            ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL", None),
            ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "AWS_CLOUDHSM", too_old),
            ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "EXTERNAL_KEY_STORE", too_old),
            ("RSA_2048", "SIGN_VERIFY", "AWS_KMS", too_old),
            ("ECC_NIST_P256", "KEY_AGREEMENT", "AWS_KMS", too_old),
            ("RSA_4096", "ENCRYPT_DECRYPT", "EXTERNAL", too_old),
            ("HMAC_256", "GENERATE_VERIFY_MAC", "AWS_KMS", too_old),
            ("ML_DSA_65", "SIGN_VERIFY", "AWS_KMS", too_old),
            ("NEW_SPEC", "SIGN_VERIFY", "AWS_KMS", too_old),
            ("NEW_SPEC", "ENCRYPT_DECRYPT", "AWS_KMS", Some(UNEXPECTED)),
            ("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "THE_MOON", Some(UNEXPECTED)),
        ] {
            let key = Key { spec: Some(spec.into()), usage: Some(usage.into()), origin: Some(origin.into()), ..key() };
            let verdict = described(&key);
            assert_eq!(verdict.as_ref().map(row), expected, "{spec} {origin}");
            if let Some(verdict) = verdict.filter(|it| it.compliance == NonCompliant) {
                assert_eq!(verdict.evidence["age_basis"], "creation");
                assert!(verdict.remediation.contains("successor"), "{}", verdict.remediation);
            }
        }
        assert_eq!(described(&Key { origin: None, ..key() }).as_ref().map(row), Some(UNEXPECTED));
        // A young key's verdict does not need to know.
        let young = Key { origin: None, spec: None, ..created("2026-11-01T00:00:00Z") };
        assert_eq!(described(&young).as_ref().map(row), Some((Compliant, "within_policy")));
    }

    #[test]
    fn a_replica_is_judged_at_its_primary() {
        let of = |multi_region| described(&Key { multi_region, ..key() });
        assert_eq!(of(Ok(MultiRegion::Primary)), None);
        let replica = of(Ok(MultiRegion::Replica(None)));
        assert_eq!(replica.as_ref().map(row), Some((NotApplicable, "judged_at_primary")));
        let unknown = Unexpected::value("DescribeKey", "MultiRegionKeyType", "TWIN");
        assert_eq!(of(Err(unknown)).as_ref().map(row), Some(UNEXPECTED));
    }

    #[test]
    fn age_by_rotation() {
        for (newest, expected) in [
            (Some("2026-11-01T00:00:00Z"), (Compliant, "within_policy")),
            (Some("2025-11-23T06:00:00Z"), (Compliant, "within_policy")),
            (Some("2025-11-22T06:00:01Z"), (Compliant, "within_policy")),
            (Some("2025-11-22T06:00:00Z"), (NonCompliant, "material_too_old")),
            (Some("2027-01-01T00:00:00Z"), (Compliant, "within_policy")),
            (None, (NonCompliant, "material_too_old")),
        ] {
            assert_eq!(row(&rotated(newest)), expected, "{newest:?}");
        }
        let rotated_once = rotated(Some("2024-11-23T06:00:00Z"));
        assert_eq!(rotated_once.evidence["age_days"], 730);
        assert_eq!(rotated_once.evidence["age_basis"], "last_rotation");
        assert_eq!(rotated_once.evidence["last_rotation"], "2024-11-23T06:00:00Z");
        let never = rotated(None);
        assert_eq!(never.evidence["age_days"], 2_518);
        assert_eq!(never.evidence["age_basis"], "creation");
        assert!(never.evidence["last_rotation"].is_null());
        assert!(never.remediation.contains("kms:EnableKeyRotation"));
    }

    #[test]
    fn of_imported_material_creation_is_an_upper_bound() {
        let imported = Key { origin: Some(Origin::External), ..key() };
        let created_at = at("2020-01-01T00:00:00Z");
        let never = age_by_rotations(&imported, created_at, Ok(None), THRESHOLDS, now());
        assert_eq!(never.evidence["age_is_upper_bound"], true);
        assert!(never.remediation.contains("kms:ImportKeyMaterial"));
        let long_ago = age_by_rotations(&imported, created_at, Ok(Some(at("2021-01-01T00:00:00Z"))), THRESHOLDS, now());
        assert!(long_ago.evidence.get("age_is_upper_bound").is_none());
        assert!(rotated(None).evidence.get("age_is_upper_bound").is_none());
    }

    #[test]
    fn age_where_the_rotations_are_not_told() {
        for (cause, expected) in [
            (Cause::AccessDenied, (InsufficientData, "access_denied")),
            (Cause::Throttled, (InsufficientData, "throttled")),
            (Cause::Timeout, (InsufficientData, "timeout")),
            (Cause::ServiceError, (InsufficientData, "service_error")),
            (Cause::NotFound, (InsufficientData, "not_found")),
            (Cause::Unsupported, (NotApplicable, "rotation_unsupported")),
            (Cause::Unexpected, UNEXPECTED),
        ] {
            let failure =
                Failure { service: "kms", operation: "ListKeyRotations", cause, code: None, message: String::new() };
            let verdict = age_by_rotations(&key(), at("2020-01-01T00:00:00Z"), Err(failure), THRESHOLDS, now());
            assert_eq!(row(&verdict), expected, "{cause:?}");
        }
    }

    #[test]
    fn the_settings_draw_the_line() {
        let thresholds = Thresholds { max_key_age_days: 10, expiry_warning_days: 0 };
        let key = created("2026-11-12T06:00:00Z");
        assert!(matches!(age_by_description(&key, thresholds, now()), Age::DependsOnRotations { .. }));
        let key = created("2026-11-12T06:00:01Z");
        assert!(matches!(age_by_description(&key, thresholds, now()), Age::Settled(_)));
    }

    fn expiring(model: Option<&str>, valid_to: Option<&str>) -> Verdict {
        let key = Key {
            origin: Some(Origin::External),
            expiration_model: model.map(Into::into),
            valid_to: valid_to.map(at),
            ..key()
        };
        imported_material_expiry(&key, THRESHOLDS, now())
    }

    #[test]
    fn expiry_by_origin_and_state() {
        for (origin, state, expected) in [
            (Some("AWS_KMS"), Some("Enabled"), (NotApplicable, "not_imported")),
            (Some("AWS_CLOUDHSM"), Some("Enabled"), (NotApplicable, "not_imported")),
            (Some("EXTERNAL_KEY_STORE"), Some("Unavailable"), (NotApplicable, "not_imported")),
            (Some("AWS_KMS"), Some("PendingDeletion"), (NotApplicable, "not_imported")),
            (Some("EXTERNAL"), Some("PendingDeletion"), (NotApplicable, "pending_deletion")),
            (Some("EXTERNAL"), Some("PendingReplicaDeletion"), (NotApplicable, "pending_deletion")),
            (Some("EXTERNAL"), Some("PendingImport"), (NotApplicable, "no_key_material")),
            (Some("EXTERNAL"), Some("Enabled"), (Compliant, "does_not_expire")),
            (Some("EXTERNAL"), Some("Disabled"), (Compliant, "does_not_expire")),
            (Some("EXTERNAL"), Some("Zombie"), UNEXPECTED),
            (Some("EXTERNAL"), None, UNEXPECTED),
            (Some("THE_MOON"), Some("Enabled"), UNEXPECTED),
            (None, Some("Enabled"), UNEXPECTED),
        ] {
            let key = Key {
                origin: origin.map(Into::into),
                state: state.map(Into::into),
                expiration_model: Some(ExpirationModel::DoesNotExpire),
                ..key()
            };
            assert_eq!(row(&imported_material_expiry(&key, THRESHOLDS, now())), expected, "{origin:?} {state:?}");
        }
    }

    #[test]
    fn expiry_by_date() {
        let expires = Some("KEY_MATERIAL_EXPIRES");
        for (valid_to, expected) in [
            ("2027-06-01T00:00:00Z", (Compliant, "not_due")),
            ("2026-12-23T06:00:01Z", (Compliant, "not_due")),
            ("2026-12-23T06:00:00Z", (NonCompliant, "material_expiring")),
            ("2026-11-23T06:00:00Z", (NonCompliant, "material_expiring")),
            ("2020-01-01T00:00:00Z", (NonCompliant, "material_expiring")),
        ] {
            assert_eq!(row(&expiring(expires, Some(valid_to))), expected, "{valid_to}");
        }
        assert_eq!(row(&expiring(expires, None)), UNEXPECTED);
        assert_eq!(row(&expiring(Some("KEY_MATERIAL_DOES_NOT_EXPIRE"), None)), (Compliant, "does_not_expire"));
        assert_eq!(row(&expiring(Some("KEY_MATERIAL_MELTS"), Some("2027-06-01T00:00:00Z"))), UNEXPECTED);
        assert_eq!(row(&expiring(None, Some("2027-06-01T00:00:00Z"))), UNEXPECTED);
    }

    #[test]
    fn expiry_is_critical_from_seven_days_down() {
        for (valid_to, severity, days_left) in [
            ("2026-12-20T06:00:00Z", Severity::High, 27),
            ("2026-12-01T06:00:00Z", Severity::High, 8),
            ("2026-12-01T05:59:59Z", Severity::Critical, 7),
            ("2026-11-30T06:00:00Z", Severity::Critical, 7),
            ("2026-11-23T06:00:00Z", Severity::Critical, 0),
            ("2026-11-23T05:59:59Z", Severity::Critical, -1),
            ("2026-11-13T06:00:00Z", Severity::Critical, -10),
        ] {
            let verdict = expiring(Some("KEY_MATERIAL_EXPIRES"), Some(valid_to));
            assert_eq!(verdict.severity, Some(severity), "{valid_to}");
            assert_eq!(verdict.evidence["days_left"], days_left, "{valid_to}");
            assert_eq!(verdict.evidence["valid_to"], valid_to);
            assert_eq!(verdict.detail.contains("expired on"), days_left < 0, "{}", verdict.detail);
        }
    }
}
