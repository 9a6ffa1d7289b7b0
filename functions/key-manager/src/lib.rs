//! Keys are created, rotated, replicated, retired and audited when somebody asks: never on a schedule.
//!
//! One binary, two functions: `OPERATIONS` says which operations a deployment answers. A request that changes something is
//! claimed in the [record] first, recorded before and after each step, and answered with what came of it; the same
//! request again goes on where it stopped.

pub mod answer;
pub mod audit;
pub mod error;
mod operations;
pub mod policy;
pub mod record;
pub mod request;
#[cfg(test)]
mod schema;
pub mod settings;
mod sheet;
mod trail;

use aws::failure::error_summary;
use aws::kms::Kms;
use aws::sts::Sts;
use aws_config::SdkConfig;
use domain::location::{Location, partition_of};
use jiff::Timestamp;
use lambda::{Function, Invocation};
use monitor::settings::{Environment, InvalidConfiguration};
use serde::Serialize;
use serde_json::Value;

use crate::answer::{Answer, AuditForPeople, State};
use crate::audit::Audit;
use crate::error::RequestError;
use crate::operations::{Checks, Session, Stop, perform};
use crate::record::{Claim, Record, RecordTable};
use crate::request::{AuditFormat, Change, OperationName, Request};
use crate::settings::Settings;
use crate::trail::Trail;

/// The function with its settings and clients.
#[derive(Debug)]
pub struct KeyManager {
    settings: Settings,
    checks: Checks,
    config: SdkConfig,
    is_emulated: bool,
    trail: Trail,
    tagging: aws_sdk_resourcegroupstagging::Client,
    cloudwatch: aws_sdk_cloudwatch::Client,
    dynamodb: aws_sdk_dynamodb::Client,
}

impl Function for KeyManager {
    type Response = Value;
    type Error = RequestError;

    fn new(environment: &Environment, config: SdkConfig) -> Result<Self, InvalidConfiguration> {
        Ok(Self {
            settings: Settings::read(environment)?,
            checks: Checks::read(environment)?,
            // The AWS SAM CLI sets it (AWS SAM Developer Guide, "Introduction to testing with sam local invoke").
            is_emulated: environment.get("AWS_SAM_LOCAL") == Some("true"),
            trail: Trail::new(&config),
            tagging: aws_sdk_resourcegroupstagging::Client::new(&config),
            cloudwatch: aws_sdk_cloudwatch::Client::new(&config),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            config,
        })
    }

    async fn answer(&self, mut invocation: Invocation<'_>) -> Result<Value, RequestError> {
        if self.is_emulated {
            invocation.location = self.location_of_credentials().await?;
        }
        let request = Request::parse(invocation.event.take(), &invocation.location)?;
        let invocation = &invocation;
        let operation = request.operation();
        tracing::info!(operation = operation.as_str(), "a request");
        let (location, until) = (&invocation.location, invocation.deadlines.notified);
        let table = RecordTable::new(&self.config, &self.settings.table, location, until);
        if !self.settings.operations.contains(&operation) {
            return Err(self.refuse_unanswered(&request, operation, &table, invocation).await);
        }
        match request {
            Request::AuditKey(request) => {
                let audit = Box::pin(operations::audit(self, invocation, &request)).await?;
                in_format(&audit, request.format)
            }
            Request::ListOperations(request) => match operations::list(&table, &request).await {
                Ok(operations) => Ok(json(&operations)),
                Err(error) => Err(RequestError::OperationFailed(error.to_string())),
            },
            Request::Change(change) => self.change(change, table, invocation).await,
        }
    }
}

impl KeyManager {
    /// Where the keys are that the credentials are for. On a developer's machine the function's own account and Region are
    /// made up, and a policy that delegates to that account would be nobody's.
    async fn location_of_credentials(&self) -> Result<Location, RequestError> {
        let account = Sts::new(&self.config).account().await;
        let account_id = account.map_err(|failure| {
            RequestError::OperationFailed(format!(
                "whose credentials these are is not known: {}",
                error_summary(&failure)
            ))
        })?;
        let region = self.config.region().map_or_else(String::new, ToString::to_string);
        Ok(Location { partition: partition_of(&region).to_owned(), region, account_id })
    }

    /// Refuses an operation that this deployment does not answer. It records that if it records anything.
    async fn refuse_unanswered(
        &self,
        request: &Request,
        operation: OperationName,
        table: &RecordTable,
        invocation: &Invocation<'_>,
    ) -> RequestError {
        let problem = format!("operation: this deployment does not answer `{}`", operation.as_str());
        match request {
            Request::Change(change) if self.settings.operations.iter().any(|it| it.changes()) && !change.dry_run => {
                self.refuse(change, problem, table, invocation).await
            }
            _ => RequestError::NotAllowed(problem),
        }
    }

    async fn refuse(
        &self,
        change: &Change,
        problem: String,
        table: &RecordTable,
        invocation: &Invocation<'_>,
    ) -> RequestError {
        let now = invocation.present();
        match table.refuse(change, &invocation.request_id, &problem, now, self.expires_at(now)).await {
            Ok(()) => RequestError::NotAllowed(problem),
            Err(error) => RequestError::NotAllowed(format!("{problem}; the attempt could not be recorded: {error}")),
        }
    }

    fn expires_at(&self, finished_at: Timestamp) -> Timestamp {
        finished_at.saturating_add(self.settings.retention).unwrap_or(Timestamp::MAX)
    }

