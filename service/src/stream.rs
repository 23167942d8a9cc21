//! The stream of one claimed session: drain, send, acknowledge, over one link after another.
//!
//! ```text
//!   driver ── drain thread ──▶ resend window ──▶ links ──▶ server
//!   driver ◀──────────── acknowledgements ◀──── links ◀── server
//! ```
//!
//! If the server is slow or away, the window fills and nothing is drained; the driver's capture
//! queue then fills (rule HANG, rules.md#hang).
//!
//! Rule: records are sent in the driver's order, and behind what the server has made durable. The
//! port stays open, and the session claimed, while links come and go. What ends the stream ends all
//! of its threads; the caller then closes the port, and the driver keeps what is not acknowledged
//! for the next claimant (rule RESUME, rules.md#resume). A call that the driver carried out in no
//! part, for want of memory or because the system cancelled it, does not end the stream: it is
//! repeated.

pub mod error;

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use snapless_driver_client::{DriverError, DriverPort};
use snapless_link::client::Link;
use snapless_types::{RecordKind, Seq};
use snapless_wire::frame::Welcome;
use snapless_wire::id::SessionId;

use crate::attempt::{guarded, repeat};
use crate::batch::{Batch, Frame};
use crate::compare::Touched;
use crate::counters::Counters;
use crate::links::{Dialling, Links};
use crate::session::Reason;
use crate::stop::StopSignal;
use crate::watch::Watch;
use crate::watermark::Captured;
use crate::window::{AnswerLimits, Window};

pub use error::StreamError;

/// How often the stream checks for a stop request and for the end of a flush.
const TICK: Duration = Duration::from_millis(50);
/// How often the server is told that nothing is written.
pub const WATERMARK_INTERVAL: Duration = Duration::from_secs(1);
/// How often the driver is asked whether the volume's length has changed.
const LENGTH_INTERVAL: Duration = Duration::from_secs(1);
/// How often the server is told how the session stands.
const REPORT_INTERVAL: Duration = Duration::from_secs(2);
/// The last report is waited for as long, at most.
const TELL_LIMIT: Duration = Duration::from_secs(1);
/// How often the caller saves the acknowledged epoch.
const SAVE_INTERVAL: Duration = Duration::from_secs(30);

/// Why a stream ended without an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamEnd {
    /// The service stops.
    Stopped {
        /// All that was captured before the stop is durable.
        flushed: bool,
    },
    /// An administrator ended the session, or its volume was removed.
    SessionEnded,
    /// The machine has slept, and its disk may have been written to: the session goes on with a
    /// verification once it is claimed again.
    VolumeChanged,
    /// The volume's length has changed, and what was captured is durable as far as it could be:
    /// stop the session, and let it go on with the new length.
    Resized {
        /// The volume has become shorter.
        shrunk: bool,
    },
    /// Driver and server do not agree: stop the session, and go on as [`Reason::verdict`] says.
    Diverged(Reason),
}

/// The session to stream, and where it is counted.
pub struct Stream<'a> {
    /// The port that has claimed the session.
    pub port: &'a dyn DriverPort,
    /// The session.
    pub session: SessionId,
    /// How a link is made after the first one.
    pub dialling: Dialling<'a>,
    /// Bytes of memory for records that the server has not acknowledged.
    pub resend_window: usize,
    /// The pipeline's counters.
    pub counters: &'a Counters,
    /// Makes the payload of a report.
    pub report: &'a (dyn Fn() -> Option<Vec<u8>> + Sync),
    /// The stop request.
    pub stop: &'a StopSignal,
    /// How long a flush may take, before a stop or after the session's end.
    pub flush_limit: Duration,
    /// How often the server is told that nothing is written.
    pub watermark_interval: Duration,
    /// How long a frame waits until the server says what it has of it.
    pub answer_limits: AnswerLimits,
}

