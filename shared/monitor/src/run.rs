//! One run of a function: the lease, the evaluation, what changed, the alert, and the lease given back.

use domain::ledger::{Ledger, Notify};
use domain::location::{AccountRegion, KeyName};
use domain::outcome::Done;
use domain::report::Report;
use jiff::Timestamp;
use outputs::metrics::{Samples, Trigger};
use outputs::response::AlertCounts;

use crate::check::AnyCheck;
use crate::deadlines::Deadlines;
use crate::error::RunError;
use crate::evaluation::{CheckEvaluation, Evaluation, Monitor, Request};
use crate::findings_table::{FindingsTable, Lease};
use crate::inventory::Begin;
use crate::notification;
use crate::outcomes;
use crate::settings::EvaluationSettings;
use crate::target::{Home, Target};

/// What the sender of an event may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Check these keys only; `None` = all.
    pub keys: Option<Vec<KeyName>>,
    /// Judge as if it were then.
    pub as_of: Option<Timestamp>,
    /// Publish nothing, write nothing.
    pub dry_run: bool,
    /// Answer with every evaluation.
    pub verbose: bool,
    /// Where the keys are; `None` = where the monitor lives.
    pub target: Option<AccountRegion>,
    /// Who tells the team.
    pub notify: Notify,
    /// Answer with the counts alone.
    pub summary: bool,
}

/// One run.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// What is asked of the keys.
    pub check: &'a dyn AnyCheck,
    /// Which keys there are to look at.
    pub settings: &'a EvaluationSettings,
    /// Where the monitor lives.
    pub home: &'a Home,
    /// Where the keys are.
    pub target: &'a Target,
    /// What its sender chose.
    pub options: &'a Options,
    /// Does the run answer to events about keys?
    pub is_of_key_events: bool,
    /// Name of the event: another attempt at it may take over.
    pub owner: &'a str,
    /// Name of this attempt, unlike that of any other.
    pub attempt: &'a str,
    /// The present.
    pub now: Timestamp,
    /// When the run will have ended, whatever happens.
    pub ends_at: Timestamp,
    /// Until when each of its parts has to be done.
    pub deadlines: &'a Deadlines,
}

/// What came of a run.
#[derive(Debug)]
pub struct RunOutcome {
    /// Counts and findings.
    pub report: Report,
    /// What the team was told.
    pub alerts: AlertCounts,
    /// What the check measured.
    pub samples: Vec<Samples>,
    /// KMS requests sent, retries included.
    pub kms_calls: u64,
    /// KMS requests throttled.
    pub kms_throttles: u64,
}

impl Run<'_> {
    /// What set the run off; `None` if it judges for another instant, or tells nobody: then it counts nowhere.
    pub fn trigger(&self) -> Option<Trigger> {
        let Options { keys, as_of, dry_run, target, .. } = self.options;
        match (*dry_run || as_of.is_some(), self.is_of_key_events, keys, self.options.notify) {
            (true, _, _, _) => None,
            (false, true, _, _) => Some(Trigger::KeyEvents),
            (false, false, Some(_), _) => Some(Trigger::NamedKeys),
            (false, false, None, Notify::Later) => Some(Trigger::DailyCheck),
            // By hand, of one target: not what the daily metrics are of.
            (false, false, None, Notify::Now) if target.is_some() => Some(Trigger::NamedKeys),
            (false, false, None, Notify::Now) => Some(Trigger::Daily),
        }
    }

    /// The whole run, while no other run of the function tells the team. A dry run tells nobody and needs no lease.
    ///
    /// # Errors
    /// The run failed as a whole.
    pub async fn run(&self) -> Result<RunOutcome, RunError> {
        let Some(table) = FindingsTable::of(self.home, &self.target.location, self.check.function()) else {
            if self.options.notify == Notify::Later && !self.options.dry_run {
                return Err(RunError::NoLedger);
            }
            return self.under_lease(None, None).await;
        };
        if self.options.dry_run {
            return self.under_lease(Some(&table), None).await;
        }
        let attempt = self.attempt.to_owned();
        let lease = table.take_lease(self.owner, attempt, self.now, self.ends_at, self.deadlines.leased).await?;
        let outcome = self.under_lease(Some(&table), Some(&lease)).await;
        table.release(&lease, self.deadlines.notified).await;
        outcome
    }

    async fn under_lease(
        &self,
        table: Option<&FindingsTable<'_>>,
        lease: Option<&Lease>,
    ) -> Result<RunOutcome, RunError> {
        let Self { options, deadlines, now, .. } = *self;
        let ledger = match table {
            Some(table) => Ledger::new(table.read(deadlines.evaluated).await?).told(options.notify),
            None => Ledger::default(),
        };
        let next_key = match table {
            Some(table) if options.keys.is_none() => table.next_key(deadlines.evaluated).await?,
            _ => None,
        };
        let judged_at = options.as_of.unwrap_or(now);
        let request = Request {
            keys: options.keys.as_deref(),
            is_of_key_events: self.is_of_key_events,
            begin: next_key.as_deref().map_or(Begin::ByDay(now), Begin::With),
            judged_at,
            verbose: options.verbose,
            known: ledger.keys(),
            excluded: ledger.excluded_keys(),
        };
        let monitor = Monitor { settings: self.settings, checks: &[self.check] };
        let Evaluation { checks, next_key, kms_calls, kms_throttles } =
            monitor.evaluate(self.target, &request, deadlines).await?;
        let evaluation = checks.into_iter().next();
        let Some(CheckEvaluation { mut report, sightings, samples }) = evaluation else {
            return Err(RunError::ListKeysFailed("the run has no check".to_owned()));
        };
        ledger.exempt(&mut report.findings, judged_at);
        let (controls, reminder) = (self.check.controls(), self.home.settings.reminder_interval_days);
        let reconciliation = ledger.reconcile(&report.findings, &sightings, &controls, report.evaluated_at, reminder);
        let alerts = match (table.zip(lease), options.notify) {
            _ if options.dry_run => notification::counts(&reconciliation),
            (Some(recorder), Notify::Later) => {
                let alerts = notification::defer(recorder, reconciliation, now, deadlines).await?;
                let done = Done::of(&report, alerts.pending, kms_calls, kms_throttles);
                let (location, function) = (&self.target.location, self.check.function());
                outcomes::write(self.home, self.owner, location, function, &done, now, deadlines.notified).await?;
                alerts
            }
            (None, Notify::Later) => return Err(RunError::NoLedger),
            (recorder, Notify::Now) => {
                notification::notify(self.home, recorder, &report, reconciliation, now, deadlines).await?
            }
        };
        // Only now: what was found is recorded, and need not be found again.
        if let (Some((table, _)), Some(key_id)) = (table.zip(lease), &next_key) {
            table.keep_next_key(key_id, deadlines.notified).await;
        }
        Ok(RunOutcome { report, alerts, samples, kms_calls, kms_throttles })
    }
}
