//! Each operation through the real binary: what it does, and each rule that refuses.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

mod common;

use std::collections::BTreeMap;

use common::{
    CREATED, answered, complete, error, fleet_of, heal, keys, let_time_pass, made, managed, new_key,
    new_multi_region_key, of_key, process, record, records, request, seconds, start,
};
use serde_json::{Value, json};
use simulated_fleet::harness::{days_from_now, describe, numbered_key};
use simulated_fleet::{Fleet, Invocation, generated_key_id as id};

fn arn(n: u32) -> String {
    format!("arn:aws:kms:us-east-1:123456789012:key/{}", id(n))
}

/// Calls that change a key.
fn changes(fleet: &Fleet) -> BTreeMap<String, u64> {
    let reads = ["Get", "List", "Describe", "Lookup", "Put", "Query"];
    fleet.calls().into_iter().filter(|(call, _)| !reads.iter().any(|read| call.starts_with(read))).collect()
}

#[tokio::test]
async fn a_key_is_created_with_policy_and_tags_then_rotation_and_alias() {
    let (fleet, function) = start(fleet_of(json!([])));
    let answer = answered(function.invoke(&new_key()).await);
    let made = made(&fleet);
    assert_eq!(made.len(), 1);
    let key = &made[0].1;
    let tag = |name: &str| key.tags.get(name).map(String::as_str);
    assert_eq!((tag("kms-compliance/managed"), tag("team")), (Some("true"), Some("payments")));
    assert!(key.policy.as_ref().unwrap().as_str().unwrap().contains("role/app"));
    assert_eq!(key.aliases, ["alias/new"]);
    assert_eq!(answer["state"], "succeeded");
    assert_eq!(answer["rotation_period_days"], 180);
    let arn = format!("arn:aws:kms:us-east-1:123456789012:key/{}", key.key_id.as_ref().unwrap());
    assert_eq!(answer["key_arn"], arn);
    let record = record(&fleet).unwrap();
    assert_eq!(
        (&record["state"], &record["claimed_by"], &record["key_arn"]),
        (&json!("succeeded"), &json!("ana"), &json!(arn))
    );
    assert!(record["expires_at"].as_i64().unwrap() > 0);
    let steps: Vec<&str> = record["steps"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap()).collect();
    assert_eq!(steps, ["CreateKey", "EnableKeyRotation", "CreateAlias"]);
    // The same request is answered from the record.
    fleet.clear_calls();
    let again = answered(function.invoke(&new_key()).await);
    assert_eq!((&again["repeated"], &again["key_arn"]), (&json!(true), &answer["key_arn"]));
    assert_eq!(fleet.calls(), BTreeMap::from([("GetItem".to_owned(), 1)]));
    // Another request with the token is refused, and the attempt is recorded.
    let mut other = new_key();
    other["alias"] = json!("alias/other");
    let (kind, message) = error(&function.invoke(&other).await);
    assert_eq!(kind, "NotAllowed");
    assert!(message.contains("belongs to another request"), "{message}");
    assert!(records(&fleet).iter().any(|it| it["sk"].as_str().unwrap().starts_with("refused#")));
    // The tag outlives the record.
    let (kind, message) = {
        let fleet = Fleet::serve({
            let mut description = fleet.description();
            description.tables = vec!["operations".to_owned()];
            description
        })
        .unwrap();
        let mut request = new_key();
        request["alias"] = json!("alias/another");
        error(&process(&fleet, &[]).invoke(&request).await)
    };
    assert_eq!(kind, "NotAllowed");
    assert!(message.contains(&arn), "{message}");
}

