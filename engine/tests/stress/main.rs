//! Stress: the engine on real threads and real atomics, on a disk in memory, with a service that
//! comes and goes.
//!
//! Every round is a session from one replacement of the rundown to the next, under writers that
//! never pause. At its end the replica is compared with the disk: every block that is not dirty has
//! to be equal (rule LOSS), and in every other round, once the resync is through, all of them.
//! Content of t0 is checked record by record (rule T0), and a write that takes half a minute is one
//! that hangs (rule HANG).
//!
//! Queue memory is plain memory: under `ThreadSanitizer` (`cargo xtask tsan`) two threads that the
//! engine lets at the same bytes at the same time are reported. The test takes two seconds, or as
//! many as the variable `SNAPLESS_STRESS_SECONDS` says; what goes wrong here is not repeatable: the
//! simulator (`tests/sim`) is.

mod disk;
mod round;
mod server;
mod system;

use std::cell::UnsafeCell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use snapless_engine::Urgency;
use snapless_types::Extent;

use disk::{BLOCK, BLOCKS, SECTOR};
use round::{Volume, Write};
use system::{Random, StdEvent};

const WRITERS: u64 = 4;
const DISK_THREADS: u64 = 2;
/// Longest write, in sectors: longer than a block, and longer than the session captures.
const SECTORS_MAX: u64 = 40;
const SECONDS: &str = "SNAPLESS_STRESS_SECONDS";

#[test]
fn the_replica_and_the_dirty_blocks_are_the_disk_whatever_runs_at_the_same_time() {
    let seconds = std::env::var(SECONDS).map_or(2, |seconds| {
        seconds.parse().unwrap_or_else(|_| panic!("{SECONDS} is a number of seconds: {seconds}"))
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    let (volume, mut owner) = Volume::new();
    let count = AtomicU64::new(0);
    let mut rounds = 0;
    thread::scope(|scope| {
        for seed in 0..DISK_THREADS {
            let volume = &volume;
            scope.spawn(move || volume.disk_thread(Random::new(1000 + seed)));
        }
        while Instant::now() < end && !volume.has_failed() {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let (volume, count) = (&volume, &count);
                    let seed = rounds * WRITERS + writer + 1;
                    scope.spawn(move || write(volume, Random::new(seed), count))
                })
                .collect();
            volume.round(&mut owner, Random::new(rounds + 77), rounds, writers);
            rounds += 1;
        }
        volume.disk.end();
    });
    println!("{rounds} rounds, {} writes", count.load(Ordering::Relaxed));
    assert!(!volume.has_failed(), "a thread has failed");
    assert!(rounds > 0 && count.load(Ordering::Relaxed) > 0, "nothing was tested");
}

/// A writer: one write after the other, until the round ends.
fn write(volume: &Volume, mut random: Random, count: &AtomicU64) {
    let _guard = volume.guard();
    let done = StdEvent::arc();
    while !volume.is_quiet() {
        let sectors = BLOCKS * BLOCK / SECTOR;
        // Half of the writes go to a few blocks, so that they meet each other.
        let span = if random.one_in(2) { sectors / 8 } else { sectors };
        let start = random.below(span);
        let most = if random.one_in(20) { SECTORS_MAX } else { 12 };
        let len = (1 + random.below(most)).min(sectors - start);
        let urgency = match random.below(100) {
            0 => Urgency::MustNotWait,
            1 => Urgency::PayloadUnavailable,
            _ => Urgency::MayWait,
        };
        let extent = Extent::new(start * SECTOR, len * SECTOR).unwrap();
        let fails = random.one_in(200);
        volume.submit(
            Write { extent, value: random.next(), fails, protection: None, done: done.clone() },
            urgency,
        );
        assert!(done.wait_at_most(Duration::from_secs(30)), "HANG: {extent:?} has not come back");
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The control of `cargo xtask tsan`: if this is not reported, nothing would be.
#[test]
#[ignore = "a race on purpose, for `cargo xtask tsan` only"]
fn a_race_on_purpose() {
    struct Shared(UnsafeCell<u64>);
    // SAFETY: none. Two threads write at the same time, which is what has to be found.
    unsafe impl Sync for Shared {}
    let shared = Shared(UnsafeCell::new(0));
    // Both are there before either writes: a thread that has ended does not race.
    let both = Barrier::new(2);
    thread::scope(|scope| {
        for _ in 0..2 {
            let (shared, both) = (&shared, &both);
            scope.spawn(move || {
                both.wait();
                for value in 0..10_000 {
                    // SAFETY: none, see above; the value outlives both threads.
                    unsafe { shared.0.get().write_volatile(value) };
                }
            });
        }
    });
}
