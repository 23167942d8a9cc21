//! The requests that the volume has taken and not completed, and the threads that work on them.
//!
//! The rule: the volume is an adversary that stays within what a disk may do. A random request of
//! those in flight goes next, after a random delay, and completes after another; completion is at
//! DISPATCH_LEVEL. What has been completed is in the image.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering};

use nt::{
    irp::Irp,
    monitor::Monitor,
    status::{Failure, Result, code},
    thread::Thread,
    time::sleep_us,
};
use wdk_sys::{
    IRP_MJ_DEVICE_CONTROL, IRP_MJ_FLUSH_BUFFERS, IRP_MJ_READ, IRP_MJ_WRITE, NTSTATUS,
    STATUS_INSUFFICIENT_RESOURCES, STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS,
};

use crate::{
    config::{Config, SECTOR},
    dataset,
    failing_reads::{FailingReads, ReadFailure},
    framework,
    journal::Store,
    payload,
    switches::Switches,
    top_write::TopWrites,
};

/// The share of the writes whose image is changed in two steps.
const TORN_PERCENT: u32 = 20;

/// What a failed read leaves in its memory.
const RUBBISH: u8 = 0xDB;

/// The volume's work.
pub(crate) struct Scheduler {
    pub(crate) store: Store,
    pub(crate) switches: Switches,
    pub(crate) top: TopWrites,
    pub(crate) reads: FailingReads,
    timing: Timing,
    state: Monitor<State>,
    writes_in_flight: AtomicU64,
    handles: AtomicU64,
}

#[derive(Clone, Copy)]
struct Timing {
    slow_percent: u32,
    slow_ms: u32,
    jitter_us: u32,
}

struct State {
    waiting: Vec<Irp>,
    random: fastrand::Rng,
    paused: bool,
    gone: bool,
    stopping: bool,
}

/// The threads; they end when this is stopped.
#[must_use = "the workers must be stopped before the driver goes"]
pub(crate) struct Workers {
    scheduler: Arc<Scheduler>,
    threads: Vec<Thread>,
}

/// The random choices for a request.
struct Chance {
    before_us: u32,
    after_us: u32,
    /// Where a write is torn, in 1/256 of it; 0 for a write in one step.
    torn_at: u32,
    /// Whether and how a read fails.
    failure: u32,
}

impl Scheduler {
    /// A scheduler over opened files.
    pub(crate) fn new(config: &Config, store: Store) -> Self {
        let Config { slow_percent, slow_ms, jitter_us, seed, .. } = *config;
        Self {
            store,
            switches: Switches::default(),
            top: TopWrites::new(),
            reads: FailingReads::new(),
            timing: Timing { slow_percent, slow_ms, jitter_us },
            state: Monitor::new(State {
                waiting: Vec::new(),
                random: fastrand::Rng::with_seed(seed.into()),
                paused: false,
                gone: false,
                stopping: false,
            }),
            writes_in_flight: AtomicU64::new(0),
            handles: AtomicU64::new(0),
        }
    }

    /// Counts a handle that was opened, or closed.
    pub(crate) fn count_handle(&self, opened: bool) {
        // Relaxed: an independent count. A handle may be older than the count.
        let step = |count: u64| if opened { count.checked_add(1) } else { count.checked_sub(1) };
        let _ = self.handles.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// Forgets the handles of a stack that is removed: Wine closes them at the removed filter.
    pub(crate) fn forget_handles(&self) {
        // Relaxed: see `count_handle`.
        self.handles.store(0, Ordering::Relaxed);
    }

    /// How many handles are open.
    pub(crate) fn handles(&self) -> u64 {
        // Relaxed: see `count_handle`.
        self.handles.load(Ordering::Relaxed)
    }

    /// Surprise removal, or the volume's return. Waiting requests are completed on surprise
    /// removal, as a driver does when it learns of it.
    pub(crate) fn set_gone(&self, gone: bool) {
        let waiting = {
            let mut state = self.state.lock();
            state.gone = gone;
            if gone { core::mem::take(&mut state.waiting) } else { Vec::new() }
        };
        for irp in waiting {
            self.complete(irp, STATUS_NO_SUCH_DEVICE, 0);
        }
    }

    /// Whether the volume is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.lock().gone
    }

    /// Takes a request that was marked pending.
    pub(crate) fn submit(&self, irp: Irp) {
        if is_write(&irp) {
            // Relaxed: a scenario reads the count by a command that it sends later.
            self.writes_in_flight.fetch_add(1, Ordering::Relaxed);
        }
        let mut state = self.state.lock();
        if state.gone {
            drop(state);
            self.complete(irp, STATUS_NO_SUCH_DEVICE, 0);
        } else {
            state.waiting.push(irp);
            self.state.notify_one();
        }
    }

