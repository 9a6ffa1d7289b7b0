#![expect(clippy::cast_possible_wrap, clippy::float_cmp, reason = "hours of some weeks; scores that must be the same")]

use super::*;
use simulated_usage::{Incident, Random, Usage, key};

const START: i64 = 1_767_571_200; // Monday, 5 January 2026
const DAYS: usize = 30;

/// Hourly counts of n days, by weekday (0 is Monday) and hour.
fn counts(days: usize, count: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    (0..days * 24).map(|hour| count(hour / 24 % 7, hour % 24)).collect()
}

/// The same with the noise that counts have: a tenth of themselves, and chance.
fn noisy(seed: u64, days: usize, mean: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut random = Random::new(seed, 9);
    let mut around = |mean: &f64| {
        let rate = mean * random.factor(0.1);
        random.count(rate)
    };
    counts(days, mean).iter().map(&mut around).collect()
}

fn hourly() -> Kind {
    Kind::Counts { period: HOUR }
}

fn scores_of(kind: Kind, values: &[f64], spacing: i64) -> Vec<Score> {
    let mut scorer = Scorer::new(kind);
    (0..).zip(values).map(|(i, &value)| scorer.push(START + i * spacing, value).unwrap()).collect()
}

fn hourly_scores(values: &[f64]) -> Vec<Score> {
    scores_of(hourly(), values, HOUR)
}

/// The worst score of a stretch of hours.
fn worst(scores: &[Score], hours: std::ops::Range<usize>) -> f64 {
    scores[hours].iter().map(|score| score.score).fold(0.0, f64::max)
}

fn office(weekday: usize, hour: usize) -> f64 {
    if weekday < 5 && (8..18).contains(&hour) { 400.0 } else { 0.0 }
}

/// The score of the last hour of a history, if it holds this.
fn last(mut values: Vec<f64>, value: f64) -> Score {
    *values.last_mut().unwrap() = value;
    *hourly_scores(&values).last().unwrap()
}

#[test]
fn thirty_requests_matter_on_a_sleeping_key() {
    let sleeping = vec![0.0; DAYS * 24];
    assert!(last(sleeping.clone(), 30.0).score >= UNUSUAL);
    assert!(last(sleeping.clone(), 10.0).score < UNUSUAL);
    assert!(last(sleeping.clone(), 0.0).score < 0.1);
    assert!(last(sleeping, 500.0).score >= 0.99);
}

#[test]
fn sixty_more_do_not_matter_on_a_busy_key() {
    let busy = noisy(1, DAYS, |_, _| 1_000.0);
    assert!(last(busy.clone(), 1_060.0).score < 0.5);
    assert!(last(busy.clone(), 940.0).score < 0.5);
    assert!(last(busy.clone(), 10_000.0).score >= UNUSUAL);
    assert!(last(busy, 20_000.0).score >= 0.99);
}

#[test]
fn the_hour_of_the_day_matters() {
    let mut values = noisy(2, DAYS, |_, hour| if (8..18).contains(&hour) { 400.0 } else { 0.0 });
    assert!(worst(&hourly_scores(&values), 29 * 24..DAYS * 24) < 0.5);
    values[29 * 24 + 2] = 400.0;
    assert!(hourly_scores(&values)[29 * 24 + 2].score >= UNUSUAL);
}

#[test]
fn the_day_of_the_week_matters() {
    let values = noisy(3, 34, office);
    // Day 33 is a Saturday.
    assert!(worst(&hourly_scores(&values), 33 * 24..34 * 24) < 0.5);
    let mut worked = values;
    worked[33 * 24 + 10] = 400.0;
    assert!(hourly_scores(&worked)[33 * 24 + 10].score >= UNUSUAL);
}

#[test]
fn a_holiday_is_no_finding_and_a_stop_is() {
    let values = noisy(4, 32, |weekday, hour| office(weekday, hour).max(3.0));
    // Day 31 is a Thursday.
    let (nine, three) = (31 * 24 + 9, 31 * 24 + 15);
    let mut holiday = values.clone();
    holiday[31 * 24..].copy_from_slice(&values[27 * 24..28 * 24]);
    assert!(worst(&hourly_scores(&holiday), 31 * 24..32 * 24) < UNUSUAL);
    let mut stopped = values;
    stopped[nine + 3..].fill(0.0);
    let scores = hourly_scores(&stopped);
    assert!(worst(&scores, nine + 3..32 * 24) >= UNUSUAL);
    let told = scores[three - 3..].iter().find(|score| score.score >= UNUSUAL).unwrap();
    assert!(told.observed < told.usual.low);
}

