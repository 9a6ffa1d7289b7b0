//! Whom a statement is about.

use serde_json::Value;

use super::document::Unreadable;
use super::statement::texts;

/// A principal of a statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Principal {
    /// Anybody: `*`, or anybody but a few (`NotPrincipal`).
    Everyone,
    /// An account, which hands the decision over to its IAM: `arn:aws:iam::111122223333:root` or the bare ID.
    Account(String),
    /// A role, a user, a session of one, an identity provider.
    Named {
        /// Its twelve-digit account ID.
        account: String,
        /// Its ARN.
        arn: String,
    },
    /// The unique ID of a role or user that has been deleted: KMS puts it where the ARN was. Nobody has it again.
    Deleted(String),
    /// An AWS service: `s3.amazonaws.com`; `*` for any.
    Service(String),
    /// Something else: nobody can say who that is.
    Unrecognised(String),
}

impl Principal {
    /// The principal's account, if it is of one.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Account(account) | Self::Named { account, .. } => Some(account),
            _ => None,
        }
    }

    /// The principal as a policy writes it.
    pub fn text(&self) -> &str {
        match self {
            Self::Everyone => "*",
            Self::Account(text)
            | Self::Named { arn: text, .. }
            | Self::Deleted(text)
            | Self::Service(text)
            | Self::Unrecognised(text) => text,
        }
    }

    /// Reads a principal of the kind `AWS`, or the grantee of a grant.
    pub fn of_aws(text: &str) -> Self {
        if text == "*" {
            return Self::Everyone;
        }
        if is_account_id(text) {
            return Self::Account(text.to_owned());
        }
        if is_unique_id(text) {
            return Self::Deleted(text.to_owned());
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        match parts.as_slice() {
            ["arn", _, _, _, account, "root"] if is_account_id(account) => Self::Account((*account).to_owned()),
            ["arn", _, _, _, account, resource] if is_account_id(account) && !resource.is_empty() => {
                Self::Named { account: (*account).to_owned(), arn: text.to_owned() }
            }
            // KMS stores no such text. Read as it would have to be meant, it is anybody.
            ["arn", _, _, _, account, _] if account.contains(['*', '?']) => Self::Everyone,
            _ => Self::Unrecognised(text.to_owned()),
        }
    }
}

/// Whom a statement applies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Principals {
    /// Those.
    These(Vec<Principal>),
    /// Everybody but those.
    AllBut(Vec<Principal>),
}

impl Principals {
    /// Reads `Principal` and `NotPrincipal`, of which a statement has one.
    pub(super) fn read(principal: Option<&Value>, not_principal: Option<&Value>) -> Result<Self, Unreadable> {
        match (principal, not_principal) {
            (Some(value), None) => Ok(Self::These(list(value, "Principal")?)),
            (None, Some(value)) => Ok(Self::AllBut(list(value, "NotPrincipal")?)),
            (None, None) => Err(Unreadable::new("has no `Principal`")),
            (Some(_), Some(_)) => Err(Unreadable::new("has both `Principal` and `NotPrincipal`")),
        }
    }
}

fn list(value: &Value, member: &str) -> Result<Vec<Principal>, Unreadable> {
    let mut principals = Vec::new();
    let lists = match value {
        Value::Object(kinds) => kinds.iter().map(|(kind, list)| (kind.as_str(), list)).collect(),
        _ => vec![("", value)],
    };
    for (kind, list) in lists {
        for text in texts(list).map_err(|_| Unreadable::new(format!("`{member}` is no principal")))? {
            principals.push(match kind {
                "AWS" => Principal::of_aws(&text),
                "Service" => Principal::Service(text.to_ascii_lowercase()),
                "Federated" | "CanonicalUser" | "" if text == "*" => Principal::Everyone,
                "Federated" => match Principal::of_aws(&text) {
                    named @ Principal::Named { .. } => named,
                    _ => Principal::Unrecognised(text),
                },
                "CanonicalUser" => Principal::Unrecognised(text),
                _ => return Err(Unreadable::new(format!("`{member}` has principals of an unknown kind"))),
            });
        }
    }
    principals.sort_unstable();
    principals.dedup();
    Ok(principals)
}

/// Is it the ID of an account, twelve digits?
pub fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The unique ID of a role or user: `AROA…`, `AIDA…`. IAM's are 21 characters long; examples are shorter.
pub(super) fn is_unique_id(text: &str) -> bool {
    let rest = text.strip_prefix("AROA").or_else(|| text.strip_prefix("AIDA"));
    rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}
