//! Whose keys are looked at: credentials, the account that they belong to, and its Regions.

use std::sync::{Mutex, PoisonError};

use aws::call::Calls;
use aws::config::sdk_config;
use aws::failure::error_summary;
use aws::operation::{DESCRIBE_REGIONS, GET_CALLER_IDENTITY, LIST_REGIONS};
use aws::pace::QuotaShare;
use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{Region, SdkConfig};
use aws_credential_types::provider::future;
use aws_sdk_account::types::RegionOptStatus;
use aws_sdk_sts::config::{Credentials, ProvideCredentials, SharedCredentialsProvider};
use domain::failure::{Cause, Failure};
use domain::location::Location;
use domain::text::printable;

use crate::arguments::AccountArguments;
use crate::ec2::Ec2;
use crate::error::CliError;

/// The Region that answers for the account where nobody names one.
const ANY_REGION: &str = "us-east-1";

/// An account that can be asked.
#[derive(Debug)]
pub struct Account {
    /// Credentials and endpoints.
    pub config: SdkConfig,
    /// Twelve digits.
    pub id: String,
    /// `aws`, `aws-cn`, …
    pub partition: String,
    /// Who asks.
    pub caller_arn: String,
}

impl Account {
    /// Finds the credentials, and out whose they are. Gives the Regions to look at too: those of `of_keys` where nobody
    /// names any.
    ///
    /// # Errors
    /// There are no credentials, nobody accepts them, or no Region is named.
    pub async fn reach(arguments: &AccountArguments, of_keys: &[String]) -> Result<(Self, Vec<String>), CliError> {
        let default = default_region(arguments).await;
        let mut regions = match arguments.regions.as_slice() {
            [] if arguments.all_regions => Vec::new(),
            [] if !of_keys.is_empty() => of_keys.to_vec(),
            [] => default.iter().map(ToString::to_string).collect(),
            named => named.to_vec(),
        };
        if regions.is_empty() && !arguments.all_regions {
            let what = "no Region is named: give --region or --all-regions, or set one in the profile or as AWS_REGION";
            return Err(CliError::usage(what));
        }
        let first = regions.first().cloned().or_else(|| default.map(|it| it.to_string()));
        let config = config(arguments, first.unwrap_or_else(|| ANY_REGION.to_owned())).await?;
        let account = Self::of(config, arguments).await?;
        if arguments.all_regions {
            regions = account.regions().await?;
        }
        regions.sort_unstable();
        regions.dedup();
        Ok((account, regions))
    }

    /// Asks whose the credentials are.
    async fn of(config: SdkConfig, arguments: &AccountArguments) -> Result<Self, CliError> {
        let sts = aws_sdk_sts::Client::new(&config);
        let calls = Calls::new(QuotaShare::WHOLE);
        let identity = calls.make(GET_CALLER_IDENTITY, async || sts.get_caller_identity().send().await).await;
        let identity = identity.map_err(|failure| CliError::failed(not_accepted(&failure, arguments)))?;
        let caller_arn = identity.arn.unwrap_or_default();
        match (identity.account, caller_arn.split(':').nth(1)) {
            (Some(id), Some(partition)) if !id.is_empty() && !partition.is_empty() => {
                Ok(Self { config, id, partition: partition.to_owned(), caller_arn })
            }
            _ => Err(CliError::failed("sts:GetCallerIdentity does not say whose the credentials are")),
        }
    }

    /// Where a Region's keys are.
    pub fn location(&self, region: &str) -> Location {
        Location { partition: self.partition.clone(), region: region.to_owned(), account_id: self.id.clone() }
    }

    /// Credentials and endpoints for a Region.
    pub fn config_in(&self, region: &str) -> SdkConfig {
        self.config.to_builder().region(Region::new(region.to_owned())).build()
    }

    /// The Regions that are enabled for the account, as its own service says; where that does not, as EC2 says.
    async fn regions(&self) -> Result<Vec<String>, CliError> {
        let calls = Calls::new(QuotaShare::WHOLE);
        let of_account = match self.list_regions(&calls).await {
            Ok(regions) => return Ok(regions),
            Err(failure) => failure,
        };
        tracing::info!(failure = %error_summary(&of_account), "account:ListRegions failed: EC2 is asked");
        let region = self.config.region().map_or(ANY_REGION, Region::as_ref);
        let ec2 = Ec2::new(&self.config, &self.partition, region);
        calls.make(DESCRIBE_REGIONS, async || ec2.describe_regions().await).await.map_err(|of_ec2| {
            CliError::failed(format!(
                "cannot tell which Regions are enabled: account:ListRegions: {}; ec2:DescribeRegions: {}. Allow one of both \
                 (`kms-compliance policy-document` prints what a scan needs), or name the Regions by --region",
                error_summary(&of_account),
                error_summary(&of_ec2),
            ))
        })
    }

