//! A region of the capture queue's memory: contiguous ranges, given back in any order (rule BOUND,
//! rules.md#bound).
//!
//! The engine never touches the bytes. It hands out [`MemoryRange`]s, and the host maps them to its
//! own buffer. A range has one holder, or two that only read it ([`Arena::share`]). When the last
//! one has given it back it is free at once, and free neighbours are one run: a range that is held
//! for seconds keeps no other from use.
//!
//! Memory is handed out in granules. The account is a tag for each granule; the tags of a run's
//! first and last granule say how long it is, so that a range finds the free runs beside it. Free
//! runs of about the same length are a list, and a bit for each list says whether it has one. So
//! taking and giving back take the same few steps however many ranges there are, and allocate
//! nothing.

use alloc::boxed::Box;

use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};

/// Bytes of a granule, the unit of memory: a page, and the most frequent length of a write.
pub const GRANULE: u64 = 4096;

/// Lengths below so many granules have a list each; longer ones share one with lengths that are
/// less than an eighth longer.
const EXACT: u32 = 8;
/// Lists for all lengths of 32 bits.
const LISTS: u32 = EXACT * (u32::BITS - EXACT.ilog2() + 1);
/// Runs of the request's own list that are tried: they may be too short. All longer lists fit.
const TRIES: usize = 4;
/// No granule.
const NONE: u32 = u32::MAX;

/// A range of the queue's memory; it belongs to the holder of this value.
#[must_use = "a range that is not given back is lost to the queue"]
#[derive(Debug)]
pub struct MemoryRange {
    span: MemorySpan,
}

impl MemoryRange {
    /// Where it is.
    pub fn span(&self) -> MemorySpan {
        self.span
    }
}

/// A range of bytes of the host's buffer.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct MemorySpan {
    /// The first byte.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

impl MemorySpan {
    /// The part that begins `skip` bytes in and has `len` bytes, cut at the span's end.
    #[must_use]
    pub fn part(self, skip: u64, len: u64) -> Self {
        let skip = skip.min(self.len);
        Self { offset: self.offset + skip, len: len.min(self.len - skip) }
    }
}

/// Which end of a free run a range is taken from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The first granules.
    Low,
    /// The last granules: for ranges that are held longer than others, so that they lie together.
    High,
}

/// What is known of a granule that is a run's first or last one; of others nothing.
#[derive(Clone, Copy, Default, Debug)]
struct Tag {
    /// Granules of the free run; 0 if the run is not free.
    len: u32,
    /// The neighbours of a free run in its list, at its first granule.
    previous: u32,
    next: u32,
    /// The range that begins here has two holders.
    is_shared: bool,
}

/// The account of a region of the queue's memory.
#[derive(Debug)]
pub struct Arena {
    /// The region's first byte in the host's buffer.
    base: u64,
    granules: u32,
    /// Granules that are not free.
    used: u32,
    /// One for each granule.
    tags: Box<[Tag]>,
    /// The first granule of each list's first run.
    lists: Box<[u32]>,
    /// A bit for each list that has a run.
    present: [u64; LISTS.div_ceil(u64::BITS) as usize],
}

impl Arena {
    /// `capacity` bytes from `base` on, in whole granules.
    pub fn new(base: u64, capacity: u64) -> Result<Self, OutOfMemory> {
        let granules = granules_of(capacity);
        let mut arena = Self {
            base,
            granules,
            used: 0,
            tags: boxed_slice(u64::from(granules), || Ok(Tag::default()))?,
            lists: boxed_slice(u64::from(LISTS), || Ok(NONE))?,
            present: [0; LISTS.div_ceil(u64::BITS) as usize],
        };
        arena.insert(0, granules);
        Ok(arena)
    }

    /// Bytes that the account of `capacity` bytes allocates.
    pub fn bytes(capacity: u64) -> u64 {
        slice_bytes::<Tag>(u64::from(granules_of(capacity))) + slice_bytes::<u32>(u64::from(LISTS))
    }

    /// Bytes of the region.
    pub fn capacity(&self) -> u64 {
        u64::from(self.granules) * GRANULE
    }

    /// Bytes that are not free.
    pub fn used(&self) -> u64 {
        u64::from(self.used) * GRANULE
    }

    /// Takes a contiguous range of `len` bytes; `None` if none is free now.
    #[inline]
    pub fn take(&mut self, len: u64, end: End) -> Option<MemoryRange> {
        let granules =
            u32::try_from(len.div_ceil(GRANULE)).ok().filter(|&granules| granules > 0)?;
        let Some(run) = self.find(granules) else {
            let doubly = sabotaged!(MemoryHandedOutTwice) && granules <= self.granules;
            return doubly.then(|| self.range(0, granules, len));
        };
        let left = self.remove(run) - granules;
        let (first, rest) = match end {
            End::Low => (run, run + granules),
            End::High => (run + left, run),
        };
        if left > 0 {
            self.insert(rest, left);
        }
        self.set_len(first, granules, 0);
        Some(self.range(first, granules, len))
    }

