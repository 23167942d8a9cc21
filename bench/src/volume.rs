//! A volume: one thread with one ring, which does all work of the volume.
//!
//! The thread receives requests, calls the engine, reads and writes the file, sends replies, and
//! runs the engine's workers between two turns of the ring. So a write never waits for another
//! thread.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`shared`] | what other threads see of a volume |
//! | `state` | the loop's own state |
//! | `client` | requests, from the socket to the reply |
//! | `engine` | the engine's sweep, hold, dispatch and drain |
//! | [`log`], `keep_log` | the write-intent log of a session; the loop's work for it |
//!
//! Rule: the loop blocks only in the ring's wait.

mod client;
mod engine;
mod keep_log;
pub mod log;
pub mod shared;
mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use snapless_engine::Worker;

use crate::error::Result;
use crate::host::Alarm;
use crate::memory::{Buffer, Memory};
use crate::ring::{Done, Target, Verb};
use shared::{Mail, Shared};
pub use state::Loop;
use state::{Deadlines, Tag};

impl<const ENGINE: bool> Loop<ENGINE> {
    /// Serves until [`Mail::Stop`]. Runs on a thread of its own.
    pub fn run(shared: Arc<Shared>, mail: Receiver<Mail>) -> Result<()> {
        let mut volume = Self::new(shared, mail)?;
        let bell = Buffer::new(8)?;
        volume.listen(bell);
        while !volume.is_over() {
            volume.turn()?;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.stopping && self.connections.is_empty() && self.requests.is_empty()
    }

    fn turn(&mut self) -> Result<()> {
        let reasons = self.shared.alarm.take();
        if reasons & Alarm::MAIL != 0 {
            self.read_mail()?;
        }
        if ENGINE {
            self.work(reasons);
        }
        self.send_replies();
        if self.is_over() {
            return Ok(());
        }
        let limit = if self.shared.alarm.doze() { self.limit() } else { Some(Duration::ZERO) };
        let waited = self.ring.wait(limit);
        self.shared.alarm.rise();
        waited?;
        let mut done = std::mem::take(&mut self.done);
        self.ring.take_done(&mut done);
        for done in done.drain(..) {
            self.finish(done)?;
        }
        self.done = done;
        Ok(())
    }

    fn finish(&mut self, done: Done<Tag>) -> Result<()> {
        let Done { tag, memory, range, result } = done;
        match (tag, memory) {
            (Tag::Bell, Memory::Buffer(bell)) => self.listen(bell),
            (Tag::Inbox(key), Memory::Buffer(inbox)) => return self.received(key, inbox, &result),
            (Tag::Payload(key, request), Memory::Buffer(buffer)) => {
                return self.received_payload((key, request), buffer, range, &result);
            }
            (Tag::Sent(key), Memory::Bytes(bytes)) => self.sent(key, bytes, range, &result),
            (Tag::Request(key), memory) => return self.request_done(key, memory, range, result),
            (Tag::EngineRead, Memory::Queue(queue, read)) => {
                self.read_done((queue, read), range, result);
            }
            (Tag::Log, memory) => self.log_done(memory, &range, result),
            // The ring returns the memory that it was given.
            (tag, memory) => debug_assert!(false, "{tag:?} {memory:?}"),
        }
        Ok(())
    }

    fn listen(&mut self, bell: Buffer) {
        let target = Target::Socket(self.shared.alarm.bell());
        self.ring.begin(target, &Verb::Read(0), Memory::Buffer(bell), 0..8, Tag::Bell);
    }

    fn read_mail(&mut self) -> Result<()> {
        while let Ok(mail) = self.mail.try_recv() {
            match mail {
                Mail::Connect(stream, structured) => self.connect(stream, structured)?,
                Mail::Begin(beginning, reply) => {
                    self.run = Some(beginning.run);
                    self.pace = beginning.pace;
                    self.holes = (!beginning.awaits_holes).then(Vec::new);
                    self.depth = beginning.depth;
                    self.log = beginning.log;
                    // The sender may have given up.
                    let _ = reply.send(());
                }
                Mail::Holes(holes) => {
                    self.holes = Some(holes);
                    self.shared.alarm.raise(Worker::Sweep as u32);
                }
                Mail::End(reply) => {
                    self.run = None;
                    self.log = None;
                    self.pace = None;
                    self.holes = None;
                    self.deadlines = Deadlines::default();
                    let _ = reply.send(());
                }
                Mail::Stop => {
                    self.stopping = true;
                    self.close_all();
                }
            }
        }
        Ok(())
    }

    /// How long the loop may sleep; `None`: until it is woken.
    fn limit(&self) -> Option<Duration> {
        if !ENGINE {
            return None;
        }
        let run = self.run.as_ref()?;
        let Deadlines { sweep, dispatch, hold, .. } = self.deadlines;
        let log = self.log.as_ref().and_then(log::Logging::due);
        let ticks = [sweep, dispatch, hold, log].into_iter().flatten().min();
        let by_tick = ticks.map(|due| {
            let now = snapless_engine::Host::now(run.session.host());
            // One tick longer, so that the deadline has passed when it is checked.
            Duration::from_nanos(due.since(now).saturating_add(1).saturating_mul(100))
        });
        let by_time = self.deadlines.drain.map(|due| due.saturating_duration_since(Instant::now()));
        by_tick.into_iter().chain(by_time).min()
    }

    fn count(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}
