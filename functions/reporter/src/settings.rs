//! The reporter's own settings.

use domain::route::Route;
use monitor::settings::{
    BUCKET_NAME, Environment, HomeSettings, InvalidConfiguration, ROUTES, Setting, Text, bucket_name, topic_arn,
};

static OPERATIONS_TOPIC_ARN: Text<String> = Text {
    name: "OPERATIONS_TOPIC_ARN",
    default: "",
    is_required: false,
    allowed: "the ARN of an SNS topic",
    parse: topic_arn,
    meaning: "topic that hears which checks and routes failed; empty = nobody does",
};

static PLAN_BUCKET: Text<String> = Text {
    name: "PLAN_BUCKET",
    default: "",
    is_required: false,
    allowed: BUCKET_NAME,
    parse: bucket_name,
    meaning: "bucket of the plans, which say who is in the organisational units that routes name; needed for those alone",
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
    allowed: BUCKET_NAME,
    parse: bucket_name,
    meaning: "bucket that the page of each daily check is written to, as `reports/<execution>.html`, and lists of all open findings, as `open/<execution>.json`; empty = none",
};

/// All of them, beside those of a home.
pub const SETTINGS: &[&dyn Setting] = &[&CHAT_TOPIC_ARN, &OPERATIONS_TOPIC_ARN, &PLAN_BUCKET, &REPORT_BUCKET, &ROUTES];

/// The reporter's own settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Topic of the chat.
    pub chat_topic_arn: Option<String>,
    /// Topic that hears what failed.
    pub operations_topic_arn: Option<String>,
    /// Bucket of the lists of all open findings.
    pub report_bucket: Option<String>,
    /// Bucket of the plans.
    pub plan_bucket: Option<String>,
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
            plan_bucket: PLAN_BUCKET.read(environment)?,
            routes: ROUTES.read(environment)?,
        };
        if settings.plan_bucket.is_none() && settings.routes.iter().any(|route| !route.units.is_empty()) {
            let allowed = format!("{} where `{}` has organisational units", PLAN_BUCKET.allowed, ROUTES.name());
            return Err(InvalidConfiguration::Missing { variable: PLAN_BUCKET.name, allowed });
        }
        Ok((home, settings))
    }
}
