//! What holds for any key policy, and what an evaluator that others keep says of the same policies.
//!
//! The evaluator answers whether one given request is allowed. "Is the key public?" becomes: is there a request by somebody
//! from outside that it allows? All that such a caller can choose is tried.

#![expect(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test binary")]

use std::collections::{BTreeMap, BTreeSet};

use domain::key_policy::{ForeignAccess, KeyPolicy, PublicAccess, Trusted};
use iam_rs::{Arn, Context, Decision, IAMPolicy, IAMRequest, PolicyEvaluator, Principal, PrincipalId};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

const OWN: &str = "111111111111";
const KEY: &str = "arn:aws:kms:us-east-1:111111111111:key/1234abcd";
const ACTIONS: [&str; 4] = ["kms:Decrypt", "kms:DescribeKey", "kms:PutKeyPolicy", "kms:CreateGrant"];

/// Public, or not known to be closed: the two that a change must not lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Public,
    Undecided,
    ByWildcard,
    No,
}

fn answer(policy: &Value) -> Answer {
    let policy = KeyPolicy::parse(&policy.to_string(), KEY).unwrap_or_else(|why| panic!("{why}: {policy}"));
    match policy.access().public() {
        PublicAccess::Public(_) => Answer::Public,
        PublicAccess::Undecided(_) => Answer::Undecided,
        PublicAccess::ByWildcard(_) => Answer::ByWildcard,
        PublicAccess::No(_) => Answer::No,
    }
}

const STRINGS: &[&str] = &[
    "StringEquals",
    "StringEqualsIgnoreCase",
    "StringLike",
    "StringEqualsIfExists",
    "StringNotEquals",
    "StringNotLike",
    "StringNotEqualsIfExists",
];
const ARNS: &[&str] = &["ArnEquals", "ArnLike", "StringLike", "StringEquals", "ArnNotEquals", "ArnLikeIfExists"];

fn condition() -> impl Strategy<Value = (String, String, Vec<String>)> {
    let of = |operators: &'static [&'static str], keys: &'static [&'static str], values: &'static [&'static str]| {
        let values = prop::collection::vec(prop::sample::select(values), 1..3);
        (prop::sample::select(operators), prop::sample::select(keys), values).prop_map(|(operator, key, values)| {
            (operator.to_owned(), key.to_owned(), values.into_iter().map(str::to_owned).collect())
        })
    };
    prop_oneof![
        of(STRINGS, &["kms:CallerAccount", "aws:PrincipalAccount"], &[OWN, "222222222222", "*", "11111111111?"]),
        of(STRINGS, &["aws:PrincipalOrgID"], &["o-ours", "o-others", "o-*"]),
        of(
            ARNS,
            &["aws:PrincipalArn"],
            &[
                "arn:aws:iam::111111111111:role/app",
                "arn:aws:iam::111111111111:role/app-*",
                "arn:aws:iam::*:role/app",
                "arn:aws:iam::222222222222:role/x",
            ]
        ),
        of(STRINGS, &["aws:userid"], &["AROAEXAMPLE:*", "AIDAEXAMPLE", "*:session"]),
        of(STRINGS, &["aws:SourceVpc"], &["vpc-1", "vpc-*"]),
        of(&["IpAddress", "NotIpAddress"], &["aws:SourceIp"], &["8.8.8.0/24", "0.0.0.0/0", "203.0.113.0/24"]),
        of(STRINGS, &["kms:ViaService"], &["s3.us-east-1.amazonaws.com", "ec2.us-east-1.amazonaws.com"]),
        of(STRINGS, &["kms:EncryptionContext:app", "aws:PrincipalTag/team"], &["x", "y"]),
        of(STRINGS, &["aws:ResourceAccount"], &[OWN]),
        of(&["Bool"], &["aws:SecureTransport", "aws:MultiFactorAuthPresent"], &["true", "false"]),
    ]
}

/// One value stands alone, and no value twice.
fn few(values: Vec<String>) -> Value {
    let values: BTreeSet<String> = values.into_iter().collect();
    match Vec::from_iter(values).as_slice() {
        [only] => json!(only),
        values => json!(values),
    }
}

