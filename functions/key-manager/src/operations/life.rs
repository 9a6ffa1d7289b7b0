//! `retire_key` and `cancel_deletion`.

use aws::failure::error_summary;
use aws::operation::{CANCEL_KEY_DELETION, DISABLE_KEY, ENABLE_KEY, TAG_RESOURCE};
use aws_sdk_kms::types::Tag;
use domain::key::{Key, KeyState};
use jiff::Timestamp;

use super::{Session, Stop, check_managed, not_allowed};
use crate::answer::Answer;
use crate::request::{CancelDeletion, KeyReference, RETIRED_TAG};

const DISABLE: &str = "DisableKey";
const TAG: &str = "TagResource";
const CANCEL: &str = "CancelKeyDeletion";
const ENABLE: &str = "EnableKey";

fn state(key: &Key) -> &str {
    key.state.as_ref().map_or("without a state", KeyState::as_str)
}

/// Disables the key. What counts later is the record; the tag is there to be seen.
pub(super) async fn retire(session: &mut Session<'_>, reference: &KeyReference) -> Result<Answer, Stop> {
    let key = session.managed_key(reference).await?;
    if !matches!(key.state, Some(KeyState::Enabled | KeyState::Disabled)) {
        return not_allowed(format!("{} is {}: only an enabled or disabled key can be retired", key.arn, state(&key)));
    }
    if session.is_dry_run {
        return Ok(session.plan([format!("{DISABLE} {}", key.arn), format!("{TAG} {RETIRED_TAG}")]));
    }
    if !session.record.is_done(DISABLE) {
        session.begin(DISABLE).await?;
        let send = async |kms: &aws_sdk_kms::Client| kms.disable_key().key_id(&key.id).send().await;
        let disabled = session.kms.call(DISABLE_KEY, send).await;
        disabled.map_err(|failure| session.failed(DISABLE, &failure))?;
        // From now on it is disabled for sure.
        session.record.retired_at = Some(session.now());
        session.done(DISABLE).await?;
    } else if key.state != Some(KeyState::Disabled) {
        return not_allowed(format!("{} was disabled by this request and is {} again", key.arn, state(&key)));
    }
    let retired_at = session.record.retired_at.unwrap_or_else(|| session.now());
    if !session.record.is_done(TAG) {
        let at = Timestamp::from_second(retired_at.as_second()).unwrap_or(retired_at);
        let tag = Tag::builder().tag_key(RETIRED_TAG).tag_value(at.to_string()).build();
        let tag = tag.map_err(|error| Stop::Failed(error.to_string()))?;
        session.begin(TAG).await?;
        let send = async |kms: &aws_sdk_kms::Client| kms.tag_resource().key_id(&key.id).tags(tag.clone()).send().await;
        let tagged = session.kms.call(TAG_RESOURCE, send).await;
        tagged.map_err(|failure| session.failed(TAG, &failure))?;
        session.done(TAG).await?;
    }
    Ok(Answer {
        retired_at: Some(retired_at),
        key_state: Some(KeyState::Disabled.as_str().to_owned()),
        ..session.answer()
    })
}

/// Takes a key back from deletion: every key of the account, since it only takes danger away.
pub(super) async fn cancel_deletion(session: &mut Session<'_>, request: &CancelDeletion) -> Result<Answer, Stop> {
    let key = session.own_key(&request.key).await?;
    if request.enable {
        check_managed(&session.kms, &key).await?;
    }
    let is_pending =
        |key: &Key| matches!(key.state, Some(KeyState::PendingDeletion | KeyState::PendingReplicaDeletion));
    if !is_pending(&key) && session.record.step(CANCEL).is_none() {
        return not_allowed(format!("{} is {}: its deletion is not scheduled", key.arn, state(&key)));
    }
    if session.is_dry_run {
        let enable = request.enable.then(|| format!("{ENABLE} {}", key.arn));
        return Ok(session.plan(std::iter::once(format!("{CANCEL} {}", key.arn)).chain(enable)));
    }
    if is_pending(&key) {
        session.begin(CANCEL).await?;
        let send = async |kms: &aws_sdk_kms::Client| kms.cancel_key_deletion().key_id(&key.id).send().await;
        if let Err(failure) = session.kms.call(CANCEL_KEY_DELETION, send).await {
            // The answer to a first try may have been lost: then a second one finds nothing to cancel.
            if is_pending(&session.kms.describe_key(&key.id, &key.arn).await?) {
                return Err(Stop::Failed(format!("{CANCEL} failed: {}", error_summary(&failure))));
            }
        }
    }
    if !session.record.is_done(CANCEL) {
        session.done(CANCEL).await?;
    }
    if request.enable && !session.record.is_done(ENABLE) {
        session.begin(ENABLE).await?;
        let send = async |kms: &aws_sdk_kms::Client| kms.enable_key().key_id(&key.id).send().await;
        let enabled = session.kms.call(ENABLE_KEY, send).await;
        enabled.map_err(|failure| session.failed(ENABLE, &failure))?;
        session.done(ENABLE).await?;
    }
    let state = if request.enable { KeyState::Enabled } else { KeyState::Disabled };
    Ok(Answer { key_state: Some(state.as_str().to_owned()), ..session.answer() })
}
