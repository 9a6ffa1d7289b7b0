//! Whom a condition admits: does it hold a caller to something that not everybody can have?

use std::fmt;

use super::principal::{is_account_id, is_unique_id};

/// One operator over one condition key, with its values. All of a block have to hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Condition {
    /// The operator as the policy writes it: `ForAnyValue:StringLike`.
    pub(super) written: String,
    operator: Operator,
    /// The condition key as the policy writes it.
    pub(super) key: String,
    /// The condition key in lower case: case does not matter there.
    pub(super) lower_key: String,
    /// One of them has to fit.
    pub(super) values: Vec<String>,
    /// Does the policy's version know variables?
    has_variables: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Operator {
    quantifier: Quantifier,
    base: Base,
    is_negated: bool,
    /// `…IfExists`: it holds where the key is absent.
    if_exists: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Quantifier {
    None,
    ForAnyValue,
    ForAllValues,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Base {
    /// `StringEquals`, `StringEqualsIgnoreCase`: a `*` is a star.
    Exact,
    /// `StringLike`: a `*` runs over everything, colons included.
    Like,
    /// `ArnEquals` and `ArnLike`, which are the same: a `*` stays within its field.
    Arn,
    /// `IpAddress`.
    Ip,
    /// `Bool`.
    Bool,
    /// `Null`, numbers, dates, binary, and what this version does not know.
    Other,
}

impl Operator {
    fn read(text: &str) -> Self {
        let (quantifier, rest) = match text.split_once(':') {
            Some(("ForAnyValue", rest)) => (Quantifier::ForAnyValue, rest),
            Some(("ForAllValues", rest)) => (Quantifier::ForAllValues, rest),
            _ => (Quantifier::None, text),
        };
        let (name, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |name| (name, true));
        let (base, is_negated) = match name {
            "StringEquals" | "StringEqualsIgnoreCase" => (Base::Exact, false),
            "StringNotEquals" | "StringNotEqualsIgnoreCase" => (Base::Exact, true),
            "StringLike" => (Base::Like, false),
            "StringNotLike" => (Base::Like, true),
            "ArnEquals" | "ArnLike" => (Base::Arn, false),
            "ArnNotEquals" | "ArnNotLike" => (Base::Arn, true),
            "IpAddress" => (Base::Ip, false),
            "NotIpAddress" => (Base::Ip, true),
            "Bool" => (Base::Bool, false),
            _ => (Base::Other, false),
        };
        Self { quantifier, base, is_negated, if_exists }
    }
}

/// Where the callers are that a condition admits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In that account.
    Account(String),
    /// In that organisation.
    Organisation(String),
    /// In a network: a VPC, its endpoint, a range of addresses. It says nothing about their account.
    Network(String),
    /// They are one role or user, by its unique ID, which does not tell its account.
    UniqueId(String),
    /// Nowhere: no caller fits.
    Nowhere,
}

/// What holds the callers: they are in one of the places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// The places.
    pub places: Vec<Place>,
    /// Are all its values fixed, without wildcard and variable?
    pub is_fixed: bool,
    /// Does it hold an AWS service to those that it acts for, as `aws:SourceAccount` does?
    pub holds_services: bool,
}

/// What a condition key says of a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Account,
    Organisation,
    OrganisationPath,
    Arn,
    UniqueId,
    Vpc,
    Address,
}

/// What the keys say that hold a caller.
fn about(lower_key: &str) -> Option<About> {
    Some(match lower_key {
        "kms:calleraccount" | "aws:principalaccount" | "aws:sourceaccount" | "aws:sourceowner" => About::Account,
        "aws:principalorgid" | "aws:sourceorgid" => About::Organisation,
        "aws:principalorgpaths" | "aws:sourceorgpaths" => About::OrganisationPath,
        "aws:principalarn" | "aws:sourcearn" => About::Arn,
        "aws:userid" => About::UniqueId,
        "aws:sourcevpc" | "aws:sourcevpce" => About::Vpc,
        "aws:sourceip" => About::Address,
        _ => return None,
    })
}

