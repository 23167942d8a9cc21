//! Compares a point with a raw image or a device, byte for byte.
//!
//! What the point does not know is left out and counted: what no file had at t0, paging, swap and
//! hibernation files, and what the volume's disk could not read. Past a shorter file's end
//! everything differs; what a longer one has there is no part of the volume.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use crate::bytes::Bytes;
use crate::error::{Error, Result};
use crate::point::{Content, PointReader};
use crate::restore::{Found, PassedOver};
use crate::shown_name::ShownName;
use crate::stop::StopFlag;
use crate::storage::local::read_exact_at;
use crate::time;
use crate::verify::Progress;

/// Bytes that are compared at a time.
const STEP_BYTES: u64 = 1 << 20;
/// Most ranges that are named; what else differs is counted.
const RANGES_MAX: usize = 1 << 16;

/// The report of a comparison.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The volume.
    pub volume: String,
    /// The session.
    pub session: String,
    /// The point's instant, RFC 3339.
    pub time: String,
    /// The file or device.
    #[serde(flatten)]
    pub file: ShownName,
    /// Bytes of the volume.
    pub bytes: u64,
    /// Bytes of the file or device.
    pub file_bytes: u64,
    /// Bytes that were compared.
    pub compared_bytes: u64,
    /// Bytes of no file, or of paging, swap and hibernation files, which were not compared.
    pub excluded_bytes: u64,
    /// Bytes that the volume's disk could not read, which were not compared.
    pub unreadable_bytes: u64,
    /// Bytes of whole sectors that differ.
    pub differing_bytes: u64,
    /// What differs, in whole sectors and in order.
    pub differing: Vec<Bytes>,
    /// Ranges that differ, past the most that are named.
    pub more_ranges: u64,
    /// Begin of the gap that has not ended, if the point is the last one before it.
    pub gap_since: Option<String>,
    /// Newer sessions that have no such point, and why.
    pub passed_over: Vec<PassedOver>,
}

impl Report {
    /// True if nothing differs.
    pub fn is_same(&self) -> bool {
        self.differing_bytes == 0
    }
}

/// Compares a point with what is in a file or on a device.
///
/// # Errors
/// Damage of what the point needs, an unreadable file, [`Error::NotAnImage`], or
/// [`Error::Stopped`].
pub fn compare(
    found: &Found,
    point: &PointReader,
    path: &Path,
    stop: &StopFlag,
    mut progress: impl FnMut(Progress),
) -> Result<Report> {
    let (file, file_bytes) = open(path)?;
    let map = point.map();
    let mut comparison = Comparison {
        point,
        file,
        path,
        file_bytes,
        sector: found.header().geometry.sector_size().into(),
        differences: Differences::default(),
        sides: [Vec::new(), Vec::new()],
    };
    let mut left_out = LeftOut::default();
    let total = map.length();
    for run in map.content(0..total) {
        let (part, content) = run?;
        let len = part.end - part.start;
        match content {
            Content::Excluded => left_out.excluded += len,
            Content::Unreadable => left_out.unreadable += len,
            Content::Zero | Content::Stored(_) => {
                for step in steps(part.clone()) {
                    if stop.is_set() {
                        return Err(Error::Stopped);
                    }
                    let done = step.end;
                    comparison.step(step)?;
                    progress(Progress { done, total });
                }
            }
        }
    }
    let Differences { named, bytes, more, .. } = comparison.differences.close();
    Ok(Report {
        volume: found.header().volume.to_string(),
        session: found.header().session.to_string(),
        time: time::to_text(found.point().time),
        file: path.to_owned().into(),
        bytes: total,
        file_bytes,
        compared_bytes: total - left_out.excluded - left_out.unreadable,
        excluded_bytes: left_out.excluded,
        unreadable_bytes: left_out.unreadable,
        differing_bytes: bytes,
        differing: named,
        more_ranges: more,
        gap_since: found.point().gap_since.map(time::to_text),
        passed_over: found.passed_over().to_vec(),
    })
}

