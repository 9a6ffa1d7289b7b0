//! The function's real binary, under the Lambda Runtime API, against a simulated fleet.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

use std::time::Duration;

use serde_json::{Value, json};
use simulated_fleet::harness::{
    self, TABLE, WITH_LEDGER, assert_calls_are_those_granted, assert_counts_add_up, finding, ok, verbose, verdicts,
};
use simulated_fleet::{Fleet, FunctionProcess, Invocation, generated_key_id};

const BINARY: &str = env!("CARGO_BIN_EXE_access-checker");
const OWN: &str = "111111111111";
const FOREIGN: &str = "222222222222";

const PUBLIC: &str = "public-access";
const ACCESS: &str = "foreign-access";
const GRANT: &str = "foreign-grant";
const SERVICE: &str = "service-principal-bound";
const SEPARATED: &str = "administration-separated";
const MANAGEABLE: &str = "policy-manageable";
const TAGS: &str = "required-tags";

fn fleet_of(keys: impl Into<Value>) -> Value {
    json!({"account_id": OWN, "tables": [TABLE], "keys": keys.into()})
}

fn start(fleet: Value, settings: &[(&str, &str)]) -> (Fleet, FunctionProcess) {
    harness::start(BINARY, fleet, settings)
}

/// The account's own delegation to IAM, without which nobody could manage the key.
fn root() -> Value {
    json!({"Sid": "Root", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{OWN}:root")}, "Action": "kms:*",
        "Resource": "*"})
}

/// A key with these statements beside the account's own delegation.
fn key(statements: &[Value]) -> Value {
    let statements: Vec<Value> = std::iter::once(root()).chain(statements.iter().cloned()).collect();
    json!({"policy": {"Version": "2012-10-17", "Statement": statements}})
}

