//! The kept maps of a session, and the roots of what a fold has kept.

use std::path::{Path, PathBuf};

use snapless_wire::id::{FileTime, SessionId, VolumeGuid};

use super::{SessionReader, history};
use crate::error::{Damage, Error, Result};
use crate::format::FormatError;
use crate::format::acknowledged::ACKNOWLEDGED_FILE;
use crate::format::history::{History, Retained, RootRef};
use crate::format::map::{
    Image, MAPS_BEGINNING, MapNumber, ROOT_PART, Root, TRAILER_LEN, Trailer, page_sum,
};
use crate::format::session::SessionHeader;
use crate::storage::{OpenMode, Store, StoredFile};

impl SessionReader {
    /// The kept maps, in stream order, from the boundary on.
    pub(crate) fn maps(&self) -> Result<Vec<MapNumber>> {
        let history = self.history().map(|history| history.number);
        self.store.list_of(&self.dir, MAPS_BEGINNING, |name| {
            MapNumber::parse(name).filter(|(_, of)| *of == history).map(|(number, _)| number)
        })
    }

    /// Where a map is. [`MapNumber::PAGES`] stands for the file of the pages of the fold.
    fn map_path(&self, number: MapNumber) -> PathBuf {
        self.dir.join(number.file_name_in(self.history().map(|history| history.number)))
    }

    /// The root of a kept map; `None` if the map is later than this reader's acknowledged end.
    ///
    /// # Errors
    /// [`Error::Damaged`], also for a map of another history of the session, or what keeps the map
    /// from being read.
    pub(crate) fn root(&self, number: MapNumber) -> Result<Option<Root>> {
        let (path, mut bytes) = self.stored_root(number)?;
        let damaged = |why| Error::damaged(&path, 0, why);
        let bytes = self.seal.map(number)?.open(ROOT_PART, &mut bytes).map_err(damaged)?;
        let root = Root::read(bytes, number, &self.header).map_err(damaged)?;
        if root.checkpoint.seq > self.acknowledged.seq {
            return Ok(None);
        }
        if !root.checkpoint.is_within(&self.acknowledged) || !self.has_entry(&root.checkpoint)? {
            return Err(Error::damaged(&path, 0, Damage::Foreign("history")));
        }
        Ok(Some(root))
    }

    /// The name of a kept map, and its root as it is stored, whose checksum is right.
    ///
    /// # Errors
    /// [`Error::Damaged`], or what keeps the map from being read.
    pub(crate) fn stored_root(&self, number: MapNumber) -> Result<(PathBuf, Vec<u8>)> {
        read_root(&self.store, &self.map_path(number))
    }

    /// The root of the boundary's map; `None` if there was no fold.
    ///
    /// # Errors
    /// As for [`Self::begin`].
    pub(crate) fn boundary_root(&self) -> Result<Option<Root>> {
        let Some(history) = self.history() else { return Ok(None) };
        let number = MapNumber::of(history.boundary.place.seq);
        match self.root(number) {
            Ok(Some(root)) => Ok(Some(root)),
            Ok(None) => {
                let (acknowledged, kept) = (self.acknowledged.seq, history.boundary.place.seq);
                let path = self.store.locate(&self.dir.join(ACKNOWLEDGED_FILE));
                Err(Error::damaged(&path, 0, Damage::Older { acknowledged, kept }))
            }
            Err(error) => Err(error.or_gone()),
        }
    }

    /// The root of a retained point.
    ///
    /// # Errors
    /// [`Error::Damaged`], or what keeps it from being read.
    pub(crate) fn retained_root(&self, index: usize, point: &Retained) -> Result<Image> {
        let RootRef { offset, len, .. } = point.root;
        let (path, mut bytes) = self.stored_retained_root(index, point)?;
        let damaged = |why| Error::damaged(&path, offset, why);
        debug_assert_eq!(bytes.len() as u64, len);
        let seal = self.seal.map(MapNumber::PAGES)?;
        let bytes = seal.open(history::root_part(index), &mut bytes).map_err(damaged)?;
        Image::read(bytes, &self.header).map_err(damaged)
    }

