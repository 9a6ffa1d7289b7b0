//! How far a scan is, one line a Region, on standard error.

use std::cell::Cell;
use std::time::Duration;

use domain::verdict::{Compliance, Verdict};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use monitor::observer::Observer;

use crate::interrupt::Interrupt;

/// How long calls about grants and last usage may take together, unless they are to go on.
const FOR_LAST_CALLS: Duration = Duration::from_secs(30);

/// While the keys are judged, and while the last calls are made.
const TEMPLATE: &str = "{prefix}  {human_pos}/{human_len} {msg}  ETA {eta}";
/// Before the keys are known.
const LISTING: &str = "{prefix}  {msg}";

/// The lines of all Regions.
#[derive(Debug)]
pub struct Progress {
    lines: MultiProgress,
}

impl Progress {
    /// Lines that are shown on a terminal, or none.
    pub fn new(is_shown: bool) -> Self {
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self { lines: MultiProgress::with_draw_target(target) }
    }

    /// The lines, for whoever writes between them.
    pub fn lines(&self) -> &MultiProgress {
        &self.lines
    }

    /// The line of a Region.
    pub fn region(&self, name: &str, interrupt: &Interrupt, ask_all: bool) -> RegionProgress {
        let line = self.lines.add(ProgressBar::new_spinner());
        line.set_style(style(LISTING));
        line.set_prefix(name.to_owned());
        line.set_message("lists its keys");
        line.tick();
        let time_for_last_calls = (!ask_all).then_some(FOR_LAST_CALLS);
        RegionProgress { line, findings: Cell::new(0), interrupt: interrupt.clone(), time_for_last_calls }
    }
}

fn style(template: &str) -> ProgressStyle {
    // The templates are ours and parse.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The line of one Region.
#[derive(Debug)]
pub struct RegionProgress {
    line: ProgressBar,
    findings: Cell<u64>,
    interrupt: Interrupt,
    time_for_last_calls: Option<Duration>,
}

impl RegionProgress {
    /// The Region is done: its line goes.
    pub fn done(&self) {
        self.line.finish_and_clear();
    }

    fn tell(&self, what: &str) {
        self.line.set_message(format!("{what}  {} findings", self.findings.get()));
    }
}

impl Observer for RegionProgress {
    fn listed(&self, keys: usize) {
        self.line.set_style(style(TEMPLATE));
        self.line.set_length(keys as u64);
        self.tell("keys");
    }

    fn evaluated(&self, verdicts: &mut dyn Iterator<Item = &Verdict>) {
        let findings = verdicts.filter(|verdict| verdict.compliance == Compliance::NonCompliant).count();
        self.findings.set(self.findings.get() + findings as u64);
        self.line.inc(1);
        self.tell("keys");
    }

    fn asks_last(&self, calls: usize) {
        self.line.reset();
        self.line.set_length(calls as u64);
        self.tell("grants and last usage");
    }

    fn asked_last(&self) {
        self.line.inc(1);
    }

    fn time_for_last_calls(&self) -> Option<Duration> {
        self.time_for_last_calls
    }

    fn room_for_evaluations(&self) -> usize {
        usize::MAX
    }

    fn stopped(&self) -> LocalBoxFuture<'_, ()> {
        self.interrupt.pressed().boxed_local()
    }
}
