//! Condition expressions: parsed with their names and values put in, then held against an item.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use crate::error::ApiError;
use crate::table::{Attribute, Item};

/// `ExpressionAttributeNames` and `ExpressionAttributeValues`, and which of them an expression has used.
#[derive(Debug)]
pub(crate) struct Substitutes<'a> {
    names: Option<&'a BTreeMap<String, String>>,
    values: Option<&'a BTreeMap<String, Attribute>>,
    used: BTreeSet<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Condition {
    Or(Box<Condition>, Box<Condition>),
    And(Box<Condition>, Box<Condition>),
    Not(Box<Condition>),
    Exists(Path),
    BeginsWith(Operand, Operand),
    Compare(Operand, Comparator, Operand),
}

/// An attribute's name, and the names that lead further into it.
pub(crate) type Path = Vec<String>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand {
    Path(Path),
    Value(Attribute),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Comparator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

pub(crate) fn validation(message: impl Into<String>) -> ApiError {
    ApiError::bad_request("ValidationException", message)
}

impl<'a> Substitutes<'a> {
    pub(crate) fn new(
        names: Option<&'a BTreeMap<String, String>>,
        values: Option<&'a BTreeMap<String, Attribute>>,
    ) -> Result<Self, ApiError> {
        for (field, empty) in [
            ("ExpressionAttributeNames", names.is_some_and(BTreeMap::is_empty)),
            ("ExpressionAttributeValues", values.is_some_and(BTreeMap::is_empty)),
        ] {
            if empty {
                return Err(validation(format!("{field} must not be empty")));
            }
        }
        if let Some(problem) = values.into_iter().flat_map(BTreeMap::values).find_map(Attribute::problem) {
            return Err(validation(problem));
        }
        Ok(Self { names, values, used: BTreeSet::new() })
    }

    /// Refuses names and values that no expression has used.
    pub(crate) fn finish(self, with_expression: bool) -> Result<(), ApiError> {
        let names: Vec<&String> = self.names.into_iter().flat_map(BTreeMap::keys).collect();
        let values: Vec<&String> = self.values.into_iter().flat_map(BTreeMap::keys).collect();
        for (field, keys) in [("ExpressionAttributeNames", names), ("ExpressionAttributeValues", values)] {
            if !with_expression && !keys.is_empty() {
                return Err(validation(format!("{field} can only be specified when using expressions")));
            }
            let unused: Vec<_> = keys.into_iter().filter(|key| !self.used.contains(*key)).map(String::as_str).collect();
            if !unused.is_empty() {
                let unused = unused.join(", ");
                return Err(validation(format!("Value provided in {field} unused in expressions: keys: {{{unused}}}")));
            }
        }
        Ok(())
    }

    fn name(&mut self, field: &str, name: &str) -> Result<String, ApiError> {
        self.used.insert(name.to_owned());
        self.names.and_then(|names| names.get(name)).cloned().ok_or_else(|| {
            validation(format!(
                "Invalid {field}: An expression attribute name used in the document path is not defined; attribute name: {name}"
            ))
        })
    }

    fn value(&mut self, field: &str, name: &str) -> Result<Attribute, ApiError> {
        self.used.insert(name.to_owned());
        self.values.and_then(|values| values.get(name)).cloned().ok_or_else(|| {
            validation(format!(
                "Invalid {field}: An expression attribute value used in expression is not defined; attribute value: {name}"
            ))
        })
    }
}

/// Parses the expression in that field of a request.
pub(crate) fn parse(field: &str, text: &str, substitutes: &mut Substitutes<'_>) -> Result<Condition, ApiError> {
    if text.is_empty() {
        return Err(validation(format!("Invalid {field}: The expression can not be empty;")));
    }
    let mut parser = Parser { field, tokens: tokens(field, text)?, place: 0, substitutes };
    let condition = parser.or()?;
    match parser.next() {
        None => Ok(condition),
        Some(token) => Err(parser.unexpected(&token)),
    }
}

fn tokens(field: &str, text: &str) -> Result<Vec<String>, ApiError> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '#' | ':');
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if ["<>", "<=", ">="].iter().any(|operator| rest.starts_with(operator)) {
            2
        } else if matches!(first, '=' | '<' | '>' | '(' | ')' | ',' | '.') {
            1
        } else {
            return Err(validation(format!("Invalid {field}: Syntax error; token: \"{first}\"")));
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token.to_owned());
        rest = after.trim_start();
    }
    Ok(tokens)
}

struct Parser<'p, 's> {
    field: &'p str,
    tokens: Vec<String>,
    place: usize,
    substitutes: &'p mut Substitutes<'s>,
}

impl Parser<'_, '_> {
    fn or(&mut self) -> Result<Condition, ApiError> {
        let mut condition = self.and()?;
        while self.takes_word("OR") {
            condition = Condition::Or(Box::new(condition), Box::new(self.and()?));
        }
        Ok(condition)
    }

    fn and(&mut self) -> Result<Condition, ApiError> {
        let mut condition = self.not()?;
        while self.takes_word("AND") {
            condition = Condition::And(Box::new(condition), Box::new(self.not()?));
        }
        Ok(condition)
    }

