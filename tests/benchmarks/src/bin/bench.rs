//! `make bench`: all contestants side by side, in turns.

use std::io::Write as _;

use benchmarks::contestant::Contestant;
use benchmarks::fleet::Conditions;
use benchmarks::report::{cpu_per_call, median, seconds};

type Error = Box<dyn std::error::Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let keys = arguments.next().ok_or("usage: bench KEYS LATENCY QUOTAS RUNS")?.parse()?;
    let latency_ms = arguments.next().unwrap_or_default().parse()?;
    let quotas = arguments.next().unwrap_or_default().parse()?;
    let runs: u32 = arguments.next().unwrap_or_default().parse()?;
    let conditions = Conditions { keys, latency_ms, quotas, findings: None };
    let fleet = conditions.serve()?;
    let here = std::env::current_exe()?;
    let beside = |name: &str| here.with_file_name(name);
    let text = |name: &str| beside(name).to_string_lossy().into_owned();
    let contestants = [
        Contestant::alone(beside("rotation-checker")),
        Contestant::Program { name: "plain loop over the SDK", command: vec![text("plain-loop")] },
        Contestant::Program {
            name: "bare HTTP client",
            command: vec![text("bare-client"), "{endpoint}".to_owned()],
        },
    ];
    let mut measured = vec![Vec::new(); contestants.len()];
    for _ in 0..runs {
        for (contestant, measured) in contestants.iter().zip(&mut measured) {
            measured.push(contestant.run(&fleet).await?);
        }
    }
    let mut out = std::io::stdout();
    writeln!(out, "{keys} keys, {latency_ms} ms, quotas: {quotas}, floor {:.2} s", conditions.quota_floor())?;
    for (contestant, measured) in contestants.iter().zip(&measured) {
        let it = median(measured);
        writeln!(
            out,
            "{:<28} {:>8} s  cpu {:>6} s ({} µs a call)  {:>6} KiB  {:>6} calls  {:>5} throttled",
            contestant.name(),
            seconds(it.wall),
            seconds(it.cpu),
            cpu_per_call(&it),
            it.peak_memory_kib,
            it.calls,
            it.throttled,
        )?;
    }
    Ok(())
}
