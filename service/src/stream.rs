//! The stream of one claimed session over one link: drain, send, acknowledge.
//!
//! ```text
//!   driver ── drain thread ──▶ two batches ──▶ send thread ──▶ server
//!   driver ◀──────────── receive thread: acknowledgements ◀── server
//! ```
//!
//! Two batches circulate: one is drained while the other is sent. If the server is slow, both are
//! full and nothing is drained; the driver's capture queue then fills (rule HANG, rules.md#hang).
//!
//! Rule: records are sent in the driver's order, each once. The end of one thread ends all three;
//! the caller then closes the port, and the driver marks what is not acknowledged dirty (rule LOSS,
//! rules.md#loss). A call that the driver carried out in no part, for want of memory or because the
//! system cancelled it, does not end the stream: it is repeated.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use snapless_driver_client::{DriverError, DriverPort};
use snapless_link::LinkError;
use snapless_link::client::{Link, LinkCloser, Message, MessageReceiver};
use snapless_link::frames::FrameSender;
use snapless_types::{EpochId, Seq};
use snapless_wire::frame::FrameKind;
use snapless_wire::id::SessionId;
use snapless_wire::record::RecordError;

use crate::batch::Batch;
use crate::counters::Counters;
use crate::stop::StopSignal;
use crate::watch::Watch;

/// Batches in circulation: one being drained, one being sent.
const BATCHES: usize = 2;
/// How often the stream checks for a stop request and for the end of a flush.
const TICK: Duration = Duration::from_millis(50);
/// Pause before a call to the driver is repeated.
const REPEAT_PAUSE: Duration = Duration::from_millis(100);
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
}

/// Why a stream broke.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The driver failed.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The link failed, or the server refused.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The driver returned bytes that are not records.
    #[error("the driver returned bytes that are not records: {0}")]
    Records(RecordError),
    /// The server acknowledged an epoch that it cannot have.
    #[error(
        "the server acknowledges epoch {0}, which it cannot have: the link is closed and what it \
         has not acknowledged is sent again; install server and service of the same release"
    )]
    ImpossibleEpoch(EpochId),
    /// A thread panicked.
    #[error("a bug ended the stream ({0}); please report it with the log lines above")]
    Panicked(String),
    /// A thread ended without a reason.
    #[error("a bug ended the stream and no thread said why; please report it with the log")]
    Unexplained,
}

/// The session to stream, and where it is counted.
pub struct Stream<'a> {
    /// The port that has claimed the session.
    pub port: &'a dyn DriverPort,
    /// The session.
    pub session: SessionId,
    /// The pipeline's counters.
    pub counters: &'a Counters,
    /// The stop request.
    pub stop: &'a StopSignal,
    /// How long a flush may take, before a stop or after the session's end.
    pub flush_limit: Duration,
}

