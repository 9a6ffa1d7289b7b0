//! `make bench-peers`: a scan beside Prowler, rotation-checker beside Cloud Custodian and Prowler, over one fleet in one run.
//! The page goes to `docs/benchmark-peers.md`. It takes about an hour.
//!
//! `bench-peers KEYS…` measures fleets of those sizes, multiples of twenty, and prints the page instead.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use benchmarks::contestant::{Contestant, Measured};
use benchmarks::fleet::Conditions;
use benchmarks::machine;
use benchmarks::report::{Row, median, table};
use benchmarks::tool::{Report, Tool};

type Error = Box<dyn std::error::Error>;

/// Twenty keys show what a program takes before it asks about keys.
const KEYS: [u32; 3] = [20, 1_000, 10_000];
const LATENCY_MS: u64 = 20;
const RUNS: usize = 3;
/// Prowler takes twenty minutes for so many keys: they are asked about once.
const MANY: u32 = 10_000;
/// Who takes longer is not asked again.
const LONG: Duration = Duration::from_mins(1);

const UNPACED: &str = "rotation-checker, pace off";
const CUSTODIAN: &str = "Cloud Custodian";
const PROWLER: &str = "Prowler";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let keys = std::env::args().skip(1).map(|keys| sized(&keys)).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Ok(fs::write(project().join("../../docs/benchmark-peers.md"), page(&KEYS).await?)?);
    }
    Ok(write!(std::io::stdout(), "{}", page(&keys).await?)?)
}

fn sized(keys: &str) -> Result<u32, String> {
    let size = keys.parse().ok().filter(|keys| *keys > 0 && keys % 20 == 0);
    size.ok_or_else(|| format!("usage: bench-peers [KEYS…]: `{keys}` is no multiple of twenty"))
}

async fn page(sizes: &[u32]) -> Result<String, Error> {
    let policy = tempfile::NamedTempFile::with_suffix(".yml")?;
    fs::write(&policy, POLICY)?;
    let (scans, rotation) = (scans()?, rotation(policy.path())?);
    // Python compiles what it imports for the first time: that is nobody's speed. And who is wrong is told at once.
    rows(20, true, &scans, 1).await?;
    rows(20, false, &rotation, 1).await?;
    let (mut of_scans, mut of_rotation) = (Vec::new(), Vec::new());
    for keys in sizes {
        let runs = if *keys < MANY { RUNS } else { 1 };
        of_scans.extend(rows(*keys, true, &scans, runs).await?);
        of_rotation.extend(rows(*keys, false, &rotation, runs).await?);
    }
    let mut page = introduction(sizes)?;
    write!(
        page,
        "\n## A scan beside Prowler\n\n{SCANS}\n{}\n## Which keys do not rotate\n\n{ROTATION}\n{}\n{}",
        table(&of_scans),
        table(&of_rotation),
        times_as_fast(&of_rotation),
    )?;
    Ok(page)
}

/// The rows of these contestants, in turns, over a fleet of so many keys.
async fn rows(keys: u32, quotas: bool, contestants: &[Contestant], runs: usize) -> Result<Vec<Row>, Error> {
    let fleet = Conditions { keys, latency_ms: LATENCY_MS, quotas, findings: None }.serve()?;
    let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); contestants.len()];
    for _ in 0..runs {
        for (contestant, measured) in contestants.iter().zip(&mut measured) {
            if measured.iter().any(|run| run.wall > LONG) {
                continue;
            }
            let run = contestant.run(&fleet).await?;
            writeln!(std::io::stderr(), "{keys} keys, quotas {quotas}: {} {run:?}", contestant.name())?;
            measured.push(run);
        }
    }
    let row = |(contestant, measured): (&Contestant, &Vec<_>)| Row {
        keys,
        latency_ms: LATENCY_MS,
        contestant: contestant.name().to_owned(),
        runs: measured.len(),
        measured: median(measured),
    };
    Ok(contestants.iter().zip(&measured).map(row).collect())
}

/// The scan by itself, with whole quotas, and by the controls that Prowler has too; Prowler's checks of KMS.
fn scans() -> Result<Vec<Contestant>, Error> {
    let program = shown(&beside("kms-compliance")?);
    let scan = |name, more: &[&str]| {
        // At a fifth of each quota, 10,000 keys take longer than the five minutes that a scan takes at most by itself.
        let words = [&["scan", "--quiet", "--format", "csv", "--max-time", "30m"], more].concat();
        Contestant::Tool(Tool {
            name,
            command: [program.clone()].into_iter().chain(words.into_iter().map(str::to_owned)).collect(),
            report: Report::Scan,
            not_rotating_in_twenty: 3,
        })
    };
    let same = ["rotation-enabled", "pending-deletion", "key-usable", "public-access"];
    let same = same.iter().flat_map(|control| ["--control", control]);
    let same: Vec<&str> = ["--quota-share", "1"].into_iter().chain(same).collect();
    Ok(vec![
        scan("scan", &[]),
        scan("scan, whole quotas", &["--quota-share", "1"]),
        scan("scan, whole quotas, Prowler's questions", &same),
        prowler(&["--service", "kms"]),
    ])
}