    /// The name of the file of the pages, and the root of a retained point as it is stored, whose
    /// checksum is right.
    ///
    /// # Errors
    /// As for [`Self::retained_root`].
    pub(crate) fn stored_retained_root(
        &self,
        index: usize,
        point: &Retained,
    ) -> Result<(PathBuf, Vec<u8>)> {
        let RootRef { offset, len, sum } = point.root;
        let found = self.map_bytes(MapNumber::PAGES, offset, len).map_err(Error::or_gone)?;
        if page_sum(&self.header, history::root_part(index), &found.1) != sum {
            return Err(Error::damaged(&found.0, offset, FormatError::Checksum));
        }
        Ok(found)
    }

    /// Bytes of the file of a kept map.
    pub(crate) fn map_len(&self, number: MapNumber) -> Result<u64> {
        self.store.open(&self.map_path(number), OpenMode::Read)?.len()
    }

    /// Bytes of a kept map, and its name.
    pub(crate) fn map_bytes(
        &self,
        number: MapNumber,
        offset: u64,
        len: u64,
    ) -> Result<(PathBuf, Vec<u8>)> {
        if number == MapNumber::PAGES
            && let Some(history) = self.history().filter(|_| self.claims.is_some())
        {
            return self.pages_bytes(history, offset, len);
        }
        read_part(&self.store, &self.map_path(number), offset, len)
    }

    /// Bytes of the file of the pages, which is several objects, and the name of the one in which
    /// they begin.
    fn pages_bytes(&self, history: &History, offset: u64, len: u64) -> Result<(PathBuf, Vec<u8>)> {
        let path = |part| self.dir.join(history.number.pages_part_name(part));
        let end = offset.checked_add(len).filter(|end| *end <= history.pages_len);
        let Some(end) = end else {
            return Err(Error::damaged(&self.store.locate(&path(0)), offset, FormatError::Short));
        };
        let part_len = if let Some(len) = self.pages_part.get() {
            *len
        } else {
            let len = self.store.open(&path(0), OpenMode::Read)?.len()?;
            *self.pages_part.get_or_init(|| len)
        };
        if part_len == 0 {
            return Err(Error::damaged(&self.store.locate(&path(0)), 0, FormatError::Short));
        }
        let mut found: Option<(PathBuf, Vec<u8>)> = None;
        let mut at = offset;
        while at < end || found.is_none() {
            let (part, within) = (at / part_len, at % part_len);
            let count = (part_len - within).min(end - at);
            let (path, bytes) = read_part(&self.store, &path(part), within, count)?;
            match &mut found {
                None => found = Some((path, bytes)),
                Some((_, all)) => all.extend(bytes),
            }
            at += count;
        }
        found.ok_or_else(|| Error::damaged(&self.store.locate(&path(0)), 0, FormatError::Short))
    }

    /// The objects in which bytes of the file of the pages are, behind the one in which they begin.
    pub(crate) fn more_parts(&self, offset: u64, len: u64) -> Vec<PathBuf> {
        let (Some(history), Some(&part_len)) = (self.history(), self.pages_part.get()) else {
            return Vec::new();
        };
        let end = offset.saturating_add(len).min(history.pages_len);
        if part_len == 0 || end <= offset {
            return Vec::new();
        }
        let behind = offset / part_len + 1..=(end - 1) / part_len;
        let part = |part| self.dir.join(history.number.pages_part_name(part));
        behind.map(|number| self.store.locate(&part(number))).collect()
    }