impl Stream<'_> {
    /// Streams over `link` until something ends it. Shows `watch` every record; calls `save`
    /// regularly.
    pub fn run(
        &self,
        link: Link,
        mut watch: Watch<'_>,
        mut save: impl FnMut(),
    ) -> Result<StreamEnd, StreamError> {
        let halted = StopSignal::new();
        let (events, happened) = mpsc::channel();
        let (empty_in, empty_out) = mpsc::sync_channel(BATCHES);
        let (full_in, full_out) = mpsc::sync_channel(BATCHES);
        for _ in 0..BATCHES {
            // Cannot fail: the receiver exists and the channel has room for every batch.
            let _sent = empty_in.send(Batch::new());
        }
        let Link { sender, receiver, closer } = link;
        thread::scope(|scope| {
            let (drained, sent, received) = (events.clone(), events.clone(), events);
            // A thread reports its end before it drops its channel ends: where a channel is found
            // closed, the reason is already in `events`.
            let halted = &halted;
            scope.spawn(move || {
                report(&drained, || Event::Drain(self.drain(halted, &empty_out, &full_in)));
            });
            scope.spawn(move || {
                report(&sent, || Event::Send(self.send(sender, &mut watch, &full_out, &empty_in)));
            });
            scope.spawn(move || {
                report(&received, || Event::Receive(self.receive(halted, receiver)));
            });
            let end = self.watch(&happened, &mut save);
            self.halt(halted, &closer);
            end
        })
    }

    /// Waits for what ends the stream.
    fn watch(
        &self,
        happened: &Receiver<Event>,
        save: &mut impl FnMut(),
    ) -> Result<StreamEnd, StreamError> {
        let mut flush: Option<Flush> = None;
        let mut last_words: Option<Instant> = None;
        let mut saved = Instant::now();
        loop {
            match happened.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(Event::Drain(Err(DriverError::SessionEnded(_)))) => {
                    last_words = Some(Instant::now() + self.flush_limit);
                }
                // The rest is sent; the server closes the link once it is durable.
                Ok(Event::Send(Ok(()))) if last_words.is_some() => {}
                Ok(Event::Send(_) | Event::Receive(_)) if last_words.is_some() => {
                    return Ok(StreamEnd::SessionEnded);
                }
                Ok(Event::Drain(Err(error))) => return Err(error.into()),
                Ok(Event::Send(Err(error)) | Event::Receive(Err(error))) => return Err(error),
                Ok(Event::Receive(Ok(()))) => return Err(LinkError::Closed.into()),
                Ok(Event::Panicked(text)) => return Err(StreamError::Panicked(text)),
                // These ends only follow another one, which is the cause and has returned above.
                Ok(Event::Drain(Ok(())) | Event::Send(Ok(())))
                | Err(RecvTimeoutError::Disconnected) => return Err(StreamError::Unexplained),
            }
            let now = Instant::now();
            if last_words.is_some_and(|limit| now >= limit) {
                return Ok(StreamEnd::SessionEnded);
            }
            if self.stop.is_set() {
                let flush = match &mut flush {
                    Some(flush) => flush,
                    none => none.insert(self.begin_flush(now)?),
                };
                if let Some(flushed) = flush.is_over(now, self.counters) {
                    return Ok(StreamEnd::Stopped { flushed });
                }
            }
            if now.duration_since(saved) >= SAVE_INTERVAL {
                saved = now;
                save();
            }
        }
    }

    /// Begins to wait until every record that exists now is durable.
    fn begin_flush(&self, now: Instant) -> Result<Flush, DriverError> {
        match self.port.status(self.session) {
            Ok(status) => Ok(Flush { target: status.last_seq, limit: now + self.flush_limit }),
            // The drain fails with the same error; there is nothing to wait for.
            Err(DriverError::SessionEnded(_) | DriverError::NotFound(_)) => {
                Ok(Flush { target: Seq::new(0), limit: now })
            }
            Err(error) => Err(error),
        }
    }

    /// Ends all three threads, whatever they wait for.
    fn halt(&self, halted: &StopSignal, closer: &LinkCloser) {
        halted.set();
        self.port.cancel();
        closer.close();
    }

    fn drain(
        &self,
        halted: &StopSignal,
        empty: &Receiver<Batch>,
        full: &SyncSender<Batch>,
    ) -> Result<(), DriverError> {
        while let Ok(mut batch) = empty.recv() {
            match repeat(halted, || batch.fill(|buffer| self.port.drain(buffer))) {
                Ok(()) => self.counters.drained(batch.records().len()),
                // The stream ends: see `halt`.
                Err(DriverError::Cancelled(_)) if halted.is_set() => return Ok(()),
                Err(error) => return Err(error),
            }
            if full.send(batch).is_err() {
                break;
            }
        }
        // The send thread has ended and reported why.
        Ok(())
    }

    fn send(
        &self,
        mut sender: FrameSender,
        watch: &mut Watch<'_>,
        full: &Receiver<Batch>,
        empty: &SyncSender<Batch>,
    ) -> Result<(), StreamError> {
        while let Ok(mut batch) = full.recv() {
            let elided = batch.prepare(|record| watch.see(record));
            self.counters.elided(elided.map_err(StreamError::Records)?);
            for frame in batch.frames() {
                self.counters.sent(sender.send(FrameKind::Records, frame)?);
            }
            // If the drain thread has ended, `full` yields what is left in it and then closes.
            let _gone = empty.send(batch);
        }
        Ok(sender.finish()?)
    }

    fn receive(
        &self,
        halted: &StopSignal,
        mut receiver: MessageReceiver,
    ) -> Result<(), StreamError> {
        while let Some(message) = receiver.receive()? {
            match message {
                Message::Acknowledge(acknowledge) => {
                    let epoch = acknowledge.epoch();
                    match repeat(halted, || self.port.acknowledge(epoch)) {
                        Ok(()) | Err(DriverError::SessionEnded(_)) => {}
                        Err(DriverError::ImpossibleEpoch) => {
                            return Err(StreamError::ImpossibleEpoch(epoch));
                        }
                        Err(error) => return Err(error.into()),
                    }
                    // Counts even if the driver has ended the session meanwhile.
                    self.counters.acknowledged(acknowledge);
                }
                Message::Refused(text) => return Err(LinkError::Refused(text).into()),
                Message::Welcome(_) => {
                    return Err(LinkError::OutOfPlace(FrameKind::Welcome).into());
                }
            }
        }
        Ok(())
    }
}

/// Calls the driver until it has carried the call out, unless the stream ends.
///
/// A call without memory was not begun. A cancelled one has taken no record: the driver completes
/// only drains that wait as cancelled. The system may cancel a call that this program did not.
fn repeat<T>(
    halted: &StopSignal,
    mut ask: impl FnMut() -> Result<T, DriverError>,
) -> Result<T, DriverError> {
    loop {
        match ask() {
            Err(DriverError::NoMemory(_) | DriverError::Cancelled(_))
                if !halted.wait_for(REPEAT_PAUSE) => {}
            answer => return answer,
        }
    }
}

/// How a thread has ended.
enum Event {
    Drain(Result<(), DriverError>),
    Send(Result<(), StreamError>),
    Receive(Result<(), StreamError>),
    Panicked(String),
}

/// Runs a thread's work and reports its end, even if it panics.
fn report(to: &Sender<Event>, work: impl FnOnce() -> Event) {
    let event = panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Event::Panicked(panic_text(&*panic)));
    // The receiver is gone if the stream has ended for another reason.
    let _unheard = to.send(event);
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without text").to_owned()
}

/// A flush in progress.
struct Flush {
    target: Seq,
    limit: Instant,
}

impl Flush {
    /// Whether everything became durable; `None` while it is still waited for.
    fn is_over(&self, now: Instant, counters: &Counters) -> Option<bool> {
        let flushed = counters.last_acknowledged().seq() >= self.target;
        (flushed || now >= self.limit).then_some(flushed)
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
