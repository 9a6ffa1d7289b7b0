//! Which accounts and Regions the daily check covers.
//!
//! It asks Organizations and Account Management as the home's own identity, never with a member's credentials, and writes
//! the plan to a bucket: a JSON array, sorted, each target once. It calls no KMS. What is wrong with one target is a notice,
//! and the rest goes on; where it is not known which accounts there are, nothing is planned.

mod directory;
pub mod plan;

use std::collections::BTreeSet;

use aws_config::SdkConfig;
use domain::key_policy::is_account_id;
use domain::location::{is_region_name, partition_of};
use domain::plan::{Notice, object_key};
use jiff::SignedDuration;
use lambda::event::{InvalidEvent, details, id, shown};
use lambda::{Function, HandlerError, Invocation};
use monitor::settings::{BUCKET_NAME, Environment, InvalidConfiguration, List, ROUTES, Setting, Text, bucket_name};
use serde::Serialize;
use serde_json::Value;

use directory::Directory;
use plan::{LeftOut, Notices, Plan, TargetName};

static TARGETS: List<TargetName> = List {
    name: "TARGETS",
    allowed: " of account IDs, organizational units (`ou-…`) and `organization`",
    parse: TargetName::parse,
    meaning: "accounts that the daily check covers; empty = this one; `organization` = every account of the organisation",
};

/// What stands in place of Regions for those that each account has enabled.
const ENABLED: &str = "enabled";

static TARGET_REGIONS: List<String> = List {
    name: "TARGET_REGIONS",
    allowed: " of Regions, such as eu-west-1, or `enabled` alone",
    parse: |value| (value == ENABLED || is_region_name(value)).then(|| value.to_owned()),
    meaning: "Regions that it covers in each account; empty = this one; `enabled` = those that the account has enabled",
};

static EXCLUDED_ACCOUNTS: List<String> = List {
    name: "EXCLUDED_ACCOUNTS",
    allowed: " of account IDs",
    parse: |value| is_account_id(value).then(|| value.to_owned()),
    meaning: "accounts that the daily check leaves out",
};

static EXCLUDED_REGIONS: List<String> = List {
    name: "EXCLUDED_REGIONS",
    allowed: " of Regions, such as eu-west-1",
    parse: |value| is_region_name(value).then(|| value.to_owned()),
    meaning: "Regions that the daily check leaves out, such as those that a policy of the organisation denies",
};

static PLAN_BUCKET: Text<String> = Text {
    name: "PLAN_BUCKET",
    default: "",
    is_required: true,
    allowed: BUCKET_NAME,
    parse: bucket_name,
    meaning: "bucket that the plan is written to, as `plans/<execution>.json`",
};

/// How long the outcomes of an execution are kept, for what else is written about it.
const OUTCOMES_ARE_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);

/// Notices in an answer, at most: a task's output holds 256 KiB.
const MAX_NOTICES: usize = 50;

/// The function.
#[derive(Debug)]
pub struct TargetPlanner {
    targets: Vec<TargetName>,
    regions: Vec<String>,
    excluded_accounts: BTreeSet<String>,
    excluded_regions: BTreeSet<String>,
    routed_units: BTreeSet<String>,
    bucket: String,
    directory: Directory,
}

/// Its answer.
#[derive(Debug, Serialize)]
pub struct Response {
    bucket: String,
    key: String,
    /// Rows of the plan.
    targets: usize,
    /// Accounts in it.
    accounts: usize,
    accounts_left_out: LeftOut,
    notices: Vec<Notice>,
    notices_omitted: usize,
    /// When what is kept about the execution may be forgotten, in seconds since 1970.
    expires_at: i64,
}

impl TargetPlanner {
    /// Its settings.
    pub const SETTINGS: &'static [&'static dyn Setting] =
        &[&TARGETS, &TARGET_REGIONS, &EXCLUDED_ACCOUNTS, &EXCLUDED_REGIONS, &PLAN_BUCKET, &ROUTES];
}

