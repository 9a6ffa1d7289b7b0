//! Organizations, Account Management and the plan's bucket, each by the home's own identity.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use aws::call::Calls;
use aws::failure::error_summary;
use aws::operation::{
    LIST_ACCOUNTS, LIST_ACCOUNTS_FOR_PARENT, LIST_ORGANIZATIONAL_UNITS_FOR_PARENT, LIST_REGIONS, Operation, PUT_OBJECT,
};
use aws::pace::QuotaShare;
use aws::pages::Pages;
use aws_config::SdkConfig;
use aws_sdk_account::types::RegionOptStatus;
use aws_sdk_organizations::types::Account;
use aws_sdk_s3::primitives::ByteStream;
use domain::failure::{Cause, Failure};
use domain::location::Location;
use lambda::HandlerError;
use tokio::time::{Instant, timeout_at};

use crate::failed;
use crate::plan::{Notices, Standing, TargetName};

/// How deep units may lie in one another: AWS allows five.
const MAX_DEPTH: usize = 10;

/// The clients.
#[derive(Debug)]
pub struct Directory {
    organizations: aws_sdk_organizations::Client,
    account: aws_sdk_account::Client,
    s3: aws_sdk_s3::Client,
    calls: Calls,
}

impl Directory {
    /// Clients with the home's credentials.
    pub fn new(config: &SdkConfig) -> Self {
        // An endpoint of one's own has no name for each bucket.
        let s3 = aws_sdk_s3::config::Builder::from(config).force_path_style(config.endpoint_url().is_some()).build();
        Self {
            organizations: aws_sdk_organizations::Client::new(config),
            account: aws_sdk_account::Client::new(config),
            s3: aws_sdk_s3::Client::from_conf(s3),
            calls: Calls::new(QuotaShare::WHOLE),
        }
    }

    /// The accounts that are asked for, each with its standing. Without a name it is the home's own, and nobody is asked.
    ///
    /// # Errors
    /// `TargetsNotListed`: it is not known which accounts the organisation or a unit has.
    pub async fn accounts(
        &self,
        asked_for: &[TargetName],
        home: &Location,
        notices: &mut Notices,
        until: Instant,
    ) -> Result<BTreeMap<String, Standing>, HandlerError> {
        let mut found = BTreeMap::new();
        if asked_for.is_empty() {
            found.insert(home.account_id.clone(), Standing::Active);
        }
        let is_other = |name: &TargetName| match name {
            TargetName::Account(id) => *id != home.account_id,
            TargetName::Organization => true,
            TargetName::Unit(_) => false,
        };
        let members = if asked_for.iter().any(is_other) { Some(in_time(self.members(), until).await) } else { None };
        for name in asked_for {
            match (name, &members) {
                (TargetName::Account(id), _) if *id == home.account_id => {
                    found.insert(id.clone(), Standing::Active);
                }
                (TargetName::Account(id), Some(Ok(members))) => {
                    let standing = members.get(id).copied().unwrap_or(Standing::Beyond);
                    match standing {
                        Standing::Beyond => {
                            notices.add(id, "beyond_organization", "the organisation has no such account: left out");
                        }
                        Standing::NotActive => notices.add(id, "not_active", "the account is not active: left out"),
                        Standing::Active => {}
                    }
                    found.insert(id.clone(), standing);
                }
                (TargetName::Account(id), _) => {
                    found.insert(id.clone(), Standing::Active);
                }
                (TargetName::Organization, Some(Ok(members))) => found.extend(members.clone()),
                (TargetName::Organization, Some(Err(failure))) => return Err(not_listed(name, failure)),
                (TargetName::Organization, None) => {}
                (TargetName::Unit(id), _) => {
                    found.extend(in_time(self.unit(id), until).await.map_err(|failure| not_listed(name, &failure))?);
                }
            }
        }
        if let Some(Err(failure)) = &members {
            let detail = format!(
                "it is not known which accounts the organisation has, so those listed are taken as they are ({})",
                said(failure)
            );
            // A list needs no organisation, and a monitor without one need not hear of it each day.
            let is_meant = failure.cause == Cause::AccessDenied
                || failure.code.as_deref() == Some("AWSOrganizationsNotInUseException");
            if is_meant {
                notices.mention("organization", "organization_unknown", detail);
            } else {
                notices.add("organization", "organization_unknown", detail);
            }
        }
        Ok(found)
    }

