//! Epochs: which blocks the stream touched that the server has not acknowledged yet.
//!
//! One bitmap of touched blocks per unacknowledged epoch, a fixed number of epochs. When the
//! service or the link is lost, the union of the bitmaps is all that has to be read again (rules
//! LOSS and RESUME, rules.md#loss, rules.md#resume). On a large volume a bit stands for a granule
//! of several blocks: that costs reading a few blocks more after a loss, and keeps epochs small
//! beside the table.
//!
//! An acknowledgement and a loss only say so; [`Epochs::tidy`] then goes through the bitmaps, a
//! chunk at a time. An epoch's place is free again when its bitmap is clear, and no block is
//! recorded while a loss is being gone through.

use alloc::boxed::Box;

use snapless_fixed::bits::{self, PER_WORD};
use snapless_fixed::memory::{OutOfMemory, boxed_slice, slice_bytes};
use snapless_fixed::steps::Steps;
use snapless_types::{BlockIndex, BlockRange, End, EpochId, Made, Seq, Tick};

use crate::config::{CHUNK, Config};

#[derive(Debug)]
struct Epoch {
    /// Its last record, once it is closed.
    end: End,
    /// The same of an epoch that was here and was lost after the service had taken it: the server
    /// may have it.
    lost: End,
    touched: Box<[u64]>,
}

/// An acknowledgement of an epoch that the server cannot have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ImpossibleEpoch;

/// The open epoch and those that wait for their acknowledgement: consecutive ids.
#[derive(Debug)]
pub struct Epochs {
    /// Each epoch's place is its id modulo their count.
    slots: Box<[Epoch]>,
    /// The oldest that is not acknowledged.
    oldest_id: u64,
    open_id: u64,
    /// The oldest whose bitmap is not clear; `oldest_id` if there is none.
    uncleared_id: u64,
    /// The word of the bitmaps at which [`Epochs::tidy`] goes on.
    tidy_from: usize,
    /// The oldest that was lost, while a loss is being gone through.
    lost_id: Option<u64>,
    /// The last record of the newest acknowledged epoch.
    acknowledged: End,
    block_count: u64,
    /// Base-two logarithm of the blocks that a bit stands for.
    granule_shift: u32,
    /// When the open epoch got its first record.
    since: Option<Tick>,
    /// Payload bytes of the open epoch.
    payload: u64,
    /// Of these, bytes that the sweep has read.
    swept: u64,
    /// Ticks after `since` at which the open epoch closes.
    age_max: u64,
    /// Payload bytes at which the open epoch closes.
    payload_max: u64,
    /// Bytes of the sweep at which the open epoch closes.
    swept_max: u64,
    steps: Steps,
}

