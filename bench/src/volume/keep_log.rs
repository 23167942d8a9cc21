//! The loop's work for a volume's write-intent log ([`super::log`]): which write waits, and the
//! reads, writes and flushes of its slots.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use snapless_driver_logic::intent_log::{IntentLog, StampRead, Timing, Todo};
use snapless_engine::{Host, MemorySpan, Worker};
use snapless_types::Extent;
use snapless_wire::state_area::{LOG_LEN, SLOT_LEN, StampHash};

use super::log::{STAMP, Stage};
use super::state::{Loop, Tag};
use crate::memory::Memory;
use crate::ring::{Target, Verb};
use crate::run::Run;

impl<const ENGINE: bool> Loop<ENGINE> {
    /// Issues a write of the session, or has it wait for the log.
    pub(super) fn send_down(&mut self, run: &Run, key: usize, payload: Option<MemorySpan>) {
        if let Some(log) = &mut self.log
            && let Some(header) = self.requests.get(key).map(|it| &it.header)
            && let Some(extent) = Extent::new(header.offset, u64::from(header.len))
            && !log.goes(extent)
        {
            log.parked.push((key, payload));
            return Self::count(&self.shared.statistics.log.waits, 1);
        }
        match payload {
            Some(span) => self.issue_from(key, Memory::Payload(Arc::clone(&run.queue), span)),
            None => self.issue(key),
        }
    }

    /// Does what is to be done for the log, until something is under way.
    pub(super) fn keep_log(&mut self, run: &Run) {
        let now = run.session.host().now();
        while let Some(log) = &mut self.log
            && log.due().is_some_and(|due| due <= now)
        {
            log.is_wanted = false;
            match log.tracker.log_mut().map(|log| log.todo(now)) {
                Some(Todo::Nothing(until)) => log.due = until,
                Some(Todo::Pass) => {
                    log.pass(run, now);
                    log.is_wanted = true;
                }
                Some(Todo::Slot) => self.begin_slot(run, None),
                Some(Todo::Stamp) => {
                    if log.tracker.log().is_some_and(IntentLog::is_new) {
                        log.pass(run, now);
                    }
                    self.begin_stamp();
                }
                Some(Todo::Void | Todo::End) | None => self.lose_log(run, "it was written over"),
            }
        }
    }

    fn begin_stamp(&mut self) {
        let Some(log) = &mut self.log else { return };
        let Some(buffer) = log.slot.take() else { return };
        let writes = log.tracker.log().map_or(0, IntentLog::stamp_writes);
        log.stage = Stage::Stamp(writes);
        let (target, range) = (Target::File(self.shared.disk.file()), 0..STAMP);
        self.ring.begin(target, &Verb::Read(0), Memory::Buffer(buffer), range, Tag::Log);
    }

    fn begin_slot(&mut self, run: &Run, read: Option<StampRead>) {
        let Some(log) = &mut self.log else { return };
        if log.tracker.log().is_some_and(IntentLog::flushes_first) {
            log.stage = Stage::FlushFirst(read);
            let target = Target::File(self.shared.disk.file());
            return self.ring.begin(target, &Verb::Sync, Memory::None, 0..0, Tag::Log);
        }
        self.write_slot(run, read);
    }

    fn write_slot(&mut self, run: &Run, read: Option<StampRead>) {
        let Some(log) = &mut self.log else { return };
        let Some(slot) = log.seal(run, read) else {
            let now = run.session.host().now();
            log.log(|log| log.put_off(now, Timing::DRIVER.settle));
            (log.stage, log.is_wanted) = (Stage::None, true);
            return;
        };
        log.stage = Stage::Write;
        let offset = log.place.next().index as u64 * SLOT_LEN as u64;
        let (target, memory) = (Target::File(Arc::clone(&log.file)), Memory::Buffer(slot));
        self.ring.begin(target, &Verb::Write(offset, false), memory, 0..LOG_LEN, Tag::Log);
    }

    /// An operation for the log is complete.
    pub(super) fn log_done(
        &mut self,
        memory: Memory,
        range: &Range<usize>,
        result: io::Result<usize>,
    ) {
        let (Some(log), Some(run)) = (&mut self.log, self.run.clone()) else { return };
        let stage = std::mem::replace(&mut log.stage, Stage::None);
        let slot = if let Memory::Buffer(slot) = memory { Some(slot) } else { log.slot.take() };
        match result {
            Ok(moved) if moved >= range.len() => {}
            Ok(_) => return self.lose_log(&run, "a part of it was not written"),
            Err(error) => return self.lose_log(&run, &error.to_string()),
        }
        match stage {
            Stage::None => log.slot = slot,
            Stage::Stamp(writes) => {
                let mut hash = StampHash::default();
                hash.update(slot.as_ref().and_then(|it| it.get(range.clone())).unwrap_or_default());
                log.slot = slot;
                self.begin_slot(&run, Some(StampRead { hash: hash.finish(), writes }));
            }
            Stage::FlushFirst(read) => {
                log.slot = slot;
                self.write_slot(&run, read);
            }
            Stage::Write => {
                (log.slot, log.stage) = (slot, Stage::Flush);
                let target = Target::File(Arc::clone(&log.file));
                self.ring.begin(target, &Verb::Sync, Memory::None, 0..0, Tag::Log);
            }
            Stage::Flush => {
                log.slot = slot;
                log.written(run.session.host().now());
                log.is_wanted = true;
                let it = &self.shared.statistics.log;
                it.marked.store(log.marked(), Relaxed);
                it.is_live.store(true, Relaxed);
                Self::count(&it.slots, 1);
                self.release_parked(&run);
                // A record that ends an epoch may have waited.
                self.shared.alarm.raise(Worker::Drain as u32);
            }
        }
    }

    /// Submits the writes again that waited.
    fn release_parked(&mut self, run: &Run) {
        let Some(log) = &mut self.log else { return };
        for (key, payload) in std::mem::take(&mut log.parked) {
            self.send_down(run, key, payload);
        }
    }

    /// The log has failed: what waited goes, and the session counts as failed.
    fn lose_log(&mut self, run: &Run, reason: &str) {
        eprintln!("error: the write-intent log has ended: {reason}");
        run.progress.fail();
        let parked = self.log.take().map(|log| log.parked).unwrap_or_default();
        for (key, payload) in parked {
            self.send_down(run, key, payload);
        }
    }
}
