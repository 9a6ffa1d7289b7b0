//! Plans and runs the daily check of a whole organisation, by the functions' real binaries against one fleet that keeps to
//! AWS's quotas in each account and Region, and prints what it took. A number of targets is looked at side by side, as the
//! state machine's `MaxConcurrency` lets it, all checks of a target at once.
//!
//! ```sh
//! cargo build --release --bins
//! cargo run --release -p simulated-fleet --example organisation -- target/release 300 100 5,20,40
//! ```
//!
//! Binaries, accounts (each with four Regions), keys in each Region, numbers of targets side by side.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use serde_json::{Map, Value, json};
use simulated_fleet::harness::{TABLE, TOPIC, days_from_now, describe, ok};
use simulated_fleet::{Fleet, FunctionProcess, Invocation};

const CHECKS: [&str; 5] =
    ["access-checker", "health-prober", "key-age-checker", "rotation-checker", "usage-anomaly-scorer"];
const REGIONS: [&str; 4] = ["ap-southeast-2", "eu-west-1", "us-east-1", "us-west-2"];
/// Milliseconds that each call takes, as within a Region.
const LATENCY_MS: u64 = 10;

/// What all invocations of one check took together.
#[derive(Clone, Copy, Debug, Default)]
struct Took {
    invocations: u32,
    sum: Duration,
    longest: Duration,
    keys: u64,
}

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, clippy::unwrap_used, reason = "a command that prints a table")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "target/release".to_owned()));
    let mut number = |default: usize| arguments.next().map_or(default, |it| it.parse().unwrap());
    let (accounts, keys) = (number(300), number(100));
    let side_by_side = arguments.next().unwrap_or_else(|| "5,20,40".to_owned());
    for concurrency in side_by_side.split(',').map(|it| it.parse().unwrap()) {
        let fleet = Fleet::serve(describe(organisation(accounts, keys))).unwrap();
        let targets = plan(&fleet, &folder).await;
        fleet.clear_calls();
        let started = now();
        let took = check(&fleet, &folder, &targets, concurrency).await;
        let wall = started.elapsed();
        println!("\n{} targets, {concurrency} side by side: {:.0} s", targets.len(), wall.as_secs_f64());
        print(&fleet, &took, targets.len());
    }
}

/// Keys that rotate and are in use, in every Region of every account.
#[expect(clippy::indexing_slicing, reason = "a path into JSON")]
fn organisation(accounts: usize, keys: usize) -> Value {
    let rotation = json!({"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(30)});
    // The beginning of an hour.
    let start = format!("{}:00:00Z", &days_from_now(-30)[..13]);
    let usage = json!({"Decrypt": {"start": start, "repeat": [100], "hours": 30 * 24, "jitter": 0.1}});
    let region = json!({"keys": [{
        "count": keys, "creation_date": days_from_now(-200), "rotation": rotation, "usage": usage,
        "grants": [{"count": 2}],
    }]});
    let regions: Map<String, Value> = REGIONS.iter().map(|name| ((*name).to_owned(), region.clone())).collect();
    let account = |n: usize| (format!("2{n:011}"), json!({"regions": regions}));
    let accounts: Map<String, Value> = (0..accounts).map(account).collect();
    let mut fleet = json!({"quotas": true, "latency_ms": LATENCY_MS, "tables": [TABLE]});
    fleet["accounts"] = accounts.into();
    fleet
}

/// The targets, as the function plans them; the home's own account has no keys here and is left out.
#[expect(clippy::print_stdout, clippy::unwrap_used, reason = "a command that prints a table")]
async fn plan(fleet: &Fleet, folder: &Path) -> Vec<Value> {
    let regions = REGIONS.join(",");
    let settings = [
        ("PLAN_BUCKET", "plans"),
        ("TARGETS", "organization"),
        ("TARGET_REGIONS", regions.as_str()),
        ("EXCLUDED_ACCOUNTS", "123456789012"),
    ];
    let planner = FunctionProcess::start(folder.join("target-planner"), fleet, &settings).unwrap();
    let deadline = Duration::from_mins(15);
    let event = json!({"id": "daily", "detail": {}});
    let outcome = planner.invoke_with(&event, Invocation { deadline, ..Invocation::default() }).await;
    let calls = fleet.calls().get("ListAccounts").copied().unwrap_or_default();
    println!("the plan took {:.1} s and {calls} calls of ListAccounts", outcome.elapsed.as_secs_f64());
    ok(outcome);
    let objects = fleet.objects();
    serde_json::from_slice(objects.values().next().unwrap()).unwrap()
}

/// Looks at the targets, so many side by side, by processes that are kept as Lambda keeps its environments.
#[expect(clippy::unwrap_used, reason = "a command that prints a table")]
async fn check(fleet: &Fleet, folder: &Path, targets: &[Value], concurrency: usize) -> BTreeMap<&'static str, Took> {
    let settings = [
        ("SNS_TOPIC_ARN", TOPIC),
        ("FINDINGS_TABLE", TABLE),
        ("MEMBER_ROLE_NAME", "kms-compliance/kms-compliance-read"),
        ("AWS_LAMBDA_LOG_LEVEL", "WARN"),
    ];
    let took = RefCell::new(BTreeMap::new());
    let left = RefCell::new(targets.iter());
    let children = (0..concurrency).map(|_| async {
        let start = |name: &&'static str| (*name, FunctionProcess::start(folder.join(name), fleet, &settings).unwrap());
        let functions: Vec<_> = CHECKS.iter().map(start).collect();
        loop {
            let Some(target) = left.borrow_mut().next() else { break };
            let target = json!({"account_id": target.get("account_id"), "region": target.get("region")});
            let event = json!({"id": "daily", "detail": {"target": target, "notify": "later", "response": "summary"}});
            let runs = functions.iter().map(|(name, function)| async {
                let deadline = Duration::from_mins(15);
                let outcome = function.invoke_with(&event, Invocation { deadline, ..Invocation::default() }).await;
                let elapsed = outcome.elapsed;
                let keys = ok(outcome).get("keys_listed").and_then(Value::as_u64).unwrap_or_default();
                let mut took = took.borrow_mut();
                let took: &mut Took = took.entry(*name).or_default();
                took.invocations = took.invocations.saturating_add(1);
                took.sum = took.sum.saturating_add(elapsed);
                took.longest = took.longest.max(elapsed);
                took.keys = took.keys.saturating_add(keys);
            });
            join(join_all(runs), async {}).await;
        }
    });
    join_all(children).await;
    took.into_inner()
}

#[expect(clippy::print_stdout, reason = "a command that prints a table")]
fn print(fleet: &Fleet, took: &BTreeMap<&str, Took>, targets: usize) {
    println!("{:>22}  {:>6}  {:>9}  {:>9}  {:>9}", "check", "runs", "mean (s)", "worst (s)", "keys");
    for (name, Took { invocations, sum, longest, keys }) in took {
        let (mean, worst) = (sum.as_secs_f64() / f64::from((*invocations).max(1)), longest.as_secs_f64());
        println!("{name:>22}  {invocations:>6}  {mean:>9.2}  {worst:>9.2}  {keys:>9}");
    }
    let seconds: f64 = took.values().map(|it| it.sum.as_secs_f64()).sum();
    println!("billed: {seconds:.0} s; children: {targets}");
    for (operation, calls) in fleet.calls() {
        println!("{operation:>28}  {calls:>9}  busiest second {:>6}", fleet.peak_rate(&operation));
    }
}

#[expect(clippy::disallowed_methods, reason = "it measures real time")]
fn now() -> Instant {
    Instant::now()
}
