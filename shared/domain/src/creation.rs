//! Which keys there can be: what KMS makes of key spec, usage, origin, multi-Region and rotation.
//!
//! The one table of it. Requests are judged by it, the simulated fleet refuses what it refuses, and
//! `docs/key-combinations.md` shows it.

/// The key spec that KMS makes where none is asked for.
pub const SYMMETRIC_DEFAULT: &str = "SYMMETRIC_DEFAULT";

/// KMS `KeyUsage`.
pub const USAGES: [&str; 5] =
    ["ENCRYPT_DECRYPT", "SIGN_VERIFY", "GENERATE_VERIFY_MAC", "KEY_AGREEMENT", "ENCAPSULATE_DECAPSULATE"];

/// KMS `Origin`.
pub const ORIGINS: [&str; 4] = ["AWS_KMS", "EXTERNAL", "AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"];

/// The partition of the China Regions.
const CHINA: &str = "aws-cn";

/// Key specs that are alike in everything that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// KMS `KeySpec`.
    pub specs: &'static [&'static str],
    /// KMS `KeyUsage` that they can have.
    pub usages: &'static [&'static str],
    /// KMS `Origin` that they can have.
    pub origins: &'static [&'static str],
    /// Of which origins they rotate by themselves.
    pub rotates: &'static [&'static str],
    /// Of which origins they can be multi-Region keys.
    pub multi_region: &'static [&'static str],
    /// Where they exist.
    pub place: Place,
}

/// Where a key spec exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In every partition.
    Everywhere,
    /// In the China Regions alone.
    China,
    /// In every partition but that of the China Regions.
    NotChina,
}

/// Key usages and key specs.
pub const SOURCE_OF_SPECS: &str = "https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html";
/// Origin `EXTERNAL`: symmetric encryption, HMAC, asymmetric encryption, key agreement and signing.
pub const SOURCE_OF_IMPORTS: &str =
    "https://docs.aws.amazon.com/kms/latest/APIReference/API_GetParametersForImport.html";
/// Origins `AWS_CLOUDHSM` and `EXTERNAL_KEY_STORE`: symmetric encryption in a single Region.
pub const SOURCE_OF_KEY_STORES: &str =
    "https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html#KMS-CreateKey-request-CustomKeyStoreId";
/// Multi-Region keys: symmetric, asymmetric, HMAC and imported, none in a custom key store.
pub const SOURCE_OF_MULTI_REGION: &str =
    "https://docs.aws.amazon.com/kms/latest/APIReference/API_CreateKey.html#KMS-CreateKey-request-MultiRegion";
/// Rotation: symmetric encryption keys with material that KMS made.
pub const SOURCE_OF_ROTATION: &str = "https://docs.aws.amazon.com/kms/latest/APIReference/API_EnableKeyRotation.html";

const KMS: &[&str] = &["AWS_KMS"];
const KMS_OR_IMPORTED: &[&str] = &["AWS_KMS", "EXTERNAL"];

/// A family that can be imported and replicated, and does not rotate by itself.
const fn pair(specs: &'static [&'static str], usages: &'static [&'static str]) -> Family {
    Family {
        specs,
        usages,
        origins: KMS_OR_IMPORTED,
        rotates: &[],
        multi_region: KMS_OR_IMPORTED,
        place: Place::Everywhere,
    }
}

