//! How customer managed keys are used, hour by hour, with incidents: test equipment, not part of the product.
//!
//! [`key`] makes one key's hourly request counts per operation, the same for the same seed. What is put in:
//!
//! | usage | what it looks like |
//! |---|---|
//! | [`Usage::OfficeHours`] | 50–5,000 requests an hour while people of one time zone work, with ramps and a lunch dip; next to nothing at night, 0–15 % at weekends |
//! | [`Usage::Batch`] | a job of 200–50,000 requests once a day, on weekdays only, once a week or every six hours; it starts up to half an hour late, takes up to two hours, is retried an hour later once in fifty times |
//! | [`Usage::Autoscaled`] | 500–50,000 requests an hour around the clock, a daily wave, fewer at weekends, a slow trend of up to 1 % a day; a deployment empties the caches of data keys about every 12 days (one hour of up to twice the requests), a rush comes about once a month (up to 1.8 times for some hours) |
//! | [`Usage::Sleeping`] | nothing, or a few requests by hand now and then |
//!
//! All of them: chance (Poisson) on top of a rate that itself varies from hour to hour (10–20 %, neighbouring hours
//! alike where load is shared) and from day to day (5–15 %); several operations with their own shares; nine public
//! holidays a year; a change of the clocks within the time simulated, as often as there is one; somebody on call who
//! makes up to ten requests outside of the usual hours about twice a month; one hour a year that the
//! metric misses.
//!
//! | incident | what it adds or takes |
//! |---|---|
//! | [`Incident::BulkDecrypt`] | at night (local), one to four hours of Decrypt, in each of them what the key sees in 0.3–3 usual days, at least 500 |
//! | [`Incident::SlowExfiltration`] | from then on Decrypt at 1–3 times the key's mean hourly rate, at least 20 an hour, around the clock |
//! | [`Incident::WakesUp`] | a sleeping key: 20–500 Decrypt an hour for 2–48 hours |
//! | [`Incident::Stops`] | from then on nothing. People's applications stop in a busy hour, jobs by not starting; only jobs that run every day do (one that rests at weekends cannot be told from one that has a holiday) |
//! | [`Incident::NewOperation`] | 20–300 an hour of an operation that the key was never used for, for 1–48 hours |

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "hours of some weeks and counts of requests"
)]

mod random;

pub use random::Random;

/// What kind of application uses a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Usage {
    /// People at work.
    OfficeHours,
    /// Jobs at fixed times.
    Batch,
    /// A service that scales with its load.
    Autoscaled,
    /// Nobody, most of the time.
    Sleeping,
}

impl Usage {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::OfficeHours, Self::Batch, Self::Autoscaled, Self::Sleeping];
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Incident {
    /// Much is decrypted in a few hours of a night.
    BulkDecrypt,
    /// Little is decrypted, every hour.
    SlowExfiltration,
    /// A key that nobody used is used.
    WakesUp,
    /// The application stops.
    Stops,
    /// The key is used for something new.
    NewOperation,
}

impl Incident {
    /// All kinds.
    pub const ALL: [Self; 5] =
        [Self::BulkDecrypt, Self::SlowExfiltration, Self::WakesUp, Self::Stops, Self::NewOperation];

    /// Those that can befall a key of that usage.
    pub fn of(usage: Usage) -> &'static [Self] {
        match usage {
            Usage::Sleeping => &[Self::WakesUp, Self::BulkDecrypt, Self::NewOperation],
            _ => &[Self::BulkDecrypt, Self::SlowExfiltration, Self::Stops, Self::NewOperation],
        }
    }
}

/// An incident at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injected {
    /// What happens.
    pub incident: Incident,
    /// The first hour that it changes, counted from the first hour simulated.
    pub begins: usize,
    /// The hour after the last that it changes.
    pub ends: usize,
}

/// Requests of one operation.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// The operation's name.
    pub operation: &'static str,
    /// Requests in each hour.
    pub counts: Vec<f64>,
}

/// One key's usage.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// What uses it.
    pub usage: Usage,
    /// When the first hour begins: a midnight, in seconds since 1970 (UTC).
    pub start: i64,
    /// Its operations.
    pub series: Vec<Series>,
    /// What goes wrong with it.
    pub injected: Option<Injected>,
}

/// Monday, 5 January 2026, 00:00 UTC.
const A_MONDAY: i64 = 1_767_571_200;

/// One key of `days` days of that usage. `incident` is put somewhere in the hours `among`.
pub fn key(seed: u64, usage: Usage, days: usize, incident: Option<(Incident, std::ops::Range<usize>)>) -> Key {
    let mut random = Random::new(seed, 1);
    let world = World::new(&mut random, days);
    let (mut rate, at_work) = match usage {
        Usage::OfficeHours => busy(office_hours(&mut random, &world)),
        Usage::Batch => batch(&mut random, &world),
        Usage::Autoscaled => busy(autoscaled(&mut random, &world)),
        Usage::Sleeping => (vec![0.0; world.hours], vec![false; world.hours]),
    };
    let mean = rate.iter().sum::<f64>() / world.hours as f64;
    by_hand(&mut random, &mut rate);
    gap(&mut random, &mut rate);

    let mut series: Vec<Series> = operations(&mut random, usage)
        .into_iter()
        .map(|(operation, share)| {
            let counts = rate.iter().map(|rate| random.count(rate * share)).collect();
            Series { operation, counts }
        })
        .collect();
    // An incident takes its numbers from a stream of its own: the key is the same with it and without.
    let mut random = Random::new(seed, 2);
    let injected = incident.and_then(|(incident, among)| {
        let injected = place(&mut random, incident, &world, &at_work, among)?;
        inject(&mut random, injected, mean, &mut series);
        Some(injected)
    });
    Key { usage, start: world.start, series, injected }
}

