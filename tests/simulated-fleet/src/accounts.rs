//! Other accounts: their roles by STS, who is in the organisation, which Regions they have, and the bucket that takes a plan.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, header};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::description::FleetDescription;
use crate::error::ApiError;
use crate::faults::{Fault, FaultKind};
use crate::operation::Operation;
use crate::regions::RegionDescription;
use crate::sns::Form;

/// What stands before an operation's name in the header `x-amz-target`.
pub(crate) const ORGANIZATIONS: &str = "AWSOrganizationsV20161128.";
/// The path of Account Management's `ListRegions`.
pub(crate) const LIST_REGIONS: &str = "/listRegions";
/// The root of the organisation.
const ROOT: &str = "r-root";
/// Accounts on a page of Organizations, at most.
const PAGE: usize = 20;

/// An account beside the fleet's own.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(default, deny_unknown_fields)]
pub struct AccountDescription {
    /// What is in its Regions, by name.
    pub regions: BTreeMap<String, RegionDescription>,
    /// Is it of the fleet's organisation? Default: yes.
    pub in_organization: bool,
    /// Organizational unit that it is in. Default: the root.
    pub parent: String,
    /// What Organizations gives as `State`. Default `ACTIVE`; `None` leaves it out.
    pub state: Option<String>,
    /// What Organizations gives as `Status`. Default `ACTIVE`; `None` leaves it out.
    pub status: Option<String>,
    /// Has it a role that trusts the fleet's own account? Default: yes. AWS answers the same whether there is no such role
    /// or it does not trust.
    pub has_role: bool,
    /// The role's name with its path. Default `kms-compliance/kms-compliance-read`.
    pub role_name: String,
    /// External ID that the role asks for. Default: none.
    pub external_id: Option<String>,
    /// Account that the role's credentials are of. Default: this one.
    pub credentials_of: Option<String>,
    /// How long they last. Default 3,600.
    pub session_seconds: i64,
    /// Regions that it has enabled. Default: the fleet's own.
    pub enabled_regions: Option<Vec<String>>,
    /// Faults of `AssumeRole` into it, of `GetCallerIdentity` with its credentials, and of `ListRegions` about it.
    pub faults: BTreeMap<Operation, Fault>,
}

impl Default for AccountDescription {
    fn default() -> Self {
        Self {
            regions: BTreeMap::new(),
            in_organization: true,
            parent: ROOT.to_owned(),
            state: Some("ACTIVE".to_owned()),
            status: Some("ACTIVE".to_owned()),
            has_role: true,
            role_name: "kms-compliance/kms-compliance-read".to_owned(),
            external_id: None,
            credentials_of: None,
            session_seconds: 3_600,
            enabled_regions: None,
            faults: BTreeMap::new(),
        }
    }
}

impl AccountDescription {
    /// The fleet of this account.
    pub(crate) fn fleet(&self, account_id: &str, home: &FleetDescription) -> FleetDescription {
        let of_account = FleetDescription { account_id: account_id.to_owned(), ..home.clone() };
        let mut regions = self.regions.clone();
        let own = regions.remove(&home.region).unwrap_or_default();
        let mut faults = self.faults.clone();
        let mut fleet = own.fleet(&home.region, &of_account);
        faults.append(&mut fleet.faults);
        FleetDescription { regions, faults, enabled_regions: self.enabled_regions.clone(), ..fleet }
    }
}

/// A session of a role that was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AssumedRole {
    /// The role.
    pub role_arn: String,
    /// What the caller called it.
    pub session_name: String,
    /// What the caller gave as external ID.
    pub external_id: Option<String>,
}

/// Which sessions have been given so far, and which of them are still good.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    given: AtomicU64,
    expired: AtomicU64,
}

impl Sessions {
    /// An access key that says whose it is.
    fn access_key(&self, account_id: &str) -> String {
        format!("ASIA{account_id}{:08}", self.given.fetch_add(1, Ordering::Relaxed))
    }

