//! A sink that sends to a `snapless-server`, with the service's batches and frames.
//!
//! Rule: as in the service, records are sent in order, each once, and the engine gets an
//! acknowledgement only for what is durable at the server.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use snapless_engine::{Record, Step, Tick};
use snapless_link::LinkError;
use snapless_link::client::{Link, LinkCloser, LinkLimits, Message, MessageReceiver};
use snapless_link::frames::FrameSender;
use snapless_link::report::SessionReport;
use snapless_link::tls;
use snapless_service::batch::Batch;
use snapless_trust::config::Purpose;
use snapless_trust::keystore::Applicant;
use snapless_types::Geometry;
use snapless_wire::frame::{FrameKind, Hello};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::ioctl::{MAP_CELLS, MAP_SAMPLES, MapCell};
use snapless_wire::record::{Position, RECORD_HEADER_LEN, RecordError, RecordHeader};

use crate::error::{Error, Result};
use crate::run::Run;
use crate::sink::Serve;

/// A batch is sent at this length, or when there are no more records.
const SEND_AT: usize = 1 << 20;
/// The name by which it enrols.
const MACHINE: &str = "bench";

/// How often the server is told how the session stands.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A link after the greeting.
pub struct Greeted {
    link: Link,
    takes_reports: bool,
}

impl Greeted {
    /// Connects and greets the server; with a token over TLS, as a machine that enrols now.
    pub fn connect(
        address: &str,
        volume: &str,
        token: Option<&str>,
        geometry: &Geometry,
    ) -> Result<Self> {
        let guid = VolumeGuid::parse_name(volume)
            .ok_or_else(|| Error::Sink(format!("{volume:?} is not a GUID")))?;
        let session = SessionId(*uuid::Uuid::new_v4().as_bytes());
        let hello = Hello::new(guid, session, geometry);
        let limits = LinkLimits::default();
        let mut link = match token {
            Some(token) => {
                let applicant = Applicant::new(&token.parse()?, MACHINE, address)?;
                let config = tls::enrol::enrol(applicant, address, &limits)?;
                Link::connect_tls(address, &limits, &config.config(Purpose::Link)?, &|| false)?
            }
            None => Link::connect(address, &limits, &|| false)?,
        };
        let takes_reports = link.greet(&hello, &limits, &|| false)?.takes_reports();
        Ok(Self { link, takes_reports })
    }

    /// The sink; a thread of its own receives the acknowledgements.
    pub fn into_sink(self, run: &Arc<Run>) -> Result<ServerSink> {
        let Link { sender, receiver, closer, .. } = self.link;
        let run = Arc::clone(run);
        let receive = thread::Builder::new().name("acknowledge".to_owned());
        let receive_all = move || {
            if let Err(error) = receive_all(receiver, &run) {
                eprintln!("error: {error}");
                run.progress.fail();
            }
        };
        let receiver = receive.spawn(receive_all).map_err(Error::Thread)?;
        let (begun, reported) = (Instant::now(), None);
        let reports = self.takes_reports.then_some(Reports { begun, reported, sent: 0 });
        Ok(ServerSink { sender, closer, receiver: Some(receiver), batch: Batch::new(), reports })
    }
}

/// Sends records.
pub struct ServerSink {
    sender: FrameSender,
    closer: LinkCloser,
    receiver: Option<JoinHandle<()>>,
    batch: Batch,
    /// `None` if the server takes none.
    reports: Option<Reports>,
}

/// The reports of a session.
struct Reports {
    begun: Instant,
    reported: Option<Instant>,
    /// Bytes sent.
    sent: u64,
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
            let sent = self.sender.send(FrameKind::Records, frame.payload)?;
            if let Some(reports) = &mut self.reports {
                reports.sent += sent as u64;
            }
        }
        if let Some(report) = self.reports.as_mut().and_then(|reports| reports.next(run)) {
            self.sender.send(FrameKind::Report, &report)?;
        }
        Ok(step)
    }
}

