//! Several Regions, custom key stores, and the use of keys.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::*;

#[expect(clippy::needless_pass_by_value, reason = "`json!` reads better than `&json!`")]
fn kms_in(region: &str, fleet: &Fleet, operation: &str, request: Value) -> Reply {
    let headers = format!(
        "x-amz-target: TrentService.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=AK/20261123/{region}/kms/aws4_request, SignedHeaders=host, Signature=0\r\n"
    );
    send(fleet, &headers, &request.to_string())
}

/// A symmetric multi-Region key, and one in each of all other kinds.
fn fleet() -> Fleet {
    let related = |kind: &str| {
        json!({"key_id": "mrk-1", "multi_region": {
            "type": kind, "primary_region": "us-east-1", "replica_regions": ["eu-west-1"]
        }})
    };
    let mut replica = related("REPLICA");
    replica["tags"] = json!({"here": "only"});
    serve(json!({
        "keys": [
            related("PRIMARY"), {"key_id": "other"}, {"key_id": "off", "key_state": "Disabled"},
            {"key_id": "importing", "key_state": "PendingImport"},
            {"key_id": "rsa", "key_spec": "RSA_2048"}, {"key_id": "rsa-2", "key_spec": "RSA_2048"},
            {"key_id": "rsa-sign", "key_spec": "RSA_2048", "key_usage": "SIGN_VERIFY"},
            {"key_id": "p256", "key_spec": "ECC_NIST_P256"}, {"key_id": "p384", "key_spec": "ECC_NIST_P384"},
            {"key_id": "edwards", "key_spec": "ECC_NIST_EDWARDS25519"}, {"key_id": "ml-dsa", "key_spec": "ML_DSA_65"},
            {"key_id": "sm2", "key_spec": "SM2"}, {"key_id": "sm2-sign", "key_spec": "SM2", "key_usage": "SIGN_VERIFY"},
            {"key_id": "hmac-224", "key_spec": "HMAC_224"}, {"key_id": "hmac-512", "key_spec": "HMAC_512"},
        ],
        "regions": {"eu-west-1": {"keys": [replica], "faults": {"GetKeyPolicy": "denied"}}},
    }))
}

#[test]
fn the_signature_names_the_region() {
    let fleet = fleet();
    let arn = |region: &str| {
        kms_in(region, &fleet, "DescribeKey", json!({"KeyId": "mrk-1"})).json()["KeyMetadata"]["Arn"].clone()
    };
    assert_eq!(arn("us-east-1"), "arn:aws:kms:us-east-1:123456789012:key/mrk-1");
    assert_eq!(arn("eu-west-1"), "arn:aws:kms:eu-west-1:123456789012:key/mrk-1");
    let tags = |region| kms_in(region, &fleet, "ListResourceTags", json!({"KeyId": "mrk-1"})).json()["Tags"].clone();
    assert_eq!((tags("us-east-1"), tags("eu-west-1")), (json!([]), json!([{"TagKey": "here", "TagValue": "only"}])));
    let denied = kms_in("eu-west-1", &fleet, "GetKeyPolicy", json!({"KeyId": "mrk-1"}));
    assert_eq!(denied.error_code(), "AccessDeniedException");
    assert_eq!(kms_in("us-east-1", &fleet, "GetKeyPolicy", json!({"KeyId": "mrk-1"})).status, 200);
    // A Region that is not described has no keys.
    let nowhere = kms_in("sa-east-1", &fleet, "DescribeKey", json!({"KeyId": "mrk-1"}));
    assert_eq!(nowhere.error_code(), "NotFoundException");

    assert_eq!(fleet.calls()["DescribeKey"], 3);
    assert_eq!(fleet.calls_in("eu-west-1")["DescribeKey"], 1);
    assert_eq!(fleet.calls_in_for("eu-west-1", "GetKeyPolicy")["mrk-1"], 1);
    assert!(fleet.calls_in("eu-north-1").is_empty());
    fleet.clear_calls();
    assert!(fleet.calls_in("eu-west-1").is_empty());
}

#[test]
fn a_wrong_description_of_a_region_is_named() {
    let wrong = json!({"regions": {"eu-west-1": {"keys": [{"count": 2, "key_id": "k"}]}}});
    let error = Fleet::serve(FleetDescription::from_value(wrong).unwrap()).unwrap_err().to_string();
    assert!(error.contains("regions.eu-west-1.keys[0].key_id"), "{error}");
}

#[test]
fn custom_key_stores_page_by_page() {
    let fleet = serve(json!({"page_size": 1, "custom_key_stores": [
        {"id": "cks-1", "name": "a"},
        {"id": "cks-2", "connection_state": "FAILED", "connection_error_code": "USER_LOCKED_OUT"},
    ]}));
    let (stores, pages) = list(&fleet, "DescribeCustomKeyStores", "CustomKeyStores", json!({}));
    assert_eq!(pages, 2);
    let first = json!({"CustomKeyStoreId": "cks-1", "CustomKeyStoreName": "a", "ConnectionState": "CONNECTED"});
    assert_eq!(stores[0], first);
    assert_eq!(stores[1]["ConnectionErrorCode"], "USER_LOCKED_OUT");
}

fn text(value: &str) -> Value {
    BASE64.encode(value).into()
}

