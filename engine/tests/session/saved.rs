//! A state that is kept while the machine is off.

use super::*;

use snapless_engine::RegionMap;
use snapless_types::Regions;

fn geometry() -> Geometry {
    Geometry::new(4 * BLOCK, 512, 16 << 10).unwrap()
}

fn extent(block: u64, len: u64) -> Extent {
    Extent::new(block * BLOCK, len).unwrap()
}

/// A map of the four blocks in which these are marked.
fn map(blocks: &[u64]) -> RegionMap {
    let mut map = RegionMap::new(Regions::of(&geometry())).unwrap();
    for block in blocks {
        map.note(&extent(*block, 512));
    }
    map
}

/// A session that continues and has not begun.
fn continued() -> TestSession {
    let mut config = Config::new(8 * BLOCK);
    config.read_bytes = BLOCK;
    let reason = GapReason::Restarted;
    Session::continued(TestHost::default(), geometry(), config, reason).unwrap()
}

fn lacking(session: &TestSession) -> Vec<u64> {
    let lacks = |block: &u64| session.lacks(BlockRange::one(BlockIndex(*block)));
    (0..4).filter(lacks).collect()
}

/// The server gets everything, and each epoch ends.
fn acknowledge_all(session: &TestSession) {
    let mut epoch = 1;
    while epoch < 20 {
        drain(session);
        if session.acknowledge(EpochId::new(epoch)).is_ok() {
            epoch += 1;
        } else {
            session.host().now.set(session.host().now.get() + 10_000 * Tick::PER_MS);
            while let Step::Again = session.dispatch() {}
            if session.acknowledge(EpochId::new(epoch)).is_err() && drain(session).is_empty() {
                return;
            }
        }
    }
}

#[test]
fn only_what_the_map_has_is_read_again_and_the_gap_ends_with_it() {
    let session = continued();
    session.know(&map(&[1, 2]));
    session.begin();
    assert_eq!(session.status().blocks_unsynced, 2);
    session.place(Seq::new(40), MADE, EpochId::new(50)).unwrap();
    assert_eq!(session.drain_from(Seq::new(40)), Ok(true));
    let mut kinds = drain(&session);
    let mut read = Vec::new();
    while let Step::Do(next) = session.sweep() {
        read.push(next.extent().offset() / BLOCK);
        done(&session, next, true);
        kinds.extend(drain(&session));
    }
    assert_eq!(read, [1, 2]);
    kinds.retain(|kind| *kind != RecordKind::EpochEnd);
    let resync = RecordKind::Resync;
    assert_eq!(kinds, [RecordKind::GapBegin, resync, resync, RecordKind::Consistent]);
    assert!(session.status().consistent);
}

#[test]
fn if_the_server_lacks_nothing_the_gap_ends_at_once() {
    let session = continued();
    session.know(&map(&[]));
    session.begin();
    session.place(Seq::new(40), MADE, EpochId::new(50)).unwrap();
    assert_eq!(session.drain_from(Seq::new(40)), Ok(true));
    assert_eq!(drain(&session), [RecordKind::GapBegin, RecordKind::Consistent]);
}

#[test]
fn a_write_that_waits_for_the_begin_is_captured_where_the_block_is_known() {
    let session = continued();
    assert!(matches!(submit(&session, "known", 0, 512), Submission::Held));
    assert!(matches!(submit(&session, "unknown", BLOCK, 512), Submission::Held));
    session.know(&map(&[1]));
    session.begin();
    let Step::Do(next) = session.dispatch() else { panic!("one is ready") };
    let issue = session.captured(captured(next));
    assert_eq!(issue.write, "known");
    session.completed(issue.ticket, true);
    assert_waits(&session.dispatch());
    done(&session, read(session.hold()), true);
    let Step::Do(next) = session.dispatch() else { panic!("its block was read") };
    assert_eq!(session.captured(captured(next)).write, "unknown");
}

#[test]
fn a_write_that_did_not_wait_for_the_begin_leaves_its_block_to_be_read() {
    let session = continued();
    let urgent = session.submit("urgent", extent(3, 512), Urgency::MustNotWait);
    complete_issued(&session, urgent);
    session.know(&map(&[]));
    assert_eq!(session.block_state(BlockIndex(3)), BlockState::Dirty);
    session.begin();
    assert_eq!((session.status().blocks_synced, session.status().blocks_dirty), (3, 1));
}

#[test]
fn a_map_of_another_volume_and_one_that_comes_too_late_say_nothing() {
    let session = continued();
    let other = Geometry::new(4 * BLOCK, 512, 32 << 10).unwrap();
    session.know(&RegionMap::new(Regions::of(&other)).unwrap());
    session.begin();
    session.know(&map(&[]));
    assert_eq!(session.status().blocks_unsynced, 4);
    let new = self::session(|_| ());
    new.know(&map(&[]));
    assert_eq!(new.status().blocks_unsynced, 4, "its base image is to be read");
}

#[test]
fn the_server_may_lack_what_is_not_durable_there_and_what_is_written_now() {
    let session = session(|config| config.epoch_bytes = BLOCK);
    assert_eq!(lacking(&session), [0, 1, 2, 3], "nothing was read");
    session.begin();
    sweep_all(&session);
    drain(&session);
    assert_eq!(lacking(&session), [0, 1, 2, 3], "nothing is acknowledged");
    acknowledge_all(&session);
    assert_eq!(lacking(&session), []);
    let issue = session.captured(captured(submit(&session, "w", BLOCK, 512)));
    let writes = |offset, len| session.may_write(&Extent::new(offset, len).unwrap());
    assert!(writes(BLOCK, 512) && writes(BLOCK + 511, 1) && !writes(BLOCK + 512, 512));
    assert!(writes(1 << 40, 512), "what is past the end is not known");
    session.completed(issue.ticket, true);
    assert_eq!((lacking(&session), writes(BLOCK, 512)), (vec![1], false));
    complete_issued(&session, session.submit("u", extent(2, 512), Urgency::PayloadUnavailable));
    assert_eq!(lacking(&session), [1, 2], "it is dirty");
    drain(&session);
    session.detach();
    assert_eq!(lacking(&session), [1, 2], "what is lost is not durable either");
}

#[test]
fn the_server_lacks_what_paging_files_have() {
    let session = session(|config| config.epoch_bytes = BLOCK);
    session.exclude(vec![extent(2, BLOCK)]);
    session.begin();
    assert!(session.review_excluded(true));
    // Once to the excluded block, once behind it.
    sweep_all(&session);
    sweep_all(&session);
    drain(&session);
    acknowledge_all(&session);
    assert_eq!(lacking(&session), [2]);
}
