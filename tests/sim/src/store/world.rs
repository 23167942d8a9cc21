//! A server process over the simulated disk, the drivers of its sessions, and what may happen to
//! them.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use snapless_server::error::Error;
use snapless_server::floor::{Floor, MinFree};
use snapless_server::fold::{collect, fold_into};
use snapless_server::format::repository::LOCK_FILE;
use snapless_server::indexer::Indexer;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::reader::SessionReader;
use snapless_server::repository::WritableRepository;
use snapless_server::stop::StopFlag;
use snapless_server::storage::Store;
use snapless_server::writer::SessionWriter;
use snapless_types::{EpochId, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind, Hello, Watermark};
use zerocopy::IntoBytes;

use super::model::{Content, Model};
use super::site::{Keeping, Site};
use super::{StoreSabotage, broken};
use crate::rng::Rng;
use crate::storage::{Disk, Fault, Lies, SimStorage};

/// A segment is full after so many bytes: after one epoch or two.
const SEGMENT_BYTES: u64 = 4_000;

/// Something that happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Operation {
    /// An epoch with a half of the first sync comes
    Sync,
    /// An epoch of writes comes
    Write,
    /// An epoch that begins a gap comes, or one that ends it
    Gap,
    /// A watermark comes
    Mark,
    /// The server keeps the state of the stream
    State,
    /// The server makes indices and keeps maps, as far as they are due
    Index,
    /// The server folds the history of the session
    Fold,
    /// The server removes what a fold has left
    Collect,
    /// The service connects anew
    Reopen,
    /// The server is killed, and starts again
    Restart,
    /// Another server starts while this one runs
    Rival,
    /// The lock is removed, and another server takes over from this one, which still writes
    Usurp,
    /// From now on the other session of the volume goes on
    Switch,
    /// The machine's wall clock is set forward
    Forward,
    /// The machine's wall clock is set back
    Back,
}

/// Why an operation did not end well.
enum Stop {
    /// The server reports an error.
    Failed(Error),
    /// What the server did is wrong.
    Broken(String),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The store, the server and the drivers.
#[derive(Debug)]
pub struct World {
    storage: SimStorage,
    process: Option<Process>,
    models: Vec<Model>,
    current: usize,
    keeping: Keeping,
    sabotage: Option<StoreSabotage>,
}

/// A server process.
#[derive(Debug)]
struct Process {
    repository: WritableRepository,
    connections: BTreeMap<usize, Connection>,
}

#[derive(Debug)]
struct Connection {
    writer: SessionWriter,
    ingest: Ingest,
    /// No record has come.
    is_fresh: bool,
    /// The writer has the model's last watermark.
    has_mark: bool,
}

impl World {
    /// An empty disk, and no process.
    pub fn new(keeping: Keeping, sabotage: Option<StoreSabotage>) -> Self {
        Self::on(Disk::default(), vec![Model::new(2), Model::new(3)], 0, keeping, sabotage)
    }

    /// A disk as it is found, and no process.
    pub fn on(
        disk: Disk,
        models: Vec<Model>,
        current: usize,
        keeping: Keeping,
        sabotage: Option<StoreSabotage>,
    ) -> Self {
        let storage = on_disk(disk, sabotage);
        Self { storage, process: None, models, current, keeping, sabotage }
    }

    /// The disk.
    pub fn storage(&self) -> &SimStorage {
        &self.storage
    }

    /// The repository, for a program of the server.
    pub fn site(&self) -> Site {
        Site::new(Store::new(Arc::new(self.storage.clone())), self.keeping.clone())
    }

    /// How the repository keeps content.
    pub fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// The drivers.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The drivers, which may be told what the server has.
    pub fn models_mut(&mut self) -> &mut [Model] {
        &mut self.models
    }

    /// The session that goes on.
    pub fn current(&self) -> usize {
        self.current
    }

    /// A number that tells two worlds apart, by all that decides what an operation does: the disk,
    /// the drivers, and the server's memory. What the latter holds is told by its `Debug`.
    pub fn digest(&self) -> u64 {
        let Self { storage, process, models, current, keeping: _, sabotage: _ } = self;
        let mut hasher = DefaultHasher::new();
        (storage, models, current, format!("{process:?}")).hash(&mut hasher);
        hasher.finish()
    }

