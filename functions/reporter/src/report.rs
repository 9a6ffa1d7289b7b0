//! One run of the reporter.
//!
//! 1. It takes a lease of its own: one reporter is at work at a time. Until it is about to tell, another attempt at the same event
//!    may take over.
//! 2. It finds the parts of the ledger in which something waits: by the index, which may not know the last writes yet, and by the
//!    outcomes of the checks, which know of their own part.
//! 3. It takes the lease of each part, in their order, waiting a few seconds for it, and at last a little longer for those that it did
//!    not get. A part that another run still holds is left to the next reporter, and the digest says so. What waits in a part is read
//!    from the table itself.
//! 4. It says on all leases that it is about to tell, publishes, marks what it told as told, and gives the leases back.
//!
//! A crash between two steps leaves something pending, and the next reporter tells it.

use std::collections::BTreeSet;
use std::time::Duration;

use domain::control::Severity;
use domain::ledger::{Change, Record};
use domain::location::Location;
use domain::outcome::{Coverage, Outcome};
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use monitor::deadlines::Deadlines;
use monitor::error::RunError;
use monitor::findings_table::{FindingsTable, Lease, all_open, waiting};
use monitor::outcomes;
use monitor::sns::{self, Message};
use monitor::target::Home;
use outputs::digest::{Digest, News, Part, Update};
use outputs::digest_chat;
use outputs::operations;
use outputs::response::AlertCounts;
use serde::Serialize;
use tokio::time::Instant;

use crate::bucket::object_key;
use crate::controls::{self, Consequence};
use crate::units::Units;
use crate::{Bucket, FUNCTION, Options, Settings, page};

/// How long the reporter waits at first for a part of the ledger that another run holds.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long it waits for it once more, after it has all the others: longer than a check of a few hundred keys takes, shorter than a
/// run by a key event waits for a part that the reporter holds.
const PATIENCE_AT_LAST: Duration = Duration::from_secs(20);

/// How long the page of what is open may take. The digest does not wait for longer.
const PAGE_TIME: Duration = Duration::from_mins(1);

/// Parts of the ledger that are at work at the same time.
const PARTS_AT_A_TIME: usize = 16;

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Reporting<'a> {
    /// Where the monitor lives.
    pub home: &'a Home,
    /// The reporter's own settings.
    pub settings: &'a Settings,
    /// Where the plan of the execution stands, if somewhere.
    pub plans: Option<&'a Bucket>,
    /// Where the page of what is open goes, if somewhere.
    pub reports: Option<&'a Bucket>,
    /// What its sender chose.
    pub options: &'a Options,
    /// The home's account and Region.
    pub location: &'a Location,
    /// Name of the execution of the daily check.
    pub execution: &'a str,
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
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Name of the execution.
    pub execution: String,
    /// The home's account.
    pub account_id: String,
    /// The home's Region.
    pub region: String,
    /// When the team was told.
    pub told_at: Timestamp,
    /// What it was told.
    pub alerts: AlertCounts,
    /// Parts of the ledger that another run held: the next reporter tells what waits there.
    pub parts_held: usize,
    /// Accounts and Regions that the daily check was to look at.
    pub targets_planned: usize,
    /// Those that at least one check looked at.
    pub targets_reached: usize,
    /// Checks that failed after their retries. The execution fails at its end if there are any.
    pub failed_checks: usize,
    /// Share of the evaluations that say something, in percent.
    pub coverage_percent: f64,
    /// Further topics that did not take their part of the digest.
    pub failed_routes: usize,
}

/// A part of the ledger with its lease, and its records of which something is to be told.
struct Taken<'a> {
    table: FindingsTable<'a>,
    lease: Option<Lease>,
    records: Vec<Record>,
}

impl Taken<'_> {
    fn part(&self) -> Part<'_> {
        self.table.part()
    }
}

/// What became of the page of what is open. Nothing, where none is written.
#[derive(Debug, Default)]
struct WrittenPage {
    /// Its address: in the console, or its S3 URI where the console has no public address.
    address: Option<String>,
    /// Why there is none, where there should be one.
    failure: Option<String>,
}

/// A further topic that did not take its part: its ARN, and why.
type FailedRoute = (String, String);