    fn not(&mut self) -> Result<Condition, ApiError> {
        if self.takes_word("NOT") {
            return Ok(Condition::Not(Box::new(self.not()?)));
        }
        if self.takes_word("(") {
            let condition = self.or()?;
            self.expect(")")?;
            return Ok(condition);
        }
        if self.tokens.get(self.place.saturating_add(1)).is_some_and(|token| token == "(") {
            return self.function();
        }
        let left = self.operand()?;
        let Some(token) = self.next() else { return Err(self.ended()) };
        let comparator = match token.as_str() {
            "=" => Comparator::Equal,
            "<>" => Comparator::NotEqual,
            "<" => Comparator::Less,
            "<=" => Comparator::LessOrEqual,
            ">" => Comparator::Greater,
            ">=" => Comparator::GreaterOrEqual,
            _ => return Err(self.unexpected(&token)),
        };
        let right = self.operand()?;
        if !matches!(comparator, Comparator::Equal | Comparator::NotEqual) {
            for operand in [&left, &right] {
                if let Operand::Value(value) = operand
                    && !matches!(value, Attribute::S(_) | Attribute::N(_) | Attribute::B(_))
                {
                    let problem = format!(
                        "Invalid {}: Incorrect operand type for operator or function; operator or function: {token}",
                        self.field
                    );
                    return Err(validation(problem));
                }
            }
        }
        Ok(Condition::Compare(left, comparator, right))
    }

    fn function(&mut self) -> Result<Condition, ApiError> {
        let Some(name) = self.next() else { return Err(self.ended()) };
        self.expect("(")?;
        let condition = match name.as_str() {
            "attribute_exists" => Condition::Exists(self.path()?),
            "attribute_not_exists" => Condition::Not(Box::new(Condition::Exists(self.path()?))),
            "begins_with" => {
                let path = self.operand()?;
                self.expect(",")?;
                let prefix = self.operand()?;
                if let Operand::Value(value) = &prefix
                    && !matches!(value, Attribute::S(_))
                {
                    let problem = format!(
                        "Invalid {}: Incorrect operand type for operator or function; operator or function: begins_with",
                        self.field
                    );
                    return Err(validation(problem));
                }
                Condition::BeginsWith(path, prefix)
            }
            _ => {
                let problem = format!(
                    "Invalid {}: Invalid function name; function: {name} (the simulated fleet knows attribute_exists, \
                     attribute_not_exists and begins_with)",
                    self.field
                );
                return Err(validation(problem));
            }
        };
        self.expect(")")?;
        Ok(condition)
    }

    fn operand(&mut self) -> Result<Operand, ApiError> {
        match self.tokens.get(self.place).cloned() {
            Some(token) if token.starts_with(':') => {
                self.place = self.place.saturating_add(1);
                self.substitutes.value(self.field, &token).map(Operand::Value)
            }
            _ => self.path().map(Operand::Path),
        }
    }

    fn path(&mut self) -> Result<Path, ApiError> {
        let mut path = vec![self.name()?];
        while self.takes_word(".") {
            path.push(self.name()?);
        }
        Ok(path)
    }

    fn name(&mut self) -> Result<String, ApiError> {
        let Some(token) = self.next() else { return Err(self.ended()) };
        match token.chars().next() {
            Some('#') => self.substitutes.name(self.field, &token),
            Some(first) if first.is_ascii_alphabetic() && !matches!(token.as_str(), "AND" | "OR" | "NOT") => Ok(token),
            _ => Err(self.unexpected(&token)),
        }
    }

    fn next(&mut self) -> Option<String> {
        let token = self.tokens.get(self.place).cloned();
        self.place = self.place.saturating_add(1);
        token
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let takes = self.tokens.get(self.place).is_some_and(|token| token.eq_ignore_ascii_case(word));
        if takes {
            self.place = self.place.saturating_add(1);
        }
        takes
    }

    fn expect(&mut self, word: &str) -> Result<(), ApiError> {
        match self.next() {
            Some(token) if token == word => Ok(()),
            Some(token) => Err(self.unexpected(&token)),
            None => Err(self.ended()),
        }
    }

    fn unexpected(&self, token: &str) -> ApiError {
        validation(format!("Invalid {}: Syntax error; token: \"{token}\"", self.field))
    }

    fn ended(&self) -> ApiError {
        validation(format!("Invalid {}: Syntax error; token: \"<EOF>\"", self.field))
    }
}

impl Condition {
    /// Whether it holds of the item; an item that is not there has no attributes.
    pub(crate) fn holds(&self, item: Option<&Item>) -> bool {
        match self {
            Self::Or(left, right) => left.holds(item) || right.holds(item),
            Self::And(left, right) => left.holds(item) && right.holds(item),
            Self::Not(condition) => !condition.holds(item),
            Self::Exists(path) => at(item, path).is_some(),
            Self::BeginsWith(text, prefix) => match (text.value(item), prefix.value(item)) {
                (Some(Attribute::S(text)), Some(Attribute::S(prefix))) => text.starts_with(prefix.as_str()),
                _ => false,
            },
            Self::Compare(left, comparator, right) => comparator.holds(left.value(item), right.value(item)),
        }
    }
}

