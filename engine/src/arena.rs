//! A region of the capture queue's memory: contiguous ranges, taken in ring order, given back in
//! any order (rule BOUND, rules.md#bound).
//!
//! The engine never touches the bytes. It hands out [`MemoryRange`]s, each to one holder at a time,
//! and the host maps them to its own buffer. A range that is given back becomes free when all
//! ranges before it are.

use alloc::boxed::Box;

use crate::memory::{OutOfMemory, boxed_slice, slice_bytes};

/// A range of the queue's memory; it belongs to the holder of this value.
#[must_use = "a range that is not given back is lost to the queue"]
#[derive(Debug)]
pub struct MemoryRange {
    span: MemorySpan,
    number: u64,
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
    pub(crate) fn part(self, skip: u64, len: u64) -> Self {
        let skip = skip.min(self.len);
        Self { offset: self.offset + skip, len: len.min(self.len - skip) }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    /// Bytes of the range and of the padding before it.
    span: u64,
    returned: bool,
}

/// The account of a region of the queue's memory.
#[derive(Debug)]
pub struct Arena {
    /// The region's first byte in the host's buffer.
    base: u64,
    capacity: u64,
    /// Where in the region the next range begins, unless it has to wrap.
    head: u64,
    /// Bytes between the oldest range that is not free and `head`.
    used: u64,
    /// One for each range not yet free, indexed by number modulo their count.
    entries: Box<[Entry]>,
    /// Number of the oldest entry.
    first: u64,
    /// Number of the next entry.
    next: u64,
}

impl Arena {
    /// `capacity` bytes from `base` on, for at most `ranges` ranges at a time.
    pub fn new(base: u64, capacity: u64, ranges: u64) -> Result<Self, OutOfMemory> {
        let entries = boxed_slice(ranges.max(1), || Ok(Entry { span: 0, returned: false }))?;
        Ok(Self { base, capacity, head: 0, used: 0, entries, first: 0, next: 0 })
    }

    /// Bytes that the account of `ranges` ranges allocates.
    pub fn bytes(ranges: u64) -> u64 {
        slice_bytes::<Entry>(ranges.max(1))
    }

    /// Bytes of the region.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are not free: held, or waiting for an older range, or padding.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Takes a contiguous range of `len` bytes; `None` if none is free now.
    #[inline]
    pub fn take(&mut self, len: u64) -> Option<MemoryRange> {
        if len == 0 || self.next - self.first >= self.entries.len() as u64 {
            return None;
        }
        // A range never wraps: what is left at the end becomes padding.
        let wraps = self.head.checked_add(len)? > self.capacity;
        let (offset, padding) = if wraps { (0, self.capacity - self.head) } else { (self.head, 0) };
        let span = len.checked_add(padding)?;
        if self.used.checked_add(span)? > self.capacity && !sabotaged!(MemoryHandedOutTwice) {
            return None;
        }
        let number = self.next;
        *self.entry(number)? = Entry { span, returned: false };
        self.next += 1;
        self.head = offset + len;
        self.used += span;
        Some(MemoryRange { span: MemorySpan { offset: self.base + offset, len }, number })
    }

    /// Takes a range back.
    pub fn give_back(&mut self, range: MemoryRange) {
        if let Some(entry) = self.entry(range.number) {
            rule!(!entry.returned, "BOUND: a range of queue memory is given back once");
            entry.returned = true;
        }
        while self.first < self.next {
            let first = self.first;
            let Some(entry) = self.entry(first) else { return };
            if !entry.returned {
                return;
            }
            let span = entry.span;
            self.used -= span;
            self.first += 1;
        }
        // Empty: begin at the start again, where the longest range fits.
        self.head = 0;
    }

    #[inline]
    fn entry(&mut self, number: u64) -> Option<&mut Entry> {
        let count = self.entries.len() as u64;
        self.entries.get_mut(usize::try_from(number.checked_rem(count)?).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_begins_at_its_base() {
        let mut arena = Arena::new(1000, 100, 8).unwrap();
        let ranges = [50, 50].map(|len| arena.take(len).unwrap());
        assert_eq!(ranges.each_ref().map(|range| range.span.offset), [1000, 1050]);
        for range in ranges {
            arena.give_back(range);
        }
        assert_eq!(arena.take(100).unwrap().span.offset, 1000);
    }

    #[test]
    fn a_part_of_a_span_lies_within_it() {
        let mut arena = Arena::new(0, 100, 8).unwrap();
        assert_eq!(arena.capacity(), 100);
        let first = arena.take(10).unwrap();
        let range = arena.take(40).unwrap();
        let span = |skip, len| {
            let part = range.span().part(skip, len);
            (part.offset, part.len)
        };
        assert_eq!((span(0, 40), span(8, 16)), ((10, 40), (18, 16)));
        assert_eq!((span(8, 40), span(50, 1)), ((18, 32), (50, 0)), "cut at its end");
        arena.give_back(range);
        arena.give_back(first);
    }

    #[test]
    fn limits_hold() {
        let mut arena = Arena::new(0, 100, 2).unwrap();
        assert!(arena.take(0).is_none());
        assert!(arena.take(101).is_none());
        assert!(arena.take(u64::MAX).is_none());
        let a = arena.take(1).unwrap();
        let b = arena.take(1).unwrap();
        assert!(arena.take(1).is_none(), "no entry is left");
        arena.give_back(a);
        arena.give_back(b);
    }
}
