//! A session's limits, checked once, when the session is made.
//!
//! The limits and the geometry determine the memory of a session (rule BOUND, rules.md#bound):
//! `Session::memory_needed`.

use snapless_fixed::arena::GRANULE;
use snapless_fixed::memory::OutOfMemory;
use snapless_types::{Geometry, Overflow, Tick};

/// A session's limits.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Bytes of queue memory: the host provides them, the engine keeps account. At least
    /// [`Config::QUEUE_BLOCKS_MIN`] blocks.
    pub queue_bytes: u64,
    /// Writes that the session tracks, held and in flight together: 1 to [`Config::WRITES_MAX`].
    /// Further ones wait until one of these is done.
    pub writes_max: u32,
    /// How long a write may wait for queue space, in ticks, with [`Overflow::Gap`].
    pub hold_limit: u64,
    /// What to do past the hold limit.
    pub overflow: Overflow,
    /// Longest record of a write, in bytes: at least a sector, at most the writes' part of the
    /// queue. A longer write is captured in parts, as it would have to wait for most of the queue.
    pub write_bytes: u64,
    /// Longest read of the sweep and of the hold thread, in bytes; at least one block is read, and
    /// never more than the sweep's share of the queue.
    pub read_bytes: u64,
    /// How hard the sweep may read the disk at first: other limits may be set later.
    pub sweep: SweepLimits,
    /// Epochs that may be unacknowledged at a time, the open one included: 2 to
    /// [`Config::EPOCHS_MAX`].
    pub epochs: u64,
    /// Payload bytes after which an epoch closes; at least 1.
    pub epoch_bytes: u64,
    /// Bytes that the sweep has read after which an epoch closes; at least 1. The sweep waits for
    /// the memory of what is not acknowledged.
    pub epoch_swept_bytes: u64,
    /// Ticks after its first record at which an epoch closes; at least 1.
    pub epoch_age: u64,
    /// Longest bitmap of one epoch, in bytes; at least 1. On a volume with more blocks than that
    /// has bits, a bit stands for several neighbours, and a loss of the service turns them dirty
    /// together.
    pub epoch_bitmap_bytes: u64,
}

/// How hard the sweep may read the disk. Reads for held writes are never slowed down (rule HANG,
/// rules.md#hang).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SweepLimits {
    /// Most that it reads, in bytes per second on average; 0: as much as the disk gives.
    pub bytes_per_second: u64,
    /// How long its reads may take on average, in ticks; beyond that fewer of them are under way.
    /// 0: no limit.
    pub latency: u64,
}

/// Why a session cannot work within its limits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// The queue is too short for the sweep's reads and writes together.
    QueueBytes {
        /// Bytes that it has at least, by the volume's block size.
        least: u64,
    },
    /// Not 1 to [`Config::WRITES_MAX`] writes.
    Writes(u32),
    /// The longest record of a write, in bytes: shorter than a sector, or longer than the writes'
    /// part of the queue.
    WriteBytes(u64),
    /// Not 2 to [`Config::EPOCHS_MAX`] epochs.
    Epochs(u64),
    /// An epoch would close before it has a record: no bytes, or no time.
    EpochLimits,
    /// Epochs without a bitmap.
    EpochBitmap,
}

/// Why there is no session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartError {
    /// The session cannot work within its limits: an error of the caller.
    Config(ConfigError),
    /// The host has less memory than `Session::memory_needed`.
    OutOfMemory,
}

impl From<OutOfMemory> for StartError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl Config {
    /// Fewest blocks that a queue takes: two for the sweep, two for writes.
    pub const QUEUE_BLOCKS_MIN: u64 = 4;
    /// Most writes that a session tracks.
    pub const WRITES_MAX: u32 = 1 << 16;
    /// How long a write may wait for queue space with [`Overflow::Hold`], in ticks: file systems
    /// and clusters give up on a disk after about a minute (rule HANG, rules.md#hang).
    pub const OVERFLOW_HOLD_LIMIT: u64 = 50_000 * Tick::PER_MS;
    /// Reads that the sweep has under way, at most. A power of two.
    pub const SWEEP_READS: u64 = 8;
    /// Longest record of a write unless a session asks for longer ones: the disk transfers the
    /// write from the record's memory, and Windows has 32 KiB for the list of its pages.
    pub const WRITE_BYTES_MAX: u64 = (16 << 20) - (64 << 10);
    /// Most epochs.
    pub const EPOCHS_MAX: u64 = 64;

