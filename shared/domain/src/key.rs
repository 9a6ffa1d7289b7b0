//! Facts about one KMS key, as `DescribeKey` tells them.
//!
//! KMS's lists of values grow. A value that this version does not know is kept as `Other`, and a field that was absent is
//! `None`, so that a verdict can name what it could not understand.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;

use crate::text::printable;

/// The tag that opts a key in to the health prober's round trip, with the value `true`.
pub const PROBE_TAG: &str = "kms-compliance/probe";

/// The tag that takes a key out of all controls, with the value `true`, where a deployment allows that.
pub const EXCLUDE_TAG: &str = "kms-compliance/exclude";

/// Do its tags take a key out?
pub fn is_excluded(tags: &BTreeMap<String, String>) -> bool {
    tags.get(EXCLUDE_TAG).is_some_and(|value| value == "true")
}

/// Do its tags opt a key in?
pub fn opts_in(tags: &BTreeMap<String, String>) -> bool {
    tags.get(PROBE_TAG).is_some_and(|value| value == "true")
}

/// What `DescribeKey` said about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Key ARN.
    pub arn: String,
    /// Key ID: the last part of the ARN.
    pub id: String,
    /// Who manages the key: the customer or AWS.
    pub manager: Option<KeyManager>,
    /// Where the key is in its life.
    pub state: Option<KeyState>,
    /// What kind of key material it holds.
    pub spec: Option<KeySpec>,
    /// What it is used for.
    pub usage: Option<KeyUsage>,
    /// Where its material comes from.
    pub origin: Option<Origin>,
    /// When the key was created; for a multi-Region replica, when the replica was.
    pub created_at: Option<Timestamp>,
    /// Its place among the Regions.
    pub multi_region: Result<MultiRegion, Unexpected>,
    /// Does imported key material expire?
    pub expiration_model: Option<ExpirationModel>,
    /// When the first of the imported materials expires.
    pub valid_to: Option<Timestamp>,
    /// When the key will be deleted, if that is known yet.
    pub deletion_date: Option<Timestamp>,
    /// How many days a primary that waits for its replicas' deletion will wait after that.
    pub waiting_period_days: Option<i32>,
    /// Custom key store that holds the key.
    pub custom_key_store_id: Option<String>,
    /// What the key can be used with: its encryption, signing or MAC algorithms, whichever its usage has.
    pub algorithms: Vec<String>,
    /// The replicas of a multi-Region primary; none for any other key.
    pub replicas: Result<Vec<RelatedKey>, Unexpected>,
}

/// A key of the same key material in another Region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelatedKey {
    /// Key ARN.
    pub arn: String,
    /// Region name.
    pub region: String,
}

/// A key's place among the Regions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MultiRegion {
    /// A single-Region key.
    No,
    /// The primary of a multi-Region key.
    Primary,
    /// A replica, and its primary's ARN if KMS tells.
    Replica(Option<String>),
}

