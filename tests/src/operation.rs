//! The operations that the fleet answers.

use std::fmt;

use serde::Deserialize;

/// An operation of KMS or SNS that the fleet answers, by its AWS name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[serde(try_from = "String")]
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
    const ALL: [Self; 8] = [
        Self::DescribeKey,
        Self::GetKeyPolicy,
        Self::GetKeyRotationStatus,
        Self::ListAliases,
        Self::ListKeyRotations,
        Self::ListKeys,
        Self::ListResourceTags,
        Self::Publish,
    ];

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

    /// The KMS operation of that name.
    pub(crate) fn of_kms(name: &str) -> Option<Self> {
        Self::of_name(name).filter(|operation| *operation != Self::Publish)
    }

    fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| operation.name() == name)
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
