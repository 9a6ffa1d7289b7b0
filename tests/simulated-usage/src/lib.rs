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
//! | [`Usage::Deployed`] | an autoscaled service whose level changes for good at a release about every 20 days, to 0.5–2.5 times |
//! | [`Usage::OnOff`] | 20–20,000 requests an hour for 1–12 hours, then none for 6–72 |
//! | [`Usage::Lognormal`] | a rate that jumps: lognormal around 5–5,000 an hour, deviation 0.5–1.2, a third of it kept for the next hour |
//! | [`Usage::BucketKeys`] | S3 bucket keys: 0–8 requests an hour, 5–40 whenever a cache expires everywhere, about twice a week |
//! | [`Usage::Weekly`] | people at work, and a job of 1,000–100,000 requests on one day of the week |
//! | [`Usage::MonthEnd`] | a nightly job that is 3–20 times as large on the last day of the month |
//! | [`Usage::Growing`] | people at work or a service, 1–5 % more every day |
//! | [`Usage::ZeroInflated`] | 2–200 requests in 3–30 % of the hours, none in the others |
//! | [`Usage::Envelope`] | envelope encryption: data keys made in batches, decrypted 2–50 times each by readers that come in waves |
//! | [`Usage::ColdStarts`] | functions that decrypt their settings when they start: 1–60 an hour with a daily wave, 4–15 times that when a release restarts all, about every 10 days |
//! | [`Usage::Sparse`] | a key for restores and audits: 1–60 requests within three hours, once in 20–100 days |
//!
//! All of them: chance (Poisson) on top of a rate that itself varies from hour to hour (10–20 %, neighbouring hours
//! alike where load is shared) and from day to day (5–15 %); several operations with their own shares; nine public
//! holidays a year; a change of the clocks within the time simulated, as often as there is one; somebody on call who
//! makes up to ten requests outside of the usual hours about twice a month.
//!
//! What goes wrong with the record rather than with the key ([`Upsets`]): one to six hours of the metric are lost four
//! times a year; a job is skipped once in 200 times; one run in 50 comes before the last one to three hours have all
//! their data ([`Key::seen_by_run`]).
//!
//! | incident | what it adds or takes |
//! |---|---|
//! | [`Incident::BulkDecrypt`] | at night (local), one to four hours of Decrypt, each 0.3–100 times the key's busy hour |
//! | [`Incident::Burst`] | the same at any time of the day |
//! | [`Incident::SlowExfiltration`] | from then on Decrypt around the clock, 0.1–10 times the key's busy hour |
//! | [`Incident::WakesUp`] | a sleeping key: 1–1,000 Decrypt in all, over 1–48 hours |
//! | [`Incident::NewOperation`] | the same of an operation that the key was never used for |
//! | [`Incident::Falls`] | from then on 5–50 % of the requests |
//! | [`Incident::Stops`] | from then on nothing. People's applications stop in a busy hour, jobs by not starting; only jobs that run every day do (one that rests at weekends cannot be told from one that has a holiday) |
//!
//! Strengths are drawn evenly on a logarithmic scale and have no floor: the weakest cannot be found by anybody.
//!
//! # Two halves
//!
//! Constants may be set on [`Half::Setting`], figures are reported on [`Half::HeldOut`]: other seeds, and besides kinds of
//! usage that the first half does not have.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "hours of some weeks and counts of requests"
)]

mod random;
mod usage;

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
    /// A service whose level changes with its releases.
    Deployed,
    /// Something that runs for some hours, whenever it does.
    OnOff,
    /// A load that jumps by factors.
    Lognormal,
    /// S3 with bucket keys.
    BucketKeys,
    /// People at work, and a weekly job.
    Weekly,
    /// A nightly job that is larger at the end of the month.
    MonthEnd,
    /// Something that grows by the day.
    Growing,
    /// Some requests in few hours.
    ZeroInflated,
    /// Data keys, made seldom and decrypted often.
    Envelope,
    /// Functions that decrypt when they start.
    ColdStarts,
    /// A key that is used once a month or once a quarter.
    Sparse,
}

