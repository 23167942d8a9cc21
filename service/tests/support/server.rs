//! A fake server over real TCP: it stores records in memory, acknowledges epochs, and misbehaves on
//! request.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use snapless_link::LinkError;
use snapless_link::packing::unpack;
use snapless_link::question::{Question, RefusedKind, Reply};
use snapless_link::report::SessionReport;
use snapless_link::server::{Patience, ServerLink};
use snapless_types::{EpochId, Extent, RecordKind, Seq};
use snapless_wire::compare::{Compare, Compared, ContentHash};
use snapless_wire::frame::{Acknowledge, FrameError, FrameKind, Hello, Watermark, Welcome};
use snapless_wire::id::SessionId;
use snapless_wire::record::{Record, RecordHeader, Records};
use zerocopy::IntoBytes;

/// A received record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrived {
    pub header: RecordHeader,
    pub payload: Vec<u8>,
}

/// What a request to compare gets.
#[derive(Clone, Copy, Default, Debug)]
pub enum Answers {
    /// That nothing is known.
    #[default]
    Nothing,
    /// No answer.
    Never,
    /// Whether it is content of this byte alone.
    Of(u8),
    /// The same, but of an instant before the one that was asked about.
    Before(u8),
    /// The same, and one more.
    TooMany(u8),
    /// That it has content of this byte alone from before the session.
    Seeded(u8),
    /// The same, and it is gone when it is to be stored.
    SeedLost(u8),
}

impl Answers {
    fn has_seed(self) -> bool {
        matches!(self, Self::Seeded(_) | Self::SeedLost(_))
    }
}

/// How the server misbehaves.
#[allow(clippy::struct_excessive_bools, reason = "switches of a fake")]
#[derive(Clone, Default, Debug)]
pub struct Manners {
    /// Refuse every hello with this text.
    pub refuse: Option<String>,
    /// Refuse so many links at their first records.
    pub refuse_records: usize,
    /// Take frames that are compressed.
    pub takes_packed: bool,
    /// Take reports.
    pub takes_reports: bool,
    /// Say that the session was put aside.
    pub puts_aside: bool,
    /// Acknowledge nothing.
    pub silent: bool,
    /// Acknowledge an epoch so many later than the one that is durable.
    pub ahead: u64,
    /// Read nothing after the hello.
    pub stalled: bool,
    /// Send keep-alives meanwhile.
    pub alive: bool,
    /// What requests to compare get.
    pub answers: Answers,
    /// What questions get; without it the server does not know them. It has no groups.
    pub reply: Option<Reply>,
}

/// Time between two keep-alives.
const KEEP_ALIVE: Duration = Duration::from_millis(100);

pub struct FakeServer {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    manners: Manners,
    hellos: Vec<Hello>,
    questions: Vec<Question>,
    reports: Vec<SessionReport>,
    sessions: HashMap<SessionId, Stored>,
    links: Vec<TcpStream>,
    /// Counts the cuts: links from before the last one are dead.
    generation: u64,
    fault: Option<String>,
}

/// What is stored of a session.
#[derive(Clone, Default)]
pub struct Stored {
    records: Vec<Arrived>,
    watermarks: Vec<Watermark>,
    durable_epoch: u64,
    durable_seq: u64,
}

impl Stored {
    /// The last durable record.
    pub fn last(&self) -> u64 {
        self.durable_seq
    }
}

