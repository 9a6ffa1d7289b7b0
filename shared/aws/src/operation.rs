//! The table of operations: every call to AWS that the product makes.
//!
//! Quotas are AWS's defaults for an account and Region, in requests per second ([AWS KMS Developer Guide, "Request quotas for
//! each AWS KMS API operation"](https://docs.aws.amazon.com/kms/latest/developerguide/requests-per-second.html#rps-table);
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

    /// How many scheduled functions make calls that count against the operation's quota. 1 where it has none, or where none
    /// does.
    pub fn quota_callers(self) -> usize {
        let is_cryptography = self.quota.is_some_and(|quota| Cryptography::ALL.iter().any(|it| it.quota() == quota));
        let shares_quota = |row: &&Self| match row.quota {
            // Which of the quotas for the use of keys it is depends on the key.
            Some(quota) if is_cryptography => Cryptography::ALL.iter().any(|it| it.quota() == quota),
            quota => row.service == self.service && quota.is_some() && quota == self.quota,
        };
        let callers: BTreeSet<&str> = ALL.iter().filter(shares_quota).flat_map(|row| row.callers).copied().collect();
        callers.iter().filter(|caller| !ON_DEMAND.contains(caller)).count().max(1)
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
/// The program that scans from a terminal. It runs the checks of all functions, beside the calls of its own.
const TERMINAL: &str = "kms-compliance";
/// It runs the checks over one key, and reads besides what `key-manager` has recorded.
const AUDITOR: &str = "key-auditor";
const MANAGER: &str = "key-manager";
/// Every check.
const EVERY_CHECK: &[&str] = &[ACCESS, AGE, HEALTH, ROTATION, USAGE];
/// Every check, and the two functions that people call about one key.
const EVERY_FUNCTION: &[&str] = &[ACCESS, AGE, HEALTH, ROTATION, USAGE, AUDITOR, MANAGER];
/// Every check, and the scan.
const EVERYBODY: &[&str] = &[ACCESS, AGE, HEALTH, ROTATION, TERMINAL, USAGE];
/// Who tells: every check, and the reporter.
const WHO_TELLS: &[&str] = &[ACCESS, AGE, HEALTH, REPORTER, ROTATION, USAGE];

/// Who writes single items: those, and key-manager into a table of its own.
const WHO_WRITES: &[&str] = &[ACCESS, AGE, HEALTH, MANAGER, REPORTER, ROTATION, USAGE];
/// Who reads the ledger or key-manager's record.
const WHO_READS_THE_LEDGER: &[&str] = &[ACCESS, AGE, HEALTH, REPORTER, ROTATION, USAGE, AUDITOR, MANAGER];

/// Functions that nothing schedules. They call for one key at a time, when somebody asks: no part of a quota is kept for
/// them, and they keep to that of one function.
pub const ON_DEMAND: &[&str] = &[AUDITOR, MANAGER];

operations! {
    // constant                     service      operation                   quota            repeat     functions
    CANCEL_KEY_DELETION:            "kms"        "CancelKeyDeletion",        Own(5.0),        Always,    &[MANAGER];
    CREATE_ALIAS:                   "kms"        "CreateAlias",              Own(5.0),        IfRefused, &[MANAGER];
    CREATE_KEY:                     "kms"        "CreateKey",                Own(5.0),        IfRefused, &[MANAGER];
    DECRYPT:                        "kms"        "Decrypt",                  Of(Symmetric),   Always,    &[HEALTH];
    DESCRIBE_CUSTOM_KEY_STORES:     "kms"        "DescribeCustomKeyStores",  Own(5.0),        Always,    &[HEALTH, AUDITOR];
    DESCRIBE_KEY:                   "kms"        "DescribeKey",              Own(2_000.0),    Always,    EVERY_FUNCTION;
    DISABLE_KEY:                    "kms"        "DisableKey",               Own(5.0),        Always,    &[MANAGER];
    ENABLE_KEY:                     "kms"        "EnableKey",                Own(5.0),        Always,    &[MANAGER];
    ENABLE_KEY_ROTATION:            "kms"        "EnableKeyRotation",        Own(15.0),       Always,    &[MANAGER];
    ENCRYPT:                        "kms"        "Encrypt",                  Of(Symmetric),   Always,    &[HEALTH];
    GENERATE_MAC:                   "kms"        "GenerateMac",              Of(Symmetric),   Always,    &[HEALTH];
    GET_KEY_LAST_USAGE:             "kms"        "GetKeyLastUsage",          Own(5.0),        Always,    &[USAGE, AUDITOR, MANAGER];
    GET_KEY_POLICY:                 "kms"        "GetKeyPolicy",             Own(1_000.0),    Always,    &[ACCESS, HEALTH, AUDITOR];
    GET_KEY_ROTATION_STATUS:        "kms"        "GetKeyRotationStatus",     Own(1_000.0),    Always,    &[ROTATION, AUDITOR, MANAGER];
    LIST_ALIASES:                   "kms"        "ListAliases",              Own(500.0),      Always,    EVERY_FUNCTION;
    LIST_GRANTS:                    "kms"        "ListGrants",               Own(100.0),      Always,    &[ACCESS, AUDITOR, MANAGER];
    LIST_KEY_ROTATIONS:             "kms"        "ListKeyRotations",         Own(100.0),      Always,    &[AGE, AUDITOR, MANAGER];
    LIST_KEYS:                      "kms"        "ListKeys",                 Own(500.0),      Always,    EVERY_FUNCTION;
    LIST_RESOURCE_TAGS:             "kms"        "ListResourceTags",         Own(2_000.0),    Always,    EVERY_FUNCTION;
    // In the Region of the replica it counts as two CreateKey.
    REPLICATE_KEY:                  "kms"        "ReplicateKey",             Own(5.0),        IfRefused, &[MANAGER];
    // It counts against a limit of the key's whole life.
    ROTATE_KEY_ON_DEMAND:           "kms"        "RotateKeyOnDemand",        Own(5.0),        IfRefused, &[MANAGER];
    SCHEDULE_KEY_DELETION:          "kms"        "ScheduleKeyDeletion",      Own(15.0),       IfRefused, &[MANAGER];
    SIGN:                           "kms"        "Sign",                     Of(Symmetric),   Always,    &[HEALTH];
    TAG_RESOURCE:                   "kms"        "TagResource",              Own(10.0),       Always,    &[MANAGER];
    UPDATE_ALIAS:                   "kms"        "UpdateAlias",              Own(5.0),        Always,    &[MANAGER];
    VERIFY:                         "kms"        "Verify",                   Of(Symmetric),   Always,    &[HEALTH];
    VERIFY_MAC:                     "kms"        "VerifyMac",                Of(Symmetric),   Always,    &[HEALTH];

    LOOKUP_EVENTS:                  "cloudtrail" "LookupEvents",             Own(2.0),        Always,    &[AUDITOR, MANAGER];

    GET_METRIC_DATA:                "cloudwatch" "GetMetricData",            Own(50.0),       Always,    &[USAGE, AUDITOR];
    LIST_METRICS:                   "cloudwatch" "ListMetrics",              Own(25.0),       Always,    &[USAGE, AUDITOR];

    // As the account that the keys are in, and to hear whose credentials those are. STS keeps no tight quota, and a run asks
    // twice at most.
    ASSUME_ROLE:                    "sts"        "AssumeRole",               Unpaced,         Always,    EVERY_CHECK;
    GET_CALLER_IDENTITY:            "sts"        "GetCallerIdentity",        Unpaced,         Always,    EVERYBODY;

    // The quotas are one organisation's, and other tools list it too: two a second are enough for a plan.
    LIST_ACCOUNTS:                  "organizations" "ListAccounts",          Own(2.0),        Always,    &[PLANNER];
    LIST_ACCOUNTS_FOR_PARENT:       "organizations" "ListAccountsForParent", Own(2.0),        Always,    &[PLANNER];
    LIST_ORGANIZATIONAL_UNITS_FOR_PARENT:
                                    "organizations" "ListOrganizationalUnitsForParent",
                                                                             Own(2.0),        Always,    &[PLANNER];
    // Where a scan may not list the Regions by the account's own service, or there is none.
    DESCRIBE_REGIONS:               "ec2"        "DescribeRegions",          Unpaced,         Always,    &[TERMINAL];
    LIST_REGIONS:                   "account"    "ListRegions",              Own(2.0),        Always,    &[PLANNER, TERMINAL];
    // The plan.
    GET_OBJECT:                     "s3"         "GetObject",                Unpaced,         Always,    &[REPORTER];
    // The same plan or report again.
    PUT_OBJECT:                     "s3"         "PutObject",                Unpaced,         Always,    &[PLANNER, REPORTER];

    BATCH_WRITE_ITEM:               "dynamodb"   "BatchWriteItem",           Unpaced,         Always,    WHO_TELLS;
    DELETE_ITEM:                    "dynamodb"   "DeleteItem",               Unpaced,         Always,    WHO_TELLS;
    GET_ITEM:                       "dynamodb"   "GetItem",                  Unpaced,         Always,    &[MANAGER];
    PUT_ITEM:                       "dynamodb"   "PutItem",                  Unpaced,         Always,    WHO_WRITES;
    QUERY:                          "dynamodb"   "Query",                    Unpaced,         Always,    WHO_READS_THE_LEDGER;
    SCAN:                           "dynamodb"   "Scan",                     Unpaced,         Always,    &[REPORTER];

    GET_TOPIC_ATTRIBUTES:           "sns"        "GetTopicAttributes",       Unpaced,         Always,    WHO_TELLS;
    // An alert may come twice; lost, it may not be.
    PUBLISH:                        "sns"        "Publish",                  Unpaced,         Always,    WHO_TELLS;

    GET_RESOURCES:                  "tag"        "GetResources",             Unpaced,         Always,    &[MANAGER];
}

/// The calls of a scan from a terminal: what the functions ask about keys, no use of a key, and its own.
pub fn of_scan() -> impl Iterator<Item = Operation> {
    let asks = |row: &&Operation| {
        let uses_a_key = row.quota.is_some_and(|quota| Cryptography::ALL.iter().any(|it| it.quota() == quota));
        let is_of_a_check = row.callers.iter().any(|caller| EVERY_CHECK.contains(caller));
        matches!(row.service, "kms" | "cloudwatch") && is_of_a_check && !uses_a_key
    };
    ALL.iter().filter(move |row| asks(row) || row.callers.contains(&TERMINAL)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_only_reads() {
        let names: Vec<&str> = of_scan().map(Operation::name).collect();
        assert!(names.iter().all(|name| ["Describe", "Get", "List"].iter().any(|verb| name.starts_with(verb))));
        assert!(
            names.contains(&"GetMetricData") && names.contains(&"GetCallerIdentity") && names.len() == 15,
            "{names:?}"
        );
    }

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