impl Usage {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::OfficeHours,
        Self::Batch,
        Self::Autoscaled,
        Self::Sleeping,
        Self::Deployed,
        Self::OnOff,
        Self::Lognormal,
        Self::BucketKeys,
        Self::Weekly,
        Self::MonthEnd,
        Self::Growing,
        Self::ZeroInflated,
        Self::Envelope,
        Self::ColdStarts,
        Self::Sparse,
    ];

    /// Whether constants may be set on keys of this kind.
    pub fn is_for_setting(self) -> bool {
        self <= Self::BucketKeys
    }

    /// Whether such a key is used in practically every hour.
    pub fn is_steady(self) -> bool {
        matches!(self, Self::Autoscaled | Self::Deployed)
    }

    /// Whether such a key is used so seldom that its first use after weeks is an incident's only sign.
    pub fn is_idle(self) -> bool {
        matches!(self, Self::Sleeping | Self::Sparse)
    }
}

/// Half of the seeds and kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// What constants may be set on: kinds that are [`Usage::is_for_setting`], even seeds.
    Setting,
    /// What figures are reported on: all kinds, odd seeds.
    HeldOut,
}

impl Half {
    /// The kinds of usage in it.
    pub fn usages(self) -> impl Iterator<Item = Usage> {
        Usage::ALL.into_iter().filter(move |usage| self == Self::HeldOut || usage.is_for_setting())
    }

    /// Its n-th seed.
    pub fn seed(self, n: u64) -> u64 {
        2 * n + u64::from(self == Self::HeldOut)
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Incident {
    /// Much is decrypted in a few hours of a night.
    BulkDecrypt,
    /// Much is decrypted in a few hours.
    Burst,
    /// Little is decrypted, every hour.
    SlowExfiltration,
    /// A key that nobody used is used.
    WakesUp,
    /// The key is used for something new.
    NewOperation,
    /// A part of the load stays away.
    Falls,
    /// The application stops.
    Stops,
}

impl Incident {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::BulkDecrypt,
        Self::Burst,
        Self::SlowExfiltration,
        Self::WakesUp,
        Self::NewOperation,
        Self::Falls,
        Self::Stops,
    ];

    /// Those that can befall a key of that usage.
    pub fn of(usage: Usage) -> &'static [Self] {
        const LOAD: &[Incident] =
            &[Incident::BulkDecrypt, Incident::Burst, Incident::SlowExfiltration, Incident::NewOperation];
        const JOB: &[Incident] = &[
            Incident::BulkDecrypt,
            Incident::Burst,
            Incident::SlowExfiltration,
            Incident::NewOperation,
            Incident::Stops,
        ];
        const STEADY: &[Incident] = &[
            Incident::BulkDecrypt,
            Incident::Burst,
            Incident::SlowExfiltration,
            Incident::NewOperation,
            Incident::Falls,
            Incident::Stops,
        ];
        match usage {
            Usage::Sleeping | Usage::Sparse => &[Self::WakesUp, Self::NewOperation],
            Usage::OfficeHours | Usage::Batch => JOB,
            Usage::Autoscaled | Usage::Deployed => STEADY,
            _ => LOAD,
        }
    }
}

/// An incident at its place.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Injected {
    /// What happens.
    pub incident: Incident,
    /// The first hour that it changes, counted from the first hour simulated.
    pub begins: usize,
    /// The hour after the last that it changes.
    pub ends: usize,
    /// Of what comes on top of a load: how many times the key's busy hour each hour of it is. Where there was no load, how
    /// many requests it is in all. Of a load that falls: what is left of it, as a share.
    pub strength: f64,
    /// Everybody would call it one: ten times the key's busy hour and 50 requests or more, or nothing where there was a
    /// steady load.
    pub plain: bool,
}

