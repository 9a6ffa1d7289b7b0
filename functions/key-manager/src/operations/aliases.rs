//! Aliases: a new key's, and `set_alias`.

use std::collections::BTreeSet;

use aws::failure::error_summary;
use aws::operation::{CREATE_ALIAS, UPDATE_ALIAS};
use jiff::Timestamp;

use super::{Session, Stop, check_managed, is_lost, not_allowed};
use crate::answer::Answer;
use crate::request::{KeyReference, SetAlias};

const CREATE: &str = "CreateAlias";
const UPDATE: &str = "UpdateAlias";

impl Session<'_> {
    /// The ID of the key that the alias stands for.
    pub(super) async fn holder(&self, alias: &str) -> Result<Option<String>, Stop> {
        Ok(self.kms.resolve_aliases(&BTreeSet::from([alias])).await?.remove(alias))
    }

    /// Creates the alias for the key. It is never repointed.
    pub(super) async fn create_alias(
        &mut self,
        alias: &str,
        id: &str,
        created_at: Option<Timestamp>,
    ) -> Result<(), Stop> {
        if self.record.is_done(CREATE) {
            return Ok(());
        }
        let is_taken = |holder: &str| {
            let why = format!("{alias} exists by now and stands for the key {holder}; it is never repointed");
            Err(Stop::Failed(why))
        };
        match self.holder(alias).await? {
            Some(holder) if holder != id => return is_taken(&holder),
            Some(_) => {}
            None => {
                self.begin(CREATE).await?;
                let answer = self
                    .patiently(created_at, async || {
                        let send = async |kms: &aws_sdk_kms::Client| {
                            kms.create_alias().alias_name(alias).target_key_id(id).send().await
                        };
                        self.kms.call(CREATE_ALIAS, send).await
                    })
                    .await?;
                if let Err(failure) = answer {
                    let exists = failure.code.as_deref() == Some("AlreadyExistsException");
                    if !exists && !is_lost(&failure) {
                        self.refused(CREATE);
                        return Err(failure.into());
                    }
                    match self.holder(alias).await? {
                        Some(holder) if holder == id => {}
                        Some(holder) => return is_taken(&holder),
                        None => return Err(Stop::Failed(format!("{CREATE} failed: {}", error_summary(&failure)))),
                    }
                }
            }
        }
        self.done(CREATE).await
    }
}

/// `set_alias`. What is expected is checked before the change, not with it: KMS knows no condition.
pub(super) async fn set(session: &mut Session<'_>, request: &SetAlias) -> Result<Answer, Stop> {
    let key = session.managed_key(&request.key).await?;
    let alias = request.alias.as_str();
    let holder = session.holder(alias).await?;
    let expected = request.expected_current.as_ref().map(KeyReference::id);
    let mut answer = Answer { alias: Some(alias.to_owned()), ..session.answer() };
    match (holder.as_deref(), expected) {
        (Some(holder), _) if holder == key.id => {
            for step in [CREATE, UPDATE] {
                if session.record.step(step).is_some() {
                    session.done(step).await?;
                }
            }
            return Ok(answer);
        }
        (None, None) => {
            if session.is_dry_run {
                return Ok(Answer { alias: answer.alias, ..session.plan([format!("{CREATE} {alias}")]) });
            }
            session.create_alias(alias, &key.id, None).await?;
        }
        (None, Some(_)) => {
            return not_allowed(format!("{alias} does not exist: `expected_current` is not what it stands for"));
        }
        (Some(holder), None) => {
            return not_allowed(format!(
                "{alias} exists and stands for the key {holder}; `expected_current` does not name it"
            ));
        }
        (Some(holder), Some(expected)) if holder != expected => {
            return not_allowed(format!("{alias} stands for the key {holder}, not for `expected_current`"));
        }
        (Some(holder), Some(_)) => {
            let current = session.kms.describe_key(holder, holder).await?;
            check_managed(&session.kms, &current).await?;
            answer.previous_key_arn = Some(current.arn);
            if session.is_dry_run {
                return Ok(Answer { would_do: vec![format!("{UPDATE} {alias}")], ..answer });
            }
            session.begin(UPDATE).await?;
            let send = async |kms: &aws_sdk_kms::Client| {
                kms.update_alias().alias_name(alias).target_key_id(&key.id).send().await
            };
            let updated = session.kms.call(UPDATE_ALIAS, send).await;
            updated.map_err(|failure| session.failed(UPDATE, &failure))?;
            session.done(UPDATE).await?;
        }
    }
    Ok(answer)
}