/// The function without its pace, and both peers' question about rotation.
fn rotation(policy: &Path) -> Result<Vec<Contestant>, Error> {
    let settings = [("KMS_QUOTA_SHARE", "1"), ("KMS_QUOTA_CALLERS", "1"), ("KMS_PACE", "off")];
    let custodian = peer("peers-custodian", "custodian");
    let words = ["run", "--region", "us-east-1", "--cache-period", "0", "--output-dir", "{folder}"];
    let words = words.map(str::to_owned);
    Ok(vec![
        Contestant::function(UNPACED, beside("rotation-checker-unpaced")?, &settings),
        Contestant::Tool(Tool {
            name: CUSTODIAN,
            command: [custodian].into_iter().chain(words).chain([shown(policy)]).collect(),
            report: Report::Custodian,
            not_rotating_in_twenty: 3,
        }),
        prowler(&["--checks", "kms_cmk_rotation_enabled"]),
    ])
}

fn prowler(what: &[&str]) -> Contestant {
    let form = ["--region", "us-east-1", "--no-banner", "--output-formats", "csv"];
    let place = ["--output-directory", "{folder}", "--output-filename", "report"];
    let words = [&["aws"], what, &form, &place].concat().into_iter().map(str::to_owned);
    Contestant::Tool(Tool {
        name: PROWLER,
        command: [peer("peers-prowler", "prowler")].into_iter().chain(words).collect(),
        report: Report::Prowler,
        // The one with imported material too, which KMS does not rotate.
        not_rotating_in_twenty: 4,
    })
}

const POLICY: &str = "\
policies:
  - name: rotation-off
    resource: aws.kms-key
    filters:
      - KeySpec: SYMMETRIC_DEFAULT
      - Origin: AWS_KMS
      - type: key-rotation-status
        key: KeyRotationEnabled
        value: false
";

const SCANS: &str = "\
KMS keeps to its default quotas. `kms-compliance scan` asks 22 controls, for grants and last usage as long as it does by
itself, 30 s, with a fifth of each quota unless the row says otherwise. The third row asks only what Prowler's checks ask too.
Prowler runs its checks of KMS (`--service kms`). Both write CSV.
";

const ROTATION: &str = "\
KMS has no quotas. rotation-checker is built without its pace, which no shipped build allows. Cloud Custodian runs a policy
with the filter `key-rotation-status`, behind filters for the keys that can rotate: without those it asks about more keys, and
names all that cannot rotate too. Prowler runs the check `kms_cmk_rotation_enabled`.
";

fn introduction(sizes: &[u32]) -> Result<String, Error> {
    let sizes: Vec<_> = sizes.iter().map(ToString::to_string).collect();
    let version = |name: &str, package: &str| -> Result<String, Error> {
        let text = fs::read_to_string(project().join("../..").join(name))?;
        let pin = text.lines().find_map(|line| line.strip_prefix(package)?.strip_prefix("=="));
        Ok(pin.ok_or_else(|| format!("`{name}` pins no `{package}`"))?.to_owned())
    };
    Ok(format!(
        "# Benchmark beside peers\n\n\
        Made by `make bench-peers KEYS=\"{}\"` on {}. Prowler {}, Cloud Custodian {}, {}.\n\n\
        Rows are medians of their runs, the programs in turns over one simulated fleet on the same machine, which takes 20 ms for\n\
        each answer. Of twenty keys thirteen can rotate and three of those do not. Wall time counts from the start of the process\n\
        to its end, for the function to its answer; CPU time and memory are those of that process alone. Each ran once before, over\n\
        twenty keys. A run counts only if it asked about every key and named those that do not rotate: three of twenty, of which\n\
        Prowler makes four, as it counts the key with imported material that KMS does not rotate.\n",
        sizes.join(" "),
        machine::day_and_machine(),
        version("requirements-prowler.txt", "prowler")?,
        version("requirements-custodian.txt", "c7n")?,
        python()?,
    ))
}

/// What runs the peers.
fn python() -> Result<String, Error> {
    let output = std::process::Command::new(peer("peers-prowler", "python")).arg("--version").output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn times_as_fast(rows: &[Row]) -> String {
    let wall = |row: &Row| row.measured.wall.as_secs_f64();
    let mut text = String::new();
    for ours in rows.iter().filter(|row| row.contestant == UNPACED) {
        let times = |name: &str| {
            let theirs = rows.iter().find(|row| row.keys == ours.keys && row.contestant == name);
            theirs.map_or(0.0, |theirs| wall(theirs) / wall(ours))
        };
        let (custodian, prowler) = (times(CUSTODIAN), times(PROWLER));
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{} keys: rotation-checker is {custodian:.0} times as fast as Cloud Custodian, {prowler:.0} times as fast as Prowler.",
            ours.keys
        );
    }
    text
}

fn beside(name: &str) -> Result<PathBuf, Error> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

fn peer(environment: &str, program: &str) -> String {
    shown(&project().join("../../.venv").join(environment).join("bin").join(program))
}

fn project() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