#[tokio::test]
async fn an_alias_that_exists_is_never_repointed_and_a_dry_run_changes_nothing() {
    let (fleet, function) = start(fleet_of(json!([managed(0, json!({"aliases": ["alias/new"]}))])));
    let (kind, message) = error(&function.invoke(&new_key()).await);
    assert_eq!(kind, "NotAllowed");
    assert!(message.contains("never repointed"), "{message}");
    assert_eq!((changes(&fleet).len(), &record(&fleet).unwrap()["state"]), (0, &json!("not_allowed")));
    let (fleet, function) = start(fleet_of(json!([])));
    let mut dry = new_multi_region_key();
    dry["dry_run"] = json!(true);
    let answer = answered(function.invoke(&dry).await);
    assert_eq!(answer["state"], "dry_run");
    assert_eq!(answer["would_do"].as_array().unwrap().len(), 5);
    assert!(answer["policy"]["Statement"].is_array());
    assert_eq!((changes(&fleet).len(), records(&fleet).len()), (0, 0), "no token is used up");
}

#[tokio::test]
async fn a_multi_region_key_waits_for_its_replicas_and_completes_what_is_missing() {
    let mut description = fleet_of(json!([]));
    description["delays"] = json!({"replica_ms": 1_500});
    let (fleet, function) = start(description);
    let answer = answered(function.invoke(&new_multi_region_key()).await);
    let regions: Vec<&str> =
        answer["replicas"].as_array().unwrap().iter().map(|it| it["region"].as_str().unwrap()).collect();
    assert_eq!(regions, CREATED);
    assert!(
        made(&fleet).iter().all(|(_, key)| key.key_state == "Enabled" && key.tags["kms-compliance/managed"] == "true")
    );
    // A Region that fails keeps no other from its replica.
    let mut description = fleet_of(json!([]));
    description["faults"] = json!({"ReplicateKey": {"kind": "error", "code": "LimitExceededException", "times": 1}});
    let (fleet, function) = start(description);
    let (kind, message) = error(&function.invoke(&new_multi_region_key()).await);
    assert_eq!(kind, "OperationFailed");
    assert!(message.contains("eu-west-1") && message.contains("this exists: "), "{message}");
    assert_eq!(made(&fleet).len(), 2);
    let record = record(&fleet).unwrap();
    assert_eq!((&record["state"], record["made"].as_array().unwrap().len()), (&json!("failed"), 2));
    assert!(record.get("expires_at").is_none(), "what is not finished stays");
    complete(&fleet, &function, &new_multi_region_key()).await;
    assert_eq!((made(&fleet).len(), fleet.calls()["CreateKey"]), (3, 1));
}

#[tokio::test]
async fn a_replica_that_somebody_else_made_is_told_and_never_taken_over() {
    let mut description = fleet_of(json!([]));
    description["faults"] = json!({"ReplicateKey": {"kind": "error", "code": "LimitExceededException"}});
    let (fleet, function) = start(description);
    error(&function.invoke(&new_multi_region_key()).await);
    heal(&fleet);
    let mut description = fleet.description();
    let primary = description.keys[0].clone();
    let mut replica = describe(fleet_of(json!([{"multi_region": {
        "type": "REPLICA", "primary_region": "us-east-1", "replica_regions": []
    }}])))
    .keys
    .remove(0);
    replica.key_id.clone_from(&primary.key_id);
    description.regions.entry("eu-west-1".to_owned()).or_default().keys.push(replica);
    fleet.replace(description).unwrap();
    let_time_pass(&fleet);
    let (kind, message) = error(&function.invoke(&new_multi_region_key()).await);
    assert_eq!(kind, "OperationFailed");
    assert!(message.contains("eu-west-1: a replica is there that this request did not make"), "{message}");
    assert!(record(&fleet).unwrap().get("expires_at").is_none());
    assert_eq!((made(&fleet).len(), fleet.calls()["CreateKey"]), (2, 1), "the primary, and the other Region's replica");
}

