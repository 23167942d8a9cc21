//! The indices of a session's segments.

use super::SessionReader;
use super::index::IndexReader;
use super::segments::SURVEY_BUFFER_BYTES;
use crate::crypto::BlobSeal;
use crate::error::Result;
use crate::format::segment::SegmentNumber;

impl SessionReader {
    /// How far the index of a segment can be used by the writer: its whole chunks that end within
    /// the acknowledged stream. `None` if there is no use in it.
    pub(crate) fn sound_index(&self, number: SegmentNumber) -> Option<SoundIndex> {
        let mut index = self.index(number)?;
        let mut segment = self.segment(number, SURVEY_BUFFER_BYTES).ok()?;
        let mut sound = SoundIndex { len: index.file_end(), end: segment.entry_end() };
        let mut last = None;
        while let Ok(true) = index.next_chunk()
            && index.segment_end() <= segment.end()
            && let Some(Ok(entry)) = index.entries().last()
        {
            sound = SoundIndex { len: index.file_end(), end: index.segment_end() };
            last = Some(entry);
        }
        let is_of_this_stream =
            last.is_none_or(|entry| segment.has_entry(entry.offset, &entry.frame));
        is_of_this_stream.then_some(sound)
    }

    /// The index of a segment; `None` if there is none of use.
    pub(super) fn index(&self, number: SegmentNumber) -> Option<IndexReader> {
        self.open_index(number).unwrap_or_else(|error| {
            log::warn!("the segment is read instead: {error}");
            None
        })
    }

    /// The finished segments that have no index, in order.
    pub(crate) fn unindexed(&self) -> Result<Vec<SegmentNumber>> {
        if self.claims.is_some() {
            // An object is short: its index would cost as much as it saves.
            return Ok(Vec::new());
        }
        let present = self.store.list(&self.dir, SegmentNumber::from_index_name)?;
        let finished = self.segments().filter(|number| *number < self.acknowledged.segment);
        Ok(finished.filter(|number| present.binary_search(number).is_err()).collect())
    }

    /// Keeps the index of a finished segment.
    pub(crate) fn keep_index(&self, number: SegmentNumber, bytes: &[u8]) -> Result<()> {
        self.store.create_durably(&self.dir.join(number.index_name()), bytes)
    }

    /// Opens the index of a segment; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Damaged`] for a file that is not this index.
    pub(crate) fn open_index(&self, number: SegmentNumber) -> Result<Option<IndexReader>> {
        if self.claims.is_some() {
            return Ok(None);
        }
        let path = self.dir.join(number.index_name());
        let seal = self.seal.index(number)?;
        IndexReader::open(&self.store, &path, self.header.index_of(number), seal)
    }

    /// Opens the index of a segment of an encrypted repository, to check its stored checksums
    /// without the key; there is no use in its entries.
    ///
    /// # Errors
    /// As for [`Self::open_index`].
    pub(crate) fn stored_index(&self, number: SegmentNumber) -> Result<Option<IndexReader>> {
        if self.claims.is_some() {
            return Ok(None);
        }
        let path = self.dir.join(number.index_name());
        let seal = Some(BlobSeal::default());
        IndexReader::open(&self.store, &path, self.header.index_of(number), seal)
    }
}

/// Whether indices are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Indices {
    /// Where there are any.
    Used,
    /// No: one of them was not that of its segment.
    Ignored,
}

/// Reads with the indices, and once more without if one of them is not that of its segment.
pub(crate) fn with_indices<T>(mut read: impl FnMut(Indices) -> Result<T>) -> Result<T> {
    match read(Indices::Used) {
        Err(error) if error.is_of_index() => {
            log::warn!("no index is used: {error}");
            read(Indices::Ignored)
        }
        other => other,
    }
}

/// The part of an index that is sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct SoundIndex {
    /// Bytes of the index.
    pub(crate) len: u64,
    /// Where in the segment its last entry ends.
    pub(crate) end: u64,
}
