//! A session with its memory, and how far its sink is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use snapless_engine::Session;
use snapless_types::Geometry;

use crate::error::{Error, Result};
use crate::host::BenchHost;
use crate::memory::QueueMemory;
use crate::spec::SessionSpec;

/// A session with its memory.
#[derive(Debug)]
pub struct Run {
    /// The engine.
    pub session: Session<BenchHost>,
    /// The queue's memory.
    pub queue: Arc<QueueMemory>,
    /// How far the sink is.
    pub progress: Progress,
    /// Bytes that the engine and the queue take.
    pub memory: u64,
}

impl Run {
    /// Allocates everything that the session needs.
    pub fn new(host: BenchHost, geometry: Geometry, spec: &SessionSpec) -> Result<Self> {
        let config = spec.config();
        config.check(&geometry).map_err(Error::Config)?;
        let memory = Session::<BenchHost>::memory_needed(&geometry, &config) + config.queue_bytes;
        let bytes = usize::try_from(config.queue_bytes).map_err(|_| Error::Session)?;
        let queue = QueueMemory::new(bytes)?;
        let session = Session::new(host, geometry, config)?;
        Ok(Self { session, queue, progress: Progress::default(), memory })
    }
}

/// How far a sink is; written by whoever serves it.
#[derive(Debug, Default)]
pub struct Progress {
    seq: AtomicU64,
    failed: AtomicBool,
}

impl Progress {
    /// Notes that all records up to this one are done with.
    pub fn reach(&self, seq: u64) {
        // Release: who sees the number sees what was done with the records.
        self.seq.fetch_max(seq, Ordering::Release);
    }

    /// The last record that is done with.
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Notes that nothing more is taken.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// True if nothing more is taken.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}
