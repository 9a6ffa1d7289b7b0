use domain::key::RelatedKey;
use domain::key_policy::comparison::Policy;
use serde_json::{Map, Value, json};

/// What stands between two policies of one input.
const BETWEEN: &str = "\n---\n";

/// One key policy, or two with a line `---` between: each means the same as itself however its members, lists and
/// statements are arranged, never the same as with a statement more, and what one lacks of the other is seen from both sides.
///
/// # Panics
/// That does not hold.
pub fn policy_comparison(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (here, there) = text.split_once(BETWEEN).unwrap_or((text, text));
    for text in [here, there] {
        let (Ok(document), Some(policy)) = (serde_json::from_str(text), parsed(text, "us-east-1")) else { continue };
        assert_eq!(parsed(text, "eu-west-1").map(|it| policy.differences(&it, "r")), Some(vec![]), "{text}");
        let turned = turned(document);
        assert!(is_same(text, &turned.to_string()), "{text} {turned}");
        let more = with_a_statement_more(turned);
        assert!(!is_same(text, &more.to_string()) && !is_same(&more.to_string(), text), "{text} {more}");
    }
    if parsed(here, "us-east-1").is_none() || parsed(there, "eu-west-1").is_none() {
        return;
    }
    let same = is_same(here, there);
    let turned_there = serde_json::from_str(there).map(turned).unwrap_or_default().to_string();
    assert_eq!(same, is_same(here, &turned_there), "{here} {there}");
    let (Some(primary), Some(replica)) = (parsed(here, "us-east-1"), parsed(there, "eu-west-1")) else { return };
    assert_eq!(same, replica.differences(&primary, "us-east-1").is_empty(), "{here} {there}");
}

fn parsed(text: &str, region: &str) -> Option<Policy> {
    let arn = format!("arn:aws:kms:{region}:123456789012:key/mrk-1");
    Policy::parse(text, &RelatedKey { arn, region: region.into() }).ok()
}

fn is_same(here: &str, there: &str) -> bool {
    let policies = parsed(here, "us-east-1").zip(parsed(there, "eu-west-1"));
    policies.is_some_and(|(here, there)| here.differences(&there, "eu-west-1").is_empty())
}

/// The same in another arrangement: lists from behind, and single texts in lists.
fn turned(value: Value) -> Value {
    match value {
        Value::Array(list) => Value::Array(list.into_iter().rev().map(turned).collect()),
        Value::Object(members) => {
            let single = |value: Value| if value.is_string() { json!([value]) } else { turned(value) };
            let labelled = |(name, value)| {
                // The name of a statement is no list.
                let value = if name == "Sid" { value } else { single(value) };
                (name, value)
            };
            Value::Object(members.into_iter().map(labelled).collect())
        }
        other => other,
    }
}

fn with_a_statement_more(document: Value) -> Value {
    let Value::Object(mut members) = document else { return document };
    let mut statements = match members.remove("Statement") {
        Some(Value::Array(statements)) => statements,
        other => other.into_iter().collect(),
    };
    // Longer than any text in the document, thus none of its statements.
    let new = "x"
        .repeat(Value::Object(members.clone()).to_string().len() + Value::Array(statements.clone()).to_string().len());
    let statement = Map::from_iter([("Effect".to_owned(), json!("Allow")), ("Action".to_owned(), json!(new))]);
    statements.push(Value::Object(statement));
    members.insert("Statement".to_owned(), Value::Array(statements));
    Value::Object(members)
}