/// Bytes that are not compared.
#[derive(Default)]
struct LeftOut {
    excluded: u64,
    unreadable: u64,
}

struct Comparison<'a> {
    point: &'a PointReader,
    file: File,
    path: &'a Path,
    file_bytes: u64,
    /// Bytes of the volume's sectors.
    sector: u64,
    differences: Differences,
    /// The point's bytes and the file's.
    sides: [Vec<u8>; 2],
}

impl Comparison<'_> {
    /// Compares a step of whole sectors.
    fn step(&mut self, step: Range<u64>) -> Result<()> {
        let len = to_len(step.end - step.start);
        let [of_point, of_file] = &mut self.sides;
        of_point.resize(len, 0);
        of_file.resize(len, 0);
        self.point.read(step.start, of_point)?;
        let there = self.file_bytes.clamp(step.start, step.end) - step.start;
        let read = read_exact_at(&self.file, &mut of_file[..to_len(there)], step.start);
        read.map_err(Error::file("read", self.path))?;
        if of_point == of_file && there == len as u64 {
            return Ok(());
        }
        let sector = to_len(self.sector);
        let sectors = of_point.chunks(sector).zip(of_file.chunks(sector));
        for (start, (one, other)) in (0..).step_by(sector).zip(sectors) {
            let end = start + one.len() as u64;
            // A sector that the file has in part only is not there.
            if one != other || end > there {
                self.differences.add(step.start + start..step.start + end);
            }
        }
        Ok(())
    }
}

/// Ranges that differ.
#[derive(Default)]
struct Differences {
    named: Vec<Bytes>,
    /// The last one, which may go on.
    open: Option<Range<u64>>,
    bytes: u64,
    more: u64,
}

impl Differences {
    fn add(&mut self, range: Range<u64>) {
        self.bytes += range.end - range.start;
        match &mut self.open {
            Some(open) if open.end == range.start => open.end = range.end,
            open => {
                if let Some(before) = open.replace(range) {
                    self.name(before);
                }
            }
        }
    }

    fn close(mut self) -> Self {
        if let Some(last) = self.open.take() {
            self.name(last);
        }
        self
    }

    fn name(&mut self, range: Range<u64>) {
        if self.named.len() < RANGES_MAX {
            self.named.push(range.into());
        } else {
            self.more += 1;
        }
    }
}

/// Opens a file or a device, and sizes it.
fn open(path: &Path) -> Result<(File, u64)> {
    let mut file = File::open(path).map_err(Error::file("open", path))?;
    let metadata = file.metadata().map_err(Error::file("look at", path))?;
    if metadata.is_dir() {
        return Err(Error::NotAnImage(path.to_owned()));
    }
    let len = file.seek(SeekFrom::End(0)).map_err(Error::file("size", path))?;
    Ok((file, len))
}

fn steps(part: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let len = usize::try_from(STEP_BYTES).unwrap_or(usize::MAX);
    let end = part.end;
    part.step_by(len).map(move |start| start..end.min(start + STEP_BYTES))
}

/// A length of a step, which is in memory.
fn to_len(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_range_and_past_the_most_they_are_counted() {
        let mut found = Differences::default();
        for start in [0, 512, 2048] {
            found.add(start..start + 512);
        }
        let found = found.close();
        let named = [(0, 1024), (2048, 512)].map(|(offset, len)| Bytes { offset, len });
        assert_eq!((&found.named[..], found.bytes, found.more), (&named[..], 1536, 0));
        let mut many = Differences::default();
        let count = RANGES_MAX as u64 + 3;
        (0..count).for_each(|index| many.add(2 * index..2 * index + 1));
        let many = many.close();
        assert_eq!((many.named.len(), many.bytes, many.more), (RANGES_MAX, count, 3));
    }
}
