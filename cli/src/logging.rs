//! What the engine warns of, as lines on standard error, between the lines of progress.

use std::io::{self, Write};

use indicatif::MultiProgress;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The crates whose warnings are for people. The SDK's own are told as what they lead to.
const OURS: [&str; 7] = [
    "access_checker",
    "aws",
    "health_prober",
    "key_age_checker",
    "monitor",
    "rotation_checker",
    "usage_anomaly_scorer",
];

/// What the names of the SDK's crates begin with: a name counts for all that begin with it, `aws` among them.
const SDK: &str = "aws_";

/// Starts logging.
pub fn start(level: LevelFilter, progress: &MultiProgress) {
    let kept = Targets::new().with_targets(OURS.map(|name| (name, level))).with_target(SDK, LevelFilter::OFF);
    let progress = progress.clone();
    let lines = fmt::layer()
        .compact()
        .without_time()
        .with_target(false)
        .with_ansi(false)
        .with_writer(move || AboveProgress(progress.clone()));
    tracing_subscriber::registry().with(kept).with(lines).init();
}

/// Standard error, above the lines that move.
struct AboveProgress(MultiProgress);

impl Write for AboveProgress {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
