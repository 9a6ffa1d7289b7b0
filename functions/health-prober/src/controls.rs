//! The verdicts about the health of a key, here and in the Regions of its replicas. Pure.

use std::collections::{BTreeMap, BTreeSet};

use domain::control::{Control, Severity};
use domain::failure::{Cause, Failure};
use domain::key::{Key, KeySpec, KeyState, KeyUsage, MultiRegion, Origin, PROBE_TAG, RelatedKey, Unexpected};
use domain::key_policy::comparison::Policy;
use domain::verdict::{Verdict, date, in_transition};
use serde_json::Value;

/// The key is not about to be deleted.
pub static PENDING_DELETION: Control = Control {
    id: "pending-deletion",
    title: "The key is not scheduled for deletion",
    severity: Severity::Critical,
    other_severities: "",
    references: &["AWS Security Hub KMS.3", "AWS Config kms-cmk-not-scheduled-for-deletion"],
};

/// The key is in a state in which it can be used.
pub static KEY_USABLE: Control = Control {
    id: "key-usable",
    title: "The key is in a state in which it can be used",
    severity: Severity::Medium,
    other_severities: "HIGH where its custom key store is unavailable",
    references: &["AWS Well-Architected SEC08-BP01"],
};

/// What the key encrypts or signs, it decrypts or verifies.
pub static ROUND_TRIP: Control = Control {
    id: "round-trip",
    title: "What the key encrypts, signs or authenticates, it decrypts or verifies",
    severity: Severity::Critical,
    other_severities: "",
    references: &["AWS Well-Architected SEC08-BP01"],
};

/// All replicas of a multi-Region key can be used.
pub static REPLICA_HEALTH: Control = Control {
    id: "replica-health",
    title: "Every replica of a multi-Region key can be used",
    severity: Severity::High,
    other_severities: "",
    references: &["AWS Well-Architected SEC08-BP01", "AWS Well-Architected Reliability Pillar"],
};

/// A multi-Region key has a replica wherever it should have one.
pub static REPLICA_COVERAGE: Control = Control {
    id: "replica-coverage",
    title: "A multi-Region key has a replica in every Region that needs one",
    severity: Severity::High,
    other_severities: "",
    references: &[],
};

/// The replicas of a multi-Region key have the policy of their primary.
pub static REPLICA_POLICY_DRIFT: Control = Control {
    id: "replica-policy-drift",
    title: "The replicas of a multi-Region key have the key policy of their primary",
    severity: Severity::Medium,
    other_severities: "",
    references: &[],
};

/// The custom key store of the key is connected.
pub static KEY_STORE_CONNECTED: Control = Control {
    id: "key-store-connected",
    title: "The custom key store of the key is connected",
    severity: Severity::High,
    other_severities: "",
    references: &[],
};

/// The controls, in the order of their verdicts.
pub const CONTROLS: [&Control; 7] = [
    &PENDING_DELETION,
    &KEY_USABLE,
    &ROUND_TRIP,
    &REPLICA_HEALTH,
    &REPLICA_COVERAGE,
    &REPLICA_POLICY_DRIFT,
    &KEY_STORE_CONNECTED,
];

const DESCRIBE_KEY: &str = "DescribeKey";

/// The verdict on whether the key is about to be deleted.
pub fn pending_deletion(key: &Key) -> Verdict {
    let region = key.region();
    let detail = match (known_state(key), key.deletion_date) {
        (Err(unexpected), _) => return (&unexpected).into(),
        (Ok(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion), Some(deletion_date)) => {
            format!("the key in {region} will be deleted on {}", date(deletion_date))
        }
        (Ok(KeyState::PendingDeletion), None) => format!("the key in {region} is scheduled for deletion"),
        (Ok(KeyState::PendingReplicaDeletion), None) => {
            format!("the primary key in {region} will be deleted some days after the last of its replicas")
        }
        (Ok(state), _) => {
            return Verdict::compliant("not_scheduled").detail(format!("the key in {region} is {}", state.as_str()));
        }
    };
    let verdict = Verdict::non_compliant("scheduled_for_deletion").detail(detail).remediation(
        "If anything is still encrypted under this key, cancel the deletion (kms:CancelKeyDeletion) and enable the key \
         again (kms:EnableKey). Once it is deleted, neither the key nor what it encrypted can be recovered.",
    );
    match (key.deletion_date, key.waiting_period_days) {
        (Some(deletion_date), _) => verdict.evidence("deletion_date", deletion_date.to_string()),
        (None, Some(days)) => verdict.evidence("waiting_period_days", days),
        (None, None) => verdict,
    }
}

/// The verdict on whether the key is in a state in which it can be used.
pub fn key_usable(key: &Key) -> Verdict {
    let region = key.region();
    let not_usable = |reason, detail: &str, severity, remediation: &'static str| {
        Verdict::non_compliant(reason)
            .detail(format!("the key in {region} {detail}"))
            .severity(severity)
            .remediation(remediation)
    };
    match known_state(key) {
        Err(unexpected) => (&unexpected).into(),
        Ok(KeyState::Enabled) => Verdict::compliant("enabled").detail(format!("the key in {region} is enabled")),
        Ok(KeyState::Disabled) => not_usable(
            "key_disabled",
            "is disabled: nothing can be encrypted or decrypted with it",
            Severity::Medium,
            "Enable the key (kms:EnableKey) if it is still needed; otherwise name it in EXCLUDED_KEYS.",
        ),
        Ok(KeyState::PendingImport) => not_usable(
            "no_key_material",
            "has no key material",
            Severity::Medium,
            "Import its key material (kms:ImportKeyMaterial): the very same, if it had some before.",
        ),
        Ok(KeyState::Unavailable) => not_usable(
            "key_store_unavailable",
            "cannot be used, because its custom key store is not available",
            Severity::High,
            "Connect the custom key store (kms:ConnectCustomKeyStore), and look at what is behind it: the CloudHSM \
             cluster or the external key store's proxy.",
        ),
        Ok(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion) => {
            Verdict::not_applicable("pending_deletion").detail(format!("the key in {region} is scheduled for deletion"))
        }
        Ok(state @ (KeyState::Creating | KeyState::Updating | KeyState::Other(_))) => (&unexpected_state(state)).into(),
    }
}

fn known_state(key: &Key) -> Result<&KeyState, Unexpected> {
    match &key.state {
        Some(state @ KeyState::Other(_)) => Err(unexpected_state(state)),
        Some(state) => Ok(state),
        None => Err(Unexpected::absent(DESCRIBE_KEY, "KeyState")),
    }
}

fn unexpected_state(state: &KeyState) -> Unexpected {
    Unexpected::value(DESCRIBE_KEY, "KeyState", state.as_str())
}

/// How a key is tried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeMethod {
    /// What is done with it.
    pub kind: ProbeKind,
    /// The algorithm, one of those that the key lists.
    pub algorithm: String,
}

