//! Property tests of the pure parts: after any sequence of calls, each agrees with a model that is
//! plain enough to be seen to be right.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use proptest::prelude::*;

use snapless_fixed::arena::{Arena, End, GRANULE, MemoryRange, MemorySpan};
use snapless_fixed::slots::SlotId;
use snapless_tracking::config::Config;
use snapless_tracking::epochs::{Epochs, ImpossibleEpoch};
use snapless_tracking::in_flight::{Change, InFlight};
use snapless_tracking::table::{BlockState, Table};
use snapless_types::{
    BlockIndex, BlockRange, EpochId, Extent, Geometry, Made, RecordKind, Seq, Tick,
};

use crate::backpressure::Backpressure;

fn blocks(start: u64, end: u64) -> BlockRange {
    BlockRange::new(BlockIndex(start), BlockIndex(end))
}

/// A run of at most `len` blocks below `end`.
fn run_below(end: u64, len: u64) -> impl Strategy<Value = BlockRange> {
    (0..end, 0..=len).prop_map(move |(start, len)| blocks(start, (start + len).min(end)))
}

fn any_state() -> impl Strategy<Value = BlockState> {
    prop_oneof![
        Just(BlockState::Unsynced),
        Just(BlockState::Reading),
        Just(BlockState::Synced),
        Just(BlockState::Dirty),
    ]
}

proptest! {
    #[test]
    fn a_table_is_a_state_for_each_block(
        changes in prop::collection::vec((run_below(100, 70), any_state()), 0..20),
        asked in run_below(100, 100),
        state in any_state(),
    ) {
        let table = Table::new(100).unwrap();
        let mut model = [BlockState::Unsynced; 100];
        for (run, to) in changes {
            let before = table.get(run.start);
            let at = |block: BlockIndex| usize::try_from(block.0).unwrap();
            let of_state: Vec<_> =
                run.iter().map(at).filter(|&block| model[block] == before).collect();
            prop_assert_eq!(table.turn(run, before, to), of_state.len() as u64);
            for block in of_state {
                model[block] = to;
            }
        }
        let of = |block: BlockIndex| model[usize::try_from(block.0).unwrap()];
        prop_assert!((0..100).map(BlockIndex).all(|block| table.get(block) == of(block)));
        prop_assert_eq!(table.count(state), model.iter().filter(|&&it| it == state).count() as u64);
        prop_assert_eq!(table.find(asked, state), asked.iter().find(|&block| of(block) == state));
        prop_assert_eq!(table.all(asked, state), asked.iter().all(|block| of(block) == state));
        let run = asked.iter().take_while(|&block| of(block) == state).count() as u64;
        prop_assert_eq!(table.run(asked, state), blocks(asked.start.0, asked.start.0 + run));
    }

    #[test]
    fn queue_memory_belongs_to_its_holders_and_comes_back_in_any_order(
        steps in prop::collection::vec((any::<bool>(), any::<bool>(), 1_u64..30 * GRANULE, any::<prop::sample::Index>()), 0..300),
    ) {
        let (base, capacity) = (16 * GRANULE, 64 * GRANULE);
        let mut arena = Arena::new(base, capacity).unwrap();
        let mut held: Vec<MemoryRange> = Vec::new();
        for (takes, coin, len, index) in steps {
            let mut is_free = [true; 64];
            for MemorySpan { offset, len } in held.iter().map(MemoryRange::span) {
                let granules = (offset - base) / GRANULE..(offset - base + len).div_ceil(GRANULE);
                granules.for_each(|granule| is_free[usize::try_from(granule).unwrap()] = false);
            }
            let used = is_free.iter().filter(|&&free| !free).count() as u64;
            prop_assert_eq!(arena.used(), used * GRANULE);
            if takes {
                let Some(range) = arena.take(len, if coin { End::High } else { End::Low }) else {
                    let longest = is_free.split(|&free| !free).map(<[bool]>::len).max();
                    let longest = longest.unwrap_or(0) as u64;
                    prop_assert!(longest <= len.div_ceil(GRANULE) * 9 / 8, "{} for {}", longest, len);
                    continue;
                };
                let MemorySpan { offset, len: got } = range.span();
                prop_assert!(got == len && offset >= base && offset + len <= base + capacity);
                for other in held.iter().map(MemoryRange::span) {
                    let apart = offset + len <= other.offset || other.offset + other.len <= offset;
                    prop_assert!(apart, "{:?} {:?}", range, other);
                }
                held.push(range);
            } else if !held.is_empty() {
                let range = held.swap_remove(index.index(held.len()));
                let holders = held.iter().filter(|other| other.span() == range.span()).count();
                if holders == 0 && coin {
                    held.push(arena.share(&range));
                    held.push(range);
                } else {
                    prop_assert_eq!(arena.give_back(range), holders == 0);
                }
            }
        }
        for range in held {
            arena.give_back(range);
        }
        prop_assert_eq!(arena.take(capacity, End::Low).unwrap().span().offset, base);
    }

    #[test]
    fn unacknowledged_blocks_are_lost_and_at_most_their_neighbours(
        steps in prop::collection::vec((0_u8..4, run_below(300, 90)), 0..60),
        bitmap_bytes in 1_u64..64,
    ) {
        let config = Config { epochs: 3, epoch_bitmap_bytes: bitmap_bytes, ..Config::new(1 << 20) };
        let mut epochs = Epochs::new(300, &config).unwrap();
        let mut model: Vec<(u64, BTreeSet<u64>)> = Vec::from([(1, BTreeSet::new())]);
        for (what, run) in steps {
            let open = epochs.open_id().get();
            match what {
                0 if !epochs.tidy(|_| panic!("nothing is lost")) && epochs.can_close() => {
                    epochs.close(Seq::new(open * 10), Made::default());
                    model.push((epochs.open_id().get(), BTreeSet::new()));
                }
                1 => {
                    let id = run.start.0 % (open + 1);
                    let known = model.iter().any(|&(it, _)| it == id && it != open);
                    let result = epochs.acknowledge(EpochId::new(id), Seq::new(open * 10));
                    let is_possible = (1..open).contains(&id);
                    prop_assert_eq!(result, if is_possible { Ok(known) } else { Err(ImpossibleEpoch) });
                    model.retain(|&(it, _)| it > id || !is_possible);
                }
                _ => {
                    epochs.record(run, 0, Tick(0));
                    model.last_mut().unwrap().1.extend(run.iter().map(|block| block.0));
                }
            }
            prop_assert!(model.len() <= 3);
        }
        let touched: BTreeSet<u64> = model.iter().flat_map(|(_, set)| set).copied().collect();
        let mut lost = BTreeSet::new();
        epochs.lose(Seq::default());
        while epochs.tidy(|run| lost.extend(run.iter().map(|block| block.0))) {}
        prop_assert!(touched.is_subset(&lost), "{:?} {:?}", touched, lost);
        prop_assert!(lost.iter().all(|&block| block < 300));
        // A bitmap is whole words: with 300 bits and more, each block has its own.
        let bits = bitmap_bytes * 8;
        let granule = 300_u64.div_ceil(bits).next_power_of_two();
        let near = |block: u64| touched.iter().any(|&it| it / granule == block / granule);
        prop_assert!(lost.iter().all(|&block| near(block)));
        epochs.lose(Seq::default());
        while epochs.tidy(|_| panic!("nothing is lost twice")) {}
    }

    #[test]
    fn a_queue_is_shared_so_that_sweep_and_writes_both_have_room(blocks in 4_u64..4096, shift in 14_u32..=22) {
        let block = 1 << shift;
        let config = Config::new(blocks * block);
        let geometry = Geometry::new(1 << 40, 512, 1 << shift).unwrap();
        prop_assert_eq!(config.check(&geometry), Ok(()));
        prop_assert!(config.sweep_share() >= 2 * block, "a block is read while another is drained");
        prop_assert!(config.queue_bytes - config.sweep_share() >= config.write_bytes);
        prop_assert!(config.read_length() <= config.sweep_share());
    }
}

