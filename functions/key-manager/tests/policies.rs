//! Generated policies, and what an evaluator that others keep lets each principal do under them.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

use std::collections::BTreeSet;

use domain::key_policy::{KeyPolicy, Trusted};
use domain::location::Location;
use iam_rs::{Arn, Context, Decision, IAMPolicy, IAMRequest, PolicyEvaluator, Principal, PrincipalId};
use key_manager::policy::{judge, policy_of};
use key_manager::request::{Action, Change, NewKey, Request};
use serde_json::{Value, json};

const KEY: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
const ROOT: &str = "arn:aws:iam::111122223333:root";
const ADMIN: &str = "arn:aws:iam::111122223333:role/key-admin";
const APP: &str = "arn:aws:iam::111122223333:role/app";
const OTHER: &str = "arn:aws:iam::111122223333:role/other";
const STRANGER: &str = "arn:aws:iam::444455556666:role/app";

fn here() -> Location {
    Location { partition: "aws".into(), region: "eu-west-1".into(), account_id: "111122223333".into() }
}

fn new_key(fields: &Value) -> NewKey {
    let mut request = json!({"operation": "create_key", "requested_by": "Ann", "client_token": "t"});
    for (name, value) in fields.as_object().unwrap() {
        request[name] = value.clone();
    }
    match Request::parse(request, &here()).unwrap() {
        Request::Change(Change { action: Action::CreateKey(key), .. }) => key,
        other => unreachable!("{other:?}"),
    }
}

fn policy(fields: &Value) -> String {
    policy_of(&new_key(fields), &here())
}

fn named(purpose: &str) -> Value {
    json!({"purpose": purpose, "principals": {"administrators": [ADMIN], "users": [APP]}})
}

fn nobody_named(purpose: &str) -> Value {
    json!({ "purpose": purpose })
}

fn spec(spec: &str, usage: &str) -> Value {
    let mut fields = named("application");
    fields["key_spec"] = json!(spec);
    fields["key_usage"] = json!(usage);
    fields
}

fn is_allowed(policy: &str, principal: &str, action: &str, context: &[(&str, &str)]) -> bool {
    let parsed: IAMPolicy = serde_json::from_str(policy).unwrap();
    let account = principal.split(':').nth(4).unwrap();
    let mut built = Context::new()
        .with_string("aws:PrincipalArn", principal)
        .with_string("aws:PrincipalAccount", account)
        .with_string("kms:CallerAccount", account);
    for (key, value) in context {
        built = match *value {
            "true" | "false" => built.with_boolean(*key, *value == "true"),
            value => built.with_string(*key, value),
        };
    }
    let principal = Principal::Aws(PrincipalId::String(principal.to_owned()));
    let request = IAMRequest::new_with_context(principal, format!("kms:{action}"), Arn::parse(KEY).unwrap(), built);
    PolicyEvaluator::with_policies(vec![parsed]).evaluate(&request).is_ok_and(|it| it.decision == Decision::Allow)
}

const DIRECT: &[(&str, &str)] = &[];
const RDS: &[(&str, &str)] = &[("kms:ViaService", "rds.eu-west-1.amazonaws.com")];
const RDS_ELSEWHERE: &[(&str, &str)] = &[("kms:ViaService", "rds.us-east-1.amazonaws.com")];
const S3: &[(&str, &str)] = &[("kms:ViaService", "s3.eu-west-1.amazonaws.com")];
const BACKUP: &[(&str, &str)] = &[("kms:ViaService", "backup.eu-west-1.amazonaws.com")];
const FOR_RESOURCE: &[(&str, &str)] = &[("kms:GrantIsForAWSResource", "true")];
const NOT_FOR_RESOURCE: &[(&str, &str)] = &[("kms:GrantIsForAWSResource", "false")];
const RDS_FOR_RESOURCE: &[(&str, &str)] =
    &[("kms:ViaService", "rds.eu-west-1.amazonaws.com"), ("kms:GrantIsForAWSResource", "true")];