    /// The server is killed and starts again; what it has not synced is visible still.
    pub fn kill(&mut self) {
        self.replace_disk(self.storage.disk());
    }

    /// The server and its disk are gone; this is what is left.
    pub fn replace_disk(&mut self, disk: Disk) {
        // The old process may write while it ends, to a disk that is no longer this one.
        self.storage = self.storage.succeed(disk);
        self.process = None;
    }

    /// Lets it happen. An error of the server is in order if its disk has refused a call; its
    /// connections end then.
    ///
    /// # Errors
    /// What the server did wrong.
    pub fn apply(&mut self, operation: Operation) -> Result<(), String> {
        let applied = self.try_apply(operation);
        match (applied, self.storage.took_failure()) {
            (Ok(()), _) => Ok(()),
            (Err(Stop::Failed(_)), true) => {
                if let Some(process) = &mut self.process {
                    process.connections.clear();
                }
                Ok(())
            }
            (Err(Stop::Failed(error)), false) => Err(format!("the server fails: {error}")),
            (Err(Stop::Broken(what)), _) => Err(what),
        }
    }

    /// Opens every session that has sent something, so that the models know what the server has.
    ///
    /// # Errors
    /// Why the server cannot go on, or what it did wrong.
    pub fn open_all(&mut self) -> Result<(), String> {
        for index in 0..self.models.len() {
            if self.models[index].counts().1 == 0 {
                continue;
            }
            match self.open(index) {
                Ok(_) => {}
                Err(Stop::Failed(error)) => return Err(format!("a session is refused: {error}")),
                Err(Stop::Broken(what)) => return Err(what),
            }
        }
        Ok(())
    }

    /// An epoch of whatever may come next in the present session, up to its acknowledgement.
    pub fn go_on(&mut self) -> Result<(), String> {
        let sent = self.models[self.current].counts().1;
        self.apply(Operation::Write)?;
        if self.models[self.current].counts().1 == sent {
            self.apply(Operation::Sync)
        } else {
            Ok(())
        }
    }

    fn try_apply(&mut self, operation: Operation) -> Result<(), Stop> {
        match operation {
            Operation::Sync => self.send(Content::Sync),
            Operation::Write => self.send(Content::Writes),
            Operation::Gap => self.send(Content::Gap),
            Operation::Mark => self.mark(),
            Operation::State => {
                let connection = self.open(self.current)?;
                if let Some(state) = connection.ingest.state() {
                    connection.writer.keep_state_at_end(state);
                }
                Ok(())
            }
            Operation::Index => self.index(),
            Operation::Fold => self.fold(),
            Operation::Collect => self.collect(),
            Operation::Reopen => {
                let connections = self.process.as_mut().map(|process| &mut process.connections);
                let closed = connections.and_then(|them| them.remove(&self.current));
                self.open_as_it_was(closed.as_ref())
            }
            Operation::Restart => {
                let process = self.process.take();
                self.kill();
                let connections = process.as_ref().map(|process| &process.connections);
                self.open_as_it_was(connections.and_then(|them| them.get(&self.current)))
            }
            Operation::Rival => self.rival(),
            Operation::Usurp => self.usurp(),
            Operation::Switch => {
                self.current = 1 - self.current;
                Ok(())
            }
            Operation::Forward | Operation::Back => {
                self.models[self.current].set_clock(operation == Operation::Forward);
                Ok(())
            }
        }
    }

    /// Opens the session again. The watermark that a connection left is there unless the disk
    /// has refused a call: it has lost nothing.
    fn open_as_it_was(&mut self, left: Option<&Connection>) -> Result<(), Stop> {
        let mark = self.models[self.current].last_mark();
        let mark = mark.filter(|_| left.is_some_and(|left| left.has_mark));
        let connection = self.open(self.current)?;
        let found = connection.ingest.state().and_then(|state| state.watermark());
        // One that cannot be read is left out: nothing depends on it.
        if mark.is_some() && found != mark && !self.storage.has_failed() {
            return Err(Stop::Broken(format!("the watermark is {found:?} and was {mark:?}")));
        }
        Ok(())
    }

