//! What the operators of the monitor hear of one execution of the daily check: what failed, by its cause.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use domain::outcome::{Failed, Outcome};
use domain::plan::Notice;
use domain::text::printable;

use crate::updates::counted;

/// Most causes that the text tells, and most places of each.
const MAX_CAUSES: usize = 30;
const MAX_PLACES: usize = 20;

/// Most notices about the plan.
const MAX_NOTICES: usize = 50;

/// Subject and text for the operators; `None` if there is nothing to do for them. `routes` are further topics that were not told
/// all that is theirs, each with why; `notices` are what the plan says of its targets; `page` is why there is no page of what is open, where there
/// should be one.
pub fn message(
    execution: &str,
    outcomes: &[Outcome],
    routes: &[(String, String)],
    notices: &[Notice],
    page: Option<&str>,
) -> Option<(String, String)> {
    let notices: Vec<&Notice> = notices.iter().filter(|notice| notice.needs_action).collect();
    let mut causes: BTreeMap<(&str, String), BTreeSet<String>> = BTreeMap::new();
    for Outcome { account_id, region, function, result } in outcomes {
        let Err(failed @ Failed { error, cause }) = result else { continue };
        if !failed.is_of_target() {
            let places = causes.entry((error, alike(cause, account_id, region))).or_default();
            places.insert(format!("{function} in account {account_id}, Region {region}"));
        }
    }
    if causes.is_empty() && routes.is_empty() && notices.is_empty() && page.is_none() {
        return None;
    }
    let failed = causes.values().map(BTreeSet::len).sum();
    let mut parts = Vec::new();
    parts.extend((failed > 0).then(|| format!("{} failed", counted(failed, "check"))));
    parts.extend((!routes.is_empty()).then(|| format!("{} failed", counted(routes.len(), "route"))));
    parts.extend(page.map(|_| "no page".to_owned()));
    parts.extend((!notices.is_empty()).then(|| counted(notices.len(), "target notice")));
    let what = parts.join(", ");
    let mut text = format!("KMS compliance, daily check {}: {what}.\n", printable(execution));
    // The cause that struck most often comes first.
    let mut sorted: Vec<_> = causes.iter().collect();
    sorted.sort_by_key(|(cause, places)| (std::cmp::Reverse(places.len()), *cause));
    for ((error, cause), places) in sorted.iter().take(MAX_CAUSES) {
        let _ = writeln!(text, "\n{error}: {cause}");
        for place in places.iter().take(MAX_PLACES) {
            let _ = writeln!(text, "  {place}");
        }
        if places.len() > MAX_PLACES {
            let _ = writeln!(text, "  and {} more", places.len() - MAX_PLACES);
        }
    }
    if sorted.len() > MAX_CAUSES {
        let _ = writeln!(text, "\nand {} more causes", sorted.len() - MAX_CAUSES);
    }
    for (topic_arn, cause) in routes {
        let _ = writeln!(text, "\nThe digest did not reach {}: {}", printable(topic_arn), printable(cause));
    }
    if let Some(why) = page {
        let _ = writeln!(text, "\nThere is no page of what is open: {}", printable(why));
    }
    for Notice { about, reason, detail, .. } in notices.iter().take(MAX_NOTICES) {
        let _ = writeln!(text, "\n{}: {} ({})", printable(about), short(detail), printable(reason));
    }
    if notices.len() > MAX_NOTICES {
        let _ = writeln!(text, "\nand {} more target notices", notices.len() - MAX_NOTICES);
    }
    if failed > 0 {
        text.push_str(
            "\nFindings of what failed are neither reported nor cleared; the next daily check asks again. docs/operations.md says \
             what to do for each error.\n",
        );
    }
    Some((format!("KMS compliance: {what} in the daily check"), text))
}

/// The cause without what differs from place to place. No longer than a line or two: it may hold a stack trace.
fn alike(cause: &str, account_id: &str, region: &str) -> String {
    let without = |text: String, place: &str| if place.is_empty() { text } else { text.replace(place, "…") };
    without(without(short(cause), account_id), region)
}

/// As much of a text as fits into a line or two.
fn short(text: &str) -> String {
    printable(&text.chars().take(500).collect::<String>())
}

#[cfg(test)]
mod tests {
    use domain::outcome::{Done, TARGET_NOT_REACHABLE};

    use super::*;

    fn outcome(account_id: &str, function: &str, failed: Option<(&str, &str)>) -> Outcome {
        let result = match failed {
            None => Ok(Done::default()),
            Some((error, cause)) => Err(Failed { error: error.into(), cause: cause.into() }),
        };
        Outcome { account_id: account_id.into(), region: "us-east-1".into(), function: function.into(), result }
    }

    fn notice(about: &str, needs_action: bool) -> Notice {
        let (reason, detail) = ("not_active".into(), "the account is not active: left out".into());
        Notice { about: about.into(), reason, detail, needs_action }
    }

    #[test]
    fn only_checks_that_failed_are_told_grouped_by_their_cause() {
        let of = |n: u64| format!("{n:012}");
        let denied = |n| format!("access denied to arn:aws:dynamodb:us-east-1:{}:table/t", of(n));
        let outcomes =
            [outcome(&of(1), "a", None), outcome(&of(1), "b", Some((TARGET_NOT_REACHABLE, "role_missing: x")))];
        assert_eq!(message("e", &outcomes, &[], &[notice("organization", false)], None), None);
        let outcomes = [
            &outcomes[..],
            &[
                outcome(&of(2), "a", Some(("Sandbox.Timedout", "Task timed out"))),
                outcome(&of(3), "a", Some(("LedgerUnavailable", &denied(3)))),
                outcome(&of(4), "b", Some(("LedgerUnavailable", &denied(4)))),
            ],
        ]
        .concat();
        let (subject, text) = message(
            "daily-1",
            &outcomes,
            &[("arn:topic".into(), "denied".into())],
            &[notice("222222222222", true)],
            Some("s3://b/p was not written"),
        )
        .unwrap();
        assert_eq!(
            subject,
            "KMS compliance: 3 checks failed, 1 route failed, no page, 1 target notice in the daily check"
        );
        let expected = "\
KMS compliance, daily check daily-1: 3 checks failed, 1 route failed, no page, 1 target notice.

LedgerUnavailable: access denied to arn:aws:dynamodb:…:…:table/t
  a in account 000000000003, Region us-east-1
  b in account 000000000004, Region us-east-1

Sandbox.Timedout: Task timed out
  a in account 000000000002, Region us-east-1

The digest did not reach arn:topic: denied

There is no page of what is open: s3://b/p was not written

222222222222: the account is not active: left out (not_active)

Findings of what failed are neither reported nor cleared; the next daily check asks again. docs/operations.md says what to do \
for each error.
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_message_stays_small() {
        let outcomes: Vec<_> = (0..5_000_u64)
            .map(|n| outcome(&format!("{n:012}"), "f", Some(("E", &format!("{} {}", n % 100, "x".repeat(5_000))))))
            .collect();
        let notices = vec![Notice { detail: "x".repeat(5_000), ..notice("222222222222", true) }; 60];
        let (subject, text) = message("e", &outcomes, &[], &notices, None).unwrap();
        assert!(subject.len() < 100 && text.len() < 110_000, "{}", text.len());
        assert!(text.contains("and 10 more target notices"));
        assert!(text.contains("and 70 more causes") && text.contains("and 30 more"));
    }
}
