//! What somebody asks for. A request is read whole, against AWS's limits, before anything is called; the error names the
//! field.

mod fields;

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use domain::creation::{SYMMETRIC_DEFAULT, Shape, specs};
use domain::location::Location;
use domain::text::printable;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use fields::{
    AliasName, AuditDays, ClientToken, Description, KeyArn, KeyReference, ListLimit, Policy, PrincipalArn, RegionName,
    RequestedBy, RotationPeriod, TagKey, TagValue, WaitingPeriod,
};

/// Tag, with the value `true`, of the keys that the function may change. It sets it on the keys that it makes and on no
/// other: owners do.
pub const MANAGED_TAG: &str = "kms-compliance/managed";
/// Tag that holds the [`ClientToken`] of the request that made a key.
pub const CLIENT_TOKEN_TAG: &str = "kms-compliance/client-token";
/// Tag that says since when a key is retired. It informs; what counts is the record.
pub const RETIRED_TAG: &str = "kms-compliance/retired-at";
/// Tag keys with this prefix are the product's own.
pub const OWN_TAG_PREFIX: &str = "kms-compliance/";

/// Most bytes of a request as compact JSON.
pub const MAX_REQUEST_BYTES: usize = 256 * 1024;
/// Most tags of a request: KMS takes 50, and three are the function's own.
pub const MAX_TAGS: usize = 47;
/// Most administrators, and most users, that a generated policy names.
pub const MAX_PRINCIPALS: usize = 20;
/// Most Regions that one request replicates a key to.
pub const MAX_REPLICA_REGIONS: usize = 10;

/// A request that nothing is called for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidRequest {
    /// Path of the field; `request` for the whole.
    pub field: String,
    /// What is wrong with it and what is allowed.
    pub problem: String,
}

impl InvalidRequest {
    /// The error about a field.
    pub fn new(field: impl Into<String>, problem: impl Into<String>) -> Self {
        /// Of a text that somebody sends, an error repeats so many characters.
        const SHOWN: usize = 500;
        // The sender's own text may stand in both.
        let shown = |text: String| printable(&text).chars().take(SHOWN).collect();
        Self { field: shown(field.into()), problem: shown(problem.into()) }
    }
}

/// What one invocation asks for.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "an invocation has one")]
pub enum Request {
    /// Something is changed.
    Change(Change),
    /// `audit_key`.
    AuditKey(AuditKey),
    /// `list_operations`.
    ListOperations(ListOperations),
}

/// A request that changes something.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Who asks, by their own account: Lambda does not say who invoked.
    pub requested_by: RequestedBy,
    /// The same token is the same request.
    pub client_token: ClientToken,
    /// Only say what would be done.
    pub dry_run: bool,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done. As JSON it is the request's fields with the name of its operation: what makes a request the same
/// as another.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "operation", rename_all = "snake_case")]
pub enum Action {
    /// `create_key`.
    CreateKey(NewKey),
    /// `create_multi_region_key`.
    CreateMultiRegionKey(NewKey),
    /// `rotate_key`.
    RotateKey(RotateKey),
    /// `enable_rotation`.
    EnableRotation(EnableRotation),
    /// `set_rotation_period`.
    SetRotationPeriod(SetRotationPeriod),
    /// `cancel_deletion`.
    CancelDeletion(CancelDeletion),
    /// `retire_key`.
    RetireKey(RetireKey),
    /// `schedule_deletion`.
    ScheduleDeletion(ScheduleDeletion),
    /// `set_alias`.
    SetAlias(SetAlias),
}

/// The name of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OperationName {
    /// `create_key`.
    CreateKey,
    /// `rotate_key`.
    RotateKey,
    /// `enable_rotation`.
    EnableRotation,
    /// `set_rotation_period`.
    SetRotationPeriod,
    /// `create_multi_region_key`.
    CreateMultiRegionKey,
    /// `cancel_deletion`.
    CancelDeletion,
    /// `retire_key`.
    RetireKey,
    /// `schedule_deletion`.
    ScheduleDeletion,
    /// `set_alias`.
    SetAlias,
    /// `audit_key`.
    AuditKey,
    /// `list_operations`.
    ListOperations,
}

