//! The reporter's binary against a simulated fleet: what it tells, what it leaves, and everything that can be out of reach.

#![expect(clippy::unwrap_used, reason = "a test binary")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use common::engine::SmallCheck;
use common::{Asked, Team, for_people, for_programs, good, off, told};
use domain::ledger::Notify;
use futures::future::join_all;
use jiff::Timestamp;
use serde_json::{Value, json};
use simulated_fleet::harness::{TOPIC, WITH_LEDGER, error_message, error_type, fleet_of, ok};
use simulated_fleet::{Fleet, FunctionProcess, Invocation, Published, generated_key_id as id};

const BINARY: &str = env!("CARGO_BIN_EXE_reporter");
const OPERATIONS: &str = "arn:aws:sns:us-east-1:123456789012:operations";
const PART: &str = "123456789012#us-east-1#small-check";
/// The lease's own end is the deadline of the run that has it.
const SHORT: Duration = Duration::from_secs(6);

/// The team with the reporter.
async fn start(fleet: Value, settings: &[(&str, &str)]) -> (Team, FunctionProcess) {
    let team = Team::with(aws::config::sdk_config().load().await, fleet);
    let function = reporter(&team.fleet, settings);
    (team, function)
}

fn reporter(fleet: &Fleet, settings: &[(&str, &str)]) -> FunctionProcess {
    let settings: Vec<_> = [("SNS_TOPIC_ARN", TOPIC), WITH_LEDGER].iter().chain(settings).copied().collect();
    FunctionProcess::start(BINARY, fleet, &settings).unwrap()
}

fn with(keys: Value, more: &Value) -> Value {
    let mut fleet = fleet_of(keys);
    fleet.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fleet
}

/// A check of the daily check. How much waits after it?
async fn check(team: &Team, execution: &str) -> usize {
    #[expect(clippy::disallowed_methods, reason = "the binary under test reads the real clock")]
    let now = Timestamp::now();
    let asked = Asked { check: &SmallCheck, notify: Notify::Later, keys: None };
    team.check(asked, execution, now).await.unwrap().pending
}

fn event(execution: &str) -> Value {
    json!({"id": execution, "detail": {}})
}

fn early(execution: &str) -> Value {
    json!({"id": execution, "detail": {"min_severity": "CRITICAL"}})
}

/// What came of a check that failed, as the state machine writes it.
fn failed(execution: &str, place: &str, error: &str, cause: &str) -> Value {
    json!({"pk": format!("run#{execution}"), "sk": place, "error": error, "cause": cause, "expires_at": 4_102_444_800_u64})
}

/// What came of a check that answered.
fn reached(execution: &str, place: &str) -> Value {
    json!({
        "pk": format!("run#{execution}"), "sk": place, "expires_at": 4_102_444_800_u64,
        "complete": true, "keys_listed": 0, "keys_not_reached": 0, "controls": {}
    })
}

/// A lease that somebody has until then, in milliseconds since 1970.
fn lease(ends_at: u64) -> Value {
    json!({"pk": PART, "sk": "lease", "owner": "another", "attempt": "its own", "ends_at": ends_at, "telling": true})
}

/// The open findings that wait, as the ledger has them.
fn waiting(fleet: &Fleet) -> usize {
    fleet.items().iter().filter(|item| item.get("waits").is_some() && !item["pending"].is_null()).count()
}

fn on(topic: &str, fleet: &Fleet) -> Vec<Published> {
    fleet.published().into_iter().filter(|message| message.topic_arn == topic).collect()
}

