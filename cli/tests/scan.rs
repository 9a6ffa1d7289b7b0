//! The real program against a simulated fleet: its verdicts, its forms, its exit codes, and every way to call it wrongly.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test binary")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use aws::config::sdk_config;
use aws_config::Region;
use jiff::Timestamp;
use lambda::Handler;
use lambda_runtime::{Context, LambdaEvent};
use monitor::check::Check;
use monitor::settings::Environment;
use serde_json::{Value, json};
use simulated_fleet::harness::{TOPIC, days_from_now, describe, verdicts};
use simulated_fleet::{Fault, FaultKind, Fleet, FleetDescription, Operation};

const BINARY: &str = env!("CARGO_BIN_EXE_kms-compliance");
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/simulated-fleet/fleets/example.json");
/// Whole quotas, so that nobody waits.
const FAST: [&str; 4] = ["scan", "--quota-share", "1", "--ask-all"];

/// The program with nothing of this machine's environment but what it needs.
fn command(home: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("HOME", home).env("AWS_EC2_METADATA_DISABLED", "true").env("LANG", "C.UTF-8");
    command.stdin(Stdio::null());
    command
}

fn with_credentials(fleet: &Fleet, home: &Path) -> Command {
    let mut command = command(home);
    command
        .env("AWS_ENDPOINT_URL", fleet.endpoint())
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "simulated")
        .env("AWS_SECRET_ACCESS_KEY", "simulated");
    command
}

fn serve(fleet: Value) -> Fleet {
    Fleet::serve(describe(fleet)).unwrap()
}

fn scan(fleet: &Fleet, more: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    with_credentials(fleet, home.path()).args(FAST).args(more).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn assert_ends(output: &Output, expected: i32, says: &[&str]) {
    let told = stderr(output);
    assert_eq!(code(output), expected, "{told}\n{}", stdout(output));
    for part in says {
        assert!(told.contains(part), "`{part}` is not in: {told}");
    }
    assert!(!told.contains("panicked"), "{told}");
}

/// A key that no control finds anything wrong with.
fn healthy() -> Value {
    json!({
        "aliases": ["alias/payments"], "creation_date": days_from_now(-20),
        "rotation": {"enabled": true, "period_in_days": 365, "next_rotation_date": days_from_now(300)},
        "last_usage": {"operation": "Decrypt", "timestamp": days_from_now(-1)},
    })
}

fn disabled() -> Value {
    json!({"aliases": ["alias/old"], "key_state": "Disabled", "creation_date": days_from_now(-20)})
}

fn denied() -> Value {
    json!({"aliases": ["alias/closed"], "faults": {"DescribeKey": "denied"}})
}

// ---- The same verdicts as the functions' -------------------------------------------------------------------------------

/// The verbose response of a function over that fleet, as its handler gives it.
async fn response<C: Check>(description: FleetDescription) -> Value {
    let fleet = Fleet::serve(description).unwrap();
    let settings = [("SNS_TOPIC_ARN", TOPIC), ("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1")];
    let environment: Environment =
        settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    let config =
        sdk_config().region(Region::new("us-east-1")).endpoint_url(fleet.endpoint()).test_credentials().load().await;
    let handler = Handler::<C>::new(&environment, config).unwrap();
    let now = now();
    let mut context = Context::default();
    context.deadline = u64::try_from(now.as_millisecond() + 600_000).unwrap();
    context.invoked_function_arn = fleet.arn("lambda", "function:f");
    let event = json!({"detail": {"verbose": true, "dry_run": true}});
    serde_json::to_value(handler.answer(LambdaEvent::new(event, context), now).await.unwrap()).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[tokio::test]
async fn a_scan_says_what_the_functions_say_row_by_row() {
    let example = || FleetDescription::load(EXAMPLE).unwrap();
    let fleet = Fleet::serve(example()).unwrap();
    let output = scan(&fleet, &["--format", "json"]);
    assert_ends(&output, 4, &[]);
    let scanned: Value = serde_json::from_slice(&output.stdout).unwrap();
    let responses = [
        response::<rotation_checker::RotationChecker>(example()).await,
        response::<key_age_checker::KeyAgeChecker>(example()).await,
        response::<health_prober::HealthProber>(example()).await,
        response::<usage_anomaly_scorer::UsageAnomalyScorer>(example()).await,
        response::<access_checker::AccessChecker>(example()).await,
    ];
    assert_eq!(scanned.as_array().unwrap().len(), responses.len());
    let mut differ = BTreeSet::new();
    for (scanned, response) in scanned.as_array().unwrap().iter().zip(&responses) {
        let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(members(scanned), members(response));
        for member in ["function", "account_id", "region", "complete", "keys_listed", "keys_not_reached"] {
            assert_eq!(scanned[member], response[member], "{member}");
        }
        let (by_scan, by_function) = (verdicts(scanned), verdicts(response));
        assert_eq!(by_scan.keys().collect::<Vec<_>>(), by_function.keys().collect::<Vec<_>>());
        for (row, verdict) in &by_function {
            if by_scan[row] != *verdict {
                assert_eq!(
                    (row.1.as_str(), by_scan[row].1.as_str()),
                    ("round-trip", "not_selected"),
                    "{row:?} {verdict:?}"
                );
                differ.insert(row.1.clone());
            }
        }
        // Findings too, word by word, but for those of a round trip.
        let findings = |response: &Value| {
            let findings = response["findings"].as_array().unwrap().iter().filter(|it| it["control"] != "round-trip");
            findings.cloned().collect::<Vec<_>>()
        };
        assert_eq!(findings(scanned), findings(response));
    }
    assert_eq!(differ, BTreeSet::from(["round-trip".to_owned()]), "the example fleet has keys that opted in");
}

#[test]
fn a_scan_only_reads_and_makes_no_call_that_its_policy_does_not_allow() {
    let enabled_regions = Some(vec!["eu-west-1".to_owned(), "us-east-1".to_owned()]);
    // So that EC2 is asked for the Regions as well.
    let faults = [(Operation::ListRegions, Fault::new(FaultKind::Denied))].into();
    let description = FleetDescription { enabled_regions, faults, ..FleetDescription::load(EXAMPLE).unwrap() };
    let fleet = Fleet::serve(description).unwrap();
    let output = scan(&fleet, &["--all-regions", "--set", "REQUIRED_TAGS=owner"]);
    assert_ends(&output, 4, &["eu-west-1: 2 keys", "us-east-1: 43 keys"]);
    assert_eq!((fleet.mutations(), fleet.published().len(), fleet.unknown_calls()), (0, 0, BTreeMap::new()));
    let home = tempfile::tempdir().unwrap();
    let document = command(home.path()).arg("policy-document").output().unwrap();
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    let actions = document["Statement"][0]["Action"].as_array().unwrap().iter().map(|it| it.as_str().unwrap());
    let mut allowed: BTreeSet<String> = actions.map(|it| it.split_once(':').unwrap().1.to_owned()).collect();
    allowed.insert("GetCallerIdentity".to_owned());
    assert_eq!(fleet.calls().into_keys().collect::<BTreeSet<_>>(), allowed);
}

#[test]
fn no_setting_and_no_tag_makes_a_scan_use_a_key() {
    let mut key = healthy();
    key["tags"] = json!({"kms-compliance/probe": "true"});
    let fleet = serve(json!({"keys": [key]}));
    let arn = fleet.arn("kms", &format!("key/{}", simulated_fleet::generated_key_id(0)));
    let output = scan(&fleet, &["--format", "json", "--control", "round-trip", "--set", &format!("PROBE_KEYS={arn}")]);
    assert_ends(&output, 0, &[]);
    let responses: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(responses.as_array().unwrap().len(), 1, "one function has that control");
    let lines = responses[0]["evaluations"].as_array().unwrap();
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["reason"], &lines[0]["control"]), (&json!("not_selected"), &json!("round-trip")));
    for call in ["Encrypt", "Decrypt", "Sign", "Verify", "GenerateMac", "VerifyMac"] {
        assert_eq!(fleet.calls().get(call), None, "{call}");
    }
}

