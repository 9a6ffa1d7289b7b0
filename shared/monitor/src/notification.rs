//! Telling the team what changed, and the ledger what the team was told.
//!
//! 1. The lease says that the run is about to tell: from then on no other attempt takes over.
//! 2. What changed is recorded as pending.
//! 3. The alert is published, unless nobody has confirmed a subscription: SNS would take it, and nobody would get it.
//! 4. What was told is recorded as told, what is resolved is closed.
//!
//! A run that leaves the telling to the reporter does the first two and closes what ended untold.
//!
//! A crash between two steps leaves something pending, and the next run tells it; so does an alert that was held back.

use domain::ledger::{Change, Reconciliation};
use domain::report::Report;
use jiff::Timestamp;
use outputs::alert::Alert;
use outputs::response::AlertCounts;

use crate::deadlines::Deadlines;
use crate::error::RunError;
use crate::findings_table::{FindingsTable, Lease};
use crate::sns;
use crate::target::Home;

/// The place where a run records: its part of the table, and the lease on it.
pub(crate) type Recorder<'a> = (&'a FindingsTable<'a>, &'a Lease);

/// What a run would tell.
pub(crate) fn counts(reconciliation: &Reconciliation<'_>) -> AlertCounts {
    AlertCounts {
        new: reconciliation.count(Change::New),
        worsened: reconciliation.count(Change::Worsened),
        resolved: reconciliation.count(Change::Resolved),
        reminder: reconciliation.count(Change::Reminder),
        deleted: reconciliation.count(Change::Deleted),
        held_back: 0,
        pending: 0,
        messages_published: 0,
    }
}

/// Tells what changed, with the records around it. Without a recorder nothing is remembered.
pub(crate) async fn notify(
    home: &Home,
    recorder: Option<Recorder<'_>>,
    report: &Report,
    reconciliation: Reconciliation<'_>,
    now: Timestamp,
    deadlines: &Deadlines,
) -> Result<AlertCounts, RunError> {
    let mut alerts = counts(&reconciliation);
    if reconciliation.is_empty() {
        return Ok(alerts);
    }
    if let Some((table, lease)) = recorder {
        if !table.hold(lease, deadlines.recorded).await? {
            tracing::warn!("another attempt at the event took over: it tells the team");
            return Ok(AlertCounts::default());
        }
        table.write(reconciliation.before_the_alert(), deadlines.recorded).await?;
    }
    if let Some(alert) = Alert::of(report, &reconciliation.updates) {
        if sns::nobody_listens(home, deadlines.recorded).await {
            tracing::warn!("nobody has confirmed a subscription to the topic: the alert waits until somebody has");
            alerts.held_back = reconciliation.updates.len();
            return Ok(alerts);
        }
        let attributes = vec![
            ("severity", alert.severity.as_str().to_owned(), false),
            ("function", report.function.to_owned(), false),
            ("account_id", report.location.account_id.clone(), false),
            ("region", report.location.region.clone(), false),
        ];
        let message =
            sns::Message { subject: alert.subject.clone(), text: alert.message(), is_structured: true, attributes };
        sns::publish(home, &home.settings.topic_arn, &message, deadlines.notified).await?;
        alerts.messages_published = 1;
    }
    if let Some((table, _)) = recorder {
        let is_told = alerts.messages_published > 0;
        let marked = mark(table, reconciliation, report.evaluated_at, now, deadlines).await;
        marked.map_err(|error| if is_told { error.after_the_alert() } else { error })?;
    }
    Ok(alerts)
}

/// Records what changed, for the reporter to tell. Everybody else's pending records count among what waits.
pub(crate) async fn defer(
    (table, lease): Recorder<'_>,
    reconciliation: Reconciliation<'_>,
    now: Timestamp,
    deadlines: &Deadlines,
) -> Result<AlertCounts, RunError> {
    let alerts = AlertCounts { pending: reconciliation.updates.len(), ..counts(&reconciliation) };
    if reconciliation.is_recorded() {
        return Ok(alerts);
    }
    if !table.hold(lease, deadlines.recorded).await? {
        tracing::warn!("another attempt at the event took over: it records what changed");
        return Ok(AlertCounts::default());
    }
    table.write(reconciliation.before_the_alert(), deadlines.recorded).await?;
    table.close(&reconciliation.ended(), now, deadlines.notified).await?;
    Ok(alerts)
}

/// Records what was told as told.
async fn mark(
    table: &FindingsTable<'_>,
    reconciliation: Reconciliation<'_>,
    told_at: Timestamp,
    now: Timestamp,
    deadlines: &Deadlines,
) -> Result<(), RunError> {
    let (open, closed) = reconciliation.after_the_alert(told_at);
    table.write(open, deadlines.notified).await?;
    table.close(&closed, now, deadlines.notified).await
}
