//! The server's disk: a [`Storage`] in memory that loses power and refuses calls. The same machine
//! may be a bucket of an object store (`bucket`).
//!
//! A crash leaves what the trait's documentation promises and not more ([`Disk`]). The power may
//! also fail in the middle of any operation, a sync of a file may fail, and any one call may be
//! refused ([`Fault`]). What is on the disk before each change can be recorded, so that one run
//! gives all the crashes that can come in it.

mod bucket;
mod disk;

use std::collections::BTreeSet;
use std::fmt;
use std::hash::Hash;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use snapless_server::storage::{Lock, OpenMode, Storage, StorageFile};

use crate::rng::Rng;

use disk::{Change, Node, Request};
pub use disk::{Disk, Survivors};

/// The disk in its machine. Clones share everything.
#[derive(Clone)]
pub struct SimStorage(Arc<Mutex<Machine>>);

/// After so many seconds a lease has lapsed: more than another server makes requests meanwhile, of
/// which each takes one. Who holds the lease cannot renew it then.
pub const LAPSE_S: u64 = 100_000;

/// What another server does between two calls of this one.
pub type Interlude = Box<dyn FnOnce() + Send>;

struct Machine {
    rng: Rng,
    disk: Disk,
    /// The indices of the files that are locked.
    locks: BTreeSet<usize>,
    /// Calls so far.
    calls: u64,
    /// What the clock of a bucket shows, in seconds: each request takes one.
    clock: u64,
    /// What fails.
    fault: Option<Failing>,
    /// Requests that their senders have given up, and that have not arrived.
    late: Vec<Request>,
    /// What happens before the call of this number.
    interlude: Option<(u64, Interlude)>,
    /// What the call was that was refused last.
    refused: Option<Call>,
    /// The disk before each change.
    recorded: Option<Vec<Disk>>,
    /// The power fails after so many more changes.
    fails_after: Option<u64>,
    has_power: bool,
    /// The next sync of a file fails.
    next_sync_fails: bool,
    /// A call was refused, or a sync failed, since [`SimStorage::took_failure`].
    failed: bool,
    lies: Lies,
}

/// What a disk does not do although it says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lies {
    /// Syncs of files do nothing.
    pub sync: bool,
    /// Syncs of directories do nothing.
    pub sync_dir: bool,
    /// Files are not cut.
    pub cut: bool,
}

/// The calls that fail, and how.
#[derive(Clone, Copy, Debug)]
struct Failing {
    call: u64,
    /// All calls after it fail too.
    lasts: bool,
    fault: Fault,
}

/// How a call is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing is done.
    Refused,
    /// The disk is full: the first half of a write is done, of any other call nothing.
    Full,
    /// A failed sync drops what was changed; it stays visible, and the next sync succeeds. Of any
    /// other call nothing is done.
    Dropped,
    /// The creation of an object is refused as if there were one (409, 412); nothing is done.
    Conflict,
    /// A request is carried out, and its answer is lost.
    Lost,
    /// A request has no answer, and is carried out later.
    Late,
}

/// What a call is, as far as faults tell calls apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// Writes into a file.
    Write,
    /// Syncs a file.
    Sync,
    /// Creates an object.
    Create,
    /// Replaces an object.
    Replace,
    /// Removes an object.
    Delete,
    /// Anything else: each fault does the same to it.
    Other,
}

/// Without what is on the disk, which may be long.
impl fmt::Debug for SimStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStorage").finish_non_exhaustive()
    }
}

impl SimStorage {
    /// An empty disk.
    pub fn new(rng: Rng, lies: Lies) -> Self {
        Self::with(Disk::default(), rng, lies)
    }

    /// This disk in another machine.
    pub fn with(disk: Disk, rng: Rng, lies: Lies) -> Self {
        // Who died has left leases behind, which lapse.
        let clock = disk.newest() + LAPSE_S;
        Self(Arc::new(Mutex::new(Machine {
            rng,
            clock,
            disk,
            locks: BTreeSet::new(),
            calls: 0,
            fault: None,
            late: Vec::new(),
            interlude: None,
            refused: None,
            recorded: None,
            fails_after: None,
            has_power: true,
            next_sync_fails: false,
            failed: false,
            lies,
        })))
    }

    /// The same machine after its power was off, with this on its disk. Who still uses this one
    /// reaches a machine that is no longer there.
    #[must_use]
    pub fn succeed(&self, disk: Disk) -> Self {
        let mut machine = self.machine();
        let Machine { calls, fault, refused, lies, .. } = *machine;
        let (recorded, rng) = (machine.recorded.take(), machine.rng.fork());
        let next = Self::with(disk, rng, lies);
        let mut successor = next.machine();
        (successor.calls, successor.fault, successor.recorded) = (calls, fault, recorded);
        (successor.refused, successor.late) = (refused, machine.late.clone());
        drop(successor);
        next
    }

