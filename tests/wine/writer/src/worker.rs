//! One thread of load: one request after the other until it is told to stop.
//!
//! The rule: any error of the volume ends the run; a write is logged exactly if the volume
//! completed it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::device::Device;
use crate::error::WriterError;
use crate::extent::Extent;
use crate::log::{Instant100, Logged, WriteLog};
use crate::pace::Pace;
use crate::payload::{Payload, WriteId};
use crate::plan::{Action, Plan, Targets};
use crate::regions::Regions;

/// State that the threads of a run share.
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
    /// Completed writes. Relaxed: read exactly after the threads ended.
    pub writes: AtomicU64,
    /// Their bytes.
    pub bytes: AtomicU64,
}

impl Shared {
    /// The state of a load of `rate` bytes per second, or without a limit.
    pub fn new(regions: Regions, seed: u64, rate: Option<u64>, log: WriteLog) -> Self {
        Self {
            targets: Targets::new(regions, seed),
            payload: Payload::new(seed),
            seed,
            pace: Pace::new(rate),
            log,
            stop: AtomicBool::new(false),
            writes: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        }
    }
}

/// Runs one thread's share of the load until [`Shared::stop`].
pub fn run(shared: &Shared, thread: u16, mut device: Device) -> Result<(), WriterError> {
    let mut plan = Plan::new(&shared.targets, shared.seed, thread);
    let mut ids = (1..).map(|counter| WriteId::new(thread, counter));
    let mut result = Ok(());
    while result.is_ok() && !shared.stop.load(Ordering::Relaxed) {
        let action = plan.next_action();
        wait_for_pace(shared, action);
        result = match action {
            Action::Write(extent) => write(shared, &mut device, extent, ids.next(), false),
            Action::WriteZeros(extent) => write(shared, &mut device, extent, ids.next(), true),
            Action::Read(extent) => read(shared, &mut device, extent),
            Action::Flush => device.flush().map_err(WriterError::Flush),
        };
    }
    if result.is_err() {
        shared.stop.store(true, Ordering::Relaxed);
    }
    result
}

fn wait_for_pace(shared: &Shared, action: Action) {
    let bytes = match action {
        Action::Write(extent) | Action::WriteZeros(extent) => extent.len(),
        Action::Read(_) | Action::Flush => 0,
    };
    while let Err(wait) = shared.pace.admit(bytes) {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(wait);
    }
}

fn write(
    shared: &Shared,
    device: &mut Device,
    extent: Extent,
    id: Option<WriteId>,
    zeros: bool,
) -> Result<(), WriterError> {
    let id = id.expect("a run has fewer than 2^48 writes");
    let buffer = device.buffer(extent.size());
    if zeros {
        buffer.fill(0);
    } else {
        shared.payload.fill(id, extent.offset(), buffer);
    }
    let submitted = Instant100::now();
    whole("write", extent, device.write(extent))?;
    let completed = Instant100::now();
    shared.writes.fetch_add(1, Ordering::Relaxed);
    shared.bytes.fetch_add(extent.len(), Ordering::Relaxed);
    shared.log.append(&Logged { id, extent, zeros, submitted, completed })
}

fn read(shared: &Shared, device: &mut Device, extent: Extent) -> Result<(), WriterError> {
    whole("read", extent, device.read(extent))?;
    let checked = shared.payload.check(extent, device.buffer(extent.size()));
    checked.map_err(|source| WriterError::Content(extent, source))
}

fn whole(what: &'static str, extent: Extent, result: io::Result<usize>) -> Result<(), WriterError> {
    match result {
        Ok(got) if got == extent.size() => Ok(()),
        Ok(got) => Err(WriterError::Short(what, extent, got)),
        Err(source) => Err(WriterError::Request(what, extent, source)),
    }
}
