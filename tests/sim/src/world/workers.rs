//! The four workers of a session, as the host runs them: call the verb, do what it returns, wait to
//! be woken.

use snapless_engine::{Drained, Read, Record, Session, Step, Submission, Tick, WORKERS, Worker};
use snapless_types::{BlockRange, EpochId, RecordKind, Seq};

use super::verbs::Verb;
use super::{Job, Stage, World, index};
use crate::disk::Purpose;
use crate::failure::{Broken, Rule, ensure};
use crate::far_end::Received;
use crate::ledger::Place;
use crate::link::LinkStep;
use crate::memory::Use;
use crate::options::Sabotage;
use crate::volume::{Content, WriteId};

impl World {
    /// The workers that may call their verb, and from when on.
    pub(super) fn worker_dues(&self) -> impl Iterator<Item = (Worker, u64)> + '_ {
        WORKERS.into_iter().filter_map(|worker| {
            let thread = &self.threads[index(worker)];
            let pace = &self.plan.pace;
            let (may_run, not_before) = match worker {
                Worker::Sweep | Worker::Hold => (thread.in_hand < pace.read_depth, 0),
                Worker::Dispatch => (thread.in_hand < pace.dispatch_depth, 0),
                Worker::Drain => (self.link.has_room(thread.in_hand), self.link.next_drain),
            };
            let due = thread.due.filter(|_| may_run && !thread.ended)?;
            Some((worker, due.max(not_before).max(thread.stopped_until)))
        })
    }

    pub(super) fn run_worker(&mut self, worker: Worker) -> Result<(), Broken> {
        let stopped = self.preemption();
        let thread = &mut self.threads[index(worker)];
        if stopped > 0 {
            thread.stopped_until = self.host.ticks() + stopped;
            return Ok(());
        }
        thread.due = None;
        match worker {
            Worker::Sweep => {
                if self.stage != Stage::Starting && self.skip()? {
                    return Ok(());
                }
                let step = self.verb(Verb::Sweep, |session| session.sweep())?;
                let Some(read) = self.take(worker, step)? else { return Ok(()) };
                self.check_sweep(&read)?;
                self.start_read(worker, read)
            }
            Worker::Hold => {
                let step = self.verb(Verb::Hold, |session| session.hold())?;
                self.take(worker, step)?.map_or(Ok(()), |read| self.start_read(worker, read))
            }
            Worker::Dispatch => {
                let step = self.verb(Verb::Dispatch, |session| session.dispatch())?;
                self.run_dispatch(step)
            }
            Worker::Drain => {
                // Now and then the service's buffer is small.
                let room = if self.rng.once_in(16) { 0 } else { u64::MAX };
                let step = self.verb(Verb::Drain, |session| session.drain(room))?;
                if room == 0 {
                    self.threads[index(worker)].wake(self.host.ticks() + 1);
                }
                self.run_drain(step)
            }
        }
    }

    pub(super) fn start_read(&mut self, worker: Worker, read: Read) -> Result<(), Broken> {
        let sectors = self.plan.volume.sectors_of(&read.extent());
        let cells = self.memory.lend(read.memory(), Use::Fill)?;
        ensure!(
            cells.len() == sectors.len(),
            Rule::Bound,
            "a read of {sectors:?} gets memory {cells:?}"
        );
        self.trace.add(sectors.start as u64);
        let purpose = Purpose::Read { read, worker, cells };
        self.disk.start(purpose, sectors, !self.calm, &mut self.rng, self.host.ticks());
        Ok(())
    }

    fn run_dispatch(&mut self, step: Step<Submission<WriteId>>) -> Result<(), Broken> {
        let Some(submission) = self.take(Worker::Dispatch, step)? else { return Ok(()) };
        let id = match &submission {
            Submission::Capture(capture) => *capture.write(),
            Submission::Part(part) => *part.capture().write(),
            Submission::Issue(issue) => issue.write,
            Submission::Held | Submission::Cancelled(_) => {
                return Err(Broken::new(Rule::Hang, "dispatch hands out what it holds"));
            }
        };
        // A write of which the stream has a part is with the host already.
        if self.ledger.write(id).parts.is_none() {
            self.ledger.place(id, Place::Host)?;
        }
        self.accept(submission, id, Some(Worker::Dispatch))
    }

    fn run_drain(&mut self, step: Step<Drained>) -> Result<(), Broken> {
        let Some(drained) = self.take(Worker::Drain, step)? else { return Ok(()) };
        let lent =
            drained.memory().map(|memory| self.memory.lend(memory, Use::Take)).transpose()?;
        let cells = lent.unwrap_or_default();
        let record = drained.record();
        let payload = self.memory.cells[cells.clone()].to_vec();
        self.trace.add(record.seq.get());
        if record.kind == RecordKind::EpochEnd {
            self.ended_epoch = record.epoch.get();
        }
        let sent = match record.kind {
            // In the model each clearing leaves content of its own.
            RecordKind::Trim | RecordKind::Zero => self.cleared_by(&record)?,
            _ => payload.clone(),
        };
        let now = self.host.ticks();
        if self.options.sabotages(Sabotage::NoEpochs) {
            self.link.acknowledgements.push((now, record.epoch.get()));
        }
        self.link.send(Received { record, payload: sent }, self.calm, &mut self.rng, now);
        self.put(Job::Drained { drained, cells, payload });
        Ok(())
    }

    fn cleared_by(&self, record: &Record) -> Result<Vec<Content>, Broken> {
        let what = || format!("{record:?} is of no trim and no write of zeros");
        let id = self.ledger.clearings.get(&record.seq.get());
        let &id = id.ok_or_else(|| Broken::new(Rule::Order, what()))?;
        let sectors = self.ledger.write(id).sectors.clone();
        Ok(sectors.map(|sector| self.ledger.content(id, sector)).collect())
    }

    /// The sweep's first work: blocks without data are skipped. True if it did some of it.
    fn skip(&mut self) -> Result<bool, Broken> {
        let Some(&run) = self.skips.last() else { return Ok(false) };
        let blocks = run.iter().count();
        let reached = self.verb(Verb::Skip { blocks }, |session| session.skip(run))?;
        self.skips.pop();
        if reached < run.end {
            ensure!(reached >= run.start, Rule::T0, "skipping {run:?} goes back to {reached:?}");
            self.skips.push(BlockRange::new(reached, run.end));
        }
        if reached > run.start {
            self.threads[index(Worker::Sweep)].wake(self.host.ticks());
        }
        Ok(true)
    }

    /// Takes a verb's step; `None` if the worker waits or ends.
    fn take<T>(&mut self, worker: Worker, step: Step<T>) -> Result<Option<T>, Broken> {
        let now = self.host.ticks();
        let thread = &mut self.threads[index(worker)];
        match step {
            Step::Do(what) => {
                thread.in_hand += 1;
                thread.wake(now);
                Ok(Some(what))
            }
            Step::Again => {
                thread.wake(now);
                Ok(None)
            }
            Step::Wait(until) => {
                if let Some(Tick(until)) = until {
                    ensure!(
                        until > now || self.plan.pace.odd_clocks,
                        Rule::Hang,
                        "{worker:?} has to wait until an instant that has passed: it would spin"
                    );
                    thread.wake(until.max(now + 1));
                }
                Ok(None)
            }
            Step::Ended => {
                ensure!(
                    self.stage == Stage::Stopped,
                    Rule::Hang,
                    "{worker:?} ends while the session runs"
                );
                self.threads[index(worker)].ended = true;
                Ok(None)
            }
        }
    }

    /// True unless the engine refuses the acknowledgement.
    fn acknowledge(&mut self, epoch: u64) -> Result<bool, Broken> {
        self.verb(Verb::Acknowledge, |session| session.acknowledge(EpochId::new(epoch)).is_ok())
    }

    /// A server acknowledges an epoch whose end was never drained: that changes nothing.
    fn acknowledge_what_cannot_be(&mut self) -> Result<(), Broken> {
        let later = self.ended_epoch + self.rng.within(1..=3);
        let epoch = self.rng.pick(&[0, later, later, u64::MAX]);
        let durable = |world: &Self| world.session.as_ref().map(|it| it.status().acknowledged_seq);
        let before = durable(self);
        let taken = self.acknowledge(epoch)?;
        // The epoch may have been lost: then it is known, and no news.
        let was_any_lost = self.losing.is_lost || !self.link.losses.is_empty();
        let is_lost = epoch == later && was_any_lost;
        ensure!(
            (!taken || is_lost) && durable(self) == before,
            Rule::Loss,
            "epoch {epoch} is acknowledged, and the last one that was drained is {}",
            self.ended_epoch
        );
        Ok(())
    }

    /// All records so far are lost, but those that the server has.
    fn note_loss(&mut self) {
        self.losing.is_lost = true;
        let session = self.session.as_ref();
        self.losing.last = session.map_or(0, |session| session.status().last_seq);
    }

    /// A service comes, and goes on behind what its server has.
    fn attach(&mut self) -> Result<(), Broken> {
        let made = self.link.connect(self.calm)?;
        let durable = Seq::new(self.link.last_kept());
        let has_made = |made| self.session.as_ref().is_none_or(|it| it.has_made(durable, made));
        ensure!(
            made.is_none_or(has_made),
            Rule::Resume,
            "the server has {durable:?}, made at {made:?}, and the driver says that it has not"
        );
        let last = self.session.as_ref().map_or(0, |session| session.status().last_seq);
        let joined = self.verb(Verb::Attach, |session| session.drain_from(durable))?;
        let Ok(has_all) = joined else {
            let text = format!("the server has {durable:?}, and the driver says that it cannot");
            return Err(Broken::new(Rule::Resume, text));
        };
        let status = self.session.as_ref().map(Session::status).unwrap_or_default();
        let is_stopped = self.stage == Stage::Stopped;
        let is_lost = std::mem::take(&mut self.losing.is_lost);
        let may_have_all = durable.get() >= self.losing.last && !is_lost && !is_stopped;
        ensure!(
            has_all == may_have_all || may_have_all && status.records_given_up > 0,
            Rule::Gap,
            "no record was given up, and the records after {durable:?} are {}",
            if has_all { "there" } else { "missing" }
        );
        // What a loss before this one left is not lost again: before t0 that is everything.
        if !has_all && !is_lost {
            self.losing.last = last;
        }
        let now = self.host.ticks();
        self.link.attached(has_all, now);
        self.threads[index(Worker::Drain)].wake(now);
        if !has_all && !is_stopped {
            self.unchecked_loss = Some(self.step);
            if !status.losing {
                self.unchecked_loss = None;
                self.check_loss_of_service()?;
            }
        }
        Ok(())
    }

    pub(super) fn run_link(&mut self, step: LinkStep) -> Result<(), Broken> {
        let now = self.host.ticks();
        match step {
            LinkStep::Receive => self.link.receive(self.calm, &mut self.rng, now)?,
            LinkStep::Durable => self.link.make_durable(self.calm, &mut self.rng, now)?,
            LinkStep::Acknowledge => {
                if self.rng.once_in(8) {
                    self.acknowledge_what_cannot_be()?;
                }
                if let Some(epoch) = self.link.take_acknowledgement() {
                    let taken = self.acknowledge(epoch)?;
                    // Too early, such an epoch may be refused.
                    ensure!(
                        taken || self.options.sabotages(Sabotage::NoEpochs),
                        Rule::Loss,
                        "epoch {epoch} is durable, and its acknowledgement is refused"
                    );
                }
            }
            LinkStep::Leave => {
                // Now and then the machine shuts down: nothing is captured any more.
                if self.rng.once_in(8) || std::mem::take(&mut self.losing.shuts_down) {
                    self.unchecked_loss = Some(self.step);
                    self.note_loss();
                    self.verb(Verb::Detach, |session| session.detach())?;
                } else {
                    self.verb(Verb::Leave, |session| session.leave())?;
                }
                self.paging.left();
                self.link.left(self.calm, &mut self.rng, now);
            }
            LinkStep::Attach => self.attach()?,
        }
        Ok(())
    }
}