/// What no judgement foresees: KMS wants somebody of the account who can change the policy later.
#[tokio::test]
async fn a_policy_that_kms_refuses_leaves_nothing_and_the_token_may_be_used_again() {
    let (fleet, function) = start(fleet_of(json!([])));
    let policy = |principal: &str| {
        json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": principal}, "Action": "kms:*", "Resource": "*"
        }]})
    };
    let of = |principal: &str| request("create_key", json!({"policy": policy(principal)}));
    let (kind, message) = error(&function.invoke(&of("arn:aws:iam::123456789012:role/admin")).await);
    assert_eq!(kind, "OperationFailed");
    assert!(message.contains("nothing exists") && message.contains("MalformedPolicyDocument"), "{message}");
    let failed = record(&fleet).unwrap();
    assert_eq!((&failed["state"], &failed["steps"], made(&fleet).len()), (&json!("failed"), &json!([]), 0));
    assert!(failed["expires_at"].is_i64(), "nothing was changed: nothing is to be remembered for ever");
    let mut again = of("arn:aws:iam::123456789012:root");
    again["client_token"] = json!("token-2");
    assert_eq!(answered(function.invoke(&again).await)["state"], "succeeded");
}

#[tokio::test]
async fn a_denial_on_a_young_key_is_waited_out() {
    for (delay, state) in [(2_500, "succeeded"), (60_000, "in_progress")] {
        let mut description = fleet_of(json!([]));
        description["delays"] = json!({"permission_ms": delay});
        let (fleet, function) = start(description);
        let answer = answered(function.invoke_with(&new_key(), seconds(15)).await);
        assert_eq!(answer["state"], state, "{answer}");
        assert_eq!((made(&fleet).len(), &record(&fleet).unwrap()["state"]), (1, &json!(state)));
    }
}

#[tokio::test]
async fn a_key_is_rotated_once() {
    let mut description = fleet_of(json!([managed(0, json!({}))]));
    description["delays"] = json!({"rotation_ms": 1_500});
    let (fleet, function) = start(description.clone());
    let answer = answered(function.invoke(&of_key("rotate_key", 0)).await);
    assert!(answer["rotated_at"].is_string(), "{answer}");
    assert_eq!(fleet.calls()["RotateKeyOnDemand"], 1);
    // One that takes longer is told as that.
    description["delays"] = json!({"rotation_ms": 600_000});
    let (fleet, function) = start(description);
    for _ in 0..2 {
        let answer = answered(function.invoke_with(&of_key("rotate_key", 0), seconds(12)).await);
        assert_eq!(answer["state"], "in_progress");
        assert_eq!(fleet.calls()["RotateKeyOnDemand"], 1);
    }
    let mut other = of_key("rotate_key", 0);
    other["client_token"] = json!("token-2");
    assert_eq!(error(&function.invoke(&other).await).0, "NotAllowed", "a rotation that another request began");
    // The limit of a key's life.
    let mut limited = fleet_of(json!([managed(0, json!({}))]));
    limited["on_demand_rotation_limit"] = json!(0);
    let (fleet, function) = start(limited);
    let (kind, message) = error(&function.invoke(&of_key("rotate_key", 0)).await);
    assert!(kind == "OperationFailed" && message.contains("limit of on-demand rotations"), "{message}");
    assert_eq!(fleet.calls()["RotateKeyOnDemand"], 1);
}

#[tokio::test]
async fn rotation_is_the_primarys() {
    let replica = json!({
        "tables": ["operations"],
        "keys": [{"key_id": "mrk-1", "tags": {"kms-compliance/managed": "true"},
            "multi_region": {"type": "REPLICA", "primary_region": "eu-west-1", "replica_regions": ["us-east-1"]}}],
        "regions": {"eu-west-1": {"keys": [{"key_id": "mrk-1", "tags": {"kms-compliance/managed": "true"},
            "multi_region": {"type": "PRIMARY", "replica_regions": ["us-east-1"]}}]}}
    });
    let (fleet, function) = start(replica);
    let request = request("enable_rotation", json!({"key": "mrk-1", "rotation_period_days": 100}));
    let answer = answered(function.invoke(&request).await);
    assert_eq!(answer["key_arn"], "arn:aws:kms:eu-west-1:123456789012:key/mrk-1");
    assert_eq!(fleet.calls_in("eu-west-1")["EnableKeyRotation"], 1);
}

