//! What creates and changes keys, by the protocol's own words.

use serde_json::{Value, json};

use crate::FleetDescription;
use crate::operation::Operation;

#[expect(clippy::needless_pass_by_value, reason = "requests are written where they are sent")]
fn change(fleet: &mut FleetDescription, operation: Operation, id: Option<&str>, body: Value) -> Result<Value, String> {
    let region = fleet.region.clone();
    let now = "2026-11-25T00:00:00Z".parse().unwrap();
    let answer = crate::changes::answer(fleet, &region, operation, id, body.to_string().as_bytes(), now);
    answer.map_err(|error| error.code)
}

fn code(result: Result<Value, String>) -> String {
    result.unwrap_err()
}

fn create(fleet: &mut FleetDescription, body: Value) -> Result<String, String> {
    let answer = change(fleet, Operation::CreateKey, None, body)?;
    Ok(answer["KeyMetadata"]["KeyId"].as_str().unwrap().to_owned())
}

#[test]
fn a_key_is_made_only_of_what_goes_together_and_never_locked_out() {
    let mut fleet = FleetDescription::default();
    for body in [
        json!({"KeySpec": "HMAC_256", "KeyUsage": "ENCRYPT_DECRYPT"}),
        json!({"KeySpec": "RSA_2048", "KeyUsage": "KEY_AGREEMENT"}),
        json!({"KeySpec": "ECC_SECG_P256K1", "KeyUsage": "KEY_AGREEMENT"}),
        json!({"KeySpec": "ML_KEM_768"}),
        json!({"KeySpec": "RSA_1024"}),
    ] {
        assert_eq!(code(change(&mut fleet, Operation::CreateKey, None, body.clone())), "ValidationException", "{body}");
    }
    let statement = |principal: &str, action: &str| {
        let policy = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": action, "Resource": "*"}});
        json!({ "Policy": policy.to_string() })
    };
    let root = "arn:aws:iam::123456789012:root";
    for body in [
        json!({"Policy": "no JSON"}),
        statement(root, "kms:Decrypt"),
        statement("arn:aws:iam::222222222222:root", "kms:*"),
    ] {
        assert_eq!(code(change(&mut fleet, Operation::CreateKey, None, body)), "MalformedPolicyDocumentException");
    }
    assert!(create(&mut fleet, statement(root, "kms:*")).is_ok());
    assert!(create(&mut fleet, json!({"KeySpec": "ECC_NIST_P256", "KeyUsage": "KEY_AGREEMENT"})).is_ok());
    assert_eq!(fleet.keys.len(), 2);
}

#[test]
fn a_keys_life() {
    let mut fleet = FleetDescription::default();
    let id = create(&mut fleet, json!({})).unwrap();
    let id = Some(id.as_str());
    let none = || json!({"KeyId": "any"});
    assert_eq!(code(change(&mut fleet, Operation::CancelKeyDeletion, id, none())), "KMSInvalidStateException");
    change(&mut fleet, Operation::RotateKeyOnDemand, id, none()).unwrap();
    assert_eq!(code(change(&mut fleet, Operation::RotateKeyOnDemand, id, none())), "ConflictException");
    crate::changes::settle(&mut fleet, "2026-11-25T00:00:01Z".parse().unwrap());
    assert_eq!(fleet.keys[0].rotations.len(), 1);
    change(&mut fleet, Operation::DisableKey, id, none()).unwrap();
    assert_eq!(code(change(&mut fleet, Operation::EnableKeyRotation, id, none())), "DisabledException");
    let window = |days: i64| json!({"KeyId": "any", "PendingWindowInDays": days});
    assert_eq!(code(change(&mut fleet, Operation::ScheduleKeyDeletion, id, window(6))), "ValidationException");
    change(&mut fleet, Operation::ScheduleKeyDeletion, id, window(7)).unwrap();
    assert_eq!(code(change(&mut fleet, Operation::EnableKey, id, none())), "KMSInvalidStateException");
    change(&mut fleet, Operation::CancelKeyDeletion, id, none()).unwrap();
    assert_eq!(fleet.keys[0].key_state, "Disabled");
}

#[test]
fn an_alias_is_one_keys() {
    let mut fleet = FleetDescription::default();
    let (one, other) = (create(&mut fleet, json!({})).unwrap(), create(&mut fleet, json!({})).unwrap());
    let alias = |name: &str, id: &str| json!({"AliasName": name, "TargetKeyId": id});
    assert_eq!(code(change(&mut fleet, Operation::UpdateAlias, None, alias("alias/a", &one))), "NotFoundException");
    change(&mut fleet, Operation::CreateAlias, None, alias("alias/a", &one)).unwrap();
    assert_eq!(
        code(change(&mut fleet, Operation::CreateAlias, None, alias("alias/a", &other))),
        "AlreadyExistsException"
    );
    assert_eq!(
        code(change(&mut fleet, Operation::CreateAlias, None, alias("alias/aws/s3", &one))),
        "NotAuthorizedException"
    );
    change(&mut fleet, Operation::UpdateAlias, None, alias("alias/a", &other)).unwrap();
    assert_eq!((fleet.keys[0].aliases.len(), fleet.keys[1].aliases.len()), (0, 1));
}

#[test]
fn only_a_primary_is_replicated_and_once_to_a_region() {
    let mut fleet = FleetDescription::default();
    let single = create(&mut fleet, json!({})).unwrap();
    let primary = create(&mut fleet, json!({"MultiRegion": true})).unwrap();
    let replicate = |id: &str| json!({"KeyId": id, "ReplicaRegion": "eu-west-1"});
    let of = |fleet: &mut FleetDescription, id: &str| change(fleet, Operation::ReplicateKey, Some(id), replicate(id));
    assert_eq!(code(of(&mut fleet, &single)), "UnsupportedOperationException");
    let answer = of(&mut fleet, &primary).unwrap();
    assert_eq!(answer["ReplicaKeyMetadata"]["KeyState"], "Creating");
    assert_eq!(code(of(&mut fleet, &primary)), "AlreadyExistsException");
    crate::changes::settle(&mut fleet, "2026-11-25T00:00:01Z".parse().unwrap());
    assert_eq!(fleet.regions["eu-west-1"].keys[0].key_state, "Enabled");
}
