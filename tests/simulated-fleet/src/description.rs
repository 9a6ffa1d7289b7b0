//! What a fleet file holds.
//!
//! Every field has a default, so that a test names only what it is about. All dates are RFC 3339.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::accounts::AccountDescription;
use crate::changes::{Delays, Pending};
use crate::events::Event;
use crate::faults::Fault;
use crate::operation::Operation;
use crate::regions::RegionDescription;

/// A fleet of keys, and how the service in front of it behaves.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct FleetDescription {
    /// The account that owns every key. Default `123456789012`.
    pub account_id: String,
    /// The Region of every key. Default `us-east-1`.
    pub region: String,
    /// The ARNs' partition. Default `aws`.
    pub partition: String,
    /// Largest page that the server gives, whatever `Limit` asks for. Default: what the operation allows.
    pub page_size: Option<usize>,
    /// DynamoDB tables that exist, each with the key attributes `pk` and `sk`. Default none.
    pub tables: Vec<String>,
    /// Subscriptions to any topic that somebody has confirmed. Default 1.
    pub subscriptions_confirmed: u32,
    /// Items on a page of `Query`, at most. Default: as many as 1 MB holds.
    pub table_page_size: Option<usize>,
    /// Of how many writes, the last ones, the index of a table has yet to learn. Default 0.
    pub index_lag_writes: usize,
    /// Datapoints on a page of `GetMetricData`, at most. Default: as many as the call asks for, up to 100,800.
    pub metric_page_size: Option<usize>,
    /// What `GetMetricData` says beside its results.
    pub metric_messages: Vec<MetricMessage>,
    /// Does KMS keep to its default request quotas, in each Region by itself? A call above one is throttled. Default: no.
    pub quotas: bool,
    /// How long each call takes, faults included. Default 0.
    pub latency_ms: u64,
    /// The keys, in the order in which `ListKeys` gives them.
    pub keys: Vec<KeyDescription>,
    /// Aliases that `ListAliases` gives without a key, as AWS does for AWS managed keys that nobody has used yet.
    pub unassociated_aliases: Vec<String>,
    /// Custom key stores, in the order in which `DescribeCustomKeyStores` gives them.
    pub custom_key_stores: Vec<CustomKeyStore>,
    /// Faults of whole operations. They win over the faults of a key.
    pub faults: BTreeMap<Operation, Fault>,
    /// Other Regions, by name. A Region that is not described has no keys.
    pub regions: BTreeMap<String, RegionDescription>,
    /// Other accounts, by ID. The fleet's own may lend itself their roles, and is of the same organisation.
    pub accounts: BTreeMap<String, AccountDescription>,
    /// Organizational units by ID, each with its parent: another one, or the root `r-root`.
    pub organizational_units: BTreeMap<String, String>,
    /// Regions that the fleet's own account has enabled. Default: its own.
    pub enabled_regions: Option<Vec<String>>,
    /// How long what is done to keys takes to show.
    pub delays: Delays,
    /// On-demand rotations that a key may have in its life. Default 25.
    pub on_demand_rotation_limit: usize,
    /// What is still to come of what was done to keys.
    #[serde(skip)]
    pub pending: Vec<Pending>,
}

impl Default for FleetDescription {
    fn default() -> Self {
        Self {
            account_id: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            partition: "aws".to_owned(),
            page_size: None,
            tables: Vec::new(),
            subscriptions_confirmed: 1,
            table_page_size: None,
            index_lag_writes: 0,
            metric_page_size: None,
            metric_messages: Vec::new(),
            quotas: false,
            latency_ms: 0,
            keys: Vec::new(),
            unassociated_aliases: Vec::new(),
            custom_key_stores: Vec::new(),
            faults: BTreeMap::new(),
            regions: BTreeMap::new(),
            accounts: BTreeMap::new(),
            organizational_units: BTreeMap::new(),
            enabled_regions: None,
            delays: Delays::default(),
            on_demand_rotation_limit: 25,
            pending: Vec::new(),
        }
    }
}