    /// Gives a range that has one holder a second one.
    #[inline]
    pub fn share(&mut self, range: &MemoryRange) -> MemoryRange {
        if let Some(tag) = self.tag_mut(self.first_of(range.span)) {
            rule!(!tag.is_shared, "BOUND: a range of queue memory has two holders at most");
            tag.is_shared = true;
        }
        MemoryRange { span: range.span }
    }

    /// Takes a range back; false if another holder still has it.
    #[inline]
    pub fn give_back(&mut self, range: MemoryRange) -> bool {
        let mut first = self.first_of(range.span);
        if let Some(tag) = self.tag_mut(first)
            && core::mem::take(&mut tag.is_shared)
        {
            return false;
        }
        let mut granules = granules_of(range.span.len + GRANULE - 1);
        rule!(self.free_at(first) == 0, "BOUND: a range of queue memory is given back once");
        self.used -= granules;
        let before = first.checked_sub(1).map_or(0, |last| self.free_at(last));
        let after = self.free_at(first + granules);
        if before > 0 {
            first -= before;
            granules += self.remove(first);
        }
        if after > 0 {
            granules += self.remove(first + granules);
        }
        self.insert(first, granules);
        true
    }

    /// A range's first granule.
    #[inline]
    fn first_of(&self, span: MemorySpan) -> u32 {
        granules_of(span.offset - self.base)
    }

    #[inline]
    fn range(&mut self, first: u32, granules: u32, len: u64) -> MemoryRange {
        self.used += granules;
        MemoryRange { span: MemorySpan { offset: self.base + u64::from(first) * GRANULE, len } }
    }

    /// The first granule of a free run of at least so many.
    #[inline]
    fn find(&self, granules: u32) -> Option<u32> {
        let own = list_of(granules);
        let mut run = self.first_in(own);
        for _ in 0..TRIES {
            match self.tag(run) {
                Some(tag) if tag.len >= granules => return Some(run),
                Some(tag) => run = tag.next,
                None => break,
            }
        }
        // Every run of a later list is long enough.
        let (word, bit) = place_of(own + 1);
        let mut mask = u64::MAX << bit;
        let later = self.present.iter().zip(self.lists.chunks(u64::BITS as usize)).skip(word);
        let mut found = later.map(|(&bits, lists)| {
            let bits = bits & core::mem::replace(&mut mask, u64::MAX);
            lists.get(bits.trailing_zeros() as usize).copied()
        });
        found.find_map(|run| run)
    }

    /// Puts a free run into its list.
    fn insert(&mut self, first: u32, granules: u32) {
        if granules == 0 {
            return;
        }
        let list = list_of(granules);
        let next = self.first_in(list);
        self.set_len(first, granules, granules);
        if let Some(tag) = self.tag_mut(first) {
            (tag.previous, tag.next) = (NONE, next);
        }
        if let Some(tag) = self.tag_mut(next) {
            tag.previous = first;
        }
        self.set_first_in(list, first);
    }

    /// Takes a free run out of its list; returns its granules.
    fn remove(&mut self, first: u32) -> u32 {
        let Some(&Tag { len, previous, next, .. }) = self.tag(first) else { return 0 };
        if let Some(tag) = self.tag_mut(next) {
            tag.previous = previous;
        }
        match self.tag_mut(previous) {
            Some(tag) => tag.next = next,
            None => self.set_first_in(list_of(len), next),
        }
        len
    }

    /// Granules of the free run whose first or last granule this is; 0 if it is not free.
    fn free_at(&self, granule: u32) -> u32 {
        self.tag(granule).map_or(0, |tag| tag.len)
    }

    fn set_len(&mut self, first: u32, granules: u32, len: u32) {
        for granule in [first, first + granules - 1] {
            if let Some(tag) = self.tag_mut(granule) {
                tag.len = len;
            }
        }
    }

    fn first_in(&self, list: u32) -> u32 {
        self.lists.get(list as usize).copied().unwrap_or(NONE)
    }

    fn set_first_in(&mut self, list: u32, first: u32) {
        if let Some(place) = self.lists.get_mut(list as usize) {
            *place = first;
        }
        let (word, bit) = place_of(list);
        if let Some(bits) = self.present.get_mut(word) {
            *bits = *bits & !(1 << bit) | u64::from(first != NONE) << bit;
        }
    }

    fn tag(&self, granule: u32) -> Option<&Tag> {
        self.tags.get(granule as usize)
    }

    fn tag_mut(&mut self, granule: u32) -> Option<&mut Tag> {
        self.tags.get_mut(granule as usize)
    }
}

/// Whole granules in so many bytes.
fn granules_of(bytes: u64) -> u32 {
    u32::try_from(bytes / GRANULE).unwrap_or(NONE - 1)
}