const RDS_NOT_FOR_RESOURCE: &[(&str, &str)] =
    &[("kms:ViaService", "rds.eu-west-1.amazonaws.com"), ("kms:GrantIsForAWSResource", "false")];
const BACKUP_FOR_RESOURCE: &[(&str, &str)] =
    &[("kms:ViaService", "backup.eu-west-1.amazonaws.com"), ("kms:GrantIsForAWSResource", "true")];

/// Policy, principal, action, context, and whether it is allowed.
type Row<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], bool);

/// Who may do what: principal, action, context, and whether the key policy alone allows it. The account's own statement is
/// for its root: what it hands over to IAM is IAM's to allow.
#[test]
fn who_may_do_what() {
    let application = policy(&named("application"));
    let database = policy(&named("database"));
    let backup = policy(&named("backup"));
    let open_application = policy(&nobody_named("application"));
    let open_database = policy(&nobody_named("database"));
    let open_backup = policy(&nobody_named("backup"));
    let signing = policy(&spec("ECC_NIST_P256", "SIGN_VERIFY"));
    let agreement = policy(&spec("ECC_NIST_P256", "KEY_AGREEMENT"));
    let mac = policy(&spec("HMAC_256", "GENERATE_VERIFY_MAC"));
    let rsa = policy(&spec("RSA_4096", "ENCRYPT_DECRYPT"));
    let kem = policy(&spec("ML_KEM_768", "ENCAPSULATE_DECAPSULATE"));
    let rows: &[Row<'_>] = &[
        // The account delegates to its IAM, whatever the purpose.
        (&application, ROOT, "PutKeyPolicy", DIRECT, true),
        (&database, ROOT, "PutKeyPolicy", DIRECT, true),
        (&backup, ROOT, "PutKeyPolicy", DIRECT, true),
        (&open_application, ROOT, "ScheduleKeyDeletion", DIRECT, true),
        // Administrators administer and do not use.
        (&application, ADMIN, "PutKeyPolicy", DIRECT, true),
        (&application, ADMIN, "ScheduleKeyDeletion", DIRECT, true),
        (&application, ADMIN, "DisableKey", DIRECT, true),
        (&application, ADMIN, "RotateKeyOnDemand", DIRECT, true),
        (&application, ADMIN, "DescribeKey", DIRECT, true),
        (&application, ADMIN, "Encrypt", DIRECT, false),
        (&application, ADMIN, "Decrypt", DIRECT, false),
        (&application, ADMIN, "GenerateDataKey", DIRECT, false),
        (&application, ADMIN, "ReEncryptFrom", DIRECT, false),
        (&application, ADMIN, "CreateGrant", DIRECT, false),
        (&application, ADMIN, "CreateGrant", FOR_RESOURCE, false),
        (&database, ADMIN, "PutKeyPolicy", DIRECT, true),
        (&database, ADMIN, "Decrypt", RDS, false),
        (&backup, ADMIN, "DisableKey", DIRECT, true),
        (&backup, ADMIN, "Decrypt", BACKUP, false),
        (&signing, ADMIN, "Sign", DIRECT, false),
        // Users use and do not administer.
        (&application, APP, "Encrypt", DIRECT, true),
        (&application, APP, "Decrypt", DIRECT, true),
        (&application, APP, "GenerateDataKeyWithoutPlaintext", DIRECT, true),
        (&application, APP, "ReEncryptTo", DIRECT, true),
        (&application, APP, "DescribeKey", DIRECT, true),
        (&application, APP, "Decrypt", S3, true),
        (&application, APP, "CreateGrant", FOR_RESOURCE, true),
        (&application, APP, "CreateGrant", NOT_FOR_RESOURCE, false),
        (&application, APP, "CreateGrant", DIRECT, false),
        (&application, APP, "PutKeyPolicy", DIRECT, false),
        (&application, APP, "DisableKey", DIRECT, false),
        (&application, APP, "ScheduleKeyDeletion", DIRECT, false),
        (&application, APP, "TagResource", DIRECT, false),
        (&application, APP, "GetKeyPolicy", DIRECT, false),
        // Nobody else.
        (&application, OTHER, "Decrypt", DIRECT, false),
        (&application, OTHER, "DescribeKey", DIRECT, false),
        (&application, STRANGER, "Decrypt", DIRECT, false),
        (&open_application, APP, "Decrypt", DIRECT, false),
        (&open_application, ADMIN, "PutKeyPolicy", DIRECT, false),
        // A database key is used through RDS of this Region alone, by those named.
        (&database, APP, "Decrypt", RDS, true),
        (&database, APP, "GenerateDataKey", RDS, true),
        (&database, APP, "Decrypt", DIRECT, false),
        (&database, APP, "Decrypt", RDS_ELSEWHERE, false),
        (&database, APP, "Decrypt", S3, false),
        (&database, APP, "Decrypt", BACKUP, false),
        (&database, APP, "CreateGrant", RDS_FOR_RESOURCE, true),
        (&database, APP, "CreateGrant", RDS_NOT_FOR_RESOURCE, false),
        (&database, APP, "CreateGrant", FOR_RESOURCE, false),
        (&database, OTHER, "Decrypt", RDS, false),
        (&database, STRANGER, "Decrypt", RDS, false),
        // Or by whoever of the account may use RDS.
        (&open_database, OTHER, "Decrypt", RDS, true),
        (&open_database, OTHER, "CreateGrant", RDS_FOR_RESOURCE, true),
        (&open_database, OTHER, "Decrypt", DIRECT, false),
        (&open_database, STRANGER, "Decrypt", RDS, false),
        (&open_database, STRANGER, "CreateGrant", RDS_FOR_RESOURCE, false),
        (&open_database, OTHER, "PutKeyPolicy", RDS, false),
        // The same of a backup key.
        (&backup, APP, "Decrypt", BACKUP, true),
        (&backup, APP, "CreateGrant", BACKUP_FOR_RESOURCE, true),
        (&backup, APP, "Decrypt", RDS, false),
        (&backup, APP, "Decrypt", DIRECT, false),
        (&open_backup, OTHER, "GenerateDataKey", BACKUP, true),
        (&open_backup, OTHER, "GenerateDataKey", DIRECT, false),
        (&open_backup, STRANGER, "GenerateDataKey", BACKUP, false),
        // Other kinds of keys are used as they can be.
        (&signing, APP, "Sign", DIRECT, true),
        (&signing, APP, "Verify", DIRECT, true),
        (&signing, APP, "GetPublicKey", DIRECT, true),
        (&signing, APP, "Decrypt", DIRECT, false),
        (&signing, APP, "CreateGrant", FOR_RESOURCE, false),
        (&agreement, APP, "DeriveSharedSecret", DIRECT, true),
        (&agreement, APP, "Sign", DIRECT, false),
        (&mac, APP, "GenerateMac", DIRECT, true),
        (&mac, APP, "VerifyMac", DIRECT, true),
        (&mac, APP, "Sign", DIRECT, false),
        (&rsa, APP, "Decrypt", DIRECT, true),
        (&rsa, APP, "GetPublicKey", DIRECT, true),
        (&rsa, APP, "Sign", DIRECT, false),
        (&rsa, APP, "GenerateDataKey", DIRECT, false),
        (&kem, APP, "Decapsulate", DIRECT, true),
        (&kem, APP, "Sign", DIRECT, false),
    ];
    for (policy, principal, action, context, expected) in rows {
        assert_eq!(
            is_allowed(policy, principal, action, context),
            *expected,
            "{principal} {action} {context:?}\n{policy}"
        );
    }
}

