//! Keys of other accounts and Regions, by the function's real binary.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simulated_fleet::harness::{self, TABLE, WITH_LEDGER, assert_counts_add_up, error_message, error_type, ok};
use simulated_fleet::{Fleet, FunctionProcess, Outcome};

const BINARY: &str = env!("CARGO_BIN_EXE_rotation-checker");
const ROLE: (&str, &str) = ("MEMBER_ROLE_NAME", "kms-compliance/kms-compliance-read");
const MEMBER: &str = "222222222222";

fn fleet_of(account: &Value) -> Value {
    json!({
        "tables": [TABLE],
        "keys": [{"aliases": ["alias/home"]}],
        "regions": {"eu-west-1": {"keys": [{"aliases": ["alias/here"]}, {}]}},
        "accounts": {MEMBER: account, "333333333333": {}},
    })
}

fn start(account: &Value, settings: &[(&str, &str)]) -> (Fleet, FunctionProcess) {
    let settings: Vec<_> = [WITH_LEDGER].iter().chain(settings).copied().collect();
    harness::start(BINARY, fleet_of(account), &settings)
}

fn event(account_id: &str, region: &str) -> Value {
    json!({"detail": {"target": {"account_id": account_id, "region": region}}})
}

fn healthy() -> Value {
    json!({"regions": {"eu-west-1": {"keys": [{"aliases": ["alias/theirs"]}, {}, {}]}, "us-east-1": {"keys": [{}]}}})
}

async fn asked(account: Value, settings: &[(&str, &str)]) -> (Fleet, Outcome) {
    let (fleet, function) = start(&account, settings);
    let outcome = function.invoke(&event(MEMBER, "eu-west-1")).await;
    (fleet, outcome)
}

#[tokio::test]
async fn keys_of_another_account_are_read_with_its_role_and_told_as_its_own() {
    let (fleet, outcome) = asked(healthy(), &[ROLE]).await;
    let response = ok(outcome);
    assert_counts_add_up(&response);
    assert_eq!((&response["account_id"], &response["region"]), (&json!(MEMBER), &json!("eu-west-1")));
    assert_eq!((&response["keys_listed"], &response["complete"]), (&json!(3), &json!(true)));
    for finding in response["findings"].as_array().unwrap() {
        assert!(
            finding["key_arn"].as_str().unwrap().starts_with("arn:aws:kms:eu-west-1:222222222222:key/"),
            "{finding}"
        );
    }
    // Every call about keys went to the target, with its own credentials; ledger and topic know the home alone.
    assert_eq!(fleet.calls_to(MEMBER, "eu-west-1")["DescribeKey"], 3);
    assert_eq!(fleet.calls_to("123456789012", "eu-west-1"), BTreeMap::new());
    assert_eq!(fleet.calls_to("123456789012", "us-east-1"), BTreeMap::new());
    let assumed = fleet.assumed_roles();
    assert_eq!(assumed.len(), 1);
    assert_eq!(assumed[0].role_arn, "arn:aws:iam::222222222222:role/kms-compliance/kms-compliance-read");
    assert_eq!((assumed[0].session_name.as_str(), &assumed[0].external_id), ("kms-compliance-rotation-checker", &None));
    let partitions: Vec<_> = fleet.items().iter().map(|item| item["pk"].as_str().unwrap().to_owned()).collect();
    assert!(!partitions.is_empty());
    assert!(partitions.iter().all(|it| it == "222222222222#eu-west-1#rotation-checker"), "{partitions:?}");
    let published = fleet.published();
    assert_eq!(published.len(), 1);
    assert!(published[0].subject.as_ref().unwrap().contains("222222222222"), "{:?}", published[0].subject);
}

#[tokio::test]
async fn another_region_of_the_own_account_needs_no_role() {
    let (fleet, function) = start(&healthy(), &[]);
    let response = ok(function.invoke(&event("123456789012", "eu-west-1")).await);
    assert_eq!((&response["region"], &response["keys_listed"]), (&json!("eu-west-1"), &json!(2)));
    assert_eq!(fleet.assumed_roles(), []);
    assert!(!fleet.calls().contains_key("GetCallerIdentity"));
    assert_eq!(fleet.calls_to("123456789012", "us-east-1"), BTreeMap::new());
    let own = ok(function.invoke(&event("123456789012", "us-east-1")).await);
    assert_eq!((&own["region"], &own["keys_listed"]), (&json!("us-east-1"), &json!(1)));
    assert_eq!(ok(function.invoke(&json!({})).await)["keys_listed"], 1);
}

#[tokio::test]
async fn targets_that_a_function_may_not_look_at_are_refused_before_any_call() {
    let (fleet, function) = start(&healthy(), &[]);
    for (account_id, region, refused) in [
        (MEMBER, "eu-west-1", "detail.target.account_id: `222222222222` is another account than this function's"),
        ("123456789012", "cn-north-1", "detail.target.region: `cn-north-1` is of the partition `aws-cn`"),
        ("12345678901", "eu-west-1", "detail.target.account_id: `12345678901` is not an account ID"),
        ("123456789012", "europe", "detail.target.region: `europe` is not the name of a Region"),
    ] {
        let outcome = function.invoke(&event(account_id, region)).await;
        assert_eq!(error_type(&outcome), "InvalidEvent");
        assert!(error_message(&outcome).starts_with(refused), "{}", error_message(&outcome));
    }
    assert_eq!(fleet.calls(), BTreeMap::new());
}

