//! A small check, so that the engine is tested without any function.

#![allow(dead_code, reason = "each test binary uses its part")]
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panicking")]

use aws::kms::Kms;
use aws::operation::GET_KEY_ROTATION_STATUS;
use aws_config::{Region, SdkConfig};
use aws_sdk_kms::config::{Credentials, SharedCredentialsProvider};
use domain::control::{Control, Severity};
use domain::key::Key;
use domain::location::Location;
use domain::verdict::Verdict;
use jiff::Timestamp;
use monitor::check::{Check, Outcome, RunContext};
use monitor::settings::{Environment, InvalidConfiguration, Setting};
use simulated_fleet::Fleet;

const fn control(id: &'static str) -> Control {
    Control { id, title: "", severity: Severity::Medium, other_severities: "", references: &[] }
}

static ENABLED: Control = control("enabled");
static PERIOD: Control = control("period");
static OVERDUE: Control = control("overdue");

/// Is rotation on? Where it is, its other two controls are met; where that is not known, nothing is.
pub struct SmallCheck;

impl Check for SmallCheck {
    const FUNCTION: &'static str = "small-check";
    const CONTROLS: [&'static Control; 3] = [&ENABLED, &PERIOD, &OVERDUE];
    const SETTINGS: &'static [&'static dyn Setting] = &[];

    type Verdicts = [Verdict; 3];
    type Context = ();

    fn read(_: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self)
    }

    async fn begin(&self, _: &RunContext<'_>) {}

    async fn evaluate(&self, (): &(), kms: &Kms, key: &Key, _: Timestamp) -> Outcome<[Verdict; 3]> {
        let status = async |kms: &aws_sdk_kms::Client| kms.get_key_rotation_status().key_id(&key.id).send().await;
        let not_asked = || Verdict::not_applicable("rotation_disabled");
        Outcome::Final(match kms.call(GET_KEY_ROTATION_STATUS, status).await {
            Err(failure) => Verdict::from(&failure).for_all(),
            Ok(status) if status.key_rotation_enabled => Verdict::compliant("enabled").for_all(),
            Ok(_) => [Verdict::non_compliant("rotation_disabled"), not_asked(), not_asked()],
        })
    }
}

static SWITCHED_ON: Control = control("switched-on");

/// Is the key enabled? It needs no call of its own, and says so only at the end.
pub struct LateCheck;

impl Check for LateCheck {
    const FUNCTION: &'static str = "late-check";
    const CONTROLS: [&'static Control; 1] = [&SWITCHED_ON];
    const SETTINGS: &'static [&'static dyn Setting] = &[];

    type Verdicts = [Verdict; 1];
    type Context = ();

    fn read(_: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self)
    }

    async fn begin(&self, _: &RunContext<'_>) {}

    async fn evaluate(&self, (): &(), _: &Kms, _: &Key, _: Timestamp) -> Outcome<[Verdict; 1]> {
        Outcome::Provisional([Verdict::insufficient_data("not_asked").passing()])
    }

    async fn finish(
        &self,
        (): &(),
        _: &Kms,
        _: &domain::finding::KeyIdentity,
        _: [Verdict; 1],
        _: Timestamp,
    ) -> [Verdict; 1] {
        [Verdict::compliant("enabled")]
    }
}

/// What reaches the fleet.
pub fn config_for(fleet: &Fleet, config: SdkConfig) -> SdkConfig {
    let credentials = Credentials::new("id", "secret", None, None, "test");
    config
        .into_builder()
        .endpoint_url(fleet.endpoint())
        .region(Region::new("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .build()
}

/// Where the fleet's keys are.
pub fn location(fleet: &Fleet) -> Location {
    Location::from_function_arn(&fleet.arn("lambda", "function:any")).unwrap()
}

/// Name of the tag that exempts from a control.
pub fn exempting_tag(control: &str) -> String {
    format!("kms-compliance/exempt/{control}")
}
