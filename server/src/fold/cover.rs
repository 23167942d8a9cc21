//! Which stored bytes have been met: those of each record, by where in the volume they are.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::format::segment::SegmentNumber;
use crate::point::runs::{Records, Runs, Source};

/// Records of an entry. Of the same records the same byte of the volume has the same content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Stored {
    pub(super) segment: SegmentNumber,
    entry: u64,
    pitch: u16,
    phase: u16,
    shift: u64,
}

impl Stored {
    /// What a run refers to; `None` if that is nothing stored.
    pub(super) fn of(runs: &Runs, source: Source) -> Option<Self> {
        let Source::Stored { entry, records } = source else { return None };
        let entry = runs.entries[entry as usize];
        let Records { pitch, phase, shift, .. } = records;
        Some(Self { segment: entry.segment, entry: entry.offset, pitch, phase, shift })
    }
}

/// Parts of the volume of each of some records, with a value for each part.
#[derive(Debug)]
pub(super) struct Cover<T>(BTreeMap<(Stored, u64), (u64, T)>);

impl<T> Default for Cover<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Copy> Cover<T> {
    /// Adds a part that has not been met.
    pub(super) fn insert(&mut self, of: Stored, part: &Range<u64>, value: T) {
        self.0.insert((of, part.start), (part.end, value));
    }

    /// The parts that have been met within a part, in order, cut to it.
    pub(super) fn met(
        &self,
        of: Stored,
        part: Range<u64>,
    ) -> impl Iterator<Item = (Range<u64>, T)> + use<'_, T> {
        let before = self.0.range(..=(of, part.start)).next_back();
        let first = before.filter(|((it, _), _)| *it == of).map_or(part.start, |((_, at), _)| *at);
        let found = self.0.range((of, first)..(of, part.end));
        found.filter_map(move |((_, start), (end, value))| {
            let within = (*start).max(part.start)..(*end).min(part.end);
            (within.start < within.end).then_some((within, *value))
        })
    }

    /// What of a part has not been met, in order.
    pub(super) fn missing(&self, of: Stored, part: &Range<u64>) -> Vec<Range<u64>> {
        let mut missing = Vec::new();
        let mut at = part.start;
        for (met, _) in self.met(of, part.clone()) {
            if at < met.start {
                missing.push(at..met.start);
            }
            at = met.end;
        }
        if at < part.end {
            missing.push(at..part.end);
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(entry: u64) -> Stored {
        Stored { segment: SegmentNumber::FIRST, entry, pitch: 1, phase: 0, shift: 0 }
    }

    #[test]
    fn what_was_met_is_not_missing() {
        let mut cover = Cover::default();
        let steps = [
            (10..20, Some((10, 20))),
            (0..5, Some((0, 5))),
            (3..12, Some((5, 10))),
            (0..30, Some((20, 30))),
            (0..30, None),
        ];
        for (part, want) in steps {
            let ends = |missing: Vec<Range<u64>>| -> Vec<_> {
                missing.into_iter().map(|it| (it.start, it.end)).collect()
            };
            let missing = cover.missing(stored(1), &part);
            assert_eq!(ends(missing.clone()), Vec::from_iter(want), "{part:?}");
            assert_eq!(ends(cover.missing(stored(2), &part)), [(part.start, part.end)]);
            for part in missing {
                cover.insert(stored(1), &part, part.start);
            }
        }
        let met: Vec<_> = cover.met(stored(1), 4..11).collect();
        assert_eq!(met, [(4..5, 0), (5..10, 5), (10..11, 10)]);
    }
}
