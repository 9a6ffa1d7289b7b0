//! Judging keys by several checks at once, against a simulated fleet.

#![expect(clippy::unwrap_used, reason = "a test binary")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{LateCheck, SmallCheck, config_for, location};
use monitor::check::AnyCheck;
use monitor::deadlines::Deadlines;
use monitor::evaluation::{Evaluation, Monitor, Request};
use monitor::inventory::Begin;
use monitor::settings::{Environment, EvaluationSettings};
use monitor::target::Target;
use serde_json::{Value, json};
use simulated_fleet::Fleet;
use simulated_fleet::harness::{describe, fleet_of};

const TIME: Duration = Duration::from_mins(1);

async fn evaluate(fleet: &Fleet, checks: &[&dyn AnyCheck], time: Duration) -> Evaluation {
    let variables = [("KMS_QUOTA_SHARE".to_owned(), "1".to_owned())];
    let environment: Environment = variables.into_iter().collect();
    let settings = EvaluationSettings::read(&environment).unwrap();
    let config = config_for(fleet, aws::config::sdk_config().load().await);
    let target = Target { location: location(fleet), config, is_in_home_account: true };
    let now = "2026-11-23T06:00:00Z".parse().unwrap();
    let request = Request {
        keys: None,
        is_of_key_events: false,
        begin: Begin::ByDay(now),
        judged_at: now,
        verbose: true,
        known: BTreeSet::new(),
        excluded: BTreeSet::new(),
    };
    #[expect(clippy::disallowed_methods, reason = "the run has time from now on")]
    let deadlines = Deadlines::new(tokio::time::Instant::now(), time);
    Monitor { settings: &settings, checks }.evaluate(&target, &request, &deadlines).await.unwrap()
}

fn serve(keys: Value) -> Fleet {
    Fleet::serve(describe(fleet_of(keys))).unwrap()
}

#[tokio::test]
async fn two_checks_over_one_inventory_ask_for_the_facts_of_each_key_once() {
    let fleet = serve(json!([
        {"count": 600, "rotation": {"enabled": true}}, {"count": 390}, {"count": 10, "faults": {"DescribeKey": "denied"}}
    ]));
    let evaluation = evaluate(&fleet, &[&SmallCheck, &LateCheck], TIME).await;
    let calls = fleet.calls();
    assert_eq!((calls["DescribeKey"], calls["GetKeyRotationStatus"], calls["ListAliases"]), (1_000, 990, 1));
    assert_eq!(calls["ListResourceTags"], 390, "once for each key with a finding");
    let [small, late] = evaluation.checks.as_slice() else { panic!("two checks") };
    assert_eq!((small.report.function, late.report.function), ("small-check", "late-check"));
    for report in [&small.report, &late.report] {
        assert_eq!((report.keys_listed, report.keys_not_reached, report.complete), (1_000, 0, true));
        assert!(report.controls.values().all(|counts| counts.total() == 1_000));
    }
    let enabled = small.report.controls["enabled"];
    assert_eq!((enabled.compliant, enabled.non_compliant, enabled.insufficient_data), (600, 390, 10));
    let switched_on = late.report.controls["switched-on"];
    assert_eq!((switched_on.compliant, switched_on.insufficient_data), (990, 10), "provisional verdicts are finished");
    assert_eq!(evaluation.kms_calls, calls.values().sum::<u64>());
}

#[tokio::test]
async fn several_checks_say_what_each_alone_says() {
    let keys = || {
        json!([
            {"rotation": {"enabled": true}}, {}, {"key_manager": "AWS"}, {"key_state": "Creating"},
            {"faults": {"DescribeKey": "not_found"}}, {"faults": {"GetKeyRotationStatus": "denied"}},
        ])
    };
    let fleet = serve(keys());
    let both = evaluate(&fleet, &[&LateCheck, &SmallCheck], TIME).await;
    for (together, alone) in both.checks.iter().zip([&LateCheck as &dyn AnyCheck, &SmallCheck]) {
        let alone = evaluate(&fleet, &[alone], TIME).await;
        let lines = |report: &domain::report::Report| report.evaluations.clone().unwrap().lines;
        assert_eq!(lines(&together.report), lines(&alone.checks[0].report));
        assert_eq!(together.report.findings, alone.checks[0].report.findings);
        assert_eq!(together.report.controls, alone.checks[0].report.controls);
    }
}

#[tokio::test]
async fn keys_that_time_does_not_reach_are_counted_once_for_each_check() {
    let mut slow = fleet_of(json!([{"count": 2_000}]));
    slow["latency_ms"] = json!(300);
    let fleet = Fleet::serve(describe(slow)).unwrap();
    let evaluation = evaluate(&fleet, &[&SmallCheck, &LateCheck], Duration::from_secs(4)).await;
    for check in &evaluation.checks {
        let report = &check.report;
        assert!(report.keys_not_reached > 0 && !report.complete);
        assert_eq!(report.keys_listed + report.keys_not_reached, 2_000);
    }
}
