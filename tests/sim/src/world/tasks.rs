//! What threads do between two calls of the engine: copy a payload, issue a write, report a
//! completion. Each can be delayed while everything else goes on.

use std::ops::Range;

use snapless_engine::{Issue, ReadOutcome, Submission, Ticket, Urgency, Worker};

use super::verbs::Verb;
use super::{By, Job, Task, World, index};
use crate::disk::Purpose;
use crate::failure::{Broken, Rule, ensure};
use crate::ledger::{Place, Write};
use crate::memory::Use;
use crate::options::Sabotage;
use crate::plan::Pace;
use crate::volume::{Edition, WriteId};

impl World {
    pub(super) fn put(&mut self, job: Job) {
        let put_off = self.rng.once_in(self.plan.pace.task_put_off_once_in);
        let delay = if put_off { self.rng.below(Pace::PUT_OFF_MAX) } else { 0 };
        let delay = delay + self.preemption();
        self.tasks.push(Task { due: self.host.ticks() + delay, job });
    }

    /// An application submits a write.
    pub(super) fn run_writer(&mut self, index: usize) -> Result<(), Broken> {
        let (volume, now) = (self.plan.volume, self.host.ticks());
        let longest = volume.count(self.plan.config.write_bytes);
        let writer = &mut self.writers[index];
        let pages = writer.pages();
        let (sectors, urgency, clearing) = writer.submit(&mut self.rng, &volume, longest, now);
        let place = if pages {
            let place = self.paging.place(sectors.start, sectors.len());
            // No page is written twice at a time.
            place.filter(|it| !self.ledger.open.iter().any(|&id| self.meets(id, it)))
        } else {
            self.paging.left_for_others(&sectors)
        };
        let Some(sectors) = place else {
            self.writers[index].under_way -= 1;
            return Ok(());
        };
        let extent = volume.extent(&sectors);
        self.trace.add(extent.offset());
        let id = self.ledger.submit(Write {
            sectors: sectors.clone(),
            urgency,
            clearing,
            edition: Edition::default(),
            paged: false,
            writer: index,
            place: Place::Host,
            submitted: self.step,
            parts: None,
            done: None,
            succeeded: false,
        });
        if self.pages_out(id)? {
            self.put(Job::Before(id));
            return Ok(());
        }
        self.outstanding += 1;
        let could_go = self.could_go(id);
        let cancels = self.rng.once_in(4 * self.plan.cancels_once_in);
        self.host.0.cancels.set(cancels);
        let submission = self.verb(Verb::Submit { id, could_go }, |session| match clearing {
            None => session.submit(id, extent, urgency),
            Some(clearing) => session.submit_clearing(id, clearing, extent, urgency),
        })?;
        self.host.0.cancels.set(false);
        if let Submission::Cancelled(write) = submission {
            let is_right = cancels && write == id;
            ensure!(is_right, Rule::Clear, "write {id} ends as cancelled, and was not");
            self.ledger.place(id, Place::Held(self.running_ticks()))?;
            return self.cancelled(id);
        }
        if matches!(submission, Submission::Held) {
            ensure!(!cancels, Rule::Clear, "write {id} is held, though it was cancelled before");
            ensure!(
                urgency == Urgency::MayWait,
                Rule::Hang,
                "write {id} must not wait, and is held"
            );
            if self.options.sabotages(Sabotage::NoHold) {
                for sector in sectors {
                    let content = self.ledger.content(id, sector);
                    self.disk.sectors[sector] = content;
                    self.ledger.apply(sector, content, self.step);
                }
            }
            return self.ledger.place(id, Place::Held(self.running_ticks()));
        }
        self.accept(submission, id, None)
    }

    /// Carries out the engine's decision about a write that it does not hold.
    pub(super) fn accept(
        &mut self,
        submission: Submission<WriteId>,
        id: WriteId,
        by: By,
    ) -> Result<(), Broken> {
        match submission {
            Submission::Capture(capture) => {
                let cells = self.memory.lend(capture.memory(), Use::Fill)?;
                let write = self.ledger.write(id);
                ensure!(
                    *capture.write() == id
                        && capture.extent() == self.plan.volume.extent(&write.sectors)
                        && cells.len() == write.sectors.len()
                        && write.clearing.is_none(),
                    Rule::Clear,
                    "write {id} of {:?} is captured as {capture:?}",
                    write.sectors
                );
                self.check_turn(id)?;
                self.put(Job::Copy(capture, cells, by));
            }
            Submission::Part(part) => {
                let cells = self.memory.lend(part.memory(), Use::Fill)?;
                let write = self.ledger.write(id);
                let part_of = self.plan.volume.sectors_of(&part.capture().extent());
                let next = write.parts.unwrap_or(write.sectors.start);
                ensure!(
                    *part.capture().write() == id
                        && part_of.start == next
                        && part_of.end <= write.sectors.end
                        && part_of.len() < write.sectors.len()
                        && cells.len() == part_of.len()
                        && write.clearing.is_none(),
                    Rule::Clear,
                    "a part of write {id} of {:?} is captured as {part:?}",
                    write.sectors
                );
                self.check_turn(id)?;
                self.ledger.write_mut(id).parts = Some(part_of.end);
                self.put(Job::CopyPart(part, cells, by));
            }
            Submission::Issue(issue) => {
                ensure!(issue.write == id, Rule::Clear, "write {id} is issued as another");
                let write = self.ledger.write(id);
                match issue.record {
                    Some(_) if write.parts == Some(write.sectors.end) => {}
                    Some(seq) => {
                        ensure!(
                            self.ledger.write(id).clearing.is_some(),
                            Rule::Loss,
                            "write {id} has record {seq}, but its payload was never asked for"
                        );
                        self.check_turn(id)?;
                        self.ledger.clearings.insert(seq.get(), id);
                    }
                    None => self.check_dirty(id, Rule::Loss, "is let through uncaptured")?,
                }
                self.put_issue(issue, by)?;
            }
            Submission::Held => {}
            Submission::Cancelled(_) => {
                return Err(Broken::new(Rule::Clear, "a write that was held is cancelled"));
            }
        }
        Ok(())
    }

