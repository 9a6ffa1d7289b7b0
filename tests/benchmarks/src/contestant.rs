//! The programs that are compared, and one measured run of each.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;
use simulated_fleet::harness::{TOPIC, ok};
use simulated_fleet::{Fleet, FunctionProcess, Invocation, process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::DONE;
use crate::tool::Tool;

/// A program that asks a fleet which of its keys do not rotate.
#[derive(Clone, Debug)]
pub enum Contestant {
    /// A function's release binary, under the Lambda Runtime API.
    Function {
        /// What the table calls it.
        name: &'static str,
        /// Where the binary lies.
        binary: PathBuf,
        /// Its settings beside the topic.
        settings: Vec<(String, String)>,
    },
    /// A program that prints a line and waits for the end of its input.
    Program {
        /// What the table calls it.
        name: &'static str,
        /// The program and its arguments; `{endpoint}` stands for the fleet's address.
        command: Vec<String>,
    },
    /// A program that leaves what it found in a folder, and ends.
    Tool(Tool),
}

/// What a run took.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// From the start of the process to its result.
    pub wall: Duration,
    /// CPU time of the process, user and system.
    pub cpu: Duration,
    /// The most memory that the process ever held resident, in KiB.
    pub peak_memory_kib: u64,
    /// Requests that KMS got.
    pub calls: u64,
    /// Requests that KMS throttled.
    pub throttled: u64,
}

/// How long a run may take.
pub(crate) const LIMIT: Duration = Duration::from_mins(15);

impl Contestant {
    /// A function with these settings beside the topic.
    pub fn function(name: &'static str, binary: PathBuf, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Self::Function { name, binary, settings }
    }

    /// What the table calls it.
    pub const fn name(&self) -> &str {
        match self {
            Self::Function { name, .. } | Self::Program { name, .. } => name,
            Self::Tool(tool) => tool.name,
        }
    }

    /// Does it ask of one key after another?
    pub fn is_one_by_one(&self) -> bool {
        let is_python = |word: &String| Path::new(word).extension().is_some_and(|it| it == "py");
        matches!(self, Self::Program { command, .. } if command.iter().any(is_python))
    }

    /// Runs it once over the fleet, in a new process.
    ///
    /// # Errors
    /// It does not start, fails, or says nothing.
    pub async fn run(&self, fleet: &Fleet) -> Result<Measured, Box<dyn std::error::Error>> {
        fleet.clear_calls();
        fleet.clear_published();
        let (wall, cpu, peak_memory_kib) = match self {
            Self::Function { binary, settings, .. } => invoke(binary, settings, fleet).await?,
            Self::Program { command, .. } => run(command, fleet).await?,
            Self::Tool(tool) => tool.run(fleet)?,
        };
        let calls = fleet.calls().into_iter().filter(|(operation, _)| operation != "Publish");
        Ok(Measured {
            wall,
            cpu,
            peak_memory_kib,
            calls: calls.map(|(_, calls)| calls).sum(),
            throttled: fleet.throttled(),
        })
    }
}

async fn invoke(
    binary: &Path,
    settings: &[(String, String)],
    fleet: &Fleet,
) -> Result<(Duration, Duration, u64), Box<dyn std::error::Error>> {
    let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings = [("SNS_TOPIC_ARN", TOPIC)].into_iter().chain(settings).collect::<Vec<_>>();
    let function = FunctionProcess::start(binary, fleet, &settings)?;
    let outcome = function.invoke_with(&json!({}), Invocation { deadline: LIMIT, ..Invocation::default() }).await;
    let wall = function.startup_time().unwrap_or_default() + outcome.elapsed;
    let (cpu, peak) = (function.cpu_time(), function.peak_memory_kib());
    if ok(outcome).get("complete") != Some(&json!(true)) {
        return Err(format!("`{}` did not reach every key", binary.display()).into());
    }
    Ok((wall, cpu.unwrap_or_default(), peak.unwrap_or_default()))
}

async fn run(command: &[String], fleet: &Fleet) -> Result<(Duration, Duration, u64), Box<dyn std::error::Error>> {
    let endpoint = fleet.endpoint();
    let mut words = command.iter().map(|word| word.replace("{endpoint}", &endpoint));
    let program = words.next().ok_or("a contestant has no command")?;
    let started = now();
    let mut child = Command::new(&program)
        .args(words)
        .env("AWS_ENDPOINT_URL", &endpoint)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "simulated")
        .env("AWS_SECRET_ACCESS_KEY", "simulated")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("cannot start `{program}`: {error}"))?;
    let process_id = child.id().ok_or("the contestant ended at once")?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("it has no output")?).lines();
    let line = tokio::time::timeout(LIMIT, lines.next_line()).await??.unwrap_or_default();
    let wall = started.elapsed();
    if !line.starts_with(DONE) {
        return Err(format!("`{program}` says `{line}`").into());
    }
    let used = (process::cpu_time(process_id), process::peak_memory_kib(process_id));
    drop(child.stdin.take());
    child.wait().await?;
    Ok((wall, used.0.unwrap_or_default(), used.1.unwrap_or_default()))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