/// The list of runs of so many granules, which is not 0.
fn list_of(granules: u32) -> u32 {
    let bits = EXACT.ilog2();
    match granules.checked_ilog2() {
        Some(log) if log >= bits => EXACT * (log - bits) + (granules >> (log - bits)),
        _ => granules,
    }
}

/// The word and the bit of a list.
fn place_of(list: u32) -> (usize, u32) {
    ((list / u64::BITS) as usize, list % u64::BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    const PAGE: u64 = GRANULE;

    fn low(arena: &mut Arena, pages: u64) -> MemoryRange {
        arena.take(pages * PAGE, End::Low).unwrap()
    }

    #[test]
    fn a_region_begins_at_its_base_and_has_whole_granules() {
        let mut arena = Arena::new(16 * PAGE, 8 * PAGE + 1).unwrap();
        assert_eq!((arena.capacity(), arena.used()), (8 * PAGE, 0));
        let ranges = [4, 4].map(|pages| low(&mut arena, pages));
        assert_eq!(ranges.each_ref().map(|range| range.span.offset / PAGE), [16, 20]);
        assert!(arena.take(1, End::Low).is_none());
        for range in ranges {
            arena.give_back(range);
        }
        assert_eq!(low(&mut arena, 8).span.offset, 16 * PAGE);
    }

    #[test]
    fn a_part_of_a_span_lies_within_it() {
        let span = MemorySpan { offset: 10, len: 40 };
        let part = |skip, len| {
            let part = span.part(skip, len);
            (part.offset, part.len)
        };
        assert_eq!((part(0, 40), part(8, 16)), ((10, 40), (18, 16)));
        assert_eq!((part(8, 40), part(50, 1)), ((18, 32), (50, 0)), "cut at its end");
    }

    #[test]
    fn a_range_has_its_own_bytes_and_uses_whole_granules() {
        let mut arena = Arena::new(0, 4 * PAGE).unwrap();
        assert!(arena.take(0, End::Low).is_none());
        assert!(arena.take(4 * PAGE + 1, End::Low).is_none());
        assert!(arena.take(u64::MAX, End::Low).is_none());
        let (a, b) = (arena.take(1, End::Low).unwrap(), arena.take(PAGE + 1, End::High).unwrap());
        assert_eq!((a.span.offset, a.span.len), (0, 1));
        assert_eq!((b.span.offset, b.span.len), (2 * PAGE, PAGE + 1));
        assert_eq!(arena.used(), 3 * PAGE);
        arena.give_back(a);
        arena.give_back(b);
        assert_eq!(arena.used(), 0);
    }

    #[test]
    fn a_range_that_is_kept_does_not_keep_the_others() {
        let mut arena = Arena::new(0, 16 * PAGE).unwrap();
        let before = low(&mut arena, 4);
        let kept = low(&mut arena, 1);
        arena.give_back(before);
        for _ in 0..100 {
            let others = [4, 3, 8].map(|pages| low(&mut arena, pages));
            assert_eq!(arena.used(), 16 * PAGE);
            for range in others {
                arena.give_back(range);
            }
        }
        arena.give_back(kept);
        assert_eq!(low(&mut arena, 16).span.offset, 0, "all of it is one run again");
    }

    #[test]
    fn a_range_with_two_holders_is_free_when_both_have_given_it_back() {
        let mut arena = Arena::new(16 * PAGE, 4 * PAGE).unwrap();
        let [first, next] = [2, 2].map(|pages| low(&mut arena, pages));
        let second = arena.share(&first);
        assert_eq!(second.span(), first.span());
        assert!(!arena.give_back(first));
        assert_eq!((arena.used(), arena.take(PAGE, End::Low).is_none()), (4 * PAGE, true));
        assert!(arena.give_back(second) && arena.give_back(next));
        let again = low(&mut arena, 4);
        assert!(arena.give_back(again), "it has one holder again");
    }

    #[test]
    fn longer_lengths_have_later_lists() {
        let lists: Vec<_> = (1..5_000).map(list_of).collect();
        assert!(lists.windows(2).all(|pair| pair[1] - pair[0] <= 1), "no list is left out");
        assert_eq!((list_of(1), list_of(15), list_of(16), list_of(18)), (1, 15, 16, 17));
        assert!(list_of(u32::MAX) < LISTS);
    }

    #[test]
    fn a_run_of_the_requests_own_list_is_used_if_it_is_long_enough() {
        let mut arena = Arena::new(0, 64 * PAGE).unwrap();
        // Both of one list: 16 and 17 granules.
        let [long, wall, short] = [17, 1, 16].map(|pages| low(&mut arena, pages));
        let rest = low(&mut arena, 30);
        arena.give_back(long);
        arena.give_back(short);
        assert_eq!(low(&mut arena, 17).span.offset, 0);
        assert!(arena.take(17 * PAGE, End::Low).is_none());
        assert_eq!(low(&mut arena, 16).span.offset, 18 * PAGE);
        arena.give_back(wall);
        arena.give_back(rest);
    }
}
