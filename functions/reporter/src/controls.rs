//! Accounts that could not be looked into: the one finding that is the reporter's own.
//!
//! A check that cannot reach its target evaluates nothing and says why. From all checks' outcomes the reporter makes one finding for
//! each account and Region, in the partition `<account>#<region>#reporter`, and takes it back once a check reaches the target again.
//! What is known of the account's keys stays as it is meanwhile.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use domain::control::{Control, Severity};
use domain::evidence::Evidence;
use domain::finding::{Finding, Tag};
use domain::ledger::{Ledger, Notify, Record, Sightings};
use domain::outcome::{Failed, Outcome};
use domain::text::printable;
use domain::verdict::{Compliance, Verdict};
use jiff::Timestamp;
use outputs::digest;
use serde_json::json;

/// Can the checks look into the account?
pub static ACCOUNT_REACHABLE: Control = Control {
    id: digest::ACCOUNT_REACHABLE,
    title: "the account and Region can be looked into",
    severity: Severity::Medium,
    other_severities: "",
    references: &["AWS Well-Architected SEC08-BP01"],
};

/// What the checks of one account and Region met.
#[derive(Debug, Default)]
pub(crate) struct Target<'a> {
    /// Why it could not be reached, by function.
    failures: BTreeMap<&'a str, &'a Failed>,
    /// Did a check reach it?
    is_reached: bool,
}

/// What the checks met, by account and Region.
pub(crate) fn targets(outcomes: &[Outcome]) -> BTreeMap<(&str, &str), Target<'_>> {
    let mut targets: BTreeMap<_, Target<'_>> = BTreeMap::new();
    for Outcome { account_id, region, function, result } in outcomes {
        let target = targets.entry((account_id.as_str(), region.as_str())).or_default();
        match result {
            Ok(_) => target.is_reached = true,
            Err(failed) if failed.is_of_target() => {
                target.failures.insert(function, failed);
            }
            // Whether the target would have been reached is not known.
            Err(_) => {}
        }
    }
    targets
}

/// What follows for an account and a Region: the records to write before they are told, those to close untold, and whether anything is
/// left to tell.
pub(crate) struct Consequence {
    pub(crate) write: Vec<Record>,
    pub(crate) close: Vec<Record>,
    pub(crate) waits: bool,
}

/// Compares what the checks met with what is known. Nobody is reminded: the coverage stays below 100 percent meanwhile.
pub(crate) fn consequence(
    partition: &str,
    (account_id, region): (&str, &str),
    target: &Target<'_>,
    known: Vec<Record>,
    now: Timestamp,
) -> Consequence {
    const CONTROLS: [&Control; 1] = [&ACCOUNT_REACHABLE];
    let arn = format!("arn:{partition}:iam::{account_id}:root");
    let finding = finding(&arn, account_id, region, target);
    let ledger = Ledger::new(known).told(Notify::Later);
    let mut sightings = Sightings::of(BTreeSet::from([arn.clone()]));
    if finding.is_none() && target.is_reached {
        sightings.saw(&arn, &CONTROLS, &[Verdict::compliant("reached").detail("the account can be looked into again")]);
    }
    let reconciliation = ledger.reconcile(finding.as_slice(), &sightings, &CONTROLS, now, 0);
    Consequence {
        write: reconciliation.before_the_alert().map(Cow::into_owned).collect(),
        waits: !reconciliation.updates.is_empty(),
        close: reconciliation.ended(),
    }
}

/// The finding of a target that some check could not reach. The cause is that of most checks.
fn finding(arn: &str, account_id: &str, region: &str, target: &Target<'_>) -> Option<Finding> {
    let mut by_reason: BTreeMap<&str, Vec<(&str, &Failed)>> = BTreeMap::new();
    for (function, failed) in &target.failures {
        by_reason.entry(failed.reason()).or_default().push((function, failed));
    }
    let (reason, failures) = by_reason.into_iter().max_by_key(|(_, failures)| failures.len())?;
    let (_, first) = failures.first()?;
    let functions: Vec<&str> = target.failures.keys().copied().collect();
    Some(Finding {
        control: ACCOUNT_REACHABLE.id,
        key_arn: arn.to_owned(),
        key_id: account_id.to_owned(),
        aliases: Vec::new(),
        compliance: Compliance::InsufficientData,
        severity: ACCOUNT_REACHABLE.severity,
        reason: Cow::Owned(reason.to_owned()),
        detail: printable(&format!("account {account_id} could not be looked into: {}", first.words())),
        evidence: Evidence::from_iter([
            ("account_id", json!(account_id)),
            ("region", json!(region)),
            ("functions", json!(functions)),
        ]),
        remediation: Cow::Borrowed(remediation(reason)),
        references: ACCOUNT_REACHABLE.references,
        exempt: None,
        tag: Tag::NotRead,
        occurrence: None,
        is_silent: false,
        is_passing: false,
    })
}

