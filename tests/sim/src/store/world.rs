//! A server process over the simulated storage, the drivers of its sessions, and what may happen to
//! them.

mod operations;

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clap::ValueEnum;
use snapless_server::error::Error;
use snapless_server::ingest::{Action, Ingest};
use snapless_server::repository::WritableRepository;
use snapless_server::stop::StopFlag;
use snapless_server::storage::{Storage, Store};
use snapless_server::writer::SessionWriter;
use snapless_types::{EpochId, Seq};
use snapless_wire::frame::{FrameHeader, FrameKind, Hello, Watermark};
use zerocopy::IntoBytes;

use super::model::Model;
use super::site::{Keeping, Site};
use super::{StoreSabotage, alike, careless, untold};
use crate::rng::Rng;
use crate::storage::{Disk, Fault, Lies, SimStorage};

/// A segment is full after so many bytes: after one epoch or two.
const SEGMENT_BYTES: u64 = 4_000;
/// The same in a bucket, where an epoch begins a segment: less than an epoch of writes has.
const OBJECT_BYTES: u64 = 2_000;

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
    /// The server folds the history, and removes what that has left
    FoldAndCollect,
    /// A program restores the latest point, and the first one
    Restore,
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
    /// The machine has connected to another server meanwhile.
    Stale,
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
    drivers: Drivers,
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

/// The drivers, which all servers of a world share.
#[derive(Clone, Debug)]
struct Drivers(Arc<Mutex<Vec<Model>>>);

#[derive(Debug)]
struct Connection {
    /// The number that its driver gave it.
    connected: u64,
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
        let drivers = Drivers(Arc::new(Mutex::new(models)));
        Self { storage, process: None, drivers, current, keeping, sabotage }
    }

    /// The disk.
    pub fn storage(&self) -> &SimStorage {
        &self.storage
    }

    /// The repository, for a program of the server.
    pub fn site(&self) -> Site {
        let store = match self.sabotage {
            Some(StoreSabotage::UntoldEnd) => untold::store(self.medium()),
            Some(sabotage) if self.keeping.is_in_objects() => {
                careless::store(self.medium(), sabotage)
            }
            _ => Store::new(self.medium()),
        };
        Site::new(store, self.keeping.clone())
    }

    /// What the repository is stored in, for one process of the server.
    pub fn medium(&self) -> Arc<dyn Storage> {
        if self.keeping.is_in_objects() {
            return self.storage.bucket();
        }
        Arc::new(self.storage.clone())
    }

    /// How the store or the server breaks a rule.
    pub fn sabotage(&self) -> Option<StoreSabotage> {
        self.sabotage
    }

    /// How the repository keeps content.
    pub fn keeping(&self) -> &Keeping {
        &self.keeping
    }

    /// The drivers.
    pub fn models(&self) -> Vec<Model> {
        self.drivers.all().clone()
    }

    /// The drivers know what these know.
    pub fn set_models(&mut self, models: Vec<Model>) {
        *self.drivers.all() = models;
    }

    /// Epochs of each driver that were acknowledged, and that were sent.
    pub fn counts(&self) -> Vec<(usize, usize)> {
        self.drivers.all().iter().map(Model::counts).collect()
    }

    /// True if anything was sent.
    pub fn has_sent(&self) -> bool {
        self.counts().iter().any(|(_, sent)| *sent > 0)
    }

    fn segment_bytes(&self) -> u64 {
        if self.keeping.is_in_objects() { OBJECT_BYTES } else { SEGMENT_BYTES }
    }

    /// The session that goes on.
    pub fn current(&self) -> usize {
        self.current
    }

    /// A number that tells two worlds apart, by all that decides what an operation does: the disk,
    /// the drivers, and the server's memory. What the latter holds is told by its `Debug`.
    pub fn digest(&self) -> u64 {
        let Self { storage, process, drivers, current, keeping: _, sabotage: _ } = self;
        let mut hasher = DefaultHasher::new();
        let disk = alike::disk(&storage.disk());
        // Of a bucket nothing counts but what is in it.
        let disk = (!self.keeping.is_in_objects()).then_some(disk).ok_or(self.store_digest());
        let process = alike::process(&format!("{process:?}"));
        (storage.unlike_disk(), disk, &*drivers.all(), current, process).hash(&mut hasher);
        hasher.finish()
    }

    /// A number that tells the stores of two worlds apart, also by what survives a crash.
    pub fn store_digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let disk = alike::disk(&self.storage.disk()).whole_digest();
        (self.storage.unlike_disk(), disk).hash(&mut hasher);
        hasher.finish()
    }

    /// The server is killed and starts again; what it has not synced is visible still.
    pub fn kill(&mut self) {
        if self.keeping.is_in_objects() {
            // The bucket goes on.
            self.process = None;
            self.storage.lapse();
        } else {
            self.replace_disk(self.storage.disk());
        }
    }

    /// The server and its disk are gone; this is what is left.
    pub fn replace_disk(&mut self, disk: Disk) {
        // The old process may write while it ends, to a disk that is no longer this one.
        self.storage = self.storage.succeed(disk);
        self.process = None;
    }

    /// Another server of the same repository, to which the same machines may connect.
    fn other_server(&self) -> Self {
        let Self { storage, drivers, current, keeping, sabotage, .. } = self;
        let (storage, drivers, keeping) = (storage.clone(), drivers.clone(), keeping.clone());
        Self { storage, process: None, drivers, current: *current, keeping, sabotage: *sabotage }
    }

    /// Lets it happen. An error of the server is in order if its disk has refused a call; its
    /// connections end then.
    ///
    /// # Errors
    /// What the server did wrong.
    pub fn apply(&mut self, operation: Operation) -> Result<(), String> {
        let applied = self.try_apply(operation);
        let is_excused = self.storage.took_failure();
        self.judge(applied, is_excused)
    }

    fn judge(&mut self, applied: Result<(), Stop>, is_excused: bool) -> Result<(), String> {
        match applied {
            Ok(()) => Ok(()),
            Err(Stop::Failed(error @ Error::Damaged { .. })) if self.keeping.is_in_objects() => {
                Err(format!("the server finds damage where there is none: {error}"))
            }
            Err(Stop::Failed(_) | Stop::Stale) if is_excused => {
                if let Some(process) = &mut self.process {
                    process.connections.clear();
                }
                Ok(())
            }
            Err(Stop::Failed(error)) => Err(format!("the server fails: {error}")),
            Err(Stop::Stale) => Err("a connection is lost".to_owned()),
            Err(Stop::Broken(what)) => Err(what),
        }
    }

    /// Lets it happen while its call of this number is slow: before it is carried out, the machines
    /// connect to another server, and `other` happens there. False if there is no such call.
    ///
    /// # Errors
    /// What a server did wrong.
    pub fn apply_beside(
        &mut self,
        operation: Operation,
        call: u64,
        other: Operation,
    ) -> Result<bool, String> {
        let outcome = Arc::new(Mutex::new(Ok(())));
        let (mut rival, told) = (self.other_server(), Arc::clone(&outcome));
        let interlude = move || {
            let applied = rival.try_apply(other);
            *told.lock().unwrap_or_else(PoisonError::into_inner) = rival.judge(applied, false);
        };
        self.storage.before(self.storage.calls() + call, Box::new(interlude));
        let applied = self.try_apply(operation);
        let has_come = self.storage.has_come();
        let outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
        outcome.map_err(|what| format!("at the other server: {what}"))?;
        self.judge(applied, has_come)?;
        Ok(has_come)
    }

    /// Opens every session that has sent something, so that the drivers know what the server has.
    ///
    /// # Errors
    /// Why the server cannot go on, or what it did wrong.
    pub fn open_all(&mut self) -> Result<(), String> {
        for (index, (_, sent)) in self.counts().into_iter().enumerate() {
            if sent == 0 {
                continue;
            }
            match self.open(index) {
                Ok(_) => {}
                Err(Stop::Failed(error)) => return Err(format!("a session is refused: {error}")),
                Err(Stop::Stale) => return Err("a connection is lost".to_owned()),
                Err(Stop::Broken(what)) => return Err(what),
            }
        }
        Ok(())
    }

    /// An epoch of whatever may come next in the present session, up to its acknowledgement.
    pub fn go_on(&mut self) -> Result<(), String> {
        let sent = self.counts()[self.current];
        self.apply(Operation::Write)?;
        if self.counts()[self.current].1 == sent.1 { self.apply(Operation::Sync) } else { Ok(()) }
    }

    fn process(&mut self) -> Result<&mut Process, Stop> {
        if self.process.is_none() {
            let site = self.site();
            let is_new = self.counts().iter().all(|(acknowledged, _)| *acknowledged == 0);
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
        self.process()?;
        let segment_bytes = self.segment_bytes();
        let Self { process: Some(process), drivers, .. } = self else {
            return Err(Stop::Broken("there is no process".to_owned()));
        };
        let hears = |it: &Connection| drivers.of(index, |driver| driver.hears(it.connected));
        let is_open = process.connections.get(&index).is_some_and(hears);
        if !is_open {
            process.connections.remove(&index);
            let connection = Connection::open(&process.repository, drivers, index, segment_bytes)?;
            process.connections.insert(index, connection);
        }
        let connection = process.connections.get_mut(&index);
        connection.ok_or_else(|| Stop::Broken("there is no connection".to_owned()))
    }
}

