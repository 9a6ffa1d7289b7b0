//! Regions beside the fleet's own. One address serves them all: a request's signature names the Region that it is for.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, header};
use serde::Deserialize;

use crate::description::{CustomKeyStore, FleetDescription, KeyDescription};
use crate::faults::Fault;
use crate::operation::Operation;

/// What is different in another Region. Account, partition, page size and whether there are quotas are the fleet's.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct RegionDescription {
    /// The keys of this Region. A replica has the key id of its primary; keys without an id get the same ones at the same
    /// places in each Region.
    pub keys: Vec<KeyDescription>,
    /// Custom key stores of this Region.
    pub custom_key_stores: Vec<CustomKeyStore>,
    /// Faults of whole operations in this Region.
    pub faults: BTreeMap<Operation, Fault>,
    /// Default: the fleet's.
    pub latency_ms: Option<u64>,
}

impl RegionDescription {
    /// The fleet of this Region.
    pub(crate) fn fleet(&self, region: &str, home: &FleetDescription) -> FleetDescription {
        FleetDescription {
            account_id: home.account_id.clone(),
            region: region.to_owned(),
            partition: home.partition.clone(),
            page_size: home.page_size,
            quotas: home.quotas,
            latency_ms: self.latency_ms.unwrap_or(home.latency_ms),
            keys: self.keys.clone(),
            custom_key_stores: self.custom_key_stores.clone(),
            faults: self.faults.clone(),
            ..FleetDescription::default()
        }
    }
}

/// The Region that a request is signed for; `None` if it is not signed.
pub(crate) fn of_request(headers: &HeaderMap) -> Option<&str> {
    // AWS4-HMAC-SHA256 Credential=ACCESS_KEY/20261123/eu-west-1/kms/aws4_request, SignedHeaders=…, Signature=…
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (_, credential) = authorization.split_once("Credential=")?;
    credential.split(',').next()?.split('/').nth(2)
}
