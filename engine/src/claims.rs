//! Claims: which blocks are being read right now, by whom, and whether the content may still be used.
//!
//! A claimed block stays `Reading` until its claim ends, whatever happens meanwhile, so that nobody else
//! can claim it. A write that goes through uncaptured while its block is being read spoils that part of the
//! claim: what was read may be the old content, the new or a mixture (rules T0 and LOSS).

use alloc::boxed::Box;

use crate::geometry::{BlockIndex, BlockRange};
use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};

/// Bits in a word.
const BITS: u64 = 64;

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// The sweep.
    Sweep,
    /// The hold thread, for a write that waits.
    Hold,
}

/// Why blocks are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reason {
    /// For the base image: they were `Unsynced`.
    Base,
    /// After a gap: they were `Dirty`.
    Resync,
}

/// One run of blocks under way.
#[derive(Clone, Copy, Debug)]
pub struct Claimed {
    /// The run.
    pub blocks: BlockRange,
    /// Who reads it.
    pub reader: Reader,
    /// Why.
    pub reason: Reason,
    /// The part that must not be used; empty if all is well.
    pub spoiled: BlockRange,
}

/// A claim's index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimId(usize);

/// The claims under way: a fixed number.
#[derive(Debug)]
pub struct Claims {
    slots: Box<[Option<Claimed>]>,
    /// For each claim, a bit for each sector of a block: the disk could not read it.
    bad: Box<[u64]>,
    /// Words of `bad` for each claim.
    bad_words: usize,
    base_blocks: u64,
    resync_blocks: u64,
}

impl Claims {
    /// Room for `count` claims at a time, of blocks of `sectors` sectors.
    pub fn new(count: u64, sectors: u64) -> Result<Self, OutOfMemory> {
        let words = sectors.div_ceil(BITS);
        Ok(Self {
            slots: boxed_slice(count, || None)?,
            bad: boxed_slice(count.saturating_mul(words), || 0)?,
            bad_words: usize::try_from(words).map_err(|_| OutOfMemory)?,
            base_blocks: 0,
            resync_blocks: 0,
        })
    }

    /// Bytes that room for `count` claims allocates.
    pub fn bytes(count: u64, sectors: u64) -> u64 {
        slice_bytes::<Option<Claimed>>(count) + count * slice_bytes::<u64>(sectors.div_ceil(BITS))
    }

    /// A claim under way.
    pub fn get(&self, id: ClaimId) -> Option<&Claimed> {
        self.slots.get(id.0)?.as_ref()
    }

    /// Notes that a sector of the claimed block, counted from the block's first, cannot be read.
    pub fn mark_bad(&mut self, id: ClaimId, sector: u64) {
        let word = usize::try_from(sector / BITS).unwrap_or(usize::MAX);
        if word < self.bad_words
            && let Some(word) = self.bad.get_mut(id.0 * self.bad_words + word)
        {
            *word |= 1 << (sector % BITS);
        }
    }

    /// The first run of sectors from `from` on, up to `end`, that cannot be read: first, and the one after the
    /// last.
    pub fn bad_run(&self, id: ClaimId, from: u64, end: u64) -> Option<(u64, u64)> {
        let first = (from..end).find(|&sector| self.is_bad(id, sector))?;
        let after = (first..end).find(|&sector| !self.is_bad(id, sector)).unwrap_or(end);
        Some((first, after))
    }

    fn is_bad(&self, id: ClaimId, sector: u64) -> bool {
        let word = usize::try_from(sector / BITS).unwrap_or(usize::MAX);
        let word = self.bad.get(id.0 * self.bad_words + word.min(self.bad_words));
        word.is_some_and(|word| word & 1 << (sector % BITS) != 0)
    }

    /// True if there is room for another claim.
    pub fn has_room(&self) -> bool {
        self.slots.iter().any(Option::is_none)
    }

