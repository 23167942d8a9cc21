//! The map of a point: which piece of which record holds the bytes of each part of the volume.
//!
//! It is built from the newest kept map at or before the point, whose pages are read when they are
//! needed, and the headers of the records since; it reads no content ([`PointMap::build`]), so that
//! a restore reads each byte of the image once ([`PointReader`]), a mount reads what a client asks
//! for, and a comparison of two points reads nothing.
//!
//! Its memory follows the image, not the history: 32 bytes a run, 16 bytes an entry that the image
//! needs and 4 bytes for each 64 KiB or shorter record; while it is built, three times that. A run
//! is a stretch of the volume that lies in one entry, in records of one length that follow each
//! other in both. A volume of 1 TiB after its first sync has a run for each entry of 4 MiB: 80 MiB,
//! of which 64 MiB are checksums. Each write that is still the newest of its place adds two runs at
//! most.

use std::ops::Range;
use std::sync::OnceLock;

use snapless_types::{Extent, Geometry, Seq};

use crate::bytes::append;
use crate::error::{Error, Result};
use crate::format::map::{PageRef, page_bytes, page_extent};
use crate::format::segment::SegmentNumber;
use crate::reader::SessionReader;
use crate::stop::StopFlag;
use crate::timeline::{self, Cut};

mod base;
mod build;
pub mod keep;
mod opened;
mod overlay;
pub mod page;
mod read;
pub(crate) mod runs;

use base::Base;
pub(crate) use base::{newest_up_to, read_page};
pub use read::PointReader;
pub(crate) use read::{Plan, Tiles};
use runs::{Entry, Records, Runs, Source};

/// Where the bytes of a point are.
#[derive(Debug)]
pub struct PointMap {
    /// The changes since the base.
    top: Runs,
    base: Option<Base>,
    records: u64,
    /// The last record that belongs to the image, as far as records were read for it.
    last: Option<timeline::Place>,
    origin: Origin,
    /// Made without a base, once a page of the base turned out to be damaged.
    whole: OnceLock<Box<PointMap>>,
}

/// What a map is made of.
#[derive(Clone, Debug)]
struct Origin {
    reader: SessionReader,
    cut: Cut,
    last_base: Seq,
}

/// What the bytes of a part of the image are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Zeros.
    Zero,
    /// Zeros in place of a paging, swap or hibernation file.
    Excluded,
    /// Zeros in place of what the volume's disk could not read.
    Unreadable,
    /// Bytes of this entry of the stream; of equal places the bytes are equal.
    Stored(Place),
}

/// Where stored bytes are: which record of which stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    segment: SegmentNumber,
    entry: u64,
    pitch: u16,
    phase: u16,
    shift: u64,
}

impl PointMap {
    /// Bytes of the image.
    pub fn length(&self) -> u64 {
        self.top.end
    }

    /// The volume's shape at the point.
    pub(crate) fn geometry(&self) -> Geometry {
        build::with_length(&self.origin.reader.header().geometry, self.length())
    }

    /// Records of which the image was made, those included that later ones covered.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The last record of the kept map below this one.
    pub fn kept(&self) -> Option<Seq> {
        self.base.as_ref().and_then(Base::checkpoint).map(|checkpoint| checkpoint.seq)
    }

    /// The last record that belongs to the image; `None` of a retained point, which has none.
    pub(crate) fn last(&self) -> Option<timeline::Place> {
        self.last
    }

    /// Runs of the map, without those of a kept map below it.
    pub fn run_count(&self) -> usize {
        self.top.list.len()
    }

    /// The extents that the volume's disk could not read, in order.
    pub fn unreadable(&self) -> Vec<Extent> {
        let mut found: Vec<Range<u64>> = Vec::new();
        let below = self.base.as_ref().map_or(&[][..], |base| &base.image().unreadable);
        for (part, source) in self.top.parts(0..self.length()) {
            match source {
                Source::Unreadable => append(&mut found, part),
                Source::Below => {
                    let first = below.partition_point(|extent| extent.end() <= part.start);
                    let within = below[first..].iter().take_while(|it| it.offset() < part.end);
                    for extent in within {
                        let within = extent.offset().max(part.start)..extent.end().min(part.end);
                        append(&mut found, within);
                    }
                }
                _ => {}
            }
        }
        let extent = |part: Range<u64>| Extent::new(part.start, part.end - part.start);
        found.into_iter().filter_map(extent).collect()
    }

