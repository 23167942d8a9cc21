//! Every order of steps within small bounds keeps every rule; the defects that are put in are
//! found.
//!
//! A larger check by hand: `cargo run --release -p snapless-model -- --help`.

use snapless_model::bounds::{Budget, Sizes};
use snapless_model::sabotage::Sabotage;
use snapless_model::{Check, Report};

const SIZES: Sizes =
    Sizes { blocks: 2, queue: 30, epochs: 3, window: 8, in_flight: 1, begins_anew: false };
/// A queue that three writes or a first sync fill.
const SHORT_QUEUE: Sizes = Sizes { queue: 6, ..SIZES };

fn explore(check: Check) -> Report {
    let report = check.run(1);
    println!("{report}");
    report
}

/// Explores everything within the bounds.
#[track_caller]
fn holds(check: Check) {
    let report = explore(check);
    assert!(report.broken.is_none() && report.missing.is_empty(), "{report}");
}

/// Explores until a property is broken: one whose name begins so.
#[track_caller]
fn is_broken(check: Check, begin: &str) {
    let report = explore(check);
    let name = report.broken.as_ref().map_or("none", |(name, _)| *name);
    assert!(name.starts_with(begin), "{begin}: {report}");
}

fn honest(sizes: Sizes, budget: Budget) -> Check {
    Check::new(sizes, budget, None)
}

fn sabotaged(sabotage: Sabotage, sizes: Sizes, budget: Budget) -> Check {
    Check::new(sizes, budget, Some(sabotage))
}

const NOTHING: Budget = Budget {
    writes: 0,
    urgent: 0,
    failures: 0,
    hold_limits: 0,
    epoch_ends: 0,
    cuts: 0,
    service_crashes: 0,
    losses: 0,
    server_crashes: 0,
    copies: 0,
    exchanges: 0,
    reboots: 0,
    shutdowns: 0,
    writes_behind: 0,
    snapshots: 0,
    reverts: 0,
    with_memory: false,
};
const A_WRITE: Budget = Budget { writes: 1, ..NOTHING };

#[test]
fn a_cut_at_any_step_makes_no_gap() {
    holds(honest(SIZES, Budget { cuts: 1, ..A_WRITE }).without_gap());
}

#[test]
fn crashes_of_service_and_server_and_a_cut_make_no_gap_while_the_queue_holds() {
    let budget = Budget { cuts: 1, service_crashes: 1, server_crashes: 1, ..A_WRITE };
    holds(honest(SIZES, budget).without_gap());
}

#[test]
fn two_lives_of_the_service_are_followed_by_a_third_without_a_gap() {
    holds(honest(SIZES, Budget { service_crashes: 2, ..A_WRITE }).without_gap());
}

#[test]
fn a_service_that_crashes_beside_a_short_queue_is_followed_by_one_that_resyncs() {
    holds(honest(SHORT_QUEUE, Budget { writes: 2, service_crashes: 1, ..NOTHING }));
}

#[test]
fn a_queue_that_stays_full_makes_a_gap_that_ends() {
    holds(honest(SHORT_QUEUE, Budget { writes: 2, hold_limits: 1, ..NOTHING }));
}

#[test]
fn records_that_are_of_no_use_are_lost_and_their_blocks_read_again() {
    holds(honest(SIZES, Budget { losses: 1, ..A_WRITE }));
}

#[test]
fn a_cut_in_an_epoch_longer_than_the_window_ends_the_claim_and_loses_nothing() {
    let sizes = Sizes { window: 1, ..SIZES };
    holds(honest(sizes, Budget { cuts: 1, ..A_WRITE }).without_gap());
}

#[test]
fn writes_that_fail_or_must_not_wait_make_a_gap_that_ends() {
    holds(honest(SIZES, Budget { urgent: 1, failures: 1, ..NOTHING }));
}

