//! A kept map, whose pages are read when they are asked for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::page;
use super::runs::Runs;
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::map::{MapNumber, Root, page_bytes, page_sum};
use crate::reader::SessionReader;

/// Pages are kept in memory up to so many bytes.
const CACHE_BYTES: usize = 64 << 20;

/// A kept map.
#[derive(Debug)]
pub(super) struct Base {
    reader: SessionReader,
    root: Root,
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
        Self { reader, root, cache: Mutex::default() }
    }

    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// Bytes of the volume that a page covers.
    pub(super) fn page_bytes(&self) -> u64 {
        page_bytes(&self.reader.header().geometry)
    }

    /// The part of the volume that a page covers.
    pub(super) fn extent(&self, page: u64) -> Range<u64> {
        let length = self.reader.header().geometry.length();
        let start = page.saturating_mul(self.page_bytes());
        start..start.saturating_add(self.page_bytes()).min(length)
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
        let at = self.root.pages.get(index).ok_or(Error::PointTooLarge)?;
        let (path, mut bytes) = self.reader.map_bytes(at.map, at.offset, u64::from(at.len))?;
        let damaged = |why: FormatError| Error::damaged(&path, at.offset, why);
        if page_sum(self.reader.header(), page, &bytes) != at.sum {
            return Err(damaged(FormatError::Checksum));
        }
        let bytes = self.reader.seal().map(at.map)?.open(page, &mut bytes).map_err(damaged)?;
        page::read(bytes, self.extent(page)).ok_or(damaged(FormatError::Content("page")))
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // What a panic leaves is at most a wrong count of bytes.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The newest kept map that is usable and of which `includes` says so; the maps are in stream
/// order, and it says so of all before one of which it does.
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
    Ok(newest)
}

/// True for an error of a map without which a point can be found all the same.
pub(super) fn is_unusable(error: &Error) -> bool {
    matches!(error, Error::Damaged { .. } | Error::File { .. })
}
