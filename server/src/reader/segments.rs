//! The segments of a stream: which there are, and how they are opened.

use super::SessionReader;
use super::listing::Listing;
use super::segment::SegmentReader;
use crate::error::{Damage, Error, Result};
use crate::format::segment::SegmentNumber;
use crate::seal::EntrySeal;
use crate::storage::{OpenMode, StoredFile};

/// Bytes read ahead of a segment whose index is read: a few headers.
pub(super) const SURVEY_BUFFER_BYTES: usize = 4 << 10;
/// Bytes read ahead while everything is read.
pub(super) const REPLAY_BUFFER_BYTES: usize = 256 << 10;
/// Objects that are asked for ahead while segments are read in order.
const OBJECTS_AHEAD: usize = 8;

impl SessionReader {
    /// The numbers of all segments that hold acknowledged records, from the begin of the stream on.
    pub fn segments(&self) -> impl Iterator<Item = SegmentNumber> + use<> {
        let claims = self.claims.clone();
        let all = (self.begin_place().0.0..=self.acknowledged.segment.0).map(SegmentNumber);
        all.filter(move |number| claims.as_ref().is_none_or(|claims| !claims.is_void(*number)))
    }

    /// True for a segment of the stream, or one that a fold has kept.
    pub(crate) fn keeps(&self, number: SegmentNumber) -> bool {
        let is_log = !number.is_compacted() && number >= self.begin_place().0;
        is_log || self.kept_len(number).is_some()
    }

    /// Bytes of a segment that a fold has kept of the time before its boundary; `None` for any
    /// other.
    pub(crate) fn kept_len(&self, number: SegmentNumber) -> Option<u64> {
        let kept = self.history().map_or(&[][..], |history| &history.segments);
        let at = kept.binary_search_by_key(&number, |kept| kept.number).ok()?;
        kept.get(at).map(|kept| kept.len)
    }

    /// Opens one segment at its first entry. The one after it is asked for soon, most likely.
    pub(crate) fn segment(&self, number: SegmentNumber, buffer: usize) -> Result<SegmentReader> {
        if let Some(objects) = self.store.objects() {
            let next = (number.next().0..=self.acknowledged.segment.0).map(SegmentNumber);
            let next = next.take(OBJECTS_AHEAD).filter(|number| !self.is_void(*number));
            objects.will_open(&mut next.map(|number| self.dir.join(number.file_name())));
        }
        let file = self.open_segment(number)?;
        let end = self.end_of(number, &file)?;
        SegmentReader::open(file, &self.header, number, self.seal.entries(number)?, end, buffer)
    }

    /// Opens one segment at the first entry of it that is of the stream.
    pub(crate) fn stream_segment(
        &self,
        number: SegmentNumber,
        buffer: usize,
    ) -> Result<SegmentReader> {
        let mut segment = self.segment(number, buffer)?;
        let (first, offset) = self.begin_place();
        if number == first && offset > 0 {
            segment.go_to(offset)?;
        }
        Ok(segment)
    }

    /// [`Self::segment`] of an encrypted repository, to check its stored checksums without the key;
    /// no entry can be opened.
    pub(crate) fn stored_segment(
        &self,
        number: SegmentNumber,
        buffer: usize,
    ) -> Result<SegmentReader> {
        let file = self.open_segment(number)?;
        let end = self.end_of(number, &file)?;
        let seal = Some(EntrySeal::without_key());
        SegmentReader::open(file, &self.header, number, seal, end, buffer)
    }

    /// Opens a segment, to read content out of it.
    pub(crate) fn content(&self, number: SegmentNumber) -> Result<StoredFile> {
        self.open_segment(number)
    }

    pub(super) fn open_segment(&self, number: SegmentNumber) -> Result<StoredFile> {
        let path = self.dir.join(number.file_name());
        self.store.open(&path, OpenMode::Read).map_err(Error::or_gone)
    }

    pub(super) fn is_void(&self, number: SegmentNumber) -> bool {
        self.claims().is_some_and(|claims| claims.is_void(number))
    }

    /// Checks that no segment is missing, without a look into them.
    pub(super) fn check_segments(&self) -> Result<()> {
        let missing = if let Some(claims) = self.claims() {
            claims.missing(self.segments())
        } else {
            let missing = |listing: &Listing| self.segments().find(|number| !listing.has(*number));
            // The last ones may have been begun after the list was made.
            match missing(&self.listing) {
                Some(_) => missing(&Listing::of(&self.store, &self.dir)?),
                None => None,
            }
        };
        let Some(missing) = missing else { return Ok(()) };
        let path = self.store.locate(&self.dir.join(missing.file_name()));
        Err(Error::damaged(&path, 0, Damage::Gone))
    }

    /// Where the acknowledged part of a segment ends.
    fn end_of(&self, number: SegmentNumber, file: &StoredFile) -> Result<u64> {
        if number == self.acknowledged.segment {
            return Ok(self.acknowledged.offset);
        }
        file.len()
    }
}
