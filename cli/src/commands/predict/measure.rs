//! Measures a volume for a while: what is written each second, and how long its disk takes to read.
//!
//! Rule: the measurement does not disturb what it measures. Its reads are few, one at a time, and
//! spread over the time.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use snapless_driver_client::probe::{Probe, ProbeError, READ_MAX, Written};

use super::forecast::{Churn, Rate, per_second};
use crate::arguments::PREDICT_SECONDS;

/// For how long is measured where no writes are counted, in seconds.
const SECONDS_MIN: u32 = *PREDICT_SECONDS.start();
/// Bytes of a read at a random place: the default block, which a held write waits for.
pub(super) const BLOCK: u64 = 64 << 10;
/// Reads at random places.
const RANDOM_READS: u32 = 200;
/// Bytes of a read in order.
const STEP: u64 = READ_MAX as u64;
/// Reads in order.
const STEPS: u64 = 8;
/// Seconds of the time that is looked for in which most was written.
const MINUTE: usize = 60;

/// The time.
pub(super) trait Clock {
    /// Since any instant.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The system's time.
pub(super) struct SystemClock(Instant);

impl SystemClock {
    pub(super) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }
}

/// How far a measurement is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Progress {
    pub(super) passed: Duration,
    pub(super) left: Duration,
    /// Bytes that were written in the last second; `None` if they are not counted.
    pub(super) written: Option<u64>,
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Measured {
    /// For how long.
    pub(super) time: Duration,
    /// Bytes of the volume.
    pub(super) length: u64,
    /// Bytes of it that are in use; `None` if its file system does not tell.
    pub(super) used: Option<u64>,
    /// What was written.
    pub(super) churn: Result<Churn, ProbeError>,
    /// How the disk reads.
    pub(super) disk: Result<Disk, ProbeError>,
}

/// How a disk reads, one read at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Disk {
    /// In order, in bytes per second.
    pub(super) sequential: u64,
    /// A block at a random place: half of them took no longer.
    pub(super) median: Duration,
    /// 99 of 100 took no longer.
    pub(super) p99: Duration,
    /// Blocks that were read.
    pub(super) reads: usize,
    /// Reads that failed.
    pub(super) failed: usize,
}

/// Measures for so many seconds; for [`SECONDS_MIN`] if there are no writes to be counted.
///
/// # Errors
/// If the volume's length is not known. What else cannot be measured is an error of its own in
/// [`Measured`].
pub(super) fn measure(
    probe: &dyn Probe,
    seconds: u32,
    clock: &dyn Clock,
    seed: u64,
    see: &mut dyn FnMut(Progress),
) -> Result<Measured, ProbeError> {
    let length = probe.length()?;
    let mut reading = Reading::new(probe, length, seed);
    let mut counting = Counting::begin(probe, clock);
    let seconds = if counting.has_failed() { seconds.min(SECONDS_MIN) } else { seconds };
    reading.in_order();
    let (begun, whole) = (clock.now(), Duration::from_secs(seconds.into()));
    for second in 1..=seconds {
        // Below the number of reads.
        let due = u64::from(RANDOM_READS) * u64::from(second) / u64::from(seconds);
        reading.at_random_places(due);
        let end = begun + Duration::from_secs(second.into());
        clock.sleep(end.saturating_sub(clock.now()));
        counting.look();
        let passed = clock.now().saturating_sub(begun);
        see(Progress { passed, left: whole.saturating_sub(passed), written: counting.last() });
    }
    let time = clock.now().saturating_sub(begun);
    let (churn, disk) = (counting.churn(), reading.disk());
    Ok(Measured { time, length, used: probe.used().ok(), churn, disk })
}

/// Counts writes.
struct Counting<'a> {
    probe: &'a dyn Probe,
    clock: &'a dyn Clock,
    /// The last look.
    last: Result<(Duration, Written), ProbeError>,
    /// What was written from each look to the next.
    samples: Vec<Rate>,
}

impl<'a> Counting<'a> {
    fn begin(probe: &'a dyn Probe, clock: &'a dyn Clock) -> Self {
        let last = probe.written().map(|written| (clock.now(), written));
        Self { probe, clock, last, samples: Vec::new() }
    }

    fn has_failed(&self) -> bool {
        self.last.is_err()
    }

    fn look(&mut self) {
        let Ok((then, before)) = self.last else { return };
        let next = self.probe.written().map(|written| (self.clock.now(), written));
        // Counters that were set back begin anew.
        if let Ok((now, written)) = &next
            && let Some(bytes) = written.bytes.checked_sub(before.bytes)
        {
            let writes = written.writes.wrapping_sub(before.writes).into();
            self.samples.push(Rate { bytes, writes, time: now.saturating_sub(then) });
        }
        self.last = next;
    }

    /// Bytes per second in the last sample.
    fn last(&self) -> Option<u64> {
        self.last.as_ref().ok()?;
        self.samples.last().map(|sample| sample.written())
    }

