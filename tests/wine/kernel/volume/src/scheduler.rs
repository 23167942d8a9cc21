//! The requests that the volume has taken and not completed, and the threads that work on them.
//!
//! The rule: the volume is an adversary that stays within what a disk may do. Of the requests that are in flight a
//! random one goes next, after a random delay, and completes after another; nothing is done in the order of arrival,
//! and completion is at DISPATCH_LEVEL. What has been completed is in the image.

use alloc::{sync::Arc, vec::Vec};
use core::sync::atomic::{AtomicU64, Ordering};

use nt::{
    irp::Irp,
    monitor::Monitor,
    status::{Failure, Result},
    thread::Thread,
    time::sleep_us,
};
use wdk_sys::{
    IRP_MJ_DEVICE_CONTROL, IRP_MJ_FLUSH_BUFFERS, IRP_MJ_READ, IRP_MJ_WRITE, NTSTATUS,
    STATUS_NO_SUCH_DEVICE, STATUS_SUCCESS,
};

use crate::{
    completion,
    config::Config,
    dataset,
    faults::Faults,
    journal::{Applied, Store, Write},
    moods::Moods,
    payload,
    random::Random,
    top_write::TopWrites,
};

/// The share of the writes whose image is changed in two steps.
const TORN_PERCENT: u32 = 20;

/// The volume's work.
pub(crate) struct Scheduler {
    store: Store,
    pub(crate) faults: Faults,
    pub(crate) moods: Moods,
    pub(crate) top: TopWrites,
    timing: Timing,
    sector_size: u32,
    state: Monitor<State>,
    writes_submitted: AtomicU64,
    writes_in_flight: AtomicU64,
    reads: AtomicU64,
    flushes: AtomicU64,
    handles: AtomicU64,
}

#[derive(Clone, Copy)]
struct Timing {
    slow_percent: u32,
    slow_ms: u32,
    jitter_us: u32,
}

struct State {
    waiting: Vec<Pending>,
    random: Random,
    paused: bool,
    gone: bool,
    stopping: bool,
}

/// A request in flight.
struct Pending {
    irp: Irp,
    /// A write's number in order of arrival.
    submission: u64,
}

/// The threads; they end when this is stopped.
#[must_use = "the workers must be stopped before the driver goes"]
pub(crate) struct Workers {
    scheduler: Arc<Scheduler>,
    threads: Vec<Thread>,
}

/// What the volume has counted.
pub(crate) struct Counts {
    pub(crate) submitted: u64,
    pub(crate) in_flight: u64,
    pub(crate) reads: u64,
    pub(crate) flushes: u64,
    pub(crate) held: u64,
}

/// What chance has in store for a request.
struct Chance {
    before_us: u32,
    after_us: u32,
    torn: bool,
    /// For what part of a failing write reaches the image, in 1/256.
    part: u32,
}

impl Scheduler {
    /// A scheduler over opened files.
    pub(crate) fn new(config: &Config, store: Store) -> Self {
        Self {
            store,
            faults: Faults::new(),
            moods: Moods::default(),
            top: TopWrites::new(),
            timing: Timing {
                slow_percent: config.slow_percent,
                slow_ms: config.slow_ms,
                jitter_us: config.jitter_us,
            },
            sector_size: config.sector_size,
            state: Monitor::new(State {
                waiting: Vec::new(),
                random: Random::new(u64::from(config.seed)),
                paused: false,
                gone: false,
                stopping: false,
            }),
            writes_submitted: AtomicU64::new(0),
            writes_in_flight: AtomicU64::new(0),
            reads: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            handles: AtomicU64::new(0),
        }
    }

    /// Counts a handle that was opened, or closed.
    pub(crate) fn count_handle(&self, opened: bool) {
        // Relaxed: a count that is looked at on its own. A handle may be older than the count.
        let step = |count: u64| if opened { count.checked_add(1) } else { count.checked_sub(1) };
        let _ = self.handles.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
    }

    /// Forgets the handles of a stack that is removed: Wine closes them at the filter that is no more.
    pub(crate) fn forget_handles(&self) {
        // Relaxed: see `count_handle`.
        self.handles.store(0, Ordering::Relaxed);
    }

    /// How many handles are open.
    pub(crate) fn handles(&self) -> u64 {
        // Relaxed: see `count_handle`.
        self.handles.load(Ordering::Relaxed)
    }

