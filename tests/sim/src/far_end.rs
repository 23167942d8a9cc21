//! The far end of the link: the real server's code, and of the service its resend window and what
//! makes records into frames.
//!
//! Records go through the service's real window and the link's real frames into the server's real
//! stream state and writer, over a [`SimStorage`] that loses power. The server acknowledges what
//! its writer has committed, and nothing else is acknowledged to the engine. After a crash the
//! server opens the session again, and what it then says to be durable is what it has to keep.
//!
//! The model of the server (`link`) follows along: it says what must be there.

mod stream;

use std::borrow::Cow;
use std::collections::HashMap;

use snapless_engine::{Record, Tick};
use snapless_link::client::{Link, Message};
use snapless_link::frames::{FrameReceiver, FrameSender, Wait};
use snapless_server::checks::Checks;
use snapless_server::error::Error;
use snapless_server::format::session::SessionHeader;
use snapless_server::given::Given;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::point::keep::keep;
use snapless_server::reader::SessionReader;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::timeline::{At, Cut};
use snapless_server::verify::verify;
use snapless_server::writer::SessionWriter;
use snapless_service::batch::Frame;
use snapless_service::checks;
use snapless_service::compare::{Elided, Touched};
use snapless_service::window::{Next, Window};
use snapless_types::{Made, RecordKind, Seq};
use snapless_wire::compare::{Compare, Compared};
use snapless_wire::frame::{
    Acknowledge, FRAME_PAYLOAD_MAX, FrameHeader, FrameKind, Hello, Watermark, Welcome,
};
use snapless_wire::id::{FileTime, SessionId, VolumeGuid};
use snapless_wire::record::{Position, RECORD_HEADER_LEN, RecordHeader};
use zerocopy::IntoBytes;

use crate::failure::{Broken, Rule, ensure};
use crate::options::{Options, Sabotage};
use crate::plan::FarEndPlan;
use crate::rng::Rng;
use crate::storage::{Lies, SimStorage};
use crate::volume::{Content, Sectors, Volume};

const VOLUME: VolumeGuid = VolumeGuid([1; 16]);
const SESSION: SessionId = SessionId([2; 16]);

/// A record as the driver handed it out.
#[derive(Clone, Debug)]
pub struct Received {
    /// Its header.
    pub record: Record,
    /// Its payload, if it has one.
    pub payload: Vec<Content>,
}

impl Received {
    /// The sectors that it is about; none for a marker.
    pub fn sectors(&self, volume: &Volume) -> Sectors {
        let extent = self.record.extent.filter(|_| self.record.kind.has_extent());
        extent.map_or(0..0, |extent| volume.sectors_of(&extent))
    }
}

/// The server, and the service's end of the link to it.
#[derive(Debug)]
pub struct FarEnd {
    plan: FarEndPlan,
    volume: Volume,
    rng: Rng,
    storage: SimStorage,
    connection: Option<Connection>,
    /// What the service has sent, and the server has not acknowledged.
    window: Window,
    /// How many frames the present link got.
    sent: usize,
    /// The watermark that the server had when the last connection began.
    watermark: Option<Watermark>,
    /// After a cut the service does not send those again.
    no_resend: bool,
    /// What the claim's stream was about; `None` before the first claim.
    touched: Option<Touched>,
    /// The last record that the server had when the claim began, if the service notes nothing else.
    forgets_since: Option<Seq>,
    forgets_writes: bool,
    /// What is read to verify the copy has a flipped bit now and then.
    flips_bits: bool,
    /// What was read first of each sector to verify the copy, if each later check says the same.
    first_read: Option<HashMap<usize, Content>>,
    /// Sectors that were not sent, as the server had them.
    unchanged: u64,
    /// The frame that the service is making.
    frame: Vec<u8>,
    payload: Vec<u8>,
}

#[derive(Debug)]
struct Connection {
    service: Link,
    receiver: FrameReceiver,
    sender: FrameSender,
    repository: WritableRepository,
    writer: SessionWriter,
    ingest: Ingest,
    /// The server keeps a map of the volume after so many bytes of the stream.
    map_bytes: u64,
}

