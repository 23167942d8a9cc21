//! A set of bytes of one volume, kept as runs: what of an image nobody knows. It is nearly always empty, and
//! short where it is not.

use std::collections::BTreeMap;

use crate::geometry::Extent;

/// Runs of bytes that neither touch nor overlap each other.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct ExtentSet {
    /// The byte after the last of each run, by its first.
    ends: BTreeMap<u64, u64>,
}

impl ExtentSet {
    /// Puts bytes into the set.
    pub fn insert(&mut self, offset: u64, len: u64) {
        if len == 0 {
            return;
        }
        let (mut start, mut end) = (offset, offset.saturating_add(len));
        while let Some((other, other_end)) = self.last_from(end) {
            if other_end < start {
                break;
            }
            self.ends.remove(&other);
            (start, end) = (start.min(other), end.max(other_end));
        }
        self.ends.insert(start, end);
    }

    /// Takes bytes out of the set.
    pub fn remove(&mut self, offset: u64, len: u64) {
        let end = offset.saturating_add(len);
        while let Some((other, other_end)) = self.last_from(end.saturating_sub(1)) {
            if len == 0 || other_end <= offset {
                break;
            }
            self.ends.remove(&other);
            if other_end > end {
                self.ends.insert(end, other_end);
            }
            if other < offset {
                self.ends.insert(other, offset);
            }
        }
    }

    /// The set as runs, in order.
    pub fn runs(&self) -> impl Iterator<Item = Extent> + '_ {
        self.ends.iter().map(|(&offset, &end)| Extent { offset, len: end - offset })
    }

    /// The last run that begins at this byte or before it.
    fn last_from(&self, at: u64) -> Option<(u64, u64)> {
        self.ends.range(..=at).next_back().map(|(&start, &end)| (start, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(set: &ExtentSet) -> Vec<(u64, u64)> {
        set.runs().map(|run| (run.offset, run.len)).collect()
    }

    #[test]
    fn runs_join_and_split() {
        let mut set = ExtentSet::default();
        set.insert(10, 10);
        set.insert(30, 10);
        set.insert(50, 0);
        assert_eq!(runs(&set), [(10, 10), (30, 10)]);
        set.insert(20, 10);
        assert_eq!(runs(&set), [(10, 30)]);
        set.remove(15, 5);
        set.remove(0, 11);
        set.remove(39, 100);
        set.remove(25, 0);
        assert_eq!(runs(&set), [(11, 4), (20, 19)]);
    }

    #[test]
    fn the_set_agrees_with_a_walk() {
        for seed in 0..200_u64 {
            let mut random = seed;
            let mut next = || {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (random >> 33) % 64
            };
            let (mut set, mut bytes) = (ExtentSet::default(), [false; 128]);
            for _ in 0..40 {
                let (offset, len, puts) = (next(), next() % 20, next().is_multiple_of(2));
                let change = if puts { ExtentSet::insert } else { ExtentSet::remove };
                change(&mut set, offset, len);
                for byte in offset..offset + len {
                    bytes[usize::try_from(byte).unwrap()] = puts;
                }
                let mut walked = [false; 128];
                for (offset, len) in runs(&set) {
                    for byte in offset..offset + len {
                        walked[usize::try_from(byte).unwrap()] = true;
                    }
                }
                assert_eq!(walked, bytes, "seed {seed}");
            }
        }
    }
}