#[test]
fn what_is_encrypted_in_one_region_decrypts_in_another_and_under_no_other_key() {
    let fleet = fleet();
    let context = json!({"purpose": "test"});
    let sealed =
        kms(&fleet, "Encrypt", json!({"KeyId": "mrk-1", "Plaintext": text("m"), "EncryptionContext": context}));
    let sealed = sealed.json()["CiphertextBlob"].clone();
    let open = |region: &str, key: &str, context: &Value| {
        let request = json!({"KeyId": key, "CiphertextBlob": sealed, "EncryptionContext": context});
        kms_in(region, &fleet, "Decrypt", request)
    };
    for region in ["us-east-1", "eu-west-1"] {
        assert_eq!(open(region, "mrk-1", &context).json()["Plaintext"], text("m"));
        assert_eq!(open(region, "mrk-1", &json!({})).error_code(), "InvalidCiphertextException");
    }
    assert_eq!(open("us-east-1", "other", &context).error_code(), "IncorrectKeyException");
    // The ciphertext itself says which key it is of.
    let request = json!({"CiphertextBlob": sealed, "EncryptionContext": context});
    assert_eq!(kms(&fleet, "Decrypt", request).json()["Plaintext"], text("m"));
    let request = json!({"KeyId": "mrk-1", "CiphertextBlob": text("garbage")});
    assert_eq!(kms(&fleet, "Decrypt", request).status, 400);

    for (key, algorithm) in [("rsa", "RSAES_OAEP_SHA_256"), ("sm2", "SM2PKE")] {
        let request = json!({"KeyId": key, "Plaintext": text("m"), "EncryptionAlgorithm": algorithm});
        let sealed = kms(&fleet, "Encrypt", request).json()["CiphertextBlob"].clone();
        let request = json!({"KeyId": key, "CiphertextBlob": sealed, "EncryptionAlgorithm": algorithm});
        assert_eq!(kms(&fleet, "Decrypt", request).json()["Plaintext"], text("m"));
        if key == "rsa" {
            let request = json!({"KeyId": "rsa-2", "CiphertextBlob": sealed, "EncryptionAlgorithm": algorithm});
            assert_eq!(kms(&fleet, "Decrypt", request).error_code(), "InvalidCiphertextException");
        }
    }
}

#[test]
fn what_is_signed_verifies_and_nothing_else_does() {
    let fleet = fleet();
    for (key, algorithm) in [
        ("rsa-sign", "RSASSA_PKCS1_V1_5_SHA_256"),
        ("rsa-sign", "RSASSA_PSS_SHA_512"),
        ("p256", "ECDSA_SHA_256"),
        ("p384", "ECDSA_SHA_384"),
        ("edwards", "ED25519_SHA_512"),
        ("ml-dsa", "ML_DSA_SHAKE_256"),
        ("sm2-sign", "SM2DSA"),
    ] {
        let mut request =
            json!({"KeyId": key, "Message": text("m"), "MessageType": "RAW", "SigningAlgorithm": algorithm});
        let signature = kms(&fleet, "Sign", request.clone()).json()["Signature"].clone();
        request["Signature"] = signature;
        assert_eq!(kms(&fleet, "Verify", request.clone()).json()["SignatureValid"], true, "{key}");
        request["Message"] = text("n");
        assert_eq!(kms(&fleet, "Verify", request).error_code(), "KMSInvalidSignatureException", "{key}");
    }
    for (key, algorithm) in [("hmac-224", "HMAC_SHA_224"), ("hmac-512", "HMAC_SHA_512")] {
        let mut request = json!({"KeyId": key, "Message": text("m"), "MacAlgorithm": algorithm});
        request["Mac"] = kms(&fleet, "GenerateMac", request.clone()).json()["Mac"].clone();
        assert_eq!(kms(&fleet, "VerifyMac", request.clone()).json()["MacValid"], true);
        request["Message"] = text("n");
        assert_eq!(kms(&fleet, "VerifyMac", request).error_code(), "KMSInvalidMacException");
    }
}

#[test]
fn keys_are_refused_where_kms_refuses_them() {
    let fleet = fleet();
    let encrypt = |key: &str, more: &[(&str, Value)]| {
        let mut request = json!({"KeyId": key, "Plaintext": text("m")});
        for (name, value) in more {
            request[name] = value.clone();
        }
        kms(&fleet, "Encrypt", request).error_code()
    };
    let oaep = || ("EncryptionAlgorithm", json!("RSAES_OAEP_SHA_256"));
    let context = || ("EncryptionContext", json!({"a": "b"}));
    assert_eq!(encrypt("off", &[]), "DisabledException");
    assert_eq!(encrypt("importing", &[]), "KMSInvalidStateException");
    assert_eq!(encrypt("missing", &[]), "NotFoundException");
    assert_eq!(encrypt("p256", &[]), "InvalidKeyUsageException");
    assert_eq!(encrypt("rsa", &[]), "InvalidKeyUsageException", "RSA keys want their algorithm named");
    assert_eq!(encrypt("rsa", &[oaep(), context()]), "ValidationException", "key pairs know no encryption context");
    assert_eq!(encrypt("rsa", &[oaep(), ("Plaintext", text(&"m".repeat(191)))]), "ValidationException");
    let digest =
        json!({"KeyId": "p256", "Message": text("m"), "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"});
    assert_eq!(kms(&fleet, "Sign", digest).error_code(), "ValidationException");
}