/// What came of letting the server work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Served {
    /// It acknowledged this.
    Acknowledged(Acknowledge),
    /// It stored a frame in which no epoch ends.
    Stored,
    /// It keeps a watermark.
    Marked,
    /// No frame has come.
    Idle,
    /// Its power failed, or a sync of its disk.
    Failed,
}

impl FarEnd {
    /// A server that knows nothing, and no connection to it.
    pub fn new(plan: FarEndPlan, volume: Volume, options: &Options) -> Self {
        let mut rng = Rng::new(options.seed, 3);
        let lies = Lies {
            sync: options.sabotages(Sabotage::NoSync),
            sync_dir: options.sabotages(Sabotage::NoDirectorySync),
            cut: false,
        };
        let storage = SimStorage::new(rng.fork(), lies);
        Self {
            plan,
            volume,
            rng,
            storage,
            connection: None,
            window: Window::new(usize::MAX, Seq::new(0)),
            sent: 0,
            watermark: None,
            no_resend: options.sabotages(Sabotage::NoResend),
            touched: None,
            forgets_since: None,
            forgets_writes: options.sabotages(Sabotage::ForgetsWrites),
            flips_bits: options.sabotages(Sabotage::FlippedBit),
            first_read: options.sabotages(Sabotage::OtherInstant).then(HashMap::new),
            unchanged: 0,
            frame: Vec::new(),
            payload: Vec::new(),
        }
    }

    /// A service connects; returns the last durable record, and when it was made.
    pub fn connect(&mut self, may_crash: bool) -> Result<(u64, Made), Broken> {
        let welcome = self.dial(may_crash)?;
        let durable = welcome.durable_seq();
        self.frame.clear();
        self.window = Window::new(usize::MAX, durable);
        self.touched = self.noting(durable);
        self.forgets_since = self.forgets_writes.then_some(durable);
        self.join(&welcome, 0)?;
        Ok((durable.get(), welcome.durable_made()))
    }

    /// The link breaks, perhaps because the server's power failed. The service makes another one
    /// and sends again what is not durable; returns the last durable record.
    pub fn link_again(&mut self) -> Result<u64, Broken> {
        self.hang_up()?;
        self.window.end_link();
        let welcome = self.dial(true)?;
        let skipped = if self.no_resend { self.sent } else { 0 };
        self.join(&welcome, skipped)?;
        Ok(welcome.durable_seq().get())
    }

    /// Begins a link behind what the server has, and sends what the window has for it but the first
    /// `skipped` frames.
    fn join(&mut self, welcome: &Welcome, skipped: usize) -> Result<(), Broken> {
        self.sent = 0;
        let joined = self.window.begin_link(welcome);
        joined.map_err(|why| {
            let text = format!("a link is not joined: the server is {why:?} the window");
            Broken::new(Rule::Loss, text)
        })?;
        self.send_waiting(skipped)
    }