    /// Checks the lengths of the objects of the file of the pages: all but the last have one
    /// length, which nothing else tells. Damage of each that may be the wrong one.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub(crate) fn check_parts(&self) -> Result<Vec<Error>> {
        let Some(history) = self.history().filter(|_| self.claims.is_some()) else {
            return Ok(Vec::new());
        };
        let mut lens = Vec::new();
        for part in 0.. {
            let path = self.dir.join(history.number.pages_part_name(part));
            match self.store.len_of(&path)? {
                Some(len) => lens.push((path, len)),
                // One that is missing is found when it is read.
                None => break,
            }
        }
        let Some((last, others)) = lens.split_last() else { return Ok(Vec::new()) };
        let count = |len| others.iter().filter(|part| part.1 == len).count();
        let usual = others.iter().map(|part| part.1).max_by_key(|len| count(*len));
        let usual = usual.unwrap_or(0);
        let before_last = usual.saturating_mul(others.len() as u64);
        let is_last_wrong = before_last.checked_add(last.1) != Some(history.pages_len);
        let has_odd = others.iter().any(|part| part.1 != usual);
        let is_last_missing = !has_odd && last.1 == usual && before_last < history.pages_len;
        if !has_odd && (!is_last_wrong || is_last_missing) {
            return Ok(Vec::new());
        }
        // Of two lengths nothing tells which is the right one.
        let is_sure = count(usual) > 1;
        let is_wrong = |part: &&(PathBuf, u64)| !is_sure || part.1 != usual;
        let wrong = others.iter().filter(is_wrong).chain(is_last_wrong.then_some(last));
        let damaged = |(path, _): &(PathBuf, u64)| {
            Error::damaged(&self.store.locate(path), 0, FormatError::Content("length"))
        };
        Ok(wrong.map(damaged).collect())
    }

    /// Keeps a map.
    pub(crate) fn keep_map(
        &self,
        number: MapNumber,
        write: impl FnOnce(&StoredFile) -> Result<()>,
    ) -> Result<()> {
        match self.store.create_once_with(&self.map_path(number), write) {
            // Another server has kept one, of which younger maps may have pages.
            Err(error) if error.is_already_there() => Ok(()),
            kept => kept,
        }
    }
}

/// The header of a session that its newest sound map tells; `None` if none does. It does not tell
/// when the session was made.
pub(crate) fn header_in_maps(
    store: &Store,
    dir: &Path,
    (volume, session): (VolumeGuid, SessionId),
) -> Option<SessionHeader> {
    let mut maps = store.list_of(dir, MAPS_BEGINNING, MapNumber::parse).ok()?;
    maps.sort_unstable();
    maps.into_iter().rev().find_map(|(number, history)| {
        let (_, mut bytes) = read_root(store, &dir.join(number.file_name_in(history))).ok()?;
        let seal = store.seal().of_ids((volume, session)).map(number).ok()?;
        let bytes = seal.open(ROOT_PART, &mut bytes).ok()?;
        let geometry = Root::geometry(bytes)?;
        let header = SessionHeader { volume, session, geometry, created: FileTime::UNIX_EPOCH };
        Root::read(bytes, number, &header).is_ok().then_some(header)
    })
}

/// The name of a map, and its root as it is stored, whose checksum is right.
fn read_root(store: &Store, path: &Path) -> Result<(PathBuf, Vec<u8>)> {
    let file = store.open(path, OpenMode::Read)?;
    let damaged = |why| Error::damaged(file.path(), 0, why);
    let end = file.len()?.checked_sub(TRAILER_LEN as u64);
    let end = end.ok_or_else(|| damaged(FormatError::Short))?;
    let mut bytes = [0; TRAILER_LEN];
    file.read_exact_at(end, &mut bytes).map_err(Error::file("read", file.path()))?;
    let trailer = Trailer::read(&bytes).map_err(damaged)?;
    if trailer.offset.checked_add(trailer.len) != Some(end) {
        return Err(damaged(FormatError::Content("root")));
    }
    let mut bytes = vec![0; usize::try_from(trailer.len).unwrap_or(usize::MAX)];
    file.read_exact_at(trailer.offset, &mut bytes).map_err(Error::file("read", file.path()))?;
    trailer.verify(&bytes).map_err(damaged)?;
    Ok((file.path().to_owned(), bytes))
}

/// Bytes of a file, and its name.
fn read_part(store: &Store, path: &Path, offset: u64, len: u64) -> Result<(PathBuf, Vec<u8>)> {
    let file = store.open(path, OpenMode::Read)?;
    if offset.checked_add(len).is_none_or(|end| end > file.len().unwrap_or(0)) {
        return Err(Error::damaged(file.path(), offset, FormatError::Short));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    file.read_exact_at(offset, &mut bytes).map_err(Error::file("read", file.path()))?;
    Ok((file.path().to_owned(), bytes))
}