impl Function for TargetPlanner {
    type Response = Response;
    type Error = HandlerError;

    fn new(environment: &Environment, config: SdkConfig) -> Result<Self, InvalidConfiguration> {
        let regions: Vec<String> = TARGET_REGIONS.read(environment)?;
        if regions.len() > 1 && regions.iter().any(|region| region == ENABLED) {
            return Err(TARGET_REGIONS.refuse(&regions.join(",")));
        }
        Ok(Self {
            targets: TARGETS.read(environment)?,
            regions,
            excluded_accounts: EXCLUDED_ACCOUNTS.read(environment)?,
            excluded_regions: EXCLUDED_REGIONS.read(environment)?,
            routed_units: ROUTES.read(environment)?.into_iter().flat_map(|route| route.units).collect(),
            bucket: PLAN_BUCKET.require(environment)?,
            directory: Directory::new(&config),
        })
    }

    async fn answer(&self, invocation: Invocation<'_>) -> Result<Response, HandlerError> {
        let execution = execution(&invocation.event)?;
        let (home, deadlines) = (&invocation.location, &invocation.deadlines);
        let mut notices = Notices::default();
        let mut plan = Plan::default();

        let asked_for = plan::named_once(&self.targets, &mut notices);
        let found = self.directory.accounts(&asked_for, home, &mut notices, deadlines.evaluated).await?;
        let found = plan.leave_out(found, &self.excluded_accounts);
        let units = self.directory.units(&self.routed_units, &mut notices, deadlines.evaluated).await;

        let none = BTreeSet::new();
        let everywhere = self.listed_regions(&home.region, &home.partition, &mut notices);
        for account_id in found {
            let regions = match &everywhere {
                Some(regions) => regions.clone(),
                None => self.directory.enabled_regions(&account_id, home, &mut notices, deadlines.evaluated).await,
            };
            let units = units.get(&account_id).unwrap_or(&none);
            plan.add(&account_id, units, &regions, &self.excluded_regions, &mut notices);
        }
        if plan.is_empty() {
            let why = notices.summary();
            return Err(failed("EmptyPlan", format!("no target is left to look at: {}{why}", plan.left_out())));
        }

        let key = object_key(&execution);
        let body = serde_json::to_vec(plan.rows()).map_err(|error| failed("PlanNotWritten", error.to_string()))?;
        self.directory.write(&self.bucket, &key, body, deadlines.notified).await?;
        for notice in notices.all() {
            tracing::warn!(
                about = notice.about,
                reason = notice.reason,
                detail = notice.detail,
                "a target needs a look"
            );
        }
        let accounts = plan.accounts();
        tracing::info!(targets = plan.rows().len(), accounts, bucket = self.bucket, key, "the plan is written");
        let (notices, notices_omitted) = notices.first(MAX_NOTICES);
        let expires_at = invocation.now.saturating_add(OUTCOMES_ARE_KEPT).unwrap_or(invocation.now).as_second();
        Ok(Response {
            bucket: self.bucket.clone(),
            key,
            targets: plan.rows().len(),
            accounts,
            accounts_left_out: plan.left_out(),
            notices,
            notices_omitted,
            expires_at,
        })
    }
}

impl TargetPlanner {
    /// The Regions to look at in every account; `None` where each account is asked which it has enabled.
    fn listed_regions(&self, home: &str, partition: &str, notices: &mut Notices) -> Option<Vec<String>> {
        match self.regions.as_slice() {
            [] => Some(vec![home.to_owned()]),
            [one] if one == ENABLED => None,
            listed => {
                let mut ours = Vec::new();
                for region in plan::once(listed, Clone::clone, notices) {
                    let theirs = partition_of(&region);
                    if theirs == partition {
                        ours.push(region);
                    } else {
                        notices.add(
                            &region,
                            "other_partition",
                            format!("the Region is of `{theirs}`, not `{partition}`"),
                        );
                    }
                }
                Some(ours)
            }
        }
    }
}

