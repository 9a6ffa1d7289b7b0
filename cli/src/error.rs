//! How a command can fail as a whole, and the numbers that it ends with.

use std::process::ExitCode;

/// There are findings at or above what `--fail-on` says.
pub const FINDINGS: u8 = 3;
/// Something could not be read.
pub const INCOMPLETE: u8 = 4;
/// Somebody pressed Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Why a command did not do what it was to do.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// It was called in a way that makes no sense. 2.
    #[error("{0}")]
    Usage(String),
    /// It could not be done. 1.
    #[error("{0}")]
    Failed(String),
    /// It was interrupted before there was anything to print. 130.
    #[error("interrupted before any key was looked at")]
    Interrupted,
}

impl CliError {
    /// A mistake in how it was called.
    pub fn usage(what: impl Into<String>) -> Self {
        Self::Usage(what.into())
    }

    /// Something that could not be done.
    pub fn failed(what: impl Into<String>) -> Self {
        Self::Failed(what.into())
    }

    /// What the process ends with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Interrupted => INTERRUPTED,
        })
    }
}