#[test]
fn a_job_may_be_late_or_early_and_not_missing() {
    let nightly = noisy(5, DAYS, |_, hour| if hour == 3 { 5_000.0 } else { 0.0 });
    let night = 29 * 24;
    for hour in [1, 2, 4, 5] {
        let mut moved = nightly.clone();
        moved.swap(night + 3, night + hour);
        assert!(worst(&hourly_scores(&moved), night..DAYS * 24) < UNUSUAL, "at {hour}");
    }
    let mut missing = nightly.clone();
    missing[night + 3] = 0.0;
    assert!(worst(&hourly_scores(&missing), night..DAYS * 24) >= UNUSUAL);
    let mut moved = nightly;
    moved.swap(night + 3, night + 14);
    assert!(worst(&hourly_scores(&moved), night + 14..night + 15) >= UNUSUAL);
}

#[test]
fn a_little_more_for_long_is_found() {
    let mut values = noisy(6, DAYS, |_, _| 300.0);
    let (calm, begins) = (worst(&hourly_scores(&values), 25 * 24..28 * 24), 28 * 24);
    values[begins..].iter_mut().for_each(|count| *count *= 3.5);
    let scores = hourly_scores(&values);
    assert!(calm < UNUSUAL);
    let found = scores[begins..].iter().position(|score| score.score >= UNUSUAL).unwrap();
    assert!(found < 24);
    assert!(scores[begins + found].observed > scores[begins + found].usual.high);
}

#[test]
fn a_new_level_is_reported_and_learnt() {
    for level in [1.0, 3_000.0, 60.0] {
        let mut values = noisy(7, 45, |_, _| 600.0);
        for count in &mut values[30 * 24..] {
            *count = (*count * level / 600.0).round();
        }
        let scores = hourly_scores(&values);
        assert!(worst(&scores, 20 * 24..30 * 24) < UNUSUAL);
        assert!(worst(&scores, 30 * 24..31 * 24) >= UNUSUAL, "{level} is reported");
        assert!(worst(&scores, 33 * 24..45 * 24) < UNUSUAL, "{level} is learnt");
    }
}

#[test]
fn a_new_nightly_job_is_reported_once() {
    let mut values = noisy(8, 45, office);
    for day in 30..45 {
        values[day * 24 + 2] = 700.0;
    }
    let scores = hourly_scores(&values);
    let reported: Vec<usize> = (30..45).filter(|day| scores[day * 24 + 2].score >= UNUSUAL).collect();
    assert_eq!(reported, [30]);
}

#[test]
fn an_earlier_incident_in_the_baseline_hides_no_later_one() {
    for days_before in [3, 7, 14, 20] {
        let mut values = noisy(9, DAYS, office);
        let hour = 29 * 24 + 2;
        for (earlier, count) in [(hour - days_before * 24, 20_000.0), (hour, 20_000.0)] {
            values[earlier..earlier + 4].fill(count);
        }
        assert!(worst(&hourly_scores(&values), hour..hour + 4) >= UNUSUAL, "{days_before} days before");
    }
}

#[test]
fn an_earlier_incident_is_no_finding_again() {
    let mut values = noisy(10, 32, office);
    values[29 * 24 + 2..29 * 24 + 6].fill(20_000.0);
    let scores = hourly_scores(&values);
    assert!(worst(&scores, 29 * 24..30 * 24) >= 0.99);
    assert!(worst(&scores, 30 * 24..32 * 24) < UNUSUAL);
}

#[test]
fn hours_left_out_are_hours_without_requests() {
    let values = noisy(11, DAYS, |_, hour| if hour % 6 == 1 { 90.0 } else { 0.0 });
    let all = hourly_scores(&values);
    let mut scorer = Scorer::new(hourly());
    for (i, (&value, expected)) in values.iter().zip(&all).enumerate() {
        if value > 0.0 || i == 0 {
            assert_eq!(scorer.push(START + i as i64 * HOUR, value).unwrap(), *expected);
        }
    }
}