    async fn list_regions(&self, calls: &Calls) -> Result<Vec<String>, Failure> {
        let client = aws_sdk_account::Client::new(&self.config);
        let mut regions = Vec::new();
        let mut next = None;
        loop {
            let request = client
                .list_regions()
                .region_opt_status_contains(RegionOptStatus::Enabled)
                .region_opt_status_contains(RegionOptStatus::EnabledByDefault)
                .max_results(50);
            let ask = async || request.clone().set_next_token(next.clone()).send().await;
            let page = calls.make(LIST_REGIONS, ask).await?;
            regions.extend(page.regions.unwrap_or_default().into_iter().filter_map(|region| region.region_name));
            next = page.next_token.filter(|token| !token.is_empty());
            if next.is_none() {
                return Ok(regions);
            }
        }
    }
}

/// The Region of the profile that is named, or of the environment.
async fn default_region(arguments: &AccountArguments) -> Option<Region> {
    match &arguments.profile {
        None => sdk_config().load().await.region().cloned(),
        Some(profile) => {
            let of_profile = ProfileFileRegionProvider::builder().profile_name(profile).build();
            let of_environment = EnvironmentVariableRegionProvider::new();
            RegionProviderChain::first_try(of_profile).or_else(of_environment).region().await
        }
    }
}

/// Credentials and endpoints: those of the profile that is named, even where the environment holds others; those of the
/// role, if one is to be assumed. They are there when this returns.
async fn config(arguments: &AccountArguments, region: String) -> Result<SdkConfig, CliError> {
    let region = Region::new(region);
    let mut loader = sdk_config().region(region.clone());
    if let Some(profile) = &arguments.profile {
        loader = loader.profile_name(profile);
    }
    let mut config = loader.load().await;
    if let Some(profile) = &arguments.profile {
        let mut settings = ProviderConfig::without_region().with_region(Some(region));
        if let Some(http_client) = config.http_client() {
            settings = settings.with_http_client(http_client);
        }
        let of_profile = ProfileFileCredentialsProvider::builder().configure(&settings).profile_name(profile).build();
        config = config.into_builder().credentials_provider(SharedCredentialsProvider::new(of_profile)).build();
    }
    let config = provided(config).await.map_err(|why| no_credentials(&why, arguments))?;
    match &arguments.role {
        None => Ok(config),
        Some(role) => config_of_role(config, role, arguments).await,
    }
}

async fn config_of_role(config: SdkConfig, role: &str, arguments: &AccountArguments) -> Result<SdkConfig, CliError> {
    let mut builder = AssumeRoleProvider::builder(role).session_name("kms-compliance").configure(&config);
    if let Some(external_id) = &arguments.external_id {
        builder = builder.external_id(external_id);
    }
    let of_role = SharedCredentialsProvider::new(builder.build().await);
    let config = config.into_builder().credentials_provider(of_role).build();
    provided(config).await.map_err(|why| CliError::failed(format!("the role `{role}` cannot be assumed: {why}")))
}

/// Credentials that are there already, and where others come from once they have been used up.
#[derive(Debug)]
struct Provided {
    first: Mutex<Option<Credentials>>,
    then: SharedCredentialsProvider,
}

impl ProvideCredentials for Provided {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).take();
        future::ProvideCredentials::new(async {
            match first {
                Some(credentials) => Ok(credentials),
                None => self.then.provide_credentials().await,
            }
        })
    }
}

/// Makes sure that there are credentials, and keeps them for the first call; otherwise why not.
async fn provided(config: SdkConfig) -> Result<SdkConfig, String> {
    let Some(then) = config.credentials_provider() else { return Err("nothing provides any".to_owned()) };
    match then.provide_credentials().await {
        Ok(credentials) => {
            let provided = Provided { first: Mutex::new(Some(credentials)), then };
            Ok(config.into_builder().credentials_provider(SharedCredentialsProvider::new(provided)).build())
        }
        Err(error) => {
            let mut why = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(error) = source {
                why = format!("{why}: {error}");
                source = error.source();
            }
            Err(printable(&why))
        }
    }
}

fn no_credentials(why: &str, arguments: &AccountArguments) -> CliError {
    let how = match &arguments.profile {
        Some(profile) if why.to_lowercase().contains("sso") => format!("log in by `aws sso login --profile {profile}`"),
        Some(_) => "see ~/.aws/config and ~/.aws/credentials".to_owned(),
        None => "name a profile by --profile, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned(),
    };
    let whose = arguments.profile.as_ref().map(|profile| format!(" by profile `{profile}`")).unwrap_or_default();
    CliError::failed(format!("no credentials{whose}: {why}; {how}"))
}

/// Why AWS does not take the credentials.
fn not_accepted(failure: &Failure, arguments: &AccountArguments) -> String {
    let summary = error_summary(failure);
    let login = match &arguments.profile {
        Some(profile) => format!("`aws sso login --profile {profile}`, or however you got them"),
        None => "however you got them".to_owned(),
    };
    match (failure.code.as_deref(), failure.cause) {
        (Some("ExpiredToken" | "ExpiredTokenException" | "RequestExpired"), _) => {
            format!("the credentials have expired: get new ones by {login} ({summary})")
        }
        (_, Cause::Timeout | Cause::ServiceError) => format!("AWS cannot be reached: {summary}"),
        _ => format!("AWS does not accept the credentials: {summary}"),
    }
}
