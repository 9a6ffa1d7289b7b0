//! Each call of the function with each fault: `fault_matrix.json` says what comes of it.

#![expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test binary")]

use std::collections::BTreeSet;
use std::path::Path;

use domain::plan::Row;
use serde_json::{Value, json};
use simulated_fleet::fault_matrix::{Cell, Matrix};
use simulated_fleet::harness::{describe, ok};
use simulated_fleet::{Fleet, FunctionProcess, Invocation};

const BINARY: &str = env!("CARGO_BIN_EXE_target-planner");
const UNIT: &str = "ou-abcd-11111111";
const INNER: &str = "ou-abcd-22222222";
const ROUTE: &str = "ou-abcd-11111111=arn:aws:sns:us-east-1:123456789012:team";

fn organisation() -> Value {
    json!({
        "organizational_units": {UNIT: "r-root", INNER: UNIT},
        "accounts": {
            "222222222222": {"parent": UNIT, "enabled_regions": ["us-east-1", "eu-west-1"]},
            "333333333333": {"parent": INNER, "enabled_regions": ["eu-west-1"]},
        },
    })
}

/// For what the call is made.
fn settings(call: &str) -> &'static [(&'static str, &'static str)] {
    match call {
        "ListAccounts for a list" => &[("TARGETS", "222222222222,333333333333")],
        "ListAccountsForParent" | "ListOrganizationalUnitsForParent" => &[("TARGETS", UNIT)],
        "ListRegions" => &[("TARGETS", "organization"), ("TARGET_REGIONS", "enabled")],
        _ if call.ends_with("for routes") => &[("TARGETS", "organization"), ("ROUTES", ROUTE)],
        _ => &[("TARGETS", "organization")],
    }
}

/// The plan, if one was written.
fn plan(fleet: &Fleet) -> Option<Vec<Row>> {
    fleet.objects().into_values().next().map(|object| serde_json::from_slice(&object).unwrap())
}

fn accounts(plan: &[Row]) -> BTreeSet<&str> {
    plan.iter().map(|row| row.account_id.as_str()).collect()
}

/// The word for what came of the call's fault: `right`, `fails: <error type>` or `noticed: <reasons>`.
async fn run(cell: &Cell) -> Result<String, String> {
    let event = json!({"id": "daily-1", "detail": {}});
    let settings: Vec<_> = [("PLAN_BUCKET", "plans")].iter().chain(settings(&cell.call)).copied().collect();
    let well = Fleet::serve(describe(organisation())).unwrap();
    ok(FunctionProcess::start(BINARY, &well, &settings).unwrap().invoke(&event).await);
    let right = plan(&well).unwrap();

    let mut faulty = organisation();
    faulty["faults"] = json!({ cell.operation(): cell.fault_in_fleet() });
    let fleet = Fleet::serve(describe(faulty)).unwrap();
    let function = FunctionProcess::start(Path::new(BINARY), &fleet, &settings).unwrap();
    let invocation = Invocation { deadline: cell.deadline(), ..Invocation::default() };
    let outcome = function.invoke_with(&event, invocation).await;
    if !fleet.calls().contains_key(cell.operation()) {
        return Err("the call was not made".to_owned());
    }
    if let Some(line) = outcome.logs.iter().find(|line| line.contains("panicked")) {
        return Err(line.clone());
    }
    let written = plan(&fleet);
    let word = match outcome.result {
        Err(error) if error.error_type.contains('.') => return Err(error.to_string()),
        Err(error) => format!("fails: {}", error.error_type),
        Ok(response) => {
            let written = written.clone().unwrap_or_default();
            let notices = response["notices"].as_array().unwrap().iter();
            let reasons: BTreeSet<_> = notices.map(|notice| notice["reason"].as_str().unwrap().to_owned()).collect();
            if accounts(&written) != accounts(&right) || (reasons.is_empty() && written != right) {
                return Err(format!("the plan is {written:?}"));
            }
            match reasons.into_iter().collect::<Vec<_>>().join(", ") {
                none if none.is_empty() => "right".to_owned(),
                reasons => format!("noticed: {reasons}"),
            }
        }
    };
    // Whoever fails has left no plan of fewer accounts.
    if written.is_some_and(|written| accounts(&written) != accounts(&right)) {
        return Err(format!("{word}; the plan lacks accounts"));
    }
    fleet.replace(describe(organisation())).unwrap();
    ok(function.invoke(&event).await);
    if plan(&fleet).as_ref() != Some(&right) {
        return Err(format!("{word}; the next plan is not right"));
    }
    Ok(word)
}

#[tokio::test]
async fn each_call_with_each_fault_ends_as_the_contract_says() {
    Matrix::read(include_str!("fault_matrix.json")).check(run).await;
}
