//! A session with its memory and its sink's progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use snapless_engine::Session;
use snapless_types::Geometry;

use crate::error::{Error, Result};
use crate::host::BenchHost;
use crate::memory::QueueMemory;
use crate::spec::SessionSpec;

/// A session with its memory and its sink's progress.
#[derive(Debug)]
pub struct Run {
    /// The engine.
    pub session: Session<BenchHost>,
    /// The capture queue's memory.
    pub queue: Arc<QueueMemory>,
    /// The sink's progress.
    pub progress: Progress,
    /// Bytes of memory of engine and queue.
    pub memory: u64,
}

impl Run {
    /// Allocates all memory of the session.
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

/// The progress of a sink, written by the thread that serves it.
#[derive(Debug, Default)]
pub struct Progress {
    seq: AtomicU64,
    failed: AtomicBool,
}

impl Progress {
    /// Notes that all records up to `seq` are processed.
    pub fn reach(&self, seq: u64) {
        // Release: a reader of the number sees what was done with the records.
        self.seq.fetch_max(seq, Ordering::Release);
    }

    /// The last processed record.
    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Acquire)
    }

    /// Notes that the sink has failed.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// True if the sink has failed.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}
