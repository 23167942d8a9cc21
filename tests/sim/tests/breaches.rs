//! Each breach of a rule in the engine itself is found, by a rule that it breaks.
//!
//! `cargo xtask sabotage` runs this: the engine has its breaches in builds with the feature
//! `sabotage` only.

#[macro_use]
mod found;

use snapless_engine::sabotage::Sabotage;
use snapless_sim::group::{self, Place};
use snapless_sim::reboots::play;
use snapless_sim::{Failure, Options, Rule, run};

/// Within so many seeds a breach has to be found.
const SEEDS: u64 = 2_000;

fn first_failure(breach: Sabotage) -> Failure {
    Sabotage::choose(Some(breach));
    let failure = (1..=SEEDS).find_map(|seed| run(&Options::new(seed)).err());
    Sabotage::choose(None);
    *failure.unwrap_or_else(|| panic!("{breach:?} is not found in {SEEDS} seeds"))
}

each_is_found! {
    fn a_write_that_does_not_wait_for_old_content_breaks_t0() { HoldForgotten => T0 }
    fn a_spoilt_read_that_is_used_breaks_t0_or_loss() { SpoiltReadUsed => T0, Loss, Point }
    fn a_base_image_that_is_complete_too_early_breaks_t0() { BaseCompleteTooEarly => T0, Point }
    fn an_exclusion_that_is_not_confirmed_breaks_t0() { ExclusionUnconfirmed => T0, Point }
    fn what_was_changed_before_t0_and_counts_as_unused_breaks_t0() { NotesForgotten => T0, Point }
    fn an_overlap_that_is_forgotten_breaks_order() { OverlapForgotten => Order, Clear, Loss }
    fn a_gap_that_is_forgotten_breaks_loss() { GapForgotten => Loss, Truth, Point }
    fn an_epoch_that_knows_nothing_breaks_loss() { EpochForgotten => Loss, Resume }
    fn a_resync_under_a_write_breaks_loss() { ResyncUnderWrites => T0, Loss, Point }
    fn a_check_that_is_read_under_a_write_breaks_loss() { CheckUnderWrites => Loss }
    fn a_failure_that_is_forgotten_breaks_truth() { FailureForgotten => Truth, Loss, Point }
    fn a_hold_without_limit_hangs_writes() { HoldLimitForgotten => Hang }
    fn a_wake_up_that_is_forgotten_hangs_writes() { WakeForgotten => Hang }
    fn a_write_that_waits_for_a_slot_and_is_forgotten_hangs() { WaiterForgotten => Hang, Clear }
    fn a_failure_that_passes_and_is_taken_for_a_bad_sector_breaks_t0_or_loss() {
        EachFailureABadSector => T0, Loss, Point
    }
    fn memory_that_is_handed_out_twice_breaks_bound() { MemoryHandedOutTwice => Bound }
    fn memory_that_is_used_again_under_the_disk_breaks_bound_or_loss() {
        TransferForgotten => Bound, Loss, Point
    }
    fn records_that_are_freed_before_they_are_acknowledged_make_a_needless_gap() {
        KeptTooShort => Gap
    }
    fn a_sweep_that_does_not_wait_for_acknowledgements_makes_a_needless_gap() {
        SweepTakesKept => Gap
    }
    fn records_that_were_given_up_and_count_as_kept_break_loss() {
        GivenUpForgotten => Loss, Resume, Point, Order, Hang
    }
}

/// The simulator of restarts finds this breach, by one of these rules.
fn restarts_find(breach: Sabotage, rules: &[&str]) {
    Sabotage::choose(Some(breach));
    let found = (1..=SEEDS).find_map(|seed| play(seed).err());
    Sabotage::choose(None);
    let what = found.unwrap_or_else(|| panic!("{breach:?} is not found in {SEEDS} seeds"));
    println!("{what}");
    assert!(rules.iter().any(|rule| what.starts_with(rule)), "{breach:?}: {what}");
}

#[test]
fn a_block_that_is_not_compared_after_a_restart_breaks_loss() {
    restarts_find(Sabotage::BlockNotCompared, &["LOSS"]);
}

#[test]
fn a_change_of_length_that_is_forgotten_breaks_loss_over_restarts() {
    restarts_find(Sabotage::LengthForgotten, &["LOSS"]);
}

#[test]
fn a_saved_state_without_what_is_not_acknowledged_breaks_loss() {
    restarts_find(Sabotage::UnacknowledgedNotSaved, &["LOSS"]);
}

#[test]
fn a_write_without_a_session_that_is_not_noted_breaks_loss() {
    restarts_find(Sabotage::WriteNotNoted, &["LOSS"]);
}

#[test]
fn a_write_that_goes_before_the_log_has_its_region_breaks_loss() {
    restarts_find(Sabotage::LogNotAwaited, &["LOSS"]);
}

#[test]
fn a_mark_that_is_taken_off_before_the_server_has_all_breaks_loss() {
    restarts_find(Sabotage::MarkTakenTooEarly, &["LOSS"]);
}

#[test]
fn a_mark_that_is_taken_off_before_the_disk_has_all_breaks_loss() {
    restarts_find(Sabotage::ClearedUnflushed, &["LOSS"]);
}

#[test]
fn a_log_that_counts_whatever_the_stamp_is_breaks_loss() {
    restarts_find(Sabotage::StampNotCompared, &["LOSS"]);
}

#[test]
fn a_volume_that_counts_as_unchanged_after_a_sleep_breaks_loss() {
    restarts_find(Sabotage::SleepNotNoticed, &["LOSS", "no point"]);
}

#[test]
fn a_slot_that_is_torn_where_it_counted_breaks_loss_or_resume() {
    restarts_find(Sabotage::NewestSlotOverwritten, &["LOSS", "RESUME"]);
}

#[test]
fn a_state_that_counts_whatever_the_server_has_breaks_loss() {
    restarts_find(Sabotage::EndsNotCompared, &["LOSS"]);
}

#[test]
fn the_end_of_an_epoch_that_leaves_before_the_log_lists_it_breaks_resume() {
    restarts_find(Sabotage::EndBeforeSlot, &["RESUME"]);
}

#[test]
fn a_session_that_continues_with_numbers_that_the_server_has_breaks_resume() {
    restarts_find(Sabotage::NumberedTooEarly, &["RESUME"]);
}

#[test]
fn a_session_that_continues_with_numbers_of_a_past_that_comes_back_breaks_resume() {
    restarts_find(Sabotage::NumbersRepeated, &["RESUME", "LOSS", "no point"]);
}

#[test]
fn a_cut_that_is_forgotten_breaks_order() {
    Sabotage::choose(Some(Sabotage::CutForgotten));
    let found = (1..=SEEDS).find_map(|seed| group::play(Place::Machines, seed, None).err());
    Sabotage::choose(None);
    let what = found.expect("a cut in which no write waits is found");
    assert!(what.contains("ORDER"), "{what}");
}

#[test]
fn without_a_breach_the_same_build_keeps_every_rule() {
    for seed in 1..=200 {
        run(&Options::new(seed)).unwrap_or_else(|failure| panic!("{failure}"));
    }
}
