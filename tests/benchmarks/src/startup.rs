//! From the start of a process to its first answer, and an invocation after that, with TLS between the function and AWS.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use simulated_fleet::harness::{TOPIC, days_from_now, describe, ok};
use simulated_fleet::{Fleet, FunctionProcess};

use crate::report::middle;
use crate::tls::TlsFront;

type Error = Box<dyn std::error::Error>;

/// How often each function is started.
pub const STARTS: usize = 15;

/// What one start took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Start {
    /// From the start of the process to its first question for an event.
    pub to_first_poll: Duration,
    /// From the start of the process to its first answer.
    pub to_first_answer: Duration,
    /// The CPU time until then.
    pub cpu: Duration,
    /// The second invocation, in the same process.
    pub warm: Duration,
    /// The most memory that the process held resident, in KiB.
    pub peak_memory_kib: u64,
}

/// Starts the functions in turns over ten keys without a finding; the medians, in the order of the binaries.
///
/// # Errors
/// One does not start, or fails.
pub async fn measure(binaries: &[PathBuf]) -> Result<Vec<Start>, Error> {
    let rotated = json!({"count": 10, "rotation": {"enabled": true, "next_rotation_date": days_from_now(30)}});
    let fleet = Fleet::serve(describe(json!({"keys": [rotated]})))?;
    let certificate_file = std::env::temp_dir().join(format!("benchmark-{}.pem", std::process::id()));
    let front = TlsFront::start(fleet.address(), &certificate_file).await?;
    let mut starts = vec![Vec::new(); binaries.len()];
    for _ in 0..STARTS {
        for (binary, starts) in binaries.iter().zip(&mut starts) {
            starts.push(start(binary, &fleet, &front, &certificate_file).await?);
        }
    }
    fs::remove_file(certificate_file)?;
    Ok(starts.iter().map(|starts| median(starts)).collect())
}

async fn start(binary: &Path, fleet: &Fleet, front: &TlsFront, certificate_file: &Path) -> Result<Start, Error> {
    let certificate_file = certificate_file.to_string_lossy();
    let environment = [
        ("AWS_ENDPOINT_URL", front.endpoint()),
        ("SSL_CERT_FILE", certificate_file.to_string()),
        ("AWS_CA_BUNDLE", certificate_file.into_owned()),
        ("SNS_TOPIC_ARN", TOPIC.to_owned()),
    ];
    let environment = environment.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>();
    let function = FunctionProcess::start(binary, fleet, &environment)?;
    let first = function.invoke(&json!({})).await;
    let to_first_poll = function.startup_time().ok_or("it never asked for an event")?;
    let cpu = function.cpu_time().unwrap_or_default();
    let to_first_answer = to_first_poll + first.elapsed;
    let answer = ok(first);
    // The source document's function calls it otherwise.
    if answer.get("keys_listed").or_else(|| answer.get("keys")) != Some(&json!(10)) {
        return Err(format!("the function looks at other keys than the ten: {answer}").into());
    }
    let second = function.invoke(&json!({})).await;
    let warm = second.elapsed;
    ok(second);
    let peak_memory_kib = function.peak_memory_kib().unwrap_or_default();
    Ok(Start { to_first_poll, to_first_answer, cpu, warm, peak_memory_kib })
}

fn median(starts: &[Start]) -> Start {
    Start {
        to_first_poll: middle(starts.iter().map(|it| it.to_first_poll)),
        to_first_answer: middle(starts.iter().map(|it| it.to_first_answer)),
        cpu: middle(starts.iter().map(|it| it.cpu)),
        warm: middle(starts.iter().map(|it| it.warm)),
        peak_memory_kib: middle(starts.iter().map(|it| it.peak_memory_kib)),
    }
}

/// Makes a program of a script: a file that names its interpreter, beside this one.
///
/// # Errors
/// It cannot be written.
pub fn program(interpreter: &Path, script: &Path, name: &str) -> Result<PathBuf, Error> {
    let file = std::env::current_exe()?.with_file_name(name);
    let folder = script.parent().ok_or("the script lies nowhere")?;
    let text = format!(
        "#!{}\nimport sys\nsys.path.insert(0, {:?})\n{}",
        interpreter.display(),
        folder.display().to_string(),
        fs::read_to_string(script)?
    );
    fs::write(&file, text)?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
    Ok(file)
}
