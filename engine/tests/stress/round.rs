//! A round: one session on the volume, from one replacement of the rundown to the next.
//!
//! The order of calls is the driver's: interception on, drain what was below, t0, workers, stop,
//! interception off.

use std::cell::UnsafeCell;
use std::ptr::{from_ref, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use snapless_engine::{
    BlockState, Config, Event, Host, Issue, MemorySpan, Phase, Protection, Read, ReadOutcome,
    Rundown, RundownOwner, Session, Step, Submission, Tick, Urgency, Worker,
};
use snapless_types::{BlockIndex, Extent, Geometry, Overflow, Seq};

use crate::disk::{BLOCK, BLOCK_SHIFT, BLOCKS, Disk, Job, SECTOR, sectors};
use crate::server::Server;
use crate::system::{Random, StdEvent, StdHost};

/// How long the writers load a session.
const LOAD: Duration = Duration::from_millis(150);
/// How long a resync may take without writers.
const RESYNC_MAX: Duration = Duration::from_secs(30);
/// How often a worker checks whether another thread has failed; longer than a write may take.
const LOOK: Duration = Duration::from_secs(40);

/// A write of the application.
pub struct Write {
    pub extent: Extent,
    pub value: u64,
    /// The disk will fail it.
    pub fails: bool,
    /// Its rundown protection.
    pub protection: Option<Protection>,
    pub done: Arc<StdEvent>,
}

impl PartialEq for Write {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Write {
    /// What it writes to a sector.
    pub fn content(&self, sector: usize) -> u64 {
        self.value ^ sector as u64
    }
}

/// The capture queue's memory: a number per sector. Plain memory, so that a race is one.
struct QueueMemory(Vec<UnsafeCell<u64>>);

// SAFETY: a range of it that is written to belongs to one thread, which is what the test is about.
unsafe impl Sync for QueueMemory {}

impl QueueMemory {
    fn slots(&self, offset: u64, len: u64) -> &[UnsafeCell<u64>] {
        let index = |offset: u64| usize::try_from(offset / SECTOR).unwrap();
        &self.0[index(offset)..index(offset + len)]
    }

    fn put(&self, offset: u64, content: impl ExactSizeIterator<Item = u64>) {
        let len = content.len() as u64 * SECTOR;
        for (slot, value) in self.slots(offset, len).iter().zip(content) {
            // SAFETY: the range is the caller's alone.
            unsafe { *slot.get() = value };
        }
    }

    fn take(&self, memory: MemorySpan) -> Vec<u64> {
        let slots = self.slots(memory.offset, memory.len);
        // SAFETY: nothing writes to the range while the caller has it.
        slots.iter().map(|slot| unsafe { *slot.get() }).collect()
    }
}

/// A session with its memory and its service.
struct Run {
    session: Session<StdHost>,
    queue: QueueMemory,
    server: Mutex<Server>,
    /// The disk at t0.
    t0: OnceLock<Vec<u64>>,
}

/// The rundown's processors; the writes of one more are counted with those that came later.
const PROCESSORS: usize = 3;

/// The processor that a write with this value is on: any will do.
fn processor(value: u64) -> usize {
    usize::try_from(value % (PROCESSORS as u64 + 1)).unwrap()
}

/// The volume that all rounds share.
pub struct Volume {
    rundown: Rundown<AtomicPtr<Run>, StdEvent>,
    pub disk: Disk,
    /// Writers pause.
    quiet: AtomicBool,
    failed: AtomicBool,
}

/// Ends the other threads if its own panics.
pub struct Guard<'a>(&'a Volume);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.failed.store(true, Ordering::Relaxed);
            self.0.quiet.store(true, Ordering::Relaxed);
        }
    }
}

impl Volume {
    pub fn new() -> (Self, RundownOwner) {
        let none = || AtomicPtr::new(null_mut());
        let rundown = Rundown::new(none(), none(), StdEvent::default(), PROCESSORS);
        let (rundown, owner) = rundown.unwrap();
        let volume = Self {
            rundown,
            disk: Disk::new(),
            quiet: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        };
        (volume, owner)
    }

