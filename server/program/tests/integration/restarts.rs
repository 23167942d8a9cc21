//! The real service against the real server, while the machine is restarted again and again and its
//! disk changes meanwhile: one session, every point exact, and only what differs is sent.
//!
//! `SNAPLESS_REBOOTS` sets how often.

use std::path::{Path, PathBuf};

use crate::common::{self, Running};
use crate::kills::support::driver::{FakeDriver, Seen};
use crate::kills::support::{self, Harness, VOLUME, wait_until};
use crate::kills::{SECTOR, image};
use fastrand::Rng;
use snapless_server::list::{Content, list};
use snapless_server::repository::Repository;
use snapless_server::restore::{Found, Source};
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_types::{GapReason, RecordKind};
use snapless_wire::id::FileTime;
use tempfile::TempDir;

const REBOOTS: usize = 3;
/// Blocks of the volume that hold data, and their size.
const BLOCKS: u64 = 96;
const SECTORS: usize = 128;
const BLOCK: u64 = SECTORS as u64 * SECTOR;

/// The disk: a byte for each sector.
#[derive(Clone, PartialEq, Eq)]
struct Disk(Vec<u8>);

impl Disk {
    fn new(rng: &mut Rng) -> Self {
        let blocks = (0..BLOCKS).flat_map(|_| vec![rng.u8(1..); SECTORS]);
        Self(blocks.collect())
    }

    fn sectors(&self, block: u64) -> &[u8] {
        let start = at(block);
        &self.0[start..start + SECTORS]
    }

    /// Changes some sectors of a block; returns which, from which on.
    fn change(&mut self, block: u64, rng: &mut Rng) -> (u64, Vec<u8>) {
        let first = rng.usize(..SECTORS);
        let bytes = vec![rng.u8(1..); rng.usize(1..=SECTORS - first)];
        let start = at(block) + first;
        self.0[start..start + bytes.len()].copy_from_slice(&bytes);
        (block * BLOCK + first as u64 * SECTOR, bytes)
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|&byte| [byte; 512]).collect()
    }
}

/// A block's first sector.
fn at(block: u64) -> usize {
    usize::try_from(block).unwrap() * SECTORS
}

/// An instant, and the disk at it.
struct Known {
    time: FileTime,
    disk: Disk,
}

/// Reads the whole volume under writes to what was read, as the sweep does.
fn read(driver: &FakeDriver, kind: RecordKind, disk: &mut Disk, rng: &mut Rng) {
    let mut order: Vec<u64> = (0..BLOCKS).collect();
    rng.shuffle(&mut order);
    for (at, &block) in order.iter().enumerate() {
        driver.capture(kind, block * BLOCK, disk.sectors(block));
        if rng.bool() {
            write(driver, order[rng.usize(..=at)], disk, rng);
        }
    }
}

fn write(driver: &FakeDriver, block: u64, disk: &mut Disk, rng: &mut Rng) {
    let (offset, bytes) = disk.change(block, rng);
    driver.write(offset, &bytes);
}

/// A folder, a repository in it, its server, and a machine.
fn site() -> (TempDir, PathBuf, Running, Harness) {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    (dir, root, server, Harness::new())
}

/// The machine's service starts and streams the session to the server.
fn connect(harness: &Harness, server: &Running) -> support::Running {
    let running = harness.start_to(&server.address.to_string());
    wait_until("the session streams", || running.counters.report().connections == 1);
    running
}

/// An epoch ends, and is durable.
fn end_epoch(driver: &FakeDriver, running: &support::Running) {
    let last = driver.end_epoch();
    wait_until("it is durable", || running.counters.report().acknowledged_seq == last);
}

fn find(repository: &Repository, at: At) -> snapless_server::error::Result<Found> {
    let source = Source { volume: VOLUME, session: None, at };
    Found::find(repository, &source, &StopFlag::default())
}

/// The session of the repository, which is the only one, ends consistent, without damage; its gaps.
fn gaps(root: &Path) -> Vec<GapReason> {
    let repository = Repository::open(root).unwrap();
    let volumes = list(&repository, &StopFlag::default()).unwrap();
    let [session] = &volumes[0].sessions[..] else { panic!("one session: {volumes:?}") };
    let Content::Complete(stream) = &session.content else { panic!("{session:?}") };
    assert_eq!(verify(&repository, &StopFlag::default(), |_| {}).unwrap().damage, []);
    assert!(stream.gaps.iter().all(|gap| gap.to.is_some()));
    stream.gaps.iter().map(|gap| GapReason::from_wire(gap.reason).unwrap()).collect()
}

