//! The table of operations: every call to AWS that the product makes.
//!
//! Quotas are AWS's defaults for an account and Region, in requests per second (AWS KMS Developer Guide, "Request quotas";
//! Amazon CloudWatch User Guide, "CloudWatch service quotas"). `tests/calls.json` is written from this table, and the
//! functions' roles are held against that.

use std::collections::BTreeSet;

use domain::failure::{Cause, Failure};

/// An operation of an AWS service. There are those of the table, and no others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Operation {
    service: &'static str,
    name: &'static str,
    quota: Option<RequestQuota>,
    repeat: Repeat,
    callers: &'static [&'static str],
}

/// A request quota: its name, unique within the service, and its default in requests per second for an account and Region.
pub(crate) type RequestQuota = (&'static str, f64);

/// When a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// After any failure that may pass: a second call changes nothing that the first did not.
    Always,
    /// Only if AWS refused it: it creates something, and after a lost answer nobody knows whether it did.
    IfRefused,
}

impl Operation {
    /// The service, as IAM's actions name it: `kms`, `cloudwatch`, …
    pub fn service(self) -> &'static str {
        self.service
    }

    /// The operation's name in the service.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// When it may be made again.
    pub fn repeat(self) -> Repeat {
        self.repeat
    }

    /// Names of the functions that make the call.
    pub fn callers(self) -> &'static [&'static str] {
        self.callers
    }

    /// A row that no table has.
    #[cfg(test)]
    pub(crate) fn for_tests(repeat: Repeat) -> Self {
        Self { service: "kms", name: "CreateKey", quota: None, repeat, callers: &[] }
    }

    pub(crate) fn quota(self) -> Option<RequestQuota> {
        self.quota
    }

    /// How many functions make calls that count against the operation's quota. 1 where it has none.
    pub fn quota_callers(self) -> usize {
        let is_cryptography = self.quota.is_some_and(|quota| Cryptography::ALL.iter().any(|it| it.quota() == quota));
        let shares_quota = |row: &&Self| match row.quota {
            // Which of the quotas for the use of keys it is depends on the key.
            Some(quota) if is_cryptography => Cryptography::ALL.iter().any(|it| it.quota() == quota),
            quota => row.service == self.service && quota.is_some() && quota == self.quota,
        };
        let callers: BTreeSet<&str> = ALL.iter().filter(shares_quota).flat_map(|row| row.callers).copied().collect();
        callers.len().max(1)
    }

    /// The operation with a key of that kind, whose use has a quota of its own.
    #[must_use]
    pub fn with(self, key: Cryptography) -> Self {
        Self { quota: Some(key.quota()), ..self }
    }

    /// Is the call one with a key in a custom key store? There `KMSInvalidStateException` is "a general failure with many
    /// possible causes" (AWS KMS API Reference), some of which pass.
    pub(crate) fn is_in_custom_key_store(self) -> bool {
        self.quota == Some(Cryptography::CustomKeyStore.quota())
    }

    /// The failure of a call whose answer makes no sense.
    pub fn unreadable(self, message: &str) -> Failure {
        let Self { service, name, .. } = self;
        Failure { service, operation: name, cause: Cause::Unexpected, code: None, message: message.to_owned() }
    }
}

/// The kinds of keys whose use has a request quota of its own, shared by all operations that use such a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cryptography {
    /// Symmetric encryption and HMAC keys.
    Symmetric,
    /// RSA keys.
    Rsa,
    /// All other asymmetric keys.
    EllipticCurve,
    /// Keys in custom key stores. The quota is one store's; all stores are held to it together.
    CustomKeyStore,
}

impl Cryptography {
    pub(crate) const ALL: [Self; 4] = [Self::Symmetric, Self::Rsa, Self::EllipticCurve, Self::CustomKeyStore];

