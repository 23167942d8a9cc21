//! What was read again after a gap is compared with what the server has: only what differs is sent,
//! and the images are right.

use std::path::Path;

use crate::common::{self, BLOCK, Client, Driver, LENGTH, Running, SECTOR, SESSION, Said, VOLUME};
use crate::kills::image;
use crate::kills::support::{Harness, wait_until};
use snapless_server::format::repository::session_dir;
use snapless_server::repository::Repository;
use snapless_server::stat::stat;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_types::{Extent, RecordKind, Seq};
use snapless_wire::compare::Compare;
use snapless_wire::frame::FrameKind;

/// An extent, and the byte that it is full of in the service's eyes.
type Asked = (u64, u64, u8);

/// What the server answers.
fn ask(client: &mut Client, id: u64, since: u64, extents: &[Asked]) -> (u64, Vec<bool>) {
    let extents = extents.iter().map(|&(offset, len, byte)| {
        let content = vec![byte; usize::try_from(len.min(LENGTH)).unwrap()];
        (Extent::new(offset, len).unwrap(), *blake3::hash(&content).as_bytes())
    });
    let request = Compare::new(id, Seq::new(since), extents.collect()).unwrap();
    client.send(FrameKind::Compare, &request.to_bytes());
    let compared = client.compared();
    assert_eq!(compared.id(), id);
    (compared.seq().get(), compared.same().to_vec())
}

#[test]
fn a_server_says_what_is_the_same_as_of_its_last_durable_record() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (mut client, mut driver) = server.synced();
    let block = |block: u64, byte| (block * BLOCK, BLOCK.min(LENGTH - block * BLOCK), byte);
    let all = [block(0, 1), block(1, 2), block(2, 9), block(3, 4), block(4, 5)];
    let first = ask(&mut client, 1, 8, &all);
    assert_eq!(first, (8, vec![true, true, false, true, true]));

    // Of a later record once that is asked about.
    client.records(&[driver.write(BLOCK, BLOCK, 9), driver.epoch_end()].concat());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 2, seq: 10 });
    assert_eq!(ask(&mut client, 2, 8, &all), first, "what it has open does");
    let later = ask(&mut client, 3, 9, &all);
    assert_eq!(later, (10, vec![true, false, false, true, true]));
}

#[test]
fn nothing_is_the_same_as_what_the_server_does_not_have() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (mut client, _, _) = Client::resume(server.address);
    let mut driver = Driver::default();
    // Block 0 is whole, 1 has a hole, 2 is a paging file's, 3 held no data, the last one is not
    // captured yet.
    let records = [
        driver.start(),
        driver.block(0, 1),
        driver.fill(RecordKind::Block, BLOCK, BLOCK, 0),
        driver.unreadable(BLOCK, SECTOR),
        driver.plain(RecordKind::Excluded, 2 * BLOCK, BLOCK),
        driver.plain(RecordKind::Unallocated, 3 * BLOCK, BLOCK),
        driver.epoch_end(),
    ];
    client.records(&records.concat());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 7 });
    let blocks = [
        (0, BLOCK, 1),
        (BLOCK, BLOCK, 0),
        (2 * BLOCK, BLOCK, 0),
        (3 * BLOCK, BLOCK, 0),
        (4 * BLOCK, 3 * SECTOR, 0),
        (2 * BLOCK, 2 * BLOCK, 0),
        (0, SECTOR, 1),
        (4 * BLOCK, BLOCK, 0),
        (1 << 60, BLOCK, 0),
    ];
    let (seq, same) = ask(&mut client, 2, 0, &blocks);
    let want = [true, false, false, true, false, false, false, false, false];
    assert_eq!((seq, &same[..]), (7, &want[..]));
    // It has nothing of a later record.
    let (_, later) = ask(&mut client, 3, 8, &blocks);
    assert!(later.iter().all(|is_same| !is_same));

    // In a gap the content is that of the last durable record, too.
    let records = [
        driver.gap(),
        driver.resync(1, 7),
        driver.resync(4, 8),
        driver.write(0, SECTOR, 9),
        driver.epoch_end(),
    ];
    client.records(&records.concat());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 2, seq: 12 });
    let blocks = [(0, BLOCK, 1), (BLOCK, BLOCK, 7), (4 * BLOCK, 3 * SECTOR, 8)];
    assert_eq!(ask(&mut client, 4, 8, &blocks), (12, vec![false, true, true]));

    // What is no request ends the connection.
    client.send(FrameKind::Compare, &[0; 20]);
    assert!(matches!(client.hear(), Said::Error(text) if text.contains("Compare")));
}