    fn process(&mut self) -> Result<&mut Process, Stop> {
        if self.process.is_none() {
            let site = self.site();
            let is_new = self.models.iter().all(|model| model.counts().0 == 0);
            let repository = match site.open_writable() {
                Err(Error::NotARepository(_)) if is_new => site.init()?,
                opened => opened?,
            };
            self.process = Some(Process { repository, connections: BTreeMap::new() });
        }
        self.process.as_mut().ok_or_else(|| Stop::Broken("there is no process".to_owned()))
    }

    /// The connection of a session. A new one tells the driver what the server has.
    fn open(&mut self, index: usize) -> Result<&mut Connection, Stop> {
        let header = *self.models[index].header();
        self.process()?;
        let Self { process: Some(process), models, .. } = self else {
            return Err(Stop::Broken("there is no process".to_owned()));
        };
        if !process.connections.contains_key(&index) {
            let stop = StopFlag::default();
            let (writer, state) =
                SessionWriter::open(&process.repository, &header, SEGMENT_BYTES, &stop)?;
            let model = &mut models[index];
            let epochs = writer.acknowledged().epoch.get();
            let seq = writer.acknowledged().seq.get();
            go_back(model, epochs, seq).map_err(Stop::Broken)?;
            let has_mark = state.watermark().is_some() && state.watermark() == model.last_mark();
            let mut ingest = Ingest::AwaitingHello;
            let hello = Hello::new(header.volume, header.session, &header.geometry);
            let frame =
                FrameHeader::new(FrameKind::Hello, hello.as_bytes()).map_err(Error::from)?;
            ingest.frame(frame, hello.as_bytes())?;
            ingest.begin(state);
            let connection = Connection { writer, ingest, is_fresh: true, has_mark };
            process.connections.insert(index, connection);
        }
        let connection = process.connections.get_mut(&index);
        connection.ok_or_else(|| Stop::Broken("there is no connection".to_owned()))
    }

    /// Sends an epoch, and acknowledges it once the server has.
    fn send(&mut self, content: Content) -> Result<(), Stop> {
        let is_fresh = self.open(self.current)?.is_fresh;
        let Some(frames) = self.models[self.current].send(content, is_fresh) else { return Ok(()) };
        let sabotage = self.sabotage;
        let Self { process: Some(process), models, current, .. } = self else { return Ok(()) };
        let Some(connection) = process.connections.get_mut(current) else { return Ok(()) };
        connection.is_fresh = false;
        let mut ends = None;
        for payload in &frames {
            ends = connection.store(payload)?;
        }
        let Some((epoch, seq)) = ends else {
            return Err(Stop::Broken("the end of an epoch is not seen".to_owned()));
        };
        let model = &mut models[*current];
        if sabotage == Some(StoreSabotage::EarlyAcknowledgement) {
            model.acknowledge(connection.has_mark);
        }
        match connection.writer.commit(epoch, seq) {
            Err(_) if sabotage == Some(StoreSabotage::SyncAgain) => {
                connection.writer.commit(epoch, seq)?;
            }
            committed => committed?,
        }
        model.acknowledge(connection.has_mark);
        connection.has_mark = false;
        Ok(())
    }

    fn mark(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let model = &mut self.models[self.current];
        let (acknowledged, sent) = model.counts();
        let mark = if acknowledged == sent { model.mark() } else { None };
        let (Some(mark), connection) = (mark, self.open(self.current)?) else { return Ok(()) };
        connection.has_mark = false;
        connection.mark(&mark)?;
        connection.has_mark = true;
        Ok(())
    }

    /// What the server does on another thread.
    fn index(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let header = *self.models[self.current].header();
        let repository = self.site().open()?;
        let store = repository.store();
        let indexer = Indexer::new(1, Floor::new(store.clone(), MinFree::NONE));
        indexer.look_at(SessionReader::open(store, header)?);
        indexer.close();
        indexer.run(&StopFlag::default());
        Ok(())
    }

