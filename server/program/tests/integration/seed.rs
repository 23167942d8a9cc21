//! A first sync does not send what the repository has of the volume from before: from an earlier
//! session, or from an image that was imported. The images are right whatever becomes of that.

use std::net::SocketAddr;
use std::path::Path;

use crate::common::{self, Client, Driver, LENGTH, Running, Said, program};
use crate::kills::image;
use crate::kills::support::{self, Harness, wait_until};
use snapless_server::compression::Compression;
use snapless_server::error::Error;
use snapless_server::format::repository::session_dir;
use snapless_server::repository::{Repository, WritableRepository};
use snapless_server::restore::Source;
use snapless_server::seal::KeySource;
use snapless_server::security::Security;
use snapless_server::seed_image::import;
use snapless_server::serve::{Limits, Server};
use snapless_server::stat::stat;
use snapless_server::stop::StopFlag;
use snapless_server::timeline::At;
use snapless_server::verify::verify;
use snapless_types::{Extent, RecordKind, Seq};
use snapless_wire::compare::Compare;
use snapless_wire::frame::FrameKind;
use snapless_wire::id::SessionId;
use snapless_wire::record::{RECORD_HEADER_LEN, RecordHeader};

/// Blocks of the volume of the service's tests.
const WIDE: u64 = 64 << 10;
const WIDE_LEN: usize = 64 << 10;
/// Blocks that hold data; the rest of the volume holds none.
const BLOCKS: u64 = 96;
const SECTORS: usize = 128;

/// The volume at t0: each sector is full of one byte, which repeats in no block and no other one.
fn content(block: u64, changed: &[u64]) -> Vec<u8> {
    let change = if changed.contains(&block) { 101 } else { 0 };
    (0..SECTORS as u64)
        .map(|at| u8::try_from((block * 7 + at + change) % 250 + 1).unwrap())
        .collect()
}

/// What is restored of it.
fn expected(changed: &[u64]) -> Vec<u8> {
    let sectors = (0..BLOCKS).flat_map(|block| content(block, changed));
    sectors.flat_map(|byte| [byte; 512]).collect()
}

/// Bytes that the service has sent, and that it has not, for a first sync by a new service and a
/// new driver.
fn first_sync(address: SocketAddr, changed: &[u64]) -> (u64, u64) {
    let harness = Harness::new();
    let running = harness.start_to(&address.to_string());
    let driver = &harness.driver;
    wait_until("a session began", || driver.session().is_some());
    for block in 0..BLOCKS {
        driver.capture(RecordKind::Block, block * WIDE, &content(block, changed));
    }
    driver.complete_base(BLOCKS * WIDE);
    let last = driver.end_epoch();
    wait_until("it is durable", || running.counters.report().acknowledged_seq == last);
    let report = running.counters.report();
    running.stop();
    // Compressed or not.
    (report.bytes_sent + report.bytes_compressed, report.bytes_unchanged)
}

fn open(root: &Path) -> Repository {
    Repository::open(root).unwrap()
}

fn is_sound(repository: &Repository) {
    assert_eq!(verify(repository, &StopFlag::default(), |_| {}).unwrap().damage, []);
}

/// A server at a repository that is open.
fn serve(repository: WritableRepository) -> Running {
    let address = "127.0.0.1:0".parse().unwrap();
    Running::of(
        Server::bind_to(address, repository, Limits::default(), Security::Insecure).unwrap(),
    )
}

#[test]
fn a_new_session_sends_only_what_differs_from_an_earlier_one_and_stands_alone() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (in_full, nothing) = first_sync(server.address, &[]);
    assert!(in_full > BLOCKS * WIDE && nothing == 0);
    let volume = support::VOLUME;
    let [earlier] = open(&root).session_ids(volume).unwrap()[..] else { panic!("one session") };

    let (sent, saved) = first_sync(server.address, &[3, 50]);
    println!("{} bytes of content: {sent} sent, {in_full} without a seed", BLOCKS * WIDE);
    // The two, a hash and a header of each block in the question and in the frame.
    assert!(sent < 3 * WIDE + BLOCKS * 256, "{sent}");
    assert_eq!(saved, (BLOCKS - 2) * (WIDE - 32));
    for at in [At::T0, At::Latest] {
        assert!(image(&open(&root), at) == expected(&[3, 50]));
    }
    // Its content is stored in full.
    let held = stat(&open(&root), None, &StopFlag::default(), |_, _| {}).unwrap().total.causes;
    assert_eq!(held.first_sync.stored_bytes, 2 * BLOCKS * WIDE);

    drop(server);
    std::fs::remove_dir_all(root.join(session_dir(volume, earlier))).unwrap();
    open(&root).forget(volume, earlier).unwrap();
    is_sound(&open(&root));
    for at in [At::T0, At::Latest] {
        assert!(image(&open(&root), at) == expected(&[3, 50]), "without the earlier session");
    }
}

