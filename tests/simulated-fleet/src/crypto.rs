//! The use of keys, with real cryptography.
//!
//! A key's material belongs to its ID, so that multi-Region keys share theirs: AES-256-GCM and HMAC keys are derived from the ID,
//! and for key pairs, which take long to make, one pair of each kind serves all keys, with the ID bound into what it makes.
//! Where the crates at hand lack an algorithm (SM2, ML-DSA, the rarer curves), Ed25519 signs and AES encrypts in its
//! place.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING,
    ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey,
};
use ring::{aead, hmac};
use rsa::rand_core::OsRng;
use rsa::sha2::{Digest as _, Sha256, Sha384, Sha512};
use rsa::{Oaep, Pkcs1v15Sign, Pss, RsaPrivateKey, RsaPublicKey};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::kms::{algorithms, usage};
use crate::model::Key;
use crate::operation::Operation;

const RSA_BITS: usize = 2048;
const MAX_BYTES: usize = 4_096;

/// The members of all requests; each operation reads its own.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Request {
    ciphertext_blob: Bytes,
    encryption_algorithm: Option<String>,
    encryption_context: BTreeMap<String, String>,
    mac: Bytes,
    mac_algorithm: Option<String>,
    message: Bytes,
    message_type: Option<String>,
    plaintext: Bytes,
    signature: Bytes,
    signing_algorithm: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(try_from = "String")]
struct Bytes(Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        BASE64.decode(text).map(Self).map_err(|error| error.to_string())
    }
}

/// The ID of the key that made a ciphertext: `Decrypt` need not be told.
pub(crate) fn key_in(body: &[u8]) -> Option<String> {
    let request: Request = serde_json::from_slice(body).ok()?;
    let (id, _) = split_id(&request.ciphertext_blob.0)?;
    String::from_utf8(id.to_vec()).ok()
}

/// What of a call and its answer is nobody else's business, in base64.
pub(crate) fn secrets(body: &[u8], answer: &Value) -> Vec<String> {
    const SECRETS: [&str; 5] = ["CiphertextBlob", "Mac", "Message", "Plaintext", "Signature"];
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let of =
        |it: &Value| SECRETS.iter().filter_map(|name| it.get(name)?.as_str().map(str::to_owned)).collect::<Vec<_>>();
    [of(&request), of(answer)].concat()
}

/// What a call that uses the key comes to, and refused where KMS refuses.
pub(crate) fn answer(operation: Operation, body: &[u8], key: &Key<'_>) -> Result<Value, ApiError> {
    let request: Request = serde_json::from_slice(body)
        .map_err(|error| ApiError::bad_request("SerializationException", error.to_string()))?;
    check_state(key)?;
    let (usage_needed, algorithm) = match operation {
        Operation::Encrypt | Operation::Decrypt => {
            let default = || "SYMMETRIC_DEFAULT".to_owned();
            ("ENCRYPT_DECRYPT", request.encryption_algorithm.clone().unwrap_or_else(default))
        }
        Operation::Sign | Operation::Verify => ("SIGN_VERIFY", required(request.signing_algorithm.as_ref())?),
        _ => ("GENERATE_VERIFY_MAC", required(request.mac_algorithm.as_ref())?),
    };
    let usage = usage(key.entry);
    let listed = algorithms(&key.entry.key_spec, usage).map(|(_, listed)| listed).unwrap_or_default();
    if usage != usage_needed || !listed.contains(&algorithm) {
        let message =
            format!("{} key usage is {usage} which is not valid for {operation} with {algorithm}.", key.arn());
        return Err(ApiError::bad_request("InvalidKeyUsageException", message));
    }
    if !request.encryption_context.is_empty() && algorithm != "SYMMETRIC_DEFAULT" {
        return Err(validation("Encryption context is for symmetric keys only"));
    }
    if matches!(operation, Operation::Sign | Operation::Verify) {
        let wanted = if algorithm == "ED25519_PH_SHA_512" { "DIGEST" } else { "RAW" };
        if request.message_type.as_deref().unwrap_or("RAW") != wanted {
            return Err(validation("The fleet takes messages, and digests for ED25519_PH_SHA_512 only"));
        }
    }
    if request.plaintext.0.len().max(request.message.0.len()) > MAX_BYTES {
        return Err(validation("Member must have length less than or equal to 4096"));
    }
    let (id, arn) = (key.id(), key.arn());
    Ok(match operation {
        Operation::Encrypt => {
            let ciphertext = encrypt(&id, &algorithm, &request)?;
            json!({"KeyId": arn, "CiphertextBlob": BASE64.encode(ciphertext), "EncryptionAlgorithm": algorithm})
        }
        Operation::Decrypt => {
            let plaintext = decrypt(&id, &algorithm, &request)?;
            json!({"KeyId": arn, "Plaintext": BASE64.encode(plaintext), "EncryptionAlgorithm": algorithm})
        }
        Operation::Sign => {
            let signature = sign(&algorithm, key, &bound(&id, &request.message.0))?;
            json!({"KeyId": arn, "Signature": BASE64.encode(signature), "SigningAlgorithm": algorithm})
        }
        Operation::Verify => {
            if !verify(&algorithm, key, &bound(&id, &request.message.0), &request.signature.0)? {
                return Err(ApiError::bad_request("KMSInvalidSignatureException", ""));
            }
            json!({"KeyId": arn, "SignatureValid": true, "SigningAlgorithm": algorithm})
        }
        Operation::GenerateMac => {
            let mac = mac(&id, &algorithm, &request.message.0)?;
            json!({"KeyId": arn, "Mac": BASE64.encode(mac), "MacAlgorithm": algorithm})
        }
        _ => {
            if mac(&id, &algorithm, &request.message.0)? != request.mac.0 {
                return Err(ApiError::bad_request("KMSInvalidMacException", ""));
            }
            json!({"KeyId": arn, "MacValid": true, "MacAlgorithm": algorithm})
        }
    })
}