impl Stream<'_> {
    /// Streams over `link`, whose server gave this welcome, and the links after it, until something
    /// ends the stream. Shows `watch` every record; calls `save` regularly.
    pub fn run(
        &self,
        link: Link,
        welcome: &Welcome,
        mut watch: Watch<'_>,
        mut save: impl FnMut(),
    ) -> Result<StreamEnd, StreamError> {
        let halted = StopSignal::new();
        let window = Window::new(self.resend_window, welcome.durable_seq())
            .with_answer_limits(self.answer_limits);
        let links = Links::new(self.port, &self.dialling, self.counters, &window, &halted);
        if let Some(reason) = links.join(welcome)? {
            return Ok(StreamEnd::Diverged(reason));
        }
        let geometry = self.dialling.hello.geometry().map_err(|_| StreamError::Unexplained)?;
        self.counters.stream().begin(self.session);
        let (events, happened) = mpsc::channel();
        thread::scope(|scope| {
            let (drained, linked) = (events.clone(), events);
            let (window, links, halted) = (&window, &links, &halted);
            let touched =
                Touched::new(geometry, welcome.durable_seq()).with_seed(welcome.has_seed());
            let touched = self.dialling.compare.then_some(touched);
            scope.spawn(move || {
                report(&drained, || Event::Drain(self.drain(halted, window, touched, &mut watch)));
            });
            scope.spawn(move || report(&linked, || Event::Links(links.run(link))));
            let end = self.watch(&happened, window, &mut save);
            halted.set();
            self.port.cancel();
            window.close();
            links.hang_up();
            end
        })
    }

    /// Waits for what ends the stream.
    fn watch(
        &self,
        happened: &Receiver<Event>,
        window: &Window,
        save: &mut impl FnMut(),
    ) -> Result<StreamEnd, StreamError> {
        let mut flush: Option<Flush> = None;
        let mut last_words: Option<Instant> = None;
        let mut saved = Instant::now();
        let (mut marked, mut measured) = (saved, saved);
        let mut reported: Option<Instant> = None;
        let mut resized: Option<(Flush, bool)> = None;
        loop {
            match happened.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Drain(Err(StreamError::Driver(DriverError::SessionEnded(_))))) => {
                    // The rest is sent, and waited for.
                    window.finish();
                    last_words = Some(Instant::now() + self.flush_limit);
                }
                Ok(
                    Event::Drain(Err(StreamError::Driver(DriverError::VolumeChanged(_))))
                    | Event::Links(Err(StreamError::Driver(DriverError::VolumeChanged(_)))),
                ) => return Ok(StreamEnd::VolumeChanged),
                Ok(Event::Links(_)) if last_words.is_some() => return Ok(StreamEnd::SessionEnded),
                Ok(Event::Links(Ok(Some(reason)))) => return Ok(StreamEnd::Diverged(reason)),
                Ok(Event::Drain(Err(error)) | Event::Links(Err(error))) => return Err(error),
                Ok(Event::Panicked(text)) => return Err(StreamError::Panicked(text)),
                // These ends only follow another one, which is the cause and has returned above.
                Ok(Event::Drain(Ok(())) | Event::Links(Ok(None)))
                | Err(RecvTimeoutError::Disconnected) => return Err(StreamError::Unexplained),
            }
            let now = Instant::now();
            if last_words.is_some_and(|limit| now >= limit) {
                return Ok(StreamEnd::SessionEnded);
            }
            if self.stop.is_set() {
                let flush = match &mut flush {
                    Some(flush) => flush,
                    none => {
                        // The last one says why it ends.
                        window.report(self.report);
                        window.hurry();
                        none.insert(self.begin_flush(now)?)
                    }
                };
                let flushed = flush.is_done(self.counters);
                // Without a link it would be a wait for a server that may be away for long.
                let is_told = !window.is_telling() || now >= flush.begun + TELL_LIMIT;
                if (flushed && is_told) || now >= flush.limit || !window.has_link() {
                    return Ok(StreamEnd::Stopped { flushed });
                }
            }
            if let Some((flush, shrunk)) = &resized {
                // Without a link it goes on later: the driver keeps what the server lacks.
                if window.has_link() && (flush.is_done(self.counters) || now >= flush.limit) {
                    return Ok(StreamEnd::Resized { shrunk: *shrunk });
                }
            } else if now.duration_since(measured) >= LENGTH_INTERVAL && last_words.is_none() {
                measured = now;
                if let Some(shrunk) = self.has_resized() {
                    resized = Some((self.begin_flush(now)?, shrunk));
                    window.hurry();
                }
            }
            if now.duration_since(marked) >= self.watermark_interval && window.is_settled() {
                marked = now;
                self.mark(window);
            }
            if reported.is_none_or(|at| now.duration_since(at) >= REPORT_INTERVAL) {
                reported = Some(now);
                window.report(self.report);
            }
            if now.duration_since(saved) >= SAVE_INTERVAL {
                saved = now;
                save();
            }
        }
    }

    /// Whether the volume has become shorter, if its length has changed.
    fn has_resized(&self) -> Option<bool> {
        // The drain fails with the same error, and says so.
        let status = self.port.status(self.session).ok()?;
        (status.outgrown || status.shrunk).then_some(status.shrunk)
    }

    /// Tells the server up to when nothing newer was captured, if that is so.
    fn mark(&self, window: &Window) {
        // The drain fails with the same error, and says so.
        let Ok(status) = self.port.status(self.session) else { return };
        if let Some(watermark) = Captured::of(&status).watermark() {
            // If there are newer records after all, these are what the server is told.
            let _overtaken = window.mark(watermark);
        }
    }

    /// Begins to wait until every record that exists now is durable.
    fn begin_flush(&self, now: Instant) -> Result<Flush, DriverError> {
        match self.port.status(self.session) {
            Ok(status) => {
                Ok(Flush { target: status.last_seq, begun: now, limit: now + self.flush_limit })
            }
            // The drain fails with the same error; there is nothing to wait for.
            Err(DriverError::SessionEnded(_) | DriverError::NotFound(_)) => {
                Ok(Flush { target: Seq::new(0), begun: now, limit: now })
            }
            Err(error) => Err(error),
        }
    }

    fn drain(
        &self,
        halted: &StopSignal,
        window: &Window,
        mut touched: Option<Touched>,
        watch: &mut Watch<'_>,
    ) -> Result<(), StreamError> {
        let mut batch = Batch::new();
        loop {
            match repeat(halted, || batch.fill(|buffer| self.port.drain(buffer))) {
                Ok(()) => self.counters.drained(batch.records().len()),
                // The stream ends.
                Err(DriverError::Cancelled(_)) if halted.is_set() => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            let mut seeing = self.counters.stream().seeing();
            let elided = batch.prepare(|record| {
                watch.see(record);
                seeing.see(record);
                if record.kind() == RecordKind::Check {
                    self.counters.checked(record.seq());
                }
            });
            drop(seeing);
            self.counters.elided(elided.map_err(StreamError::Records)?);
            let put = |frame: Frame<&[u8]>| {
                let question = touched.as_mut().and_then(|it| it.note(frame.payload));
                window.put_asking(frame.into_owned(), question)
            };
            if !batch.frames().all(put) {
                return Ok(());
            }
        }
    }
}

/// How a thread has ended.
enum Event {
    Drain(Result<(), StreamError>),
    Links(Result<Option<Reason>, StreamError>),
    Panicked(String),
}

/// Runs a thread's work and reports its end, even if it panics.
fn report(to: &Sender<Event>, work: impl FnOnce() -> Event) {
    let event = guarded(work).unwrap_or_else(Event::Panicked);
    // The receiver is gone if the stream has ended for another reason.
    let _unheard = to.send(event);
}

/// A flush in progress.
struct Flush {
    target: Seq,
    begun: Instant,
    limit: Instant,
}

impl Flush {
    /// True if everything became durable.
    fn is_done(&self, counters: &Counters) -> bool {
        counters.last_acknowledged().seq() >= self.target
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_with_its_text() {
        let (to, events) = mpsc::channel();
        report(&to, || panic!("record {} is missing", 7));
        let Ok(Event::Panicked(text)) = events.recv() else { panic!("no panic is reported") };
        let message = StreamError::Panicked(text).to_string();
        assert!(message.contains("record 7 is missing"), "{message}");
    }
}