    /// All that were given so far are no longer good.
    pub(crate) fn expire(&self) {
        self.expired.store(self.given.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The account whose session signed the request; `None` if it was the fleet's own.
    pub(crate) fn account<'a>(&self, headers: &'a HeaderMap) -> Caller<'a> {
        let session = access_key(headers).and_then(|key| key.strip_prefix("ASIA")?.split_at_checked(12));
        let Some((account_id, number)) = session else { return Caller::Home };
        let is_old = number.parse().is_ok_and(|number: u64| number < self.expired.load(Ordering::Relaxed));
        if is_old { Caller::Expired } else { Caller::Session(account_id) }
    }
}

/// Who signed a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller<'a> {
    /// The fleet's own account.
    Home,
    /// A session of a role of that account.
    Session(&'a str),
    /// A session that is no longer good.
    Expired,
}

fn access_key(headers: &HeaderMap) -> Option<&str> {
    let authorization = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    authorization.split_once("Credential=")?.1.split('/').next()
}

/// The account in a role's ARN, and the role's name with its path.
pub(crate) fn role_in(arn: &str) -> Option<(&str, &str)> {
    let mut parts = arn.splitn(6, ':').skip(4);
    Some((parts.next()?, parts.next()?.strip_prefix("role/")?))
}

/// The answer to `AssumeRole`.
pub(crate) fn assume_role(
    home: &FleetDescription,
    sessions: &Sessions,
    form: &Form,
    now: Timestamp,
) -> Result<(String, AssumedRole), ApiError> {
    let text = |name: &str| form.get(name).cloned().unwrap_or_default();
    let assumed = AssumedRole {
        role_arn: text("RoleArn"),
        session_name: text("RoleSessionName"),
        external_id: form.get("ExternalId").cloned(),
    };
    let refused = || {
        let message = format!(
            "User: arn:aws:sts::{}:assumed-role/simulated/function is not authorized to perform: sts:AssumeRole on \
             resource: {}",
            home.account_id, assumed.role_arn
        );
        ApiError::new(403, "AccessDenied", message)
    };
    let (account_id, name) = role_in(&assumed.role_arn).ok_or_else(refused)?;
    let account = home.accounts.get(account_id).ok_or_else(refused)?;
    let trusts = account.has_role && account.role_name == name;
    if !trusts || account.external_id.is_some() && account.external_id != assumed.external_id {
        return Err(refused());
    }
    let key = sessions.access_key(account.credentials_of.as_deref().unwrap_or(account_id));
    let expires = now.saturating_add(SignedDuration::from_secs(account.session_seconds)).unwrap_or(now);
    let answer = format!(
        "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>{key}</AccessKeyId>\
         <SecretAccessKey>simulated</SecretAccessKey><SessionToken>simulated</SessionToken>\
         <Expiration>{}</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
        expires.strftime("%Y-%m-%dT%H:%M:%SZ")
    );
    Ok((answer, assumed))
}

/// The answer to `GetCallerIdentity`.
pub(crate) fn caller_identity(account_id: &str) -> String {
    format!(
        "<GetCallerIdentityResponse><GetCallerIdentityResult><Account>{account_id}</Account>\
         <Arn>arn:aws:sts::{account_id}:assumed-role/simulated/function</Arn><UserId>AROA:simulated</UserId>\
         </GetCallerIdentityResult></GetCallerIdentityResponse>"
    )
}