/// One key, or `count` keys that are alike.
///
/// States, specs, usages, origins and key managers are plain strings: a value that no build knows yet is a test case.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "a fleet file says each by itself")]
pub struct KeyDescription {
    /// Default: [`generated_key_id`](crate::generated_key_id) of the key's index in the fleet.
    pub key_id: Option<String>,
    /// How many keys this entry stands for. Default 1. Above 1, the ids are generated.
    pub count: u32,
    /// With the `alias/` prefix. Where `count` is above 1, each must hold `{n}`: the number within the entry, from 0.
    pub aliases: Vec<String>,
    /// Default empty.
    pub description: String,
    /// `CUSTOMER` (default) or `AWS`.
    pub key_manager: String,
    /// Default `Enabled`.
    pub key_state: String,
    /// Default `SYMMETRIC_DEFAULT`.
    pub key_spec: String,
    /// Default: the only or most usual one of the spec, `ENCRYPT_DECRYPT` for symmetric and RSA keys.
    pub key_usage: Option<String>,
    /// Default `AWS_KMS`.
    pub origin: String,
    /// Default 2025-01-01T00:00:00Z.
    pub creation_date: Timestamp,
    /// Answered in state `PendingDeletion` only, as by AWS.
    pub deletion_date: Option<Timestamp>,
    /// Answered in state `PendingReplicaDeletion` only, as by AWS. Default there: 30.
    pub pending_deletion_window_in_days: Option<u32>,
    /// When imported material expires, the earliest of all of the key's materials.
    pub valid_to: Option<Timestamp>,
    /// Default for imported material: `KEY_MATERIAL_EXPIRES` with a `valid_to`, else `KEY_MATERIAL_DOES_NOT_EXPIRE`.
    pub expiration_model: Option<String>,
    /// Default where the origin is a custom key store: `cks-1234567890abcdef0`.
    pub custom_key_store_id: Option<String>,
    /// Present on multi-Region keys.
    pub multi_region: Option<MultiRegion>,
    /// Default: rotation is off; on for AWS managed keys; unsupported where the key's spec or origin cannot rotate. A
    /// key that cannot rotate and has a `rotation` answers with it.
    pub rotation: Option<Rotation>,
    /// What `ListKeyRotations` gives, in this order.
    pub rotations: Vec<PastRotation>,
    /// What `ListResourceTags` gives.
    pub tags: BTreeMap<String, String>,
    /// What CloudWatch has counted, by operation: `Decrypt`, `GenerateDataKey`, … `ReEncrypt` counts for this key as the
    /// destination.
    pub usage: BTreeMap<String, Usage>,
    /// What `GetKeyLastUsage` gives. Default: not used since tracking began. It does not follow from `usage`.
    pub last_usage: Option<LastUsage>,
    /// Since when KMS tracks this key's usage. Default: since its creation.
    pub usage_tracking_start: Option<Timestamp>,
    /// The default policy: a string is answered as it is, anything else as JSON. Default: the account may do anything.
    pub policy: Option<Value>,
    /// What `ListGrants` gives, in this order.
    pub grants: Vec<Grant>,
    /// What `LookupEvents` gives beside what is done to the key while it is served.
    pub events: Vec<Event>,
    /// `tag:GetResources` does not give the key.
    pub untagged_in_search: bool,
    /// Calls about the key are denied, as while IAM does not know a new key's tags yet.
    pub denied: bool,
    /// The key exists, but `ListKeys` does not give it.
    pub unlisted: bool,
    /// `ListKeys` gives the key; to every other call it does not exist.
    pub gone: bool,
    /// Fields taken out of an answer: a name (at any depth) or a dotted path from the top (`KeyMetadata.KeySpec`,
    /// `Rotations.0.RotationDate`). For `ListKeys` and `ListAliases` it is the key's entry that is changed.
    pub omit: BTreeMap<Operation, Vec<String>>,
    /// Objects merged into an answer, after `omit`: unknown enum values, wrong types, fields of tomorrow. For `ListKeys`
    /// and `ListAliases` it is the key's entry that is changed.
    pub replace: BTreeMap<Operation, Value>,
    /// Faults of calls that name this key. With `count` above 1 each key counts its own `times`.
    pub faults: BTreeMap<Operation, Fault>,
}