    pub fn guard(&self) -> Guard<'_> {
        Guard(self)
    }

    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// True once the writers are to end.
    pub fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    /// A write arrives.
    pub fn submit(&self, mut write: Write, urgency: Urgency) {
        let protection = self.rundown.acquire(processor(write.value)).unwrap();
        write.protection = Some(protection);
        match self.run_of(protection) {
            None => self.disk.issue(Job { write, ticket: None, payload: None }),
            Some(run) => {
                let extent = write.extent;
                self.carry_out(run, run.session.submit(write, extent, urgency));
            }
        }
    }

    /// Does writes until the disk ends.
    pub fn disk_thread(&self, mut random: Random) {
        let _guard = self.guard();
        while let Some(Job { write, ticket, payload }) = self.disk.next(&mut random) {
            if random.one_in(4) {
                thread::yield_now();
            }
            let protection = write.protection.unwrap();
            let run = self.run_of(protection);
            let captured = run.zip(payload).map(|(run, payload)| run.queue.take(payload));
            self.disk.apply(&write, captured.as_deref());
            if let (Some(run), Some(ticket)) = (run, ticket) {
                run.session.completed(ticket, !write.fails);
            }
            self.rundown.release(protection, processor(write.value >> 8));
            write.done.set();
        }
    }

    /// One session under load, which ends with `writers`.
    pub fn round(
        &self,
        owner: &mut RundownOwner,
        mut random: Random,
        number: u64,
        writers: Vec<ScopedJoinHandle<'_, ()>>,
    ) {
        let run = Box::into_raw(Box::new(Run::new(&mut random)));
        // SAFETY: freed below, when no thread of the round is left and no write has protection of
        // it.
        let session = unsafe { &*run };
        thread::scope(|scope| {
            scope.spawn(|| self.dispatch(owner, session));
            scope.spawn(|| self.read(session, Worker::Sweep, 11));
            scope.spawn(|| self.read(session, Worker::Hold, 12));
            scope.spawn(|| self.drain(session, Random::new(number + 13)));
            let _guard = self.guard();
            self.lose_service_now_and_then(session, &mut random);
            self.quiet.store(true, Ordering::Relaxed);
            for writer in writers {
                writer.join().unwrap();
            }
            if !self.has_failed() {
                self.check(session, number.is_multiple_of(2), random.one_in(2));
            }
            session.session.stop();
        });
        assert!(session.session.is_settled(), "nothing of a stopped session is under way");
        // SAFETY: the second replacement is over, so no write has protection of it; made by `Box`
        // above.
        drop(unsafe { Box::from_raw(run) });
        if !self.has_failed() {
            self.quiet.store(false, Ordering::Relaxed);
        }
    }

    fn run_of(&self, protection: Protection) -> Option<&Run> {
        let run = self.rundown.protected(protection).load(Ordering::Relaxed);
        // SAFETY: null, or alive as long as the caller has protection.
        unsafe { run.as_ref() }
    }

    fn carry_out(&self, run: &Run, mut submission: Submission<Write>) {
        while let Submission::Part(part) = submission {
            let write = part.capture().write();
            let content = sectors(part.capture().extent()).map(|sector| write.content(sector));
            run.queue.put(part.memory().offset, content);
            submission = run.session.part_captured(part);
        }
        let Issue { write, ticket, payload, .. } = match submission {
            Submission::Capture(capture) => {
                let write = capture.write();
                let content = sectors(write.extent).map(|sector| write.content(sector));
                run.queue.put(capture.memory().offset, content);
                run.session.captured(capture)
            }
            Submission::Issue(issue) => issue,
            Submission::Held | Submission::Part(_) | Submission::Cancelled(_) => return,
        };
        self.disk.issue(Job { write, ticket: Some(ticket), payload });
    }

    fn dispatch(&self, owner: &mut RundownOwner, run: &Run) {
        let _guard = self.guard();
        let slot_to = |to| move |slot: &AtomicPtr<Run>| slot.store(to, Ordering::Relaxed);
        let address = from_ref(run).cast_mut();
        self.rundown.replace(owner, slot_to(address), slot_to(null_mut()), || ());
        // Writes that may wait are held; urgent ones have left their blocks dirty.
        run.t0.set(self.disk.content()).unwrap();
        run.session.begin();
        loop {
            match run.session.dispatch() {
                Step::Do(submission) => self.carry_out(run, submission),
                Step::Wait(until) if !self.has_failed() => run.wait(Worker::Dispatch, until),
                Step::Wait(_) => run.session.stop(),
                Step::Again => {}
                Step::Ended => break,
            }
        }
        self.rundown.replace(owner, slot_to(null_mut()), slot_to(null_mut()), || ());
    }

    fn read(&self, run: &Run, worker: Worker, seed: u64) {
        let _guard = self.guard();
        let mut random = Random::new(seed);
        loop {
            let step = match worker {
                Worker::Hold => run.session.hold(),
                _ => run.session.sweep(),
            };
            match step {
                Step::Do(read) => self.read_blocks(run, read, &mut random),
                Step::Again => {}
                Step::Wait(until) => run.wait(worker, until),
                Step::Ended => return,
            }
        }
    }

    fn read_blocks(&self, run: &Run, read: Read, random: &mut Random) {
        let mut next = Some(read);
        while let Some(read) = next {
            // A block that can never be read is lost to the replica: only longer reads fail.
            let outcome = match random.below(100) {
                0 if read.extent().len() > BLOCK => ReadOutcome::BadSector,
                1 => ReadOutcome::NotNow,
                _ => ReadOutcome::Done,
            };
            let content = sectors(read.extent()).map(|sector| self.disk.read(sector));
            run.queue.put(read.memory().offset, content);
            next = run.session.read_done(read, outcome);
        }
    }

    fn drain(&self, run: &Run, mut random: Random) {
        let _guard = self.guard();
        loop {
            // The lock keeps a record from a service that is gone.
            let mut server = run.server.lock().unwrap();
            match run.session.drain(u64::MAX) {
                Step::Do(drained) => {
                    let memory = drained.memory();
                    let content = memory.map_or_else(Vec::new, |memory| run.queue.take(memory));
                    let t0 = run.t0.get().map_or(&[][..], |t0| t0);
                    let durable = server.take(drained.record(), content, t0);
                    run.session.drained(drained);
                    if let Some(epoch) = durable {
                        run.session.acknowledge(epoch).expect("it was drained");
                    }
                    drop(server);
                    if random.one_in(300) {
                        thread::sleep(Duration::from_millis(1 + random.below(8)));
                    }
                }
                Step::Wait(until) => {
                    drop(server);
                    run.wait(Worker::Drain, until);
                }
                Step::Again => {}
                Step::Ended => return,
            }
        }
    }

    fn lose_service_now_and_then(&self, run: &Run, random: &mut Random) {
        let end = Instant::now() + LOAD;
        while Instant::now() < end && !self.has_failed() {
            thread::sleep(Duration::from_millis(random.below(40)));
            if random.one_in(2) {
                run.lose_service(random.one_in(2));
                thread::sleep(Duration::from_millis(random.below(5)));
                run.regain_service();
            }
        }
    }

    /// Compares the replica with the disk, which is not written to any more.
    fn check(&self, run: &Run, to_the_end: bool, was_durable: bool) {
        if to_the_end {
            self.await_resync(run);
        }
        // From here on only what is durable counts.
        run.lose_service(to_the_end || was_durable);
        while run.session.status().losing {
            assert!(!self.has_failed(), "another thread has failed");
            thread::sleep(Duration::from_millis(1));
        }
        let disk = self.disk.content();
        let server = run.server.lock().unwrap();
        for block in 0..BLOCKS {
            let counts =
                to_the_end || run.session.block_state(BlockIndex(block)) == BlockState::Synced;
            assert!(
                !counts || server.has(block, &disk),
                "LOSS: block {block} is not dirty and differs from the disk"
            );
        }
    }

    fn await_resync(&self, run: &Run) {
        let limit = Instant::now() + RESYNC_MAX;
        loop {
            let status = run.session.status();
            let whole = status.consistent && status.blocks_synced == BLOCKS;
            if whole && status.phase == Phase::Capturing && !run.session.has_records() {
                return;
            }
            assert!(!self.has_failed(), "another thread has failed");
            assert!(Instant::now() < limit, "the resync does not end: {status:?}");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Run {
    fn new(random: &mut Random) -> Self {
        let mut config = Config::new(16 * BLOCK);
        config.writes_max = 6;
        config.hold_limit = 3 * Tick::PER_MS;
        config.overflow = if random.one_in(3) { Overflow::Hold } else { Overflow::Gap };
        config.write_bytes = BLOCK;
        config.read_bytes = 4 * BLOCK;
        config.epochs = 3;
        config.epoch_bytes = 8 * BLOCK;
        config.epoch_age = 3 * Tick::PER_MS;
        let words = config.queue_bytes / SECTOR;
        let geometry = Geometry::new(BLOCKS * BLOCK, 512, 1 << BLOCK_SHIFT).unwrap();
        Self {
            session: Session::new(StdHost::new(), geometry, config).unwrap(),
            queue: QueueMemory((0..words).map(UnsafeCell::new).collect()),
            server: Mutex::new(Server::new()),
            t0: OnceLock::new(),
        }
    }

    fn wait(&self, worker: Worker, until: Option<Tick>) {
        let event = self.session.host().event(worker);
        // Woken or due: the verb is called again in either case.
        let _ = match until {
            None => event.wait_at_most(LOOK),
            Some(until) => event.wait_for(until.since(self.session.host().now())),
        };
    }

    fn lose_service(&self, was_durable: bool) {
        let mut server = self.server.lock().unwrap();
        self.session.detach();
        server.forget(was_durable);
    }

    fn regain_service(&self) {
        let durable = Seq::new(self.session.status().acknowledged_seq);
        assert_eq!(self.session.drain_from(durable), Ok(false), "the service was lost");
    }
}
