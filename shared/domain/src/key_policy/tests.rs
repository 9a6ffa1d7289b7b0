//! The situations of key policies, and what has to hold for any.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;

const OWN: &str = "111111111111";
const KEY: &str = "arn:aws:kms:us-east-1:111111111111:key/1234abcd";

fn policy_of(statements: &Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

fn parse(policy: &Value) -> KeyPolicy {
    KeyPolicy::parse(&policy.to_string(), KEY).unwrap_or_else(|why| panic!("{why}: {policy}"))
}

/// Everybody may decrypt, under that condition.
fn everybody_if(condition: &Value) -> Value {
    json!({"Sid": "P", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:Decrypt", "Resource": "*",
        "Condition": condition})
}

fn everybody() -> Value {
    json!({"Sid": "P", "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:Decrypt", "Resource": "*"})
}

fn deny_if(condition: &Value) -> Value {
    json!({"Sid": "D", "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*", "Condition": condition})
}

fn allow(principal: &Value, action: &Value) -> Value {
    json!({"Effect": "Allow", "Principal": principal, "Action": action, "Resource": "*"})
}

fn public_of(policy: &Value) -> &'static str {
    let policy = parse(policy);
    match policy.access().public() {
        PublicAccess::Public(open) if open.iter().all(|it| it.actions.only_read()) => "public, reading",
        PublicAccess::Public(_) => "public",
        PublicAccess::Undecided(_) => "undecided",
        PublicAccess::ByWildcard(_) => "by wildcard",
        PublicAccess::No(_) => "no",
    }
}

