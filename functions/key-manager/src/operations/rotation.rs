//! `rotate_key`, `enable_rotation`, `set_rotation_period`. Rotation is a matter of the primary, in its Region.

use std::time::Duration;

use aws::failure::error_summary;
use aws::kms::Kms;
use aws::operation::{ENABLE_KEY_ROTATION, GET_KEY_ROTATION_STATUS, LIST_KEY_ROTATIONS, ROTATE_KEY_ON_DEMAND};
use aws::pages::Pages;
use aws::presence::MemberPresence;
use aws::timestamp;
use aws_sdk_kms::operation::get_key_rotation_status::GetKeyRotationStatusOutput;
use aws_sdk_kms::types::RotationType;
use domain::failure::Failure;
use domain::key::{Key, KeySpec, KeyState, MultiRegion, Origin};
use jiff::Timestamp;
use tokio::time::sleep;

use super::{FOR_A_CALL, Session, Stop, WAIT, check_managed, is_lost, not_allowed};
use crate::answer::Answer;
use crate::request::KeyReference;

const ROTATE: &str = "RotateKeyOnDemand";
const ENABLE: &str = "EnableKeyRotation";

/// How long an answer is held back for a rotation to end.
const ROTATION_TAKES: Duration = Duration::from_secs(20);
const ROTATIONS_A_PAGE: i32 = 1_000;

/// The key whose rotation it is: the key itself, or the primary of a replica.
struct Rotating {
    key: Key,
    kms: Kms,
}

async fn rotating(session: &mut Session<'_>, reference: &KeyReference) -> Result<Rotating, Stop> {
    let key = session.own_key(reference).await?;
    let Ok(MultiRegion::Replica(primary)) = &key.multi_region else {
        let kms = session.kms.in_region(&session.invocation.location.region);
        return checked(session, Rotating { key, kms }).await;
    };
    let primary =
        primary.clone().ok_or_else(|| Stop::Failed(format!("KMS does not say what the primary of {} is", key.arn)))?;
    let region = primary.split(':').nth(3).unwrap_or_default();
    let kms = session.kms.in_region(region);
    let key = kms.describe_key(&key.id, &primary).await?;
    session.record.key_arn = Some(key.arn.clone());
    checked(session, Rotating { key, kms }).await
}

/// Is it managed, and does it rotate at all?
async fn checked(session: &Session<'_>, rotating: Rotating) -> Result<Rotating, Stop> {
    let key = &rotating.key;
    check_managed(&rotating.kms, key).await?;
    let arn = &key.arn;
    if let Err(unknown) = &key.multi_region {
        return Err(Stop::Failed(format!("{arn}: {unknown}")));
    }
    if key.spec != Some(KeySpec::Symmetric) || key.origin != Some(Origin::AwsKms) {
        return not_allowed(format!(
            "{arn} cannot be rotated: only symmetric encryption keys with material made by KMS can"
        ));
    }
    if key.state != Some(KeyState::Enabled) && !session.record.is_done(ROTATE) {
        let state = key.state.as_ref().map_or("without a state", KeyState::as_str);
        return not_allowed(format!("{arn} is {state}: only an enabled key can be rotated"));
    }
    Ok(rotating)
}

/// `None` for the period of a key that does not rotate by itself.
pub(super) async fn status(kms: &Kms, id: &str) -> Result<(GetKeyRotationStatusOutput, Option<i32>), Failure> {
    let enabled = MemberPresence::of("KeyRotationEnabled");
    let answer = kms
        .call(GET_KEY_ROTATION_STATUS, async |kms| {
            let request = kms.get_key_rotation_status().key_id(id);
            request.customize().interceptor(enabled.clone()).send().await
        })
        .await?;
    if !enabled.get() {
        return Err(GET_KEY_ROTATION_STATUS.unreadable("the answer has no KeyRotationEnabled"));
    }
    let period = answer.key_rotation_enabled.then_some(answer.rotation_period_in_days.unwrap_or(365));
    Ok((answer, period))
}

