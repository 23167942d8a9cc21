//! What protection will take, calculated from what was measured.
//!
//! Rule: what is not known stays so; it is never taken for 0.

use std::time::Duration;

use snapless_wire::record::RECORD_HEADER_LEN;

const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// What is written to a volume.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Churn {
    /// All the time.
    pub(super) mean: Rate,
    /// In the time in which most was written.
    pub(super) worst: Rate,
}

/// Writes per time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rate {
    /// Bytes that were written.
    pub(super) bytes: u64,
    /// Writes by which.
    pub(super) writes: u64,
    /// The time in which.
    pub(super) time: Duration,
}

impl Rate {
    /// Bytes written per second.
    pub(super) fn written(self) -> u64 {
        per_second(self.bytes, self.time)
    }

    /// Writes per second.
    pub(super) fn writes(self) -> u64 {
        per_second(self.writes, self.time)
    }

    /// Bytes of the stream per second: a record, with its header, for each write.
    pub(super) fn streamed(self) -> u64 {
        let headers = self.writes.saturating_mul(RECORD_HEADER_LEN as u64);
        per_second(self.bytes.saturating_add(headers), self.time)
    }
}

/// So many per second, rounded up.
pub(super) fn per_second(count: u64, time: Duration) -> u64 {
    let micros = time.as_micros().max(1);
    u64::try_from((u128::from(count) * 1_000_000).div_ceil(micros)).unwrap_or(u64::MAX)
}

/// What is known. A rate is in bytes per second.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Known {
    /// Bytes of the volume.
    pub(super) length: u64,
    /// What is written; `None` if it could not be counted.
    pub(super) churn: Option<Churn>,
    /// How fast the disk reads in order; `None` if it could not be read.
    pub(super) disk: Option<u64>,
    /// How fast the link is; `None` for one that is no limit.
    pub(super) link: Option<u64>,
    /// The limit of the sweep; `None` without one.
    pub(super) sweep_rate: Option<u64>,
    /// Bytes of the driver's queue.
    pub(super) queue: u64,
}

/// What limits a first sync.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Bound {
    /// How fast the disk reads.
    Disk,
    /// What the link takes besides the writes.
    Link,
    /// The sweep's own limit.
    SweepRate,
}

/// When a first sync ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FirstSync {
    /// After this time.
    Takes {
        /// At this rate, in bytes per second.
        rate: u64,
        /// The time.
        time: Duration,
        /// What limits it.
        bound: Bound,
    },
    /// Never: the link takes no more than what is written.
    Never,
    /// Neither the disk nor the link has told a rate.
    Unknown,
}

/// How long a queue takes what is written while nothing is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Bridges {
    /// So long.
    For(Duration),
    /// As long as is wanted: nothing is written.
    Always,
}

/// What follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Forecast {
    pub(super) first_sync: FirstSync,
    /// `None` if writes could not be counted.
    pub(super) stream: Option<StreamForecast>,
}

/// What follows from what is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct StreamForecast {
    /// Bytes per second that keep up with the writes on average.
    pub(super) mean: u64,
    /// The same in the worst time.
    pub(super) worst: u64,
    /// Bytes of a day's journal, before the server compresses it.
    pub(super) journal_a_day: u64,
    /// A cut of the link while as much is written as on average.
    pub(super) bridges_mean: Bridges,
    /// The same in the worst time.
    pub(super) bridges_worst: Bridges,
}

/// Calculates it.
pub(super) fn forecast(known: &Known) -> Forecast {
    let stream = known.churn.map(|churn| {
        let (mean, worst) = (churn.mean.streamed(), churn.worst.streamed());
        StreamForecast {
            mean,
            worst,
            journal_a_day: mean.saturating_mul(SECONDS_A_DAY),
            bridges_mean: bridges(known.queue, mean),
            bridges_worst: bridges(known.queue, worst),
        }
    });
    Forecast { first_sync: first_sync(known, stream.map_or(0, |stream| stream.mean)), stream }
}

fn first_sync(known: &Known, written: u64) -> FirstSync {
    let left = known.link.map(|link| link.saturating_sub(written));
    if left == Some(0) {
        return FirstSync::Never;
    }
    let bounds =
        [(known.disk, Bound::Disk), (left, Bound::Link), (known.sweep_rate, Bound::SweepRate)];
    let rates = bounds.into_iter().filter_map(|(rate, bound)| Some((rate?.max(1), bound)));
    let Some((rate, bound)) = rates.min_by_key(|(rate, _)| *rate) else {
        return FirstSync::Unknown;
    };
    let time = Duration::from_secs(known.length.div_ceil(rate));
    FirstSync::Takes { rate, time, bound }
}

