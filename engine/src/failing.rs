//! Reads that fail: what is read one block at a time, and when a reader reads again.
//!
//! A run with a bad sector is read again block by block, so that only the bad block is read sector
//! by sector. What is read one at a time shrinks as its blocks are captured.
//!
//! A failure that may pass (no memory, a device that is offline) says nothing of the blocks. Their
//! reader waits before it reads again: twice as long after each such failure, up to a limit, until
//! a read of it succeeds.

use snapless_tracking::claims::Reader;
use snapless_types::{BlockIndex, BlockRange, Tick};

/// How long a reader waits after the first failure that may pass.
const FIRST_WAIT: u64 = 2 * Tick::PER_MS;
/// The longest wait of the sweep and of the hold thread: writes wait for the latter.
const LONGEST_WAIT: [u64; 2] = [1_000 * Tick::PER_MS, 50 * Tick::PER_MS];

/// What is known of the failed reads of each [`Reader`].
#[derive(Debug)]
pub struct Failing([OfReader; 2]);

#[derive(Clone, Copy, Debug)]
struct OfReader {
    /// The rest of the last run with a bad sector.
    singly: BlockRange,
    /// The last wait; 0 if the last read did not fail for a reason that may pass.
    wait: u64,
    again: Tick,
}

impl Failing {
    /// No read has failed.
    pub const NONE: Self = Self([OfReader::NONE; 2]);

    /// Notes that a run has a bad sector.
    pub fn has_bad_sector(&mut self, reader: Reader, blocks: BlockRange) {
        self.of_mut(reader).singly = blocks;
    }

    /// Notes that a read failed for a reason that may pass.
    pub fn put_off(&mut self, reader: Reader, now: Tick) {
        let of = self.of_mut(reader);
        of.wait = (of.wait * 2).clamp(FIRST_WAIT, LONGEST_WAIT[reader as usize]);
        of.again = now.after(of.wait);
    }

    /// Notes that blocks are captured.
    pub fn captured(&mut self, reader: Reader, blocks: &BlockRange) {
        self.of_mut(reader).wait = 0;
        for OfReader { singly, .. } in &mut self.0 {
            if blocks.start <= singly.start {
                *singly = BlockRange::new(singly.start.max(blocks.end), singly.end);
            } else if blocks.end >= singly.end {
                *singly = BlockRange::new(singly.start, singly.end.min(blocks.start));
            }
        }
    }

    /// True if the last read of this reader failed for a reason that may pass.
    pub fn is_put_off(&self, reader: Reader) -> bool {
        self.of(reader).wait > 0
    }

    /// When this reader may read again; `None` if now.
    pub fn due(&self, reader: Reader, now: Tick) -> Option<Tick> {
        let of = self.of(reader);
        (of.wait > 0 && now < of.again).then_some(of.again)
    }

    /// The first blocks of a run that are read together.
    pub fn cut(&self, run: BlockRange) -> BlockRange {
        self.0.iter().fold(run, |run, OfReader { singly, .. }| {
            let end = if singly.is_empty() {
                run.end
            } else if singly.intersects(&BlockRange::one(run.start)) {
                BlockIndex(run.start.0 + 1)
            } else if singly.intersects(&run) {
                singly.start
            } else {
                run.end
            };
            BlockRange::new(run.start, run.end.min(end))
        })
    }

    fn of(&self, reader: Reader) -> &OfReader {
        let [sweep, hold] = &self.0;
        match reader {
            // The verification waits by itself.
            Reader::Sweep | Reader::Verify => sweep,
            Reader::Hold => hold,
        }
    }

    fn of_mut(&mut self, reader: Reader) -> &mut OfReader {
        let [sweep, hold] = &mut self.0;
        match reader {
            // The verification waits by itself.
            Reader::Sweep | Reader::Verify => sweep,
            Reader::Hold => hold,
        }
    }
}

impl OfReader {
    const NONE: Self = Self { singly: BlockRange::EMPTY, wait: 0, again: Tick(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use Reader::{Hold, Sweep};
    use alloc::vec::Vec;

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    #[test]
    fn a_run_with_a_bad_sector_is_read_singly_until_it_is_captured() {
        let mut failing = Failing::NONE;
        assert_eq!(failing.cut(blocks(0, 20)), blocks(0, 20));
        failing.has_bad_sector(Sweep, blocks(4, 8));
        failing.has_bad_sector(Hold, blocks(10, 12));
        let cuts = |failing: &Failing| {
            [0, 4, 7, 8, 11, 12].map(|start| failing.cut(blocks(start, 20)).end.0)
        };
        assert_eq!(cuts(&failing), [4, 5, 8, 10, 12, 20]);
        failing.captured(Hold, &blocks(7, 8));
        failing.captured(Sweep, &blocks(4, 5));
        assert_eq!(cuts(&failing), [5, 5, 10, 10, 12, 20], "both ends shrink");
        failing.captured(Sweep, &blocks(5, 7));
        failing.captured(Sweep, &blocks(8, 16));
        assert_eq!(cuts(&failing), [20; 6]);
    }

    #[test]
    fn a_reader_waits_longer_after_each_failure_up_to_its_limit_until_one_succeeds() {
        let mut failing = Failing::NONE;
        let now = Tick(7);
        let waits = |reader, failing: &mut Failing| -> Vec<u64> {
            let waits = (0..12).map(|_| {
                failing.put_off(reader, now);
                failing.due(reader, now).map_or(0, |due| due.since(now) / Tick::PER_MS)
            });
            waits.collect()
        };
        assert_eq!(
            waits(Sweep, &mut failing),
            [2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 1000, 1000]
        );
        assert_eq!(failing.due(Hold, now), None, "each reader for itself");
        assert_eq!(waits(Hold, &mut failing)[3..7], [16, 32, 50, 50]);
        assert_eq!(failing.due(Hold, now.after(50 * Tick::PER_MS)), None);
        assert!(failing.is_put_off(Hold), "it has not succeeded yet");
        failing.captured(Hold, &blocks(0, 1));
        assert!(!failing.is_put_off(Hold) && failing.is_put_off(Sweep));
        assert_eq!(failing.due(Hold, now), None);
        failing.put_off(Hold, now);
        assert_eq!(failing.due(Hold, now), Some(now.after(2 * Tick::PER_MS)));
    }
}
