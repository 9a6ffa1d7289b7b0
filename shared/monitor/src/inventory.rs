//! Which keys a run looks at, and in which order.

use std::collections::{BTreeMap, BTreeSet};

use aws::kms::Kms;
use domain::failure::Failure;
use domain::finding::KeyIdentity;
use domain::location::{KeyName, Location, Named};
use domain::verdict::{Verdict, excluded, not_found};
use jiff::Timestamp;

use crate::error::RunError;
use crate::held_key_id::HeldKeyId;

/// A key that the run has to look at.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// The key, or the name that stands for none.
    pub key: KeyIdentity,
    /// Why the run looks at it.
    pub source: Source,
}

/// Where a run over all keys begins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Begin<'a> {
    /// With this key, or the one that would follow it.
    With(&'a str),
    /// Nobody knows where the last run ended: as the day has it.
    ByDay(Timestamp),
}

/// How a key came into the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// `ListKeys` gave it.
    Listed,
    /// The event or the settings name it.
    Named,
    /// The verdict stands already; no call is made for the key.
    Settled(Box<Verdict>),
    /// The settings keep the run from looking at the key at all. What is known of it stays as it is.
    OutOfScope(Box<Verdict>),
}

/// The keys of one run.
///
/// A key ID is all that is held of a key that waits its turn, 24 bytes.
#[derive(Debug)]
pub struct Inventory {
    /// In the run's order: two sorted parts, the smaller ones in the second.
    listed: Vec<HeldKeyId>,
    first_part: usize,
    others: Vec<Candidate>,
    excluded: BTreeSet<String>,
    /// Is it every key of the account and Region, and not only those that somebody named?
    pub of_every_key: bool,
    /// Did listing reach its end?
    pub complete: bool,
}

impl Inventory {
    /// Finds out which keys there are: those of `asked_for` within `monitored`, or all of `monitored`, or every key of
    /// the account and Region; `left_out` are marked.
    ///
    /// # Errors
    /// [`RunError::ListKeysFailed`] if there is no list to work on: `ListKeys` gave not even a first page, or
    /// `ListAliases` failed while `left_out` names aliases, so that it is not known which keys those are.
    pub async fn take(
        kms: &Kms,
        location: &Location,
        asked_for: Option<&[KeyName]>,
        monitored: &[KeyName],
        left_out: &[KeyName],
        begin: Begin<'_>,
    ) -> Result<Self, RunError> {
        let asked_for = asked_for.unwrap_or_default();
        let names = || asked_for.iter().chain(monitored).chain(left_out).map(|name| name.at(location));
        let aliases = if names().any(|name| matches!(name, Named::Alias(_))) {
            let wanted = names().filter_map(|name| if let Named::Alias(alias) = name { Some(alias) } else { None });
            let wanted: BTreeSet<&str> = wanted.collect();
            kms.resolve_aliases(&wanted).await
        } else {
            Ok(BTreeMap::new())
        };
        if let (Err(failure), Some(Named::Alias(alias))) =
            (&aliases, left_out.iter().map(|name| name.at(location)).find(|name| matches!(name, Named::Alias(_))))
        {
            return Err(RunError::ListKeysFailed(format!("{failure}, and EXCLUDED_KEYS names `{alias}`")));
        }
        let find = |name: &KeyName| find(name.at(location), location, &aliases);
        let marked: BTreeSet<String> =
            left_out.iter().map(find).filter(|it| it.source == Source::Named).map(|it| it.key.id).collect();
        let scope: Vec<Candidate> = monitored.iter().map(find).collect();
        let of_every_key = asked_for.is_empty() && monitored.is_empty();
        let mut inventory = Self {
            listed: Vec::new(),
            first_part: 0,
            others: Vec::new(),
            excluded: marked,
            of_every_key,
            complete: true,
        };
        if of_every_key {
            inventory.list(kms, begin).await?;
        } else if asked_for.is_empty() {
            inventory.others = scope;
        } else {
            inventory.others = asked_for.iter().map(find).collect();
            if !monitored.is_empty() {
                for candidate in &mut inventory.others {
                    if candidate.source == Source::Named && !scope.iter().any(|it| it.key == candidate.key) {
                        let why = "MONITORED_KEYS does not name this key";
                        candidate.source = Source::OutOfScope(Box::new(excluded(why)));
                    }
                }
            }
        }
        inventory.others.sort_by(|a, b| a.key.arn.cmp(&b.key.arn));
        inventory.others.dedup_by(|a, b| a.key.arn == b.key.arn);
        Ok(inventory)
    }

