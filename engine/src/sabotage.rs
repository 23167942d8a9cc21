//! Breaches of the rules on purpose, to show that the simulator finds them.
//!
//! Compiled with `--cfg sabotage` only, which nothing but `cargo xtask sabotage` and the tests set. Each is one place
//! in the engine where a rule is upheld, and is not while the breach is chosen.

use std::cell::Cell;

/// A breach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// T0: a write does not wait for the old content of its blocks.
    HoldForgotten,
    /// T0: what was read while a write went through is used all the same.
    SpoiltReadUsed,
    /// T0: the base image is complete while blocks of it are still being read.
    BaseCompleteTooEarly,
    /// ORDER: a write does not wait for another that it overlaps.
    OverlapForgotten,
    /// LOSS: a write that goes through uncaptured leaves its blocks as they are.
    GapForgotten,
    /// LOSS: an epoch does not know what its records were about.
    EpochForgotten,
    /// LOSS: dirty blocks are read under a write in flight.
    ResyncUnderWrites,
    /// TRUTH: a write that failed counts as done.
    FailureForgotten,
    /// HANG: a write may wait for room in the queue for ever.
    HoldLimitForgotten,
    /// HANG: nobody tells the dispatch thread that a write may go.
    WakeForgotten,
    /// BOUND: queue memory is handed out that somebody has.
    MemoryHandedOutTwice,
}

impl Sabotage {
    /// Every breach.
    pub const ALL: [Self; 11] = [
        Self::HoldForgotten,
        Self::SpoiltReadUsed,
        Self::BaseCompleteTooEarly,
        Self::OverlapForgotten,
        Self::GapForgotten,
        Self::EpochForgotten,
        Self::ResyncUnderWrites,
        Self::FailureForgotten,
        Self::HoldLimitForgotten,
        Self::WakeForgotten,
        Self::MemoryHandedOutTwice,
    ];

    /// Commits this breach on this thread from now on; `None`: none.
    pub fn choose(breach: Option<Self>) {
        CHOSEN.set(breach);
    }

    pub(crate) fn is_chosen(self) -> bool {
        CHOSEN.get() == Some(self)
    }
}

std::thread_local! {
    static CHOSEN: Cell<Option<Sabotage>> = const { Cell::new(None) };
}