fn at<'a>(item: Option<&'a Item>, path: &[String]) -> Option<&'a Attribute> {
    let (first, rest) = path.split_first()?;
    rest.iter().try_fold(item?.get(first)?, |attribute, name| match attribute {
        Attribute::M(members) => members.get(name),
        _ => None,
    })
}

impl Operand {
    fn value<'a>(&'a self, item: Option<&'a Item>) -> Option<&'a Attribute> {
        match self {
            Self::Path(path) => at(item, path),
            Self::Value(value) => Some(value),
        }
    }
}

impl Comparator {
    /// An attribute that is not there, or is of another type, is unequal to all and neither less nor greater.
    fn holds(self, left: Option<&Attribute>, right: Option<&Attribute>) -> bool {
        let order = left.zip(right).and_then(|(left, right)| match (left, right) {
            (Attribute::S(left), Attribute::S(right)) => Some(left.cmp(right)),
            (Attribute::N(left), Attribute::N(right)) => compare_numbers(left, right),
            _ => None,
        });
        let equal = order == Some(Ordering::Equal) || left.is_some() && left == right;
        match self {
            Self::Equal => equal,
            Self::NotEqual => !equal,
            Self::Less => order == Some(Ordering::Less),
            Self::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => order == Some(Ordering::Greater),
            Self::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

/// Whole numbers exactly, others as far as a double goes.
fn compare_numbers(left: &str, right: &str) -> Option<Ordering> {
    match (left.parse::<i128>(), right.parse::<i128>()) {
        (Ok(left), Ok(right)) => Some(left.cmp(&right)),
        _ => left.parse::<f64>().ok()?.partial_cmp(&right.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(expression: &str, item: Option<&Item>) -> Result<bool, String> {
        let names = [("#pk", "pk"), ("#n", "n"), ("#m", "m"), ("#in", "in")]
            .map(|(key, name)| (key.to_owned(), name.to_owned()));
        let values = [
            (":p", Attribute::S("p".to_owned())),
            (":five", Attribute::N("5".to_owned())),
            (":yes", Attribute::Bool(true)),
        ]
        .map(|(key, value)| (key.to_owned(), value));
        let (names, values) = (names.into(), values.into());
        let mut substitutes = Substitutes::new(Some(&names), Some(&values)).unwrap();
        let condition = parse("ConditionExpression", expression, &mut substitutes);
        condition.map(|condition| condition.holds(item)).map_err(|error| error.message)
    }

    #[test]
    fn conditions_hold_or_not() {
        let item: Item = [
            ("pk", Attribute::S("part".to_owned())),
            ("n", Attribute::N("5.0".to_owned())),
            ("flag", Attribute::Bool(true)),
            ("m", Attribute::M([("in".to_owned(), Attribute::S("p".to_owned()))].into())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (expression, there, absent) in [
            ("attribute_exists(#pk)", true, false),
            ("attribute_not_exists(pk)", false, true),
            ("begins_with(#pk, :p)", true, false),
            ("begins_with(#n, :p)", false, false),
            ("#n = :five", true, false),
            ("#n <> :five", false, true),
            ("#n < :five", false, false),
            ("#n <= :five AND #n >= :five", true, false),
            ("#n > :five", false, false),
            ("#pk > :five", false, false),
            ("flag = :yes", true, false),
            ("#m.#in = :p", true, false),
            ("#m.#n = :p", false, false),
            ("NOT #n = :five", false, true),
            ("NOT (#n = :five)", false, true),
            // AND binds closer than OR, NOT closer than both.
            ("attribute_exists(pk) OR attribute_exists(x) AND attribute_exists(x)", true, false),
            ("(attribute_exists(pk) OR attribute_exists(x)) AND attribute_exists(x)", false, false),
            ("NOT attribute_exists(pk) and attribute_exists(x) or flag=:yes", true, false),
        ] {
            assert_eq!(holds(expression, Some(&item)), Ok(there), "{expression}");
            assert_eq!(holds(expression, None), Ok(absent), "{expression}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (expression, problem) in [
            ("", "can not be empty"),
            ("#x = :p", "attribute name: #x"),
            ("#n = :x", "attribute value: :x"),
            ("#n < :yes", "operator or function: <"),
            ("begins_with(#n, :five)", "operator or function: begins_with"),
            ("contains(#n, :five)", "function: contains"),
            ("#n = :five AND", "<EOF>"),
            ("#n =", "<EOF>"),
            ("(#n = :five", "<EOF>"),
            ("#n :five", "token: \":five\""),
            ("#n = :five)", "token: \")\""),
            ("#n = 5", "token: \"5\""),
            ("#n == :five", "token: \"=\""),
            ("#n = 'a'", "token: \"'\""),
        ] {
            let error = holds(expression, None).unwrap_err();
            assert!(error.contains(problem), "{expression}: {error}");
        }
    }
}