#[test]
fn measurements_left_out_are_not_known() {
    let mut random = Random::new(12, 9);
    let mut scorer = Scorer::new(Kind::Measurements);
    let mut false_alarms = 0;
    for i in 0..20 * 288 {
        // Half a day is missing, and no zero takes its place.
        if (3_000..3_144).contains(&i) {
            continue;
        }
        let score = scorer.push(START + i * 300, 50.0 + random.normal()).unwrap();
        false_alarms += usize::from(i >= 576 && score.score >= UNUSUAL);
    }
    assert!(false_alarms <= 2, "{false_alarms} in {} values", 20 * 288);
    assert!(scorer.push(START + 20 * 288 * 300, 80.0).unwrap().score >= UNUSUAL);
    assert!(scorer.push(START + 20 * 288 * 300 + 2 * DAY, 20.0).unwrap().score >= UNUSUAL);
}

#[test]
fn a_gap_of_years_costs_no_more_than_what_is_remembered() {
    let mut scorer = Scorer::new(hourly());
    scorer.push(0, 10.0).unwrap();
    let score = scorer.push(i64::MAX, 30.0).unwrap();
    assert!(score.score >= UNUSUAL && !score.learning);
}

#[test]
fn a_late_value_is_learnt_for_its_own_hour() {
    let values = noisy(13, DAYS, office);
    let mut scorer = Scorer::new(hourly());
    for (hour, &value) in (0..).zip(&values) {
        scorer.push(START + hour * HOUR, value).unwrap();
    }
    let now = START + DAYS as i64 * HOUR * 24;
    let mut with_late = scorer.clone();
    assert!(with_late.push(now - 30 * HOUR, 9_000.0).unwrap().score >= UNUSUAL);
    // The sums over the latest hours are those of before.
    assert_eq!(with_late.push(now, 0.0).unwrap().score, scorer.push(now, 0.0).unwrap().score);
}

#[test]
fn fewer_than_three_days_are_learning() {
    let values = noisy(14, 4, |_, _| 100.0);
    for (hour, score) in hourly_scores(&values).iter().enumerate() {
        assert_eq!(score.learning, hour < 72, "hour {hour}");
    }
}

#[test]
fn what_is_no_number_is_refused_and_changes_nothing() {
    let values = noisy(15, 10, office);
    let mut scorer = Scorer::new(hourly());
    let mut untouched = Scorer::new(hourly());
    for (hour, &value) in (0..).zip(&values) {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e200] {
            let error = scorer.push(START + hour * HOUR, bad).unwrap_err();
            assert!(error.to_string().contains(&bad.to_string()));
        }
        let at = START + hour * HOUR;
        assert_eq!(scorer.push(at, value), untouched.push(at, value));
    }
    assert!(Scorer::new(Kind::Measurements).push(START, -1.0).is_ok());
}

#[test]
fn the_same_values_give_the_same_scores_and_later_ones_change_none() {
    for (seed, usage) in (0..).zip(Usage::ALL) {
        let values = &key(seed, usage, 42, Some((Incident::of(usage)[0], 700..900))).series[0].counts;
        let all = hourly_scores(values);
        assert_eq!(all, hourly_scores(values));
        for hours in [1, 30, 100, 500, 720, 721, 900] {
            assert_eq!(all[..hours], hourly_scores(&values[..hours]));
        }
    }
}

#[test]
fn scores_are_bounded_and_ranges_hold_together() {
    for (seed, usage) in (0..4).flat_map(|seed| Usage::ALL.map(|usage| (seed, usage))) {
        let kinds = Incident::of(usage);
        let incident = kinds[seed as usize % kinds.len()];
        for series in &key(seed, usage, 42, Some((incident, 700..900))).series {
            for score in hourly_scores(&series.counts) {
                assert!((0.0..=1.0).contains(&score.score));
                assert!(score.usual.low >= 0.0 && score.usual.low <= score.usual.high && score.usual.high.is_finite());
            }
        }
    }
    for extreme in [1e99, 1e-300, -1e99, 0.0] {
        let mut random = Random::new(16, 9);
        let values: Vec<f64> = (0..2_000).map(|_| extreme * random.normal()).collect();
        for score in scores_of(Kind::Measurements, &values, 300) {
            assert!((0.0..=1.0).contains(&score.score));
        }
    }
}

