//! Evidence in words, as mails and pages show it.

use domain::text::printable;
use jiff::Timestamp;
use serde_json::Value;

/// The name of a fact.
pub(crate) fn fact_name(name: &str) -> String {
    printable(name).replace('_', " ")
}

/// A value of the evidence. Of objects in a list, what they hold; anything else as JSON writes it.
pub(crate) fn value_text(value: &Value) -> String {
    let words = |name: &str, value: &Value| match value {
        Value::Null => None,
        Value::Array(values) if values.is_empty() => None,
        Value::Array(values) => {
            Some(format!("{name} {}", values.iter().map(value_text).collect::<Vec<_>>().join(", ")))
        }
        value => Some(format!("{name} {}", value_text(value))),
    };
    match value {
        Value::String(text) => readable(text),
        Value::Object(members) => {
            let words = members.iter().filter_map(|(name, value)| words(&fact_name(name), value));
            format!("({})", words.collect::<Vec<_>>().join(", "))
        }
        Value::Array(values) if values.iter().any(Value::is_object) => {
            values.iter().map(value_text).collect::<Vec<_>>().join(" ")
        }
        value => printable(&value.to_string()),
    }
}

/// A text of the evidence; an instant to the minute.
fn readable(text: &str) -> String {
    text.parse().map_or_else(|_| printable(text), minute)
}

/// An instant as people read it.
pub(crate) fn minute(instant: Timestamp) -> String {
    instant.strftime("%Y-%m-%d %H:%M UTC").to_string()
}