/// What is done with a key to try it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeKind {
    /// `Encrypt` and `Decrypt`, with the probe's encryption context.
    SymmetricEncryption,
    /// `Encrypt` and `Decrypt`, with none: key pairs know no encryption context.
    AsymmetricEncryption,
    /// `Sign` and `Verify`.
    Signature,
    /// `GenerateMac` and `VerifyMac`.
    Mac,
}

/// How a chosen key is to be tried out.
///
/// # Errors
/// The verdict about a key that cannot be tried out: no call is made for it that would be sure to fail.
pub fn probe_method_of(key: &Key) -> Result<ProbeMethod, Verdict> {
    let region = key.region();
    let state = known_state(key).map_err(|unexpected| Verdict::from(&unexpected))?;
    if *state != KeyState::Enabled {
        let why = format!("the key in {region} is {}: nothing can be encrypted or decrypted with it", state.as_str());
        return Err(Verdict::not_applicable("not_enabled").detail(why));
    }
    possible_method(key).map_err(|unexpected| Verdict::from(&unexpected))?.ok_or_else(|| {
        Verdict::not_applicable("no_round_trip").detail(format!("the key in {region} is for agreeing on secrets only"))
    })
}

/// The method that usage and algorithms of a key allow; `None` if its usage allows none.
fn possible_method(key: &Key) -> Result<Option<ProbeMethod>, Unexpected> {
    // RSAES_OAEP_SHA_1 is for old clients only, and ED25519_PH_SHA_512 takes digests, no messages.
    const LAST_RESORT: &str = "RSAES_OAEP_SHA_1";
    const FOR_DIGESTS: &str = "ED25519_PH_SHA_512";
    let (kind, field) = match &key.usage {
        Some(KeyUsage::EncryptDecrypt) if key.spec == Some(KeySpec::Symmetric) => {
            (ProbeKind::SymmetricEncryption, "EncryptionAlgorithms")
        }
        Some(KeyUsage::EncryptDecrypt) if key.spec == Some(KeySpec::Asymmetric) => {
            (ProbeKind::AsymmetricEncryption, "EncryptionAlgorithms")
        }
        // With or without an encryption context? That depends on the kind.
        Some(KeyUsage::EncryptDecrypt) => {
            key.kind()?;
            return Err(Unexpected::value(DESCRIBE_KEY, "KeyUsage", KeyUsage::EncryptDecrypt.as_str()));
        }
        Some(KeyUsage::SignVerify) => (ProbeKind::Signature, "SigningAlgorithms"),
        Some(KeyUsage::GenerateVerifyMac) => (ProbeKind::Mac, "MacAlgorithms"),
        Some(KeyUsage::KeyAgreement | KeyUsage::EncapsulateDecapsulate) => return Ok(None),
        Some(KeyUsage::Other(usage)) => return Err(Unexpected::value(DESCRIBE_KEY, "KeyUsage", usage)),
        None => return Err(Unexpected::absent(DESCRIBE_KEY, "KeyUsage")),
    };
    let mut fit = key.algorithms.iter().filter(|algorithm| *algorithm != FOR_DIGESTS);
    let algorithm = fit
        .clone()
        .find(|algorithm| *algorithm != LAST_RESORT)
        .or_else(|| fit.next())
        .ok_or_else(|| Unexpected::absent(DESCRIBE_KEY, field))?
        .clone();
    Ok(Some(ProbeMethod { kind, algorithm }))
}

/// Why a round trip, or a part of it, did not come to a good end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeError {
    /// What came back is not what went in.
    Differs {
        /// KMS operation that gave it back.
        operation: &'static str,
    },
    /// The answer names another key than the one that was asked.
    AnotherKey {
        /// KMS operation that gave it.
        operation: &'static str,
    },
    /// A call failed.
    Failed(Failure),
}

impl ProbeError {
    /// Does it lie with the key? If not, it says nothing about the key.
    fn is_the_keys(&self) -> bool {
        const OF_THE_KEY: [&str; 8] = [
            "DisabledException",
            "IncorrectKeyException",
            "InvalidCiphertextException",
            "InvalidKeyUsageException",
            "KMSInvalidMacException",
            "KMSInvalidSignatureException",
            "KMSInvalidStateException",
            "KeyUnavailableException",
        ];
        match self {
            Self::Differs { .. } | Self::AnotherKey { .. } => true,
            // In a custom key store an invalid state may be a proxy that is slow or throttled.
            Self::Failed(failure) if matches!(failure.cause, Cause::Throttled | Cause::Timeout) => false,
            Self::Failed(failure) => failure.code.as_deref().is_some_and(|code| OF_THE_KEY.contains(&code)),
        }
    }

    fn operation(&self) -> &'static str {
        match self {
            Self::Differs { operation } | Self::AnotherKey { operation } => operation,
            Self::Failed(failure) => failure.operation,
        }
    }

    fn summary(&self) -> String {
        match self {
            Self::Differs { operation } => format!("kms:{operation} gave back something else than what went in"),
            Self::AnotherKey { operation } => format!("the answer of kms:{operation} names another key"),
            Self::Failed(failure) => match &failure.code {
                Some(code) if self.is_the_keys() => format!("kms:{} was refused ({code})", failure.operation),
                _ => failure.to_string(),
            },
        }
    }

    fn error_code(&self) -> Option<&str> {
        match self {
            Self::Differs { .. } | Self::AnotherKey { .. } => None,
            Self::Failed(failure) => failure.code.as_deref(),
        }
    }
}

/// What became of a round trip, and how long each of its steps took, in milliseconds by operation.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundTrip {
    /// Did it come to a good end?
    pub result: Result<(), ProbeError>,
    /// Steps that KMS answered.
    pub milliseconds: Vec<(&'static str, f64)>,
}

/// The verdict about a key that nobody chose for a round trip.
pub fn not_selected(key: &Key) -> Verdict {
    let why = format!(
        "nobody opted the key in {} in: it has no tag {PROBE_TAG} = true, PROBE_KEYS does not name it",
        key.region()
    );
    Verdict::not_applicable("not_selected").detail(why)
}

/// The verdict about the round trip of a key of another account than the monitor's own.
pub fn of_another_account(key: &Key) -> Verdict {
    let why = format!(
        "the key in {} is another account's: a round trip is made in the monitor's own account alone",
        key.region()
    );
    Verdict::not_applicable("not_selected").detail(why)
}

