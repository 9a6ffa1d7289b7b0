//! A key policy, read: its statements with what they mean.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::actions::{Actions, Patterns};
use super::condition::{Condition, Limit, matches_wildcards};
use super::document::{Document, Label, Unreadable};
use super::principal::Principals;

/// A key policy, read for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    pub(super) allows: Vec<Statement>,
    pub(super) denies: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) label: Label,
    pub(super) principals: Principals,
    pub(super) actions: Actions,
    pub(super) conditions: Vec<Condition>,
}

/// The members that a statement may have.
const MEMBERS: [&str; 9] =
    ["Action", "Condition", "Effect", "NotAction", "NotPrincipal", "NotResource", "Principal", "Resource", "Sid"];

/// A statement before all actions are known that the policy names.
struct Unresolved {
    is_allow: bool,
    label: Label,
    principals: Principals,
    patterns: Patterns,
    conditions: Vec<Condition>,
}

impl KeyPolicy {
    /// Reads the policy of the key with that ARN.
    ///
    /// # Errors
    /// Something in it is not what a policy may hold, or is not recognised by this version: a policy is never read in part.
    pub fn parse(text: &str, key_arn: &str) -> Result<Self, Unreadable> {
        let document = Document::parse(text)?;
        let has_variables = match document.others.get("Version") {
            None => false,
            Some(Value::String(version)) if version == "2008-10-17" => false,
            Some(Value::String(version)) if version == "2012-10-17" => true,
            Some(_) => return Err(Unreadable::new("the policy's `Version` is not recognised")),
        };
        let mut unresolved = Vec::new();
        for (label, members) in &document.statements {
            let read = Unresolved::read(label, members, has_variables, key_arn);
            unresolved.extend(read.map_err(|why| why.in_statement(label))?);
        }
        let unknown: BTreeSet<String> = unresolved
            .iter()
            .filter(|statement| !statement.patterns.negated)
            .flat_map(|statement| statement.patterns.unknown().cloned())
            .collect();
        let (mut allows, mut denies) = (Vec::new(), Vec::new());
        for Unresolved { is_allow, label, principals, patterns, conditions } in unresolved {
            let statement = Statement { actions: patterns.actions(&unknown), label, principals, conditions };
            if statement.actions.is_empty() {
                continue;
            }
            if is_allow { allows.push(statement) } else { denies.push(statement) }
        }
        Ok(Self { allows, denies })
    }
}

impl Unresolved {
    /// Reads a statement; `None` if it is about another key.
    fn read(
        label: &Label,
        members: &Map<String, Value>,
        has_variables: bool,
        key_arn: &str,
    ) -> Result<Option<Self>, Unreadable> {
        if let Some(member) = members.keys().find(|member| !MEMBERS.contains(&member.as_str())) {
            return Err(Unreadable::new(format!("has a member `{member}` that is not recognised")));
        }
        let is_allow = match members.get("Effect").and_then(Value::as_str) {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => return Err(Unreadable::new("has neither the `Effect` Allow nor Deny")),
        };
        let principals = Principals::read(members.get("Principal"), members.get("NotPrincipal"))?;
        let (actions, negated) = one_of(members, "Action", "NotAction")?
            .ok_or_else(|| Unreadable::new("has neither `Action` nor `NotAction`"))?;
        let patterns = Patterns { patterns: actions.iter().map(|it| it.to_ascii_lowercase()).collect(), negated };
        let conditions = match members.get("Condition") {
            None => Vec::new(),
            Some(block) => conditions(block, has_variables)?,
        };
        let is_about_key = match one_of(members, "Resource", "NotResource")? {
            None => true,
            Some((resources, negated)) => negated != resources.iter().any(|it| matches_wildcards(it, key_arn)),
        };
        let label = label.clone();
        Ok(is_about_key.then_some(Self { is_allow, label, principals, patterns, conditions }))
    }
}

/// The texts of one of two members, and whether it is the negated one.
fn one_of(members: &Map<String, Value>, one: &str, negated: &str) -> Result<Option<(Vec<String>, bool)>, Unreadable> {
    let read = |name: &str, value| texts(value).map_err(|_| Unreadable::new(format!("`{name}` is no list of texts")));
    match (members.get(one), members.get(negated)) {
        (None, None) => Ok(None),
        (Some(value), None) => Ok(Some((read(one, value)?, false))),
        (None, Some(value)) => Ok(Some((read(negated, value)?, true))),
        (Some(_), Some(_)) => Err(Unreadable::new(format!("has both `{one}` and `{negated}`"))),
    }
}

fn conditions(block: &Value, has_variables: bool) -> Result<Vec<Condition>, Unreadable> {
    let unreadable = || Unreadable::new("`Condition` is no block of operators, keys and values");
    let mut conditions = Vec::new();
    for (operator, keys) in block.as_object().ok_or_else(unreadable)? {
        for (key, values) in keys.as_object().ok_or_else(unreadable)? {
            let values = texts(values).map_err(|_| unreadable())?;
            conditions.push(Condition::new(operator, key, values, has_variables));
        }
    }
    conditions.sort_unstable();
    conditions.dedup();
    Ok(conditions)
}

/// A value or a list of values as texts; numbers and booleans count as the text that they are.
pub(super) fn texts(value: &Value) -> Result<Vec<String>, Unreadable> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(value) => Ok(value.to_string()),
        _ => Err(Unreadable::new("is no text")),
    };
    match value {
        Value::Array(values) => values.iter().map(text).collect(),
        value => Ok(vec![text(value)?]),
    }
}

impl Statement {
    /// What holds the callers whom it admits.
    pub(super) fn limits(&self) -> Vec<Limit> {
        self.conditions.iter().filter_map(|condition| condition.limit().ok()).collect()
    }

    /// Why its conditions hold nobody, in words.
    pub(super) fn why_open(&self) -> String {
        let why: Vec<String> = self.conditions.iter().filter_map(|condition| condition.limit().err()).collect();
        if why.is_empty() { "without a condition".to_owned() } else { format!("since {}", why.join(" and ")) }
    }

    pub(super) fn admits_services_only(&self) -> bool {
        self.conditions.iter().any(Condition::admits_services_only)
    }

    /// What it lets do, each action for what it is there: under `kms:GrantIsForAWSResource` a grant can only be one that an
    /// AWS service makes to use the key for the caller, and making or revoking it is a part of using the key.
    pub(super) fn is_for_aws_resources(&self) -> bool {
        let asks = |it: &Condition| it.is_bool("kms:grantisforawsresource", true) && !it.holds_if_absent();
        self.conditions.iter().any(asks)
    }
}
