//! How many requests an hour each kind of usage makes.

use super::{Random, Usage, World};

/// How often a job is skipped.
const SKIPPED: f64 = 1.0 / 200.0;

/// Requests per hour, and the hours in which they are missed if they stop.
pub(crate) fn rate(usage: Usage, random: &mut Random, world: &World, skips: bool) -> (Vec<f64>, Vec<bool>) {
    let idle = |rate: Vec<f64>| {
        let missed = vec![false; rate.len()];
        (rate, missed)
    };
    match usage {
        Usage::OfficeHours => busy(office_hours(random, world)),
        Usage::Batch => batch(random, world, skips),
        Usage::Autoscaled => busy(autoscaled(random, world)),
        Usage::Sleeping => idle(vec![0.0; world.hours]),
        Usage::Deployed => busy(deployed(random, world)),
        Usage::OnOff => idle(on_off(random, world)),
        Usage::Lognormal => idle(lognormal(random, world)),
        Usage::BucketKeys => idle(bucket_keys(random, world)),
        Usage::Weekly => idle(weekly(random, world, skips)),
        Usage::MonthEnd => idle(month_end(random, world, skips)),
        Usage::Growing => idle(growing(random, world)),
        Usage::ZeroInflated => idle(zero_inflated(random, world)),
        Usage::Envelope => idle(envelope(random, world)),
        Usage::ColdStarts => idle(cold_starts(random, world)),
        Usage::Sparse => idle(sparse(random, world)),
    }
}

fn day_factors(random: &mut Random, world: &World, deviation: f64) -> Vec<f64> {
    (0..world.hours / 24 + 2).map(|_| random.factor(deviation)).collect()
}

/// Requests per hour, and the hours in which it is missed if they stop: those of at least a third of the busiest.
fn busy(rate: Vec<f64>) -> (Vec<f64>, Vec<bool>) {
    let enough = rate.iter().copied().fold(0.0, f64::max) / 3.0;
    let at_work = rate.iter().map(|&rate| rate > enough).collect();
    (rate, at_work)
}

fn office_hours(random: &mut Random, world: &World) -> Vec<f64> {
    let base = random.log_between(50.0, 5_000.0);
    let night = random.between(0.0, 0.02);
    let weekend = random.between(0.0, 0.15);
    let (day_to_day, hour_to_hour) = (random.between(0.05, 0.15), random.between(0.1, 0.2));
    let days = day_factors(random, world, day_to_day);
    (0..world.hours)
        .map(|hour| {
            let (clock, day, off) = world.local(hour);
            let shape: f64 = match clock {
                8.0 => 0.5,
                12.0 => 0.7,
                9.0..17.0 => 1.0,
                17.0 => 0.6,
                18.0 => 0.25,
                7.0 | 19.0 => 0.1,
                _ => 0.0,
            };
            let level = shape.max(night) * if off { weekend } else { 1.0 };
            base * level * days.get(day).unwrap_or(&1.0) * random.factor(hour_to_hour)
        })
        .collect()
}

fn batch(random: &mut Random, world: &World, skips: bool) -> (Vec<f64>, Vec<bool>) {
    let volume = random.log_between(200.0, 50_000.0);
    let at = random.pick(0, 24);
    let takes = random.between(0.3, 2.0);
    let spread = random.between(0.1, 0.3);
    let rhythm = random.pick(0, 10);
    let weekly = random.pick(0, 7) as usize;
    let mut rate = vec![0.0; world.hours];
    let mut starts = vec![false; world.hours];
    for hour in 0..world.hours {
        let (clock, day, off) = world.local(hour);
        let due = match rhythm {
            0..5 => clock as i64 == at,
            5..7 => clock as i64 == at && !off,
            7 => clock as i64 == at && day % 7 == weekly,
            _ => clock as i64 % 6 == at % 6,
        };
        if !due {
            continue;
        }
        if let Some(starts) = starts.get_mut(hour) {
            *starts = !matches!(rhythm, 5..8);
        }
        if skips && random.chance(SKIPPED) {
            continue;
        }
        let late = random.between(0.0, 0.5) + if random.chance(0.02) { 1.0 } else { 0.0 };
        let total = volume * random.factor(spread);
        // Spread over the hours that it runs in.
        for (i, rate) in rate.iter_mut().enumerate().skip(hour).take(5) {
            let begin = (i - hour) as f64;
            let overlap = ((late + takes).min(begin + 1.0) - late.max(begin)).max(0.0);
            *rate += total * overlap / takes;
        }
    }
    (rate, starts)
}