#[tokio::test]
async fn a_target_out_of_reach_is_an_error_with_its_cause_and_nothing_is_evaluated() {
    let fault = |operation: &str, fault: Value| json!({"faults": {operation: fault}});
    let in_region = |fault: Value| json!({"regions": {"eu-west-1": {"keys": [{}], "faults": {"ListKeys": fault}}}});
    let error = |code: &str, message: &str| json!({"kind": "error", "code": code, "message": message});
    let scp = "User: x is not authorized to perform: kms:ListKeys with an explicit deny in a service control policy";
    for (account, cause) in [
        (json!({"has_role": false}), "role_denied"),
        (json!({"role_name": "other"}), "role_denied"),
        (json!({"external_id": "agreed"}), "role_denied"),
        (fault("AssumeRole", json!("denied")), "role_denied"),
        (fault("AssumeRole", json!("not_found")), "role_missing"),
        (fault("AssumeRole", error("RegionDisabledException", "STS is not activated")), "region_disabled"),
        (fault("AssumeRole", json!("server_error")), "service_error"),
        (fault("AssumeRole", json!("garbled")), "unexpected_response"),
        (fault("GetCallerIdentity", json!("denied")), "credentials_refused"),
        (fault("GetCallerIdentity", json!("server_error")), "service_error"),
        (json!({"credentials_of": "333333333333", "regions": healthy()["regions"]}), "wrong_account"),
        (json!({"credentials_of": "777777777777"}), "wrong_account"),
        (in_region(error("AccessDeniedException", scp)), "region_denied_by_scp"),
        (in_region(json!("denied")), "list_keys_denied"),
        (in_region(error("UnrecognizedClientException", "The security token is invalid.")), "region_disabled"),
        (in_region(error("ExpiredTokenException", "The security token is expired.")), "credentials_refused"),
    ] {
        let (fleet, outcome) = asked(account.clone(), &[ROLE]).await;
        assert_eq!(error_type(&outcome), "TargetNotReachable", "{account}: {}", error_message(&outcome));
        let message = error_message(&outcome);
        assert!(message.starts_with(&format!("{cause}: account 222222222222")), "{account}: {message}");
        assert!(!fleet.calls().contains_key("DescribeKey"), "{account}");
        assert_eq!(fleet.published(), [], "{account}");
        assert!(fleet.items().iter().all(|item| item["sk"] == "lease"), "{account}: {:?}", fleet.items());
    }
}

#[tokio::test]
async fn what_may_pass_by_itself_is_tried_again() {
    for fault in [json!({"kind": "throttled", "times": 2}), json!({"kind": "server_error", "times": 2})] {
        let mut account = healthy();
        account["faults"] = json!({"AssumeRole": fault});
        let (_, outcome) = asked(account, &[ROLE]).await;
        assert_eq!(ok(outcome)["keys_listed"], 3, "{fault}");
    }
    // The target lets the function in, and KMS itself is in trouble: that is no target out of reach.
    for (fault, kind) in [("throttled", "ListKeysFailed"), ("server_error", "ListKeysFailed")] {
        let account = json!({"regions": {"eu-west-1": {"faults": {"ListKeys": fault}}}});
        assert_eq!(error_type(&asked(account, &[ROLE]).await.1), kind, "{fault}");
    }
}

#[tokio::test]
async fn an_external_id_is_given_where_it_is_set() {
    let mut account = healthy();
    account["external_id"] = json!("agreed");
    let (fleet, outcome) = asked(account, &[ROLE, ("MEMBER_EXTERNAL_ID", "agreed")]).await;
    assert_eq!(ok(outcome)["keys_listed"], 3);
    assert_eq!(fleet.assumed_roles()[0].external_id.as_deref(), Some("agreed"));
}

#[tokio::test]
async fn credentials_are_kept_for_each_account_and_renewed_in_time() {
    let (fleet, function) = start(&healthy(), &[ROLE]);
    for region in ["eu-west-1", "us-east-1", "eu-west-1"] {
        ok(function.invoke(&event(MEMBER, region)).await);
    }
    assert_eq!(fleet.assumed_roles().len(), 1);
    assert_eq!(ok(function.invoke(&event("333333333333", "eu-west-1")).await)["keys_listed"], 0);
    assert_eq!(fleet.assumed_roles().len(), 2);
    assert_eq!(ok(function.invoke(&event(MEMBER, "eu-west-1")).await)["keys_listed"], 3);
    assert_eq!(fleet.assumed_roles().len(), 2);
    // Somebody revoked them: new ones are taken, and nobody hears of it.
    fleet.expire_sessions();
    assert_eq!(ok(function.invoke(&event(MEMBER, "eu-west-1")).await)["keys_listed"], 3);
    assert_eq!(fleet.assumed_roles().len(), 3);
    // The own account is never looked at with another one's credentials.
    assert_eq!(ok(function.invoke(&json!({})).await)["account_id"], "123456789012");

    let mut short = healthy();
    short["session_seconds"] = json!(90);
    let (fleet, function) = start(&short, &[ROLE]);
    for _ in 0..2 {
        ok(function.invoke(&event(MEMBER, "eu-west-1")).await);
    }
    assert_eq!(fleet.assumed_roles().len(), 2, "what ends before the next run may is not used for it");
}

#[tokio::test]
async fn settings_about_members_are_refused_by_name() {
    harness::assert_settings_are_refused(
        BINARY,
        &[("MEMBER_ROLE_NAME", "arn:aws:iam::222222222222:role/x"), ("MEMBER_EXTERNAL_ID", "x")],
    )
    .await;
}
