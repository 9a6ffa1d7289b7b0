//! `schedule_deletion`: the one operation that can lose data. Every rule is checked each time, what cannot be read refuses,
//! and all that speaks against it is told together.

use aws::failure::error_summary;
use aws::operation::{GET_KEY_LAST_USAGE, LIST_GRANTS, SCHEDULE_KEY_DELETION};
use aws::timestamp;
use domain::key::{Key, KeyState};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;

use super::{Session, Stop, is_lost, not_allowed};
use crate::answer::{Answer, State};
use crate::request::ScheduleDeletion;
use crate::trail::HISTORY;

const SCHEDULE: &str = "ScheduleKeyDeletion";
/// By how much AWS's clock may differ from the function's.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

pub(super) async fn schedule(session: &mut Session<'_>, request: &ScheduleDeletion) -> Result<Answer, Stop> {
    let key = session.managed_key(&request.key).await?;
    if request.confirm.as_str() != key.arn {
        return not_allowed(format!("`confirm` is not the ARN of the key: {}", key.arn));
    }
    if is_scheduled(&key) && session.record.step(SCHEDULE).is_some() {
        session.done(SCHEDULE).await?;
        return Ok(scheduled(session, &key));
    }
    if key.state != Some(KeyState::Disabled) {
        let state = key.state.as_ref().map_or("without a state", KeyState::as_str);
        return not_allowed(format!("{} is {state}: only a retired key can be deleted", key.arn));
    }
    let against = speaks_against(session, &key).await;
    if !against.is_empty() {
        return not_allowed(format!("{} is not deleted: {}", key.arn, against.join("; ")));
    }
    let days = request.waiting_period_days.get();
    if session.is_dry_run {
        return Ok(session.plan([format!("{SCHEDULE} {} in {days} days", key.arn)]));
    }
    session.begin(SCHEDULE).await?;
    let request = async |kms: &aws_sdk_kms::Client| {
        kms.schedule_key_deletion().key_id(&key.id).pending_window_in_days(days).send().await
    };
    let sent = session.kms.call(SCHEDULE_KEY_DELETION, request).await;
    let key = session.kms.describe_key(&key.id, &key.arn).await?;
    match sent {
        Err(failure) if !is_scheduled(&key) => {
            if !is_lost(&failure) {
                session.refused(SCHEDULE);
            }
            Err(Stop::Failed(format!("{SCHEDULE} failed: {}", error_summary(&failure))))
        }
        _ => {
            session.done(SCHEDULE).await?;
            Ok(scheduled(session, &key))
        }
    }
}

fn is_scheduled(key: &Key) -> bool {
    matches!(key.state, Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion))
}

fn scheduled(session: &Session<'_>, key: &Key) -> Answer {
    let key_state = key.state.as_ref().map(|state| state.as_str().to_owned());
    Answer { deletion_at: key.deletion_date, key_state, ..session.answer() }
}

/// Everything that speaks against the deletion of a disabled key.
async fn speaks_against(session: &Session<'_>, key: &Key) -> Vec<String> {
    let mut against = Vec::new();
    match &key.replicas {
        Ok(replicas) if replicas.is_empty() => {}
        Ok(replicas) => {
            let arns = replicas.iter().map(|it| it.arn.as_str()).collect::<Vec<_>>().join(", ");
            against.push(format!("it has replicas: {arns}"));
        }
        Err(unknown) => against.push(format!("its replicas cannot be read: {unknown}")),
    }
    match retired_since(session, key).await {
        Err(why) => against.push(why),
        Ok(retired_at) => {
            let kept = session.settings().min_retired;
            let for_now = session.now().duration_since(retired_at);
            if for_now < kept {
                let (days, kept) = (for_now.as_hours() / 24, kept.as_hours() / 24);
                against.push(format!("it is retired for {days} days (since {retired_at}), not for {kept}"));
            }
            if let Err(why) = unused_since(session, key, retired_at).await {
                against.push(why);
            }
        }
    }
    match session.kms.call(LIST_GRANTS, async |kms| kms.list_grants().key_id(&key.id).limit(1).send().await).await {
        Err(failure) => against.push(format!("its grants cannot be read: {}", error_summary(&failure))),
        Ok(page) if page.truncated || !page.grants().is_empty() => against.push("it has grants".to_owned()),
        Ok(page) if page.grants.is_none() => against.push("its grants cannot be read: there is no list".to_owned()),
        Ok(_) => {}
    }
    match session.kms.aliases_of(&BTreeSet::from([key.id.as_str()])).await {
        Err(failure) => against.push(format!("its aliases cannot be read: {}", error_summary(&failure))),
        Ok(aliases) => {
            if let Some(aliases) = aliases.get(&key.id) {
                against.push(format!("it has aliases: {}", aliases.join(", ")));
            }
        }
    }
    against
}

