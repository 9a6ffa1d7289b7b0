//! A scan: which keys of which Regions, by which checks, and what is printed of it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use domain::ledger::Ledger;
use domain::location::KeyName;
use domain::report::Report;
use domain::text::printable;
use futures::future::{Either, join_all, select};
use jiff::Timestamp;
use monitor::check::AnyCheck;
use monitor::deadlines::Deadlines;
use monitor::evaluation::{Monitor, Request};
use monitor::inventory::Begin;
use monitor::settings::{Environment, EvaluationSettings, HomeSettings};
use monitor::target::{Home, Target};
use outputs::scan::{Scan, is_open};
use outputs::scan_page::About;
use outputs::scan_table::{Terminal, counted};
use tokio::time::Instant;
use tracing::level_filters::LevelFilter;

use crate::account::Account;
use crate::arguments::{Format, GivenKey, ScanArguments};
use crate::error::{CliError, FINDINGS, INCOMPLETE, INTERRUPTED};
use crate::interrupt::Interrupt;
use crate::output::{self, OutputFile};
use crate::permissions::Denied;
use crate::progress::{Progress, RegionProgress};
use crate::{checks, logging, offline, permissions};

/// Share of each quota that a scan uses unless it is told: the account's applications need the rest.
const QUOTA_SHARE: &str = "0.2";

/// Columns of a table in a file.
const FILE_WIDTH: u16 = 100;

/// What is to be done, as far as it is known before anything is asked.
struct Plan {
    arguments: ScanArguments,
    environment: Environment,
    settings: EvaluationSettings,
    checks: Vec<Box<dyn AnyCheck>>,
    /// Controls that are asked for; empty = all.
    controls: BTreeSet<String>,
    files: Vec<OutputFile>,
    now: Timestamp,
    judged_at: Timestamp,
}

/// What came of one Region.
struct RegionOutcome {
    region: String,
    result: Result<Vec<Report>, String>,
    since: BTreeMap<domain::finding::FindingId, Timestamp>,
    /// Is the table there that knows since when?
    since_table: Option<Result<(), String>>,
}

/// Scans, prints, and says what the process ends with.
///
/// # Errors
/// There is nothing to print.
pub async fn scan(arguments: ScanArguments) -> Result<ExitCode, CliError> {
    let plan = Plan::read(arguments)?;
    let interrupt = Interrupt::listen();
    let is_watched = output::is_watched(&plan.environment) && !plan.arguments.no_progress && !plan.arguments.quiet;
    let progress = Progress::new(is_watched);
    logging::start(plan.log_level(), progress.lines());
    let start = read_monotonic();
    let of_keys: Vec<String> = plan.arguments.keys.iter().filter_map(|key| key.region.clone()).collect();
    let reach = Box::pin(Account::reach(&plan.arguments.account, &of_keys));
    let (account, regions) = match select(reach, Box::pin(interrupt.pressed())).await {
        Either::Left((reached, _)) => reached?,
        Either::Right(_) => return Err(CliError::Interrupted),
    };
    plan.check_keys(&regions)?;
    plan.tell(&format!("{} scans {} in {}", account.caller_arn, account.id, named_or_counted(&regions)));
    let deadlines = Deadlines::new(start, plan.arguments.max_time);
    let outcomes = join_all(regions.iter().filter(|region| plan.has_keys_in(region)).map(|region| {
        let line = progress.region(region, &interrupt, plan.arguments.ask_all);
        plan.region(&account, region, line, &deadlines, &interrupt)
    }))
    .await;
    let (mut scan, mut is_complete) = (Scan { is_interrupted: interrupt.is_pressed(), ..Scan::default() }, true);
    let mut tables = Vec::new();
    for RegionOutcome { region, result, since, since_table } in outcomes {
        match result {
            Ok(reports) => scan.reports.extend(reports),
            Err(why) => scan.failed.push((region, why)),
        }
        scan.since.extend(since);
        tables.extend(since_table);
    }
    // One table serves one Region: the others have none.
    if !tables.is_empty() && !tables.iter().any(Result::is_ok) {
        for why in tables.iter().filter_map(|table| table.as_ref().err()) {
            plan.warn(&format!("since when findings are open is not known: {why}"));
        }
        is_complete = false;
    }
    if scan.reports.is_empty() {
        if scan.is_interrupted {
            return Err(CliError::Interrupted);
        }
        let why = scan.failed.iter().map(|(region, why)| format!("{region}: {why}")).collect::<Vec<_>>().join("; ");
        return Err(CliError::failed(format!("no Region could be looked at: {why}")));
    }
    for (region, why) in &scan.failed {
        plan.warn(&format!("{region}: {why}"));
    }
    plan.finish(scan, is_complete)
}

