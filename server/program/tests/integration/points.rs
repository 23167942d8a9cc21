//! The instants that can be restored, and the errors for those that cannot.

use crate::common::{self, BLOCK, Driver, LENGTH, SECTOR, geometry};
use snapless_server::stream::StreamState;
use snapless_server::timeline::{At, Cut, GAPS_MAX, NotRestorable, Timeline};
use snapless_types::{GapReason, RecordKind, Seq};
use snapless_wire::frame::Watermark;
use snapless_wire::id::FileTime;
use snapless_wire::record::Records;

fn timeline(records: &[u8]) -> Timeline {
    let mut state = StreamState::new(geometry(LENGTH));
    for record in Records::new(records) {
        state.accept(&record.unwrap().header).unwrap();
    }
    state.timeline().clone()
}

fn cut(timeline: &Timeline, time: u64) -> Result<Cut, NotRestorable> {
    timeline.resolve(At::Time(FileTime::new(time))).map(|point| point.cut)
}

fn is_until(cut: Result<Cut, NotRestorable>, time: u64) -> bool {
    matches!(cut, Ok(Cut::Until(instant)) if instant.time == FileTime::new(time))
}

#[test]
fn nothing_can_be_restored_before_the_first_sync_is_complete() {
    let mut driver = Driver::default();
    assert_eq!(timeline(&[]).resolve(At::Latest), Err(NotRestorable::Nothing));
    let records = [driver.start(), driver.block(0, 1)].concat();
    let timeline = timeline(&records);
    for at in [At::T0, At::Latest, At::Time(FileTime::new(driver.time - driver.tick))] {
        let refused = timeline.resolve(at).unwrap_err();
        assert!(refused.to_string().contains("1 of 5 blocks"), "{refused}");
    }
}

#[test]
fn every_instant_from_t0_on_can_be_restored_once_it_is() {
    let mut driver = Driver::default();
    let t0 = driver.time;
    let records = driver.first_sync();
    let last = driver.time - driver.tick;
    let timeline = timeline(&records);
    assert!(is_until(cut(&timeline, t0), t0));
    assert!(is_until(cut(&timeline, t0 + 1), t0 + 1));
    assert_eq!(cut(&timeline, last), Ok(Cut::Through(Seq::new(8))));
    assert_eq!(timeline.resolve(At::T0).unwrap().cut, Cut::Base);
    assert!(matches!(cut(&timeline, t0 - 1), Err(NotRestorable::TooEarly { .. })));
    let late = cut(&timeline, last + 1).unwrap_err();
    assert!(late.to_string().contains("--at latest"), "{late}");
}

#[test]
fn an_instant_in_a_gap_is_refused_and_its_neighbours_named() {
    let mut driver = Driver::default();
    let mut records = driver.first_sync();
    let begin = driver.time;
    records.extend(driver.gap());
    records.extend(driver.resync(0, 1));
    let end = driver.time;
    records.extend(driver.consistent());
    let timeline = timeline(&records);
    // A gap inside a connection: known up to the marker's own instant.
    assert_eq!(cut(&timeline, begin), Ok(Cut::Through(Seq::new(8))));
    let [at, before, after] = [begin + 1, begin, end].map(FileTime::new);
    let (before, after) = (Some(before), Some(after));
    let refused = NotRestorable::Between { at, before, after, lost_base: false };
    assert_eq!(cut(&timeline, begin + 1), Err(refused));
    assert!(cut(&timeline, end - 1).is_err());
    assert_eq!(cut(&timeline, end), Ok(Cut::Through(Seq::new(11))));
}

#[test]
fn after_a_loss_the_gap_reaches_back_to_the_last_record_that_arrived() {
    let mut driver = Driver::default();
    let mut records = driver.first_sync();
    let last = driver.time - driver.tick;
    driver.seq += 3;
    driver.time += 1000;
    driver.epoch += 1;
    records.extend(driver.gap());
    let timeline = timeline(&records);
    assert_eq!(cut(&timeline, last), Ok(Cut::Through(Seq::new(8))));
    let refused = cut(&timeline, last + 1).unwrap_err();
    assert!(refused.to_string().contains("after there is none yet"), "{refused}");
    let latest = timeline.resolve(At::Latest).unwrap();
    assert_eq!(latest.cut, Cut::Through(Seq::new(8)));
    assert_eq!(latest.gap_since, Some(FileTime::new(driver.time - driver.tick)));
}

#[test]
fn a_gap_for_a_sleep_reaches_back_to_the_last_record_or_watermark() {
    for quiet in [0, 500] {
        let (mut driver, mut state) = (Driver::default(), StreamState::new(geometry(LENGTH)));
        let feed = |state: &mut StreamState, records: Vec<u8>| {
            for record in Records::new(&records) {
                state.accept(&record.unwrap().header).unwrap();
            }
        };
        feed(&mut state, driver.first_sync());
        let known = driver.time - driver.tick + quiet;
        let monotonic = driver.monotonic - driver.tick + quiet;
        let watermark = Watermark::new(Seq::new(driver.seq), FileTime::new(known), monotonic);
        state.mark(&watermark).unwrap();
        (driver.time, driver.monotonic) = (driver.time + 1000, driver.monotonic + 1000);
        // Nothing was captured meanwhile: it has the number that follows.
        feed(&mut state, driver.gap_for(GapReason::Slept));
        let latest = state.timeline().resolve(At::Latest).unwrap();
        assert_eq!(latest.time, FileTime::new(known));
        assert!(cut(state.timeline(), known + 1).is_err(), "the machine may have slept by then");
    }
}