fn bridges(queue: u64, rate: u64) -> Bridges {
    queue
        .checked_div(rate)
        .map_or(Bridges::Always, |seconds| Bridges::For(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn rate(bytes: u64, writes: u64, seconds: u64) -> Rate {
        Rate { bytes, writes, time: Duration::from_secs(seconds) }
    }

    /// 10 MiB a second by writes of 4 KiB, 30 in the worst second.
    fn churn() -> Churn {
        Churn { mean: rate(600 * MIB, 153_600, 60), worst: rate(30 * MIB, 7_680, 1) }
    }

    fn known() -> Known {
        Known {
            length: 102_400 * MIB,
            churn: Some(churn()),
            disk: Some(200 * MIB),
            queue: 256 * MIB,
            ..Known::default()
        }
    }

    fn takes(known: Known) -> (u64, Bound) {
        match forecast(&known).first_sync {
            FirstSync::Takes { time, bound, .. } => (time.as_secs(), bound),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_slowest_of_disk_link_and_sweep_limits_a_first_sync() {
        assert_eq!(takes(known()), (512, Bound::Disk));
        let limited = Known { sweep_rate: Some(100 * MIB), ..known() };
        assert_eq!(takes(limited), (1024, Bound::SweepRate));
        // 50 less what is written, headers included.
        let written = churn().mean.streamed();
        let linked = Known { link: Some(50 * MIB), ..limited };
        let expected = (102_400 * MIB).div_ceil(50 * MIB - written);
        assert_eq!(takes(linked), (expected, Bound::Link));
        assert!(expected > 102_400 / 40);
        assert_eq!(takes(Known { disk: None, ..limited }), (1024, Bound::SweepRate));
        assert_eq!(takes(Known { churn: None, ..linked }).0, 2048);
    }

    #[test]
    fn a_link_that_takes_no_more_than_is_written_never_ends_it() {
        let written = churn().mean.streamed();
        let over = |link| forecast(&Known { link: Some(link), ..known() }).first_sync;
        assert_eq!(over(written), FirstSync::Never);
        assert_eq!(over(MIB), FirstSync::Never);
        assert!(matches!(over(written + 1), FirstSync::Takes { rate: 1, .. }));
    }

    #[test]
    fn what_is_not_known_is_not_taken_for_nothing() {
        let nothing = forecast(&Known { length: MIB, ..Known::default() });
        assert_eq!(nothing, Forecast { first_sync: FirstSync::Unknown, stream: None });
    }

    #[test]
    fn each_write_has_a_record_with_a_header() {
        assert_eq!(rate(600 * MIB, 153_600, 60).streamed(), 10 * MIB + 2_560 * 64);
        assert_eq!(rate(600 * MIB, 153_600, 60).written(), 10 * MIB);
        assert_eq!(rate(600 * MIB, 153_600, 60).writes(), 2_560);
        let stream = forecast(&known()).stream.unwrap();
        assert_eq!((stream.mean, stream.worst), (10 * MIB + 163_840, 30 * MIB + 491_520));
        assert_eq!(stream.journal_a_day, stream.mean * 86_400);
    }

    #[test]
    fn a_queue_bridges_a_cut_for_as_long_as_it_takes_what_is_written() {
        let stream = forecast(&known()).stream.unwrap();
        assert_eq!(stream.bridges_mean, Bridges::For(Duration::from_secs(25)));
        assert_eq!(stream.bridges_worst, Bridges::For(Duration::from_secs(8)));
        let quiet = Churn { mean: rate(0, 0, 60), worst: rate(0, 0, 1) };
        let stream = forecast(&Known { churn: Some(quiet), ..known() }).stream.unwrap();
        assert_eq!((stream.journal_a_day, stream.bridges_mean), (0, Bridges::Always));
    }

    #[test]
    fn no_number_is_too_large() {
        let all = Rate { bytes: u64::MAX, writes: u64::MAX, time: Duration::ZERO };
        let churn = Some(Churn { mean: all, worst: all });
        let most = Known {
            length: u64::MAX,
            churn,
            disk: Some(0),
            link: Some(u64::MAX),
            sweep_rate: Some(u64::MAX),
            queue: u64::MAX,
        };
        assert_eq!(forecast(&most).first_sync, FirstSync::Never);
        assert_eq!(forecast(&most).stream.unwrap().journal_a_day, u64::MAX);
    }
}
