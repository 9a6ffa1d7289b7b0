//! Which accounts are in the organisational units that routes name, by the plan of the execution.

use std::collections::{BTreeMap, BTreeSet};

use domain::plan::{Row, object_key};
use domain::route::Route;
use tokio::time::Instant;

use crate::bucket::Bucket;

/// For each account of the plan, the routed units that it is in.
#[derive(Debug, Default)]
pub(crate) struct Units(BTreeMap<String, BTreeSet<String>>);

impl Units {
    /// Reads the plan of an execution.
    ///
    /// # Errors
    /// It is out of reach or makes no sense: why, in words.
    pub(crate) async fn read(bucket: &Bucket, execution: &str, until: Instant) -> Result<Self, String> {
        let key = object_key(execution);
        let plan = bucket.get(&key, until).await?;
        Self::parse(&plan).map_err(|error| format!("the plan {key} makes no sense: {error}"))
    }

    fn parse(plan: &[u8]) -> Result<Self, serde_json::Error> {
        let mut of_accounts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for Row { account_id, units, .. } in serde_json::from_slice::<Vec<Row>>(plan)? {
            of_accounts.entry(account_id).or_default().extend(units);
        }
        Ok(Self(of_accounts))
    }

    /// The units that an account is in; none where the plan does not have it.
    pub(crate) fn of(&self, account_id: &str) -> &BTreeSet<String> {
        static NONE: BTreeSet<String> = BTreeSet::new();
        self.0.get(account_id).unwrap_or(&NONE)
    }

    /// Those of the accounts that may be of a route's units, as far as anybody knows: the plan does not have them, and the route
    /// does not name them.
    pub(crate) fn unknown<'a>(&self, route: &Route, accounts: &BTreeSet<&'a str>) -> Vec<&'a str> {
        let is_unknown = |account: &&str| !self.0.contains_key(*account) && !route.accounts.contains(*account);
        accounts.iter().copied().filter(is_unknown).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:team";

    #[test]
    fn a_plan_says_which_units_an_account_is_in() {
        let plan = br#"[
            {"account_id": "222222222222", "region": "eu-west-1", "units": ["ou-abcd-11111111"]},
            {"account_id": "222222222222", "region": "us-east-1", "units": ["ou-abcd-11111111", "ou-abcd-22222222"]},
            {"account_id": "333333333333", "region": "us-east-1"}
        ]"#;
        let units = Units::parse(plan).unwrap();
        let routes = format!("ou-abcd-11111111={TOPIC},444444444444={TOPIC}");
        let route = &Route::parse_all(&routes).unwrap()[0];
        for (account, count, is_taken) in [
            ("222222222222", 2, true),
            ("333333333333", 0, false),
            ("444444444444", 0, true),
            ("555555555555", 0, false),
        ] {
            assert_eq!(units.of(account).len(), count, "{account}");
            assert_eq!(route.takes(account, units.of(account)), is_taken, "{account}");
        }
        let all = BTreeSet::from(["222222222222", "333333333333", "444444444444", "555555555555"]);
        assert_eq!(units.unknown(route, &all), ["555555555555"]);
    }

    #[test]
    fn what_is_no_plan_is_an_error() {
        for plan in ["", "{}", "[{}]", r#"[{"account_id": 5, "region": "x"}]"#, r#"[{"account_id": "5"}]"#] {
            assert!(Units::parse(plan.as_bytes()).is_err(), "{plan}");
        }
        assert!(Units::parse(b"[]").is_ok());
    }
}
