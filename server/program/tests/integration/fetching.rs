//! Restores over the network: the machine's end (`snapless_restore`) against the server's.

use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use std::{fs, thread};

use crate::common::{self, Driver, Running, SECTOR, SESSION, Said, VOLUME};
use snapless_link::LinkError;
use snapless_link::client::{Link, LinkLimits, Message};
use snapless_link::question::{Opened, Question, RefusedKind, Reply};
use snapless_restore::guarded::MARK;
use snapless_restore::{
    Disk, FileDisk, Options, Progress, Report, RestoreError, Stage, Wanted, restore,
};
use snapless_server::pin::Pins;
use snapless_server::repository::Repository;
use snapless_types::RecordKind;
use snapless_wire::fetch::{FETCH_BYTES_MAX, FETCH_TILE, Fetch, Fetched, Tile, Window};
use snapless_wire::frame::FrameKind;

/// Bytes of the volume: several windows of a restore, and a short tile at its end.
const LENGTH: u64 = 11 * (1 << 20) + 7 * 512;
/// A written block.
const BLOCK: u64 = 16 << 10;

fn to_index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap()
}

/// A volume whose content hardly shrinks, with a MiB of zeros in it.
fn base() -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(14);
    let mut image: Vec<u8> = std::iter::repeat_with(|| rng.u8(..)).take(to_index(LENGTH)).collect();
    image[5 << 20..6 << 20].fill(0);
    image
}

/// A repository with the first sync of a volume and some writes after it; returns the image of t0
/// and that of the latest point.
fn stored(root: &Path) -> [Vec<u8>; 2] {
    let (mut driver, image) = (Driver::default(), base());
    let block = |driver: &mut Driver, (index, bytes): (usize, &[u8])| {
        driver.data(RecordKind::Block, index as u64 * BLOCK, bytes)
    };
    let mut frames = vec![driver.start()];
    for (index, bytes) in image.chunks(to_index(BLOCK)).enumerate() {
        frames.push(block(&mut driver, (index, bytes)));
    }
    frames.push([driver.base_complete(), driver.epoch_end()].concat());
    let mut latest = image.clone();
    // The boot sector, the middle, and the last sector.
    for (offset, byte) in [(0, 1), (3 << 20, 2), (LENGTH - 512, 3)] {
        frames.push([driver.write(offset, 512, byte), driver.epoch_end()].concat());
        common::patch(&mut latest, offset, 512, byte);
    }
    common::ingest(root, LENGTH, 1 << 20, &frames);
    [image, latest]
}

fn wanted(at: &str) -> Wanted {
    Wanted { volume: VOLUME, session: None, at: at.to_owned() }
}

fn options() -> Options {
    Options { pause: Duration::from_millis(20), ..Options::default() }
}

fn connect(address: SocketAddr) -> impl Fn() -> Result<Link, LinkError> {
    move || Link::connect(&address.to_string(), &LinkLimits::default(), &|| false)
}

/// Restores to a file, which may be there.
fn to_file(
    address: SocketAddr,
    at: &str,
    file: &Path,
    options: &Options,
) -> Result<Report, RestoreError> {
    let open = |opened: &Opened| FileDisk::open(file, opened.length, true);
    restore(&connect(address), &wanted(at), open, options, &|| false, &mut |_| {})
}

#[test]
fn a_point_is_restored_over_the_network_and_then_only_differences_travel() {
    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("volume.img"));
    let [at_t0, latest] = stored(&root);
    let server = Running::start(&root);

    let first = to_file(server.address, "t0", &file, &options()).unwrap();
    assert!(fs::read(&file).unwrap() == at_t0);
    assert_eq!((first.bytes, first.sector_size, first.same_bytes), (LENGTH, 512, 0));
    assert_eq!(first.fetched_bytes, LENGTH - (1 << 20), "zeros are not sent");
    assert!(first.compared && first.session == SESSION.to_string());

    // Failback: something else has written to the image meanwhile.
    let mut changed = at_t0.clone();
    for (offset, len) in [(9 << 20, 4096), (5 << 20, 512)] {
        common::patch(&mut changed, offset, len, 0xee);
    }
    fs::write(&file, &changed).unwrap();
    let second = to_file(server.address, "latest", &file, &options()).unwrap();
    assert!(fs::read(&file).unwrap() == latest);
    // The three sectors that differ between the points and the two that were changed, of which one
    // is zeros in the point.
    let tail = (LENGTH - 512) / FETCH_TILE * FETCH_TILE;
    assert_eq!(second.fetched_bytes, 3 * FETCH_TILE + (LENGTH - tail));
    assert_eq!(second.same_bytes, LENGTH - second.fetched_bytes - FETCH_TILE);
    assert!(second.received_bytes < first.received_bytes / 20, "{second:?}");

    // Once more: nothing is sent, and nothing is written.
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    let third = to_file(server.address, "latest", &file, &options()).unwrap();
    assert_eq!((third.fetched_bytes, third.written_bytes), (0, 0));
    assert_eq!(third.same_bytes, LENGTH);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before);
    assert!(third.received_bytes < 10_000, "{third:?}");
}

