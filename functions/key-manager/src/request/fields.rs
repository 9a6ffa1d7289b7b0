//! What stands in the fields of a request: each kind of value knows what it may be.

use std::fmt;

use domain::key_policy::is_account_id;
use domain::location::{Location, partition_of};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{InvalidRequest, OWN_TAG_PREFIX};

/// Most bytes of a key policy as compact JSON.
pub const MAX_POLICY_BYTES: usize = 32 * 1024;

/// Defines a kind of text that is what a function says it is, and nothing else.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $check:path, $max_length:literal $(, pattern = $pattern:literal)?;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize, Serialize)]
        #[serde(try_from = "String")]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[cfg_attr(test, schemars(extend("maxLength" = $max_length $(, "pattern" = $pattern)?)))]
        pub struct $name(String);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                length(&text, $max_length)?;
                $check(&text)?;
                Ok(Self(text))
            }
        }
    )*};
}

texts! {
    /// Names a request: 1 to 64 letters, digits, `-` or `_`.
    ClientToken: token, 64, pattern = "^[A-Za-z0-9_-]+$";
    /// Who asks, in their own words: 1 to 256 characters that can be read.
    RequestedBy: one_line, 256, pattern = r"^(?=.*\S)[^\x00-\x1f\x7f-\x9f]+$";
    /// Description of a key: 1 to 8,192 characters.
    Description: not_empty, 8192, pattern = "^[\\s\\S]+$";
    /// Name of an alias, with its `alias/`: up to 256 letters, digits, `/`, `_` or `-`; `alias/aws/` is AWS's.
    AliasName: alias, 256, pattern = "^alias/(?!aws/)[A-Za-z0-9/_-]+$";
    /// Key of a tag: 1 to 128 characters that tags may have; what begins with `aws:` or `kms-compliance/` is others'.
    TagKey: tag_key, 128, pattern = r##"^(?!kms-compliance/|[aA][wW][sS]:)[^\x00-\x1f!"#$%&'()*,;<>?\[\\\]^`{|}~\x7f]{1,128}$"##;
    /// Value of a tag: up to 256 characters that tags may have.
    TagValue: tag_text, 256, pattern = r##"^[^\x00-\x1f!"#$%&'()*,;<>?\[\\\]^`{|}~\x7f]*$"##;
    /// Name of a Region.
    RegionName: region, 32, pattern = "^[a-z]{2,5}(-[a-z]+)+-[0-9]{1,2}$";
    /// ARN of a role or a user, without wildcards.
    PrincipalArn: principal, 2048, pattern = "^arn:[a-z0-9-]+:iam::[0-9]{12}:(role|user)/[A-Za-z0-9_+=,.@/-]+$";
    /// A key by its ID or its ARN. An alias is refused: it can point to another key by the time the request is carried out.
    KeyReference: key_reference, 256, pattern = "^(arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]{12}:key/)?[A-Za-z0-9-]+$";
    /// A key by its ARN.
    KeyArn: key_arn, 256, pattern = "^arn:[a-z0-9-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$";
}

/// Defines a number within a range.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $least:literal to $greatest:literal, default $default:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
        #[serde(try_from = "i64")]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[cfg_attr(test, schemars(extend("minimum" = $least, "maximum" = $greatest), transform = without_format))]
        pub struct $name(i32);

        impl $name {
            /// The number.
            pub fn get(self) -> i32 {
                self.0
            }
        }

        impl Default for $name {
            fn default() -> Self {
                Self($default)
            }
        }

        impl TryFrom<i64> for $name {
            type Error = String;

            fn try_from(number: i64) -> Result<Self, String> {
                let fits = i32::try_from(number).ok().filter(|it| ($least..=$greatest).contains(it));
                fits.map(Self).ok_or_else(|| {
                    format!("{number} is out of range; it is a whole number from {} to {}", $least, $greatest)
                })
            }
        }
    )*};
}

