//! The engine in the loop: writes and the four workers.
//!
//! A worker is called until it has nothing to do, and again when the engine raises the alarm for
//! it. Reads go from the file straight into queue memory, as many at once as the engine asks for.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use snapless_engine::{Host, Issue, Read, ReadOutcome, Step, Submission, Tick, Urgency, Worker};
use snapless_nbd::Command;
use snapless_types::{Clearing, Extent};

use super::state::{Loop, Tag};
use crate::memory::{Memory, QueueMemory};
use crate::ring::{Target, Verb};
use crate::run::Run;

/// The rundown's processor for all of a volume's writes: its loop is one thread.
const LOOP: usize = 0;
/// Calls of `skip` per turn; requests are served in between.
const SKIPS_MAX: u32 = 8;

impl<const ENGINE: bool> Loop<ENGINE> {
    /// Acquires rundown protection for a write, then submits it to the session or issues it.
    pub(super) fn filter(&mut self, key: usize) {
        let Some(request) = self.requests.get_mut(key) else { return };
        let Some(protection) = self.shared.rundown.acquire(LOOP) else {
            debug_assert!(false, "the rundown of a volume is never closed");
            return self.issue(key);
        };
        request.protection = Some(protection);
        // Relaxed: the rundown orders it.
        if !self.shared.rundown.protected(protection).load(Ordering::Relaxed) {
            return self.issue(key);
        }
        let (Some(run), Some(extent)) =
            (&self.run, Extent::new(request.header.offset, u64::from(request.header.len)))
        else {
            debug_assert!(false, "T0: a session is known to the loop before writes reach it");
            return self.issue(key);
        };
        let run = Arc::clone(run);
        let submission = match request.command {
            Command::Trim => {
                run.session.submit_clearing(key, Clearing::Trim, extent, Urgency::MayWait)
            }
            Command::Zero { .. } => {
                run.session.submit_clearing(key, Clearing::Zero, extent, Urgency::MayWait)
            }
            _ => run.session.submit(key, extent, Urgency::MayWait),
        };
        self.carry_out(&run, submission);
    }

    fn carry_out(&mut self, run: &Run, mut submission: Submission<usize>) {
        while let Submission::Part(part) = submission {
            if let Some(log) = &mut self.log {
                log.expect(&part.capture().extent());
            }
            let request = self.requests.get(*part.capture().write());
            let skip = usize::try_from(part.skip()).unwrap_or(usize::MAX);
            let payload = request.and_then(|it| it.buffer.as_ref()?.get(skip..));
            let len = usize::try_from(part.memory().len).unwrap_or(0);
            let payload = payload.and_then(|payload| payload.get(..len)).unwrap_or_default();
            let copied = run.queue.put(part.capture(), payload);
            debug_assert!(copied, "LOSS: a part has a payload and a place for it");
            submission = run.session.part_captured(part);
        }
        let Issue { write, ticket, payload, .. } = match submission {
            Submission::Capture(capture) => {
                if let Some(log) = &mut self.log {
                    log.expect(&capture.extent());
                }
                let request = self.requests.get(*capture.write());
                let payload =
                    request.and_then(|it| it.buffer.as_ref()?.get(..it.header.len as usize));
                let copied = run.queue.put(&capture, payload.unwrap_or_default());
                debug_assert!(copied, "LOSS: a captured write has a payload and a place for it");
                run.session.captured(capture)
            }
            Submission::Issue(issue) => issue,
            Submission::Held | Submission::Part(_) | Submission::Cancelled(_) => return,
        };
        if let Some(request) = self.requests.get_mut(write) {
            request.ticket = Some(ticket);
        }
        self.send_down(run, write, payload);
    }

    /// Completes a write in the engine and releases its rundown protection.
    pub(super) fn completed(&mut self, key: usize, succeeded: bool) {
        let Some(request) = self.requests.get_mut(key) else { return };
        if let (Some(ticket), Some(run)) = (request.ticket.take(), &self.run) {
            run.session.completed(ticket, succeeded);
        }
        if let Some(protection) = request.protection.take() {
            self.shared.rundown.release(protection, LOOP);
        }
    }

    /// Runs the workers that were woken or are due.
    pub(super) fn work(&mut self, reasons: u32) {
        let Some(run) = self.run.clone() else { return };
        let reasons = reasons | self.due(&run);
        let is_due = |worker: Worker| reasons & worker as u32 != 0;
        if is_due(Worker::Hold) {
            self.hold(&run);
        }
        if is_due(Worker::Dispatch) {
            self.dispatch(&run);
        }
        self.keep_log(&run);
        if is_due(Worker::Drain)
            && self.log.as_mut().is_none_or(|log| log.may_leave(run.session.ends().last()))
            && let Some(pace) = &mut self.pace
        {
            self.deadlines.drain = pace.serve(&run);
        }
        if is_due(Worker::Sweep) {
            self.sweep(&run);
        }
    }