fn remediation(reason: &str) -> &'static str {
    match reason {
        "role_missing" => {
            "Deploy member-role.yaml in the account: by the organisation's StackSet, or by hand in the management account, which \
             StackSets leave out."
        }
        "role_denied" => {
            "Look at the trust policy of the account's role: it has to name this monitor's functions, the organisation, and the \
             external ID if there is one. Update it from member-role.yaml."
        }
        "region_denied_by_scp" => {
            "A service control policy denies the Region: nobody can use keys there. Leave the Region out of the daily check, or let \
             the policy make an exception for the monitor's role."
        }
        "region_disabled" => "Leave the Region out of the daily check, or enable it for the account.",
        "timeout" => "The next daily check asks again. If it stays, look at the AWS Health Dashboard.",
        _ => "The next daily check asks again. If it stays, look at the account's role and at the log of the function.",
    }
}

#[cfg(test)]
mod tests {
    use domain::ledger::Change;
    use domain::outcome::{Done, TARGET_NOT_REACHABLE};

    use super::*;

    const PLACE: (&str, &str) = ("222222222222", "eu-west-1");

    fn outcome(function: &str, failed: Option<(&str, &str)>) -> Outcome {
        let result = match failed {
            None => Ok(Done::default()),
            Some((error, cause)) => Err(Failed { error: error.into(), cause: cause.into() }),
        };
        Outcome { account_id: PLACE.0.into(), region: PLACE.1.into(), function: function.into(), result }
    }

    fn missing(function: &str) -> Outcome {
        outcome(function, Some((TARGET_NOT_REACHABLE, "role_missing: no such role")))
    }

    fn denied(function: &str) -> Outcome {
        outcome(function, Some((TARGET_NOT_REACHABLE, "role_denied: not you")))
    }

    fn failed(function: &str) -> Outcome {
        outcome(function, Some(("ListKeysFailed", "denied")))
    }

    fn day(n: i64) -> Timestamp {
        "2026-11-23T06:00:00Z".parse::<Timestamp>().unwrap() + jiff::SignedDuration::from_hours(24 * n)
    }

    /// What is told day by day: change and reason.
    fn told(days: &[Vec<Outcome>]) -> Vec<Vec<(Change, String)>> {
        let mut records: Vec<Record> = Vec::new();
        let mut told = Vec::new();
        for (n, outcomes) in (0..).zip(days) {
            let targets = targets(outcomes);
            let consequence = consequence("aws", PLACE, &targets[&PLACE], records.clone(), day(n));
            if !consequence.write.is_empty() {
                records = consequence.write;
            }
            assert_eq!(consequence.waits, records.iter().any(Record::is_pending));
            told.push(vec![]);
            for record in std::mem::take(&mut records) {
                let Some(notice) = record.notice(day(n)) else {
                    records.push(record);
                    continue;
                };
                let change = notice.change.unwrap();
                told.last_mut().unwrap().push((change, notice.reason));
                if change != Change::Resolved {
                    records.push(record.told(day(n)));
                }
            }
        }
        told
    }

    #[test]
    fn a_target_out_of_reach_is_told_once_and_taken_back_when_it_is_reached() {
        let of = |change, reason: &str| vec![(change, reason.to_owned())];
        let nothing = || vec![];
        for (days, expected) in [
            (vec![vec![outcome("a", None)]], vec![nothing()]),
            (vec![vec![failed("a")]], vec![nothing()]),
            (
                vec![vec![missing("a"), missing("b")]; 9],
                [vec![of(Change::New, "role_missing")], vec![nothing(); 8]].concat(),
            ),
            // One function's role is one finding too.
            (vec![vec![outcome("a", None), denied("b")]], vec![of(Change::New, "role_denied")]),
            (vec![vec![denied("a"), missing("b"), missing("c")]], vec![of(Change::New, "role_missing")]),
            (
                vec![
                    vec![missing("a")],
                    vec![denied("a")],
                    vec![failed("a")],
                    vec![outcome("a", None)],
                    vec![missing("a")],
                ],
                vec![
                    of(Change::New, "role_missing"),
                    of(Change::Worsened, "role_denied"),
                    nothing(),
                    of(Change::Resolved, "role_denied"),
                    of(Change::New, "role_missing"),
                ],
            ),
        ] {
            assert_eq!(told(&days), expected, "{days:?}");
        }
    }

    #[test]
    fn the_finding_names_account_region_and_what_to_deploy() {
        let outcomes = [missing("a"), missing("b")];
        let targets = targets(&outcomes);
        let consequence = consequence("aws-cn", PLACE, &targets[&PLACE], vec![], day(0));
        let [record] = consequence.write.as_slice() else { panic!() };
        assert_eq!(record.key_arn, "arn:aws-cn:iam::222222222222:root");
        assert_eq!((record.compliance, record.severity), (Compliance::InsufficientData, Severity::Medium));
        assert_eq!(record.detail, "account 222222222222 could not be looked into: no such role");
        assert!(record.remediation.contains("member-role.yaml"));
        assert_eq!(
            (&record.evidence["region"], &record.evidence["functions"]),
            (&json!("eu-west-1"), &json!(["a", "b"]))
        );
        assert!(record.deferred);
    }
}
