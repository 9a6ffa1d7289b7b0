//! Settings from the environment. Each stands once in code, with its default, what is allowed and what it means, and is
//! read and documented from there. One that is missing or does not parse fails every invocation, and the error names the
//! variable, the value and what is allowed.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use aws::pace::QuotaShare;
use domain::location::KeyName;
use domain::route::Route;

/// The environment variables of the process, read once. A variable that is set to nothing counts as not set: a
/// CloudFormation parameter left empty arrives like that.
#[derive(Clone, Debug, Default)]
pub struct Environment(HashMap<String, String>);

impl Environment {
    /// Reads the environment of the process.
    #[expect(clippy::disallowed_methods, reason = "the one edge where the environment is read")]
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// Value of a variable, without white space around it.
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.0.get(variable).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// Sets a variable, in place of what the process has.
    pub fn set(&mut self, variable: impl Into<String>, value: impl Into<String>) {
        self.0.insert(variable.into(), value.into());
    }

    /// The parts of a comma-separated list.
    fn list(&self, variable: &str) -> impl Iterator<Item = &str> {
        let parts = self.get(variable).unwrap_or_default().split(',');
        parts.map(str::trim).filter(|part| !part.is_empty())
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// A setting that no run can work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfiguration {
    /// A variable that must be set is not.
    #[error("`{variable}` is not set; it must be {allowed}")]
    Missing {
        /// Name of the variable.
        variable: &'static str,
        /// What it may be.
        allowed: String,
    },
    /// A variable holds something that it may not.
    #[error("`{variable}` is `{value}`; it must be {allowed}")]
    Value {
        /// Name of the variable.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What it may be.
        allowed: String,
    },
}

/// What there is to say of a setting.
pub trait Setting: Sync {
    /// Name of the variable.
    fn name(&self) -> &'static str;

    /// Value where it is not set; empty if there is none.
    fn default(&self) -> String;

    /// Does every run need it?
    fn is_required(&self) -> bool {
        false
    }

    /// What it may be.
    fn allowed(&self) -> String;

    /// What it is for.
    fn meaning(&self) -> &'static str;

    /// The error about a value that it may not have.
    fn refuse(&self, value: &str) -> InvalidConfiguration {
        InvalidConfiguration::Value { variable: self.name(), value: value.to_owned(), allowed: self.allowed() }
    }
}

/// A number within a range.
#[derive(Debug)]
pub struct Number<T> {
    /// Name of the variable.
    pub name: &'static str,
    /// Value where it is not set.
    pub default: T,
    /// Least and greatest value.
    pub allowed: RangeInclusive<T>,
    /// What it is for.
    pub meaning: &'static str,
}

/// The kinds of numbers that settings are.
pub trait Numeric: Copy + Display + FromStr + PartialOrd + Sync {
    /// What such a number is called.
    const NAME: &'static str;
}

impl Numeric for i32 {
    const NAME: &'static str = "a whole number";
}

impl Numeric for f64 {
    const NAME: &'static str = "a number";
}

impl<T: Numeric> Number<T> {
    /// Reads it.
    ///
    /// # Errors
    /// The value is no number or is out of range.
    pub fn read(&self, environment: &Environment) -> Result<T, InvalidConfiguration> {
        let Some(value) = environment.get(self.name) else { return Ok(self.default) };
        value.parse().ok().filter(|number| self.allowed.contains(number)).ok_or_else(|| self.refuse(value))
    }
}

impl<T: Numeric> Setting for Number<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn default(&self) -> String {
        self.default.to_string()
    }

    fn allowed(&self) -> String {
        format!("{} from {} to {}", T::NAME, self.allowed.start(), self.allowed.end())
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }
}

/// A comma-separated list, empty where it is not set.
#[derive(Debug)]
pub struct List<T> {
    /// Name of the variable.
    pub name: &'static str,
    /// What may stand in the list, behind the words "a comma-separated list".
    pub allowed: &'static str,
    /// Reads a part of it.
    pub parse: fn(&str) -> Option<T>,
    /// What it is for.
    pub meaning: &'static str,
}