fn trusting<T>(accounts: &[&str], organisation: Option<&str>, ask: impl FnOnce(Trusted<'_>) -> T) -> T {
    let accounts: BTreeSet<String> = accounts.iter().map(|it| (*it).to_owned()).collect();
    ask(Trusted { own_account: OWN, accounts: &accounts, organisation })
}

fn foreign_of(policy: &Value, accounts: &[&str], organisation: Option<&str>) -> Vec<String> {
    let policy = parse(policy);
    trusting(accounts, organisation, |trusted| match policy.access().foreign(trusted) {
        ForeignAccess::Foreign(foreign) => {
            let all: BTreeSet<String> =
                foreign.into_iter().flat_map(|it| [it.accounts, it.organisations].concat()).collect();
            all.into_iter().collect()
        }
        ForeignAccess::Undecided(_) => vec!["undecided".to_owned()],
        ForeignAccess::No(_) => Vec::new(),
    })
}

#[test]
fn conditions_and_whether_they_hold_everybody() {
    let role = |name: &str| format!("arn:aws:iam::111111111111:role/{name}");
    for (condition, expected) in [
        // Accounts.
        (json!({"StringEquals": {"kms:CallerAccount": OWN}}), "no"),
        (json!({"StringEquals": {"kms:callerACCOUNT": [OWN]}}), "no"),
        (json!({"StringEqualsIgnoreCase": {"aws:PrincipalAccount": OWN}}), "no"),
        (json!({"StringLike": {"kms:CallerAccount": OWN}}), "no"),
        (json!({"ForAnyValue:StringEquals": {"kms:CallerAccount": OWN}}), "no"),
        (json!({"StringEquals": {"kms:CallerAccount": 111_111_111_111_u64}}), "no"),
        (json!({"StringEquals": {"aws:PrincipalAccount": [OWN, "222222222222"]}}), "no"),
        (json!({"StringEqualsIfExists": {"aws:PrincipalAccount": OWN}}), "no"),
        (json!({"StringLike": {"kms:CallerAccount": "*"}}), "public"),
        (json!({"StringLike": {"kms:CallerAccount": [OWN, "*"]}}), "public"),
        (json!({"StringLike": {"kms:CallerAccount": "11111111111?"}}), "public"),
        (json!({"StringEquals": {"kms:CallerAccount": "${aws:PrincipalAccount}"}}), "public"),
        (json!({"StringEquals": {"kms:CallerAccount": "*"}}), "by wildcard"),
        (json!({"ForAllValues:StringEquals": {"kms:CallerAccount": OWN}}), "public"),
        (json!({"StringNotEquals": {"aws:PrincipalAccount": "222222222222"}}), "public"),
        (json!({"stringequals": {"kms:CallerAccount": OWN}}), "public"),
        (json!({"StringEquals": {"kms:CallerAccount": []}}), "public"),
        // Organisations.
        (json!({"StringEquals": {"aws:PrincipalOrgID": "o-ours"}}), "no"),
        (json!({"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-ours"}}), "public"),
        (json!({"StringLike": {"aws:PrincipalOrgID": "o-*"}}), "public"),
        (json!({"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-ours/r-1/ou-1/*"}}), "no"),
        (json!({"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": ["o-ours/*", "o-*/r-1/*"]}}), "public"),
        (json!({"ForAllValues:StringLike": {"aws:PrincipalOrgPaths": "o-ours/*"}}), "public"),
        // ARNs.
        (json!({"ArnEquals": {"aws:PrincipalArn": role("app")}}), "no"),
        (json!({"StringEquals": {"aws:PrincipalArn": role("app")}}), "no"),
        (json!({"StringLike": {"aws:PrincipalArn": role("app-*")}}), "by wildcard"),
        (json!({"ArnLike": {"aws:PrincipalArn": role("app-*")}}), "by wildcard"),
        (json!({"ArnEquals": {"aws:PrincipalArn": role("*")}}), "by wildcard"),
        (json!({"StringLike": {"aws:PrincipalArn": role("${aws:PrincipalTag/team}")}}), "by wildcard"),
        (json!({"StringEquals": {"aws:PrincipalArn": role("*")}}), "by wildcard"),
        (json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/app"}}), "public"),
        (json!({"ArnLike": {"aws:PrincipalArn": "arn:*:iam::111111111111:role/app"}}), "by wildcard"),
        (json!({"StringLike": {"aws:PrincipalArn": "arn:*:iam::111111111111:role/app"}}), "public"),
        (json!({"StringLike": {"aws:PrincipalArn": "*:111111111111:*"}}), "public"),
        (json!({"ArnLike": {"aws:SourceArn": "arn:aws:sns:us-east-1:111111111111:topic"}}), "no"),
        (json!({"ArnLike": {"aws:SourceArn": "arn:aws:s3:::bucket"}}), "public"),
        (json!({"StringEquals": {"aws:SourceAccount": OWN}}), "no"),
        (json!({"StringEquals": {"aws:SourceOrgID": "o-ours"}}), "no"),
        // Principals by their unique IDs and names.
        (json!({"StringEquals": {"aws:userid": "AIDAEXAMPLE"}}), "no"),
        (json!({"StringLike": {"aws:userid": "AROAEXAMPLE:*"}}), "no"),
        (json!({"StringLike": {"aws:userid": "AROA*"}}), "public"),
        (json!({"StringLike": {"aws:userid": "*:session"}}), "public"),
        (json!({"StringEquals": {"aws:username": "alice"}}), "public"),
        // Networks.
        (json!({"StringEquals": {"aws:SourceVpc": "vpc-1"}}), "no"),
        (json!({"StringEquals": {"aws:SourceVpce": ["vpce-1", "vpce-2"]}}), "no"),
        (json!({"StringLike": {"aws:SourceVpc": "vpc-*"}}), "public"),
        (json!({"StringEqualsIfExists": {"aws:SourceVpce": "vpce-1"}}), "public"),
        (json!({"IpAddress": {"aws:SourceIp": "8.8.8.0/24"}}), "no"),
        (json!({"IpAddress": {"aws:SourceIp": "8.8.8.8"}}), "no"),
        (json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), "public"),
        (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), "public"),
        (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/9"}}), "no"),
        (json!({"IpAddress": {"aws:SourceIp": ["10.0.0.0/16", "::/0"]}}), "public"),
        (json!({"IpAddress": {"aws:SourceIp": "2001:db8::/33"}}), "no"),
        (json!({"IpAddress": {"aws:SourceIp": "everywhere"}}), "public"),
        (json!({"NotIpAddress": {"aws:SourceIp": "8.8.8.0/24"}}), "public"),
        // What holds nobody.
        (json!({"StringEquals": {"kms:ViaService": "glue.us-east-1.amazonaws.com"}}), "public"),
        (json!({"ForAnyValue:StringEquals": {"aws:CalledVia": "s3.amazonaws.com"}}), "public"),
        (json!({"StringEquals": {"kms:EncryptionContext:app": "x"}}), "public"),
        (json!({"Bool": {"aws:SecureTransport": true}}), "public"),
        (json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}}), "public"),
        (json!({"StringEquals": {"aws:PrincipalTag/team": "x"}}), "public"),
        (json!({"StringEquals": {"aws:PrincipalType": "AssumedRole"}}), "public"),
        (json!({"StringEquals": {"aws:ResourceAccount": OWN}}), "public"),
        (json!({"StringEquals": {"aws:ResourceOrgID": "o-ours"}}), "public"),
        (json!({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}), "public"),
        (json!({"StringEquals": {"kms:RequestAlias": "alias/x"}}), "public"),
        (json!({"StringEquals": {"aws:SomethingNew": OWN}}), "public"),
        (json!({"StringResembles": {"kms:CallerAccount": OWN}}), "public"),
        (json!({"Null": {"aws:PrincipalOrgID": "false"}}), "public"),
        (json!({"DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"}}), "public"),
        (json!({}), "public"),
        // Services only.
        (json!({"Bool": {"aws:PrincipalIsAWSService": "true"}}), "no"),
        (json!({"BoolIfExists": {"aws:PrincipalIsAWSService": "true"}}), "public"),
        (json!({"Bool": {"aws:PrincipalIsAWSService": "false"}}), "public"),
        (json!({"StringEquals": {"aws:PrincipalServiceName": "cloudtrail.amazonaws.com"}}), "no"),
        // One of several is enough.
        (json!({"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com", "kms:CallerAccount": OWN}}), "no"),
        (
            json!({"StringLike": {"aws:PrincipalArn": role("app-*")}, "StringEquals": {"aws:PrincipalOrgID": "o-ours"}}),
            "no",
        ),
        (
            json!({"StringLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/x"},
                "StringEquals": {"aws:PrincipalOrgID": "o-ours"}}),
            "no",
        ),
    ] {
        let policy = policy_of(&json!([everybody_if(&condition)]));
        assert_eq!(public_of(&policy), expected, "{condition}");
    }
}

