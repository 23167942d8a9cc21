//! Restores the image of one point from a session's stream.
//!
//! Two passes: [`Found::find`] surveys the stream and finds the point; [`Found::write_to`] replays
//! the stream, checks every checksum and applies the records in order. By rule T0 (rules.md#t0),
//! which the replay asserts again, a block's content at t0 precedes every change of it. Stream
//! order therefore gives the right image, even if a block was captured after the point.

use std::ops::Range;
use std::path::PathBuf;

use rangemap::RangeSet;
use serde::{Serialize, Serializer};
use snapless_types::{BlockRange, Extent, Geometry, RecordKind, Seq};
use snapless_wire::id::FileTime;
use snapless_wire::record::Record;

use crate::bitmap::BlockSet;
use crate::error::Result;
use crate::format::session::SessionHeader;
use crate::reader::{SessionReader, Wanted};
use crate::repository::Repository;
use crate::stop::StopFlag;
use crate::stream::{Accepted, BaseBlocks};
use crate::target::{FileTarget, Target};
use crate::time;
use crate::timeline::{Cut, Point};

mod choice;

use choice::{Choice, choose};
pub use choice::{PassedOver, Source};

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which image.
    pub source: Source,
    /// The file or block device.
    pub to: PathBuf,
    /// Overwrite what is there.
    pub force: bool,
}

/// The report of a restore.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The restored instant, RFC 3339.
    pub time: String,
    /// The file or device of the image.
    pub file: PathBuf,
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes written to make it; holes do not count.
    pub bytes_written: u64,
    /// Records that were applied.
    pub records: u64,
    /// Extents that the volume's disk could not read: zeros in the image.
    #[serde(serialize_with = "serialize_extents")]
    pub unreadable: Vec<Extent>,
    /// Begin of the gap that has not ended, if the image shows the volume just before it.
    pub gap_since: Option<String>,
    /// Newer sessions that have no such point, and why.
    pub passed_over: Vec<PassedOver>,
}

/// Progress of a restore.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes of the extents of the records read so far.
    pub done: u64,
    /// Bytes of the extents of all records.
    pub total: u64,
}

/// Restores a point to a file or a block device.
///
/// # Errors
/// [`Error::NotRestorable`] if there is no such point, damage of the stream, or what is wrong with
/// the target.
pub fn restore(
    repository: &Repository,
    request: &Request,
    stop: &StopFlag,
    progress: impl FnMut(Progress),
) -> Result<Report> {
    let found = Found::find(repository, &request.source, stop)?;
    let length = found.header().geometry.length();
    let mut target = FileTarget::open(&request.to, length, request.force)?;
    let written = found.write_to(&mut target, stop, progress)?;
    let report = Report {
        volume: found.header().volume.to_string(),
        session: found.header().session.to_string(),
        time: time::to_text(found.point.time),
        file: request.to.clone(),
        bytes: length,
        bytes_written: target.written(),
        records: written.records,
        unreadable: written.unreadable,
        gap_since: found.point.gap_since.map(|since: FileTime| time::to_text(since)),
        passed_over: found.passed_over,
    };
    target.finish()?;
    Ok(report)
}

/// An image that can be restored.
#[derive(Debug)]
pub struct Found {
    reader: SessionReader,
    point: Point,
    /// The last record that gives a block its content at t0.
    last_base: Seq,
    /// Bytes of the extents of all records.
    extent_bytes: u64,
    passed_over: Vec<PassedOver>,
}

/// What was written to a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Records that were applied.
    pub records: u64,
    /// Extents that the volume's disk could not read.
    pub unreadable: Vec<Extent>,
}

impl Found {
    /// Finds the session and the point.
    ///
    /// # Errors
    /// [`Error::NotRestorable`] if there is no such point, or damage of the stream.
    pub fn find(repository: &Repository, source: &Source, stop: &StopFlag) -> Result<Self> {
        let Choice { reader, state, point, passed_over } = choose(repository, source, stop)?;
        let timeline = state.timeline();
        let last_base = timeline.last_base().map_or(Seq::new(0), |place| place.seq);
        let extent_bytes = timeline.extent_bytes();
        Ok(Self { reader, point, last_base, extent_bytes, passed_over })
    }

    /// The session.
    pub fn header(&self) -> &SessionHeader {
        self.reader.header()
    }