    /// For each account below any of those units, in which of them it is.
    pub async fn units(
        &self,
        routed: &BTreeSet<String>,
        notices: &mut Notices,
        until: Instant,
    ) -> BTreeMap<String, BTreeSet<String>> {
        let mut of_accounts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for unit in routed {
            match in_time(self.unit(unit), until).await {
                Ok(accounts) => {
                    for id in accounts.into_keys() {
                        of_accounts.entry(id).or_default().insert(unit.clone());
                    }
                }
                Err(failure) => {
                    let detail = format!(
                        "it is not known which accounts the unit has, so its routes are told of none of them ({})",
                        said(&failure)
                    );
                    notices.add(unit, "unit_unknown", detail);
                }
            }
        }
        of_accounts
    }

    /// The Regions that an account has enabled. Where that cannot be told, the home's: so the account stays in sight.
    pub async fn enabled_regions(
        &self,
        account_id: &str,
        home: &Location,
        notices: &mut Notices,
        until: Instant,
    ) -> Vec<String> {
        // AWS takes the caller's own account for its own only where none is named.
        let other = (account_id != home.account_id).then_some(account_id);
        match in_time(self.list_regions(other), until).await {
            Ok(regions) => regions,
            Err(failure) => {
                let detail = format!(
                    "it is not known which Regions the account has enabled, so it is looked at in {} alone ({})",
                    home.region,
                    said(&failure)
                );
                notices.add(account_id, "regions_unknown", detail);
                vec![home.region.clone()]
            }
        }
    }

    /// Writes the plan. A second one of the same execution takes its place.
    ///
    /// # Errors
    /// `PlanNotWritten`: the bucket did not take it.
    pub async fn write(&self, bucket: &str, key: &str, body: Vec<u8>, until: Instant) -> Result<(), HandlerError> {
        let request = async || {
            let request = self.s3.put_object().bucket(bucket).key(key).content_type("application/json");
            request.body(ByteStream::from(body.clone())).send().await
        };
        let written = in_time(self.calls.make(PUT_OBJECT, request), until).await;
        written.map(|_| ()).map_err(|failure| {
            let message = format!("the plan was not written to s3://{bucket}/{key}: {}", said(&failure));
            failed("PlanNotWritten", message)
        })
    }

    /// Every account of the organisation.
    async fn members(&self) -> Result<BTreeMap<String, Standing>, Failure> {
        let mut members = BTreeMap::new();
        let mut pages = Pages::of(LIST_ACCOUNTS);
        let ask = async |token: Option<String>| {
            let request = async || self.organizations.list_accounts().set_next_token(token.clone()).send().await;
            self.calls.make(LIST_ACCOUNTS, request).await
        };
        while let Some(page) = pages.next(ask, |page| turn(page.next_token.as_ref())).await? {
            for account in page.accounts.unwrap_or_default() {
                let (id, standing) = standing(account, LIST_ACCOUNTS)?;
                members.insert(id, standing);
            }
        }
        Ok(members)
    }

    /// Every account of a unit and of those within it.
    async fn unit(&self, unit: &str) -> Result<BTreeMap<String, Standing>, Failure> {
        let mut accounts = BTreeMap::new();
        let mut left = vec![(unit.to_owned(), 0)];
        while let Some((parent, depth)) = left.pop() {
            for account in self.accounts_of(&parent).await? {
                let (id, standing) = standing(account, LIST_ACCOUNTS_FOR_PARENT)?;
                accounts.insert(id, standing);
            }
            if depth < MAX_DEPTH {
                left.extend(self.units_of(&parent).await?.into_iter().map(|child| (child, depth + 1)));
            }
        }
        Ok(accounts)
    }

