//! A checked description with the ways to find a key: by index, id, ARN or alias.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use crate::description::{DescriptionError, FleetDescription, KeyDescription};
use crate::faults::{Fault, FaultKind};
use crate::operation::{Operation, Service};

const GENERATED: &str = "00000000-0000-4000-8000-";
const GENERATED_MULTI_REGION: &str = "mrk-";

/// The id of the key at that index of a fleet, where its description names none and it is not a multi-Region key.
pub fn generated_key_id(index: u32) -> String {
    format!("{GENERATED}{index:012}")
}

/// Generated ids can be read back, so that `count` costs no memory for each key.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) description: FleetDescription,
    /// For each entry of the description the index after its last key.
    ends: Vec<u32>,
    named: HashMap<String, u32>,
    /// Sorted, as AWS lists them.
    aliases: BTreeMap<String, Option<u32>>,
}

/// One key of the fleet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'a> {
    pub(crate) index: u32,
    /// Its number within its entry.
    number: u32,
    pub(crate) entry: &'a KeyDescription,
    model: &'a Model,
}

impl Model {
    pub(crate) fn new(description: FleetDescription) -> Result<Self, DescriptionError> {
        if description.page_size == Some(0) {
            return Err(DescriptionError::new("page_size", "must be 1 or more"));
        }
        if description.metric_page_size == Some(0) {
            return Err(DescriptionError::new("metric_page_size", "must be 1 or more"));
        }
        if description.table_page_size == Some(0) {
            return Err(DescriptionError::new("table_page_size", "must be 1 or more"));
        }
        for (operation, fault) in &description.faults {
            check_fault(&format!("faults.{operation}"), *operation, fault)?;
        }
        let mut ends = Vec::with_capacity(description.keys.len());
        let mut named = HashMap::new();
        let mut end = 0_u32;
        for (position, entry) in description.keys.iter().enumerate() {
            let field = format!("keys[{position}]");
            check_entry(&field, entry)?;
            if let Some(id) = &entry.key_id
                && named.insert(id.clone(), end).is_some()
            {
                return Err(DescriptionError::new(format!("{field}.key_id"), format!("`{id}` is there already")));
            }
            end = end
                .checked_add(entry.count)
                .ok_or_else(|| DescriptionError::new(format!("{field}.count"), "more keys than can be counted"))?;
            ends.push(end);
        }
        let mut model = Self { description, ends, named, aliases: BTreeMap::new() };
        model.aliases = model.collect_aliases()?;
        if let Some(id) = model.named.keys().find(|id| model.generated(id).is_some()) {
            return Err(DescriptionError::new("keys", format!("`{id}` is also the generated id of another key")));
        }
        Ok(model)
    }

    fn collect_aliases(&self) -> Result<BTreeMap<String, Option<u32>>, DescriptionError> {
        let mut aliases = BTreeMap::new();
        let mut add = |field: String, alias: String, key: Option<u32>| {
            if !alias.starts_with("alias/") {
                return Err(DescriptionError::new(field, format!("`{alias}` must begin with `alias/`")));
            }
            if aliases.contains_key(&alias) {
                return Err(DescriptionError::new(field, format!("`{alias}` is there already")));
            }
            aliases.insert(alias, key);
            Ok(())
        };
        for (position, alias) in self.description.unassociated_aliases.iter().enumerate() {
            add(format!("unassociated_aliases[{position}]"), alias.clone(), None)?;
        }
        let mut start = 0;
        for (position, (entry, end)) in self.description.keys.iter().zip(&self.ends).enumerate() {
            // A deleted key's aliases are deleted with it.
            if !entry.aliases.is_empty() && !entry.gone {
                for (number, index) in (start..*end).enumerate() {
                    for (place, alias) in entry.aliases.iter().enumerate() {
                        let alias = alias.replace("{n}", &number.to_string());
                        add(format!("keys[{position}].aliases[{place}]"), alias, Some(index))?;
                    }
                }
            }
            start = *end;
        }
        Ok(aliases)
    }

    pub(crate) fn key_count(&self) -> u32 {
        self.ends.last().copied().unwrap_or(0)
    }