#[test]
fn a_larger_burst_never_scores_lower() {
    for (seed, usage) in (0..2).flat_map(|seed| Usage::ALL.map(|usage| (seed, usage))) {
        let values = &key(seed, usage, 31, None).series[0].counts;
        let mut scorer = Scorer::new(hourly());
        for (hour, &value) in (0..).zip(values) {
            if hour > 700 && hour % 3 == 0 {
                let at = START + hour * HOUR;
                let usual = scorer.clone().push(at, value).unwrap();
                let mut least = 0.0;
                for step in 0..40 {
                    let burst = (value.max(usual.usual.high) + f64::from(step)) * 1.3_f64.powi(step);
                    let score = scorer.clone().push(at, burst).unwrap().score;
                    assert!(score >= least, "{usage:?} {seed}: {burst} at {hour} scores {score}, less than {least}");
                    least = score;
                }
                assert!(least > 0.9);
            }
            scorer.push(START + hour * HOUR, value).unwrap();
        }
    }
}

#[test]
fn what_is_usual_scores_low_and_what_is_not_does_not() {
    let values = noisy(17, DAYS, |_, hour| if hour < 12 { 100.0 } else { 900.0 });
    let scorer = {
        let mut scorer = Scorer::new(hourly());
        for (hour, &value) in (0..).zip(&values) {
            scorer.push(START + hour * HOUR, value).unwrap();
        }
        scorer
    };
    let now = START + DAYS as i64 * DAY;
    let usual = scorer.clone().push(now, 100.0).unwrap().usual;
    assert!(usual.low < 100.0 && 100.0 < usual.high);
    let inside = scorer.clone().push(now, usual.high * 0.99).unwrap();
    assert!(inside.score < UNUSUAL, "{inside:?}");
    assert!(scorer.clone().push(now, usual.high * 1.01 + 1.0).unwrap().score >= 0.5);
}

#[test]
fn any_spacing_will_do() {
    for spacing in [1, 10, 60, 300, 3_600, 86_400, 7 * 86_400] {
        let mut random = Random::new(18, 9);
        let mut values: Vec<f64> = (0..4_000).map(|_| 10.0 + random.normal()).collect();
        values[3_500] = 40.0;
        let scores = scores_of(Kind::Measurements, &values, spacing);
        assert!(scores[3_500].score >= UNUSUAL, "every {spacing} seconds");
        let false_alarms = scores[2_500..3_500].iter().filter(|score| score.score >= UNUSUAL).count();
        assert!(false_alarms <= 1, "every {spacing} seconds: {false_alarms}");
    }
}

#[test]
fn a_value_beyond_all_that_was_seen_is_news() {
    let mut values = vec![0.0; 3_000];
    values[2_500] = 1.0;
    values[2_900] = 60.0;
    let scores = scores_of(Kind::Measurements, &values, 300);
    assert!(worst(&scores, 600..2_500) == 0.0);
    assert!(scores[2_500].score >= UNUSUAL && scores[2_900].score >= UNUSUAL);
    // However rough the series is.
    let mut random = Random::new(20, 9);
    let mut values: Vec<f64> = (0..DAYS * 24).map(|_| (100.0 * random.factor(0.8)).round()).collect();
    let highest = values[..29 * 24].iter().copied().fold(0.0, f64::max);
    *values.last_mut().unwrap() = 10.0 * highest;
    assert!(hourly_scores(&values).last().unwrap().score >= UNUSUAL);
}

#[test]
fn the_last_day_of_points_in_any_order() {
    let values = noisy(19, DAYS, office);
    let expected = hourly_scores(&values);
    let mut points: Vec<(i64, f64)> = (0..).map(|hour| START + hour * HOUR).zip(values.iter().copied()).collect();
    points.retain(|(_, count)| *count > 0.0);
    points.reverse();
    points.push((START - HOUR, 5.0));
    let until = START + DAYS as i64 * DAY;
    points.push((until, 5.0));
    let hours = score_counts(&points, START, until).unwrap();
    assert_eq!(hours.len(), 24);
    for (hour, (scored, expected)) in hours.iter().zip(&expected[29 * 24..]).enumerate() {
        assert_eq!(scored.at, until - DAY + hour as i64 * HOUR);
        assert_eq!(scored.observed, values[29 * 24 + hour]);
        assert_eq!(scored.score, *expected);
    }
    assert_eq!(score_counts(&points, until - 5 * HOUR, until).unwrap().len(), 5);
    assert!(score_counts(&points, until, START).unwrap().is_empty());
    assert_eq!(score_counts(&[(START, -1.0)], START, until).unwrap_err(), NotScorable(-1.0));
}

