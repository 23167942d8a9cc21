//! The simulator of the store: the server's real code that stores, indexes, verifies and restores,
//! over a disk in memory that crashes, refuses calls and is damaged, or over a bucket of objects.
//!
//! [`exhaust`] plays every short sequence of operations with every crash and every refused call in
//! its last one; [`play`] plays a long sequence by a seed. A [`StoreFailure`] has the steps, and
//! what replays them.
//!
//! | file | what |
//! | --- | --- |
//! | `alike` | what tells worlds apart |
//! | `model` | the oracle: what was sent and acknowledged, and what the volume held |
//! | `site` | the repository, which may be compressed or encrypted |
//! | `world` | the server's processes, and what may happen |
//! | `breached` | a storage that is broken on purpose |
//! | `broken` | a fold that breaks its rules |
//! | `careless` | a server that is careless with its objects |
//! | `check` | what must hold of a sound store |
//! | `damage` | what must hold of a damaged one |
//! | `histories` | every short sequence |
//! | `untold` | a storage that hides where segments ended |
//! | `seeded` | long sequences by seed |

mod alike;
mod batch;
mod breached;
mod broken;
mod careless;
mod check;
mod damage;
mod histories;
mod model;
mod seeded;
mod site;
mod untold;
mod world;

use std::fmt;
use std::ops::AddAssign;

use clap::ValueEnum;

pub use batch::StoreBatch;
pub use histories::exhaust;
pub use seeded::play;
pub use site::Medium;

use site::Keeping;

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
    /// An object that is there already is taken for one's own, whoever created it
    AnyWinner,
    /// A takeover creates no segment
    NoFence,
    /// Segments are stored whatever is there
    Overwrite,
    /// A collection does not look for leases
    IgnoredLeases,
    /// A segment whose creation had no answer is taken for created
    TrustedLoss,
    /// A salvage does not say from which record on it is unsure
    UnlistedEnd,
    /// Of several files that may be the wrong one `verify` names one
    OneName,
    /// Nothing tells where a finished segment ended
    UntoldEnd,
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
    /// Operations during which another server took over.
    pub takeovers: u64,
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
        self.takeovers += other.takeovers;
        self.damages += other.damages;
        self.points += other.points;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sequences, crashes, faults, takeovers, damages, points } = self;
        write!(
            f,
            "{sequences} sequences, {crashes} crashes, {faults} refused calls, {takeovers} \
             takeovers, {damages} damaged files, {points} points restored"
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
fn replay(keeping: &Keeping, options: &str, sabotage: Option<StoreSabotage>) -> String {
    let objects = if keeping.is_in_objects() { " --objects" } else { "" };
    let sabotage = sabotage.and_then(|sabotage| sabotage.to_possible_value());
    let sabotage = sabotage.map(|it| format!(" --store-sabotage {}", it.get_name()));
    format!("--store{objects} {options}{}", sabotage.unwrap_or_default())
}
