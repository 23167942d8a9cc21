//! The store loses nothing that it has acknowledged, in every short history and in long ones by
//! seed; and a store that breaks a rule is found.

use snapless_sim::store::{Medium, StoreFailure, StoreSabotage, Tally, exhaust, play};

#[test]
fn every_history_of_two_operations_loses_nothing() {
    let tally = exhaust(Medium::Files, 2, 1, None).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(tally.crashes > 1_000, "{tally}");
    assert!(tally.faults > 1_000, "{tally}");
    assert!(tally.damages > 1_000, "{tally}");
    assert!(tally.points > 10_000, "{tally}");
}

#[test]
fn long_histories_by_seed_lose_nothing() {
    let mut total = Tally::default();
    for seed in 1..=15 {
        total += play(Medium::Files, seed, 150, None).unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert!(total.crashes > 50, "{total}");
    assert!(total.faults > 50, "{total}");
    assert!(total.damages > 50, "{total}");
}

#[test]
fn a_time_that_only_a_lost_watermark_showed_is_one_that_the_clock_skipped() {
    let tally = play(Medium::Files, 5002, 150, None).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(tally.crashes > 0, "{tally}");
}

#[test]
fn every_history_of_objects_of_one_operation_loses_nothing() {
    let tally = exhaust(Medium::Objects, 1, 1, None).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(tally.faults > 500, "{tally}");
    assert!(tally.takeovers > 200, "{tally}");
    assert!(tally.damages > 100, "{tally}");
    assert!(tally.points > 1_000, "{tally}");
}

#[test]
fn long_histories_of_objects_by_seed_lose_nothing() {
    let mut total = Tally::default();
    for seed in 1..=8 {
        let played = play(Medium::Objects, seed, 80, None);
        total += played.unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert!(total.crashes > 20, "{total}");
    assert!(total.faults > 20, "{total}");
    assert!(total.takeovers > 10, "{total}");
    assert!(total.damages > 20, "{total}");
}

#[test]
fn a_server_that_takes_an_object_of_another_for_its_own_is_found() {
    found(Medium::Objects, StoreSabotage::AnyWinner);
}

#[test]
fn a_takeover_that_stores_no_segment_is_found() {
    found(Medium::Objects, StoreSabotage::NoFence);
}

#[test]
fn a_segment_that_replaces_another_is_found() {
    found(Medium::Objects, StoreSabotage::Overwrite);
}

#[test]
fn a_creation_that_is_trusted_without_an_answer_is_found() {
    found(Medium::Objects, StoreSabotage::TrustedLoss);
}

#[test]
fn a_collection_that_does_not_look_for_leases_is_found() {
    found(Medium::Objects, StoreSabotage::IgnoredLeases);
}

#[test]
fn an_epoch_of_objects_that_is_acknowledged_before_its_commit_is_found() {
    found(Medium::Objects, StoreSabotage::EarlyAcknowledgement);
}

#[test]
fn a_salvage_that_does_not_say_where_it_is_unsure_is_found() {
    found_by_damage(Medium::Objects, StoreSabotage::UnlistedEnd);
}

#[test]
fn a_verify_that_names_one_of_several_files_is_found() {
    found_by_damage(Medium::Objects, StoreSabotage::OneName);
}

#[test]
fn a_finished_segment_that_lost_its_end_where_nothing_tells_is_found() {
    let failure = found_by_damage(Medium::Files, StoreSabotage::UntoldEnd);
    assert!(failure.steps.iter().any(|step| step.contains("Short")), "{failure}");
}

/// The first failure of a sabotage that only damage shows: in the shortest histories, by seed, or
/// in longer ones.
fn found_by_damage(medium: Medium, sabotage: StoreSabotage) -> StoreFailure {
    let failure = |depth| exhaust(medium, depth, depth, Some(sabotage)).err();
    let by_seed = || (1..=20).find_map(|seed| play(medium, seed, 100, Some(sabotage)).err());
    let failure = failure(0).or_else(by_seed).or_else(|| failure(1));
    *failure.unwrap_or_else(|| panic!("{sabotage:?} is not found"))
}

/// The first failure of a sabotage: in a short history, or by one of the first seeds.
fn found(medium: Medium, sabotage: StoreSabotage) -> StoreFailure {
    // In a bucket a crash alone shows nothing.
    let faults_depth = usize::from(medium == Medium::Objects);
    let failure = exhaust(medium, 1, faults_depth, Some(sabotage)).err();
    let by_seed = || (1..=100).find_map(|seed| play(medium, seed, 100, Some(sabotage)).err());
    *failure.or_else(by_seed).unwrap_or_else(|| panic!("{sabotage:?} is not found"))
}

#[test]
fn an_epoch_that_is_acknowledged_without_a_sync_is_found() {
    let failure = found(Medium::Files, StoreSabotage::NoSync);
    assert!(failure.what.contains("acknowledged") || failure.what.contains("gone"), "{failure}");
}

#[test]
fn a_name_that_is_not_synced_is_found() {
    let failure = found(Medium::Files, StoreSabotage::NoDirectorySync);
    assert!(failure.what.contains("acknowledged") || failure.what.contains("gone"), "{failure}");
}

#[test]
fn an_epoch_that_is_acknowledged_before_its_commit_is_found() {
    found(Medium::Files, StoreSabotage::EarlyAcknowledgement);
}

#[test]
fn a_tail_that_is_kept_after_a_failed_sync_is_found() {
    let failure = found(Medium::Files, StoreSabotage::SyncAgain);
    assert!(failure.steps.iter().any(|step| step.contains("Dropped")), "{failure}");
}

#[test]
fn a_file_that_is_not_cut_back_is_found() {
    found(Medium::Files, StoreSabotage::NoCut);
}

#[test]
fn a_log_that_is_removed_before_the_history_is_durable_is_found() {
    let failure = found(Medium::Files, StoreSabotage::EarlyCollection);
    assert!(failure.steps.iter().any(|step| step.contains("Fold")), "{failure}");
}

#[test]
fn a_younger_map_that_a_fold_forgets_is_found() {
    let failure = found(Medium::Files, StoreSabotage::ForgottenMap);
    assert!(failure.steps.iter().any(|step| step.contains("Fold")), "{failure}");
}

#[test]
fn a_failure_by_seed_replays() {
    let failing = |seed| {
        play(Medium::Files, seed, 60, Some(StoreSabotage::NoSync)).err().map(|it| (seed, it))
    };
    let (seed, first) = (1..=100).find_map(failing).expect("one of the seeds loses something");
    let (_, again) = failing(seed).expect("the same seed fails again");
    assert_eq!((&first.steps, &first.what), (&again.steps, &again.what));
    assert!(first.replay.contains(&format!("--store --seed {seed} ")), "{first}");
    assert!(first.replay.contains("--store-sabotage no-sync"), "{first}");
}
