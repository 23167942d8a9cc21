//! The maps that remain after a fold: of the retained points, of the boundary, and younger ones.

use std::ops::Range;
use std::path::PathBuf;

use snapless_types::{Extent, Seq};

use super::plan::{Plan, is_at_or_after, key};
use super::points::resolve;
use crate::clock::Instant;
use crate::error::{Error, Result};
use crate::format::FormatError;
use crate::format::history::HistoryNumber;
use crate::format::map::{Image, MapNumber, PageRef, page_count, page_extent};
use crate::format::state::Checkpoint;
use crate::point::keep::gather_at;
use crate::point::runs::Runs;
use crate::point::{PointMap, newest_up_to, page, read_page};
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::storage::{OpenMode, StoredFile};
use crate::stream::StreamState;
use crate::timeline::{At, Cut, Place, Timeline};

/// The maps that remain.
pub(super) struct Images {
    /// The retained points, in order; the boundary; the younger maps, in order.
    pub(super) maps: Vec<MapImage>,
    /// The index of the boundary's.
    pub(super) boundary: usize,
    staged: Staged,
}

/// A map that remains.
pub(super) struct MapImage {
    pub(super) of: Of,
    /// Bytes of the volume.
    pub(super) length: u64,
    pub(super) records: u64,
    pub(super) unreadable: Vec<Extent>,
    pub(super) pages: Vec<PageAt>,
}

/// What a map is of.
pub(super) enum Of {
    Point { cut: Cut, at: Instant },
    Boundary { checkpoint: Checkpoint, state: Box<StreamState> },
    Younger(MapNumber),
}

/// Where a page of a map is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum PageAt {
    /// In a map that was there before.
    Kept(PageRef),
    /// In the file of pages that are used only while the fold runs.
    Staged { offset: u64, len: u32 },
    /// In the file of the pages of this fold.
    New(PageRef),
}

/// Pages of maps that were not kept before. They are in a file while the fold runs, so that memory
/// does not follow the number of points. Among objects it is one without a name, on this machine.
struct Staged {
    path: PathBuf,
    write: StoredFile,
    read: StoredFile,
    len: u64,
}