/// What happens to the writes of the model.
#[derive(Clone, Debug)]
enum Deed {
    Hold(u64, u64),
    Insert(u64, u64),
    Release(prop::sample::Index),
    Remove(prop::sample::Index),
    CancelHeld(prop::sample::Index),
    FillQueue,
}

fn any_deed() -> impl Strategy<Value = Deed> {
    let place = || (0_u64..64, 1_u64..24);
    let which = any::<prop::sample::Index>;
    prop_oneof![
        3 => place().prop_map(|(offset, len)| Deed::Hold(offset, len)),
        2 => place().prop_map(|(offset, len)| Deed::Insert(offset, len)),
        2 => which().prop_map(Deed::Release),
        3 => which().prop_map(Deed::Remove),
        1 => which().prop_map(Deed::CancelHeld),
        1 => Just(Deed::FillQueue),
    ]
}

/// A write of the model: its slot, its bytes, and the writes that have to complete before it.
struct Known {
    slot: SlotId,
    name: usize,
    extent: Extent,
    waits_for: BTreeSet<usize>,
    in_flight: bool,
    waits_for_room: bool,
}

/// Blocks of four bytes.
fn blocks_of(extent: &Extent) -> BlockRange {
    blocks(extent.offset() / 4, extent.end().div_ceil(4))
}

fn change(extent: Extent) -> Change {
    Change { kind: RecordKind::Write, extent, blocks: blocks_of(&extent) }
}

