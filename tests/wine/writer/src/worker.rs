//! One thread of load: keeps its port's slots busy until it is told to stop, then waits for what is
//! under way.
//!
//! Upholds: any error of the volume ends the run; a write is logged exactly if the volume completed it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::WriterError;
use crate::extent::Extent;
use crate::log::{Instant100, Logged, WriteLog};
use crate::pace::Pace;
use crate::payload::{Payload, WriteId};
use crate::plan::{Action, Plan, Targets};
use crate::port::{Completion, Port, Slot};

/// What the threads of a run share.
#[derive(Debug)]
pub struct Shared {
    /// Where to write.
    pub targets: Targets,
    /// Makes the content.
    pub payload: Payload,
    /// Chooses the actions.
    pub seed: u64,
    /// Limits the load.
    pub pace: Pace,
    /// Takes the completed writes.
    pub log: WriteLog,
    /// Ends the run. Relaxed: it is polled, and guards no other memory.
    pub stop: AtomicBool,
    /// Counters for the display.
    pub totals: Totals,
}

/// What a run has done so far. Relaxed: for people to watch, and read exactly after the threads ended.
#[derive(Debug, Default)]
pub struct Totals {
    /// Completed writes.
    pub writes: AtomicU64,
    /// Bytes of completed writes.
    pub bytes: AtomicU64,
    /// Completed reads.
    pub reads: AtomicU64,
    /// Completed flushes.
    pub flushes: AtomicU64,
}

/// Runs one thread's share of the load until [`Shared::stop`].
pub fn run(shared: &Shared, thread: u16, port: &mut dyn Port) -> Result<(), WriterError> {
    let result = Worker::new(shared, thread, port).run();
    if result.is_err() {
        shared.stop.store(true, Ordering::Relaxed);
    }
    result
}

struct Worker<'a> {
    shared: &'a Shared,
    port: &'a mut dyn Port,
    plan: Plan<'a>,
    thread: u16,
    counter: u64,
    free: Vec<Slot>,
    under_way: Vec<Option<UnderWay>>,
}

#[derive(Clone, Copy)]
enum UnderWay {
    Write { id: WriteId, extent: Extent, zeros: bool, submitted: Instant100 },
    Read { extent: Extent },
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared, thread: u16, port: &'a mut dyn Port) -> Self {
        let slots = port.slots();
        let plan = Plan::new(&shared.targets, shared.seed, thread);
        let free = (0..slots).map(Slot).collect();
        Self { shared, port, plan, thread, counter: 0, free, under_way: vec![None; slots] }
    }

    fn run(mut self) -> Result<(), WriterError> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            if self.free.is_empty() {
                self.take_completion()?;
                continue;
            }
            let action = self.plan.next_action();
            self.wait_for_pace(action)?;
            self.begin(action)?;
        }
        while self.busy() {
            self.take_completion()?;
        }
        Ok(())
    }

    /// Waits until the pace admits the action; completions are taken meanwhile.
    fn wait_for_pace(&mut self, action: Action) -> Result<(), WriterError> {
        let bytes = match action {
            Action::Write(extent) | Action::WriteZeros(extent) => extent.len(),
            Action::Read(_) | Action::Flush => 0,
        };
        while let Err(wait) = self.shared.pace.admit(bytes) {
            if self.shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if self.busy() {
                self.take_completion()?;
            } else {
                std::thread::sleep(wait);
            }
        }
        Ok(())
    }

    /// Does the action, or begins it in a free slot.
    fn begin(&mut self, action: Action) -> Result<(), WriterError> {
        match action {
            Action::Write(extent) => self.write(extent, false),
            Action::WriteZeros(extent) => self.write(extent, true),
            Action::Read(extent) => {
                let slot = self.free.pop().expect("the caller made a slot free");
                self.under_way[slot.0] = Some(UnderWay::Read { extent });
                let begun = self.port.read(slot, extent);
                begun.map_err(|source| WriterError::Request { what: "read", extent, source })
            }
            Action::Flush => {
                self.port.flush().map_err(WriterError::Flush)?;
                self.shared.totals.flushes.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn write(&mut self, extent: Extent, zeros: bool) -> Result<(), WriterError> {
        let slot = self.free.pop().expect("the caller made a slot free");
        self.counter += 1;
        let id = WriteId::new(self.thread, self.counter);
        let buffer = &mut self.port.buffer(slot)[..extent.size()];
        if zeros {
            buffer.fill(0);
        } else {
            self.shared.payload.fill(id, extent.offset(), buffer);
        }
        let submitted = Instant100::now();
        self.under_way[slot.0] = Some(UnderWay::Write { id, extent, zeros, submitted });
        let begun = self.port.write(slot, extent);
        begun.map_err(|source| WriterError::Request { what: "write", extent, source })
    }

    fn busy(&self) -> bool {
        self.free.len() < self.under_way.len()
    }

    fn take_completion(&mut self) -> Result<(), WriterError> {
        if !self.busy() {
            return Ok(());
        }
        let Completion { slot, result } = self.port.wait().map_err(WriterError::Wait)?;
        let completed = Instant100::now();
        self.free.push(slot);
        let totals = &self.shared.totals;
        match self.under_way[slot.0].take().expect("only a slot under way completes") {
            UnderWay::Write { id, extent, zeros, submitted } => {
                whole("write", extent, result)?;
                self.shared.log.append(&Logged { id, extent, zeros, submitted, completed })?;
                totals.writes.fetch_add(1, Ordering::Relaxed);
                totals.bytes.fetch_add(extent.len(), Ordering::Relaxed);
            }
            UnderWay::Read { extent } => {
                whole("read", extent, result)?;
                let bytes = &self.port.buffer(slot)[..extent.size()];
                let checked = self.shared.payload.check(extent, bytes);
                checked.map_err(|source| WriterError::Content { extent, source })?;
                totals.reads.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

fn whole(
    what: &'static str,
    extent: Extent,
    result: std::io::Result<usize>,
) -> Result<(), WriterError> {
    match result {
        Ok(got) if got == extent.size() => Ok(()),
        Ok(got) => Err(WriterError::Short { what, extent, got }),
        Err(source) => Err(WriterError::Request { what, extent, source }),
    }
}