impl Plan {
    /// Understands the arguments, and makes sure that the files can be written.
    ///
    /// # Errors
    /// Something in them makes no sense.
    fn read(arguments: ScanArguments) -> Result<Self, CliError> {
        let mut environment = Environment::of_process();
        let known: Vec<&str> = checks::setting_names().into_iter().collect();
        offline::set(&mut environment, &arguments.settings, &known)?;
        match &arguments.quota_share {
            Some(share) => environment.set("KMS_QUOTA_SHARE", share),
            None if environment.get("KMS_QUOTA_SHARE").is_none() => environment.set("KMS_QUOTA_SHARE", QUOTA_SHARE),
            None => {}
        }
        let invalid = |error: monitor::settings::InvalidConfiguration| CliError::usage(error.to_string());
        let mut settings = EvaluationSettings::read(&environment).map_err(invalid)?;
        settings.excluded_keys.extend(arguments.excluded_keys.iter().map(|key| key.name.clone()));
        // One program makes all calls.
        settings.quota_share.callers.get_or_insert(1);
        if let Some(table) = &arguments.since_table {
            table_name(table)?;
        }
        let controls: BTreeSet<String> = arguments.controls.iter().cloned().collect();
        let asked_for = |control: &str| controls.is_empty() || controls.contains(control);
        let mut checks = Vec::new();
        for known in checks::all() {
            if !known.controls.iter().any(|control| asked_for(control.id)) {
                continue;
            }
            if arguments.as_of.is_some() && !known.takes_as_of {
                let named = known.controls.iter().find(|control| controls.contains(control.id));
                if let Some(control) = named {
                    let what =
                        format!("--control `{}` cannot be judged --as-of: it knows the present only", control.id);
                    return Err(CliError::usage(what));
                }
                continue;
            }
            checks.push((known.read)(&environment).map_err(invalid)?);
        }
        let files = arguments.outputs.iter().map(|path| OutputFile::prepare(path)).collect::<Result<_, _>>()?;
        let now = read_clock();
        let judged_at = arguments.as_of.unwrap_or(now);
        Ok(Self { arguments, environment, settings, checks, controls, files, now, judged_at })
    }

    fn log_level(&self) -> LevelFilter {
        match (self.arguments.quiet, self.arguments.verbose) {
            (true, _) => LevelFilter::OFF,
            (_, true) => LevelFilter::INFO,
            _ => LevelFilter::WARN,
        }
    }

    /// Says something on standard error, unless nothing is to be said.
    fn tell(&self, what: &str) {
        if !self.arguments.quiet {
            let _ = writeln!(io::stderr(), "{what}");
        }
    }

    fn warn(&self, what: &str) {
        self.tell(&format!("warning: {what}"));
    }

