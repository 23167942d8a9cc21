//! The wall clock of a protected machine, as the records of a session show it.
//!
//! A record carries two times: what the wall clock showed, and that of a clock that is never set.
//! Where the two disagree, the wall clock was set, or the machine slept: a *run* of the wall clock
//! ends there and another begins. An [`Instant`] is a run and a time in it, so instants are in
//! stream order whatever was done to the clock (rule T0, rules.md#t0).
//!
//! The other clock begins anew with the machine. Where the session continues after that, a run ends
//! as well, and no reading behind it is compared with one before.

use snapless_wire::frame::Watermark;
use snapless_wire::id::FileTime;

use crate::format::codec::{Input, Stored};

/// What both clocks showed, in ticks of 100 ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The wall clock.
    pub time: FileTime,
    /// The clock that is never set.
    pub monotonic: u64,
}

/// An instant of a stream. Later in the stream is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Instant {
    run: u32,
    /// What the wall clock showed; within a run never less than before.
    pub time: FileTime,
}

impl Instant {
    /// A tick earlier in the same run.
    pub(crate) fn tick_before(self) -> Self {
        Self { time: FileTime::new(self.time.get().saturating_sub(1)), ..self }
    }
}

/// A run of the wall clock: its first and its last reading.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Run {
    first: Reading,
    last: Reading,
}

/// The runs of a stream's wall clock.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Clock {
    runs: Vec<Run>,
}

/// Readings after the last record, that of each run once: the last one.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Readings(Vec<Reading>);

impl Readings {
    /// Takes the next reading, in place of the last one unless the wall clock was set between them.
    pub fn push(&mut self, reading: Reading) {
        let is_full = self.0.len() >= RUNS_MAX;
        match self.0.last_mut() {
            Some(last) if is_full || last.agrees_with(reading) => *last = reading,
            _ => self.0.push(reading),
        }
    }

    /// The last reading; `None` if there is none.
    pub fn last(&self) -> Option<Reading> {
        self.0.last().copied()
    }

    /// Every reading, in order.
    pub fn iter(&self) -> impl Iterator<Item = Reading> {
        self.0.iter().copied()
    }
}

/// Ticks in a second.
const SECOND: u64 = 10_000_000;
/// The clocks differ by less between two readings, unless the wall clock is set.
const STEP: u64 = SECOND;
/// A wall clock that is being adjusted gains or loses less than one part in so many.
const SLEW: u64 = 1_000;
/// Most runs that are told apart: a clock that is set more often counts as one that is not.
const RUNS_MAX: usize = 1 << 10;

impl Clock {
    /// Takes the reading of the next record.
    pub fn note(&mut self, reading: Reading) -> Instant {
        let is_full = self.runs.len() >= RUNS_MAX;
        match self.runs.last_mut() {
            Some(run) if is_full || run.last.agrees_with(reading) => {
                // A clock that is adjusted, or read by two processors, may go back a little.
                run.last = Reading { time: run.last.time.max(reading.time), ..reading };
            }
            _ => self.runs.push(Run { first: reading, last: reading }),
        }
        let time = self.runs.last().map_or(reading.time, |run| run.last.time);
        Instant { run: number(self.runs.len().saturating_sub(1)), time }
    }

    /// Takes the first reading after a restart of the machine: a run begins in any case.
    pub fn begin_anew(&mut self, reading: Reading) -> Instant {
        let Some(last) = self.last() else { return self.note(reading) };
        if self.runs.len() + 2 > RUNS_MAX {
            return self.note(reading);
        }
        if reading.monotonic >= last.monotonic {
            // The boot before was shorter. A reading of 0 shows all the same that another began.
            let boot = Reading { monotonic: 0, ..reading };
            self.runs.push(Run { first: boot, last: boot });
        }
        self.runs.push(Run { first: reading, last: reading });
        Instant { run: number(self.runs.len() - 1), time: reading.time }
    }

