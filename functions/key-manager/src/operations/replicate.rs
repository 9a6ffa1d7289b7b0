//! Replicas of a new multi-Region key: `ReplicateKey` is called in the primary's Region.

use aws::failure::error_summary;
use aws::operation::REPLICATE_KEY;
use domain::failure::Cause;
use domain::key::KeyState;
use domain::location::Location;
use jiff::Timestamp;
use tokio::time::sleep;

use super::create::tags;
use super::{FOR_A_CALL, Session, Stop, WAIT, is_lost, policy};
use crate::answer::Replica;
use crate::request::{CLIENT_TOKEN_TAG, NewKey};

impl Session<'_> {
    /// Makes the replicas that are missing and waits until all are enabled.
    ///
    /// # Errors
    /// A Region that fails does not keep the others from their replicas: all that failed is told together.
    pub(super) async fn replicate(
        &mut self,
        request: &NewKey,
        id: &str,
        created_at: Option<Timestamp>,
    ) -> Result<Vec<Replica>, Stop> {
        let mut replicas = Vec::new();
        let mut problems = Vec::new();
        let mut waits = None;
        for region in &request.replica_regions {
            match self.replica(request, id, region.as_str(), created_at).await {
                Ok(replica) => replicas.push(replica),
                Err(Stop::InProgress(why)) => waits = Some(why),
                Err(Stop::NotAllowed(why) | Stop::Failed(why) | Stop::Unknown(why, _)) => {
                    problems.push(format!("{region}: {why}"));
                }
            }
        }
        match waits {
            _ if !problems.is_empty() => Err(Stop::Failed(problems.join("; "))),
            Some(why) => Err(Stop::InProgress(why)),
            None => Ok(replicas),
        }
    }

    async fn replica(
        &mut self,
        request: &NewKey,
        id: &str,
        region: &str,
        created_at: Option<Timestamp>,
    ) -> Result<Replica, Stop> {
        let step = format!("ReplicateKey {region}");
        let there = self.kms.in_region(region);
        let location = Location { region: region.to_owned(), ..self.invocation.location.clone() };
        let arn = location.key_arn(id);
        if !self.record.is_done(&step) {
            // One that was begun before may have been made.
            let exists = self.record.step(&step).is_some() && is_there(&there, id, &self.record.client_token).await?;
            if !exists {
                self.make_replica(request, id, region, &step, created_at).await?;
            }
            self.record.made.retain(|it| *it != arn);
            self.record.made.push(arn.clone());
            self.done(&step).await?;
        }
        loop {
            let key = self.patiently(created_at, async || there.describe_key(id, &arn).await).await??;
            if key.state == Some(KeyState::Enabled) {
                return Ok(Replica { region: region.to_owned(), key_arn: arn, key_state: "Enabled".to_owned() });
            }
            let state = key.state.as_ref().map_or("without a state", KeyState::as_str).to_owned();
            if key.state != Some(KeyState::Creating) {
                return Err(Stop::Failed(format!("the replica {arn} is {state}")));
            }
            if !self.has_time_for(WAIT + FOR_A_CALL) {
                return Err(Stop::InProgress(format!("the replica {arn} is {state}")));
            }
            sleep(WAIT).await;
        }
    }

    async fn make_replica(
        &mut self,
        request: &NewKey,
        id: &str,
        region: &str,
        step: &str,
        created_at: Option<Timestamp>,
    ) -> Result<(), Stop> {
        let location = Location { region: region.to_owned(), ..self.invocation.location.clone() };
        let policy = policy::policy_of(request, &location);
        let tags = tags(self, request)?;
        self.begin(step).await?;
        let answer = self
            .patiently(created_at, async || {
                let send = async |kms: &aws_sdk_kms::Client| {
                    kms.replicate_key()
                        .key_id(id)
                        .replica_region(region)
                        .policy(&policy)
                        .set_description(request.description.as_ref().map(ToString::to_string))
                        .set_tags(Some(tags.clone()))
                        .send()
                        .await
                };
                self.kms.call(REPLICATE_KEY, send).await
            })
            .await?;
        let Err(failure) = answer else { return Ok(()) };
        let exists = failure.code.as_deref() == Some("AlreadyExistsException");
        if !exists && !is_lost(&failure) {
            self.refused(step);
            return Err(Stop::Failed(format!("ReplicateKey was refused: {}", error_summary(&failure))));
        }
        if is_there(&self.kms.in_region(region), id, &self.record.client_token).await? {
            return Ok(());
        }
        Err(Stop::Failed(format!("ReplicateKey failed: {}", error_summary(&failure))))
    }
}

/// Is the replica there, and does it carry the token?
async fn is_there(there: &aws::kms::Kms, id: &str, token: &str) -> Result<bool, Stop> {
    match there.describe_key(id, id).await {
        Err(failure) if failure.cause == Cause::NotFound => return Ok(false),
        Err(failure) => return Err(failure.into()),
        Ok(_) => {}
    }
    let tags = there.tags(id).await?;
    if tags.get(CLIENT_TOKEN_TAG).is_some_and(|it| it == token) {
        return Ok(true);
    }
    Err(Stop::Failed("a replica is there that this request did not make".to_owned()))
}
