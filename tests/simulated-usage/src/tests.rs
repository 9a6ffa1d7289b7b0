use super::*;

const DAYS: usize = 28;

fn total(key: &Key) -> f64 {
    key.series.iter().flat_map(|series| &series.counts).sum()
}

fn each_seed(usage: Usage) -> impl Iterator<Item = Key> {
    (0..50).map(move |seed| key(seed, usage, DAYS, None))
}

#[test]
fn the_same_seed_gives_the_same_key() {
    for usage in Usage::ALL {
        assert_eq!(key(7, usage, DAYS, None), key(7, usage, DAYS, None));
    }
    assert_ne!(key(7, Usage::Batch, DAYS, None), key(8, Usage::Batch, DAYS, None));
}

#[test]
fn counts_are_whole_and_complete() {
    for key in Usage::ALL.into_iter().flat_map(each_seed) {
        for series in &key.series {
            assert_eq!(series.counts.len(), DAYS * 24);
            assert!(series.counts.iter().all(|count| *count >= 0.0 && count.fract() == 0.0));
        }
    }
}

#[test]
fn usages_look_like_their_names() {
    for key in each_seed(Usage::Sleeping) {
        assert!(total(&key) < 50.0);
    }
    for key in each_seed(Usage::Autoscaled) {
        let idle = key.series[0].counts.iter().filter(|count| **count == 0.0).count();
        assert!(idle <= 12, "around the clock, but for hours that the metric loses");
    }
    for key in each_seed(Usage::Batch) {
        let idle = key.series[0].counts.iter().filter(|count| **count < 7.0).count();
        assert!(idle > DAYS * 24 / 3, "mostly at rest");
    }
    for key in each_seed(Usage::OfficeHours) {
        let mut by_day: Vec<f64> = key.series[0].counts.chunks(24).map(|day| day.iter().sum()).collect();
        by_day.sort_by(f64::total_cmp);
        assert!(by_day[3] < by_day[DAYS / 2] / 2.0, "weekends are quiet");
    }
}

#[test]
fn halves_share_no_seed() {
    let seeds = |half: Half| (0..50).map(move |n| half.seed(n)).collect::<Vec<_>>();
    assert!(seeds(Half::Setting).iter().all(|seed| !seeds(Half::HeldOut).contains(seed)));
    assert_eq!((Half::Setting.usages().count(), Half::HeldOut.usages().count()), (8, 15));
}

#[test]
fn months_end_where_they_do() {
    // 28 February and 1 March 2026; 29 February and 1 March 2028; 31 December 2026.
    for (day, of_month) in [(20_512, 28), (20_513, 1), (21_243, 29), (21_244, 1), (20_818, 31), (0, 1)] {
        assert_eq!(day_of_month(day), of_month, "{day}");
    }
}

#[test]
fn some_runs_come_before_their_data() {
    let late = |upsets| {
        let keys = (0..20).map(|seed| key_with(seed, Usage::Autoscaled, DAYS, None, upsets));
        let runs = keys.flat_map(|key| (72..DAYS * 24).step_by(24).map(move |until| (key.clone(), until)));
        runs.filter(|(key, until)| {
            let series = &key.series[0];
            key.seen_by_run(series, until - 24, *until) != series.counts[until - 24..*until]
        })
        .count()
    };
    assert_eq!(late(Upsets::None), 0);
    assert!((2..40).contains(&late(Upsets::Some)), "of 500: {}", late(Upsets::Some));
}

#[test]
fn an_incident_changes_its_own_hours_alone() {
    for (usage, seed) in Usage::ALL.into_iter().flat_map(|usage| (0..20).map(move |seed| (usage, seed))) {
        for incident in Incident::of(usage) {
            let calm = key(seed, usage, DAYS, None);
            let Some(injected) = key(seed, usage, DAYS, Some((*incident, 480..600))).injected else { continue };
            let struck = key(seed, usage, DAYS, Some((*incident, 480..600)));
            assert!((480..600).contains(&injected.begins) && injected.begins < injected.ends);
            for (before, after) in calm.series.iter().zip(&struck.series) {
                assert_eq!(before.counts[..injected.begins], after.counts[..injected.begins]);
                assert_eq!(before.counts[injected.ends..], after.counts[injected.ends..]);
            }
            if injected.plain {
                assert!(calm.series != struck.series, "{incident:?} of {usage:?} changes something");
            }
        }
    }
}

#[test]
fn incidents_do_what_their_names_say() {
    for seed in 0..20 {
        let stopped = key(seed, Usage::Autoscaled, DAYS, Some((Incident::Stops, 480..600)));
        let begins = stopped.injected.expect("there is always an hour at work").begins;
        assert!(stopped.series.iter().all(|series| series.counts[begins..].iter().all(|count| *count == 0.0)));
        let new = key(seed, Usage::Sleeping, DAYS, Some((Incident::NewOperation, 480..600)));
        let series = new.series.last().expect("a key has an operation");
        let injected = new.injected.expect("any hour will do");
        assert_eq!(series.operation, "ReEncrypt");
        assert!(series.counts[..injected.begins].iter().all(|count| *count == 0.0));
        let calls: f64 = series.counts[injected.begins..injected.ends].iter().sum();
        assert!((calls - injected.strength).abs() < 0.5 && injected.plain == (calls >= 50.0));
        let bulk = key(seed, Usage::OfficeHours, DAYS, Some((Incident::BulkDecrypt, 480..600)));
        let injected = bulk.injected.expect("there is always a night");
        assert!((0.3..100.0).contains(&injected.strength) && injected.ends - injected.begins <= 4);
        assert!(bulk.series[0].counts[injected.begins..injected.ends].iter().all(|count| *count > 0.0));
        let fallen = key(seed, Usage::Autoscaled, DAYS, Some((Incident::Falls, 480..600)));
        let (calm, injected) = (key(seed, Usage::Autoscaled, DAYS, None), fallen.injected.expect("any hour will do"));
        let left = |key: &Key| key.series[0].counts[injected.begins..].iter().sum::<f64>();
        assert!((left(&fallen) / left(&calm) - injected.strength).abs() < 0.01);
    }
}

#[test]
fn random_numbers_are_what_they_say() {
    let mut random = Random::new(1, 1);
    let mean = |numbers: Vec<f64>| numbers.iter().sum::<f64>() / numbers.len() as f64;
    assert!((mean((0..20_000).map(|_| random.unit()).collect()) - 0.5).abs() < 0.01);
    assert!(mean((0..20_000).map(|_| random.normal()).collect()).abs() < 0.03);
    assert!((mean((0..20_000).map(|_| random.factor(0.3)).collect()) - 1.0).abs() < 0.01);
    for rate in [0.2, 5.0, 80.0] {
        assert!((mean((0..20_000).map(|_| random.count(rate)).collect()) / rate - 1.0).abs() < 0.03, "{rate}");
    }
    assert!((0..1_000).all(|_| (3..7).contains(&random.pick(3, 7))));
}
