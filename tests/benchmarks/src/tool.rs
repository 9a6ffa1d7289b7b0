//! A program that people run from a terminal over the keys of an account: the scan, and its peers.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use simulated_fleet::{Fleet, process};

use crate::contestant::now;

type Error = Box<dyn std::error::Error>;

/// How long a run may take: Prowler asks about 10,000 keys for some 20 minutes.
const LIMIT: Duration = Duration::from_hours(1);
/// How often a process is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Where standard output and standard error go, in the folder of a run.
const OUTPUT: &str = "output";
const ERRORS: &str = "errors";

/// A program that judges all keys, leaves what it found, and ends.
#[derive(Clone, Debug)]
pub struct Tool {
    /// What the table calls it.
    pub name: &'static str,
    /// The program and its arguments; `{folder}` stands for a folder that each run gets for itself.
    pub command: Vec<String>,
    /// How it tells what it found.
    pub report: Report,
    /// Of twenty keys of the benchmark's fleet, how many it says do not rotate.
    pub not_rotating_in_twenty: usize,
}

/// The form in which a tool says which keys do not rotate.
#[derive(Clone, Copy, Debug)]
pub enum Report {
    /// `scan --format csv`, on standard output.
    Scan,
    /// Prowler's CSV, `{folder}/report.csv`.
    Prowler,
    /// Cloud Custodian's resources of the policy `rotation-off`, in `{folder}`.
    Custodian,
}

impl Tool {
    /// Runs it once over the fleet, in a new process: wall time, CPU time and peak memory in KiB of that process. A run counts
    /// only if it asked about every key and named as many as it should.
    ///
    /// # Errors
    /// It does not start, does not end, or does not say what it should.
    pub fn run(&self, fleet: &Fleet) -> Result<(Duration, Duration, u64), Error> {
        let folder = tempfile::tempdir()?;
        let used = self.measure(fleet, folder.path())?;
        let keys: usize =
            fleet.description().keys.iter().map(|entry| usize::try_from(entry.count)).sum::<Result<_, _>>()?;
        let asked = fleet.calls_for("DescribeKey").len();
        let found = self.report.not_rotating(folder.path()).map_err(|error| self.failed(folder.path(), &error))?;
        let expected = keys / 20 * self.not_rotating_in_twenty;
        if (asked, found) != (keys, expected) {
            let what = format!(
                "it asked about {asked} of {keys} keys, and says of {found} that they do not rotate, not {expected}"
            );
            return Err(self.failed(folder.path(), &what).into());
        }
        Ok(used)
    }

    fn measure(&self, fleet: &Fleet, folder: &Path) -> Result<(Duration, Duration, u64), Error> {
        let shown = folder.to_string_lossy();
        let mut words = self.command.iter().map(|word| word.replace("{folder}", &shown));
        let program = words.next().ok_or("a tool has no command")?;
        let started = now();
        let mut child = Command::new(&program)
            .args(words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", folder)
            .env("LANG", "C.UTF-8")
            .env("AWS_ENDPOINT_URL", fleet.endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_DEFAULT_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "simulated")
            .env("AWS_SECRET_ACCESS_KEY", "simulated")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(File::create(folder.join(OUTPUT))?)
            .stderr(File::create(folder.join(ERRORS))?)
            .spawn()
            .map_err(|error| format!("cannot start `{program}`: {error}"))?;
        let peak = peak_until_end(child.id(), started);
        let (wall, cpu) = (started.elapsed(), process::cpu_time(child.id()));
        if !process::has_ended(child.id()) {
            child.kill()?;
            child.wait()?;
            return Err(self.failed(folder, "it does not end").into());
        }
        child.wait()?;
        Ok((wall, cpu.unwrap_or_default(), peak))
    }

    /// What went wrong, with the last lines of what the tool said.
    fn failed(&self, folder: &Path, what: &str) -> String {
        let last_lines = |name: &str| {
            let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
            let lines = text.lines().skip(text.lines().count().saturating_sub(20));
            lines.collect::<Vec<_>>().join("\n")
        };
        format!("{}: {what}\n{}\n{}", self.name, last_lines(OUTPUT), last_lines(ERRORS))
    }
}

/// The most memory that the process held resident until its end, in KiB.
fn peak_until_end(process_id: u32, started: Instant) -> u64 {
    let mut peak = 0;
    while !process::has_ended(process_id) && started.elapsed() < LIMIT {
        peak = process::peak_memory_kib(process_id).unwrap_or(peak);
        sleep(LOOK);
    }
    peak
}

impl Report {
    /// How many keys the report says do not rotate.
    fn not_rotating(self, folder: &Path) -> Result<usize, String> {
        let rows = |file: &str, delimiter| {
            let reader = csv::ReaderBuilder::new().delimiter(delimiter).from_path(folder.join(file));
            reader.map_err(|error| error.to_string())
        };
        match self {
            Self::Scan => {
                count(rows(OUTPUT, b',')?, [("control", "rotation-enabled"), ("compliance", "NON_COMPLIANT")])
            }
            Self::Prowler => {
                count(rows("report.csv", b';')?, [("CHECK_ID", "kms_cmk_rotation_enabled"), ("STATUS", "FAIL")])
            }
            Self::Custodian => {
                let text = fs::read_to_string(folder.join("rotation-off/resources.json"));
                let resources: Value = text
                    .map_err(|error| error.to_string())
                    .and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))?;
                resources.as_array().map(Vec::len).ok_or_else(|| "it gives no list of resources".to_owned())
            }
        }
    }
}

/// How many rows have those values in those columns.
fn count(mut rows: csv::Reader<File>, values: [(&str, &str); 2]) -> Result<usize, String> {
    let header = rows.headers().map_err(|error| error.to_string())?.clone();
    let mut columns = Vec::new();
    for (name, value) in values {
        let column = header.iter().position(|it| it == name).ok_or_else(|| format!("it has no column `{name}`"))?;
        columns.push((column, value));
    }
    let mut found = 0;
    for row in rows.records() {
        let row = row.map_err(|error| error.to_string())?;
        found += usize::from(columns.iter().all(|(column, value)| row.get(*column) == Some(value)));
    }
    Ok(found)
}
