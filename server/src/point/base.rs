//! A kept map, whose pages are read when they are asked for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::page;
use super::runs::Runs;
use snapless_types::Seq;

use crate::error::{Damage, Error, Result};
use crate::format::FormatError;
use crate::format::map::{Image, MapNumber, PageRef, Root, page_bytes, page_extent, page_sum};
use crate::format::state::Checkpoint;
use crate::reader::SessionReader;
use crate::stream::StreamState;

/// Pages are kept in memory up to so many bytes.
const CACHE_BYTES: usize = 64 << 20;

/// A kept map, or that of a retained point.
#[derive(Debug)]
pub(super) struct Base {
    reader: SessionReader,
    image: Image,
    /// Where in the stream it was made, and the state there; `None` for a retained point, on which
    /// no other point is built.
    at: Option<(Checkpoint, StreamState)>,
    /// Protects the pages that are kept in memory.
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    pages: HashMap<u64, Arc<Runs>>,
    bytes: usize,
}

impl Base {
    pub(super) fn new(reader: SessionReader, root: Root) -> Self {
        let Root { checkpoint, state, image } = root;
        Self { reader, image, at: Some((checkpoint, state)), cache: Mutex::default() }
    }

    /// That of a retained point.
    pub(super) fn retained(reader: SessionReader, image: Image) -> Self {
        Self { reader, image, at: None, cache: Mutex::default() }
    }

    pub(super) fn image(&self) -> &Image {
        &self.image
    }

    /// Where in the stream it was made; `None` for a retained point.
    pub(super) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.at.as_ref().map(|(checkpoint, _)| checkpoint)
    }

    /// The state of the stream there.
    pub(super) fn state(&self) -> Option<&StreamState> {
        self.at.as_ref().map(|(_, state)| state)
    }

    /// True if the stream says the same: not of what a fold has kept.
    pub(super) fn is_derived(&self) -> bool {
        let boundary = self.reader.history().map(|history| history.boundary.place.seq);
        self.checkpoint().is_some_and(|checkpoint| Some(checkpoint.seq) != boundary)
    }

    /// Bytes of the volume that a page covers.
    pub(super) fn page_bytes(&self) -> u64 {
        page_bytes(&self.reader.header().geometry)
    }

    /// The part of the volume that a page covers.
    pub(super) fn extent(&self, page: u64) -> Range<u64> {
        page_extent(&self.reader.header().geometry, page, self.image.length)
    }

    /// A page.
    ///
    /// # Errors
    /// [`Error::Damaged`], or what keeps its file from being read.
    pub(super) fn page(&self, page: u64) -> Result<Arc<Runs>> {
        if let Some(runs) = self.cache().pages.get(&page) {
            return Ok(Arc::clone(runs));
        }
        let runs = Arc::new(self.read(page)?);
        let mut cache = self.cache();
        if cache.bytes + runs.memory() > CACHE_BYTES {
            *cache = Cache::default();
        }
        cache.bytes += runs.memory();
        cache.pages.insert(page, Arc::clone(&runs));
        Ok(runs)
    }

    fn read(&self, page: u64) -> Result<Runs> {
        let index = usize::try_from(page).unwrap_or(usize::MAX);
        // A root has all pages of its volume.
        let at = self.image.pages.get(index).ok_or(Error::PointTooLarge)?;
        read_page(&self.reader, page, at, self.image.length)
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // What a panic leaves is at most a wrong count of bytes.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a page of a kept map of a volume that had `length` bytes.
///
/// # Errors
/// [`Error::Damaged`], or what keeps its file from being read.
pub(crate) fn read_page(
    reader: &SessionReader,
    page: u64,
    at: &PageRef,
    length: u64,
) -> Result<Runs> {
    let (path, mut bytes) = reader.map_bytes(at.map, at.offset, u64::from(at.len))?;
    let damaged = |why: FormatError| Error::damaged(&path, at.offset, why);
    if page_sum(reader.header(), page, &bytes) != at.sum {
        return Err(damaged(FormatError::Checksum));
    }
    let bytes = reader.seal().map(at.map)?.open(page, &mut bytes).map_err(damaged)?;
    let runs = page::read(bytes, page_extent(&reader.header().geometry, page, length));
    let runs = runs.ok_or_else(|| damaged(FormatError::Content("page")))?;
    // Of a map of another history, the places are gone, or may be removed.
    if runs.entries.iter().all(|entry| reader.keeps(entry.segment)) {
        return Ok(runs);
    }
    Err(Error::damaged(&path, at.offset, Damage::Foreign("history")))
}

/// The newest kept map that is usable and of which `includes` says so; the maps are in stream
/// order, and it says so of all before one of which it does.
///
/// # Errors
/// Damage of the boundary's map, if none is left after a fold.
pub(super) fn newest(
    reader: &SessionReader,
    mut includes: impl FnMut(&Root) -> bool,
) -> Result<Option<Base>> {
    let mut maps: Vec<MapNumber> = reader.maps()?;
    let (mut known, mut end) = (0, maps.len());
    let mut newest = None;
    while known < end {
        let middle = known + (end - known) / 2;
        match reader.root(maps[middle]) {
            Ok(Some(root)) if includes(&root) => {
                newest = Some(Base::new(reader.clone(), root));
                known = middle + 1;
            }
            // Later than the point, or than this reader's end.
            Ok(_) => end = middle,
            Err(error) if is_unusable(&error) => {
                log::warn!("an older map is used: {error}");
                maps.remove(middle);
                end -= 1;
            }
            Err(error) => return Err(error),
        }
    }
    if newest.is_none()
        && let Some(root) = reader.boundary_root()?
    {
        if !includes(&root) {
            return Err(Error::BeforeBoundary(root.checkpoint.seq));
        }
        newest = Some(Base::new(reader.clone(), root));
    }
    Ok(newest)
}

/// The newest usable kept map at or before a record, as a root.
pub(crate) fn newest_up_to(reader: &SessionReader, seq: Seq) -> Result<Option<MapNumber>> {
    let base = newest(reader, |root| root.checkpoint.seq <= seq)?;
    Ok(base.as_ref().and_then(Base::checkpoint).map(|it| MapNumber::of(it.seq)))
}

/// True for an error of a map without which a point can be found all the same.
pub(super) fn is_unusable(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::File { .. })
}