    /// Reads `ListKeys` to its end. What a page beyond the first fails with only makes the inventory incomplete.
    async fn list(&mut self, kms: &Kms, begin: Begin<'_>) -> Result<(), RunError> {
        let mut pages = kms.list_keys();
        let mut is_first = true;
        loop {
            let page = match pages.next().await {
                Ok(Some(page)) => page,
                Ok(None) => break,
                Err(failure) if is_first => return Err(RunError::KeysNotListed(failure)),
                Err(failure) => {
                    self.break_off(&why(&failure));
                    break;
                }
            };
            is_first = false;
            for entry in page {
                let id = entry.key_id.or_else(|| entry.key_arn?.rsplit_once('/').map(|(_, id)| id.to_owned()));
                match id {
                    Some(id) => self.listed.push(HeldKeyId::from(id.as_str())),
                    None => self.break_off("an entry has neither KeyId nor KeyArn"),
                }
            }
        }
        self.listed.sort_unstable();
        self.listed.dedup();
        let start = match begin {
            Begin::With(key_id) => {
                let first = HeldKeyId::from(key_id);
                self.listed.partition_point(|id| *id < first) % self.listed.len().max(1)
            }
            Begin::ByDay(now) => first_turn(self.listed.len(), now),
        };
        self.listed.rotate_left(start);
        self.first_part = self.listed.len() - start;
        Ok(())
    }

    fn break_off(&mut self, why: &str) {
        tracing::warn!(why, "listing the keys broke off");
        self.complete = false;
    }

    /// Did `ListKeys` give this key?
    pub fn lists(&self, key_id: &str) -> bool {
        let key_id = HeldKeyId::from(key_id);
        let (first, second) = self.listed.split_at(self.first_part);
        [first, second].iter().any(|part| part.binary_search(&key_id).is_ok())
    }

    /// Will the run look at this key? It will not if the key is excluded.
    pub fn looks_at(&self, key_id: &str) -> bool {
        let is_named = || self.others.iter().any(|it| it.key.id == key_id && it.source == Source::Named);
        !self.excluded.contains(key_id) && (self.lists(key_id) || is_named())
    }

    /// The key that the run's order begins with, if the keys were listed.
    pub fn first_listed(&self) -> Option<String> {
        self.listed.first().map(HeldKeyId::to_string)
    }

    /// The listed key at that place of the run's order.
    pub fn listed_at(&self, place: usize) -> Option<String> {
        self.listed.get(place).map(HeldKeyId::to_string)
    }

    /// How many keys the run has to look at.
    pub fn count(&self) -> usize {
        self.listed.len() + self.others.len()
    }

    /// The keys, one by one, in the order in which the run should take them.
    pub fn candidates(&self, location: &Location) -> impl Iterator<Item = Candidate> {
        let listed = self
            .listed
            .iter()
            .map(HeldKeyId::to_string)
            .map(|id| Candidate { key: KeyIdentity { arn: location.key_arn(&id), id }, source: Source::Listed });
        listed.chain(self.others.iter().cloned()).map(|candidate| {
            if matches!(candidate.source, Source::Listed | Source::Named) && self.excluded.contains(&candidate.key.id) {
                let verdict = excluded("EXCLUDED_KEYS names this key");
                return Candidate { source: Source::Settled(Box::new(verdict)), ..candidate };
            }
            candidate
        })
    }
}

pub(crate) fn why(failure: &Failure) -> String {
    if failure.message.is_empty() { failure.to_string() } else { format!("{failure}: {}", failure.message) }
}

