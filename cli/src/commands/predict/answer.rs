//! A prediction as JSON.

use std::time::Duration;

use serde::Serialize;

use super::forecast::{Bound, Bridges, Churn, FirstSync};
use super::measure::Disk;
use super::prediction::{Prediction, whole_seconds};

/// What is printed for scripts. What could not be measured is `null`, and why is said.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    volume: &'a str,
    device: &'a str,
    measured_seconds: u64,
    length: u64,
    used: Option<u64>,
    writes: Option<Written>,
    writes_error: Option<String>,
    disk: Option<DiskReads>,
    disk_error: Option<String>,
    link_bytes_per_second: Option<u64>,
    sweep_rate_bytes_per_second: Option<u64>,
    first_sync: Estimate,
    bandwidth: Option<Bandwidth>,
    journal_bytes_per_day: Option<u64>,
    hold: Option<Hold>,
    queue: Queue,
}

#[derive(Serialize)]
struct Written {
    bytes_per_second: u64,
    writes_per_second: u64,
    worst_bytes_per_second: u64,
    /// How long the time is that is the worst.
    worst_seconds: u64,
}

#[derive(Serialize)]
struct DiskReads {
    sequential_bytes_per_second: u64,
    reads: usize,
    failed: usize,
}

#[derive(Serialize)]
struct Estimate {
    outcome: &'static str,
    seconds: Option<u64>,
    bytes_per_second: Option<u64>,
    limit: Option<Bound>,
}

#[derive(Serialize)]
struct Bandwidth {
    mean_bytes_per_second: u64,
    worst_bytes_per_second: u64,
}

#[derive(Serialize)]
struct Hold {
    median_us: u64,
    p99_us: u64,
}

#[derive(Serialize)]
struct Queue {
    bytes: u64,
    /// `null`: not known, or as long as is wanted.
    mean_seconds: Option<u64>,
    worst_seconds: Option<u64>,
}

impl<'a> From<&'a Prediction> for Answer<'a> {
    fn from(prediction: &'a Prediction) -> Self {
        let Prediction { volume, device, measured, known, forecast } = prediction;
        let (churn, disk) = (measured.churn.as_ref(), measured.disk.as_ref());
        let stream = forecast.stream;
        Self {
            volume,
            device,
            measured_seconds: whole_seconds(measured.time),
            length: measured.length,
            used: measured.used,
            writes: churn.ok().map(Written::from),
            writes_error: churn.err().map(ToString::to_string),
            disk: disk.ok().map(DiskReads::from),
            disk_error: disk.err().map(ToString::to_string),
            link_bytes_per_second: known.link,
            sweep_rate_bytes_per_second: known.sweep_rate,
            first_sync: forecast.first_sync.into(),
            bandwidth: stream.map(|stream| Bandwidth {
                mean_bytes_per_second: stream.mean,
                worst_bytes_per_second: stream.worst,
            }),
            journal_bytes_per_day: stream.map(|stream| stream.journal_a_day),
            hold: disk.ok().map(Hold::from),
            queue: Queue {
                bytes: known.queue,
                mean_seconds: stream.and_then(|stream| seconds(stream.bridges_mean)),
                worst_seconds: stream.and_then(|stream| seconds(stream.bridges_worst)),
            },
        }
    }
}

impl From<&Churn> for Written {
    fn from(churn: &Churn) -> Self {
        Self {
            bytes_per_second: churn.mean.written(),
            writes_per_second: churn.mean.writes(),
            worst_bytes_per_second: churn.worst.written(),
            worst_seconds: whole_seconds(churn.worst.time),
        }
    }
}

impl From<&Disk> for DiskReads {
    fn from(disk: &Disk) -> Self {
        let Disk { sequential, reads, failed, .. } = *disk;
        Self { sequential_bytes_per_second: sequential, reads, failed }
    }
}

impl From<&Disk> for Hold {
    fn from(disk: &Disk) -> Self {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self { median_us: micros(disk.median), p99_us: micros(disk.p99) }
    }
}

impl From<FirstSync> for Estimate {
    fn from(first_sync: FirstSync) -> Self {
        let without =
            |outcome| Self { outcome, seconds: None, bytes_per_second: None, limit: None };
        match first_sync {
            FirstSync::Never => without("never"),
            FirstSync::Unknown => without("unknown"),
            FirstSync::Takes { rate, time, bound } => Self {
                seconds: Some(time.as_secs()),
                bytes_per_second: Some(rate),
                limit: Some(bound),
                ..without("takes")
            },
        }
    }
}

fn seconds(bridges: Bridges) -> Option<u64> {
    match bridges {
        Bridges::For(time) => Some(time.as_secs()),
        Bridges::Always => None,
    }
}
