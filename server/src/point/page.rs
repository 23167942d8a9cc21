//! A page of a map in bytes: see `mod@crate::format::map`.
//!
//! ```text
//! entries    their number; of each, segment and offset as differences to the one before
//! runs       of each its length in granules and what it is; for stored bytes the index of the
//!            entry, the records' length and phase in granules, where in the entry's payload the
//!            run begins, and the checksums of its tiles
//! ```

use std::ops::Range;

use snapless_wire::frame::FRAME_PAYLOAD_MAX;
use snapless_wire::record::{RECORD_GRANULE, RECORD_HEADER_LEN, RECORD_PAYLOAD_MAX};

use super::runs::{Entry, Records, Runs, Source, low};
use crate::format::codec::{Input, Stored, put_difference, put_number};
use crate::format::segment::SegmentNumber;

/// Makes the bytes of a page from its runs, in order.
#[derive(Default)]
pub(crate) struct PageBuilder {
    entries: Vec<Entry>,
    runs: Vec<u8>,
}

const ZERO: u64 = 0;
const EXCLUDED: u64 = 1;
const UNREADABLE: u64 = 2;
/// A stored run has this and the index of its entry.
const STORED: u64 = 3;

impl PageBuilder {
    /// Adds a run out of a map. A run that a map below has is none.
    pub(crate) fn add(&mut self, from: &Runs, bytes: &Range<u64>, source: Source) {
        let what = match source {
            Source::Below | Source::Zero => ZERO,
            Source::Excluded => EXCLUDED,
            Source::Unreadable => UNREADABLE,
            Source::Stored { entry, .. } => STORED + self.entry(from.entries[entry as usize]),
        };
        put_number(&mut self.runs, (bytes.end - bytes.start) / RECORD_GRANULE);
        put_number(&mut self.runs, what);
        let Source::Stored { records, .. } = source else { return };
        put_number(&mut self.runs, records.pitch.into());
        put_number(&mut self.runs, records.phase.into());
        put_number(&mut self.runs, records.place(bytes.start));
        let [first, last] = [bytes.start, bytes.end - 1].map(|byte| records.tile(byte) as usize);
        from.tiles[first..=last].iter().for_each(|sum| sum.put(&mut self.runs));
    }

    /// The page.
    pub(crate) fn finish(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.runs.len() + self.entries.len() * 4 + 10);
        put_number(&mut out, self.entries.len() as u64);
        let mut before = (0, 0);
        for Entry { segment, offset } in self.entries {
            put_difference(&mut out, segment.0.wrapping_sub(before.0));
            put_difference(&mut out, offset.wrapping_sub(before.1));
            before = (segment.0, offset);
        }
        out.extend(self.runs);
        out
    }

    /// The index of an entry: mostly one of the last.
    fn entry(&mut self, entry: Entry) -> u64 {
        let near = self.entries.len().saturating_sub(64);
        let known = self.entries[near..].iter().position(|it| *it == entry);
        let index = known.map_or(self.entries.len(), |known| near + known);
        if known.is_none() {
            self.entries.push(entry);
        }
        index as u64
    }
}

/// The bytes that the runs of a page have when they are written again; `None` if it is no page of
/// these bytes of the volume.
pub fn rewritten(bytes: &[u8], of: Range<u64>) -> Option<Vec<u8>> {
    let runs = read(bytes, of.clone())?;
    let mut builder = PageBuilder::default();
    runs.parts(of).for_each(|(part, source)| builder.add(&runs, &part, source));
    Some(builder.finish())
}

/// Reads a page of these bytes of the volume; `None` if it is none.
pub(crate) fn read(bytes: &[u8], of: Range<u64>) -> Option<Runs> {
    let mut input = Input::new(bytes);
    let mut page = Runs { end: of.start, ..Runs::default() };
    let mut before = (0_u64, 0_u64);
    for _ in 0..input.number()? {
        before.0 = before.0.wrapping_add(input.difference()?);
        before.1 = before.1.wrapping_add(input.difference()?);
        page.entries.push(Entry { segment: SegmentNumber(before.0), offset: before.1 });
    }
    while page.end < of.end {
        let len = input.number()?.checked_mul(RECORD_GRANULE)?;
        let run = page.end..page.end.checked_add(len)?;
        if run.is_empty() || run.end > of.end {
            return None;
        }
        let source = match input.number()? {
            ZERO => Source::Zero,
            EXCLUDED => Source::Excluded,
            UNREADABLE => Source::Unreadable,
            stored => {
                let entry = u32::try_from(stored - STORED).ok()?;
                page.entries.get(entry as usize)?;
                Source::Stored { entry, records: records(&mut input, &mut page.tiles, &run)? }
            }
        };
        page.append(&run, source);
    }
    input.is_empty().then_some(page)
}

