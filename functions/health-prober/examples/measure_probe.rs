//! What a run takes over 1,000 multi-Region keys with two replicas each, beside the way of the best practice's example: one
//! call after the other, key by key and Region by Region.
//!
//! ```sh
//! cargo build --release -p health-prober
//! cargo run -p health-prober --example measure_probe -- target/release/health-prober
//! ```
//!
//! 20 ms latency. The sequential way alone takes some six minutes; a second argument is the number of keys.

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulated_fleet::harness::{describe, ok, start};
use simulated_fleet::{Fleet, Invocation};

const HOME: &str = "us-east-1";
const ELSEWHERE: [&str; 2] = ["eu-west-1", "us-west-2"];

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a command that prints a table")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let binary = arguments.next().unwrap_or_else(|| "target/release/health-prober".to_owned());
    let keys: u32 = arguments.next().map_or(Ok(1_000), |keys| keys.parse())?;
    println!("{keys} primaries, two replicas each, 20 ms latency");
    println!("{:>44}  {:>7}  {:>9}  {:>8}", "", "calls", "seconds", "peak MiB");
    for (name, opted_in, share, hangs) in [
        ("health-prober, no key opted in", false, "0.2", false),
        ("health-prober, all opted in", true, "0.2", false),
        ("health-prober, all opted in, whole quota", true, "1", false),
        ("health-prober, all opted in, a Region hangs", true, "0.2", true),
    ] {
        let (fleet, function) =
            start(&binary, fleet(keys, opted_in, hangs), &[("KMS_QUOTA_SHARE", share), ("KMS_QUOTA_CALLERS", "1")]);
        let deadline = Duration::from_mins(15);
        let outcome = function.invoke_with(&json!({}), Invocation { deadline, ..Invocation::default() }).await;
        let seconds = outcome.elapsed.as_secs_f64();
        let response = ok(outcome);
        if response.get("complete") != Some(&json!(true)) {
            return Err("the run did not reach every key".into());
        }
        let peak = function.peak_memory_kib().unwrap_or_default() / 1_024;
        println!("{name:>44}  {:>7}  {seconds:>9.1}  {peak:>8}", calls(&fleet));
    }
    let fleet = Fleet::serve(describe(fleet(keys, true, false)))?;
    let seconds = one_after_the_other(&fleet, keys)?;
    println!("{:>44}  {:>7}  {seconds:>9.1}  {:>8}", "one call after the other", calls(&fleet), "");
    Ok(())
}

fn calls(fleet: &Fleet) -> u64 {
    fleet.calls().values().sum()
}

fn fleet(keys: u32, opted_in: bool, hangs: bool) -> Value {
    let keys = |kind: &str| {
        let related = json!({"type": kind, "primary_region": HOME, "replica_regions": ELSEWHERE});
        let tags = if opted_in { json!({"kms-compliance/probe": "true"}) } else { json!({}) };
        json!([{"count": keys, "multi_region": related, "tags": tags}])
    };
    let faults = if hangs { json!({"DescribeKey": "hang", "GetKeyPolicy": "hang"}) } else { json!({}) };
    let [first, second] = ELSEWHERE;
    json!({
        "latency_ms": 20,
        "keys": keys("PRIMARY"),
        "regions": {first: {"keys": keys("REPLICA"), "faults": faults}, second: {"keys": keys("REPLICA")}},
    })
}

/// State and rotation of each key in each Region, then each Region's ciphertext decrypted in each Region; in seconds.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn one_after_the_other(fleet: &Fleet, keys: u32) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let regions = || std::iter::once(HOME).chain(ELSEWHERE);
    for index in 0..keys {
        let key = json!(format!("mrk-{index:032}"));
        for region in regions() {
            call(fleet, region, "DescribeKey", &json!({"KeyId": key}))?;
            call(fleet, region, "GetKeyRotationStatus", &json!({"KeyId": key}))?;
        }
        let mut ciphertexts = Vec::new();
        for region in regions() {
            let answer = call(fleet, region, "Encrypt", &json!({"KeyId": key, "Plaintext": "c2VjcmV0"}))?;
            ciphertexts.push(answer.get("CiphertextBlob").cloned());
        }
        for ciphertext in &ciphertexts {
            for region in regions() {
                call(fleet, region, "Decrypt", &json!({"CiphertextBlob": ciphertext}))?;
            }
        }
    }
    Ok(start.elapsed().as_secs_f64())
}

fn call(fleet: &Fleet, region: &str, operation: &str, request: &Value) -> Result<Value, Box<dyn Error>> {
    let endpoint = fleet.endpoint();
    let mut stream = TcpStream::connect(endpoint.trim_start_matches("http://"))?;
    let body = request.to_string();
    write!(
        stream,
        "POST / HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\ncontent-length: {}\r\n\
         x-amz-target: TrentService.{operation}\r\ncontent-type: application/x-amz-json-1.1\r\n\
         authorization: AWS4-HMAC-SHA256 Credential=AK/20261123/{region}/kms/aws4_request\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(body.into());
    }
    Ok(serde_json::from_str(body)?)
}