impl Epochs {
    /// Epochs (at least 2) over `block_count` blocks, with bitmaps rounded up to whole words; epoch
    /// 1 is open.
    pub fn new(block_count: u64, config: &Config) -> Result<Self, OutOfMemory> {
        let granule_shift = granule_shift(block_count, config.epoch_bitmap_bytes);
        let words = words(block_count, granule_shift);
        let slots = boxed_slice(config.epochs.max(2), || {
            let touched = boxed_slice(words, || Ok(0))?;
            Ok(Epoch { end: End::default(), lost: End::default(), touched })
        })?;
        Ok(Self {
            slots,
            oldest_id: 1,
            open_id: 1,
            uncleared_id: 1,
            tidy_from: 0,
            lost_id: None,
            acknowledged: End::default(),
            block_count,
            granule_shift,
            since: None,
            payload: 0,
            swept: 0,
            age_max: config.epoch_age,
            payload_max: config.epoch_bytes,
            swept_max: config.epoch_swept_bytes,
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
        self.acknowledged.seq
    }

    /// When the record was made that ends an epoch: the acknowledged one, one that is closed, or
    /// one that was lost after the service had taken it. `None` for any other record.
    pub fn end_made(&self, seq: Seq) -> Option<Made> {
        if seq == Seq::default() || seq == self.acknowledged.seq {
            return (seq == self.acknowledged.seq).then_some(self.acknowledged.made);
        }
        let ends = self.slots.iter().inspect(|_| self.steps.add(1));
        let mut ends = ends.flat_map(|epoch| [epoch.end, epoch.lost]);
        ends.find(|end| end.seq == seq).map(|end| end.made)
    }

    /// The records that a server's stream may end with: the acknowledged one, whose number is 0 if
    /// there is none, and those behind it that [`Epochs::end_made`] knows of, in no order.
    pub fn ends(&self) -> impl Iterator<Item = End> {
        let known = self.slots.iter().flat_map(|epoch| [epoch.end, epoch.lost]);
        let behind = known.filter(|end| end.seq > self.acknowledged.seq);
        core::iter::once(self.acknowledged).chain(behind)
    }

    /// Learns when the record was made that ends the stream of a session that continues.
    pub fn begin_behind(&mut self, made: Made) {
        self.acknowledged.made = made;
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

    /// Notes that the next record has so many bytes that the sweep has read. They keep the sweep's
    /// memory until the epoch is acknowledged: it closes early.
    pub fn note_swept(&mut self, bytes: u64) {
        self.swept += bytes;
        if self.swept >= self.swept_max {
            self.payload = self.payload.max(self.payload_max);
        }
    }

    fn touch(&mut self, blocks: BlockRange) {
        if blocks.is_empty() || sabotaged!(EpochForgotten) {
            return;
        }
        rule!(!self.is_losing(), "LOSS: no block is recorded while a loss is being gone through");
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

    /// True if the open epoch has a record.
    pub fn has_records(&self) -> bool {
        self.since.is_some()
    }

    /// When the open epoch is old enough to be closed. `None` for one that is due already: it waits
    /// for room in the queue, and is closed when there is room.
    pub fn deadline(&self, now: Tick) -> Option<Tick> {
        let due = self.since.filter(|_| self.can_close())?.after(self.age_max);
        (due > now).then_some(due)
    }

    /// True if another epoch can be opened after the open one.
    pub fn can_close(&self) -> bool {
        self.open_id - self.uncleared_id + 1 < self.slots.len() as u64
    }

    /// Closes the open epoch, whose last record is `last_seq`, and opens the next. Does nothing
    /// unless [`Epochs::can_close`].
    pub fn close(&mut self, last_seq: Seq, made: Made) {
        if !self.can_close() {
            return;
        }
        if let Some(epoch) = self.epoch(self.open_id) {
            epoch.end = End { seq: last_seq, made };
        }
        self.open(self.open_id + 1);
    }

    /// Notes that a closed epoch and all before it are durable; false if that was known, or the
    /// epoch was lost meanwhile. `drained` is the last record that the service has taken.
    ///
    /// # Errors
    /// [`ImpossibleEpoch`] for one that does not exist yet, is open, or has records that the
    /// service has not taken. Nothing changes.
    pub fn acknowledge(&mut self, id: EpochId, drained: Seq) -> Result<bool, ImpossibleEpoch> {
        let id = id.get();
        if id == 0 || id >= self.open_id {
            return Err(ImpossibleEpoch);
        }
        if id < self.oldest_id {
            return Ok(false);
        }
        let Some(end) = self.end_of(id).filter(|end| end.seq <= drained) else {
            return Err(ImpossibleEpoch);
        };
        self.acknowledged(id, end);
        Ok(true)
    }

    /// Notes that the closed epochs that end with record `seq` or before it are durable, and that
    /// record if it ends one that was lost. The service has taken that record.
    pub fn acknowledge_up_to(&mut self, seq: Seq) {
        for id in self.oldest_id..self.open_id {
            let Some(end) = self.end_of(id).filter(|end| end.seq <= seq) else {
                break;
            };
            self.acknowledged(id, end);
        }
        if seq > self.acknowledged.seq
            && let Some(made) = self.end_made(seq)
        {
            self.acknowledged = End { seq, made };
        }
    }

    /// The last record of a closed epoch.
    fn end_of(&mut self, id: u64) -> Option<End> {
        self.epoch(id).map(|epoch| epoch.end)
    }

    fn acknowledged(&mut self, id: u64, end: End) {
        self.acknowledged = end;
        self.oldest_id = id + 1;
    }

    /// Loses every epoch that is not acknowledged and opens a new one. [`Epochs::tidy`] tells which
    /// blocks they touched. `drained` is the last record that the service has taken.
    pub fn lose(&mut self, drained: Seq) {
        for id in self.oldest_id..self.open_id {
            if let Some(epoch) = self.epoch(id).filter(|epoch| epoch.end.seq <= drained) {
                epoch.lost = epoch.end;
            }
        }
        self.lost_id.get_or_insert(self.oldest_id);
        self.open(self.open_id + 1);
        self.oldest_id = self.open_id;
    }

    /// True until the blocks of every lost epoch are known.
    pub fn is_losing(&self) -> bool {
        self.lost_id.is_some()
    }

    /// True if an epoch that is not acknowledged, or that was lost and is not gone through, touched
    /// one of these blocks, or may have.
    pub fn has_touched(&self, blocks: BlockRange) -> bool {
        if blocks.is_empty() || sabotaged!(UnacknowledgedNotSaved) {
            return false;
        }
        let first = blocks.start.0 >> self.granule_shift;
        let last = (blocks.end.0 - 1) >> self.granule_shift;
        let oldest = self.lost_id.unwrap_or(self.oldest_id);
        // The open one is as old at least.
        let epochs = (oldest..=self.open_id).filter_map(|id| self.slots.get(self.place(id)?));
        epochs.into_iter().any(|epoch| {
            bits::words(first, last + 1).any(|(index, mask)| {
                self.steps.add(1);
                epoch.touched.get(index).is_some_and(|word| word & mask != 0)
            })
        })
    }

    /// Goes through some words of the bitmaps of acknowledged and lost epochs and clears them;
    /// calls `lost` with each run of blocks that a lost epoch touched. True if there is more to do.
    pub fn tidy(&mut self, mut lost: impl FnMut(BlockRange)) -> bool {
        let mut left = CHUNK;
        while left > 0 && self.uncleared_id < self.oldest_id {
            let examined = if self.lost_id == Some(self.uncleared_id) {
                self.tidy_lost(&mut lost)
            } else {
                self.clear_acknowledged(left)
            };
            self.steps.add(examined);
            left = left.saturating_sub(examined);
        }
        self.uncleared_id < self.oldest_id
    }

    /// Clears at most so many words of the oldest bitmap; returns how many.
    fn clear_acknowledged(&mut self, words: u64) -> u64 {
        let first = self.tidy_from;
        let Some(epoch) = self.epoch(self.uncleared_id) else { return words };
        let end =
            epoch.touched.len().min(first.saturating_add(usize::try_from(words).unwrap_or(0)));
        let is_last = end == epoch.touched.len();
        epoch.touched.get_mut(first..end).unwrap_or_default().fill(0);
        self.tidy_from = if is_last { 0 } else { end };
        self.uncleared_id += u64::from(is_last);
        (end - first) as u64
    }

    /// Takes the next granule that a lost epoch touched out of all bitmaps, or goes on to the next
    /// word; returns how many words that was, here and in the table.
    fn tidy_lost(&mut self, lost: &mut impl FnMut(BlockRange)) -> u64 {
        let index = self.tidy_from;
        let words = self.slots.iter().filter_map(|epoch| epoch.touched.get(index));
        let union = words.fold(0, |union, word| union | word);
        let examined = self.slots.len() as u64;
        if union == 0 {
            self.tidy_from += 1;
            if self.slots.first().is_none_or(|epoch| self.tidy_from >= epoch.touched.len()) {
                (self.tidy_from, self.uncleared_id, self.lost_id) = (0, self.oldest_id, None);
            }
            return examined;
        }
        let blocks = self.granule(index as u64 * PER_WORD + u64::from(union.trailing_zeros()));
        for word in self.slots.iter_mut().filter_map(|epoch| epoch.touched.get_mut(index)) {
            // All bits but the union's lowest.
            *word &= !union | (union - 1);
        }
        lost(blocks);
        2 * examined + blocks.len() / PER_WORD
    }

    fn open(&mut self, id: u64) {
        (self.open_id, self.since, self.payload, self.swept) = (id, None, 0, 0);
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
        let place = self.place(id)?;
        self.slots.get_mut(place)
    }

    fn place(&self, id: u64) -> Option<usize> {
        usize::try_from(id.checked_rem(self.slots.len() as u64)?).ok()
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

    fn made(time: u64) -> Made {
        Made { time, monotonic: Tick(2 * time) }
    }

    fn acknowledge(epochs: &mut Epochs, id: u64, drained: u64) -> Result<bool, ImpossibleEpoch> {
        epochs.acknowledge(EpochId::new(id), Seq::new(drained))
    }

    fn lost(epochs: &mut Epochs) -> Vec<u64> {
        lost_after(epochs, 0)
    }

    /// The service has taken the records up to this one.
    fn lost_after(epochs: &mut Epochs, drained: u64) -> Vec<u64> {
        let mut blocks = Vec::new();
        epochs.lose(Seq::new(drained));
        while epochs.tidy(|run| blocks.extend(run.iter().map(|block| block.0))) {
            assert!(epochs.is_losing());
        }
        assert!(!epochs.is_losing());
        blocks
    }

    #[test]
    fn the_end_that_the_server_may_have_is_known_whatever_follows_a_loss() {
        let mut epochs = epochs(2, 200, 1 << 20);
        epochs.close(Seq::new(10), made(10));
        lost_after(&mut epochs, 15);
        // In the place of the one that was lost.
        for last in [20, 30] {
            epochs.close(Seq::new(last), made(last));
            assert_eq!(epochs.end_made(Seq::new(10)), Some(made(10)));
            assert_eq!(epochs.end_made(Seq::new(last)), Some(made(last)));
            // No service has taken it.
            lost_after(&mut epochs, 15);
        }
        epochs.acknowledge_up_to(Seq::new(10));
        assert_eq!(epochs.acknowledged_seq(), Seq::new(10));
    }

    #[test]
    fn the_union_of_what_is_unacknowledged_is_lost() {
        let mut epochs = epochs(3, 200, 1 << 20);
        epochs.touch(blocks(0, 2));
        epochs.close(Seq::new(10), made(10));
        epochs.touch(blocks(1, 3));
        epochs.close(Seq::new(20), made(20));
        epochs.touch(blocks(63, 65));
        assert_eq!(epochs.open_id().get(), 3);
        assert_eq!(acknowledge(&mut epochs, 1, 10), Ok(true));
        assert_eq!(epochs.acknowledged_seq().get(), 10);
        assert_eq!(lost(&mut epochs), [1, 2, 63, 64]);
        assert_eq!(epochs.open_id().get(), 4);
        assert_eq!(lost(&mut epochs), []);
    }

    #[test]
    fn what_is_not_acknowledged_has_touched_its_blocks_and_what_is_lost_until_it_is_told() {
        let mut epochs = epochs(3, 200, 1 << 20);
        epochs.touch(blocks(0, 2));
        epochs.close(Seq::new(10), made(10));
        epochs.touch(blocks(63, 65));
        epochs.close(Seq::new(20), made(20));
        epochs.touch(blocks(150, 151));
        let touched = |epochs: &Epochs, start, end| epochs.has_touched(blocks(start, end));
        for (start, end) in [(0, 1), (1, 200), (64, 66), (0, 200), (150, 151)] {
            assert!(touched(&epochs, start, end), "{start}");
        }
        for (start, end) in [(2, 63), (65, 150), (151, 200), (5, 5)] {
            assert!(!touched(&epochs, start, end), "{start}");
        }
        assert_eq!(acknowledge(&mut epochs, 1, 10), Ok(true));
        assert!(!touched(&epochs, 0, 63) && touched(&epochs, 63, 64), "the first is durable");
        assert!(!epochs.tidy(|_| panic!("nothing was lost")));
        epochs.lose(Seq::default());
        assert!(touched(&epochs, 63, 64) && touched(&epochs, 150, 151) && !touched(&epochs, 0, 63));
        let mut told = Vec::new();
        while epochs.tidy(|run| told.extend(run.iter().map(|block| block.0))) {}
        assert_eq!(told, [63, 64, 150]);
        assert!(!touched(&epochs, 0, 200), "they are dirty now");
    }

    #[test]
    fn an_epoch_stays_open_until_there_is_room_for_the_next() {
        let mut epochs = epochs(2, 10, 1 << 20);
        epochs.close(Seq::new(1), made(1));
        assert!(!epochs.can_close());
        epochs.close(Seq::new(2), made(2));
        assert_eq!(epochs.open_id().get(), 2, "no epoch was free");
        epochs.touch(blocks(0, 10));
        assert_eq!(acknowledge(&mut epochs, 1, 1), Ok(true));
        assert!(!epochs.can_close(), "its bitmap is not clear");
        assert!(!epochs.tidy(|_| panic!("nothing was lost")));
        assert!(epochs.can_close());
        assert_eq!(acknowledge(&mut epochs, 1, 1), Ok(false), "it was known");
    }

    #[test]
    fn an_epoch_that_the_server_cannot_have_is_refused_and_changes_nothing() {
        let mut epochs = epochs(3, 10, 1 << 20);
        epochs.close(Seq::new(5), made(5));
        for (id, drained) in [(0, 9), (2, 9), (3, 9), (u64::MAX, 9), (1, 4)] {
            assert_eq!(acknowledge(&mut epochs, id, drained), Err(ImpossibleEpoch), "{id}");
        }
        assert_eq!((epochs.acknowledged_seq().get(), epochs.open_id().get()), (0, 2));
        assert_eq!(lost(&mut epochs), []);
        assert_eq!(acknowledge(&mut epochs, 1, 5), Ok(false), "it was lost");
        assert_eq!(epochs.acknowledged_seq().get(), 0);
    }

    #[test]
    fn it_is_known_when_an_epoch_ended_until_too_many_have_followed() {
        let mut epochs = epochs(4, 10, 1 << 20);
        let known = |epochs: &Epochs, seq| epochs.end_made(Seq::new(seq));
        assert_eq!(known(&epochs, 0), Some(Made::default()), "nothing is acknowledged");
        epochs.begin_behind(made(9));
        assert_eq!(known(&epochs, 0), Some(made(9)));
        for seq in [10, 20] {
            epochs.close(Seq::new(seq), made(seq));
        }
        assert_eq!((known(&epochs, 10), known(&epochs, 20)), (Some(made(10)), Some(made(20))));
        assert_eq!(acknowledge(&mut epochs, 1, 20), Ok(true));
        assert_eq!((known(&epochs, 0), known(&epochs, 10)), (None, Some(made(10))));
        assert_eq!(known(&epochs, 15), None, "it ends no epoch");
        // Its last records may have arrived.
        assert_eq!(lost(&mut epochs), []);
        assert_eq!(known(&epochs, 20), Some(made(20)));
        let ends = |epochs: &Epochs| epochs.ends().map(|end| end.seq.get()).collect::<Vec<_>>();
        assert_eq!(ends(&epochs), [10, 20]);
        epochs.acknowledge_up_to(Seq::new(20));
        assert_eq!((known(&epochs, 20), epochs.acknowledged_seq().get()), (Some(made(20)), 20));
        assert_eq!(ends(&epochs), [20]);
        for seq in [30, 40, 50] {
            epochs.close(Seq::new(seq), made(seq));
            lost(&mut epochs);
        }
        assert_eq!(known(&epochs, 20), Some(made(20)), "it is the acknowledged one");
    }

    #[test]
    fn a_loss_is_gone_through_in_chunks_and_an_acknowledged_epoch_is_not_part_of_it() {
        let mut epochs = epochs(3, 64 * 100, 1 << 20);
        epochs.touch(blocks(0, 6400));
        epochs.close(Seq::new(1), made(1));
        epochs.touch(blocks(5, 7));
        epochs.touch(blocks(6399, 6400));
        // The acknowledged bitmap is not clear yet.
        assert_eq!(acknowledge(&mut epochs, 1, 1), Ok(true));
        assert!(epochs.tidy(|_| panic!("nothing was lost")));
        assert_eq!(lost(&mut epochs), [5, 6, 6399]);
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
        epochs.close(Seq::new(3), made(3));
        assert!(epochs.record(BlockRange::EMPTY, 100, Tick(20)));
        assert!(!epochs.is_due(Tick(100)), "no epoch is free");
        assert_eq!(epochs.deadline(Tick(21)), None);
    }

    #[test]
    fn an_epoch_is_due_by_what_the_sweep_has_read_of_it() {
        let config = Config { epoch_swept_bytes: 10, ..config(3, 8) };
        let mut epochs = Epochs::new(10, &config).unwrap();
        for _ in 0..2 {
            epochs.note_swept(9);
            epochs.record(blocks(0, 1), 9, Tick(1));
            assert!(!epochs.is_due(Tick(1)));
            epochs.note_swept(1);
            epochs.record(blocks(1, 2), 1, Tick(1));
            assert!(epochs.is_due(Tick(1)));
            epochs.close(Seq::new(3), made(3));
        }
    }
}