    fn due(&self, run: &Run) -> u32 {
        let mut reasons = 0;
        let by_tick = [
            (Worker::Sweep, self.deadlines.sweep),
            (Worker::Hold, self.deadlines.hold),
            (Worker::Dispatch, self.deadlines.dispatch),
        ];
        if by_tick.iter().any(|(_, due)| due.is_some()) {
            let now = run.session.host().now();
            let is_due = |due: &Option<Tick>| due.is_some_and(|due| due <= now);
            for (worker, _) in by_tick.iter().filter(|(_, due)| is_due(due)) {
                reasons |= *worker as u32;
            }
        }
        if self.deadlines.drain.is_some_and(|due| due <= Instant::now()) {
            reasons |= Worker::Drain as u32;
        }
        reasons
    }

    fn hold(&mut self, run: &Run) {
        self.deadlines.hold = loop {
            match run.session.hold() {
                Step::Do(read) => self.read(run, read),
                Step::Again => {}
                Step::Wait(until) => break until,
                Step::Ended => break None,
            }
        };
    }

    fn dispatch(&mut self, run: &Run) {
        self.deadlines.dispatch = loop {
            match run.session.dispatch() {
                Step::Do(submission) => self.carry_out(run, submission),
                Step::Again => {}
                Step::Wait(until) => break until,
                Step::Ended => break None,
            }
        };
    }

    fn sweep(&mut self, run: &Run) {
        self.deadlines.sweep = None;
        if !self.skip(run) {
            return;
        }
        // At the limit it goes on when a read ends.
        while self.reads < self.depth {
            match run.session.sweep() {
                Step::Do(read) => self.read(run, read),
                Step::Again => {}
                Step::Wait(until) => {
                    self.deadlines.sweep = until;
                    return;
                }
                Step::Ended => return,
            }
        }
    }

    /// Reports holes to the engine; false if some are left.
    fn skip(&mut self, run: &Run) -> bool {
        for _ in 0..SKIPS_MAX {
            let Some(holes) = &mut self.holes else { return false };
            let Some(hole) = holes.last_mut() else { return true };
            let next = run.session.skip(*hole);
            if next == hole.start {
                // The queue is full; the engine wakes the sweep when it has room.
                return false;
            }
            hole.start = next;
            if hole.is_empty() {
                holes.pop();
            }
        }
        self.shared.alarm.raise(Worker::Sweep as u32);
        self.holes.as_ref().is_some_and(Vec::is_empty)
    }

    fn read(&mut self, run: &Run, read: Read) {
        self.reads += 1;
        let offset = read.extent().offset();
        let len = usize::try_from(read.extent().len()).unwrap_or(0);
        let memory = Memory::Queue(Arc::clone(&run.queue), read);
        let target = Target::File(self.shared.disk.file());
        self.ring.begin(target, &Verb::Read(offset), memory, 0..len, Tag::EngineRead);
    }

    pub(super) fn read_done(
        &mut self,
        (queue, read): (Arc<QueueMemory>, Read),
        range: Range<usize>,
        result: io::Result<usize>,
    ) {
        let Some(run) = self.run.clone() else {
            debug_assert!(false, "T0: a session with reads in flight is not settled");
            return;
        };
        if let Ok(moved) = result
            && moved > 0
            && moved < range.len()
        {
            let rest = range.start + moved..range.end;
            let offset = read.extent().offset() + rest.start as u64;
            let target = Target::File(self.shared.disk.file());
            let memory = Memory::Queue(queue, read);
            return self.ring.begin(target, &Verb::Read(offset), memory, rest, Tag::EngineRead);
        }
        self.reads -= 1;
        let outcome = match result {
            Ok(moved) if moved == range.len() => ReadOutcome::Done,
            // The file ends early.
            Ok(_) => ReadOutcome::BadSector,
            Err(error) if is_bad_sector(&error) => ReadOutcome::BadSector,
            Err(_) => ReadOutcome::NotNow,
        };
        if outcome != ReadOutcome::Done {
            // The memory may hold older content: unreadable blocks are zeros.
            queue.clear(&read);
        }
        if let Some(next) = run.session.read_done(read, outcome) {
            self.read(&run, next);
        } else {
            // The sweep may have stopped at the limit of reads.
            self.shared.alarm.raise(Worker::Sweep as u32);
        }
    }
}

/// True if Linux's block layer says that a sector cannot be read.
fn is_bad_sector(error: &io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::NODATA | rustix::io::Errno::IO))
}
