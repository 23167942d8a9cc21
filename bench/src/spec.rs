//! What a session is started with, as the control channel takes it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use snapless_engine::{Config, Tick};
use snapless_types::{Geometry, Overflow};

use crate::disk::Disk;
use crate::error::{Error, Result};

/// What a session is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSpec {
    /// Where the queue drains to.
    pub sink: SinkSpec,
    /// MiB of queue memory.
    #[serde(default = "default_queue_mib")]
    pub queue_mib: u32,
    /// Base-two logarithm of the block size.
    #[serde(default = "default_block_shift")]
    pub block_shift: u32,
    /// The sweep's longest read, in KiB; the engine's own choice if 0.
    #[serde(default)]
    pub read_kib: u64,
    /// What the sweep reads in a second, in KiB, at most; as much as the disk gives if 0.
    #[serde(default)]
    pub sweep_kib_per_second: u64,
    /// Reads of the sweep under way at once, at most; the engine's own choice if 0.
    #[serde(default)]
    pub depth: usize,
    /// How long a write may wait for queue space, in ms; the engine's own choice if 0.
    #[serde(default)]
    pub hold_limit_ms: u64,
    /// Past that, writes go on waiting instead of going through uncaptured.
    #[serde(default)]
    pub overflow_hold: bool,
    /// The sweep does not read the file's holes.
    #[serde(default)]
    pub skip_holes: bool,
}

fn default_queue_mib() -> u32 {
    64
}

fn default_block_shift() -> u32 {
    16
}

impl SessionSpec {
    /// A session with the usual limits.
    pub fn new(sink: SinkSpec) -> Self {
        Self {
            sink,
            queue_mib: default_queue_mib(),
            block_shift: default_block_shift(),
            read_kib: 0,
            sweep_kib_per_second: 0,
            depth: 0,
            hold_limit_ms: 0,
            overflow_hold: false,
            skip_holes: false,
        }
    }

    /// How the volume is cut into blocks.
    pub fn geometry(&self, disk: &Disk) -> Result<Geometry> {
        // A shift that is too large gives 0, which is no block size.
        let block_size = 1_u32.checked_shl(self.block_shift).unwrap_or(0);
        Geometry::new(disk.length(), disk.sector(), block_size).map_err(Error::Geometry)
    }

    /// The limits, as the engine takes them.
    pub fn config(&self) -> Config {
        let mut config = Config::new(u64::from(self.queue_mib) << 20);
        if self.read_kib > 0 {
            config.read_bytes = self.read_kib.saturating_mul(1024);
        }
        config.sweep_bytes_per_second = self.sweep_kib_per_second.saturating_mul(1024);
        if self.hold_limit_ms > 0 {
            config.hold_limit = self.hold_limit_ms.saturating_mul(Tick::PER_MS);
        }
        if self.overflow_hold {
            config.overflow = Overflow::Hold;
        }
        config
    }
}

/// Which sink a session gets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SinkSpec {
    /// Takes everything at once and forgets it, but for checksums if `digest` is set.
    Null {
        /// Keep a checksum for each sector, so that the stream can be compared with the file.
        digest: bool,
    },
    /// The same behind a slow link.
    Throttled {
        /// What the link carries.
        bytes_per_second: u64,
        /// How long an acknowledgement takes.
        latency_ms: u64,
        /// Keep a checksum for each sector.
        digest: bool,
    },
    /// Images of the volume, as files.
    Image {
        /// The volume as it is.
        latest: PathBuf,
        /// The volume as it was at t0.
        t0: Option<PathBuf>,
    },
    /// A `snapless-server`.
    Server {
        /// `host:port`.
        address: String,
        /// The volume's name there, a GUID.
        volume: String,
    },
}

impl SinkSpec {
    /// True if the sink keeps checksums.
    pub fn has_digest(&self) -> bool {
        matches!(self, Self::Null { digest: true } | Self::Throttled { digest: true, .. })
    }

    /// True if the sink has a thread of its own.
    pub fn has_thread(&self) -> bool {
        matches!(self, Self::Image { .. } | Self::Server { .. })
    }
}