/// Whether the record is upset by lost hours, late data and skipped jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upsets {
    /// It is.
    Some,
    /// It is not.
    None,
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
    seed: u64,
    upsets: Upsets,
}

impl Key {
    /// The requests of one series in the hours `from..until`, as a run sees them that comes at `until`: one run in 50 comes
    /// too early for the last one to three hours to be complete.
    pub fn seen_by_run(&self, series: &Series, from: usize, until: usize) -> Vec<f64> {
        let mut counts = series.counts.get(from..until).unwrap_or_default().to_vec();
        let mut random = Random::new(self.seed, 1_000 + until as u64);
        if self.upsets == Upsets::Some && random.chance(1.0 / 50.0) {
            let late = random.pick(1, 4) as usize;
            for count in counts.iter_mut().rev().take(late) {
                *count = (*count * random.between(0.0, 0.9)).floor();
            }
        }
        counts
    }
}

/// Monday, 5 January 2026, 00:00 UTC.
const A_MONDAY: i64 = 1_767_571_200;

/// One key of `days` days of that usage, with the usual upsets of the record. `incident` is put somewhere in the hours
/// `among`.
pub fn key(seed: u64, usage: Usage, days: usize, incident: Option<(Incident, std::ops::Range<usize>)>) -> Key {
    key_with(seed, usage, days, incident, Upsets::Some)
}

/// The same, with upsets or without.
pub fn key_with(
    seed: u64,
    usage: Usage,
    days: usize,
    incident: Option<(Incident, std::ops::Range<usize>)>,
    upsets: Upsets,
) -> Key {
    let mut random = Random::new(seed, 1);
    let world = World::new(&mut random, days);
    let skips = upsets == Upsets::Some;
    let (mut rate, at_work) = usage::rate(usage, &mut random, &world, skips);
    let busy = busy_hour(&rate);
    by_hand(&mut random, &mut rate);

    let mut series = operations(&mut random, usage, &rate);
    if upsets == Upsets::Some {
        lose(&mut random, &mut series);
    }
    // An incident takes its numbers from a stream of its own: the key is the same with it and without.
    let mut random = Random::new(seed, 2);
    let injected = incident.and_then(|(incident, among)| {
        let injected = place(&mut random, incident, &world, &at_work, among)?;
        Some(inject(&mut random, injected, usage, busy, &mut series))
    });
    Key { usage, start: world.start, series, injected, seed, upsets }
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
            start: A_MONDAY + random.pick(0, 364) * 86_400,
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

    /// Whether that day's number is the last day of a month.
    fn ends_month(&self, day: usize) -> bool {
        day_of_month(self.start / 86_400 + day as i64) == 1
    }
}

