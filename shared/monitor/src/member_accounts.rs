//! Keys of other accounts and Regions: the role by which the monitor reads them, and what keeps it from them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws::failure::{error_summary, is_of_expiry};
use aws::sts::{Credentials, SharedCredentialsProvider, Sts};
use aws_config::{Region, SdkConfig};
use domain::failure::{Cause, Failure};
use domain::location::{AccountRegion, Location};
use domain::text::printable;
use jiff::Timestamp;
use tokio::time::{Instant, timeout_at};

use crate::settings::{Environment, InvalidConfiguration, Setting, Text};
use crate::target::Target;

static MEMBER_ROLE_NAME: Text<String> = Text {
    name: "MEMBER_ROLE_NAME",
    default: "",
    is_required: false,
    allowed: "the name of a role, with its path: `kms-compliance/kms-compliance-read`",
    parse: role_name,
    meaning: "role that a function takes in every other account that it looks at; empty = this account alone",
};

static MEMBER_EXTERNAL_ID: Text<String> = Text {
    name: "MEMBER_EXTERNAL_ID",
    default: "",
    is_required: false,
    allowed: "an external ID: 2 to 1,224 letters, digits or any of `_+=,.@:/-`",
    parse: external_id,
    meaning: "external ID that the role's trust policy asks for; empty = none",
};

/// The settings about other accounts.
pub const SETTINGS: &[&dyn Setting] = &[&MEMBER_ROLE_NAME, &MEMBER_EXTERNAL_ID];

/// Longest name of a role's session: AWS takes no more.
const MAX_SESSION_NAME: usize = 64;

/// How much longer than the run its credentials have to last.
const MARGIN: Duration = Duration::from_mins(1);

/// How AWS words it that an organisation's policy, and not the caller's, denies.
const BY_SCP: &str = "service control policy";

/// The way to other accounts and Regions, with the sessions that are still good from earlier invocations.
#[derive(Debug)]
pub struct MemberAccounts {
    role_name: Option<String>,
    external_id: Option<String>,
    config: SdkConfig,
    sts: Sts,
    /// By account.
    sessions: Mutex<BTreeMap<String, Credentials>>,
}

/// Why a target is out of reach.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {words}")]
pub struct NotReachable {
    /// Stable word for the cause: operators and other programs match it.
    pub reason: &'static str,
    /// The same in words: which account and Region, what AWS said, what to do.
    pub words: String,
}

/// How long a run may take that a target is reached for.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// When the target has to be reached.
    pub reached: Instant,
    /// When the run will have ended.
    pub ended: Timestamp,
}

impl MemberAccounts {
    /// Reads the settings. `config` is the home's.
    ///
    /// # Errors
    /// One of them does not parse.
    pub fn read(environment: &Environment, config: &SdkConfig) -> Result<Self, InvalidConfiguration> {
        Ok(Self {
            role_name: MEMBER_ROLE_NAME.read(environment)?,
            external_id: MEMBER_EXTERNAL_ID.read(environment)?,
            config: config.clone(),
            sts: Sts::new(config),
            sessions: Mutex::default(),
        })
    }

    /// Is there a role for other accounts?
    pub fn has_role(&self) -> bool {
        self.role_name.is_some()
    }

    /// The home's own target.
    pub fn home(&self, home: Location) -> Target {
        Target { location: home, config: self.config.clone(), is_in_home_account: true }
    }

    /// The target of that name, ready for a run. Another Region of the home's account needs no role.
    ///
    /// # Errors
    /// The account does not let the function in, or its role is of another account than asked for.
    pub async fn reach(
        &self,
        function: &str,
        home: &Location,
        name: &AccountRegion,
        until: Until,
    ) -> Result<Target, NotReachable> {
        let AccountRegion { account_id, region } = name;
        let location =
            Location { partition: home.partition.clone(), region: region.clone(), account_id: account_id.clone() };
        let config = self.config.clone().into_builder().region(Region::new(region.clone()));
        if *account_id == home.account_id {
            return Ok(Target { location, config: config.build(), is_in_home_account: true });
        }
        let session = timeout_at(until.reached, self.session(function, &location, until.ended));
        let credentials = session.await.unwrap_or_else(|_| {
            let words = format!("account {account_id}: the time of the invocation ran out before STS had answered");
            Err(NotReachable { reason: Cause::Timeout.reason(), words })
        })?;
        let config = config.credentials_provider(SharedCredentialsProvider::new(credentials));
        Ok(Target { location, config: config.build(), is_in_home_account: false })
    }

