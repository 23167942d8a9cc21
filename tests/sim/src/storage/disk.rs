//! What is on a disk, and what of it survives a crash.
//!
//! Each change that was not synced survives whole, torn or not at all, whatever becomes of the
//! changes around it; so does each name.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::ffi::OsStr;
use std::hash::{Hash, Hasher};
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::rng::Rng;

/// Files and names. A clone is another disk with the same content.
#[derive(Clone, Debug, Default, Hash)]
pub struct Disk {
    files: Vec<FileData>,
    /// What each name stands for.
    names: ByName<Node>,
    /// Names that survive a crash.
    durable_names: ByName<Node>,
    /// What names stood for since their directory was synced.
    renamed: ByName<Vec<Option<Node>>>,
}

/// Paths by the bytes of their names: to compare paths part by part takes longer than all else.
type ByName<T> = BTreeMap<Arc<OsStr>, T>;

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub(super) enum Node {
    /// A directory.
    Directory,
    /// The file's index.
    File(usize),
}

/// Which of the changes that were not synced survive; they are numbered from 0.
#[derive(Debug)]
pub enum Survivors<'a> {
    /// No change.
    None,
    /// Every change, as after the end of the process alone.
    All,
    /// This one.
    Only(usize),
    /// The first half of this write, and every other change.
    Torn(usize),
    /// Every change but this one.
    AllBut(usize),
    /// Each one or not, whole or torn, in any order.
    Any(&'a mut Rng),
}

#[derive(Clone, Debug, Default, Hash)]
struct FileData {
    content: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    changes: Vec<Change>,
    /// When it was stored as an object, in seconds by the bucket's clock.
    stored_at: u64,
}

/// A change of a file that was not synced.
#[derive(Clone, Debug, Hash)]
pub(super) enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

/// A request that changes the objects of a bucket.
#[derive(Clone, Debug, Hash)]
pub(super) enum Request {
    /// Stores an object unless there is one.
    Create(PathBuf, Vec<u8>),
    /// Stores an object.
    Replace(PathBuf, Vec<u8>),
    /// Removes an object.
    Delete(PathBuf),
}

impl Request {
    /// Makes the change at this time; false for a creation of what is there.
    pub(super) fn arrive(self, disk: &mut Disk, now: u64) -> bool {
        match self {
            Self::Create(path, _) if disk.has(&path) => return false,
            Self::Create(path, content) | Self::Replace(path, content) => {
                disk.put(&path, content, now);
            }
            Self::Delete(path) => disk.lose(&path),
        }
        true
    }
}

impl Disk {
    /// Changes that were not synced.
    pub fn pending(&self) -> usize {
        let contents: usize = self.files.iter().map(|file| file.changes.len()).sum();
        contents + self.renamed.values().map(Vec::len).sum::<usize>()
    }

    /// The power fails.
    pub fn crash(&mut self, survivors: &mut Survivors<'_>) {
        let mut number = 0;
        for file in &mut self.files {
            file.settle(&mut number, survivors);
            file.content = Arc::clone(&file.durable);
        }
        for (path, values) in std::mem::take(&mut self.renamed) {
            // The durable value, or one of those since.
            let survives = match survivors {
                Survivors::Any(rng) => rng.index(values.len() + 1).checked_sub(1),
                _ => (0..values.len()).rfind(|index| survivors.has(number + index)),
            };
            number += values.len();
            if let Some(index) = survives {
                set(&mut self.durable_names, Path::new(&path), values[index]);
            }
        }
        self.names = BTreeMap::new();
        // A directory comes before what is in it.
        for (name, &node) in &self.durable_names {
            if has_parent(&self.names, Path::new(name)) {
                self.names.insert(Arc::clone(name), node);
            }
        }
        self.durable_names.clone_from(&self.names);
    }

    /// Every file, in order of its name.
    pub fn paths(&self) -> Vec<PathBuf> {
        let is_file = |(_, node): &(_, &Node)| matches!(node, Node::File(_));
        self.names.iter().filter(is_file).map(|(name, _)| PathBuf::from(&**name)).collect()
    }