#[test]
fn what_cannot_go_on_begins_anew_where_no_session_continues() {
    let sizes = Sizes { begins_anew: true, ..SIZES };
    let reboot = explore(honest(sizes, Budget { reboots: 1, writes_behind: 1, ..A_WRITE }));
    assert!(reboot.broken.is_none(), "{reboot}");
    let back = explore(honest(sizes, Budget { copies: 1, exchanges: 2, ..A_WRITE }));
    assert!(back.broken.is_none(), "{back}");
}

#[test]
fn a_session_continues_after_a_reboot_whatever_was_written_meanwhile() {
    holds(honest(SIZES, Budget { reboots: 1, writes_behind: 1, ..A_WRITE }));
}

#[test]
fn a_session_continues_behind_a_repository_that_was_put_back() {
    holds(honest(SIZES, Budget { copies: 1, exchanges: 1, ..A_WRITE }));
}

#[test]
fn a_session_continues_on_a_machine_that_was_put_back() {
    holds(honest(SIZES, Budget { snapshots: 1, reverts: 1, ..A_WRITE }));
}

#[test]
fn after_an_orderly_restart_only_what_the_server_may_lack_is_read() {
    holds(honest(SIZES, Budget { shutdowns: 1, ..A_WRITE }));
    holds(honest(SIZES, Budget { shutdowns: 1, service_crashes: 1, ..A_WRITE }));
}

#[test]
fn a_saved_state_counts_once_and_not_after_another_system() {
    holds(honest(SIZES, Budget { shutdowns: 1, writes_behind: 1, ..A_WRITE }));
    holds(honest(SIZES, Budget { shutdowns: 1, reboots: 1, ..A_WRITE }));
    holds(honest(SIZES, Budget { shutdowns: 2, ..A_WRITE }));
}

#[test]
fn a_saved_state_counts_for_no_server_and_no_disk_but_those_that_it_was_saved_for() {
    let sizes = Sizes { blocks: 1, ..SIZES };
    holds(honest(sizes, Budget { shutdowns: 1, copies: 1, exchanges: 2, ..A_WRITE }));
    holds(honest(sizes, Budget { shutdowns: 1, snapshots: 1, reverts: 1, ..A_WRITE }));
}

#[test]
fn a_repository_that_is_exchanged_for_an_older_copy_and_comes_back_is_noticed() {
    holds(honest(SIZES, Budget { copies: 1, exchanges: 2, ..A_WRITE }));
}

/// A machine that is put back with its memory makes other records with the same numbers. Whoever
/// comes next notices when the server's last one was made.
#[test]
fn a_machine_put_back_with_its_memory_is_noticed() {
    holds_if_possible(honest(PUT_BACK_SIZES, PUT_BACK));
    holds_if_possible(honest(PUT_BACK_SIZES, Budget { writes: 2, ..PUT_BACK }));
    let sizes = Sizes { begins_anew: false, ..PUT_BACK_SIZES };
    holds_if_possible(honest(sizes, PUT_BACK));
}

#[test]
fn a_machine_put_back_with_its_memory_is_noticed_by_the_next_service() {
    let budget = Budget { service_crashes: 1, ..PUT_BACK };
    holds_if_possible(honest(PUT_BACK_SIZES, budget));
    let sizes = Sizes { begins_anew: false, ..PUT_BACK_SIZES };
    holds_if_possible(honest(sizes, budget));
}

#[test]
fn a_machine_put_back_with_its_memory_that_then_shuts_down_is_noticed() {
    let sizes = Sizes { begins_anew: false, ..PUT_BACK_SIZES };
    holds_if_possible(honest(sizes, Budget { shutdowns: 1, ..PUT_BACK }));
}

/// As [`holds`], where not all that should be possible is: too little happens for a gap.
#[track_caller]
fn holds_if_possible(check: Check) {
    let report = explore(check);
    assert!(report.broken.is_none(), "{report}");
}

const PUT_BACK: Budget =
    Budget { epoch_ends: 1, snapshots: 1, reverts: 1, with_memory: true, ..NOTHING };
