//! Limits and sink of a session, as the control channel takes them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use snapless_engine::{Config, Tick};
use snapless_types::{Geometry, Overflow};

use crate::disk::Disk;
use crate::error::{Error, Result};

/// Limits and sink of a session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionSpec {
    /// Where records go.
    pub sink: SinkSpec,
    /// Size of the capture queue in MiB.
    #[serde(default = "default_queue_mib")]
    pub queue_mib: u32,
    /// Base-two logarithm of the block size.
    #[serde(default = "default_block_shift")]
    pub block_shift: u32,
    /// Longest sweep read in KiB; 0: the engine's default.
    #[serde(default)]
    pub read_kib: u64,
    /// Most KiB that the sweep reads per second; 0: no limit.
    #[serde(default)]
    pub sweep_kib_per_second: u64,
    /// Most sweep reads at once; 0: the engine's default.
    #[serde(default)]
    pub depth: usize,
    /// Hold limit in ms; 0: the engine's default.
    #[serde(default)]
    pub hold_limit_ms: u64,
    /// At the hold limit writes go on waiting; no gap opens.
    #[serde(default)]
    pub overflow_hold: bool,
    /// The sweep skips the holes of the file.
    #[serde(default)]
    pub skip_holes: bool,
    /// The volume has a write-intent log.
    #[serde(default)]
    pub log: Option<LogSpec>,
}

/// A volume's write-intent log.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSpec {
    /// The file of its slots, which is made.
    pub area: PathBuf,
    /// Length of a region in KiB; 0: the driver's own.
    #[serde(default)]
    pub region_kib: u32,
}

fn default_queue_mib() -> u32 {
    64
}

fn default_block_shift() -> u32 {
    16
}

impl SessionSpec {
    /// The default limits.
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
            log: None,
        }
    }

    /// The geometry of a session on `disk`.
    pub fn geometry(&self, disk: &Disk) -> Result<Geometry> {
        // A shift that is too large gives 0, which is no block size.
        let block_size = 1_u32.checked_shl(self.block_shift).unwrap_or(0);
        Geometry::new(disk.length(), disk.sector(), block_size).map_err(Error::Geometry)
    }

    /// The engine's configuration.
    pub fn config(&self) -> Config {
        let mut config = Config::new(u64::from(self.queue_mib) << 20);
        if self.read_kib > 0 {
            config.read_bytes = self.read_kib.saturating_mul(1024);
        }
        config.sweep.bytes_per_second = self.sweep_kib_per_second.saturating_mul(1024);
        if self.hold_limit_ms > 0 {
            config.hold_limit = self.hold_limit_ms.saturating_mul(Tick::PER_MS);
        }
        if self.overflow_hold {
            config.overflow = Overflow::Hold;
        }
        config
    }
}

/// The sink of a session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum SinkSpec {
    /// Discards all records at once.
    Null {
        /// Keep a checksum per sector, to compare the stream with the file.
        digest: bool,
    },
    /// Discards records behind a slow link.
    Throttled {
        /// Rate of the link.
        bytes_per_second: u64,
        /// Delay of an acknowledgement.
        latency_ms: u64,
        /// Keep a checksum per sector.
        digest: bool,
    },
    /// Writes images of the volume to files.
    Image {
        /// The latest state.
        latest: PathBuf,
        /// The state at t0.
        t0: Option<PathBuf>,
    },
    /// Sends to a `snapless-server`.
    Server {
        /// `host:port`.
        address: String,
        /// The volume's GUID there.
        volume: String,
        /// A token to enrol with: the link is over TLS then. Plain TCP without one.
        #[serde(default)]
        token: Option<String>,
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