// ---- Exit codes --------------------------------------------------------------------------------------------------------

#[test]
fn nothing_wrong_ends_with_0() {
    let output = scan(&serve(json!({"keys": [healthy()]})), &["--fail-on", "LOW"]);
    assert_ends(
        &output,
        0,
        &["role/simulated/function scans 123456789012 in us-east-1", "us-east-1: 1 key, 0 findings"],
    );
    assert!(stdout(&output).contains("1 key in us-east-1, 22 controls: nothing is wrong that could be seen."));
}

#[test]
fn findings_end_with_3_if_they_are_as_severe_as_that() {
    let fleet = serve(json!({"keys": [healthy(), disabled()]}));
    for (more, expected) in [
        (&[][..], 0),
        (&["--fail-on", "never"], 0),
        (&["--fail-on", "medium"], 3),
        (&["--fail-on", "LOW"], 3),
        (&["--fail-on", "HIGH"], 0),
        // What is not listed counts all the same.
        (&["--fail-on", "MEDIUM", "--severity", "HIGH"], 3),
        // What is not asked for does not.
        (&["--fail-on", "MEDIUM", "--control", "pending-deletion"], 0),
    ] {
        assert_eq!(code(&scan(&fleet, more)), expected, "{more:?}");
    }
}

#[test]
fn what_is_exempt_is_no_failure() {
    let mut key = disabled();
    let until = &days_from_now(20)[..10];
    key["tags"] =
        json!({"kms-compliance/exempt/key-usable": format!("until={until} owner=\u{1b}[31mana reason=\u{202e}<b>")});
    let output = scan(&serve(json!({"keys": [key]})), &["--fail-on", "LOW"]);
    assert_ends(&output, 0, &[]);
    let text = stdout(&output);
    assert!(text.contains("EXEMPT  1 finding") && text.contains("<b>"), "{text}");
    assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
}

#[test]
fn what_could_not_be_read_ends_with_4_and_findings_go_before() {
    let fleet = serve(json!({"keys": [denied(), healthy()]}));
    assert_ends(&scan(&fleet, &[]), 4, &["denied are kms:DescribeKey", "kms-compliance policy-document"]);
    let fleet = serve(json!({"keys": [healthy()], "faults": {"GetKeyPolicy": "denied", "ListMetrics": "denied"}}));
    assert_ends(&scan(&fleet, &[]), 4, &["denied are cloudwatch:ListMetrics, kms:GetKeyPolicy"]);
    let fleet = serve(json!({"keys": [disabled(), denied()]}));
    assert_eq!(code(&scan(&fleet, &["--fail-on", "MEDIUM"])), 3);
    let fleet = serve(json!({"page_size": 1, "keys": [healthy(), disabled()],
                             "faults": {"ListKeys": {"kind": "denied", "after_calls": 2}}}));
    assert_ends(&scan(&fleet, &[]), 4, &[]);
}

