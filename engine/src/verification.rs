//! The verification of the copy: how far it has come, and when it may read.
//!
//! It reads what the stream describes already, in the order of the volume, one read at a time, and
//! appends it as [`Check`](snapless_types::RecordKind::Check) records. The blocks stay `Synced`, so
//! that no write waits for it and none is let through uncaptured because of it. A read is of no use
//! if a write may have reached its blocks meanwhile; then a shorter one is tried, and what writes
//! keep from being read again and again is passed over, and counted.

use snapless_types::{BlockIndex, BlockRange, Tick};

use crate::status::Status;

/// Tries of a run, each half as long as the one before, until its first block is passed over.
const TRIES_MAX: u32 = 8;
/// Ticks until a run is tried again that writes kept from being read.
const AGAIN_TICKS: u64 = 10 * Tick::PER_MS;

/// Ticks until it reads again after a read that failed for a reason that may pass.
const PUT_OFF_TICKS: u64 = 1_000 * Tick::PER_MS;

/// The verification that is under way, and what came of it or the last one.
#[derive(Debug, Default)]
pub struct Verification {
    pass: Option<Pass>,
    /// Bytes of the volume that were passed, whatever became of them.
    position: u64,
    read: u64,
    passed_over: u64,
    excluded: u64,
    /// Those that came to the end of the volume.
    passes: u64,
    /// Blocks that the host writes to past the session: the stream does not have that.
    apart: Option<BlockRange>,
}

/// A verification that is under way.
#[derive(Debug)]
struct Pass {
    /// The block to read next.
    cursor: BlockIndex,
    /// Bytes per second at most; 0 for no limit but the sweep's.
    rate: u64,
    /// When the next read may begin.
    due: Tick,
    /// Tries of the run at the cursor that came to nothing.
    tries: u32,
}

impl Verification {
    /// Begins at the start of the volume, at a rate of so many bytes per second at most.
    pub fn begin(&mut self, rate: u64, now: Tick) {
        let pass = Pass { cursor: BlockIndex(0), rate, due: now, tries: 0 };
        let Self { passes, apart, .. } = *self;
        *self = Self { pass: Some(pass), passes, apart, ..Self::default() };
    }

    /// From now on these blocks are not verified: the host writes to them past the session.
    pub fn keep_apart(&mut self, blocks: BlockRange) {
        self.apart = Some(blocks);
    }

    /// Cuts a run where the blocks begin or end that are kept apart. Returns its first part, and
    /// whether it is of those.
    pub fn cut(&self, run: BlockRange) -> (BlockRange, bool) {
        let apart = self.apart.map_or(BlockRange::EMPTY, |apart| apart.intersection(&run));
        if apart.is_empty() {
            (run, false)
        } else if apart.start == run.start {
            (apart, true)
        } else {
            (BlockRange::new(run.start, apart.start), false)
        }
    }

    /// Ends it where it is.
    pub fn end(&mut self) {
        self.pass = None;
    }

    /// True while one is under way.
    pub fn is_under_way(&self) -> bool {
        self.pass.is_some()
    }

    /// When the next read may begin; `None` if none is to be made.
    pub fn due(&self) -> Option<Tick> {
        self.pass.as_ref().map(|pass| pass.due)
    }

    /// The blocks to read next, no longer than `longest`: none behind the last block.
    pub fn next(&self, all: &BlockRange, longest: u64) -> BlockRange {
        let Some(pass) = &self.pass else { return BlockRange::EMPTY };
        let len = (longest >> pass.tries).max(1);
        let end = BlockIndex(pass.cursor.0.saturating_add(len));
        BlockRange::new(pass.cursor, end).intersection(all)
    }

    /// The end of the volume is reached.
    pub fn finish(&mut self) {
        self.passes += u64::from(self.pass.is_some());
        self.pass = None;
    }

    /// Notes that a read of so many bytes begins.
    pub fn begun(&mut self, bytes: u64, now: Tick) {
        let Some(pass) = &mut self.pass else { return };
        let ticks = u128::from(bytes) * u128::from(1_000 * Tick::PER_MS);
        let ticks = ticks.checked_div(u128::from(pass.rate)).unwrap_or(0);
        pass.due = pass.due.max(now).after(u64::try_from(ticks).unwrap_or(u64::MAX));
    }

    /// The stream has these blocks, of so many bytes. Nothing is noted if they are not those at the
    /// cursor: another verification has begun meanwhile.
    pub fn read(&mut self, blocks: &BlockRange, bytes: u64) {
        self.read += self.go_past(blocks, bytes);
    }

    /// These blocks are not verified.
    pub fn exclude(&mut self, blocks: &BlockRange, bytes: u64) {
        self.excluded += self.go_past(blocks, bytes);
    }

    /// These blocks cannot be read.
    pub fn pass_over(&mut self, blocks: &BlockRange, bytes: u64) {
        self.passed_over += self.go_past(blocks, bytes);
    }