impl<T> List<T> {
    /// Reads it.
    ///
    /// # Errors
    /// A part of it is not allowed.
    pub fn read<C: FromIterator<T>>(&self, environment: &Environment) -> Result<C, InvalidConfiguration> {
        environment.list(self.name).map(|part| (self.parse)(part).ok_or_else(|| self.refuse(part))).collect()
    }
}

impl<T> Setting for List<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn default(&self) -> String {
        String::new()
    }

    fn allowed(&self) -> String {
        format!("a comma-separated list{}", self.allowed)
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }
}

/// Any other setting.
#[derive(Debug)]
pub struct Text<T> {
    /// Name of the variable.
    pub name: &'static str,
    /// Value where it is not set; empty if there is none.
    pub default: &'static str,
    /// Does every run need it?
    pub is_required: bool,
    /// What it may be.
    pub allowed: &'static str,
    /// Reads it.
    pub parse: fn(&str) -> Option<T>,
    /// What it is for.
    pub meaning: &'static str,
}

impl<T> Text<T> {
    /// Reads it; `None` if it is not set and has no default.
    ///
    /// # Errors
    /// The value is not allowed.
    pub fn read(&self, environment: &Environment) -> Result<Option<T>, InvalidConfiguration> {
        let value = environment.get(self.name).or(Some(self.default).filter(|default| !default.is_empty()));
        value.map(|value| (self.parse)(value).ok_or_else(|| self.refuse(value))).transpose()
    }

    /// Reads it.
    ///
    /// # Errors
    /// It is not set and has no default, or the value is not allowed.
    pub fn require(&self, environment: &Environment) -> Result<T, InvalidConfiguration> {
        let missing = || InvalidConfiguration::Missing { variable: self.name, allowed: self.allowed.to_owned() };
        self.read(environment)?.ok_or_else(missing)
    }
}

impl<T> Setting for Text<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn default(&self) -> String {
        self.default.to_owned()
    }

    fn is_required(&self) -> bool {
        self.is_required
    }

    fn allowed(&self) -> String {
        self.allowed.to_owned()
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }
}

/// What a bucket's name may be, for error messages.
pub const BUCKET_NAME: &str = "the name of an S3 bucket: 3 to 63 small letters, digits, `.` or `-`";

/// Reads the name of a bucket.
pub fn bucket_name(value: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-".contains(c);
    ((3..=63).contains(&value.len()) && value.chars().all(fits)).then(|| value.to_owned())
}

/// Further topics that are told of some accounts alone.
#[derive(Clone, Copy, Debug)]
pub struct Routes;

/// The routes: the planner says who is in the units that they name, the reporter tells their topics.
pub static ROUTES: Routes = Routes;

impl Routes {
    /// Reads them.
    ///
    /// # Errors
    /// One of them is malformed: the error says which, and why.
    pub fn read(&self, environment: &Environment) -> Result<Vec<Route>, InvalidConfiguration> {
        let value = environment.get(self.name()).unwrap_or_default();
        Route::parse_all(value).map_err(|problem| InvalidConfiguration::Value {
            variable: self.name(),
            value: value.to_owned(),
            allowed: format!("{}: {problem}", self.allowed()),
        })
    }
}

impl Setting for Routes {
    fn name(&self) -> &'static str {
        "ROUTES"
    }

    fn default(&self) -> String {
        String::new()
    }

    fn allowed(&self) -> String {
        "a comma-separated list of `<account ID>=<topic ARN>` and `<organisational unit>=<topic ARN>`, none of them twice, each topic \
         a standard one"
            .to_owned()
    }

    fn meaning(&self) -> &'static str {
        "further topics, each told of the accounts that are named with it or are in a unit that is; empty = none"
    }
}

/// Longest span of days that a setting may ask for: ten years.
pub const MAX_DAYS: i32 = 3_650;