#[test]
fn a_failback_brings_back_what_was_written_elsewhere_and_nothing_else() {
    let dir = common::scratch();
    let (root, vm, disk) =
        (dir.path().join("repository"), dir.path().join("vm.img"), dir.path().join("disk.img"));
    let [_, mut there] = stored(&root);
    // What the machine had written when it went away, and the server has not.
    let mut own = there.clone();
    common::patch(&mut own, 8 << 20, 4096, 0x77);
    fs::write(&disk, own).unwrap();

    // A virtual machine works on the restored image.
    let program = || Command::new(env!("CARGO_BIN_EXE_snapless-server"));
    let point = |command: &mut Command, words: &[&str]| {
        command.arg(words[0]).arg("--repository").arg(&root);
        command.args(["--volume", &VOLUME.to_string()]).args(&words[1..]);
        let said = command.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    };
    let at = vm.to_str().unwrap();
    point(&mut program(), &["restore", "--at", "latest", "--to", at]);
    let writes = ["-f", "raw", "-c", "write -P 0xab 2M 64k", "-c", "write -P 0xcd 10M 512", at];
    let written = Command::new("qemu-io").args(writes).output();
    let written = written.expect("qemu-io, of Debian's qemu-utils");
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    common::patch(&mut there, 2 << 20, 64 << 10, 0xab);
    common::patch(&mut there, 10 << 20, 512, 0xcd);
    point(&mut program(), &["seed", "--image", at]);

    let server = Running::start(&root);
    let report = to_file(server.address, "latest", &disk, &options()).unwrap();
    assert!(fs::read(&disk).unwrap() == there);
    assert_eq!(report.fetched_bytes, 3 * FETCH_TILE, "two places there, and one here");
    assert_ne!(report.session, SESSION.to_string());
}

#[test]
fn without_reading_the_target_all_is_sent_and_other_content_is_overwritten_with_zeros() {
    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("volume.img"));
    let [_, latest] = stored(&root);
    let server = Running::start(&root);
    fs::write(&file, vec![0xff; to_index(LENGTH)]).unwrap();
    let whole = Options { whole: true, compare: false, ..options() };
    let report = to_file(server.address, "latest", &file, &whole).unwrap();
    assert!(fs::read(&file).unwrap() == latest);
    assert!(report.same_bytes == 0 && !report.compared);
}

/// Passes connections on, and cuts each after so many bytes from the server.
fn cutting(to: SocketAddr, after: usize) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let cuts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&cuts);
    thread::spawn(move || {
        for here in listener.incoming() {
            // A server that is gone closes what comes.
            let (mut here, Ok(mut there)) = (here.unwrap(), TcpStream::connect(to)) else {
                continue;
            };
            let (mut up, mut up_to) = (here.try_clone().unwrap(), there.try_clone().unwrap());
            thread::spawn(move || io::copy(&mut up, &mut up_to));
            let counted = Arc::clone(&counted);
            thread::spawn(move || {
                let (mut left, mut buffer) = (after, vec![0; 64 << 10]);
                while let Ok(count @ 1..) = there.read(&mut buffer) {
                    let count = count.min(left);
                    if here.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                    left -= count;
                    if left == 0 {
                        counted.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                }
                drop((here.shutdown(Shutdown::Both), there.shutdown(Shutdown::Both)));
            });
        }
    });
    (address, cuts)
}

#[test]
fn a_link_that_is_cut_again_and_again_is_made_anew_and_the_same_point_goes_on() {
    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("volume.img"));
    let [_, latest] = stored(&root);
    let server = Running::start(&root);
    // More than a window, so that each link brings one.
    let (proxy, cuts) = cutting(server.address, to_index(FETCH_BYTES_MAX) + (1 << 20));
    let open = |opened: &Opened| FileDisk::open(&file, opened.length, false);
    let restored =
        restore(&connect(proxy), &wanted("latest"), open, &options(), &|| false, &mut |_| {});
    let report = restored.unwrap();
    assert!(fs::read(&file).unwrap() == latest);
    assert!(report.reconnects >= 2, "{report:?}");
    assert!(cuts.load(Ordering::Relaxed) >= 2);
    // No window came twice as a whole.
    assert_eq!(report.fetched_bytes, LENGTH - (1 << 20));
}

