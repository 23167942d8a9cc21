//! Which extents of the volume may be written: the scratch files' clusters.
//!
//! The rule: no extent that this hands out leaves a region, so the file system around them stays
//! whole. The file has one region a line: offset and length in bytes, decimal.

use std::fmt::Write as _;
use std::path::Path;

use crate::error::WriterError;
use crate::extent::{Extent, SECTOR};
use crate::log;

/// At least one extent, and the sum of their lengths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Regions {
    extents: Vec<Extent>,
    total: u64,
}

impl Regions {
    /// `None` if there is no region.
    pub fn new(extents: Vec<Extent>) -> Option<Self> {
        let total = extents.iter().map(|extent| extent.len()).sum();
        (!extents.is_empty()).then_some(Self { extents, total })
    }

    /// Reads the list in `path`.
    pub fn read(path: &Path) -> Result<Self, WriterError> {
        let extents =
            log::parse_lines(path, parse_line, "an offset and a length in whole sectors")?;
        Self::new(extents).ok_or_else(|| WriterError::NoRegions(path.into()))
    }

    /// The list as [`Regions::read`] takes it.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for extent in &self.extents {
            let _ = writeln!(text, "{} {}", extent.offset(), extent.len());
        }
        text
    }

    /// The regions.
    pub fn extents(&self) -> &[Extent] {
        &self.extents
    }

    /// Bytes in all regions.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// At most `len` bytes from the place `position` of the regions laid end to end; clipped where
    /// its region ends.
    pub fn at(&self, position: u64, len: u64) -> Extent {
        assert!(len >= SECTOR, "at least one sector is asked for");
        let mut position = position % self.total / SECTOR * SECTOR;
        for region in &self.extents {
            if position < region.len() {
                let len = (len / SECTOR * SECTOR).min(region.len() - position);
                return Extent::new(region.offset() + position, len)
                    .expect("a clip of whole sectors is whole sectors");
            }
            position -= region.len();
        }
        unreachable!("a position below the total lies in a region")
    }

    /// As [`Regions::at`], for a byte of the volume; `None` if no region holds it.
    pub fn from_volume_offset(&self, offset: u64, len: u64) -> Option<Extent> {
        let mut before = 0;
        for region in &self.extents {
            if (region.offset()..region.end()).contains(&offset) {
                return Some(self.at(before + offset - region.offset(), len));
            }
            before += region.len();
        }
        None
    }
}

fn parse_line(line: &str) -> Option<Extent> {
    let (offset, len) = line.split_once(char::is_whitespace)?;
    Extent::new(offset.parse().ok()?, len.trim().parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn regions() -> Regions {
        Regions::new(vec![Extent::new(4096, 1024).unwrap(), Extent::new(65536, 512).unwrap()])
            .unwrap()
    }

    #[test]
    fn positions_run_through_the_regions_and_stop_at_their_ends() {
        let regions = regions();
        assert_eq!(regions.total(), 1536);
        assert_eq!(regions.at(0, 512), Extent::new(4096, 512).unwrap());
        assert_eq!(regions.at(700, 4096), Extent::new(4608, 512).unwrap());
        assert_eq!(regions.at(1024, 4096), Extent::new(65536, 512).unwrap());
        assert_eq!(regions.at(1536, 512), Extent::new(4096, 512).unwrap());
        assert_eq!(regions.from_volume_offset(4608, 9999), Extent::new(4608, 512));
        assert_eq!(regions.from_volume_offset(5120, 512), None);
    }

    #[test]
    fn the_list_reads_back_and_names_the_bad_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("regions");
        std::fs::write(&path, regions().to_text()).unwrap();
        assert_eq!(Regions::read(&path).unwrap(), regions());
        std::fs::write(&path, "512 512\n512 100\n").unwrap();
        let error = Regions::read(&path).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
        std::fs::write(&path, "").unwrap();
        assert!(matches!(Regions::read(&path), Err(WriterError::NoRegions(_))));
    }
}