#[test]
fn a_version_without_variables_takes_them_for_text() {
    let statement = everybody_if(&json!({"StringEquals": {"kms:CallerAccount": "${aws:PrincipalAccount}"}}));
    assert_eq!(public_of(&json!({"Version": "2008-10-17", "Statement": statement})), "no");
    assert_eq!(public_of(&json!({"Statement": statement})), "no");
    let star = everybody_if(&json!({"StringLike": {"kms:CallerAccount": "${*}"}}));
    assert_eq!(public_of(&policy_of(&star)), "no");
}

#[test]
fn principals_and_actions_and_resources() {
    let root = "arn:aws:iam::111111111111:root";
    let statement = |change: &Value| {
        let mut statement = everybody();
        for (name, value) in change.as_object().unwrap() {
            if value.is_null() {
                statement.as_object_mut().unwrap().remove(name);
            } else {
                statement[name] = value.clone();
            }
        }
        statement
    };
    for (change, expected) in [
        (json!({"Principal": "*"}), "public"),
        (json!({"Principal": ["*"]}), "public"),
        (json!({"Principal": {"AWS": ["*"]}}), "public"),
        (json!({"Principal": {"AWS": [root, "*"]}}), "public"),
        (json!({"Principal": {"AWS": "arn:aws:iam::*:root"}}), "public"),
        (json!({"Principal": {"AWS": root}}), "no"),
        (json!({"Principal": {"AWS": OWN}}), "no"),
        (json!({"Principal": {"AWS": "222222222222"}}), "no"),
        (json!({"Principal": {"AWS": "AROAEXAMPLE"}}), "no"),
        (json!({"Principal": {"AWS": []}}), "no"),
        (json!({"Principal": {"Service": "s3.amazonaws.com"}}), "no"),
        (json!({"Principal": {"Federated": "arn:aws:iam::111111111111:saml-provider/x"}}), "no"),
        (json!({"Principal": {"CanonicalUser": "79a5"}}), "no"),
        (json!({"Principal": null, "NotPrincipal": {"AWS": root}}), "public"),
        (json!({"Effect": "Deny"}), "no"),
        (json!({"Action": "kms:DescribeKey"}), "public, reading"),
        (json!({"Action": ["kms:Get*", "KMS:LIST*", "kms:DescribeKey"]}), "public, reading"),
        (json!({"Action": "*"}), "public"),
        (json!({"Action": "kms:*"}), "public"),
        (json!({"Action": "KMS:decrypt"}), "public"),
        (json!({"Action": "kms:D?crypt"}), "public"),
        (json!({"Action": "kms:BrandNewAction"}), "public"),
        (json!({"Action": "s3:GetObject"}), "no"),
        (json!({"Action": []}), "no"),
        (json!({"Action": null, "NotAction": "kms:Decrypt"}), "public"),
        (json!({"Action": null, "NotAction": "kms:*"}), "no"),
        (json!({"Resource": KEY}), "public"),
        (json!({"Resource": "arn:aws:kms:us-east-1:111111111111:key/*"}), "public"),
        (json!({"Resource": "arn:aws:kms:us-east-1:111111111111:key/other"}), "no"),
        (json!({"Resource": ["arn:aws:kms:us-east-1:111111111111:key/other", "*"]}), "public"),
        (json!({"Resource": null, "NotResource": KEY}), "no"),
        (json!({"Resource": null, "NotResource": "arn:aws:kms:us-east-1:111111111111:key/other"}), "public"),
        (json!({"Resource": null}), "public"),
    ] {
        assert_eq!(public_of(&policy_of(&json!([statement(&change)]))), expected, "{change}");
        assert_eq!(public_of(&policy_of(&statement(&change))), expected, "{change}");
    }
    assert_eq!(public_of(&policy_of(&json!([]))), "no");
}