    /// What the server does on another thread.
    fn fold(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let Some(plan) = self.models[self.current].fold() else { return Ok(()) };
        let site = match self.sabotage {
            Some(StoreSabotage::EarlyCollection | StoreSabotage::ForgottenMap) => {
                let store = broken::store(&self.storage, self.sabotage);
                Site::new(store, self.keeping.clone())
            }
            _ => self.site(),
        };
        let repository = site.open()?;
        let header = *self.models[self.current].header();
        let reader = SessionReader::open(repository.store(), header)?;
        fold_into(&reader, &plan, SEGMENT_BYTES, &StopFlag::default(), |_, _| ())?;
        Ok(())
    }

    /// What the server does on another thread.
    fn collect(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let (repository, header) = (self.site().open()?, *self.models[self.current].header());
        let reader = SessionReader::open(repository.store(), header)?;
        collect(&reader, || Ok(false), &StopFlag::default())?;
        Ok(())
    }

    fn rival(&mut self) -> Result<(), Stop> {
        self.process()?;
        match self.site().open_writable() {
            Err(Error::Locked(_)) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => Err(Stop::Broken("two servers write at a time".to_owned())),
        }
    }

    /// Another server takes the session over while this one has an epoch under way, which must not
    /// be acknowledged and must not harm what the other one acknowledges.
    fn usurp(&mut self) -> Result<(), Stop> {
        self.open(self.current)?;
        let Some(mut old) = self.process.take() else { return Ok(()) };
        let Some(ghost) = old.connections.get_mut(&self.current) else { return Ok(()) };
        let mut lost = self.models[self.current].clone();
        // Not with the bytes that the other server gets.
        lost.go_back(lost.counts().0);
        let frames = lost.send(Content::Writes, ghost.is_fresh).unwrap_or_default();
        self.site().store().remove(Path::new(LOCK_FILE))?;
        self.send(Content::Writes)?;
        let mut outcome = Ok(());
        for payload in &frames {
            outcome = outcome.and_then(|()| match ghost.store(payload)? {
                Some((epoch, seq)) => ghost.writer.commit(epoch, seq),
                None => Ok(()),
            });
        }
        match outcome {
            Ok(()) if !frames.is_empty() => {
                Err(Stop::Broken("two servers acknowledge the same epoch".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

impl Connection {
    /// Stores a frame; returns the epoch that it ends.
    fn store(&mut self, payload: &[u8]) -> Result<Option<(EpochId, Seq)>, Error> {
        let frame = FrameHeader::new(FrameKind::Records, payload)?;
        let Action::Store { ends } = self.ingest.frame(frame, payload)? else {
            return Err(Error::Stopped);
        };
        self.writer.append(&frame, payload)?;
        Ok(ends.map(|ends| (ends.epoch(), ends.seq())))
    }

    fn mark(&mut self, mark: &Watermark) -> Result<(), Error> {
        let frame = FrameHeader::new(FrameKind::Watermark, mark.as_bytes())?;
        let Action::Mark { watermark, .. } = self.ingest.frame(frame, mark.as_bytes())? else {
            return Err(Error::Stopped);
        };
        self.writer.mark(&watermark)
    }
}

/// The driver learns what the server has.
///
/// # Errors
/// What was acknowledged and is gone, or what the server has and was never sent.
pub fn go_back(model: &mut Model, epochs: u64, seq: u64) -> Result<(), String> {
    let (acknowledged, sent) = model.counts();
    let found = usize::try_from(epochs).unwrap_or(usize::MAX);
    if found < acknowledged {
        return Err(format!("{acknowledged} epochs were acknowledged, and {found} are there"));
    }
    if found > sent || model.seq_of(found) != seq {
        return Err(format!("{found} epochs up to record {seq} are there, and {sent} were sent"));
    }
    if found < sent {
        model.go_back(found);
    }
    if found > acknowledged {
        model.acknowledge(false);
    }
    Ok(())
}

fn on_disk(disk: Disk, sabotage: Option<StoreSabotage>) -> SimStorage {
    let lies = Lies {
        sync: sabotage == Some(StoreSabotage::NoSync),
        sync_dir: sabotage == Some(StoreSabotage::NoDirectorySync),
        cut: sabotage == Some(StoreSabotage::NoCut),
    };
    SimStorage::with(disk, Rng::new(0, 0), lies)
}

impl World {
    /// Has the call of this number, from now on, refused.
    pub fn refuse(&self, call: u64, fault: Fault) {
        self.storage.refuse(self.storage.calls() + call, fault);
    }
}