#[test]
fn what_passes_by_itself_is_no_incompleteness() {
    let fleet = serve(json!({"keys": [healthy(), {"key_state": "Creating"}]}));
    let output = scan(&fleet, &[]);
    assert_ends(&output, 0, &["22 not yet"]);
    assert!(stdout(&output).contains("key_in_transition: 22 evaluations"));
}

#[test]
fn a_key_that_does_not_exist_is_not_known() {
    let output = scan(&serve(json!({"keys": [healthy()]})), &["--key", "alias/payments", "--key", "alias/nowhere"]);
    assert_ends(&output, 4, &[]);
    assert!(stdout(&output).contains("not_found: no key has this alias"), "{}", stdout(&output));
}

#[test]
fn a_scan_that_cannot_begin_ends_with_1_and_says_why() {
    let fault = |operation: &str, code: &str| json!({"keys": [healthy()], "faults": {operation: {"kind": "error", "code": code, "status": 403, "message": "no"}}});
    for (fleet, more, says) in [
        (fault("GetCallerIdentity", "ExpiredToken"), &[][..], &["the credentials have expired", "get new ones"][..]),
        (fault("GetCallerIdentity", "InvalidClientTokenId"), &[], &["AWS does not accept the credentials"]),
        (fault("ListKeys", "UnrecognizedClientException"), &[], &["us-east-1: the Region is not enabled"]),
        (
            json!({"keys": [], "faults": {"ListKeys": "denied"}}),
            &[],
            &["kms:ListKeys is denied", "kms-compliance policy-document"],
        ),
        (
            json!({"faults": {"ListRegions": "denied", "DescribeRegions": "denied"}}),
            &["--all-regions"],
            &[
                "account:ListRegions: AccessDeniedException: ",
                "ec2:DescribeRegions: UnauthorizedOperation: ",
                "Allow one of both",
                "kms-compliance policy-document",
                "--region",
            ],
        ),
        (
            json!({"accounts": {"222222222222": {"role_name": "auditor", "external_id": "right"}}}),
            &["--role", "arn:aws:iam::222222222222:role/auditor", "--external-id", "wrong"],
            &["the role `arn:aws:iam::222222222222:role/auditor` cannot be assumed", "AccessDenied"],
        ),
        (json!({}), &["--profile", "nobody"], &["no credentials by profile `nobody`"]),
    ] {
        let output = scan(&serve(fleet), more);
        assert_ends(&output, 1, says);
        assert_eq!(stdout(&output), "");
    }
}

/// The Regions that a scan of all of them says it looks at, with these faults of the two calls that tell.
#[test]
fn all_regions_are_those_that_either_service_names() {
    let says_both = "scans 123456789012 in eu-west-1, us-east-1";
    for (faults, expected, says, asked) in [
        (json!({}), 0, says_both, (1, 0)),
        (json!({"DescribeRegions": "denied"}), 0, says_both, (1, 0)),
        (json!({"ListRegions": "denied"}), 0, says_both, (1, 1)),
        // Where a partition has no such service.
        (json!({"ListRegions": {"kind": "error", "code": "UnknownOperationException"}}), 0, says_both, (1, 1)),
        (json!({"ListRegions": "server_error"}), 0, says_both, (3, 1)),
        (json!({"ListRegions": "denied", "DescribeRegions": {"kind": "throttled", "times": 2}}), 0, says_both, (1, 3)),
        (json!({"ListRegions": "denied", "DescribeRegions": {"kind": "cut", "times": 1}}), 0, says_both, (1, 2)),
        (json!({"ListRegions": "denied", "DescribeRegions": {"kind": "truncated", "times": 1}}), 0, says_both, (1, 2)),
        (json!({"ListRegions": "denied", "DescribeRegions": "truncated"}), 1, "or not whole", (1, 3)),
        (json!({"ListRegions": "denied", "DescribeRegions": "garbled"}), 1, "or not whole", (1, 3)),
        (json!({"ListRegions": "denied", "DescribeRegions": "server_error"}), 1, "InternalError", (1, 3)),
    ] {
        let fleet = serve(json!({
            "enabled_regions": ["eu-west-1", "us-east-1"], "keys": [healthy()], "faults": faults,
            "regions": {"eu-west-1": {"keys": [healthy()]}},
        }));
        let output = scan(&fleet, &["--all-regions", "--control", "key-usable"]);
        assert_ends(&output, expected, &[says]);
        let calls = |operation: &str| fleet.calls().get(operation).copied().unwrap_or_default();
        assert_eq!((calls("ListRegions"), calls("DescribeRegions")), asked, "{faults}");
    }
}

/// A role's session may not list the Regions of the fleet's account, and EC2 knows it by its own signature.
#[test]
fn all_regions_of_a_role_are_those_of_its_account() {
    let fleet = serve(json!({"keys": [disabled()], "enabled_regions": ["us-east-1"], "accounts": {"222222222222": {
        "role_name": "auditor", "enabled_regions": ["ap-southeast-2", "eu-west-1"],
        "regions": {"ap-southeast-2": {"keys": [healthy()]}, "eu-west-1": {"keys": [healthy()]}},
    }}}));
    let role = ["--role", "arn:aws:iam::222222222222:role/auditor", "--all-regions", "--control", "key-usable"];
    assert_ends(&scan(&fleet, &role), 0, &["scans 222222222222 in ap-southeast-2, eu-west-1"]);
    assert_eq!((fleet.calls()["DescribeRegions"], fleet.calls()["AssumeRole"]), (1, 1));
}