impl<'a> Reporting<'a> {
    /// The whole run. A dry run tells nobody and needs no lease.
    ///
    /// # Errors
    /// The run failed as a whole; what waits still does.
    pub async fn run(&self) -> Result<Answer, RunError> {
        let table = FindingsTable::of_reporter(self.home).ok_or(RunError::NoLedger)?;
        if self.options.dry_run {
            return self.would_tell().await;
        }
        // An early report and the last one of an execution wait for each other: each has something of its own to tell.
        let early = self.options.min_severity.map(Severity::as_str).unwrap_or_default();
        let owner = format!("{}#{FUNCTION}#{early}", self.execution);
        let attempt = self.attempt.to_owned();
        let lease = table.take_lease(&owner, attempt, self.now, self.ends_at, self.deadlines.leased).await?;
        let answer = self.under_lease(&table, &lease, &owner).await;
        table.release(&lease, self.deadlines.notified).await;
        answer
    }

    async fn under_lease(&self, table: &FindingsTable<'_>, lease: &Lease, owner: &str) -> Result<Answer, RunError> {
        let outcomes = outcomes::read(self.home, self.execution, self.deadlines.evaluated).await?;
        let mut parts = self.waiting_parts(&outcomes).await?;
        if self.options.min_severity.is_none() {
            parts.extend(self.record_reachability(&outcomes).await?);
        }
        // Before the parts are held: writing it may take a while, and nothing of the digest rests on it.
        let page = self.write_page(&outcomes).await;
        let (mut taken, mut held) = self.take_all(parts, owner).await?;
        let answer = self.tell((table, lease), &mut taken, &mut held, &outcomes, &page).await;
        stream::iter(&taken)
            .for_each_concurrent(PARTS_AT_A_TIME, async |Taken { table, lease, .. }| {
                if let Some(lease) = lease {
                    table.release(lease, self.deadlines.notified).await;
                }
            })
            .await;
        answer
    }