numbers! {
    /// Days between two automatic rotations: 90 to 2,560.
    RotationPeriod: 90 to 2560, default 365;
    /// Days in which a deletion can be cancelled: 7 to 30.
    WaitingPeriod: 7 to 30, default 30;
    /// Days that an audit looks back: 1 to 90.
    AuditDays: 1 to 90, default 90;
    /// Records that one answer holds: 1 to 100.
    ListLimit: 1 to 100, default 50;
}

/// JSON Schema knows no `int32`.
#[cfg(test)]
fn without_format(schema: &mut schemars::Schema) {
    schema.remove("format");
}

/// A key policy, as the JSON object that it is: up to 32 KiB as compact JSON.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "Map<String, Value>")]
#[cfg_attr(test, derive(schemars::JsonSchema), schemars(extend("minProperties" = 1)))]
pub struct Policy(Map<String, Value>);

impl Policy {
    /// The policy as compact JSON: what KMS gets.
    pub fn text(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }
}

impl TryFrom<Map<String, Value>> for Policy {
    type Error = String;

    fn try_from(policy: Map<String, Value>) -> Result<Self, String> {
        if policy.is_empty() {
            return Err("is empty".to_owned());
        }
        let policy = Self(policy);
        let length = policy.text().len();
        if length > MAX_POLICY_BYTES {
            return Err(format!("has {length} bytes as compact JSON; KMS takes {MAX_POLICY_BYTES}"));
        }
        Ok(policy)
    }
}

impl KeyReference {
    /// Key ID.
    pub fn id(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Account, if the reference is an ARN.
    pub fn account(&self) -> Option<&str> {
        self.0.split(':').nth(4)
    }

    /// Is the key, if it says, where the function runs?
    pub(super) fn check(&self, field: &str, location: &Location) -> Result<(), InvalidRequest> {
        check_home(&self.0, field, location)
    }
}

impl KeyArn {
    /// Key ID.
    pub fn id(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Account.
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }

    /// Is the key where the function runs?
    pub(super) fn check(&self, field: &str, location: &Location) -> Result<(), InvalidRequest> {
        check_home(&self.0, field, location)
    }
}

impl PrincipalArn {
    /// Account.
    pub fn account(&self) -> &str {
        self.0.split(':').nth(4).unwrap_or_default()
    }

    /// Is the principal of the function's partition?
    pub(super) fn check(&self, field: &str, location: &Location) -> Result<(), InvalidRequest> {
        check_home(&self.0, field, location)
    }
}

impl RegionName {
    /// The partition that the Region is of.
    pub fn partition(&self) -> &'static str {
        partition_of(&self.0)
    }
}

/// The partition of an ARN, and its Region if it has one, must be the function's. The account need not be: on a
/// developer's machine the function has a made-up one.
fn check_home(text: &str, field: &str, location: &Location) -> Result<(), InvalidRequest> {
    let mut parts = text.split(':');
    if parts.next() != Some("arn") {
        return Ok(());
    }
    let (partition, _service, region) = (parts.next(), parts.next(), parts.next().filter(|region| !region.is_empty()));
    if partition.is_some_and(|it| it != location.partition) {
        let problem = format!("is of another partition than the function, which is in `{}`", location.partition);
        return Err(InvalidRequest::new(field, problem));
    }
    if region.is_some_and(|it| it != location.region) {
        let problem = format!("is of another Region than the function, which is in `{}`", location.region);
        return Err(InvalidRequest::new(field, problem));
    }
    Ok(())
}

fn length(text: &str, max: usize) -> Result<(), String> {
    let length = text.chars().count();
    if length > max { Err(format!("has {length} characters; at most {max} are taken")) } else { Ok(()) }
}

fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
}

/// Not empty, and no other character than those.
fn only(text: &str, is_taken: impl Fn(char) -> bool, taken: &str) -> Result<(), String> {
    not_empty(text)?;
    match text.chars().find(|&c| !is_taken(c)) {
        Some(c) => Err(format!("has the character {c:?}; {taken} are taken")),
        None => Ok(()),
    }
}