fn statement() -> impl Strategy<Value = Value> {
    let principal = prop_oneof![
        4 => Just(json!("*")),
        2 => Just(json!({"AWS": "*"})),
        1 => Just(json!({"AWS": "arn:aws:iam::111111111111:root"})),
        1 => Just(json!({"AWS": "arn:aws:iam::222222222222:role/x"})),
        1 => Just(json!({"Service": "s3.amazonaws.com"})),
    ];
    let action = prop_oneof![
        2 => Just(json!("kms:*")),
        2 => Just(json!("kms:Decrypt")),
        1 => Just(json!(["kms:De*", "kms:Put*"])),
    ];
    let effect = prop_oneof![3 => Just("Allow"), 1 => Just("Deny")];
    (effect, principal, action, prop::collection::vec(condition(), 0..3)).prop_map(
        |(effect, principal, action, conditions)| {
            let mut statement = json!({"Effect": effect, "Principal": principal, "Action": action, "Resource": "*"});
            if !conditions.is_empty() {
                let mut block: BTreeMap<String, BTreeMap<String, Vec<String>>> = BTreeMap::new();
                for (operator, key, values) in conditions {
                    block.entry(operator).or_default().insert(key, values);
                }
                let block: BTreeMap<_, BTreeMap<_, _>> = block
                    .into_iter()
                    .map(|(operator, keys)| (operator, keys.into_iter().map(|(key, it)| (key, few(it))).collect()))
                    .collect();
                statement["Condition"] = json!(block);
            }
            statement
        },
    )
}

fn policy() -> impl Strategy<Value = Value> {
    prop::collection::vec(statement(), 1..5)
        .prop_map(|statements| json!({"Version": "2012-10-17", "Statement": statements}))
}

fn with(policy: &Value, change: impl FnOnce(&mut Vec<Value>)) -> Value {
    let mut policy = policy.clone();
    change(policy["Statement"].as_array_mut().unwrap());
    policy
}

/// Members in the opposite order do not exist in this form; lists and single values do.
fn turned(value: &Value) -> Value {
    match value {
        Value::Array(values) => match values.as_slice() {
            [Value::String(only)] => json!(only),
            values => Value::Array(values.iter().rev().map(turned).collect()),
        },
        Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), turned(value))).collect(),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(Config::with_cases(1_000))]

    #[test]
    fn a_deny_more_never_makes_it_more_public(policy in policy(), mut deny in statement()) {
        deny["Effect"] = json!("Deny");
        let (before, after) = (answer(&policy), answer(&with(&policy, |statements| statements.push(deny))));
        prop_assert!(after != Answer::Public || before == Answer::Public, "{before:?} {after:?}");
        prop_assert!(after == Answer::No || before != Answer::No, "{before:?} {after:?}");
    }

    #[test]
    fn a_condition_more_never_makes_it_more_public(policy in policy(), place in 0_usize..4, more in condition()) {
        let narrowed = with(&policy, |statements| {
            let place = place % statements.len();
            let statement = &mut statements[place];
            let (operator, key, values) = more;
            if statement["Effect"] == "Allow" && statement["Condition"][&operator][&key].is_null() {
                statement["Condition"][operator][key] = json!(values);
            }
        });
        let (before, after) = (answer(&policy), answer(&narrowed));
        prop_assert!(after != Answer::Public || before == Answer::Public, "{before:?} {after:?}");
        prop_assert!(after == Answer::No || before != Answer::No, "{before:?} {after:?}");
    }

    #[test]
    fn order_and_lists_of_one_never_matter(policy in policy()) {
        prop_assert_eq!(answer(&policy), answer(&turned(&policy)));
    }

    /// Any JSON is a policy or unreadable, and every question about it has an answer.
    #[test]
    fn any_text_has_an_answer(text in odd_policy()) {
        let accounts = BTreeSet::new();
        let trusted = Trusted { own_account: OWN, accounts: &accounts, organisation: None };
        if let Ok(policy) = KeyPolicy::parse(&text, KEY) {
            let access = policy.access();
            let _ = (access.public(), access.foreign(trusted), access.sourceless_services(trusted));
            let _ = (access.administrators(), access.manageability(OWN));
            for admission in access.admissions() {
                let _ = (admission.why_open(), admission.actions.names(), admission.purposes());
            }
        }
    }
}