#[test]
fn credentials_that_expire_in_the_middle_leave_what_was_known() {
    let expired = json!({"kind": "error", "code": "ExpiredTokenException", "message": "expired"});
    let late = json!({"aliases": ["alias/late"], "faults": {"DescribeKey": expired}});
    let output = scan(&serve(json!({"keys": [disabled(), late]})), &["--control", "key-usable"]);
    assert_ends(&output, 4, &["1 finding, 1 not known"]);
    let text = stdout(&output);
    assert!(
        text.contains("alias/old") && text.contains("ExpiredTokenException") && text.contains("alias/late"),
        "{text}"
    );
}

#[test]
fn without_credentials_it_says_where_they_come_from() {
    let home = tempfile::tempdir().unwrap();
    let output = command(home.path()).args(["scan", "--region", "us-east-1"]).output().unwrap();
    assert_ends(&output, 1, &["no credentials", "--profile"]);
}

#[test]
fn an_aws_that_is_not_there_cannot_be_reached() {
    let home = tempfile::tempdir().unwrap();
    let mut command = with_credentials(&serve(json!({})), home.path());
    let output = command.env("AWS_ENDPOINT_URL", "http://127.0.0.1:1").arg("scan").output().unwrap();
    assert_ends(&output, 1, &["AWS cannot be reached"]);
}

#[test]
fn one_region_that_fails_is_a_line_and_not_the_end() {
    let fleet = serve(json!({"keys": [healthy()], "regions": {
        "eu-west-1": {"keys": [disabled()]},
        "me-south-1": {"faults": {"ListKeys": {"kind": "error", "code": "UnrecognizedClientException"}}},
    }}));
    let output = scan(&fleet, &["--region", "us-east-1,eu-west-1", "--region", "me-south-1"]);
    assert_ends(&output, 4, &["warning: me-south-1: the Region is not enabled for this account"]);
    let text = stdout(&output);
    assert!(text.contains("2 keys in eu-west-1, us-east-1"), "{text}");
    assert!(text.contains("me-south-1: the Region is not enabled for this account"), "{text}");
}

#[test]
fn a_call_that_makes_no_sense_ends_with_2_and_names_what() {
    let fleet = serve(json!({"keys": [healthy()]}));
    for (arguments, says) in [
        (&["--control", "rotation"][..], &["rotation", "rotation-enabled"][..]),
        (&["--region", "Ireland"], &["Ireland", "it must be the name of a Region"]),
        (&["--key", "a b"], &["a b", "it must be a key ID, a key ARN, an alias"]),
        (&["--exclude-key", "arn:aws:s3:::x"], &["arn:aws:s3:::x"]),
        (&["--format", "xml"], &["xml", "table, json, csv, html"]),
        (&["--set", "MAX_KEY_AGE=1"], &["MAX_KEY_AGE", "MAX_KEY_AGE_DAYS"]),
        (&["--set", "MAX_KEY_AGE_DAYS"], &["it must be NAME=VALUE"]),
        (&["--set", "MAX_KEY_AGE_DAYS=old"], &["`MAX_KEY_AGE_DAYS` is `old`; it must be a whole number"]),
        (&["--set", "SNS_TOPIC_ARN=arn:aws:sns:us-east-1:123456789012:a"], &["SNS_TOPIC_ARN"]),
        (&["--quota-share", "2"], &["`KMS_QUOTA_SHARE` is `2`"]),
        (&["--max-time", "0s"], &["0s", "it must be a time such as"]),
        (&["--max-time", "soon"], &["soon"]),
        (&["--as-of", "tomorrow"], &["tomorrow"]),
        (&["--as-of", "2026-12-31T00:00:00Z", "--control", "key-usable"], &["`key-usable` cannot be judged --as-of"]),
        (&["--role", "auditor"], &["auditor", "it must be the ARN of an IAM role"]),
        (&["--external-id", "x"], &["--role"]),
        (&["--all-regions", "--region", "us-east-1"], &["--all-regions"]),
        (&["--fail-on", "bad"], &["bad"]),
        (&["--severity", "none"], &["none"]),
        (&["--output", "result.pdf"], &["`result.pdf`: it must end in .json, .csv, .html or .txt"]),
        (&["--output", "/nowhere/result.csv"], &["`/nowhere/result.csv` cannot be written"]),
        (&["--since-table", "a b"], &["`a b`: it must be the name of a DynamoDB table"]),
        (
            &["--region", "us-east-1,eu-west-1", "--key", "alias/payments"],
            &["`alias/payments` could be in any of 2 Regions"],
        ),
        (
            &["--region", "us-east-1", "--key", "arn:aws:kms:eu-west-1:123456789012:key/k"],
            &["is in eu-west-1, which is not scanned"],
        ),
        (&["--quiet", "--verbose"], &["--verbose"]),
    ] {
        let home = tempfile::tempdir().unwrap();
        let output = with_credentials(&fleet, home.path()).arg("scan").args(arguments).output().unwrap();
        assert_ends(&output, 2, says);
        assert_eq!(stdout(&output), "", "{arguments:?}");
    }
    assert_eq!(fleet.calls().get("DescribeKey"), None, "nothing is asked about keys");
}

#[test]
fn without_a_region_it_says_how_to_name_one() {
    let home = tempfile::tempdir().unwrap();
    let mut command = with_credentials(&serve(json!({})), home.path());
    assert_ends(
        &command.env_remove("AWS_REGION").arg("scan").output().unwrap(),
        2,
        &["no Region is named", "--region"],
    );
}

