//! The operations, and what all of them work with: a claimed record, clients, the time left.

mod aliases;
mod audit;
mod create;
mod deletion;
mod life;
mod list;
mod replicate;
mod rotation;
mod search;

use std::time::Duration;

use aws::failure::error_summary;
use aws::kms::Kms;
use domain::failure::{Cause, Failure};
use domain::key::{Key, KeyManager as Manager};
use jiff::{SignedDuration, Timestamp};
use lambda::Invocation;
use tokio::time::{Instant, sleep, timeout_at};

use crate::answer::{Answer, State};
use crate::record::{Record, RecordTable, RecordUnavailable, Step};
use crate::request::{Action, KeyReference, MANAGED_TAG};
use crate::settings::Settings;
use crate::{KeyManager, policy};

pub use audit::Checks;
pub(crate) use audit::audit;
pub(crate) use list::list;

/// How long a tag takes at most to reach permissions (AWS KMS Developer Guide, "ABAC for AWS KMS"): up to five minutes.
const TAGS_REACH_PERMISSIONS: SignedDuration = SignedDuration::from_mins(5);

/// Time that is kept for writing the record at the end.
const FOR_THE_RECORD: Duration = Duration::from_secs(3);

/// A call that creates something is begun only while there is so much time for its answer.
const FOR_A_CALL: Duration = Duration::from_secs(4);

/// Wait before something is looked at again.
const WAIT: Duration = Duration::from_secs(1);

/// Why an operation stops before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A rule refuses it.
    NotAllowed(String),
    /// Something failed.
    Failed(String),
    /// Time is short, or AWS is not done yet: what is waited for.
    InProgress(String),
    /// An answer was lost, and nothing can be seen of what it may have created. Calling again decides from the instant on,
    /// if there is one.
    Unknown(String, Option<Timestamp>),
}

impl From<&Failure> for Stop {
    fn from(failure: &Failure) -> Self {
        Self::Failed(format!("{} failed: {}", failure.operation, error_summary(failure)))
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::from(&failure)
    }
}

impl From<RecordUnavailable> for Stop {
    fn from(error: RecordUnavailable) -> Self {
        Self::Failed(error.to_string())
    }
}

pub(crate) fn not_allowed<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::NotAllowed(why.into()))
}

/// Was the answer lost, so that nobody knows whether the call did something? Where AWS refused, nothing happened.
fn is_lost(failure: &Failure) -> bool {
    match failure.cause {
        Cause::Timeout | Cause::ServiceError => true,
        Cause::Unexpected => failure.code.is_none(),
        Cause::AccessDenied | Cause::Throttled | Cause::NotFound | Cause::Unsupported => false,
    }
}

/// One request at work.
pub(crate) struct Session<'a> {
    pub(crate) manager: &'a KeyManager,
    pub(crate) invocation: &'a Invocation<'a>,
    pub(crate) kms: Kms,
    pub(crate) table: RecordTable,
    pub(crate) record: Record,
    pub(crate) is_dry_run: bool,
}

