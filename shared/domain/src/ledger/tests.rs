use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::finding::KeyIdentity;
use crate::location::Location;
use crate::report::Report;
use crate::verdict::{excluded, not_found};

static CONTROL: Control =
    Control { id: "c", title: "", severity: Severity::Medium, other_severities: "", references: &["Rule 1"] };
const CONTROLS: [&Control; 1] = [&CONTROL];
const INTERVAL: i32 = 7;

fn day(n: i64) -> Timestamp {
    "2026-11-23T06:00:00Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(24 * n)
}

fn key(n: usize) -> KeyIdentity {
    KeyIdentity { arn: format!("arn:key/{n}"), id: n.to_string() }
}

/// What a run finds of a key on one day.
#[derive(Clone, Debug, PartialEq)]
enum Observation {
    Compliant,
    Excluded,
    Bad(Severity, &'static str),
    /// As `Bad`, with a tag.
    Tagged(Severity, &'static str, String),
    Unknown(&'static str),
    InTransition,
    /// It answers that there is no such key.
    NotFound,
    /// It is not listed.
    Absent,
    /// It is there; the run did not come to it, or was not to look at it.
    NotReached,
}

fn verdict(found: &Observation) -> Option<Verdict> {
    Some(match found {
        Observation::Compliant => Verdict::compliant("good").detail("all is well"),
        Observation::Excluded => excluded("EXCLUDED_KEYS names this key"),
        Observation::Bad(severity, reason) | Observation::Tagged(severity, reason, _) => {
            Verdict::non_compliant(reason).severity(*severity).detail(format!("it is {reason}"))
        }
        Observation::Unknown(reason) => Verdict { reason, ..not_found("not known") },
        Observation::InTransition => Verdict { reason: "key_in_transition", ..not_found("not yet") }.passing(),
        Observation::NotFound => not_found("no such key"),
        Observation::Absent | Observation::NotReached => return None,
    })
}

/// The table of the ledger, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq)]
struct Table {
    open: BTreeMap<FindingId, Record>,
    past: Vec<Record>,
}

/// What the team heard: change, key, compliance.
type Heard = (Change, usize, Compliance);

/// One run, cut off after n writes and messages if `steps` says so.
struct Day<'a> {
    found: &'a [Observation],
    now: Timestamp,
    scoped: bool,
}

struct DayOutcome {
    heard: Vec<Heard>,
    exemptions: Vec<(usize, ExemptionState)>,
    writes_before: usize,
    done: bool,
}

fn report(day: &Day<'_>, ledger: &Ledger) -> (Report, Sightings) {
    let mut sightings = Sightings::of(ledger.keys());
    let location = Location { partition: "aws".into(), region: "r".into(), account_id: "1".into() };
    let mut report = Report::new("f", &location, day.now, &CONTROLS, None);
    for (n, found) in day.found.iter().enumerate() {
        let Some(verdict) = verdict(found) else { continue };
        let tags = match found {
            Observation::Tagged(_, _, tag) => BTreeMap::from([("c".to_owned(), tag.clone())]),
            _ => BTreeMap::new(),
        };
        let verdicts = [verdict];
        sightings.saw(&key(n).arn, &CONTROLS, &verdicts);
        report.add(&key(n), &CONTROLS, verdicts, Some(&tags));
    }
    if !day.scoped && !day.found.contains(&Observation::NotReached) {
        sightings.saw_every_key();
    }
    report.close(&BTreeMap::new());
    ledger.exempt(&mut report.findings, day.now);
    (report, sightings)
}

fn run(table: &mut Table, day: &Day<'_>, mut steps: usize) -> DayOutcome {
    let ledger = Ledger::new(table.open.values().cloned());
    let (report, sightings) = report(day, &ledger);
    let reconciliation = ledger.reconcile(&report.findings, &sightings, &CONTROLS, day.now, INTERVAL);
    let mut told = DayOutcome { heard: vec![], exemptions: vec![], writes_before: 0, done: false };
    let mut step = || {
        steps = steps.saturating_sub(1);
        steps > 0
    };
    for record in reconciliation.before_the_alert() {
        if !step() {
            return told;
        }
        table.open.insert(record.id(), record.into_owned());
        told.writes_before += 1;
    }
    if !reconciliation.updates.is_empty() {
        if !step() {
            return told;
        }
        for news in &reconciliation.updates {
            let key = news.finding.key_id.parse().unwrap();
            told.heard.extend(news.change.map(|change| (change, key, news.finding.compliance)));
            told.exemptions.extend(news.exemption.iter().map(|status| (key, status.state)));
        }
    }
    let (open, closed) = reconciliation.after_the_alert(day.now);
    for record in open {
        if !step() {
            return told;
        }
        table.open.insert(record.id(), record);
    }
    for record in closed {
        if !step() {
            return told;
        }
        table.open.remove(&record.id());
        table.past.push(record);
    }
    told.done = true;
    told
}

const WHOLE: usize = usize::MAX;
const BAD: Observation = Observation::Bad(Severity::Medium, "off");
const N: Compliance = Compliance::NonCompliant;
const I: Compliance = Compliance::InsufficientData;

/// Plays one key's days and compares what is heard on each with what should be.
fn play(days: &[(Observation, &[(Change, Compliance)])]) -> Table {
    let mut table = Table::default();
    for (n, (found, expected)) in (0..).zip(days) {
        let today = Day { found: std::slice::from_ref(found), now: day(n), scoped: false };
        let told = run(&mut table, &today, WHOLE);
        let heard: Vec<_> = told.heard.iter().map(|(change, _, compliance)| (*change, *compliance)).collect();
        assert_eq!(heard, *expected, "day {n}: {found:?}");
        assert_eq!(run(&mut table, &today, WHOLE).heard, []);
    }
    table
}

#[test]
fn a_finding_appears_and_is_resolved_and_its_story_is_kept() {
    use Change::{New, Resolved};
    let table = play(&[
        (BAD, &[(New, N)]),
        (BAD, &[]),
        (Observation::Compliant, &[(Resolved, N)]),
        (Observation::Compliant, &[]),
    ]);
    assert!(table.open.is_empty());
    let [past] = table.past.as_slice() else { panic!("{:?}", table.past) };
    let history: Vec<_> = past.history.iter().map(|entry| (entry.at, entry.event, entry.reason.as_str())).collect();
    assert_eq!(history, [(day(0), HistoryEvent::New, "off"), (day(2), HistoryEvent::Resolved, "good")]);
    assert_eq!(past.last_notified.as_ref().map(|told| (told.change, told.at)), Some((Resolved, day(2))));
}

#[test]
fn a_rising_severity_and_another_reason_are_worse_and_a_falling_severity_is_silent() {
    use Change::{New, Worsened};
    let bad = |severity| Observation::Bad(severity, "expires");
    play(&[
        (bad(Severity::High), &[(New, N)]),
        (bad(Severity::Critical), &[(Worsened, N)]),
        (bad(Severity::Medium), &[]),
        (bad(Severity::High), &[(Worsened, N)]),
        (Observation::Bad(Severity::Low, "other"), &[(Worsened, N)]),
    ]);
}

#[test]
fn another_event_is_a_new_finding_and_the_same_one_is_not() {
    let mut table = Table::default();
    let mut play = |n: i64, occurrence: &str| {
        let ledger = Ledger::new(table.open.values().cloned());
        let (mut report, sightings) = report(&Day { found: &[BAD], now: day(n), scoped: false }, &ledger);
        report.findings[0].occurrence = Some(occurrence.to_owned());
        let reconciliation = ledger.reconcile(&report.findings, &sightings, &CONTROLS, day(n), INTERVAL);
        let changes: Vec<_> = reconciliation.updates.iter().filter_map(|update| update.change).collect();
        let (open, _) = reconciliation.after_the_alert(day(n));
        table.open.extend(open.into_iter().map(|record| (record.id(), record)));
        changes
    };
    assert_eq!(play(0, "Decrypt at two"), [Change::New]);
    assert_eq!(play(1, "Decrypt at two"), []);
    assert_eq!(play(2, "Sign at three"), [Change::New]);
    assert_eq!(play(3, "Sign at three"), []);
    assert_eq!(table.open.values().next().unwrap().first_seen, day(2));
}

#[test]
fn an_unchanged_finding_is_told_again_after_the_interval() {
    use Change::{New, Reminder, Worsened};
    let critical = Observation::Bad(Severity::Critical, "off");
    let quiet = (BAD, &[][..]);
    play(&[
        (BAD, &[(New, N)]),
        quiet.clone(),
        quiet.clone(),
        quiet.clone(),
        quiet.clone(),
        quiet.clone(),
        quiet,
        (BAD, &[(Reminder, N)]),
        (critical.clone(), &[(Worsened, N)]),
        (critical, &[]),
    ]);
}

#[test]
fn a_run_that_starts_some_seconds_earlier_than_a_week_ago_reminds_too() {
    let mut table = Table::default();
    run(&mut table, &Day { found: &[BAD], now: day(0), scoped: false }, WHOLE);
    for (now, reminds) in
        [(day(6) + SignedDuration::from_hours(17), false), (day(7) - SignedDuration::from_secs(9), true)]
    {
        let told = run(&mut table.clone(), &Day { found: &[BAD], now, scoped: false }, WHOLE);
        assert_eq!(!told.heard.is_empty(), reminds, "{now}");
    }
}

#[test]
fn what_is_not_known_is_a_finding_of_its_own_and_leaves_the_hidden_one_alone() {
    use Change::{New, Resolved, Worsened};
    play(&[
        (BAD, &[(New, N)]),
        (Observation::Unknown("access_denied"), &[(New, I)]),
        (Observation::Unknown("throttled"), &[(Worsened, I)]),
        (Observation::InTransition, &[]),
        (BAD, &[(Resolved, I)]),
        (Observation::Unknown("timeout"), &[(New, I)]),
        (Observation::Compliant, &[(Resolved, N), (Resolved, I)]),
    ]);
}

#[test]
fn a_key_that_is_gone_resolves_its_findings() {
    use Change::{New, Resolved};
    play(&[(BAD, &[(New, N)]), (Observation::Absent, &[(Resolved, N)])]);
    play(&[
        (BAD, &[(New, N)]),
        (Observation::NotFound, &[(New, I), (Resolved, N)]),
        (Observation::Absent, &[(Resolved, I)]),
    ]);
    play(&[(BAD, &[(New, N)]), (Observation::Excluded, &[(Resolved, N)])]);
}

#[test]
fn what_was_not_seen_is_not_resolved() {
    let mut table = Table::default();
    run(&mut table, &Day { found: &[BAD, BAD], now: day(0), scoped: false }, WHOLE);
    let open = table.open.clone();
    for (found, scoped) in [([Observation::NotReached, BAD], false), ([Observation::Absent, BAD], true)] {
        let told = run(&mut table, &Day { found: &found, now: day(1), scoped }, WHOLE);
        assert_eq!((told.heard, told.writes_before), (vec![], 0), "{found:?}");
        assert_eq!(table.open, open);
    }
}

#[test]
fn an_exemption_is_told_once_and_brings_its_finding_back_when_it_ends() {
    use Change::{New, Resolved};
    use ExemptionState::{Expired, InEffect, Malformed};
    let tag = |until: &str| format!("until={until} owner=ana reason=moves away");
    let with = |tag: String| Observation::Tagged(Severity::Medium, "off", tag);
    let mut table = Table::default();
    let mut play = |n: i64, found: Observation| {
        let told = run(&mut table, &Day { found: &[found], now: day(n), scoped: false }, WHOLE);
        (told.heard.into_iter().map(|(change, ..)| change).collect::<Vec<_>>(), told.exemptions)
    };
    assert_eq!(play(0, with(tag("2026-11-25"))), (vec![], vec![(0, InEffect)]));
    assert_eq!(play(1, with(tag("2026-11-25"))), (vec![], vec![]));
    // A longer one is a new one: nobody can silence a key unseen.
    assert_eq!(play(2, with(tag("2026-11-26"))), (vec![], vec![(0, InEffect)]));
    assert_eq!(play(3, Observation::Tagged(Severity::High, "worse", tag("2026-11-26"))), (vec![], vec![]));
    assert_eq!(play(4, with(tag("2026-11-26"))), (vec![New], vec![(0, Expired)]));
    assert_eq!(play(5, with(tag("2026-11-26"))), (vec![], vec![]));
    assert_eq!(play(6, with("for ever".into())), (vec![], vec![(0, Malformed)]));
    assert_eq!(play(7, with("for ever".into())), (vec![], vec![]));
    assert_eq!(play(8, with(tag("2026-12-31"))), (vec![], vec![(0, InEffect)]));
    assert_eq!(play(30, with(tag("2026-12-31"))), (vec![], vec![]));
    // The tag is gone.
    assert_eq!(play(31, BAD), (vec![New], vec![]));
    assert_eq!(play(32, Observation::Compliant), (vec![Resolved], vec![]));
    // Exempt from the start to the end: nobody heard of it, so nobody hears that it no longer exists.
    assert_eq!(play(33, with(tag("2026-12-31"))), (vec![], vec![(0, InEffect)]));
    assert_eq!(play(34, Observation::Compliant), (vec![], vec![]));
    assert_eq!((table.open.len(), table.past.len()), (0, 2));
}

#[test]
fn a_finding_that_becomes_critical_ends_a_longer_exemption() {
    let tag = || "until=2027-06-30 owner=ana reason=moves away".to_owned();
    let mut table = Table::default();
    let mut play = |n: i64, severity| {
        let found = [Observation::Tagged(severity, "expires", tag())];
        let told = run(&mut table, &Day { found: &found, now: day(n), scoped: false }, WHOLE);
        (told.heard, told.exemptions)
    };
    assert_eq!(play(0, Severity::High), (vec![], vec![(0, ExemptionState::InEffect)]));
    assert_eq!(play(1, Severity::Critical), (vec![(Change::New, 0, N)], vec![(0, ExemptionState::TooLong)]));
    assert_eq!(play(2, Severity::Critical), (vec![], vec![]));
}

#[test]
fn an_exemption_whose_tag_cannot_be_read_stands_as_it_was_last_read() {
    let found = [Observation::Tagged(Severity::Medium, "off", "until=2026-11-25 owner=ana reason=moves away".into())];
    let mut table = Table::default();
    run(&mut table, &Day { found: &found, now: day(0), scoped: false }, WHOLE);
    for (n, news) in [(1, 0), (2, 0), (3, 1)] {
        let ledger = Ledger::new(table.open.values().cloned());
        let (mut report, sightings) = report(&Day { found: &found, now: day(n), scoped: false }, &ledger);
        report.findings[0].tag = Tag::NotRead;
        ledger.exempt(&mut report.findings, day(n));
        assert_eq!(report.findings[0].exempt.is_none(), n == 3, "day {n}");
        assert_eq!(
            ledger.reconcile(&report.findings, &sightings, &CONTROLS, day(n), INTERVAL).updates.len(),
            news,
            "day {n}"
        );
    }
}

#[test]
fn a_change_that_may_not_have_been_told_is_told_by_the_next_run_whatever_it_is_for() {
    let found = [BAD, BAD];
    let mut table = Table::default();
    // The records are written, the alert is not.
    assert_eq!(run(&mut table, &Day { found: &found, now: day(0), scoped: false }, 3).heard, []);
    for (after, expected) in [
        ([BAD, BAD], vec![(Change::New, 0, N), (Change::New, 1, N)]),
        ([Observation::NotReached, Observation::NotReached], vec![(Change::New, 0, N), (Change::New, 1, N)]),
        ([Observation::Compliant, BAD], vec![(Change::Resolved, 0, N), (Change::New, 1, N)]),
        ([Observation::Unknown("timeout"), BAD], vec![(Change::New, 0, I), (Change::New, 0, N), (Change::New, 1, N)]),
    ] {
        let told = run(&mut table.clone(), &Day { found: &after, now: day(1), scoped: false }, WHOLE);
        let mut heard = told.heard;
        heard.sort_by_key(|(change, key, compliance)| (*key, std::cmp::Reverse(*compliance), *change));
        assert_eq!(heard, expected, "{after:?}");
    }
}

#[test]
fn a_finding_that_comes_back_before_its_end_was_told_is_new() {
    let mut table = Table::default();
    run(&mut table, &Day { found: &[BAD], now: day(0), scoped: false }, WHOLE);
    assert_eq!(run(&mut table, &Day { found: &[Observation::Compliant], now: day(1), scoped: false }, 2).heard, []);
    let told = run(&mut table, &Day { found: &[BAD], now: day(2), scoped: false }, WHOLE);
    assert_eq!(told.heard, [(Change::New, 0, N)]);
    assert_eq!(table.open.values().next().unwrap().first_seen, day(2));
}

#[test]
fn a_story_keeps_its_last_hundred_steps() {
    let mut table = Table::default();
    for n in 0..150 {
        let found = [Observation::Bad(Severity::Low, if n % 2 == 0 { "a" } else { "b" })];
        run(&mut table, &Day { found: &found, now: day(n), scoped: false }, WHOLE);
    }
    let history = &table.open.values().next().unwrap().history;
    assert_eq!((history.len(), history.first().unwrap().at, history.last().unwrap().at), (100, day(50), day(149)));
}

#[test]
fn a_record_survives_its_way_through_json() {
    let found = [Observation::Tagged(Severity::High, "off", "for ever".into())];
    let mut table = Table::default();
    run(&mut table, &Day { found: &found, now: day(0), scoped: false }, 2);
    for record in table.open.values() {
        let text = serde_json::to_string(record).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), *record);
    }
}

