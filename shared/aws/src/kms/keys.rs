//! Which keys there are, and what KMS says of one.

use aws_sdk_kms::types::{
    EncryptionAlgorithmSpec, KeyListEntry, KeyMetadata, MacAlgorithmSpec, MultiRegionKeyType, SigningAlgorithmSpec,
};
use domain::failure::Failure;
use domain::key::{Key, MultiRegion, RelatedKey, Unexpected};

use super::Kms;
use crate::operation::{DESCRIBE_KEY, LIST_KEYS};
use crate::pages::Pages;
use crate::timestamp;

/// Most keys that one page of `ListKeys` holds.
const KEYS_A_PAGE: i32 = 1_000;

/// The keys of an account and Region, page by page.
#[derive(Debug)]
pub struct KeyPages<'a> {
    kms: &'a Kms,
    pages: Pages,
}

impl KeyPages<'_> {
    /// The next page; `None` behind the last one.
    ///
    /// # Errors
    /// The call failed, or the page before says that there is more, but not where.
    pub async fn next(&mut self) -> Result<Option<Vec<KeyListEntry>>, Failure> {
        let page = self.pages.next(
            async |marker| {
                let request = |kms: &aws_sdk_kms::Client| kms.list_keys().limit(KEYS_A_PAGE).set_marker(marker.clone());
                self.kms.call(LIST_KEYS, async |kms| request(kms).send().await).await
            },
            |page| (page.truncated, page.next_marker.clone()),
        );
        Ok(page.await?.map(|page| page.keys.unwrap_or_default()))
    }
}

impl Kms {
    /// The keys of the account and Region.
    pub fn list_keys(&self) -> KeyPages<'_> {
        KeyPages { kms: self, pages: Pages::of(LIST_KEYS) }
    }

    /// Asks for the facts about a key. `arn` is what it goes by if the answer does not say.
    ///
    /// # Errors
    /// The call failed.
    pub async fn describe_key(&self, id: &str, arn: &str) -> Result<Key, Failure> {
        let answer = self.call(DESCRIBE_KEY, async |kms| kms.describe_key().key_id(id).send().await).await?;
        let Some(facts) = answer.key_metadata else {
            return Err(DESCRIBE_KEY.unreadable("the answer has no KeyMetadata"));
        };
        Ok(Key {
            multi_region: multi_region(&facts),
            manager: facts.key_manager.as_ref().map(|it| it.as_str().into()),
            state: facts.key_state.as_ref().map(|it| it.as_str().into()),
            spec: facts.key_spec.as_ref().map(|it| it.as_str().into()),
            usage: facts.key_usage.as_ref().map(|it| it.as_str().into()),
            origin: facts.origin.as_ref().map(|it| it.as_str().into()),
            expiration_model: facts.expiration_model.as_ref().map(|it| it.as_str().into()),
            created_at: facts.creation_date.as_ref().and_then(timestamp),
            valid_to: facts.valid_to.as_ref().and_then(timestamp),
            deletion_date: facts.deletion_date.as_ref().and_then(timestamp),
            waiting_period_days: facts.pending_deletion_window_in_days,
            algorithms: algorithms(&facts),
            replicas: replicas(&facts),
            custom_key_store_id: facts.custom_key_store_id,
            arn: facts.arn.filter(|arn| arn.ends_with(&format!(":key/{id}"))).unwrap_or_else(|| arn.to_owned()),
            id: id.to_owned(),
        })
    }
}

fn algorithms(facts: &KeyMetadata) -> Vec<String> {
    let encryption = facts.encryption_algorithms().iter().map(EncryptionAlgorithmSpec::as_str);
    let signing = facts.signing_algorithms().iter().map(SigningAlgorithmSpec::as_str);
    let mac = facts.mac_algorithms().iter().map(MacAlgorithmSpec::as_str);
    encryption.chain(signing).chain(mac).map(str::to_owned).collect()
}

fn replicas(facts: &KeyMetadata) -> Result<Vec<RelatedKey>, Unexpected> {
    let absent = || Unexpected::absent(DESCRIBE_KEY.name(), "ReplicaKeys");
    match facts.multi_region_configuration.as_ref() {
        Some(it) if it.multi_region_key_type == Some(MultiRegionKeyType::Primary) => it
            .replica_keys()
            .iter()
            .map(|it| {
                let (arn, region) = (it.arn.clone().ok_or_else(absent)?, it.region.clone().ok_or_else(absent)?);
                Ok(RelatedKey { arn, region })
            })
            .collect(),
        _ => Ok(Vec::new()),
    }
}

fn multi_region(facts: &KeyMetadata) -> Result<MultiRegion, Unexpected> {
    const TYPE: &str = "MultiRegionKeyType";
    let configuration = facts.multi_region_configuration.as_ref();
    let kind = configuration.and_then(|it| it.multi_region_key_type.as_ref()).map(MultiRegionKeyType::as_str);
    match (kind, configuration) {
        (Some("PRIMARY"), _) => Ok(MultiRegion::Primary),
        (Some("REPLICA"), Some(it)) => {
            Ok(MultiRegion::Replica(it.primary_key.as_ref().and_then(|primary| primary.arn.clone())))
        }
        (Some(other), _) => Err(Unexpected::value(DESCRIBE_KEY.name(), TYPE, other)),
        (None, None) if facts.multi_region != Some(true) => Ok(MultiRegion::No),
        (None, _) => Err(Unexpected::absent(DESCRIBE_KEY.name(), TYPE)),
    }
}
