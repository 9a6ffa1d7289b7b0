//! Tables of items by `pk` and `sk`, their sparse index `waits`, and what was written to them.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An item's attributes by name.
pub(crate) type Item = BTreeMap<String, Attribute>;

/// The partition key and the sort key.
pub(crate) type ItemKey = (String, String);

/// Name of the index that every table has, and of the attribute that puts an item into it.
pub(crate) const INDEX: &str = "waits";

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
    items: BTreeMap<String, BTreeMap<ItemKey, Item>>,
    /// What the index of each table knows: an item's value of `waits`.
    indexes: BTreeMap<String, BTreeMap<ItemKey, String>>,
    /// What it does not know yet: the table, the item, its value.
    late: VecDeque<(String, ItemKey, Option<String>)>,
    pub(crate) writes: Vec<Write>,
}

impl Tables {
    /// Makes the table if it is not there yet.
    pub(crate) fn create(&mut self, name: &str) {
        self.items.entry(name.to_owned()).or_default();
    }

    pub(crate) fn table(&self, name: &str) -> Option<&BTreeMap<ItemKey, Item>> {
        self.items.get(name)
    }

    /// Puts an item into the first table by name, as if it had been there from the start; false if there is no table.
    pub(crate) fn insert_into_first(&mut self, key: ItemKey, item: Item) -> bool {
        let Some((name, items)) = self.items.iter_mut().next() else { return false };
        if let Some(Attribute::S(waits)) = item.get(INDEX) {
            self.indexes.entry(name.clone()).or_default().insert(key.clone(), waits.clone());
        }
        items.insert(key, item);
        true
    }

    /// What the index of a table knows, while it has yet to learn of the last writes, n of them.
    pub(crate) fn index(&mut self, table: &str, lag: usize) -> Vec<(String, ItemKey)> {
        while self.late.len() > lag {
            let Some((table, key, waits)) = self.late.pop_front() else { break };
            let index = self.indexes.entry(table).or_default();
            match waits {
                Some(waits) => index.insert(key, waits),
                None => index.remove(&key),
            };
        }
        let index = self.indexes.get(table).into_iter().flatten();
        index.map(|(key, waits)| (waits.clone(), key.clone())).collect()
    }

    pub(crate) fn put(&mut self, table: &str, key: ItemKey, item: Item) {
        self.record(WriteKind::Put, &key);
        let waits = if let Some(Attribute::S(waits)) = item.get(INDEX) { Some(waits.clone()) } else { None };
        self.late.push_back((table.to_owned(), key.clone(), waits));
        self.items.entry(table.to_owned()).or_default().insert(key, item);
    }

    pub(crate) fn delete(&mut self, table: &str, key: &ItemKey) {
        self.record(WriteKind::Delete, key);
        self.late.push_back((table.to_owned(), key.clone(), None));
        if let Some(items) = self.items.get_mut(table) {
            items.remove(key);
        }
    }

    fn record(&mut self, kind: WriteKind, (pk, sk): &ItemKey) {
        self.writes.push(Write { kind, pk: pk.clone(), sk: sk.clone() });
    }

    /// All items as plain JSON, by table, partition key and sort key.
    pub(crate) fn items(&self) -> Vec<Value> {
        self.items.values().flat_map(BTreeMap::values).map(plain_item).collect()
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