impl Images {
    pub(super) fn gather(
        reader: &SessionReader,
        plan: &Plan,
        number: HistoryNumber,
        stop: &StopFlag,
    ) -> Result<Self> {
        let boundary = plan.boundary;
        let cannot = |why| Error::CannotFold { boundary, why };
        let begin = reader.history().map_or(Seq::new(0), |history| history.boundary.place.seq);
        if boundary < begin {
            return Err(cannot("an earlier fold has its boundary after that: choose a later one"));
        }
        let end = reader.survey(stop)?;
        let timeline = end.timeline();
        let mut images =
            Self { maps: Vec::new(), boundary: 0, staged: Staged::new(reader, number)? };
        let edge = images.boundary(reader, boundary, stop)?;
        let edge = edge.ok_or_else(|| cannot("no acknowledged epoch ends with it"))?;
        let Of::Boundary { state, .. } = &edge.of else { return Err(cannot("it is no boundary")) };
        let last_base = timeline.last_base().map_or(Seq::new(0), |it| it.seq);
        if !state.timeline().first_sync_is_done() || last_base > boundary {
            return Err(cannot("the first sync was not complete then: choose a later boundary"));
        }
        let last = state.last().ok_or_else(|| cannot("nothing was stored then"))?;
        images.retain(reader, plan, (&last, last_base), timeline, stop)?;
        images.boundary = images.maps.len();
        images.maps.push(edge);
        for number in reader.maps()?.into_iter().filter(|it| *it > MapNumber::of(boundary)) {
            match reader.root(number) {
                Ok(Some(root)) => images.maps.push(MapImage::kept(Of::Younger(number), root.image)),
                Ok(None) => {}
                Err(error) if error.is_damage() => log::warn!("a map is left out: {error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(images)
    }

    /// The map of the boundary; `None` if no epoch ends there.
    fn boundary(
        &mut self,
        reader: &SessionReader,
        seq: Seq,
        stop: &StopFlag,
    ) -> Result<Option<MapImage>> {
        let number = MapNumber::of(seq);
        if newest_up_to(reader, seq)? == Some(number)
            && let Some(root) = reader.root(number)?
        {
            let (checkpoint, state) = (root.checkpoint, Box::new(root.state));
            return Ok(Some(MapImage::kept(Of::Boundary { checkpoint, state }, root.image)));
        }
        let Some((map, checkpoint, state)) = gather_at(reader, seq, stop)? else {
            return Ok(None);
        };
        let of = Of::Boundary { checkpoint, state: Box::new(state) };
        self.stage(reader, of, &map, stop).map(Some)
    }

    /// Makes the maps of the points that the plan retains.
    fn retain(
        &mut self,
        reader: &SessionReader,
        plan: &Plan,
        (boundary, last_base): (&Place, Seq),
        timeline: &Timeline,
        stop: &StopFlag,
    ) -> Result<()> {
        for &cut in plan.points.iter().filter(|cut| !is_at_or_after(boundary, **cut)) {
            let known = reader.history().and_then(|history| history.point(cut));
            let time = match (known, cut) {
                (Some(known), _) => known.time(),
                (None, Cut::Until(instant)) => instant.time,
                (None, _) => timeline.t0().unwrap_or(*boundary).time(),
            };
            let found = resolve(reader.history(), timeline, At::Exact { time, cut });
            let session = reader.header().session;
            found.map_err(|why| Error::NotRestorable { session, why, other: None })?;
            let map = PointMap::build(reader, cut, last_base, stop, |_, _| {})?;
            let at = match (known, cut) {
                (Some(known), _) => known.at,
                (None, Cut::Until(instant)) => instant,
                (None, Cut::Base) => timeline.t0().unwrap_or(*boundary).at,
                (None, Cut::Through(_)) => map.last().unwrap_or(*boundary).at,
            };
            let image = self.stage(reader, Of::Point { cut, at }, &map, stop)?;
            self.maps.push(image);
        }
        self.maps.sort_by_key(MapImage::order);
        self.maps.dedup_by_key(|map| map.order());
        Ok(())
    }

    /// A map that was made for the fold.
    fn stage(
        &mut self,
        reader: &SessionReader,
        of: Of,
        map: &PointMap,
        stop: &StopFlag,
    ) -> Result<MapImage> {
        let mut pages = Vec::new();
        for page in 0..page_count(&reader.header().geometry, map.length()) {
            if stop.is_set() {
                return Err(Error::Stopped);
            }
            pages.push(match map.same_page(page) {
                Some(same) => PageAt::Kept(same),
                None => self.staged.add(reader, page, map.page(page)?)?,
            });
        }
        let (length, records, unreadable) = (map.length(), map.records(), map.unreadable());
        Ok(MapImage { of, length, records, unreadable, pages })
    }

    /// How many pages the longest map has.
    pub(super) fn page_count(&self) -> u64 {
        self.maps.iter().map(|map| map.pages.len()).max().unwrap_or(0) as u64
    }

    /// Reads a page, and says which part of the volume it covers.
    pub(super) fn read(
        &self,
        reader: &SessionReader,
        page: u64,
        (at, length): &(PageAt, u64),
    ) -> Result<(Range<u64>, Runs)> {
        let extent = page_extent(&reader.header().geometry, page, *length);
        let runs = match at {
            PageAt::Kept(at) | PageAt::New(at) => read_page(reader, page, at, *length)?,
            PageAt::Staged { offset, len } => {
                self.staged.read(reader, page, &extent, (*offset, *len))?
            }
        };
        Ok((extent, runs))
    }

    /// The different pages at a place of the volume, each with the length of a map that has it, and
    /// of each map which of them is its; `None` for a map of a volume that ends before.
    pub(super) fn pages(&self, page: u64) -> (Vec<(PageAt, u64)>, Vec<Option<usize>>) {
        let mut found: Vec<(PageAt, u64)> = Vec::new();
        let index = usize::try_from(page).unwrap_or(usize::MAX);
        let mut known = std::collections::HashMap::new();
        let of = self.maps.iter().map(|map| {
            let at = *map.pages.get(index)?;
            Some(*known.entry(at).or_insert_with(|| {
                found.push((at, map.length));
                found.len() - 1
            }))
        });
        let of = of.collect();
        (found, of)
    }

    /// Removes the file of pages that are used only while the fold runs.
    pub(super) fn remove_staged(&self, reader: &SessionReader) -> Result<()> {
        match reader.store().objects() {
            None => reader.store().remove(&self.staged.path),
            Some(_) => Ok(()),
        }
    }

    /// The root of a map whose pages are all in the file of the fold.
    pub(super) fn image(&self, index: usize) -> Image {
        let MapImage { length, records, unreadable, pages, .. } = &self.maps[index];
        let pages = pages.iter().filter_map(|at| match at {
            PageAt::Kept(at) | PageAt::New(at) => Some(*at),
            PageAt::Staged { .. } => None,
        });
        Image {
            length: *length,
            records: *records,
            unreadable: unreadable.clone(),
            pages: pages.collect(),
        }
    }
}

impl MapImage {
    fn kept(of: Of, image: Image) -> Self {
        let Image { length, records, unreadable, pages } = image;
        let pages = pages.into_iter().map(PageAt::Kept).collect();
        Self { of, length, records, unreadable, pages }
    }

    /// The order of retained points; of equal instants the base comes first.
    fn order(&self) -> (Option<Instant>, (u8, u64, u64)) {
        match self.of {
            Of::Point { cut, at } => (Some(at), key(cut)),
            Of::Boundary { .. } | Of::Younger(_) => (None, (u8::MAX, 0, 0)),
        }
    }
}

impl Staged {
    fn new(reader: &SessionReader, number: HistoryNumber) -> Result<Self> {
        let path = reader.dir().join(number.pages_name()).with_extension("new");
        if reader.store().objects().is_some() {
            let (write, read) = StoredFile::temporary()?;
            return Ok(Self { path, write, read, len: 0 });
        }
        let write = reader.store().open(&path, OpenMode::Create)?;
        let read = reader.store().open(&path, OpenMode::Read)?;
        Ok(Self { path, write, read, len: 0 })
    }

    fn add(&mut self, reader: &SessionReader, page: u64, mut bytes: Vec<u8>) -> Result<PageAt> {
        reader.seal().map(MapNumber::PAGES)?.seal(page, &mut bytes, 0)?;
        self.write.write_at(self.len, &bytes)?;
        let at = PageAt::Staged {
            offset: self.len,
            len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        };
        self.len += bytes.len() as u64;
        Ok(at)
    }

    fn read(
        &self,
        reader: &SessionReader,
        page: u64,
        extent: &Range<u64>,
        (offset, len): (u64, u32),
    ) -> Result<Runs> {
        let mut bytes = vec![0; len as usize];
        let read = self.read.read_exact_at(offset, &mut bytes);
        read.map_err(Error::file("read", self.read.path()))?;
        let damaged = |why| Error::damaged(self.read.path(), offset, why);
        let bytes = reader.seal().map(MapNumber::PAGES)?.open(page, &mut bytes).map_err(damaged)?;
        let read = page::read(bytes, extent.clone());
        read.ok_or_else(|| damaged(FormatError::Content("page")))
    }
}
