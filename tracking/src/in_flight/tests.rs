//! Tests of [`InFlight`] by itself.

use super::*;
use crate::waiting::Waiter;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use snapless_types::BlockIndex;

fn change(offset: u64, len: u64) -> Change {
    let extent = Extent::new(offset, len).unwrap();
    Change { kind: RecordKind::Write, extent, blocks: blocks(0, 1) }
}

fn blocks(start: u64, end: u64) -> BlockRange {
    BlockRange::new(BlockIndex(start), BlockIndex(end))
}

type Writes<W> = InFlight<W, VecDeque<Waiter<W>>>;

fn hold<W: PartialEq>(writes: &mut Writes<W>, write: W, offset: u64, len: u64) -> SlotId {
    let held = writes.hold(write, &change(offset, len), Tick(0));
    held.expect("a slot is free")
}

fn blocked<W: PartialEq>(writes: &Writes<W>) -> Vec<bool> {
    writes.held().map(|held| held.blocked).collect()
}

#[test]
fn held_writes_keep_their_order_and_leave_from_the_middle() {
    let mut writes = Writes::new(4, 0, 4, 4096, VecDeque::new()).unwrap();
    let ids: Vec<_> =
        (0..4).map(|n| writes.hold(n, &change(n * 512, 512), Tick(n)).unwrap()).collect();
    assert!(writes.is_full());
    assert_eq!(writes.hold(9, &change(0, 1), Tick(9)), None, "it waits for a slot");
    assert!(writes.is_any_waiting() && writes.admit().is_none());
    assert_eq!((writes.held_count(), writes.last_held()), (5, Arrival(5)));
    assert_eq!(writes.cancel_held(&(9, change(0, 1).extent)), Some(9));
    assert_eq!(writes.release(ids[1]).unwrap(), (1, Tick(1)));
    assert_eq!(writes.release(ids[3]).unwrap(), (3, Tick(3)));
    let held: Vec<_> = writes.held().map(|held| held.slot).collect();
    assert_eq!(held, [ids[0], ids[2]]);
    assert_eq!((writes.held_count(), writes.count()), (2, 2));
    assert_eq!(writes.remove(ids[3]), Some(blocks(0, 1)));
    assert!(!writes.is_full() && writes.hold(5, &change(0, 1), Tick(5)).is_some());
}

#[test]
fn writes_overlap_by_bytes_and_touch_blocks() {
    let mut writes = Writes::<()>::new(4, 0, 4, 4096, VecDeque::new()).unwrap();
    let id = writes.insert(&change(512, 512)).unwrap();
    assert!(writes.overlaps(&change(1023, 1)));
    assert!(!writes.overlaps(&change(0, 512)));
    assert!(!writes.overlaps(&change(1024, 512)));
    assert!(writes.touches(&blocks(0, 3)));
    assert!(!writes.touches(&blocks(1, 3)));
    writes.remove(id).unwrap();
    assert!(!writes.overlaps(&change(512, 512)));
    hold(&mut writes, (), 512, 512);
    assert!(writes.overlaps(&change(0, 513)), "a held write comes first too");
    assert!(!writes.touches(&blocks(0, 1)) && writes.holds(&blocks(0, 1)));
}

#[test]
fn a_held_write_waits_for_one_that_was_issued_past_it_and_has_a_slot() {
    let mut writes = Writes::new(2, 0, 4, 4096, VecDeque::new()).unwrap();
    hold(&mut writes, (), 0, 1024);
    let past = writes.insert_past_held(&change(1023, 1));
    assert_eq!((blocked(&writes), writes.candidate().is_some()), (Vec::from([true]), false));
    let untracked = writes.insert_past_held(&change(0, 1));
    assert_eq!(writes.count(), 2);
    assert!(writes.may_touch(&blocks(0, 1)) && !writes.may_touch(&blocks(1, 4)));
    writes.remove(past).unwrap();
    assert_eq!(blocked(&writes), [false], "one that found no slot is not waited for");
    assert!(writes.candidate().is_some() && !writes.touches(&blocks(0, 1)));
    assert_eq!((writes.remove(untracked), writes.count()), (None, 0));
    assert!(!writes.may_touch(&blocks(0, 1)));
}

#[test]
fn a_held_write_is_a_candidate_until_it_watches_a_block_and_again_once_that_is_synced() {
    let mut writes = Writes::new(4, 0, 8, 4096, VecDeque::new()).unwrap();
    let wide = Change { blocks: blocks(0, 3), ..change(0, 3 * 4096) };
    let id = writes.hold((), &wide, Tick(0)).unwrap();
    hold(&mut writes, (), 512, 512);
    let candidate = |writes: &Writes<()>| writes.candidate().map(|held| held.slot);
    assert_eq!(candidate(&writes), Some(id));
    writes.watch(id, BlockIndex(1));
    assert_eq!(candidate(&writes), None, "the other one is blocked");
    writes.synced(&blocks(0, 1));
    writes.synced(&blocks(2, 8));
    assert_eq!(candidate(&writes), None);
    writes.synced(&blocks(1, 2));
    assert_eq!(candidate(&writes), Some(id));
    writes.release(id).unwrap();
    assert_eq!(candidate(&writes), None);
    writes.remove(id).unwrap();
    assert!(candidate(&writes).is_some_and(|other| other != id));
}