/// The rules, said as simply as they can be: what the model knows of an open finding.
#[derive(Clone)]
struct Open {
    severity: Severity,
    reason: &'static str,
    told_on: Option<i64>,
    exempt: bool,
}

/// What the team should hear on a day on which nothing goes wrong.
fn should_hear(open: &mut BTreeMap<(usize, Compliance), Open>, found: &[Observation], today: i64) -> BTreeSet<Heard> {
    let mut heard = BTreeSet::new();
    let complete = !found.contains(&Observation::NotReached);
    for (key, found) in found.iter().enumerate() {
        let (now, other) = match found {
            Observation::Bad(severity, reason) => (Some((N, *severity, *reason, false)), Some(I)),
            Observation::Tagged(severity, reason, tag) => {
                (Some((N, *severity, *reason, tag.starts_with("until"))), Some(I))
            }
            Observation::Unknown(reason) => (Some((I, Severity::Medium, *reason, false)), None),
            Observation::NotFound => (Some((I, Severity::Medium, "not_found", false)), Some(N)),
            Observation::InTransition | Observation::NotReached => continue,
            Observation::Absent if !complete => continue,
            Observation::Compliant | Observation::Excluded | Observation::Absent => {
                for compliance in [N, I] {
                    if open.remove(&(key, compliance)).is_some_and(|it| it.told_on.is_some()) {
                        heard.insert((Change::Resolved, key, compliance));
                    }
                }
                continue;
            }
        };
        if let Some(other) = other
            && open.remove(&(key, other)).is_some_and(|it| it.told_on.is_some())
        {
            heard.insert((Change::Resolved, key, other));
        }
        let Some((compliance, severity, reason, exempt)) = now else { continue };
        let known = open.get(&(key, compliance)).cloned();
        let change = match &known {
            _ if exempt => None,
            None => Some(Change::New),
            Some(it) if it.exempt => Some(Change::New),
            Some(it) if severity > it.severity || reason != it.reason => Some(Change::Worsened),
            Some(it) => it.told_on.filter(|day| today - day >= i64::from(INTERVAL)).map(|_| Change::Reminder),
        };
        heard.extend(change.map(|change| (change, key, compliance)));
        let told_on = change.map(|_| today).or(known.and_then(|it| it.told_on));
        open.insert((key, compliance), Open { severity, reason, told_on, exempt });
    }
    heard
}

