//! A cut: where the images of volumes of several machines end, whose clocks differ.
//!
//! The image of a cut ends with the last record from before its end. A write that arrives in the
//! cut waits for that end: it is not in the image, and it completes later.
//!
//! Why no image has a write W without a write V of another machine that had completed before W
//! arrived (rule ORDER, rules.md#order):
//!
//! - V is not in the image of its volume, so the clock showed the end of V's cut, or later, when
//!   V's record was made, before V was issued. A coarse clock never shows what has not come yet: V
//!   completed after that end.
//! - W is in the image, so it arrived before its cut began, by a clock that was read afterwards. A
//!   coarse clock may be a step (16 ms) behind: W arrived earlier than a step after that begin.
//! - A cut is at least as long as a step and what is not known of how the clocks differ, together.
//!   So V's cut ends no earlier than a step after W's begins: V completed after W had arrived.
//!
//! A write that goes on in a cut, because it must not wait, may break this. It is counted
//! (`writes_past_cut`): if the counter has changed, the cut is no good.
//!
//! The rule: nothing ends a cut but the clock, and it lasts no longer than [`Cut::LEN_MAX`] (rule
//! HANG, rules.md#hang).

use snapless_types::Tick;

/// The cut that is to come, or is under way.
#[derive(Debug, Default)]
pub struct Cut {
    from: Tick,
    until: Tick,
}

/// Why there is no such cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CutRefused {
    /// It would have begun, or ends before it begins.
    TooLate,
    /// It is longer than [`Cut::LEN_MAX`], or later than [`Cut::AHEAD_MAX`].
    TooLong,
    /// Another one has not ended.
    Pending,
}

impl Cut {
    /// Ticks of the longest cut.
    pub const LEN_MAX: u64 = 500 * Tick::PER_MS;
    /// Ticks until the latest one begins.
    pub const AHEAD_MAX: u64 = 10_000 * Tick::PER_MS;

    /// Sets a cut from `from` up to, not including, `until`. `now` is what the clock shows under
    /// the session's lock: every write that had the lock before has arrived before `from`.
    ///
    /// # Errors
    /// [`CutRefused`]; nothing changes.
    pub fn set(&mut self, from: Tick, until: Tick, now: Tick) -> Result<(), CutRefused> {
        if now < self.until {
            return Err(CutRefused::Pending);
        }
        if from <= now || until <= from {
            return Err(CutRefused::TooLate);
        }
        if until.since(from) > Self::LEN_MAX || from.since(now) > Self::AHEAD_MAX {
            return Err(CutRefused::TooLong);
        }
        (self.from, self.until) = (from, until);
        Ok(())
    }

    /// True if a write that arrived at `since` waits for the end.
    #[inline]
    pub fn keeps(&self, since: Tick, now: Tick) -> bool {
        // Mostly there is none: the first comparison says so.
        now < self.until && self.from <= since && !sabotaged!(CutForgotten)
    }

    /// The end of the cut that has not ended. One that has not begun counts: the caller may have
    /// read the clock before a write that is kept did.
    pub fn end(&self, now: Tick) -> Option<Tick> {
        (now < self.until).then_some(self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_keeps_what_arrives_in_it_until_its_end() {
        let mut cut = Cut::default();
        assert!(!cut.keeps(Tick(0), Tick(0)) && cut.end(Tick(0)).is_none());
        assert_eq!(cut.set(Tick(20), Tick(30), Tick(10)), Ok(()));
        assert_eq!((cut.end(Tick(10)), cut.end(Tick(30))), (Some(Tick(30)), None));
        assert!(cut.keeps(Tick(20), Tick(20)) && cut.keeps(Tick(29), Tick(29)));
        assert!(!cut.keeps(Tick(19), Tick(29)), "it arrived before");
        assert!(!cut.keeps(Tick(29), Tick(30)), "it has ended");
        assert_eq!(cut.set(Tick(40), Tick(50), Tick(29)), Err(CutRefused::Pending));
        assert_eq!(cut.set(Tick(40), Tick(50), Tick(30)), Ok(()));
    }

    #[test]
    fn a_cut_that_is_late_or_long_is_refused() {
        let mut cut = Cut::default();
        let mut set = |from, until| cut.set(Tick(from), Tick(until), Tick(10));
        for (from, until) in [(10, 20), (9, 20), (20, 20), (30, 20)] {
            assert_eq!(set(from, until), Err(CutRefused::TooLate));
        }
        let (begin, len) = (11 + Cut::AHEAD_MAX, Cut::LEN_MAX);
        for (from, until) in [(11, 12 + len), (begin, begin + 1), (20, u64::MAX)] {
            assert_eq!(set(from, until), Err(CutRefused::TooLong));
        }
        assert_eq!(set(begin - 1, begin - 1 + len), Ok(()));
    }
}