/// Defines an enum of the values that one field of KMS's has, and of those that this version does not know.
macro_rules! values {
    ($(#[$doc:meta])* $name:ident { $($(#[$value_doc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$value_doc])* $variant,)*
            /// A value that this version does not know.
            Other(String),
        }

        impl From<&str> for $name {
            fn from(value: &str) -> Self {
                match value {
                    $($text => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl $name {
            /// The value as KMS writes it.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other(other) => other,
                }
            }
        }
    };
}

values! {
    /// KMS `KeyManager`.
    KeyManager {
        /// An AWS managed key.
        Aws = "AWS",
        /// A customer managed key.
        Customer = "CUSTOMER",
    }
}

values! {
    /// KMS `KeyState`.
    KeyState {
        /// Being created, a replica for example.
        Creating = "Creating",
        /// Ready for use.
        Enabled = "Enabled",
        /// Switched off.
        Disabled = "Disabled",
        /// Will be deleted at the end of its waiting period.
        PendingDeletion = "PendingDeletion",
        /// Waits for its key material to be imported.
        PendingImport = "PendingImport",
        /// A primary that will be deleted once its last replica is.
        PendingReplicaDeletion = "PendingReplicaDeletion",
        /// Its custom key store cannot be reached.
        Unavailable = "Unavailable",
        /// Being changed: its primary Region, for example.
        Updating = "Updating",
    }
}

values! {
    /// KMS `KeyUsage`.
    KeyUsage {
        /// Encryption, with symmetric and RSA keys.
        EncryptDecrypt = "ENCRYPT_DECRYPT",
        /// Signatures.
        SignVerify = "SIGN_VERIFY",
        /// Message authentication codes.
        GenerateVerifyMac = "GENERATE_VERIFY_MAC",
        /// Shared secrets.
        KeyAgreement = "KEY_AGREEMENT",
        /// Key encapsulation.
        EncapsulateDecapsulate = "ENCAPSULATE_DECAPSULATE",
    }
}

values! {
    /// KMS `Origin` of the key material.
    Origin {
        /// KMS made it.
        AwsKms = "AWS_KMS",
        /// Imported.
        External = "EXTERNAL",
        /// Made in an AWS CloudHSM cluster.
        AwsCloudHsm = "AWS_CLOUDHSM",
        /// Kept in a key store outside AWS.
        ExternalKeyStore = "EXTERNAL_KEY_STORE",
    }
}

/// KMS `KeySpec`, by kind: no verdict depends on the size of an RSA key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySpec {
    /// `SYMMETRIC_DEFAULT`.
    Symmetric,
    /// RSA, elliptic curve, SM2, ML-DSA, ML-KEM.
    Asymmetric,
    /// `HMAC_*`.
    Hmac,
    /// A value that this version does not know.
    Other(String),
}

impl From<&str> for KeySpec {
    fn from(value: &str) -> Self {
        const ASYMMETRIC: [&str; 5] = ["RSA_", "ECC_", "SM2", "ML_DSA_", "ML_KEM_"];
        if value == "SYMMETRIC_DEFAULT" {
            Self::Symmetric
        } else if value.starts_with("HMAC_") {
            Self::Hmac
        } else if ASYMMETRIC.iter().any(|family| value.starts_with(family)) {
            Self::Asymmetric
        } else {
            Self::Other(value.to_owned())
        }
    }
}

values! {
    /// KMS `ExpirationModel` of imported key material.
    ExpirationModel {
        /// It expires.
        Expires = "KEY_MATERIAL_EXPIRES",
        /// It does not.
        DoesNotExpire = "KEY_MATERIAL_DOES_NOT_EXPIRE",
    }
}

/// The three kinds of key material that verdicts distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Symmetric encryption.
    Symmetric,
    /// A key pair.
    Asymmetric,
    /// Message authentication codes.
    Hmac,
}

impl Key {
    /// A key of one Region of which no more is known than its name. AWS's answers never are this short: the tests of every
    /// check state the facts that they are about, and take the others from here.
    pub fn unknown(arn: impl Into<String>, id: impl Into<String>) -> Self {
        Self {
            arn: arn.into(),
            id: id.into(),
            manager: None,
            state: None,
            spec: None,
            usage: None,
            origin: None,
            created_at: None,
            multi_region: Ok(MultiRegion::No),
            expiration_model: None,
            valid_to: None,
            deletion_date: None,
            waiting_period_days: None,
            custom_key_store_id: None,
            algorithms: Vec::new(),
            replicas: Ok(Vec::new()),
        }
    }

    /// The Region that the key lives in, from its ARN.
    pub fn region(&self) -> &str {
        self.arn.split(':').nth(3).unwrap_or_default()
    }

    /// The kind of key material, from the key spec. A spec newer than this version is recognised by a usage that only one
    /// kind has.
    ///
    /// # Errors
    /// The field that is absent or holds an unknown value.
    pub fn kind(&self) -> Result<KeyKind, Unexpected> {
        match &self.spec {
            Some(KeySpec::Symmetric) => Ok(KeyKind::Symmetric),
            Some(KeySpec::Asymmetric) => Ok(KeyKind::Asymmetric),
            Some(KeySpec::Hmac) => Ok(KeyKind::Hmac),
            Some(KeySpec::Other(spec)) => match &self.usage {
                Some(KeyUsage::SignVerify | KeyUsage::KeyAgreement | KeyUsage::EncapsulateDecapsulate) => {
                    Ok(KeyKind::Asymmetric)
                }
                Some(KeyUsage::GenerateVerifyMac) => Ok(KeyKind::Hmac),
                _ => Err(Unexpected::value("DescribeKey", "KeySpec", spec)),
            },
            None => Err(Unexpected::absent("DescribeKey", "KeySpec")),
        }
    }
}

