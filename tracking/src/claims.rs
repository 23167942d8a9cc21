//! Claims: which blocks are being read, by which thread, and whether their content may be used.
//!
//! A claimed block stays `Reading` until its claim ends, so that it is not claimed twice. An
//! uncaptured write to a block that is being read spoils that part of the claim: the read may have
//! the old content, the new, or a mixture (rules T0 and LOSS, rules.md#t0, rules.md#loss). Blocks
//! that are read to verify the copy stay `Synced`, and any write to them spoils the claim.

use alloc::boxed::Box;

use snapless_fixed::holes::Holes;
use snapless_fixed::memory::{OutOfMemory, boxed_slice, slice_bytes};
use snapless_types::{BlockRange, Tick};

use crate::table::BlockState;

/// Which thread reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// The sweep.
    Sweep,
    /// The hold thread, for a held write.
    Hold,
    /// The sweep, to verify the copy: the blocks stay synced, and writes to them go on.
    Verify,
}

/// One run of blocks that is being read.
#[derive(Clone, Copy, Debug)]
pub struct Claimed {
    /// The run.
    pub blocks: BlockRange,
    /// Which thread reads it.
    pub reader: Reader,
    /// Their state before: `Unsynced` ones are read for the base image, `Dirty` ones after a gap,
    /// `Synced` ones to verify the copy.
    pub before: BlockState,
    /// When the read began.
    pub since: Tick,
    /// The part whose content must not be used.
    pub spoiled: BlockRange,
    /// The disk could not read the block in one read: it is read sector by sector.
    pub by_sector: bool,
    /// The sectors that it cannot read.
    pub holes: Holes,
}

/// A claim's index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimId(usize);

/// The claims of all reads under way: at most a fixed number.
#[derive(Debug)]
pub struct Claims {
    slots: Box<[Option<Claimed>]>,
    /// The free slots, the one to be taken next last.
    free: Box<[usize]>,
    free_count: usize,
    /// The slots from this one on were not taken since no claim was under way.
    unused: usize,
    /// How many are under way, by [`Reader`].
    counts: Counts,
    /// How many of them read sector by sector.
    by_sector: u64,
    /// Blocks under way, by the state that they were in.
    blocks: [u64; 4],
}

/// How many claims are under way, by [`Reader`].
#[derive(Debug, Default)]
struct Counts {
    sweep: u64,
    hold: u64,
    verify: u64,
}

impl Counts {
    fn of(&self, reader: Reader) -> u64 {
        match reader {
            Reader::Sweep => self.sweep,
            Reader::Hold => self.hold,
            Reader::Verify => self.verify,
        }
    }

    fn of_mut(&mut self, reader: Reader) -> &mut u64 {
        match reader {
            Reader::Sweep => &mut self.sweep,
            Reader::Hold => &mut self.hold,
            Reader::Verify => &mut self.verify,
        }
    }

    fn all(&self) -> u64 {
        self.sweep + self.hold + self.verify
    }
}

impl Claims {
    /// Room for `count` claims at a time.
    // Out of line, as the other parts of a session.
    #[inline(never)]
    pub fn new(count: u64) -> Result<Self, OutOfMemory> {
        let slots = boxed_slice(count, || Ok(None))?;
        let free_count = slots.len();
        let mut ids = (0..free_count).rev();
        let free = boxed_slice(count, || ids.next().ok_or(OutOfMemory))?;
        Ok(Self {
            slots,
            free,
            free_count,
            unused: 0,
            counts: Counts::default(),
            by_sector: 0,
            blocks: [0; 4],
        })
    }

    /// Bytes that room for `count` claims allocates.
    pub fn bytes(count: u64) -> u64 {
        slice_bytes::<Option<Claimed>>(count) + slice_bytes::<usize>(count)
    }

    /// Notes that a claim's block is read sector by sector from now on.
    pub fn read_by_sector(&mut self, id: ClaimId) {
        if let Some(claimed) = self.get_mut(id)
            && !claimed.by_sector
        {
            claimed.by_sector = true;
            self.by_sector += 1;
        }
    }

    /// A claim under way.
    pub fn get_mut(&mut self, id: ClaimId) -> Option<&mut Claimed> {
        self.slots.get_mut(id.0)?.as_mut()
    }

    /// Notes a claim on blocks whose state was `before`; `None` if there is no room.
    pub fn begin(
        &mut self,
        blocks: BlockRange,
        reader: Reader,
        before: BlockState,
        since: Tick,
    ) -> Option<ClaimId> {
        let index = *self.free.get(self.free_count.checked_sub(1)?)?;
        self.free_count -= 1;
        self.unused = self.unused.max(index + 1);
        let (spoiled, by_sector, holes) = (BlockRange::EMPTY, false, Holes::default());
        *self.counts.of_mut(reader) += 1;
        self.blocks[before.index()] += blocks.len();
        *self.slots.get_mut(index)? =
            Some(Claimed { blocks, reader, before, since, spoiled, by_sector, holes });
        Some(ClaimId(index))
    }