/// The records of a run, which lie in the payload of one entry; adds the checksums of its tiles.
fn records(input: &mut Input<'_>, tiles: &mut Vec<u32>, run: &Range<u64>) -> Option<Records> {
    let pitch = u16::try_from(input.number()?).ok()?;
    let phase = u16::try_from(input.number()?).ok()?;
    let mut records = Records { pitch, phase, tile: 0, shift: 0 };
    let is_possible = pitch > phase && records.len() <= RECORD_PAYLOAD_MAX as u64;
    if !is_possible || run.start < records.start(run.start) {
        return None;
    }
    let place = input.number()?;
    records.shift = place.wrapping_sub(records.place(run.start));
    // The first record's first byte and the last one's last.
    let first = place.checked_sub(run.start - records.start(run.start))?;
    let rest = records.start(run.end - 1).checked_add(records.len())?;
    let last = records.place(rest - 1);
    let is_inside =
        first >= RECORD_HEADER_LEN as u64 && (first..FRAME_PAYLOAD_MAX as u64).contains(&last);
    if !is_inside {
        return None;
    }
    let [from, to] = [run.start, run.end - 1].map(|byte| records.tile(byte));
    for _ in 0..=to.wrapping_sub(from) {
        tiles.push(u32::take(input)?);
    }
    let count = to.wrapping_sub(from) as usize + 1;
    let index = low((tiles.len() - count) as u64);
    records.tile = index.wrapping_sub(from).wrapping_add(records.tile);
    Some(records)
}

#[cfg(test)]
mod tests {
    use snapless_types::Extent;

    use super::*;
    use crate::format::index::{TILE_BYTES, tiles_of};

    const PAGE: Range<u64> = 7 << 20..9 << 20;

    /// Numbers that look random, the same for the same seed.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (self.0 >> 33) % limit
        }
    }

    /// Runs of all kinds: of a record often only a part.
    fn any_runs(numbers: &mut Numbers) -> Runs {
        let mut runs = Runs { end: PAGE.start, ..Runs::default() };
        while runs.end < PAGE.end {
            let left = (PAGE.end - runs.end) / RECORD_GRANULE;
            let len = (1 + numbers.below(600)).min(left) * RECORD_GRANULE;
            let run = runs.end..runs.end + len;
            let source = match numbers.below(8) {
                0 => Source::Zero,
                1 => Source::Excluded,
                2 => Source::Unreadable,
                _ => {
                    let before = numbers.below(300) * RECORD_GRANULE;
                    let after = numbers.below(300) * RECORD_GRANULE;
                    let extent = Extent::new(run.start - before, before + len + after).unwrap();
                    let content = 64 + numbers.below(1 << 20) / 8 * 8;
                    let records = Records::one(&extent, content, runs.tiles.len());
                    let tiles = tiles_of(usize::try_from(extent.len()).unwrap()) as u64;
                    runs.tiles.extend((0..tiles).map(|_| low(numbers.below(u64::MAX))));
                    let segment = SegmentNumber(1 + numbers.below(3));
                    let offset = 64 + numbers.below(4) * 1000;
                    runs.entries.push(Entry { segment, offset });
                    let entry = u32::try_from(runs.entries.len() - 1).unwrap();
                    Source::Stored { entry, records }
                }
            };
            runs.append(&run, source);
        }
        runs
    }

    /// The entry, where in its payload the sector is, where in the volume its record begins, and
    /// the checksum of its tile.
    type Sector = (Entry, u64, u64, u32);

    /// Of each sector where it comes from, with its checksum.
    fn sectors(runs: &Runs) -> Vec<(Source, Option<Sector>)> {
        let parts = runs.parts(PAGE).flat_map(|(part, source)| {
            part.step_by(512).map(move |sector| match source {
                Source::Stored { entry, records } => {
                    let place = (records.place(sector), records.start(sector));
                    let sum = runs.tiles[records.tile(sector) as usize];
                    (Source::Below, Some((runs.entries[entry as usize], place.0, place.1, sum)))
                }
                other => (other, None),
            })
        });
        parts.collect()
    }

    fn bytes(runs: &Runs) -> Vec<u8> {
        let mut builder = PageBuilder::default();
        runs.parts(PAGE).for_each(|(part, source)| builder.add(runs, &part, source));
        builder.finish()
    }

    #[test]
    fn a_page_comes_back_whatever_its_runs_are() {
        for seed in 0..60 {
            let runs = any_runs(&mut Numbers(seed));
            let found = read(&bytes(&runs), PAGE).unwrap();
            let (found, want) = (sectors(&found), sectors(&runs));
            assert_eq!(found.len() as u64, (PAGE.end - PAGE.start) / RECORD_GRANULE);
            assert!(found == want, "seed {seed}");
        }
    }

    #[test]
    fn no_bytes_are_a_page_that_points_out_of_an_entry() {
        let mut numbers = Numbers(5);
        let good = bytes(&any_runs(&mut numbers));
        let mut taken = 0;
        for _ in 0..4000 {
            let mut bad = good.clone();
            let at = usize::try_from(numbers.below(bad.len() as u64)).unwrap();
            bad[at] ^= 1 << numbers.below(8);
            let Some(page) = read(&bad, PAGE) else { continue };
            taken += 1;
            for (part, source) in page.parts(PAGE) {
                let Source::Stored { records, .. } = source else { continue };
                for byte in [part.start, part.end - 1] {
                    let place = records.place(byte);
                    let tile = place - (byte - records.start(byte)) % TILE_BYTES as u64;
                    assert!(tile >= 64 && place < FRAME_PAYLOAD_MAX as u64, "byte {at}");
                    assert!((records.tile(byte) as usize) < page.tiles.len(), "byte {at}");
                }
            }
        }
        assert!(taken > 100, "{taken} pages");
        for len in 0..good.len() {
            assert!(read(&good[..len], PAGE).is_none(), "{len} bytes");
        }
    }
}