#[tokio::test]
async fn what_the_rules_refuse_changes_nothing_and_is_recorded() {
    let on = json!({"enabled": true, "period_in_days": 365});
    let with_current =
        |current: u32| request("set_alias", json!({"alias": "alias/a", "key": id(1), "expected_current": id(current)}));
    let delete = request("schedule_deletion", json!({"key": id(0), "confirm": arn(0)}));
    let mut enable = of_key("cancel_deletion", 0);
    enable["enable"] = json!(true);
    let unmanaged = |facts: Value| json!([numbered_key(0, facts)]);
    let mut cases = vec![
        ("not managed", unmanaged(json!({"key_state": "PendingDeletion"})), enable),
        ("its deletion is not scheduled", unmanaged(json!({})), of_key("cancel_deletion", 0)),
        ("customer managed", json!([managed(0, json!({"key_manager": "AWS"}))]), of_key("retire_key", 0)),
        ("PendingDeletion", json!([managed(0, json!({"key_state": "PendingDeletion"}))]), of_key("retire_key", 0)),
        ("cannot be rotated", json!([managed(0, json!({"key_spec": "RSA_2048"}))]), of_key("rotate_key", 0)),
        ("cannot be rotated", json!([managed(0, json!({"origin": "EXTERNAL"}))]), of_key("enable_rotation", 0)),
        ("only an enabled key", json!([managed(0, json!({"key_state": "Disabled"}))]), of_key("rotate_key", 0)),
        (
            "set_rotation_period",
            json!([managed(0, json!({"rotation": on}))]),
            request("enable_rotation", json!({"key": id(0), "rotation_period_days": 90})),
        ),
        (
            "enable_rotation",
            json!([managed(0, json!({}))]),
            request("set_rotation_period", json!({"key": id(0), "rotation_period_days": 90})),
        ),
        (
            "`expected_current` does not name it",
            json!([managed(0, json!({"aliases": ["alias/a"]})), managed(1, json!({}))]),
            request("set_alias", json!({"alias": "alias/a", "key": id(1)})),
        ),
        (
            "not for `expected_current`",
            json!([managed(0, json!({"aliases": ["alias/a"]})), managed(1, json!({})), managed(2, json!({}))]),
            with_current(2),
        ),
        ("does not exist", json!([managed(0, json!({})), managed(1, json!({}))]), with_current(0)),
        (
            "not managed",
            json!([numbered_key(0, json!({"aliases": ["alias/a"]})), managed(1, json!({}))]),
            with_current(0),
        ),
        ("only a retired key", json!([managed(0, json!({}))]), delete),
    ];
    for operation in ["rotate_key", "enable_rotation", "retire_key"] {
        cases.push((
            "not managed",
            unmanaged(json!({"tags": {"kms-compliance/managed": "yes"}})),
            of_key(operation, 0),
        ));
    }
    for (says, keys, request) in cases {
        let (fleet, function) = start(fleet_of(keys));
        let (kind, message) = error(&function.invoke(&request).await);
        assert_eq!(kind, "NotAllowed", "{says} {request}");
        assert!(message.contains(says), "{says}: {message}");
        assert_eq!(changes(&fleet), BTreeMap::new(), "{says}");
        let record = record(&fleet).unwrap();
        assert_eq!((&record["state"], &record["claimed_by"]), (&json!("not_allowed"), &json!("ana")), "{says}");
        assert!(record["problem"].as_str().unwrap().contains(says) && record["expires_at"].is_i64(), "{record}");
    }
}

