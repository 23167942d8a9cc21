//! How many bytes a stream takes.

use super::SessionReader;
use super::claims::read_claim;
use crate::error::Result;
use crate::format::claim::Claim;
use crate::format::history::History;
use crate::format::segment::SegmentNumber;

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

    /// Stored bytes after a place where an epoch ends, a segment and where in its file, or all.
    pub(crate) fn bytes_since(&self, place: Option<(SegmentNumber, u64)>) -> Result<u64> {
        if let Some((_, end)) = self.claims().and_then(|claims| claims.newest) {
            return self.bytes_between(place, &end);
        }
        let Some((first, offset)) = place else { return self.bytes_of_all() };
        let mut bytes = 0;
        for number in self.segments().filter(|number| *number >= first) {
            bytes += self.bytes_of(number)?;
        }
        Ok(bytes.saturating_sub(offset))
    }

    /// About [`Self::bytes_since`], as if each segment were as long as the first one of them: looks
    /// at no others.
    pub(crate) fn bytes_since_about(&self, place: Option<(SegmentNumber, u64)>) -> Result<u64> {
        if self.claims.is_some() {
            return self.bytes_since(place);
        }
        let (first, before) = place.unwrap_or((self.begin_place().0, 0));
        let last = self.acknowledged.segment;
        let finished = match last.0.saturating_sub(first.0) {
            0 => 0,
            count => self.bytes_of(first)?.saturating_mul(count),
        };
        Ok(finished.saturating_add(self.acknowledged.offset).saturating_sub(before))
    }

    /// [`Self::bytes_since`] in a stream of objects, by two claims, however many objects there are.
    fn bytes_between(&self, place: Option<(SegmentNumber, u64)>, end: &Claim) -> Result<u64> {
        if place.is_none() && self.history.is_none() {
            return Ok(end.bytes);
        }
        // Of the whole stream the segment of its begin is a part.
        let (from, offset) = place.unwrap_or((self.begin_place().0, 0));
        let claim = read_claim(&self.store, &self.dir, self.header.ids(), from)?;
        let is_within = claim.segment == from;
        let within = if is_within { claim.offset.saturating_sub(offset) } else { 0 };
        Ok(end.bytes.saturating_sub(claim.bytes).saturating_add(within))
    }

    fn bytes_of(&self, number: SegmentNumber) -> Result<u64> {
        if number == self.acknowledged.segment {
            return Ok(self.acknowledged.offset);
        }
        self.open_segment(number)?.len()
    }

    /// Bytes of all segments of the stream, and of what lies before it in the first of them.
    fn bytes_of_all(&self) -> Result<u64> {
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
