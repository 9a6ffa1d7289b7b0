//! The reporter's own settings.

use domain::route::Route;
use monitor::settings::{Environment, HomeSettings, InvalidConfiguration, Setting, Text, topic_arn};

static OPERATIONS_TOPIC_ARN: Text<String> = Text {
    name: "OPERATIONS_TOPIC_ARN",
    default: "",
    is_required: false,
    allowed: "the ARN of an SNS topic",
    parse: topic_arn,
    meaning: "topic that hears which checks and routes failed; empty = nobody does",
};

static ROUTES: Text<Vec<Route>> = Text {
    name: "ROUTES",
    default: "",
    is_required: false,
    allowed: "a comma-separated list of `<account ID>=<topic ARN>`, none of them twice, each topic a standard one",
    parse: |value| routes(value).ok(),
    meaning: "further topics, each told of the accounts that are named with it; empty = none",
};

static CHAT_TOPIC_ARN: Text<String> = Text {
    name: "CHAT_TOPIC_ARN",
    default: "",
    is_required: false,
    allowed: "the ARN of an SNS topic",
    parse: topic_arn,
    meaning: "topic that a chat hears of the digest by; empty = none",
};

static REPORT_BUCKET: Text<String> = Text {
    name: "REPORT_BUCKET",
    default: "",
    is_required: false,
    allowed: "the name of an S3 bucket: 3 to 63 small letters, digits, `.` or `-`",
    parse: bucket_name,
    meaning: "bucket that the list of all open findings is written to, as `open/<execution>.json`; empty = none",
};

fn bucket_name(value: &str) -> Option<String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
    ((3..=63).contains(&value.len()) && value.bytes().all(is_allowed)).then(|| value.to_owned())
}

/// Reads the routes. One by organisational unit is refused: nobody tells the reporter which accounts a unit has, and its
/// topic would hear of nothing.
fn routes(value: &str) -> Result<Vec<Route>, String> {
    let routes = Route::parse_all(value)?;
    match routes.iter().find_map(|route| route.units.first()) {
        Some(unit) => Err(format!("`{unit}` is an organisational unit, whose accounts have to be named one by one")),
        None => Ok(routes),
    }
}

/// All of them, beside those of a home.
pub const SETTINGS: &[&dyn Setting] = &[&CHAT_TOPIC_ARN, &OPERATIONS_TOPIC_ARN, &REPORT_BUCKET, &ROUTES];

/// The reporter's own settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Topic of the chat.
    pub chat_topic_arn: Option<String>,
    /// Topic that hears what failed.
    pub operations_topic_arn: Option<String>,
    /// Bucket of the lists of all open findings.
    pub report_bucket: Option<String>,
    /// Further topics that hear of some accounts.
    pub routes: Vec<Route>,
}

impl Settings {
    /// Reads them, with those of the home. There is nothing to report without a ledger.
    ///
    /// # Errors
    /// One of them is missing or does not parse.
    pub fn read(environment: &Environment) -> Result<(HomeSettings, Self), InvalidConfiguration> {
        let home = HomeSettings::read(environment)?;
        if home.findings_table.is_none() {
            let allowed = "the name of a DynamoDB table".to_owned();
            return Err(InvalidConfiguration::Missing { variable: "FINDINGS_TABLE", allowed });
        }
        let settings = Self {
            chat_topic_arn: CHAT_TOPIC_ARN.read(environment)?,
            operations_topic_arn: OPERATIONS_TOPIC_ARN.read(environment)?,
            report_bucket: REPORT_BUCKET.read(environment)?,
            routes: environment.get(ROUTES.name).map_or(Ok(Vec::new()), |value| {
                routes(value).map_err(|problem| InvalidConfiguration::Value {
                    variable: ROUTES.name,
                    value: value.to_owned(),
                    allowed: format!("{}: {problem}", ROUTES.allowed),
                })
            })?,
        };
        Ok((home, settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_route_is_refused_and_the_error_says_why() {
        let topic = "arn:aws:sns:eu-west-1:123456789012:team";
        for (value, expected) in [
            (format!("222222222222={topic}"), Ok(1)),
            (String::new(), Ok(0)),
            (
                format!("222222222222={topic},ou-abcd-11111111={topic}"),
                Err("`ou-abcd-11111111` is an organisational unit"),
            ),
            ("222222222222".to_owned(), Err("`222222222222` has no `=`")),
            (format!("2={topic}"), Err("`2` in `2=arn")),
        ] {
            let read = routes(&value);
            match (&read, expected) {
                (Ok(routes), Ok(count)) => assert_eq!(routes.len(), count, "{value}"),
                (Err(error), Err(start)) => assert!(error.starts_with(start), "{value}: {error}"),
                _ => panic!("{value}: {read:?}"),
            }
        }
    }
}