/// Starts a scan of a key that never answers, beside one that does; presses Ctrl-C once the other is judged.
#[test]
fn ctrl_c_prints_what_there_is_and_ends_with_130() {
    let fleet = serve(json!({"keys": [disabled(), {"faults": {"DescribeKey": {"kind": "hang", "after_calls": 0}}}]}));
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("result.json");
    let mut command = with_credentials(&fleet, home.path());
    command.args(["scan", "--control", "key-usable", "--output"]).arg(&file);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = monotonic();
    while fleet.calls_for("DescribeKey").len() < 2 && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Both were asked by the check of permissions or by the scan; the first has its answer soon.
    while fleet.calls().get("DescribeKey").copied().unwrap_or_default() < 3 && start.elapsed() < Duration::from_secs(20)
    {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(300));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_ends(&output, 130, &["1 key not reached"]);
    let text = stdout(&output);
    assert!(text.contains("key-usable") && text.contains("the scan was interrupted"), "{text}");
    let written: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!((&written[0]["complete"], &written[0]["keys_not_reached"]), (&json!(false), &json!(1)));
}

/// Starts a scan, and gives it back once that call has arrived.
fn started_until(fleet: &Fleet, home: &Path, more: &[&str], call: &str) -> Child {
    let mut command = with_credentials(fleet, home);
    command.args(FAST).args(["--control", "key-usable"]).args(more);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let start = monotonic();
    while !fleet.calls().contains_key(call) && start.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(10));
    }
    child
}

fn press_ctrl_c(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn ctrl_c_before_any_key_was_looked_at_leaves_files_as_they_were() {
    for call in ["GetCallerIdentity", "ListKeys"] {
        let fleet = serve(json!({"keys": [disabled()], "faults": {call: "hang"}}));
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("result.csv");
        fs::write(&file, "old").unwrap();
        let child = started_until(&fleet, home.path(), &["--output", file.to_str().unwrap()], call);
        press_ctrl_c(&child);
        let output = child.wait_with_output().unwrap();
        assert_ends(&output, 130, &["interrupted before any key was looked at"]);
        assert_eq!((stdout(&output).as_str(), fs::read_to_string(&file).unwrap().as_str()), ("", "old"), "{call}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "{call}: nothing is left behind");
    }
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    // Since when findings are open is asked after an interruption too, and here nobody answers.
    let fleet = serve(json!({"keys": [disabled()], "tables": ["findings"], "faults": {"Query": "hang"}}));
    let home = tempfile::tempdir().unwrap();
    let child = started_until(&fleet, home.path(), &["--since-table", "findings"], "Query");
    press_ctrl_c(&child);
    // Two signals that come at once are one.
    std::thread::sleep(Duration::from_millis(300));
    press_ctrl_c(&child);
    let start = monotonic();
    let output = child.wait_with_output().unwrap();
    assert_ends(&output, 130, &[]);
    assert_eq!(stdout(&output), "");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[expect(clippy::disallowed_methods, reason = "a test waits")]
fn monotonic() -> Instant {
    Instant::now()
}

// ---- Where the result goes ---------------------------------------------------------------------------------------------

#[test]
fn a_reader_who_goes_away_changes_nothing() {
    let fleet = serve(
        json!({"keys": [disabled(), {"count": 2_000, "key_state": "Disabled", "creation_date": days_from_now(-9)}]}),
    );
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("result.csv");
    let mut command = with_credentials(&fleet, home.path());
    command.args(FAST).args(["--control", "key-usable", "--fail-on", "MEDIUM", "--output"]).arg(&file);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut begin = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut begin).unwrap();
    assert_ends(&child.wait_with_output().unwrap(), 3, &["wrote "]);
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2_002);
}

#[test]
fn files_are_written_beside_the_same_screen_and_replaced_as_a_whole() {
    let fleet = serve(json!({"keys": [healthy(), disabled()]}));
    let home = tempfile::tempdir().unwrap();
    let path = |name: &str| home.path().join(name);
    fs::write(path("a.csv"), "old").unwrap();
    fs::write(path("real.json"), "old").unwrap();
    std::os::unix::fs::symlink(path("real.json"), path("b.json")).unwrap();
    let plain = scan(&fleet, &[]);
    let mut command = with_credentials(&fleet, home.path());
    for name in ["a.csv", "b.json", "c.TXT", "d.html"] {
        command.arg("--output").arg(path(name));
    }
    let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
    let output = with_credentials(&fleet, home.path()).args(FAST).args(arguments).output().unwrap();
    assert_ends(&output, 0, &["wrote "]);
    assert_eq!(stdout(&output), stdout(&plain), "the screen is the same");
    let csv = fs::read_to_string(path("a.csv")).unwrap();
    assert!(csv.starts_with("account_id,region,function,control,") && csv.lines().count() > 1, "{csv}");
    assert!(fs::symlink_metadata(path("b.json")).unwrap().is_symlink());
    let json: Value = serde_json::from_str(&fs::read_to_string(path("real.json")).unwrap()).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 5);
    assert!(fs::read_to_string(path("c.TXT")).unwrap().contains("MEDIUM"));
    assert!(fs::read_to_string(path("d.html")).unwrap().to_lowercase().starts_with("<!doctype html>"));
    // Nothing is left behind.
    let mut left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["a.csv", "b.json", "c.TXT", "d.html", "real.json"]);
}

#[test]
fn a_file_that_cannot_take_the_place_leaves_what_was() {
    let fleet = serve(json!({"keys": [healthy()]}));
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("folder.json");
    fs::create_dir(&folder).unwrap();
    let output = scan(&fleet, &["--output", folder.to_str().unwrap()]);
    assert_ends(&output, 2, &["folder.json` cannot be written: it is no file"]);
    assert_eq!(fleet.calls(), BTreeMap::new());
}