impl Session<'_> {
    fn settings(&self) -> &Settings {
        &self.manager.settings
    }

    fn now(&self) -> Timestamp {
        self.invocation.present()
    }

    /// When the operation has to stop so that its record can still be written.
    fn stops_at(&self) -> Instant {
        let left = self.invocation.deadlines.notified.saturating_duration_since(self.invocation.deadlines.start);
        self.invocation.deadlines.notified - FOR_THE_RECORD.min(left / 3)
    }

    fn has_time_for(&self, needed: Duration) -> bool {
        self.invocation.deadlines.start + self.invocation.deadlines.start.elapsed() + needed <= self.stops_at()
    }

    async fn save(&mut self) -> Result<(), Stop> {
        let now = self.now();
        if self.table.save(&mut self.record, now).await? {
            return Ok(());
        }
        Err(Stop::InProgress("another invocation has taken the operation over".to_owned()))
    }

    /// Records that a call is about to be made.
    async fn begin(&mut self, step: &str) -> Result<(), Stop> {
        self.begin_counting(step, None).await
    }

    /// The same, with what was counted before it.
    async fn begin_counting(&mut self, step: &str, counted_before: Option<u64>) -> Result<(), Stop> {
        if !self.has_time_for(FOR_A_CALL) {
            return Err(Stop::InProgress(format!("time is short: {step} is not begun")));
        }
        self.record.steps.retain(|it| it.name != step);
        let (name, begun_at) = (step.to_owned(), self.now());
        self.record.steps.push(Step { name, begun_at, done_at: None, counted_before });
        self.save().await
    }

    /// Records that a call was made.
    async fn done(&mut self, step: &str) -> Result<(), Stop> {
        let now = self.now();
        if let Some(step) = self.record.steps.iter_mut().find(|it| it.name == step) {
            step.done_at = Some(now);
        }
        self.save().await
    }

    /// Takes a step back that AWS has refused: it was not made.
    fn refused(&mut self, step: &str) {
        self.record.steps.retain(|it| it.name != step);
    }

    /// What follows from the failure of a step that may be made twice. One that AWS has refused was not made.
    fn failed(&mut self, step: &str, failure: &Failure) -> Stop {
        if !is_lost(failure) {
            self.refused(step);
        }
        failure.into()
    }

    fn answer(&self) -> Answer {
        let state = if self.is_dry_run { State::DryRun } else { State::Succeeded };
        let mut answer = Answer::new(&self.record.operation, &self.record.client_token, state);
        answer.key_arn.clone_from(&self.record.key_arn);
        answer
    }

    /// The answer of a dry run: what would be done, in its order.
    fn plan(&self, would_do: impl IntoIterator<Item = String>) -> Answer {
        Answer { would_do: would_do.into_iter().collect(), ..self.answer() }
    }

    /// The key that a request names, if it is one of the account's own. The record is about it from now on.
    async fn own_key(&mut self, reference: &KeyReference) -> Result<Key, Stop> {
        let key = self.kms.describe_key(reference.id(), reference.id()).await;
        let key = key.map_err(|failure| Stop::Failed(format!("`key` cannot be read: {}", error_summary(&failure))))?;
        if reference.account().is_some() && reference.as_str() != key.arn {
            return not_allowed(format!("`key` is of another account: {}", key.arn));
        }
        if key.manager != Some(Manager::Customer) {
            return not_allowed(format!("{} is not a customer managed key", key.arn));
        }
        self.record.key_arn = Some(key.arn.clone());
        Ok(key)
    }

    /// The same, if the key is managed.
    async fn managed_key(&mut self, reference: &KeyReference) -> Result<Key, Stop> {
        let key = self.own_key(reference).await?;
        check_managed(&self.kms, &key).await?;
        Ok(key)
    }

    /// Makes a call about a key that was created at that instant. A denial of a young key is waited out: its tags have not
    /// reached permissions yet, or KMS does not know it everywhere.
    async fn patiently<T>(
        &self,
        created_at: Option<Timestamp>,
        mut call: impl AsyncFnMut() -> Result<T, Failure>,
    ) -> Result<Result<T, Failure>, Stop> {
        loop {
            let failure = match call().await {
                Err(failure) if matches!(failure.cause, Cause::AccessDenied | Cause::NotFound) => failure,
                answer => return Ok(answer),
            };
            let is_young = created_at.is_some_and(|at| self.now().duration_since(at) < TAGS_REACH_PERMISSIONS);
            if !is_young {
                return Ok(Err(failure));
            }
            if !self.has_time_for(WAIT + FOR_A_CALL) {
                return Err(Stop::InProgress(format!(
                    "{} on the new key is still denied: its tags reach permissions within five minutes",
                    failure.operation
                )));
            }
            sleep(WAIT).await;
        }
    }
}

/// Is the key one that the function may change?
async fn check_managed(kms: &Kms, key: &Key) -> Result<(), Stop> {
    let tags = kms.tags(&key.id).await.map_err(|failure| {
        Stop::Failed(format!("the tags of {} cannot be read: {}", key.arn, error_summary(&failure)))
    })?;
    if tags.get(MANAGED_TAG).is_some_and(|value| value == "true") {
        return Ok(());
    }
    not_allowed(format!("{} is not managed: only its owner can set the tag {MANAGED_TAG} = true", key.arn))
}

/// Carries the operation out, as far as time allows.
pub(crate) async fn perform(session: &mut Session<'_>, action: &Action) -> Result<Answer, Stop> {
    let until = session.stops_at();
    match timeout_at(until, Box::pin(dispatch(session, action))).await {
        Ok(result) => result,
        Err(_) => Err(Stop::InProgress("time is short".to_owned())),
    }
}

async fn dispatch(session: &mut Session<'_>, action: &Action) -> Result<Answer, Stop> {
    match action {
        Action::CreateKey(key) | Action::CreateMultiRegionKey(key) => create::create(session, key).await,
        Action::RotateKey(it) => rotation::rotate(session, &it.key).await,
        Action::EnableRotation(it) => rotation::enable(session, &it.key, it.rotation_period_days.get()).await,
        Action::SetRotationPeriod(it) => rotation::set_period(session, &it.key, it.rotation_period_days.get()).await,
        Action::CancelDeletion(it) => life::cancel_deletion(session, it).await,
        Action::RetireKey(it) => life::retire(session, &it.key).await,
        Action::ScheduleDeletion(it) => deletion::schedule(session, it).await,
        Action::SetAlias(it) => aliases::set(session, it).await,
    }
}
