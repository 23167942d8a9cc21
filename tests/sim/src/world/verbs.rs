//! A call of one of the engine's verbs, and what is checked after each.
//!
//! **No needless gap** (rule LOSS, rules.md#loss): a gap costs restorable points. The engine gives
//! its reason, and the model knows by itself whether that is true:
//!
//! | reason | true if |
//! | --- | --- |
//! | `QueueFull` | the queue was never empty for the whole hold limit; 50 s with overflow `hold` |
//! | `TooManyWrites` | the arriving write must not wait, and every slot has a write |
//! | `ServiceLost` | the driver knows that no service is there, or one was lost under a capture |
//! | `PayloadUnavailable` | the arriving write has no payload, or it could not be copied |
//! | `UrgentWrite` | the arriving write must not wait, and could not be captured at once; or the paging file does not have the excluded extents any more, or the service goes before it has looked |
//! | `WriteFailed` | the completed write failed |
//! | `ReadFailed` | a write was held for the whole hold limit, and a read of its blocks failed, or the disk answered no read |
//! | `LengthChanged` | the volume's length changes, or the arriving write passes its end |
//! | `Repair` | blocks are to be repaired |
//!
//! The sweep gives no record up that the server lacks: without it, the end of the service would be
//! a gap.
//!
//! **Bounded work under the lock** (rule HANG, rules.md#hang): writes wait for the session's lock,
//! so what a verb looks at, of blocks, of records and of other writes, grows with the write that it
//! is about and with those beside that, not with the volume, the queue or all writes.

use snapless_engine::{Session, Urgency, Worker};
#[cfg(debug_assertions)]
use snapless_types::Extent;
use snapless_types::GapReason;

use super::{World, index};
use crate::failure::{Broken, Rule, ensure};
use crate::host::{MS, SimHost};
use crate::ledger::Place;
use crate::options::Sabotage;
use crate::plan::Pace;
use crate::volume::WriteId;

/// A verb, with what the checks need to know of the call. `could_go`: nothing kept the write from
/// being captured at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Begin,
    Submit { id: WriteId, could_go: bool },
    Captured,
    NotCaptured,
    Completed { succeeded: bool },
    Cancel,
    Sweep,
    Skip { blocks: usize },
    Unused { blocks: usize },
    Hold,
    ReadDone { blocks: usize },
    Dispatch,
    Drain,
    Drained,
    Acknowledge,
    Leave,
    Detach,
    Attach,
    Pause,
    Verify,
    Repair { blocks: usize },
    Resize,
    PageOut,
    Review { are_still: bool },
    Stop,
}

/// Words of blocks and records that a verb looks at, besides those of writes and of a read.
#[cfg(debug_assertions)]
const STEPS_MAX: u64 = 100;
/// The verbs that still look at the blocks of every held write: `hold` for one to read, `dispatch`
/// for one that the resync has kept for too long.
#[cfg(debug_assertions)]
const LOOKS_AT_ALL_HELD: [Verb; 2] = [Verb::Hold, Verb::Dispatch];
/// Bytes of the smallest cell of the engine's index of writes.
#[cfg(debug_assertions)]
const CELL_BYTES: u64 = 4096;

impl World {
    /// Calls a verb of the engine and notes what it caused.
    pub(super) fn verb<R>(
        &mut self,
        verb: Verb,
        call: impl FnOnce(&Session<SimHost>) -> R,
    ) -> Result<R, Broken> {
        if self.plan.pace.odd_clocks {
            let lag = if self.rng.once_in(8) { self.rng.below(MS) } else { 0 };
            self.host.0.lag.set(lag);
            if self.rng.once_in(64) {
                self.host.0.behind.set(self.rng.below(900 * MS));
            }
            if self.rng.once_in(512) {
                self.host.0.steps.set(self.rng.below(3));
            }
        }
        let session = self.session.as_ref().expect("verbs are called while there is a session");
        let before = session.status();
        #[cfg(debug_assertions)]
        let steps = session.steps();
        let result = call(session);
        let status = session.status();
        let queue_is_empty = status.queue_used == 0 && !session.has_records();
        #[cfg(debug_assertions)]
        let steps = session.steps() - steps;
        self.host.0.lag.set(0);
        let now = self.host.ticks();
        for worker in self.host.take_woken() {
            if worker == Worker::Dispatch && self.options.sabotages(Sabotage::NoWakes) {
                continue;
            }
            let late = self.rng.below(Pace::WAKE_MAX);
            let late = if self.rng.once_in(4) { late } else { 0 };
            self.threads[index(worker)].wake(now + late);
        }
        self.ledger.records(status.last_seq, self.step);
        self.trace.add(status.last_seq);
        self.trace.add(status.queue_used);
        let (used, bytes) = (status.queue_used + status.queue_with_disk, status.queue_bytes);
        ensure!(used <= bytes, Rule::Bound, "{used} bytes of {bytes} are in use");
        #[cfg(debug_assertions)]
        self.check_steps(verb, steps)?;
        if !status.losing && self.unchecked_loss.take().is_some() {
            self.check_loss_of_service()?;
        }
        ensure!(
            verb != Verb::Sweep || status.records_given_up == before.records_given_up,
            Rule::Gap,
            "the sweep gives up records that the server lacks"
        );
        if status.gaps > before.gaps {
            self.check_gap(verb, status.gap_reason)?;
            self.ledger.gaps.push((self.step, status.gap_reason));
        }
        self.queue_busy_since =
            if queue_is_empty { None } else { self.queue_busy_since.or(Some(now)) };
        Ok(result)
    }