impl FakeServer {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        // Ends with the test process.
        thread::spawn(move || {
            loop {
                let (stream, peer) = listener.accept().unwrap();
                let shared = Arc::clone(&for_thread);
                thread::spawn(move || shared.serve(stream, peer));
            }
        });
        Self { address, shared }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Changes the server's behaviour from now on.
    pub fn behave(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.shared.lock().manners);
        self.shared.changed.notify_all();
    }

    /// Cuts every link.
    pub fn cut(&self) {
        let mut state = self.shared.lock();
        state.generation += 1;
        for link in state.links.drain(..) {
            let _gone = link.shutdown(Shutdown::Both);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Claims to have a session up to this epoch and record.
    pub fn invent(&self, session: SessionId, epoch: u64, seq: u64) {
        let mut state = self.shared.lock();
        let stored = state.sessions.entry(session).or_default();
        (stored.durable_epoch, stored.durable_seq) = (epoch, seq);
    }

    /// Loses what came after this epoch, as a repository that was put back to an older state;
    /// returns the last record that is left.
    pub fn roll_back(&self, session: SessionId, epoch: u64) -> u64 {
        let mut state = self.shared.lock();
        let stored = state.sessions.get_mut(&session).expect("a session to roll back");
        stored.records.retain(|record| record.header.epoch().get() <= epoch);
        let last = stored.records.last().expect("records that are left").header;
        assert_eq!((last.kind(), last.epoch().get()), (RecordKind::EpochEnd, epoch));
        (stored.durable_epoch, stored.durable_seq) = (epoch, last.seq().get());
        last.seq().get()
    }

    /// What is stored of a session, to be put back.
    pub fn copy(&self, session: SessionId) -> Stored {
        self.shared.lock().sessions.get(&session).expect("a session to copy").clone()
    }

    /// Exchanges what is stored of a session for this; returns what was there.
    pub fn exchange(&self, session: SessionId, copy: Stored) -> Stored {
        let old = self.shared.lock().sessions.insert(session, copy);
        old.expect("a session to exchange")
    }

    /// Loses everything stored.
    pub fn forget(&self) {
        self.shared.lock().sessions.clear();
    }

    /// The received records of a session.
    #[track_caller]
    pub fn arrived(&self, session: SessionId) -> Vec<Arrived> {
        let state = self.shared.lock();
        assert_eq!(state.fault, None, "the service broke the protocol");
        state.sessions.get(&session).map(|stored| stored.records.clone()).unwrap_or_default()
    }

    /// The received watermarks of a session.
    #[track_caller]
    pub fn watermarks(&self, session: SessionId) -> Vec<Watermark> {
        let state = self.shared.lock();
        assert_eq!(state.fault, None, "the service broke the protocol");
        state.sessions.get(&session).map(|stored| stored.watermarks.clone()).unwrap_or_default()
    }

    /// What was asked.
    pub fn questions(&self) -> Vec<Question> {
        self.shared.lock().questions.clone()
    }

    /// The reports of sessions.
    pub fn reports(&self) -> Vec<SessionReport> {
        self.shared.lock().reports.clone()
    }

    pub fn hellos(&self) -> Vec<Hello> {
        self.shared.lock().hellos.clone()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        let closer = stream.try_clone().unwrap();
        let generation = {
            let mut state = self.lock();
            state.links.push(stream.try_clone().unwrap());
            state.generation
        };
        // Fails if the link has been cut already.
        let Ok(mut link) = ServerLink::accept(stream, peer) else { return };
        if let Err(fault) = self.converse(&mut link, generation) {
            let mut state = self.lock();
            if state.generation == generation {
                state.fault = Some(fault);
            }
        }
        let _gone = closer.shutdown(Shutdown::Both);
    }

    /// Serves one link; an error is a violation by the service.
    fn converse(&self, link: &mut ServerLink, generation: u64) -> Result<(), String> {
        let mut payload = Vec::new();
        match receive(link, &mut payload)? {
            Some(FrameKind::Hello) => {}
            Some(FrameKind::Question) => return self.reply(link, &payload),
            _ => return Err("the link began with neither Hello nor Question".into()),
        }
        let hello = Hello::read(&payload).map_err(|error| error.to_string())?;
        let (refuse, welcome) = {
            let mut state = self.lock();
            state.hellos.push(hello);
            let stored = state.sessions.entry(hello.session).or_default();
            let durable_seq = Seq::new(stored.durable_seq);
            // As a server that was killed: what is not durable is gone.
            stored.records.retain(|record| record.header.seq() <= durable_seq);
            let last = stored.records.last().filter(|last| last.header.seq() == durable_seq);
            let made = last.map(|last| last.header.made()).unwrap_or_default();
            let welcome = Welcome::new(EpochId::new(stored.durable_epoch), durable_seq);
            let welcome = welcome.with_made(made).with_seed(state.manners.answers.has_seed());
            let takes_packed = state.manners.takes_packed;
            let welcome = if takes_packed { welcome.taking_packed() } else { welcome };
            let takes_reports = state.manners.takes_reports;
            let welcome = if takes_reports { welcome.taking_reports() } else { welcome };
            let puts_aside = state.manners.puts_aside;
            let welcome = if puts_aside { Welcome::put_aside() } else { welcome };
            (state.manners.refuse.clone(), welcome)
        };
        if let Some(text) = refuse {
            send(link, FrameKind::Error, text.as_bytes());
            return Ok(());
        }
        send(link, FrameKind::Welcome, welcome.as_bytes());
        loop {
            self.wait_while_stalled(link, generation);
            let mut kind = receive(link, &mut payload)?;
            if kind == Some(FrameKind::Packed) && self.lock().manners.takes_packed {
                let packed = std::mem::take(&mut payload);
                let frame = unpack(&packed, &mut payload).map_err(|error| error.to_string())?;
                kind = Some(frame.kind());
            }
            match kind {
                None => return Ok(()),
                Some(FrameKind::Records) if self.refuses_records() => {
                    send(link, FrameKind::Error, b"try again");
                    return Ok(());
                }
                Some(FrameKind::Records) => {
                    let is_seeded = |it: Record<'_>| it.header.is_seeded();
                    let lost = matches!(self.lock().manners.answers, Answers::SeedLost(_));
                    if lost && Records::new(&payload).map_while(Result::ok).any(is_seeded) {
                        send(link, FrameKind::Error, b"it is gone");
                        return Ok(());
                    }
                    for ack in self.take(hello.session, generation, &payload)? {
                        send(link, FrameKind::Acknowledge, ack.as_bytes());
                    }
                }
                Some(FrameKind::Watermark) => {
                    let again = self.mark(hello.session, generation, &payload)?;
                    send(link, FrameKind::Acknowledge, again.as_bytes());
                }
                Some(FrameKind::Report) if self.lock().manners.takes_reports => {
                    self.lock().reports.push(SessionReport::read(&payload)?);
                }
                Some(FrameKind::Compare) => {
                    let request = Compare::read(&payload).map_err(|error| error.to_string())?;
                    let answers = self.lock().manners.answers;
                    if let Some(answer) = answer(&request, answers) {
                        send(link, FrameKind::Compared, &answer.to_bytes());
                    }
                }
                Some(kind) => return Err(format!("{kind:?} is out of place")),
            }
        }
    }

    fn reply(&self, link: &mut ServerLink, payload: &[u8]) -> Result<(), String> {
        let mut state = self.lock();
        let question = Question::read(payload)?;
        let is_meet = matches!(question, Question::Meet { .. });
        state.questions.push(question);
        let no_group = || Reply::refused(RefusedKind::NoGroup, "there is none");
        if let Some(reply) = state.manners.reply.clone() {
            let reply = if is_meet { no_group() } else { reply };
            send(link, FrameKind::Reply, &reply.to_bytes());
        } else {
            let unknown = FrameError::Kind(FrameKind::Question.to_wire());
            let text = LinkError::Frame(unknown).to_string();
            send(link, FrameKind::Error, text.as_bytes());
        }
        Ok(())
    }

    fn refuses_records(&self) -> bool {
        let left = &mut self.lock().manners.refuse_records;
        let refuses = *left > 0;
        *left = left.saturating_sub(1);
        refuses
    }

    /// Takes a watermark, which must be about the last record, and that durable.
    fn mark(
        &self,
        session: SessionId,
        generation: u64,
        payload: &[u8],
    ) -> Result<Acknowledge, String> {
        let watermark = Watermark::read(payload).map_err(|error| error.to_string())?;
        let mut state = self.lock();
        if state.generation != generation {
            return Err("the link was cut".into());
        }
        let stored = state.sessions.entry(session).or_default();
        let last = stored.records.last().map_or(0, |last| last.header.seq().get());
        let (seq, durable) = (watermark.seq().get(), stored.durable_seq);
        if seq != durable || last > durable {
            return Err(format!(
                "a watermark after {seq}: the last record is {last}, {durable} durable"
            ));
        }
        stored.watermarks.push(watermark);
        let again = Acknowledge::new(EpochId::new(stored.durable_epoch), watermark.seq());
        Ok(again.with_latest(Some(watermark.time())))
    }

    fn wait_while_stalled(&self, link: &mut ServerLink, generation: u64) {
        let stalled = |state: &mut State| state.manners.stalled && state.generation == generation;
        loop {
            let waited = self.changed.wait_timeout_while(self.lock(), KEEP_ALIVE, stalled);
            let (state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            let alive = state.manners.alive;
            drop(state);
            if !waited.timed_out() {
                return;
            }
            if alive {
                send(link, FrameKind::KeepAlive, &[]);
            }
        }
    }

    fn take(
        &self,
        session: SessionId,
        generation: u64,
        payload: &[u8],
    ) -> Result<Vec<Acknowledge>, String> {
        let mut state = self.lock();
        if state.generation != generation {
            return Err("the link was cut".into());
        }
        let Manners { silent, ahead, .. } = state.manners;
        let stored = state.sessions.entry(session).or_default();
        let mut acks: Vec<Acknowledge> = Vec::new();
        let mut ended = false;
        for record in Records::new(payload) {
            let record = record.map_err(|error| error.to_string())?;
            let header = record.header;
            let (seq, epoch) = (header.seq(), header.epoch());
            if ended {
                return Err(format!("record {seq} follows the end of an epoch in its frame"));
            }
            ended = header.kind() == RecordKind::EpochEnd;
            let before = stored.records.last().map_or(0, |last| last.header.seq().get());
            // After a lost link numbers may be missing, but only before a gap.
            let in_order = seq.get() == before + 1
                || (seq.get() > before && header.kind() == RecordKind::GapBegin);
            if !in_order {
                return Err(format!("record {seq} came after {before}"));
            }
            stored.records.push(Arrived { header, payload: record.payload.to_vec() });
            if header.kind() == RecordKind::EpochEnd && !silent {
                (stored.durable_epoch, stored.durable_seq) = (epoch.get(), seq.get());
                acks.push(Acknowledge::new(EpochId::new(epoch.get() + ahead), seq));
            }
        }
        Ok(acks)
    }
}

fn answer(request: &Compare, answers: Answers) -> Option<Compared> {
    let since = request.since().get();
    let of = |request: &Compare, byte: u8, seq: u64| {
        let is_same = |(extent, hash): &(Extent, ContentHash)| {
            let content = vec![byte; usize::try_from(extent.len()).unwrap()];
            blake3::hash(&content).as_bytes() == hash
        };
        request.answered(Seq::new(seq), request.extents().iter().map(is_same).collect())
    };
    match answers {
        Answers::Nothing => Some(request.unanswered()),
        Answers::Never => None,
        Answers::Of(byte) => Some(of(request, byte, since)),
        Answers::Seeded(byte) | Answers::SeedLost(byte) => {
            let seeded = of(request, byte, since).same().to_vec();
            let nothing = vec![false; seeded.len()];
            Some(request.answered(request.since(), nothing).with_seeded(seeded))
        }
        Answers::Before(byte) => Some(of(request, byte, since - 1)),
        Answers::TooMany(byte) => {
            let more = [request.extents(), &request.extents()[..1]].concat();
            Some(of(&Compare::new(request.id(), request.since(), more).unwrap(), byte, since))
        }
    }
}

/// The kind of the next frame; `None` if the link ended or broke.
fn receive(link: &mut ServerLink, payload: &mut Vec<u8>) -> Result<Option<FrameKind>, String> {
    match link.receive(Patience::Idle, &|| false, payload) {
        Ok(header) => Ok(Some(header.kind())),
        Err(LinkError::Frame(error)) => Err(error.to_string()),
        Err(_) => Ok(None),
    }
}

fn send(link: &mut ServerLink, kind: FrameKind, payload: &[u8]) {
    // The link may have been cut meanwhile.
    let _sent = link.send(kind, payload);
}