#[tokio::test]
async fn what_a_check_recorded_is_told_once_and_marked() {
    let (team, function) = start(fleet_of(json!([off(0), good(1), off(2)])), &[]).await;
    assert_eq!(check(&team, "one").await, 2);
    assert_eq!((team.fleet.published().len(), waiting(&team.fleet)), (0, 2), "the check tells nobody");
    let outcome = function.invoke(&event("one")).await;
    let metrics = |logs: &[String]| logs.iter().any(|line| line.contains("TargetsReached"));
    assert!(metrics(&outcome.logs), "{:?}", outcome.logs);
    let answer = ok(outcome);
    let alerts =
        json!({"new": 2, "worsened": 0, "resolved": 0, "reminder": 0, "held_back": 0, "messages_published": 1});
    assert_eq!(answer["alerts"], alerts);
    assert_eq!((&answer["execution"], &answer["account_id"]), (&json!("one"), &json!("123456789012")));
    let counts = ["targets_planned", "targets_reached", "failed_checks", "parts_held", "failed_routes"];
    assert_eq!(counts.map(|count| &answer[count]), [&json!(1), &json!(1), &json!(0), &json!(0), &json!(0)]);
    let published = team.fleet.published();
    let [message] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!((message.topic_arn.as_str(), message.attributes["severity"].as_str()), (TOPIC, "MEDIUM"));
    assert_eq!(message.attributes["function"], r#"["small-check"]"#);
    let digest = for_programs(message);
    assert_eq!((&digest["schema"], &digest["complete"]), (&json!("kms-compliance-digest/1"), &json!(true)));
    assert_eq!(told(message), ["new enabled 0", "new enabled 2"]);
    let finding = &digest["new"][0];
    let place = ["function", "account_id", "region"].map(|field| finding[field].as_str().unwrap());
    assert_eq!(place, ["small-check", "123456789012", "us-east-1"]);
    let items = team.fleet.items();
    let open: Vec<&Value> = items.iter().filter(|item| item["sk"].as_str().unwrap().starts_with("open#")).collect();
    assert_eq!(open.len(), 2);
    assert!(open.iter().all(|item| item["pending"].is_null() && item["last_notified"]["change"] == "new"), "{open:?}");
    assert_eq!(team.unfinished(), [""; 0]);

    // The next day, and the same execution once more, are silent.
    assert_eq!(check(&team, "two").await, 0);
    team.fleet.clear_writes();
    for execution in ["two", "one"] {
        assert_eq!(ok(function.invoke(&event(execution)).await)["alerts"]["messages_published"], 0);
    }
    let writes = team.fleet.writes();
    assert!(writes.iter().all(|write| write.sk == "lease"), "nothing but leases: {writes:?}");

    team.fleet_is(fleet_of(json!([good(0), good(1), off(2)])));
    assert_eq!(check(&team, "three").await, 1);
    team.fleet.clear_published();
    assert_eq!(ok(function.invoke(&event("three")).await)["alerts"]["resolved"], 1);
    assert_eq!(team.heard(), ["resolved enabled 0"]);
    let kinds =
        |kind: &str| team.fleet.items().iter().filter(|it| it["sk"].as_str().unwrap().starts_with(kind)).count();
    assert_eq!((kinds("open#"), kinds("past#")), (1, 1));
}

#[tokio::test]
async fn a_digest_that_the_topic_did_not_take_comes_again() {
    join_all(["denied", "throttled", "not_found", "server_error", "hang"].map(async |fault| {
        let keys = || json!([off(0), off(1)]);
        let (team, function) = start(with(keys(), &json!({"faults": {"Publish": fault}})), &[]).await;
        check(&team, "one").await;
        let before = waiting(&team.fleet);
        let outcome =
            function.invoke_with(&event("one"), Invocation { deadline: SHORT, ..Invocation::default() }).await;
        assert_eq!(error_type(&outcome), "AlertNotDelivered", "{fault}: {outcome:?}");
        assert_eq!((waiting(&team.fleet), before, team.fleet.published().len()), (2, 2, 0), "{fault}");
        team.fleet_is(fleet_of(keys()));
        let answer = ok(function.invoke(&event("one, again")).await);
        assert_eq!(answer["alerts"]["new"], 2, "{fault}");
        assert_eq!(ok(function.invoke(&event("two")).await)["alerts"]["messages_published"], 0, "{fault}");
        assert_eq!(team.unfinished(), [""; 0], "{fault}");
    }))
    .await;
}

#[tokio::test]
async fn without_its_table_the_reporter_fails_before_it_tells_and_the_next_one_makes_up_for_it() {
    let cases = [
        ("PutItem", json!("denied")),
        ("PutItem", json!("throttled")),
        ("PutItem", json!("hang")),
        // The lease of the part, and then the second half of the reporter's own.
        ("PutItem", json!({"kind": "denied", "after_calls": 1})),
        ("PutItem", json!({"kind": "denied", "after_calls": 2})),
        ("PutItem", json!({"kind": "throttled", "after_calls": 3})),
        ("Query", json!("denied")),
        ("Query", json!("throttled")),
        ("Query", json!("garbled")),
        ("Query", json!("hang")),
        // The part itself, after the outcomes and the sixteen parts of the index.
        ("Query", json!({"kind": "denied", "after_calls": 18})),
    ];
    join_all(cases.map(async |(operation, fault)| {
        let keys = || json!([off(0), off(1)]);
        let (team, function) = start(fleet_of(keys()), &[]).await;
        check(&team, "one").await;
        team.fleet_is(with(keys(), &json!({"faults": {operation: fault}})));
        let outcome =
            function.invoke_with(&event("one"), Invocation { deadline: SHORT, ..Invocation::default() }).await;
        assert_eq!(error_type(&outcome), "LedgerUnavailable", "{operation} {fault}: {outcome:?}");
        assert!(error_message(&outcome).contains("findings is out of reach"), "{operation} {fault}: {outcome:?}");
        assert_eq!((team.fleet.published().len(), waiting(&team.fleet)), (0, 2), "{operation} {fault}");
        team.fleet_is(fleet_of(keys()));
        let answer = ok(function.invoke(&event("one, again")).await);
        assert_eq!((&answer["alerts"]["new"], team.fleet.published().len()), (&json!(2), 1), "{operation} {fault}");
    }))
    .await;
}

#[tokio::test]
async fn a_digest_that_could_not_be_marked_as_told_says_so_and_comes_again() {
    let (team, function) = start(fleet_of(json!([off(0)])), &[]).await;
    check(&team, "one").await;
    team.fleet_is(with(json!([off(0)]), &json!({"faults": {"BatchWriteItem": "denied"}})));
    let outcome = function.invoke(&event("one")).await;
    assert_eq!((error_type(&outcome), team.fleet.published().len()), ("LedgerUnavailable", 1));
    let message = error_message(&outcome);
    assert!(message.ends_with("the alert went out before that, and comes once more"), "{message}");
    team.fleet_is(fleet_of(json!([off(0)])));
    assert_eq!(ok(function.invoke(&event("one, again")).await)["alerts"]["new"], 1);
    assert_eq!(team.fleet.published().len(), 2);
}

#[tokio::test]
async fn a_part_that_another_run_holds_is_left_said_and_told_the_next_time() {
    let (team, function) = start(fleet_of(json!([off(0)])), &[]).await;
    check(&team, "one").await;
    team.fleet.put_item(&lease(4_102_444_800_000)).unwrap();
    // Something that can be told beside it.
    team.fleet
        .put_item(&failed("one", "222222222222#us-east-1#small-check", "TargetNotReachable", "role_missing: no"))
        .unwrap();
    let brief = Invocation { deadline: SHORT, ..Invocation::default() };
    let answer = ok(function.invoke_with(&event("one"), brief).await);
    assert_eq!((&answer["parts_held"], &answer["alerts"]["new"]), (&json!(1), &json!(1)));
    let published = team.fleet.published();
    let digest = for_programs(&published[0]);
    let left = json!([{"account_id": "123456789012", "region": "us-east-1", "function": "small-check"}]);
    assert_eq!(
        (&digest["left_to_next"], &digest["parts_left"], &digest["complete"]),
        (&left, &json!(1), &json!(false))
    );
    assert!(for_people(&published[0]).contains("small-check"), "{}", for_people(&published[0]));
    assert_eq!(told(&published[0]), ["new account-reachable 2"]);
    let items = team.fleet.items();
    assert!(items.contains(&lease(4_102_444_800_000)), "it is the other run's still");
    // Its time is over.
    team.fleet.put_item(&lease(1_000)).unwrap();
    team.fleet.clear_published();
    let answer = ok(function.invoke(&event("two")).await);
    assert_eq!((&answer["parts_held"], &answer["alerts"]["new"]), (&json!(0), &json!(1)));
    assert_eq!(team.heard(), ["new enabled 0"]);
    assert_eq!(team.unfinished(), [""; 0]);
}

#[tokio::test]
async fn a_part_that_another_run_gives_back_late_is_told_with_the_rest() {
    let (team, function) = start(fleet_of(json!([off(0)])), &[]).await;
    check(&team, "one").await;
    // A check of an execution beside this one, which takes longer than the first wait.
    #[expect(clippy::disallowed_methods, reason = "the binary under test reads the real clock")]
    let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap();
    team.fleet.put_item(&lease(now + 14_000)).unwrap();
    // One that is critical is told at once, and waits for nobody.
    let critical = function.invoke(&early("one")).await;
    assert!(critical.elapsed < Duration::from_secs(8), "{:?}", critical.elapsed);
    assert_eq!(ok(critical)["parts_held"], 1);
    let answer = ok(function.invoke(&event("one")).await);
    assert_eq!((&answer["parts_held"], &answer["alerts"]["new"]), (&json!(0), &json!(1)));
    assert_eq!(team.heard(), ["new enabled 0"]);
    assert_eq!(team.unfinished(), [""; 0]);
}

#[tokio::test]
async fn an_early_report_tells_what_is_critical_and_waits_and_nothing_else() {
    let (team, function) =
        start(fleet_of(json!([off(0), off(1), off(2)])), &[("OPERATIONS_TOPIC_ARN", OPERATIONS)]).await;
    let early_alerts = async || ok(function.invoke(&early("one")).await)["alerts"].clone();
    check(&team, "one").await;
    team.fleet
        .put_item(&failed("one", "222222222222#us-east-1#small-check", "TargetNotReachable", "role_missing: no"))
        .unwrap();
    team.fleet.put_item(&failed("one", "123456789012#us-east-1#other", "ListKeysFailed", "denied")).unwrap();
    assert_eq!(early_alerts().await["messages_published"], 0, "nothing is so bad");
    assert_eq!((team.fleet.published().len(), waiting(&team.fleet)), (0, 3));
    // One is, and one that was ended.
    for (n, pending) in [(0, "new"), (1, "resolved")] {
        let items = team.fleet.items();
        let mut item = items.into_iter().find(|item| item["key_id"] == id(n)).unwrap();
        item["severity"] = json!("CRITICAL");
        item["pending"] = json!(pending);
        team.fleet.put_item(&item).unwrap();
    }
    let alerts = early_alerts().await;
    assert_eq!((&alerts["new"], &alerts["resolved"], &alerts["messages_published"]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!(team.heard(), ["new enabled 0"]);
    let published = team.fleet.published();
    let digest = for_programs(&published[0]);
    assert_eq!((&digest["min_severity"], &digest["complete"]), (&json!("CRITICAL"), &json!(false)));
    assert_eq!(early_alerts().await["messages_published"], 0, "once");
    assert_eq!(waiting(&team.fleet), 2);
    // The rest is the last report's.
    team.fleet.clear_published();
    let answer = ok(function.invoke(&event("one")).await);
    assert_eq!((&answer["alerts"]["new"], &answer["alerts"]["resolved"]), (&json!(2), &json!(1)));
    let published = on(TOPIC, &team.fleet);
    assert_eq!(told(&published[0]), ["new account-reachable 2", "new enabled 2", "resolved enabled 1"]);
    assert_eq!(on(OPERATIONS, &team.fleet).len(), 1);
}

#[tokio::test]
async fn while_nobody_has_confirmed_a_subscription_the_digest_waits() {
    let nobody = json!({"subscriptions_confirmed": 0});
    let (team, function) = start(with(json!([off(0), off(1)]), &nobody), &[]).await;
    for execution in ["one", "two"] {
        check(&team, execution).await;
        let outcome = function.invoke(&event(execution)).await;
        assert!(outcome.logs.iter().any(|line| line.contains("nobody has confirmed a subscription")));
        let metric = outcome.logs.iter().find(|line| line.contains("AlertsHeldBack")).unwrap();
        let metric: Value = serde_json::from_str(metric).unwrap();
        assert_eq!(metric["AlertsHeldBack"], 2);
        let alerts = ok(outcome)["alerts"].clone();
        assert_eq!((&alerts["held_back"], &alerts["messages_published"]), (&json!(2), &json!(0)), "{execution}");
        assert_eq!((team.fleet.published().len(), waiting(&team.fleet)), (0, 2));
    }
    team.fleet_is(fleet_of(json!([off(0), off(1)])));
    let alerts = ok(function.invoke(&event("three")).await)["alerts"].clone();
    assert_eq!(
        (&alerts["new"], &alerts["held_back"], &alerts["messages_published"]),
        (&json!(2), &json!(0), &json!(1))
    );
    assert_eq!(ok(function.invoke(&event("four")).await)["alerts"]["messages_published"], 0);
}

#[tokio::test]
async fn an_account_out_of_reach_is_told_once_and_taken_back_once_it_is_reached() {
    let (team, function) = start(fleet_of(json!([good(0)])), &[]).await;
    let places = ["222222222222#us-east-1#small-check", "222222222222#us-east-1#other"];
    let missing =
        |execution: &str, place: &str| failed(execution, place, "TargetNotReachable", "role_missing: no such role");
    for (execution, is_reached, expected) in [
        ("one", [false, false], vec!["new account-reachable 2"]),
        ("two", [false, false], vec![]),
        // It is one finding as long as one check does not reach it.
        ("three", [true, false], vec![]),
        ("four", [true, true], vec!["resolved account-reachable 2"]),
        ("five", [true, true], vec![]),
        ("six", [false, true], vec!["new account-reachable 2"]),
    ] {
        check(&team, execution).await;
        for (place, is_reached) in places.iter().zip(is_reached) {
            let item = if is_reached { reached(execution, place) } else { missing(execution, place) };
            team.fleet.put_item(&item).unwrap();
        }
        team.fleet.clear_published();
        let answer = ok(function.invoke(&event(execution)).await);
        assert_eq!(team.heard(), expected, "{execution}");
        assert_eq!(answer["alerts"]["messages_published"], usize::from(!expected.is_empty()), "{execution}");
        let reached = if is_reached.contains(&true) { 2 } else { 1 };
        assert_eq!((&answer["targets_planned"], &answer["targets_reached"]), (&json!(2), &json!(reached)));
        assert_eq!(answer["failed_checks"], 0, "{execution}: an account out of reach is no check that failed");
        assert_eq!(answer["coverage_percent"] == 100.0, is_reached == [true, true], "{execution}: {answer}");
    }
    let open: Vec<_> =
        team.fleet.items().into_iter().filter(|it| it["sk"].as_str().unwrap().starts_with("open#")).collect();
    let places: Vec<_> = open.iter().map(|item| (&item["pk"], &item["key_arn"])).collect();
    assert_eq!(places, [(&json!("222222222222#us-east-1#reporter"), &json!("arn:aws:iam::222222222222:root"))]);
}

#[tokio::test]
async fn checks_that_failed_are_told_to_the_operators_in_one_message() {
    for settings in [&[("OPERATIONS_TOPIC_ARN", OPERATIONS)][..], &[]] {
        let (team, function) = start(fleet_of(json!([off(0)])), settings).await;
        check(&team, "one").await;
        let throttled = |place: &str| failed("one", place, "LedgerUnavailable", "the table was throttled");
        for item in [
            failed(
                "one",
                "123456789012#us-east-1#a",
                "ListKeysFailed",
                r#"{"errorType": "ListKeysFailed", "errorMessage": "denied"}"#,
            ),
            throttled("123456789012#us-east-1#b"),
            throttled("123456789012#eu-west-1#b"),
        ] {
            team.fleet.put_item(&item).unwrap();
        }
        let answer = ok(function.invoke(&event("one")).await);
        assert_eq!((&answer["failed_checks"], &answer["alerts"]["messages_published"]), (&json!(3), &json!(1)));
        let digest = for_programs(&on(TOPIC, &team.fleet)[0]);
        assert_eq!((&digest["checks_failed"], &digest["complete"]), (&json!(3), &json!(false)));
        let operations = on(OPERATIONS, &team.fleet);
        assert_eq!(operations.len(), settings.len());
        let Some(message) = operations.first() else { continue };
        assert_eq!(message.subject.as_deref(), Some("KMS compliance: 3 checks failed in the daily check"));
        for words in [
            "ListKeysFailed: denied",
            "LedgerUnavailable: the table was throttled",
            "b in account 123456789012, Region eu-west-1",
        ] {
            assert!(message.message.contains(words), "{words}: {}", message.message);
        }
        // An execution with nothing to tell but that says it all the same.
        team.fleet.clear_published();
        team.fleet.put_item(&failed("two", "123456789012#us-east-1#a", "States.Timeout", "")).unwrap();
        assert_eq!(ok(function.invoke(&event("two")).await)["failed_checks"], 1);
        assert_eq!((on(TOPIC, &team.fleet).len(), on(OPERATIONS, &team.fleet).len()), (0, 1));
    }
}

#[tokio::test]
async fn a_route_that_fails_neither_holds_up_nor_repeats_the_digest() {
    let topic = "arn:aws:sns:us-east-1:123456789012:routed";
    let routes = format!("123456789012={topic}");
    let settings = [("OPERATIONS_TOPIC_ARN", OPERATIONS), ("ROUTES", routes.as_str())];
    let (team, function) = start(fleet_of(json!([off(0)])), &settings).await;
    check(&team, "one").await;
    // The main topic takes it, the next call is the route's.
    let fault = json!({"kind": "denied", "after_calls": 1, "times": 1});
    team.fleet_is(with(json!([off(0)]), &json!({"faults": {"Publish": fault}})));
    let answer = ok(function.invoke(&event("one")).await);
    assert_eq!((&answer["failed_routes"], &answer["alerts"]["messages_published"]), (&json!(1), &json!(1)));
    let counts = [TOPIC, topic, OPERATIONS].map(|topic| on(topic, &team.fleet).len());
    assert_eq!(counts, [1, 0, 1]);
    assert!(on(OPERATIONS, &team.fleet)[0].message.contains(topic));
    let answer = ok(function.invoke(&event("two")).await);
    assert_eq!((&answer["failed_routes"], team.fleet.published().len()), (&json!(0), 2));
}

const UNIT: &str = "ou-abcd-11111111";

/// Two accounts with something to tell, a route by unit, one by account, and what the plan says.
#[expect(clippy::indexing_slicing, reason = "a helper of tests fails by panicking")]
async fn routed(plan: Option<&str>, faults: Value) -> (Value, Fleet, [usize; 3]) {
    let (by_unit, by_account) =
        ("arn:aws:sns:us-east-1:123456789012:by-unit", "arn:aws:sns:us-east-1:123456789012:by-account");
    let routes = format!("{UNIT}={by_unit},333333333333={by_unit},222222222222={by_account}");
    let settings = [("OPERATIONS_TOPIC_ARN", OPERATIONS), ("ROUTES", &routes), ("PLAN_BUCKET", "plans")];
    let (team, function) = start(with(json!([good(0)]), &json!({"faults": faults})), &settings).await;
    for account in ["222222222222", "333333333333", "444444444444"] {
        let place = format!("{account}#us-east-1#small-check");
        team.fleet.put_item(&failed("one", &place, "TargetNotReachable", "role_missing: no such role")).unwrap();
    }
    if let Some(plan) = plan {
        team.fleet.put_object("plans/plans/one.json", plan.to_owned());
    }
    let answer = ok(function.invoke(&event("one")).await);
    let told = [TOPIC, by_unit, by_account].map(|topic| on(topic, &team.fleet).iter().flat_map(told).count());
    // Nothing is left that would be told again.
    assert_eq!((waiting(&team.fleet), team.unfinished()), (0, vec![]));
    let messages = team.fleet.published().len();
    assert_eq!(ok(function.invoke(&event("two")).await)["alerts"]["messages_published"], 0);
    assert_eq!(team.fleet.published().len(), messages, "the route is not made up for, and nobody is told twice");
    (answer, team.fleet, told)
}

#[tokio::test]
async fn a_route_by_unit_is_told_of_the_accounts_that_the_plan_has_in_it() {
    let plan = format!(
        r#"[{{"account_id": "222222222222", "region": "us-east-1", "units": ["{UNIT}", "ou-abcd-22222222"]}},
            {{"account_id": "333333333333", "region": "us-east-1"}},
            {{"account_id": "444444444444", "region": "us-east-1", "units": ["ou-abcd-22222222"]}}]"#
    );
    let (answer, fleet, told) = routed(Some(&plan), json!({})).await;
    assert_eq!((told, &answer["failed_routes"]), ([3, 2, 1], &json!(0)));
    assert!(on(OPERATIONS, &fleet).is_empty());
    assert_eq!(fleet.calls()["GetObject"], 1, "and not where there is nothing to tell");
}

#[tokio::test]
async fn a_plan_that_is_no_help_is_said_and_takes_nothing_from_the_other_topics() {
    let other = r#"[{"account_id": "222222222222", "region": "us-east-1"}]"#;
    for (plan, faults, says) in [
        (None, json!({}), "s3://plans/plans/one.json was not read: NoSuchKey"),
        (Some("[]"), json!({"GetObject": "denied"}), "s3://plans/plans/one.json was not read: AccessDenied"),
        (Some("[]"), json!({"GetObject": "throttled"}), "s3://plans/plans/one.json was not read: "),
        (Some("[{"), json!({}), "the plan plans/one.json makes no sense: EOF"),
        (Some(r#"{"a": 1}"#), json!({}), "the plan plans/one.json makes no sense: invalid type: map"),
        (Some(other), json!({}), "the plan does not have 444444444444, which may be in its units"),
    ] {
        let (answer, fleet, told) = routed(plan, faults).await;
        // The route is told of the account that it names.
        assert_eq!((told, &answer["failed_routes"]), ([3, 1, 1], &json!(1)), "{says}");
        let operations = on(OPERATIONS, &fleet);
        assert_eq!(operations.len(), 1, "{says}");
        let text = &operations[0].message;
        assert!(text.contains(says) && text.contains(":by-unit: "), "{says}: {text}");
    }
}

#[tokio::test]
async fn units_without_a_bucket_of_plans_are_refused() {
    let fleet = Fleet::serve(simulated_fleet::harness::describe(fleet_of(json!([])))).unwrap();
    let routes = format!("{UNIT}={TOPIC}");
    let outcome = reporter(&fleet, &[("ROUTES", &routes)]).invoke(&json!({})).await;
    assert_eq!(error_type(&outcome), "InvalidConfiguration");
    assert!(error_message(&outcome).starts_with("`PLAN_BUCKET` is not set"), "{outcome:?}");
}

#[tokio::test]
async fn what_the_plan_says_of_its_targets_the_operators_hear_once_an_execution() {
    let notices = json!([
        {"about": "222222222222", "reason": "not_active", "detail": "the account is not active: left out", "needs_action": true},
        {"about": "cn-north-1", "reason": "other_partition", "detail": "the Region is of `aws-cn`", "needs_action": true},
        {"about": "organization", "reason": "organization_unknown", "detail": "as it is", "needs_action": false},
    ]);
    let event = json!({"id": "one", "detail": {"targets": 1, "notices": notices}});
    let (team, function) = start(fleet_of(json!([good(0)])), &[("OPERATIONS_TOPIC_ARN", OPERATIONS)]).await;
    check(&team, "one").await;
    let answer = ok(function.invoke(&event).await);
    assert_eq!((&answer["failed_checks"], &answer["alerts"]["messages_published"]), (&json!(0), &json!(0)));
    let published = team.fleet.published();
    let [message] = published.as_slice() else { panic!("{published:?}") };
    assert_eq!(message.topic_arn, OPERATIONS);
    assert_eq!(message.subject.as_deref(), Some("KMS compliance: 2 target notices in the daily check"));
    for words in ["222222222222: the account is not active: left out (not_active)", "cn-north-1: "] {
        assert!(message.message.contains(words), "{words}: {}", message.message);
    }
    assert!(!message.message.contains("organization_unknown"));
    // Those that may well be meant so are no reason for a mail.
    let event = json!({"id": "two", "detail": {"notices": [notices[2]]}});
    ok(function.invoke(&event).await);
    assert_eq!(team.fleet.published().len(), 1);
}

#[tokio::test]
async fn the_chat_hears_a_custom_notification_and_its_failure_counts_as_a_routes() {
    let chat = "arn:aws:sns:us-east-1:123456789012:chat";
    let settings = [("OPERATIONS_TOPIC_ARN", OPERATIONS), ("CHAT_TOPIC_ARN", chat)];
    let (team, function) = start(fleet_of(json!([off(0)])), &settings).await;
    check(&team, "one").await;
    ok(function.invoke(&event("one")).await);
    assert_eq!([TOPIC, chat, OPERATIONS].map(|topic| on(topic, &team.fleet).len()), [1, 1, 0]);
    let message = &on(chat, &team.fleet)[0];
    // Amazon Q Developer in chat applications reads the message itself: no subject, no structure for each protocol.
    assert_eq!(message.subject, None);
    let notification: Value = serde_json::from_str(&message.message).unwrap();
    assert_eq!((&notification["version"], &notification["source"]), (&json!("1.0"), &json!("custom")));
    let content = &notification["content"];
    assert!(content["title"].as_str().unwrap().contains("1 new"), "{notification}");
    assert!(content["description"].as_str().unwrap().contains("enabled"), "{notification}");
    // The next change: the main topic takes it, the chat's does not.
    team.fleet_is(with(
        json!([off(0), off(1)]),
        &json!({"faults": {"Publish": {"kind": "denied", "after_calls": 1, "times": 1}}}),
    ));
    check(&team, "two").await;
    team.fleet.clear_published();
    let answer = ok(function.invoke(&event("two")).await);
    assert_eq!((&answer["failed_routes"], &answer["alerts"]["messages_published"]), (&json!(1), &json!(1)));
    assert_eq!([TOPIC, chat, OPERATIONS].map(|topic| on(topic, &team.fleet).len()), [1, 0, 1]);
    assert!(on(OPERATIONS, &team.fleet)[0].message.contains(chat));
    let answer = ok(function.invoke(&event("three")).await);
    assert_eq!((&answer["failed_routes"], team.fleet.published().len()), (&json!(0), 2), "nothing comes again");
}

#[tokio::test]
async fn events_that_are_malformed_are_refused_by_the_name_of_what_is_wrong() {
    let (team, function) = start(fleet_of(json!([off(0)])), &[]).await;
    for (event, says) in [
        (json!({"detail": {"min_severity": "BAD"}}), "detail.min_severity: `BAD` is none of"),
        (json!({"detail": {"dry_run": "yes"}}), "detail.dry_run"),
        (json!({"detail": {"keys": []}}), "detail.keys: is no option"),
        (json!({"detail": "{"}), "detail"),
        (json!({"min_severity": "HIGH"}), "min_severity: is no field of an EventBridge event"),
        (json!([]), "event: an empty list is not an object"),
    ] {
        let outcome = function.invoke(&event).await;
        assert_eq!(error_type(&outcome), "InvalidEvent", "{event}");
        assert!(error_message(&outcome).contains(says), "{event}: {outcome:?}");
    }
    assert!(team.fleet.calls().is_empty(), "nothing is called");
}

#[tokio::test]
async fn settings_that_do_not_fit_are_refused_by_name() {
    let fleet = Fleet::serve(simulated_fleet::harness::describe(fleet_of(json!([])))).unwrap();
    for (variable, value) in [
        ("FINDINGS_TABLE", ""),
        ("OPERATIONS_TOPIC_ARN", "operations"),
        ("CHAT_TOPIC_ARN", "arn:aws:sqs:us-east-1:123456789012:q"),
        ("REPORT_BUCKET", "s3://reports"),
        ("ROUTES", "123456789012"),
        ("ROUTES", "ou-ab12=arn:aws:sns:us-east-1:123456789012:team"),
        ("PLAN_BUCKET", "s3://plans"),
    ] {
        let outcome = reporter(&fleet, &[(variable, value)]).invoke(&json!({})).await;
        assert_eq!(error_type(&outcome), "InvalidConfiguration", "{variable}");
        assert!(error_message(&outcome).contains(variable), "{outcome:?}");
    }
    assert!(fleet.calls().is_empty());
}

#[tokio::test]
async fn the_events_of_the_folder_are_answered_as_their_names_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/reporter");
    let (team, function) = start(fleet_of(json!([off(0)])), &[]).await;
    check(&team, "daily-check-2026-11-23").await;
    // In this order: what a report tells, the others would not any more.
    for (name, new, messages) in [("dry-run", 1, 0), ("early", 0, 0), ("report", 1, 1)] {
        let text = std::fs::read_to_string(folder.join(name).with_extension("json")).unwrap();
        team.fleet.clear_writes();
        let answer = ok(function.invoke(&serde_json::from_str(&text).unwrap()).await);
        let alerts = &answer["alerts"];
        assert_eq!((&alerts["new"], &alerts["messages_published"]), (&json!(new), &json!(messages)), "{name}");
        assert_eq!(answer["execution"], "daily-check-2026-11-23", "{name}");
        assert_eq!(team.fleet.writes().is_empty(), name == "dry-run", "{name}");
    }
    let text = std::fs::read_to_string(folder.join("open.json")).unwrap();
    assert_eq!(ok(function.invoke(&serde_json::from_str(&text).unwrap()).await)["open"], 1);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(
        files.collect::<BTreeSet<_>>(),
        BTreeSet::from(["dry-run.json", "early.json", "open.json", "report.json"].map(String::from))
    );
}

#[tokio::test]
async fn it_makes_the_calls_that_its_role_allows() {
    let (team, function) = start(
        fleet_of(json!([off(0)])),
        &[("REPORT_BUCKET", "reports"), ("PLAN_BUCKET", "plans"), ("ROUTES", &format!("{UNIT}={TOPIC}"))],
    )
    .await;
    check(&team, "one").await;
    team.fleet.clear_calls();
    ok(function.invoke(&event("one")).await);
    ok(function.invoke(&json!({"id": "ask", "detail": {"report": "open"}})).await);
    let lists: Value = serde_json::from_str(include_str!("../../../tests/calls.json")).unwrap();
    let listed = lists["reporter"].as_object().unwrap().values().flat_map(|calls| calls.as_array().unwrap());
    let listed: BTreeSet<String> = listed.map(|call| call.as_str().unwrap().to_owned()).collect();
    assert_eq!(team.fleet.calls().into_keys().collect::<BTreeSet<_>>(), listed);
    assert!(team.fleet.unknown_calls().is_empty());
}