/// Imports an image in which three blocks are not those of the volume.
fn import_image(repository: &WritableRepository, dir: &Path) {
    let file = dir.join("volume.img");
    std::fs::write(&file, expected(&[0, 41, 95])).unwrap();
    let stop = StopFlag::default();
    let report = import(repository, support::VOLUME, &file, &stop, |_| {}).unwrap();
    assert_eq!((report.bytes, report.content_bytes), (BLOCKS * WIDE, BLOCKS * WIDE));
    assert!(image(repository.repository(), At::Latest) == expected(&[0, 41, 95]));
    is_sound(repository.repository());
}

#[test]
fn a_first_sync_sends_only_what_differs_from_an_imported_image() {
    for (compression, is_encrypted) in [(Compression::None, false), (Compression::Zstd(3), true)] {
        let dir = common::scratch();
        let root = dir.path().join("repository");
        let file = KeySource::KeyFile(dir.path().join("key"));
        let key = if is_encrypted { file } else { KeySource::None };
        let repository = WritableRepository::init_with(&root, compression, &key).unwrap();
        import_image(&repository, dir.path());
        let server = serve(repository);
        let (sent, saved) = first_sync(server.address, &[]);
        assert!(sent < 4 * WIDE + BLOCKS * 256, "{sent}");
        assert_eq!(saved, (BLOCKS - 3) * (WIDE - 32));
        let repository = open(&root).unlock(&key).unwrap();
        assert!(image(&repository, At::T0) == expected(&[]));
        is_sound(&repository);
    }
}

#[cfg(feature = "cloud")]
#[test]
fn a_repository_in_an_object_store_is_seeded_too() {
    let (dir, store) = (common::scratch(), common::objects::FaultyStore::default());
    let key = KeySource::KeyFile(dir.path().join("key"));
    let repository = WritableRepository::init_in_with(store.store(), Compression::None, &key);
    let repository = repository.unwrap();
    import_image(&repository, dir.path());
    let server = serve(repository);
    let (sent, saved) = first_sync(server.address, &[7]);
    assert_eq!(saved, (BLOCKS - 4) * (WIDE - 32));
    assert!(sent < 5 * WIDE + BLOCKS * 256, "{sent}");
    let repository = Repository::open_in(store.store()).unwrap().unlock(&key).unwrap();
    assert!(image(&repository, At::Latest) == expected(&[7]));
}

/// Changes a byte of the block's content, in whichever segment it is.
fn damage_block_0(session: &Path) {
    let sector = [content(0, &[])[0]; 512];
    for file in std::fs::read_dir(session).unwrap() {
        let file = file.unwrap().path();
        let mut bytes = std::fs::read(&file).unwrap();
        let within = bytes.windows(sector.len()).position(|window| window == sector);
        let Some(at) = within else { continue };
        bytes[at] ^= 1;
        return std::fs::write(&file, bytes).unwrap();
    }
    panic!("no file of the session has the block");
}

#[test]
fn what_is_damaged_in_the_seed_is_sent_and_no_link_breaks() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    first_sync(server.address, &[]);
    let [earlier] = open(&root).session_ids(support::VOLUME).unwrap()[..] else { panic!() };
    damage_block_0(&root.join(session_dir(support::VOLUME, earlier)));
    let (sent, saved) = first_sync(server.address, &[]);
    assert_eq!(saved, (BLOCKS - 1) * (WIDE - 32));
    assert!(sent < 2 * WIDE + BLOCKS * 256, "{sent}");
    assert!(image(&open(&root), At::T0) == expected(&[]));
}

const NEW: SessionId = SessionId([0x33; 16]);

/// The record without its content, and with this hash in its place.
fn seeded(record: &[u8], hash: &blake3::Hash) -> Vec<u8> {
    let header = RecordHeader::read(record).unwrap().seeded().unwrap();
    [&header.to_bytes()[..], hash.as_bytes()].concat()
}

/// A server that has a session of the small volume, whose blocks are of 1, 2, … and a client with
/// another one.
fn with_earlier(root: &Path) -> (Running, Client) {
    let server = Running::start(root);
    let (mut client, _, _) = Client::resume(server.address);
    client.records(&Driver::default().first_sync());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    let mut client = Client::connect(server.address);
    client.hello(NEW);
    assert_eq!(client.hear(), Said::Welcome { epoch: 0, seq: 0 });
    (server, client)
}

