//! The pace of the sweep: how many reads are under way, how long they are, when the next one may
//! begin.
//!
//! One disk is busy with one read, another is fastest with eight at a time. So the sweep tries: for
//! a round it has twice as many reads under way, or half as many, and keeps that if more reads give
//! a higher rate, or fewer reads no lower one. It backs off from a disk that takes too long to
//! answer.
//!
//! While writes are held it works gently, with few and short reads, so that a read for a held write
//! does not wait behind more. It does not stop: under writers that always have a write held, the
//! first sync would not end. A cap in bytes per second limits all of this.

use snapless_tracking::config::{Config, SweepLimits};
use snapless_types::Tick;

/// Least duration of a round: many times the tick of the coarsest clock, 15.6 ms.
const ROUND_TICKS: u64 = 100 * Tick::PER_MS;
/// Fewest reads of a round for each that may be under way.
const ROUND_READS: u64 = 4;
/// Rounds between two tries.
const REST_ROUNDS: u32 = 16;
/// Two rates differ if they are further apart than this part of one: a sixteenth.
const DIFFERENCE: u64 = 16;
/// How long the sweep works gently after a read for a held write.
const GENTLE_TICKS: u64 = 100 * Tick::PER_MS;
/// Divisor of the length of gentle reads.
const GENTLE_SHARE: u64 = 2;
/// Most gentle reads under way.
const GENTLE_READS: u64 = 2;
/// With so many reads for held writes under way, writers use all that the disk gives: gentle reads
/// would help them little, and prolong the first sync.
const PRESSED_READS: u64 = 4;
/// Reads under way before the first try: no disk of a server is slower with them.
const FIRST_DEPTH: u64 = 4;

/// Reads since the round began.
#[derive(Clone, Copy, Debug)]
struct Round {
    since: Tick,
    bytes: u64,
    reads: u64,
    /// Ticks that the reads took, added up.
    waited: u64,
}

/// The sweep's pace.
#[derive(Debug)]
pub struct Pace {
    limits: SweepLimits,
    /// Reads that may be under way.
    depth: u64,
    /// The present round tries a depth.
    tries: bool,
    /// The present or last try had more reads, not fewer.
    more: bool,
    /// Rounds until the next try.
    rest: u32,
    /// Bytes per second of the last round without a try.
    rate: u64,
    round: Option<Round>,
    /// When the next read may begin, if the rate is capped.
    due: Tick,
    gentle_until: Tick,
}

impl Pace {
    /// The pace of a sweep that has read nothing.
    pub fn new(limits: SweepLimits) -> Self {
        Self {
            limits,
            depth: FIRST_DEPTH,
            tries: false,
            more: false,
            rest: 0,
            rate: 0,
            round: None,
            due: Tick(0),
            gentle_until: Tick(0),
        }
    }

    /// Sets the limits from now on. What it has found out about the disk still counts, and so do
    /// the bytes after which the next read is not due yet: at the new rate.
    pub fn set_limits(&mut self, limits: SweepLimits, now: Tick) {
        let ahead = self.limits.bytes(self.due.since(now));
        self.due = now.after(limits.ticks(ahead));
        self.limits = limits;
    }

    /// When the next read may begin; `None` if now.
    pub fn due(&self, now: Tick) -> Option<Tick> {
        (now < self.due).then_some(self.due)
    }

    /// Reads that may be under way at `now`.
    pub fn depth(&self, now: Tick) -> u64 {
        if now < self.gentle_until { self.depth.min(GENTLE_READS) } else { self.depth }
    }

    /// Bytes that a read may have at `now`; a read has at least one block all the same.
    pub fn read_bytes(&self, config: &Config, now: Tick) -> u64 {
        let longest = config.read_length();
        if now < self.gentle_until { longest / GENTLE_SHARE } else { longest }
    }

    /// Notes that a read of the sweep begins.
    pub fn begun(&mut self, bytes: u64, now: Tick) {
        self.due = self.due.max(now).after(self.limits.ticks(bytes));
    }