#[tokio::test]
async fn what_is_no_request_is_not_recorded_and_an_operation_that_is_not_answered_is() {
    let (fleet, function) = start(fleet_of(json!([])));
    for bad in [json!([]), json!({}), json!({"operation": "rotate_key"}), json!({"operation": "delete_everything"})] {
        assert_eq!(error(&function.invoke(&bad).await).0, "InvalidRequest");
    }
    assert_eq!(fleet.calls(), BTreeMap::new());
    let manager = process(&fleet, &[("OPERATIONS", "rotate_key")]);
    assert_eq!(error(&manager.invoke(&of_key("retire_key", 0)).await).0, "NotAllowed");
    assert_eq!(records(&fleet).len(), 1);
    let auditor = process(&fleet, &[("OPERATIONS", "audit_key,list_operations")]);
    assert_eq!(error(&auditor.invoke(&of_key("retire_key", 0)).await).0, "NotAllowed");
    assert_eq!(records(&fleet).len(), 1, "the auditor writes nothing");
    let misconfigured = process(&fleet, &[("MIN_RETIRED_DAYS", "3")]);
    assert_eq!(error(&misconfigured.invoke(&of_key("retire_key", 0)).await).0, "InvalidConfiguration");
}

#[tokio::test]
async fn a_deletion_is_cancelled_on_any_key_and_leaves_it_disabled() {
    let pending = json!({"key_state": "PendingDeletion", "deletion_date": "2099-01-01T00:00:00Z"});
    let (fleet, function) = start(fleet_of(json!([numbered_key(0, pending)])));
    let answer = answered(function.invoke(&of_key("cancel_deletion", 0)).await);
    assert_eq!((&answer["key_state"], keys(&fleet)[0].1.key_state.as_str()), (&json!("Disabled"), "Disabled"));
}

/// Retires key 0 and lets n days pass since.
async fn retire(fleet: &Fleet, function: &simulated_fleet::FunctionProcess, days: i64) {
    let mut request = of_key("retire_key", 0);
    request["client_token"] = json!("retire");
    assert_eq!(answered(function.invoke(&request).await)["state"], "succeeded");
    for mut item in records(fleet) {
        item["retired_at"] = json!(days_from_now(-days));
        fleet.put_item(&item).unwrap();
    }
}

#[tokio::test]
async fn a_deletion_is_scheduled_only_if_nothing_speaks_against_it() {
    let delete = || request("schedule_deletion", json!({"key": id(0), "confirm": arn(0), "waiting_period_days": 10}));
    let (fleet, function) = start(fleet_of(json!([managed(0, json!({}))])));
    retire(&fleet, &function, 31).await;
    let answer = answered(function.invoke(&delete()).await);
    assert_eq!(answer["key_state"], "PendingDeletion");
    assert!(answer["deletion_at"].as_str().unwrap() < days_from_now(11).as_str());
    let fault = |call: &str| json!({ call: "denied" });
    let later = json!({"operation": "Decrypt", "timestamp": days_from_now(-1)});
    let enabled = json!([{"name": "EnableKey", "time": days_from_now(-3)}]);
    for (says, facts, days, faults) in [
        ("it is retired for 29 days", json!({}), 29, json!({})),
        ("it has aliases: alias/a", json!({"aliases": ["alias/a"]}), 40, json!({})),
        ("it has grants", json!({"grants": [{}]}), 40, json!({})),
        ("it was used at", json!({"last_usage": later}), 40, json!({})),
        ("its usage is tracked since", json!({"usage_tracking_start": days_from_now(-20)}), 40, json!({})),
        ("it was enabled at", json!({"events": enabled}), 40, json!({})),
        ("its grants cannot be read", json!({}), 40, fault("ListGrants")),
        ("its events cannot be read", json!({}), 40, fault("LookupEvents")),
        ("its last usage cannot be read", json!({}), 40, fault("GetKeyLastUsage")),
        ("the record", json!({}), 40, fault("Query")),
        ("its last usage cannot be read", json!({"omit": {"GetKeyLastUsage": ["TrackingStartDate"]}}), 40, json!({})),
        (
            "it has replicas",
            json!({"multi_region": {"type": "PRIMARY", "replica_regions": ["eu-west-1"]}}),
            40,
            json!({}),
        ),
    ] {
        let mut description = fleet_of(json!([managed(0, facts)]));
        description["faults"] = faults;
        let (fleet, function) = start(description);
        retire(&fleet, &function, days).await;
        let (kind, message) = error(&function.invoke(&delete()).await);
        assert_eq!(kind, "NotAllowed", "{says}: {message}");
        assert!(message.contains(says), "{says}: {message}");
        assert!(!fleet.calls().contains_key("ScheduleKeyDeletion"), "{says}");
    }
    // The tag alone is no retirement.
    let tagged = json!({"key_state": "Disabled", "tags": {"kms-compliance/retired-at": "2020-01-01T00:00:00Z"}});
    let (_fleet, function) = start(fleet_of(json!([managed(0, tagged)])));
    let (kind, message) = error(&function.invoke(&delete()).await);
    assert!(kind == "NotAllowed" && message.contains("the record knows of no retire_key"), "{message}");
}