#[test]
fn a_file_that_can_no_longer_be_written_is_told_after_the_result() {
    let fleet = serve(json!({"keys": [disabled()], "latency_ms": 100}));
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("gone");
    fs::create_dir(&folder).unwrap();
    let (lost, kept) = (folder.join("lost.csv"), home.path().join("kept.csv"));
    let files = ["--output", lost.to_str().unwrap(), "--output", kept.to_str().unwrap(), "--fail-on", "LOW"];
    let child = started_until(&fleet, home.path(), &files, "ListKeys");
    fs::remove_dir_all(&folder).unwrap();
    let output = child.wait_with_output().unwrap();
    // It counts more than findings: who reads the file would read an old one.
    assert_ends(&output, 1, &["lost.csv` cannot be written", "wrote "]);
    assert!(stdout(&output).contains("alias/old") && fs::read_to_string(kept).unwrap().contains("alias/old"));
}

#[test]
fn text_of_others_does_nothing_to_a_terminal_or_a_page() {
    let hostile = "alias/<img src=x onerror=alert(1)>\u{1b}]0;taken\u{7}\u{202e}\u{200b}=1+1";
    let mut key = disabled();
    key["aliases"] = json!([hostile]);
    key["tags"] = json!({"owner": "\u{1b}[2J\u{2066}<script>alert(2)</script>"});
    let grantee = "arn:aws:iam::222222222222:role/\u{202e}<b>copy";
    let open = json!({"aliases": ["alias/open"], "grants": [{"grantee": grantee, "operations": ["Decrypt"]}]});
    let fleet = serve(json!({"keys": [key, open]}));
    for format in ["table", "csv", "json", "html"] {
        let output = scan(&fleet, &["--format", format, "--color", "never"]);
        let text = stdout(&output);
        assert!(text.contains("foreign-grant") && text.contains("role/"), "{format}: {text}");
        let told = format!("{text}{}", stderr(&output));
        // JSON is for programs: evidence is what AWS said, but for control characters, which JSON writes as numbers.
        let marks: &[char] = if format == "json" { &[] } else { &['\u{202e}', '\u{2066}', '\u{200b}'] };
        for obeyed in ['\u{1b}', '\u{7}'].iter().chain(marks) {
            assert!(!told.contains(*obeyed), "{format}: {obeyed:?} in {told}");
        }
        if format == "html" {
            assert!(!text.contains("<img") && !text.contains("<script>alert") && !text.contains("<b>copy"), "{text}");
        }
    }
}

#[test]
fn colours_are_for_terminals_unless_they_are_forced() {
    let fleet = serve(json!({"keys": [disabled()]}));
    let coloured = |more: &[&str], variables: &[(&str, &str)]| {
        let home = tempfile::tempdir().unwrap();
        let mut command = with_credentials(&fleet, home.path());
        command.args(FAST).args(more).envs(variables.iter().copied());
        stdout(&command.output().unwrap()).contains("\u{1b}[")
    };
    for (more, variables, expected) in [
        (&[][..], &[][..], false),
        (&["--color", "always"], &[], true),
        (&["--color", "always"], &[("NO_COLOR", "1")], true),
        (&["--color", "never"], &[("CLICOLOR_FORCE", "1")], false),
        (&[], &[("CLICOLOR_FORCE", "1")], true),
        (&[], &[("TERM", "dumb")], false),
        (&["--color", "always", "--format", "json"], &[], false),
    ] {
        assert_eq!(coloured(more, variables), expected, "{more:?} {variables:?}");
    }
}

#[test]
fn the_screen_is_as_wide_as_it_is_and_of_the_letters_that_it_has() {
    let fleet = Fleet::serve(FleetDescription::load(EXAMPLE).unwrap()).unwrap();
    for (columns, locale) in [("40", "C.UTF-8"), ("80", "C"), ("100", "de_DE.utf8")] {
        let home = tempfile::tempdir().unwrap();
        let mut command = with_credentials(&fleet, home.path());
        let fast = ["--quota-share", "1", "--control", "rotation-overdue", "--control", "key-usable"];
        let output = command.env("COLUMNS", columns).env("LANG", locale).arg("scan").args(fast).output().unwrap();
        let text = stdout(&output);
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= columns.parse().unwrap(), "{columns}: {widest}\n{text}");
        assert!(locale != "C" || text.is_ascii(), "{text}");
    }
}

#[test]
fn piped_and_quiet_nothing_but_the_result_is_written() {
    let fleet = serve(json!({"keys": [healthy(), denied()]}));
    let output = scan(&fleet, &["--quiet"]);
    assert_eq!(stderr(&output), "");
    assert_eq!(code(&output), 4);
    assert!(!stderr(&scan(&fleet, &[])).contains('\u{1b}'), "no progress where nobody watches");
}

#[test]
fn severity_holds_in_every_form() {
    let leaving =
        json!({"key_state": "PendingDeletion", "deletion_date": days_from_now(7), "creation_date": days_from_now(-9)});
    let fleet = serve(json!({"keys": [disabled(), leaving]}));
    for format in ["table", "json", "csv"] {
        let more = ["--severity", "critical", "--only", "findings", "--format", format];
        let text = stdout(&scan(&fleet, &more));
        assert!(text.contains("pending-deletion") && !text.contains("key_disabled"), "{format}: {text}");
        assert!(!text.contains("alias/old"), "{format}: {text}");
    }
}