/// Keys that every request of a role or user has (IAM User Guide, "AWS global condition context keys").
const ALWAYS_THERE: [&str; 4] = ["kms:calleraccount", "aws:principalaccount", "aws:principalarn", "aws:userid"];

/// Keys by which a request says for whom an AWS service acts.
const OF_SERVICES: [&str; 6] = [
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceorgid",
    "aws:sourceorgpaths",
    "aws:sourceowner",
    "kms:calleraccount",
];

/// Keys that depend on each other: who fits one of a family may be bound to fit, or not to fit, another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Caller,
    Network,
    Service,
    Key(String),
}

/// Can somebody from outside keep a condition from holding?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Escape {
    /// Yes, whatever else is asked of them.
    Free,
    /// Yes, if this yes-or-no key has that value.
    If(bool),
    /// That is not sure.
    Unsure,
}

impl Condition {
    pub(super) fn new(operator: &str, key: &str, mut values: Vec<String>, has_variables: bool) -> Self {
        values.sort_unstable();
        values.dedup();
        let lower_key = key.to_ascii_lowercase();
        let read = Operator::read(operator);
        Self { written: operator.to_owned(), operator: read, key: key.to_owned(), lower_key, values, has_variables }
    }

    /// Whom it holds the callers to, where that is not everybody.
    ///
    /// # Errors
    /// It holds nobody, and why, in words.
    pub(super) fn limit(&self) -> Result<Limit, String> {
        let Self { operator, written, key, values, .. } = self;
        let Some(about) = about(&self.lower_key) else {
            return Err(match self.lower_key.as_str() {
                "aws:resourceaccount" | "aws:resourceorgid" | "aws:resourceorgpaths" => {
                    format!("`{key}` is about the key's own account, whoever calls")
                }
                "aws:username" => format!("`{key}` restricts no account: every account may have that name"),
                _ => format!("`{key}` restricts no caller"),
            });
        };
        if operator.is_negated {
            return Err(format!("`{written}` on `{key}` shuts out some and admits all others"));
        }
        let is_always_there = ALWAYS_THERE.contains(&self.lower_key.as_str());
        if operator.quantifier == Quantifier::ForAllValues || (operator.if_exists && !is_always_there) {
            return Err(format!("`{written}` holds where `{key}` is absent"));
        }
        if matches!(operator.base, Base::Bool | Base::Other) {
            return Err(format!("`{written}` on `{key}` names no caller"));
        }
        if values.is_empty() {
            return Err(format!("`{key}` has no value"));
        }
        let places = values.iter().map(|value| {
            self.place(about, value).ok_or_else(|| match (operator.base, about) {
                (Base::Like, About::Arn) if value.contains(':') => {
                    format!("`{value}` fits callers of any account: `*` in `{written}` runs over colons")
                }
                (_, About::Vpc | About::Address) => format!("`{value}` of `{key}` is no network of somebody's own"),
                _ => format!("`{value}` of `{key}` fits callers of any account"),
            })
        });
        let places = places.collect::<Result<Vec<_>, String>>()?;
        Ok(Limit {
            is_fixed: places.iter().all(|(_, is_fixed)| *is_fixed),
            places: places.into_iter().map(|(place, _)| place).collect(),
            // A service that acts for itself sends none of them.
            holds_services: OF_SERVICES.contains(&self.lower_key.as_str()) && !operator.if_exists,
        })
    }

