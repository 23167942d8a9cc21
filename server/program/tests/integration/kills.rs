//! The real service against the real server, which is killed outright again and again: no gap, each
//! record once, and every image is exact.
//!
//! `SNAPLESS_KILLS` sets how often; the first half comes in the midst of the first sync.

#[allow(unreachable_pub, clippy::new_without_default, reason = "the service's own test code")]
#[path = "../../../../service/tests/support/mod.rs"]
pub mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{self, Served, program};
use fastrand::Rng;
use snapless_server::error::Result;
use snapless_server::list::{Content, list};
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::target::Target;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_types::RecordKind;
use support::driver::{FakeDriver, LENGTH, Seen};
use support::{Harness, VOLUME, wait_until};

const KILLS: usize = 20;
pub const SECTOR: u64 = 512;
const BLOCK: u64 = 64 << 10;
/// Blocks that hold data; the rest of the volume is unallocated.
const BLOCKS: u64 = 96;
/// The driver makes no more while so many bytes wait to be drained.
const QUEUED_MAX: usize = 1 << 20;

/// The volume, as it must be restored.
struct Truth {
    t0: Vec<u8>,
    latest: Vec<u8>,
    last: u64,
}

/// The part of the volume that holds data. The rest must be zeros.
struct Image(Vec<u8>);

impl Target for Image {
    fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let start = usize::try_from(offset).unwrap();
        match self.0.get_mut(start..start + bytes.len()) {
            Some(place) => place.copy_from_slice(bytes),
            None => assert!(bytes.iter().all(|byte| *byte == 0), "data at {offset}"),
        }
        Ok(())
    }

    fn zero(&mut self, offset: u64, len: u64) -> Result<()> {
        let end = usize::try_from(offset + len).unwrap().min(self.0.len());
        let start = usize::try_from(offset).unwrap().min(end);
        self.0[start..end].fill(0);
        Ok(())
    }
}

fn bytes(sectors: &[u8]) -> Vec<u8> {
    sectors.iter().flat_map(|fill| [*fill; 512]).collect()
}

/// Writes to the volume under the sweep, until `has_ended`; the sweep does not end before
/// `is_half_over`.
fn write(
    driver: &FakeDriver,
    seed: u64,
    is_half_over: &AtomicBool,
    has_ended: &AtomicBool,
) -> Truth {
    let mut rng = Rng::with_seed(seed);
    let (mut t0, mut latest) = (Vec::new(), Vec::new());
    let mut swept = 0;
    while !has_ended.load(Ordering::Relaxed) || swept < BLOCKS {
        let may_sweep = swept + 1 < BLOCKS || is_half_over.load(Ordering::Relaxed);
        if swept < BLOCKS && may_sweep && (swept == 0 || rng.u8(..) < 64) {
            let sectors = vec![u8::try_from(swept + 1).unwrap(); (BLOCK / SECTOR) as usize];
            driver.capture(RecordKind::Block, swept * BLOCK, &sectors);
            t0.extend(bytes(&sectors));
            latest.extend(bytes(&sectors));
            swept += 1;
            if swept == BLOCKS {
                driver.complete_base(BLOCKS * BLOCK);
            }
        } else {
            let sectors = vec![rng.u8(100..); rng.usize(1..=16)];
            let first = rng.u64(0..swept * BLOCK / SECTOR - 16) * SECTOR;
            driver.write(first, &sectors);
            let start = usize::try_from(first).unwrap();
            latest[start..start + 512 * sectors.len()].copy_from_slice(&bytes(&sectors));
        }
        if rng.u8(..) < 50 {
            driver.end_epoch();
        }
        while driver.queued() > QUEUED_MAX {
            thread::sleep(Duration::from_millis(1));
        }
        thread::sleep(Duration::from_micros(rng.u64(0..1000)));
    }
    Truth { t0, latest, last: driver.end_epoch() }
}

/// A server at the address of the one that was killed.
fn start_again(root: &Path, address: SocketAddr) -> Served {
    let options = ["--insecure", "--listen", &address.to_string()];
    let begun = Instant::now();
    loop {
        if let Some(served) = Served::listen(program(), root, &options) {
            return served;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "no server at {address}");
    }
}

/// The part of the volume that holds data, as of the newest session's point.
pub fn image(repository: &Repository, at: At) -> Vec<u8> {
    let source = Source { volume: VOLUME, session: None, at };
    let found = Found::find(repository, &source, &StopFlag::default()).unwrap();
    let mut image = Image(vec![0xff; usize::try_from(BLOCKS * BLOCK).unwrap()]);
    found.write_to(&mut image, &StopFlag::default(), |_| {}).unwrap();
    image.0
}

#[test]
fn a_server_killed_at_any_moment_of_first_sync_and_replication_makes_no_gap() {
    let kills = std::env::var("SNAPLESS_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let mut server = Served::start(&root);
    let address = server.address;
    let harness = Harness::new();
    let running = harness.start_to(&address.to_string());
    wait_until("a session began", || harness.driver.session().is_some());
    let (is_half_over, has_ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let (truth, server) = thread::scope(|scope| {
        let writer = scope.spawn(|| write(&harness.driver, seed, &is_half_over, &has_ended));
        for number in 0..kills {
            // So that each kill meets a stream.
            let before = running.counters.report().acknowledged_epoch;
            wait_until("an epoch is acknowledged", || {
                writer.is_finished() || running.counters.report().acknowledged_epoch > before
            });
            is_half_over.store(number >= kills / 2, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(rng.u64(0..80)));
            drop(server);
            thread::sleep(Duration::from_millis(rng.u64(0..40)));
            server = start_again(&root, address);
        }
        is_half_over.store(true, Ordering::Relaxed);
        has_ended.store(true, Ordering::Relaxed);
        (writer.join().unwrap(), server)
    });
    wait_until("everything is acknowledged", || {
        running.counters.report().acknowledged_seq == truth.last
    });
    let calls = harness.driver.seen();
    assert!(!calls.contains(&Seen::Closed), "the claim was never given up");
    let connections = running.counters.report().connections;
    assert!(connections > kills as u64, "{connections} connections");
    running.stop();
    drop(server);

    let repository = Repository::open(&root).unwrap();
    let volumes = list(&repository, &StopFlag::default()).unwrap();
    let [session] = &volumes[0].sessions[..] else { panic!("one session: {volumes:?}") };
    let Content::Complete(stream) = &session.content else { panic!("{session:?}") };
    assert_eq!((stream.records, stream.gaps.len()), (truth.last, 0), "each record once, no gap");
    assert_eq!(verify(&repository, &StopFlag::default(), |_| {}).unwrap().damage, []);
    assert!(image(&repository, At::T0) == truth.t0, "t0");
    assert!(image(&repository, At::Latest) == truth.latest, "latest");
    assert_eq!(session.shape.as_ref().unwrap().length, LENGTH);
    println!("{kills} kills, {} records, {connections} connections", truth.last);
}