    /// Limits for a queue of `queue_bytes`.
    pub fn new(queue_bytes: u64) -> Self {
        Self {
            queue_bytes,
            writes_max: writes_for(queue_bytes),
            hold_limit: 200 * Tick::PER_MS,
            overflow: Overflow::Gap,
            write_bytes: (queue_bytes / 4).min(Self::WRITE_BYTES_MAX),
            read_bytes: 1 << 20,
            sweep: SweepLimits { bytes_per_second: 0, latency: 20 * Tick::PER_MS },
            epochs: 3,
            epoch_bytes: 64 << 20,
            epoch_swept_bytes: (sweep_share(queue_bytes) / EPOCHS_IN_SWEEP_SHARE).max(1),
            epoch_age: 1_000 * Tick::PER_MS,
            epoch_bitmap_bytes: 8 << 20,
        }
    }

    /// Rejects limits within which a session cannot work.
    pub fn check(&self, geometry: &Geometry) -> Result<(), ConfigError> {
        let least = Self::QUEUE_BLOCKS_MIN * u64::from(geometry.block_size());
        let write_bytes = u64::from(geometry.sector_size())..=self.for_writes();
        let limits = [
            (self.queue_bytes >= least, ConfigError::QueueBytes { least }),
            (
                (1..=Self::WRITES_MAX).contains(&self.writes_max),
                ConfigError::Writes(self.writes_max),
            ),
            (write_bytes.contains(&self.write_bytes), ConfigError::WriteBytes(self.write_bytes)),
            ((2..=Self::EPOCHS_MAX).contains(&self.epochs), ConfigError::Epochs(self.epochs)),
            (
                self.epoch_bytes > 0 && self.epoch_swept_bytes > 0 && self.epoch_age > 0,
                ConfigError::EpochLimits,
            ),
            (self.epoch_bitmap_bytes > 0, ConfigError::EpochBitmap),
        ];
        limits.into_iter().find(|&(is_kept, _)| !is_kept).map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Urgent writes that are tracked besides, when as many others are as may be: they do not wait.
    pub fn urgent_writes(&self) -> u32 {
        self.writes_max / 16
    }

    /// How long a write may wait for queue space, in ticks, whatever is chosen for an overflow.
    pub fn longest_wait(&self) -> u64 {
        match self.overflow {
            Overflow::Gap => self.hold_limit,
            Overflow::Hold => Self::OVERFLOW_HOLD_LIMIT,
        }
    }

    /// The sweep's bytes of the queue, in whole blocks of the smallest size; the rest is for
    /// writes.
    pub fn sweep_share(&self) -> u64 {
        sweep_share(self.queue_bytes)
    }

    /// Bytes of the queue that the sweep does not use: whole granules of memory.
    fn for_writes(&self) -> u64 {
        let rest = self.queue_bytes.saturating_sub(self.sweep_share());
        rest - rest % GRANULE
    }

    /// Reads for held writes that are under way, at most: as many blocks as the queue takes, and
    /// not more than a fast disk takes at once.
    pub fn hold_reads(&self, geometry: &Geometry) -> u64 {
        (self.for_writes() / u64::from(geometry.block_size())).clamp(1, HOLD_READS_MAX)
    }

    /// Bytes of the longest read.
    pub fn longest_read(&self, geometry: &Geometry) -> u64 {
        self.read_length().max(u64::from(geometry.block_size()))
    }

    /// Bytes that are read at a time, unless one block is longer.
    pub fn read_length(&self) -> u64 {
        self.read_bytes.min(self.sweep_share())
    }

    /// Bytes that are read at a time to verify the copy, unless one block is longer: so many that
    /// two such records have room beside a spare quarter of the sweep's share.
    pub fn check_length(&self) -> u64 {
        self.read_bytes.min(self.sweep_share() / 4)
    }

    /// Reads of sweep and hold, and to verify the copy, that are under way, at most.
    pub fn reads(&self, geometry: &Geometry) -> u64 {
        Self::SWEEP_READS + self.hold_reads(geometry) + 1
    }

    /// Descriptors for the queue's records: one for each `BYTES_PER_RECORD` of its memory, but
    /// not fewer than all writes and reads can need at once.
    pub fn records(&self, geometry: &Geometry) -> u64 {
        let writes = self.writes_max + self.urgent_writes();
        let under_way = u64::from(writes) + self.reads(geometry);
        (self.queue_bytes / BYTES_PER_RECORD).max(under_way + 16)
    }
}

impl SweepLimits {
    /// Ticks between a read of `bytes` and the next one.
    pub fn ticks(&self, bytes: u64) -> u64 {
        let ticks = u128::from(bytes) * u128::from(TICKS_PER_SECOND);
        let ticks = ticks.checked_div(u128::from(self.bytes_per_second)).unwrap_or(0);
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Bytes that are read in so many ticks, at most; 0 without a limit of the rate.
    pub fn bytes(&self, ticks: u64) -> u64 {
        let bytes = u128::from(ticks) * u128::from(self.bytes_per_second);
        u64::try_from(bytes / u128::from(TICKS_PER_SECOND)).unwrap_or(u64::MAX)
    }
}

fn sweep_share(queue_bytes: u64) -> u64 {
    let share = (queue_bytes / 4).max(SWEEP_SHARE_MIN).min(queue_bytes / 2);
    share - share % u64::from(Geometry::BLOCK_SIZE_MIN)
}

/// Writes that a session with such a queue tracks: what one [`BYTES_PER_WRITE`] long would fill the
/// queue with, but enough for a busy application on the shortest one.
fn writes_for(queue_bytes: u64) -> u32 {
    let writes = u32::try_from(queue_bytes / BYTES_PER_WRITE).unwrap_or(Config::WRITES_MAX);
    writes.clamp(WRITES_MIN, Config::WRITES_MAX)
}

/// Ticks of a second.
const TICKS_PER_SECOND: u64 = 1_000 * Tick::PER_MS;

/// Bytes of the queue for each tracked write. A write takes about 250 bytes, so all of them take a
/// thirtieth of the queue.
const BYTES_PER_WRITE: u64 = 8192;
/// Writes that the shortest queue's session tracks.
const WRITES_MIN: u32 = 1024;

/// The most frequent length of a write, in bytes: a queue full of such writes has about as few
/// descriptors left as bytes.
const BYTES_PER_RECORD: u64 = 4096;

/// Bytes of the queue that are the sweep's at least, if half of the queue is as much: for all its
/// reads that may be under way, of 1 MiB each, and as much again that is being drained or waits to
/// be acknowledged. A longer queue has a quarter: a first sync is no faster than the share divided
/// by the time that an acknowledgement takes.
const SWEEP_SHARE_MIN: u64 = (2 * Config::SWEEP_READS) << 20;
/// Epochs in which the sweep fills its share: the first is acknowledged while it reads the others.
const EPOCHS_IN_SWEEP_SHARE: u64 = 4;

/// Words, or records, that are examined under the lock at a time where a verb leaves work for later
/// (rule HANG, rules.md#hang). Builds that assert have small pieces, so that a small volume takes
/// several.
pub const CHUNK: u64 = if cfg!(debug_assertions) { 8 } else { 128 };

/// Quarters of the queue in use, of the writes' memory and of the descriptors, at which capturing
/// resumes.
pub const LOW_MARK: u64 = 1;
/// Quarters in use at which a full queue counts as full no more.
pub const HIGH_MARK: u64 = 3;

/// Most reads for held writes that are under way.
const HOLD_READS_MAX: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: u64 = 16 << 10;

