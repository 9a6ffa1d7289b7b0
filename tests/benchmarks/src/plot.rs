//! The tables as a picture.

use std::collections::BTreeMap;
use std::path::Path;

use plotters::prelude::*;

use crate::fleet::Conditions;
use crate::report::Row;

type Error = Box<dyn std::error::Error>;

const SIZE: (u32, u32) = (960, 420);
/// Distinguishable to people who see few colours, on white and in grey (the palette of Okabe and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
];

/// Draws wall time over keys at the highest latency with quotas, and CPU time over keys at the lowest without.
///
/// # Errors
/// The file cannot be written.
pub fn draw(file: &Path, with_quotas: &[Row], without: &[Row]) -> Result<(), Error> {
    let area = SVGBackend::new(file, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let (left, right) = area.split_horizontally(SIZE.0 / 2);
    let slow = with_quotas.iter().map(|row| row.latency_ms).max().unwrap_or_default();
    let mut walls = lines(with_quotas, slow, |row| row.measured.wall.as_secs_f64());
    walls.insert("quota floor".to_owned(), floor(with_quotas));
    panel(&left, &format!("{slow} ms, quotas on: wall time, s"), &walls)?;
    let cpus = lines(without, 0, |row| row.measured.cpu.as_secs_f64());
    panel(&right, "0 ms, quotas off: CPU time, s", &cpus)?;
    area.present()?;
    Ok(())
}

type Lines = BTreeMap<String, Vec<(f64, f64)>>;

fn lines(rows: &[Row], latency_ms: u64, figure: impl Fn(&Row) -> f64) -> Lines {
    let mut lines = Lines::new();
    for row in rows.iter().filter(|row| row.latency_ms == latency_ms) {
        lines.entry(row.contestant.clone()).or_default().push((f64::from(row.keys), figure(row)));
    }
    lines
}

fn floor(rows: &[Row]) -> Vec<(f64, f64)> {
    let sizes = rows.iter().map(|row| row.keys).collect::<std::collections::BTreeSet<_>>();
    let floor = |keys| Conditions { keys, latency_ms: 0, quotas: true, findings: None }.quota_floor();
    sizes.into_iter().map(|keys| (f64::from(keys), floor(keys))).collect()
}

fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    caption: &str,
    lines: &Lines,
) -> Result<(), Error>
where
    B::ErrorType: 'static,
{
    let most = lines.values().flatten().fold(1.0_f64, |most, (_, y)| most.max(*y));
    let mut chart = ChartBuilder::on(area)
        .caption(caption, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d((80.0..130_000.0).log_scale(), (0.01..most * 2.0).log_scale())?;
    chart.configure_mesh().x_desc("keys").light_line_style(WHITE).draw()?;
    for ((name, points), colour) in lines.iter().zip(COLOURS) {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 14, y)], colour.stroke_width(2)));
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(())
}
