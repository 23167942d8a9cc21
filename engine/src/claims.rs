//! Claims: which blocks are being read right now, by whom, and whether the content may still be used.
//!
//! A claimed block stays `Reading` until its claim ends, whatever happens meanwhile, so that nobody else
//! can claim it. A write that goes through uncaptured while its block is being read spoils that part of the
//! claim: what was read may be the old content, the new or a mixture (rules T0 and LOSS).

use alloc::boxed::Box;

use crate::geometry::BlockRange;
use crate::holes::Holes;
use crate::host::Tick;
use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};
use crate::table::BlockState;

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

impl Reason {
    /// The state of a block that is to be read for this reason.
    pub fn state(self) -> BlockState {
        match self {
            Self::Base => BlockState::Unsynced,
            Self::Resync => BlockState::Dirty,
        }
    }
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
    /// Since when.
    pub since: Tick,
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
    /// What of each claimed block cannot be read.
    holes: Box<[Holes]>,
    /// Blocks under way, by [`Reason`].
    blocks: [u64; 2],
    /// Claims under way, by [`Reader`].
    under_way: [u64; 2],
}

impl Claims {
    /// Room for `count` claims at a time.
    pub fn new(count: u64) -> Result<Self, OutOfMemory> {
        let slots = boxed_slice(count, || Ok(None))?;
        let holes = boxed_slice(count, || Ok(Holes::default()))?;
        Ok(Self { slots, holes, blocks: [0; 2], under_way: [0; 2] })
    }

    /// Bytes that room for `count` claims allocates.
    pub fn bytes(count: u64) -> u64 {
        slice_bytes::<Option<Claimed>>(count) + slice_bytes::<Holes>(count)
    }

    /// A claim under way.
    pub fn get(&self, id: ClaimId) -> Option<&Claimed> {
        self.slots.get(id.0)?.as_ref()
    }

    /// True if there is room for another claim.
    pub fn has_room(&self) -> bool {
        self.count() < self.slots.len() as u64
    }

    /// Notes a claim; `None` if there is no room.
    pub fn begin(
        &mut self,
        blocks: BlockRange,
        reader: Reader,
        reason: Reason,
        since: Tick,
    ) -> Option<ClaimId> {
        let index = self.slots.iter().position(Option::is_none)?;
        let spoiled = BlockRange::EMPTY;
        self.blocks[reason as usize] += blocks.len();
        self.under_way[reader as usize] += 1;
        *self.holes.get_mut(index)? = Holes::default();
        *self.slots.get_mut(index)? = Some(Claimed { blocks, reader, reason, since, spoiled });
        Some(ClaimId(index))
    }

    /// Ends a claim and tells what became of it.
    pub fn end(&mut self, id: ClaimId) -> Option<Claimed> {
        let claimed = self.slots.get_mut(id.0)?.take()?;
        self.blocks[claimed.reason as usize] -= claimed.blocks.len();
        self.under_way[claimed.reader as usize] -= 1;
        Some(claimed)
    }

    /// Notes that a sector of the claimed block, counted from the block's first, cannot be read; sectors come in
    /// order.
    pub fn add_hole(&mut self, id: ClaimId, sector: u64) {
        if let Some(holes) = self.holes.get_mut(id.0) {
            holes.add(sector);
        }
    }

    /// What of the block cannot be read. Stays until there is another claim by this name.
    pub fn holes(&self, id: ClaimId) -> Holes {
        self.holes.get(id.0).copied().unwrap_or_default()
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
        self.under_way[reader as usize]
    }

    /// True if nothing is being read.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// True if blocks are being read for `reason`.
    pub fn any_for(&self, reason: Reason) -> bool {
        self.blocks_for(reason) > 0
    }

    /// Number of blocks that are being read for `reason`.
    pub fn blocks_for(&self, reason: Reason) -> u64 {
        self.blocks[reason as usize]
    }

    fn count(&self) -> u64 {
        self.under_way.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::BlockIndex;

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn claims_end_with_what_was_spoiled() {
        let mut claims = Claims::new(2).unwrap();
        let a = claims.begin(blocks(0, 8), Reader::Sweep, Reason::Base, Tick(1)).unwrap();
        let b = claims.begin(blocks(8, 9), Reader::Hold, Reason::Resync, Tick(2)).unwrap();
        assert!(!claims.has_room() && !claims.is_empty());
        assert!(claims.begin(blocks(9, 10), Reader::Hold, Reason::Base, Tick(3)).is_none());
        assert_eq!((claims.blocks_for(Reason::Base), claims.blocks_for(Reason::Resync)), (8, 1));
        claims.spoil(&blocks(2, 3));
        claims.spoil(&blocks(5, 6));
        assert!(claims.count_by(Reader::Sweep) == 1 && claims.any_for(Reason::Base));
        assert_eq!(claims.end(a).unwrap().spoiled, blocks(2, 6));
        assert!(claims.count_by(Reader::Sweep) == 0 && !claims.any_for(Reason::Base));
        assert!(claims.end(b).unwrap().spoiled.is_empty());
        assert!(claims.is_empty());
    }

    #[test]
    fn holes_stay_with_their_claim_and_go_with_the_next() {
        let mut claims = Claims::new(2).unwrap();
        let begin = |claims: &mut Claims| {
            claims.begin(blocks(0, 1), Reader::Sweep, Reason::Base, Tick(0)).unwrap()
        };
        let (a, b) = (begin(&mut claims), begin(&mut claims));
        claims.add_hole(a, 7);
        claims.end(a).unwrap();
        assert_eq!((claims.holes(a).count(), claims.holes(b).count()), (1, 0));
        let a = begin(&mut claims);
        assert_eq!(claims.holes(a).count(), 0);
    }
}
