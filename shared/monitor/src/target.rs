//! Where the keys are, and where the monitor lives. In one account both are the same.

use aws::call::Calls;
use aws::pace::QuotaShare;
use aws_config::SdkConfig;
use domain::location::Location;

use crate::settings::HomeSettings;

/// Where the keys are that a run looks at.
#[derive(Clone, Debug)]
pub struct Target {
    /// Partition, Region and account.
    pub location: Location,
    /// Credentials, Region and endpoints to reach it with. Every client of a check is made from it.
    pub config: SdkConfig,
    /// Is it the account that the monitor lives in? No key of another one is ever used.
    pub is_in_home_account: bool,
}

/// Where the monitor lives: the topic that it tells, and the table that it remembers by.
#[derive(Debug)]
pub struct Home {
    /// What is set for it.
    pub settings: HomeSettings,
    pub(crate) sns: aws_sdk_sns::Client,
    pub(crate) dynamodb: aws_sdk_dynamodb::Client,
    pub(crate) calls: Calls,
}

impl Home {
    /// The home that these credentials, Region and endpoints reach.
    pub fn new(config: &SdkConfig, settings: HomeSettings) -> Self {
        Self {
            settings,
            sns: aws_sdk_sns::Client::new(config),
            dynamodb: aws_sdk_dynamodb::Client::new(config),
            // No other part of the account makes calls of the home's.
            calls: Calls::new(QuotaShare::WHOLE),
        }
    }
}
