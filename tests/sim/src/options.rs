//! What a run is told: the seed, how long, and what of the seed's plan to leave out or to sabotage.

use std::fmt;
use std::str::FromStr;

/// Something that a plan may let go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Writes fail below, before or after they were applied in part.
    WriteErrors,
    /// Reads fail below once.
    ReadErrors,
    /// Blocks that can never be read.
    BadBlocks,
    /// The service dies and comes back.
    Deaths,
    /// The service stops taking records for a while.
    Stalls,
    /// Acknowledgements get lost.
    LostAcks,
    /// Writes that must not wait, or whose payload cannot be read.
    Urgent,
    /// Writes longer than the session captures.
    Long,
    /// Writes past the end of the volume as the session knows it.
    Beyond,
    /// A thread stands still between reading the clock and taking the lock; the wall clock is set back.
    Clocks,
    /// Trims and writes of zeros.
    Clearings,
    /// The volume outgrows its session.
    Growth,
    /// The sweep is paused for a while.
    Pauses,
    /// The session is stopped under load.
    Stop,
    /// Applications cancel writes that are held.
    Cancels,
    /// The machine loses power under load: what the server has made durable is all that there is.
    PowerCut,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 16] = [
        Self::WriteErrors,
        Self::ReadErrors,
        Self::BadBlocks,
        Self::Deaths,
        Self::Stalls,
        Self::LostAcks,
        Self::Urgent,
        Self::Long,
        Self::Beyond,
        Self::Clocks,
        Self::Clearings,
        Self::Growth,
        Self::Pauses,
        Self::Stop,
        Self::Cancels,
        Self::PowerCut,
    ];
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WriteErrors => "write-errors",
            Self::ReadErrors => "read-errors",
            Self::BadBlocks => "bad-blocks",
            Self::Deaths => "deaths",
            Self::Stalls => "stalls",
            Self::LostAcks => "lost-acks",
            Self::Urgent => "urgent",
            Self::Long => "long",
            Self::Beyond => "beyond",
            Self::Clocks => "clocks",
            Self::Clearings => "clearings",
            Self::Growth => "growth",
            Self::Pauses => "pauses",
            Self::Stop => "stop",
            Self::Cancels => "cancels",
            Self::PowerCut => "power-cut",
        })
    }
}

/// A host that breaks its side of the contract, to show that the checks find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sabotage {
    /// The session begins without waiting for the writes that were under way before it.
    NoDrain,
    /// Overlapping writes are not kept apart: a write is reported complete as soon as it is issued.
    NoOverlap,
    /// A held write reaches the disk before its blocks were read.
    NoHold,
    /// A failed write is reported as succeeded.
    NoTruth,
    /// Epochs are acknowledged before they are durable, so that a lost service loses nothing it knows of.
    NoEpochs,
    /// A read that failed is reported as succeeded.
    NoReadErrors,
    /// A write that must not wait, and was let through, never reaches the disk.
    NoIssue,
    /// Wake-ups of the dispatch thread get lost.
    NoWakes,
    /// Blocks that hold data are said to hold none.
    NoData,
}

impl Sabotage {
    /// Every sabotage.
    pub const ALL: [Self; 9] = [
        Self::NoDrain,
        Self::NoOverlap,
        Self::NoHold,
        Self::NoTruth,
        Self::NoEpochs,
        Self::NoReadErrors,
        Self::NoIssue,
        Self::NoWakes,
        Self::NoData,
    ];
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoDrain => "no-drain",
            Self::NoOverlap => "no-overlap",
            Self::NoHold => "no-hold",
            Self::NoTruth => "no-truth",
            Self::NoEpochs => "no-epochs",
            Self::NoReadErrors => "no-read-errors",
            Self::NoIssue => "no-issue",
            Self::NoWakes => "no-wakes",
            Self::NoData => "no-data",
        })
    }
}

/// A name that is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownName(pub String);

impl fmt::Display for UnknownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" is no fault and no sabotage; known faults:", self.0)?;
        for fault in Fault::ALL {
            write!(f, " {fault}")?;
        }
        f.write_str("; known sabotages:")?;
        for sabotage in Sabotage::ALL {
            write!(f, " {sabotage}")?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownName {}

impl FromStr for Fault {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name(&Self::ALL, name)
    }
}

impl FromStr for Sabotage {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        by_name(&Self::ALL, name)
    }
}

fn by_name<T: Copy + fmt::Display>(all: &[T], name: &str) -> Result<T, UnknownName> {
    let known = all.iter().find(|known| known.to_string() == name);
    known.copied().ok_or_else(|| UnknownName(name.to_string()))
}

/// One run. Its `Display` is the command line that repeats it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where all chance comes from.
    pub seed: u64,
    /// Steps under load, in all rounds together.
    pub steps: u64,
    /// Writers, if fewer than the seed's plan has.
    pub writers: Option<usize>,
    /// Faults that are left out of the seed's plan.
    pub without: Vec<Fault>,
    /// What is sabotaged.
    pub sabotage: Option<Sabotage>,
}

impl Options {
    /// Steps of a run unless told otherwise.
    pub const STEPS: u64 = 3_000;

    /// The seed's plan as it is.
    pub fn new(seed: u64) -> Self {
        Self { seed, steps: Self::STEPS, writers: None, without: Vec::new(), sabotage: None }
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
            let names: Vec<_> = self.without.iter().map(Fault::to_string).collect();
            write!(f, " --without {}", names.join(","))?;
        }
        match self.sabotage {
            Some(sabotage) => write!(f, " --sabotage {sabotage}"),
            None => Ok(()),
        }
    }
}
