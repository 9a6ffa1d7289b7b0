//! The function's real binary against a simulated organisation.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

use std::collections::BTreeMap;

use domain::plan::Row;
use serde_json::{Value, json};
use simulated_fleet::harness::{assert_calls_are_those_granted, describe, error_message, error_type, ok};
use simulated_fleet::{Fleet, FunctionProcess, Outcome};

const BINARY: &str = env!("CARGO_BIN_EXE_target-planner");
const HOME: &str = "123456789012";
const UNIT: &str = "ou-abcd-11111111";
const INNER: &str = "ou-abcd-22222222";
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:team";

fn start(fleet: Value, settings: &[(&str, &str)]) -> (Fleet, FunctionProcess) {
    let fleet = Fleet::serve(describe(fleet)).unwrap();
    let settings: Vec<_> = [("PLAN_BUCKET", "plans")].iter().chain(settings).copied().collect();
    let function = FunctionProcess::start(BINARY, &fleet, &settings).unwrap();
    (fleet, function)
}

async fn planned(fleet: Value, settings: &[(&str, &str)]) -> (Fleet, Outcome) {
    let (fleet, function) = start(fleet, settings);
    let outcome = function.invoke(&json!({"id": "daily-1", "detail": {}})).await;
    (fleet, outcome)
}