    type Change = fn(&mut Config);

    fn check(change: impl FnOnce(&mut Config)) -> Result<(), ConfigError> {
        let mut config = Config::new(4 * BLOCK);
        change(&mut config);
        config.check(&Geometry::new(1 << 20, 512, 16 << 10).unwrap())
    }

    #[test]
    fn impossible_limits_are_rejected_and_possible_ones_are_not() {
        assert_eq!(check(|_| ()), Ok(()));
        assert_eq!(check(|it| it.write_bytes = 512), Ok(()));
        assert_eq!(check(|it| it.write_bytes = 2 * BLOCK), Ok(()));
        assert_eq!(check(|it| (it.writes_max, it.epochs) = (1, 2)), Ok(()));
        assert_eq!(check(|it| (it.writes_max, it.epochs) = (1 << 16, 64)), Ok(()));
        assert_eq!(check(|it| (it.read_bytes, it.hold_limit) = (0, 0)), Ok(()));
        let least = 4 * BLOCK;
        let cases: [(Change, ConfigError); 12] = [
            (|it| it.queue_bytes -= 1, ConfigError::QueueBytes { least }),
            (|it| it.writes_max = 0, ConfigError::Writes(0)),
            (|it| it.writes_max = (1 << 16) + 1, ConfigError::Writes((1 << 16) + 1)),
            (|it| it.write_bytes = 0, ConfigError::WriteBytes(0)),
            (|it| it.write_bytes = 511, ConfigError::WriteBytes(511)),
            (|it| it.write_bytes = 2 * BLOCK + 1, ConfigError::WriteBytes(2 * BLOCK + 1)),
            (|it| it.epochs = 1, ConfigError::Epochs(1)),
            (|it| it.epochs = 65, ConfigError::Epochs(65)),
            (|it| it.epoch_bytes = 0, ConfigError::EpochLimits),
            (|it| it.epoch_swept_bytes = 0, ConfigError::EpochLimits),
            (|it| it.epoch_age = 0, ConfigError::EpochLimits),
            (|it| it.epoch_bitmap_bytes = 0, ConfigError::EpochBitmap),
        ];
        for (change, error) in cases {
            assert_eq!(check(change), Err(error));
        }
    }