/// Everybody may decrypt, with more members of the statement.
fn everybody(more: &Value) -> Value {
    let mut statement =
        json!({"Sid": "P", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:Decrypt", "Resource": "*"});
    statement.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    statement.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    statement
}

fn everybody_if(condition: &Value) -> Value {
    everybody(&json!({"Condition": condition}))
}

fn to(principal: &Value, action: &str) -> Value {
    json!({"Sid": "To", "Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"})
}

/// A table row: the key, and the verdicts, each with its severity where it is a finding.
type Row = (Value, &'static [(&'static str, &'static str)]);

fn rows_of_public_access() -> Vec<Row> {
    let glue = json!({"kms:ViaService": "glue.us-east-1.amazonaws.com"});
    let app = format!("arn:aws:iam::{OWN}:role/app-*");
    let deny = |condition: &Value| {
        let mut deny = json!({"Sid": "D", "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"});
        if !condition.is_null() {
            deny["Condition"] = condition.clone();
        }
        deny
    };
    vec![
        (key(&[]), &[(PUBLIC, "not_public"), (ACCESS, "no_foreign_access"), (MANAGEABLE, "manageable")]),
        (json!({}), &[(PUBLIC, "not_public"), (SEPARATED, "separated"), (SERVICE, "services_bound")]),
        (key(&[everybody(&json!({}))]), &[(PUBLIC, "public CRITICAL"), (ACCESS, "public")]),
        (key(&[everybody(&json!({"Principal": "*"}))]), &[(PUBLIC, "public CRITICAL")]),
        (key(&[everybody(&json!({"Principal": {"AWS": ["*"]}}))]), &[(PUBLIC, "public CRITICAL")]),
        (key(&[everybody(&json!({"Action": "kms:DescribeKey"}))]), &[(PUBLIC, "public HIGH")]),
        (key(&[everybody_if(&json!({"StringEquals": {"kms:CallerAccount": OWN}}))]), &[(PUBLIC, "not_public")]),
        (key(&[everybody_if(&json!({"StringEquals": glue}))]), &[(PUBLIC, "public CRITICAL")]),
        (
            key(&[everybody_if(
                &json!({"StringEquals": {"kms:ViaService": "glue.us-east-1.amazonaws.com", "kms:CallerAccount": OWN}}),
            )]),
            &[(PUBLIC, "not_public")],
        ),
        (key(&[everybody_if(&json!({"StringLike": {"kms:CallerAccount": "*"}}))]), &[(PUBLIC, "public CRITICAL")]),
        (
            key(&[everybody_if(&json!({"StringLike": {"aws:PrincipalArn": app}}))]),
            &[(PUBLIC, "bounded_by_wildcard LOW"), (ACCESS, "no_foreign_access")],
        ),
        (
            key(&[everybody_if(
                &json!({"StringLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/app"}, "StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}),
            )]),
            &[(PUBLIC, "not_public"), (ACCESS, "no_foreign_access")],
        ),
        (
            key(&[everybody_if(&json!({"StringEqualsIfExists": {"aws:SourceVpc": "vpce-1"}}))]),
            &[(PUBLIC, "public CRITICAL")],
        ),
        (
            key(&[everybody_if(&json!({"StringNotEquals": {"aws:PrincipalAccount": FOREIGN}}))]),
            &[(PUBLIC, "public CRITICAL")],
        ),
        (key(&[everybody_if(&json!({"IpAddress": {"aws:SourceIp": "8.8.8.0/24"}}))]), &[(PUBLIC, "not_public")]),
        (key(&[everybody_if(&json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}))]), &[(PUBLIC, "public CRITICAL")]),
        (
            key(&[everybody(&json!({"Principal": null, "NotPrincipal": {"AWS": format!("arn:aws:iam::{OWN}:root")}}))]),
            &[(PUBLIC, "public CRITICAL")],
        ),
        (key(&[everybody(&json!({"Principal": "*", "Effect": "Deny"}))]), &[(PUBLIC, "not_public")]),
        (
            key(&[everybody_if(&json!({"StringEquals": {"kms:CallerAccount": OWN},
                "StringLike": {"kms:EncryptionContext:aws:cloudtrail:arn": format!("arn:aws:cloudtrail:*:{OWN}:trail/*")}}))]),
            &[(PUBLIC, "not_public")],
        ),
        (
            key(&[to(&json!({"Service": "s3.amazonaws.com"}), "kms:Decrypt")]),
            &[(PUBLIC, "not_public"), (SERVICE, "confused_deputy MEDIUM")],
        ),
        // Denies.
        (
            key(&[everybody(&json!({})), deny(&json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}))]),
            &[(PUBLIC, "not_public")],
        ),
        (
            key(&[everybody(&json!({})), deny(&json!({"Null": {"aws:PrincipalOrgID": "true"}}))]),
            &[(PUBLIC, "policy_not_decided MEDIUM"), (ACCESS, "policy_not_decided MEDIUM"), (SEPARATED, "separated")],
        ),
        (
            key(&[everybody(&json!({})), deny(&json!({"Bool": {"aws:SecureTransport": "false"}}))]),
            &[(PUBLIC, "public CRITICAL")],
        ),
        (key(&[everybody(&json!({})), deny(&Value::Null)]), &[(PUBLIC, "not_public"), (MANAGEABLE, "locked_out HIGH")]),
    ]
}

