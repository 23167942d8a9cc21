//! The server's disk: a [`Storage`] in memory that loses power.
//!
//! A crash leaves what the trait's documentation promises and not more. Each change that was not
//! synced survives whole, torn or not at all, whatever becomes of the changes around it; so does
//! each name. The power may also fail in the middle of any operation. A sync of a file may fail.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use snapless_server::storage::{Lock, OpenMode, Storage, StorageFile};

use crate::rng::Rng;

/// The disk. Clones share everything.
#[derive(Clone, Debug)]
pub struct SimStorage(Arc<Mutex<Disk>>);

#[derive(Debug)]
struct Disk {
    rng: Rng,
    files: Vec<FileData>,
    /// What each name stands for.
    names: BTreeMap<PathBuf, Node>,
    /// Names that survive a crash.
    durable_names: BTreeMap<PathBuf, Node>,
    /// What names stood for since their directory was synced.
    renamed: BTreeMap<PathBuf, Vec<Option<Node>>>,
    locks: BTreeSet<PathBuf>,
    /// The power fails after so many more changes.
    fails_after: Option<u64>,
    has_power: bool,
    /// The next sync of a file fails.
    next_sync_fails: bool,
    /// A sync has failed since [`SimStorage::took_failure`].
    sync_failed: bool,
    /// Syncs of files, and of directories, do nothing.
    lies: [bool; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Node {
    Directory,
    /// The file's index.
    File(usize),
}

#[derive(Debug, Default)]
struct FileData {
    content: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

/// A change of a file that was not synced.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl SimStorage {
    /// An empty disk. `lies`: syncs of files, and of directories, do nothing.
    pub fn new(rng: Rng, lies: [bool; 2]) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            rng,
            files: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamed: BTreeMap::new(),
            locks: BTreeSet::new(),
            fails_after: None,
            has_power: true,
            next_sync_fails: false,
            sync_failed: false,
            lies,
        })))
    }

    /// Lets the power fail after so many more changes.
    pub fn fail_after(&self, changes: u64) {
        self.disk().fails_after = Some(changes);
    }

    /// Lets the next sync of a file fail.
    pub fn fail_sync(&self) {
        self.disk().next_sync_fails = true;
    }

    /// True if a sync has failed since the last call.
    pub fn took_failure(&self) -> bool {
        std::mem::take(&mut self.disk().sync_failed)
    }

    /// True until the power fails.
    pub fn has_power(&self) -> bool {
        self.disk().has_power
    }

    /// The power fails, if it has not, and comes back.
    pub fn crash(&self) {
        let mut disk = self.disk();
        let Disk { rng, files, names, durable_names, renamed, .. } = &mut *disk;
        for file in files {
            file.crash(rng);
        }
        for (path, values) in std::mem::take(renamed) {
            // The durable value, or one of those since.
            let survives = rng.index(values.len() + 1).checked_sub(1).map(|index| values[index]);
            if let Some(node) = survives {
                set(durable_names, &path, node);
            }
        }
        *names = BTreeMap::new();
        // A directory comes before what is in it.
        for (path, &node) in &*durable_names {
            if has_parent(names, path) {
                names.insert(path.clone(), node);
            }
        }
        disk.durable_names = disk.names.clone();
        disk.locks.clear();
        (disk.fails_after, disk.has_power) = (None, true);
        (disk.next_sync_fails, disk.sync_failed) = (false, false);
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, if it has power.
    fn reach(&self) -> io::Result<MutexGuard<'_, Disk>> {
        let disk = self.disk();
        if disk.has_power { Ok(disk) } else { Err(no_power()) }
    }

    /// Makes a change. If the power fails meanwhile, the change may have been made.
    fn change<R>(&self, make: impl FnOnce(&mut Disk) -> io::Result<R>) -> io::Result<R> {
        let mut disk = self.reach()?;
        let fails = disk.fails_after == Some(0);
        disk.fails_after = disk.fails_after.and_then(|left| left.checked_sub(1));
        if !fails {
            return make(&mut disk);
        }
        disk.has_power = false;
        if disk.rng.once_in(2) {
            make(&mut disk)?;
        }
        Err(no_power())
    }
}

fn no_power() -> io::Error {
    io::Error::other("the server has no power")
}

fn set(names: &mut BTreeMap<PathBuf, Node>, path: &Path, node: Option<Node>) {
    match node {
        Some(node) => _ = names.insert(path.to_owned(), node),
        None => _ = names.remove(path),
    }
}

fn is_directory(names: &BTreeMap<PathBuf, Node>, path: &Path) -> bool {
    path == Path::new("") || names.get(path) == Some(&Node::Directory)
}

fn has_parent(names: &BTreeMap<PathBuf, Node>, path: &Path) -> bool {
    is_directory(names, path.parent().unwrap_or(Path::new("")))
}

impl Disk {
    fn name(&mut self, path: &Path, node: Option<Node>) {
        set(&mut self.names, path, node);
        self.renamed.entry(path.to_owned()).or_default().push(node);
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(&Node::File(index)) => Ok(index),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        if has_parent(&self.names, path) { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }
}

impl FileData {
    fn make(&mut self, change: Change) {
        change.apply(&mut self.content, |_| None);
        self.changes.push(change);
    }

