//! A policy document: its statements, and what stands beside them.

use std::fmt;

use serde_json::{Map, Value};

/// Why a text is no key policy that this version can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(String);

impl Unreadable {
    pub(super) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// The same, of a statement.
    pub(super) fn in_statement(self, label: &Label) -> Self {
        Self(format!("{label}: {}", self.0))
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unreadable {}

/// What people call a statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// Its place in the document, from 1.
    pub number: usize,
    /// Its `Sid`, if it has one. Nothing keeps two statements from having the same.
    pub sid: Option<String>,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.sid {
            Some(sid) => write!(f, "statement `{sid}`"),
            None => write!(f, "statement {}", self.number),
        }
    }
}

/// A policy document as JSON, statement by statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The statements in their order; one that stands without a list is a list of one.
    pub statements: Vec<(Label, Map<String, Value>)>,
    /// The members of the document beside its statements: `Version`, `Id`.
    pub others: Map<String, Value>,
}

impl Document {
    /// Reads a text.
    ///
    /// # Errors
    /// It is no JSON object with a `Statement` of objects.
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let document = serde_json::from_str(text).map_err(|_| Unreadable::new("the policy is no JSON"))?;
        let Value::Object(mut others) = document else { return Err(Unreadable::new("the policy is no JSON object")) };
        let statements = match others.remove("Statement") {
            None => return Err(Unreadable::new("the policy has no `Statement`")),
            Some(Value::Array(statements)) => statements,
            Some(statement) => vec![statement],
        };
        let labelled = |(place, statement)| {
            let Value::Object(members) = statement else {
                return Err(Unreadable::new(format!("statement {} is no JSON object", place + 1)));
            };
            let sid = members.get("Sid").and_then(Value::as_str).filter(|sid| !sid.is_empty()).map(str::to_owned);
            Ok((Label { number: place + 1, sid }, members))
        };
        let statements = statements.into_iter().enumerate().map(labelled).collect::<Result<_, _>>()?;
        Ok(Self { statements, others })
    }
}