impl Default for KeyDescription {
    fn default() -> Self {
        Self {
            key_id: None,
            count: 1,
            aliases: Vec::new(),
            description: String::new(),
            key_manager: "CUSTOMER".to_owned(),
            key_state: "Enabled".to_owned(),
            key_spec: "SYMMETRIC_DEFAULT".to_owned(),
            key_usage: None,
            origin: "AWS_KMS".to_owned(),
            creation_date: default_creation_date(),
            deletion_date: None,
            pending_deletion_window_in_days: None,
            valid_to: None,
            expiration_model: None,
            custom_key_store_id: None,
            multi_region: None,
            rotation: None,
            rotations: Vec::new(),
            tags: BTreeMap::new(),
            usage: BTreeMap::new(),
            last_usage: None,
            usage_tracking_start: None,
            policy: None,
            grants: Vec::new(),
            events: Vec::new(),
            untagged_in_search: false,
            denied: false,
            unlisted: false,
            gone: false,
            omit: BTreeMap::new(),
            replace: BTreeMap::new(),
            faults: BTreeMap::new(),
        }
    }
}

fn default_creation_date() -> Timestamp {
    Timestamp::from_second(1_735_689_600).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// A multi-Region key's place among its relatives.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct MultiRegion {
    /// `PRIMARY` or `REPLICA`: what this key is.
    #[serde(rename = "type")]
    pub key_type: String,
    /// Default: the fleet's Region.
    #[serde(default)]
    pub primary_region: Option<String>,
    /// Default: none for a primary, the fleet's Region for a replica.
    #[serde(default)]
    pub replica_regions: Vec<String>,
}

/// What `GetKeyRotationStatus` tells.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// Where this is false, AWS answers with nothing but that: the other fields are kept back.
    pub enabled: bool,
    /// Default 365.
    #[serde(default)]
    pub period_in_days: Option<u32>,
    /// Left out of the answer by default.
    #[serde(default)]
    pub next_rotation_date: Option<Timestamp>,
    /// Present while an on-demand rotation is in progress.
    #[serde(default)]
    pub on_demand_start_date: Option<Timestamp>,
}

/// One entry of `ListKeyRotations`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct PastRotation {
    /// Absent on the first material and on pending material: such entries are given to `ALL_KEY_MATERIAL` only.
    pub date: Option<Timestamp>,
    /// `AUTOMATIC` or `ON_DEMAND`. Default with a date: `AUTOMATIC`.
    #[serde(rename = "type")]
    pub rotation_type: Option<String>,
    /// `CURRENT`, `NON_CURRENT`, `PENDING_ROTATION`, … Left out of the answer by default.
    pub key_material_state: Option<String>,
    /// When this imported material expires.
    pub valid_to: Option<Timestamp>,
}

/// One grant, or `count` grants that are alike but for their id.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    /// How many grants this entry stands for. Default 1.
    pub count: u32,
    /// Left out of the answer by default.
    pub name: Option<String>,
    /// Who may use the key; `{account}` stands for the fleet's. `None` (`null`) leaves it out of the answer. Default: a role
    /// of the fleet's account.
    pub grantee: Option<String>,
    /// The service principal that may use the key. Left out of the answer by default.
    pub grantee_service: Option<String>,
    /// Who may end the grant. Left out of the answer by default.
    pub retiring: Option<String>,
    /// Default `Decrypt`.
    pub operations: Vec<String>,
    /// Left out of the answer by default.
    pub constraints: Option<Value>,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            count: 1,
            name: None,
            grantee: Some("arn:aws:iam::{account}:role/app".to_owned()),
            grantee_service: None,
            retiring: None,
            operations: vec!["Decrypt".to_owned()],
            constraints: None,
        }
    }
}