impl Drivers {
    fn all(&self) -> MutexGuard<'_, Vec<Model>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks or tells the driver of a session. No server may do anything meanwhile.
    fn of<R>(&self, index: usize, ask: impl FnOnce(&mut Model) -> R) -> R {
        ask(&mut self.all()[index])
    }
}

impl Connection {
    /// Connects the machine of a session, which learns what the server has.
    fn open(
        repository: &WritableRepository,
        drivers: &Drivers,
        index: usize,
        segment_bytes: u64,
    ) -> Result<Self, Stop> {
        let (connected, header) = drivers.of(index, |driver| (driver.connect(), *driver.header()));
        let stop = StopFlag::default();
        let (writer, state) = SessionWriter::open(repository, &header, segment_bytes, &stop)?;
        let has_mark = drivers.of(index, |driver| {
            if !driver.hears(connected) {
                return Err(Stop::Stale);
            }
            let epochs = writer.acknowledged().epoch.get();
            go_back(driver, epochs, writer.acknowledged().seq.get()).map_err(Stop::Broken)?;
            Ok(state.watermark().is_some() && state.watermark() == driver.last_mark())
        })?;
        let mut ingest = Ingest::AwaitingHello;
        let hello = Hello::new(header.volume, header.session, &header.geometry);
        let frame = FrameHeader::new(FrameKind::Hello, hello.as_bytes()).map_err(Error::from)?;
        ingest.frame(frame, hello.as_bytes())?;
        ingest.begin(state);
        Ok(Self { connected, writer, ingest, is_fresh: true, has_mark })
    }

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
        model.is_there();
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

    /// Has all calls refused from this number on.
    pub fn refuse_from(&self, call: u64, fault: Fault) {
        self.storage.refuse_from(self.storage.calls() + call, fault);
    }
}
