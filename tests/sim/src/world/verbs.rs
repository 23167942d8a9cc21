//! A call of one of the engine's verbs, and what is checked after each: that a gap was needed, and
//! that the work under the session's lock does not grow with the volume.

use snapless_engine::{Session, Urgency, Worker};
use snapless_types::Overflow;

use super::{Stage, World, workers};
use crate::failure::{Broken, Rule, ensure};
use crate::host::{MS, SimHost};
use crate::ledger::Place;
use crate::options::Sabotage;
use crate::plan::Pace;
use crate::volume::WriteId;

/// Known defect of the engine: a held write that was marked when the queue was full keeps the mark
/// after the queue has drained, and the hold limit then begins a gap with an empty queue. While this
/// is true, a gap that the hold limit begins needs only a held write.
const STARVATION_MARK_OUTLIVES_FULL_QUEUE: bool = true;

/// A verb, with what the checks need to know of the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Begin,
    /// `could_go`: nothing kept the write from being captured at once.
    Submit {
        id: WriteId,
        could_go: bool,
    },
    Captured,
    Completed {
        succeeded: bool,
    },
    Cancel,
    Sweep,
    Skip,
    Hold,
    ReadDone,
    Dispatch,
    Drain,
    Drained,
    Acknowledge,
    Detach,
    Attach,
    Pause,
    Grow,
    Stop,
}

impl World {
    /// Calls a verb of the engine and notes what it caused.
    pub(super) fn verb<R>(
        &mut self,
        verb: Verb,
        call: impl FnOnce(&Session<SimHost>) -> R,
    ) -> Result<R, Broken> {
        if self.plan.pace.odd_clocks {
            let lag = if self.rng.once_in(8) { self.rng.below(MS) } else { 0 };
            self.host.set_lag(lag);
            if self.rng.once_in(64) {
                self.host.set_wall_back(self.rng.below(1_000 * MS));
            }
        }
        let session = self.session.as_ref().expect("verbs are called while there is a session");
        let gaps = session.status().gaps;
        let result = call(session);
        let status = session.status();
        let queue_is_empty = status.queue_used == 0 && !session.has_records();
        self.host.set_lag(0);
        let now = self.host.ticks();
        for worker in self.host.take_woken() {
            if worker == Worker::Dispatch && self.options.sabotages(Sabotage::NoWakes) {
                continue;
            }
            let late = self.rng.below(Pace::WAKE_MAX);
            let late = if self.rng.once_in(4) { late } else { 0 };
            self.threads[workers::index(worker)].wake(now + late);
        }
        self.ledger.records(status.last_seq, self.step);
        self.trace.add(status.last_seq);
        self.trace.add(status.queue_used);
        ensure!(
            status.queue_used <= status.queue_bytes,
            Rule::Bound,
            "{} bytes of {} are in use",
            status.queue_used,
            status.queue_bytes
        );
        if status.gaps > gaps {
            self.check_gap(verb)?;
        }
        self.queue_busy_since =
            if queue_is_empty { None } else { self.queue_busy_since.or(Some(now)) };
        Ok(result)
    }

    /// Rule LOSS: a gap costs restorable points, so each has a reason that the model knows to hold.
    fn check_gap(&self, verb: Verb) -> Result<(), Broken> {
        let config = &self.plan.config;
        let limit = config.hold_limit.saturating_sub(MS);
        let queue_was_full = config.overflow == Overflow::Gap
            && self.queue_busy_since.is_some_and(|since| self.host.ticks() - since >= limit);
        let submitted = |id| self.ledger.write(id);
        let is_needed = match verb {
            Verb::Detach | Verb::Grow | Verb::Completed { succeeded: false } => true,
            Verb::Begin => self.stage == Stage::Starting,
            Verb::Submit { id, could_go } => {
                let write = submitted(id);
                let is_past_end = write.sectors.end > self.plan.volume.sectors;
                let is_urgent = write.urgency == Urgency::MustNotWait && !could_go;
                is_past_end
                    || is_urgent
                    || write.urgency == Urgency::PayloadUnavailable
                    || self.outstanding > config.writes_max as usize
            }
            _ => false,
        };
        let is_too_long = || {
            let longest = self.plan.volume.count(config.write_bytes);
            self.ledger.open.iter().any(|&id| submitted(id).sectors.len() > longest)
        };
        let is_marked = || {
            let is_held = |&id: &WriteId| matches!(submitted(id).place, Place::Held(_));
            STARVATION_MARK_OUTLIVES_FULL_QUEUE
                && config.overflow == Overflow::Gap
                && self.ledger.open.iter().any(is_held)
        };
        ensure!(
            is_needed || queue_was_full || is_too_long() || is_marked(),
            Rule::Gap,
            "{verb:?} begins a gap that was not needed; queue in use since {:?}, now {}",
            self.queue_busy_since,
            self.host.ticks()
        );
        Ok(())
    }
}
