//! `kms-compliance`: the checks of the monitor from a terminal.
//!
//! A scan runs the checks of all functions over one inventory of each Region, several Regions at once. It is read only by
//! construction: no ledger is written, no topic told, no key used. `docs/scan.md` is what people read of it.

mod account;
mod arguments;
mod checks;
mod ec2;
mod error;
mod interrupt;
mod logging;
mod offline;
mod output;
mod permissions;
mod progress;
mod scan;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Scan(arguments) => Box::pin(scan::scan(*arguments)).await,
        Command::Controls(arguments) => offline::controls(&arguments),
        Command::Policy(arguments) => offline::policy(&arguments),
        Command::PolicyDocument(arguments) => offline::policy_document(&arguments),
        Command::Completions { shell } => offline::completions(shell),
        Command::Man { directory } => offline::man(&directory),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            output::complain(&error);
            error.exit_code()
        }
    }
}