#[test]
fn every_evaluation_is_listed_where_that_is_asked_for() {
    let fleet = serve(json!({"keys": [healthy()]}));
    let csv = stdout(&scan(&fleet, &["--format", "csv", "--only", "all"]));
    assert_eq!(csv.lines().count(), 23);
    assert_eq!(stdout(&scan(&fleet, &["--format", "csv"])).lines().count(), 1);
    assert!(stdout(&scan(&fleet, &["--only", "all"])).contains("rotation-enabled COMPLIANT"));
    let json: Value =
        serde_json::from_str(&stdout(&scan(&fleet, &["--format", "json", "--only", "findings"]))).unwrap();
    assert_eq!(json[0].get("evaluations"), None);
}

// ---- What is looked at -------------------------------------------------------------------------------------------------

#[test]
fn keys_are_chosen_and_left_out() {
    let arn = format!("arn:aws:kms:eu-west-1:123456789012:key/{}", simulated_fleet::generated_key_id(0));
    let fleet = serve(json!({"keys": [healthy(), disabled()], "regions": {"eu-west-1": {"keys": [disabled()]}}}));
    let keys = |more: &[&str]| {
        let output = scan(&fleet, &[&["--format", "json", "--control", "key-usable"], more].concat());
        let json: Value = serde_json::from_str(&stdout(&output)).unwrap_or_else(|_| panic!("{}", stderr(&output)));
        let lines = json.as_array().unwrap().iter().flat_map(|it| it["evaluations"].as_array().unwrap());
        lines.map(|it| it["reason"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(keys(&[]), ["enabled", "key_disabled"]);
    assert_eq!(keys(&["--key", "alias/old"]), ["key_disabled"]);
    assert_eq!(keys(&["--exclude-key", "alias/old"]), ["enabled", "excluded"]);
    // An ARN says where to look.
    assert_eq!(keys(&["--key", &arn]), ["key_disabled"]);
    assert_eq!(keys(&["--key", &arn, "--region", "us-east-1,eu-west-1"]), ["key_disabled"]);
}

#[test]
fn as_of_asks_what_will_be() {
    let fleet = serve(json!({"keys": [healthy()]}));
    let output = scan(&fleet, &["--as-of", &days_from_now(500), "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let functions: Vec<_> = json.as_array().unwrap().iter().map(|it| it["function"].as_str().unwrap()).collect();
    assert_eq!(functions, ["rotation-checker", "key-age-checker"]);
    assert_eq!(json[1]["findings"][0]["control"], "key-material-age");
}

#[test]
fn a_profile_counts_more_than_the_environment() {
    let fleet = serve(json!({
        "keys": [healthy()],
        "regions": {"eu-central-1": {"keys": [disabled()]}},
        "accounts": {"222222222222": {
            "role_name": "auditor", "external_id": "right", "regions": {"eu-central-1": {"keys": [disabled()]}},
        }},
    }));
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".aws")).unwrap();
    let config = "[profile audit]\nregion = eu-central-1\naws_access_key_id = a\naws_secret_access_key = b\n\
                  [profile tool]\nregion = us-east-1\ncredential_process = echo '{\"Version\": 1, \"AccessKeyId\": \"a\", \
                  \"SecretAccessKey\": \"b\"}'\n";
    fs::write(home.path().join(".aws/config"), config).unwrap();
    let run = |more: &[&str], with_environment: bool| {
        let mut command = with_credentials(&fleet, home.path());
        command.env("PATH", std::env!("PATH")).args(FAST).args(["--control", "key-usable"]).args(more);
        if !with_environment {
            command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env_remove("AWS_REGION");
        }
        command.output().unwrap()
    };
    for with_environment in [true, false] {
        assert_ends(&run(&["--profile", "audit"], with_environment), 0, &["in eu-central-1"]);
        assert_ends(&run(&["--profile", "tool"], with_environment), 0, &["in us-east-1"]);
    }
    assert_ends(&run(&["--profile", "audit", "--region", "us-east-1"], true), 0, &["in us-east-1"]);
    let role = ["--profile", "audit", "--role", "arn:aws:iam::222222222222:role/auditor", "--external-id", "right"];
    assert_ends(&run(&role, false), 0, &["in eu-central-1"]);
    assert_eq!(fleet.calls()["AssumeRole"], 1);
}

#[test]
fn the_ledger_says_since_when() {
    let fleet = serve(json!({"tables": ["findings"], "keys": [disabled()]}));
    let id = simulated_fleet::generated_key_id(0);
    let arn = fleet.arn("kms", &format!("key/{id}"));
    let item = json!({
        "pk": "123456789012#us-east-1#health-prober", "sk": format!("open#{arn}#key-usable#NON_COMPLIANT"),
        "key_arn": arn, "key_id": id, "aliases": [], "control": "key-usable", "compliance": "NON_COMPLIANT",
        "severity": "MEDIUM", "reason": "key_disabled", "first_seen": "2026-11-02T06:00:00Z", "history": [],
    });
    fleet.put_item(&item).unwrap();
    let more = ["--control", "key-usable", "--since-table", "findings"];
    let output = scan(&fleet, &more);
    assert_ends(&output, 0, &[]);
    let text = stdout(&output).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("(since 2026-11-02)"), "{text}");
    assert_eq!(fleet.writes().len(), 0);
    let output = scan(&fleet, &["--control", "key-usable", "--since-table", "another"]);
    assert_ends(&output, 4, &["since when findings are open is not known", "another"]);
}

#[test]
fn time_that_runs_out_is_told() {
    let fleet = serve(json!({"keys": [{"count": 200, "key_state": "Disabled"}]}));
    let home = tempfile::tempdir().unwrap();
    let mut command = with_credentials(&fleet, home.path());
    command.args(["scan", "--control", "key-usable", "--quota-share", "0.01", "--max-time", "3s"]);
    let output = command.output().unwrap();
    assert_ends(&output, 4, &["not reached"]);
    assert!(stdout(&output).contains("not reached: a longer --max-time"), "{}", stdout(&output));
}

#[test]
fn grants_and_last_usage_come_last_and_may_go_without_an_answer() {
    let mut key = healthy();
    key["count"] = json!(60);
    key["aliases"] = json!([]);
    key["faults"] = json!({"ListGrants": {"kind": "slow", "delay_ms": 600_000}});
    let fleet = serve(json!({"keys": [key]}));
    let home = tempfile::tempdir().unwrap();
    let mut command = with_credentials(&fleet, home.path());
    let start = monotonic();
    let output = command.args(["scan", "--control", "foreign-grant", "--max-time", "15s"]).output().unwrap();
    assert!(start.elapsed() < Duration::from_secs(25));
    assert_ends(&output, 0, &["60 not yet"]);
    assert!(stdout(&output).contains("grants_not_asked: 60 evaluations: --ask-all asks"), "{}", stdout(&output));
}

// ---- The other commands ------------------------------------------------------------------------------------------------

fn run(arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    command(home.path()).args(arguments).output().unwrap()
}

#[test]
fn the_controls_are_those_of_the_documentation() {
    let json: Value = serde_json::from_slice(&run(&["controls", "--format", "json"]).stdout).unwrap();
    let documented: Value = serde_json::from_str(include_str!("../../docs/controls.json")).unwrap();
    let ids = |value: &Value| {
        value["controls"]
            .as_array()
            .unwrap()
            .iter()
            // Whether an account could be looked into is a question of the daily check over many.
            .filter(|it| it["function"] != "reporter")
            .map(|it| (it["id"].clone(), it["title"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(&json), ids(&documented));
    let text = stdout(&run(&["controls"]));
    assert!(ids(&json).iter().all(|(id, _)| text.contains(id.as_str().unwrap())), "{text}");
}

const OPEN: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "kms:*", "Resource": "*"}]}"#;
const OWN: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"},
    "Action": "kms:*", "Resource": "*"}]}"#;