/// The verdict about the round trip of a key in its own Region.
pub fn round_trip(key: &Key, trip: &RoundTrip) -> Verdict {
    let region = key.region();
    let verdict = match &trip.result {
        Ok(()) => Verdict::compliant("round_trip_ok").detail(format!("in {region}, what went in came back")),
        Err(error) if error.is_the_keys() => Verdict::non_compliant("round_trip_failed")
            .detail(format!("in {region}, {}", error.summary()))
            .evidence("region", region)
            .evidence("step", error.operation())
            .evidence("error_code", error.error_code())
            .remediation(
                "The key is enabled and cannot do its work: applications that use it fail now. Look at the key's state \
                 and key store, at its key material, and at the AWS Health Dashboard.",
            ),
        Err(error) => return not_known(error, region),
    };
    trip.milliseconds.iter().fold(verdict, |verdict, (operation, milliseconds)| {
        verdict.evidence(format!("{}_ms", snake_case(operation)), *milliseconds)
    })
}

fn snake_case(operation: &str) -> String {
    let mut text = String::new();
    for c in operation.chars() {
        if c.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// The verdict of the common rows, with the Region in its words.
fn not_known(error: &ProbeError, region: &str) -> Verdict {
    let ProbeError::Failed(failure) = error else {
        return (&Unexpected::absent(error.operation(), "Plaintext")).into();
    };
    failed_in(region, failure)
}

/// The verdict of the common rows about a call in that Region.
pub fn failed_in(region: &str, failure: &Failure) -> Verdict {
    let mut verdict = Verdict::from(failure).evidence("region", region);
    verdict.detail = format!("{}, in {region}", verdict.detail);
    verdict
}

/// What a run learnt about one replica of a primary.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// The replica, as its primary names it.
    pub related: RelatedKey,
    /// What its own Region says about it.
    pub described: Result<Key, Failure>,
    /// Its key policy.
    pub policy: Result<String, Failure>,
    /// Is it chosen for probing? `None` if that was not asked.
    pub chosen: Option<Result<bool, Failure>>,
}

/// What became of something made with a key in one Region, in another Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrossRegionTrip {
    /// Region that encrypted, signed or made the MAC.
    pub from: String,
    /// Region that was to decrypt or verify.
    pub to: String,
    /// Did it?
    pub result: Result<(), ProbeError>,
}

impl CrossRegionTrip {
    /// The Region whose call got into that error.
    fn place_of(&self, error: &ProbeError) -> &str {
        if ["Encrypt", "Sign", "GenerateMac"].contains(&error.operation()) { &self.from } else { &self.to }
    }
}

/// The replicas of a primary, or the verdict about a key that is none.
///
/// # Errors
/// The verdict.
pub fn replicas_of(key: &Key) -> Result<&[RelatedKey], Verdict> {
    match &key.multi_region {
        Err(unexpected) => Err(unexpected.into()),
        Ok(MultiRegion::No) => {
            Err(Verdict::not_applicable("not_a_primary")
                .detail(format!("the key in {} is of one Region", key.region())))
        }
        Ok(MultiRegion::Replica(_)) => Err(Verdict::not_applicable("not_a_primary")
            .detail(format!("the key in {} is a replica: it is judged at its primary", key.region()))),
        Ok(MultiRegion::Primary) => key.replicas.as_deref().map_err(Verdict::from),
    }
}

/// The verdict about the replicas of a primary. `not_known` is the primary's Region and why it is not known whether the
/// primary was chosen for probing, if that matters.
pub fn replica_health(
    replicas: &[Replica],
    not_known: Option<(&str, &Failure)>,
    cross_region_trips: &[CrossRegionTrip],
) -> Verdict {
    let mut evidence: Vec<(String, String)> = Vec::new();
    let mut not_enabled = Vec::new();
    let mut open: Option<Verdict> = None;
    if let Some((region, failure)) = not_known.filter(|_| !replicas.is_empty()) {
        evidence.push((format!("{region}_tags"), format!("not known: {failure}")));
        open = Some(failed_in(region, &unless_gone(failure)));
    }
    for replica in replicas {
        let region = &replica.related.region;
        let told = match state_of(replica) {
            Ok(KeyState::Enabled) => KeyState::Enabled.as_str().to_owned(),
            Ok(state) => {
                not_enabled.push(format!("in {region} it is {}", state.as_str()));
                state.as_str().to_owned()
            }
            Err(verdict) => {
                let told = format!("not known: {}", verdict.detail);
                prefer(&mut open, verdict);
                told
            }
        };
        evidence.push((region.clone(), told));
        if let Some(Err(failure)) = &replica.chosen {
            evidence.push((format!("{region}_tags"), format!("not known: {failure}")));
            prefer(&mut open, failed_in(region, &unless_gone(failure)));
        }
    }
    let mut failed = Vec::new();
    for trip in cross_region_trips {
        let CrossRegionTrip { from, to, result: Err(error) } = trip else { continue };
        evidence.push((format!("{from}_to_{to}"), error.summary()));
        if error.is_the_keys() {
            failed.push(format!("from {from} to {to}, {}", error.summary()));
        } else if let ProbeError::Failed(failure) = error {
            prefer(&mut open, failed_in(trip.place_of(error), &unless_gone(failure)));
        }
    }
    let verdict = if !not_enabled.is_empty() {
        Verdict::non_compliant("replica_not_enabled")
            .detail(format!("a replica of this key cannot be used: {}", not_enabled.join("; ")))
            .remediation(
                "Make the replica usable in its own Region: kms:CancelKeyDeletion, kms:EnableKey or kms:ImportKeyMaterial, \
                 by its state. Until then, a failover to that Region finds no key.",
            )
    } else if !failed.is_empty() {
        Verdict::non_compliant("replica_round_trip_failed")
            .detail(format!("what one Region encrypts or signs, another one does not take: {}", failed.join("; ")))
            .remediation(
                "Look at the keys in both Regions: their state, their key material, their key store. Until this is fixed, \
                 a failover cannot read what the other Region wrote.",
            )
    } else if let Some(verdict) = open {
        verdict
    } else {
        let detail = match replicas.len() {
            0 => "the key has no replica".to_owned(),
            count => format!("all replicas are enabled, {count} in number"),
        };
        Verdict::compliant("replicas_healthy").detail(detail)
    };
    evidence.into_iter().fold(verdict, |verdict, (name, told)| verdict.evidence(name, told))
}

/// Keeps the first verdict; one that people are told of takes the place of one that they are not.
fn prefer(open: &mut Option<Verdict>, verdict: Verdict) {
    if open.as_ref().is_none_or(|open| open.is_silent && !verdict.is_silent) {
        *open = Some(verdict);
    }
}

/// The state of a replica, or the verdict if it is not known.
fn state_of(replica: &Replica) -> Result<&KeyState, Verdict> {
    let region = &replica.related.region;
    let key = match &replica.described {
        Ok(key) => key,
        Err(failure) => return Err(failed_in(region, &unless_gone(failure))),
    };
    match known_state(key) {
        Ok(state @ (KeyState::Creating | KeyState::Updating)) => {
            let mut verdict = in_transition(state);
            verdict.detail = format!("{}, in {region}", verdict.detail);
            Err(verdict)
        }
        Ok(state) => Ok(state),
        Err(unexpected) => {
            let mut verdict = Verdict::from(&unexpected);
            verdict.detail = format!("{}, in {region}", verdict.detail);
            Err(verdict)
        }
    }
}