    /// So much time passes that leases lapse which no process renews.
    pub fn lapse(&self) {
        self.machine().clock += LAPSE_S;
    }

    /// The clock of the bucket is set by so many seconds.
    pub fn set_clock(&self, by: i64) {
        let mut machine = self.machine();
        machine.clock = machine.clock.saturating_add_signed(by);
    }

    /// What is on the disk.
    pub fn disk(&self) -> Disk {
        self.machine().disk.clone()
    }

    /// What tells two machines of equal disks apart: the locks, and requests under way.
    pub fn unlike_disk(&self) -> impl Hash + use<> {
        let machine = self.machine();
        (machine.locks.clone(), machine.late.clone())
    }

    /// Records the disk before each change from now on.
    pub fn record(&self) {
        self.machine().recorded = Some(Vec::new());
    }

    /// What was recorded.
    pub fn take_recorded(&self) -> Vec<Disk> {
        self.machine().recorded.take().unwrap_or_default()
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.machine().calls
    }

    /// Has the call of this number refused; the first one is 1.
    pub fn refuse(&self, call: u64, fault: Fault) {
        self.machine().fault = Some(Failing { call, lasts: false, fault });
    }

    /// Has all calls refused from this number on.
    pub fn refuse_from(&self, call: u64, fault: Fault) {
        self.machine().fault = Some(Failing { call, lasts: true, fault });
    }

    /// Lets something happen before the call of this number: to the caller its call is slow.
    pub fn before(&self, call: u64, interlude: Interlude) {
        self.machine().interlude = Some((call, interlude));
    }

    /// Nothing happens any more before a call that has not come; true if it has come.
    pub fn has_come(&self) -> bool {
        self.machine().interlude.take().is_none()
    }

    /// What the call was that was refused last; `None` if none was.
    pub fn refused(&self) -> Option<Call> {
        self.machine().refused
    }

    /// Lets the power fail after so many more changes.
    pub fn fail_after(&self, changes: u64) {
        self.machine().fails_after = Some(changes);
    }

    /// Lets the next sync of a file fail.
    pub fn fail_sync(&self) {
        self.machine().next_sync_fails = true;
    }

    /// True if a call was refused or a sync failed since the last call of this. From now on none is
    /// refused.
    pub fn took_failure(&self) -> bool {
        let mut machine = self.machine();
        machine.fault = None;
        std::mem::take(&mut machine.failed)
    }

    /// True if a call was refused or a sync failed since the last call of [`Self::took_failure`].
    pub fn has_failed(&self) -> bool {
        self.machine().failed
    }

    /// True until the power fails.
    pub fn has_power(&self) -> bool {
        self.machine().has_power
    }

    /// The power fails, if it has not, and comes back.
    pub fn crash(&self) {
        let mut machine = self.machine();
        let Machine { rng, disk, .. } = &mut *machine;
        disk.crash(&mut Survivors::Any(rng));
        machine.locks.clear();
        (machine.fails_after, machine.has_power) = (None, true);
        (machine.next_sync_fails, machine.failed) = (false, false);
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call, and tells if it is to be refused.
    fn call(&self) -> io::Result<(MutexGuard<'_, Machine>, Option<Fault>)> {
        let mut machine = self.machine();
        if !machine.has_power {
            return Err(no_power());
        }
        machine.calls += 1;
        machine.clock += 1;
        let calls = machine.calls;
        if let Some((_, interlude)) = machine.interlude.take_if(|(call, _)| *call == calls) {
            drop(machine);
            // On a thread of its own, whatever the one of the call has locked for itself.
            let ended = thread::spawn(interlude).join();
            ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            machine = self.machine();
        }
        let fails = |it: &Failing| it.call == calls || it.lasts && it.call < calls;
        let fault = machine.fault.filter(fails).map(|it| it.fault);
        machine.failed |= fault.is_some();
        machine.refused = fault.map(|_| Call::Other).or(machine.refused);
        Ok((machine, fault))
    }

    /// The disk for a call that changes nothing.
    fn reach(&self) -> io::Result<MutexGuard<'_, Machine>> {
        match self.call()? {
            (machine, None) => Ok(machine),
            (_, Some(fault)) => Err(fault.error()),
        }
    }

    /// Makes a change.
    fn change<R>(&self, make: impl FnOnce(&mut Machine) -> io::Result<R>) -> io::Result<R> {
        self.change_or(make, |_, fault| Err(fault.error()))
    }