    /// Where the callers are that fit one value, and whether it is fixed; `None` if they may be anywhere.
    fn place(&self, about: About, value: &str) -> Option<(Place, bool)> {
        let pattern = Pattern::read(value, self.has_variables);
        let takes_wildcards = matches!(self.operator.base, Base::Like | Base::Arn);
        if !takes_wildcards && !pattern.has_variable && pattern.has_wildcard && about != About::Address {
            // The star is a star: no account, organisation, role or network has one.
            return Some((Place::Nowhere, false));
        }
        let is_fixed = !pattern.has_variable && !pattern.has_wildcard;
        let text = pattern.text.as_str();
        let named = |place: Place| is_fixed.then_some((place, true));
        match about {
            About::Account if is_fixed && !is_account_id(text) => named(Place::Nowhere),
            About::Account => named(Place::Account(text.to_owned())),
            About::Organisation if is_fixed && !text.starts_with("o-") => named(Place::Nowhere),
            About::Organisation => named(Place::Organisation(text.to_owned())),
            About::OrganisationPath => match text.split_once('/') {
                // Below the organisation, a path can hardly be written without a star.
                Some((organisation, _)) if is_organisation(organisation) => {
                    Some((Place::Organisation(organisation.to_owned()), !pattern.has_variable))
                }
                _ => named(Place::Nowhere),
            },
            About::Arn => self.place_of_arn(text, is_fixed),
            About::UniqueId => {
                let (id, rest) = text.split_once(':').map_or((text, None), |(id, rest)| (id, Some(rest)));
                match rest {
                    // A role's sessions can hardly be written without a star.
                    Some(_) if is_unique_id(id) => Some((Place::UniqueId(id.to_owned()), !pattern.has_variable)),
                    Some(_) if is_account_id(id) => Some((Place::Account(id.to_owned()), !pattern.has_variable)),
                    None if is_fixed && is_account_id(id) => named(Place::Account(id.to_owned())),
                    _ => named(Place::UniqueId(id.to_owned())),
                }
            }
            About::Vpc => named(Place::Network(text.to_owned())),
            About::Address => is_narrow_range(value).then(|| (Place::Network(value.to_owned()), true)),
        }
    }

