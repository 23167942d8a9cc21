//! Every rule holds in every run, and a seed decides its run.

use std::collections::BTreeSet;
use std::sync::Mutex;

use snapless_sim::{Batch, Options, Report};

fn play(first: Options, seeds: u64, on_report: impl Fn(u64, &Report) + Sync) -> Report {
    Batch::new(first, seeds).play(on_report).unwrap_or_else(|failure| panic!("{failure}"))
}

#[test]
fn three_hundred_seeds_keep_every_rule() {
    let total = play(Options::new(1), 300, |_, _| ());
    // The seeds reach what they are meant to reach.
    assert_eq!(total.runs, 300);
    assert!(total.held > 10_000, "{total}");
    assert!(total.cancelled > 100, "{total}");
    assert!(total.power_cuts > 10, "{total}");
    assert!(total.points > 10_000, "{total}");
    assert!(total.restored > 1_000, "{total}");
    assert!(total.watermarks > 2_000, "{total}");
    assert!(total.gaps > 300, "{total}");
    assert!(total.losses > 50, "{total}");
    assert!(total.successions > 30, "{total}");
    assert!(total.unchanged > 100, "{total}");
    assert!(total.base_images > 150, "{total}");
    assert!(total.gaps_closed_under_load > 50, "{total}");
    assert!(total.repairs > 100, "{total}");
    assert!(total.clearings > 500, "{total}");
    assert!(total.skipped > 300, "{total}");
}

#[test]
fn long_runs_keep_every_rule() {
    let first = Options { steps: 50_000, ..Options::new(10_000) };
    play(first, 10, |_, _| ());
}

/// A write of most of a large volume is held while its blocks are read.
#[test]
fn a_long_write_is_held_for_as_long_as_its_reads_take() {
    play(Options::new(104_774), 1, |_, _| ());
}

#[test]
fn a_gap_is_made_good_under_writers_that_never_stop() {
    // Where nothing else goes wrong, the service dies once in half of the runs.
    let first = Options { steps: 60_000, ..Options::without_faults(20_000) };
    let (with_gap, open) = (Mutex::new(0), Mutex::new(Vec::new()));
    play(first, 60, |seed, report| {
        *with_gap.lock().unwrap() += u64::from(report.losses > 0);
        if report.losses > 0 && report.gaps_closed_under_load == 0 {
            open.lock().unwrap().push(seed);
        }
    });
    let (with_gap, open) = (with_gap.into_inner().unwrap(), open.into_inner().unwrap());
    assert!(with_gap > 5, "{with_gap} runs lost their service");
    assert!(open.is_empty(), "{open:?}: seeds whose gap was still open at the end");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1..=20 {
        let [first, second] = [0; 2].map(|_| play(Options::new(seed), 1, |_, _| ()));
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn different_seeds_give_different_traces() {
    let trace = |seed| play(Options::new(seed), 1, |_, _| ()).trace;
    assert_eq!((1..=20).map(trace).collect::<BTreeSet<_>>().len(), 20);
}

#[test]
fn without_faults_and_gaps_every_base_image_is_complete() {
    let first = Options::without_faults(1);
    let incomplete = Mutex::new(Vec::new());
    play(first, 100, |seed, report| {
        if report.gaps == 0 && report.base_images == 0 {
            incomplete.lock().unwrap().push(seed);
        }
    });
    let incomplete = incomplete.into_inner().unwrap();
    assert!(incomplete.is_empty(), "{incomplete:?}");
}