    /// Rule HANG: writes wait for the session's lock, so no work under it grows with the volume or
    /// with the number of writes elsewhere.
    #[cfg(debug_assertions)]
    fn check_steps(&self, verb: Verb, steps: u64) -> Result<(), Broken> {
        let volume = &self.plan.volume;
        let longest = self.ledger.open.iter().map(|&id| self.blocks_of(id).len()).max();
        let verbs_own = match verb {
            Verb::Skip { blocks }
            | Verb::Unused { blocks }
            | Verb::ReadDone { blocks }
            | Verb::Repair { blocks } => blocks,
            Verb::Sweep => {
                let config = &self.plan.config;
                let read = volume.count(config.read_bytes.min(config.queue_bytes));
                let [start, end] = volume.paging;
                read.max(end - start) / volume.block_sectors
            }
            _ => 0,
        };
        // The blocks of one write or read, and the cells of the index that it lies in, one by one.
        let blocks = longest.unwrap_or(0).max(verbs_own);
        let bytes = volume.bytes(blocks * volume.block_sectors);
        let alone = STEPS_MAX + 4 * blocks as u64 + 4 * bytes.div_ceil(CELL_BYTES);
        if steps <= alone {
            return Ok(());
        }
        let looks_at_all = LOOKS_AT_ALL_HELD.contains(&verb);
        let held = if looks_at_all { alone * self.ledger.open.len() as u64 } else { 0 };
        // A verb looks its neighbours up four times at most, each in two cells.
        let most = alone + held + 8 * self.neighbours(bytes);
        ensure!(
            steps <= most,
            Rule::Hang,
            "{verb:?} looks at {steps} words, records and writes under the lock, {most} would do"
        );
        Ok(())
    }

    /// The most outstanding writes that one of them, or a read of so many bytes, may meet in the
    /// index: each has cells of at most sixteen times its length.
    #[cfg(debug_assertions)]
    fn neighbours(&self, bytes: u64) -> u64 {
        let volume = &self.plan.volume;
        let extents: Vec<_> = self
            .ledger
            .open
            .iter()
            .map(|&id| volume.extent(&self.ledger.write(id).sectors))
            .collect();
        let near = |offset: u64| {
            let is_near = |other: &&Extent| {
                let reach = bytes + 16 * other.len().max(CELL_BYTES);
                other.offset().abs_diff(offset) <= reach
            };
            extents.iter().filter(is_near).count() as u64
        };
        extents.iter().map(|extent| near(extent.offset())).max().unwrap_or(0)
    }

    /// Rule LOSS: a gap costs restorable points, so the reason that the engine gives has to be
    /// true.
    fn check_gap(&self, verb: Verb, reason: Option<GapReason>) -> Result<(), Broken> {
        let config = &self.plan.config;
        let write = |id| self.ledger.write(id);
        let (urgency, could_go, is_past_end) = match verb {
            Verb::Submit { id, could_go } => {
                let write = write(id);
                (write.urgency, could_go, write.sectors.end > self.plan.volume.sectors)
            }
            _ => (Urgency::MayWait, true, false),
        };
        let is_true = match reason {
            // Restarts, sleep and other lengths are in a world of their own (`reboots`).
            None
            | Some(
                GapReason::Restarted | GapReason::Diverged | GapReason::Slept | GapReason::Resized,
            ) => false,
            Some(GapReason::QueueFull) => {
                // The engine may have read the clock a moment ago.
                let limit = self.plan.longest_wait().saturating_sub(MS);
                let busy = self.queue_busy_since.map(|since| self.host.ticks() - since);
                busy.is_some_and(|ticks| ticks >= limit)
            }
            Some(GapReason::TooManyWrites) => {
                let slots = config.writes_max + config.urgent_writes();
                urgency == Urgency::MustNotWait && self.outstanding > slots as usize
            }
            Some(GapReason::ServiceLost) => {
                // It may have been lost while a payload was copied.
                let was_lost = verb == Verb::Captured && !self.link.losses.is_empty();
                matches!(verb, Verb::Detach | Verb::Attach) || !self.link.is_attached() || was_lost
            }
            Some(GapReason::PayloadUnavailable) => {
                urgency == Urgency::PayloadUnavailable || verb == Verb::NotCaptured
            }
            Some(GapReason::UrgentWrite) => {
                urgency == Urgency::MustNotWait && !could_go
                    || verb == (Verb::Review { are_still: false })
                    // The next service cannot say what the last one excluded.
                    || verb == Verb::Leave && !self.paging.reviewed
            }
            Some(GapReason::WriteFailed) => verb == Verb::Completed { succeeded: false },
            Some(GapReason::ReadFailed) => {
                let limit = config.hold_limit.saturating_sub(MS);
                // The engine counts the time in which threads are preempted.
                let limit = if self.plan.pace.preempts_once_in > 0 { 0 } else { limit };
                let now = self.running_ticks();
                self.ledger.open.iter().any(|&id| {
                    let Place::Held(since) = write(id).place else { return false };
                    let blocks = self.blocks_of(id);
                    let failed = self.ledger.read_failed[blocks].contains(&true);
                    let is_away = self.ledger.away.is_some_and(|at| at >= since);
                    now - since >= limit && (failed || is_away)
                })
            }
            Some(GapReason::Repair) => matches!(verb, Verb::Repair { .. }),
            Some(GapReason::LengthChanged) => verb == Verb::Resize || is_past_end,
        };
        ensure!(
            is_true,
            Rule::Gap,
            "{verb:?} begins a gap for {reason:?}, which is not so; {} writes are outstanding, the \
             queue is in use since {:?}, now is {}",
            self.outstanding,
            self.queue_busy_since,
            self.host.ticks()
        );
        Ok(())
    }
}