    fn place_of_arn(&self, text: &str, is_fixed: bool) -> Option<(Place, bool)> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", before @ .., account, resource] = parts.as_slice() else {
            // No ARN at all. Without a star, nobody has it.
            return is_fixed.then_some((Place::Nowhere, true));
        };
        let is_held = is_account_id(account) && !resource.is_empty() && before.len() == 3;
        // The path of a role may hold colons, and a `*` of `StringLike` runs over them: behind it, no field is for sure
        // the account. (arn:aws:iam::222222222222:role/:iam::111111111111:role/x)
        let runs_over = before
            .iter()
            .any(|part| part.contains(VARIABLE) || (part.contains(STAR) && self.operator.base == Base::Like));
        if is_held && !runs_over {
            return Some((Place::Account((*account).to_owned()), is_fixed));
        }
        // A bucket's ARN names no account: whoever owns the bucket. A role's always does.
        let names_none = account.is_empty() && self.lower_key == "aws:sourcearn";
        (is_fixed && !names_none).then_some((Place::Nowhere, true))
    }

    /// What holds the callers whom a Deny under this one condition leaves: "deny unless our organisation". `None` unless
    /// that is sure.
    pub(super) fn limit_of_deny(&self) -> Option<Limit> {
        let Operator { quantifier, is_negated, .. } = self.operator;
        // A negated operator holds where the key is absent, unless one of several values is asked for.
        if !is_negated || quantifier == Quantifier::ForAnyValue {
            return None;
        }
        let operator = Operator { quantifier: Quantifier::None, is_negated: false, if_exists: false, ..self.operator };
        let limit = Self { operator, ..self.clone() }.limit().ok()?;
        limit.is_fixed.then_some(limit)
    }

    /// Is it `Bool` on that key with that value alone?
    pub(super) fn is_bool(&self, lower_key: &str, expected: bool) -> bool {
        let Operator { base, quantifier, .. } = self.operator;
        let value = if expected { "true" } else { "false" };
        base == Base::Bool
            && quantifier == Quantifier::None
            && self.lower_key == lower_key
            && matches!(self.values.as_slice(), [only] if only.eq_ignore_ascii_case(value))
    }

    /// Does it hold where the key is absent?
    pub(super) fn holds_if_absent(&self) -> bool {
        self.operator.if_exists || self.operator.is_negated || self.operator.quantifier == Quantifier::ForAllValues
    }

    /// Does it admit AWS services only?
    pub(super) fn admits_services_only(&self) -> bool {
        if self.is_bool("aws:principalisawsservice", true) && !self.holds_if_absent() {
            return true;
        }
        let is_name = matches!(self.lower_key.as_str(), "aws:principalservicename" | "aws:principalservicenameslist");
        // Only a service has a service's name, whatever the name is.
        is_name && !self.holds_if_absent() && matches!(self.operator.base, Base::Exact | Base::Like)
    }

    /// Does it ask for a value that holds one of the accounts? `EncryptionContext:aws:…` does.
    pub(super) fn names_account(&self, accounts: &[&str]) -> bool {
        let holds = |value: &String| {
            let mut parts = value.split(|c: char| !c.is_ascii_digit());
            parts.any(|part| accounts.contains(&part))
        };
        let asks = matches!(self.operator.base, Base::Exact | Base::Like | Base::Arn) && !self.holds_if_absent();
        asks && !self.values.is_empty() && self.values.iter().all(holds)
    }

    pub(super) fn family(&self) -> Family {
        match self.lower_key.as_str() {
            "kms:viaservice" | "aws:viaawsservice" | "aws:principalisawsservice" => Family::Service,
            key if key.starts_with("aws:calledvia") || key.starts_with("aws:principalservicename") => Family::Service,
            "kms:calleraccount" | "aws:userid" | "aws:username" => Family::Caller,
            key if key.starts_with("aws:principaltag/") => Family::Key(key.to_owned()),
            key if key.starts_with("aws:principal") => Family::Caller,
            key if key.starts_with("aws:sourcevpc") || key.starts_with("aws:vpc") => Family::Network,
            "aws:sourceip" => Family::Network,
            key => Family::Key(key.to_owned()),
        }
    }

    /// Has the key a value of the caller's, of which there are any number? What is the key's own, every caller has.
    fn is_of_the_caller(&self) -> bool {
        match self.family() {
            Family::Caller => self.lower_key != "aws:principaltype",
            Family::Network => true,
            Family::Service => self.lower_key != "aws:viaawsservice",
            Family::Key(key) => {
                let prefixes = ["aws:principaltag/", "aws:source", "kms:encryptioncontext", "kms:requestalias"];
                prefixes.iter().any(|prefix| key.starts_with(prefix))
            }
        }
    }

    /// Can somebody from outside, of whom nothing else is known, keep it from holding?
    pub(super) fn escape(&self) -> Escape {
        let Operator { base, is_negated, quantifier, .. } = self.operator;
        if is_negated || quantifier == Quantifier::ForAllValues || self.values.is_empty() {
            return Escape::Unsure;
        }
        if self.operator.if_exists && !ALWAYS_THERE.contains(&self.lower_key.as_str()) && base != Base::Bool {
            return Escape::Unsure;
        }
        let fixed = |value: &String| {
            let pattern = Pattern::read(value, self.has_variables);
            !pattern.has_variable && !pattern.has_wildcard
        };
        match base {
            // There is always another value.
            Base::Exact | Base::Like | Base::Arn if self.is_of_the_caller() && self.values.iter().all(fixed) => {
                Escape::Free
            }
            Base::Ip if self.values.iter().all(|value| is_narrow_range(value)) => Escape::Free,
            Base::Bool => {
                let asks = |value| self.is_bool(&self.lower_key, value);
                let wanted = match (asks(true), asks(false)) {
                    (true, _) => false,
                    (_, true) => true,
                    _ => return Escape::Unsure,
                };
                match self.lower_key.as_str() {
                    // KMS takes no request without TLS.
                    "aws:securetransport" if wanted => Escape::Free,
                    "aws:multifactorauthpresent" | "aws:viaawsservice" => Escape::If(wanted),
                    "kms:bypasspolicylockoutsafetycheck" | "kms:grantisforawsresource" if !self.operator.if_exists => {
                        Escape::If(wanted)
                    }
                    "aws:principalisawsservice" if !wanted => Escape::Free,
                    _ => Escape::Unsure,
                }
            }
            _ => Escape::Unsure,
        }
    }

    /// Is it sure not to hold for an AWS service that calls on its own behalf?
    pub(super) fn spares_services(&self) -> bool {
        let is_absent = self.family() == Family::Caller
            || matches!(self.lower_key.as_str(), "aws:multifactorauthpresent" | "kms:viaservice");
        (is_absent
            && !self.holds_if_absent()
            && matches!(self.operator.base, Base::Exact | Base::Like | Base::Arn | Base::Bool))
            || self.is_bool("aws:principalisawsservice", false)
            || self.is_bool("aws:securetransport", false)
    }

    /// Can it not hold for a caller of that account and ARN?
    pub(super) fn spares(&self, account: &str, arn: Option<&str>) -> bool {
        if self.escape() != Escape::Free {
            return false;
        }
        match self.lower_key.as_str() {
            "kms:calleraccount" | "aws:principalaccount" => !self.values.iter().any(|value| value == account),
            // An account has many principals, and only some are named.
            "aws:principalarn" => arn.is_none_or(|arn| !self.values.iter().any(|value| value == arn)),
            _ => false,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.written, self.key, self.values.join("|"))
    }
}

