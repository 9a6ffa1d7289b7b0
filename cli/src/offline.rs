//! The commands that call nothing: the controls, the judgement of a policy's text, the permissions of a scan.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write as _};
use std::path::Path;
use std::process::ExitCode;

use access_checker::AccessChecker;
use anstream::ColorChoice;
use clap::CommandFactory;
use clap_complete::Shell;
use domain::control::Control;
use domain::finding::KeyIdentity;
use domain::location::Location;
use domain::report::Report;
use domain::text::printable;
use domain::verdict::Compliance;
use jiff::Timestamp;
use monitor::check::Check;
use monitor::settings::Environment;
use outputs::scan::{Scan, is_open};
use outputs::scan_table;
use serde_json::{Value, json};

use crate::arguments::{Arguments, ControlsArguments, PolicyArguments, PolicyDocumentArguments, ShortFormat};
use crate::error::{CliError, FINDINGS, INCOMPLETE};
use crate::{checks, output, permissions};

/// The largest text that is read as a key policy. KMS takes 32 KiB.
const MAX_POLICY_BYTES: u64 = 1_000_000;

/// The account's Region does not matter to a policy.
const SOME_REGION: &str = "us-east-1";

/// Lists the controls.
///
/// # Errors
/// Standard output cannot be written.
pub fn controls(arguments: &ControlsArguments) -> Result<ExitCode, CliError> {
    let checks = checks::all();
    let controls = checks.iter().flat_map(|check| check.controls.iter().map(move |control| (check.function, *control)));
    let text = match arguments.format {
        ShortFormat::Json => {
            let of = |(function, control): (&str, &Control)| {
                let Control { id, title, severity, other_severities, references } = control;
                json!({
                    "id": id,
                    "function": function,
                    "title": title,
                    "severity": severity,
                    "other_severities": other_severities,
                    "references": references,
                })
            };
            format!("{:#}\n", json!({ "controls": controls.map(of).collect::<Vec<_>>() }))
        }
        ShortFormat::Table => {
            let mut text = String::new();
            let mut last = "";
            for (function, control) in controls {
                if function != last {
                    let _ = writeln!(text, "{}{function}", if last.is_empty() { "" } else { "\n" });
                }
                last = function;
                let Control { id, title, severity, other_severities, references } = control;
                let _ = writeln!(text, "  {id}  {}", severity.as_str());
                let _ = writeln!(text, "      {title}");
                if !other_severities.is_empty() {
                    let _ = writeln!(text, "      {other_severities}");
                }
                if !references.is_empty() {
                    let _ = writeln!(text, "      {}", references.join("; "));
                }
            }
            text
        }
    };
    output::print(text.as_bytes(), ColorChoice::Auto)?;
    Ok(ExitCode::SUCCESS)
}

/// Prints the permissions of a scan.
///
/// # Errors
/// Standard output cannot be written.
pub fn policy_document(arguments: &PolicyDocumentArguments) -> Result<ExitCode, CliError> {
    if let Some(table) = &arguments.since_table {
        crate::scan::table_name(table)?;
    }
    let document = permissions::document(arguments.since_table.as_deref());
    output::print(format!("{document:#}\n").as_bytes(), ColorChoice::Auto)?;
    Ok(ExitCode::SUCCESS)
}

/// Judges the text of a key policy.
///
/// # Errors
/// It cannot be read, or a setting is wrong.
pub fn policy(arguments: &PolicyArguments) -> Result<ExitCode, CliError> {
    let mut environment = Environment::of_process();
    let known: Vec<&str> = AccessChecker::SETTINGS.iter().map(|setting| setting.name()).collect();
    set(&mut environment, &arguments.settings, &known)?;
    let check = AccessChecker::read(&environment).map_err(|error| CliError::usage(error.to_string()))?;
    let text = read(&arguments.file)?;
    let location =
        Location { partition: "aws".to_owned(), region: SOME_REGION.to_owned(), account_id: arguments.account.clone() };
    let key = KeyIdentity { arn: location.key_arn("the-policy"), id: "the policy".to_owned() };
    let verdicts = check.judge_policy(&text, &key.arn);
    let mut report = Report::new(AccessChecker::FUNCTION, &location, Timestamp::UNIX_EPOCH, &[], None);
    let controls: Vec<&'static Control> = verdicts.iter().map(|(control, _)| *control).collect();
    let told: Vec<Value> = verdicts
        .iter()
        .map(|(control, verdict)| {
            json!({
                "control": control.id,
                "compliance": verdict.compliance,
                "severity": (verdict.compliance == Compliance::NonCompliant)
                    .then(|| verdict.severity.unwrap_or(control.severity)),
                "reason": verdict.reason,
                "detail": printable(&verdict.detail),
                "evidence": verdict.evidence,
                "remediation": verdict.remediation,
                "references": control.references,
            })
        })
        .collect();
    report.add(&key, &controls, verdicts.into_iter().map(|(_, verdict)| verdict), None);
    report.close(&BTreeMap::new());
    let scan = Scan { reports: vec![report], ..Scan::default() };
    let text = match arguments.format {
        ShortFormat::Json => format!("{:#}\n", json!({"account_id": arguments.account, "verdicts": told})),
        ShortFormat::Table => scan_table::render(&scan, output::terminal(&environment, true, true)),
    };
    output::print(text.as_bytes(), ColorChoice::Auto)?;
    let worst = scan.findings().filter(|(_, finding)| is_open(finding)).map(|(_, finding)| finding.severity).max();
    Ok(ExitCode::from(if arguments.fail_on.is_failure(worst) {
        FINDINGS
    } else if scan.is_complete() {
        0
    } else {
        INCOMPLETE
    }))
}

/// Sets what `--set` says, if it is one of the settings that are known.
///
/// # Errors
/// It is none.
pub fn set(environment: &mut Environment, settings: &[(String, String)], known: &[&str]) -> Result<(), CliError> {
    for (name, value) in settings {
        if !known.contains(&name.as_str()) {
            return Err(CliError::usage(format!("--set `{}`: there is {}", printable(name), known.join(", "))));
        }
        environment.set(name, value);
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, CliError> {
    let shown = file.display();
    let unreadable =
        |error: &dyn std::fmt::Display| CliError::usage(format!("the policy `{shown}` cannot be read: {error}"));
    let mut text = Vec::new();
    let read = if file == Path::new("-") {
        io::stdin().lock().take(MAX_POLICY_BYTES + 1).read_to_end(&mut text)
    } else {
        fs::File::open(file).and_then(|file| file.take(MAX_POLICY_BYTES + 1).read_to_end(&mut text))
    };
    read.map_err(|error| unreadable(&error))?;
    if text.len() as u64 > MAX_POLICY_BYTES {
        return Err(unreadable(&"it is larger than any key policy"));
    }
    String::from_utf8(text).map_err(|_| unreadable(&"it is no UTF-8 text"))
}

/// Prints the completions for a shell.
///
/// # Errors
/// Standard output cannot be written.
pub fn completions(shell: Shell) -> Result<ExitCode, CliError> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "kms-compliance", &mut text);
    output::print(&text, ColorChoice::Never)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the manual pages into a folder.
///
/// # Errors
/// It cannot be written.
pub fn man(directory: &Path) -> Result<ExitCode, CliError> {
    let unwritable =
        |error: io::Error| CliError::failed(format!("`{}` cannot be written: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(unwritable)?;
    clap_mangen::generate_to(Arguments::command(), directory).map_err(unwritable)?;
    let _ = writeln!(io::stderr(), "the manual pages are in {}", directory.display());
    Ok(ExitCode::SUCCESS)
}
