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
    parse: by_account,
    meaning: "further topics, each told of the accounts that are named with it; empty = none",
};

/// Routes by account. The reporter does not know which organisational unit an account is in, so it refuses those by unit.
fn by_account(text: &str) -> Option<Vec<Route>> {
    Route::parse_all(text).ok().filter(|routes| routes.iter().all(|route| route.units.is_empty()))
}

static CHAT_TOPIC_ARN: Text<String> = Text {
    name: "CHAT_TOPIC_ARN",
    default: "",
    is_required: false,
    allowed: "the ARN of an SNS topic",
    parse: topic_arn,
    meaning: "topic that a chat hears of the digest by; empty = none",
};

/// All of them, beside those of a home.
pub const SETTINGS: &[&dyn Setting] = &[&CHAT_TOPIC_ARN, &OPERATIONS_TOPIC_ARN, &ROUTES];

/// The reporter's own settings.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Topic of the chat.
    pub chat_topic_arn: Option<String>,
    /// Topic that hears what failed.
    pub operations_topic_arn: Option<String>,
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
            routes: ROUTES.read(environment)?.unwrap_or_default(),
        };
        Ok((home, settings))
    }
}