    #[test]
    fn the_sweep_gets_half_of_a_short_queue_and_a_quarter_of_a_long_one() {
        let mut config = Config::new(64 << 20);
        assert_eq!(config.sweep_share(), 16 << 20);
        assert_eq!(config.read_length(), 1 << 20);
        config.read_bytes = 64 << 20;
        assert_eq!(config.read_length(), 16 << 20);
        assert_eq!(config.epoch_swept_bytes, 4 << 20);
        assert_eq!(Config::new(256 << 20).sweep_share(), 64 << 20);
        assert_eq!(Config::new(4 * BLOCK).sweep_share(), 2 * BLOCK);
        assert_eq!(Config::new(6 * BLOCK - 1).sweep_share(), 2 * BLOCK, "whole blocks");
    }

    #[test]
    fn as_many_blocks_are_read_for_held_writes_as_the_queue_takes_but_not_too_many() {
        let geometry = Geometry::new(1 << 20, 512, 16 << 10).unwrap();
        assert_eq!(Config::new(4 * BLOCK).hold_reads(&geometry), 2);
        assert_eq!(Config::new(64 << 20).hold_reads(&geometry), 256);
        let mut config = Config::new(4 * BLOCK);
        assert_eq!(config.longest_read(&geometry), 2 * BLOCK, "the sweep's share");
        config.read_bytes = 0;
        assert_eq!(config.longest_read(&geometry), BLOCK);
    }

    #[test]
    fn a_cap_spaces_reads_and_no_cap_does_not() {
        let at = |bytes_per_second| SweepLimits { bytes_per_second, latency: 0 };
        assert_eq!((at(0).ticks(1 << 30), at(0).bytes(u64::MAX)), (0, 0));
        assert_eq!(at(1 << 20).ticks(1 << 19), 500 * Tick::PER_MS);
        assert_eq!(at(1 << 20).bytes(500 * Tick::PER_MS), 1 << 19);
        assert_eq!(at(1).ticks(u64::MAX), u64::MAX);
        assert_eq!(at(u64::MAX).bytes(u64::MAX), u64::MAX);
    }

    #[test]
    fn there_are_descriptors_for_small_writes_and_for_everything_under_way() {
        let geometry = Geometry::new(1 << 20, 512, 16 << 10).unwrap();
        assert_eq!(Config::new(64 << 20).records(&geometry), 16_384);
        assert_eq!(Config::new(64 << 10).records(&geometry), 1024 + 64 + 8 + 2 + 1 + 16);
    }

    #[test]
    fn a_queue_of_64_mib_tracks_8192_writes_and_no_queue_more_than_65536() {
        assert_eq!(Config::new(64 << 20).writes_max, 8192);
        assert_eq!(Config::new(64 << 10).writes_max, 1024);
        assert_eq!(Config::new(1 << 40).writes_max, 1 << 16);
    }
}