    pub(crate) const fn quota(self) -> RequestQuota {
        match self {
            Self::Symmetric => ("symmetric cryptography", 10_000.0),
            Self::Rsa => ("RSA cryptography", 1_000.0),
            Self::EllipticCurve => ("elliptic curve cryptography", 1_000.0),
            Self::CustomKeyStore => ("custom key store cryptography", 1_800.0),
        }
    }
}

/// Writes the rows as constants, and all of them as [`ALL`].
macro_rules! operations {
    ($($constant:ident: $service:literal $name:literal, $quota:expr, $repeat:ident, $callers:expr;)*) => {
        $(
            #[doc = concat!("`", $service, ":", $name, "`.")]
            pub const $constant: Operation = Operation {
                service: $service,
                name: $name,
                quota: match $quota {
                    Quota::Own(per_second) => Some(($name, per_second)),
                    Quota::Of(key) => Some(key.quota()),
                    Quota::Unpaced => None,
                },
                repeat: Repeat::$repeat,
                callers: $callers,
            };
        )*

        /// All rows.
        pub const ALL: &[Operation] = &[$($constant),*];
    };
}

/// What a row says of the quota.
enum Quota {
    /// The operation has one of its own: requests per second.
    Own(f64),
    /// It counts against that of the keys it uses: another kind than the row's by [`Operation::with`].
    Of(Cryptography),
    /// So large, or so rarely called, that no run comes near.
    Unpaced,
}

use Cryptography::Symmetric;
use Quota::{Of, Own, Unpaced};

const ACCESS: &str = "access-checker";
const AGE: &str = "key-age-checker";
const HEALTH: &str = "health-prober";
const PLANNER: &str = "target-planner";
const REPORTER: &str = "reporter";
const ROTATION: &str = "rotation-checker";
const USAGE: &str = "usage-anomaly-scorer";
/// Every check.
const EVERY_FUNCTION: &[&str] = &[ACCESS, AGE, HEALTH, ROTATION, USAGE];
/// Who tells: every check, and the reporter.
const WHO_TELLS: &[&str] = &[ACCESS, AGE, HEALTH, REPORTER, ROTATION, USAGE];

