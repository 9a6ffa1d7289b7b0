//! Which keys there can be: what KMS makes of key spec, usage, origin, multi-Region and rotation.
//!
//! The one table of it. Requests are judged by it, the simulated fleet refuses what it refuses, and
//! `docs/key-combinations.md` shows it.

/// The key spec that KMS makes where none is asked for.
pub const SYMMETRIC_DEFAULT: &str = "SYMMETRIC_DEFAULT";

/// KMS `KeyUsage`.
pub const USAGES: [&str; 4] = ["ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT"];

/// KMS `Origin`.
pub const ORIGINS: [&str; 4] = ["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];

/// Key specs that are alike in everything that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// KMS `KeySpec`.
    pub specs: &'static [&'static str],
    /// KMS `KeyUsage` that they can have.
    pub usages: &'static [&'static str],
    /// KMS `Origin` that they can have.
    pub origins: &'static [&'static str],
    /// Where they can rotate by themselves: of which origin.
    pub rotates: &'static [&'static str],
    /// Of which origin they can be multi-Region keys.
    pub multi_region: &'static [&'static str],
    /// The partition that alone has them, if one does.
    pub only_in: Option<&'static str>,
    /// Where AWS says which usages they have.
    pub usage_source: &'static str,
}

const BY_KMS_OR_IMPORTED: &[&str] = &["AWS_KMS", "EXTERNAL"];

/// Every key spec, family by family.
pub const FAMILIES: [Family; 7] = [
    Family {
        specs: &[SYMMETRIC_DEFAULT],
        usages: &["ENCRYPT_DECRYPT"],
        origins: &ORIGINS,
        rotates: &["AWS_KMS"],
        multi_region: BY_KMS_OR_IMPORTED,
        only_in: None,
        usage_source: SYMMETRIC_SPECS,
    },
    Family {
        specs: &["HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512"],
        usages: &["GENERATE_VERIFY_MAC"],
        origins: BY_KMS_OR_IMPORTED,
        rotates: &[],
        multi_region: BY_KMS_OR_IMPORTED,
        only_in: None,
        usage_source: HMAC_SPECS,
    },
    Family {
        specs: &["RSA_2048", "RSA_3072", "RSA_4096"],
        usages: &["ENCRYPT_DECRYPT", "SIGN_VERIFY"],
        origins: BY_KMS_OR_IMPORTED,
        rotates: &[],
        multi_region: BY_KMS_OR_IMPORTED,
        only_in: None,
        usage_source: ASYMMETRIC_SPECS,
    },
    Family {
        specs: &["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"],
        usages: &["SIGN_VERIFY", "KEY_AGREEMENT"],
        origins: BY_KMS_OR_IMPORTED,
        rotates: &[],
        multi_region: BY_KMS_OR_IMPORTED,
        only_in: None,
        usage_source: ASYMMETRIC_SPECS,
    },
    Family {
        specs: &["ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"],
        usages: &["SIGN_VERIFY"],
        origins: BY_KMS_OR_IMPORTED,
        rotates: &[],
        multi_region: BY_KMS_OR_IMPORTED,
        only_in: None,
        usage_source: ASYMMETRIC_SPECS,
    },
    Family {
        specs: &["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"],
        usages: &["SIGN_VERIFY"],
        origins: BY_KMS_OR_IMPORTED,
        rotates: &[],
        multi_region: BY_KMS_OR_IMPORTED,
        only_in: None,
        usage_source: ASYMMETRIC_SPECS,
    },
    Family {
        specs: &["SM2"],
        usages: &["ENCRYPT_DECRYPT", "SIGN_VERIFY", "KEY_AGREEMENT"],
        origins: BY_KMS_OR_IMPORTED,
        rotates: &[],
        multi_region: BY_KMS_OR_IMPORTED,
        only_in: Some("aws-cn"),
        usage_source: ASYMMETRIC_SPECS,
    },
];

const SYMMETRIC_SPECS: &str =
    "https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html#symmetric-cmks";
const HMAC_SPECS: &str =
    "https://docs.aws.amazon.com/kms/latest/developerguide/symm-asymm-choose-key-spec.html#hmac-key-specs";
const ASYMMETRIC_SPECS: &str = "https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html";

/// Every key spec.
pub fn specs() -> impl Iterator<Item = &'static str> {
    FAMILIES.iter().flat_map(|family| family.specs).copied()
}

/// What of a key only some combinations allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape<'a> {
    /// KMS `KeySpec`.
    pub spec: &'a str,
    /// KMS `KeyUsage`.
    pub usage: &'a str,
    /// KMS `Origin`.
    pub origin: &'a str,
    /// Is it a multi-Region key?
    pub is_multi_region: bool,
    /// Does it rotate by itself?
    pub rotates: bool,
}

/// Why there can be no such key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field of a request that does not go with the others.
    pub field: &'static str,
    /// Why, and what would go.
    pub problem: String,
}

impl Shape<'_> {
    /// Can there be such a key in that partition?
    ///
    /// # Errors
    /// Which of its facts does not go with those before it.
    pub fn check(&self, partition: &str) -> Result<(), Refusal> {
        let refuse = |field, problem| Err(Refusal { field, problem });
        let Some(family) = FAMILIES.iter().find(|family| family.specs.contains(&self.spec)) else {
            return refuse("key_spec", format!("is none of {}", list(specs())));
        };
        if let Some(only) = family.only_in.filter(|only| *only != partition) {
            return refuse("key_spec", format!("exists in the partition `{only}` only"));
        }
        if !family.usages.contains(&self.usage) {
            let usages = list(family.usages.iter().copied());
            return refuse("key_usage", format!("does not go with `{}`, which takes {usages}", self.spec));
        }
        if !family.origins.contains(&self.origin) {
            let origins = list(family.origins.iter().copied());
            return refuse("origin", format!("does not go with `{}`, which takes {origins}", self.spec));
        }
        if self.is_multi_region && !family.multi_region.contains(&self.origin) {
            return refuse("multi_region", format!("does not go with the origin `{}`", self.origin));
        }
        if self.rotates && !family.rotates.contains(&self.origin) {
            let problem = "only `SYMMETRIC_DEFAULT` keys of the origin `AWS_KMS` rotate by themselves";
            return refuse("rotation_period_days", problem.to_owned());
        }
        Ok(())
    }
}

fn list<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.map(|text| format!("`{text}`")).collect::<Vec<_>>().join(", ")
}
