//! A prediction as text.

use std::fmt::Write;
use std::time::Duration;

use super::forecast::{Bound, Bridges, FirstSync, StreamForecast};
use super::measure::{BLOCK, Progress};
use super::prediction::{Prediction, whole_seconds};
use crate::format;

/// One line about a measurement that is under way.
pub(super) fn progress(volume: &str, progress: &Progress) -> String {
    let Progress { passed, left, written } = *progress;
    let (passed, left) = (format::duration(passed), format::duration(left));
    let rate = written.map(|rate| format!(", {} written", self::rate(rate))).unwrap_or_default();
    format!("measuring {volume}: {passed}, {left} left{rate}")
}

/// All of it.
pub(super) fn prediction(it: &Prediction) -> String {
    let used = it.measured.used.map(|used| format!(", {} in use", format::bytes(used)));
    let mut text = format!(
        "{} {}, {}{}; measured for {}\n",
        it.volume,
        it.device,
        format::bytes(it.measured.length),
        used.unwrap_or_default(),
        duration(it.measured.time)
    );
    let stream = it.forecast.stream;
    for (name, said) in [
        ("written", Some(written(it))),
        ("disk", Some(disk(it))),
        ("first sync", Some(first_sync(it))),
        ("bandwidth", stream.map(|stream| bandwidth(it, &stream))),
        ("journal", stream.map(|stream| journal(&stream))),
        ("held writes", holds(it)),
        ("cut link", stream.map(|stream| cut(it, &stream))),
    ] {
        if let Some(said) = said {
            // It is a text.
            _ = writeln!(text, "  {name:<11} {said}");
        }
    }
    text
}

fn written(it: &Prediction) -> String {
    match &it.measured.churn {
        Err(why) => format!("writes could not be counted: {why}"),
        Ok(churn) => format!(
            "{} on average, {} in {}; {} writes a second",
            rate(churn.mean.written()),
            rate(churn.worst.written()),
            worst(it),
            churn.mean.writes()
        ),
    }
}

fn disk(it: &Prediction) -> String {
    match &it.measured.disk {
        Err(why) => format!("the disk could not be read: {why}"),
        Ok(disk) => {
            let failed = match disk.failed {
                0 => String::new(),
                failed => format!("; {failed} reads FAILED: look at the disk first"),
            };
            format!(
                "reads {} in order; {} reads of {} at random places{failed}",
                rate(disk.sequential),
                disk.reads,
                format::bytes(BLOCK)
            )
        }
    }
}

fn first_sync(it: &Prediction) -> String {
    let without =
        if it.measured.churn.is_err() { ", without what is written meanwhile" } else { "" };
    match it.forecast.first_sync {
        FirstSync::Never => {
            let written = it.forecast.stream.map_or(0, |stream| stream.mean);
            format!(
                "never finishes: more is written than the link takes, {} and {}. One gap would \
                 follow the other",
                rate(written),
                rate(it.known.link.unwrap_or(0))
            )
        }
        FirstSync::Unknown => "unknown: name the rate of the link by --link".to_owned(),
        FirstSync::Takes { rate: at, time, bound } => {
            let bound = match bound {
                Bound::Disk => "the disk is the limit",
                Bound::Link => "the link is the limit",
                Bound::SweepRate => "--sweep-rate is the limit",
            };
            format!("{} at {}: {bound}{without}", format::duration(time), rate(at))
        }
    }
}

fn bandwidth(it: &Prediction, stream: &StreamForecast) -> String {
    let (mean, at_worst, worst) = (with_bits(stream.mean), with_bits(stream.worst), worst(it));
    let is_less = |link| link > stream.mean && link < stream.worst;
    if it.known.link.is_some_and(is_less) {
        return format!(
            "{mean} to keep up, {at_worst} in {worst}. The link takes less than what is written in \
             {worst}: the queue has to take the rest"
        );
    }
    format!("{mean} to keep up, {at_worst} in {worst}")
}

fn journal(stream: &StreamForecast) -> String {
    let a_day = format::bytes(stream.journal_a_day);
    format!("{a_day} a day with the headers of its records, not compressed as at the server")
}

fn holds(it: &Prediction) -> Option<String> {
    let disk = it.measured.disk.as_ref().ok()?;
    let micros =
        |time: Duration| format::micros(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    Some(format!(
        "wait for a read of {}: {} median, {} p99; during a first sync only",
        format::bytes(BLOCK),
        micros(disk.median),
        micros(disk.p99)
    ))
}

fn cut(it: &Prediction, stream: &StreamForecast) -> String {
    let queue = format::bytes(it.known.queue);
    match (stream.bridges_mean, stream.bridges_worst) {
        (Bridges::For(mean), Bridges::For(at_worst)) => format!(
            "a queue of {queue} bridges {} on average, {} in {}",
            format::duration(mean),
            format::duration(at_worst),
            worst(it)
        ),
        _ => format!("a queue of {queue} bridges it as long as nothing is written"),
    }
}

/// The time in which most was written.
fn worst(it: &Prediction) -> &'static str {
    match &it.measured.churn {
        Ok(churn) if whole_seconds(churn.worst.time) >= 60 => "the worst minute",
        _ => "the worst second",
    }
}

fn duration(time: Duration) -> String {
    format::duration(Duration::from_secs(whole_seconds(time)))
}

#[allow(clippy::cast_precision_loss, reason = "three digits are shown")]
fn rate(bytes_per_second: u64) -> String {
    format::rate(bytes_per_second as f64)
}

/// As networks are rated, too.
fn with_bits(bytes_per_second: u64) -> String {
    let megabits = bytes_per_second.saturating_mul(8).div_ceil(1_000_000);
    format!("{} ({megabits} Mbit/s)", rate(bytes_per_second))
}
