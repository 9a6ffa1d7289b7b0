//! Draws each kind of usage with what is usual and what is found, into `docs/usage/`.
//!
//! ```sh
//! cargo run --release -p usage-anomaly-scorer --example plot_usage
//! ```

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "pixels, and hours of some weeks"
)]

use std::fmt::Write;
use std::path::Path;

use simulated_usage::{Incident, Key, Usage, key};
use usage_anomaly_scorer::score::{Kind, Score, Scorer, UNUSUAL};

const DAYS: usize = 42;
/// The first hour that is drawn.
const FROM: usize = 28 * 24;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 34.0;

struct Plot {
    file: &'static str,
    title: &'static str,
    usage: Usage,
    incident: Incident,
    seed: u64,
    /// The hours that the incident begins in.
    among: std::ops::Range<usize>,
}

const PLOTS: [Plot; 5] = [
    Plot {
        file: "office-hours.svg",
        title: "Office hours; a bulk decrypt in the night",
        usage: Usage::OfficeHours,
        incident: Incident::BulkDecrypt,
        seed: 11,
        among: 35 * 24..36 * 24,
    },
    Plot {
        file: "batch.svg",
        title: "A daily job; it stops",
        usage: Usage::Batch,
        incident: Incident::Stops,
        seed: 3,
        among: 37 * 24..38 * 24,
    },
    Plot {
        file: "autoscaled.svg",
        title: "An autoscaled service; a slow exfiltration",
        usage: Usage::Autoscaled,
        incident: Incident::SlowExfiltration,
        seed: 5,
        among: 36 * 24..37 * 24,
    },
    Plot {
        file: "sleeping.svg",
        title: "A sleeping key; it wakes up",
        usage: Usage::Sleeping,
        incident: Incident::WakesUp,
        seed: 2,
        among: 36 * 24..37 * 24,
    },
    Plot {
        file: "new-operation.svg",
        title: "An operation that the key was never used for",
        usage: Usage::OfficeHours,
        incident: Incident::NewOperation,
        seed: 8,
        among: 36 * 24..37 * 24,
    },
];

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/usage");
    std::fs::create_dir_all(&folder)?;
    for plot in PLOTS {
        // Not every key can have every incident: a job that rests at weekends does not stop. And a weak one shows nothing.
        let keys = (plot.seed..).map(|seed| key(seed, plot.usage, DAYS, Some((plot.incident, plot.among.clone()))));
        if let Some(key) = keys.take(100).find(|key| {
            key.injected
                .is_some_and(|it| it.plain || plot.incident == Incident::Stops || (3.0..6.0).contains(&it.strength))
        }) {
            std::fs::write(folder.join(plot.file), draw(&plot, &key))?;
        }
    }
    Ok(())
}

fn draw(plot: &Plot, key: &Key) -> String {
    // The operation that the incident is in: Decrypt, or the last one, which is new.
    let place = if plot.incident == Incident::NewOperation { key.series.len() - 1 } else { 0 };
    let Some(one) = key.series.get(place) else { return String::new() };
    let mut judge = Scorer::new(Kind::Counts { period: 3_600 });
    let hours = (0..).map(|hour| key.start + hour * 3_600);
    let scores: Vec<Score> = hours.zip(&one.counts).filter_map(|(at, &count)| judge.push(at, count).ok()).collect();
    let drawn: Vec<(f64, Score)> = one.counts.iter().copied().zip(scores).skip(FROM).collect();

    // Where a score speaks of several hours, their range is not the hour's: the one before is drawn on.
    let mut band = Vec::new();
    for (_, score) in &drawn {
        let last = band.last().copied();
        band.push(if score.window == 1 { score.usual } else { last.unwrap_or(score.usual) });
    }
    let highest = drawn.iter().map(|(count, _)| *count).chain(band.iter().map(|usual| usual.high)).fold(10.0, f64::max);
    let x = |i: usize| LEFT + (WIDTH - LEFT - RIGHT) * i as f64 / (drawn.len() - 1) as f64;
    let y = |count: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * scale(count) / scale(highest * 1.3);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\" fill=\"#333\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"18\" font-size=\"14\" font-weight=\"600\">{}</text>\n\
         <text x=\"{LEFT}\" y=\"35\" fill=\"#666\">{} requests an hour; <tspan fill=\"#5b8db8\">usual</tspan>; \
         <tspan fill=\"#c0392b\">findings (score from 0.9)</tspan></text>\n",
        plot.title, one.operation
    );
    for tick in ticks(highest * 1.3) {
        let (at, right) = (y(tick), WIDTH - RIGHT);
        let label = grouped(tick);
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#eee\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#666\">{label}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for day in 0..=(drawn.len() / 24) {
        let at = x((day * 24).min(drawn.len() - 1));
        let bottom = HEIGHT - BOTTOM;
        let _ = writeln!(svg, "<path d=\"M{at:.1} {bottom}v5\" stroke=\"#bbb\"/>");
        if day * 24 < drawn.len() {
            let weekday = (key.start / 86_400 + (FROM / 24 + day) as i64 + 3).rem_euclid(7) as usize;
            let name = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"].get(weekday).unwrap_or(&"");
            let middle = x((day * 24 + 12).min(drawn.len() - 1));
            let below = bottom + 18.0;
            let _ = writeln!(
                svg,
                "<text x=\"{middle:.1}\" y=\"{below}\" text-anchor=\"middle\" fill=\"#666\">{name}</text>"
            );
        }
    }
    let upper = band.iter().enumerate().map(|(i, usual)| (x(i), y(usual.high)));
    let lower = band.iter().enumerate().rev().map(|(i, usual)| (x(i), y(usual.low)));
    let _ = writeln!(svg, "<path d=\"M{}Z\" fill=\"#cfe0ee\"/>", points(upper.chain(lower)));
    let line = drawn.iter().enumerate().map(|(i, (count, _))| (x(i), y(*count)));
    let _ = writeln!(svg, "<path d=\"M{}\" fill=\"none\" stroke=\"#1f4e79\" stroke-width=\"1.4\"/>", points(line));
    for (i, (count, score)) in drawn.iter().enumerate().filter(|(_, (_, score))| score.score >= UNUSUAL) {
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"5\" fill=\"#c0392b\" stroke=\"#fff\"><title>{}</title></circle>",
            x(i),
            y(*count),
            words(score)
        );
    }
    svg.push_str("</svg>\n");
    svg
}

/// A square root spreads the small counts and keeps the large ones in sight; a logarithm beyond.
fn scale(count: f64) -> f64 {
    (0.2 * count.max(0.0).sqrt()).asinh()
}

fn ticks(highest: f64) -> Vec<f64> {
    let mut ticks = vec![0.0];
    let mut tick = 10.0;
    while tick <= highest {
        ticks.push(tick);
        tick *= 10.0;
    }
    ticks
}

/// 48210 as 48,210.
fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut words = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            words.push(',');
        }
        words.push(digit);
    }
    words
}

fn words(score: &Score) -> String {
    let hours = if score.window == 1 { "an hour".to_owned() } else { format!("{} hours", score.window) };
    format!(
        "{} in {hours}; usual: {}–{}; score {:.3}",
        grouped(score.observed),
        grouped(score.usual.low),
        grouped(score.usual.high),
        score.score
    )
}

fn points(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.map(|(x, y)| format!("{x:.1} {y:.1}")).collect::<Vec<_>>().join("L")
}
