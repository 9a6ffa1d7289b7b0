//! Two tellers over one part of the ledger, with the time in the test's hand: without faults each change is told once; with a
//! crash at any write, at least once.

#![expect(clippy::unwrap_used, reason = "a test binary")]

mod common;

use std::collections::BTreeMap;

use aws_config::SdkConfig;
use common::engine::SmallCheck;
use common::{Asked, INVOCATION, Team, day, good, off};
use domain::ledger::Notify;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use simulated_fleet::harness::fleet_of;
use simulated_fleet::{When, generated_key_id as id};

/// Somebody who may tell, or record for others to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Teller {
    /// The reporter of an execution.
    Reporter(&'static str),
    /// A run that answers to an event about keys 0, 2 and 3, and tells at once.
    KeyEvent,
    /// A check of the daily check that comes after the reporter began.
    LateCheck,
}

use Teller::{KeyEvent, LateCheck, Reporter};

const PAIRS: [(Teller, Teller); 8] = [
    (Reporter("one"), KeyEvent),
    (KeyEvent, Reporter("one")),
    (Reporter("one"), Reporter("another")),
    (Reporter("one"), Reporter("one")),
    (Reporter("one"), LateCheck),
    (LateCheck, Reporter("one")),
    (KeyEvent, LateCheck),
    (LateCheck, KeyEvent),
];

impl Team {
    async fn acts(&self, teller: Teller, now: Timestamp) -> Result<(), String> {
        match teller {
            Reporter(execution) => self.report(execution, now).await.map(drop),
            KeyEvent => {
                let keys = [id(0), id(2), id(3)];
                let asked = Asked { check: &SmallCheck, notify: Notify::Now, keys: Some(&keys) };
                self.check(asked, "key event", now).await.map(drop)
            }
            LateCheck => self.checks("late", now).await.map(drop),
        }
    }

    /// The check of an execution. How much waits after it?
    async fn checks(&self, execution: &str, now: Timestamp) -> Result<usize, String> {
        let asked = Asked { check: &SmallCheck, notify: Notify::Later, keys: None };
        Ok(self.check(asked, execution, now).await?.pending)
    }
}

/// The nth minute of the day on which two tellers meet.
fn minute(n: i64) -> Timestamp {
    day(1) + SignedDuration::from_mins(n)
}

/// Something is told, something else waits, and something has changed since: key 3 was told and is resolved, keys 0 and 1 are
/// new, and nobody has looked at key 2 yet.
async fn eve(config: &SdkConfig, lag: usize) -> Team {
    let fleet = |keys: Value| {
        let mut fleet = fleet_of(keys);
        fleet.as_object_mut().unwrap().insert("index_lag_writes".to_owned(), json!(lag));
        fleet
    };
    let team = Team::with(config.clone(), fleet(json!([good(0), good(1), good(2), off(3)])));
    team.checks("the day before", day(0)).await.unwrap();
    team.report("the day before", day(0)).await.unwrap();
    assert_eq!(team.heard(), ["new enabled 3"]);
    team.fleet_is(fleet(json!([off(0), off(1), good(2), good(3)])));
    assert_eq!(team.checks("one", minute(-2)).await, Ok(3));
    team.fleet_is(fleet(json!([off(0), off(1), off(2), good(3)])));
    team.fleet.clear_published();
    team.fleet.resume();
    team
}

/// The same eve for another try.
fn the_same_eve(config: &SdkConfig, items: &[Value]) -> Team {
    let team = Team::with(config.clone(), fleet_of(json!([off(0), off(1), off(2), good(3)])));
    for item in items {
        team.fleet.put_item(item).unwrap();
    }
    team
}

/// What is to be heard where these two are at work.
fn news(pair: (Teller, Teller)) -> Vec<&'static str> {
    let somebody_looks = [pair.0, pair.1].iter().any(|teller| matches!(teller, KeyEvent | LateCheck));
    let looked_at = somebody_looks.then_some("new enabled 2");
    ["new enabled 0", "new enabled 1"].into_iter().chain(looked_at).chain(["resolved enabled 3"]).collect()
}

/// After the two, the next reporters: the first makes up, the second has nothing to say.
async fn the_days_after(team: &Team, case: &str) {
    team.report("the day after", minute(60)).await.unwrap();
    let heard = team.fleet.published().len();
    team.report("two days after", minute(120)).await.unwrap();
    assert_eq!(team.fleet.published().len(), heard, "{case}: silence");
    assert_eq!(team.unfinished(), [""; 0], "{case}");
}

fn assert_told(team: &Team, pair: (Teller, Teller), most: usize, case: &str) {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for line in team.heard() {
        *times.entry(line).or_default() += 1;
    }
    let told: Vec<&str> = times.keys().map(String::as_str).collect();
    assert_eq!(told, news(pair), "{case}: each change at least once");
    assert!(times.values().all(|times| *times <= most), "{case}: {times:?}");
}