fn autoscaled(random: &mut Random, world: &World) -> Vec<f64> {
    let base = random.log_between(500.0, 50_000.0);
    let wave = random.between(0.2, 0.7);
    let peak = random.between(11.0, 21.0);
    let weekend = random.between(0.5, 1.1);
    let trend = random.between(-0.01, 0.01);
    let (day_to_day, hour_to_hour) = (random.between(0.05, 0.1), random.between(0.05, 0.12));
    let days = day_factors(random, world, day_to_day);
    let mut drift = 0.0;
    let (mut rush, mut rush_left) = (1.0, 0);
    (0..world.hours)
        .map(|hour| {
            let (clock, day, off) = world.local(hour);
            drift = 0.8 * drift + 0.6 * hour_to_hour * random.normal();
            if rush_left > 0 {
                rush_left -= 1;
            } else if random.chance(1.0 / 720.0) {
                (rush, rush_left) = (random.between(1.2, 1.8), random.pick(2, 6));
            } else {
                rush = 1.0;
            }
            let deployment = if random.chance(1.0 / 288.0) { random.between(1.2, 2.0) } else { 1.0 };
            let daily = 1.0 + wave * (std::f64::consts::TAU * (clock - peak) / 24.0).cos();
            let level = daily * if off { weekend } else { 1.0 } * (trend * hour as f64 / 24.0).exp();
            base * level * days.get(day).unwrap_or(&1.0) * drift.exp() * rush * deployment
        })
        .collect()
}

fn deployed(random: &mut Random, world: &World) -> Vec<f64> {
    let mut level = 1.0;
    autoscaled(random, world)
        .into_iter()
        .map(|rate| {
            if random.chance(1.0 / (20.0 * 24.0)) {
                level = (level * random.log_between(0.5, 2.5)).clamp(0.1, 10.0);
            }
            rate * level
        })
        .collect()
}

/// A load of n requests an hour for some hours, then none for some.
fn switched(random: &mut Random, world: &World, level: (f64, f64), on: (i64, i64), off: (i64, i64)) -> Vec<f64> {
    let level = random.log_between(level.0, level.1);
    let mut rate = Vec::with_capacity(world.hours);
    let (mut is_on, mut left) = (false, random.pick(off.0, off.1));
    while rate.len() < world.hours {
        if left == 0 {
            is_on = !is_on;
            let (least, most) = if is_on { on } else { off };
            left = random.pick(least, most);
        }
        left -= 1;
        rate.push(if is_on { level * random.factor(0.15) } else { 0.0 });
    }
    rate
}

fn on_off(random: &mut Random, world: &World) -> Vec<f64> {
    switched(random, world, (20.0, 20_000.0), (1, 13), (6, 73))
}

fn lognormal(random: &mut Random, world: &World) -> Vec<f64> {
    let (base, deviation) = (random.log_between(5.0, 5_000.0), random.between(0.5, 1.2));
    let mut state = 0.0;
    (0..world.hours)
        .map(|_| {
            state = state / 3.0 + deviation * (8.0_f64 / 9.0).sqrt() * random.normal();
            base * f64::exp(state)
        })
        .collect()
}

fn bucket_keys(random: &mut Random, world: &World) -> Vec<f64> {
    let (level, expiry) = (random.between(0.2, 8.0), random.between(5.0, 40.0));
    (0..world.hours)
        .map(|hour| {
            let (clock, _, off) = world.local(hour);
            let by_day = if (8.0..20.0).contains(&clock) && !off { 1.0 } else { 0.5 };
            level * by_day + if random.chance(1.0 / 84.0) { expiry } else { 0.0 }
        })
        .collect()
}

