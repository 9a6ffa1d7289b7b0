//! Which key spec, key usage, origin and multi-Region go together, as KMS enforces it: the product's one table of it.

use domain::creation::Shape;

use crate::error::ApiError;
use crate::kms::validation;

/// Refuses what does not go together. Without a usage, `ENCRYPT_DECRYPT` is meant.
pub(crate) fn check(spec: &str, usage: Option<&str>, origin: &str, is_multi_region: bool) -> Result<(), ApiError> {
    // Its requests name no key store, and KMS needs to know the one.
    if !["AWS_KMS", "EXTERNAL"].contains(&origin) {
        return Err(validation(&format!("Value '{origin}' at 'origin' is not served without a CustomKeyStoreId")));
    }
    let usage = usage.unwrap_or("ENCRYPT_DECRYPT");
    let shape = Shape { spec, usage, origin, is_multi_region, rotates: false };
    shape.check("aws").map_err(|refusal| {
        ApiError::bad_request("ValidationException", format!("{} {}", refusal.field, refusal.problem))
    })
}