/// A field of an answer from AWS that a verdict needs and that is absent, unknown to this version or contradictory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unexpected {
    /// KMS operation that answered.
    pub operation: &'static str,
    /// Name of the field, in KMS's words.
    pub field: &'static str,
    /// What stood there; `None` if nothing did.
    pub value: Option<String>,
}

impl Unexpected {
    /// The field was absent.
    pub fn absent(operation: &'static str, field: &'static str) -> Self {
        Self { operation, field, value: None }
    }

    /// The field held a value that is not recognised by this version, or that contradicts the rest of the answer.
    pub fn value(operation: &'static str, field: &'static str, value: impl Into<String>) -> Self {
        Self { operation, field, value: Some(value.into()) }
    }
}

impl fmt::Display for Unexpected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operation, field, value } = self;
        match value {
            None => write!(f, "the answer of {operation} has no {field}"),
            Some(value) => write!(f, "the answer of {operation} has the {field} `{}`", printable(value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(spec: Option<&str>, usage: Option<&str>) -> Key {
        Key { spec: spec.map(KeySpec::from), usage: usage.map(KeyUsage::from), ..Key::unknown("", "") }
    }

    #[test]
    fn a_key_is_opted_in_by_its_tag_alone() {
        for (name, value, expected) in [
            (PROBE_TAG, "true", true),
            (PROBE_TAG, "false", false),
            (PROBE_TAG, "True", false),
            (PROBE_TAG, "", false),
            ("kms-compliance/Probe", "true", false),
            ("probe", "true", false),
        ] {
            assert_eq!(opts_in(&BTreeMap::from([(name.into(), value.into())])), expected, "{name}={value}");
        }
        assert!(!opts_in(&BTreeMap::new()));
    }

    #[test]
    fn a_key_lives_where_its_arn_says() {
        let of = |arn: &str| Key { arn: arn.to_owned(), ..Key::unknown("", "") }.region().to_owned();
        assert_eq!(of("arn:aws:kms:eu-west-1:123456789012:key/mrk-1"), "eu-west-1");
        assert_eq!(of("no ARN"), "");
    }

    #[test]
    fn every_known_spec_has_its_kind() {
        for spec in ["RSA_2048", "RSA_4096", "ECC_NIST_P256", "ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519", "SM2"] {
            assert_eq!(key(Some(spec), None).kind(), Ok(KeyKind::Asymmetric), "{spec}");
        }
        for spec in ["ML_DSA_44", "ML_DSA_65", "ML_DSA_87", "ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"] {
            assert_eq!(key(Some(spec), None).kind(), Ok(KeyKind::Asymmetric), "{spec}");
        }
        for spec in ["HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512"] {
            assert_eq!(key(Some(spec), None).kind(), Ok(KeyKind::Hmac), "{spec}");
        }
        assert_eq!(key(Some("SYMMETRIC_DEFAULT"), None).kind(), Ok(KeyKind::Symmetric));
    }

    #[test]
    fn a_spec_newer_than_this_build_is_known_by_its_usage_or_not_at_all() {
        assert_eq!(key(Some("NEW_1"), Some("SIGN_VERIFY")).kind(), Ok(KeyKind::Asymmetric));
        assert_eq!(key(Some("NEW_1"), Some("KEY_AGREEMENT")).kind(), Ok(KeyKind::Asymmetric));
        assert_eq!(key(Some("NEW_1"), Some("ENCAPSULATE_DECAPSULATE")).kind(), Ok(KeyKind::Asymmetric));
        assert_eq!(key(Some("NEW_1"), Some("GENERATE_VERIFY_MAC")).kind(), Ok(KeyKind::Hmac));
        let unknown = Unexpected::value("DescribeKey", "KeySpec", "NEW_1");
        assert_eq!(key(Some("NEW_1"), Some("ENCRYPT_DECRYPT")).kind(), Err(unknown.clone()));
        assert_eq!(key(Some("NEW_1"), Some("NEW_USAGE")).kind(), Err(unknown));
        assert_eq!(key(None, Some("SIGN_VERIFY")).kind(), Err(Unexpected::absent("DescribeKey", "KeySpec")));
    }
}
