//! What a check may try: the size of everything, and how often each event may happen.

use clap::Args;

/// Blocks of a volume at most.
pub const BLOCKS_MAX: usize = 3;

/// Sizes, which do not change while a check runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Args)]
pub struct Sizes {
    /// Blocks of the volume, 1 to 3
    #[arg(long, default_value_t = 2)]
    pub blocks: u8,
    /// Descriptors of the capture queue, one of them for the begin of a gap
    #[arg(long, default_value_t = 30)]
    pub queue: u8,
    /// Epochs, with the open one
    #[arg(long, default_value_t = 3)]
    pub epochs: u8,
    /// Frames of the resend window
    #[arg(long, default_value_t = 8)]
    pub window: u8,
    /// Frames that are on their way to the server
    #[arg(long, default_value_t = 2)]
    pub in_flight: u8,
    /// A session that driver and server do not agree about begins anew; without, it continues
    #[arg(long)]
    pub begins_anew: bool,
}

/// How often each event may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Args)]
pub struct Budget {
    /// Writes
    #[arg(long, default_value_t = 0)]
    pub writes: u8,
    /// Writes that must not wait
    #[arg(long, default_value_t = 0)]
    pub urgent: u8,
    /// Writes that the disk fails
    #[arg(long, default_value_t = 0)]
    pub failures: u8,
    /// Ends of a hold at its limit
    #[arg(long, default_value_t = 0)]
    pub hold_limits: u8,
    /// Epochs that end, besides those that end because nothing else happens
    #[arg(long, default_value_t = 0)]
    pub epoch_ends: u8,
    /// Breaks of the link
    #[arg(long, default_value_t = 0)]
    pub cuts: u8,
    /// Crashes of the service
    #[arg(long, default_value_t = 0)]
    pub service_crashes: u8,
    /// Claims that end because their records are of no use
    #[arg(long, default_value_t = 0)]
    pub losses: u8,
    /// Crashes of the server
    #[arg(long, default_value_t = 0)]
    pub server_crashes: u8,
    /// Copies of the repository, each of which replaces the one before
    #[arg(long, default_value_t = 0)]
    pub copies: u8,
    /// Exchanges of the repository for its copy
    #[arg(long, default_value_t = 0)]
    pub exchanges: u8,
    /// Reboots and power cuts of the machine
    #[arg(long, default_value_t = 0)]
    pub reboots: u8,
    /// Orderly shutdowns and starts of the machine
    #[arg(long, default_value_t = 0)]
    pub shutdowns: u8,
    /// Writes while the driver is not there
    #[arg(long, default_value_t = 0)]
    pub writes_behind: u8,
    /// Snapshots of the machine's disks, each of which replaces the one before
    #[arg(long, default_value_t = 0)]
    pub snapshots: u8,
    /// Returns of the machine to its snapshot
    #[arg(long, default_value_t = 0)]
    pub reverts: u8,
    /// Snapshots have the machine's memory too
    #[arg(long)]
    pub with_memory: bool,
}
