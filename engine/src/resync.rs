//! Resync against writers: who goes first where a block is dirty.
//!
//! A dirty block is read again when no write in flight touches it; read under one, it would give
//! either content (rule LOSS, rules.md#loss). So that the resync ends, and no write waits longer
//! than the hold limit:
//!
//! 1. A write to dirty blocks is issued at once, uncaptured: its blocks are read later in any case.
//! 2. When the sweep finds only dirty blocks that writes in flight keep from it, the resync
//!    insists: such writes are held from then on, until the stream describes the volume again.
//! 3. A write so held of whose blocks one stays dirty past the hold limit, because urgent writes
//!    keep it from being read, is issued uncaptured (rule HANG, rules.md#hang). The gap is open
//!    already.

use snapless_tracking::config::{CHUNK, Config};
use snapless_tracking::in_flight::{HeldWrite, InFlight};
use snapless_tracking::table::{BlockState, Table};
use snapless_tracking::waiting::Fifo;
use snapless_types::{BlockIndex, BlockRange, Tick};

/// The dirty blocks that one search may pass because a write in flight touches them.
#[derive(Debug)]
pub struct Passes {
    left: u64,
    /// The block after the last one that was passed.
    reached: BlockIndex,
}

impl Passes {
    /// As many as one call of a verb looks at while it holds the lock.
    const MAX: u64 = CHUNK / 2;

    /// None passed yet.
    pub fn new() -> Self {
        Self { left: Self::MAX, reached: BlockIndex(0) }
    }
}

/// Whether the resync or writers go first.
#[derive(Debug)]
pub struct Resync {
    insists: bool,
    /// Dirty blocks that the sweep has passed since it last found one to read.
    passed: u64,
    hold_limit: u64,
}

impl Resync {
    /// Writers go first.
    pub fn new(config: &Config) -> Self {
        Self { insists: false, passed: 0, hold_limit: config.hold_limit }
    }

    /// Sets whether the resync goes first: it does if the sweep found only dirty blocks that it may
    /// not read.
    pub fn insist(&mut self, insists: bool) {
        (self.insists, self.passed) = (insists, 0);
    }

    /// Notes that the sweep found blocks to read.
    pub fn found(&mut self) {
        self.passed = 0;
    }

    /// Notes that the sweep found nothing to read among all blocks, of which `dirty` are dirty. If
    /// it passed so many of them that it has to look again, returns where it goes on.
    pub fn found_none(&mut self, passes: &Passes, dirty: u64) -> Option<BlockIndex> {
        self.passed += Passes::MAX - passes.left;
        if passes.left == 0 && self.passed < dirty {
            return Some(passes.reached);
        }
        self.insist(dirty > 0);
        None
    }

    /// True if a write to these blocks is issued at once, uncaptured: the sweep reads all of them
    /// later, and no held write waits for them. `base_is_lost`: t0's content of another block is
    /// lost, so the stream needs t0's content of no block any more.
    pub fn yields_to<W, Q: Fifo<W>>(
        &self,
        blocks: &BlockRange,
        table: &Table,
        in_flight: &InFlight<W, Q>,
        base_is_lost: bool,
    ) -> bool {
        let is_read_later = table.all(*blocks, BlockState::Dirty)
            || base_is_lost && table.all(*blocks, BlockState::Unsynced);
        is_read_later && !self.insists && !in_flight.holds(blocks)
    }

    /// The first dirty blocks of a range that may be read: as many of the run that `run` gives for
    /// a block as no write in flight touches. Passes no more blocks than it may.
    pub fn first_readable<W, Q: Fifo<W>>(
        range: BlockRange,
        table: &Table,
        in_flight: &InFlight<W, Q>,
        passes: &mut Passes,
        run: impl Fn(BlockIndex) -> BlockRange,
    ) -> Option<BlockRange> {
        let is_still = |block: &BlockIndex| {
            sabotaged!(ResyncUnderWrites) || !in_flight.may_touch(&BlockRange::one(*block))
        };
        let mut rest = range;
        while passes.left > 0
            && let Some(start) = table.find(rest, BlockState::Dirty)
        {
            let still = run(start).iter().take_while(is_still).count() as u64;
            if still > 0 {
                return Some(BlockRange::new(start, BlockIndex(start.0 + still)));
            }
            passes.left -= 1;
            rest = BlockRange::new(BlockIndex(start.0 + 1), range.end);
            passes.reached = rest.start;
        }
        None
    }

    /// The oldest held write that waits for no other one and that the resync keeps, if it has been
    /// held as long as it may.
    pub fn late<W, Q: Fifo<W>>(
        &self,
        is_kept: impl Fn(BlockRange) -> bool,
        in_flight: &InFlight<W, Q>,
        now: Tick,
    ) -> Option<HeldWrite> {
        in_flight.first_unblocked(is_kept).filter(|held| self.due(held) <= now)
    }

    /// When [`Resync::late`] has to be called again. A write that is late already waits for
    /// something that wakes the dispatch thread.
    pub fn deadline<W, Q: Fifo<W>>(
        &self,
        is_kept: impl Fn(BlockRange) -> bool,
        in_flight: &InFlight<W, Q>,
        now: Tick,
    ) -> Option<Tick> {
        let kept = in_flight.held().filter(|held| is_kept(held.change.blocks));
        kept.map(|held| self.due(&held)).find(|&due| due > now)
    }

    fn due(&self, held: &HeldWrite) -> Tick {
        held.since.after(self.hold_limit)
    }
}