fn judged(policy: &str, accounts: &[&str]) -> Result<(), String> {
    let accounts: BTreeSet<String> = accounts.iter().map(|it| (*it).to_owned()).collect();
    let trusted = Trusted { own_account: "111122223333", accounts: &accounts, organisation: None };
    judge(policy, &here(), trusted).map_err(|why| why.to_string())
}

#[test]
fn a_generated_policy_is_never_one_that_the_monitor_finds() {
    for fields in [
        named("application"),
        named("database"),
        named("backup"),
        nobody_named("application"),
        nobody_named("database"),
        nobody_named("backup"),
        spec("RSA_2048", "SIGN_VERIFY"),
        spec("HMAC_512", "GENERATE_VERIFY_MAC"),
    ] {
        let policy = policy(&fields);
        assert_eq!(judged(&policy, &[]), Ok(()), "{policy}");
        let read = KeyPolicy::parse(&policy, KEY).unwrap();
        let access = read.access();
        assert_eq!(access.administrators(), [], "{policy}");
        let accounts = BTreeSet::new();
        let trusted = Trusted { own_account: "111122223333", accounts: &accounts, organisation: None };
        let services = access.sourceless_services(trusted);
        assert!(services.sure.is_empty() && services.undecided.is_empty(), "{policy}");
    }
}

