//! Where a run looks, and the names by which people call the keys there.

use serde::{Deserialize, Serialize};

/// The partition, Region and account that one run covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// `aws`, `aws-cn`, `aws-us-gov`, …
    pub partition: String,
    /// Region name.
    pub region: String,
    /// Twelve-digit account ID.
    pub account_id: String,
}

impl Location {
    /// Reads the location from the ARN of the function that runs. `None` if that is no ARN of a Region and an account.
    pub fn from_function_arn(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let (prefix, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
        let (region, account_id, _resource) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = prefix == "arn" && service == "lambda";
        (whole && !partition.is_empty() && !region.is_empty() && !account_id.is_empty()).then(|| Self {
            partition: partition.to_owned(),
            region: region.to_owned(),
            account_id: account_id.to_owned(),
        })
    }

    /// ARN of a key that lives here.
    pub fn key_arn(&self, key_id: &str) -> String {
        format!("arn:{}:kms:{}:{}:key/{key_id}", self.partition, self.region, self.account_id)
    }

    /// ARN of an alias that lives here.
    pub fn alias_arn(&self, alias: &str) -> String {
        format!("arn:{}:kms:{}:{}:{alias}", self.partition, self.region, self.account_id)
    }

    /// Page of the AWS console that shows the key; `None` in a partition whose console has no public address.
    pub fn console_link(&self, key_id: &str) -> Option<String> {
        self.console_page("kms", &format!("/kms/keys/{key_id}"))
    }

    /// A page of one service in the AWS console, by what follows the `#` in its address; `None` in a partition whose
    /// console has no public address.
    pub fn console_page(&self, service: &str, page: &str) -> Option<String> {
        let region = &self.region;
        Some(format!("https://{}/{service}/home?region={region}#{page}", self.console_host()?))
    }

    /// The page of an object of S3 in the AWS console, which asks for the reader's own credentials. The names need no escape.
    pub fn console_object_link(&self, bucket: &str, key: &str) -> Option<String> {
        Some(format!("https://{}/s3/object/{bucket}?region={}&prefix={key}", self.console_host()?, self.region))
    }

    fn console_host(&self) -> Option<String> {
        let region = &self.region;
        match self.partition.as_str() {
            "aws" => Some(format!("{region}.console.aws.amazon.com")),
            "aws-cn" => Some(format!("{region}.console.amazonaws.cn")),
            "aws-us-gov" => Some(format!("{region}.console.amazonaws-us-gov.com")),
            _ => None,
        }
    }
}

/// An account and Region, as an event or a plan names them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountRegion {
    /// Twelve-digit account ID.
    pub account_id: String,
    /// Region name.
    pub region: String,
}

/// Has it the form of a Region's name: words of small letters, then a number? Whether there is such a Region is for AWS
/// to say.
pub fn is_region_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('-').collect();
    let is_word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase());
    matches!(parts.as_slice(), [words @ .., number] if words.len() >= 2
        && words.iter().all(is_word) && number.parse::<u8>().is_ok())
}

/// The partition that a Region of that name belongs to: its first words tell.
pub fn partition_of(region: &str) -> &'static str {
    const OTHERS: [(&str, &str); 7] = [
        ("cn-", "aws-cn"),
        ("us-gov-", "aws-us-gov"),
        ("us-iso-", "aws-iso"),
        ("us-isob-", "aws-iso-b"),
        ("eu-isoe-", "aws-iso-e"),
        ("us-isof-", "aws-iso-f"),
        ("eusc-", "aws-eusc"),
    ];
    OTHERS.iter().find(|(prefix, _)| region.starts_with(prefix)).map_or("aws", |(_, partition)| partition)
}

/// How a person or a setting names a key: by ID, by ARN or by alias.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyName {
    /// The name as it was given.
    text: String,
    /// Region and account, if the name is an ARN.
    home: Option<(String, String)>,
    /// Key ID, or alias with its `alias/`.
    resource: Resource,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Resource {
    Id(String),
    Alias(String),
}