impl OperationName {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::CreateKey,
        Self::RotateKey,
        Self::EnableRotation,
        Self::SetRotationPeriod,
        Self::CreateMultiRegionKey,
        Self::CancelDeletion,
        Self::RetireKey,
        Self::ScheduleDeletion,
        Self::SetAlias,
        Self::AuditKey,
        Self::ListOperations,
    ];

    /// The name as requests write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateKey => "create_key",
            Self::RotateKey => "rotate_key",
            Self::EnableRotation => "enable_rotation",
            Self::SetRotationPeriod => "set_rotation_period",
            Self::CreateMultiRegionKey => "create_multi_region_key",
            Self::CancelDeletion => "cancel_deletion",
            Self::RetireKey => "retire_key",
            Self::ScheduleDeletion => "schedule_deletion",
            Self::SetAlias => "set_alias",
            Self::AuditKey => "audit_key",
            Self::ListOperations => "list_operations",
        }
    }

    /// Reads a name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == name)
    }

    /// Does it change something?
    pub fn changes(self) -> bool {
        !matches!(self, Self::AuditKey | Self::ListOperations)
    }
}

/// The fields of every request that changes something, beside its operation's own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(crate) struct ChangeFields {
    /// Who asks. It is recorded as a claim: `CloudTrail` names the true caller.
    requested_by: RequestedBy,
    /// Names the request: the same token again goes on with it, or answers what came of it.
    client_token: ClientToken,
    /// Only say what would be done, record nothing, use up no token.
    #[serde(default)]
    dry_run: bool,
}

/// What `create_key` and `create_multi_region_key` make.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NewKey {
    /// What the key is for: its policy is generated. Either this or `policy`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// Whom a generated policy names; with `purpose` only.
    #[serde(default, deserialize_with = "object", skip_serializing_if = "Principals::is_empty")]
    pub principals: Principals,
    /// An own key policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// What people read about the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Description>,
    /// KMS `KeySpec`.
    #[serde(default = "symmetric_default")]
    #[cfg_attr(test, schemars(extend("enum" = domain::creation::specs().collect::<Vec<_>>())))]
    pub key_spec: String,
    /// KMS `KeyUsage`; only a `SYMMETRIC_DEFAULT` key does without, and is for `ENCRYPT_DECRYPT`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(test, schemars(extend("enum" = domain::creation::USAGES)))]
    pub key_usage: Option<String>,
    /// KMS `Origin`: the function makes keys of the origin `AWS_KMS` alone.
    #[serde(default = "aws_kms")]
    #[cfg_attr(test, schemars(extend("enum" = ["AWS_KMS"])))]
    pub origin: String,
    /// May the key have replicas in other Regions? It can never be changed.
    #[serde(default)]
    pub multi_region: bool,
    /// Regions that get a replica; `create_multi_region_key` only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = MAX_REPLICA_REGIONS)))]
    pub replica_regions: Vec<RegionName>,
    /// Days between two automatic rotations; without it the key does not rotate by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation_period_days: Option<RotationPeriod>,
    /// Alias of the new key. One that exists is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<AliasName>,
    /// Tags of the new key, beside the function's own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[cfg_attr(test, schemars(extend("maxProperties" = MAX_TAGS)))]
    pub tags: BTreeMap<TagKey, TagValue>,
}

impl NewKey {
    /// KMS `KeyUsage`.
    pub fn usage(&self) -> &str {
        self.key_usage.as_deref().unwrap_or("ENCRYPT_DECRYPT")
    }

    /// What of the key only some combinations allow.
    pub fn shape(&self) -> Shape<'_> {
        Shape {
            spec: &self.key_spec,
            usage: self.usage(),
            origin: &self.origin,
            is_multi_region: self.multi_region,
            rotates: self.rotation_period_days.is_some(),
        }
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Purpose {
    /// An application encrypts with it by itself, and its AWS resources for it.
    Application,
    /// RDS encrypts databases with it.
    Database,
    /// AWS Backup encrypts vaults with it.
    Backup,
}

/// Whom a generated policy names: administration and use apart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Principals {
    /// Roles and users that administer the key and do not use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = MAX_PRINCIPALS)))]
    pub administrators: Vec<PrincipalArn>,
    /// Roles and users that use the key and do not administer it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(test, schemars(length(max = MAX_PRINCIPALS)))]
    pub users: Vec<PrincipalArn>,
}

impl Principals {
    /// Does it name nobody?
    pub fn is_empty(&self) -> bool {
        self.administrators.is_empty() && self.users.is_empty()
    }
}