/// JSON with the words of policies in all places.
fn odd_policy() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "*",
        "kms:*",
        "kms:Decrypt",
        "Allow",
        "Deny",
        "2012-10-17",
        "AWS",
        "Service",
        "StringEquals",
        "ForAnyValue:StringLike",
        "kms:CallerAccount",
        "aws:PrincipalArn",
        "aws:SourceIp",
        "arn:aws:iam::111111111111:root",
        "arn:::::",
        "${",
        "${aws:x}",
        "0.0.0.0/0",
        "::/0",
        "o-x/*",
        "AROA",
        "日本\u{202e}",
        "",
        "Bool",
        "Null",
        "NotIpAddress",
    ]);
    let name = prop::sample::select(vec![
        "Statement",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
        "Sid",
        "Version",
        "AWS",
        "Service",
        "StringLike",
        "ArnNotLike",
        "IpAddress",
        "BoolIfExists",
        "kms:CallerAccount",
        "aws:userid",
        "aws:PrincipalArn",
        "aws:SourceIp",
        "aws:PrincipalOrgPaths",
    ]);
    let leaf = prop_oneof![
        6 => word.prop_map(|it| json!(it)),
        1 => any::<i64>().prop_map(|it| json!(it)),
        1 => any::<bool>().prop_map(|it| json!(it)),
        1 => Just(Value::Null),
        1 => ".{0,12}".prop_map(|it| json!(it)),
    ];
    let tree = leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
        ]
    });
    let spoilt = (
        statement(),
        prop::sample::select(vec!["Effect", "Principal", "Action", "Resource", "Condition", "Sid"]),
        tree.clone(),
    )
        .prop_map(|(mut statement, member, value)| {
            statement[member] = value;
            json!({"Version": "2012-10-17", "Statement": [statement]})
        });
    prop_oneof![tree, spoilt].prop_map(|value| value.to_string())
}

// ---- What the other evaluator says --------------------------------------------------------------------------------------

/// A caller: what it is, by the keys that it cannot choose.
struct Caller {
    principal: String,
    fixed: Vec<(&'static str, &'static str)>,
}

impl Caller {
    fn with_id(&self, id: &'static str) -> Self {
        let others = self.fixed.iter().copied().filter(|(key, _)| *key != "aws:userid");
        Self { principal: self.principal.clone(), fixed: others.chain([("aws:userid", id)]).collect() }
    }
}

fn callers_of(account: &'static str, organisation: Option<&'static str>) -> Vec<Caller> {
    let roles = ["role/app", "role/x", "role/:iam::111111111111:role/app"];
    let sessions = ["AROAOTHER:session", "AIDAOTHER"];
    let mut callers = Vec::new();
    for role in roles {
        for session in sessions {
            let arn = format!("arn:aws:iam::{account}:{role}");
            let mut fixed =
                vec![("kms:CallerAccount", account), ("aws:PrincipalAccount", account), ("aws:userid", session)];
            fixed.extend(organisation.map(|id| ("aws:PrincipalOrgID", id)));
            callers.push(Caller { principal: arn, fixed });
        }
    }
    callers
}