    /// Sends the frames that wait for it, but the first ones.
    fn send_waiting(&mut self, skipped: usize) -> Result<(), Broken> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        for index in 0..self.window.unsent() {
            let Next::Frame(frame) = self.window.next() else { break };
            self.sent += 1;
            if index >= skipped {
                let sent = connection.service.sender.send(FrameKind::Records, &frame.payload);
                sent.map_err(|error| refused("a frame", &error))?;
            }
        }
        Ok(())
    }

    /// Connects, through as many crashes as it takes.
    fn dial(&mut self, may_crash: bool) -> Result<Welcome, Broken> {
        loop {
            self.perhaps_fail(may_crash);
            match self.try_connect() {
                Ok(welcome) => return Ok(welcome),
                Err(_) if !self.storage.has_power() => self.storage.crash(),
                Err(_) if self.storage.took_failure() => {}
                Err(error) => return Err(refused("a connection", &error)),
            }
        }
    }

    /// Puts a record into the service's frame; an epoch's end ends the frame, and a long frame
    /// ends.
    pub fn send(&mut self, received: &Received) -> Result<(), Broken> {
        let header = header_of(received);
        self.frame.extend(header.to_bytes());
        let payload = self.frame.len();
        self.frame.resize(payload + header.payload_len(), 0);
        let contents = self.contents_of(received);
        let sectors = self.frame[payload..].chunks_mut(self.volume.sector_bytes as usize);
        for (sector, content) in sectors.zip(&*contents) {
            content.fill(sector);
        }
        if received.record.kind == RecordKind::Check && self.flips_bits && self.rng.once_in(4) {
            self.frame[payload] ^= 1;
        }
        if let Some((hashed, len)) = checks::hash(&header, &mut self.frame[payload..]) {
            self.frame.truncate(payload + len);
            self.frame[payload - RECORD_HEADER_LEN..payload].copy_from_slice(&hashed.to_bytes());
        }
        let is_long = self.frame.len() >= self.plan.frame_bytes;
        let ends = received.record.kind == RecordKind::EpochEnd;
        if is_long || ends {
            let mut payload = std::mem::take(&mut self.frame);
            self.elide(&mut payload);
            self.window.put(Frame {
                payload,
                last: received.record.seq,
                made: header.made(),
                ends_epoch: ends.then_some(received.record.epoch),
            });
            self.send_waiting(0)?;
        }
        Ok(())
    }

    fn contents_of<'a>(&mut self, received: &'a Received) -> Cow<'a, [Content]> {
        match &mut self.first_read {
            Some(first) if received.record.kind == RecordKind::Check => {
                let sectors = received.sectors(&self.volume).zip(&received.payload);
                sectors.map(|(sector, read)| *first.entry(sector).or_insert(*read)).collect()
            }
            _ => Cow::Borrowed(&received.payload),
        }
    }

    fn noting(&self, since: Seq) -> Option<Touched> {
        let geometry = self.hello().geometry().ok()?;
        Some(Touched::new(geometry, since))
    }

    /// Leaves out of a frame what the server has already, if it answers in time.
    fn elide(&mut self, payload: &mut Vec<u8>) {
        if let Some(since) = self.forgets_since {
            self.touched = self.noting(since);
        }
        let Some(question) = self.touched.as_mut().and_then(|it| it.note(payload)) else { return };
        if self.rng.once_in(3) {
            return;
        }
        let (Some(connection), Some(request)) = (&self.connection, question.request(1)) else {
            return;
        };
        // A disk that fails meanwhile, or is not as far yet: everything is sent.
        let answer = connection.answer(&request);
        let elided = answer.ok().and_then(|answer| question.settle(payload, &answer));
        if let Some(Elided { payload: elided, saved, .. }) = elided {
            self.unchanged += saved as u64 / u64::from(self.volume.sector_bytes);
            *payload = elided;
        }
    }

    /// Sectors that were not sent, as the server had them.
    pub fn unchanged(&self) -> u64 {
        self.unchanged
    }

    /// Sends a watermark and lets the server take it; `None` if there is something newer.
    pub fn mark(&mut self, mark: Watermark, may_crash: bool) -> Result<Option<Served>, Broken> {
        if !self.window.mark(mark) {
            return Ok(None);
        }
        let (Next::Watermark(mark), Some(connection)) = (self.window.next(), &mut self.connection)
        else {
            return Err(Broken::new(Rule::Resume, "a watermark that may be sent is not"));
        };
        let sent = connection.service.sender.send(FrameKind::Watermark, mark.as_bytes());
        sent.map_err(|error| refused("a watermark", &error))?;
        self.serve(may_crash).map(Some)
    }

    /// What the service has sent, and the server has not acknowledged.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// True until the server's power fails.
    pub fn has_power(&self) -> bool {
        self.storage.has_power()
    }

    /// The watermark that the server had when the last connection began.
    pub fn watermark(&self) -> Option<Watermark> {
        self.watermark
    }

    /// Lets the server store the next frame.
    pub fn serve(&mut self, may_crash: bool) -> Result<Served, Broken> {
        self.perhaps_fail(may_crash);
        let Some(connection) = &mut self.connection else { return Ok(Served::Idle) };
        match connection.serve(&mut self.payload) {
            Ok(Served::Acknowledged(ends)) if !self.window.acknowledge(&ends) => {
                let text = format!("{ends:?} is acknowledged, and its end was not sent");
                Err(Broken::new(Rule::Loss, text))
            }
            Ok(served) => Ok(served),
            Err(_) if !self.storage.has_power() || self.storage.took_failure() => {
                self.connection = None;
                Ok(Served::Failed)
            }
            Err(error) => Err(refused("a frame", &error)),
        }
    }

    /// The service is lost, perhaps because the server's power failed; returns the last record that
    /// the server has for certain.
    pub fn lose(&mut self) -> Result<u64, Broken> {
        self.hang_up()?;
        let durable = self.dial(true)?.durable_seq().get();
        self.connection = None;
        Ok(durable)
    }

    /// The link breaks.
    fn hang_up(&mut self) -> Result<(), Broken> {
        // Some of what is on its way is stored all the same.
        for _ in 0..self.rng.below(4) {
            if !self.storage.has_power() || self.serve(true)? == Served::Failed {
                break;
            }
        }
        self.connection = None;
        if !self.storage.has_power() || (self.plan.crashes_once_in > 0 && self.rng.once_in(2)) {
            self.storage.crash();
        }
        Ok(())
    }

    /// The image of a point and the cut that it is made for; `None` if the server has no such
    /// point. A server whose power has failed is started first.
    pub fn restore(&self, at: At) -> Result<Option<(Vec<u8>, Cut)>, Broken> {
        if !self.storage.has_power() {
            self.storage.crash();
        }
        let length = self.volume.bytes(self.volume.sectors);
        let mut image = vec![0; usize::try_from(length).expect("model volumes are small")];
        let source = Source { volume: VOLUME, session: Some(SESSION), at };
        let restored = Repository::open_in(self.store()).and_then(|repository| {
            let found = Found::find(&repository, &source, &StopFlag::default())?;
            found.write_to(&mut image, &StopFlag::default(), |_| ())?;
            Ok(found.point().cut)
        });
        match restored {
            Ok(cut) => Ok(Some((image, cut))),
            Err(Error::NotRestorable { .. }) => Ok(None),
            Err(error) => Err(Broken::new(Rule::Point, format!("restoring {at:?}: {error}"))),
        }
    }

    /// Lets the server compare its copy with what was read to verify it; returns how many sectors
    /// are the same. A server whose power has failed is started first.
    pub fn verify(&self) -> Result<u64, Broken> {
        if !self.storage.has_power() {
            self.storage.crash();
        }
        let stop = StopFlag::default();
        let verified = Repository::open_in(self.store())
            .and_then(|repository| verify(&repository, &stop, |_| {}));
        let report = verified.map_err(|error| refused("to verify", &error))?;
        let is_same = |it: &Checks| it.differing_bytes + it.earlier_differing_bytes == 0;
        ensure!(
            report.checks.iter().all(is_same),
            Rule::Loss,
            "the copy is not what the volume had: {:?}",
            report.checks
        );
        let same: u64 = report.checks.iter().map(|found| found.same_bytes).sum();
        Ok(same / u64::from(self.volume.sector_bytes))
    }

    fn try_connect(&mut self) -> Result<Welcome, Error> {
        let repository = match WritableRepository::open_in(self.store()) {
            Err(Error::NotARepository(_)) => WritableRepository::init_in(self.store()),
            opened => opened,
        }?;
        let [near, far] = stream::pair();
        let mut service = Link::over(near);
        service.sender.send(FrameKind::Hello, self.hello().as_bytes())?;
        let mut receiver = FrameReceiver::new(far.clone(), FRAME_PAYLOAD_MAX);
        let mut sender = FrameSender::new(far);
        let mut ingest = Ingest::AwaitingHello;
        let frame = receive(&mut receiver, &mut self.payload)?.ok_or(Error::Stopped)?;
        let Action::Open(hello) = ingest.frame(frame, &self.payload)? else {
            return Err(Error::Stopped);
        };
        let header =
            SessionHeader::from_hello(&hello, FileTime::new(1)).ok_or(Error::TooManyBlocks)?;
        let limit = self.plan.segment_bytes;
        let (writer, state) =
            SessionWriter::open(&repository, &header, limit, &StopFlag::default())?;
        self.watermark = state.watermark();
        let acknowledged = writer.acknowledged();
        let welcome =
            Welcome::new(acknowledged.epoch, acknowledged.seq).with_made(writer.began_behind());
        sender.send(FrameKind::Welcome, welcome.as_bytes())?;
        ingest.begin(state);
        let Some(Message::Welcome(welcome)) = service.receiver.receive()? else {
            return Err(Error::Stopped);
        };
        // As often as a segment is full, which is after some epochs.
        let map_bytes = limit;
        self.connection =
            Some(Connection { service, receiver, sender, repository, writer, ingest, map_bytes });
        Ok(welcome)
    }

    fn perhaps_fail(&mut self, may_crash: bool) {
        if may_crash && self.rng.once_in(self.plan.crashes_once_in) {
            let changes = self.rng.below(12);
            self.storage.fail_after(changes);
        }
        if may_crash && self.rng.once_in(self.plan.sync_fails_once_in) {
            self.storage.fail_sync();
        }
    }

    fn hello(&self) -> Hello {
        let block_bytes = self.volume.bytes(self.volume.block_sectors);
        Hello {
            volume: VOLUME,
            session: SESSION,
            length: self.volume.bytes(self.volume.sectors).into(),
            sector_size: self.volume.sector_bytes.into(),
            block_size: u32::try_from(block_bytes).expect("model blocks are small").into(),
        }
    }

    fn store(&self) -> Store {
        Store::new(std::sync::Arc::new(self.storage.clone()))
    }
}