/// What a [`KeyName`] means in one [`Location`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<'a> {
    /// A key ID.
    Id(&'a str),
    /// An alias, with its `alias/`.
    Alias(&'a str),
    /// An ARN of another Region, or of another account's alias; and the key ID or alias in it.
    Elsewhere(&'a str, &'a str),
}

/// What a key name may look like, for error messages.
pub const KEY_NAME_FORMS: &str = "a key ID, a key ARN, an alias (`alias/…`) or an alias ARN";

impl KeyName {
    /// Does it name the key of that ID and with those aliases, wherever that is?
    pub fn is(&self, key_id: &str, aliases: &[String]) -> bool {
        match &self.resource {
            Resource::Id(id) => id == key_id,
            Resource::Alias(alias) => aliases.contains(alias),
        }
    }

    /// Reads a name. `None` if it has none of the [`KEY_NAME_FORMS`]; whether such a key exists is for KMS to say.
    pub fn parse(name: &str) -> Option<Self> {
        if !name.starts_with("arn:") {
            return Some(Self { text: name.to_owned(), home: None, resource: Resource::parse(name)? });
        }
        let mut parts = name.splitn(6, ':').skip(1);
        let (partition, service) = (parts.next()?, parts.next()?);
        let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
        if partition.is_empty() || service != "kms" || region.is_empty() || account.is_empty() {
            return None;
        }
        let resource = match resource.strip_prefix("key/") {
            Some(id) => Resource::parse(id).filter(|it| matches!(it, Resource::Id(_))),
            None => Resource::parse(resource).filter(|it| matches!(it, Resource::Alias(_))),
        };
        Some(Self { text: name.to_owned(), home: Some((region.to_owned(), account.to_owned())), resource: resource? })
    }

    /// What the name means to a run that covers `location`. The account in a key ARN does not matter: key IDs are unique,
    /// and a function that runs on a developer's machine has a made-up account.
    pub fn at(&self, location: &Location) -> Named<'_> {
        let (same_region, same_account) = match &self.home {
            None => (true, true),
            Some((region, account)) => (*region == location.region, *account == location.account_id),
        };
        match &self.resource {
            Resource::Id(id) if same_region => Named::Id(id),
            Resource::Alias(alias) if same_region && same_account => Named::Alias(alias),
            Resource::Id(it) | Resource::Alias(it) => Named::Elsewhere(&self.text, it),
        }
    }
}

