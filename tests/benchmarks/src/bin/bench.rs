//! `make bench`: all contestants side by side, in turns, at several sizes and latencies; tables go to `docs/benchmark.md`,
//! the picture to `docs/benchmark.svg`. It takes about an hour.
//!
//! `bench KEYS LATENCY_MS RUNS` measures one size with quotas and without, slow contestants left out; `bench startup`,
//! `memory` and `shares` measure what their sections say. These print.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use benchmarks::contestant::Contestant;
use benchmarks::fleet::Conditions;
use benchmarks::report::{Row, mebibytes, median, milliseconds, seconds, table};
use benchmarks::{machine, plot, startup};
use simulated_fleet::harness::TOPIC;

type Error = Box<dyn std::error::Error>;

const KEYS: [u32; 4] = [100, 1_000, 10_000, 100_000];
const LATENCIES_MS: [u64; 3] = [0, 5, 20];
const RUNS: usize = 3;

/// Of the contestant that takes each key in turn: longer runs are made once, and runs of hours not at all.
const LONG: Duration = Duration::from_mins(1);
const TOO_LONG: Duration = Duration::from_secs(390);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let arguments = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    let text = match arguments.as_slice() {
        [] => return all().await,
        ["startup"] => starts().await?,
        ["memory"] => memory().await?,
        ["shares"] => shares().await?,
        [keys, latency_ms, runs] => {
            let (keys, latency_ms, runs) = (keys.parse()?, latency_ms.parse()?, runs.parse()?);
            let with = rows(Conditions { keys, latency_ms, quotas: true, findings: None }, Some(runs)).await?;
            let without = rows(Conditions { keys, latency_ms, quotas: false, findings: None }, Some(runs)).await?;
            format!("with quotas\n{}\nwithout\n{}", table(&with), table(&without))
        }
        _ => return Err("usage: bench [KEYS LATENCY_MS RUNS | startup | memory | shares]".into()),
    };
    Ok(write!(std::io::stdout(), "{text}")?)
}

async fn all() -> Result<(), Error> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let mut document = introduction();
    write!(document, "\n## From the start to the first answer\n\n{}", starts().await?)?;
    let mut tables = Vec::new();
    for quotas in [false, true] {
        let mut table = Vec::new();
        for keys in KEYS {
            for latency_ms in LATENCIES_MS {
                let conditions = Conditions { keys, latency_ms, quotas, findings: None };
                writeln!(std::io::stderr(), "{conditions:?}")?;
                table.extend(rows(conditions, None).await?);
            }
        }
        tables.push(table);
    }
    let [without, with] = tables.as_slice() else { return Err("there are two tables".into()) };
    plot::draw(&docs.join("benchmark.svg"), with, without)?;
    write!(
        document,
        "\n## KMS keeps to its default quotas\n\n![Wall and CPU time over keys](benchmark.svg)\n\n{}\n{}\n\
        ## KMS has no quotas\n\n{}\n## The shares that the template sets\n\n{}\n## Memory that grows with the keys\n\n{}",
        table(with),
        floors(),
        table(without),
        shares().await?,
        memory().await?,
    )?;
    Ok(fs::write(docs.join("benchmark.md"), document)?)
}

/// The rows of all contestants under the same conditions. So many runs each, or as many as the conditions deserve.
async fn rows(conditions: Conditions, runs: Option<usize>) -> Result<Vec<Row>, Error> {
    let fleet = conditions.serve()?;
    let contestants = contestants(conditions.quotas)?;
    let runs_of = |contestant: &Contestant| match (runs, usual_runs(contestant, conditions)) {
        (Some(_), 0..RUNS) if contestant.is_one_by_one() => 0,
        (runs, usual) => runs.unwrap_or(usual),
    };
    let mut measured = vec![Vec::new(); contestants.len()];
    for run in 0..contestants.iter().map(runs_of).max().unwrap_or_default() {
        for (contestant, measured) in contestants.iter().zip(&mut measured) {
            if run < runs_of(contestant) {
                measured.push(contestant.run(&fleet).await?);
            }
        }
    }
    let rows = contestants.iter().zip(&measured).filter(|(_, measured)| !measured.is_empty());
    let row = |(contestant, measured): (&Contestant, &Vec<_>)| Row {
        keys: conditions.keys,
        latency_ms: conditions.latency_ms,
        contestant: contestant.name().to_owned(),
        runs: measured.len(),
        measured: median(measured),
    };
    Ok(rows.map(row).collect())
}

fn usual_runs(contestant: &Contestant, conditions: Conditions) -> usize {
    let Conditions { keys, latency_ms, quotas, .. } = conditions;
    if contestant.is_one_by_one() {
        // What boto3 takes for itself, roughly.
        let call = Duration::from_millis(latency_ms) + Duration::from_micros(2_400);
        return match call * (keys / 20 * 33) {
            time if time > TOO_LONG => 0,
            time if time > LONG => 1,
            _ => RUNS,
        };
    }
    match (keys, latency_ms, quotas) {
        (100_000.., ..) => 1,
        // The row by which CPU time is compared.
        (10_000, 0, false) => 5,
        _ => RUNS,
    }
}