/// What a name stands for.
fn find(name: Named<'_>, location: &Location, aliases: &Result<BTreeMap<String, String>, Failure>) -> Candidate {
    let settled = |arn: String, id: &str, verdict: Verdict| Candidate {
        key: KeyIdentity { arn, id: id.to_owned() },
        source: Source::Settled(Box::new(verdict)),
    };
    let named = |id: &str| Candidate {
        key: KeyIdentity { arn: location.key_arn(id), id: id.to_owned() },
        source: Source::Named,
    };
    match (name, aliases) {
        (Named::Id(id), _) => named(id),
        (Named::Alias(alias), Ok(aliases)) => match aliases.get(alias) {
            Some(id) => named(id),
            None => settled(location.alias_arn(alias), alias, not_found("no key has this alias")),
        },
        (Named::Alias(alias), Err(failure)) => settled(location.alias_arn(alias), alias, failure.into()),
        (Named::Elsewhere(arn, resource), _) => {
            let why = "the ARN is of a Region or an account that this run does not cover";
            settled(arn.to_owned(), resource, not_found(why))
        }
    }
}

/// Where in the list a day's run begins if nobody knows where the last one ended: each day a golden ratio of the list further on. Whatever share of the keys a
/// run reaches before its deadline, the next one begins among those that it did not reach, or reaches all of them, and
/// no key waits much longer than others.
fn first_turn(keys: usize, now: Timestamp) -> usize {
    /// The golden ratio's fraction, in units of 2⁻⁶⁴.
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let day = now.as_second().div_euclid(86_400).cast_unsigned();
    let turned = u128::from(day.wrapping_mul(GOLDEN)) * keys as u128;
    usize::try_from(turned >> 64).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(keys: usize, days: i64) -> Vec<usize> {
        (20_000..20_000 + days).map(|day| first_turn(keys, Timestamp::from_second(day * 86_400).unwrap())).collect()
    }

    #[test]
    fn knows_its_keys_in_whatever_order() {
        let ids = |numbers: [u32; 3]| numbers.map(|n| HeldKeyId::from(format!("k{n}").as_str())).to_vec();
        let named =
            |id: &str, source| Candidate { key: KeyIdentity { arn: format!("arn:{id}"), id: id.into() }, source };
        for start in 0..3 {
            let mut listed = ids([1, 3, 5]);
            listed.sort_unstable();
            listed.rotate_left(start);
            let inventory = Inventory {
                listed: listed.clone(),
                first_part: 3 - start,
                others: vec![
                    named("n", Source::Named),
                    named("s", Source::Settled(Box::new(not_found("no such key")))),
                ],
                excluded: BTreeSet::from(["k3".to_owned()]),
                of_every_key: true,
                complete: true,
            };
            for (id, lists, looks_at) in [
                ("k1", true, true),
                ("k2", false, false),
                ("k3", true, false),
                ("k5", true, true),
                ("n", false, true),
                ("s", false, false),
            ] {
                assert_eq!((inventory.lists(id), inventory.looks_at(id)), (lists, looks_at), "{id} in {listed:?}");
            }
            assert_eq!(inventory.first_listed(), listed.first().map(HeldKeyId::to_string));
        }
    }

    #[test]
    fn a_day_has_one_order() {
        let morning = Timestamp::from_second(20_000 * 86_400).unwrap();
        let evening = Timestamp::from_second(20_001 * 86_400 - 1).unwrap();
        assert_eq!(first_turn(1_000, morning), first_turn(1_000, evening));
        assert_eq!(first_turn(0, morning), 0);
        assert!(starts(7, 100).into_iter().all(|start| start < 7));
    }

    #[test]
    fn the_next_run_begins_among_the_keys_that_were_not_reached_or_reaches_them_all() {
        let keys = 1_000;
        for reached in [50, 200, 500, 618, 700, 900] {
            for day in starts(keys, 50).windows(2) {
                let ahead = (day[1] + keys - day[0]) % keys;
                let begins_among_them = ahead >= reached;
                let reaches_all = ahead <= reached && ahead + reached >= keys;
                assert!(begins_among_them || reaches_all, "{reached} of {keys}: {day:?}");
            }
        }
    }

    #[test]
    fn no_key_starves() {
        let keys = 1_000;
        for reached in [50, 100, 250, 500] {
            let fair = keys / reached;
            for first in 0..30 {
                let mut seen = vec![false; keys];
                let mut days = 0;
                for start in starts(keys, 200).into_iter().skip(first) {
                    (0..reached).for_each(|n| seen[(start + n) % keys] = true);
                    days += 1;
                    if seen.iter().all(|it| *it) {
                        break;
                    }
                }
                assert!(days <= 2 * fair + 1, "{reached} a day: {days} days, {fair} at best");
            }
        }
    }
}
