//! `make bench`: all contestants side by side, in turns, at several sizes and latencies; the table goes to
//! `docs/benchmark.md`.
//!
//! `bench KEYS LATENCY_MS RUNS` measures one row of it and prints it.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use benchmarks::contestant::Contestant;
use benchmarks::fleet::Conditions;
use benchmarks::report::{cpu_per_call, median, seconds};
use jiff::Timestamp;
use simulated_fleet::harness::TOPIC;

type Error = Box<dyn std::error::Error>;

const KEYS: [u32; 3] = [100, 1_000, 10_000];
const LATENCIES_MS: [u64; 3] = [0, 5, 20];
const RUNS: u32 = 3;

const HEADER: &str = "\
| keys | latency, ms | contestant | wall, s | CPU, s | CPU a call, µs | peak memory, MiB | calls | throttled |\n\
|---|---|---|---|---|---|---|---|---|\n";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    match arguments.as_slice() {
        [] => all().await,
        [keys, latency_ms, runs] => {
            let rows = rows(keys.parse()?, latency_ms.parse()?, true, runs.parse()?).await?;
            Ok(write!(std::io::stdout(), "{HEADER}{rows}")?)
        }
        _ => Err("usage: bench [KEYS LATENCY_MS RUNS]".into()),
    }
}

async fn all() -> Result<(), Error> {
    let mut document = introduction();
    for quotas in [true, false] {
        let heading = if quotas { "KMS keeps to its default quotas" } else { "KMS has no quotas" };
        write!(document, "\n## {heading}\n\n{HEADER}")?;
        for keys in KEYS {
            for latency_ms in LATENCIES_MS {
                writeln!(std::io::stderr(), "{keys} keys, {latency_ms} ms, {heading}")?;
                document.push_str(&rows(keys, latency_ms, quotas, RUNS).await?);
            }
        }
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmark.md");
    Ok(fs::write(file, document)?)
}

/// The rows of all contestants under the same conditions.
async fn rows(keys: u32, latency_ms: u64, quotas: bool, runs: u32) -> Result<String, Error> {
    let fleet = Conditions { keys, latency_ms, quotas, findings: None }.serve()?;
    let contestants = contestants()?;
    let mut measured = vec![Vec::new(); contestants.len()];
    for _ in 0..runs {
        for (contestant, measured) in contestants.iter().zip(&mut measured) {
            measured.push(contestant.run(&fleet).await?);
        }
    }
    let mut rows = String::new();
    for (contestant, measured) in contestants.iter().zip(&measured) {
        let it = median(measured);
        writeln!(
            rows,
            "| {keys} | {latency_ms} | {} | {} | {} | {} | {} | {} | {} |",
            contestant.name(),
            seconds(it.wall),
            seconds(it.cpu),
            cpu_per_call(&it),
            it.peak_memory_kib.div_ceil(1_024),
            it.calls,
            it.throttled,
        )?;
    }
    Ok(rows)
}

/// The programs lie where this one was built; Python is that of the project's tools.
fn contestants() -> Result<Vec<Contestant>, Error> {
    let here = std::env::current_exe()?;
    let beside = |name: &str| here.with_file_name(name).to_string_lossy().into_owned();
    let project = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let python = project.join("../../.venv/bin/python").to_string_lossy().into_owned();
    let source_logic = project.join("source_logic.py").to_string_lossy().into_owned();
    Ok(vec![
        Contestant::alone(beside("rotation-checker")),
        Contestant::Program { name: "plain loop over the SDK", command: vec![beside("plain-loop")] },
        Contestant::Program { name: "bare HTTP client", command: vec![beside("bare-client"), "{endpoint}".to_owned()] },
        Contestant::Program {
            name: "source document's logic, Python",
            command: vec![python, source_logic, TOPIC.to_owned()],
        },
    ])
}

fn introduction() -> String {
    format!(
        "# Benchmark\n\n\
        Made by `make bench` on {}, {} cores of {}.\n\n\
        Each row is the median of {RUNS} runs, the contestants in turns within one run over one simulated fleet on the same\n\
        machine. Of twenty keys thirteen can rotate and three of those do not. Wall time counts from the start of the process\n\
        to its result; CPU time and memory are those of that process alone. rotation-checker is the release binary at the whole\n\
        of the default quotas (`KMS_QUOTA_SHARE=1`, `KMS_QUOTA_CALLERS=1`): it keeps to its pace where the fleet has no quotas\n\
        too. The bare client signs nothing and repeats nothing: it shows what the fleet can serve.\n",
        date(),
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        processor().unwrap_or_else(|| "an unknown processor".to_owned()),
    )
}

#[expect(clippy::disallowed_methods, reason = "the day on which it was measured")]
fn date() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    info.lines().find_map(|line| Some(line.strip_prefix("model name")?.split_once(':')?.1.trim().to_owned()))
}