/// The name of the execution that the plan is for. It becomes part of an object's key.
fn execution(event: &Value) -> Result<String, InvalidEvent> {
    if let Some(name) = details(event)?.keys().next() {
        return Err(InvalidEvent::new(format!("detail.{name}"), "is no option: this function takes none"));
    }
    let name = event.as_object().and_then(id);
    let name = name.ok_or_else(|| InvalidEvent::new("id", "is missing; the plan is named after it"))?;
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.len() > 100 || !name.chars().all(fits) || name.starts_with('.') {
        let problem =
            format!("{} is not a name of at most 100 letters, digits, `.`, `_` or `-`", shown(&Value::from(name)));
        return Err(InvalidEvent::new("id", problem));
    }
    Ok(name)
}

/// An error of this function's own.
fn failed(error_type: &'static str, message: String) -> HandlerError {
    HandlerError::Failed { error_type, message }
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;
    use serde_json::json;

    use super::*;

    fn planner(settings: &[(&str, &str)]) -> Result<TargetPlanner, InvalidConfiguration> {
        let all = [("PLAN_BUCKET", "plans")].iter().chain(settings);
        let environment = all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
        TargetPlanner::new(&environment, config)
    }

    #[test]
    fn settings_that_no_plan_can_be_made_by_are_refused_by_name() {
        for (name, value) in [
            ("TARGETS", "22222222222"),
            ("TARGETS", "everything"),
            ("TARGETS", "ou-x"),
            ("TARGET_REGIONS", "Ireland"),
            ("TARGET_REGIONS", "enabled,eu-west-1"),
            ("EXCLUDED_ACCOUNTS", "payments"),
            ("EXCLUDED_REGIONS", "enabled"),
            ("ROUTES", "222222222222"),
            ("PLAN_BUCKET", "s3://plans"),
        ] {
            let error = planner(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{name}` is `{value}`; it must be")), "{error}");
        }
        assert!(
            planner(&[("TARGETS", "organization,ou-abcd-12345678, 222222222222"), ("TARGET_REGIONS", "enabled")])
                .is_ok()
        );
        assert_eq!(
            planner(&[("PLAN_BUCKET", "")]).unwrap_err().to_string().split(';').next(),
            Some("`PLAN_BUCKET` is not set")
        );
    }

    #[test]
    fn the_plan_is_named_after_the_execution() {
        for name in ["53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "daily_2026.11"] {
            assert_eq!(execution(&json!({"id": name, "detail": {}})).unwrap(), name);
        }
        for (event, problem) in [
            (json!({}), "id: is missing"),
            (json!({"id": ""}), "id: is missing"),
            (json!({"id": "../x"}), "id: `../x` is not a name"),
            (json!({"id": "a/b"}), "id: `a/b` is not a name"),
            (json!({"id": "x".repeat(101)}), "id: a long string is not a name"),
            (json!({"id": 5}), "id: `5` is not a string"),
            (json!({"id": "x", "detail": {"targets": []}}), "detail.targets: is no option"),
            (json!([]), "event: an empty list"),
        ] {
            let error = execution(&event).unwrap_err().to_string();
            assert!(error.starts_with(problem), "{event}: {error}");
        }
    }

    #[test]
    fn regions_of_another_partition_are_left_out_and_said() {
        for (setting, expected, said) in [
            ("", Some(vec!["us-east-1"]), 0),
            ("enabled", None, 0),
            ("eu-west-1,us-east-1", Some(vec!["eu-west-1", "us-east-1"]), 0),
            ("eu-west-1,cn-north-1,eu-west-1", Some(vec!["eu-west-1"]), 2),
            ("us-gov-west-1", Some(vec![]), 1),
        ] {
            let mut notices = Notices::default();
            let regions = planner(&[("TARGET_REGIONS", setting)]).unwrap();
            let regions = regions.listed_regions("us-east-1", "aws", &mut notices);
            assert_eq!(regions, expected.map(|it| it.into_iter().map(str::to_owned).collect()), "{setting}");
            assert_eq!(notices.all().len(), said, "{setting}");
        }
    }
}