    async fn change(
        &self,
        change: Change,
        table: RecordTable,
        invocation: &Invocation<'_>,
    ) -> Result<Value, RequestError> {
        let new_session = |record: Record, table: RecordTable| Session {
            manager: self,
            invocation,
            kms: Kms::new(&self.config, self.settings.quota_share),
            table,
            record,
            is_dry_run: change.dry_run,
        };
        if change.dry_run {
            let record = Record::new(&change, &invocation.request_id, invocation.now);
            let mut session = new_session(record, table);
            return match perform(&mut session, &change.action).await {
                Ok(answer) => Ok(json(&Answer { state: State::DryRun, ..answer })),
                Err(Stop::NotAllowed(why)) => Err(RequestError::NotAllowed(why)),
                Err(Stop::Failed(why) | Stop::InProgress(why) | Stop::Unknown(why, _)) => {
                    Err(RequestError::OperationFailed(why))
                }
            };
        }
        let claim = table.claim(&change, &invocation.request_id, invocation.present(), invocation.ends_at).await;
        let record = match claim {
            Err(error) => {
                return Err(RequestError::OperationFailed(format!("{error}; nothing was done by this invocation")));
            }
            Ok(Claim::Mine(record)) => *record,
            Ok(Claim::Finished(record)) => {
                let answer = record.answer.clone();
                let answer =
                    answer.unwrap_or_else(|| Answer::new(&record.operation, &record.client_token, record.state));
                return Ok(json(&Answer { repeated: true, ..answer }));
            }
            Ok(Claim::Busy(record)) => {
                return Ok(in_progress(&record, "another invocation is at work on this request"));
            }
            Ok(Claim::OtherRequest(record)) => {
                let problem = format!(
                    "client_token: `{}` belongs to another request: {} of {}",
                    record.client_token, record.operation, record.started_at
                );
                return Err(self.refuse(&change, problem, &table, invocation).await);
            }
        };
        let mut session = new_session(record, table);
        let result = perform(&mut session, &change.action).await;
        self.conclude(session, result).await
    }

    /// Writes what came of it, and says it.
    async fn conclude(&self, session: Session<'_>, result: Result<Answer, Stop>) -> Result<Value, RequestError> {
        let Session { invocation, table, mut record, .. } = session;
        let now = invocation.present();
        let (state, answer) = match result {
            Ok(answer) => {
                record.problem = None;
                record.answer = Some(answer.clone());
                (State::Succeeded, Ok(json(&answer)))
            }
            Err(Stop::InProgress(why)) => {
                let answer = in_progress(&record, &why);
                record.problem = Some(why);
                (State::InProgress, Ok(answer))
            }
            Err(Stop::NotAllowed(why)) => {
                record.problem = Some(why.clone());
                let state = if record.may_have_changed() { State::Failed } else { State::NotAllowed };
                (state, Err(RequestError::NotAllowed(format!("{why}{}", exists(&record)))))
            }
            Err(Stop::Failed(why)) => {
                record.problem = Some(why.clone());
                let more = exists(&record);
                (
                    State::Failed,
                    Err(RequestError::OperationFailed(format!("{why}{more}; the same request completes it"))),
                )
            }
            Err(Stop::Unknown(why, decided_at)) => {
                let when = match decided_at {
                    Some(at) => format!("; the same request decides from {at} on"),
                    None => "; the same request looks again".to_owned(),
                };
                record.problem = Some(format!("{why}{when}"));
                let error = RequestError::OperationFailed(format!("{why}{}{when}", exists(&record)));
                (State::OutcomeUnknown, Err(error))
            }
        };
        record.state = state;
        record.owned_until = 0;
        let is_finished = match state {
            State::Succeeded | State::NotAllowed => true,
            // Nothing was changed, so nothing is to be remembered for ever.
            State::Failed => !record.may_have_changed(),
            State::DryRun | State::InProgress | State::OutcomeUnknown => false,
        };
        if is_finished {
            record.finished_at = Some(now);
            let mut expires_at = self.expires_at(now);
            if record.retired_at.is_some() {
                // Until then it decides over the deletion of the key.
                expires_at = expires_at.saturating_add(self.settings.min_retired).unwrap_or(Timestamp::MAX);
            }
            record.expires_at = Some(expires_at.as_second());
        }
        match table.save(&mut record, now).await {
            Ok(true) => answer,
            Ok(false) => Ok(in_progress(&record, "another invocation has taken the operation over")),
            Err(error) => {
                tracing::error!(%error, "what came of the operation is not recorded");
                let outcome = answer.map_or_else(|error| error.to_string(), |answer| answer.to_string());
                Err(RequestError::OperationFailed(format!(
                    "{error}; what came of the operation is not recorded: {outcome}; the same request goes on with it"
                )))
            }
        }
    }
}

/// Everything that exists of an operation that did not come to its end.
fn exists(record: &Record) -> String {
    if record.made.is_empty() { String::new() } else { format!("; this exists: {}", record.made.join(", ")) }
}

fn in_progress(record: &Record, waiting_for: &str) -> Value {
    let mut answer = Answer::new(&record.operation, &record.client_token, State::InProgress);
    answer.key_arn.clone_from(&record.key_arn);
    answer.waiting_for = Some(waiting_for.to_owned());
    json(&answer)
}

fn in_format(audit: &Audit, format: AuditFormat) -> Result<Value, RequestError> {
    let content = match format {
        AuditFormat::Json => return Ok(json(audit)),
        AuditFormat::Table => sheet::sheet(audit).text(),
        AuditFormat::Page => {
            sheet::sheet(audit).page().map_err(|error| RequestError::OperationFailed(error.to_string()))?
        }
    };
    Ok(json(&AuditForPeople { operation: audit.operation, format, content }))
}

fn json(answer: &impl Serialize) -> Value {
    serde_json::to_value(answer).unwrap_or_default()
}
