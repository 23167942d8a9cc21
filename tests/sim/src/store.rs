//! The simulator of the store: the server's real code that stores, indexes, verifies and restores,
//! over a disk in memory that crashes, refuses calls and is damaged.
//!
//! [`exhaust`] plays every short sequence of operations with every crash and every refused call in
//! its last one; [`play`] plays a long sequence by a seed. A [`StoreFailure`] has the steps, and
//! what replays them.
//!
//! | file | what |
//! | --- | --- |
//! | `model` | the oracle: what was sent and acknowledged, and what the volume held |
//! | `site` | the repository, which may be compressed or encrypted |
//! | `world` | the server's processes, and what may happen |
//! | `broken` | a fold that breaks its rules |
//! | `check` | what must hold of a sound store |
//! | `damage` | what must hold of a damaged one |
//! | `histories` | every short sequence |
//! | `seeded` | long sequences by seed |

mod batch;
mod broken;
mod check;
mod damage;
mod histories;
mod model;
mod seeded;
mod site;
mod world;

use std::fmt;
use std::ops::AddAssign;

use clap::ValueEnum;

pub use batch::StoreBatch;
pub use histories::exhaust;
pub use seeded::play;

/// A store, or a server, that breaks a rule: the simulator must find it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum StoreSabotage {
    /// Syncs of files do nothing
    NoSync,
    /// Syncs of directories do nothing
    NoDirectorySync,
    /// Files are not cut back
    NoCut,
    /// An epoch is acknowledged before it is committed
    EarlyAcknowledgement,
    /// After a failed sync the same connection syncs again, and goes on
    SyncAgain,
    /// A fold removes the log before its history is durable
    EarlyCollection,
    /// A fold leaves the younger maps with the places of before
    ForgottenMap,
}

/// How many things were played and checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Sequences of operations.
    pub sequences: u64,
    /// Disks that a crash left, no two of them alike.
    pub crashes: u64,
    /// Calls that were refused.
    pub faults: u64,
    /// Disks that were damaged.
    pub damages: u64,
    /// Points that were restored and compared.
    pub points: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.sequences += other.sequences;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.damages += other.damages;
        self.points += other.points;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequences, crashes, faults, damages, points } = self;
        write!(
            f,
            "{sequences} sequences, {crashes} crashes, {faults} refused calls, {damages} damaged \
             files, {points} points restored"
        )
    }
}

/// A sequence that ended with something wrong.
#[derive(Clone, Debug)]
pub struct StoreFailure {
    /// What happened, in order.
    pub steps: Vec<String>,
    /// What is wrong.
    pub what: String,
    /// The options that play it again.
    pub replay: String,
}

impl fmt::Display for StoreFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        for step in &self.steps {
            writeln!(f, "  {step}")?;
        }
        write!(f, "replay: cargo run -p snapless-sim -- {}", self.replay)
    }
}

impl std::error::Error for StoreFailure {}

/// The options that play something of the store again.
fn replay(options: &str, sabotage: Option<StoreSabotage>) -> String {
    let sabotage = sabotage.and_then(|sabotage| sabotage.to_possible_value());
    match sabotage {
        None => format!("--store {options}"),
        Some(sabotage) => format!("--store {options} --store-sabotage {}", sabotage.get_name()),
    }
}