type Choices = [(&'static str, &'static [Option<&'static str>]); 8];

/// What a caller can choose, key by key; `None` is to leave it out.
const CHOICES: Choices = [
    ("kms:ViaService", &[None, Some("s3.us-east-1.amazonaws.com"), Some("ec2.us-east-1.amazonaws.com"), Some("sns")]),
    ("kms:EncryptionContext:app", &[None, Some("x"), Some("y"), Some("z")]),
    ("aws:PrincipalTag/team", &[None, Some("x"), Some("y"), Some("z")]),
    ("aws:SourceIp", &[Some("198.51.100.7")]),
    ("aws:SourceVpc", &[None, Some("vpc-other")]),
    ("aws:ResourceAccount", &[Some(OWN)]),
    ("aws:SecureTransport", &[Some("true")]),
    ("aws:MultiFactorAuthPresent", &[Some("true"), Some("false"), None]),
];

/// The same, with what no request to this key has: another key's account, no address, no TLS.
const IMPOSSIBLE: Choices = [
    CHOICES[0],
    CHOICES[1],
    CHOICES[2],
    ("aws:SourceIp", &[Some("198.51.100.7"), None]),
    CHOICES[4],
    ("aws:ResourceAccount", &[Some(OWN), None]),
    ("aws:SecureTransport", &[Some("true"), Some("false")]),
    CHOICES[7],
];

fn is_allowed(evaluator: &PolicyEvaluator, text: &str, caller: &Caller, choices: Choices) -> bool {
    let named: Vec<_> = choices.into_iter().filter(|(key, _)| text.contains(key)).collect();
    let combinations: usize = named.iter().map(|(_, values)| values.len()).product();
    (0..combinations).any(|mut number| {
        let mut context = Context::new().with_string("aws:PrincipalArn", &caller.principal);
        for (key, value) in &caller.fixed {
            context = context.with_string(*key, *value);
        }
        for (key, values) in &named {
            if let Some(value) = values[number % values.len()] {
                context = match value {
                    "true" | "false" => context.with_boolean(*key, value == "true"),
                    _ => context.with_string(*key, value),
                };
            }
            number /= values.len();
        }
        ACTIONS.iter().any(|action| {
            let principal = Principal::Aws(PrincipalId::String(caller.principal.clone()));
            let request = IAMRequest::new_with_context(principal, *action, Arn::parse(KEY).unwrap(), context.clone());
            evaluator.evaluate(&request).is_ok_and(|it| it.decision == Decision::Allow)
        })
    })
}

#[test]
fn another_evaluator_admits_whom_we_say() {
    const POLICIES: usize = 2_000;
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]));
    let strategy = policy();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    let mut unexplained = Vec::new();
    let mut examples: BTreeMap<&str, String> = BTreeMap::new();
    // In an account that no policy names, in one that a pattern with `?` fits, in no organisation and in another one.
    let outsiders: Vec<Caller> = [("999999999999", None), ("111111111112", None), ("999999999999", Some("o-stranger"))]
        .into_iter()
        .flat_map(|(account, organisation)| callers_of(account, organisation))
        .collect();
    for _ in 0..POLICIES {
        let policy = strategy.new_tree(&mut runner).unwrap().current();
        let text = policy.to_string();
        let parsed: IAMPolicy = serde_json::from_value(policy.clone()).unwrap_or_else(|why| panic!("{why}: {policy}"));
        let evaluator = PolicyEvaluator::with_policies(vec![parsed]);
        let allowed = |choices| outsiders.iter().any(|caller| is_allowed(&evaluator, &text, caller, choices));
        let theirs = allowed(CHOICES);
        let ours = answer(&policy);
        let without = without_negations(&policy);
        let label = match (ours, theirs) {
            (Answer::Public, true) => "both: public",
            (Answer::No | Answer::ByWildcard, false) => "both: not public",
            (Answer::Undecided, true) => "ours undecided, theirs public",
            (Answer::Undecided, false) => "ours undecided, theirs not public",
            // Conditions that no request fits are taken for conditions that hold nobody.
            (Answer::Public, false) if allowed(IMPOSSIBLE) => {
                "ours public, theirs not: a condition that no request fits"
            }
            // "Not this account, and not any": a negation is taken to leave somebody, and is not looked at more closely.
            (Answer::Public, false)
                if outsiders.iter().any(|caller| is_allowed(&without, &text, caller, IMPOSSIBLE)) =>
            {
                "ours public, theirs not: negations that leave nobody, ArnEquals with a wildcard"
            }
            _ => "unexplained",
        };
        *counts.entry(label).or_default() += 1;
        examples.entry(label).or_insert_with(|| text.clone());
        if label == "unexplained" {
            unexplained.push(format!("{ours:?} {theirs} {text}"));
        }
        compare_foreigners(&policy, &evaluator, &text, &mut counts, &mut unexplained);
    }
    println!("{counts:#?}\n{examples:#?}");
    assert!(
        unexplained.is_empty(),
        "{}\n{}",
        unexplained.len(),
        unexplained.iter().take(8).cloned().collect::<Vec<_>>().join("\n")
    );
}

/// The policy, its Allows without conditions by negated operators.
fn without_negations(policy: &Value) -> PolicyEvaluator {
    // AWS: ArnEquals is ArnLike (IAM User Guide, "ARN condition operators"). The other evaluator's takes no wildcards.
    let policy = serde_json::from_str(&policy.to_string().replace("ArnEquals", "ArnLike")).unwrap();
    let policy = with(&policy, |statements| {
        for block in statements.iter_mut().filter(|it| it["Effect"] == "Allow").filter_map(|it| it.get_mut("Condition"))
        {
            block.as_object_mut().unwrap().retain(|operator, _| !operator.contains("Not"));
        }
    });
    PolicyEvaluator::with_policies(vec![serde_json::from_value(policy).unwrap()])
}

