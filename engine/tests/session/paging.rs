//! Writes to paging files, and the extents that are excluded for them.

use super::*;

/// A session that excludes blocks 1 and 2, and half of block 3.
fn excluding() -> TestSession {
    let session = session(|_| ());
    session.exclude(vec![extent(BLOCK, 5 * BLOCK / 2)]);
    session
}

fn extent(offset: u64, len: u64) -> Extent {
    Extent::new(offset, len).unwrap()
}

#[test]
fn a_page_out_to_an_excluded_extent_costs_neither_t0_nor_a_gap() {
    let session = excluding();
    assert!(session.page_out(&extent(BLOCK, 512)), "before t0, too");
    session.begin();
    assert!(session.page_out(&extent(2 * BLOCK, BLOCK)));
    assert!(session.page_out(&extent(3 * BLOCK, BLOCK / 2)), "a block is excluded by half");
    assert!(
        !session.page_out(&extent(3 * BLOCK, BLOCK / 2 + 512)),
        "it is not all of it the file's"
    );
    assert!(!session.page_out(&extent(0, 512)));
    assert!(session.review_excluded(true));
    let kinds = sweep_to_the_end(&session);
    assert_eq!(
        kinds,
        [
            RecordKind::SessionStart,
            RecordKind::Block,
            RecordKind::Excluded,
            RecordKind::Block,
            RecordKind::BaseComplete
        ]
    );
    let status = session.status();
    assert_eq!((status.blocks_excluded, status.writes_excluded, status.gaps), (2, 3, 0));
    assert_eq!((status.writes_urgent, status.writes_in_flight), (0, 0));
    assert!(status.base_complete && session.page_out(&extent(BLOCK, 512)));
}

#[test]
fn another_files_write_to_an_excluded_block_is_captured_before_and_after_its_record() {
    let session = excluding();
    session.begin();
    session.review_excluded(true);
    assert_held(&submit(&session, "early", BLOCK, 512));
    let old = read(session.hold());
    done(&session, old, true);
    complete_captured(&session, dispatched(&session));
    sweep_to_the_end(&session);
    complete_captured(&session, submit(&session, "late", 2 * BLOCK, 512));
    let status = session.status();
    assert_eq!((status.blocks_excluded, status.gaps), (1, 0));
    assert_eq!(drain(&session), [RecordKind::Write]);
}

#[test]
fn until_the_files_are_looked_at_after_t0_nothing_is_skipped_and_the_base_image_is_open() {
    let session = excluding();
    assert!(!session.review_excluded(true), "before t0 is too early");
    session.begin();
    let kinds = sweep_to_the_end(&session);
    assert!(!kinds.contains(&RecordKind::Excluded) && !session.status().base_complete);
    assert_eq!(session.status().blocks_synced, 4);
    assert!(session.review_excluded(true));
    assert_eq!(drain(&session), [RecordKind::BaseComplete]);
    assert!(session.review_excluded(false), "it is the first look that counts");
    assert!(session.status().base_complete && session.page_out(&extent(BLOCK, 512)));
}

#[test]
fn extents_that_the_files_have_lost_cost_t0_only_if_a_write_went_past_the_session() {
    for relied_on in [false, true] {
        let session = excluding();
        session.begin();
        if relied_on {
            assert!(session.page_out(&extent(BLOCK, 512)));
        }
        assert!(session.review_excluded(false));
        assert!(!session.page_out(&extent(BLOCK, 512)));
        let kinds = sweep_to_the_end(&session);
        let status = session.status();
        assert_eq!((status.gaps, status.base_complete), (u64::from(relied_on), !relied_on));
        assert_eq!(status.gap_reason, relied_on.then_some(GapReason::UrgentWrite));
        let last = if relied_on { RecordKind::Consistent } else { RecordKind::BaseComplete };
        assert_eq!(kinds.last(), Some(&last), "{kinds:?}");
        assert!(!kinds.contains(&RecordKind::Excluded) && status.consistent);
    }
}

#[test]
fn a_service_that_is_lost_before_it_looks_again_leaves_nothing_excluded() {
    let session = excluding();
    session.begin();
    assert!(session.page_out(&extent(BLOCK, 512)));
    session.detach();
    tidy(&session);
    attach(&session);
    tidy(&session);
    assert!(!session.page_out(&extent(BLOCK, 512)));
    assert!(session.review_excluded(true), "it is too late");
    let kinds = sweep_to_the_end(&session);
    assert!(!kinds.contains(&RecordKind::Excluded) && !session.status().base_complete);
    assert!(session.status().consistent, "{kinds:?}");
}