/// A replica that its primary names and its own Region does not know is a contradiction; `not_found` would say that the
/// primary itself is gone.
fn unless_gone(failure: &Failure) -> Failure {
    let cause = if failure.cause == Cause::NotFound { Cause::Unexpected } else { failure.cause };
    Failure { cause, ..failure.clone() }
}

/// The verdict on whether a primary has a replica in each of the required Regions.
pub fn replica_coverage(key: &Key, replicas: &[RelatedKey], required: &BTreeSet<String>) -> Verdict {
    if required.is_empty() {
        return Verdict::not_applicable("not_required").detail("REPLICA_REGIONS asks for none");
    }
    let home = key.region();
    let missing: Vec<&str> = required
        .iter()
        .map(String::as_str)
        .filter(|region| *region != home && !replicas.iter().any(|replica| replica.region == **region))
        .collect();
    if missing.is_empty() {
        return Verdict::compliant("covered").detail("the key is in every Region of REPLICA_REGIONS");
    }
    let present: Vec<&str> = std::iter::once(home).chain(replicas.iter().map(|it| it.region.as_str())).collect();
    Verdict::non_compliant("replica_missing")
        .detail(format!("the key has no replica in {}", missing.join(", ")))
        .evidence("missing_regions", missing)
        .evidence("present_regions", present)
        .remediation(format!(
            "Replicate the key there, calling kms:ReplicateKey in {home}, the Region of the primary, with the key policy \
             of the primary."
        ))
}

/// The verdict on whether the policies of a primary and its replicas mean the same.
pub fn replica_policy_drift(key: &Key, own: Result<&String, &Failure>, replicas: &[Replica]) -> Verdict {
    if replicas.is_empty() {
        return Verdict::not_applicable("no_replica").detail("the key has no replica");
    }
    let home = RelatedKey { arn: key.arn.clone(), region: key.region().to_owned() };
    let read = |related: &RelatedKey, policy: Result<&String, &Failure>, is_own: bool| {
        let text = policy.map_err(|failure| {
            let failure = if is_own { failure.clone() } else { unless_gone(failure) };
            failed_in(&related.region, &failure)
        })?;
        Policy::parse(text, related).map_err(|_| {
            let mut verdict = Verdict::from(&Unexpected::value("GetKeyPolicy", "Policy", text));
            verdict.detail = format!("the key policy in {} cannot be read", related.region);
            verdict.evidence("region", related.region.as_str())
        })
    };
    let own = match read(&home, own, true) {
        Ok(own) => own,
        Err(verdict) => return verdict,
    };
    let mut open = None;
    let mut differences: Vec<(&str, Vec<String>)> = Vec::new();
    for replica in replicas {
        let region = replica.related.region.as_str();
        match read(&replica.related, replica.policy.as_ref(), false) {
            Ok(policy) => differences.push((region, own.differences(&policy, region))),
            Err(verdict) => {
                prefer(&mut open, verdict);
            }
        }
    }
    differences.retain(|(_, differences)| !differences.is_empty());
    if differences.is_empty() {
        return open.unwrap_or_else(|| {
            Verdict::compliant("same_policy").detail("the policies of the key mean the same in all its Regions")
        });
    }
    let told: Vec<&str> = differences.iter().flat_map(|(_, told)| told.iter().map(String::as_str)).collect();
    let verdict = Verdict::non_compliant("policy_differs")
        .detail(format!("compared with {}, {}", home.region, told.join("; ")))
        .remediation(
            "KMS does not carry a key policy over to replicas. Decide which policy is right and put it in each Region \
             (kms:PutKeyPolicy).",
        );
    differences
        .iter()
        .fold(verdict, |verdict, (region, told)| verdict.evidence((*region).to_owned(), Value::from(told.clone())))
}

/// The custom key store that holds a key.
///
/// # Errors
/// The verdict about a key that is in none, or of which that is not known.
pub fn key_store_of(key: &Key) -> Result<&str, Verdict> {
    match (&key.origin, &key.custom_key_store_id) {
        (_, Some(store)) => Ok(store),
        (Some(Origin::AwsCloudHsm | Origin::ExternalKeyStore), None) => {
            Err((&Unexpected::absent(DESCRIBE_KEY, "CustomKeyStoreId")).into())
        }
        (Some(Origin::AwsKms | Origin::External), None) => Err(Verdict::not_applicable("no_custom_key_store")
            .detail(format!("KMS itself holds the key in {}", key.region()))),
        (Some(Origin::Other(origin)), None) => Err((&Unexpected::value(DESCRIBE_KEY, "Origin", origin)).into()),
        (None, None) => Err((&Unexpected::absent(DESCRIBE_KEY, "Origin")).into()),
    }
}

/// What `DescribeCustomKeyStores` says about one store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyStore {
    /// Its name.
    pub name: Option<String>,
    /// KMS `ConnectionState`.
    pub connection_state: Option<String>,
    /// KMS `ConnectionErrorCode`.
    pub connection_error_code: Option<String>,
}

