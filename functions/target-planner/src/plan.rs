//! The plan, and what there is to say of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use domain::key_policy::is_account_id;
use domain::plan::{Notice, Row};
use domain::route::is_unit;
use domain::text::printable;
use serde::Serialize;

/// What `TARGETS` may name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetName {
    /// Every account of the organisation.
    Organization,
    /// Every account of an organizational unit, and of those within it.
    Unit(String),
    /// One account.
    Account(String),
}

impl TargetName {
    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "organization" => Some(Self::Organization),
            id if is_account_id(id) => Some(Self::Account(id.to_owned())),
            id if is_unit(id) => Some(Self::Unit(id.to_owned())),
            _ => None,
        }
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization => f.write_str("organization"),
            Self::Unit(id) | Self::Account(id) => f.write_str(id),
        }
    }
}

/// How many accounts are in no plan, by what keeps them out of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Suspended, about to be closed, or closed.
    pub not_active: usize,
    /// `EXCLUDED_ACCOUNTS` names them.
    pub excluded: usize,
    /// Not of the organisation.
    pub beyond_organization: usize,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { not_active, excluded, beyond_organization } = self;
        write!(
            f,
            "{not_active} accounts are not active, {excluded} are excluded, {beyond_organization} are beyond the \
             organisation"
        )
    }
}

/// All of them, in the order in which they came up.
#[derive(Debug, Default)]
pub struct Notices(Vec<Notice>);

impl Notices {
    /// One more that somebody is to do something about.
    pub fn add(&mut self, about: &str, reason: &str, detail: impl AsRef<str>) {
        self.push(about, reason, detail, true);
    }

    /// One more that may well be meant so.
    pub fn mention(&mut self, about: &str, reason: &str, detail: impl AsRef<str>) {
        self.push(about, reason, detail, false);
    }

    fn push(&mut self, about: &str, reason: &str, detail: impl AsRef<str>, needs_action: bool) {
        let (about, detail) = (printable(about), printable(detail.as_ref()));
        self.0.push(Notice { about, reason: reason.to_owned(), detail, needs_action });
    }

    /// All of them.
    pub fn all(&self) -> &[Notice] {
        &self.0
    }

    /// As many as fit, and how many more there are.
    pub fn first(mut self, most: usize) -> (Vec<Notice>, usize) {
        let more = self.0.len().saturating_sub(most);
        self.0.truncate(most);
        (self.0, more)
    }

    /// The first few in a line, each behind a semicolon.
    pub fn summary(&self) -> String {
        let few = self.0.iter().take(5).map(|it| format!("; {}: {}, {}", it.about, it.reason, it.detail));
        few.collect()
    }
}

/// What a listing says of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be looked at.
    Active,
    /// It is suspended, pending, or closed.
    NotActive,
    /// The organisation does not know it.
    Beyond,
}

impl Standing {
    /// By `State`, which newer answers have, or `Status`. Where neither is there, looking will tell.
    pub fn of(state: Option<&str>, status: Option<&str>) -> Self {
        match state.or(status) {
            None | Some("ACTIVE") => Self::Active,
            Some(_) => Self::NotActive,
        }
    }
}

/// The plan.
#[derive(Debug, Default)]
pub struct Plan {
    rows: BTreeSet<Row>,
    left_out: LeftOut,
}

impl Plan {
    /// The accounts that remain, in their order.
    pub fn leave_out(&mut self, found: BTreeMap<String, Standing>, excluded: &BTreeSet<String>) -> Vec<String> {
        let mut remaining = Vec::new();
        for (account_id, standing) in found {
            let count = match standing {
                _ if excluded.contains(&account_id) => &mut self.left_out.excluded,
                Standing::NotActive => &mut self.left_out.not_active,
                Standing::Beyond => &mut self.left_out.beyond_organization,
                Standing::Active => {
                    remaining.push(account_id);
                    continue;
                }
            };
            *count = count.saturating_add(1);
        }
        remaining
    }

    /// An account with its Regions.
    pub fn add(
        &mut self,
        account_id: &str,
        units: &BTreeSet<String>,
        regions: &[String],
        excluded: &BTreeSet<String>,
        notices: &mut Notices,
    ) {
        let mut any = false;
        for region in regions.iter().filter(|region| !excluded.contains(*region)) {
            any = true;
            self.rows.insert(Row { account_id: account_id.to_owned(), region: region.clone(), units: units.clone() });
        }
        if !any {
            notices.add(account_id, "no_region", "no Region of the account is left to look at");
        }
    }

    /// Its rows, sorted, each once.
    pub fn rows(&self) -> &BTreeSet<Row> {
        &self.rows
    }

    /// Is there nothing to look at?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many accounts it covers.
    pub fn accounts(&self) -> usize {
        self.rows.iter().map(|row| &row.account_id).collect::<BTreeSet<_>>().len()
    }

    /// How many accounts it leaves out.
    pub fn left_out(&self) -> LeftOut {
        self.left_out
    }
}

