//! The operations that the fleet answers.

use std::fmt;

use serde::Deserialize;

/// The services that the fleet answers for, each in its own protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Service {
    Account,
    CloudTrail,
    CloudWatch,
    DynamoDb,
    Ec2,
    Kms,
    Organizations,
    S3,
    Sns,
    Sts,
    Tagging,
}

/// An operation that the fleet answers, by its AWS name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
#[expect(missing_docs, reason = "AWS documents its operations")]
pub enum Operation {
    AssumeRole,
    BatchWriteItem,
    CancelKeyDeletion,
    CreateAlias,
    CreateKey,
    Decrypt,
    DeleteItem,
    DescribeCustomKeyStores,
    DescribeKey,
    DescribeRegions,
    DisableKey,
    EnableKey,
    EnableKeyRotation,
    Encrypt,
    GenerateMac,
    GetCallerIdentity,
    GetItem,
    GetKeyLastUsage,
    GetObject,
    GetKeyPolicy,
    GetKeyRotationStatus,
    GetMetricData,
    GetResources,
    GetTopicAttributes,
    ListAccounts,
    ListAccountsForParent,
    ListAliases,
    ListGrants,
    ListKeyRotations,
    ListKeys,
    ListMetrics,
    ListOrganizationalUnitsForParent,
    ListRegions,
    ListResourceTags,
    LookupEvents,
    Publish,
    PutItem,
    PutObject,
    Query,
    Scan,
    ReplicateKey,
    RotateKeyOnDemand,
    ScheduleKeyDeletion,
    Sign,
    TagResource,
    UpdateAlias,
    Verify,
    VerifyMac,
}

impl Operation {
    const ALL: [Self; 48] = [
        Self::AssumeRole,
        Self::BatchWriteItem,
        Self::CancelKeyDeletion,
        Self::CreateAlias,
        Self::CreateKey,
        Self::Decrypt,
        Self::DeleteItem,
        Self::DescribeCustomKeyStores,
        Self::DescribeKey,
        Self::DescribeRegions,
        Self::DisableKey,
        Self::EnableKey,
        Self::EnableKeyRotation,
        Self::Encrypt,
        Self::GenerateMac,
        Self::GetCallerIdentity,
        Self::GetItem,
        Self::GetKeyLastUsage,
        Self::GetObject,
        Self::GetKeyPolicy,
        Self::GetKeyRotationStatus,
        Self::GetMetricData,
        Self::GetResources,
        Self::GetTopicAttributes,
        Self::ListAccounts,
        Self::ListAccountsForParent,
        Self::ListAliases,
        Self::ListGrants,
        Self::ListKeyRotations,
        Self::ListKeys,
        Self::ListMetrics,
        Self::ListOrganizationalUnitsForParent,
        Self::ListRegions,
        Self::ListResourceTags,
        Self::LookupEvents,
        Self::Publish,
        Self::PutItem,
        Self::PutObject,
        Self::Query,
        Self::Scan,
        Self::ReplicateKey,
        Self::RotateKeyOnDemand,
        Self::ScheduleKeyDeletion,
        Self::Sign,
        Self::TagResource,
        Self::UpdateAlias,
        Self::Verify,
        Self::VerifyMac,
    ];

