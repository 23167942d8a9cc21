//! Epochs: which blocks the stream touched that the server has not acknowledged yet.
//!
//! One bitmap of touched blocks per unacknowledged epoch, a fixed number of epochs. When the
//! service or the link is lost, the union of the bitmaps is all that has to be read again (rules
//! LOSS and RESUME, rules.md#loss, rules.md#resume). On a large volume a bit stands for a granule
//! of several blocks: that costs reading a few blocks more after a loss, and keeps epochs small
//! beside the table.

use alloc::boxed::Box;

use snapless_types::{BlockIndex, BlockRange, EpochId, Seq};

use crate::bits::{self, PER_WORD};
use crate::config::Config;
use crate::host::Tick;
use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};
use crate::steps::Steps;

#[derive(Debug)]
struct Epoch {
    /// Number of its last record, once it is closed.
    last_seq: Seq,
    touched: Box<[u64]>,
}

/// The open epoch and those that wait for their acknowledgement: consecutive ids.
#[derive(Debug)]
pub struct Epochs {
    /// Each epoch's place is its id modulo their count.
    slots: Box<[Epoch]>,
    /// The oldest that is not acknowledged.
    oldest_id: u64,
    open_id: u64,
    acknowledged_seq: Seq,
    block_count: u64,
    /// Base-two logarithm of the blocks that a bit stands for.
    granule_shift: u32,
    /// When the open epoch got its first record.
    since: Option<Tick>,
    /// Payload bytes of the open epoch.
    payload: u64,
    /// Ticks after `since` at which the open epoch closes.
    age_max: u64,
    /// Payload bytes at which the open epoch closes.
    payload_max: u64,
    steps: Steps,
}

impl Epochs {
    /// Epochs (at least 2) over `block_count` blocks, with bitmaps rounded up to whole words; epoch
    /// 1 is open.
    pub fn new(block_count: u64, config: &Config) -> Result<Self, OutOfMemory> {
        let granule_shift = granule_shift(block_count, config.epoch_bitmap_bytes);
        let words = words(block_count, granule_shift);
        let slots = boxed_slice(config.epochs.max(2), || {
            Ok(Epoch { last_seq: Seq::default(), touched: boxed_slice(words, || Ok(0))? })
        })?;
        Ok(Self {
            slots,
            oldest_id: 1,
            open_id: 1,
            acknowledged_seq: Seq::default(),
            block_count,
            granule_shift,
            since: None,
            payload: 0,
            age_max: config.epoch_age,
            payload_max: config.epoch_bytes,
            steps: Steps::default(),
        })
    }

    /// Bytes that [`Epochs::new`] allocates.
    pub fn bytes(block_count: u64, config: &Config) -> u64 {
        let words = words(block_count, granule_shift(block_count, config.epoch_bitmap_bytes));
        let count = config.epochs.max(2);
        slice_bytes::<Epoch>(count) + count * slice_bytes::<u64>(words)
    }

    /// Id of the open epoch.
    pub fn open_id(&self) -> EpochId {
        EpochId::new(self.open_id)
    }

    /// The last record of the newest acknowledged epoch; 0 if there is none.
    pub fn acknowledged_seq(&self) -> Seq {
        self.acknowledged_seq
    }

    /// Notes that the open epoch has a record about these blocks, or a marker if there are none;
    /// true if it is the epoch's first.
    #[inline]
    pub fn record(&mut self, blocks: BlockRange, payload: u64, now: Tick) -> bool {
        self.touch(blocks);
        self.payload += payload;
        let is_first = self.since.is_none();
        self.since.get_or_insert(now);
        is_first
    }

    fn touch(&mut self, blocks: BlockRange) {
        if blocks.is_empty() || sabotaged!(EpochForgotten) {
            return;
        }
        let first = blocks.start.0 >> self.granule_shift;
        let last = (blocks.end.0 - 1) >> self.granule_shift;
        let mut words = 0;
        let Some(epoch) = self.epoch(self.open_id) else { return };
        // Word by word: a trim may touch millions of blocks.
        for (index, bits) in bits::words(first, last + 1) {
            words += 1;
            if let Some(word) = epoch.touched.get_mut(index) {
                *word |= bits;
            }
        }
        self.steps.add(words);
    }

