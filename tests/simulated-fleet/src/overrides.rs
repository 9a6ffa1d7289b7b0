//! `omit` and `replace`: an answer that is not as documented.

use serde_json::Value;

use crate::description::KeyDescription;
use crate::operation::Operation;

/// Changes what the operation answers about the key, as the key's description asks for.
pub(crate) fn apply_overrides(answer: &mut Value, entry: &KeyDescription, operation: Operation) {
    for path in entry.omit.get(&operation).into_iter().flatten() {
        if path.contains('.') {
            omit_path(answer, path);
        } else {
            omit_name(answer, path);
        }
    }
    if let Some(replacement) = entry.replace.get(&operation) {
        merge(answer, replacement);
    }
}

fn omit_name(value: &mut Value, name: &str) {
    match value {
        Value::Object(members) => {
            members.remove(name);
            members.values_mut().for_each(|member| omit_name(member, name));
        }
        Value::Array(elements) => elements.iter_mut().for_each(|element| omit_name(element, name)),
        _ => {}
    }
}

fn omit_path(value: &mut Value, path: &str) {
    match (path.split_once('.'), value) {
        (Some((first, rest)), Value::Object(members)) => {
            if let Some(member) = members.get_mut(first) {
                omit_path(member, rest);
            }
        }
        (Some((first, rest)), Value::Array(elements)) => {
            if let Some(element) = first.parse().ok().and_then(|place: usize| elements.get_mut(place)) {
                omit_path(element, rest);
            }
        }
        (None, Value::Object(members)) => {
            members.remove(path);
        }
        _ => {}
    }
}

fn merge(value: &mut Value, replacement: &Value) {
    match (value, replacement) {
        (Value::Object(members), Value::Object(more)) => {
            for (name, replacement) in more {
                merge(members.entry(name.as_str()).or_insert(Value::Null), replacement);
            }
        }
        (value, replacement) => *value = replacement.clone(),
    }
}
