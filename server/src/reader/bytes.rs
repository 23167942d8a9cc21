//! How many bytes a stream takes.

use super::SessionReader;
use super::claims::read_claim;
use crate::error::Result;
use crate::format::claim::Claim;
use crate::format::history::History;
use crate::format::segment::SegmentNumber;
use crate::format::state::Checkpoint;

impl SessionReader {
    /// Bytes of the stored stream, and of what a fold has kept of the time before it.
    pub fn stored_bytes(&self) -> Result<u64> {
        let kept = self.history().map_or(0, History::segment_bytes);
        Ok(self.stream_bytes()?.saturating_add(kept))
    }

    /// Bytes of the stored stream.
    pub(crate) fn stream_bytes(&self) -> Result<u64> {
        self.bytes_since(None)
    }

    /// Stored bytes after a place, or all.
    pub(crate) fn bytes_since(&self, place: Option<&Checkpoint>) -> Result<u64> {
        if let Some((_, end)) = self.claims().and_then(|claims| claims.newest) {
            return self.bytes_between(place, &end);
        }
        let Some(place) = place else { return self.bytes_of_all() };
        self.bytes_from(place.segment, place.offset)
    }

    /// Bytes of the stream in a directory from a place on.
    pub(super) fn bytes_from(&self, first: SegmentNumber, offset: u64) -> Result<u64> {
        let mut bytes = 0;
        for number in self.segments().filter(|number| *number >= first) {
            bytes += self.bytes_of(number)?;
        }
        Ok(bytes.saturating_sub(offset))
    }

    /// About [`Self::bytes_since`], as if each segment were as long as the first one of them: looks
    /// at no others.
    pub(crate) fn bytes_since_about(&self, place: Option<&Checkpoint>) -> Result<u64> {
        if self.claims.is_some() {
            return self.bytes_since(place);
        }
        let (first, before) =
            place.map_or((self.begin_place().0, 0), |place| (place.segment, place.offset));
        let last = self.acknowledged.segment;
        let finished = match last.0.saturating_sub(first.0) {
            0 => 0,
            count => self.bytes_of(first)?.saturating_mul(count),
        };
        Ok(finished.saturating_add(self.acknowledged.offset).saturating_sub(before))
    }

    /// [`Self::bytes_since`] in a stream of objects, by two claims.
    fn bytes_between(&self, place: Option<&Checkpoint>, end: &Claim) -> Result<u64> {
        let from = place.map_or(self.begin_place().0, |place| place.segment);
        if place.is_none() && self.history.is_none() {
            return Ok(end.bytes);
        }
        let claim = read_claim(&self.store, &self.dir, self.header.ids(), from)?;
        // Of the whole stream the segment of its begin is a part.
        let first = if place.is_none() && claim.segment == from { claim.offset } else { 0 };
        Ok(end.bytes.saturating_sub(claim.bytes).saturating_add(first))
    }

    fn bytes_of(&self, number: SegmentNumber) -> Result<u64> {
        if number == self.acknowledged.segment {
            return Ok(self.acknowledged.offset);
        }
        self.open_segment(number)?.len()
    }

    /// Bytes of all segments of the stream, and of what lies before it in the first of them.
    pub(super) fn bytes_of_all(&self) -> Result<u64> {
        let lengths = self.listing.lengths(&self.store, &self.dir)?;
        let mut bytes = 0;
        for number in self.segments() {
            bytes += match lengths.binary_search_by_key(&number, |(number, _)| *number) {
                // Finished, so that it has its last length.
                Ok(place) if number < self.acknowledged.segment => lengths[place].1,
                _ => self.bytes_of(number)?,
            };
        }
        Ok(bytes)
    }
}