fn any_observation() -> impl Strategy<Value = Observation> {
    let severity = prop_oneof![Just(Severity::Low), Just(Severity::High)];
    let reason = prop_oneof![4 => Just("off"), 1 => Just("late")];
    let tag = prop_oneof![Just("until=2036-01-01 owner=ana reason=x".to_owned()), Just("for ever".to_owned())];
    prop_oneof![
        6 => Just(BAD),
        2 => (severity.clone(), reason.clone()).prop_map(|(severity, reason)| Observation::Bad(severity, reason)),
        2 => (severity, reason, tag).prop_map(|(severity, reason, tag)| Observation::Tagged(severity, reason, tag)),
        3 => Just(Observation::Compliant),
        1 => Just(Observation::Excluded),
        2 => prop_oneof![Just("access_denied"), Just("timeout")].prop_map(Observation::Unknown),
        1 => Just(Observation::InTransition),
        1 => Just(Observation::NotFound),
        1 => Just(Observation::Absent),
        1 => Just(Observation::NotReached),
    ]
}

fn any_days() -> impl Strategy<Value = Vec<Vec<Observation>>> {
    let a_key = || prop::collection::vec((any_observation(), 1..9_usize), 4..12);
    let days = |spans: Vec<(Observation, usize)>| -> Vec<Observation> {
        spans.into_iter().flat_map(|(found, days)| std::iter::repeat_n(found, days)).take(30).collect()
    };
    prop::collection::vec(a_key().prop_map(days), 1..4).prop_map(|keys| {
        let last = keys.iter().map(Vec::len).min().unwrap_or_default();
        (0..last).map(|day| keys.iter().map(|days| days[day].clone()).collect()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn over_many_days_the_team_hears_what_the_rules_say(days in any_days()) {
        let (mut table, mut open) = (Table::default(), BTreeMap::new());
        for (n, found) in (0..).zip(&days) {
            let before = table.clone();
            let expected = should_hear(&mut open, found, n);
            let told = run(&mut table, &Day { found, now: day(n), scoped: false }, WHOLE);
            let heard: BTreeSet<Heard> = told.heard.iter().copied().collect();
            prop_assert_eq!(heard.len(), told.heard.len(), "nothing is said twice");
            prop_assert_eq!(heard, expected, "day {}: {:?}", n, found);
            if found == &days[usize::try_from(n).unwrap().saturating_sub(1)] && n > 0 && told.heard.is_empty() {
                prop_assert_eq!(&table, &before, "an unchanged day writes nothing");
            }
            let known: BTreeSet<_> = table.open.keys().map(|(arn, _, compliance)| (arn.clone(), *compliance)).collect();
            let expected: BTreeSet<_> = open.keys().map(|(n, compliance)| (key(*n).arn, *compliance)).collect();
            prop_assert_eq!(known, expected);
        }
    }

    #[test]
    fn a_crash_at_any_step_loses_nothing_once_the_run_is_made_again(days in any_days(), crashes in prop::collection::vec(1..12_usize, 30)) {
        let (mut table, mut smooth) = (Table::default(), Table::default());
        for ((n, found), crash) in (0..).zip(&days).zip(&crashes) {
            let today = Day { found, now: day(n), scoped: false };
            let expected = run(&mut smooth, &today, WHOLE);
            let mut heard = run(&mut table, &today, *crash);
            if !heard.done {
                let again = run(&mut table, &today, WHOLE);
                heard.heard.extend(again.heard);
                heard.exemptions.extend(again.exemptions);
            }
            for it in &expected.heard {
                prop_assert!(heard.heard.contains(it), "day {}: {:?} is lost", n, it);
            }
            for it in &heard.heard {
                prop_assert!(expected.heard.contains(it), "day {}: {:?} is made up", n, it);
                prop_assert!(heard.heard.iter().filter(|other| *other == it).count() <= 2);
            }
            prop_assert!(expected.exemptions.iter().all(|it| heard.exemptions.contains(it)));
            prop_assert_eq!(&table, &smooth, "day {}", n);
        }
    }
}

static DELETION: Control =
    Control { id: PENDING_DELETION, title: "", severity: Severity::Critical, other_severities: "", references: &[] };

/// One run of a function that judges deletion. The changes that it tells, by control; what it leaves open.
fn deletion_run(
    open: Vec<Record>,
    seen: &[(usize, [Verdict; 2])],
    every_key: bool,
    after_event: &[usize],
    n: i64,
) -> (Vec<String>, Vec<Record>, Vec<Record>) {
    let controls: [&Control; 2] = [&DELETION, &CONTROL];
    let location = Location { partition: "aws".into(), region: "r".into(), account_id: "1".into() };
    let ledger = Ledger::new(open.clone());
    let mut sightings = Sightings::of(ledger.keys());
    let mut report = Report::new("f", &location, day(n), &controls, None);
    for (number, verdicts) in seen {
        sightings.saw(&key(*number).arn, &controls, verdicts);
        report.add(&key(*number), &controls, verdicts.clone(), Some(&BTreeMap::new()));
    }
    for number in after_event {
        sightings.gone_after_event(&key(*number));
    }
    if every_key {
        sightings.saw_every_key();
    }
    ledger.exempt(&mut report.findings, day(n));
    let reconciliation = ledger.reconcile(&report.findings, &sightings, &controls, day(n), INTERVAL);
    let mut told: Vec<String> = reconciliation
        .updates
        .iter()
        .map(|it| {
            format!("{} {} {}", it.change.map_or("notice", Change::as_str), it.finding.control, it.finding.key_id)
        })
        .collect();
    told.sort();
    let kept = open.into_iter().filter(|record| {
        !reconciliation.updates.iter().any(|it| it.record().id() == record.id())
            && !reconciliation.ended.iter().any(|it| it.id() == record.id())
    });
    let kept: Vec<Record> = kept.collect();
    let (still_open, closed) = reconciliation.after_the_alert(day(n));
    (told, kept.into_iter().chain(still_open).collect(), closed)
}

fn to_be_deleted() -> [Verdict; 2] {
    [Verdict::non_compliant("scheduled_for_deletion"), Verdict::non_compliant("off")]
}

#[test]
fn a_key_that_was_to_be_deleted_and_is_gone_is_told_as_deleted_and_nothing_else_of_it() {
    let (told, open, _) = deletion_run(vec![], &[(1, to_be_deleted())], true, &[], 0);
    assert_eq!(told, ["new c 1", "new pending-deletion 1"]);
    let (told, open, closed) = deletion_run(open, &[], true, &[], 1);
    assert_eq!(told, ["deleted pending-deletion 1"]);
    assert_eq!(closed.iter().map(|record| record.control.as_str()).collect::<Vec<_>>(), ["c"], "closed without a word");
    // An event that comes late, or twice, is not told; the next listing of every key closes what was told.
    let (told, open, _) = deletion_run(open, &[], false, &[1], 1);
    assert_eq!((told.as_slice(), open.len()), (&[][..], 1));
    let (told, open, closed) = deletion_run(open, &[], true, &[], 2);
    assert_eq!((told.as_slice(), open.len(), closed.len()), (&[][..], 0, 1));
    let history: Vec<_> = closed[0].history.iter().map(|entry| entry.event).collect();
    assert_eq!(history, [HistoryEvent::New, HistoryEvent::Deleted]);
}

#[test]
fn an_event_about_a_key_that_is_gone_tells_that_it_was_deleted_though_nothing_was_known_of_it() {
    let (told, open, _) = deletion_run(vec![], &[], false, &[1], 0);
    assert_eq!(told, ["deleted pending-deletion 1"]);
    let (told, open, _) = deletion_run(open, &[], false, &[1], 0);
    assert_eq!(told, [""; 0]);
    assert_eq!(deletion_run(open, &[], true, &[], 1).1, []);
}

#[test]
fn an_exempt_key_that_was_deleted_is_told_and_a_key_that_was_not_to_be_is_resolved() {
    let (_, mut open, _) = deletion_run(vec![], &[(1, to_be_deleted())], true, &[], 0);
    for record in &mut open {
        record.last_notified = None;
        let exemption = ExemptionRecord { tag: "t".into(), state: ExemptionState::InEffect, pending: false };
        record.exemption = Some(exemption);
    }
    assert_eq!(deletion_run(open, &[], true, &[], 1).0, ["deleted pending-deletion 1"]);
    let fine = Verdict::compliant("not_scheduled");
    let (_, open, _) = deletion_run(vec![], &[(1, [fine, Verdict::non_compliant("off")])], true, &[], 0);
    assert_eq!(deletion_run(open, &[], true, &[], 1).0, ["resolved c 1"]);
}

#[test]
fn a_deletion_that_may_not_have_been_told_is_told_by_the_next_run_whatever_it_is_for() {
    let (_, mut open, _) = deletion_run(vec![], &[(1, to_be_deleted())], true, &[], 0);
    open.iter_mut().filter(|it| it.control == PENDING_DELETION).for_each(|it| it.pending = Some(Change::Deleted));
    assert_eq!(deletion_run(open, &[], false, &[], 1).0, ["deleted pending-deletion 1"]);
}

#[test]
fn a_key_that_its_tag_excludes_is_announced_once() {
    let excluded = |open: Vec<Record>, is_excluded: bool, n: i64| {
        let ledger = Ledger::new(open.clone());
        let mut sightings = Sightings::of(ledger.keys());
        if is_excluded {
            sightings.excluded(&key(1));
        }
        let controls: [&Control; 2] = [&DELETION, &CONTROL];
        let verdict = || if is_excluded { excluded("its tag") } else { Verdict::compliant("good") };
        sightings.saw(&key(1).arn, &controls, &[verdict(), verdict()]);
        let reconciliation = ledger.reconcile(&[], &sightings, &controls, day(n), INTERVAL);
        let notices = reconciliation.updates.iter().filter(|it| it.change.is_none() && it.exemption.is_some()).count();
        let ended = reconciliation.ended.len();
        let is_silent = reconciliation.updates.is_empty();
        let (still_open, _) = reconciliation.after_the_alert(day(n));
        (notices, if is_silent && ended == 0 { open } else { still_open.collect() })
    };
    let (told, open) = excluded(vec![], true, 0);
    assert_eq!((told, open.len()), (1, 1));
    let (told, open) = excluded(open, true, 1);
    assert_eq!((told, open.len()), (0, 1));
    let (told, open) = excluded(open, false, 2);
    assert_eq!((told, open.len()), (0, 0));
    assert_eq!(excluded(open, true, 3).0, 1, "again, and told again");
}

/// A run that is told by whom `notify` says, over the table; its updates as (change, key), and what it writes before it
/// tells. A run that is told later writes it; one that tells, marks all of it as told.
fn run_told(table: &mut Table, day: &Day<'_>, notify: Notify) -> Vec<(Option<Change>, usize)> {
    let ledger = Ledger::new(table.open.values().cloned()).told(notify);
    let (report, sightings) = report(day, &ledger);
    let reconciliation = ledger.reconcile(&report.findings, &sightings, &CONTROLS, day.now, INTERVAL);
    let key = |update: &FindingUpdate<'_>| update.finding.key_id.parse::<usize>().unwrap();
    let mut updates: Vec<_> = reconciliation.updates.iter().map(|update| (update.change, key(update))).collect();
    updates.sort();
    table.open.extend(reconciliation.before_the_alert().map(|record| (record.id(), record.into_owned())));
    let (open, closed) = match notify {
        Notify::Later => (vec![], reconciliation.ended()),
        Notify::Now => {
            let (open, closed) = reconciliation.after_the_alert(day.now);
            (open.collect(), closed)
        }
    };
    table.open.extend(open.into_iter().map(|record| (record.id(), record)));
    for record in closed {
        table.open.remove(&record.id());
        table.past.push(record);
    }
    updates
}

/// The reporter: what it tells of the table, all of which it marks.
fn report_pending(table: &mut Table, now: Timestamp) -> Vec<(Option<Change>, usize)> {
    let pending: Vec<_> = table.open.values().filter(|record| record.is_pending()).cloned().collect();
    let mut told = vec![];
    for record in pending {
        let notice = record.notice(now).unwrap();
        told.push((notice.change, record.key_id.parse().unwrap()));
        table.open.remove(&record.id());
        let record = record.told(now);
        if notice.change == Some(Change::Resolved) {
            table.past.push(record);
        } else {
            table.open.insert(record.id(), record);
        }
    }
    told.sort();
    told
}

#[test]
fn who_tells_what() {
    use Observation::{Absent, Compliant, NotReached};
    // Key 0 has a change that waits; the run comes to key 0 or not, and key 1 has a change of its own or not.
    let new = |key| (Some(Change::New), key);
    let resolved = |key| (Some(Change::Resolved), key);
    let nothing = &[][..];
    let (deferred, left_by_now) = (Notify::Later, Notify::Now);
    // Who left it, who runs, what it finds of the keys, what the run has to tell, what is left to the reporter.
    let rows: &[(Notify, Notify, &[Observation], &[_], &[_])] = &[
        (deferred, Notify::Now, &[NotReached, NotReached], nothing, &[new(0)]),
        (deferred, Notify::Now, &[NotReached, BAD], &[new(1)], &[new(0)]),
        (deferred, Notify::Now, &[BAD, BAD], &[new(0), new(1)], nothing),
        (deferred, Notify::Now, &[BAD, NotReached], &[new(0)], nothing),
        (deferred, Notify::Now, &[Compliant, NotReached], &[resolved(0)], nothing),
        (deferred, Notify::Now, &[Absent, Compliant], &[resolved(0)], nothing),
        (deferred, Notify::Now, &[Observation::NotFound, NotReached], &[new(0), resolved(0)], nothing),
        (left_by_now, Notify::Now, &[NotReached, NotReached], &[new(0)], nothing),
        (left_by_now, Notify::Now, &[NotReached, BAD], &[new(0), new(1)], nothing),
        (left_by_now, Notify::Now, &[BAD, NotReached], &[new(0)], nothing),
        // What is left to tell is all that waits, whoever left it.
        (deferred, Notify::Later, &[NotReached, BAD], &[new(0), new(1)], &[new(0), new(1)]),
        (deferred, Notify::Later, &[Compliant, NotReached], &[resolved(0)], &[resolved(0)]),
        (left_by_now, Notify::Later, &[NotReached, BAD], &[new(0), new(1)], &[new(0), new(1)]),
        (left_by_now, Notify::Later, &[Compliant, NotReached], &[resolved(0)], &[resolved(0)]),
    ];
    for (left_by, runs, found, told, rest) in rows {
        let row = format!("left by {left_by:?}, {runs:?} finds {found:?}");
        let mut table = Table::default();
        let first = Day { found: &[BAD, Compliant], now: day(0), scoped: false };
        // A run that tells and does not come to it: nobody listens, or it crashes.
        let ledger = Ledger::new(vec![]).told(*left_by);
        let (report, sightings) = report(&first, &ledger);
        let reconciliation = ledger.reconcile(&report.findings, &sightings, &CONTROLS, day(0), INTERVAL);
        table.open.extend(reconciliation.before_the_alert().map(|record| (record.id(), record.into_owned())));
        assert!(table.open.values().all(|record| record.deferred == (*left_by == Notify::Later)), "{row}");
        let scoped = found.contains(&NotReached);
        let second = Day { found, now: day(1), scoped };
        assert_eq!(run_told(&mut table, &second, *runs), *told, "{row}");
        assert_eq!(report_pending(&mut table, day(1)), *rest, "{row}");
        assert_eq!(report_pending(&mut table, day(1)), nothing, "{row}: once");
        assert!(table.open.values().all(|record| !record.deferred), "{row}");
    }
}

#[test]
fn a_record_says_to_the_reporter_what_its_run_would_have_said() {
    let tagged = |tag: &str| Observation::Tagged(Severity::Medium, "off", tag.to_owned());
    let until = "until=2026-11-25 owner=ana reason=moves";
    let days = [
        [BAD, Observation::Bad(Severity::High, "late"), tagged("for ever"), tagged(until), Observation::Unknown("x")],
        [
            Observation::Bad(Severity::Critical, "worse"),
            Observation::Compliant,
            tagged("for ever"),
            BAD,
            Observation::Unknown("y"),
        ],
        [Observation::Absent, BAD, Observation::Compliant, BAD, Observation::Compliant],
    ];
    let (mut now, mut later) = (Table::default(), Table::default());
    for (n, found) in (0..).zip(&days) {
        let today = Day { found, now: day(n), scoped: false };
        let ledger = Ledger::new(now.open.values().cloned());
        let (report, sightings) = report(&today, &ledger);
        let reconciliation = ledger.reconcile(&report.findings, &sightings, &CONTROLS, day(n), INTERVAL);
        let mut expected: Vec<_> = reconciliation
            .updates
            .iter()
            .map(|update| {
                let Finding { key_id, reason, detail, severity, .. } = &*update.finding;
                let (was, resolution, exemption) = (&update.was, &update.resolution, &update.exemption);
                format!(
                    "{:?} {key_id} {severity:?} {reason} {detail} {was:?} {resolution:?} {exemption:?}",
                    update.change
                )
            })
            .collect();
        run_told(&mut now, &today, Notify::Now);
        run_told(&mut later, &today, Notify::Later);
        let told = later.open.values().filter_map(|record| Some((record, record.notice(day(n))?)));
        let mut told: Vec<_> = told
            .map(|(record, Notice { change, reason, detail, was, resolution, exemption, .. })| {
                let (key_id, severity) = (&record.key_id, record.severity);
                format!("{change:?} {key_id} {severity:?} {reason} {detail} {was:?} {resolution:?} {exemption:?}")
            })
            .collect();
        expected.sort();
        told.sort();
        assert_eq!(told, expected, "day {n}");
        report_pending(&mut later, day(n));
        assert_eq!((&later.open, later.past.len()), (&now.open, now.past.len()), "day {n}");
    }
}

#[test]
fn records_of_earlier_versions_are_read_and_told() {
    let old = serde_json::json!({
        "key_arn": "arn:key/0", "key_id": "0", "aliases": ["alias/a"], "control": "c", "compliance": "NON_COMPLIANT",
        "first_seen": "2026-11-23T06:00:00Z", "severity": "MEDIUM", "reason": "off", "told": null, "pending": "new",
        "exemption": null, "story": [
            {"at": "2026-11-23T06:00:00Z", "step": "new", "severity": "MEDIUM", "reason": "off", "detail": "it is off"}
        ]
    });
    let record: Record = serde_json::from_value(old).unwrap();
    let notice = record.notice(day(1)).unwrap();
    assert_eq!((notice.change, notice.detail.as_str()), (Some(Change::New), "it is off"));
    assert!(!record.deferred);
    let mut table = Table::default();
    table.open.insert(record.id(), record.told(day(0)));
    // What such a record lacks is written once, and nobody is told.
    for (n, writes) in [(1, 0), (2, 0)] {
        let outcome = run(&mut table, &Day { found: &[BAD], now: day(n), scoped: false }, WHOLE);
        assert_eq!((outcome.heard.len(), outcome.writes_before), (0, writes));
    }
}
