//! The key policy that a new key gets: generated for its purpose, or the request's own, judged as access-checker judges.
//!
//! A policy that is generated delegates to the account's IAM, tells administration and use apart, and names no AWS service
//! as a principal: a service would act for anybody. It acts for the account's own callers (`kms:ViaService` with
//! `kms:CallerAccount`), or by a grant that somebody who uses the key gives it.

use std::collections::BTreeSet;

use domain::key_policy::{ForeignAccess, KeyPolicy, Manageability, PublicAccess, Trusted};
use domain::location::Location;
use serde_json::{Value, json};

use crate::request::{InvalidRequest, NewKey, PrincipalArn, Purpose};

/// What administers a key and does not use it. `kms:CreateGrant` is not among it: by a grant one gives oneself the use.
const ADMINISTRATION: [&str; 22] = [
    "kms:CancelKeyDeletion",
    "kms:CreateAlias",
    "kms:DeleteAlias",
    "kms:DescribeKey",
    "kms:DisableKey",
    "kms:DisableKeyRotation",
    "kms:EnableKey",
    "kms:EnableKeyRotation",
    "kms:GetKeyLastUsage",
    "kms:GetKeyPolicy",
    "kms:GetKeyRotationStatus",
    "kms:ListGrants",
    "kms:ListKeyRotations",
    "kms:ListResourceTags",
    "kms:PutKeyPolicy",
    "kms:RevokeGrant",
    "kms:RotateKeyOnDemand",
    "kms:ScheduleKeyDeletion",
    "kms:TagResource",
    "kms:UntagResource",
    "kms:UpdateAlias",
    "kms:UpdateKeyDescription",
];

/// What uses a symmetric encryption key.
const SYMMETRIC_USE: [&str; 5] =
    ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"];

/// The policy of a new key in the Region of `location`, as compact JSON.
pub fn policy_of(key: &NewKey, location: &Location) -> String {
    match (&key.policy, key.purpose) {
        (Some(policy), _) => policy.text(),
        (None, purpose) => generated(purpose.unwrap_or(Purpose::Application), key, location).to_string(),
    }
}

/// Is the policy one that a key may get?
///
/// # Errors
/// It cannot be read, opens the key to everybody, admits an account that is not trusted, or locks the account out.
pub fn judge(policy: &str, location: &Location, trusted: Trusted<'_>) -> Result<(), InvalidRequest> {
    let refuse = |problem: String| Err(InvalidRequest::new("policy", problem));
    // The key has no ARN yet: its policy can name it only by a wildcard.
    let arn = location.key_arn("00000000-0000-0000-0000-000000000000");
    let policy = match KeyPolicy::parse(policy, &arn) {
        Ok(policy) => policy,
        Err(why) => return refuse(format!("cannot be judged: {why}")),
    };
    let access = policy.access();
    let statements = |admissions: &[&domain::key_policy::Admission<'_>]| {
        let mut labels: Vec<String> = admissions.iter().map(|it| it.label().to_string()).collect();
        labels.dedup();
        labels.join(", ")
    };
    match access.public() {
        PublicAccess::Public(open) => return refuse(format!("opens the key to everybody: {}", statements(&open))),
        PublicAccess::ByWildcard(open) => {
            return refuse(format!("admits everybody whom a wildcard fits: {}", statements(&open)));
        }
        PublicAccess::Undecided(open) => {
            return refuse(format!("may open the key to everybody, which cannot be decided: {}", statements(&open)));
        }
        PublicAccess::No(_) => {}
    }
    match access.foreign(trusted) {
        ForeignAccess::Foreign(foreign) => {
            let who: BTreeSet<&String> =
                foreign.iter().flat_map(|it| it.accounts.iter().chain(&it.organisations)).collect();
            let who: Vec<&str> = who.into_iter().map(String::as_str).collect();
            let labels = statements(&foreign.iter().map(|it| it.admission).collect::<Vec<_>>());
            return refuse(format!("admits {}, which is not trusted: {labels}", who.join(", ")));
        }
        ForeignAccess::Undecided(open) => {
            return refuse(format!(
                "may admit somebody who is not trusted, which cannot be decided: {}",
                statements(&open)
            ));
        }
        ForeignAccess::No(_) => {}
    }
    match access.manageability(trusted.own_account) {
        Manageability::Manageable => Ok(()),
        Manageability::Undecided(_) => refuse("may lock the account out, which cannot be decided".to_owned()),
        Manageability::LockedOut(_) => {
            refuse("locks the account out: nobody of it could change the policy again".to_owned())
        }
    }
}