/// What a key shares with others of its country.
struct World {
    start: i64,
    hours: usize,
    /// Hours that the local clock is ahead of UTC, until and from the change of the clocks on.
    offsets: [i64; 2],
    change: usize,
    holidays: Vec<bool>,
}

impl World {
    fn new(random: &mut Random, days: usize) -> Self {
        let offset = random.pick(-8, 10);
        // Two changes a year, forth or back.
        let changes = random.chance(2.0 * days as f64 / 365.0);
        let turn = if random.chance(0.5) { 1 } else { -1 };
        Self {
            start: A_MONDAY + random.pick(0, 7) * 86_400,
            hours: days * 24,
            offsets: [offset, if changes { offset + turn } else { offset }],
            change: random.pick(0, days as i64) as usize * 24,
            // A day more: the local day may be the next.
            holidays: (0..days + 2).map(|_| random.chance(9.0 / 365.0)).collect(),
        }
    }

    /// The local hour of the day, the day's number, and whether nobody works then.
    fn local(&self, hour: usize) -> (f64, usize, bool) {
        let [before, after] = self.offsets;
        let offset = if hour < self.change { before } else { after };
        let local = hour as i64 + offset + 24;
        let day = local.div_euclid(24) as usize;
        let weekday = (self.start / 86_400 + local.div_euclid(24) - 1 + 3).rem_euclid(7);
        (local.rem_euclid(24) as f64, day, weekday >= 5 || self.holidays.get(day).is_some_and(|&holiday| holiday))
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

fn batch(random: &mut Random, world: &World) -> (Vec<f64>, Vec<bool>) {
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

/// Somebody on call.
fn by_hand(random: &mut Random, rate: &mut [f64]) {
    for rate in rate {
        if random.chance(2.0 / 720.0) {
            *rate += random.between(1.0, 6.0);
        }
    }
}

/// The metric misses an hour, once a year.
fn gap(random: &mut Random, rate: &mut [f64]) {
    let begin = random.pick(0, 365 * 24) as usize;
    if let Some(rate) = rate.get_mut(begin) {
        *rate = 0.0;
    }
}

fn operations(random: &mut Random, usage: Usage) -> Vec<(&'static str, f64)> {
    let mut operations = vec![("Decrypt", 1.0)];
    if usage != Usage::Sleeping {
        if random.chance(0.7) {
            operations.push(("GenerateDataKey", random.log_between(0.02, 1.0)));
        }
        if random.chance(0.3) {
            operations.push(("Encrypt", random.log_between(0.02, 0.5)));
        }
    }
    operations
}

fn place(
    random: &mut Random,
    incident: Incident,
    world: &World,
    at_work: &[bool],
    among: std::ops::Range<usize>,
) -> Option<Injected> {
    let fits: Vec<usize> = among
        .filter(|&hour| match incident {
            Incident::BulkDecrypt => {
                let (clock, ..) = world.local(hour);
                !(5.0..22.0).contains(&clock)
            }
            Incident::Stops => at_work.get(hour).is_some_and(|&at_work| at_work),
            _ => true,
        })
        .collect();
    let begins = *fits.get(random.pick(0, fits.len() as i64) as usize)?;
    let hours = match incident {
        Incident::BulkDecrypt => random.pick(1, 5),
        Incident::WakesUp => random.pick(2, 49),
        Incident::NewOperation => random.pick(1, 49),
        Incident::SlowExfiltration | Incident::Stops => world.hours as i64,
    };
    Some(Injected { incident, begins, ends: (begins + hours as usize).min(world.hours) })
}

fn inject(random: &mut Random, injected: Injected, mean: f64, series: &mut Vec<Series>) {
    let rate = match injected.incident {
        Incident::BulkDecrypt => (mean * 24.0 * random.log_between(0.3, 3.0)).max(500.0),
        Incident::SlowExfiltration => (mean * random.between(1.0, 3.0)).max(20.0),
        Incident::WakesUp => random.log_between(20.0, 500.0),
        Incident::NewOperation => random.log_between(20.0, 300.0),
        Incident::Stops => 0.0,
    };
    if injected.incident == Incident::NewOperation {
        let hours = series.first().map_or(0, |series| series.counts.len());
        series.push(Series { operation: "ReEncrypt", counts: vec![0.0; hours] });
    }
    let changed = match injected.incident {
        Incident::Stops => 0..series.len(),
        Incident::NewOperation => series.len() - 1..series.len(),
        _ => 0..1,
    };
    for series in series.get_mut(changed).unwrap_or_default() {
        for count in series.counts.iter_mut().take(injected.ends).skip(injected.begins) {
            *count = if injected.incident == Incident::Stops { 0.0 } else { *count + random.count(rate) };
        }
    }
}

#[cfg(test)]
mod tests;