const PUT_BACK_SIZES: Sizes = Sizes { blocks: 1, epochs: 2, begins_anew: true, ..SIZES };

#[test]
fn every_defect_of_a_step_is_found() {
    use Sabotage as S;
    let crash = Budget { service_crashes: 1, ..A_WRITE };
    let reboot = Budget { reboots: 1, writes_behind: 1, ..A_WRITE };
    let urgent = Budget { urgent: 1, ..NOTHING };
    let server = Budget { server_crashes: 1, ..A_WRITE };
    let cut = Budget { cuts: 1, ..A_WRITE };
    let exchange = Budget { copies: 1, exchanges: 1, ..A_WRITE };
    let two = |budget: Budget| Budget { writes: 2, ..budget };
    let check = |sabotage, budget| sabotaged(sabotage, SIZES, budget);

    let needless = "RESUME: no gap while the queue holds";
    is_broken(check(S::FreesDrained, crash).without_gap(), needless);
    let short = sabotaged(S::ForgetsGivenUp, SHORT_QUEUE, two(crash));
    is_broken(short, "LOSS: the server refuses");
    is_broken(check(S::ForgetsLostEpochs, Budget { losses: 1, ..A_WRITE }), "TRUTH");
    is_broken(check(S::UsesSpoiltRead, urgent), "TRUTH");
    is_broken(check(S::ReadsUnderWrite, urgent), "TRUTH");
    is_broken(check(S::ForgetsFailure, Budget { failures: 1, ..A_WRITE }), "TRUTH");
    is_broken(check(S::ForgetsHold, A_WRITE), "LOSS: the server refuses");
    is_broken(check(S::ContinuesWithoutGap, reboot), "LOSS: the server refuses");
    is_broken(check(S::DoesNotCompareABlock, reboot), "TRUTH");
    let shutdown = Budget { shutdowns: 1, ..A_WRITE };
    is_broken(check(S::SavesTooLittle, shutdown), "TRUTH");
    is_broken(check(S::ForgetsWritesAtBoot, shutdown), "TRUTH");
    is_broken(check(S::UsesStateTwice, Budget { reboots: 1, ..shutdown }), "TRUTH");
    is_broken(check(S::TrustsAnyStamp, Budget { writes_behind: 1, ..shutdown }), "TRUTH");
    let put_back = Budget { shutdowns: 1, copies: 1, exchanges: 1, ..A_WRITE };
    is_broken(check(S::TrustsAnyState, put_back), "TRUTH");
    is_broken(check(S::NumbersTooEarly, reboot), "RESUME: driver, service and server agree");
    let twice = Budget { copies: 1, exchanges: 2, ..A_WRITE };
    // A service that lives notices it.
    let twice = Budget { service_crashes: 1, ..twice };
    is_broken(check(S::RepeatsNumbers, twice), "LOSS: the server refuses");
    let put_back = |sabotage, budget| sabotaged(sabotage, PUT_BACK_SIZES, budget);
    let next = Budget { service_crashes: 1, ..PUT_BACK };
    is_broken(put_back(S::TakesAnyPast, next), "LOSS: the server refuses");
    let written = Budget { writes: 2, ..PUT_BACK };
    is_broken(put_back(S::JoinsAnyPast, written), "RESUME: in the end");
    is_broken(put_back(S::RepeatsRefused, next), "RESUME: driver, service and server agree");
    is_broken(check(S::TrustsAnyWelcome, exchange), "RESUME: driver, service and server agree");
    is_broken(check(S::DoesNotSendAgain, cut), "LOSS: the server refuses");
    is_broken(check(S::AcknowledgesEarly, server), "LOSS: what was acknowledged is there");
    is_broken(check(S::ForgetsTakeover, cut), "LOSS: the server refuses");
    is_broken(check(S::LosesDurable, server), "LOSS: what was acknowledged is there");
}