    pub(super) fn run_task(&mut self, index: usize) -> Result<(), Broken> {
        match self.tasks.swap_remove(index).job {
            Job::Before(id) => {
                self.ledger.place(id, Place::Disk)?;
                self.start_write(id, None, None);
            }
            Job::Copy(capture, cells, by) => {
                let id = *capture.write();
                for (cell, sector) in cells.clone().zip(self.ledger.write(id).sectors.clone()) {
                    self.memory.cells[cell] = self.ledger.content(id, sector);
                }
                self.put(Job::Captured(capture, cells, by));
            }
            Job::Captured(capture, cells, by) => {
                let id = *capture.write();
                self.memory.give_back(&cells);
                let issue = if self.copy_fails() {
                    self.verb(Verb::NotCaptured, |session| session.not_captured(capture))?
                } else {
                    self.verb(Verb::Captured, |session| session.captured(capture))?
                };
                if issue.record.is_none() {
                    self.check_dirty(id, Rule::Loss, "has no record")?;
                }
                ensure!(issue.write == id, Rule::Clear, "write {id} is issued as another");
                self.put_issue(issue, by)?;
            }
            Job::CopyPart(part, cells, by) => {
                let id = *part.capture().write();
                let sectors = self.plan.volume.sectors_of(&part.capture().extent());
                for (cell, sector) in cells.clone().zip(sectors) {
                    self.memory.cells[cell] = self.ledger.content(id, sector);
                }
                self.put(Job::PartCaptured(part, cells, by));
            }
            Job::PartCaptured(part, cells, by) => {
                let id = *part.capture().write();
                self.memory.give_back(&cells);
                let next = if self.copy_fails() {
                    self.verb(Verb::NotCaptured, |session| session.part_not_captured(part))?
                } else {
                    self.verb(Verb::Captured, |session| session.part_captured(part))?
                };
                if let (Submission::Held, Some(worker)) = (&next, by) {
                    self.worker_done(worker);
                }
                self.accept(next, id, by)?;
            }
            Job::Issue(issue, cells, by) => self.issue(issue, cells, by)?,
            Job::Complete(id, ticket, cells) => {
                if let Some(cells) = cells {
                    self.memory.give_back(&cells);
                }
                let succeeded =
                    self.ledger.write(id).succeeded || self.options.sabotages(Sabotage::NoTruth);
                self.completed(Ticket::from_raw(ticket.into_raw()), succeeded)?;
                if !succeeded {
                    self.check_dirty(id, Rule::Truth, "failed")?;
                }
                self.put(Job::Done(id));
            }
            Job::Done(id) => {
                self.done(id)?;
                self.check_application_view(id)?;
            }
            Job::ReadDone { read, worker, cells, outcome } => {
                self.memory.give_back(&cells);
                let sabotaged = self.options.sabotages(Sabotage::NoReadErrors);
                let outcome = if sabotaged { ReadOutcome::Done } else { outcome };
                let blocks = cells.len().div_ceil(self.plan.volume.block_sectors);
                let verb = Verb::ReadDone { blocks };
                match self.verb(verb, |session| session.read_done(read, outcome))? {
                    Some(next) => self.start_read(worker, next)?,
                    None => self.worker_done(worker),
                }
            }
            Job::Drained { drained, cells, payload } => {
                ensure!(
                    self.memory.cells[cells.clone()] == payload,
                    Rule::Bound,
                    "the memory of record {} changes while it is drained",
                    drained.record().seq
                );
                if drained.memory().is_some() {
                    self.memory.give_back(&cells);
                }
                self.verb(Verb::Drained, |session| session.drained(drained))?;
                self.worker_done(Worker::Drain);
            }
        }
        Ok(())
    }

