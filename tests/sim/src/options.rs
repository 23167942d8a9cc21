//! What a run is given: the seed, its length, the faults to leave out and the sabotage to commit.
//!
//! The command line has the same options, so a run's `Display` is the command that replays it.

use std::fmt;

use clap::{Args, ValueEnum};

/// Something that a plan may let go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Fault {
    /// Writes fail below, before or after a part of them was applied
    WriteErrors,
    /// Reads fail below once, or for a while
    ReadErrors,
    /// Sectors that can never be read
    BadBlocks,
    /// The service dies and comes back
    Deaths,
    /// The service takes no records for a while
    Stalls,
    /// The link breaks, and the service makes another one
    Cuts,
    /// Acknowledgements are lost
    LostAcks,
    /// Writes that must not wait, or whose payload is unavailable
    Urgent,
    /// Writes longer than one record
    Long,
    /// Applications change a write's buffer while the write is under way
    BufferChanges,
    /// Writes past the end of the volume as the session knows it
    Beyond,
    /// A thread is preempted between reading the clock and taking the lock; the wall clock is set
    Clocks,
    /// Trims and writes of zeros
    Clearings,
    /// The volume's length changes
    Growth,
    /// The sweep is paused for a while
    Pauses,
    /// The session is stopped under load
    Stop,
    /// Applications cancel held writes
    Cancels,
    /// The machine loses power under load: only what is durable at the server is left
    PowerCut,
    /// More writes are outstanding than the session has slots
    ManyWrites,
    /// A thread is preempted between two verbs, for up to seconds
    Preemption,
    /// The volume has a paging file, which grows and shrinks
    Paging,
    /// The server's power fails, also in the middle of what its disk does
    ServerCrashes,
    /// A sync of the server's disk fails
    SyncFails,
    /// The applications write nothing for a while, in runs of any kind
    Lulls,
}

/// A host that breaks its side of the contract, to show that the checks find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Sabotage {
    /// The session begins without waiting for the writes that were under way before it
    NoDrain,
    /// Overlapping writes are not kept apart: a write is reported complete when it is issued
    NoOverlap,
    /// A held write reaches the disk before its blocks are read
    NoHold,
    /// A failed write is reported as succeeded
    NoTruth,
    /// Epochs are acknowledged before they are durable
    NoEpochs,
    /// A failed read is reported as succeeded
    NoReadErrors,
    /// An urgent write never reaches the disk
    NoIssue,
    /// A captured write is transferred from the application's buffer
    NoCopy,
    /// Wake-ups of the dispatch thread are lost
    NoWakes,
    /// Blocks that hold data are reported to hold none
    NoData,
    /// Which blocks hold no data is asked for before the session begins
    EarlyHoles,
    /// The file system is asked at t0 which clusters are free, and not before
    LateClusters,
    /// Each write to an excluded extent is taken for the paging file's
    ExclusionOutlivesFile,
    /// Excluded extents are said to be the paging file's still, whether they are or not
    NoReview,
    /// After a cut the service goes on behind what it has sent, not behind what is durable
    NoResend,
    /// A watermark is sent for what the server has acknowledged, whatever the driver's queue holds
    NewerInQueue,
    /// A watermark has the time at which it is sent, not that at which the driver was asked
    LateWatermark,
    /// The service does not note which blocks the stream was about before it asks the server
    ForgetsWrites,
    /// The volume has a bit that the driver did not write when it is read to verify the copy
    FlippedBit,
    /// What was read to verify the copy is compared with what the stream gives at another instant
    OtherInstant,
    /// The server's disk does not sync files
    NoSync,
    /// The server's disk does not sync directories
    NoDirectorySync,
}

/// One run. Its `Display` is the command line that repeats it.
#[derive(Clone, PartialEq, Eq, Debug, Args)]
pub struct Options {
    /// The first seed; a seed decides everything that a run does
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Steps under load in each run
    #[arg(long, default_value_t = Options::STEPS)]
    pub steps: u64,
    /// At most so many writers
    #[arg(long)]
    pub writers: Option<usize>,
    /// Faults to leave out, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "FAULT")]
    pub without: Vec<Fault>,
    /// Break the host in this way: the run has to fail
    #[arg(long)]
    pub sabotage: Option<Sabotage>,
}

impl Options {
    /// Steps of a run by default.
    pub const STEPS: u64 = 3_000;

    /// The seed's plan as it is.
    pub fn new(seed: u64) -> Self {
        Self { seed, steps: Self::STEPS, writers: None, without: Vec::new(), sabotage: None }
    }

    /// The seed's plan without any fault.
    pub fn without_faults(seed: u64) -> Self {
        Self { without: Fault::value_variants().to_vec(), ..Self::new(seed) }
    }

    pub(crate) fn sabotages(&self, sabotage: Sabotage) -> bool {
        self.sabotage == Some(sabotage)
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--seed {} --steps {}", self.seed, self.steps)?;
        if let Some(writers) = self.writers {
            write!(f, " --writers {writers}")?;
        }
        if !self.without.is_empty() {
            let names: Vec<_> = self.without.iter().map(name).collect();
            write!(f, " --without {}", names.join(","))?;
        }
        match &self.sabotage {
            Some(sabotage) => write!(f, " --sabotage {}", name(sabotage)),
            None => Ok(()),
        }
    }
}

/// An option's value as the command line has it.
fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