    fn churn(self) -> Result<Churn, ProbeError> {
        self.last?;
        if self.samples.is_empty() {
            let source = io::Error::other("the counters are set back again and again");
            return Err(ProbeError::Written(source));
        }
        let length = if self.samples.len() > MINUTE { MINUTE } else { 1 };
        let windows = self.samples.windows(length).map(sum);
        let worst = windows.max_by_key(|window| window.streamed());
        let mean = sum(&self.samples);
        Ok(Churn { mean, worst: worst.unwrap_or(mean) })
    }
}

fn sum(samples: &[Rate]) -> Rate {
    let zero = Rate { bytes: 0, writes: 0, time: Duration::ZERO };
    samples.iter().fold(zero, |sum, it| Rate {
        bytes: sum.bytes + it.bytes,
        writes: sum.writes + it.writes,
        time: sum.time + it.time,
    })
}

/// Reads from the disk.
struct Reading<'a> {
    probe: &'a dyn Probe,
    length: u64,
    places: fastrand::Rng,
    /// Bytes that were read in order, and how long it took.
    in_order: (u64, Duration),
    /// How long each read at a random place took.
    at_random: Vec<Duration>,
    tried: u64,
    failed: usize,
    error: Option<ProbeError>,
}

impl<'a> Reading<'a> {
    fn new(probe: &'a dyn Probe, length: u64, seed: u64) -> Self {
        Self {
            probe,
            length,
            places: fastrand::Rng::with_seed(seed),
            in_order: (0, Duration::ZERO),
            at_random: Vec::new(),
            tried: 0,
            failed: 0,
            error: None,
        }
    }

    /// A few MiB, one after the other.
    fn in_order(&mut self) {
        let steps = STEPS.min(self.length / STEP);
        let begin = self.place(steps * STEP);
        for step in 0..steps {
            if let Some(time) = self.read(begin + step * STEP, STEP) {
                self.in_order.0 += STEP;
                self.in_order.1 += time;
            }
        }
    }

    /// So many blocks at random places in all.
    fn at_random_places(&mut self, due: u64) {
        while self.tried < due && self.length >= BLOCK {
            self.tried += 1;
            let place = self.place(BLOCK);
            let time = self.read(place, BLOCK);
            self.at_random.extend(time);
        }
    }

    /// A random place for so many bytes.
    fn place(&mut self, len: u64) -> u64 {
        self.places.u64(0..=self.length.saturating_sub(len) / BLOCK) * BLOCK
    }

    fn read(&mut self, offset: u64, len: u64) -> Option<Duration> {
        match self.probe.read(offset, usize::try_from(len).unwrap_or(usize::MAX)) {
            Ok(time) => Some(time),
            Err(error) => {
                self.failed += 1;
                self.error.get_or_insert(error);
                None
            }
        }
    }

    fn disk(mut self) -> Result<Disk, ProbeError> {
        self.at_random.sort_unstable();
        let (reads, failed, (bytes, time)) = (self.at_random.len(), self.failed, self.in_order);
        match (self.quantile(50), self.quantile(99)) {
            (Some(median), Some(p99)) if bytes > 0 => {
                let sequential = per_second(bytes, time);
                Ok(Disk { sequential, median, p99, reads, failed })
            }
            _ => Err(self.error.unwrap_or_else(|| ProbeError::Read {
                offset: 0,
                len: READ_MAX,
                source: io::ErrorKind::UnexpectedEof.into(),
            })),
        }
    }