/// The names, each once. What stands twice is said.
pub fn named_once(names: &[TargetName], notices: &mut Notices) -> Vec<TargetName> {
    once(names, ToString::to_string, notices)
}

/// The parts of a list, each once. What stands twice is said.
pub fn once<T: Clone>(parts: &[T], name: impl Fn(&T) -> String, notices: &mut Notices) -> Vec<T> {
    let mut seen = BTreeSet::new();
    let mut kept = Vec::new();
    for part in parts {
        if seen.insert(name(part)) {
            kept.push(part.clone());
        } else {
            notices.add(&name(part), "named_twice", "it stands more than once in the list and is kept once");
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn regions(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn targets_are_named_in_three_ways() {
        for (text, name) in [
            ("organization", Some(TargetName::Organization)),
            ("222222222222", Some(TargetName::Account("222222222222".into()))),
            ("ou-abcd-12345678", Some(TargetName::Unit("ou-abcd-12345678".into()))),
            ("ou-abc-12345678", None),
            ("ou-abcd-1234567", None),
            ("ou-ABCD-12345678", None),
            ("r-abcd", None),
            ("22222222222", None),
            ("", None),
        ] {
            assert_eq!(TargetName::parse(text), name, "{text}");
        }
    }

    #[test]
    fn rows_are_sorted_and_each_stands_once() {
        let (mut plan, mut notices) = (Plan::default(), Notices::default());
        let none = BTreeSet::new();
        let unit = BTreeSet::from(["ou-abcd-12345678".to_owned()]);
        plan.add("333333333333", &none, &regions(&["us-east-1", "eu-west-1", "us-east-1"]), &none, &mut notices);
        plan.add("222222222222", &unit, &regions(&["us-east-1"]), &none, &mut notices);
        assert_eq!(
            json!(plan.rows()),
            json!([
                {"account_id": "222222222222", "region": "us-east-1", "units": ["ou-abcd-12345678"]},
                {"account_id": "333333333333", "region": "eu-west-1"},
                {"account_id": "333333333333", "region": "us-east-1"},
            ])
        );
        assert_eq!((plan.accounts(), notices.all().len()), (2, 0));
    }

    #[test]
    fn an_account_without_a_region_is_said() {
        let (mut plan, mut notices) = (Plan::default(), Notices::default());
        let excluded = BTreeSet::from(["us-east-1".to_owned()]);
        let none = BTreeSet::new();
        plan.add("222222222222", &none, &regions(&["us-east-1"]), &excluded, &mut notices);
        plan.add("333333333333", &none, &[], &excluded, &mut notices);
        assert!(plan.is_empty());
        let said: Vec<_> = notices.all().iter().map(|it| (it.about.as_str(), it.reason.as_str())).collect();
        assert_eq!(said, [("222222222222", "no_region"), ("333333333333", "no_region")]);
    }

    #[test]
    fn what_is_left_out_is_counted() {
        let mut plan = Plan::default();
        let found = [
            ("1", Standing::Active),
            ("2", Standing::NotActive),
            ("3", Standing::Beyond),
            ("4", Standing::Active),
            ("5", Standing::NotActive),
        ];
        let found = found.map(|(id, standing)| (id.to_owned(), standing)).into();
        let remaining = plan.leave_out(found, &BTreeSet::from(["4".to_owned(), "5".to_owned(), "6".to_owned()]));
        assert_eq!(remaining, ["1"]);
        assert_eq!(plan.left_out(), LeftOut { not_active: 1, excluded: 2, beyond_organization: 1 });
    }

    #[test]
    fn state_wins_over_status_and_what_says_neither_is_looked_at() {
        for (state, status, standing) in [
            (Some("ACTIVE"), Some("ACTIVE"), Standing::Active),
            (None, Some("ACTIVE"), Standing::Active),
            (None, None, Standing::Active),
            (None, Some("SUSPENDED"), Standing::NotActive),
            (None, Some("PENDING_CLOSURE"), Standing::NotActive),
            (Some("CLOSED"), Some("ACTIVE"), Standing::NotActive),
            (Some("PENDING_ACTIVATION"), None, Standing::NotActive),
            (Some("ACTIVE"), Some("SUSPENDED"), Standing::Active),
        ] {
            assert_eq!(Standing::of(state, status), standing, "{state:?} {status:?}");
        }
    }

    #[test]
    fn what_stands_twice_is_kept_once_and_said() {
        let mut notices = Notices::default();
        let names = ["organization", "222222222222", "222222222222", "organization", "222222222222"];
        let names: Vec<_> = names.iter().map(|it| TargetName::parse(it).unwrap()).collect();
        assert_eq!(named_once(&names, &mut notices).len(), 2);
        let about: Vec<_> = notices.all().iter().map(|it| it.about.as_str()).collect();
        assert_eq!(about, ["222222222222", "organization", "222222222222"]);
        let (first, more) = notices.first(2);
        assert_eq!((first.len(), more), (2, 1));
    }
}