    /// Credentials of the account's role that outlast the run, and are the account's.
    async fn session(
        &self,
        function: &str,
        location: &Location,
        run_ends: Timestamp,
    ) -> Result<Credentials, NotReachable> {
        let Location { partition, account_id, .. } = location;
        let role = self.role_name.as_deref().unwrap_or_default();
        let role_arn = format!("arn:{partition}:iam::{account_id}:role/{role}");
        if let Some(credentials) = self.known(account_id, run_ends) {
            match self.account_of(&credentials).await {
                Ok(account) if account == *account_id => return Ok(credentials),
                // They may have been revoked since: new ones will tell.
                _ => self.forget(account_id),
            }
        }
        let session_name: String = format!("kms-compliance-{function}").chars().take(MAX_SESSION_NAME).collect();
        let assumed = self.sts.assume_role(&role_arn, &session_name, self.external_id.as_deref()).await;
        let credentials = assumed.map_err(|failure| role_not_assumed(&failure, account_id, &role_arn))?;
        let account = self.account_of(&credentials).await.map_err(|failure| {
            let words = format!("account {account_id}: the credentials of {role_arn} do not work ({})", said(&failure));
            let refused = failure.cause == Cause::AccessDenied || is_of_expiry(failure.code.as_deref());
            let reason = if refused { "credentials_refused" } else { failure.cause.reason() };
            NotReachable { reason, words }
        })?;
        if account != *account_id {
            let words = format!(
                "account {account_id}: the credentials of {role_arn} are of account {}; nothing was read with them",
                printable(&account)
            );
            return Err(NotReachable { reason: "wrong_account", words });
        }
        self.keep(account_id, &credentials);
        Ok(credentials)
    }

    async fn account_of(&self, credentials: &Credentials) -> Result<String, Failure> {
        let provider = SharedCredentialsProvider::new(credentials.clone());
        Sts::new(&self.config.clone().into_builder().credentials_provider(provider).build()).account().await
    }

    fn known(&self, account_id: &str, run_ends: Timestamp) -> Option<Credentials> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.get(account_id).filter(|it| outlasts(it, run_ends)).cloned()
    }

    fn forget(&self, account_id: &str) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).remove(account_id);
    }

    fn keep(&self, account_id: &str, credentials: &Credentials) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(account_id.to_owned(), credentials.clone());
    }
}

/// Are the credentials still good a little after that instant?
fn outlasts(credentials: &Credentials, run_ends: Timestamp) -> bool {
    let seconds = u64::try_from(run_ends.as_second()).unwrap_or_default();
    let needed = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds) + MARGIN);
    credentials.expiry().zip(needed).is_some_and(|(expiry, needed)| expiry > needed)
}

/// What keeps a function from taking the role of an account. AWS words it the same where there is no such role and where
/// the role does not trust the caller.
fn role_not_assumed(failure: &Failure, account_id: &str, role_arn: &str) -> NotReachable {
    let (reason, what_to_do) = match (failure.code.as_deref(), failure.cause) {
        (Some("NoSuchEntity" | "NoSuchEntityException"), _) => {
            ("role_missing", "there is no such role: deploy member-role.yaml in that account")
        }
        (Some("RegionDisabledException"), _) => {
            ("region_disabled", "STS is switched off in this Region for that account: switch it on there")
        }
        (_, Cause::AccessDenied) => (
            "role_denied",
            "there is no such role, it does not trust this function, or it asks for another external ID: deploy \
             member-role.yaml in that account, with this function's role among MonitorRoleArns",
        ),
        (_, cause) => (cause.reason(), "the next run asks again"),
    };
    NotReachable { reason, words: format!("account {account_id}: {role_arn}: {what_to_do} ({})", said(failure)) }
}

