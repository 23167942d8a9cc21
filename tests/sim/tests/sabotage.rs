//! A host or a server's disk that breaks its side of the contract is found, by a rule that it
//! breaks.

#[macro_use]
mod found;

use snapless_sim::{Batch, Failure, Options, Rule, Sabotage, run, shrink};

/// Within so many seeds a sabotage has to be found.
const SEEDS: u64 = 2_000;

fn first_failure(sabotage: Sabotage) -> Failure {
    let first = Options { sabotage: Some(sabotage), ..Options::new(1) };
    let failure = Batch::new(first, SEEDS).play(|_, _| ()).err();
    *failure.unwrap_or_else(|| panic!("{sabotage:?} is not found in {SEEDS} seeds"))
}

each_is_found! {
    fn a_session_that_begins_before_earlier_writes_are_done_breaks_t0() {
        NoDrain => T0, Loss, Point
    }
    // After a gap, a block is read while such a write is still in flight.
    fn overlapping_writes_that_are_not_kept_apart_break_order() { NoOverlap => Order, Loss, Point }
    fn a_held_write_that_reaches_the_disk_early_breaks_t0() { NoHold => T0, Loss, Order, Point }
    fn a_failed_write_that_is_reported_as_done_breaks_truth() { NoTruth => Truth, Loss, Point }
    fn an_epoch_that_is_acknowledged_too_early_breaks_loss() { NoEpochs => Loss, Resume }
    fn a_failed_read_that_is_reported_as_done_breaks_the_image() { NoReadErrors => T0, Loss, Point }
    fn a_write_that_never_reaches_the_disk_is_not_clear() { NoIssue => Clear }
    fn a_captured_write_that_the_disk_transfers_from_a_changing_buffer_breaks_loss() {
        NoCopy => Loss, Point
    }
    fn wake_ups_that_get_lost_hang_writes() { NoWakes => Hang }
    fn data_that_is_said_to_be_none_breaks_t0() { NoData => T0, Loss, Point }
    fn free_space_that_is_asked_for_before_t0_breaks_t0() { EarlyHoles => T0, Loss, Point }
    fn clusters_that_are_free_at_t0_and_were_not_before_break_t0() { LateClusters => T0, Loss, Point }
    fn an_exclusion_that_outlives_its_file_breaks_loss() {
        ExclusionOutlivesFile => T0, Loss, Point, Clear
    }
    fn extents_that_a_file_lost_before_t0_and_that_are_excluded_break_t0() {
        NoReview => T0, Loss, Point
    }
    fn an_epoch_that_the_server_acknowledges_before_it_is_synced_breaks_loss() {
        NoSync => Loss, Resume
    }
    fn a_service_that_does_not_send_again_after_a_cut_breaks_loss() { NoResend => Loss, Resume }
    fn a_watermark_that_a_newer_record_in_the_queue_contradicts_breaks_point() {
        NewerInQueue => Point, Loss
    }
    fn a_watermark_that_is_later_than_the_drivers_answer_breaks_point() { LateWatermark => Point }
    // A write that fails leaves the content that the server had before it.
    fn a_block_that_was_written_since_and_is_called_unchanged_breaks_the_image() {
        ForgetsWrites => T0, Loss, Point, Truth
    }
    fn a_bit_of_the_volume_that_no_write_has_changed_is_found() { FlippedBit => Loss }
    fn a_check_that_is_compared_with_another_instant_is_found() { OtherInstant => Loss }
    fn a_segment_whose_name_is_not_synced_breaks_loss() { NoDirectorySync => Loss, Resume }
}

#[test]
fn a_failure_names_a_command_that_replays_it_and_shrinks() {
    let failure = first_failure(Sabotage::NoTruth);
    let again = run(&failure.options).expect_err("the same options fail again");
    assert_eq!((again.step, again.rule, &again.what), (failure.step, failure.rule, &failure.what));
    let text = failure.to_string();
    let replay = format!("cargo xtask sim --seed {} --steps", failure.options.seed);
    assert!(text.contains(&replay) && text.contains("--sabotage no-truth"), "{text}");

    let small = shrink(&failure);
    assert_eq!(small.rule, failure.rule);
    assert!(small.options.steps <= failure.options.steps);
    assert!(!small.options.without.is_empty());
    let again = run(&small.options).expect_err("the smaller run fails too");
    assert_eq!(again.rule, small.rule);
}