    /// Stops working on requests, or goes on.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.state.lock().paused = paused;
        self.state.notify_all();
    }

    /// Writes that arrived and are not completed.
    pub(crate) fn in_flight(&self) -> u64 {
        // Relaxed: see `submit`.
        self.writes_in_flight.load(Ordering::Relaxed)
    }

    /// Works until it is stopped and nothing is left.
    fn run(&self) {
        while let Some((irp, chance)) = self.next() {
            self.work(irp, &chance);
        }
    }

    fn next(&self) -> Option<(Irp, Chance)> {
        let mut state = self.state.lock();
        loop {
            if !state.waiting.is_empty() && (!state.paused || state.stopping) {
                let count = state.waiting.len();
                let chosen = state.random.usize(..count);
                let irp = state.waiting.swap_remove(chosen);
                let write = u32::from(irp.function().0) == IRP_MJ_WRITE;
                let chance = self.timing.roll(&mut state.random, write);
                return Some((irp, chance));
            }
            if state.stopping {
                return None;
            }
            state = state.wait();
        }
    }

    fn work(&self, irp: Irp, chance: &Chance) {
        pause(chance.before_us);
        let (status, information) = match u32::from(irp.function().0) {
            IRP_MJ_READ => self.read(&irp, chance),
            IRP_MJ_WRITE => self.write(&irp, chance),
            IRP_MJ_FLUSH_BUFFERS => (code(self.store.flush()), 0),
            IRP_MJ_DEVICE_CONTROL => self.clear(&irp),
            other => unreachable!("major function {other} is never submitted"),
        };
        pause(chance.after_us);
        self.complete(irp, status, information);
    }

    fn complete(&self, irp: Irp, status: NTSTATUS, information: usize) {
        if is_write(&irp) {
            // Relaxed: see `submit`.
            self.writes_in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        if u32::from(irp.function().0) == IRP_MJ_DEVICE_CONTROL {
            // These complete below DISPATCH_LEVEL (docs: IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES).
            irp.complete(status, information);
        } else {
            framework::complete(irp, status, information);
        }
    }

    /// Writes zeros to the ranges of a data set request.
    fn clear(&self, irp: &Irp) -> (NTSTATUS, usize) {
        const ZEROS: usize = 256 << 10;
        let zeros = alloc::vec![0_u8; ZEROS];
        let ranges = match dataset::ranges(irp, self.store.length()) {
            Ok(ranges) => ranges,
            Err(status) => return (status, 0),
        };
        for (offset, length) in ranges {
            for at in (offset..offset + length).step_by(ZEROS) {
                let some = (offset + length - at).min(ZEROS as u64) as usize;
                self.apply(at, &zeros[..some], 0);
            }
        }
        (STATUS_SUCCESS, 0)
    }

    fn read(&self, irp: &Irp, chance: &Chance) -> (NTSTATUS, usize) {
        let (length, offset) = irp.transfer();
        // `volume.rs` checked that it is there and long enough.
        let Some(buffer) = payload::target(irp) else { return (STATUS_INSUFFICIENT_RESOURCES, 0) };
        if let Some(ReadFailure { status, delay_us }) = self.reads.failure(irp, chance.failure) {
            // SAFETY: the buffer has at least the request's length.
            unsafe { buffer.write_bytes(RUBBISH, length as usize) };
            pause(delay_us);
            return (status, 0);
        }
        // SAFETY: the buffer has at least the request's length.
        match unsafe { self.store.read(offset.cast_unsigned(), buffer, length) } {
            Ok(()) => (STATUS_SUCCESS, length as usize),
            Err(Failure(status)) => (status, 0),
        }
    }

    fn write(&self, irp: &Irp, chance: &Chance) -> (NTSTATUS, usize) {
        let (length, offset) = irp.transfer();
        // `volume.rs` checked that it is there and long enough.
        let Some(data) = payload::source(irp) else { return (STATUS_INSUFFICIENT_RESOURCES, 0) };
        let torn_at = length / SECTOR * chance.torn_at / 256 * SECTOR;
        // SAFETY: the data has at least the request's length. Its owner may change it meanwhile:
        // the journal gets the same bytes that are summed.
        let data = unsafe { core::slice::from_raw_parts(data.start(), length as usize) };
        self.apply(offset.cast_unsigned(), data, torn_at as usize);
        (STATUS_SUCCESS, length as usize)
    }

    fn apply(&self, offset: u64, data: &[u8], torn_at: usize) {
        if let Err(failure) = self.store.apply(offset, data, torn_at) {
            // The journal may lack what the image has: a comparison with it would mean nothing.
            nt::println!("snapless-test-volume: the image or the journal: {failure}");
            nt::halt::halt()
        }
        self.reads.mend(offset, data.len() as u64);
    }
}

impl Timing {
    fn roll(self, random: &mut fastrand::Rng, write: bool) -> Chance {
        let slow = write && random.u32(..100) < self.slow_percent;
        let limit = if slow { self.slow_ms * 1000 } else { self.jitter_us };
        let total = random.u32(..limit.max(1));
        // Before: another write overtakes. After: the application hears later than the image
        // changed.
        let before_us = random.u32(..=total);
        let torn = write && random.u32(..100) < TORN_PERCENT;
        let torn_at = if torn { random.u32(..256) } else { 0 };
        let failure = random.u32(..);
        Chance { before_us, after_us: total - before_us, torn_at, failure }
    }
}

impl Workers {
    /// Starts the threads.
    pub(crate) fn start(scheduler: &Arc<Scheduler>, count: u32) -> Result<Self> {
        let mut workers = Self { scheduler: Arc::clone(scheduler), threads: Vec::new() };
        for _ in 0..count {
            let scheduler = Arc::clone(scheduler);
            match Thread::spawn(move || scheduler.run()) {
                Ok(thread) => workers.threads.push(thread),
                Err(failure) => {
                    workers.stop();
                    return Err(failure);
                }
            }
        }
        Ok(workers)
    }

    /// Lets the threads finish what is in flight, and ends them.
    pub(crate) fn stop(self) {
        self.scheduler.state.lock().stopping = true;
        self.scheduler.state.notify_all();
        for thread in self.threads {
            thread.join();
        }
    }
}

fn is_write(irp: &Irp) -> bool {
    matches!(u32::from(irp.function().0), IRP_MJ_WRITE | IRP_MJ_DEVICE_CONTROL)
}

fn pause(microseconds: u32) {
    if microseconds > 0 {
        sleep_us(microseconds);
    }
}