fn generated(purpose: Purpose, key: &NewKey, location: &Location) -> Value {
    let Location { partition, region, account_id } = location;
    let mut statements = vec![json!({
        "Sid": "Account",
        "Effect": "Allow",
        "Principal": {"AWS": format!("arn:{partition}:iam::{account_id}:root")},
        "Action": "kms:*",
        "Resource": "*",
    })];
    let principals = &key.principals;
    if !principals.administrators.is_empty() {
        statements.push(json!({
            "Sid": "Administer",
            "Effect": "Allow",
            "Principal": {"AWS": arns(&principals.administrators)},
            "Action": ADMINISTRATION,
            "Resource": "*",
        }));
    }
    match purpose {
        Purpose::Application if principals.users.is_empty() => {}
        Purpose::Application => {
            statements.push(json!({
                "Sid": "Use",
                "Effect": "Allow",
                "Principal": {"AWS": arns(&principals.users)},
                "Action": uses(&key.key_spec, key.usage()),
                "Resource": "*",
            }));
            if key.key_spec == domain::creation::SYMMETRIC_DEFAULT {
                statements.push(json!({
                    "Sid": "GrantToAwsServices",
                    "Effect": "Allow",
                    "Principal": {"AWS": arns(&principals.users)},
                    "Action": ["kms:CreateGrant", "kms:ListGrants", "kms:RevokeGrant"],
                    "Resource": "*",
                    "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}},
                }));
            }
        }
        Purpose::Database => statements.extend(through("Rds", "rds", region, account_id, &principals.users)),
        Purpose::Backup => statements.extend(through("Backup", "backup", region, account_id, &principals.users)),
    }
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Use through one service: by the users named, or else by whoever of the account may use the service.
fn through(name: &str, service: &str, region: &str, account: &str, users: &[PrincipalArn]) -> [Value; 2] {
    let principal = if users.is_empty() { json!("*") } else { json!(arns(users)) };
    let callers = json!({
        "kms:CallerAccount": account,
        "kms:ViaService": [format!("{service}.{region}.amazonaws.com"), format!("{service}.{region}.amazonaws.com.cn")],
    });
    [
        json!({
            "Sid": format!("UseThrough{name}"),
            "Effect": "Allow",
            "Principal": {"AWS": principal},
            "Action": SYMMETRIC_USE,
            "Resource": "*",
            "Condition": {"StringEquals": callers},
        }),
        json!({
            "Sid": format!("GrantThrough{name}"),
            "Effect": "Allow",
            "Principal": {"AWS": principal},
            "Action": "kms:CreateGrant",
            "Resource": "*",
            "Condition": {"StringEquals": callers, "Bool": {"kms:GrantIsForAWSResource": "true"}},
        }),
    ]
}

/// What uses a key of that spec and usage.
fn uses(spec: &str, usage: &str) -> &'static [&'static str] {
    match usage {
        "SIGN_VERIFY" => &["kms:DescribeKey", "kms:GetPublicKey", "kms:Sign", "kms:Verify"],
        "GENERATE_VERIFY_MAC" => &["kms:DescribeKey", "kms:GenerateMac", "kms:VerifyMac"],
        "KEY_AGREEMENT" => &["kms:DeriveSharedSecret", "kms:DescribeKey", "kms:GetPublicKey"],
        "ENCAPSULATE_DECAPSULATE" => &["kms:Decapsulate", "kms:DescribeKey", "kms:Encapsulate", "kms:GetPublicKey"],
        _ if spec == domain::creation::SYMMETRIC_DEFAULT => &SYMMETRIC_USE,
        _ => &["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GetPublicKey", "kms:ReEncrypt*"],
    }
}

fn arns(principals: &[PrincipalArn]) -> Vec<&str> {
    principals.iter().map(PrincipalArn::as_str).collect()
}