operations! {
    // constant                     service      operation                   quota            repeat  functions
    DECRYPT:                        "kms"        "Decrypt",                  Of(Symmetric),   Always, &[HEALTH];
    DESCRIBE_CUSTOM_KEY_STORES:     "kms"        "DescribeCustomKeyStores",  Own(5.0),        Always, &[HEALTH];
    DESCRIBE_KEY:                   "kms"        "DescribeKey",              Own(2_000.0),    Always, EVERY_FUNCTION;
    ENCRYPT:                        "kms"        "Encrypt",                  Of(Symmetric),   Always, &[HEALTH];
    GENERATE_MAC:                   "kms"        "GenerateMac",              Of(Symmetric),   Always, &[HEALTH];
    GET_KEY_LAST_USAGE:             "kms"        "GetKeyLastUsage",          Own(5.0),        Always, &[USAGE];
    GET_KEY_POLICY:                 "kms"        "GetKeyPolicy",             Own(1_000.0),    Always, &[ACCESS, HEALTH];
    GET_KEY_ROTATION_STATUS:        "kms"        "GetKeyRotationStatus",     Own(1_000.0),    Always, &[ROTATION];
    LIST_ALIASES:                   "kms"        "ListAliases",              Own(500.0),      Always, EVERY_FUNCTION;
    LIST_GRANTS:                    "kms"        "ListGrants",               Own(100.0),      Always, &[ACCESS];
    LIST_KEY_ROTATIONS:             "kms"        "ListKeyRotations",         Own(100.0),      Always, &[AGE];
    LIST_KEYS:                      "kms"        "ListKeys",                 Own(500.0),      Always, EVERY_FUNCTION;
    LIST_RESOURCE_TAGS:             "kms"        "ListResourceTags",         Own(2_000.0),    Always, EVERY_FUNCTION;
    SIGN:                           "kms"        "Sign",                     Of(Symmetric),   Always, &[HEALTH];
    VERIFY:                         "kms"        "Verify",                   Of(Symmetric),   Always, &[HEALTH];
    VERIFY_MAC:                     "kms"        "VerifyMac",                Of(Symmetric),   Always, &[HEALTH];

    GET_METRIC_DATA:                "cloudwatch" "GetMetricData",            Own(50.0),       Always, &[USAGE];
    LIST_METRICS:                   "cloudwatch" "ListMetrics",              Own(25.0),       Always, &[USAGE];

    // As the account that the keys are in, and to hear whose credentials those are. STS keeps no tight quota, and a run asks
    // twice at most.
    ASSUME_ROLE:                    "sts"        "AssumeRole",               Unpaced,         Always, EVERY_FUNCTION;
    GET_CALLER_IDENTITY:            "sts"        "GetCallerIdentity",        Unpaced,         Always, EVERY_FUNCTION;

    // The quotas are one organisation's, and other tools list it too: two a second are enough for a plan.
    LIST_ACCOUNTS:                  "organizations" "ListAccounts",          Own(2.0),        Always, &[PLANNER];
    LIST_ACCOUNTS_FOR_PARENT:       "organizations" "ListAccountsForParent", Own(2.0),        Always, &[PLANNER];
    LIST_ORGANIZATIONAL_UNITS_FOR_PARENT:
                                    "organizations" "ListOrganizationalUnitsForParent",
                                                                             Own(2.0),        Always, &[PLANNER];
    LIST_REGIONS:                   "account"    "ListRegions",              Own(2.0),        Always, &[PLANNER];
    // The same plan again.
    PUT_OBJECT:                     "s3"         "PutObject",                Unpaced,         Always, &[PLANNER];

    BATCH_WRITE_ITEM:               "dynamodb"   "BatchWriteItem",           Unpaced,         Always, WHO_TELLS;
    DELETE_ITEM:                    "dynamodb"   "DeleteItem",               Unpaced,         Always, WHO_TELLS;
    PUT_ITEM:                       "dynamodb"   "PutItem",                  Unpaced,         Always, WHO_TELLS;
    QUERY:                          "dynamodb"   "Query",                    Unpaced,         Always, WHO_TELLS;
    SCAN:                           "dynamodb"   "Scan",                     Unpaced,         Always, &[REPORTER];

    GET_TOPIC_ATTRIBUTES:           "sns"        "GetTopicAttributes",       Unpaced,         Always, WHO_TELLS;
    // An alert may come twice; lost, it may not be.
    PUBLISH:                        "sns"        "Publish",                  Unpaced,         Always, WHO_TELLS;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_stands_once() {
        for (n, row) in ALL.iter().enumerate() {
            assert!(!ALL.iter().skip(n + 1).any(|it| (it.service, it.name) == (row.service, row.name)), "{row:?}");
            assert!(!row.callers.is_empty(), "{row:?}");
        }
    }

    #[test]
    fn functions_that_share_a_quota_are_counted_once() {
        for (operation, callers) in [
            (DESCRIBE_KEY, 5),
            (LIST_RESOURCE_TAGS, 5),
            (GET_KEY_POLICY, 2),
            (LIST_GRANTS, 1),
            (GET_KEY_LAST_USAGE, 1),
            (SIGN, 1),
            (SIGN.with(Cryptography::Rsa), 1),
            (LIST_METRICS, 1),
            (PUBLISH, 1),
        ] {
            assert_eq!(operation.quota_callers(), callers, "{operation:?}");
        }
    }

    #[test]
    fn the_key_decides_the_quota_of_its_use() {
        assert_eq!(SIGN.with(Cryptography::Rsa).quota(), Some(("RSA cryptography", 1_000.0)));
        assert_eq!(
            (SIGN.with(Cryptography::Rsa).name(), DESCRIBE_KEY.quota()),
            ("Sign", Some(("DescribeKey", 2_000.0)))
        );
    }
}