    /// Its AWS name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AssumeRole => "AssumeRole",
            Self::BatchWriteItem => "BatchWriteItem",
            Self::CancelKeyDeletion => "CancelKeyDeletion",
            Self::CreateAlias => "CreateAlias",
            Self::CreateKey => "CreateKey",
            Self::Decrypt => "Decrypt",
            Self::DeleteItem => "DeleteItem",
            Self::DescribeCustomKeyStores => "DescribeCustomKeyStores",
            Self::DescribeKey => "DescribeKey",
            Self::DescribeRegions => "DescribeRegions",
            Self::DisableKey => "DisableKey",
            Self::EnableKey => "EnableKey",
            Self::EnableKeyRotation => "EnableKeyRotation",
            Self::Encrypt => "Encrypt",
            Self::GenerateMac => "GenerateMac",
            Self::GetCallerIdentity => "GetCallerIdentity",
            Self::GetItem => "GetItem",
            Self::GetKeyLastUsage => "GetKeyLastUsage",
            Self::GetObject => "GetObject",
            Self::GetKeyPolicy => "GetKeyPolicy",
            Self::GetKeyRotationStatus => "GetKeyRotationStatus",
            Self::GetMetricData => "GetMetricData",
            Self::GetResources => "GetResources",
            Self::GetTopicAttributes => "GetTopicAttributes",
            Self::ListAccounts => "ListAccounts",
            Self::ListAccountsForParent => "ListAccountsForParent",
            Self::ListAliases => "ListAliases",
            Self::ListGrants => "ListGrants",
            Self::ListKeyRotations => "ListKeyRotations",
            Self::ListKeys => "ListKeys",
            Self::ListMetrics => "ListMetrics",
            Self::ListOrganizationalUnitsForParent => "ListOrganizationalUnitsForParent",
            Self::ListRegions => "ListRegions",
            Self::ListResourceTags => "ListResourceTags",
            Self::LookupEvents => "LookupEvents",
            Self::Publish => "Publish",
            Self::PutItem => "PutItem",
            Self::PutObject => "PutObject",
            Self::Query => "Query",
            Self::Scan => "Scan",
            Self::ReplicateKey => "ReplicateKey",
            Self::RotateKeyOnDemand => "RotateKeyOnDemand",
            Self::ScheduleKeyDeletion => "ScheduleKeyDeletion",
            Self::Sign => "Sign",
            Self::TagResource => "TagResource",
            Self::UpdateAlias => "UpdateAlias",
            Self::Verify => "Verify",
            Self::VerifyMac => "VerifyMac",
        }
    }

    /// The service's operation of that name.
    pub(crate) fn of(service: Service, name: &str) -> Option<Self> {
        Self::of_name(name).filter(|operation| operation.service() == service)
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
    }

    pub(crate) fn service(self) -> Service {
        match self {
            Self::BatchWriteItem | Self::DeleteItem | Self::GetItem | Self::PutItem | Self::Query | Self::Scan => {
                Service::DynamoDb
            }
            Self::AssumeRole | Self::GetCallerIdentity => Service::Sts,
            Self::GetMetricData | Self::ListMetrics => Service::CloudWatch,
            Self::ListAccounts | Self::ListAccountsForParent | Self::ListOrganizationalUnitsForParent => {
                Service::Organizations
            }
            Self::DescribeRegions => Service::Ec2,
            Self::ListRegions => Service::Account,
            Self::GetObject | Self::PutObject => Service::S3,
            Self::GetResources => Service::Tagging,
            Self::LookupEvents => Service::CloudTrail,
            Self::GetTopicAttributes | Self::Publish => Service::Sns,
            _ => Service::Kms,
        }
    }

    /// Whether it writes or publishes.
    pub(crate) fn mutates(self) -> bool {
        matches!(self, Self::BatchWriteItem | Self::DeleteItem | Self::Publish | Self::PutItem | Self::PutObject)
            || self.changes_keys()
    }

    /// Whether it creates a key or alias, or changes one.
    pub(crate) fn changes_keys(self) -> bool {
        matches!(
            self,
            Self::CancelKeyDeletion
                | Self::CreateAlias
                | Self::CreateKey
                | Self::DisableKey
                | Self::EnableKey
                | Self::EnableKeyRotation
                | Self::ReplicateKey
                | Self::RotateKeyOnDemand
                | Self::ScheduleKeyDeletion
                | Self::TagResource
                | Self::UpdateAlias
        )
    }

    /// Whether it answers page by page, with KMS's markers.
    pub(crate) fn is_list(self) -> bool {
        matches!(
            self,
            Self::DescribeCustomKeyStores
                | Self::ListAliases
                | Self::ListGrants
                | Self::ListKeyRotations
                | Self::ListKeys
                | Self::ListResourceTags
        )
    }

    /// Whether a call can name a key.
    pub(crate) fn names_a_key(self) -> bool {
        self.service() == Service::Kms
            && !matches!(
                self,
                Self::CreateAlias
                    | Self::CreateKey
                    | Self::DescribeCustomKeyStores
                    | Self::ListKeys
                    | Self::UpdateAlias
            )
    }

    /// Whether it uses a key.
    pub(crate) fn is_cryptography(self) -> bool {
        matches!(self, Self::Decrypt | Self::Encrypt | Self::GenerateMac | Self::Sign | Self::Verify | Self::VerifyMac)
    }
}

/// A derived implementation would leave errors in maps by operation without the operation's name.
impl TryFrom<String> for Operation {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::of_name(&name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join("`, `");
            format!("unknown operation `{name}`, expected one of `{known}`")
        })
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
