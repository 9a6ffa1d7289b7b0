//! The settings of the two functions.

use std::collections::BTreeSet;

use aws::pace::QuotaShare;
use jiff::SignedDuration;
use monitor::settings::{
    Environment, EvaluationSettings, InvalidConfiguration, List, Number, Setting, Text, table_name,
};

use crate::request::OperationName;

static OPERATIONS: List<OperationName> = List {
    name: "OPERATIONS",
    allowed: " of operations, such as audit_key,list_operations",
    parse: OperationName::parse,
    meaning: "operations that this deployment answers; empty = none",
};

static OPERATIONS_TABLE: Text<String> = Text {
    name: "OPERATIONS_TABLE",
    default: "",
    is_required: true,
    allowed: "the name of a DynamoDB table: 3 to 255 letters, digits, `_`, `.` or `-`",
    parse: table_name,
    meaning: "DynamoDB table that holds the record of operations",
};

static OPERATIONS_RETENTION_DAYS: Number<i32> = Number {
    name: "OPERATIONS_RETENTION_DAYS",
    default: 365,
    allowed: 1..=monitor::settings::MAX_DAYS,
    meaning: "days for which the record keeps a finished operation, that of a retired key `MIN_RETIRED_DAYS` longer; one that \
              is not finished stays",
};

static MIN_RETIRED_DAYS: Number<i32> = Number {
    name: "MIN_RETIRED_DAYS",
    default: 30,
    allowed: 7..=365,
    meaning: "days for which a key has to be retired before its deletion may be scheduled",
};

static CREATE_SETTLE_MINUTES: Number<i32> = Number {
    name: "CREATE_SETTLE_MINUTES",
    default: 15,
    allowed: 5..=1_440,
    meaning: "minutes after the first search in vain for what a lost answer may have created, from which it counts as not \
              created",
};

static TRUSTED_ACCOUNTS: List<String> = List {
    name: "TRUSTED_ACCOUNTS",
    allowed: " of twelve-digit account IDs",
    parse: |text| domain::key_policy::is_account_id(text).then(|| text.to_owned()),
    meaning: "accounts beside the key's own that a key policy may admit",
};

/// Settings that are the functions' own. `TRUSTED_ACCOUNTS` stands with the access checker's.
pub const SETTINGS: &[&dyn Setting] =
    &[&OPERATIONS, &OPERATIONS_TABLE, &OPERATIONS_RETENTION_DAYS, &MIN_RETIRED_DAYS, &CREATE_SETTLE_MINUTES];

/// What is set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What this deployment answers.
    pub operations: BTreeSet<OperationName>,
    /// Table of the record.
    pub table: String,
    /// How long a finished operation is kept.
    pub retention: SignedDuration,
    /// How long a key has to be retired before its deletion.
    pub min_retired: SignedDuration,
    /// How long after the first search in vain something counts as not created.
    pub settle: SignedDuration,
    /// Accounts that a policy may admit.
    pub trusted_accounts: BTreeSet<String>,
    /// Which part of each quota may be used.
    pub quota_share: QuotaShare,
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    pub fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        let days = |days: i32| SignedDuration::from_hours(24 * i64::from(days));
        Ok(Self {
            operations: OPERATIONS.read(environment)?,
            table: OPERATIONS_TABLE.require(environment)?,
            retention: days(OPERATIONS_RETENTION_DAYS.read(environment)?),
            min_retired: days(MIN_RETIRED_DAYS.read(environment)?),
            settle: SignedDuration::from_mins(i64::from(CREATE_SETTLE_MINUTES.read(environment)?)),
            trusted_accounts: TRUSTED_ACCOUNTS.read(environment)?,
            quota_share: EvaluationSettings::read(environment)?.quota_share,
        })
    }
}
