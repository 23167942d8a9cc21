//! Claims: which blocks are being read, by which thread, and whether their content may be used.
//!
//! A claimed block stays `Reading` until its claim ends, so that it is not claimed twice. An
//! uncaptured write to a block that is being read spoils that part of the claim: the read may have
//! the old content, the new, or a mixture (rules T0 and LOSS, rules.md#t0, rules.md#loss).

use alloc::boxed::Box;

use snapless_types::BlockRange;

use crate::holes::Holes;
use crate::host::Tick;
use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};
use crate::table::BlockState;

/// Which thread reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reader {
    /// The sweep.
    Sweep,
    /// The hold thread, for a held write.
    Hold,
}

/// One run of blocks that is being read.
#[derive(Clone, Copy, Debug)]
pub struct Claimed {
    /// The run.
    pub blocks: BlockRange,
    /// Which thread reads it.
    pub reader: Reader,
    /// Their state before: `Unsynced` ones are read for the base image, `Dirty` ones after a gap.
    pub before: BlockState,
    /// When the read began.
    pub since: Tick,
    /// The part whose content must not be used.
    pub spoiled: BlockRange,
    /// The sectors that cannot be read, of a block that is read sector by sector.
    pub holes: Holes,
}

/// A claim's index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClaimId(usize);

/// The claims of all reads under way: at most a fixed number.
#[derive(Debug)]
pub struct Claims {
    slots: Box<[Option<Claimed>]>,
    /// How many are under way, by [`Reader`].
    counts: [u64; 2],
    /// Blocks under way, by the state that they were in.
    blocks: [u64; 4],
}

impl Claims {
    /// Room for `count` claims at a time.
    pub fn new(count: u64) -> Result<Self, OutOfMemory> {
        Ok(Self { slots: boxed_slice(count, || Ok(None))?, counts: [0; 2], blocks: [0; 4] })
    }

    /// Bytes that room for `count` claims allocates.
    pub fn bytes(count: u64) -> u64 {
        slice_bytes::<Option<Claimed>>(count)
    }

    /// A claim under way.
    pub fn get_mut(&mut self, id: ClaimId) -> Option<&mut Claimed> {
        self.slots.get_mut(id.0)?.as_mut()
    }

    /// True if there is room for another claim.
    pub fn has_room(&self) -> bool {
        self.under_way() < self.slots.len() as u64
    }

    /// Notes a claim on blocks whose state was `before`; `None` if there is no room.
    pub fn begin(
        &mut self,
        blocks: BlockRange,
        reader: Reader,
        before: BlockState,
        since: Tick,
    ) -> Option<ClaimId> {
        let index = self.slots.iter().position(Option::is_none)?;
        let (spoiled, holes) = (BlockRange::EMPTY, Holes::default());
        self.counts[reader as usize] += 1;
        self.blocks[before.index()] += blocks.len();
        *self.slots.get_mut(index)? =
            Some(Claimed { blocks, reader, before, since, spoiled, holes });
        Some(ClaimId(index))
    }

    /// Ends a claim and tells what became of it.
    pub fn end(&mut self, id: ClaimId) -> Option<Claimed> {
        let claimed = self.slots.get_mut(id.0)?.take()?;
        self.counts[claimed.reader as usize] -= 1;
        self.blocks[claimed.before.index()] -= claimed.blocks.len();
        Some(claimed)
    }

    /// Spoils the parts of claims that share blocks with `blocks`.
    pub fn spoil(&mut self, blocks: &BlockRange) {
        if sabotaged!(SpoiltReadUsed) {
            return;
        }
        for claim in self.slots.iter_mut().flatten() {
            let hit = claim.blocks.intersection(blocks);
            claim.spoiled = claim.spoiled.hull(&hit);
        }
    }

    /// How many claims `reader` has under way.
    pub fn count_by(&self, reader: Reader) -> u64 {
        self.counts[reader as usize]
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
        self.counts.iter().sum()
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
        assert!(!claims.has_room() && !claims.is_empty());
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