    /// The runs from this one on until the machine was restarted.
    fn same_boot(&self, from: usize) -> &[Run] {
        let runs = self.runs.get(from..).unwrap_or_default();
        let counts_on = |two: &&[Run]| two[0].last.monotonic <= two[1].first.monotonic;
        let more = runs.windows(2).take_while(counts_on).count();
        &runs[..runs.len().min(more + 1)]
    }

    /// The last reading; `None` before the first.
    pub fn last(&self) -> Option<Reading> {
        self.runs.last().map(|run| run.last)
    }

    /// The instant that a time names. Of a time that the clock showed twice, the later one. A time
    /// that it skipped because it was set to a wrong time and back again is counted from before
    /// that; any other time that it skipped is the end of the run before.
    pub fn find(&self, time: FileTime) -> Instant {
        let shown = |run: &Run| run.first.time <= time && time <= run.last.time;
        if let Some(run) = self.runs.iter().rposition(shown) {
            return Instant { run: number(run), time };
        }
        let begun = self.runs.iter().rposition(|run| run.first.time <= time).unwrap_or(0);
        self.while_wrong(time).unwrap_or(Instant { run: number(begun), time })
    }

    /// The instant of a time at which the clock was wrong: it was set, and later set back.
    fn while_wrong(&self, time: FileTime) -> Option<Instant> {
        let was_set_back = |&index: &usize| {
            let last = self.runs[index].last;
            let mut later = self.same_boot(index).iter().skip(1);
            let after = later.find(|run| last.agrees_with(run.first));
            last.time < time && after.is_some_and(|after| time < after.first.time)
        };
        let before = (0..self.runs.len()).rev().find(was_set_back)?;
        let last = self.runs[before].last;
        let monotonic = last.monotonic.saturating_add(time.get() - last.time.get());
        let boot = self.same_boot(before);
        let run = before + boot.iter().rposition(|run| run.first.monotonic <= monotonic)?;
        let Run { first, last } = self.runs[run];
        // Where runs are no longer told apart, the clock may have started anew within one.
        let since = monotonic.min(last.monotonic).saturating_sub(first.monotonic);
        let time = FileTime::new(first.time.get().saturating_add(since));
        Some(Instant { run: number(run), time })
    }
}

impl Clock {
    /// Ticks from the first reading to an instant, by the clock that is never set. What passed
    /// while the machine was off or asleep does not count.
    pub fn elapsed(&self, at: Instant) -> u64 {
        let mut elapsed: u64 = 0;
        let mut before: Option<&Run> = None;
        for (run, number) in self.runs.iter().zip(0..) {
            if let Some(before) = before {
                // The other clock starts anew with the machine.
                let between = run.first.monotonic.saturating_sub(before.last.monotonic);
                elapsed = elapsed.saturating_add(between);
            }
            let length = run.last.monotonic.saturating_sub(run.first.monotonic);
            if number >= at.run {
                let since = at.time.get().saturating_sub(run.first.time.get());
                return elapsed.saturating_add(since.min(length));
            }
            elapsed = elapsed.saturating_add(length);
            before = Some(run);
        }
        elapsed
    }
}

impl Reading {
    /// That of a watermark.
    pub fn of(watermark: &Watermark) -> Self {
        Self { time: watermark.time(), monotonic: watermark.monotonic() }
    }

    /// True if the wall clock was not set between this reading and a later one.
    fn agrees_with(self, later: Self) -> bool {
        let Some(passed) = later.monotonic.checked_sub(self.monotonic) else { return false };
        let expected = self.time.get().saturating_add(passed);
        expected.abs_diff(later.time.get()) <= STEP + passed / SLEW
    }
}

impl Clock {
    /// Runs so far.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }
}

impl Instant {
    /// The instant of a time within a run, by the run's number.
    pub(crate) fn new(run: u32, time: FileTime) -> Self {
        Self { run, time }
    }

    /// The number of its run.
    pub(crate) fn run(&self) -> u32 {
        self.run
    }
}

impl Stored for Reading {
    fn put(&self, out: &mut Vec<u8>) {
        self.time.put(out);
        self.monotonic.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Some(Self { time: Stored::take(input)?, monotonic: Stored::take(input)? })
    }
}