#[test]
fn hours_are_asked_for_in_whole_ones() {
    let hours = score_counts(&[], START + 90, START + DAY + 90).unwrap();
    assert_eq!((hours.len(), hours[0].at), (24, START));
}

#[test]
fn a_burst_of_one_hour_is_told_of_that_hour_alone() {
    // Thirteen days with a fifth of noise, six hours before their end the burst; from there it is twelve hours to noon.
    let hours = 13 * 24;
    let burst = hours - 6;
    for seed in 1..40_u32 {
        let mut noise = seed;
        let mut usual = |hour: i64| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let by_day = (8..17).contains(&(hour - burst).rem_euclid(24));
            (if by_day { 900.0 } else { 60.0 } * (0.8 + 0.4 * f64::from(noise) / f64::from(u32::MAX))).round()
        };
        let count = |hour: i64| (hour * HOUR, if hour == burst { 48_210.0 } else { usual(hour) });
        let points: Vec<_> = (0..hours).map(count).collect();
        // The same on a key that slept for seventeen days before.
        for from in [0, -17 * DAY, -27 * DAY] {
            let scored = score_counts(&points, from, hours * HOUR).unwrap();
            let findings = scored.iter().filter(|it| it.score.score >= UNUSUAL);
            let told: Vec<_> = findings.map(|it| (it.at / HOUR, it.score.window, it.score.observed)).collect();
            assert_eq!(told, [(burst, 1, 48_210.0)], "{seed} {from}: {:?}", scored[18].score);
        }
    }
}

/// A Poisson key's hourly counts, by day and hour of the day.
fn poisson(seed: u64, days: usize, rate: impl Fn(usize, usize) -> f64) -> Vec<f64> {
    let mut random = Random::new(seed, 77);
    (0..days * 24).map(|hour| random.count(rate(hour / 24, hour % 24))).collect()
}

/// What the run at 06:00 of that day says, with four weeks and two days of history.
fn run(values: &[f64], day: usize) -> Vec<ScoredHour> {
    let (from, until) = (START + (day as i64 - 30) * DAY + 6 * HOUR, START + day as i64 * DAY + 6 * HOUR);
    let points: Vec<(i64, f64)> = (0..).map(|hour| START + hour * HOUR).zip(values.iter().copied()).collect();
    score_counts(&points, from, until).unwrap()
}

/// The days of which a run has a finding, and the highest score.
fn found(values: &[f64], days: std::ops::Range<usize>) -> Vec<(usize, f64)> {
    let worst = |day| run(values, day).iter().map(|hour| hour.score.score).fold(0.0, f64::max);
    days.map(|day| (day, worst(day))).filter(|(_, score)| *score >= UNUSUAL).collect()
}

/// What the run at 06:00 of day 45 says of its hour from 02:00 on, if that holds n times what it otherwise does.
fn tonight(mut values: Vec<f64>, times: f64) -> Score {
    values[45 * 24 + 2] *= times;
    run(&values, 45)[20].score
}

#[test]
fn d1_a_burst_above_a_new_level_is_found() {
    for (seed, days, times) in (0..5)
        .flat_map(|seed| [3, 6, 10].into_iter().flat_map(move |days| [10.0, 100.0].map(|times| (seed, days, times))))
    {
        for shift in [3.0, 10.0] {
            let level = |day, _| if day >= 45 - days { 100.0 * shift } else { 100.0 };
            let score = tonight(poisson(seed, 46, level), times);
            assert!(score.score >= UNUSUAL, "{seed}: {shift} times since {days} days, then {times} times: {score:?}");
        }
    }
}

#[test]
fn d2_earlier_bursts_hide_no_larger_one() {
    for seed in 0..5 {
        for hours in [1, 4] {
            let mut values = poisson(seed, 46, |_, _| 100.0);
            for (day, hour) in [(21, 2), (28, 7), (35, 2), (42, 15)] {
                values[day * 24 + hour..][..hours].fill(20_000.0);
            }
            values[45 * 24 + 2] = 200_000.0;
            assert!(tonight(values, 1.0).score >= UNUSUAL, "{seed}, {hours} hours each");
        }
    }
}