impl Resource {
    fn parse(text: &str) -> Option<Self> {
        let allowed = |text: &str, more: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
            !text.is_empty() && text.len() <= 256 && text.chars().all(fits)
        };
        match text.strip_prefix("alias/") {
            Some(alias) => allowed(alias, "/_-").then(|| Self::Alias(text.to_owned())),
            None => allowed(text, "_-").then(|| Self::Id(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location() -> Location {
        Location { partition: "aws".into(), region: "us-east-1".into(), account_id: "123456789012".into() }
    }

    #[test]
    fn the_location_is_read_from_the_function_arn() {
        let read = Location::from_function_arn("arn:aws:lambda:us-east-1:123456789012:function:rotation-checker:live");
        assert_eq!(read, Some(location()));
        let other = Location::from_function_arn("arn:aws-cn:lambda:cn-north-1:123456789012:function:x").unwrap();
        assert_eq!(other.key_arn("k"), "arn:aws-cn:kms:cn-north-1:123456789012:key/k");
        for bad in ["", "function-arn", "arn:aws:lambda", "arn:aws:lambda:::function:x", "arn:aws:s3:r:1:x"] {
            assert_eq!(Location::from_function_arn(bad), None, "{bad}");
        }
    }

    #[test]
    fn names_of_regions() {
        for good in ["us-east-1", "ap-southeast-2", "us-gov-west-1", "us-iso-east-1", "eusc-de-east-1", "me-central-1"]
        {
            assert!(is_region_name(good), "{good}");
        }
        for bad in ["", "Ireland", "eu-west", "eu-west-1a", "EU-WEST-1", "eu--1", "west-1", "eu-west-300", "eu-west-1 "]
        {
            assert!(!is_region_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_region_names_its_partition() {
        for (region, partition) in [
            ("us-east-1", "aws"),
            ("ca-west-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-iso-east-1", "aws-iso"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eu-isoe-west-1", "aws-iso-e"),
            ("us-isof-south-1", "aws-iso-f"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(partition_of(region), partition, "{region}");
        }
    }

    #[test]
    fn console_links_follow_the_partition() {
        let link = |partition: &str, region: &str| {
            Location { partition: partition.into(), region: region.into(), account_id: "1".into() }.console_link("k")
        };
        assert_eq!(
            link("aws", "eu-west-1").unwrap(),
            "https://eu-west-1.console.aws.amazon.com/kms/home?region=eu-west-1#/kms/keys/k"
        );
        assert_eq!(
            link("aws-cn", "cn-north-1").unwrap(),
            "https://cn-north-1.console.amazonaws.cn/kms/home?region=cn-north-1#/kms/keys/k"
        );
        assert_eq!(
            link("aws-us-gov", "us-gov-west-1").unwrap(),
            "https://us-gov-west-1.console.amazonaws-us-gov.com/kms/home?region=us-gov-west-1#/kms/keys/k"
        );
        assert_eq!(link("aws-iso", "us-iso-east-1"), None);
        let home =
            Location { partition: "aws-cn".into(), region: "cn-north-1".into(), account_id: "111111111111".into() };
        assert_eq!(
            home.console_object_link("reports", "reports/daily.html").unwrap(),
            "https://cn-north-1.console.amazonaws.cn/s3/object/reports?region=cn-north-1&prefix=reports/daily.html"
        );
    }

    #[test]
    fn key_names() {
        let at = location();
        let id = "1234abcd-12ab-34cd-56ef-1234567890ab";
        for (name, meaning) in [
            (id.to_owned(), Named::Id(id)),
            ("mrk-0123456789abcdef0123456789abcdef".into(), Named::Id("mrk-0123456789abcdef0123456789abcdef")),
            ("alias/payments".into(), Named::Alias("alias/payments")),
            ("alias/team/a_b-c".into(), Named::Alias("alias/team/a_b-c")),
            (format!("arn:aws:kms:us-east-1:123456789012:key/{id}"), Named::Id(id)),
            ("arn:aws:kms:us-east-1:123456789012:alias/payments".into(), Named::Alias("alias/payments")),
            ("arn:aws:kms:eu-west-1:123456789012:key/k".into(), {
                Named::Elsewhere("arn:aws:kms:eu-west-1:123456789012:key/k", "k")
            }),
            ("arn:aws:kms:us-east-1:210987654321:key/k".into(), Named::Id("k")),
            ("arn:aws:kms:us-east-1:210987654321:alias/a".into(), {
                Named::Elsewhere("arn:aws:kms:us-east-1:210987654321:alias/a", "alias/a")
            }),
        ] {
            assert_eq!(KeyName::parse(&name).unwrap().at(&at), meaning, "{name}");
        }
        for bad in [
            "",
            " ",
            "a key",
            "alias/",
            "alias/a b",
            "key/1234",
            "arn:aws:s3:::bucket",
            "arn:aws:kms:us-east-1:123456789012:1234",
            "arn:aws:kms:us-east-1:123456789012:key/alias/x",
            "arn:aws:kms:us-east-1:123456789012:key/",
            "arn:aws:kms::123456789012:key/1234",
            "ключ",
        ] {
            assert_eq!(KeyName::parse(bad), None, "{bad}");
        }
    }
}
