//! A session's claim and its drain requests.

use snapless_engine::{Drained, ImpossibleSeq, Record, Step, Tick, Worker};
use snapless_types::{End, EpochId, RecordKind, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::ioctl::{DrainFrom, Verify};
use snapless_wire::record::{Position, RECORD_HEADER_LEN, RecordError, RecordHeader};
use wdk_sys::{
    NTSTATUS, STATUS_DEVICE_BUSY, STATUS_DEVICE_NOT_CONNECTED, STATUS_DEVICE_NOT_READY,
    STATUS_INVALID_PARAMETER, STATUS_SUCCESS, STATUS_WRONG_VOLUME,
};

use super::Session;
use super::claim::State;
use crate::framework::request::{FileObject, Output, Request};

impl Session {
    /// True if this file object has the claim. PASSIVE_LEVEL.
    pub fn is_claimed_by(&self, file: FileObject) -> bool {
        self.claim.state.with(|state| state.claimant == Some(file))
    }

    /// Gives the claim to a file object, unless there is a claimant. Nothing is drained before
    /// [`Session::drain_from`]. PASSIVE_LEVEL.
    pub fn resume(&self, file: FileObject) -> Result<(), NTSTATUS> {
        self.claim.state.with(|state| {
            if state.claimant.is_some() {
                return Err(STATUS_DEVICE_BUSY);
            }
            if state.ended || self.is_stopped() {
                return Err(STATUS_DEVICE_NOT_CONNECTED);
            }
            (state.claimant, state.is_lost) = (Some(file), false);
            Ok(())
        })
    }

    /// Lets the claimant drain what follows the last record that its server has; false if a gap
    /// begins there. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` for a record that the server cannot have, or that another past of
    /// the machine has made; `STATUS_WRONG_VOLUME` after [`Session::doubt`].
    pub fn drain_from(&self, from: DrainFrom) -> Result<bool, NTSTATUS> {
        // No record is being copied for an earlier claimant.
        let joined = self.claim.state.with(|state| {
            if state.is_lost {
                return Ok(Err(STATUS_WRONG_VOLUME));
            }
            let DrainFrom { durable, made, origin, lose } = from;
            // What it continues with speaks of servers whose streams end with what it lists.
            let end = End { seq: durable, made };
            let holds = || self.taken().is_none_or(|taken| taken.holds(&end));
            if !self.engine.is_placed() && !holds() {
                return Err(ImpossibleSeq);
            }
            // The stream of a session that continues stands there.
            self.engine.place(durable, made, origin)?;
            if !self.engine.has_made(durable, made) {
                return Err(ImpossibleSeq);
            }
            if lose {
                self.engine.detach();
            }
            self.engine.drain_from(durable).map(Ok)
        });
        joined.map_err(|ImpossibleSeq| STATUS_INVALID_PARAMETER)?
    }

    /// Ends the claim of a file object that is being closed: what it has not acknowledged is kept
    /// for the next one (rule RESUME, rules.md#resume). PASSIVE_LEVEL.
    pub fn release(&self, file: FileObject) {
        self.claim.state.with(|state| {
            if state.claimant == Some(file) {
                self.engine.leave();
                state.claimant = None;
            }
        });
    }

    /// Ends the claim there is, if any: nothing is captured until a service claims the session
    /// again, so that no write waits (rule HANG, rules.md#hang). PASSIVE_LEVEL.
    pub fn end_claim(&self) {
        self.claim.state.with(|state| {
            self.engine.detach();
            self.refuse_drains(state, STATUS_DEVICE_NOT_CONNECTED);
            state.claimant = None;
        });
    }

    /// The volume may have been written to past the session, while the machine slept: every block
    /// is read again. The claimant's requests fail until it claims the session anew. PASSIVE_LEVEL.
    pub fn doubt(&self) {
        self.claim.state.with(|state| {
            self.engine.doubt();
            self.refuse_drains(state, STATUS_WRONG_VOLUME);
            state.is_lost = true;
        });
    }

    /// Keeps a drain request of the claimant until there are records for it. PASSIVE_LEVEL.
    pub fn pend_drain(&self, request: Request) {
        self.claim.state.with(|state| {
            if state.ended {
                request.complete(STATUS_DEVICE_NOT_CONNECTED);
            } else if state.is_lost {
                request.complete(STATUS_WRONG_VOLUME);
            } else if let Err((request, status)) = self.claim.requests.forward(request) {
                request.complete(status);
            }
        });
        self.event(Worker::Drain).set();
    }

    /// Notes that everything up to an epoch is durable at the server. PASSIVE_LEVEL.
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` for an epoch that the server cannot have; `STATUS_WRONG_VOLUME`
    /// after [`Session::doubt`].
    pub fn acknowledge(&self, epoch: EpochId) -> Result<(), NTSTATUS> {
        if self.claim.state.with(|state| state.is_lost) {
            return Err(STATUS_WRONG_VOLUME);
        }
        self.engine.acknowledge(epoch).map_err(|_| STATUS_INVALID_PARAMETER)
    }

    /// Begins or ends a verification of the copy, or repairs what one has found. IRQL <=
    /// DISPATCH_LEVEL.
    ///
    /// # Errors
    /// `STATUS_INVALID_PARAMETER` for a repair past the volume's end, `STATUS_DEVICE_NOT_READY` for
    /// one that cannot begin now.
    pub fn verify(&self, verify: Verify) -> Result<(), NTSTATUS> {
        match verify {
            Verify::Begin { bytes_per_second } => self.engine.begin_verification(bytes_per_second),
            Verify::End => self.engine.end_verification(),
            Verify::Repair(extent) => {
                let blocks = self.engine.geometry().blocks_of(&extent);
                let blocks = blocks.ok_or(STATUS_INVALID_PARAMETER)?;
                if !self.engine.repair(blocks) {
                    return Err(STATUS_DEVICE_NOT_READY);
                }
            }
        }
        Ok(())
    }

    /// Answers drain requests while there are both requests and records. PASSIVE_LEVEL.
    #[inline(never)] // Not on the stack of what else the thread does.
    pub fn answer_drains(&self) {
        while let Some((request, filled, end)) = self.answer_next() {
            // RESUME (rules.md#resume): not before the log lists what the server's stream may end
            // with, and not while the volume may have been changed past the session.
            self.state.wait_to_leave(end);
            let is_lost = self.claim.state.with(|state| state.is_lost);
            match filled {
                _ if is_lost => request.complete(STATUS_WRONG_VOLUME),
                Ok(bytes) => request.complete_with(STATUS_SUCCESS, bytes),
                Err(status) => request.complete(status),
            }
        }
    }

    /// Fills the next request; with the last record in it that ends an epoch.
    fn answer_next(&self) -> Option<(Request, Result<usize, NTSTATUS>, Seq)> {
        self.claim.state.with(|state| {
            let may_leave =
                self.engine.has_records() && !state.is_lost && !self.state.is_doubtful();
            let claimant = state.claimant.filter(|_| may_leave)?;
            let request = self.claim.requests.retrieve(claimant)?;
            let mut end = Seq::default();
            let filled = match request.output() {
                Ok(mut output) => {
                    end = self.fill(&mut output);
                    Ok(output.filled())
                }
                Err(status) => Err(status),
            };
            Some((request, filled, end))
        })
    }

    /// Completes the claimant's drain requests, and those to come: the session has ended.
    /// PASSIVE_LEVEL.
    pub fn end_drains(&self) {
        self.claim.state.with(|state| {
            state.ended = true;
            self.refuse_drains(state, STATUS_DEVICE_NOT_CONNECTED);
        });
    }

    fn refuse_drains(&self, state: &State, status: NTSTATUS) {
        let Some(claimant) = state.claimant else { return };
        while let Some(request) = self.claim.requests.retrieve(claimant) {
            request.complete(status);
        }
    }

    /// Returns the last record that ends an epoch; 0 if none does.
    fn fill(&self, output: &mut Output<'_>) -> Seq {
        let mut end = Seq::default();
        while let Some(room) = output.room().checked_sub(RECORD_HEADER_LEN) {
            let Step::Do(drained) = self.engine.drain(room as u64) else { break };
            let complete = self.append(output, &drained);
            debug_assert!(complete, "LOSS: a record that was taken from the queue fits");
            let Record { kind, seq, .. } = drained.record();
            if kind == RecordKind::EpochEnd {
                end = seq;
            }
            self.engine.drained(drained);
        }
        end
    }

    fn append(&self, output: &mut Output<'_>, drained: &Drained) -> bool {
        let Ok(header) = header(&drained.record()) else { return false };
        let Some(payload) = self.queue.payload(drained) else { return false };
        output.append(&header.to_bytes()) && output.append(payload)
    }
}

/// A record's header on the wire.
fn header(record: &Record) -> Result<RecordHeader, RecordError> {
    let Record { seq, time, monotonic: Tick(monotonic), epoch, .. } = *record;
    let position = Position { seq, time: FileTime::new(time), monotonic, epoch };
    RecordHeader::new(record.kind, position, record.extent, record.gap_reason)
}
