//! A sink that sends to a `snapless-server`, with the service's batches and frames.
//!
//! Rule: as in the service, records are sent in order, each once, and the engine gets an
//! acknowledgement only for what is durable at the server.

use std::sync::Arc;
use std::thread::{self, JoinHandle};

use snapless_engine::{Record, Step, Tick};
use snapless_link::LinkError;
use snapless_link::client::{Link, LinkCloser, LinkLimits, Message, MessageReceiver};
use snapless_link::frames::FrameSender;
use snapless_service::batch::Batch;
use snapless_types::Geometry;
use snapless_wire::frame::{FrameKind, Hello};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{Position, RECORD_HEADER_LEN, RecordError, RecordHeader};

use crate::error::{Error, Result};
use crate::run::Run;
use crate::sink::Serve;

/// A batch is sent at this length, or when there are no more records.
const SEND_AT: usize = 1 << 20;

/// A link after the greeting.
pub struct Greeted {
    link: Link,
}

impl Greeted {
    /// Connects and greets the server.
    pub fn connect(address: &str, volume: &str, geometry: &Geometry) -> Result<Self> {
        let guid = VolumeGuid::parse(volume)
            .ok_or_else(|| Error::Sink(format!("{volume:?} is not a GUID")))?;
        let session = SessionId(*uuid::Uuid::new_v4().as_bytes());
        let hello = Hello::new(guid, session, geometry);
        let limits = LinkLimits::default();
        let mut link = Link::connect(address, &limits, &|| false)?;
        link.greet(&hello, &limits, &|| false)?;
        Ok(Self { link })
    }

    /// The sink; a thread of its own receives the acknowledgements.
    pub fn into_sink(self, run: &Arc<Run>) -> Result<ServerSink> {
        let Link { sender, receiver, closer } = self.link;
        let run = Arc::clone(run);
        let receive = thread::Builder::new().name("acknowledge".to_owned());
        let receiver = receive.spawn(move || receive_all(receiver, &run)).map_err(Error::Thread)?;
        Ok(ServerSink { sender, closer, receiver: Some(receiver), batch: Batch::new() })
    }
}

/// Sends records.
pub struct ServerSink {
    sender: FrameSender,
    closer: LinkCloser,
    receiver: Option<JoinHandle<()>>,
    batch: Batch,
}

impl Serve for ServerSink {
    fn serve(&mut self, run: &Run) -> Result<Step<()>> {
        if run.progress.has_failed() {
            return Err(LinkError::Closed.into());
        }
        let mut step = Step::Do(());
        self.batch.fill(|buffer| {
            let (len, next) = fill(buffer, run)?;
            step = next;
            Ok::<_, Error>(len)
        })?;
        self.batch.prepare(|_| ()).map_err(unsound)?;
        for frame in self.batch.frames() {
            self.sender.send(FrameKind::Records, frame.payload)?;
        }
        Ok(step)
    }
}

/// Moves records from the queue to `buffer`; returns their length, and whether there may be more.
fn fill(buffer: &mut [u8], run: &Run) -> Result<(usize, Step<()>)> {
    let mut len = 0;
    while len < SEND_AT {
        let Some(room) = buffer.len().checked_sub(len + RECORD_HEADER_LEN) else { break };
        let drained = match run.session.drain(room as u64) {
            Step::Do(drained) => drained,
            // The queue is empty, or the next record does not fit.
            Step::Wait(_) if len > 0 => break,
            Step::Wait(until) => return Ok((0, Step::Wait(until))),
            Step::Again => break,
            Step::Ended => return Ok((len, Step::Ended)),
        };
        let header = header(&drained.record()).map_err(unsound);
        let payload = run.queue.payload(&drained);
        let end = len + RECORD_HEADER_LEN + payload.len();
        if let Ok(header) = &header {
            buffer[len..len + RECORD_HEADER_LEN].copy_from_slice(&header.to_bytes());
            buffer[len + RECORD_HEADER_LEN..end].copy_from_slice(payload);
        }
        run.session.drained(drained);
        header?;
        len = end;
    }
    Ok((len, Step::Do(())))
}

fn header(record: &Record) -> std::result::Result<RecordHeader, RecordError> {
    let Record { seq, time, monotonic: Tick(monotonic), epoch, .. } = *record;
    let position = Position { seq, time: FileTime::new(time), monotonic, epoch };
    RecordHeader::new(record.kind, position, record.extent, record.gap_reason)
}

fn unsound(error: RecordError) -> Error {
    Error::Sink(format!("the engine made an invalid record: {error}"))
}

impl Drop for ServerSink {
    fn drop(&mut self) {
        self.closer.close();
        if let Some(receiver) = self.receiver.take() {
            // It has reported its own errors.
            let _ = receiver.join();
        }
    }
}

fn receive_all(mut receiver: MessageReceiver, run: &Run) {
    loop {
        match receiver.receive() {
            Ok(Some(Message::Acknowledge(acknowledge))) => {
                super::acknowledge(run, acknowledge.epoch());
                run.progress.reach(acknowledge.seq().get());
            }
            Ok(Some(Message::Refused(text))) => {
                eprintln!("error: the server refused: {text}");
                return run.progress.fail();
            }
            Ok(Some(Message::Welcome(_)) | None) => return run.progress.fail(),
            Err(LinkError::Cancelled) => return,
            Err(error) => {
                eprintln!("error: {error}");
                return run.progress.fail();
            }
        }
    }
}
