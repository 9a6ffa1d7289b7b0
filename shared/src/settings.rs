//! Settings from the environment. A setting that is missing or does not parse fails every invocation, and the error
//! names the variable, the value and what is allowed.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::domain::location::{KEY_NAME_FORMS, KeyName};

/// The environment variables of the process, read once. A variable that is set to nothing counts as not set: a
/// CloudFormation parameter left empty arrives like that.
#[derive(Clone, Debug, Default)]
pub struct Environment(HashMap<String, String>);

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

    /// A number within a range, or `default` if the variable is not set.
    ///
    /// # Errors
    /// The value is no number or is out of range.
    pub fn number<T>(
        &self,
        variable: &'static str,
        default: T,
        allowed: RangeInclusive<T>,
    ) -> Result<T, InvalidConfiguration>
    where
        T: FromStr + PartialOrd + Display,
    {
        let Some(value) = self.get(variable) else { return Ok(default) };
        value.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(|| InvalidConfiguration::Value {
            variable,
            value: value.to_owned(),
            allowed: format!("a whole number from {} to {}", allowed.start(), allowed.end()),
        })
    }

    /// A number within a range, decimals allowed, or `default` if the variable is not set.
    ///
    /// # Errors
    /// The value is no number or is out of range.
    pub fn decimal(
        &self,
        variable: &'static str,
        default: f64,
        allowed: RangeInclusive<f64>,
    ) -> Result<f64, InvalidConfiguration> {
        let Some(value) = self.get(variable) else { return Ok(default) };
        value.parse().ok().filter(|number| allowed.contains(number)).ok_or_else(|| InvalidConfiguration::Value {
            variable,
            value: value.to_owned(),
            allowed: format!("a number from {} to {}", allowed.start(), allowed.end()),
        })
    }

    /// Comma-separated key names; none if the variable is not set.
    ///
    /// # Errors
    /// One of them is no key name.
    pub fn key_names(&self, variable: &'static str) -> Result<Vec<KeyName>, InvalidConfiguration> {
        let Some(value) = self.get(variable) else { return Ok(Vec::new()) };
        let names = value.split(',').map(str::trim).filter(|name| !name.is_empty());
        names
            .map(|name| {
                KeyName::parse(name).ok_or_else(|| InvalidConfiguration::Value {
                    variable,
                    value: name.to_owned(),
                    allowed: format!("a comma-separated list, each part {KEY_NAME_FORMS}"),
                })
            })
            .collect()
    }

    /// Comma-separated key ARNs; none if the variable is not set.
    ///
    /// # Errors
    /// One of them is no key ARN.
    pub fn key_arns(&self, variable: &'static str) -> Result<BTreeSet<String>, InvalidConfiguration> {
        let is_key_arn = |name: &str| name.contains(":key/") && KeyName::parse(name).is_some();
        let Some(value) = self.get(variable) else { return Ok(BTreeSet::new()) };
        let arns = value.split(',').map(str::trim).filter(|arn| !arn.is_empty());
        arns.map(|arn| {
            is_key_arn(arn).then(|| arn.to_owned()).ok_or_else(|| InvalidConfiguration::Value {
                variable,
                value: arn.to_owned(),
                allowed: "a comma-separated list of key ARNs".to_owned(),
            })
        })
        .collect()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// Longest span of days that a setting may ask for: ten years.
pub const MOST_DAYS: i32 = 3_650;

/// The settings that all scheduled functions have.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Topic that alerts go to.
    pub topic_arn: String,
    /// Keys to check; empty = every key.
    pub monitored_keys: Vec<KeyName>,
    /// Keys to leave out.
    pub excluded_keys: Vec<KeyName>,
    /// Share of each default KMS request quota that one run may use, 0 < x ≤ 1.
    pub kms_quota_share: f64,
    /// DynamoDB table of the findings ledger; `None` = no memory.
    pub findings_table: Option<String>,
    /// Days after which an unchanged finding is told again; 0 = never.
    pub reminder_interval_days: i32,
    /// Days for which the ledger keeps a resolved finding.
    pub resolved_retention_days: i32,
}

impl Settings {
    /// Reads the settings.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    pub fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self {
            topic_arn: topic_arn(environment)?,
            monitored_keys: environment.key_names("MONITORED_KEYS")?,
            excluded_keys: environment.key_names("EXCLUDED_KEYS")?,
            kms_quota_share: kms_quota_share(environment)?,
            findings_table: findings_table(environment)?,
            reminder_interval_days: environment.number("REMINDER_INTERVAL_DAYS", 7, 0..=MOST_DAYS)?,
            resolved_retention_days: environment.number("RESOLVED_RETENTION_DAYS", 365, 1..=MOST_DAYS)?,
        })
    }
}

