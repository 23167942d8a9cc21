//! The states of a volume's blocks: what the server has of them, and what the machine has told of
//! those that are being read, to which writes are held, or that it does not copy.

use snapless_console::model::BlockState;
use snapless_link::report::SessionReport;
use snapless_wire::ioctl::MapCell;

use crate::stream::Part;

/// The columns of [`shares`].
pub(super) const STATES: [BlockState; 6] = [
    BlockState::Unsynced,
    BlockState::Reading,
    BlockState::Held,
    BlockState::Synced,
    BlockState::Dirty,
    BlockState::Excluded,
];
/// All of a part.
const WHOLE: u32 = 255;

/// The shares of the states in each of so many parts of a volume, or in as many as are known if
/// that is less; each part's are [`WHOLE`] together.
pub(super) fn shares(
    known: &[Part],
    report: Option<&SessionReport>,
    length: u64,
    most: usize,
) -> impl Iterator<Item = Vec<u32>> {
    let count = most.min(known.len());
    let blocks = known.iter().map(|it| it.blocks).sum::<u64>();
    (0..count).map(move |part| {
        let of_it = &known[part * known.len() / count..(part + 1) * known.len() / count];
        let sum = |of: fn(&Part) -> u64| of_it.iter().map(of).sum::<u64>();
        let (all, synced, spoiled) =
            (sum(|it| it.blocks), sum(|it| it.known), sum(|it| it.spoiled));
        let mut unsynced = share(all - synced - spoiled, all);
        let mut dirty = share(spoiled, all).min(WHOLE - unsynced);
        let mut synced = WHOLE - unsynced - dirty;
        let told = report.map_or([0; 2], |report| told(&report.map, blocks, part, count));
        let excluded = report.map_or(0, |report| excluded(report, length, part, count));
        let [held, reading] = told.map(|it| take(it, [&mut unsynced, &mut dirty, &mut synced]));
        let excluded = take(excluded, [&mut synced, &mut unsynced, &mut dirty]);
        vec![unsynced, reading, held, synced, dirty, excluded]
    })
}

/// Some of all in parts of [`WHOLE`]. One block of many that is otherwise is seen.
fn share(some: u64, all: u64) -> u32 {
    let rounded = u128::from(some) * u128::from(WHOLE) / u128::from(all.max(1));
    let shown = u32::try_from(rounded).unwrap_or(WHOLE).min(WHOLE);
    if some > 0 { shown.max(1) } else { 0 }
}

/// Takes a share away from others, from the first as far as it goes; returns what was taken.
fn take(wanted: u32, from: [&mut u32; 3]) -> u32 {
    let mut left = wanted;
    for share in from {
        let taken = left.min(*share);
        *share -= taken;
        left -= taken;
    }
    wanted - left
}

/// The shares of blocks to which writes are held and of those that are being read in one of `count`
/// parts of a volume of so many blocks. A cell's are in each part that it touches.
fn told(cells: &[MapCell], blocks: u64, part: usize, count: usize) -> [u32; 2] {
    let first = part * cells.len() / count;
    let end = ((part + 1) * cells.len()).div_ceil(count);
    let of_it = cells.get(first..end).unwrap_or_default();
    let sum = |of: fn(&MapCell) -> u64| of_it.iter().map(of).sum::<u64>();
    // Of the held ones all are counted, of the others a sample.
    let all = (blocks / cells.len().max(1) as u64).saturating_mul(of_it.len() as u64);
    let looked_at = sum(|cell| cell.blocks().into());
    [share(sum(|cell| cell.held.into()), all), share(sum(|cell| cell.reading.into()), looked_at)]
}

/// The share of excluded bytes in one of `count` parts of a volume of this length.
fn excluded(report: &SessionReport, length: u64, part: usize, count: usize) -> u32 {
    let edge = |part: usize| {
        let before = u128::from(length) * part as u128 / count.max(1) as u128;
        u64::try_from(before).unwrap_or(length)
    };
    let (start, end) = (edge(part), edge(part + 1));
    let within = report.excluded.iter().map(|&(offset, len)| {
        let last = offset.saturating_add(len).min(end);
        last.saturating_sub(offset.max(start))
    });
    share(within.fold(0, u64::saturating_add), end - start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(known: u64, spoiled: u64) -> Part {
        Part { blocks: 1000, known, spoiled }
    }

    fn joined(
        known: &[Part],
        report: Option<&SessionReport>,
        length: u64,
        most: usize,
    ) -> Vec<Vec<u32>> {
        shares(known, report, length, most).collect()
    }

    #[test]
    fn parts_are_joined_and_a_single_block_is_seen() {
        let known = [part(1000, 0), part(1000, 0), part(999, 0), part(500, 1)];
        assert_eq!(joined(&known, None, 4000, 2), [[0, 0, 0, 255, 0, 0], [63, 0, 0, 191, 1, 0]]);
        let each = joined(&known, None, 4000, 4096);
        assert_eq!((each.len(), &each[2]), (4, &vec![1, 0, 0, 254, 0, 0]));
        assert_eq!(shares(&[], None, 0, 10).count(), 0);
    }

    #[test]
    fn what_the_machine_tells_of_blocks_goes_before_what_is_stored_of_them() {
        let cell = |reading| MapCell { reading, synced: 64 - reading, ..MapCell::default() };
        let held = |cell, held| MapCell { held, ..cell };
        let report = SessionReport {
            map: vec![cell(0), cell(1), held(cell(64), 255), held(cell(0), 1)],
            excluded: vec![(0, 500), (900, 100), (3999, u64::MAX)],
            ..SessionReport::default()
        };
        let known = [part(1000, 0), part(0, 0), part(0, 1000), part(1000, 0)];
        let each = joined(&known, Some(&report), 4000, 4);
        let wanted = [
            [0, 0, 0, 102, 0, 153],
            [252, 3, 0, 0, 0, 0],
            [0, 190, 65, 0, 0, 0],
            [0, 0, 1, 253, 0, 1],
        ];
        assert_eq!(each, wanted);
        // A report of other parts, of a longer volume, or of nothing.
        for cells in [0, 1, 3, 1024] {
            let report = SessionReport { map: vec![cell(64); cells], ..report.clone() };
            for shares in joined(&known, Some(&report), 3, 3) {
                assert_eq!(shares.iter().sum::<u32>(), WHOLE);
            }
        }
    }
}