/// Which keys there are to look at, and at which pace.
#[derive(Clone, Debug)]
pub struct EvaluationSettings {
    /// Keys to check; empty = every key.
    pub monitored_keys: Vec<KeyName>,
    /// Keys to leave out.
    pub excluded_keys: Vec<KeyName>,
    /// Which part of each default KMS request quota the function may use.
    pub quota_share: QuotaShare,
    /// May a tag exclude its key?
    pub allow_exclusion_by_tag: bool,
}

/// Whom a function tells, and how it remembers.
#[derive(Clone, Debug)]
pub struct HomeSettings {
    /// Topic that alerts go to.
    pub topic_arn: String,
    /// DynamoDB table of the findings ledger; `None` = no memory.
    pub findings_table: Option<String>,
    /// Days after which an unchanged finding is told again; 0 = never.
    pub reminder_interval_days: i32,
    /// Days for which the ledger keeps a resolved finding.
    pub resolved_retention_days: i32,
}

/// The tail of "a comma-separated list…" for lists of keys.
const KEY_NAMES: &str = ", each part a key ID, a key ARN, an alias (`alias/…`) or an alias ARN";

static MONITORED_KEYS: List<KeyName> = List {
    name: "MONITORED_KEYS",
    allowed: KEY_NAMES,
    parse: KeyName::parse,
    meaning: "the only keys to check; empty = every key in the account and Region",
};

static EXCLUDED_KEYS: List<KeyName> = List {
    name: "EXCLUDED_KEYS",
    allowed: KEY_NAMES,
    parse: KeyName::parse,
    meaning: "keys that are left out: no call is made for them",
};

static KMS_QUOTA_SHARE: Text<f64> = Text {
    name: "KMS_QUOTA_SHARE",
    default: "0.5",
    is_required: false,
    allowed: "a number above 0 and at most 1",
    parse: |value| value.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0),
    meaning: "share of each default KMS request quota that all functions together may use; for each operation, a function \
              gets the share divided by the number of functions that call it",
};

static KMS_QUOTA_CALLERS: Text<u32> = Text {
    name: "KMS_QUOTA_CALLERS",
    default: "",
    is_required: false,
    allowed: "a whole number from 1 to 100",
    parse: |value| value.parse().ok().filter(|callers| (1..=100).contains(callers)),
    meaning: "how many functions share each operation's part; empty = those that call it; 1 = this function runs alone",
};

static ALLOW_EXCLUSION_BY_TAG: Text<bool> = Text {
    name: "ALLOW_EXCLUSION_BY_TAG",
    default: "false",
    is_required: false,
    allowed: "`true` or `false`",
    parse: |value| value.parse().ok(),
    meaning: "does the tag `kms-compliance/exclude` = `true` leave its key out of all controls but `pending-deletion`? Then \
              whoever may tag a key can silence it; it is announced once",
};

static SNS_TOPIC_ARN: Text<String> = Text {
    name: "SNS_TOPIC_ARN",
    default: "",
    is_required: true,
    allowed: "the ARN of an SNS topic",
    parse: topic_arn,
    meaning: "topic that alerts go to",
};

/// The table of the findings ledger.
pub static FINDINGS_TABLE: Text<String> = Text {
    name: "FINDINGS_TABLE",
    default: "",
    is_required: false,
    allowed: "the name of a DynamoDB table: 3 to 255 letters, digits, `_`, `.` or `-`",
    parse: table_name,
    meaning: "DynamoDB table of the findings ledger; empty = no memory: each run alerts on all it finds",
};

static REMINDER_INTERVAL_DAYS: Number<i32> = Number {
    name: "REMINDER_INTERVAL_DAYS",
    default: 7,
    allowed: 0..=MAX_DAYS,
    meaning: "days after which an unchanged open finding is alerted again; 0 = never",
};

static RESOLVED_RETENTION_DAYS: Number<i32> = Number {
    name: "RESOLVED_RETENTION_DAYS",
    default: 365,
    allowed: 1..=MAX_DAYS,
    meaning: "days for which the ledger keeps a resolved finding",
};

