//! Which key spec, key usage and origin go together (AWS KMS API Reference, `CreateKey`), as KMS enforces it.

use crate::error::ApiError;
use crate::kms::validation;

const SIGN_OR_ENCRYPT: &[&str] = &["ENCRYPT_DECRYPT", "SIGN_VERIFY"];
const SIGN_OR_AGREE: &[&str] = &["SIGN_VERIFY", "KEY_AGREEMENT"];
const SIGN: &[&str] = &["SIGN_VERIFY"];
const MAC: &[&str] = &["GENERATE_VERIFY_MAC"];

/// The usages of each key spec.
const USAGES: [(&str, &[&str]); 20] = [
    ("SYMMETRIC_DEFAULT", &["ENCRYPT_DECRYPT"]),
    ("RSA_2048", SIGN_OR_ENCRYPT),
    ("RSA_3072", SIGN_OR_ENCRYPT),
    ("RSA_4096", SIGN_OR_ENCRYPT),
    ("ECC_NIST_P256", SIGN_OR_AGREE),
    ("ECC_NIST_P384", SIGN_OR_AGREE),
    ("ECC_NIST_P521", SIGN_OR_AGREE),
    ("ECC_SECG_P256K1", SIGN),
    ("ECC_NIST_EDWARDS25519", SIGN),
    ("HMAC_224", MAC),
    ("HMAC_256", MAC),
    ("HMAC_384", MAC),
    ("HMAC_512", MAC),
    ("SM2", &["ENCRYPT_DECRYPT", "SIGN_VERIFY", "KEY_AGREEMENT"]),
    ("ML_DSA_44", SIGN),
    ("ML_DSA_65", SIGN),
    ("ML_DSA_87", SIGN),
    ("ML_KEM_512", &["ENCAPSULATE_DECAPSULATE"]),
    ("ML_KEM_768", &["ENCAPSULATE_DECAPSULATE"]),
    ("ML_KEM_1024", &["ENCAPSULATE_DECAPSULATE"]),
];

/// Refuses what does not go together. Without a usage, `ENCRYPT_DECRYPT` is meant.
pub(crate) fn check(spec: &str, usage: Option<&str>, origin: &str) -> Result<(), ApiError> {
    let Some((_, usages)) = USAGES.iter().find(|(name, _)| *name == spec) else {
        return Err(validation(&format!("Value '{spec}' at 'keySpec' failed to satisfy constraint")));
    };
    if !["AWS_KMS", "EXTERNAL"].contains(&origin) {
        return Err(validation(&format!("Value '{origin}' at 'origin' is not served by this fleet")));
    }
    let usage = usage.unwrap_or("ENCRYPT_DECRYPT");
    if !usages.contains(&usage) {
        return Err(ApiError::bad_request(
            "ValidationException",
            format!("KeyUsage {usage} is not compatible with KeySpec {spec}"),
        ));
    }
    Ok(())
}
