//! The store loses nothing that it has acknowledged, in every short history and in long ones by
//! seed; and a store that breaks a rule is found.

use snapless_sim::store::{StoreFailure, StoreSabotage, Tally, exhaust, play};

#[test]
fn every_history_of_two_operations_loses_nothing() {
    let tally = exhaust(2, 1, None).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(tally.crashes > 1_000, "{tally}");
    assert!(tally.faults > 1_000, "{tally}");
    assert!(tally.damages > 1_000, "{tally}");
    assert!(tally.points > 10_000, "{tally}");
}

#[test]
fn long_histories_by_seed_lose_nothing() {
    let mut total = Tally::default();
    for seed in 1..=15 {
        total += play(seed, 150, None).unwrap_or_else(|failure| panic!("{failure}"));
    }
    assert!(total.crashes > 50, "{total}");
    assert!(total.faults > 50, "{total}");
    assert!(total.damages > 50, "{total}");
}

#[test]
fn a_time_that_only_a_lost_watermark_showed_is_one_that_the_clock_skipped() {
    let tally = play(5002, 150, None).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(tally.crashes > 0, "{tally}");
}

/// The first failure of a sabotage: in a short history, or by one of the first seeds.
fn found(sabotage: StoreSabotage) -> StoreFailure {
    let failure = exhaust(1, 0, Some(sabotage)).err();
    let by_seed = || (1..=100).find_map(|seed| play(seed, 100, Some(sabotage)).err());
    *failure.or_else(by_seed).unwrap_or_else(|| panic!("{sabotage:?} is not found"))
}

#[test]
fn an_epoch_that_is_acknowledged_without_a_sync_is_found() {
    let failure = found(StoreSabotage::NoSync);
    assert!(failure.what.contains("acknowledged") || failure.what.contains("gone"), "{failure}");
}

#[test]
fn a_name_that_is_not_synced_is_found() {
    let failure = found(StoreSabotage::NoDirectorySync);
    assert!(failure.what.contains("acknowledged") || failure.what.contains("gone"), "{failure}");
}

#[test]
fn an_epoch_that_is_acknowledged_before_its_commit_is_found() {
    found(StoreSabotage::EarlyAcknowledgement);
}

#[test]
fn a_tail_that_is_kept_after_a_failed_sync_is_found() {
    let failure = found(StoreSabotage::SyncAgain);
    assert!(failure.steps.iter().any(|step| step.contains("Dropped")), "{failure}");
}

#[test]
fn a_file_that_is_not_cut_back_is_found() {
    found(StoreSabotage::NoCut);
}

#[test]
fn a_log_that_is_removed_before_the_history_is_durable_is_found() {
    let failure = found(StoreSabotage::EarlyCollection);
    assert!(failure.steps.iter().any(|step| step.contains("Fold")), "{failure}");
}

#[test]
fn a_younger_map_that_a_fold_forgets_is_found() {
    let failure = found(StoreSabotage::ForgottenMap);
    assert!(failure.steps.iter().any(|step| step.contains("Fold")), "{failure}");
}

#[test]
fn a_failure_by_seed_replays() {
    let failing = |seed| play(seed, 60, Some(StoreSabotage::NoSync)).err().map(|it| (seed, it));
    let (seed, first) = (1..=100).find_map(failing).expect("one of the seeds loses something");
    let (_, again) = failing(seed).expect("the same seed fails again");
    assert_eq!((&first.steps, &first.what), (&again.steps, &again.what));
    assert!(first.replay.contains(&format!("--store --seed {seed} ")), "{first}");
    assert!(first.replay.contains("--store-sabotage no-sync"), "{first}");
}
