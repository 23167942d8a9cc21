//! Deliberate defects of single steps: a check that finds none of them checks nothing.

use clap::ValueEnum;

/// A defect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Sabotage {
    /// Driver: a record is free once it was drained
    FreesDrained,
    /// Driver: records that were given up count as kept
    ForgetsGivenUp,
    /// Driver: blocks of epochs that are lost stay synced
    ForgetsLostEpochs,
    /// Driver: a read is used although the block was written to meanwhile
    UsesSpoiltRead,
    /// Driver: a dirty block is read under a write in flight
    ReadsUnderWrite,
    /// Driver: a write that failed leaves its block synced
    ForgetsFailure,
    /// Driver: a write is captured although its block was not
    ForgetsHold,
    /// Continued session: its stream begins without a gap
    ContinuesWithoutGap,
    /// Continued session: one block is taken for synced
    DoesNotCompareABlock,
    /// State area: blocks whose records are not acknowledged are not marked
    SavesTooLittle,
    /// State area: a state counts again after it was used
    UsesStateTwice,
    /// State area: a state counts although another system wrote to the volume
    TrustsAnyStamp,
    /// State area: what is written before the session is not marked
    ForgetsWritesAtBoot,
    /// State area: a state counts whatever the server has
    TrustsAnyState,
    /// Continued session: its first record has a number that the server has
    NumbersTooEarly,
    /// Continued session: its records have numbers of a past that was left, and it is not compared
    /// when they were made
    RepeatsNumbers,
    /// Driver: a record that another past has made with a number of this one's counts as its own
    TakesAnyPast,
    /// Service: the window takes the server's last record for its own, whenever that was made
    JoinsAnyPast,
    /// Service: what the driver refuses to go on behind is asked of it again
    RepeatsRefused,
    /// Service: what the server has is not compared with what it acknowledged, or was handed out
    TrustsAnyWelcome,
    /// Service: a new link goes on where the last one stopped, not behind what is durable
    DoesNotSendAgain,
    /// Server: an epoch is acknowledged before it is durable
    AcknowledgesEarly,
    /// Server: a connection that was taken over goes on storing
    ForgetsTakeover,
    /// Server: a crash loses the last epoch that is durable
    LosesDurable,
}