    /// Every file whose name begins like this, its content and when it was stored as an object, in
    /// order of its name.
    pub(super) fn files<'a>(
        &'a self,
        beginning: &'a str,
    ) -> impl Iterator<Item = (&'a Path, &'a [u8], u64)> {
        let from = (Bound::Included(OsStr::new(beginning)), Bound::Unbounded);
        let begins = |(name, _): &(&Arc<OsStr>, _)| {
            name.as_encoded_bytes().starts_with(beginning.as_bytes())
        };
        let names = self.names.range::<OsStr, _>(from).take_while(begins);
        names.filter_map(|(name, node)| match *node {
            Node::Directory => None,
            Node::File(index) => {
                let stored_at = self.files[index].stored_at;
                Some((Path::new(name), self.content(index), stored_at))
            }
        })
    }

    /// The content of a file; none of one that is not there.
    pub fn read(&self, path: &Path) -> &[u8] {
        self.file(path).map_or(&[], |index| self.content(index))
    }

    /// Puts other content into a file, durably.
    pub fn damage(&mut self, path: &Path, content: Vec<u8>) {
        if let Ok(index) = self.file(path) {
            let content = Arc::new(content);
            let file = &mut self.files[index];
            let durable = Arc::clone(&content);
            *file = FileData { durable, content, changes: Vec::new(), stored_at: file.stored_at };
        }
    }

    /// Puts a file there or in the place of another, durably, with the directories above it.
    pub(super) fn put(&mut self, path: &Path, content: Vec<u8>, stored_at: u64) {
        for dir in path.ancestors().skip(1).filter(|dir| *dir != Path::new("")) {
            set(&mut self.durable_names, dir, Some(Node::Directory));
            set(&mut self.names, dir, Some(Node::Directory));
        }
        if self.file(path).is_err() {
            let node = Node::File(self.files.len());
            self.files.push(FileData::default());
            set(&mut self.durable_names, path, Some(node));
            set(&mut self.names, path, Some(node));
        }
        self.damage(path, content);
        if let Ok(index) = self.file(path) {
            self.files[index].stored_at = stored_at;
        }
    }

    /// When an object was stored.
    pub(super) fn stored_at(&self, path: &Path) -> u64 {
        self.file(path).map_or(0, |index| self.files[index].stored_at)
    }

    /// When the newest object was stored.
    pub(super) fn newest(&self) -> u64 {
        self.files.iter().map(|file| file.stored_at).max().unwrap_or(0)
    }

    /// Removes a file, durably.
    pub fn lose(&mut self, path: &Path) {
        self.names.remove(path.as_os_str());
        self.durable_names.remove(path.as_os_str());
        self.renamed.remove(path.as_os_str());
    }

    /// True if there is a file or a directory of this name.
    pub fn has(&self, path: &Path) -> bool {
        self.names.contains_key(path.as_os_str())
    }

    /// A number that tells the names and the contents of two disks apart, as they are visible.
    pub fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (path, node) in &self.names {
            path.hash(&mut hasher);
            match node {
                Node::Directory => 0.hash(&mut hasher),
                &Node::File(index) => self.content(index).hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// A number that tells two disks apart, also by what survives a crash.
    pub fn whole_digest(&self) -> u64 {
        let mut survivor = self.clone();
        survivor.crash(&mut Survivors::None);
        let mut hasher = DefaultHasher::new();
        [self.digest(), survivor.digest(), self.pending() as u64].hash(&mut hasher);
        hasher.finish()
    }

    pub(super) fn name(&mut self, path: &Path, node: Option<Node>) -> io::Result<()> {
        if !has_parent(&self.names, path) {
            return Err(ErrorKind::NotFound.into());
        }
        set(&mut self.names, path, node);
        self.renamed.entry(path.as_os_str().into()).or_default().push(node);
        Ok(())
    }

    pub(super) fn create(&mut self, path: &Path) -> io::Result<usize> {
        let index = self.files.len();
        self.name(path, Some(Node::File(index)))?;
        self.files.push(FileData::default());
        Ok(index)
    }

    pub(super) fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path.as_os_str()) {
            Some(&Node::File(index)) => Ok(index),
            _ => Err(ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn is_directory(&self, path: &Path) -> bool {
        is_directory(&self.names, path)
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        if !self.is_directory(dir) {
            return Err(ErrorKind::NotFound.into());
        }
        let inside = self.names.keys().map(Path::new).filter(|path| path.parent() == Some(dir));
        let names = inside.filter_map(|path| path.file_name()?.to_str());
        Ok(names.map(str::to_owned).collect())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let index = self.file(from)?;
        self.name(from, None)?;
        self.name(to, Some(Node::File(index)))
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.file(path)?;
        self.name(path, None)
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let is_inside = |name: &Arc<OsStr>| Path::new(name).parent() == Some(dir);
        for name in self.renamed.keys().filter(|name| is_inside(name)) {
            let node = self.names.get(name).copied();
            set(&mut self.durable_names, Path::new(name), node);
        }
        self.renamed.retain(|name, _| !is_inside(name));
    }

    pub(super) fn content(&self, index: usize) -> &[u8] {
        &self.files[index].content
    }

    pub(super) fn make(&mut self, index: usize, change: Change) {
        let file = &mut self.files[index];
        change.apply(Arc::make_mut(&mut file.content), |_| None);
        file.changes.push(change);
    }

    pub(super) fn sync(&mut self, index: usize) {
        let file = &mut self.files[index];
        for change in file.changes.drain(..) {
            change.apply(Arc::make_mut(&mut file.durable), |_| None);
        }
    }

    /// What was changed since the last sync is durable, or not; it stays visible, and no later sync
    /// knows of it.
    pub(super) fn fail_sync(&mut self, index: usize, survivors: &mut Survivors<'_>) {
        self.files[index].settle(&mut 0, survivors);
    }
}

fn set(names: &mut ByName<Node>, path: &Path, node: Option<Node>) {
    let name = path.as_os_str();
    match node {
        Some(node) => _ = names.insert(name.into(), node),
        None => _ = names.remove(name),
    }
}

fn is_directory(names: &ByName<Node>, path: &Path) -> bool {
    let name = path.as_os_str();
    name.is_empty() || names.get(name) == Some(&Node::Directory)
}

fn has_parent(names: &ByName<Node>, path: &Path) -> bool {
    is_directory(names, path.parent().unwrap_or(Path::new("")))
}

impl Survivors<'_> {
    fn has(&self, number: usize) -> bool {
        match self {
            Self::None => false,
            Self::All | Self::Torn(_) | Self::Any(_) => true,
            Self::Only(only) => *only == number,
            Self::AllBut(lost) => *lost != number,
        }
    }
}

impl FileData {
    /// Makes the changes durable that survive; `number` is that of the first one.
    fn settle(&mut self, number: &mut usize, survivors: &mut Survivors<'_>) {
        let first = *number;
        *number += self.changes.len();
        let mut changes: Vec<_> =
            std::mem::take(&mut self.changes).into_iter().zip(first..).collect();
        if changes.is_empty() {
            return;
        }
        let durable = Arc::make_mut(&mut self.durable);
        if let Survivors::Any(rng) = survivors {
            rng.shuffle(&mut changes);
        }
        for (change, number) in changes {
            match &mut *survivors {
                Survivors::Any(rng) => match rng.below(4) {
                    0 => {}
                    1 => change.apply(durable, |len| {
                        let torn = [0; 2].map(|_| rng.index(len + 1));
                        Some((torn[0].min(torn[1]), torn[0].max(torn[1])))
                    }),
                    _ => change.apply(durable, |_| None),
                },
                Survivors::Torn(torn) if *torn == number => {
                    change.apply(durable, |len| Some((0, len / 2)));
                }
                fixed if fixed.has(number) => change.apply(durable, |_| None),
                _ => {}
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
