//! Do two key policies mean the same? Compared as parsed JSON. Pure.
//!
//! The order of members, statements and lists does not matter, nor does it whether a single element stands in a list. Each
//! key's own ARN and Region name count as equal: `s3.us-east-1.amazonaws.com` in the policy of a key in us-east-1 is the
//! same as `s3.eu-west-1.amazonaws.com` in that of its replica in eu-west-1.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::document::{Document, Unreadable};
use crate::key::RelatedKey;

/// A policy in the form in which it can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
    /// The members of the document beside its statements.
    others: Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    /// What people call it: its `Sid`, or its place in the document.
    name: String,
    content: Value,
}

impl Policy {
    /// Reads the policy of `key`.
    ///
    /// # Errors
    /// It is no policy document.
    pub fn parse(text: &str, key: &RelatedKey) -> Result<Self, Unreadable> {
        let Document { statements, others } = Document::parse(text)?;
        let statements = statements
            .into_iter()
            .map(|(label, members)| Statement { name: label.to_string(), content: normal(Value::Object(members), key) })
            .collect();
        let others = others.into_iter().map(|(name, value)| (name, normal(value, key))).collect();
        Ok(Self { statements, others })
    }

    /// What of the primary's policy is different in that of its replica in `region`, in words; nothing if they mean the
    /// same.
    pub fn differences(&self, replica: &Self, region: &str) -> Vec<String> {
        let mut differences = Vec::new();
        let only_in = |one: &Self, other: &Self| -> BTreeMap<String, Value> {
            let lacks = |it: &&Statement| !other.statements.iter().any(|its| its.content == it.content);
            one.statements.iter().filter(lacks).map(|it| (it.name.clone(), it.content.clone())).collect()
        };
        let (here, mut there) = (only_in(self, replica), only_in(replica, self));
        for name in here.into_keys() {
            differences.push(match there.remove(&name) {
                Some(_) => format!("{name} is different in {region}"),
                None => format!("{name} is missing in {region}"),
            });
        }
        differences.extend(there.into_keys().map(|name| format!("{name} stands in {region} only")));
        let mut names: Vec<&String> = self.others.keys().chain(replica.others.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let changed = names.into_iter().filter(|name| self.others.get(*name) != replica.others.get(*name));
        differences.extend(changed.map(|name| format!("member `{name}` is different in {region}")));
        differences
    }
}

/// The value with lists sorted and without repetitions, single elements out of their lists, and the key's own names out of
/// its texts. The order of an object's members is serde's: by name.
fn normal(value: Value, key: &RelatedKey) -> Value {
    match value {
        Value::String(text) => Value::String(without_own_names(&text, key)),
        Value::Array(elements) => {
            let mut elements: Vec<Value> = elements.into_iter().map(|element| normal(element, key)).collect();
            elements.sort_by_cached_key(Value::to_string);
            elements.dedup();
            match <[Value; 1]>::try_from(elements) {
                Ok([element]) => element,
                Err(elements) => Value::Array(elements),
            }
        }
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, member)| (name, normal(member, key))).collect())
        }
        other => other,
    }
}