#[tokio::test]
async fn operations_are_listed_by_key_and_by_token() {
    let (fleet, function) = start(fleet_of(json!([managed(0, json!({})), managed(1, json!({}))])));
    for (n, operation) in ["retire_key", "rotate_key"].into_iter().enumerate() {
        let mut request = of_key(operation, 0);
        request["client_token"] = json!(format!("t-{n}"));
        let _ = function.invoke(&request).await;
    }
    let list = |fields: Value| {
        let mut request = json!({"operation": "list_operations"});
        request.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        request
    };
    let answer = answered(function.invoke(&list(json!({"key": id(0)}))).await);
    let states: Vec<&str> =
        answer["operations"].as_array().unwrap().iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["not_allowed", "succeeded"], "the newest first");
    let answer = answered(function.invoke(&list(json!({"key": id(1)}))).await);
    assert_eq!(answer["operations"], json!([]));
    let answer = answered(function.invoke(&list(json!({"client_token": "t-0"}))).await);
    assert_eq!(answer["operations"][0]["operation"], "retire_key");
    drop(fleet);
}

#[tokio::test]
async fn a_key_is_audited() {
    let hour = {
        let at: String = days_from_now(-2);
        format!("{}:00:00Z", &at[..13])
    };
    let events = json!([
        {"name": "DisableKey", "time": days_from_now(-1), "user": "ana", "count": 30},
        {"name": "CreateGrant", "time": days_from_now(-2), "user": "rds", "invoked_by": "rds.amazonaws.com", "count": 31},
        {"name": "EnableKey", "time": days_from_now(-80), "user": "ben"}
    ]);
    let policy = json!({"Statement": [
        {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*", "Resource": "*"},
        {"Sid": "partner", "Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:role/x"}, "Action": "kms:Decrypt", "Resource": "*"}
    ]});
    let audited = json!({
        "aliases": ["alias/payments"], "rotation": {"enabled": true}, "policy": policy, "events": events, "grants": [{}],
        "usage": {"Decrypt": {"start": hour, "hourly": [7.0]}}
    });
    let (fleet, function) = start(fleet_of(json!([numbered_key(0, audited)])));
    let audit = |days: u32| json!({"operation": "audit_key", "key": arn(0), "days": days});
    let answer = answered(function.invoke(&audit(30)).await);
    assert_eq!(answer["key"]["state"], "Enabled");
    assert_eq!(answer["aliases"], json!(["alias/payments"]));
    assert_eq!(answer["usage"]["successful_requests"], json!({"Decrypt": 7.0}), "{}", answer["usage"]);
    assert_eq!(answer["usage"]["not_known"], json!({}));
    assert_eq!(answer["management_events"]["count"], 61, "both pages");
    assert_eq!(answer["management_events"]["by_service"], json!({"rds.amazonaws.com": 31}));
    assert_eq!(answer["management_events"]["by_user"], json!({"ana": 30, "rds": 31}));
    assert_eq!(answer["policy"]["foreign"]["accounts"], json!(["222222222222"]));
    assert_eq!(answer["policy"]["public"]["public"], false);
    assert_eq!(answer["grants"]["listed"].as_array().unwrap().len(), 1);
    for function in ["rotation-checker", "key-age-checker", "usage-anomaly-scorer", "health-prober", "access-checker"] {
        assert!(answer["verdicts"][function]["evaluations"].is_array(), "{function}: {}", answer["verdicts"]);
    }
    let recommendations = answer["recommendations"].as_array().unwrap();
    assert!(
        recommendations.iter().any(|it| it.as_str().unwrap().starts_with("foreign-access: ")),
        "{recommendations:?}"
    );
    assert!(!recommendations[0].as_str().unwrap().contains("schedule_deletion"));
    assert_eq!(answered(function.invoke(&audit(90)).await)["management_events"]["count"], 62);
    assert_eq!(changes(&fleet), BTreeMap::new());
    assert!(fleet.peak_rate("LookupEvents") <= 2);
    let lists: Value = serde_json::from_str(include_str!("../../../tests/calls.json")).unwrap();
    let is_listed = |call: &str| {
        let mut services = lists["key-auditor"].as_object().unwrap().values();
        services.any(|calls| calls.as_array().unwrap().iter().any(|it| it == call))
    };
    for call in fleet.calls().into_keys() {
        assert!(is_listed(&call), "the auditor's role has no {call}");
    }
    let (_fleet, function) = start(fleet_of(json!([])));
    assert_eq!(error(&function.invoke(&audit(30)).await).0, "OperationFailed");
}