fn rows_of_foreign_access() -> Vec<Row> {
    vec![
        (
            key(&[to(&json!({"AWS": FOREIGN}), "kms:Decrypt")]),
            &[(PUBLIC, "not_public"), (ACCESS, "foreign_principal MEDIUM")],
        ),
        (key(&[to(&json!({"AWS": FOREIGN}), "kms:*")]), &[(ACCESS, "foreign_principal HIGH")]),
        (key(&[to(&json!({"AWS": FOREIGN}), "kms:CreateGrant")]), &[(ACCESS, "foreign_principal HIGH")]),
        (key(&[to(&json!({"AWS": "333333333333"}), "kms:*")]), &[(ACCESS, "no_foreign_access")]),
        (
            key(&[everybody_if(&json!({"StringEquals": {"aws:PrincipalOrgID": "o-somebodyelse"}}))]),
            &[(PUBLIC, "not_public"), (ACCESS, "foreign_organisation MEDIUM")],
        ),
        (
            key(&[everybody_if(&json!({"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}))]),
            &[(ACCESS, "no_foreign_access")],
        ),
        (
            key(&[to(&json!({"AWS": "AROAEXAMPLE"}), "kms:*")]),
            &[(ACCESS, "no_foreign_access"), (SEPARATED, "separated")],
        ),
    ]
}

fn rows_of_grants() -> Vec<Row> {
    let key = |grants: Value| json!({ "grants": grants });
    let role = |account: &str| format!("arn:aws:iam::{account}:role/x");
    vec![
        (key(json!([])), &[(GRANT, "no_foreign_grant")]),
        (key(json!([{"grantee": role(OWN), "count": 250}])), &[(GRANT, "no_foreign_grant")]),
        (
            key(json!([{"grantee": role(OWN), "count": 250}, {"grantee": role(FOREIGN)}])),
            &[(GRANT, "foreign_grantee HIGH")],
        ),
        (key(json!([{"grantee": role(OWN), "retiring": role(FOREIGN)}])), &[(GRANT, "foreign_grantee HIGH")]),
        (key(json!([{"grantee": role("333333333333")}])), &[(GRANT, "no_foreign_grant")]),
        (key(json!([{"grantee": "*"}])), &[(GRANT, "foreign_grantee CRITICAL")]),
        (key(json!([{"grantee": "dynamodb.us-east-1.amazonaws.com"}])), &[(GRANT, "no_foreign_grant")]),
        (key(json!([{"grantee": null, "grantee_service": "rds.amazonaws.com"}])), &[(GRANT, "no_foreign_grant")]),
        (key(json!([{"grantee": null}])), &[(GRANT, "unexpected_response MEDIUM")]),
        (key(json!([{"grantee": "somebody"}])), &[(GRANT, "unexpected_response MEDIUM")]),
        (key(json!([{"grantee": "AROAEXAMPLE", "operations": ["SomethingNew"]}])), &[(GRANT, "no_foreign_grant")]),
        (
            key(json!([{"grantee": format!("arn:aws:sts::{OWN}:assumed-role/aws:ec2-infrastructure/i-0123")}])),
            &[(GRANT, "no_foreign_grant")],
        ),
    ]
}

fn rows_of_the_others() -> Vec<Row> {
    let admin = json!({"AWS": format!("arn:aws:iam::{OWN}:role/admin")});
    let service = |condition: Value| {
        json!({"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "kms:GenerateDataKey*",
            "Resource": "*", "Condition": condition})
    };
    let alone = |statement: &Value| json!({"policy": {"Version": "2012-10-17", "Statement": statement}});
    vec![
        (key(&[service(json!({"StringEquals": {"aws:SourceAccount": OWN}}))]), &[(SERVICE, "services_bound")]),
        (
            key(&[service(json!({"ArnLike": {"aws:SourceArn": "arn:aws:s3:::bucket"}}))]),
            &[(SERVICE, "confused_deputy MEDIUM")],
        ),
        (
            key(&[to(&json!({"Service": "events.amazonaws.com"}), "kms:Decrypt")]),
            &[(SERVICE, "service_sends_no_source")],
        ),
        (
            key(&[everybody_if(&json!({"Bool": {"aws:PrincipalIsAWSService": "true"}}))]),
            &[(PUBLIC, "not_public"), (SERVICE, "confused_deputy HIGH")],
        ),
        (key(&[to(&admin, "kms:*")]), &[(SEPARATED, "full_access MEDIUM")]),
        (key(&[to(&admin, "kms:Put*"), to(&admin, "kms:Decrypt")]), &[(SEPARATED, "administers_and_uses MEDIUM")]),
        (key(&[to(&admin, "kms:Put*")]), &[(SEPARATED, "separated")]),
        (alone(&to(&json!({"AWS": ["AROAEXAMPLE", "AIDAEXAMPLE"]}), "kms:*")), &[(MANAGEABLE, "locked_out HIGH")]),
        (alone(&to(&admin, "kms:PutKeyPolicy")), &[(MANAGEABLE, "manageable")]),
        (json!({"tags": {"owner": "payments", "class": "secret"}}), &[(TAGS, "tags_present")]),
        (json!({"tags": {"owner": "payments"}}), &[(TAGS, "tag_missing LOW")]),
        (json!({"tags": {"owner": "payments", "class": "public"}}), &[(TAGS, "tag_missing LOW")]),
        (json!({"tags": {"Owner": "payments", "class": "internal"}}), &[(TAGS, "tag_missing LOW")]),
        (
            json!({"key_manager": "AWS"}),
            &[(PUBLIC, "aws_managed_key"), (GRANT, "aws_managed_key"), (TAGS, "aws_managed_key")],
        ),
        // It can be cancelled, so it counts.
        (
            json!({"key_state": "PendingDeletion", "tags": {"owner": "x", "class": "secret"}}),
            &[(PUBLIC, "not_public"), (TAGS, "tags_present")],
        ),
    ]
}

fn rows_of_failure() -> Vec<Row> {
    let fault = |operation: &str, fault: Value| json!({"faults": {operation: fault}});
    let policy = |text: &str| json!({ "policy": text });
    vec![
        (
            fault("GetKeyPolicy", json!("denied")),
            &[(PUBLIC, "access_denied MEDIUM"), (MANAGEABLE, "access_denied MEDIUM"), (GRANT, "no_foreign_grant")],
        ),
        (fault("GetKeyPolicy", json!("garbled")), &[(PUBLIC, "unexpected_response MEDIUM")]),
        (fault("ListGrants", json!("denied")), &[(PUBLIC, "not_public"), (GRANT, "access_denied MEDIUM")]),
        (fault("ListGrants", json!("no_marker")), &[(GRANT, "unexpected_response MEDIUM")]),
        (fault("ListGrants", json!("server_error")), &[(GRANT, "service_error MEDIUM")]),
        (fault("ListResourceTags", json!("denied")), &[(TAGS, "access_denied MEDIUM"), (PUBLIC, "not_public")]),
        (json!({"omit": {"GetKeyPolicy": ["Policy"]}}), &[(PUBLIC, "unexpected_response MEDIUM")]),
        (policy("{"), &[(PUBLIC, "unexpected_response MEDIUM"), (SEPARATED, "unexpected_response MEDIUM")]),
        (policy("null"), &[(PUBLIC, "unexpected_response MEDIUM")]),
        (
            policy(r#"{"Statement": [{"Effect": "Allow", "Action": "kms:*"}]}"#),
            &[(PUBLIC, "unexpected_response MEDIUM")],
        ),
        (policy(r#"{"Version": "2030-01-01", "Statement": []}"#), &[(PUBLIC, "unexpected_response MEDIUM")]),
        (policy(r#"{"Statement": []}"#), &[(PUBLIC, "not_public"), (MANAGEABLE, "locked_out HIGH")]),
    ]
}

#[tokio::test]
async fn every_row_of_the_tables() {
    let rows: Vec<Row> =
        [rows_of_public_access(), rows_of_foreign_access(), rows_of_grants(), rows_of_the_others(), rows_of_failure()]
            .into_iter()
            .flatten()
            .collect();
    let keys: Vec<Value> = rows.iter().map(|(key, _)| key.clone()).collect();
    let settings = [
        WITH_LEDGER,
        ("TRUSTED_ACCOUNTS", "333333333333"),
        ("TRUSTED_ORGANIZATION", "o-a1b2c3d4e5"),
        ("REQUIRED_TAGS", "owner,class=secret|internal"),
        ("KMS_QUOTA_CALLERS", "1"),
    ];
    let (fleet, function) = start(fleet_of(keys), &settings);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(rows.len()), &json!(true)));
    assert_counts_add_up(&response);
    let verdicts = verdicts(&response);
    for (index, (key, expected)) in (0..).zip(&rows) {
        for (control, expected) in *expected {
            let (compliance, reason) = &verdicts[&(generated_key_id(index), (*control).to_owned())];
            let found = match compliance.as_str() {
                "NON_COMPLIANT" | "INSUFFICIENT_DATA" => {
                    let finding = finding(&response, &generated_key_id(index), control);
                    assert!(
                        !finding["remediation"].as_str().unwrap().is_empty()
                            && !finding["detail"].as_str().unwrap().is_empty()
                    );
                    format!("{reason} {}", finding["severity"].as_str().unwrap())
                }
                _ => reason.clone(),
            };
            assert_eq!(&found, expected, "{control} of {key}");
        }
    }
    assert_calls_are_those_granted(&fleet, "access-checker");
}

#[tokio::test]
async fn tags_are_asked_for_only_where_some_are_required() {
    let (fleet, function) = start(fleet_of(json!([{}, {}])), &[]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!(verdicts(&response)[&(generated_key_id(0), TAGS.to_owned())].1, "not_required");
    assert!(!fleet.calls().contains_key("ListResourceTags"));
    assert_eq!(fleet.calls()["ListGrants"], 2);
}

/// 250 grants are three pages of a hundred; a page without an entry is no end.
#[tokio::test]
async fn grants_on_many_pages() {
    let foreign = json!({"grantee": format!("arn:aws:iam::{FOREIGN}:role/x"), "name": "partner", "operations": ["Decrypt", "CreateGrant"]});
    let keys = json!([
        {"grants": [{"count": 249}, foreign]},
        {"grants": [{"count": 249}, foreign], "faults": {"ListGrants": {"kind": "empty_page", "after_calls": 1}}},
    ]);
    let (fleet, function) = start(fleet_of(keys), &[]);
    let response = ok(function.invoke(&verbose()).await);
    for index in [0, 1] {
        let finding = finding(&response, &generated_key_id(index), GRANT);
        assert_eq!(finding["evidence"]["foreign_grants"], 1);
        assert!(finding["detail"].as_str().unwrap().contains("may pass it on"), "{finding}");
    }
    assert_eq!(fleet.calls_for("ListGrants")[&generated_key_id(0)], 3);
    assert_eq!(fleet.calls_for("ListGrants")[&generated_key_id(1)], 4);
}

/// Five grants a second and ten seconds: most keys are judged by their policies alone, and nobody is told of that.
#[tokio::test]
async fn grants_that_time_does_not_reach_are_no_news() {
    let settings = [WITH_LEDGER, ("KMS_QUOTA_SHARE", "0.05"), ("KMS_QUOTA_CALLERS", "1")];
    let (fleet, function) = start(fleet_of(json!([{"count": 300}])), &settings);
    let deadline = Duration::from_secs(15);
    let response = ok(function.invoke_with(&verbose(), Invocation { deadline, ..Invocation::default() }).await);
    assert_eq!((&response["complete"], &response["keys_not_reached"]), (&json!(true), &json!(0)));
    let counts = &response["controls"][GRANT];
    let (asked, not_asked) = (counts["COMPLIANT"].as_u64().unwrap(), counts["INSUFFICIENT_DATA"].as_u64().unwrap());
    assert_eq!(asked + not_asked, 300);
    assert!(asked > 0 && not_asked > 0, "{counts}");
    let finding = response["findings"].as_array().unwrap().iter().find(|it| it["control"] == GRANT).unwrap();
    assert_eq!(finding["reason"], "grants_not_asked");
    assert_eq!(response["alerts"]["messages_published"], 0);
    assert!(!fleet.calls().contains_key("Publish"));
    assert!(fleet.peak_rate("ListGrants") <= 7, "{}", fleet.peak_rate("ListGrants"));
}

/// Its part of what all functions share, on a fleet that throttles whoever takes more.
#[tokio::test]
async fn it_keeps_to_its_part_of_the_quotas() {
    let fleet =
        json!({"account_id": OWN, "quotas": true, "latency_ms": 5, "keys": [{"count": 200, "grants": [{"count": 3}]}]});
    let (fleet, function) = start(fleet, &[]);
    let response = ok(function.invoke(&json!({})).await);
    assert_eq!(response["controls"][GRANT]["COMPLIANT"], 200);
    // Half of each quota: of 2,000 a fifth, of 1,000 a half, of 100 all; and a tenth of a second's burst.
    for (operation, most) in [("DescribeKey", 221), ("GetKeyPolicy", 276), ("ListGrants", 56)] {
        assert!(fleet.peak_rate(operation) <= most, "{operation} {}", fleet.peak_rate(operation));
    }
    let calls = fleet.calls();
    assert_eq!(
        (calls["DescribeKey"], calls["GetKeyPolicy"], calls["ListGrants"]),
        (200, 200, 200),
        "none is throttled"
    );
}

#[tokio::test]
async fn the_mail_as_its_reader_gets_it() {
    let partner = everybody_if(&json!({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}));
    let mut open = key(&[partner]);
    open["aliases"] = json!(["alias/payments"]);
    let keys = json!([
        open,
        {"aliases": ["alias/backup"], "tags": {"owner": "ops"},
         "grants": [{"grantee": format!("arn:aws:iam::{FOREIGN}:role/copy"), "operations": ["Decrypt", "CreateGrant"]}]},
    ]);
    let (fleet, function) = start(fleet_of(keys), &[("REQUIRED_TAGS", "owner")]);
    ok(function.invoke(&json!({})).await);
    let published = fleet.published();
    assert_eq!(published[0].attributes["severity"], "CRITICAL");
    let message: Value = serde_json::from_str(&published[0].message).unwrap();
    let mail = message["email"].as_str().unwrap();
    for words in [
        "alias/payments",
        "CRITICAL  public-access: anyone can reach the key: statement `P`: anyone, since `kms:ViaService` restricts no caller",
        "Add to the Condition of statement `P`: \"StringEquals\": {\"kms:CallerAccount\": \"111111111111\"}",
        "LOW  required-tags: tag `owner` is missing",
        "HIGH  foreign-grant: `arn:aws:iam::222222222222:role/copy` may Decrypt, CreateGrant, and may pass it on",
        "aws kms revoke-grant",
        "Evidence: statements (actions kms:Decrypt, principal *, sid P, statement 2, why anyone, since",
    ] {
        assert!(mail.contains(words), "{words}\n{mail}");
    }
}

#[tokio::test]
async fn a_key_that_is_gone_when_its_grants_are_asked_for_is_dropped() {
    let (_fleet, function) = start(fleet_of(json!([{"faults": {"ListGrants": "not_found"}}, {}])), &[]);
    let response = ok(function.invoke(&verbose()).await);
    assert_eq!(response["keys_listed"], 1);
    assert_counts_add_up(&response);
}

#[tokio::test]
async fn settings() {
    let refused = [
        ("TRUSTED_ACCOUNTS", "1234"),
        ("TRUSTED_ACCOUNTS", "everybody"),
        ("TRUSTED_ORGANIZATION", "ou-1234-12345678"),
        ("REQUIRED_TAGS", "class="),
        ("KMS_QUOTA_CALLERS", "0"),
        ("KMS_QUOTA_CALLERS", "many"),
    ];
    harness::assert_settings_are_refused(BINARY, &refused).await;
}

#[tokio::test]
async fn events_from_the_files() {
    harness::assert_events_are_answered(BINARY, "access-checker").await;
}
