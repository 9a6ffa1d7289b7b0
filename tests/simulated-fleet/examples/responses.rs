//! Prints the verbose responses of functions over a fleet, to be compared before and after a change that must not change
//! any. With the clock stopped (`faketime`), two builds that judge alike print the same to the byte.
//!
//! ```sh
//! cargo run -p simulated-fleet --example responses -- tests/simulated-fleet/fleets/example.json target/debug/rotation-checker
//! ```

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use simulated_fleet::harness::{TOPIC, ok};
use simulated_fleet::{Fleet, FleetDescription, FunctionProcess, Invocation};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::disallowed_methods, clippy::print_stdout, clippy::unwrap_used, reason = "a command that prints")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let fleet = arguments.next().unwrap();
    for binary in arguments {
        let fleet = Fleet::serve(FleetDescription::load(&fleet).unwrap()).unwrap();
        // What stops the clock here stops it in the function too.
        let clock: Vec<_> =
            std::env::vars().filter(|(name, _)| name == "LD_PRELOAD" || name.starts_with("FAKETIME")).collect();
        let clock = clock.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let settings = [("SNS_TOPIC_ARN", TOPIC), ("REPLICA_REGIONS", "eu-west-1,us-east-1")];
        let settings: Vec<_> = settings.into_iter().chain(clock).collect();
        let function = FunctionProcess::start(&binary, &fleet, &settings).unwrap();
        let event = json!({"detail": {"verbose": true, "dry_run": true}});
        let invocation = Invocation { deadline: Duration::from_mins(10), ..Invocation::default() };
        let response = ok(function.invoke_with(&event, invocation).await);
        println!("{}\n{response:#}", Path::new(&binary).file_name().unwrap().display());
        println!("calls {:#}", json!(fleet.calls()));
    }
}
