//! Who can reach a key?
//!
//! The key policy is read once and judged by five controls; the tags are read only where some are required. Grants come
//! last: `ListGrants` has a small quota, so all keys are judged by their policies before the first grants are asked for.

pub mod controls;

use std::collections::BTreeSet;

use aws::kms::Kms;
use aws::operation::{GET_KEY_POLICY, LIST_GRANTS};
use aws::pages::Pages;
use domain::control::Control;
use domain::failure::Failure;
use domain::finding::KeyIdentity;
use domain::key::Key;
use domain::key_policy::{KeyPolicy, Principal, Trusted, is_account_id};
use domain::verdict::Verdict;
use jiff::Timestamp;
use monitor::check::{Check, KeyTags, Outcome, RunContext};
use monitor::settings::{Environment, InvalidConfiguration, List, Setting, Text};

use controls::{
    ADMINISTRATION_SEPARATED, CONTROLS, FOREIGN_ACCESS, Grant, POLICY_MANAGEABLE, PUBLIC_ACCESS, RequiredTag,
    SERVICE_PRINCIPAL_BOUND, administration_separated, foreign_access, foreign_grant, grants_not_asked,
    policy_manageable, public_access, required_tags, service_principal_bound, tags_not_required,
};

/// Most grants that one page of `ListGrants` holds.
const GRANTS_A_PAGE: i32 = 100;

static TRUSTED_ACCOUNTS: List<String> = List {
    name: "TRUSTED_ACCOUNTS",
    allowed: " of twelve-digit account IDs",
    parse: account_id,
    meaning: "accounts beside the key's own whose access to keys is no finding",
};

static TRUSTED_ORGANIZATION: Text<String> = Text {
    name: "TRUSTED_ORGANIZATION",
    default: "",
    is_required: false,
    allowed: "the ID of an organisation, such as o-a1b2c3d4e5",
    parse: organisation_id,
    meaning: "organisation whose access to keys is no finding",
};

static REQUIRED_TAGS: List<RequiredTag> = List {
    name: "REQUIRED_TAGS",
    allowed: " of tag keys, each alone or with the values allowed, such as owner,class=secret|internal",
    parse: RequiredTag::parse,
    meaning: "tags that every key needs; empty = none",
};

/// The function's check.
#[derive(Debug)]
pub struct AccessChecker {
    trusted_accounts: BTreeSet<String>,
    trusted_organisation: Option<String>,
    required_tags: Vec<RequiredTag>,
}

impl Check for AccessChecker {
    const FUNCTION: &'static str = "access-checker";
    const CONTROLS: [&'static Control; 7] = CONTROLS;
    const SETTINGS: &'static [&'static dyn Setting] = &[&TRUSTED_ACCOUNTS, &TRUSTED_ORGANIZATION, &REQUIRED_TAGS];

    type Verdicts = [Verdict; 7];
    type Context = ();

    fn read(environment: &Environment) -> Result<Self, InvalidConfiguration> {
        Ok(Self {
            trusted_accounts: TRUSTED_ACCOUNTS.read(environment)?,
            trusted_organisation: TRUSTED_ORGANIZATION.read(environment)?,
            required_tags: REQUIRED_TAGS.read(environment)?,
        })
    }

