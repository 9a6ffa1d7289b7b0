//! The Lambda Runtime API, with this very binary as the function: Lambda's environment tells it which of the two it is.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "clippy knows tests by their harness, and this one has none"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use simulated_fleet::{Fleet, FleetDescription, FunctionError, FunctionProcess, Invocation, Outcome};

fn main() {
    if let Ok(api) = std::env::var("AWS_LAMBDA_RUNTIME_API") {
        return function(&api);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        answers_and_fails().await;
        passes_headers_and_environment().await;
        keeps_each_invocations_logs().await;
        exits().await;
        fails_to_start().await;
        is_killed_at_its_deadline().await;
        ends_when_dropped().await;
    });
    println!("all is well");
}

fn start(environment: &[(&str, &str)]) -> FunctionProcess {
    let fleet = Fleet::serve(FleetDescription::default()).unwrap();
    FunctionProcess::start(std::env::current_exe().unwrap(), &fleet, environment).unwrap()
}

fn error(outcome: &Outcome) -> &FunctionError {
    outcome.result.as_ref().expect_err("the invocation must fail")
}

async fn answers_and_fails() {
    let function = start(&[]);
    let outcome = function.invoke(&json!({"do": "echo"})).await;
    assert_eq!(outcome.result.unwrap()["payload"], r#"{"do":"echo"}"#);
    assert!(function.peak_memory_kib().unwrap() > 100);
    assert!(function.startup_time().is_some());

    let outcome = function.invoke(&json!({"do": "fail"})).await;
    assert_eq!(error(&outcome).to_string(), "Broken: it broke");
    let outcome = function.invoke(&json!({"do": "garble"})).await;
    assert_eq!(error(&outcome).error_type, "Runtime.InvalidResponse");
    let outcome = function.invoke(&json!({"do": "flood"})).await;
    assert_eq!(error(&outcome).error_type, "Function.ResponseSizeTooLarge");
    let outcome = function.invoke_raw("not JSON").await;
    assert_eq!(outcome.result.unwrap()["payload"], "not JSON");
}

async fn passes_headers_and_environment() {
    let function = start(&[("AWS_REGION", "eu-west-1"), ("SNS_TOPIC_ARN", "arn")]);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let invocation = Invocation { request_id: Some("r-1".to_owned()), ..Invocation::default() };
    let answer = function.invoke_with(&json!({}), invocation).await.result.unwrap();
    assert_eq!(answer["request_id"], "r-1");
    let arn = answer["arn"].as_str().unwrap();
    assert!(arn.starts_with("arn:aws:lambda:us-east-1:123456789012:function:function-"), "{arn}");
    let deadline: u128 = answer["deadline"].as_str().unwrap().parse().unwrap();
    assert!((59_000..70_000).contains(&(deadline - now)));
    let environment = &answer["environment"];
    assert_eq!((&environment["AWS_REGION"], &environment["SNS_TOPIC_ARN"]), (&json!("eu-west-1"), &json!("arn")));
    assert!(environment["AWS_ENDPOINT_URL"].as_str().unwrap().starts_with("http://127.0.0.1:"));
    assert!(environment.get("CARGO_MANIFEST_DIR").is_none() && environment.get("HOME").is_none());

    let invocation = Invocation { function_arn: Some("arn:other".to_owned()), ..Invocation::default() };
    assert_eq!(function.invoke_with(&json!({}), invocation).await.result.unwrap()["arn"], "arn:other");
}

async fn keeps_each_invocations_logs() {
    let function = start(&[]);
    for number in 0..3 {
        let outcome = function.invoke(&json!({"do": "log", "lines": 2000, "number": number})).await;
        assert_eq!(outcome.logs.len(), 2003);
        assert_eq!(outcome.logs.first().unwrap(), &format!("out {number}"));
        assert_eq!(outcome.logs.get(1).unwrap(), &format!("err {number}"));
        assert_eq!(outcome.logs.last().unwrap(), "after the answer, without an end");
    }
    assert_eq!(function.startup_logs(), ["starting"]);
    assert!(function.invoke(&json!({})).await.logs.is_empty());
}

async fn exits() {
    let function = start(&[]);
    let outcome = function.invoke(&json!({"do": "exit"})).await;
    let FunctionError { error_type, error_message } = error(&outcome);
    assert_eq!(error_type, "Runtime.ExitError");
    assert!(error_message.contains("exit status: 3") && error_message.contains("last words"), "{error_message}");
    assert_eq!(outcome.logs, ["last words"]);
    assert_eq!(error(&function.invoke(&json!({})).await).error_type, "Runtime.ExitError");
    assert_eq!(function.peak_memory_kib(), None);
}

async fn fails_to_start() {
    let outcome = start(&[("FAIL_TO_START", "1")]).invoke(&json!({})).await;
    assert_eq!(error(&outcome).to_string(), "NoStart: not today");
    let fleet = Fleet::serve(FleetDescription::default()).unwrap();
    let error = FunctionProcess::start("/no/such/binary", &fleet, &[]).unwrap_err();
    assert!(error.to_string().starts_with("cannot start `/no/such/binary`: "), "{error}");
}

async fn is_killed_at_its_deadline() {
    let function = start(&[]);
    let deadline = Duration::from_millis(50);
    let outcome = function.invoke_with(&json!({"do": "sleep"}), Invocation { deadline, ..Invocation::default() }).await;
    assert_eq!(error(&outcome).error_type, "Sandbox.Timedout");
    assert_eq!(outcome.logs, ["sleeping"]);
    assert!(outcome.elapsed >= deadline && outcome.elapsed < Duration::from_secs(5));
}

async fn ends_when_dropped() {
    let function = start(&[]);
    let answer = function.invoke(&json!({})).await.result.unwrap();
    let process = format!("/proc/{}/stat", answer["process"]);
    drop(function);
    for _ in 0..500 {
        // A process that nobody has waited for yet stays as `Z`.
        match std::fs::read_to_string(&process) {
            Ok(stat) if !stat.contains(") Z ") => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => return,
        }
    }
    panic!("the function outlived its owner");
}

/// A function that does what its event says.
fn function(api: &str) {
    if std::env::var_os("FAIL_TO_START").is_some() {
        call(api, "POST", "init/error", r#"{"errorType": "NoStart", "errorMessage": "not today"}"#);
        std::process::exit(1);
    }
    println!("starting");
    loop {
        let (head, payload) = call(api, "GET", "invocation/next", "");
        let header = |name: &str| {
            let line = head.lines().find_map(|line| line.strip_prefix(&format!("lambda-runtime-{name}: ")));
            line.unwrap_or_default().to_owned()
        };
        let request_id = header("aws-request-id");
        let answer = |body: &str| call(api, "POST", &format!("invocation/{request_id}/response"), body);
        let event: Value = serde_json::from_str(&payload).unwrap_or_default();
        match event["do"].as_str() {
            Some("fail") => {
                let body = r#"{"errorType": "Broken", "errorMessage": "it broke"}"#;
                call(api, "POST", &format!("invocation/{request_id}/error"), body);
            }
            Some("garble") => {
                answer("{");
            }
            Some("flood") => {
                answer(&json!("x".repeat(6_291_556)).to_string());
            }
            Some("log") => {
                println!("out {}", event["number"]);
                eprintln!("err {}", event["number"]);
                for _ in 0..event["lines"].as_u64().unwrap() {
                    println!("{}", "x".repeat(100));
                }
                answer("null");
                eprint!("after the answer, without an end");
            }
            Some("exit") => {
                println!("last words");
                std::process::exit(3);
            }
            Some("sleep") => {
                println!("sleeping");
                std::thread::sleep(Duration::from_mins(1));
            }
            _ => {
                let environment: serde_json::Map<_, _> =
                    std::env::vars().map(|(name, value)| (name, Value::from(value))).collect();
                let body = json!({
                    "payload": payload,
                    "request_id": request_id,
                    "deadline": header("deadline-ms"),
                    "arn": header("invoked-function-arn"),
                    "environment": environment,
                    "process": std::process::id(),
                });
                answer(&body.to_string());
            }
        }
    }
}

/// Head and body of the answer.
fn call(api: &str, method: &str, path: &str, body: &str) -> (String, String) {
    let mut stream = TcpStream::connect(api).unwrap();
    let length = body.len();
    write!(
        stream,
        "{method} /2018-06-01/runtime/{path} HTTP/1.1\r\nhost: api\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}