impl NotReachable {
    /// What keeps a run from a target whose keys could not be listed, if it is the target and not the call.
    pub fn by_listing(failure: &Failure, location: &Location) -> Option<Self> {
        let Location { account_id, region, .. } = location;
        let denied = failure.cause == Cause::AccessDenied;
        let (reason, what_to_do) = match failure.code.as_deref() {
            Some(
                "UnrecognizedClientException" | "InvalidClientTokenId" | "OptInRequired" | "RegionDisabledException",
            ) => (
                "region_disabled",
                "the account has not enabled the Region, or closed it: leave the Region out, or enable it",
            ),
            Some("ExpiredTokenException" | "ExpiredToken") => {
                ("credentials_refused", "the role's credentials expired early: the next run takes new ones")
            }
            _ if denied && failure.message.contains(BY_SCP) => (
                "region_denied_by_scp",
                "an organisation's policy denies it there: leave the Region out by EXCLUDED_REGIONS, or except the \
                 monitor's role from the policy",
            ),
            _ if denied => (
                "list_keys_denied",
                "the function's role, or in another account the member role, may not list keys there: deploy it as it is now",
            ),
            None if failure.cause == Cause::Timeout => ("timeout", "nothing answered there: the next run asks again"),
            // The transport's own failure, names that nobody knows among them.
            None if failure.cause == Cause::ServiceError => {
                ("no_answer", "nothing answered there: is there such a Region, and does the account have it?")
            }
            _ => return None,
        };
        Some(Self { reason, words: format!("account {account_id}, {region}: {what_to_do} ({})", said(failure)) })
    }
}

/// What was called and what AWS or the transport said of it.
fn said(failure: &Failure) -> impl fmt::Display {
    let Failure { service, operation, .. } = failure;
    format!("{service}:{operation}: {}", error_summary(failure))
}

fn role_name(value: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c);
    let whole = value.len() <= 512 && value.split('/').all(|part| !part.is_empty() && part.chars().all(fits));
    let name = value.rsplit('/').next().unwrap_or_default();
    (whole && name.len() <= 64).then(|| value.to_owned())
}