/// The day of the month, of a day in days since 1970.
fn day_of_month(day: i64) -> i64 {
    // Months from March on, in cycles of 400 years.
    let day_of_era = (day + 719_468).rem_euclid(146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    day_of_year - (153 * month + 2) / 5 + 1
}

/// Somebody on call.
fn by_hand(random: &mut Random, rate: &mut [f64]) {
    for rate in rate {
        if random.chance(2.0 / 720.0) {
            *rate += random.between(1.0, 6.0);
        }
    }
}

/// The metric loses one to six hours of all operations, four times a year.
fn lose(random: &mut Random, series: &mut [Series]) {
    let hours = series.first().map_or(0, |series| series.counts.len());
    for hour in 0..hours {
        if !random.chance(4.0 / (365.0 * 24.0)) {
            continue;
        }
        let lost = random.pick(1, 7) as usize;
        for series in series.iter_mut() {
            series.counts.iter_mut().skip(hour).take(lost).for_each(|count| *count = 0.0);
        }
    }
}

/// What the load makes of each operation.
fn operations(random: &mut Random, usage: Usage, rate: &[f64]) -> Vec<Series> {
    let mut shares = vec![("Decrypt", 1.0)];
    match usage {
        Usage::Sleeping | Usage::Sparse | Usage::ColdStarts => {}
        Usage::Envelope => {
            let readings = random.log_between(2.0, 50.0);
            let written = usage::in_batches(random, rate);
            let count = |rate: &f64, random: &mut Random| random.count(*rate);
            return vec![
                Series {
                    operation: "Decrypt",
                    counts: rate.iter().map(|rate| random.count(rate * readings)).collect(),
                },
                Series {
                    operation: "GenerateDataKey",
                    counts: written.iter().map(|rate| count(rate, random)).collect(),
                },
            ];
        }
        _ => {
            if random.chance(0.7) {
                shares.push(("GenerateDataKey", random.log_between(0.02, 1.0)));
            }
            if random.chance(0.3) {
                shares.push(("Encrypt", random.log_between(0.02, 0.5)));
            }
        }
    }
    shares
        .into_iter()
        .map(|(operation, share)| {
            let counts = rate.iter().map(|rate| random.count(rate * share)).collect();
            Series { operation, counts }
        })
        .collect()
}

/// The requests of a busy hour: as many as one hour in twenty has, or the mean where that is more.
fn busy_hour(rate: &[f64]) -> f64 {
    let mut sorted = rate.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mean = rate.iter().sum::<f64>() / rate.len().max(1) as f64;
    sorted.get(rate.len() * 19 / 20).copied().unwrap_or(0.0).max(mean)
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
        Incident::BulkDecrypt | Incident::Burst => random.pick(1, 5),
        Incident::WakesUp | Incident::NewOperation => random.pick(1, 49),
        Incident::SlowExfiltration | Incident::Falls | Incident::Stops => world.hours as i64,
    };
    let ends = (begins + hours as usize).min(world.hours);
    Some(Injected { incident, begins, ends, strength: 0.0, plain: false })
}

fn inject(random: &mut Random, injected: Injected, usage: Usage, busy: f64, series: &mut Vec<Series>) -> Injected {
    let hours = (injected.ends - injected.begins) as f64;
    let times = |strength: f64| (strength, strength * busy.max(1.0));
    let (strength, rate) = match injected.incident {
        Incident::BulkDecrypt | Incident::Burst => times(random.log_between(0.3, 100.0)),
        Incident::SlowExfiltration => times(random.log_between(0.1, 10.0)),
        Incident::WakesUp | Incident::NewOperation => {
            let requests = random.log_between(1.0, 1_000.0);
            (requests, requests / hours)
        }
        Incident::Falls => (random.log_between(0.05, 0.5), 0.0),
        Incident::Stops => (0.0, 0.0),
    };
    if injected.incident == Incident::NewOperation {
        let hours = series.first().map_or(0, |series| series.counts.len());
        series.push(Series { operation: "ReEncrypt", counts: vec![0.0; hours] });
    }
    let changed = match injected.incident {
        Incident::Stops | Incident::Falls => 0..series.len(),
        Incident::NewOperation => series.len() - 1..series.len(),
        _ => 0..1,
    };
    let mut added = 0.0;
    for series in series.get_mut(changed).unwrap_or_default() {
        for count in series.counts.iter_mut().take(injected.ends).skip(injected.begins) {
            let more = random.count(rate);
            added += more;
            *count = match injected.incident {
                Incident::Stops => 0.0,
                Incident::Falls => (*count * strength).round(),
                _ => *count + more,
            };
        }
    }
    let requests = matches!(injected.incident, Incident::WakesUp | Incident::NewOperation);
    let plain = match injected.incident {
        Incident::Stops => usage.is_steady(),
        Incident::Falls => false,
        _ if requests => added >= 50.0,
        _ => strength >= 10.0 && added >= 50.0,
    };
    Injected { strength: if requests { added } else { strength }, plain, ..injected }
}

#[cfg(test)]
mod tests;