fn check_state(key: &Key<'_>) -> Result<(), ApiError> {
    match key.entry.key_state.as_str() {
        "Enabled" => Ok(()),
        "Disabled" => Err(ApiError::bad_request("DisabledException", format!("{} is disabled.", key.arn()))),
        state => Err(ApiError::bad_request("KMSInvalidStateException", format!("{} is {state}.", key.arn()))),
    }
}

fn required(algorithm: Option<&String>) -> Result<String, ApiError> {
    algorithm.cloned().ok_or_else(|| validation("Value null at the algorithm failed to satisfy constraint"))
}

/// The message with the key's ID in front of it.
fn bound(id: &str, message: &[u8]) -> Vec<u8> {
    [id.as_bytes(), &[0], message].concat()
}

fn encrypt(id: &str, algorithm: &str, request: &Request) -> Result<Vec<u8>, ApiError> {
    let plaintext = &request.plaintext.0;
    if algorithm.starts_with("RSA") {
        let key = RsaPublicKey::from(rsa_key()?);
        return key.encrypt(&mut OsRng, oaep(id), plaintext).map_err(|error| validation(&error.to_string()));
    }
    let mut nonce = [0; aead::NONCE_LEN];
    SystemRandom::new().fill(&mut nonce).map_err(internal)?;
    let mut sealed = plaintext.clone();
    aes(id)?
        .seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), context(request), &mut sealed)
        .map_err(internal)?;
    let length = [u8::try_from(id.len()).map_err(internal)?];
    Ok([&length, id.as_bytes(), &nonce, &sealed].concat())
}

fn decrypt(id: &str, algorithm: &str, request: &Request) -> Result<Vec<u8>, ApiError> {
    let ciphertext = &request.ciphertext_blob.0;
    let invalid = || ApiError::bad_request("InvalidCiphertextException", "");
    if algorithm.starts_with("RSA") {
        return rsa_key()?.decrypt(oaep(id), ciphertext).map_err(|_| invalid());
    }
    let (made_by, rest) = split_id(ciphertext).ok_or_else(invalid)?;
    if made_by != id.as_bytes() {
        let message = "The key ID in the request does not identify a CMK that can perform this operation.";
        return Err(ApiError::bad_request("IncorrectKeyException", message));
    }
    let (nonce, sealed) = rest.split_at_checked(aead::NONCE_LEN).ok_or_else(invalid)?;
    let nonce = aead::Nonce::try_assume_unique_for_key(nonce).map_err(internal)?;
    let mut opened = sealed.to_vec();
    aes(id)?
        .open_in_place(nonce, context(request), &mut opened)
        .map(|plaintext| plaintext.to_vec())
        .map_err(|_| invalid())
}

fn split_id(ciphertext: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = ciphertext.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

fn context(request: &Request) -> aead::Aad<Vec<u8>> {
    aead::Aad::from(json!(request.encryption_context).to_string().into_bytes())
}

/// The ID as the label: another key's ciphertext does not decrypt.
fn oaep(id: &str) -> Oaep {
    Oaep::new_with_label::<Sha256, _>(id)
}

fn aes(id: &str) -> Result<aead::LessSafeKey, ApiError> {
    let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret()?), id.as_bytes());
    Ok(aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key.as_ref()).map_err(internal)?))
}

fn mac(id: &str, algorithm: &str, message: &[u8]) -> Result<Vec<u8>, ApiError> {
    let kind = match algorithm {
        "HMAC_SHA_512" => hmac::HMAC_SHA512,
        "HMAC_SHA_384" => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA256,
    };
    let tag = hmac::sign(&hmac::Key::new(kind, secret()?), &bound(id, message));
    let length = if algorithm == "HMAC_SHA_224" { 28 } else { tag.as_ref().len() };
    Ok(tag.as_ref().iter().take(length).copied().collect())
}