    /// Notes a claim; `None` if there is no room.
    pub fn begin(&mut self, blocks: BlockRange, reader: Reader, reason: Reason) -> Option<ClaimId> {
        let index = self.slots.iter().position(Option::is_none)?;
        let spoiled = BlockRange::new(BlockIndex(0), BlockIndex(0));
        let bad = self.bad.iter_mut().skip(index * self.bad_words).take(self.bad_words);
        bad.for_each(|word| *word = 0);
        *self.count_mut(reason) += blocks.len();
        *self.slots.get_mut(index)? = Some(Claimed { blocks, reader, reason, spoiled });
        Some(ClaimId(index))
    }

    /// Ends a claim and tells what became of it.
    pub fn end(&mut self, id: ClaimId) -> Option<Claimed> {
        let claimed = self.slots.get_mut(id.0)?.take()?;
        *self.count_mut(claimed.reason) -= claimed.blocks.len();
        Some(claimed)
    }

    /// Spoils the parts of claims that share blocks with `blocks`.
    pub fn spoil(&mut self, blocks: &BlockRange) {
        for claim in self.slots.iter_mut().flatten() {
            let hit = claim.blocks.intersection(blocks);
            claim.spoiled = claim.spoiled.hull(&hit);
        }
    }

    /// True if `reader` has a claim under way.
    pub fn any_by(&self, reader: Reader) -> bool {
        self.slots.iter().flatten().any(|claim| claim.reader == reader)
    }

    /// True if nothing is being read.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// True if blocks are being read for `reason`.
    pub fn any_for(&self, reason: Reason) -> bool {
        self.blocks_for(reason) > 0
    }

    /// Number of blocks that are being read for `reason`.
    pub fn blocks_for(&self, reason: Reason) -> u64 {
        match reason {
            Reason::Base => self.base_blocks,
            Reason::Resync => self.resync_blocks,
        }
    }

    fn count_mut(&mut self, reason: Reason) -> &mut u64 {
        match reason {
            Reason::Base => &mut self.base_blocks,
            Reason::Resync => &mut self.resync_blocks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn claims_end_with_what_was_spoiled() {
        let mut claims = Claims::new(2, 32).unwrap();
        let a = claims.begin(blocks(0, 8), Reader::Sweep, Reason::Base).unwrap();
        let b = claims.begin(blocks(8, 9), Reader::Hold, Reason::Resync).unwrap();
        assert!(!claims.has_room());
        assert!(claims.begin(blocks(9, 10), Reader::Hold, Reason::Base).is_none());
        assert_eq!((claims.blocks_for(Reason::Base), claims.blocks_for(Reason::Resync)), (8, 1));
        claims.spoil(&blocks(2, 3));
        claims.spoil(&blocks(5, 6));
        assert!(claims.any_by(Reader::Sweep) && claims.any_for(Reason::Base));
        assert_eq!(claims.end(a).unwrap().spoiled, blocks(2, 6));
        assert!(!claims.any_by(Reader::Sweep) && !claims.any_for(Reason::Base));
        assert!(claims.end(b).unwrap().spoiled.is_empty());
        assert!(claims.is_empty());
    }

    #[test]
    fn bad_sectors_are_told_in_runs_and_forgotten_with_their_claim() {
        let mut claims = Claims::new(2, 130).unwrap();
        let begin =
            |claims: &mut Claims| claims.begin(blocks(0, 1), Reader::Sweep, Reason::Base).unwrap();
        let (a, b) = (begin(&mut claims), begin(&mut claims));
        for sector in [0, 63, 64, 129, 130, u64::MAX] {
            claims.mark_bad(a, sector);
        }
        assert_eq!(claims.bad_run(a, 0, 130), Some((0, 1)));
        assert_eq!(claims.bad_run(a, 1, 130), Some((63, 65)));
        assert_eq!(claims.bad_run(a, 65, 130), Some((129, 130)));
        assert_eq!(claims.bad_run(a, 65, 129), None);
        assert_eq!(claims.bad_run(b, 0, 130), None);
        claims.end(a).unwrap();
        let a = begin(&mut claims);
        assert_eq!(claims.bad_run(a, 0, 130), None);
    }
}
