//! Routes: further topics that are told of some accounts only.

use std::collections::{BTreeMap, BTreeSet};

use crate::key_policy::is_account_id;

/// A topic that is told of some accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// ARN of the topic.
    pub topic_arn: String,
    /// Accounts whose findings it is told of.
    pub accounts: BTreeSet<String>,
    /// Organisational units of whose accounts it is told.
    pub units: BTreeSet<String>,
}

impl Route {
    /// Is the topic told of an account that is in those organisational units, directly or below?
    pub fn takes(&self, account_id: &str, units: &BTreeSet<String>) -> bool {
        self.accounts.contains(account_id) || !self.units.is_disjoint(units)
    }

    /// Reads a list of routes, `<account or organisational unit>=<topic ARN>` separated by commas, by the topic's ARN.
    ///
    /// # Errors
    /// The part that is wrong, and why.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, String> {
        let mut routes: BTreeMap<&str, Self> = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (scope, topic_arn) = part
                .split_once('=')
                .ok_or_else(|| format!("`{part}` has no `=` between whom it is about and a topic"))?;
            let (scope, topic_arn) = (scope.trim(), topic_arn.trim());
            if !is_topic_arn(topic_arn) {
                return Err(format!("`{topic_arn}` in `{part}` is not the ARN of a standard SNS topic"));
            }
            let route = routes.entry(topic_arn).or_insert_with(|| Self {
                topic_arn: topic_arn.to_owned(),
                accounts: BTreeSet::new(),
                units: BTreeSet::new(),
            });
            let is_first = if is_account_id(scope) {
                route.accounts.insert(scope.to_owned())
            } else if is_unit(scope) {
                route.units.insert(scope.to_owned())
            } else {
                return Err(format!(
                    "`{scope}` in `{part}` is neither a twelve-digit account ID nor an organisational unit"
                ));
            };
            if !is_first {
                return Err(format!("`{part}` stands there twice"));
            }
        }
        Ok(routes.into_values().collect())
    }
}

/// Has it the form of an organisational unit's ID: `ou-`, four to 32 letters and digits, a dash, eight to 32 letters and digits?
pub fn is_unit(text: &str) -> bool {
    let is = |text: &str, least: usize| {
        (least..=32).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let parts = text.strip_prefix("ou-").and_then(|rest| rest.split_once('-'));
    parts.is_some_and(|(root, unit)| is(root, 4) && is(unit, 8))
}

/// A topic that keeps no order: only such take part in the alerts.
fn is_topic_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    let ["arn", partition, "sns", region, account, name] = parts.as_slice() else { return false };
    let is_name = |text: &str| {
        (1..=256).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    partition.starts_with("aws") && is_name(partition) && is_name(region) && is_account_id(account) && is_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEAM: &str = "arn:aws:sns:eu-west-1:111122223333:team";
    const OTHER: &str = "arn:aws-cn:sns:cn-north-1:111122223333:other_2";

    #[test]
    fn routes_are_read_by_topic() {
        assert_eq!(Route::parse_all("  "), Ok(vec![]));
        let text = format!("111111111111={TEAM}, ou-ab12-cdefghij={OTHER} ,222222222222 = {TEAM},");
        let routes = Route::parse_all(&text).unwrap();
        let [other, team] = routes.as_slice() else { panic!("{routes:?}") };
        assert_eq!((other.topic_arn.as_str(), team.topic_arn.as_str()), (OTHER, TEAM));
        let units = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let none = units(&[]);
        let (outer, both) = (units(&["ou-ab12-aaaaaaaa"]), units(&["ou-ab12-aaaaaaaa", "ou-ab12-cdefghij"]));
        for (route, account, units, takes) in [
            (team, "111111111111", &none, true),
            (team, "222222222222", &both, true),
            (team, "333333333333", &both, false),
            (other, "333333333333", &both, true),
            (other, "333333333333", &outer, false),
            (other, "111111111111", &none, false),
        ] {
            assert_eq!(route.takes(account, units), takes, "{route:?} {account} {units:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (part, problem) in [
            (TEAM.to_owned(), "has no `=`"),
            (format!("={TEAM}"), "`` in "),
            ("111111111111=".to_owned(), "`` in `111111111111=` is not the ARN of a standard SNS topic"),
            ("111111111111=team".to_owned(), "`team` in `111111111111=team` is not the ARN"),
            (format!("111111111111={TEAM}.fifo"), ".fifo` in "),
            ("111111111111=arn:aws:sqs:eu-west-1:111122223333:team".to_owned(), "is not the ARN"),
            ("111111111111=arn:aws:sns::111122223333:team".to_owned(), "is not the ARN"),
            ("111111111111=arn:aws:sns:eu-west-1:111122223333:team:1".to_owned(), "is not the ARN"),
            (format!("11111111111={TEAM}"), "`11111111111` in "),
            (format!("ou-ab12={TEAM}"), "`ou-ab12` in "),
            (format!("ou-ab12-short={TEAM}"), "neither a twelve-digit account ID nor an organisational unit"),
            (format!("r-ab12={TEAM}"), "`r-ab12` in "),
            (format!("OU-ab12-cdefghij={TEAM}"), "neither"),
            (format!("222222222222={TEAM},222222222222={TEAM}"), "stands there twice"),
        ] {
            let error = Route::parse_all(&format!("333333333333={TEAM},{part}")).unwrap_err();
            assert!(error.contains(problem), "{part}: {error}");
        }
    }
}