fn token(text: &str) -> Result<(), String> {
    only(text, |c| c.is_ascii_alphanumeric() || "-_".contains(c), "letters, digits, `-` and `_`")
}

fn one_line(text: &str) -> Result<(), String> {
    only(text, |c| !c.is_control(), "characters without control characters")?;
    if text.trim().is_empty() { Err("is empty".to_owned()) } else { Ok(()) }
}

fn alias(text: &str) -> Result<(), String> {
    not_empty(text)?;
    let name = text.strip_prefix("alias/").ok_or("does not begin with `alias/`")?;
    only(name, |c| c.is_ascii_alphanumeric() || "/_-".contains(c), "letters, digits, `/`, `_` and `-`")?;
    if name.starts_with("aws/") { Err("begins with `alias/aws/`, which is AWS's own".to_owned()) } else { Ok(()) }
}

fn tag_text(text: &str) -> Result<(), String> {
    let is_taken = |c: char| c.is_alphanumeric() || (c.is_whitespace() && !c.is_control()) || "_.:/=+-@".contains(c);
    match text.chars().find(|&c| !is_taken(c)) {
        Some(c) => Err(format!("has the character {c:?}; letters, digits, spaces and `_.:/=+-@` are taken")),
        None => Ok(()),
    }
}

fn tag_key(text: &str) -> Result<(), String> {
    not_empty(text)?;
    tag_text(text)?;
    if text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("aws:")) {
        return Err("begins with `aws:`, which is AWS's own".to_owned());
    }
    if text.get(..OWN_TAG_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(OWN_TAG_PREFIX)) {
        return Err(format!("begins with `{OWN_TAG_PREFIX}`, which is the product's own"));
    }
    Ok(())
}

fn region(text: &str) -> Result<(), String> {
    not_empty(text)?;
    let parts: Vec<&str> = text.split('-').collect();
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    let fits = match parts.as_slice() {
        [area, places @ .., number] => {
            (2..=5).contains(&area.len())
                && letters(area)
                && !places.is_empty()
                && places.iter().all(|place| letters(place))
                && (1..=2).contains(&number.len())
                && number.bytes().all(|b| b.is_ascii_digit())
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err("is no name of a Region, such as `eu-west-1`".to_owned()) }
}

fn principal(text: &str) -> Result<(), String> {
    not_empty(text)?;
    let name = match text.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "iam", "", account, resource] if !partition.is_empty() && is_account_id(account) => {
            resource.strip_prefix("role/").or_else(|| resource.strip_prefix("user/"))
        }
        _ => None,
    };
    let taken = |c: char| c.is_ascii_alphanumeric() || "_+=,.@/-".contains(c);
    match name {
        Some(name) if !name.is_empty() && !name.ends_with('/') && name.chars().all(taken) => Ok(()),
        _ => Err("is no ARN of a role or a user, such as `arn:aws:iam::111122223333:role/name`".to_owned()),
    }
}

fn key_id(text: &str) -> Result<(), String> {
    only(text, |c| c.is_ascii_alphanumeric() || c == '-', "letters, digits and `-` of a key ID")
}

fn key_reference(text: &str) -> Result<(), String> {
    if text.starts_with("arn:") {
        key_arn(text)
    } else {
        key_id(text).map_err(|why| format!("is no key ID or key ARN: {why}"))
    }
}

fn key_arn(text: &str) -> Result<(), String> {
    not_empty(text)?;
    match text.splitn(6, ':').collect::<Vec<_>>().as_slice() {
        ["arn", partition, "kms", region, account, resource]
            if !partition.is_empty() && !region.is_empty() && is_account_id(account) =>
        {
            resource.strip_prefix("key/").map(key_id)
        }
        _ => None,
    }
    .unwrap_or_else(|| Err("is no key ARN, such as `arn:aws:kms:eu-west-1:111122223333:key/…`".to_owned()))
}
