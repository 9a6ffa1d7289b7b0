//! The operations that the fleet answers.

use std::fmt;

use serde::Deserialize;

/// An operation of KMS or SNS that the fleet answers, by its AWS name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[expect(missing_docs, reason = "AWS documents its operations")]
pub enum Operation {
    DescribeKey,
    GetKeyPolicy,
    GetKeyRotationStatus,
    ListAliases,
    ListKeyRotations,
    ListKeys,
    ListResourceTags,
    Publish,
}

impl Operation {
    /// The KMS operation of that name.
    pub(crate) fn of_kms(name: &str) -> Option<Self> {
        Some(match name {
            "DescribeKey" => Self::DescribeKey,
            "GetKeyPolicy" => Self::GetKeyPolicy,
            "GetKeyRotationStatus" => Self::GetKeyRotationStatus,
            "ListAliases" => Self::ListAliases,
            "ListKeyRotations" => Self::ListKeyRotations,
            "ListKeys" => Self::ListKeys,
            "ListResourceTags" => Self::ListResourceTags,
            _ => return None,
        })
    }

    /// Its AWS name.
    pub fn name(self) -> &'static str {
        match self {
            Self::DescribeKey => "DescribeKey",
            Self::GetKeyPolicy => "GetKeyPolicy",
            Self::GetKeyRotationStatus => "GetKeyRotationStatus",
            Self::ListAliases => "ListAliases",
            Self::ListKeyRotations => "ListKeyRotations",
            Self::ListKeys => "ListKeys",
            Self::ListResourceTags => "ListResourceTags",
            Self::Publish => "Publish",
        }
    }

    /// Whether it answers page by page.
    pub(crate) fn is_list(self) -> bool {
        matches!(self, Self::ListAliases | Self::ListKeyRotations | Self::ListKeys | Self::ListResourceTags)
    }

    /// Whether a call can name a key.
    pub(crate) fn names_a_key(self) -> bool {
        !matches!(self, Self::ListKeys | Self::Publish)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