impl Connection {
    fn serve(&mut self, payload: &mut Vec<u8>) -> Result<Served, Error> {
        let Some(frame) = receive(&mut self.receiver, payload)? else { return Ok(Served::Idle) };
        let ends = match self.ingest.frame(frame, payload)? {
            Action::Store { ends } => ends,
            Action::Mark { watermark, again } => {
                self.writer.mark(&watermark)?;
                self.sender.send(FrameKind::Acknowledge, again.as_bytes())?;
                return match self.service.receiver.receive()? {
                    Some(Message::Acknowledge(it)) if it == again => Ok(Served::Marked),
                    _ => Err(Error::Stopped),
                };
            }
            Action::Open(_) => return Err(Error::Stopped),
        };
        self.writer.append(&frame, payload)?;
        let Some(ends) = ends else { return Ok(Served::Stored) };
        self.writer.commit(ends.epoch(), ends.seq())?;
        self.sender.send(FrameKind::Acknowledge, ends.as_bytes())?;
        // Each time, so that crashes come about it too.
        if let Some(state) = self.ingest.state() {
            self.writer.keep_state_at_end(state);
        }
        self.keep_map()?;
        match self.service.receiver.receive()? {
            Some(Message::Acknowledge(ends)) => Ok(Served::Acknowledged(ends)),
            _ => Err(Error::Stopped),
        }
    }