#[test]
fn d3_a_new_job_that_grows_fiftyfold_is_found() {
    for seed in 0..5 {
        let mut values = poisson(seed, 46, |day, hour| if hour == 2 && day >= 27 { 20_000.0 } else { 100.0 });
        values[45 * 24 + 2] = 1_000_000.0;
        let score = tonight(values, 1.0);
        assert!(score.score >= UNUSUAL && score.usual.high < 100_000.0, "{seed}: {score:?}");
        assert!(score.usual.high > 20_000.0, "{seed}: {score:?}");
    }
}

#[test]
fn d4_growth_is_told_of_once_or_twice_a_week() {
    for (seed, by_the_hour) in (0..3).flat_map(|seed| [(seed, true), (seed, false)]) {
        let values = poisson(seed, 56, |day, hour| {
            let days = day as f64 - 30.0 + if by_the_hour { hour as f64 / 24.0 } else { 0.0 };
            100.0 * 1.5_f64.powf(days.clamp(0.0, 20.62))
        });
        let days: Vec<usize> = found(&values, 31..51).into_iter().map(|(day, _)| day).collect();
        for week in 31..45 {
            let told = days.iter().filter(|day| (week..week + 7).contains(*day)).count();
            assert!((1..=2).contains(&told), "{seed}, {by_the_hour}: {days:?}");
        }
    }
}

#[test]
fn d6_a_job_that_is_skipped_once_is_told_of_once() {
    for (seed, otherwise) in (0..5).flat_map(|seed| [(seed, 0.0), (seed, 100.0)]) {
        let mut values = poisson(seed, 50, |_, hour| if hour == 3 { 20_000.0 } else { otherwise });
        values[40 * 24 + 3] = otherwise;
        let found = found(&values, 36..50);
        assert_eq!(found.len(), 1, "{seed}: {found:?}");
        // Of medium severity at most.
        assert!(found[0].1 < 0.99 && (40..42).contains(&found[0].0), "{seed}: {found:?}");
    }
}

#[test]
fn d7_up_to_six_lost_hours_are_no_finding() {
    for (seed, lost) in (0..4).flat_map(|seed| (1..=6).map(move |lost| (seed, lost))) {
        let mut values = poisson(seed, 43, |_, _| 100.0);
        values[40 * 24 + 1 + 5 * seed as usize..][..lost].fill(0.0);
        assert_eq!(found(&values, 39..43), [], "{seed}: {lost} hours");
    }
    // What is silent for longer has stopped.
    let mut values = poisson(0, 42, |_, _| 100.0);
    values[40 * 24 + 8..].fill(0.0);
    assert_eq!(found(&values, 40..42).len(), 1);
}

#[test]
fn d8_a_level_that_falls_is_told_of_once() {
    for seed in 0..5 {
        let begins = 35 * 24 + 5 * seed as usize;
        let values = poisson(seed, 60, |day, hour| if day * 24 + hour >= begins { 30.0 } else { 100.0 });
        let found = found(&values, 32..60);
        assert_eq!(found.len(), 1, "{seed}: {found:?}");
        assert!((35..=37).contains(&found[0].0) && found[0].1 < 0.99, "{seed}: {found:?}");
    }
}

#[test]
fn the_baseline_that_is_told_is_that_before_the_judged_day() {
    let mut values = poisson(0, 46, |_, _| 100.0);
    values[20 * 24] = 1_240.0;
    values[45 * 24 + 2] = 48_210.0;
    let hours = run(&values, 45);
    let burst = hours[20];
    assert_eq!((burst.observed, burst.before.high, burst.days_before), (48_210.0, 1_240.0, 28));
    assert!(burst.before.low > 50.0);
    // Of a key that is ten days old, those nine before.
    let points: Vec<(i64, f64)> = (0..240).map(|hour| (START + hour * HOUR, 7.0)).collect();
    let hour = score_counts(&points, START, START + 10 * DAY).unwrap()[0];
    assert_eq!((hour.before, hour.days_before), (Range { low: 7.0, high: 7.0 }, 8));
}