const FOREIGN: &str = r#"{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": [
    "arn:aws:iam::123456789012:root", "arn:aws:iam::222222222222:root"]}, "Action": "kms:*", "Resource": "*"}]}"#;

#[test]
fn a_policy_is_judged_before_it_is_anywhere() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("policy.json");
    let judge = |text: &str, more: &[&str]| {
        fs::write(&file, text).unwrap();
        run(&[&["policy", file.to_str().unwrap(), "--account", "123456789012"], more].concat())
    };
    for (text, more, expected, says) in [
        (OWN, &["--fail-on", "LOW"][..], 0, "nothing is wrong"),
        (OPEN, &["--fail-on", "CRITICAL"], 3, "public-access"),
        (OPEN, &[], 0, "public-access"),
        (FOREIGN, &["--fail-on", "MEDIUM"], 3, "foreign-access"),
        (FOREIGN, &["--fail-on", "MEDIUM", "--set", "TRUSTED_ACCOUNTS=222222222222"], 0, "nothing is wrong"),
        ("{}", &["--fail-on", "LOW"], 4, "the key policy cannot be judged"),
        ("no policy", &[], 4, "the policy is no JSON"),
    ] {
        let output = judge(text, more);
        assert_ends(&output, expected, &[]);
        assert!(stdout(&output).contains(says), "{}", stdout(&output));
    }
    let json: Value = serde_json::from_slice(&judge(OPEN, &["--format", "json"]).stdout).unwrap();
    assert_eq!(json["verdicts"].as_array().unwrap().len(), 5);
    assert_eq!(
        (&json["verdicts"][0]["control"], &json["verdicts"][0]["severity"]),
        (&json!("public-access"), &json!("CRITICAL"))
    );
}

#[test]
fn a_policy_comes_from_standard_input_too() {
    let home = tempfile::tempdir().unwrap();
    let mut command = command(home.path());
    command.args(["policy", "-", "--account", "123456789012", "--fail-on", "LOW"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(OPEN.as_bytes()).unwrap();
    assert_eq!(code(&child.wait_with_output().unwrap()), 3);
}

#[test]
fn other_commands_refuse_what_makes_no_sense() {
    for (arguments, says) in [
        (&["policy", "/nowhere", "--account", "123456789012"][..], "the policy `/nowhere` cannot be read"),
        (&["policy", "-", "--account", "12"], "twelve digits"),
        (&["policy", "-"], "--account"),
        (&["policy", "-", "--account", "123456789012", "--set", "MAX_KEY_AGE_DAYS=1"], "TRUSTED_ACCOUNTS"),
        (&["policy-document", "--since-table", "?"], "it must be the name of a DynamoDB table"),
        (&["controls", "--format", "csv"], "csv"),
        (&["rescan"], "rescan"),
        (&[], "Usage"),
    ] {
        assert_ends(&run(arguments), 2, &[says]);
    }
}

#[test]
fn help_completions_and_manual_are_there() {
    let help = stdout(&run(&["scan", "--help"]));
    for part in ["--all-regions", "--ask-all", "--since-table", "Pace", "CLICOLOR_FORCE"] {
        assert!(help.contains(part), "{part}");
    }
    assert!(stdout(&run(&["--help"])).contains("EXIT CODES"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(stdout(&run(&["completions", shell])).contains("policy-document"), "{shell}");
    }
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("man");
    assert_eq!(code(&run(&["man", folder.to_str().unwrap()])), 0);
    assert!(fs::read_to_string(folder.join("kms-compliance-scan.1")).unwrap().contains("quota"));
}
