//! The disk: one number per sector, and writes that complete in any order on threads of their own.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex};

use snapless_engine::{MemorySpan, Ticket};
use snapless_types::Extent;

use crate::round::Write;
use crate::system::Random;

pub const SECTOR: u64 = 512;
pub const BLOCK_SHIFT: u32 = 14;
pub const BLOCK: u64 = 1 << BLOCK_SHIFT;
pub const BLOCKS: u64 = 64;

/// A write that is with the disk; without a ticket, no session knows of it.
pub struct Job {
    pub write: Write,
    pub ticket: Option<Ticket>,
    /// Where its content is in the queue's memory, if it was captured.
    pub payload: Option<MemorySpan>,
}

#[derive(Default)]
struct Queue {
    jobs: Vec<Job>,
    ended: bool,
}

pub struct Disk {
    /// Relaxed: uncaptured writes may overlap each other and reads.
    sectors: Vec<AtomicU64>,
    queue: Mutex<Queue>,
    arrived: Condvar,
}

/// The sectors of an extent.
pub fn sectors(extent: Extent) -> core::ops::Range<usize> {
    let index = |offset: u64| usize::try_from(offset / SECTOR).unwrap();
    index(extent.offset())..index(extent.offset() + extent.len())
}

impl Disk {
    pub fn new() -> Self {
        Self {
            sectors: (0..BLOCKS * BLOCK / SECTOR).map(AtomicU64::new).collect(),
            queue: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    pub fn read(&self, sector: usize) -> u64 {
        self.sectors[sector].load(Ordering::Relaxed)
    }

    pub fn content(&self) -> Vec<u64> {
        (0..self.sectors.len()).map(|sector| self.read(sector)).collect()
    }

    /// Puts a write's content there, from the queue's memory if it was captured; half of it, if it
    /// fails.
    pub fn apply(&self, write: &Write, captured: Option<&[u64]>) {
        let range = sectors(write.extent);
        let applied = if write.fails { range.len() / 2 } else { range.len() };
        for (at, sector) in range.take(applied).enumerate() {
            let content = captured.map_or_else(|| write.content(sector), |captured| captured[at]);
            self.sectors[sector].store(content, Ordering::Relaxed);
        }
    }

    pub fn issue(&self, job: Job) {
        self.queue.lock().unwrap().jobs.push(job);
        self.arrived.notify_one();
    }

    /// Any of the writes that are waiting; none once the disk is gone.
    pub fn next(&self, random: &mut Random) -> Option<Job> {
        let queue = self.queue.lock().unwrap();
        let idle = |queue: &mut Queue| queue.jobs.is_empty() && !queue.ended;
        let mut queue = self.arrived.wait_while(queue, idle).unwrap();
        let count = queue.jobs.len();
        (count > 0).then(|| {
            let index = usize::try_from(random.next()).unwrap() % count;
            queue.jobs.swap_remove(index)
        })
    }

    /// Ends the disk's threads once every write is done.
    pub fn end(&self) {
        self.queue.lock().unwrap().ended = true;
        self.arrived.notify_all();
    }
}
