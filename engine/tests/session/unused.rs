//! Blocks that no file has: not read, a don't-care until they are written to.

use super::*;

use RecordKind::{
    BaseComplete, Block, Consistent, Excluded, GapBegin, Resync, SessionStart, Trim, Write,
};
use snapless_engine::RegionMap;
use snapless_types::Regions;

/// What was noted before t0: these blocks were changed.
fn noted(session: &TestSession, changed: &[u64]) -> RegionMap {
    let mut noted = RegionMap::new(Regions::of(session.geometry())).unwrap();
    for block in changed {
        noted.note(&Extent::new(block * BLOCK, 512).unwrap());
    }
    noted
}

/// A session that has begun, and is told next which blocks are unused.
fn expecting(changed: &[u64], change: impl FnOnce(&mut Config)) -> TestSession {
    let session = session(change);
    session.expect_unused(noted(&session, changed));
    session.begin();
    session
}

fn blocks(start: u64, end: u64) -> BlockRange {
    BlockRange::new(BlockIndex(start), BlockIndex(end))
}

/// Says that these are unused, as the driver does; returns where it got to.
fn say(session: &TestSession, mut run: BlockRange) -> BlockIndex {
    while run.start < run.end {
        let reached = session.unused(run).unwrap();
        if reached == run.start {
            break;
        }
        run.start = reached;
    }
    run.start
}

#[test]
fn what_no_file_has_is_not_read_and_what_was_changed_before_t0_is() {
    let session = session(|_| ());
    session.expect_unused(noted(&session, &[1]));
    assert_eq!(session.unused(blocks(0, 4)), Some(BlockIndex(0)), "there is no t0 yet");
    session.begin();
    assert_eq!(sweep_to_the_end(&session), [SessionStart], "it waits to be told");
    assert_eq!(say(&session, blocks(0, 3)), BlockIndex(3));
    session.end_unused();
    assert_eq!(session.unused(blocks(3, 4)), None);
    assert_eq!(sweep_to_the_end(&session), [Excluded, Excluded, Block, Block, BaseComplete]);
    let status = session.status();
    assert_eq!((status.blocks_unallocated, status.blocks_excluded, status.gaps), (2, 0, 0));
    assert!(status.base_complete && status.consistent);
}

#[test]
fn a_write_to_an_unused_block_waits_for_nothing_and_one_from_before_has_its_block_read() {
    let session = expecting(&[], |_| ());
    assert_held(&submit(&session, "early", BLOCK, 512));
    done(&session, read(session.hold()), true);
    complete_captured(&session, dispatched(&session));
    say(&session, blocks(0, 4));
    complete_captured(&session, submit(&session, "late", 2 * BLOCK + 512, 512));
    session.end_unused();
    let kinds = sweep_to_the_end(&session);
    assert_eq!(kinds, [SessionStart, Block, Write, Excluded, Excluded, BaseComplete, Write]);
    assert_eq!(session.status().blocks_unallocated, 3);
}

#[test]
fn without_notes_and_after_the_service_has_gone_nothing_is_unused() {
    let session = session(|_| ());
    session.begin();
    assert_eq!(session.unused(blocks(0, 4)), None);
    assert!(matches!(session.sweep(), Step::Do(_)), "it waits for nobody");
    let session = expecting(&[], |_| ());
    assert_waits(&session.sweep());
    session.leave();
    assert_eq!(session.unused(blocks(0, 4)), None);
    assert!(matches!(session.sweep(), Step::Do(_)), "it waits no longer");
    let session = expecting(&[], |_| ());
    session.doubt();
    assert_eq!(session.unused(blocks(0, 4)), None, "it is not what it was before the sleep");
}

#[test]
fn the_sweep_goes_on_after_a_while_and_where_the_queue_has_no_room() {
    let session = expecting(&[], |_| ());
    let Step::Wait(Some(until)) = session.sweep() else { panic!("it waits to be told") };
    session.host().now.set(until.0);
    assert!(matches!(session.sweep(), Step::Do(_)));
    let session = expecting(&[], |config| config.writes_max = 1);
    assert_eq!(say(&session, blocks(0, 1)), BlockIndex(1));
    // SessionStart and the block have a descriptor each, and one is kept for a gap.
    while let Submission::Issue(issue) = clear(&session, Clearing::Trim, 0, 512) {
        session.completed(issue.ticket, true);
    }
    assert_waits(&session.sweep());
    assert_eq!(say(&session, blocks(1, 4)), BlockIndex(1), "no descriptor is left");
    drain(&session);
    assert!(matches!(session.sweep(), Step::Do(_)), "it does not wait for room");
    let kept = "what was drained is kept for the next service";
    assert_eq!(say(&session, blocks(1, 4)), BlockIndex(2), "{kept}");
    assert_eq!(session.status().blocks_unallocated, 1);
}

#[test]
fn what_is_said_before_anything_is_drained_leaves_room_for_writes() {
    const BLOCKS: u64 = 512;
    let mut config = Config::new(8 * BLOCK);
    (config.read_bytes, config.writes_max) = (BLOCK, 1);
    let geometry = Geometry::new(BLOCKS * BLOCK, 512, 16 << 10).unwrap();
    let session = Session::new(TestHost::default(), geometry, config).unwrap();
    session.expect_unused(noted(&session, &[]));
    session.begin();
    // Free space in pieces: a record each, until no more is taken.
    let taken = (0..BLOCKS).step_by(2).take_while(|&block| {
        let next = blocks(block, block + 1);
        session.unused(next) == Some(next.end)
    });
    let taken = taken.count() as u64;
    assert!((1..BLOCKS / 2).contains(&taken), "{taken} pieces were taken");
    complete_captured(&session, submit(&session, "a write", 0, 512));
}

#[test]
fn in_a_session_that_continues_it_is_zeros_from_then_on() {
    let mut config = Config::new(8 * BLOCK);
    config.read_bytes = BLOCK;
    let geometry = Geometry::new(4 * BLOCK, 512, 16 << 10).unwrap();
    let reason = GapReason::Diverged;
    let session = Session::continued(TestHost::default(), geometry, config, reason).unwrap();
    session.expect_unused(noted(&session, &[3]));
    session.begin();
    say(&session, blocks(1, 4));
    session.end_unused();
    session.place(Seq::new(40), MADE, EpochId::new(7)).unwrap();
    session.drain_from(Seq::new(40)).unwrap();
    let mut kinds = sweep_to_the_end(&session);
    kinds.retain(|kind| *kind != RecordKind::EpochEnd);
    assert_eq!(kinds, [GapBegin, Trim, Resync, Resync, Consistent]);
    assert!(session.status().consistent);
}