/// Rotate a key now.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RotateKey {
    /// The key.
    pub key: KeyReference,
}

/// Let a key rotate by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EnableRotation {
    /// The key, or one of its replicas: rotation is the primary's.
    pub key: KeyReference,
    /// Days between two rotations.
    #[serde(default)]
    pub rotation_period_days: RotationPeriod,
}

/// Change the rotation period of a key that rotates by itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SetRotationPeriod {
    /// The key, or one of its replicas: rotation is the primary's.
    pub key: KeyReference,
    /// Days between two rotations.
    pub rotation_period_days: RotationPeriod,
}

/// Take a key back from deletion. It stays disabled.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct CancelDeletion {
    /// The key.
    pub key: KeyReference,
    /// Enable it besides; only a managed key.
    #[serde(default)]
    pub enable: bool,
}

/// Disable a key for good.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RetireKey {
    /// The key.
    pub key: KeyReference,
}

/// Have a retired key deleted.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ScheduleDeletion {
    /// The key.
    pub key: KeyReference,
    /// The key's ARN once more.
    pub confirm: KeyArn,
    /// Days in which the deletion can be cancelled.
    #[serde(default)]
    pub waiting_period_days: WaitingPeriod,
}

/// Give an alias to a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SetAlias {
    /// The alias.
    pub alias: AliasName,
    /// The key that it shall belong to.
    pub key: KeyReference,
    /// The key that it belongs to now. Without it the alias must not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_current: Option<KeyReference>,
}

/// Say everything about a key.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditKey {
    /// Who asks, if they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<RequestedBy>,
    /// The key.
    pub key: KeyReference,
    /// Days to look back for usage and events.
    #[serde(default)]
    pub days: AuditDays,
    /// The form of the answer.
    #[serde(default)]
    pub format: AuditFormat,
}

/// The form of an audit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum AuditFormat {
    /// All that was read, for programs.
    #[default]
    Json,
    /// Text in columns, for a terminal.
    Table,
    /// An HTML page, for a browser.
    Page,
}

/// Say what was done, from the record. Either by key or by token.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListOperations {
    /// Who asks, if they say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<RequestedBy>,
    /// What was done to this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyReference>,
    /// What came of the request with this token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_token: Option<ClientToken>,
    /// Most records of the answer, the newest first.
    #[serde(default)]
    pub limit: ListLimit,
}

fn symmetric_default() -> String {
    SYMMETRIC_DEFAULT.to_owned()
}

fn aws_kms() -> String {
    "AWS_KMS".to_owned()
}

impl Request {
    /// Reads a request to a function that runs at `location`.
    ///
    /// # Errors
    /// The first field that is not what AWS or the function takes, or that does not go with another.
    pub fn parse(payload: Value, location: &Location) -> Result<Self, InvalidRequest> {
        let length = serde_json::to_vec(&payload).map_or(usize::MAX, |bytes| bytes.len());
        if length > MAX_REQUEST_BYTES {
            return Err(InvalidRequest::new(
                "request",
                format!("has {length} bytes; at most {MAX_REQUEST_BYTES} are taken"),
            ));
        }
        let Value::Object(mut fields) = payload else {
            return Err(InvalidRequest::new("request", "is not an object"));
        };
        let operation = operation_name(fields.remove("operation"))?;
        let request = match operation {
            OperationName::AuditKey => Self::AuditKey(read(fields)?),
            OperationName::ListOperations => Self::ListOperations(read(fields)?),
            _ => {
                let common = ["requested_by", "client_token", "dry_run"];
                let common = common.into_iter().filter_map(|name| fields.remove_entry(name)).collect();
                let ChangeFields { requested_by, client_token, dry_run } = read(common)?;
                let action = match operation {
                    OperationName::CreateKey => Action::CreateKey(read(fields)?),
                    OperationName::CreateMultiRegionKey => {
                        // That is what the operation's name says.
                        fields.entry("multi_region").or_insert(Value::Bool(true));
                        Action::CreateMultiRegionKey(read(fields)?)
                    }
                    OperationName::RotateKey => Action::RotateKey(read(fields)?),
                    OperationName::EnableRotation => Action::EnableRotation(read(fields)?),
                    OperationName::SetRotationPeriod => Action::SetRotationPeriod(read(fields)?),
                    OperationName::CancelDeletion => Action::CancelDeletion(read(fields)?),
                    OperationName::RetireKey => Action::RetireKey(read(fields)?),
                    OperationName::ScheduleDeletion => Action::ScheduleDeletion(read(fields)?),
                    OperationName::SetAlias => Action::SetAlias(read(fields)?),
                    OperationName::AuditKey | OperationName::ListOperations => {
                        return Err(InvalidRequest::new("operation", "changes nothing"));
                    }
                };
                Self::Change(Change { requested_by, client_token, dry_run, action })
            }
        };
        request.check(location)?;
        Ok(request)
    }