/// Keys that the round trip is run on, beside those that opt in by their tag.
pub static PROBE_KEYS: List<String> = List {
    name: "PROBE_KEYS",
    allowed: " of key ARNs",
    parse: key_arn,
    meaning: "keys that the health prober uses for its round trip, beside those tagged `kms-compliance/probe` = `true`",
};

impl EvaluationSettings {
    /// All of them.
    pub const ALL: &'static [&'static dyn Setting] =
        &[&MONITORED_KEYS, &EXCLUDED_KEYS, &ALLOW_EXCLUSION_BY_TAG, &KMS_QUOTA_SHARE, &KMS_QUOTA_CALLERS];

    /// Reads them.
    ///
    /// # Errors
    /// One of them does not parse.
    pub fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self {
            monitored_keys: MONITORED_KEYS.read(environment)?,
            excluded_keys: EXCLUDED_KEYS.read(environment)?,
            quota_share: QuotaShare {
                of_all: KMS_QUOTA_SHARE.require(environment)?,
                callers: KMS_QUOTA_CALLERS.read(environment)?,
            },
            allow_exclusion_by_tag: ALLOW_EXCLUSION_BY_TAG.require(environment)?,
        })
    }
}

impl HomeSettings {
    /// All of them.
    pub const ALL: &'static [&'static dyn Setting] =
        &[&SNS_TOPIC_ARN, &FINDINGS_TABLE, &REMINDER_INTERVAL_DAYS, &RESOLVED_RETENTION_DAYS];

    /// Reads them.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    pub fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self {
            topic_arn: SNS_TOPIC_ARN.require(environment)?,
            findings_table: FINDINGS_TABLE.read(environment)?,
            reminder_interval_days: REMINDER_INTERVAL_DAYS.read(environment)?,
            resolved_retention_days: RESOLVED_RETENTION_DAYS.read(environment)?,
        })
    }
}

/// Reads the ARN of a topic.
pub fn topic_arn(value: &str) -> Option<String> {
    let parts: Vec<&str> = value.split(':').collect();
    match parts.as_slice() {
        ["arn", partition, "sns", region, account, topic] => {
            [partition, region, account, topic].iter().all(|part| !part.is_empty()).then(|| value.to_owned())
        }
        _ => None,
    }
}

/// The name of a `DynamoDB` table, if it is one.
pub fn table_name(value: &str) -> Option<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    ((3..=255).contains(&value.len()) && value.chars().all(allowed)).then(|| value.to_owned())
}