fn external_id(value: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
    ((2..=1_224).contains(&value.len()) && value.chars().all(fits)).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(operation: &'static str, cause: Cause, code: Option<&str>, message: &str) -> Failure {
        let service = if operation == "ListKeys" { "kms" } else { "sts" };
        Failure { service, operation, cause, code: code.map(str::to_owned), message: message.to_owned() }
    }

    #[test]
    fn what_keeps_a_function_from_a_role_has_a_word() {
        let arn = "arn:aws:iam::222222222222:role/kms-compliance/kms-compliance-read";
        for (cause, code, reason) in [
            (Cause::AccessDenied, Some("AccessDenied"), "role_denied"),
            (Cause::Unexpected, Some("NoSuchEntity"), "role_missing"),
            (Cause::AccessDenied, Some("RegionDisabledException"), "region_disabled"),
            (Cause::Throttled, Some("Throttling"), "throttled"),
            (Cause::Timeout, None, "timeout"),
            (Cause::ServiceError, None, "service_error"),
            (Cause::Unexpected, None, "unexpected_response"),
        ] {
            let not_reached = role_not_assumed(&failure("AssumeRole", cause, code, "no"), "222222222222", arn);
            assert_eq!(not_reached.reason, reason, "{code:?}");
            let text = not_reached.to_string();
            assert!(text.starts_with(&format!("{reason}: account 222222222222: ")) && text.contains(arn), "{text}");
            assert!(text.contains("sts:AssumeRole"), "{text}");
        }
    }

    #[test]
    fn a_listing_that_failed_says_whether_it_is_the_target() {
        let location =
            Location { partition: "aws".into(), region: "eu-west-1".into(), account_id: "222222222222".into() };
        let scp =
            "User: x is not authorized to perform: kms:ListKeys with an explicit deny in a service control policy";
        for (cause, code, message, reason) in [
            (Cause::AccessDenied, Some("AccessDeniedException"), scp, Some("region_denied_by_scp")),
            (Cause::AccessDenied, Some("AccessDeniedException"), "no", Some("list_keys_denied")),
            (Cause::AccessDenied, Some("UnrecognizedClientException"), "invalid", Some("region_disabled")),
            (Cause::Unexpected, Some("UnrecognizedClientException"), "invalid", Some("region_disabled")),
            (Cause::AccessDenied, Some("InvalidClientTokenId"), "invalid", Some("region_disabled")),
            (Cause::Unexpected, Some("ExpiredTokenException"), "old", Some("credentials_refused")),
            (Cause::Timeout, None, "", Some("timeout")),
            (Cause::ServiceError, None, "dns error", Some("no_answer")),
            (Cause::Throttled, Some("ThrottlingException"), "", None),
            (Cause::ServiceError, Some("KMSInternalException"), "", None),
            (Cause::Unexpected, None, "", None),
        ] {
            let not_reached = NotReachable::by_listing(&failure("ListKeys", cause, code, message), &location);
            assert_eq!(not_reached.as_ref().map(|it| it.reason), reason, "{cause:?} {code:?}");
            if let Some(not_reached) = not_reached {
                assert!(not_reached.words.starts_with("account 222222222222, eu-west-1: "), "{not_reached}");
            }
        }
    }

    #[test]
    fn a_session_is_kept_for_runs_that_it_outlasts() {
        let at = |text: &str| -> Timestamp { text.parse().unwrap() };
        let seven = u64::try_from(at("2026-11-23T07:00:00Z").as_second()).unwrap();
        let expiry = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seven));
        let credentials = |expiry: Option<SystemTime>| Credentials::new("id", "secret", None, expiry, "test");
        for (run_ends, good) in [
            ("2026-11-23T06:15:00Z", true),
            ("2026-11-23T06:58:59Z", true),
            ("2026-11-23T06:59:00Z", false),
            ("2026-11-23T07:15:00Z", false),
        ] {
            assert_eq!(outlasts(&credentials(expiry), at(run_ends)), good, "{run_ends}");
        }
        assert!(!outlasts(&credentials(None), at("2026-11-23T06:15:00Z")));
    }

    #[test]
    fn settings() {
        let read = |name: &str, value: &str| {
            let config = SdkConfig::builder().behavior_version(aws_config::BehaviorVersion::latest()).build();
            MemberAccounts::read(&[(name.to_owned(), value.to_owned())].into_iter().collect(), &config)
        };
        let accounts = read("MEMBER_ROLE_NAME", "kms-compliance/kms-compliance-read").unwrap();
        assert_eq!(accounts.role_name.as_deref(), Some("kms-compliance/kms-compliance-read"));
        assert!(accounts.has_role() && !read("MEMBER_ROLE_NAME", "").unwrap().has_role());
        assert_eq!(read("MEMBER_EXTERNAL_ID", "a-1").unwrap().external_id.as_deref(), Some("a-1"));
        let long = "r".repeat(65);
        for (name, value) in [
            ("MEMBER_ROLE_NAME", "arn:aws:iam::222222222222:role/x"),
            ("MEMBER_ROLE_NAME", "/kms-compliance/x"),
            ("MEMBER_ROLE_NAME", "kms-compliance//x"),
            ("MEMBER_ROLE_NAME", "a role"),
            ("MEMBER_ROLE_NAME", long.as_str()),
            ("MEMBER_EXTERNAL_ID", "x"),
            ("MEMBER_EXTERNAL_ID", "a b"),
        ] {
            let error = read(name, value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{name}` is `{value}`; it must be")), "{error}");
        }
    }
}
