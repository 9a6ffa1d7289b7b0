//! Tables of items by `pk` and `sk`, and what was written to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An item's attributes by name.
pub(crate) type Item = BTreeMap<String, Attribute>;

/// The partition key and the sort key.
pub(crate) type ItemKey = (String, String);

/// A typed value, as it stands in a request.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) enum Attribute {
    S(String),
    N(String),
    B(String),
    #[serde(rename = "BOOL")]
    Bool(bool),
    #[serde(rename = "NULL")]
    Null(bool),
    L(Vec<Attribute>),
    M(Item),
    #[serde(rename = "SS")]
    Strings(Vec<String>),
    #[serde(rename = "NS")]
    Numbers(Vec<String>),
    #[serde(rename = "BS")]
    Binaries(Vec<String>),
}

/// A put or delete that was applied. One on an item that was not there, or that changed nothing, is among them: AWS bills
/// it too.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// What was done.
    pub kind: WriteKind,
    /// The item's partition key.
    pub pk: String,
    /// The item's sort key.
    pub sk: String,
}

/// What a write does; a batch is made of both kinds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum WriteKind {
    /// The item was put in place of an earlier one, if there was one.
    Put,
    /// The item was deleted.
    Delete,
}

#[derive(Debug, Default)]
pub(crate) struct Tables {
    tables: BTreeMap<String, BTreeMap<ItemKey, Item>>,
    pub(crate) writes: Vec<Write>,
}

impl Tables {
    /// Makes the table if it is not there yet.
    pub(crate) fn create(&mut self, name: &str) {
        self.tables.entry(name.to_owned()).or_default();
    }

    pub(crate) fn table(&self, name: &str) -> Option<&BTreeMap<ItemKey, Item>> {
        self.tables.get(name)
    }

    /// The first table by name.
    pub(crate) fn first(&mut self) -> Option<&mut BTreeMap<ItemKey, Item>> {
        self.tables.values_mut().next()
    }

    pub(crate) fn put(&mut self, table: &str, key: ItemKey, item: Item) {
        self.record(WriteKind::Put, &key);
        self.tables.entry(table.to_owned()).or_default().insert(key, item);
    }

    pub(crate) fn delete(&mut self, table: &str, key: &ItemKey) {
        self.record(WriteKind::Delete, key);
        if let Some(items) = self.tables.get_mut(table) {
            items.remove(key);
        }
    }

    fn record(&mut self, kind: WriteKind, (pk, sk): &ItemKey) {
        self.writes.push(Write { kind, pk: pk.clone(), sk: sk.clone() });
    }

    /// All items as plain JSON, by table, partition key and sort key.
    pub(crate) fn items(&self) -> Vec<Value> {
        self.tables.values().flat_map(BTreeMap::values).map(plain_item).collect()
    }
}

fn plain_item(item: &Item) -> Value {
    Value::Object(item.iter().map(|(name, value)| (name.clone(), value.plain())).collect())
}

impl Attribute {
    /// As plain JSON: sets are arrays, binary values their base64 text.
    fn plain(&self) -> Value {
        let number = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| Value::from(text.as_str()));
        match self {
            Self::S(text) | Self::B(text) => text.as_str().into(),
            Self::N(text) => number(text),
            Self::Bool(value) => (*value).into(),
            Self::Null(_) => Value::Null,
            Self::L(elements) => elements.iter().map(Self::plain).collect(),
            Self::M(members) => plain_item(members),
            Self::Strings(elements) | Self::Binaries(elements) => elements.iter().map(String::as_str).collect(),
            Self::Numbers(elements) => elements.iter().map(number).collect(),
        }
    }

    /// The other way round; there is no way back to sets and binary values.
    pub(crate) fn of_plain(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null(true),
            Value::Bool(value) => Self::Bool(*value),
            Value::Number(number) => Self::N(number.to_string()),
            Value::String(text) => Self::S(text.clone()),
            Value::Array(elements) => Self::L(elements.iter().map(Self::of_plain).collect()),
            Value::Object(members) => {
                Self::M(members.iter().map(|(name, value)| (name.clone(), Self::of_plain(value))).collect())
            }
        }
    }

    /// Bytes that it counts for towards the size of an item.
    fn size(&self) -> usize {
        let sum = |sizes: &mut dyn Iterator<Item = usize>| sizes.fold(0, usize::saturating_add);
        match self {
            Self::S(text) => text.len(),
            // Base64 takes four characters for three bytes.
            Self::B(text) => text.len().div_euclid(4).saturating_mul(3),
            // Two digits a byte, and one for sign and exponent.
            Self::N(text) => text.len().div_ceil(2).saturating_add(1),
            Self::Bool(_) | Self::Null(_) => 1,
            Self::L(elements) => {
                sum(&mut elements.iter().map(|element| element.size().saturating_add(1))).saturating_add(3)
            }
            Self::M(members) => size(members).saturating_add(members.len()).saturating_add(3),
            Self::Strings(elements) | Self::Numbers(elements) | Self::Binaries(elements) => {
                sum(&mut elements.iter().map(String::len))
            }
        }
    }

    /// What AWS would not take, at any depth.
    pub(crate) fn problem(&self) -> Option<String> {
        match self {
            Self::N(text) => number_problem(text),
            Self::Null(false) => Some(
                "One or more parameter values were invalid: Null attribute value types must have the value of true"
                    .to_owned(),
            ),
            Self::L(elements) => elements.iter().find_map(Self::problem),
            Self::M(members) => members.values().find_map(Self::problem),
            Self::Strings(elements) | Self::Binaries(elements) => set_problem(elements),
            Self::Numbers(elements) => {
                set_problem(elements).or_else(|| elements.iter().find_map(|element| number_problem(element)))
            }
            _ => None,
        }
    }
}

fn number_problem(text: &str) -> Option<String> {
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite);
    (!is_number).then(|| format!("The parameter cannot be converted to a numeric value: {text}"))
}

fn set_problem(elements: &[String]) -> Option<String> {
    let mut sorted: Vec<_> = elements.iter().collect();
    sorted.sort();
    sorted.dedup();
    if elements.is_empty() {
        Some("One or more parameter values were invalid: An string set  may not be empty".to_owned())
    } else if sorted.len() < elements.len() {
        Some("One or more parameter values were invalid: Input collection contains duplicates.".to_owned())
    } else {
        None
    }
}

/// The size of an item in bytes: names and values.
pub(crate) fn size(item: &Item) -> usize {
    item.iter().fold(0, |size, (name, value)| size.saturating_add(name.len()).saturating_add(value.size()))
}
