//! The server: what is durable, the connection that adds to it, copies of the repository.
//!
//! Whether a record is valid, and which points can be restored, the server's own code decides
//! ([`StreamState`]).

use snapless_server::stream::StreamState;
use snapless_types::{EpochId, RecordKind, Seq};
use snapless_wire::frame::Welcome;

use crate::bounds::Sizes;
use crate::record::{Content, Frame, Record, geometry, made};
use crate::sabotage::Sabotage;

/// An epoch that is durable, and its last record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Acknowledgement {
    /// The epoch.
    pub epoch: u8,
    /// Its last record.
    pub seq: u8,
    /// When that was made.
    pub made: u8,
}

impl Acknowledgement {
    /// Of an epoch that ends with this record.
    fn of(last: &Record) -> Self {
        let Record { epoch, seq, made, .. } = *last;
        Self { epoch, seq, made }
    }

    /// The greeting of a server that has this.
    pub fn welcome(&self) -> Welcome {
        let welcome = Welcome::new(EpochId::new(self.epoch.into()), Seq::new(self.seq.into()));
        welcome.with_made(made(self.seq, self.made))
    }
}

/// A repository: the durable stream of one session.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Repository {
    session: u8,
    stream: Vec<Record>,
}

/// A connection, at both ends of which frames wait.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Connection {
    /// Frames from the service.
    pub up: Vec<Frame>,
    /// Acknowledgements to the service.
    pub down: Vec<Acknowledgement>,
    /// Records that passed the stream's rules and are not durable.
    appended: Vec<Record>,
    unacknowledged: Option<Acknowledgement>,
    /// Some of its records are durable.
    has_committed: bool,
    /// The service is still there.
    pub is_linked: bool,
}

/// The server.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Server {
    repository: Repository,
    /// A copy of the repository.
    copy: Option<Repository>,
    /// The connection that stores.
    pub connection: Option<Connection>,
}

/// What is wrong with a durable stream, or with a record that came.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fault {
    /// The server refused a record.
    Refused,
    /// A point that can be restored differs from the volume at its instant.
    WrongPoint,
    /// The image of t0 differs from the volume at t0.
    WrongT0,
}

impl Repository {
    fn state(&self, blocks: u8) -> StreamState {
        state_of(&self.stream, blocks)
    }

    /// The end that was acknowledged.
    pub fn end(&self) -> Acknowledgement {
        self.stream.last().map(Acknowledgement::of).unwrap_or_default()
    }

    /// The blocks' content at record `seq`: that at t0, and every change up to there.
    fn image(&self, seq: u8) -> Content {
        let mut image = Content::default();
        for record in &self.stream {
            let belongs = match record.kind {
                RecordKind::Block => true,
                RecordKind::Write | RecordKind::Resync => record.seq <= seq,
                _ => false,
            };
            if belongs {
                image[usize::from(record.block)] = record.content;
            }
        }
        image
    }

    /// The image of t0.
    fn base_image(&self) -> Content {
        let mut image = Content::default();
        for record in self.stream.iter().filter(|record| record.kind == RecordKind::Block) {
            image[usize::from(record.block)] = record.content;
        }
        image
    }

    /// Compares each point that the server offers with the volume as it was then.
    fn check(&self, blocks: u8) -> Result<(), Fault> {
        let state = self.state(blocks);
        let timeline = state.timeline();
        for range in timeline.ranges() {
            let is_point = |record: &&Record| {
                (range.from.seq.get()..=range.to.seq.get()).contains(&record.seq.into())
            };
            let mut points = self.stream.iter().filter(is_point);
            if points.any(|record| self.image(record.seq) != record.truth) {
                return Err(Fault::WrongPoint);
            }
        }
        let start = self.stream.iter().find(|record| record.kind == RecordKind::SessionStart);
        match start {
            Some(start) if timeline.t0_is_whole() && self.base_image() != start.truth => {
                Err(Fault::WrongT0)
            }
            _ => Ok(()),
        }
    }
}

impl Server {
    /// The session whose stream it has.
    pub fn session(&self) -> u8 {
        self.repository.session
    }

    /// What is durable.
    pub fn end(&self) -> Acknowledgement {
        self.repository.end()
    }

    /// True if the durable stream describes the volume with this content, as of its last record.
    pub fn describes(&self, content: &Content, blocks: u8) -> bool {
        let latest = self.repository.state(blocks).timeline().latest();
        let end = self.end().seq;
        latest.is_some_and(|latest| latest.seq.get() == u64::from(end))
            && self.repository.image(end) == *content
    }