impl Stored for Instant {
    fn put(&self, out: &mut Vec<u8>) {
        self.run.put(out);
        self.time.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Some(Self { run: Stored::take(input)?, time: Stored::take(input)? })
    }
}

impl Stored for Run {
    fn put(&self, out: &mut Vec<u8>) {
        self.first.put(out);
        self.last.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        Some(Self { first: Stored::take(input)?, last: Stored::take(input)? })
    }
}

impl Stored for Clock {
    fn put(&self, out: &mut Vec<u8>) {
        self.runs.put(out);
    }

    fn take(input: &mut Input<'_>) -> Option<Self> {
        let runs: Vec<Run> = Stored::take(input)?;
        (runs.len() <= RUNS_MAX).then_some(Self { runs })
    }
}

fn number(run: usize) -> u32 {
    u32::try_from(run).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that was read once a minute: what it showed, in minutes. The other clock counts on.
    fn clock(minutes: &[u64]) -> (Clock, Vec<Instant>) {
        let mut clock = Clock::default();
        let reading = |(passed, &minutes): (usize, &u64)| Reading {
            time: at(minutes),
            monotonic: 7 + passed as u64 * 60 * SECOND,
        };
        let instants = minutes.iter().enumerate().map(|it| clock.note(reading(it))).collect();
        (clock, instants)
    }

    fn at(minutes: u64) -> FileTime {
        FileTime::new((1_000 + minutes) * 60 * SECOND)
    }

    /// Which reading is the last one up to the instant of a time; `None` if all are later.
    fn found(of: &(Clock, Vec<Instant>), time: FileTime) -> Option<usize> {
        let instant = of.0.find(time);
        of.1.iter().rposition(|&it| it <= instant)
    }

    #[test]
    fn instants_are_in_stream_order_whatever_the_clock_shows() {
        for minutes in [&[1, 2, 3, 3, 4][..], &[5, 6, 1, 2, 9, 3], &[60, 1, 60, 1, 60]] {
            let (_, instants) = clock(minutes);
            assert!(instants.is_sorted(), "{minutes:?}: {instants:?}");
        }
    }

    #[test]
    fn a_step_forward_and_back_hides_no_time_and_moves_none() {
        let it = clock(&[0, 1, 122, 123, 4, 5, 6]);
        assert_eq!(found(&it, at(1)), Some(1));
        for (minutes, reading) in [(2, 2), (3, 3), (4, 4), (6, 6)] {
            assert_eq!(found(&it, at(minutes)), Some(reading), "minute {minutes}");
        }
        assert_eq!(found(&it, at(122)), Some(2), "only the wrong clock has shown it");
        let later = clock(&(0..140).map(|m| if m == 2 { 122 } else { m }).collect::<Vec<_>>());
        assert_eq!(found(&later, at(122)), Some(122), "shown twice: the later one");
    }

    #[test]
    fn a_time_that_the_clock_skipped_is_the_end_of_what_was_before() {
        let it = clock(&[0, 1, 62, 63]);
        assert_eq!(found(&it, at(30)), Some(1));
        assert_eq!(found(&it, at(62)), Some(2));
    }

    #[test]
    fn a_step_back_repeats_times_and_the_later_ones_count() {
        let it = clock(&[60, 61, 62, 3, 4, 65]);
        assert_eq!(found(&it, at(4)), Some(4));
        assert_eq!(found(&it, at(61)), Some(1));
        assert_eq!(found(&it, at(63)), Some(3), "the clock was wrong then");
        assert_eq!(found(&it, at(65)), Some(5));
        assert_eq!(found(&it, FileTime::new(1)), None);
    }

    #[test]
    fn what_has_passed_is_told_by_the_clock_that_is_never_set() {
        for minutes in [&[0, 1, 2, 3, 4][..], &[0, 1, 600_000, 600_001, 4], &[900, 1, 900, 1, 2]] {
            let (clock, instants) = clock(minutes);
            let passed: Vec<_> =
                instants.iter().map(|&at| clock.elapsed(at) / (60 * SECOND)).collect();
            assert_eq!(passed, [0, 1, 2, 3, 4], "{minutes:?}");
        }
        let mut clock = Clock::default();
        let mut note = |time, monotonic: u64| {
            clock.note(Reading { time: at(time), monotonic: monotonic * 60 * SECOND })
        };
        let (booted, slept) = (note(0, 5), note(600, 6));
        let again = note(700, 0);
        let last = note(701, 1);
        let passed = [booted, slept, again, last].map(|it| clock.elapsed(it) / (60 * SECOND));
        assert_eq!(passed, [0, 1, 1, 2], "neither sleep nor a boot counts");
    }

    #[test]
    fn a_clock_that_begins_anew_is_compared_with_no_boot_before() {
        let reading =
            |minute, monotonic: u64| Reading { time: at(minute), monotonic: monotonic * SECOND };
        // The first boot lasts a second, the others hours: the slew that is allowed is more.
        for up in [1, 100_000] {
            let mut clock = Clock::default();
            clock.note(reading(0, 1));
            let mut instants = vec![clock.begin_anew(reading(5, 2))];
            instants.push(clock.note(reading(6, 62)));
            instants.push(clock.begin_anew(reading(60, up)));
            instants.push(clock.note(reading(61, 60 + up)));
            assert!(instants.is_sorted(), "{instants:?}");
            let found = |minute| clock.find(at(minute));
            assert_eq!(found(5), instants[0]);
            for minute in [7, 30, 59] {
                let instant = found(minute);
                let is_between = instants[1] < instant && instant < instants[2];
                assert!(is_between, "the machine was off at {minute}: {instant:?}");
            }
            assert_eq!(found(60), instants[2]);
        }
    }

    #[test]
    fn a_wrong_clock_is_set_right_within_a_boot_only() {
        let reading =
            |minute, monotonic: u64| Reading { time: at(minute), monotonic: monotonic * SECOND };
        let mut clock = Clock::default();
        let first = clock.note(reading(0, 10));
        let wrong = clock.begin_anew(reading(500, 20));
        // By the other clock as long after the first boot as by the wall clock.
        let right = clock.begin_anew(reading(60, 10 + 3_600));
        let later = clock.begin_anew(reading(70, 30));
        let found = clock.find(at(30));
        assert!(first < found && found < wrong, "{found:?}: {wrong:?} {right:?} {later:?}");
    }

    #[test]
    fn of_readings_the_last_before_each_step_is_kept() {
        let mut readings = Readings::default();
        let reading = |seconds, monotonic| Reading {
            time: FileTime::new(seconds * SECOND),
            monotonic: monotonic * SECOND,
        };
        for (seconds, monotonic) in [(100, 1), (101, 2), (50, 3), (51, 4), (52, 5), (900, 6)] {
            readings.push(reading(seconds, monotonic));
            assert_eq!(readings.last(), Some(reading(seconds, monotonic)));
        }
        let kept: Vec<_> = readings.iter().collect();
        assert_eq!(kept, [reading(101, 2), reading(52, 5), reading(900, 6)]);
        for step in 7..7 + 2 * RUNS_MAX as u64 {
            readings.push(reading(step % 2 * 500, step));
        }
        assert_eq!(readings.iter().count(), RUNS_MAX);
    }

    #[test]
    fn a_clock_that_drifts_or_is_read_out_of_order_is_not_set() {
        let mut clock = Clock::default();
        let mut note =
            |time, monotonic| clock.note(Reading { time: FileTime::new(time), monotonic });
        let first = note(SECOND, 0);
        let back = note(SECOND - 5, 1);
        assert_eq!((back.time, back.run), (first.time, first.run));
        let slow = note(SECOND + 3_600 * SECOND - 3 * SECOND, 3_600 * SECOND);
        assert_eq!(slow.run, first.run, "less than a part in a thousand");
        assert_eq!(note(2 * 3_600 * SECOND, 3_601 * SECOND).run, first.run + 1);
        assert_eq!(note(2 * 3_600 * SECOND, 5).run, first.run + 2, "another boot");
    }
}