#[test]
fn denies_and_what_they_take_away() {
    let not_ours = json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-ours"}});
    let deny = |change: &Value| {
        let mut deny = json!({"Sid": "D", "Effect": "Deny", "Principal": "*", "Action": "kms:*", "Resource": "*"});
        deny.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        deny.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        deny
    };
    for (denies, expected) in [
        (vec![deny(&json!({}))], "no"),
        (vec![deny(&json!({"Action": "kms:Decrypt"}))], "no"),
        (vec![deny(&json!({"Action": "kms:Encrypt"}))], "public"),
        (vec![deny(&json!({"Action": null, "NotAction": "kms:Decrypt"}))], "public"),
        (vec![deny(&json!({"Action": null, "NotAction": "kms:Encrypt"}))], "no"),
        (vec![deny(&json!({"Resource": "arn:aws:kms:us-east-1:111111111111:key/other"}))], "public"),
        (vec![deny(&json!({"Principal": {"AWS": "222222222222"}}))], "public"),
        (vec![deny(&json!({"Principal": null, "NotPrincipal": {"AWS": OWN}}))], "undecided"),
        // Deny unless …
        (vec![deny_if(&not_ours)], "no"),
        (vec![deny_if(&json!({"StringNotEqualsIfExists": {"aws:PrincipalOrgID": "o-ours"}}))], "no"),
        (vec![deny_if(&json!({"ForAllValues:StringNotLike": {"aws:PrincipalOrgPaths": "o-ours/*"}}))], "no"),
        (vec![deny_if(&json!({"ForAnyValue:StringNotLike": {"aws:PrincipalOrgPaths": "o-ours/*"}}))], "undecided"),
        (vec![deny_if(&json!({"NotIpAddress": {"aws:SourceIp": "8.8.8.0/24"}}))], "no"),
        (vec![deny_if(&json!({"NotIpAddress": {"aws:SourceIp": "0.0.0.0/0"}}))], "undecided"),
        (
            vec![deny_if(&json!({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::111111111111:role/x-*"}}))],
            "undecided",
        ),
        (vec![deny_if(&json!({"StringNotEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}))], "undecided"),
        (
            vec![deny_if(&json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-ours"},
                "Bool": {"aws:PrincipalIsAWSService": "false"}}))],
            "no",
        ),
        (
            vec![deny_if(&json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-ours", "aws:PrincipalAccount": OWN}}))],
            "undecided",
        ),
        (vec![deny_if(&json!({"Bool": {"aws:PrincipalIsAWSService": "false"}}))], "undecided"),
        (vec![deny_if(&json!({"Null": {"aws:PrincipalOrgID": "true"}}))], "undecided"),
        // Denies that somebody from outside avoids.
        (vec![deny_if(&json!({"Bool": {"aws:SecureTransport": "false"}}))], "public"),
        (vec![deny_if(&json!({"BoolIfExists": {"aws:MultiFactorAuthPresent": false}}))], "public"),
        (vec![deny_if(&json!({"StringEquals": {"aws:PrincipalAccount": "222222222222"}}))], "public"),
        (vec![deny_if(&json!({"IpAddress": {"aws:SourceIp": "8.8.8.0/24"}}))], "public"),
        (vec![deny_if(&json!({"Bool": {"aws:SecureTransport": "true"}}))], "undecided"),
        (vec![deny_if(&json!({"StringEquals": {"aws:ResourceAccount": OWN}}))], "undecided"),
        (vec![deny_if(&json!({"StringLike": {"aws:PrincipalArn": "*"}}))], "undecided"),
        (vec![deny_if(&json!({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}))], "undecided"),
        (vec![deny_if(&json!({"StringNew": {"aws:PrincipalAccount": "222222222222"}}))], "undecided"),
        // Each can be avoided, both cannot.
        (
            vec![
                deny_if(&json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}})),
                deny_if(&json!({"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}})),
            ],
            "undecided",
        ),
        // What is left counts.
        (
            vec![deny_if(&json!({"Null": {"aws:PrincipalOrgID": "true"}})), deny(&json!({"Action": "kms:Decrypt"}))],
            "no",
        ),
    ] {
        let mut statements = vec![everybody()];
        statements.extend(denies.clone());
        assert_eq!(public_of(&policy_of(&json!(statements))), expected, "{denies:?}");
        statements.reverse();
        assert_eq!(public_of(&policy_of(&json!(statements))), expected, "{denies:?}");
    }
    // What the Allow asks for, the Deny may refuse.
    let tagged = json!({"StringEquals": {"aws:PrincipalTag/team": "x"}});
    assert_eq!(public_of(&policy_of(&json!([everybody_if(&tagged), deny_if(&tagged)]))), "undecided");
}

#[test]
fn what_is_no_policy_is_unreadable() {
    let with = |change: &Value| {
        let mut statement = everybody();
        statement.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        statement.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        policy_of(&json!([statement])).to_string()
    };
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for text in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "\"text\"".to_owned(),
        "null".to_owned(),
        nested,
        "{}".to_owned(),
        r#"{"Statement": "none"}"#.to_owned(),
        r#"{"Statement": [1]}"#.to_owned(),
        r#"{"Statement": null}"#.to_owned(),
        json!({"Version": "2030-01-01", "Statement": []}).to_string(),
        json!({"Version": 2012, "Statement": []}).to_string(),
        with(&json!({"Principal": null})),
        with(&json!({"NotPrincipal": "*"})),
        with(&json!({"Principal": {"AWS": {"AWS": "*"}}})),
        with(&json!({"Principal": {"Alien": "x"}})),
        with(&json!({"Effect": "Maybe"})),
        with(&json!({"Effect": null})),
        with(&json!({"Effect": ["Allow"]})),
        with(&json!({"Action": null})),
        with(&json!({"NotAction": "kms:Decrypt"})),
        with(&json!({"Action": {"a": "b"}})),
        with(&json!({"Action": [["kms:Decrypt"]]})),
        with(&json!({"NotResource": "*"})),
        with(&json!({"Condition": "never"})),
        with(&json!({"Condition": {"StringEquals": "never"}})),
        with(&json!({"Condition": {"StringEquals": {"kms:CallerAccount": {"a": "b"}}}})),
        with(&json!({"Condition": {"StringEquals": {"kms:CallerAccount": [null]}}})),
        with(&json!({"condition": {"StringEquals": {"kms:CallerAccount": OWN}}})),
    ] {
        let why = KeyPolicy::parse(&text, KEY);
        assert!(why.is_err(), "{text}");
    }
    let why = KeyPolicy::parse(&with(&json!({"Effect": "Maybe"})), KEY).unwrap_err();
    assert_eq!(why.to_string(), "statement `P`: has neither the `Effect` Allow nor Deny");
}

#[test]
fn what_is_odd_is_read() {
    let mut many: Vec<String> = (0..2_000).map(|n| format!("arn:aws:iam::{n:012}:role/r")).collect();
    many.push("*".to_owned());
    let statement = |sid: &str| json!({"Sid": sid, "Effect": "Allow", "Principal": {"AWS": many}, "Action": "kms:*"});
    for (policy, expected) in [
        (policy_of(&json!([statement("A"), statement("A")])), "public"),
        (
            policy_of(
                &json!([{"Sid": "日本語\u{202e}", "Effect": "Allow", "Principal": "*", "Action": "kms:Entschlüsseln"}]),
            ),
            "public",
        ),
        (policy_of(&json!([{"Sid": "", "Effect": "Allow", "Principal": {}, "Action": "kms:*"}])), "no"),
        (json!({"Id": 7, "Other": [], "Statement": [everybody()]}), "public"),
    ] {
        assert_eq!(public_of(&policy), expected);
    }
}

#[test]
fn foreigners() {
    let foreign = "222222222222";
    let account = |id: &str| format!("arn:aws:iam::{id}:root");
    let nobody: &[&str] = &[];
    let two = &[foreign][..];
    let statement = |principal: &Value| policy_of(&json!([allow(principal, &json!("kms:Decrypt"))]));
    for (policy, trusted, organisation, expected) in [
        (statement(&json!({"AWS": account(OWN)})), nobody, None, &[][..]),
        (statement(&json!({"AWS": foreign})), nobody, None, two),
        (statement(&json!({"AWS": account(foreign)})), nobody, None, two),
        (statement(&json!({"AWS": "arn:aws:iam::222222222222:role/x"})), nobody, None, two),
        (statement(&json!({"AWS": "arn:aws:sts::222222222222:assumed-role/x/y"})), nobody, None, two),
        (statement(&json!({"AWS": foreign})), two, None, &[]),
        (statement(&json!({"AWS": "AROAEXAMPLE"})), nobody, None, &[]),
        (statement(&json!({"Service": "s3.amazonaws.com"})), nobody, None, &[]),
        (statement(&json!({"CanonicalUser": "79a5"})), nobody, None, &["undecided"]),
        (policy_of(&json!([everybody()])), nobody, None, &[]),
        (policy_of(&everybody_if(&json!({"StringEquals": {"kms:CallerAccount": OWN}}))), nobody, None, &[]),
        (policy_of(&everybody_if(&json!({"StringEquals": {"kms:CallerAccount": [OWN, foreign]}}))), nobody, None, two),
        (policy_of(&everybody_if(&json!({"StringEquals": {"kms:CallerAccount": [OWN, foreign]}}))), two, None, &[]),
        (
            policy_of(&everybody_if(&json!({"StringEquals": {"kms:CallerAccount": [OWN, foreign],
                "aws:PrincipalAccount": [OWN, "333333333333"]}}))),
            nobody,
            None,
            &[],
        ),
        (policy_of(&everybody_if(&json!({"StringEquals": {"aws:PrincipalOrgID": "o-x"}}))), nobody, None, &["o-x"]),
        (policy_of(&everybody_if(&json!({"StringEquals": {"aws:PrincipalOrgID": "o-x"}}))), nobody, Some("o-x"), &[]),
        (
            policy_of(&everybody_if(&json!({"StringEquals": {"aws:PrincipalOrgID": "o-x", "kms:CallerAccount": OWN}}))),
            nobody,
            None,
            &[],
        ),
        (
            policy_of(&everybody_if(&json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::222222222222:role/x-*"}}))),
            nobody,
            None,
            two,
        ),
        (policy_of(&everybody_if(&json!({"IpAddress": {"aws:SourceIp": "8.8.8.0/24"}}))), nobody, None, &[]),
        // A foreign account within our organisation is at home.
        (
            policy_of(&json!([{"Effect": "Allow", "Principal": {"AWS": foreign}, "Action": "kms:Decrypt",
                "Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-x"}}}])),
            nobody,
            Some("o-x"),
            &[],
        ),
        (
            policy_of(&json!([
                allow(&json!({"AWS": foreign}), &json!("kms:Decrypt")),
                deny_if(&json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-x"}}))
            ])),
            nobody,
            Some("o-x"),
            &[],
        ),
        (
            policy_of(&json!([allow(&json!({"AWS": foreign}), &json!("kms:Decrypt")),
                {"Effect": "Deny", "Principal": {"AWS": foreign}, "Action": "kms:*", "Resource": "*"}])),
            nobody,
            None,
            &[],
        ),
        (
            policy_of(&json!([allow(&json!({"AWS": "arn:aws:iam::222222222222:role/x"}), &json!("kms:Decrypt")),
                {"Effect": "Deny", "Principal": {"AWS": foreign}, "Action": "kms:*", "Resource": "*"}])),
            nobody,
            None,
            &["undecided"],
        ),
        (
            policy_of(&json!([
                allow(&json!({"AWS": foreign}), &json!("kms:Decrypt")),
                deny_if(&json!({"Bool": {"aws:SecureTransport": "false"}}))
            ])),
            nobody,
            None,
            two,
        ),
        // Open to everybody, unless the Deny closes it.
        (
            policy_of(&json!([everybody(), deny_if(&json!({"Null": {"aws:PrincipalOrgID": "true"}}))])),
            nobody,
            None,
            &["undecided"],
        ),
    ] {
        assert_eq!(foreign_of(&policy, trusted, organisation), expected, "{policy}");
    }
}

#[test]
fn services_and_for_whom_they_act() {
    let s3 = |condition: &Value| {
        policy_of(&json!([{"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "kms:Decrypt",
            "Condition": condition}]))
    };
    for (policy, expected) in [
        (s3(&json!({})), (1, 0)),
        (s3(&json!({"StringEquals": {"aws:SourceAccount": OWN}})), (0, 0)),
        (s3(&json!({"StringEquals": {"kms:CallerAccount": OWN}})), (0, 0)),
        (s3(&json!({"StringEqualsIfExists": {"aws:SourceAccount": OWN}})), (1, 0)),
        (s3(&json!({"StringEqualsIfExists": {"kms:CallerAccount": OWN}})), (1, 0)),
        (s3(&json!({"StringLike": {"aws:SourceAccount": "*"}})), (1, 0)),
        (s3(&json!({"ArnLike": {"aws:SourceArn": "arn:aws:s3:::bucket"}})), (1, 0)),
        (s3(&json!({"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:111111111111:*"}})), (0, 0)),
        (s3(&json!({"StringEquals": {"aws:SourceOrgID": "o-x"}})), (0, 0)),
        (s3(&json!({"ForAnyValue:StringLike": {"aws:SourceOrgPaths": "o-x/*"}})), (0, 0)),
        (s3(&json!({"StringEquals": {"aws:PrincipalOrgID": "o-x"}})), (1, 0)),
        (
            s3(
                &json!({"StringLike": {"kms:EncryptionContext:aws:cloudtrail:arn": "arn:aws:cloudtrail:*:111111111111:*"}}),
            ),
            (0, 0),
        ),
        (
            s3(
                &json!({"StringLike": {"kms:EncryptionContext:aws:cloudtrail:arn": "arn:aws:cloudtrail:*:222222222222:*"}}),
            ),
            (1, 0),
        ),
        (s3(&json!({"StringLike": {"kms:EncryptionContext:mine": OWN}})), (1, 0)),
        (policy_of(&allow(&json!({"Service": "s3.amazonaws.com"}), &json!("kms:DescribeKey"))), (0, 0)),
        (policy_of(&everybody_if(&json!({"Bool": {"aws:PrincipalIsAWSService": "true"}}))), (1, 0)),
        (
            policy_of(&json!([
                allow(&json!({"Service": "s3.amazonaws.com"}), &json!("kms:Decrypt")),
                deny_if(&json!({"StringNotEquals": {"aws:SourceAccount": OWN}}))
            ])),
            (0, 0),
        ),
        (
            policy_of(&json!([
                allow(&json!({"Service": "s3.amazonaws.com"}), &json!("kms:Decrypt")),
                deny_if(&json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-x"},
                    "Bool": {"aws:PrincipalIsAWSService": "false"}}))
            ])),
            (1, 0),
        ),
        (
            policy_of(&json!([
                allow(&json!({"Service": "s3.amazonaws.com"}), &json!("kms:Decrypt")),
                deny_if(&json!({"StringNotEqualsIfExists": {"aws:SourceOrgID": "o-x"},
                    "Bool": {"aws:PrincipalIsAWSService": "true"}}))
            ])),
            (0, 1),
        ),
        (
            policy_of(&json!([
                allow(&json!({"Service": "s3.amazonaws.com"}), &json!("kms:Decrypt")),
                deny_if(&json!({"Bool": {"aws:SecureTransport": "false"}}))
            ])),
            (1, 0),
        ),
    ] {
        let read = parse(&policy);
        let found = trusting(&[], None, |trusted| {
            let access = read.access();
            let found = access.sourceless_services(trusted);
            (found.sure.len(), found.undecided.len())
        });
        assert_eq!(found, expected, "{policy}");
    }
}

#[test]
fn who_administers_and_uses() {
    let admin = json!({"AWS": "arn:aws:iam::111111111111:role/admin"});
    let administering = allow(&admin, &json!(["kms:Put*", "kms:ScheduleKeyDeletion"]));
    let using = allow(&admin, &json!(["kms:Decrypt", "kms:DescribeKey"]));
    let deny = |condition: &Value| {
        let mut deny =
            json!({"Sid": "D", "Effect": "Deny", "Principal": admin, "Action": "kms:Decrypt", "Resource": "*"});
        if !condition.is_null() {
            deny["Condition"] = condition.clone();
        }
        deny
    };
    let grants = json!({"Effect": "Allow", "Principal": admin, "Action": ["kms:CreateGrant", "kms:RevokeGrant"],
        "Condition": {"Bool": {"kms:GrantIsForAWSResource": "true"}}});
    for (statements, expected) in [
        (json!([allow(&json!({"AWS": OWN}), &json!("kms:*"))]), "none"),
        (json!([allow(&json!({"AWS": "AROAEXAMPLE"}), &json!("kms:*"))]), "none"),
        (json!([administering]), "none"),
        (json!([using]), "none"),
        (json!([administering, using]), "both"),
        (json!([allow(&admin, &json!("kms:*"))]), "full"),
        (json!([allow(&admin, &json!("*"))]), "full"),
        (json!([using, grants]), "none"),
        (json!([administering, grants]), "both"),
        (json!([using, allow(&admin, &json!("kms:CreateGrant"))]), "both"),
        (json!([allow(&admin, &json!("kms:*")), deny(&Value::Null)]), "full"),
        (json!([administering, using, deny(&Value::Null)]), "none"),
        (json!([administering, using, deny(&json!({"Null": {"kms:ViaService": "true"}}))]), "undecided"),
        (json!([administering, using, deny(&json!({"Bool": {"aws:SecureTransport": "false"}}))]), "both"),
    ] {
        let policy = policy_of(&statements);
        let found = parse(&policy);
        let found = found.access().administrators();
        let found = match found.as_slice() {
            [] => "none",
            [one] if !one.doubts.is_empty() => "undecided",
            [one] if one.has_full_access => "full",
            [_] => "both",
            _ => "many",
        };
        assert_eq!(found, expected, "{policy}");
    }
}

#[test]
fn who_can_change_the_policy() {
    let dead = json!({"AWS": ["AROAEXAMPLE", "AIDAEXAMPLE"]});
    let locked = |ids: &[&str]| Manageability::LockedOut(ids.iter().map(|it| (*it).to_owned()).collect());
    let undecided = |number| Manageability::Undecided(vec![Label { number, sid: Some("D".to_owned()) }]);
    let own = || allow(&json!({"AWS": OWN}), &json!("kms:*"));
    for (statements, expected) in [
        (json!([own()]), Manageability::Manageable),
        (
            json!([allow(&json!({"AWS": "arn:aws:iam::111111111111:user/a"}), &json!("kms:PutKeyPolicy"))]),
            Manageability::Manageable,
        ),
        (json!([allow(&dead, &json!("kms:*"))]), locked(&["AIDAEXAMPLE", "AROAEXAMPLE"])),
        (json!([allow(&json!({"AWS": "222222222222"}), &json!("kms:*"))]), locked(&[])),
        (json!([allow(&json!({"AWS": OWN}), &json!("kms:Decrypt"))]), locked(&[])),
        (json!([]), locked(&[])),
        (json!([allow(&json!("*"), &json!("kms:*"))]), Manageability::Manageable),
        (json!([own(), {"Effect": "Deny", "Principal": "*", "Action": "kms:Put*", "Resource": "*"}]), locked(&[])),
        (
            json!([own(), deny_if(&json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-x"}}))]),
            Manageability::Manageable,
        ),
        (json!([own(), deny_if(&json!({"StringNotEquals": {"aws:PrincipalAccount": "222222222222"}}))]), locked(&[])),
        (json!([own(), deny_if(&json!({"Null": {"kms:ViaService": "true"}}))]), undecided(2)),
        (
            json!([own(), deny_if(&json!({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::111111111111:role/x"}}))]),
            Manageability::Manageable,
        ),
    ] {
        let policy = policy_of(&statements);
        assert_eq!(parse(&policy).access().manageability(OWN), expected, "{policy}");
    }
}

#[test]
fn the_reason_names_what_holds_nobody() {
    let why = |condition: &Value| {
        let policy = parse(&policy_of(&everybody_if(condition)));
        let access = policy.access();
        access.admissions()[0].why_open()
    };
    assert_eq!(why(&json!({})), "without a condition");
    assert_eq!(why(&json!({"StringEquals": {"kms:ViaService": "s3"}})), "since `kms:ViaService` restricts no caller");
    assert_eq!(
        why(&json!({"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}})),
        "since `StringEqualsIfExists` holds where `aws:SourceVpc` is absent"
    );
}

/// The tests of others, in our form: see `docs/access.md`.
#[test]
fn the_situations_that_others_test() {
    let own = || allow(&json!({"AWS": format!("arn:aws:iam::{OWN}:root")}), &json!("kms:*"));
    let grants = json!({"kms:GrantOperations": ["Encrypt", "ReEncryptTo"]});
    let via = json!("s3.af-south-1.amazonaws.com");
    for (statements, expected) in [
        (json!([own()]), "no"),
        (json!([allow(&json!("*"), &json!("kms:*"))]), "public"),
        (json!([own(), allow(&json!("*"), &json!("kms:Encrypt"))]), "public"),
        (
            json!([own(), {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:CreateGrant", "Resource": "*",
                "Condition": {"StringEquals": {"kms:CallerAccount": OWN}}}]),
            "no",
        ),
        (
            json!([own(), {"Effect": "Allow", "Principal": {"AWS": OWN}, "Action": "kms:Encrypt", "Resource": "*",
                "Condition": {"StringEquals": {"kms:ViaService": via}, "ForAllValues:StringEquals": grants}}]),
            "no",
        ),
        (
            json!([own(), {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "kms:Encrypt", "Resource": "*",
                "Condition": {"StringEquals": {"kms:ViaService": via, "kms:CallerAccount": "*"},
                    "ForAllValues:StringEquals": grants}}]),
            "by wildcard",
        ),
    ] {
        assert_eq!(public_of(&policy_of(&statements)), expected, "{statements}");
    }
}
