//! The server compares the checks of the sessions that it serves, says what comes of them, and
//! keeps it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::{
    self, BLOCK, Client, Driver, LENGTH, Running, SECTOR, SESSION, Said, Served, VOLUME, program,
};
use snapless_server::checks::Checks;
use snapless_server::format::repository::session_dir;
use snapless_server::format::verified::VERIFIED_FILE;
use snapless_server::list::{Verification, list};
use snapless_server::repository::Repository;
use snapless_server::stop::StopFlag;
use snapless_server::verify::verify;
use snapless_types::{Extent, Seq};
use snapless_wire::frame::{FrameKind, Watermark};
use snapless_wire::id::FileTime;
use snapless_wire::verified::Verified;
use zerocopy::IntoBytes;

/// A server that tells nothing for so long has forgotten it.
const LIMIT: Duration = Duration::from_mins(1);

/// The volume has this byte in all of a block.
fn check(driver: &mut Driver, block: u64, byte: u8) -> Vec<u8> {
    let len = BLOCK.min(LENGTH - block * BLOCK);
    driver.check(block * BLOCK, &vec![byte; usize::try_from(len).unwrap()])
}

/// Sends an epoch; returns the number of its last record once it is durable.
fn commit(client: &mut Client, driver: &mut Driver, records: &[Vec<u8>]) -> u64 {
    client.records(&[records.concat(), driver.epoch_end()].concat());
    loop {
        match client.hear() {
            Said::Acknowledge { seq, .. } if seq == driver.seq => return seq,
            Said::Acknowledge { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// What the server says once it has compared all up to this record, while nothing is written.
fn told(client: &mut Client, driver: &Driver, seq: u64) -> Verified {
    let begun = Instant::now();
    loop {
        if let Some(verified) = client.verified.as_ref().filter(|it| it.through.get() >= seq) {
            return verified.clone();
        }
        assert!(begun.elapsed() < LIMIT, "{:?}", client.verified);
        std::thread::sleep(Duration::from_millis(20));
        let time = common::T0 + 10 * driver.seq;
        let watermark = Watermark::new(Seq::new(driver.seq), FileTime::new(time), time);
        client.send(FrameKind::Watermark, watermark.as_bytes());
        assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    }
}

fn synced(client: &mut Client) -> Driver {
    let mut driver = Driver::default();
    let first = [driver.start(), driver.blocks(0..5), driver.base_complete()];
    commit(client, &mut driver, &first);
    driver
}

fn listed(root: &Path) -> Option<Verification> {
    let repository = Repository::open(root).unwrap();
    let volumes = list(&repository, &StopFlag::default()).unwrap();
    volumes[0].sessions[0].content.stream().unwrap().verified.clone()
}

/// What `verify` says of the whole stream.
fn checks(root: &Path) -> Checks {
    let repository = Repository::open(root).unwrap();
    let report = verify(&repository, &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage, []);
    report.checks.into_iter().next().unwrap()
}

#[test]
fn what_differs_is_told_to_the_service_and_in_the_list_until_it_is_verified_again() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (mut client, _, _) = Client::resume(server.address);
    let mut driver = synced(&mut client);
    let verified_file = root.join(session_dir(VOLUME, SESSION)).join(VERIFIED_FILE);
    assert!(!verified_file.exists() && listed(&root).is_none(), "nothing was checked");

    let first = driver.seq + 1;
    let records: Vec<_> =
        [(0, 1), (1, 2), (2, 77), (3, 4)].map(|(at, byte)| check(&mut driver, at, byte)).into();
    let seq = commit(&mut client, &mut driver, &records);
    let found = told(&mut client, &driver, seq);
    assert_eq!((found.first.get(), found.end), (first, 4 * BLOCK));
    assert_eq!((found.same, found.differing, found.is_damaged), (3 * BLOCK, BLOCK, false));
    assert_eq!(found.extents[0].extent, Extent::new(2 * BLOCK, BLOCK).unwrap());
    // The verification goes on.
    let records = [check(&mut driver, 4, 5)];
    let seq = commit(&mut client, &mut driver, &records);
    let found = told(&mut client, &driver, seq);
    assert_eq!((found.first.get(), found.same), (first, LENGTH - BLOCK));
    let shown = listed(&root).unwrap();
    assert_eq!((shown.differing_blocks, shown.differing_bytes), (1, BLOCK));
    for command in ["list", "points"] {
        let mut run = program();
        run.arg(command).arg("--repository").arg(&root);
        if command == "points" {
            run.arg(VOLUME.to_string());
        }
        let text = String::from_utf8(run.output().unwrap().stdout).unwrap();
        let want = format!("1 block(s) differ, 16.00 KiB in all ({BLOCK} bytes at {})", 2 * BLOCK);
        assert!(text.contains(&want), "{command}: {text}");
    }

    // Another one, of a volume that has what the copy has.
    let records: Vec<_> = (0..5).map(|at| check(&mut driver, at, as_byte(at) + 1)).collect();
    let seq = commit(&mut client, &mut driver, &records);
    let found = told(&mut client, &driver, seq);
    assert_eq!((found.same, found.differing, found.extents), (LENGTH, 0, vec![]));
    assert_eq!(listed(&root).unwrap().differing_bytes, 0);
}

fn as_byte(block: u64) -> u8 {
    u8::try_from(block).unwrap()
}

#[test]
fn after_a_kill_at_any_moment_all_checks_are_compared() {
    for delay in [0, 1, 5, 20, 100] {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        let server = Served::start(&root);
        let (mut client, _, _) = Client::resume(server.address);
        let mut driver = synced(&mut client);
        let records = [check(&mut driver, 0, 77), check(&mut driver, 1, 2)];
        commit(&mut client, &mut driver, &records);
        std::thread::sleep(Duration::from_millis(delay));
        // Outright.
        drop(server);
        let server = Served::start(&root);
        let (mut client, _, _) = Client::resume(server.address);
        let records = [check(&mut driver, 2, 3)];
        let seq = commit(&mut client, &mut driver, &records);
        let found = told(&mut client, &driver, seq);
        assert_eq!((found.differing, found.same), (BLOCK, 2 * BLOCK), "{delay} ms");
        // The service hears it again when it comes again.
        drop(client);
        let (mut client, _, _) = Client::resume(server.address);
        assert_eq!(told(&mut client, &driver, seq), found);
    }
}

#[test]
fn an_outcome_that_is_damaged_is_named_and_made_again() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (mut client, _, _) = Client::resume(server.address);
    let mut driver = synced(&mut client);
    let records = [check(&mut driver, 0, 77), check(&mut driver, 1, 2)];
    let seq = commit(&mut client, &mut driver, &records);
    let found = told(&mut client, &driver, seq);
    drop((client, server));
    let path = root.join(session_dir(VOLUME, SESSION)).join(VERIFIED_FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[60] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let repository = Repository::open(&root).unwrap();
    let report = verify(&repository, &StopFlag::default(), |_| {}).unwrap();
    assert_eq!(report.damage.len(), 1, "{:?}", report.damage);
    assert_eq!(listed(&root), None);
    let server = Running::start(&root);
    let (mut client, _, _) = Client::resume(server.address);
    let records = [check(&mut driver, 2, 3)];
    let seq = commit(&mut client, &mut driver, &records);
    let again = told(&mut client, &driver, seq);
    assert_eq!((again.first, again.differing, again.same), (found.first, BLOCK, 2 * BLOCK));
    drop((client, server));
    assert_eq!(checks(&root).differing_bytes, BLOCK);
}

#[test]
fn whatever_is_written_meanwhile_only_what_differs_is_called_so() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let dir = common::scratch();
        let root = dir.path().join("repository");
        let server = Running::start(&root);
        let (mut client, _, _) = Client::resume(server.address);
        let mut driver = synced(&mut client);
        let mut image = common::base_image();
        let mut wrong = Vec::new();
        let mut seq = 0;
        for block in 0..5 {
            let mut records = Vec::new();
            for _ in 0..rng.u64(0..6) {
                let (sector, byte) = (rng.u64(0..LENGTH / SECTOR), rng.u8(1..));
                common::patch(&mut image, sector * SECTOR, SECTOR, byte);
                records.push(driver.write(sector * SECTOR, SECTOR, byte));
            }
            let start = usize::try_from(block * BLOCK).unwrap();
            let end = usize::try_from(LENGTH.min((block + 1) * BLOCK)).unwrap();
            let mut content = image[start..end].to_vec();
            if rng.u8(0..3) == 0 {
                content[rng.usize(0..end - start)] ^= 1;
                wrong.push(block * BLOCK);
            }
            records.push(driver.check(block * BLOCK, &content));
            seq = commit(&mut client, &mut driver, &records);
            if rng.bool() {
                told(&mut client, &driver, seq);
            }
        }
        let found = told(&mut client, &driver, seq);
        assert_eq!(found.same + found.differing + found.overtaken, LENGTH, "seed {seed}");
        let named = found.extents.iter().flat_map(|it| {
            let extent = it.extent;
            (extent.offset()..extent.end()).step_by(usize::try_from(BLOCK).unwrap())
        });
        let named: Vec<u64> = named.collect();
        assert!(named.iter().all(|at| wrong.contains(at)), "seed {seed}: {named:?} {wrong:?}");
        let missed = wrong.iter().filter(|at| !named.contains(at)).count() as u64;
        assert!(missed * BLOCK <= found.overtaken, "seed {seed}: {named:?} {wrong:?}");
    }
}