/// The policy, its Allows without conditions on who calls.
fn without_callers(policy: &Value) -> PolicyEvaluator {
    let policy = with(policy, |statements| {
        for block in statements.iter_mut().filter(|it| it["Effect"] == "Allow").filter_map(|it| it.get_mut("Condition"))
        {
            for keys in block.as_object_mut().unwrap().values_mut() {
                keys.as_object_mut().unwrap().retain(|key, _| {
                    !["kms:CallerAccount", "aws:PrincipalAccount", "aws:PrincipalArn", "aws:userid"]
                        .contains(&key.as_str())
                });
            }
            block.as_object_mut().unwrap().retain(|_, keys| !keys.as_object().unwrap().is_empty());
        }
    });
    PolicyEvaluator::with_policies(vec![serde_json::from_value(policy).unwrap()])
}

/// The foreign accounts that we say may reach the key; `None` if that is undecided.
fn foreign(policy: &Value) -> Option<BTreeSet<String>> {
    let accounts = BTreeSet::new();
    let trusted = Trusted { own_account: OWN, accounts: &accounts, organisation: None };
    let read = KeyPolicy::parse(&policy.to_string(), KEY).unwrap();
    match read.access().foreign(trusted) {
        ForeignAccess::Foreign(foreign) => Some(foreign.into_iter().flat_map(|it| it.accounts).collect()),
        ForeignAccess::Undecided(_) => None,
        ForeignAccess::No(_) => Some(BTreeSet::new()),
    }
}

fn names_the_account(policy: &Value) -> bool {
    foreign(policy).is_some_and(|accounts| accounts.contains("222222222222"))
}

/// The role that some statements name, in a foreign account.
fn compare_foreigners(
    policy: &Value,
    evaluator: &PolicyEvaluator,
    text: &str,
    counts: &mut BTreeMap<&str, u32>,
    unexplained: &mut Vec<String>,
) {
    if matches!(answer(policy), Answer::Public | Answer::Undecided) || foreign(policy).is_none() {
        return;
    }
    let ours = names_the_account(policy);
    // It may be in any organisation and come from any network: the policy's owner trusts none of them.
    let mut callers = callers_of("222222222222", None);
    callers.extend(["o-ours", "o-others"].into_iter().flat_map(|it| callers_of("222222222222", Some(it))));
    let more =
        callers.iter().flat_map(|it| ["AIDAEXAMPLE", "AROAEXAMPLE:s"].map(|id| it.with_id(id))).collect::<Vec<_>>();
    callers.extend(more);
    let anywhere = |choices: Choices| {
        choices.map(|(key, values)| match key {
            "aws:SourceIp" => (key, &[Some("198.51.100.7"), Some("8.8.8.1"), Some("203.0.113.1"), None][..]),
            "aws:SourceVpc" => (key, &[None, Some("vpc-1"), Some("vpc-other")][..]),
            _ => (key, values),
        })
    };
    let ask = |evaluator: &PolicyEvaluator, choices| {
        callers.iter().any(|caller| is_allowed(evaluator, text, caller, choices))
    };
    let allowed = |choices| ask(evaluator, anywhere(choices));
    let theirs = allowed(CHOICES);
    let label = match (ours, theirs) {
        _ if ours == theirs => "foreign: both alike",
        (true, false) if allowed(IMPOSSIBLE) => "foreign: ours yes, theirs no: a condition that no request fits",
        (true, false) if ask(&without_negations(policy), anywhere(IMPOSSIBLE)) => {
            "foreign: ours yes, theirs no: negations that leave nobody"
        }
        // A network, an organisation, a unique ID: the account may be in it, and no policy says so.
        (false, true)
            if !callers_of("222222222222", None).iter().any(|it| is_allowed(evaluator, text, it, CHOICES)) =>
        {
            "foreign: ours no, theirs yes: held by what names no account"
        }
        // `aws:SourceAccount` and the like: only services send them, and here only roles and users call.
        (true, false)
            if !names_the_account(&with(policy, |it| it.retain(|it| it["Principal"]["Service"].is_null()))) =>
        {
            "foreign: ours yes, theirs no: a service that acts for the account"
        }
        (true, false) if ask(&without_callers(policy), anywhere(IMPOSSIBLE)) => {
            "foreign: ours yes, theirs no: conditions that the named principal does not fit"
        }
        _ => "foreign: unexplained",
    };
    *counts.entry(label).or_default() += 1;
    if label == "foreign: unexplained" {
        unexplained.push(format!("foreign: ours {ours}, theirs {theirs}: {policy}"));
    }
}