    async fn accounts_of(&self, parent: &str) -> Result<Vec<Account>, Failure> {
        let mut accounts = Vec::new();
        let mut pages = Pages::of(LIST_ACCOUNTS_FOR_PARENT);
        let ask = async |token: Option<String>| {
            let request = async || {
                let request = self.organizations.list_accounts_for_parent().parent_id(parent);
                request.set_next_token(token.clone()).send().await
            };
            self.calls.make(LIST_ACCOUNTS_FOR_PARENT, request).await
        };
        while let Some(page) = pages.next(ask, |page| turn(page.next_token.as_ref())).await? {
            accounts.extend(page.accounts.unwrap_or_default());
        }
        Ok(accounts)
    }

    async fn units_of(&self, parent: &str) -> Result<Vec<String>, Failure> {
        let mut units = Vec::new();
        let mut pages = Pages::of(LIST_ORGANIZATIONAL_UNITS_FOR_PARENT);
        let ask = async |token: Option<String>| {
            let request = async || {
                let request = self.organizations.list_organizational_units_for_parent().parent_id(parent);
                request.set_next_token(token.clone()).send().await
            };
            self.calls.make(LIST_ORGANIZATIONAL_UNITS_FOR_PARENT, request).await
        };
        while let Some(page) = pages.next(ask, |page| turn(page.next_token.as_ref())).await? {
            units.extend(page.organizational_units.unwrap_or_default().into_iter().filter_map(|unit| unit.id));
        }
        Ok(units)
    }

    /// The Regions that an account has enabled; of the caller's own where none is named.
    async fn list_regions(&self, account_id: Option<&str>) -> Result<Vec<String>, Failure> {
        const ON: [RegionOptStatus; 2] = [RegionOptStatus::Enabled, RegionOptStatus::EnabledByDefault];
        let mut regions = Vec::new();
        let mut pages = Pages::of(LIST_REGIONS);
        let ask = async |token: Option<String>| {
            let request = async || {
                let request = self.account.list_regions().set_account_id(account_id.map(str::to_owned));
                request.set_region_opt_status_contains(Some(ON.to_vec())).set_next_token(token.clone()).send().await
            };
            self.calls.make(LIST_REGIONS, request).await
        };
        while let Some(page) = pages.next(ask, |page| turn(page.next_token.as_ref())).await? {
            for region in page.regions.unwrap_or_default() {
                let is_on = region.region_opt_status.is_none_or(|status| ON.contains(&status));
                let name = region.region_name.ok_or_else(|| LIST_REGIONS.unreadable("a Region has no RegionName"))?;
                regions.extend(is_on.then_some(name));
            }
        }
        Ok(regions)
    }
}

/// Does a page have a next one, and by which token?
fn turn(token: Option<&String>) -> (bool, Option<String>) {
    (token.is_some(), token.cloned())
}

/// An account's ID and standing, as a listing gives them.
fn standing(account: Account, operation: Operation) -> Result<(String, Standing), Failure> {
    let id = account.id.ok_or_else(|| operation.unreadable("an account has no Id"))?;
    let state = account.state.as_ref().map(aws_sdk_organizations::types::AccountState::as_str);
    let status = account.status.as_ref().map(aws_sdk_organizations::types::AccountStatus::as_str);
    Ok((id, Standing::of(state, status)))
}

/// What comes of calls within the time that there is.
async fn in_time<T>(calls: impl Future<Output = Result<T, Failure>>, until: Instant) -> Result<T, Failure> {
    let out_of_time = || Failure {
        service: "lambda",
        operation: "Invoke",
        cause: Cause::Timeout,
        code: None,
        message: "the time of the invocation ran out".to_owned(),
    };
    timeout_at(until, calls).await.unwrap_or_else(|_| Err(out_of_time()))
}

fn not_listed(name: &TargetName, failure: &Failure) -> HandlerError {
    let message = format!("{}: cannot tell which accounts `{name}` has: {}", failure.cause.reason(), said(failure));
    failed("TargetsNotListed", message)
}

/// What was called and what AWS or the transport said of it.
fn said(failure: &Failure) -> String {
    let Failure { service, operation, .. } = failure;
    format!("{service}:{operation}: {}", error_summary(failure))
}