    /// What the server does on another thread.
    fn answer(&self, request: &Compare) -> Result<Compared, Error> {
        let store = self.repository.repository().store();
        let reader = SessionReader::open(store, *self.writer.header())?;
        let stop = StopFlag::default();
        Given::open(reader, &stop)?.answer(request, &stop)
    }

    /// What the server does on another thread. A failure of the disk only costs time, later.
    fn keep_map(&self) -> Result<(), Error> {
        let store = self.repository.repository().store();
        let kept = SessionReader::open(store, *self.writer.header())
            .and_then(|reader| keep(&reader, self.map_bytes, &StopFlag::default()));
        match kept {
            Ok(_) | Err(Error::File { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn receive(
    receiver: &mut FrameReceiver,
    payload: &mut Vec<u8>,
) -> Result<Option<FrameHeader>, Error> {
    Ok(receiver.receive(&Wait { first_byte: None, cancelled: &|| false }, payload)?)
}

/// A record as the driver writes it into the service's buffer.
fn header_of(received: &Received) -> RecordHeader {
    let record = &received.record;
    let Record { seq, time, monotonic: Tick(monotonic), epoch, .. } = *record;
    let position = Position { seq, time: FileTime::new(time), monotonic, epoch };
    RecordHeader::new(record.kind, position, record.extent, record.gap_reason)
        .expect("the engine makes records that can be described")
}

fn refused(what: &str, error: &impl ToString) -> Broken {
    let (rule, text) = Rule::of_message(error.to_string());
    Broken::new(rule.unwrap_or(Rule::Resume), format!("the server refuses {what}: {text}"))
}