/// The instants of the rotations on demand, the oldest first.
async fn rotations(kms: &Kms, id: &str) -> Result<Vec<Timestamp>, Failure> {
    let mut found = Vec::new();
    let mut pages = Pages::of(LIST_KEY_ROTATIONS);
    let ask = async |marker: Option<String>| {
        kms.call(LIST_KEY_ROTATIONS, async |kms| {
            let request = kms.list_key_rotations().key_id(id).limit(ROTATIONS_A_PAGE);
            request.set_marker(marker.clone()).send().await
        })
        .await
    };
    while let Some(page) = pages.next(ask, |page| (page.truncated, page.next_marker.clone())).await? {
        for rotation in page.rotations.unwrap_or_default() {
            if rotation.rotation_type == Some(RotationType::OnDemand)
                && let Some(date) = rotation.rotation_date
            {
                let at = timestamp(&date).ok_or_else(|| LIST_KEY_ROTATIONS.unreadable("a RotationDate is no date"))?;
                found.push(at);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What can be seen of a rotation on demand.
enum Sight {
    Nothing,
    Running,
    Rotated(Timestamp),
}

async fn look(rotating: &Rotating, counted_before: u64) -> Result<Sight, Stop> {
    // The status first: a rotation that ends between the two calls is seen by the second.
    let (status, _) = status(&rotating.kms, &rotating.key.id).await?;
    let rotations = rotations(&rotating.kms, &rotating.key.id).await?;
    Ok(match rotations.last() {
        Some(at) if rotations.len() as u64 > counted_before => Sight::Rotated(*at),
        _ if status.on_demand_rotation_start_date.is_some() => Sight::Running,
        _ => Sight::Nothing,
    })
}

pub(super) async fn rotate(session: &mut Session<'_>, reference: &KeyReference) -> Result<Answer, Stop> {
    let rotating = rotating(session, reference).await?;
    let arn = rotating.key.arn.clone();
    let before = session.record.step(ROTATE).cloned();
    let counted_before = match &before {
        Some(step) => step.counted_before.unwrap_or_default(),
        None => rotations(&rotating.kms, &rotating.key.id).await?.len() as u64,
    };
    let is_sent = match (&before, look(&rotating, counted_before).await?) {
        (Some(step), Sight::Nothing) if step.done_at.is_none() => {
            session.settled("RotateKeyOnDemand was lost, and no rotation is to be seen")?;
            false
        }
        (Some(step), _) => {
            if step.done_at.is_none() {
                session.done(ROTATE).await?;
            }
            true
        }
        (None, Sight::Running) => {
            return not_allowed(format!("a rotation of {arn} is in progress that this request did not begin"));
        }
        (None, _) => false,
    };
    if !is_sent {
        if session.is_dry_run {
            return Ok(session.plan([format!("{ROTATE} {arn}")]));
        }
        send(session, &rotating, counted_before).await?;
    }
    let waits_until = session.invocation.deadlines.start.elapsed() + ROTATION_TAKES;
    loop {
        if let Sight::Rotated(at) = look(&rotating, counted_before).await? {
            return Ok(Answer { rotated_at: Some(at), ..session.answer() });
        }
        if session.invocation.deadlines.start.elapsed() > waits_until || !session.has_time_for(WAIT + FOR_A_CALL) {
            return Err(Stop::InProgress(format!("the rotation of {arn} is in progress")));
        }
        sleep(WAIT).await;
    }
}

/// Sends the rotation, once: each counts against a limit of the key's life.
async fn send(session: &mut Session<'_>, rotating: &Rotating, counted_before: u64) -> Result<(), Stop> {
    let (id, arn) = (&rotating.key.id, &rotating.key.arn);
    session.begin_counting(ROTATE, Some(counted_before)).await?;
    let send = async |kms: &aws_sdk_kms::Client| kms.rotate_key_on_demand().key_id(id).send().await;
    let Err(failure) = rotating.kms.call(ROTATE_KEY_ON_DEMAND, send).await else {
        return session.done(ROTATE).await;
    };
    if is_lost(&failure) {
        if let Sight::Nothing = look(rotating, counted_before).await? {
            return session.settled("RotateKeyOnDemand was lost, and no rotation is to be seen");
        }
        return session.done(ROTATE).await;
    }
    session.refused(ROTATE);
    let why = match failure.code.as_deref() {
        Some("ConflictException") => "another rotation is in progress or begins within minutes; nothing was rotated",
        Some("LimitExceededException") => "the key has reached the limit of on-demand rotations of its life",
        _ => "nothing was rotated",
    };
    Err(Stop::Failed(format!("{ROTATE} {arn} was refused: {why}: {}", error_summary(&failure))))
}

pub(super) async fn enable(session: &mut Session<'_>, reference: &KeyReference, period: i32) -> Result<Answer, Stop> {
    let rotating = rotating(session, reference).await?;
    let arn = rotating.key.arn.clone();
    match status(&rotating.kms, &rotating.key.id).await?.1 {
        Some(now) if now != period && session.record.step(ENABLE).is_none() => {
            not_allowed(format!("{arn} rotates every {now} days; set_rotation_period changes that"))
        }
        Some(now) if now == period => unchanged(session, period).await,
        _ => set(session, &rotating, period).await,
    }
}

pub(super) async fn set_period(
    session: &mut Session<'_>,
    reference: &KeyReference,
    period: i32,
) -> Result<Answer, Stop> {
    let rotating = rotating(session, reference).await?;
    let arn = rotating.key.arn.clone();
    match status(&rotating.kms, &rotating.key.id).await?.1 {
        None => not_allowed(format!("{arn} does not rotate by itself; enable_rotation lets it")),
        Some(now) if now == period => unchanged(session, period).await,
        Some(_) => set(session, &rotating, period).await,
    }
}

/// It is as it should be: a lost answer's doing, or nobody's.
async fn unchanged(session: &mut Session<'_>, period: i32) -> Result<Answer, Stop> {
    if session.record.step(ENABLE).is_some() {
        session.done(ENABLE).await?;
    }
    Ok(Answer { rotation_period_days: Some(period), ..session.answer() })
}

async fn set(session: &mut Session<'_>, rotating: &Rotating, period: i32) -> Result<Answer, Stop> {
    let (id, arn) = (&rotating.key.id, &rotating.key.arn);
    if session.is_dry_run {
        return Ok(session.plan([format!("{ENABLE} {arn} every {period} days")]));
    }
    session.begin(ENABLE).await?;
    let send = async |kms: &aws_sdk_kms::Client| {
        kms.enable_key_rotation().key_id(id).rotation_period_in_days(period).send().await
    };
    let enabled = rotating.kms.call(ENABLE_KEY_ROTATION, send).await;
    enabled.map_err(|failure| session.failed(ENABLE, &failure))?;
    session.done(ENABLE).await?;
    loop {
        if status(&rotating.kms, id).await?.1 == Some(period) {
            return Ok(Answer { rotation_period_days: Some(period), ..session.answer() });
        }
        if !session.has_time_for(WAIT + FOR_A_CALL) {
            return Err(Stop::InProgress(format!("the rotation of {arn} does not show yet")));
        }
        sleep(WAIT).await;
    }
}