/// The text with the key's own ARN and Region name replaced by what cannot stand in a policy of KMS's: control characters.
fn without_own_names(text: &str, key: &RelatedKey) -> String {
    let text = text.replace(&key.arn, "\u{1}");
    if key.region.is_empty() {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once(&key.region) {
        // The name of another Region may contain it: `us-east-1` is no part of `us-east-10`.
        let of_a_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let stands_alone = !before.ends_with(of_a_name) && !after.starts_with(of_a_name);
        kept.push_str(before);
        kept.push_str(if stands_alone { "\u{2}" } else { &key.region });
        rest = after;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn primary() -> RelatedKey {
        RelatedKey { arn: "arn:aws:kms:us-east-1:123456789012:key/mrk-1".into(), region: "us-east-1".into() }
    }

    fn replica() -> RelatedKey {
        RelatedKey { arn: "arn:aws:kms:eu-west-1:123456789012:key/mrk-1".into(), region: "eu-west-1".into() }
    }

    fn differences(here: &Value, there: &Value) -> Vec<String> {
        let here = Policy::parse(&here.to_string(), &primary()).unwrap();
        let there = Policy::parse(&there.to_string(), &replica()).unwrap();
        here.differences(&there, "eu-west-1")
    }

    #[expect(clippy::needless_pass_by_value, reason = "`json!` reads better than `&json!`")]
    fn of(statements: Value) -> Value {
        json!({"Version": "2012-10-17", "Statement": statements})
    }

    #[test]
    fn policies_that_mean_the_same() {
        let admin = json!({"Sid": "Admin", "Effect": "Allow", "Principal": {"AWS": "a"}, "Action": "kms:*"});
        let app = json!({"Sid": "App", "Effect": "Allow", "Action": ["kms:Encrypt", "kms:Decrypt"], "Resource": "*"});
        let via =
            |service: &str| json!({"Effect": "Allow", "Condition": {"StringEquals": {"kms:ViaService": service}}});
        for (here, there) in [
            (of(json!([admin])), of(json!([admin]))),
            // The order of statements, and one that stands alone.
            (of(json!([admin, app])), of(json!([app, admin]))),
            (of(json!([admin])), of(admin.clone())),
            // The order of lists, and one element.
            (of(json!([{"Action": ["a", "b", "c"]}])), of(json!([{"Action": ["c", "a", "b"]}]))),
            (of(json!([{"Action": ["a"]}])), of(json!([{"Action": "a"}]))),
            (of(json!([{"Principal": {"AWS": ["x", "y"]}}])), of(json!([{"Principal": {"AWS": ["y", "x"]}}]))),
            (of(json!([{"Action": ["a", "a"]}])), of(json!([{"Action": "a"}]))),
            // Own Region and own ARN.
            (of(json!([via("s3.us-east-1.amazonaws.com")])), of(json!([via("s3.eu-west-1.amazonaws.com")]))),
            (of(json!([{"Resource": primary().arn}])), of(json!([{"Resource": replica().arn}]))),
            (
                of(json!([{"Resource": format!("{}, us-east-1", primary().arn)}])),
                of(json!([{"Resource": format!("{}, eu-west-1", replica().arn)}])),
            ),
            (
                of(json!([{"Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:logs:us-east-1:123456789012:*"}}}])),
                of(json!([{"Condition": {"ArnLike": {"aws:SourceArn": ["arn:aws:logs:eu-west-1:123456789012:*"]}}}])),
            ),
            (of(json!([])), of(json!([]))),
        ] {
            assert_eq!(differences(&here, &there), Vec::<String>::new(), "{here} {there}");
        }
        // The order of members.
        let here =
            Policy::parse(r#"{"Version": "v", "Id": "i", "Statement": {"Sid": "S", "Effect": "Deny"}}"#, &primary());
        let there =
            Policy::parse(r#"{"Statement": {"Effect": "Deny", "Sid": "S"}, "Id": "i", "Version": "v"}"#, &replica());
        assert!(here.is_ok() && here == there);
    }

    #[test]
    fn policies_that_do_not_and_which_statement_it_is() {
        let allow = |sid: &str, action: &str| json!({"Sid": sid, "Effect": "Allow", "Action": action});
        for (here, there, expected) in [
            (
                of(json!([allow("A", "x")])),
                of(json!([allow("A", "y")])),
                &["statement `A` is different in eu-west-1"][..],
            ),
            (
                of(json!([allow("A", "x"), allow("B", "y")])),
                of(json!([allow("A", "x")])),
                &["statement `B` is missing in eu-west-1"],
            ),
            (
                of(json!([allow("A", "x")])),
                of(json!([allow("B", "y"), allow("A", "x")])),
                &["statement `B` stands in eu-west-1 only"],
            ),
            (
                of(json!([{"Effect": "Allow"}, {"Effect": "Deny"}])),
                of(json!([{"Effect": "Allow"}])),
                &["statement 2 is missing in eu-west-1"],
            ),
            (
                of(json!([{"Effect": "Allow"}])),
                of(json!([{"Effect": "Deny"}])),
                &["statement 1 is different in eu-west-1"],
            ),
            (
                json!({"Version": "2012-10-17", "Id": "a", "Statement": []}),
                json!({"Version": "2008-10-17", "Statement": []}),
                &["member `Id` is different in eu-west-1", "member `Version` is different in eu-west-1"],
            ),
            // Another Region than the key's own is another.
            (
                of(json!({"Condition": "s3.us-east-1.amazonaws.com"})),
                of(json!({"Condition": "s3.us-east-1.amazonaws.com"})),
                &["statement 1 is different in eu-west-1"],
            ),
            (
                of(json!({"Condition": "s3.us-west-2.amazonaws.com"})),
                of(json!({"Condition": "s3.eu-west-1.amazonaws.com"})),
                &["statement 1 is different in eu-west-1"],
            ),
            (
                of(json!({"Condition": "x-us-east-1"})),
                of(json!({"Condition": "x-eu-west-1"})),
                &["statement 1 is different in eu-west-1"],
            ),
            (
                of(json!({"Condition": "us-east-10"})),
                of(json!({"Condition": "eu-west-10"})),
                &["statement 1 is different in eu-west-1"],
            ),
            // A list is no object, and a text no list of its words.
            (
                of(json!({"Action": ["a", "b"]})),
                of(json!({"Action": "a,b"})),
                &["statement 1 is different in eu-west-1"],
            ),
            (
                of(json!({"Principal": "*"})),
                of(json!({"Principal": {"AWS": "*"}})),
                &["statement 1 is different in eu-west-1"],
            ),
        ] {
            assert_eq!(differences(&here, &there), expected, "{here} {there}");
        }
    }

    #[test]
    fn what_is_no_policy_is_not_compared() {
        for text in ["", "{", "[]", "\"text\"", "null", "{}", r#"{"Statement": "none"}"#, r#"{"Statement": [1]}"#] {
            assert!(Policy::parse(text, &primary()).is_err(), "{text}");
        }
    }
}