    /// Writes the page of what is open, once an execution, at its end.
    async fn write_page(&self, outcomes: &[Outcome]) -> WrittenPage {
        let (Some(reports), None) = (self.reports, self.options.min_severity) else { return WrittenPage::default() };
        #[expect(clippy::disallowed_methods, reason = "how long to try, not what to judge")]
        let until = (Instant::now() + PAGE_TIME).min(self.deadlines.evaluated);
        let written = async {
            let read = all_open(self.home, until).await.map_err(|error| error.to_string())?;
            let records: Vec<(Part<'_>, &Record)> = read.iter().map(|(table, record)| (table.part(), record)).collect();
            let html = page::render(self.now, &records, outcomes)?;
            let key = object_key("reports", self.execution, "html");
            let uri = reports.put(&key, "text/html; charset=utf-8", html.into_bytes(), until).await?;
            Ok(self.location.console_object_link(reports.name(), &key).unwrap_or(uri))
        };
        match written.await {
            Ok(address) => WrittenPage { address: Some(address), failure: None },
            Err(failure) => {
                let failure: String = failure;
                tracing::warn!(failure, "there is no page of what is open");
                WrittenPage { address: None, failure: Some(failure) }
            }
        }
    }

    /// Parts of the ledger in which something waits.
    async fn waiting_parts(&self, outcomes: &[Outcome]) -> Result<BTreeSet<String>, RunError> {
        let mut parts = waiting(self.home, self.deadlines.evaluated).await?;
        let of_checks = outcomes.iter().filter(|outcome| outcome.result.as_ref().is_ok_and(|done| done.pending > 0));
        parts.extend(of_checks.map(|it| format!("{}#{}#{}", it.account_id, it.region, it.function)));
        Ok(parts)
    }

    /// Records which accounts could not be looked into, or can be again. Gives back where that is to be told. No other function writes
    /// there, and no other reporter is at work.
    async fn record_reachability(&self, outcomes: &[Outcome]) -> Result<Vec<String>, RunError> {
        let targets = controls::targets(outcomes);
        let until = self.deadlines.evaluated;
        let recorded = stream::iter(targets).map(async |((account_id, region), target)| {
            let part = format!("{account_id}#{region}#{FUNCTION}");
            let table = FindingsTable::partition(self.home, part.clone()).ok_or(RunError::NoLedger)?;
            let known = table.read(until).await?;
            let place = (account_id, region);
            let Consequence { write, close, waits } =
                controls::consequence(&self.location.partition, place, &target, known, self.now);
            if !write.is_empty() {
                table.write(write.iter(), until).await?;
            }
            if !close.is_empty() {
                table.close(&close, self.now, until).await?;
            }
            Ok::<_, RunError>(waits.then_some(part))
        });
        let parts: Vec<Option<String>> = recorded.buffer_unordered(PARTS_AT_A_TIME).try_collect().await?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Takes the lease of each part, and reads what waits there. Gives back besides which parts it did not get.
    async fn take_all(
        &self,
        parts: BTreeSet<String>,
        owner: &str,
    ) -> Result<(Vec<Taken<'a>>, Vec<FindingsTable<'a>>), RunError> {
        let tables = stream::iter(parts).filter_map(async |part| FindingsTable::partition(self.home, part));
        let tables: Vec<FindingsTable<'a>> = tables.collect().await;
        let (mut taken, mut held, mut last_error) = (Vec::new(), Vec::new(), None);
        let (took, busy): (Vec<_>, Vec<_>) =
            self.take_each(tables, owner, PATIENCE).await.into_iter().partition(|result| match result {
                Err((_, RunError::LedgerBusy { .. })) => self.options.min_severity.is_some(),
                _ => true,
            });
        // Of what is critical the team hears at once; the digest would leave to the next day what it does not get now.
        let busy: Vec<FindingsTable<'a>> =
            busy.into_iter().filter_map(|result| result.err().map(|(table, _)| table)).collect();
        let took_at_last = self.take_each(busy, owner, PATIENCE_AT_LAST).await;
        for result in took.into_iter().chain(took_at_last) {
            match result {
                Ok(part) => taken.push(part),
                Err((table, error)) => {
                    tracing::warn!(part = ?table.part(), %error, "what waits there is left to the next reporter");
                    if !matches!(error, RunError::LedgerBusy { .. }) {
                        last_error = Some(error);
                    }
                    held.push(table);
                }
            }
        }
        // Where nothing at all could be read, there is nothing to tell, and the next attempt may come further.
        match last_error {
            Some(error) if taken.is_empty() => Err(error),
            _ => Ok((taken, held)),
        }
    }

    async fn take_each(
        &self,
        tables: Vec<FindingsTable<'a>>,
        owner: &str,
        patience: Duration,
    ) -> Vec<Result<Taken<'a>, (FindingsTable<'a>, RunError)>> {
        let takes = stream::iter(tables).map(async |table| match self.take(&table, owner, patience).await {
            Ok((lease, records)) => Ok(Taken { table, lease: Some(lease), records }),
            Err(error) => Err((table, error)),
        });
        takes.buffered(PARTS_AT_A_TIME).collect().await
    }

    async fn take(
        &self,
        table: &FindingsTable<'_>,
        owner: &str,
        patience: Duration,
    ) -> Result<(Lease, Vec<Record>), RunError> {
        #[expect(clippy::disallowed_methods, reason = "how long to wait, not what to judge")]
        let patience = (Instant::now() + patience).min(self.deadlines.evaluated);
        let attempt = self.attempt.to_owned();
        let lease = table.take_lease(owner, attempt, self.now, self.ends_at, patience).await?;
        match table.read(self.deadlines.evaluated).await {
            Ok(records) => Ok((lease, self.meant(records))),
            Err(error) => {
                table.release(&lease, self.deadlines.notified).await;
                Err(error)
            }
        }
    }

    /// The records of which there is something to tell now.
    fn meant(self, records: Vec<Record>) -> Vec<Record> {
        let is_meant = |record: &Record| match self.options.min_severity {
            None => record.is_pending(),
            // Before the checks are through, what ended can wait.
            Some(min) => record.severity >= min && record.pending.is_some_and(|change| change != Change::Resolved),
        };
        records.into_iter().filter(is_meant).collect()
    }

    /// Tells, and marks as told.
    async fn tell(
        &self,
        (own, lease): (&FindingsTable<'_>, &Lease),
        taken: &mut Vec<Taken<'a>>,
        held: &mut Vec<FindingsTable<'a>>,
        outcomes: &[Outcome],
        page: &WrittenPage,
    ) -> Result<Answer, RunError> {
        let count = |taken: &[Taken<'_>]| taken.iter().map(|part| part.records.len()).sum::<usize>();
        if count(taken) == 0 {
            let failed_routes = self.tell_operations(outcomes, &[], page).await;
            return Ok(self.answer(AlertCounts::default(), held.len(), outcomes, failed_routes));
        }
        if sns::nobody_listens(self.home, self.deadlines.recorded).await {
            tracing::warn!("nobody has confirmed a subscription to the topic: the digest waits until somebody has");
            let alerts = AlertCounts { held_back: count(taken), ..counts(taken) };
            let failed_routes = self.tell_operations(outcomes, &[], page).await;
            return Ok(self.answer(alerts, held.len(), outcomes, failed_routes));
        }
        if !own.hold(lease, self.deadlines.recorded).await? {
            tracing::warn!("another attempt at the event took over: it tells the team");
            return Ok(self.answer(AlertCounts::default(), held.len(), outcomes, 0));
        }
        self.hold_all(taken, held).await?;
        let mut alerts = counts(taken);
        let mut failed_routes = Vec::new();
        {
            let news = self.news(taken, held, outcomes, page);
            if let Some(digest) = Digest::of(&news) {
                let topic = &self.home.settings.topic_arn;
                sns::publish(self.home, topic, &message(&digest), self.deadlines.notified).await?;
                alerts.messages_published = 1;
            }
            self.mark_all(taken).await?;
            if alerts.messages_published > 0 {
                failed_routes = self.tell_routes(&news).await;
            }
        }
        let failed_routes = self.tell_operations(outcomes, &failed_routes, page).await;
        Ok(self.answer(alerts, held.len(), outcomes, failed_routes))
    }

    /// Says on the lease of each part that has something to tell that it is about to be told. A part whose lease is lost is told by whom
    /// has it.
    async fn hold_all(&self, taken: &mut Vec<Taken<'a>>, held: &mut Vec<FindingsTable<'a>>) -> Result<(), RunError> {
        let until = self.deadlines.recorded;
        let kept: Vec<bool> = stream::iter(taken.iter())
            .map(async |Taken { table, lease, records }| match lease {
                Some(lease) if !records.is_empty() => table.hold(lease, until).await,
                _ => Ok(true),
            })
            .buffered(PARTS_AT_A_TIME)
            .try_collect()
            .await?;
        let mut kept = kept.into_iter();
        let lost = taken.extract_if(.., |_| !kept.next().unwrap_or(true));
        held.extend(lost.map(|part| part.table));
        Ok(())
    }

    fn news<'n>(
        &'n self,
        taken: &'n [Taken<'_>],
        held: &'n [FindingsTable<'_>],
        outcomes: &'n [Outcome],
        page: &'n WrittenPage,
    ) -> News<'n> {
        let updates = taken
            .iter()
            .flat_map(|part| part.records.iter().filter_map(|record| Update::of(part.part(), record, self.now)));
        News {
            home: self.location,
            execution: self.execution,
            at: self.now,
            updates: updates.collect(),
            min_severity: self.options.min_severity,
            outcomes: if self.options.min_severity.is_some() { Vec::new() } else { outcomes.iter().collect() },
            held: held.iter().map(FindingsTable::part).collect(),
            whole_list: self.home.settings.findings_table.as_deref(),
            page: page.address.as_deref(),
        }
    }

    /// Records what was told as told.
    async fn mark_all(&self, taken: &[Taken<'_>]) -> Result<(), RunError> {
        let until = self.deadlines.notified;
        let marks = stream::iter(taken.iter().filter(|part| !part.records.is_empty()));
        let marks = marks.map(async |Taken { table, records, .. }| {
            let is_over = |record: &&Record| record.pending == Some(Change::Resolved);
            let told = |record: &Record| record.clone().told(self.now);
            let open: Vec<Record> = records.iter().filter(|record| !is_over(record)).map(told).collect();
            let closed: Vec<Record> = records.iter().filter(is_over).map(told).collect();
            table.write(open.iter(), until).await?;
            table.close(&closed, self.now, until).await
        });
        let marked: Result<(), RunError> = marks.buffer_unordered(PARTS_AT_A_TIME).try_collect().await;
        marked.map_err(RunError::after_the_alert)
    }

    /// Tells each route its part, and the chat. One that does not take it neither holds up nor repeats anything. Where it is not
    /// known who is in a route's units, it is told of the accounts that it names, and the operators, why not of others.
    async fn tell_routes(&self, news: &News<'_>) -> Vec<FailedRoute> {
        let mut failed = Vec::new();
        let units = self.units().await;
        let of_nobody = Units::default();
        let accounts: BTreeSet<&str> = news.updates.iter().map(|update| update.part.account_id).collect();
        for route in &self.settings.routes {
            if !route.units.is_empty() {
                let why = match &units {
                    Ok(units) => {
                        let unknown = units.unknown(route, &accounts);
                        let why =
                            || format!("the plan does not have {}, which may be in its units", unknown.join(", "));
                        (!unknown.is_empty()).then(why)
                    }
                    Err(error) => Some(format!("nobody knows which accounts are in its units: {error}")),
                };
                if let Some(why) = why {
                    tracing::warn!(topic_arn = route.topic_arn, why, "a route may not be told of all its accounts");
                    failed.push((route.topic_arn.clone(), why));
                }
            }
            let units = units.as_ref().unwrap_or(&of_nobody);
            let Some(digest) = Digest::of(&news.of_route(route, |account_id| units.of(account_id))) else { continue };
            let told = sns::publish(self.home, &route.topic_arn, &message(&digest), self.deadlines.notified).await;
            if let Err(error) = told {
                tracing::warn!(topic_arn = route.topic_arn, %error, "a route did not take the digest");
                failed.push((route.topic_arn.clone(), error.to_string()));
            }
        }
        // A chat is a route of all accounts.
        if let Some(topic_arn) = &self.settings.chat_topic_arn
            && let Some(text) = digest_chat::notification(news)
        {
            let message = Message { text, ..Message::default() };
            if let Err(error) = sns::publish(self.home, topic_arn, &message, self.deadlines.notified).await {
                tracing::warn!(topic_arn, %error, "the chat's topic did not take the digest");
                failed.push((topic_arn.clone(), error.to_string()));
            }
        }
        failed
    }

    /// Who is in the units that routes name. Nothing is read where none does.
    async fn units(&self) -> Result<Units, String> {
        if self.settings.routes.iter().all(|route| route.units.is_empty()) {
            return Ok(Units::default());
        }
        match self.plans {
            Some(plans) => Units::read(plans, self.execution, self.deadlines.notified).await,
            None => Err("there is no bucket of plans".to_owned()),
        }
    }

    /// Tells the operators what failed; how many routes did. Their message is said once an execution, at its end, so an early report says
    /// only what is its own.
    async fn tell_operations(&self, outcomes: &[Outcome], failed_routes: &[FailedRoute], page: &WrittenPage) -> usize {
        let (outcomes, notices) = match self.options.min_severity {
            Some(_) => (&[][..], &[][..]),
            None => (outcomes, self.options.notices.as_slice()),
        };
        if let Some((subject, text)) =
            operations::message(self.execution, outcomes, failed_routes, notices, page.failure.as_deref())
        {
            tracing::warn!(execution = self.execution, text, "something failed");
            if let Some(topic_arn) = &self.settings.operations_topic_arn {
                let message = Message { subject, text, ..Message::default() };
                if let Err(error) = sns::publish(self.home, topic_arn, &message, self.deadlines.notified).await {
                    tracing::error!(%error, "the operators did not hear of it");
                }
            }
        }
        failed_routes.iter().map(|(topic_arn, _)| topic_arn).collect::<BTreeSet<_>>().len()
    }

    /// What a run would tell now.
    async fn would_tell(&self) -> Result<Answer, RunError> {
        let outcomes = outcomes::read(self.home, self.execution, self.deadlines.evaluated).await?;
        let parts = self.waiting_parts(&outcomes).await?;
        let parts = stream::iter(parts).filter_map(async |part| FindingsTable::partition(self.home, part));
        let read = parts.map(async |table| {
            let records = self.meant(table.read(self.deadlines.evaluated).await?);
            Ok::<_, RunError>(Taken { table, lease: None, records })
        });
        let parts: Vec<Taken<'_>> = read.buffered(PARTS_AT_A_TIME).try_collect().await?;
        Ok(self.answer(counts(&parts), 0, &outcomes, 0))
    }

    fn answer(&self, alerts: AlertCounts, parts_held: usize, outcomes: &[Outcome], failed_routes: usize) -> Answer {
        let Coverage { targets_planned: seen, targets_reached, failed_checks, percent } = Coverage::of(outcomes);
        let targets_planned = self.options.targets.map_or(seen, |planned| planned.max(seen));
        let missing = targets_planned - seen;
        if missing > 0 {
            tracing::error!(missing, "of some targets nothing is written: not even what failed");
        }
        #[expect(clippy::cast_precision_loss, reason = "counts of targets are far below 2^52")]
        let share = if missing > 0 { seen as f64 / targets_planned as f64 } else { 1.0 };
        Answer {
            execution: self.execution.to_owned(),
            account_id: self.location.account_id.clone(),
            region: self.location.region.clone(),
            told_at: self.now,
            alerts,
            parts_held,
            targets_planned,
            targets_reached,
            failed_checks: failed_checks + missing,
            coverage_percent: percent * share,
            failed_routes,
        }
    }
}

fn counts(taken: &[Taken<'_>]) -> AlertCounts {
    let records = || taken.iter().flat_map(|part| &part.records);
    let count = |change| records().filter(|record| record.pending == Some(change)).count();
    AlertCounts {
        new: count(Change::New),
        worsened: count(Change::Worsened),
        resolved: count(Change::Resolved),
        reminder: count(Change::Reminder),
        deleted: count(Change::Deleted),
        ..AlertCounts::default()
    }
}

fn message(digest: &Digest) -> Message {
    Message {
        subject: digest.subject.clone(),
        text: digest.message(),
        is_structured: true,
        attributes: digest.attributes.clone(),
    }
}