#[test]
fn a_hash_that_the_seed_does_not_have_ends_the_link_and_nothing_of_it_is_stored() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (server, mut client) = with_earlier(&root);
    let block = |driver: &mut Driver, index, byte| {
        let full = driver.block(index, byte);
        let hash = blake3::hash(&full[RECORD_HEADER_LEN..]);
        (seeded(&full, &hash), full)
    };
    let mut driver = Driver::default();
    let (start, (first, _), (wrong, full)) =
        (driver.start(), block(&mut driver, 0, 1), block(&mut driver, 1, 77));
    client.records(&[start.clone(), first.clone(), wrong, driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Error(text) if text.contains("cannot be found there")));

    // In full it is taken, over another link.
    let mut client = Client::connect(server.address);
    client.hello(NEW);
    assert_eq!(client.hear(), Said::Welcome { epoch: 0, seq: 0 });
    let mut driver = Driver::default();
    drop((driver.start(), driver.block(0, 1), driver.block(1, 77)));
    let (third, _) = block(&mut driver, 2, 3);
    let rest = [driver.block(3, 4), driver.block(4, 5), driver.base_complete()];
    client.records(&[start, first, full, third, rest.concat(), driver.epoch_end()].concat());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 8 });
    drop((client, server));
    let (to, volume) = (dir.path().join("restored.img"), common::VOLUME);
    common::restore_to(&root, Source { volume, session: Some(NEW), at: At::T0 }, &to).unwrap();
    let found = std::fs::read(to).unwrap();
    let block = common::BLOCK_LEN;
    for (index, byte) in [1, 77, 3, 4, 5].into_iter().enumerate() {
        let end = found.len().min((index + 1) * block);
        assert!(found[index * block..end].iter().all(|it| *it == byte), "block {index}");
    }
    assert_eq!(found.len() as u64, LENGTH);
}

#[test]
fn a_server_tells_a_seed_from_what_the_stream_gives() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let (_server, mut client) = with_earlier(&root);
    let mut driver = Driver::default();
    client.records(&[driver.start(), driver.block(0, 9), driver.epoch_end()].concat());
    assert_eq!(client.hear(), Said::Acknowledge { epoch: 1, seq: 3 });
    let mut ask = |extents: &[(u64, u8)]| {
        let extents = extents.iter().map(|&(block, byte)| {
            let extent = Extent::new(block * common::BLOCK, common::BLOCK).unwrap();
            (extent, *blake3::hash(&vec![byte; common::BLOCK_LEN]).as_bytes())
        });
        let request = Compare::new(5, Seq::new(3), extents.collect()).unwrap();
        client.send(FrameKind::Compare, &request.to_bytes());
        let compared = client.compared();
        (compared.same().to_vec(), compared.seeded().to_vec())
    };
    let (same, from_seed) = ask(&[(0, 9), (0, 1), (1, 2), (1, 9), (4, 5)]);
    assert_eq!(same, [true, false, false, false, false]);
    assert_eq!(from_seed, [false, true, true, false, false], "the last one is past the end");
}

#[test]
fn what_is_no_image_of_a_volume_is_refused_with_words() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let repository = common::repository(&root);
    let stop = StopFlag::default();
    for (name, content) in [("empty", &[][..]), ("cut", &[1; 700][..])] {
        let file = dir.path().join(name);
        std::fs::write(&file, content).unwrap();
        let refused = import(&repository, support::VOLUME, &file, &stop, |_| {});
        assert!(matches!(refused, Err(Error::ImageLength { .. })), "{refused:?}");
    }
    let refused = import(&repository, support::VOLUME, dir.path(), &stop, |_| {});
    assert!(matches!(refused, Err(Error::NotAnImage(_))), "{refused:?}");
    assert_eq!(open(&root).session_ids(support::VOLUME).unwrap(), []);
}

#[test]
fn the_command_imports_an_image_and_says_what_it_did() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    drop(common::repository(&root));
    let file = dir.path().join("volume.img");
    std::fs::write(&file, [vec![7; WIDE_LEN], vec![0; 1 << 20]].concat()).unwrap();
    let mut command = program();
    command.args(["seed", "--json", "--volume", &support::VOLUME.to_string()]);
    command.arg("--repository").arg(&root).arg("--image").arg(&file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let [session] = open(&root).session_ids(support::VOLUME).unwrap()[..] else { panic!() };
    assert_eq!(report["session"], session.to_string());
    assert_eq!(report["bytes"], (1 << 20) + WIDE);
    // Not while a server has the repository.
    let _server = Running::start(&root);
    let refused = command.output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("in use by another"), "{said}");
}