/// The programs lie where this one was built; Python is that of the project's tools.
fn contestants(quotas: bool) -> Result<Vec<Contestant>, Error> {
    let function = Contestant::function("rotation-checker", beside("rotation-checker")?, &ALONE);
    let plain = Contestant::Program { name: "plain loop over the SDK", command: vec![shown(&beside("plain-loop")?)] };
    let endpoint = "{endpoint}".to_owned();
    let bare =
        Contestant::Program { name: "bare HTTP client", command: vec![shown(&beside("bare-client")?), endpoint] };
    if !quotas {
        let unpaced = [ALONE.as_slice(), &[("KMS_PACE", "off")]].concat();
        let unpaced = Contestant::function("rotation-checker, pace off", beside("rotation-checker-unpaced")?, &unpaced);
        return Ok(vec![function, unpaced, plain, bare]);
    }
    let program = shown(&project().join("source_program.py"));
    let python = Contestant::Program {
        name: "source document's logic, Python",
        command: vec![shown(&python()), program, TOPIC.to_owned()],
    };
    Ok(vec![function, plain, bare, python])
}

/// The whole of each quota, as if no other function were there.
const ALONE: [(&str, &str); 2] = [("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1")];

fn beside(name: &str) -> Result<PathBuf, Error> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn python() -> PathBuf {
    project().join("../../.venv/bin/python")
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

async fn starts() -> Result<String, Error> {
    let names = ["rotation-checker", "source document's logic, Python"];
    let script = project().join("source_function.py");
    let binaries = [beside("rotation-checker")?, startup::program(&python(), &script, "source-function")?];
    let starts = startup::measure(&binaries).await?;
    let mut text = format!(
        "Ten keys without a finding, TLS to AWS with a certificate of its own; {} starts each, in turns, medians.\n\n\
        | function | first poll, ms | first answer, ms | CPU until then, ms | second invocation, ms | peak memory, MiB |\n\
        |---|---:|---:|---:|---:|---:|\n",
        startup::STARTS
    );
    for (name, it) in names.iter().zip(&starts) {
        writeln!(
            text,
            "| {name} | {} | {} | {} | {} | {} |",
            milliseconds(it.to_first_poll),
            milliseconds(it.to_first_answer),
            milliseconds(it.cpu),
            milliseconds(it.warm),
            mebibytes(it.peak_memory_kib),
        )?;
    }
    if let [ours, theirs] = starts.as_slice() {
        let times = theirs.to_first_answer.as_secs_f64() / ours.to_first_answer.as_secs_f64();
        write!(text, "\nThe first answer comes {times:.1} times as fast.\n")?;
    }
    Ok(text)
}

/// 100,000 keys at the share of the quotas that the template gives this function.
async fn shares() -> Result<String, Error> {
    let conditions = Conditions { keys: 100_000, latency_ms: 20, quotas: true, findings: None };
    let function = Contestant::function("rotation-checker", beside("rotation-checker")?, &[]);
    let measured = function.run(&conditions.serve()?).await?;
    Ok(format!(
        "100,000 keys at 20 ms, half of each quota shared with the other functions: {} s of the 900 s that a function has, \
        {} calls, {} of them throttled, {} MiB.\n",
        seconds(measured.wall),
        measured.calls,
        measured.throttled,
        mebibytes(measured.peak_memory_kib)
    ))
}

/// What a fleet a hundred times as large costs: with as many findings, and with as large a share of them.
async fn memory() -> Result<String, Error> {
    let mut peaks = Vec::new();
    for (keys, findings) in [(1_000, Some(150)), (100_000, Some(150)), (10_000, None), (100_000, None)] {
        let conditions = Conditions { keys, latency_ms: 0, quotas: false, findings };
        let function = Contestant::function("rotation-checker", beside("rotation-checker")?, &ALONE);
        peaks.push(function.run(&conditions.serve()?).await?.peak_memory_kib);
    }
    let [few, many, share_of_few, share_of_many] = peaks.as_slice() else { return Err("there are four runs".into()) };
    Ok(format!(
        "150 findings each: {} MiB with 1,000 keys, {} MiB with 100,000: {} MiB more. With a finding for 15 keys of 100: \
        {} MiB with 10,000 keys, {} MiB with 100,000.\n",
        mebibytes(*few),
        mebibytes(*many),
        mebibytes(many.saturating_sub(*few)),
        mebibytes(*share_of_few),
        mebibytes(*share_of_many),
    ))
}

fn floors() -> String {
    let floor = |keys| Conditions { keys, latency_ms: 0, quotas: true, findings: None }.quota_floor();
    let floors = KEYS.map(|keys| format!("{keys} keys {:.2} s", floor(keys)));
    format!(
        "The least time that the calls take at the default quotas, bursts left out (`GetKeyRotationStatus`, 1,000 a second): \
        {}. Python asks one key after another: at the largest sizes it would take hours and is left out; it never comes near \
        a quota, so it stands in this table alone.\n",
        floors.join(", ")
    )
}

fn introduction() -> String {
    format!(
        "# Benchmark\n\n\
        Made by `make bench` on {}.\n\n\
        Rows are medians of their runs, the contestants in turns within one run over one simulated fleet on the same\n\
        machine. Of twenty keys thirteen can rotate and three of those do not. Wall time counts from the start of the process\n\
        to its result; CPU time and memory are those of that process alone. rotation-checker is the release binary at the whole\n\
        of the default quotas (`KMS_QUOTA_SHARE=1`, `KMS_QUOTA_CALLERS=1`): it keeps to its pace where the fleet has no quotas\n\
        too, but for the rows with the pace off, a build for this benchmark alone. The bare client signs nothing and repeats\n\
        nothing: it shows what the fleet can serve.\n",
        machine::day_and_machine(),
    )
}