#[tokio::test]
async fn without_faults_each_change_is_told_once_one_after_the_other_and_at_once() {
    let config = aws::config::sdk_config().load().await;
    for pair in PAIRS {
        for at_once in [false, true] {
            let case = format!("{pair:?}, at once: {at_once}");
            let team = eve(&config, 0).await;
            if at_once {
                let (one, other) = tokio::join!(team.acts(pair.0, minute(0)), team.acts(pair.1, minute(0)));
                one.and(other).unwrap();
            } else {
                team.acts(pair.0, minute(0)).await.unwrap();
                team.acts(pair.1, minute(0)).await.unwrap();
            }
            the_days_after(&team, &case).await;
            assert_told(&team, pair, 1, &case);
        }
    }
}

#[tokio::test]
async fn a_teller_killed_at_any_write_leaves_nothing_untold() {
    let config = &aws::config::sdk_config().load().await;
    let items = &eve(config, 0).await.fleet.items();
    for pair in PAIRS {
        let smooth = the_same_eve(config, items);
        smooth.acts(pair.0, minute(0)).await.unwrap();
        let steps = smooth.fleet.mutations();
        // At least a lease, its second half, what is recorded, and the lease given back.
        assert!(steps >= 4, "{pair:?}: {steps}");
        let crashes = (1..=steps).flat_map(|step| [(step, When::Before), (step, When::After)]);
        join_all(crashes.map(async |(step, when)| {
            let case = format!("{pair:?}, killed {when:?} write {step}");
            let team = the_same_eve(config, items);
            team.fleet.stop_at(step, when);
            let stopped = team.fleet.stopped();
            tokio::select! {
                () = stopped => {}
                done = team.acts(pair.0, minute(0)) => panic!("{case}: {done:?}"),
            }
            team.fleet.resume();
            // By then what the dead one held of the leases is over; it is tried again after the other.
            let over = minute(0) + INVOCATION;
            team.acts(pair.1, over).await.unwrap();
            team.acts(pair.0, over + INVOCATION).await.unwrap();
            the_days_after(&team, &case).await;
            assert_told(&team, pair, 2, &case);
        }))
        .await;
    }
}

#[tokio::test]
async fn two_at_once_killed_at_any_write_leave_nothing_untold() {
    let config = &aws::config::sdk_config().load().await;
    let items = &eve(config, 0).await.fleet.items();
    let walks = [PAIRS[0], PAIRS[2], PAIRS[4]].into_iter().flat_map(|pair| [(pair, When::Before), (pair, When::After)]);
    join_all(walks.map(async |(pair, when)| {
        // How many writes there are depends on who waits for whom.
        for step in 1.. {
            let case = format!("{pair:?} at once, killed {when:?} write {step}");
            let team = the_same_eve(config, items);
            team.fleet.stop_at(step, when);
            let stopped = team.fleet.stopped();
            let both = async { tokio::join!(team.acts(pair.0, minute(0)), team.acts(pair.1, minute(0))) };
            let is_killed = tokio::select! {
                () = stopped => true,
                (one, other) = both => {
                    one.and(other).unwrap();
                    false
                }
            };
            team.fleet.resume();
            if !is_killed {
                assert!(step > 10, "{case}");
                break;
            }
            let over = minute(0) + INVOCATION;
            let (one, other) = tokio::join!(team.acts(pair.0, over), team.acts(pair.1, over));
            one.and(other).unwrap();
            the_days_after(&team, &case).await;
            // Each of the two may have died between its message and its mark.
            assert_told(&team, pair, 3, &case);
        }
    }))
    .await;
}

#[tokio::test]
async fn an_index_that_lags_behind_loses_nothing_and_repeats_nothing() {
    let config = aws::config::sdk_config().load().await;
    for lag in [1, 2, 3, 5, 8, 13, 1_000] {
        for pair in PAIRS {
            let case = format!("{pair:?}, the index lags {lag} writes behind");
            let team = eve(&config, lag).await;
            team.acts(pair.0, minute(0)).await.unwrap();
            team.acts(pair.1, minute(0)).await.unwrap();
            // By the next day the index has caught up.
            let mut fleet = fleet_of(json!([off(0), off(1), off(2), good(3)]));
            fleet.as_object_mut().unwrap().insert("index_lag_writes".to_owned(), json!(0));
            team.fleet_is(fleet);
            the_days_after(&team, &case).await;
            assert_told(&team, pair, 1, &case);
        }
    }
}

#[tokio::test]
async fn what_the_index_does_not_know_yet_is_told_the_same_day_by_the_outcome_of_its_check_or_the_next_day() {
    let config = aws::config::sdk_config().load().await;
    for (execution, told_at_once) in [("one", true), ("another", false)] {
        let team = eve(&config, 1_000).await;
        let answer = team.report(execution, minute(0)).await.unwrap();
        assert_eq!(answer.alerts.messages_published, usize::from(told_at_once), "{execution}");
        team.fleet_is(fleet_of(json!([off(0), off(1), good(2), good(3)])));
        the_days_after(&team, execution).await;
        assert_told(&team, (Reporter("one"), Reporter("one")), 1, execution);
    }
}