#[test]
fn a_point_is_opened_again_by_its_key_whatever_latest_is_by_then() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    let server = Running::start(&root);
    let (mut client, mut driver) = server.synced();
    let (link, first) = opened(server.address, "latest");
    drop(link);
    client.records(&[driver.write(0, SECTOR, 9), driver.epoch_end()].concat());
    assert!(matches!(client.hear(), Said::Acknowledge { .. }));
    let (_link, later) = opened(server.address, "latest");
    assert!(later.key != first.key && later.time != first.time);
    let mut link = connect(server.address)().unwrap();
    let (volume, at) = (VOLUME.to_string(), first.key.clone());
    let session = Some(first.session.clone());
    let question = Question::Restore { volume, session, at, is_key: true };
    let reply = link.ask(&question, &LinkLimits::default(), &|| false).unwrap();
    assert_eq!(reply, Reply::Opened(Box::new(first.clone())));
    let window = Window::new(0, first.length.min(FETCH_TILE)).unwrap();
    let fetch = Fetch::new(window, Vec::new()).unwrap();
    link.sender.send(FrameKind::Fetch, &fetch.to_bytes()).unwrap();
    let mut payload = Vec::new();
    link.receiver.fetched(&LinkLimits::default(), &|| false, &mut payload).unwrap();
    let fetched = Fetched::read(&payload).unwrap();
    let (.., tile) = fetched.tiles().next().unwrap();
    let Tile::Bytes(bytes) = tile else { panic!("{tile:?}") };
    assert!(*bytes == common::base_image()[..bytes.len()]);
}

#[test]
fn a_server_that_is_gone_for_good_is_given_up_and_the_target_says_that_it_is_half_restored() {
    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("volume.img"));
    let [_, latest] = stored(&root);
    let options = Options { patience: Duration::from_millis(300), ..options() };
    let running = Running::start(&root);
    let (address, server) = (running.address, Cell::new(Some(running)));
    let open = |opened: &Opened| FileDisk::open(&file, opened.length, false);
    // It stops when the link was cut for the first time, after something was written.
    let progress = &mut |progress: Progress| {
        if progress.stage == Stage::Reconnecting {
            drop(server.take());
        }
    };
    let (proxy, _) = cutting(address, to_index(FETCH_BYTES_MAX) + (1 << 20));
    let given_up = restore(&connect(proxy), &wanted("latest"), open, &options, &|| false, progress);
    let why = given_up.unwrap_err().to_string();
    assert!(fs::read(&file).unwrap().starts_with(MARK.as_bytes()), "{why}");

    // Run again, it goes on with what is there.
    let server = Running::start(&root);
    let report = to_file(server.address, "latest", &file, &options).unwrap();
    assert!(fs::read(&file).unwrap() == latest);
    assert!(report.same_bytes >= FETCH_BYTES_MAX - (1 << 20), "{report:?}");
}

#[test]
fn what_is_read_is_pinned_until_the_restore_is_over() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    stored(&root);
    let server = Running::start(&root);
    let (mut link, opened) = opened(server.address, "latest");
    let repository = Repository::open(&root).unwrap();
    let pins = Pins::of_session(repository.store(), VOLUME, SESSION);
    let commands: Vec<_> = pins.holders().unwrap().into_iter().map(|it| it.command).collect();
    assert_eq!(commands, ["restore"]);
    let window = Window::new(0, FETCH_TILE).unwrap();
    let fetch = Fetch::new(window, Vec::new()).unwrap();
    link.sender.send(FrameKind::Fetch, &fetch.to_bytes()).unwrap();
    let mut payload = Vec::new();
    link.receiver.fetched(&LinkLimits::default(), &|| false, &mut payload).unwrap();
    assert_eq!(opened.length, LENGTH);
    drop(link);
    while pins.any_held().unwrap() {
        thread::sleep(Duration::from_millis(10));
    }
}