/// The rows that were written, as `account region [units]`.
fn rows(fleet: &Fleet) -> Vec<String> {
    let objects = fleet.objects();
    assert_eq!(objects.keys().collect::<Vec<_>>(), ["plans/plans/daily-1.json"]);
    let rows: Vec<Row> = serde_json::from_slice(&objects["plans/plans/daily-1.json"]).unwrap();
    rows.iter()
        .map(|Row { account_id, region, units }| {
            let place = [account_id.as_str(), region.as_str()].into_iter();
            place.chain(units.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

/// The reasons of the notices, each with what it is about.
fn said(response: &Value) -> Vec<String> {
    let notices = response["notices"].as_array().unwrap().iter();
    notices.map(|it| format!("{} {}", it["about"].as_str().unwrap(), it["reason"].as_str().unwrap())).collect()
}

fn organisation() -> Value {
    json!({
        "organizational_units": {UNIT: "r-root", INNER: UNIT},
        "accounts": {
            "222222222222": {"parent": UNIT, "enabled_regions": ["us-east-1", "eu-west-1"]},
            "333333333333": {"parent": INNER, "enabled_regions": ["eu-west-1"]},
            "444444444444": {"state": null, "status": "SUSPENDED"},
            "555555555555": {"state": "PENDING_CLOSURE", "parent": UNIT},
            "999999999999": {"in_organization": false},
        },
    })
}

#[tokio::test]
async fn one_account_is_a_plan_of_one_row_and_nobody_is_asked() {
    let (fleet, outcome) = planned(organisation(), &[]).await;
    let response = ok(outcome);
    assert_eq!(rows(&fleet), ["123456789012 us-east-1"]);
    assert_eq!(fleet.calls(), BTreeMap::from([("PutObject".to_owned(), 1)]));
    assert_eq!(response["bucket"], "plans");
    assert_eq!(response["key"], "plans/daily-1.json");
    assert_eq!((&response["targets"], &response["accounts"]), (&json!(1), &json!(1)));
    assert_eq!((&response["notices"], &response["notices_omitted"]), (&json!([]), &json!(0)));
    assert!(response["expires_at"].as_i64().unwrap() > 1_700_000_000);
}

#[tokio::test]
async fn the_whole_organisation_with_the_regions_that_each_account_has() {
    let (fleet, outcome) = planned(organisation(), &[("TARGETS", "organization"), ("TARGET_REGIONS", "enabled")]).await;
    let response = ok(outcome);
    let expected =
        ["123456789012 us-east-1", "222222222222 eu-west-1", "222222222222 us-east-1", "333333333333 eu-west-1"];
    assert_eq!(rows(&fleet), expected);
    let left_out = json!({"not_active": 2, "excluded": 0, "beyond_organization": 0});
    assert_eq!(response["accounts_left_out"], left_out);
    // The home's own account goes by no name, and one that is left out is not asked about.
    assert_eq!(fleet.calls()["ListRegions"], 3);
    let named: Vec<_> = fleet.calls_for("ListRegions").into_keys().collect();
    assert_eq!(named, ["222222222222", "333333333333"]);
}

#[tokio::test]
async fn a_unit_is_read_with_the_units_in_it_and_the_plan_says_which_routed_ones_an_account_is_in() {
    let routes = format!("{UNIT}={TOPIC},{INNER}={TOPIC},{INNER}={TOPIC}-2,222222222222={TOPIC}");
    let (fleet, outcome) = planned(organisation(), &[("TARGETS", UNIT), ("ROUTES", &routes)]).await;
    let response = ok(outcome);
    let expected =
        ["222222222222 us-east-1 ou-abcd-11111111", "333333333333 us-east-1 ou-abcd-11111111 ou-abcd-22222222"];
    assert_eq!(rows(&fleet), expected);
    assert_eq!(response["accounts_left_out"]["not_active"], 1);
    let settings = [("TARGETS", "organization"), ("ROUTES", &format!("{UNIT}={TOPIC}"))];
    let (fleet, outcome) = planned(organisation(), &settings).await;
    ok(outcome);
    let expected = [
        "123456789012 us-east-1",
        "222222222222 us-east-1 ou-abcd-11111111",
        "333333333333 us-east-1 ou-abcd-11111111",
    ];
    assert_eq!(rows(&fleet), expected);
    // Where no route names a unit, nobody asks for units.
    let settings = [("TARGETS", "organization"), ("ROUTES", &format!("222222222222={TOPIC}"))];
    let (fleet, outcome) = planned(organisation(), &settings).await;
    ok(outcome);
    assert!(!fleet.calls().contains_key("ListAccountsForParent"), "{:?}", fleet.calls());
}

#[tokio::test]
async fn what_is_wrong_with_one_target_is_said_and_the_rest_goes_on() {
    let vanished = json!({"kind": "not_found"});
    let denied = json!({"kind": "denied"});
    let mut fleet = organisation();
    fleet["accounts"]["222222222222"]["faults"] = json!({"ListRegions": vanished});
    fleet["accounts"]["333333333333"]["faults"] = json!({"ListRegions": denied});
    let accounts = "222222222222,333333333333,222222222222,444444444444,999999999999,123456789012";
    let settings = [
        ("TARGETS", accounts),
        ("TARGET_REGIONS", "enabled"),
        ("EXCLUDED_ACCOUNTS", "123456789012"),
        ("ROUTES", "ou-abcd-99999999=arn:aws:sns:us-east-1:123456789012:team"),
    ];
    let (fleet, outcome) = planned(fleet, &settings).await;
    let response = ok(outcome);
    // An account whose Regions nobody knows stays in sight, in the home's.
    assert_eq!(rows(&fleet), ["222222222222 us-east-1", "333333333333 us-east-1"]);
    let expected = [
        "222222222222 named_twice",
        "444444444444 not_active",
        "999999999999 beyond_organization",
        "ou-abcd-99999999 unit_unknown",
        "222222222222 regions_unknown",
        "333333333333 regions_unknown",
    ];
    assert_eq!(said(&response), expected);
    assert!(response["notices"].as_array().unwrap().iter().all(|it| it["needs_action"] == true));
    let detail = response["notices"][5]["detail"].as_str().unwrap();
    assert!(detail.contains("us-east-1 alone") && detail.contains("account:ListRegions: AccessDenied"), "{detail}");
    let left_out = json!({"not_active": 1, "excluded": 1, "beyond_organization": 1});
    assert_eq!(response["accounts_left_out"], left_out);
}

#[tokio::test]
async fn regions_are_listed_left_out_and_told_apart_by_partition() {
    let settings = [
        ("TARGETS", "222222222222"),
        ("TARGET_REGIONS", "us-east-1,eu-west-1,cn-north-1,eu-central-1"),
        ("EXCLUDED_REGIONS", "eu-central-1"),
    ];
    let (fleet, outcome) = planned(organisation(), &settings).await;
    let response = ok(outcome);
    assert_eq!(rows(&fleet), ["222222222222 eu-west-1", "222222222222 us-east-1"]);
    assert_eq!(said(&response), ["cn-north-1 other_partition"]);
    assert!(!fleet.calls().contains_key("ListRegions"));
}

#[tokio::test]
async fn without_the_organisation_a_list_is_taken_as_it_is_and_nothing_else() {
    let refused = json!({"kind": "error", "code": "AWSOrganizationsNotInUseException", "message": "no organization"});
    for (fault, word, needs_action) in [
        (json!("denied"), "access_denied", false),
        (refused, "unexpected_response", false),
        (json!("throttled"), "throttled", true),
    ] {
        let mut fleet = organisation();
        fleet["faults"] = json!({"ListAccounts": fault, "ListAccountsForParent": fault});
        let (served, outcome) = planned(fleet.clone(), &[("TARGETS", "999999999999,222222222222")]).await;
        let response = ok(outcome);
        assert_eq!(said(&response), ["organization organization_unknown"]);
        assert_eq!(response["notices"][0]["needs_action"], needs_action, "{word}");
        assert_eq!(rows(&served), ["222222222222 us-east-1", "999999999999 us-east-1"]);
        for (targets, call) in [("organization", "ListAccounts"), (UNIT, "ListAccountsForParent")] {
            let (served, outcome) = planned(fleet.clone(), &[("TARGETS", targets)]).await;
            assert_eq!(error_type(&outcome), "TargetsNotListed");
            let message = error_message(&outcome);
            let expected = format!("{word}: cannot tell which accounts `{targets}` has: organizations:{call}: ");
            assert!(message.starts_with(&expected), "{message}");
            assert_eq!(served.objects(), BTreeMap::new());
        }
    }
}

#[tokio::test]
async fn a_throttled_organisation_is_asked_again_and_pages_are_read_to_their_end() {
    let accounts: serde_json::Map<String, Value> = (0..45).map(|n| (format!("2000000000{n:02}"), json!({}))).collect();
    for fault in [
        json!({"kind": "throttled", "times": 2}),
        json!({"kind": "empty_page"}),
        json!({"kind": "server_error", "times": 1}),
    ] {
        let fleet = json!({"accounts": accounts, "faults": {"ListAccounts": fault}});
        let (fleet, outcome) = planned(fleet, &[("TARGETS", "organization")]).await;
        assert_eq!(ok(outcome)["accounts"], 46, "{fault}");
        assert_eq!(rows(&fleet).len(), 46);
        assert!(fleet.calls()["ListAccounts"] >= 4 && fleet.peak_rate("ListAccounts") <= 3);
    }
}

#[tokio::test]
async fn an_empty_plan_is_an_error_that_says_why() {
    for (settings, why) in [
        ([("TARGETS", "444444444444"), ("TARGET_REGIONS", "")], "444444444444: not_active"),
        ([("TARGETS", ""), ("EXCLUDED_ACCOUNTS", HOME)], "1 are excluded"),
        ([("TARGETS", "222222222222"), ("TARGET_REGIONS", "cn-north-1")], "cn-north-1: other_partition"),
        ([("TARGETS", "222222222222"), ("EXCLUDED_REGIONS", "us-east-1")], "222222222222: no_region"),
    ] {
        let (fleet, outcome) = planned(organisation(), &settings).await;
        assert_eq!(error_type(&outcome), "EmptyPlan", "{settings:?}");
        assert!(error_message(&outcome).contains(why), "{}", error_message(&outcome));
        assert_eq!(fleet.objects(), BTreeMap::new());
    }
}

#[tokio::test]
async fn a_bucket_that_takes_no_plan_is_an_error_that_names_it() {
    for fault in ["denied", "not_found"] {
        let (_, outcome) = planned(json!({"faults": {"PutObject": fault}}), &[]).await;
        assert_eq!(error_type(&outcome), "PlanNotWritten");
        let message = error_message(&outcome);
        assert!(
            message.starts_with("the plan was not written to s3://plans/plans/daily-1.json: s3:PutObject: "),
            "{message}"
        );
    }
}

#[tokio::test]
async fn the_same_execution_again_writes_the_same_plan() {
    let (fleet, function) = start(organisation(), &[("TARGETS", "organization")]);
    let event = json!({"id": "daily-1", "detail": "{}"});
    let first = ok(function.invoke(&event).await);
    let written = fleet.objects();
    let second = ok(function.invoke(&event).await);
    assert_eq!(fleet.objects(), written);
    assert_eq!(first["targets"], second["targets"]);
}

#[tokio::test]
async fn events_that_name_no_plan_are_refused_before_any_call() {
    let (fleet, function) = start(organisation(), &[]);
    for (event, field) in [
        (json!({}), "id: is missing"),
        (json!({"id": "a/b"}), "id: `a/b`"),
        (json!({"id": "x", "detail": {"notify": "later"}}), "detail.notify: is no option"),
        (json!({"id": "x", "target": {}}), "target: is no field"),
        (json!("x"), "event: `x`"),
    ] {
        let outcome = function.invoke(&event).await;
        assert_eq!(error_type(&outcome), "InvalidEvent");
        assert!(error_message(&outcome).starts_with(field), "{}", error_message(&outcome));
    }
    assert_eq!(fleet.calls(), BTreeMap::new());
}

#[tokio::test]
async fn it_makes_the_calls_that_it_is_granted_and_no_others() {
    let settings = [("TARGETS", "organization,ou-abcd-11111111"), ("TARGET_REGIONS", "enabled")];
    let (fleet, outcome) = planned(organisation(), &settings).await;
    ok(outcome);
    assert_calls_are_those_granted(&fleet, "target-planner");
    assert_eq!(fleet.unknown_calls(), BTreeMap::new());
}