    /// Names of keys have to say where those are.
    ///
    /// # Errors
    /// One could be in any of several Regions, or is in none of them.
    fn check_keys(&self, regions: &[String]) -> Result<(), CliError> {
        for GivenKey { text, region, .. } in &self.arguments.keys {
            match region {
                None if regions.len() > 1 => {
                    let what = format!(
                        "--key `{text}` could be in any of {} Regions: name the key by its ARN, or scan one Region",
                        regions.len()
                    );
                    return Err(CliError::usage(what));
                }
                Some(region) if !regions.contains(region) => {
                    let what = format!("--key `{text}` is in {}, which is not scanned", printable(region));
                    return Err(CliError::usage(what));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The keys that are asked for in a Region; `None` = all.
    fn keys_in(&self, region: &str) -> Option<Vec<KeyName>> {
        let is_there = |key: &&GivenKey| key.region.as_deref().is_none_or(|home| home == region);
        let keys = || self.arguments.keys.iter().filter(is_there).map(|key| key.name.clone()).collect();
        (!self.arguments.keys.is_empty()).then(keys)
    }

    fn has_keys_in(&self, region: &str) -> bool {
        self.keys_in(region).is_none_or(|keys| !keys.is_empty())
    }

    fn functions(&self) -> Vec<&'static str> {
        self.checks.iter().map(|check| check.function()).collect()
    }

    /// Needs any form every evaluation?
    fn keeps_all(&self) -> bool {
        let formats = std::iter::once(self.arguments.format).chain(self.files.iter().map(OutputFile::format));
        formats.into_iter().any(|format| output::lists_all(format, self.arguments.only))
    }

    /// Looks at one Region.
    async fn region(
        &self,
        account: &Account,
        region: &str,
        line: RegionProgress,
        deadlines: &Deadlines,
        interrupt: &Interrupt,
    ) -> RegionOutcome {
        let start = read_monotonic();
        // A scan uses no key of any account. That a monitor may do so in this one has to do with how usage is read.
        let (location, config) = (account.location(region), account.config_in(region));
        let target = Target { location, config, is_in_home_account: true };
        let result = match select(Box::pin(self.permitted(&target)), Box::pin(interrupt.pressed())).await {
            Either::Right(_) => Err("interrupted before its keys were known".to_owned()),
            Either::Left((Err(why), _)) => Err(why),
            Either::Left((Ok(()), _)) => self.evaluate(&target, &line, deadlines).await,
        };
        line.done();
        let mut outcome = RegionOutcome {
            region: region.to_owned(),
            result: Err(String::new()),
            since: BTreeMap::new(),
            since_table: None,
        };
        outcome.result = match result {
            Err(why) => Err(why),
            Ok((mut reports, calls, throttled)) => {
                self.know_since(&target, &mut reports, deadlines, &mut outcome).await;
                for report in &mut reports {
                    if !self.controls.is_empty() {
                        report.retain(|control| self.controls.contains(control));
                    }
                }
                self.sum_up(region, &reports, calls, throttled, read_monotonic() - start);
                Ok(reports)
            }
        };
        outcome
    }

    /// Tries what the scan needs to be allowed, and says what lacks.
    async fn permitted(&self, target: &Target) -> Result<(), String> {
        let Target { location, config, .. } = target;
        let functions = self.functions();
        let Denied { actions, key_arn } =
            permissions::check(config, location, self.settings.quota_share, &functions).await?;
        if !actions.is_empty() {
            let on = key_arn
                .map(|arn| format!(" (keys: tried on {arn}, whose policy may be what denies)"))
                .unwrap_or_default();
            self.warn(&format!(
                "{}: denied are {}{on}; what needs them will not be known. `kms-compliance policy-document` prints the policy \
                 that a scan needs",
                location.region,
                actions.into_iter().collect::<Vec<_>>().join(", "),
            ));
        }
        Ok(())
    }

    async fn evaluate(
        &self,
        target: &Target,
        line: &RegionProgress,
        deadlines: &Deadlines,
    ) -> Result<(Vec<Report>, u64, u64), String> {
        let keys = self.keys_in(&target.location.region);
        let request = Request {
            keys: keys.as_deref(),
            is_of_key_events: false,
            begin: Begin::ByDay(self.now),
            judged_at: self.judged_at,
            verbose: self.keeps_all(),
            known: BTreeSet::new(),
            excluded: BTreeSet::new(),
        };
        let checks: Vec<&dyn AnyCheck> = self.checks.iter().map(AsRef::as_ref).collect();
        let monitor = Monitor { settings: &self.settings, checks: &checks };
        let evaluation = monitor.evaluate_observed(target, &request, deadlines, line).await;
        let evaluation = evaluation.map_err(|error| error.to_string())?;
        let reports = evaluation.checks.into_iter().map(|check| check.report).collect();
        Ok((reports, evaluation.kms_calls, evaluation.kms_throttles))
    }

    /// Judges the exemptions of the findings, and asks the ledger since when they are open.
    async fn know_since(
        &self,
        target: &Target,
        reports: &mut [Report],
        deadlines: &Deadlines,
        outcome: &mut RegionOutcome,
    ) {
        let home = self.arguments.since_table.as_ref().map(|table| home(target, table));
        for report in reports {
            let mut ledger = Ledger::default();
            if let Some(home) = &home {
                match home.open_findings(&target.location, report.function, deadlines.notified).await {
                    Ok(records) => {
                        outcome.since.extend(records.iter().map(|record| {
                            let id = (record.key_arn.clone(), record.control.clone(), record.compliance);
                            (id, record.first_seen)
                        }));
                        ledger = Ledger::new(records);
                        outcome.since_table.get_or_insert(Ok(()));
                    }
                    Err(error) => outcome.since_table = Some(Err(format!("{}: {error}", target.location.region))),
                }
            }
            ledger.exempt(&mut report.findings, self.judged_at);
        }
    }

    /// One line on what came of a Region.
    fn sum_up(&self, region: &str, reports: &[Report], calls: u64, throttled: u64, took: Duration) {
        let most = |count: fn(&Report) -> u64| reports.iter().map(count).max().unwrap_or_default();
        let findings = reports.iter().flat_map(|report| &report.findings).filter(|finding| is_open(finding)).count();
        let mut parts = vec![counted(most(|report| report.keys_listed), "key"), counted(findings as u64, "finding")];
        let not_known: u64 = reports.iter().map(Report::not_known).sum();
        if not_known > 0 {
            parts.push(format!("{not_known} not known"));
        }
        let passing: u64 = reports.iter().map(|report| report.passing).sum();
        if passing > 0 {
            parts.push(format!("{passing} not yet"));
        }
        let not_reached = most(|report| report.keys_not_reached);
        if not_reached > 0 {
            parts.push(format!("{} not reached", counted(not_reached, "key")));
        }
        parts.push(counted(calls, "KMS call"));
        if throttled > 0 {
            parts.push(format!("{throttled} throttled"));
        }
        self.tell(&format!("{region}: {} in {:.1} s", parts.join(", "), took.as_secs_f64()));
    }

    /// Prints the result, writes the files, and says what the process ends with.
    fn finish(self, mut scan: Scan, is_complete: bool) -> Result<ExitCode, CliError> {
        let worst = scan.findings().filter(|(_, finding)| is_open(finding)).map(|(_, finding)| finding.severity).max();
        let is_complete = is_complete && scan.is_complete();
        let Self { arguments, environment, checks, mut files, judged_at, .. } = self;
        if let Some(least) = arguments.severity.map(domain::control::Severity::from) {
            for report in &mut scan.reports {
                let all = report.findings.len();
                report.findings.retain(|finding| finding.severity >= least);
                scan.below_severity += all - report.findings.len();
            }
        }
        let everything = |format: Format| output::lists_all(format, arguments.only);
        let terminal = output::terminal(&environment, arguments.verbose, everything(arguments.format));
        let known = checks::all();
        let controls: Vec<_> = known.iter().flat_map(|check| check.controls.iter().copied()).collect();
        let mut about = About {
            evaluated_at: judged_at,
            controls: &controls,
            settings: settings_in_words(&environment, &checks),
            made_by: concat!("kms-compliance ", env!("CARGO_PKG_VERSION")),
            json_sha256: None,
        };
        let mut evaluations = Vec::new();
        let mut failed = None;
        // Files first: whoever closes the pipe does not keep them from being written. JSON before pages, which name its hash.
        files.sort_by_key(|file| file.format() != Format::Json);
        for file in files {
            let lists_all = everything(file.format());
            show_evaluations(&mut scan, &mut evaluations, lists_all);
            let terminal = Terminal { width: FILE_WIDTH, is_unicode: true, is_verbose: arguments.verbose, lists_all };
            let format = file.format();
            match file.finish(&scan, terminal, &about) {
                Ok(path) => {
                    if format == Format::Json {
                        about.json_sha256 = output::sha256_of(&path);
                    }
                    if !arguments.quiet {
                        let _ = writeln!(io::stderr(), "wrote {}", path.display());
                    }
                }
                Err(error) => {
                    output::complain(&error);
                    failed = Some(error.exit_code());
                }
            }
        }
        show_evaluations(&mut scan, &mut evaluations, terminal.lists_all);
        let mut text = Vec::new();
        let written = output::write(&scan, arguments.format, terminal, &about, &mut text);
        written.map_err(|error| CliError::failed(format!("the result cannot be written: {error}")))?;
        let colour =
            if arguments.format == Format::Table { arguments.color.choice() } else { anstream::ColorChoice::Never };
        output::print(&text, colour)?;
        Ok(match failed {
            Some(code) => code,
            None if scan.is_interrupted => ExitCode::from(INTERRUPTED),
            None if arguments.fail_on.is_failure(worst) => ExitCode::from(FINDINGS),
            None if !is_complete => ExitCode::from(INCOMPLETE),
            None => ExitCode::SUCCESS,
        })
    }
}

/// The settings that the verdicts of these checks rest on, with their values.
fn settings_in_words(environment: &Environment, checks: &[Box<dyn AnyCheck>]) -> Vec<(String, String)> {
    let functions: Vec<&str> = checks.iter().map(|check| check.function()).collect();
    let known = checks::all();
    let of_checks = known.iter().filter(|check| functions.contains(&check.function)).flat_map(|check| check.settings);
    let settings: BTreeMap<String, String> = EvaluationSettings::ALL
        .iter()
        .chain(of_checks)
        .map(|setting| {
            let value = environment.get(setting.name()).map_or_else(|| setting.default(), str::to_owned);
            (setting.name().to_owned(), value)
        })
        .filter(|(_, value)| !value.is_empty())
        .collect();
    settings.into_iter().collect()
}

/// A few Regions by name, many by their number.
fn named_or_counted(regions: &[String]) -> String {
    if regions.len() > 3 { counted(regions.len() as u64, "Region") } else { regions.join(", ") }
}

/// Puts the evaluations aside where a form does not list them, and back where it does.
fn show_evaluations(scan: &mut Scan, aside: &mut Vec<Option<domain::report::EvaluationLines>>, are_listed: bool) {
    if are_listed && !aside.is_empty() {
        for (report, evaluations) in scan.reports.iter_mut().zip(aside.drain(..)) {
            report.evaluations = evaluations;
        }
    } else if !are_listed && aside.is_empty() {
        aside.extend(scan.reports.iter_mut().map(|report| report.evaluations.take()));
    }
}

/// A home of which nothing but its table is ever read.
fn home(target: &Target, table: &str) -> Home {
    let settings = HomeSettings {
        topic_arn: String::new(),
        findings_table: Some(table.to_owned()),
        reminder_interval_days: 0,
        resolved_retention_days: 0,
    };
    Home::new(&target.config, settings)
}

/// Is that the name of a table?
///
/// # Errors
/// It is not.
pub fn table_name(name: &str) -> Result<(), CliError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if (3..=255).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    let what = "it must be the name of a DynamoDB table: 3 to 255 letters, digits, `_`, `.` or `-`";
    Err(CliError::usage(format!("--since-table `{}`: {what}", printable(name))))
}

/// The one reading of the clock: the instant that everything is judged for.
#[expect(clippy::disallowed_methods, reason = "the edge of this program where the clock is read")]
fn read_clock() -> Timestamp {
    Timestamp::now()
}

/// Where the monotonic clock stands: for time left and time taken, never for a verdict.
#[expect(clippy::disallowed_methods, reason = "the monotonic half of that edge")]
fn read_monotonic() -> Instant {
    Instant::now()
}