    /// Bytes that the volume's disk could not read.
    pub fn unreadable_bytes(&self) -> u64 {
        self.unreadable().iter().map(Extent::len).sum()
    }

    /// What a part of the image is made of, in order.
    ///
    /// # Errors
    /// What keeps a kept map from being read, or damage of the stream. There is nothing after it.
    pub fn content(
        &self,
        of: Range<u64>,
    ) -> impl Iterator<Item = Result<(Range<u64>, Content)>> + use<'_> {
        let end = of.end.min(self.length());
        let step = page_bytes(&self.origin.reader.header().geometry);
        let mut next = Some(of.start);
        let windows = std::iter::from_fn(move || {
            let start = next.filter(|start| *start < end)?;
            let window = start..(start / step).saturating_add(1).saturating_mul(step).min(end);
            let mut parts = Vec::new();
            let visited = self.visit(window.clone(), &mut |runs, part, source| {
                parts.push(Ok((part.clone(), Content::of(runs, source))));
            });
            next = visited.is_ok().then_some(window.end);
            parts.extend(visited.err().map(Err));
            Some(parts)
        });
        windows.flatten()
    }

    /// The part of the volume that a page covers.
    pub(crate) fn window(&self, page: u64) -> Range<u64> {
        page_extent(&self.origin.reader.header().geometry, page, self.length())
    }

    /// True if both maps have this page from the same kept map, so that they are the same there.
    /// Reads nothing.
    pub(crate) fn shares_page(&self, other: &Self, page: u64) -> bool {
        let of = |map: &Self| {
            let reader = &map.origin.reader;
            (*reader.header(), reader.history().map(|history| history.number))
        };
        let is_one_stream = of(self) == of(other);
        let same = self.same_page(page).filter(|_| is_one_stream);
        same.is_some_and(|same| other.same_page(page) == Some(same))
    }

    /// The page of the base, if nothing in it has changed.
    pub(crate) fn same_page(&self, page: u64) -> Option<PageRef> {
        let base = self.base.as_ref()?;
        let window = self.window(page);
        let is_same = window == base.extent(page)
            && self.top.parts(window).all(|(_, it)| it == Source::Below);
        let index = usize::try_from(page).ok().filter(|_| is_same)?;
        base.image().pages.get(index).copied()
    }

    /// Visits the runs of a part of the volume, cut to it, each with what it refers to.
    pub(crate) fn visit(
        &self,
        of: Range<u64>,
        visit: &mut dyn FnMut(&Runs, &Range<u64>, Source),
    ) -> Result<()> {
        for (part, source) in self.top.parts(of) {
            match &self.base {
                Some(base) if source == Source::Below => self.visit_base(base, &part, visit)?,
                _ => visit(&self.top, &part, source),
            }
        }
        Ok(())
    }

    fn visit_base(
        &self,
        base: &Base,
        of: &Range<u64>,
        visit: &mut dyn FnMut(&Runs, &Range<u64>, Source),
    ) -> Result<()> {
        let mut at = of.start;
        while at < of.end {
            let page = at / base.page_bytes();
            let window = at..base.extent(page).end.min(of.end);
            at = window.end;
            match base.page(page) {
                Ok(runs) => {
                    runs.parts(window).for_each(|(part, source)| visit(&runs, &part, source));
                }
                Err(error) if base.is_derived() && base::is_unusable(&error) => {
                    self.whole(&error)?.visit(window, visit)?;
                }
                // What a fold has kept must be there.
                Err(error) => return Err(error.or_gone()),
            }
        }
        Ok(())
    }

    /// The same map on nothing but the begin of the stream.
    fn whole(&self, why: &Error) -> Result<&Self> {
        if let Some(whole) = self.whole.get() {
            return Ok(whole);
        }
        log::warn!("the whole stream is read: {why}");
        let whole = Self::build_whole(self.origin.clone(), &StopFlag::default())?;
        Ok(self.whole.get_or_init(|| Box::new(whole)))
    }
}

impl Content {
    fn of(runs: &Runs, source: Source) -> Self {
        match source {
            // Without a map below it is zeros.
            Source::Below | Source::Zero => Self::Zero,
            Source::Excluded => Self::Excluded,
            Source::Unreadable => Self::Unreadable,
            Source::Stored { entry, records } => {
                let Entry { segment, offset } = runs.entries[entry as usize];
                let Records { pitch, phase, shift, .. } = records;
                Self::Stored(Place { segment, entry: offset, pitch, phase, shift })
            }
        }
    }
}
