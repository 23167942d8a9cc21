//! The files of a session in a directory, listed once for a reader.

use std::path::Path;
use std::sync::OnceLock;

use crate::error::Result;
use crate::format::history::HistoryNumber;
use crate::format::segment::SegmentNumber;
use crate::storage::Store;

/// The histories and the segments of a session, as they were when it was opened. Not of a stream of
/// objects: there the claims tell.
#[derive(Default, Debug)]
pub(super) struct Listing {
    histories: Vec<HistoryNumber>,
    segments: Vec<SegmentNumber>,
    /// Asked for by few: a system looks at each file for them.
    lengths: OnceLock<Vec<(SegmentNumber, u64)>>,
}

/// A file of a session that a reader wants to know of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Listed {
    History(HistoryNumber),
    Segment(SegmentNumber),
}

impl Listing {
    /// Lists the files.
    pub(super) fn of(store: &Store, dir: &Path) -> Result<Self> {
        let mut found = Self::default();
        for listed in store.list(dir, Listed::parse)? {
            match listed {
                Listed::History(number) => found.histories.push(number),
                Listed::Segment(number) => found.segments.push(number),
            }
        }
        Ok(found)
    }

    /// The numbers of the histories, in order.
    pub(super) fn histories(&self) -> &[HistoryNumber] {
        &self.histories
    }

    /// True if the segment was there.
    pub(super) fn has(&self, number: SegmentNumber) -> bool {
        self.segments.binary_search(&number).is_ok()
    }

    /// The segments with their bytes, in order, as they are when they are first asked for.
    pub(super) fn lengths(&self, store: &Store, dir: &Path) -> Result<&[(SegmentNumber, u64)]> {
        if let Some(lengths) = self.lengths.get() {
            return Ok(lengths);
        }
        let files = store.list_with_lengths(dir)?;
        let segments = files.iter().filter_map(|(name, len)| {
            SegmentNumber::from_file_name(name).map(|number| (number, *len))
        });
        let mut lengths: Vec<_> = segments.collect();
        lengths.sort_unstable();
        Ok(self.lengths.get_or_init(|| lengths))
    }
}

impl Listed {
    fn parse(name: &str) -> Option<Self> {
        let segment = SegmentNumber::from_file_name(name).map(Self::Segment);
        segment.or_else(|| HistoryNumber::from_file_name(name).map(Self::History))
    }
}
