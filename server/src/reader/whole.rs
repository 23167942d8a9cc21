//! Whether a finished segment has all that was stored in it.
//!
//! A segment may lose its end at the end of an entry: a file system goes back to what was synced
//! before, a tool copies a part. Nothing in its entries tells then, and nothing in those that
//! follow if a gap comes next: records may be missing in front of its marker. So whoever reads a
//! segment to its end asks here.
//!
//! - In a directory its index tells. An index never has an entry that its finished segment has not:
//!   it is cut back before the segment is.
//! - Of an object its claim tells, if an epoch ends there, which [`SegmentReader::next_entry`]
//!   checks. How long all parts of a longer epoch are, the claim of the last one tells.

use std::path::Path;

use snapless_wire::id::{SessionId, VolumeGuid};

use super::SessionReader;
use super::claims::{Claims, read_claim};
use super::index::IndexReader;
use super::segment::SegmentReader;
use crate::error::{Error, Result};
use crate::format::claim::{CLAIMED_HEADER_LEN, Claim};
use crate::format::segment::SegmentNumber;
use crate::storage::{OpenMode, Store};

impl SessionReader {
    /// Checks that a segment, which was read to its end, was no longer once. Of the last one the
    /// acknowledged end tells, which every reader checks.
    ///
    /// # Errors
    /// Damage of the segment, at its end.
    pub(crate) fn check_whole(&self, segment: &SegmentReader) -> Result<()> {
        let number = segment.number();
        if number >= self.acknowledged.segment {
            return Ok(());
        }
        if let (Some(claims), Some(claim)) = (self.claims(), segment.claim()) {
            let (store, dir, ids) = (&self.store, &*self.dir, self.header.ids());
            let parts = Parts { store, dir, ids, claims, last: self.acknowledged.segment };
            let lost = parts.lost(number, claim, segment.end())?;
            return segment.check_end(segment.end().saturating_add(lost));
        }
        // Where its chunks are is not encrypted.
        let is_locked = self.store.seal().is_locked();
        let index = if is_locked { self.stored_index(number) } else { self.open_index(number) };
        // One that is damaged tells as much as is sound of it.
        index.ok().flatten().map_or(Ok(()), |index| segment.check_end(IndexReader::last_end(index)))
    }
}

/// The objects of a stream, of which several may be parts of one epoch.
pub(crate) struct Parts<'a> {
    pub(crate) store: &'a Store,
    pub(crate) dir: &'a Path,
    pub(crate) ids: (VolumeGuid, SessionId),
    pub(crate) claims: &'a Claims,
    /// The last one.
    pub(crate) last: SegmentNumber,
}

impl Parts<'_> {
    /// Bytes that the parts of an epoch lack which goes on behind the object of this number, claim
    /// and length: that one, or another one of them.
    ///
    /// # Errors
    /// What keeps objects from being read, but for damage of others.
    pub(crate) fn lost(&self, number: SegmentNumber, claim: &Claim, len: u64) -> Result<u64> {
        let ends_here = claim.end_of(number).is_some();
        if ends_here || len <= CLAIMED_HEADER_LEN as u64 && self.is_takeover(number, claim)? {
            return Ok(0);
        }
        let mut stored = 0_u64;
        let parts = (claim.segment.next().0..=self.last.0).map(SegmentNumber);
        for part in parts.filter(|part| !self.claims.is_void(*part)) {
            let Some(of_part) = self.claim(part)? else { return Ok(0) };
            if let Some(end) = of_part.end_of(part) {
                let all = of_part.bytes.saturating_sub(claim.bytes);
                return Ok(all.saturating_sub(stored).saturating_sub(end));
            }
            if !self.is_takeover(part, &of_part)? {
                let file = self.store.open(&self.dir.join(part.file_name()), OpenMode::Read)?;
                stored = stored.saturating_add(file.len()?);
            }
        }
        Ok(0)
    }

    /// True for the first object of a writer, which has no entry and does not count as a part.
    fn is_takeover(&self, number: SegmentNumber, claim: &Claim) -> Result<bool> {
        let before = match number.0 {
            0 | 1 => None,
            number => self.claim(SegmentNumber(number - 1))?,
        };
        Ok(before.is_none_or(|before| before.writer != claim.writer))
    }

    /// The claim of an object; `None` if it is damaged, which is found where it is read, or gone,
    /// as what is before the stream's begin may be.
    fn claim(&self, number: SegmentNumber) -> Result<Option<Claim>> {
        match read_claim(self.store, self.dir, self.ids, number) {
            Ok(claim) => Ok(Some(claim)),
            Err(Error::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
