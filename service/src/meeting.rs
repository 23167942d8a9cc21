//! When the writes of a volume wait so that its image ends at an instant of the server's clock,
//! which volumes of several machines have in common ([`snapless_link::meeting`]).
//!
//! The driver lets writes wait in a *cut*, a time of its own clock: the image ends with the last
//! record from before the cut's end, and a write that arrives in the cut completes behind it
//! (`engine/src/cut.rs`). Whatever a program does because a write has completed that is in no image
//! must be in no image either, on whatever machine. So every cut has to begin before the instant
//! and end behind it, by whatever clock: then all of them have begun when the first one ends.
//!
//! What is not known of the driver's clock makes the cut longer. It is read before and behind a
//! question to the server ([`Exchange`]); the answer is from between. It goes on in steps, and is
//! behind its true value by up to [`COARSE`]. That both clocks run alike until the instant is not
//! believed, but looked at behind it ([`Clocks::are_still`]): a virtual machine may have been
//! paused.

use snapless_link::meeting::Invitation;
use snapless_types::Tick;
use snapless_wire::id::VolumeGuid;
use snapless_wire::ioctl::{CUT_LEN_MAX, CutTime};

/// How far the driver's clock is behind at most: a step of Windows' timer at its slowest, 15.625
/// ms.
pub const COARSE: u64 = 16 * Tick::PER_MS;
/// By how much two clocks may run apart from the first exchange to the last one. A step of the
/// driver's clock is within it: one exchange comes early in it, and another one late.
pub const MARGIN: u64 = 20 * Tick::PER_MS;
/// How often the clocks are compared each time: what all comparisons say together counts.
pub const EXCHANGES: usize = 4;
/// How often they are compared at most behind an instant, on a machine or a network that is busy,
/// before it is said that they have run apart.
pub const EXCHANGES_MAX: usize = 64;

/// A volume is called to a meeting.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// The volume.
    pub volume: VolumeGuid,
    /// What it is called to.
    pub invitation: Invitation,
}

/// What the driver's clock shows before and behind a question to the server, and what the server's
/// clock shows between. In ticks of 100 ns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exchange {
    /// By the driver's clock.
    pub before: u64,
    /// By the server's clock.
    pub server: u64,
    /// By the driver's clock.
    pub after: u64,
}

/// By how much the driver's clock is ahead of the server's: at least, and less than.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Clocks {
    least: i128,
    most: i128,
}

impl Exchange {
    fn clocks(self) -> Clocks {
        let ahead = |own: u64| i128::from(own) - i128::from(self.server);
        Clocks { least: ahead(self.before), most: ahead(self.after) + i128::from(COARSE) }
    }
}

impl Clocks {
    /// What these exchanges say together; `None` if there are none, or if they contradict each
    /// other: one of the clocks was stopped or set.
    pub fn of(exchanges: &[Exchange]) -> Option<Self> {
        let both = |one: Self, other: Self| Self {
            least: one.least.max(other.least),
            most: one.most.min(other.most),
        };
        let all = exchanges.iter().map(|it| it.clocks()).reduce(both)?;
        (all.least < all.most).then_some(all)
    }

    /// The cut around an instant of the server's clock, by the driver's; `None` if it would be too
    /// long, or outside of what that clock can show.
    pub fn cut(&self, instant: u64) -> Option<CutTime> {
        let (instant, margin) = (i128::from(instant), i128::from(MARGIN));
        let from = instant + self.least - i128::from(COARSE) - margin;
        let until = instant + self.most + margin;
        let cut = CutTime { from: from.try_into().ok()?, until: until.try_into().ok()? };
        (cut.until - cut.from <= CUT_LEN_MAX).then_some(cut)
    }

    /// True if what is known `now`, behind the instant, does not make a cut wrong that was made
    /// with this.
    pub fn are_still(&self, now: &Self) -> bool {
        let margin = i128::from(MARGIN);
        self.least - margin <= now.least && now.most <= self.most + margin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = Tick::PER_MS;

    fn exchange(before: u64, server: u64, after: u64) -> Exchange {
        Exchange { before: before * MS, server: server * MS, after: after * MS }
    }

    #[test]
    fn a_cut_is_around_the_instant_whatever_is_not_known_of_the_clocks() {
        // The driver's clock is ahead by 900 to 904 ms, and as much as a step more.
        let clocks = Clocks::of(&[exchange(1_000, 100, 1_004)]).unwrap();
        let cut = clocks.cut(500 * MS).unwrap();
        assert_eq!(cut.from, (500 + 900) * MS - COARSE - MARGIN);
        assert_eq!(cut.until, (500 + 904) * MS + COARSE + MARGIN);
    }

    #[test]
    fn several_exchanges_say_more_than_one_unless_they_contradict_each_other() {
        let slow = exchange(1_000, 100, 1_200);
        let fast = exchange(1_300, 350, 1_302);
        let clocks = Clocks::of(&[slow, fast]).unwrap();
        assert_eq!(Some(clocks), Clocks::of(&[fast]));
        let length = |clocks: Clocks| clocks.cut(0).map(|cut| cut.until - cut.from);
        assert_eq!(length(clocks), Some(2 * MS + 2 * COARSE + 2 * MARGIN));
        assert_eq!(Clocks::of(&[fast, exchange(1_400, 300, 1_401)]), None);
        assert_eq!(Clocks::of(&[]), None);
    }

    #[test]
    fn clocks_that_are_known_too_badly_or_cannot_show_it_have_no_cut() {
        let slow = Clocks::of(&[exchange(1_000, 100, 1_429)]).unwrap();
        assert_eq!(slow.cut(0), None);
        assert!(Clocks::of(&[exchange(1_000, 100, 1_428)]).unwrap().cut(0).is_some());
        let behind = Clocks::of(&[exchange(1, 1_000, 2)]).unwrap();
        assert!(behind.cut(0).is_none() && behind.cut(2_000 * MS).is_some());
        let ahead = Clocks::of(&[Exchange { before: u64::MAX, server: 0, after: u64::MAX }]);
        assert_eq!(ahead.unwrap().cut(u64::MAX), None);
    }

    #[test]
    fn a_clock_that_was_stopped_is_noticed() {
        let first = Clocks::of(&[exchange(1_000, 100, 1_004)]).unwrap();
        let later = |late: u64| Clocks::of(&[exchange(3_000, 2_100 + late, 3_004)]).unwrap();
        assert!(first.are_still(&later(0)) && first.are_still(&later(20)));
        assert!(!first.are_still(&later(21)));
        let ahead = Clocks::of(&[exchange(3_000, 2_079, 3_004)]).unwrap();
        assert!(!first.are_still(&ahead));
    }
}