    fn sync(&mut self) {
        for change in self.changes.drain(..) {
            change.apply(&mut self.durable, |_| None);
        }
    }

    fn crash(&mut self, rng: &mut Rng) {
        self.fail_sync(rng);
        self.content.clone_from(&self.durable);
    }

    /// What was changed since the last sync is durable, or not; it stays visible, and no later sync
    /// knows of it.
    fn fail_sync(&mut self, rng: &mut Rng) {
        let mut changes = std::mem::take(&mut self.changes);
        rng.shuffle(&mut changes);
        for change in changes {
            match rng.below(4) {
                0 => {}
                1 => change.apply(&mut self.durable, |len| {
                    let torn = [0; 2].map(|_| rng.index(len + 1));
                    Some((torn[0].min(torn[1]), torn[0].max(torn[1])))
                }),
                _ => change.apply(&mut self.durable, |_| None),
            }
        }
    }
}

impl Change {
    /// Applies it, or the part that `torn` says: its start and its end. The length survives whole.
    fn apply(&self, content: &mut Vec<u8>, torn: impl FnOnce(usize) -> Option<(usize, usize)>) {
        match self {
            &Self::SetLen(len) => content.resize(len, 0),
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                let (from, to) = torn(bytes.len()).unwrap_or((0, bytes.len()));
                content[offset + from..offset + to].copy_from_slice(&bytes[from..to]);
            }
        }
    }
}

impl Storage for SimStorage {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn StorageFile>> {
        let found = self.reach()?.file(path);
        let index = match (mode, found) {
            (OpenMode::CreateNew, Ok(_)) => return Err(ErrorKind::AlreadyExists.into()),
            (OpenMode::Create, Ok(index)) => self.change(|disk| {
                disk.files[index].make(Change::SetLen(0));
                Ok(index)
            })?,
            (OpenMode::Create | OpenMode::CreateNew, Err(_)) => self.change(|disk| {
                disk.check_parent(path)?;
                disk.files.push(FileData::default());
                let index = disk.files.len() - 1;
                disk.name(path, Some(Node::File(index)));
                Ok(index)
            })?,
            (OpenMode::Read | OpenMode::Write, found) => found?,
        };
        Ok(Box::new(OpenFile { storage: self.clone(), path: path.to_owned(), index }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        if is_directory(&self.reach()?.names, path) {
            return Ok(false);
        }
        self.change(|disk| {
            disk.check_parent(path)?;
            disk.name(path, Some(Node::Directory));
            Ok(true)
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let disk = self.reach()?;
        if !is_directory(&disk.names, dir) {
            return Err(ErrorKind::NotFound.into());
        }
        let inside = disk.names.keys().filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|disk| {
            let index = disk.file(from)?;
            disk.name(from, None);
            disk.name(to, Some(Node::File(index)));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|disk| {
            disk.file(path)?;
            disk.name(path, None);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|disk| {
            if disk.lies[1] {
                return Ok(());
            }
            let inside = |path: &Path| path.parent() == Some(dir);
            for path in disk.renamed.keys().filter(|path| inside(path)) {
                set(&mut disk.durable_names, path, disk.names.get(path).copied());
            }
            disk.renamed.retain(|path, _| !inside(path));
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        if !self.reach()?.locks.insert(path.to_owned()) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let lock = Locked { storage: self.clone(), path: path.to_owned() };
        self.open(path, OpenMode::Create).map(|_| Box::new(lock) as Lock)
    }

    fn locate(&self, path: &Path) -> PathBuf {
        Path::new("server").join(path)
    }
}

struct Locked {
    storage: SimStorage,
    path: PathBuf,
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.storage.disk().locks.remove(&self.path);
    }
}

#[derive(Debug)]
struct OpenFile {
    storage: SimStorage,
    path: PathBuf,
    index: usize,
}

impl OpenFile {
    fn change(&self, make: impl FnOnce(&mut FileData)) -> io::Result<()> {
        self.storage.change(|disk| {
            make(&mut disk.files[self.index]);
            Ok(())
        })
    }
}

impl StorageFile for OpenFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let disk = self.storage.reach()?;
        let content = &disk.files[self.index].content;
        let rest = content.get(index(offset)..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let change = Change::Write { offset: index(offset), bytes: bytes.to_vec() };
        self.change(|file| file.make(change))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.storage.reach()?.files[self.index].content.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|file| file.make(Change::SetLen(index(len))))
    }

    fn sync(&self) -> io::Result<()> {
        self.storage.change(|disk| {
            let Disk { rng, files, lies, next_sync_fails, sync_failed, .. } = disk;
            let file = &mut files[self.index];
            if std::mem::take(next_sync_fails) {
                file.fail_sync(rng);
                *sync_failed = true;
                return Err(io::Error::other("the server's disk could not be synced"));
            }
            if !lies[0] {
                file.sync();
            }
            Ok(())
        })
    }

    fn has_its_name(&self) -> io::Result<bool> {
        Ok(self.storage.reach()?.names.get(&self.path) == Some(&Node::File(self.index)))
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("model files are small")
}