    /// The point.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// The newer sessions that have no such point.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// Writes the image to a target on which nothing has been written yet.
    pub fn write_to(
        &self,
        target: &mut impl Target,
        stop: &StopFlag,
        mut progress: impl FnMut(Progress),
    ) -> Result<Written> {
        let mut image = Image {
            target,
            cut: self.point.cut,
            geometry: self.header().geometry,
            unreadable: RangeSet::new(),
            records: 0,
        };
        let total = self.extent_bytes;
        let mut done = 0;
        self.reader.replay(stop, |record, accepted| {
            let past = !self.point.cut.includes(accepted.place);
            if past && accepted.place.seq > self.last_base {
                return Ok(Wanted::Enough);
            }
            image.apply(record, accepted)?;
            done += record.header.extent_len();
            progress(Progress { done, total });
            Ok(Wanted::More)
        })?;
        Ok(Written { records: image.records, unreadable: image.unreadable() })
    }
}

/// The image while it is written.
struct Image<'a, T> {
    target: &'a mut T,
    cut: Cut,
    geometry: Geometry,
    /// Bytes of unknown content.
    unreadable: RangeSet<u64>,
    records: u64,
}

impl<T: Target> Image<'_, T> {
    /// Applies a record if it belongs to the image.
    fn apply(&mut self, record: &Record<'_>, accepted: &Accepted) -> Result<()> {
        let header = &record.header;
        let Some(extent) = Extent::new(header.extent_offset(), header.extent_len()) else {
            // A marker changes no byte.
            return Ok(());
        };
        let (offset, len, bytes) = (extent.offset(), extent.len(), extent.offset()..extent.end());
        let included = self.cut.includes(accepted.place);
        match (header.kind(), &accepted.base) {
            (RecordKind::Block, _) => {
                self.records += 1;
                if header.is_zero() {
                    self.target.zero_first(offset, len)
                } else {
                    self.target.write_first(offset, record.payload)
                }
            }
            (RecordKind::Unallocated | RecordKind::Excluded, _) => {
                self.records += 1;
                self.target.zero_first(offset, len)
            }
            (RecordKind::Trim | RecordKind::Zero, _) if included => {
                self.records += 1;
                self.unreadable.remove(bytes);
                self.target.zero(offset, len)
            }
            (RecordKind::Write | RecordKind::Resync, _) if included => {
                self.records += 1;
                self.unreadable.remove(bytes);
                if header.is_zero() {
                    self.target.zero(offset, len)
                } else {
                    self.target.write(offset, record.payload)
                }
            }
            (RecordKind::Unreadable, BaseBlocks::Some(fresh)) => {
                self.records += 1;
                self.unreadable_base(fresh)?;
                if included { self.unreadable_change(&extent, fresh) } else { Ok(()) }
            }
            (RecordKind::Unreadable, base) if included || *base == BaseBlocks::Holes => {
                self.records += 1;
                self.unreadable.insert(bytes);
                self.target.zero(offset, len)
            }
            _ => Ok(()),
        }
    }

    fn unreadable_base(&mut self, fresh: &BlockSet) -> Result<()> {
        for extent in fresh.runs().filter_map(|run| self.geometry.extent_of(&run)) {
            self.unreadable.insert(extent.offset()..extent.end());
            self.target.zero_first(extent.offset(), extent.len())?;
        }
        Ok(())
    }

    /// The blocks of the extent that had content before have unknown content now.
    fn unreadable_change(&mut self, extent: &Extent, fresh: &BlockSet) -> Result<()> {
        let touched = self.geometry.blocks_of(extent).unwrap_or(BlockRange::EMPTY);
        let old = fresh.missing_in(&touched);
        for extent in old.filter_map(|run| self.geometry.extent_of(&run)) {
            self.unreadable.insert(extent.offset()..extent.end());
            self.target.zero(extent.offset(), extent.len())?;
        }
        Ok(())
    }

    /// The extents of unknown content.
    fn unreadable(&self) -> Vec<Extent> {
        let extent = |run: &Range<u64>| Extent::new(run.start, run.end - run.start);
        self.unreadable.iter().filter_map(extent).collect()
    }
}

fn serialize_extents<S: Serializer>(extents: &[Extent], to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Bytes {
        offset: u64,
        len: u64,
    }
    to.collect_seq(
        extents.iter().map(|extent| Bytes { offset: extent.offset(), len: extent.len() }),
    )
}
