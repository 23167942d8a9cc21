//! Who drains a session: one file object of the control device at a time.
//!
//! One lock covers the claim, the drain requests of the claimant, and the engine's knowledge of it. So a record
//! never goes to a claimant that has lost its claim, and no drain request is left behind by an ending session.

use core::ptr::null_mut;

use snapless_engine::{Drained, Step, Worker};
use snapless_types::{EpochId, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::record::{Position, RECORD_HEADER_LEN, RecordError, RecordHeader};
use wdk_sys::{
    NTSTATUS, STATUS_DEVICE_BUSY, STATUS_DEVICE_NOT_CONNECTED, STATUS_SUCCESS, WDFFILEOBJECT,
};

use super::Session;
use crate::framework::queue::Queue;
use crate::framework::request::{Output, Request};
use crate::kernel::passive_lock::PassiveLock;

/// Who drains a session, and where its requests wait.
pub struct Claim {
    state: PassiveLock<State>,
    requests: Queue,
}

struct State {
    /// Null: nobody.
    claimant: WDFFILEOBJECT,
    /// The session has ended: a drain gets no more records, ever.
    ended: bool,
}

// SAFETY: the handle is compared and handed to the framework, which synchronizes its objects.
unsafe impl Send for State {}

impl Claim {
    /// A claim of `claimant`, whose drain requests wait in `requests`; `None` if there is no memory. PASSIVE_LEVEL.
    pub fn new(claimant: WDFFILEOBJECT, requests: Queue) -> Option<Self> {
        Some(Self { state: PassiveLock::new(State { claimant, ended: false })?, requests })
    }
}

impl Session {
    /// True if this file object has the claim. PASSIVE_LEVEL.
    pub fn is_claimed_by(&self, file: WDFFILEOBJECT) -> bool {
        self.claim.state.with(|state| core::ptr::eq(state.claimant, file))
    }

    /// Gives the claim to a file object, if nobody has it. PASSIVE_LEVEL.
    pub fn resume(&self, file: WDFFILEOBJECT) -> Result<(), NTSTATUS> {
        self.claim.state.with(|state| {
            if !state.claimant.is_null() {
                return Err(STATUS_DEVICE_BUSY);
            }
            if state.ended || !self.engine.attach() {
                return Err(STATUS_DEVICE_NOT_CONNECTED);
            }
            state.claimant = file;
            Ok(())
        })
    }

    /// Ends the claim of a file object that is going away (rule LOSS: all that it did not acknowledge is lost).
    /// PASSIVE_LEVEL.
    pub fn release(&self, file: WDFFILEOBJECT) {
        self.claim.state.with(|state| {
            if core::ptr::eq(state.claimant, file) {
                self.engine.detach();
                state.claimant = null_mut();
            }
        });
    }

    /// Ends whatever claim there is (rule HANG): nothing is captured until somebody claims the session anew, and so no
    /// write waits. PASSIVE_LEVEL.
    pub(super) fn let_go(&self) {
        self.claim.state.with(|state| {
            self.engine.detach();
            let claimant = core::mem::replace(&mut state.claimant, null_mut());
            if claimant.is_null() {
                return;
            }
            while let Some(request) = self.claim.requests.take_for(claimant) {
                request.complete(STATUS_DEVICE_NOT_CONNECTED);
            }
        });
    }

    /// Keeps a drain request of the claimant until there are records for it. PASSIVE_LEVEL.
    pub fn await_records(&self, request: Request) {
        self.claim.state.with(|state| {
            if state.ended {
                request.complete(STATUS_DEVICE_NOT_CONNECTED);
            } else if let Err((request, status)) = self.claim.requests.forward(request) {
                request.complete(status);
            }
        });
        self.engine.host().event(Worker::Drain).set();
    }

    /// Notes that everything up to an epoch is durable at the server. IRQL <= DISPATCH_LEVEL.
    pub fn acknowledge(&self, epoch: EpochId) {
        self.engine.acknowledge(epoch.get());
    }

    /// Answers drain requests while there are both requests and records. PASSIVE_LEVEL.
    pub(super) fn answer_drains(&self) {
        self.claim.state.with(|state| {
            while self.engine.has_records() && !state.claimant.is_null() {
                let Some(request) = self.claim.requests.take_for(state.claimant) else { return };
                let filled = match request.output() {
                    Ok(mut output) => {
                        self.fill(&mut output);
                        Ok(output.filled())
                    }
                    Err(status) => Err(status),
                };
                match filled {
                    Ok(bytes) => request.complete_with(STATUS_SUCCESS, bytes),
                    Err(status) => request.complete(status),
                }
            }
        });
    }

    /// Tells the claimant's drain requests, and those to come, that the session has ended. PASSIVE_LEVEL.
    pub(super) fn end_drains(&self) {
        self.claim.state.with(|state| {
            state.ended = true;
            if state.claimant.is_null() {
                return;
            }
            while let Some(request) = self.claim.requests.take_for(state.claimant) {
                request.complete(STATUS_DEVICE_NOT_CONNECTED);
            }
        });
    }

    fn fill(&self, output: &mut Output<'_>) {
        while let Some(room) = output.room().checked_sub(RECORD_HEADER_LEN) {
            let Step::Do(drained) = self.engine.drain(room as u64) else { return };
            let complete = self.append(output, &drained);
            debug_assert!(complete, "LOSS: a record that was taken from the queue fits");
            self.engine.drained(drained);
        }
    }

    fn append(&self, output: &mut Output<'_>, drained: &Drained) -> bool {
        let Ok(header) = header(&drained.record()) else { return false };
        if !output.append(&header.to_bytes()) {
            return false;
        }
        let Some(memory) = drained.memory() else { return true };
        let Some(payload) = self.queue.range(memory.offset, memory.len) else { return false };
        let len = usize::try_from(memory.len).unwrap_or(usize::MAX);
        // SAFETY: the range holds `len` bytes and is `drained`'s alone.
        unsafe { output.append_raw(payload, len) }
    }
}

/// The engine's record as it stands on the wire.
fn header(record: &snapless_engine::Record) -> Result<RecordHeader, RecordError> {
    let position = Position {
        seq: Seq::new(record.seq),
        time: FileTime::new(record.time),
        epoch: EpochId::new(record.epoch),
    };
    match record.extent {
        Some(extent) => RecordHeader::extent(record.kind, position, extent.offset(), extent.len()),
        None => RecordHeader::marker(record.kind, position),
    }
}