#[test]
fn after_every_restart_the_session_goes_on_and_only_what_changed_is_sent() {
    let reboots = std::env::var("SNAPLESS_REBOOTS").map_or(REBOOTS, |text| text.parse().unwrap());
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let (_dir, root, server, harness) = site();
    let driver = &harness.driver;
    let mut disk = Disk::new(&mut rng);
    let t0 = disk.clone();
    let mut known: Vec<Known> = Vec::new();
    let mut changed = 0;
    for reboot in 0..=reboots {
        let running = connect(&harness, &server);
        if reboot == 0 {
            read(driver, RecordKind::Block, &mut disk, &mut rng);
            driver.complete_base(BLOCKS * BLOCK);
        } else {
            read(driver, RecordKind::Resync, &mut disk, &mut rng);
            driver.skip(RecordKind::Trim, BLOCKS * BLOCK);
            driver.end_gap();
        }
        for _ in 0..rng.usize(1..20) {
            write(driver, rng.u64(..BLOCKS), &mut disk, &mut rng);
        }
        end_epoch(driver, &running);
        known.push(Known { time: driver.pass(0), disk: disk.clone() });
        if reboot > 0 {
            let unchanged = running.counters.report().bytes_unchanged;
            assert_eq!(unchanged, (BLOCKS - changed) * BLOCK, "restart {reboot}");
        }
        running.stop();
        driver.restart();
        // Behind our back.
        let before = disk.clone();
        for _ in 0..rng.usize(..4) {
            let _ = disk.change(rng.u64(..BLOCKS), &mut rng);
        }
        let differs = |&block: &u64| disk.sectors(block) != before.sectors(block);
        changed = (0..BLOCKS).filter(differs).count() as u64;
    }
    drop(server);
    let is_it = |seen: &&Seen| matches!(seen, Seen::Continued(_, GapReason::Restarted));
    assert_eq!(driver.seen().iter().filter(is_it).count(), reboots);
    assert_eq!(gaps(&root), vec![GapReason::Restarted; reboots]);
    let repository = Repository::open(&root).unwrap();
    assert!(image(&repository, At::T0) == t0.bytes(), "t0");
    for (index, Known { time, disk }) in known.iter().enumerate() {
        assert!(image(&repository, At::Time(*time)) == disk.bytes(), "before restart {index}");
        // What changed while the machine was off is not known.
        let minutes = FileTime::new(time.get() + 30 * 60 * FileTime::TICKS_PER_SECOND);
        assert!(find(&repository, At::Time(minutes)).is_err(), "after {index}");
    }
    assert!(image(&repository, At::Latest) == known[reboots].disk.bytes(), "latest");
}

#[test]
fn a_first_sync_that_a_restart_interrupts_goes_on_without_its_t0() {
    let mut rng = Rng::with_seed(1);
    let (_dir, root, server, harness) = site();
    let driver = &harness.driver;
    let disk = Disk::new(&mut rng);
    let running = connect(&harness, &server);
    for block in 0..BLOCKS / 2 {
        driver.capture(RecordKind::Block, block * BLOCK, disk.sectors(block));
    }
    end_epoch(driver, &running);
    running.stop();
    driver.restart();

    let running = connect(&harness, &server);
    for block in 0..BLOCKS {
        driver.capture(RecordKind::Resync, block * BLOCK, disk.sectors(block));
    }
    driver.skip(RecordKind::Trim, BLOCKS * BLOCK);
    driver.end_gap();
    end_epoch(driver, &running);
    let report = running.counters.report();
    assert_eq!(report.bytes_unchanged, BLOCKS / 2 * BLOCK, "what the server has is not sent again");
    assert!(report.bytes_sent < (BLOCKS / 2 + 1) * BLOCK, "{report:?}");
    running.stop();
    drop(server);
    assert_eq!(gaps(&root), [GapReason::Restarted]);
    let repository = Repository::open(&root).unwrap();
    assert!(image(&repository, At::Latest) == disk.bytes());
    let refused = find(&repository, At::T0).err().unwrap().to_string();
    assert!(refused.contains("t0 image is lost") && refused.contains("restarted"), "{refused}");
}

/// Both pasts make as many records, in as many epochs. What the one wrote that was left is not on
/// the disk any more, and the other one writes elsewhere.
#[test]
fn a_machine_put_back_with_its_memory_gets_its_replica_right_again() {
    let mut rng = Rng::with_seed(2);
    let (_dir, root, server, harness) = site();
    let driver = &harness.driver;
    let mut disk = Disk::new(&mut rng);
    let t0 = disk.clone();
    let running = connect(&harness, &server);
    read(driver, RecordKind::Block, &mut disk, &mut rng);
    driver.complete_base(BLOCKS * BLOCK);
    end_epoch(driver, &running);
    let (before, known) = (driver.pass(0), disk.clone());
    running.stop();
    let (memory, state) = (driver.snapshot(), harness.store().load().unwrap().unwrap());
    // The past that is left.
    let running = connect(&harness, &server);
    write(driver, 3, &mut disk.clone(), &mut rng);
    end_epoch(driver, &running);
    let left = running.counters.report().acknowledged_seq;
    running.stop();
    driver.put_back(&memory);
    harness.store().save(&state).unwrap();
    write(driver, 4, &mut disk, &mut rng);
    assert_eq!(driver.end_epoch(), left, "the numbers are the same");

    let running = connect(&harness, &server);
    read(driver, RecordKind::Resync, &mut disk, &mut rng);
    driver.skip(RecordKind::Trim, BLOCKS * BLOCK);
    driver.end_gap();
    end_epoch(driver, &running);
    running.stop();
    drop(server);
    let is_it = |seen: &&Seen| matches!(seen, Seen::Continued(_, GapReason::Diverged));
    assert_eq!(driver.seen().iter().filter(is_it).count(), 1, "it is verified");
    assert_eq!(gaps(&root), [GapReason::Diverged]);
    let repository = Repository::open(&root).unwrap();
    assert!(image(&repository, At::T0) == t0.bytes(), "t0");
    assert!(image(&repository, At::Time(before)) == known.bytes(), "before the snapshot");
    assert!(image(&repository, At::Latest) == disk.bytes(), "latest");
}