proptest! {
    #[test]
    fn a_held_write_is_blocked_exactly_until_the_last_one_that_it_counted_has_completed(
        deeds in prop::collection::vec(any_deed(), 0..120),
    ) {
        const ROOM: usize = 12;
        let waiting = alloc::collections::VecDeque::new();
        let mut writes = InFlight::new(12, 0, 32, 4, waiting).unwrap();
        let mut pressure = Backpressure::new(&Config::new(1 << 20));
        let mut known: Vec<Known> = Vec::new();
        for (name, deed) in deeds.into_iter().enumerate() {
            let now = Tick(name as u64);
            let candidates = |in_flight: bool| -> Vec<usize> {
                (0..known.len()).filter(|&at| known[at].in_flight == in_flight).collect()
            };
            let pick = |index: prop::sample::Index, from: &[usize]| {
                (!from.is_empty()).then(|| from[index.index(from.len())])
            };
            match deed {
                Deed::Hold(offset, len) => {
                    let extent = Extent::new(offset, len).unwrap();
                    let held = writes.hold(name, &change(extent), now);
                    prop_assert_eq!(held.is_some(), known.len() < ROOM);
                    if held.is_none() {
                        prop_assert_eq!(writes.pop_waiting().map(|waiter| waiter.write), Some(name));
                    }
                    if let Some(slot) = held {
                        let over = known.iter().filter(|it| it.extent.overlaps(&extent));
                        let waits_for = over.map(|it| it.name).collect();
                        known.push(Known { slot, name, extent, waits_for, in_flight: false, waits_for_room: false });
                    }
                }
                Deed::Insert(offset, len) => {
                    let extent = Extent::new(offset, len).unwrap();
                    let alone = !writes.overlaps(&change(extent));
                    let slot = if alone {
                        writes.insert(&change(extent))
                    } else {
                        Some(writes.insert_past_held(&change(extent)))
                    };
                    let slot = slot.filter(|&slot| {
                        let has_none = slot.0 >= 12;
                        if has_none {
                            assert!(writes.may_touch(&blocks_of(&extent)));
                            assert_eq!(writes.remove(slot), None);
                        }
                        !has_none
                    });
                    prop_assert_eq!(slot.is_some(), known.len() < ROOM);
                    if let Some(slot) = slot {
                        for held in known.iter_mut().filter(|it| !it.in_flight && it.extent.overlaps(&extent)) {
                            held.waits_for.insert(name);
                        }
                        let waits_for = BTreeSet::new();
                        known.push(Known { slot, name, extent, waits_for, in_flight: true, waits_for_room: false });
                    }
                }
                Deed::Release(index) => {
                    // As dispatch does: one that nothing blocks.
                    let ready: Vec<_> =
                        candidates(false).into_iter().filter(|&at| known[at].waits_for.is_empty()).collect();
                    if let Some(at) = pick(index, &ready) {
                        prop_assert_eq!(writes.release(known[at].slot).unwrap().0, known[at].name);
                        known[at].in_flight = true;
                    }
                }
                Deed::Remove(index) => {
                    if let Some(at) = pick(index, &candidates(true)) {
                        let gone = known.remove(at);
                        prop_assert_eq!(writes.remove(gone.slot), Some(blocks_of(&gone.extent)));
                        for other in &mut known {
                            other.waits_for.remove(&gone.name);
                        }
                    }
                }
                Deed::CancelHeld(index) => {
                    if let Some(at) = pick(index, &candidates(false)) {
                        let gone = known.remove(at);
                        prop_assert_eq!(writes.cancel_held(&(gone.name, gone.extent)), Some(gone.name));
                        for other in &mut known {
                            other.waits_for.remove(&gone.name);
                        }
                    }
                }
                Deed::FillQueue => {
                    pressure.queue_is_full(writes.last_held(), false, now);
                    for held in known.iter_mut().filter(|it| !it.in_flight) {
                        held.waits_for_room = true;
                    }
                }
            }
            let held: Vec<_> = known.iter().filter(|it| !it.in_flight).collect();
            let blocked: Vec<_> = writes.held().map(|it| it.blocked).collect();
            let expected: Vec<_> = held.iter().map(|it| !it.waits_for.is_empty()).collect();
            prop_assert_eq!(blocked, expected);
            prop_assert_eq!(pressure.holds_back(writes.oldest_held()), held.iter().any(|it| it.waits_for_room));
            prop_assert_eq!(writes.count() + writes.held_count(), known.len() as u64);
            for at in 0..16 {
                let run = blocks(at, at + 1);
                let touches = known.iter().any(|it| it.in_flight && blocks_of(&it.extent).intersects(&run));
                prop_assert_eq!(writes.touches(&run), touches);
            }
        }
    }
}
