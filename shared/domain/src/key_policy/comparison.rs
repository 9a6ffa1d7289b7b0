//! Do two key policies mean the same? Compared as parsed JSON. Pure.
//!
//! The order of members, statements and lists does not matter, nor does it whether a single element stands in a list. A text
//! counts as equal as it stands, or once each key's own ARN and Region name are taken out of it:
//! `s3.us-east-1.amazonaws.com` in the policy of a key in us-east-1 is the same as `s3.eu-west-1.amazonaws.com` in that of its
//! replica in eu-west-1, and the ARN of a role that names a Region is the same in both.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::document::{Document, Unreadable};
use crate::key::RelatedKey;

/// A policy in the form in which it can be compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    key: RelatedKey,
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
        let mut distinct: Vec<Statement> = Vec::new();
        for (label, members) in statements {
            let content = normal(Value::Object(members));
            if !distinct.iter().any(|it| it.content == content) {
                distinct.push(Statement { name: label.to_string(), content });
            }
        }
        let others = others.into_iter().map(|(name, value)| (name, normal(value))).collect();
        Ok(Self { key: key.clone(), statements: distinct, others })
    }

    /// What of the primary's policy is different in that of its replica in `region`, in words; nothing if they mean the
    /// same.
    pub fn differences(&self, replica: &Self, region: &str) -> Vec<String> {
        let keys = (&self.key, &replica.key);
        let contents = |policy: &'_ Self| policy.statements.iter().map(|it| it.content.clone()).collect::<Vec<_>>();
        let (here, there) = unmatched(&contents(self), &contents(replica), keys);
        let names = |policy: &Self, places: Vec<usize>| -> BTreeSet<String> {
            places.into_iter().filter_map(|place| Some(policy.statements.get(place)?.name.clone())).collect()
        };
        let (here, mut there) = (names(self, here), names(replica, there));
        let mut differences = Vec::new();
        for name in here {
            differences.push(if there.remove(&name) {
                format!("{name} is different in {region}")
            } else {
                format!("{name} is missing in {region}")
            });
        }
        differences.extend(there.into_iter().map(|name| format!("{name} stands in {region} only")));
        let names: BTreeSet<&String> = self.others.keys().chain(replica.others.keys()).collect();
        let is_same = |name: &str| match (self.others.get(name), replica.others.get(name)) {
            (Some(here), Some(there)) => is_same(here, there, keys),
            (here, there) => here == there,
        };
        let changed = names.into_iter().filter(|name| !is_same(name));
        differences.extend(changed.map(|name| format!("member `{name}` is different in {region}")));
        differences
    }
}

/// The value with lists sorted and without repetitions, and single elements out of their lists. The order of an object's
/// members is serde's: by name.
fn normal(value: Value) -> Value {
    match value {
        Value::Array(elements) => {
            let mut elements: Vec<Value> = elements.into_iter().map(normal).collect();
            elements.sort_by_cached_key(Value::to_string);
            elements.dedup();
            match <[Value; 1]>::try_from(elements) {
                Ok([element]) => element,
                Err(elements) => Value::Array(elements),
            }
        }
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(name, member)| (name, normal(member))).collect())
        }
        other => other,
    }
}

/// Do two values mean the same in the policies of these two keys?
fn is_same(here: &Value, there: &Value, keys: (&RelatedKey, &RelatedKey)) -> bool {
    match (here, there) {
        (Value::String(one), Value::String(other)) => {
            one == other || without_own_names(one, keys.0) == without_own_names(other, keys.1)
        }
        (Value::Array(ones), Value::Array(others)) => {
            let (ones, others) = unmatched(ones, others, keys);
            ones.is_empty() && others.is_empty()
        }
        (Value::Object(ones), Value::Object(others)) => {
            ones.len() == others.len()
                && ones.iter().all(|(name, one)| others.get(name).is_some_and(|other| is_same(one, other, keys)))
        }
        _ => here == there,
    }
}