/// What stands for `*`, `?` and a variable in the text of a [`Pattern`]: characters that no policy holds.
const STAR: char = '\u{1}';
const ONE: char = '\u{2}';
const VARIABLE: char = '\u{3}';

/// A value, taken apart.
struct Pattern {
    /// The text, with placeholders for what is not fixed.
    text: String,
    has_wildcard: bool,
    has_variable: bool,
}

impl Pattern {
    fn read(value: &str, has_variables: bool) -> Self {
        let mut pattern = Self { text: String::with_capacity(value.len()), has_wildcard: false, has_variable: false };
        let mut rest = value;
        while let Some(next) = rest.chars().next() {
            let variable = rest.strip_prefix("${").filter(|_| has_variables).and_then(|it| it.split_once('}'));
            if let Some((name, after)) = variable {
                match name {
                    // The three characters that can be written no other way.
                    "*" | "?" | "$" => pattern.text.push_str(name),
                    _ => {
                        pattern.has_variable = true;
                        pattern.text.push(VARIABLE);
                    }
                }
                rest = after;
                continue;
            }
            pattern.has_wildcard |= matches!(next, '*' | '?');
            pattern.text.push(match next {
                '*' => STAR,
                '?' => ONE,
                other => other,
            });
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
        }
        pattern
    }
}

fn is_organisation(text: &str) -> bool {
    text.strip_prefix("o-").is_some_and(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// Is it a range of addresses that is narrower than /8, or /32 with IPv6? AWS's own services draw the line there (Amazon S3
/// User Guide, "The meaning of 'public'").
fn is_narrow_range(text: &str) -> bool {
    let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
    let Ok(address) = address.parse::<std::net::IpAddr>() else { return false };
    let (broad, longest) = if address.is_ipv4() { (8, 32) } else { (32, 128) };
    match prefix.map(str::parse::<u8>) {
        None => true,
        Some(Ok(prefix)) => broad < prefix && prefix <= longest,
        Some(Err(_)) => false,
    }
}

/// Does the text fit the pattern, in which `*` stands for anything and `?` for one character? In time that grows with the
/// product of their lengths at most.
pub(super) fn matches_wildcards(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stood, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(c) = text.get(t) {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(fits) if *fits == '?' || fits == c => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|c| *c == '*')
}