/// Adds a job of n requests that begins in this hour and takes one to two.
fn add_job(random: &mut Random, rate: &mut [f64], hour: usize, requests: f64) {
    let first = random.between(0.4, 1.0);
    for (rate, share) in rate.iter_mut().skip(hour).zip([first, 1.0 - first]) {
        *rate += requests * share;
    }
}

fn weekly(random: &mut Random, world: &World, skips: bool) -> Vec<f64> {
    let mut rate = office_hours(random, world);
    let requests = random.log_between(1_000.0, 100_000.0);
    let (weekday, at) = (random.pick(0, 7) as usize, random.pick(0, 24) as f64);
    for hour in 0..world.hours {
        let (clock, day, _) = world.local(hour);
        if day % 7 == weekday && clock >= at && clock < at + 1.0 && !(skips && random.chance(SKIPPED)) {
            let requests = requests * random.factor(0.15);
            add_job(random, &mut rate, hour, requests);
        }
    }
    rate
}

fn month_end(random: &mut Random, world: &World, skips: bool) -> Vec<f64> {
    let requests = random.log_between(200.0, 20_000.0);
    let (at, larger) = (random.pick(0, 24) as f64, random.log_between(3.0, 20.0));
    let mut rate = vec![0.0; world.hours];
    for hour in 0..world.hours {
        let (clock, day, _) = world.local(hour);
        if clock >= at && clock < at + 1.0 && !(skips && random.chance(SKIPPED)) {
            let requests = requests * random.factor(0.15) * if world.ends_month(day) { larger } else { 1.0 };
            add_job(random, &mut rate, hour, requests);
        }
    }
    rate
}

fn growing(random: &mut Random, world: &World) -> Vec<f64> {
    let daily = random.between(0.01, 0.05);
    let rate = if random.chance(0.5) { office_hours(random, world) } else { autoscaled(random, world) };
    rate.into_iter().enumerate().map(|(hour, rate)| rate * (daily * hour as f64 / 24.0).exp()).collect()
}

fn zero_inflated(random: &mut Random, world: &World) -> Vec<f64> {
    let (share, level) = (random.between(0.03, 0.3), random.log_between(2.0, 200.0));
    (0..world.hours).map(|_| if random.chance(share) { level * random.factor(0.4) } else { 0.0 }).collect()
}

fn envelope(random: &mut Random, world: &World) -> Vec<f64> {
    let rate = switched(random, world, (5.0, 500.0), (4, 30), (2, 20));
    let base = random.log_between(1.0, 20.0);
    rate.into_iter().map(|rate| rate * random.factor(0.3) + base).collect()
}

/// Data keys are made for a batch of work at a time: in one hour in four.
pub(crate) fn in_batches(random: &mut Random, rate: &[f64]) -> Vec<f64> {
    rate.iter().map(|rate| if random.chance(0.25) { *rate } else { 0.0 }).collect()
}

fn cold_starts(random: &mut Random, world: &World) -> Vec<f64> {
    let (level, wave) = (random.log_between(1.0, 60.0), random.between(0.2, 0.9));
    let restarted = random.between(4.0, 15.0);
    (0..world.hours)
        .map(|hour| {
            let (clock, ..) = world.local(hour);
            let daily = 1.0 + wave * (std::f64::consts::TAU * (clock - 15.0) / 24.0).cos();
            level * daily * random.factor(0.3) * if random.chance(1.0 / 240.0) { restarted } else { 1.0 }
        })
        .collect()
}

fn sparse(random: &mut Random, world: &World) -> Vec<f64> {
    let every = random.between(20.0, 100.0);
    let requests = random.log_between(1.0, 60.0);
    let mut rate = vec![0.0; world.hours];
    for hour in 0..world.hours {
        if random.chance(1.0 / (every * 24.0)) {
            for rate in rate.iter_mut().skip(hour).take(3) {
                *rate += requests / 3.0;
            }
        }
    }
    rate
}
