//! Percentiles of one run, medians and spreads of several.

use std::time::SystemTime;

use crate::error::{Error, Result};

/// A write that has completed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The time in milliseconds since 1970.
    pub at_ms: u64,
    /// The latency in nanoseconds.
    pub latency_ns: u64,
}

/// The time now, on the clock of [`Sample::at_ms`].
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The writes in a span of time.
#[derive(Clone, Debug)]
pub struct Window {
    /// Writes per second.
    pub iops: f64,
    /// Latencies in milliseconds, in ascending order.
    sorted_ms: Vec<f64>,
}

impl Window {
    /// The writes that completed from `start_ms` up to `end_ms`.
    ///
    /// # Errors
    /// If there are no writes.
    pub fn new(what: &str, samples: &[Sample], start_ms: u64, end_ms: u64) -> Result<Self> {
        let inside = samples.iter().filter(|it| (start_ms..end_ms).contains(&it.at_ms));
        #[allow(clippy::cast_precision_loss)]
        let mut sorted_ms: Vec<f64> = inside.map(|it| it.latency_ns as f64 / 1e6).collect();
        if sorted_ms.is_empty() {
            return Err(Error::NoSamples { what: what.to_owned() });
        }
        sorted_ms.sort_by(f64::total_cmp);
        #[allow(clippy::cast_precision_loss)]
        let seconds = (end_ms - start_ms) as f64 / 1e3;
        #[allow(clippy::cast_precision_loss)]
        let iops = sorted_ms.len() as f64 / seconds;
        Ok(Self { iops, sorted_ms })
    }

    /// The latency that this share of the writes stays at or below, in milliseconds.
    pub fn percentile(&self, share: f64) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let rank = (self.sorted_ms.len() as f64 * share).ceil();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let index = (rank as usize).clamp(1, self.sorted_ms.len()) - 1;
        self.sorted_ms[index]
    }
}

/// Several runs of a measurement.
#[derive(Clone, Debug, Default)]
pub struct Series(Vec<f64>);

impl Series {
    /// Adds a measurement.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The median; 0 if there is no run.
    pub fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        match self.0.len() {
            0 => 0.0,
            len if len % 2 == 1 => self.0[middle],
            _ => f64::midpoint(self.0[middle - 1], self.0[middle]),
        }
    }

    /// The smallest and the largest.
    pub fn spread(&self) -> (f64, f64) {
        (self.0.first().copied().unwrap_or(0.0), self.0.last().copied().unwrap_or(0.0))
    }

    /// The first and the third quartile, between two measurements in proportion.
    pub fn quartiles(&self) -> (f64, f64) {
        let at = |share: f64| {
            #[allow(clippy::cast_precision_loss)]
            let place = self.0.len().saturating_sub(1) as f64 * share;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let below = place as usize;
            let Some(low) = self.0.get(below) else { return 0.0 };
            let high = self.0.get(below + 1).unwrap_or(low);
            low + (high - low) * place.fract()
        };
        (at(0.25), at(0.75))
    }

    /// Median and quartiles with `digits` after the point.
    pub fn quartile_text(&self, digits: usize) -> String {
        let (low, high) = self.quartiles();
        let median = self.median();
        if self.0.len() < 2 {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} [{low:.digits$}–{high:.digits$}]")
    }

    /// Median and spread with `digits` after the point.
    pub fn text(&self, digits: usize) -> String {
        let (low, high) = self.spread();
        let median = self.median();
        if self.0.len() < 2 {
            return format!("{median:.digits$}");
        }
        format!("{median:.digits$} ({low:.digits$}–{high:.digits$})")
    }
}

impl FromIterator<f64> for Series {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut series = Self::default();
        values.into_iter().for_each(|value| series.push(value));
        series
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_has_the_writes_that_completed_in_it() {
        let samples: Vec<Sample> =
            (0..1000).map(|ms| Sample { at_ms: ms, latency_ns: (ms + 1) * 1_000_000 }).collect();
        let window = Window::new("test", &samples, 100, 200).unwrap();
        assert!((window.iops - 1000.0).abs() < 1e-9);
        assert!((window.percentile(0.5) - 150.0).abs() < 1e-9);
        assert!((window.percentile(0.99) - 199.0).abs() < 1e-9);
        assert!((window.percentile(1.0) - 200.0).abs() < 1e-9);
        assert!(Window::new("test", &samples, 1000, 2000).is_err());
    }

    #[test]
    fn medians_and_spreads_do_not_depend_on_the_order() {
        let series: Series = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!(series.text(1), "2.0 (1.0–3.0)");
        let even: Series = [4.0, 1.0].into_iter().collect();
        assert!((even.median() - 2.5).abs() < 1e-9);
        assert!(Series::default().median().abs() < 1e-9);
        let five: Series = [5.0, 1.0, 3.0, 2.0, 4.0].into_iter().collect();
        assert_eq!(five.quartile_text(1), "3.0 [2.0–4.0]");
        assert_eq!(even.quartile_text(2), "2.50 [1.75–3.25]");
        let one: Series = [1.0].into_iter().collect();
        assert_eq!(one.quartiles(), (1.0, 1.0));
        assert_eq!(Series::default().quartiles(), (0.0, 0.0));
    }
}