    /// A write kept the run at the cursor from being read; true if its first block is to be passed
    /// over.
    pub fn is_kept_back(&mut self, now: Tick) -> bool {
        let Some(pass) = &mut self.pass else { return false };
        pass.tries += 1;
        pass.due = pass.due.max(now.after(AGAIN_TICKS));
        pass.tries >= TRIES_MAX
    }

    /// A read failed for a reason that may pass.
    pub fn put_off(&mut self, now: Tick) {
        if let Some(pass) = &mut self.pass {
            pass.due = pass.due.max(now.after(PUT_OFF_TICKS));
        }
    }

    /// Fills in what the status says of it.
    pub fn report(&self, status: &mut Status) {
        status.verifying = self.is_under_way();
        status.verify_position = self.position;
        status.verify_read = self.read;
        status.verify_passed_over = self.passed_over;
        status.verify_excluded = self.excluded;
        status.verify_passes = self.passes;
    }

    fn go_past(&mut self, blocks: &BlockRange, bytes: u64) -> u64 {
        let Some(pass) = self.pass.as_mut().filter(|pass| pass.cursor == blocks.start) else {
            return 0;
        };
        (pass.cursor, pass.tries) = (blocks.end, 0);
        self.position += bytes;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: BlockRange = BlockRange { start: BlockIndex(0), end: BlockIndex(100) };

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    fn status(of: &Verification) -> Status {
        let mut status = Status::default();
        of.report(&mut status);
        status
    }

    #[test]
    fn a_pass_goes_through_the_volume_and_counts_what_becomes_of_each_byte() {
        let mut it = Verification::default();
        assert!(it.next(&ALL, 16).is_empty() && it.due().is_none());
        it.begin(0, Tick(7));
        assert_eq!((it.next(&ALL, 16), it.due()), (blocks(0, 16), Some(Tick(7))));
        it.read(&blocks(0, 16), 1600);
        it.exclude(&blocks(16, 90), 7400);
        it.pass_over(&blocks(90, 91), 100);
        assert_eq!(it.next(&ALL, 16), blocks(91, 100));
        it.read(&blocks(91, 100), 850);
        assert!(it.next(&ALL, 16).is_empty());
        it.finish();
        let end = status(&it);
        assert_eq!((end.verifying, end.verify_passes, end.verify_position), (false, 1, 9950));
        let parts = (end.verify_read, end.verify_excluded, end.verify_passed_over);
        assert_eq!(parts, (2450, 7400, 100));
        it.begin(0, Tick(9));
        let anew = status(&it);
        assert_eq!((anew.verifying, anew.verify_passes, anew.verify_position), (true, 1, 0));
    }

    #[test]
    fn a_read_of_an_earlier_verification_is_not_noted() {
        let mut it = Verification::default();
        it.begin(0, Tick(0));
        it.read(&blocks(0, 16), 1600);
        it.begin(0, Tick(0));
        it.read(&blocks(16, 32), 1600);
        assert_eq!((status(&it).verify_position, it.next(&ALL, 4)), (0, blocks(0, 4)));
        it.end();
        it.read(&blocks(0, 4), 400);
        it.finish();
        assert_eq!((status(&it).verify_position, status(&it).verify_passes), (0, 0));
    }

    #[test]
    fn what_writes_keep_back_is_tried_again_shorter_and_later_and_then_passed_over() {
        let mut it = Verification::default();
        it.begin(0, Tick(0));
        let mut lens = [0; 7];
        for len in &mut lens {
            assert!(!it.is_kept_back(Tick(0)));
            *len = it.next(&ALL, 16).len();
        }
        assert_eq!(lens, [8, 4, 2, 1, 1, 1, 1]);
        assert_eq!(it.due(), Some(Tick(AGAIN_TICKS)));
        assert!(it.is_kept_back(Tick(0)));
        it.pass_over(&blocks(0, 1), 100);
        assert_eq!(it.next(&ALL, 16), blocks(1, 17));
    }

    #[test]
    fn blocks_that_the_host_writes_to_are_cut_out_of_every_verification() {
        let mut it = Verification::default();
        assert_eq!(it.cut(blocks(0, 16)), (blocks(0, 16), false));
        it.keep_apart(blocks(5, 7));
        it.begin(0, Tick(0));
        assert_eq!(it.cut(blocks(0, 16)), (blocks(0, 5), false));
        assert_eq!(it.cut(blocks(5, 16)), (blocks(5, 7), true));
        assert_eq!(it.cut(blocks(6, 7)), (blocks(6, 7), true));
        assert_eq!(it.cut(blocks(7, 16)), (blocks(7, 16), false));
    }

    #[test]
    fn a_rate_spaces_the_reads() {
        for (rate, ticks) in [(1 << 20, 5_000_000), (0, 0)] {
            let mut it = Verification::default();
            it.begin(rate, Tick(0));
            it.begun(1 << 19, Tick(3));
            assert_eq!(it.due(), Some(Tick(3 + ticks)));
        }
    }
}
