//! Serves a fleet file until it is interrupted, then prints what was called.

use std::io::{self, Write as _};
use std::process::ExitCode;

use simulated_fleet::{Fleet, FleetDescription};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "usage: simulated-fleet FLEET.json [--port N]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even that cannot be written, the exit code says it.
            let _ = writeln!(io::stderr(), "simulated-fleet: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let (path, port) = parse(std::env::args().skip(1))?;
    let fleet = Fleet::serve_on(FleetDescription::load(path)?, port)?;
    let mut out = io::stdout();
    writeln!(out, "AWS_ENDPOINT_URL={}", fleet.endpoint())?;
    out.flush()?;
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(interrupted())?;
    for (operation, calls) in fleet.calls() {
        writeln!(out, "{operation} {calls} (busiest second: {})", fleet.peak_rate(&operation))?;
    }
    for message in fleet.published() {
        writeln!(out, "published to {}: {}", message.topic_arn, message.subject.unwrap_or_default())?;
    }
    Ok(())
}

async fn interrupted() -> io::Result<()> {
    let mut terminated = signal(SignalKind::terminate())?;
    tokio::select! {
        result = tokio::signal::ctrl_c() => result,
        _ = terminated.recv() => Ok(()),
    }
}

/// The fleet file and the port.
fn parse(mut arguments: impl Iterator<Item = String>) -> Result<(String, u16), String> {
    let mut path = None;
    let mut port = 0;
    while let Some(argument) = arguments.next() {
        if argument == "--port" {
            let value = arguments.next().ok_or_else(|| format!("`--port` needs a number\n{USAGE}"))?;
            port = value.parse().map_err(|_| format!("`{value}` is not a port\n{USAGE}"))?;
        } else if argument.starts_with('-') || path.is_some() {
            return Err(format!("unexpected argument `{argument}`\n{USAGE}"));
        } else {
            path = Some(argument);
        }
    }
    Ok((path.ok_or_else(|| format!("no fleet file\n{USAGE}"))?, port))
}