    pub(crate) fn key(&self, index: u32) -> Option<Key<'_>> {
        let position = self.ends.partition_point(|end| *end <= index);
        let entry = self.description.keys.get(position)?;
        let start = self.ends.get(position)?.checked_sub(entry.count)?;
        Some(Key { index, number: index.checked_sub(start)?, entry, model: self })
    }

    /// The first key from that index on that `ListKeys` gives.
    pub(crate) fn listed_from(&self, index: u32) -> Option<Key<'_>> {
        let key = self.key(index)?;
        if !key.entry.unlisted {
            return Some(key);
        }
        let position = self.ends.partition_point(|end| *end <= index);
        let next = (position..).zip(self.description.keys.get(position..)?).find(|(_, entry)| {
            // An entry of no keys has no first key either.
            !entry.unlisted && entry.count > 0
        });
        let (position, entry) = next?;
        self.key(self.ends.get(position)?.checked_sub(entry.count)?)
    }

    pub(crate) fn by_id(&self, id: &str) -> Option<Key<'_>> {
        match self.named.get(id) {
            Some(index) => self.key(*index),
            None => self.generated(id),
        }
    }

    /// The place of the key in the description.
    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        let index = self.by_id(id)?.index;
        Some(self.ends.partition_point(|end| *end <= index))
    }

    fn generated(&self, id: &str) -> Option<Key<'_>> {
        let digits = id.strip_prefix(GENERATED).or_else(|| id.strip_prefix(GENERATED_MULTI_REGION))?;
        let key = self.key(digits.parse().ok()?)?;
        (key.entry.key_id.is_none() && key.id() == id).then_some(key)
    }

    /// The alias's key, if it exists and has one.
    pub(crate) fn by_alias(&self, alias: &str) -> Option<Key<'_>> {
        self.key((*self.aliases.get(alias)?)?)
    }

    /// All aliases from that one on, in their order.
    pub(crate) fn aliases_from(&self, alias: &str) -> impl Iterator<Item = (&str, Option<Key<'_>>)> {
        self.aliases
            .range::<str, _>((Bound::Included(alias), Bound::Unbounded))
            .map(|(alias, index)| (alias.as_str(), index.and_then(|index| self.key(index))))
    }

    pub(crate) fn has_alias(&self, alias: &str) -> bool {
        self.aliases.contains_key(alias)
    }

    /// The ARN of something of this account and Region.
    pub(crate) fn arn(&self, service: &str, resource: &str) -> String {
        self.arn_in(&self.description.region, service, resource)
    }

    pub(crate) fn arn_in(&self, region: &str, service: &str, resource: &str) -> String {
        let FleetDescription { partition, account_id, .. } = &self.description;
        format!("arn:{partition}:{service}:{region}:{account_id}:{resource}")
    }
}

impl Key<'_> {
    pub(crate) fn id(&self) -> String {
        match &self.entry.key_id {
            Some(id) => id.clone(),
            None if self.entry.multi_region.is_some() => format!("{GENERATED_MULTI_REGION}{:032}", self.index),
            None => generated_key_id(self.index),
        }
    }

    pub(crate) fn arn(&self) -> String {
        self.model.arn("kms", &format!("key/{}", self.id()))
    }

    /// Its aliases, sorted.
    pub(crate) fn aliases(&self) -> Vec<String> {
        let number = self.number.to_string();
        let mut aliases: Vec<_> = self.entry.aliases.iter().map(|alias| alias.replace("{n}", &number)).collect();
        aliases.sort();
        aliases
    }
}

fn check_entry(field: &str, entry: &KeyDescription) -> Result<(), DescriptionError> {
    let invalid = |name: &str, problem: &str| Err(DescriptionError::new(format!("{field}.{name}"), problem));
    if entry.key_id.is_some() && entry.count != 1 {
        return invalid("key_id", "goes with a `count` of 1 only");
    }
    if entry.count > 1 && entry.aliases.iter().any(|alias| !alias.contains("{n}")) {
        return invalid("aliases", "must hold `{n}` where `count` is above 1");
    }
    if entry.gone && entry.unlisted {
        return invalid("gone", "a key that is neither listed nor there is no key");
    }
    for (operation, usage) in &entry.usage {
        let name = format!("usage.{operation}");
        if usage.start.as_second().rem_euclid(3600) != 0 {
            return invalid(&format!("{name}.start"), "must be the beginning of an hour");
        }
        if usage.hourly.is_empty() == usage.repeat.is_empty() || usage.repeat.is_empty() != (usage.hours == 0) {
            return invalid(&name, "takes either `hourly` or both `repeat` and `hours`");
        }
        if !(0.0..=1.0).contains(&usage.jitter) {
            return invalid(&format!("{name}.jitter"), "must be from 0 to 1");
        }
        if usage.source_key_id.is_some() && operation != "ReEncrypt" {
            return invalid(&format!("{name}.source_key_id"), "goes with `ReEncrypt` only");
        }
        if let Some(status) = &usage.status
            && !["InternalError", "Forbidden", "PartialData"].contains(&status.code.as_str())
        {
            return invalid(&format!("{name}.status.code"), "must be InternalError, Forbidden or PartialData");
        }
    }
    for (operation, fault) in &entry.faults {
        let name = format!("{field}.faults.{operation}");
        if !operation.names_a_key() {
            return Err(DescriptionError::new(name, "does not name a key: put it in the fleet's own `faults`"));
        }
        check_fault(&name, *operation, fault)?;
    }
    if let Some(operation) = entry.omit.keys().chain(entry.replace.keys()).find(|it| it.service() != Service::Kms) {
        return invalid("omit", &format!("and `replace` do not go with `{operation}`"));
    }
    if let Some((operation, _)) = entry.replace.iter().find(|(_, value)| !value.is_object()) {
        return invalid(&format!("replace.{operation}"), "must be an object");
    }
    Ok(())
}

fn check_fault(field: &str, operation: Operation, fault: &Fault) -> Result<(), DescriptionError> {
    let has_such_pages = match operation.service() {
        // Their pages are the last ones by having no token.
        Service::Account | Service::CloudTrail | Service::CloudWatch | Service::Organizations | Service::Tagging => {
            fault.kind != FaultKind::NoMarker
        }
        Service::DynamoDb => {
            fault.kind != FaultKind::NoMarker && matches!(operation, Operation::Query | Operation::Scan)
        }
        _ => operation.is_list(),
    };
    if fault.kind.is_of_pages() && !has_such_pages {
        return Err(DescriptionError::new(field, "this kind goes with operations that list"));
    }
    if fault.kind == FaultKind::Unprocessed && operation != Operation::BatchWriteItem {
        return Err(DescriptionError::new(field, "this kind goes with `BatchWriteItem` only"));
    }
    Ok(())
}
