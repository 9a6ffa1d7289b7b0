//! `create_key` and `create_multi_region_key`.
//!
//! Policy and tags come with `CreateKey`, so that the key is never without them. `BypassPolicyLockoutSafetyCheck` is never
//! sent. Nothing is undone by deletion: what fails half-way is told, and the same request again completes it.

use aws::failure::error_summary;
use aws::operation::{CREATE_KEY, ENABLE_KEY_ROTATION};
use aws_sdk_kms::types::{KeySpec, KeyUsageType, OriginType, Tag};
use domain::key_policy::Trusted;
use jiff::Timestamp;

use super::{Session, Stop, is_lost, not_allowed, policy};
use crate::answer::Answer;
use crate::request::{CLIENT_TOKEN_TAG, MANAGED_TAG, NewKey};

const CREATE: &str = "CreateKey";
const ENABLE_ROTATION: &str = "EnableKeyRotation";

pub(super) async fn create(session: &mut Session<'_>, request: &NewKey) -> Result<Answer, Stop> {
    let text = policy::policy_of(request, &session.invocation.location);
    let trusted = Trusted {
        own_account: &session.invocation.location.account_id,
        accounts: &session.manager.settings.trusted_accounts,
        organisation: None,
    };
    policy::judge(&text, &session.invocation.location, trusted).map_err(|why| Stop::NotAllowed(why.to_string()))?;
    let is_new = session.record.step(CREATE).is_none();
    if is_new {
        if let Some(alias) = &request.alias
            && let Some(holder) = session.holder(alias.as_str()).await?
        {
            return not_allowed(format!("{alias} exists and stands for the key {holder}; it is never repointed"));
        }
        // The tag outlives the record.
        let carriers = session.keys_by_tag().await?;
        if !carriers.is_empty() {
            let arns = carriers.into_iter().collect::<Vec<_>>().join(", ");
            return not_allowed(format!("a key with this client token exists: {arns}"));
        }
    }
    if session.is_dry_run {
        return Ok(plan(session, request, &text));
    }
    let key_arn = match session.record.key_arn.clone() {
        Some(arn) => arn,
        None => create_once(session, request, &text).await?,
    };
    let id = key_arn.rsplit('/').next().unwrap_or_default().to_owned();
    let created_at = session.record.step(CREATE).map(|step| step.done_at.unwrap_or(step.begun_at));
    let mut answer = session.answer();
    if let Some(period) = request.rotation_period_days {
        enable_rotation(session, &id, period.get(), created_at).await?;
        answer.rotation_period_days = Some(period.get());
    }
    if let Some(alias) = &request.alias {
        session.create_alias(alias.as_str(), &id, created_at).await?;
        answer.alias = Some(alias.as_str().to_owned());
    }
    answer.replicas = session.replicate(request, &id, created_at).await?;
    let key = session.patiently(created_at, async || session.kms.describe_key(&id, &key_arn).await).await??;
    answer.key_state = key.state.as_ref().map(|state| state.as_str().to_owned());
    Ok(answer)
}

fn plan(session: &Session<'_>, request: &NewKey, policy: &str) -> Answer {
    let rotation = request.rotation_period_days.map(|it| format!("{ENABLE_ROTATION} every {} days", it.get()));
    let alias = request.alias.as_ref().map(|it| format!("CreateAlias {it}"));
    let replicas = request.replica_regions.iter().map(|it| format!("ReplicateKey to {it}"));
    let multi_region = if request.multi_region { "multi-Region " } else { "" };
    let key = format!("{CREATE} {multi_region}{} for {}", request.key_spec, request.usage());
    let steps = std::iter::once(key).chain(rotation).chain(alias).chain(replicas);
    Answer { policy: serde_json::from_str(policy).ok(), ..session.plan(steps) }
}

/// The tags of a new key: the request's, and the function's own.
pub(super) fn tags(session: &Session<'_>, request: &NewKey) -> Result<Vec<Tag>, Stop> {
    let own = [(MANAGED_TAG, "true"), (CLIENT_TOKEN_TAG, session.record.client_token.as_str())];
    let all = request.tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(own);
    all.map(|(key, value)| Tag::builder().tag_key(key).tag_value(value).build())
        .collect::<Result<_, _>>()
        .map_err(|error| Stop::Failed(error.to_string()))
}

/// Creates the key, or finds the one that was created before.
async fn create_once(session: &mut Session<'_>, request: &NewKey, policy: &str) -> Result<String, Stop> {
    if let Some(since) = session.record.step(CREATE).map(|step| step.begun_at)
        && let Some(arn) = session.key_of_lost_answer(since).await?
    {
        return adopt(session, arn).await;
    }
    let tags = tags(session, request)?;
    session.begin(CREATE).await?;
    let begun_at = session.now();
    let answer = session
        .kms
        .call(CREATE_KEY, async |kms| {
            kms.create_key()
                .policy(policy)
                .set_description(request.description.as_ref().map(ToString::to_string))
                .key_spec(KeySpec::from(request.key_spec.as_str()))
                .key_usage(KeyUsageType::from(request.usage()))
                .origin(OriginType::from(request.origin.as_str()))
                .multi_region(request.multi_region)
                .set_tags(Some(tags.clone()))
                .send()
                .await
        })
        .await;
    let arn = match answer {
        Ok(answer) => answer.key_metadata.and_then(|facts| facts.arn),
        Err(failure) if is_lost(&failure) => None,
        Err(failure) => {
            session.refused(CREATE);
            return Err(Stop::Failed(format!("{CREATE} was refused, nothing exists: {}", error_summary(&failure))));
        }
    };
    match arn {
        Some(arn) => adopt(session, arn).await,
        None => match session.key_of_lost_answer(begun_at).await? {
            Some(arn) => adopt(session, arn).await,
            None => Err(Stop::Unknown("the answer to CreateKey was lost".to_owned(), None)),
        },
    }
}

async fn adopt(session: &mut Session<'_>, arn: String) -> Result<String, Stop> {
    session.record.key_arn = Some(arn.clone());
    session.record.searched_at = None;
    session.record.made = vec![arn.clone()];
    session.done(CREATE).await?;
    Ok(arn)
}

async fn enable_rotation(
    session: &mut Session<'_>,
    id: &str,
    period: i32,
    created_at: Option<Timestamp>,
) -> Result<(), Stop> {
    if session.record.is_done(ENABLE_ROTATION) {
        return Ok(());
    }
    session.begin(ENABLE_ROTATION).await?;
    let enabled = session
        .patiently(created_at, async || {
            let request = async |kms: &aws_sdk_kms::Client| {
                kms.enable_key_rotation().key_id(id).rotation_period_in_days(period).send().await
            };
            session.kms.call(ENABLE_KEY_ROTATION, request).await
        })
        .await?;
    enabled.map_err(|failure| session.failed(ENABLE_ROTATION, &failure))?;
    session.done(ENABLE_ROTATION).await
}