    /// True if the open epoch is old or large enough to be closed, and can be.
    #[inline]
    pub fn is_due(&self, now: Tick) -> bool {
        let Some(since) = self.since else { return false };
        (now.since(since) >= self.age_max || self.payload >= self.payload_max) && self.can_close()
    }

    /// When the open epoch is old enough to be closed. `None` for one that is due already: it waits
    /// for room in the queue, and is closed when there is room.
    pub fn deadline(&self, now: Tick) -> Option<Tick> {
        let due = self.since.filter(|_| self.can_close())?.after(self.age_max);
        (due > now).then_some(due)
    }

    /// True if another epoch can be opened after the open one.
    pub fn can_close(&self) -> bool {
        self.open_id - self.oldest_id + 1 < self.slots.len() as u64
    }

    /// Closes the open epoch, whose last record is `last_seq`, and opens the next. Does nothing
    /// unless [`Epochs::can_close`].
    pub fn close(&mut self, last_seq: Seq) {
        if !self.can_close() {
            return;
        }
        if let Some(epoch) = self.epoch(self.open_id) {
            epoch.last_seq = last_seq;
        }
        self.open(self.open_id + 1);
    }

    /// Frees every closed epoch up to `id`; true if there was one.
    pub fn acknowledge(&mut self, id: EpochId) -> bool {
        let before = self.oldest_id;
        while self.oldest_id <= id.get() && self.oldest_id < self.open_id {
            let Some(epoch) = self.epoch(self.oldest_id) else { break };
            epoch.touched.fill(0);
            let words = epoch.touched.len() as u64;
            self.acknowledged_seq = epoch.last_seq;
            self.steps.add(words);
            self.oldest_id += 1;
        }
        self.oldest_id > before
    }

    /// Frees every epoch, calls `lost` with each run of blocks that one of them touched, and opens
    /// a new one.
    pub fn lose(&mut self, mut lost: impl FnMut(BlockRange)) {
        let words = self.slots.first().map_or(0, |epoch| epoch.touched.len());
        self.steps.add((words * self.slots.len()) as u64);
        for index in 0..words {
            let touched = self.slots.iter_mut().filter_map(|epoch| epoch.touched.get_mut(index));
            let mut union = touched.map(core::mem::take).fold(0, |union, word| union | word);
            while union != 0 {
                let granule = index as u64 * PER_WORD + u64::from(union.trailing_zeros());
                lost(self.granule(granule));
                union &= union - 1;
            }
        }
        self.open(self.open_id + 1);
        self.oldest_id = self.open_id;
    }

    fn open(&mut self, id: u64) {
        (self.open_id, self.since, self.payload) = (id, None, 0);
    }

    /// Words of bitmaps examined so far.
    #[cfg(debug_assertions)]
    pub fn steps(&self) -> u64 {
        self.steps.get()
    }

    fn granule(&self, granule: u64) -> BlockRange {
        let block =
            |granule: u64| BlockIndex((granule << self.granule_shift).min(self.block_count));
        BlockRange::new(block(granule), block(granule + 1))
    }

    fn epoch(&mut self, id: u64) -> Option<&mut Epoch> {
        let place = id.checked_rem(self.slots.len() as u64)?;
        self.slots.get_mut(usize::try_from(place).ok()?)
    }
}

/// The smallest granule with which a bitmap of `bitmap_bytes` covers all blocks.
fn granule_shift(block_count: u64, bitmap_bytes: u64) -> u32 {
    let bits = bitmap_bytes.saturating_mul(8).max(1);
    block_count.div_ceil(bits).max(1).next_power_of_two().trailing_zeros()
}