    /// Makes a change, or what becomes of it if it is refused. If the power fails meanwhile, the
    /// change may have been made.
    fn change_or<R>(
        &self,
        make: impl FnOnce(&mut Machine) -> io::Result<R>,
        refuse: impl FnOnce(&mut Machine, Fault) -> io::Result<R>,
    ) -> io::Result<R> {
        let (mut machine, fault) = self.call()?;
        let machine = &mut *machine;
        if let Some(recorded) = &mut machine.recorded {
            recorded.push(machine.disk.clone());
        }
        if let Some(fault) = fault {
            return refuse(machine, fault);
        }
        let fails = machine.fails_after == Some(0);
        machine.fails_after = machine.fails_after.and_then(|left| left.checked_sub(1));
        if !fails {
            return make(machine);
        }
        machine.has_power = false;
        if machine.rng.once_in(2) {
            make(machine)?;
        }
        Err(no_power())
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Full => ErrorKind::StorageFull.into(),
            Self::Refused | Self::Dropped | Self::Conflict => {
                io::Error::other("the server's disk refuses a call")
            }
            Self::Lost | Self::Late => io::Error::other("there is no answer"),
        }
    }
}

fn no_power() -> io::Error {
    io::Error::other("the server has no power")
}

impl Storage for SimStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let found = self.reach()?.disk.file(path);
        let index = match (mode, found) {
            (OpenMode::CreateNew, Ok(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (OpenMode::Create, Ok(index)) => self.change(|machine| {
                machine.disk.make(index, Change::SetLen(0));
                Ok(index)
            })?,
            (OpenMode::Create | OpenMode::CreateNew, Err(_)) => {
                self.change(|machine| machine.disk.create(path))?
            }
            (OpenMode::Read | OpenMode::Write, found) => found?,
        };
        Ok(Box::new(OpenFile { storage: self.clone(), path: path.to_owned(), index }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        if self.reach()?.disk.is_directory(path) {
            return Ok(false);
        }
        self.change(|machine| machine.disk.name(path, Some(Node::Directory)).map(|()| true))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.reach()?.disk.list(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|machine| machine.disk.rename(from, to))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|machine| {
            if machine.disk.has(to) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            machine.disk.rename(from, to)
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|machine| machine.disk.remove(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|machine| {
            if !machine.lies.sync_dir {
                machine.disk.sync_dir(dir);
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let found = self.reach()?.disk.file(path);
        let index = match found {
            Ok(index) => index,
            Err(_) => self.change(|machine| machine.disk.create(path))?,
        };
        if !self.machine().locks.insert(index) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Locked { storage: self.clone(), index }))
    }

    fn locate(&self, path: &Path) -> PathBuf {
        Path::new("server").join(path)
    }
}

/// A lock on a file, whatever becomes of its name.
struct Locked {
    storage: SimStorage,
    index: usize,
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.storage.machine().locks.remove(&self.index);
    }
}

#[derive(Debug)]
struct OpenFile {
    storage: SimStorage,
    path: PathBuf,
    index: usize,
}

impl StorageFile for OpenFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let machine = self.storage.reach()?;
        let rest = machine.disk.content(self.index).get(index(offset)..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let write = |bytes: &[u8]| Change::Write { offset: index(offset), bytes: bytes.to_vec() };
        self.storage.change_or(
            |machine| {
                machine.disk.make(self.index, write(bytes));
                Ok(())
            },
            |machine, fault| {
                machine.refused = Some(Call::Write);
                if fault == Fault::Full && bytes.len() > 1 {
                    machine.disk.make(self.index, write(&bytes[..bytes.len() / 2]));
                }
                Err(fault.error())
            },
        )
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.storage.reach()?.disk.content(self.index).len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.storage.change(|machine| {
            if !machine.lies.cut {
                machine.disk.make(self.index, Change::SetLen(index(len)));
            }
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.change_or(
            |machine| {
                let Machine { rng, disk, lies, next_sync_fails, failed, .. } = machine;
                if std::mem::take(next_sync_fails) {
                    disk.fail_sync(self.index, &mut Survivors::Any(rng));
                    *failed = true;
                    return Err(io::Error::other("the server's disk could not be synced"));
                }
                if !lies.sync {
                    disk.sync(self.index);
                }
                Ok(())
            },
            |machine, fault| {
                machine.refused = Some(Call::Sync);
                if fault == Fault::Dropped {
                    machine.disk.fail_sync(self.index, &mut Survivors::None);
                }
                Err(fault.error())
            },
        )
    }

    fn has_its_name(&self) -> io::Result<bool> {
        Ok(self.storage.reach()?.disk.file(&self.path).is_ok_and(|found| found == self.index))
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("model files are small")
}