fn key_arn(value: &str) -> Option<String> {
    (value.contains(":key/") && KeyName::parse(value).is_some()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use domain::location::KEY_NAME_FORMS;

    use super::*;

    const TOPIC: (&str, &str) = ("SNS_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:alerts");

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn read(variables: &[(&str, &str)]) -> Result<(HomeSettings, EvaluationSettings), InvalidConfiguration> {
        let environment = environment(variables);
        Ok((HomeSettings::read(&environment)?, EvaluationSettings::read(&environment)?))
    }

    #[test]
    fn defaults() {
        let (home, evaluation) = read(&[TOPIC, ("MONITORED_KEYS", ""), ("KMS_QUOTA_SHARE", " ")]).unwrap();
        assert_eq!(home.topic_arn, TOPIC.1);
        assert!(evaluation.monitored_keys.is_empty() && evaluation.excluded_keys.is_empty());
        assert_eq!(evaluation.quota_share, QuotaShare { of_all: 0.5, callers: None });
        assert_eq!(home.findings_table, None);
        assert_eq!((home.reminder_interval_days, home.resolved_retention_days), (7, 365));
    }

    #[test]
    fn key_lists_take_white_space_and_empty_parts() {
        let variables = [TOPIC, ("MONITORED_KEYS", " alias/a , 1234-ab,,"), ("EXCLUDED_KEYS", "alias/b")];
        let (_, settings) = read(&variables).unwrap();
        assert_eq!(settings.monitored_keys, [KeyName::parse("alias/a").unwrap(), KeyName::parse("1234-ab").unwrap()]);
        assert_eq!(settings.excluded_keys, [KeyName::parse("alias/b").unwrap()]);
    }

    #[test]
    fn decimals() {
        let setting = Number { name: "THRESHOLD", default: 0.9, allowed: 0.0..=1.0, meaning: "" };
        let read = |value: &str| setting.read(&environment(&[("THRESHOLD", value)]));
        for (value, expected) in [("", 0.9), ("0", 0.0), ("0.95", 0.95), ("1", 1.0), ("5e-1", 0.5)] {
            assert_eq!(read(value), Ok(expected));
        }
        for value in ["-0.1", "1.01", "NaN", "inf", "high"] {
            let error = read(value).unwrap_err().to_string();
            assert_eq!(error, format!("`THRESHOLD` is `{value}`; it must be a number from 0 to 1"));
        }
    }

    #[test]
    fn key_arns_are_arns_of_keys() {
        let (a, b) = ("arn:aws:kms:us-east-1:123456789012:key/a", "arn:aws-cn:kms:cn-north-1:123456789012:key/mrk-b");
        let read = |value: &str| PROBE_KEYS.read(&environment(&[("PROBE_KEYS", value)]));
        assert_eq!(read(&format!(" {a} ,{b},, ")), Ok(BTreeSet::from([a.to_owned(), b.to_owned()])));
        assert_eq!(read(" "), Ok(BTreeSet::new()));
        for bad in ["1234-ab", "alias/a", "arn:aws:kms:us-east-1:123456789012:alias/a", "arn:aws:s3:::key/a"] {
            let error = read(&format!("{a},{bad}")).unwrap_err().to_string();
            assert_eq!(error, format!("`PROBE_KEYS` is `{bad}`; it must be a comma-separated list of key ARNs"));
        }
    }

    #[test]
    fn a_missing_variable_is_named() {
        for variables in [&[][..], &[("SNS_TOPIC_ARN", "")], &[("SNS_TOPIC_ARN", "  ")]] {
            let error = read(variables).unwrap_err();
            assert_eq!(error.to_string(), "`SNS_TOPIC_ARN` is not set; it must be the ARN of an SNS topic");
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        for (variable, values, allowed) in [
            (
                "SNS_TOPIC_ARN",
                &["alerts", "arn:aws:sqs:us-east-1:123456789012:q", "arn:aws:sns:us-east-1::alerts", "arn:aws:sns"][..],
                "the ARN of an SNS topic",
            ),
            ("KMS_QUOTA_SHARE", &["0", "-0.1", "1.01", "NaN", "inf", "a lot"], "a number above 0 and at most 1"),
            ("ALLOW_EXCLUSION_BY_TAG", &["yes", "1", "TRUE"], "`true` or `false`"),
            ("KMS_QUOTA_CALLERS", &["0", "101", "-1", "1.5", "all"], "a whole number from 1 to 100"),
            ("FINDINGS_TABLE", &["ab", "a b c", "arn:aws:dynamodb:us-east-1:123456789012:table/t"], "a DynamoDB table"),
            ("RESOLVED_RETENTION_DAYS", &["0", "3651", "a year"], "a whole number from 1 to 3650"),
            ("REMINDER_INTERVAL_DAYS", &["-1", "3651", "weekly", "1.5"], "a whole number from 0 to 3650"),
            ("MONITORED_KEYS", &["arn:aws:s3:::bucket", "alias/", "a b"], KEY_NAME_FORMS),
            ("EXCLUDED_KEYS", &["arn:aws:kms", "alias/ä"], "a comma-separated list"),
        ] {
            for value in values {
                let mut variables = vec![TOPIC];
                variables.retain(|(name, _)| *name != variable);
                variables.push((variable, *value));
                let error = read(&variables).unwrap_err().to_string();
                assert!(error.starts_with(&format!("`{variable}` is `{value}`; it must be ")), "{error}");
                assert!(error.contains(allowed), "{error}");
            }
        }
    }
}