fn sign(algorithm: &str, key: &Key<'_>, message: &[u8]) -> Result<Vec<u8>, ApiError> {
    if algorithm.starts_with("RSA") {
        let (key, digest) = (rsa_key()?, digest(algorithm, message));
        return if algorithm.contains("PSS") {
            key.sign_with_rng(&mut OsRng, pss(algorithm), &digest).map_err(internal)
        } else {
            key.sign(pkcs1(algorithm), &digest).map_err(internal)
        };
    }
    let pairs = pairs()?;
    let random = SystemRandom::new();
    match key.entry.key_spec.as_str() {
        "ECC_NIST_P256" => Ok(pairs.p256.sign(&random, message).map_err(internal)?.as_ref().to_vec()),
        "ECC_NIST_P384" => Ok(pairs.p384.sign(&random, message).map_err(internal)?.as_ref().to_vec()),
        _ => Ok(pairs.ed25519.sign(message).as_ref().to_vec()),
    }
}

fn verify(algorithm: &str, key: &Key<'_>, message: &[u8], signature: &[u8]) -> Result<bool, ApiError> {
    if algorithm.starts_with("RSA") {
        let (key, digest) = (RsaPublicKey::from(rsa_key()?), digest(algorithm, message));
        return Ok(if algorithm.contains("PSS") {
            key.verify(pss(algorithm), &digest, signature).is_ok()
        } else {
            key.verify(pkcs1(algorithm), &digest, signature).is_ok()
        });
    }
    let pairs = pairs()?;
    let result = match key.entry.key_spec.as_str() {
        "ECC_NIST_P256" => {
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, pairs.p256.public_key()).verify(message, signature)
        }
        "ECC_NIST_P384" => {
            UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, pairs.p384.public_key()).verify(message, signature)
        }
        _ => UnparsedPublicKey::new(&ED25519, pairs.ed25519.public_key()).verify(message, signature),
    };
    Ok(result.is_ok())
}

fn digest(algorithm: &str, message: &[u8]) -> Vec<u8> {
    match algorithm {
        _ if algorithm.ends_with("512") => Sha512::digest(message).to_vec(),
        _ if algorithm.ends_with("384") => Sha384::digest(message).to_vec(),
        _ => Sha256::digest(message).to_vec(),
    }
}

fn pss(algorithm: &str) -> Pss {
    match algorithm {
        _ if algorithm.ends_with("512") => Pss::new::<Sha512>(),
        _ if algorithm.ends_with("384") => Pss::new::<Sha384>(),
        _ => Pss::new::<Sha256>(),
    }
}

fn pkcs1(algorithm: &str) -> Pkcs1v15Sign {
    match algorithm {
        _ if algorithm.ends_with("512") => Pkcs1v15Sign::new::<Sha512>(),
        _ if algorithm.ends_with("384") => Pkcs1v15Sign::new::<Sha384>(),
        _ => Pkcs1v15Sign::new::<Sha256>(),
    }
}

fn secret() -> Result<&'static [u8; 32], ApiError> {
    static SECRET: OnceLock<Result<[u8; 32], String>> = OnceLock::new();
    let made = SECRET.get_or_init(|| {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).map(|()| secret).map_err(|error| error.to_string())
    });
    made.as_ref().map_err(internal)
}

struct Pairs {
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

fn pairs() -> Result<&'static Pairs, ApiError> {
    static PAIRS: OnceLock<Result<Pairs, String>> = OnceLock::new();
    let make = || -> Result<Pairs, ApiError> {
        let random = SystemRandom::new();
        let curve = |kind| {
            let document = EcdsaKeyPair::generate_pkcs8(kind, &random).map_err(internal)?;
            EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), &random).map_err(internal)
        };
        let ed25519 = Ed25519KeyPair::generate_pkcs8(&random).map_err(internal)?;
        Ok(Pairs {
            p256: curve(&ECDSA_P256_SHA256_ASN1_SIGNING)?,
            p384: curve(&ECDSA_P384_SHA384_ASN1_SIGNING)?,
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).map_err(internal)?,
        })
    };
    PAIRS.get_or_init(|| make().map_err(|error| error.message)).as_ref().map_err(internal)
}

fn rsa_key() -> Result<&'static RsaPrivateKey, ApiError> {
    static KEY: OnceLock<Result<RsaPrivateKey, String>> = OnceLock::new();
    let made = KEY.get_or_init(|| RsaPrivateKey::new(&mut OsRng, RSA_BITS).map_err(|error| error.to_string()));
    made.as_ref().map_err(internal)
}

#[expect(clippy::needless_pass_by_value, reason = "as `map_err` hands it over")]
fn internal(error: impl ToString) -> ApiError {
    ApiError::new(500, "KMSInternalException", error.to_string())
}

fn validation(problem: &str) -> ApiError {
    ApiError::bad_request("ValidationException", format!("1 validation error detected: {problem}"))
}