/// The places of the elements on both sides that have no partner on the other one. What is equal as it stands goes
/// together first: of two Regions that both policies name, each is its own. Of the rest as many find a partner as can: an
/// element may mean the same as several, and must not take the only partner of another one.
fn unmatched(here: &[Value], there: &[Value], keys: (&RelatedKey, &RelatedKey)) -> (Vec<usize>, Vec<usize>) {
    let mut here: Vec<(usize, &Value)> = here.iter().enumerate().collect();
    let mut there: Vec<(usize, &Value)> = there.iter().enumerate().collect();
    here.retain(|(_, one)| {
        let partner = there.iter().position(|(_, other)| one == other);
        partner.map(|place| there.swap_remove(place)).is_none()
    });
    let candidates: Vec<Vec<usize>> = here
        .iter()
        .map(|(_, one)| (0..there.len()).filter(|n| there.get(*n).is_some_and(|it| is_same(one, it.1, keys))).collect())
        .collect();
    let mut partners = vec![None; there.len()];
    let mut alone = Vec::new();
    for (n, (place, _)) in here.iter().enumerate() {
        if !finds_partner(n, &candidates, &mut partners, &mut vec![false; there.len()]) {
            alone.push(*place);
        }
    }
    let left = there.iter().zip(&partners).filter(|(_, partner)| partner.is_none());
    (alone, left.map(|((place, _), _)| *place).collect())
}

/// Gives the element `n` a partner, if need be one that another element has and can do without. `partners` says whose
/// each candidate is, `asked` which of them were asked already.
fn finds_partner(n: usize, candidates: &[Vec<usize>], partners: &mut [Option<usize>], asked: &mut [bool]) -> bool {
    for &candidate in candidates.get(n).into_iter().flatten() {
        if asked.get_mut(candidate).is_none_or(|asked| std::mem::replace(asked, true)) {
            continue;
        }
        let holder = partners.get(candidate).copied().flatten();
        if holder.is_none_or(|holder| finds_partner(holder, candidates, partners, asked)) {
            if let Some(partner) = partners.get_mut(candidate) {
                *partner = Some(n);
            }
            return true;
        }
    }
    false
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

    /// A role of IAM Identity Center, whose ARN names the Region of Identity Center.
    const IDENTITY_CENTER: &str =
        "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_0";

    fn via_both() -> Value {
        let services = ["s3.us-east-1.amazonaws.com", "s3.eu-west-1.amazonaws.com"];
        json!({"Effect": "Allow", "Condition": {"StringEquals": {"kms:ViaService": services}}})
    }

    #[test]
    fn one_region_is_not_both() {
        let one =
            json!({"Effect": "Allow", "Condition": {"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}}});
        assert_eq!(differences(&of(json!([one])), &of(json!([via_both()]))).len(), 1);
        assert_eq!(differences(&of(json!([via_both()])), &of(json!([one]))).len(), 1);
    }

    #[test]
    fn a_statement_leaves_another_one_its_only_partner() {
        let of_regions = |via: &str, caller: &str| json!({"Effect": "Allow", "Condition": {"StringEquals": {"kms:ViaService": via, "aws:RequestedRegion": caller}}});
        let here = [of_regions("us-east-1", "us-east-1"), of_regions("us-east-1", "eu-west-1")];
        let there = [of_regions("eu-west-1", "eu-west-1"), of_regions("eu-west-1", "us-east-1")];
        for (one, other) in [(0, 1), (1, 0)] {
            for (this, that) in [(0, 1), (1, 0)] {
                let (here, there) = (json!([here[one], here[other]]), json!([there[this], there[that]]));
                assert_eq!(differences(&of(here.clone()), &of(there.clone())), Vec::<String>::new(), "{here} {there}");
            }
        }
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
            // What names a Region in other people's ARNs, the same in both; a list of both Regions.
            (
                of(json!([{"Principal": {"AWS": IDENTITY_CENTER}}])),
                of(json!([{"Principal": {"AWS": IDENTITY_CENTER}}])),
            ),
            (of(json!([via_both()])), of(json!([via_both()]))),
            (
                of(json!([via_both(), via("s3.us-east-1.amazonaws.com")])),
                of(json!([via("s3.eu-west-1.amazonaws.com"), via_both()])),
            ),
            (of(json!([admin, admin])), of(json!([admin]))),
            // Equal as they stand, whatever they name.
            (of(json!([via("s3.us-east-1.amazonaws.com")])), of(json!([via("s3.us-east-1.amazonaws.com")]))),
        ] {
            assert_eq!(differences(&here, &there), Vec::<String>::new(), "{here} {there}");
        }
        // The order of members.
        let here =
            Policy::parse(r#"{"Version": "v", "Id": "i", "Statement": {"Sid": "S", "Effect": "Deny"}}"#, &primary());
        let there =
            Policy::parse(r#"{"Statement": {"Effect": "Deny", "Sid": "S"}, "Id": "i", "Version": "v"}"#, &replica());
        assert_eq!(here.unwrap().differences(&there.unwrap(), "eu-west-1"), Vec::<String>::new());
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
                of(json!({"Condition": "s3.eu-west-1.amazonaws.com"})),
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