    /// True if the t0 image can be restored.
    pub fn has_t0(&self, blocks: u8) -> bool {
        self.repository.state(blocks).timeline().t0_is_whole()
    }

    /// True if the durable stream has a gap.
    pub fn has_gap(&self) -> bool {
        self.repository.stream.iter().any(|record| record.kind == RecordKind::GapBegin)
    }

    /// True if the durable stream has a record of this kind.
    pub fn has(&self, kind: RecordKind) -> bool {
        self.repository.stream.iter().any(|record| record.kind == kind)
    }

    /// `storing::open`: the connection that was there is taken over, what it had not made durable
    /// is cut off.
    pub fn greet(&mut self, session: u8, sabotage: Option<Sabotage>) -> Acknowledgement {
        if self.repository.session != session {
            self.repository = Repository { session, stream: Vec::new() };
            self.connection = None;
        }
        let end = self.end();
        let old = self.connection.take();
        let old = old.filter(|_| sabotage == Some(Sabotage::ForgetsTakeover));
        let (up, appended, unacknowledged) =
            old.map_or_else(Default::default, |it| (it.up, it.appended, it.unacknowledged));
        self.connection = Some(Connection {
            up,
            down: Vec::new(),
            appended,
            unacknowledged,
            has_committed: false,
            is_linked: true,
        });
        end
    }

    /// True if a frame waits to be stored.
    pub fn can_store(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.up.is_empty())
    }

    /// `Session::store_all`, `ingest::check` and `Session::store`: the next frame.
    pub fn store(&mut self, sizes: &Sizes, sabotage: Option<Sabotage>) -> Result<(), Fault> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let stream = &self.repository.stream;
        // The connection begins before the last record that it made durable, or behind them all.
        let begins = stream.len() - usize::from(connection.has_committed);
        let mut state = state_of(&stream[..begins], sizes.blocks);
        state.begin_connection();
        for record in stream[begins..].iter().chain(&connection.appended) {
            state.accept(&record.header()).map_err(|_| Fault::Refused)?;
        }
        for record in connection.up.remove(0) {
            state.accept(&record.header()).map_err(|_| Fault::Refused)?;
            connection.appended.push(record);
            if record.kind == RecordKind::EpochEnd {
                let end = Acknowledgement::of(&record);
                connection.unacknowledged = Some(end);
                if sabotage == Some(Sabotage::AcknowledgesEarly) && connection.is_linked {
                    connection.down.push(end);
                }
            }
        }
        Ok(())
    }

    /// True if an epoch has ended that is not durable.
    pub fn can_commit(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| connection.unacknowledged.is_some())
    }

    /// `Session::commit`: what was appended up to the last end of an epoch is durable, and
    /// acknowledged.
    pub fn commit(&mut self, sizes: &Sizes, sabotage: Option<Sabotage>) -> Result<(), Fault> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let Some(end) = connection.unacknowledged.take() else { return Ok(()) };
        let count = connection.appended.iter().take_while(|record| record.seq <= end.seq).count();
        self.repository.stream.extend(connection.appended.drain(..count));
        connection.has_committed = true;
        if connection.is_linked && sabotage != Some(Sabotage::AcknowledgesEarly) {
            connection.down.push(end);
        }
        self.repository.check(sizes.blocks)
    }

    /// The connection's other end is gone: at most `arrives` more frames of it do.
    pub fn cut(&mut self, arrives: usize) {
        if let Some(connection) = &mut self.connection {
            connection.up.truncate(arrives);
            connection.down.clear();
            connection.is_linked = false;
        }
    }

    /// What is not durable is gone.
    pub fn crash(&mut self, sabotage: Option<Sabotage>) {
        self.connection = None;
        if sabotage == Some(Sabotage::LosesDurable) {
            // The last epoch.
            let Some(last) = self.repository.stream.pop() else { return };
            self.repository.stream.retain(|record| record.epoch < last.epoch);
        }
    }

    /// Copies the repository.
    pub fn copy(&mut self) {
        self.copy = Some(self.repository.clone());
    }

    /// True if there is a copy of another state.
    pub fn has_other_copy(&self) -> bool {
        self.copy.as_ref().is_some_and(|copy| *copy != self.repository)
    }

    /// Puts the copy in the place of the repository, and the other way round.
    pub fn exchange(&mut self) {
        if let Some(copy) = &mut self.copy {
            std::mem::swap(copy, &mut self.repository);
            self.connection = None;
        }
    }
}

/// The state of a stored stream.
fn state_of(stream: &[Record], blocks: u8) -> StreamState {
    let mut state = StreamState::new(geometry(blocks));
    for record in stream {
        state.accept(&record.header()).expect("it was accepted before");
    }
    state
}