#[test]
fn damage_is_not_the_same_as_anything_and_ends_no_connection() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (mut client, mut driver) = server.synced();
    let segment = root.join(session_dir(VOLUME, SESSION)).join("segment-00000001.slseg");
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let blocks = [2, 1, 0].map(|block: u8| (u64::from(block) * BLOCK, BLOCK, block + 1));
    assert_eq!(ask(&mut client, 1, 8, &blocks).1, [false; 3]);
    client.records(&[driver.write(0, SECTOR, 1), driver.epoch_end()].concat());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 2, seq: 10 });
}

/// Blocks of the volume of the service's tests.
const WIDE: u64 = 64 << 10;
const BLOCKS: u64 = 24;
const SECTORS: usize = 128;

fn sectors(byte: u64) -> Vec<u8> {
    vec![u8::try_from(byte).unwrap(); SECTORS]
}

/// A first sync, a gap while the service is away, and what is read again: block 0 has changed,
/// block 1 was written since the gap began, the rest is the same. Returns how many bytes were sent,
/// and how many not, after the restart.
fn gap(root: &Path, compare: bool) -> (u64, u64) {
    let server = Running::start(root);
    let address = server.address.to_string();
    let mut harness = Harness::new();
    harness.compare = compare;
    let running = harness.start_to(&address);
    let driver = &harness.driver;
    wait_until("a session began", || driver.session().is_some());
    (0..BLOCKS).for_each(|block| {
        driver.capture(RecordKind::Block, block * WIDE, &sectors(block + 1));
    });
    driver.complete_base(BLOCKS * WIDE);
    let last = driver.end_epoch();
    wait_until("it is durable", || running.counters.report().acknowledged_seq == last);
    running.stop();
    // The driver has no room for this one, so that a gap begins.
    driver.write(WIDE, &sectors(150));
    driver.lose();

    let running = harness.start_to(&address);
    wait_until("the session goes on", || running.counters.report().connections == 1);
    driver.write(WIDE, &sectors(200));
    driver.capture(RecordKind::Resync, 0, &sectors(100));
    // The disk has lost the write again, behind the driver's back.
    (1..BLOCKS).for_each(|block| {
        driver.capture(RecordKind::Resync, block * WIDE, &sectors(block + 1));
    });
    driver.end_gap();
    let last = driver.end_epoch();
    wait_until("it is durable", || running.counters.report().acknowledged_seq == last);
    let report = running.counters.report();
    running.stop();
    // Compressed or not.
    (report.bytes_sent + report.bytes_compressed, report.bytes_unchanged)
}

#[test]
fn after_a_gap_only_what_differs_is_sent_and_the_image_is_exact() {
    let dir = common::scratch();
    let [root, other] = ["with", "without"].map(|name| dir.path().join(name));
    let (sent, unchanged) = gap(&root, true);
    assert_eq!(unchanged, (BLOCKS - 2) * WIDE);
    let (sent_in_full, nothing) = gap(&other, false);
    assert_eq!(nothing, 0);
    println!("{BLOCKS} blocks, 2 of which differ: {sent} bytes sent, {sent_in_full} without");
    // The two, the write, headers, requests.
    assert!(sent < 3 * WIDE + 8192 && sent_in_full > BLOCKS * WIDE, "{sent}, {sent_in_full}");

    let repository = Repository::open(&root).unwrap();
    let in_full = Repository::open(&other).unwrap();
    let restored = [&repository, &in_full].map(|repository| image(repository, At::Latest));
    let wide = usize::try_from(WIDE).unwrap();
    for image in &restored {
        assert!(image[..wide].iter().all(|byte| *byte == 100));
        for block in 1..BLOCKS {
            let start = usize::try_from(block).unwrap() * wide;
            let byte = u8::try_from(block + 1).unwrap();
            assert!(image[start..start + wide].iter().all(|it| *it == byte), "block {block}");
        }
    }
    assert!(restored[0] == restored[1]);
    assert_eq!(verify(&repository, &StopFlag::default(), |_| {}).unwrap().damage, []);
    let held = stat(&repository, None, &StopFlag::default(), |_, _| {}).unwrap().total.causes;
    assert_eq!(held.unchanged.records, BLOCKS - 2);
    assert_eq!((held.unchanged.volume_bytes, held.unchanged.stored_bytes), (unchanged, 0));
}