    async fn begin(&self, _: &RunContext<'_>) {}

    async fn evaluate(&self, (): &(), kms: &Kms, key: &Key, tags: &KeyTags<'_>, _: Timestamp) -> Outcome<[Verdict; 7]> {
        let [public, foreign, services, separated, manageable] = match kms.policy(&key.id).await {
            Err(failure) => std::array::from_fn(|_| Verdict::from(&failure)),
            Ok(text) => self.by_policy(&text, &key.arn),
        };
        let tags = if self.required_tags.is_empty() {
            tags_not_required()
        } else {
            match tags.get().await {
                Ok(tags) => required_tags(tags, &self.required_tags),
                Err(failure) => failure.into(),
            }
        };
        Outcome::Provisional([public, foreign, grants_not_asked(), services, separated, manageable, tags])
    }

    async fn finish(
        &self,
        (): &(),
        kms: &Kms,
        key: &KeyIdentity,
        provisional: [Verdict; 7],
        _: Timestamp,
    ) -> [Verdict; 7] {
        let grants = match grants_of(kms, &key.id).await {
            Ok(grants) => foreign_grant(&grants, self.trusted_by(&key.arn)),
            Err(failure) => (&failure).into(),
        };
        let [public, foreign, _, services, separated, manageable, tags] = provisional;
        [public, foreign, grants, services, separated, manageable, tags]
    }
}

impl AccessChecker {
    /// The verdicts that need nothing but the policy of the key with that ARN: a policy can be judged before it is
    /// anywhere.
    pub fn judge_policy(&self, text: &str, key_arn: &str) -> Vec<(&'static Control, Verdict)> {
        let controls: [&'static Control; 5] =
            [&PUBLIC_ACCESS, &FOREIGN_ACCESS, &SERVICE_PRINCIPAL_BOUND, &ADMINISTRATION_SEPARATED, &POLICY_MANAGEABLE];
        controls.into_iter().zip(self.by_policy(text, key_arn)).collect()
    }

    fn by_policy(&self, text: &str, key_arn: &str) -> [Verdict; 5] {
        let policy = match KeyPolicy::parse(text, key_arn) {
            Ok(policy) => policy,
            Err(why) => {
                let verdict = Verdict::from(&GET_KEY_POLICY.unreadable(&why.to_string()));
                let verdict = verdict.detail(format!("the key policy cannot be judged: {why}"));
                return std::array::from_fn(|_| verdict.clone());
            }
        };
        let (access, trusted) = (policy.access(), self.trusted_by(key_arn));
        [
            public_access(&access, trusted),
            foreign_access(&access, trusted),
            service_principal_bound(&access, trusted),
            administration_separated(&access),
            policy_manageable(&access, trusted),
        ]
    }

    /// Whom the owner of the key with that ARN trusts.
    fn trusted_by<'a>(&'a self, key_arn: &'a str) -> Trusted<'a> {
        Trusted {
            own_account: key_arn.split(':').nth(4).unwrap_or_default(),
            accounts: &self.trusted_accounts,
            organisation: self.trusted_organisation.as_deref(),
        }
    }
}

/// The grants of a key.
async fn grants_of(kms: &Kms, key_id: &str) -> Result<Vec<Grant>, Failure> {
    let mut grants = Vec::new();
    let mut pages = Pages::of(LIST_GRANTS);
    let ask = async |marker: Option<String>| {
        kms.call(LIST_GRANTS, async |kms| {
            kms.list_grants().key_id(key_id).limit(GRANTS_A_PAGE).set_marker(marker.clone()).send().await
        })
        .await
    };
    while let Some(page) = pages.next(ask, |page| (page.truncated, page.next_marker.clone())).await? {
        for entry in page.grants.unwrap_or_default() {
            let grantee = match (entry.grantee_principal, entry.grantee_service_principal) {
                (Some(principal), _) => grantee(&principal),
                (None, Some(service)) => Principal::Service(service),
                (None, None) => return Err(LIST_GRANTS.unreadable("a grant has no GranteePrincipal")),
            };
            grants.push(Grant {
                id: entry.grant_id.unwrap_or_default(),
                name: entry.name.filter(|name| !name.is_empty()),
                grantee,
                // Who may retire for a service is a service.
                retiring: entry.retiring_principal.as_deref().map(self::grantee),
                operations: entry
                    .operations
                    .unwrap_or_default()
                    .into_iter()
                    .map(|operation| operation.as_str().to_owned())
                    .collect(),
            });
        }
    }
    Ok(grants)
}

/// A principal of a grant, which may be a service's.
fn grantee(text: &str) -> Principal {
    match Principal::of_aws(text) {
        Principal::Unrecognised(service)
            if service.ends_with(".amazonaws.com") || service.ends_with(".amazonaws.com.cn") =>
        {
            Principal::Service(service)
        }
        principal => principal,
    }
}

fn account_id(text: &str) -> Option<String> {
    is_account_id(text).then(|| text.to_owned())
}

fn organisation_id(text: &str) -> Option<String> {
    let id = text.strip_prefix("o-")?;
    let fits = (10..=32).contains(&id.len()) && id.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit());
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variable: &str, value: &str) -> Result<AccessChecker, InvalidConfiguration> {
        AccessChecker::read(&[(variable.to_owned(), value.to_owned())].into_iter().collect())
    }

    #[test]
    fn settings() {
        let accounts = read("TRUSTED_ACCOUNTS", " 222222222222 ,333333333333,,").unwrap().trusted_accounts;
        assert_eq!(accounts.into_iter().collect::<Vec<_>>(), ["222222222222", "333333333333"]);
        assert_eq!(read("TRUSTED_ORGANIZATION", "o-a1b2c3d4e5").unwrap().trusted_organisation.unwrap(), "o-a1b2c3d4e5");
        let tags = read("REQUIRED_TAGS", "owner, class=secret|internal").unwrap().required_tags;
        assert_eq!(tags, [RequiredTag::parse("owner").unwrap(), RequiredTag::parse("class=secret|internal").unwrap()]);
        let nothing = read("REQUIRED_TAGS", "").unwrap();
        assert!(nothing.required_tags.is_empty() && nothing.trusted_accounts.is_empty());
        assert_eq!(nothing.trusted_organisation, None);
        for (variable, value) in [
            ("TRUSTED_ACCOUNTS", "22222222222"),
            ("TRUSTED_ACCOUNTS", "arn:aws:iam::222222222222:root"),
            ("TRUSTED_ORGANIZATION", "a1b2c3d4e5"),
            ("TRUSTED_ORGANIZATION", "o-short"),
            ("TRUSTED_ORGANIZATION", "o-A1B2C3D4E5"),
            ("REQUIRED_TAGS", "=secret"),
            ("REQUIRED_TAGS", "class="),
            ("REQUIRED_TAGS", "class=secret||internal"),
        ] {
            let error = read(variable, value).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{variable}` is `{value}`; it must be ")), "{error}");
        }
    }

    #[test]
    fn grantees() {
        let named = |account: &str, arn: &str| Principal::Named { account: account.into(), arn: arn.into() };
        let session = "arn:aws:sts::111111111111:assumed-role/aws:ec2-infrastructure/i-0123";
        for (text, expected) in [
            ("arn:aws:iam::111111111111:role/x", named("111111111111", "arn:aws:iam::111111111111:role/x")),
            (session, named("111111111111", session)),
            ("dynamodb.us-east-1.amazonaws.com", Principal::Service("dynamodb.us-east-1.amazonaws.com".into())),
            ("arn:aws:iam::111111111111:root", Principal::Account("111111111111".into())),
            ("*", Principal::Everyone),
            ("arn:aws:iam::*:role/x", Principal::Everyone),
            ("AROAEXAMPLE", Principal::Deleted("AROAEXAMPLE".into())),
            ("somebody", Principal::Unrecognised("somebody".into())),
        ] {
            assert_eq!(grantee(text), expected, "{text}");
        }
    }
}