#[test]
fn a_principal_of_another_account_must_be_trusted() {
    let policy = policy(&json!({"purpose": "application", "principals": {"users": [STRANGER]}}));
    let refused = judged(&policy, &[]).unwrap_err();
    assert!(refused.contains("admits 444455556666, which is not trusted"), "{refused}");
    assert_eq!(judged(&policy, &["444455556666"]), Ok(()));
    assert!(judged(&policy, &["777788889999"]).is_err());
}

#[test]
fn the_policy_of_a_replica_is_for_its_region() {
    let there = Location { region: "eu-central-1".into(), ..here() };
    let text = policy_of(&new_key(&nobody_named("database")), &there);
    assert!(text.contains("rds.eu-central-1.amazonaws.com") && !text.contains("eu-west-1"), "{text}");
    let china = Location { partition: "aws-cn".into(), region: "cn-north-1".into(), ..here() };
    let text = policy_of(&new_key(&nobody_named("backup")), &china);
    assert!(text.contains("arn:aws-cn:iam::111122223333:root"), "{text}");
}

#[test]
fn own_policies() {
    let account = json!({"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*", "Resource": "*"});
    let beside = |statement: Value| json!({"Version": "2012-10-17", "Statement": [account, statement]});
    let allow = |principal: Value, condition: Value| {
        let mut statement =
            json!({"Sid": "It", "Effect": "Allow", "Principal": principal, "Action": "kms:Decrypt", "Resource": "*"});
        if !condition.is_null() {
            statement["Condition"] = condition;
        }
        statement
    };
    let own = json!({"StringEquals": {"kms:CallerAccount": "111122223333"}});
    for (policy, refusal) in [
        (beside(allow(json!({"AWS": APP}), Value::Null)), ""),
        (beside(allow(json!("*"), own)), ""),
        (beside(allow(json!("*"), Value::Null)), "opens the key to everybody: statement `It`"),
        (
            beside(allow(json!("*"), json!({"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}))),
            "opens the key to everybody",
        ),
        (
            beside(allow(json!("*"), json!({"StringLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/app"}}))),
            "the key to everybody",
        ),
        (beside(allow(json!({"AWS": STRANGER}), Value::Null)), "admits 444455556666, which is not trusted"),
        (beside(allow(json!({"AWS": "444455556666"}), Value::Null)), "admits 444455556666"),
        (
            json!({"Version": "2012-10-17", "Statement": [allow(json!({"AWS": APP}), Value::Null)]}),
            "locks the account out",
        ),
        (
            beside(json!({"Effect": "Deny", "Principal": "*", "Action": "kms:PutKeyPolicy", "Resource": "*"})),
            "locks the account out",
        ),
        (json!({"Version": "2012-10-17", "Statement": [{"Effect": "Perhaps"}]}), "cannot be judged"),
        (json!({"Version": "2012-10-17"}), "cannot be judged: the policy has no `Statement`"),
    ] {
        let request = new_key(&json!({"policy": policy}));
        let text = policy_of(&request, &here());
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), policy);
        match judged(&text, &[]) {
            Ok(()) => assert_eq!(refusal, "", "{policy}"),
            Err(why) => {
                assert!(!refusal.is_empty() && why.starts_with("policy: ") && why.contains(refusal), "{policy}\n{why}");
            }
        }
    }
}