#[test]
fn a_block_lost_before_it_was_captured_takes_the_points_before_its_resync_with_it() {
    let mut driver = Driver::default();
    let records = [driver.start(), driver.blocks(0..4), driver.gap(), driver.resync(4, 1)].concat();
    let end = driver.time;
    let rest = [driver.consistent(), driver.write(0, SECTOR, 1)].concat();
    let timeline = timeline(&[records, rest].concat());
    let after = Some(FileTime::new(end));
    let refused = timeline.resolve(At::T0);
    assert_eq!(refused, Err(NotRestorable::T0Lost { blocks: 1, first: after }));
    let refused = cut(&timeline, common::T0).unwrap_err();
    let at = FileTime::new(common::T0);
    assert_eq!(refused, NotRestorable::Between { at, before: None, after, lost_base: true });
    assert!(refused.to_string().contains("before they were captured"), "{refused}");
    assert!(is_until(cut(&timeline, end), end));
    assert!(timeline.resolve(At::Latest).is_ok());
}

#[test]
fn while_such_a_gap_lasts_there_is_no_point_at_all() {
    let mut driver = Driver::default();
    let mut records = [driver.start(), driver.gap()].concat();
    for block in 0..5 {
        records.extend(driver.resync(block, 1));
    }
    let refused = timeline(&records).resolve(At::Latest).unwrap_err();
    assert!(matches!(refused, NotRestorable::NoPoint { .. }), "{refused}");
}

#[test]
fn a_clock_that_steps_back_does_not_reorder_the_stream() {
    let mut driver = Driver::default();
    let mut records = driver.first_sync();
    let high = driver.time;
    records.extend(driver.write(0, SECTOR, 1));
    driver.time = high - 1000;
    records.extend(driver.write(0, SECTOR, 2));
    let timeline = timeline(&records);
    let ranges = timeline.ranges();
    assert_eq!(ranges.len(), 1);
    assert_eq!(ranges[0].to.time(), FileTime::new(high));
    assert_eq!(cut(&timeline, high), Ok(Cut::Through(Seq::new(10))));
}

#[test]
fn a_clock_that_steps_forward_and_back_moves_no_later_point() {
    const HOUR: u64 = 36_000_000_000;
    let mut driver = Driver::default();
    let mut records = driver.first_sync();
    driver.time += HOUR;
    records.extend(driver.write(0, SECTOR, 1));
    driver.time -= HOUR;
    let (again, last) = (driver.time, driver.time + driver.tick);
    records.extend([driver.write(0, SECTOR, 2), driver.write(0, SECTOR, 3)].concat());
    let timeline = timeline(&records);
    assert!(is_until(cut(&timeline, again), again));
    assert_eq!(cut(&timeline, last), Ok(Cut::Through(Seq::new(11))));
    assert!(
        is_until(cut(&timeline, again - 1), again - driver.tick + HOUR),
        "the clock was wrong then"
    );
    assert!(matches!(cut(&timeline, last + 1), Err(NotRestorable::TooLate { .. })));
}

#[test]
fn with_a_coarse_clock_a_gap_shorter_than_its_step_hides_nothing() {
    let mut driver = Driver { tick: 0, ..Driver::default() };
    let records = [
        driver.first_sync(),
        driver.gap(),
        driver.resync(0, 1),
        driver.consistent(),
        driver.write(0, BLOCK, 1),
    ]
    .concat();
    let timeline = timeline(&records);
    assert_eq!(timeline.ranges().len(), 2);
    assert_eq!(cut(&timeline, driver.time), Ok(Cut::Through(Seq::new(12))));
}

#[test]
fn a_second_gap_marker_inside_a_gap_changes_nothing() {
    let mut driver = Driver::default();
    let gap = [driver.first_sync(), driver.gap(), driver.gap(), driver.consistent()];
    let timeline = timeline(&gap.concat());
    assert_eq!(timeline.gaps().len(), 1);
    assert_eq!(timeline.gaps()[0].begin.seq, Seq::new(9));
}

#[test]
fn a_list_of_gaps_has_an_end_and_no_point_moves() {
    let mut driver = Driver::default();
    let mut records = driver.first_sync();
    let t0 = common::T0;
    // Of the first gaps, the two that are closest together count as one in the end.
    let mut near = Vec::new();
    for index in 0..=GAPS_MAX {
        records.extend([driver.gap(), driver.consistent()].concat());
        let writes = if index == 5 { 1 } else { 2 };
        if index == 5 {
            near = vec![driver.time];
        }
        for _ in 0..writes {
            records.extend(driver.zero(RecordKind::Write, 0, SECTOR));
        }
        if index == 5 {
            near.push(driver.time - driver.tick);
        }
    }
    let timeline = timeline(&records);
    assert_eq!((timeline.gaps().len(), timeline.ranges().len()), (GAPS_MAX, GAPS_MAX + 1));
    let refused = cut(&timeline, near[0] + 1).unwrap_err();
    assert!(refused.to_string().contains("in a gap"), "{refused}");
    assert!(cut(&timeline, t0).is_ok() && timeline.resolve(At::Latest).is_ok());
    let last = driver.time - driver.tick;
    assert!(cut(&timeline, last).is_ok() && cut(&timeline, last - 1).is_ok());
}