/// The last use of a key.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct LastUsage {
    /// `Decrypt`, `Sign`, …
    pub operation: String,
    /// When it was.
    pub timestamp: Timestamp,
}

/// Successful requests of one operation, counted by the hour: `hourly` value by value, or `repeat` over `hours`.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// The first hour's beginning.
    pub start: Timestamp,
    /// One value for each hour. Where it is 0 or null there is no datapoint: CloudWatch has none for an hour without a
    /// request.
    #[serde(default)]
    pub hourly: Vec<Option<f64>>,
    /// Values that come again and again: 24 for a day, 168 for a week.
    #[serde(default)]
    pub repeat: Vec<Option<f64>>,
    /// For how many hours they do.
    #[serde(default)]
    pub hours: u32,
    /// By what part of it a value moves up or down, at random but the same each time, for each key in its own way.
    #[serde(default)]
    pub jitter: f64,
    /// Values of single hours, by their number from 0. They win over the others and have no jitter.
    #[serde(default)]
    pub at: BTreeMap<u32, Option<f64>>,
    /// Of `ReEncrypt`: the id of the key that is encrypted from. Default: this key.
    #[serde(default)]
    pub source_key_id: Option<String>,
    /// What goes wrong with this series.
    #[serde(default)]
    pub status: Option<SeriesStatus>,
}

/// The status that `GetMetricData` gives to one series instead of the true one.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct SeriesStatus {
    /// `InternalError` and `Forbidden` come without values, `PartialData` with the first half of them.
    pub code: String,
    /// How many reads of the series it hits; those after that are healthy. Default: all.
    #[serde(default)]
    pub times: Option<u64>,
}

/// A message beside the results of `GetMetricData`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct MetricMessage {
    /// `MaxMetricsExceeded`, …
    pub code: String,
    /// In words.
    pub value: String,
}

/// A custom key store.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct CustomKeyStore {
    /// Default `cks-1234567890abcdef0`, which keys in a custom key store have too.
    pub id: String,
    /// Default `key-store`.
    pub name: String,
    /// Default `CONNECTED`. `None` (`null`) leaves it out of the answer.
    pub connection_state: Option<String>,
    /// Left out of the answer by default.
    pub connection_error_code: Option<String>,
}

impl Default for CustomKeyStore {
    fn default() -> Self {
        Self {
            id: "cks-1234567890abcdef0".to_owned(),
            name: "key-store".to_owned(),
            connection_state: Some("CONNECTED".to_owned()),
            connection_error_code: None,
        }
    }
}

/// Why a fleet description cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum DescriptionError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A field is wrong.
    #[error("{field}: {problem}")]
    Invalid {
        /// The path to it, like `keys[3].rotation.enabled`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl DescriptionError {
    /// The same, of a field within another.
    pub(crate) fn within(self, outer: &str) -> Self {
        match self {
            Self::Invalid { field, problem } => Self::Invalid { field: format!("{outer}.{field}"), problem },
            unreadable @ Self::Unreadable { .. } => unreadable,
        }
    }

    pub(crate) fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), problem: problem.into() }
    }
}

impl FleetDescription {
    /// Reads a fleet file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, DescriptionError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| DescriptionError::Unreadable { path: path.to_owned(), source })?;
        let mut deserializer = serde_json::Deserializer::from_str(&text);
        let description = parse(&mut deserializer)?;
        deserializer.end().map_err(|error| DescriptionError::new("the end of the file", error.to_string()))?;
        Ok(description)
    }

    /// Reads a fleet from JSON at hand.
    pub fn from_value(value: Value) -> Result<Self, DescriptionError> {
        parse(value)
    }
}

fn parse<'de, D>(deserializer: D) -> Result<FleetDescription, DescriptionError>
where
    D: Deserializer<'de>,
    D::Error: std::fmt::Display,
{
    serde_path_to_error::deserialize(deserializer)
        .map_err(|error| DescriptionError::new(error.path().to_string(), error.inner().to_string()))
}