/// Every key spec, family by family.
pub const FAMILIES: [Family; 8] = [
    Family { origins: &ORIGINS, rotates: KMS, ..pair(&[SYMMETRIC_DEFAULT], &["ENCRYPT_DECRYPT"]) },
    pair(&["HMAC_224", "HMAC_256", "HMAC_384", "HMAC_512"], &["GENERATE_VERIFY_MAC"]),
    pair(&["RSA_2048", "RSA_3072", "RSA_4096"], &["ENCRYPT_DECRYPT", "SIGN_VERIFY"]),
    pair(&["ECC_NIST_P256", "ECC_NIST_P384", "ECC_NIST_P521"], &["SIGN_VERIFY", "KEY_AGREEMENT"]),
    pair(&["ECC_SECG_P256K1", "ECC_NIST_EDWARDS25519"], &["SIGN_VERIFY"]),
    pair(&["ML_DSA_44", "ML_DSA_65", "ML_DSA_87"], &["SIGN_VERIFY"]),
    Family {
        // No document names the import of such material.
        origins: KMS,
        multi_region: KMS,
        place: Place::NotChina,
        ..pair(&["ML_KEM_512", "ML_KEM_768", "ML_KEM_1024"], &["ENCAPSULATE_DECAPSULATE"])
    },
    Family { place: Place::China, ..pair(&["SM2"], &["ENCRYPT_DECRYPT", "SIGN_VERIFY", "KEY_AGREEMENT"]) },
];

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
        match family.place {
            Place::China if partition != CHINA => {
                return refuse("key_spec", format!("`{}` keys exist in the China Regions only", self.spec));
            }
            Place::NotChina if partition == CHINA => {
                return refuse("key_spec", format!("there are no `{}` keys in the China Regions", self.spec));
            }
            _ => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The rules as AWS's documentation says them, one by one, apart from the table.
    fn is_documented(shape: &Shape<'_>, partition: &str) -> bool {
        let is = |prefix: &str| shape.spec.starts_with(prefix);
        // CreateKey, `KeyUsage`.
        let usages: &[&str] = match shape.spec {
            "SYMMETRIC_DEFAULT" => &["ENCRYPT_DECRYPT"],
            "ECC_SECG_P256K1" | "ECC_NIST_EDWARDS25519" => &["SIGN_VERIFY"],
            "SM2" => &["ENCRYPT_DECRYPT", "SIGN_VERIFY", "KEY_AGREEMENT"],
            _ if is("HMAC_") => &["GENERATE_VERIFY_MAC"],
            _ if is("RSA_") => &["ENCRYPT_DECRYPT", "SIGN_VERIFY"],
            _ if is("ECC_NIST_P") => &["SIGN_VERIFY", "KEY_AGREEMENT"],
            _ if is("ML_DSA_") => &["SIGN_VERIFY"],
            _ if is("ML_KEM_") => &["ENCAPSULATE_DECAPSULATE"],
            _ => &[],
        };
        let symmetric = shape.spec == "SYMMETRIC_DEFAULT";
        let in_store = ["AWS_CLOUDHSM", "EXTERNAL_KEY_STORE"].contains(&shape.origin);
        usages.contains(&shape.usage)
            // CreateKey, `KeySpec`: SM2 in China alone, ML-KEM everywhere else.
            && (shape.spec != "SM2" || partition == "aws-cn")
            && (!is("ML_KEM_") || partition != "aws-cn")
            // CreateKey, `CustomKeyStoreId`: symmetric encryption keys of one Region.
            && (!in_store || (symmetric && !shape.is_multi_region))
            // GetParametersForImport: every usage but encapsulation.
            && (shape.origin != "EXTERNAL" || shape.usage != "ENCAPSULATE_DECAPSULATE")
            // EnableKeyRotation: symmetric encryption, material by KMS.
            && (!shape.rotates || (symmetric && shape.origin == "AWS_KMS"))
    }

    #[test]
    fn there_can_be_a_key_exactly_where_the_documentation_says() {
        let mut possible = 0;
        for partition in ["aws", "aws-cn", "aws-us-gov"] {
            for spec in specs() {
                for usage in USAGES {
                    for origin in ORIGINS {
                        for (is_multi_region, rotates) in [(false, false), (false, true), (true, false), (true, true)] {
                            let shape = Shape { spec, usage, origin, is_multi_region, rotates };
                            let answer = shape.check(partition);
                            let expected = is_documented(&shape, partition);
                            assert_eq!(answer.is_ok(), expected, "{partition} {shape:?} {answer:?}");
                            possible += usize::from(expected);
                        }
                    }
                }
            }
        }
        assert!(possible > 200, "{possible}");
    }

    #[test]
    fn what_nobody_knows_is_refused_by_its_field() {
        let good = Shape {
            spec: SYMMETRIC_DEFAULT,
            usage: "ENCRYPT_DECRYPT",
            origin: "AWS_KMS",
            is_multi_region: false,
            rotates: true,
        };
        assert_eq!(good.check("aws"), Ok(()));
        for (shape, field) in [
            (Shape { spec: "RSA_1024", ..good }, "key_spec"),
            (Shape { spec: "", ..good }, "key_spec"),
            (Shape { usage: "ENCRYPT", ..good }, "key_usage"),
            (Shape { origin: "AWS", ..good }, "origin"),
            (Shape { origin: "AWS_CLOUDHSM", is_multi_region: true, ..good }, "multi_region"),
            (Shape { origin: "EXTERNAL", ..good }, "rotation_period_days"),
        ] {
            assert_eq!(shape.check("aws").unwrap_err().field, field, "{shape:?}");
        }
    }
}
