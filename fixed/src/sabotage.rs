//! Deliberate breaches of the rules, to show that the simulator finds them.
//!
//! Compiled with the feature `sabotage` only, which `cargo xtask sabotage` asks for. Each breach is
//! one place in the engine that upholds a rule, and does not while the breach is chosen.

use std::cell::Cell;

/// A breach.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// T0: a write does not wait for the old content of its blocks.
    HoldForgotten,
    /// T0: blocks that were read while an uncaptured write was issued are used all the same.
    SpoiltReadUsed,
    /// T0: the base image is complete while blocks of it are still being read.
    BaseCompleteTooEarly,
    /// T0: excluded extents count although it is open whether they are still the files'.
    ExclusionUnconfirmed,
    /// T0: what was changed since the file system was asked counts as unused all the same.
    NotesForgotten,
    /// ORDER: a write does not wait for another that it overlaps.
    OverlapForgotten,
    /// ORDER: a write that arrives in a cut does not wait for its end.
    CutForgotten,
    /// LOSS: an uncaptured write leaves its blocks as they are.
    GapForgotten,
    /// LOSS: a gap ends although the volume's length is not that of the session.
    LengthForgotten,
    /// LOSS: an epoch does not note the blocks of its records.
    EpochForgotten,
    /// LOSS: dirty blocks are read under a write in flight.
    ResyncUnderWrites,
    /// LOSS: the copy is verified by reads under writes in flight.
    CheckUnderWrites,
    /// TRUTH: a write that failed counts as successful.
    FailureForgotten,
    /// HANG: a write may wait for room in the queue for ever.
    HoldLimitForgotten,
    /// HANG: the dispatch thread is not woken for a write that may be issued.
    WakeForgotten,
    /// HANG: a write that waits for a slot is not held when one is free.
    WaiterForgotten,
    /// T0: a read that fails for a reason that may pass counts as a bad sector.
    EachFailureABadSector,
    /// BOUND: queue memory is handed out that another holder has.
    MemoryHandedOutTwice,
    /// LOSS: the memory that the disk transfers a write from is free once its record has left.
    TransferForgotten,
    /// RESUME: an acknowledgement frees every record that was drained.
    KeptTooShort,
    /// RESUME: the sweep takes the memory of records that are not acknowledged.
    SweepTakesKept,
    /// RESUME: records that were given up count as kept.
    GivenUpForgotten,
    /// RESUME: a block of a session that continues is not compared.
    BlockNotCompared,
    /// RESUME: a saved state does not have the blocks of records that are not acknowledged.
    UnacknowledgedNotSaved,
    /// RESUME: a saved state does not have the regions of writes that come without a session.
    WriteNotNoted,
    /// RESUME: a write goes to a region before the log on the disk has it.
    LogNotAwaited,
    /// RESUME: a region loses its mark although the server may lack something of it.
    MarkTakenTooEarly,
    /// RESUME: marks are taken off before what they are about is durable on the disk.
    ClearedUnflushed,
    /// RESUME: the log counts whatever the volume's stamp is.
    StampNotCompared,
    /// RESUME: a volume counts as unchanged whatever its stamp is after the machine has slept.
    SleepNotNoticed,
    /// RESUME: the slot that counts is overwritten.
    NewestSlotOverwritten,
    /// RESUME: a state counts whatever record ends the server's stream.
    EndsNotCompared,
    /// RESUME: the end of an epoch leaves before the log on the disk lists it.
    EndBeforeSlot,
    /// RESUME: the records of a session that continues have numbers that the server has already.
    NumberedTooEarly,
    /// RESUME: the records of a session that continues have numbers of a past that was left, and it
    /// is not compared when they were made.
    NumbersRepeated,
}

impl Sabotage {
    /// Every breach.
    pub const ALL: [Self; 35] = [
        Self::HoldForgotten,
        Self::SpoiltReadUsed,
        Self::BaseCompleteTooEarly,
        Self::ExclusionUnconfirmed,
        Self::NotesForgotten,
        Self::OverlapForgotten,
        Self::CutForgotten,
        Self::GapForgotten,
        Self::LengthForgotten,
        Self::EpochForgotten,
        Self::ResyncUnderWrites,
        Self::CheckUnderWrites,
        Self::FailureForgotten,
        Self::HoldLimitForgotten,
        Self::WakeForgotten,
        Self::WaiterForgotten,
        Self::EachFailureABadSector,
        Self::MemoryHandedOutTwice,
        Self::TransferForgotten,
        Self::KeptTooShort,
        Self::SweepTakesKept,
        Self::GivenUpForgotten,
        Self::BlockNotCompared,
        Self::UnacknowledgedNotSaved,
        Self::WriteNotNoted,
        Self::LogNotAwaited,
        Self::MarkTakenTooEarly,
        Self::ClearedUnflushed,
        Self::StampNotCompared,
        Self::SleepNotNoticed,
        Self::NewestSlotOverwritten,
        Self::EndsNotCompared,
        Self::EndBeforeSlot,
        Self::NumberedTooEarly,
        Self::NumbersRepeated,
    ];

    /// Commits this breach on this thread from now on; `None`: none.
    pub fn choose(breach: Option<Self>) {
        CHOSEN.set(breach);
    }

    /// True if this thread commits it.
    pub fn is_chosen(self) -> bool {
        CHOSEN.get() == Some(self)
    }
}

std::thread_local! {
    static CHOSEN: Cell<Option<Sabotage>> = const { Cell::new(None) };
}