    /// The volume is gone without a warning, or is back. What waits when it goes is completed: a driver does so when
    /// it learns of a surprise removal, and not before.
    pub(crate) fn set_gone(&self, gone: bool) {
        let waiting = {
            let mut state = self.state.lock();
            state.gone = gone;
            if gone { core::mem::take(&mut state.waiting) } else { Vec::new() }
        };
        for Pending { irp, .. } in waiting {
            self.complete(irp, STATUS_NO_SUCH_DEVICE, 0);
        }
    }

    /// Whether the volume is gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.state.lock().gone
    }

    /// The files.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Takes a request that was marked pending.
    pub(crate) fn submit(&self, irp: Irp) {
        // Relaxed: the counters are read by a command that was sent after what it wants to see counted.
        let submission = match u32::from(irp.function().0) {
            IRP_MJ_WRITE | IRP_MJ_DEVICE_CONTROL => {
                self.writes_in_flight.fetch_add(1, Ordering::Relaxed);
                self.writes_submitted.fetch_add(1, Ordering::Relaxed)
            }
            IRP_MJ_READ => self.reads.fetch_add(1, Ordering::Relaxed),
            _ => self.flushes.fetch_add(1, Ordering::Relaxed),
        };
        let refused = {
            let mut state = self.state.lock();
            if state.gone {
                Some(irp)
            } else {
                state.waiting.push(Pending { irp, submission });
                None
            }
        };
        match refused {
            Some(irp) => self.complete(irp, STATUS_NO_SUCH_DEVICE, 0),
            None => self.state.notify_one(),
        }
    }

    /// Stops taking up requests, or goes on with it.
    pub(crate) fn set_paused(&self, paused: bool) {
        self.state.lock().paused = paused;
        self.state.notify_all();
    }

    /// The counters.
    pub(crate) fn counts(&self) -> Counts {
        let held = {
            let state = self.state.lock();
            if state.paused { state.waiting.len() as u64 } else { 0 }
        };
        // Relaxed: see `submit`.
        Counts {
            submitted: self.writes_submitted.load(Ordering::Relaxed),
            in_flight: self.writes_in_flight.load(Ordering::Relaxed),
            reads: self.reads.load(Ordering::Relaxed),
            flushes: self.flushes.load(Ordering::Relaxed),
            held,
        }
    }

    /// Works until it is stopped and nothing is left.
    fn run(&self) {
        while let Some((pending, chance)) = self.next() {
            self.work(pending, &chance);
        }
    }

    fn next(&self) -> Option<(Pending, Chance)> {
        let mut state = self.state.lock();
        loop {
            if !state.waiting.is_empty() && (!state.paused || state.stopping) {
                let count = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
                let chosen = state.random.below(count) as usize;
                let pending = state.waiting.swap_remove(chosen);
                let write = u32::from(pending.irp.function().0) == IRP_MJ_WRITE;
                let chance = self.timing.roll(&mut state.random, write);
                return Some((pending, chance));
            }
            if state.stopping {
                return None;
            }
            state = state.wait();
        }
    }

    fn work(&self, pending: Pending, chance: &Chance) {
        pause(chance.before_us);
        let Pending { irp, submission } = pending;
        let (status, information, applied) = match u32::from(irp.function().0) {
            IRP_MJ_READ => self.read(&irp),
            IRP_MJ_WRITE => self.write(&irp, submission, chance),
            IRP_MJ_FLUSH_BUFFERS => (outcome(self.store.flush()), 0, None),
            IRP_MJ_DEVICE_CONTROL => self.clear(&irp, submission),
            other => unreachable!("major function {other} is never submitted"),
        };
        pause(chance.after_us);
        if let Some(applied) = applied {
            self.store.completed(applied);
        }
        self.complete(irp, status, information);
    }

    fn complete(&self, irp: Irp, status: NTSTATUS, information: usize) {
        let control = u32::from(irp.function().0) == IRP_MJ_DEVICE_CONTROL;
        let write = control || u32::from(irp.function().0) == IRP_MJ_WRITE;
        if write {
            // Relaxed: see `submit`.
            self.writes_in_flight.fetch_sub(1, Ordering::Relaxed);
        }
        if control {
            // These complete below DISPATCH_LEVEL (docs: IOCTL_STORAGE_MANAGE_DATA_SET_ATTRIBUTES).
            irp.complete(status, information);
        } else {
            completion::complete(irp, status, information);
        }
    }

    /// Makes zeros of the ranges of a data set request, some at a time.
    fn clear(&self, irp: &Irp, submission: u64) -> (NTSTATUS, usize, Option<Applied>) {
        const ZEROS: usize = 256 << 10;
        let zeros = alloc::vec![0_u8; ZEROS];
        let ranges = match dataset::ranges(irp, self.sector_size, self.store.length()) {
            Ok(ranges) => ranges,
            Err(status) => return (status, 0, None),
        };
        let mut last = None;
        for (offset, length) in ranges {
            let mut done = 0;
            while done < length {
                let some = (length - done).min(ZEROS as u64) as u32;
                let write = Write {
                    submission,
                    offset: offset + done,
                    requested: some,
                    length: some,
                    status: STATUS_SUCCESS,
                    torn_at: 0,
                };
                // SAFETY: the zeros are at least as many.
                match unsafe { self.store.apply(&write, zeros.as_ptr()) } {
                    Ok(applied) => last = Some(applied),
                    Err(Failure(status)) => {
                        nt::println!(
                            "snapless-test-volume: zeros cannot be written: {status:#010x}"
                        );
                        nt::halt::halt()
                    }
                }
                done += u64::from(some);
            }
        }
        (STATUS_SUCCESS, 0, last)
    }

    fn read(&self, irp: &Irp) -> (NTSTATUS, usize, Option<Applied>) {
        let (length, offset) = irp.transfer();
        let offset = offset.cast_unsigned();
        if let Some(status) = self.faults.strikes_read(offset, length) {
            return (status, 0, None);
        }
        // `volume.rs` checked that it is there and long enough.
        let Some(buffer) = payload::target(irp) else {
            return (wdk_sys::STATUS_INSUFFICIENT_RESOURCES, 0, None);
        };
        // SAFETY: the buffer has at least the request's length.
        let result = unsafe { self.store.read(offset, buffer, length) };
        transferred(result, length)
    }

    fn write(
        &self,
        irp: &Irp,
        submission: u64,
        chance: &Chance,
    ) -> (NTSTATUS, usize, Option<Applied>) {
        let (length, offset) = irp.transfer();
        let offset = offset.cast_unsigned();
        // `volume.rs` checked that it is there and long enough.
        let Some(buffer) = payload::source(irp) else {
            return (wdk_sys::STATUS_INSUFFICIENT_RESOURCES, 0, None);
        };
        let fault = self.faults.strikes_write(submission, offset, length);
        let sectors = length / self.sector_size;
        let part =
            |of: u32| (u64::from(of) * u64::from(chance.part) / 256) as u32 * self.sector_size;
        let write = Write {
            submission,
            offset,
            requested: length,
            length: if fault.is_some() { part(sectors) } else { length },
            status: fault.unwrap_or(STATUS_SUCCESS),
            torn_at: if chance.torn { part(sectors) } else { 0 },
        };
        // SAFETY: the buffer has at least the request's length.
        match unsafe { self.store.apply(&write, buffer.start()) } {
            Ok(applied) => match fault {
                Some(status) => (status, 0, Some(applied)),
                None => (STATUS_SUCCESS, length as usize, Some(applied)),
            },
            Err(Failure(status)) => {
                // The journal may lack what the image has: no comparison with it would mean anything.
                nt::println!(
                    "snapless-test-volume: the image or the journal cannot be written: {status:#010x}"
                );
                nt::halt::halt()
            }
        }
    }
}

impl Timing {
    fn roll(self, random: &mut Random, write: bool) -> Chance {
        let slow = write && random.percent(self.slow_percent);
        let limit = if slow { self.slow_ms * 1000 } else { self.jitter_us };
        let total = if limit == 0 { 0 } else { random.below(limit) };
        // Before: another write overtakes. After: the application hears later than the image changed.
        let before_us = random.below(total + 1);
        Chance {
            before_us,
            after_us: total - before_us.min(total),
            torn: write && random.percent(TORN_PERCENT),
            part: random.below(256),
        }
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

fn pause(microseconds: u32) {
    if microseconds > 0 {
        sleep_us(microseconds);
    }
}

fn outcome(result: Result) -> NTSTATUS {
    nt::status::code(result)
}

fn transferred(result: Result, length: u32) -> (NTSTATUS, usize, Option<Applied>) {
    match result {
        Ok(()) => (STATUS_SUCCESS, length as usize, None),
        Err(Failure(status)) => (status, 0, None),
    }
}
