//! Parts of a volume with what each is, of which later ones cover earlier ones.
//!
//! Parts are gathered in the order in which they come, and put into the order of the volume when
//! there are as many as were there before: n parts take about n log n steps, and no search in a
//! tree for each.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::runs::Source;

/// So many parts are gathered at least.
const GATHERED: usize = 64 << 10;

/// Parts of a volume.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    /// In order and apart.
    settled: Vec<Part>,
    /// As they came.
    fresh: Vec<Part>,
}

/// A part of the volume, not empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Part {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) source: Source,
}

/// A part that begins at or before the place that is looked at. The later one is the greater.
#[derive(Clone, Copy)]
struct Open {
    age: usize,
    end: u64,
    source: Source,
}

impl Overlay {
    /// Covers a part.
    pub(super) fn insert(&mut self, bytes: Range<u64>, source: Source) {
        if bytes.is_empty() {
            return;
        }
        self.fresh.push(Part { start: bytes.start, end: bytes.end, source });
        if self.fresh.len() >= self.settled.len().max(GATHERED) {
            self.settle();
        }
    }

    /// All parts, in order and apart; neighbours differ.
    pub(super) fn parts(&mut self) -> &mut Vec<Part> {
        self.settle();
        &mut self.settled
    }

    /// Forgets what lies at or past `end`.
    pub(super) fn truncate(&mut self, end: u64) {
        self.settle();
        self.settled.retain_mut(|part| {
            part.end = part.end.min(end);
            part.start < part.end
        });
    }

    fn settle(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        let mut fresh: Vec<(usize, Part)> = (1..).zip(std::mem::take(&mut self.fresh)).collect();
        fresh.sort_unstable_by_key(|(age, part)| (part.start, *age));
        let mut older = std::mem::take(&mut self.settled).into_iter().peekable();
        let mut fresh = fresh.into_iter().peekable();
        let mut sweep = Sweep::default();
        loop {
            let is_older = match (older.peek(), fresh.peek()) {
                (Some(one), Some((_, other))) => one.start <= other.start,
                (one, _) => one.is_some(),
            };
            let next = if is_older { older.next().map(|part| (0, part)) } else { fresh.next() };
            let Some((age, Part { start, end, source })) = next else { break };
            sweep.go_to(start);
            sweep.open.push(Open { age, end, source });
        }
        sweep.go_to(u64::MAX);
        self.settled = sweep.done;
    }
}

/// Goes through the parts in the order of their begins.
#[derive(Default)]
struct Sweep {
    at: u64,
    open: BinaryHeap<Open>,
    done: Vec<Part>,
}

impl Sweep {
    /// Everything up to `to` is known: no further part begins before.
    fn go_to(&mut self, to: u64) {
        while self.at < to {
            let Some(&Open { end, source, .. }) = self.open.peek() else { break };
            if end <= self.at {
                self.open.pop();
                continue;
            }
            let end = end.min(to);
            match self.done.last_mut() {
                Some(last) if last.end == self.at && last.source == source => last.end = end,
                _ => self.done.push(Part { start: self.at, end, source }),
            }
            self.at = end;
        }
        self.at = to;
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        self.age.cmp(&other.age)
    }
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.age == other.age
    }
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::point::runs::Records;

    /// Numbers that look random, the same for the same seed.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % limit
        }
    }

    fn stored(entry: u32) -> Source {
        let records = Records { pitch: 1, phase: 0, tile: 0, shift: 0 };
        Source::Stored { entry, records }
    }

    #[test]
    fn each_byte_is_what_covered_it_last_however_often_the_parts_are_settled() {
        const LENGTH: u64 = 300;
        for seed in 0..200 {
            let mut numbers = Numbers(seed);
            let mut overlay = Overlay::default();
            let mut bytes = vec![None; usize::try_from(LENGTH).unwrap()];
            for _ in 0..numbers.below(120) {
                let start = numbers.below(LENGTH);
                let end = start + numbers.below(40).min(LENGTH - start);
                // Few, so that equal neighbours happen.
                let source = [Source::Zero, Source::Excluded, stored(1)]
                    [usize::try_from(numbers.below(3)).unwrap()];
                overlay.insert(start..end, source);
                let covered = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
                bytes[covered].fill(Some(source));
                if numbers.below(9) == 0 {
                    overlay.settle();
                }
            }
            let mut found = vec![None; bytes.len()];
            let parts = overlay.parts();
            for part in &*parts {
                assert!(part.start < part.end, "seed {seed}");
                for byte in part.start..part.end {
                    found[usize::try_from(byte).unwrap()] = Some(part.source);
                }
            }
            assert!(found == bytes, "seed {seed}");
            for two in parts.windows(2) {
                let is_one = two[0].end == two[1].start && two[0].source == two[1].source;
                assert!(two[0].end <= two[1].start && !is_one, "seed {seed}: {two:?}");
            }
        }
    }
}