#[tokio::test]
async fn on_a_developers_machine_the_credentials_say_where_the_keys_are() {
    let made_up = "arn:aws:lambda:eu-west-2:012345678912:function:KeyManagerFunction";
    let invocation = || Invocation { function_arn: Some(made_up.to_owned()), ..seconds(30) };
    let emulated = |fleet: &Fleet| process(fleet, &[("AWS_SAM_LOCAL", "true")]);
    let fleet = Fleet::serve(describe(fleet_of(json!([])))).unwrap();
    let answer = answered(emulated(&fleet).invoke_with(&new_key(), invocation()).await);
    assert_eq!(answer["state"], "succeeded");
    let policy = made(&fleet)[0].1.policy.clone().unwrap().to_string();
    assert!(policy.contains("123456789012:root") && !policy.contains("012345678912"), "{policy}");
    assert_eq!(records(&fleet)[0]["pk"], "123456789012#us-east-1");
    let mut description = fleet_of(json!([]));
    description["faults"] = json!({"GetCallerIdentity": "denied"});
    let fleet = Fleet::serve(describe(description)).unwrap();
    let (kind, message) = error(&emulated(&fleet).invoke_with(&new_key(), invocation()).await);
    assert!(kind == "OperationFailed" && message.contains("whose credentials"), "{kind} {message}");
    assert_eq!(fleet.calls().into_keys().collect::<Vec<_>>(), ["GetCallerIdentity"]);
}

#[tokio::test]
async fn while_the_record_is_out_of_reach_nothing_is_changed() {
    for call in ["GetItem", "PutItem"] {
        let mut description = fleet_of(json!([managed(0, json!({}))]));
        description["faults"] = json!({ call: "denied" });
        let (fleet, function) = start(description);
        let (kind, message) = error(&function.invoke(&of_key("retire_key", 0)).await);
        assert!(kind == "OperationFailed" && message.contains("nothing was done"), "{message}");
        assert_eq!(changes(&fleet), BTreeMap::new());
    }
}

#[tokio::test]
async fn a_refused_request_may_be_repeated_once_its_owner_has_tagged_the_key() {
    let (fleet, function) = start(fleet_of(json!([numbered_key(0, json!({}))])));
    assert_eq!(error(&function.invoke(&of_key("retire_key", 0)).await).0, "NotAllowed");
    let mut description = fleet.description();
    description.keys[0].tags.insert("kms-compliance/managed".to_owned(), "true".to_owned());
    fleet.replace(description).unwrap();
    let_time_pass(&fleet);
    assert_eq!(answered(function.invoke(&of_key("retire_key", 0)).await)["state"], "succeeded");
}