fn topic_arn(environment: &Environment) -> Result<String, InvalidConfiguration> {
    const VARIABLE: &str = "SNS_TOPIC_ARN";
    let allowed = || "the ARN of an SNS topic".to_owned();
    let value = environment
        .get(VARIABLE)
        .ok_or_else(|| InvalidConfiguration::Missing { variable: VARIABLE, allowed: allowed() })?;
    let parts: Vec<&str> = value.split(':').collect();
    match parts.as_slice() {
        ["arn", partition, "sns", region, account, topic]
            if [partition, region, account, topic].iter().all(|part| !part.is_empty()) =>
        {
            Ok(value.to_owned())
        }
        _ => Err(InvalidConfiguration::Value { variable: VARIABLE, value: value.to_owned(), allowed: allowed() }),
    }
}

fn findings_table(environment: &Environment) -> Result<Option<String>, InvalidConfiguration> {
    let Some(name) = environment.get("FINDINGS_TABLE") else { return Ok(None) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if (3..=255).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(Some(name.to_owned()));
    }
    let allowed = "the name of a DynamoDB table: 3 to 255 letters, digits, `_`, `.` or `-`".to_owned();
    Err(InvalidConfiguration::Value { variable: "FINDINGS_TABLE", value: name.to_owned(), allowed })
}

fn kms_quota_share(environment: &Environment) -> Result<f64, InvalidConfiguration> {
    const VARIABLE: &str = "KMS_QUOTA_SHARE";
    let Some(value) = environment.get(VARIABLE) else { return Ok(0.2) };
    value.parse().ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| InvalidConfiguration::Value {
        variable: VARIABLE,
        value: value.to_owned(),
        allowed: "a number above 0 and at most 1".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: (&str, &str) = ("SNS_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:alerts");

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn defaults() {
        let settings =
            Settings::read(&environment(&[TOPIC, ("MONITORED_KEYS", ""), ("KMS_QUOTA_SHARE", " ")])).unwrap();
        assert_eq!(settings.topic_arn, TOPIC.1);
        assert!(settings.monitored_keys.is_empty() && settings.excluded_keys.is_empty());
        assert!((settings.kms_quota_share - 0.2).abs() < f64::EPSILON);
        assert_eq!(settings.findings_table, None);
        assert_eq!((settings.reminder_interval_days, settings.resolved_retention_days), (7, 365));
    }

    #[test]
    fn key_lists_take_white_space_and_empty_parts() {
        let variables = [TOPIC, ("MONITORED_KEYS", " alias/a , 1234-ab,,"), ("EXCLUDED_KEYS", "alias/b")];
        let settings = Settings::read(&environment(&variables)).unwrap();
        assert_eq!(settings.monitored_keys, [KeyName::parse("alias/a").unwrap(), KeyName::parse("1234-ab").unwrap()]);
        assert_eq!(settings.excluded_keys, [KeyName::parse("alias/b").unwrap()]);
    }

    #[test]
    fn decimals() {
        let read = |value: &str| environment(&[("THRESHOLD", value)]).decimal("THRESHOLD", 0.9, 0.0..=1.0);
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
        let read = |value: &str| environment(&[("PROBE_KEYS", value)]).key_arns("PROBE_KEYS");
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
            let error = Settings::read(&environment(variables)).unwrap_err();
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
            ("FINDINGS_TABLE", &["ab", "a b c", "arn:aws:dynamodb:us-east-1:123456789012:table/t"], "a DynamoDB table"),
            ("RESOLVED_RETENTION_DAYS", &["0", "3651", "a year"], "a whole number from 1 to 3650"),
            ("REMINDER_INTERVAL_DAYS", &["-1", "3651", "weekly", "1.5"], "a whole number from 0 to 3650"),
            ("MONITORED_KEYS", &["arn:aws:s3:::bucket", "alias/", "a b"], "a comma-separated list"),
            ("EXCLUDED_KEYS", &["arn:aws:kms", "alias/ä"], "a comma-separated list"),
        ] {
            for value in values {
                let mut variables = vec![TOPIC];
                variables.retain(|(name, _)| *name != variable);
                variables.push((variable, *value));
                let error = Settings::read(&environment(&variables)).unwrap_err().to_string();
                assert!(error.starts_with(&format!("`{variable}` is `{value}`; it must be ")), "{error}");
                assert!(error.contains(allowed), "{error}");
            }
        }
    }
}