    /// Notes a read for a held write, one of `reads` at a time: the sweep's rate meanwhile does not
    /// show what the disk can do.
    pub fn disturbed(&mut self, reads: u64, now: Tick) {
        self.gentle_until = if reads < PRESSED_READS { now.after(GENTLE_TICKS) } else { now };
        self.round = None;
        self.tries = false;
    }

    /// Notes that a read of the sweep, begun at `since`, is done.
    pub fn done(&mut self, bytes: u64, since: Tick, now: Tick) {
        let round = self.round.get_or_insert(Round { since: now, bytes: 0, reads: 0, waited: 0 });
        if since < round.since {
            // Begun before the round.
            return;
        }
        round.bytes = round.bytes.saturating_add(bytes);
        round.reads += 1;
        round.waited = round.waited.saturating_add(now.since(since));
        let ticks = now.since(round.since);
        if round.reads < ROUND_READS * self.depth || ticks < ROUND_TICKS {
            return;
        }
        let rate = round.bytes.saturating_mul(1_000 * Tick::PER_MS) / ticks.max(1);
        let latency = round.waited / round.reads.max(1);
        self.round = None;
        let most = self.limits.latency;
        self.end_round(rate, most > 0 && latency > most);
    }

    fn end_round(&mut self, rate: u64, too_slow: bool) {
        let tried = core::mem::replace(&mut self.tries, false);
        if too_slow {
            self.step(false);
            self.rest = REST_ROUNDS;
            return;
        }
        let difference = self.rate / DIFFERENCE;
        // More reads have to read more, fewer must not read less.
        let least =
            if self.more { self.rate + difference } else { self.rate.saturating_sub(difference) };
        if tried && rate < least {
            return self.step(!self.more);
        }
        self.rate = rate;
        let goes_on = tried && self.more;
        if self.rest > 0 && !goes_on {
            self.rest -= 1;
            return;
        }
        self.rest = REST_ROUNDS;
        self.more = goes_on || !self.more;
        let before = self.depth;
        self.step(self.more);
        self.tries = self.depth != before;
    }