    /// The operation that it asks for.
    pub fn operation(&self) -> OperationName {
        match self {
            Self::AuditKey(_) => OperationName::AuditKey,
            Self::ListOperations(_) => OperationName::ListOperations,
            Self::Change(change) => change.action.operation(),
        }
    }

    /// What the fields are among each other, and to the place where the function runs.
    fn check(&self, location: &Location) -> Result<(), InvalidRequest> {
        match self {
            Self::AuditKey(AuditKey { key, .. }) => key.check("key", location),
            Self::ListOperations(ListOperations { key, client_token, .. }) => match (key, client_token) {
                (Some(key), None) => key.check("key", location),
                (None, Some(_)) => Ok(()),
                _ => Err(InvalidRequest::new("key", "either `key` or `client_token` is needed, not both")),
            },
            Self::Change(change) => change.action.check(location),
        }
    }
}

impl Action {
    /// The operation that it is.
    pub fn operation(&self) -> OperationName {
        match self {
            Self::CreateKey(_) => OperationName::CreateKey,
            Self::CreateMultiRegionKey(_) => OperationName::CreateMultiRegionKey,
            Self::RotateKey(_) => OperationName::RotateKey,
            Self::EnableRotation(_) => OperationName::EnableRotation,
            Self::SetRotationPeriod(_) => OperationName::SetRotationPeriod,
            Self::CancelDeletion(_) => OperationName::CancelDeletion,
            Self::RetireKey(_) => OperationName::RetireKey,
            Self::ScheduleDeletion(_) => OperationName::ScheduleDeletion,
            Self::SetAlias(_) => OperationName::SetAlias,
        }
    }

    fn check(&self, location: &Location) -> Result<(), InvalidRequest> {
        match self {
            Self::CreateKey(key) => {
                if !key.replica_regions.is_empty() {
                    let problem = "goes with the operation `create_multi_region_key` only";
                    return Err(InvalidRequest::new("replica_regions", problem));
                }
                key.check(location)
            }
            Self::CreateMultiRegionKey(key) => {
                if !key.multi_region {
                    return Err(InvalidRequest::new("multi_region", "`create_multi_region_key` makes no other key"));
                }
                if key.replica_regions.is_empty() {
                    let problem = "is missing: at least one Region; `create_key` makes a primary without replicas";
                    return Err(InvalidRequest::new("replica_regions", problem));
                }
                key.check(location)
            }
            Self::RotateKey(RotateKey { key })
            | Self::EnableRotation(EnableRotation { key, .. })
            | Self::SetRotationPeriod(SetRotationPeriod { key, .. })
            | Self::CancelDeletion(CancelDeletion { key, .. })
            | Self::RetireKey(RetireKey { key }) => key.check("key", location),
            Self::ScheduleDeletion(ScheduleDeletion { key, confirm, .. }) => {
                key.check("key", location)?;
                confirm.check("confirm", location)?;
                if key.id() != confirm.id() || key.account().is_some_and(|account| account != confirm.account()) {
                    return Err(InvalidRequest::new("confirm", "is the ARN of another key than `key`"));
                }
                Ok(())
            }
            Self::SetAlias(SetAlias { key, expected_current, .. }) => {
                key.check("key", location)?;
                let Some(current) = expected_current else { return Ok(()) };
                current.check("expected_current", location)?;
                if current.id() == key.id() {
                    return Err(InvalidRequest::new("expected_current", "is `key` itself: there is nothing to change"));
                }
                Ok(())
            }
        }
    }
}

