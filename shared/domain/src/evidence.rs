//! What a verdict rests on.

use std::borrow::Cow;
use std::ops::Index;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// Facts that a verdict rests on, by name and in the order of their names; JSON writes them as an object.
///
/// There are a few of each finding and many findings: a map's nodes, made for many entries, would take most of the memory
/// that a finding needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence(Vec<(Cow<'static, str>, Value)>);

impl Evidence {
    /// No facts.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a fact, in place of one of the same name.
    pub fn insert(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.place(&name) {
            Ok(place) => {
                if let Some(fact) = self.0.get_mut(place) {
                    fact.1 = value;
                }
            }
            Err(place) => {
                self.0.reserve_exact(1);
                self.0.insert(place, (name, value));
            }
        }
    }

    /// The fact of that name.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(self.place(name).ok()?).map(|(_, value)| value)
    }

    /// All facts.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }

    /// The same facts with other values.
    #[must_use]
    pub fn map(mut self, value: impl Fn(Value) -> Value) -> Self {
        for fact in &mut self.0 {
            fact.1 = value(fact.1.take());
        }
        self
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(it, _)| it.as_ref().cmp(name))
    }
}

impl<N: Into<Cow<'static, str>>, V: Into<Value>> FromIterator<(N, V)> for Evidence {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(facts: I) -> Self {
        let mut evidence = Self::new();
        facts.into_iter().for_each(|(name, value)| evidence.insert(name, value));
        evidence
    }
}

impl Index<&str> for Evidence {
    type Output = Value;

    /// The fact of that name, `null` if there is none: as of JSON's objects.
    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or(&Value::Null)
    }
}

impl From<Evidence> for Value {
    fn from(evidence: Evidence) -> Self {
        Self::Object(evidence.0.into_iter().map(|(name, value)| (name.into_owned(), value)).collect())
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Evidence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Map::<String, Value>::deserialize(deserializer).map(Self::from_iter)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_stand_in_order_and_the_last_of_a_name_holds() {
        let mut evidence = Evidence::from_iter([("b", 1), ("a", 2)]);
        evidence.insert("c", "x");
        evidence.insert("b", 3);
        assert_eq!(evidence.iter().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!((&evidence["b"], evidence.get("d"), &evidence["d"]), (&json!(3), None, &Value::Null));
        assert_eq!(serde_json::to_string(&evidence).unwrap(), r#"{"a":2,"b":3,"c":"x"}"#);
    }

    #[test]
    fn json_and_back_is_the_same() {
        let json = json!({"z": [1, {"y": null}], "a": "text", "m": 1.5});
        let evidence: Evidence = serde_json::from_value(json.clone()).unwrap();
        assert_eq!(Value::from(evidence.clone()), json);
        assert_eq!(serde_json::to_value(&evidence).unwrap(), json);
        assert!(serde_json::from_value::<Evidence>(json!([1])).is_err());
        assert_eq!(evidence.map(|_| json!(0))["z"], json!(0));
    }
}
