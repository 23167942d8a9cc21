//! Restores the image of one point from a session's stream.
//!
//! [`Found::find`] surveys the stream and finds the point. [`Found::write_to`] makes the map of the
//! point ([`crate::point`]) and copies the image along it: each byte once, in the order of the
//! volume, with its checksum. What the image does not need is neither read nor checked.

use std::path::PathBuf;

use serde::{Serialize, Serializer};
use snapless_types::{Extent, Geometry, Seq};
use snapless_wire::id::FileTime;

use crate::bytes::Bytes;
use crate::error::Result;
use crate::format::session::SessionHeader;
use crate::format::unfinished::ImageId;
use crate::point::{PointMap, PointReader};
use crate::reader::SessionReader;
use crate::repository::Repository;
use crate::shown_name::ShownName;
use crate::stop::StopFlag;
use crate::target::{Demand, FileTarget, Target};
use crate::time;
use crate::timeline::Point;

mod choice;
mod copy;
mod progress;
mod resume;

use choice::{Choice, Surveyor};
pub use choice::{PassedOver, Source};
pub(crate) use copy::window_bytes;
pub use progress::{Progress, Stage};
pub use resume::unfinished_source;

/// What to restore, and where to.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which image.
    pub source: Source,
    /// The file or block device.
    pub to: PathBuf,
    /// Overwrite what is there.
    pub force: bool,
    /// Write to a device whose sectors have another size than the volume's.
    pub other_sector_size: bool,
}

impl Request {
    /// What the target must hold.
    pub(crate) fn demand(&self, length: u64, sector_size: Option<u32>) -> Demand {
        let Self { force, other_sector_size, .. } = *self;
        Demand { length, sector_size, force, other_sector_size }
    }
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
    #[serde(flatten)]
    pub file: ShownName,
    /// Bytes of the image.
    pub bytes: u64,
    /// Bytes of the volume's sectors: Windows sees its file system only on disks with such sectors.
    pub sector_size: u32,
    /// Bytes written to make it; holes do not count, nor what was taken over.
    pub bytes_written: u64,
    /// Bytes of the image that were taken over from an interrupted restore.
    pub taken_over: u64,
    /// Records of which it was made, those included that later ones covered.
    pub records: u64,
    /// Extents that the volume's disk could not read: zeros in the image.
    #[serde(serialize_with = "serialize_extents")]
    pub unreadable: Vec<Extent>,
    /// Begin of the gap that has not ended, if the image shows the volume just before it.
    pub gap_since: Option<String>,
    /// Newer sessions that have no such point, and why.
    pub passed_over: Vec<PassedOver>,
}

/// Restores a point to a file or a block device. Goes on where a restore of the same image to the
/// same target was interrupted.
///
/// # Errors
/// [`Error::NotRestorable`] if there is no such point, damage of the stream, or what is wrong with
/// the target. [`Error::Unfinished`] if another image was interrupted there.
pub fn restore(
    repository: &Repository,
    request: &Request,
    stop: &StopFlag,
    progress: impl FnMut(Progress),
) -> Result<Report> {
    let found = Found::find(repository, &request.source, stop)?;
    let (length, sector_size) = (found.geometry().length(), found.geometry().sector_size());
    let demand = request.demand(length, Some(sector_size));
    let (image, time) = (found.image_id(), found.point.time);
    let mut target = FileTarget::open_resumable(&request.to, &demand, image, time, stop)?;
    let written = match found.write_to(&mut target, stop, progress) {
        Ok(written) => written,
        Err(error) => {
            target.give_up();
            return Err(error);
        }
    };
    let report = Report {
        volume: found.header().volume.to_string(),
        session: found.header().session.to_string(),
        time: time::to_text(found.point.time),
        file: request.to.clone().into(),
        bytes: length,
        sector_size,
        bytes_written: target.written(),
        taken_over: target.taken_over(),
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
    /// The volume's shape at the point.
    geometry: Geometry,
    /// The last record that gives a block its content at t0.
    last_base: Seq,
    passed_over: Vec<PassedOver>,
}

/// What was written to a target.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// Records of which it was made, those included that later ones covered.
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
        Surveyor::new(repository, stop).choose(source).map(Self::from)
    }

    /// Finds two points; surveys the stream once if both are of one session.
    ///
    /// # Errors
    /// As for [`Self::find`].
    pub fn find_both(
        repository: &Repository,
        sources: &[Source; 2],
        stop: &StopFlag,
    ) -> Result<[Self; 2]> {
        let mut surveyor = Surveyor::new(repository, stop);
        let [from, to] = sources.each_ref().map(|source| surveyor.choose(source).map(Self::from));
        Ok([from?, to?])
    }

    /// The session.
    pub fn header(&self) -> &SessionHeader {
        self.reader.header()
    }

    /// The volume's shape at the point.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The point.
    pub fn point(&self) -> &Point {
        &self.point
    }

    /// What tells the image from others.
    fn image_id(&self) -> ImageId {
        let SessionHeader { volume, session, .. } = *self.header();
        ImageId { volume, session, geometry: self.geometry, cut: self.point.cut }
    }

    /// The newer sessions that have no such point.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// The map of the image. Reads the headers of the stream's records.
    ///
    /// # Errors
    /// Damage of the headers, or [`Error::Stopped`].
    pub fn map(&self, stop: &StopFlag, mut progress: impl FnMut(Progress)) -> Result<PointMap> {
        let told = |done, total| progress(Progress { stage: Stage::Map, done, total });
        PointMap::build(&self.reader, self.point.cut, self.last_base, stop, told)
    }

    /// Opens the image for reading.
    ///
    /// # Errors
    /// As for [`Self::map`].
    pub fn open(&self, stop: &StopFlag, progress: impl FnMut(Progress)) -> Result<PointReader> {
        Ok(PointReader::new(self.reader.clone(), self.map(stop, progress)?))
    }

    /// Writes what a target lacks of the image, and has not been written to yet.
    pub fn write_to(
        &self,
        target: &mut impl Target,
        stop: &StopFlag,
        mut progress: impl FnMut(Progress),
    ) -> Result<Written> {
        let image = self.open(stop, &mut progress)?;
        copy::copy(&image, target, stop, progress)?;
        let map = image.map();
        Ok(Written { records: map.records(), unreadable: map.unreadable() })
    }
}

impl From<Choice> for Found {
    fn from(Choice { surveyed, point, passed_over }: Choice) -> Self {
        let (timeline, reader) = (surveyed.survey.state.timeline(), surveyed.reader.clone());
        let last_base = timeline.last_base().map_or(Seq::new(0), |it| it.seq);
        let at_t0 = reader.header().geometry;
        let length = timeline.length_at(point.cut).unwrap_or(at_t0.length());
        let resized = Geometry::new(length, at_t0.sector_size(), at_t0.block_size());
        // The stream's rules have accepted the length.
        let geometry = resized.unwrap_or(at_t0);
        Self { reader, point, geometry, last_base, passed_over }
    }
}

fn serialize_extents<S: Serializer>(extents: &[Extent], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(extents.iter().copied().map(Bytes::from))
}
