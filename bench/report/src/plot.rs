//! Two plots of the first sync: latency of writes, and writes per second over time.

use std::path::Path;

use plotters::prelude::*;

use crate::error::{Error, Result};
use crate::run::LoadedSync;
use crate::statistics::{Sample, Window};

const SIZE: (u32, u32) = (900, 420);
/// Milliseconds per point of the throughput.
const STEP_MS: u64 = 100;
/// Seconds before the sync in the plot.
const LEAD: f64 = 1.0;

type Line = (String, RGBColor, Vec<(f64, f64)>);

/// The data of the plots.
#[derive(Default)]
pub struct Plots {
    latency: Vec<Line>,
    throughput: Vec<Line>,
}

impl Plots {
    /// Takes the first run of each contestant.
    pub fn take(&mut self, ours: &[LoadedSync], theirs: &[LoadedSync]) {
        let (Some(ours), Some(theirs)) = (ours.first(), theirs.first()) else { return };
        self.latency = vec![
            ("no sync".to_owned(), BLACK, shares(&ours.before)),
            ("Snapless".to_owned(), BLUE, shares(&ours.during)),
            ("QEMU".to_owned(), RED, shares(&theirs.during)),
        ];
        self.throughput = vec![
            ("Snapless".to_owned(), BLUE, rates(&ours.samples, ours.start_ms)),
            ("QEMU".to_owned(), RED, rates(&theirs.samples, theirs.start_ms)),
        ];
    }

    /// Draws both into a folder; returns their names.
    pub fn draw(&self, folder: &Path) -> Result<[&'static str; 2]> {
        let names = ["latency.svg", "throughput.svg"];
        let failed = |name: &str| {
            let path = folder.join(name);
            move |problem: String| Error::Plot { path, problem }
        };
        draw_latency(&self.latency, &folder.join(names[0])).map_err(failed(names[0]))?;
        draw_throughput(&self.throughput, &folder.join(names[1])).map_err(failed(names[1]))?;
        Ok(names)
    }
}

/// The latency of each share of the writes, up to all but one in ten thousand; x is the number of
/// nines.
fn shares(window: &Window) -> Vec<(f64, f64)> {
    (0..=80)
        .map(|step| {
            let nines = f64::from(step) * 0.05;
            (nines, window.percentile(1.0 - 10_f64.powf(-nines)).max(0.001))
        })
        .collect()
}

/// Writes per second over time, around the start.
fn rates(samples: &[Sample], start_ms: u64) -> Vec<(f64, f64)> {
    let mut counts = std::collections::BTreeMap::new();
    for sample in samples {
        *counts.entry(sample.at_ms / STEP_MS).or_insert(0_u32) += 1;
    }
    let (Some((&first, _)), Some((&last, _))) = (counts.first_key_value(), counts.last_key_value())
    else {
        return Vec::new();
    };
    #[allow(clippy::cast_precision_loss)]
    let point = |bin: u64| {
        let seconds = ((bin * STEP_MS) as f64 - start_ms as f64) / 1e3;
        (seconds, f64::from(counts.get(&bin).copied().unwrap_or(0)) * 1e3 / STEP_MS as f64)
    };
    (first..last).map(point).filter(|(seconds, _)| *seconds >= -LEAD).collect()
}

fn draw_latency(lines: &[Line], path: &Path) -> std::result::Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| text(&error))?;
    let longest = lines.iter().flat_map(|line| &line.2).fold(1.0, |most, it| it.1.max(most));
    let mut chart = ChartBuilder::on(&root)
        .caption("What a write waits during the first sync: 4 KiB, QD 16", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..4.0, (0.05..longest * 1.5).log_scale())
        .map_err(|error| text(&error))?;
    chart
        .configure_mesh()
        .x_desc("share of the writes that wait no longer")
        .y_desc("ms")
        .x_label_formatter(&|nines| format!("{:.2} %", 100.0 * (1.0 - 10_f64.powf(-nines))))
        .draw()
        .map_err(|error| text(&error))?;
    for (name, color, points) in lines {
        let (color, series) = (*color, LineSeries::new(points.iter().copied(), color));
        let drawn = chart.draw_series(series).map_err(|error| text(&error))?;
        drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    let mut labels = chart.configure_series_labels();
    labels.position(SeriesLabelPosition::UpperLeft).border_style(BLACK).background_style(WHITE);
    labels.draw().map_err(|error| text(&error))?;
    root.present().map_err(|error| text(&error))
}

fn draw_throughput(lines: &[Line], path: &Path) -> std::result::Result<(), String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|error| text(&error))?;
    let points = || lines.iter().flat_map(|line| &line.2);
    let most = points().fold(1.0, |most, it| it.1.max(most));
    let last = points().fold(1.0, |last, it| it.0.max(last));
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "Writes that get through, the first sync begins at 0: 4 KiB, QD 16",
            ("sans-serif", 18),
        )
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(-LEAD..last, 0.0..most * 1.1)
        .map_err(|error| text(&error))?;
    let mut mesh = chart.configure_mesh();
    mesh.x_desc("s").y_desc("IOPS").draw().map_err(|error| text(&error))?;
    for (name, color, points) in lines {
        let (color, series) = (*color, LineSeries::new(points.iter().copied(), color));
        let drawn = chart.draw_series(series).map_err(|error| text(&error))?;
        drawn.label(name).legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], color));
    }
    let mut labels = chart.configure_series_labels();
    labels.border_style(BLACK).background_style(WHITE);
    labels.draw().map_err(|error| text(&error))?;
    root.present().map_err(|error| text(&error))
}