    /// Ends a claim and tells what became of it.
    pub fn end(&mut self, id: ClaimId) -> Option<Claimed> {
        let claimed = self.slots.get_mut(id.0)?.take()?;
        *self.counts.of_mut(claimed.reader) -= 1;
        self.blocks[claimed.before.index()] -= claimed.blocks.len();
        self.by_sector -= u64::from(claimed.by_sector);
        if let Some(place) = self.free.get_mut(self.free_count) {
            *place = id.0;
            self.free_count += 1;
        }
        if self.is_empty() {
            self.unused = 0;
        }
        Some(claimed)
    }

    /// Spoils the parts of claims that share blocks with `blocks`.
    pub fn spoil(&mut self, blocks: &BlockRange) {
        if sabotaged!(SpoiltReadUsed) {
            return;
        }
        for claim in self.slots.iter_mut().take(self.unused).flatten() {
            let hit = claim.blocks.intersection(blocks);
            claim.spoiled = claim.spoiled.hull(&hit);
        }
    }

    /// Spoils the reads that verify the copy and share blocks with `blocks`.
    #[inline]
    pub fn spoil_verifying(&mut self, blocks: &BlockRange) {
        if self.count_by(Reader::Verify) > 0 && !sabotaged!(CheckUnderWrites) {
            self.spoil(blocks);
        }
    }

    /// True if one of these blocks is read sector by sector.
    pub fn is_read_by_sector(&self, blocks: &BlockRange) -> bool {
        let mut claims = self.slots.iter().take(self.unused).flatten();
        self.by_sector > 0 && claims.any(|it| it.by_sector && it.blocks.intersects(blocks))
    }

    /// True if some of these blocks are being read and were in state `before`.
    pub fn read(&self, blocks: &BlockRange, before: BlockState) -> bool {
        let mut claims = self.slots.iter().take(self.unused).flatten();
        claims.any(|claim| claim.before == before && claim.blocks.intersects(blocks))
    }

    /// How many claims `reader` has under way.
    pub fn count_by(&self, reader: Reader) -> u64 {
        self.counts.of(reader)
    }

    /// True if nothing is being read.
    pub fn is_empty(&self) -> bool {
        self.under_way() == 0
    }

    /// Number of blocks that are being read and were in state `before`.
    pub fn blocks_that_were(&self, before: BlockState) -> u64 {
        self.blocks[before.index()]
    }

    fn under_way(&self) -> u64 {
        self.counts.all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use snapless_types::BlockIndex;

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn claims_end_with_what_was_spoiled() {
        let mut claims = Claims::new(2).unwrap();
        let a = claims.begin(blocks(0, 8), Reader::Sweep, BlockState::Unsynced, Tick(1)).unwrap();
        let b = claims.begin(blocks(8, 9), Reader::Hold, BlockState::Dirty, Tick(2)).unwrap();
        assert!(!claims.is_empty());
        assert!(claims.begin(blocks(9, 10), Reader::Hold, BlockState::Unsynced, Tick(3)).is_none());
        let counts =
            [BlockState::Unsynced, BlockState::Dirty].map(|it| claims.blocks_that_were(it));
        assert_eq!(counts, [8, 1]);
        claims.spoil(&blocks(2, 3));
        claims.spoil(&blocks(5, 6));
        assert_eq!((claims.count_by(Reader::Sweep), claims.count_by(Reader::Hold)), (1, 1));
        assert_eq!(claims.end(a).unwrap().spoiled, blocks(2, 6));
        assert_eq!(claims.count_by(Reader::Sweep), 0);
        assert_eq!(claims.blocks_that_were(BlockState::Unsynced), 0);
        assert!(claims.end(b).unwrap().spoiled.is_empty());
        assert!(claims.is_empty());
    }

    #[test]
    fn holes_are_those_of_one_claim() {
        let mut claims = Claims::new(2).unwrap();
        let begin = |claims: &mut Claims| {
            claims.begin(blocks(0, 1), Reader::Sweep, BlockState::Unsynced, Tick(0)).unwrap()
        };
        let (a, b) = (begin(&mut claims), begin(&mut claims));
        claims.get_mut(a).unwrap().holes.add(7);
        let holes = [a, b].map(|id| claims.end(id).unwrap().holes.count());
        assert_eq!(holes, [1, 0]);
        assert!(claims.end(a).is_none() && claims.get_mut(a).is_none());
        let a = begin(&mut claims);
        assert_eq!(claims.end(a).unwrap().holes.count(), 0);
    }
}