    /// True if the payload that was to be copied could not be mapped.
    fn copy_fails(&mut self) -> bool {
        !self.calm && self.rng.once_in(self.plan.copy_fails_once_in)
    }

    /// An application cancels one of its writes, if one is held.
    pub(super) fn cancel(&mut self) -> Result<(), Broken> {
        let is_held = |&id: &WriteId| matches!(self.ledger.write(id).place, Place::Held(_));
        let held: Vec<_> = self.ledger.open.iter().copied().filter(is_held).collect();
        if held.is_empty() {
            return Ok(());
        }
        let id = self.rng.pick(&held);
        let key = (id, self.plan.volume.extent(&self.ledger.write(id).sectors));
        let taken = self.verb(Verb::Cancel, |session| session.cancel_held(&key))?;
        ensure!(taken == Some(id), Rule::Clear, "write {id} is held and cannot be cancelled");
        self.cancelled(id)
    }

    /// To the checks a cancelled write is one that never reached the disk.
    fn cancelled(&mut self, id: WriteId) -> Result<(), Broken> {
        self.done(id)?;
        self.report.cancelled += 1;
        self.outstanding -= 1;
        Ok(())
    }

    /// The application learns the outcome of a write.
    fn done(&mut self, id: WriteId) -> Result<(), Broken> {
        self.writers[self.ledger.write(id).writer].under_way -= 1;
        self.ledger.done(id, self.step)
    }

    /// Advances one request of the disk.
    pub(super) fn run_disk(&mut self, index: usize) {
        let now = self.host.ticks();
        let (memory, ledger) = (&mut self.memory, &mut self.ledger);
        let finished = self.disk.advance(index, &mut self.rng, now, memory, ledger, self.step);
        let Some((purpose, outcome)) = finished else { return };
        match purpose {
            Purpose::Write { id, ticket, cells } => {
                self.ledger.write_mut(id).succeeded = outcome == ReadOutcome::Done;
                self.put(ticket.map_or(Job::Done(id), |ticket| Job::Complete(id, ticket, cells)));
            }
            Purpose::Read { read, worker, cells } => {
                let sectors = self.plan.volume.sectors_of(&read.extent());
                match outcome {
                    ReadOutcome::BadSector if sectors.len() == 1 => {
                        self.ledger.unreadable[sectors.start] = true;
                    }
                    ReadOutcome::Done | ReadOutcome::BadSector => {}
                    ReadOutcome::NotNow => self.ledger.away = Some(self.running_ticks()),
                }
                if outcome != ReadOutcome::Done {
                    let blocks = self.plan.volume.blocks_of(&sectors);
                    self.ledger.read_failed[blocks].fill(true);
                }
                self.put(Job::ReadDone { read, worker, cells, outcome });
            }
        }
    }

    fn put_issue(&mut self, issue: Issue<WriteId>, by: By) -> Result<(), Broken> {
        let from_queue = issue.payload.filter(|_| !self.options.sabotages(Sabotage::NoCopy));
        let lent = from_queue.map(|memory| self.memory.lend(memory, Use::Take));
        let cells = lent.transpose()?;
        self.put(Job::Issue(issue, cells, by));
        Ok(())
    }

    fn issue(
        &mut self,
        issue: Issue<WriteId>,
        cells: Option<Range<usize>>,
        by: By,
    ) -> Result<(), Broken> {
        let Issue { write: id, ticket, .. } = issue;
        self.ledger.place(id, Place::Disk)?;
        if let Some(worker) = by {
            self.worker_done(worker);
        }
        let lost = self.options.sabotages(Sabotage::NoIssue)
            && self.ledger.write(id).urgency != Urgency::MayWait;
        // A host that does not hold has applied it already.
        let early = self.options.sabotages(Sabotage::NoHold) && by.is_some();
        if lost || early {
            self.ledger.write_mut(id).succeeded = true;
            self.put(Job::Complete(id, ticket, cells));
            return Ok(());
        }
        if self.options.sabotages(Sabotage::NoOverlap) {
            if let Some(cells) = cells {
                self.memory.give_back(&cells);
            }
            self.completed(ticket, true)?;
            self.start_write(id, None, None);
        } else {
            self.start_write(id, Some(ticket), cells);
        }
        Ok(())
    }

    fn start_write(&mut self, id: WriteId, ticket: Option<Ticket>, cells: Option<Range<usize>>) {
        let sectors = self.ledger.write(id).sectors.clone();
        let purpose = Purpose::Write { id, ticket, cells };
        self.disk.start(purpose, sectors, !self.calm, &mut self.rng, self.host.ticks());
    }

    fn completed(&mut self, ticket: Ticket, succeeded: bool) -> Result<(), Broken> {
        self.outstanding -= 1;
        self.verb(Verb::Completed { succeeded }, |session| session.completed(ticket, succeeded))
    }

    fn worker_done(&mut self, worker: Worker) {
        let thread = &mut self.threads[index(worker)];
        thread.in_hand -= 1;
        thread.wake(self.host.ticks());
    }
}