    fn quantile(&self, percent: usize) -> Option<Duration> {
        let rank = (self.at_random.len() * percent).div_ceil(100);
        self.at_random.get(rank.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    const MIB: u64 = 1 << 20;

    /// A volume to which something is written each second, and a disk that is as slow as it is
    /// told; with the time in which that happens.
    pub(in super::super) struct Bench {
        pub(in super::super) length: u64,
        /// Bytes that are written in a second; `None`: they are not counted.
        pub(in super::super) written: Option<fn(second: u64) -> u64>,
        /// How long a read at this place takes; `None`: it fails.
        pub(in super::super) read: fn(offset: u64) -> Option<Duration>,
        pub(in super::super) now: Cell<Duration>,
        pub(in super::super) reads: RefCell<Vec<(u64, usize)>>,
    }

    impl Bench {
        pub(in super::super) fn new(written: fn(u64) -> u64) -> Self {
            Self {
                length: 1000 * MIB,
                written: Some(written),
                read: |_| Some(Duration::from_millis(5)),
                now: Cell::new(Duration::from_secs(7)),
                reads: RefCell::default(),
            }
        }

        pub(in super::super) fn measure(&self, seconds: u32) -> Measured {
            measure(self, seconds, self, 1, &mut |_| ()).unwrap()
        }
    }

    impl Clock for Bench {
        fn now(&self) -> Duration {
            self.now.get()
        }

        fn sleep(&self, time: Duration) {
            self.now.set(self.now.get() + time);
        }
    }

    impl Probe for Bench {
        fn length(&self) -> Result<u64, ProbeError> {
            Ok(self.length)
        }

        fn used(&self) -> Result<u64, ProbeError> {
            Ok(self.length / 4)
        }

        fn written(&self) -> Result<Written, ProbeError> {
            let unsupported = || ProbeError::Written(io::ErrorKind::Unsupported.into());
            let each = self.written.ok_or_else(unsupported)?;
            let seconds = self.now.get().as_secs();
            // Writes of 4 KiB, whose number begins again.
            let bytes: u64 = (0..seconds).map(each).sum();
            let writes = u32::try_from(bytes / 4096).unwrap().wrapping_sub(2000);
            Ok(Written { bytes, writes })
        }

        fn read(&self, offset: u64, len: usize) -> Result<Duration, ProbeError> {
            assert!(offset + len as u64 <= self.length && offset.is_multiple_of(4096));
            self.reads.borrow_mut().push((offset, len));
            let source = io::ErrorKind::InvalidData.into();
            (self.read)(offset).ok_or(ProbeError::Read { offset, len, source })
        }
    }

    #[test]
    fn writes_are_counted_by_the_second_and_by_the_minute() {
        // Most of it in the seconds from 20 on.
        let bench = Bench::new(|second| if (20..80).contains(&second) { 10 * MIB } else { MIB });
        let churn = bench.measure(30).churn.unwrap();
        assert_eq!(
            churn.worst,
            Rate { bytes: 10 * MIB, writes: 2560, time: Duration::from_secs(1) }
        );
        let bench = Bench { now: Cell::new(Duration::from_secs(7)), ..bench };
        let churn = bench.measure(100).churn.unwrap();
        let minute = Duration::from_mins(1);
        assert_eq!(churn.worst, Rate { bytes: 600 * MIB, writes: 153_600, time: minute });
        let bytes = 600 * MIB + 40 * MIB;
        let mean = Rate { bytes, writes: bytes / 4096, time: Duration::from_secs(100) };
        assert_eq!(churn.mean, mean);
    }

    #[test]
    fn reads_are_few_within_the_volume_and_spread_over_the_time() {
        let bench = Bench::new(|_| 0);
        let mut seen = Vec::new();
        let reads = || bench.reads.borrow().len();
        let see = &mut |progress| seen.push((progress, reads()));
        let disk = measure(&bench, 50, &bench, 1, see).unwrap().disk.unwrap();
        assert_eq!((disk.reads, disk.failed), (200, 0));
        // 1 MiB in 5 ms.
        assert_eq!((disk.sequential, disk.median), (200 * MIB, Duration::from_millis(5)));
        assert_eq!(reads(), 208);
        assert_eq!((seen.len(), seen[24].1, seen[49].1), (50, 108, 208));
        let left = Duration::from_secs(25);
        assert_eq!(seen[24].0, Progress { passed: left, left, written: Some(0) });
        let places = |seed| {
            let bench = Bench::new(|_| 0);
            measure(&bench, 5, &bench, seed, &mut |_| ()).unwrap();
            bench.reads.into_inner()
        };
        assert_eq!(places(1), places(1));
        assert_ne!(places(1), places(2));
    }

    #[test]
    fn a_hold_is_expected_to_take_as_long_as_the_reads_took() {
        // One place of 20 is slow.
        let read = |offset: u64| {
            Some(Duration::from_micros(if (offset / BLOCK).is_multiple_of(20) {
                9_000
            } else {
                90
            }))
        };
        let disk = Bench { read, ..Bench::new(|_| 0) }.measure(5).disk.unwrap();
        assert_eq!(disk.median, Duration::from_micros(90));
        assert_eq!(disk.p99, Duration::from_millis(9));
    }

    #[test]
    fn where_writes_are_not_counted_the_disk_is_read_all_the_same() {
        let bench = Bench { written: None, ..Bench::new(|_| 0) };
        let measured = bench.measure(3600);
        assert_eq!(measured.time, Duration::from_secs(SECONDS_MIN.into()));
        let why = measured.churn.unwrap_err().to_string();
        assert!(why.contains("IOCTL_DISK_PERFORMANCE"), "{why}");
        assert_eq!(measured.disk.unwrap().reads, 200);
    }

    #[test]
    fn reads_that_fail_are_counted_and_a_disk_that_never_reads_is_an_error() {
        let most =
            |offset: u64| (!(offset / BLOCK).is_multiple_of(3)).then_some(Duration::from_millis(1));
        let disk = Bench { read: most, ..Bench::new(|_| 0) }.measure(5).disk.unwrap();
        assert!(disk.failed > 30 && disk.reads < 170, "{disk:?}");
        let measured = Bench { read: |_| None, ..Bench::new(|_| MIB) }.measure(5);
        assert!(measured.disk.is_err() && measured.churn.is_ok());
    }

    #[test]
    fn a_volume_of_any_length_is_measured() {
        for length in [0, 4096, BLOCK, MIB - 512, MIB, 3 * MIB + 4096] {
            let measured = Bench { length, ..Bench::new(|_| 0) }.measure(5);
            assert_eq!(measured.disk.is_ok(), length >= MIB, "{length}");
        }
    }
}