impl Reports {
    /// The next report, if it is its turn: as the service's.
    fn next(&mut self, run: &Run) -> Option<Vec<u8>> {
        if self.reported.is_some_and(|at| at.elapsed() < REPORT_INTERVAL) {
            return None;
        }
        self.reported = Some(Instant::now());
        let status = run.session.status();
        let mut held = [0; MAP_CELLS];
        run.session.count_held(&mut held);
        let blocks = run.session.map(MAP_CELLS as u64, MAP_SAMPLES);
        let cells = blocks.zip(held).map(|(blocks, held)| MapCell::new(blocks, held));
        let report = SessionReport {
            name: MACHINE.to_owned(),
            phase: format!("{:?}", status.phase).to_lowercase(),
            age_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            bytes_drained: status.bytes_drained,
            bytes_sent: self.sent,
            map: cells.collect(),
            ..SessionReport::of(&status.counters(), &status.holds)
        };
        report.to_bytes()
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

/// Takes acknowledgements until this end closes the link.
fn receive_all(mut receiver: MessageReceiver, run: &Run) -> std::result::Result<(), LinkError> {
    loop {
        match receiver.receive() {
            Ok(Some(Message::Acknowledge(acknowledge))) => {
                super::acknowledge(run, acknowledge.epoch());
                run.progress.reach(acknowledge.seq().get());
            }
            Ok(Some(Message::Refused(text))) => return Err(LinkError::Refused(text)),
            Ok(Some(other)) => return Err(LinkError::OutOfPlace(other.kind())),
            Ok(None) => return Err(LinkError::Closed),
            Err(LinkError::Cancelled) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use snapless_types::{EpochId, Seq};
    use snapless_wire::frame::{Acknowledge, FRAME_HEADER_LEN, FrameHeader, Welcome};
    use zerocopy::IntoBytes;

    use super::*;
    use crate::host::{Alarm, BenchHost};
    use crate::spec::{SessionSpec, SinkSpec};

    fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
        let header = FrameHeader::new(kind, payload).unwrap();
        [&header.to_bytes(), payload].concat()
    }

    fn run() -> Arc<Run> {
        let geometry = Geometry::new(1 << 20, 512, 64 << 10).unwrap();
        let host = BenchHost::new(Arc::new(Alarm::new().unwrap()), None);
        let sink = SinkSpec::Null { digest: false };
        let spec = SessionSpec { queue_mib: 8, ..SessionSpec::new(sink) };
        Arc::new(Run::new(host, geometry, &spec).unwrap())
    }

    /// A link whose server says this after its welcome, and goes.
    fn greeted(said: Vec<u8>) -> Greeted {
        let welcome = Welcome::new(EpochId::new(0), Seq::new(0));
        let welcome = frame(FrameKind::Welcome, welcome.as_bytes());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            stream.read_exact(&mut [0; FRAME_HEADER_LEN + size_of::<Hello>()]).unwrap();
            stream.write_all(&[welcome, said].concat()).unwrap();
        });
        let geometry = Geometry::new(1 << 20, 512, 64 << 10).unwrap();
        let volume = "11111111-1111-1111-1111-111111111111";
        let greeted = Greeted::connect(&address, volume, None, &geometry).unwrap();
        server.join().unwrap();
        greeted
    }

    #[test]
    fn a_flipped_bit_of_an_acknowledgement_ends_the_session_in_words() {
        let good = frame(
            FrameKind::Acknowledge,
            Acknowledge::new(EpochId::new(1), Seq::new(9)).as_bytes(),
        );
        let of_links = run();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let words = receive_all(greeted(bad.clone()).link.receiver, &of_links).unwrap_err();
            let is_named = matches!(
                words,
                LinkError::Frame(_) | LinkError::Lost(_) | LinkError::OutOfPlace(_)
            );
            assert!(is_named, "bit {bit}: {words}");
            if !bit.is_multiple_of(8) {
                continue;
            }
            let run = run();
            let mut sink = greeted(bad).into_sink(&run).unwrap();
            let begun = Instant::now();
            while !run.progress.has_failed() {
                assert!(begun.elapsed() < Duration::from_secs(20), "bit {bit}: it goes on");
                thread::sleep(Duration::from_millis(1));
            }
            assert!(sink.serve(&run).is_err(), "bit {bit}: nothing more is sent");
            assert_eq!(run.progress.seq(), 0, "bit {bit}: nothing is acknowledged");
        }
        assert_eq!(of_links.progress.seq(), 0);
    }
}