    /// Twice as many reads, or half as many.
    fn step(&mut self, more: bool) {
        let depth = if more { self.depth * 2 } else { self.depth / 2 };
        self.depth = depth.clamp(1, Config::SWEEP_READS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const MIB: u64 = 1 << 20;
    const MB: u64 = 1_000_000;

    /// A disk that answers a read after `latency_ms`, and gives at most `mib_per_second`.
    struct Disk {
        latency_ms: u64,
        mib_per_second: u64,
    }

    /// Sweeps for so many seconds from `now` on; the time after.
    fn sweep(pace: &mut Pace, disk: &Disk, now: Tick, seconds: u64) -> Tick {
        let end = now.after(seconds * 1_000 * Tick::PER_MS);
        let mut at = now;
        while at < end {
            // So many reads are answered together.
            let depth = pace.depth(at);
            let transfer = depth * 1_000 * Tick::PER_MS / disk.mib_per_second;
            let done = at.after(transfer.max(disk.latency_ms * Tick::PER_MS));
            for _ in 0..depth {
                pace.begun(MIB, at);
            }
            for _ in 0..depth {
                pace.done(MIB, at, done);
            }
            at = done;
        }
        at
    }

    fn config() -> Config {
        Config::new(64 * MIB)
    }

    fn new() -> Pace {
        Pace::new(config().sweep)
    }

    fn from_one() -> Pace {
        Pace { depth: 1, ..new() }
    }

    /// With another cap of the latency, in milliseconds.
    fn with_latency(latency_ms: u64, pace: Pace) -> Pace {
        let latency = latency_ms * Tick::PER_MS;
        Pace { limits: SweepLimits { latency, ..pace.limits }, ..pace }
    }

    #[test]
    fn the_depth_grows_as_long_as_more_reads_read_more() {
        let mut pace = from_one();
        let disk = Disk { latency_ms: 10, mib_per_second: 400 };
        sweep(&mut pace, &disk, Tick(0), 20);
        assert_eq!(pace.depth(Tick(u64::MAX)), 4, "four reads fill the disk");
    }

    #[test]
    fn a_disk_that_one_read_fills_gets_one_at_a_time() {
        let mut pace = new();
        let disk = Disk { latency_ms: 1, mib_per_second: 100 };
        let now = sweep(&mut pace, &disk, Tick(0), 30);
        // A round in seventeen tries two.
        assert!(pace.depth(now) <= 2);
        let mut rounds_of_one = 0;
        let mut at = now;
        for _ in 0..100 {
            at = sweep(&mut pace, &disk, at, 1);
            rounds_of_one += u64::from(pace.depth(at) == 1);
        }
        assert!(rounds_of_one > 80, "{rounds_of_one}");
    }

    #[test]
    fn the_depth_follows_a_disk_that_became_faster_or_slower() {
        let mut pace = new();
        let fast = Disk { latency_ms: 10, mib_per_second: 10_000 };
        let now = sweep(&mut pace, &fast, Tick(0), 30);
        assert!(pace.depth(now) >= Config::SWEEP_READS / 2);
        let slow = Disk { latency_ms: 1, mib_per_second: 200 };
        let now = sweep(&mut pace, &slow, now, 60);
        assert!(pace.depth(now) <= 2, "{}", pace.depth(now));
    }

    #[test]
    fn a_disk_that_takes_too_long_is_given_less() {
        let disk = Disk { latency_ms: 1, mib_per_second: 100 };
        let mut pace = with_latency(15, Pace { depth: 8, ..new() });
        sweep(&mut pace, &disk, Tick(0), 10);
        assert_eq!(pace.depth(Tick(u64::MAX)), 1);
        let mut pace = with_latency(0, pace);
        let disk = Disk { latency_ms: 100, mib_per_second: 10_000 };
        sweep(&mut pace, &disk, Tick(0), 60);
        assert!(pace.depth(Tick(u64::MAX)) > 2, "no cap");
    }

    /// Reads one after the other that take so many milliseconds each, until the pace tries
    /// something; when that is.
    fn first_try(read_ms: u64) -> u64 {
        let mut pace = with_latency(0, from_one());
        let at = |ms: u64| Tick(ms * 10_000);
        for ms in (read_ms..1_000).step_by(usize::try_from(read_ms).unwrap()) {
            pace.done(MIB, at(ms - read_ms), at(ms));
            if pace.depth(at(ms)) > 1 {
                return ms;
            }
        }
        panic!("nothing is tried");
    }

    #[test]
    fn a_round_begins_with_the_end_of_a_read_and_takes_100_ms_and_four_reads() {
        assert_eq!(first_try(10), 10 + 100);
        assert_eq!(first_try(60), 60 + 4 * 60);
        // One that began before the round says nothing of it.
        let mut pace = with_latency(0, from_one());
        pace.done(MIB, Tick(0), Tick(10));
        for _ in 0..8 {
            pace.done(MIB, Tick(9), Tick(10_000_000));
        }
        assert_eq!(pace.depth(Tick(10_000_000)), 1);
        for _ in 0..4 {
            pace.done(MIB, Tick(10), Tick(10_000_000));
        }
        assert_eq!(pace.depth(Tick(10_000_000)), 2);
    }

    #[test]
    fn a_rate_differs_from_another_by_a_sixteenth() {
        let trying = |more, depth| Pace { tries: true, more, depth, rate: 1600, rest: 9, ..new() };
        for (rate, depth) in [(1699, 1), (1700, 4)] {
            let mut pace = trying(true, 2);
            pace.end_round(rate, false);
            assert_eq!(pace.depth, depth, "more reads at a time read {rate}");
        }
        for (rate, depth) in [(1499, 8), (1500, 4)] {
            let mut pace = trying(false, 4);
            pace.end_round(rate, false);
            assert_eq!(pace.depth, depth, "fewer reads at a time read {rate}");
        }
    }

    #[test]
    fn more_and_fewer_are_tried_in_turn_with_sixteen_rounds_between() {
        let mut pace = from_one();
        let mut depths = Vec::new();
        for _ in 0..60 {
            // The same rate whatever the depth: more of them pays never.
            pace.end_round(1600, false);
            depths.push(pace.depth);
        }
        let tries: Vec<_> = (0..60).filter(|&round| depths[round] == 2).collect();
        assert_eq!(tries, [0, 35], "fewer than one cannot be tried: that turn passes");
        let mut pace = Pace { depth: 8, ..new() };
        pace.end_round(1600, true);
        assert_eq!((pace.depth, pace.rest), (4, 16), "a disk that takes too long");
    }

    #[test]
    fn a_disk_that_takes_just_as_long_as_it_may_is_not_too_slow() {
        for (latency, depth) in [(20 * Tick::PER_MS, 2), (20 * Tick::PER_MS + 1, 1)] {
            let mut pace = from_one();
            let (begun, end) = (Tick(1_000_000 - latency), Tick(1_000_000));
            pace.done(MIB, Tick(0), Tick(1));
            pace.round = Some(Round { since: Tick(0), bytes: 0, reads: 0, waited: 0 });
            for _ in 0..4 {
                pace.done(MIB, begun, end);
            }
            assert_eq!(pace.depth, depth);
        }
    }

    #[test]
    fn the_sweep_is_gentle_while_writes_are_held_and_a_while_after() {
        let config = config();
        let mut pace = Pace { depth: 8, ..new() };
        let now = Tick(5);
        assert_eq!((pace.depth(now), pace.read_bytes(&config, now)), (8, MIB));
        pace.disturbed(4, now);
        assert_eq!((pace.depth(now), pace.read_bytes(&config, now)), (8, MIB), "writers press");
        pace.disturbed(3, now);
        assert_eq!((pace.depth(now), pace.read_bytes(&config, now)), (2, MIB / 2));
        let after = now.after(100 * 10_000);
        assert_eq!(pace.depth(Tick(after.0 - 1)), 2);
        assert_eq!((pace.depth(after), pace.read_bytes(&config, after)), (8, MIB));
    }

    #[test]
    fn a_cap_spaces_the_reads() {
        let mut pace = new();
        pace.begun(MIB, Tick(7));
        assert_eq!(pace.due(Tick(7)), None);
        pace.set_limits(SweepLimits { bytes_per_second: MIB, ..pace.limits }, Tick(7));
        pace.begun(MIB / 2, Tick(7));
        let due = Tick(7).after(500 * Tick::PER_MS);
        assert_eq!((pace.due(Tick(7)), pace.due(due)), (Some(due), None));
    }

    #[test]
    fn another_cap_counts_at_once_and_the_pace_stays() {
        let at = |ms: u64| Tick(ms * Tick::PER_MS);
        let mut pace = Pace { depth: 8, rate: 1600, rest: 9, ..new() };
        let limits = |bytes_per_second| SweepLimits { bytes_per_second, ..config().sweep };
        pace.set_limits(limits(MB), at(0));
        pace.begun(MB, at(0));
        assert_eq!(pace.due(at(0)), Some(at(1_000)));
        pace.set_limits(limits(2 * MB), at(600));
        assert_eq!(pace.due(at(600)), Some(at(800)), "0.4 MB are left, in half the time");
        pace.set_limits(limits(MB), at(700));
        assert_eq!(pace.due(at(700)), Some(at(900)));
        pace.set_limits(limits(0), at(700));
        assert_eq!(pace.due(at(700)), None);
        pace.set_limits(limits(MB), at(700));
        assert_eq!(pace.due(at(700)), None, "what was read without a cap is not counted");
        assert_eq!((pace.depth(at(700)), pace.rate, pace.rest), (8, 1600, 9));
    }
}