/// Since when the key is retired without a break, by the record of `retire_key`; the tag never counts. A break is an
/// `EnableKey` in CloudTrail's event history. That reaches back 90 days; for a longer time, last usage stands in.
async fn retired_since(session: &Session<'_>, key: &Key) -> Result<Timestamp, String> {
    let records = session.table.all().await.map_err(|error| error.to_string())?;
    let retirements =
        records.iter().filter(|it| it.key_arn.as_ref() == Some(&key.arn) && it.state != State::NotAllowed);
    let retirements: BTreeSet<Timestamp> = retirements.filter_map(|it| it.retired_at).collect();
    let Some(first) = retirements.first() else {
        return Err("the record knows of no retire_key".to_owned());
    };
    let horizon = session.now().saturating_sub(HISTORY).unwrap_or(Timestamp::MIN);
    let events = session.manager.trail.events(&session.kms, &key.arn, (*first).max(horizon), session.now()).await;
    let events = events.map_err(|failure| format!("its events cannot be read: {}", error_summary(&failure)))?;
    let enabled = events.iter().filter(|event| event.name == "EnableKey").map(|event| event.at).max();
    let since = retirements.iter().find(|at| enabled.is_none_or(|enabled| **at > enabled));
    match (since, enabled) {
        (Some(since), _) => Ok(*since),
        (None, Some(enabled)) => Err(format!("it was enabled at {enabled}, after its last retire_key")),
        (None, None) => Err("the record knows of no retire_key".to_owned()),
    }
}

/// Was the key's last use before its retirement, and did KMS watch by then?
async fn unused_since(session: &Session<'_>, key: &Key, retired_at: Timestamp) -> Result<(), String> {
    let unreadable = |why: &str| Err(format!("its last usage cannot be read: {why}"));
    let request = async |kms: &aws_sdk_kms::Client| kms.get_key_last_usage().key_id(&key.id).send().await;
    let answer = match session.kms.call(GET_KEY_LAST_USAGE, request).await {
        Ok(answer) => answer,
        Err(failure) => return unreadable(&error_summary(&failure)),
    };
    let Some(tracked_since) = answer.tracking_start_date.as_ref().and_then(timestamp) else {
        return unreadable("the answer has no TrackingStartDate");
    };
    if tracked_since > retired_at {
        return Err(format!("its usage is tracked since {tracked_since} only, after it was retired"));
    }
    let Some(usage) = answer.key_last_usage else { return unreadable("the answer has no KeyLastUsage") };
    match (&usage.timestamp, &usage.operation) {
        (None, None) => Ok(()),
        (None, Some(_)) => unreadable("the answer names an operation and no Timestamp"),
        (Some(at), _) => match timestamp(at) {
            None => unreadable("the Timestamp is no date"),
            Some(at) if at < retired_at.saturating_add(CLOCKS_DIFFER).unwrap_or(retired_at) => Ok(()),
            Some(at) => Err(format!("it was used at {at}, after it was retired")),
        },
    }
}