/// The answer of Organizations to one of its listings.
pub(crate) fn organization(
    home: &FleetDescription,
    operation: Operation,
    body: &[u8],
    page_fault: Option<FaultKind>,
) -> Result<Value, ApiError> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| request.get(name).and_then(Value::as_str);
    let parent = text("ParentId");
    let known = |id: &str| id == ROOT || home.organizational_units.contains_key(id);
    if parent.is_some_and(|id| !known(id)) {
        return Err(ApiError::bad_request("ParentNotFoundException", "You specified a parent that doesn't exist."));
    }
    let own = AccountDescription::default();
    let accounts = std::iter::once((&home.account_id, &own))
        .chain(&home.accounts)
        .filter(|(_, it)| it.in_organization && parent.is_none_or(|parent| it.parent == parent))
        .map(|(id, it)| {
            let mut account = json!({"Id": id, "Name": format!("account {id}"), "JoinedMethod": "CREATED"});
            if let Value::Object(fields) = &mut account {
                let state = [("State", &it.state), ("Status", &it.status)];
                fields.extend(state.into_iter().filter_map(|(name, value)| {
                    value.as_ref().map(|value| (name.to_owned(), Value::from(value.as_str())))
                }));
            }
            account
        });
    let units = home.organizational_units.iter().filter(|(_, above)| parent == Some(above.as_str()));
    let (member, all): (_, Vec<Value>) = match operation {
        Operation::ListOrganizationalUnitsForParent => {
            ("OrganizationalUnits", units.map(|(id, _)| json!({"Id": id, "Name": id})).collect())
        }
        _ => ("Accounts", accounts.collect()),
    };
    let start = text("NextToken").and_then(|token| token.parse().ok()).unwrap_or(0_usize);
    let (page, token) = page(&all, start, page_fault);
    Ok(json!({member: page, "NextToken": token}))
}

/// A page of entries, and the token of the next one.
fn page(all: &[Value], start: usize, page_fault: Option<FaultKind>) -> (Vec<&Value>, Option<String>) {
    let size = if page_fault == Some(FaultKind::EmptyPage) { 0 } else { PAGE };
    let next = start.saturating_add(size);
    let token = match page_fault {
        Some(FaultKind::SameMarker | FaultKind::EmptyPage) => Some(start),
        _ => (next < all.len()).then_some(next),
    };
    (all.iter().skip(start).take(size).collect(), token.map(|token| token.to_string()))
}

/// Which account a `ListRegions` asks about; `None` for the caller's own.
pub(crate) fn account_in(body: &[u8]) -> Option<String> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    request.get("AccountId").and_then(Value::as_str).map(str::to_owned)
}

/// A Region that no account has enabled.
const DISABLED_REGION: &str = "af-south-1";

/// The Regions that the account has enabled.
fn enabled_regions(account: &FleetDescription) -> impl Iterator<Item = &str> {
    account.enabled_regions.as_deref().unwrap_or(std::slice::from_ref(&account.region)).iter().map(String::as_str)
}

/// The answer to EC2's `DescribeRegions`.
pub(crate) fn described_regions(account: &FleetDescription, form: &Form, request_id: &str) -> String {
    let disabled = form.get("AllRegions").is_some_and(|all| all == "true").then_some(DISABLED_REGION);
    let all = enabled_regions(account).map(|name| (name, "opt-in-not-required"));
    let all = all.chain(disabled.map(|name| (name, "not-opted-in")));
    let items: Vec<String> = all
        .map(|(name, status)| {
            format!(
                "<item><regionName>{name}</regionName><regionEndpoint>ec2.{name}.amazonaws.com</regionEndpoint>\
                 <optInStatus>{status}</optInStatus></item>"
            )
        })
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <DescribeRegionsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\"><requestId>{request_id}</requestId>\
         <regionInfo>{}</regionInfo></DescribeRegionsResponse>",
        items.concat()
    )
}

/// The answer to `ListRegions`.
pub(crate) fn regions(account: &FleetDescription, body: &[u8], page_fault: Option<FaultKind>) -> Value {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let asked = request.get("RegionOptStatusContains").and_then(Value::as_array);
    let is_asked = |status: &str| asked.is_none_or(|asked| asked.iter().any(|it| it == status));
    let enabled = enabled_regions(account).map(|name| (name, "ENABLED_BY_DEFAULT"));
    let all = enabled.chain([(DISABLED_REGION, "DISABLED")]);
    let regions: Vec<Value> = all
        .filter(|(_, status)| is_asked(status))
        .map(|(name, status)| json!({"RegionName": name, "RegionOptStatus": status}))
        .collect();
    let start = request.get("NextToken").and_then(Value::as_str).and_then(|token| token.parse().ok());
    let (page, token) = page(&regions, start.unwrap_or(0), page_fault);
    json!({"Regions": page, "NextToken": token})
}