/// A link at which a point is open.
fn opened(address: SocketAddr, at: &str) -> (Link, Opened) {
    let mut link = connect(address)().unwrap();
    let (volume, at) = (VOLUME.to_string(), at.to_owned());
    let question = Question::Restore { volume, session: None, at, is_key: false };
    match link.ask(&question, &LinkLimits::default(), &|| false).unwrap() {
        Reply::Opened(opened) => (link, *opened),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_machine_that_asks_for_what_it_may_not_is_cut_off_in_words() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    stored(&root);
    let server = Running::start(&root);
    let fetch =
        |offset, len| Fetch::new(Window::new(offset, len).unwrap(), Vec::new()).unwrap().to_bytes();
    for (kind, requests, why) in [
        // Back: the image is gone through once.
        (FrameKind::Fetch, vec![fetch(FETCH_TILE, 512), fetch(0, 512)], "behind"),
        (FrameKind::Fetch, vec![fetch(LENGTH / FETCH_TILE * FETCH_TILE, FETCH_TILE)], "past"),
        (FrameKind::Fetch, vec![vec![0; 7]], "payload of a Fetch frame"),
        (FrameKind::Records, vec![vec![0; 64]], "out of place"),
    ] {
        let (mut link, _) = opened(server.address, "t0");
        for request in &requests {
            link.sender.send(kind, request).unwrap();
        }
        let mut payload = Vec::new();
        let refused = loop {
            match link.receiver.fetched(&LinkLimits::default(), &|| false, &mut payload) {
                Ok(_) => {}
                Err(refused) => break refused.to_string(),
            }
        };
        assert!(refused.contains(why), "{refused}");
    }
    // A server has so many open, and no more.
    let open: Vec<_> = (0..4).map(|_| opened(server.address, "t0")).collect();
    let again = restore(
        &connect(server.address),
        &wanted("t0"),
        |_| -> Result<FileDisk, _> { panic!("it is not opened") },
        &options(),
        &|| false,
        &mut |_| {},
    );
    let Err(RestoreError::Refused(refused)) = again else { panic!("{again:?}") };
    assert_eq!(refused.kind, RefusedKind::Busy, "{}", refused.text);
    drop(open);
    for (at, kind) in [
        ("1999-01-01T00:00:00Z", RefusedKind::NotRestorable),
        ("no-such-bookmark", RefusedKind::NotRestorable),
        ("14:00", RefusedKind::Question),
    ] {
        let refused = loop {
            match to_file(server.address, at, &dir.path().join("none"), &options()) {
                Err(RestoreError::Refused(refused)) if refused.kind == RefusedKind::Busy => {}
                Err(RestoreError::Refused(refused)) => break refused,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused.kind, kind, "{at}: {}", refused.text);
    }
    assert!(!dir.path().join("none").exists());
}

#[test]
fn damage_ends_a_restore_at_once_and_is_named() {
    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("volume.img"));
    stored(&root);
    let server = Running::start(&root);
    let (link, _) = opened(server.address, "t0");
    drop(link);
    // A byte of the content of a block in the middle of a segment.
    let segments = walk(&root.join("volumes"));
    let longest = segments.iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(longest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(longest, bytes).unwrap();
    let failed = to_file(server.address, "t0", &file, &options());
    let Err(RestoreError::Refused(refused)) = failed else { panic!("{failed:?}") };
    assert_eq!(refused.kind, RefusedKind::Damaged, "{}", refused.text);
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(walk(&path)) } else { found.push(path) }
    }
    found
}

#[test]
fn a_disk_that_returns_other_bytes_than_were_written_is_found() {
    /// Forgets a sector.
    struct Lossy(FileDisk);

    impl Disk for Lossy {
        fn name(&self) -> &str {
            self.0.name()
        }

        fn is_blank(&self) -> bool {
            self.0.is_blank()
        }

        fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, bytes)
        }

        fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
            if offset == 7 << 20 { Ok(()) } else { self.0.write(offset, bytes) }
        }

        fn sync(&self) -> io::Result<()> {
            self.0.sync()
        }
    }

    let dir = common::scratch();
    let (root, file) = (dir.path().join("repository"), dir.path().join("volume.img"));
    stored(&root);
    let server = Running::start(&root);
    let open = |opened: &Opened| FileDisk::open(&file, opened.length, false).map(Lossy);
    let failed =
        restore(&connect(server.address), &wanted("t0"), open, &options(), &|| false, &mut |_| {});
    let Err(RestoreError::Differs { bytes, first }) = failed else { panic!("{failed:?}") };
    assert_eq!((bytes, first), (FETCH_TILE, 7 << 20));
    assert!(fs::read(&file).unwrap().starts_with(MARK.as_bytes()));
}

#[test]
fn a_point_that_is_no_question_or_no_volumes_is_refused() {
    let dir = common::scratch();
    let root = dir.path().join("repository");
    stored(&root);
    let server = Running::start(&root);
    let (volume, at) = (VOLUME.to_string(), "00".to_owned());
    let ask = |question: &Question| {
        let mut link = connect(server.address)().unwrap();
        link.ask(question, &LinkLimits::default(), &|| false).unwrap()
    };
    for (session, at, is_key) in
        [(None, at.clone(), true), (Some("D:".to_owned()), "t0".to_owned(), false)]
    {
        let volume = volume.clone();
        let reply = ask(&Question::Restore { volume, session, at, is_key });
        let Reply::Refused(refused) = reply else { panic!("{reply:?}") };
        assert_eq!(refused.kind, RefusedKind::Question, "{}", refused.text);
    }
    // A fetch without a point.
    let mut link = connect(server.address)().unwrap();
    link.sender.send(FrameKind::Fetch, &[0; 16]).unwrap();
    let said = link.receiver.receive().unwrap();
    assert!(matches!(said, Some(Message::Refused(_))), "{said:?}");
}