/// The verdict on whether the custom key store of the key is connected.
pub fn key_store_connected(
    key: &Key,
    store_id: &str,
    stores: Result<&BTreeMap<String, KeyStore>, &Failure>,
) -> Verdict {
    const OPERATION: &str = "DescribeCustomKeyStores";
    let region = key.region();
    let store = match stores {
        Err(failure) => return failed_in(region, &unless_gone(failure)),
        Ok(stores) => match stores.get(store_id) {
            Some(store) => store,
            None => return (&Unexpected::value(OPERATION, "CustomKeyStoreId", store_id)).into(),
        },
    };
    match store.connection_state.as_deref() {
        None => (&Unexpected::absent(OPERATION, "ConnectionState")).into(),
        Some("CONNECTED") => {
            Verdict::compliant("connected").detail(format!("custom key store {store_id} in {region} is connected"))
        }
        Some(state @ ("CONNECTING" | "DISCONNECTING" | "DISCONNECTED" | "FAILED")) => Verdict::non_compliant(
            "not_connected",
        )
        .detail(format!(
            "custom key store {} in {region} is {state}: its keys cannot be used",
            store.name.as_deref().unwrap_or(store_id)
        ))
        .evidence("custom_key_store_id", store_id)
        .evidence("connection_state", state)
        .evidence("connection_error_code", store.connection_error_code.as_deref())
        .remediation(
            "Fix what the error code names, then connect the store (kms:ConnectCustomKeyStore). KMS's guide has \
                     a page for each kind of store: \"Troubleshooting a custom key store\".",
        ),
        Some(other) => (&Unexpected::value(OPERATION, "ConnectionState", other)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::verdict::Compliance::{self, Compliant, InsufficientData, NonCompliant, NotApplicable};
    use jiff::Timestamp;
    use serde_json::json;

    const HOME: &str = "us-east-1";
    const IRELAND: &str = "eu-west-1";
    const OREGON: &str = "us-west-2";

    fn related(region: &str) -> RelatedKey {
        RelatedKey { arn: format!("arn:aws:kms:{region}:123456789012:key/mrk-1"), region: region.into() }
    }

    /// An enabled symmetric key.
    fn key() -> Key {
        Key {
            manager: Some("CUSTOMER".into()),
            state: Some("Enabled".into()),
            spec: Some("SYMMETRIC_DEFAULT".into()),
            usage: Some("ENCRYPT_DECRYPT".into()),
            origin: Some("AWS_KMS".into()),
            algorithms: vec!["SYMMETRIC_DEFAULT".into()],
            ..Key::unknown(related(HOME).arn, "mrk-1")
        }
    }

    fn in_state(state: &str) -> Key {
        Key { state: Some(state.into()), ..key() }
    }

    fn primary(regions: &[&str]) -> Key {
        let replicas = Ok(regions.iter().map(|region| related(region)).collect());
        Key { multi_region: Ok(MultiRegion::Primary), replicas, ..key() }
    }

    fn failure(operation: &'static str, cause: Cause, code: Option<&str>) -> Failure {
        Failure { service: "kms", operation, cause, code: code.map(str::to_owned), message: String::new() }
    }

    /// The causes of the common rows, with what they come to. For a key that was listed `not_found` means that it is gone.
    const COMMON: [(Cause, &str); 6] = [
        (Cause::AccessDenied, "access_denied"),
        (Cause::Throttled, "throttled"),
        (Cause::Timeout, "timeout"),
        (Cause::ServiceError, "service_error"),
        (Cause::NotFound, "not_found"),
        (Cause::Unexpected, "unexpected_response"),
    ];

    type Row = (Compliance, &'static str);
    const UNEXPECTED: Row = (InsufficientData, "unexpected_response");

    fn row(verdict: &Verdict) -> Row {
        (verdict.compliance, verdict.reason)
    }

    /// Whoever reads a finding learns where and what to do.
    fn assert_tells(verdict: &Verdict, region: &str) {
        assert!(verdict.detail.contains(region), "{}", verdict.detail);
        assert!(!verdict.remediation.is_empty(), "{}", verdict.detail);
    }

    #[test]
    fn pending_deletion_by_state() {
        let scheduled = (NonCompliant, "scheduled_for_deletion");
        let not_scheduled = (Compliant, "not_scheduled");
        for (state, expected) in [
            ("PendingDeletion", scheduled),
            ("PendingReplicaDeletion", scheduled),
            ("Enabled", not_scheduled),
            ("Disabled", not_scheduled),
            ("PendingImport", not_scheduled),
            ("Unavailable", not_scheduled),
            ("Zombie", UNEXPECTED),
        ] {
            assert_eq!(row(&pending_deletion(&in_state(state))), expected, "{state}");
        }
        assert_eq!(row(&pending_deletion(&Key { state: None, ..key() })), UNEXPECTED);
    }

    #[test]
    fn pending_deletion_says_when_or_how_long() {
        let deletion_date: Timestamp = "2026-12-01T10:00:00Z".parse().unwrap();
        let dated = pending_deletion(&Key { deletion_date: Some(deletion_date), ..in_state("PendingDeletion") });
        assert_eq!(dated.detail, "the key in us-east-1 will be deleted on 2026-12-01");
        assert_eq!(Value::from(dated.evidence.clone()), json!({"deletion_date": "2026-12-01T10:00:00Z"}));
        let waiting = Key { waiting_period_days: Some(30), ..in_state("PendingReplicaDeletion") };
        let waiting = pending_deletion(&waiting);
        assert_eq!(Value::from(waiting.evidence.clone()), json!({"waiting_period_days": 30}));
        for verdict in [dated, waiting, pending_deletion(&in_state("PendingDeletion"))] {
            assert_tells(&verdict, HOME);
            assert_eq!(verdict.severity, None, "critical, as the control says");
        }
    }

    #[test]
    fn key_usable_by_state() {
        for (state, expected, severity) in [
            ("Enabled", (Compliant, "enabled"), None),
            ("Disabled", (NonCompliant, "key_disabled"), Some(Severity::Medium)),
            ("PendingImport", (NonCompliant, "no_key_material"), Some(Severity::Medium)),
            ("Unavailable", (NonCompliant, "key_store_unavailable"), Some(Severity::High)),
            ("PendingDeletion", (NotApplicable, "pending_deletion"), None),
            ("PendingReplicaDeletion", (NotApplicable, "pending_deletion"), None),
            ("Zombie", UNEXPECTED, None),
        ] {
            let verdict = key_usable(&in_state(state));
            assert_eq!((row(&verdict), verdict.severity), (expected, severity), "{state}");
            if verdict.compliance == NonCompliant {
                assert_tells(&verdict, HOME);
            }
        }
        assert_eq!(row(&key_usable(&Key { state: None, ..key() })), UNEXPECTED);
    }

    #[test]
    fn a_key_that_nobody_chose() {
        assert_eq!(row(&not_selected(&key())), (NotApplicable, "not_selected"));
    }

    #[test]
    fn how_a_chosen_key_is_tried_out() {
        use ProbeKind::{AsymmetricEncryption, Mac, Signature, SymmetricEncryption};
        for (spec, usage, algorithms, expected) in [
            (
                "SYMMETRIC_DEFAULT",
                "ENCRYPT_DECRYPT",
                &["SYMMETRIC_DEFAULT"][..],
                Some((SymmetricEncryption, "SYMMETRIC_DEFAULT")),
            ),
            (
                "RSA_2048",
                "ENCRYPT_DECRYPT",
                &["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"],
                Some((AsymmetricEncryption, "RSAES_OAEP_SHA_256")),
            ),
            ("RSA_2048", "ENCRYPT_DECRYPT", &["RSAES_OAEP_SHA_1"], Some((AsymmetricEncryption, "RSAES_OAEP_SHA_1"))),
            ("SM2", "ENCRYPT_DECRYPT", &["SM2PKE"], Some((AsymmetricEncryption, "SM2PKE"))),
            (
                "RSA_4096",
                "SIGN_VERIFY",
                &["RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PSS_SHA_256"],
                Some((Signature, "RSASSA_PKCS1_V1_5_SHA_256")),
            ),
            ("ECC_NIST_P384", "SIGN_VERIFY", &["ECDSA_SHA_384"], Some((Signature, "ECDSA_SHA_384"))),
            (
                "ECC_NIST_EDWARDS25519",
                "SIGN_VERIFY",
                &["ED25519_PH_SHA_512", "ED25519_SHA_512"],
                Some((Signature, "ED25519_SHA_512")),
            ),
            ("SM2", "SIGN_VERIFY", &["SM2DSA"], Some((Signature, "SM2DSA"))),
            ("ML_DSA_65", "SIGN_VERIFY", &["ML_DSA_SHAKE_256"], Some((Signature, "ML_DSA_SHAKE_256"))),
            // A spec of tomorrow that lists its algorithm.
            ("NEW_SPEC", "SIGN_VERIFY", &["NEW_ALGORITHM"], Some((Signature, "NEW_ALGORITHM"))),
            ("HMAC_512", "GENERATE_VERIFY_MAC", &["HMAC_SHA_512"], Some((Mac, "HMAC_SHA_512"))),
            ("ECC_NIST_P256", "KEY_AGREEMENT", &[], None),
            ("ML_KEM_768", "ENCAPSULATE_DECAPSULATE", &[], None),
        ] {
            let algorithms = algorithms.iter().map(|it| (*it).to_owned()).collect();
            let key = Key { spec: Some(spec.into()), usage: Some(usage.into()), algorithms, ..key() };
            match (probe_method_of(&key), expected) {
                (Ok(method), Some((kind, algorithm))) => {
                    assert_eq!(method, ProbeMethod { kind, algorithm: algorithm.into() }, "{spec}");
                }
                (Err(verdict), None) => assert_eq!(row(&verdict), (NotApplicable, "no_round_trip"), "{spec}"),
                (other, _) => panic!("{spec}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_chosen_key_that_cannot_be_tried_out() {
        for state in ["Disabled", "PendingImport", "Unavailable", "PendingDeletion", "PendingReplicaDeletion"] {
            assert_eq!(row(&probe_method_of(&in_state(state)).unwrap_err()), (NotApplicable, "not_enabled"), "{state}");
        }
        for key in [
            in_state("Zombie"),
            Key { state: None, ..key() },
            Key { usage: None, ..key() },
            Key { usage: Some("DANCE".into()), ..key() },
            Key { spec: None, ..key() },
            Key { spec: Some("NEW_SPEC".into()), ..key() },
            Key { spec: Some("HMAC_256".into()), ..key() },
            Key { algorithms: Vec::new(), ..key() },
            Key { usage: Some("SIGN_VERIFY".into()), algorithms: vec!["ED25519_PH_SHA_512".into()], ..key() },
        ] {
            assert_eq!(row(&probe_method_of(&key).unwrap_err()), UNEXPECTED, "{key:?}");
        }
    }

    fn trip(result: Result<(), ProbeError>) -> RoundTrip {
        RoundTrip { result, milliseconds: vec![("Encrypt", 12.5), ("Decrypt", 7.25)] }
    }

    #[test]
    fn a_round_trip_that_ends_well() {
        let verdict = round_trip(&key(), &trip(Ok(())));
        assert_eq!(row(&verdict), (Compliant, "round_trip_ok"));
        assert_eq!(Value::from(verdict.evidence), json!({"encrypt_ms": 12.5, "decrypt_ms": 7.25}));
    }

    /// KMS's codes for what lies with the key, with the status that they come with.
    const OF_THE_KEY: [(&str, Cause); 8] = [
        ("KMSInvalidStateException", Cause::Unexpected),
        ("DisabledException", Cause::Unexpected),
        // It comes with status 500.
        ("KeyUnavailableException", Cause::ServiceError),
        ("InvalidKeyUsageException", Cause::Unexpected),
        ("IncorrectKeyException", Cause::Unexpected),
        ("InvalidCiphertextException", Cause::Unexpected),
        ("KMSInvalidSignatureException", Cause::Unexpected),
        ("KMSInvalidMacException", Cause::Unexpected),
    ];

    #[test]
    fn a_round_trip_that_fails_for_the_keys_sake() {
        for (code, cause) in OF_THE_KEY {
            let verdict = round_trip(&key(), &trip(Err(ProbeError::Failed(failure("Decrypt", cause, Some(code))))));
            assert_eq!(row(&verdict), (NonCompliant, "round_trip_failed"), "{code}");
            assert_eq!((&verdict.evidence["step"], &verdict.evidence["error_code"]), (&json!("Decrypt"), &json!(code)));
            assert_tells(&verdict, HOME);
        }
        let verdict = round_trip(&key(), &trip(Err(ProbeError::Differs { operation: "VerifyMac" })));
        assert_eq!(row(&verdict), (NonCompliant, "round_trip_failed"));
        assert_eq!((&verdict.evidence["step"], &verdict.evidence["error_code"]), (&json!("VerifyMac"), &Value::Null));
        assert_tells(&verdict, HOME);
    }

    #[test]
    fn a_round_trip_of_which_nothing_is_known() {
        for (cause, reason) in COMMON {
            let verdict = round_trip(&key(), &trip(Err(ProbeError::Failed(failure("Encrypt", cause, None)))));
            assert_eq!(row(&verdict), (InsufficientData, reason));
            assert_tells(&verdict, HOME);
        }
        let limit = failure("Encrypt", Cause::Unexpected, Some("LimitExceededException"));
        assert_eq!(row(&round_trip(&key(), &trip(Err(ProbeError::Failed(limit))))), UNEXPECTED);
    }

    #[test]
    fn only_primaries_have_replicas_to_judge() {
        let of = |multi_region| Key { multi_region, ..key() };
        let not_a_primary = (NotApplicable, "not_a_primary");
        assert_eq!(row(&replicas_of(&of(Ok(MultiRegion::No))).unwrap_err()), not_a_primary);
        assert_eq!(row(&replicas_of(&of(Ok(MultiRegion::Replica(None)))).unwrap_err()), not_a_primary);
        let absent = || Unexpected::absent("DescribeKey", "ReplicaKeys");
        assert_eq!(row(&replicas_of(&of(Err(absent()))).unwrap_err()), UNEXPECTED);
        let unreadable = Key { replicas: Err(absent()), ..primary(&[]) };
        assert_eq!(row(&replicas_of(&unreadable).unwrap_err()), UNEXPECTED);
        assert_eq!(replicas_of(&primary(&[])), Ok(&[][..]));
        assert_eq!(replicas_of(&primary(&[IRELAND])), Ok(&[related(IRELAND)][..]));
    }

    fn policy_text() -> String {
        json!({"Version": "2012-10-17", "Statement": []}).to_string()
    }

    fn replica(region: &str, described: Result<&str, Failure>) -> Replica {
        Replica {
            related: related(region),
            described: described.map(|state| Key { arn: related(region).arn, ..in_state(state) }),
            policy: Ok(policy_text()),
            chosen: None,
        }
    }

    #[test]
    fn replica_health_by_the_states_of_the_replicas() {
        let healthy = (Compliant, "replicas_healthy");
        assert_eq!(row(&replica_health(&[], None, &[])), healthy);
        for (state, expected) in [
            ("Enabled", healthy),
            ("Disabled", (NonCompliant, "replica_not_enabled")),
            ("PendingDeletion", (NonCompliant, "replica_not_enabled")),
            ("PendingImport", (NonCompliant, "replica_not_enabled")),
            ("Unavailable", (NonCompliant, "replica_not_enabled")),
            ("Creating", (InsufficientData, "key_in_transition")),
            ("Updating", (InsufficientData, "key_in_transition")),
            ("Zombie", UNEXPECTED),
        ] {
            let verdict = replica_health(&[replica(OREGON, Ok("Enabled")), replica(IRELAND, Ok(state))], None, &[]);
            assert_eq!(row(&verdict), expected, "{state}");
            if expected != healthy {
                assert_tells(&verdict, IRELAND);
            }
            assert_eq!(verdict.evidence[OREGON], "Enabled");
            assert!(verdict.evidence.get(IRELAND).is_some());
        }
    }

    #[test]
    fn replica_health_where_a_region_is_not_known() {
        for (cause, reason) in COMMON {
            let unknown = || replica(IRELAND, Err(failure("DescribeKey", cause, None)));
            let verdict = replica_health(&[replica(OREGON, Ok("Enabled")), unknown()], None, &[]);
            // `not_found` would say that the primary is gone.
            let reason = if reason == "not_found" { "unexpected_response" } else { reason };
            assert_eq!(row(&verdict), (InsufficientData, reason));
            assert_tells(&verdict, IRELAND);
            assert!(verdict.evidence[IRELAND].as_str().unwrap().starts_with("not known: "));
            // What is known to be wrong counts more than what is not known.
            let verdict = replica_health(&[unknown(), replica(OREGON, Ok("Disabled"))], None, &[]);
            assert_eq!(row(&verdict), (NonCompliant, "replica_not_enabled"));
            assert_eq!(verdict.detail, "a replica of this key cannot be used: in us-west-2 it is Disabled");
            assert!(verdict.evidence[IRELAND].as_str().unwrap().starts_with("not known: "));
        }
        let untold = Replica {
            chosen: Some(Err(failure("ListResourceTags", Cause::AccessDenied, None))),
            ..replica(IRELAND, Ok("Enabled"))
        };
        assert_eq!(row(&replica_health(&[untold], None, &[])), (InsufficientData, "access_denied"));
    }

    #[test]
    fn replica_health_where_it_is_not_known_whether_the_primary_was_chosen() {
        for (cause, reason) in COMMON {
            let reason = if reason == "not_found" { "unexpected_response" } else { reason };
            let failure = failure("ListResourceTags", cause, None);
            let not_known = Some((HOME, &failure));
            let verdict = replica_health(&[replica(IRELAND, Ok("Enabled"))], not_known, &[]);
            assert_eq!(row(&verdict), (InsufficientData, reason));
            assert_tells(&verdict, HOME);
            assert!(verdict.evidence[&format!("{HOME}_tags")].as_str().unwrap().starts_with("not known: "));
            // What is known to be wrong counts more; without a replica there is nothing to know.
            let verdict = replica_health(&[replica(IRELAND, Ok("Disabled"))], not_known, &[]);
            assert_eq!(row(&verdict), (NonCompliant, "replica_not_enabled"));
            assert_eq!(row(&replica_health(&[], not_known, &[])), (Compliant, "replicas_healthy"));
        }
    }

    #[test]
    fn in_a_custom_key_store_an_invalid_state_may_pass() {
        let invalid = |cause| ProbeError::Failed(failure("Encrypt", cause, Some("KMSInvalidStateException")));
        for (cause, expected) in [
            (Cause::Throttled, (InsufficientData, "throttled")),
            (Cause::Timeout, (InsufficientData, "timeout")),
            (Cause::Unexpected, (NonCompliant, "round_trip_failed")),
        ] {
            let trip = RoundTrip { result: Err(invalid(cause)), milliseconds: Vec::new() };
            assert_eq!(row(&round_trip(&key(), &trip)), expected);
        }
    }

    #[test]
    fn an_answer_that_names_another_key_is_a_failed_round_trip() {
        let result = Err(ProbeError::AnotherKey { operation: "Encrypt" });
        let verdict = round_trip(&key(), &RoundTrip { result: result.clone(), milliseconds: Vec::new() });
        assert_eq!(row(&verdict), (NonCompliant, "round_trip_failed"));
        assert!(verdict.detail.contains("the answer of kms:Encrypt names another key"), "{}", verdict.detail);
        let trip = CrossRegionTrip { from: HOME.into(), to: IRELAND.into(), result };
        let verdict = replica_health(&[replica(IRELAND, Ok("Enabled"))], None, &[trip]);
        assert_eq!(row(&verdict), (NonCompliant, "replica_round_trip_failed"));
    }

    fn cross_region(from: &str, to: &str, result: Result<(), ProbeError>) -> CrossRegionTrip {
        CrossRegionTrip { from: from.into(), to: to.into(), result }
    }

    #[test]
    fn replica_health_by_what_crosses_from_region_to_region() {
        let replicas = [replica(IRELAND, Ok("Enabled"))];
        let fine = cross_region(HOME, IRELAND, Ok(()));
        assert_eq!(row(&replica_health(&replicas, None, std::slice::from_ref(&fine))), (Compliant, "replicas_healthy"));
        for (code, cause) in OF_THE_KEY {
            let bad = cross_region(IRELAND, HOME, Err(ProbeError::Failed(failure("Decrypt", cause, Some(code)))));
            let verdict = replica_health(&replicas, None, &[fine.clone(), bad]);
            assert_eq!(row(&verdict), (NonCompliant, "replica_round_trip_failed"), "{code}");
            assert!(verdict.detail.contains("from eu-west-1 to us-east-1"), "{}", verdict.detail);
            assert!(verdict.evidence["eu-west-1_to_us-east-1"].as_str().unwrap().contains(code));
        }
        let other = cross_region(HOME, IRELAND, Err(ProbeError::Differs { operation: "Decrypt" }));
        assert_eq!(row(&replica_health(&replicas, None, &[other])), (NonCompliant, "replica_round_trip_failed"));
        for (cause, reason) in COMMON {
            let reason = if reason == "not_found" { "unexpected_response" } else { reason };
            for (operation, place) in [("Encrypt", HOME), ("Decrypt", IRELAND)] {
                let lost = cross_region(HOME, IRELAND, Err(ProbeError::Failed(failure(operation, cause, None))));
                let verdict = replica_health(&replicas, None, &[lost]);
                assert_eq!(row(&verdict), (InsufficientData, reason));
                assert_tells(&verdict, place);
            }
        }
        let disabled = [replica(IRELAND, Ok("Enabled")), replica(OREGON, Ok("Disabled"))];
        let other = cross_region(HOME, IRELAND, Err(ProbeError::Differs { operation: "Decrypt" }));
        assert_eq!(row(&replica_health(&disabled, None, &[other])), (NonCompliant, "replica_not_enabled"));
    }

    #[test]
    fn coverage_of_required_regions() {
        let required = |regions: &[&str]| regions.iter().map(|it| (*it).to_owned()).collect::<BTreeSet<_>>();
        for (replicas, regions, expected) in [
            (&[][..], &[][..], (NotApplicable, "not_required")),
            (&[IRELAND], &[], (NotApplicable, "not_required")),
            (&[], &[HOME], (Compliant, "covered")),
            (&[], &[IRELAND], (NonCompliant, "replica_missing")),
            (&[IRELAND], &[IRELAND], (Compliant, "covered")),
            (&[IRELAND], &[HOME, IRELAND], (Compliant, "covered")),
            (&[IRELAND], &[IRELAND, OREGON], (NonCompliant, "replica_missing")),
            (&[IRELAND, OREGON], &[IRELAND], (Compliant, "covered")),
        ] {
            let key = primary(replicas);
            let verdict = replica_coverage(&key, replicas_of(&key).unwrap(), &required(regions));
            assert_eq!(row(&verdict), expected, "{replicas:?} {regions:?}");
        }
        let key = primary(&[IRELAND]);
        let verdict = replica_coverage(&key, replicas_of(&key).unwrap(), &required(&[IRELAND, OREGON, "sa-east-1"]));
        assert_eq!(verdict.evidence["missing_regions"], json!(["sa-east-1", OREGON]));
        assert_tells(&verdict, OREGON);
    }

    fn with_policy(region: &str, policy: Result<&str, Failure>) -> Replica {
        Replica { policy: policy.map(str::to_owned), ..replica(region, Ok("Enabled")) }
    }

    #[test]
    fn policies_of_the_regions() {
        let key = primary(&[IRELAND, OREGON]);
        let statement = |sid: &str| json!({"Version": "2012-10-17", "Statement": [{"Sid": sid}]}).to_string();
        let drift = |own: Result<&str, Failure>, replicas: &[Replica]| {
            replica_policy_drift(&key, own.map(str::to_owned).as_ref(), replicas)
        };
        assert_eq!(row(&drift(Ok("unread"), &[])), (NotApplicable, "no_replica"));
        let (same, other) = (statement("A"), statement("B"));
        let fine = || with_policy(OREGON, Ok(&same));
        let verdict = drift(Ok(&same), &[fine(), with_policy(IRELAND, Ok(&same))]);
        assert_eq!(row(&verdict), (Compliant, "same_policy"));

        let verdict = drift(Ok(&same), &[fine(), with_policy(IRELAND, Ok(&other))]);
        assert_eq!(row(&verdict), (NonCompliant, "policy_differs"));
        let expected = json!(["statement `A` is missing in eu-west-1", "statement `B` stands in eu-west-1 only"]);
        assert_eq!(Value::from(verdict.evidence.clone()), json!({IRELAND: expected}));
        assert_tells(&verdict, IRELAND);

        for text in ["not JSON", "[]"] {
            let verdict = drift(Ok(&same), &[with_policy(IRELAND, Ok(text)), fine()]);
            assert_eq!(row(&verdict), UNEXPECTED);
            assert_tells(&verdict, IRELAND);
            let verdict = drift(Ok(text), &[fine()]);
            assert_eq!(row(&verdict), UNEXPECTED);
            assert_tells(&verdict, HOME);
        }
        for (cause, reason) in COMMON {
            let denied = || Err(failure("GetKeyPolicy", cause, None));
            let there = if reason == "not_found" { "unexpected_response" } else { reason };
            let verdict = drift(Ok(&same), &[fine(), with_policy(IRELAND, denied())]);
            assert_eq!(row(&verdict), (InsufficientData, there));
            assert_tells(&verdict, IRELAND);
            let verdict = drift(denied(), &[fine()]);
            assert_eq!(row(&verdict), (InsufficientData, reason));
            assert_tells(&verdict, HOME);
            // What is known to differ counts more than what is not known.
            let verdict = drift(Ok(&same), &[with_policy(IRELAND, denied()), with_policy(OREGON, Ok(&other))]);
            assert_eq!(row(&verdict), (NonCompliant, "policy_differs"));
        }
    }

    #[test]
    fn which_keys_are_in_a_custom_key_store() {
        let of = |origin: Option<&str>, store: Option<&str>| Key {
            origin: origin.map(Origin::from),
            custom_key_store_id: store.map(str::to_owned),
            ..key()
        };
        let none = (NotApplicable, "no_custom_key_store");
        for (origin, store, expected) in [
            (Some("AWS_KMS"), None, Err(none)),
            (Some("EXTERNAL"), None, Err(none)),
            (Some("AWS_CLOUDHSM"), Some("cks-1"), Ok("cks-1")),
            (Some("EXTERNAL_KEY_STORE"), Some("cks-1"), Ok("cks-1")),
            (Some("AWS_CLOUDHSM"), None, Err(UNEXPECTED)),
            (Some("EXTERNAL_KEY_STORE"), None, Err(UNEXPECTED)),
            (Some("THE_MOON"), None, Err(UNEXPECTED)),
            (None, None, Err(UNEXPECTED)),
        ] {
            let key = of(origin, store);
            assert_eq!(key_store_of(&key).map_err(|verdict| row(&verdict)), expected, "{origin:?} {store:?}");
        }
    }

    #[test]
    fn connection_of_the_custom_key_store() {
        let not_connected = (NonCompliant, "not_connected");
        for (state, expected) in [
            (Some("CONNECTED"), (Compliant, "connected")),
            (Some("CONNECTING"), not_connected),
            (Some("DISCONNECTING"), not_connected),
            (Some("DISCONNECTED"), not_connected),
            (Some("FAILED"), not_connected),
            (Some("DREAMING"), UNEXPECTED),
            (None, UNEXPECTED),
        ] {
            let store = KeyStore {
                name: Some("vault".into()),
                connection_state: state.map(str::to_owned),
                connection_error_code: Some("USER_LOCKED_OUT".into()),
            };
            let stores = BTreeMap::from([("cks-1".to_owned(), store)]);
            let verdict = key_store_connected(&key(), "cks-1", Ok(&stores));
            assert_eq!(row(&verdict), expected, "{state:?}");
            if expected == not_connected {
                assert_tells(&verdict, HOME);
                assert_eq!(verdict.evidence["connection_state"], state.unwrap());
                assert_eq!(verdict.evidence["connection_error_code"], "USER_LOCKED_OUT");
            }
            assert_eq!(row(&key_store_connected(&key(), "cks-2", Ok(&stores))), UNEXPECTED, "no such store");
        }
        for (cause, reason) in COMMON.into_iter().filter(|(cause, _)| *cause != Cause::NotFound) {
            let failure = failure("DescribeCustomKeyStores", cause, None);
            let verdict = key_store_connected(&key(), "cks-1", Err(&failure));
            assert_eq!(row(&verdict), (InsufficientData, reason));
            assert_tells(&verdict, HOME);
        }
    }
}