fn words(block_count: u64, granule_shift: u32) -> u64 {
    block_count.div_ceil(1 << granule_shift).div_ceil(PER_WORD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn blocks(start: u64, end: u64) -> BlockRange {
        BlockRange::new(BlockIndex(start), BlockIndex(end))
    }

    fn epochs(count: u64, block_count: u64, bitmap_bytes: u64) -> Epochs {
        Epochs::new(block_count, &config(count, bitmap_bytes)).unwrap()
    }

    fn config(epochs: u64, epoch_bitmap_bytes: u64) -> Config {
        Config { epochs, epoch_bitmap_bytes, ..Config::new(1 << 20) }
    }

    fn lost(epochs: &mut Epochs) -> Vec<u64> {
        let mut blocks = Vec::new();
        epochs.lose(|run| blocks.extend(run.iter().map(|block| block.0)));
        blocks
    }

    #[test]
    fn the_union_of_what_is_unacknowledged_is_lost() {
        let mut epochs = epochs(3, 200, 1 << 20);
        epochs.touch(blocks(0, 2));
        epochs.close(Seq::new(10));
        epochs.touch(blocks(1, 3));
        epochs.close(Seq::new(20));
        epochs.touch(blocks(63, 65));
        assert_eq!(epochs.open_id().get(), 3);
        assert!(epochs.acknowledge(EpochId::new(1)));
        assert_eq!(epochs.acknowledged_seq().get(), 10);
        assert_eq!(lost(&mut epochs), [1, 2, 63, 64]);
        assert_eq!(epochs.open_id().get(), 4);
        assert_eq!(lost(&mut epochs), []);
    }

    #[test]
    fn an_epoch_stays_open_until_there_is_room_for_the_next() {
        let mut epochs = epochs(2, 10, 1 << 20);
        epochs.close(Seq::new(1));
        assert!(!epochs.can_close());
        epochs.close(Seq::new(2));
        assert_eq!(epochs.open_id().get(), 2, "no epoch was free");
        assert!(epochs.acknowledge(EpochId::new(7)), "only closed epochs are freed");
        assert_eq!(epochs.open_id().get(), 2);
        assert!(epochs.can_close());
        assert!(!epochs.acknowledge(EpochId::new(7)));
    }

    #[test]
    fn a_short_bitmap_loses_whole_granules_inside_the_volume() {
        // 8 bits for 43 blocks: a bit for 8 blocks, the last for 3.
        let mut epochs = epochs(2, 43, 1);
        epochs.touch(blocks(7, 9));
        epochs.touch(blocks(42, 43));
        epochs.touch(blocks(20, 20));
        assert_eq!(lost(&mut epochs), (0..16).chain(40..43).collect::<Vec<_>>());
        assert_eq!(Epochs::bytes(43, &config(2, 1)), 2 * (size_of::<Epoch>() as u64 + 8));
    }

    #[test]
    fn granules_are_no_larger_than_they_have_to_be() {
        assert_eq!((granule_shift(8, 1), granule_shift(9, 1)), (0, 1));
        assert_eq!((granule_shift(16, 1), granule_shift(17, 1)), (1, 2));
        assert_eq!(granule_shift(u64::MAX >> 14, 8 << 20), 24);
    }

    #[test]
    fn an_epoch_is_due_by_its_age_or_its_payload_once_it_has_a_record() {
        let config = Config { epoch_age: 5, epoch_bytes: 100, ..config(2, 8) };
        let mut epochs = Epochs::new(10, &config).unwrap();
        assert!(!epochs.is_due(Tick(1_000)), "it has no record");
        assert!(epochs.record(BlockRange::EMPTY, 0, Tick(10)));
        assert!(!epochs.record(blocks(0, 1), 99, Tick(12)), "it is not the first");
        assert_eq!((epochs.is_due(Tick(14)), epochs.deadline(Tick(14))), (false, Some(Tick(15))));
        assert_eq!((epochs.is_due(Tick(15)), epochs.deadline(Tick(15))), (true, None));
        epochs.record(blocks(0, 1), 1, Tick(12));
        assert!(epochs.is_due(Tick(12)));
        epochs.close(Seq::new(3));
        assert!(epochs.record(BlockRange::EMPTY, 100, Tick(20)));
        assert!(!epochs.is_due(Tick(100)), "no epoch is free");
        assert_eq!(epochs.deadline(Tick(21)), None);
    }
}