impl NewKey {
    fn check(&self, location: &Location) -> Result<(), InvalidRequest> {
        if self.key_usage.is_none() && self.key_spec != SYMMETRIC_DEFAULT && specs().any(|it| it == self.key_spec) {
            return Err(InvalidRequest::new("key_usage", format!("is missing: `{}` keys need one", self.key_spec)));
        }
        if let Err(refusal) = self.shape().check(&location.partition) {
            return Err(InvalidRequest::new(refusal.field, refusal.problem));
        }
        if self.origin != "AWS_KMS" {
            return Err(InvalidRequest::new(
                "origin",
                "only `AWS_KMS` is taken: other keys need more than one request",
            ));
        }
        match (self.purpose, &self.policy) {
            (None, None) => {
                return Err(InvalidRequest::new("purpose", "is missing: a key needs `purpose` or `policy`"));
            }
            (Some(_), Some(_)) => return Err(InvalidRequest::new("policy", "does not go with `purpose`")),
            (None, Some(_)) if !self.principals.is_empty() => {
                return Err(InvalidRequest::new("principals", "go with `purpose` only: `policy` names its own"));
            }
            _ => {}
        }
        if let Some(purpose) = self.purpose {
            self.check_purpose(purpose, location)?;
        }
        if self.tags.len() > MAX_TAGS {
            let problem = format!(
                "has {} tags; at most {MAX_TAGS} are taken: KMS takes 50, the function has its own",
                self.tags.len()
            );
            return Err(InvalidRequest::new("tags", problem));
        }
        self.check_replica_regions(location)
    }

    /// A generated policy is for one kind of key and for people who are told apart.
    fn check_purpose(&self, purpose: Purpose, location: &Location) -> Result<(), InvalidRequest> {
        if purpose != Purpose::Application && self.key_spec != SYMMETRIC_DEFAULT {
            let problem = "RDS and AWS Backup take `SYMMETRIC_DEFAULT` keys only";
            return Err(InvalidRequest::new("key_spec", problem));
        }
        for (list, principals) in
            [("administrators", &self.principals.administrators), ("users", &self.principals.users)]
        {
            let field = format!("principals.{list}");
            if principals.len() > MAX_PRINCIPALS {
                let problem = format!("names {}; at most {MAX_PRINCIPALS} are taken", principals.len());
                return Err(InvalidRequest::new(field, problem));
            }
            for (n, principal) in principals.iter().enumerate() {
                let field = format!("{field}[{n}]");
                principal.check(&field, location)?;
                if principals.iter().take(n).any(|earlier| earlier == principal) {
                    return Err(InvalidRequest::new(field, "stands there twice"));
                }
                if list == "users" && self.principals.administrators.contains(principal) {
                    return Err(InvalidRequest::new(
                        field,
                        "is an administrator too: who administers a key does not use it",
                    ));
                }
            }
        }
        Ok(())
    }

    fn check_replica_regions(&self, location: &Location) -> Result<(), InvalidRequest> {
        if self.replica_regions.len() > MAX_REPLICA_REGIONS {
            let problem = format!("names {}; at most {MAX_REPLICA_REGIONS} are taken", self.replica_regions.len());
            return Err(InvalidRequest::new("replica_regions", problem));
        }
        for (n, region) in self.replica_regions.iter().enumerate() {
            let problem = if region.as_str() == location.region {
                "is the primary's own Region"
            } else if region.partition() != location.partition {
                "is in another partition"
            } else if self.replica_regions.iter().take(n).any(|earlier| earlier == region) {
                "stands there twice"
            } else {
                continue;
            };
            return Err(InvalidRequest::new(format!("replica_regions[{n}]"), problem));
        }
        Ok(())
    }
}

fn operation_name(value: Option<Value>) -> Result<OperationName, InvalidRequest> {
    let names = OperationName::ALL.map(OperationName::as_str).join("`, `");
    let refuse = |problem: String| InvalidRequest::new("operation", format!("{problem}; it is one of `{names}`"));
    match value {
        None => Err(refuse("is missing".to_owned())),
        Some(Value::String(name)) => {
            let shown: String = name.chars().take(64).collect();
            OperationName::parse(&name).ok_or_else(|| refuse(format!("`{shown}` is none")))
        }
        Some(_) => Err(refuse("is no text".to_owned())),
    }
}

/// Reads an object, where serde would take a list of the fields' values too.
fn object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct Object<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(Object(PhantomData))
}

/// Reads fields strictly.
fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, InvalidRequest> {
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
        let path = error.path().to_string();
        let problem = error.into_inner().to_string();
        // Of a field that is missing, the path ends before it.
        let path = if path == "." { "request".to_owned() } else { path };
        InvalidRequest::new(path, problem)
    })
}

#[cfg(test)]
mod tests;
